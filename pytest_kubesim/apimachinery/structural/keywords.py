"""The keywords of a CRD's schema: which are taken, and which go together.

Follows ``apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import attrs

from pytest_kubesim.apimachinery.structural import fieldpaths
from pytest_kubesim.apimachinery.structural.invariants import Source
from pytest_kubesim.apimachinery.validation import (
    ErrorList,
    Path,
    forbidden,
    invalid,
    not_supported,
    required,
)

TYPES = ("array", "boolean", "integer", "number", "object", "string")
REASONS = (
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
)


@attrs.frozen
class Context:
    """Where in a definition a schema stands, as far as its keywords depend on it."""

    is_root: bool = False
    inside_meta: bool = False
    no_defaults: str | None = None
    """Why defaults are forbidden; None if they are not."""
    uncorrelatable: Path | None = None
    """The path of the list or map below which old values cannot be found, if there is one."""

    def without_old(self, path: Path) -> Context:
        """The context below a list or a map whose items cannot be told apart."""
        return self if self.uncorrelatable else attrs.evolve(self, uncorrelatable=path)


def standard(source: Source, path: Path, context: Context) -> ErrorList:
    """The keywords that Kubernetes does not take: ``specStandardValidatorV3``."""
    errors: ErrorList = []
    kind = source.get("type")
    if kind and kind not in TYPES:
        errors.append(not_supported(path.child("type"), kind, TYPES))
    if source.get("default") is not None and context.no_defaults is not None:
        errors.append(forbidden(path.child("default"), f"must not be set {context.no_defaults}"))
    for key in (
        "id",
        "additionalItems",
        "patternProperties",
        "definitions",
        "dependencies",
        "$ref",
    ):
        value = source.get(key)
        if value or (value is not None and key in ("additionalItems", "dependencies", "$ref")):
            errors.append(forbidden(path.child(key), f"{key} is not supported"))
    if kind == "null":
        detail = "type cannot be set to null, use nullable as an alternative"
        errors.append(forbidden(path.child("type"), detail))
    if isinstance(source.get("items"), list):
        detail = "items must be a schema object and not an array"
        errors.append(forbidden(path.child("items"), detail))
    if context.inside_meta and source.get("x-kubernetes-embedded-resource"):
        where = path.child("x-kubernetes-embedded-resource")
        errors.append(forbidden(where, "must not be used inside of resource meta"))
    return errors


def combinations(source: Source, path: Path) -> ErrorList:
    """The keywords that do not go together."""
    errors: ErrorList = []
    if source.get("uniqueItems"):
        detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        errors.append(forbidden(path.child("uniqueItems"), detail))
    values = source.get("additionalProperties")
    if values is not None and source.get("properties") and values is not True:
        detail = "additionalProperties and properties are mutual exclusive"
        errors.append(forbidden(path.child("additionalProperties"), detail))
    if source.get("x-kubernetes-preserve-unknown-fields") is False:
        where = path.child("x-kubernetes-preserve-unknown-fields")
        errors.append(invalid(where, False, "must be true or undefined"))
    errors += _map_type(source, path)
    errors += _list_type(source, path)
    errors += _list_items(source, path)
    return errors


def _map_type(source: Source, path: Path) -> ErrorList:
    map_type = source.get("x-kubernetes-map-type")
    if map_type is None:
        return []
    errors: ErrorList = []
    kind = source.get("type") or ""
    if kind != "object":
        where = path.child("type")
        detail = "must be object if x-kubernetes-map-type is specified"
        errors.append(invalid(where, kind, detail) if kind else required(where, detail))
    if map_type not in ("atomic", "granular"):
        where = path.child("x-kubernetes-map-type")
        errors.append(not_supported(where, map_type, ("atomic", "granular")))
    return errors


def _list_type(source: Source, path: Path) -> ErrorList:
    list_type = source.get("x-kubernetes-list-type")
    keys: list[str] = source.get("x-kubernetes-list-map-keys") or []
    errors: ErrorList = []
    where = path.child("x-kubernetes-list-type")
    if list_type is not None:
        kind = source.get("type") or ""
        items = source.get("items")
        if kind != "array":
            detail = "must be array if x-kubernetes-list-type is specified"
            at = path.child("type")
            errors.append(invalid(at, kind, detail) if kind else required(at, detail))
        elif list_type == "set" and isinstance(items, dict):
            errors += _set_items(cast("Source", items), path.child("items"))
        if list_type not in ("atomic", "set", "map"):
            errors.append(not_supported(where, list_type, ("atomic", "set", "map")))
    if keys and list_type != "map":
        detail = "must be map if x-kubernetes-list-map-keys is non-empty"
        missing = list_type is None
        errors.append(required(where, detail) if missing else invalid(where, list_type, detail))
    if list_type == "map":
        errors += _map_items(source, keys, path)
    return errors


def _set_items(items: Source, path: Path) -> ErrorList:
    detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
    # Upstream prints the items' list type in both cases.
    list_type = items.get("x-kubernetes-list-type")
    if items.get("type") == "array" and list_type not in (None, "atomic"):
        return [invalid(path.child("x-kubernetes-list-type"), list_type, detail)]
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        return [invalid(path.child("x-kubernetes-map-type"), list_type, detail)]
    return []


def _map_items(source: Source, keys: list[str], path: Path) -> ErrorList:
    errors: ErrorList = []
    where = path.child("x-kubernetes-list-map-keys")
    if not keys:
        detail = "must not be empty if x-kubernetes-list-type is map"
        errors.append(required(where, detail))
    items = source.get("items")
    if items is None:
        detail = "must have a schema if x-kubernetes-list-type is map"
        errors.append(required(path.child("items"), detail))
    elif isinstance(items, list):
        detail = "must only have a single schema if x-kubernetes-list-type is map"
        errors.append(invalid(path.child("items"), cast("Any", items), detail))
    if not isinstance(items, dict):
        return errors
    item = cast("Source", items)
    kind = item.get("type") or ""
    if kind != "object":
        detail = "must be object if parent array's x-kubernetes-list-type is map"
        errors.append(invalid(path.child("items").child("type"), kind, detail))
        return errors
    seen: set[str] = set()
    properties: Mapping[str, Source] = item.get("properties") or {}
    for key in keys:
        if key not in properties:
            errors.append(invalid(where, keys, "entries must all be names of item properties"))
        elif properties[key].get("type") in ("array", "object"):
            at = path.child("items").child("properties").key(key).child("type")
            detail = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            errors.append(invalid(at, kind, detail))
        if key in seen:
            errors.append(invalid(where, keys, "must not contain duplicate entries"))
        seen.add(key)
    return errors


def _list_items(source: Source, path: Path) -> ErrorList:
    """``validateMapListKeysMapSet``: items are not null, and their keys are always there."""
    list_type = source.get("x-kubernetes-list-type")
    items = source.get("items")
    if not isinstance(items, dict) or list_type not in ("set", "map"):
        return []
    item = cast("Source", items)
    errors: ErrorList = []
    where = path.child("items")
    if item.get("nullable"):
        detail = f"cannot be nullable when x-kubernetes-list-type is {list_type}"
        errors.append(forbidden(where.child("nullable"), detail))
    if list_type == "set":
        return errors
    properties: Mapping[str, Source] = item.get("properties") or {}
    for key in source.get("x-kubernetes-list-map-keys") or ():
        if key not in properties:
            continue
        at = where.child("properties").key(key)
        if key not in (item.get("required") or ()) and properties[key].get("default") is None:
            detail = (
                "this property is in x-kubernetes-list-map-keys, "
                "so it must have a default or be a required property"
            )
            errors.append(required(at.child("default"), detail))
        if properties[key].get("nullable"):
            detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            errors.append(forbidden(at.child("nullable"), detail))
    return errors


# -- the texts of rules ----------------------------------------------------------------------------


def rule_texts(source: Source, rules: list[Source], path: Path) -> ErrorList:
    """What is wrong with the texts of rules, whatever the rules say."""
    errors: ErrorList = []
    for index, rule in enumerate(rules):
        at = path.child("x-kubernetes-validations").index(index)
        errors += _rule_text(source, rule, at)
    return errors


def _rule_text(source: Source, rule: Source, at: Path) -> ErrorList:
    errors: ErrorList = []
    text, message = rule.get("rule") or "", rule.get("message") or ""
    expression, field_path = rule.get("messageExpression") or "", rule.get("fieldPath") or ""
    if not text.strip():
        errors.append(required(at.child("rule"), "rule is not specified"))
    elif message and not message.strip():
        errors.append(invalid(at.child("message"), message, "must be non-empty if specified"))
    elif _has_newlines(message.strip()):
        errors.append(invalid(at.child("message"), message, "must not contain line breaks"))
    elif _has_newlines(text.strip()) and not message.strip():
        detail = "message must be specified if rule contains line breaks"
        errors.append(required(at.child("message"), detail))
    if expression and not expression.strip():
        detail = "messageExpression must be non-empty if specified"
        errors.append(required(at.child("messageExpression"), detail))
    reason = rule.get("reason")
    if reason is not None and reason not in REASONS:
        errors.append(not_supported(at.child("reason"), reason, REASONS))
    where = at.child("fieldPath")
    if field_path and not field_path.strip():
        errors.append(invalid(where, field_path, "must be non-empty if specified"))
    if _has_newlines(field_path):
        errors.append(invalid(where, field_path, "must not contain line breaks"))
    if field_path:
        try:
            fieldpaths.resolve(field_path, source)
        except fieldpaths.FieldPathError:
            errors.append(invalid(where, field_path, "must be a valid path"))
    return errors


def _has_newlines(text: str) -> bool:
    return "\n" in text or "\r" in text
