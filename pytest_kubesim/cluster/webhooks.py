"""Webhooks of a test: Python functions, and whoever listens inside the simulation.

    @kubesim.webhook("pods")
    def no_latest(request):
        image = request["object"]["spec"]["containers"][0]["image"]
        return "pin your images" if image.endswith(":latest") else None

    @kubesim.webhook("deployments.apps", mutating=True)
    def three(request):
        spec = {**request["object"]["spec"], "replicas": 3}
        return {**request["object"], "spec": spec}

    @kubesim.webhook(service="system/operator", path="/validate")  # configured by a manifest

A function is given the request of the review and answers: None or True (allowed), False or a text
(denied), an object (what to make of it) or a list (a JSON patch) where it mutates, or the whole
`response`.  What it raises is an HTTP 500.

The law: a function of the test comes before an operator that listens, the longest URL first.
"""

from __future__ import annotations

import base64
import inspect
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import msgspec

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource, Object
from pytest_kubesim.apiserver import webhook_pods
from pytest_kubesim.apiserver.webhook_client import CallError, address_of, refused
from pytest_kubesim.errors import UsageError, suggestion
from pytest_kubesim.sim.durations import to_ns

if TYPE_CHECKING:
    from pytest_kubesim.cluster.cluster import Cluster

HOST = "webhooks.kubesim.test"
OPERATIONS = ("CREATE", "UPDATE")
ALL_OPERATIONS = ("CREATE", "UPDATE", "DELETE", "CONNECT", "*")
OPTIONS = (
    "mutating", "conversion", "operations", "name", "url", "service", "path", "scope",
    "failure_policy", "match_policy", "timeout", "side_effects", "reinvocation_policy",
    "namespace_selector", "object_selector", "match_conditions",
)

_REGISTRATION = "admissionregistration.k8s.io/v1"


class Webhook:
    """A function that answers reviews; calling it calls the function."""

    def __init__(self, owner: Webhooks, function: Callable[..., Any], url: str) -> None:
        self.function = function
        self.url = url
        """Where it answers; a service is `https://name.namespace.svc:443/path`."""
        self.requests: list[Object] = []
        """What it was asked, oldest first."""
        self._owner = owner

    @property
    def calls(self) -> int:
        """How often it was asked."""
        return len(self.requests)

    def remove(self) -> None:
        """Answer no more: who calls it finds the connection refused."""
        self._owner.forget(self)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What the function itself returns."""
        return self.function(*arguments, **named)

    async def answer(self, review: Object) -> Object:
        """The review with its response."""
        request: Object = _own(review["request"])
        self.requests.append(request)
        if review["kind"] == "ConversionReview":
            response = await self._converted(request)
        else:
            said = await _settled(self.function(_own(request)))
            response = response_of(request, said)
            if set(response) == {"apiVersion", "kind", "response"}:
                return response
        return {
            "apiVersion": review["apiVersion"],
            "kind": review["kind"],
            "response": {"uid": request["uid"], **response},
        }

    async def _converted(self, request: Object) -> Object:
        objects: list[Object] = []
        for obj in request["objects"]:
            wanted = request["desiredAPIVersion"]
            try:
                made = await _settled(self.function(_own(obj), wanted))
            except ValueError as error:
                return {"result": {"status": "Failure", "message": str(error)}}
            objects.append({**made, "apiVersion": wanted})
        return {"result": {"status": "Success"}, "convertedObjects": objects}


def _own(part: Any) -> Any:
    """A copy that the function may change: it shares nothing, not even within itself."""
    return msgspec.to_builtins(part)


async def _settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def response_of(request: Object, said: Any) -> Object:
    """The response that an answer means.  Raises: `UsageError` for one that means none."""
    if said is None or isinstance(said, bool):
        return {"allowed": said is not False}
    if isinstance(said, str):
        return {"allowed": False, "status": {"message": said}}
    if isinstance(said, list):
        return _patching(cast("list[Any]", said))
    if isinstance(said, dict):
        given = cast("Object", said)
        if "allowed" in given or "response" in given:
            return given
        if "metadata" in given:
            return _patching(differences(request.get("object") or {}, given))
    raise UsageError(
        f"webhook: {said!r} is no answer; give None or True, False or a text to deny, the object "
        "as it is to be, a JSON patch (a list), or a response with 'allowed'"
    )


def _patching(patch: list[Any]) -> Object:
    if not patch:
        return {"allowed": True}
    encoded = base64.b64encode(json.dumps(patch).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


def differences(old: Object, new: Object, path: str = "") -> list[Object]:
    """The JSON patch that makes `new` of `old`; lists are replaced as a whole."""
    patch: list[Object] = []
    for key in [*old, *(key for key in new if key not in old)]:
        where = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
        if key not in new:
            patch.append({"op": "remove", "path": where})
        elif key not in old:
            patch.append({"op": "add", "path": where, "value": new[key]})
        elif isinstance(old[key], dict) and isinstance(new[key], dict):
            patch += differences(old[key], new[key], where)
        elif old[key] != new[key]:
            patch.append({"op": "replace", "path": where, "value": new[key]})
    return patch


class Webhooks:
    """Who answers the reviews of one cluster: `server.call_webhook`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._webhooks: list[Webhook] = []
        self._made = 0
        for server in cluster.control_plane.servers:
            server.call_webhook = self.call

    async def call(
        self, client_config: Object, path: str, review: Object, timeout_ns: int
    ) -> Object:
        """Carry a review to who answers it.  Raises `CallError`, `BadAnswer`, `APIStatus`."""
        del timeout_ns
        address = address_of(client_config)
        url = address.url
        found = [each for each in self._webhooks if _is_below(url, each.url)]
        if found:
            webhook = max(found, key=lambda each: len(each.url))
            try:
                return await webhook.answer(review)
            except UsageError as error:
                self._cluster.fail(error)
                raise CallError("EOF") from None
            except Exception as error:  # as a server of the user's would
                nothing = GroupResource("", "")
                raise status.new_generic_server_response(
                    500, "post", nothing, "", str(error), is_unexpected_response=True
                ) from error
        doors = self._cluster.doors_if_any
        if doors is None:
            server = self._cluster.server
            where = webhook_pods.endpoint(server, client_config)
            if where is not None:
                return await webhook_pods.call(server, where, client_config, path, review)
            by_ip = address.is_ip or "service" in client_config
            raise CallError(refused(client_config["dialled"], is_ip=by_ip))
        return await doors.call_webhook(self._cluster, client_config, path, review)

    def forget(self, webhook: Webhook) -> None:
        """Let a function answer no more."""
        self._webhooks = [each for each in self._webhooks if each is not webhook]

    # -- making them --------------------------------------------------------------------------

    def decorator(
        self, resources: tuple[str, ...], options: dict[str, Any]
    ) -> Callable[[Callable[..., Any]], Webhook]:
        """What `kubesim.webhook(...)` gives.  Raises: `UsageError` for options that are none."""
        for name in options:
            if name not in OPTIONS:
                raise UsageError(
                    f"webhook: unknown option {name!r};",
                    f"{suggestion(name, OPTIONS)}the options are {', '.join(OPTIONS)}",
                )
        for resource in resources:
            if not isinstance(resource, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise UsageError(
                    f"webhook: {resource!r} names no resource; write @kubesim.webhook('pods'), "
                    "with parentheses"
                )
        rules = [self._rule(each, options) for each in resources]
        conversion, url, service = (options.get(k) for k in ("conversion", "url", "service"))
        if url and service:
            raise UsageError("webhook: give url= or service=, not both")
        if not (resources or conversion or url or service):
            raise UsageError(
                "webhook: say what it is asked about: @kubesim.webhook('pods'), or for which "
                "webhook it answers: url=, service=, conversion="
            )

        if conversion and not (url or service):
            self._check_conversion(conversion)

        def decorate(function: Callable[..., Any]) -> Webhook:
            _check_function(function, 2 if conversion else 1)
            self._made += 1
            name = options.get("name") or getattr(function, "__name__", "webhook")
            name = str(name).strip("_<>").replace("_", "-").lower() or "webhook"
            where = url or (_service_url(service, options) if service else "")
            webhook = Webhook(self, function, where or f"https://{HOST}/{name}-{self._made}")
            self._webhooks.append(webhook)
            if conversion:
                self._convert(conversion, webhook, keep=bool(where))
            elif resources:
                self._configure(name, rules, options, webhook)
            return webhook

        return decorate

    def _configure(
        self, name: str, rules: list[Object], options: dict[str, Any], webhook: Webhook
    ) -> None:
        mutating = bool(options.get("mutating"))
        full = name if name.count(".") >= 2 else f"{name}.{HOST}"
        fields: Object = {
            "name": full,
            "clientConfig": {"url": webhook.url},
            "admissionReviewVersions": ["v1"],
            "sideEffects": options.get("side_effects", "None"),
            "rules": rules,
            "failurePolicy": options.get("failure_policy"),
            "matchPolicy": options.get("match_policy"),
            "timeoutSeconds": _seconds(options.get("timeout")),
            "namespaceSelector": _selector(options.get("namespace_selector")),
            "objectSelector": _selector(options.get("object_selector")),
            "matchConditions": options.get("match_conditions"),
        }
        if mutating:
            fields["reinvocationPolicy"] = options.get("reinvocation_policy")
        kind = "MutatingWebhookConfiguration" if mutating else "ValidatingWebhookConfiguration"
        self._cluster.apply(
            {
                "apiVersion": _REGISTRATION,
                "kind": kind,
                "metadata": {"name": name},
                "webhooks": [{k: v for k, v in fields.items() if v is not None}],
            },
            force=True,
        )

    def _rule(self, resource: str, options: dict[str, Any]) -> Object:
        """A rule for `pods`, `deployments.apps`, `pods/status`, `*`."""
        plain, slash, subresource = resource.partition("/")
        rule: Object = {
            "apiVersions": ["*"],
            "operations": _operations(options.get("operations", OPERATIONS)),
            "scope": options.get("scope", "*"),
        }
        if plain == "*":
            return {**rule, "apiGroups": ["*"], "resources": [resource]}
        found = self._cluster.names.resource(plain)
        below = sorted(self._cluster.names.subresources(found.plural))
        if subresource not in ("", "*", *below):
            raise UsageError(
                f"webhook: {resource!r}: {found.plural} have no such subresource;",
                f"{suggestion(subresource, below)}there are {', '.join(below) or 'none'}",
            )
        named = f"{found.plural}{slash}{subresource}"
        return {**rule, "apiGroups": [found.group], "resources": [named]}

    def _check_conversion(self, name: Any) -> None:
        definitions = self._cluster.names.resource("customresourcedefinitions")
        there = [o["metadata"]["name"] for o in self._cluster.control_plane.read_all(definitions)]
        if name not in there:
            raise UsageError(
                f"webhook: conversion={name!r}: there is no such CustomResourceDefinition;",
                f"{suggestion(name, there)}apply it before; there are {', '.join(there) or 'none'}",
            )

    def _convert(self, name: str, webhook: Webhook, *, keep: bool) -> None:
        """Let a definition ask a webhook, unless it asks somebody already whom we stand in for."""
        if keep:
            return
        crd = self._cluster.get(f"customresourcedefinition/{name}")
        known: Object = crd["spec"].get("conversion") or {}
        if known.get("strategy") == "Webhook":
            webhook.url = address_of(known["webhook"]["clientConfig"]).url
            return
        self._cluster.patch(
            f"customresourcedefinition/{name}",
            {
                "spec": {
                    "conversion": {
                        "strategy": "Webhook",
                        "webhook": {
                            "clientConfig": {"url": webhook.url},
                            "conversionReviewVersions": ["v1"],
                        },
                    }
                }
            },
        )


def _operations(given: Any) -> list[str]:
    """One operation or several.  Raises: `UsageError` for one that there is not."""
    several = [given] if isinstance(given, str) else list(given)
    for each in several:
        if each not in ALL_OPERATIONS:
            raise UsageError(
                f"webhook: operations={given!r}: there is no operation {each!r};",
                f"{suggestion(each, ALL_OPERATIONS)}there are {', '.join(ALL_OPERATIONS)}",
            )
    return several


def _check_function(function: Any, count: int) -> None:
    """Raises: `UsageError` for what cannot answer a review, or a conversion."""
    if not callable(function):
        raise UsageError(
            f"webhook: {function!r} is no function; @kubesim.webhook(...) stands above one"
        )
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        takes = "the object and the apiVersion to make it" if count == 2 else "the request"
        raise UsageError(
            f"webhook: {getattr(function, '__name__', function)!s} has to take {takes}"
        ) from None
    except ValueError:
        return  # nothing is known of it


def _is_below(url: str, prefix: str) -> bool:
    return url == prefix or url.startswith(prefix.rstrip("/") + "/")


def _service_url(service: str, options: dict[str, Any]) -> str:
    namespace, slash, rest = service.partition("/")
    name, _, port = rest.partition(":")
    if not slash or not name:
        raise UsageError(f"webhook: service={service!r}: write it as 'namespace/name'")
    return f"https://{name}.{namespace}.svc:{port or 443}{options.get('path') or ''}"


def _seconds(timeout: Any) -> int | None:
    return None if timeout is None else to_ns(timeout, "timeout") // 1_000_000_000


def _selector(labels: Any) -> Object | None:
    if labels is None or "matchLabels" in labels or "matchExpressions" in labels:
        return labels
    return {"matchLabels": labels}
