"""jq filters, as far as selectors of objects need them.

The law: a query is compiled once and yields, for an input, all its outputs in order; what jq calls
an error ends the outputs with `JQError`.  Known: paths (`.a`, `.["a"]`, `.[0]`, `.[]`, `?`), pipes,
commas, comparisons, `and`, `or`, arithmetic, `//`, literals, arrays, and the functions below.
Anything else is `NotSimulated`.

Follows the manual of jq 1.7, in the dialect of `github.com/itchyny/gojq`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, cast

from pytest_kubesim.errors import NotSimulated

Filter: TypeAlias = Callable[[Any], Iterator[Any]]


class JQError(Exception):
    """A filter met a value that it is not for, or the query is not one."""


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>"(?:[^"\\]|\\.)*")
    | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<field>\.[A-Za-z_]\w*)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<sign>//|==|!=|<=|>=|[-.\[\]|,()?<>+*/%:])
    )""",
    re.VERBOSE,
)


def _tokens(source: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at, end = 0, len(source.rstrip())
    while at < end:
        match = _TOKEN.match(source, at)
        if match is None:
            raise NotSimulated(f"the jq query {source!r}, from {source[at:]!r} on")
        kind = match.lastgroup or ""
        found.append((kind, match.group(kind)))
        at = match.end()
    return found


@functools.lru_cache(1024)
def compile(source: str) -> Filter:  # noqa: A001 -- the verb of the room
    """The filter that a query means.  Raises `JQError` or `NotSimulated` for what is none."""
    parser = _Parser(source)
    found = parser.pipe()
    if parser.peek() != ("", ""):
        raise JQError(f"unexpected token {parser.peek()[1]!r} in {source!r}")
    return found


def run(source: str, value: Any) -> list[Any]:
    """All outputs of a query for an input.  Raises `JQError`."""
    return list(compile(source)(value))


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens = _tokens(source)
        self._at = 0

    def peek(self) -> tuple[str, str]:
        """The next token."""
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", "")

    def _take(self, *signs: str) -> str:
        kind, text = self.peek()
        if kind in ("sign", "word") and text in signs:
            self._at += 1
            return text
        return ""

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise JQError(f"{sign!r} is missing in {self._source!r}")

    # -- from the loosest to the tightest -----------------------------------------------------

    def pipe(self) -> Filter:
        """`a | b`."""
        left = self._comma()
        return _piped(left, self.pipe()) if self._take("|") else left

    def _comma(self) -> Filter:
        left = self._alternative()
        while self._take(","):
            left = _both(left, self._alternative())
        return left

    def _alternative(self) -> Filter:
        left = self._or()
        return _alternative(left, self._alternative()) if self._take("//") else left

    def _or(self) -> Filter:
        left = self._and()
        while self._take("or"):
            left = _logical(left, self._and(), stop=True)
        return left

    def _and(self) -> Filter:
        left = self._comparison()
        while self._take("and"):
            left = _logical(left, self._comparison(), stop=False)
        return left

    def _comparison(self) -> Filter:
        left = self._sum()
        operator = self._take("==", "!=", "<=", ">=", "<", ">")
        return _binary(_COMPARISONS[operator], left, self._sum()) if operator else left

    def _sum(self) -> Filter:
        left = self._product()
        while operator := self._take("+", "-"):
            left = _binary(_ARITHMETIC[operator], left, self._product())
        return left

    def _product(self) -> Filter:
        left = self._postfix()
        while operator := self._take("*", "/", "%"):
            left = _binary(_ARITHMETIC[operator], left, self._postfix())
        return left

    def _postfix(self) -> Filter:
        found = self._term()
        while True:
            kind, text = self.peek()
            if kind == "field":
                self._at += 1
                found = _piped(found, _field(text[1:]))
            elif text == "?" and kind == "sign":
                self._at += 1
                found = _tried(found)
            elif text == "[" and kind == "sign":
                found = self._brackets(found)
            elif text == "." and self._dotted():
                self._at += 1
                kind, text = self.peek()
                if kind == "text":
                    self._at += 1
                    found = _piped(found, _field(json.loads(text)))
                else:
                    found = self._brackets(found)
            else:
                return found

    def _dotted(self) -> bool:
        """Whether `.[` or `."a"` goes on."""
        following = self._tokens[self._at + 1 : self._at + 2]
        return bool(following) and (following[0] == ("sign", "[") or following[0][0] == "text")

    def _brackets(self, inner: Filter) -> Filter:
        self._need("[")
        if self._take("]"):
            return _piped(inner, _each)
        index = self.pipe()
        if self._take(":"):
            raise NotSimulated(f"a slice in the jq query {self._source!r}")
        self._need("]")

        def indexed(value: Any) -> Iterator[Any]:
            for outer in inner(value):
                for key in index(value):
                    yield _get(outer, key)

        return indexed

    def _term(self) -> Filter:
        kind, text = self.peek()
        self._at += 1
        if kind == "field":
            return _field(text[1:])
        if kind == "text":
            if "\\(" in text:
                raise NotSimulated(f"interpolation in the jq query {self._source!r}")
            return _constant(json.loads(text))
        if kind == "number":
            return _constant(json.loads(text))
        if kind == "word":
            return self._call(text)
        if text == ".":
            kind, text = self.peek()
            if kind == "text":
                self._at += 1
                return _field(json.loads(text))
            return _identity
        if text == "(":
            found = self.pipe()
            self._need(")")
            return found
        if text == "[":
            if self._take("]"):
                return _constant([])
            found = self.pipe()
            self._need("]")
            return lambda value: iter([list(found(value))])
        if text == "-":
            return _binary(_ARITHMETIC["-"], _constant(0), self._postfix())
        raise JQError(f"unexpected token {text!r} in {self._source!r}")

    def _call(self, name: str) -> Filter:
        if name in _CONSTANTS:
            return _constant(_CONSTANTS[name])
        args: list[Filter] = []
        if self._take("("):
            args.append(self.pipe())
            while self._take(";"):
                args.append(self.pipe())
            self._need(")")
        made = _FUNCTIONS.get((name, len(args)))
        if made is None:
            raise NotSimulated(f"the function {name}/{len(args)} in the jq query {self._source!r}")
        return made(*args)


# -- filters ----------------------------------------------------------------------------------


def _identity(value: Any) -> Iterator[Any]:
    yield value


def _constant(constant: Any) -> Filter:
    return lambda _value: iter((constant,))


def _field(name: str) -> Filter:
    def field(value: Any) -> Iterator[Any]:
        yield _get(value, name)

    return field


def _get(value: Any, key: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, dict) and isinstance(key, str):
        return cast("dict[str, Any]", value).get(key)
    if isinstance(value, list) and isinstance(key, int | float):
        items, at = cast("list[Any]", value), int(key)
        return items[at] if -len(items) <= at < len(items) else None
    raise JQError(f"cannot index {_type(value)} with {json.dumps(key)}")


def _each(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        mapping = cast("dict[str, Any]", value)
        for key in sorted(mapping):
            yield mapping[key]
    elif isinstance(value, list):
        yield from cast("list[Any]", value)
    else:
        raise JQError(f"cannot iterate over: {_type(value)}")


def _piped(left: Filter, right: Filter) -> Filter:
    def piped(value: Any) -> Iterator[Any]:
        for found in left(value):
            yield from right(found)

    return piped


def _both(left: Filter, right: Filter) -> Filter:
    def both(value: Any) -> Iterator[Any]:
        yield from left(value)
        yield from right(value)

    return both


def _tried(inner: Filter) -> Filter:
    def tried(value: Any) -> Iterator[Any]:
        try:
            yield from inner(value)
        except JQError:
            return

    return tried


def _alternative(left: Filter, right: Filter) -> Filter:
    def alternative(value: Any) -> Iterator[Any]:
        any_truth = False
        try:
            for found in left(value):
                if _truth(found):
                    any_truth = True
                    yield found
        except JQError:
            pass
        if not any_truth:
            yield from right(value)

    return alternative


def _logical(left: Filter, right: Filter, *, stop: bool) -> Filter:
    def logical(value: Any) -> Iterator[Any]:
        for first in left(value):
            if _truth(first) is stop:
                yield stop
            else:
                for second in right(value):
                    yield _truth(second)

    return logical


def _binary(operate: Callable[[Any, Any], Any], left: Filter, right: Filter) -> Filter:
    def binary(value: Any) -> Iterator[Any]:
        for second in right(value):
            for first in left(value):
                yield operate(first, second)

    return binary


def _truth(value: Any) -> bool:
    return value is not None and value is not False


_TYPES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (dict, "object"), (list, "array"), (str, "string"), ((int, float), "number"),
)


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    for kind, name in _TYPES:
        if isinstance(value, kind):
            return name
    return "null"


def _same(a: Any, b: Any) -> bool:
    return isinstance(a, bool) is isinstance(b, bool) and a == b


_ORDER = ("null", "boolean", "number", "string", "array", "object")


def _less(a: Any, b: Any) -> bool:
    if _type(a) != _type(b):
        return _ORDER.index(_type(a)) < _ORDER.index(_type(b))
    if a is None or isinstance(a, dict):
        return False
    return a < b


def _add(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, dict) and isinstance(b, dict):
        return {**cast("dict[str, Any]", a), **cast("dict[str, Any]", b)}
    if _type(a) != _type(b) or isinstance(a, bool):
        raise JQError(f"cannot add: {_type(a)} and {_type(b)}")
    return a + b


def _number_operation(name: str, operate: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def operation(a: Any, b: Any) -> Any:
        if name == "subtract" and isinstance(a, list) and isinstance(b, list):
            return [item for item in cast("list[Any]", a) if item not in b]
        if _type(a) != "number" or _type(b) != "number":
            raise JQError(f"cannot {name}: {_type(a)} and {_type(b)}")
        try:
            return operate(a, b)
        except ZeroDivisionError:
            raise JQError(f"cannot {name} {a} by: {b}") from None

    return operation


def _divide(a: Any, b: Any) -> Any:
    found = a / b
    return int(found) if found == int(found) else found


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": _add,
    "-": _number_operation("subtract", lambda a, b: a - b),
    "*": _number_operation("multiply", lambda a, b: a * b),
    "/": _number_operation("divide", _divide),
    "%": _number_operation("modulo", lambda a, b: int(a) % int(b)),
}
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": _same,
    "!=": lambda a, b: not _same(a, b),
    "<": _less,
    ">": lambda a, b: _less(b, a),
    "<=": lambda a, b: not _less(b, a),
    ">=": lambda a, b: not _less(a, b),
}
_CONSTANTS: dict[str, Any] = {"null": None, "true": True, "false": False}


# -- functions --------------------------------------------------------------------------------


def _select(condition: Filter) -> Filter:
    def select(value: Any) -> Iterator[Any]:
        for found in condition(value):
            if _truth(found):
                yield value

    return select


def _of(convert: Callable[[Any], Any]) -> Callable[[], Filter]:
    return lambda: lambda value: iter((convert(value),))


def _length(value: Any) -> Any:
    if isinstance(value, bool):
        raise JQError("length cannot be applied to: boolean")
    if value is None:
        return 0
    return abs(value) if isinstance(value, int | float) else len(value)


def _keys(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted(cast("dict[str, Any]", value))
    if isinstance(value, list):
        return list(range(len(cast("list[Any]", value))))
    raise JQError(f"keys cannot be applied to: {_type(value)}")


def _tonumber(value: Any) -> Any:
    if _type(value) == "number":
        return value
    try:
        return int(value) if re.fullmatch(r"-?\d+", value) else float(value)
    except (TypeError, ValueError):
        raise JQError(f"tonumber cannot be applied to: {_type(value)}") from None


def _tostring(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _has(key: Filter) -> Filter:
    def has(value: Any) -> Iterator[Any]:
        for name in key(value):
            if isinstance(value, dict):
                yield name in value
            elif isinstance(value, list):
                yield 0 <= name < len(cast("list[Any]", value))
            else:
                raise JQError(f"cannot check whether {_type(value)} has a key")

    return has


def _texts(operate: Callable[[str, str], Any]) -> Callable[[Filter], Filter]:
    def made(other: Filter) -> Filter:
        def operation(value: Any) -> Iterator[Any]:
            for found in other(value):
                if not isinstance(value, str) or not isinstance(found, str):
                    raise JQError(f"cannot be applied to: {_type(value)}, {_type(found)}")
                yield operate(value, found)

        return operation

    return made


def _quantified(quantify: Callable[[Iterator[bool]], bool]) -> Callable[[Filter], Filter]:
    return lambda inner: lambda value: iter(
        (quantify(_truth(found) for item in _each(value) for found in inner(item)),)
    )


def _map(inner: Filter) -> Filter:
    return lambda value: iter(([found for item in _each(value) for found in inner(item)],))


def _first(inner: Filter) -> Filter:
    def first(value: Any) -> Iterator[Any]:
        for found in inner(value):
            yield found
            return

    return first


def _empty(_value: Any) -> Iterator[Any]:
    return iter(())


_FUNCTIONS: dict[tuple[str, int], Callable[..., Filter]] = {
    ("select", 1): _select,
    ("map", 1): _map,
    ("any", 1): _quantified(any),
    ("all", 1): _quantified(all),
    ("any", 0): lambda: _quantified(any)(_identity),
    ("all", 0): lambda: _quantified(all)(_identity),
    ("first", 1): _first,
    ("first", 0): lambda: lambda value: iter((_get(value, 0),)),
    ("last", 0): lambda: lambda value: iter((_get(value, -1),)),
    ("empty", 0): lambda: _empty,
    ("has", 1): _has,
    ("not", 0): _of(lambda value: not _truth(value)),
    ("length", 0): _of(_length),
    ("keys", 0): _of(_keys),
    ("type", 0): _of(_type),
    ("tostring", 0): _of(_tostring),
    ("tonumber", 0): _of(_tonumber),
    ("startswith", 1): _texts(str.startswith),
    ("endswith", 1): _texts(str.endswith),
    ("contains", 1): _texts(lambda value, other: other in value),
    ("test", 1): _texts(lambda value, other: re.search(other, value) is not None),
}
