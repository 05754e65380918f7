"""What Kubernetes answers when it refuses: a ``metav1.Status``, raised as an exception.

Code, reason, message and details are the contract with every client, so each constructor says
word for word what its namesake in upstream says. Nothing else may invent such a text.

Follows ``apimachinery/pkg/api/errors/errors.go``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupKind, GroupResource, Object
from pytest_kubesim.apimachinery.validation import FieldError, aggregate

UNKNOWN = ""
UNAUTHORIZED = "Unauthorized"
FORBIDDEN = "Forbidden"
NOT_FOUND = "NotFound"
ALREADY_EXISTS = "AlreadyExists"
CONFLICT = "Conflict"
GONE = "Gone"
INVALID = "Invalid"
SERVER_TIMEOUT = "ServerTimeout"
STORE_READ_ERROR = "StorageReadError"
TIMEOUT = "Timeout"
TOO_MANY_REQUESTS = "TooManyRequests"
BAD_REQUEST = "BadRequest"
METHOD_NOT_ALLOWED = "MethodNotAllowed"
NOT_ACCEPTABLE = "NotAcceptable"
REQUEST_ENTITY_TOO_LARGE = "RequestEntityTooLarge"
UNSUPPORTED_MEDIA_TYPE = "UnsupportedMediaType"
INTERNAL_ERROR = "InternalError"
EXPIRED = "Expired"
SERVICE_UNAVAILABLE = "ServiceUnavailable"

_KNOWN_REASONS = frozenset(
    {
        UNAUTHORIZED,
        FORBIDDEN,
        NOT_FOUND,
        ALREADY_EXISTS,
        CONFLICT,
        GONE,
        INVALID,
        SERVER_TIMEOUT,
        STORE_READ_ERROR,
        TIMEOUT,
        TOO_MANY_REQUESTS,
        BAD_REQUEST,
        METHOD_NOT_ALLOWED,
        NOT_ACCEPTABLE,
        REQUEST_ENTITY_TOO_LARGE,
        UNSUPPORTED_MEDIA_TYPE,
        INTERNAL_ERROR,
        EXPIRED,
        SERVICE_UNAVAILABLE,
    }
)

UNEXPECTED_SERVER_RESPONSE = "UnexpectedServerResponse"
RESOURCE_VERSION_TOO_LARGE = "ResourceVersionTooLarge"
NAMESPACE_TERMINATING = "NamespaceTerminating"
FIELD_MANAGER_CONFLICT = "FieldManagerConflict"


class APIStatus(Exception):
    """A refusal: HTTP code, machine-readable reason, message for people, and details.

    ``details`` is the JSON of a ``StatusDetails`` with its empty fields left out, or ``None``
    where upstream sends none; an empty dict prints as ``{}``.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Object | None = None,
        *,
        metadata: Object | None = None,
        status: str = "Failure",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.metadata = metadata or {}
        self.status = status

    @property
    def causes(self) -> list[Object]:
        """The entries of ``details.causes``."""
        return (self.details or {}).get("causes") or []

    @property
    def retry_after_seconds(self) -> int:
        """``details.retryAfterSeconds``, 0 where there is none."""
        return (self.details or {}).get("retryAfterSeconds") or 0

    def has_cause(self, type_: str) -> bool:
        """Whether a cause of that type is among the details."""
        return any(cause.get("reason") == type_ for cause in self.causes)

    def with_message(self, message: str) -> APIStatus:
        """The same refusal in other words."""
        return APIStatus(
            self.code,
            self.reason,
            message,
            self.details,
            metadata=self.metadata,
            status=self.status,
        )

    def with_details(self, **fields: Any) -> APIStatus:
        """The same refusal with some fields of its details replaced; ``None`` takes one away."""
        merged = {**(self.details or {}), **fields}
        details = {key: merged[key] for key in _DETAILS if merged.get(key)}
        return APIStatus(
            self.code,
            self.reason,
            self.message,
            details,
            metadata=self.metadata,
            status=self.status,
        )

    def to_object(self) -> Object:
        """The ``Status`` object with its fields in the order in which upstream writes them."""
        obj: Object = {"kind": "Status", "apiVersion": "v1", "metadata": self.metadata}
        if self.status:
            obj["status"] = self.status
        if self.message:
            obj["message"] = self.message
        if self.reason:
            obj["reason"] = self.reason
        if self.details is not None:
            obj["details"] = self.details
        if self.code:
            obj["code"] = self.code
        return obj

    def __repr__(self) -> str:
        return f"APIStatus({self.code}, {self.reason!r}, {self.message!r})"


_DETAILS = ("name", "group", "kind", "uid", "causes", "retryAfterSeconds")


def from_object(obj: Object) -> APIStatus:
    """The exception for a ``Status`` object that was received."""
    return APIStatus(
        obj.get("code") or 0,
        obj.get("reason") or "",
        obj.get("message") or "",
        obj.get("details"),
        metadata=obj.get("metadata"),
        status=obj.get("status") or "",
    )


def success_object(*, name: str = "", group: str = "", kind: str = "", uid: str = "") -> Object:
    """The ``Status`` of success, which answers a deletion that left no object behind."""
    details = _details(name=name, group=group, kind=kind, uid=uid)
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }


def cause(type_: str, message: str, field: str = "") -> Object:
    """An entry of ``details.causes``; empty fields are left out."""
    entry = {"reason": type_, "message": message, "field": field}
    return {key: value for key, value in entry.items() if value}


def _details(
    *,
    name: str = "",
    group: str = "",
    kind: str = "",
    uid: str = "",
    causes: Sequence[Object] = (),
    retry_after_seconds: int = 0,
) -> Object:
    fields: Object = {
        "name": name,
        "group": group,
        "kind": kind,
        "uid": uid,
        "causes": list(causes),
        "retryAfterSeconds": retry_after_seconds,
    }
    return {key: value for key, value in fields.items() if value}


# -- constructors --------------------------------------------------------------------------------


def new_not_found(resource: GroupResource, name: str) -> APIStatus:
    """404: nothing has that name."""
    details = _details(name=name, group=resource.group, kind=resource.resource)
    return APIStatus(404, NOT_FOUND, f"{resource} {quote(name)} not found", details)


def new_already_exists(resource: GroupResource, name: str) -> APIStatus:
    """409: the name is taken."""
    details = _details(name=name, group=resource.group, kind=resource.resource)
    return APIStatus(409, ALREADY_EXISTS, f"{resource} {quote(name)} already exists", details)


def new_generate_name_conflict(
    resource: GroupResource, name: str, retry_after_seconds: int
) -> APIStatus:
    """409: every name generated was taken."""
    details = _details(
        name=name,
        group=resource.group,
        kind=resource.resource,
        retry_after_seconds=retry_after_seconds,
    )
    message = (
        f"{resource} {quote(name)} already exists, "
        "the server was not able to generate a unique name for the object"
    )
    return APIStatus(409, ALREADY_EXISTS, message, details)


def new_unauthorized(reason: str = "") -> APIStatus:
    """401: nobody knows who asks."""
    return APIStatus(401, UNAUTHORIZED, reason or "not authorized")


def new_forbidden(resource: GroupResource, name: str, problem: object) -> APIStatus:
    """403: the asker may not."""
    if not resource.group and not resource.resource:
        message = f"forbidden: {problem}"
    elif not name:
        message = f"{resource} is forbidden: {problem}"
    else:
        message = f"{resource} {quote(name)} is forbidden: {problem}"
    details = _details(name=name, group=resource.group, kind=resource.resource)
    return APIStatus(403, FORBIDDEN, message, details)


def new_conflict(resource: GroupResource, name: str, problem: object) -> APIStatus:
    """409: the object has moved on."""
    details = _details(name=name, group=resource.group, kind=resource.resource)
    message = f"Operation cannot be fulfilled on {resource} {quote(name)}: {problem}"
    return APIStatus(409, CONFLICT, message, details)


OPTIMISTIC_LOCK_ERROR = (
    "the object has been modified; please apply your changes to the latest version and try again"
)
"""What ``registry/generic`` says in ``new_conflict`` when the resourceVersion is not the stored."""


def new_apply_conflict(causes: Sequence[Object], message: str) -> APIStatus:
    """409: other managers own the fields applied."""
    return APIStatus(409, CONFLICT, message, _details(causes=causes))


def new_gone(message: str) -> APIStatus:
    """410: the item is no longer here."""
    return APIStatus(410, GONE, message)


def new_resource_expired(message: str) -> APIStatus:
    """410: the revision asked for has been compacted away."""
    return APIStatus(410, EXPIRED, message)


def new_invalid(kind: GroupKind, name: str, errors: Iterable[FieldError]) -> APIStatus:
    """422: the object is wrong. Causes repeat as the errors do; the message says each once."""
    found = list(errors)
    details = _details(
        name=name, group=kind.group, kind=kind.kind, causes=[error.to_cause() for error in found]
    )
    message = f"{kind} {quote(name)} is invalid"
    return APIStatus(422, INVALID, f"{message}: {aggregate(found)}" if found else message, details)


def new_bad_request(reason: str) -> APIStatus:
    """400: the request cannot be understood."""
    return APIStatus(400, BAD_REQUEST, reason)


def new_too_many_requests(message: str, retry_after_seconds: int) -> APIStatus:
    """429: come back later, after the seconds given."""
    details = _details(retry_after_seconds=retry_after_seconds)
    return APIStatus(429, TOO_MANY_REQUESTS, message, details)


def new_too_many_requests_error(message: str) -> APIStatus:
    """429: come back later, at a time of your choosing."""
    return APIStatus(429, TOO_MANY_REQUESTS, f"Too many requests: {message}")


def new_service_unavailable(reason: str) -> APIStatus:
    """503: the service cannot answer now."""
    return APIStatus(503, SERVICE_UNAVAILABLE, reason)


def new_method_not_supported(resource: GroupResource, action: str) -> APIStatus:
    """405: the resource has no such verb."""
    details = _details(group=resource.group, kind=resource.resource)
    message = f"{action} is not supported on resources of kind {quote(str(resource))}"
    return APIStatus(405, METHOD_NOT_ALLOWED, message, details)


def new_server_timeout(
    resource: GroupResource, operation: str, retry_after_seconds: int
) -> APIStatus:
    """500: something transient stood in the way."""
    details = _details(
        name=operation,
        group=resource.group,
        kind=resource.resource,
        retry_after_seconds=retry_after_seconds,
    )
    message = (
        f"The {operation} operation against {resource} could not be completed at this time, "
        "please try again."
    )
    return APIStatus(500, SERVER_TIMEOUT, message, details)


def new_internal_error(problem: object) -> APIStatus:
    """500: something went wrong inside."""
    details = _details(causes=[cause("", str(problem))])
    return APIStatus(500, INTERNAL_ERROR, f"Internal error occurred: {problem}", details)


def new_timeout_error(message: str, retry_after_seconds: int) -> APIStatus:
    """504: the time ran out; the operation may still complete."""
    details = _details(retry_after_seconds=retry_after_seconds)
    return APIStatus(504, TIMEOUT, f"Timeout: {message}", details)


def new_request_entity_too_large(message: str) -> APIStatus:
    """413: the body is too big."""
    return APIStatus(413, REQUEST_ENTITY_TOO_LARGE, f"Request entity too large: {message}")


def new_too_large_resource_version(
    requested: int, current: int, retry_after_seconds: int
) -> APIStatus:
    """504: a revision was asked for that has not come yet (``storage/errors.go``)."""
    message = f"Too large resource version: {requested}, current: {current}"
    details = _details(
        causes=[cause(RESOURCE_VERSION_TOO_LARGE, "Too large resource version")],
        retry_after_seconds=retry_after_seconds,
    )
    return APIStatus(504, TIMEOUT, f"Timeout: {message}", details)


def new_not_acceptable(accepted: Iterable[str]) -> APIStatus:
    """406: no media type that the client accepts is on offer (``negotiation/errors.go``)."""
    message = f"only the following media types are accepted: {', '.join(accepted)}"
    return APIStatus(406, NOT_ACCEPTABLE, message)


def new_unsupported_media_type(accepted: Iterable[str]) -> APIStatus:
    """415: the body has a media type that is not read here (``negotiation/errors.go``)."""
    types = ", ".join(accepted)
    message = (
        f"the body of the request was in an unknown format - accepted media types include: {types}"
    )
    return APIStatus(415, UNSUPPORTED_MEDIA_TYPE, message)


_GENERIC: dict[int, tuple[str, str]] = {
    404: (NOT_FOUND, "the server could not find the requested resource"),
    400: (BAD_REQUEST, "the server rejected our request for an unknown reason"),
    401: (UNAUTHORIZED, "the server has asked for the client to provide credentials"),
    405: (METHOD_NOT_ALLOWED, "the server does not allow this method on the requested resource"),
    422: (INVALID, "the server rejected our request due to an error in our request"),
    503: (SERVICE_UNAVAILABLE, "the server is currently unable to handle the request"),
    504: (
        TIMEOUT,
        (
            "the server was unable to return a response in the time allotted, "
            "but may still be processing the request"
        ),
    ),
    429: (
        TOO_MANY_REQUESTS,
        "the server has received too many requests and has asked us to try again later",
    ),
}


def new_generic_server_response(
    code: int,
    verb: str,
    resource: GroupResource,
    name: str,
    server_message: str,
    retry_after_seconds: int = 0,
    *,
    is_unexpected_response: bool = False,
) -> APIStatus:
    """Any code: what a client makes of an answer that is no Status, and what patches say."""
    reason, message = _generic(code, verb, server_message)
    if resource.group or resource.resource:
        target = f"{resource} {name}" if name else str(resource)
        message = f"{message} ({verb.lower()} {target})"
    causes = [cause(UNEXPECTED_SERVER_RESPONSE, server_message)] if is_unexpected_response else []
    details = _details(
        name=name,
        group=resource.group,
        kind=resource.resource,
        causes=causes,
        retry_after_seconds=retry_after_seconds,
    )
    return APIStatus(code, reason, message, details)


def _generic(code: int, verb: str, server_message: str) -> tuple[str, str]:
    if code in _GENERIC:
        return _GENERIC[code]
    if code == 409:
        reason = ALREADY_EXISTS if verb == "POST" else CONFLICT
        return reason, "the server reported a conflict"
    if code == 403:
        return FORBIDDEN, server_message
    if code == 406:
        if server_message in {"", "unknown"}:
            return (
                NOT_ACCEPTABLE,
                "the server was unable to respond with a content type that the client supports",
            )
        return NOT_ACCEPTABLE, server_message
    if code == 415:
        return UNSUPPORTED_MEDIA_TYPE, server_message
    if code >= 500:
        problem = f"an error on the server ({quote(server_message)})"
        return INTERNAL_ERROR, f"{problem} has prevented the request from succeeding"
    silence = f"the server responded with the status code {code}"
    return UNKNOWN, f"{silence} but did not return more information"


# -- predicates ----------------------------------------------------------------------------------


def reason_for_error(error: BaseException | None) -> str:
    """The reason of a refusal; empty for every other exception and for ``None``."""
    return error.reason if isinstance(error, APIStatus) else UNKNOWN


def code_for_error(error: BaseException | None) -> int:
    """The code of a refusal; 0 for every other exception and for ``None``."""
    return error.code if isinstance(error, APIStatus) else 0


def _is(error: BaseException | None, reason: str, code: int) -> bool:
    if not isinstance(error, APIStatus):
        return False
    return error.reason == reason or (error.reason not in _KNOWN_REASONS and error.code == code)


def is_not_found(error: BaseException | None) -> bool:
    """Whether nothing has that name."""
    return _is(error, NOT_FOUND, 404)


def is_already_exists(error: BaseException | None) -> bool:
    """Whether the name is taken."""
    return reason_for_error(error) == ALREADY_EXISTS


def is_conflict(error: BaseException | None) -> bool:
    """Whether the object has moved on, or others own the fields."""
    return _is(error, CONFLICT, 409)


def is_invalid(error: BaseException | None) -> bool:
    """Whether the object is wrong."""
    return _is(error, INVALID, 422)


def is_gone(error: BaseException | None) -> bool:
    """Whether the item is no longer here."""
    return _is(error, GONE, 410)


def is_resource_expired(error: BaseException | None) -> bool:
    """Whether the revision asked for has been compacted away."""
    return reason_for_error(error) == EXPIRED


def is_not_acceptable(error: BaseException | None) -> bool:
    """Whether no acceptable media type is on offer."""
    return _is(error, NOT_ACCEPTABLE, 406)


def is_unsupported_media_type(error: BaseException | None) -> bool:
    """Whether the body's media type is not read."""
    return _is(error, UNSUPPORTED_MEDIA_TYPE, 415)


def is_method_not_supported(error: BaseException | None) -> bool:
    """Whether the resource has no such verb."""
    return _is(error, METHOD_NOT_ALLOWED, 405)


def is_service_unavailable(error: BaseException | None) -> bool:
    """Whether the service cannot answer now."""
    return _is(error, SERVICE_UNAVAILABLE, 503)


def is_bad_request(error: BaseException | None) -> bool:
    """Whether the request cannot be understood."""
    return _is(error, BAD_REQUEST, 400)


def is_unauthorized(error: BaseException | None) -> bool:
    """Whether nobody knows who asks."""
    return _is(error, UNAUTHORIZED, 401)


def is_forbidden(error: BaseException | None) -> bool:
    """Whether the asker may not."""
    return _is(error, FORBIDDEN, 403)


def is_timeout(error: BaseException | None) -> bool:
    """Whether the time ran out."""
    return _is(error, TIMEOUT, 504)


def is_server_timeout(error: BaseException | None) -> bool:
    """Whether something transient stood in the way."""
    return reason_for_error(error) == SERVER_TIMEOUT


def is_internal_error(error: BaseException | None) -> bool:
    """Whether something went wrong inside."""
    return _is(error, INTERNAL_ERROR, 500)


def is_too_many_requests(error: BaseException | None) -> bool:
    """Whether to come back later; the code alone suffices, as in upstream."""
    return _is(error, TOO_MANY_REQUESTS, 429) or code_for_error(error) == 429


def is_request_entity_too_large(error: BaseException | None) -> bool:
    """Whether the body is too big; the code alone suffices, as in upstream."""
    return _is(error, REQUEST_ENTITY_TOO_LARGE, 413) or code_for_error(error) == 413


def suggests_client_delay(error: BaseException | None) -> int | None:
    """The seconds after which the server wants the client back, or ``None``."""
    if not isinstance(error, APIStatus) or error.details is None:
        return None
    if error.reason == SERVER_TIMEOUT or error.retry_after_seconds > 0:
        return error.retry_after_seconds
    return None
