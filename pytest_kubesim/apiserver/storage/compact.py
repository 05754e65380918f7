"""Compaction: every five minutes the API servers have etcd forget what is older than five minutes.

The law: of several API servers one compacts at a time.  They agree by a key of etcd, whose version
is their logical clock: who still knows it compacts to the revision it saw last time, and raises it.

Follows `apiserver/pkg/storage/etcd3/compact.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.etcd.messages import (
    Compare,
    ErrCompacted,
    EtcdError,
    PutRequest,
    RangeRequest,
    RangeResponse,
)
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.etcd.client import Client
    from pytest_kubesim.sim.process import Process

KEY = "compact_rev_key"
INTERVAL_NS = 300 * NS


class Compactor:
    """The compaction loop of one API server, in its `process`."""

    def __init__(self, process: Process, client: Client, interval_ns: int = INTERVAL_NS) -> None:
        self.revision = 0
        """The revision to which it knows etcd to be compacted."""
        self._process = process
        self._client = client
        self._interval_ns = interval_ns
        self._time = 0
        self._seen = 0

    def start(self) -> None:
        """Begin; the first compaction is due after the interval."""
        if self._interval_ns:
            self._process.call_later(
                self._interval_ns, self._due, periodic=True, label="etcd compaction"
            )

    def _due(self) -> None:
        self._process.spawn(self._compact(), name="compact", daemon=True)
        self.start()

    async def _compact(self) -> None:
        try:
            answer = await self._client.txn(
                (Compare(KEY, "VERSION", "EQUAL", self._time),),
                (PutRequest(KEY, str(self._seen)),),
                (RangeRequest(KEY),),
            )
            before, self._seen = self._seen, answer.revision
            if not answer.succeeded:
                there = answer.responses[0]
                assert isinstance(there, RangeResponse)
                self._time = there.kvs[0].version if there.kvs else 0
                return
            self._time += 1
            if before:
                await self._client.compact(before)
                self.revision = before
        except ErrCompacted:
            # Another server has gone further.
            return
        except EtcdError:
            # Upstream logs it and tries again when it is next due.
            return
