"""Authentication: who asks?

In this order: a user that a trusted in-process client says it is, a client certificate, a bearer
token (one of the table, or a service account's), else anonymous.

Follows `apiserver/pkg/endpoints/filters/authentication.go` and `pkg/kubeapiserver/authenticator`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import status
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Response

AUTHENTICATED = "system:authenticated"
ANONYMOUS = UserInfo("system:anonymous", ("system:unauthenticated",))


async def with_authentication(scope: RequestScope) -> Response | None:
    """Finds out who asks.  Raises `APIStatus` (401) for a token that is none."""
    request = scope.request
    if request.user is not None:
        scope.user = request.user
        return None
    header = request.header("authorization")
    if header:
        scheme, _, token = header.strip().partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            user = scope.server.authenticators.user_of(token.strip())
            if user is None:
                raise status.new_unauthorized("Unauthorized")
            scope.user = with_group(user)
            return None
    if request.certificate is not None:
        scope.user = with_group(request.certificate)
        return None
    if not scope.server.authenticators.anonymous:
        raise status.new_unauthorized("Unauthorized")
    scope.user = ANONYMOUS
    return None


def with_group(user: UserInfo) -> UserInfo:
    """The user as one of those who are known (`AuthenticatedGroupAdder`)."""
    if AUTHENTICATED in user.groups or user.name == ANONYMOUS.name:
        return user
    return attrs.evolve(user, groups=(*user.groups, AUTHENTICATED))
