"""`kubesim.rbac`: which rights an operator has, which it used, and which it lacked.

    kubesim.run(operator, service_account="default/op")
    ...
    assert operator.denied == []
    assert kubesim.rbac.unused("default/op") == []

The law: what counts is what authorization was asked from when the test first used an account (or
`kubesim.rbac`) on; a right is one verb of one resource of one rule, so that a wildcard is used by
anything it allows.  What everybody may do (the bootstrap roles) is nobody's unused right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import msgspec

from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.cluster import operators
from pytest_kubesim.errors import UsageError, suggestion
from pytest_kubesim.faults import wording
from pytest_kubesim.registry.rbac import rules
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_kubesim.apiserver.filters.authorization import Attributes
    from pytest_kubesim.cluster.cluster import Cluster

GROUP = "rbac.authorization.k8s.io"
BOOTSTRAP = "kubernetes.io/bootstrapping"
_NOBODY = UserInfo("")


@attrs.frozen(slots=True)
class Right:
    """One verb on one resource (or path), as a rule of a role gives it.

    `namespace` is that of the binding, "" everywhere; `names`, the only ones meant; `role` is
    `"Role/name"` or `"ClusterRole/name"`, "" where it is none's.
    """

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    names: tuple[str, ...] = ()
    role: str = ""

    def __str__(self) -> str:
        what = f"{self.resource}.{self.group}" if self.group else self.resource
        names = f" {', '.join(self.names)}" if self.names else ""
        where = f" in {self.namespace}" if self.namespace else ""
        by = f" ({self.role})" if self.role else ""
        return f"{self.verb} {what}{names}{where}{by}"


@wording.answering("kubesim.rbac", "given", "used", "unused", "missing", "minimal")
class Rights:
    """What authorization was asked, by user."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._asked: dict[str, dict[str, tuple[Attributes, bool]]] = {}
        for server in cluster.control_plane.servers:
            server.on_authorize.append(self._heard)

    def _heard(self, attributes: Attributes, decision: str) -> None:
        question = msgspec.structs.replace(
            attributes, user=_NOBODY, field_selector=(), label_selector=(), version=""
        )
        key = repr(question)
        self._asked.setdefault(attributes.user.name, {})[key] = (question, decision == "allow")

    def given(self, service_account: str) -> list[Right]:
        """The rights that roles give an account, `"namespace/name"`; in the order of the rules."""
        namespace, name = self._account(service_account)
        found: dict[Right, None] = {}
        for binding, where in self._bindings():
            if not _names(binding, where, namespace, name):
                continue
            ref: Object = binding["roleRef"]
            kind = ref["kind"]
            role = self._read(kind, where if kind == "Role" else "", ref["name"])
            for rule in (role or {}).get("rules") or ():
                for right in _rights(rule, where, f"{kind}/{ref['name']}"):
                    found[right] = None
        return list(found)

    def used(self, service_account: str) -> list[Right]:
        """The rights of an account that it has used."""
        allowed = self._of(service_account, allowed=True)
        return [r for r in self.given(service_account) if any(_covers(r, a) for a in allowed)]

    def unused(self, service_account: str) -> list[Right]:
        """The rights of an account that it has never used: what its roles may do without."""
        used = set(self.used(service_account))
        return [right for right in self.given(service_account) if right not in used]

    def missing(self, service_account: str) -> list[Right]:
        """What an account was refused, each once: what its roles lack."""
        refused = self._of(service_account, allowed=False)
        found: dict[Right, None] = {}
        for each in refused:
            resource = f"{each.resource}/{each.subresource}" if each.subresource else each.resource
            found[Right(each.verb, resource or each.path, each.group, each.namespace)] = None
        return list(found)

    def minimal(self, service_account: str) -> list[Object]:
        """Rules of a role that would do for all that an account has asked for."""
        asked = [*self._of(service_account, allowed=True), *self.missing(service_account)]
        verbs: dict[tuple[str, str], dict[str, None]] = {}
        for each in asked:
            resource = each.resource
            if not isinstance(each, Right) and each.subresource:
                resource = f"{resource}/{each.subresource}"
            if resource and not resource.startswith("/"):
                verbs.setdefault((each.group, resource), {})[each.verb] = None
        return [
            {"apiGroups": [group], "resources": [resource], "verbs": sorted(found)}
            for (group, resource), found in sorted(verbs.items())
        ]

    # -- inside -------------------------------------------------------------------------------

    def _account(self, text: str) -> tuple[str, str]:
        """Namespace and name.  Raises: `UsageError` for an account that nobody knows of."""
        namespace, name = _account(text)
        user = f"system:serviceaccount:{namespace}:{name}"
        if user not in self._asked and not operators.is_account(self._cluster, namespace, name):
            there = operators.accounts(self._cluster)
            raise UsageError(
                f"rbac: {text!r}: there is no such ServiceAccount, no binding of it, and nobody "
                "has asked as it;",
                f"{suggestion(text, there)}there are {', '.join(there) or 'none'}",
            )
        return namespace, name

    def _of(self, service_account: str, *, allowed: bool) -> list[Attributes]:
        namespace, name = self._account(service_account)
        asked = self._asked.get(f"system:serviceaccount:{namespace}:{name}", {})
        return [each for each, was_allowed in asked.values() if was_allowed == allowed]

    def _bindings(self) -> Iterator[tuple[Object, str]]:
        for kind in ("ClusterRoleBinding", "RoleBinding"):
            resource = self._cluster.names.resource(f"{kind.lower()}s.{GROUP}")
            for obj in self._cluster.control_plane.read_all(resource):
                labels: Object = obj["metadata"].get("labels") or {}
                if BOOTSTRAP not in labels:
                    yield obj, obj["metadata"].get("namespace") or ""

    def _read(self, kind: str, namespace: str, name: str) -> Object | None:
        resource = self._cluster.names.resource(f"{kind.lower()}s.{GROUP}")
        return self._cluster.control_plane.read(resource, namespace, name)


def _account(text: str) -> tuple[str, str]:
    namespace, slash, name = text.partition("/")
    if not slash or not name or "/" in name:
        raise UsageError(f"rbac: {text!r}: write a service account as 'namespace/name'")
    return namespace, name


def _names(binding: Object, where: str, namespace: str, name: str) -> bool:
    """Whether a binding names an account, or the service accounts it is one of."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    for subject in binding.get("subjects") or ():
        kind, who = subject.get("kind"), subject.get("name")
        home = subject.get("namespace") or where
        if kind == "ServiceAccount" and (home, who) == (namespace, name):
            return True
        if kind == "User" and who == f"system:serviceaccount:{namespace}:{name}":
            return True
        if kind == "Group" and who in groups:
            return True
    return False


def _rights(rule: Object, namespace: str, role: str) -> Iterator[Right]:
    names = tuple(rule.get("resourceNames") or ())
    for verb in rule.get("verbs") or ():
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                yield Right(verb, resource, group, namespace, names, role)
        for url in rule.get("nonResourceURLs") or ():
            yield Right(verb, url, "", "", (), role)


def _covers(right: Right, asked: Attributes) -> bool:
    if right.namespace and right.namespace != asked.namespace:
        return False
    if not asked.is_resource:
        rule: Object = {"verbs": [right.verb], "nonResourceURLs": [right.resource]}
        return rules.matches_path(rule, asked.verb, asked.path)
    rule = {
        "verbs": [right.verb], "apiGroups": [right.group], "resources": [right.resource],
    }
    if right.names and asked.name not in right.names:
        return False
    return rules.matches_resource(
        rule, asked.verb, asked.group, asked.resource, asked.subresource
    )
