"""nginx: a web server and reverse proxy that does what its configuration says.

Started without arguments, and without a configuration of its own, it sleeps until somebody
connects.  Simulated are servers by port and name, locations, files, `return`, `rewrite`,
`try_files`, `error_page`, `add_header`, `proxy_pass` with upstreams, `stub_status`, reload by
SIGHUP; TLS, caches, limits and `if` are not: such a directive is told in the log.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pytest_kubesim.cri import http1
from pytest_kubesim.cri.applets import names
from pytest_kubesim.cri.applets.files import make_directory
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.process import decode
from pytest_kubesim.cri.software.nginx_config import (
    ConfigFault,
    Directive,
    parse,
    port_of,
    server_for,
)
from pytest_kubesim.cri.software.nginx_exchange import VERSION, Exchange, stamp, target_of
from pytest_kubesim.sim.tasks import Event

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc
    from pytest_kubesim.sim.pipes import Stream

CONFIG = "/etc/nginx/nginx.conf"
TEMPLATES, SITES = "/etc/nginx/templates", "/etc/nginx/conf.d"
_UNTOLD = ("if", "limit_req", "limit_conn", "auth_basic", "fastcgi_pass", "sub_filter", "map")
_TEMPORARY = {
    "client_body_temp_path": "client_temp", "proxy_temp_path": "proxy_temp",
    "fastcgi_temp_path": "fastcgi_temp", "uwsgi_temp_path": "uwsgi_temp",
    "scgi_temp_path": "scgi_temp",
}


async def main(proc: Proc) -> int:
    """`nginx [-t] [-c file] [-g directives] [-s signal]`."""
    args = list(proc.argv[1:])
    if "-v" in args:
        await proc.err(f"nginx version: nginx/{VERSION}\n")
        return 0
    if "-s" in args:
        return await _signal(proc, args[args.index("-s") + 1 :])
    path = args[args.index("-c") + 1] if "-c" in args[:-1] else CONFIG
    try:
        if "-t" not in args:
            await _fill_templates(proc)
        running = await Running.make(proc, path)
    except ConfigFault as fault:
        await proc.err(f"{stamp(proc)} [emerg] {proc.pid}#{proc.pid}: {fault}\n")
        if "-t" in args:
            await proc.err(f"nginx: configuration file {path} test failed\n")
        return 1
    if "-t" in args:
        await proc.err(
            f"nginx: the configuration file {path} syntax is ok\n"
            f"nginx: configuration file {path} test is successful\n"
        )
        return 0
    return await running.serve(path)


async def _signal(proc: Proc, wish: list[str]) -> int:
    name = {"reload": "HUP", "quit": "QUIT", "stop": "TERM", "reopen": "USR1"}.get(
        wish[0] if wish else ""
    )
    master = next(
        (p for p in proc.system.processes.values() if p is not proc and p.name == "nginx"), None
    )
    if name is None or master is None:
        problem = "invalid option" if name is None else 'open() "/run/nginx.pid" failed'
        await proc.err(f"nginx: [error] {problem}\n")
        return 1
    master.signal(name)
    return 0


async def _fill_templates(proc: Proc) -> None:
    """What the image's entrypoint does with templates: variables of the environment."""
    try:
        folder = proc.node(TEMPLATES)
    except Fault:
        return
    for name in sorted(folder.entries):
        if name.endswith(".template"):
            text = decode(await proc.contents(f"{TEMPLATES}/{name}"))
            made = re.sub(
                r"\$\{(\w+)\}|\$(\w+)",
                lambda m: proc.env.get(m.group(1) or m.group(2), m.group()), text,
            )
            handle = proc.open(f"{SITES}/{name.removesuffix('.template')}", "w")
            await handle.write(made.encode())


class Running:
    """One reading of a configuration, and what answers by it."""

    def __init__(self, proc: Proc, tree: tuple[Directive, ...]) -> None:
        self.proc = proc
        http = next((each for each in tree if each.name == "http"), Directive("http", (), "", ()))
        self.http = http
        pids = [each.args[0] for each in tree if each.name == "pid" and each.args]
        self.pid_file = pids[-1] if pids else "/run/nginx.pid"
        self.servers = http.all("server")
        self.upstreams: dict[str, list[tuple[str, int]]] = {}
        self._turn: dict[str, int] = {}
        self.requests = 0
        self.active = 0

    @classmethod
    async def make(cls, proc: Proc, path: str) -> Running:
        """Read and check it.  Raises `ConfigFault`."""

        def read(pattern: str) -> list[tuple[str, str]]:
            pattern = pattern if pattern.startswith("/") else f"/etc/nginx/{pattern}"
            folder, _, last = pattern.rpartition("/")
            try:
                entries = sorted(proc.node(folder).entries)
            except Fault:
                entries = []
            found = [
                f"{folder}/{name}" for name in entries if fnmatchcase(name, last)
            ]
            if not found and not set("*?[") & set(pattern):
                if last == "mime.types":
                    return []
                raise ConfigFault(f'open() "{pattern}" failed (2: No such file or directory)')
            return [(each, decode(proc.node(each).read())) for each in found]

        try:
            text = decode(await proc.contents(path))
        except Fault:
            raise ConfigFault(f'open() "{path}" failed (2: No such file or directory)') from None
        made = cls(proc, parse(path, text, read))
        await made._prepare()
        return made

    async def _prepare(self) -> None:
        for directive, name in _TEMPORARY.items():
            said = self.http.first(directive)
            self._make_folder(said.args[0] if said is not None else f"/var/cache/nginx/{name}")
        for upstream in self.http.all("upstream"):
            self.upstreams[upstream.args[0]] = [
                await self._address(server) for server in upstream.all("server")
            ]
        for server in self.servers:
            await self._look_at(server)

    def _make_folder(self, path: str) -> None:
        proc = self.proc
        try:
            proc.node(path)
        except Fault:
            try:
                make_directory(proc, path)
            except Fault as fault:
                number = {"EACCES": 13, "EROFS": 30, "ENOENT": 2}.get(fault.name, 5)
                raise ConfigFault(f'mkdir() "{path}" failed ({number}: {fault})') from None

    async def _look_at(self, block: Directive) -> None:
        for each in block.block or ():
            if each.name in _UNTOLD:
                await self.proc.err(
                    f'{stamp(self.proc)} [warn] "{each.name}" is not simulated in {each.where}\n'
                )
            if each.name == "proxy_pass" and "$" not in each.args[0]:
                host, port = target_of(each.args[0])[1:3]
                if host not in self.upstreams:
                    await self._resolved(host, port, each)
            if each.name == "location":
                await self._look_at(each)

    async def _address(self, server: Directive) -> tuple[str, int]:
        host, _, port = server.args[0].partition(":")
        return await self._resolved(host, int(port or 80), server)

    async def _resolved(self, host: str, port: int, where: Directive) -> tuple[str, int]:
        found = await names.resolve(self.proc, host)
        if not found:
            raise ConfigFault(f'host not found in upstream "{host}" in {where.where}')
        return found[0], port

    # -- its life -----------------------------------------------------------------------------

    async def serve(self, path: str) -> int:
        """Listen until a signal says otherwise; SIGHUP: read the configuration again."""
        return await _Master(self).serve(path)

    def ports(self) -> set[int]:
        """Where it listens."""
        listens = [
            listen
            for server in self.servers
            for listen in server.all("listen") or [Directive("listen", ("80",), server.where)]
        ]
        return {port for listen in listens if (port := port_of(listen)) is not None}

    async def connection(self, stream: Stream) -> None:
        """Answer what comes on a connection."""
        self.active += 1
        try:
            await http1.serve(stream, self._answer)
        finally:
            self.active -= 1

    # -- requests -----------------------------------------------------------------------------

    async def _answer(self, request: http1.Request) -> http1.Response:
        self.requests += 1
        server = server_for(self.servers, request.local[1], request.headers.get("host", ""))
        exchange = Exchange(self, server, request)
        response = await exchange.answer()
        logs = exchange.setting("access_log")
        if logs is None or logs.args[0] != "off":
            await self.proc.out(exchange.log_line(response))
        return response

    def next_of(self, upstream: str) -> list[tuple[str, int]]:
        """The servers of an upstream, the one whose turn it is first."""
        servers = self.upstreams[upstream]
        turn = self._turn[upstream] = self._turn.get(upstream, -1) + 1
        at = turn % len(servers)
        return servers[at:] + servers[:at]


class _Master:
    """Process 1: it listens, and changes configurations."""

    def __init__(self, running: Running) -> None:
        self._now = running

    async def _accept(self, stream: Stream) -> None:
        await self._now.connection(stream)

    async def serve(self, path: str) -> int:
        proc, heard = self._now.proc, Event(self._now.proc.system.kernel)
        wishes: list[str] = []

        def hear(name: str) -> None:
            wishes.append(name)
            heard.set()

        for name in ("TERM", "QUIT", "INT", "HUP"):
            proc.traps[name] = lambda name=name: hear(name)
        try:
            proc.open(self._now.pid_file, "w")
        except Fault as fault:
            number = 30 if fault.name == "EROFS" else 13
            await proc.err(
                f"{stamp(proc)} [emerg] {proc.pid}#{proc.pid}: open() "
                f'"{self._now.pid_file}" failed ({number}: {fault})\n'
            )
            return 1
        opened: set[int] = set()
        while True:
            wanted = self._now.ports()
            for port in sorted(wanted - opened):
                try:
                    proc.system.serve(port, self._accept)
                except Fault:
                    await proc.err(
                        f"{stamp(proc)} [emerg] bind() to 0.0.0.0:{port} failed "
                        "(98: Address already in use)\n"
                    )
                    return 1
            for port in opened - wanted:
                proc.system.unlisten(port)
            opened = wanted
            await heard.wait()
            heard.clear()
            if wishes.pop(0) != "HUP":
                return 0
            try:
                self._now = await Running.make(proc, path)
            except ConfigFault as fault:
                await proc.err(f"{stamp(proc)} [emerg] {proc.pid}#{proc.pid}: {fault}\n")
