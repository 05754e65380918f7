"""What is wrong with the schema of a custom resource definition.

``validate_schema`` is upstream's whole check of ``openAPIV3Schema``: that it is structural, that
its defaults are valid, that its keywords go together. Rules in CEL are left to a ``RuleCheck``,
because what they cost depends on the schema around them; ``Place`` tells it.

The law: properties are visited in the order of their names, where upstream's maps have none.

Follows ``apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

import attrs

from pytest_kubesim.apimachinery import golang
from pytest_kubesim.apimachinery.schema import Schema
from pytest_kubesim.apimachinery.structural import invariants
from pytest_kubesim.apimachinery.structural.defaults import validate_defaults
from pytest_kubesim.apimachinery.structural.invariants import Source
from pytest_kubesim.apimachinery.structural.keywords import (
    Context,
    combinations,
    rule_texts,
    standard,
)
from pytest_kubesim.apimachinery.structural.pruning import META_FIELDS
from pytest_kubesim.apimachinery.validation import (
    ErrorList,
    Path,
    forbidden,
    invalid,
)

_ROOT_FIELDS = [
    "Description",
    "Type",
    "Format",
    "Title",
    "Maximum",
    "ExclusiveMaximum",
    "Minimum",
    "ExclusiveMinimum",
    "MaxLength",
    "MinLength",
    "Pattern",
    "MaxItems",
    "MinItems",
    "UniqueItems",
    "MultipleOf",
    "Required",
    "Items",
    "Properties",
    "ExternalDocs",
    "Example",
    "XPreserveUnknownFields",
    "XValidations",
]
_GO_NAMES = {
    "id": "ID",
    "$schema": "Schema",
    "$ref": "Ref",
    "x-kubernetes-preserve-unknown-fields": "XPreserveUnknownFields",
    "x-kubernetes-embedded-resource": "XEmbeddedResource",
    "x-kubernetes-int-or-string": "XIntOrString",
    "x-kubernetes-list-map-keys": "XListMapKeys",
    "x-kubernetes-list-type": "XListType",
    "x-kubernetes-map-type": "XMapType",
    "x-kubernetes-validations": "XValidations",
}


@attrs.frozen
class Place:
    """Where in a definition a schema with rules stands."""

    source: Source
    path: Path
    parent: Place | None
    cardinality: int | None
    """How many such values one object can hold; None if nothing limits it."""
    uncorrelatable: Path | None
    """The path of the list or map below which old values cannot be found, if there is one."""


class RuleCheck(Protocol):
    """What knows CEL: checks ``x-kubernetes-validations`` and adds up their costs."""

    def check(self, place: Place) -> ErrorList:
        """What is wrong with the rules of one schema, which is otherwise in order."""
        ...

    def total(self, path: Path) -> ErrorList:
        """What is wrong with the cost of all rules seen; ``path`` is the schema's."""
        ...

    def check_default(self, schema: Schema, value: Any, path: Path) -> ErrorList:
        """The rules that a default breaks."""
        ...


def validate_schema(
    source: Source | None,
    path: Path,
    *,
    status_enabled: bool = False,
    rules: RuleCheck | None = None,
) -> ErrorList:
    """What is wrong with an ``openAPIV3Schema``; ``path`` is that of its ``schema``."""
    if source is None:
        return []
    errors: ErrorList = []
    where = path.child("openAPIV3Schema")
    if status_enabled:
        errors += _root_with_status(source, where)
    if source.get("nullable"):
        errors.append(forbidden(where.child("nullable"), "nullable cannot be true at the root"))
    unsupported = invariants.unsupported(source)
    sound = False
    if unsupported is None:
        check_rules = rules.check_default if rules is not None else None
        found = invariants.validate_structural(source, where) or validate_defaults(
            source, where, check_rules
        )
        errors += found
        sound = not found
    visitor = _Visitor(rules if sound else None)
    schema_errors, rule_errors = visitor.visit(source, where, Context(is_root=True), 1, None)
    errors += schema_errors
    errors += rule_errors
    if not errors and unsupported is not None:
        errors.append(invalid(where, "", unsupported))
    if sound and rules is not None:
        errors += rules.total(where)
    return errors


def _root_with_status(source: Source, path: Path) -> ErrorList:
    """With a status subresource the root is taken apart, so that it may hold little."""
    for key, value in sorted(source.items(), key=lambda pair: _go_name(pair[0])):
        name = _go_name(key)
        if not value and value != 0:
            continue
        if name == "Type":
            if value != "object":
                detail = (
                    'only "object" is allowed as the type at the root of the schema '
                    "if the status subresource is enabled"
                )
                return [invalid(path.child("type"), value, detail)]
        elif name not in _ROOT_FIELDS:
            detail = (
                f"only {golang.bracketed(_ROOT_FIELDS)} fields are allowed at the root of the "
                "schema if the status subresource is enabled"
            )
            return [invalid(path, source, detail)]
    return []


def _go_name(key: str) -> str:
    return _GO_NAMES.get(key) or key[:1].upper() + key[1:]


class _Visitor:
    """One walk over a schema. Rules are checked where nothing else is wrong at or below."""

    def __init__(self, rules: RuleCheck | None) -> None:
        self.rules = rules

    def visit(
        self,
        source: Source,
        path: Path,
        context: Context,
        cardinality: int | None,
        parent: Place | None,
        *,
        nested: bool = False,
    ) -> tuple[ErrorList, ErrorList]:
        """The errors of the schema and those of its rules. Nested schemas have no rules."""
        errors = standard(source, path, context)
        rule_errors: ErrorList = []
        place = Place(source, path, parent, cardinality, context.uncorrelatable)
        below = attrs.evolve(context, is_root=False)

        def descend(
            child: Source, where: Path, child_context: Context, *, in_nested: bool = False
        ) -> None:
            inner = nested or in_nested
            count = _multiplied(cardinality, _most(source))
            found, found_rules = self.visit(child, where, child_context, count, place, nested=inner)
            errors.extend(found)
            rule_errors.extend(found_rules)

        self._children(source, path, context, below, descend)
        errors += combinations(source, path)
        rules = source.get("x-kubernetes-validations") or ()
        if rules:
            errors += rule_texts(source, rules, path)
            if not errors and self.rules is not None and not nested:
                rule_errors += self.rules.check(place)
        return errors, rule_errors

    @staticmethod
    def _children(
        source: Source, path: Path, context: Context, below: Context, descend: _Descend
    ) -> None:
        values = source.get("additionalProperties")
        properties: Mapping[str, Source] = source.get("properties") or {}
        if isinstance(values, dict):
            inner = below
            if context.inside_meta:
                reason = "inside additionalProperties applying to object metadata"
                inner = attrs.evolve(below, no_defaults=reason)
            where = path.child("additionalProperties")
            descend(cast("Source", values), where, inner)
        for name in sorted(properties):
            inner = below
            if source.get("x-kubernetes-map-type") not in (None, "granular"):
                inner = inner.without_old(path)
            embedded = bool(source.get("x-kubernetes-embedded-resource"))
            if (context.is_root or embedded) and name in META_FIELDS:
                inner = attrs.evolve(inner, inside_meta=True)
                if context.is_root:
                    inner = attrs.evolve(inner, no_defaults=f"in top-level {name}")
            descend(properties[name], path.child("properties").key(name), inner)
        if isinstance(source.get("not"), dict):
            descend(source["not"], path.child("not"), below, in_nested=True)
        for key in ("allOf", "oneOf", "anyOf"):
            for index, part in enumerate(source.get(key) or ()):
                descend(part, path.child(key).index(index), below, in_nested=True)
        items = source.get("items")
        if isinstance(items, dict):
            inner = below
            if source.get("x-kubernetes-list-type") != "map":
                inner = inner.without_old(path)
            descend(cast("Source", items), path.child("items"), inner)


class _Descend(Protocol):
    def __call__(
        self, child: Source, where: Path, child_context: Context, *, in_nested: bool = False
    ) -> None: ...


def _most(source: Source) -> int | None:
    """How many children of one kind a value of the schema can have; None if nothing limits it."""
    kind = source.get("type")
    if kind == "object":
        if source.get("additionalProperties") is not None:
            return source.get("maxProperties")
        # The fields of a struct are there once.
        return 1
    if kind == "array":
        return source.get("maxItems")
    return 1


def _multiplied(left: int | None, right: int | None) -> int | None:
    if left is None or right is None:
        return None
    return min(left * right, 2**64 - 1)
