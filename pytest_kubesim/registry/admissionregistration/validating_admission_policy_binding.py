"""ValidatingAdmissionPolicyBindings.

Follows `pkg/registry/admissionregistration/validatingadmissionpolicybinding/strategy.go` and
`pkg/apis/admissionregistration/validation/validation.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.admissionregistration import policies
from pytest_kubesim.registry.columns import printer
from pytest_kubesim.registry.rest import Kind
from pytest_kubesim.registry.strategies import SPEC

ACTIONS = ("Audit", "Deny", "Warn")
_ACTIONS = SPEC.child("validationActions")
_NOT_BOTH = (
    "must not contain both Deny and Warn (repeating the same validation failure information in "
    "the API response and headers serves no purpose)"
)


class ValidatingAdmissionPolicyBindingStrategy(policies.Generations):
    """`/validatingadmissionpolicybindings`."""

    def default(self, obj: Object) -> Object:
        """What is matched."""
        return policies.default_binding(obj)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateValidatingAdmissionPolicyBinding`."""
        del old
        spec = parts.spec(obj)
        errors = policies.validate_binding(spec) + _actions(parts.texts(spec, "validationActions"))
        return errors + [
            field.required(SPEC.child(key))
            for key in ("policyName", "validationActions")
            if not spec.get(key)
        ]


def _actions(actions: list[str]) -> ErrorList:
    errors: ErrorList = []
    for position, action in enumerate(actions):
        where = _ACTIONS.index(position)
        if action not in ACTIONS:
            errors.append(field.not_supported(where, action, ACTIONS))
        if action in actions[:position]:
            errors.append(field.duplicate(where, action))
    if "Deny" in actions and "Warn" in actions:
        errors.append(field.invalid(_ACTIONS, actions, _NOT_BOTH))
    return errors


KIND = Kind(
    strategy=ValidatingAdmissionPolicyBindingStrategy(),
    printer=printer("ValidatingAdmissionPolicyBinding", policies.binding_row),
)
