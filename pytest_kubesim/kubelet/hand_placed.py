"""Pods put on a hollow node by hand: `spec.nodeName` was given, no scheduler bound them.

The law: who places pods by hand may mean to play their kubelet, too.  A hollow kubelet waits a few
seconds; if by then anybody else has said how one of these pods is, the node is played, and it
leaves them all alone for good.  Otherwise it runs them like any others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.host import Host

PATIENCE_NS = 5 * NS
_NO_STATUS: Object = {}


class HandPlaced:
    """Those pods of one kubelet.

    Parameters: `host`; `take`, called with a pod that is to be run after all.
    """

    def __init__(self, host: Host, take: Callable[[Object], None]) -> None:
        self._host = host
        self._take = take
        self._held: dict[str, Object] = {}
        self._played = False

    def added(self, pod: Object) -> bool:
        """Whether the pod is to be let be, for now."""
        if not self._host.config.hollow or meta.condition(pod, "PodScheduled") is not None:
            return False
        uid = meta.uid(pod)
        self._held[uid] = pod
        if _is_told_of(pod):
            self._played = True
        if not self._played:
            self._host.process.call_later(
                PATIENCE_NS, self._patience_ends, uid, label="hollow node: a pod placed by hand"
            )
        return True

    def updated(self, pod: Object) -> bool:
        """The same for one that has changed."""
        uid = meta.uid(pod)
        if uid not in self._held:
            return False
        self._held[uid] = pod
        if _is_told_of(pod):
            self._played = True
        return True

    def deleted(self, uid: str) -> bool:
        """The pod is gone; whether it was let be."""
        return self._held.pop(uid, None) is not None

    def _patience_ends(self, uid: str) -> None:
        if not self._played and uid in self._held:
            self._take(self._held.pop(uid))


def _is_told_of(pod: Object) -> bool:
    """Whether anybody says how the pod is."""
    status: Object = pod.get("status") or _NO_STATUS
    phase = status.get("phase") or "Pending"
    return (
        phase != "Pending"
        or bool(status.get("podIP") or status.get("containerStatuses"))
        or meta.is_condition_true(pod, "Ready")
    )
