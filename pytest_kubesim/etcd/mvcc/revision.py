"""The version of a change: which transaction, and which change within it.

Every transaction that changes something has one ``main``; its changes count ``sub`` from 0.
Revisions are ordered as tuples are. Follows ``revision.go``.
"""

from __future__ import annotations

from typing import NamedTuple

_SEPARATOR = b"_"
_TOMBSTONE = b"t"


class Revision(NamedTuple):
    """``main`` counts transactions, ``sub`` the changes within one."""

    main: int
    sub: int = 0


def to_bytes(revision: Revision, *, tombstone: bool = False) -> bytes:
    """The key under which etcd's backend keeps the change; ``hash_kv`` covers it."""
    encoded = revision.main.to_bytes(8, "big") + _SEPARATOR + revision.sub.to_bytes(8, "big")
    return encoded + _TOMBSTONE if tombstone else encoded
