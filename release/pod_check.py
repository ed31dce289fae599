"""`python -m release.pod_check`: check which image and model every pod runs.

A pod's manifest declares its image and model; the pod itself reports its model at `/model`. Autoscalers and
nodes add and remove pods at any time, so a check is repeated until it passes or its time is over.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

from model_loader.commands.parser import Parser
from model_loader.text_tables import short, table
from release.errors import ReleaseError
from release.kubernetes import CANARY, STABLE, Pod, forward_port, read_pods, read_reported_digest

ALL_RUN, STABLE_RUN, CANARY_RUNS, NONE_RUNS = EXPECTATIONS = ("all", "stable", "canary", "none")
WAIT_S = 300
INTERVAL_S = 3.0
HEADER = ("POD", "TRACK", "READY", "MODEL", "IMAGE")


class SmokeTestError(ReleaseError):
    """A pod of the release gives a wrong answer, or none: repeating the check would only prolong that."""


def find_problems(pods: Sequence[Pod], reported: Sequence[str], image: str, expected: str) -> list[str]:
    """Return what is wrong with the pods, one sentence each.

    Args:
        reported: the model digest that each of `pods` reports.
        expected: which pods should run `image`: `all`; every `stable` pod, whatever the other tracks run; the
            `canary`, with all other pods on one other release; or `none`. Only `stable` and `canary` allow
            pods of tracks other than stable.
    """
    problems = [f"{pod.name} is not ready" for pod in pods if not pod.ready]
    problems += [
        f"{pod.name} declares model {short(pod.model_digest) or 'none'} but reports {short(digest)}"
        for pod, digest in zip(pods, reported, strict=True)
        if pod.model_digest != digest
    ]
    asked = [pod for pod in pods if expected in (ALL_RUN, NONE_RUNS) or pod.track == expected]
    with_image = [pod for pod in asked if pod.declared_image == image]
    name = {STABLE_RUN: "stable pods", CANARY_RUNS: "canary pods"}.get(expected, "pods")
    count = f"{len(with_image)} of {len(asked)} {name} run {image}"
    extra_tracks = {pod.track for pod in pods} - {STABLE}
    if expected in (ALL_RUN, NONE_RUNS) and extra_tracks:
        problems.append(f"there are still pods of the tracks {', '.join(sorted(extra_tracks))}")
    if expected == NONE_RUNS and with_image:
        problems.append(f"{count}, expected none")
    if expected != NONE_RUNS and (not asked or len(with_image) < len(asked)):
        problems.append(f"{count}, expected all")
    others = {
        pod.declared_image
        for pod in pods
        if pod.track == STABLE or (pod.track != CANARY and expected == CANARY_RUNS)
    }
    if len(others) > 1:
        problems.append(f"stable pods run different images: {', '.join(sorted(others))}")
    return problems


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = Parser("pods", description="Check which image and model every pod runs.", allow_abbrev=False)
    parser.add_argument("namespace")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", metavar="IMAGE", help="image that all pods must run")
    which.add_argument(
        "--stable", metavar="IMAGE", help="image that all pods except canary and control must run"
    )
    which.add_argument("--canary", metavar="IMAGE", help="image that the canary must run")
    which.add_argument("--none", metavar="IMAGE", help="image that no pod may run")
    parser.add_argument("--smoke", action="store_true", help="also smoke-test the pods that run IMAGE")
    parser.add_argument(
        "--wait",
        type=int,
        default=WAIT_S,
        metavar="SECONDS",
        help=f"repeat the check for at most this many seconds; default: {WAIT_S}",
    )
    args = parser.parse_args(argv)
    if args.wait < 0:
        parser.error(f"argument --wait: expected 0 seconds or more, got {args.wait}")
    expected = next(name for name in EXPECTATIONS if getattr(args, name))
    try:
        check(args.namespace, expected, getattr(args, expected), smoke=args.smoke, wait_s=args.wait)
    except ReleaseError as exc:
        print(f"pods: {exc}", file=sys.stderr)
        return 1
    return 0


def check(namespace: str, expected: str, image: str, *, smoke: bool, wait_s: float) -> None:
    """Check the pods until nothing is wrong, and print a table of them.

    Args:
        expected: see `find_problems`.
        smoke: whether to smoke-test the pods that run `image`, too.
        wait_s: how long to repeat the check, in seconds.

    Raises:
        SmokeTestError: a pod of the release gives a wrong answer, or none in time.
        ReleaseError: something is still wrong; the message has everything.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            print(_look(namespace, expected, image, smoke), flush=True)
        except SmokeTestError:
            raise
        except ReleaseError:
            if time.monotonic() >= deadline:
                raise
        else:
            return
        time.sleep(max(0.0, min(INTERVAL_S, deadline - time.monotonic())))


def _look(namespace: str, expected: str, image: str, smoke: bool) -> str:
    """Check the pods once and return a table of them."""
    pods = read_pods(namespace, may_be_empty=True)
    with ExitStack() as stack:
        urls = {pod.name: stack.enter_context(forward_port(namespace, pod)) for pod in pods if pod.ready}
        # A pod that is not ready cannot report its model; not being ready is a problem of its own.
        reported = [
            _reported_digest(pod, urls[pod.name], image) if pod.ready else pod.model_digest for pod in pods
        ]
        text = table(
            HEADER,
            [
                (pod.name, pod.track, "yes" if pod.ready else "no", short(digest), pod.declared_image)
                for pod, digest in zip(pods, reported, strict=True)
            ],
        )
        if problems := find_problems(pods, reported, image, expected):
            raise ReleaseError("; ".join(problems) + (f"\n{text}" if pods else ""))
        targets = {pod.name: urls[pod.name] for pod in pods if pod.declared_image == image}
        if smoke and targets:
            _smoke_test(namespace, targets)
    return text


def _reported_digest(pod: Pod, url: str, image: str) -> str:
    """Return the digest of the model that a pod reports.

    Raises:
        SmokeTestError: a ready pod of the release does not answer in time.
        ReleaseError: the pod does not answer.
    """
    try:
        return read_reported_digest(url)
    except ReleaseError as exc:
        if pod.declared_image == image and isinstance(exc.__cause__, TimeoutError):
            raise SmokeTestError(f"{pod.name} is ready, but does not answer: {exc}") from exc
        raise


def _smoke_test(namespace: str, targets: dict[str, str]) -> None:
    """Compare the answers of pods with the samples.

    Args:
        targets: pod → URL.

    Raises:
        SmokeTestError: a pod gives a wrong answer.
        ReleaseError: a pod ended meanwhile.
    """
    if subprocess.run(["scripts/smoke", *targets.values()], check=False).returncode == 0:
        return
    running = {pod.name for pod in read_pods(namespace, may_be_empty=True) if pod.ready}
    if ended := sorted(targets.keys() - running):
        raise ReleaseError(f"{', '.join(ended)} ended during the smoke test")
    raise SmokeTestError(f"the smoke test of {', '.join(targets)} failed")


if __name__ == "__main__":
    sys.exit(main())
