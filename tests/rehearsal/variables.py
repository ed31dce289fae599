"""The variables of a run, by the names that Azure Pipelines or GitHub Actions give them."""

import re
from collections.abc import Mapping

from tests.rehearsal.pipeline import Pipeline
from tests.rehearsal.systems import AZURE

IDENTITIES = ("read", "build", "staging", "production", "record", "training")
# Build.Reason → the event of GitHub that starts the same run.
EVENTS = {"IndividualCI": "push", "ResourceTrigger": "repository_dispatch", "Schedule": "schedule"}


def run_variables(
    pipeline: Pipeline, reason: str, number: int, commit: str, settings: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables of a run on the branch main.

    Args:
        reason: value of Build.Reason, also for GitHub.
        number: of the run.
        commit: that the run checks out.
        settings: variables that a team sets, by their names in `azure-pipelines.yml`.
    """
    if pipeline.system is AZURE:
        return {
            **pipeline.variables,
            "Build.Reason": reason,
            "Build.BuildId": str(number),
            "Build.SourceBranch": "refs/heads/main",
            "Build.SourceBranchName": "main",
            "Build.SourceVersion": commit,
            "Build.RequestedFor": "rehearsal",
            **settings,
        }
    # modelStore is MODEL_STORE among a repository's variables on GitHub.
    named = {re.sub(r"([A-Z])", r"_\1", name).upper(): value for name, value in settings.items()}
    clients = {f"AZURE_CLIENT_ID_{each.upper()}": f"demo-{each}" for each in IDENTITIES}
    return {
        **pipeline.variables,
        **named,
        **clients,
        "GITHUB_EVENT_NAME": EVENTS[reason],
        "GITHUB_RUN_ID": str(number),
        "GITHUB_SERVER_URL": "https://github.example.com",
        "GITHUB_REF": "refs/heads/main",
        "GITHUB_REF_NAME": "main",
        "GITHUB_SHA": commit,
        "GITHUB_ACTOR": "rehearsal",
        "GITHUB_REPOSITORY": "example/demo",
    }
