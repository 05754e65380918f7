"""Metadata of resources inside of custom resources.

A node with ``x-kubernetes-embedded-resource`` holds a whole object. Its ``apiVersion`` and ``kind``
are strings, its metadata is what Go makes of an ObjectMeta, and both are validated.

The law: nothing is changed in place.

Follows ``apiextensions-apiserver/pkg/apiserver/schema/objectmeta``.
"""

from __future__ import annotations

from typing import Any, cast

from pytest_kubesim.apimachinery import formats, go_decoding, go_encoding, meta, validation
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.objectmeta import validate_object_meta
from pytest_kubesim.apimachinery.schema import Schema, schema_named
from pytest_kubesim.apimachinery.validation import NIL, ErrorList, FieldError, Path

_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class CoercionError(Exception):
    """Metadata that Go cannot read; ``error`` is the field error."""

    def __init__(self, error: FieldError) -> None:
        super().__init__(str(error))
        self.error = error


def object_meta(metadata: Any, *, drop_invalid: bool = False) -> tuple[Object, list[str]]:
    """Metadata as it comes back out of Go, and the paths of the fields that Go does not know.

    Raises ``ValueError`` with Go's text for values of a wrong type; ``drop_invalid`` drops those
    fields instead.
    """
    schema = schema_named(_OBJECT_META)
    if metadata is None:
        return {}, []
    if not isinstance(metadata, dict):
        kind = validation.golang.type_name(metadata)
        if drop_invalid:
            text = f"invalid metadata: expected object, got {kind}"
        else:
            text = go_decoding.check_types(schema, metadata) or ""
        raise ValueError(text)  # noqa: TRY004 -- upstream's answer to a client
    given = cast("Object", metadata)
    problem = go_decoding.check_types(schema, given)
    if problem is not None:
        if not drop_invalid:
            raise ValueError(problem)
        given = {k: v for k, v in given.items() if go_decoding.check_types(schema, {k: v}) is None}
    unknown = [name for name in given if name not in schema.properties]
    known = go_decoding.drop_unknown(schema, given)
    return go_encoding.roundtrip(schema, known), unknown


def coerce(
    schema: Schema | None,
    obj: Any,
    path: Path = NIL,
    *,
    is_root: bool = False,
    drop_invalid: bool = False,
) -> tuple[Any, list[str]]:
    """The object with the metadata inside of it as Go has it, and the paths of unknown fields.

    ``is_root`` does so for the object's own metadata too. Raises ``CoercionError``.
    """
    unknown: list[str] = []
    coerced = _coerce(schema, obj, path, is_root, drop_invalid, unknown)
    unknown.sort()
    return coerced, unknown


def _coerce(
    schema: Schema | None,
    value: Any,
    path: Path,
    embedded: bool,
    drop_invalid: bool,
    unknown: list[str],
) -> Any:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        changed = _coerce_embedded(fields, path, drop_invalid, unknown) if embedded else fields
        if schema is None:
            return changed
        for name, item in fields.items():
            below = schema.properties.get(name)
            where = path.child(name)
            if below is None:
                below = schema.additional_properties
                where = path.key(name)
            if below is None or name not in changed or not isinstance(item, (dict, list)):
                continue
            given = changed[name]
            coerced = _coerce(below, given, where, below.embedded_resource, drop_invalid, unknown)
            if coerced is not given:
                changed = dict(changed) if changed is fields else changed
                changed[name] = coerced
        return changed
    if isinstance(value, list):
        items = cast("list[Any]", value)
        below = schema.item() if schema is not None else None
        if below is None:
            return items
        is_object = below.embedded_resource
        coerced_items = [
            _coerce(below, item, path.index(i), is_object, drop_invalid, unknown)
            for i, item in enumerate(items)
        ]
        same = all(a is b for a, b in zip(items, coerced_items, strict=True))
        return items if same else coerced_items
    return value


def _coerce_embedded(
    fields: dict[str, Any], path: Path, drop_invalid: bool, unknown: list[str]
) -> dict[str, Any]:
    changed = dict(fields)
    for name in ("apiVersion", "kind"):
        if name in fields and not isinstance(fields[name], str):
            if not drop_invalid:
                detail = "must be a string"
                raise CoercionError(validation.invalid(path.child(name), fields[name], detail))
            del changed[name]
    if "metadata" in fields:
        where = path.child("metadata")
        try:
            metadata, names = object_meta(fields["metadata"], drop_invalid=drop_invalid)
        except ValueError as problem:
            if not drop_invalid:
                error = validation.invalid(where, fields["metadata"], str(problem))
                raise CoercionError(error) from problem
        else:
            unknown += [f"{where}.{name}" for name in names]
            changed["metadata"] = metadata
    return fields if changed == fields else changed


def validate_embedded(
    schema: Schema | None, obj: Any, path: Path = NIL, *, is_root: bool = False
) -> ErrorList:
    """What is wrong with the resources inside of an object; with ``is_root``, with itself too."""
    if schema is None and not is_root:
        return []
    errors: ErrorList = []
    _validate(schema, obj, path, is_root, errors)
    return errors


def _validate(
    schema: Schema | None, value: Any, path: Path, embedded: bool, errors: ErrorList
) -> None:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        if embedded:
            errors += _validate_resource(fields, path)
        if schema is None:
            return
        for name, item in fields.items():
            if not isinstance(item, (dict, list)):
                continue
            below = schema.properties.get(name)
            where = path.child(name)
            if below is None:
                below = schema.additional_properties
                where = path.key(name)
            if below is not None:
                _validate(below, item, where, below.embedded_resource, errors)
    elif isinstance(value, list):
        below = schema.item() if schema is not None else None
        if below is not None:
            for index, item in enumerate(cast("list[Any]", value)):
                _validate(below, item, path.index(index), below.embedded_resource, errors)


def _validate_resource(fields: dict[str, Any], path: Path) -> ErrorList:
    errors = [
        validation.required(path.child(name))
        for name in ("apiVersion", "kind")
        if name not in fields
    ]
    for name, value in fields.items():
        if name == "apiVersion":
            errors += _validate_api_version(value, path.child(name))
        elif name == "kind":
            errors += _validate_kind(value, path.child(name))
        elif name == "metadata":
            errors += _validate_metadata(value, path.child(name))
    return errors


def _validate_api_version(value: Any, path: Path) -> ErrorList:
    if not isinstance(value, str):
        return [validation.invalid(path, value, "must be a string")]
    if not value:
        return [validation.invalid(path, value, "must not be empty")]
    try:
        meta.parse_api_version(value)
    except ValueError as problem:
        return [validation.invalid(path, value, str(problem))]
    return []


def _validate_kind(value: Any, path: Path) -> ErrorList:
    if not isinstance(value, str):
        return [validation.invalid(path, value, "must be a string")]
    if not value:
        return [validation.invalid(path, value, "must not be empty")]
    problems = formats.is_dns1035_label(value.lower())
    if not problems:
        return []
    detail = "may have mixed case, but should otherwise match: " + ",".join(problems)
    return [validation.invalid(path, value, detail)]


def _validate_metadata(value: Any, path: Path) -> ErrorList:
    try:
        metadata, _ = object_meta(value)
    except ValueError as problem:
        return [validation.invalid(path, value, str(problem))]
    # A name is not demanded of what is not stored by itself.
    metadata = {**metadata, "name": metadata.get("name") or "fakename"}
    return validate_object_meta(
        metadata,
        requires_namespace=bool(metadata.get("namespace")),
        name_check=formats.is_valid_path_segment_name,
        path=path,
    )
