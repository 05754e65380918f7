"""The ttl controller: how long kubelets may trust their copies of secrets and ConfigMaps.

The law: the more nodes, the longer; a boundary is left at another number of nodes than it was
entered, so that it is not crossed at every change.

Follows `pkg/controller/ttl/ttl_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.client_go.resources import NODES
from pytest_kubesim.controller_manager.controller import Controller

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

ANNOTATION = "node.alpha.kubernetes.io/ttl"


class _Boundary(NamedTuple):
    least: int
    most: int
    seconds: int


_BOUNDARIES = (
    _Boundary(0, 100, 0),
    _Boundary(90, 500, 15),
    _Boundary(450, 1000, 30),
    _Boundary(900, 2000, 60),
    _Boundary(1800, 2**31 - 1, 300),
)


class TTLController(Controller):
    """Annotates nodes."""

    name = "ttl-controller"
    service_account = "ttl-controller"
    workers: ClassVar[int] = 5

    def setup(self) -> None:
        """Listen to nodes, and count them."""
        self.count = 0
        self.step = 0
        self.nodes = self.watch(
            NODES, add=self._added, update=self.enqueue_new, delete=self._deleted
        )

    def _added(self, node: Object) -> None:
        self.count += 1
        if self.count > _BOUNDARIES[self.step].most:
            self.step += 1
        self.enqueue(node)

    def _deleted(self, _node: Object) -> None:
        self.count -= 1
        if self.count < _BOUNDARIES[self.step].least:
            self.step -= 1

    async def reconcile(self, key: str) -> None:
        """Annotate one node."""
        node = self.nodes.get(key)
        wanted = str(_BOUNDARIES[self.step].seconds)
        if node is not None and meta.annotations(node).get(ANNOTATION) != wanted:
            patch = {"metadata": {"annotations": {ANNOTATION: wanted}}}
            await self.client.patch(NODES, "", key, patch)


CONTROLLER = TTLController
