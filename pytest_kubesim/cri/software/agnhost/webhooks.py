"""webhook and crd-conversion-webhook: servers of admission and conversion reviews.

The law: nothing is encrypted inside the simulation, but a server shows its certificate, and does
not start without.  Follows `test/images/agnhost/{webhook,crd-conversion-webhook}`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_kubesim.cri import http1
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.software.agnhost.flags import Flags, fatal, forever, log, parse
from pytest_kubesim.sim.pipes import Broken

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc

Object = dict[str, Any]
Admit = Callable[["_Webhook", Object], Awaitable["Object | None"]]

_DELAY_NS = 5_000_000_000
_FLAGS = {
    "tls-cert-file": "", "tls-private-key-file": "", "port": "443", "sidecar-image": "",
    "v": "0",
}
_NOTHING: Object = {}
_SIDECAR = "webhook-added-sidecar"
_INIT = "webhook-added-init-container"


class _Webhook:
    def __init__(self, proc: Proc, flags: Flags) -> None:
        self.proc = proc
        self.flags = flags

    async def answer(self, request: http1.Request) -> http1.Response:
        if request.path == "/readyz":
            return http1.Response(200, b"ok")
        admit = _ADMIT.get(request.path)
        if admit is None:
            return http1.Response(404, b"404 page not found\n")
        kind = request.headers.get("content-type", "")
        if kind != "application/json":
            await log(self.proc, f"contentType={kind}, expect application/json")
            return http1.Response(200)
        try:
            review: Object = json.loads(request.body)
            asked: Object = review["request"]
        except (ValueError, TypeError, KeyError) as error:
            return http1.Response(400, f"Request could not be decoded: {error}\n".encode())
        response = await admit(self, asked)
        if response is None:
            # Upstream's handler dereferences nil: the connection breaks off.
            raise Broken
        return _json(
            {
                "kind": review["kind"], "apiVersion": review["apiVersion"],
                "response": {"uid": asked["uid"], **response},
            }
        )


def _json(value: object) -> http1.Response:
    body = json.dumps(value, separators=(",", ":")).encode()
    return http1.Response(200, body, {"Content-Type": "application/json"})


def _denied(**result: Any) -> Object:
    return {"allowed": False, "status": {"metadata": {}, **result}}


def _patched(*operations: Object) -> Object:
    if not operations:
        return {"allowed": True}
    encoded = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patch": encoded, "patchType": "JSONPatch"}


def _add(path: str, value: object) -> Object:
    return {"op": "add", "path": path, "value": value}


def _is(request: Object, group: str, resource: str, version: str = "v1") -> bool:
    wanted = {"group": group, "version": version, "resource": resource}
    return request.get("resource") == wanted


def _labels(obj: Object | None) -> Mapping[str, str]:
    return ((obj or _NOTHING).get("metadata") or _NOTHING).get("labels") or _NOTHING


# -- what they say ---------------------------------------------------------------------------


async def _delay(hook: _Webhook, request: Object) -> Object:
    del request
    await hook.proc.system.sleep(_DELAY_NS)
    return {
        "allowed": True,
        "status": {"metadata": {}, "message": "this webhook allows all requests"},
    }


async def _deny(hook: _Webhook, request: Object) -> Object:
    del hook, request
    return _denied(message="this webhook denies all requests")


async def _add_label(hook: _Webhook, request: Object) -> Object:
    del hook
    labels = _labels(request.get("object"))
    if not labels:
        return _patched(_add("/metadata/labels", {"added-label": "yes"}))
    if "added-label" not in labels:
        return _patched(_add("/metadata/labels/added-label", "yes"))
    if labels["added-label"] != "yes":
        return _patched({"op": "replace", "path": "/metadata/labels/added-label", "value": "yes"})
    return _patched()


async def _pods(hook: _Webhook, request: Object) -> Object:
    if not _is(request, "", "pods"):
        return _denied(message="expect resource to be {Group:, Version:v1, Resource:pods}")
    pod: Object = request.get("object") or _NOTHING
    said = ""
    match _labels(pod).get("webhook-e2e-test"):
        case "webhook-disallow":
            said += "the pod contains unwanted label; "
        case "wait-forever":
            await hook.proc.system.kernel.future()
        case _:
            pass
    for container in (pod.get("spec") or _NOTHING).get("containers") or ():
        if "webhook-disallow" in container["name"]:
            said += "the pod contains unwanted container name; "
    return _denied(message=said.strip()) if said else {"allowed": True}


async def _attach(hook: _Webhook, request: Object) -> Object:
    del hook
    options: Object = request.get("object") or _NOTHING
    if (
        request.get("name") == "to-be-attached-pod"
        and options.get("stdin")
        and options.get("container") == "container1"
    ):
        return _denied(message="attaching to pod 'to-be-attached-pod' is not allowed")
    return {"allowed": True}


async def _mutate_pods(hook: _Webhook, request: Object) -> Object | None:
    del hook
    if not _is(request, "", "pods"):
        return None
    pod: Object = request.get("object") or _NOTHING
    named = (pod.get("metadata") or _NOTHING).get("name") == "webhook-to-be-mutated"
    if not named or _has(pod, "initContainers", _INIT):
        return _patched()
    made: Object = {"image": "webhook-added-image", "name": _INIT, "resources": {}}
    return _patched(_add("/spec/initContainers", [made]))


async def _mutate_pods_sidecar(hook: _Webhook, request: Object) -> Object | None:
    image = hook.flags["sidecar-image"]
    if not image:
        return _denied(
            status="Failure", message="No image specified by the sidecar-image parameter", code=500
        )
    if not _is(request, "", "pods"):
        return None
    if _has(request.get("object") or _NOTHING, "containers", _SIDECAR):
        return _patched()
    return _patched(
        _add("/spec/containers/-", {"image": image, "name": _SIDECAR, "resources": {}})
    )


def _has(pod: Object, field: str, name: str) -> bool:
    found = (pod.get("spec") or _NOTHING).get(field) or ()
    return any(container.get("name") == name for container in found)


def _forbids(request: Object, what: str, content: str) -> Object:
    """A verdict by the key `webhook-e2e-test` in the data."""
    deletes = request.get("operation") == "DELETE"
    obj: Object = request.get("oldObject" if deletes else "object") or _NOTHING
    value = (obj.get("data") or _NOTHING).get("webhook-e2e-test")
    if value == "webhook-disallow" and request.get("operation") in ("CREATE", "UPDATE"):
        return _denied(reason=f"the {what} contains unwanted {content}")
    if value == "webhook-nondeletable" and deletes:
        return _denied(
            reason=f"the {what} cannot be deleted because it contains unwanted key and value"
        )
    return {"allowed": True}


async def _config_maps(hook: _Webhook, request: Object) -> Object | None:
    del hook
    return _forbids(request, "configmap", "key and value") if _is(
        request, "", "configmaps"
    ) else None


async def _custom_resource(hook: _Webhook, request: Object) -> Object:
    del hook
    return _forbids(request, "custom resource", "data")


async def _mutate_data(hook: _Webhook, request: Object) -> Object:
    del hook
    data: Object = (request.get("object") or _NOTHING).get("data") or _NOTHING
    if data.get("mutation-stage-1") == "yes":
        return _patched(_add("/data/mutation-stage-2", "yes"))
    if data.get("mutation-start") == "yes":
        return _patched(_add("/data/mutation-stage-1", "yes"))
    return _patched()


async def _mutate_config_maps(hook: _Webhook, request: Object) -> Object | None:
    return await _mutate_data(hook, request) if _is(request, "", "configmaps") else None


async def _crd(hook: _Webhook, request: Object) -> Object:
    del hook
    if _labels(request.get("object")).get("webhook-e2e-test") == "webhook-disallow":
        return _denied(message="the crd contains unwanted label")
    return {"allowed": True}


_ADMIT: dict[str, Admit] = {
    "/always-allow-delay-5s": _delay,
    "/always-deny": _deny,
    "/add-label": _add_label,
    "/pods": _pods,
    "/pods/attach": _attach,
    "/mutating-pods": _mutate_pods,
    "/mutating-pods-sidecar": _mutate_pods_sidecar,
    "/configmaps": _config_maps,
    "/mutating-configmaps": _mutate_config_maps,
    "/custom-resource": _custom_resource,
    "/mutating-custom-resource": _mutate_data,
    "/crd": _crd,
}


# -- conversion ------------------------------------------------------------------------------


class _Unconvertible(Exception):
    pass


def _converted(obj: Object, version: str) -> Object:
    """An example object in another version.  Raises `_Unconvertible`."""
    given = obj.get("apiVersion") or ""
    if given == version:
        raise _Unconvertible(
            f"conversion from a version to itself should not call the webhook: {version}"
        )
    made = dict(obj)
    pair = (given, version)
    if pair == ("stable.example.com/v1", "stable.example.com/v2"):
        if "hostPort" in made:
            joined = made.pop("hostPort")
            parts = joined.split(":")
            if len(parts) != 2:
                raise _Unconvertible(f"invalid hostPort value `{joined}`")
            made["host"], made["port"] = parts
    elif pair == ("stable.example.com/v2", "stable.example.com/v1"):
        if "host" in made or "port" in made:
            made["hostPort"] = f"{made.pop('host', '')}:{made.pop('port', '')}"
    else:
        known = given in ("stable.example.com/v1", "stable.example.com/v2")
        shown = version if known else given
        raise _Unconvertible(f'unexpected conversion version "{shown}"')
    made["apiVersion"] = version
    return made


async def _convert(request: http1.Request) -> http1.Response:
    if request.path == "/readyz":
        return http1.Response(200, b"ok")
    if request.path != "/crdconvert":
        return http1.Response(404, b"404 page not found\n")
    try:
        review: Object = json.loads(request.body)
        asked: Object = review["request"]
    except (ValueError, TypeError, KeyError) as error:
        return http1.Response(400, f"failed to deserialize body with error {error}\n".encode())
    response: Object = {"uid": asked["uid"]}
    try:
        response["convertedObjects"] = [
            _converted(each, asked["desiredAPIVersion"]) for each in asked.get("objects") or ()
        ]
        response["result"] = {"metadata": {}, "status": "Success"}
    except _Unconvertible as problem:
        response["convertedObjects"] = None
        response["result"] = {"metadata": {}, "status": "Failure", "message": str(problem)}
    return _json(
        {"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response}
    )


# -- the commands ----------------------------------------------------------------------------


async def _serve(
    proc: Proc, flags: Flags, answer: Callable[[http1.Request], Awaitable[http1.Response]]
) -> int:
    pair: list[bytes] = []
    for name in ("tls-cert-file", "tls-private-key-file"):
        try:
            pair.append(await proc.contents(flags[name]))
        except Fault as fault:
            return await fatal(proc, f"open {flags[name]}: {str(fault).lower()}")
    proc.system.serve(
        flags.number("port"), lambda stream: http1.serve(stream, answer), certificate=pair[0]
    )
    return await forever(proc)


async def webhook(proc: Proc, args: list[str]) -> int:
    """`webhook`."""
    flags = await parse(proc, args, _FLAGS)
    return await _serve(proc, flags, _Webhook(proc, flags).answer)


async def crd_conversion_webhook(proc: Proc, args: list[str]) -> int:
    """`crd-conversion-webhook`."""
    flags = await parse(proc, args, _FLAGS)
    return await _serve(proc, flags, _convert)


COMMANDS = {"webhook": webhook, "crd-conversion-webhook": crd_conversion_webhook}
