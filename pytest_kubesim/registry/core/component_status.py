"""ComponentStatuses: deprecated, read only, and not stored.

Follows `pkg/registry/core/componentstatus/rest.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.registry.columns import printer
from pytest_kubesim.registry.rest import Kind


def _row(obj: Object, now_ns: int) -> list[Any]:
    del now_ns
    for condition in obj.get("conditions") or ():
        if condition.get("type") == "Healthy":
            healthy = "Healthy" if condition.get("status") == "True" else "Unhealthy"
            message, error = condition.get("message") or "", condition.get("error") or ""
            return [obj["metadata"]["name"], healthy, message, error]
    return [obj["metadata"]["name"], "Unknown", "", ""]


KIND = Kind(printer=printer("ComponentStatus", _row))
