"""How an API server stops when it is told to (SIGTERM), as opposed to crashing.

It is not ready any more from the first instant on, and says goodbye (`APIServer.on_stop`: its
endpoint and its Lease go); then nobody can connect any more; what it is answering it answers; and
after a minute at the latest it exits, which is when watches end that nobody has ended before.

Follows `apiserver/pkg/server/genericapiserver.go` (`RunWithContext`), with its defaults:
`--shutdown-delay-duration=0`, `--shutdown-watch-termination-grace-period=0`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.server import APIServer

TIMEOUT_NS = 60 * NS
POLL_NS = NS // 2
"""How often it looks whether connections are idle, when only watches are left."""


async def run(server: APIServer, delay_ns: int = 0) -> None:
    """Stop the process of `server`.  `delay_ns` is `--shutdown-delay-duration`."""
    kernel = server.kernel
    server.shutting_down = True
    if delay_ns:
        await kernel.sleep(delay_ns)
    for say_goodbye in server.on_stop:
        await say_goodbye()
    server.stopping = True
    ends_ns = kernel.now_ns + TIMEOUT_NS
    while server.under_way and kernel.now_ns < ends_ns:
        await kernel.wait_any(*server.under_way, timeout_ns=ends_ns - kernel.now_ns)
    while server.watches() and kernel.now_ns < ends_ns:
        await kernel.sleep(min(POLL_NS, ends_ns - kernel.now_ns))
    # Not from here: this coroutine is of the process that ends.
    kernel.call_soon(server.process.stop)
