"""Where a list in chunks goes on: a key and a revision, as the client carries them about.

Follows `apiserver/pkg/storage/continue.go`.
"""

from __future__ import annotations

import base64
import binascii
import json
import posixpath
from typing import Any, cast

from pytest_kubesim.apimachinery import golang, json_scanner, status
from pytest_kubesim.apimachinery.meta import Object

_VERSION = "meta.k8s.io/v1"


def encode(key: str, prefix: str, revision: int) -> str:
    """The token that goes on at `key`, at a revision (-1: whatever is the newest then)."""
    start = key.removeprefix(prefix)
    text = json.dumps(
        {"v": _VERSION, "rv": revision, "start": start}, separators=(",", ":"), ensure_ascii=True
    )
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def checked(token: str, prefix: str) -> tuple[str, int]:
    """As `decode`.  Raises `APIStatus` (400) with the text."""
    try:
        return decode(token, prefix)
    except ValueError as error:
        raise status.new_bad_request(f"invalid continue token: {error}") from None


def decode(token: str, prefix: str) -> tuple[str, int]:
    """The key and the revision in a token.  Raises `ValueError` with upstream's text."""
    try:
        data = _decode_base64(token)
    except binascii.Error as error:
        raise ValueError(f"continue key is not valid: {error}") from None
    try:
        value: Any = json.loads(data)
    except ValueError:
        problem = json_scanner.explain(data.decode("utf-8", "replace"))
        raise ValueError(f"continue key is not valid: {problem}") from None
    if not isinstance(value, dict | None):
        kind = golang.json_kind(value)
        problem = f"json: cannot unmarshal {kind} into Go value of type storage.continueToken"
        raise ValueError(f"continue key is not valid: {problem}")  # noqa: TRY004
    found = cast("Object", value or {})
    version, revision, start = found.get("v", ""), found.get("rv", 0), found.get("start", "")
    if version != _VERSION:
        raise ValueError(
            f"continue key is not valid: server does not recognize this encoded version {version}"
        )
    if revision == 0:
        raise ValueError(
            "continue key is not valid: incorrect encoded start resourceVersion "
            "(version meta.k8s.io/v1)"
        )
    if not start:
        raise ValueError(
            "continue key is not valid: encoded start key empty (version meta.k8s.io/v1)"
        )
    key = start if start.startswith("/") else f"/{start}"
    cleaned = posixpath.normpath(key)
    if cleaned != key:
        raise ValueError(f"continue key is not valid: {start}")
    return prefix + cleaned[1:], revision


def _decode_base64(token: str) -> bytes:
    """`base64.RawURLEncoding`: no padding; complains of the first byte that does not belong."""
    for index, character in enumerate(token):
        if not (character.isascii() and (character.isalnum() or character in "-_")):
            raise binascii.Error(f"illegal base64 data at input byte {index}")
    if len(token) % 4 == 1:
        raise binascii.Error(f"illegal base64 data at input byte {len(token) - 1}")
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
