"""Impersonation: to act as somebody else, with the right to.

Five ways are tried in order, and the first that allows it decides; if none does, the first
refusal is the answer.  The constrained ways ask twice: for the right to do this request as such a
user (`impersonate-on:<mode>:<verb>`) and for the right to be that user (`impersonate:<mode>`); the
legacy way asks for the right to be that user only (`impersonate`).

Follows `apiserver/pkg/endpoints/filters/impersonation/{constrained_impersonation,mode}.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

import attrs
from msgspec.structs import replace

from pytest_kubesim.apimachinery import status, validation
from pytest_kubesim.apimachinery.formats import name_is_dns_subdomain
from pytest_kubesim.apimachinery.golang import bracketed, quote, strings
from pytest_kubesim.apimachinery.validation import Path
from pytest_kubesim.apiserver.filters.authentication import ANONYMOUS, AUTHENTICATED
from pytest_kubesim.apiserver.filters.authorization import MASTERS, Attributes, forbidden
from pytest_kubesim.apiserver.service_account_tokens import PREFIX
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Response

NODE_PREFIX = "system:node:"
NODES_GROUP = "system:nodes"
UNAUTHENTICATED = ANONYMOUS.groups[0]
NODE_NAME_KEY = "authentication.kubernetes.io/node-name"
MANY_CHECKS = 4
"""From so many groups or values on, the right to all of them is asked for first."""

_EXTRA = "impersonate-extra-"
_GROUP = "authentication.k8s.io"


async def with_impersonation(scope: RequestScope) -> Response | None:
    """Takes on the identity that the headers ask for.  Raises `APIStatus` (400, 403)."""
    for key, _ in scope.request.headers:
        if key.startswith("impersonate-"):
            break
    else:
        return None
    wanted = _wanted(scope)
    if wanted is None:
        return None
    refusal: status.APIStatus | None = None
    for mode, applies in _MODES:
        if not applies(wanted, scope.user):
            continue
        try:
            scope.user = await _Check(scope, wanted, mode).run()
        except status.APIStatus as error:
            refusal = refusal or error
        else:
            scope.constraint = f"impersonate:{mode}" if mode else ""
            return None
    assert refusal is not None
    raise refusal


def _wanted(scope: RequestScope) -> UserInfo | None:
    """Whom the headers name.  Raises `APIStatus` (400) for groups of nobody."""
    headers = scope.request.headers
    name = scope.request.header("impersonate-user")
    uid = scope.request.header("impersonate-uid")
    groups = tuple(value for key, value in headers if key == "impersonate-group")
    extra: dict[str, tuple[str, ...]] = {}
    for key, value in headers:
        if key.startswith(_EXTRA):
            field = unquote(key.removeprefix(_EXTRA))
            extra[field] = (*extra.get(field, ()), value)
    if name:
        return UserInfo(name, groups, uid, extra)
    if not (groups or uid or extra):
        return None
    shown_groups = strings(groups) if groups else "[]string(nil)"
    pairs = ", ".join(f"{quote(key)}:{strings(values)}" for key, values in sorted(extra.items()))
    shown_extra = f"map[string][]string{{{pairs}}}" if extra else "map[string][]string(nil)"
    raise status.new_bad_request(
        f'requested &user.DefaultInfo{{Name:"", UID:{quote(uid)}, Groups:{shown_groups}, '
        f"Extra:{shown_extra}}} without impersonating a user name"
    )


# -- the ways --------------------------------------------------------------------------------------


def _node(name: str) -> str:
    """The node of a node's user name; empty if it is none."""
    node = name.removeprefix(NODE_PREFIX) if name.startswith(NODE_PREFIX) else ""
    return "" if not node or name_is_dns_subdomain(node) else node


def _account(name: str) -> tuple[str, str] | None:
    """Namespace and name of a service account's user name."""
    parts = name.removeprefix(PREFIX).split(":")
    if not name.startswith(PREFIX) or len(parts) != 2 or not all(parts):
        return None
    return parts[0], parts[1]


def _only_name(wanted: UserInfo) -> bool:
    return not (wanted.uid or wanted.groups or wanted.extra)


def _associated(wanted: UserInfo, requestor: UserInfo) -> bool:
    node = _node(wanted.name)
    known = requestor.extra.get(NODE_NAME_KEY, ())
    mine = bool(node) and _account(requestor.name) is not None and tuple(known) == (node,)
    return mine and _only_name(wanted)


def _arbitrary(wanted: UserInfo, requestor: UserInfo) -> bool:
    del requestor
    return _only_name(wanted) and bool(_node(wanted.name))


def _service_account(wanted: UserInfo, requestor: UserInfo) -> bool:
    del requestor
    return _only_name(wanted) and _account(wanted.name) is not None


def _user_info(wanted: UserInfo, requestor: UserInfo) -> bool:
    del requestor
    return not _node(wanted.name) and _account(wanted.name) is None


def _always(wanted: UserInfo, requestor: UserInfo) -> bool:
    del wanted, requestor
    return True


_MODES: tuple[tuple[str, Callable[[UserInfo, UserInfo], bool]], ...] = (
    ("associated-node", _associated),
    ("arbitrary-node", _arbitrary),
    ("serviceaccount", _service_account),
    ("user-info", _user_info),
    ("", _always),
)


class _Check:
    """One way, tried for one request."""

    def __init__(self, scope: RequestScope, wanted: UserInfo, mode: str) -> None:
        self.scope = scope
        self.wanted = wanted
        self.mode = mode
        self.verb = f"impersonate:{mode}" if mode else "impersonate"

    async def run(self) -> UserInfo:
        """The user to be.  Raises `APIStatus` (403)."""
        if self.mode:
            verb = f"impersonate-on:{self.mode}:{self.scope.info.verb}"
            await self._ask(Attributes.of(self.scope, verb=verb))
        groups = await self._name()
        if self.wanted.uid:
            await self._ask(self._may("uids", self.wanted.uid, group=_GROUP))
        await self._groups()
        await self._extra()
        if self.wanted.name == ANONYMOUS.name:
            groups = _with(groups, UNAUTHENTICATED)
        elif UNAUTHENTICATED not in groups:
            groups = _with(groups, AUTHENTICATED)
        return attrs.evolve(self.wanted, groups=groups)

    def _may(self, resource: str, name: str, *, group: str | None = None) -> Attributes:
        if group is None:
            # Users and groups were of the core group before ways were constrained.
            group = _GROUP if self.mode else ""
        return Attributes(
            self.scope.user,
            self.verb,
            is_resource=True,
            group=group,
            version="v1",
            resource=resource,
            name=name,
        )

    async def _ask(self, attributes: Attributes) -> None:
        if MASTERS in attributes.user.groups:
            return
        decision, reason = await self.scope.server.authorize(attributes)
        if decision != "allow":
            raise forbidden(attributes, reason)

    async def _may_all(self, attributes: Attributes) -> bool:
        try:
            await self._ask(attributes)
        except status.APIStatus:
            return False
        return True

    async def _name(self) -> tuple[str, ...]:
        """Asks for the name; the groups that come with it."""
        wanted = self.wanted
        groups = wanted.groups
        asked = self._may("users", wanted.name)
        node, account = _node(wanted.name), _account(wanted.name)
        if self.mode and node:
            name = "*" if self.mode == "associated-node" else node
            asked = replace(asked, resource="nodes", name=name)
            self._no_groups(asked, "node")
            groups = (NODES_GROUP,)
        if account is not None:
            namespace, name = account
            asked = replace(asked, resource="serviceaccounts", namespace=namespace, name=name)
            if self.mode:
                self._no_groups(asked, "service account")
            if not groups:
                groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        await self._ask(asked)
        return groups

    def _no_groups(self, asked: Attributes, what: str) -> None:
        if self.wanted.groups:
            shown = bracketed(quote(group) for group in self.wanted.groups)
            raise forbidden(
                asked, f"when impersonating a {what}, cannot impersonate groups {shown}"
            )

    async def _groups(self) -> None:
        groups = self.wanted.groups
        if not groups:
            return
        asked = self._may("groups", "")
        if self.mode:
            if "" in groups:
                raise forbidden(asked, "impersonating the empty string group is not allowed")
            if MASTERS in groups:
                raise forbidden(
                    replace(asked, name=MASTERS),
                    "impersonating the system:masters group is not allowed",
                )
            if len(groups) >= MANY_CHECKS and await self._may_all(replace(asked, name="*")):
                return
        for group in groups:
            await self._ask(replace(asked, name=group))

    async def _extra(self) -> None:
        extra = self.wanted.extra
        if not extra:
            return
        asked = self._may("userextras", "", group=_GROUP)
        if self.mode:
            problem = _extra_problem(self.wanted)
            if problem:
                raise forbidden(asked, problem)
            large = max(len(extra), sum(map(len, extra.values()))) >= MANY_CHECKS
            if large and await self._may_all(replace(asked, subresource="*", name="*")):
                return
        for key, values in extra.items():
            for value in values:
                await self._ask(replace(asked, subresource=key, name=value))


def _extra_problem(wanted: UserInfo) -> str:
    """`validateExtra`; empty if all is well."""
    for key, values in sorted(wanted.extra.items()):
        if not key:
            return "impersonating the empty string key in extra is not allowed"
        problems = validation.validate_domain_prefixed_path(Path("extra", "key"), key)
        if problems:
            text = validation.aggregate(problems)
            return f"impersonating an invalid key in extra is not allowed: {text}"
        if key != key.lower():
            return f"impersonating a non-lowercase key in extra is not allowed: {quote(key)}"
        if "" in values:
            return "impersonating the empty string value in extra is not allowed"
    return ""


def _with(groups: tuple[str, ...], group: str) -> tuple[str, ...]:
    return groups if group in groups else (*groups, group)
