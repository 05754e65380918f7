"""A request that nginx answers: rewritten, from a file, from elsewhere, with headers of its own.

Follows the modules `core`, `rewrite`, `headers`, `proxy`, `autoindex` and `stub_status` of nginx'
documentation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_kubesim.cri import http1
from pytest_kubesim.cri.applets import names
from pytest_kubesim.cri.applets.dates import strftime
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import DIRECTORY, FILE
from pytest_kubesim.cri.software.nginx_config import Directive, filled, location_for
from pytest_kubesim.sim.pipes import Broken, ConnectError, Reset, Stream, TimedOut

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc
    from pytest_kubesim.cri.software.nginx import Running

VERSION = "1.27.4"
_TYPES = {
    "html": "text/html", "htm": "text/html", "css": "text/css", "js": "application/javascript",
    "json": "application/json", "txt": "text/plain", "xml": "text/xml", "svg": "image/svg+xml",
    "png": "image/png", "jpg": "image/jpeg", "gif": "image/gif", "ico": "image/x-icon",
    "pdf": "application/pdf", "woff2": "font/woff2", "wasm": "application/wasm",
}
_REDIRECTS = (301, 302, 303, 307, 308)


def stamp(proc: Proc) -> str:
    """The time, as nginx' logs begin."""
    return strftime("%Y/%m/%d %H:%M:%S", proc.system.now_ns())


def target_of(url: str) -> tuple[str, str, int, str | None]:
    """Scheme, host, port and path (None: none is given) of a `proxy_pass`."""
    match = re.fullmatch(r"(https?)://([^/:]+)(?::(\d+))?(/.*)?", url)
    if match is None:
        return "http", url, 80, None
    scheme, host, port, path = match.groups()
    return scheme, host, int(port or (443 if scheme == "https" else 80)), path


class Exchange:
    """One request on its way through a server's configuration.

    Parameters: `running`, the configuration; `server`, the block that answers; `request`.
    """

    def __init__(self, running: Running, server: Directive, request: http1.Request) -> None:
        self.running = running
        self.server = server
        self.request = request
        self.path, _, self.args = request.target.partition("?")
        self.path = http1.Request("GET", self.path).path
        self.location = location_for(server, self.path)
        self._set: dict[str, str] = {}

    async def answer(self) -> http1.Response:
        """What is answered."""
        response = await self._respond(self.server)
        for page in self._nearest("error_page"):
            *codes, uri = page.args
            instead = codes.pop()[1:] if codes[-1].startswith("=") else None
            if str(response.status) not in codes or self.path == uri:
                continue
            status = response.status
            if uri.startswith("http"):
                return self._finished(self._redirect(302, uri))
            self.path = filled(uri, self.value)
            self.location = location_for(self.server, self.path)
            inner = await self._respond(None)
            if instead is not None:
                status = int(instead or inner.status)
            if instead is not None or inner.status == 200:
                response = http1.Response(status, inner.body, inner.headers)
            break
        return self._finished(response)

    async def _respond(self, server: Directive | None) -> http1.Response:
        for block in (server, self.location):
            if block is not None and (found := self._rewritten(block)) is not None:
                return found
        return await self._content()

    def _blocks(self) -> list[Directive]:
        return [b for b in (self.location, self.server, self.running.http) if b is not None]

    def _nearest(self, name: str) -> list[Directive]:
        """All directives of a name in the nearest block that has one."""
        for block in self._blocks():
            if found := block.all(name):
                return found
        return []

    def setting(self, name: str) -> Directive | None:
        """A directive where it is said, the nearest block first."""
        return next((d for block in self._blocks() if (d := block.first(name)) is not None), None)

    def _rewritten(self, block: Directive) -> http1.Response | None:
        for each in block.block or ():
            if each.name == "set":
                self._set[each.args[0].lstrip("$")] = filled(each.args[1], self.value)
            elif each.name == "return":
                return self._returned(each.args)
            elif each.name == "rewrite":
                pattern, by = re.compile(each.args[0]), each.args[1]
                match = pattern.search(self.path)
                if match is None:
                    continue
                groups = match.groups()
                text = re.sub(r"\$(\d)", lambda m, g=groups: g[int(m.group(1)) - 1] or "", by)
                flag = each.args[2] if len(each.args) > 2 else ""
                if flag in ("redirect", "permanent") or text.startswith("http"):
                    return self._redirect(301 if flag == "permanent" else 302, text)
                self.path = filled(text, self.value)
                self.location = location_for(self.server, self.path)
        return None

    def _returned(self, args: tuple[str, ...]) -> http1.Response:
        if not args[0].isdigit():
            return self._redirect(302, args[0])
        status = int(args[0])
        if len(args) == 1:
            return self._page(status)
        text = filled(args[1], self.value)
        if status in _REDIRECTS:
            return self._redirect(status, text)
        kind = self.setting("default_type")
        headers = {"Content-Type": kind.args[0] if kind is not None else "text/plain"}
        return http1.Response(status, text.encode(), headers)

    def _redirect(self, status: int, target: str) -> http1.Response:
        where = filled(target, self.value)
        if where.startswith("/"):
            where = f"http://{self.request.headers.get('host', '')}{where}"
        page = self._page(status)
        return http1.Response(status, page.body, {**page.headers, "Location": where})

    async def _content(self) -> http1.Response:
        location = self.location
        if location is not None:
            if (proxy := location.first("proxy_pass")) is not None:
                return await self._proxied(location, proxy)
            if location.first("stub_status") is not None:
                return self._status_page()
            if location.first("deny") is not None and location.first("allow") is None:
                return self._page(403)
            if (tried := location.first("try_files")) is not None:
                return await self._tried(tried.args)
        elif (tried := self.server.first("try_files")) is not None:
            return await self._tried(tried.args)
        return await self._file(self.path)

    def _status_page(self) -> http1.Response:
        count, active = self.running.requests, self.running.active
        text = (
            f"Active connections: {active} \nserver accepts handled requests\n {count} {count} "
            f"{count} \nReading: 0 Writing: 1 Waiting: 0 \n"
        )
        return http1.Response(200, text.encode(), {"Content-Type": "text/plain"})

    # -- files --------------------------------------------------------------------------------

    def _disk_path(self, path: str) -> str:
        location = self.location
        alias = None if location is None else location.first("alias")
        if location is not None and alias is not None:
            return alias.args[0] + path.removeprefix(location.args[-1])
        root = self.setting("root")
        folder = root.args[0] if root is not None else "/etc/nginx/html"
        folder = folder if folder.startswith("/") else f"/etc/nginx/{folder}"
        return filled(folder, self.value).rstrip("/") + path

    def _kind_of(self, path: str) -> str:
        try:
            return self.running.proc.node(self._disk_path(path)).kind
        except Fault:
            return ""

    async def _tried(self, choices: tuple[str, ...]) -> http1.Response:
        paths = [filled(choice, self.value) for choice in choices]
        last = paths.pop()
        for path in paths:
            wanted = DIRECTORY if path.endswith("/") else FILE
            if self._kind_of(path) == wanted:
                found = await self._file(path)
                if found.status != 404:
                    return found
        if last.startswith("="):
            return self._page(int(last[1:]))
        self.path = last
        self.location = location_for(self.server, last)
        if self.location is not None and self.location.first("proxy_pass") is not None:
            return await self._content()
        return await self._file(last)

    async def _file(self, path: str) -> http1.Response:
        if self.request.method not in ("GET", "HEAD"):
            return self._page(405)
        kind = self._kind_of(path)
        if kind == DIRECTORY and not path.endswith("/"):
            return self._redirect(301, f"{path}/")
        if kind == DIRECTORY:
            index = self.setting("index")
            for name in index.args if index is not None else ("index.html",):
                if self._kind_of(path + name):
                    return await self._file(path + name)
            listing = self.setting("autoindex")
            if listing is not None and listing.args == ("on",):
                return self._listing(path)
            return self._page(403)
        try:
            data = await self.running.proc.contents(self._disk_path(path))
        except Fault as fault:
            return self._page(403 if fault.name == "EACCES" else 404)
        default = self.setting("default_type")
        plain = default.args[0] if default is not None else "text/plain"
        suffix = path.rpartition(".")[2]
        return http1.Response(200, data, {"Content-Type": _TYPES.get(suffix, plain)})

    def _listing(self, path: str) -> http1.Response:
        entries = sorted(self.running.proc.node(self._disk_path(path)).entries)
        rows = "".join(f'<a href="{name}">{name}</a>\r\n' for name in entries)
        title = f"Index of {path}"
        text = (
            f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<h1>{title}</h1><hr><pre>"
            f'<a href="../">../</a>\r\n{rows}</pre><hr></body>\r\n</html>\r\n'
        )
        return http1.Response(200, text.encode(), {"Content-Type": "text/html"})

    # -- elsewhere ----------------------------------------------------------------------------

    async def _proxied(self, location: Directive, proxy: Directive) -> http1.Response:
        scheme, host, port, path = target_of(filled(proxy.args[0], self.value))
        running, request = self.running, self.request
        if scheme == "https":
            told = f'[warn] TLS to "{host}" is not simulated'
            await running.proc.err(f"{stamp(running.proc)} {told}\n")
        target = request.target
        if path is not None:
            rest = self.path.removeprefix(location.args[-1])
            target = path + rest + (f"?{self.args}" if self.args else "")
        addresses: list[tuple[str, int]]
        if host in running.upstreams:
            addresses = running.next_of(host)
        else:
            known = await names.resolve(running.proc, host)
            addresses = [(found, port) for found in known[:1]]
        headers = dict(request.headers)
        headers["host"] = host if port == 80 or host in running.upstreams else f"{host}:{port}"
        headers["connection"] = "close"
        for each in self._nearest("proxy_set_header"):
            name, *texts = each.args
            value = filled("".join(texts), self.value)
            headers.pop(name.lower(), None)
            if value:
                headers[name.lower()] = value
        status = 502
        for address in addresses:
            try:
                return await self._fetched(
                    address, http1.Request(request.method, target, headers, request.body)
                )
            except TimedOut:
                status = 504
            except (ConnectError, Broken, Reset, http1.MessageFault) as problem:
                await running.proc.err(
                    f"{stamp(running.proc)} [error] connect() failed ({problem}) while connecting "
                    f'to upstream, client: {request.remote[0]}, request: "{request.method} '
                    f'{request.target} HTTP/1.1", upstream: "http://{address[0]}:{address[1]}'
                    f'{target}"\n'
                )
        return self._page(status)

    async def _fetched(self, address: tuple[str, int], request: http1.Request) -> http1.Response:
        system = self.running.proc.system
        assert system.network is not None
        patience = self.setting("proxy_connect_timeout")
        seconds = int(re.sub(r"\D", "", patience.args[0]) or 60) if patience is not None else 60
        stream: Stream = await system.network.connect(
            system.address, address[0], address[1], timeout_ns=seconds * 1_000_000_000
        )
        try:
            response = await http1.fetch(stream, request)
        finally:
            stream.close()
        kept = {
            name: value
            for name, value in response.headers.items()
            if name.lower() not in ("connection", "content-length", "transfer-encoding", "server")
        }
        return http1.Response(response.status, response.body, kept)

    # -- the answer ---------------------------------------------------------------------------

    def _page(self, status: int) -> http1.Response:
        title = f"{status} {http1.REASONS.get(status, '')}".strip()
        text = (
            f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1>"
            f"</center>\r\n<hr><center>nginx/{VERSION}</center>\r\n</body>\r\n</html>\r\n"
        )
        body = b"" if status in (204, 304) else text.encode()
        return http1.Response(status, body, {"Content-Type": "text/html"} if body else {})

    def _finished(self, response: http1.Response) -> http1.Response:
        headers: dict[str, str] = {"Server": f"nginx/{VERSION}", **response.headers}
        for each in self._nearest("add_header"):
            if response.status < 400 or "always" in each.args:
                headers[each.args[0]] = filled(each.args[1], self.value)
        return http1.Response(response.status, response.body, headers)

    def value(self, name: str) -> str:
        """A variable's value; empty where there is none."""
        if name in self._set:
            return self._set[name]
        request, headers = self.request, self.request.headers
        host = headers.get("host", "").partition(":")[0]
        simple: Mapping[str, str] = {
            "host": host, "http_host": headers.get("host", ""), "uri": self.path,
            "document_uri": self.path, "request_uri": request.target, "args": self.args,
            "query_string": self.args, "is_args": "?" if self.args else "", "scheme": "http",
            "request_method": request.method, "remote_addr": request.remote[0],
            "remote_port": str(request.remote[1]), "server_addr": request.local[0],
            "server_port": str(request.local[1]), "hostname": self.running.proc.system.hostname,
            "server_protocol": "HTTP/1.1", "nginx_version": VERSION, "request_filename":
            self._disk_path(self.path) if name == "request_filename" else "",
            "time_iso8601": strftime("%Y-%m-%dT%H:%M:%S+00:00", self.running.proc.system.now_ns()),
            "pid": str(self.running.proc.pid),
        }
        if name in simple:
            return simple[name]
        if name == "server_name":
            named = self.server.first("server_name")
            return named.args[0] if named is not None and named.args else ""
        if name == "proxy_add_x_forwarded_for":
            before = headers.get("x-forwarded-for")
            return f"{before}, {request.remote[0]}" if before else request.remote[0]
        if name.startswith("http_"):
            return headers.get(name[5:].replace("_", "-"), "")
        if name.startswith("arg_"):
            return request.query.get(name[4:], "")
        return ""

    def log_line(self, response: http1.Response) -> str:
        """What the access log of the image says of a request."""
        headers, request = self.request.headers, self.request
        time = strftime("%d/%b/%Y:%H:%M:%S +0000", self.running.proc.system.now_ns())
        size = 0 if request.method == "HEAD" else len(response.body)
        return (
            f'{request.remote[0]} - - [{time}] "{request.method} {request.target} HTTP/1.1" '
            f'{response.status} {size} "{headers.get("referer") or "-"}" '
            f'"{headers.get("user-agent") or "-"}" "{headers.get("x-forwarded-for") or "-"}"\n'
        )
