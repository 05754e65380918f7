"""Projected volumes: secrets, config maps, the downward API, tokens, trust bundles, certificates.

Follows `validateProjectionSources` of `pkg/apis/core/validation/validation.go` and `names.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import formats, metav1, objectmeta
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry.pod_template import field_refs
from pytest_kubesim.registry.pod_template.volume_sources import file_mode, local_non_reserved, user

_KEY_TYPES = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
_CONFLICT = "conflicting duplicate paths"
_MAX_EXPIRATION_SECONDS = 91 * 24 * 60 * 60
_KUBERNETES_MAX_EXPIRATION_SECONDS = 24 * 60 * 60
_BUNDLE_PATHS = ("credentialBundlePath", "keyPath", "certificateChainPath")


def key_to_path(item: Object, path: Path) -> ErrorList:
    """A key of a secret or config map, as a file."""
    errors = [field.required(path.child(name)) for name in ("key", "path") if not item.get(name)]
    errors += local_non_reserved(item.get("path") or "", path.child("path"))
    errors += file_mode(item.get("mode"), path.child("mode"))
    return errors + user(item.get("user"), path.child("user"))


class _Paths:
    """The files of all sources: each once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: set[str] = set()

    def add(self, target: str, shown: str) -> ErrorList:
        if target not in self.seen:
            self.seen.add(target)
            return []
        return [field.invalid(self.path, shown, _CONFLICT)]


def validate_sources(sources: list[Object], path: Path, *, allow_nonlocal_token: bool) -> ErrorList:
    """What a projected volume is made of."""
    errors: ErrorList = []
    paths = _Paths(path)
    for position, source in enumerate(sources):
        where = path.child("sources").index(position)
        count = 0
        for key in ("secret", "configMap"):
            if (found := source.get(key)) is not None:
                count += 1
                errors += _keys(found, where.child(key), paths)
        if (found := source.get("downwardAPI")) is not None:
            count += 1
            errors += _downward(found, where.child("downwardAPI"), paths)
        if (found := source.get("serviceAccountToken")) is not None:
            count += 1
            at = where.child("serviceAccountToken")
            errors += _token(found, at, path, allow_nonlocal=allow_nonlocal_token)
        if (found := source.get("clusterTrustBundle")) is not None:
            count += 1
            errors += _trust_bundle(found, where.child("clusterTrustBundle"), paths)
        if (found := source.get("podCertificate")) is not None:
            count += 1
            errors += _certificate(found, where.child("podCertificate"), paths)
        if count > 1:
            detail = "may not specify more than 1 volume type per source"
            errors.append(field.forbidden(where, detail))
    return errors


def _keys(source: Object, path: Path, paths: _Paths) -> ErrorList:
    errors: ErrorList = []
    name = source.get("name") or ""
    if not name:
        errors.append(field.required(path.child("name")))
    for position, item in enumerate(source.get("items") or ()):
        errors += key_to_path(item, path.child("items").index(position))
        if target := item.get("path"):
            errors += paths.add(target, name)
    return errors


def _downward(source: Object, path: Path, paths: _Paths) -> ErrorList:
    errors: ErrorList = []
    for item in source.get("items") or ():
        errors += field_refs.downward_file(item, path)
        if target := item.get("path"):
            errors += paths.add(target, target)
    return errors


def _token(source: Object, path: Path, outer: Path, *, allow_nonlocal: bool) -> ErrorList:
    errors: ErrorList = []
    seconds = source.get("expirationSeconds")
    where = path.child("expirationSeconds")
    if seconds is None:
        errors.append(field.required(where))
    elif seconds < 600:
        detail = "may not specify a duration less than 10 minutes"
        errors.append(field.invalid(where, seconds, detail))
    elif seconds > 1 << 32:
        detail = "may not specify a duration larger than 2^32 seconds"
        errors.append(field.invalid(where, seconds, detail))
    target = source.get("path") or ""
    if not target:
        errors.append(field.required(outer.child("path")))
    elif not allow_nonlocal:
        errors += local_non_reserved(target, outer.child("path"))
    return errors + user(source.get("user"), path.child("user"))


def _trust_bundle(source: Object, path: Path, paths: _Paths) -> ErrorList:
    errors: ErrorList = []
    name, signer = source.get("name"), source.get("signerName")
    selector = source.get("labelSelector")
    if name is not None and signer is not None:
        detail = "only one of name and signerName may be used"
        errors.append(field.invalid(path, field.Printed(_bundle_text(source)), detail))
    elif name is not None:
        if not name:
            errors.append(field.required(path.child("name"), "must be a valid object name"))
        errors += [
            field.invalid(
                path.child("name"), name, f"not a valid clustertrustbundlename: {message}"
            )
            for message in trust_bundle_name_problems(name)
        ]
        if selector is not None:
            detail = "labelSelector must be unset if name is specified"
            errors.append(field.invalid(path.child("labelSelector"), selector, detail))
    elif signer is not None:
        if not signer:
            errors.append(field.required(path.child("signerName"), "must be a valid signer name"))
        errors += validate_signer_name(signer, path.child("signerName"))
        errors += metav1.validate_label_selector(selector, path.child("labelSelector"))
    else:
        errors.append(field.required(path, "either name or signerName must be specified"))
    target = source.get("path") or ""
    if not target:
        errors.append(field.required(path.child("path")))
    errors += user(source.get("user"), path.child("user"))
    errors += local_non_reserved(target, path.child("path"))
    return errors + paths.add(target, target)


def _bundle_text(source: Object) -> str:
    from pytest_kubesim.registry.pod_template.go_structs import text_of

    return text_of("ClusterTrustBundleProjection", source)


def _certificate(source: Object, path: Path, paths: _Paths) -> ErrorList:
    signer = source.get("signerName") or ""
    errors = validate_signer_name(signer, path.child("signerName"))
    annotations: Object | None = source.get("userAnnotations")
    if annotations:
        where = path.child("userAnnotations")
        for key in sorted(annotations):
            errors += field.validate_domain_prefixed_key(where, key.lower())
        if objectmeta.annotations_size_bytes(annotations) > 256 * 1024:
            errors.append(field.too_long(where, 256 * 1024))
    errors += user(source.get("user"), path.child("user"))
    key_type = source.get("keyType") or ""
    if key_type not in _KEY_TYPES:
        errors.append(field.not_supported(path.child("keyType"), key_type, _KEY_TYPES))
    errors += _expiration(source.get("maxExpirationSeconds"), signer, path)
    count = 0
    for name in _BUNDLE_PATHS:
        if target := source.get(name):
            count += 1
            errors += local_non_reserved(target, path.child(name))
            errors += paths.add(target, target)
    if not count:
        detail = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"
        errors.append(field.required(path, detail))
    return errors


def _expiration(seconds: int | None, signer: str, path: Path) -> ErrorList:
    if seconds is None:
        return []
    where = path.child("maxExpirationSeconds")
    if seconds < 3600:
        detail = "if provided, maxExpirationSeconds must be >= 3600"
        return [field.invalid(where, seconds, detail)]
    host = signer.partition("/")[0]
    kubernetes = host == "kubernetes.io" or host.endswith(".kubernetes.io")
    limit = _KUBERNETES_MAX_EXPIRATION_SECONDS if kubernetes else _MAX_EXPIRATION_SECONDS
    if seconds > limit:
        detail = f"if provided, maxExpirationSeconds must be <= {limit}"
        return [field.invalid(where, seconds, detail)]
    return []


def trust_bundle_name_problems(name: str) -> list[str]:
    """What is wrong with the name of a ClusterTrustBundle, by the signer that it carries."""
    return formats.is_dns1123_subdomain(name.rpartition(":")[2])


def validate_signer_name(name: str, path: Path) -> ErrorList:
    """`example.com/signer`."""
    if not name:
        return [field.required(path)]
    segments = name.split("/")
    if len(segments) != 2:
        detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [field.invalid(path, name, detail)]
    domain, rest = segments
    errors: ErrorList = []
    if len(domain.encode()) > 253:
        errors.append(field.too_long(path, 253))
    labels = domain.split(".")
    errors += _labels(domain, labels, path, subdomains=False)
    if len(labels) < 2:
        detail = "should be a domain with at least two segments separated by dots"
        errors.append(field.invalid(path, domain, detail))
    errors += _labels(rest, rest.split("."), path, subdomains=True)
    if len(name.encode()) > 571:
        errors.append(field.too_long(path, 571))
    return errors


def _labels(value: str, labels: list[str], path: Path, *, subdomains: bool) -> ErrorList:
    check = formats.is_dns1123_subdomain if subdomains else formats.is_dns1123_label
    for label in labels:
        if messages := check(label):
            return [
                field.invalid(path, value, f"validating label {quote(label)}: {message}")
                for message in messages
            ]
    return []
