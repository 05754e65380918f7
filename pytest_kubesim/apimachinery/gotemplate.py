"""Go's text templates, interpreted.

The law: data are JSON values; a missing key of a map is nothing, and prints as `<no value>`; what
Go refuses at run time is a `TemplateError`.  Known: fields, variables, pipelines, parentheses,
`if`, `with`, `range` (with `else`, `break`, `continue`), comments, trimming, Go's own functions and
the string and number functions of sprig below.  Anything else is `NotSimulated`.

Follows `text/template/{parse/*,exec,funcs}.go` and `github.com/Masterminds/sprig/v3`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, cast

import attrs

from pytest_kubesim.apimachinery import go_template_functions
from pytest_kubesim.apimachinery.go_template_functions import TemplateError, shown, truth
from pytest_kubesim.errors import NotSimulated

Function: TypeAlias = Callable[..., Any]


@attrs.define(slots=True)
class _Scope:
    """Variables; an inner block sees those of the outer ones and can set them."""

    variables: dict[str, Any]
    outer: _Scope | None = None

    def find(self, name: str) -> _Scope:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.variables:
                return scope
            scope = scope.outer
        raise TemplateError(f'undefined variable "{name}"')


@attrs.frozen(slots=True)
class _State:
    dot: Any
    scope: _Scope
    functions: Mapping[str, Function]
    out: list[str]

    def inside(self, dot: Any) -> _State:
        return _State(dot, _Scope({}, self.scope), self.functions, self.out)


_Evaluate: TypeAlias = Callable[[_State], Any]
_Run: TypeAlias = Callable[[_State], None]


class _Break(Exception):
    """`{{ break }}`."""


class _Continue(Exception):
    """`{{ continue }}`."""


class Template:
    """A template made ready to be rendered."""

    def __init__(self, source: str) -> None:
        self._run = _Parser(source).template()

    def render(self, data: Any, functions: Mapping[str, Function] | None = None) -> str:
        """The text for `data`, with more `functions` by name.  Raises `TemplateError`."""
        out: list[str] = []
        known = {**go_template_functions.FUNCTIONS, **(functions or {})}
        self._run(_State(data, _Scope({"$": data}), known, out))
        return "".join(out)


@functools.lru_cache(256)
def parse(source: str) -> Template:
    """The template that a text is.  Raises `TemplateError` if it is none."""
    return Template(source)


# -- parsing ----------------------------------------------------------------------------------

_ACTION = re.compile(r"\{\{(-(?=\s))?(.*?)((?<=\s)-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<text>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
    | (?P<number>[-+]?\d+(?:\.\d+)?)
    | (?P<variable>\$\w*)
    | (?P<field>\.[A-Za-z_]\w*)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<sign>:=|[.()|,=])""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "'": "'"}


def _text_of(token: str) -> str:
    if token.startswith("`"):
        return token[1:-1]
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m.group(1), m.group(0)), token[1:-1])


def _pieces(source: str) -> Iterator[tuple[bool, str]]:
    """(whether it is an action, its text), with the white space trimmed that is to be."""
    at, trim = 0, False
    for match in _ACTION.finditer(source):
        before = source[at : match.start()]
        before = before.lstrip() if trim else before
        yield False, before.rstrip() if match.group(1) else before
        inside = match.group(2).strip()
        if not (inside.startswith("/*") and inside.endswith("*/")):
            yield True, inside
        at, trim = match.end(), bool(match.group(3))
    rest = source[at:]
    if "{{" in rest:
        raise TemplateError("unclosed action")
    yield False, rest.lstrip() if trim else rest


class _Parser:
    """Reads a template; blocks are read by recursion until their `end` or `else`."""

    def __init__(self, source: str) -> None:
        self._pieces = list(_pieces(source))
        self._at = 0

    def template(self) -> _Run:
        """The whole."""
        run, ended = self._block()
        if ended:
            raise TemplateError(f"unexpected {{{{{ended}}}}}")
        return run

    def _block(self) -> tuple[_Run, str]:
        runs: list[_Run] = []
        while self._at < len(self._pieces):
            is_action, text = self._pieces[self._at]
            self._at += 1
            if not is_action:
                if text:
                    runs.append(_literal(text))
                continue
            word, _, rest = text.partition(" ")
            if word in ("end", "else"):
                return _sequence(runs), text
            if word in ("if", "with", "range"):
                runs.append(self._control(word, rest))
            elif word in ("define", "template", "block"):
                raise NotSimulated(f"the template action {{{{{word}}}}}")
            elif word == "break":
                runs.append(_raising(_Break))
            elif word == "continue":
                runs.append(_raising(_Continue))
            else:
                runs.append(_Pipeline(text).action())
        return _sequence(runs), ""

    def _control(self, word: str, rest: str) -> _Run:
        pipeline = _Pipeline(rest)
        body, ended = self._block()
        otherwise: _Run | None = None
        if ended.startswith("else"):
            chained = ended.removeprefix("else").strip()
            if chained:
                again, _, following = chained.partition(" ")
                otherwise = self._control(again, following)
            else:
                otherwise, ended = self._block()
                if ended != "end":
                    raise TemplateError("unexpected EOF")
        elif ended != "end":
            raise TemplateError("unexpected EOF")
        return pipeline.control(word, body, otherwise)


def _literal(text: str) -> _Run:
    return lambda state: state.out.append(text)


def _raising(kind: type[Exception]) -> _Run:
    def run(_state: _State) -> None:
        raise kind

    return run


def _sequence(runs: list[_Run]) -> _Run:
    def run(state: _State) -> None:
        for each in runs:
            each(state)

    return run


class _Pipeline:
    """`$x, $y := a b | c d`."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(source):
            match = _TOKEN.match(source, at)
            if match is None:
                raise TemplateError(f"unexpected {source[at:]!r} in action {source!r}")
            self._tokens.append((match.lastgroup or "", match.group()))
            at = match.end()
        self._at = 0
        self.variables, self.declares = self._declaration()
        self.value = self._pipe()
        if self._at < len(self._tokens):
            raise TemplateError(f"unexpected {self._tokens[self._at][1]!r} in {source!r}")

    def action(self) -> _Run:
        """Print it, or set variables."""
        if self.variables:
            name = self.variables[0]

            def assign(state: _State) -> None:
                scope = state.scope if self.declares else state.scope.find(name)
                scope.variables[name] = self.value(state)

            return assign
        return lambda state: state.out.append(shown(self.value(state)))

    def control(self, word: str, body: _Run, otherwise: _Run | None) -> _Run:
        """`if`, `with` or `range` over it."""
        if word == "range":
            return lambda state: self._range(state, body, otherwise)

        def run(state: _State) -> None:
            inner = state.inside(state.dot)
            value = self.value(inner)
            for name in self.variables:
                inner.scope.variables[name] = value
            if truth(value):
                body(inner.inside(value) if word == "with" else inner)
            elif otherwise is not None:
                otherwise(inner)

        return run

    def _range(self, state: _State, body: _Run, otherwise: _Run | None) -> None:
        pairs = list(_pairs(self.value(state)))
        for key, value in pairs:
            inner = state.inside(value)
            if self.variables:
                inner.scope.variables[self.variables[-1]] = value
            if len(self.variables) == 2:
                inner.scope.variables[self.variables[0]] = key
            try:
                body(inner)
            except _Continue:
                continue
            except _Break:
                break
        if not pairs and otherwise is not None:
            otherwise(state)

    # -- reading ------------------------------------------------------------------------------

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", "")

    def _space(self) -> bool:
        if self._peek()[0] == "space":
            self._at += 1
            return True
        return False

    def _declaration(self) -> tuple[list[str], bool]:
        names: list[str] = []
        start = self._at
        while self._peek()[0] == "variable":
            names.append(self._peek()[1])
            self._at += 1
            self._space()
            sign = self._peek()[1]
            if sign not in (",", ":=", "="):
                break
            self._at += 1
            self._space()
            if sign != ",":
                return names, sign == ":="
        self._at = start
        return [], False

    def _pipe(self) -> _Evaluate:
        value = self._command(None)
        while self._peek()[1] == "|":
            self._at += 1
            value = self._command(value)
        return value

    def _command(self, piped: _Evaluate | None) -> _Evaluate:
        self._space()
        kind, text = self._peek()
        name = ""
        if kind == "word" and text not in ("true", "false", "nil"):
            name = text
            self._at += 1
        operands: list[_Evaluate] = [] if name else [self._operand()]
        while self._space() and self._peek()[0] and self._peek()[1] not in ("|", ")"):
            operands.append(self._operand())
        if piped is not None:
            operands.append(piped)
        if name:
            return _called(name, operands)
        if len(operands) > 1:
            raise TemplateError(f"can't give argument to non-function in {self._source!r}")
        return operands[0]

    def _operand(self) -> _Evaluate:
        kind, text = self._peek()
        self._at += 1
        value: _Evaluate
        if kind == "text":
            value = _constant(_text_of(text))
        elif kind == "number":
            value = _constant(float(text) if "." in text else int(text))
        elif kind == "variable":
            value = _variable(text)
        elif kind == "field":
            value = _field(_dot, text[1:])
        elif text == ".":
            value = _dot
        elif kind == "word":
            constants = {"true": True, "false": False, "nil": None}
            value = _constant(constants[text]) if text in constants else _called(text, [])
        elif text == "(":
            value = self._pipe()
            self._space()
            if self._peek()[1] != ")":
                raise TemplateError(f"unclosed left paren in {self._source!r}")
            self._at += 1
        else:
            raise TemplateError(f"unexpected {text!r} in operand of {self._source!r}")
        while self._peek()[0] == "field":
            value = _field(value, self._peek()[1][1:])
            self._at += 1
        return value


def _dot(state: _State) -> Any:
    return state.dot


def _constant(constant: Any) -> _Evaluate:
    return lambda _state: constant


def _variable(name: str) -> _Evaluate:
    return lambda state: state.scope.find(name).variables[name]


def _field(inner: _Evaluate, name: str) -> _Evaluate:
    def field(state: _State) -> Any:
        value = inner(state)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise TemplateError(f"can't evaluate field {name} in type {type(value).__name__}")
        return cast("dict[str, Any]", value).get(name)

    return field


def _called(name: str, operands: list[_Evaluate]) -> _Evaluate:
    if name in ("and", "or"):
        return _shortcut(operands, stop=name == "or")

    def call(state: _State) -> Any:
        function = state.functions.get(name)
        if function is None:
            raise NotSimulated(f"the template function {name!r}")
        arguments = [operand(state) for operand in operands]
        try:
            return function(*arguments)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise TemplateError(f"error calling {name}: {error}") from None

    return call


def _shortcut(operands: list[_Evaluate], *, stop: bool) -> _Evaluate:
    def run(state: _State) -> Any:
        value: Any = None
        for operand in operands:
            value = operand(state)
            if truth(value) is stop:
                break
        return value

    return run


def _pairs(value: Any) -> Iterator[tuple[Any, Any]]:
    if value is None:
        return
    if isinstance(value, dict):
        mapping = cast("dict[str, Any]", value)
        for key in sorted(mapping):
            yield key, mapping[key]
    elif isinstance(value, list):
        yield from enumerate(cast("list[Any]", value))
    elif isinstance(value, int) and not isinstance(value, bool):
        yield from ((number, number) for number in range(value))
    else:
        raise TemplateError(f"range can't iterate over {shown(value)}")
