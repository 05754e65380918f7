"""PodTemplates.

Follows `pkg/registry/core/podtemplate/strategy.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import FieldError, Path
from pytest_kubesim.registry.columns import labels_text, layout_containers, printer
from pytest_kubesim.registry.pod_template import defaults, disabled_fields, options, warnings
from pytest_kubesim.registry.pod_template.pod_spec import validate_template
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    EMPTY,
    Plain,
    labels_of,
    raised,
    semantically_equal,
    with_generation,
)

_TEMPLATE = Path("template")


class PodTemplateStrategy(Plain):
    """`/podtemplates`."""

    def default(self, obj: Object) -> Object:
        """Those of the template."""
        return {**obj, "template": defaults.pod_template(obj.get("template"))}

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """At generation 1."""
        del ctx
        obj = with_generation(obj, 1)
        return {**obj, "template": disabled_fields.drop(obj["template"], None)}

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """A generation further if the template has changed."""
        del ctx
        obj = {**obj, "template": disabled_fields.drop(obj["template"], old["template"])}
        return obj if semantically_equal(obj["template"], old["template"]) else raised(obj, old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """The template."""
        before: Object = (old or EMPTY).get("template") or {}
        if obj["template"] == before:
            return []
        opts = options.for_update(before.get("spec"), before.get("metadata"), is_pod=False)
        return validate_template(obj["template"], _TEMPLATE, opts)

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """What the template deserves."""
        del ctx
        return warnings.template_warnings(obj["template"], _TEMPLATE)

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """The same, if the generation has risen."""
        if obj["metadata"].get("generation") == old["metadata"].get("generation"):
            return []
        return self.warnings_on_create(ctx, obj)


def _row(obj: Object, now_ns: int) -> list[Any]:
    del now_ns
    template: Object = obj.get("template") or {}
    names, images = layout_containers((template.get("spec") or EMPTY).get("containers"))
    return [obj["metadata"]["name"], names, images, labels_text(labels_of(template))]


KIND = Kind(strategy=PodTemplateStrategy(), printer=printer("PodTemplate", _row))
