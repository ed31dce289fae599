"""`python -m release.pipeline_plan`: whether a pipeline run has anything to build, and which model.

A new model is the store's latest, unless the lock has it or it was staged before: what was rejected under
traffic, rolled back or reverted is not picked up again. Where there is none, a commit is built with the model
that it locks, and a run that the store or the clock started has nothing to do.
"""

import os
import sys
from pathlib import Path

from model_loader.commands import DEFAULT_STORE
from model_loader.errors import LoaderError
from model_loader.registry.ledger import read_ledger
from model_loader.registry.lockfile import read_lock
from model_loader.registry.versions import choose, find
from model_loader.store import open_store

# What Azure Pipelines calls a webhook's event and the clock in Build.Reason.
WITHOUT_COMMIT = ("ResourceTrigger", "Schedule")


def plan(store_url: str, lock_path: Path, reason: str) -> tuple[bool, str, str]:
    """Whether to build, which model as scripts/build takes it, and why.

    Args:
        reason: Build.Reason.

    Raises:
        LoaderError: the store or the lock cannot be read.
    """
    store, lock = open_store(store_url), read_lock(lock_path)
    name = choose(store, os.environ.get("MODEL_NAME"))
    latest, ledger = find(store, name, "latest"), read_ledger(store, name)
    staged = [entry.digest for entry in ledger.entries if entry.stage == "staging"]
    if lock.digest == latest.digest:
        why, model = f"{latest} is locked", "--locked"
    elif latest.digest in staged:
        why, model = f"{latest} was staged before, {lock.name}/{lock.version} is locked", "--locked"
    else:
        why, model = f"{latest} is new", f"--version {latest.manifest.version}"
    if lock.store != store.url:
        why, model = f"{why}, the lock is of another store", f"--version {latest.manifest.version}"
    return "is new" in why or reason not in WITHOUT_COMMIT, model, why


def main() -> int:
    """Prints the decision, for people and as the output variables `run` and `model`."""
    try:
        run, model, why = plan(
            os.environ.get("MODEL_STORE") or DEFAULT_STORE,
            Path("model.lock"),
            os.environ.get("BUILD_REASON", "Manual"),
        )
    except LoaderError as exc:
        print(f"plan: {exc}", file=sys.stderr)
        return 1
    print(f"{why}: {f'build {model}' if run else 'nothing to do'}")
    print(f"##vso[task.setvariable variable=run;isOutput=true]{str(run).lower()}")
    print(f"##vso[task.setvariable variable=model;isOutput=true]{model}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
