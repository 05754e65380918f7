"""Calls to servers outside: webhooks and aggregated API servers of a cluster that is served.

The law: a call blocks a thread of its own and never the loop; its end comes back into the loop,
where the simulation goes on.  What goes wrong is said in the words of Go's HTTP client.

Follows `net/http` and `crypto/x509` of Go, as client-go uses them.
"""

from __future__ import annotations

import base64
import binascii
import errno
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
from cryptography import x509
from cryptography.x509.oid import NameOID

from pytest_kubesim.apimachinery import addresses
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.x509 import name_problem
from pytest_kubesim.apiserver import aggregated_proxy, webhook_client
from pytest_kubesim.apiserver.webhook_client import CallError
from pytest_kubesim.cluster import api_services
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.transports.tls_streams import Bridge

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.aggregated_proxy import Outgoing, Target
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.sim.kernel import Kernel
    from pytest_kubesim.sim.pipes import Stream
    from pytest_kubesim.sim.tasks import Future

CONNECT_TIMEOUT_S = 30.0
MAX_THREADS = 64
"""How many calls are under way at a time; more wait, and their time passes."""
EXTRA_S = 5.0
"""How much longer a thread waits for a socket than the simulation for the answer."""

UNREADABLE_BUNDLE = "unable to load root certificates: unable to parse bytes as PEM block"

CallSoon = Callable[[Callable[[], object]], object]
"""Has a function called in the loop, from any thread."""


@attrs.frozen
class Answer:
    """What an HTTP server answered."""

    code: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """The value of a header; empty if it is not there."""
        return next((v for k, v in self.headers if k.lower() == name), "")


@attrs.frozen
class Call:
    """A request to a server outside.

    `dialled` is `host:port`; `server_name` is what its certificate must be for; `ca_bundle`, PEM of
    those who may have signed it (b"": those whom the machine trusts).
    """

    method: str
    dialled: str
    server_name: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    ca_bundle: bytes
    timeout_s: float
    verify: bool = True
    client_pair: tuple[str, str] | None = None
    """The files of the certificate and the key that the client shows."""


class Caller:
    """Makes calls in threads.

    Parameters: `kernel`; `call_soon`, the way back into the loop; `proxy_pair`, the files of the
    certificate and key that aggregated API servers are shown; `start`, which has a function run in
    a thread, where that is not `threading`'s affair.
    """

    def __init__(
        self,
        kernel: Kernel,
        call_soon: CallSoon,
        proxy_pair: tuple[str, str] | None = None,
        start: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._start = start or _in_a_thread
        self._kernel = kernel
        self._proxy_pair = proxy_pair
        self._call_soon = call_soon
        # Whoever starts threads otherwise counts them otherwise.
        self._slots: AbstractContextManager[Any] = (
            nullcontext() if start else threading.BoundedSemaphore(MAX_THREADS)
        )

    async def send(self, call: Call) -> Answer:
        """The answer to a call.  Raises `CallError`."""
        future: Future[Answer] = self._kernel.future()

        def done(answer: Answer | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                assert answer is not None
                future.set_result(answer)

        def work() -> None:
            answer: Answer | None = None
            failure: BaseException | None = None
            with self._slots:
                try:
                    answer = exchange(call)
                except CallError as error:
                    failure = error
                except Exception as error:  # noqa: BLE001 - carried over to who waits
                    failure = CallError(str(error))
            self._call_soon(lambda: done(answer, failure))

        self._start(work)
        return await future

    async def api_server(self, server: APIServer, target: Target, outgoing: Outgoing) -> Any:
        """Carries a request to an aggregated API server (`server.call_api_server`)."""
        dialled = target.dialled
        host = dialled.rpartition(":")[0].strip("[]")
        if addresses.is_ip(host):
            endpoint = aggregated_proxy.endpoint_of(server, target)
            if endpoint is None:
                raise CallError(f"dial tcp {dialled}: connect: connection refused")
            if endpoint[2]:
                return await api_services.to_pods(server, target, outgoing)
            # As kube-proxy leads the address of the service there.
            dialled = f"{endpoint[0]}:{endpoint[1]}"
        bundle = bundle_of(target.ca_bundle)
        call = Call(
            outgoing.method, dialled, target.server_name, outgoing.target, {}, None, bundle,
            CONNECT_TIMEOUT_S, verify=not target.insecure, client_pair=self._proxy_pair,
        )  # fmt: skip
        try:
            stream = await self.connect(call)
        except CallError as error:
            raise CallError(str(error).replace(dialled, target.dialled)) from None
        return await aggregated_proxy.exchange(self._kernel, stream, target, outgoing)

    async def connect(self, call: Call) -> Stream:
        """A connection over TLS, as a stream.  Raises `CallError`."""
        future: Future[Stream] = self._kernel.future()
        bridges: list[Bridge] = []
        ready = threading.Event()

        def connected(secured: ssl.SSLSocket) -> None:
            bridge = Bridge(self._kernel, self._call_soon, secured)
            bridges.append(bridge)
            ready.set()
            if not future.done():
                future.set_result(bridge.stream)

        def refused(error: BaseException) -> None:
            if not future.done():
                future.set_exception(error)

        def work() -> None:
            try:
                secured = _secured(_dial(call), call)
            except CallError as error:
                failure = error
            except Exception as error:  # noqa: BLE001 - carried over to who waits
                failure = CallError(str(error))
            else:
                self._call_soon(lambda: connected(secured))
                ready.wait()
                bridges[0].run()
                return
            self._call_soon(lambda: refused(failure))

        threading.Thread(target=work, name="aggregator", daemon=True).start()
        return await future

    async def webhook(
        self, client_config: Object, path: str, review: Object, timeout_ns: int
    ) -> Object:
        """Carries a review to a webhook (`server.call_webhook`)."""
        address = webhook_client.address_of(client_config)
        dialled = client_config.get("dialled") or address.dialled
        host = urlsplit(address.url).hostname or ""
        answer = await self.send(
            Call(
                "POST",
                dialled,
                host,
                path,
                webhook_client.request_headers(urlsplit(address.url).netloc),
                webhook_client.encoded(review),
                bundle_of(client_config.get("caBundle")),
                timeout_ns / NS + EXTRA_S,
            )
        )
        return webhook_client.review_in(answer.code, answer.header("content-type"), answer.body)


def _in_a_thread(work: Callable[[], None]) -> None:
    # Daemons: a served cluster that is told to stop does not wait for somebody's answer.
    threading.Thread(target=work, name="webhook", daemon=True).start()


def bundle_of(text: Any) -> bytes:
    """The PEM in a `caBundle`."""
    if not text:
        return b""
    try:
        return base64.b64decode(str(text))
    except binascii.Error:
        return b""


# -- in a thread -----------------------------------------------------------------------------------


def exchange(call: Call) -> Answer:
    """Dial, shake hands, send, read.  Raises `CallError`."""
    sock = _dial(call)
    try:
        secured = _secured(sock, call)
        return _exchanged(secured, call)
    finally:
        with suppress(OSError):
            sock.close()


def _dial(call: Call) -> socket.socket:
    host, _, port = call.dialled.rpartition(":")
    bare = host.strip("[]")
    try:
        return socket.create_connection((bare, int(port)), timeout=call.timeout_s)
    except socket.gaierror:
        raise CallError(f"dial tcp: lookup {bare}: no such host") from None
    except TimeoutError:
        raise CallError(f"dial tcp {call.dialled}: i/o timeout") from None
    except OSError as error:
        where = call.dialled
        if not addresses.is_ip(bare):
            with suppress(OSError):
                where = f"{socket.gethostbyname(bare)}:{port}"
        raise CallError(f"dial tcp {where}: connect: {_told(error)}") from None


def _told(error: OSError) -> str:
    if error.errno is None:
        return str(error)
    return os.strerror(error.errno).lower()


def _context(call: Call, *, verify: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # done here, in Go's words
    context.set_alpn_protocols(["http/1.1"])
    if call.client_pair is not None:
        context.load_cert_chain(*call.client_pair)
    if not verify:
        context.verify_mode = ssl.CERT_NONE
        return context
    # Go accepts any certificate of the bundle, a server's own among them.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    if call.ca_bundle:
        try:
            context.load_verify_locations(cadata=call.ca_bundle.decode("ascii", "replace"))
        except (ssl.SSLError, ValueError):
            raise CallError(UNREADABLE_BUNDLE) from None
    else:
        context.load_default_certs()
    return context


def _secured(sock: socket.socket, call: Call) -> ssl.SSLSocket:
    context = _context(call, verify=call.verify)
    name = None if addresses.is_ip(call.server_name) else call.server_name
    try:
        secured = context.wrap_socket(sock, server_hostname=name)
    except ssl.SSLCertVerificationError as error:
        raise CallError(f"tls: failed to verify certificate: {_verdict(error, call)}") from None
    except TimeoutError:
        raise CallError("net/http: TLS handshake timeout") from None
    except ssl.SSLError as error:
        if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"):
            raise CallError("http: server gave HTTP response to HTTPS client") from None
        raise CallError(_tls_problem(error)) from None
    except OSError as error:
        raise CallError(_broken(error, sock)) from None
    if call.verify:
        der = secured.getpeercert(binary_form=True)
        leaf = None if der is None else x509.load_der_x509_certificate(der)
        if leaf is not None and (problem := name_problem(leaf, call.server_name)):
            raise CallError(f"tls: failed to verify certificate: x509: {problem}")
    return secured


def _tls_problem(error: ssl.SSLError) -> str:
    if error.errno == ssl.SSL_ERROR_EOF or error.reason == "UNEXPECTED_EOF_WHILE_READING":
        return "EOF"
    reason = (error.reason or "handshake failure").lower().replace("_", " ")
    if "alert" in reason:
        reason = reason.removeprefix("sslv3 ").removeprefix("tlsv1 ").removeprefix("tlsv13 ")
        reason = reason.removeprefix("alert ")
    return f"remote error: tls: {reason}"


def _broken(error: OSError, sock: socket.socket) -> str:
    if error.errno in (errno.ECONNRESET, errno.EPIPE):
        try:
            local, remote = sock.getsockname()[:2], sock.getpeername()[:2]
        except OSError:
            return "EOF"
        where = f"{local[0]}:{local[1]}->{remote[0]}:{remote[1]}"
        return f"read tcp {where}: read: connection reset by peer"
    return "EOF" if error.errno is None else _told(error)


def _verdict(error: ssl.SSLCertVerificationError, call: Call) -> str:
    """Why a chain is not trusted, as `x509.Certificate.Verify` says."""
    shown = _shown(call)
    if shown is not None and error.verify_code in (9, 10):
        certificate = x509.load_der_x509_certificate(shown)
        now = datetime.now(UTC).replace(microsecond=0)
        start = "x509: certificate has expired or is not yet valid: current time "
        if error.verify_code == 9:
            bound, word = certificate.not_valid_before_utc, "before"
        else:
            bound, word = certificate.not_valid_after_utc, "after"
        return f"{start}{_rfc3339(now)} is {word} {_rfc3339(bound)}"
    unknown = "x509: certificate signed by unknown authority"
    if shown is not None:
        hint = _candidate(x509.load_der_x509_certificate(shown), call.ca_bundle)
        return f"{unknown}{hint}"
    return unknown


def _candidate(leaf: x509.Certificate, bundle: bytes) -> str:
    """The hint about an authority of the right name and another key."""
    with suppress(ValueError):
        for each in x509.load_pem_x509_certificates(bundle):
            if each.subject == leaf.issuer:
                names = each.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
                organizations = each.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
                name = (organizations or names)[0].value if organizations or names else "serial:"
                if names:
                    name = names[0].value
                kind = "crypto/rsa: verification error"
                if "ec" in type(each.public_key()).__name__.lower():
                    kind = "x509: ECDSA verification failure"
                return (
                    f" (possibly because of {quote(kind)} while trying to verify candidate "
                    f"authority certificate {quote(str(name))})"
                )
    return ""


def _rfc3339(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _shown(call: Call) -> bytes | None:
    """The certificate that the server shows, trusted or not."""
    with suppress(OSError, CallError), _dial(call) as sock:
        context = _context(call, verify=False)
        name = None if addresses.is_ip(call.server_name) else call.server_name
        with context.wrap_socket(sock, server_hostname=name) as secured:
            return secured.getpeercert(binary_form=True)
    return None


class _Over(http.client.HTTPConnection):
    """HTTP over a socket that is there."""

    def __init__(self, secured: ssl.SSLSocket) -> None:
        super().__init__("webhook")
        self.sock = secured

    def connect(self) -> None:
        raise CallError("EOF")


def _exchanged(secured: ssl.SSLSocket, call: Call) -> Answer:
    connection = _Over(secured)
    try:
        connection.request(call.method, call.target, call.body, dict(call.headers))
        answer = connection.getresponse()
        return Answer(answer.status, tuple(answer.getheaders()), answer.read())
    except http.client.BadStatusLine as error:
        if isinstance(error, http.client.RemoteDisconnected):
            raise CallError("EOF") from None
        line = str(error).strip().strip("'\"")
        raise CallError(f"malformed HTTP response {quote(line)}") from None
    except http.client.HTTPException:
        raise CallError("unexpected EOF") from None
    except TimeoutError:
        raise CallError("context deadline exceeded") from None
    except OSError as error:
        raise CallError(_broken(error, secured)) from None
