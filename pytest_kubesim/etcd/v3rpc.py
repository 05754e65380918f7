"""What a member refuses before anything else looks at a request.

For example, with four operations allowed::

    put "" = x                            ErrEmptyKey
    txn put a, put a                      ErrDuplicateKey
    txn put a, delete [a, c)              ErrDuplicateKey
    txn delete a, delete [a, c)           accepted: deleting twice is deleting
    txn of five operations                ErrTooManyOps

Follows ``server/etcdserver/api/v3rpc/key.go``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.etcd.messages import (
    FROM_KEY,
    DeleteRangeRequest,
    ErrDuplicateKey,
    ErrEmptyKey,
    ErrLeaseProvided,
    ErrTooManyOps,
    ErrValueProvided,
    PutRequest,
    TxnRequest,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

    from pytest_kubesim.etcd.messages import RangeRequest, RequestOp

    _Changes: TypeAlias = tuple[dict[str, None], list[tuple[str, str]]]

MAX_TXN_OPS = 128


def check_range(request: RangeRequest) -> None:
    """Raises ``ErrEmptyKey``."""
    if not request.key:
        raise ErrEmptyKey


def check_delete(request: DeleteRangeRequest) -> None:
    """Raises ``ErrEmptyKey``."""
    if not request.key:
        raise ErrEmptyKey


def check_put(request: PutRequest) -> None:
    """Raises ``ErrEmptyKey``, ``ErrValueProvided``, ``ErrLeaseProvided``."""
    if not request.key:
        raise ErrEmptyKey
    if request.ignore_value and request.value:
        raise ErrValueProvided
    if request.ignore_lease and request.lease:
        raise ErrLeaseProvided


def check_txn(request: TxnRequest, max_ops: int = MAX_TXN_OPS) -> None:
    """Raises ``ErrTooManyOps``, ``ErrDuplicateKey`` and what its operations raise."""
    _check_operations(request, max_ops)
    for branch in (request.success, request.failure):
        if len(branch) > 1 or (branch and isinstance(branch[0], TxnRequest)):
            _changes(branch)


def _check_operations(request: TxnRequest, max_ops: int) -> None:
    operations = max(len(request.compare), len(request.success), len(request.failure))
    if operations > max_ops:
        raise ErrTooManyOps
    for condition in request.compare:
        if not condition.key:
            raise ErrEmptyKey
    for branch in (request.success, request.failure):
        for step in branch:
            if isinstance(step, PutRequest):
                check_put(step)
            elif isinstance(step, TxnRequest):
                _check_operations(step, max_ops - operations)
            elif not step.key:
                raise ErrEmptyKey


def _changes(branch: Sequence[RequestOp]) -> _Changes:
    """The keys that a branch puts and the ranges it deletes; raises if they meet."""
    deletes = [
        (step.key, step.range_end) for step in branch if isinstance(step, DeleteRangeRequest)
    ]
    puts: dict[str, None] = {}
    for step in branch:
        if not isinstance(step, TxnRequest):
            continue
        then_puts, then_deletes = _changes(step.success)
        else_puts, else_deletes = _changes(step.failure)
        for key in then_puts:
            _check_put_once(key, puts, deletes)
        # Only one of the two branches is taken, so both may put the same key.
        for key in else_puts:
            _check_put_once(key, puts, deletes)
        puts |= then_puts | else_puts
        deletes += then_deletes + else_deletes
    for step in branch:
        if isinstance(step, PutRequest):
            _check_put_once(step.key, puts, deletes)
            puts[step.key] = None
    return puts, deletes


def _check_put_once(key: str, puts: dict[str, None], deletes: Iterable[tuple[str, str]]) -> None:
    if key in puts or any(_deletes(key, *span) for span in deletes):
        raise ErrDuplicateKey


def _deletes(key: str, start: str, range_end: str) -> bool:
    if not range_end:
        return key == start
    return start <= key and (range_end == FROM_KEY or key < range_end)
