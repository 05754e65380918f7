"""Objects as plain dicts: who they are, and how to change one without touching it.

The law: an object is a JSON dict that nobody mutates once it has been stored. The accessors read,
``set_path`` and its kin copy the dicts along one path and share everything else. All of them are
called millions of times in a run, so they do one thing and check nothing.

Follows ``apimachinery/pkg/runtime/schema/group_version.go``, ``pkg/apis/meta/v1/controller_ref.go``
and ``pkg/api/meta/conditions.go``.
"""

from __future__ import annotations  # pyright: ignore[reportAssignmentType]

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias, cast

Object: TypeAlias = dict[str, Any]
"""A Kubernetes object as JSON: ``apiVersion``, ``kind``, ``metadata`` and the rest."""

Path: TypeAlias = tuple[str | int, ...]
"""A way into an object: strings are keys of maps, integers are positions in lists."""


class GroupKind(NamedTuple):
    """A kind without a version; prints as ``Deployment.apps``."""

    group: str
    kind: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind


class GroupResource(NamedTuple):
    """A resource without a version; prints as ``deployments.apps``."""

    group: str
    resource: str

    def __str__(self) -> str:
        return f"{self.resource}.{self.group}" if self.group else self.resource


class GroupVersion(NamedTuple):
    """A group in a version; prints as ``apps/v1``, and as ``v1`` in the core group."""

    group: str
    version: str

    def __str__(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


class GroupVersionKind(NamedTuple):
    """A kind in a version; prints as ``apps/v1, Kind=Deployment``."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        """The ``apiVersion`` of objects of this kind, such as ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_kind(self) -> GroupKind:
        """The same kind without its version."""
        return GroupKind(self.group, self.kind)

    @property
    def group_version(self) -> GroupVersion:
        """The group and the version alone."""
        return GroupVersion(self.group, self.version)

    def __str__(self) -> str:
        return f"{self.group}/{self.version}, Kind={self.kind}"


class GroupVersionResource(NamedTuple):
    """A resource in a version; prints as ``apps/v1, Resource=deployments``."""

    group: str
    version: str
    resource: str

    @property
    def api_version(self) -> str:
        """The ``apiVersion`` that belongs to this resource, such as ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> GroupResource:
        """The same resource without its version."""
        return GroupResource(self.group, self.resource)

    @property
    def group_version(self) -> GroupVersion:
        """The group and the version alone."""
        return GroupVersion(self.group, self.version)

    def __str__(self) -> str:
        return f"{self.group}/{self.version}, Resource={self.resource}"


def parse_api_version(api_version: str) -> GroupVersion:
    """Splits an ``apiVersion`` into group and version.

    Raises ``ValueError`` with Go's text for more than one slash. Empty text and ``/`` give two
    empty strings, as upstream's ``ParseGroupVersion`` does.
    """
    if not api_version or api_version == "/":
        return GroupVersion("", "")
    group, slash, version = api_version.partition("/")
    if not slash:
        return GroupVersion("", api_version)
    if "/" in version:
        raise ValueError(f"unexpected GroupVersion string: {api_version}")
    return GroupVersion(group, version)


def gvk(obj: Object) -> GroupVersionKind:
    """The group, version and kind that the object names itself."""
    group, version = parse_api_version(obj.get("apiVersion") or "")
    return GroupVersionKind(group, version, obj.get("kind") or "")


# -- reading ---------------------------------------------------------------------------------


def name(obj: Object) -> str:
    """``metadata.name``, empty where there is none."""
    return (obj.get("metadata") or _NOTHING).get("name") or ""


def namespace(obj: Object) -> str:
    """``metadata.namespace``, empty for cluster-scoped objects."""
    return (obj.get("metadata") or _NOTHING).get("namespace") or ""


def uid(obj: Object) -> str:
    """``metadata.uid``, empty where there is none."""
    return (obj.get("metadata") or _NOTHING).get("uid") or ""


def generate_name(obj: Object) -> str:
    """``metadata.generateName``, empty where there is none."""
    return (obj.get("metadata") or _NOTHING).get("generateName") or ""


def labels(obj: Object) -> dict[str, str]:
    """``metadata.labels``; an empty dict that must not be written to where there are none."""
    return (obj.get("metadata") or _NOTHING).get("labels") or _NO_STRINGS


def annotations(obj: Object) -> dict[str, str]:
    """``metadata.annotations``; an empty dict that must not be written to where there are none."""
    return (obj.get("metadata") or _NOTHING).get("annotations") or _NO_STRINGS


def owner_references(obj: Object) -> list[Object]:
    """``metadata.ownerReferences``; an empty list that must not be written to where none are."""
    return (obj.get("metadata") or _NOTHING).get("ownerReferences") or _NO_OBJECTS


def finalizers(obj: Object) -> list[str]:
    """``metadata.finalizers``; an empty list that must not be written to where there are none."""
    return (obj.get("metadata") or _NOTHING).get("finalizers") or _NO_NAMES


def generation(obj: Object) -> int:
    """``metadata.generation``, 0 where there is none."""
    return (obj.get("metadata") or _NOTHING).get("generation") or 0


def resource_version(obj: Object) -> str:
    """``metadata.resourceVersion``, empty where there is none."""
    return (obj.get("metadata") or _NOTHING).get("resourceVersion") or ""


def creation_timestamp(obj: Object) -> str | None:
    """``metadata.creationTimestamp`` as RFC 3339 text, ``None`` where there is none."""
    return (obj.get("metadata") or _NOTHING).get("creationTimestamp")


def deletion_timestamp(obj: Object) -> str | None:
    """``metadata.deletionTimestamp`` as RFC 3339 text, ``None`` unless the object terminates."""
    return (obj.get("metadata") or _NOTHING).get("deletionTimestamp")


def controller_of(obj: Object) -> Object | None:
    """The owner reference marked as controller, or ``None``."""
    references: Sequence[Object] = (obj.get("metadata") or _NOTHING).get("ownerReferences") or ()
    for reference in references:
        if reference.get("controller"):
            return reference
    return None


def is_controlled_by(obj: Object, owner: Object) -> bool:
    """Whether the object's controller reference carries the owner's UID."""
    reference = controller_of(obj)
    return reference is not None and reference.get("uid") == uid(owner)


def get_path(obj: Any, *keys: str | int, default: Any = None) -> Any:
    """The value at the end of the keys, or ``default`` where the way breaks off.

    A ``null`` on the way counts as broken off; a ``null`` at its end is returned as ``None``.
    """
    for key in keys:
        try:
            obj = obj[key]
        except (KeyError, IndexError, TypeError):
            return default
    return obj


def condition(obj: Object, type_: str) -> Object | None:
    """The entry of ``status.conditions`` with that ``type``, or ``None``."""
    for entry in (obj.get("status") or _NOTHING).get("conditions") or ():
        if entry.get("type") == type_:
            return cast("Object", entry)
    return None


def is_condition_true(obj: Object, type_: str) -> bool:
    """Whether the condition is there with status ``"True"``."""
    entry = condition(obj, type_)
    return entry is not None and entry.get("status") == "True"


# -- path copies -----------------------------------------------------------------------------


def set_path(obj: Object, path: Path, value: Any) -> Object:
    """The object with ``value`` at ``path``; the original and all that is not on it is shared.

    Missing maps on the way, and maps that are ``null``, are made. An integer addresses an element
    of a list that is there; one past its end appends. Raises ``IndexError`` beyond that.
    """
    return cast("Object", _set(obj, path, 0, value))


def _set(node: Any, path: Path, depth: int, value: Any) -> Any:
    if depth == len(path):
        return value
    key = path[depth]
    if type(key) is int:
        items: list[Any] = list(node or ())
        if key == len(items):
            items.append(_set(None, path, depth + 1, value))
        else:
            items[key] = _set(items[key], path, depth + 1, value)
        return items
    mapping: dict[Any, Any] = dict(node) if node else {}
    mapping[key] = _set(mapping.get(key), path, depth + 1, value)
    return mapping


def delete_path(obj: Object, path: Path) -> Object:
    """The object without what is at ``path``; the same object where nothing is there."""
    node: Any = obj
    for key in path:
        try:
            node = node[key]
        except (KeyError, IndexError, TypeError):
            return obj
    return cast("Object", _delete(obj, path, 0))


def _delete(node: Any, path: Path, depth: int) -> Any:
    key = path[depth]
    copy: Any = list(node) if type(key) is int else dict(node)
    if depth == len(path) - 1:
        del copy[key]
    else:
        copy[key] = _delete(copy[key], path, depth + 1)
    return copy


def with_metadata(obj: Object, **fields: Any) -> Object:
    """The object with some fields of its metadata replaced; ``None`` takes a field away."""
    metadata = dict(obj.get("metadata") or _NOTHING)
    for key, value in fields.items():
        if value is None:
            metadata.pop(key, None)
        else:
            metadata[key] = value
    return {**obj, "metadata": metadata}


def with_status(obj: Object, **fields: Any) -> Object:
    """The object with some fields of its status replaced; ``None`` takes a field away."""
    status = dict(obj.get("status") or _NOTHING)
    for key, value in fields.items():
        if value is None:
            status.pop(key, None)
        else:
            status[key] = value
    return {**obj, "status": status}


def with_condition(
    obj: Object,
    type_: str,
    status: str,
    *,
    now: str,
    reason: str = "",
    message: str = "",
    observed_generation: int | None = None,
) -> Object:
    """The object with one condition set as ``meta.SetStatusCondition`` sets it.

    ``lastTransitionTime`` becomes ``now`` (RFC 3339 text) only where the status changes. Where
    nothing changes at all the object itself is returned.
    """
    conditions: list[Object] = (obj.get("status") or _NOTHING).get("conditions") or []
    position = next(
        (i for i, c in enumerate(conditions) if c.get("type") == type_), len(conditions)
    )
    old = conditions[position] if position < len(conditions) else None
    transition = now
    if old is not None and old.get("status") == status:
        transition = old.get("lastTransitionTime") or now
    entry: Object = {
        "type": type_,
        "status": status,
        "lastTransitionTime": transition,
        "reason": reason,
        "message": message,
    }
    if observed_generation is None and old is not None:
        observed_generation = old.get("observedGeneration")
    if observed_generation is not None:
        entry["observedGeneration"] = observed_generation
    if entry == old:
        return obj
    return with_status(obj, conditions=[*conditions[:position], entry, *conditions[position + 1 :]])


def without_condition(obj: Object, type_: str) -> Object:
    """The object without that condition; the object itself where it has none."""
    conditions: list[Object] = (obj.get("status") or _NOTHING).get("conditions") or []
    kept = [c for c in conditions if c.get("type") != type_]
    return obj if len(kept) == len(conditions) else with_status(obj, conditions=kept)


# -- references ------------------------------------------------------------------------------


def new_controller_ref(owner: Object, owner_kind: GroupVersionKind | None = None) -> Object:
    """An owner reference that makes ``owner`` the controller and blocks its deletion."""
    kind = owner_kind or gvk(owner)
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": name(owner),
        "uid": uid(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def object_reference(obj: Object, field_path: str = "") -> Object:
    """An ObjectReference as events carry it; empty fields are left out."""
    metadata = obj.get("metadata") or _NOTHING
    fields = {
        "kind": obj.get("kind"),
        "namespace": metadata.get("namespace"),
        "name": metadata.get("name"),
        "uid": metadata.get("uid"),
        "apiVersion": obj.get("apiVersion"),
        "resourceVersion": metadata.get("resourceVersion"),
        "fieldPath": field_path,
    }
    return {key: value for key, value in fields.items() if value}


def key_of(obj: Object) -> str:
    """``namespace/name``, or the name alone for cluster-scoped objects: an informer's key."""
    metadata = obj.get("metadata") or _NOTHING
    if space := metadata.get("namespace"):
        return f"{space}/{metadata.get('name') or ''}"
    return metadata.get("name") or ""


def split_key(key: str) -> tuple[str, str]:
    """An informer's key taken apart into namespace and name.

    Raises ``ValueError`` with client-go's text for more than one slash.
    """
    parts = key.split("/")
    if len(parts) == 1:
        return "", parts[0]
    if len(parts) == 2:
        return parts[0], parts[1]
    raise ValueError(f'unexpected key format: "{key}"')


_NOTHING: dict[str, Any] = {}
_NO_STRINGS: dict[str, str] = {}
_NO_OBJECTS: list[Object] = []
_NO_NAMES: list[str] = []
