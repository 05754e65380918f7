"""What raft's members say to each other, and what they keep.

Records follow ``raftpb``, with Python's names; nothing in them is ever changed after it was made.
Members are numbers from 1 on; 0 is nobody.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

NONE = 0
"""Nobody: no leader, no vote."""

MessageType: TypeAlias = Literal[
    "MsgHup",
    "MsgBeat",
    "MsgProp",
    "MsgApp",
    "MsgAppResp",
    "MsgVote",
    "MsgVoteResp",
    "MsgPreVote",
    "MsgPreVoteResp",
    "MsgSnap",
    "MsgSnapStatus",
    "MsgHeartbeat",
    "MsgHeartbeatResp",
    "MsgUnreachable",
    "MsgCheckQuorum",
    "MsgTransferLeader",
    "MsgTimeoutNow",
    "MsgReadIndex",
    "MsgReadIndexResp",
]

RESPONSES = frozenset(("MsgAppResp", "MsgVoteResp", "MsgPreVoteResp"))
"""What may be said only when all that is to be kept is kept."""

LOCAL = frozenset(("MsgHup", "MsgBeat", "MsgUnreachable", "MsgSnapStatus", "MsgCheckQuorum"))
"""What a member says to itself."""


class Entry(msgspec.Struct, frozen=True):
    """One place of the log. ``data`` ``None`` is what a new leader begins its term with."""

    term: int
    index: int
    data: Any = None


class HardState(msgspec.Struct, frozen=True):
    """What a member must not forget besides its log."""

    term: int = 0
    vote: int = NONE
    commit: int = 0


class Snapshot(msgspec.Struct, frozen=True, eq=False):
    """All that was applied up to an index; ``data`` is the application's."""

    index: int = 0
    term: int = 0
    data: Any = None


class Message(msgspec.Struct, frozen=True, eq=False):
    """One message. What a field means depends on the type, as in ``raftpb.Message``.

    ``index`` and ``log_term`` are of the entry before ``entries``; in a refusal ``index`` is what
    was refused and ``hint`` where the logs may agree. ``context`` names a request to read.
    """

    type: MessageType
    to: int = NONE
    source: int = NONE
    term: int = 0
    log_term: int = 0
    index: int = 0
    entries: tuple[Entry, ...] = ()
    commit: int = 0
    snapshot: Snapshot | None = None
    reject: bool = False
    hint: int = 0
    context: Any = None


class ReadState(msgspec.Struct, frozen=True):
    """A read that was asked for as ``context`` may be served once ``index`` is applied."""

    index: int
    context: Any


class Ready(msgspec.Struct, frozen=True, eq=False):
    """What is to be done, in this order, before ``advance``.

    A leader sends ``messages`` first; everybody else after writing. ``hard_state`` ``None`` is "as
    it was". ``entries`` and ``hard_state`` are written, and synced if ``must_sync``; ``responses``
    are sent after that, and by nobody before. ``committed`` is applied.
    """

    hard_state: HardState | None
    entries: tuple[Entry, ...]
    snapshot: Snapshot | None
    committed: tuple[Entry, ...]
    messages: tuple[Message, ...]
    responses: tuple[Message, ...]
    reads: tuple[ReadState, ...]
    must_sync: bool
