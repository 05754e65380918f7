"""Why a sync of a pod did not come to its end: what statuses show, and when to try again."""

from __future__ import annotations


class SyncError(Exception):
    """A sync failed.  `retry_at_ns` is when a backoff ends; None: after the usual period.

    `sandbox_ns`: when the sync had made a sandbox, if it had.
    """

    def __init__(self, message: str, retry_at_ns: int | None = None) -> None:
        super().__init__(message)
        self.retry_at_ns = retry_at_ns
        self.sandbox_ns: int | None = None


class ResizeError(SyncError):
    """Running containers could not be given other resources."""


class StartError(SyncError):
    """A container could not be started: `reason` and `message` as its status shows them."""

    def __init__(self, reason: str, message: str, retry_at_ns: int | None = None) -> None:
        super().__init__(f"{reason}: {message}", retry_at_ns)
        self.reason = reason
        self.message = message


class ContentProblem(Exception):
    """A source of a volume that is not there."""
