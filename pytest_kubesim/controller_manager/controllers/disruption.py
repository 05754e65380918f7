"""The disruption controller: how many pods of a PodDisruptionBudget may be evicted now.

The law: what is evicted is entered into `status.disruptedPods` by the API server and counts as gone
from then on; if it has not gone after two minutes, it is taken out again.  When the budget cannot
be worked out nothing may be evicted.

Follows `pkg/controller/disruption/disruption.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_kubesim.apimachinery import intstr, labels, meta, status, timestamps
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupVersionResource
from pytest_kubesim.client_go.resources import (
    DEPLOYMENTS,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    STATEFULSETS,
)
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.client_go.workqueue import RateLimitingQueue
from pytest_kubesim.controller_manager import fields, pods
from pytest_kubesim.controller_manager.controller import (
    RETRIABLE,
    Controller,
    Result,
    SyncError,
)
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

DELETION_TIMEOUT_NS = 120 * NS
STALE_POD_DISRUPTION_NS = 120 * NS

DISRUPTION_ALLOWED = "DisruptionAllowed"
SUFFICIENT_PODS = "SufficientPods"
INSUFFICIENT_PODS = "InsufficientPods"
SYNC_FAILED = "SyncFailed"
TERMINATION_BY_KUBELET = "TerminationByKubelet"


class _Scale(NamedTuple):
    uid: str
    replicas: int


class _Budget(NamedTuple):
    expected: int
    desired: int
    unmanaged: bool


class DisruptionController(Controller):
    """Works out PodDisruptionBudgets."""

    name = "disruption-controller"
    service_account = "disruption-controller"
    component = "controllermanager"
    workers_flag = "concurrent-disruption-syncs"

    def setup(self) -> None:
        """Listen to budgets and pods; read what controls pods."""
        self.stale_pods: RateLimitingQueue[str] = RateLimitingQueue(
            self.process, "stale_pod_disruption"
        )
        self.pods = self.watch(
            PODS, add=self._add_pod, update=self._update_pod, delete=self._enqueue_budget_of
        )
        self.budgets = self.watch(
            PODDISRUPTIONBUDGETS,
            add=self.enqueue,
            update=self.enqueue_new,
            delete=self.enqueue,
        )
        self.controllers = {
            "ReplicationController": self.informer(REPLICATIONCONTROLLERS).store,
            "ReplicaSet": self.informer(REPLICASETS).store,
            "Deployment": self.informer(DEPLOYMENTS).store,
            "StatefulSet": self.informer(STATEFULSETS).store,
        }

    # -- handlers -----------------------------------------------------------------------------

    def _add_pod(self, pod: Object) -> None:
        self._enqueue_budget_of(pod)
        wait_ns = self._stale_after_ns(pod)
        if wait_ns is not None:
            self.stale_pods.add_after(key_of(pod), wait_ns)

    def _update_pod(self, _old: Object, pod: Object) -> None:
        self._add_pod(pod)

    def _enqueue_budget_of(self, pod: Object) -> None:
        found: list[Object] = []
        for budget in self.budgets.list(meta.namespace(pod)):
            try:
                selector = labels.from_label_selector(budget["spec"].get("selector"))
            except ValueError:
                continue
            if selector.matches(meta.labels(pod)):
                found.append(budget)
        if not found:
            return
        if len(found) > 1:
            message = (
                f"Pod {quote(meta.namespace(pod))}/{quote(meta.name(pod))} matches multiple "
                f"PodDisruptionBudgets.  Chose {quote(meta.name(found[0]))} arbitrarily."
            )
            self.event(pod, "Warning", "MultiplePodDisruptionBudgets", message)
        self.enqueue(found[0])

    # -- pods that were to be disrupted and were not ------------------------------------------

    def _stale_after_ns(self, pod: Object) -> int | None:
        """When the condition that a pod will be disrupted is stale; None without one."""
        if meta.deletion_timestamp(pod) or pods.is_terminal(pod):
            return None
        condition = meta.condition(pod, "DisruptionTarget")
        if (
            condition is None
            or condition["status"] != "True"
            or condition.get("reason") == TERMINATION_BY_KUBELET
        ):
            return None
        since_ns = timestamps.parse_time(condition["lastTransitionTime"])
        return max(0, since_ns + STALE_POD_DISRUPTION_NS - self.now_ns())

    async def run(self) -> None:
        """Take stale conditions back (`syncStalePodDisruption`)."""
        while True:
            key = await self.stale_pods.get()
            try:
                await self._sync_stale_pod(key)
            except RETRIABLE:
                self.stale_pods.add_rate_limited(key)
            else:
                self.stale_pods.forget(key)
            finally:
                self.stale_pods.done(key)

    async def _sync_stale_pod(self, key: str) -> None:
        pod = self.pods.get(key)
        wait_ns = None if pod is None else self._stale_after_ns(pod)
        if pod is None or wait_ns is None:
            return
        if wait_ns > 0:
            self.stale_pods.add_after(key, wait_ns)
            return
        conditions = [
            {
                key: value
                for key, value in {
                    "type": "DisruptionTarget",
                    "status": "False",
                    "observedGeneration": condition.get("observedGeneration"),
                    "lastTransitionTime": self.now(),
                }.items()
                if value is not None
            }
            if condition["type"] == "DisruptionTarget"
            else condition
            for condition in fields.conditions(pod)
        ]
        updated = meta.with_status(pod, conditions=conditions)
        await self.client.update(PODS, meta.namespace(pod), updated, subresource="status")

    # -- the sync -----------------------------------------------------------------------------

    async def reconcile(self, key: str) -> Result | None:
        """Sync one budget."""
        budget = self.budgets.get(key)
        if budget is None:
            return None
        try:
            return await self._try_sync(budget)
        except RETRIABLE as error:
            if status.is_conflict(error):
                raise
            await self._fail_safe(budget, error)
            return None

    async def _try_sync(self, budget: Object) -> Result | None:
        try:
            selector = labels.from_label_selector(budget["spec"].get("selector"))
        except ValueError as problem:
            self.event(budget, "Warning", "NoPods", f"Failed to get pods: {problem}")
            raise SyncError(str(problem)) from None
        selected = [
            pod
            for pod in self.pods.list(meta.namespace(budget))
            if selector.matches(meta.labels(pod))
        ]
        if not selected:
            self.event(budget, "Normal", "NoPods", "No matching pods found")
        try:
            numbers = await self._numbers(budget, selected)
        except RETRIABLE as error:
            message = f"Failed to calculate the number of expected pods: {error}"
            self.event(budget, "Warning", "CalculateExpectedPodCountFailed", message)
            raise
        if numbers.unmanaged:
            shown = labels.printed(budget["spec"].get("selector"))
            message = (
                f"Pods selected by this PodDisruptionBudget (selector: {shown}) were found to be "
                "unmanaged. As a result, the status of the PDB cannot be calculated correctly, "
                "which may result in undefined behavior. To account for these pods please set "
                '".spec.minAvailable" field of the PDB to an integer value.'
            )
            self.event(budget, "Warning", "UnmanagedPods", message)
        now_ns = self.now_ns()
        disrupted, recheck_ns = self._disrupted(budget, selected, now_ns)
        healthy = sum(
            not meta.deletion_timestamp(pod)
            and meta.name(pod) not in disrupted
            and pods.is_ready(pod)
            for pod in selected
        )
        await self._update_status(budget, healthy, numbers, disrupted)
        return None if recheck_ns is None else Result(max(recheck_ns - now_ns, 1))

    async def _numbers(self, budget: Object, selected: list[Object]) -> _Budget:
        """How many pods are expected and how many must stay healthy (`getExpectedPodCount`)."""
        spec = budget["spec"]
        try:
            if spec.get("maxUnavailable") is not None:
                expected, unmanaged = await self._expected_scale(selected)
                limit = intstr.scaled_value(spec["maxUnavailable"], expected, round_up=True)
                return _Budget(expected, max(0, expected - limit), unmanaged)
            minimum = spec.get("minAvailable")
            if minimum is None:
                return _Budget(0, 0, unmanaged=False)
            if isinstance(minimum, int):
                return _Budget(len(selected), minimum, unmanaged=False)
            expected, unmanaged = await self._expected_scale(selected)
            desired = intstr.scaled_value(minimum, expected, round_up=True)
            return _Budget(expected, desired, unmanaged)
        except ValueError as problem:
            raise SyncError(str(problem)) from None

    async def _expected_scale(self, selected: list[Object]) -> tuple[int, bool]:
        """The sum of what the controllers of these pods want; whether some have none."""
        scales: dict[str, int] = {}
        unmanaged = False
        for pod in selected:
            reference = meta.controller_of(pod)
            if reference is None:
                unmanaged = True
                continue
            if reference["uid"] in scales:
                continue
            scale = self._known_scale(reference, meta.namespace(pod))
            if scale is None:
                scale = await self._scale_of(reference, meta.namespace(pod))
            if scale is None:
                raise SyncError(f"found no controllers for pod {quote(meta.name(pod))}")
            scales[scale.uid] = scale.replicas
        return sum(scales.values()), unmanaged

    def _find(self, reference: Object, namespace: str) -> Object | None:
        store = self.controllers.get(reference["kind"])
        found = None if store is None else store.get_by_name(namespace, reference["name"])
        return found if found is not None and meta.uid(found) == reference["uid"] else None

    def _known_scale(self, reference: Object, namespace: str) -> _Scale | None:
        group = meta.parse_api_version(reference["apiVersion"]).group
        kind = reference["kind"]
        groups = {"ReplicaSet": ("apps", "extensions"), "StatefulSet": ("apps",)}
        groups["ReplicationController"] = ("",)
        if group not in groups.get(kind, ()):
            return None
        found = self._find(reference, namespace)
        if found is None:
            return None
        if kind == "ReplicaSet":
            owner = meta.controller_of(found)
            if owner is not None and owner["kind"] == "Deployment":
                found = self._find(owner, namespace)
                if found is None:
                    return None
        return _Scale(meta.uid(found), fields.number(found["spec"], "replicas"))

    async def _scale_of(self, reference: Object, namespace: str) -> _Scale | None:
        """The scale of any other controller, by its `/scale` (`getScaleController`)."""
        api_version, kind = reference["apiVersion"], reference["kind"]
        group, version = meta.parse_api_version(api_version)
        no_match = SyncError(f"no matches for kind {quote(kind)} in version {quote(api_version)}")
        path = f"/apis/{api_version}" if group else f"/api/{api_version}"
        try:
            listed = await self.client.raw("GET", path)
        except status.APIStatus as error:
            if status.is_not_found(error):
                raise no_match from None
            raise
        served = fields.objects(listed, "resources")
        plural = next(
            (r["name"] for r in served if r["kind"] == kind and "/" not in r["name"]), None
        )
        if plural is None:
            raise no_match
        resource = GroupVersionResource(group, version, plural)
        try:
            scale = await self.client.get(
                resource, namespace, reference["name"], subresource="scale"
            )
        except status.APIStatus as error:
            if not status.is_not_found(error):
                raise
            if not any(r["name"] == f"{plural}/scale" for r in served):
                raise SyncError(
                    f"{resource.group_resource} does not implement the scale subresource"
                ) from None
            return None
        if meta.uid(scale) != reference["uid"]:
            return None
        return _Scale(meta.uid(scale), fields.number(fields.spec(scale), "replicas"))

    def _disrupted(
        self, budget: Object, selected: list[Object], now_ns: int
    ) -> tuple[dict[str, str], int | None]:
        """The pods that are about to go, and when to look whether they went."""
        known = fields.strings(fields.status(budget), "disruptedPods")
        result: dict[str, str] = {}
        recheck_ns: int | None = None
        for pod in selected if known else ():
            since = known.get(meta.name(pod))
            if since is None or meta.deletion_timestamp(pod):
                continue
            until_ns = timestamps.parse_time(since) + DELETION_TIMEOUT_NS
            if until_ns < now_ns:
                # The namespace twice, as upstream.
                about = f"{meta.namespace(budget)}/{meta.namespace(budget)}"
                message = f"Pod was expected by PDB {about} to be deleted but it wasn't"
                self.event(pod, "Warning", "NotDeleted", message)
                continue
            result[meta.name(pod)] = since
            recheck_ns = until_ns if recheck_ns is None else min(recheck_ns, until_ns)
        return result, recheck_ns

    # -- the status ---------------------------------------------------------------------------

    async def _update_status(
        self, budget: Object, healthy: int, numbers: _Budget, disrupted: dict[str, str]
    ) -> None:
        allowed = healthy - numbers.desired
        if numbers.expected <= 0 or allowed <= 0:
            allowed = 0
        generation = meta.generation(budget)
        old = fields.status(budget)
        new: Object = {
            "currentHealthy": healthy,
            "desiredHealthy": numbers.desired,
            "expectedPods": numbers.expected,
            "disruptionsAllowed": allowed,
            "observedGeneration": generation,
        }
        if (
            all(fields.number(old, key) == value for key, value in new.items())
            and fields.strings(old, "disruptedPods") == disrupted
            and _is_condition_current(budget, allowed)
        ):
            return
        if disrupted:
            new["disruptedPods"] = disrupted
        if conditions := fields.conditions(budget):
            new["conditions"] = conditions
        state, reason = (
            ("True", SUFFICIENT_PODS) if allowed > 0 else ("False", INSUFFICIENT_PODS)
        )
        await self._write(
            meta.with_condition(
                {**budget, "status": new},
                DISRUPTION_ALLOWED,
                state,
                now=self.now(),
                reason=reason,
                observed_generation=generation,
            )
        )

    async def _fail_safe(self, budget: Object, error: Exception) -> None:
        """Nothing may be evicted while the numbers are not known."""
        closed = meta.with_status(budget, disruptionsAllowed=0)
        await self._write(
            meta.with_condition(
                closed,
                DISRUPTION_ALLOWED,
                "False",
                now=self.now(),
                reason=SYNC_FAILED,
                message=str(error),
                observed_generation=fields.number(fields.status(closed), "observedGeneration"),
            )
        )

    async def _write(self, budget: Object) -> None:
        await self.client.update(
            PODDISRUPTIONBUDGETS, meta.namespace(budget), budget, subresource="status"
        )


def _is_condition_current(budget: Object, allowed: int) -> bool:
    condition = meta.condition(budget, DISRUPTION_ALLOWED)
    if condition is None:
        return False
    wanted = "True" if allowed > 0 else "False"
    observed = fields.number(condition, "observedGeneration")
    return condition["status"] == wanted and observed == meta.generation(budget)


CONTROLLER = DisruptionController
