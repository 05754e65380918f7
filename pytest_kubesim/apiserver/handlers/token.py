"""`serviceaccounts/token`: a token for a service account, bound to a pod if one is named.

Follows `pkg/registry/core/serviceaccount/storage/token.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import status, timestamps, validation
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupKind, GroupResource, GroupVersionKind, get_path
from pytest_kubesim.apimachinery.schema import schema_for
from pytest_kubesim.apimachinery.validation import Path
from pytest_kubesim.apiserver import decoding, responses
from pytest_kubesim.apiserver.handlers import write
from pytest_kubesim.apiserver.options import field_validation, write_options
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.validation import FieldError
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Response

KIND = GroupVersionKind("authentication.k8s.io", "v1", "TokenRequest")
DEFAULT_SECONDS = 3600
LEAST_SECONDS = 600
MOST_SECONDS = 1 << 32
_BOUND = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}


async def create(scope: RequestScope) -> Response:
    """Make a token.  Raises `APIStatus`."""
    options = write_options(scope, "CreateOptions")
    given = decoding.read_object(scope, KIND, schema_for(*KIND), field_validation(options))
    request = await write.admit(scope, options, given, None, kind=KIND)
    problems = _of_another(scope, request)
    if problems:
        raise status.new_invalid(GroupKind(KIND.group, KIND.kind), scope.name, problems)
    account = await scope.server.store(scope.served).get(scope, scope.name)
    spec: Object = dict(request.get("spec") or {})
    authenticators = scope.server.authenticators
    if not spec.get("audiences"):
        spec["audiences"] = list(authenticators.audiences or authenticators.issuers)
    if spec.get("expirationSeconds") is None:
        spec["expirationSeconds"] = DEFAULT_SECONDS
    problems = _problems(spec)
    if problems:
        raise status.new_invalid(GroupKind(KIND.group, KIND.kind), "", problems)
    own = {"name": scope.name, "namespace": scope.namespace, "uid": account["metadata"]["uid"]}
    given: Object = request.get("metadata") or {}
    request = {**request, "metadata": {**own, **given}, "spec": spec}
    await write.validator(scope, options, kind=KIND)(request, None)
    now = scope.context.now_ns // NS
    expires = now + spec["expirationSeconds"]
    metadata: Object = {
        "name": scope.name,
        "namespace": scope.namespace,
        "uid": account["metadata"]["uid"],
        "creationTimestamp": scope.context.now,
    }
    claims = _claims(scope, account, spec, now, expires)
    result: Object = {
        "kind": KIND.kind,
        "apiVersion": KIND.api_version,
        "metadata": metadata,
        "spec": {
            "audiences": spec["audiences"],
            "expirationSeconds": spec["expirationSeconds"],
            "boundObjectRef": spec.get("boundObjectRef"),
        },
        "status": {
            "token": authenticators.sign(claims),
            "expirationTimestamp": timestamps.format_time(expires * NS),
        },
    }
    return responses.written(scope, 201, result)


def _of_another(scope: RequestScope, request: Object) -> list[FieldError]:
    """That the body names the account of the path, if any."""
    metadata: Object = request.get("metadata") or {}
    problems: list[FieldError] = []
    for key, wanted in (("name", scope.name), ("namespace", scope.namespace)):
        if metadata.get(key) and metadata[key] != wanted:
            detail = f"must match the service account {key} if specified"
            problems.append(validation.invalid(Path("metadata", key), metadata[key], detail))
    return problems


def _problems(spec: Object) -> list[FieldError]:
    """`ValidateTokenRequest`."""
    path = Path("spec", "expirationSeconds")
    seconds: int = spec["expirationSeconds"]
    problems: list[FieldError] = []
    if seconds < LEAST_SECONDS:
        problems.append(
            validation.invalid(path, seconds, "may not specify a duration less than 10 minutes")
        )
    if seconds > MOST_SECONDS:
        problems.append(
            validation.invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")
        )
    return problems


def _claims(scope: RequestScope, account: Object, spec: Object, now: int, expires: int) -> Object:
    namespace: str = scope.namespace
    private: Object = {
        "namespace": namespace,
        "serviceaccount": {"name": scope.name, "uid": account["metadata"]["uid"]},
    }
    reference: Object | None = spec.get("boundObjectRef")
    if reference:
        kind, bound = _bound(scope, reference)
        private[kind.lower()] = {"name": bound["metadata"]["name"], "uid": bound["metadata"]["uid"]}
        node = get_path(bound, "spec", "nodeName") if kind == "Pod" else None
        if node:
            found = scope.server.reader.get(GroupResource("", "nodes"), "", node)
            private["node"] = {"name": node}
            if found is not None:
                private["node"]["uid"] = found["metadata"]["uid"]
    claims: dict[str, Any] = {
        "aud": spec["audiences"],
        "exp": expires,
        "iat": now,
        "iss": scope.server.authenticators.issuers[0],
        "jti": scope.server.draw_uid(f"token/{namespace}/{scope.name}"),
        "kubernetes.io": private,
        "nbf": now,
        "sub": f"system:serviceaccount:{namespace}:{scope.name}",
    }
    return claims


def _bound(scope: RequestScope, reference: Object) -> tuple[str, Object]:
    """The object that the token is bound to.  Raises `APIStatus`."""
    kind = reference.get("kind") or ""
    api_version = reference.get("apiVersion") or ""
    group, _, version = api_version.rpartition("/")
    if kind not in _BOUND or group:
        shown = f"{group}/{version}, Kind={kind}"
        raise status.new_bad_request(f"cannot bind token to object of type {shown}")
    resource = GroupResource("", _BOUND[kind])
    name = reference.get("name") or ""
    where = "" if kind == "Node" else scope.namespace
    found = scope.server.reader.get(resource, where, name)
    if found is None:
        raise status.new_not_found(resource, name)
    if kind == "Pod" and get_path(found, "spec", "serviceAccountName") != scope.name:
        raise status.new_bad_request(
            f"cannot bind token for serviceaccount {quote(scope.name)} to pod running with "
            "different serviceaccount name."
        )
    uid = reference.get("uid")
    if uid and uid != found["metadata"]["uid"]:
        raise status.new_conflict(
            GroupResource("", kind),
            name,
            f"the UID in the bound object reference ({uid}) does not match the UID in record. The "
            "object might have been deleted and then recreated",
        )
    return kind, found
