"""The horizontal pod autoscaler: as many replicas as the metrics ask for.

The law: every autoscaler is looked at every 15 seconds, and at once when its spec changes.  Of
several metrics the one that asks for most counts; while one cannot be had, nothing is scaled down.

Metrics come from the metrics APIs, or from the setting `metrics` (`pod_metrics.Source`).

Follows `pkg/controller/podautoscaler/horizontal.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pytest_kubesim.apimachinery import labels, meta
from pytest_kubesim.client_go.discovery import NoMatch, RESTMapper
from pytest_kubesim.client_go.resources import HORIZONTALPODAUTOSCALERS, PODS
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.controller_manager import fields, semantic
from pytest_kubesim.controller_manager.autoscaler_metrics import (
    MetricComputation,
    Unavailable,
    wrapped,
)
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller, Result, SyncError
from pytest_kubesim.controller_manager.pod_metrics import MetricsClient
from pytest_kubesim.controller_manager.replica_calculator import ReplicaCalculator
from pytest_kubesim.controller_manager.retry import DEFAULT_RETRY, on_conflict
from pytest_kubesim.controller_manager.scaling_behavior import Limits, ScaleHistory
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.labels import Selector
    from pytest_kubesim.apimachinery.meta import GroupVersionResource, Object

SYNC_PERIOD_NS = 15 * NS
DOWNSCALE_WINDOW_NS = 300 * NS
CPU_INITIALIZATION_NS = 300 * NS
READINESS_DELAY_NS = 30 * NS
TOLERANCE = 0.1

ABLE_TO_SCALE = "AbleToScale"
SCALING_ACTIVE = "ScalingActive"
SCALING_LIMITED = "ScalingLimited"
SCALED_TO_ZERO = "ScaledToZero"

_REASONS = {
    "Object": "FailedGetObjectMetric",
    "Pods": "FailedGetPodsMetric",
    "Resource": "FailedGetResourceMetric",
    "ContainerResource": "FailedGetContainerResourceMetric",
    "External": "FailedGetExternalMetric",
}

class _Target(NamedTuple):
    gvr: GroupVersionResource
    scale: Object
    reference: str


class _Recommended(NamedTuple):
    replicas: int
    name: str
    statuses: list[Object]
    error: SyncError | None


class _Rescale(NamedTuple):
    desired: int
    reason: str
    wanted: bool
    statuses: list[Object]
    error: SyncError | None


class HorizontalPodAutoscalerController(Controller):
    """Scales by metrics."""

    name = "horizontal-pod-autoscaler-controller"
    service_account = "horizontal-pod-autoscaler"
    component = "horizontal-pod-autoscaler"
    workers: ClassVar[int] = 5
    workers_flag = "concurrent-horizontal-pod-autoscaler-syncs"

    def setup(self) -> None:
        """Listen to autoscalers; read pods."""
        setting = self.context.setting
        self.period_ns: int = setting("horizontal-pod-autoscaler-sync-period", SYNC_PERIOD_NS)
        self.window_ns: int = setting(
            "horizontal-pod-autoscaler-downscale-stabilization", DOWNSCALE_WINDOW_NS
        )
        self.tolerance: float = setting("horizontal-pod-autoscaler-tolerance", TOLERANCE)
        self.mapper = RESTMapper(self.client)
        self.histories: dict[str, ScaleHistory] = {}
        self.selectors: dict[str, Selector] = {}
        self.autoscalers = self.watch(
            HORIZONTALPODAUTOSCALERS, add=self.enqueue, update=self._updated, delete=self._deleted
        )
        self.pods = self.informer(PODS).store
        self.calculator = ReplicaCalculator(
            MetricsClient(self.client, self.mapper, setting("metrics", None)),
            self.pods,
            self.now_ns,
            setting("horizontal-pod-autoscaler-cpu-initialization-period", CPU_INITIALIZATION_NS),
            setting("horizontal-pod-autoscaler-initial-readiness-delay", READINESS_DELAY_NS),
        )

    def _updated(self, old: Object, hpa: Object) -> None:
        if meta.generation(old) != meta.generation(hpa):
            self.enqueue(hpa)
        else:
            self.queue.add_after(key_of(hpa), self.period_ns, periodic=True)

    def _deleted(self, hpa: Object) -> None:
        self.histories.pop(key_of(hpa), None)
        self.selectors.pop(key_of(hpa), None)

    def handle_error(self, key: str, error: Exception) -> None:
        """Look again after the usual time."""
        del error
        self.queue.add_after(key, self.period_ns, periodic=True)

    async def reconcile(self, key: str) -> Result | None:
        """Look at one autoscaler."""
        hpa = self.autoscalers.get(key)
        if hpa is None:
            return None
        rescaled = await _Sync(self, hpa).run()
        self.queue.add_after(key, self.period_ns, periodic=not rescaled)
        return None


def _converted(scale: Object) -> Object:
    """A scale as the scale client gives it: with its selector once through a `LabelSelector`.

    Raises: `SyncError`, where that cannot say what the selector says.
    """
    text = fields.text(fields.status(scale), "selector")
    if not text:
        return scale
    try:
        selector = labels.as_label_selector(text)
    except ValueError as error:
        raise SyncError(
            "received an object from a /scale endpoint which was not convertible to autoscaling "
            f"Scale: failed to parse target selector: {error}"
        ) from None
    return meta.with_status(scale, selector=str(labels.from_label_selector(selector)))


class _Sync:
    """One look at one autoscaler; its status is put together here."""

    def __init__(self, controller: HorizontalPodAutoscalerController, hpa: Object) -> None:
        self.controller = controller
        self.hpa = hpa
        self.key = key_of(hpa)
        self.spec = fields.spec(hpa)
        self.conditions = list(fields.conditions(hpa))
        self.status: Object = dict(fields.status(hpa))

    # -- conditions and status ------------------------------------------------------------

    def condition(self, type_: str, status: str, reason: str, message: str) -> None:
        """`setCondition`."""
        new: Object = {"type": type_, "status": status}
        new["lastTransitionTime"] = self.controller.now()
        new |= {"reason": reason, "message": message}
        for position, old in enumerate(self.conditions):
            if old["type"] == type_:
                if old["status"] == status:
                    new["lastTransitionTime"] = old.get("lastTransitionTime")
                self.conditions[position] = new
                return
        self.conditions.append(new)

    def event(self, type_: str, reason: str, message: str) -> None:
        """An event about the autoscaler."""
        self.controller.event(self.hpa, type_, reason, message)

    def set_status(
        self, current: int, desired: int, metrics: list[Object], *, rescaled: bool
    ) -> None:
        """`setStatus`."""
        self.status = {
            "observedGeneration": meta.generation(self.hpa),
            "lastScaleTime": self.controller.now()
            if rescaled
            else self.status.get("lastScaleTime"),
            "currentReplicas": current,
            "desiredReplicas": desired,
            "currentMetrics": metrics or None,
        }

    async def write(self) -> None:
        """Write the status if it has changed."""
        new = {key: value for key, value in self.status.items() if value is not None}
        new["conditions"] = self.conditions
        if semantic.equal(fields.status(self.hpa), new):
            return
        controller = self.controller
        try:
            await controller.client.update(
                HORIZONTALPODAUTOSCALERS, meta.namespace(self.hpa),
                {**self.hpa, "status": new}, subresource="status",
            )
        except RETRIABLE as error:
            self.event("Warning", "FailedUpdateStatus", str(error))
            name = meta.name(self.hpa)
            raise SyncError(f"failed to update status for {name}: {error}") from None

    async def _fail(self, error: SyncError) -> SyncError:
        try:
            await self.write()
        except SyncError as second:
            self.controller.kernel.journal.record(
                "sync failed", self.controller.name, key=self.key, error=str(second)
            )
        return error

    # -- the look -------------------------------------------------------------------------

    async def run(self) -> bool:
        """Look; whether the target was scaled."""
        target = await self._target()
        self.condition(
            ABLE_TO_SCALE, "True", "SucceededGetScale",
            "the HPA controller was able to get the target's current scale",
        )
        controller = self.controller
        current = fields.number(fields.spec(target.scale), "replicas")
        now_ns = controller.now_ns()
        history = controller.histories.setdefault(self.key, ScaleHistory(current, now_ns))
        rescale = await self._decide(target, current, history)
        desired = rescale.desired
        if rescale.wanted:
            await self._scale(target, current, rescale, history)
        else:
            desired = current
        self.set_status(current, desired, rescale.statuses, rescaled=rescale.wanted)
        await self.write()
        if rescale.error is not None:
            raise rescale.error
        return rescale.wanted

    async def _target(self) -> _Target:
        reference = self.spec["scaleTargetRef"]
        namespace, name = meta.namespace(self.hpa), reference["name"]
        shown = f"{reference['kind']}/{namespace}/{name}"
        controller = self.controller
        prefix = f"failed to query scale subresource for {shown}: "
        try:
            group, _version = meta.parse_api_version(reference.get("apiVersion") or "")
            resource = await controller.mapper.mapping_of_group(group, reference["kind"])
            scale = _converted(await controller.client.get(
                resource.gvr, namespace, name, subresource="scale"
            ))
        except (ValueError, NoMatch, *RETRIABLE) as error:
            if isinstance(error, NoMatch):
                prefix = "unable to determine resource for scale target reference: "
            elif isinstance(error, ValueError):
                prefix = "invalid API version in scale target reference: "
            self.event("Warning", "FailedGetScale", str(error))
            self.condition(
                ABLE_TO_SCALE, "False", "FailedGetScale",
                f"the HPA controller was unable to get the target's current scale: {error}",
            )
            raise await self._fail(SyncError(f"{prefix}{error}")) from None
        return _Target(resource.gvr, scale, shown)

    async def _decide(self, target: _Target, current: int, history: ScaleHistory) -> _Rescale:
        least, most = fields.number(self.spec, "minReplicas", 1), self.spec["maxReplicas"]
        was_zeroed = any(
            c["type"] == SCALED_TO_ZERO and c["status"] == "True" for c in self.conditions
        )
        if current == 0:
            if not (least != 0 and was_zeroed) and not (was_zeroed and self._has_outside()):
                self.condition(
                    SCALING_ACTIVE, "False", "ScalingDisabled",
                    "scaling is disabled since the replica count of the target is zero",
                )
                return _Rescale(0, "", wanted=False, statuses=[], error=None)
        elif current > most:
            reason = "Current number of replicas above Spec.MaxReplicas"
            return _Rescale(most, reason, wanted=True, statuses=[], error=None)
        elif current < least:
            reason = "Current number of replicas below Spec.MinReplicas"
            return _Rescale(least, reason, wanted=True, statuses=[], error=None)
        found = await self._recommend(target, current)
        return self._follow(found, current, Limits(current, least, most), history, was_zeroed)

    def _follow(
        self, found: _Recommended, current: int, limits: Limits, history: ScaleHistory,
        was_zeroed: bool,
    ) -> _Rescale:
        desired = max(found.replicas, 0)
        reason = ""
        if desired > current:
            reason = f"{found.name} above target"
        elif desired < current:
            reason = "All metrics below target"
        controller = self.controller
        now_ns, behavior = controller.now_ns(), self.spec.get("behavior")
        if behavior is None:
            decision = history.decide(desired, limits, controller.window_ns, now_ns)
        else:
            decision = history.decide_by(
                behavior, desired, limits, controller.window_ns, now_ns
            )
        self.condition(ABLE_TO_SCALE, "True", *decision.able)
        limited = "True" if decision.is_limited else "False"
        self.condition(SCALING_LIMITED, limited, *decision.limited)
        desired = decision.replicas
        if current == 0 and limits.least != 0 and was_zeroed and desired < limits.least:
            desired = limits.least
            reason = reason or "Current number of replicas below Spec.MinReplicas"
        return _Rescale(desired, reason, desired != current, found.statuses, found.error)

    def _has_outside(self) -> bool:
        return any(
            metric["type"] in {"Object", "External"}
            for metric in fields.objects(self.spec, "metrics")
        )

    async def _scale(
        self, target: _Target, current: int, rescale: _Rescale, history: ScaleHistory
    ) -> None:
        controller, namespace = self.controller, meta.namespace(self.hpa)
        scale, desired = target.scale, rescale.desired

        async def attempt() -> None:
            nonlocal scale
            try:
                await controller.client.update(
                    target.gvr, namespace,
                    meta.set_path(scale, ("spec", "replicas"), desired), subresource="scale",
                )
            except RETRIABLE:
                scale = await controller.client.get(
                    target.gvr, namespace, meta.name(scale), subresource="scale"
                )
                raise

        try:
            await on_conflict(controller.process, DEFAULT_RETRY, attempt)
        except RETRIABLE as error:
            self.event(
                "Warning", "FailedRescale",
                f"New size: {desired}; reason: {rescale.reason}; error: {error}",
            )
            self.condition(
                ABLE_TO_SCALE, "False", "FailedUpdateScale",
                f"the HPA controller was unable to update the target scale: {error}",
            )
            known = fields.number(fields.status(self.hpa), "desiredReplicas")
            self.set_status(current, known, rescale.statuses, rescaled=False)
            failure = SyncError(f"failed to rescale {target.reference}: {error}")
            raise await self._fail(failure) from None
        self.condition(
            ABLE_TO_SCALE, "True", "SucceededRescale",
            f"the HPA controller was able to update the target scale to {desired}",
        )
        message = f"New size: {desired}; reason: {rescale.reason}"
        self.event("Normal", "SuccessfulRescale", message)
        if self.spec.get("behavior") is not None:
            history.scaled(self.spec["behavior"], current, desired, controller.now_ns())
        if (
            current > 0
            and desired == 0
            and self.spec.get("minReplicas") == 0
            and self._has_outside()
        ):
            self.condition(
                SCALED_TO_ZERO, "True", "ScaledToZero",
                "the HPA controller scaled the workload to zero",
            )
        else:
            self.condition(
                SCALED_TO_ZERO, "False", "NotScaledToZero",
                "the HPA controller did not scale the workload to zero",
            )

    # -- metrics ------------------------------------------------------------------------------

    async def _recommend(self, target: _Target, current: int) -> _Recommended:
        """`computeReplicasForMetrics`."""
        metrics = fields.objects(self.spec, "metrics")
        statuses: list[Object] = [{"type": ""} for _ in metrics]
        controller = self.controller
        try:
            selector = self._selector(target.scale)
        except SyncError as error:
            raise await self._give_up(target, current, [], error) from None
        observed = fields.number(fields.status(target.scale), "replicas")
        computation = MetricComputation(
            self.hpa, controller.calculator, controller.tolerance, current, observed, selector
        )
        replicas, name = 0, ""
        failed: list[tuple[SyncError, tuple[str, str]]] = []
        for position, metric in enumerate(metrics):
            try:
                found = await computation.compute(metric)
            except SyncError as error:
                failed.append((wrapped(metric, error), self._unable(metric, error)))
                continue
            statuses[position] = found.status
            if replicas == 0 or found.replicas > replicas:
                replicas, name = found.replicas, found.name
        failure = None
        if failed:
            failure = SyncError(
                f"invalid metrics ({len(failed)} invalid out of {len(metrics)}), first error is: "
                f"{failed[0][0]}"
            )
            if len(failed) >= len(metrics) or replicas < current:
                self.condition(SCALING_ACTIVE, "False", *failed[0][1])
                raise await self._give_up(target, current, statuses, failure)
        self.condition(
            SCALING_ACTIVE, "True", "ValidMetricFound",
            f"the HPA was able to successfully calculate a replica count from {name}",
        )
        return _Recommended(replicas, name, statuses, failure)

    async def _give_up(
        self, target: _Target, current: int, statuses: list[Object], error: SyncError
    ) -> SyncError:
        known = fields.number(fields.status(self.hpa), "desiredReplicas")
        self.set_status(current, known, statuses, rescaled=False)
        failure = await self._fail(SyncError(
            "failed to compute desired number of replicas based on listed metrics for "
            f"{target.reference}: {error}"
        ))
        self.event("Warning", "FailedComputeMetricsReplicas", str(error))
        return failure

    def _unable(self, metric: Object, error: Exception) -> tuple[str, str]:
        reason = _REASONS.get(metric["type"], "InvalidMetricSourceType")
        told = error.told if isinstance(error, Unavailable) else str(error)
        self.event("Warning", reason, told)
        return reason, f"the HPA was unable to compute the replica count: {told}"

    def _selector(self, scale: Object) -> Selector:
        """`validateAndParseSelector`."""
        text = fields.text(fields.status(scale), "selector")
        if not text:
            self.event("Warning", "SelectorRequired", "selector is required")
            self.condition(
                SCALING_ACTIVE, "False", "InvalidSelector",
                "the HPA target's scale is missing a selector",
            )
            raise SyncError("selector is required")
        try:
            selector = labels.parse(text)
        except ValueError as problem:
            message = (
                "couldn't convert selector into a corresponding internal selector object: "
                f"{problem}"
            )
            self._bad_selector("InvalidSelector", message)
            raise SyncError(message) from None
        controller, namespace = self.controller, meta.namespace(self.hpa)
        controller.selectors[self.key] = selector
        mine = [
            p for p in controller.pods.list(namespace) if selector.matches(meta.labels(p))
        ]
        others = [
            key
            for key, other in controller.selectors.items()
            if key != self.key
            and key.startswith(f"{namespace}/")
            and any(other.matches(meta.labels(pod)) for pod in mine)
        ]
        if others:
            shown = " ".join(sorted([self.key, *others])[:2])
            message = (
                f"pods by selector {text} are controlled by more than one HPA (e.g. [{shown}])"
            )
            self._bad_selector("AmbiguousSelector", message)
            raise SyncError(message)
        return selector

    def _bad_selector(self, reason: str, message: str) -> None:
        self.event("Warning", reason, message)
        self.condition(SCALING_ACTIVE, "False", reason, message)


CONTROLLER = HorizontalPodAutoscalerController
