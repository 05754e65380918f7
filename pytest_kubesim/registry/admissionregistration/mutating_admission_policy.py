"""MutatingAdmissionPolicies.

Follows `pkg/registry/admissionregistration/mutatingadmissionpolicy/strategy.go` and
`pkg/apis/admissionregistration/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.cel import types
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.admissionregistration import policies, rules
from pytest_kubesim.registry.admissionregistration.expressions import (
    JSON_PATCH,
    OBJECT,
    Compiler,
)
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.rest import Kind
from pytest_kubesim.registry.strategies import SPEC

_RESULTS = {"applyConfiguration": OBJECT, "jsonPatch": types.list_of(JSON_PATCH)}
PATCH_TYPES = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}


class MutatingAdmissionPolicyStrategy(policies.Generations):
    """`/mutatingadmissionpolicies`."""

    def default(self, obj: Object) -> Object:
        """On failure, and what is matched."""
        return policies.default_policy(obj)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateMutatingAdmissionPolicy`."""
        spec, before = parts.spec(obj), parts.spec(old)
        compiler = Compiler(
            params=spec.get("paramKind") is not None,
            patches=True,
            composes=True,
            known=frozenset(
                parts.text(parts.struct(each, key), "expression")
                for each in parts.structs(before, "mutations")
                for key in _RESULTS
            ),
        )
        head = Compiler(params=compiler.params, composes=True, variables=compiler.variables)
        errors = policies.validate_head(spec, old, head, mutating=True)
        mutations, where = parts.structs(spec, "mutations"), SPEC.child("mutations")
        if not mutations:
            errors.append(field.required(where, "mutations must contain at least one item"))
        for position, mutation in enumerate(mutations):
            errors += _mutation(mutation, where.index(position), compiler)
        where = SPEC.child("reinvocationPolicy")
        if not spec.get("reinvocationPolicy"):
            return [*errors, field.required(where)]
        known = rules.REINVOCATION_POLICIES
        return errors + rules.one_of(spec, "reinvocationPolicy", SPEC, known)


def _mutation(mutation: Object, path: Path, compiler: Compiler) -> ErrorList:
    kind = parts.text(mutation, "patchType")
    where = path.child("patchType")
    if not kind:
        return [field.required(where)]
    key = PATCH_TYPES.get(kind)
    if key is None:
        return [field.not_supported(where, kind, PATCH_TYPES)]
    errors: ErrorList = []
    patch: Object | None = mutation.get(key)
    where = path.child(key)
    if patch is None:
        errors.append(field.required(where, f"must be specified when patchType is {kind}"))
    else:
        expression = parts.text(patch, "expression").strip()
        if expression:
            errors += compiler.errors(where.child("expression"), expression, _RESULTS[key])
        else:
            errors.append(field.required(where.child("expression")))
    other = next(each for each in _RESULTS if each != key)
    if mutation.get(other) is not None:
        detail = f"must not be specified when patchType is {kind}"
        errors.append(field.invalid(path.child(other), f"{{{other}}}", detail))
    return errors


def _row(obj: Object, now_ns: int) -> list[Any]:
    return [
        obj["metadata"]["name"],
        len(parts.structs(parts.spec(obj), "mutations")),
        policies.param_kind_text(obj),
        age(obj, now_ns),
    ]


KIND = Kind(
    strategy=MutatingAdmissionPolicyStrategy(),
    printer=printer("MutatingAdmissionPolicy", _row),
)
