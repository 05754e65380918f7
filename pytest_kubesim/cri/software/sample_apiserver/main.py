"""The program `sample-apiserver`: its flags, its store, its port.

The law: it answers while it is connected with its etcd, and asks until it is; a connection that is
lost takes what it had in memory along.

Follows `pkg/cmd/server/start.go` of `k8s.io/sample-apiserver@v0.37.2`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_kubesim.cri.applets.network import Unresolved, dial
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.software.agnhost.flags import Signals, klog
from pytest_kubesim.cri.software.busybox import ALPINE_RELEASE, PATHS, PROGRAMS
from pytest_kubesim.cri.software.rootfs import Software
from pytest_kubesim.cri.software.sample_apiserver import delegation, wardle
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.pipes import ConnectError, Reset

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc
    from pytest_kubesim.sim.pipes import Stream

RETRY_NS = NS
NOT_READY = b"[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n"
_LOOKED_UP = f"{delegation.NAME} in {delegation.NAMESPACE}"
_FORBIDDEN = (
    f"Unable to get configmap/{_LOOKED_UP}.  Usually fixed by 'kubectl create rolebinding -n "
    f"{delegation.NAMESPACE} ROLEBINDING_NAME --role=extension-apiserver-authentication-reader "
    "--serviceaccount=YOUR_NS:YOUR_SA'"
)


async def main(proc: Proc) -> int:
    """The server."""
    signals = Signals(proc, "TERM", "INT")
    flags = _flags(proc.argv[1:])
    servers = [place for place in (flags.get("etcd-servers") or "").split(",") if place]
    if not servers:
        await proc.err("Error: --etcd-servers must be specified\n")
        return 1
    make = getattr(proc.system.network, "extensions", None)
    if make is None:
        await proc.err("Error: in this cluster no API server can be reached by pods\n")
        return 1
    certificate = b""
    if path := flags.get("tls-cert-file") or "":
        try:
            certificate = await proc.contents(path)
            await proc.contents(flags.get("tls-private-key-file") or "")
        except Fault as fault:
            await proc.err(f"Error: open {path}: {str(fault).lower()}\n")
            return 1
    try:
        believed = await delegation.look_up(proc)
    except delegation.Unavailable as error:
        if error.code == 403:
            await klog(proc, "W", "requestheader_controller.go:204", _FORBIDDEN)
        await proc.err(
            f"Error: unable to load configmap based request-header-client-ca-file: {error}\n"
        )
        return 1
    if flags.get("audit-log-path") and not flags.get("audit-policy-file"):
        text = "No audit policy file provided, no events will be recorded for log backend"
        await klog(proc, "W", "audit.go:260", text)
    extensions = make()
    asked = delegation.Delegation(proc, believed, extensions.control_plane)
    serving = Serving(proc, extensions, asked, servers)
    proc.system.thread(serving.keep_connected(), "etcd")
    port = int(flags.get("secure-port") or 443)
    proc.system.listen(port, serving.accept, certificate=certificate)
    await klog(proc, "I", "secure_serving.go:211", f"Serving securely on [::]:{port}")
    try:
        await signals.wait()
    finally:
        serving.stop()
    return 0


class Serving:
    """The server, which comes and goes with the connection to its etcd."""

    def __init__(
        self, proc: Proc, extensions: Any, asked: delegation.Delegation, servers: list[str]
    ) -> None:
        self._proc = proc
        self._extensions = extensions
        self._asked = asked
        self._servers = servers
        self._server: Any = None
        self._started = 0

    def accept(self, stream: Stream) -> None:
        """Somebody has connected."""
        if self._server is None:
            self._extensions.refuse(stream, NOT_READY)
        else:
            self._server.accept(stream, self._asked.authenticate)

    def stop(self) -> None:
        """Serve no more."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    async def keep_connected(self) -> None:
        """Connect with one of the servers whenever there is no connection."""
        while True:
            for place in self._servers:
                await self._stay_with(place)
            await self._proc.system.sleep(RETRY_NS)

    async def _stay_with(self, place: str) -> None:
        proc, url = self._proc, urlsplit(place if "://" in place else f"http://{place}")
        try:
            stream = await dial(proc, url.hostname or "localhost", url.port or 2379)
        except (Unresolved, ConnectError) as error:
            text = f"connection error: desc = transport: Error while dialing: {str(error).lower()}"
            await klog(proc, "W", "logging.go:55", f"[core] {place}: {text}")
            return
        store = self._extensions.store_behind(stream)
        if store is None:
            stream.close()
            return
        container = proc.system.surroundings
        # Each has a name of its own: what it draws, as UIDs, goes by that.
        self._started += 1
        life = f"{container.restart_count}.{self._started}"
        name = f"{container.namespace}/{container.pod_name}/{container.name}/{life}"
        self._server = self._extensions.start(
            name, container.node, wardle.RESOURCES, store, self._asked.authorize,
            ("BanFlunder", wardle.ban),
        )
        try:
            while await stream.read():
                pass
        except Reset:
            pass
        finally:
            self.stop()


def _flags(argv: tuple[str, ...]) -> dict[str, str]:
    """Flags by their names; one without a value is `true`."""
    found: dict[str, str] = {}
    words = list(argv)
    while words:
        name, equals, value = words.pop(0).lstrip("-").partition("=")
        if not equals:
            value = words.pop(0) if words and not words[0].startswith("-") else "true"
        found[name] = value
    return found


SAMPLE_APISERVER = Software(
    name="sample-apiserver",
    entrypoint=("/sample-apiserver",),
    programs={**PROGRAMS, "sample-apiserver": main},
    paths={**PATHS, "sample-apiserver": "sample-apiserver"},
    texts={"etc/os-release": ALPINE_RELEASE},
)
