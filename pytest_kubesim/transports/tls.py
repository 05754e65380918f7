"""TLS towards a cluster: accepted, and left out.

What is in memory needs no encryption, so a client's context, whatever it demands, is satisfied
without a handshake: `SSLContext.wrap_socket` gives our socket back, and `wrap_bio` towards one of
our hosts gives an object that passes bytes through.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from pytest_kubesim.transports import addresses

_real_wrap_socket = ssl.SSLContext.wrap_socket
_real_wrap_bio = ssl.SSLContext.wrap_bio


class PlainObject:
    """An `ssl.SSLObject` that encrypts nothing."""

    def __init__(
        self, context: Any, incoming: Any = None, outgoing: Any = None, hostname: str = ""
    ) -> None:
        self.context = context
        self.server_side = False
        self.server_hostname = hostname
        self.session = None
        self.session_reused = False
        self._incoming = incoming
        self._outgoing = outgoing

    def read(self, size: int = 16384, buffer: Any = None) -> Any:
        """Bytes that have come.  Raises: `SSLWantReadError` when none has."""
        data: bytes = self._incoming.read(size)
        if not data and not self._incoming.eof:
            raise ssl.SSLWantReadError(ssl.SSLError, "The operation did not complete (read)")
        if buffer is None:
            return data
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        """Send bytes."""
        return self._outgoing.write(data)

    def do_handshake(self) -> None:
        """Nothing to agree upon."""

    def unwrap(self) -> None:
        """Nothing to take off."""

    def pending(self) -> int:
        """How many bytes wait inside."""
        return 0

    def getpeercert(self, binary_form: bool = False) -> Any:
        """The server's certificate, good for the name asked for."""
        if binary_form:
            return b""
        return peer_certificate(self.server_hostname)

    def selected_alpn_protocol(self) -> str | None:
        """HTTP/1.1 is spoken without saying so."""
        return None

    def selected_npn_protocol(self) -> str | None:
        """None."""
        return None

    def cipher(self) -> tuple[str, str, int]:
        """What a modern server would choose."""
        return ("TLS_AES_128_GCM_SHA256", "TLSv1.3", 128)

    def shared_ciphers(self) -> None:
        """Unknown."""

    def compression(self) -> None:
        """None."""

    def version(self) -> str:
        """The protocol's version."""
        return "TLSv1.3"

    def get_channel_binding(self, cb_type: str = "tls-unique") -> None:
        """None."""


def peer_certificate(hostname: str) -> dict[str, Any]:
    """A certificate as `getpeercert` shows it."""
    return {
        "subject": ((("commonName", "kube-apiserver"),),),
        "issuer": ((("commonName", "kubernetes"),),),
        "version": 3,
        "notBefore": "Jan  1 00:00:00 2020 GMT",
        "notAfter": "Jan  1 00:00:00 2120 GMT",
        "subjectAltName": (("DNS", hostname), ("IP Address", addresses.SERVICE_HOST)),
    }


def install(is_ours: Callable[[object], bool]) -> None:
    """Let contexts pass our sockets (those of which `is_ours` says so) and our hosts."""

    def wrap_socket(self: Any, sock: Any, *args: Any, **kwargs: Any) -> Any:
        if is_ours(sock):
            return sock
        return _real_wrap_socket(self, sock, *args, **kwargs)

    def wrap_bio(
        self: Any, incoming: Any, outgoing: Any, server_side: bool = False,
        server_hostname: Any = None, session: Any = None,
    ) -> Any:
        if not server_side and server_hostname and addresses.resolve(server_hostname) is not None:
            return PlainObject(self, incoming, outgoing, str(server_hostname))
        return _real_wrap_bio(self, incoming, outgoing, server_side, server_hostname, session)

    context: Any = ssl.SSLContext
    context.wrap_socket = wrap_socket
    context.wrap_bio = wrap_bio


def uninstall() -> None:
    """TLS as it was."""
    context: Any = ssl.SSLContext
    context.wrap_socket = _real_wrap_socket
    context.wrap_bio = _real_wrap_bio
