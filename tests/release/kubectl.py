"""A stand-in for kubectl, named so: there is no Kubernetes here.

Its cluster is the JSON file that KUBECTL_STATE names: `deployments`, `pods`, and `fail`, which says what goes
wrong. `kustomize` is left to the real one, which stands behind it on PATH.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

STATE = Path(os.environ["KUBECTL_STATE"])


def pod(name: str, deployment: str, template: dict[str, Any]) -> dict[str, Any]:
    """A pod as the API server tells it, as far as anybody here reads it."""
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
    """Does as kubectl does, and returns the exit code."""
    state = json.loads(STATE.read_text())
    fail = state["fail"]
    match argv:
        case ["kustomize", *_]:
            os.execv(state["real"], ["kubectl", *argv])
        case ["get", "pods", "-l", "app.kubernetes.io/name=scorebox", "-n", _, "-o", "json"]:
            if fail == "get":
                return refuse("Unable to connect to the server: dial tcp: i/o timeout")
            print("<html>" if fail == "rubbish" else json.dumps({"items": state["pods"]}))
        case ["get", "deployment/scorebox", *_]:
            print(state["deployments"].get("scorebox", {}).get("spec", {}).get("replicas", ""), end="")
        case ["apply", "-n", namespace, "-f", "-"]:
            documents = list(yaml.safe_load_all(sys.stdin))
            assert {document["metadata"]["namespace"] for document in documents} == {namespace}
            if fail == "apply":
                return refuse('no matches for kind "PodMonitor" in version "monitoring.coreos.com/v1"')
            state["deployments"] |= {d["metadata"]["name"]: d for d in documents if d["kind"] == "Deployment"}
        case ["rollout", "status", "deployment/scorebox", "-n", _, "--timeout=10m"]:
            spec = state["deployments"]["scorebox"]["spec"]
            names = [f"scorebox-{number}" for number in range(spec["replicas"])]
            new = {name: pod(name, "scorebox", spec["template"]) for name in names}
            if fail in ("rollout", "liar"):
                new = dict(list(new.items())[:1])
            state["pods"] = [new.pop(each["metadata"]["name"], each) for each in state["pods"]]
            state["pods"] += new.values()
            if fail == "rollout":
                STATE.write_text(json.dumps(state))
                return refuse("timed out waiting for the condition")
        case ["delete", "deployment", *rest]:
            assert rest[2:] == ["-n", "scorebox-production", "--ignore-not-found", "--cascade=foreground"]
            state["pods"] = [each for each in state["pods"] if each["metadata"]["deployment"] not in rest[:2]]
        case _:
            return refuse(f"unknown command {argv}")
    STATE.write_text(json.dumps(state))
    return 0


def refuse(message: str) -> int:
    """Says why not, as kubectl does."""
    print(f"error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
