"""Members of raft that a script moves, and what they say: commands in, lines out.

A script is text: a command a line, `----`, what it prints, an empty line. Commands:

    members 3                 begin with three members, all followers of nobody
    lead 1                    member 1 is elected, without a word
    campaign 1                the election timeout of member 1 has passed
    tick 1 5                  five ticks of member 1
    propose 1 x               member 1 is asked to have x agreed upon
    read 2 r                  member 2 is asked from where a read named r may be served
    transfer 1 3              member 1, the leader, hands over to 3
    run                       all messages arrive, all is kept, until nothing is left to do
    run 1 2                   only what members 1 and 2 say to each other; the rest waits
    drop 3                    what waits to or from member 3 is lost
    crash 1, start 1          its memory is lost, what it kept is not
    compact 1 5               member 1 forgets its log up to 5
    state                     role, term, vote, leader, log of each member
    progress 1                what the leader knows of the others
"""

from __future__ import annotations

from pytest_kubesim.etcd.raft.log import RaftLog
from pytest_kubesim.etcd.raft.messages import Entry, HardState, Message, Snapshot
from pytest_kubesim.etcd.raft.raft import Raft


class Interaction:
    def __init__(self) -> None:
        self.members: dict[int, Raft] = {}
        self.kept: dict[int, tuple[Snapshot, list, HardState]] = {}
        self.dead: set[int] = set()
        self.under_way: list[Message] = []
        self.lines: list[str] = []

    def play(self, line: str) -> list[str]:
        self.lines = []
        name, *words = line.split()
        getattr(self, name)(*words)
        return self.lines or ["ok"]

    # Commands

    def campaign(self, number: str) -> None:
        raft = self.members[int(number)]
        raft.election_elapsed = raft.election_timeout
        raft.tick()

    def lead(self, number: str) -> None:
        self.campaign(number)
        self.run()
        self.lines = []

    def tick(self, number: str, count: str = "1") -> None:
        for _ in range(int(count)):
            self.members[int(number)].tick()

    def propose(self, number: str, data: str) -> None:
        if not self.members[int(number)].propose(data):
            self.lines.append("dropped")

    def read(self, number: str, context: str) -> None:
        self.members[int(number)].read_index(context)

    def transfer(self, number: str, to: str) -> None:
        self.members[int(number)].transfer_leadership(int(to))

    def drop(self, number: str) -> None:
        lost = [m for m in self.under_way if int(number) in (m.to, m.source)]
        for message in lost:
            self.under_way.remove(message)
            self.members[message.source].report_unreachable(message.to)
            if message.type == "MsgSnap":
                self.members[message.source].report_snapshot(message.to, failed=True)
        self.lines.append(f"{len(lost)} lost")

    def crash(self, number: str) -> None:
        self.dead.add(int(number))

    def start(self, number: str) -> None:
        self.dead.discard(int(number))
        self.members[int(number)] = self._started(int(number))

    def compact(self, number: str, index: str) -> None:
        self.members[int(number)].compact(int(index))

    def state(self) -> None:
        for number, raft in self.members.items():
            if number in self.dead:
                self.lines.append(f"{number} dead")
                continue
            log = raft.log
            entries = " ".join(map(_entry, log.entries))
            self.lines.append(
                f"{number} {raft.role} term={raft.term} vote={raft.vote} lead={raft.lead} "
                f"committed={log.committed} log after {log.snapshot.index}: {entries}".rstrip()
            )

    def progress(self, number: str) -> None:
        for other, p in self.members[int(number)].progress.items():
            pending = f" pending_snapshot={p.pending_snapshot}" if p.pending_snapshot else ""
            self.lines.append(
                f"{other} {p.state} match={p.match} next={p.next}{pending}{' paused' if p.paused else ''}"
            )

    def run(self, *only: str) -> None:
        part = {int(word) for word in only} or set(self.members)
        while True:
            for number in sorted(part - self.dead):
                self._work(number)
            going = [m for m in self.under_way if m.to in part and m.source in part]
            if not going:
                return
            for message in going:
                self.under_way.remove(message)
                if message.to in self.dead:
                    self.lines.append(f"{_text(message)} (lost)")
                    if message.source not in self.dead:
                        self.members[message.source].report_unreachable(message.to)
                else:
                    self.lines.append(_text(message))
                    self.members[message.to].step(message)

    # What a driver does

    def _work(self, number: int) -> None:
        raft = self.members[number]
        while raft.has_ready():
            ready = raft.ready()
            if ready.snapshot is not None:
                self.kept[number] = (ready.snapshot, [], raft.hard_state)
                self.lines.append(f"  {number} begins after snapshot {ready.snapshot.index}/{ready.snapshot.term}")
            snapshot, entries, hard_state = self.kept[number]
            for entry in ready.entries:
                del entries[entry.index - snapshot.index - 1 :]
                entries.append(entry)
            self.kept[number] = (snapshot, entries, ready.hard_state or hard_state)
            for entry in ready.committed:
                self.lines.append(f"  {number} applies {_entry(entry)}")
            for read in ready.reads:
                self.lines.append(f"  {number} may read {read.context} at {read.index}")
            for message in (*ready.messages, *ready.responses):
                if message.type == "MsgSnap":
                    at = raft.log.applied
                    message = Message(
                        "MsgSnap", message.to, number, message.term,
                        snapshot=Snapshot(at, raft.log.term(at) or 0),
                    )
                self.under_way.append(message)
            raft.advance(ready)

    def _started(self, number: int) -> Raft:
        snapshot, entries, hard_state = self.kept[number]
        return Raft(
            number,
            tuple(self.kept) or (number,),
            lambda count: 10 + (number + count) % 10,
            log=RaftLog(snapshot, entries),
            hard_state=hard_state,
            applied=snapshot.index,
        )


def _entry(entry: Entry) -> str:
    return f"{entry.index}/{entry.term}={entry.data or '-'}"


def begin(count: int) -> Interaction:
    made = Interaction()
    for number in range(1, count + 1):
        made.kept[number] = (Snapshot(), [], HardState())
    for number in made.kept:
        made.members[number] = made._started(number)
    return made


def _text(message: Message) -> str:
    parts = [f"{message.source}->{message.to} {message.type}"]
    if message.term:
        parts.append(f"term={message.term}")
    if message.type in ("MsgApp", "MsgVote", "MsgPreVote"):
        parts.append(f"after={message.index}/{message.log_term}")
    elif message.index:
        parts.append(f"index={message.index}")
    if message.entries:
        parts.append("entries=" + ",".join(map(_entry, message.entries)))
    if message.type in ("MsgApp", "MsgHeartbeat"):
        parts.append(f"commit={message.commit}")
    if message.snapshot is not None:
        parts.append(f"snapshot={message.snapshot.index}/{message.snapshot.term}")
    if message.reject:
        parts.append("rejected" + (f" hint={message.hint}/{message.log_term}" if message.hint else ""))
    if message.context is not None:
        parts.append(f"({message.context})")
    return " ".join(parts)


def replay(script: str) -> str:
    """The script with what its commands print now."""
    out: list[str] = []
    played: Interaction | None = None
    for block in script.strip("\n").split("\n\n"):
        lines = block.split("\n")
        commands = [line for line in lines[: lines.index("----")] if line] if "----" in lines else lines
        out += commands
        told: list[str] = []
        for command in commands:
            if command.startswith("#"):
                continue
            name, *words = command.split()
            if name == "members":
                played = begin(int(words[0]))
                told = ["ok"]
            else:
                assert played is not None
                told = [*told, *played.play(command)]
        if any(not command.startswith("#") for command in commands):
            out += ["----", *[line for line in told if line != "ok" or told == ["ok"]]]
        out.append("")
    return "\n".join(out)
