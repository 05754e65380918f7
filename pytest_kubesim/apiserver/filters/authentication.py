"""Authentication: who asks?

In this order: a user that a trusted in-process client says it is, a client certificate, a bearer
token (one of the table, or a service account's) in a header or, of a browser, among the
subprotocols of its WebSocket; else anonymous.  The first that knows the client decides.

Follows `apiserver/pkg/endpoints/filters/authentication.go`, `pkg/kubeapiserver/authenticator` and
`apiserver/pkg/authentication/request/websocket`.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import status
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Request, Response

AUTHENTICATED = "system:authenticated"
IN_PROTOCOL = "base64url.bearer.authorization.k8s.io."
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
ANONYMOUS = UserInfo("system:anonymous", ("system:unauthenticated",))


async def with_authentication(scope: RequestScope) -> Response | None:
    """Finds out who asks.  Raises `APIStatus` (401) for a token that is none."""
    request = scope.request
    if request.user is not None:
        scope.user = request.user
        return None
    if request.certificate is not None:
        scope.user = with_group(request.certificate)
        return None
    tokens = _tokens(request)
    for token in tokens:
        user = scope.server.authenticators.user_of(token)
        if user is not None:
            scope.user = with_group(user)
            return None
    if tokens:
        raise status.new_unauthorized("Unauthorized")
    if not scope.server.authenticators.anonymous:
        raise status.new_unauthorized("Unauthorized")
    scope.user = ANONYMOUS
    return None


def _tokens(request: Request) -> list[str]:
    """The bearer tokens that a request brings, in the order in which they are looked at."""
    found: list[str] = []
    header = request.header("authorization")
    if header:
        scheme, _, token = header.strip().partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            found.append(token.strip())
    if request.header("upgrade").lower() == "websocket":
        protocols = [
            part.strip()
            for name, value in request.headers
            if name == "sec-websocket-protocol"
            for part in value.split(",")
        ]
        encoded = [name for name in protocols if name.startswith(IN_PROTOCOL)]
        if encoded and encoded != [IN_PROTOCOL]:
            found.append(_decoded(encoded, others=len(protocols) > len(encoded)))
    return found


def _decoded(encoded: list[str], *, others: bool) -> str:
    """The token in a subprotocol; "", nobody's, where it is not as it has to be."""
    text = encoded[0].removeprefix(IN_PROTOCOL)
    if len(encoded) > 1 or not others or not _BASE64URL.fullmatch(text):
        return ""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return ""


def with_group(user: UserInfo) -> UserInfo:
    """The user as one of those who are known (`AuthenticatedGroupAdder`)."""
    if AUTHENTICATED in user.groups or user.name == ANONYMOUS.name:
        return user
    return attrs.evolve(user, groups=(*user.groups, AUTHENTICATED))
