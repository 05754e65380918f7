"""audit-proxy, fake-gitserver, tcp-reset, port-forward-tester, no-snat-test and its proxy.

The law: each does what upstream's does and no more; git itself is not spoken by the one either.
Follows `test/images/agnhost/{audit-proxy,fakegitserver,tcp-reset,port-forward-tester,no-snat-test,
no-snat-test-proxy}`.
"""

from __future__ import annotations

import ipaddress
import json
from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.cri import http1
from pytest_kubesim.cri.applets.network import Unresolved, get, url_of
from pytest_kubesim.cri.linux.process import Exit
from pytest_kubesim.cri.software.agnhost.flags import Signals, forever, go_quote, log, parse
from pytest_kubesim.sim.pipes import Broken, ConnectError, Refused, Reset

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc
    from pytest_kubesim.sim.pipes import Stream

AUDIT = "audit.k8s.io/v1"
_VERSIONS = frozenset({AUDIT, "audit.k8s.io/v1beta1", "audit.k8s.io/v1alpha1"})
_EVENT_FIELDS = (
    "level", "auditID", "stage", "requestURI", "verb", "user", "impersonatedUser",
    "authenticationMetadata", "sourceIPs", "userAgent", "objectRef", "responseStatus",
    "requestObject", "responseObject", "requestReceivedTimestamp", "stageTimestamp", "annotations",
)
_MS = 1_000_000
LINGER_NS = 500 * _MS
_NOT_FOUND = http1.Response(404, b"404 page not found\n")
_PROBLEMS = (ConnectError, Unresolved, http1.MessageFault)


async def audit_proxy(proc: Proc, args: list[str]) -> int:
    """`audit-proxy`: writes the audit events that come in to standard output, one a line."""
    await parse(proc, args, {})

    async def answer(request: http1.Request) -> http1.Response:
        events = _events(request.body)
        if events is None:
            shown = " ".join(format(byte, "b") for byte in request.body)
            await log(proc, f"failed decoding buf: [{shown}], apiVersion: {AUDIT}")
            return http1.Response(500)
        for event in events:
            told = {"kind": "Event", "apiVersion": AUDIT}
            told |= {key: event[key] for key in _EVENT_FIELDS if key in event}
            await proc.out(json.dumps(told, separators=(",", ":")) + "\n")
        return http1.Response(200)

    proc.system.serve(8080, lambda stream: http1.serve(stream, answer))
    return await forever(proc)


def _events(body: bytes) -> list[dict[str, Any]] | None:
    """The events of a list; None for what is none."""
    try:
        found: Any = json.loads(body)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    listed = cast("dict[str, Any]", found)
    if listed.get("kind") != "EventList" or listed.get("apiVersion") not in _VERSIONS:
        return None
    return listed.get("items") or []


async def fake_gitserver(proc: Proc, args: list[str]) -> int:
    """`fake-gitserver`: says that it is one."""
    await parse(proc, args, {})

    async def answer(request: http1.Request) -> http1.Response:
        del request
        return http1.Response(200, b"I am a fake git server")

    proc.system.serve(8000, lambda stream: http1.serve(stream, answer))
    return await forever(proc)


async def tcp_reset(proc: Proc, args: list[str]) -> int:
    """`tcp-reset [--port n]`: resets connections on which something has come."""
    flags = await parse(proc, args, {"port": "8080"})
    port = flags.number("port")

    async def answer(stream: Stream) -> None:
        try:
            await stream.read(1)
        except Reset:
            pass
        stream.reset()
        await log(proc, f"TCP request from {stream.remote[0]}:{stream.remote[1]}")

    proc.system.serve(port, answer)
    await log(proc, f"Serving on port {port}.")
    await log(proc, "")
    await Signals(proc, "TERM").wait()
    await log(proc, "Shutting down after receiving signal: terminated.")
    await log(proc, "Awaiting pod deletion.")
    return 0


# -- port-forward-tester ---------------------------------------------------------------------


async def port_forward_tester(proc: Proc, args: list[str]) -> int:
    """`port-forward-tester`: sends chunks of data to the first who connects, and ends."""
    await parse(proc, args, {})
    port = int(proc.env.get("BIND_PORT") or 0)
    bound = proc.env.get("BIND_ADDRESS") or "localhost"
    connected = proc.system.kernel.future()

    def accept(stream: Stream) -> None:
        near = stream.remote[0] in ("127.0.0.1", "::1", proc.system.address)
        if connected.done() or (bound == "localhost" and not near):
            stream.reset()
        else:
            connected.set_result(stream)

    proc.system.listen(port, accept)
    stream: Stream = await connected
    await proc.out("Accepted client connection\n")
    await _expect(proc, stream, proc.env.get("EXPECTED_CLIENT_DATA") or "")
    chunks, size, interval = [
        await _number(proc, name) for name in ("CHUNKS", "CHUNK_SIZE", "CHUNK_INTERVAL")
    ]
    for number in range(chunks):
        try:
            stream.write(b"x" * size)
            await stream.drain()
        except (Broken, Reset):
            said = f"Expected to write {size} bytes from client, but wrote 0 instead."
            await proc.out(f"{said} err=write: broken pipe\n")
            return 4
        if number + 1 < chunks:
            await proc.system.sleep(interval * _MS)
    await proc.out("Shutting down connection\n")
    stream.close_write()
    await proc.system.sleep(LINGER_NS)
    stream.close()
    await proc.out("Done\n")
    return 0


async def _number(proc: Proc, name: str) -> int:
    text = proc.env.get(name) or ""
    try:
        return int(text)
    except ValueError:
        problem = f"strconv.Atoi: parsing {go_quote(text)}: invalid syntax"
        await proc.out(f"Error parsing {name} {go_quote(text)}: {problem}\n")
        raise Exit(1) from None


async def _expect(proc: Proc, stream: Stream, wanted: str) -> None:
    """Read what the client has to send.  Raises `Exit` where it sends something else."""
    if not wanted:
        return
    try:
        said = await stream.read(len(wanted))
    except Reset:
        said = b""
    if len(said) != len(wanted.encode()):
        await proc.out(
            f"Expected to read {len(wanted)} bytes from client, but got {len(said)} instead. "
            f"err={'EOF' if not said else '<nil>'}\n"
        )
        raise Exit(2)
    if said != wanted.encode():
        shown = go_quote(said.decode(errors="replace"))
        await proc.out(f"Expect to read {go_quote(wanted)}, but got {shown}. err=<nil>\n")
        raise Exit(3)
    await proc.out("Received expected client data\n")


# -- no-snat-test ----------------------------------------------------------------------------


async def no_snat_test(proc: Proc, args: list[str]) -> int:
    """`no-snat-test [--port n]`: `/whoami`, and `/checknosnat?ips=host:port,...`."""
    flags = await parse(proc, args, {"port": "8080"})
    own: dict[str, str] = {}
    for name in ("POD_IP", "NODE_IP"):
        if name not in proc.env:
            await proc.err(f"{name} env var was not present in the environment\n")
            return 1
        own[name] = proc.env[name]
        try:
            ipaddress.ip_address(own[name])
        except ValueError:
            said = f"{name} env var contained {go_quote(own[name])}, which is not an IP address"
            await proc.err(f"{said}\n")
            return 1

    async def answer(request: http1.Request) -> http1.Response:
        if request.path == "/whoami":
            return http1.Response(200, f"{request.remote[0]}:{request.remote[1]}".encode())
        if request.path != "/checknosnat":
            return _NOT_FOUND
        said = [
            await _snat_problem(proc, place, own["POD_IP"], own["NODE_IP"])
            for place in request.query.get("ips", "").split(",")
        ]
        problems = [problem for problem in said if problem]
        return http1.Response(500 if problems else 200, ", ".join(problems).encode())

    proc.system.serve(flags.number("port"), lambda stream: http1.serve(stream, answer))
    return await forever(proc)


async def _snat_problem(proc: Proc, place: str, pod: str, node: str) -> str:
    """What is wrong with the address that somebody sees; empty if nothing is."""
    url = f"http://{place}/whoami"
    try:
        seen = (await get(proc, url_of(url))).body.decode().split(":")[0]
    except (ValueError, *_PROBLEMS) as error:
        return _failed(url, error)
    if seen == pod:
        return ""
    said = f"Returned ip {go_quote(seen)} != my Pod ip {go_quote(pod)}"
    if seen == node:
        return f"{said}, == my Node ip {go_quote(node)} - SNAT"
    return (
        f"{said} or my Node ip {go_quote(node)} - SNAT to unexpected ip (possible SNAT through "
        "unexpected interface on the way into another node)"
    )


def _failed(url: str, error: Exception) -> str:
    place = url.removeprefix("http://").partition("/")[0]
    if isinstance(error, Refused):
        return f'Get "{url}": dial tcp {place}: connect: connection refused'
    return f'Get "{url}": dial tcp {place}: {str(error).lower()}'


async def no_snat_test_proxy(proc: Proc, args: list[str]) -> int:
    """`no-snat-test-proxy [--port n]`: `/checknosnat?target=host:port&ips=...` of another."""
    flags = await parse(proc, args, {"port": "31235"})

    async def answer(request: http1.Request) -> http1.Response:
        if request.path != "/checknosnat":
            return _NOT_FOUND
        query = request.query
        url = f"http://{query.get('target', '')}/checknosnat?ips={query.get('ips', '')}"
        try:
            found = await get(proc, url_of(url))
        except (ValueError, *_PROBLEMS) as error:
            said = f"error querying {go_quote(url)}, err: {_failed(url, error)}"
            return http1.Response(500, said.encode())
        return http1.Response(found.status, found.body)

    proc.system.serve(flags.number("port"), lambda stream: http1.serve(stream, answer))
    return await forever(proc)


COMMANDS = {
    "audit-proxy": audit_proxy, "fake-gitserver": fake_gitserver, "tcp-reset": tcp_reset,
    "port-forward-tester": port_forward_tester, "no-snat-test": no_snat_test,
    "no-snat-test-proxy": no_snat_test_proxy,
}
