"""Resources that are questions: they are created, answered, and never stored.

May somebody do that (`SubjectAccessReview` and its kin), whose token is this (`TokenReview`), who
am I (`SelfSubjectReview`), what may I (`SelfSubjectRulesReview`); and the old way to bind a pod.

Follows `pkg/registry/{authorization,authentication}/*/rest.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from pytest_kubesim.apimachinery import golang, status, validation
from pytest_kubesim.apimachinery.meta import GroupKind, GroupResource, get_path
from pytest_kubesim.apimachinery.validation import FieldError, Path
from pytest_kubesim.apiserver import decoding, field_manager, responses
from pytest_kubesim.apiserver.filters.authentication import with_group
from pytest_kubesim.apiserver.filters.authorization import Attributes
from pytest_kubesim.apiserver.handlers import binding, review_selectors, write
from pytest_kubesim.apiserver.handlers.create import prepared
from pytest_kubesim.apiserver.options import field_validation, write_options
from pytest_kubesim.apiserver.service_account_tokens import InvalidToken
from pytest_kubesim.apiserver.store import Store
from pytest_kubesim.errors import NotSimulated
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Response

_ONE_OF = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
_SPEC = Path("spec")


class RuleResolver(Protocol):
    """Who knows the rules of a user (RBAC does)."""

    async def rules_for(self, user: UserInfo, namespace: str) -> Object:
        """The status of a `SelfSubjectRulesReview`."""
        ...


async def _asked(scope: RequestScope) -> tuple[Object, dict[str, Any]]:
    """The question after admission, and the options of the request."""
    resource = scope.served
    options = write_options(scope, "CreateOptions")
    obj = decoding.read_object(scope, resource.gvk, resource.schema, field_validation(options))
    manager = field_manager.manager_of(scope, options)
    obj = prepared(scope, obj)
    scope.context_for(options, manager)
    obj = field_manager.update(scope, None, obj, manager=manager, strategy=resource.strategy)
    return await write.admit(scope, options, obj, None), options


async def _answered(
    scope: RequestScope, options: dict[str, Any], question: Object, answer: Object
) -> Response:
    """201 with the question and its answer, after validating admission."""
    await write.validator(scope, options)(question, None)
    obj = Store.printed({**question, "status": answer}, scope.served)
    return responses.written(scope, 201, obj)


# -- may somebody do that --------------------------------------------------------------------------


async def subject_access(scope: RequestScope) -> Response:
    """`subjectaccessreviews`."""
    question, options = await _asked(scope)
    spec: Object = question.get("spec") or {}
    problems = [*_spec_problems(spec), *_user_problems(spec), *_metadata_problems(question)]
    _refuse(scope, problems)
    return await _access(scope, options, question, _user_of(spec))


async def local_subject_access(scope: RequestScope) -> Response:
    """`localsubjectaccessreviews`."""
    question, options = await _asked(scope)
    spec: Object = question.get("spec") or {}
    namespace = scope.namespace
    problems = [*_spec_problems(spec), *_user_problems(spec)]
    problems += _metadata_problems(question, "must be empty except for namespace")
    wanted: Object | None = spec.get("resourceAttributes")
    if wanted is not None and (wanted.get("namespace") or "") != namespace:
        problems.append(
            validation.invalid(
                Path("spec.resourceAttributes.namespace"),
                wanted.get("namespace") or "",
                "must match metadata.namespace",
            )
        )
    if spec.get("nonResourceAttributes") is not None:
        problems.append(
            validation.invalid(
                Path("spec.nonResourceAttributes"),
                spec["nonResourceAttributes"],
                "disallowed on this kind of request",
            )
        )
    _refuse(scope, problems)
    return await _access(scope, options, question, _user_of(spec))


async def self_subject_access(scope: RequestScope) -> Response:
    """`selfsubjectaccessreviews`."""
    question, options = await _asked(scope)
    spec: Object = question.get("spec") or {}
    _refuse(scope, [*_spec_problems(spec), *_metadata_problems(question)])
    return await _access(scope, options, question, scope.user)


def _refuse(scope: RequestScope, problems: list[FieldError]) -> None:
    if problems:
        raise status.new_invalid(GroupKind("authorization.k8s.io", ""), "", problems)
    del scope


def _spec_problems(spec: Object) -> list[FieldError]:
    of_resource = spec.get("resourceAttributes") is not None
    if of_resource == (spec.get("nonResourceAttributes") is not None):
        path: Object | None = spec.get("nonResourceAttributes")
        shown: Object | None = None
        if path is not None:
            shown = {"Path": path.get("path") or "", "Verb": path.get("verb") or ""}
        return [validation.invalid(_SPEC, shown, _ONE_OF)]
    attributes: Object = spec.get("resourceAttributes") or {}
    return review_selectors.problems_of(attributes, _SPEC.child("resourceAttributes"))


def _user_problems(spec: Object) -> list[FieldError]:
    if spec.get("user") or spec.get("groups"):
        return []
    return [
        validation.invalid(
            _SPEC.child("user"), "", "at least one of user or group must be specified"
        )
    ]


def _metadata_problems(question: Object, text: str = "must be empty") -> list[FieldError]:
    kept = {"managedFields", "namespace"} if "except" in text else {"managedFields"}
    metadata: Object = question.get("metadata") or {}
    if metadata.keys() <= kept:
        return []
    # As the struct prints: fields in order, the managed ones last.
    kept_last = {"managedFields": metadata["managedFields"]} if "managedFields" in metadata else {}
    shown = {**{k: v for k, v in metadata.items() if k != "managedFields"}, **kept_last}
    in_order = golang.json_text(shown, sort_keys=False)
    return [validation.invalid(Path("metadata"), validation.Printed(in_order), text)]


def _user_of(spec: Object) -> UserInfo:
    extra: Object = spec.get("extra") or {}
    return UserInfo(
        spec.get("user") or "",
        tuple(spec.get("groups") or ()),
        spec.get("uid") or "",
        {key: tuple(values) for key, values in extra.items()},
    )


async def _access(
    scope: RequestScope, options: dict[str, Any], question: Object, user: UserInfo
) -> Response:
    spec: Object = question["spec"]
    decision, reason = await scope.server.authorize(attributes_from(user, spec))
    answer: Object = {"allowed": decision == "allow", "reason": reason}
    if decision == "deny":
        answer["denied"] = True
    if wrong := review_selectors.evaluation_error(spec.get("resourceAttributes") or {}):
        answer["evaluationError"] = wrong
    return await _answered(scope, options, question, answer)


def attributes_from(user: UserInfo, spec: Object) -> Attributes:
    """What a review asks about (`authorizationutil.AuthorizationAttributesFrom`)."""
    wanted: Object | None = spec.get("resourceAttributes")
    if wanted is None:
        path: Object = spec.get("nonResourceAttributes") or {}
        return Attributes(user, path.get("verb") or "", path.get("path") or "")
    return Attributes(
        user,
        wanted.get("verb") or "",
        is_resource=True,
        group=wanted.get("group") or "",
        version=wanted.get("version") or "*",
        resource=wanted.get("resource") or "",
        subresource=wanted.get("subresource") or "",
        namespace=wanted.get("namespace") or "",
        name=wanted.get("name") or "",
        field_selector=review_selectors.field_terms(wanted.get("fieldSelector") or {})[0],
        label_selector=review_selectors.label_terms(wanted.get("labelSelector") or {})[0],
    )


# -- who is that -----------------------------------------------------------------------------------


async def self_subject(scope: RequestScope) -> Response:
    """`selfsubjectreviews`."""
    question, options = await _asked(scope)
    await write.validator(scope, options)(question, None)
    obj = {
        "kind": scope.served.kind,
        "apiVersion": scope.served.api_version,
        "metadata": {"creationTimestamp": scope.context.now},
        "status": {"userInfo": user_info(scope.user)},
    }
    return responses.written(scope, 201, Store.printed(obj, scope.served))


def user_info(user: UserInfo) -> Object:
    """A user as `authentication/v1.UserInfo`; empty fields are left out."""
    found: Object = {
        "username": user.name,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {key: list(values) for key, values in user.extra.items()},
    }
    return {key: value for key, value in found.items() if value}


async def token(scope: RequestScope) -> Response:
    """`tokenreviews`."""
    question, options = await _asked(scope)
    spec: Object = question.get("spec") or {}
    if not spec.get("token"):
        raise status.new_bad_request("token is required for TokenReview in authentication")
    authenticators = scope.server.authenticators
    own = authenticators.audiences or authenticators.issuers
    audiences: list[str] = spec.get("audiences") or list(own)
    answer: Object = {"user": {}, "error": "invalid bearer token"}
    user: UserInfo | None = None
    try:
        user = authenticators.authenticate(spec["token"], tuple(audiences))
    except InvalidToken as error:
        answer["error"] = f"[invalid bearer token, {error}]"
    if user is not None:
        claims = authenticators.claims(spec["token"]) or {}
        given: list[str] = claims.get("aud") or list(own if claims else audiences)
        answer = {
            "authenticated": True,
            "user": user_info(with_group(user)),
            "audiences": [each for each in audiences if each in given],
        }
    return await _answered(scope, options, question, answer)


# -- what may I ------------------------------------------------------------------------------------


async def self_subject_rules(scope: RequestScope) -> Response:
    """`selfsubjectrulesreviews`."""
    question, options = await _asked(scope)
    namespace = get_path(question, "spec", "namespace")
    if not namespace:
        raise status.new_bad_request("no namespace on request")
    resolver = scope.server.rule_resolver
    if resolver is None:
        raise NotSimulated("No authorizer of this server can list rules.")
    await write.validator(scope, options)(question, None)
    obj: Object = {
        "kind": scope.served.kind,
        "apiVersion": scope.served.api_version,
        "metadata": {},
        "spec": {},
        "status": await resolver.rules_for(scope.user, namespace),
    }
    return responses.written(scope, 201, Store.printed(obj, scope.served))


# -- bindings --------------------------------------------------------------------------------------


async def legacy_binding(scope: RequestScope) -> Response:
    """`bindings`: `pods/binding` with the pod's name in the body only (`LegacyBindingREST`)."""
    given = scope.request.obj
    if given is None:
        options = write_options(scope, "CreateOptions")
        resource = scope.served
        given = decoding.read_object(
            scope, resource.gvk, resource.schema, field_validation(options)
        )
    scope.name = get_path(given, "metadata", "name") or ""
    return await binding.bind(scope)


ENDPOINTS: Mapping[GroupResource, Callable[[RequestScope], Awaitable[Response]]] = {
    GroupResource("", "bindings"): legacy_binding,
    GroupResource("authentication.k8s.io", "selfsubjectreviews"): self_subject,
    GroupResource("authentication.k8s.io", "tokenreviews"): token,
    GroupResource("authorization.k8s.io", "localsubjectaccessreviews"): local_subject_access,
    GroupResource("authorization.k8s.io", "selfsubjectaccessreviews"): self_subject_access,
    GroupResource("authorization.k8s.io", "selfsubjectrulesreviews"): self_subject_rules,
    GroupResource("authorization.k8s.io", "subjectaccessreviews"): subject_access,
}
"""What a POST of these resources does."""
