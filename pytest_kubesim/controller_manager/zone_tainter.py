"""Zones: how many of a zone's nodes are ill, and how fast the ill ones may be tainted.

The law: nodes wait in line for the taint that evicts their pods; a zone lets one node through every
ten seconds as long as it is healthy, and slows down or stops when so many nodes are ill that it is
rather the control plane that cannot see them.

Follows `pkg/controller/nodelifecycle/scheduler/rate_limited_queue.go`, `ComputeZoneState` of
`node_lifecycle_controller.go` and `component-helpers/node/topology/helpers.go`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

INITIAL = "Initial"
NORMAL = "Normal"
FULL_DISRUPTION = "FullDisruption"
PARTIAL_DISRUPTION = "PartialDisruption"

ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
_OLD_ZONE = "failure-domain.beta.kubernetes.io/zone"
_OLD_REGION = "failure-domain.beta.kubernetes.io/region"


def zone_of(node: Object) -> str:
    """A node's region and zone as one key; empty without any."""
    labels = meta.labels(node)
    zone = labels.get(_OLD_ZONE) or labels.get(ZONE) or ""
    region = labels.get(_OLD_REGION) or labels.get(REGION) or ""
    return f"{region}:\x00:{zone}" if zone or region else ""


def state_of(ready: Iterable[bool], threshold: float) -> str:
    """The state of a zone with nodes that are ready or not."""
    nodes = list(ready)
    well = sum(nodes)
    ill = len(nodes) - well
    if well == 0 and ill > 0:
        return FULL_DISRUPTION
    if ill > 2 and ill / len(nodes) >= threshold:
        return PARTIAL_DISRUPTION
    return NORMAL


class _Limiter:
    """A token bucket that holds one token; at a rate of 0 it gives none."""

    __slots__ = ("_at_ns", "_tokens", "qps")

    def __init__(self, qps: float, now_ns: int) -> None:
        self.qps = qps
        self._tokens = 1.0
        self._at_ns = now_ns

    def accepts(self, now_ns: int) -> bool:
        """Take a token if there is one."""
        if self.qps <= 0:
            return False
        self._tokens = min(1.0, self._tokens + (now_ns - self._at_ns) / NS * self.qps)
        self._at_ns = now_ns
        # A second's billionth may be lost in the sum.
        if self._tokens < 1.0 - 1e-9:
            return False
        self._tokens -= 1.0
        return True

    def next_ns(self) -> int | None:
        """When the next token comes; None if none does."""
        if self.qps <= 0:
            return None
        return self._at_ns + max(0, int((1.0 - self._tokens) / self.qps * NS))


class ZoneTainter:
    """The nodes of one zone that are to be tainted, in line.

    Parameters: `qps`, nodes per second; `now_ns`.
    """

    def __init__(self, qps: float, now_ns: int) -> None:
        self._known: set[str] = set()
        self._waiting: dict[str, int] = {}
        """Not before when, by node; in the order of the line."""
        self._limiter = _Limiter(qps, now_ns)

    def add(self, name: str, now_ns: int) -> bool:
        """Put a node in line, unless it was before and has not been removed; whether it was put."""
        if name in self._known:
            return False
        self._known.add(name)
        self._waiting[name] = now_ns
        return True

    def remove(self, name: str) -> bool:
        """Forget a node; whether it was known."""
        self._waiting.pop(name, None)
        if name not in self._known:
            return False
        self._known.discard(name)
        return True

    def head(self, now_ns: int) -> str | None:
        """The node whose turn it is, if the rate lets it through now."""
        if not self._waiting or not self._limiter.accepts(now_ns):
            return None
        name = min(self._waiting, key=self._waiting.__getitem__)
        return name if self._waiting[name] <= now_ns else None

    def done(self, name: str) -> None:
        """A node was tainted: it leaves the line, and stays known."""
        self._waiting.pop(name, None)

    def retry(self, name: str, at_ns: int) -> None:
        """A node could not be tainted: again at `at_ns`."""
        if name in self._waiting:
            self._waiting[name] = at_ns

    def next_ns(self) -> int | None:
        """When the next node can be let through; None if there is none, or never."""
        if not self._waiting:
            return None
        token_ns = self._limiter.next_ns()
        return None if token_ns is None else max(token_ns, min(self._waiting.values()))

    def swap_limiter(self, qps: float, now_ns: int) -> None:
        """Let nodes through at another rate."""
        if self._limiter.qps == qps:
            return
        new = _Limiter(qps, now_ns)
        if qps > 0 and not self._limiter.accepts(now_ns):
            new.accepts(now_ns)
        self._limiter = new
