"""Record the release that the pods run: in the ledger, in `model.lock` and in `releases.jsonl`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from model_loader.commands.arguments import DEFAULT_STORE
from model_loader.package import encode
from model_loader.registry.ledger import BUILD, author, now, read_ledger
from model_loader.registry.lockfile import Lock, parse_lock
from model_loader.registry.lockfile import read_lock as parse_lock_file
from model_loader.registry.pull import find_locked
from model_loader.registry.stages import promote, rollback
from model_loader.registry.versions import choose
from model_loader.store import Store, open_store
from release import git_branch
from release.errors import ReleaseError
from release.image_labels import read_labels
from release.kubernetes import namespace_of, verify_pods
from release.release_log import LOG_FILE, Release, parse

PRODUCTION = "production"
LOCK_FILE = "model.lock"


def record(image: str, stage: str) -> str:
    """Verify that the pods of a stage run an image, and record that. Recording it again changes nothing.

    Returns:
        One sentence that describes what was done.

    Raises:
        ReleaseError: a pod runs something else, or something cannot be written; the message says what was
            written.
        LoaderError: the store does not have the model, or rejects the change.
    """
    model, commit = read_labels(image)
    verify_pods(namespace_of(stage), image, model)
    release = Release(now(), commit, image, model, author())
    return write_record(release, stage)


def record_build(selection: Sequence[str]) -> str:
    """Mark the model of a build as taken up, so that no other run picks it up as new. Doing it again is fine.

    Args:
        selection: as `scripts/build` takes it: `--locked`, or `--version` and a number.

    Returns:
        One sentence that describes what was done.

    Raises:
        ReleaseError: the selection is neither.
        LoaderError: the store does not have the model, it was withdrawn, or the change is rejected.
    """
    store = open_store(os.environ.get("MODEL_STORE") or DEFAULT_STORE)
    match list(selection):
        case ["--locked"]:
            lock = parse_lock_file(Path(LOCK_FILE))
            find_locked(store, lock)
            name, version = lock.name, str(lock.version)
        case ["--version", version]:
            name = choose(store, os.environ.get("MODEL_NAME"))
        case _:
            raise ReleaseError(f"expected --locked or --version N as the model, got {' '.join(selection)!r}")
    entry = promote(store, name, version, BUILD)
    return f"{name}/{entry.version}@{entry.digest} is taken up"


def write_record(release: Release, stage: str) -> str:
    """Write a release that the pods of a stage run to the stage's ledger.

    For `production`, `model.lock` and `releases.jsonl` are written too.

    Returns, Raises:
        As for `record`.
    """
    store = find_store(read_lock(git_branch.fetch()))
    lock = release.lock(store.url)
    find_locked(store, lock)
    set_stage(store, lock, stage, release)
    if stage != PRODUCTION:
        return f"{release.model} is in {stage}"

    def change(tip: str) -> Mapping[str, str]:
        text = git_branch.read(tip, LOG_FILE) or ""
        releases = parse(text)
        # Our line is there already if a push succeeded but its response was lost.
        if release not in releases and not (releases and release.repeats(releases[-1])):
            text += release.to_line()
        return {LOG_FILE: text, LOCK_FILE: lock_text(lock)}

    verb = "Roll back to" if release.is_rollback else "Release"
    message = f"{verb} {lock.name}/{lock.version} [skip ci]"
    try:
        commit = git_branch.write(change, message, release.who)
    except ReleaseError as exc:
        raise ReleaseError(
            f"pods and ledger have {release.model}, but {LOCK_FILE} and {LOG_FILE} could not be pushed: "
            f"{exc}; run the command again"
        ) from exc
    return (
        f"{release.model} is in {stage}; {LOCK_FILE} and {LOG_FILE} were updated in "
        f"origin/{git_branch.BRANCH} at {commit[:12]}"
    )


def read_lock(commit: str) -> Lock:
    """Read `model.lock` from a commit.

    Raises:
        ReleaseError: the commit has no such file.
        PackageError: the file is not a lock.
    """
    text = git_branch.read(commit, LOCK_FILE)
    if text is None:
        raise ReleaseError(f"origin/{git_branch.BRANCH} has no {LOCK_FILE}")
    return parse_lock(text, f"{LOCK_FILE} in origin/{git_branch.BRANCH}")


def lock_text(lock: Lock) -> str:
    """Return the text of `model.lock`, as the loader writes it."""
    return encode(asdict(lock)).decode()


def find_store(lock: Lock) -> Store:
    """Return the store that has the ledger: MODEL_STORE, which may contain a SAS, or else the lock's."""
    return open_store(os.environ.get("MODEL_STORE") or lock.store)


def set_stage(store: Store, lock: Lock, stage: str, release: Release) -> None:
    """Make the locked model of a release the current one of a stage.

    After a rollback, or if the stage had the model before, roll back to it, so that a later rollback does not
    return to a version that was itself rolled back. Otherwise promote it.
    """
    versions = [entry.version for entry in read_ledger(store, lock.name).promotions(stage)]
    if release.is_rollback or lock.version in versions:
        rollback(store, lock.name, stage, release.reason, to=lock.version)
    else:
        promote(store, lock.name, str(lock.version), stage, release.reason)
