"""`kubesim.faults`: where all faults of a run are armed, and what became of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from pytest_kubesim.errors import UsageError
from pytest_kubesim.faults import apiserver, operator
from pytest_kubesim.faults.apiserver import APIFault, APIFaults
from pytest_kubesim.faults.fault import Armed, RequestMatch
from pytest_kubesim.faults.node import Machine, NodeFaults

if TYPE_CHECKING:
    from collections.abc import Mapping


class Ground(apiserver.Ground, Protocol):
    """What the faults need of the cluster."""

    @property
    def nodes(self) -> Mapping[str, Machine]:
        """The machines by node name."""
        ...

    def known_resource(self, plural: str) -> bool:
        """Whether the cluster serves a resource of that plural name."""
        ...


class Faults:
    """The faults of one run."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.armed: list[Armed] = []
        """Every fault that was armed, in order, whatever became of it."""

    def api(
        self,
        *,
        client: str | None = None,
        user: str | None = None,
        verb: str | tuple[str, ...] | None = None,
        resource: str | None = None,
        subresource: str | None = None,
        namespace: str | None = None,
        name: str | None = None,
    ) -> APIFaults:
        """Requests to the API server that are meant; say what happens to them by a method.

        Parameters: `client`, an operator's name (or a component's: `kube-scheduler`, `test`);
        `verb`, one or several, `"read"`, `"write"`; `resource`, plural; and so on.
        Raises: `UsageError` for a verb or resource that there is not.
        """
        if resource is not None and not self._ground.known_resource(resource):
            raise UsageError(
                f"faults: resource={resource!r}: the cluster serves no such resource; give its "
                "plural name, such as 'statefulsets' (a custom one after its CRD was applied)"
            )
        match = RequestMatch(client, user, verb, resource, subresource, namespace, name)
        return APIFaults(match, self._arm_api)

    def _arm_api(self, fault: APIFault) -> Armed:
        return self._keep(apiserver.arm(self._ground, fault))

    def node(self, name: str) -> NodeFaults:
        """A node; say what happens to it by a method.

        Raises: `UsageError` for a node that there is not, listing those there are.
        """
        machines = self._ground.nodes
        if name not in machines:
            there = ", ".join(machines) or "none; add some with kubesim.add_nodes()"
            raise UsageError(f"faults: there is no node {name!r}; there are: {there}")
        return NodeFaults(self._ground, machines[name])

    def crash_operator(
        self, operator_: Any, *, at_write: int, before: bool, then: Callable[[], None]
    ) -> Armed:
        """Crash an operator at its n-th write (`Operator.crash` is the way to say it)."""
        fault = operator.CrashAtWrite(operator_.name, at_write, before)
        return self._keep(operator.arm(self._ground, fault, then))

    def _keep(self, armed: Armed) -> Armed:
        self.armed.append(armed)
        return armed

    def never_struck(self) -> list[Armed]:
        """Those that were armed and have not struck: a test that proves less than it says."""
        return [armed for armed in self.armed if not armed.struck]

    def clear(self) -> None:
        """End all of them."""
        for armed in self.armed:
            armed.disarm()
