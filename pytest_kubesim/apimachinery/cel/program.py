"""An expression made ready to run.

The law: a program never changes; whoever has one may evaluate it as often as they like. What an
expression compiles to is remembered per environment.

Follows ``cel-go/cel/{env,program}.go``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from pytest_kubesim.apimachinery.cel import checker, parser, planner, steps, validators
from pytest_kubesim.apimachinery.cel.environment import Environment
from pytest_kubesim.apimachinery.cel.errors import CELError, CompileError, InstantiationError
from pytest_kubesim.apimachinery.cel.library import costs
from pytest_kubesim.apimachinery.cel.syntax import Node
from pytest_kubesim.apimachinery.cel.types import Type

_NO_LIMIT = 1 << 63


class Program:
    """A compiled expression: its checked tree, its type, and how to evaluate it."""

    __slots__ = ("_counted", "_fast", "_names", "environment", "node", "source", "type")

    def __init__(self, source: str, node: Node, type_: Type, environment: Environment) -> None:
        self.source = source
        self.node = node
        self.type = type_
        self.environment = environment
        self._names = tuple(environment.variables)
        self._fast = planner.plan(node, environment, self._slots())
        self._counted: planner.Plan | None = None

    def evaluate(self, activation: Mapping[str, Any]) -> Any:
        """The value, with those values for the variables; what is missing must not be asked for.

        Raises ``CELError`` if the value is an error.
        """
        compiled = self._fast
        return compiled.step(self._frame(activation, compiled.size, _NO_LIMIT))

    def evaluate_counted(
        self, activation: Mapping[str, Any], *, cost_limit: int
    ) -> tuple[Any, int]:
        """The value or the error, and what the evaluation cost.

        Raises ``CostLimitExceeded`` if that is more than the limit.
        """
        compiled = self._counted
        if compiled is None:
            compiled = self._counted = planner.plan(
                self.node, self.environment, self._slots(), costs.RUNTIME
            )
        frame = self._frame(activation, compiled.size, cost_limit)
        try:
            value = compiled.step(frame)
        except CELError as problem:
            value = problem
        return value, frame[steps.COST]

    def _slots(self) -> dict[str, int]:
        return {name: planner.FIRST_VARIABLE + at for at, name in enumerate(self._names)}

    def _frame(self, activation: Mapping[str, Any], size: int, limit: int) -> list[Any]:
        frame: list[Any] = [None] * size
        frame[steps.LIMIT] = limit
        frame[steps.COST] = 0
        for at, name in enumerate(self._names, planner.FIRST_VARIABLE):
            frame[at] = activation.get(name)
        return frame


@functools.lru_cache(maxsize=4096)
def _compiled(source: str, environment: Environment) -> Program:
    node = parser.parse(source)
    try:
        type_ = checker.check(source, node, environment)
        issues = validators.validate(node)
    except RecursionError:
        raise parser.too_deep(source) from None
    if issues:
        raise CompileError(source, issues)
    try:
        return Program(source, node, type_, environment)
    except CELError as problem:
        raise InstantiationError(source, str(problem)) from None


def compile(source: str, environment: Environment) -> Program:  # noqa: A001 -- the verb of the room
    """The program for an expression.

    Raises ``CompileError`` for what it must not be, ``InstantiationError`` for constants that are
    errors.
    """
    return _compiled(source, environment)
