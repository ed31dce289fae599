"""A simulated kubectl: the tests run without Kubernetes.

The cluster's state is the JSON file KUBECTL_STATE: `deployments`, `pods`, and `fail`, the name of the failure
to simulate. `kustomize` runs the real kubectl.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

STATE = Path(os.environ["KUBECTL_STATE"])


def pod(name: str, deployment: str, template: dict[str, Any]) -> dict[str, Any]:
    """Return a pod as the API server does, with the fields that the project reads."""
    image = template["spec"]["containers"][0]["image"]
    return {
        "metadata": {"name": name, "deployment": deployment, **template["metadata"]},
        "spec": template["spec"],
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "scorebox", "imageID": f"docker-pullable://{image}"}],
        },
    }


def main(argv: list[str]) -> int:
    """Run one command and return the exit code."""
    state = json.loads(STATE.read_text())
    failure = state["fail"]
    match argv:
        case ["kustomize", *_]:
            os.execv(state["real"], ["kubectl", *argv])
        case ["get", "pods", "-l", "app.kubernetes.io/name=scorebox", "-n", _, "-o", "json"]:
            if failure == "get":
                return report_error("Unable to connect to the server: dial tcp: i/o timeout")
            print("<html>" if failure == "not JSON" else json.dumps({"items": state["pods"]}))
        case ["get", "deployment/scorebox", *_]:
            print(state["deployments"].get("scorebox", {}).get("spec", {}).get("replicas", ""), end="")
        case ["apply", "-n", namespace, "-f", "-"]:
            documents = list(yaml.safe_load_all(sys.stdin))
            assert {document["metadata"]["namespace"] for document in documents} == {namespace}
            if failure == "apply":
                return report_error('no matches for kind "PodMonitor" in version "monitoring.coreos.com/v1"')
            state["deployments"] |= {d["metadata"]["name"]: d for d in documents if d["kind"] == "Deployment"}
        case ["rollout", "status", "deployment/scorebox", "-n", _, "--timeout=10m"]:
            spec = state["deployments"]["scorebox"]["spec"]
            names = [f"scorebox-{number}" for number in range(spec["replicas"])]
            new = {name: pod(name, "scorebox", spec["template"]) for name in names}
            if failure in ("rollout", "incomplete rollout"):
                new = dict(list(new.items())[:1])
            state["pods"] = [new.pop(each["metadata"]["name"], each) for each in state["pods"]]
            state["pods"] += new.values()
            if failure == "rollout":
                STATE.write_text(json.dumps(state))
                return report_error("timed out waiting for the condition")
        case ["delete", "deployment", *rest]:
            assert rest[2:] == ["-n", "scorebox-production", "--ignore-not-found", "--cascade=foreground"]
            state["pods"] = [each for each in state["pods"] if each["metadata"]["deployment"] not in rest[:2]]
        case _:
            return report_error(f"unknown command {argv}")
    STATE.write_text(json.dumps(state))
    return 0


def report_error(message: str) -> int:
    """Print an error as kubectl does and return its exit code."""
    print(f"error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
