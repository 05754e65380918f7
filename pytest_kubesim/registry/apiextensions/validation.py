"""What is wrong with a CustomResourceDefinition.

The rules of schemas are `apimachinery.structural.definition`'s; here are those of everything around
them: names, versions, columns, scale, selectable fields.  Fields are named as in the internal form
of a definition (`hoisting`).

Follows `apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import formats, golang, meta, objectmeta
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import get_path
from pytest_kubesim.apimachinery.structural import fieldpaths
from pytest_kubesim.apimachinery.structural.definition import validate_schema
from pytest_kubesim.apimachinery.structural.fieldpaths import FieldPathError
from pytest_kubesim.apimachinery.structural.invariants import has_rules
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry.apiextensions import approval
from pytest_kubesim.registry.apiextensions.conversion_validation import validate_conversion
from pytest_kubesim.registry.apiextensions.hoisting import hoisted, shown

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

MAX_SELECTABLE_FIELDS = 8
MAX_DEPRECATION_WARNING_BYTES = 256

_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = (
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
)
_SELECTABLE_TYPES = frozenset({"string", "boolean", "integer"})
_SPEC, _STATUS, _METADATA = Path("spec"), Path("status"), Path("metadata")
_MIXED_CASE = "may have mixed case, but should otherwise match: "


def validate_definition(crd: Object) -> ErrorList:
    """All that is wrong with a new definition."""
    spec: Object = hoisted(crd["spec"])
    names: Object = spec.get("names") or {}
    wanted = f"{names.get('plural') or ''}.{spec.get('group') or ''}"

    def name_check(name: str, *, prefix: bool = False) -> list[str]:
        found = formats.name_is_dns_subdomain(name, prefix=prefix)
        if name != wanted:
            found = [*found, 'must be spec.names.plural+"."+spec.group']
        return found

    errors = objectmeta.validate_object_meta(
        crd["metadata"], requires_namespace=False, name_check=name_check, path=_METADATA
    )
    errors += _spec(spec, allow_invalid_ca_bundle=True)
    return errors + _rest(crd, None)


def validate_definition_update(crd: Object, old: Object) -> ErrorList:
    """All that is wrong with a change of a definition."""
    established = _is_established(old)
    spec, before = hoisted(crd["spec"]), hoisted(old["spec"])
    errors = objectmeta.validate_object_meta_update(crd["metadata"], old["metadata"], _METADATA)
    errors += _spec(spec, before=before, allow_invalid_ca_bundle=not established)
    names, old_names = spec["names"], before["names"]
    path = _SPEC.child("names")
    immutable = field.validate_immutable_field
    if established:
        errors += immutable(spec.get("scope"), before.get("scope"), _SPEC.child("scope"))
        errors += immutable(names.get("kind"), old_names.get("kind"), path.child("kind"))
    errors += immutable(spec.get("group"), before.get("group"), _SPEC.child("group"))
    errors += immutable(names.get("plural"), old_names.get("plural"), path.child("plural"))
    return errors + _rest(crd, old)


def validate_status_update(crd: Object, old: Object) -> ErrorList:
    """All that is wrong with a change of a definition's status."""
    errors = objectmeta.validate_object_meta_update(crd["metadata"], old["metadata"], _METADATA)
    return errors + _accepted_names(crd)


def _is_established(crd: Object) -> bool:
    conditions: list[Object] = get_path(crd, "status", "conditions") or []
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _rest(crd: Object, old: Object | None) -> ErrorList:
    errors = _accepted_names(crd)
    errors += _stored_versions(crd)
    errors += _approval(crd, old)
    if crd["spec"].get("preserveUnknownFields") and not (
        old is not None and old["spec"].get("preserveUnknownFields")
    ):
        detail = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in "
            "spec.versions[*].schema instead"
        )
        errors.append(field.invalid(_SPEC.child("preserveUnknownFields"), True, detail))
    return errors


def _accepted_names(crd: Object) -> ErrorList:
    names: Object = get_path(crd, "status", "acceptedNames") or {}
    return _names(names, _STATUS.child("acceptedNames"))


def _stored_versions(crd: Object) -> ErrorList:
    path = _STATUS.child("storedVersions")
    stored: list[str] | None = get_path(crd, "status", "storedVersions")
    if not stored:
        return [field.invalid(path, stored, "must have at least one stored version")]
    errors: ErrorList = []
    left = {name: index for index, name in enumerate(stored)}
    versions: list[Object] = crd["spec"].get("versions") or []
    for version in versions:
        name: str = version.get("name") or ""
        if version.get("storage") and name not in left:
            detail = f"must have the storage version {name}"
            errors.append(field.invalid(path, stored, detail))
        left.pop(name, None)
    for name, index in left.items():
        detail = (
            f"missing from spec.versions; {name} was previously a storage version, and must remain "
            "in spec.versions until a storage migration ensures no data remains persisted in "
            f"{name} and removes {name} from status.storedVersions"
        )
        errors.append(field.invalid(path.index(index), name, detail))
    return errors


def _approval(crd: Object, old: Object | None) -> ErrorList:
    """Groups of the community need an approval, once it is changed at all."""
    if not approval.is_protected(crd):
        return []
    state = approval.state(crd)
    if old is not None and approval.state(old).reason == state.reason:
        return []
    path = _METADATA.child("annotations").key(approval.ANNOTATION)
    if state.reason == approval.INVALID_ANNOTATION:
        value = meta.annotations(crd).get(approval.ANNOTATION) or ""
        return [field.invalid(path, value, state.message)]
    if state.reason == approval.MISSING_ANNOTATION:
        return [field.required(path, state.message)]
    return []


# -- spec ------------------------------------------------------------------------------------------


def _spec(
    spec: Object, *, before: Object | None = None, allow_invalid_ca_bundle: bool
) -> ErrorList:
    stored = _stored(before)
    errors = _group(spec.get("group") or "")
    errors += enum(_SPEC.child("scope"), spec.get("scope") or "", ("Cluster", "Namespaced"))
    versions: list[Object] = spec.get("versions") or []
    path = _SPEC.child("versions")
    if not get_path(spec, "validation", "openAPIV3Schema"):
        errors += [
            field.required(path.index(index).child("schema", "openAPIV3Schema"))
            for index, version in enumerate(versions)
            if not get_path(version, "schema", "openAPIV3Schema")
        ]
    per_version = any(version.get("subresources") is not None for version in versions)
    for index, version in enumerate(versions):
        where = path.index(index)
        name = version.get("name") or ""
        if problems := formats.is_dns1035_label(name):
            errors.append(field.invalid(where.child("name"), name, ",".join(problems)))
        subresources = version.get("subresources") if per_version else spec.get("subresources")
        errors += _version(version, where, stored, status_enabled=_has_status(subresources))
    errors += _versions(spec, versions, path)
    names: Object = spec.get("names") or {}
    where = _SPEC.child("names")
    errors += [
        field.required(where.child(key))
        for key in ("plural", "singular", "kind", "listKind")
        if not names.get(key)
    ]
    errors += _names(names, where)
    any_status = _has_status(spec.get("subresources")) or any(
        _has_status(version.get("subresources")) for version in versions
    )
    errors += _schema(
        spec.get("validation"),
        _SPEC.child("validation"),
        stored,
        status_enabled=any_status,
    )
    errors += _subresources(spec.get("subresources"), _SPEC.child("subresources"))
    errors += _columns(spec, _SPEC)
    errors += _hoisted_selectable_fields(spec, before)
    return errors + validate_conversion(
        spec.get("conversion"),
        _SPEC.child("conversion"),
        allow_invalid_ca_bundle=allow_invalid_ca_bundle,
    )


def _group(group: str) -> ErrorList:
    path = _SPEC.child("group")
    if not group:
        return [field.required(path)]
    if problems := formats.is_dns1123_subdomain(group):
        return [field.invalid(path, group, ",".join(problems))]
    if "." not in group:
        return [field.invalid(path, group, "should be a domain with at least one dot")]
    return []


def enum(path: Path, value: str, accepted: tuple[str, ...]) -> ErrorList:
    """The value is one of those, and there is one."""
    if not value:
        return [field.required(path)]
    return [] if value in accepted else [field.not_supported(path, value, accepted)]


def _versions(spec: Object, versions: list[Object], path: Path) -> ErrorList:
    errors: ErrorList = []
    names = [version.get("name") or "" for version in versions]
    printed = shown(spec.get("versions"))
    if len(set(names)) != len(names):
        errors.append(field.invalid(path, printed, "must contain unique version names"))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        detail = "must have exactly one version marked as storage version"
        errors.append(field.invalid(path, printed, detail))
    version: str = spec.get("version") or ""
    if version and (problems := formats.is_dns1035_label(version)):
        errors.append(field.invalid(_SPEC.child("version"), version, ",".join(problems)))
    return errors


def _version(version: Object, path: Path, stored: _Stored, *, status_enabled: bool) -> ErrorList:
    errors = _deprecation(version, path.child("deprecationWarning"))
    errors += _schema(
        version.get("schema"),
        path.child("schema"),
        stored,
        status_enabled=status_enabled,
        version=version.get("name") or "",
    )
    errors += _subresources(version.get("subresources"), path.child("subresources"))
    errors += _columns(version, path)
    fields: list[Object] = version.get("selectableFields") or []
    if fields:
        source: Object | None = get_path(version, "schema", "openAPIV3Schema")
        where = path.child("selectableFields")
        if source is None:
            detail = "may only be set when `version.schema.openAPIV3Schema` is not included"
            errors.append(field.invalid(where, "", detail))
        else:
            errors += _selectable_fields(fields, source, where)
    return errors


def _deprecation(version: Object, path: Path) -> ErrorList:
    text: str | None = version.get("deprecationWarning")
    if text is None:
        return []
    if not version.get("deprecated"):
        return [field.invalid(path, text, "can only be set for deprecated versions")]
    problems: list[str] = []
    if len(text.encode()) > MAX_DEPRECATION_WARNING_BYTES:
        problems.append(f"must be <= {MAX_DEPRECATION_WARNING_BYTES} characters long")
    if not text:
        problems.append("must not be an empty string")
    position = 0
    for character in text:
        if not golang.is_print(character):
            problems.append(
                "must only contain printable UTF-8 characters; non-printable character found at "
                f"index {position}"
            )
            break
        position += len(character.encode())
    return field.invalid_each(path, text, problems)


def _has_status(subresources: Object | None) -> bool:
    return (subresources or {}).get("status") is not None


@attrs.frozen
class _Stored:
    """What a definition had before an update: the schema of all versions, and that of each."""

    common: Object | None = None
    schemas: Mapping[str, Object | None] = attrs.field(factory=dict[str, "Object | None"])


def _stored(before: Object | None) -> _Stored:
    if before is None:
        return _Stored()
    common: Object | None = get_path(before, "validation", "openAPIV3Schema")
    versions: list[Object] = before.get("versions") or []
    schemas: dict[str, Object | None] = {
        version.get("name") or "": get_path(version, "schema", "openAPIV3Schema") or common
        for version in versions
    }
    return _Stored(common, schemas)


def _schema(
    schema: Object | None,
    path: Path,
    stored: _Stored,
    *,
    status_enabled: bool,
    version: str = "",
) -> ErrorList:
    source: Object | None = get_path(schema, "openAPIV3Schema")
    if not has_rules(source):
        return validate_schema(source, path, status_enabled=status_enabled)
    # CEL is loaded by the first definition that has rules, not by every cluster.
    from pytest_kubesim.apimachinery.cel.definition_rules import DefinitionRules, stored_expressions

    found = [stored_expressions(each) for each in (stored.common, *stored.schemas.values())]
    rules = DefinitionRules(
        frozenset[str]().union(*[pair[0] for pair in found]),
        frozenset[str]().union(*[pair[1] for pair in found]),
        is_unchanged=version in stored.schemas and stored.schemas[version] == source,
    )
    return validate_schema(source, path, status_enabled=status_enabled, rules=rules)


# -- names -----------------------------------------------------------------------------------------


def _names(names: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    for key in ("plural", "singular"):
        value: str = names.get(key) or ""
        if value and (problems := formats.is_dns1035_label(value)):
            errors.append(field.invalid(path.child(key), value, ",".join(problems)))
    for key in ("kind", "listKind"):
        value = names.get(key) or ""
        if value and (problems := formats.is_dns1035_label(value.lower())):
            detail = _MIXED_CASE + ",".join(problems)
            errors.append(field.invalid(path.child(key), value, detail))
    errors += _labels(names, path, "shortNames")
    kind, list_kind = names.get("kind") or "", names.get("listKind") or ""
    if kind and kind == list_kind:
        detail = "kind and listKind may not be the same"
        errors.append(field.invalid(path.child("listKind"), list_kind, detail))
    return errors + _labels(names, path, "categories")


def _labels(names: Object, path: Path, key: str) -> ErrorList:
    return [
        field.invalid(path.child(key).index(index), value, ",".join(problems))
        for index, value in enumerate(names.get(key) or [])
        if (problems := formats.is_dns1035_label(value))
    ]


# -- columns, scale, selectable fields -------------------------------------------------------------


def _columns(holder: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    for index, column in enumerate(holder.get("additionalPrinterColumns") or []):
        errors += _column(column, path.child("additionalPrinterColumns").index(index))
    return errors


def _column(column: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    if not column.get("name"):
        errors.append(field.required(path.child("name")))
    type_, format_ = column.get("type") or "", column.get("format") or ""
    detail = f"must be one of {','.join(_COLUMN_TYPES)}"
    if not type_:
        errors.append(field.required(path.child("type"), detail))
    elif type_ not in _COLUMN_TYPES:
        errors.append(field.invalid(path.child("type"), type_, detail))
    if format_ and format_ not in _COLUMN_FORMATS:
        detail = f"must be one of {','.join(_COLUMN_FORMATS)}"
        errors.append(field.invalid(path.child("format"), format_, detail))
    where = path.child("JSONPath")
    if not column.get("jsonPath"):
        errors.append(field.required(where))
    else:
        errors += _simple_path(column["jsonPath"], where)
    return errors


def _simple_path(text: str, path: Path) -> ErrorList:
    if text.startswith("."):
        return []
    return [field.invalid(path, text, "must be a simple json path starting with .")]


def _subresources(subresources: Object | None, path: Path) -> ErrorList:
    scale: Object | None = (subresources or {}).get("scale")
    if scale is None:
        return []
    errors = _scale_path(scale, "specReplicasPath", ".spec", path)
    errors += _scale_path(scale, "statusReplicasPath", ".status", path)
    selector: str = scale.get("labelSelectorPath") or ""
    if selector:
        where = path.child("scale.labelSelectorPath")
        if problems := _simple_path(selector, where):
            errors += problems
        elif not selector.startswith((".spec.", ".status.")):
            detail = "should be a json path under either .spec or .status"
            errors.append(field.invalid(where, selector, detail))
    return errors


def _scale_path(scale: Object, key: str, root: str, path: Path) -> ErrorList:
    where = path.child(f"scale.{key}")
    text: str = scale.get(key) or ""
    if not text:
        return [field.required(where)]
    if problems := _simple_path(text, where):
        return problems
    if not text.startswith(f"{root}."):
        return [field.invalid(where, text, f"should be a json path under {root}")]
    return []


def _hoisted_selectable_fields(spec: Object, before: Object | None) -> ErrorList:
    fields: list[Object] = spec.get("selectableFields") or []
    if not fields:
        return []
    path = _SPEC.child("selectableFields")
    if spec.get("validation") is None:
        return [field.invalid(path, "", "may only be set when validations.schema is included")]
    old: list[Object] = get_path(before, "selectableFields") or []
    unchanged = len(old) > MAX_SELECTABLE_FIELDS and fields == old
    source: Object = spec["validation"].get("openAPIV3Schema") or {}
    return _selectable_fields(fields, source, path, any_number=unchanged)


def _selectable_fields(
    fields: list[Object], source: Object, path: Path, *, any_number: bool = False
) -> ErrorList:
    errors: ErrorList = []
    seen: set[str] = set()
    for index, each in enumerate(fields):
        where = path.index(index).child("jsonPath")
        text: str = each.get("jsonPath") or ""
        if not text:
            errors.append(field.required(where))
            continue
        try:
            found, schema = fieldpaths.resolve(text, source, allow_brackets=False)
        except FieldPathError as error:
            errors.append(field.invalid(where, text, f"is an invalid path: {error}"))
            continue
        if str(found).partition(".")[0] == "metadata":
            errors.append(field.invalid(where, text, "must not point to fields in metadata"))
        if schema is None or schema.get("type") not in _SELECTABLE_TYPES:
            detail = (
                "must point to a field of type string, boolean or integer. Enum string fields and "
                "strings with formats are allowed."
            )
            errors.append(field.invalid(where, text, detail))
        if str(found) in seen:
            errors.append(field.duplicate(where, text))
        seen.add(str(found))
    if len(seen) > MAX_SELECTABLE_FIELDS and not any_number:
        errors.append(field.too_many(path, len(seen), MAX_SELECTABLE_FIELDS))
    return errors
