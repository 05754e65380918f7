"""The job controller: pods that run to an end, as many times as it takes.

The law: every pod of a Job carries a finalizer until it is counted.  A pod that has ended is first
noted in `status.uncountedTerminatedPods`, then loses the finalizer, then is counted; so no end is
lost or counted twice, whatever is deleted and whoever crashes in between.  Syncs caused by pods are
gathered for a second.

Follows `pkg/controller/job/job_controller.go`; one sync is in `job_sync`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import labels, meta, status, timestamps
from pytest_kubesim.client_go.resources import JOBS, PODS
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.client_go.workqueue import RateLimitingQueue
from pytest_kubesim.controller_manager import fields, job_state, pods
from pytest_kubesim.controller_manager.consistency import ConsistencyStore
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller, Result
from pytest_kubesim.controller_manager.expectations import Expectations
from pytest_kubesim.controller_manager.job_policies import BackoffRecord
from pytest_kubesim.controller_manager.job_state import KIND, has_finalizer, is_finished
from pytest_kubesim.controller_manager.job_sync import JobSync
from pytest_kubesim.controller_manager.pod_control import PodControl
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

BATCH_PERIOD_NS = NS
API_BACKOFF_NS, MAX_API_BACKOFF_NS = NS, 60 * NS

OrphanKey = tuple[str, str, str]
_BY_NAME, _BY_SELECTOR = "name", "selector"


class JobController(Controller):
    """Runs Jobs."""

    name = "job-controller"
    service_account = "job-controller"
    workers: ClassVar[int] = 5
    workers_flag = "concurrent-job-syncs"
    base_delay_ns = API_BACKOFF_NS
    max_delay_ns = MAX_API_BACKOFF_NS

    def setup(self) -> None:
        """Listen to Jobs and pods."""
        self.expectations = Expectations(self.process.monotonic_ns)
        self.finalizer_removals: dict[str, set[str]] = {}
        """UIDs of pods whose finalizer is being removed, by the Job's key."""
        self.backoff_records: dict[str, BackoffRecord] = {}
        self.finished_uids: set[str] = set()
        """Jobs of which this process wrote that they have finished."""
        self.pod_control = PodControl(self.client, self.recorder)
        self.orphans: RateLimitingQueue[OrphanKey] = RateLimitingQueue(
            self.process,
            "job_orphan_pod",
            base_delay_ns=API_BACKOFF_NS,
            max_delay_ns=MAX_API_BACKOFF_NS,
        )
        self.jobs = self.watch(
            JOBS, add=self.enqueue, update=self._update_job, delete=self._delete_job
        )
        self.pods = self.watch(
            PODS, add=self._add_pod, update=self._update_pod, delete=self._delete_pod_finally
        )
        pods.add_controller_index(self.pods)
        self.consistency = ConsistencyStore(self.informer(PODS), self.informer(JOBS))

    # -- handlers of Jobs ---------------------------------------------------------------------

    def _update_job(self, old: Object, new: Object) -> None:
        if is_finished(new):
            self._enqueue_pods_of(new)
            return
        if meta.generation(old) == meta.generation(new):
            self.enqueue_batched(new)
        else:
            self.enqueue(new)
        started = fields.status(new).get("startTime")
        deadline = new["spec"].get("activeDeadlineSeconds")
        if started and deadline is not None:
            if old["spec"].get("activeDeadlineSeconds") != deadline:
                passed_ns = self.now_ns() - timestamps.parse_time(started)
                self.enqueue_after(new, deadline * NS - passed_ns)

    def _delete_job(self, job: Object) -> None:
        key = key_of(job)
        self.enqueue(job)
        self.consistency.clear(key)
        self.finished_uids.discard(meta.uid(job))
        self._enqueue_pods_of(job)
        self.expectations.delete(key)
        self.backoff_records.pop(key, None)

    def _enqueue_pods_of(self, job: Object) -> None:
        try:
            selector = labels.from_label_selector(job["spec"].get("selector"))
        except ValueError:
            return
        self.orphans.add((_BY_SELECTOR, meta.namespace(job), str(selector)))

    def enqueue_batched(self, job: Object) -> None:
        """Sync a Job in a second, with all that happens until then."""
        self.queue.add_after(key_of(job), BATCH_PERIOD_NS)

    # -- handlers of pods ---------------------------------------------------------------------

    def _resolve(self, namespace: str, reference: Object | None) -> Object | None:
        if reference is None or reference["kind"] != KIND.kind:
            return None
        found = self.jobs.get(f"{namespace}/{reference['name']}")
        return found if found is not None and meta.uid(found) == reference["uid"] else None

    def _enqueue_matching(self, pod: Object) -> None:
        pod_labels = meta.labels(pod)
        if not pod_labels:
            return
        for job in self.jobs.list(meta.namespace(pod)):
            try:
                selector = labels.from_label_selector(job["spec"].get("selector"))
            except ValueError:
                continue
            if selector.matches(pod_labels):
                self.enqueue_batched(job)

    def _enqueue_orphan(self, pod: Object) -> None:
        self.orphans.add((_BY_NAME, meta.namespace(pod), meta.name(pod)))

    def _add_pod(self, pod: Object) -> None:
        if meta.deletion_timestamp(pod):
            self._delete_pod(pod, final=False)
            return
        reference = meta.controller_of(pod)
        if reference is not None:
            job = self._resolve(meta.namespace(pod), reference)
            if job is not None:
                self.expectations.creation_observed(key_of(job))
                self.enqueue_batched(job)
            return
        if has_finalizer(pod):
            self._enqueue_orphan(pod)
        self._enqueue_matching(pod)

    def _update_pod(self, old: Object, new: Object) -> None:
        if meta.resource_version(old) == meta.resource_version(new):
            return
        if meta.deletion_timestamp(new):
            self._delete_pod(new, final=False)
            return
        removed = not has_finalizer(new)
        before, after = meta.controller_of(old), meta.controller_of(new)
        namespace = meta.namespace(new)
        for reference in (before if before != after else None, after):
            job = self._resolve(namespace, reference)
            if job is not None:
                if removed:
                    self.removal_observed(key_of(job), meta.uid(new))
                self.enqueue_batched(job)
        if after is not None:
            return
        if has_finalizer(new):
            self._enqueue_orphan(new)
        if before is not None or meta.labels(old) != meta.labels(new):
            self._enqueue_matching(new)

    def _delete_pod_finally(self, pod: Object) -> None:
        self._delete_pod(pod, final=True)

    def _delete_pod(self, pod: Object, *, final: bool) -> None:
        tracked = has_finalizer(pod)
        job = self._resolve(meta.namespace(pod), meta.controller_of(pod))
        if job is None or is_finished(job):
            if tracked:
                self._enqueue_orphan(pod)
            return
        key = key_of(job)
        self.expectations.deletion_observed(key)
        if final or not tracked:
            self.removal_observed(key, meta.uid(pod))
        self.enqueue_batched(job)

    def removal_observed(self, key: str, uid: str) -> None:
        """The finalizer of a pod is gone, or will not go now."""
        expected = self.finalizer_removals.get(key)
        if expected is not None:
            expected.discard(uid)

    # -- pods that no Job counts any more -----------------------------------------------------

    async def run(self) -> None:
        """Take the finalizer from pods whose Job is gone or has finished."""
        while True:
            key = await self.orphans.get()
            try:
                await self._sync_orphans(key)
            except RETRIABLE:
                self.orphans.add_rate_limited(key)
            else:
                self.orphans.forget(key)
            finally:
                self.orphans.done(key)

    async def _sync_orphans(self, key: OrphanKey) -> None:
        kind, namespace, value = key
        if kind == _BY_NAME:
            pod = self.pods.get_by_name(namespace, value)
            if pod is not None:
                await self._release(pod)
            return
        selector = labels.parse(value)
        for pod in self.pods.list(namespace):
            if has_finalizer(pod) and selector.matches(meta.labels(pod)):
                try:
                    await self._release(pod)
                except RETRIABLE:
                    self.orphans.add_rate_limited((_BY_NAME, namespace, meta.name(pod)))

    async def _release(self, pod: Object) -> None:
        reference = meta.controller_of(pod)
        if reference is not None:
            if (reference["apiVersion"], reference["kind"]) != (KIND.api_version, KIND.kind):
                return
            job = self._resolve(meta.namespace(pod), reference)
            if job is not None and (job_state.managed_by_other(job) or not is_finished(job)):
                return
        if not has_finalizer(pod):
            return
        try:
            await self.pod_control.patch(
                meta.namespace(pod), meta.name(pod), job_state.FINALIZER_PATCH
            )
        except RETRIABLE as error:
            if not status.is_not_found(error):
                raise

    # -- the sync -----------------------------------------------------------------------------

    async def reconcile(self, key: str) -> Result | None:
        """Sync one Job."""
        self.consistency.ensure_ready(key)
        job = self.jobs.get(key)
        if job is None:
            self.expectations.delete(key)
            self.finalizer_removals.pop(key, None)
            self.consistency.clear(key)
            self.backoff_records.pop(key, None)
            return None
        if job_state.managed_by_other(job):
            return None
        if is_finished(job):
            self.backoff_records.pop(key, None)
            self.consistency.clear(key)
            self.finished_uids.discard(meta.uid(job))
            return None
        if meta.uid(job) in self.finished_uids:
            return None
        mode = job["spec"].get("completionMode")
        if mode not in {None, "NonIndexed", "Indexed"}:
            message = "Skipped Job sync because completion mode is unknown"
            self.event(job, "Warning", "UnknownCompletionMode", message)
            return None
        await JobSync(self, job, key).run()
        return None


CONTROLLER = JobController
