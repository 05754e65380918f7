"""Tokens: those of a table, and those of service accounts.

A service account's token has the shape of a JWT (header, claims, signature); the signature is an
HMAC with a key that all API servers of a cluster share, or (where others are to check it, outside
this process) a `TokenSigner`'s.  Whether it is good `service_account_tokens` says, and is believed
for ten seconds.

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

from pytest_kubesim.apimachinery.meta import Object, labels
from pytest_kubesim.apimachinery.timestamps import format_time
from pytest_kubesim.apiserver import service_account_tokens
from pytest_kubesim.apiserver.service_account_tokens import LEGACY_ISSUER, InvalidToken
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.registry.rest import Reader

ISSUER = "https://kubernetes.default.svc"
LAST_USED = "kubernetes.io/legacy-token-last-used"
DAY_NS = 24 * 3600 * NS
KEPT_NS = 10 * NS
"""How long it is believed that a token is good (`TokenSuccessCacheTTL`)."""
MOST_KEPT = 4096
_NOTHING: tuple[int, UserInfo | None] = (0, None)


service_account_user = service_account_tokens.user


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
        self.on_use: Callable[[Object, str], object] | None = None
        """Called with a secret whose token is in use, and today."""
        self._kept: dict[tuple[str, tuple[str, ...]], tuple[int, UserInfo | None]] = {}
        self._reader = reader
        self._now_ns = now_ns
        self._key = key

    def user_of(self, token: str, audiences: tuple[str, ...] = ()) -> UserInfo | None:
        """Whose token it is; None if it is nobody's."""
        try:
            return self.authenticate(token, audiences)
        except InvalidToken:
            return None

    def authenticate(self, token: str, audiences: tuple[str, ...] = ()) -> UserInfo | None:
        """Whose token it is, as it was found out at most ten seconds ago.

        None where no authenticator knows it.  Raises `InvalidToken` where one refuses it.
        """
        found = self.tokens.get(token)
        if found is not None:
            return found
        now_ns, key = self._now_ns(), (token, audiences)
        until_ns, user = self._kept.get(key, _NOTHING)
        if user is not None and now_ns < until_ns:
            return user
        user = self._service_account(token, audiences)
        if user is not None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[key] = (now_ns + KEPT_NS, user)
        return user

    def forget(self) -> None:
        """Forget what was found out: the process has ended."""
        self._kept.clear()

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

    def _service_account(self, token: str, audiences: tuple[str, ...]) -> UserInfo | None:
        """Whose token it is; None: nobody's of whom we know.  Raises `InvalidToken`."""
        claims = self.claims(token)
        if claims is None or claims.get("iss") not in (*self.issuers, LEGACY_ISSUER):
            return None
        own = self.audiences or self.issuers
        legacy = claims["iss"] == LEGACY_ISSUER
        given: list[str] = list(own) if legacy else claims.get("aud") or []
        service_account_tokens.check_audiences(given, audiences or own)
        if not legacy:
            return service_account_tokens.checked(claims, self._reader, self._now_ns())
        user, secret = service_account_tokens.checked_legacy(claims, token, self._reader)
        self._note_use(secret)
        return user

    def _note_use(self, secret: Object) -> None:
        """Have it written on a secret that its token is in use, once a day."""
        now_ns = self._now_ns()
        today, tomorrow = (format_time(now_ns + days * DAY_NS)[:10] for days in (0, 1))
        if self.on_use is not None and labels(secret).get(LAST_USED) not in (today, tomorrow):
            self.on_use(secret, today)


def _part(value: Object) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
