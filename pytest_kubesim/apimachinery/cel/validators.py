"""What an expression must not contain although its types agree.

The law: literals that can only fail are refused at once. Lists and maps hold one type, except in
the arguments of ``format``.

Follows ``cel-go/cel/validator.go`` and the validator of ``cel-go/ext/formatting.go``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pytest_kubesim.apimachinery import go_regexp
from pytest_kubesim.apimachinery.cel import types
from pytest_kubesim.apimachinery.cel.errors import CELError, Issue
from pytest_kubesim.apimachinery.cel.library import conversions, formatting
from pytest_kubesim.apimachinery.cel.syntax import Call, ListNode, Literal, MapNode, Node, children
from pytest_kubesim.apimachinery.cel.types import DYN, Type

_EXEMPT = frozenset(("format",))
_STRINGABLE = frozenset(
    [
        "list",
        "map",
        "int",
        "uint",
        "double",
        "bool",
        "string",
        "timestamp",
        "bytes",
        "duration",
        "type",
        "null",
    ]
)
_KINDS: dict[str, frozenset[str]] = {
    "d": frozenset(("int", "uint")),
    "f": frozenset(("double", "string")),
    "e": frozenset(("double", "string")),
    "b": frozenset(("int", "uint", "bool")),
    "x": frozenset(("int", "uint", "string", "bytes")),
    "X": frozenset(("int", "uint", "string", "bytes")),
    "o": frozenset(("int", "uint")),
}


def validate(node: Node) -> list[Issue]:
    """What is wrong with a checked tree."""
    issues: list[Issue] = []
    for found, exempt in _walk(node, exempt=False):
        if isinstance(found, Call):
            issues += _literals(found)
            issues += _format(found)
        elif isinstance(found, ListNode) and not exempt:
            issues += _one_type(found)
        elif isinstance(found, MapNode) and not exempt:
            issues += _one_type_each(found)
    return issues


def _walk(node: Node, *, exempt: bool) -> Iterator[tuple[Node, bool]]:
    yield node, exempt
    exempt = exempt or (isinstance(node, Call) and node.function in _EXEMPT)
    for child in children(node):
        yield from _walk(child, exempt=exempt)


# -- literals --------------------------------------------------------------------------------------


def _fails(check: Callable[[Any], Any], value: Any) -> bool:
    try:
        check(value)
    except (CELError, go_regexp.RegexpError):
        return True
    return False


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "duration": conversions.to_duration,
    "timestamp": conversions.to_timestamp,
    "matches": go_regexp.compile,
}


def _literals(call: Call) -> list[Issue]:
    check = _CHECKS.get(call.function)
    if check is None or not call.args or not isinstance(call.args[0], Literal):
        return []
    literal = call.args[0]
    if not _fails(check, literal.value):
        return []
    return [Issue(literal.offset, f"invalid {call.function} argument")]


# -- aggregates ------------------------------------------------------------------------------------


def _mismatch(node: Node, expected: Type, found: Type) -> Issue:
    shown = types.format_type(expected), types.format_type(found)
    return Issue(node.offset, f"expected type '{shown[0]}' but found '{shown[1]}'")


def _element_type(node: Node, *, optional: bool) -> Type:
    found = node.type or DYN
    return found.params[0] if optional and found.params else found


def _one_type(node: ListNode) -> list[Issue]:
    first: Type | None = None
    for at, element in enumerate(node.elements):
        found = _element_type(element, optional=at in node.optional)
        if first is None:
            first = found
        elif first != found:
            return [_mismatch(element, first, found)]
    return []


def _one_type_each(node: MapNode) -> list[Issue]:
    issues: list[Issue] = []
    first: tuple[Type, Type] | None = None
    for entry in node.entries:
        key = entry.key.type or DYN
        value = _element_type(entry.value, optional=entry.optional)
        if first is None:
            first = key, value
            continue
        if first[0] != key:
            issues.append(_mismatch(entry.key, first[0], key))
        if first[1] != value:
            issues.append(_mismatch(entry.value, first[1], value))
    return issues


# -- format ----------------------------------------------------------------------------------------


def _format(call: Call) -> list[Issue]:
    template = call.target
    if call.function != "format" or not isinstance(template, Literal) or len(call.args) != 1:
        return []
    listed = call.args[0]
    if not isinstance(template.value, str) or not isinstance(listed, ListNode):
        return []
    args = listed.elements
    try:
        parts = formatting.clauses(template.value, len(args), static=True)
    except ValueError as problem:
        return [Issue(call.offset, str(problem))]
    letters = [part[0] for part in parts if not isinstance(part, str)]
    for letter, arg in zip(letters, args, strict=False):
        wrong = _unfit(letter, arg)
        if wrong is not None:
            name = (wrong.type or DYN).name
            problem = formatting.PROBLEMS[letter.lower()] + name
            return [Issue(wrong.offset, f"error during formatting: {problem}")]
    if len(args) > len(letters):
        message = (
            f"too many arguments supplied to string.format (expected {len(letters)}, "
            f"got {len(args)})"
        )
        return [Issue(call.offset, message)]
    return []


def _unfit(letter: str, arg: Node) -> Node | None:
    """The part of an argument that a clause cannot show."""
    kind = (arg.type or DYN).kind
    if letter != "s":
        return None if kind == "dyn" or kind in _KINDS[letter] else arg
    if kind != "dyn" and kind not in _STRINGABLE:
        return arg
    if isinstance(arg, ListNode):
        inner = arg.elements
    elif isinstance(arg, MapNode):
        inner = [part for entry in arg.entries for part in (entry.key, entry.value)]
    else:
        inner = []
    return next((wrong for part in inner if (wrong := _unfit("s", part)) is not None), None)
