"""`pods/binding`: the scheduler gives a pod its node.

Follows `pkg/registry/core/pod/storage/storage.go` (`BindingREST`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import meta, status, validation
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, GroupVersionKind, get_path
from pytest_kubesim.apimachinery.schema import schema_for
from pytest_kubesim.apimachinery.validation import FieldError, Path
from pytest_kubesim.apiserver import decoding, responses
from pytest_kubesim.apiserver.handlers import write
from pytest_kubesim.apiserver.metadata import ensure_namespace
from pytest_kubesim.apiserver.options import field_validation, write_options
from pytest_kubesim.apiserver.storage.errors import EtcdError, StorageError, interpret, plain

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.store import Store
    from pytest_kubesim.wire import Response

KIND = GroupVersionKind("", "v1", "Binding")
_BINDING = GroupResource("", "pods/binding")


async def bind(scope: RequestScope) -> Response:
    """Bind a pod to a node.  Raises `APIStatus`."""
    options = write_options(scope, "CreateOptions")
    given = decoding.read_object(scope, KIND, schema_for(*KIND), field_validation(options))
    given = ensure_namespace(given, scope.namespace)
    name = get_path(given, "metadata", "name") or ""
    if name != scope.name:
        raise status.new_bad_request("name in URL does not match name in Binding object")
    given = await write.admit(scope, options, given, None, kind=KIND)
    problems = _problems(given)
    if problems:
        raise plain(validation.aggregate(problems))
    await write.validator(scope, options, kind=KIND)(given, None)
    scope.context_for(options, "")
    pods = scope.server.catalog.by_resource("", "v1", "pods")
    assert pods is not None
    await assign(scope, scope.server.store(pods), given)
    return responses.written(
        scope,
        201,
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201},
    )


def _problems(given: Object) -> list[FieldError]:
    """`ValidatePodBinding`."""
    target: Object = given.get("target") or {}
    problems: list[FieldError] = []
    kind = target.get("kind") or ""
    if kind not in ("", "Node"):
        problems.append(validation.not_supported(Path("target", "kind"), kind, ("Node", "<empty>")))
    if not target.get("name"):
        problems.append(validation.required(Path("target", "name")))
    return problems


async def assign(scope: RequestScope, store: Store, given: Object) -> None:
    """Set the node of a pod that has none, and say that it is scheduled.  Raises `APIStatus`."""
    node: str = given["target"]["name"]
    metadata: Object = given.get("metadata") or {}

    async def assigned(existing: Object | None) -> Object:
        assert existing is not None
        if metadata.get("uid") and metadata["uid"] != existing["metadata"]["uid"]:
            raise status.new_conflict(
                store.name,
                scope.name,
                "StorageError: invalid object, Code: 4, Key: "
                f"/registry/{store.name.resource}/{scope.namespace}/{scope.name}, "
                "ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: "
                f"{metadata['uid']}, UID in object meta: {existing['metadata']['uid']}",
            )
        return _bound(scope, store, existing, node, metadata)

    try:
        await store.storage.guaranteed_update(
            store.key(scope.namespace, scope.name), assigned, dry_run=scope.context.dry_run
        )
    except (StorageError, EtcdError) as error:
        raise interpret(error, store.name, scope.name, "get") from None


def _conflict(scope: RequestScope, problem: str) -> status.APIStatus:
    return status.new_conflict(_BINDING, scope.name, problem)


def _bound(scope: RequestScope, store: Store, pod: Object, node: str, metadata: Object) -> Object:
    name = scope.name
    if pod["metadata"].get("deletionTimestamp"):
        raise _conflict(scope, f"pod {name} is being deleted, cannot be assigned to a host")
    spec: Object = pod["spec"]
    if spec.get("nodeName"):
        raise _conflict(scope, f"pod {name} is already assigned to node {quote(spec['nodeName'])}")
    if spec.get("schedulingGates"):
        raise _conflict(scope, f"pod {name} has non-empty .spec.schedulingGates")
    fields: dict[str, Any] = {}
    if metadata.get("annotations"):
        old: Object = pod["metadata"].get("annotations") or {}
        fields["annotations"] = {**old, **metadata["annotations"]}
    if metadata.get("labels"):
        fields["labels"] = {**(pod["metadata"].get("labels") or {}), **metadata["labels"]}
    obj = meta.with_metadata(pod, **fields) if fields else pod
    obj = {**obj, "spec": {**spec, "nodeName": node}}
    conditions: list[Object] = get_path(pod, "status", "conditions") or []
    entry: Object = {
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": scope.context.now,
    }
    kept = [c for c in conditions if c["type"] != "PodScheduled"]
    was = next((c for c in conditions if c["type"] == "PodScheduled"), None)
    if was is not None:
        if was["status"] == "True":
            entry["lastTransitionTime"] = was.get("lastTransitionTime")
        merged = [entry if c is was else c for c in conditions]
    else:
        merged = [*kept, entry]
    # The nomination has served its purpose.
    before: Object = pod.get("status") or {}
    kept_status = {k: v for k, v in before.items() if k != "nominatedNodeName"}
    bound = {**obj, "status": {**kept_status, "conditions": merged}}
    return store.printed(bound, store.resource)
