"""Selectors in questions of who may do what: what is wrong with them, and what is left of them.

The law: a term that cannot be understood is left out, and the answer says so: the question is only
broader then.

Follows `pkg/registry/authorization/util/helpers.go` and `pkg/apis/authorization/validation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import fields, labels, metav1, validation

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.validation import FieldError, Path

_OPERATORS = {
    "In": labels.IN,
    "NotIn": labels.NOT_IN,
    "Exists": labels.EXISTS,
    "DoesNotExist": labels.DOES_NOT_EXIST,
}


def problems_of(attributes: Object, path: Path) -> list[FieldError]:
    """What is wrong with the selectors of `resourceAttributes`."""

    def label_problems(requirement: Object, where: Path) -> list[FieldError]:
        found = metav1.validate_label_selector(
            {"matchExpressions": [requirement]}, path, allow_unknown_operator=True
        )
        before = str(path.child("matchExpressions").index(0))
        return [_moved(each, before, str(where)) for each in found]

    def field_problems(requirement: Object, where: Path) -> list[FieldError]:
        return metav1.validate_field_selector_requirement(
            requirement, where, allow_unknown_operator=True
        )

    return [
        *_problems(attributes.get("fieldSelector"), path.child("fieldSelector"), field_problems),
        *_problems(attributes.get("labelSelector"), path.child("labelSelector"), label_problems),
    ]


def _moved(error: FieldError, before: str, after: str) -> FieldError:


    return attrs.evolve(error, field=error.field.replace(before, after, 1))


def _problems(
    selector: Object | None, path: Path, problems: Callable[[Object, Path], Sequence[FieldError]]
) -> list[FieldError]:
    if selector is None:
        return []
    found: list[FieldError] = []
    raw: str = selector.get("rawSelector") or ""
    requirements: list[Object] = selector.get("requirements") or []
    if raw and requirements:
        text = "may not specified at the same time as requirements"
        found.append(validation.invalid(path.child("rawSelector"), raw, text))
    if not raw and not requirements:
        text = f"when {path} is specified, requirements or rawSelector is required"
        found.append(validation.required(path.child("requirements"), text))
    for index, each in enumerate(requirements):
        found += problems(each, path.child("requirements").index(index))
    return found


def evaluation_error(attributes: Object) -> str:
    """What the answer says of terms that were not understood."""
    said: list[str] = []
    for name, read in (("fieldSelector", field_terms), ("labelSelector", label_terms)):
        terms, whole = read(attributes.get(name) or {})
        if not whole:
            partly = "partially ignored" if terms else "ignored"
            said.append(f"spec.resourceAttributes.{name} {partly} due to parse error")
    return "; ".join(said)


def field_terms(selector: Object) -> tuple[tuple[fields.Requirement, ...], bool]:
    """The terms of a field selector, and whether these are all."""
    requirements: list[Object] = selector.get("requirements") or []
    if requirements:
        known = tuple(
            fields.Requirement(
                each.get("key") or "", "=" if each["operator"] == "In" else "!=", each["values"][0]
            )
            for each in requirements
            if each.get("operator") in ("In", "NotIn") and len(each.get("values") or ()) == 1
        )
        return known, len(known) == len(requirements)
    text: str = selector.get("rawSelector") or ""
    try:
        return (fields.parse(text).requirements, True) if text else ((), True)
    except ValueError:
        return (), False


def label_terms(selector: Object) -> tuple[tuple[labels.Requirement, ...], bool]:
    """The terms of a label selector, and whether these are all."""
    requirements: list[Object] = selector.get("requirements") or []
    if requirements:
        known: list[labels.Requirement] = []
        for each in requirements:
            operator = _OPERATORS.get(each.get("operator") or "")
            if operator is None:
                continue
            try:
                known.append(
                    labels.new_requirement(each.get("key") or "", operator, each.get("values"))
                )
            except ValueError:
                continue
        return tuple(known), len(known) == len(requirements)
    text: str = selector.get("rawSelector") or ""
    try:
        return (labels.parse(text).requirements, True) if text else ((), True)
    except ValueError:
        return (), False
