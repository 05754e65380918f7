"""nettest: a server that remembers who has written to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_kubesim.cri import http1
from pytest_kubesim.cri.software.agnhost.flags import Signals, fatal, parse
from pytest_kubesim.sim.tasks import Event

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc

_FLAGS = {
    "port": "8080", "peers": "8", "service": "nettest", "namespace": "default",
    "delay-shutdown": "0",
}


async def nettest(proc: Proc, args: list[str]) -> int:
    """`nettest --service name [--port n] [--delay-shutdown s]`.

    It does not contact its peers: that needs the API server.
    """
    flags = await parse(proc, args, _FLAGS)
    if not flags["service"]:
        return await fatal(proc, "Must provide -service flag.")
    system = proc.system
    received: dict[str, int] = {}
    done = Event(system.kernel)

    async def answer(request: http1.Request) -> http1.Response:
        if request.path == "/write":
            try:
                sent: dict[str, Any] = json.loads(request.body)
            except ValueError:
                return http1.Response(417, b"request body could not be parsed")
            source = str(sent.get("Source") or sent.get("source") or "")
            received[source] = received.get(source, 0) + 1
            return _json({"Hostname": system.hostname})
        if request.path == "/read":
            return _json({
                "Hostname": system.hostname, "Sent": {}, "Received": received, "Errors": None,
                "Log": None, "StillContactingPeers": True,
            })
        if request.path == "/status":
            return http1.Response(200, b"running")
        if request.path == "/quit":
            done.set()
            return http1.Response(200)
        return http1.Response(404, b"404 page not found\n")

    system.serve(flags.number("port"), lambda stream: http1.serve(stream, answer))
    delay = flags.number("delay-shutdown")
    if delay > 0:
        signals = Signals(proc, "TERM")

        async def leave() -> None:
            await signals.wait()
            await system.sleep(delay * 1_000_000_000)
            done.set()

        system.thread(leave(), "signals")
    await done.wait()
    return 0


def _json(value: object) -> http1.Response:
    return http1.Response(200, json.dumps(value, separators=(",", ":")).encode())


COMMANDS = {"nettest": nettest}
