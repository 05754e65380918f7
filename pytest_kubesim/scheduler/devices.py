"""The devices of the cluster, and which of them a selector means.

The law: a pool is what the slices of its newest generation say; while some of them are missing, or
contradict each other, it is not used.  A selector sees a device as `device.driver`, `.attributes`
and `.capacity`, where names without a domain are in the driver's.

Follows `dynamic-resource-allocation/structured/internal/incubating/pools_incubating.go` and
`dynamic-resource-allocation/cel/compile.go`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery.cel import program
from pytest_kubesim.apimachinery.cel.errors import CELError, CompileError
from pytest_kubesim.registry.resource import requests
from pytest_kubesim.registry.resource.device_taint_rule import selects
from pytest_kubesim.scheduler.node_selection import NOTHING

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

_NO_SUCH_KEY = (
    ". consider using CEL optional chaining (.? followed by orValue()) or guarding the check with "
    "has() for optional fields"
)
_LITERALS = re.compile(r"""["']([^"']+)["']""")


class SelectorError(Exception):
    """A selector cannot be evaluated; `compiles` tells whether that is due to the device."""

    def __init__(self, text: str, *, compiles: bool = True) -> None:
        super().__init__(text)
        self.compiles = compiles


@attrs.frozen(slots=True, eq=False)
class Device:
    """A device in a slice."""

    driver: str
    pool: str
    name: str
    obj: Object
    slice: Object

    @property
    def id(self) -> tuple[str, str, str]:
        """Driver, pool and name."""
        return self.driver, self.pool, self.name

    def __str__(self) -> str:
        return "/".join(self.id)

    def attribute(self, name: str) -> Any:
        """The value of a fully qualified attribute, with its type; None if it has none."""
        attributes: dict[str, Object] = self.obj.get("attributes") or NOTHING
        found = attributes.get(name)
        domain, _, rest = name.partition("/")
        if found is None and domain == self.driver:
            found = attributes.get(rest)
        return None if found is None else next(iter(found.items()), None)


@attrs.frozen(slots=True, eq=False)
class Pool:
    """A pool as one node sees it.

    `devices` are those that may be reached from the node, in order; `others` the rest of the pool;
    `counters` the shared counters by set and name.
    """

    driver: str
    name: str
    devices: tuple[Device, ...] = ()
    others: tuple[Device, ...] = ()
    counters: dict[str, dict[str, str]] = attrs.field(factory=dict[str, "dict[str, str]"])
    incomplete: bool = False
    invalid: bool = False

    def __str__(self) -> str:
        return f"{self.driver}/{self.name}"

    @property
    def is_prepared(self) -> bool:
        """Whether some device of it has to be prepared before a pod is bound."""
        return any(device.obj.get("bindingConditions") is not None for device in self.devices)


@attrs.frozen(slots=True, eq=False)
class Slices:
    """All slices, and where to look for those of a node."""

    of_node: dict[str, list[Object]]
    shared: list[Object]
    all: list[Object]


def indexed(slices: Iterable[Object], rules: Iterable[Object] = ()) -> Slices:
    """The slices by node, with the taints that DeviceTaintRules put on their devices."""
    every = list(rules)
    found = [_tainted(entry, every) for entry in slices] if every else list(slices)
    of_node: dict[str, list[Object]] = {}
    shared: list[Object] = []
    for entry in found:
        name: str = entry["spec"].get("nodeName") or ""
        (of_node.setdefault(name, []) if name else shared).append(entry)
    return Slices(of_node, shared, found)


def _tainted(entry: Object, rules: list[Object]) -> Object:
    spec: Object = entry["spec"]
    driver, pool = spec["driver"], spec["pool"]["name"]
    devices: list[Object] = spec.get("devices") or []
    added = [
        [rule["spec"]["taint"] for rule in rules if selects(rule, driver, pool, device["name"])]
        for device in devices
    ]
    if not any(added):
        return entry
    changed = [
        {**device, "taints": [*(device.get("taints") or ()), *taints]} if taints else device
        for device, taints in zip(devices, added, strict=True)
    ]
    return {**entry, "spec": {**spec, "devices": changed}}


def pools_for(slices: Slices, node: str, here: Callable[[Object], bool]) -> list[Pool]:
    """The pools with devices for a node, those with devices to be prepared last.

    `here(selector)` tells whether the node matches a node selector.
    """
    found: dict[tuple[str, str], list[Object]] = {}
    for entry in (*slices.of_node.get(node, ()), *slices.shared):
        if not is_here(entry["spec"], node, here) and not (
            entry["spec"].get("perDeviceNodeSelection")
            and any(is_here(device, node, here) for device in entry["spec"].get("devices") or ())
        ):
            continue
        key = (entry["spec"]["driver"], entry["spec"]["pool"]["name"])
        known = found.setdefault(key, [])
        if known and _generation(known[0]) > _generation(entry):
            continue
        if known and _generation(known[0]) < _generation(entry):
            known.clear()
        known.append(entry)
    made = [_pool(driver, name, found[driver, name], slices) for driver, name in sorted(found)]
    pools = [pool for pool in made if pool is not None]
    return sorted(pools, key=lambda pool: pool.is_prepared)


def is_here(where: Object, node: str, here: Callable[[Object], bool]) -> bool:
    """Whether a slice, or a device that says so itself, is for a node (`NodeMatches`)."""
    if where.get("nodeName"):
        return where["nodeName"] == node
    if where.get("allNodes"):
        return True
    return where.get("nodeSelector") is not None and here(where["nodeSelector"])


def _generation(entry: Object) -> int:
    return entry["spec"]["pool"].get("generation") or 0


def _pool(driver: str, name: str, entries: list[Object], slices: Slices) -> Pool | None:
    """A pool of which a node sees `entries`; None where newer slices replace it just now."""
    generation, count = _generation(entries[0]), entries[0]["spec"]["pool"]["resourceSliceCount"]
    rest: list[Object] = []
    if len(entries) != count:
        whole = [
            entry
            for entry in slices.all
            if entry["spec"]["driver"] == driver and entry["spec"]["pool"]["name"] == name
        ]
        if any(_generation(entry) > generation for entry in whole):
            return None
        whole = [entry for entry in whole if _generation(entry) == generation]
        if len(whole) != count:
            return Pool(driver, name, incomplete=True)
        rest = [entry for entry in whole if entry not in entries]
    entries = sorted(entries, key=lambda entry: entry["metadata"]["name"])
    counters = [
        counter_set
        for entry in (*entries, *rest)
        for counter_set in entry["spec"].get("sharedCounters") or ()
    ]
    devices, others = _devices(driver, name, entries), _devices(driver, name, rest)
    sets = {
        entry["name"]: {key: counter["value"] for key, counter in entry["counters"].items()}
        for entry in counters
    }
    consumed = [
        (entry["counterSet"], counter)
        for device in (*devices, *others)
        for entry in device.obj.get("consumesCounters") or ()
        for counter in entry["counters"]
    ]
    if (
        len({device.name for device in devices}) < len(devices)
        or len(sets) < len(counters)
        or any(counter not in sets.get(of, ()) for of, counter in consumed)
    ):
        return Pool(driver, name, invalid=True)
    return Pool(driver, name, devices, others, sets)


def _devices(driver: str, pool: str, entries: list[Object]) -> tuple[Device, ...]:
    return tuple(
        Device(driver, pool, device["name"], device, entry)
        for entry in entries
        if not entry["spec"].get("sharedCounters")
        for device in entry["spec"].get("devices") or ()
    )


# -- selectors --------------------------------------------------------------------------------


def matches(expression: str, device: Device) -> bool:
    """Whether a selector means a device.  Raises `SelectorError`."""
    try:
        compiled = program.compile(expression, requests.environment())
        return compiled.evaluate({"device": _seen(device, expression)}) is True
    except CompileError as error:
        raise SelectorError(f"CEL compile error: {error}", compiles=False) from None
    except CELError as error:
        text = str(error)
        hint = _NO_SUCH_KEY if "no such key:" in text else ""
        raise SelectorError(f"CEL runtime error: {text}{hint}") from None


def _seen(device: Device, expression: str) -> Object:
    # A domain that a device knows nothing of is an empty one.
    domains = _LITERALS.findall(expression)
    attributes: dict[str, dict[str, Any]] = {domain: {} for domain in domains}
    capacity: dict[str, dict[str, Any]] = {domain: {} for domain in domains}
    own: dict[str, Object] = device.obj.get("attributes") or {}
    for name, value in own.items():
        domain, key = _qualified(name, device.driver)
        attributes.setdefault(domain, {})[key] = _attribute(value)
    sizes: dict[str, Object] = device.obj.get("capacity") or {}
    for name, value in sizes.items():
        domain, key = _qualified(name, device.driver)
        capacity.setdefault(domain, {})[key] = _computed(f'quantity("{value["value"]}")')
    return {
        "driver": device.driver,
        "attributes": attributes,
        "capacity": capacity,
        "allowMultipleAllocations": bool(device.obj.get("allowMultipleAllocations")),
    }


def _qualified(name: str, driver: str) -> tuple[str, str]:
    domain, slash, rest = name.partition("/")
    return (domain, rest) if slash else (driver, name)


def _attribute(value: Object) -> Any:
    kind, content = next(iter(value.items()))
    return _computed(f'semver("{content}")') if kind == "version" else content


@functools.lru_cache(1024)
def _computed(expression: str) -> Any:
    return program.compile(expression, requests.environment()).evaluate({})
