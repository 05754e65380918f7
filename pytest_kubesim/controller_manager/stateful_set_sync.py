"""One sync of one StatefulSet: pods made, deleted and replaced in order, the status written.

The law is told in `controllers/statefulset`.  Follows
`pkg/controller/statefulset/stateful_set_control.go`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import intstr, meta
from pytest_kubesim.client_go.resources import (
    STATEFULSETS,
)
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.controller_manager import fields, history, pods, retry, stateful_pods
from pytest_kubesim.controller_manager.controller import (
    RETRIABLE,
)
from pytest_kubesim.controller_manager.controller_ref_manager import (
    aggregate,
)
from pytest_kubesim.controller_manager.pod_control import all_at_once
from pytest_kubesim.controller_manager.stateful_pods import KIND

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.labels import Selector
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.controller_manager.controllers.statefulset import StatefulSetController


MAX_BATCH_SIZE = 500
Step = Callable[["Object"], Awaitable[bool]]
Skip = Callable[["Object"], bool]

_LATER: dict[str, Any] = {"metadata": {"name": ""}, "spec": {}}
"""A pod that is missing and cannot be made yet."""


class StatefulSetSync:
    """One sync of one StatefulSet with the pods it owns."""

    def __init__(
        self,
        controller: StatefulSetController,
        stateful_set: Object,
        owned: list[Object],
        selector: Selector,
        now_ns: int,
    ) -> None:
        self.controller = controller
        self.control = controller.control
        self.set = stateful_set
        self.spec: Object = stateful_set["spec"]
        self.owned = owned
        self.selector = selector
        self.now_ns = now_ns
        self.min_ready = fields.number(self.spec, "minReadySeconds")
        self.monotonic = self.spec.get("podManagementPolicy") != "Parallel"
        self.current: Object = {}
        self.update: Object = {}
        self.collisions = 0
        self.current_set: Object = {}
        self.update_set: Object = {}

    async def run(self) -> dict[str, Any]:
        """Do what can be done, write the status, cut the history; gives the status."""
        revisions = history.ordered(self.controller.history.list(self.set, self.selector))
        failure: Exception | None = None
        status: dict[str, Any] = {}
        try:
            await self.find_revisions(revisions)
            status, failure = await self.update_pods()
            await self.write_status(status)
        except RETRIABLE as error:
            failure = failure or error
        await self.truncate_history(revisions)
        if failure is not None:
            raise failure
        return status

    async def find_revisions(self, revisions: list[Object]) -> None:
        """The revision that is and the one that is to be (`getStatefulSetRevisions`)."""
        status = fields.status(self.set)
        self.collisions = fields.number(status, "collisionCount")
        number = history.next_number(revisions)
        wanted = history.new_revision(self.set, KIND, number, self.collisions)
        equals = [revision for revision in revisions if history.equal(revision, wanted)]
        if equals and history.equal(revisions[-1], equals[-1]):
            self.update = revisions[-1]
        elif equals:
            self.update = await self.controller.history.renumber(equals[-1], number)
        else:
            self.update, self.collisions = await self.controller.history.create(
                self.set, wanted, self.collisions
            )
        name = fields.text(status, "currentRevision")
        self.current = next((r for r in revisions if meta.name(r) == name), self.update)
        self.current_set = history.apply(self.set, self.current)
        self.update_set = history.apply(self.set, self.update)

    async def truncate_history(self, revisions: list[Object]) -> None:
        """Delete the oldest revisions that nobody needs, beyond the limit."""
        live = {meta.name(r) for r in (self.current, self.update) if r}
        live.update(stateful_pods.revision_of(pod) for pod in self.owned)
        unused = [r for r in revisions if meta.name(r) not in live]
        limit = fields.number(self.spec, "revisionHistoryLimit", 10)
        if limit < 0:
            return
        for revision in unused[: max(0, len(unused) - limit)]:
            await self.controller.history.delete(revision)

    # -- the pods -----------------------------------------------------------------------------

    async def update_pods(self) -> tuple[dict[str, Any], Exception | None]:
        """Create, delete and replace pods (`updateStatefulSet`); gives status and error."""
        start, count = stateful_pods.start_ordinal(self.set), stateful_pods.replicas(self.set)
        wanted: list[Object | None] = [None] * count
        condemned: list[Object] = []
        for pod in self.owned:
            ordinal = stateful_pods.ordinal_of(pod)
            if start <= ordinal < start + count:
                wanted[ordinal - start] = pod
            elif ordinal >= 0:
                condemned.append(pod)
        replicas = self.with_missing(wanted, start)
        condemned.sort(key=stateful_pods.ordinal_of, reverse=True)
        first_unavailable = next(
            (pod for pod in (*replicas, *reversed(condemned)) if self.is_unavailable(pod)), None
        )
        if meta.deletion_timestamp(self.set):
            return self.status(self.owned), None

        async def process_condemned(pod: Object) -> bool:
            return await self.process_condemned(pod, first_unavailable)

        steps: tuple[tuple[list[Object], Step, Skip], ...] = (
            (replicas, self.process_replica, self.at_rest),
            (condemned, self.fix_claims, _never),
            (condemned, process_condemned, _never),
        )
        for several, step, skip in steps:
            done, failure = await self.for_all(several, step, skip)
            if done or failure is not None:
                return self.status([*replicas, *condemned]), failure
        status = self.status([*replicas, *condemned])
        strategy = fields.mapping(self.spec, "updateStrategy")
        if strategy.get("type") == "OnDelete":
            return status, None
        try:
            await self.roll(replicas, status)
        except RETRIABLE as error:
            return status, error
        return status, None

    def with_missing(self, wanted: list[Object | None], start: int) -> list[Object]:
        """The pods, with those that are missing as they are to be created.

        Of pods that come one after the other only the first can be made in this sync.
        """
        replicas: list[Object] = []
        made = False
        for index, pod in enumerate(wanted):
            if pod is None:
                pod = _LATER if made and self.monotonic else self.new_pod(start + index)
                made = True
            replicas.append(pod)
        return replicas

    def new_pod(self, ordinal: int) -> Object:
        """The pod that is missing at an ordinal."""
        return stateful_pods.new_versioned_pod(
            self.current_set,
            self.update_set,
            meta.name(self.current),
            meta.name(self.update),
            ordinal,
        )

    async def for_all(
        self, several: list[Object], step: Step, skip: Skip
    ) -> tuple[bool, Exception | None]:
        """One after the other until one says stop, or in batches that double (`runForAll`).

        Where `skip` holds there is nothing to do, and nothing is done.
        """
        if self.monotonic:
            for pod in several:
                if skip(pod):
                    continue
                try:
                    if await step(pod):
                        return True, None
                except RETRIABLE as error:
                    return True, error
            return False, None
        done, size = 0, 1
        while done < len(several):
            batch = several[done : done + size]
            errors = await all_at_once(
                self.controller.process,
                [_coroutine(step(pod)) for pod in batch if not skip(pod)],
            )
            failed = [error for error in errors if error is not None]
            if failed:
                return True, aggregate(failed)
            done += len(batch)
            size = min(2 * size, MAX_BATCH_SIZE)
        return False, None

    def at_rest(self, pod: Object) -> bool:
        """Whether `process_replica` would find nothing to do with it, and go on.

        What a version of a pod says is found out once, as long as the set's claims are the same.
        """
        steady, templates = self.controller.steady, stateful_pods.claim_templates(self.set)
        uid = pod["metadata"].get("uid", "")
        known = steady.get(uid)
        if known is None or known[0] is not pod or known[1] != templates:
            if not stateful_pods.is_steady(self.set, pod):
                return False
            well = not stateful_pods.is_deleting(pod) and stateful_pods.is_running_and_ready(pod)
            known = steady[uid] = pod, templates, well
        if self.monotonic and not (
            known[2] and pods.is_available(pod, self.min_ready, self.now_ns)
        ):
            return False
        return not templates or self.control.claims_match_policy(self.update_set, pod)

    async def process_replica(self, pod: Object) -> bool:
        """One step with a pod that is wanted; whether to stop here (`processReplica`)."""
        if pods.is_terminal(pod):
            if not stateful_pods.is_deleting(pod):
                await self.control.delete(self.set, pod)
            return True
        if not stateful_pods.is_created(pod):
            if self.control.claim_is_stale(self.set, pod):
                return True
            await self.control.create(self.set, pod)
            if self.monotonic:
                return True
        if pods.phase(pod) == "Pending":
            await self.control.create_missing_claims(self.set, pod)
        if self.monotonic and (
            stateful_pods.is_deleting(pod)
            or not stateful_pods.is_running_and_ready(pod)
            or not pods.is_available(pod, self.min_ready, self.now_ns)
        ):
            return True
        if (
            stateful_pods.identity_matches(self.set, pod)
            and stateful_pods.storage_matches(self.set, pod)
            and self.control.claims_match_policy(self.update_set, pod)
        ):
            return False
        await self.control.update(self.update_set, pod)
        return False

    async def fix_claims(self, pod: Object) -> bool:
        """Give the claims of a pod that is going away their owners."""
        if not self.control.claims_match_policy(self.update_set, pod):
            await self.control.keep_policy(self.update_set, pod)
        return False

    async def process_condemned(self, pod: Object, first_unavailable: Object | None) -> bool:
        """One step with a pod that is too many; whether to stop here (`processCondemned`)."""
        if stateful_pods.is_deleting(pod):
            return self.monotonic
        if self.monotonic and pod is not first_unavailable and (
            not stateful_pods.is_running_and_ready(pod)
            or not pods.is_available(pod, self.min_ready, self.now_ns)
        ):
            return True
        await self.control.delete(self.set, pod)
        return True

    # -- the rolling update -------------------------------------------------------------------

    def is_old(self, pod: Object) -> bool:
        """Whether it is of another revision than the one that is to be."""
        return stateful_pods.revision_of(pod) != meta.name(self.update)

    def is_unavailable(self, pod: Object) -> bool:
        """Whether it counts as missing."""
        return stateful_pods.is_unavailable(pod, self.min_ready, self.now_ns)

    async def roll(self, replicas: list[Object], status: dict[str, Any]) -> None:
        """Delete old pods from the last one down (`updateStatefulSetAfterInvariantEstablished`)."""
        rolling = fields.mapping(fields.mapping(self.spec, "updateStrategy"), "rollingUpdate")
        partition = fields.number(rolling, "partition")
        limit = max(
            1,
            intstr.scaled_value(
                rolling.get("maxUnavailable", 1), stateful_pods.replicas(self.set), round_up=False
            ),
        )
        missing = [pod for pod in replicas if self.is_unavailable(pod)]
        hopeless = not self.monotonic and any(
            self.is_old(pod) and not stateful_pods.is_deleting(pod) for pod in missing
        )
        if len(missing) >= limit and not hopeless:
            return
        candidates = replicas[partition:][::-1]
        budget = limit - len(missing)
        if self.monotonic:
            chosen = [
                pod
                for pod in candidates
                if self.is_old(pod) and not stateful_pods.is_deleting(pod)
            ][: max(0, budget)]
        else:
            # Old pods that are no use are replaced whatever the budget; then the others, within it.
            chosen = [
                pod
                for pod in candidates
                if self.is_old(pod)
                and not stateful_pods.is_deleting(pod)
                and not pods.is_available(pod, self.min_ready, self.now_ns)
            ]
            chosen += [
                pod for pod in candidates if self.is_old(pod) and not self.is_unavailable(pod)
            ][: max(0, budget)]
        for pod in chosen:
            await self.control.delete(self.set, pod)
            status["currentReplicas"] -= 1

    # -- the status ---------------------------------------------------------------------------

    def status(self, several: list[Object]) -> dict[str, Any]:
        """The status with these pods counted."""
        counts = dict.fromkeys(
            (
                "replicas",
                "readyReplicas",
                "availableReplicas",
                "currentReplicas",
                "updatedReplicas",
            ),
            0,
        )
        current, update = meta.name(self.current), meta.name(self.update)
        for pod in several:
            created = stateful_pods.is_created(pod)
            counts["replicas"] += created
            if stateful_pods.is_running_and_ready(pod):
                counts["readyReplicas"] += 1
                counts["availableReplicas"] += pods.is_available(
                    pod, self.min_ready, self.now_ns
                )
            if created and not stateful_pods.is_deleting(pod):
                revision = stateful_pods.revision_of(pod)
                counts["currentReplicas"] += revision == current
                counts["updatedReplicas"] += revision == update
        return {
            "observedGeneration": meta.generation(self.set),
            **counts,
            "currentRevision": current,
            "updateRevision": update,
            "collisionCount": self.collisions,
            "conditions": fields.conditions(self.set),
        }

    async def write_status(self, status: dict[str, Any]) -> None:
        """Write the status if it says something new; the update is complete when all are new."""
        wanted = stateful_pods.replicas(self.set)
        if (
            status["updatedReplicas"] == wanted
            and status["readyReplicas"] == wanted
            and status["replicas"] == wanted
        ):
            status["currentReplicas"] = status["updatedReplicas"]
            status["currentRevision"] = status["updateRevision"]
        old = fields.status(self.set)
        if status["observedGeneration"] <= fields.number(old, "observedGeneration") and all(
            (old.get(key) or _ZERO[type(value)]) == value
            for key, value in status.items()
            if key not in {"observedGeneration", "collisionCount"}
        ):
            return
        written = {
            key: value
            for key, value in status.items()
            if value or key in {"replicas", "availableReplicas", "collisionCount"}
        }
        current = self.set
        controller = self.controller
        key = key_of(self.set)

        async def update() -> None:
            nonlocal current
            try:
                updated = await controller.client.update(
                    STATEFULSETS,
                    meta.namespace(current),
                    {**current, "status": written},
                    subresource="status",
                )
            except RETRIABLE:
                current = controller.sets.get(key) or current
                raise
            controller.consistency.wrote(key, STATEFULSETS, updated)

        await retry.on_conflict(controller.process, retry.DEFAULT_RETRY, update)


_ZERO: dict[type, Any] = {int: 0, str: "", list: []}


def _never(_pod: Object) -> bool:
    return False


async def _coroutine(step: Awaitable[bool]) -> bool:
    return await step
