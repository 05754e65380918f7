"""`/scale`: the one number of anything that has replicas.

A scale is an `autoscaling/v1` object made from its parent and written back into it; the paths come
from the kind (`rest.Scale`).

Follows `pkg/registry/apps/deployment/storage/storage.go` (`ScaleREST`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.apimachinery import (
    go_decoding,
    jsonpatch,
    labels,
    mergepatch,
    status,
    strategicpatch,
    validation,
)
from pytest_kubesim.apimachinery.managedfields import fieldmanager
from pytest_kubesim.apimachinery.managedfields import scale as scale_fields
from pytest_kubesim.apimachinery.meta import (
    GroupKind,
    GroupResource,
    GroupVersionKind,
    get_path,
    set_path,
)
from pytest_kubesim.apimachinery.schema import schema_for
from pytest_kubesim.apimachinery.strategicpatch_values import StrategicPatchError
from pytest_kubesim.apimachinery.validation import Path
from pytest_kubesim.apiserver import decoding, field_manager, json_syntax, responses, table
from pytest_kubesim.apiserver.apiextensions import scaling
from pytest_kubesim.apiserver.handlers import patch as patching
from pytest_kubesim.apiserver.handlers import write
from pytest_kubesim.apiserver.options import field_validation, write_options
from pytest_kubesim.apiserver.storage.errors import plain
from pytest_kubesim.apiserver.storage.etcd3 import Preconditions
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.rest import Scale

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.apimachinery.managedfields.scale import Mappings
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.store import Store
    from pytest_kubesim.registry.rest import Resource
    from pytest_kubesim.wire import Response

KIND = GroupVersionKind("autoscaling", "v1", "Scale")


async def serve(scope: RequestScope, verb: str) -> Response:
    """Read, replace or patch a scale.  Raises `APIStatus`."""
    store = scope.server.store(scope.served)
    if verb == "get":
        obj = store.served(await store.get(scope, scope.name, scope.param("resourceVersion")))
        shown = scaling.read if scope.served.custom else of_parent
        return _answer(scope, shown(scope.served, obj))
    if verb == "update":
        options = write_options(scope, "UpdateOptions")
        schema = schema_for(*KIND)
        given = decoding.read_object(scope, KIND, schema, field_validation(options))
        write.check_name(given, scope.name, scope.namespace)
        uid = given["metadata"].get("uid") or None
        made = await _written(scope, store, options, lambda _scale: given, Preconditions(uid))
    else:
        patch_type = scope.request.header("content-type").partition(";")[0].strip()
        options = write_options(scope, "PatchOptions", patch_type)
        made = await _written(
            scope,
            store,
            options,
            lambda current: _patched(scope, options, patch_type, current),
            applies=patch_type == patching.APPLY_PATCH,
        )
    return _answer(scope, of_parent(scope.served, store.served(made)))


def _answer(scope: RequestScope, scale: Object) -> Response:
    if scope.output.kind:
        scale = table.transform(scope, scale, _PRINTER)
    return responses.written(scope, 200, scale)


def _row(scale: Object, now_ns: int) -> list[Any]:
    return [
        scale["metadata"]["name"],
        scale["spec"].get("replicas", 0),
        scale["status"].get("replicas", 0),
        age(scale, now_ns),
    ]


_PRINTER = printer("Scale", _row)


def of_parent(resource: Resource, obj: Object) -> Object:
    """The scale of an object (`scaleFromDeployment` and its kin)."""
    where = resource.scale or Scale()
    metadata: Object = obj["metadata"]
    if resource.custom:
        return scaling.of_parent(resource, obj)[0]
    replicas = get_path(obj, *where.spec_replicas)
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    shown: Object = {key: metadata[key] for key in kept if metadata.get(key)}
    scale: Object = {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": shown,
        "spec": {"replicas": replicas} if replicas else {},
        "status": {"replicas": get_path(obj, *where.status_replicas, default=0) or 0},
    }
    selector = _selector(where, obj)
    if selector:
        scale["status"]["selector"] = selector
    return scale


def _selector(where: Scale, obj: Object) -> str:
    if where.selector is None:
        return ""
    found = get_path(obj, *where.selector)
    if where.selector_is_string or isinstance(found, str):
        return found or ""
    if isinstance(found, dict):
        fields = cast("Object", found)
        if fields and not fields.keys() <= {"matchLabels", "matchExpressions"}:
            return str(labels.from_set(fields))
        return str(labels.from_label_selector(fields)) if fields else ""
    return ""


async def _written(
    scope: RequestScope,
    store: Store,
    options: dict[str, Any],
    make: Callable[[Object], Object],
    preconditions: Preconditions | None = None,
    *,
    applies: bool = False,
) -> Object:
    resource = scope.served
    where = resource.scale or Scale()
    manager = field_manager.manager_of(scope, options)
    scope.context_for(options, manager)

    async def produce(old: Object | None) -> Object:
        if old is None:
            raise status.new_not_found(store.name, scope.name)
        live = store.served(old)
        begun = scaling.to_change if resource.custom else of_parent
        current = begun(resource, live)
        entries = _entries(scope, live, where)
        current = _with_entries(current, entries)
        wanted = make(current)
        write.check_name(wanted, scope.name, scope.namespace)
        if not applies:
            wanted = fieldmanager.update(
                current,
                wanted,
                schema=schema_for(*KIND),
                manager=manager,
                api_version="autoscaling/v1",
                now=scope.context.now,
                subresource="scale",
            )
        wanted = await write.admit(scope, options, wanted, current, kind=KIND)
        scaled = store.stored(_scaled(store, scope, live, wanted, where))
        await write.validator(scope, options, kind=KIND)(wanted, current)
        return scaled

    obj, _ = await store.update(scope, scope.name, produce, preconditions=preconditions)
    return obj


def _scaled(
    store: Store, scope: RequestScope, live: Object, wanted: Object, where: Scale
) -> Object:
    """The parent with the replicas of the scale.  Raises `APIStatus` (409, 422)."""
    metadata: Object = wanted.get("metadata") or {}
    version = metadata.get("resourceVersion")
    if version and version != live["metadata"]["resourceVersion"]:
        raise status.new_conflict(store.name, scope.name, status.OPTIMISTIC_LOCK_ERROR)
    uid = metadata.get("uid")
    if uid and uid != live["metadata"]["uid"]:
        raise status.new_conflict(
            store.name,
            scope.name,
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: "
            f"{live['metadata']['uid']}",
        )
    replicas = get_path(wanted, "spec", "replicas") or 0
    if scope.served.custom:
        scaling.check(scope.served, live, replicas)
    elif replicas < 0:
        problem = validation.invalid(
            Path("spec", "replicas"), replicas, "must be greater than or equal to 0"
        )
        raise status.new_invalid(GroupKind("autoscaling", "Scale"), scope.name, [problem])
    obj = set_path(live, where.spec_replicas, replicas)
    parent = scale_fields.to_parent(
        live["metadata"].get("managedFields"),
        metadata.get("managedFields"),
        api_version=scope.served.api_version,
        mappings=_mappings(scope, where),
    )
    return _with_entries(obj, parent)


def _mappings(scope: RequestScope, where: Scale) -> Mappings:
    if scope.served.custom:
        return scaling.mappings(scope.server, scope.served)
    path = tuple(f"f:{name}" for name in where.spec_replicas)
    return {scope.served.api_version: path}


def _entries(scope: RequestScope, live: Object, where: Scale) -> list[Object]:
    return scale_fields.to_subresource(
        live["metadata"].get("managedFields"), _mappings(scope, where)
    )


def _with_entries(obj: Object, entries: list[Object]) -> Object:
    metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    if entries:
        metadata["managedFields"] = entries
    return {**obj, "metadata": metadata}


def _patched(
    scope: RequestScope, options: dict[str, Any], patch_type: str, current: Object
) -> Object:
    """A scale after a patch.  Raises `APIStatus`."""
    schema = schema_for(*KIND)
    assert schema is not None
    if patch_type == patching.APPLY_PATCH:
        given, _ = (
            (scope.request.obj, None)
            if scope.request.obj is not None
            else patching.applied_body(decoding.body_of(scope))
        )
        return fieldmanager.apply(
            current,
            cast("Object", given),
            schema=schema,
            manager=options.get("fieldManager") or "",
            force=bool(options.get("force")),
            api_version="autoscaling/v1",
            kind="Scale",
            now=scope.context.now,
            subresource="scale",
        )
    try:
        given = (
            scope.request.obj
            if scope.request.obj is not None
            else json_syntax.loads(decoding.body_of(scope))
        )
    except ValueError as error:
        raise status.new_bad_request(str(error)) from None
    try:
        if patch_type == patching.JSON_PATCH:
            new = jsonpatch.apply(current, jsonpatch.decode(given))
        elif patch_type == patching.MERGE_PATCH:
            new = mergepatch.apply(current, cast("Object", given))
        elif patch_type == patching.STRATEGIC_PATCH:
            new = strategicpatch.apply(current, cast("Object", given), schema)
        else:
            raise status.APIStatus(
                415, status.UNSUPPORTED_MEDIA_TYPE, "415: Unsupported Media Type", {}
            )
    except jsonpatch.JSONPatchError as error:
        raise status.new_generic_server_response(
            422, "", GroupResource("", ""), "", str(error)
        ) from None
    except StrategicPatchError as error:
        raise plain(str(error)) from None
    wrong = go_decoding.check_types(schema, new)
    if wrong is not None:
        raise status.new_bad_request(wrong)
    return new
