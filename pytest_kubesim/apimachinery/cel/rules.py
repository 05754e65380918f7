"""``x-kubernetes-validations``: the rules that an object breaks.

The law: evaluation has a budget. Where the most that a rule can cost is known and small, that much
is taken from the budget and the rule runs uncounted; only if the budget would not suffice so, all
runs again and is counted.

Follows ``apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import attrs

from pytest_kubesim.apimachinery.cel import compiling
from pytest_kubesim.apimachinery.cel.compiling import OLD_SELF, SELF, Environments, Rule
from pytest_kubesim.apimachinery.cel.declared import Declared, Source, declare
from pytest_kubesim.apimachinery.cel.errors import CELError, CostLimitExceeded
from pytest_kubesim.apimachinery.cel.escaping import escape
from pytest_kubesim.apimachinery.cel.library import kubernetes
from pytest_kubesim.apimachinery.cel.program import Program
from pytest_kubesim.apimachinery.cel.values import NONE, Optional
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.schema import Schema
from pytest_kubesim.apimachinery.structural.correlation import Correlation, map_key
from pytest_kubesim.apimachinery.structural.invariants import has_rules
from pytest_kubesim.apimachinery.validation import (
    NIL,
    OMITTED,
    ErrorList,
    FieldError,
    Path,
    duplicate,
    forbidden,
    invalid,
    required,
)

PER_CALL_LIMIT = 1_000_000
BUDGET = 10_000_000
_MAX_MESSAGE_BYTES = 5 * 1024
_ENVIRONMENTS = Environments(kubernetes.NEW, kubernetes.STORED)
_OUT_OF_BUDGET = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)

Warn: TypeAlias = Callable[[str], None]


def validate(
    schema: Schema,
    obj: Any,
    old: Any = None,
    *,
    path: Path = NIL,
    is_root: bool = True,
    correlation: Correlation | None = None,
    warn: Warn | None = None,
) -> ErrorList:
    """The rules of a structural schema that an object breaks.

    ``is_root`` says that the schema is that of a whole object; ``old`` is the object before an
    update and ``correlation`` what has changed since, so that what was wrong before may stay so:
    ``warn`` gets the text of each such error.
    """
    validator = validator_of(schema, is_root=is_root)
    if validator is None:
        return []
    ratchet = _Ratchet(correlation, None)
    for counts in (False, True):
        run = _Run(counts=counts, warnings=[], left=BUDGET)
        try:
            errors = run.validate(validator, path, obj, old, ratchet)
        except _MustCountError:
            continue
        for text in run.warnings if warn is not None else ():
            assert warn is not None
            warn(text)
        return errors
    raise AssertionError("a counted run never asks to be counted")


@functools.lru_cache(maxsize=4096)
def validator_of(schema: Schema, *, is_root: bool) -> Validator | None:
    """The compiled rules at and below a schema; None if there are none."""
    if schema.source is None or not has_rules(schema.source):
        return None
    declared = declare(schema.source, compiling.TYPE_NAME, is_root=is_root)
    return _validator(schema.source, schema, declared)


# -- compiled --------------------------------------------------------------------------------------


@attrs.frozen(eq=False)
class Validator:
    """The compiled rules of one schema and of those below."""

    schema: Schema
    declared: Declared | None
    rules: list[Rule]
    problem: str
    properties: Mapping[str, Validator]
    items: Validator | None
    values: Validator | None
    all_of: list[Validator]

    @property
    def type_name(self) -> str:
        """The type that messages show instead of the value."""
        return self.schema.type


def _validator(rules_of: Source, schema: Schema, declared: Declared | None) -> Validator | None:
    """Rules of one schema, for data of another: that of ``allOf`` is not the one with the types."""
    rules, problem = _compiled(rules_of, schema, declared)
    element = declared.element if declared is not None else None
    items = values = None
    item = schema.item()
    if isinstance(rules_of.get("items"), dict) and item is not None:
        items = _validator(rules_of["items"], item, element)
    inner = schema.additional_properties
    has_values = isinstance(rules_of.get("additionalProperties"), dict)
    if has_values and inner is not None and inner.source is not None:
        values = _validator(rules_of["additionalProperties"], inner, element)
    properties = _property_validators(rules_of, schema, declared)
    all_of = [
        found
        for part in rules_of.get("allOf") or ()
        if (found := _validator(part, schema, declared)) is not None
    ]
    if not (rules or problem or items or values or properties or all_of):
        return None
    return Validator(schema, declared, rules, problem, properties, items, values, all_of)


def _compiled(
    rules_of: Source, schema: Schema, declared: Declared | None
) -> tuple[list[Rule], str]:
    found = rules_of.get("x-kubernetes-validations") or ()
    if not found:
        return [], ""
    if declared is None:
        return [], "failed to convert to declType for CEL validation rules"
    return compiling.compile_rules(found, declared, _ENVIRONMENTS, schema.source or {}), ""


def _property_validators(
    rules_of: Source, schema: Schema, declared: Declared | None
) -> dict[str, Validator]:
    found: dict[str, Validator] = {}
    properties: Mapping[str, Source] = rules_of.get("properties") or {}
    for name, source in properties.items():
        below = schema.properties.get(name)
        if below is None or below.source is None:
            continue
        identifier = escape(name)
        if identifier is None:
            field = declare(below.source, name, is_root=below.embedded_resource)
        else:
            field = ((declared.fields if declared else None) or {}).get(identifier)
        if field is None:
            # What has no type is left out.
            continue
        validator = _validator(source, below, field)
        if validator is not None:
            found[name] = validator
    return found


# -- running ---------------------------------------------------------------------------------------


class _MustCountError(Exception):
    """The budget does not suffice for the most that the rules can cost."""


@attrs.frozen
class _Ratchet:
    """What is known of the old value here, or of the nearest place above that has one."""

    current: Correlation | None
    nearest: Correlation | None

    def forgives(self) -> bool:
        found = self.current or self.nearest
        return found is not None and found.is_unchanged()

    def key(self, name: str) -> _Ratchet:
        if self.current is None:
            return self
        if self.nearest is None and name in ("apiVersion", "kind"):
            # Old and new are converted to the same version before they are compared.
            return _Ratchet(None, None)
        return _Ratchet(self.current.key(name), self.current)

    def index(self, at: int) -> _Ratchet:
        if self.current is None:
            return self
        return _Ratchet(self.current.index(at), self.current)


class _Exhausted(Exception):
    """No further rule runs."""


@attrs.define
class _Run:
    """One validation of one object."""

    counts: bool
    warnings: list[str]
    left: int
    errors: ErrorList = attrs.field(factory=list[FieldError])

    def validate(
        self, validator: Validator, path: Path, obj: Any, old: Any, ratchet: _Ratchet
    ) -> ErrorList:
        try:
            self.visit(validator, path, obj, old, ratchet)
        except _Exhausted:
            pass
        return self.errors

    def visit(
        self, validator: Validator, path: Path, obj: Any, old: Any, ratchet: _Ratchet
    ) -> None:
        if obj is None:
            return
        if validator.rules or validator.problem:
            self.expressions(validator, path, obj, old, ratchet)
        for part in validator.all_of:
            self.visit(part, path, obj, old, _Ratchet(None, ratchet.nearest))
        if isinstance(obj, dict):
            self.fields(validator, path, cast("dict[str, Any]", obj), old, ratchet)
        elif isinstance(obj, list) and validator.items is not None:
            self.items(validator, validator.items, path, cast("list[Any]", obj), old, ratchet)

    def fields(
        self, validator: Validator, path: Path, obj: dict[str, Any], old: Any, ratchet: _Ratchet
    ) -> None:
        if validator.values is None and not validator.properties:
            return
        before = cast("dict[str, Any]", old) if isinstance(old, dict) else {}
        for name in sorted(obj):
            if validator.values is not None:
                where = path.key(name)
                below = ratchet.key(name)
                self.visit(validator.values, where, obj[name], before.get(name), below)
            elif name in validator.properties:
                inner = validator.properties[name]
                below = ratchet.key(name)
                self.visit(inner, path.child(name), obj[name], before.get(name), below)

    def items(
        self,
        validator: Validator,
        inner: Validator,
        path: Path,
        obj: list[Any],
        old: Any,
        ratchet: _Ratchet,
    ) -> None:
        before = _by_key(validator.schema, old)
        for at, item in enumerate(obj):
            key = map_key(validator.schema, item) if before else None
            old_item = before.get(key) if key is not None else None
            self.visit(inner, path.index(at), item, old_item, ratchet.index(at))

    def expressions(
        self, validator: Validator, path: Path, obj: Any, old: Any, ratchet: _Ratchet
    ) -> None:
        type_name = validator.type_name
        if validator.problem:
            detail = f"rule compiler initialization error: {validator.problem}"
            self.errors.append(invalid(path, type_name, detail))
            return
        if self.left <= 0:
            self.give_up(path, type_name)
        declared = validator.declared
        assert declared is not None, path
        activation: dict[str, Any] = {SELF: declared.value(obj)}
        uses_old = any(rule.uses_old_self for rule in validator.rules)
        if uses_old and old is not None:
            activation[OLD_SELF] = declared.value(old)
        for rule in validator.rules:
            self.rule(rule, validator, path, obj, activation, ratchet)

    def rule(
        self,
        rule: Rule,
        validator: Validator,
        path: Path,
        obj: Any,
        activation: dict[str, Any],
        ratchet: _Ratchet,
    ) -> None:
        type_name = validator.type_name
        if rule.error:
            self.errors.append(invalid(path, type_name, f"rule compile error: {rule.error}"))
            return
        if rule.program is None:
            return
        if rule.uses_old_self and OLD_SELF not in activation and not rule.optional_old_self:
            return
        given = activation
        if rule.optional_old_self:
            has_old = OLD_SELF in activation
            old = Optional(activation[OLD_SELF]) if has_old else NONE
            given = {**activation, OLD_SELF: old}
        value = self.evaluate(rule, rule.program, path, type_name, given)
        if value is True:
            return
        if isinstance(value, CELError):
            self.errors.append(invalid(path, type_name, _runtime_problem(value, rule)))
            return
        where = path.child(rule.field_path) if rule.field_path else path
        forgiven = not rule.uses_old_self and ratchet.forgives()
        detail = self.message(rule, where, type_name, activation, forgiven=forgiven)
        shown = OMITTED if type_name in ("object", "array") else obj
        self.add(_failure(rule, where, shown, detail), forgiven=forgiven)

    # -- evaluating --------------------------------------------------------------------------------

    def evaluate(
        self,
        rule: Rule,
        compiled: Program,
        path: Path,
        type_name: str,
        activation: Mapping[str, Any],
    ) -> Any:
        """The value of a rule, or the ``CELError`` it is."""
        if not self.counts and rule.max_cost <= PER_CALL_LIMIT:
            self.left -= rule.max_cost
            if self.left < 0:
                raise _MustCountError
            try:
                return compiled.evaluate(activation)
            except CELError as problem:
                return problem
        try:
            value, spent = compiled.evaluate_counted(activation, cost_limit=PER_CALL_LIMIT)
        except CostLimitExceeded as problem:
            self.pay(PER_CALL_LIMIT, path, type_name)
            detail = (
                f"'{problem}': no further validation rules will be run due to call cost exceeds "
                f"limit for rule: {rule.text}"
            )
            self.errors.append(invalid(path, type_name, detail))
            raise _Exhausted from None
        self.pay(spent, path, type_name)
        return value

    def pay(self, spent: int, path: Path, type_name: str) -> None:
        if spent > self.left:
            if not self.counts:
                raise _MustCountError
            self.give_up(path, type_name)
        self.left -= spent

    def give_up(self, path: Path, type_name: str) -> None:
        if not self.counts:
            raise _MustCountError
        self.errors.append(invalid(path, type_name, _OUT_OF_BUDGET))
        raise _Exhausted

    def message(
        self,
        rule: Rule,
        path: Path,
        type_name: str,
        activation: Mapping[str, Any],
        *,
        forgiven: bool,
    ) -> str:
        """The text of a failure; an expression that gives none is passed over."""
        otherwise = rule.text if rule.source.get("message") else f"failed rule: {rule.text}"
        if rule.message is None:
            return otherwise
        source = rule.source.get("messageExpression") or ""
        problem = ""
        value: Any = None
        try:
            value, spent = rule.message.evaluate_counted(activation, cost_limit=PER_CALL_LIMIT)
        except CostLimitExceeded:
            spent = PER_CALL_LIMIT
            problem = (
                "no further validation rules will be run due to call cost exceeds limit for "
                f"messageExpression: {quote(source)}"
            )
        if spent > self.left:
            if not self.counts:
                raise _MustCountError
            problem = (
                "messageExpression evaluation failed due to running out of cost budget, "
                "no further validation rules will be run"
            )
        if problem:
            self.add(invalid(path, type_name, problem), forgiven=forgiven)
            raise _Exhausted
        self.left -= spent
        text = value.strip() if isinstance(value, str) else ""
        if not text or len(text.encode()) > _MAX_MESSAGE_BYTES or "\n" in text:
            return otherwise
        return text

    def add(self, error: FieldError, *, forgiven: bool) -> None:
        if forgiven:
            self.warnings.append(str(error))
        else:
            self.errors.append(error)


def _by_key(schema: Schema, old: Any) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    if schema.list_type != "map" or not isinstance(old, list):
        return found
    for item in cast("list[Any]", old):
        key = map_key(schema, item)
        if key is not None:
            found.setdefault(key, item)
    return found


def _runtime_problem(problem: CELError, rule: Rule) -> str:
    text = str(problem)
    if text.startswith("no such overload"):
        return (
            f"'{text}': call arguments did not match a supported operator, function or macro "
            f"signature for rule: {rule.text}"
        )
    return f"{text} evaluating rule: {rule.text}"


def _failure(rule: Rule, path: Path, value: Any, detail: str) -> FieldError:
    match rule.source.get("reason"):
        case "FieldValueForbidden":
            return forbidden(path, detail)
        case "FieldValueRequired":
            return required(path, detail)
        case "FieldValueDuplicate":
            return duplicate(path, value)
        case _:
            return invalid(path, value, detail)
