"""Audit: what was asked, by whom, and what was answered, as far as a policy wants to know.

An `Auditor` is a policy and a place for events (`audit.k8s.io/v1`): `server.audit.append(auditor)`.
The stages are `RequestReceived`, `ResponseStarted` (of watches) and `ResponseComplete`; `Panic`
does not happen here.

The law: the first rule of the policy that matches gives the level; without one nothing is told.

Follows `apiserver/pkg/audit/{request,policy/checker}.go` and `endpoints/filters/audit.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

import attrs
import msgspec

from pytest_kubesim.apimachinery import addresses, timestamps
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.errors import UsageError
from pytest_kubesim.wire import Response

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.status import APIStatus
    from pytest_kubesim.apiserver.request_info import RequestInfo
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Request, UserInfo, WatchStream

API_VERSION = "audit.k8s.io/v1"
LEVELS = ("None", "Metadata", "Request", "RequestResponse")
RECEIVED, STARTED, COMPLETE = "RequestReceived", "ResponseStarted", "ResponseComplete"
STAGES = (RECEIVED, STARTED, COMPLETE, "Panic")

LOOPBACK = "127.0.0.1"
_PATCHES = frozenset({"patch"})


def policy_of(value: Any) -> Object:
    """A policy from an object, or from a level that holds for all.

    Raises: `UsageError` for what is none.
    """
    if isinstance(value, str) and value in LEVELS:
        value = {"rules": [{"level": value}]}
    if not isinstance(value, dict):
        raise UsageError(
            f"audit: {value!r} is no policy; give an object with rules, or a level: "
            f"{', '.join(LEVELS)}"
        )
    policy = cast("Object", value)
    rules: list[Object] = policy.get("rules") or []
    if not rules:
        raise UsageError("audit: the policy has no rules; give it at least {'level': 'Metadata'}")
    for rule in rules:
        if rule.get("level") not in LEVELS:
            raise UsageError(
                f"audit: level {rule.get('level')!r}: the levels are {', '.join(LEVELS)}"
            )
    for stage in policy.get("omitStages") or ():
        if stage not in STAGES:
            raise UsageError(f"audit: stage {stage!r}: the stages are {', '.join(STAGES)}")
    return policy


@attrs.define(slots=True, eq=False)
class _Record:
    """A request that is under way."""

    level: int
    omitted: frozenset[str]
    omits_managed_fields: bool
    event: Object
    user: UserInfo


class Auditor:
    """Tells `sink` the events that a policy wants.  Parameters: `policy`, `sink`."""

    def __init__(self, policy: Any, sink: Callable[[Object], object]) -> None:
        self._policy = policy_of(policy)
        self._sink = sink
        self._records: dict[RequestScope, _Record] = {}

    def received(self, scope: RequestScope) -> None:
        """A request has come, and it is known from whom."""
        rule = self._rule(scope)
        level = LEVELS.index(rule["level"]) if rule is not None else 0
        if rule is None or level == 0:
            return
        omitted = {*(self._policy.get("omitStages") or ()), *(rule.get("omitStages") or ())}
        managed = rule.get("omitManagedFields")
        if managed is None:
            managed = self._policy.get("omitManagedFields") or False
        record = _Record(
            level, frozenset(omitted), managed, _begun(scope, rule["level"]), scope.user
        )
        self._records[scope] = record
        self._tell(scope, record, RECEIVED)

    def not_believed(self, scope: RequestScope, error: APIStatus) -> None:
        """Somebody is not who he says that he is (`WithFailedAuthenticationAudit`)."""
        rule = self._rule(scope)
        if rule is None or rule["level"] == LEVELS[0]:
            return
        stages: list[str] = [*(self._policy.get("omitStages") or ())]
        omitted = frozenset([*stages, *(rule.get("omitStages") or ())])
        begun = _begun(scope, rule["level"])
        record = _Record(LEVELS.index(rule["level"]), omitted, False, begun, scope.user)
        obj = error.to_object()
        _complete(scope, record, Response(error.code, obj))
        self._tell(scope, record, STARTED)

    def answered(self, scope: RequestScope, answer: Response | WatchStream) -> None:
        """The request is answered, or its watch has begun."""
        record = self._records.pop(scope, None)
        if record is None:
            return
        _complete(scope, record, answer)
        if isinstance(answer, Response):
            self._tell(scope, record, COMPLETE)
            return
        self._tell(scope, record, STARTED)
        when_closed: Any = getattr(answer, "on_close", None)
        if when_closed is not None:
            when_closed(lambda: self._tell(scope, record, COMPLETE))

    def _tell(self, scope: RequestScope, record: _Record, stage: str) -> None:
        if stage in record.omitted:
            return
        event = {**record.event, "stage": stage}
        event["stageTimestamp"] = timestamps.format_micro_time(scope.server.process.now_ns())
        order = [key for key in _ORDER if key in event]
        self._sink({key: event[key] for key in order})

    # -- the policy ---------------------------------------------------------------------------

    def _rule(self, scope: RequestScope) -> Object | None:
        rules: list[Object] = self._policy["rules"]
        return next((rule for rule in rules if _matches(rule, scope)), None)


_ORDER = (
    "kind", "apiVersion", "level", "auditID", "stage", "requestURI", "verb", "user",
    "impersonatedUser", "authenticationMetadata", "sourceIPs", "userAgent", "objectRef",
    "responseStatus", "requestObject", "responseObject", "requestReceivedTimestamp",
    "stageTimestamp", "annotations",
)


def _matches(rule: Object, scope: RequestScope) -> bool:
    user, info = scope.user, scope.info
    if rule.get("users") and user.name not in rule["users"]:
        return False
    if rule.get("userGroups") and not set(rule["userGroups"]) & set(user.groups):
        return False
    if rule.get("verbs") and info.verb not in rule["verbs"]:
        return False
    if rule.get("namespaces") or rule.get("resources"):
        return _matches_resource(rule, info)
    if rule.get("nonResourceURLs"):
        return not info.is_resource and any(
            spec in ("*", info.path) or (spec.endswith("*") and info.path.startswith(spec[:-1]))
            for spec in rule["nonResourceURLs"]
        )
    return True


def _matches_resource(rule: Object, info: RequestInfo) -> bool:
    if not info.is_resource:
        return False
    if rule.get("namespaces") and info.namespace not in rule["namespaces"]:
        return False
    groups: list[Object] = rule.get("resources") or []
    if not groups:
        return True
    combined = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    for each in groups:
        if (each.get("group") or "") != info.group:
            continue
        names: list[str] = each.get("resourceNames") or []
        wanted: list[str] = each.get("resources") or []
        if not wanted:
            return True
        if names and info.name not in names:
            continue
        for resource in wanted:
            if resource in (combined, "*"):
                return True
            if info.subresource and resource == f"*/{info.subresource}":
                return True
            if resource == f"{info.resource}/*":
                return True
    return False


# -- events ----------------------------------------------------------------------------------------


def _begun(scope: RequestScope, level: str) -> Object:
    request, info = scope.request, scope.info
    event: Object = {
        "kind": "Event",
        "apiVersion": API_VERSION,
        "level": level,
        "auditID": request.header("audit-id") or scope.server.draw_uid("audit"),
        "requestURI": _uri(scope),
        "verb": info.verb,
        "user": _user(scope.user),
        "sourceIPs": _source_ips(request),
        "requestReceivedTimestamp": timestamps.format_micro_time(scope.server.process.now_ns()),
    }
    agent = request.header("user-agent")
    if agent:
        event["userAgent"] = agent
    if info.is_resource:
        event["objectRef"] = _present(
            resource=info.resource,
            namespace=info.namespace,
            name=info.name,
            apiGroup=info.group,
            apiVersion=info.version,
            subresource=info.subresource,
        )
    return event


def _source_ips(request: Request) -> list[str]:
    """Where a request comes from, as it says itself, and as we know (`SourceIPs`)."""
    found = [
        text
        for part in request.header("x-forwarded-for").split(",")
        if addresses.is_ip(text := part.strip())
    ]
    real = request.header("x-real-ip")
    if addresses.is_ip(real) and real not in found:
        found.append(real)
    if not found or found[-1] != LOOPBACK:
        found.append(LOOPBACK)
    return found


def _present(**fields: Any) -> Object:
    return {key: value for key, value in fields.items() if value}


def _uri(scope: RequestScope) -> str:
    query = urlencode(scope.request.query)
    return f"{scope.request.path}?{query}" if query else scope.request.path


def _user(user: UserInfo) -> Object:
    extra = {key: list(values) for key, values in user.extra.items()}
    return _present(username=user.name, uid=user.uid, groups=list(user.groups), extra=extra)


def _complete(scope: RequestScope, record: _Record, answer: Response | WatchStream) -> None:
    """Note what became of the request."""
    event = record.event
    if scope.user is not record.user and scope.user != record.user:
        event["impersonatedUser"] = _user(scope.user)
        if scope.constraint:
            event["authenticationMetadata"] = {"impersonationConstraint": scope.constraint}
    obj = answer.obj if isinstance(answer, Response) else None
    if obj is not None and obj.get("kind") == "Status":
        kept = ("metadata", "status", "message", "reason", "details", "code")
        event["responseStatus"] = {key: obj[key] for key in kept if key in obj}
        event["responseStatus"].setdefault("code", answer.status)
    else:
        event["responseStatus"] = {"metadata": {}, "code": answer.status}
    sent = _sent(scope)
    if sent is not None and "objectRef" in event and scope.info.verb not in _PATCHES:
        _name(event["objectRef"], sent)
    if record.level >= LEVELS.index("Request") and sent is not None:
        event["requestObject"] = _without(_named(sent, scope), record)
    if record.level >= LEVELS.index("RequestResponse") and obj is not None:
        event["responseObject"] = _without(_plain(obj, scope), record)
    if scope.audit:
        event["annotations"] = dict(sorted(scope.audit.items()))


def _name(reference: Object, sent: Object) -> None:
    metadata: Any = sent.get("metadata")
    if isinstance(metadata, dict):
        fields = cast("Object", metadata)
        for key in ("namespace", "name", "uid", "resourceVersion"):
            if not reference.get(key) and isinstance(fields.get(key), str) and fields[key]:
                reference[key] = fields[key]


def _sent(scope: RequestScope) -> Any:
    """The object of the request: as it was decoded, else its body if that is JSON."""
    if scope.sent is not None:
        return scope.sent
    if scope.request.obj is not None:
        return scope.request.obj
    if not scope.request.body:
        return None
    try:
        found: Any = msgspec.json.decode(scope.request.body)
    except msgspec.DecodeError:
        return None
    # A patch is told as it came; what could not be decoded as an object is not told.
    is_told = isinstance(found, dict) or scope.info.verb in _PATCHES
    return cast("Any", found) if is_told else None


def _named(sent: Any, scope: RequestScope) -> Any:
    """An object as it was decoded: its kind is that of the path, whether it says so or not."""
    if scope.info.verb in ("delete", "deletecollection") and isinstance(sent, dict):
        # Options are told as the server has them inside.
        kind = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/__internal"}
        return {**cast("Object", sent), **kind}
    resource = scope.resource
    if resource is None or not isinstance(sent, dict) or scope.info.verb in _PATCHES:
        return cast("Any", sent)
    if scope.subresource not in ("", "status") or scope.info.verb not in ("create", "update"):
        return cast("Object", sent)
    kind = {"kind": resource.kind, "apiVersion": resource.api_version}
    return {**kind, **cast("Object", sent)}


def _plain(obj: Object, scope: RequestScope) -> Object:
    """An answer as it is written: the items of a list of a built-in kind don't name it."""
    items: Any = obj.get("items")
    if not isinstance(items, list) or scope.resource is None or scope.resource.custom:
        return obj
    kept = [
        {key: value for key, value in item.items() if key not in ("kind", "apiVersion")}
        for item in cast("list[Object]", items)
    ]
    return {**obj, "items": kept}


def _without(obj: Any, record: _Record) -> Any:
    """An object without managed fields, where the policy omits them."""
    if not record.omits_managed_fields or not isinstance(obj, dict):
        return obj
    found = cast("Object", obj)
    if isinstance(found.get("items"), list):
        return {**found, "items": [_without(item, record) for item in found["items"]]}
    metadata: Any = found.get("metadata")
    if not isinstance(metadata, dict):
        return found
    fields = cast("Object", metadata)
    kept = {key: value for key, value in fields.items() if key != "managedFields"}
    return {**found, "metadata": kept}
