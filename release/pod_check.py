"""`python -m release.pod_check`: asks every pod what it carries, and whether that is what it should be.

What a pod was told to carry stands in its manifest, what it does carry it says itself, at `/model`.
"""

import argparse
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from model_loader.text_tables import short, table
from release.errors import ReleaseError
from release.kubernetes import Pod, read_pods

TIMEOUT_S = 10


def wrong(found: Sequence[Pod], said: Sequence[str], image: str, where: str) -> list[str]:
    """What is not as it should be, a sentence each.

    Args:
        said: the digest that each of `found` says it carries.
        where: `all` pods carry `image`, the `canary`'s and no other do, or `none` does.
    """
    sentences = [f"{pod.name} is not ready" for pod in found if not pod.ready]
    sentences += [
        f"{pod.name} was told to carry {short(_told(pod))} and carries {short(digest)}"
        for pod, digest in zip(found, said, strict=True)
        if _told(pod) != digest
    ]
    carrying = [pod for pod in found if pod.asked == image]
    beside = {pod.track for pod in found} - {"stable"}
    others = {pod.asked for pod in found if pod.track != "canary"}
    if where != "canary" and beside:
        sentences.append(f"there are still pods of {' and '.join(sorted(beside))}")
    if where == "all" and (not found or len(carrying) < len(found)):
        sentences.append(f"{len(carrying)} of {len(found)} pods carry {image}")
    if where == "canary" and not any(pod.track == "canary" for pod in carrying):
        sentences.append(f"no canary carries {image}")
    if where == "none" and carrying:
        sentences.append(f"{len(carrying)} of {len(found)} pods carry {image}")
    if len(others) > 1:
        sentences.append(f"stable pods carry different images: {', '.join(sorted(others))}")
    return sentences


@contextmanager
def forwarded(namespace: str, name: str) -> Iterator[str]:
    """The URL of a pod, by `kubectl port-forward`, which no NetworkPolicy keeps out."""
    command = ["kubectl", "port-forward", "--namespace", namespace, f"pod/{name}", ":8080"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not (match := re.match(r"Forwarding from (127\.0\.0\.1:\d+) ", line)):
                raise ReleaseError(f"{name} cannot be reached: kubectl port-forward printed {line!r}")
            yield f"http://{match[1]}"
        finally:
            process.terminate()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser("pods", description="Ask every pod what it carries.", allow_abbrev=False)
    parser.add_argument("namespace")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", metavar="IMAGE", help="which all pods must carry")
    which.add_argument("--canary", metavar="IMAGE", help="which the canary must carry")
    which.add_argument("--none", metavar="IMAGE", help="which no pod may carry")
    parser.add_argument("--smoke", action="store_true", help="smoke those that carry it")
    args = parser.parse_args(argv)
    where = next(name for name in ("all", "canary", "none") if getattr(args, name))
    image = getattr(args, where)
    try:
        return check(args.namespace, where, image, args.smoke)
    except ReleaseError as exc:
        print(f"pods: {exc}", file=sys.stderr)
        return 1


def check(namespace: str, where: str, image: str, smoke: bool) -> int:
    """Prints what every pod carries, and returns the exit code."""
    found = read_pods(namespace)
    with ExitStack() as stack:
        urls = [stack.enter_context(forwarded(namespace, pod.name)) for pod in found if pod.ready]
        by_name = dict(zip([pod.name for pod in found if pod.ready], urls, strict=True))
        said = [_digest(by_name[pod.name]) if pod.ready else _told(pod) for pod in found]
        rows = [
            (pod.name, pod.track, "yes" if pod.ready else "no", short(digest), pod.asked)
            for pod, digest in zip(found, said, strict=True)
        ]
        print(table(("POD", "TRACK", "READY", "MODEL", "IMAGE"), rows))
        sentences = wrong(found, said, image, where)
        for sentence in sentences:
            print(f"pods: {sentence}", file=sys.stderr)
        smoked = [by_name[pod.name] for pod in found if pod.ready and pod.asked == image]
        if smoke and smoked and not sentences:
            return subprocess.run(["scripts/smoke", *smoked], check=False).returncode
    return 1 if sentences else 0


def _told(pod: Pod) -> str:
    """The digest of the model in its manifest."""
    return pod.model.rpartition("@")[2]


def _digest(url: str) -> str:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"{url}/model", timeout=TIMEOUT_S
        ) as reply:
            return str(json.load(reply)["digest"])
    except (OSError, ValueError, KeyError) as exc:
        raise ReleaseError(f"{url}/model does not answer: {exc!r}") from exc


if __name__ == "__main__":
    sys.exit(main())
