"""Programs that prove who they are: inclusterclient, test-service-account-issuer-discovery, mTLS.

The law: nothing is encrypted inside the simulation; who speaks TLS shows a certificate, and the
other side looks at it.  Follows `test/images/agnhost/{inclusterclient,openidmetadata,mtlsclient,
mtlsserver}`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import x509
from pytest_kubesim.cri import http1
from pytest_kubesim.cri.applets.network import Unresolved, get, url_of
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.software.agnhost.flags import fatal, forever, klog, log, parse
from pytest_kubesim.sim.pipes import ConnectError

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
NS = 1_000_000_000
POLL_NS = 10 * NS
_PROBLEMS = (ConnectError, Unresolved, http1.MessageFault, x509.CertificateError)
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


async def _klog(proc: Proc, level: str, text: str) -> None:
    await klog(proc, level, "main.go:1", text)


# -- in the cluster --------------------------------------------------------------------------


async def _api(proc: Proc, target: str) -> http1.Response:
    """Ask the API server as `rest.InClusterConfig` would.  Raises `Fault` and `_PROBLEMS`."""
    host = proc.env.get("KUBERNETES_SERVICE_HOST", "")
    port = proc.env.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise Fault("ENOENT")
    token = (await proc.contents(f"{ACCOUNT}/token")).decode().strip()
    bundle = await proc.contents(f"{ACCOUNT}/ca.crt")
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, */*"}
    url = url_of(target if "://" in target else f"https://{host}:{port}{target}")
    return await get(proc, url, headers=headers, bundle=bundle)


async def inclusterclient(proc: Proc, args: list[str]) -> int:
    """`inclusterclient [--poll-interval seconds]`: says which token it uses."""
    flags = await parse(proc, args, {"poll-interval": "30"})
    await _klog(proc, "I", "started")
    while True:
        await proc.system.sleep(flags.number("poll-interval") * NS)
        await _klog(proc, "I", "calling /healthz")
        try:
            token = (await proc.contents(f"{ACCOUNT}/token")).decode().strip()
            digest = hashlib.sha256(f"salt|Bearer {token}".encode()).digest()
            shown = base64.urlsafe_b64encode(digest).decode().rstrip("=")
            await _klog(proc, "I", f"authz_header={shown}")
            response = await _api(proc, "/healthz")
            problem = "" if response.status == 200 else f"status {response.status}"
        except (Fault, *_PROBLEMS) as error:
            problem = str(error)
        if problem:
            await _klog(proc, "E", "status=failed")
            await _klog(proc, "E", f"error checking /healthz: {problem}\n")


async def issuer_discovery(proc: Proc, args: list[str]) -> int:
    """`test-service-account-issuer-discovery --token-path file --audience name`."""
    flags = await parse(proc, args, {"token-path": "", "audience": ""})
    try:
        raw = (await proc.contents(flags["token-path"])).decode()
    except Fault as fault:
        return await fatal(proc, f"open {flags['token-path']}: {str(fault).lower()}")
    await log(proc, "OK: Got token")
    await log(proc, "validating with in-cluster discovery")
    try:
        await _validate(proc, raw, flags["audience"])
    except (Fault, ValueError, KeyError, *_PROBLEMS) as error:
        return await fatal(proc, f"failed to validate with in-cluster discovery: {error}")
    return 0


async def _validate(proc: Proc, raw: str, audience: str) -> None:
    """Raises `ValueError` where the token is not good, and what `_api` raises."""
    head, payload, signature = raw.split(".")
    header, claims = _json(head), _json(payload)
    issuer: str = claims["iss"]
    await log(proc, f"OK: got issuer {issuer}")
    await log(proc, f"Full, not-validated claims: \n{claims}")
    found = await _api(proc, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if found.status != 200:
        raise ValueError(f"{found.status}: {found.body.decode(errors='replace')}")
    document = json.loads(found.body)
    if document["issuer"] != issuer:
        raise ValueError(
            "oidc: issuer URL provided to client did not match the issuer URL returned by provider,"
            f' expected "{issuer}" got "{document["issuer"]}"'
        )
    await log(proc, f"OK: Constructed OIDC provider for issuer {issuer}")
    keys = json.loads((await _api(proc, document["jwks_uri"])).body)["keys"]
    known = [key for key in keys if key.get("kid") == header.get("kid")]
    signed = f"{head}.{payload}".encode()
    if not any(_signed(key, header["alg"], signed, _decoded(signature)) for key in known):
        raise ValueError("failed to verify signature: failed to verify id token signature")
    given: Any = claims["aud"]
    if audience != given and audience not in given:
        raise ValueError(f'oidc: expected audience "{audience}" got {given}')
    if claims["exp"] * NS < proc.system.now_ns():
        raise ValueError("oidc: token is expired")
    await log(proc, "OK: Validated signature on JWT")
    await log(proc, "OK: Got valid claims from token!")
    await log(proc, f"Full, validated claims: \n{claims}")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _json(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_decoded(text))
    return found


def _signed(key: dict[str, Any], algorithm: str, data: bytes, signature: bytes) -> bool:
    """Whether a key of a JWKS has signed; without `cryptography` it is believed."""
    try:
        hashes: Any = import_module("cryptography.hazmat.primitives.hashes")
        asymmetric = "cryptography.hazmat.primitives.asymmetric"
        rsa, ec, padding, utils = (
            _module(f"{asymmetric}.{name}") for name in ("rsa", "ec", "padding", "utils")
        )
        invalid: Any = import_module("cryptography.exceptions").InvalidSignature
    except ImportError:
        return True
    numbers = {n: int.from_bytes(_decoded(key[n]), "big") for n in ("n", "e", "x", "y") if n in key}
    try:
        if algorithm == "RS256":
            public = rsa.RSAPublicNumbers(numbers["e"], numbers["n"]).public_key()
            public.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
            return True
        curve, digest = {
            "ES256": (ec.SECP256R1, hashes.SHA256),
            "ES384": (ec.SECP384R1, hashes.SHA384),
            "ES512": (ec.SECP521R1, hashes.SHA512),
        }[algorithm]
        public = ec.EllipticCurvePublicNumbers(numbers["x"], numbers["y"], curve()).public_key()
        half = len(signature) // 2
        r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
        public.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(digest()))
    except (KeyError, invalid):
        return False
    return True


def _module(name: str) -> Any:
    return import_module(name)


# -- mutual TLS ------------------------------------------------------------------------------


async def mtlsserver(proc: Proc, args: list[str]) -> int:
    """`mtlsserver --listen host:port --server-creds file --spiffe-trust-bundle file`."""
    flags = await parse(
        proc, args, {"listen": "", "server-creds": "", "spiffe-trust-bundle": "", "v": "0"}
    )
    if not all(flags[name] for name in ("listen", "server-creds", "spiffe-trust-bundle")):
        await proc.err("Error: missing required flags\n")
        return 1
    try:
        await proc.contents(flags["spiffe-trust-bundle"])
        pair = await proc.contents(flags["server-creds"])
    except Fault as fault:
        await proc.err(f"Error: error while serving: while loading: {str(fault).lower()}\n")
        return 1

    async def answer(request: http1.Request) -> http1.Response:
        if request.path != "/spiffe-echo":
            return http1.Response(404, b"404 page not found\n")
        wanted = http1.Response(401, b"SPIFFE client certificate authentication required\n")
        if not request.certificate:
            return wanted
        bundle = await proc.contents(flags["spiffe-trust-bundle"])
        try:
            x509.check(request.certificate, bundle, "", proc.system.now_ns())
        except x509.CertificateError as error:
            await log(proc, f"Error while verifying SPIFFE client certificate: {error}")
            return wanted
        names = x509.uris(request.certificate)
        if len(names) != 1:
            return http1.Response(401, b"Malformed SPIFFE certificate\n")
        return http1.Response(200, f"Client Identity: {names[0]}".encode())

    port = int(flags["listen"].rpartition(":")[2])
    proc.system.serve(port, lambda stream: http1.serve(stream, answer), _certificates(pair))
    return await forever(proc)


def _certificates(bundle: bytes) -> bytes:
    """The certificates of a credential bundle, without the key."""
    return _CERTIFICATE + _CERTIFICATE.join(bundle.split(_CERTIFICATE)[1:])


async def mtlsclient(proc: Proc, args: list[str]) -> int:
    """`mtlsclient --fetch-url url --server-trust-bundle file --client-cred-bundle file`."""
    flags = await parse(
        proc, args,
        {"fetch-url": "", "server-trust-bundle": "", "client-cred-bundle": "", "v": "0"},
    )
    if not all(flags[n] for n in ("fetch-url", "server-trust-bundle", "client-cred-bundle")):
        await proc.err("Error: missing required flags\n")
        return 1
    while True:
        await proc.system.sleep(POLL_NS)
        try:
            response = await get(
                proc, url_of(flags["fetch-url"]),
                bundle=await proc.contents(flags["server-trust-bundle"]),
                certificate=_certificates(await proc.contents(flags["client-cred-bundle"])),
            )
        except (Fault, *_PROBLEMS) as error:
            await _klog(proc, "E", f"while sending requests to the server: {error}")
            continue
        if response.status // 100 == 2:
            body = response.body.decode(errors="replace")
            await log(proc, f"Got response body: {body}")
        else:
            await _klog(
                proc, "E", f"while sending requests to the server: non-2xx status {response.status}"
            )


COMMANDS = {
    "inclusterclient": inclusterclient,
    "mtlsclient": mtlsclient,
    "mtlsserver": mtlsserver,
    "test-service-account-issuer-discovery": issuer_discovery,
}
