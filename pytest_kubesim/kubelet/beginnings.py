"""How pods of a hollow kubelet begin: nobody is told before they have become something.

The law (kwok's `stage/pod/fast/pod-ready.yaml`: one patch makes a pod Running): a status in which
every container is still being created is not sent, unless the pod stays like that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.kubelet.container_statuses import CONTAINER_CREATING, POD_INITIALIZING
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.host import Host
    from pytest_kubesim.sim.kernel import Timer

PATIENCE_NS = 10 * NS
"""What stays in its beginning for longer is stuck, and whoever looks has to see why."""


class Beginnings:
    """Those pods of one kubelet.

    Parameters: `host`; `send`, called with the UID of a pod that is to be told of after all.
    """

    def __init__(self, host: Host, send: Callable[[str], object]) -> None:
        self._host = host
        self._send = send
        self._timers: dict[str, Timer] = {}

    def keeps(self, uid: str, status: Object) -> bool:
        """Whether this first status of a pod is not to be sent yet."""
        if not self._host.config.hollow:
            return False
        timer = self._timers.get(uid)
        if timer is None:
            if not _is_beginning(status):
                return False
            self._timers[uid] = self._host.process.call_later(
                PATIENCE_NS, self._send, uid, label="hollow node: a pod that does not begin"
            )
            return True
        # A timer that has run: patience is at an end.
        if not timer.cancelled and _is_beginning(status):
            return True
        self.forget(uid)
        return False

    def forget(self, uid: str) -> None:
        """Nothing more is to be said of it."""
        timer = self._timers.pop(uid, None)
        if timer is not None:
            timer.cancel()


def _is_beginning(status: Object) -> bool:
    for part in ("initContainerStatuses", "containerStatuses"):
        for one in status.get(part) or ():
            waiting = one["state"].get("waiting")
            if waiting is None or waiting.get("reason") not in _BEGINNING:
                return False
    return status.get("phase") == "Pending"


_BEGINNING = (CONTAINER_CREATING, POD_INITIALIZING)
