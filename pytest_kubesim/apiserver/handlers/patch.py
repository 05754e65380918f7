"""PATCH of one object: JSON patch, merge patch, strategic merge patch, server-side apply.

Follows `apiserver/pkg/endpoints/handlers/patch.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.apimachinery import (
    go_decoding,
    jsonpatch,
    mergepatch,
    status,
    strategicpatch,
    validation,
)
from pytest_kubesim.apimachinery.golang import json_kind, json_text
from pytest_kubesim.apimachinery.golang import plain as plain_text
from pytest_kubesim.apimachinery.meta import (
    GroupKind,
    GroupResource,
    GroupVersionKind,
    get_path,
    parse_api_version,
)
from pytest_kubesim.apimachinery.strategicpatch_values import StrategicPatchError
from pytest_kubesim.apimachinery.validation import Path
from pytest_kubesim.apiserver import (
    decoding,
    field_manager,
    json_syntax,
    known_kinds,
    patience,
    responses,
    yaml_syntax,
)
from pytest_kubesim.apiserver.handlers import patched_text, unstructured, write
from pytest_kubesim.apiserver.handlers.create import NAMESPACES
from pytest_kubesim.apiserver.metadata import ensure_namespace
from pytest_kubesim.apiserver.options import field_validation, write_options
from pytest_kubesim.apiserver.storage.errors import plain

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.schema import Schema
    from pytest_kubesim.apimachinery.status import APIStatus
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.registry.rest import Strategy
    from pytest_kubesim.wire import Response

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
BUILT_IN = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
CUSTOM = (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)

MAX_OPERATIONS = 10_000
_REVISION = "ControllerRevision"


async def patch(scope: RequestScope) -> Response:
    """Change an object, or its status.  Raises `APIStatus`."""
    resource = scope.served
    patch_type = scope.request.header("content-type").partition(";")[0].strip()
    allowed = CUSTOM if resource.custom else BUILT_IN
    if patch_type not in allowed:
        if resource.custom:
            raise status.new_unsupported_media_type(allowed)
        raise status.APIStatus(
            415, status.UNSUPPORTED_MEDIA_TYPE, "415: Unsupported Media Type", {}
        )
    options = write_options(scope, "PatchOptions", patch_type)
    made, created = await patched(scope, Patcher(scope, patch_type, options), options)
    return responses.answer(scope, 201 if created else 200, made)


async def patched(
    scope: RequestScope, patcher: Patcher, options: dict[str, Any]
) -> tuple[Object, bool]:
    """The object after the patch, admission and storage, and whether it is new."""
    store = scope.server.store(scope.served)
    resource = scope.served
    scope.context_for(options, field_manager.manager_of(scope, options))
    namespace = "" if resource.group_resource == NAMESPACES else scope.namespace

    async def produce(old: Object | None) -> Object:
        live = None if old is None else store.served(old)
        new = await patience.patiently(lambda: patcher.applied_to(live))
        if old is None and (uid := get_path(new, "metadata", "uid")):
            raise status.new_conflict(
                store.name,
                scope.name,
                f"uid mismatch: the provided object specified uid {uid}, and no existing object "
                "was found",
            )
        new = ensure_namespace(new, namespace)
        write.check_name(new, scope.name, namespace)
        return await write.admit(scope, options, store.stored(new), old)

    made, created = await store.update(
        scope,
        scope.name,
        produce,
        strategy=patcher.strategy,
        validate=write.validator(scope, options, authorize_create=True),
        # What a subresource belongs to is there, or is not found.
        force_allow_create=patcher.patch_type == APPLY_PATCH and not scope.subresource,
    )
    return store.served(made), created


class Patcher:
    """One patch, which may have to be applied more than once."""

    def __init__(self, scope: RequestScope, patch_type: str, options: dict[str, Any]) -> None:
        self.scope = scope
        self.patch_type = patch_type
        self.options = options
        self.directive = field_validation(options)
        self.manager = field_manager.manager_of(scope, options)
        self.strategy: Strategy = write.strategy_of(scope)
        self.body = decoding.body_of(scope)
        self.given: Any = scope.request.obj
        self.in_process = scope.request.obj is not None and not self.body
        self.live: Object = {}
        if self.in_process and patch_type != APPLY_PATCH:
            self.given = scope.request.obj

    def applied_to(self, live: Object | None) -> Object:
        """The object after the patch, defaulted, with its managed fields.  Raises `APIStatus`."""
        scope = self.scope
        if self.patch_type == APPLY_PATCH:
            return self._apply(live)
        if live is None:
            raise status.new_not_found(scope.served.group_resource, scope.name)
        self.live = live
        if self.patch_type == STRATEGIC_PATCH:
            new = self._strategic(live)
        else:
            new = self._json(live)
        return field_manager.update(
            scope,
            live,
            new,
            manager=self.manager,
            strategy=self.strategy,
            subresource=scope.subresource,
        )

    # -- JSON patch and merge patch -----------------------------------------------------------

    def _json(self, live: Object) -> Object:
        problems: list[str] = []
        if self.patch_type == JSON_PATCH:
            document = self._json_patched(live, problems)
        else:
            given = self._read(problems)
            if not isinstance(given, dict):
                if self.directive == decoding.IGNORE or given is None:
                    raise status.new_bad_request("Invalid JSON Patch")
                raise status.new_bad_request(
                    f"error decoding patch: json: cannot unmarshal {json_kind(given)} into Go "
                    "value of type map[string]interface {}"
                )
            document = mergepatch.apply(live, cast("Object", given))
        if self.scope.served.kind == _REVISION and isinstance(document, dict):
            # Its data are bytes, compared as such: keys in the order that the patch left.
            document = {**document, "data": self._printed(live).get("data")}
        return self._decoded(document, live, problems)

    def _json_patched(self, live: Object, problems: list[str]) -> Any:
        given = self._read(problems, "json patch ")
        if self.directive != decoding.IGNORE and isinstance(given, list):
            wrong = _ill_typed_in_operations(given)
            if wrong:
                raise status.new_bad_request(f"error decoding patch: {wrong}")
        try:
            operations = jsonpatch.decode(given)
        except jsonpatch.JSONPatchError as error:
            text = str(error)
            if self.directive != decoding.IGNORE:
                # The strict decoder reads the patch first, into a type of the handlers' own.
                text = text.replace("jsonpatch.Patch", "[]handlers.jsonPatchOp")
                text = f"error decoding patch: {text}"
            raise status.new_bad_request(text) from None
        if len(operations) > MAX_OPERATIONS:
            raise status.new_request_entity_too_large(
                "The allowed maximum operations in a JSON patch is "
                f"{MAX_OPERATIONS}, got {len(operations)}"
            )
        if self.directive != decoding.IGNORE:
            problems += _unknown_in_operations(given)
        try:
            return jsonpatch.apply(live, operations)
        except jsonpatch.JSONPatchError as error:
            raise status.new_generic_server_response(
                422, "", GroupResource("", ""), "", str(error)
            ) from None

    def _read(self, problems: list[str], label: str = "") -> Any:
        """The patch as JSON; what is repeated in it goes into `problems`."""
        if self.in_process:
            return self.given
        try:
            value = json_syntax.loads(self.body)
        except ValueError:
            raise status.new_bad_request("invalid JSON patch") from None
        if self.directive != decoding.IGNORE and json_syntax.has_repeated_keys(self.body):
            problems += [label + text for text in json_syntax.complaints(self.body, [])]
        return value

    def _decoded(self, document: Any, live: Object, problems: list[str]) -> Object:
        """A patched document as an object of the kind.  Raises `APIStatus` (422)."""
        resource = self.scope.served
        if not isinstance(document, dict):
            kind = "array" if isinstance(document, list) else "value"
            raise self._refused(
                document,
                "couldn't get version/kind; json parse error: json: cannot unmarshal "
                f"{kind} into Go value of type {decoding.TYPE_META}",
            )
        obj = cast("Object", document)
        if resource.custom:
            return self._custom(obj, live, problems)
        obj = self._with_kind(obj)
        if resource.schema is None:
            return obj
        wrong = go_decoding.check_types(resource.schema, obj, live)
        if wrong is not None:
            document = self._printed(live)
            wrong = go_decoding.check_types(resource.schema, document) or wrong
            raise self._refused(document, wrong)
        if self.directive != decoding.IGNORE:
            unknown = go_decoding.unknown_fields(resource.schema, obj, live)
            if unknown:
                document = self._printed(live)
                unknown = go_decoding.unknown_fields(resource.schema, document)
            decoding.report(
                self.scope,
                [*problems, *unknown],
                self.directive,
                lambda text: self._refused(document, text),
            )
        self.scope.context.given = obj
        return decoding.complete(self.scope.context, resource, resource.schema, obj, live)

    def _custom(self, obj: Object, live: Object, problems: list[str]) -> Object:
        """A patched custom resource."""

        def refuse(text: str) -> APIStatus:
            return self._refused(self._printed(live), text)

        if not obj.get("kind"):
            raise refuse(f"Object 'Kind' is missing in '{json_text(obj)}'")
        if not obj.get("apiVersion"):
            raise status.new_internal_error(
                "Object 'apiVersion' is missing in 'object has no apiVersion field'"
            )
        return decoding.coerced(self.scope, obj, problems, self.directive, refuse)

    def _with_kind(self, obj: Object) -> Object:
        """The document with the kind of what is patched, which it may leave out."""
        resource = self.scope.served
        api_version, kind = obj.get("apiVersion") or "", obj.get("kind") or ""
        if api_version == resource.api_version and kind == resource.kind:
            return obj
        if not api_version:
            # Decoded as the internal type, which has no JSON names: nothing arrives.
            raise status.new_bad_request(
                f"the name of the object ({self.scope.name} based on URL) was undeterminable: "
                "name must be provided"
            )
        full = {**obj, "kind": kind or resource.kind}
        gvk = GroupVersionKind(*parse_api_version(full["apiVersion"]), full["kind"])
        catalog = self.scope.server.catalog
        problem = known_kinds.problem(catalog, gvk, resource.gvk, decoding.SCHEME)
        if problem:
            raise self._refused(self._printed(self.live), problem)
        return {**full, "apiVersion": resource.api_version}

    def _printed(self, live: Object) -> Any:
        """The patched document as an error shows it."""
        schema, given = self.scope.served.schema, self._read([])
        if not self.in_process:
            given = json_syntax.as_written(self.body)
        if self.patch_type == JSON_PATCH:
            return patched_text.json_patched(schema, live, jsonpatch.decode(given))
        return patched_text.merged(schema, live, given)

    @staticmethod
    def _refused(document: Any, problem: str) -> APIStatus:
        shown = json_text(document, sort_keys=False)
        return status.new_invalid(
            GroupKind("", ""), "", [validation.invalid(Path("patch"), shown, problem)]
        )

    @staticmethod
    def _refused_map(given: Any, problem: str) -> APIStatus:
        return status.new_invalid(
            GroupKind("", ""), "", [validation.invalid(Path("patch"), plain_text(given), problem)]
        )

    # -- strategic merge patch ----------------------------------------------------------------

    def _strategic(self, live: Object) -> Object:
        resource = self.scope.served
        problems: list[str] = []
        given = self._read(problems)
        if given is None:
            given = {}
        if not isinstance(given, dict):
            raise status.new_bad_request(
                f"json: cannot unmarshal {json_kind(given)} into Go value of type "
                "map[string]interface {}"
            )
        assert resource.schema is not None
        try:
            document = strategicpatch.apply(live, cast("Object", given), resource.schema)
        except StrategicPatchError as error:
            raise _strategic_refusal(error) from None
        if go_decoding.check_types(resource.schema, document, live) is not None:
            wrong = unstructured.problem(resource.schema, document)
            if wrong:
                raise self._refused_map(given, wrong)
            document = cast("Object", unstructured.typed(resource.schema, document))
        if self.directive != decoding.IGNORE:
            unknown = sorted(go_decoding.unknown_fields(resource.schema, document, live))
            decoding.report(
                self.scope,
                [*problems, *unknown],
                self.directive,
                lambda text: self._refused_map(given, text),
            )
        if resource.kind == _REVISION and "data" in document:
            # Its data are bytes, compared as such: they have been a map of Go by now.
            document = {**document, "data": patched_text.in_order(document["data"])}
        self.scope.context.given = document
        return decoding.complete(self.scope.context, resource, resource.schema, document, live)

    # -- apply --------------------------------------------------------------------------------

    def _apply(self, live: Object | None) -> Object:
        scope, resource = self.scope, self.scope.served
        repeated: list[str] = []
        if self.in_process:
            given: Any = self.given
        else:
            given, repeated = applied_body(self.body)
        applied = cast("Object", given)
        new = field_manager.apply(
            scope,
            live,
            applied,
            manager=self.options.get("fieldManager") or "",
            force=bool(self.options.get("force")),
            strategy=self.strategy,
            subresource=scope.subresource,
        )
        if repeated and self.directive != decoding.IGNORE:
            text = f"error converting YAML to JSON: {yaml_syntax.unmarshal_errors(repeated)}"
            if self.directive == decoding.STRICT:
                raise status.new_bad_request(f"error strict decoding patch: {text}")
            for line in repeated:
                scope.warn(line)
        if resource.schema is None:
            return new
        if not resource.custom and go_decoding.check_types(resource.schema, new) is not None:
            new = self._converted(resource.schema, applied, new)
        scope.context.given = new
        return decoding.complete(scope.context, resource, resource.schema, new)

    def _converted(self, schema: Schema, applied: Object, new: Object) -> Object:
        """What was applied in the types of Go.  Raises `APIStatus` (500)."""
        wrong = unstructured.problem(schema, new)
        if wrong:
            resource = self.scope.served
            kind = GroupVersionKind(resource.group, resource.version, resource.kind)
            metadata = cast("Object", applied.get("metadata") or {})
            named = f"{metadata.get('namespace') or ''}/{metadata.get('name') or ''}"
            raise status.APIStatus(
                500,
                "",
                f"failed to convert new object ({named}; {kind}) to proper version: "
                f"unable to convert unstructured object to {kind}: {wrong}",
            )
        return cast("Object", unstructured.typed(schema, new))


def applied_body(body: bytes) -> tuple[Any, list[str]]:
    """What is applied, and the keys that stand twice in it.  Raises `APIStatus` (400)."""
    try:
        given, repeated = yaml_syntax.loads(body)
    except ValueError as error:
        raise status.new_bad_request(f"error encoding patch: {error}") from None
    if given is not None and not isinstance(given, dict):
        raise status.new_bad_request(
            "error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot "
            f"unmarshal {json_kind(given)} into Go value of type map[string]interface {{}}"
        )
    return cast("Any", given or {}), repeated


def _ill_typed_in_operations(given: Any) -> str:
    """Why the strict decoder cannot read the operations of a JSON patch, or ""."""
    for operation in cast("list[Any]", given or []):
        if operation is not None and not isinstance(operation, dict):
            return (
                f"json: cannot unmarshal {json_kind(operation)} into Go value of type "
                "handlers.jsonPatchOp"
            )
        for key, value in cast("Object", operation or {}).items():
            if key in ("op", "path", "from") and not isinstance(value, str | None):
                return (
                    f"json: cannot unmarshal {json_kind(value)} into Go struct field "
                    f"jsonPatchOp.{key} of type string"
                )
    return ""


def _unknown_in_operations(given: Any) -> list[str]:
    known = ("op", "path", "from", "value")
    found: list[str] = []
    for index, operation in enumerate(given or ()):
        if isinstance(operation, dict):
            fields = cast("Object", operation)
            found += [
                f'json patch unknown field "[{index}].{key}"' for key in fields if key not in known
            ]
    return found


def _strategic_refusal(error: StrategicPatchError) -> APIStatus:
    if error.code == 400:
        return status.new_bad_request(str(error))
    if error.code == 422:
        return status.new_generic_server_response(422, "", GroupResource("", ""), "", str(error))
    return plain(str(error))
