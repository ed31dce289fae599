"""`python -m release.pipeline_plan`: decide whether a pipeline run has anything to build, and which model.

A model is new if it is the latest in the store, `model.lock` does not name it, and no build of it ever began.
A model that a check or a canary rejected, or that was rolled back or reverted, is therefore not picked up
again. Without a new model, a commit is built with the locked model, and a run that the store or the schedule
started ends. A locked model that was withdrawn is not built.
"""

import os
import sys
from pathlib import Path

from model_loader.commands.arguments import DEFAULT_STORE
from model_loader.errors import LoaderError, StoreError
from model_loader.registry.ledger import BUILD, read_ledger
from model_loader.registry.lockfile import read_lock
from model_loader.registry.stages import describe_withdrawal
from model_loader.registry.versions import choose, find
from model_loader.store import open_store
from release.errors import ReleaseError
from release.pipeline_outputs import set_output

# Runs that a model's event or the schedule started: Azure's Build.Reason, GitHub's event.
WITHOUT_COMMIT = ("ResourceTrigger", "Schedule", "repository_dispatch", "schedule")
# Stages in the ledger. A model in `staging` without `build` was staged by hand.
TAKEN_UP = (BUILD, "staging")


def plan(store_url: str, lock_path: Path, build_reason: str) -> tuple[bool, str, str]:
    """Return whether to build, the arguments that select the model for scripts/build, and the reason.

    Args:
        build_reason: Azure Pipelines' Build.Reason, or the name of GitHub's event.

    Raises:
        LoaderError: the store or the lock cannot be read, or the locked model was withdrawn.
    """
    store, lock = open_store(store_url), read_lock(lock_path)
    name = choose(store, os.environ.get("MODEL_NAME"))
    latest, ledger = find(store, name, "latest"), read_ledger(store, name)
    taken_up = [entry.digest for entry in ledger.entries if entry.stage in TAKEN_UP]
    is_new = lock.digest != latest.digest and latest.digest not in taken_up
    if is_new:
        why, model = f"{latest} is new", f"--version {latest.manifest.version}"
    elif lock.digest == latest.digest:
        why, model = f"{latest} is locked", "--locked"
    else:
        why, model = f"{latest} was built before, {lock.name}/{lock.version} is locked", "--locked"
    if lock.store != store.url:
        why, model = f"{why}, the lock names another store", f"--version {latest.manifest.version}"
    run = is_new or build_reason not in WITHOUT_COMMIT
    withdrawal = ledger.withdrawals.get(lock.version)
    if run and model == "--locked" and withdrawal:
        raise StoreError(
            f"{lock.name}/{lock.version} in {lock_path} cannot be built: {describe_withdrawal(withdrawal)}; "
            f"revert the lock, or pull --version {latest.manifest.version} and commit it"
        )
    return run, model, why


def main() -> int:
    """Print the decision, as text and as the output variables `run` and `model`."""
    try:
        run, model, why = plan(
            os.environ.get("MODEL_STORE") or DEFAULT_STORE,
            Path("model.lock"),
            os.environ.get("BUILD_REASON") or os.environ.get("GITHUB_EVENT_NAME") or "Manual",
        )
        print(f"{why}: {f'build {model}' if run else 'nothing to build'}")
        set_output("run", str(run).lower())
        set_output("model", model)
    except (LoaderError, ReleaseError) as exc:
        print(f"plan: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
