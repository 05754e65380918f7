"""The ttl-after-finished controller: finished Jobs are deleted when their time is over.

Follows `pkg/controller/ttlafterfinished/ttlafterfinished_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import meta, status, timestamps
from pytest_kubesim.client_go.resources import JOBS
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import Controller, Result, SyncError
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object


class TTLAfterFinishedController(Controller):
    """Deletes finished Jobs that say how long they want to be kept."""

    name = "ttl-after-finished-controller"
    service_account = "ttl-after-finished-controller"
    workers: ClassVar[int] = 5
    workers_flag = "concurrent-ttl-after-finished-syncs"

    def setup(self) -> None:
        """Listen to Jobs."""
        self.jobs = self.watch(JOBS, add=self._add, update=self._update)

    def _add(self, job: Object) -> None:
        if self._expires(job):
            self.enqueue(job)

    def _update(self, _old: Object, job: Object) -> None:
        self._add(job)

    @staticmethod
    def _finish(job: Object) -> Object | None:
        for condition in fields.conditions(job):
            if condition["type"] in {"Complete", "Failed"} and condition["status"] == "True":
                return condition
        return None

    def _expires(self, job: Object) -> bool:
        return (
            not meta.deletion_timestamp(job)
            and job["spec"].get("ttlSecondsAfterFinished") is not None
            and self._finish(job) is not None
        )

    def _left_ns(self, job: Object) -> int | None:
        """How long it is to be kept; None for ever."""
        condition = self._finish(job)
        if condition is None or not self._expires(job):
            return None
        finished = condition.get("lastTransitionTime")
        if not finished:
            raise SyncError(
                "unable to find the time when the Job "
                f"{meta.namespace(job)}/{meta.name(job)} finished"
            )
        ttl_ns: int = job["spec"]["ttlSecondsAfterFinished"] * NS
        return timestamps.parse_time(finished) + ttl_ns - self.now_ns()

    async def reconcile(self, key: str) -> Result | None:
        """Delete a Job whose time is over; look again when it will be."""
        job = self.jobs.get(key)
        left_ns = None if job is None else self._left_ns(job)
        if left_ns is None:
            return None
        if left_ns > 0:
            return Result(left_ns)
        namespace, name = meta.split_key(key)
        try:
            fresh = await self.client.get(JOBS, namespace, name)
        except status.APIStatus as error:
            if status.is_not_found(error):
                return None
            raise
        left_ns = self._left_ns(fresh)
        if left_ns is None:
            return None
        if left_ns > 0:
            return Result(left_ns)
        await self.client.delete(
            JOBS, namespace, name, propagation_policy="Foreground", uid=meta.uid(fresh)
        )
        return None


CONTROLLER = TTLAfterFinishedController
