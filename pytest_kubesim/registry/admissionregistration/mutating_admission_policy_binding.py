"""MutatingAdmissionPolicyBindings.

Follows `pkg/registry/admissionregistration/mutatingadmissionpolicybinding/strategy.go` and
`pkg/apis/admissionregistration/validation/validation.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import FieldError
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.admissionregistration import policies, rules
from pytest_kubesim.registry.columns import printer
from pytest_kubesim.registry.rest import Kind
from pytest_kubesim.registry.strategies import SPEC


class MutatingAdmissionPolicyBindingStrategy(policies.Generations):
    """`/mutatingadmissionpolicybindings`."""

    def default(self, obj: Object) -> Object:
        """What is matched."""
        return policies.default_binding(obj)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateMutatingAdmissionPolicyBinding`."""
        del old
        spec = parts.spec(obj)
        errors = policies.validate_binding(spec)
        if not spec.get("policyName"):
            errors.insert(0, field.required(SPEC.child("policyName")))
        resources = parts.struct(spec, "matchResources")
        return errors + rules.mutating_operations(resources, SPEC.child("matchResources"))


KIND = Kind(
    strategy=MutatingAdmissionPolicyBindingStrategy(),
    printer=printer("MutatingAdmissionPolicyBinding", policies.binding_row),
)
