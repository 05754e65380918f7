"""Reads that wait for a majority to confirm that the leader still leads.

A read is as fresh as the commit index at the time it was asked for, if the leader was the leader
then: it asks with its heartbeats, and an answer to a later question answers the earlier ones too.
Follows ``read_only.go``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.etcd.raft import quorum

if TYPE_CHECKING:
    from pytest_kubesim.etcd.raft.messages import Message


@attrs.define(eq=False)
class _Pending:
    request: Message
    index: int
    acks: dict[int, bool]


class ReadOnly:
    """The reads that wait, in the order in which they were asked for."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending: dict[Any, _Pending] = {}

    def add(self, request: Message, index: int, identity: int) -> None:
        """A read was asked for while ``index`` was committed; the leader itself agrees."""
        self._pending.setdefault(request.context, _Pending(request, index, {identity: True}))

    def last_context(self) -> Any:
        """What heartbeats ask with: the newest read."""
        return next(reversed(self._pending), None)

    def confirm(self, context: Any, member: int, voters: int) -> list[tuple[Message, int]]:
        """A member says that the leader leads; returns the reads that a majority confirms now."""
        found = self._pending.get(context)
        if found is None:
            return []
        found.acks[member] = True
        if len(found.acks) < quorum.size(voters):
            return []
        confirmed: list[tuple[Message, int]] = []
        for each in list(self._pending):
            pending = self._pending.pop(each)
            confirmed.append((pending.request, pending.index))
            if each == context:
                break
        return confirmed
