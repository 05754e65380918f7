"""Probes over the pods' network: what a kubelet sees of HTTP, TCP and gRPC.

Follows `pkg/probe/{http,tcp,grpc}`.  The health of a gRPC server is asked of its listener by a
call, not by bytes: a listener that has no `health` speaks no gRPC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from pytest_kubesim.cri import http1
from pytest_kubesim.cri.programs import Probe, ProbeResult, refused, timed_out
from pytest_kubesim.sim.pipes import Broken, ConnectError, Refused, Reset, Stream, TimedOut
from pytest_kubesim.sim.tasks import Future

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pytest_kubesim.sim.kernel import Kernel

MAX_BODY = 10 * 1024
MAX_REDIRECTS = 10
USER_AGENT = "kube-probe/1.37"


async def over_network(network: Any, source: str, probe: Probe) -> ProbeResult:
    """Ask a pod over the network from the address `source`."""
    if network is None:
        return refused(probe)
    if probe.kind == "http":
        return await _http(network, source, probe)
    if probe.kind == "grpc":
        return await _grpc(network, source, probe)
    try:
        stream = await network.connect(source, probe.host, probe.port, timeout_ns=probe.timeout_ns)
    except TimedOut:
        return timed_out(probe)
    except Refused:
        return refused(probe)
    except ConnectError as problem:
        where = f"{probe.host}:{probe.port}"
        return ProbeResult(False, f"dial tcp {where}: connect: {str(problem).lower()}")
    stream.close()
    return ProbeResult(True)


async def _grpc(network: Any, source: str, probe: Probe) -> ProbeResult:
    """Connecting is tried until the time is over, with whoever does not speak gRPC too."""
    kernel: Kernel = network.kernel
    until_ns = kernel.now_ns + probe.timeout_ns
    health: Any = None
    try:
        stream = await network.connect(source, probe.host, probe.port, timeout_ns=probe.timeout_ns)
    except ConnectError:
        pass
    else:
        stream.close()
        health = getattr(network.listener(probe.host, probe.port), "health", None)
    if health is None:
        await kernel.sleep(max(0, until_ns - kernel.now_ns))
        return refused(probe)
    state = health(probe.service)
    if state == "SERVING":
        return ProbeResult(True, "service healthy")
    if state == "UNKNOWN_SERVICE":
        return ProbeResult(
            False,
            "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service",
        )
    return ProbeResult(False, f'service unhealthy (responded with "{state}")')


async def _http(network: Any, source: str, probe: Probe) -> ProbeResult:
    url = f"{probe.scheme}://{probe.host}:{probe.port}{probe.path}"
    origin = probe.host
    for _ in range(MAX_REDIRECTS):
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            response = await _get(network, source, parts.hostname or "", port, target, probe)
        except TimedOut:
            return timed_out(probe)
        except Refused:
            return refused(probe)
        except (ConnectError, http1.MessageFault, Broken, Reset) as problem:
            return ProbeResult(False, f'Get "{url}": {str(problem) or "EOF"}')
        location = response.headers.get("location")
        if response.status not in (301, 302, 303, 307, 308) or not location:
            break
        url = urljoin(url, location)
        if urlsplit(url).hostname != origin and probe.purpose != "lifecycle":
            body = response.body[:MAX_BODY].decode(errors="replace")
            told = f"Probe terminated redirects, Response body: {body}"
            return ProbeResult(True, told, "warning")
    else:
        return ProbeResult(False, f'Get "{url}": stopped after 10 redirects')
    if 200 <= response.status < 400:
        return ProbeResult(True, response.body[:MAX_BODY].decode(errors="replace"))
    return ProbeResult(False, f"HTTP probe failed with statuscode: {response.status}")


async def _get(
    network: Any, source: str, host: str, port: int, target: str, probe: Probe
) -> http1.Response:
    kernel: Kernel = network.kernel
    begun_ns = kernel.now_ns
    stream: Stream = await network.connect(source, host, port, timeout_ns=probe.timeout_ns)
    headers = {"Host": f"{host}:{port}", "User-Agent": USER_AGENT, "Accept": "*/*"}
    headers |= dict(probe.headers)
    request = http1.Request("GET", target or "/", headers)
    left_ns = probe.timeout_ns - (kernel.now_ns - begun_ns)
    try:
        return await within(kernel, http1.fetch(stream, request), left_ns)
    finally:
        stream.close()


async def within(
    kernel: Kernel, coro: Coroutine[Any, Any, http1.Response], timeout_ns: int
) -> http1.Response:
    """What a coroutine gives, unless it takes longer.  Raises `TimedOut`."""
    task: Future[http1.Response] = kernel.spawn(coro, name="probe", daemon=True)
    if not await kernel.wait_any(task, timeout_ns=max(timeout_ns, 0)):
        kill = getattr(task, "kill", None)
        if kill is not None:
            kill()
        raise TimedOut
    return task.result()
