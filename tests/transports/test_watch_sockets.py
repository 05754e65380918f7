"""Watches and logs over WebSocket, as browsers and fabric8 ask for them."""

from __future__ import annotations

import base64
import json

import pytest
import wsproto
from wsproto import events

from pytest_kubesim.transports import serve
from pytest_kubesim.transports.http import Connection, Front, Identity
from pytest_kubesim.wire import UserInfo

ADMIN = Identity(serve.ADMIN)
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


class Client:
    """A WebSocket client on a connection in memory."""

    def __init__(self, kubesim, path, *headers, upgrade=True, identity=ADMIN):
        self.sent = b""
        self.closed = []
        front = Front(kubesim.kernel, kubesim.server, lambda _headers: identity)
        self.connection = Connection(front, self._receive, self.closed.append, "test")
        lines = [
            f"GET {path} HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: keep-alive, Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *headers,
        ]
        if upgrade and not any(line.startswith("Sec-WebSocket-Version") for line in lines):
            lines.append("Sec-WebSocket-Version: 13")
        self.connection.feed("\r\n".join([*lines, "", ""]).encode())
        self.ws = wsproto.connection.Connection(wsproto.ConnectionType.CLIENT)
        if upgrade:
            kubesim.clock.advance("1s")
            self.head, _, rest = self.sent.partition(b"\r\n\r\n")
            assert self.head.startswith(b"HTTP/1.1 101 "), self.sent
            self.ws.receive_data(rest)
            self.sent = b""

    def _receive(self, data):
        self.sent += data

    def messages(self):
        """What has come since: texts as `str`, binary messages as `bytes`."""
        self.ws.receive_data(self.sent)
        self.sent = b""
        return [event.data if isinstance(event, events.Message) else event for event in self.ws.events()]

    def say(self, event):
        self.connection.feed(self.ws.send(event))


def config_map(kubesim, name, **data):
    return kubesim.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})


def test_each_event_of_a_watch_is_a_text(kubesim):
    config_map(kubesim, "there")
    client = Client(kubesim, f"{CONFIG_MAPS}?watch=1&fieldSelector=metadata.name!=kube-root-ca.crt", "Origin: http://x")
    names = b"".join(sorted(line.partition(b":")[0].lower() + b" " for line in client.head.split(b"\r\n")[1:]))
    assert names == b"connection sec-websocket-accept upgrade "
    config_map(kubesim, "later", key="ä")
    kubesim.clock.advance("1s")
    texts = client.messages()
    assert all(text.endswith("\n") for text in texts)
    found = [json.loads(text) for text in texts]
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in found] == [
        ("ADDED", "there"), ("ADDED", "later"),
    ]
    assert found[1]["object"]["data"] == {"key": "ä"}


def test_events_in_protobuf_are_binary_messages_without_a_length(kubesim):
    config_map(kubesim, "there")
    client = Client(
        kubesim, f"{CONFIG_MAPS}?watch=1&fieldSelector=metadata.name=there", "Origin: http://x",
        "Accept: application/vnd.kubernetes.protobuf;stream=watch,application/vnd.kubernetes.protobuf",
    )
    (message,) = client.messages()
    assert bytes(message).startswith(b"\n\x05ADDED\x12")


def test_a_watch_that_ends_says_goodbye(kubesim):
    client = Client(kubesim, f"{CONFIG_MAPS}?watch=1&timeoutSeconds=5", "Origin: http://x")
    kubesim.clock.advance("10s")
    assert isinstance(client.messages()[-1], events.CloseConnection)
    assert client.closed == ["eof"]


def test_what_the_client_says_is_ignored_until_it_goes(kubesim):
    client = Client(kubesim, f"{CONFIG_MAPS}?watch=1", "Origin: http://x")
    client.say(events.TextMessage(data="hello"))
    client.say(events.Ping(payload=b"?"))
    assert isinstance(client.messages()[-1], events.Pong)
    client.say(events.CloseConnection(code=1000))
    assert client.closed == ["eof"]
    config_map(kubesim, "late")


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        (("Sec-WebSocket-Version: 13",), b"HTTP/1.1 403 Forbidden\r\n\r\n"),
        (("Sec-WebSocket-Version: 13", "Origin: nothing"), b"HTTP/1.1 403 Forbidden\r\n\r\n"),
        (
            ("Sec-WebSocket-Version: 8", "Origin: http://x"),
            b"HTTP/1.1 400 Bad Request\r\nSec-WebSocket-Version: 13\r\n\r\nmissing or bad WebSocket Version",
        ),
        (
            ("Sec-WebSocket-Version: 13", "Origin: http://x", "Sec-WebSocket-Protocol: a, b"),
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
        ),
    ],
)
def test_a_handshake_that_is_none_is_refused(kubesim, headers, answer):
    client = Client(kubesim, f"{CONFIG_MAPS}?watch=1", *headers, upgrade=False)
    kubesim.clock.advance("1s")
    assert (client.sent, client.closed) == (answer, ["eof"])


def test_a_request_that_fails_is_answered_as_ever(kubesim):
    client = Client(kubesim, "/apis/example.com/v1/things?watch=1", "Origin: http://x", upgrade=False)
    assert client.sent.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert client.closed == []


def pod(kubesim):
    kubesim.add_nodes(1)
    kubesim.create({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "talks"},
        "spec": {"restartPolicy": "Never", "containers": [
            {"name": "c", "image": "busybox", "command": ["sh", "-c", "echo one; sleep 30; echo two"]}]},
    })
    kubesim.eventually("pod/talks", {"status": {"phase": "Running"}}, within="2m")
    kubesim.clock.advance("1s")
    return "/api/v1/namespaces/default/pods/talks/log?follow=true"


@pytest.mark.kubesim(components="all")
def test_a_log_begins_with_an_empty_message(kubesim):
    client = Client(kubesim, pod(kubesim), "Sec-WebSocket-Version: 13")
    kubesim.clock.advance("60s")
    *messages, end = client.messages()
    assert [bytes(message) for message in messages] == [b"", b"one\n", b"two\n"]
    assert isinstance(end, events.CloseConnection)


@pytest.mark.kubesim(components="all")
def test_a_log_that_is_not_followed_is_said_and_goes(kubesim):
    target = pod(kubesim).partition("?")[0]
    client = Client(kubesim, target, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: binary.k8s.io")
    *messages, end = client.messages()
    assert [bytes(message) for message in messages] == [b"", b"one\n"]
    assert isinstance(end, events.CloseConnection)


@pytest.mark.kubesim(components="all")
def test_a_log_in_base64_is_text(kubesim):
    client = Client(
        kubesim, pod(kubesim), "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: unknown, base64.binary.k8s.io"
    )
    assert b"base64.binary.k8s.io" in client.head
    assert client.messages() == ["", "b25lCg=="]


# -- who asks --------------------------------------------------------------------------------------

def bearer(token):
    return f"base64url.bearer.authorization.k8s.io.{base64.urlsafe_b64encode(token.encode()).decode().rstrip('=')}"


def test_a_browser_sends_its_token_among_the_subprotocols(kubesim):
    kubesim.server.authenticators.tokens["a-token?"] = serve.ADMIN
    client = Client(
        kubesim, f"{CONFIG_MAPS}?watch=1", "Origin: http://x", f"Sec-WebSocket-Protocol: mine, {bearer('a-token?')}",
        identity=Identity(),
    )
    assert b"sec-websocket-protocol: mine\r\n" in client.head.lower() + b"\r\n"


@pytest.mark.parametrize(
    ("protocols", "status"),
    [
        (bearer("t"), 401),
        (f"a, {bearer('t')}, {bearer('t')}", 401),
        (f"a, {bearer('other')}", 401),
        (f"a, {bearer('t')}=", 401),
        (f"a, {bearer('')}", 403),
    ],
)
def test_a_token_among_the_subprotocols_has_to_be_as_it_is_sent(kubesim, protocols, status):
    kubesim.server.authenticators.tokens["t"] = serve.ADMIN
    client = Client(
        kubesim, f"{CONFIG_MAPS}?watch=1", "Origin: http://x", f"Sec-WebSocket-Protocol: {protocols}",
        identity=Identity(), upgrade=False,
    )
    assert client.sent.startswith(b"HTTP/1.1 %d " % status)


def test_a_client_certificate_comes_before_a_token(kubesim):
    kubesim.server.authenticators.tokens["t"] = serve.ADMIN
    review = b'{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}'
    sent = []
    for certificate in (UserInfo("jane"), None):
        front = Front(kubesim.kernel, kubesim.server, lambda _headers, who=certificate: Identity(certificate=who))
        Connection(front, sent.append, print).feed(
            b"POST /apis/authentication.k8s.io/v1/selfsubjectreviews HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(review), review)
        )
    kubesim.clock.advance("1s")
    users = [json.loads(answer.partition(b"\r\n\r\n")[2])["status"]["userInfo"]["username"] for answer in sent]
    assert users == ["jane", "admin"]
