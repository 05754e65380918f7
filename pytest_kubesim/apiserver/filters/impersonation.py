"""Impersonation: to act as somebody else, with the right to.

Follows `apiserver/pkg/endpoints/filters/impersonation`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.golang import strings
from pytest_kubesim.apiserver.authenticators import PREFIX
from pytest_kubesim.apiserver.filters.authentication import ANONYMOUS, AUTHENTICATED
from pytest_kubesim.apiserver.filters.authorization import Attributes, forbidden
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Response

_EXTRA = "impersonate-extra-"


async def with_impersonation(scope: RequestScope) -> Response | None:
    """Takes on the identity that the headers ask for.  Raises `APIStatus` (403, 500)."""
    headers = scope.request.headers
    if not any(key.startswith("impersonate-") for key, _ in headers):
        return None
    wanted = scope.request.header("impersonate-user")
    groups = [value for key, value in headers if key == "impersonate-group"]
    uid = scope.request.header("impersonate-uid")
    extra: dict[str, tuple[str, ...]] = {}
    for key, value in headers:
        if key.startswith(_EXTRA):
            name = unquote(key.removeprefix(_EXTRA))
            extra[name] = (*extra.get(name, ()), value)
    if not wanted:
        if not (groups or uid or extra):
            return None
        raise status.new_internal_error(f"requested {strings(groups)} without impersonating a user")
    for attributes in _needed(scope, wanted, groups, uid, extra):
        decision, reason = await scope.server.authorize(attributes)
        if decision != "allow":
            raise forbidden(attributes, reason)
    scope.user = _user(wanted, groups, uid, extra)
    return None


def _needed(
    scope: RequestScope,
    name: str,
    groups: list[str],
    uid: str,
    extra: dict[str, tuple[str, ...]],
) -> list[Attributes]:
    def may(
        resource: str, target: str, *, group: str = "", sub: str = "", ns: str = ""
    ) -> Attributes:
        return Attributes(
            scope.user,
            "impersonate",
            is_resource=True,
            group=group,
            version="v1",
            resource=resource,
            subresource=sub,
            namespace=ns,
            name=target,
        )

    authentication = "authentication.k8s.io"
    parts = name.removeprefix(PREFIX).split(":")
    if name.startswith(PREFIX) and len(parts) == 2:
        found = [may("serviceaccounts", parts[1], ns=parts[0])]
    else:
        found = [may("users", name)]
    found += [may("groups", group) for group in groups]
    for key, values in extra.items():
        found += [may("userextras", value, group=authentication, sub=key) for value in values]
    if uid:
        found.append(may("uids", uid, group=authentication))
    return found


def _user(name: str, groups: list[str], uid: str, extra: dict[str, tuple[str, ...]]) -> UserInfo:
    parts = name.removeprefix(PREFIX).split(":")
    if name.startswith(PREFIX) and len(parts) == 2 and not groups:
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{parts[0]}"]
    if name != ANONYMOUS.name:
        if AUTHENTICATED not in groups and ANONYMOUS.groups[0] not in groups:
            groups = [*groups, AUTHENTICATED]
    elif ANONYMOUS.groups[0] not in groups:
        groups = [*groups, ANONYMOUS.groups[0]]
    return UserInfo(name, tuple(groups), uid, extra)
