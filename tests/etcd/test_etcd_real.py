"""Programmes of requests, answered by a member of ours and by a real etcd.

The real one is at ``KUBESIM_ETCD`` or on the ``PATH``, 3.7 or newer, and is spoken to through its JSON gateway.
Each programme has a part of it that looks empty: keys, leases and revisions of its own.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_kubesim.etcd.member import Member
from pytest_kubesim.etcd.messages import (
    FROM_KEY,
    CompactionRequest,
    Compare,
    DeleteRangeRequest,
    DeleteRangeResponse,
    EtcdError,
    Event,
    KeyValue,
    LeaseGrantRequest,
    LeaseRevokeRequest,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    TxnRequest,
    TxnResponse,
    WatchResponse,
    prefix_end,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator, Iterator
    from pathlib import Path

T = TypeVar("T")

pytestmark = [pytest.mark.interop, pytest.mark.slow]

# What programmes are made of

KEYS = st.sampled_from(["a", "aa", "ab", "b", "b/c", "c"])
ENDS = st.one_of(st.just(""), st.just(FROM_KEY), KEYS)
VALUES = st.sampled_from([b"", b"1", b"2", b"3"])
REVISIONS = st.integers(0, 14)
LEASES = st.integers(1, 3)

RANGES = st.builds(
    RangeRequest,
    KEYS,
    ENDS,
    revision=REVISIONS,
    limit=st.integers(0, 3),
    count_only=st.booleans(),
    keys_only=st.booleans(),
)
SORTED_RANGES = st.builds(
    RangeRequest,
    KEYS,
    ENDS,
    limit=st.integers(0, 2),
    sort_order=st.sampled_from(["NONE", "ASCEND", "DESCEND"]),
    # Neither sort is stable upstream, so only what no two keys share.
    sort_target=st.sampled_from(["KEY"]),
    min_mod_revision=st.sampled_from([0, 3]),
    max_mod_revision=st.sampled_from([0, 6]),
    min_create_revision=st.sampled_from([0, 3]),
    max_create_revision=st.sampled_from([0, 6]),
)
PUTS = st.one_of(
    st.builds(PutRequest, KEYS, VALUES, prev_kv=st.booleans()),
    st.builds(PutRequest, KEYS, VALUES, lease=LEASES),
    st.builds(PutRequest, KEYS, ignore_value=st.just(True), lease=st.sampled_from([0, 1])),
    st.builds(PutRequest, KEYS, VALUES, ignore_lease=st.just(True)),
)
DELETES = st.builds(DeleteRangeRequest, KEYS, ENDS, prev_kv=st.booleans())
RESULTS = st.sampled_from(["EQUAL", "GREATER", "LESS", "NOT_EQUAL"])
COMPARES = st.one_of(
    st.builds(Compare, KEYS, st.sampled_from(["MOD", "CREATE"]), RESULTS, REVISIONS, ENDS),
    st.builds(Compare, KEYS, st.just("VERSION"), RESULTS, st.integers(0, 2), ENDS),
    st.builds(Compare, KEYS, st.just("LEASE"), RESULTS, st.integers(0, 2), ENDS),
    st.builds(Compare, KEYS, st.just("VALUE"), RESULTS, VALUES, ENDS),
)


def _txns(operations: st.SearchStrategy[Any]) -> st.SearchStrategy[TxnRequest]:
    some = st.lists(operations, max_size=3).map(tuple)
    return st.builds(TxnRequest, st.lists(COMPARES, max_size=2).map(tuple), some, some)


SIMPLE = st.one_of(RANGES, PUTS, DELETES)
TXNS = _txns(st.one_of(SIMPLE, _txns(SIMPLE)))
PROGRAMMES = st.lists(
    st.one_of(
        PUTS,
        PUTS,
        DELETES,
        RANGES,
        SORTED_RANGES,
        TXNS,
        st.builds(CompactionRequest, st.integers(1, 14)),
        st.builds(LeaseGrantRequest, st.just(1000), LEASES),
        st.builds(LeaseRevokeRequest, LEASES),
    ),
    max_size=25,
)


# A real etcd


class Refused(Exception):
    """What etcd answered instead of a response."""


class Gateway:
    """etcd's JSON gateway. Texts go in and out as themselves, numbers as numbers."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """One call. Raises ``Refused`` with etcd's text."""
        try:
            with self._open(path, body) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise Refused(json.load(error)["message"]) from None

    def watch(self, create: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The responses of one watch, until etcd ends it; close the iterator to end it before."""
        with self._open("/v3/watch", {"create_request": create}) as response:
            for line in response:
                yield json.loads(line)["result"]

    def _open(self, path: str, body: dict[str, Any]) -> Any:
        data = json.dumps(body).encode()
        return urllib.request.urlopen(self.url + path, data, timeout=5)


def encode(text: str | bytes) -> str:
    """A text as the gateway wants it."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def decode(text: str) -> bytes:
    """The bytes of what the gateway gave."""
    return base64.b64decode(text)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _start(binary: str, folder: Path) -> Iterator[Gateway]:
    client, peer = (f"http://127.0.0.1:{port}" for port in _free_ports(2))
    command = [binary, "--data-dir", str(folder / "data"), "--log-level", "error"]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    command += ["--initial-cluster", f"default={peer}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            gateway = Gateway(client)
            _wait(process, gateway)
            yield gateway
        finally:
            process.kill()


def _wait(process: subprocess.Popen[bytes], gateway: Gateway) -> None:
    for _ in range(400):
        assert process.poll() is None, "etcd did not start"
        try:
            gateway.call("/v3/kv/range", {"key": encode("a")})
        except (OSError, Refused):
            time.sleep(0.05)
        else:
            return
    pytest.fail("etcd did not answer within 20 s")


def _binary() -> str:
    found = os.environ.get("KUBESIM_ETCD") or shutil.which("etcd")
    if not found:
        pytest.skip("no etcd to compare with: set KUBESIM_ETCD to one, 3.7 or newer")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    version = said.split()[2]
    if tuple(map(int, version.split(".")[:2])) < (3, 7):
        pytest.skip(f"this is etcd {version}: set KUBESIM_ETCD to one of 3.7 or newer")
    return found


@pytest.fixture(scope="session")
def real_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One for the run; whoever writes uses keys of its own."""
    yield from _start(_binary(), tmp_path_factory.mktemp("etcd"))


@pytest.fixture
def fresh_real_etcd(tmp_path: Path) -> Iterator[Gateway]:
    """One for the test, empty."""
    yield from _start(_binary(), tmp_path)


_CALLS = {
    RangeRequest: "/v3/kv/range",
    PutRequest: "/v3/kv/put",
    DeleteRangeRequest: "/v3/kv/deleterange",
    TxnRequest: "/v3/kv/txn",
    CompactionRequest: "/v3/kv/compaction",
    LeaseGrantRequest: "/v3/lease/grant",
    LeaseRevokeRequest: "/v3/lease/revoke",
}
_OPERATIONS = {
    RangeRequest: "request_range",
    PutRequest: "request_put",
    DeleteRangeRequest: "request_delete_range",
    TxnRequest: "request_txn",
}
_OPERANDS = {"VERSION": "version", "LEASE": "lease", "MOD": "mod_revision"}
_REVISIONS = {"revision", "min_mod_revision", "max_mod_revision"} | {
    "min_create_revision",
    "max_create_revision",
}


class Real:
    """A part of a real etcd that looks empty and at revision 1: keys, leases and revisions of its own."""

    serials = itertools.count(1)

    def __init__(self, gateway: Gateway, *, whole: bool = False) -> None:
        self.gateway = gateway
        serial = next(self.serials)
        self.prefix = "" if whole else f"programme-{serial}/"
        self.leases = serial * 10
        self.base = 0
        if not whole:
            # One revision between us and the compactions of others.
            answer = gateway.call("/v3/kv/put", {"key": encode("between")})
            self.base = int(answer["header"]["revision"]) - 1

    def do(self, request: Any) -> Any:
        answer = self.gateway.call(_CALLS[type(request)], self._body(request))
        return self._response(request, answer)

    def events(self, start: int) -> list[Event]:
        """All events from a revision on; writes one more key to know where to stop."""
        start = min(start, self.do(PutRequest("zz", b"the end")).revision)
        create: dict[str, Any] = {"key": encode(self.prefix), "prev_kv": True}
        create["range_end"] = encode(prefix_end(self.prefix))
        create["start_revision"] = str(start + self.base)
        found = list[Event]()
        stream = self.gateway.watch(create)
        for response in stream:
            if response.get("canceled"):
                raise Refused(response["compact_revision"])
            for event in response.get("events", ()):
                prev = event.get("prev_kv")
                kv = self._kv(event["kv"])
                if event.get("type", "PUT") == "DELETE":
                    kv = msgspec.structs.replace(kv, value=None)
                found.append(
                    Event(event.get("type", "PUT"), kv, None if prev is None else self._kv(prev))
                )
            if found and found[-1].kv.key == "zz":
                break
        stream.close()
        return found

    def _key(self, key: str) -> str:
        return encode(self.prefix + key)

    def _end(self, range_end: str) -> str:
        if range_end == FROM_KEY and self.prefix:
            return encode(prefix_end(self.prefix))
        return self._key(range_end) if range_end not in {"", FROM_KEY} else encode(range_end)

    def _body(self, request: Any) -> dict[str, Any]:
        if isinstance(request, TxnRequest):
            return {
                "compare": [self._compare(condition) for condition in request.compare],
                "success": [{_OPERATIONS[type(s)]: self._body(s)} for s in request.success],
                "failure": [{_OPERATIONS[type(s)]: self._body(s)} for s in request.failure],
            }
        body = dict[str, Any]()
        for name, value in msgspec.structs.asdict(request).items():
            if not value:
                continue
            if name == "key":
                body[name] = self._key(value)
            elif name == "range_end":
                body[name] = self._end(value)
            elif name == "value":
                body[name] = encode(value)
            elif name in _REVISIONS:
                body[name] = str(value + self.base)
            elif name in {"lease", "id"}:
                body["ID" if name == "id" else name] = str(value + self.leases)
            else:
                body["TTL" if name == "ttl" else name] = value
        return body

    def _compare(self, condition: Compare) -> dict[str, Any]:
        body: dict[str, Any] = {"target": condition.target, "result": condition.result}
        body |= {"key": self._key(condition.key), "range_end": self._end(condition.range_end)}
        operand = condition.operand
        if condition.target == "VALUE":
            return body | {"value": encode(operand)}
        if operand and condition.target in {"MOD", "CREATE"}:
            operand += self.base
        if operand and condition.target == "LEASE":
            operand += self.leases
        return body | {_OPERANDS.get(condition.target, "create_revision"): str(operand)}

    def _response(self, request: Any, answer: dict[str, Any]) -> Any:
        revision = int(answer["header"].get("revision", 0))
        revision -= self.base if revision else 0
        kvs = tuple(self._kv(kv) for kv in answer.get("kvs", ()))
        if isinstance(request, RangeRequest):
            if request.keys_only:
                kvs = tuple(msgspec.structs.replace(kv, value=None) for kv in kvs)
            return RangeResponse(
                revision, kvs, answer.get("more", False), int(answer.get("count", 0))
            )
        if isinstance(request, PutRequest):
            prev = answer.get("prev_kv")
            return PutResponse(revision, None if prev is None else self._kv(prev))
        if isinstance(request, DeleteRangeRequest):
            prevs = tuple(self._kv(kv) for kv in answer.get("prev_kvs", ()))
            return DeleteRangeResponse(revision, int(answer.get("deleted", 0)), prevs)
        if isinstance(request, TxnRequest):
            succeeded = answer.get("succeeded", False)
            steps = request.success if succeeded else request.failure
            inner = (next(iter(each.values())) for each in answer.get("responses", ()))
            return TxnResponse(
                revision,
                succeeded,
                tuple(self._response(step, one) for step, one in zip(steps, inner, strict=True)),
            )
        return revision

    def _kv(self, kv: dict[str, Any]) -> KeyValue:
        created, modified = int(kv.get("create_revision", 0)), int(kv.get("mod_revision", 0))
        lease = int(kv.get("lease", 0))
        return KeyValue(
            decode(kv["key"]).decode().removeprefix(self.prefix),
            decode(kv.get("value", "")),
            created - self.base if created else 0,
            modified - self.base if modified else 0,
            int(kv.get("version", 0)),
            lease - self.leases if lease else 0,
        )


class Ours:
    """A member of ours."""

    def __init__(self) -> None:
        self.member = Member()

    def do(self, request: Any) -> Any:
        call = {
            RangeRequest: self.member.range,
            PutRequest: self.member.put,
            DeleteRangeRequest: self.member.delete_range,
            TxnRequest: self.member.txn,
            CompactionRequest: self.member.compact,
            LeaseGrantRequest: self.member.lease_grant,
            LeaseRevokeRequest: self.member.lease_revoke,
        }[type(request)]
        response = _run(call(request))
        if isinstance(request, CompactionRequest | LeaseGrantRequest | LeaseRevokeRequest):
            return response.revision
        return response

    def events(self, start: int) -> list[Event]:
        start = min(start, self.do(PutRequest("zz", b"the end")).revision)
        found, ended = list[Event](), list[int]()

        def hear(response: WatchResponse) -> None:
            found.extend(response.events)
            ended.append(response.compact_revision)

        _run(
            self.member.watch("\0", FROM_KEY, start_revision=start, callback=hear, prev_kv=True)
        ).cancel()
        if any(ended):
            raise Refused
        return found


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("suspended")


def tell(peer: Ours | Real, programme: list[Any]) -> list[Any]:
    """What a programme is answered, errors as their texts."""
    answers = list[Any]()
    for request in programme:
        try:
            answers.append(peer.do(request))
        except (EtcdError, Refused) as error:
            answers.append(str(error))
    return answers


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(programme=PROGRAMMES, start=st.integers(1, 8))
def test_a_programme_is_answered_as_a_real_etcd_answers_it(
    real_etcd: Gateway, programme: list[Any], start: int
) -> None:
    ours, real = Ours(), Real(real_etcd)
    for request, mine, theirs in zip(
        programme, tell(ours, programme), tell(real, programme), strict=True
    ):
        assert mine == theirs, request
    assert _heard(ours, start) == _heard(real, start)


def _heard(peer: Ours | Real, start: int) -> list[Event] | str:
    try:
        return peer.events(start)
    except Refused:
        return "compacted"


def test_the_hash_is_the_one_a_real_etcd_computes(fresh_real_etcd: Gateway) -> None:
    ours, real = Ours(), Real(fresh_real_etcd, whole=True)
    programme: list[Any] = [
        LeaseGrantRequest(1000, 1),
        PutRequest("a", b"1"),
        PutRequest("b", b"", lease=1),
        TxnRequest((), (PutRequest("c", b"x" * 300), DeleteRangeRequest("a"))),
        PutRequest("a", b"2"),
        DeleteRangeRequest("b"),
        PutRequest("d", b"4"),
    ]
    real.leases = 0
    assert tell(ours, programme) == tell(real, programme)
    for compaction in ([], [CompactionRequest(4)], [CompactionRequest(6)]):
        assert tell(ours, compaction) == tell(real, compaction)
        for revision in (0, 7, 5):
            try:
                mine = ours.member.hash_kv(revision)
                told = (mine.hash, mine.compact_revision, mine.hash_revision)
            except EtcdError as error:
                told = str(error)
            try:
                answer = fresh_real_etcd.call("/v3/maintenance/hashkv", {"revision": str(revision)})
                theirs: Any = (
                    int(answer["hash"]),
                    int(answer.get("compact_revision", 0)),
                    int(answer.get("hash_revision", 0)),
                )
            except Refused as error:
                theirs = str(error)
            assert told == theirs, (compaction, revision)
