"""What a rollout remembers between its commands: a ConfigMap in its namespace.

The run in it owns the rollout. `start` always makes its own run the owner, so the commands of an earlier run,
for example on an agent that was lost and came back, find another run there and change nothing.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from model_loader.registry.ledger import user_at_host
from release.cluster import Cluster, Object
from release.errors import ReleaseError
from release.kubernetes import NAME

STATE_NAME = f"{NAME}-rollout"
# Variable → prefix of the run's id, by precedence.
RUN_VARIABLES = {"ROLLOUT_RUN": "", "BUILD_BUILDID": "azure-", "GITHUB_RUN_ID": "github-"}


class LostRolloutError(ReleaseError):
    """The rollout does not belong to this run, or no longer.

    Attributes:
        owner: the run that it belongs to; None if it is unknown, or if no rollout is in progress.
    """

    def __init__(self, message: str, owner: str | None = None) -> None:
        """Set message and owner."""
        super().__init__(message)
        self.owner = owner


@dataclass(frozen=True)
class RolloutState:
    """A rollout in progress.

    Attributes:
        run: id of the run that owns it.
        started: RFC 3339, UTC.
        image: the new release's image.
        changes_objects: whether other objects than canary and control may have been changed already, so that
            a rejection restores them.
        select_policy: `spec.behavior.scaleDown.selectPolicy` of the autoscaler before it was held; None if
            there was no autoscaler.
        manifests: the new release's objects.
        before: the configurations that those of them which existed were last applied with.
        version: the ConfigMap's resourceVersion; empty before it is created.
    """

    run: str
    started: str
    image: str
    changes_objects: bool
    select_policy: str | None
    manifests: list[Object]
    before: list[Object]
    version: str = ""

    def to_object(self, namespace: str) -> Object:
        """Return the ConfigMap."""
        metadata = {"name": STATE_NAME, "namespace": namespace, "labels": {"app.kubernetes.io/name": NAME}}
        if self.version:
            metadata["resourceVersion"] = self.version
        data = {
            "run": self.run,
            "started": self.started,
            "image": self.image,
            "changes_objects": json.dumps(self.changes_objects),
            "select_policy": json.dumps(self.select_policy),
            "manifests": json.dumps(self.manifests),
            "before": json.dumps(self.before),
        }
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def read_state(cluster: Cluster) -> RolloutState | None:
    """Return the rollout in progress, or None.

    Raises:
        ReleaseError: kubectl fails, or the ConfigMap is not what `to_object` returns.
    """
    found = cluster.find("configmap", STATE_NAME)
    if found is None:
        return None
    try:
        data = found["data"]
        return RolloutState(
            run=data["run"],
            started=data["started"],
            image=data["image"],
            changes_objects=bool(json.loads(data["changes_objects"])),
            select_policy=json.loads(data["select_policy"]),
            manifests=json.loads(data["manifests"]),
            before=json.loads(data["before"]),
            version=found["metadata"]["resourceVersion"],
        )
    except (LookupError, TypeError, ValueError) as exc:
        raise ReleaseError(
            f"the ConfigMap {STATE_NAME} in {cluster.namespace} is not a rollout's state: {exc!r}; run "
            f"kubectl -n {cluster.namespace} delete configmap {STATE_NAME}, then scripts/rollout reject "
            f"--namespace {cluster.namespace}"
        ) from exc


def owned_state(cluster: Cluster, run: str) -> RolloutState:
    """Return the rollout in progress.

    Raises:
        LostRolloutError: there is none, or it belongs to another run.
        ReleaseError: kubectl fails.
    """
    state = read_state(cluster)
    if state is None:
        raise LostRolloutError(f"no rollout is in progress in {cluster.namespace}: begin with `start`")
    if state.run != run:
        text = f"the rollout in {cluster.namespace} belongs to {state.run}, not to {run}"
        raise LostRolloutError(text, state.run)
    return state


def forget(cluster: Cluster) -> None:
    """Delete the state. The commands of the run that owned it change nothing from then on."""
    cluster.delete("configmap", STATE_NAME)


def runs_in_pipeline(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether a variable names the run, as in a pipeline."""
    return any(environ.get(variable) for variable in RUN_VARIABLES)


def run_id(environ: Mapping[str, str] = os.environ) -> str:
    """Return the id of this run: of the pipeline's run, or `user@host` outside of pipelines."""
    for variable, prefix in RUN_VARIABLES.items():
        if value := environ.get(variable):
            return prefix + value
    return user_at_host()
