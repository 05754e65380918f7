"""Cutting an expression into tokens.

The law: what no token begins with is reported and skipped, as the lexer that ANTLR generates does.

Follows ``cel-go/parser/gen/CEL.g4``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pytest_kubesim.apimachinery.cel.errors import Issue

EOF = "<EOF>"
_ESCAPE = (
    r"\\(?:[abfnrtv\"'\\?`]|[0-3][0-7][0-7]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})"
)
_STRING = (
    rf'(?:"""(?:{_ESCAPE}|[^\\])*?"""'
    rf"|'''(?:{_ESCAPE}|[^\\])*?'''"
    r'|[rR]""".*?"""'
    r"|[rR]'''.*?'''"
    rf'|"(?:{_ESCAPE}|[^\\"\n\r])*"'
    rf"|'(?:{_ESCAPE}|[^\\'\n\r])*'"
    r'|[rR]"[^"\n\r]*"'
    r"|[rR]'[^'\n\r]*')"
)
_TOKEN = re.compile(
    r"(?P<space>[\t \r\n\f]+|//[^\n]*)"
    r"|(?P<NUM_FLOAT>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+"
    r"|\.[0-9]+(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<NUM_UINT>0x[0-9a-fA-F]+[uU]|[0-9]+[uU])"
    r"|(?P<NUM_INT>0x[0-9a-fA-F]+|[0-9]+)"
    rf"|(?P<BYTES>[bB]{_STRING})"
    rf"|(?P<STRING>{_STRING})"
    r"|(?P<IDENTIFIER>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<ESC_IDENTIFIER>`[A-Za-z0-9_.\-/ ]+`)"
    r"|(?P<symbol>==|!=|<=|>=|&&|\|\||[<>\[\]{}().,\-!?:+*/%])",
    re.DOTALL,
)
_WORDS = {"true": "'true'", "false": "'false'", "null": "'null'", "in": "'in'"}


class Token(NamedTuple):
    """A token. ``kind`` is its name in the grammar: ``IDENTIFIER``, ``'('``."""

    kind: str
    text: str
    offset: int


def tokenize(source: str) -> tuple[list[Token], list[Issue]]:
    """The tokens of an expression, ending with ``EOF``, and what could not be read."""
    tokens: list[Token] = []
    issues: list[Issue] = []
    at = 0
    while at < len(source):
        found = _TOKEN.match(source, at)
        if found is None:
            end = _unreadable(source, at)
            message = f"Syntax error: token recognition error at: '{source[at:end]}'"
            issues.append(Issue(at, message))
            at = end
            continue
        kind = found.lastgroup or ""
        text = found.group()
        if kind == "symbol":
            tokens.append(Token(f"'{text}'", text, at))
        elif kind == "IDENTIFIER":
            tokens.append(Token(_WORDS.get(text, kind), text, at))
        elif kind != "space":
            tokens.append(Token(kind, text, at))
        at = found.end()
    tokens.append(Token(EOF, EOF, len(source)))
    return tokens, issues


def _unreadable(source: str, at: int) -> int:
    """The end of what the lexer gives up on: it has read as far as some token might have gone."""
    char = source[at]
    if char in "|&=":
        return min(at + 2, len(source))
    if char == "`":
        inside = re.compile(r"[A-Za-z0-9_.\-/ ]*").match(source, at + 1)
        return min((inside.end() if inside else at) + 1, len(source))
    if char in "\"'":
        inside = re.compile(rf"(?:{_ESCAPE}|[^\\{char}\n\r])*").match(source, at + 1)
        end = inside.end() if inside else at + 1
        if source[end : end + 1] == "\\":
            # The escape is read up to the character that spoils it.
            end += 2
            if source[end - 1 : end] in ("x", "X", "u", "U"):
                digits = re.compile("[0-9a-fA-F]*").match(source, end)
                end = (digits.end() if digits else end) + 1
        elif source[end : end + 1] in ("\n", "\r"):
            end += 1
        return min(max(end, at + 1), len(source))
    return at + 1
