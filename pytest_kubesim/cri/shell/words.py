"""Words of a script: quoting, parameters, substitutions.

A `Scanner` stands at a position of the text; the parser asks it for words.
"""

from __future__ import annotations

from collections.abc import Callable

from pytest_kubesim.cri.shell.syntax import (
    Arithmetic,
    Literal,
    Parameter,
    Part,
    Script,
    Substitution,
    Word,
)

SPECIAL = "@*#?-$!0123456789"
_ENDS = frozenset(" \t\n;&|<>()")
_OPERATORS = (":-", ":=", ":?", ":+", "##", "%%", "-", "=", "?", "+", "#", "%")


class SyntaxFault(Exception):
    """A script that is none; `str(fault)` is what ash says after `syntax error: `."""


class Scanner:
    """A position in a script's text.

    `parse` parses the text of a substitution.
    """

    def __init__(self, text: str, parse: Callable[[str], Script]) -> None:
        self.text = text
        self.at = 0
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
                break
            if char == "\\":
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
                inner = Scanner(text[self.at + 3 : end], self._parse)
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
        if self.peek() == "}":
            self.at += 1
            return Parameter(name, "length" if length else "", quoted=quoted)
        operator = next((op for op in _OPERATORS if text.startswith(op, self.at)), "")
        if not operator or length:
            raise SyntaxFault("bad substitution")
        self.at += len(operator)
        argument = self._parts(frozenset("}"), quoted=quoted and operator[-1] not in "#%")
        if self.peek() != "}":
            raise SyntaxFault('end of file unexpected (expecting "}")')
        self.at += 1
        return Parameter(name, operator, argument, quoted)

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
                inner = Scanner(text, self._parse)
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
