"""exec and attach on every wire and in every version, without sockets and without a cluster."""

from __future__ import annotations

import json

import pytest
from upgraded import SpdyClient, WebSocketClient

from pytest_kubesim.cri.services import RuntimeServiceError
from pytest_kubesim.cri.sessions import ExecSession
from pytest_kubesim.kubelet.remote_command import Options, RemoteCommand
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.transports.spdy import (
    CANCEL,
    PROTOCOL_ERROR,
    Data,
    GoAway,
    Ping,
    RstStream,
    Settings,
    SynReply,
    SynStream,
    WindowUpdate,
)

ALL = Options(stdin=True, stdout=True, stderr=True)


class Command:
    """What runs at the other end."""

    def __init__(self, wire, protocol, options=ALL, *, refused=""):
        self.kernel = Kernel()
        self.session = ExecSession(self.kernel)
        self.started = False
        self.refused = refused
        self.service = RemoteCommand(
            self.kernel, wire, protocol, options, self.start, ("sh", "-c", "exit 3")
        )

    async def start(self):
        if self.refused:
            raise RuntimeServiceError(self.refused)
        self.started = True
        return self.session


def spdy_client(protocol="v4.channel.k8s.io", options=ALL, **more):
    command = Command("spdy", protocol, options, **more)
    return command, SpdyClient(command.kernel, command.service)


def websocket(protocol, options=ALL, **more):
    command = Command("websocket", protocol, options, **more)
    client = WebSocketClient(command.kernel, command.service, protocol)
    return command, client


def opening(*kinds, first=1):
    return [SynStream(first + 2 * n, (("streamtype", kind),)) for n, kind in enumerate(kinds)]


def joined(frames, stream):
    return b"".join(f.data for f in frames if isinstance(f, Data) and f.stream == stream)


# -- SPDY -----------------------------------------------------------------------------------------


def test_the_answer_names_the_version():
    _, client = spdy_client()
    assert client.head.startswith("HTTP/1.1 101 Switching Protocols\r\n")
    for line in ("Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io"):
        assert line in client.head


def test_a_command_begins_when_all_streams_are_there():
    command, client = spdy_client()
    replies = client.send(*opening("error", "stdin", "stdout"))
    assert replies == [SynReply(1), SynReply(3), SynReply(5)]
    assert not command.started
    client.send(*opening("stderr", first=7))
    assert command.started


def test_streams_that_do_not_come_end_the_connection():
    command, client = spdy_client()
    client.send(*opening("error"))
    client.run(31)
    assert client.ended == "eof"
    assert not command.started


def test_bytes_go_both_ways_and_the_end_is_told():
    command, client = spdy_client()
    client.send(*opening("error", "stdin", "stdout", "stderr"))
    client.send(Data(3, b"input"))
    assert command.session.stdin.read_nowait() == b"input"
    command.session.stdout.write(b"out")
    command.session.stderr.write(b"err")
    client.run()
    assert client.frames() == [Data(5, b"out"), Data(7, b"err")]
    client.send(Data(3, b"", fin=True))
    assert command.session.stdin.ended
    command.session.ended(0)
    client.run()
    frames = client.frames()
    assert joined(frames, 1) == b'{"status":"Success"}'
    assert {f.stream for f in frames if isinstance(f, Data) and f.fin} >= {1, 5, 7}
    assert frames[-1] == GoAway(7)
    assert RstStream(3, CANCEL) in frames, "what is still open is reset"
    assert client.ended == "eof"


def test_an_exit_code_is_told_in_the_words_of_containerd():
    command, client = spdy_client()
    client.send(*opening("error", "stdin", "stdout", "stderr"))
    command.session.ended(3)
    client.run()
    assert json.loads(joined(client.frames(), 1)) == {
        "status": "Failure",
        "message": "command terminated with non-zero exit code: error executing command "
        "[sh -c exit 3], exit code 3",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
    }


@pytest.mark.parametrize("protocol", ["channel.k8s.io", "v2.channel.k8s.io", "v3.channel.k8s.io"])
def test_old_versions_tell_failures_as_text_and_success_by_silence(protocol):
    for code, text in ((0, b""), (3, b"command terminated with non-zero exit code: error executing command [sh -c exit 3], exit code 3")):
        command, client = spdy_client(protocol)
        client.send(*opening("error", "stdin", "stdout", "stderr"))
        command.session.ended(code)
        client.run()
        assert joined(client.frames(), 1) == text


def test_what_cannot_be_run_is_an_internal_error():
    _, client = spdy_client(refused='failed to exec in container: exec: "x": not found')
    client.send(*opening("error", "stdin", "stdout"))
    frames = client.send(*opening("stderr", first=7))
    assert json.loads(joined(frames, 1)) == {
        "status": "Failure",
        "message": "Internal error occurred: error executing command in container: failed to exec "
        'in container: exec: "x": not found',
        "reason": "InternalError",
        "code": 500,
    }


def test_a_terminal_has_a_size_and_no_stderr():
    tty = Options.of({"stdin": "true", "stdout": "true", "stderr": "true", "tty": "true"})
    assert tty == Options(stdin=True, stdout=True, stderr=False, tty=True)
    command, client = spdy_client(options=tty)
    client.send(*opening("error", "stdin", "stdout", "resize"))
    client.send(Data(7, b'{"Width":80,"Height":24}\n{"Width":90,'))
    assert command.session.size == (80, 24)
    client.send(Data(7, b'"Height":30}\n'))
    assert command.session.size == (90, 30)


def test_numbers_of_streams_go_up():
    _, client = spdy_client()
    client.send(SynStream(5, (("streamtype", "error"),)))
    assert client.send(SynStream(3, (("streamtype", "stdin"),))) == [RstStream(3, PROTOCOL_ERROR)]
    assert client.send(SynStream(6)) == [RstStream(6, PROTOCOL_ERROR)]


def test_a_ping_comes_back_and_windows_are_ignored():
    _, client = spdy_client()
    frames = client.send(Ping(1), Ping(2), Settings(((0, 4, 1),)), WindowUpdate(1, 5), Ping(3))
    assert frames == [Ping(1), Ping(3)]


def test_garbage_ends_the_connection():
    command, client = spdy_client()
    client.feed(b"\x80\x03\x00\x63\x00\x00\x00\x00")
    assert client.ended == "eof"
    assert command.service.closed


def test_a_client_that_leaves_closes_the_input():
    command, client = spdy_client()
    client.send(*opening("error", "stdin", "stdout", "stderr"))
    client.connection.client_closed()
    client.run()
    assert command.session.stdin.ended
    command.session.stdout.write(b"nobody reads this")
    client.run()
    assert command.session.stdout.closed


@pytest.mark.parametrize("farewell", [RstStream(5, CANCEL), GoAway(7)])
def test_a_stream_that_is_reset_is_written_to_no_more(farewell):
    command, client = spdy_client()
    client.send(*opening("error", "stdin", "stdout", "stderr"))
    client.send(farewell)
    command.session.stdout.write(b"x")
    client.run()
    assert not client.received
    assert command.session.stdout.closed


# -- backpressure ---------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", ["spdy", "websocket"])
def test_who_does_not_read_is_sent_little(wire):
    if wire == "spdy":
        command, client = spdy_client()
        client.send(*opening("error", "stdin", "stdout", "stderr"))
    else:
        command, client = websocket("v4.channel.k8s.io")
    client.unread = 1
    written = 0

    async def flood():
        nonlocal written
        while True:
            command.session.stdout.write(bytes(10_000))
            written += 10_000
            await command.session.stdout.drain()

    command.kernel.spawn(flood(), name="flood", daemon=True)
    client.run(1)
    assert written < 600_000
    before = len(client.received)
    client.unread = 1
    client.connection.room()
    client.run(1)
    assert len(client.received) > before, "it goes on when the client has read"


def test_a_command_that_does_not_read_holds_up_its_client():
    command, client = spdy_client()
    client.send(*opening("error", "stdin", "stdout", "stderr"))
    resumed = []
    client.connection.resumed = lambda: resumed.append(1)
    for _ in range(20):
        if client.connection.saturated:
            break
        client.send(Data(3, bytes(20_000)))
    assert client.connection.saturated
    while command.session.stdin.read_nowait():
        client.run()
    assert not client.connection.saturated
    assert resumed


# -- WebSocket ------------------------------------------------------------------------------------


def test_an_empty_message_says_that_the_connection_stands():
    for options, channel in ((ALL, b"\1"), (Options(stderr=True), b"\2"), (Options(stdin=True), b"\3")):
        _, client = websocket("v5.channel.k8s.io", options)
        assert client.messages() == [channel]
        assert client.accepted == "v5.channel.k8s.io"


def test_version_5_closes_one_channel():
    command, client = websocket("v5.channel.k8s.io")
    client.messages()
    client.send(b"\0typed")
    assert command.session.stdin.read_nowait() == b"typed"
    client.send(b"\xff\0")
    assert command.session.stdin.ended
    command.session.stdout.write(b"still here")
    client.run()
    assert client.messages() == [b"\1still here"]


def test_a_close_of_a_channel_that_is_not_there_ends_the_connection():
    _, client = websocket("v5.channel.k8s.io")
    client.send(b"\xff\x07")
    assert client.ended == "eof"


def test_older_versions_know_no_close():
    command, client = websocket("v4.channel.k8s.io")
    client.send(b"\xff\0")
    assert not command.session.stdin.ended
    assert not client.ended


def test_version_5_tells_the_end_as_a_translator_does():
    for code, message in (
        (0, {"metadata": {}, "status": "Success"}),
        (
            3,
            {
                "metadata": {},
                "status": "Failure",
                "message": "command terminated with non-zero exit code: command terminated with "
                "exit code 3",
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
            },
        ),
    ):
        command, client = websocket("v5.channel.k8s.io")
        client.messages()
        command.session.ended(code)
        client.run(1)
        (status,) = client.messages()
        assert status[0] == 3
        assert json.loads(status[1:]) == message
        assert client.closed
        assert client.ended == "eof"


def test_version_5_tells_a_refusal_twice_over():
    _, client = websocket("v5.channel.k8s.io", refused="no such file")
    _, status = client.messages()
    told = json.loads(status[1:])
    once = "Internal error occurred: error executing command in container: no such file"
    assert told == {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {once}",
        "reason": "InternalError",
        "details": {"causes": [{"message": once}]},
        "code": 500,
    }


def test_base64_is_text():
    command, client = websocket("v4.base64.channel.k8s.io")
    assert client.messages() == ["1"]
    client.send("0aGVsbG8=")
    client.send("0not base64!")
    assert command.session.stdin.read_nowait() == b"hello"
    command.session.stdout.write(b"hello")
    client.run()
    assert client.messages() == ["1aGVsbG8="]


def test_no_version_is_the_first():
    command, client = websocket("")
    client.messages()
    command.session.ended(0)
    client.run(1)
    assert client.messages() == []
    assert client.closed


def test_output_that_is_not_wanted_is_thrown_away():
    command, client = websocket("v4.channel.k8s.io", Options(stderr=True))
    client.messages()
    command.session.stdout.write(b"out")
    command.session.stderr.write(b"err")
    client.run()
    assert client.messages() == [b"\2err"]


def test_a_message_larger_than_all_others_ends_the_connection(monkeypatch):
    monkeypatch.setattr("pytest_kubesim.transports.websocket.MAX_MESSAGE_BYTES", 1000)
    _, client = websocket("v4.channel.k8s.io")
    client.send(bytes(2000))
    assert client.ended == "eof"
