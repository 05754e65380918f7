"""From words to fields: parameters, substitutions, splitting, patterns.

The law: what was quoted is neither split nor matched; an unquoted expansion that gives nothing
gives no field.

Follows POSIX.1-2017, section 2.6.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_kubesim.cri.shell import patterns
from pytest_kubesim.cri.shell.arithmetic import ArithmeticFault, evaluate
from pytest_kubesim.cri.shell.syntax import (
    Arithmetic,
    Literal,
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
            text = await self.text(part.expression)
            try:
                value = evaluate(text, shell.get, shell.assign)
            except ArithmeticFault as fault:
                raise ExpansionFault(str(fault)) from None
            result.expand(str(value), part.quoted)
        else:
            await self._parameter(part, result)

    async def _parameter(self, part: Parameter, result: _Fields) -> None:
        shell, name, operator = self._shell, part.name, part.operator
        values = shell.values(name)
        is_set = values is not None and (name not in "@*" or bool(values))
        text = " ".join(values or ()) if name != "*" else shell.ifs[:1].join(values or ())
        if operator == "length":
            self._demand(part, is_set)
            result.expand(str(len(values or ()) if name in "@*" else len(text)), part.quoted)
            return
        kind = operator.lstrip(":")
        absent = not is_set or (operator.startswith(":") and not text)
        if kind in ("-", "=", "?", "+"):
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
            self._demand(part, is_set)
        if operator in ("#", "##", "%", "%%"):
            text = _trimmed(text, await self.pattern(part.argument), operator)
            values = [text]
        if name == "@" and part.quoted and not operator:
            result.list(values or [])
        elif name in "@*" and not part.quoted and not operator:
            for count, value in enumerate(values or ()):
                if count:
                    result.end()
                result.expand(value, False)
        else:
            result.expand(text, part.quoted)

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
