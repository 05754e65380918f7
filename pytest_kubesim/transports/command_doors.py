"""The way of one operator's command to the API servers: a port of its own.

Law: who comes in by that port is that operator, whatever it calls itself; its token says what it
may do.  While no API server accepts connections the port refuses them, and stays the same.
"""

from __future__ import annotations

import base64
import secrets
import selectors
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_kubesim.client_go.servers import Servers
from pytest_kubesim.transports.dialing import user_of_operator
from pytest_kubesim.transports.http import Front, Headers, Identity
from pytest_kubesim.transports.peers import BACKLOG, Peer

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.cluster.operators import Operator
    from pytest_kubesim.sim.process import Process
    from pytest_kubesim.transports.outside import Outside
    from pytest_kubesim.wire import UserInfo

HOST = "127.0.0.1"


class Door:
    """Where the commands of `operator` find the API servers."""

    def __init__(self, outside: Outside, operator: Operator) -> None:
        self.operator = operator
        self.token = secrets.token_urlsafe(24)
        self._outside = outside
        self._all = outside.cluster.control_plane.servers
        self._servers = Servers(self._all, len(outside.doors))
        self._fronts: dict[str, Front] = {s.host: outside.front(s) for s in self._all}
        self._peers: dict[Peer, str] = {}
        self._listener = _reserved()
        self.port: int = self._listener.getsockname()[1]
        self._open = False
        for server in self._all:
            server.process.on_change.append(self._changed)
        self.look()

    @property
    def url(self) -> str:
        """Where the API server is."""
        return f"https://{HOST}:{self.port}"

    def look(self) -> None:
        """Listen while an API server accepts connections, and only then."""
        wanted = any(server.accepting for server in self._all)
        if wanted == self._open:
            return
        self._open = wanted
        selector = self._outside.hub.selector
        if wanted:
            self._listener.listen(BACKLOG)
            selector.register(self._listener, selectors.EVENT_READ, self._accept)
            return
        selector.unregister(self._listener)
        with suppress(OSError):  # elsewhere than on Linux it cannot: clients are reset then
            self._listener.shutdown(socket.SHUT_RD)

    def _changed(self, process: Process) -> None:
        self.look()
        if process.alive:
            return
        gone = [peer for peer, host in self._peers.items() if host == process.host]
        for peer in gone:
            self._peers.pop(peer)
            peer.end()

    def _accept(self) -> None:
        server: APIServer = self._servers.pick()  # pyright: ignore[reportAssignmentType]
        hub = self._outside.hub
        self._peers = {peer: host for peer, host in self._peers.items() if peer in hub.peers}
        for peer in hub.accept(self._listener, self._fronts[server.host], self._identify):
            self._peers[peer] = server.host
            if not server.accepting:
                peer.end()
        for command in self._outside.commands:
            if command.operator is self.operator:
                command.booting = False

    def _identify(self, headers: Headers, certificate: UserInfo | None) -> Identity:
        operator = self.operator
        given = next((value for key, value in headers if key == "authorization"), "")
        scheme, _, token = given.strip().partition(" ")
        known = scheme.lower() == "bearer" and secrets.compare_digest(
            token.strip().encode(), self.token.encode()
        )
        user = user_of_operator(operator) if known else None
        return Identity(user, certificate, operator.name, operator.process.host)

    def close(self) -> None:
        """Free the port."""
        for server in self._all:
            if self._changed in server.process.on_change:
                server.process.on_change.remove(self._changed)
        self._listener.close()

    # -- what the command is told -------------------------------------------------------------

    def files(self) -> Path:
        """A folder with a kubeconfig, and what a pod finds of its service account: token, ca.crt,
        namespace.
        """
        folder = self._outside.folder / self.operator.name
        if folder.exists():
            return folder
        folder.mkdir()
        authority = self._outside.authority.pem
        namespace = (self.operator.service_account or "default/").partition("/")[0]
        for name, content in (
            ("kubeconfig", self._kubeconfig(authority, namespace)),
            ("token", self.token),
            ("ca.crt", authority.decode()),
            ("namespace", namespace),
        ):
            path = folder / name
            path.touch(mode=0o600)
            path.write_text(content, encoding="utf-8")
        return folder

    def _kubeconfig(self, authority: bytes, namespace: str) -> str:
        return f"""\
apiVersion: v1
kind: Config
clusters:
- name: kubesim
  cluster:
    server: {self.url}
    certificate-authority-data: {base64.b64encode(authority).decode()}
users:
- name: kubesim
  user:
    token: {self.token}
contexts:
- name: kubesim
  context:
    cluster: kubesim
    user: kubesim
    namespace: {namespace}
current-context: kubesim
preferences: {{}}
"""


def _reserved() -> socket.socket:
    """A socket with a port that stays its own while it does not listen.

    Linux gives a port that it has chosen itself to others as soon as nobody listens; one that was
    asked for it keeps.
    """
    chosen, kept = socket.socket(), socket.socket()
    with chosen:
        for each in (chosen, kept):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        chosen.bind((HOST, 0))
        kept.bind(chosen.getsockname())
    kept.setblocking(False)
    return kept
