"""The macros: ``has``, ``all``, ``exists``, ``existsOne``, ``map``, ``filter`` and their kin.

The law: an expansion makes new nodes around the arguments, which are used as they are.

Follows ``cel-go/parser/macro.go``, ``cel-go/ext/comprehensions.go`` and the macros of
``cel-go/cel/library.go``.
"""

from __future__ import annotations

from collections.abc import Callable

from pytest_kubesim.apimachinery.cel.errors import Issue
from pytest_kubesim.apimachinery.cel.syntax import (
    ACCUMULATOR,
    Call,
    Comprehension,
    Entry,
    Ident,
    ListNode,
    Literal,
    MapNode,
    Node,
    Select,
    Struct,
)

_Macro = Callable[[int, Node, list[Node]], "Node | Issue"]
_OLD_ACCUMULATOR = "__result__"


def expand(
    offset: int, function: str, target: Node | None, args: list[Node]
) -> Node | Issue | None:
    """What a call is a macro for; None if it is none, an issue if its arguments are wrong."""
    if target is None:
        if function == "has" and len(args) == 1:
            return _has(offset, args[0])
        return None
    macro = _MACROS.get((function, len(args)))
    return None if macro is None else macro(offset, target, args)


def _has(offset: int, arg: Node) -> Node | Issue:
    if isinstance(arg, Select):
        return Select(offset, arg.operand, arg.field, test_only=True)
    return Issue(arg.offset, "invalid argument to has() macro")


def _call(offset: int, function: str, *args: Node) -> Call:
    return Call(offset, function, None, list(args))


def _variable(arg: Node, problem: str) -> str | Issue:
    if not isinstance(arg, Ident):
        return Issue(arg.offset, problem)
    if arg.name in (ACCUMULATOR, _OLD_ACCUMULATOR):
        return Issue(arg.offset, "iteration variable overwrites accumulator variable")
    return arg.name


def _variables(args: list[Node]) -> tuple[str, str] | Issue:
    names: list[str] = []
    for arg, problem in zip(args, ("argument must be a simple name",) * 2, strict=False):
        name = _variable(arg, problem)
        if isinstance(name, Issue):
            return name
        names.append(name)
    if names[0] == names[1]:
        return Issue(args[1].offset, f"duplicate variable name: {names[0]}")
    return names[0], names[1]


def _fold(
    offset: int,
    target: Node,
    names: tuple[str, str],
    parts: tuple[Node, Node, Node, Node],
    macro: str,
) -> Comprehension:
    init, condition, step, result = parts
    return Comprehension(
        offset, target, names[0], names[1], ACCUMULATOR, init, condition, step, result, macro
    )


def _quantifier(kind: str, offset: int, predicate: Node) -> tuple[Node, Node, Node, Node]:
    def accu() -> Ident:
        return Ident(offset, ACCUMULATOR)

    if kind == "all":
        condition = _call(offset, "@not_strictly_false", accu())
        step = _call(offset, "_&&_", accu(), predicate)
        return Literal(offset, True), condition, step, accu()
    if kind == "exists":
        negated = _call(offset, "!_", accu())
        condition = _call(offset, "@not_strictly_false", negated)
        step = _call(offset, "_||_", accu(), predicate)
        return Literal(offset, False), condition, step, accu()
    more = _call(offset, "_+_", accu(), Literal(offset, 1))
    step = _call(offset, "_?_:_", predicate, more, accu())
    result = _call(offset, "_==_", accu(), Literal(offset, 1))
    return Literal(offset, 0), Literal(offset, True), step, result


def _make_quantifier(kind: str) -> _Macro:
    def macro(offset: int, target: Node, args: list[Node]) -> Node | Issue:
        name = _variable(args[0], "argument must be a simple name")
        if isinstance(name, Issue):
            return name
        return _fold(offset, target, (name, ""), _quantifier(kind, offset, args[1]), kind)

    return macro


def _make_quantifier2(kind: str) -> _Macro:
    def macro(offset: int, target: Node, args: list[Node]) -> Node | Issue:
        names = _variables(args)
        if isinstance(names, Issue):
            return names
        return _fold(offset, target, names, _quantifier(kind, offset, args[2]), kind)

    return macro


def _collected(offset: int, item: Node, predicate: Node | None) -> tuple[Node, Node, Node, Node]:
    accu = Ident(offset, ACCUMULATOR)
    step: Node = _call(offset, "_+_", Ident(offset, ACCUMULATOR), ListNode(offset, [item]))
    if predicate is not None:
        step = _call(offset, "_?_:_", predicate, step, Ident(offset, ACCUMULATOR))
    return ListNode(offset, []), Literal(offset, True), step, accu


def _map(offset: int, target: Node, args: list[Node]) -> Node | Issue:
    name = _variable(args[0], "argument is not an identifier")
    if isinstance(name, Issue):
        return name
    predicate = args[1] if len(args) == 3 else None
    return _fold(offset, target, (name, ""), _collected(offset, args[-1], predicate), "map")


def _filter(offset: int, target: Node, args: list[Node]) -> Node | Issue:
    name = _variable(args[0], "argument is not an identifier")
    if isinstance(name, Issue):
        return name
    return _fold(offset, target, (name, ""), _collected(offset, args[0], args[1]), "filter")


def _transform_list(offset: int, target: Node, args: list[Node]) -> Node | Issue:
    names = _variables(args)
    if isinstance(names, Issue):
        return names
    predicate = args[2] if len(args) == 4 else None
    parts = _collected(offset, args[-1], predicate)
    return _fold(offset, target, names, parts, "transformList")


def _make_transform_map(*, entries: bool) -> _Macro:
    def macro(offset: int, target: Node, args: list[Node]) -> Node | Issue:
        names = _variables(args)
        if isinstance(names, Issue):
            return names
        accu = Ident(offset, ACCUMULATOR)
        if entries:
            step: Node = _call(offset, "cel.@mapInsert", accu, args[-1])
        else:
            key = Ident(offset, names[0])
            step = _call(offset, "cel.@mapInsert", accu, key, args[-1])
        if len(args) == 4:
            step = _call(offset, "_?_:_", args[2], step, Ident(offset, ACCUMULATOR))
        no_entries: list[Entry] = []
        parts = (
            MapNode(offset, no_entries),
            Literal(offset, True),
            step,
            Ident(offset, ACCUMULATOR),
        )
        return _fold(offset, target, names, parts, "transformMap")

    return macro


def _make_optional(*, flat: bool) -> _Macro:
    def macro(offset: int, target: Node, args: list[Node]) -> Node | Issue:
        """``optMap`` and ``optFlatMap``: the variable is bound by a fold that never runs."""
        problem = f"opt{'Flat' if flat else ''}Map() variable name must be a simple identifier"
        name = _variable(args[0], problem)
        if isinstance(name, Issue):
            return name
        value = Call(offset, "value", target, [])
        bound: Node = Comprehension(
            offset,
            ListNode(offset, []),
            "#unused",
            "",
            name,
            value,
            Literal(offset, False),
            Ident(offset, name),
            args[1],
            "bind",
        )
        if not flat:
            bound = _call(offset, "optional.of", bound)
        has_value = Call(offset, "hasValue", target, [])
        return _call(offset, "_?_:_", has_value, bound, _call(offset, "optional.none"))

    return macro


_SORT_INPUT = "@__sortBy_input__"


def _sort_by(offset: int, target: Node, args: list[Node]) -> Node | Issue:
    """``sortBy``: the list is sorted as the list of its keys would be."""
    if isinstance(target, (Literal, MapNode, Struct)):
        message = (
            "sortBy can only be applied to a list, identifier, comprehension, call or select "
            "expression"
        )
        return Issue(target.offset, message)
    keys = _map(offset, Ident(offset, _SORT_INPUT), args)
    if isinstance(keys, Issue):
        return keys
    call = Call(offset, "@sortByAssociatedKeys", Ident(offset, _SORT_INPUT), [keys])
    return Comprehension(
        offset,
        ListNode(offset, []),
        "#unused",
        "",
        _SORT_INPUT,
        target,
        Literal(offset, False),
        Ident(offset, _SORT_INPUT),
        call,
        "bind",
    )


_MACROS: dict[tuple[str, int], _Macro] = {
    ("all", 2): _make_quantifier("all"),
    ("exists", 2): _make_quantifier("exists"),
    ("exists_one", 2): _make_quantifier("existsOne"),
    ("all", 3): _make_quantifier2("all"),
    ("exists", 3): _make_quantifier2("exists"),
    ("exists_one", 3): _make_quantifier2("existsOne"),
    ("existsOne", 3): _make_quantifier2("existsOne"),
    ("map", 2): _map,
    ("map", 3): _map,
    ("filter", 2): _filter,
    ("transformList", 3): _transform_list,
    ("transformList", 4): _transform_list,
    ("transformMap", 3): _make_transform_map(entries=False),
    ("transformMap", 4): _make_transform_map(entries=False),
    ("transformMapEntry", 3): _make_transform_map(entries=True),
    ("transformMapEntry", 4): _make_transform_map(entries=True),
    ("sortBy", 2): _sort_by,
    ("optMap", 2): _make_optional(flat=False),
    ("optFlatMap", 2): _make_optional(flat=True),
}
