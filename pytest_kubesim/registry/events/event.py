"""Events of `events.k8s.io/v1`: those of `v1` under other names.

Follows `pkg/apis/events/v1/conversion.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.registry.core.event import PRINTER, ModernEventStrategy
from pytest_kubesim.registry.rest import Conversion, Kind

_RENAMED = (
    ("involvedObject", "regarding"),
    ("source", "deprecatedSource"),
    ("message", "note"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
)


def to_core(obj: Object) -> Object:
    """An event of `events.k8s.io/v1` as one of `v1`."""
    out: Object = {**obj, "apiVersion": "v1"}
    for old, new in _RENAMED:
        if new in out:
            out[old] = out.pop(new)
    return out


def from_core(obj: Object) -> Object:
    """An event of `v1` as one of `events.k8s.io/v1`."""
    out: Object = {**obj, "apiVersion": "events.k8s.io/v1"}
    for old, new in _RENAMED:
        if old in out:
            out[new] = out.pop(old)
    return out


KIND = Kind(
    strategy=ModernEventStrategy(),
    printer=PRINTER,
    conversions={"v1": Conversion(to_core, from_core)},
)
