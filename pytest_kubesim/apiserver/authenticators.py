"""Tokens: those of a table, and those of service accounts.

A service account's token has the shape of a JWT (header, claims, signature); the signature is an
HMAC with a key that all API servers of a cluster share, or (where others are to check it, outside
this process) a `TokenSigner`'s.  It is good while its time runs and while
the service account, and the pod it is bound to, exist under the same UIDs.

Follows `pkg/serviceaccount/{claims,jwt}.go`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from pytest_kubesim.apimachinery.meta import GroupResource, Object
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.registry.rest import Reader

ISSUER = "https://kubernetes.default.svc"
LEGACY_ISSUER = "kubernetes/serviceaccount"
SERVICE_ACCOUNTS = GroupResource("", "serviceaccounts")
PREFIX = "system:serviceaccount:"


def service_account_user(
    namespace: str, name: str, uid: str = "", extra: Mapping[str, tuple[str, ...]] | None = None
) -> UserInfo:
    """The identity of a service account."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    return UserInfo(f"{PREFIX}{namespace}:{name}", groups, uid, dict(extra or {}))


class TokenSigner(Protocol):
    """Signs service account tokens with a private key whose public half can be published."""

    def sign(self, claims: Object) -> str:
        """A JWT that says so."""
        ...

    def claims(self, token: str) -> Object | None:
        """What a token says, if a key of ours has signed it."""
        ...

    def key_set(self) -> Object:
        """The public keys, a JWKS."""
        ...


class Authenticators:
    """The tokens of one cluster.

    Parameters: `tokens`, users by their bearer tokens; `key` signs those of service accounts.
    """

    def __init__(
        self,
        reader: Reader,
        now_ns: Callable[[], int],
        *,
        tokens: Mapping[str, UserInfo],
        key: bytes,
    ) -> None:
        self.tokens = dict(tokens)
        self.issuers: tuple[str, ...] = (ISSUER,)
        """Who may have issued a token; the first issues ours (`--service-account-issuer`)."""
        self.audiences: tuple[str, ...] = ()
        """Whom tokens are for (`--api-audiences`); (): the issuers."""
        self.signer: TokenSigner | None = None
        self.anonymous = True
        """Whether one may ask without saying who one is (`--anonymous-auth`)."""
        self._reader = reader
        self._now_ns = now_ns
        self._key = key

    def user_of(self, token: str, audiences: tuple[str, ...] = ()) -> UserInfo | None:
        """Whose token it is; None if it is nobody's."""
        found = self.tokens.get(token)
        if found is not None:
            return found
        claims = self.claims(token)
        return None if claims is None else self._service_account(claims, audiences)

    def sign(self, claims: Object) -> str:
        """A token that says so."""
        if self.signer is not None:
            return self.signer.sign(claims)
        header = _part({"alg": "RS256", "kid": "kubesim"})
        body = f"{header}.{_part(claims)}"
        signature = hmac.new(self._key, body.encode(), hashlib.sha256).digest()
        return f"{body}.{_base64(signature)}"

    def claims(self, token: str) -> Object | None:
        """What a token says, if it is one of ours."""
        if self.signer is not None:
            return self.signer.claims(token)
        body, _, signature = token.rpartition(".")
        if body.count(".") != 1:
            return None
        wanted = hmac.new(self._key, body.encode(), hashlib.sha256).digest()
        if not hmac.compare_digest(signature.encode(), _base64(wanted).encode()):
            return None
        try:
            payload = body.partition(".")[2]
            found: Any = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        except (ValueError, binascii.Error):
            return None
        return cast("Object", found) if isinstance(found, dict) else None

    def _service_account(self, claims: Object, audiences: tuple[str, ...]) -> UserInfo | None:
        now = self._now_ns() // NS
        if claims.get("exp", 0) < now or claims.get("nbf", 0) > now:
            return None
        if claims.get("iss") not in (*self.issuers, LEGACY_ISSUER):
            return None
        given: list[str] = claims.get("aud") or []
        if not set(given) & set(audiences or self.audiences or self.issuers):
            return None
        private: Object = claims.get("kubernetes.io") or {}
        namespace: str = private.get("namespace") or ""
        account: Object = private.get("serviceaccount") or {}
        name: str = account.get("name") or ""
        there = self._reader.get(SERVICE_ACCOUNTS, namespace, name)
        if there is None or there["metadata"].get("uid") != account.get("uid"):
            return None
        extra: dict[str, tuple[str, ...]] = {}
        if claims.get("jti"):
            extra["authentication.kubernetes.io/credential-id"] = (f"JTI={claims['jti']}",)
        for kind, resource in (("pod", "pods"), ("secret", "secrets"), ("node", "nodes")):
            bound: Object | None = private.get(kind)
            if bound is None:
                continue
            where = "" if kind == "node" else namespace
            found = self._reader.get(GroupResource("", resource), where, bound["name"])
            if found is None or found["metadata"].get("uid") != bound.get("uid"):
                if kind != "node":
                    return None
            extra[f"authentication.kubernetes.io/{kind}-name"] = (bound["name"],)
            extra[f"authentication.kubernetes.io/{kind}-uid"] = (bound.get("uid") or "",)
        return service_account_user(namespace, name, account.get("uid") or "", extra)


def _part(value: Object) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
