"""liveness, test-webserver, porter, grpc-health-checking, guestbook, resource-consumer's shell."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from pytest_kubesim.cri import http1
from pytest_kubesim.cri.applets.network import Unresolved, get, url_of
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import DIRECTORY
from pytest_kubesim.cri.software.agnhost.flags import forever, log, parse
from pytest_kubesim.sim.pipes import ConnectError, Stream

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc, System

HEALTHY_NS = 10_000_000_000
ASK_NS = 5_000_000_000
OWN_CERTIFICATE = b"localhost.crt"
"""What the image has: good for nobody who looks at it."""
_PROBLEMS = (ConnectError, Unresolved, http1.MessageFault)


async def liveness(proc: Proc, args: list[str]) -> int:
    """`liveness`: healthy for ten seconds."""
    del args
    begun_ns = proc.system.now_ns()

    async def answer(request: http1.Request) -> http1.Response:
        age_ns = proc.system.now_ns() - begun_ns
        if request.path == "/started":
            return http1.Response(200, f"{age_ns / 1e9}s".encode())
        if request.path == "/healthz":
            if age_ns > HEALTHY_NS:
                return http1.Response(500, f"error: {age_ns / 1e9}".encode())
            return http1.Response(200, b"ok")
        if request.path == "/redirect":
            place = unquote_plus(request.query.get("loc", ""))
            return http1.redirected(request, place)
        return http1.Response(404, b"404 page not found\n")

    proc.system.serve(8080, lambda stream: http1.serve(stream, answer))
    return await forever(proc)


async def test_webserver(proc: Proc, args: list[str]) -> int:
    """`test-webserver [--port n]`: files over HTTP."""
    flags = await parse(proc, args, {"port": "80"})

    async def answer(request: http1.Request) -> http1.Response:
        path = request.path
        try:
            node = proc.node(path)
            if node.kind == DIRECTORY:
                names = sorted(proc.system.mounts.listed(node).items())
                lines = [
                    f'<a href="{n}{"/" if e.kind == DIRECTORY else ""}">{n}</a>' for n, e in names
                ]
                page = "<!doctype html>\n<pre>\n" + "\n".join(lines) + "\n</pre>\n"
                return http1.Response(200, page.encode(), {"Content-Type": "text/html"})
            return http1.Response(200, await proc.contents(path), {"Cache-Control": "private"})
        except Fault:
            return http1.Response(404, b"404 page not found\n")

    proc.system.serve(flags.number("port"), lambda stream: http1.serve(stream, answer))
    return await forever(proc)


async def porter(proc: Proc, args: list[str]) -> int:
    """`porter`: a server for each `SERVE_PORT_n` in the environment."""
    flags = await parse(proc, args, {"json-response": "false"}, ("json-response",))
    for name, value in proc.env.items():
        for prefix in ("SERVE_PORT_", "SERVE_TCP_PORT_", "SERVE_TLS_PORT_"):
            if name.startswith(prefix):
                shown = OWN_CERTIFICATE if "TLS" in prefix else b""
                port = int(name[len(prefix) :])
                _page(proc.system, port, value, flags.truth("json-response"), shown)
        for prefix, protocol in (("SERVE_UDP_PORT_", "UDP"), ("SERVE_SCTP_PORT_", "SCTP")):
            if name.startswith(prefix):
                port = int(name[len(prefix) :])
                proc.system.listen(port, _constant(value.encode()), protocol)
    return await forever(proc)


def _constant(data: bytes) -> Callable[[bytes, tuple[str, int]], bytes]:
    def answer(sent: bytes, peer: tuple[str, int]) -> bytes:
        del sent, peer
        return data

    return answer


def _page(system: System, port: int, value: str, as_json: bool, certificate: bytes) -> None:
    async def answer(request: http1.Request) -> http1.Response:
        if as_json:
            body = json.dumps({"Method": request.method, "Body": value}, separators=(",", ":"))
            return http1.Response(200, body.encode(), {"Content-Type": "application/json"})
        return http1.Response(200, value.encode())

    system.serve(port, lambda stream: http1.serve(stream, answer), certificate)


class _Health:
    """A listener that speaks gRPC's health protocol."""

    def __init__(self, system: System, delay_ns: int) -> None:
        self._system = system
        self._until_ns = system.now_ns() + delay_ns if delay_ns else None
        self.serving = True

    def __call__(self, stream: Stream) -> None:
        stream.close()

    def health(self, service: str) -> str:
        """The state of a service."""
        del service
        late = self._until_ns is not None and self._system.now_ns() > self._until_ns
        return "SERVING" if self.serving and not late else "NOT_SERVING"


async def grpc_health_checking(proc: Proc, args: list[str]) -> int:
    """`grpc-health-checking [--port n] [--http-port n] [--delay-unhealthy-sec n]`."""
    flags = await parse(
        proc, args,
        {"port": "5000", "http-port": "8080", "delay-unhealthy-sec": "-1", "service": ""},
    )
    delay = flags.number("delay-unhealthy-sec")
    health = _Health(proc.system, max(delay, 0) * 1_000_000_000)
    if delay == 0:
        health.serving = False

    async def answer(request: http1.Request) -> http1.Response:
        if request.path in ("/make-not-serving", "/make-serving"):
            health.serving = request.path == "/make-serving"
            return http1.Response(200)
        return http1.Response(404, b"404 page not found\n")

    proc.system.listen(flags.number("port"), health)
    proc.system.serve(flags.number("http-port"), lambda stream: http1.serve(stream, answer))
    await log(proc, f"gRPC server starting to listen on :{flags['port']}")
    return await forever(proc)


def _json(value: object) -> http1.Response:
    return http1.Response(200, json.dumps(value, separators=(",", ":"), sort_keys=True).encode())


class _Guestbook:
    """A node that keeps what is written, and the page that asks such nodes."""

    def __init__(self, proc: Proc, backend_port: int) -> None:
        self.store: dict[str, str] = {}
        self._proc = proc
        self._port = backend_port
        self._replicas: list[str] = []

    async def ask(self, host: str, target: str) -> str:
        """What another node answers.  Raises `ConnectError`, `Unresolved`, `MessageFault`."""
        url = url_of(f"http://{host}:{self._port}/{target}")
        return (await get(self._proc, url, timeout_ns=ASK_NS)).body.decode()

    async def answer(self, request: http1.Request) -> http1.Response:
        query = request.query
        key, value = query.get("key", ""), query.get("value", "")
        match request.path:
            case "/register":
                self._replicas.append(query.get("host", ""))
                return _json({"data": self.store})
            case "/get":
                return _json({"data": self.store.get(key, "") if key else self.store})
            case "/set":
                return await self._set(key, value)
            case "/guestbook":
                return await self._page(query.get("cmd", "").lower(), key, value)
            case _:
                return http1.Response(404, b"404 page not found\n")

    async def _set(self, key: str, value: str) -> http1.Response:
        if not key:
            return http1.Response(400, b"cannot set with empty key.\n")
        self.store[key] = value
        for replica in self._replicas:
            try:
                await self.ask(replica, f"set?key={key}&value={value}")
            except _PROBLEMS as problem:
                said = f"encountered error while propagating to replica '{replica}': {problem}\n"
                return http1.Response(417, said.encode())
        return _json({"message": "Updated"})

    async def _page(self, command: str, key: str, value: str) -> http1.Response:
        if command not in ("get", "set"):
            return http1.Response(400, f"unsupported cmd: '{command}'\n".encode())
        if command == "set" and not key:
            return http1.Response(400, b"cannot set with empty key.\n")
        host = "agnhost-replica" if command == "get" else "agnhost-primary"
        try:
            said = await self.ask(host, f"{command}?key={key}&value={value}")
        except _PROBLEMS as problem:
            return http1.Response(417, f"encountered error: {problem}\n".encode())
        return http1.Response(200, said.encode())

    async def register(self, primary: str) -> None:
        """Get what the primary has, and hear of what it will be told."""
        while True:
            target = f"register?host={self._proc.system.address}"
            await log(self._proc, f"Registering to primary: {primary}:{self._port}/{target}")
            try:
                self.store = json.loads(await self.ask(primary, target))["data"]
            except _PROBLEMS as problem:
                await log(
                    self._proc,
                    f"encountered error while registering to primary: {problem}. Retrying in 1s.",
                )
                await self._proc.system.sleep(1_000_000_000)
            else:
                await log(self._proc, f"Registered to node: {primary}")
                return


async def guestbook(proc: Proc, args: list[str]) -> int:
    """`guestbook [--http-port n] [--backend-port n] [--replicaof host]`."""
    flags = await parse(proc, args, {"http-port": "80", "backend-port": "6379", "replicaof": ""})
    node = _Guestbook(proc, flags.number("backend-port"))
    if flags["replicaof"]:
        proc.system.thread(node.register(flags["replicaof"]), "registers")
    proc.system.serve(
        flags.number("http-port"), lambda stream: http1.serve(stream, node.answer)
    )
    return await forever(proc)


COMMANDS = {
    "liveness": liveness, "test-webserver": test_webserver, "porter": porter,
    "grpc-health-checking": grpc_health_checking, "guestbook": guestbook,
}
