"""The hash by which members find out that they disagree.

CRC-32C over the backend's entries as etcd writes them: the revision, then the record as protobuf.
For example, the record of ``put a=1 lease=7`` that created revision 2 is hashed as::

    00 00 00 00 00 00 00 02 '_' 00 00 00 00 00 00 00 00
    0a 01 'a'  10 02  18 02  20 01  2a 01 '1'  30 07

Follows ``hash.go``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.etcd.messages import HashKVResponse
from pytest_kubesim.etcd.mvcc.revision import to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_kubesim.etcd.messages import KeyValue
    from pytest_kubesim.etcd.mvcc.revision import Revision

_BUCKET_NAME = b"key"
_POLYNOMIAL = 0x82F63B78


def _table_entry(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = tuple(_table_entry(byte) for byte in range(256))


def hash_by_revision(
    entries: Iterable[tuple[Revision, KeyValue]],
    keep: set[Revision],
    *,
    revision: int,
    compact_revision: int,
    hash_revision: int,
    encode: Callable[[Any], bytes],
) -> HashKVResponse:
    """Hash the entries up to the main revision ``hash_revision``, which come in order of revision.

    ``keep`` are the revisions at or before ``compact_revision`` that compaction leaves.
    """
    crc = _crc32c(_BUCKET_NAME, 0)
    for at, kv in entries:
        tombstone = kv.version == 0
        if at.main > hash_revision:
            break
        if at.main <= compact_revision and keep and at not in keep:
            continue
        if at.main == compact_revision and tombstone:
            continue
        crc = _crc32c(to_bytes(at, tombstone=tombstone), crc)
        crc = _crc32c(_protobuf(kv, encode), crc)
    return HashKVResponse(revision, crc, compact_revision, hash_revision)


def _crc32c(data: bytes, crc: int) -> int:
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _protobuf(kv: KeyValue, encode: Callable[[Any], bytes]) -> bytes:
    # message KeyValue of api/mvccpb/kv.proto. A tombstone is stored with nothing but its key.
    key = kv.key.encode("utf-8", "surrogatepass")
    parts = [b"\x0a", _varint(len(key)), key]
    if kv.version:
        value = encode(kv.value)
        parts += [b"\x10", _varint(kv.create_revision), b"\x18", _varint(kv.mod_revision)]
        parts += [b"\x20", _varint(kv.version)]
        if value:
            parts += [b"\x2a", _varint(len(value)), value]
        if kv.lease:
            parts += [b"\x30", _varint(kv.lease)]
    return b"".join(parts)


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1  # a negative int64 is sent as unsigned
    encoded = bytearray()
    while number >> 7:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
