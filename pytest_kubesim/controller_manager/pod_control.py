"""How controllers create, patch and delete pods: the requests, and the events that tell of them.

The law: a creation or deletion that the API server refuses is told in a Warning event and raised;
one that succeeds in a Normal event.  Creations come in batches of 1, 2, 4, ...: a refusal ends them
after its batch.  Follows `RealPodControl` in `pkg/controller/controller_utils.go` and
`slowStartBatch` in `pkg/controller/replicaset/replica_set.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.client_go.resources import PODS
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import (
    RETRIABLE,
    SyncError,
    is_namespace_terminating,
)

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.record import EventRecorder
    from pytest_kubesim.client_go.rest import RESTClient
    from pytest_kubesim.sim.process import Process

FAILED_CREATE = "FailedCreate"
SUCCESSFUL_CREATE = "SuccessfulCreate"
FAILED_DELETE = "FailedDelete"
SUCCESSFUL_DELETE = "SuccessfulDelete"

INITIAL_BATCH_SIZE = 1
MAX_PREFIX = 253


def pod_prefix(controller_name: str) -> str:
    """The `generateName` of a controller's pods: its name and a dash, if that is a valid name."""
    prefix = f"{controller_name}-"
    return prefix if len(prefix) <= MAX_PREFIX else controller_name


def pod_from_template(
    template: Object, owner: Object, reference: Object | None, *, generate_name: str = ""
) -> Object:
    """A pod as a template says, controlled by `reference`."""
    source = fields.mapping(template, "metadata")
    metadata: dict[str, Any] = {
        "generateName": generate_name or pod_prefix(meta.name(owner)),
        "labels": dict(fields.strings(source, "labels")),
    }
    if annotations := source.get("annotations"):
        metadata["annotations"] = dict(annotations)
    if finalizers := source.get("finalizers"):
        metadata["finalizers"] = list(finalizers)
    if reference is not None:
        metadata["ownerReferences"] = [reference]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": template.get("spec") or {},
    }


class PodControl:
    """Creates and deletes pods for one controller."""

    __slots__ = ("_client", "_recorder")

    def __init__(self, client: RESTClient, recorder: EventRecorder) -> None:
        self._client = client
        self._recorder = recorder

    async def create(self, namespace: str, pod: Object, owner: Object) -> Object:
        """Create `pod` for `owner`."""
        if not meta.labels(pod):
            raise SyncError("unable to create pods, no labels")
        try:
            created = await self._client.create(PODS, namespace, pod)
        except RETRIABLE as error:
            if not is_namespace_terminating(error):
                self._recorder.event(owner, "Warning", FAILED_CREATE, f"Error creating: {error}")
            raise
        name = created["metadata"]["name"]
        self._recorder.event(owner, "Normal", SUCCESSFUL_CREATE, f"Created pod: {name}")
        return created

    async def patch(self, namespace: str, name: str, patch: Object) -> Object:
        """Strategic merge patch of a pod."""
        return await self._client.patch(PODS, namespace, name, patch)

    async def delete(self, namespace: str, name: str, owner: Object) -> None:
        """Delete a pod of `owner`.

        Raises: `APIStatus` as it is when the pod is gone already, else `SyncError` with the cause.
        """
        try:
            await self._client.delete(PODS, namespace, name)
        except RETRIABLE as error:
            if status.is_not_found(error):
                raise
            self._recorder.event(owner, "Warning", FAILED_DELETE, f"Error deleting: {error}")
            raise SyncError(f"unable to delete pods: {error}") from error
        self._recorder.event(owner, "Normal", SUCCESSFUL_DELETE, f"Deleted pod: {name}")


async def all_at_once(
    process: Process, calls: Sequence[Coroutine[Any, Any, Any]]
) -> list[Exception | None]:
    """Run calls side by side, begun in order; gives what each of them failed with.

    Raises: what one of them raised, if that is not one of `RETRIABLE`.
    """
    kernel = process.kernel
    tasks = [
        kernel.spawn(call, name=f"{process.name}/call", process=process, eager=True, daemon=True)
        for call in calls
    ]
    errors: list[Exception | None] = []
    for task in tasks:
        try:
            await task
        except RETRIABLE as error:
            errors.append(error)
        else:
            errors.append(None)
    return errors


async def slow_start_batch(
    process: Process,
    count: int,
    call: Callable[[], Coroutine[Any, Any, Any]],
    initial_batch_size: int = INITIAL_BATCH_SIZE,
) -> tuple[int, Exception | None]:
    """Do `call` `count` times, in batches that double as long as all goes well.

    Returns: how many calls succeeded, and the first error.
    """
    remaining, successes = count, 0
    size = min(remaining, initial_batch_size)
    while size > 0:
        errors = await all_at_once(process, [call() for _ in range(size)])
        failed = [error for error in errors if error is not None]
        successes += size - len(failed)
        if failed:
            return successes, failed[0]
        remaining -= size
        size = min(2 * size, remaining)
    return successes, None
