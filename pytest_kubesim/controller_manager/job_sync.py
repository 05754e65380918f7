"""One sync of one Job: make or delete pods, count what ended, write the status.

The law of the counting is told in `controllers/job`.  The order of writes is upstream's: pods are
deleted and created first, then the status says which pods are about to be counted, then these lose
their finalizers, then the status counts them.

Follows `syncJob`, `manageJob` and `trackJobStatusAndRemoveFinalizers` in
`pkg/controller/job/job_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import labels, meta, status
from pytest_kubesim.client_go.resources import JOBS, PODS
from pytest_kubesim.controller_manager import (
    fields,
    job_indexes,
    job_policies,
    pod_ranking,
    pods,
)
from pytest_kubesim.controller_manager.controller import (
    RETRIABLE,
    SyncError,
    is_namespace_terminating,
)
from pytest_kubesim.controller_manager.controller_ref_manager import ControllerRefManager
from pytest_kubesim.controller_manager.job_state import (
    FINALIZER,
    FINALIZER_PATCH,
    KIND,
    JobState,
    has_finalizer,
    is_suspended,
)
from pytest_kubesim.controller_manager.pod_control import all_at_once, pod_from_template
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.controller_manager.job_indexes import Intervals


MAX_UNCOUNTED_PODS = 500
MAX_PODS_PER_SYNC = 500

_OMITTED_WHEN_ZERO = ("active", "succeeded", "failed", "completedIndexes", "conditions")


class JobSync(JobState):
    """One sync of one Job."""

    # -- the whole ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Do it (`syncJob`)."""
        controller = self.controller
        satisfied = controller.expectations.satisfied(self.key)
        self.pods = await self.owned()
        self.active_pods = [pod for pod in self.pods if pods.is_active(pod)]
        self.ready = sum(map(pods.is_ready, self.active_pods))
        self.terminating = sum(map(pods.is_terminating, self.pods))
        active = len(self.active_pods)
        self.count()
        if not self.status.get("startTime") and not is_suspended(self.job):
            self.status["startTime"] = controller.now()
        self.decide()
        suspension = False
        failure: Exception | None = None
        if self.finished is not None:
            ready, deleted, failure = await self.delete_pods(self.active_pods, release=False)
            if deleted != active or not satisfied:
                self.finished = None
            active -= deleted
            self.terminating += deleted
            self.ready -= ready
        else:
            managed = satisfied and not meta.deletion_timestamp(self.job)
            if managed:
                active, failure = await self.manage()
            if self.is_complete(active):
                self.finished = self.condition(
                    "SuccessCriteriaMet",
                    "CompletionsReached",
                    "Reached expected number of succeeded pods",
                )
            elif managed:
                suspension = self.set_suspension()
        flush = (
            suspension
            or active != fields.number(self.status, "active")
            or self.status.get("ready") != self.ready
            or self.status.get("terminating") != self.terminating
        )
        self.status.update(active=active, ready=self.ready, terminating=self.terminating)
        try:
            await self.track(flush=flush)
        except RETRIABLE as error:
            raise SyncError(f"tracking status: {error}") from error
        if failure is not None:
            raise failure

    async def owned(self) -> list[Object]:
        """The Job's pods, after adopting and releasing."""
        controller = self.controller
        try:
            selector = labels.from_label_selector(self.spec.get("selector"))
        except ValueError as problem:
            raise SyncError(f"couldn't convert Job selector: {problem}") from None
        manager = ControllerRefManager(
            controller.client,
            JOBS,
            self.job,
            KIND,
            selector,
            controller.pod_control.patch,
            finalizer=FINALIZER,
        )
        related = pods.of_owner(controller.pods, self.job, KIND.kind, orphans=True)
        claimed = await manager.claim(related)
        return [
            pod
            if has_finalizer(pod) or meta.is_controlled_by(pod, self.job)
            # Adopted just now: it has the finalizer, though the informer does not know it yet.
            else meta.with_metadata(pod, finalizers=[*meta.finalizers(pod), FINALIZER])
            for pod in claimed
        ]

    # -- pods ---------------------------------------------------------------------------------

    async def manage(self) -> tuple[int, Exception | None]:
        """Delete or create pods; gives how many are active then (`manageJob`)."""
        active = len(self.active_pods)
        if is_suspended(self.job):
            return await self.remove(self.for_removal(active))
        parallelism = fields.number(self.spec, "parallelism")
        if self.completions is None:
            wanted = active if self.succeeded > 0 else parallelism
        else:
            wanted = max(0, min(self.completions - self.succeeded, parallelism))
        surplus = self.for_removal(max(0, active - wanted))[:MAX_PODS_PER_SYNC]
        if surplus:
            return await self.remove(surplus)
        terminating = self.terminating if job_policies.only_replaces_failed(self.job) else 0
        missing = wanted - terminating - active
        if missing <= 0:
            return active, None
        now_ns = self.controller.now_ns()
        wait_ns = 0 if self.per_index else job_policies.remaining_ns(self.record, now_ns)
        indexes: list[int] = []
        missing = min(missing, MAX_PODS_PER_SYNC)
        if wait_ns == 0 and self.indexed:
            indexes = job_indexes.first_pending(
                self.taken_indexes(), missing, self.completions or 0
            )
            if self.per_index:
                indexes, wait_ns = self.indexes_due(indexes, now_ns)
            missing = len(indexes)
        if wait_ns > 0:
            self.controller.queue.add_after(self.key, max(wait_ns, NS))
            return active, None
        return await self.create(active, missing, indexes)

    def taken_indexes(self) -> Intervals:
        """Indexes that need no new pod."""
        taken = job_indexes.with_indexes(
            self.succeeded_indexes, job_indexes.indexes_of(self.active_pods)
        )
        if job_policies.only_replaces_failed(self.job):
            terminating = [pod for pod in self.pods if pods.is_terminating(pod)]
            taken = job_indexes.with_indexes(taken, job_indexes.indexes_of(terminating))
        return job_indexes.merge(taken, self.failed_indexes or ())

    def indexes_due(self, indexes: list[int], now_ns: int) -> tuple[list[int], int]:
        """Those whose back-off is over; if there are none, how long the first has to wait."""
        waits = {
            index: job_policies.remaining_of_index_ns(self.delayed.get(index), now_ns)
            for index in indexes
        }
        due = [index for index, wait_ns in waits.items() if wait_ns == 0]
        return due, 0 if due else min(waits.values(), default=0)

    def for_removal(self, at_least: int) -> list[Object]:
        """Active pods to delete: superfluous ones of an index, and as many as asked for."""
        removed: list[Object] = []
        left = self.active_pods
        if self.indexed:
            removed, left = job_indexes.split_duplicates(left, self.completions or 0)
        if len(removed) < at_least:
            removed = removed + pod_ranking.active_pods(left)[: at_least - len(removed)]
        return removed

    async def remove(self, surplus: list[Object]) -> tuple[int, Exception | None]:
        """Delete pods without counting them."""
        self.controller.expectations.set(self.key, 0, len(surplus))
        ready, deleted, failure = await self.delete_pods(surplus, release=True)
        self.terminating += deleted
        self.ready -= ready
        return len(self.active_pods) - deleted, failure

    async def delete_pods(
        self, several: list[Object], *, release: bool
    ) -> tuple[int, int, Exception | None]:
        """Delete pods; gives how many of them were ready, how many are deleted, an error."""
        errors = await all_at_once(
            self.controller.process, [self.delete(pod, release=release) for pod in several]
        )
        failed = [error for error in errors if error is not None]
        ready = sum(map(pods.is_ready, several))
        return ready, len(several) - len(failed), failed[0] if failed else None

    async def delete(self, pod: Object, *, release: bool) -> None:
        """Delete a pod; with `release` it loses its finalizer first, as it is not counted."""
        control = self.controller.pod_control
        name = meta.name(pod)
        try:
            if release and has_finalizer(pod):
                try:
                    await control.patch(self.namespace, name, FINALIZER_PATCH)
                except RETRIABLE as error:
                    if status.is_not_found(error):
                        raise
                    raise SyncError(f"removing completion finalizer: {error}") from error
            await control.delete(self.namespace, name, self.job)
        except RETRIABLE as error:
            if release:
                self.controller.expectations.deletion_observed(self.key)
            if not status.is_not_found(error):
                raise

    async def create(
        self, active: int, missing: int, indexes: list[int]
    ) -> tuple[int, Exception | None]:
        """Create pods in batches that double."""
        expectations = self.controller.expectations
        expectations.expect_creations(self.key, missing)
        template = self.template()
        done, size = 0, 1
        while done < missing:
            batch = range(done, min(done + size, missing))
            calls = [
                self.create_one(template, indexes[number] if indexes else None)
                for number in batch
            ]
            errors = await all_at_once(self.controller.process, calls)
            failed = [error for error in errors if error is not None]
            active += len(batch) - len(failed)
            done += len(batch)
            size *= 2
            if failed:
                expectations.creation_observed(self.key, missing - done)
                return active, failed[0]
        return active, None

    def template(self) -> Object:
        """The template of the Job's pods, with the finalizer."""
        template = self.spec["template"]
        if self.indexed:
            template = job_indexes.with_environment(template)
        finalizers = meta.finalizers(template)
        if FINALIZER not in finalizers:
            template = meta.with_metadata(template, finalizers=[*finalizers, FINALIZER])
        return template

    async def create_one(self, template: Object, index: int | None) -> None:
        """Create a pod (of an index)."""
        job = self.job
        generate_name = ""
        if index is not None:
            template = job_indexes.with_index(template, meta.name(job), index)
            generate_name = job_indexes.generate_name(meta.name(job), index)
            if self.per_index:
                template = self.with_failure_count(template, self.delayed.get(index))
        pod = pod_from_template(
            template, job, meta.new_controller_ref(job, KIND), generate_name=generate_name
        )
        try:
            created = await self.controller.pod_control.create(self.namespace, pod, job)
        except RETRIABLE as error:
            if is_namespace_terminating(error):
                return
            self.controller.expectations.creation_observed(self.key)
            raise
        self.controller.consistency.wrote(self.key, PODS, created)

    def with_failure_count(self, template: Object, replaced: Object | None) -> Object:
        """The template with how often its index has failed."""
        counted = ignored = 0
        if replaced is not None:
            counted = job_indexes.failure_count(replaced)
            ignored = job_indexes.ignored_failure_count(replaced)
            if job_policies.pod_failure(self.job, replaced).counts:
                counted += 1
            else:
                ignored += 1
        annotations = {**meta.annotations(template), job_indexes.FAILURE_COUNT: str(counted)}
        if ignored > 0:
            annotations[job_indexes.IGNORED_FAILURE_COUNT] = str(ignored)
        return meta.with_metadata(template, annotations=annotations)

    # -- the status ---------------------------------------------------------------------------

    async def write(self) -> None:
        """Write the status; what the server made of it is worked on."""
        self.status["uncountedTerminatedPods"] = {
            kind: uids for kind, uids in self.uncounted.items() if uids
        }
        new = {
            key: value
            for key, value in self.status.items()
            if value is not None and (value or key not in _OMITTED_WHEN_ZERO)
        }
        self.job = await self.controller.client.update(
            JOBS, self.namespace, {**self.job, "status": new}, subresource="status"
        )
        self.controller.consistency.wrote(self.key, JOBS, self.job)
        self.status = dict(fields.status(self.job))
        self.read_uncounted()

    async def track(self, *, flush: bool) -> None:
        """Note, release and count pods, and finish the Job."""
        if self.indexed:
            self.pods.sort(key=job_indexes.index_of)
        tracked = {
            meta.uid(pod)
            for pod in self.pods
            if has_finalizer(pod) and meta.uid(pod) not in self.being_released
        }
        flush = self.count_released(tracked) or flush
        released, new_indexes, noted, full = self.note_ended()
        flush = noted or flush
        if self.indexed:
            flush = self.note_indexes(new_indexes) or flush
        flush = self.note_end() or flush
        if flush:
            try:
                await self.write()
            except RETRIABLE as error:
                raise SyncError(f"adding uncounted pods to status: {error}") from error
            self.controller.backoff_records[self.key] = self.record
        failure = await self.release(released, tracked)
        flush = self.count_released(tracked)
        if failure is not None:
            if flush:
                await self.write_counted()
            raise failure
        finished = not full and self.finish()
        if flush or finished:
            before = self.job
            await self.write_counted()
            if finished:
                self.tell_finished(before)
                self.controller.finished_uids.add(meta.uid(self.job))

    async def write_counted(self) -> None:
        """Write the status once pods are counted."""
        try:
            await self.write()
        except RETRIABLE as error:
            raise SyncError(f"removing uncounted pods from status: {error}") from error

    def count_released(self, tracked: set[str]) -> bool:
        """Count noted pods that have no finalizer any more; whether there were any."""
        changed = False
        for kind, uids in self.uncounted.items():
            left = [uid for uid in uids if uid in tracked]
            if len(left) != len(uids):
                changed = True
                count = len(uids) - len(left)
                self.status[kind] = fields.number(self.status, kind) + count
                self.uncounted[kind] = left
        return changed

    def note_ended(self) -> tuple[list[Object], list[int], bool, bool]:
        """Note pods that have ended.

        Returns: pods to release, indexes that have newly succeeded, whether the status changed,
        whether no more pods can be noted now.
        """
        released: list[Object] = []
        indexes: list[int] = []
        changed = False
        for pod in self.pods:
            uid = meta.uid(pod)
            if not has_finalizer(pod) or uid in self.being_released:
                continue
            failed = job_policies.is_failed(pod, self.job)
            if not self.can_release(pod, failed=failed):
                continue
            released.append(pod)
            index = job_indexes.index_of(pod)
            if pods.phase(pod) == "Succeeded" and uid not in self.noted["failed"]:
                if self.indexed:
                    if self.is_valid_index(index) and not job_indexes.has(
                        self.previously_succeeded, index
                    ):
                        indexes.append(index)
                        changed = True
                elif uid not in self.noted["succeeded"]:
                    self.uncounted["succeeded"].append(uid)
                    changed = True
            elif (
                (failed or self.has_failed())
                and uid not in self.noted["failed"]
                and (not self.indexed or self.is_valid_index(index))
                and job_policies.pod_failure(self.job, pod).counts
            ):
                self.uncounted["failed"].append(uid)
                changed = True
            noted = len(indexes) + sum(map(len, self.uncounted.values()))
            if noted >= MAX_UNCOUNTED_PODS:
                return released, indexes, changed, True
        return released, indexes, changed, False

    def has_failed(self) -> bool:
        """Whether the Job is over and did not succeed."""
        return self.finished is not None and self.finished["type"] != "SuccessCriteriaMet"

    def can_release(self, pod: Object, *, failed: bool) -> bool:
        """Whether a pod may be counted now."""
        if (
            meta.deletion_timestamp(self.job)
            or self.finished is not None
            or pods.phase(pod) == "Succeeded"
        ):
            return True
        if not failed:
            return False
        if self.per_index:
            delayed = self.delayed.get(job_indexes.index_of(pod))
            return delayed is None or meta.uid(delayed) != meta.uid(pod)
        return True

    def note_indexes(self, new_indexes: list[int]) -> bool:
        """The indexes in the status; whether they changed."""
        changed = False
        self.succeeded_indexes = job_indexes.with_indexes(self.succeeded_indexes, new_indexes)
        text = job_indexes.to_text(self.succeeded_indexes)
        if text != fields.text(self.status, "completedIndexes"):
            changed = True
        self.status["succeeded"] = job_indexes.total(self.succeeded_indexes)
        self.status["completedIndexes"] = text
        failed = None
        if self.failed_indexes is not None:
            failed = job_indexes.to_text(self.failed_indexes)
        if self.status.get("failedIndexes") != failed:
            self.status["failedIndexes"] = failed
            changed = True
        return changed

    def note_end(self) -> bool:
        """The conditions that say that the Job will end; whether they changed."""
        finished = self.finished
        if finished is None:
            return False
        conditions = fields.objects(self.status, "conditions")
        reason, message = finished.get("reason", ""), finished.get("message", "")
        changed = False
        if finished["type"] == "FailureTarget":
            self.status["conditions"] = [*conditions, finished]
            changed = True
            self.finished = self.condition("Failed", reason, message)
        elif finished["type"] == "SuccessCriteriaMet":
            if self.find_condition("SuccessCriteriaMet") is None:
                self.status["conditions"] = [*conditions, finished]
                changed = True
            self.finished = self.condition("Complete", reason, message)
        return changed

    async def release(self, several: list[Object], tracked: set[str]) -> Exception | None:
        """Take the finalizers from pods; `tracked` loses those where that succeeded."""
        if not several:
            return None
        controller = self.controller
        expected = controller.finalizer_removals.setdefault(self.key, set())
        expected.update(map(meta.uid, several))
        errors = await all_at_once(controller.process, [self.release_one(p) for p in several])
        for pod, error in zip(several, errors, strict=True):
            if error is None:
                tracked.discard(meta.uid(pod))
        return next((error for error in errors if error is not None), None)

    async def release_one(self, pod: Object) -> None:
        """Take the finalizer from a pod."""
        try:
            await self.controller.pod_control.patch(
                self.namespace, meta.name(pod), FINALIZER_PATCH
            )
        except RETRIABLE as error:
            self.controller.removal_observed(self.key, meta.uid(pod))
            if not status.is_not_found(error):
                raise

    def finish(self) -> bool:
        """Say that the Job is over, once all its pods are counted and gone (`enactJobFinished`)."""
        finished = self.finished
        if finished is None or any(self.uncounted.values()) or self.terminating > 0:
            return False
        self.ensure_condition(
            self.condition(finished["type"], finished["reason"], finished["message"])
        )
        if finished["type"] == "Complete":
            self.status["completionTime"] = finished["lastTransitionTime"]
        return True

    def tell_finished(self, job: Object) -> None:
        """The event of the Job's end, about it as it was before its last status."""
        finished = self.finished
        assert finished is not None
        event = self.controller.event
        if finished["type"] != "Complete":
            event(job, "Warning", finished["reason"], finished["message"])
            return
        if self.completions is not None and fields.number(
            self.status, "succeeded"
        ) > self.completions:
            message = "Too many succeeded pods running after completion count reached"
            event(job, "Warning", "TooManySucceededPods", message)
        event(job, "Normal", "Completed", "Job completed")
