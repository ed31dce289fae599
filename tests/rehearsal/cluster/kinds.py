"""The kinds of objects that the cluster knows, with the names that the API and kubectl give them."""

import copy
from dataclasses import dataclass
from typing import Any

from tests.rehearsal.errors import RehearsalError

Document = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind.

    Attributes:
        plural: the resource, as in a Role.
        group: the API group; empty for the core group.
        short: kubectl's abbreviation; empty if there is none.
        built_in: whether kubectl knows how to merge its lists; the lists of other kinds are replaced.
    """

    name: str
    plural: str
    group: str = ""
    short: str = ""
    built_in: bool = True

    @property
    def resource(self) -> str:
        """The resource with its group, as in the server's messages: `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def label(self) -> str:
        """The kind with its group, as kubectl prints it: `deployment.apps`."""
        return f"{self.name.lower()}.{self.group}" if self.group else self.name.lower()


KINDS = {
    kind.name: kind
    for kind in (
        Kind("ConfigMap", "configmaps", short="cm"),
        Kind("CronJob", "cronjobs", "batch", "cj"),
        Kind("Deployment", "deployments", "apps", "deploy"),
        Kind("HorizontalPodAutoscaler", "horizontalpodautoscalers", "autoscaling", "hpa"),
        Kind("NetworkPolicy", "networkpolicies", "networking.k8s.io", "netpol"),
        Kind("Pod", "pods", short="po"),
        Kind("PodDisruptionBudget", "poddisruptionbudgets", "policy", "pdb"),
        Kind("PodMonitor", "podmonitors", "azmonitoring.coreos.com", built_in=False),
        Kind("ReplicaSet", "replicasets", "apps", "rs"),
        Kind("Service", "services", short="svc"),
        Kind("ServiceAccount", "serviceaccounts", short="sa"),
    )
}


def find_kind(text: str) -> Kind:
    """Return the kind that `text` names on kubectl's command line, such as `deploy` or `deployments.apps`.

    Raises:
        RehearsalError: there is no such kind.
    """
    for kind in KINDS.values():
        names = {kind.name.lower(), kind.plural, kind.resource, kind.label, kind.short} - {""}
        if text.lower() in names:
            return kind
    raise RehearsalError(f'error: the server doesn\'t have a resource type "{text}"')


def kind_of(document: Document) -> Kind:
    """Return the kind of an object.

    Raises:
        RehearsalError: the cluster does not know it, or knows it under another API group.
    """
    name, version = document.get("kind", ""), document.get("apiVersion", "")
    kind = KINDS.get(name)
    if kind is None or version.rpartition("/")[0] != kind.group:
        raise RehearsalError(f'error: no matches for kind "{name}" in version "{version}"')
    return kind


def with_defaults(document: Document) -> Document:
    """Return an object with the defaults that the API server adds, as far as a rollout depends on them."""
    result = copy.deepcopy(document)
    spec = result.get("spec", {})
    if document["kind"] == "Deployment":
        spec.setdefault("replicas", 1)
        spec.setdefault("progressDeadlineSeconds", 600)
        strategy = spec.setdefault("strategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxSurge", "25%")
            rolling.setdefault("maxUnavailable", "25%")
    if document["kind"] == "HorizontalPodAutoscaler":
        spec.setdefault("minReplicas", 1)
        for rules in spec.get("behavior", {}).values():
            rules.setdefault("selectPolicy", "Max")
    return result
