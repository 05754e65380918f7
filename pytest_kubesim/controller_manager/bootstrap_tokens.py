"""Secrets that hold bootstrap tokens: what they say, until when, and for what.

Follows `cluster-bootstrap/util/secrets/secrets.go` and `pkg/controller/bootstrap/util.go`.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, timestamps
from pytest_kubesim.controller_manager import fields

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

SECRET_TYPE = "bootstrap.kubernetes.io/token"
NAMESPACE = "kube-system"
_NAME = re.compile(r"bootstrap-token-([a-z0-9]{6})\Z")


def is_token(secret: Object) -> bool:
    """Whether a Secret holds a bootstrap token."""
    return secret.get("type") == SECRET_TYPE and meta.namespace(secret) == NAMESPACE


def value(secret: Object, key: str) -> str:
    """An entry of a Secret as text; empty where it is missing."""
    encoded = fields.strings(secret, "data").get(key) or ""
    return base64.b64decode(encoded).decode(errors="replace")


def remaining_ns(secret: Object, now_ns: int) -> int | None:
    """How long a token is good for, 0 if it is not any more; None if it has no end.

    An end that cannot be read has passed.
    """
    end = value(secret, "expiration")
    if not end:
        return None
    try:
        return max(0, timestamps.parse_time(end) - now_ns)
    except ValueError:
        return 0


def for_signing(secret: Object, now_ns: int) -> tuple[str, str] | None:
    """A token's id and secret if it may be used to sign; else None."""
    named = _NAME.match(meta.name(secret))
    token_id, token = value(secret, "token-id"), value(secret, "token-secret")
    if named is None or named.group(1) != token_id or not token:
        return None
    if remaining_ns(secret, now_ns) == 0 or value(secret, "usage-bootstrap-signing") != "true":
        return None
    return token_id, token
