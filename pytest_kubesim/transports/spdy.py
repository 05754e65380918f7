"""SPDY/3.1 frames without I/O: bytes to records, records to bytes.

    Decoder.feed(bytes) -> frames          Encoder.encode(frame) -> bytes

The law: header blocks of one direction are one zlib stream, primed with the protocol's dictionary,
so that frames are encoded and decoded in the order in which they are on the wire, each once.  What
a peer must not send is a `ProtocolError`; a frame of an unknown type is one too, as in the library
that Kubernetes uses.

Follows the draft `draft-mbelshe-httpbis-spdy-00` and `github.com/moby/spdystream/spdy`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import TypeAlias

import attrs

VERSION = 3
SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = (
    1, 2, 3, 4, 6, 7, 8, 9,
)
FIN, UNIDIRECTIONAL = 0x01, 0x02

PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, UNSUPPORTED_VERSION, CANCEL, INTERNAL_ERROR = (
    1, 2, 3, 4, 5, 6,
)
"""Why a stream was reset."""
GOAWAY_OK, GOAWAY_PROTOCOL_ERROR, GOAWAY_INTERNAL_ERROR = 0, 1, 2

MAX_FRAME_BYTES = (1 << 24) - 1
MAX_HEADER_BYTES = 1 << 20
"""Of one name or value."""
MAX_HEADERS = 1000
MAX_BLOCK_BYTES = 4 << 20
"""Of all headers of a frame, unpacked: a small frame may unpack into a gigabyte."""

Headers: TypeAlias = tuple[tuple[str, str], ...]

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language "
    "accept-ranges age allow authorization cache-control connection content-base content-encoding "
    "content-language content-length content-location content-md5 content-range content-type date "
    "etag expect expires from host if-match if-modified-since if-none-match if-range "
    "if-unmodified-since last-modified location max-forwards pragma proxy-authenticate "
    "proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url "
    "public set-cookie keep-alive origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 "
    "Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service "
    "UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, "
    "Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/"
    "xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8"
    "charset=iso-8859-1,utf-,*,enq=0."
)


def _dictionary() -> bytes:
    words = [word.replace("_", " ").encode() for word in _WORDS.split()]
    return b"".join(struct.pack(">I", len(word)) + word for word in words) + _TAIL.encode()


DICTIONARY = _dictionary()
"""What both compressors have seen before the first header."""


class ProtocolError(Exception):
    """The peer has sent what is no frame."""


@attrs.frozen(slots=True)
class SynStream:
    """A stream begins."""

    stream: int
    headers: Headers = ()
    fin: bool = False
    unidirectional: bool = False
    associated: int = 0
    priority: int = 0
    slot: int = 0


@attrs.frozen(slots=True)
class SynReply:
    """A stream is accepted."""

    stream: int
    headers: Headers = ()
    fin: bool = False


@attrs.frozen(slots=True)
class RstStream:
    """A stream is torn down."""

    stream: int
    status: int = CANCEL


@attrs.frozen(slots=True)
class Settings:
    """What a peer asks for: `(flag, id, value)` each."""

    values: tuple[tuple[int, int, int], ...] = ()
    clear: bool = False


@attrs.frozen(slots=True)
class Ping:
    """Are you there; an answer is the same frame."""

    id: int


@attrs.frozen(slots=True)
class GoAway:
    """No further streams are taken; `last` is the last one that was."""

    last: int
    status: int = GOAWAY_OK


@attrs.frozen(slots=True)
class HeadersFrame:
    """More headers of a stream."""

    stream: int
    headers: Headers = ()
    fin: bool = False


@attrs.frozen(slots=True)
class WindowUpdate:
    """A peer takes so many bytes more."""

    stream: int
    delta: int


@attrs.frozen(slots=True)
class Data:
    """Bytes of a stream."""

    stream: int
    data: bytes = b""
    fin: bool = False


Frame: TypeAlias = (
    SynStream | SynReply | RstStream | Settings | Ping | GoAway | HeadersFrame | WindowUpdate | Data
)


class Encoder:
    """Frames of one direction, to bytes."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(9, zdict=DICTIONARY)

    def encode(self, frame: Frame) -> bytes:
        """The frame as it goes over the wire.

        Raises: `ValueError` for data of more than 2^24 - 1 bytes.
        """
        match frame:
            case Data(stream, data, fin):
                if len(data) > MAX_FRAME_BYTES:
                    raise ValueError("a SPDY frame takes at most 2^24 - 1 bytes")
                return struct.pack(">II", stream, _word(fin, len(data))) + data
            case SynStream(stream, headers, fin, unidirectional, associated, priority, slot):
                flags = (FIN if fin else 0) | (UNIDIRECTIONAL if unidirectional else 0)
                start = struct.pack(">IIBB", stream, associated, priority << 5, slot)
                return _control(SYN_STREAM, flags, start + self._block(headers))
            case SynReply(stream, headers, fin):
                return _control(SYN_REPLY, fin, struct.pack(">I", stream) + self._block(headers))
            case HeadersFrame(stream, headers, fin):
                return _control(HEADERS, fin, struct.pack(">I", stream) + self._block(headers))
            case RstStream(stream, status):
                return _control(RST_STREAM, 0, struct.pack(">II", stream, status))
            case Ping(number):
                return _control(PING, 0, struct.pack(">I", number))
            case GoAway(last, status):
                return _control(GOAWAY, 0, struct.pack(">II", last, status))
            case WindowUpdate(stream, delta):
                return _control(WINDOW_UPDATE, 0, struct.pack(">II", stream, delta))
            case Settings(values, clear):
                body = struct.pack(">I", len(values)) + b"".join(
                    struct.pack(">II", flag << 24 | number, value) for flag, number, value in values
                )
                return _control(SETTINGS, clear, body)

    def _block(self, headers: Headers) -> bytes:
        """A header block: values of one name are joined by NUL, names are lower case."""
        joined: dict[str, list[str]] = {}
        for name, value in headers:
            joined.setdefault(name.lower(), []).append(value)
        plain = [struct.pack(">I", len(joined))]
        for name, values in joined.items():
            for text in (name, "\0".join(values)):
                data = text.encode("latin-1")
                plain.append(struct.pack(">I", len(data)) + data)
        packed = self._zlib.compress(b"".join(plain))
        return packed + self._zlib.flush(zlib.Z_SYNC_FLUSH)


def _control(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">HHI", 0x8000 | VERSION, kind, _word(flags, len(body))) + body


def _word(flags: int, length: int) -> int:
    return int(flags) << 24 | length


class Decoder:
    """Bytes of one direction, to frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._zlib = zlib.decompressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now.  Raises: `ProtocolError`; nothing works after it."""
        self._buffer += data
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        buffer = self._buffer
        if len(buffer) < 8:
            return None
        first, word = struct.unpack_from(">II", buffer)
        flags, length = word >> 24, word & MAX_FRAME_BYTES
        if len(buffer) < 8 + length:
            return None
        body = bytes(buffer[8 : 8 + length])
        del buffer[: 8 + length]
        if first & 0x80000000:
            return self._read_control(first & 0xFFFF, flags, body)
        if not first:
            raise ProtocolError("stream id zero is disallowed")
        return Data(first, body, bool(flags & FIN))

    def _read_control(self, kind: int, flags: int, body: bytes) -> Frame:
        try:
            return self._read(kind, flags, body)
        except struct.error:
            raise ProtocolError("invalid control frame") from None

    def _read(self, kind: int, flags: int, body: bytes) -> Frame:
        fin = bool(flags & FIN)
        if kind == SYN_STREAM:
            stream, associated, priority, slot = struct.unpack_from(">IIBB", body)
            headers = self._headers(body[10:])
            one_way = bool(flags & UNIDIRECTIONAL)
            return SynStream(
                _number(stream), headers, fin, one_way, _masked(associated), priority >> 5, slot
            )
        if kind in {SYN_REPLY, HEADERS}:
            stream = _number(struct.unpack_from(">I", body)[0])
            made = SynReply if kind == SYN_REPLY else HeadersFrame
            return made(stream, self._headers(body[4:]), fin)
        if kind == RST_STREAM:
            stream, status = struct.unpack(">II", body)
            if not status:
                raise ProtocolError("invalid control frame")
            return RstStream(_number(stream), status)
        if kind == PING:
            (number,) = struct.unpack(">I", body)
            if flags or not number:
                raise ProtocolError("invalid control frame")
            return Ping(number)
        if kind in {GOAWAY, WINDOW_UPDATE}:
            first, second = struct.unpack(">II", body)
            if flags:
                raise ProtocolError("invalid control frame")
            made2 = GoAway if kind == GOAWAY else WindowUpdate
            return made2(_masked(first), second)
        if kind == SETTINGS:
            return _settings(body, bool(flags & 1))
        raise ProtocolError("invalid control frame")

    def _headers(self, block: bytes) -> Headers:
        try:
            plain = self._zlib.decompress(block, MAX_BLOCK_BYTES)
        except zlib.error:
            raise ProtocolError("compressed payload size was incorrect") from None
        if self._zlib.unconsumed_tail:
            raise ProtocolError("headers are too large")
        (count,) = struct.unpack_from(">I", plain)
        if count > MAX_HEADERS:
            raise ProtocolError("too many headers")
        position = 4
        found: list[tuple[str, str]] = []
        seen: set[str] = set()
        for _ in range(count):
            name, position = _text(plain, position)
            values, position = _text(plain, position)
            if name != name.lower():
                raise ProtocolError("header was not lowercased")
            if name in seen:
                raise ProtocolError("multiple headers with same name")
            seen.add(name)
            found += [(name, value) for value in values.split("\0")]
        if position != len(plain):
            raise ProtocolError("compressed payload size was incorrect")
        return tuple(found)


def _settings(body: bytes, clear: bool) -> Settings:
    (count,) = struct.unpack_from(">I", body)
    if count * 8 + 4 != len(body):
        raise ProtocolError("invalid control frame")
    pairs = [struct.unpack_from(">II", body, 4 + 8 * index) for index in range(count)]
    return Settings(
        tuple((word >> 24, word & MAX_FRAME_BYTES, value) for word, value in pairs), clear
    )


def _text(plain: bytes, position: int) -> tuple[str, int]:
    (size,) = struct.unpack_from(">I", plain, position)
    position += 4
    if size > MAX_HEADER_BYTES or position + size > len(plain):
        raise ProtocolError("invalid control frame")
    return plain[position : position + size].decode("latin-1"), position + size


def _masked(number: int) -> int:
    return number & 0x7FFFFFFF


def _number(stream: int) -> int:
    stream = _masked(stream)
    if not stream:
        raise ProtocolError("stream id zero is disallowed")
    return stream
