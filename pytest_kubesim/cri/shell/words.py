"""Words of a script: quoting, parameters, substitutions.

A `Scanner` stands at a position of the text; the parser asks it for words.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pytest_kubesim.cri.shell.syntax import (
    Arithmetic,
    Literal,
    Output,
    Parameter,
    Part,
    Script,
    Substitution,
    Word,
)

SPECIAL = "@*#?-$!0123456789"
_ENDS = frozenset(" \t\n;&|<>()")
_OPERATORS = (
    ":-", ":=", ":?", ":+", "##", "%%", "//", "/#", "/%", "-", "=", "?", "+", "#", "%", "/", ":",
)
_CASES = ("^^", ",,", "^", ",")
_ESCAPES = {
    "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
    "v": "\v",
}
_ANSI = re.compile(r"\\(?:x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|([0-7]{1,3})|(.))", re.DOTALL)


class SyntaxFault(Exception):
    """A script that is none; `str(fault)` is what ash says after `syntax error: `."""


class Scanner:
    """A position in a script's text.

    `parse` parses the text of a substitution; `bash`, whether what only bash knows is known.
    """

    def __init__(self, text: str, parse: Callable[[str], Script], *, bash: bool = False) -> None:
        self.text = text
        self.at = 0
        self.bash = bash
        self._parse = parse

    def peek(self, count: int = 1) -> str:
        """The next characters, fewer at the end."""
        return self.text[self.at : self.at + count]

    def word(self) -> Word:
        """The word that begins here; empty where none does."""
        return self._parts(_ENDS)

    def _parts(self, ends: frozenset[str], *, quoted: bool = False) -> Word:
        parts: list[Part] = []
        plain: list[str] = []

        def flush() -> None:
            if plain:
                parts.append(Literal("".join(plain), quoted))
                plain.clear()

        text = self.text
        while self.at < len(text):
            char = text[self.at]
            if char in ends:
                if self.bash and not quoted and char == "<" and self.peek(2) == "<(" and not (
                    parts or plain
                ):
                    start = self.at + 2
                    self.at = self._closing(start) + 1
                    parts.append(Output(self._parse(text[start : self.at - 1])))
                    continue
                break
            if char == "$" and not quoted and self.peek(2) == "$'":
                flush()
                parts.append(Literal(self._ansi(), quoted=True))
            elif char == "\\":
                self._backslash(parts, plain, flush, quoted)
            elif char == "'" and not quoted:
                flush()
                parts.append(Literal(self._until("'"), quoted=True))
            elif char == '"':
                flush()
                self.at += 1
                parts += self.double_quoted('"') or (Literal("", quoted=True),)
                self.at += 1
            elif char == "$":
                part = self._dollar(quoted)
                if part is None:
                    plain.append("$")
                else:
                    flush()
                    parts.append(part)
            elif char == "`":
                flush()
                parts.append(self._backquoted(quoted))
            else:
                plain.append(char)
                self.at += 1
        flush()
        return tuple(parts)

    def _backslash(
        self, parts: list[Part], plain: list[str], flush: Callable[[], None], quoted: bool
    ) -> None:
        following = self.text[self.at + 1 : self.at + 2]
        self.at += 2
        if following == "\n":
            return
        if quoted and following not in '$`"\\}':
            plain.append("\\" + following)
            return
        flush()
        parts.append(Literal(following or "\\", quoted=True))

    def double_quoted(self, end: str) -> Word:
        """What stands between double quotes, up to `end` (`""`: to the end of the text)."""
        parts: list[Part] = []
        plain: list[str] = []
        text = self.text
        while self.at < len(text) and text[self.at] != end:
            char = text[self.at]
            part: Part | None = None
            if char == "\\":
                following = text[self.at + 1 : self.at + 2]
                self.at += 2
                if following in ("$", "`", "\\") or (following == '"' and end == '"'):
                    plain.append(following)
                elif following != "\n":
                    plain.append("\\" + following)
            elif char == "$":
                part = self._dollar(True)
                if part is None:
                    plain.append("$")
            elif char == "`":
                part = self._backquoted(True)
            else:
                plain.append(char)
                self.at += 1
            if part is not None:
                if plain:
                    parts.append(Literal("".join(plain), quoted=True))
                    plain.clear()
                parts.append(part)
        if self.at >= len(text) and end:
            raise SyntaxFault("unterminated quoted string")
        if plain:
            parts.append(Literal("".join(plain), quoted=True))
        return tuple(parts)

    def whole(self) -> Word:
        """All that is left of the text, blanks and all."""
        return self._parts(frozenset())

    def regex(self) -> Word:
        """The regular expression that begins here: up to a blank, parentheses and all."""
        return self._parts(frozenset(" \t\n"))

    def _ansi(self) -> str:
        """`$'...'`: with the escapes of C."""
        match = re.compile(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL).match(self.text, self.at)
        if match is None:
            raise SyntaxFault("unterminated quoted string")
        self.at = match.end()

        def one(found: re.Match[str]) -> str:
            hexadecimal, long, octal, letter = found.groups()
            if letter is not None:
                return _ESCAPES.get(letter, letter if letter in "\\'\"?" else f"\\{letter}")
            return chr(int(hexadecimal or long, 16) if octal is None else int(octal, 8) & 0xFF)

        return _ANSI.sub(one, match.group(1))

    def _until(self, quote: str) -> str:
        end = self.text.find(quote, self.at + 1)
        if end < 0:
            raise SyntaxFault("unterminated quoted string")
        inside = self.text[self.at + 1 : end]
        self.at = end + 1
        return inside

    def _dollar(self, quoted: bool) -> Part | None:
        text = self.text
        following = text[self.at + 1 : self.at + 2]
        if following == "(":
            if text[self.at + 2 : self.at + 3] == "(" and (end := self._arithmetic_end()) > 0:
                inner = Scanner(text[self.at + 3 : end], self._parse, bash=self.bash)
                self.at = end + 2
                return Arithmetic(inner.double_quoted(""), quoted)
            start = self.at + 2
            end = self._closing(start)
            self.at = end + 1
            return Substitution(self._parse(text[start:end]), quoted)
        if following == "{":
            return self._braces(quoted)
        if following in SPECIAL and following:
            self.at += 2
            return Parameter(following, quoted=quoted)
        if following.isalpha() or following == "_":
            start = self.at + 1
            self.at = name_end(text, start)
            return Parameter(text[start : self.at], quoted=quoted)
        self.at += 1
        return None

    def _arithmetic_end(self) -> int:
        depth, at = 0, self.at + 3
        while at < len(self.text):
            char = self.text[at]
            if char == "(":
                depth += 1
            elif char == ")":
                if depth == 0:
                    return at if self.text[at + 1 : at + 2] == ")" else -1
                depth -= 1
            at += 1
        return -1

    def _braces(self, quoted: bool) -> Part:
        text = self.text
        at = self.at + 2
        length = text[at : at + 1] == "#" and text[at + 1 : at + 2] not in ("}", "")
        if length:
            at += 1
        elif self.bash and text[at : at + 1] == "!" and name_end(text, at + 1) > at + 1:
            return self._indirect(at + 1, quoted)
        if text[at : at + 1] in SPECIAL and text[at : at + 1]:
            end = at + 1
            while text[at].isdigit() and text[end : end + 1].isdigit():
                end += 1
        else:
            end = name_end(text, at)
        name = text[at:end]
        self.at = end
        if not name:
            raise SyntaxFault("bad substitution")
        index = None
        if self.bash and self.peek() == "[":
            self.at += 1
            index = self._parts(frozenset("]"))
            self.at += 1
        if self.peek() == "}":
            self.at += 1
            return Parameter(name, "length" if length else "", quoted=quoted, index=index)
        known = (*_OPERATORS, *_CASES) if self.bash else _OPERATORS
        operator = next((op for op in known if text.startswith(op, self.at)), "")
        if not operator or length:
            raise SyntaxFault("bad substitution")
        self.at += len(operator)
        second = None
        if operator[0] == "/" or operator == ":":
            argument = self._parts(frozenset("/}" if operator != ":" else ":}"))
            if self.peek() != "}":
                self.at += 1
                second = self._parts(frozenset("}"), quoted=quoted and operator != ":")
        else:
            argument = self._parts(frozenset("}"), quoted=quoted and operator[-1] not in "#%")
        if self.peek() != "}":
            raise SyntaxFault('end of file unexpected (expecting "}")')
        self.at += 1
        return Parameter(name, operator, argument, quoted, second, index)

    def _indirect(self, at: int, quoted: bool) -> Part:
        """`${!name}`, `${!name[@]}`."""
        end = name_end(self.text, at)
        for tail, operator in (("}", "indirect"), ("[@]}", "keys"), ("[*]}", "keys")):
            if self.text.startswith(tail, end):
                self.at = end + len(tail)
                return Parameter(self.text[at:end], operator, quoted=quoted)
        raise SyntaxFault("bad substitution")

    def _closing(self, at: int) -> int:
        """Where the parenthesis that was opened before `at` closes."""
        depth, text = 0, self.text
        while at < len(text):
            char = text[at]
            if char == "\\":
                at += 1
            elif char == "'":
                at = text.find("'", at + 1)
                if at < 0:
                    break
            elif char == '"':
                inner = Scanner(text, self._parse, bash=self.bash)
                inner.at = at + 1
                inner.double_quoted('"')
                at = inner.at
            elif char == "#" and text[at - 1] in " \t\n;(":
                at = text.find("\n", at)
                if at < 0:
                    break
            elif char == "(":
                depth += 1
            elif char == ")":
                if depth == 0:
                    return at
                depth -= 1
            at += 1
        raise SyntaxFault('end of file unexpected (expecting ")")')

    def _backquoted(self, quoted: bool) -> Part:
        text, at = self.text, self.at + 1
        inside: list[str] = []
        while at < len(text) and text[at] != "`":
            escaped = text[at + 1 : at + 2]
            if text[at] == "\\" and (escaped in ("`", "\\", "$") or (quoted and escaped == '"')):
                at += 1
            inside.append(text[at])
            at += 1
        if at >= len(text):
            raise SyntaxFault("EOF in backquote substitution")
        self.at = at + 1
        return Substitution(self._parse("".join(inside)), quoted)


def name_end(text: str, at: int) -> int:
    """Where a name that begins at `at` ends."""
    end = at
    while end < len(text) and (
        text[end] == "_" or (text[end].isascii() and text[end].isalnum())
    ):
        if end == at and text[end].isdigit():
            break
        end += 1
    return end


def is_name(text: str) -> bool:
    """Whether a text is a variable's name."""
    return bool(text) and name_end(text, 0) == len(text)
