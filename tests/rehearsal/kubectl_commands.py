"""The commands of the rehearsal's `kubectl`: requests as the real one sends them, and what it prints.

https://kubernetes.io/docs/reference/kubectl/
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rehearsal.cluster import objects
from tests.rehearsal.cluster.kinds import Document, Kind, find_kind, kind_of
from tests.rehearsal.cluster.permissions import authorize, is_allowed
from tests.rehearsal.cluster.state import State, locked
from tests.rehearsal.errors import ApiError, RehearsalError

INTERVAL_S = 0.2


@dataclass(frozen=True)
class Client:
    """Who sends requests to which cluster, in which namespace."""

    directory: Path
    identity: str
    namespace: str

    @contextmanager
    def request(self, verb: str, kind: Kind, name: str = "") -> Iterator[State]:
        """Yield the state for one request, if the identity may send it.

        Raises:
            ApiError: Forbidden.
        """
        with locked(self.directory) as state:
            if state["error"]:
                raise RehearsalError(f"kubectl: {state['error']}")
            authorize(state, self.identity, verb, kind, self.namespace, name)
            yield state

    def get(self, kind: Kind, name: str) -> Document:
        """Return an object.

        Raises:
            ApiError: NotFound or Forbidden.
        """
        with self.request("get", kind, name) as state:
            return objects.get(state, kind, self.namespace, name)


def run_get(client: Client, args: argparse.Namespace) -> int:
    """Run `get KIND [-l SELECTOR]`, `get KIND NAME…` or `get KIND/NAME…`."""
    wanted = list(_resources(args.resource))
    if [name for _, name in wanted] == [""]:
        kind = wanted[0][0]
        labels = dict(part.split("=") for part in args.selector.split(",") if part)
        with client.request("list", kind) as state:
            items = objects.listed(state, kind.name, client.namespace, labels)
        return _print({"apiVersion": "v1", "kind": "List", "items": items}, args.output)
    items = []
    for kind, name in wanted:
        try:
            items.append(client.get(kind, name))
        except ApiError as exc:
            if exc.reason != "NotFound" or not args.ignore_not_found:
                raise
    if len(wanted) > 1:
        return _print({"apiVersion": "v1", "kind": "List", "items": items}, args.output)
    return _print(items[0], args.output) if items else 0


def run_create(client: Client, args: argparse.Namespace) -> int:
    """Run `create -f FILE`; `-` is stdin."""

    def create(document: Document, kind: Kind) -> str:
        with client.request("create", kind) as state:
            objects.create(state, document)
        return "created"

    return _each(client, args.filename, "creating", create)


def run_replace(client: Client, args: argparse.Namespace) -> int:
    """Run `replace -f FILE`."""

    def replace(document: Document, kind: Kind) -> str:
        with client.request("update", kind, document["metadata"]["name"]) as state:
            objects.replace(state, document)
        return "replaced"

    return _each(client, args.filename, "replacing", replace)


def run_apply(client: Client, args: argparse.Namespace) -> int:
    """Run `apply -f FILE`, which continues with the next object if one fails."""

    def apply(document: Document, kind: Kind) -> str:
        name = document["metadata"]["name"]
        try:
            present: Document | None = client.get(kind, name)
        except ApiError as exc:
            if exc.reason != "NotFound":
                raise
            present = None
        with client.request("patch" if present else "create", kind, name if present else "") as state:
            return objects.apply(state, document)[1]

    return _each(client, args.filename, "applying", apply)


def run_patch(client: Client, args: argparse.Namespace) -> int:
    """Run `patch KIND NAME --type merge -p JSON`."""
    ((kind, name),) = _resources(args.resource)
    if args.type != "merge":
        raise RehearsalError(f"the rehearsal's kubectl does not support patches of the type '{args.type}'")
    client.get(kind, name)
    with client.request("patch", kind, name) as state:
        _, changed = objects.patch(state, kind, client.namespace, name, json.loads(args.patch))
    print(f"{kind.label}/{name} patched{'' if changed else ' (no change)'}")
    return 0


def run_delete(client: Client, args: argparse.Namespace) -> int:
    """Run `delete KIND NAME…`, and wait until the objects are gone, if the identity may watch them."""
    wanted = list(_resources(args.resource))
    if args.cascade not in ("", "background", "foreground") or any(not name for _, name in wanted):
        raise RehearsalError(f"the rehearsal's kubectl does not support 'delete {' '.join(args.resource)}'")
    deleted = []
    for kind, name in wanted:
        try:
            with client.request("delete", kind, name) as state:
                uid = objects.get(state, kind, client.namespace, name)["metadata"]["uid"]
                objects.delete(state, kind, client.namespace, name, foreground=args.cascade == "foreground")
        except ApiError as exc:
            if exc.reason != "NotFound" or not args.ignore_not_found:
                raise
            continue
        print(f'{kind.label} "{name}" deleted')
        deleted.append((kind, name, uid))
    if args.wait == "false":
        return 0
    deadline = _deadline(args.timeout)
    for kind, name, uid in deleted:
        while _exists(client, kind, name, uid):
            if time.monotonic() > deadline:
                raise RehearsalError(f"error: timed out waiting for the condition on {kind.plural}/{name}")
            time.sleep(INTERVAL_S)
    return 0


def run_status(client: Client, args: argparse.Namespace) -> int:
    """Run `rollout status deployment/NAME`, which prints each change until the rollout has ended."""
    ((kind, name),) = _resources(args.resource)
    if kind.name != "Deployment":
        raise RehearsalError(f"error: no status viewer has been implemented for {kind.name}")
    deadline, printed = _deadline(args.timeout), ""
    for verb in ("list", "watch"):
        with client.request(verb, kind, name):
            pass
    while True:
        text, done = _progress(client.get(kind, name))
        if text != printed:
            print(text, flush=True)
            printed = text
        if done:
            return 0
        if time.monotonic() > deadline:
            raise RehearsalError("error: timed out waiting for the condition")
        time.sleep(INTERVAL_S)


def _progress(deployment: Document) -> tuple[str, bool]:
    """Return what `rollout status` prints, and whether the rollout is complete."""
    status, name = deployment["status"], deployment["metadata"]["name"]
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return "Waiting for deployment spec update to be observed...", False
    if any(each["reason"] == "ProgressDeadlineExceeded" for each in status["conditions"]):
        raise RehearsalError(f'error: deployment "{name}" exceeded its progress deadline')
    waiting = f'Waiting for deployment "{name}" rollout to finish:'
    replicas, updated = deployment["spec"]["replicas"], status.get("updatedReplicas", 0)
    if updated < replicas:
        return f"{waiting} {updated} out of {replicas} new replicas have been updated...", False
    if (old := status.get("replicas", 0) - updated) > 0:
        return f"{waiting} {old} old replicas are pending termination...", False
    if (available := status.get("availableReplicas", 0)) < updated:
        return f"{waiting} {available} of {updated} updated replicas are available...", False
    return f'deployment "{name}" successfully rolled out', True


def _each(client: Client, filename: str, verb: str, write: Callable[[Document, Kind], str]) -> int:
    """Write every object of a file; report each, go on after errors, and return the exit code."""
    code, source = 0, "STDIN" if filename == "-" else filename
    for document in _documents(filename):
        kind, metadata = kind_of(document), document["metadata"]
        given = metadata.setdefault("namespace", client.namespace)
        if given != client.namespace:
            raise RehearsalError(
                f'error: the namespace from the provided object "{given}" does not match the namespace '
                f"\"{client.namespace}\". You must pass '--namespace={given}' to perform this operation."
            )
        try:
            print(f"{kind.label}/{metadata['name']} {write(document, kind)}")
        except ApiError as exc:
            text = f'Error from server ({exc.reason}): error when {verb} "{source}": {exc.message}'
            print(f"The {exc.message}" if exc.reason == "Invalid" else text, file=sys.stderr)
            code = 1
    return code


def _documents(filename: str) -> Iterator[Document]:
    """Yield the objects of a file with JSON or YAML, and those of lists in it."""
    import yaml  # only here: it takes longer to import than most commands to run

    text = sys.stdin.read() if filename == "-" else Path(filename).read_text()
    for document in yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if document and document["kind"] == "List":
            yield from document["items"]
        elif document:
            yield document


def _resources(given: list[str]) -> Iterator[tuple[Kind, str]]:
    """Yield kind and name of `KIND`, `KIND NAME…` or `KIND/NAME…`; the name is empty for all objects."""
    if "/" in given[0]:
        for each in given:
            kind, _, name = each.partition("/")
            yield find_kind(kind), name
        return
    kind, *names = given
    for name in names or [""]:
        yield find_kind(kind), name


def _exists(client: Client, kind: Kind, name: str, uid: str) -> bool:
    """Return whether an object still exists; False if the identity may not know."""
    with locked(client.directory) as state:
        for verb in ("get", "list", "watch"):
            if not is_allowed(state, client.identity, verb, kind, client.namespace, name):
                return False
        found = state["objects"].get(f"{client.namespace}/{kind.name}/{name}")
        return found is not None and found["metadata"]["uid"] == uid


def _deadline(text: str) -> float:
    """Return when a duration such as `5m` or `1h30m` ends, by the monotonic clock; never without one."""
    units = {"h": 3600, "m": 60, "s": 1}
    if not text or text == "0":
        return float("inf")
    if not re.fullmatch(r"(?:\d+[hms])+", text):
        raise RehearsalError(f'error: invalid argument "{text}" for "--timeout" flag: time: invalid duration')
    return time.monotonic() + sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)([hms])", text))


def _print(document: Any, output: str) -> int:
    if output == "json":
        print(json.dumps(document))
        return 0
    if not (match := re.fullmatch(r"jsonpath=\{((?:\.\w+(?:\[\d+\])?)+)\}", output)):
        raise RehearsalError(f"the rehearsal's kubectl does not support the output format '{output}'")
    for name, index in re.findall(r"\.(\w+)(?:\[(\d+)\])?", match[1]):
        document = document[name]
        if index:
            document = document[int(index)]
    print(document, end="")
    return 0
