"""Bodies: from bytes, or from an in-process client's object, to an object of the kind expected.

The law: what comes out is typed as Go would have it (unknown keys gone, defaults filled in, printed
as Go prints), or a refusal in upstream's words.  An object that came in is never changed.

Follows `handlers/rest.go` (`transformDecodeError`) and `runtime/serializer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.apimachinery import go_decoding, go_encoding, protobuf, status
from pytest_kubesim.apimachinery.golang import json_kind, json_text, quote
from pytest_kubesim.apimachinery.meta import GroupVersionKind, Object, parse_api_version
from pytest_kubesim.apimachinery.protobuf import NO_MESSAGE
from pytest_kubesim.apimachinery.schema import schema_for
from pytest_kubesim.apiserver import json_syntax, known_kinds, negotiation, yaml_syntax

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.apimachinery.schema import Schema
    from pytest_kubesim.apimachinery.status import APIStatus
    from pytest_kubesim.apiserver.apiextensions.strategy import CustomStrategy
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.registry.rest import Context, Resource

MAX_BODY_BYTES = 3 * 1024 * 1024
SCHEME = 'scheme "pkg/api/legacyscheme/scheme.go:30"'
META_SCHEME = 'scheme "pkg/runtime/scheme.go:111"'

TYPE_META = (
    'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; '
    'Kind string "json:\\"kind,omitempty\\"" }'
)

STRICT, WARN, IGNORE = "Strict", "Warn", "Ignore"


def body_of(scope: RequestScope) -> bytes:
    """The body.  Raises `APIStatus` (413) where it is too large."""
    body = scope.request.body or b""
    if len(body) > MAX_BODY_BYTES:
        raise status.new_request_entity_too_large(f"limit is {MAX_BODY_BYTES}")
    return body


def read_object(
    scope: RequestScope,
    kind: GroupVersionKind,
    schema: Schema | None,
    directive: str,
    base: Object | None = None,
) -> Object:
    """The object in a body that holds one of `kind`, checked and complete but for its defaults.

    `base` is a stored object of that kind and version: what an in-process client hands back of it
    unchanged needs no second look.

    Raises `APIStatus` (400, 413, 415).  Warnings go into the scope.
    """
    value, body, repeated = _value(scope, kind, strict=directive != IGNORE)
    if scope.served.custom and _is_served(scope, kind):
        return _custom(scope, value, kind, body, repeated, directive)
    obj = _typed(scope, value, kind, body)
    if schema is None:
        return obj
    wrong = go_decoding.check_types(schema, obj, base)
    if wrong is not None:
        if "cannot unmarshal number" in wrong and body[:1] == b"{":
            wrong = go_decoding.check_types(schema, json_syntax.as_written(body)) or wrong
        raise refused(obj, kind, wrong)
    if directive != IGNORE:
        unknown = go_decoding.unknown_fields(schema, obj, base)
        if repeated is IN_JSON:
            unknown = json_syntax.complaints(body, unknown)
        elif repeated:
            unknown = [*unknown, *repeated]
        report(scope, unknown, directive, lambda text: refused(obj, kind, text))
    scope.context.given = obj
    resource = scope.served if _is_served(scope, kind) else None
    return complete(scope.context, resource, schema, obj, base)


def _custom(
    scope: RequestScope,
    value: Any,
    kind: GroupVersionKind,
    body: bytes,
    repeated: list[str],
    directive: str,
) -> Object:
    """A custom resource, of which the decoder demands no more than a kind."""
    wrong = _type_meta_problem(value)
    if wrong:
        problem = f"couldn't get version/kind; json parse error: {wrong}"
        raise _unrecognized(kind, problem, body)
    obj = cast("Object", value) if value is not None else {}
    if not obj.get("kind"):
        text = body.decode("utf-8", "replace") if body else json_text(obj)
        raise _unrecognized(kind, f"Object 'Kind' is missing in '{text}'", body)
    group, version = _parsed(obj.get("apiVersion") or "", kind, body)
    problems = json_syntax.complaints(body, []) if repeated is IN_JSON else repeated
    given = obj

    def refuse(text: str) -> APIStatus:
        return _refused_custom(given, kind, text)

    obj = coerced(scope, obj, problems, directive, refuse)
    if (group, version) != (kind.group, kind.version):
        raise status.new_bad_request(
            f"the API version in the data ({obj.get('apiVersion') or ''}) does not match the "
            f"expected API version ({kind.api_version})"
        )
    return obj


def _refused_custom(obj: Object, kind: GroupVersionKind, problem: str) -> APIStatus:
    return refused({"apiVersion": "", **obj}, kind, problem)


def coerced(
    scope: RequestScope, obj: Object, problems: list[str], directive: str, refuse: Any
) -> Object:
    """A custom resource as its schema allows, with its defaults.

    Raises what `refuse(text)` makes of a complaint.
    """
    strategy = cast("CustomStrategy", scope.served.strategy)
    try:
        found, unknown = strategy.coerce(obj)
    except ValueError as error:
        raise refuse(str(error)) from None
    if directive != IGNORE:
        texts = [f'unknown field "{path}"' for path in unknown]
        report(scope, [*problems, *texts], directive, refuse)
    return strategy.default(found)


IN_JSON: list[str] = ["..."]
"""Some key stands twice in a JSON body: where, only the walk through it tells."""


def _value(
    scope: RequestScope, kind: GroupVersionKind, *, strict: bool
) -> tuple[Any, bytes, list[str]]:
    """What came in, its bytes, and the keys that stand twice in it."""
    request = scope.request
    if request.obj is not None and not request.body:
        return request.obj, b"", []
    offers = negotiation.CUSTOM if scope.served.custom else negotiation.BUILT_IN
    media = negotiation.input_type(request.header("content-type"), offers)
    body = body_of(scope)
    if media == negotiation.PROTOBUF:
        if not body:
            raise _unrecognized(kind, "empty data", body)
        if not body.startswith(protobuf.MAGIC):
            raise _unrecognized(kind, NO_MESSAGE, body)
        return _sent_as_protobuf(body, kind), b"", []
    try:
        if media == negotiation.YAML:
            value, body, repeated = _yaml(body, kind)
            return value, body, repeated
        value = json_syntax.loads(body)
    except ValueError as error:
        problem = f"couldn't get version/kind; json parse error: {error}"
        raise _unrecognized(kind, problem, body) from None
    return value, body, IN_JSON if strict and json_syntax.has_repeated_keys(body) else []


def _yaml(body: bytes, kind: GroupVersionKind) -> tuple[Any, bytes, list[str]]:
    try:
        value, repeated = yaml_syntax.loads(body)
    except ValueError as error:
        raise _unrecognized(kind, str(error), body) from None
    return value, body, [yaml_syntax.unmarshal_errors(repeated)] if repeated else []


def _is_served(scope: RequestScope, kind: GroupVersionKind) -> bool:
    return scope.resource is not None and scope.resource.gvk == kind


def complete(
    context: Context,
    resource: Resource | None,
    schema: Schema,
    obj: Object,
    base: Object | None = None,
) -> Object:
    """The object with its defaults, as Go prints it; `base` is one that has been printed.

    What is printed here is kept in `context.printed`, so that it is not printed again.
    """
    if resource is not None:
        try:
            obj = resource.strategy.default(obj)
        except (AttributeError, TypeError):
            # A null in a list, which Go has made an empty struct of by now.  It is too rare to look
            # for it in every object.
            obj = resource.strategy.default(go_encoding.without_nulls(schema, obj))
        if resource.custom:
            return obj
    known = go_encoding.roundtrip(schema, obj, base)
    if resource is not None:
        context.printed = known
    if known is obj:
        return obj
    printed: Object = _with_empty_lists(known, obj)
    metadata = obj.get("metadata")
    if isinstance(metadata, dict) and cast("Object", metadata).get("managedFields") == []:
        # Nothing that is printed, and it says that nobody is to manage anything any more.
        printed = {**printed, "metadata": {**printed["metadata"], "managedFields": []}}
    spec, given = printed.get("spec"), obj.get("spec")
    if isinstance(spec, dict) and isinstance(given, dict):
        fields = cast("Object", spec)
        full = _with_empty_lists(fields, cast("Object", given))
        return printed if full is fields else {**printed, "spec": full}
    return printed


def _with_empty_lists(printed: Object, given: Object) -> Object:
    """Empty lists that are always printed: held and owned until the store makes them null."""
    empty = {k: v for k, v in given.items() if v == [] and k in printed and printed[k] is None}
    return {**printed, **empty} if empty else printed


def report(
    scope: RequestScope,
    problems: list[str],
    directive: str,
    refuse: Callable[[str], APIStatus],
) -> None:
    """Warn of a strict decoder's complaints, or raise what `refuse(text)` makes of them."""
    if not problems:
        return
    if directive == WARN:
        for problem in problems:
            for text in yaml_syntax.warnings_of(problem):
                scope.warn(text)
        return
    raise refuse(f"strict decoding error: {', '.join(problems)}")


def refused(obj: Object, kind: GroupVersionKind, problem: str) -> APIStatus:
    """400: an object that says what it is, and cannot be taken."""
    version = parse_api_version(obj["apiVersion"]).version
    return status.new_bad_request(
        f"{obj['kind']} in version {quote(version)} cannot be handled as a {kind.kind}: {problem}"
    )


def _unrecognized(kind: GroupVersionKind, problem: str, body: bytes) -> APIStatus:
    if not body:
        summary = "<empty>"
    elif body[:1] == b"{":
        summary = body[:30].decode("utf-8", "replace") + (" ..." if len(body) > 30 else "")
    else:
        summary = body[:30].hex() + (" ..." if len(body) > 30 else "")
    return status.new_bad_request(
        f"the object provided is unrecognized (must be of type {kind.kind}): {problem} ({summary})"
    )


def _sent_as_protobuf(body: bytes, kind: GroupVersionKind) -> Object:
    try:
        return from_protobuf(body, (kind.api_version, kind.kind))
    except protobuf.UnknownKind as error:
        given = {"apiVersion": error.api_version, "kind": error.kind}
        raise refused(given, kind, f"{error} in {SCHEME}") from None
    except ValueError as error:
        raise _unrecognized(kind, str(error), body) from None


def from_protobuf(body: bytes, usual: tuple[str, str]) -> Object:
    """The object of a protobuf body, without the zero values that Go clients send.

    Parameters: `usual`, apiVersion and kind of one that says none.  Raises `ProtobufError`.
    """
    value = protobuf.decode(body, usual)
    group, version = parse_api_version(value["apiVersion"])
    schema = schema_for(group, version, value["kind"])
    return value if schema is None else go_encoding.roundtrip(schema, value)


def _typed(scope: RequestScope, value: Any, kind: GroupVersionKind, body: bytes) -> Object:
    """The object with apiVersion and kind, which may be left out.  Raises where they do not fit."""
    if type(value) is dict:
        given = cast("Object", value)
        if given.get("kind") == kind.kind and given.get("apiVersion") == kind.api_version:
            return given
    wrong = _type_meta_problem(value)
    if wrong:
        problem = f"couldn't get version/kind; json parse error: {wrong}"
        raise _unrecognized(kind, problem, body)
    obj = cast("Object", value) if value is not None else {}
    api_version, name = obj.get("apiVersion") or "", obj.get("kind") or ""
    if api_version == kind.api_version and name == kind.kind:
        return obj
    complete = {
        **obj,
        "kind": name or kind.kind,
        "apiVersion": api_version or kind.api_version,
    }
    group, version = _parsed(complete["apiVersion"], kind, body)
    if (group, version, complete["kind"]) == kind:
        return complete
    problem = ""
    if not scope.served.custom:
        # The decoder of custom resources takes anything; the handler compares versions.
        gvk = GroupVersionKind(group, version, complete["kind"])
        problem = known_kinds.problem(scope.server.catalog, gvk, kind, SCHEME)
    if problem:
        raise refused(complete, kind, problem)
    raise status.new_bad_request(
        f"the API version in the data ({complete['apiVersion']}) does not match the expected "
        f"API version ({kind.api_version})"
    )


def _parsed(api_version: str, kind: GroupVersionKind, body: bytes) -> tuple[str, str]:
    try:
        return parse_api_version(api_version)
    except ValueError as error:
        raise _unrecognized(kind, str(error), body) from None


def _type_meta_problem(value: Any) -> str:
    if value is None or isinstance(value, dict):
        obj = cast("Object", value or {})
        for key, field in (("apiVersion", "APIVersion"), ("kind", "Kind")):
            found = obj.get(key)
            if found is not None and not isinstance(found, str):
                del field
                return (
                    f"json: cannot unmarshal {json_kind(found)} into Go struct field "
                    f".{key} of type string"
                )
        return ""
    return f"json: cannot unmarshal {json_kind(value)} into Go value of type {TYPE_META}"

