"""What roles and bindings of a namespace and of the cluster share.

Follows `pkg/apis/rbac/v1/defaults.go` and `pkg/apis/rbac/validation/validation.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_kubesim.apimachinery import formats, golang
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age
from pytest_kubesim.registry.rbac.escalation import GROUP

_RULES = Path("rules")
_SUBJECTS = Path("subjects")
_ROLE = Path("roleRef")


def validate_rules(obj: Object, *, namespaced: bool) -> ErrorList:
    """The rules of a role (`ValidatePolicyRule`)."""
    errors: ErrorList = []
    declared: ErrorList = []
    for position, rule in enumerate(parts.structs(obj, "rules")):
        path = _RULES.index(position)
        if not parts.texts(rule, "verbs"):
            declared.append(field.required(path.child("verbs")))
        errors += _rule(rule, path, namespaced=namespaced)
    return errors + declared


def _rule(rule: Object, path: Path, *, namespaced: bool) -> ErrorList:
    urls = parts.texts(rule, "nonResourceURLs")
    groups, resources = parts.texts(rule, "apiGroups"), parts.texts(rule, "resources")
    errors: ErrorList = []
    if urls:
        where = path.child("nonResourceURLs")
        if namespaced:
            detail = "namespaced rules cannot apply to non-resource URLs"
            errors.append(field.invalid(where, urls, detail))
        if groups or resources or parts.texts(rule, "resourceNames"):
            detail = "rules cannot apply to both regular resources and non-resource URLs"
            errors.append(field.invalid(where, urls, detail))
        return errors
    if not groups:
        detail = "resource rules must supply at least one api group"
        errors.append(field.required(path.child("apiGroups"), detail))
    if not resources:
        detail = "resource rules must supply at least one resource"
        errors.append(field.required(path.child("resources"), detail))
    return errors


# -- bindings --------------------------------------------------------------------------------------


def default_binding(obj: Object) -> Object:
    """`SetDefaults_RoleBinding`, `SetDefaults_Subject`."""
    role = parts.struct(obj, "roleRef")
    if not role.get("apiGroup"):
        obj = {**obj, "roleRef": {**role, "apiGroup": GROUP}}
    subjects = [subject or {} for subject in parts.structs(obj, "subjects")]
    if any(_lacks_group(subject) for subject in subjects):
        full = [{**s, "apiGroup": GROUP} if _lacks_group(s) else s for s in subjects]
        obj = {**obj, "subjects": full}
    return obj


def _lacks_group(subject: Object) -> bool:
    return subject.get("kind") in ("User", "Group") and not subject.get("apiGroup")


def validate_binding(
    obj: Object, old: Object | None, *, kinds: Sequence[str], namespaced: bool
) -> ErrorList:
    """A binding of a role of one of these kinds (`ValidateRoleBinding`)."""
    role = parts.struct(obj, "roleRef")
    group, kind, name = (parts.text(role, key) for key in ("apiGroup", "kind", "name"))
    errors: ErrorList = []
    declared: ErrorList = []
    if group != GROUP:
        errors.append(field.not_supported(_ROLE.child("apiGroup"), group, (GROUP,)))
    if kind not in kinds:
        errors.append(field.not_supported(_ROLE.child("kind"), kind, kinds))
    if name:
        details = formats.is_valid_path_segment_name(name)
        errors += field.invalid_each(_ROLE.child("name"), name, details)
    for position, subject in enumerate(parts.structs(obj, "subjects")):
        path = _SUBJECTS.index(position)
        if not parts.text(subject, "name"):
            declared.append(field.required(path.child("name")))
        errors += _subject(subject, path, namespaced=namespaced)
    if not name:
        declared.append(field.required(_ROLE.child("name")))
    if old is not None and role != parts.struct(old, "roleRef"):
        shown = golang.json_text({"APIGroup": group, "Kind": kind, "Name": name}, sort_keys=False)
        errors.append(field.invalid(_ROLE, field.Printed(shown), field.FIELD_IMMUTABLE))
    return errors + declared


def _subject(subject: Object, path: Path, *, namespaced: bool) -> ErrorList:
    kind, name, group = (parts.text(subject, key) for key in ("kind", "name", "apiGroup"))
    where = path.child("apiGroup")
    if kind in ("User", "Group"):
        return [] if group == GROUP else [field.not_supported(where, group, (GROUP,))]
    if kind != "ServiceAccount":
        kinds = ("ServiceAccount", "User", "Group")
        return [field.not_supported(path.child("kind"), kind, kinds)]
    errors: ErrorList = []
    if name:
        errors += field.invalid_each(path.child("name"), name, formats.name_is_dns_subdomain(name))
    if group:
        errors.append(field.not_supported(where, group, ("",)))
    if not namespaced and not parts.text(subject, "namespace"):
        errors.append(field.required(path.child("namespace")))
    return errors


def binding_row(obj: Object, now_ns: int) -> list[Any]:
    """The cells of a binding."""
    role = parts.struct(obj, "roleRef")
    users: list[str] = []
    groups: list[str] = []
    accounts: list[str] = []
    for subject in parts.structs(obj, "subjects"):
        kind, name = parts.text(subject, "kind"), parts.text(subject, "name")
        if kind == "User":
            users.append(name)
        elif kind == "Group":
            groups.append(name)
        elif kind == "ServiceAccount":
            accounts.append(f"{parts.text(subject, 'namespace')}/{name}")
    return [
        obj["metadata"]["name"],
        f"{parts.text(role, 'kind')}/{parts.text(role, 'name')}",
        age(obj, now_ns),
        *(", ".join(found) for found in (users, groups, accounts)),
    ]
