"""What the server does to the metadata of every object, whatever its kind.

Follows `apiserver/pkg/registry/rest/meta.go` and
`apimachinery/pkg/util/managedfields/internal/structuredmerge.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apiserver.storage.errors import plain

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object


def ensure_namespace(obj: Object, namespace: str) -> Object:
    """The object in that namespace.  Raises `APIStatus` (400) where it names another.

    Follows `EnsureObjectNamespaceMatchesRequestNamespace`.
    """
    metadata: Object = obj.get("metadata") or {}
    found = metadata.get("namespace") or ""
    if found == namespace:
        return obj
    if not found or not namespace:
        return with_metadata(obj, namespace=namespace or None)
    raise status.new_bad_request(
        "the namespace of the provided object does not match the namespace sent on the request"
    )


def wipe_system_fields(obj: Object) -> Object:
    """The object without what only the server sets (`WipeObjectMetaSystemFields`)."""
    metadata: Object = obj.get("metadata") or {}
    if metadata.keys() & _SYSTEM_FIELDS:
        metadata = {k: v for k, v in metadata.items() if k not in _SYSTEM_FIELDS}
    elif obj.get("metadata") is not None:
        return obj
    return {**obj, "metadata": metadata}


_SYSTEM_FIELDS = frozenset(
    {"creationTimestamp", "uid", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"}
)


def with_metadata(obj: Object, **fields: Any) -> Object:
    """The object with some fields of its metadata replaced; None takes a field away."""
    metadata: Object = dict(obj.get("metadata") or {})
    for key, value in fields.items():
        if value is None:
            metadata.pop(key, None)
        else:
            metadata[key] = value
    return {**obj, "metadata": metadata}


def keep_managed_times(obj: Object, old: Object) -> Object:
    """A write that changes nothing but the times in `managedFields` changes nothing.

    Follows `managedfields/internal/... IgnoreManagedFieldsTimestampsTransformer`.
    """
    entries = obj["metadata"].get("managedFields")
    before = old["metadata"].get("managedFields")
    if entries is None or before is None or entries is before or len(entries) != len(before):
        return obj
    if entries == before or _differ(obj, old):
        return obj
    for new, past in zip(entries, before, strict=True):
        if {**new, "time": None} != {**past, "time": None}:
            return obj
    restored = with_metadata(obj, managedFields=before)
    ignored = {"resourceVersion", "managedFields"}
    new_metadata = {k: v for k, v in restored["metadata"].items() if k not in ignored}
    old_metadata = {k: v for k, v in old["metadata"].items() if k not in ignored}
    return restored if new_metadata == old_metadata else obj


def _differ(obj: Object, old: Object) -> bool:
    """Whether two objects differ in anything but their metadata."""
    if obj.keys() != old.keys():
        return True
    return any(value != old[key] for key, value in obj.items() if key != "metadata")


def parse_resource_version(text: str, label: str = "") -> int:
    """The revision in a resourceVersion, 0 for none.

    Raises `APIStatus` (500) for other text, which stands quoted after the `label`, if any.
    """
    if not text:
        return 0
    if text.isascii() and text.isdigit():
        return int(text)
    label = f"{label}{quote(text)}: " if label else ""
    raise plain(f"{label}strconv.ParseUint: parsing {quote(text)}: invalid syntax")
