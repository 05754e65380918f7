"""The cluster role aggregation controller: roles that are sums of other roles.

The law: the rules of the parts in the order of their names, each once; what else the sum has is
taken away, by an apply that is forced.

Follows `pkg/controller/clusterroleaggregation/clusterroleaggregation_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import labels, meta
from pytest_kubesim.client_go.resources import CLUSTERROLES
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import Controller, SyncError

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

FIELD_MANAGER = "clusterrole-aggregation-controller"
_FIELDS = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")


class ClusterRoleAggregationController(Controller):
    """Adds up cluster roles."""

    name = "clusterrole-aggregation-controller"
    service_account = "clusterrole-aggregation-controller"
    workers: ClassVar[int] = 5

    def setup(self) -> None:
        """Listen to cluster roles: any may be a part of any sum."""
        self.sums: dict[str, None] = {}
        self.roles = self.watch(
            CLUSTERROLES, add=self._added, update=self._updated, delete=self._deleted
        )

    def _added(self, role: Object) -> None:
        if role.get("aggregationRule") is not None:
            self.sums[key_of(role)] = None
        else:
            self.sums.pop(key_of(role), None)
        self._enqueue_all()

    def _updated(self, _old: Object, role: Object) -> None:
        self._added(role)

    def _deleted(self, role: Object) -> None:
        self.sums.pop(key_of(role), None)
        self._enqueue_all()

    def _enqueue_all(self) -> None:
        for key in self.sums:
            self.queue.add(key)

    async def reconcile(self, key: str) -> None:
        """Add up one cluster role."""
        role = self.roles.get(key)
        if role is None or role.get("aggregationRule") is None:
            return
        rules: dict[tuple[tuple[str, ...], ...], Object] = {}
        for selector in fields.objects(role["aggregationRule"], "clusterRoleSelectors"):
            try:
                matcher = labels.from_label_selector(selector)
            except ValueError as problem:
                raise SyncError(str(problem)) from None
            parts = [part for part in self.roles.list() if matcher.matches(meta.labels(part))]
            for part in sorted(parts, key=meta.name):
                if meta.name(part) == key:
                    continue
                for rule in fields.objects(part, "rules"):
                    rules.setdefault(_meaning(rule), rule)
        if list(rules) == [_meaning(rule) for rule in fields.objects(role, "rules")]:
            return
        wanted: Object = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": key},
        }
        if rules:
            wanted["rules"] = [
                {name: rule[name] for name in _FIELDS if rule.get(name)} for rule in rules.values()
            ]
        await self.client.patch(
            CLUSTERROLES, "", key, wanted, patch_type="apply", field_manager=FIELD_MANAGER,
            force=True,
        )


def _meaning(rule: Object) -> tuple[tuple[str, ...], ...]:
    """Equal for rules that are semantically equal: what is empty and what is absent is the same."""
    return tuple(tuple(rule.get(name) or ()) for name in _FIELDS)


CONTROLLER = ClusterRoleAggregationController
