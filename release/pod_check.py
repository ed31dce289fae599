"""`python -m release.pod_check`: check which image and model every pod runs.

A pod's manifest declares its image and model; the pod itself reports its model at `/model`.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from model_loader.text_tables import short, table
from release.errors import ReleaseError
from release.kubernetes import Pod, forward_port, read_pods, read_reported_digest

EXPECTATIONS = ("all", "canary", "none")


def find_problems(pods: Sequence[Pod], reported: Sequence[str], image: str, expected: str) -> list[str]:
    """Return what is wrong with the pods, one sentence each.

    Args:
        reported: the model digest that each of `pods` reports.
        expected: which pods should run `image`: `all`, only the `canary`, or `none`.
    """
    problems = [f"{pod.name} is not ready" for pod in pods if not pod.ready]
    problems += [
        f"{pod.name} declares model {short(pod.model_digest) or 'none'} but reports {short(digest)}"
        for pod, digest in zip(pods, reported, strict=True)
        if pod.model_digest != digest
    ]
    with_image = [pod for pod in pods if pod.declared_image == image]
    extra_tracks = {pod.track for pod in pods} - {"stable"}
    stable_images = {pod.declared_image for pod in pods if pod.track != "canary"}
    count = f"{len(with_image)} of {len(pods)} pods run {image}"
    if expected != "canary" and extra_tracks:
        problems.append(f"there are still pods of the tracks {', '.join(sorted(extra_tracks))}")
    if expected == "all" and (not pods or len(with_image) < len(pods)):
        problems.append(f"{count}, expected all")
    if expected == "canary" and not any(pod.track == "canary" for pod in with_image):
        problems.append(f"no canary pod runs {image}")
    if expected == "none" and with_image:
        problems.append(f"{count}, expected none")
    if len(stable_images) > 1:
        problems.append(f"stable pods run different images: {', '.join(sorted(stable_images))}")
    return problems


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        "pods", description="Check which image and model every pod runs.", allow_abbrev=False
    )
    parser.add_argument("namespace")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", metavar="IMAGE", help="image that all pods must run")
    which.add_argument("--canary", metavar="IMAGE", help="image that the canary must run")
    which.add_argument("--none", metavar="IMAGE", help="image that no pod may run")
    parser.add_argument("--smoke", action="store_true", help="also smoke-test the pods that run IMAGE")
    args = parser.parse_args(argv)
    expected = next(name for name in EXPECTATIONS if getattr(args, name))
    try:
        return check(args.namespace, expected, getattr(args, expected), args.smoke)
    except ReleaseError as exc:
        print(f"pods: {exc}", file=sys.stderr)
        return 1


def check(namespace: str, expected: str, image: str, smoke: bool) -> int:
    """Print a table of the pods and what is wrong with them, and return the exit code."""
    pods = read_pods(namespace, may_be_empty=True)
    with ExitStack() as stack:
        urls = {pod.name: stack.enter_context(forward_port(namespace, pod)) for pod in pods if pod.ready}
        # A pod that is not ready cannot report its model; not being ready is a problem of its own.
        reported = [read_reported_digest(urls[pod.name]) if pod.ready else pod.model_digest for pod in pods]
        rows = [
            (pod.name, pod.track, "yes" if pod.ready else "no", short(digest), pod.declared_image)
            for pod, digest in zip(pods, reported, strict=True)
        ]
        print(table(("POD", "TRACK", "READY", "MODEL", "IMAGE"), rows))
        problems = find_problems(pods, reported, image, expected)
        for problem in problems:
            print(f"pods: {problem}", file=sys.stderr)
        targets = [urls[pod.name] for pod in pods if pod.ready and pod.declared_image == image]
        if smoke and targets and not problems:
            return subprocess.run(["scripts/smoke", *targets], check=False).returncode
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
