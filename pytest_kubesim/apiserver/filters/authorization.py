"""Authorization: may this user do that?

The seam: an `Authorizer` answers `(decision, reason)` with a decision of `allow`, `deny` or
`no-opinion`; a chain of them asks one after the other until one has an opinion.  Members of
`system:masters` may do everything, whatever the others say.

Follows `apiserver/pkg/endpoints/filters/authorization.go` and
`handlers/responsewriters/errors.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

from pytest_kubesim.apimachinery import fields, labels, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver import responses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_kubesim.apimachinery.status import APIStatus
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Response, UserInfo

Decision: TypeAlias = Literal["allow", "deny", "no-opinion"]

MASTERS = "system:masters"
DECISION_NOTE = "authorization.k8s.io/decision"
REASON_NOTE = "authorization.k8s.io/reason"


class Attributes(msgspec.Struct, frozen=True):
    """What somebody wants to do (`authorizer.AttributesRecord`)."""

    user: UserInfo
    verb: str
    path: str = ""
    is_resource: bool = False
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: tuple[fields.Requirement, ...] = ()
    label_selector: tuple[labels.Requirement, ...] = ()

    @classmethod
    def of(cls, scope: RequestScope, *, verb: str = "") -> Attributes:
        """Those of a request; `verb` in place of its own."""
        info = scope.info
        return cls(
            scope.user,
            verb or info.verb,
            info.path,
            info.is_resource,
            info.group,
            info.version,
            info.resource,
            info.subresource,
            info.namespace,
            info.name,
            _selected(scope) if info.verb in _SELECTING else (),
        )


_SELECTING = frozenset({"list", "watch", "deletecollection"})


def _selected(scope: RequestScope) -> tuple[fields.Requirement, ...]:
    """What a field selector demands; nothing if it cannot be read, which the handler refuses."""
    text = scope.param("fieldSelector")
    try:
        return fields.parse(text).requirements if text else ()
    except ValueError:
        return ()


class Authorizer(Protocol):
    """Who decides; what it says against something stands behind its `name`, if it has one."""

    async def authorize(self, attributes: Attributes) -> tuple[Decision, str]:
        """Whether it may be done, and why."""
        ...


class PrivilegedGroups:
    """Members of `system:masters` may do everything (`NewPrivilegedGroups`)."""

    async def authorize(self, attributes: Attributes) -> tuple[Decision, str]:
        """Allows members of the group and has no opinion of others."""
        return ("allow", "") if MASTERS in attributes.user.groups else ("no-opinion", "")


class AlwaysAllow:
    """Everybody may do everything (`--authorization-mode=AlwaysAllow`)."""

    async def authorize(self, attributes: Attributes) -> tuple[Decision, str]:
        """Allows."""
        del attributes
        return "allow", ""


class Union:
    """Several authorizers: the first that has an opinion decides (`union.New`)."""

    def __init__(self, authorizers: Sequence[Authorizer]) -> None:
        self.authorizers = tuple(authorizers)

    async def authorize(self, attributes: Attributes) -> tuple[Decision, str]:
        """Asks one after the other."""
        reasons: list[str] = []
        for authorizer in self.authorizers:
            decision, reason = await authorizer.authorize(attributes)
            if reason:
                name: str = getattr(authorizer, "name", "")
                reasons.append(f"{name}: {reason}" if name else reason)
            if decision != "no-opinion":
                return decision, reason
        return "no-opinion", "\n".join(reasons)


async def with_authorization(scope: RequestScope) -> Response | None:
    """Lets the request pass, or answers 403."""
    noted = scope.audit
    if MASTERS in scope.user.groups:
        noted[DECISION_NOTE], noted[REASON_NOTE] = "allow", ""
        return None
    attributes = Attributes.of(scope)
    decision, reason = await scope.server.authorize(attributes)
    noted[DECISION_NOTE] = "allow" if decision == "allow" else "forbid"
    noted[REASON_NOTE] = reason
    if decision != "allow":
        answer = responses.refusal(scope, forbidden(attributes, reason))
        answer.headers = (*answer.headers, ("X-Content-Type-Options", "nosniff"))
        return answer
    return None


def forbidden(attributes: Attributes, reason: str) -> APIStatus:
    """403 in the words of `ForbiddenStatusError`."""
    name = attributes.name
    problem = _problem(attributes)
    if reason:
        problem = f"{problem}: {reason}"
    if attributes.is_resource:
        resource = GroupResource(attributes.group, attributes.resource)
        return status.new_forbidden(resource, name, problem)
    return status.new_forbidden(GroupResource("", ""), name, problem)


def _problem(attributes: Attributes) -> str:
    who = quote(attributes.user.name)
    if not attributes.is_resource:
        return _sanitized(f"User {who} cannot {attributes.verb} path {quote(attributes.path)}")
    resource = attributes.resource
    if attributes.subresource:
        resource = f"{resource}/{attributes.subresource}"
    text = (
        f"User {who} cannot {attributes.verb} resource {quote(resource)} in API group "
        f"{quote(attributes.group)}"
    )
    if attributes.namespace:
        return _sanitized(f"{text} in the namespace {quote(attributes.namespace)}")
    return _sanitized(f"{text} at the cluster scope")


def _sanitized(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
