"""The service CIDR controller: ranges of service addresses are ready, and go when they are empty.

Follows `pkg/controller/servicecidrs/servicecidrs_controller.go`.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import meta, status, timestamps
from pytest_kubesim.client_go.resources import IPADDRESSES, SERVICECIDRS
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller, Result
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_kubesim.apimachinery.meta import Object

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
MANAGED_BY, ALLOCATOR = "ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"
GRACE_NS = 10 * NS

READY_MESSAGE = "Kubernetes Service CIDR is ready"
IN_USE = (
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new "
    "ServiceCIDR"
)

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(cidr: Object) -> list[_Network]:
    found: list[_Network] = []
    for text in fields.texts(fields.spec(cidr), "cidrs"):
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError:
            continue
    return found


def _contains(outer: _Network, inner: _Network) -> bool:
    if isinstance(outer, ipaddress.IPv4Network):
        return isinstance(inner, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(inner, ipaddress.IPv6Network) and inner.subnet_of(outer)


class ServiceCIDRController(Controller):
    """Keeps service CIDRs."""

    name = "service-cidr-controller"
    service_account = "service-cidrs-controller"
    workers: ClassVar[int] = 5
    max_retries: ClassVar[int | None] = 15

    def setup(self) -> None:
        """Listen to ranges, and to the addresses in them."""
        self.cidrs = self.watch(
            SERVICECIDRS, add=self._added, update=self.enqueue_new, delete=self.enqueue
        )
        self.addresses = self.watch(IPADDRESSES, add=self._address, delete=self._address)

    def _added(self, cidr: Object) -> None:
        self.enqueue(cidr)
        mine = _networks(cidr)
        for other in self.cidrs.list():
            if other is not cidr and any(
                a.overlaps(b) for a in mine for b in _networks(other) if a.version == b.version
            ):
                self.enqueue(other)

    def _address(self, address: Object) -> None:
        if meta.labels(address).get(MANAGED_BY) == ALLOCATOR:
            for cidr in self._containing(meta.name(address)):
                self.enqueue(cidr)

    def _containing(self, address: str) -> Iterator[Object]:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return
        for cidr in self.cidrs.list():
            if any(parsed in network for network in _networks(cidr)):
                yield cidr

    async def reconcile(self, key: str) -> Result | None:
        """Make one range ready, or let it go."""
        cidr = self.cidrs.get(key)
        if cidr is None:
            return None
        deleted = meta.deletion_timestamp(cidr)
        if deleted is None:
            if FINALIZER not in meta.finalizers(cidr):
                await self._patch(key, {"finalizers": [FINALIZER]})
            try:
                await self._condition(cidr, "True", "", READY_MESSAGE)
            except RETRIABLE:
                self.event(
                    cidr, "Warning", "KubernetesServiceCIDRError",
                    "The ServiceCIDR Status can not be set to Ready=True",
                )
                raise
            return None
        if not self._may_go(cidr):
            await self._condition(cidr, "False", "Terminating", IN_USE)
            return None
        left_ns = timestamps.parse_time(deleted) + GRACE_NS - self.now_ns()
        if left_ns > 0:
            return Result(left_ns)
        if FINALIZER in meta.finalizers(cidr):
            await self._patch(key, {"$deleteFromPrimitiveList/finalizers": [FINALIZER]})
        return None

    def _may_go(self, cidr: Object) -> bool:
        name, mine = meta.name(cidr), _networks(cidr)
        others = [other for other in self.cidrs.list() if meta.name(other) != name]
        if all(
            any(_contains(outer, network) for other in others for outer in _networks(other))
            for network in mine
        ):
            return True
        for address in self.addresses.list():
            if meta.labels(address).get(MANAGED_BY) != ALLOCATOR:
                continue
            holders = [meta.name(holder) for holder in self._containing(meta.name(address))]
            if holders == [name]:
                return False
        return True

    async def _patch(self, name: str, metadata: Object) -> None:
        try:
            await self.client.patch(SERVICECIDRS, "", name, {"metadata": metadata})
        except status.APIStatus as error:
            if not status.is_not_found(error):
                raise

    async def _condition(self, cidr: Object, state: str, reason: str, message: str) -> None:
        known = meta.condition(cidr, "Ready")
        if known is not None and (
            known["status"], known.get("reason", ""), known.get("message")
        ) == (state, reason, message):
            return
        condition = {
            "type": "Ready", "status": state, "reason": reason, "message": message,
            "lastTransitionTime": self.now(),
        }
        body = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": meta.name(cidr)},
            "status": {"conditions": [condition]},
        }
        await self.client.patch(
            SERVICECIDRS, "", meta.name(cidr), body, patch_type="apply", subresource="status",
            field_manager=self.name, force=True,
        )


CONTROLLER = ServiceCIDRController
