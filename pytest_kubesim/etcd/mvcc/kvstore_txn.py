"""Requests applied to a store: a range with filters and order, a put, a deletion, a transaction.

A transaction decides first, checks then, and only then changes, so that it is applied whole or not
at all. For example, on a store where a=1 was modified at revision 5::

    compare mod(a) EQUAL 5        holds
    success put a=2, range a      6.0 is written; the range sees it: a=2, modified 6
    failure range a               not looked at

Conditions of transactions inside are decided before the outer one changes anything. Follows
``server/etcdserver/txn``.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_kubesim.etcd.messages import (
    DeleteRangeRequest,
    DeleteRangeResponse,
    ErrCompacted,
    ErrFutureRev,
    ErrKeyNotFound,
    ErrLeaseNotFound,
    KeyValue,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    TxnRequest,
    TxnResponse,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from pytest_kubesim.etcd.messages import (
        Compare,
        CompareResult,
        CompareTarget,
        RequestOp,
        ResponseOp,
        SortTarget,
    )
    from pytest_kubesim.etcd.mvcc.kvstore import KVStore

    _Decided: TypeAlias = "RangeRequest | PutRequest | DeleteRangeRequest | _Branch"

_NOTHING = KeyValue("", None, 0, 0, 0)

_TARGETS: dict[CompareTarget, Callable[[KeyValue], Any]] = {
    "VERSION": operator.attrgetter("version"),
    "CREATE": operator.attrgetter("create_revision"),
    "MOD": operator.attrgetter("mod_revision"),
    "VALUE": operator.attrgetter("value"),
    "LEASE": operator.attrgetter("lease"),
}
_RESULTS: dict[CompareResult, Callable[[Any, Any], bool]] = {
    "EQUAL": operator.eq,
    "GREATER": operator.gt,
    "LESS": operator.lt,
    "NOT_EQUAL": operator.ne,
}
_SORTS: dict[SortTarget, Callable[[KeyValue], Any]] = {
    "KEY": operator.attrgetter("key"),
    "VERSION": operator.attrgetter("version"),
    "CREATE": operator.attrgetter("create_revision"),
    "MOD": operator.attrgetter("mod_revision"),
    "VALUE": operator.attrgetter("value"),
}


class _Branch(msgspec.Struct, frozen=True):
    """A transaction whose conditions are decided."""

    succeeded: bool
    operations: Sequence[_Decided]


def apply_range(store: KVStore, request: RangeRequest) -> RangeResponse:
    """Read as the request says. ``count`` is of the range before filters, as upstream counts.

    Raises ``ErrFutureRev``, ``ErrCompacted``.
    """
    if request.sort_target == "KEY" and request.sort_order != "DESCEND" and not _filters(request):
        return store.range(
            request.key,
            request.range_end,
            revision=request.revision,
            limit=request.limit,
            count_only=request.count_only,
            keys_only=request.keys_only,
        )
    whole = store.range(
        request.key,
        request.range_end,
        revision=request.revision,
        count_only=request.count_only,
        keys_only=request.keys_only and request.sort_target != "VALUE",
    )
    kvs = [kv for kv in whole.kvs if _passes(kv, request)]
    kvs.sort(key=_SORTS[request.sort_target], reverse=request.sort_order == "DESCEND")
    if request.keys_only:
        kvs = [kv if kv.value is None else msgspec.structs.replace(kv, value=None) for kv in kvs]
    more = 0 < request.limit < len(kvs)
    return RangeResponse(
        whole.revision, tuple(kvs[: request.limit] if more else kvs), more, whole.count
    )


def apply_put(store: KVStore, request: PutRequest) -> PutResponse:
    """Write one key as a revision of its own.

    Raises ``ErrLeaseNotFound``, ``ErrKeyNotFound``.
    """
    _check_put(store, request)
    response = _put(store, request)
    store.commit()
    return response


def apply_delete_range(store: KVStore, request: DeleteRangeRequest) -> DeleteRangeResponse:
    """Delete a key or a range as one revision."""
    response = _delete_range(store, request)
    store.commit()
    return response


def apply_txn(
    store: KVStore,
    compare: Sequence[Compare],
    success: Sequence[RequestOp],
    failure: Sequence[RequestOp],
) -> TxnResponse:
    """Apply a transaction as one revision.

    Raises ``ErrLeaseNotFound``, ``ErrKeyNotFound``, ``ErrFutureRev``, ``ErrCompacted``; the store
    is as before.
    """
    branch = _decide(store, compare, success, failure)
    _check(store, branch)
    responses = _execute(store, branch)
    return TxnResponse(store.commit(), branch.succeeded, responses)


def is_read_only(request: TxnRequest) -> bool:
    """Whether there are only reads. Follows ``IsTxnReadonly``, which trusts no inner one."""
    for branch in (request.success, request.failure):
        for step in branch:
            if not isinstance(step, RangeRequest):
                return False
    return True


def is_serializable(request: TxnRequest) -> bool:
    """Whether every operation is a read that may be served without asking the others."""
    return all(
        isinstance(step, RangeRequest) and step.serializable
        for step in request.success + request.failure
    )


def _decide(
    store: KVStore,
    compare: Sequence[Compare],
    success: Sequence[RequestOp],
    failure: Sequence[RequestOp],
) -> _Branch:
    succeeded = True
    for condition in compare:
        if not _holds(store, condition):
            succeeded = False
            break
    chosen = success if succeeded else failure
    for step in chosen:
        if isinstance(step, TxnRequest):
            return _Branch(succeeded, [_decided(store, step) for step in chosen])
    plain: Sequence[Any] = chosen
    return _Branch(succeeded, plain)


def _decided(store: KVStore, step: RequestOp) -> _Decided:
    if isinstance(step, TxnRequest):
        return _decide(store, step.compare, step.success, step.failure)
    return step


def _holds(store: KVStore, condition: Compare) -> bool:
    if condition.range_end:
        kvs = store.range(condition.key, condition.range_end).kvs
        if not kvs:
            return _holds_of(None, condition)
        for kv in kvs:  # noqa: SIM110 -- a generator would cost more than the comparison
            if not _holds_of(kv, condition):
                return False
        return True
    return _holds_of(store.latest(condition.key), condition)


def _holds_of(kv: KeyValue | None, condition: Compare) -> bool:
    if kv is None:
        # An absent value cannot be told from an empty one on the wire, so upstream lets it equal
        # nothing.
        if condition.target == "VALUE":
            return False
        kv = _NOTHING
    return _RESULTS[condition.result](_TARGETS[condition.target](kv), condition.operand)


def _check(store: KVStore, branch: _Branch) -> None:
    for step in branch.operations:
        if isinstance(step, PutRequest):
            _check_put(store, step)
        elif isinstance(step, RangeRequest):
            if step.revision > store.revision:
                raise ErrFutureRev
            if step.revision and step.revision < store.compacted:
                raise ErrCompacted
        elif isinstance(step, _Branch):
            _check(store, step)


def _check_put(store: KVStore, request: PutRequest) -> None:
    if request.lease and store.lessor is not None and store.lessor.lookup(request.lease) is None:
        raise ErrLeaseNotFound
    if (request.ignore_value or request.ignore_lease) and store.latest(request.key) is None:
        raise ErrKeyNotFound


def _execute(store: KVStore, branch: _Branch) -> tuple[ResponseOp, ...]:
    responses: list[ResponseOp] = []
    for step in branch.operations:
        if isinstance(step, PutRequest):
            responses.append(_put(store, step))
        elif isinstance(step, RangeRequest):
            responses.append(apply_range(store, step))
        elif isinstance(step, DeleteRangeRequest):
            responses.append(_delete_range(store, step))
        else:
            inner = _execute(store, step)
            # Upstream fills the revision of the outermost response only.
            responses.append(TxnResponse(0, step.succeeded, inner))
    return tuple(responses)


def _put(store: KVStore, request: PutRequest) -> PutResponse:
    value, lease = request.value, request.lease
    previous = None
    if request.prev_kv or request.ignore_value or request.ignore_lease:
        previous = store.latest(request.key)
        if request.ignore_value:
            assert previous is not None
            value = previous.value
        if request.ignore_lease:
            assert previous is not None
            lease = previous.lease
    store.stage_put(request.key, value, lease)
    return PutResponse(store.visible_revision, previous if request.prev_kv else None)


def _delete_range(store: KVStore, request: DeleteRangeRequest) -> DeleteRangeResponse:
    previous = store.range(request.key, request.range_end).kvs if request.prev_kv else ()
    deleted = store.stage_delete_range(request.key, request.range_end)
    return DeleteRangeResponse(store.visible_revision, deleted, previous)


def _filters(request: RangeRequest) -> bool:
    return bool(
        request.min_mod_revision
        or request.max_mod_revision
        or request.min_create_revision
        or request.max_create_revision
    )


def _passes(kv: KeyValue, request: RangeRequest) -> bool:
    return (
        kv.mod_revision >= request.min_mod_revision
        and kv.create_revision >= request.min_create_revision
        and not 0 < request.max_mod_revision < kv.mod_revision
        and not 0 < request.max_create_revision < kv.create_revision
    )
