"""Whether a certificate is good, in the words of Go's `crypto/x509`.

The law: nothing is encrypted inside the simulation, but who speaks TLS shows a certificate; time is
the caller's.  Without the package `cryptography` nobody can tell, and every certificate is taken
for good.

Follows `crypto/x509` (`Certificate.Verify`): the leaf's dates, then its names, then who signed it.
"""

from __future__ import annotations

import ipaddress
from importlib import import_module
from typing import Any

from pytest_kubesim.apimachinery import addresses
from pytest_kubesim.apimachinery.timestamps import format_time

VERSION_TAG, UTC_TIME_TAG = 0xA0, 0x17
UNREADABLE_BUNDLE = "unable to load root certificates: unable to parse bytes as PEM block"


class CertificateError(Exception):
    """Why a certificate is not good."""


def check(shown: bytes, bundle: bytes, host: str, now_ns: int) -> None:
    """Look at what somebody shows.

    Parameters: `shown`, its chain in PEM; `bundle`, those who may have signed it, in PEM; `host`,
    for whom it must be ("": anybody); `now_ns`, the present.

    Raises: `CertificateError`.
    """
    try:
        x509: Any = import_module("cryptography.x509")
    except ImportError:
        return
    roots: list[Any] = []
    if bundle:
        try:
            roots = x509.load_pem_x509_certificates(bundle)
        except ValueError:
            raise CertificateError(UNREADABLE_BUNDLE) from None
    try:
        leaf, *others = x509.load_pem_x509_certificates(shown)
    except ValueError:
        raise CertificateError("remote error: tls: internal error") from None
    now = format_time(now_ns)
    problem = _date_problem(leaf, now)
    if not problem and host:
        problem = name_problem(leaf, host)
    if not problem and not _is_trusted(leaf, others, roots, now):
        problem = _unknown_authority(x509, leaf, roots)
    if problem:
        raise CertificateError(f"tls: failed to verify certificate: x509: {problem}")


def uris(shown: bytes) -> list[str]:
    """The URIs for which the first certificate of a chain is."""
    try:
        x509: Any = import_module("cryptography.x509")
    except ImportError:
        return []
    leaf = x509.load_pem_x509_certificates(shown)[0]
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return list(names.get_values_for_type(x509.UniformResourceIdentifier))


def subject(shown: bytes) -> tuple[str, tuple[str, ...]]:
    """Common name and organizations of the first certificate of a chain; "" without `cryptography`.

    A user and its groups, as Kubernetes reads certificates of clients.
    """
    try:
        x509: Any = import_module("cryptography.x509")
    except ImportError:
        return "", ()
    found, oid = x509.load_pem_x509_certificates(shown)[0].subject, x509.oid.NameOID
    names = [each.value for each in found.get_attributes_for_oid(oid.COMMON_NAME)]
    groups = tuple(each.value for each in found.get_attributes_for_oid(oid.ORGANIZATION_NAME))
    return names[0] if names else "", groups


def _date_problem(certificate: Any, now: str) -> str:
    # The library would give datetimes: of the class that it has met first, a frozen one maybe.
    first, last = _validity(certificate.tbs_certificate_bytes)
    start = f"certificate has expired or is not yet valid: current time {now} is "
    if now < first:
        return f"{start}before {first}"
    return f"{start}after {last}" if now > last else ""


def _validity(signed: bytes) -> tuple[str, str]:
    """From when to when a certificate is good, read of what is signed of it (DER)."""
    at, end = _content(signed, 0)
    if signed[at] == VERSION_TAG:
        at = _content(signed, at)[1]
    for _ in ("serial number", "algorithm", "issuer"):
        at = _content(signed, at)[1]
    at, _ = _content(signed, at)
    found: list[str] = []
    for _ in range(2):
        short = signed[at] == UTC_TIME_TAG
        begin, end = _content(signed, at)
        digits = signed[begin:end].decode("ascii")
        if short:
            digits = ("19" if digits >= "50" else "20") + digits
        y, mo, d, h, mi, s = digits[:4], *(digits[i : i + 2] for i in range(4, 14, 2))
        found.append(f"{y}-{mo}-{d}T{h}:{mi}:{s}Z")
        at = end
    return found[0], found[1]


def _content(data: bytes, at: int) -> tuple[int, int]:
    """Where the content of an element of DER begins, and where it ends."""
    length, at = data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(data[at : at + size], "big"), at + size
    return at, at + length


def _is_trusted(leaf: Any, others: list[Any], roots: list[Any], now: str) -> bool:
    """Whether a chain leads from the leaf to one of the roots."""
    if leaf in roots:
        return True
    for issuer in (*roots, *others):
        if issuer == leaf or _date_problem(issuer, now):
            continue
        if not _signed(leaf, issuer):
            continue
        if issuer in roots:
            return True
        left = [each for each in others if each != issuer]
        if _is_trusted(issuer, left, roots, now):
            return True
    return False


def _signed(certificate: Any, issuer: Any) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001 - the library's own exceptions are imported lazily
        return False
    return True


def _unknown_authority(x509: Any, leaf: Any, roots: list[Any]) -> str:
    """With the hint about an authority of the right name and another key."""
    said = "certificate signed by unknown authority"
    for each in roots:
        if each.subject == leaf.issuer:
            names = each.subject.get_attributes_for_oid(x509.oid.NameOID.COMMON_NAME)
            kind = type(each.public_key()).__name__.lower()
            why = "crypto/rsa: verification error"
            if "elliptic" in kind or kind.startswith("ec"):
                why = "x509: ECDSA verification failure"
            name = names[0].value if names else "serial:" + str(each.serial_number)
            return (
                f'{said} (possibly because of "{why}" while trying to verify candidate authority '
                f'certificate "{name}")'
            )
    return said


def name_problem(certificate: Any, host: str) -> str:
    """Why a certificate, as `cryptography` reads it, is not one for `host`; "" if it is.

    Follows `HostnameError` of `crypto/x509`.
    """
    x509: Any = import_module("cryptography.x509")
    no_ips = f"cannot validate certificate for {host} because it doesn't contain any IP SANs"
    try:
        kind = x509.SubjectAlternativeName
        names = certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        if addresses.is_ip(host):
            return no_ips
        return "certificate relies on legacy Common Name field, use SANs instead"
    if addresses.is_ip(host):
        found = names.get_values_for_type(x509.IPAddress)
        if not found:
            return no_ips
        if ipaddress.ip_address(host) in found:
            return ""
        return f"certificate is valid for {', '.join(map(str, found))}, not {host}"
    known: list[str] = names.get_values_for_type(x509.DNSName)
    if any(_covers(name, host) for name in known):
        return ""
    if not known:
        return f"certificate is not valid for any names, but wanted to match {host}"
    return f"certificate is valid for {', '.join(known)}, not {host}"


def _covers(pattern: str, host: str) -> bool:
    wanted, given = pattern.lower().split("."), host.lower().rstrip(".").split(".")
    if len(wanted) != len(given):
        return False
    return wanted[1:] == given[1:] and wanted[0] in ("*", given[0])
