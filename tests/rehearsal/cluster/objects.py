"""The objects of the API server: create, replace, patch, apply, delete.

https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

import copy
import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from tests.rehearsal.cluster.kinds import Document, Kind, kind_of, with_defaults
from tests.rehearsal.cluster.merge import merge_patch, three_way_merge
from tests.rehearsal.cluster.state import State
from tests.rehearsal.errors import ApiError

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
FOREGROUND = "foregroundDeletion"
# Set by the server; what a client sends is ignored.
SERVER_FIELDS = (
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "finalizers",
    "ownerReferences",
)


def key_of(document: Document) -> str:
    """Return the key of an object in the state."""
    metadata = document["metadata"]
    return f"{metadata['namespace']}/{document['kind']}/{metadata['name']}"


def get(state: State, kind: Kind, namespace: str, name: str) -> Document:
    """Return an object.

    Raises:
        ApiError: NotFound.
    """
    found: Document | None = state["objects"].get(f"{namespace}/{kind.name}/{name}")
    if found is None:
        raise ApiError("NotFound", f'{kind.resource} "{name}" not found')
    return found


def listed(
    state: State, kind: str, namespace: str = "", labels: Mapping[str, str] | None = None
) -> list[Document]:
    """Return the objects of a kind, in all namespaces if `namespace` is empty, that have these labels."""
    return [
        each
        for each in state["objects"].values()
        if each["kind"] == kind
        and namespace in ("", each["metadata"]["namespace"])
        and (labels or {}).items() <= each["metadata"].get("labels", {}).items()
    ]


def owned(state: State, owner: Document, kind: str) -> list[Document]:
    """Return the objects of a kind that a controller has created for `owner`, the oldest first."""
    uid = owner["metadata"]["uid"]
    return [
        each
        for each in listed(state, kind, owner["metadata"]["namespace"])
        if any(reference["uid"] == uid for reference in each["metadata"].get("ownerReferences", []))
    ]


def create(state: State, document: Document, owner: Document | None = None) -> Document:
    """Create an object; `owner` is the object that a controller creates it for.

    Raises:
        ApiError: AlreadyExists, or the object is invalid.
    """
    kind, metadata = kind_of(document), document["metadata"]
    if metadata.get("resourceVersion"):
        raise ApiError("BadRequest", "resourceVersion should not be set on objects to be created")
    if key_of(document) in state["objects"]:
        raise ApiError("AlreadyExists", f'{kind.resource} "{metadata["name"]}" already exists')
    created = with_defaults(document)
    created["metadata"] |= {
        "uid": str(uuid.uuid4()),
        "creationTimestamp": timestamp(),
        "generation": 1,
    }
    if owner is not None:
        reference = {
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
        }
        created["metadata"]["ownerReferences"] = [
            reference | {"controller": True, "blockOwnerDeletion": True}
        ]
    created.setdefault("status", {})
    _validate(created, None)
    return _store(state, created)


def replace(state: State, document: Document) -> Document:
    """Replace an object, if it still has the resourceVersion that `document` names.

    Raises:
        ApiError: NotFound; Conflict; or the object is invalid.
    """
    kind, metadata = kind_of(document), document["metadata"]
    current = get(state, kind, metadata["namespace"], metadata["name"])
    known, given = current["metadata"], metadata.get("resourceVersion", "")
    if given and given != known["resourceVersion"]:
        raise _conflict(
            kind,
            metadata["name"],
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    if metadata.get("uid", known["uid"]) != known["uid"]:
        raise _conflict(
            kind,
            metadata["name"],
            f"Precondition failed: UID in precondition: {metadata['uid']}, in object meta: {known['uid']}",
        )
    return update(state, current, document)


def patch(state: State, kind: Kind, namespace: str, name: str, change: Document) -> tuple[Document, bool]:
    """Apply a merge patch; return the object and whether it changed.

    Raises:
        ApiError: NotFound; Conflict, if the patch names a resourceVersion; or the result is invalid.
    """
    current = get(state, kind, namespace, name)
    version = change.get("metadata", {}).get("resourceVersion", "")
    if version and version != current["metadata"]["resourceVersion"]:
        raise _conflict(kind, name, "the object has been modified")
    before = current["metadata"]["resourceVersion"]
    updated = update(state, current, merge_patch(current, change))
    return updated, updated["metadata"]["resourceVersion"] != before


def apply(state: State, document: Document) -> tuple[Document, str]:
    """Create an object or merge it into the present one; return it and what kubectl prints.

    Raises:
        ApiError: the object is invalid.
    """
    kind, metadata = kind_of(document), document["metadata"]
    wanted = copy.deepcopy(document)
    wanted["metadata"].setdefault("annotations", {}).pop(LAST_APPLIED, None)
    for field in ("resourceVersion", *SERVER_FIELDS):
        wanted["metadata"].pop(field, None)
    wanted.pop("status", None)
    text = json.dumps(wanted, separators=(",", ":"), sort_keys=True) + "\n"
    wanted["metadata"]["annotations"][LAST_APPLIED] = text
    current = state["objects"].get(f"{metadata['namespace']}/{kind.name}/{metadata['name']}")
    if current is None:
        return create(state, wanted), "created"
    last = json.loads(current["metadata"].get("annotations", {}).get(LAST_APPLIED, "{}"))
    last.get("metadata", {}).get("annotations", {}).pop(LAST_APPLIED, None)
    merged = three_way_merge(last, wanted, current, merge_lists=kind.built_in)
    version = current["metadata"]["resourceVersion"]
    updated = update(state, current, merged)
    return updated, "unchanged" if updated["metadata"]["resourceVersion"] == version else "configured"


def delete(state: State, kind: Kind, namespace: str, name: str, *, foreground: bool) -> None:
    """Delete an object. The garbage collector deletes what it owns: before it, if `foreground`, or after it.

    Raises:
        ApiError: NotFound.
    """
    current = get(state, kind, namespace, name)
    if foreground and any(True for _ in dependents(state, current)):
        mark_deleted(state, current)
    else:
        del state["objects"][key_of(current)]


def dependents(state: State, document: Document) -> Iterator[Document]:
    """Yield the objects that `document` owns."""
    for kind in ("ReplicaSet", "Pod"):
        yield from owned(state, document, kind)


def mark_deleted(state: State, document: Document) -> None:
    """Mark an object as being deleted; its controller or the garbage collector removes it."""
    metadata = document["metadata"]
    if "deletionTimestamp" not in metadata:
        metadata["deletionTimestamp"] = timestamp()
        if document["kind"] != "Pod":
            metadata["finalizers"] = [FOREGROUND]
        _store(state, document)


def update(state: State, current: Document, wanted: Document) -> Document:
    """Change `current`, in the state, into `wanted`, except for what only the server sets; return it.

    Raises:
        ApiError: the object is invalid.
    """
    updated = with_defaults(wanted)
    for field in (*SERVER_FIELDS, "resourceVersion"):
        updated["metadata"].pop(field, None)
        if field in current["metadata"]:
            updated["metadata"][field] = current["metadata"][field]
    updated["status"] = current["status"]
    _validate(updated, current)
    if updated == current:
        return current
    if updated.get("spec") != current.get("spec"):
        updated["metadata"]["generation"] += 1
    current.clear()
    current.update(updated)
    return _store(state, current)


def set_status(state: State, document: Document, status: Document) -> None:
    """Store the status of an object, as its controller does."""
    if document["status"] != status:
        document["status"] = status
        _store(state, document)


def timestamp() -> str:
    """Return the time in the format of the API server."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _store(state: State, document: Document) -> Document:
    state["version"] += 1
    document["metadata"]["resourceVersion"] = str(state["version"])
    state["objects"][key_of(document)] = document
    return document


def _conflict(kind: Kind, name: str, reason: str) -> ApiError:
    return ApiError("Conflict", f'Operation cannot be fulfilled on {kind.resource} "{name}": {reason}')


def _validate(document: Document, current: Document | None) -> None:
    if document["kind"] != "Deployment":
        return
    spec, name = document["spec"], document["metadata"]["name"]
    selector = spec["selector"]["matchLabels"]
    if current is not None and current["spec"]["selector"] != spec["selector"]:
        reason = f"spec.selector: Invalid value: {json.dumps(spec['selector'])}: field is immutable"
        raise ApiError("Invalid", f'Deployment.apps "{name}" is invalid: {reason}')
    if not selector.items() <= spec["template"]["metadata"].get("labels", {}).items():
        reason = "spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`"
        raise ApiError("Invalid", f'Deployment.apps "{name}" is invalid: {reason}')
