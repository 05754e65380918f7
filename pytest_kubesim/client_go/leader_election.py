"""Leader election through a Lease: of several processes alike one works, the others wait.

::

    elector = LeaderElector(client, "kube-system", "kube-scheduler", identity, recorder)
    await elector.acquire()
    ...                             start to work
    await elector.renew()           returns when it leads no more
    raise LeaderElectionLost        a process that may have worked beside another one ends

The law: who leads writes its name into the Lease every two seconds, and stops when it has not
managed to for ten; who waits takes over when it has *seen* no change for fifteen.  Nobody compares
the times in the Lease with a clock: how long ago is measured by each process's own monotonic time,
so clocks may be set wrong, and only clocks that run unequally fast make two leaders.  A process
that was frozen believes that it leads until its next renewal.

Follows `client-go/tools/leaderelection/{leaderelection,resourcelock/leaselock}.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.timestamps import format_micro_time
from pytest_kubesim.client_go.resources import LEASES
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pytest_kubesim.client_go.record import EventRecorder
    from pytest_kubesim.client_go.rest import RESTClient

JITTER_PERCENT = 120
"""Who waits tries again after the retry period and up to this much more."""
REASON = "LeaderElection"
BECAME, STOPPED = "became leader", "stopped leading"


class LeaderElectionLost(Exception):
    """The process led and does not any more: it ends (upstream exits with status 1)."""


@attrs.frozen(slots=True)
class Timing:
    """How long a lease lasts, when renewing is given up, and how often either is tried."""

    lease_duration_ns: int = 15 * NS
    renew_deadline_ns: int = 10 * NS
    retry_period_ns: int = 2 * NS


DEFAULT_TIMING = Timing()


def identity_of(client: RESTClient) -> str:
    """The name of a candidate: its host and a UUID, another one in each life of its process."""
    process = client.process
    drawn = process.kernel.rng.bytes(16, "candidate", process.name, process.incarnation)
    bits = int.from_bytes(drawn, "big") & ~(0xF << 76) & ~(0x3 << 62) | 0x4 << 76 | 0x2 << 62
    text = f"{bits:032x}"
    parts = (text[:8], text[8:12], text[12:16], text[16:20], text[20:])
    return f"{process.host}_{'-'.join(parts)}"


class LeaderElector:
    """One candidate.

    Parameters: `client` of the process that wants to lead; `namespace` and `name` of the Lease;
    `identity` of the candidate; `recorder` of the events (None: none are recorded); `timing`;
    `release_on_cancel`: whether it gives the Lease away when it stops.
    """

    def __init__(
        self,
        client: RESTClient,
        namespace: str,
        name: str,
        identity: str,
        recorder: EventRecorder | None = None,
        *,
        timing: Timing = DEFAULT_TIMING,
        release_on_cancel: bool = False,
    ) -> None:
        self.identity = identity
        self.timing = timing
        self._client = client
        self._namespace = namespace
        self._name = name
        self._recorder = recorder
        self._release_on_cancel = release_on_cancel
        self._lease: Object = {}
        """The Lease as it was last read or written."""
        self._observed: Object = {}
        """What the Lease says, as far as this candidate knows."""
        self._observed_ns = 0
        """The monotonic time at which it learned that."""
        self._raw: Object | None = None
        self._tries = 0

    @property
    def is_leader(self) -> bool:
        """Whether it believes that it leads."""
        return self._observed.get("holderIdentity") == self.identity

    @property
    def leader(self) -> str:
        """Who leads, as far as it knows."""
        return self._observed.get("holderIdentity") or ""

    # -- the two loops ------------------------------------------------------------------------

    async def acquire(self) -> None:
        """Wait until it leads."""
        kernel = self._client.process.kernel
        period_ns = self.timing.retry_period_ns
        while not await self._within(self.timing.renew_deadline_ns, self.try_acquire_or_renew()):
            self._tries += 1
            extra_ns = kernel.rng.between_ns(
                0, period_ns * JITTER_PERCENT // 100, "election", self.identity, self._tries
            )
            await kernel.sleep(period_ns + extra_ns, periodic=True)
        self._record(BECAME)

    async def renew(self) -> None:
        """Stay the leader for as long as that goes; returns when it leads no more."""
        process = self._client.process
        timing = self.timing
        while True:
            deadline_ns = process.monotonic_ns() + timing.renew_deadline_ns
            while not await self._within(
                deadline_ns - process.monotonic_ns(), self.try_acquire_or_renew()
            ):
                left_ns = deadline_ns - process.monotonic_ns()
                if left_ns > timing.retry_period_ns:
                    await process.kernel.sleep(timing.retry_period_ns, periodic=True)
                    continue
                if left_ns > 0:
                    await process.kernel.sleep(left_ns, periodic=True)
                await self._stopped()
                return
            await process.kernel.sleep(timing.retry_period_ns, periodic=True)

    async def _stopped(self) -> None:
        if self._release_on_cancel:
            await self._within(self.timing.renew_deadline_ns, self.release())
        self._record(STOPPED)

    async def _within(self, timeout_ns: int, coro: Coroutine[Any, Any, bool]) -> bool:
        """What `coro` says, or False where it has not said it in time."""
        process = self._client.process
        task = process.spawn(coro, name="election", daemon=True)
        if not await process.kernel.wait_any(task, timeout_ns=max(0, timeout_ns), periodic=True):
            task.cancel()
            return False
        return task.result()

    # -- the Lease ----------------------------------------------------------------------------

    async def try_acquire_or_renew(self) -> bool:
        """Try once to become or to stay the leader; whether it leads now."""
        now = format_micro_time(self._client.process.now_ns())
        mine: Object = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self.timing.lease_duration_ns // NS,
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": 0,
        }
        try:
            if self.is_leader and self._is_valid() and await self._renewed_at_once(mine):
                return True
            found = await self._get()
            if found is None:
                await self._create(mine)
                return True
            if found != self._raw:
                self._observe(found)
                self._raw = found
            if found.get("holderIdentity") and self._is_valid() and not self.is_leader:
                return False
            transitions = found.get("leaseTransitions") or 0
            if self.is_leader:
                mine["acquireTime"] = found.get("acquireTime")
            else:
                transitions += 1
            await self._update({**mine, "leaseTransitions": transitions})
        except (status.APIStatus, ConnectionLost):
            return False
        return True

    async def release(self) -> bool:
        """Give the Lease away, if it is its own; whether nothing is left to be done."""
        try:
            found = await self._get()
            if found is None:
                return False
            if not self.is_leader:
                return True
            now = format_micro_time(self._client.process.now_ns())
            await self._update({
                "holderIdentity": "",
                "leaseDurationSeconds": 1,
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": found.get("leaseTransitions") or 0,
            })
        except status.APIStatus as error:
            return await self.release() if status.is_conflict(error) else False
        except ConnectionLost:
            return False
        return True

    def _is_valid(self) -> bool:
        duration_ns = (self._observed.get("leaseDurationSeconds") or 0) * NS
        return self._observed_ns + duration_ns > self._client.process.monotonic_ns()

    async def _renewed_at_once(self, mine: Object) -> bool:
        """Renew without reading first, as who leads may."""
        old = self._observed
        try:
            await self._update({
                **mine,
                "acquireTime": old.get("acquireTime"),
                "leaseTransitions": old.get("leaseTransitions") or 0,
            })
        except (status.APIStatus, ConnectionLost):
            return False
        return True

    async def _get(self) -> Object | None:
        try:
            self._lease = await self._client.get(LEASES, self._namespace, self._name)
        except status.APIStatus as error:
            if status.is_not_found(error):
                return None
            raise
        return self._lease.get("spec") or {}

    async def _create(self, spec: Object) -> None:
        self._lease = await self._client.create(LEASES, self._namespace, {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": spec,
        })
        self._observe(spec)

    async def _update(self, spec: Object) -> None:
        self._lease = await self._client.update(
            LEASES, self._namespace, {**self._lease, "spec": spec}
        )
        self._observe(spec)

    def _observe(self, spec: Object) -> None:
        self._observed = spec
        self._observed_ns = self._client.process.monotonic_ns()

    def _record(self, what: str) -> None:
        if self._recorder is not None:
            message = f"{self.identity} {what}"
            self._recorder.event(self._lease, "Normal", REASON, message)
