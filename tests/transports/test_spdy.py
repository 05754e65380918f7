"""SPDY frames: what is encoded is decoded, however it is cut; what is no frame is refused."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.transports import spdy

streams = st.integers(1, 0x7FFFFFFF)
names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
values = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=20)
headers = st.dictionaries(names, values, max_size=5).map(lambda d: tuple(d.items()))
words = st.integers(0, 0xFFFFFFFF)
frames = st.one_of(
    st.builds(
        spdy.SynStream, streams, headers, st.booleans(), st.booleans(),
        st.integers(0, 0x7FFFFFFF), st.integers(0, 7), st.integers(0, 255),
    ),
    st.builds(spdy.SynReply, streams, headers, st.booleans()),
    st.builds(spdy.HeadersFrame, streams, headers, st.booleans()),
    st.builds(spdy.RstStream, streams, st.integers(1, 11)),
    st.builds(spdy.Data, streams, st.binary(max_size=100), st.booleans()),
    st.builds(spdy.Ping, st.integers(1, 0xFFFFFFFF)),
    st.builds(spdy.GoAway, st.integers(0, 0x7FFFFFFF), st.integers(0, 2)),
    st.builds(spdy.WindowUpdate, streams, words),
    st.builds(
        spdy.Settings,
        st.lists(st.tuples(st.integers(0, 255), st.integers(0, 0xFFFFFF), words), max_size=3)
        .map(tuple),
        st.booleans(),
    ),
)


@given(st.lists(frames, max_size=6), st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_what_is_encoded_is_decoded_however_it_is_cut(sent, cuts):
    encoder, decoder = spdy.Encoder(), spdy.Decoder()
    wire = b"".join(encoder.encode(frame) for frame in sent)
    received, turn = [], 0
    while wire:
        size = cuts[turn % len(cuts)]
        received += decoder.feed(wire[:size])
        wire, turn = wire[size:], turn + 1
    assert received == sent


@given(st.binary(max_size=200))
def test_whatever_comes_is_frames_or_an_error(garbage):
    decoder = spdy.Decoder()
    try:
        for frame in decoder.feed(garbage):
            assert frame
    except spdy.ProtocolError:
        pass


def test_the_dictionary_is_that_of_the_protocol():
    assert len(spdy.DICTIONARY) == 1423
    assert hashlib.sha256(spdy.DICTIONARY).hexdigest().startswith("51d27341373f923f")


def test_a_frame_as_go_writes_it():
    """A reply without headers, as the first frame of a connection."""
    wire = spdy.Encoder().encode(spdy.SynReply(1))
    assert wire.startswith(b"\x80\x03\x00\x02\x00\x00\x00")
    assert wire[8:12] == b"\x00\x00\x00\x01"
    assert wire[12:14] == b"\x78\xf9", "zlib with a preset dictionary, best compression"
    assert wire[14:18] == b"\xe3\xc6\xa7\xc2", "the dictionary's checksum"


def test_values_of_one_name_travel_together():
    encoder, decoder = spdy.Encoder(), spdy.Decoder()
    frame = spdy.SynStream(1, (("port", "80"), ("port", "81")))
    assert list(decoder.feed(encoder.encode(frame))) == [frame]


def control(kind, body, flags=0):
    return struct.pack(">HHI", 0x8003, kind, flags << 24 | len(body)) + body


@pytest.mark.parametrize(
    ("wire", "problem"),
    [
        (control(99, b""), "invalid control frame"),
        (control(spdy.PING, struct.pack(">I", 0)), "invalid control frame"),
        (control(spdy.PING, struct.pack(">I", 1), flags=1), "invalid control frame"),
        (control(spdy.PING, b"\0\0"), "invalid control frame"),
        (control(spdy.GOAWAY, b"\0\0\0\0"), "invalid control frame"),
        (control(spdy.RST_STREAM, struct.pack(">II", 1, 0)), "invalid control frame"),
        (control(spdy.RST_STREAM, struct.pack(">II", 0, 1)), "stream id zero is disallowed"),
        (control(spdy.SETTINGS, struct.pack(">I", 9)), "invalid control frame"),
        (struct.pack(">II", 0, 0), "stream id zero is disallowed"),
        (
            control(spdy.SYN_STREAM, struct.pack(">IIBB", 1, 0, 0, 0) + b"garbage"),
            "compressed payload size was incorrect",
        ),
    ],
)
def test_what_is_no_frame_is_refused(wire, problem):
    with pytest.raises(spdy.ProtocolError, match=problem):
        list(spdy.Decoder().feed(wire))


@pytest.mark.parametrize(
    ("plain", "problem"),
    [
        (struct.pack(">I", 2000), "too many headers"),
        (struct.pack(">I", 1) + struct.pack(">I", 1 << 24), "invalid control frame"),
        (b"\0\0\0\1" + b"\0\0\0\1A" + b"\0\0\0\1b", "header was not lowercased"),
        (b"\0\0\0\2" + (b"\0\0\0\1a" + b"\0\0\0\1b") * 2, "multiple headers with same name"),
        (b"\0\0\0\0rest", "compressed payload size was incorrect"),
        (bytes(spdy.MAX_BLOCK_BYTES + 1), "headers are too large"),
    ],
)
def test_headers_that_no_client_sends_are_refused(plain, problem):
    import zlib

    packer = zlib.compressobj(9, zdict=spdy.DICTIONARY)
    block = packer.compress(plain) + packer.flush(zlib.Z_SYNC_FLUSH)
    wire = control(spdy.SYN_REPLY, struct.pack(">I", 1) + block)
    with pytest.raises(spdy.ProtocolError, match=problem):
        list(spdy.Decoder().feed(wire))


def test_a_frame_has_a_limit():
    with pytest.raises(ValueError, match="at most"):
        spdy.Encoder().encode(spdy.Data(1, bytes(1 << 24)))
