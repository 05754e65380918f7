"""etcd: the store of an API server in a pod.

The law: what is stored lies in the data directory, and is there again when another process starts
with that directory (a volume's outlives the container).  Its clients are API servers of this
simulation: their connections carry calls (`cluster.extension_servers`); whoever else connects is
answered over HTTP, health and version, and speaks etcd's own protocol in vain.

Follows `server/etcdmain`, `server/etcdserver/api/etcdhttp` and `tests` of `go.etcd.io/etcd@v3.7`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_kubesim.apimachinery.timestamps import format_micro_time
from pytest_kubesim.cri import http1
from pytest_kubesim.cri.linux import files
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import FILE, Node
from pytest_kubesim.cri.software.agnhost.flags import Signals
from pytest_kubesim.cri.software.rootfs import Software

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc
    from pytest_kubesim.sim.pipes import Stream

VERSION = "3.7.0"
CLIENTS = "http://localhost:2379"
DATABASE = "member/snap/db"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Database(Node):
    """The file in which a store lies."""

    __slots__ = ("store",)

    def __init__(self, store: Any) -> None:
        super().__init__(FILE, 0o600)
        self.store = store


def _flags(argv: tuple[str, ...]) -> dict[str, str]:
    """Flags by their names; one without a value is `true`."""
    found: dict[str, str] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        if not equals:
            value = words.pop(0) if words and not words[0].startswith("-") else "true"
        found[name] = value
    return found


async def main(proc: Proc) -> int:
    """The server."""
    if proc.argv[1:2] == ("--version",):
        await proc.out(f"etcd Version: {VERSION}\nGit SHA: 0000000\n")
        return 0
    signals = Signals(proc, "TERM", "INT")
    flags = _flags(proc.argv[1:])
    make = getattr(proc.system.network, "extensions", None)
    extensions = None if make is None else make()
    folder = flags.get("data-dir") or f"{flags.get('name') or 'default'}.etcd"
    try:
        store = _store(proc, folder, extensions)
    except Fault as fault:
        await _log(proc, "fatal", "cannot create data directory", error=str(fault).lower())
        return 1
    listening: set[int] = set()
    for place in (flags.get("listen-client-urls") or CLIENTS).split(","):
        url = urlsplit(place)
        if (url.port or 2379) not in listening:
            listening.add(url.port or 2379)
            await _listen(proc, place, flags, extensions, store)
    for place in filter(None, (flags.get("listen-metrics-urls") or "").split(",")):
        await _listen(proc, place, {}, None, None)
    name = await signals.wait()
    await _log(proc, "info", "received signal; shutting down", signal=_WORDS[name])
    return 0


_WORDS = {"TERM": "terminated", "INT": "interrupt"}


def _store(proc: Proc, folder: str, extensions: Any) -> Any:
    """The store of a data directory, a new one where it is empty.  Raises `Fault`."""
    if extensions is None:
        return None
    path = "/" if folder.startswith("/") else "."
    for part in (*folder.split("/"), *DATABASE.split("/")[:-1]):
        path = f"{path}/{part}"
        if part and not proc.exists(path):
            place = proc.system.mounts.walk(path, proc.cwd, proc.who)
            proc.system.mounts.add(place, files.directory(0o700), proc.who)
    place = proc.system.mounts.walk(f"{folder}/{DATABASE}", proc.cwd, proc.who)
    if isinstance(place.node, Database):
        return place.node.store
    made = Database(extensions.new_store())
    proc.system.mounts.add(place, made, proc.who)
    return made.store


async def _listen(
    proc: Proc, place: str, flags: dict[str, str], extensions: Any, store: Any
) -> None:
    url = urlsplit(place)
    port, own = url.port or 2379, url.hostname in _LOOPBACK
    certificate = b""
    if url.scheme == "https" and flags.get("cert-file") and proc.exists(flags["cert-file"]):
        certificate = await proc.contents(flags["cert-file"])

    def accept(stream: Stream) -> None:
        if own and stream.remote[0] != proc.system.address:
            stream.reset()
            return
        if extensions is not None:
            extensions.lead(stream, store)
        proc.system.thread(http1.serve(stream, _answer), f"port {port}")

    proc.system.listen(port, accept, certificate=certificate)
    how = "insecurely; this is strongly discouraged!" if url.scheme == "http" else "securely"
    text = f"serving client traffic {how}"
    await _log(proc, "info", text, traffic="grpc+http", address=url.netloc)


async def _answer(request: http1.Request) -> http1.Response:
    path = request.path
    if path == "/health":
        return _json({"health": "true", "reason": ""})
    if path == "/version":
        return _json({"etcdserver": VERSION, "etcdcluster": VERSION, "storage": "3.7.0"})
    if path in ("/livez", "/readyz"):
        return http1.Response(200, b"ok\n", {"Content-Type": "text/plain; charset=utf-8"})
    return http1.Response(404, b"404 page not found\n")


def _json(value: dict[str, str]) -> http1.Response:
    body = json.dumps(value, separators=(",", ":")).encode()
    return http1.Response(200, body, {"Content-Type": "application/json"})


async def _log(proc: Proc, level: str, text: str, **more: str) -> None:
    line = {"level": level, "ts": format_micro_time(proc.system.now_ns()), "msg": text, **more}
    await proc.err(json.dumps(line, separators=(",", ":")) + "\n")


ETCD = Software(
    name="etcd",
    command=("/usr/local/bin/etcd",),
    programs={"etcd": main},
    paths={"usr/local/bin/etcd": "etcd"},
)
