"""awk: patterns and actions on lines and their fields.

Simulated are patterns (regular expressions, comparisons, BEGIN, END), `print`, `printf`, `if`,
`next`, `exit`, assignments, arithmetic, strings, `$n`, NF, NR, FS, OFS, `length`, `substr`,
`index`, `int`, `toupper`, `tolower`; arrays, loops and functions are not.
An expression is compiled once to Python closures over the state of the run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.cri.applets.options import parse
from pytest_kubesim.cri.applets.printing import printf_text
from pytest_kubesim.cri.applets.text import inputs, lines_of, posix_pattern

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc

_TOKEN = re.compile(
    r'\s*("(?:[^"\\]|\\.)*"|\d+(?:\.\d+)?|[A-Za-z_]\w*|\+\+|--|[-+*/%]=|==|!=|<=|>=|&&|\|\||!~'
    r"|[-+*/%(){}<>!~;,$=?:\[\]]|\n)"
)
Value = Callable[["_Run"], Any]


class AwkFault(Exception):
    """A program that is not understood."""


class _Next(Exception):
    pass


class _Run:
    def __init__(self) -> None:
        self.variables: dict[str, Any] = {"FS": " ", "OFS": " ", "ORS": "\n", "NR": 0, "NF": 0}
        self.fields: list[str] = [""]
        self.out: list[str] = []
        self.code: int | None = None

    def take(self, line: str) -> None:
        separator = str(self.variables["FS"])
        if separator == " ":
            parts = line.split()
        elif not line:
            parts = []
        elif len(separator) == 1:
            parts = line.split(separator)
        else:
            parts = re.split(posix_pattern(separator, extended=True), line)
        self.fields = [line, *parts]
        self.variables["NF"] = len(parts)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:.6g}"
    return str(int(value)) if isinstance(value, bool) else str(value)


def _number(value: Any) -> float:
    if isinstance(value, (int, float)):
        return float(value)
    match = re.match(r"\s*[-+]?\d+(\.\d+)?", str(value))
    return float(match.group()) if match else 0.0


def _numeric(value: Any) -> bool:
    return isinstance(value, (int, float)) or bool(
        re.fullmatch(r"\s*[-+]?\d+(\.\d+)?\s*", str(value))
    )


def _true(value: Any) -> bool:
    if isinstance(value, (int, float)):
        return bool(value)
    return bool(_number(value)) if _numeric(value) else bool(value)


class _Compiler:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def _skip(self, newlines: bool = True) -> None:
        blanks = " \t\n;" if newlines else " \t"
        while self._at < len(self._text) and self._text[self._at] in blanks:
            self._at += 1

    def _peek(self) -> str:
        match = _TOKEN.match(self._text, self._at)
        return match.group(1) if match else ""

    def _take(self, *wanted: str) -> str:
        self._skip(newlines=False)
        match = _TOKEN.match(self._text, self._at)
        if match is None or (wanted and match.group(1) not in wanted):
            return ""
        self._at = match.end()
        return match.group(1)

    def program(self) -> list[tuple[str, Value | None, Value | None]]:
        rules: list[tuple[str, Value | None, Value | None]] = []
        while True:
            self._skip()
            if self._at >= len(self._text):
                return rules
            kind, condition = "", None
            if self._peek() in ("BEGIN", "END"):
                kind = self._take("BEGIN", "END")
            elif self._peek() != "{":
                condition = self._expression()
            self._skip(newlines=False)
            action = self._block() if self._text[self._at : self._at + 1] == "{" else None
            rules.append((kind, condition, action))

    def _block(self) -> Value:
        if not self._take("{"):
            raise AwkFault(self._text[self._at :])
        steps: list[Value] = []
        while True:
            self._skip()
            if self._take("}"):
                break
            if self._at >= len(self._text):
                raise AwkFault("unexpected end")
            steps.append(self._statement())

        def run(state: _Run) -> None:
            for step in steps:
                step(state)

        return run

    def _statement(self) -> Value:
        if self._peek() == "{":
            return self._block()
        start = self._at
        word = self._take()
        if word in ("print", "printf"):
            return self._print(word)
        if word == "next":
            return _raise_next
        if word == "exit":
            self._skip(newlines=False)
            code = self._expression() if self._peek() not in ("}", ";", "\n", "") else None
            return lambda state: _leave(state, code)
        if word == "if":
            return self._if()
        self._at = start
        return self._expression()

    def _if(self) -> Value:
        if not self._take("("):
            raise AwkFault("if")
        condition = self._expression()
        self._take(")")
        self._skip()
        body = self._statement()
        mark = self._at
        self._skip()
        otherwise = None
        if self._take("else"):
            self._skip()
            otherwise = self._statement()
        else:
            self._at = mark

        def run(state: _Run) -> None:
            if _true(condition(state)):
                body(state)
            elif otherwise is not None:
                otherwise(state)

        return run

    def _print(self, word: str) -> Value:
        values: list[Value] = []
        self._skip(newlines=False)
        if self._text[self._at : self._at + 1] not in ("}", ";", "\n", ""):
            values.append(self._expression())
            while self._take(","):
                values.append(self._expression())

        def run(state: _Run) -> None:
            texts = [_text(value(state)) for value in values] or [state.fields[0]]
            if word == "printf":
                state.out.append(printf_text(texts[0], texts[1:]))
            else:
                ends = _text(state.variables["ORS"])
                state.out.append(_text(state.variables["OFS"]).join(texts) + ends)

        return run

    # -- expressions --------------------------------------------------------------------------

    def _expression(self) -> Value:
        condition = self._or()
        if not self._take("?"):
            return condition
        yes = self._expression()
        if not self._take(":"):
            raise AwkFault("?")
        no = self._expression()
        return lambda state: yes(state) if _true(condition(state)) else no(state)

    def _or(self) -> Value:
        value = self._and()
        while self._take("||"):
            left, right = value, self._and()
            value = _both(lambda s, a, b: int(_true(a(s)) or _true(b(s))), left, right)
        return value

    def _and(self) -> Value:
        value = self._comparison()
        while self._take("&&"):
            left, right = value, self._comparison()
            value = _both(lambda s, a, b: int(_true(a(s)) and _true(b(s))), left, right)
        return value

    def _comparison(self) -> Value:
        left = self._concatenation()
        operator = self._take("==", "!=", "<=", ">=", "<", ">", "~", "!~")
        if not operator:
            return left
        right = self._concatenation(pattern=operator in ("~", "!~"))
        return lambda state: _compared(operator, left(state), right(state))

    def _concatenation(self, *, pattern: bool = False) -> Value:
        parts = [self._sum(pattern=pattern)]
        while True:
            self._skip(newlines=False)
            following = self._text[self._at : self._at + 1]
            if following and (following in '"$(' or following.isalnum() or following == "_"):
                if self._peek() == "else":
                    break
                parts.append(self._sum())
            else:
                break
        if len(parts) == 1:
            return parts[0]
        return lambda state: "".join(_text(part(state)) for part in parts)

    def _sum(self, *, pattern: bool = False) -> Value:
        value = self._product(pattern=pattern)
        while operator := self._take("+", "-"):
            value = _arithmetic(operator, value, self._product())
        return value

    def _product(self, *, pattern: bool = False) -> Value:
        value = self._unary(pattern=pattern)
        while operator := self._take("*", "/", "%"):
            value = _arithmetic(operator, value, self._unary())
        return value

    def _unary(self, *, pattern: bool = False) -> Value:
        del pattern
        self._skip(newlines=False)
        if self._text[self._at : self._at + 1] == "/":
            return self._regex()
        operator = self._take("!", "-")
        if operator == "!":
            inner = self._unary()
            return lambda state: int(not _true(inner(state)))
        if operator == "-":
            inner = self._unary()
            return lambda state: -_number(inner(state))
        return self._atom()

    def _regex(self) -> Value:
        match = re.compile(r"/((?:[^/\\]|\\.)*)/").match(self._text, self._at)
        if match is None:
            raise AwkFault(self._text[self._at :])
        self._at = match.end()
        pattern = re.compile(posix_pattern(match.group(1).replace("\\/", "/"), extended=True))
        return _Pattern(pattern)

    def _atom(self) -> Value:
        token = self._take()
        if token == "(":
            inner = self._expression()
            if not self._take(")"):
                raise AwkFault("(")
            return inner
        if token == "$":
            index = self._atom()
            return lambda state: _field(state, int(_number(index(state))))
        if token.startswith('"'):
            from pytest_kubesim.cri.applets.printing import unescape

            text = unescape(token[1:-1])[0].decode()
            return lambda _state: text
        if token[:1].isdigit():
            number = float(token)
            return lambda _state: number
        if token and (token[0].isalpha() or token[0] == "_"):
            return self._name(token)
        raise AwkFault(token or self._text[self._at :] or "unexpected end")

    def _name(self, name: str) -> Value:
        if name in ("length", "substr", "toupper", "tolower", "int", "index"):
            return self._call(name)
        if self._text[self._at : self._at + 1] in ("(", "["):
            raise AwkFault(name)
        operator = self._take("++", "--", "+=", "-=", "*=", "/=", "%=", "=")
        if operator in ("++", "--"):
            step = 1.0 if operator == "++" else -1.0

            def bump(state: _Run) -> float:
                old = _number(state.variables.get(name, 0.0))
                state.variables[name] = old + step
                return old

            return bump
        if operator:
            value = self._expression()

            def assign(state: _Run) -> Any:
                result = value(state)
                if operator != "=":
                    old = state.variables.get(name, 0.0)
                    result = _calculated(operator[0], old, result)
                state.variables[name] = result
                return result

            return assign
        return lambda state: state.variables.get(name, "")

    def _call(self, name: str) -> Value:
        values: list[Value] = []
        if self._take("("):
            while not self._take(")"):
                values.append(self._expression())
                self._take(",")

        def call(state: _Run) -> Any:
            args = [value(state) for value in values] or [state.fields[0]]
            text = _text(args[0])
            if name == "length":
                return len(text)
            if name == "substr":
                start = max(int(_number(args[1])), 1) - 1
                return text[start : start + int(_number(args[2]))] if args[2:] else text[start:]
            if name == "int":
                return float(int(_number(args[0])))
            if name == "index":
                return text.find(_text(args[1])) + 1
            return text.upper() if name == "toupper" else text.lower()

        return call


class _Pattern:
    """A regular expression: alone it is matched against the line."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern = pattern

    def __call__(self, state: _Run) -> Any:
        return _Matched(self.pattern, state.fields[0])


class _Matched(int):
    """Whether the line matches, which remembers the pattern for `~`."""

    pattern: re.Pattern[str]

    def __new__(cls, pattern: re.Pattern[str], line: str) -> _Matched:
        made = super().__new__(cls, pattern.search(line) is not None)
        made.pattern = pattern
        return made


def _both(function: Callable[[Any, Value, Value], Any], left: Value, right: Value) -> Value:
    return lambda state: function(state, left, right)


def _arithmetic(operator: str, left: Value, right: Value) -> Value:
    return lambda state: _calculated(operator, left(state), right(state))


def _calculated(operator: str, left: Any, right: Any) -> float:
    a, b = _number(left), _number(right)
    if operator in "/%" and b == 0:
        raise AwkFault("division by zero")
    if operator == "+":
        return a + b
    if operator == "-":
        return a - b
    return a * b if operator == "*" else a / b if operator == "/" else a % b


def _compared(operator: str, left: Any, right: Any) -> int:
    if operator in ("~", "!~"):
        pattern = getattr(right, "pattern", None) or re.compile(
            posix_pattern(_text(right), extended=True)
        )
        return int((pattern.search(_text(left)) is not None) == (operator == "~"))
    a: Any = _text(left)
    b: Any = _text(right)
    if _numeric(left) and _numeric(right):
        a, b = _number(left), _number(right)
    return int({
        "==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b,
    }[operator])


def _field(state: _Run, number: int) -> str:
    return state.fields[number] if number < len(state.fields) else ""


def _raise_next(state: _Run) -> None:
    del state
    raise _Next


def _leave(state: _Run, code: Value | None) -> None:
    state.code = int(_number(code(state))) if code is not None else 0
    raise _Next


async def awk(proc: Proc, args: list[str]) -> int:
    """`awk [-F separator] [-v name=value] program files`."""
    given = await parse(proc, args, "F:v:f:", stop=True)
    if not given.rest:
        return await proc.complain("missing program")
    state = _Run()
    if "F" in given:
        mark = given.get("F")
        state.variables["FS"] = "\t" if mark in ("\\t", "t") else mark
    for pair in given.all("v"):
        name, _, text = pair.partition("=")
        state.variables[name] = text
    try:
        rules = _Compiler(given.rest[0]).program()
        await _run(proc, state, rules, given.rest[1:])
    except AwkFault as fault:
        return await proc.complain(f"cmd. line:1: Unexpected token: {fault}")
    await proc.out("".join(state.out))
    return state.code or 0


async def _run(
    proc: Proc,
    state: _Run,
    rules: list[tuple[str, Value | None, Value | None]],
    paths: list[str],
) -> None:
    def rule(condition: Value | None, action: Value | None) -> None:
        if condition is not None and not _true(condition(state)):
            return
        if action is None:
            state.out.append(state.fields[0] + "\n")
        else:
            action(state)

    def all_of(kind: str) -> None:
        try:
            for own, condition, action in rules:
                if own == kind and state.code is None:
                    rule(condition, action)
        except _Next:
            pass

    all_of("BEGIN")
    if any(kind != "BEGIN" for kind, _, _ in rules) and state.code is None:
        texts, _ = await inputs(proc, paths)
        for _, text in texts:
            for line in lines_of(text):
                if state.code is not None:
                    break
                state.variables["NR"] += 1
                state.take(line)
                all_of("")
    all_of("END")


APPLETS = {"awk": awk}
