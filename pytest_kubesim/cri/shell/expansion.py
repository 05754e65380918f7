"""From words to fields: parameters, substitutions, splitting, patterns.

The law: what was quoted is neither split nor matched; an unquoted expansion that gives nothing
gives no field.

Follows POSIX.1-2017, section 2.6.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pytest_kubesim.cri.shell import patterns
from pytest_kubesim.cri.shell.arithmetic import ArithmeticFault, evaluate
from pytest_kubesim.cri.shell.syntax import (
    Arithmetic,
    Literal,
    Output,
    Parameter,
    Part,
    Substitution,
    Word,
)

if TYPE_CHECKING:
    from pytest_kubesim.cri.shell.interpreter import Shell

_Field = list[tuple[str, bool]]


class ExpansionFault(Exception):
    """An expansion that ends the shell; `str(fault)` is what it says."""


class Expander:
    """Expands words in the surroundings of a shell."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    async def fields(self, words: tuple[Word, ...]) -> list[str]:
        """All the fields of some words."""
        found: list[str] = []
        for word in words:
            if len(word) == 1 and isinstance(word[0], Literal):
                part = word[0]
                if part.quoted or not re.search(r"[*?\[~]", part.text):
                    found.append(part.text)
                    continue
            for field in await self._expand(word, split=True):
                segments = tuple(field)
                if patterns.is_pattern(segments) and "f" not in self._shell.options:
                    matched = patterns.glob(self._shell.proc, segments)
                    if matched:
                        found += matched
                        continue
                found.append(patterns.plain(segments))
        return found

    async def text(self, word: Word) -> str:
        """A word as one text: for assignments, redirections, `case`."""
        fields = await self._expand(word, split=False)
        return " ".join(patterns.plain(tuple(field)) for field in fields)

    async def pattern(self, word: Word) -> patterns.Segments:
        """A word as a pattern."""
        fields = await self._expand(word, split=False)
        return tuple(segment for field in fields for segment in field)

    async def _expand(self, word: Word, *, split: bool) -> list[_Field]:
        result = _Fields(self._shell.ifs if split else "")
        for number, part in enumerate(word):
            if number == 0 and isinstance(part, Literal) and not part.quoted:
                part = self._tilde(part, alone=len(word) == 1)
            await self._part(part, result)
        return result.finish()

    def _tilde(self, part: Literal, *, alone: bool) -> Literal:
        text = part.text
        if not text.startswith("~") or (text[1:2] not in ("", "/")) or (text == "~" and not alone):
            return part
        return Literal(self._shell.get("HOME") + text[1:], quoted=False)

    async def _part(self, part: Part, result: _Fields) -> None:
        shell = self._shell
        if isinstance(part, Literal):
            result.add(part.text, part.quoted)
        elif isinstance(part, Substitution):
            output = await shell.substitute(part.script)
            result.expand(output, part.quoted)
        elif isinstance(part, Arithmetic):
            result.expand(str(await self.number(part.expression)), part.quoted)
        elif isinstance(part, Output):
            result.add(await shell.output_file(part.script), True)
        else:
            await self._parameter(part, result)

    async def number(self, expression: Word) -> int:
        """The value of an arithmetic expression."""
        text, shell = await self.text(expression), self._shell
        try:
            return evaluate(text, shell.get_number, shell.assign)
        except ArithmeticFault as fault:
            raise ExpansionFault(str(fault)) from None

    async def _values(self, part: Parameter) -> tuple[str, list[str] | None]:
        """Whether a parameter is one value (`""`) or all of them (`@`, `*`), and which."""
        shell, name = self._shell, part.name
        if part.operator == "indirect":
            return "", shell.values(shell.get(name))
        if part.operator == "keys":
            return "@", [str(key) for key in shell.elements(name)]
        if part.index is None:
            return (name if name in "@*" else ""), shell.values(name)
        inside = await self.text(part.index)
        if inside in ("@", "*"):
            return inside, list(shell.elements(name).values())
        found = shell.elements(name).get(shell.index(name, inside))
        return "", None if found is None else [found]

    async def _parameter(self, part: Parameter, result: _Fields) -> None:
        shell, operator = self._shell, part.operator
        every, values = await self._values(part)
        is_set = values is not None and (not every or bool(values))
        text = " ".join(values or ()) if every != "*" else shell.ifs[:1].join(values or ())
        if operator == "length":
            self._demand(part, is_set or bool(every))
            result.expand(str(len(values or ()) if every else len(text)), part.quoted)
            return
        kind = operator.lstrip(":")
        absent = not is_set or (operator.startswith(":") and not text)
        if kind in ("-", "=", "?", "+") and kind:
            if (kind == "+") == absent:
                if kind == "+":
                    return
            elif kind == "+":
                await self._argument(part, result)
                return
            else:
                await self._default(part, kind, result)
                return
        else:
            self._demand(part, is_set or bool(every))
        if operator == ":" and every:
            values = await self._slice(part, values or [])
        elif operator and operator not in ("indirect", "keys") and kind not in ("-", "=", "?", "+"):
            change = await self._change(part)
            values = [change(value) for value in values or ()]
            text = " ".join(values)
        if every == "@" and part.quoted:
            result.list(values or [])
        elif every and not part.quoted:
            for count, value in enumerate(values or ()):
                if count:
                    result.end()
                result.expand(value, False)
        else:
            result.expand(text, part.quoted)

    async def _slice(self, part: Parameter, values: list[str]) -> list[str]:
        start = await self.number(part.argument)
        if part.name in "@*":
            # `$@` counts from one.
            values = [self._shell.name, *values]
        start = max(0, start + len(values)) if start < 0 else start
        if part.second is None:
            return values[start:]
        return values[start : start + await self.number(part.second)]

    async def _change(self, part: Parameter) -> Callable[[str], str]:
        """What an operator makes of a value."""
        operator = part.operator
        if operator == ":":
            start = await self.number(part.argument)
            length = None if part.second is None else await self.number(part.second)
            return partial(_substring, start=start, length=length)
        if operator in ("^", "^^", ",", ",,"):
            return partial(_cased, operator=operator)
        pattern = await self.pattern(part.argument)
        if operator[0] != "/":
            return partial(_trimmed, pattern=pattern, operator=operator)
        by = await self.text(part.second or ())
        source = patterns.source(pattern)
        if not source:
            return str
        anchored = {"/#": rf"\A(?:{source})", "/%": rf"(?:{source})\Z"}.get(operator, source)
        found = re.compile(anchored, re.DOTALL)
        return lambda value: found.sub(lambda _: by, value, count=0 if operator == "//" else 1)

    def _demand(self, part: Parameter, is_set: bool) -> None:
        if not is_set and "u" in self._shell.options and part.name not in "@*":
            raise ExpansionFault(f"{part.name}: parameter not set")

    async def _argument(self, part: Parameter, result: _Fields) -> None:
        for inner in part.argument:
            if part.quoted and isinstance(inner, Literal):
                result.add(inner.text, True)
            elif isinstance(inner, Literal) and not inner.quoted:
                result.expand(inner.text, False)
            else:
                await self._part(inner, result)

    async def _default(self, part: Parameter, kind: str, result: _Fields) -> None:
        if kind == "-":
            await self._argument(part, result)
            return
        text = await self.text(part.argument)
        if kind == "=":
            self._shell.assign(part.name, text)
            result.expand(text, part.quoted)
            return
        if not text:
            text = "parameter null or not set" if ":" in part.operator else "parameter not set"
        raise ExpansionFault(f"{part.name}: {text}")


def _substring(text: str, *, start: int, length: int | None) -> str:
    start = len(text) + start if start < 0 else start
    if start < 0 or start > len(text):
        return ""
    if length is None:
        return text[start:]
    return text[start : len(text) + length] if length < 0 else text[start : start + length]


def _cased(text: str, *, operator: str) -> str:
    change = str.upper if operator[0] == "^" else str.lower
    return change(text) if len(operator) == 2 else change(text[:1]) + text[1:]


def _trimmed(text: str, pattern: patterns.Segments, operator: str) -> str:
    source = patterns.source(pattern)
    lengths = range(len(text) + 1)
    order = reversed(lengths) if operator in ("##", "%") else iter(lengths)
    for length in order:
        piece = text[:length] if operator[0] == "#" else text[length:]
        if re.fullmatch(source, piece, re.DOTALL):
            return text[length:] if operator[0] == "#" else text[:length]
    return text


class _Fields:
    """Fields in the making; `ifs` empty: nothing is split."""

    def __init__(self, ifs: str) -> None:
        self._ifs = ifs
        self._done: list[_Field] = []
        self._current: _Field = []
        self._open = False

    def add(self, text: str, quoted: bool) -> None:
        """Text that is not split."""
        if text or quoted:
            self._current.append((text, quoted))
            self._open = True

    def expand(self, text: str, quoted: bool) -> None:
        """The result of an expansion: split unless it was quoted."""
        if quoted or not self._ifs:
            self.add(text, quoted)
            return
        blanks = "".join(c for c in self._ifs if c in " \t\n")
        marks = "".join(c for c in self._ifs if c not in " \t\n")
        at = 0
        while at < len(text):
            char = text[at]
            if char in blanks:
                while at < len(text) and text[at] in blanks:
                    at += 1
                if at < len(text) and text[at] in marks:
                    continue
                self.end()
            elif char in marks:
                if not self._open:
                    self._current.append(("", True))
                    self._open = True
                self.end()
                at += 1
                while at < len(text) and text[at] in blanks:
                    at += 1
            else:
                end = at
                while end < len(text) and text[end] not in self._ifs:
                    end += 1
                self.add(text[at:end], False)
                at = end

    def list(self, values: list[str]) -> None:
        """`"$@"`: a field for each."""
        for count, value in enumerate(values):
            if count:
                self.end()
            self._current.append((value, True))
            self._open = True

    def end(self) -> None:
        """The field ends here, if one has begun."""
        if self._open:
            self._done.append(self._current)
            self._current, self._open = [], False

    def finish(self) -> list[_Field]:
        """All fields."""
        self.end()
        return self._done
