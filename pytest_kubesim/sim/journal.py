"""The run's record: what happened, when, to whom; equal runs have equal digests.

Recording is an append and nothing else (it is on the path of every request); entries, encodings and
digests are made when somebody asks.  What is kept of an entry is one flat tuple `(time_ns, kind,
actor, names, value, ...)`: most entries have the same few names, and a cluster of ten thousand pods
has more entries than objects.
Fields are JSON values only, and never anything that differs between equal runs (no `id()`, no
real time, no path of the machine).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec


class Entry(NamedTuple):
    """One thing that happened."""

    time_ns: int
    sequence: int
    kind: str
    """`request`, `watch`, `fault`, `container`, `node`, `event`, `process`, `log` ..."""
    actor: str
    """The process it happened to or that did it: `operator`, `kube-scheduler`, `node-1` ..."""
    fields: dict[str, Any]


class Journal:
    """Entries in the order in which they happened.

    `now_ns` is a function that gives the present instant.
    """

    __slots__ = ("_forgotten", "_kept", "_listeners", "_names", "_now_ns", "limit")

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._kept: list[tuple[Any, ...]] = []
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._now_ns = now_ns
        self._listeners: list[Callable[[Entry], None]] = []
        self._forgotten = 0
        self.limit = 0
        """How many entries to keep, the newest; 0: all.  For a simulation without an end."""

    def record(self, kind: str, actor: str, **fields: Any) -> None:
        """Append an entry at the present instant."""
        kept = self._kept
        names = tuple(fields)
        names = self._names.setdefault(names, names)
        kept.append((self._now_ns(), kind, actor, names, *fields.values()))
        if self._listeners:
            entry = self._entry(len(kept) - 1)
            for listener in self._listeners:
                listener(entry)
        if self.limit and len(kept) >= 2 * self.limit:
            self._forgotten += len(kept) - self.limit
            del kept[: -self.limit]

    def listen(self, listener: Callable[[Entry], None]) -> None:
        """Call `listener` with every entry from here on (progress displays, checkers)."""
        self._listeners.append(listener)

    def entries(self, kind: str | None = None, actor: str | None = None) -> list[Entry]:
        """All entries that are kept, or those of one kind and/or actor."""
        return [
            self._entry(index)
            for index, kept in enumerate(self._kept)
            if (kind is None or kept[1] == kind) and (actor is None or kept[2] == actor)
        ]

    def _entry(self, index: int) -> Entry:
        time_ns, kind, actor, names, *values = self._kept[index]
        fields = dict(zip(names, values, strict=True))
        return Entry(time_ns, self._forgotten + index, kind, actor, fields)

    @property
    def next(self) -> int:
        """The sequence number of the next entry."""
        return self._forgotten + len(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Entry]:
        return map(self._entry, range(len(self._kept)))

    def lines(self) -> Iterator[bytes]:
        """Each entry as a line of canonical JSON (sorted keys)."""
        encode = msgspec.json.Encoder(order="sorted").encode
        for entry in self:
            yield encode(entry)

    def digest(self) -> str:
        """A hash of the whole journal: equal for equal runs, on every machine."""
        digest = blake2b(digest_size=16)
        for line in self.lines():
            digest.update(line)
            digest.update(b"\n")
        return digest.hexdigest()
