"""What a share of a device consumes of its capacity, and whether that much is left.

The law: what is asked for is rounded as the policy of the capacity says, what is not asked for is
its default, or all of it; a device has room while the sum of its shares stays within its capacity.

Follows `dynamic-resource-allocation/structured/internal/incubating/consumable_capacity.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.apimachinery.golang import quote

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

_MAX_INT64 = 2**63 - 1
_NANO_PER_MILLI = 10**6


class CapacityError(Exception):
    """What is asked for cannot be counted: no other device can help."""


def consumed(capacity: Mapping[str, Object], wanted: Mapping[str, str]) -> dict[str, str]:
    """What a request for `wanted` consumes of each capacity.  Raises `CapacityError`."""
    found: dict[str, str] = {}
    for name in sorted(capacity):
        try:
            amount = _consumed_of(capacity[name], wanted.get(name))
        except CapacityError as error:
            raise CapacityError(f"capacity {quote(name)}: {error}") from None
        if quantity.sign(amount) < 0:
            raise CapacityError(f"capacity {quote(name)}: capacity value is negative")
        found[name] = amount
    return found


def has_room(
    capacity: Mapping[str, Object], wanted: Mapping[str, str], used: Mapping[str, str]
) -> bool:
    """Whether a request for `wanted` fits, with `used` consumed already.

    Raises `CapacityError`.
    """
    if any(name not in capacity for name in wanted):
        return False
    for name, amount in consumed(capacity, wanted).items():
        size = capacity[name]
        if _violates(amount, size.get("requestPolicy")):
            return False
        if quantity.cmp(quantity.add(used.get(name, "0"), amount), size["value"]) > 0:
            return False
    return True


def _consumed_of(size: Object, wanted: str | None) -> str:
    policy: Object = size.get("requestPolicy") or {}
    if wanted is None:
        return policy.get("default") or size["value"]
    valid: Object = policy.get("validRange") or {}
    if valid.get("min") is not None:
        return _rounded(wanted, valid)
    return next(
        (each for each in policy.get("validValues") or () if quantity.cmp(wanted, each) <= 0),
        wanted,
    )


def _rounded(wanted: str, valid: Object) -> str:
    """The next multiple of the step from the minimum on."""
    least, step = valid["min"], valid.get("step")
    if quantity.cmp(wanted, least) < 0:
        return least
    if step is None:
        return wanted
    format_ = quantity.parse(step).format
    if _in_milli(valid):
        asked = _milli(wanted)
        if asked is None:
            raise CapacityError(f"{_NO_RANGE}: request {wanted} is not a representable milli value")
        milli = _next(asked, quantity.milli_value(least), quantity.milli_value(step))
        if milli > _MAX_INT64:
            passes = "rounding request {} up to the next step passes the milli-value range"
            raise CapacityError(f"{_NO_RANGE}: {passes.format(wanted)}")
        if milli % 1000 == 0:
            return quantity.from_value(milli // 1000, format_)
        return quantity.from_milli(milli, format_)
    if quantity.cmp(wanted, _MAX_INT64) > 0:
        raise CapacityError(f"{_NO_RANGE}: request {wanted} exceeds MaxInt64")
    units = _next(quantity.value(wanted), quantity.value(least), quantity.value(step))
    if units > _MAX_INT64:
        passes = f"rounding request {wanted} up to the next step passes MaxInt64"
        raise CapacityError(f"{_NO_RANGE}: {passes}")
    return quantity.from_value(units, format_)


_NO_RANGE = "capacity request cannot be represented in the device's range arithmetic"


def _next(asked: int, least: int, step: int) -> int:
    return least - (least - asked) // step * step


def _violates(amount: str, policy: Object | None) -> bool:
    """Whether the policy forbids an amount to be consumed."""
    if policy is None or amount == policy.get("default"):
        return False
    valid: Object | None = policy.get("validRange")
    if valid is not None:
        if valid.get("max") is not None and quantity.cmp(amount, valid["max"]) > 0:
            return True
        if valid.get("step") is None:
            return False
        if _in_milli(valid):
            asked = _milli(amount)
            least, step = quantity.milli_value(valid["min"]), quantity.milli_value(valid["step"])
            return asked is None or (asked - least) % step != 0
        rest = quantity.value(amount) - quantity.value(valid["min"])
        return rest % quantity.value(valid["step"]) != 0
    values: list[str] = policy.get("validValues") or []
    return bool(values) and all(quantity.cmp(amount, each) for each in values)


def _in_milli(valid: Object) -> bool:
    """Whether a range is counted in thousandths: all of it can be, and the step is one at least."""
    numbers = [valid[key] for key in ("min", "max", "step") if valid.get(key) is not None]
    if any(_milli(number) is None for number in numbers):
        return False
    return valid.get("step") is None or quantity.milli_value(valid["step"]) >= 1


def _milli(amount: str) -> int | None:
    """Thousandths, where that is exact and fits into 64 bits."""
    milli, rest = divmod(quantity.nano_value(amount), _NANO_PER_MILLI)
    return None if rest or abs(milli) > _MAX_INT64 else milli
