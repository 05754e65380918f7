"""PodCertificateRequests: a kubelet asks a signer for the certificate of a pod.

Follows `pkg/registry/certificates/podcertificaterequest/strategy.go` and
`pkg/apis/certificates/validation/validation.go`; keys, proofs and certificates are not parsed.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats, golang, metav1
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import printer
from pytest_kubesim.registry.pod_template.projections import validate_signer_name
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    SPEC,
    STATUS,
    StatusOnly,
    WithStatus,
    reset_metadata_for_status,
    semantically_equal,
)

ISSUED, DENIED, FAILED = "Issued", "Denied", "Failed"
LEAST_SECONDS = 3600
MOST_SECONDS = 91 * 24 * 3600
KUBERNETES_MOST_SECONDS = 24 * 3600
MAX_UID = 128
_CONDITIONS = STATUS.child("conditions")
_FINAL = "immutable after PodCertificateRequest is issued, denied, or failed"
_CONDITIONS_ONLY = (
    "non-condition status fields must be empty when denying or failing the PodCertificateRequest"
)
_ONE_KEY = "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set"
_ONE_CONDITION = 'There may be at most one condition with type "Issued", "Denied", or "Failed"'


class PodCertificateRequestStrategy(WithStatus):
    """`/podcertificaterequests`."""

    allow_unconditional_update = False
    selectable = ("spec.signerName", "spec.podName", "spec.nodeName")

    def selectable_fields(self, obj: Object) -> dict[str, str]:
        """Signer, pod and node."""
        spec = parts.spec(obj)
        names = ("signerName", "podName", "nodeName")
        return {f"spec.{name}": parts.text(spec, name) for name in names}

    def default(self, obj: Object) -> Object:
        """For a day, unless it says for how long."""
        spec = parts.spec(obj)
        if spec.get("maxExpirationSeconds") is not None:
            return obj
        return {**obj, "spec": {**spec, "maxExpirationSeconds": KUBERNETES_MOST_SECONDS}}

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidatePodCertificateRequestCreate`; the spec is not to change."""
        spec = parts.spec(obj)
        if old is None:
            return _spec(spec)
        if semantically_equal(spec, parts.spec(old)):
            return []
        shown = field.Printed(golang.json_text(spec))
        return [field.invalid(SPEC, shown, field.FIELD_IMMUTABLE)]


def _spec(spec: Object) -> ErrorList:
    signer = parts.text(spec, "signerName")
    errors = validate_signer_name(signer, SPEC.child("signerName"))
    for key in sorted(parts.struct(spec, "unverifiedUserAnnotations")):
        where = SPEC.child("unverifiedUserAnnotations")
        errors += field.validate_domain_prefixed_key(where, key.lower())
    for kind in ("pod", "serviceAccount", "node"):
        where = SPEC.child(f"{kind}Name")
        name = parts.text(spec, f"{kind}Name")
        errors += field.invalid_each(where, name, formats.is_dns1123_subdomain(name))
        uid, where = parts.text(spec, f"{kind}UID"), SPEC.child(f"{kind}UID")
        if not uid:
            errors.append(field.invalid(where, uid, "must not be empty"))
        if len(uid) > MAX_UID:
            errors.append(field.too_long(where, MAX_UID))
    seconds = parts.number(spec, "maxExpirationSeconds")
    kubernetes = signer.startswith("kubernetes.io/")
    most = KUBERNETES_MOST_SECONDS if kubernetes else MOST_SECONDS
    if not LEAST_SECONDS <= seconds <= most:
        where = SPEC.child("maxExpirationSeconds")
        detail = f"must be in the range [{LEAST_SECONDS}, {most}]"
        errors.append(field.invalid(where, seconds, detail))
    stub, key, proof = (
        bool(parts.text(spec, name))
        for name in ("stubPKCS10Request", "pkixPublicKey", "proofOfPossession")
    )
    if (stub, key, proof) not in ((True, False, False), (False, True, True)):
        errors.append(field.invalid(SPEC, field.OMITTED, _ONE_KEY))
    return errors


class PodCertificateRequestStatusStrategy(StatusOnly):
    """`/podcertificaterequests/status`."""

    reset_fields = (("metadata",), ("spec",))
    allow_unconditional_update = False

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec and metadata."""
        return reset_metadata_for_status(super().prepare_for_update(ctx, obj, old), old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidatePodCertificateRequestStatusUpdate`."""
        status, before = parts.status(obj), parts.status(old)
        errors = _conditions(parts.structs(status, "conditions"))
        if errors:
            return errors
        if _states(before):
            if semantically_equal(status, before):
                return []
            return [field.invalid(STATUS, field.Printed(golang.json_text(status)), _FINAL)]
        if _states(status) & {DENIED, FAILED} and set(status) != {"conditions"}:
            shown = field.Printed(golang.json_text(status))
            return [field.invalid(STATUS, shown, _CONDITIONS_ONLY)]
        return []


def _states(status: Object) -> set[str]:
    conditions = parts.structs(status, "conditions")
    return {parts.text(condition, "type") for condition in conditions}


def _conditions(conditions: list[Object]) -> ErrorList:
    errors: ErrorList = []
    known = 0
    for position, condition in enumerate(conditions):
        kind, where = parts.text(condition, "type"), _CONDITIONS.child(f"[{position}]")
        if kind not in (ISSUED, DENIED, FAILED):
            supported = sorted((ISSUED, DENIED, FAILED))
            errors.append(field.not_supported(where.child("type"), kind, supported))
            continue
        known += 1
        if known > 1:
            errors.append(field.invalid(where.child("type"), kind, _ONE_CONDITION))
        if parts.text(condition, "status") != "True":
            given = parts.text(condition, "status")
            errors.append(field.not_supported(where.child("status"), given, ("True",)))
    return errors + metav1.validate_conditions(conditions, _CONDITIONS)


def _row(obj: Object, now_ns: int) -> list[Any]:
    del now_ns
    spec = parts.spec(obj)
    state = "Pending"
    for condition in parts.structs(parts.status(obj), "conditions"):
        if condition.get("type") in (ISSUED, DENIED, FAILED):
            state = condition["type"]
    annotations = parts.struct(spec, "unverifiedUserAnnotations")
    labels = ",".join(f"{key}={annotations[key]}" for key in sorted(annotations))
    names = ("podName", "serviceAccountName", "nodeName", "signerName")
    return [
        obj["metadata"]["name"],
        *(parts.text(spec, name) for name in names),
        state,
        labels or "<none>",
    ]


KIND = Kind(
    strategy=PodCertificateRequestStrategy(),
    status=PodCertificateRequestStatusStrategy(),
    printer=printer("PodCertificateRequest", _row),
)
