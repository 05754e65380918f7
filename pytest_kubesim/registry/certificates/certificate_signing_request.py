"""CertificateSigningRequests.

The law: who asks is who sent the request, whatever it says.  Conditions Approved and Denied come
through `/approval` and never go; the certificate comes through `/status`, once.

Follows `pkg/registry/certificates/certificates/strategy.go` and
`pkg/apis/certificates/validation/validation.go`.  Requests and certificates are recognised by their
PEM blocks; their signatures are not checked.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from pytest_kubesim.apimachinery import golang, timestamps
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.certificates import pem
from pytest_kubesim.registry.columns import NONE, age, printer
from pytest_kubesim.registry.pod_template.projections import validate_signer_name
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import SPEC, STATUS, Plain, keeping
from pytest_kubesim.sim.clock import NS

APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"
LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
LEAST_SECONDS = 600
USAGES = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)
_ASKED = ("username", "uid", "groups", "extra")
_CONDITIONS = STATUS.child("conditions")
_CERTIFICATE = STATUS.child("certificate")


class _RequestStrategy(Plain):
    """What the three endpoints share; they differ in what they let pass."""

    sets_approval = False
    sets_certificate = False
    selectable = ("spec.signerName",)

    def selectable_fields(self, obj: Object) -> dict[str, str]:
        """The signer."""
        return {"spec.signerName": parts.text(parts.spec(obj), "signerName")}

    def validate_name(self, name: str, prefix: bool) -> list[str]:
        """Any name will do."""
        del name, prefix
        return []

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`validateCertificateSigningRequest`."""
        errors = _spec(parts.spec(obj), parts.spec(old))
        found, declared = _conditions(obj, old)
        errors += found
        certificate = parts.text(parts.status(obj), "certificate")
        before = parts.text(parts.status(old), "certificate")
        if (problem := _certificate_problem(certificate)) and certificate != before:
            errors.append(field.invalid(_CERTIFICATE, "<certificate data>", problem))
        if old is not None:
            errors += self._changes(obj, old)
        return errors + declared

    def _changes(self, obj: Object, old: Object) -> ErrorList:
        errors: ErrorList = []
        for kind in (APPROVED, DENIED, FAILED):
            if len(_of_type(obj, kind)) < len(_of_type(old, kind)):
                detail = f"updates may not remove a condition of type {golang.quote(kind)}"
                errors.append(field.forbidden(_CONDITIONS, detail))
        if not self.sets_approval:
            for kind in (APPROVED, DENIED):
                if len(_of_type(obj, kind)) > len(_of_type(old, kind)):
                    detail = f"updates may not add a condition of type {golang.quote(kind)}"
                    errors.append(field.forbidden(_CONDITIONS, detail))
        before = parts.text(parts.status(old), "certificate")
        if parts.text(parts.status(obj), "certificate") != before:
            if not self.sets_certificate:
                detail = "updates may not set certificate content"
                errors.append(field.forbidden(_CERTIFICATE, detail))
            elif before:
                detail = "updates may not modify existing certificate content"
                errors.append(field.forbidden(_CERTIFICATE, detail))
        return errors


class CertificateSigningRequestStrategy(_RequestStrategy):
    """`/certificatesigningrequests`."""

    reset_fields = (("spec",), ("status",))

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """By the user who sent it, without a status."""
        user = ctx.user
        spec = {key: value for key, value in parts.spec(obj).items() if key not in _ASKED}
        spec["username"] = user.name
        spec["uid"] = user.uid
        spec["groups"] = list(user.groups)
        extra: Mapping[str, tuple[str, ...]] = user.extra
        spec["extra"] = {key: list(values) for key, values in extra.items()}
        return {**obj, "spec": spec, "status": {}}

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec and status."""
        del ctx
        return keeping(obj, old, "spec", "status")


class CertificateSigningRequestStatusStrategy(_RequestStrategy):
    """`/certificatesigningrequests/{name}/status`."""

    reset_fields = (("spec",), ("status", "conditions"))
    sets_certificate = True

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec; Approved and Denied as they are."""
        obj = keeping(obj, old, "spec")
        conditions = list(parts.structs(parts.status(obj), "conditions"))
        for kind in (APPROVED, DENIED):
            places = [i for i, each in enumerate(conditions) if each.get("type") == kind]
            before = _of_type(old, kind)
            if len(places) == len(before):
                for place, condition in zip(places, before, strict=True):
                    conditions[place] = condition
        return _with_times(ctx, {**parts.status(obj), "conditions": conditions}, obj, old)


class CertificateSigningRequestApprovalStrategy(_RequestStrategy):
    """`/certificatesigningrequests/{name}/approval`."""

    reset_fields = (("spec",), ("status", "certificate"))
    sets_approval = True

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """Nothing but the conditions."""
        conditions = parts.structs(parts.status(obj), "conditions")
        obj = keeping(obj, old, "spec")
        return _with_times(ctx, {**parts.status(old), "conditions": conditions}, obj, old)


def _with_times(ctx: Context, status: Object, obj: Object, old: Object) -> Object:
    """The object with that status, its conditions with their times."""
    before = parts.structs(parts.status(old), "conditions")
    conditions: list[Object] = []
    for condition in parts.structs(status, "conditions"):
        changed = next(
            (
                each["lastTransitionTime"]
                for each in before
                if each.get("lastTransitionTime")
                and each.get("type") == condition.get("type")
                and each.get("status") == condition.get("status")
            ),
            ctx.now,
        )
        conditions.append(
            {
                **condition,
                "lastUpdateTime": condition.get("lastUpdateTime") or ctx.now,
                "lastTransitionTime": condition.get("lastTransitionTime") or changed,
            }
        )
    return {**obj, "status": {**status, "conditions": conditions}}


def _of_type(obj: Object, kind: str) -> list[Object]:
    conditions = parts.structs(parts.status(obj), "conditions")
    return [condition for condition in conditions if condition.get("type") == kind]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""


def _spec(spec: Object, old: Object) -> ErrorList:
    errors: ErrorList = []
    request = parts.text(spec, "request")
    first = next(pem.blocks(_decoded(request)), None)
    if first is None or first.type != "CERTIFICATE REQUEST":
        detail = "PEM block type must be CERTIFICATE REQUEST"
        errors.append(field.invalid(SPEC.child("request"), request or None, detail))
    usages, before = parts.texts(spec, "usages"), parts.texts(old, "usages")
    path = SPEC.child("usages")
    if not usages:
        errors.append(field.required(path))
    if all(usage in USAGES for usage in before):
        errors += [
            field.not_supported(path.index(position), usage, USAGES)
            for position, usage in enumerate(usages)
            if usage not in USAGES
        ]
    if len(set(before)) == len(before):
        errors += [
            field.duplicate(path.index(position), usage)
            for position, usage in enumerate(usages)
            if usage in usages[:position]
        ]
    signer, where = parts.text(spec, "signerName"), SPEC.child("signerName")
    if signer == LEGACY_SIGNER and parts.text(old, "signerName") != signer:
        detail = "the legacy signerName is not allowed via this API version"
        errors.append(field.invalid(where, signer, detail))
    else:
        errors += validate_signer_name(signer, where)
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < LEAST_SECONDS:
        detail = "may not specify a duration less than 600 seconds (10 minutes)"
        errors.append(field.invalid(SPEC.child("expirationSeconds"), seconds, detail))
    return errors


def _conditions(obj: Object, old: Object | None) -> tuple[ErrorList, ErrorList]:
    conditions = parts.structs(parts.status(obj), "conditions")
    before = [parts.text(c, "type") for c in parts.structs(parts.status(old), "conditions")]
    errors: ErrorList = []
    seen: set[str] = set()
    for position, condition in enumerate(conditions):
        path = _CONDITIONS.index(position)
        kind, status = parts.text(condition, "type"), parts.text(condition, "status")
        if not kind and "" not in before:
            errors.append(field.required(path.child("type")))
        allowed = ("True",) if kind in (APPROVED, DENIED, FAILED) else ("False", "True", "Unknown")
        if not status:
            errors.append(field.required(path.child("status")))
        elif status not in allowed:
            errors.append(field.not_supported(path.child("status"), status, allowed))
        if kind in seen and len(set(before)) == len(before):
            errors.append(field.duplicate(path.child("type"), kind))
        seen.add(kind)
    if {APPROVED, DENIED} <= seen and not {APPROVED, DENIED} <= set(before):
        members = [f'conditions[{{"type": "{kind}"}}]' for kind in (APPROVED, DENIED)]
        quoted = ", ".join(f"`{member}`" for member in members)
        shown = "{" + ", ".join(members) + "}"
        detail = f"must specify at most one of: {quoted}"
        return errors, [field.invalid(_CONDITIONS, shown, detail)]
    return errors, []


def _certificate_problem(certificate: str) -> str:
    """What is wrong with an issued certificate (`validateCertificate`)."""
    if not certificate:
        return ""
    found = False
    for block in pem.blocks(_decoded(certificate)):
        if block.type != "CERTIFICATE":
            return f"only CERTIFICATE PEM blocks are allowed, found {golang.quote(block.type)}"
        if block.headers:
            return "no PEM block headers are permitted"
        found = True
    return "" if found else "must contain at least one CERTIFICATE PEM block"


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec, status = parts.spec(obj), parts.status(obj)
    seconds = spec.get("expirationSeconds")
    kinds = {parts.text(c, "type") for c in parts.structs(status, "conditions")}
    state = next((kind for kind in (DENIED, APPROVED) if kind in kinds), "Pending")
    if FAILED in kinds:
        state += ",Failed"
    if status.get("certificate"):
        state += ",Issued"
    return [
        obj["metadata"]["name"],
        age(obj, now_ns),
        parts.text(spec, "signerName") or NONE,
        parts.text(spec, "username"),
        NONE if seconds is None else timestamps.human_duration(seconds * NS),
        state,
    ]


KIND = Kind(
    strategy=CertificateSigningRequestStrategy(),
    status=CertificateSigningRequestStatusStrategy(),
    others={"approval": CertificateSigningRequestApprovalStrategy()},
    printer=printer("CertificateSigningRequest", _row),
)
