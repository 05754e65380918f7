"""What is wrong with the conversion of a CustomResourceDefinition, and with its webhook.

Follows `apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go`
(`validateCustomResourceConversion`) and `apiserver/pkg/util/webhook/validation.go`.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import formats, go_url
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.validation import ErrorList, Path

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

REVIEW_VERSIONS = ("v1", "v1beta1")
_FORM = "; desired format: https://host[/path]"
_CERTIFICATE = re.compile(
    rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----"
)
_NOT_PEM = "unable to load root certificates: unable to parse bytes as PEM block"


def validate_conversion(
    conversion: Object | None, path: Path, *, allow_invalid_ca_bundle: bool
) -> ErrorList:
    """All that is wrong with `spec.conversion`."""
    if conversion is None:
        return []
    strategy: str = conversion.get("strategy") or ""
    errors: ErrorList = []
    where = path.child("strategy")
    if not strategy:
        errors.append(field.required(where))
    elif strategy not in ("None", "Webhook"):
        errors.append(field.not_supported(where, strategy, ("None", "Webhook")))
    webhook: Object = conversion.get("webhook") or {}
    config: Object | None = webhook.get("clientConfig")
    versions: list[str] = webhook.get("conversionReviewVersions") or []
    below, reviews = path.child("webhookClientConfig"), path.child("conversionReviewVersions")
    if strategy == "Webhook":
        if config is None:
            detail = "required when strategy is set to Webhook"
            errors.append(field.required(below, detail))
        else:
            errors += _client_config(config, below, allow_invalid_ca_bundle)
        return errors + _review_versions(versions, reviews)
    detail = "should not be set when strategy is not set to Webhook"
    if config is not None:
        errors.append(field.forbidden(below, detail))
    if versions:
        errors.append(field.forbidden(reviews, detail))
    return errors


def _client_config(config: Object, path: Path, allow_invalid_ca_bundle: bool) -> ErrorList:
    url, service = config.get("url"), config.get("service")
    errors: ErrorList = []
    if (url is None) == (service is None):
        errors.append(field.required(path, "exactly one of url or service is required"))
    elif url is not None:
        errors += _url(url, path.child("url"))
    else:
        errors += _service(service or {}, path.child("service"))
    bundle: str = config.get("caBundle") or ""
    if bundle and not allow_invalid_ca_bundle and (problem := ca_bundle_problem(bundle)):
        errors.append(field.invalid(path.child("caBundle"), bundle, problem))
    return errors


def ca_bundle_problem(bundle: str) -> str:
    """Why certificates in PEM, in base64, cannot be read; empty: they can be."""
    try:
        text = base64.b64decode(bundle, validate=True)
    except binascii.Error:
        return _NOT_PEM
    found = _CERTIFICATE.findall(text)
    return "" if found else _NOT_PEM


def _url(text: str, path: Path) -> ErrorList:
    try:
        url = go_url.parse(text)
    except go_url.URLError as error:
        return [field.required(path, f"url must be a valid URL: {error}{_FORM}")]
    errors: ErrorList = []
    if url.scheme != "https":
        detail = f"'https' is the only allowed URL scheme{_FORM}"
        errors.append(field.invalid(path, url.scheme, detail))
    if not url.host:
        errors.append(field.invalid(path, url.host, f"host must be specified{_FORM}"))
    if url.user is not None:
        detail = "user information is not permitted in the URL"
        errors.append(field.invalid(path, url.user, detail))
    if url.fragment:
        errors.append(field.invalid(path, url.fragment, "fragments are not permitted in the URL"))
    if url.raw_query:
        detail = "query parameters are not permitted in the URL"
        errors.append(field.invalid(path, url.raw_query, detail))
    return errors


def _service(service: Object, path: Path) -> ErrorList:
    # Upstream hands over name and namespace the wrong way round.
    errors: ErrorList = []
    if not service.get("namespace"):
        errors.append(field.required(path.child("name")))
    if not service.get("name"):
        errors.append(field.required(path.child("namespace")))
    port: int = service.get("port") or 0
    if problems := formats.is_valid_port_num(port):
        detail = f"port is not valid: {', '.join(problems)}"
        errors.append(field.invalid(path.child("port"), port, detail))
    text: str | None = service.get("path")
    if text is None or text in ("", "/"):
        return errors
    where = path.child("path")
    if text == "//":
        return [*errors, field.invalid(where, text, "segment[0] may not be empty")]
    if not text.startswith("/"):
        errors.append(field.invalid(where, text, "must start with a '/'"))
    for index, step in enumerate(text[1:].removesuffix("/").split("/")):
        if not step:
            errors.append(field.invalid(where, text, f"segment[{index}] may not be empty"))
            continue
        errors += [
            field.invalid(where, text, f"segment[{index}]: {problem}")
            for problem in formats.is_dns1123_subdomain(step)
        ]
    return errors


def _review_versions(versions: list[str], path: Path) -> ErrorList:
    if not versions:
        return [field.required(path)]
    errors: ErrorList = []
    seen: set[str] = set()
    for index, version in enumerate(versions):
        if version in seen:
            errors.append(field.invalid(path.index(index), version, "duplicate version"))
            continue
        seen.add(version)
        problems = formats.is_dns1035_label(version)
        errors += field.invalid_each(path.index(index), version, problems)
    if seen.isdisjoint(REVIEW_VERSIONS):
        detail = f"must include at least one of {', '.join(REVIEW_VERSIONS)}"
        errors.append(field.invalid(path, versions, detail))
    return errors
