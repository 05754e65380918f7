"""Whether the claims of a service account's token hold: who it is of, and what it is bound to.

The law: a token is good for a minute after its time, and while what it is bound to is not gone (or
has been told to go less than a minute ago).  A token from a secret is good while the secret holds
it; that it was used is written on the secret, once a day.

Follows `pkg/serviceaccount/{claims,jwt,legacy}.go`.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, Object, labels
from pytest_kubesim.apimachinery.timestamps import parse_time
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_kubesim.registry.rest import Reader

LEGACY_ISSUER = "kubernetes/serviceaccount"
LEEWAY_S = 60
PREFIX = "system:serviceaccount:"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
SERVICE_ACCOUNTS = GroupResource("", "serviceaccounts")
_SECRETS = GroupResource("", "secrets")
_INVALIDATED = "service account token has been invalidated"
_EXTRA = "authentication.kubernetes.io/"
_LEGACY = "kubernetes.io/serviceaccount/"


class InvalidToken(Exception):
    """A token is not good; the text says why."""


def user(
    namespace: str, name: str, uid: str = "", extra: Mapping[str, tuple[str, ...]] | None = None
) -> UserInfo:
    """The identity of a service account."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    return UserInfo(f"{PREFIX}{namespace}:{name}", groups, uid, dict(extra or {}))


def check_audiences(given: Sequence[str], wanted: Sequence[str]) -> None:
    """Raises `InvalidToken` for a token that is for others."""
    if not set(given) & set(wanted):
        shown, asked = (f"[{' '.join(map(quote, each))}]" for each in (given, wanted))
        raise InvalidToken(
            f"token audiences {shown} is invalid for the target audiences {asked}"
        )


def checked(claims: Object, reader: Reader, now_ns: int) -> UserInfo:
    """Whom a token is of.  Raises `InvalidToken`."""
    now = now_ns // NS
    if claims.get("exp") is not None and now - LEEWAY_S > claims["exp"]:
        raise InvalidToken("service account token has expired")
    if claims.get("nbf") is not None and now + LEEWAY_S < claims["nbf"]:
        raise InvalidToken("service account token is not valid yet")
    if claims.get("iat") is not None and now + LEEWAY_S < claims["iat"]:
        raise InvalidToken("service account token is issued in the future")
    private: Object = claims.get("kubernetes.io") or {}
    namespace: str = private.get("namespace") or ""
    account: Object = private.get("serviceaccount") or {}
    name, uid = account.get("name") or "", account.get("uid") or ""
    there = reader.get(SERVICE_ACCOUNTS, namespace, name)
    if there is None:
        raise InvalidToken(f"serviceaccounts {quote(name)} not found")
    known = there["metadata"].get("uid")
    if known != uid:
        raise InvalidToken(f"service account UID ({known}) does not match claim ({uid})")
    if _is_gone(there, now_ns):
        raise InvalidToken(f"service account {namespace}/{name} has been deleted")
    extra: dict[str, tuple[str, ...]] = {}
    if claims.get("jti"):
        extra[f"{_EXTRA}credential-id"] = (f"JTI={claims['jti']}",)
    pod, node = private.get("pod"), private.get("node")
    if private.get("secret") is not None:
        text = "service account secret ref"
        _check_bound(reader, _SECRETS, namespace, private["secret"], now_ns, "secret", text)
    if pod is not None:
        where = GroupResource("", "pods")
        _check_bound(reader, where, namespace, pod, now_ns, "pod", "service account pod ref")
    elif node is not None:
        where = GroupResource("", "nodes")
        _check_bound(reader, where, "", node, now_ns, "node", "service account node ref")
    for kind, bound in (("pod", pod), ("node", node)):
        if bound is not None:
            extra[f"{_EXTRA}{kind}-name"] = (bound["name"],)
            extra[f"{_EXTRA}{kind}-uid"] = (bound.get("uid") or "",)
    return user(namespace, name, uid, extra)


def _check_bound(
    reader: Reader,
    resource: GroupResource,
    namespace: str,
    bound: Object,
    now_ns: int,
    kind: str,
    text: str,
) -> None:
    found = reader.get(resource, namespace, bound["name"])
    if found is None or _is_gone(found, now_ns):
        raise InvalidToken(_INVALIDATED)
    known, uid = found["metadata"].get("uid"), bound.get("uid")
    if known != uid:
        raise InvalidToken(f"{kind} UID ({known}) does not match {text} claim ({uid})")


def _is_gone(obj: Object, now_ns: int) -> bool:
    stamp = obj["metadata"].get("deletionTimestamp")
    return stamp is not None and parse_time(stamp) < now_ns - LEEWAY_S * NS


def checked_legacy(claims: Object, token: str, reader: Reader) -> tuple[UserInfo, Object]:
    """Whom the token of a secret is of, and the secret.  Raises `InvalidToken`."""
    if not claims.get("sub"):
        raise InvalidToken("sub claim is missing")
    namespace, secret_name, name, uid = (
        claims.get(f"{_LEGACY}{key}") or ""
        for key in ("namespace", "secret.name", "service-account.name", "service-account.uid")
    )
    for value, what in (
        (namespace, "namespace"),
        (secret_name, "secretName"),
        (name, "serviceAccountName"),
        (uid, "serviceAccountUID"),
    ):
        if not value:
            raise InvalidToken(f"{what} claim is missing")
    if claims["sub"] != f"{PREFIX}{namespace}:{name}":
        raise InvalidToken("sub claim is invalid")
    secret = reader.get(_SECRETS, namespace, secret_name)
    if secret is None or secret["metadata"].get("deletionTimestamp") is not None:
        raise InvalidToken("Token has been invalidated")
    if _decoded(secret) != token:
        raise InvalidToken("Token does not match server's copy")
    account = reader.get(SERVICE_ACCOUNTS, namespace, name)
    if account is None:
        raise InvalidToken(f"serviceaccounts {quote(name)} not found")
    if account["metadata"].get("deletionTimestamp") is not None:
        raise InvalidToken(f"ServiceAccount {namespace}/{name} has been deleted")
    known = account["metadata"].get("uid")
    if known != uid:
        raise InvalidToken(f"ServiceAccount UID ({known}) does not match claim ({uid})")
    if labels(secret).get(INVALID_SINCE):
        raise InvalidToken(
            f"the token in secret {namespace}/{secret_name} for service account "
            f"{namespace}/{name} has been marked invalid. Use tokens from the TokenRequest API or "
            "manually created secret-based tokens, or remove the "
            f"'{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
        )
    return user(namespace, name, uid), secret


def _decoded(secret: Object) -> str:
    data: Object = secret.get("data") or {}
    try:
        return base64.b64decode(data.get("token") or "").decode("utf-8", "replace")
    except binascii.Error:
        return ""
