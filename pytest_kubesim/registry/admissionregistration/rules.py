"""Which requests a webhook or a policy is asked about: rules, selectors, conditions.

Follows `pkg/apis/admissionregistration/validation/validation.go` and
`pkg/apis/admissionregistration/v1/defaults.go`.
"""

from __future__ import annotations

from collections.abc import Iterable

from pytest_kubesim.apimachinery import formats, metav1
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.cel import types
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.admissionregistration.expressions import Compiler

ALL = "*"
SCOPES = (ALL, "Cluster", "Namespaced")
OPERATIONS = (ALL, "CONNECT", "CREATE", "DELETE", "UPDATE")
MUTATING_OPERATIONS = (ALL, "CONNECT", "CREATE", "UPDATE")
FAILURE_POLICIES = ("Fail", "Ignore")
MATCH_POLICIES = ("Equivalent", "Exact")
REINVOCATION_POLICIES = ("IfNeeded", "Never")
MAX_CONDITIONS = 64


# -- defaults --------------------------------------------------------------------------------------


def default_rules(rules: list[Object]) -> list[Object]:
    """`SetDefaults_Rule`."""
    return [{**rule, "scope": ALL} if rule.get("scope") is None else rule for rule in rules]


def default_match_resources(resources: Object) -> Object:
    """`SetDefaults_MatchResources`."""
    missing: Object = {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}}
    out: Object = dict(resources)
    for key, value in missing.items():
        if out.get(key) is None:
            out[key] = value
    for key in ("resourceRules", "excludeResourceRules"):
        if out.get(key):
            out[key] = default_rules(out[key])
    return out


# -- rules -----------------------------------------------------------------------------------------


def one_of(holder: Object, key: str, path: Path, allowed: Iterable[str]) -> ErrorList:
    """A field that is one of an enumeration, if it is there."""
    value = holder.get(key)
    if value is None or value in allowed:
        return []
    return [field.not_supported(path.child(key), value, allowed)]


def validate_rule(rule: Object, path: Path) -> ErrorList:
    """A rule with its operations (`validateRuleWithOperations`)."""
    operations, where = parts.texts(rule, "operations"), path.child("operations")
    errors: ErrorList = []
    if not operations:
        errors.append(field.required(where))
    if len(operations) > 1 and ALL in operations:
        detail = "if '*' is present, must not specify other operations"
        errors.append(field.invalid(where, operations, detail))
    errors += [
        field.not_supported(where.index(position), operation, OPERATIONS)
        for position, operation in enumerate(operations)
        if operation not in OPERATIONS
    ]
    for key, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values, where = parts.texts(rule, key), path.child(key)
        if not values:
            errors.append(field.required(where))
        if len(values) > 1 and ALL in values:
            detail = f"if '*' is present, must not specify other {what}"
            errors.append(field.invalid(where, values, detail))
        if key == "apiVersions":
            errors += [
                field.required(where.index(position))
                for position, version in enumerate(values)
                if not version
            ]
    errors += _resources(parts.texts(rule, "resources"), path.child("resources"))
    return errors + one_of(rule, "scope", path, SCOPES)


def _resources(resources: list[str], path: Path) -> ErrorList:
    errors: ErrorList = [] if resources else [field.required(path)]
    of_resource: set[str] = set()
    of_subresource: set[str] = set()
    plain = False
    for position, name in enumerate(resources):
        where = path.index(position)
        if not name:
            errors.append(field.required(where))
            continue
        resource, slash, subresource = name.partition("/")
        if not slash:
            plain = name != ALL
            continue
        if resource in of_resource:
            detail = f"if '{resource}/*' is present, must not specify {name}"
            errors.append(field.invalid(where, name, detail))
        if subresource in of_subresource:
            detail = f"if '*/{subresource}' is present, must not specify {name}"
            errors.append(field.invalid(where, name, detail))
        if subresource == ALL:
            of_resource.add(resource)
        if resource == ALL:
            of_subresource.add(subresource)
    if len(resources) > 1 and "*/*" in resources:
        detail = "if '*/*' is present, must not specify other resources"
        errors.append(field.invalid(path, resources, detail))
    if ALL in resources and plain:
        detail = "if '*' is present, must not specify other resources without subresources"
        errors.append(field.invalid(path, resources, detail))
    return errors


def validate_match_resources(resources: Object, path: Path) -> ErrorList:
    """What a policy or its binding is about (`validateMatchResources`)."""
    errors: ErrorList = []
    if resources.get("matchPolicy") is None:
        errors.append(field.required(path.child("matchPolicy")))
    errors += one_of(resources, "matchPolicy", path, MATCH_POLICIES)
    for key in ("namespaceSelector", "objectSelector"):
        selector: Object | None = resources.get(key)
        if selector is None:
            errors.append(field.required(path.child(key)))
        errors += metav1.validate_label_selector(selector, path.child(key))
    for key in ("resourceRules", "excludeResourceRules"):
        for position, rule in enumerate(parts.structs(resources, key)):
            errors += _named_rule(rule, path.child(key).index(position))
    return errors


def _named_rule(rule: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    names = parts.texts(rule, "resourceNames")
    for position, name in enumerate(names):
        where = path.child("resourceNames").index(position)
        errors += field.invalid_each(where, name, formats.is_valid_path_segment_name(name))
        if name in names[:position]:
            errors.append(field.duplicate(where, name))
    return errors + validate_rule(rule, path)


def mutating_operations(resources: Object, path: Path) -> ErrorList:
    """A mutating policy hears of no deletions."""
    where = path.child("resourceRules", "operations")
    return [
        field.not_supported(where, operation, MUTATING_OPERATIONS)
        for rule in parts.structs(resources, "resourceRules")
        for operation in parts.texts(rule, "operations")
        if operation not in MUTATING_OPERATIONS
    ]


# -- conditions ------------------------------------------------------------------------------------


def validate_conditions(conditions: list[Object], path: Path, compiler: Compiler) -> ErrorList:
    """`matchConditions`: each with a name of its own and an expression that is true or false."""
    errors: ErrorList = []
    if len(conditions) > MAX_CONDITIONS:
        errors.append(field.too_many(path, len(conditions), MAX_CONDITIONS))
    seen: set[str] = set()
    for position, condition in enumerate(conditions):
        where = path.index(position)
        name = parts.text(condition, "name")
        expression = parts.text(condition, "expression").strip()
        if expression:
            errors += compiler.errors(where.child("expression"), expression, types.BOOL)
        else:
            errors.append(field.required(where.child("expression")))
        if not name:
            errors.append(field.required(where.child("name")))
            continue
        errors += field.invalid_each(where.child("name"), name, formats.is_qualified_name(name))
        if name in seen:
            errors.append(field.duplicate(where.child("name"), name))
        seen.add(name)
    return errors


def expressions_of(conditions: list[Object]) -> frozenset[str]:
    """The expressions that are stored already."""
    return frozenset(parts.text(condition, "expression") for condition in conditions)
