"""Validating values against an OpenAPI schema, with the errors that Kubernetes shows.

A schema is compiled once into a ``Validator``: a tuple of checks in upstream's order. Each check
appends its problems and returns how much of the value it found right; that count decides which
alternative of an ``anyOf`` or ``oneOf`` is reported.

The law: values are only read; problems come in the order of the schema's sorted properties, where
upstream's maps come in any order; each message is reported once. With an old value, problems of
places that did not change are dropped (ratcheting).

Follows ``kube-openapi/pkg/validation/validate`` and
``apiextensions-apiserver/pkg/apiserver/validation/{validation,ratcheting}.go``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, cast

from pytest_kubesim.apimachinery import golang
from pytest_kubesim.apimachinery.schema import Schema
from pytest_kubesim.apimachinery.structural import strfmt
from pytest_kubesim.apimachinery.structural.checks import (
    Check,
    Problem,
    Problems,
    enum_check,
    format_check,
    number_check,
    string_check,
    type_check,
)
from pytest_kubesim.apimachinery.structural.correlation import Correlation
from pytest_kubesim.apimachinery.validation import NIL, ErrorList, Path

_ABSENT: Any = object()
_KINDS: Mapping[Any, str] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    dict: "object",
    list: "array",
}


def validate(
    schema: Schema,
    value: Any,
    old: Any = _ABSENT,
    *,
    path: Path = NIL,
    correlation: Correlation | None = None,
) -> ErrorList:
    """What is wrong with a value.

    With ``old``, what is wrong only in unchanged places is let through; ``correlation`` spares
    computing anew what belongs together. ``path`` stands before every field in the errors.
    """
    if old is not _ABSENT and correlation is None:
        correlation = Correlation(value, old, schema)
    problems: Problems = []
    compiled(schema).ratcheted(value, "", problems, correlation)
    return [problem.to_field_error(path) for problem in _once(problems)]


def _once(problems: Problems) -> list[Problem]:
    return list({problem.message: problem for problem in reversed(problems)}.values())[::-1]


@functools.lru_cache(maxsize=1024)
def compiled(schema: Schema) -> Validator:
    """The validator of a custom resource's schema."""
    assert schema.source is not None, schema
    return Validator(schema.source)


class Validator:
    """A schema made ready: the checks for null, and those for everything else."""

    __slots__ = ("_checks", "_for_null")

    def __init__(self, source: Mapping[str, Any]) -> None:
        types = _types(source)
        format_ = strfmt.effective(types, source.get("format") or "")
        enum = tuple(source.get("enum") or ())
        common = enum_check(enum)
        of_type = type_check(types, format_, nullable=bool(source.get("nullable")))
        self._for_null = (of_type, common)
        every: list[Check] = []
        if types or format_:
            every.append(of_type)
        every.append(_schema_props_check(source))
        text = [string_check(source), format_check(format_)]
        number = [number_check(source, types, format_)]
        items = [_slice_check(source)]
        fields = [_object_check(source)]
        self._checks: dict[str, tuple[Check, ...]] = {
            "string": (*every, *(c for c in text if c), common),
            "number": (*every, *number, common),
            "array": (*every, *items, common),
            "object": (*every, common, *fields),
            "boolean": (*every, common),
        }

    def run(self, value: Any, path: str, problems: Problems, corr: Correlation | None) -> int:
        """Checks a value at a path; returns how many checks went well."""
        if value is None:
            return sum(check(None, path, problems, corr) for check in self._for_null)
        kind = _KINDS[value.__class__]
        checks = self._checks[kind]
        count = 1 + len(checks)
        for check in checks:
            count += check(value, path, problems, corr)
        return count

    def ratcheted(self, value: Any, path: str, problems: Problems, corr: Correlation | None) -> int:
        """Like ``run``; an unchanged value has no problems."""
        if corr is None:
            return self.run(value, path, problems, None)
        found: Problems = []
        count = self.run(value, path, found, corr)
        if found and not corr.is_unchanged():
            problems += found
        return count

    def field(
        self, name: str, value: Any, path: str, problems: Problems, corr: Correlation | None
    ) -> int:
        """Checks a field of the object that ``corr`` is about."""
        below = corr.key(name) if corr is not None else None
        if below is not None and path in ("kind", "apiVersion"):
            below = None
        return self.ratcheted(value, path, problems, below)


def _types(source: Mapping[str, Any]) -> tuple[str, ...]:
    if source.get("x-kubernetes-int-or-string"):
        return "integer", "string"
    kind = source.get("type")
    return (kind,) if kind else ()


# -- lists -----------------------------------------------------------------------------------------


def _slice_check(source: Mapping[str, Any]) -> Check:
    items = source.get("items")
    below = Validator(cast("Mapping[str, Any]", items)) if isinstance(items, dict) else None
    fewest = source.get("minItems")
    most = source.get("maxItems")
    unique = bool(source.get("uniqueItems"))

    def check(value: Any, path: str, problems: Problems, corr: Correlation | None) -> int:
        count = 1
        if below is not None:
            for index, item in enumerate(value):
                item_corr = corr.index(index) if corr is not None else None
                count += below.ratcheted(item, f"{path}[{index}]", problems, item_corr)
        size = len(value)
        if fewest is not None and size < fewest:
            message = f"{path} in body should have at least {fewest} items"
            problems.append(Problem(message, "invalid", path, size))
        if most is not None and size > most:
            message = f"{path} in body should have at most {most} items"
            problems.append(Problem(message, "too many", path, size, most))
        if unique and any(item in value[:index] for index, item in enumerate(value)):
            problems.append(
                Problem(f"{path} in body shouldn't contain duplicates", "invalid", path)
            )
        return count

    return check


# -- objects ---------------------------------------------------------------------------------------


def _object_check(source: Mapping[str, Any]) -> Check:
    properties: dict[str, Any] = source.get("properties") or {}
    fields = {name: Validator(properties[name]) for name in sorted(properties)}
    values = source.get("additionalProperties")
    others = Validator(cast("Mapping[str, Any]", values)) if isinstance(values, dict) else None
    closed = values is False
    required = tuple(source.get("required") or ())
    fewest = source.get("minProperties")
    most = source.get("maxProperties")

    def check(value: Any, path: str, problems: Problems, corr: Correlation | None) -> int:
        count = 0
        size = len(value)
        if fewest is not None and size < fewest:
            message = f"{path} in body should have at least {fewest} properties"
            problems.append(Problem(message, "invalid", path, size))
        if most is not None and size > most:
            message = f"{path} in body should have at most {most} properties"
            problems.append(Problem(message, "too many", path, size, most))
        if closed:
            for name in sorted(value.keys() - fields.keys()):
                message = f"{path}.{name} in body is a forbidden property"
                problems.append(Problem(message, "invalid", path, name))
        elif others is not None:
            for name in sorted(value):
                if name not in fields:
                    count += others.field(name, value[name], f"{path}.{name}", problems, corr)
        for name, below in fields.items():
            if name in value:
                where = f"{path}.{name}" if path else name
                count += below.field(name, value[name], where, problems, corr)
        for name in required:
            if name not in value:
                where = f"{path}.{name}"
                problems.append(Problem(f"{where} in body is required", "required", where))
        return count

    return check


# -- combinations ----------------------------------------------------------------------------------


def _schema_props_check(source: Mapping[str, Any]) -> Check:
    any_of = [Validator(part) for part in source.get("anyOf") or ()]
    one_of = [Validator(part) for part in source.get("oneOf") or ()]
    all_of = [Validator(part) for part in source.get("allOf") or ()]
    negated = source.get("not")
    not_ = Validator(cast("Mapping[str, Any]", negated)) if isinstance(negated, dict) else None
    if not (any_of or one_of or all_of or not_):
        return lambda _value, _path, _problems, _corr: 1

    def check(value: Any, path: str, problems: Problems, corr: Correlation | None) -> int:
        count = 1
        if any_of:
            count += _any_of(any_of, value, path, problems, corr)
        if one_of:
            count += _one_of(one_of, value, path, problems, corr)
        if all_of:
            count += _all_of(all_of, value, path, problems, corr)
        if not_ is not None:
            found: Problems = []
            not_.run(value, path, found, corr)
            if not found:
                message = f"{golang.quote(path)} must not validate the schema (not)"
                problems.append(Problem(message))
        return count

    return check


def _any_of(
    parts: list[Validator], value: Any, path: str, problems: Problems, corr: Correlation | None
) -> int:
    best: Problems | None = None
    best_count = 0
    for part in parts:
        found: Problems = []
        count = part.run(value, path, found, corr)
        if not found:
            return count
        if best is None or count > best_count:
            best, best_count = found, count
    message = f"{golang.quote(path)} must validate at least one schema (anyOf)"
    problems.append(Problem(message))
    problems += best or ()
    return best_count


def _one_of(
    parts: list[Validator], value: Any, path: str, problems: Problems, corr: Correlation | None
) -> int:
    best: Problems | None = None
    best_count = 0
    valid: list[int] = []
    for part in parts:
        found: Problems = []
        count = part.run(value, path, found, corr)
        if not found:
            valid.append(count)
            best = None
        elif not valid and (best is None or count > best_count):
            best, best_count = found, count
    if len(valid) == 1:
        return valid[0]
    tail = f"Found {len(valid)} valid alternatives" if valid else "Found none valid"
    message = f"{golang.quote(path)} must validate one and only one schema (oneOf). {tail}"
    problems.append(Problem(message))
    if best is None:
        return 0
    problems += best
    return best_count


def _all_of(
    parts: list[Validator], value: Any, path: str, problems: Problems, corr: Correlation | None
) -> int:
    total = valid = 0
    for part in parts:
        found: Problems = []
        total += part.run(value, path, found, corr)
        valid += not found
        problems += found
    if valid != len(parts):
        tail = "" if valid else ". None validated"
        message = f"{golang.quote(path)} must validate all the schemas (allOf){tail}"
        problems.append(Problem(message))
    return total
