"""ValidatingAdmissionPolicies.

Follows `pkg/registry/admissionregistration/validatingadmissionpolicy/strategy.go` and
`pkg/apis/admissionregistration/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats, metav1
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.cel import types
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.admissionregistration import policies, rules
from pytest_kubesim.registry.admissionregistration.expressions import Compiler
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    SPEC,
    STATUS,
    StatusOnly,
    WithStatus,
    reset_metadata_for_status,
)

REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
MAX_AUDIT_ANNOTATIONS = 20
MAX_VALUE_EXPRESSION_BYTES = 5 * 1024
_ONE = "validations or auditAnnotations must contain at least one item"


class ValidatingAdmissionPolicyStrategy(WithStatus):
    """`/validatingadmissionpolicies`."""

    any_finalizer = True

    allow_unconditional_update = False
    generations = True

    def default(self, obj: Object) -> Object:
        """On failure, and what is matched."""
        return policies.default_policy(obj)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateValidatingAdmissionPolicy`."""
        spec, before = parts.spec(obj), parts.spec(old)
        compiler = Compiler(
            params=spec.get("paramKind") is not None,
            composes=bool(spec.get("variables")),
            known=frozenset(
                parts.text(each, key)
                for each in parts.structs(before, "validations")
                for key in ("expression", "messageExpression")
            ),
        )
        errors = policies.validate_head(spec, old, compiler, mutating=False)
        validations = parts.structs(spec, "validations")
        annotations = parts.structs(spec, "auditAnnotations")
        if not validations and not annotations:
            errors.append(field.required(SPEC.child("validations"), _ONE))
            errors.append(field.required(SPEC.child("auditAnnotations"), _ONE))
        for position, validation in enumerate(validations):
            errors += _validation(validation, SPEC.child("validations").index(position), compiler)
        name = parts.text(obj["metadata"], "name")
        return errors + _annotations(annotations, name, compiler)


def _validation(validation: Object, path: Path, compiler: Compiler) -> ErrorList:
    expression = parts.text(validation, "expression")
    message = parts.text(validation, "message")
    computed = parts.text(validation, "messageExpression")
    errors: ErrorList = []
    if expression.strip():
        errors += compiler.errors(path.child("expression"), expression, types.BOOL)
    else:
        errors.append(field.required(path.child("expression"), "expression is not specified"))
    where = path.child("messageExpression")
    if computed.strip():
        errors += compiler.errors(where, computed, types.STRING, authorizer=False)
    elif computed:
        errors.append(field.invalid(where, computed, "must be non-empty if specified"))
    where = path.child("message")
    if message and not message.strip():
        errors.append(field.invalid(where, message, "must be non-empty if specified"))
    elif "\n" in message.strip() or "\r" in message.strip():
        errors.append(field.invalid(where, message, "must not contain line breaks"))
    return errors + rules.one_of(validation, "reason", path, REASONS)


def _annotations(annotations: list[Object], name: str, compiler: Compiler) -> ErrorList:
    where = SPEC.child("auditAnnotations")
    errors: ErrorList = []
    if len(annotations) > MAX_AUDIT_ANNOTATIONS:
        detail = f"must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations"
        errors.append(field.invalid(where, annotations, detail))
    seen: set[str] = set()
    for position, annotation in enumerate(annotations):
        path = where.index(position)
        key = parts.text(annotation, "key")
        if name:
            whole = f"{name}/{key}"
            errors += field.invalid_each(path.child("key"), whole, formats.is_qualified_name(whole))
        else:
            detail = "requires metadata.name be non-empty"
            errors.append(field.invalid(path.child("key"), key, detail))
        errors += _value(parts.text(annotation, "valueExpression").strip(), path, compiler)
        if key in seen:
            errors.append(field.duplicate(path.child("key"), key))
        seen.add(key)
    return errors


def _value(expression: str, path: Path, compiler: Compiler) -> ErrorList:
    where = path.child("valueExpression")
    if not expression:
        return [field.required(where, "valueExpression is not specified")]
    if len(expression.encode()) > MAX_VALUE_EXPRESSION_BYTES:
        detail = f"must not exceed {MAX_VALUE_EXPRESSION_BYTES} bytes in length"
        return [field.required(where, detail)]
    return compiler.errors(where, expression, types.STRING, types.NULL)


class ValidatingAdmissionPolicyStatusStrategy(StatusOnly):
    """`/validatingadmissionpolicies/{name}/status`."""

    allow_unconditional_update = False
    reset_fields = (("spec",), ("metadata",))

    def default(self, obj: Object) -> Object:
        """As the main resource."""
        return policies.default_policy(obj)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec and metadata."""
        return reset_metadata_for_status(super().prepare_for_update(ctx, obj, old), old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`validateValidatingAdmissionPolicyStatus`."""
        del old
        status = parts.status(obj)
        where = STATUS.child("typeChecking", "expressionWarnings")
        errors: ErrorList = []
        warnings = parts.structs(parts.struct(status, "typeChecking"), "expressionWarnings")
        for position, warning in enumerate(warnings):
            path = where.index(position)
            errors += [
                field.required(path.child(key))
                for key in ("warning", "fieldRef")
                if not parts.text(warning, key).strip()
            ]
        conditions = parts.structs(status, "conditions")
        return errors + metav1.validate_conditions(conditions, STATUS.child("conditions"))


def _row(obj: Object, now_ns: int) -> list[Any]:
    return [
        obj["metadata"]["name"],
        len(parts.structs(parts.spec(obj), "validations")),
        policies.param_kind_text(obj),
        age(obj, now_ns),
    ]


KIND = Kind(
    strategy=ValidatingAdmissionPolicyStrategy(),
    status=ValidatingAdmissionPolicyStatusStrategy(),
    printer=printer("ValidatingAdmissionPolicy", _row),
)
