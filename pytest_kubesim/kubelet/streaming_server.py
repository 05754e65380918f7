"""exec, attach and port-forward as a kubelet serves them: who is meant, on which wire.

Errors that come before the connection is upgraded are `KubeletError`s and `Refusal`s; those that
come after it are told on the streams.

Follows `pkg/kubelet/server/server.go` (`getExec`, `getAttach`, `getPortForward`) and
`pkg/kubelet/kubelet_pods.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.kubelet import port_forward, remote_command
from pytest_kubesim.kubelet.port_forward import PortForward
from pytest_kubesim.kubelet.remote_command import Options, RemoteCommand
from pytest_kubesim.kubelet.server import KubeletError
from pytest_kubesim.kubelet.streaming import (
    SPDY,
    TUNNEL,
    TUNNELLED,
    WEBSOCKET,
    Upgrade,
    check_spdy,
    is_websocket,
    offered,
    spdy_protocol,
    websocket_protocol,
)
from pytest_kubesim.sim.pipes import ConnectError, Refused, Stream

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cni.network import PodNetwork
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.cri.services import PodSandbox
    from pytest_kubesim.kubelet.remote_command import Joined
    from pytest_kubesim.kubelet.server import KubeletServer
    from pytest_kubesim.wire import Request

LOOPBACK = "127.0.0.1"
ATTACH = "attach"


async def remote(
    server: KubeletServer, kind: str, namespace: str, pod: str, container: str, request: Request
) -> Upgrade:
    """`exec` or `attach`.  Raises `KubeletError`, `Refusal`."""
    try:
        options = Options.of(dict(request.query))
    except ValueError as error:
        raise KubeletError(400, str(error)) from None
    found = _pod(server, namespace, pod)
    run = server.running_container(namespace, pod, container)
    if run is None and kind == ATTACH:
        raise KubeletError(500, f"container {container} not found in pod {pod}_{namespace}")
    if run is None:
        raise KubeletError(500, f'container not found ("{container}")')
    command: tuple[str, ...] = ()
    if kind == ATTACH:
        options = Options(
            options.stdin,
            options.stdout,
            options.stderr and not _has_tty(found, container),
            _has_tty(found, container),
        )
    else:
        command = tuple(value for name, value in request.query if name == "command")
        server.runtime.check_exec(run)
    wire, protocol = _wire(request)
    return RemoteCommand(
        server.kernel, wire, protocol, options, _start(server, run, command, options), command
    )


def _start(
    server: KubeletServer, run: Container, command: tuple[str, ...], options: Options
) -> remote_command.Start:
    async def start() -> Joined:
        if not command:
            return run.attach()
        return await server.runtime.exec(run, command, tty=options.tty)

    return start


def _wire(request: Request) -> tuple[str, str]:
    if is_websocket(request):
        names = offered(request)
        if remote_command.V5 in names:
            return WEBSOCKET, websocket_protocol(request, (remote_command.V5,))
        return WEBSOCKET, websocket_protocol(request, remote_command.WEBSOCKETS)
    protocol = spdy_protocol(request, remote_command.SPDYS)
    check_spdy(request)
    return SPDY, protocol


async def forward(
    server: KubeletServer, namespace: str, pod: str, ports: list[str], request: Request
) -> Upgrade:
    """Port-forward; `ports` as a WebSocket client names them.  Raises `KubeletError`, `Refusal`."""
    websocket = is_websocket(request)
    tunnelled = [
        name.removeprefix(TUNNELLED)
        for name in offered(request)
        if websocket and name.startswith(TUNNELLED) and name.endswith(".k8s.io")
    ]
    numbers: list[int] = []
    if websocket and not tunnelled:
        try:
            numbers = port_forward.ports_of(ports)
        except ValueError as error:
            raise KubeletError(400, str(error)) from None
    found = _pod(server, namespace, pod)
    sandbox = server.runtime.pod_state(found["metadata"]["uid"]).active_sandbox
    if sandbox is None:
        raise KubeletError(500, f'pod not found ("{pod}_{namespace}")')
    if tunnelled:
        wire, protocol = TUNNEL, spdy_protocol(request, port_forward.SPDYS, tunnelled)
    elif websocket:
        wire, protocol = WEBSOCKET, websocket_protocol(request, port_forward.WEBSOCKETS)
    else:
        wire, protocol = SPDY, spdy_protocol(request, port_forward.SPDYS)
        check_spdy(request)

    async def connect(port: int) -> Stream:
        network: PodNetwork | None = server.runtime.network
        if network is None:
            raise Refused
        stream = await network.connect(sandbox.ip, LOOPBACK, port)
        return network.end_tls(stream) if stream.shown and network.end_tls else stream

    return PortForward(
        server.kernel,
        wire,
        protocol,
        ports=numbers,
        sandbox=sandbox.id,
        connect=connect,
        refusal=lambda port, error: refusal(sandbox, port, error),
    )


def refusal(sandbox: PodSandbox, port: int, error: ConnectError) -> str:
    """What containerd says of a port to which it cannot connect."""
    problem = str(error)[:1].lower() + str(error)[1:]
    namespace = f"/var/run/netns/cni-{_netns(sandbox.id)}"
    return (
        f'failed to execute portforward in network namespace "{namespace}": failed to connect to '
        f'localhost:{port} inside namespace "{sandbox.id}", IPv4: dial tcp4 127.0.0.1:{port}: '
        f"connect: {problem} IPv6 dial tcp6 [::1]:{port}: connect: {problem} "
    )


def _netns(id_: str) -> str:
    """The name of a network namespace: a UUID, made of the sandbox's id here."""
    return "-".join((id_[:8], id_[8:12], id_[12:16], id_[16:20], id_[20:32]))


def _pod(server: KubeletServer, namespace: str, name: str) -> Object:
    found = server.find_pod(namespace, name)
    if found is None:
        raise KubeletError(404, "pod does not exist")
    return found


def _has_tty(pod: Object, container: str) -> bool:
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for entry in pod["spec"].get(field) or ():
            if entry["name"] == container:
                return bool(entry.get("tty"))
    return False
