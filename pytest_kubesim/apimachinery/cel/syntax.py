"""The tree of an expression.

The parser makes it, the checker writes types and overloads into it, the planner reads it. Macros
are already expanded: ``all``, ``map`` and their kin are comprehensions. ``offset`` is where a node
stands in the text, in characters.

Follows ``cel-go/common/ast/expr.go``.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs

from pytest_kubesim.apimachinery.cel.types import Type

ACCUMULATOR = "@result"


@attrs.define(eq=False)
class Literal:
    """A constant."""

    offset: int
    value: Any
    type: Type | None = None


@attrs.define(eq=False)
class Ident:
    """A variable, or a constant or a type by its name."""

    offset: int
    name: str
    type: Type | None = None
    constant: Any = None
    """The value of a name that is declared as a constant."""


@attrs.define(eq=False)
class Select:
    """A field; ``test_only`` asks whether it is there."""

    offset: int
    operand: Node
    field: str
    test_only: bool = False
    type: Type | None = None


@attrs.define(eq=False)
class Call:
    """A function or an operator applied; ``target`` is what a method is called on."""

    offset: int
    function: str
    target: Node | None
    args: list[Node]
    type: Type | None = None
    overloads: list[str] = attrs.field(factory=list[str])
    """The identifiers of the overloads that may apply."""


@attrs.define(eq=False)
class ListNode:
    """A list; ``optional`` holds the positions of elements written with ``?``."""

    offset: int
    elements: list[Node]
    optional: frozenset[int] = frozenset()
    type: Type | None = None


@attrs.define(eq=False)
class Entry:
    """An entry of a map, or a field of a struct (its key is a ``Literal`` then)."""

    offset: int
    key: Node
    value: Node
    optional: bool = False


@attrs.define(eq=False)
class MapNode:
    """A map."""

    offset: int
    entries: list[Entry]
    type: Type | None = None


@attrs.define(eq=False)
class Struct:
    """A message."""

    offset: int
    name: str
    fields: list[Entry]
    type: Type | None = None


@attrs.define(eq=False)
class Comprehension:
    """A fold over a list or a map.

    ``accu_var`` begins as ``init``; while ``condition`` holds, it becomes ``step`` for each
    element; the value is that of ``result``. ``macro`` names the macro it comes from, for the
    planner.
    """

    offset: int
    range: Node
    var: str
    var2: str
    accu_var: str
    init: Node
    condition: Node
    step: Node
    result: Node
    macro: str = ""
    type: Type | None = None


Node: TypeAlias = Literal | Ident | Select | Call | ListNode | MapNode | Struct | Comprehension


def children(node: Node) -> list[Node]:
    """The nodes directly below one."""
    match node:
        case Select():
            return [node.operand]
        case Call():
            return [*([node.target] if node.target is not None else ()), *node.args]
        case ListNode():
            return node.elements
        case MapNode():
            return [part for entry in node.entries for part in (entry.key, entry.value)]
        case Struct():
            return [entry.value for entry in node.fields]
        case Comprehension():
            return [node.range, node.init, node.condition, node.step, node.result]
        case _:
            return []
