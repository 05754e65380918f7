"""pause, entrypoint-tester, logs-generator, serve-hostname, connect, inclusterclient, net."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.timestamps import parse_duration
from pytest_kubesim.cri import http1
from pytest_kubesim.cri.applets import names
from pytest_kubesim.cri.applets.dates import strftime
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.software.agnhost.flags import (
    Signals,
    fatal,
    forever,
    log,
    parse,
)
from pytest_kubesim.sim.pipes import ConnectError, Refused, Stream, TimedOut

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc

_SHOWN = {"TERM": "terminated", "INT": "interrupt"}


async def pause(proc: Proc, args: list[str]) -> int:
    """`pause`: until a signal comes."""
    del args
    await proc.out("Paused\n")
    signals = Signals(proc, "INT", "TERM")
    await proc.out("Signals registered\n")
    name = await signals.wait()
    message = f'exiting because of signal "{_SHOWN[name]}"\n'
    path = proc.env.get("TERMINATION_MESSAGE_PATH") or "/dev/termination-log"
    try:
        proc.save(path, message.encode())
    except Fault:
        pass
    await proc.out(message)
    return 1 if name == "INT" else 2


async def entrypoint_tester(proc: Proc, args: list[str]) -> int:
    """`entrypoint-tester`: print all arguments."""
    del args
    await proc.out(f"[{' '.join(proc.argv)}]\n")
    return 0


_ALPHANUMERICS = "bcdfghjklmnpqrstvwxz2456789"


async def logs_generator(proc: Proc, args: list[str]) -> int:
    """`logs-generator --log-lines-total n --run-duration d`."""
    flags = await parse(
        proc, args, {"log-lines-total": "0", "run-duration": "0"},
        short={"t": "log-lines-total", "d": "run-duration"},
    )
    total, length_ns = flags.number("log-lines-total"), parse_duration(flags["run-duration"])
    if total <= 0:
        return await fatal(proc, f"Invalid total number of lines: {total}")
    delay_ns = length_ns // total
    for number in range(total):
        draw = proc.system.random(12)
        method = ("GET", "POST", "PUT")[draw[0] % 3]
        namespace = ("kube-system", "default", "ns")[draw[1] % 3]
        pod = "".join(_ALPHANUMERICS[b % 27] for b in draw[2 : 5 + draw[6] % 2])
        status = 200 + int.from_bytes(draw[8:10], "big") % 400
        stamp = strftime("I%m%d %H:%M:%S", proc.system.now_ns())
        micro = proc.system.now_ns() // 1_000 % 1_000_000
        await proc.err(
            f"{stamp}.{micro:06d}       1 logs_generator.go:76] {number} {method} "
            f"/api/v1/namespaces/{namespace}/pods/{pod} {status}\n"
        )
        await proc.system.sleep(delay_ns)
    return 0


async def serve_hostname(proc: Proc, args: list[str]) -> int:
    """`serve-hostname [--tcp] [--udp] [--http] [--close] [--port n]`."""
    truths = ("tcp", "udp", "http", "close")
    flags = await parse(
        proc, args,
        {"tcp": "false", "udp": "false", "http": "true", "close": "false", "port": "9376"}, truths,
    )
    hostname, port, system = proc.system.hostname.encode(), flags.number("port"), proc.system
    if flags.truth("http") and (flags.truth("tcp") or flags.truth("udp")):
        return await fatal(proc, "Can't server TCP/UDP mode and HTTP mode at the same time")

    async def page(request: http1.Request) -> http1.Response:
        await log(proc, f"HTTP request from {request.remote[0]}:{request.remote[1]}")
        headers = {"Connection": "close"} if flags.truth("close") else {}
        return http1.Response(200, hostname, headers)

    async def raw(stream: Stream) -> None:
        stream.write(hostname)
        stream.close()

    if flags.truth("tcp"):
        system.serve(port, raw)
    if flags.truth("udp"):
        system.listen(port, _answers(hostname), "UDP")
    if flags.truth("http"):
        system.serve(port, lambda stream: http1.serve(stream, page))
    await log(proc, f"Serving on port {port}.")
    await log(proc, "")
    name = await Signals(proc, "TERM").wait()
    await log(proc, f"Shutting down after receiving signal: {_SHOWN[name]}.")
    await log(proc, "Awaiting pod deletion.")
    await system.sleep(60_000_000_000)
    return 0


def _answers(data: bytes) -> Callable[[bytes, tuple[str, int]], bytes]:
    def answer(sent: bytes, peer: tuple[str, int]) -> bytes:
        del sent, peer
        return data

    return answer


async def connect(proc: Proc, args: list[str]) -> int:
    """`connect host:port [--timeout d] [--protocol tcp|udp|sctp]`."""
    flags = await parse(
        proc, args,
        {"timeout": "0s", "protocol": "tcp", "udp-data": "hostname", "sctp-data": "hostname"},
    )
    host, colon, port = flags.rest[0].rpartition(":")
    if not colon:
        await proc.err(f"UNKNOWN: address {flags.rest[0]}: missing port in address\n")
        return 1
    found = await names.resolve(proc, host.strip("[]"))
    if not found:
        await proc.err(f"DNS: lookup {host}: no such host\n")
        return 1
    timeout_ns = parse_duration(flags["timeout"]) or None
    network, protocol = proc.system.network, flags["protocol"] or "tcp"
    assert network is not None
    try:
        if protocol == "tcp":
            stream = await network.connect(
                proc.system.address, found[0], int(port), timeout_ns=timeout_ns
            )
            stream.close()
        else:
            await network.exchange(
                proc.system.address, found[0], int(port), f"{flags['udp-data']}\n".encode(),
                timeout_ns=timeout_ns or 127_000_000_000,
            )
    except Refused:
        await proc.err("REFUSED\n")
    except TimedOut:
        await proc.err("TIMEOUT\n")
    except ConnectError as problem:
        await proc.err(f"OTHER: dial tcp {flags.rest[0]}: connect: {str(problem).lower()}\n")
    else:
        return 0
    return 1


async def net(proc: Proc, args: list[str]) -> int:
    """`net --serve addr`, `net --runner ...`: nothing but a listener."""
    flags = await parse(proc, args, {"serve": "", "runner": "", "options": "{}"})
    if flags["serve"]:
        port = int(flags["serve"].rpartition(":")[2])

        async def answer(request: http1.Request) -> http1.Response:
            del request
            return http1.Response(200, b"ok")

        proc.system.serve(port, lambda stream: http1.serve(stream, answer))
    return await forever(proc)


async def nonewprivs(proc: Proc, args: list[str]) -> int:
    """`nonewprivs`, a setuid program: who runs it."""
    del args
    container = proc.system.surroundings
    raised = not container.config.no_new_privs
    await proc.out(f"Effective uid: {0 if raised else proc.who.uid}\n")
    return 0


COMMANDS = {
    "pause": pause, "entrypoint-tester": entrypoint_tester, "logs-generator": logs_generator,
    "serve-hostname": serve_hostname, "connect": connect, "net": net,
    "nonewprivs": nonewprivs,
}
