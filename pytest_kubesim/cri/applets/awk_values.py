"""What awk computes with: the state of a run, texts that may be numbers, patterns, functions.

Follows POSIX.1-2017, "awk", "Expressions in awk" and "Functions".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from pytest_kubesim.cri.applets.printing import printf_text
from pytest_kubesim.cri.applets.text import posix_pattern

Value = Callable[["Run"], Any]
SUBSEP = "\x1c"


class AwkFault(Exception):
    """A program that is not understood."""


class Next(Exception):
    """`next`, `exit`."""


class Break(Exception):
    """`break`."""


class Continue(Exception):
    """`continue`."""


class Return(Exception):
    """`return`."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.value = value


class Run:
    """The state of a run."""

    def __init__(self) -> None:
        self.variables: dict[str, Any] = {"FS": " ", "OFS": " ", "ORS": "\n", "NR": 0, "NF": 0}
        self.fields: list[str] = [""]
        self.arrays: dict[str, dict[str, Any]] = {}
        self.functions: dict[str, tuple[list[str], Value]] = {}
        self.out: list[str] = []
        self.files: dict[str, list[str]] = {}
        """What was written elsewhere, by path."""
        self.code: int | None = None

    def take(self, line: str) -> None:
        """The line is this now."""
        parts = self.split(line)
        self.fields = [line, *parts]
        self.variables["NF"] = len(parts)

    def set_field(self, number: int, text: str) -> None:
        """`$number = text`; the line is made anew."""
        if number == 0:
            self.take(text)
            return
        self.fields += [""] * (number + 1 - len(self.fields))
        self.fields[number] = text
        self.fields[0] = text_of(self.variables["OFS"]).join(self.fields[1:])
        self.variables["NF"] = len(self.fields) - 1

    def split(self, line: str, by: Any = None) -> list[str]:
        """The fields of a text."""
        if isinstance(by, Matched):
            return by.pattern.split(line) if line else []
        separator = text_of(self.variables["FS"] if by is None else by)
        if separator == " ":
            return line.split()
        if not line:
            return []
        if len(separator) == 1:
            return line.split(separator)
        return re.split(posix_pattern(separator, extended=True), line)


def text_of(value: Any) -> str:
    """A value as text: whole numbers without a point."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:.6g}"
    return str(int(value)) if isinstance(value, bool) else str(value)


def number_of(value: Any) -> float:
    """A value as a number: what a text begins with."""
    if isinstance(value, (int, float)):
        return float(value)
    match = re.match(r"\s*[-+]?\d+(\.\d+)?", str(value))
    return float(match.group()) if match else 0.0


def numeric(value: Any) -> bool:
    """Whether the value is compared as a number."""
    return isinstance(value, (int, float, Unset)) or bool(
        re.fullmatch(r"\s*[-+]?\d+(\.\d+)?\s*", str(value))
    )


def true(value: Any) -> bool:
    """Whether the value counts as true."""
    if isinstance(value, (int, float)):
        return bool(value)
    return bool(number_of(value)) if numeric(value) else bool(value)


class Unset(str):
    """What a variable is before it is assigned: "" and 0."""

    __slots__ = ()


UNSET = Unset()


class Pattern:
    """A regular expression: alone it is matched against the line."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern = pattern

    def __call__(self, state: Run) -> Any:
        """Whether the line matches."""
        return Matched(self.pattern, state.fields[0])


class Matched(int):
    """Whether the line matches, which remembers the pattern for `~`."""

    pattern: re.Pattern[str]

    def __new__(cls, pattern: re.Pattern[str], line: str) -> Matched:
        """1 or 0."""
        made = super().__new__(cls, pattern.search(line) is not None)
        made.pattern = pattern
        return made


def both(function: Callable[[Any, Value, Value], Any], left: Value, right: Value) -> Value:
    """A function of two values, which may leave the second alone."""
    return lambda state: function(state, left, right)


def arithmetic(operator: str, left: Value, right: Value) -> Value:
    """`left operator right`."""
    return lambda state: calculated(operator, left(state), right(state))


def calculated(operator: str, left: Any, right: Any) -> float:
    """The number an operator makes of two."""
    a, b = number_of(left), number_of(right)
    if operator in "/%" and b == 0:
        raise AwkFault("division by zero")
    if operator == "+":
        return a + b
    if operator == "-":
        return a - b
    if operator == "^":
        return a**b
    return a * b if operator == "*" else a / b if operator == "/" else math.fmod(a, b)


def compared(operator: str, left: Any, right: Any) -> int:
    """1 if the comparison holds: of numbers if both look like them, else of texts."""
    if operator in ("~", "!~"):
        pattern = getattr(right, "pattern", None) or re.compile(
            posix_pattern(text_of(right), extended=True)
        )
        return int((pattern.search(text_of(left)) is not None) == (operator == "~"))
    a: Any = text_of(left)
    b: Any = text_of(right)
    if numeric(left) and numeric(right):
        a, b = number_of(left), number_of(right)
    return int({
        "==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b,
    }[operator])


def field(state: Run, number: int) -> str:
    """`$number`."""
    return state.fields[number] if number < len(state.fields) else ""


def leave(state: Run, code: Value | None) -> None:
    """`exit code`: what is left is END."""
    state.code = int(number_of(code(state))) if code is not None else 0
    raise Next


class Ref:
    """What can be assigned to: a variable, an element, a field."""

    def __init__(self, get: Value, put: Callable[[Run, Any], object]) -> None:
        self._get = get
        self.put = put

    def __call__(self, state: Run) -> Any:
        """Its value."""
        return self._get(state)


def variable(name: str) -> Ref:
    """A variable."""

    def put(state: Run, value: Any) -> None:
        state.variables[name] = value

    return Ref(lambda state: state.variables.get(name, UNSET), put)


def field_ref(index: Value) -> Ref:
    """`$index`."""

    def put(state: Run, value: Any) -> None:
        state.set_field(int(number_of(index(state))), text_of(value))

    return Ref(lambda state: field(state, int(number_of(index(state)))), put)


def element(name: str, key: Value) -> Ref:
    """`name[key]`, which is there from when it is first looked at."""

    def get(state: Run) -> Any:
        return state.arrays.setdefault(name, {}).setdefault(text_of(key(state)), UNSET)

    def put(state: Run, value: Any) -> None:
        state.arrays.setdefault(name, {})[text_of(key(state))] = value

    return Ref(get, put)


def assigned(target: Ref, operator: str, value: Value) -> Value:
    """`target = value`, `target += value`, ..."""

    def run(state: Run) -> Any:
        result = value(state)
        if operator != "=":
            result = calculated(operator[0], target(state), result)
        target.put(state, result)
        return result

    return run


def stepped(target: Ref, operator: str, *, before: bool) -> Value:
    """`target++`, `--target`."""
    step = 1.0 if operator == "++" else -1.0

    def run(state: Run) -> float:
        old = number_of(target(state))
        target.put(state, old + step)
        return old + step if before else old

    return run


def _pattern_of(value: Any) -> re.Pattern[str]:
    if isinstance(value, Matched):
        return value.pattern
    return re.compile(posix_pattern(text_of(value), extended=True))


def _substituted(state: Run, values: list[Value], *, every: bool) -> int:
    target = values[2] if len(values) > 2 else field_ref(lambda _: 0.0)
    by, pattern = text_of(values[1](state)), _pattern_of(values[0](state))

    def one(match: re.Match[str]) -> str:
        return re.sub(r"\\&|&", lambda m: match.group() if m.group() == "&" else "&", by)

    text, count = pattern.subn(one, text_of(target(state)), count=0 if every else 1)
    if count and isinstance(target, Ref):
        target.put(state, text)
    return count


def _located(state: Run, text: str, pattern: re.Pattern[str]) -> int:
    match = pattern.search(text)
    start = 0 if match is None else match.start() + 1
    length = -1 if match is None else match.end() - match.start()
    state.variables |= {"RSTART": start, "RLENGTH": length}
    return start


_MATH: dict[str, Callable[[float], float]] = {
    "int": math.trunc, "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "sin": math.sin,
    "cos": math.cos,
}
FUNCTIONS = frozenset({
    *_MATH, "length", "substr", "toupper", "tolower", "index", "split", "sub", "gsub", "match",
    "sprintf", "srand",
})


def called(state: Run, name: str, values: list[Value], arrays: list[str]) -> Any:
    """The value of a function of awk's own; `arrays` are the names among its arguments."""
    if name in ("sub", "gsub"):
        return _substituted(state, values, every=name == "gsub")
    if name == "length" and arrays and arrays[0] in state.arrays:
        return len(state.arrays[arrays[0]])
    args = [value(state) for value in values] or [state.fields[0]]
    text = text_of(args[0])
    if name == "split":
        pieces = state.split(text, args[2] if len(args) > 2 else None)
        state.arrays[arrays[1]] = {str(n): piece for n, piece in enumerate(pieces, 1)}
        return len(pieces)
    if name == "match":
        return _located(state, text, _pattern_of(args[1]))
    if name == "substr":
        start = round(number_of(args[1]))
        end = start + round(number_of(args[2])) if args[2:] else len(text) + 1
        return text[max(start, 1) - 1 : max(end, 1) - 1]
    if name in _MATH:
        return float(_MATH[name](number_of(args[0])))
    simple: dict[str, Callable[[], Any]] = {
        "length": lambda: len(text),
        "index": lambda: text.find(text_of(args[1])) + 1,
        "toupper": text.upper,
        "tolower": text.lower,
        "sprintf": lambda: printf_text(text, [text_of(arg) for arg in args[1:]]),
    }
    return simple.get(name, lambda: 0)()
