"""Checking the rules of a definition: that they compile, and what they may cost.

The law: a rule's cost is what it may cost at most, times how often its schema can stand in one
object. Limits that the definition sets on lists, maps and texts make both smaller.

Follows
``apiextensions-apiserver/pkg/apis/apiextensions/validation/{validation,cel_validation}.go``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import attrs

from pytest_kubesim.apimachinery import golang
from pytest_kubesim.apimachinery.cel import compiling, rules
from pytest_kubesim.apimachinery.cel.compiling import Environments, Rule
from pytest_kubesim.apimachinery.cel.declared import Declared, declare
from pytest_kubesim.apimachinery.cel.estimates import MOST
from pytest_kubesim.apimachinery.cel.library import kubernetes
from pytest_kubesim.apimachinery.schema import Schema
from pytest_kubesim.apimachinery.structural.definition import Place
from pytest_kubesim.apimachinery.validation import (
    ErrorList,
    FieldError,
    Path,
    Printed,
    forbidden,
    internal_error,
    invalid,
)

RULE_COST_LIMIT = 10_000_000
DEFINITION_COST_LIMIT = 100_000_000
_MOST_EXPENSIVE = 4


def stored_expressions(source: Mapping[str, Any] | None) -> tuple[frozenset[str], frozenset[str]]:
    """The rules and the message expressions of a schema, however deep."""
    found_rules: set[str] = set()
    found_messages: set[str] = set()
    _collect(source, found_rules, found_messages)
    return frozenset(found_rules), frozenset(found_messages)


def _collect(node: Any, found_rules: set[str], found_messages: set[str]) -> None:
    if isinstance(node, list):
        for item in cast("list[Any]", node):
            _collect(item, found_rules, found_messages)
    if not isinstance(node, dict):
        return
    source = cast("Mapping[str, Any]", node)
    for rule in source.get("x-kubernetes-validations") or ():
        found_rules.add(rule.get("rule") or "")
        if rule.get("messageExpression"):
            found_messages.add(rule["messageExpression"])
    for key in ("items", "additionalProperties", "not", "allOf", "anyOf", "oneOf"):
        _collect(source.get(key), found_rules, found_messages)
    properties: Mapping[str, Any] = source.get("properties") or {}
    for below in properties.values():
        _collect(below, found_rules, found_messages)


@attrs.define
class DefinitionRules:
    """A ``RuleCheck`` for ``structural.definition.validate_schema``; one for each schema.

    ``stored_rules`` and ``stored_messages`` are what the definition had before an update, and
    ``is_unchanged`` says that this version's schema is as it was: its rules may then be too dear.
    """

    stored_rules: frozenset[str] = frozenset()
    stored_messages: frozenset[str] = frozenset()
    is_unchanged: bool = False
    _total: int = attrs.field(default=0, init=False)
    _expensive: list[tuple[int, Path]] = attrs.field(factory=list[tuple[int, Path]], init=False)

    def check(self, place: Place) -> ErrorList:
        """What is wrong with the rules of one schema, which is otherwise in order."""
        source = place.source
        where = place.path.child("x-kubernetes-validations")
        is_root = place.parent is None or bool(source.get("x-kubernetes-embedded-resource"))
        declared = declare(source, compiling.TYPE_NAME, is_root=is_root)
        if declared is None:
            problem = (
                "internal error: failed to construct type information for "
                "x-kubernetes-validations rules: unable to convert structural schema to CEL "
                "declarations"
            )
            return [internal_error(where, problem)]
        environments = Environments(
            kubernetes.NEW, kubernetes.STORED, self.stored_rules, self.stored_messages
        )
        written = source["x-kubernetes-validations"]
        compiled = compiling.compile_rules(written, declared, environments, source)
        errors: ErrorList = []
        for index, rule in enumerate(compiled):
            errors += self._rule(rule, where.index(index), place, declared)
        return errors

    def _rule(self, rule: Rule, path: Path, place: Place, declared: Declared) -> ErrorList:
        errors: ErrorList = []
        count = place.cardinality
        if count is None:
            count = compiling.max_cardinality(declared)
        cost = min(rule.max_cost * count, MOST)
        errors += self._observe(path.child("rule"), cost, "estimated rule cost")
        if rule.error:
            errors.append(invalid(path.child("rule"), _printed(rule.source), rule.error))
        where = path.child("messageExpression")
        if rule.message_error:
            errors.append(invalid(where, _printed(rule.source), rule.message_error))
        elif rule.message is not None:
            name = "estimated messageExpression cost"
            errors += self._observe(where, rule.message_max_cost, name)
        if rule.uses_old_self:
            if place.uncorrelatable is not None:
                detail = (
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within "
                    f"{place.uncorrelatable}"
                )
                errors.append(invalid(path.child("rule"), rule.source.get("rule") or "", detail))
        elif rule.source.get("optionalOldSelf") is not None:
            detail = "may not be set if oldSelf is not used in rule"
            value = rule.source["optionalOldSelf"]
            errors.append(invalid(path.child("optionalOldSelf"), value, detail))
        return errors

    def _observe(self, path: Path, cost: int, name: str) -> list[FieldError]:
        self._total = min(self._total + cost, MOST)
        if cost >= DEFINITION_COST_LIMIT // 100:
            self._expensive.append((cost, path))
            self._expensive.sort(key=lambda entry: -entry[0])
            del self._expensive[_MOST_EXPENSIVE:]
        if self.is_unchanged or cost <= RULE_COST_LIMIT:
            return []
        return [forbidden(path, _too_dear(name, cost, RULE_COST_LIMIT))]

    def total(self, path: Path) -> ErrorList:
        """What is wrong with the cost of all rules seen; ``path`` is the schema's."""
        if self._total <= DEFINITION_COST_LIMIT:
            return []
        detail = (
            "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 "
            "schema"
        )
        errors = [forbidden(where, detail) for _, where in self._expensive]
        name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        errors.append(forbidden(path, _too_dear(name, self._total, DEFINITION_COST_LIMIT)))
        return errors

    def check_default(self, schema: Schema, value: Any, path: Path) -> ErrorList:
        """The rules that a default breaks."""
        return rules.validate(schema, value, value, path=path, is_root=False)


def _too_dear(name: str, cost: int, limit: int) -> str:
    factor = cost / limit
    if factor > 100:
        shown = "more than 100x"
    else:
        shown = f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return (
        f"{name} exceeds budget by factor of {shown} (try simplifying the rule, or adding "
        "maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )


def _printed(rule: Mapping[str, Any]) -> Printed:
    """A rule as Go prints its struct."""
    shown = {
        "Rule": rule.get("rule") or "",
        "Message": rule.get("message") or "",
        "MessageExpression": rule.get("messageExpression") or "",
        "Reason": rule.get("reason"),
        "FieldPath": rule.get("fieldPath") or "",
        "OptionalOldSelf": rule.get("optionalOldSelf"),
    }
    return Printed(golang.json_text(shown, sort_keys=False))
