"""Replication: the leader's log becomes everyone's, and what a majority has is committed.

Law: an entry is committed by its count only in the term it was made in; what is older is committed
with it. A member's log is the leader's up to any entry on whose index and term they agree. Follows
``stepLeader``, ``maybeSendAppend``, ``handleAppendEntries`` and ``handleSnapshot`` of ``raft.go``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.etcd.raft import quorum
from pytest_kubesim.etcd.raft.messages import NONE, Entry, Message, ReadState, Snapshot
from pytest_kubesim.etcd.raft.tracker import MAX_INFLIGHT

if TYPE_CHECKING:
    from pytest_kubesim.etcd.raft.raft import Raft

MAX_ENTRIES = 512
"""The most entries of one message; upstream limits their bytes (512 KiB)."""


# The leader


def step_leader(raft: Raft, message: Message) -> bool:
    """Take a message as the leader; False: a proposal was dropped."""
    kind = message.type
    if kind == "MsgProp":
        if raft.transferee != NONE:
            return False
        append_entry(raft, message.context)
        broadcast_append(raft)
    elif kind == "MsgBeat":
        broadcast_heartbeat(raft, raft.reads.last_context())
    elif kind == "MsgCheckQuorum":
        _check_quorum(raft)
    elif kind == "MsgReadIndex":
        _read_index(raft, message)
    elif kind == "MsgAppResp":
        _append_answered(raft, message)
    elif kind == "MsgHeartbeatResp":
        _heartbeat_answered(raft, message)
    elif kind == "MsgSnapStatus":
        _snapshot_reported(raft, message)
    elif kind == "MsgUnreachable":
        # What was under way is likely lost.
        progress = raft.progress[message.source]
        if progress.state == "replicate":
            progress.become_probe()
    elif kind == "MsgTransferLeader":
        _transfer(raft, message.source)
    return True


def append_entry(raft: Raft, data: Any) -> None:
    """Append to the leader's own log; its own acknowledgement follows when that is kept."""
    entry = Entry(raft.term, raft.log.last_index + 1, data)
    raft.log.append((entry,))
    raft.send("MsgAppResp", raft.identity, index=entry.index)


def broadcast_append(raft: Raft) -> None:
    """Send everyone what is new, were it only the commit index."""
    for voter in raft.voters:
        if voter != raft.identity:
            send_append(raft, voter)


def send_append(raft: Raft, to: int, *, if_empty: bool = True) -> bool:
    """Send a member what it lacks, if it may be sent anything; says whether it was."""
    progress = raft.progress[to]
    if progress.is_paused():
        return False
    previous = progress.next - 1
    term = raft.log.term(previous)
    if term is None:
        return _send_snapshot(raft, to)
    entries: tuple[Entry, ...] = ()
    if progress.state != "replicate" or len(progress.inflights) < MAX_INFLIGHT:
        entries = raft.log.after(previous, MAX_ENTRIES)
    if not entries and not if_empty:
        return False
    commit = raft.log.committed
    raft.send("MsgApp", to, index=previous, log_term=term, entries=entries, commit=commit)
    progress.sent(len(entries))
    progress.sent_commit = commit
    return True


def _send_snapshot(raft: Raft, to: int) -> bool:
    progress = raft.progress[to]
    if not progress.recent_active:
        return False
    at = raft.log.applied
    term = raft.log.term(at)
    assert term is not None
    progress.become_snapshot(at)
    raft.send("MsgSnap", to, snapshot=Snapshot(at, term))
    return True


def broadcast_heartbeat(raft: Raft, context: Any) -> None:
    """Tell everyone that the leader lives, and what is committed of what they have."""
    for voter in raft.voters:
        if voter != raft.identity:
            progress = raft.progress[voter]
            commit = min(progress.match, raft.log.committed)
            progress.sent_commit = max(progress.sent_commit, commit)
            raft.send("MsgHeartbeat", voter, commit=commit, context=context)


def _check_quorum(raft: Raft) -> None:
    active = sum(progress.recent_active for progress in raft.progress.values())
    if active < quorum.size(len(raft.voters)):
        raft.become_follower(raft.term, NONE)
        return
    for voter, progress in raft.progress.items():
        if voter != raft.identity:
            progress.recent_active = False


def _append_answered(raft: Raft, message: Message) -> None:
    progress = raft.progress[message.source]
    progress.recent_active = True
    if message.reject:
        hint = message.hint
        if message.log_term > 0:
            hint, _ = raft.log.find_conflict_by_term(hint, message.log_term)
        if progress.maybe_decrease(message.index, hint):
            if progress.state == "replicate":
                progress.become_probe()
            send_append(raft, message.source)
        return
    news = progress.maybe_update(message.index)
    if not news and not (progress.match == message.index and progress.state == "probe"):
        return
    if progress.state == "probe" or (
        progress.state == "snapshot" and progress.match + 1 >= raft.log.first_index
    ):
        progress.become_replicate()
    elif progress.state == "replicate":
        progress.free_up_to(message.index)
    others = message.source != raft.identity
    if _maybe_commit(raft):
        for read in raft.waiting_reads:
            _ask_quorum(raft, read)
        raft.waiting_reads = []
        broadcast_append(raft)
    elif others and progress.can_bump_commit(raft.log.committed):
        send_append(raft, message.source)
    if not others:
        return
    while send_append(raft, message.source, if_empty=False):
        pass
    if message.source == raft.transferee and progress.match == raft.log.last_index:
        raft.send("MsgTimeoutNow", message.source)


def _maybe_commit(raft: Raft) -> bool:
    index = quorum.committed_index(progress.match for progress in raft.progress.values())
    if index <= raft.log.committed or raft.log.term(index) != raft.term:
        return False
    raft.log.commit_to(index)
    return True


def _heartbeat_answered(raft: Raft, message: Message) -> None:
    progress = raft.progress[message.source]
    progress.recent_active = True
    progress.paused = False
    if progress.match < raft.log.last_index or progress.state == "probe":
        send_append(raft, message.source)
    if message.context is None:
        return
    for request, index in raft.reads.confirm(message.context, message.source, len(raft.voters)):
        _answer_read(raft, request, index)


def _snapshot_reported(raft: Raft, message: Message) -> None:
    progress = raft.progress[message.source]
    if progress.state != "snapshot":
        return
    if message.reject:
        progress.pending_snapshot = 0
    progress.become_probe()
    # If it arrived, its acknowledgement does; if not, a heartbeat passes first.
    progress.paused = True


def _transfer(raft: Raft, to: int) -> None:
    if to not in raft.progress or to in (raft.transferee, raft.identity):
        return
    raft.election_elapsed = 0
    raft.transferee = to
    if raft.progress[to].match == raft.log.last_index:
        raft.send("MsgTimeoutNow", to)
    else:
        send_append(raft, to)


# Reads


def _read_index(raft: Raft, message: Message) -> None:
    if len(raft.voters) == 1:
        _answer_read(raft, message, raft.log.committed)
    elif not raft.committed_in_term():
        raft.waiting_reads.append(message)
    else:
        _ask_quorum(raft, message)


def _ask_quorum(raft: Raft, message: Message) -> None:
    raft.reads.add(message, raft.log.committed, raft.identity)
    broadcast_heartbeat(raft, message.context)


def _answer_read(raft: Raft, request: Message, index: int) -> None:
    if request.source in (NONE, raft.identity):
        raft.read_states.append(ReadState(index, request.context))
    else:
        raft.send("MsgReadIndexResp", request.source, index=index, context=request.context)


def read_state(message: Message) -> ReadState:
    """The answer to a read, as the leader sent it."""
    return ReadState(message.index, message.context)


# Everybody else


def handle_append(raft: Raft, message: Message) -> None:
    """Take entries from the leader, or refuse and say where the logs may agree."""
    log = raft.log
    if message.index < log.committed:
        raft.send("MsgAppResp", message.source, index=log.committed)
        return
    last = log.maybe_append(message.index, message.log_term, message.commit, message.entries)
    if last is not None:
        raft.send("MsgAppResp", message.source, index=last)
        return
    hint, term = log.find_conflict_by_term(min(message.index, log.last_index), message.log_term)
    raft.send(
        "MsgAppResp", message.source, index=message.index, reject=True, hint=hint, log_term=term
    )


def handle_snapshot(raft: Raft, message: Message) -> None:
    """Begin anew with what the leader has applied, unless the log has it all."""
    snapshot, log = message.snapshot, raft.log
    assert snapshot is not None
    if snapshot.index > log.committed:
        if log.matches(snapshot.index, snapshot.term):
            log.commit_to(snapshot.index)
        else:
            log.restore(snapshot)
    index = log.last_index if log.pending_snapshot is snapshot else log.committed
    raft.send("MsgAppResp", message.source, index=index)
