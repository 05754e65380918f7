"""JSONPath as client-go has it: printer columns and selectable fields of custom resources use it.

A template is text with actions in braces; an action walks from the whole object::

    parse("{.spec.containers[0].image}").find(obj)         [["nginx"]]
    parse("{.status.conditions[?(@.type=='Ready')].status}").find(obj)

The law: a template is compiled once and only reads; keys that are missing give nothing, unless the
template was parsed with `strict`.  Maps are walked by sorted keys, where Go's order is random.
`{range}` is for kubectl's output and not understood here.

Follows `client-go/util/jsonpath/{parser,jsonpath}.go`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import attrs

from pytest_kubesim.apimachinery import golang

Values: TypeAlias = list[Any]
_Walk: TypeAlias = Callable[[Values], Values]

_DICT_KEY = re.compile(r"'([^']*)'")
_SLICE = re.compile(r"(-?\d*)(:-?\d*)?(:-?\d*)?")
_COMPARISON = re.compile(r"([^!<>=]+)([!<>=]+)(.+?)", re.DOTALL)
_TERMINATORS = frozenset(" \t\r\n.,[]$@{}")


class JSONPathError(ValueError):
    """The template cannot be parsed, or finds what it cannot walk; the text is client-go's."""


class Template:
    """A parsed template."""

    __slots__ = ("_actions", "text")

    def __init__(self, text: str, actions: list[_Walk]) -> None:
        self.text = text
        self._actions = actions

    def find(self, obj: Any) -> list[Values]:
        """What each action (or piece of text) gives.  Raises `JSONPathError`."""
        return [walk([obj]) for walk in self._actions]


def parse(text: str, *, strict: bool = False) -> Template:
    """A template; with `strict` it is an error to walk a missing key.  Raises `JSONPathError`."""
    return Template(text, _Parser(text, strict=strict).actions())


def printed(values: Values) -> str:
    """The values as text, with a space between them (`PrintResults`)."""
    return " ".join(map(_text, values))


def _text(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return golang.json_text(value)
    return "null" if value is None else golang.plain(value)


# -- parsing ---------------------------------------------------------------------------------------


class _Parser:
    def __init__(self, text: str, *, strict: bool) -> None:
        self._text = text
        self._strict = strict
        self._at = 0

    def actions(self) -> list[_Walk]:
        """All actions of the template, texts between them too."""
        found: list[_Walk] = []
        text = self._text
        while self._at < len(text):
            opened = text.find("{", self._at)
            if opened < 0:
                opened = len(text)
            if opened > self._at:
                found.append(_constant(text[self._at : opened]))
            self._at = opened + 1
            if opened < len(text):
                found.append(_chain(self._action()))
        return found

    def _action(self) -> list[_Walk]:
        """The nodes up to the closing brace."""
        nodes: list[_Walk] = []
        text = self._text
        while True:
            if text.startswith("}", self._at):
                self._at += 1
                return nodes
            if text.startswith("[?(", self._at):
                nodes.append(self._filter())
                continue
            if text.startswith("..", self._at):
                self._recursive(nodes)
                continue
            if self._at >= len(text) or text[self._at] in "\r\n":
                raise JSONPathError("unclosed action")
            self._step(nodes, text[self._at])

    def _step(self, nodes: list[_Walk], character: str) -> None:
        if character in " @$":
            self._at += 1
        elif character == "[":
            nodes += self._array()
        elif character in "\"'":
            nodes.append(_constant(self._quoted(character)))
        elif character == ".":
            self._at += 1
            nodes.append(self._field())
        elif character in "+-" or character.isdigit():
            nodes.append(self._number())
        elif character == "_" or character.isalnum():
            nodes.append(self._identifier())
        else:
            shown = f"U+{ord(character):04X} '{character}'"
            raise JSONPathError(f"unrecognized character in action: {shown}")

    def _recursive(self, nodes: list[_Walk]) -> None:
        if nodes and nodes[-1] is _descend:
            raise JSONPathError("invalid multiple recursive descent")
        self._at += 2
        nodes.append(_descend)
        following = self._text[self._at : self._at + 1]
        if following == "_" or following.isalnum():
            nodes.append(self._field())

    def _field(self) -> _Walk:
        start, text = self._at, self._text
        while self._at < len(text) and text[self._at] not in _TERMINATORS:
            self._at += 2 if text[self._at] == "\\" else 1
        self._at = min(self._at, len(text))
        name = text[start : self._at]
        return _wildcard if name == "*" else _field(name.replace("\\", ""), strict=self._strict)

    def _number(self) -> _Walk:
        start, text = self._at, self._text
        if text[self._at] in "+-":
            self._at += 1
        while self._at < len(text) and (text[self._at].isdigit() or text[self._at] == "."):
            self._at += 1
        shown = text[start : self._at]
        try:
            return _constant_each(int(shown))
        except ValueError:
            pass
        try:
            return _constant_each(float(shown))
        except ValueError:
            raise JSONPathError(f"cannot parse number {shown}") from None

    def _identifier(self) -> _Walk:
        start, text = self._at, self._text
        while self._at < len(text) and text[self._at] not in _TERMINATORS:
            self._at += 1
        name = text[start : self._at]
        if name in ("true", "false"):
            return _constant_each(name == "true")

        def refuse(_values: Values) -> Values:
            raise JSONPathError(f"unrecognized identifier {name}")

        return refuse

    def _quoted(self, quote: str) -> str:
        text, start = self._text, self._at + 1
        end = start
        while True:
            if end >= len(text) or text[end] == "\n":
                raise JSONPathError("unterminated quoted string")
            if text[end] == quote and text[end - 1] != "\\":
                break
            end += 1
        self._at = end + 1
        return text[start:end].replace(f"\\{quote}", quote).replace("\\\\", "\\")

    def _array(self) -> list[_Walk]:
        end = self._text.find("]", self._at)
        line = self._text.find("\n", self._at)
        if end < 0 or 0 <= line < end:
            raise JSONPathError("unterminated array")
        inner = self._text[self._at + 1 : end]
        self._at = end + 1
        if inner == "*":
            inner = ":"
        parts = inner.split(",")
        if len(parts) > 1:
            return [_union([self._nested(f"[{part.strip(' ')}]") for part in parts])]
        key = _DICT_KEY.fullmatch(inner)
        if key is not None:
            return [self._nested(f".{key[1]}")]
        return [_slice(inner)]

    def _nested(self, text: str) -> _Walk:
        parser = _Parser(f"{{{text}}}", strict=self._strict)
        return parser.actions()[0]

    def _filter(self) -> _Walk:
        start = self._at + len("[?(")
        end = self._end_of_filter(start)
        inner = self._text[start:end]
        if self._text[end + 1 : end + 2] != "]":
            raise JSONPathError("unclosed array expect ]")
        self._at = end + 2
        found = _COMPARISON.fullmatch(inner)
        if found is None:
            return _exists(self._nested(inner))
        return _compared(self._nested(found[1]), found[2], self._nested(found[3]))

    def _end_of_filter(self, start: int) -> int:
        """Where the closing parenthesis is; quotes appear once on the right side at most."""
        text = self._text
        begun = ended = False
        pair = ""
        for at in range(start, len(text)):
            character = text[at]
            if character == "\n":
                break
            if character in "\"'":
                if not begun:
                    begun, pair = True, character
                elif text[at - 1] != "\\" and character == pair:
                    ended = True
            elif character == ")" and begun == ended:
                return at
        raise JSONPathError("unterminated filter")


# -- walking ---------------------------------------------------------------------------------------


def _chain(nodes: list[_Walk]) -> _Walk:
    if len(nodes) == 1:
        return nodes[0]

    def walk(values: Values) -> Values:
        for node in nodes:
            values = node(values)
        return values

    return walk


def _constant(value: Any) -> _Walk:
    return lambda _values: [value]


def _constant_each(value: Any) -> _Walk:
    return lambda values: [value] * len(values)


def _field(name: str, *, strict: bool) -> _Walk:
    def walk(values: Values) -> Values:
        found = [
            cast("dict[str, Any]", value)[name]
            for value in values
            if isinstance(value, dict) and name in value
        ]
        if strict and values and not found:
            raise JSONPathError(f"{name} is not found")
        return found

    return walk


def _below(value: Any) -> Values:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return [fields[key] for key in sorted(fields)]
    if isinstance(value, list):
        return list(cast("Values", value))
    return [ord(each) for each in value] if isinstance(value, str) else []


def _wildcard(values: Values) -> Values:
    return [below for value in values for below in _below(value)]


def _descend(values: Values) -> Values:
    found: Values = []
    for value in values:
        below = _below(value)
        if below and not isinstance(value, str):
            found.append(value)
            found += _descend(below)
    return found


def _union(branches: list[_Walk]) -> _Walk:
    return lambda values: [found for branch in branches for found in branch(values)]


@attrs.frozen
class _Bounds:
    start: int
    end: int | None
    step: int | None
    one: bool
    """Only one element is meant: `[2]`."""


def _bounds(text: str) -> _Bounds:
    found = _SLICE.fullmatch(text)
    if found is None:
        raise JSONPathError(f"invalid array index {text}")
    numbers: list[int | None] = []
    for group in found.groups():
        digits = (group or "").removeprefix(":")
        if digits == "-":
            raise JSONPathError(f"array index {digits} is not a number")
        numbers.append(int(digits) if digits else None)
    start = numbers[0] or 0
    one = found[2] is None
    return _Bounds(start, start + 1 if one else numbers[1], numbers[2], one)


def _slice(text: str) -> _Walk:
    bounds = _bounds(text)

    def walk(values: Values) -> Values:
        found: Values = []
        for value in values:
            if value is None:
                continue
            if not isinstance(value, list):
                raise JSONPathError(f"{golang.type_name(value)} is not array or slice")
            found += _sliced(cast("Values", value), bounds)
        return found

    return walk


def _sliced(items: Values, bounds: _Bounds) -> Values:
    size = len(items)
    start = bounds.start + size if bounds.start < 0 else bounds.start
    end = size if bounds.end is None else bounds.end
    if end < 0 or (end == 0 and bounds.one):
        end += size
    if start == end:
        return []
    if not 0 <= start < size:
        raise JSONPathError(f"array index out of bounds: index {start}, length {size}")
    if not 0 <= end <= size:
        raise JSONPathError(f"array index out of bounds: index {end - 1}, length {size}")
    if start > end:
        raise JSONPathError(f"starting index {start} is greater than ending index {end}")
    if bounds.step is not None and bounds.step <= 0:
        raise JSONPathError("step must be > 0")
    return items[start : end : bounds.step or 1]


def _elements(values: Values) -> Values:
    found: Values = []
    for value in values:
        if not isinstance(value, list):
            shown = golang.plain(value)
            raise JSONPathError(f"{shown} is not array or slice and cannot be filtered")
        found += cast("Values", value)
    return found


def _exists(condition: _Walk) -> _Walk:
    def holds(element: Any) -> bool:
        try:
            return bool(condition([element]))
        except JSONPathError:
            return False

    return lambda values: [element for element in _elements(values) if holds(element)]


def _compared(left: _Walk, operator: str, right: _Walk) -> _Walk:
    def holds(element: Any) -> bool:
        sides: list[Any] = []
        for walk in (left, right):
            found = walk([element])
            if not found:
                return False
            if len(found) > 1:
                raise JSONPathError("can only compare one element at a time")
            sides.append(found[0])
        return _compare(sides[0], operator, sides[1])

    return lambda values: [element for element in _elements(values) if holds(element)]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float, str)):
        return type(value).__name__
    raise JSONPathError("invalid type for comparison")


def _compare(left: Any, operator: str, right: Any) -> bool:
    if operator not in ("<", ">", "==", "!=", "<=", ">="):
        raise JSONPathError(f"unrecognized filter operator {operator}")
    if _kind(left) != _kind(right):
        raise JSONPathError("incompatible types for comparison")
    if operator in ("==", "!="):
        return (left == right) is (operator == "==")
    if isinstance(left, bool):
        raise JSONPathError("invalid type for comparison")
    less, equal = left < right, left == right
    return {"<": less, "<=": less or equal, ">": not (less or equal), ">=": not less}[operator]
