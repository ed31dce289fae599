"""Kubernetes' semantics of objects, as far as the project's commands depend on them.

https://kubernetes.io/docs/tasks/manage-kubernetes-objects/declarative-config/ and RFC 7386. Lists are
replaced as a whole; the real `kubectl apply` merges some of them by key.
"""

import json
import time
from copy import deepcopy
from typing import Any

Object = dict[str, Any]
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class KubernetesError(Exception):
    """An error, with kubectl's message."""


class Objects:
    """Objects by kind, namespace and name. `items` can be saved as JSON."""

    def __init__(self, items: dict[str, Object] | None = None) -> None:
        """Begin with `items`, which are changed in place."""
        self.items = {} if items is None else items

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return a copy of an object, or None."""
        return deepcopy(self.items.get(_key(kind, namespace, name)))

    def create(self, item: Object) -> None:
        """Create an object.

        Raises:
            KubernetesError: it exists.
        """
        key = _key_of(item)
        if key in self.items:
            raise _refusal("AlreadyExists", f"{_plural(item)} already exists")
        self._store(key, deepcopy(item))

    def replace(self, item: Object) -> None:
        """Replace an object.

        Raises:
            KubernetesError: it does not exist, or its resourceVersion is not `item`'s.
        """
        key = _key_of(item)
        if key not in self.items:
            raise _refusal("NotFound", f"{_plural(item)} not found")
        current = self.items[key]["metadata"]["resourceVersion"]
        if item["metadata"].get("resourceVersion", current) != current:
            text = "the object has been modified; please apply your changes to the latest version"
            raise _refusal(
                "Conflict", f"Operation cannot be fulfilled on {_plural(item)}: {text} and try again"
            )
        self._store(key, deepcopy(item))

    def apply(self, item: Object) -> None:
        """Merge a configuration, the one applied before, and the object.

        Raises:
            KubernetesError: the selector of a Deployment would change.
        """
        key, new = _key_of(item), deepcopy(item)
        new["metadata"].setdefault("annotations", {})[LAST_APPLIED] = json.dumps(item, sort_keys=True)
        live = deepcopy(self.items.get(key))
        if live is None:
            self._store(key, new)
            return
        last = json.loads(live["metadata"].get("annotations", {}).get(LAST_APPLIED, "{}"))
        merged = merge_patch(live, _patch(last, new))
        selector = live.get("spec", {}).get("selector")
        if item["kind"] == "Deployment" and merged["spec"]["selector"] != selector:
            name = item["metadata"]["name"]
            raise KubernetesError(f'The Deployment "{name}" is invalid: spec.selector: field is immutable')
        if merged != live:
            self._store(key, merged)

    def patch(self, kind: str, namespace: str, name: str, patch: Object) -> None:
        """Apply a JSON merge patch.

        Raises:
            KubernetesError: there is no such object.
        """
        live = self.get(kind, namespace, name)
        if live is None:
            raise _refusal("NotFound", f'{kind.lower()}s "{name}" not found')
        self._store(_key(kind, namespace, name), merge_patch(live, patch))

    def delete(self, kind: str, namespace: str, name: str) -> bool:
        """Delete an object, and return whether it existed."""
        return self.items.pop(_key(kind, namespace, name), None) is not None

    def _store(self, key: str, item: Object) -> None:
        # An object that was deleted and created again has another version, in other processes too.
        item["metadata"]["resourceVersion"] = str(time.time_ns())
        behavior = item.get("spec", {}).get("behavior")
        if item["kind"] == "HorizontalPodAutoscaler" and behavior:
            for direction in ("scaleUp", "scaleDown"):
                behavior.setdefault(direction, {}).setdefault("selectPolicy", "Max")
        self.items[key] = item


def merge_patch(target: Any, patch: Any) -> Any:
    """Return a document changed by a JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def _patch(last: Any, new: Any) -> Any:
    """Return a merge patch that sets `new` and removes what only `last` has."""
    if not isinstance(new, dict):
        return new
    last = last if isinstance(last, dict) else {}
    removed = dict.fromkeys(last.keys() - new.keys())
    return removed | {name: _patch(last.get(name), value) for name, value in new.items()}


def _key(kind: str, namespace: str, name: str) -> str:
    return f"{kind.lower()}/{namespace}/{name}"


def _key_of(item: Object) -> str:
    return _key(item["kind"], item["metadata"]["namespace"], item["metadata"]["name"])


def _plural(item: Object) -> str:
    return f'{item["kind"].lower()}s "{item["metadata"]["name"]}"'


def _refusal(reason: str, text: str) -> KubernetesError:
    return KubernetesError(f"Error from server ({reason}): {text}")
