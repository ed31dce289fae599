"""Writes down what the pods carry: in the ledger, in `model.lock` and in `releases.jsonl`."""

import os
from collections.abc import Mapping
from dataclasses import asdict

from model_loader.package import encode
from model_loader.registry.ledger import author, now, read_ledger
from model_loader.registry.lockfile import Lock, parse_lock
from model_loader.registry.pull import find_locked
from model_loader.registry.stages import promote, rollback
from model_loader.store import Store, open_store
from release import git_branch as origin
from release.errors import ReleaseError
from release.image_labels import read_labels
from release.kubernetes import read_stage, verify_pods
from release.release_log import FILE, Release, parse

PRODUCTION = "production"
LOCK = "model.lock"


def record(image: str, stage: str) -> str:
    """Writes down that the pods of a stage carry an image, if they do. Again, it changes nothing.

    Returns:
        What was done, in a sentence.

    Raises:
        ReleaseError: a pod carries something else, or a place cannot be written to; the message says which
            were.
        LoaderError: the store does not have the model, or refuses.
    """
    model, commit = read_labels(image)
    verify_pods(read_stage(stage), image, model)
    release = Release(now(), commit, image, model, author())
    return write_down(release, stage)


def write_down(release: Release, stage: str) -> str:
    """Writes a release, which the pods of a stage carry, to every place that says so.

    The ledger of the stage; where that is `production`, the lock and the history of releases too.

    Returns, Raises:
        As `record`.
    """
    store = find_store(read_lock(origin.fetch()))
    lock = release.lock(store.url)
    find_locked(store, lock)
    set_stage(store, lock, stage, release.note)
    if stage != PRODUCTION:
        return f"{release.model} is in {stage}"

    def change(tip: str) -> Mapping[str, str]:
        text = origin.read(tip, FILE) or ""
        releases = parse(text)
        # Ours is there already where the push went through and only its answer was lost.
        if release not in releases and not (releases and release.repeats(releases[-1])):
            text += release.line()
        return {FILE: text, LOCK: lock_text(lock)}

    verb = "Roll back to" if release.is_rollback else "Release"
    try:
        commit = origin.write(change, f"{verb} {lock.name}/{lock.version} [skip ci]", release.who)
    except ReleaseError as exc:
        raise ReleaseError(
            f"pods and ledger have {release.model}, but {LOCK} and {FILE} could not be pushed: {exc}; "
            "run it again"
        ) from exc
    return (
        f"{release.model} is in {stage}; {LOCK} and {FILE} say so in origin/{origin.BRANCH} at {commit[:12]}"
    )


def read_lock(commit: str) -> Lock:
    """`model.lock` as it is in a commit.

    Raises:
        ReleaseError: there is none.
        PackageError: it is not one.
    """
    text = origin.read(commit, LOCK)
    if text is None:
        raise ReleaseError(f"origin/{origin.BRANCH} has no {LOCK}")
    return parse_lock(text, f"{LOCK} in origin/{origin.BRANCH}")


def lock_text(lock: Lock) -> str:
    """`model.lock`, as the loader writes it."""
    return encode(asdict(lock)).decode()


def find_store(lock: Lock) -> Store:
    """The store whose ledger is meant: MODEL_STORE, which may bring a SAS, or the one that the lock names."""
    return open_store(os.environ.get("MODEL_STORE") or lock.store)


def set_stage(store: Store, lock: Lock, stage: str, reason: str | None) -> None:
    """Makes a stage hold what the lock names: by going back where it held that, so that what was taken back
    is not what the stage would go back to next; else by a promotion.
    """
    while True:
        held = [entry.version for entry in read_ledger(store, lock.name).held(stage)]
        if held[-1:] == [lock.version]:
            return
        if lock.version not in held:
            promote(store, lock.name, str(lock.version), stage, reason)
            return
        rollback(store, lock.name, stage, reason)
