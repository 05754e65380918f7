"""What validating and mutating admission policies share, and their bindings.

Follows `pkg/apis/admissionregistration/v1/defaults.go` and
`pkg/apis/admissionregistration/validation/validation.go`.
"""

from __future__ import annotations

import re
from typing import Any

from pytest_kubesim.apimachinery import formats, labels, metav1
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.admissionregistration import rules
from pytest_kubesim.registry.admissionregistration.expressions import Compiler
from pytest_kubesim.registry.columns import age
from pytest_kubesim.registry.rest import Context
from pytest_kubesim.registry.strategies import (
    SPEC,
    Plain,
    raised,
    semantically_equal,
    with_generation,
)

_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*\Z")
_RESERVED = frozenset(
    [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
_NOT_BOTH = "name and selector are mutually exclusive"
ACTIONS = ("Deny", "Allow")


class Generations(Plain):
    """A kind whose generation counts changes of its spec."""

    any_finalizer = True

    allow_unconditional_update = False

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """At generation 1."""
        del ctx
        return with_generation(obj, 1)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """A generation further if the spec has changed."""
        del ctx
        return obj if semantically_equal(obj.get("spec"), old.get("spec")) else raised(obj, old)


# -- policies --------------------------------------------------------------------------------------


def default_policy(obj: Object) -> Object:
    """`SetDefaults_ValidatingAdmissionPolicySpec` and its kin."""
    spec: Object = dict(parts.spec(obj))
    if spec.get("failurePolicy") is None:
        spec["failurePolicy"] = "Fail"
    if spec.get("matchConstraints") is not None:
        spec["matchConstraints"] = rules.default_match_resources(spec["matchConstraints"])
    return {**obj, "spec": spec}


def validate_head(
    spec: Object, old: Object | None, compiler: Compiler, *, mutating: bool
) -> ErrorList:
    """What both kinds of policy begin with: on failure, parameters, constraints, conditions."""
    errors = rules.one_of(spec, "failurePolicy", SPEC, rules.FAILURE_POLICIES)
    if spec.get("failurePolicy") is None:
        errors.append(field.required(SPEC.child("failurePolicy")))
    kind: Object | None = spec.get("paramKind")
    if kind is not None:
        errors += _param_kind(kind, SPEC.child("paramKind"))
    constraints: Object | None = spec.get("matchConstraints")
    where = SPEC.child("matchConstraints")
    if constraints is None:
        errors.append(field.required(where))
    else:
        errors += rules.validate_match_resources(constraints, where)
        if not constraints.get("resourceRules"):
            errors.append(field.required(where.child("resourceRules")))
        if mutating:
            errors += rules.mutating_operations(constraints, where)
    before = parts.spec(old)
    same = old is not None and all(
        semantically_equal(spec.get(key), before.get(key))
        for key in ("paramKind", "matchConditions")
    )
    if not same:
        conditions = parts.structs(spec, "matchConditions")
        alone = Compiler(
            params=compiler.params,
            known=rules.expressions_of(parts.structs(before, "matchConditions")),
        )
        errors += rules.validate_conditions(conditions, SPEC.child("matchConditions"), alone)
    for position, variable in enumerate(parts.structs(spec, "variables")):
        errors += _variable(variable, SPEC.child("variables").index(position), compiler)
    return errors


def _variable(variable: Object, path: Path, compiler: Compiler) -> ErrorList:
    name, expression = parts.text(variable, "name"), parts.text(variable, "expression")
    errors: ErrorList = []
    if not name.strip():
        errors.append(field.required(path.child("name"), "name is not specified"))
    elif not _IDENTIFIER.match(name) or name in _RESERVED:
        errors.append(field.invalid(path.child("name"), name, "must be a valid CEL identifier"))
    where = path.child("expression")
    if not expression.strip():
        return [*errors, field.required(where, "expression is not specified")]
    return errors + compiler.errors(where, expression, variable=name)


def _param_kind(kind: Object, path: Path) -> ErrorList:
    version, name = parts.text(kind, "apiVersion"), parts.text(kind, "kind")
    where = path.child("apiVersion")
    errors: ErrorList = []
    if not version:
        errors.append(field.required(where))
    elif version.count("/") > 1:
        detail = f"unexpected GroupVersion string: {version}"
        errors.append(field.invalid(where, version, detail))
    else:
        group, _, plain = version.rpartition("/")
        if group and (problems := formats.is_dns1123_subdomain(group)):
            errors.append(field.invalid(where, group, ",".join(problems)))
        if not plain:
            errors.append(field.invalid(where, version, "version must be specified"))
        elif problems := formats.is_dns1035_label(plain):
            errors.append(field.invalid(where, plain, ",".join(problems)))
    if not name:
        errors.append(field.required(path.child("kind")))
    elif problems := formats.is_dns1035_label(name.lower()):
        detail = f"may have mixed case, but should otherwise match: {','.join(problems)}"
        errors.append(field.invalid(path.child("kind"), name, detail))
    return errors


def param_kind_text(obj: Object) -> str:
    """The kind of a policy's parameters, as it is shown."""
    kind: Object | None = parts.spec(obj).get("paramKind")
    if kind is None:
        return "<unset>"
    return f"{parts.text(kind, 'apiVersion')}/{parts.text(kind, 'kind')}"


# -- bindings --------------------------------------------------------------------------------------


def default_binding(obj: Object) -> Object:
    """`SetDefaults_MatchResources`."""
    spec = parts.spec(obj)
    resources: Object | None = spec.get("matchResources")
    if resources is None:
        return obj
    return {**obj, "spec": {**spec, "matchResources": rules.default_match_resources(resources)}}


def validate_binding(spec: Object) -> ErrorList:
    """What both kinds of binding begin with; that the policy is named is left to others."""
    errors: ErrorList = []
    if name := parts.text(spec, "policyName"):
        details = formats.name_is_dns_subdomain(name)
        errors += field.invalid_each(SPEC.child("policyName"), name, details)
    reference: Object | None = spec.get("paramRef")
    if reference is not None:
        errors += _param_ref(reference, SPEC.child("paramRef"))
    resources: Object | None = spec.get("matchResources")
    if resources is not None:
        errors += rules.validate_match_resources(resources, SPEC.child("matchResources"))
    return errors


def _param_ref(reference: Object, path: Path) -> ErrorList:
    name = parts.text(reference, "name")
    selector: Object | None = reference.get("selector")
    errors: ErrorList = []
    if name:
        details = formats.is_valid_path_segment_name(name)
        errors += field.invalid_each(path.child("name"), name, details)
        if selector is not None:
            errors.append(field.forbidden(path.child("name"), _NOT_BOTH))
    if selector is not None:
        errors += metav1.validate_label_selector(selector, path.child("selector"))
        if name:
            errors.append(field.forbidden(path.child("selector"), _NOT_BOTH))
    if not name and selector is None:
        errors.append(field.required(path, "one of name or selector must be specified"))
    if not reference.get("parameterNotFoundAction"):
        errors.append(field.required(path.child("parameterNotFoundAction")))
        return errors
    return errors + rules.one_of(reference, "parameterNotFoundAction", path, ACTIONS)


def binding_row(obj: Object, now_ns: int) -> list[Any]:
    """The cells of a binding."""
    spec = parts.spec(obj)
    reference = parts.struct(spec, "paramRef")
    shown = "<unset>"
    if name := parts.text(reference, "name"):
        shown = f"{parts.text(reference, 'namespace') or '*'}/{name}"
    elif reference.get("selector") is not None:
        shown = labels.format_label_selector(reference["selector"])
    return [obj["metadata"]["name"], parts.text(spec, "policyName"), shown, age(obj, now_ns)]
