"""RBAC: whoever is bound to a role may do what its rules say.

The law: rights only add up, so that the first rule that allows decides, cluster role bindings
before those of the namespace.  Roles and bindings are read from the server's watch caches; what was
decided is remembered until one of these changes.

Follows `plugin/pkg/auth/authorizer/rbac/rbac.go` and `pkg/registry/rbac/validation/rule.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apiserver.authorizer_node import NODES, PREFIX
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.rbac import rules
from pytest_kubesim.registry.rbac.escalation import GROUP

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.filters.authorization import Attributes, Decision
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.apiserver.storage.cacher import Cacher
    from pytest_kubesim.registry.rbac.escalation import LostRole
    from pytest_kubesim.wire import UserInfo

_RESOURCES = ("clusterrolebindings", "rolebindings", "clusterroles", "roles")
_SINGULAR = {"ClusterRole": "clusterrole", "Role": "role"}
_ACCOUNT = "system:serviceaccount:"

_Key: TypeAlias = tuple[str, ...]
_Verdict: TypeAlias = tuple["tuple[tuple[frozenset[str] | None, str], ...]", str]
"""What allows (for which names, None: all; why), and what is wrong with the bindings."""


@attrs.frozen
class _Bound:
    """A binding that holds for somebody, as far as it matters."""

    position: int
    role: LostRole
    source: str


class _Bindings:
    """The bindings of the cluster or of one namespace, by whom they name."""

    def __init__(self, bindings: Iterable[Object], namespace: str) -> None:
        self.users: dict[str, list[_Bound]] = {}
        self.groups: dict[str, list[_Bound]] = {}
        for position, binding in enumerate(bindings):
            self._add(position, binding, namespace)

    def _add(self, position: int, binding: Object, namespace: str) -> None:
        ref = parts.struct(binding, "roleRef")
        role = (parts.text(ref, "kind"), parts.text(ref, "name"))
        name: str = binding["metadata"]["name"]
        head = f"ClusterRoleBinding {quote(name)}"
        if namespace:
            head = f"RoleBinding {quote(f'{name}/{namespace}')}"
        head = f"{head} of {role[0]} {quote(role[1])} to "
        for subject in parts.structs(binding, "subjects"):
            kind, who = parts.text(subject, "kind"), parts.text(subject, "name")
            if kind == "User":
                table, key, shown = self.users, who, who
            elif kind == "Group":
                table, key, shown = self.groups, who, who
            elif kind == "ServiceAccount":
                home = parts.text(subject, "namespace") or namespace
                table, key, shown = self.users, f"{_ACCOUNT}{home}:{who}", f"{who}/{home}"
                if not home:
                    continue
            else:
                continue
            bound = _Bound(position, role, f"{head}{kind} {quote(shown)}")
            table.setdefault(key, []).append(bound)

    def of(self, user: UserInfo) -> list[_Bound]:
        """The bindings that name a user or one of the user's groups, in order, each once."""
        found = dict[int, _Bound]()
        for bound in self.users.get(user.name, ()):
            found.setdefault(bound.position, bound)
        for group in user.groups:
            for bound in self.groups.get(group, ()):
                found.setdefault(bound.position, bound)
        return [found[position] for position in sorted(found)]


class RBACAuthorizer:
    """Decides for one API server by the roles and bindings that it knows."""

    name = "rbac"

    def __init__(self, server: APIServer) -> None:
        self._server = server
        self._caches: tuple[Cacher, ...] = ()
        self._stamp = -1
        self._bindings: dict[str, _Bindings] = {}
        self._verdicts: dict[_Key, _Verdict] = {}

    # -- deciding -----------------------------------------------------------------------------

    async def authorize(self, attributes: Attributes) -> tuple[Decision, str]:
        """Whether a rule allows it, and by which binding it holds."""
        await self.refresh()
        return self.decide(attributes)

    def decide(self, attributes: Attributes) -> tuple[Decision, str]:
        """The same, by what is known already."""
        user = attributes.user
        if attributes.is_resource:
            key = (
                user.name,
                *user.groups,
                attributes.verb,
                attributes.group,
                attributes.resource,
                attributes.subresource,
                attributes.namespace,
            )
        else:
            key = (user.name, *user.groups, attributes.verb, attributes.path)
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._verdicts[key] = self._verdict(attributes)
        name = attributes.name
        for names, source in verdict[0]:
            if names is None or name in names:
                return "allow", source
        return "no-opinion", verdict[1]

    def _verdict(self, attributes: Attributes) -> _Verdict:
        allowing: list[tuple[frozenset[str] | None, str]] = []
        lost: list[LostRole] = []
        for bound, found in self._visit(attributes.user, attributes.namespace):
            if found is None:
                lost.append(bound.role)
                continue
            for rule in found:
                if not _matches(rule, attributes):
                    continue
                reason = f"RBAC: allowed by {bound.source}"
                names = parts.texts(rule, "resourceNames") if attributes.is_resource else []
                if not names:
                    allowing.append((None, reason))
                    return tuple(allowing), ""
                allowing.append((frozenset(names), reason))
        return tuple(allowing), f"RBAC: {_lost_text(lost)}" if lost else ""

    def _visit(
        self, user: UserInfo, namespace: str
    ) -> Iterator[tuple[_Bound, list[Object] | None]]:
        """What binds the user, with the rules of each role; None for a role that is not there."""
        for place in ("", namespace) if namespace else ("",):
            for bound in self._bindings_of(place).of(user):
                yield bound, self.rules_of_role(*bound.role, place)

    def _bindings_of(self, namespace: str) -> _Bindings:
        found = self._bindings.get(namespace)
        if found is None:
            cluster_wide, namespaced, _, _ = self._caches
            if namespace:
                prefix = f"{namespaced.storage.prefix}/{namespace}/"
                found = _Bindings(namespaced.list(prefix), namespace)
            else:
                found = _Bindings(cluster_wide.list(f"{cluster_wide.storage.prefix}/"), "")
            self._bindings[namespace] = found
        return found

    # -- what is known ------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Have the caches run, and forget what was decided before they last changed."""
        caches = self._caches
        stamp = 0
        for cache in caches:
            if not cache.ready:
                break
            stamp += cache.revision
        else:
            if caches and stamp == self._stamp:
                return
        await self._renew()

    async def _renew(self) -> None:
        server = self._server
        found: list[Cacher] = []
        for plural in _RESOURCES:
            resource = server.catalog.by_resource(GROUP, "v1", plural)
            assert resource is not None
            cache = server.cacher(resource)
            await server.started(cache)
            found.append(cache)
        self._caches = tuple(found)
        self._stamp = sum(cache.revision for cache in found)
        self._bindings = {}
        self._verdicts = _verdicts_of(found)

    # -- `registry.rbac.escalation.Grants` -------------------------------------------------------

    def may(self, user: UserInfo, verb: str, resource: str, namespace: str, name: str) -> bool:
        """Whether a user may do something with a resource of the group."""
        for _, found in self._visit(user, namespace):
            for rule in found or ():
                names = parts.texts(rule, "resourceNames")
                if rules.matches_resource(rule, verb, GROUP, resource, "") and (
                    not names or name in names
                ):
                    return True
        return False

    def rules_of(self, user: UserInfo, namespace: str) -> tuple[list[Object], list[LostRole]]:
        """The rules that a user has, and the roles of theirs that are not there."""
        held: list[Object] = []
        lost: list[LostRole] = []
        for bound, found in self._visit(user, namespace):
            if found is None:
                lost.append(bound.role)
            else:
                held += found
        return held, lost

    def rules_of_role(self, kind: str, name: str, namespace: str) -> list[Object] | None:
        """The rules of a Role or ClusterRole; None if there is no such role."""
        _, _, cluster_roles, roles = self._caches
        if kind == "ClusterRole":
            obj = cluster_roles.objects.get(f"{cluster_roles.storage.prefix}/{name}")
        else:
            obj = roles.objects.get(f"{roles.storage.prefix}/{namespace}/{name}")
        return None if obj is None else parts.structs(obj, "rules")

    # -- `SelfSubjectRulesReview` -----------------------------------------------------------------

    async def rules_for(self, user: UserInfo, namespace: str) -> Object:
        """The status of a `SelfSubjectRulesReview`."""
        await self.refresh()
        held, lost = self.rules_of(user, namespace)
        problems = [_lost_text(lost)] if lost else []
        is_node = user.name.startswith(PREFIX) and NODES in user.groups
        if is_node:
            problems.insert(0, "node authorizer does not support user rule resolution")
        answer: Object = {
            "resourceRules": [
                _picked(rule, "verbs", "apiGroups", "resources", "resourceNames")
                for rule in held
                if parts.texts(rule, "resources")
            ],
            "nonResourceRules": [
                _picked(rule, "verbs", "nonResourceURLs")
                for rule in held
                if parts.texts(rule, "nonResourceURLs")
            ],
            "incomplete": is_node,
        }
        if problems:
            error = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
            answer["evaluationError"] = error
        return answer


_remembered: dict[tuple[Any, ...], tuple[list[Any], dict[_Key, _Verdict]]] = {}
_REMEMBERED = 32
"""How many policies are remembered: those that were used last."""


def _verdicts_of(caches: list[Cacher]) -> dict[_Key, _Verdict]:
    """What has been decided by a policy, in whichever cluster it was: fresh clusters have the same.

    Policies are one where their parts are the same Python objects, as they are in clusters that
    begin with one snapshot; what is remembered holds on to them.
    """
    held: list[Any] = []
    key: list[Any] = []
    for cache in caches:
        for where, obj in cache.objects.items():
            deciding = (obj.get("rules"), obj.get("roleRef"), obj.get("subjects"))
            held.append(deciding)
            key += (where, *map(id, deciding))
    policy = tuple(key)
    found = _remembered.pop(policy, None) or (held, {})
    _remembered[policy] = found
    if len(_remembered) > _REMEMBERED:
        del _remembered[next(iter(_remembered))]
    return found[1]


def _matches(rule: Object, attributes: Attributes) -> bool:
    if not attributes.is_resource:
        return rules.matches_path(rule, attributes.verb, attributes.path)
    return rules.matches_resource(
        rule, attributes.verb, attributes.group, attributes.resource, attributes.subresource
    )


def _picked(rule: Object, *keys: str) -> Object:
    return {key: rule[key] for key in keys if rule.get(key)}


def _lost_text(lost: list[LostRole]) -> str:
    texts = list(
        dict.fromkeys(
            f"{_SINGULAR[kind]}.{GROUP} {quote(name)} not found"
            if kind in _SINGULAR
            else f"unsupported role reference kind: {quote(kind)}"
            for kind, name in lost
        )
    )
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
