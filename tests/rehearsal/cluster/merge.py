"""The merges of `kubectl apply` and `kubectl patch`.

https://kubernetes.io/docs/tasks/manage-kubernetes-objects/declarative-config/#how-apply-calculates-differences-and-merges-changes
"""

import copy
from typing import Any

# Field with a list of mappings → the key that identifies an item, in built-in kinds. Others are replaced.
MERGE_KEYS = {
    "containers": ("name",),
    "env": ("name",),
    "ports": ("containerPort", "port"),
    "topologySpreadConstraints": ("topologyKey",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}


def merge_patch(current: Any, patch: Any) -> Any:
    """Return `current` with a JSON merge patch (RFC 7396) applied: null deletes a key, lists are replaced."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(current) if isinstance(current, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def three_way_merge(last: Any, new: Any, current: Any, *, merge_lists: bool, field: str = "") -> Any:
    """Return `current` after applying `new`.

    What `last` has and `new` lacks is deleted; what `new` has is set; everything else in `current`, such as
    the fields that a controller or an administrator has set, is kept.

    Args:
        last: the configuration that was last applied.
        merge_lists: whether the lists of `MERGE_KEYS` are merged by item.
        field: name of the field that has these values.
    """
    if isinstance(new, dict) and isinstance(current, dict):
        last = last if isinstance(last, dict) else {}
        result = {key: value for key, value in current.items() if key in new or key not in last}
        for key, value in new.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = three_way_merge(
                    last.get(key), value, current.get(key), merge_lists=merge_lists, field=key
                )
        return result
    if merge_lists and (key := _merge_key(field, new, current)):
        return _merge_items(last, new, current, key)
    return copy.deepcopy(new)


def _merge_key(field: str, new: Any, current: Any) -> str:
    """Return the key that identifies the items of both lists, or an empty string."""
    if not isinstance(new, list) or not isinstance(current, list):
        return ""
    items = [*new, *current]
    keys = MERGE_KEYS.get(field, ())
    return next((key for key in keys if all(isinstance(item, dict) and key in item for item in items)), "")


def _merge_items(last: Any, new: list[Any], current: list[Any], key: str) -> list[Any]:
    last_by, current_by = ({item[key]: item for item in items or []} for items in (last, current))
    result = [
        three_way_merge(last_by.get(item[key]), item, current_by.get(item[key]), merge_lists=True)
        for item in new
    ]
    known = {item[key] for item in new} | last_by.keys()
    return result + [item for item in current if item[key] not in known]
