"""Port-forward on every wire, without sockets and without a cluster."""

from __future__ import annotations

import struct

import pytest
from upgraded import SpdyClient, WebSocketClient

from pytest_kubesim.kubelet.port_forward import PortForward, ports_of
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.sim.pipes import Refused, connection
from pytest_kubesim.transports.spdy import (
    CANCEL,
    Data,
    Decoder,
    Encoder,
    RstStream,
    SynReply,
    SynStream,
)


class Pod:
    """Something listens on port 80: its ends of connections are in `accepted`."""

    def __init__(self, wire, protocol="portforward.k8s.io", ports=()):
        self.kernel = Kernel()
        self.accepted = []
        self.service = PortForward(
            self.kernel,
            wire,
            protocol,
            ports=ports,
            sandbox="abc",
            connect=self.connect,
            refusal=lambda port, error: f"dial {port}: {error}",
        )

    async def connect(self, port):
        if port != 80:
            raise Refused
        here, there = connection(self.kernel)
        self.accepted.append(there)
        return here


def stream(number, kind, request="0", port="80"):
    return SynStream(number, (("streamtype", kind), ("port", port), ("requestid", request)))


def spdy_pod():
    pod = Pod("spdy")
    return pod, SpdyClient(pod.kernel, pod.service)


def test_a_pair_of_streams_is_a_connection():
    pod, client = spdy_pod()
    assert client.send(stream(1, "error"), stream(3, "data")) == [SynReply(1), SynReply(3)]
    client.send(Data(3, b"GET /"))
    (end,) = pod.accepted
    assert end.incoming.read_nowait() == b"GET /"
    end.write(b"200 OK")
    client.run()
    assert client.frames() == [Data(3, b"200 OK")]
    end.close()
    client.run(2)
    assert client.frames() == [Data(1, b"", fin=True), Data(3, b"", fin=True)]
    assert not client.ended, "the connection serves further pairs"


def test_connections_are_told_apart_by_their_request():
    pod, client = spdy_pod()
    client.send(stream(1, "error", "7"), stream(3, "error", "8"))
    client.send(stream(5, "data", "8"), stream(7, "data", "7"))
    assert len(pod.accepted) == 2
    client.send(Data(7, b"seven"), Data(5, b"eight"))
    assert sorted(end.incoming.read_nowait() for end in pod.accepted) == [b"eight", b"seven"]


def test_old_clients_name_no_request():
    pod, client = spdy_pod()
    for number, kind in ((1, "error"), (3, "data")):
        client.send(SynStream(number, (("streamtype", kind), ("port", "80"))))
    assert len(pod.accepted) == 1


def test_nobody_listens():
    _, client = spdy_pod()
    frames = client.send(stream(1, "error", port="81"), stream(3, "data", port="81"))
    assert frames[2:] == [
        Data(1, b"error forwarding port 81 to pod abc, uid : dial 81: Connection refused"),
        RstStream(3, CANCEL),
        RstStream(1, CANCEL),
    ]
    assert not client.ended


@pytest.mark.parametrize(
    "headers",
    [
        (("streamtype", "data"),),
        (("streamtype", "data"), ("port", "abc")),
        (("streamtype", "data"), ("port", "-1")),
        (("streamtype", "data"), ("port", "0")),
        (("streamtype", "data"), ("port", "65536")),
        (("port", "80"),),
        (("streamtype", "other"), ("port", "80")),
    ],
)
def test_streams_that_make_no_sense_are_reset(headers):
    _, client = spdy_pod()
    assert client.send(SynStream(1, headers)) == [RstStream(1, CANCEL)]


def test_the_other_half_of_a_pair_is_awaited_for_so_long():
    _, client = spdy_pod()
    client.send(stream(1, "error"))
    client.run(31)
    (frame,) = client.frames()
    assert frame.data.endswith(b"request=0) timed out waiting for streams")


def test_a_second_stream_of_a_kind_is_refused():
    _, client = spdy_pod()
    frames = client.send(stream(1, "error"), stream(3, "error"))
    assert Data(1, b"error processing stream for request 0: error stream already assigned") in frames


def test_a_client_that_leaves_closes_its_connections():
    pod, client = spdy_pod()
    client.send(stream(1, "error"), stream(3, "data"))
    client.connection.client_closed()
    client.run(2)
    assert pod.accepted[0].incoming.ended


def test_one_side_may_finish_before_the_other():
    pod, client = spdy_pod()
    client.send(stream(1, "error"), stream(3, "data"))
    client.send(Data(3, b"all I say", fin=True))
    (end,) = pod.accepted
    assert end.incoming.read_nowait() == b"all I say"
    end.write(b"my answer")
    client.run(0.5)
    assert client.frames() == [Data(3, b"my answer")]
    client.run(1)
    assert client.frames() == [Data(1, b"", fin=True), Data(3, b"", fin=True)]
    assert end.incoming.ended


def test_spdy_in_a_websocket():
    pod = Pod("tunnel")
    client = WebSocketClient(pod.kernel, pod.service, "SPDY/3.1+portforward.k8s.io")
    assert client.accepted == "SPDY/3.1+portforward.k8s.io"
    encoder, decoder = Encoder(), Decoder()
    wire = b"".join(map(encoder.encode, (stream(1, "error"), stream(3, "data"), Data(3, b"hello"))))
    messages = client.send(wire[:10]) + client.send(wire[10:])
    assert list(decoder.feed(b"".join(messages))) == [SynReply(1), SynReply(3)]
    assert pod.accepted[0].incoming.read_nowait() == b"hello"


def test_channels_of_a_websocket():
    pod = Pod("websocket", "v4.channel.k8s.io", (80, 443))
    client = WebSocketClient(pod.kernel, pod.service, "v4.channel.k8s.io")
    ports = [struct.pack("<BH", n, port) for n, port in ((0, 80), (1, 80), (2, 443), (3, 443))]
    assert client.messages() == [
        *ports, b"\3error forwarding port 443 to pod abc, uid : dial 443: Connection refused"
    ]
    client.send(b"\0ping")
    assert pod.accepted[0].incoming.read_nowait() == b"ping"
    pod.accepted[0].write(b"pong")
    client.run()
    assert client.messages() == [b"\0pong"]
    pod.accepted[0].close()
    client.run(2)
    client.messages()
    assert client.closed, "with its last port it ends"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([], 'query parameter "port" is required'),
        ([""], 'query parameter "port" cannot be empty'),
        (["abc"], 'unable to parse "abc" as a port: strconv.ParseUint: parsing "abc": invalid syntax'),
        (["-1"], 'unable to parse "-1" as a port: strconv.ParseUint: parsing "-1": invalid syntax'),
        (["0"], 'port "0" must be > 0'),
    ],
)
def test_ports_that_are_none(given, problem):
    with pytest.raises(ValueError, match="port") as caught:
        ports_of(given)
    assert str(caught.value) == problem


def test_ports_in_both_spellings():
    assert ports_of(["80,443", "65535"]) == [80, 443, 65535]
