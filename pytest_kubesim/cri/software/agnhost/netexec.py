"""netexec: a server that says who it is, dials others, runs commands; nettest."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.timestamps import parse_duration
from pytest_kubesim.cri import http1
from pytest_kubesim.cri.applets import names
from pytest_kubesim.cri.applets.dates import strftime
from pytest_kubesim.cri.applets.network import Unresolved, get, url_of
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.handles import Output
from pytest_kubesim.cri.software.agnhost.flags import Flags, Signals, log, parse
from pytest_kubesim.sim.pipes import ConnectError, Refused, TimedOut
from pytest_kubesim.sim.tasks import Event

if TYPE_CHECKING:
    from pytest_kubesim.cri.http1 import Request
    from pytest_kubesim.cri.linux.process import Proc

DIAL_NS = 5_000_000_000
_FLAGS = {
    "http-port": "8080", "udp-port": "8081", "sctp-port": "-1", "tls-cert-file": "",
    "tls-private-key-file": "", "http-override": "", "udp-listen-addresses": "",
    "delay-shutdown": "0",
}


class _Netexec:
    def __init__(self, proc: Proc, flags: Flags) -> None:
        self.proc = proc
        self.flags = flags
        self.system = proc.system
        self.code: int | None = None
        self.done = Event(proc.system.kernel)
        self.signals = Signals(proc, "TERM")
        self.ready = flags.number("udp-port") != -1
        self._routes: dict[str, Callable[[Request], Awaitable[http1.Response]]] = {
            "/clientip": self._client_ip, "/serverport": self._server_port,
            "/header": self._header, "/dial": self._dial, "/echo": self._echo,
            "/exit": self._exit, "/healthz": self._healthz, "/readyz": self._readyz,
            "/hostname": self._hostname, "/hostName": self._hostname, "/envvar": self._envvar,
            "/redirect": self._redirect, "/shell": self._shell, "/upload": self._upload,
            "/shutdown": self._shutdown,
        }

    async def answer(self, request: Request) -> http1.Response:
        if override := self.flags["http-override"]:
            request = http1.Request("GET", override, {}, b"", request.remote, request.local)
        route = self._routes.get(request.path)
        if route is None:
            await log(self.proc, "GET /")
            now = strftime("%Y-%m-%d %H:%M:%S.%N +0000 UTC", self.system.now_ns())
            return http1.Response(200, f"NOW: {now}".encode())
        return await route(request)

    def finish(self, code: int) -> None:
        if self.code is None:
            self.code = code
            self.done.set()

    async def _client_ip(self, request: Request) -> http1.Response:
        await log(self.proc, "GET /clientip")
        host, port = request.remote
        shown = f"[{host}]" if ":" in host else host
        return http1.Response(200, f"{shown}:{port}".encode())

    async def _server_port(self, request: Request) -> http1.Response:
        del request
        return http1.Response(200, self.flags["http-port"].encode())

    async def _header(self, request: Request) -> http1.Response:
        key = request.query.get("key", "")
        if key:
            return http1.Response(200, request.headers.get(key.lower(), "").encode())
        shown = {n.title(): [value] for n, value in sorted(request.headers.items())}
        return http1.Response(200, json.dumps(shown, separators=(",", ":")).encode())

    async def _echo(self, request: Request) -> http1.Response:
        query = request.query
        message, code = query.get("msg", ""), query.get("code", "")
        await log(self.proc, f"GET /echo?msg={message}&code={code}")
        return http1.Response(int(code) if code else 200, message.encode())

    async def _exit(self, request: Request) -> http1.Response:
        query = request.query
        code, wait = query.get("code", ""), query.get("wait", "")
        patience = query.get("timeout", "")
        await log(self.proc, f"GET /exit?code={code}&timeout={patience}&wait={wait}")
        await self.system.sleep(parse_duration(wait) if wait else 0)
        self.finish(int(code or 0))
        return http1.Response(200)

    async def _shutdown(self, request: Request) -> http1.Response:
        del request
        self.finish(0)
        return http1.Response(200)

    async def _healthz(self, request: Request) -> http1.Response:
        del request
        await log(self.proc, "GET /healthz")
        return http1.Response(200 if self.ready else 412)

    async def _readyz(self, request: Request) -> http1.Response:
        del request
        await log(self.proc, "GET /readyz")
        if self.signals.come:
            return http1.Response(503, b"shutting down")
        return http1.Response(200, b"ok") if self.ready else http1.Response(412)

    async def _hostname(self, request: Request) -> http1.Response:
        await log(self.proc, f"GET {request.path}")
        return http1.Response(200, self.system.hostname.encode())

    async def _envvar(self, request: Request) -> http1.Response:
        name = request.query.get("var", "")
        if not name:
            return http1.Response(400, b"'var' query parameter is required\n")
        if name not in self.proc.env:
            return http1.Response(500, f'env var "{name}" is not set\n'.encode())
        return http1.Response(200, self.proc.env[name].encode())

    async def _redirect(self, request: Request) -> http1.Response:
        code = int(request.query.get("code") or 302)
        return http1.redirected(request, request.query.get("location", ""), code)

    async def _shell(self, request: Request) -> http1.Response:
        command = request.query.get("shellCommand") or request.query.get("cmd", "")
        await log(self.proc, f"GET /shell?cmd={command}")
        taken: list[bytes] = []
        main, argv = self.proc.program(("/bin/sh", "-c", command))
        output = Output(taken.append)
        child = self.proc.fork(main, argv, fds={0: self.proc.handle(0), 1: output, 2: output})
        code = await child.exited
        answer: dict[str, str] = {}
        if taken:
            answer["output"] = b"".join(taken).decode(errors="replace")
        if code:
            answer["error"] = f"exit status {code}"
        return _json(answer)

    async def _upload(self, request: Request) -> http1.Response:
        kind = request.headers.get("content-type", "")
        if "boundary=" not in kind:
            return _json({"error": "Unable to upload file."})
        mark = b"--" + kind.partition("boundary=")[2].strip('"').encode()
        part = request.body.split(mark)[1].partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        path = f"/uploads/upload{int.from_bytes(self.system.random(4), 'big')}"
        try:
            self.proc.save(path, part)
        except Fault:
            return _json({"error": "Unable to open file for write"})
        self.proc.node(path).mode = 0o700
        return _json({"output": path}, 201)

    async def _dial(self, request: Request) -> http1.Response:
        query = request.query
        host, port = query.get("host", ""), query.get("port", "")
        wanted, protocol = query.get("request", ""), query.get("protocol", "").lower() or "http"
        tries = int(query.get("tries") or 1)
        await log(
            self.proc,
            f"GET /dial?host={host}&protocol={protocol}&port={port}&request={wanted}&tries={tries}",
        )
        if not wanted:
            return http1.Response(400, b"request parameter not specified. <nil>\n")
        if protocol not in ("http", "udp", "sctp"):
            return http1.Response(400, f"unsupported protocol. {protocol}\n".encode())
        responses: list[str] = []
        errors: list[str] = []
        for _ in range(tries):
            try:
                if protocol == "http":
                    responses.append(await self._dial_http(host, port, wanted))
                else:
                    responses.append(await self._dial_udp(host, port, wanted))
            except (ConnectError, Unresolved, http1.MessageFault) as problem:
                errors.append(_dial_problem(problem, host, port, wanted, protocol))
        found: dict[str, list[str]] = {}
        if responses:
            found["responses"] = responses
        if errors:
            found["errors"] = errors
        return _json(found)

    async def _dial_http(self, host: str, port: str, wanted: str) -> str:
        shown = f"[{host}]" if ":" in host else host
        url = url_of(f"http://{shown}:{port}/{wanted}")
        return (await get(self.proc, url, timeout_ns=DIAL_NS)).body.decode(errors="replace")

    async def _dial_udp(self, host: str, port: str, wanted: str) -> str:
        found = await names.resolve(self.proc, host)
        network = self.system.network
        if not found or network is None:
            raise Unresolved(host)
        answer = await network.exchange(
            self.system.address, found[0], int(port), wanted.encode(), timeout_ns=DIAL_NS
        )
        return answer.decode(errors="replace")

    def datagram(self, data: bytes, peer: tuple[str, int]) -> bytes | None:
        """The UDP server."""
        raw = data.decode(errors="replace").strip()
        text = raw.lower()
        if text == "hostname":
            return self.system.hostname.encode()
        if text.startswith("envvar "):
            return self.proc.env.get(raw.split(" ", 1)[1].strip(), "").encode()
        if text.startswith("echo "):
            return text.split(" ", 1)[1].encode()
        if text == "clientip":
            return f"{peer[0]}:{peer[1]}".encode()
        return self.flags["udp-port"].encode() if text == "serverport" else None


def _dial_problem(problem: Exception, host: str, port: str, wanted: str, protocol: str) -> str:
    where = f"{host}:{port}"
    if protocol != "http":
        if isinstance(problem, Refused):
            return (
                f"reading from udp connection failed. err:'read udp ->{where}: read: "
                "connection refused'"
            )
        return f"reading from udp connection failed. err:'read udp ->{where}: i/o timeout'"
    if isinstance(problem, TimedOut):
        text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    else:
        text = f"dial tcp {where}: connect: {str(problem).lower()}"
    return f'Get "http://{where}/{wanted}": {text}'


def _json(value: object, status: int = 200) -> http1.Response:
    return http1.Response(status, json.dumps(value, separators=(",", ":")).encode())


async def netexec(proc: Proc, args: list[str]) -> int:
    """`netexec`."""
    flags = await parse(proc, args, _FLAGS)
    server = _Netexec(proc, flags)
    system = proc.system
    for name, protocol in (("udp-port", "UDP"), ("sctp-port", "SCTP")):
        if (port := flags.number(name)) != -1:
            system.listen(port, server.datagram, protocol)
            await log(proc, f"Started {protocol} server on port  {port}")
    port = flags.number("http-port")
    system.serve(port, lambda stream: http1.serve(stream, server.answer))
    await log(proc, f"Started HTTP server on port {port}")

    async def until_signal() -> None:
        await server.signals.wait()
        delay = flags.number("delay-shutdown")
        if delay:
            await log(proc, f"Sleeping {delay} seconds before terminating...")
            await system.sleep(delay * 1_000_000_000)
        server.finish(0)

    system.thread(until_signal(), "signals")
    await server.done.wait()
    return server.code or 0


COMMANDS = {"netexec": netexec}
