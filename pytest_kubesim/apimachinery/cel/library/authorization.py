"""Asking who may do what: ``authorizer.group("").resource("pods").check("list").allowed()``.

The law: this room decides nothing. Whoever evaluates brings an ``Authorize``, and gets the
attributes of the question as upstream would fill them.

Follows ``apiserver/pkg/cel/library/authz.go``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import attrs

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery.cel import types
from pytest_kubesim.apimachinery.cel.environment import Function, function, method
from pytest_kubesim.apimachinery.cel.errors import CELError
from pytest_kubesim.apimachinery.cel.types import BOOL, STRING
from pytest_kubesim.apimachinery.cel.values import Opaque

AUTHORIZER = types.struct("kubernetes.authorization.Authorizer")
RESOURCE_CHECK = types.struct("kubernetes.authorization.ResourceCheck")
_PATH_CHECK = types.struct("kubernetes.authorization.PathCheck")
_GROUP_CHECK = types.struct("kubernetes.authorization.GroupCheck")
_DECISION = types.struct("kubernetes.authorization.Decision")


@attrs.frozen
class Question:
    """What is asked: a path, or an action on a resource, by a user.

    ``service_account`` is a namespace and a name, or None for the user whose request it is.
    """

    verb: str
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""
    service_account: tuple[str, str] | None = None


@attrs.frozen
class Decision(Opaque):
    """What was answered. ``error`` is empty if nothing went wrong."""

    cel_type = _DECISION
    allowed: bool
    reason: str = ""
    error: str = ""


Authorize: TypeAlias = Callable[[Question], Decision]


@attrs.frozen(eq=False)
class Authorizer(Opaque):
    """Where questions begin."""

    cel_type = AUTHORIZER
    authorize: Authorize
    service_account: tuple[str, str] | None = None


@attrs.frozen(eq=False)
class _PathCheck(Opaque):
    cel_type = _PATH_CHECK
    authorizer: Authorizer
    path: str


@attrs.frozen(eq=False)
class _GroupCheck(Opaque):
    cel_type = _GROUP_CHECK
    authorizer: Authorizer
    group: str


@attrs.frozen(eq=False)
class ResourceCheck(Opaque):
    """A question about a resource that lacks its verb."""

    cel_type = RESOURCE_CHECK
    authorizer: Authorizer
    question: Question


def resource_check(
    authorize: Authorize, *, group: str, resource: str, subresource: str, namespace: str, name: str
) -> ResourceCheck:
    """``authorizer.requestResource``: a question about what a request is for."""
    question = Question(
        "",
        group=group,
        resource=resource,
        subresource=subresource,
        namespace=namespace,
        name=name,
    )
    return ResourceCheck(Authorizer(authorize), question)


def _path(authorizer: Authorizer, path: str) -> _PathCheck:
    if not path.strip():
        raise CELError("path must not be empty")
    return _PathCheck(authorizer, path)


def _service_account(authorizer: Authorizer, namespace: str, name: str) -> Authorizer:
    if formats.name_is_dns_subdomain(name):
        raise CELError("Invalid service account name")
    if formats.name_is_dns_label(namespace):
        raise CELError("Invalid service account namespace")
    return Authorizer(authorizer.authorize, (namespace, name))


def _resource(check: _GroupCheck, resource: str) -> ResourceCheck:
    if not resource.strip():
        raise CELError("resource must not be empty")
    return ResourceCheck(check.authorizer, Question("", group=check.group, resource=resource))


def _with(field: str) -> Callable[[ResourceCheck, str], ResourceCheck]:
    def run(check: ResourceCheck, value: str) -> ResourceCheck:
        changes: dict[str, Any] = {field: value}
        return ResourceCheck(check.authorizer, attrs.evolve(check.question, **changes))

    return run


def _check(check: _PathCheck | ResourceCheck, verb: str) -> Decision:
    authorizer = check.authorizer
    if isinstance(check, _PathCheck):
        question = Question(verb, path=check.path)
    else:
        question = attrs.evolve(check.question, verb=verb)
    return authorizer.authorize(attrs.evolve(question, service_account=authorizer.service_account))


def _refined(name: str, id_: str, field: str) -> Function:
    return function(name, method(id_, (RESOURCE_CHECK, STRING), RESOURCE_CHECK, _with(field)))


FUNCTIONS: tuple[Function, ...] = (
    function("path", method("authorizer_path", (AUTHORIZER, STRING), _PATH_CHECK, _path)),
    function("group", method("authorizer_group", (AUTHORIZER, STRING), _GROUP_CHECK, _GroupCheck)),
    function(
        "serviceAccount",
        method(
            "authorizer_serviceaccount", (AUTHORIZER, STRING, STRING), AUTHORIZER, _service_account
        ),
    ),
    function(
        "resource", method("groupcheck_resource", (_GROUP_CHECK, STRING), RESOURCE_CHECK, _resource)
    ),
    _refined("subresource", "resourcecheck_subresource", "subresource"),
    _refined("namespace", "resourcecheck_namespace", "namespace"),
    _refined("name", "resourcecheck_name", "name"),
    _refined("fieldSelector", "authorizer_fieldselector", "field_selector"),
    _refined("labelSelector", "authorizer_labelselector", "label_selector"),
    function(
        "check",
        method("pathcheck_check", (_PATH_CHECK, STRING), _DECISION, _check),
        method("resourcecheck_check", (RESOURCE_CHECK, STRING), _DECISION, _check),
    ),
    function(
        "errored", method("decision_errored", (_DECISION,), BOOL, lambda held: bool(held.error))
    ),
    function("error", method("decision_error", (_DECISION,), STRING, lambda held: held.error)),
    function("allowed", method("decision_allowed", (_DECISION,), BOOL, lambda held: held.allowed)),
    function("reason", method("decision_reason", (_DECISION,), STRING, lambda held: held.reason)),
)
