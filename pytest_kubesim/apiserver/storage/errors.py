"""What storage refuses, and how the registry words it for clients.

Follows `apiserver/pkg/storage/errors.go` and `pkg/storage/errors/storage.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.etcd.messages import ErrDeadlineExceeded, EtcdError

__all__ = ["EtcdError", "StorageError", "interpret", "plain"]

TOO_LATE = "request did not complete within requested timeout - context deadline exceeded"
"""What `finisher.go` says after 34 s of a request that changes something."""
TOO_LONG = "request did not complete within the allotted timeout"
"""What the filter `timeout.go` says of any request after a minute."""

KEY_NOT_FOUND = 1
KEY_EXISTS = 2
RESOURCE_VERSION_CONFLICTS = 3
INVALID_OBJECT = 4
UNREACHABLE = 5
TIMEOUT = 6
CORRUPT_OBJECT = 7

_TEXTS = {
    KEY_NOT_FOUND: "key not found",
    KEY_EXISTS: "key exists",
    RESOURCE_VERSION_CONFLICTS: "resource version conflicts",
    INVALID_OBJECT: "invalid object",
    UNREACHABLE: "server unreachable",
    TIMEOUT: "request timeout",
    CORRUPT_OBJECT: "corrupt object",
}


class StorageError(Exception):
    """What storage says of a key; `code` is one of the constants of this file."""

    def __init__(self, code: int, key: str, revision: int = 0, problem: str = "<nil>") -> None:
        super().__init__(
            f"StorageError: {_TEXTS[code]}, Code: {code}, Key: {key}, "
            f"ResourceVersion: {revision}, AdditionalErrorMsg: {problem}"
        )
        self.code = code
        self.problem = problem


def plain(message: str) -> APIStatus:
    """500 without a reason: what becomes of a Go error that nobody has turned into a Status."""
    return APIStatus(500, "", message)


def interpret(error: Exception, resource: GroupResource, name: str, operation: str) -> APIStatus:
    """The refusal for a failed storage operation: get, list, create, update or delete."""
    if isinstance(error, APIStatus):
        return error
    if isinstance(error, ErrDeadlineExceeded):
        # Whoever waits for storage hears of it no more: the request's own time is over.
        changing = operation not in ("get", "list")
        return status.new_timeout_error(TOO_LATE if changing else TOO_LONG, 0)
    if isinstance(error, EtcdError):
        # A gRPC error as its text goes into a Status: nobody upstream translates these.
        return plain(str(error))
    assert isinstance(error, StorageError)
    code = error.code
    if code == KEY_NOT_FOUND:
        return status.new_not_found(resource, "" if operation == "list" else name)
    if code == UNREACHABLE or (code == TIMEOUT and operation == "list"):
        return status.new_server_timeout(resource, operation, 2)
    if code == KEY_EXISTS and operation == "create":
        return status.new_already_exists(resource, name)
    if code in (KEY_EXISTS, RESOURCE_VERSION_CONFLICTS, INVALID_OBJECT) and operation in (
        "update",
        "delete",
    ):
        return status.new_conflict(resource, name, error)
    if code == CORRUPT_OBJECT:
        return status.new_internal_error(error)
    return plain(str(error))
