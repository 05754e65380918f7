"""StorageClasses.

Follows `pkg/registry/storage/storageclass/strategy.go`, `pkg/apis/storage/v1/defaults.go` and
`pkg/apis/storage/validation/validation.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from pytest_kubesim.apimachinery import objectmeta
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.pod_template.warnings import NODE_LABELS
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.storage import classes
from pytest_kubesim.registry.strategies import Plain, annotations_of, semantically_equal

DEFAULT_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
RECLAIM_POLICIES = ("Delete", "Retain")
BINDING_MODES = ("Immediate", "WaitForFirstConsumer")
_PROVISIONER = Path("provisioner")
_POLICY = Path("reclaimPolicy")
_MODE = Path("volumeBindingMode")
_TOPOLOGIES = Path("allowedTopologies")
_IMMUTABLE = ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode")


class StorageClassStrategy(Plain):
    """`/storageclasses`."""

    def default(self, obj: Object) -> Object:
        """`SetDefaults_StorageClass`."""
        policy, mode = obj.get("reclaimPolicy"), obj.get("volumeBindingMode")
        if policy is not None and mode is not None:
            return obj
        return {
            **obj,
            "reclaimPolicy": "Delete" if policy is None else policy,
            "volumeBindingMode": "Immediate" if mode is None else mode,
        }

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateStorageClass`; who provisions and how stays as it is."""
        name = parts.text(obj, "provisioner")
        errors = classes.provisioner(name, _PROVISIONER)
        errors += classes.parameters(parts.struct(obj, "parameters"), allow_empty=True)
        policy, mode = parts.text(obj, "reclaimPolicy"), obj.get("volumeBindingMode")
        if policy and policy not in RECLAIM_POLICIES:
            errors.append(field.not_supported(_POLICY, policy, RECLAIM_POLICIES))
        if mode is None:
            errors.append(field.required(_MODE))
        elif mode not in BINDING_MODES:
            errors.append(field.not_supported(_MODE, mode, BINDING_MODES))
        errors += _topologies(parts.structs(obj, "allowedTopologies"))
        if old is not None:
            errors += [field.required(_PROVISIONER)] if not name else []
            errors += [
                field.invalid(Path(key), None, field.FIELD_IMMUTABLE)
                for key in _IMMUTABLE
                if not semantically_equal(obj.get(key), old.get(key))
            ]
        elif not name:
            errors.append(field.required(_PROVISIONER))
        return errors

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """For labels of nodes that are going away."""
        del ctx
        return [
            f"{_expression(i, j).child('key')}: {NODE_LABELS[parts.text(expression, 'key')]}"
            for i, term in enumerate(parts.structs(obj, "allowedTopologies"))
            for j, expression in enumerate(parts.structs(term, "matchLabelExpressions"))
            if parts.text(expression, "key") in NODE_LABELS
        ]

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """For labels of nodes that are going away."""
        del old
        return self.warnings_on_create(ctx, obj)


def _expression(term: int, position: int) -> Path:
    return _TOPOLOGIES.index(term).child("matchLabelExpressions").index(position)


def _topologies(terms: list[Object]) -> ErrorList:
    errors: ErrorList = []
    # Upstream compares with as many empty terms as there are terms, and with those seen.
    seen: list[dict[str, set[str]]] = []
    for i, term in enumerate(terms):
        found: dict[str, set[str]] = {}
        for j, expression in enumerate(parts.structs(term, "matchLabelExpressions")):
            path = _expression(i, j)
            key = parts.text(expression, "key")
            errors += _requirement(expression, key, path)
            if key in found:
                errors.append(field.duplicate(path.child("key"), key))
            found[key] = set(parts.texts(expression, "values"))
        copies = seen.count(found) + (0 if found else len(terms))
        where = _TOPOLOGIES.index(i).child("matchLabelExpressions")
        errors += [field.duplicate(where, "")] * copies
        seen.append(found)
    return errors


def _requirement(expression: Object, key: str, path: Path) -> ErrorList:
    where = path.child("values")
    values = parts.texts(expression, "values")
    errors: ErrorList = [] if values else [field.required(where)]
    errors += [
        field.duplicate(where.index(position), value)
        for position, value in enumerate(values)
        if value in values[:position]
    ]
    return errors + objectmeta.validate_label_name(key, path.child("key"))


def _row(obj: Object, now_ns: int) -> list[Any]:
    policy, mode = obj.get("reclaimPolicy"), obj.get("volumeBindingMode")
    return [
        obj["metadata"]["name"],
        parts.text(obj, "provisioner"),
        "Delete" if policy is None else policy,
        "Immediate" if mode is None else mode,
        bool(obj.get("allowVolumeExpansion")),
        age(obj, now_ns),
    ]


def _rows(objects: Sequence[Object], now_ns: int) -> list[list[Any]]:
    """The rows of a list, in which the newest default is marked."""
    defaults = [obj for obj in objects if _is_default(obj)]
    defaults.sort(key=lambda obj: parts.text(obj["metadata"], "name"))
    stamp = max((parts.text(obj["metadata"], "creationTimestamp") for obj in defaults), default="")
    found = next((o for o in defaults if o["metadata"].get("creationTimestamp") == stamp), None)
    rows: list[list[Any]] = []
    for obj in objects:
        name, *rest = _row(obj, now_ns)
        rows.append([f"{name} (default)" if obj is found else name, *rest])
    return rows


def _is_default(obj: Object) -> bool:
    given = annotations_of(obj)
    return any(given.get(key) == "true" for key in DEFAULT_ANNOTATIONS)


KIND = Kind(
    strategy=StorageClassStrategy(),
    printer=attrs.evolve(printer("StorageClass", _row), rows=_rows),
)
