"""The rules of ``metadata``: what every object must obey, created or updated.

Each validator takes JSON and a path and returns field errors in upstream's order; where upstream
walks a Go map, whose order is random, the keys are sorted here.

Follows ``apimachinery/pkg/api/validation/objectmeta.go`` and what it calls in
``pkg/apis/meta/v1/validation/validation.go``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from pytest_kubesim.apimachinery import formats, golang
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import GroupVersionKind, Object, parse_api_version
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path

TOTAL_ANNOTATION_SIZE_LIMIT_BYTES = 256 * 1024
FIELD_MANAGER_MAX_LENGTH = 128
MAX_SUBRESOURCE_NAME_LENGTH = 256
FINALIZER_ORPHAN_DEPENDENTS = "orphan"
FINALIZER_DELETE_DEPENDENTS = "foregroundDeletion"

_BANNED_OWNERS = frozenset({GroupVersionKind("", "v1", "Event")})


class NameCheck(Protocol):
    """A check of ``formats`` such as ``name_is_dns_subdomain``: complaints about a name."""

    def __call__(self, name: str, *, prefix: bool = False) -> list[str]:
        """The complaints; ``prefix`` for a ``generateName``."""
        ...


def validate_object_meta(
    metadata: Object, *, requires_namespace: bool, name_check: NameCheck, path: Path
) -> ErrorList:
    """The metadata of an object about to be created."""
    errors: ErrorList = []
    if generate_name := metadata.get("generateName") or "":
        details = name_check(generate_name, prefix=True)
        errors += field.invalid_each(path.child("generateName"), generate_name, details)
    if name := metadata.get("name") or "":
        errors += field.invalid_each(path.child("name"), name, name_check(name))
    else:
        errors.append(field.required(path.child("name"), "name or generateName is required"))
    errors += _namespace(metadata, path.child("namespace"), required=requires_namespace)
    errors += field.validate_nonnegative_field(
        metadata.get("generation") or 0, path.child("generation")
    )
    errors += _sets(metadata, path)
    if finalizers := metadata.get("finalizers"):
        errors += validate_finalizers(finalizers, path.child("finalizers"))
    errors += validate_managed_fields(metadata.get("managedFields"), path.child("managedFields"))
    return errors


def _sets(metadata: Object, path: Path) -> ErrorList:
    """Labels, annotations and owner references."""
    errors: ErrorList = []
    if labels := metadata.get("labels"):
        errors += validate_labels(labels, path.child("labels"))
    if annotations := metadata.get("annotations"):
        errors += validate_annotations(annotations, path.child("annotations"))
    if references := metadata.get("ownerReferences"):
        errors += validate_owner_references(references, path.child("ownerReferences"))
    return errors


def _namespace(metadata: Object, path: Path, *, required: bool) -> ErrorList:
    namespace = metadata.get("namespace") or ""
    if not required:
        return [field.forbidden(path, "not allowed on this type")] if namespace else []
    if not namespace:
        return [field.required(path)]
    return field.invalid_each(path, namespace, formats.name_is_dns_label(namespace))


def validate_object_meta_update(new: Object, old: Object, path: Path) -> ErrorList:
    """The metadata of an object about to be replaced; ``old`` is what is stored."""
    errors: ErrorList = []
    if old.get("deletionTimestamp"):
        errors += validate_no_new_finalizers(
            new.get("finalizers"), old.get("finalizers"), path.child("finalizers")
        )
    if not new.get("resourceVersion"):
        detail = "must be specified for an update"
        errors.append(field.invalid(path.child("resourceVersion"), "", detail))
    generation = new.get("generation") or 0
    errors += field.validate_nonnegative_field(generation, path.child("generation"))
    if generation < (old.get("generation") or 0):
        detail = "must not be decremented"
        errors.append(field.invalid(path.child("generation"), generation, detail))
    for key in ("name", "namespace", "uid"):
        if (new.get(key) or "") != (old.get(key) or ""):
            errors += field.validate_immutable_field(
                new.get(key) or "", old.get(key) or "", path.child(key)
            )
    for key in ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if new.get(key) != old.get(key):
            errors += field.validate_immutable_field(new.get(key), old.get(key), path.child(key))
    errors += _sets(new, path)
    errors += validate_managed_fields(new.get("managedFields"), path.child("managedFields"))
    return errors


def validate_label_name(name: str, path: Path) -> ErrorList:
    """A key of a label."""
    return field.invalid_each(path, name, formats.is_qualified_name(name))


def validate_labels(labels: Mapping[str, str] | None, path: Path) -> ErrorList:
    """Keys and values of labels."""
    errors: ErrorList = []
    for key, value in sorted((labels or {}).items()):
        found = validate_label_name(key, path)
        found += field.invalid_each(path, value, formats.is_valid_label_value(value))
        # Two labels can have one fault, which is told once.
        errors += [error for error in found if error not in errors]
    return errors


def validate_annotations(annotations: Mapping[str, str] | None, path: Path) -> ErrorList:
    """Keys of annotations, in letters of any case, and the size of all of them."""
    given = annotations or {}
    errors: ErrorList = []
    for key in sorted(given):
        errors += field.invalid_each(path, key, formats.is_qualified_name(key.lower()))
    if annotations_size_bytes(given) > TOTAL_ANNOTATION_SIZE_LIMIT_BYTES:
        errors.append(field.too_long(path, TOTAL_ANNOTATION_SIZE_LIMIT_BYTES))
    return errors


def annotations_size_bytes(annotations: Mapping[str, str]) -> int:
    """The bytes of all keys and values."""
    return sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items())


def validate_owner_references(references: Sequence[Object] | None, path: Path) -> ErrorList:
    """Every owner named in full, and one controller at most."""
    errors: ErrorList = []
    controller = ""
    for position, reference in enumerate(references or ()):
        errors += _owner_reference(
            path,
            position,
            reference.get("apiVersion") or "",
            reference.get("kind") or "",
            reference.get("name") or "",
            reference.get("uid") or "",
            reference.get("controller"),
            reference.get("blockOwnerDeletion"),
        )
        if not reference.get("controller"):
            continue
        current = f"{reference.get('kind') or ''}/{reference.get('name') or ''}"
        if not controller:
            controller = current
            continue
        shown = ",".join(_printed_reference(each) for each in references or ())
        detail = (
            "Only one reference can have Controller set to true. "
            f'Found "true" in references for {controller} and {current}'
        )
        errors.append(field.invalid(path, field.Printed(f"[{shown}]"), detail))
    return errors


@functools.lru_cache(1024)
def _owner_reference(
    owner: Path,
    position: int,
    api_version: str,
    name_of_kind: str,
    name: str,
    uid: str,
    controller: Any,
    blocks: Any,
) -> tuple[FieldError, ...]:
    errors: ErrorList = []
    path = owner.index(position)
    reference: Object = {
        "apiVersion": api_version,
        "kind": name_of_kind,
        "name": name,
        "uid": uid,
        "controller": controller,
        "blockOwnerDeletion": blocks,
    }
    group, version = "", ""
    try:
        group, version = parse_api_version(api_version)
    except ValueError:
        pass
    if not api_version:
        errors.append(field.required(path.child("apiVersion"), "must not be empty"))
    elif not version:
        detail = "must be <group>/<version> or <version>"
        errors.append(field.invalid(path.child("apiVersion"), api_version, detail))
    errors += [
        field.required(path.child(key), "must not be empty")
        for key in ("kind", "name", "uid")
        if not reference.get(key)
    ]
    kind = GroupVersionKind(group, version, name_of_kind)
    if kind in _BANNED_OWNERS:
        shown = field.Printed(_printed_reference(reference))
        errors.append(field.invalid(path, shown, f"{kind} is disallowed from being an owner"))
    return tuple(errors)


def _printed_reference(reference: Object) -> str:
    ordered: Object = {
        key: reference.get(key) or "" for key in ("apiVersion", "kind", "name", "uid")
    }
    for key in ("controller", "blockOwnerDeletion"):
        if reference.get(key) is not None:
            ordered[key] = reference[key]
    return golang.json_text(ordered, sort_keys=False)


def validate_finalizer_name(name: str, path: Path) -> ErrorList:
    """A finalizer: a qualified name. Built-in kinds demand a slash on top of that."""
    return field.invalid_each(path, name, formats.is_qualified_name(name))


def validate_finalizers(finalizers: Sequence[str] | None, path: Path) -> ErrorList:
    """Every finalizer's name, and not the two together that contradict each other."""
    given = list(finalizers or ())
    errors: ErrorList = []
    for name in given:
        errors += validate_finalizer_name(name, path)
    if FINALIZER_ORPHAN_DEPENDENTS in given and FINALIZER_DELETE_DEPENDENTS in given:
        detail = (
            f"finalizer {FINALIZER_ORPHAN_DEPENDENTS} and {FINALIZER_DELETE_DEPENDENTS} "
            "cannot be both set"
        )
        errors.append(field.invalid(path, given, detail))
    return errors


def validate_no_new_finalizers(
    new: Sequence[str] | None, old: Sequence[str] | None, path: Path
) -> ErrorList:
    """An object on its way out takes no further finalizers."""
    extra = sorted(set(new or ()) - set(old or ()))
    if not extra:
        return []
    detail = "no new finalizers can be added if the object is being deleted, found new finalizers"
    return [field.forbidden(path, f"{detail} {golang.strings(extra)}")]


def validate_field_manager(manager: str, path: Path) -> ErrorList:
    """A field manager's name: short and printable."""
    errors: ErrorList = []
    if len(manager.encode()) > FIELD_MANAGER_MAX_LENGTH:
        errors.append(field.too_long(path, FIELD_MANAGER_MAX_LENGTH))
    position = 0
    for character in manager:
        if not golang.is_print(character):
            shown = f"U+{ord(character):04X}"
            detail = f"invalid character {shown} (at position {position})"
            errors.append(field.invalid(path, manager, detail))
        position += len(character.encode("utf-8", "surrogatepass"))
    return errors


def validate_managed_fields(entries: Sequence[Any] | None, path: Path) -> ErrorList:
    """Every entry of ``managedFields``, but for the fields themselves."""
    errors: ErrorList = []
    for position, raw in enumerate(entries or ()):
        entry = cast("Object", raw)
        errors += _managed_fields_entry(
            path,
            position,
            entry.get("operation") or "",
            entry.get("fieldsType") or "",
            entry.get("manager") or "",
            entry.get("subresource") or "",
        )
    return errors


@functools.lru_cache(1024)
def _managed_fields_entry(
    path: Path, position: int, operation: str, fields_type: str, manager: str, subresource: str
) -> tuple[FieldError, ...]:
    errors: ErrorList = []
    where = path.index(position)
    if not operation:
        errors.append(field.required(where.child("operation"), "must not be empty"))
    elif operation not in {"Apply", "Update"}:
        supported = ("Apply", "Update")
        errors.append(field.not_supported(where.child("operation"), operation, supported))
    if fields_type not in {"", "FieldsV1"}:
        detail = "must be `FieldsV1`"
        errors.append(field.invalid(where.child("fieldsType"), fields_type, detail))
    errors += validate_field_manager(manager, where.child("manager"))
    if len(subresource.encode()) > MAX_SUBRESOURCE_NAME_LENGTH:
        errors.append(field.too_long(where.child("subresource"), MAX_SUBRESOURCE_NAME_LENGTH))
    return tuple(errors)
