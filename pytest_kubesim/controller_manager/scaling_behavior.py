"""How fast an autoscaler may follow what it has worked out.

The law: the highest recommendation of the last minutes holds a number up, so that a short lull does
not shrink it; and what was added or removed within a policy's period counts against the policy.
Both are remembered here, in memory alone.

Follows the `normalizeDesiredReplicas` family of `pkg/controller/podautoscaler/horizontal.go`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from pytest_kubesim.controller_manager import fields
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

SCALE_UP_FACTOR, SCALE_UP_LEAST = 2.0, 4.0

WITHIN_RANGE = ("DesiredWithinRange", "the desired count is within the acceptable range")
UP_LIMIT = (
    "ScaleUpLimit",
    "the desired replica count is increasing faster than the maximum scale rate",
)
DOWN_LIMIT = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
)
TOO_MANY = (
    "TooManyReplicas",
    "the desired replica count is more than the maximum replica count",
)
TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
DOWN_STABILIZED = (
    "ScaleDownStabilized",
    (
        "recent recommendations were higher than current one, applying the highest recent "
        "recommendation"
    ),
)
UP_STABILIZED = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
READY = ("ReadyForNewScale", "recommended size matches current size")


class Limits(NamedTuple):
    """The numbers between which an autoscaler moves."""

    current: int
    least: int
    most: int


class Decision(NamedTuple):
    """A number of replicas; why it is what it is; and whether it was limited."""

    replicas: int
    able: tuple[str, str]
    limited: tuple[str, str]
    is_limited: bool


class _Sample(NamedTuple):
    amount: int
    at_ns: int


class ScaleHistory:
    """What one autoscaler has recommended and done.

    Parameters: `first`, the replicas that were there when it was first looked at.
    """

    def __init__(self, first: int, now_ns: int) -> None:
        self._recommendations = [_Sample(first, now_ns)]
        self._ups: list[_Sample] = []
        self._downs: list[_Sample] = []

    # -- without behaviors --------------------------------------------------------------------

    def decide(self, desired: int, limits: Limits, window_ns: int, now_ns: int) -> Decision:
        """What becomes of `desired` by the rules of old."""
        stabilized = desired
        old: int | None = None
        for position, (amount, at_ns) in enumerate(self._recommendations):
            if at_ns < now_ns - window_ns:
                old = position
            else:
                stabilized = max(stabilized, amount)
        self._remember(desired, old, now_ns)
        able = READY if stabilized == desired else DOWN_STABILIZED
        up_limit = int(max(SCALE_UP_FACTOR * limits.current, SCALE_UP_LEAST))
        most, reason = (
            (up_limit, UP_LIMIT) if limits.most > up_limit else (limits.most, TOO_MANY)
        )
        if stabilized < limits.least:
            return Decision(limits.least, able, TOO_FEW, is_limited=True)
        if stabilized > most:
            return Decision(most, able, reason, is_limited=True)
        return Decision(stabilized, able, WITHIN_RANGE, is_limited=False)

    def _remember(self, desired: int, old: int | None, now_ns: int) -> None:
        sample = _Sample(desired, now_ns)
        if old is None:
            self._recommendations.append(sample)
        else:
            self._recommendations[old] = sample

    # -- with behaviors -----------------------------------------------------------------------

    def decide_by(
        self, behavior: Object, desired: int, limits: Limits, window_ns: int, now_ns: int
    ) -> Decision:
        """What becomes of `desired` by `spec.behavior`."""
        up, down = fields.mapping(behavior, "scaleUp"), fields.mapping(behavior, "scaleDown")
        stabilized = self._stabilized(
            desired, limits.current,
            fields.number(up, "stabilizationWindowSeconds") * NS,
            fields.number(down, "stabilizationWindowSeconds", window_ns // NS) * NS,
            now_ns,
        )
        if stabilized == desired:
            able = READY
        else:
            able = UP_STABILIZED if desired >= limits.current else DOWN_STABILIZED
        if stabilized > limits.current:
            rate = max(self._limit(up, limits.current, now_ns, up=True), limits.current)
            most, reason = (rate, UP_LIMIT) if limits.most > rate else (limits.most, TOO_MANY)
            if stabilized > most:
                return Decision(most, able, reason, is_limited=True)
        elif stabilized < limits.current:
            rate = min(self._limit(down, limits.current, now_ns, up=False), limits.current)
            least, reason = (rate, DOWN_LIMIT) if limits.least < rate else (limits.least, TOO_FEW)
            if stabilized < least:
                return Decision(least, able, reason, is_limited=True)
        return Decision(stabilized, able, WITHIN_RANGE, is_limited=False)

    def _stabilized(
        self, desired: int, current: int, up_window_ns: int, down_window_ns: int, now_ns: int
    ) -> int:
        lowest = highest = desired
        up_from_ns, down_from_ns = now_ns - up_window_ns, now_ns - down_window_ns
        old: int | None = None
        for position, (amount, at_ns) in enumerate(self._recommendations):
            if at_ns > up_from_ns:
                lowest = min(amount, lowest)
            if at_ns > down_from_ns:
                highest = max(amount, highest)
            if at_ns < up_from_ns and at_ns < down_from_ns:
                old = position
        self._remember(desired, old, now_ns)
        return min(max(current, lowest), highest)

    def _limit(self, rules: Object, current: int, now_ns: int, *, up: bool) -> int:
        select = rules.get("selectPolicy") or "Max"
        if select == "Disabled":
            return current
        proposed: list[int] = []
        for policy in fields.objects(rules, "policies"):
            period_ns = policy["periodSeconds"] * NS
            start = (
                current - _changed(self._ups, period_ns, now_ns)
                + _changed(self._downs, period_ns, now_ns)
            )
            amount = policy["value"] if up else -policy["value"]
            if policy["type"] == "Pods":
                proposed.append(start + amount)
            elif up:
                proposed.append(math.ceil(start * (1 + amount / 100)))
            else:
                proposed.append(int(start * (1 + amount / 100)))
        if not proposed:
            return current
        # The greatest change is the highest number upwards and the lowest downwards.
        return max(proposed) if (select == "Max") == up else min(proposed)

    def scaled(self, behavior: Object, before: int, after: int, now_ns: int) -> None:
        """Remember a change of the number of replicas."""
        events = self._ups if after > before else self._downs
        rules = fields.mapping(behavior, "scaleUp" if after > before else "scaleDown")
        longest = max(
            (policy["periodSeconds"] for policy in fields.objects(rules, "policies")), default=0
        )
        events[:] = [event for event in events if event.at_ns >= now_ns - longest * NS]
        events.append(_Sample(abs(after - before), now_ns))


def _changed(events: list[_Sample], period_ns: int, now_ns: int) -> int:
    return sum(event.amount for event in events if event.at_ns > now_ns - period_ns)
