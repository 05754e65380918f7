"""liveness, test-webserver, porter, grpc-health-checking, guestbook, resource-consumer's shell."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from pytest_kubesim.cri import http1
from pytest_kubesim.cri.applets.network import get, url_of
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import DIRECTORY
from pytest_kubesim.cri.software.agnhost.flags import forever, log, parse
from pytest_kubesim.sim.pipes import ConnectError, Stream

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc, System

HEALTHY_NS = 10_000_000_000


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
            return http1.Response(302, b"", {"Location": place})
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
                _page(proc.system, int(name[len(prefix) :]), value, flags.truth("json-response"))
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


def _page(system: System, port: int, value: str, as_json: bool) -> None:
    async def answer(request: http1.Request) -> http1.Response:
        if as_json:
            body = json.dumps({"Method": request.method, "Body": value}, separators=(",", ":"))
            return http1.Response(200, body.encode(), {"Content-Type": "application/json"})
        return http1.Response(200, value.encode())

    system.serve(port, lambda stream: http1.serve(stream, answer))


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


async def guestbook(proc: Proc, args: list[str]) -> int:
    """`guestbook [--http-port n] [--backend-port n] [--replicaof host]`."""
    flags = await parse(proc, args, {"http-port": "8080", "backend-port": "6379", "replicaof": ""})
    store: dict[str, str] = {}
    peers: list[str] = []
    port = flags.number("backend-port")

    async def ask(host: str, target: str) -> str:
        response = await get(proc, url_of(f"http://{host}:{port}{target}"))
        return response.body.decode()

    async def backend(request: http1.Request) -> http1.Response:
        query = request.query
        if request.path == "/register":
            peers.append(query.get("host", ""))
            return http1.Response(200, json.dumps({"data": json.dumps(store)}).encode())
        if request.path == "/set":
            store[query.get("key", "")] = query.get("value", "")
            for peer in peers:
                await ask(peer, request.target)
            return http1.Response(200, b'{"data": "Updated"}')
        data = {"data": store.get(query.get("key", ""), "")}
        return http1.Response(200, json.dumps(data).encode())

    async def frontend(request: http1.Request) -> http1.Response:
        query = request.query
        key = query.get("key", "")
        if request.path != "/guestbook":
            return http1.Response(200, b"<html><body>Guestbook</body></html>")
        try:
            if query.get("cmd") == "set":
                await ask("agnhost-primary", f"/set?key={key}&value={query.get('value', '')}")
                return http1.Response(200, b'{"message": "Updated"}')
            data = await ask("agnhost-replica", f"/get?key={key}")
            return http1.Response(200, data.encode())
        except (ConnectError, http1.MessageFault) as problem:
            return http1.Response(417, f"request failed: {problem}".encode())

    if flags["replicaof"]:
        while True:
            try:
                answer = json.loads(
                    await ask(flags["replicaof"], f"/register?host={proc.system.address}")
                )
                store.update(json.loads(answer.get("data") or "{}"))
                break
            except Exception as problem:  # noqa: BLE001 - whatever it was: try again
                await log(proc, f"unable to register with primary: {problem}. Retrying 1 second")
                await proc.system.sleep(1_000_000_000)
        await log(proc, f"responded to register: {len(store)}")
    proc.system.serve(port, lambda stream: http1.serve(stream, backend))
    if flags.number("http-port") != port:
        proc.system.serve(flags.number("http-port"), lambda stream: http1.serve(stream, frontend))
    return await forever(proc)


COMMANDS = {
    "liveness": liveness, "test-webserver": test_webserver, "porter": porter,
    "grpc-health-checking": grpc_health_checking, "guestbook": guestbook,
}
