"""Which devices a node can give to claims: a search for the first combination that fits.

The law: claims, requests and devices are tried in their order, the first solution is taken; a
device is given once (but for admin access), not while it has a taint that is not tolerated, and
only within its pool's shared counters; constraints hold among all devices of a claim.  Of
alternatives the first that leads to a solution is taken.

Follows `Allocate` of
`dynamic-resource-allocation/structured/internal/incubating/allocator_incubating.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.scheduler import devices as dev
from pytest_kubesim.scheduler.devices import Device, Pool, SelectorError, tolerates
from pytest_kubesim.scheduler.node_selection import NOTHING

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object


class AllocationError(Exception):
    """Something is wrong with a claim or a class: no node can help."""


@attrs.frozen(slots=True, eq=False)
class _Request:
    """One request of a claim, or one alternative of it."""

    claim: int
    name: str
    spec: Object
    candidates: tuple[Device, ...]
    count: int

    @property
    def admin(self) -> bool:
        return bool(self.spec.get("adminAccess"))


_Given = list[tuple[_Request, Device]]


class Allocator:
    """A search on one node.

    Parameters: `claims` to allocate; `classes` by name; `pools`; `used`, the devices that are given
    already, by driver, pool and name; `here(selector)`, whether the node matches a node selector,
    `node`, its name.
    """

    def __init__(
        self,
        claims: list[Object],
        classes: Callable[[str], Object | None],
        pools: Iterable[Pool],
        used: set[tuple[str, str, str]],
        node: str,
        here: Callable[[Object], bool],
    ) -> None:
        self._claims = claims
        self._classes = classes
        self._node = node
        self._here = here
        self._pools = [pool for pool in pools if any(map(self._is_here, pool.devices))]
        self._devices = [
            device for pool in self._pools if pool.complete
            for device in pool.devices if self._is_here(device)
        ]
        self._used = set(used)
        self._counters = {
            (pool.driver, pool.name): self._left(pool) for pool in self._pools
        }

    def allocate(self) -> list[Object] | None:
        """An allocation for each claim, or None if the node has no such devices.

        Raises: `AllocationError`.
        """
        wanted = [
            (number, request)
            for number, claim in enumerate(self._claims)
            for request in claim["spec"].get("devices", NOTHING).get("requests") or ()
        ]
        given: _Given = []
        if not self._solve(wanted, 0, given):
            return None
        return [self._result(number, given) for number in range(len(self._claims))]

    # -- the search ---------------------------------------------------------------------------

    def _solve(self, wanted: list[tuple[int, Object]], at: int, given: _Given) -> bool:
        if at == len(wanted):
            return True
        number, request = wanted[at]
        for alternative in self._alternatives(number, request):
            if alternative.count > len(alternative.candidates):
                continue
            if self._take(alternative, 0, 0, given, lambda: self._solve(wanted, at + 1, given)):
                return True
        return False

    def _take(
        self, request: _Request, taken: int, start: int, given: _Given, after: Callable[[], bool]
    ) -> bool:
        """Give `request` the rest of its devices, and go on with `after`."""
        if taken == request.count:
            return after()
        for at in range(start, len(request.candidates)):
            device = request.candidates[at]
            if not self._give(request, device, given):
                continue
            if self._take(request, taken + 1, at + 1, given, after):
                return True
            self._take_back(request, device, given)
        return False

    def _give(self, request: _Request, device: Device, given: _Given) -> bool:
        if not request.admin:
            if device.id in self._used or not self._counts(device, 1):
                return False
            if not self._holds(request, device, given):
                self._counts(device, -1)
                return False
            self._used.add(device.id)
        elif not self._holds(request, device, given):
            return False
        given.append((request, device))
        return True

    def _take_back(self, request: _Request, device: Device, given: _Given) -> None:
        given.pop()
        if not request.admin:
            self._used.discard(device.id)
            self._counts(device, -1)

    def _holds(self, request: _Request, device: Device, given: _Given) -> bool:
        """Whether the claim's constraints hold with one device more."""
        devices = self._claims[request.claim]["spec"]["devices"]
        for constraint in devices.get("constraints") or ():
            names: list[str] = constraint.get("requests") or []
            if names and not _is_named(request.name, names):
                continue
            distinct = constraint.get("distinctAttribute")
            attribute: str = distinct or constraint["matchAttribute"]
            value = device.attribute(attribute)
            if value is None:
                return False
            others = [
                other.attribute(attribute)
                for earlier, other in given
                if earlier.claim == request.claim
                and (not names or _is_named(earlier.name, names))
            ]
            if distinct and value in others:
                return False
            if not distinct and any(other != value for other in others):
                return False
        return True

    # -- requests -----------------------------------------------------------------------------

    def _alternatives(self, number: int, request: Object) -> Iterator[_Request]:
        if request.get("exactly") is not None:
            yield self._request(number, request["name"], request["exactly"])
        for sub in request.get("firstAvailable") or ():
            yield self._request(number, f"{request['name']}/{sub['name']}", sub)

    def _request(self, number: int, name: str, spec: Object) -> _Request:
        claim = self._claims[number]
        shown = f"{claim['metadata']['namespace']}/{claim['metadata']['name']}"
        class_ = self._classes(spec["deviceClassName"])
        if class_ is None:
            raise AllocationError(
                f"claim {shown}, request {name}: could not retrieve device class "
                f"{spec['deviceClassName']}"
            )
        of_class: list[Object] = class_["spec"].get("selectors") or []
        of_claim: list[Object] = spec.get("selectors") or []
        selectors = [
            (f"class {spec['deviceClassName']}", at, s["cel"]["expression"])
            for at, s in enumerate(of_class)
        ] + [(f"claim {shown}", at, s["cel"]["expression"]) for at, s in enumerate(of_claim)]
        everything = spec.get("allocationMode") == "All"
        if everything:
            for pool in self._pools:
                if not pool.complete:
                    raise AllocationError(
                        f"claim {shown}, request {name}: asks for all devices, but resource pool "
                        f"{pool.driver}/{pool.name} is currently being updated"
                    )
        found = tuple(d for d in self._devices if self._selected(selectors, d, spec))
        count = max(1, len(found)) if everything else spec.get("count") or 1
        return _Request(number, name, spec, found, count)

    @staticmethod
    def _selected(
        selectors: list[tuple[str, int, str]], device: Device, spec: Object
    ) -> bool:
        for whose, at, expression in selectors:
            try:
                if not dev.matches(expression, device):
                    return False
            except SelectorError as error:
                raise AllocationError(
                    f"{whose}: selector #{at} on device {device}: {error}"
                ) from None
        if not _has_capacity(device, spec):
            return False
        tolerations: list[Object] = spec.get("tolerations") or []
        return spec.get("adminAccess") is True or all(
            taint.get("effect") not in ("NoSchedule", "NoExecute")
            or any(tolerates(toleration, taint) for toleration in tolerations)
            for taint in device.obj.get("taints") or ()
        )

    # -- devices and counters -----------------------------------------------------------------

    def _is_here(self, device: Device) -> bool:
        spec: Object = device.slice["spec"]
        if spec.get("perDeviceNodeSelection"):
            spec = device.obj
        if spec.get("nodeName"):
            return spec["nodeName"] == self._node
        if spec.get("allNodes"):
            return True
        return spec.get("nodeSelector") is not None and self._here(spec["nodeSelector"])

    def _left(self, pool: Pool) -> dict[tuple[str, str], int]:
        """What is left of a pool's counters."""
        left = {
            (set_name, name): quantity.milli_value(value)
            for set_name, counters in pool.counters.items()
            for name, value in counters.items()
        }
        for device in pool.devices:
            if device.id in self._used:
                for key, amount in _consumed(device).items():
                    left[key] = left.get(key, 0) - amount
        return left

    def _counts(self, device: Device, sign: int) -> bool:
        """Take what a device consumes of its pool's counters, or (`sign` -1) give it back."""
        consumed = _consumed(device)
        if not consumed:
            return True
        left = self._counters[device.driver, device.pool]
        if sign > 0 and any(left.get(key, 0) < amount for key, amount in consumed.items()):
            return False
        for key, amount in consumed.items():
            left[key] = left.get(key, 0) - sign * amount
        return True

    # -- the result ---------------------------------------------------------------------------

    def _result(self, number: int, given: _Given) -> Object:
        mine = [(request, device) for request, device in given if request.claim == number]
        results: list[Object] = []
        for request, device in mine:
            result: Object = {
                "request": request.name,
                "driver": device.driver,
                "pool": device.pool,
                "device": device.name,
            }
            if request.admin:
                result["adminAccess"] = True
            if request.spec.get("tolerations"):
                result["tolerations"] = request.spec["tolerations"]
            results.append(result)
        devices: Object = {"results": results}
        if config := self._config(number, mine):
            devices["config"] = config
        allocation: Object = {"devices": devices}
        if selector := self._selector(mine):
            allocation["nodeSelector"] = selector
        return allocation

    def _config(self, number: int, mine: _Given) -> list[Object]:
        found: list[Object] = []
        names = list(dict.fromkeys((r.name, r.spec["deviceClassName"]) for r, _ in mine))
        for name, class_name in names:
            class_ = self._classes(class_name) or NOTHING
            for entry in (class_.get("spec") or NOTHING).get("config") or ():
                found.append({"source": "FromClass", "requests": [name], **entry})
        for entry in self._claims[number]["spec"]["devices"].get("config") or ():
            wanted: list[str] = entry.get("requests") or []
            if not wanted or any(_is_named(name, wanted) for name, _ in names):
                found.append({"source": "FromClaim", **entry})
        return found

    def _selector(self, mine: _Given) -> Object | None:
        """Where the devices can be reached from; None: everywhere."""
        expressions: list[Object] = []
        fields: list[Object] = []
        for _, device in mine:
            spec: Object = device.slice["spec"]
            if spec.get("perDeviceNodeSelection"):
                spec = device.obj
            if spec.get("nodeName"):
                fields = [
                    {"key": "metadata.name", "operator": "In", "values": [spec["nodeName"]]}
                ]
                return {"nodeSelectorTerms": [{"matchFields": fields}]}
            for term in (spec.get("nodeSelector") or NOTHING).get("nodeSelectorTerms") or ():
                expressions += [e for e in term.get("matchExpressions") or () if e not in
                                expressions]
                fields += [f for f in term.get("matchFields") or () if f not in fields]
        term: Object = {}
        if expressions:
            term["matchExpressions"] = expressions
        if fields:
            term["matchFields"] = fields
        return {"nodeSelectorTerms": [term]} if term else None


def _is_named(request: str, names: list[str]) -> bool:
    return request in names or request.partition("/")[0] in names


def _consumed(device: Device) -> dict[tuple[str, str], int]:
    return {
        (entry["counterSet"], name): quantity.milli_value(counter["value"])
        for entry in device.obj.get("consumesCounters") or ()
        for name, counter in entry["counters"].items()
    }


def _has_capacity(device: Device, spec: Object) -> bool:
    """Whether a device is as large as a request asks for."""
    wanted: dict[str, Any] = (spec.get("capacity") or NOTHING).get("requests") or NOTHING
    capacity: dict[str, Object] = device.obj.get("capacity") or NOTHING
    for name, amount in wanted.items():
        has = capacity.get(name) or capacity.get(name.removeprefix(f"{device.driver}/"))
        if has is None or quantity.cmp(has["value"], amount) < 0:
            return False
    return True
