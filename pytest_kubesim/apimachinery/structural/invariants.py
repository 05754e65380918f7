"""What makes an OpenAPI schema structural.

Types, defaults and extensions stand outside of ``allOf``, ``anyOf``, ``oneOf`` and ``not``, and
every field that those mention is declared outside of them too.

The law: errors are sorted by their text, as upstream sorts them.

Follows ``apiextensions-apiserver/pkg/apiserver/schema/{validation,complete}.go``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, cast

from pytest_kubesim.apimachinery import go_regexp
from pytest_kubesim.apimachinery.validation import (
    ErrorList,
    Path,
    forbidden,
    invalid,
    required,
)

Source: TypeAlias = Mapping[str, Any]
_Level: TypeAlias = Literal["root", "item", "field"]

_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_EMBEDDED = "x-kubernetes-embedded-resource"
_INT_OR_STRING_KEY = "x-kubernetes-int-or-string"
_WHERE = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}
# What a nested schema may not say, and how that is put.
_NESTED_FORBIDDEN = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    (_PRESERVE, "must be false to be structural"),
    (_EMBEDDED, "must be false to be structural"),
    (_INT_OR_STRING_KEY, "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
)


def unsupported(source: Source) -> str | None:
    """Why no structural schema can be made of this one at all; None if one can."""
    for key in ("id", "$schema", "$ref", "patternProperties", "dependencies"):
        if source.get(key):
            name = "schema" if key == "$schema" else key
            return f"OpenAPIV3Schema '{name}' is not supported"
    if source.get("additionalItems") is not None:
        return "OpenAPIV3Schema 'additionalItems' is not supported"
    if source.get("definitions"):
        return "OpenAPIV3Schema 'definitions' is not supported"
    if source.get(_PRESERVE) is False:
        return f"internal error: '{_PRESERVE}' must be true or undefined"
    if isinstance(source.get("items"), list):
        return "OpenAPIV3Schema 'items' must be a schema, but is an array"
    for below in children(source):
        problem = unsupported(below)
        if problem is not None:
            return problem
    return None


def children(source: Source) -> list[Source]:
    """All schemas directly inside of one."""
    found: list[Any] = [source.get("not"), source.get("items"), source.get("additionalProperties")]
    for key in ("allOf", "anyOf", "oneOf"):
        found += source.get(key) or ()
    properties: Mapping[str, Any] = source.get("properties") or {}
    found += [properties[name] for name in sorted(properties)]
    return [cast("Source", below) for below in found if isinstance(below, dict)]


def validate_structural(source: Source, path: Path) -> ErrorList:
    """Why a schema is not structural; ``path`` is the schema's own."""
    errors: ErrorList = []
    _node(source, "root", path, errors)
    _complete(source, source, path, path, errors)
    return sorted(errors, key=str)


def _properties(source: Source) -> Mapping[str, Source]:
    return source.get("properties") or {}


def _schema(value: Any) -> Source | None:
    return cast("Source", value) if isinstance(value, dict) else None


def _node(source: Source, level: _Level, path: Path, errors: ErrorList) -> None:
    kind = source.get("type") or ""
    items = _schema(source.get("items"))
    if kind == "array" and source.get("items") is None:
        errors.append(required(path.child("items"), "must be specified"))
    if items is not None:
        _node(items, "item", path.child("items"), errors)
    for name, below in _properties(source).items():
        _node(below, "field", path.child("properties").key(name), errors)
    values = source.get("additionalProperties")
    if values is not None:
        if level == "root":
            errors.append(
                forbidden(path.child("additionalProperties"), "must not be used at the root")
            )
        if isinstance(values, dict):
            _node(cast("Source", values), "field", path.child("additionalProperties"), errors)
    _extensions(source, path, errors)
    _values(
        source,
        path,
        errors,
        skip_any_of=source.get("anyOf") == _INT_OR_STRING,
        skip_first=_is_int_or_string_all_of(source),
    )
    _type(source, kind, level, path, errors)
    _metadata(source, level, path, errors)


def _is_int_or_string_all_of(source: Source) -> bool:
    all_of = source.get("allOf") or ()
    return bool(all_of) and all_of[0].get("anyOf") == _INT_OR_STRING


def _extensions(source: Source, path: Path, errors: ErrorList) -> None:
    if not source.get(_INT_OR_STRING_KEY):
        return
    for key in (_PRESERVE, _EMBEDDED):
        if source.get(key):
            detail = f"must be false if {_INT_OR_STRING_KEY} is true"
            errors.append(invalid(path.child(key), True, detail))


def _type(source: Source, kind: str, level: _Level, path: Path, errors: ErrorList) -> None:
    where = path.child("type")
    embedded = bool(source.get(_EMBEDDED))
    if embedded and kind != "object":
        detail = f"must be object if {_EMBEDDED} is true"
        errors.append(invalid(where, kind, detail) if kind else required(where, detail))
    elif not kind and not source.get(_INT_OR_STRING_KEY) and not source.get(_PRESERVE):
        errors.append(required(where, _WHERE[level]))
    if embedded and source.get("additionalProperties") is not None:
        detail = f"must not be used if {_EMBEDDED} is set"
        errors.append(forbidden(path.child("additionalProperties"), detail))
    if level == "root" and kind and kind != "object":
        errors.append(invalid(where, kind, "must be object at the root"))


def _metadata(source: Source, level: _Level, path: Path, errors: ErrorList) -> None:
    embedded = bool(source.get(_EMBEDDED))
    is_object = level == "root" or embedded
    properties = _properties(source)
    if is_object:
        for name in ("kind", "apiVersion"):
            if name in properties and properties[name].get("type") != "string":
                where = path.child("properties").key(name).child("type")
                errors.append(invalid(where, properties[name].get("type") or "", "must be string"))
    if "metadata" in properties:
        where = path.child("properties").key("metadata")
        _object_meta(properties["metadata"], is_object, level, where, errors)
    if embedded and not source.get(_PRESERVE) and not properties:
        detail = f"must not be empty if {_EMBEDDED} is true without {_PRESERVE}"
        errors.append(required(path.child("properties"), detail))


def _object_meta(
    source: Source, is_object: bool, level: _Level, path: Path, errors: ErrorList
) -> None:
    kind = source.get("type") or ""
    if is_object and kind != "object":
        errors.append(invalid(path.child("type"), kind, "must be object"))
    if level != "root":
        return
    names = _properties(source).keys()
    rest = {key: value for key, value in source.items() if key not in ("type", "default") and value}
    if names and names <= {"name", "generateName"}:
        rest.pop("properties", None)
    if rest:
        detail = (
            "must not specify anything other than name and generateName, "
            "but metadata is implicitly specified"
        )
        errors.append(forbidden(path, detail))


def _values(
    source: Source, path: Path, errors: ErrorList, *, skip_any_of: bool, skip_first: bool
) -> None:
    if not skip_any_of:
        for index, below in enumerate(source.get("anyOf") or ()):
            _nested(below, path.child("anyOf").index(index), errors)
    for index, below in enumerate(source.get("allOf") or ()):
        skip = skip_first and index == 0
        _nested(below, path.child("allOf").index(index), errors, skip_any_of=skip)
    for index, below in enumerate(source.get("oneOf") or ()):
        _nested(below, path.child("oneOf").index(index), errors)
    negated = _schema(source.get("not"))
    if negated is not None:
        _nested(negated, path.child("not"), errors)
    pattern = source.get("pattern")
    if pattern:
        try:
            go_regexp.compile(pattern)
        except go_regexp.RegexpError as problem:
            detail = f"must be a valid regular expression, but isn't: {problem}"
            errors.append(invalid(path.child("pattern"), pattern, detail))


def _nested(source: Source, path: Path, errors: ErrorList, *, skip_any_of: bool = False) -> None:
    _values(source, path, errors, skip_any_of=skip_any_of, skip_first=False)
    items = _schema(source.get("items"))
    if items is not None:
        _nested(items, path.child("items"), errors)
    properties = _properties(source)
    for name, below in properties.items():
        _nested(below, path.child("properties").key(name), errors)
    for key, detail in _NESTED_FORBIDDEN:
        # An empty schema is a schema; an empty text, list or false is nothing.
        if source.get(key) or (key in ("default", "additionalProperties") and _is_set(source, key)):
            errors.append(forbidden(path.child(key), detail))
    if "metadata" in properties:
        where = path.child("properties").key("metadata")
        errors.append(forbidden(where, "must not be specified in a nested context"))


def _is_set(source: Source, key: str) -> bool:
    value = source.get(key)
    return value is not None and not (key == "additionalProperties" and value is False)


# -- completeness ----------------------------------------------------------------------------------


def _complete(
    nested: Source, outer: Source | None, outer_path: Path, path: Path, errors: ErrorList
) -> None:
    """Whether all that a nested schema mentions is declared in the outer one."""
    negated = _schema(nested.get("not"))
    if negated is not None:
        _declared(negated, outer, outer_path, path.child("not"), errors)
    for key in ("allOf", "anyOf", "oneOf"):
        for index, below in enumerate(nested.get(key) or ()):
            _declared(below, outer, outer_path, path.child(key).index(index), errors)


def _declared(
    nested: Source, outer: Source | None, outer_path: Path, path: Path, errors: ErrorList
) -> None:
    if outer is None:
        errors.append(required(outer_path, f"because it is defined in {path}"))
        return
    _complete(nested, outer, outer_path, path, errors)
    items = _schema(nested.get("items"))
    if items is not None:
        outer_items = _schema(outer.get("items"))
        _declared(items, outer_items, outer_path.child("items"), path.child("items"), errors)
    declared = _properties(outer)
    for name, below in _properties(nested).items():
        where = outer_path.child("properties").key(name)
        here = path.child("properties").key(name)
        if name in declared:
            _declared(below, declared[name], where, here, errors)
        else:
            errors.append(required(where, f"because it is defined in {here}"))


def has_rules(source: Source | None) -> bool:
    """Whether a rule in CEL stands at or below a schema, outside ``allOf`` and its kin."""
    if source is None:
        return False
    if source.get("x-kubernetes-validations"):
        return True
    below = [*_properties(source).values(), _schema(source.get("items"))]
    return any(map(has_rules, [*below, _schema(source.get("additionalProperties"))]))
