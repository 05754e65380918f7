"""Changed objects in admission: decoded anew, with their defaults; and what CEL makes of JSON.

Follows `admission/plugin/webhook/mutating/dispatcher.go` and
`admission/plugin/policy/mutating/patch`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.apimachinery import go_decoding, go_encoding, status
from pytest_kubesim.apimachinery.cel import values
from pytest_kubesim.apimachinery.managedfields import merge, typed
from pytest_kubesim.apimachinery.schema import schema_for

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.managedfields.typed import Type
    from pytest_kubesim.apimachinery.meta import GroupVersionKind, Object
    from pytest_kubesim.apiserver.admission.chain import Attributes


class PatchError(Exception):
    """A patch that cannot be applied; the text is upstream's."""


def decoded(
    attributes: Attributes, patched: Object, kind: GroupVersionKind, *, strict: bool = False
) -> Object:
    """A patched object as the server decodes it, with its defaults.  Raises `APIStatus` (500).

    `strict`: unknown fields are refused, and not dropped.
    """
    served = attributes.scope.served
    is_own = kind.group_kind == served.gvk.group_kind
    resource = attributes.server.catalog.by_kind(kind) if is_own else None
    if is_own and served.custom:
        return (resource or served).strategy.default(patched)
    schema = schema_for(*kind)
    if schema is None:
        return patched
    wrong = go_decoding.check_types(schema, patched)
    if wrong is not None:
        raise status.new_internal_error(wrong)
    if strict and (unknown := go_decoding.unknown_fields(schema, patched)):
        raise status.new_internal_error(f"strict decoding error: {', '.join(unknown)}")
    patched = go_decoding.drop_unknown(schema, patched)
    if resource is not None:
        patched = resource.strategy.default(patched)
    return go_encoding.roundtrip(schema, patched)


def applied(attributes: Attributes, obj: Object, patch: Object, kind: GroupVersionKind) -> Object:
    """The object with an apply configuration laid over it.  Raises `PatchError`.

    Nothing is owned by anybody afterwards; lists and maps that are one value are refused.
    """
    served = attributes.scope.served
    schema = schema_for(*kind)
    if kind.group_kind == served.gvk.group_kind:
        resource = attributes.server.catalog.by_kind(kind) or served
        schema = resource.schema
    type_ = typed.object_type(schema)
    patch = {"apiVersion": kind.api_version, "kind": kind.kind, **patch}
    try:
        typed.validate(type_, patch)
    except typed.SchemaMismatch as error:
        raise PatchError(
            f"error applying patch: failed to convert patch object to typed object: {error}"
        ) from None
    atomics = _atomics(type_, patch, "")
    if atomics:
        raise PatchError(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps "
            f"or structs: {', '.join(atomics)}"
        )
    try:
        typed.validate(type_, obj, allow_duplicates=True)
        found: Object = merge.merge(type_, obj, patch)
    except typed.SchemaMismatch as error:
        raise PatchError(f"error applying patch: failed to merge patch: {error}") from None
    return found


def _atomics(type_: Type | None, value: Any, path: str) -> list[str]:
    """Where a configuration would replace a whole list or map."""
    if type_ is None:
        return []
    found: list[str] = []
    if isinstance(value, dict) and type_.is_map:
        if type_.map_atomic:
            found.append(path)
        for key, child in cast("Object", value).items():
            if type_.declares(key):
                found += _atomics(type_.child(key), child, f"{path}.{key}")
    elif isinstance(value, list) and type_.is_list:
        if type_.list_atomic:
            found.append(path)
        for index, item in enumerate(cast("list[Any]", value)):
            found += _atomics(type_.item(), item, f"{path}[{index}]")
    return found


def to_json(value: Any) -> Any:
    """A value of CEL as JSON."""
    if isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value)
        return {str(key): to_json(each) for key, each in entries.items()}
    if isinstance(value, list):
        return [to_json(each) for each in cast("list[Any]", value)]
    if isinstance(value, values.Timestamp):
        return values.rfc3339_nano(value)
    if isinstance(value, values.Duration):
        return values.duration_text(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, values.UInt):
        return int(value)
    return value
