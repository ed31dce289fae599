"""A `kubectl` for a simulated cluster, whose state is the JSON file KUBECTL_STATE.

`kustomize` runs the real kubectl, whose path is `real` in that file.
"""

import fcntl
import json
import os
import sys
from pathlib import Path

from tests.kubernetes_objects import KubernetesError
from tests.release.simulated_cluster import SimulatedCluster

STATE = Path(os.environ["KUBECTL_STATE"])


def main(argv: list[str]) -> int:
    """Run one command and return the exit code."""
    if argv[:1] == ["kustomize"]:
        os.execv(json.loads(STATE.read_text())["real"], ["kubectl", *argv])
    text = sys.stdin.read() if "-f" in argv else None
    code = 0
    with STATE.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        state = json.load(file)
        try:
            print(SimulatedCluster(state).kubectl(*argv, text=text), end="")
        except KubernetesError as exc:
            print(exc, file=sys.stderr)
            code = 1
        file.seek(0)
        file.truncate()
        json.dump(state, file)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
