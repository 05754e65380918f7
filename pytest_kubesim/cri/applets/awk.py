"""awk: patterns and actions on lines and their fields.

Simulated is what POSIX has, but for `getline`, `system`, `close` and pipes.  A program is compiled
once to Python closures over the state of the run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytest_kubesim.cri.applets.awk_values import (
    FUNCTIONS,
    SUBSEP,
    UNSET,
    AwkFault,
    Break,
    Continue,
    Next,
    Pattern,
    Ref,
    Return,
    Run,
    Value,
    arithmetic,
    assigned,
    both,
    called,
    compared,
    element,
    field_ref,
    leave,
    number_of,
    stepped,
    text_of,
    true,
    variable,
)
from pytest_kubesim.cri.applets.options import parse
from pytest_kubesim.cri.applets.printing import printf_text
from pytest_kubesim.cri.applets.text import inputs, lines_of, posix_pattern

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc

_TOKEN = re.compile(
    r'\s*("(?:[^"\\]|\\.)*"|\d+(?:\.\d+)?|[A-Za-z_]\w*|\+\+|--|[-+*/%^]=|>>|==|!=|<=|>=|&&|\|\||!~'
    r"|[-+*/%^(){}<>!~;,$=?:\[\]]|\n)"
)
_MOST_TURNS = 1_000_000
"""No other program runs while awk calculates."""


class _Compiler:
    def __init__(self, text: str) -> None:
        self._text = re.sub(r"(?m)^((?:[^\"/#\n]|\"(?:[^\"\\\\]|\\\\.)*\")*)#.*$", r"\1", text)
        self._at = 0
        self.functions: dict[str, tuple[list[str], Value]] = {}
        self._prints = False
        """Whether `>` is a redirection here."""

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
            if self._peek() in ("function", "func"):
                self._function()
                continue
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

        def run(state: Run) -> None:
            for step in steps:
                step(state)

        return run

    def _function(self) -> None:
        self._take()
        name, params = self._take(), list[str]()
        self._take("(")
        while not self._take(")"):
            params.append(self._take())
            self._take(",")
        self._skip()
        self.functions[name] = (params, self._block())

    def _statement(self) -> Value:
        if self._peek() == "{":
            return self._block()
        start = self._at
        word = self._take()
        if word in ("print", "printf"):
            return self._print(word)
        if word in ("next", "break", "continue"):
            error = {"next": Next, "break": Break, "continue": Continue}[word]
            return lambda _state: _raise(error())
        if word in ("exit", "return"):
            self._skip(newlines=False)
            code = self._expression() if self._peek() not in ("}", ";", "\n", "") else None
            if word == "exit":
                return lambda state: leave(state, code)
            return lambda state: _raise(Return("" if code is None else code(state)))
        if word == "delete":
            return self._delete()
        compound = {"if": self._if, "for": self._for, "while": self._while, "do": self._do}
        if word in compound:
            return compound[word]()
        self._at = start
        return self._expression()

    def _delete(self) -> Value:
        name = self._take()
        if not self._take("["):
            return lambda state: state.arrays.pop(name, None)
        key = self._key()
        return lambda state: state.arrays.get(name, {}).pop(text_of(key(state)), None)

    def _body(self) -> Value:
        self._skip(newlines=False)
        if self._take(";"):
            return lambda _state: None
        self._skip()
        return self._statement()

    def _for(self) -> Value:
        each = re.compile(r"\s*\(\s*(\w+)\s+in\s+(\w+)\s*\)").match(self._text, self._at)
        if each is not None:
            self._at = each.end()
            name, array = each.groups()
            body = self._body()

            def over(state: Run) -> None:
                for key in list(state.arrays.get(array, {})):
                    state.variables[name] = key
                    if not _turn(state, body):
                        return

            return over
        self._take("(")
        parts: list[Value | None] = []
        for end in (";", ";", ")"):
            self._skip(newlines=False)
            parts.append(None if self._peek() == end else self._statement())
            if not self._take(end):
                raise AwkFault("for")
        return _looped(parts[0], parts[1], parts[2], self._body())

    def _while(self) -> Value:
        condition = self._parenthesized()
        return _looped(None, condition, None, self._body())

    def _do(self) -> Value:
        body = self._body()
        self._skip()
        if self._take() != "while":
            raise AwkFault("do")
        condition = self._parenthesized()

        def run(state: Run) -> None:
            if _turn(state, body):
                _looped(None, condition, None, body)(state)

        return run

    def _parenthesized(self) -> Value:
        if not self._take("("):
            raise AwkFault("(")
        value = self._expression()
        self._take(")")
        return value

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

        def run(state: Run) -> None:
            if true(condition(state)):
                body(state)
            elif otherwise is not None:
                otherwise(state)

        return run

    def _print(self, word: str) -> Value:
        values: list[Value] = []
        self._skip(newlines=False)
        self._prints = True
        if self._text[self._at : self._at + 1] not in ("}", ";", "\n", "", ">"):
            grouped = re.compile(r"\(").match(self._text, self._at) and self._whole_group()
            if grouped:
                self._take("(")
            values.append(self._expression())
            while self._take(","):
                self._skip()
                values.append(self._expression())
            if grouped:
                self._take(")")
        self._prints = False
        target = self._concatenation() if self._take(">>", ">") else None

        def run(state: Run) -> None:
            texts = [text_of(value(state)) for value in values] or [state.fields[0]]
            if word == "printf":
                made = printf_text(texts[0], texts[1:])
            else:
                made = text_of(state.variables["OFS"]).join(texts) + text_of(state.variables["ORS"])
            if target is None:
                state.out.append(made)
            else:
                state.files.setdefault(text_of(target(state)), []).append(made)

        return run

    def _whole_group(self) -> bool:
        """Whether the parenthesis that opens here closes where the statement ends."""
        depth, at = 0, self._at
        while at < len(self._text):
            char = self._text[at]
            if char == '"':
                match = re.compile(r'"(?:[^"\\]|\\.)*"').match(self._text, at)
                at = match.end() if match else at + 1
                continue
            depth += (char == "(") - (char == ")")
            at += 1
            if depth == 0:
                return self._text[at:].lstrip(" \t")[:1] in ("", ";", "}", "\n", ">")
        return False

    # -- expressions --------------------------------------------------------------------------

    def _expression(self) -> Value:
        condition = self._or()
        if not self._take("?"):
            return condition
        yes = self._expression()
        if not self._take(":"):
            raise AwkFault("?")
        no = self._expression()
        return lambda state: yes(state) if true(condition(state)) else no(state)

    def _or(self) -> Value:
        value = self._and()
        while self._take("||"):
            left, right = value, self._and()
            value = both(lambda s, a, b: int(true(a(s)) or true(b(s))), left, right)
        return value

    def _and(self) -> Value:
        value = self._comparison()
        while self._take("&&"):
            left, right = value, self._comparison()
            value = both(lambda s, a, b: int(true(a(s)) and true(b(s))), left, right)
        return value

    def _comparison(self) -> Value:
        left = self._concatenation()
        if self._take("in"):
            array = self._take()
            return lambda state: int(text_of(left(state)) in state.arrays.get(array, {}))
        wanted = ("==", "!=", "<=", ">=", "<", "~", "!~")
        operator = self._take(*(wanted if self._prints else (*wanted, ">")))
        if not operator:
            return left
        right = self._concatenation(pattern=operator in ("~", "!~"))
        return lambda state: compared(operator, left(state), right(state))

    def _concatenation(self, *, pattern: bool = False) -> Value:
        parts = [self._sum(pattern=pattern)]
        while True:
            self._skip(newlines=False)
            following = self._text[self._at : self._at + 1]
            if following and (following in '"$(' or following.isalnum() or following == "_"):
                if self._peek() in ("else", "in"):
                    break
                parts.append(self._sum())
            else:
                break
        if len(parts) == 1:
            return parts[0]
        return lambda state: "".join(text_of(part(state)) for part in parts)

    def _sum(self, *, pattern: bool = False) -> Value:
        value = self._product(pattern=pattern)
        while operator := self._take("+", "-"):
            value = arithmetic(operator, value, self._product())
        return value

    def _product(self, *, pattern: bool = False) -> Value:
        value = self._unary(pattern=pattern)
        while operator := self._take("*", "/", "%"):
            value = arithmetic(operator, value, self._unary())
        return value

    def _unary(self, *, pattern: bool = False) -> Value:
        del pattern
        self._skip(newlines=False)
        if self._text[self._at : self._at + 1] == "/":
            return self._regex()
        operator = self._take("++", "--")
        if operator:
            target = self._atom()
            if not isinstance(target, Ref):
                raise AwkFault(operator)
            return stepped(target, operator, before=True)
        operator = self._take("!", "-", "+")
        if operator == "!":
            inner = self._unary()
            return lambda state: int(not true(inner(state)))
        if operator:
            inner, sign = self._unary(), -1 if operator == "-" else 1
            return lambda state: sign * number_of(inner(state))
        value = self._changed(self._atom())
        if self._take("^"):
            return arithmetic("^", value, self._unary())
        return value

    def _changed(self, value: Value) -> Value:
        """What is assigned to, or stepped, after its name."""
        if not isinstance(value, Ref):
            return value
        operator = self._take("++", "--", "+=", "-=", "*=", "/=", "%=", "^=", "=")
        if operator in ("++", "--"):
            return stepped(value, operator, before=False)
        return assigned(value, operator, self._expression()) if operator else value

    def _regex(self) -> Value:
        match = re.compile(r"/((?:[^/\\]|\\.)*)/").match(self._text, self._at)
        if match is None:
            raise AwkFault(self._text[self._at :])
        self._at = match.end()
        pattern = re.compile(posix_pattern(match.group(1).replace("\\/", "/"), extended=True))
        return Pattern(pattern)

    def _atom(self) -> Value:
        token = self._take()
        if token == "(":
            prints, self._prints = self._prints, False
            inner = self._expression()
            self._prints = prints
            if not self._take(")"):
                raise AwkFault("(")
            return inner
        if token == "$":
            sign = self._take("++", "--")
            index = self._atom()
            if sign and isinstance(index, Ref):
                index = stepped(index, sign, before=True)
            return field_ref(index)
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
        if name in FUNCTIONS:
            return self._call(name)
        following = self._text[self._at : self._at + 1]
        if following == "(":
            return self._own_call(name)
        if following == "[":
            self._take("[")
            return element(name, self._key())
        return variable(name)

    def _key(self) -> Value:
        """What stands between brackets, the opening one of which has been taken."""
        parts = [self._expression()]
        while self._take(","):
            parts.append(self._expression())
        if not self._take("]"):
            raise AwkFault("[")
        if len(parts) == 1:
            return parts[0]
        return lambda state: SUBSEP.join(text_of(part(state)) for part in parts)

    def _arguments(self) -> tuple[list[Value], list[str]]:
        """Arguments of a call, and for each its name where it is but one."""
        values, names = list[Value](), list[str]()
        prints, self._prints = self._prints, False
        if self._take("("):
            while not self._take(")"):
                alone = re.compile(r"\s*([A-Za-z_]\w*)\s*(?=[,)])").match(self._text, self._at)
                names.append(alone.group(1) if alone else "")
                values.append(self._expression())
                self._take(",")
        self._prints = prints
        return values, names

    def _call(self, name: str) -> Value:
        values, names = self._arguments()
        return lambda state: called(state, name, values, names)

    def _own_call(self, name: str) -> Value:
        values, names = self._arguments()

        def call(state: Run) -> Any:
            if name not in state.functions:
                raise AwkFault(name)
            params, body = state.functions[name]
            args = [value(state) for value in values]
            kept = {param: state.variables.get(param) for param in params}
            arrays = {param: state.arrays.get(param) for param in params}
            for number, param in enumerate(params):
                state.variables[param] = args[number] if number < len(args) else UNSET
                given = state.arrays.get(names[number]) if number < len(names) else None
                if number < len(names) and names[number] and given is not None:
                    state.arrays[param] = given
                else:
                    state.arrays.pop(param, None)
            try:
                body(state)
                result: Any = ""
            except Return as back:
                result = back.value
            for param in params:
                _put_back(state.variables, param, kept[param])
                _put_back(state.arrays, param, arrays[param])
            return result

        return call


def _put_back(known: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        known.pop(name, None)
    else:
        known[name] = value


def _raise(error: Exception) -> None:
    raise error


def _turn(state: Run, body: Value) -> bool:
    """One turn of a loop; whether it goes on."""
    try:
        body(state)
    except Break:
        return False
    except Continue:
        return True
    return True


def _looped(
    begin: Value | None, condition: Value | None, after: Value | None, body: Value
) -> Value:
    def run(state: Run) -> None:
        if begin is not None:
            begin(state)
        turns = 0
        while condition is None or true(condition(state)):
            turns += 1
            if turns > _MOST_TURNS:
                raise AwkFault("a loop without end")
            if not _turn(state, body):
                return
            if after is not None:
                after(state)

    return run


async def awk(proc: Proc, args: list[str]) -> int:
    """`awk [-F separator] [-v name=value] program files`."""
    given = await parse(proc, args, "F:v:f:", stop=True)
    files = given.all("f")
    texts = [text for _, text in (await inputs(proc, files))[0]] if files else given.rest[:1]
    if not texts:
        return await proc.complain("missing program")
    state = Run()
    if "F" in given:
        mark = given.get("F")
        state.variables["FS"] = "\t" if mark in ("\\t", "t") else mark
    for pair in given.all("v"):
        name, _, text = pair.partition("=")
        state.variables[name] = text
    try:
        compiler = _Compiler("\n".join(texts))
        rules = compiler.program()
        state.functions = compiler.functions
        await _run(proc, state, rules, given.rest if files else given.rest[1:])
    except AwkFault as fault:
        return await proc.complain(f"cmd. line:1: Unexpected token: {fault}")
    await proc.out("".join(state.out))
    for path, texts in state.files.items():
        if path == "/dev/stderr":
            await proc.err("".join(texts))
            continue
        handle = proc.open(path, "w")
        await handle.write("".join(texts).encode())
    return state.code or 0


async def _run(
    proc: Proc,
    state: Run,
    rules: list[tuple[str, Value | None, Value | None]],
    paths: list[str],
) -> None:
    def rule(condition: Value | None, action: Value | None) -> None:
        if condition is not None and not true(condition(state)):
            return
        if action is None:
            state.out.append(state.fields[0] + "\n")
        else:
            action(state)

    def all_of(kind: str) -> None:
        try:
            for own, condition, action in rules:
                if own == kind:
                    rule(condition, action)
        except Next:
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
