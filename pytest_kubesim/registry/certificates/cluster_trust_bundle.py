"""ClusterTrustBundles.

Follows `pkg/registry/certificates/clustertrustbundle/strategy.go` and
`pkg/apis/certificates/validation/validation.go`.  Trust anchors are recognised by their PEM blocks.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats, golang
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.certificates import pem
from pytest_kubesim.registry.columns import NONE, printer
from pytest_kubesim.registry.pod_template.projections import validate_signer_name
from pytest_kubesim.registry.rest import Kind
from pytest_kubesim.registry.strategies import SPEC, Plain

MAX_BYTES = 1024 * 1024
_NAME = Path("metadata", "name")
_BUNDLE = SPEC.child("trustBundle")
_HIDDEN = "<value omitted>"


class ClusterTrustBundleStrategy(Plain):
    """`/clustertrustbundles`."""

    allow_unconditional_update = False
    selectable = ("spec.signerName",)

    def selectable_fields(self, obj: Object) -> dict[str, str]:
        """The signer."""
        return {"spec.signerName": parts.text(parts.spec(obj), "signerName")}

    def validate_name(self, name: str, prefix: bool) -> list[str]:
        """What a name must be depends on the signer: `check` sees to it."""
        del name, prefix
        return []

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateClusterTrustBundle`; the signer stays."""
        spec = parts.spec(obj)
        signer, bundle = parts.text(spec, "signerName"), parts.text(spec, "trustBundle")
        name = parts.text(obj["metadata"], "name")
        errors = field.invalid_each(_NAME, name, _name_problems(name, signer))
        where = SPEC.child("signerName")
        if signer:
            errors += validate_signer_name(signer, where)
        if old is None or bundle != parts.text(parts.spec(old), "trustBundle"):
            errors += _anchors(bundle)
        if old is not None and signer != parts.text(parts.spec(old), "signerName"):
            errors.append(field.invalid(where, signer, field.FIELD_IMMUTABLE))
        return errors


def _name_problems(name: str, signer: str) -> list[str]:
    """`ValidateClusterTrustBundleName`: the signer, with colons, is the beginning of the name."""
    if not signer:
        if ":" in name:
            return ['ClusterTrustBundle without signer name must not have ":" in its name']
        return formats.name_is_dns_subdomain(name)
    prefix = signer.replace("/", ":") + ":"
    if not name.startswith(prefix):
        return [f"ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"]
    return formats.name_is_dns_subdomain(name.removeprefix(prefix))


def _anchors(bundle: str) -> ErrorList:
    if len(bundle.encode()) > MAX_BYTES:
        return [field.too_long(_BUNDLE, MAX_BYTES)]
    errors: ErrorList = []
    places: dict[bytes, list[int]] = {}
    for position, block in enumerate(pem.blocks(bundle.encode())):
        if block.type != "CERTIFICATE":
            detail = f"entry {position} has bad block type: {block.type}"
            errors.append(field.invalid(_BUNDLE, _HIDDEN, detail))
        elif block.headers:
            detail = f"entry {position} has PEM block headers"
            errors.append(field.invalid(_BUNDLE, _HIDDEN, detail))
        else:
            places.setdefault(block.data, []).append(position)
    if errors:
        return errors
    if not places:
        detail = "at least one trust anchor must be provided"
        return [field.invalid(_BUNDLE, _HIDDEN, detail)]
    return [
        field.invalid(
            _BUNDLE, _HIDDEN, f"duplicate trust anchor (indices {golang.bracketed(found)})"
        )
        for found in places.values()
        if len(found) > 1
    ]


def _row(obj: Object, now_ns: int) -> list[Any]:
    del now_ns
    return [obj["metadata"]["name"], parts.text(parts.spec(obj), "signerName") or NONE]


KIND = Kind(strategy=ClusterTrustBundleStrategy(), printer=printer("ClusterTrustBundle", _row))
