"""ResourceClaimTemplates: what the claims of pods are made from.

Follows `pkg/registry/resource/resourceclaimtemplate/strategy.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import FieldError
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.pod_template import go_structs
from pytest_kubesim.registry.pod_template.claims import validate_template_metadata
from pytest_kubesim.registry.resource import requests
from pytest_kubesim.registry.rest import Kind
from pytest_kubesim.registry.strategies import SPEC, Plain, semantically_equal


class ResourceClaimTemplateStrategy(Plain):
    """`/resourceclaimtemplates`."""

    def default(self, obj: Object) -> Object:
        """Those of a claim."""
        spec = parts.spec(obj)
        return {**obj, "spec": {**spec, "spec": requests.default(parts.spec(spec))}}

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateResourceClaimTemplate`; the spec is not to change."""
        spec = parts.spec(obj)
        if old is None:
            where = SPEC.child("metadata")
            errors = validate_template_metadata(parts.struct(spec, "metadata"), where)
            return errors + requests.validate(parts.spec(spec), SPEC.child("spec"))
        if semantically_equal(spec, parts.spec(old)):
            return []
        shown = go_structs.printed("ResourceClaimTemplateSpec", spec)
        return [field.invalid(SPEC, shown, field.FIELD_IMMUTABLE)]


def _row(obj: Object, now_ns: int) -> list[Any]:
    return [obj["metadata"]["name"], age(obj, now_ns)]


KIND = Kind(
    strategy=ResourceClaimTemplateStrategy(), printer=printer("ResourceClaimTemplate", _row)
)
