"""DELETE of one object, and of a collection.

Follows `apiserver/pkg/endpoints/handlers/delete.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs

from pytest_kubesim.apimachinery import go_decoding, protobuf, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.schema import schema_named
from pytest_kubesim.apiserver import decoding, json_syntax, negotiation, responses, yaml_syntax
from pytest_kubesim.apiserver.handlers import list as listing
from pytest_kubesim.apiserver.handlers import selection, write
from pytest_kubesim.apiserver.options import delete_options, list_options

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Response

PAGE_SIZE = 10_000

_SCHEMA = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"


async def delete(scope: RequestScope) -> Response:
    """Delete an object, or mark it.  Raises `APIStatus`."""
    options = delete_options(scope, read_options(scope))
    scope.context_for(options, "")
    obj, gone = await scope.server.delete_object(
        scope, scope.name, options, write.delete_validator(scope, options)
    )
    code = 200
    if not gone and options.get("orphanDependents") is False:
        code = 202
    if obj.get("kind") == "Status":
        return responses.written(scope, code, obj)
    return responses.answer(scope, code, scope.server.store(scope.served).served(obj))


async def delete_collection(scope: RequestScope) -> Response:
    """Delete what the selectors select; the answer is what was there.  Raises `APIStatus`."""
    wanted = list_options(scope)
    selection.check_fields(scope, wanted)
    options = delete_options(scope, read_options(scope))
    scope.context_for(options, "")
    store = scope.server.store(scope.served)
    validate = write.delete_validator(scope, options)
    limit = wanted.limit or PAGE_SIZE
    result: Object | None = None
    items: list[Object] = []
    token = wanted.continue_
    while True:
        page = await listing.listed(
            scope, store, attrs.evolve(wanted, limit=limit, continue_=token)
        )
        result = result or page
        items += page["items"]
        for item in page["items"]:
            metadata: Object = item["metadata"]
            inner = attrs.evolve(scope, namespace=metadata.get("namespace") or scope.namespace)
            try:
                await scope.server.delete_object(inner, metadata["name"], dict(options), validate)
            except status.APIStatus as error:
                if not status.is_not_found(error):
                    raise
        token = page["metadata"].get("continue") or ""
        if wanted.limit or not token:
            break
    metadata = {"resourceVersion": result["metadata"]["resourceVersion"]}
    if wanted.limit:
        metadata = result["metadata"]
    return responses.answer(scope, 200, {**result, "metadata": metadata, "items": items})


def read_options(scope: RequestScope) -> Object | None:
    """The DeleteOptions in the body; None where it is empty.  Raises `APIStatus` (400, 415)."""
    request = scope.request
    if request.obj is not None and not request.body:
        value: Any = request.obj
    else:
        body = decoding.body_of(scope)
        if not body:
            return None
        media = negotiation.input_type(request.header("content-type"))
        try:
            if media == negotiation.PROTOBUF:
                value = decoding.from_protobuf(body, ("v1", "DeleteOptions"))
            elif media == negotiation.YAML:
                value = yaml_syntax.loads(body)[0]
            else:
                value = json_syntax.loads(body)
        except protobuf.UnknownKind as error:
            raise status.new_bad_request(f"{error} in {decoding.META_SCHEME}") from None
        except protobuf.ProtobufError as error:
            raise status.new_bad_request(str(error)) from None
        except ValueError as error:
            raise status.new_bad_request(
                f"couldn't get version/kind; json parse error: {error}"
            ) from None
    if not isinstance(value, dict):
        raise status.new_bad_request("decoded object cannot be converted to DeleteOptions")
    obj = cast("Object", value)
    kind, api_version = obj.get("kind") or "DeleteOptions", obj.get("apiVersion") or "v1"
    if kind != "DeleteOptions":
        raise status.new_bad_request(
            f"no kind {quote(kind)} is registered for version {quote(api_version)} in "
            f"{decoding.META_SCHEME}"
        )
    wrong = go_decoding.check_types(schema_named(_SCHEMA), obj)
    if wrong is not None:
        raise status.new_bad_request(wrong)
    return obj
