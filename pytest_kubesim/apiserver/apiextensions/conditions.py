"""Conditions of a CustomResourceDefinition, and the names in it.

Nothing is changed in place: what sets a condition gives a new definition.

Follows `apiextensions-apiserver/pkg/apihelpers/helpers.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery.meta import get_path

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

ESTABLISHED = "Established"
NAMES_ACCEPTED = "NamesAccepted"
TERMINATING = "Terminating"
NON_STRUCTURAL_SCHEMA = "NonStructuralSchema"
API_APPROVED = "KubernetesAPIApprovalPolicyConformant"

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"
CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"


def condition(type_: str, status: str, reason: str, message: str) -> Object:
    """A condition without a time."""
    return {"type": type_, "status": status, "reason": reason, "message": message}


def conditions_of(crd: Object) -> list[Object]:
    """The conditions of a definition."""
    return get_path(crd, "status", "conditions") or []


def find(crd: Object, type_: str) -> Object | None:
    """The condition of that type, or None."""
    for each in conditions_of(crd):
        if each["type"] == type_:
            return each
    return None


def is_true(crd: Object, type_: str) -> bool:
    """Whether the condition is there and true."""
    found = find(crd, type_)
    return found is not None and found["status"] == TRUE


def equivalent(one: Object | None, other: Object | None) -> bool:
    """Whether two conditions say the same, whenever they said it first."""
    if one is None or other is None:
        return one is other
    return all(one.get(key) == other.get(key) for key in ("type", "status", "reason", "message"))


def with_condition(crd: Object, new: Object, now: str) -> Object:
    """The definition with that condition; its time moves where its status does."""
    found: list[Object] = []
    replaced = False
    for each in conditions_of(crd):
        if each["type"] != new["type"]:
            found.append(each)
            continue
        replaced = True
        same = each["status"] == new["status"] and each.get("lastTransitionTime")
        found.append(_stamped(new, each["lastTransitionTime"] if same else now))
    if not replaced:
        found.append(_stamped(new, now))
    return with_status(crd, conditions=found)


def _stamped(new: Object, time: str) -> Object:
    return {
        "type": new["type"],
        "status": new["status"],
        "lastTransitionTime": time,
        "reason": new["reason"],
        "message": new["message"],
    }


def with_status(crd: Object, **fields: Any) -> Object:
    """The definition with those fields of its status."""
    return {**crd, "status": {**(crd.get("status") or {}), **fields}}


def is_terminating(crd: Object) -> bool:
    """Whether it is on its way out."""
    return bool(crd["metadata"].get("deletionTimestamp")) or is_true(crd, TERMINATING)


def storage_version(crd: Object) -> str:
    """The version in which instances are stored."""
    for version in crd["spec"]["versions"]:
        if version["storage"]:
            return version["name"]
    raise ValueError("invalid apiextensionsv1.CustomResourceDefinition, no storage version")
