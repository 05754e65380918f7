"""PEM blocks in text, found as Go's `encoding/pem` finds them.

What is inside a block is not looked at: the simulator has no X.509 of its own.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

import attrs

_BLOCK = re.compile(
    rb"-----BEGIN ([^\n]*?)-----[ \t\r]*\n(.*?)\n?-----END \1-----[ \t\r]*(?:\n|\Z)", re.DOTALL
)
_HEADER = re.compile(rb"[^\n:]+:[^\n]*\n")


@attrs.frozen
class Block:
    """One block: what it holds by its label, whether it has headers, its bytes."""

    type: str
    headers: bool
    data: bytes


def blocks(text: bytes) -> Iterator[Block]:
    """The well-formed blocks of a text, in order."""
    for match in _BLOCK.finditer(text):
        body = match[2]
        headers = False
        while (header := _HEADER.match(body)) is not None:
            headers = True
            body = body[header.end() :]
        try:
            data = base64.b64decode(b"".join(body.split()), validate=True)
        except binascii.Error:
            continue
        yield Block(match[1].decode("utf-8", "replace"), headers, data)
