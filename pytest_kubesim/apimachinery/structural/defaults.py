"""Defaults of a CRD's schema must be valid, and must survive their own schema.

Follows ``apiextensions-apiserver/pkg/apiserver/schema/defaulting/validation.go``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from pytest_kubesim.apimachinery.schema import Schema, from_structural
from pytest_kubesim.apimachinery.structural import objectmeta, openapi, pruning
from pytest_kubesim.apimachinery.structural.invariants import Source
from pytest_kubesim.apimachinery.validation import ErrorList, Path, aggregate, invalid

CheckRules: TypeAlias = Callable[[Schema, Any, Path], ErrorList]
"""The rules of a schema that a value breaks."""


def validate_defaults(
    source: Source, path: Path, check_rules: CheckRules | None = None
) -> ErrorList:
    """What is wrong with the defaults of a structural schema."""
    errors: ErrorList = []
    schema = from_structural(source)
    _defaults(schema, path, errors, check_rules, embedded=True, inside_meta=False, way=())
    return errors


def _defaults(
    schema: Schema,
    path: Path,
    errors: ErrorList,
    check_rules: CheckRules | None,
    *,
    embedded: bool,
    inside_meta: bool,
    way: tuple[str | int, ...],
) -> None:
    if embedded:
        inside_meta = False
        way = ()
    if schema.has_default:
        where = path.child("default")
        found = _default_in_meta(schema, where, way) if inside_meta else _default(schema, where)
        found = found or openapi.validate(schema, schema.default, path=where)
        if not found and check_rules is not None:
            found = check_rules(schema, schema.default, where)
        errors += found
    item = schema.item()
    if item is not None:
        _defaults(
            item,
            path.child("items"),
            errors,
            check_rules,
            embedded=item.embedded_resource,
            inside_meta=inside_meta,
            way=(*way, 0),
        )
    for name in sorted(schema.properties):
        below = schema.properties[name]
        _defaults(
            below,
            path.child("properties").key(name),
            errors,
            check_rules,
            embedded=below.embedded_resource,
            inside_meta=inside_meta or (embedded and name in pruning.META_FIELDS),
            way=(*way, name),
        )


def _default(schema: Schema, path: Path) -> ErrorList:
    value = schema.default
    errors: ErrorList = []
    pruned, _ = pruning.prune(schema, value, is_root=schema.embedded_resource)
    if pruned != value:
        errors.append(invalid(path, value, "must not have unknown fields"))
    try:
        objectmeta.coerce(schema, value, path, is_root=schema.embedded_resource)
    except objectmeta.CoercionError as problem:
        return [*errors, problem.error]
    is_root = schema.embedded_resource
    return errors + objectmeta.validate_embedded(schema, value, path, is_root=is_root)


def _default_in_meta(schema: Schema, path: Path, way: tuple[str | int, ...]) -> ErrorList:
    """A default of metadata is tried out in an object that has nothing else."""
    obj: Any = schema.default
    for key in reversed(way):
        obj = [obj] if isinstance(key, int) else {key: obj}
    obj = {"apiVersion": "validation/v1", "kind": "Validation", **obj}
    try:
        objectmeta.coerce(None, obj, is_root=True)
    except objectmeta.CoercionError as problem:
        return [invalid(path, schema.default, f"must result in valid metadata: {problem}")]
    found = objectmeta.validate_embedded(None, obj, is_root=True)
    if not found:
        return []
    detail = f"must result in valid metadata: {aggregate(found)}"
    return [invalid(path, schema.default, detail)]
