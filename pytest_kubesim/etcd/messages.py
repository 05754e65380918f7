r"""What is said to etcd and what it answers.

Records follow ``etcdserverpb`` and ``mvccpb``, with Python's names; nothing in them is ever changed
after it was made. They are frozen structs, not attrs classes: a write makes a dozen of them, and a
struct is made in a tenth of the time. Keys are ``str`` (their order is the order of their UTF-8
bytes, as in etcd); values are opaque. ``range_end`` is etcd's: ``""`` means the single key,
``"\0"`` means every key from ``key`` on. The errors carry the gRPC code and text that etcd's
clients see (``api/v3rpc/rpctypes/error.go``).
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

FROM_KEY = "\0"
"""The ``range_end`` that means "every key greater than or equal to ``key``"."""

NO_LEASE = 0
"""The lease id of a key that has none."""

_SURROGATES = 0xD800
_AFTER_SURROGATES = 0xE000

CompareTarget: TypeAlias = Literal["VERSION", "CREATE", "MOD", "VALUE", "LEASE"]
CompareResult: TypeAlias = Literal["EQUAL", "GREATER", "LESS", "NOT_EQUAL"]
EventType: TypeAlias = Literal["PUT", "DELETE"]
WatchFilter: TypeAlias = Literal["NOPUT", "NODELETE"]
SortOrder: TypeAlias = Literal["NONE", "ASCEND", "DESCEND"]
SortTarget: TypeAlias = Literal["KEY", "VERSION", "CREATE", "MOD", "VALUE"]
AlarmType: TypeAlias = Literal["NOSPACE", "CORRUPT"]


def prefix_end(prefix: str) -> str:
    """The ``range_end`` that makes ``[prefix, range_end)`` all keys that begin with ``prefix``.

    Follows ``GetPrefixRangeEnd`` of etcd's ``client/v3/op.go``, with code points for bytes.
    """
    for position in range(len(prefix) - 1, -1, -1):
        if (point := ord(prefix[position])) < sys.maxunicode:
            # Surrogates are not characters and have no UTF-8 form.
            following = _AFTER_SURROGATES if point + 1 == _SURROGATES else point + 1
            return prefix[:position] + chr(following)
    return FROM_KEY


class KeyValue(msgspec.Struct, frozen=True, gc=False):
    """A key at one revision. A tombstone has ``version`` and ``create_revision`` 0 and no value."""

    key: str
    value: Any
    create_revision: int
    mod_revision: int
    version: int
    lease: int = NO_LEASE


class Event(msgspec.Struct, frozen=True, gc=False):
    """A change of one key. ``prev_kv`` is the key before it, ``None`` if it did not exist."""

    type: EventType
    kv: KeyValue
    prev_kv: KeyValue | None = None

    @property
    def is_create(self) -> bool:
        """Whether the key did not exist before."""
        return self.type == "PUT" and self.kv.create_revision == self.kv.mod_revision


class RangeRequest(msgspec.Struct, frozen=True):
    """Read a key or a range. ``revision`` 0 is the newest, ``limit`` 0 is no limit."""

    key: str
    range_end: str = ""
    revision: int = 0
    limit: int = 0
    count_only: bool = False
    keys_only: bool = False
    serializable: bool = False
    sort_order: SortOrder = "NONE"
    sort_target: SortTarget = "KEY"
    min_mod_revision: int = 0
    max_mod_revision: int = 0
    min_create_revision: int = 0
    max_create_revision: int = 0


class RangeResponse(msgspec.Struct, frozen=True):
    """``revision`` is the store's own; ``count`` is of all keys in the range, ``limit`` or not."""

    revision: int
    kvs: tuple[KeyValue, ...]
    more: bool
    count: int


class PutRequest(msgspec.Struct, frozen=True):
    """Write a key. ``ignore_value`` and ``ignore_lease`` keep what the key has."""

    key: str
    value: Any = None
    lease: int = NO_LEASE
    prev_kv: bool = False
    ignore_value: bool = False
    ignore_lease: bool = False


class PutResponse(msgspec.Struct, frozen=True):
    """``prev_kv`` is filled only when the request asked for it."""

    revision: int
    prev_kv: KeyValue | None = None


class DeleteRangeRequest(msgspec.Struct, frozen=True):
    """Delete a key or a range."""

    key: str
    range_end: str = ""
    prev_kv: bool = False


class DeleteRangeResponse(msgspec.Struct, frozen=True):
    """``prev_kvs`` is filled only when the request asked for it."""

    revision: int
    deleted: int
    prev_kvs: tuple[KeyValue, ...] = ()


class Compare(msgspec.Struct, frozen=True):
    """One condition of a transaction; of a key that does not exist every number is 0.

    A comparison of the value of a key that does not exist is false, whatever the ``result``.
    """

    key: str
    target: CompareTarget
    result: CompareResult
    operand: Any
    range_end: str = ""


class TxnRequest(msgspec.Struct, frozen=True):
    """If all of ``compare`` hold then ``success`` else ``failure``, as one revision."""

    compare: tuple[Compare, ...] = ()
    success: tuple[RequestOp, ...] = ()
    failure: tuple[RequestOp, ...] = ()


class TxnResponse(msgspec.Struct, frozen=True):
    """``responses`` has one entry for each operation of the branch that was taken."""

    revision: int
    succeeded: bool
    responses: tuple[ResponseOp, ...]


RequestOp: TypeAlias = RangeRequest | PutRequest | DeleteRangeRequest | TxnRequest
ResponseOp: TypeAlias = RangeResponse | PutResponse | DeleteRangeResponse | TxnResponse


class CompactionRequest(msgspec.Struct, frozen=True):
    """Forget what was superseded at or before ``revision``."""

    revision: int


class CompactionResponse(msgspec.Struct, frozen=True):
    """Answers a ``CompactionRequest``."""

    revision: int


class LeaseGrantRequest(msgspec.Struct, frozen=True):
    """``ttl`` is in seconds; ``id`` 0 lets the member choose."""

    ttl: int
    id: int = NO_LEASE


class LeaseGrantResponse(msgspec.Struct, frozen=True):
    """``ttl`` is what was granted, in seconds: the smallest is the lessor's."""

    revision: int
    id: int
    ttl: int


class LeaseRevokeRequest(msgspec.Struct, frozen=True):
    """End a lease; the keys attached to it are deleted in one revision."""

    id: int


class LeaseRevokeResponse(msgspec.Struct, frozen=True):
    """Answers a ``LeaseRevokeRequest``."""

    revision: int


class LeaseCheckpoint(msgspec.Struct, frozen=True):
    """A lease has ``remaining_ttl`` seconds left, as its primary lessor knew."""

    id: int
    remaining_ttl: int


class LeaseCheckpointRequest(msgspec.Struct, frozen=True):
    """Tells members what is left of leases, so that a new leader does not start them afresh."""

    checkpoints: tuple[LeaseCheckpoint, ...]


class LeaseCheckpointResponse(msgspec.Struct, frozen=True):
    """Answers a ``LeaseCheckpointRequest``."""

    revision: int


class LeaseTimeToLiveResponse(msgspec.Struct, frozen=True):
    """``ttl`` is what is left in seconds, -1 if the lease does not exist."""

    revision: int
    id: int
    ttl: int
    granted_ttl: int
    keys: tuple[str, ...]


class AlarmRequest(msgspec.Struct, frozen=True):
    """Raise or clear an alarm on a member."""

    action: Literal["ACTIVATE", "DEACTIVATE"]
    alarm: AlarmType


class AlarmResponse(msgspec.Struct, frozen=True):
    """``alarms`` are those that are now raised, in order of name."""

    revision: int
    alarms: tuple[AlarmType, ...]


class StatusResponse(msgspec.Struct, frozen=True):
    """What a member says of itself."""

    revision: int
    version: str
    member_id: int
    leader: int
    raft_term: int
    raft_index: int
    alarms: tuple[AlarmType, ...]


class HashKVResponse(msgspec.Struct, frozen=True):
    """A hash of all history from ``compact_revision`` to ``hash_revision``."""

    revision: int
    hash: int
    compact_revision: int
    hash_revision: int


class WatchResponse(msgspec.Struct, frozen=True):
    """Events of one watcher, ordered by revision.

    No events is a progress notice: all up to ``revision`` was delivered. ``compact_revision`` other
    than 0 ends the watcher: what it wanted next has been compacted. ``error`` ends it too.
    """

    revision: int
    events: tuple[Event, ...] = ()
    compact_revision: int = 0
    error: EtcdError | None = None


InternalRaftRequest: TypeAlias = (
    PutRequest
    | DeleteRangeRequest
    | TxnRequest
    | CompactionRequest
    | LeaseGrantRequest
    | LeaseRevokeRequest
    | LeaseCheckpointRequest
    | AlarmRequest
)
"""What members must agree on before they apply it."""

ApplyResponse: TypeAlias = (
    PutResponse
    | DeleteRangeResponse
    | TxnResponse
    | CompactionResponse
    | LeaseGrantResponse
    | LeaseRevokeResponse
    | LeaseCheckpointResponse
    | AlarmResponse
)


class EtcdError(Exception):
    """What etcd refuses or fails to do. ``code`` is gRPC's, ``text`` is etcd's description."""

    code: ClassVar[str] = "Unknown"
    text: ClassVar[str] = "etcdserver: unknown error"

    def __init__(self) -> None:
        super().__init__(self.text)


class ErrEmptyKey(EtcdError):
    """A request without a key."""

    code = "InvalidArgument"
    text = "etcdserver: key is not provided"


class ErrKeyNotFound(EtcdError):
    """A put that keeps the value or lease of a key that does not exist."""

    code = "InvalidArgument"
    text = "etcdserver: key not found"


class ErrValueProvided(EtcdError):
    """A put with a value that says to ignore it."""

    code = "InvalidArgument"
    text = "etcdserver: value is provided"


class ErrLeaseProvided(EtcdError):
    """A put with a lease that says to ignore it."""

    code = "InvalidArgument"
    text = "etcdserver: lease is provided"


class ErrTooManyOps(EtcdError):
    """A transaction longer than the member allows."""

    code = "InvalidArgument"
    text = "etcdserver: too many operations in txn request"


class ErrDuplicateKey(EtcdError):
    """A transaction that would change a key twice."""

    code = "InvalidArgument"
    text = "etcdserver: duplicate key given in txn request"


class ErrRequestTooLarge(EtcdError):
    """A request of more bytes than the member allows."""

    code = "InvalidArgument"
    text = "etcdserver: request is too large"


class ErrTooManyRequests(EtcdError):
    """Too much is waiting to be applied."""

    code = "ResourceExhausted"
    text = "etcdserver: too many requests"


class ErrCompacted(EtcdError):
    """The revision is older than what compaction left."""

    code = "OutOfRange"
    text = "etcdserver: mvcc: required revision has been compacted"


class ErrFutureRev(EtcdError):
    """The revision does not exist yet."""

    code = "OutOfRange"
    text = "etcdserver: mvcc: required revision is a future revision"


class ErrNoSpace(EtcdError):
    """The NOSPACE alarm is raised: only reads and deletes are served."""

    code = "ResourceExhausted"
    text = "etcdserver: mvcc: database space exceeded"


class ErrLeaseNotFound(EtcdError):
    """No such lease."""

    code = "NotFound"
    text = "etcdserver: requested lease not found"


class ErrLeaseExist(EtcdError):
    """A lease of that id exists."""

    code = "FailedPrecondition"
    text = "etcdserver: lease already exists"


class ErrLeaseTTLTooLarge(EtcdError):
    """A lease longer than 9,000,000,000 seconds."""

    code = "OutOfRange"
    text = "etcdserver: too large lease TTL"


class ErrEmptyWatcherRange(EtcdError):
    """A watch whose range ends before it begins."""

    code = "Unknown"
    text = "mvcc: watcher range is empty"


class ErrNoLeader(EtcdError):
    """The member knows no leader."""

    code = "Unavailable"
    text = "etcdserver: no leader"


class ErrNotLeader(EtcdError):
    """The member is not the leader."""

    code = "FailedPrecondition"
    text = "etcdserver: not leader"


class ErrLeaderChanged(EtcdError):
    """The leader changed while the request waited."""

    code = "Unavailable"
    text = "etcdserver: leader changed"


class ErrStopped(EtcdError):
    """The member is stopping."""

    code = "Unavailable"
    text = "etcdserver: server stopped"


class ErrTimeout(EtcdError):
    """No agreement in time; the request may or may not be applied."""

    code = "Unavailable"
    text = "etcdserver: request timed out"


class ErrTimeoutDueToLeaderFail(EtcdError):
    """No agreement in time since the leader was lost meanwhile."""

    code = "Unavailable"
    text = "etcdserver: request timed out, possibly due to previous leader failure"


class ErrTimeoutDueToConnectionLost(EtcdError):
    """No agreement in time since the leader cannot be reached."""

    code = "Unavailable"
    text = "etcdserver: request timed out, possibly due to connection lost"


class ErrTimeoutWaitAppliedIndex(EtcdError):
    """The member lags behind what was agreed."""

    code = "Unavailable"
    text = "etcdserver: request timed out, waiting for the applied index took too long"


class ErrUnhealthy(EtcdError):
    """The cluster has no quorum."""

    code = "Unavailable"
    text = "etcdserver: unhealthy cluster"


class ErrCorrupt(EtcdError):
    """The CORRUPT alarm is raised: members disagree on their data."""

    code = "DataLoss"
    text = "etcdserver: corrupt cluster"


class ErrProposalDropped(EtcdError):
    """The leader is handing over its leadership."""

    code = "Unknown"
    text = "rpc error: code = Unknown desc = raft proposal dropped"


class ErrConnectionRefused(EtcdError):
    """No member can be reached."""

    code = "Unavailable"
    text = (
        'rpc error: code = Unavailable desc = connection error: desc = "transport: Error while '
        'dialing: dial tcp: connect: connection refused"'
    )


class ErrConnectionLost(EtcdError):
    """The member ended before it answered; the request may or may not be applied."""

    code = "Unavailable"
    text = "rpc error: code = Unavailable desc = error reading from server: EOF"


class ErrKeepAlive(EtcdError):
    """The member was not heard of for so long that the connection was given up."""

    code = "Unavailable"
    text = (
        "rpc error: code = Unavailable desc = keepalive ping failed to receive ACK within timeout"
    )


class ErrDeadlineExceeded(EtcdError):
    """Whoever asked waits no longer."""

    code = "DeadlineExceeded"
    text = "context deadline exceeded"
