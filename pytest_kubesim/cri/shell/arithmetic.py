"""`$((...))`: integers of 64 bits with C's operators and assignments to variables."""

from __future__ import annotations

import re
from collections.abc import Callable

_TOKEN = re.compile(
    r"\s*(0[xX][0-9a-fA-F]+|\d+|[A-Za-z_]\w*(?:\[[^\]]*\])?|<<=|>>=|\+\+|--|\*\*|<<|>>|<=|>=|==|!=|&&|\|\||"
    r"[-+*/%&|^]=|[-+*/%<>=!~&|^?:(),])"
)
_LEVELS = (
    ("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!="), ("<", "<=", ">", ">="), ("<<", ">>"),
    ("+", "-"), ("*", "/", "%"),
)
_ASSIGNING = frozenset({"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="})


class ArithmeticFault(Exception):
    """An expression that has no value; `str(fault)` is ash's complaint."""


def evaluate(
    text: str, get: Callable[[str], str], assign: Callable[[str, str], object]
) -> int:
    """The value of an expression.

    Parameters: `get`, a variable's text (empty where unset); `assign`, sets one.  Raises:
    `ArithmeticFault`.
    """
    evaluation = _Evaluation(_tokens(text), get, assign)
    if not evaluation.tokens:
        return 0
    value = evaluation.comma()
    if evaluation.at < len(evaluation.tokens):
        raise ArithmeticFault("arithmetic syntax error")
    return value


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    at, text = 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ArithmeticFault("arithmetic syntax error")
        found.append(match.group(1))
        at = match.end()
    return found


def wrapped(value: int) -> int:
    """A number as 64 bits with a sign hold it."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


class _Evaluation:
    def __init__(
        self,
        tokens: list[str],
        get: Callable[[str], str],
        assign: Callable[[str, str], object],
    ) -> None:
        self.tokens = tokens
        self.at = 0
        self._get = get
        self._assign = assign
        self._idle = 0
        """Above 0: what is read has no effect (the other branch)."""

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _take(self, *wanted: str) -> str:
        token = self._peek()
        if token and token in wanted:
            self.at += 1
            return token
        return ""

    def comma(self) -> int:
        value = self._assignment()
        while self._take(","):
            value = self._assignment()
        return value

    def _assignment(self) -> int:
        name = self._peek()
        following = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else ""
        if _is_name(name) and following in _ASSIGNING:
            self.at += 2
            value = self._assignment()
            if following != "=":
                value = self._apply(following[:-1], self._number(name), value)
            self._set(name, value)
            return value
        return self._ternary()

    def _set(self, name: str, value: int) -> None:
        if not self._idle:
            self._assign(name, str(value))

    def _ternary(self) -> int:
        condition = self._binary(0)
        if not self._take("?"):
            return condition
        yes = self._muted(not condition, self._assignment)
        if not self._take(":"):
            raise ArithmeticFault("malformed ?: operator")
        no = self._muted(bool(condition), self._assignment)
        return yes if condition else no

    def _muted(self, mute: bool, part: Callable[[], int]) -> int:
        self._idle += mute
        try:
            return part()
        finally:
            self._idle -= mute

    def _binary(self, level: int) -> int:
        if level == len(_LEVELS):
            return self._unary()
        value = self._binary(level + 1)
        while operator := self._take(*_LEVELS[level]):
            if operator in ("||", "&&"):
                decided = bool(value) == (operator == "||")
                right = self._muted(decided, lambda: self._binary(level + 1))
                value = int(bool(value) if decided else bool(right))
            else:
                value = self._apply(operator, value, self._binary(level + 1))
        return value

    def _unary(self) -> int:
        operator = self._take("+", "-", "!", "~", "++", "--")
        if operator in ("++", "--"):
            name = self._peek()
            if not _is_name(name):
                raise ArithmeticFault("arithmetic syntax error")
            self.at += 1
            value = wrapped(self._number(name) + (1 if operator == "++" else -1))
            self._set(name, value)
            return value
        if operator:
            value = self._unary()
            return {"+": value, "-": wrapped(-value), "!": int(not value), "~": ~value}[operator]
        return self._power()

    def _power(self) -> int:
        base = self._atom()
        if self._take("**"):
            exponent = self._unary()
            if exponent < 0:
                raise ArithmeticFault("exponent less than 0")
            return wrapped(pow(base, exponent, 1 << 64))
        return base

    def _atom(self) -> int:
        token = self._peek()
        self.at += 1
        if token == "(":
            value = self.comma()
            if not self._take(")"):
                raise ArithmeticFault("arithmetic syntax error")
            return value
        if _is_name(token):
            value = self._number(token)
            if operator := self._take("++", "--"):
                self._set(token, wrapped(value + (1 if operator == "++" else -1)))
            return value
        if not token[:1].isdigit():
            raise ArithmeticFault("arithmetic syntax error")
        return _integer(token)

    def _number(self, name: str) -> int:
        text = self._get(name).strip()
        if not text:
            return 0
        if _is_name(text):
            return self._number(text) if text != name else 0
        return evaluate(text, self._get, self._assign)

    def _apply(self, operator: str, left: int, right: int) -> int:
        if operator in ("/", "%"):
            if right == 0:
                if self._idle:
                    return 0
                raise ArithmeticFault("divide by zero")
            quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
            return wrapped(quotient) if operator == "/" else left - quotient * right
        table: dict[str, Callable[[int, int], int]] = {
            "+": lambda a, b: a + b,
            "-": lambda a, b: a - b,
            "*": lambda a, b: a * b,
            "&": lambda a, b: a & b,
            "|": lambda a, b: a | b,
            "^": lambda a, b: a ^ b,
            "<<": lambda a, b: a << (b & 63),
            ">>": lambda a, b: a >> (b & 63),
            "==": lambda a, b: int(a == b),
            "!=": lambda a, b: int(a != b),
            "<": lambda a, b: int(a < b),
            "<=": lambda a, b: int(a <= b),
            ">": lambda a, b: int(a > b),
            ">=": lambda a, b: int(a >= b),
        }
        return wrapped(table[operator](left, right))


def _is_name(token: str) -> bool:
    return bool(token) and (token[0].isalpha() or token[0] == "_")


def _integer(token: str) -> int:
    try:
        if token[:2].lower() == "0x":
            return wrapped(int(token, 16))
        return wrapped(int(token, 8 if len(token) > 1 and token[0] == "0" else 10))
    except ValueError:
        raise ArithmeticFault("arithmetic syntax error") from None
