"""The pod lifecycle event generator: who tells the kubelet that a container has changed.

Upstream relists all pods every second, and a pod that it has just worked on at once; here the
runtime tells, and the news is taken up at the next tick of that second (each node's ticks lie
elsewhere), which is when upstream would have noticed.

Follows `pkg/kubelet/pleg/generic.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.kubelet.host import Host


class Pleg:
    """Collects changes and passes them on, once a tick.

    Parameters: `host`; `changed`, called with the UID of each pod with changes; `probes`, called
    when a container's answer to probes may be another one.
    """

    def __init__(
        self,
        host: Host,
        changed: Callable[[str], object],
        probes: Callable[[str, str], object],
    ) -> None:
        self._host = host
        self._changed = changed
        self._probes = probes
        self._dirty: dict[str, None] = {}
        self._waiting = False
        period_ns = host.config.pleg_relist_ns
        self._phase_ns = (
            host.kernel.rng.below(period_ns, "pleg", host.node.name) if period_ns else 0
        )

    def start(self) -> None:
        """Hear of the runtime's events from here on."""
        self._host.runtime.subscribe(self._heard)

    def request_relist(self, uid: str) -> None:
        """Look at one pod now: the kubelet has just done something with it."""
        if self._dirty.pop(uid, self) is None:
            self._changed(uid)

    def notice(self, uid: str, since_ns: int) -> None:
        """A sandbox was made at `since_ns`: that is noticed at the first tick after it.

        Told only where a sync has failed: else the pod's containers are noticed anyway.
        """
        process = self._host.process
        left_ns = since_ns + self._delay_ns(since_ns) - self._host.kernel.now_ns
        process.call_later(max(0, left_ns), self._changed, uid, label="pleg: relist")

    def _heard(self, what: str, uid: str, container: Container | None) -> None:
        if not self._host.process.alive:
            return
        if what == "probes":
            if container is not None:
                self._probes(uid, container.name)
            return
        if not self._waiting:
            self._waiting = True
            delay_ns = self._delay_ns(self._host.kernel.now_ns)
            self._host.process.call_later(delay_ns, self._relist, label="pleg: relist")
        self._dirty[uid] = None

    def _delay_ns(self, since_ns: int) -> int:
        period_ns = self._host.config.pleg_relist_ns
        return period_ns - (since_ns - self._phase_ns) % period_ns if period_ns else 0

    def _relist(self) -> None:
        self._waiting = False
        dirty, self._dirty = self._dirty, {}
        for uid in dirty:
            self._changed(uid)
