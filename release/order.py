"""The order of releases: by commit, and by model version unless the older model is on purpose."""

from release import git_branch
from release.cluster import Object
from release.errors import ReleaseError
from release.manifests import COMMIT, commit_of, model_of
from release.release_log import LOG_FILE, parse


def check_order(running: Object, new: Object, *, is_recorded: bool) -> str | None:
    """Verify that neither code nor model of a release is older than of the one that runs.

    A newer commit may have an older model on purpose, for example after `git revert`. Then it follows the
    record of the release that runs.

    Args:
        running: the Deployment in the cluster.
        new: the Deployment in the release's manifests.
        is_recorded: whether `releases.jsonl` has the releases that ran here, as in production.

    Returns:
        A sentence if the two cannot be compared.

    Raises:
        ReleaseError: the release is older, or origin is unreachable.
    """
    old, commit = commit_of(running), commit_of(new)
    if commit is None:
        raise ReleaseError(f"the new Deployment has no annotation {COMMIT}: render it with scripts/render")
    if old == commit:
        _check_model(model_of(running), model_of(new))
        return None
    git_branch.fetch_history()
    if not git_branch.has_commit(commit):
        raise ReleaseError(f"the clone does not have the commit {commit} of the new release")
    if old is None or not git_branch.has_commit(old):
        return f"cannot compare with the release that runs: its commit, {old or 'none'}, is not in origin"
    if git_branch.contains(old, commit):
        raise ReleaseError(
            f"commit {commit[:12]} is older than {old[:12]}, which runs: to go back, use scripts/rollback"
        )
    if is_recorded and not _has_record(commit, model_of(running)):
        advice = (
            f"{commit[:12]} was built before the latter was recorded; run the pipeline for the latest commit"
        )
        _check_model(model_of(running), model_of(new), advice)
    if not git_branch.contains(commit, old):
        return f"commit {old[:12]}, which runs, is not part of the history of {commit[:12]}"
    return None


def _has_record(commit: str, model: tuple[str, int] | None) -> bool:
    """Return whether a model is one of those that were released before a commit."""
    releases = parse(git_branch.read(commit, LOG_FILE) or "")
    return model is not None and any(each.model.startswith(f"{model[0]}/{model[1]}@") for each in releases)


def _check_model(
    running: tuple[str, int] | None,
    new: tuple[str, int] | None,
    advice: str = "to go back, use scripts/rollback",
) -> None:
    if running and new and running[0] == new[0] and new[1] < running[1]:
        raise ReleaseError(
            f"model {new[0]}/{new[1]} is older than {running[0]}/{running[1]}, which runs: {advice}"
        )
