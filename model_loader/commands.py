"""The commands: one function each, from parsed arguments to a result for people and for machines."""

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
from model_loader.registry.metrics_gate import check, read_limits
from model_loader.registry.package_signing import verify_signature
from model_loader.registry.publish import publish
from model_loader.registry.pull import find_locked, pull
from model_loader.registry.stages import promote, rollback
from model_loader.registry.versions import PublishedVersion, choose, find, get, model_names, version_numbers
from model_loader.store import Store, open_store, redact
from model_loader.store.transfer import Progress, no_progress
from model_loader.text_tables import number, short, table

DEFAULT_STORE = "file:model_store"


@dataclass(frozen=True)
class CommandResult:
    """The result of a command.

    Attributes:
        text: for people.
        data: for machines, as JSON.
        failure: the reason to exit with 1 after printing the result, if any.
    """

    text: str
    data: Any
    failure: str | None = None


def run_publish(args: Namespace) -> CommandResult:
    """Run `publish DIR`."""
    store = _store(args)
    published = publish(
        args.directory,
        store,
        name=args.name,
        parent=args.parent,
        reason=args.reason,
        sign_key=args.sign_key,
        progress=_progress(),
    )
    return CommandResult(f"published {published} in {store.url}", _identity(published) | {"store": store.url})


def run_pull(args: Namespace) -> CommandResult:
    """Run `pull`."""
    store, published = _selected_version(args)
    changed = pull(
        store,
        published,
        args.output,
        lock=None if args.locked else args.lock,
        verify_key=args.verify_key,
        progress=_progress(),
    )
    text = f"pulled {published} into {args.output}" if changed else f"{args.output} is {published} already"
    return CommandResult(text, _identity(published) | {"store": store.url, "changed": changed})


def run_verify(args: Namespace) -> CommandResult:
    """Run `verify DIR`."""
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
    return CommandResult(f"{args.directory} is {package}, complete and unchanged{signed}", data)


def run_optimize(args: Namespace) -> CommandResult:
    """Run `optimize DIR`."""
    package = verify_package(args.directory)
    changed = optimize(package)
    path = optimized_path(args.directory)
    written = f"optimized {package} into {path}"
    text = written if changed else f"{path} already has the optimized model of {package}"
    return CommandResult(text, {"digest": package.digest, "changed": changed})


def run_list(args: Namespace) -> CommandResult:
    """Run `list`."""
    store = _store(args)
    name = _name(args)
    rows = []
    for model in [choose(store, name)] if name else model_names(store):
        ledger = read_ledger(store, model)
        for published in (get(store, ledger, version) for version in version_numbers(store, model)):
            manifest = published.manifest
            row = _identity(published) | {"created": manifest.created, "metrics": manifest.metrics}
            rows.append(row | {"stages": ledger.stages(manifest.version)})
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
    return CommandResult(text, rows)


def run_show(args: Namespace) -> CommandResult:
    """Run `show`."""
    store, name = _store_and_name(args)
    published = find(store, name, args.version)
    data = {"digest": published.digest, "manifest": published.manifest.document}
    return CommandResult(f"{published}\n{published.text.decode().rstrip()}", data)


def run_promote(args: Namespace) -> CommandResult:
    """Run `promote VERSION`."""
    store, name = _store_and_name(args)
    return _stage_change(name, promote(store, name, args.version, args.stage, args.reason))


def run_rollback(args: Namespace) -> CommandResult:
    """Run `rollback`."""
    store, name = _store_and_name(args)
    return _stage_change(name, rollback(store, name, args.stage, args.reason))


def run_history(args: Namespace) -> CommandResult:
    """Run `history`."""
    store, name = _store_and_name(args)
    entries = read_ledger(store, name).entries
    text = table(
        ("TIME", "ACTION", "MODEL", "STAGE", "DIGEST", "BY", "REASON"),
        [
            (e.time, e.action, f"{name}/{e.version}", e.stage or "", short(e.digest), e.by, e.reason or "")
            for e in entries
        ],
    )
    return CommandResult(text, [entry.to_json() for entry in entries])


def run_gate(args: Namespace) -> CommandResult:
    """Run `gate`."""
    limits = read_limits(args.floors)
    if args.package:
        fields = read_draft(args.package).fields
        store, name = _store(args), args.name or fields.get("name")
        if not name:
            raise PackageError(f"{args.package} does not name its model: give --name")
        path = candidate = str(args.package)
        metrics = fields.get("metrics", {})
    else:
        store, published = _selected_version(args)
        name, path, candidate = published.manifest.name, published.path, str(published)
        metrics = published.manifest.metrics
    ledger = read_ledger(store, name)
    promotions = ledger.promotions(args.stage)
    current = get(store, ledger, promotions[-1].version) if promotions else None
    rows = check(limits, metrics, current.manifest.metrics if current else {})
    text = table(
        ("METRIC", "RULE", path, args.stage, "RESULT"),
        [(r.metric, f"{r.rule} {r.limit:g}", number(r.value), number(r.baseline), r.result) for r in rows],
    )
    failed = sum(not row.passed for row in rows)
    data = {
        "candidate": candidate,
        "baseline": str(current) if current else None,
        "passed": not failed,
        "checks": [asdict(row) for row in rows],
    }
    failure = f"{candidate} does not pass {args.floors}: {failed} of {len(rows)} checks failed"
    return CommandResult(text, data, failure if failed else None)


def _selected_version(args: Namespace) -> tuple[Store, PublishedVersion]:
    """Return the version that `--locked` or `--version` selects, and its store."""
    if not args.locked:
        store, name = _store_and_name(args)
        return store, find(store, name, args.version)
    lock = read_lock(args.lock)
    if args.name not in (None, lock.name):
        raise PackageError(f"{args.lock} is for the model {lock.name}, not {args.name}")
    store = open_store(_locked_store_url(args, lock))
    return store, find_locked(store, lock)


def _store(args: Namespace) -> Store:
    return open_store(args.store or os.environ.get("MODEL_STORE") or DEFAULT_STORE)


def _locked_store_url(args: Namespace, lock: Lock) -> str:
    """Return the URL of the lock's store: MODEL_STORE if it is the same store, because it may have a SAS."""
    setting = os.environ.get("MODEL_STORE", "")
    return args.store or (setting if redact(setting) == lock.store else lock.store)


def _name(args: Namespace) -> str | None:
    return args.name or os.environ.get("MODEL_NAME")


def _store_and_name(args: Namespace) -> tuple[Store, str]:
    store = _store(args)
    return store, choose(store, _name(args))


def _identity(published: PublishedVersion) -> dict[str, Any]:
    manifest = published.manifest
    return {"name": manifest.name, "version": manifest.version, "digest": published.digest}


def _stage_change(name: str, entry: Entry) -> CommandResult:
    text = f"{name}/{entry.version} is in {entry.stage}: {entry.action} by {entry.by} at {entry.time}"
    return CommandResult(text, {"name": name} | entry.to_json())


def _progress() -> Progress:
    return _print_progress if sys.stderr.isatty() else no_progress


def _print_progress(path: str, done: int, total: int) -> None:
    end = "\n" if done >= total else ""
    sys.stderr.write(f"\r{path}  {done / 1e6:,.1f} of {total / 1e6:,.1f} MB{end}")
