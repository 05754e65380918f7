"""The devices of the cluster, and which of them a selector means.

The law: a pool is what the slices of its newest generation say; while some of them are missing
it is not used.  A selector sees a device as `device.driver`, `.attributes` and `.capacity`, where
names without a domain are in the driver's.

Follows `dynamic-resource-allocation/structured/internal/incubating/pools_incubating.go` and
`dynamic-resource-allocation/cel/compile.go`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery.cel import program
from pytest_kubesim.apimachinery.cel.errors import CELError, CompileError
from pytest_kubesim.registry.resource import requests
from pytest_kubesim.scheduler.node_selection import NOTHING

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

_LITERALS = re.compile(r"""["']([^"']+)["']""")


class SelectorError(Exception):
    """A selector cannot be evaluated."""


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
    """A pool: its devices in order, its shared counters, and whether all of it is there."""

    driver: str
    name: str
    devices: tuple[Device, ...]
    counters: dict[str, dict[str, str]]
    complete: bool


def pools(slices: Iterable[Object]) -> list[Pool]:
    """All pools, by driver and name."""
    found: dict[tuple[str, str], list[Object]] = {}
    for entry in slices:
        spec = entry["spec"]
        found.setdefault((spec["driver"], spec["pool"]["name"]), []).append(entry)
    return [_pool(driver, name, found[driver, name]) for driver, name in sorted(found)]


def _pool(driver: str, name: str, entries: list[Object]) -> Pool:
    newest = max(e["spec"]["pool"].get("generation") or 0 for e in entries)
    current = sorted(
        (e for e in entries if (e["spec"]["pool"].get("generation") or 0) == newest),
        key=lambda e: e["metadata"]["name"],
    )
    counters = {
        entry["name"]: {key: counter["value"] for key, counter in entry["counters"].items()}
        for e in current
        for entry in e["spec"].get("sharedCounters") or ()
    }
    made = tuple(
        Device(driver, name, device["name"], device, e)
        for e in current
        for device in e["spec"].get("devices") or ()
    )
    complete = len(current) == current[0]["spec"]["pool"]["resourceSliceCount"]
    return Pool(driver, name, made, counters, complete)


def tolerates(toleration: Object, taint: Object) -> bool:
    """Whether a device toleration is for a taint."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if (toleration.get("operator") or "Equal") == "Equal":
        return (toleration.get("value") or "") == (taint.get("value") or "")
    return toleration["operator"] == "Exists"


# -- selectors --------------------------------------------------------------------------------


def matches(expression: str, device: Device) -> bool:
    """Whether a selector means a device.  Raises `SelectorError`."""
    try:
        compiled = program.compile(expression, requests.environment())
        return compiled.evaluate({"device": _seen(device, expression)}) is True
    except CompileError as error:
        raise SelectorError(f"CEL compile error: {error}") from None
    except CELError as error:
        raise SelectorError(f"CEL runtime error: {error}") from None


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
