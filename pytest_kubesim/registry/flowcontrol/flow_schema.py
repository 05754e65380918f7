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
from pytest_kubesim.registry.strategies import SPEC, WithStatus, semantically_equal

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
_EVERYTHING: Object = {
    "resourceRules": [
        {
            "verbs": ["*"],
            "apiGroups": ["*"],
            "resources": ["*"],
            "clusterScope": True,
            "namespaces": ["*"],
        }
    ],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
}


def _group(name: str) -> Object:
    return {"kind": "Group", "group": {"name": f"system:{name}"}}


MANDATORY: dict[str, Object] = {
    "exempt": {
        "priorityLevelConfiguration": {"name": "exempt"},
        "matchingPrecedence": 1,
        "rules": [{"subjects": [_group("masters")], **_EVERYTHING}],
    },
    "catch-all": {
        "priorityLevelConfiguration": {"name": "catch-all"},
        "matchingPrecedence": MAX_PRECEDENCE,
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [
            {"subjects": [_group("unauthenticated"), _group("authenticated")], **_EVERYTHING}
        ],
    },
}
"""Their specs are fixed (`internalbootstrap.MandatoryFlowSchemas`)."""
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
        name, spec = parts.text(obj["metadata"], "name"), parts.spec(obj)
        errors = _spec(name, spec)
        fixed = MANDATORY.get(name)
        if fixed is not None and not semantically_equal(spec, fixed):
            detail = f"spec of '{name}' must equal the fixed value"
            errors.append(field.invalid(SPEC, field.Printed(_text(spec)), detail))
        return errors + validate_conditions(obj)


def _text(spec: Object) -> str:
    """The JSON of a spec's internal struct."""
    method: Object | None = spec.get("distinguisherMethod")
    shown = {
        "PriorityLevelConfiguration": {
            "Name": parts.text(parts.struct(spec, "priorityLevelConfiguration"), "name")
        },
        "MatchingPrecedence": parts.number(spec, "matchingPrecedence"),
        "DistinguisherMethod": None if method is None else {"Type": parts.text(method, "type")},
        "Rules": [_rule_shown(rule) for rule in parts.structs(spec, "rules")] or None,
    }
    return golang.json_text(shown, sort_keys=False)


def _rule_shown(rule: Object) -> Object:
    return {
        "Subjects": [_subject_shown(each) for each in parts.structs(rule, "subjects")] or None,
        "ResourceRules": [
            {
                "Verbs": each.get("verbs"),
                "APIGroups": each.get("apiGroups"),
                "Resources": each.get("resources"),
                "ClusterScope": bool(each.get("clusterScope")),
                "Namespaces": each.get("namespaces"),
            }
            for each in parts.structs(rule, "resourceRules")
        ]
        or None,
        "NonResourceRules": [
            {"Verbs": each.get("verbs"), "NonResourceURLs": each.get("nonResourceURLs")}
            for each in parts.structs(rule, "nonResourceRules")
        ]
        or None,
    }


def _subject_shown(subject: Object) -> Object:
    user: Object | None = subject.get("user")
    group: Object | None = subject.get("group")
    account: Object | None = subject.get("serviceAccount")
    return {
        "Kind": parts.text(subject, "kind"),
        "User": None if user is None else {"Name": parts.text(user, "name")},
        "Group": None if group is None else {"Name": parts.text(group, "name")},
        "ServiceAccount": None
        if account is None
        else {"Namespace": parts.text(account, "namespace"), "Name": parts.text(account, "name")},
    }


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
