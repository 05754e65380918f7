"""Which devices a node can give to claims: a search for the first combination that fits.

The law: claims, requests and devices are tried in their order, the first solution is taken; a
device is given once (but for admin access and for devices that are shared, as far as their capacity
goes), not while it has a taint that is not tolerated, and only within its pool's shared counters;
constraints hold among all devices of a claim.  Of alternatives the first that leads to a solution
is taken.

Follows `Allocate` of
`dynamic-resource-allocation/structured/internal/incubating/allocator_incubating.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from pytest_kubesim.apimachinery import meta, quantity
from pytest_kubesim.scheduler import consumable_capacity as capacities
from pytest_kubesim.scheduler import devices as dev
from pytest_kubesim.scheduler.consumable_capacity import CapacityError
from pytest_kubesim.scheduler.devices import Device, Pool, SelectorError
from pytest_kubesim.scheduler.node_selection import NOTHING, tolerated

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

DeviceID: TypeAlias = tuple[str, str, str]
"""Driver, pool and name."""

MAX_RESULTS = 32
"""How many devices a claim may have (`AllocationResultsMaxSize`)."""
_EXCEEDED = object()


class AllocationError(Exception):
    """Something is wrong with a claim or a class: no node can help."""


class NodeError(Exception):
    """Something is wrong with the devices of this node: another one may help."""


@attrs.define(slots=True, eq=False)
class Given:
    """What is given already: whole devices, and what is consumed of those that are shared."""

    devices: set[DeviceID] = attrs.field(factory=set["DeviceID"])
    shared: dict[DeviceID, dict[str, str]] = attrs.field(
        factory=dict["DeviceID", "dict[str, str]"]
    )

    @classmethod
    def by(cls, allocations: Iterable[Object]) -> Given:
        """What those allocations give, admin access aside."""
        found = cls()
        for allocation in allocations:
            for result in (allocation.get("devices") or NOTHING).get("results") or ():
                key = (result["driver"], result["pool"], result["device"])
                if result.get("adminAccess"):
                    continue
                if result.get("shareID") is None:
                    found.devices.add(key)
                    continue
                used = found.shared.setdefault(key, {})
                for name, amount in (result.get("consumedCapacity") or NOTHING).items():
                    used[name] = quantity.add(used.get(name, "0"), amount)
        return found


@attrs.frozen(slots=True, eq=False)
class Request:
    """One request of a claim, or one alternative of it."""

    claim: int
    name: str
    spec: Object
    class_: Object
    count: int
    all: tuple[Device, ...] | None = None
    """The devices, where all of them are asked for."""

    @property
    def admin(self) -> bool:
        """Whether devices are given beside those who use them."""
        return bool(self.spec.get("adminAccess"))

    @property
    def wanted(self) -> Mapping[str, str]:
        """The capacity that is asked for."""
        return (self.spec.get("capacity") or NOTHING).get("requests") or NOTHING


@attrs.frozen(slots=True, eq=False)
class Choice:
    """A device that is given to a request, with the share of it that is."""

    request: Request
    device: Device
    consumed: Mapping[str, str] | None = None


class Allocator:
    """A search on one node.

    Parameters: `claims` to allocate; `classes` by name; `pools` of the node; `given` already, by
    others; `node`, its name; `here(selector)`, whether it matches a node selector.
    """

    def __init__(
        self,
        claims: list[Object],
        classes: Callable[[str], Object | None],
        pools: list[Pool],
        given: Given,
        node: str,
        here: Callable[[Object], bool],
    ) -> None:
        self._claims = claims
        self._classes = classes
        self._pools = pools
        self._given = given
        self._node = node
        self._here = here
        self._selected: dict[tuple[int, str, DeviceID], bool] = {}
        self._counters: dict[tuple[str, str], dict[tuple[str, str], int]] = {}
        self._taken: dict[DeviceID, list[int]] = {}
        self._shares: dict[DeviceID, list[Mapping[str, str]]] = {}
        self._wanted: list[list[list[Request]]] = []
        self._choices: list[list[Choice]] = [[] for _ in claims]

    def allocate(self) -> list[list[Choice]] | None:
        """The devices for each claim, or None if the node has no such devices.

        Raises: `AllocationError`, `NodeError`.
        """
        for number, claim in enumerate(self._claims):
            self._wanted.append(self._requests(number, claim))
        if self._claim(0) is True:
            return self._choices
        if any(pool.invalid for pool in self._pools):
            raise NodeError("invalid resource pools were encountered")
        return None

    # -- what is asked for --------------------------------------------------------------------

    def _requests(self, number: int, claim: Object) -> list[list[Request]]:
        """The requests of a claim, each with its alternatives."""
        found: list[list[Request]] = []
        least = 0
        for request in (claim["spec"].get("devices") or NOTHING).get("requests") or ():
            if request.get("exactly") is not None:
                made = [self._request(number, request["name"], request["exactly"])]
            else:
                made = [
                    self._request(number, f"{request['name']}/{sub['name']}", sub)
                    for sub in request.get("firstAvailable") or ()
                ]
            found.append(made)
            count = min(each.count for each in made)
            if count > MAX_RESULTS - least:
                raise AllocationError(
                    f"claim {shown(claim)}, request {request['name']}: adding {count} devices "
                    f"exceeds the claim limit of {MAX_RESULTS}, with {least} already accounted for"
                )
            least += count
        return found

    def _request(self, number: int, name: str, spec: Object) -> Request:
        own = name.rpartition("/")[2]
        where = f"claim {shown(self._claims[number])}, request {own}"
        class_ = self._classes(spec["deviceClassName"])
        if class_ is None:
            wanted = spec["deviceClassName"]
            raise AllocationError(
                f"{where}: could not retrieve device class {wanted}: "
                f'deviceclass.resource.k8s.io "{wanted}" not found'
            )
        if spec.get("allocationMode") != "All":
            return Request(number, name, spec, class_, spec.get("count") or 1)
        request = Request(number, name, spec, class_, 0)
        devices: list[Device] = []
        for pool in self._pools:
            state = "being updated" if pool.incomplete else "invalid" if pool.invalid else ""
            if state:
                raise AllocationError(
                    f"{where}: asks for all devices, but resource pool {pool} is currently {state}"
                )
            devices += [
                device
                for device in pool.devices
                if self._is_selected(request, device) and self._has_room(request, device, [])
            ]
        return attrs.evolve(request, count=len(devices), all=tuple(devices))

    # -- the search: each step is true, false, or says that a claim has no place for more ---------

    def _claim(self, number: int) -> Any:
        """Serve the claims from `number` on."""
        if number == len(self._claims):
            return True
        found = self._next(number, 0)
        # Another choice for an earlier claim may lead to alternatives that need less.
        return False if found is _EXCEEDED else found

    def _next(self, number: int, at: int) -> Any:
        """Serve the claim's requests from `at` on, and the claims after it."""
        if at == len(self._wanted[number]):
            return self._claim(number + 1)
        alternatives = self._wanted[number][at]
        if "/" not in alternatives[0].name:
            return self._devices(alternatives[0], at, 0, 0)
        exceeded = True
        for request in alternatives:
            found = self._devices(request, at, 0, 0)
            if found is True:
                return True
            exceeded = exceeded and found is _EXCEEDED
        return _EXCEEDED if exceeded else False

    def _devices(self, request: Request, at: int, taken: int, start: int) -> Any:
        """Give `request` the rest of its devices, from the `start`th of the node on."""
        if request.all is not None and not request.all:
            return False
        if taken == request.count:
            return self._next(request.claim, at + 1)
        if request.count - taken > MAX_RESULTS - len(self._choices[request.claim]):
            return _EXCEEDED
        if request.all is not None:
            undo = self._take(request, request.all[taken], must=True)
            return undo is not None and self._go_on(request, at, taken, 0, undo)
        usable = [p for p in self._pools if not p.incomplete and not p.invalid]
        devices = [device for pool in usable for device in pool.devices]
        for place in range(start, len(devices)):
            device = devices[place]
            if not self._is_free(request, device) or not self._is_selected(request, device):
                continue
            if not self._has_room(request, device):
                continue
            undo = self._take(request, device)
            if undo is None:
                continue
            found = self._go_on(request, at, taken, place + 1, undo)
            if found is not False:
                return found
        return False

    def _go_on(
        self, request: Request, at: int, taken: int, start: int, undo: Callable[[], None]
    ) -> Any:
        found = self._devices(request, at, taken + 1, start)
        if found is not True:
            undo()
        return found

    # -- one device ---------------------------------------------------------------------------

    def _is_free(self, request: Request, device: Device) -> bool:
        taken = self._taken.get(device.id)
        if request.admin:
            return not taken or request.claim not in taken
        return not taken and device.id not in self._given.devices

    def _is_selected(self, request: Request, device: Device) -> bool:
        key = (request.claim, request.name, device.id)
        found = self._selected.get(key)
        if found is None:
            found = self._selected[key] = self._matches(request, device)
        return found

    def _matches(self, request: Request, device: Device) -> bool:
        claim = self._claims[request.claim]
        for whose, selectors in (
            (f"class {meta.name(request.class_)}", request.class_["spec"].get("selectors")),
            (f"claim {shown(claim)}", request.spec.get("selectors")),
        ):
            for at, selector in enumerate(selectors or ()):
                try:
                    if not dev.matches(selector["cel"]["expression"], device):
                        return False
                except SelectorError as error:
                    on = f" on device {device}" if error.compiles else ""
                    raise AllocationError(f"{whose}: selector #{at}{on}: {error}") from None
        return not device.slice["spec"].get("perDeviceNodeSelection") or dev.is_here(
            device.obj, self._node, self._here
        )

    def _has_room(
        self, request: Request, device: Device, others: list[Mapping[str, str]] | None = None
    ) -> bool:
        """Whether the device has the capacity, beside `others` (None: all who have some of it)."""
        sizes: dict[str, Object] = device.obj.get("capacity") or NOTHING
        if others is None:
            others = [self._given.shared.get(device.id) or NOTHING]
            others += self._shares.get(device.id) or ()
        used = {
            name: quantity.total(other.get(name, "0") for other in others) for name in sizes
        }
        try:
            return capacities.has_room(sizes, request.wanted, used)
        except CapacityError as error:
            claim, name = self._claims[request.claim], request.name.rpartition("/")[2]
            raise AllocationError(
                f"claim {shown(claim)}, request {name}: checking capacity for device {device}: "
                f"{error}"
            ) from None

    def _take(
        self, request: Request, device: Device, *, must: bool = False
    ) -> Callable[[], None] | None:
        """Give a device that is selected: how to take it back, or None where that cannot be."""
        shared = bool(device.obj.get("allowMultipleAllocations"))
        if not (shared and request.admin) and not self._is_free(request, device):
            return None
        in_use = shared and (device.id in self._given.shared or device.id in self._shares)
        if not in_use and not self._count(device, 1):
            return None
        holds = _tolerated(request, device) and self._holds(request, device, must=must)
        if not holds or not self._has_room(request, device):
            if not in_use:
                self._count(device, -1)
            return None
        sizes: dict[str, Object] = device.obj.get("capacity") or NOTHING
        consumed = capacities.consumed(sizes, request.wanted) if shared else None
        if consumed is None:
            self._taken.setdefault(device.id, []).append(request.claim)
        else:
            self._shares.setdefault(device.id, []).append(consumed)
        self._choices[request.claim].append(Choice(request, device, consumed))

        def undo() -> None:
            self._choices[request.claim].pop()
            if consumed is None:
                self._taken[device.id].pop()
            else:
                self._shares[device.id].pop()
                if not self._shares[device.id]:
                    del self._shares[device.id]
            if not in_use:
                self._count(device, -1)

        return undo

    def _holds(self, request: Request, device: Device, *, must: bool) -> bool:
        """Whether the claim's constraints hold with one device more."""
        claim = self._claims[request.claim]
        for constraint in claim["spec"]["devices"].get("constraints") or ():
            names: list[str] = constraint.get("requests") or []
            if names and not is_named(request.name, names):
                continue
            distinct = constraint.get("distinctAttribute")
            attribute: str = distinct or constraint["matchAttribute"]
            value = device.attribute(attribute)
            others = [
                choice.device.attribute(attribute)
                for choice in self._choices[request.claim]
                if not names or is_named(choice.request.name, names)
            ]
            if (
                value is None
                or (distinct and value in others)
                or (not distinct and any(other != value for other in others))
            ):
                if must:
                    raise AllocationError(
                        f"claim {shown(claim)}, request {request.name.rpartition('/')[2]}: cannot "
                        f"add device {device} because a claim constraint would not be satisfied"
                    )
                return False
        return True

    # -- shared counters ----------------------------------------------------------------------

    def _count(self, device: Device, sign: int) -> bool:
        """Take what a device consumes of its pool's counters, or (`sign` -1) give it back."""
        used = _consumed(device)
        if not used:
            return True
        key = (device.driver, device.pool)
        left = self._counters.get(key)
        if left is None:
            pool = next(p for p in self._pools if (p.driver, p.name) == key)
            left = self._counters[key] = self._left(pool)
        after = {name: left.get(name, 0) - sign * amount for name, amount in used.items()}
        if sign > 0 and (
            any(amount < 0 for amount in after.values())
            or any(amount < 0 for name, amount in left.items() if name not in used)
        ):
            return False
        left.update(after)
        return True

    def _left(self, pool: Pool) -> dict[tuple[str, str], int]:
        """What the devices that are given leave of a pool's counters."""
        left = {
            (of, name): quantity.nano_value(amount)
            for of, counters in pool.counters.items()
            for name, amount in counters.items()
        }
        for device in (*pool.devices, *pool.others):
            if device.id in self._given.devices or device.id in self._given.shared:
                for key, amount in _consumed(device).items():
                    left[key] -= amount
        return left


def shown(claim: Object) -> str:
    """A claim as messages name it."""
    return f"{meta.namespace(claim)}/{meta.name(claim)}"


def is_named(request: str, names: list[str]) -> bool:
    """Whether a request is among `names`, itself or as an alternative of one."""
    return request in names or request.partition("/")[0] in names


def _tolerated(request: Request, device: Device) -> bool:
    tolerations: list[Object] = request.spec.get("tolerations") or []
    return all(
        taint.get("effect") not in ("NoSchedule", "NoExecute") or tolerated(tolerations, taint)
        for taint in device.obj.get("taints") or ()
    )


def _consumed(device: Device) -> dict[tuple[str, str], int]:
    return {
        (entry["counterSet"], name): quantity.nano_value(counter["value"])
        for entry in device.obj.get("consumesCounters") or ()
        for name, counter in entry["counters"].items()
    }
