"""The way of what etcd tells one API server: in order, and perhaps late.

Each watch of etcd is a stream of its own, as upstream has one for each resource: two of them may
fall behind each other, one never gets out of order.  What arrives while the process is paused waits
for it; what arrives after its end is lost.

The law: without latency what etcd says is heard at once, in the call that said it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pytest_kubesim.etcd.messages import EtcdError, prefix_end
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.etcd.client import Client
    from pytest_kubesim.etcd.messages import KeyValue, WatchResponse
    from pytest_kubesim.sim.process import Process

RETRY_NS = NS
"""How long who follows etcd waits after a failure before it begins anew."""

Heard = Callable[["WatchResponse"], object]


class Delivery:
    """How late one API server hears of changes.

    Parameters: `process` of the server; `latency_ns`, least and most time that a change is under
    way, in nanoseconds: may be set at any time, and holds from the next change on.
    """

    __slots__ = ("_streams", "latency_ns", "process")

    def __init__(self, process: Process, latency_ns: tuple[int, int] = (0, 0)) -> None:
        self.process = process
        self.latency_ns = latency_ns
        self._streams = 0

    def stream(self, heard: Heard, name: str) -> Stream:
        """A stream that ends in `heard`; `name` is for the randomness of its latencies."""
        self._streams += 1
        return Stream(self, heard, f"{name}/{self._streams}")


class Stream:
    """One watch of etcd on its way to whoever listens: to be given to etcd as a callback."""

    __slots__ = ("_count", "_delivery", "_due_ns", "_heard", "_incarnation", "_name", "closed")

    def __init__(self, delivery: Delivery, heard: Heard, name: str) -> None:
        self._delivery = delivery
        self._heard = heard
        self._name = name
        self._count = 0
        self._due_ns = -1
        self._incarnation = delivery.process.incarnation
        self.closed = False
        """Whether nothing is to be heard any more."""

    def __call__(self, response: WatchResponse) -> None:
        """Something happened in etcd."""
        delivery = self._delivery
        process = delivery.process
        low, high = delivery.latency_ns
        kernel = process.kernel
        if high or self._due_ns >= kernel.now_ns:
            self._count += 1
            due_ns = kernel.now_ns
            if high:
                due_ns += kernel.rng.between_ns(
                    low, high, "etcd-watch", process.name, self._name, self._count
                )
            self._due_ns = max(due_ns, self._due_ns)
            kernel.call_at(self._due_ns, self._arrived, response, label="etcd: a watch")
        else:
            self._arrived(response)

    def _arrived(self, response: WatchResponse) -> None:
        process = self._delivery.process
        if self.closed or process.incarnation != self._incarnation:
            return
        if process.paused:
            process.defer(self._arrived, response)
            return
        self._heard(response)

    def close(self) -> None:
        """Let nothing of it be heard any more."""
        self.closed = True


async def follow(
    client: Client,
    prefix: str,
    stream: Stream,
    begin: Callable[[Sequence[KeyValue]], object] | None,
    process: Process,
    *,
    prev_kv: bool = False,
) -> None:
    """List below `prefix`, then watch for as long as `process` lives.

    `begin` is given what is there; `stream` hears of what comes after it.  Where the watch ends
    (etcd has no leader, or has forgotten what came next) it begins anew, as a reflector does.
    """
    end = prefix_end(prefix)

    def told(response: WatchResponse) -> None:
        if response.error is None and not response.compact_revision:
            stream(response)
        elif process.alive:
            if ended in process.on_exit:
                process.on_exit.remove(ended)
            again = follow(client, prefix, stream, begin, process, prev_kv=prev_kv)
            process.spawn(again, name=f"follow {prefix}", daemon=True)

    while True:
        try:
            found = await client.range(prefix, end)
            if begin is not None:
                begin(found.kvs)
            watcher = await client.watch(
                prefix, end, start_revision=found.revision + 1, callback=told, prev_kv=prev_kv
            )
        except EtcdError:
            await process.kernel.sleep(RETRY_NS, periodic=True)
        else:
            break

    def ended(_process: Process) -> None:
        process.on_exit.remove(ended)
        stream.close()
        watcher.cancel()

    process.on_exit.append(ended)
