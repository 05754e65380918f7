"""Events of `v1`, and of `events.k8s.io/v1`, which are the same objects under other names.

The law: an event lives for an hour after its last write.  Through `events.k8s.io/v1` it must be a
modern one, and then only its series changes.

Follows `pkg/registry/core/event/strategy.go` and `pkg/apis/core/validation/events.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry.columns import UNKNOWN, printer, since
from pytest_kubesim.registry.pod_template import go_structs
from pytest_kubesim.registry.rest import Context, Kind, Strategy
from pytest_kubesim.registry.strategies import EMPTY, kube_finalizers, once

TTL_SECONDS = 3600
_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


class EventStrategy(Strategy):
    """`/events` of both groups."""

    ttl_seconds = TTL_SECONDS
    validates_metadata = True
    allow_create_on_update = True
    default_garbage_collection_policy = "Unsupported"
    selectable = (
        *(f"involvedObject.{name}" for name in _REFERENCE),
        "reason",
        "reportingComponent",
        "source",
        "type",
        "metadata.namespace",
        "metadata.name",
    )
    modern: bool = False
    """Asked for as `events.k8s.io/v1`, which demands more."""

    def validate(self, ctx: Context, obj: Object) -> list[FieldError]:
        """`ValidateEventCreate`."""
        del ctx
        errors = _legacy(obj, modern=self.modern)
        if self.modern:
            errors += kube_finalizers(obj) + _series(obj)
            errors += _modern(obj)
        return once(errors)

    def validate_update(self, ctx: Context, obj: Object, old: Object) -> list[FieldError]:
        """`ValidateEventUpdate`."""
        del ctx
        errors = _legacy(obj, modern=self.modern)
        if self.modern:
            errors += kube_finalizers(obj)
            if obj.get("series") != old.get("series"):
                errors += _series(obj)
            errors += _unchanged(obj, old)
        return once(errors)

    def selectable_fields(self, obj: Object) -> dict[str, str]:
        """What field selectors of events see, under the names of both groups."""
        involved: Object = obj.get("involvedObject") or {}
        reporting = obj.get("reportingComponent") or ""
        return {
            **{f"regarding.{name}": involved.get(name) or "" for name in _REFERENCE},
            "reportingController": reporting,
            **{f"involvedObject.{name}": involved.get(name) or "" for name in _REFERENCE},
            "reason": obj.get("reason") or "",
            "reportingComponent": reporting,
            "source": (obj.get("source") or EMPTY).get("component") or reporting,
            "type": obj.get("type") or "",
        }


class ModernEventStrategy(EventStrategy):
    """`/apis/events.k8s.io/v1/events`."""

    modern = True
    validates_metadata = False
    selectable = (
        *(f"regarding.{name}" for name in _REFERENCE),
        "reason",
        "reportingController",
        "type",
        "metadata.namespace",
        "metadata.name",
    )


def _legacy(obj: Object, *, modern: bool) -> ErrorList:
    errors: ErrorList = []
    namespace = obj["metadata"].get("namespace") or ""
    involved = (obj.get("involvedObject") or EMPTY).get("namespace") or ""
    where = Path("involvedObject", "namespace")
    mismatch = field.invalid(where, involved, "does not match event.namespace")
    if not obj.get("eventTime"):
        if involved != namespace and (involved or namespace not in ("", "default")):
            errors.append(mismatch)
        return errors
    if not involved and namespace not in ("default", "kube-system"):
        errors.append(mismatch)
    reporter = obj.get("reportingComponent") or ""
    where = Path("reportingController" if modern else "reportingComponent")
    if not reporter:
        errors.append(field.required(where))
    errors += field.invalid_each(where, reporter, formats.is_qualified_name(reporter))
    for key, limit, is_required in (
        ("reportingInstance", 128, True),
        ("action", 128, True),
        ("reason", 128, True),
        ("message", 1024, False),
    ):
        value: str = obj.get(key) or ""
        if is_required and not value:
            errors.append(field.required(Path(key)))
        if len(value.encode()) > limit:
            errors.append(field.invalid(Path(key), "", f"can have at most {limit} characters"))
    return errors


def _series(obj: Object) -> ErrorList:
    series: Object | None = obj.get("series")
    if series is None:
        return []
    errors: ErrorList = []
    if (series.get("count") or 0) < 2:
        errors.append(field.invalid(Path("series.count"), "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        errors.append(field.required(Path("series.lastObservedTime")))
    return errors


def _modern(obj: Object) -> ErrorList:
    errors: ErrorList = []
    if not obj.get("eventTime"):
        errors.append(field.required(Path("eventTime")))
    kind = obj.get("type") or ""
    if kind not in ("Normal", "Warning"):
        errors.append(field.invalid(Path("type"), "", f"has invalid value: {kind}"))
    return errors + [
        field.invalid(Path(key), "", "needs to be unset")
        for key in ("firstTimestamp", "lastTimestamp", "count", "source")
        if obj.get(key)
    ]


_IMMUTABLE = (
    ("involvedObject", "involvedObject"),
    ("reason", "reason"),
    ("message", "message"),
    ("source", "source"),
    ("firstTimestamp", "firstTimestamp"),
    ("lastTimestamp", "lastTimestamp"),
    ("count", "count"),
    ("type", "type"),
    ("eventTime", "eventTime"),
    ("action", "action"),
    ("related", "related"),
    ("reportingComponent", "reportingController"),
    ("reportingInstance", "reportingInstance"),
)
_STRUCTS = {
    "involvedObject": "ObjectReference",
    "related": "ObjectReference",
    "source": "EventSource",
}
_TIMES = frozenset({"firstTimestamp", "lastTimestamp", "eventTime"})


def _unchanged(obj: Object, old: Object) -> ErrorList:
    errors: ErrorList = []
    for key, shown in _IMMUTABLE:
        new: Any = obj.get(key)
        if (new or None) == (old.get(key) or None):
            continue
        if kind := _STRUCTS.get(key):
            pointer = key == "related"
            new = go_structs.printed(kind, new if pointer else new or {})
        elif new is None and key not in _TIMES:
            new = 0 if key == "count" else ""
        errors.append(field.invalid(Path(shown), new, field.FIELD_IMMUTABLE))
    return errors


def _row(obj: Object, now_ns: int) -> list[Any]:
    source: Object = obj.get("source") or {}
    first = since(obj.get("firstTimestamp"), now_ns)
    if first == UNKNOWN:
        first = since(obj.get("eventTime"), now_ns)
    last = since(obj["lastTimestamp"], now_ns) if obj.get("lastTimestamp") else first
    series: Object | None = obj.get("series")
    count = obj.get("count") or 1
    if series is not None:
        last, count = since(series.get("lastObservedTime"), now_ns), series.get("count") or 0
    involved: Object = obj.get("involvedObject") or {}
    target = (involved.get("kind") or "").lower()
    if involved.get("name"):
        target = f"{target}/{involved['name']}"
    component = source.get("component") or obj.get("reportingComponent") or ""
    instance = source.get("host") or obj.get("reportingInstance") or ""
    return [
        last,
        obj.get("type") or "",
        obj.get("reason") or "",
        target,
        involved.get("fieldPath") or "",
        f"{component}, {instance}" if instance else component,
        (obj.get("message") or "").strip(),
        first,
        count,
        obj["metadata"]["name"],
    ]


PRINTER = printer("Event", _row)
KIND = Kind(strategy=EventStrategy(), printer=PRINTER)
