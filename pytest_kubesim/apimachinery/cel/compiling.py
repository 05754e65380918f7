"""The rules of one schema, compiled.

The law: compiling never raises; what is wrong with a rule is part of the outcome, because a rule of
a stored definition that no longer compiles fails the objects, not the server.

Follows ``apiextensions-apiserver/pkg/apiserver/schema/cel/compilation.go``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from pytest_kubesim.apimachinery.cel import cost, program, types
from pytest_kubesim.apimachinery.cel.declared import MAX_REQUEST_BYTES, Declared, Source
from pytest_kubesim.apimachinery.cel.environment import Environment
from pytest_kubesim.apimachinery.cel.errors import CompileError, InstantiationError
from pytest_kubesim.apimachinery.cel.program import Program
from pytest_kubesim.apimachinery.cel.syntax import Ident, Node, children
from pytest_kubesim.apimachinery.structural import fieldpaths
from pytest_kubesim.apimachinery.structural.fieldpaths import FieldPathError

SELF, OLD_SELF = "self", "oldSelf"
TYPE_NAME = "selfType0"
"""What the type of ``self`` is called; upstream draws a number to keep rules from naming it."""


@attrs.frozen
class Rule:
    """A rule as it is written, and what it compiles to. An empty rule has no program."""

    source: Mapping[str, Any]
    program: Program | None = None
    error: str = ""
    uses_old_self: bool = False
    max_cost: int = 0
    message: Program | None = None
    message_error: str = ""
    message_max_cost: int = 0
    field_path: str = ""

    @property
    def optional_old_self(self) -> bool:
        """Whether ``oldSelf`` is an optional, so that the rule runs without an old value."""
        return bool(self.source.get("optionalOldSelf"))

    @property
    def text(self) -> str:
        """What messages call the rule: its message, or else the rule itself."""
        message: str = self.source.get("message") or ""
        return message.strip() if message else str(self.source.get("rule") or "").strip()


def max_cardinality(declared: Declared) -> int:
    """How often data of a type can stand in one request."""
    return MAX_REQUEST_BYTES // (declared.min_size + 1)


@attrs.frozen
class Environments:
    """Where the rules and the messages of a definition are compiled."""

    new: Environment
    stored: Environment
    stored_rules: frozenset[str] | None = None
    """The rules that are stored already; None if all are."""
    stored_messages: frozenset[str] | None = None

    def of_rule(self, expression: str) -> Environment:
        """The environment of a rule."""
        return self._chosen(expression, self.stored_rules)

    def of_message(self, expression: str) -> Environment:
        """The environment of a message expression."""
        return self._chosen(expression, self.stored_messages)

    def _chosen(self, expression: str, stored: frozenset[str] | None) -> Environment:
        return self.stored if stored is None or expression in stored else self.new


def compile_rules(
    rules: Sequence[Mapping[str, Any]],
    declared: Declared,
    environments: Environments,
    source: Source,
) -> list[Rule]:
    """The rules of a schema of that type; ``source`` is the schema, for field paths."""
    scopes = [_scoped(environments, declared, optional=flag) for flag in (False, True)]
    return [
        _rule(rule, declared, scopes[bool(rule.get("optionalOldSelf"))], source) for rule in rules
    ]


def _scoped(environments: Environments, declared: Declared, *, optional: bool) -> Environments:
    old = types.optional(declared.type) if optional else declared.type
    variables = {SELF: declared.type, OLD_SELF: old}
    structs = declared.structs()

    def extended(environment: Environment) -> Environment:
        return environment.extend(variables=variables, structs=structs)

    return attrs.evolve(
        environments, new=extended(environments.new), stored=extended(environments.stored)
    )


def _rule(
    rule: Mapping[str, Any], declared: Declared, environments: Environments, source: Source
) -> Rule:
    expression: str = rule.get("rule") or ""
    if not expression.strip():
        return Rule(rule)
    try:
        compiled = program.compile(expression, environments.of_rule(expression))
    except InstantiationError as problem:
        return Rule(rule, error=f"program instantiation failed: {problem}")
    except CompileError as problem:
        return Rule(rule, error=f"compilation failed: {problem}")
    if compiled.type != types.BOOL:
        return Rule(rule, error="cel expression must evaluate to a bool")
    made = Rule(
        rule,
        compiled,
        uses_old_self=_mentions(compiled.node, OLD_SELF),
        max_cost=cost.estimate(compiled.node, declared.size_of).most,
    )
    message: str = rule.get("messageExpression") or ""
    if message:
        made = _with_message(made, message, declared, environments)
        if made.message_error:
            return made
    return attrs.evolve(made, field_path=_field_path(rule, source))


def _with_message(
    rule: Rule, expression: str, declared: Declared, environments: Environments
) -> Rule:
    try:
        compiled = program.compile(expression, environments.of_message(expression))
    except CompileError as problem:
        was_compiled = isinstance(problem, InstantiationError)
        what = "instantiation" if was_compiled else "compilation"
        return attrs.evolve(rule, message_error=f"messageExpression {what} failed: {problem}")
    if compiled.type != types.STRING:
        detail = "messageExpression must evaluate to a string"
        return attrs.evolve(rule, message_error=detail)
    most = cost.estimate(compiled.node, declared.size_of).most
    return attrs.evolve(rule, message=compiled, message_max_cost=most)


def _field_path(rule: Mapping[str, Any], source: Source) -> str:
    text: str = rule.get("fieldPath") or ""
    if not text:
        return ""
    try:
        path, _ = fieldpaths.resolve(text, source)
    except FieldPathError:
        return ""
    return str(path)


def _mentions(node: Node, name: str) -> bool:
    if isinstance(node, Ident) and node.name == name:
        return True
    return any(_mentions(child, name) for child in children(node))
