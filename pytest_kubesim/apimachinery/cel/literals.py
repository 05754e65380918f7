"""What the text of a literal stands for.

Follows ``cel-go/parser/unescape.go``.
"""

from __future__ import annotations


def number(text: str) -> int:
    """The number that digits stand for, in tens or after ``0x`` in sixteens."""
    return int(text, 16 if text.startswith("0x") else 10)


_SIMPLE = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
    "`": "`",
    "?": "?",
}
_CODES = {"x": 2, "X": 2, "u": 4, "U": 8}


def unescape(literal: str, *, is_bytes: bool = False) -> str | bytes:
    """The text or the bytes that a quoted literal stands for. Raises ``ValueError``."""
    text = literal.replace("\r\n", "\n").replace("\r", "\n")
    raw = text[0] in "rR"
    if raw:
        text = text[1:]
    quotes = 3 if len(text) >= 6 and text[:3] in ('"""', "'''") else 1
    text = text[quotes:-quotes]
    if raw or "\\" not in text:
        return text.encode() if is_bytes else text
    out: list[bytes] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char != "\\":
            out.append(char.encode())
            at += 1
            continue
        piece, at = _escape(text, at + 1, is_bytes=is_bytes)
        out.append(piece)
    joined = b"".join(out)
    return joined if is_bytes else joined.decode()


def _escape(text: str, at: int, *, is_bytes: bool) -> tuple[bytes, int]:
    char = text[at : at + 1]
    if char in _SIMPLE:
        return _SIMPLE[char].encode(), at + 1
    if char in _CODES:
        length = _CODES[char]
        digits = text[at + 1 : at + 1 + length]
        code = int(digits, 16)
        at += 1 + length
    else:
        code = int(text[at : at + 3], 8)
        at += 3
    if is_bytes:
        if char in ("u", "U"):
            raise ValueError("unable to unescape string")
        return bytes([code]), at
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise ValueError("invalid unicode code point")
    return chr(code).encode(), at
