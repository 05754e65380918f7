"""Devices that have to be prepared before a pod is bound: what their drivers have said so far.

Follows `isClaimReadyForBinding` and `isClaimTimeout` of
`pkg/scheduler/framework/plugins/dynamicresources/dynamicresources.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, timestamps
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.scheduler.node_selection import NOTHING
from pytest_kubesim.scheduler.pod_claims import ClaimError, allocation_of

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object


def of(claim: Object) -> list[Object]:
    """The devices of a claim, as its allocation has them, that have to be prepared."""
    devices: Object = (allocation_of(claim) or NOTHING).get("devices") or NOTHING
    return [each for each in devices.get("results") or () if each.get("bindingConditions")]


def waiting_since(claim: Object) -> int | None:
    """When a claim got such devices, in nanoseconds since the epoch; None if it has none."""
    since: str | None = (allocation_of(claim) or NOTHING).get("allocationTimestamp")
    return timestamps.parse_time(since) if since and of(claim) else None


def are_met(claim: Object) -> bool:
    """Whether all devices of a claim are prepared.  Raises `ClaimError` where one failed."""
    if allocation_of(claim) is None:
        return False
    for result in of(claim):
        conditions = _told_of(claim, result)
        true = {name for name, each in conditions.items() if each["status"] == "True"}
        for name in result.get("bindingFailureConditions") or ():
            if name in true:
                failed = conditions[name]
                raise ClaimError(
                    f"device binding failed: claim={meta.name(claim)}, "
                    f"reason={failed.get('reason') or ''}, "
                    f"message={quote(failed.get('message') or '')}"
                )
        if not true.issuperset(result["bindingConditions"]):
            return False
    return True


def _told_of(claim: Object, result: Object) -> dict[str, Object]:
    """What the driver says of a device, by type of condition."""
    told: list[Object] = (claim.get("status") or NOTHING).get("devices") or []
    for each in told:
        if all(each.get(key) == result[key] for key in ("driver", "pool", "device")):
            return {condition["type"]: condition for condition in each.get("conditions") or ()}
    return {}
