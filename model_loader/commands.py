"""One function a command: does what the arguments say, and tells what people and what machines shall read."""

import os
import sys
from argparse import Namespace
from dataclasses import asdict, dataclass
from typing import Any

from model_loader.errors import PackageError
from model_loader.optimize import optimize
from model_loader.package import verify_package
from model_loader.package.optimized import optimized_path
from model_loader.registry.draft import read_draft
from model_loader.registry.ledger import Entry, read_ledger
from model_loader.registry.lockfile import Lock, read_lock
from model_loader.registry.metrics_gate import check, read_floors
from model_loader.registry.package_signing import verify_signature
from model_loader.registry.publish import publish
from model_loader.registry.pull import find_locked, pull
from model_loader.registry.stages import promote, rollback
from model_loader.registry.versions import Release, choose, find, get, names, versions
from model_loader.store import Store, open_store, redact
from model_loader.store.transfer import Progress, silent
from model_loader.text_tables import number, short, table

DEFAULT_STORE = "file:model_store"


@dataclass(frozen=True)
class Answer:
    """What a command has to say.

    Attributes:
        text: for people.
        data: for machines, as JSON.
        refused: why the command exits with 1 all the same.
    """

    text: str
    data: Any
    refused: str | None = None


def run_publish(args: Namespace) -> Answer:
    """`publish DIR`."""
    store = _store(args)
    release = publish(
        args.directory,
        store,
        name=args.name,
        parent=args.parent,
        reason=args.reason,
        sign_key=args.sign_key,
        progress=_progress(),
    )
    return Answer(f"published {release} in {store.url}", _named(release) | {"store": store.url})


def run_pull(args: Namespace) -> Answer:
    """`pull`."""
    store, release = _release(args)
    record = None if args.locked else args.lock
    changed = pull(store, release, args.output, lock=record, verify_key=args.verify_key, progress=_progress())
    text = f"pulled {release} into {args.output}" if changed else f"{args.output} is {release} already"
    return Answer(text, _named(release) | {"store": store.url, "changed": changed})


def run_verify(args: Namespace) -> Answer:
    """`verify DIR`."""
    package = verify_package(args.directory)
    if args.verify_key:
        verify_signature(package, args.verify_key)
    data = {
        "name": package.manifest.name,
        "version": package.manifest.version,
        "digest": package.digest,
        "signed": bool(args.verify_key),
    }
    signed = f", signed by {args.verify_key}" if args.verify_key else ""
    return Answer(f"{args.directory} is {package}, whole{signed}", data)


def run_optimize(args: Namespace) -> Answer:
    """`optimize DIR`."""
    package = verify_package(args.directory)
    changed = optimize(package)
    path = optimized_path(args.directory)
    text = f"optimized {package} into {path}" if changed else f"{path} is {package}, optimized already"
    return Answer(text, {"digest": package.digest, "changed": changed})


def run_list(args: Namespace) -> Answer:
    """`list`."""
    store = _store(args)
    name = _name(args)
    rows = []
    for model in [choose(store, name)] if name else names(store):
        ledger = read_ledger(store, model)
        for release in (get(store, ledger, version) for version in versions(store, model)):
            row = _named(release) | {"created": release.manifest.created, "metrics": release.manifest.metrics}
            rows.append(row | {"stages": ledger.stages(release.manifest.version)})
    text = table(
        ("MODEL", "CREATED", "STAGES", "DIGEST", "METRICS"),
        [
            (
                f"{row['name']}/{row['version']}",
                row["created"],
                ", ".join(row["stages"]),
                short(row["digest"]),
                ", ".join(f"{metric} {number(value)}" for metric, value in row["metrics"].items()),
            )
            for row in rows
        ],
    )
    return Answer(text, rows)


def run_show(args: Namespace) -> Answer:
    """`show`."""
    store, name = _model(args)
    release = find(store, name, args.version)
    data = {"digest": release.digest, "manifest": release.manifest.document}
    return Answer(f"{release}\n{release.text.decode().rstrip()}", data)


def run_promote(args: Namespace) -> Answer:
    """`promote VERSION`."""
    store, name = _model(args)
    return _deed(name, promote(store, name, args.version, args.stage, args.reason))


def run_rollback(args: Namespace) -> Answer:
    """`rollback`."""
    store, name = _model(args)
    return _deed(name, rollback(store, name, args.stage, args.reason))


def run_history(args: Namespace) -> Answer:
    """`history`."""
    store, name = _model(args)
    entries = read_ledger(store, name).entries
    text = table(
        ("TIME", "ACTION", "MODEL", "STAGE", "DIGEST", "BY", "REASON"),
        [
            (e.time, e.action, f"{name}/{e.version}", e.stage or "", short(e.digest), e.by, e.reason or "")
            for e in entries
        ],
    )
    return Answer(text, [entry.to_json() for entry in entries])


def run_gate(args: Namespace) -> Answer:
    """`gate`."""
    floors = read_floors(args.floors)
    if args.package:
        fields = read_draft(args.package).fields
        store, name = _store(args), args.name or fields.get("name")
        if not name:
            raise PackageError(f"{args.package} does not say which model it is: give --name")
        path = candidate = str(args.package)
        metrics = fields.get("metrics", {})
    else:
        store, release = _release(args)
        name, path, candidate = release.manifest.name, release.path, str(release)
        metrics = release.manifest.metrics
    ledger = read_ledger(store, name)
    held = ledger.held(args.stage)
    baseline = get(store, ledger, held[-1].version) if held else None
    rows = check(floors, metrics, baseline.manifest.metrics if baseline else {})
    text = table(
        ("METRIC", "RULE", path, args.stage, "RESULT"),
        [(r.metric, f"{r.rule} {r.limit:g}", number(r.value), number(r.baseline), r.result) for r in rows],
    )
    failed = sum(not row.passed for row in rows)
    data = {
        "candidate": candidate,
        "baseline": str(baseline) if baseline else None,
        "passed": not failed,
        "checks": [asdict(row) for row in rows],
    }
    refused = (
        f"{candidate} does not pass {args.floors}: {failed} of {len(rows)} checks failed" if failed else None
    )
    return Answer(text, data, refused)


def _release(args: Namespace) -> tuple[Store, Release]:
    """The release that `--locked` or `--version` means, and the store that it is in."""
    if not args.locked:
        store, name = _model(args)
        return store, find(store, name, args.version)
    lock = read_lock(args.lock)
    if args.name not in (None, lock.name):
        raise PackageError(f"{args.lock} is about {lock.name}, not {args.name}")
    store = open_store(_locked_store(args, lock))
    return store, find_locked(store, lock)


def _store(args: Namespace) -> Store:
    return open_store(args.store or os.environ.get("MODEL_STORE") or DEFAULT_STORE)


def _locked_store(args: Namespace, lock: Lock) -> str:
    """The URL of the lock's store: MODEL_STORE where it is the same one, as it may bring a SAS."""
    setting = os.environ.get("MODEL_STORE", "")
    return args.store or (setting if redact(setting) == lock.store else lock.store)


def _name(args: Namespace) -> str | None:
    return args.name or os.environ.get("MODEL_NAME")


def _model(args: Namespace) -> tuple[Store, str]:
    store = _store(args)
    return store, choose(store, _name(args))


def _named(release: Release) -> dict[str, Any]:
    return {"name": release.manifest.name, "version": release.manifest.version, "digest": release.digest}


def _deed(name: str, entry: Entry) -> Answer:
    text = f"{name}/{entry.version} is in {entry.stage}: {entry.action} by {entry.by} at {entry.time}"
    return Answer(text, {"name": name} | entry.to_json())


def _progress() -> Progress:
    return _draw if sys.stderr.isatty() else silent


def _draw(path: str, done: int, total: int) -> None:
    end = "\n" if done >= total else ""
    sys.stderr.write(f"\r{path}  {done / 1e6:,.1f} of {total / 1e6:,.1f} MB{end}")
