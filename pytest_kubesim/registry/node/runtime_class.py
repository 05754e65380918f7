"""RuntimeClasses.

Follows `pkg/registry/node/runtimeclass/strategy.go` and `pkg/apis/node/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats, objectmeta
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.pod_template import go_structs, options, resources, scheduling
from pytest_kubesim.registry.pod_template.warnings import NODE_LABELS
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import Plain

_HANDLER = Path("handler")
_SCHEDULING = Path("scheduling")


class RuntimeClassStrategy(Plain):
    """`/runtimeclasses`."""

    allow_create_on_update = True
    any_finalizer = True
    allow_unconditional_update = False

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateRuntimeClass`; the handler stays."""
        handler = parts.text(obj, "handler")
        before = None if old is None else parts.text(old, "handler")
        errors = [] if before is None else _written(handler, before)
        overhead = obj.get("overhead")
        if overhead is not None:
            limits: Object = {"limits": parts.struct(overhead, "podFixed")}
            where = Path("overhead")
            errors += resources.validate_requirements(limits, (), where, options.PodOptions())
        placement: Object | None = obj.get("scheduling")
        if placement is not None:
            errors += _scheduling(placement)
        return errors + _declared(handler, before)

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """For labels of nodes that are going away."""
        del ctx
        selector = parts.struct(parts.struct(obj, "scheduling"), "nodeSelector")
        where = _SCHEDULING.child("nodeSelector")
        return [f"{where}: {NODE_LABELS[key]}" for key in sorted(selector) if key in NODE_LABELS]

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """For labels of nodes that are going away."""
        del old
        return self.warnings_on_create(ctx, obj)


def _written(handler: str, old: str) -> ErrorList:
    """What is wrong with another handler, which the declared rules do not look at any more."""
    if handler in (old, ""):
        return []
    return field.invalid_each(_HANDLER, handler, formats.is_dns1123_label(handler))


def _declared(handler: str, old: str | None) -> ErrorList:
    if handler == old:
        return []
    missing: ErrorList = [] if handler else [field.required(_HANDLER)]
    if old is not None:
        return [field.invalid(_HANDLER, None, field.FIELD_IMMUTABLE), *missing]
    # The declared rule counts in bytes, the written one in characters.
    wrong = formats.is_dns1123_label(handler) if handler else []
    counted = [text.replace("63 characters", "63 bytes") for text in wrong]
    return missing + field.invalid_each(_HANDLER, handler, counted)


def _scheduling(placement: Object) -> ErrorList:
    selector = parts.struct(placement, "nodeSelector")
    errors = objectmeta.validate_labels(selector, _SCHEDULING.child("nodeSelector"))
    tolerations = parts.structs(placement, "tolerations")
    path = _SCHEDULING.child("tolerations")
    errors += scheduling.validate_tolerations(tolerations, path, allow_comparison=False)
    seen: set[tuple[str, ...]] = set()
    for position, toleration in enumerate(tolerations):
        key = tuple(parts.text(toleration, k) for k in ("key", "operator", "value", "effect"))
        if key in seen:
            shown = go_structs.printed("Toleration", toleration)
            errors.append(field.duplicate(path.index(position), shown))
        seen.add(key)
    return errors


def _row(obj: Object, now_ns: int) -> list[Any]:
    return [obj["metadata"]["name"], parts.text(obj, "handler"), age(obj, now_ns)]


KIND = Kind(strategy=RuntimeClassStrategy(), printer=printer("RuntimeClass", _row))
