"""Nobody may grant what they do not have: the check before roles and bindings are written.

The law: members of `system:masters` may; so may who has the verb `escalate` on the role, or `bind`
on the role that is bound; all others must hold every right that they give.  Where a server does
not decide by roles, everybody may.

Follows `pkg/registry/rbac/{escalation_check,helpers}.go`,
`pkg/registry/rbac/*/policybased/storage.go` and `pkg/registry/rbac/validation/rule.go`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from pytest_kubesim.apimachinery import golang, status
from pytest_kubesim.apimachinery.meta import GroupResource, Object
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.rbac import rules
from pytest_kubesim.registry.strategies import semantically_equal

if TYPE_CHECKING:
    from pytest_kubesim.registry.rest import Context
    from pytest_kubesim.wire import UserInfo

GROUP = "rbac.authorization.k8s.io"
STATE = "rbac"
"""Under this name in `Context.state` the API server keeps its `Grants`."""
MASTERS = "system:masters"


LostRole: TypeAlias = tuple[str, str]
"""Kind and name of a role that a binding names and that is not there."""


class Grants(Protocol):
    """Who holds which rights, as of now."""

    def may(self, user: UserInfo, verb: str, resource: str, namespace: str, name: str) -> bool:
        """Whether a user may do something with a resource of the group."""
        ...

    def rules_of(self, user: UserInfo, namespace: str) -> tuple[list[Object], list[LostRole]]:
        """The rules that a user has, and the roles of theirs that are not there."""
        ...

    def rules_of_role(self, kind: str, name: str, namespace: str) -> list[Object] | None:
        """The rules of a Role or ClusterRole; None if there is no such role."""
        ...


def _grants(ctx: Context) -> Grants | None:
    """Who must be asked; None if the user may do everything."""
    if MASTERS in ctx.user.groups:
        return None
    found: Grants | None = ctx.state.get(STATE)
    return found


def check_role(ctx: Context, resource: str, obj: Object, old: Object | None) -> None:
    """May the user write this role?  Raises `APIStatus` (403)."""
    grants = _grants(ctx)
    name = ctx.name
    if grants is None or grants.may(ctx.user, "escalate", resource, ctx.namespace, name):
        return
    if old is not None and _only_collects_garbage(obj, old):
        return
    shown: str = obj["metadata"].get("name") or ""
    _confirm(ctx, grants, parts.structs(obj, "rules"), resource, shown)
    if any(_aggregates(each) for each in (obj, old)):
        problem = _problem(ctx, grants, rules.FULL_AUTHORITY, resource)
        if problem:
            text = "must have cluster-admin privileges to use the aggregationRule"
            raise status.new_forbidden(GroupResource(GROUP, resource), shown, text)


def _aggregates(role: Object | None) -> bool:
    return bool(parts.struct(role, "aggregationRule").get("clusterRoleSelectors"))


def check_binding(ctx: Context, resource: str, obj: Object, old: Object | None) -> None:
    """May the user give that role to somebody?  Raises `APIStatus` (403, 404)."""
    grants = _grants(ctx)
    if grants is None or (old is not None and _only_collects_garbage(obj, old)):
        return
    role = parts.struct(obj, "roleRef")
    kind, name = parts.text(role, "kind"), parts.text(role, "name")
    plural = {"Role": "roles", "ClusterRole": "clusterroles"}.get(kind)
    if plural and grants.may(ctx.user, "bind", plural, ctx.namespace, name):
        return
    if plural is None:
        text = f"unsupported role reference kind: {golang.quote(kind)}"
        # A Go error that nobody has turned into a Status: 500 without a reason.
        raise status.APIStatus(500, "", text)
    found = grants.rules_of_role(kind, name, ctx.namespace)
    if found is None:
        # The error names the resource of the request, not that of the role.
        raise status.new_not_found(GroupResource(GROUP, resource), name)
    _confirm(ctx, grants, found, resource, obj["metadata"].get("name") or "")


def _only_collects_garbage(obj: Object, old: Object) -> bool:
    """Whether nothing but owners and finalizers changes (`IsOnlyMutatingGCFields`)."""
    ignored = {"ownerReferences", "finalizers", "managedFields"}
    new, before = (
        {**each, "metadata": {k: v for k, v in each["metadata"].items() if k not in ignored}}
        for each in (obj, old)
    )
    return semantically_equal(new, before)


def _confirm(
    ctx: Context, grants: Grants, wanted: Iterable[Object], resource: str, name: str
) -> None:
    problem = _problem(ctx, grants, wanted, resource)
    if problem:
        raise status.new_forbidden(GroupResource(GROUP, resource), name, problem)


def _problem(ctx: Context, grants: Grants, wanted: Iterable[Object], resource: str) -> str:
    """What the user would give without having it (`ConfirmNoEscalation`)."""
    owned, lost = grants.rules_of(ctx.user, ctx.namespace)
    lacking = rules.missing(owned, wanted)
    if not lacking:
        return ""
    lines = sorted({rules.text_of(rule) for rule in rules.compact(lacking)})
    groups = " ".join(map(golang.quote, ctx.user.groups))
    text = (
        f"user {golang.quote(ctx.user.name)} (groups=[{groups}]) is attempting to grant RBAC "
        "permissions not currently held:\n" + "\n".join(lines)
    )
    if lost:
        where = GroupResource(GROUP, resource)
        texts = list(dict.fromkeys(f"{where} {golang.quote(role)} not found" for _, role in lost))
        errors = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
        text += f"; resolution errors: [{errors}]"
    return text
