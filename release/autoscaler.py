"""Holding the autoscaler while pods split the traffic: it adds pods as always, but removes none.

It counts only the stable pods, whose load falls while canary and control pods take a share. It would remove
stable pods, which the promotion would then lack.
"""

from release.cluster import Cluster, Object, applied_configuration
from release.kubernetes import NAME

RESOURCE = "horizontalpodautoscaler"
HELD = "Disabled"
DEFAULT_POLICY = "Max"


def find_autoscaler(cluster: Cluster) -> Object | None:
    """Return the autoscaler of the stable pods as it is in the cluster, or None."""
    return cluster.find(RESOURCE, NAME)


def scale_down_policy(autoscaler: Object) -> str:
    """Return how an autoscaler chooses the number of pods to remove: `Max`, `Min` or `Disabled`."""
    scale_down = autoscaler["spec"].get("behavior", {}).get("scaleDown", {})
    return str(scale_down.get("selectPolicy", DEFAULT_POLICY))


def hold(cluster: Cluster) -> None:
    """Keep the autoscaler from removing pods.

    Raises:
        ReleaseError: kubectl fails.
    """
    _set_policy(cluster, HELD)


def release(cluster: Cluster, policy: str | None) -> None:
    """Let a held autoscaler remove pods again.

    Args:
        policy: the one that it had before; None for the one in its applied configuration.

    Raises:
        ReleaseError: kubectl fails.
    """
    autoscaler = find_autoscaler(cluster)
    if autoscaler is None or scale_down_policy(autoscaler) != HELD:
        return
    wanted = policy or scale_down_policy(applied_configuration(autoscaler))
    if wanted != HELD:
        _set_policy(cluster, wanted)


def _set_policy(cluster: Cluster, policy: str) -> None:
    cluster.patch(RESOURCE, NAME, {"spec": {"behavior": {"scaleDown": {"selectPolicy": policy}}}})
