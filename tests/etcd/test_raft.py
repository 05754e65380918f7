"""Raft by scripts (`raft/*.txt`: what is done, and every message that follows), and its parts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_kubesim.etcd.raft import quorum
from pytest_kubesim.etcd.raft.log import RaftLog
from pytest_kubesim.etcd.raft.messages import Entry, HardState, Message, Snapshot
from pytest_kubesim.etcd.raft.raft import Raft

FOLDER = Path(__file__).parent / "raft"
SCRIPTS = sorted(FOLDER.glob("*.txt"))

sys.path.insert(0, str(FOLDER))
from interaction import replay  # noqa: E402

sys.path.remove(str(FOLDER))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_members_say_what_the_script_says(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert replay(text).split("\n") == text.split("\n")


def leader(entries: list[Entry], term: int, voters: int = 3) -> Raft:
    raft = Raft(1, range(1, voters + 1), lambda _: 10, log=RaftLog(Snapshot(), entries), hard_state=HardState(term, 1))
    raft.become_candidate()
    raft.become_leader()
    return raft


def test_an_entry_of_an_earlier_term_is_not_committed_by_its_count() -> None:
    raft = leader([Entry(1, 1), Entry(2, 2, "x")], term=3, voters=5)
    raft.advance(raft.ready())
    for voter in (2, 3):
        raft.step(Message("MsgAppResp", 1, voter, raft.term, index=2))
    assert raft.log.committed == 0
    for voter in (2, 3):
        raft.step(Message("MsgAppResp", 1, voter, raft.term, index=3))
    assert raft.log.committed == 3


def test_a_leaders_own_entry_counts_when_it_is_kept() -> None:
    raft = leader([], term=1)
    ready = raft.ready()
    raft.step(Message("MsgAppResp", 1, 2, raft.term, index=1))
    assert raft.log.committed == 0
    raft.advance(ready)
    assert raft.log.committed == 1


def test_what_is_under_way_to_a_follower_is_limited() -> None:
    raft = leader([], term=1)
    raft.advance(raft.ready())
    raft.step(Message("MsgAppResp", 1, 2, raft.term, index=1))
    raft.ready()
    for number in range(600):
        raft.propose(number)
    sent = [m for m in raft.ready().messages if m.to == 2 and m.entries]
    assert len(sent) == 512
    assert raft.progress[2].is_paused()
    raft.step(Message("MsgAppResp", 1, 2, raft.term, index=sent[-1].entries[-1].index))
    more = [m for m in raft.ready().messages if m.to == 2 and m.entries]
    assert sum(len(m.entries) for m in more) == 600 - 512


@pytest.mark.parametrize(
    ("matched", "committed"),
    [([5], 5), ([5, 3], 3), ([5, 3, 0], 3), ([1, 2, 3, 4], 2), ([9, 9, 1, 1, 1], 1), ([7, 7, 7, 1, 1], 7)],
)
def test_what_a_majority_has_is_committed(matched: list[int], committed: int) -> None:
    assert quorum.committed_index(matched) == committed


@pytest.mark.parametrize(
    ("votes", "voters", "outcome"),
    [
        ({1: True}, 1, True),
        ({1: True}, 3, None),
        ({1: True, 2: True}, 3, True),
        ({1: True, 2: False}, 3, None),
        ({2: False, 3: False}, 3, False),
        ({1: True, 2: True, 3: False, 4: False}, 5, None),
        ({1: True, 2: True, 3: False, 4: False}, 4, False),
    ],
)
def test_an_election_is_decided_by_a_majority(votes: dict, voters: int, outcome: bool | None) -> None:
    assert quorum.outcome(votes, voters) is outcome


def test_where_logs_may_agree_is_found_by_term() -> None:
    log = RaftLog(Snapshot(), [Entry(1, 1), Entry(1, 2), Entry(3, 3), Entry(3, 4), Entry(5, 5)])
    assert log.find_conflict_by_term(5, 4) == (4, 3)
    assert log.find_conflict_by_term(9, 2) == (2, 1)
    assert log.find_conflict_by_term(4, 0) == (0, 0)
