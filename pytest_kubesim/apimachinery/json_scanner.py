"""What is wrong with a text that is no JSON, in the words of Go's scanner.

The law: a walk from character to character, as Go steps from byte to byte; the first that does not
fit is named with what was looked for.

Follows `encoding/json/scanner.go`.
"""

from __future__ import annotations

_END = "unexpected end of JSON input"
_SPACE = " \t\r\n"


class _Bad(Exception):
    """The scanner stops here."""


def explain(text: str) -> str:
    """Why a text is no JSON, in the words of Go's scanner."""
    try:
        _Scanner(text).document()
    except _Bad as bad:
        return str(bad)
    return _END


def _shown(character: str) -> str:
    if character == "'":
        return r"'\''"
    if character == '"':
        return "'\"'"
    escapes = {"\n": r"'\n'", "\r": r"'\r'", "\t": r"'\t'", "\\": r"'\\'"}
    if character in escapes:
        return escapes[character]
    if character < " " or character == "\x7f":
        return f"'\\x{ord(character):02x}'"
    # Go looks at bytes: a letter outside ASCII shows its first one as a Latin-1 letter.
    first = character.encode("utf-8", "surrogatepass")[0]
    return f"'{chr(first)}'" if first < 0x80 or chr(first).isprintable() else f"'\\u{first:04x}'"


class _Scanner:
    """A walk through one text, as Go's scanner steps from byte to byte."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def _fail(self, context: str) -> _Bad:
        return _Bad(f"invalid character {_shown(self.text[self.at])} {context}")

    def _peek(self) -> str:
        if self.at >= len(self.text):
            raise _Bad(_END)
        return self.text[self.at]

    def _space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in _SPACE:
            self.at += 1

    def document(self) -> None:
        self._space()
        self._value("looking for beginning of value")
        self._space()
        if self.at < len(self.text):
            raise self._fail("after top-level value")
        raise _Bad(_END)

    def _value(self, context: str) -> None:
        self._space()
        character = self._peek()
        if character == "{":
            self._object()
        elif character == "[":
            self._array()
        elif character == '"':
            self._string()
        elif character == "-" or character.isdigit():
            self._number()
        elif character in "tfn":
            word = {"t": "true", "f": "false", "n": "null"}[character]
            self._literal(word)
        else:
            raise self._fail(context)

    def _object(self) -> None:
        self.at += 1
        self._space()
        if self._peek() == "}":
            self.at += 1
            return
        while True:
            self._space()
            if self._peek() != '"':
                raise self._fail("looking for beginning of object key string")
            self._string()
            self._space()
            if self._peek() != ":":
                raise self._fail("after object key")
            self.at += 1
            self._value("looking for beginning of value")
            self._space()
            character = self._peek()
            if character == "}":
                self.at += 1
                return
            if character != ",":
                raise self._fail("after object key:value pair")
            self.at += 1

    def _array(self) -> None:
        self.at += 1
        self._space()
        if self._peek() == "]":
            self.at += 1
            return
        while True:
            self._value("looking for beginning of value")
            self._space()
            character = self._peek()
            if character == "]":
                self.at += 1
                return
            if character != ",":
                raise self._fail("after array element")
            self.at += 1

    def _string(self) -> None:
        self.at += 1
        while True:
            character = self._peek()
            if character == '"':
                self.at += 1
                return
            if character == "\\":
                self.at += 1
                escaped = self._peek()
                if escaped == "u":
                    for _ in range(4):
                        self.at += 1
                        if self._peek() not in "0123456789abcdefABCDEF":
                            raise self._fail("in \\u hexadecimal character escape")
                elif escaped not in 'bfnrt\\/"':
                    raise self._fail("in string escape code")
            elif character < " ":
                raise self._fail("in string literal")
            self.at += 1

    def _number(self) -> None:
        text = self.text
        if text[self.at] == "-":
            self.at += 1
            if not self._peek().isdigit():
                raise self._fail("in numeric literal")
        if self._peek() == "0":
            self.at += 1
        else:
            self._digits()
        if self.at < len(text) and text[self.at] == ".":
            self.at += 1
            if not self._peek().isdigit():
                raise self._fail("after decimal point in numeric literal")
            self._digits()
        if self.at < len(text) and text[self.at] in "eE":
            self.at += 1
            if self._peek() in "+-":
                self.at += 1
            if not self._peek().isdigit():
                raise self._fail("in exponent of numeric literal")
            self._digits()

    def _digits(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isdigit():
            self.at += 1

    def _literal(self, word: str) -> None:
        self.at += 1
        for wanted in word[1:]:
            if self._peek() != wanted:
                raise self._fail(f"in literal {word} (expecting '{wanted}')")
            self.at += 1
