"""wget, nc, nslookup, dig, ping: programs that use the pods' network."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import x509
from pytest_kubesim.cri import http1
from pytest_kubesim.cri.applets import names
from pytest_kubesim.cri.applets.options import Options, parse
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.handles import Socket
from pytest_kubesim.sim.pipes import Broken, ConnectError, Refused, Reset, Stream, TimedOut
from pytest_kubesim.sim.tasks import Event, Queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_kubesim.cri.linux.process import Proc

_URL = re.compile(r"(?:(https?)://)?(?:([^@/]*)@)?(\[[^\]]*\]|[^:/?]*)(?::(\d+))?([/?].*)?")


class NoAnswer(TimedOut):
    """Connected, but no answer came in time."""


class Unresolved(Exception):
    """A name without an address; `str(fault)` is the name."""


@attrs.frozen(slots=True)
class Url:
    """A URL taken apart."""

    scheme: str
    host: str
    port: int
    target: str
    user: str = ""

    @property
    def authority(self) -> str:
        """Host, with the port where it is not the scheme's own."""
        standard = 443 if self.scheme == "https" else 80
        return self.host if self.port == standard else f"{self.host}:{self.port}"


def url_of(text: str) -> Url:
    """Take a URL apart.  Raises `ValueError`."""
    match = _URL.fullmatch(text.partition("#")[0])
    if match is None:
        raise ValueError(text)
    scheme = match.group(1) or "http"
    port = int(match.group(4) or (443 if scheme == "https" else 80))
    target = match.group(5) or "/"
    target = target if target.startswith("/") else f"/{target}"
    return Url(scheme, match.group(3), port, target, match.group(2) or "")


async def dial(
    proc: Proc, host: str, port: int, timeout_ns: int | None = None, certificate: bytes = b""
) -> Stream:
    """Connect to a host by name or address.  Raises `Unresolved`, `ConnectError`."""
    found = await names.resolve(proc, host.strip("[]"))
    if not found:
        raise Unresolved(host)
    network = proc.system.network
    if network is None:
        raise Refused
    return await network.connect(
        proc.system.address, found[0], port, timeout_ns=timeout_ns, certificate=certificate
    )


async def get(
    proc: Proc,
    url: Url,
    *,
    timeout_ns: int | None = None,
    method: str = "GET",
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    bundle: bytes | None = None,
    certificate: bytes = b"",
    connect_ns: int | None = None,
    address: str = "",
) -> http1.Response:
    """Fetch a URL.

    Parameters: `timeout_ns` for all of it, `connect_ns` for the connection alone; `address` of the
    host, where it is known; `bundle`, PEM of those who may have signed the certificate of an HTTPS
    server (None: it is not looked at); `certificate` that is shown to it.

    Raises: `Unresolved`, `ConnectError`, `http1.MessageFault`, `x509.CertificateError`.
    """
    begun_ns = proc.system.now_ns()
    patience = [limit for limit in (timeout_ns, connect_ns) if limit is not None]
    stream = await dial(
        proc, address or url.host, url.port, min(patience) if patience else None, certificate
    )
    if bundle is not None and url.scheme == "https" and stream.shown:
        try:
            x509.check(stream.shown, bundle, url.host.strip("[]"), proc.system.now_ns())
        except x509.CertificateError:
            stream.close()
            raise
    sent = {"Host": url.authority, **(headers or {})}
    if url.user:
        sent["Authorization"] = "Basic " + base64.b64encode(url.user.encode()).decode()
    alarm, late = None, Event(proc.system.kernel)
    if timeout_ns is not None:

        def give_up() -> None:
            late.set()
            stream.incoming.reset()

        left_ns = max(begun_ns + timeout_ns - proc.system.now_ns(), 0)
        alarm = proc.system.kernel.call_later(left_ns, give_up, label=f"patience of {proc.name}")
    try:
        return await http1.fetch(stream, http1.Request(method, url.target, sent, body))
    except (Broken, Reset):
        if late.is_set():
            raise NoAnswer from None
        raise http1.MessageFault("Connection reset by peer") from None
    finally:
        if alarm is not None:
            alarm.cancel()
        stream.close()


async def wget(proc: Proc, args: list[str]) -> int:
    """`wget [-q] [-O file] [-T seconds] [--spider] [--post-data=x] [--header=h] url`."""
    given = await parse(
        proc, args, "qO:T:t:SsP:U:cY:",
        {"spider": "s", "timeout": "T", "post-data": "p", "header": "h", "quiet": "q",
         "no-check-certificate": "N", "output-document": "O", "tries": "t"},
    )
    if not given.rest:
        return await proc.complain("missing URL")
    try:
        url = url_of(given.rest[0])
    except ValueError:
        return await proc.complain(f"bad address '{given.rest[0]}'")
    headers = dict(h.split(": ", 1) for h in given.all("h") if ": " in h)
    headers.setdefault("User-Agent", "Wget")
    body = given.get("p").encode()
    response: http1.Response | None = None
    for _ in range(10):
        if "q" not in given:
            await proc.err(f"Connecting to {url.host}:{url.port}\n")
        response = await _wget_once(proc, url, given, headers, body)
        if response is None:
            return 1
        location = response.headers.get("location")
        if response.status not in (301, 302, 303, 307, 308) or not location:
            break
        base = f"{url.scheme}://{url.host}:{url.port}"
        url = url_of(location if "://" in location else base + location)
    assert response is not None
    if response.status >= 400:
        reason = http1.REASONS.get(response.status, "")
        return await proc.complain(f"server returned error: HTTP/1.1 {response.status} {reason}")
    if "s" in given:
        return 0
    target = given.get("O") or url.target.partition("?")[0].rsplit("/", 1)[-1] or "index.html"
    if target == "-":
        await proc.out(response.body)
    else:
        try:
            proc.save(target, response.body)
        except Fault as fault:
            return await proc.complain(f"can't open '{target}': {fault}")
        if "q" not in given:
            await proc.err(f"saving to '{target}'\n'{target}' saved\n")
    return 0


async def _wget_once(
    proc: Proc, url: Url, given: Options, headers: dict[str, str], body: bytes
) -> http1.Response | None:
    seconds = given.get("T")
    try:
        return await get(
            proc, url, timeout_ns=int(float(seconds) * 1e9) if seconds else None,
            method="POST" if body else "GET", body=body, headers=headers,
        )
    except Unresolved as fault:
        await proc.complain(f"bad address '{fault}'")
    except TimedOut:
        timed = "download timed out" if seconds else f"can't connect to remote host ({url.host})"
        await proc.complain(timed if seconds else f"{timed}: Connection timed out")
    except ConnectError as fault:
        await proc.complain(f"can't connect to remote host ({url.host}): {fault}")
    except http1.MessageFault:
        await proc.complain("error getting response: Connection reset by peer")
    return None


# -- nc --------------------------------------------------------------------------------------


async def nc(proc: Proc, args: list[str]) -> int:
    """`nc [-vzwu] host port`, `nc -l -p port [-e program]`."""
    args = [word for word in args if word not in ("-4", "-6")]
    given = await parse(proc, args, "vzw:ulp:ke:ntNq:i:s:d", stop=False)
    if "l" in given:
        port = given.get("p") or (given.rest[-1] if given.rest else "")
        return await _listen(proc, given, int(port or 0))
    if len(given.rest) < 2:
        return await proc.complain("usage: nc [OPTIONS] HOST PORT")
    host, port = given.rest[0], int(given.rest[1])
    patience = given.get("w")
    timeout_ns = int(float(patience) * 1e9) if patience else None
    if "u" in given:
        return await _datagram(proc, host, port, timeout_ns or 5_000_000_000)
    try:
        stream = await dial(proc, host, port, timeout_ns)
    except Unresolved as fault:
        return await proc.complain(f"bad address '{fault}'")
    except ConnectError as fault:
        if "v" in given or "z" in given:
            await proc.err(f"nc: {host} ({host}:{port}): {fault}\n")
        else:
            await proc.err(f"nc: can't connect to remote host ({host}): {fault}\n")
        return 1
    if "v" in given:
        await proc.err(f"{host} ({host}:{port}) open\n")
    if "z" in given:
        stream.close()
        return 0
    await _relay(proc, stream)
    return 0


async def _datagram(proc: Proc, host: str, port: int, timeout_ns: int) -> int:
    network = proc.system.network
    found = await names.resolve(proc, host)
    if network is None or not found:
        return await proc.complain(f"bad address '{host}'")
    data = await proc.read()
    try:
        answer = await network.exchange(
            proc.system.address, found[0], port, data, timeout_ns=timeout_ns
        )
    except ConnectError:
        return 1
    await proc.out(answer)
    return 0


async def _relay(proc: Proc, stream: Stream) -> None:
    """Copy both ways until the other side has ended."""

    async def upward(child: Proc) -> int:
        while piece := await child.read():
            stream.write(piece)
            await stream.drain()
        stream.close_write()
        return 0

    child = proc.fork(upward)
    while True:
        try:
            piece = await stream.read()
        except Reset:
            break
        if not piece:
            break
        await proc.out(piece)
    child.signal("KILL")
    stream.close()


async def _listen(proc: Proc, given: Options, port: int) -> int:
    waiting: Queue[Stream] = Queue(proc.system.kernel)
    try:
        proc.system.listen(port, waiting.put)
    except Fault as fault:
        return await proc.complain(f"bind: {fault}")
    keeps = "k" in given
    while True:
        stream = await waiting.get()
        if not keeps:
            proc.system.unlisten(port)
        if "e" in given:
            main, argv = proc.program((given.get("e"), *given.rest))
            socket = Socket(stream)
            child = proc.fork(main, argv, fds={0: socket, 1: socket, 2: proc.handle(2)})
            await child.exited
        else:
            await _relay(proc, stream)
        if not keeps:
            return 0


# -- names -----------------------------------------------------------------------------------


async def nslookup(proc: Proc, args: list[str]) -> int:
    """`nslookup [-type=T] name [server]`."""
    kinds = [w.partition("=")[2].upper() for w in args if w.startswith(("-type=", "-querytype="))]
    rest = [word for word in args if not word.startswith("-")]
    if not rest:
        return await proc.complain("usage: nslookup [-type=QUERY_TYPE] HOST [DNS_SERVER]")
    system = proc.system
    conf = names.resolv_conf(system)
    server = rest[1] if len(rest) > 1 else (conf.servers[0] if conf.servers else "127.0.0.1")
    await proc.out(f"Server:\t\t{server}\nAddress:\t{server}:53\n\n")
    servers = rest[1:2] or conf.servers
    if re.fullmatch(r"[\d.]+|[\da-fA-F:]*:[\da-fA-F:]*", rest[0]):
        return await _look_up(proc, [names.reverse(rest[0])], "PTR", servers)
    tried = names.candidates(conf, rest[0])
    return min([await _look_up(proc, tried, kind, servers) for kind in kinds or "A"])


async def _look_up(proc: Proc, tried: list[str], kind: str, servers: Sequence[str]) -> int:
    """Show the records of the first name that has such; the exit code."""
    for full in tried:
        try:
            records = await names.ask(proc.system, full, kind, servers)
        except TimedOut:
            await proc.out(";; connection timed out; no servers could be reached\n\n")
            return 1
        if records is None:
            continue
        for name, type_, data in records:
            if type_ in ("A", "AAAA"):
                await proc.out(f"Name:\t{name.rstrip('.')}\nAddress: {data}\n")
            elif type_ == "SRV":
                await proc.out(f"{name.rstrip('.')}\tservice = {data}\n")
            else:
                how = "canonical name" if type_ == "CNAME" else "name"
                await proc.out(f"{name.rstrip('.')}\t{how} = {data.rstrip('.')}\n")
        await proc.out("\n")
        return 0
    await proc.out(f"** server can't find {tried[-1].rstrip('.')}: NXDOMAIN\n\n")
    return 1


async def dig(proc: Proc, args: list[str]) -> int:
    """`dig [+short] [+search] [+noall +answer] [@server] name [type]`."""
    flags = {word for word in args if word.startswith("+")}
    rest = [word for word in args if word[:1] not in ("+", "@", "-")]
    types = {"A", "AAAA", "SRV", "CNAME", "PTR", "TXT", "ANY", "NS", "SOA"}
    kind = next((w.upper() for w in rest if w.upper() in types), "A")
    host = next((word for word in rest if word.upper() not in types), ".")
    if "-x" in args:
        kind, host = "PTR", names.reverse(host)
    conf = names.resolv_conf(proc.system)
    tried = names.candidates(conf, host) if "+search" in flags else [f"{host.rstrip('.')}."]
    servers = [word[1:] for word in args if word.startswith("@")] or conf.servers
    records: list[tuple[str, str, str]] | None = None
    for full in tried:
        try:
            records = await names.ask(proc.system, full, kind, servers)
        except TimedOut:
            await proc.out(";; connection timed out; no servers could be reached\n")
            return 9
        if records is not None:
            break
    found = records or []
    if "+short" in flags:
        await proc.out("".join(f"{data}\n" for _, _, data in found))
        return 0
    lines = [f"{name}\t5\tIN\t{type_}\t{data}\n" for name, type_, data in found]
    if "+noall" not in flags:
        state = "NOERROR" if records is not None else "NXDOMAIN"
        await proc.out(
            f"\n; <<>> DiG 9.18.33 <<>> {' '.join(args)}\n;; global options: +cmd\n;; Got answer:\n"
            f";; ->>HEADER<<- opcode: QUERY, status: {state}, id: 1\n\n;; QUESTION SECTION:\n"
            f";{tried[-1]}\t\tIN\t{kind}\n\n"
        )
        if lines:
            await proc.out(";; ANSWER SECTION:\n")
    await proc.out("".join(lines))
    return 0


async def netstat(proc: Proc, args: list[str]) -> int:
    """`netstat [-lantu]`: the ports on which somebody in the pod listens."""
    given = await parse(proc, args, "lantuwxrWpe")
    listening = "l" in given or "a" in given
    shown = "servers and established" if "a" in given else (
        "only servers" if "l" in given else "w/o servers"
    )
    await proc.out(
        f"Active Internet connections ({shown})\n"
        "Proto Recv-Q Send-Q Local Address           Foreign Address         State       \n"
    )
    network: Any = proc.system.network
    interface = None if network is None else network.interface(proc.system.address)
    ports: list[tuple[str, int]] = sorted(interface.listeners) if interface is not None else []
    both = ("t" in given) == ("u" in given)
    for protocol, port in ports if listening else ():
        name = protocol.lower()
        if name not in ("tcp", "udp") or not (both or name[0] in given):
            continue
        state = "LISTEN" if name == "tcp" else ""
        await proc.out(f"{name:<5} {0:6d} {0:6d} {f':::{port}':<23} {':::*':<23} {state:<12}\n")
    return 0


async def ping(proc: Proc, args: list[str]) -> int:
    """`ping [-c count] [-W seconds] host`."""
    given = await parse(proc, args, "c:W:w:qi:s:46I:t:")
    host = given.rest[0] if given.rest else ""
    found = await names.resolve(proc, host)
    if not found:
        return await proc.complain(f"bad address '{host}'")
    address = found[0]
    network: Any = proc.system.network
    up = address in ("127.0.0.1", proc.system.address) or (
        network is not None and network.interface(address) is not None
    )
    await proc.out(f"PING {host} ({address}): 56 data bytes\n")
    count, received, sequence = int(given.get("c") or 1 << 30), 0, 0
    while sequence < count:
        if up:
            received += 1
            await proc.out(f"64 bytes from {address}: seq={sequence} ttl=62 time=0.100 ms\n")
        sequence += 1
        if sequence < count or not up:
            await proc.system.sleep(1_000_000_000)
    lost = round((count - received) / count * 100)
    await proc.out(
        f"\n--- {host} ping statistics ---\n{count} packets transmitted, {received} packets "
        f"received, {lost}% packet loss\n"
    )
    return 0 if received else 1


async def httpd(proc: Proc, args: list[str]) -> int:
    """`httpd [-f] [-p port] [-h directory]`; without `-f` it goes on in the background."""
    given = await parse(proc, args, "fp:h:vc:u:")
    base = given.get("h") or proc.cwd
    port = int(given.get("p", "80").rpartition(":")[2])

    async def answer(request: http1.Request) -> http1.Response:
        path = request.path if not request.path.endswith("/") else f"{request.path}index.html"
        try:
            return http1.Response(200, await proc.contents(base.rstrip("/") + path))
        except Fault:
            return http1.Response(404, b"<HTML><BODY><H1>404 Not Found</H1></BODY></HTML>\n")

    try:
        proc.system.serve(port, lambda stream: http1.serve(stream, answer))
    except Fault as fault:
        return await proc.complain(f"bind: {fault}")
    if "f" in given:
        return await _serve_on(proc)
    proc.fork(_serve_on)
    return 0


async def _serve_on(proc: Proc) -> int:
    await proc.system.kernel.future()
    return 0


APPLETS = {
    "wget": wget, "nc": nc, "nslookup": nslookup, "dig": dig, "ping": ping,
    "httpd": httpd, "netstat": netstat,
}
