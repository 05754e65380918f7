"""FlowSchemas: which requests belong together.

Follows `pkg/registry/flowcontrol/flowschema/strategy.go`, `pkg/apis/flowcontrol/v1/defaults.go` and
`pkg/apis/flowcontrol/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats, golang
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import NONE, age, printer
from pytest_kubesim.registry.flowcontrol.conditions import FlowStatusStrategy, validate_conditions
from pytest_kubesim.registry.rest import Kind
from pytest_kubesim.registry.strategies import SPEC, WithStatus

DEFAULT_PRECEDENCE = 1000
MAX_PRECEDENCE = 10000
EXEMPT = "exempt"
METHODS = ("ByNamespace", "ByUser")
VERBS = (
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
)
SUBJECTS = {"Group": "group", "ServiceAccount": "serviceAccount", "User": "user"}
_NAMESPACE = "each member of this list must be '*' or a DNS-1123 label; "


class FlowSchemaStrategy(WithStatus):
    """`/flowschemas`."""

    generations = True

    def default(self, obj: Object) -> Object:
        """`SetDefaults_FlowSchemaSpec`."""
        spec = parts.spec(obj)
        if spec.get("matchingPrecedence"):
            return obj
        return {**obj, "spec": {**spec, "matchingPrecedence": DEFAULT_PRECEDENCE}}

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateFlowSchema`."""
        del old
        errors = _spec(parts.text(obj["metadata"], "name"), parts.spec(obj))
        return errors + validate_conditions(obj)


def _spec(name: str, spec: Object) -> ErrorList:
    errors: ErrorList = []
    precedence, where = parts.number(spec, "matchingPrecedence"), SPEC.child("matchingPrecedence")
    if precedence <= 0:
        errors.append(field.invalid(where, precedence, "must be a positive value"))
    if precedence > MAX_PRECEDENCE:
        detail = f"must not be greater than {MAX_PRECEDENCE}"
        errors.append(field.invalid(where, precedence, detail))
    if precedence == 1 and name != EXEMPT:
        detail = "only the schema named 'exempt' may have matchingPrecedence 1"
        errors.append(field.invalid(where, precedence, detail))
    method: Object | None = spec.get("distinguisherMethod")
    if method is not None and (kind := parts.text(method, "type")) not in METHODS:
        shown = field.Printed(golang.json_text({"Type": kind}))
        where = SPEC.child("distinguisherMethod", "type")
        errors.append(field.not_supported(where, shown, METHODS))
    level = parts.text(parts.struct(spec, "priorityLevelConfiguration"), "name")
    where = SPEC.child("priorityLevelConfiguration", "name")
    if level:
        errors += field.invalid_each(where, level, formats.name_is_dns_subdomain(level))
    else:
        errors.append(field.required(where, "must reference a priority level"))
    for position, rule in enumerate(parts.structs(spec, "rules")):
        errors += _rule(rule, SPEC.child("rules").index(position))
    return errors


def _rule(rule: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    subjects = parts.structs(rule, "subjects")
    if not subjects:
        detail = "subjects must contain at least one value"
        errors.append(field.required(path.child("subjects"), detail))
    for position, subject in enumerate(subjects):
        errors += _subject(subject, path.child("subjects").index(position))
    resources = parts.structs(rule, "resourceRules")
    others = parts.structs(rule, "nonResourceRules")
    if not resources and not others:
        detail = "at least one of resourceRules and nonResourceRules has to be non-empty"
        errors.append(field.required(path, detail))
    for position, each in enumerate(resources):
        errors += _resource_rule(each, path.child("resourceRules").index(position))
    for position, each in enumerate(others):
        errors += _path_rule(each, path.child("nonResourceRules").index(position))
    return errors


def _subject(subject: Object, path: Path) -> ErrorList:
    kind = parts.text(subject, "kind")
    key = SUBJECTS.get(kind)
    if key is None:
        return [field.not_supported(path.child("kind"), kind, SUBJECTS)]
    given: Object | None = subject.get(key)
    where = path.child(key)
    errors: ErrorList = []
    if given is None:
        errors.append(field.required(where, f"{key} is required when subject kind is '{kind}'"))
    else:
        errors += _subject_name(given, where, is_account=kind == "ServiceAccount")
    for other, other_key in (
        ("ServiceAccount", "serviceAccount"),
        ("User", "user"),
        ("Group", "group"),
    ):
        if other != kind and subject.get(other_key) is not None:
            detail = f"{other_key} is forbidden when subject kind is not '{other}'"
            errors.append(field.forbidden(path.child(other_key), detail))
    return errors


def _subject_name(given: Object, path: Path, *, is_account: bool) -> ErrorList:
    name = parts.text(given, "name")
    errors: ErrorList = []
    if not name:
        errors.append(field.required(path.child("name")))
    elif is_account and name != "*":
        errors += field.invalid_each(path.child("name"), name, formats.name_is_dns_subdomain(name))
    if is_account:
        namespace, where = parts.text(given, "namespace"), path.child("namespace")
        if namespace:
            errors += field.invalid_each(where, namespace, formats.name_is_dns_label(namespace))
        else:
            errors.append(field.required(where, "must specify namespace for service account"))
    return errors


def _verbs(rule: Object, path: Path) -> ErrorList:
    verbs, where = parts.texts(rule, "verbs"), path.child("verbs")
    if not verbs:
        return [field.required(where, "verbs must contain at least one value")]
    if "*" in verbs:
        return _alone(verbs, where, "verbs")
    return [] if set(verbs) <= set(VERBS) else [field.not_supported(where, verbs, VERBS)]


def _alone(values: list[str], path: Path, what: str) -> ErrorList:
    if len(values) < 2 or "*" not in values:
        return []
    return [field.invalid(path, values, f"if '*' is present, must not specify other {what}")]


def _resource_rule(rule: Object, path: Path) -> ErrorList:
    errors = _verbs(rule, path)
    for key, what, missing in (
        ("apiGroups", "api groups", "resource rules must supply at least one api group"),
        ("resources", "resources", "resource rules must supply at least one resource"),
    ):
        values, where = parts.texts(rule, key), path.child(key)
        errors += _alone(values, where, what) if values else [field.required(where, missing)]
    namespaces, where = parts.texts(rule, "namespaces"), path.child("namespaces")
    if not namespaces and not rule.get("clusterScope"):
        detail = "resource rules that are not cluster scoped must supply at least one namespace"
        errors.append(field.required(where, detail))
    elif "*" in namespaces:
        errors += _alone(namespaces, where, "namespaces")
    else:
        for position, namespace in enumerate(namespaces):
            details = [_NAMESPACE + each for each in formats.name_is_dns_label(namespace)]
            errors += field.invalid_each(where.index(position), namespace, details)
    return errors


def _path_rule(rule: Object, path: Path) -> ErrorList:
    errors = _verbs(rule, path)
    urls, where = parts.texts(rule, "nonResourceURLs"), path.child("nonResourceURLs")
    if not urls:
        errors.append(field.required(where, "nonResourceURLs must contain at least one value"))
    elif "*" in urls:
        errors += _alone(urls, where, "non-resource URLs")
    else:
        for position, url in enumerate(urls):
            if problem := _url_problem(url):
                errors.append(field.invalid(where.index(position), url, problem))
    return errors


def _url_problem(url: str) -> str:
    if not url:
        return "must not be empty"
    if url == "/":
        return ""
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    stars = url.count("*")
    if stars > 1 or (stars == 1 and not url.endswith("/*")):
        return "wildcard can only do suffix matching"
    return ""


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec = parts.spec(obj)
    method: Object | None = spec.get("distinguisherMethod")
    conditions = parts.structs(parts.status(obj), "conditions")
    dangling = [parts.text(c, "status") for c in conditions if c.get("type") == "Dangling"]
    return [
        obj["metadata"]["name"],
        parts.text(parts.struct(spec, "priorityLevelConfiguration"), "name"),
        parts.number(spec, "matchingPrecedence"),
        NONE if method is None else parts.text(method, "type"),
        age(obj, now_ns),
        dangling[0] if dangling else "?",
    ]


KIND = Kind(
    strategy=FlowSchemaStrategy(),
    status=FlowStatusStrategy(),
    printer=printer("FlowSchema", _row),
)
