"""Permissions: each request is checked against a Role of `deploy/azure/cluster.yaml`, as RBAC does."""

from tests.rehearsal.cluster.kinds import Kind
from tests.rehearsal.cluster.state import State
from tests.rehearsal.errors import ApiError

NAMESPACES = ("demo-staging", "demo-production")
# Identity of a pipeline's step → its Role, and the namespaces in which it is bound to it.
IDENTITIES = {
    "demo-staging": ("pipeline", ("demo-staging",)),
    "demo-production": ("pipeline", ("demo-production",)),
    "demo-record": ("reader", NAMESPACES),
    "": ("pipeline", NAMESPACES),  # a person, with the permissions of the pipeline
}


def is_allowed(
    state: State, identity: str, verb: str, kind: Kind, namespace: str, name: str = "", subresource: str = ""
) -> bool:
    """Return whether an identity may send a request; `name` is empty for `list`, `watch` and `create`."""
    role, namespaces = IDENTITIES.get(identity, ("", ()))
    if namespace not in namespaces:
        return False
    resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
    return any(
        verb in rule["verbs"]
        and resource in rule["resources"]
        and kind.group in rule["apiGroups"]
        and ("resourceNames" not in rule or name in rule["resourceNames"])
        for rule in state["roles"].get(namespace, {}).get(role, [])
    )


def authorize(
    state: State, identity: str, verb: str, kind: Kind, namespace: str, name: str = "", subresource: str = ""
) -> None:
    """Check a request.

    Raises:
        ApiError: Forbidden; the message names the verb and the resource that are missing.
    """
    if is_allowed(state, identity, verb, kind, namespace, name, subresource):
        return
    resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
    what = f'{kind.resource} "{name}"' if name else kind.resource
    raise ApiError(
        "Forbidden",
        f'{what} is forbidden: User "{identity or "person"}" cannot {verb} resource "{resource}" '
        f'in API group "{kind.group}" in the namespace "{namespace}"',
    )
