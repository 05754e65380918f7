"""VolumeAttachments.

The law: the spec is for ever; what the attacher says of it goes through `/status`.

Follows `pkg/registry/storage/volumeattachment/strategy.go` and
`pkg/apis/storage/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.core import persistent_volume
from pytest_kubesim.registry.pod_template.volume_sources import csi_driver_name
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.storage.classes import bytes_of
from pytest_kubesim.registry.strategies import (
    SPEC,
    STATUS,
    StatusOnly,
    WithStatus,
    reset_metadata_for_status,
    semantically_equal,
)

MAX_METADATA_BYTES = 256 * 1024
MAX_MESSAGE_BYTES = 1024
_SOURCE = SPEC.child("source")
_EXACTLY_ONE = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"


class VolumeAttachmentStrategy(WithStatus):
    """`/volumeattachments`."""

    allow_unconditional_update = False

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateVolumeAttachment`."""
        return _attachment(obj, old)


class VolumeAttachmentStatusStrategy(StatusOnly):
    """`/volumeattachments/{name}/status`."""

    allow_unconditional_update = False
    reset_fields = (("metadata",), ("spec",))

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec and metadata."""
        return reset_metadata_for_status(super().prepare_for_update(ctx, obj, old), old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateVolumeAttachment`."""
        return _attachment(obj, old)


def _attachment(obj: Object, old: Object | None) -> ErrorList:
    spec, status = parts.spec(obj), parts.status(obj)
    source = parts.struct(spec, "source")
    errors = _source(source)
    node = parts.text(spec, "nodeName")
    errors += field.invalid_each(SPEC.child("nodeName"), node, formats.name_is_dns_subdomain(node))
    if bytes_of(parts.struct(status, "attachmentMetadata")) > MAX_METADATA_BYTES:
        errors.append(field.too_long(STATUS.child("attachmentMetadata"), MAX_METADATA_BYTES))
    for key in ("attachError", "detachError"):
        errors += _volume_error(parts.struct(status, key), STATUS.child(key))
    name = source.get("persistentVolumeName")
    if name is not None:
        where = Path("spec.source.persistentVolumeName")
        errors += field.invalid_each(where, name, formats.name_is_dns_subdomain(name))
    if old is not None and not semantically_equal(spec, parts.spec(old)):
        errors += csi_driver_name(parts.text(spec, "attacher"), SPEC.child("attacher"))
    if old is None:
        return errors + _attacher(parts.text(spec, "attacher"))
    if not semantically_equal(spec, parts.spec(old)):
        errors.append(field.invalid(SPEC, None, field.FIELD_IMMUTABLE))
    return errors


def _attacher(name: str) -> ErrorList:
    """The declared rule of a new one words the name otherwise than the written one."""
    where = SPEC.child("attacher")
    if not name:
        return [field.required(where)]
    errors = field.invalid_each(where, name, formats.is_dns1123_subdomain_caseless(name))
    return [*errors, field.too_long_characters(where, 63)] if len(name) > 63 else errors


def _source(source: Object) -> ErrorList:
    inline, name = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    if inline is None and name is None:
        return [field.required(_SOURCE, _EXACTLY_ONE)]
    if inline is not None and name is not None:
        return [field.forbidden(_SOURCE, _EXACTLY_ONE)]
    if inline is not None:
        return persistent_volume.validate_inline(inline, _SOURCE.child("inlineVolumeSpec"))
    if name == "":
        detail = "must specify non empty persistentVolumeName"
        return [field.required(_SOURCE.child("persistentVolumeName"), detail)]
    return []


def _volume_error(error: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    if len(parts.text(error, "message").encode()) > MAX_MESSAGE_BYTES:
        errors.append(field.too_long(path.child("message"), MAX_MESSAGE_BYTES))
    code = error.get("errorCode")
    if code is not None and code < 0:
        detail = formats.inclusive_range_error(0, (1 << 31) - 1)
        errors.append(field.invalid(path.child("errorCode"), code, detail))
    return errors


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec = parts.spec(obj)
    return [
        obj["metadata"]["name"],
        parts.text(spec, "attacher"),
        parts.text(parts.struct(spec, "source"), "persistentVolumeName"),
        parts.text(spec, "nodeName"),
        bool(parts.status(obj).get("attached")),
        age(obj, now_ns),
    ]


KIND = Kind(
    strategy=VolumeAttachmentStrategy(),
    status=VolumeAttachmentStatusStrategy(),
    printer=printer("VolumeAttachment", _row),
)
