"""What one metric of an autoscaler's spec asks for, and how its status tells of it.

Follows the `computeStatusFor...Metric` functions of `pkg/controller/podautoscaler/horizontal.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_kubesim.apimachinery import labels, meta, quantity
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import SyncError
from pytest_kubesim.controller_manager.replica_calculator import Proposal, Tolerances

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.labels import Selector
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.controller_manager.replica_calculator import ReplicaCalculator

FIELDS = {
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "External": "external",
}
"""Where a metric's source and status are, by its type."""

NEITHER_OBJECT = (
    "invalid object metric source: neither a value target nor an average value target was set"
)
NEITHER_EXTERNAL = (
    "invalid external metric source: neither a value target nor an average value target was set"
)
NEITHER_RESOURCE = (
    "invalid resource metric source: neither an average utilization target nor an average value "
    "(usage) target was set"
)


class Metric(NamedTuple):
    """The replicas that a metric asks for, what it is called, and its status."""

    replicas: int
    name: str
    status: Object


class Unavailable(SyncError):
    """A metric that cannot be had; `told` is what the autoscaler says of it, without the wrapping.

    Upstream makes the condition and the event before it wraps the error.
    """

    def __init__(self, message: str, told: str) -> None:
        super().__init__(message)
        self.told = told


class MetricComputation:
    """Works out the metrics of one autoscaler in one look.

    Parameters: `hpa`; `calculator`; `tolerance` where the spec gives none; `current` replicas of
    the target's spec and `observed` ones of its status; `selector` of its pods.
    """

    def __init__(
        self, hpa: Object, calculator: ReplicaCalculator, tolerance: float, current: int,
        observed: int, selector: Selector,
    ) -> None:
        self._namespace = meta.namespace(hpa)
        self._calculator = calculator
        self._current = current
        self._observed = observed
        self._selector = selector
        behavior = fields.mapping(fields.spec(hpa), "behavior")
        down = fields.mapping(behavior, "scaleDown").get("tolerance")
        up = fields.mapping(behavior, "scaleUp").get("tolerance")
        self._tolerances = Tolerances(
            tolerance if down is None else quantity.as_float(down),
            tolerance if up is None else quantity.as_float(up),
        )

    async def compute(self, metric: Object) -> Metric:
        """One metric of the spec.  Raises `SyncError` if it cannot be had."""
        kind = metric["type"]
        source = fields.mapping(metric, FIELDS.get(kind, ""))
        if kind in {"Resource", "ContainerResource"}:
            return await self._resource(kind, source)
        identifier = {
            key: value
            for key, value in fields.mapping(source, "metric").items()
            if key in {"name", "selector"}
        }
        if kind == "Pods":
            return await self._of_pods(source, identifier)
        if kind == "Object":
            return await self._of_object(source, identifier)
        if kind == "External":
            return await self._external(source, identifier)
        raise SyncError(f"unknown metric source type {quote(kind)}")

    async def _of_pods(self, source: Object, identifier: Object) -> Metric:
        name = identifier["name"]
        target = quantity.milli_value(fields.mapping(source, "target").get("averageValue") or "0")
        proposal = await self._calculator.by_pods_metric(
            self._current, target, name, self._tolerances, self._namespace, self._selector,
            identifier.get("selector"),
        )
        shown = f"pods metric {name}"
        return _found("Pods", {"metric": identifier}, proposal, shown, "averageValue")

    async def _of_object(self, source: Object, identifier: Object) -> Metric:
        described, goal = source["describedObject"], fields.mapping(source, "target")
        name, tolerances, namespace = identifier["name"], self._tolerances, self._namespace
        status = {"metric": identifier, "describedObject": described}
        wanted = identifier.get("selector")
        average, value = goal.get("averageValue"), goal.get("value")
        if goal.get("type") == "Value" and value is not None:
            proposal = await self._calculator.by_object_metric(
                self._current, quantity.milli_value(value), name, tolerances, namespace,
                described, self._selector, wanted,
            )
            shown = f"{described['kind']} metric {name}"
            return _found("Object", status, proposal, shown, "value")
        if goal.get("type") != "AverageValue" or average is None:
            raise SyncError(NEITHER_OBJECT)
        try:
            proposal = await self._calculator.by_object_metric_per_pod(
                self._observed, quantity.milli_value(average), name, tolerances, namespace,
                described, wanted,
            )
        except SyncError as error:
            message = f"failed to get {name} object metric: {error}"
            raise Unavailable(message, str(error)) from None
        return _found("Object", status, proposal, _external_name(identifier), "averageValue")

    async def _external(self, source: Object, identifier: Object) -> Metric:
        name, goal = identifier["name"], fields.mapping(source, "target")
        wanted = identifier.get("selector")
        status, shown = {"metric": identifier}, _external_name(identifier)
        average, value = goal.get("averageValue"), goal.get("value")
        if average is not None:
            try:
                proposal = await self._calculator.by_external_metric_per_pod(
                    self._observed, quantity.milli_value(average), name, self._tolerances,
                    self._namespace, wanted,
                )
            except SyncError as error:
                message = f"failed to get {name} external metric: {error}"
                raise Unavailable(message, str(error)) from None
            return _found("External", status, proposal, shown, "averageValue")
        if value is None:
            raise SyncError(NEITHER_EXTERNAL)
        try:
            proposal = await self._calculator.by_external_metric(
                self._current, quantity.milli_value(value), name, self._tolerances,
                self._namespace, wanted, self._selector,
            )
        except SyncError as error:
            message = f"failed to get external metric {name}: {error}"
            raise Unavailable(message, str(error)) from None
        return _found("External", status, proposal, shown, "value")

    async def _resource(self, kind: str, source: Object) -> Metric:
        resource, container = source["name"], fields.text(source, "container")
        goal = fields.mapping(source, "target")
        average, percent = goal.get("averageValue"), goal.get("averageUtilization")
        form = quantity.BINARY_SI if resource == "memory" else quantity.DECIMAL_SI
        status: Object = {"name": resource}
        if container:
            status["container"] = container
        if average is not None:
            try:
                proposal = await self._calculator.by_usage(
                    self._current, quantity.milli_value(average), resource, self._tolerances,
                    self._namespace, self._selector, container,
                )
            except SyncError as error:
                raise SyncError(f"failed to get {resource} usage: {error}") from None
            status["current"] = {"averageValue": quantity.from_milli(proposal.raw, form)}
            shown = f"{resource} resource"
            return Metric(proposal.replicas, shown, {"type": kind, FIELDS[kind]: status})
        if percent is None:
            raise SyncError(NEITHER_RESOURCE)
        try:
            proposal = await self._calculator.by_utilization(
                self._current, percent, resource, self._tolerances, self._namespace,
                self._selector, container,
            )
        except SyncError as error:
            raise SyncError(f"failed to get {resource} utilization: {error}") from None
        status["current"] = {
            "averageUtilization": proposal.utilization,
            "averageValue": quantity.from_milli(proposal.raw, form),
        }
        of = "container resource" if kind == "ContainerResource" else "resource"
        shown = f"{resource} {of} utilization (percentage of request)"
        return Metric(proposal.replicas, shown, {"type": kind, FIELDS[kind]: status})


def _found(kind: str, status: Object, proposal: Proposal, name: str, field: str) -> Metric:
    current = {field: quantity.from_milli(proposal.raw)}
    return Metric(
        proposal.replicas, name, {"type": kind, FIELDS[kind]: {**status, "current": current}}
    )


def wrapped(metric: Object, error: Exception) -> SyncError:
    """The error of one metric as the sum of errors tells it."""
    kind = metric["type"]
    source = fields.mapping(metric, FIELDS.get(kind, ""))
    what = {
        "Object": "object metric value",
        "Pods": "pods metric value",
        "Resource": f"{source.get('name')} resource metric value",
        "ContainerResource": f"{source.get('container')} container metric value",
        "External": f"{fields.mapping(source, 'metric').get('name')} external metric value",
    }.get(kind)
    return SyncError(f"failed to get {what}: {error}" if what else str(error))


def _external_name(identifier: Object) -> str:
    return f"external metric {identifier['name']}({labels.printed(identifier.get('selector'))})"
