"""Flow schemas and priority levels: two controllers in the API server's process.

The law: a FlowSchema says at once whether its priority level exists; what the server came with is
there again at the next full minute, when it was deleted, and as it was, where it says that it is
looked after (`apf.kubernetes.io/autoupdate-spec`).  Requests are not held back here.

Follows `apiserver/pkg/util/flowcontrol/apf_controller.go` (`presyncFlowSchemaStatus`) and
`pkg/registry/flowcontrol/{rest,ensurer}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, get_path
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.apimachinery.timestamps import format_time
from pytest_kubesim.apiserver import bootstrap, loopback
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.etcd.messages import WatchResponse

GROUP = "flowcontrol.apiserver.k8s.io"
SCHEMAS, LEVELS = (
    GroupResource(GROUP, "flowschemas"),
    GroupResource(GROUP, "prioritylevelconfigurations"),
)
AUTO_UPDATE = "apf.kubernetes.io/autoupdate-spec"
CONSUMER = "api-priority-and-fairness-config-consumer-v1"
PRODUCER = "api-priority-and-fairness-config-producer-v1"
DANGLING = "Dangling"
ENSURE_NS = 60 * NS
MANDATORY = ("exempt", "catch-all")
"""Priority levels that are there even when nobody can see them."""

_STATE = "flow control: ensuring"


def start(server: APIServer) -> None:
    """Look after flow control in this life of the server."""
    server.state.pop(_STATE, None)
    for resource in (SCHEMAS, LEVELS):
        prefix = f"/registry/{resource.resource}/"
        server.follow(prefix, lambda response: _heard(server, response))


def _heard(server: APIServer, response: WatchResponse) -> None:
    del response
    server.process.spawn(_digest(server), name="flow control", daemon=True)
    if _STATE not in server.state:
        server.state[_STATE] = True
        now = server.process.now_ns() - server.kernel.start_ns
        server.process.call_later(ENSURE_NS - now % ENSURE_NS, _ensure, server)


async def _digest(server: APIServer) -> None:
    """Say of every FlowSchema whether its priority level exists, where that has changed."""
    levels: set[str] = {*MANDATORY, *(o["metadata"]["name"] for o in server.reader.list(LEVELS))}
    for schema in server.reader.list(SCHEMAS):
        wanted = _condition(schema, levels)
        known: list[Object] = get_path(schema, "status", "conditions") or []
        old = next((each for each in known if each.get("type") == DANGLING), None)
        if old is not None and all(old.get(key) == value for key, value in wanted.items()):
            continue
        name: str = schema["metadata"]["name"]
        condition = {**wanted, "lastTransitionTime": format_time(server.process.now_ns())}
        applied: Object = {
            "apiVersion": f"{GROUP}/v1",
            "kind": "FlowSchema",
            "metadata": {"name": name},
            "status": {"conditions": [condition]},
        }
        path = f"/apis/{GROUP}/v1/{SCHEMAS.resource}/{name}/status"
        try:
            await loopback.apply(server, path, applied, manager=CONSUMER)
        except APIStatus:
            # It is gone, or changed meanwhile: that is heard of too.
            continue


def _condition(schema: Object, levels: set[str]) -> Object:
    level: str = get_path(schema, "spec", "priorityLevelConfiguration", "name") or ""
    begin = f"This FlowSchema references the PriorityLevelConfiguration object named {quote(level)}"
    if level in levels:
        message = f"{begin} and it exists"
        return {"type": DANGLING, "status": "False", "reason": "Found", "message": message}
    message = f"{begin} but there is no such object"
    return {"type": DANGLING, "status": "True", "reason": "NotFound", "message": message}


def _ensure(server: APIServer) -> None:
    server.state.pop(_STATE, None)
    server.process.spawn(_ensured(server), name="flow control bootstrap", daemon=True)


async def _ensured(server: APIServer) -> None:
    """What the server came with is there and as it was."""
    for obj in bootstrap.objects(server.catalog.version, server.kernel.start_ns):
        if not obj["apiVersion"].startswith(f"{GROUP}/"):
            continue
        metadata: Object = obj["metadata"]
        resource = SCHEMAS if obj["kind"] == "FlowSchema" else LEVELS
        path = f"/apis/{GROUP}/v1/{resource.resource}"
        found = server.reader.get(resource, "", metadata["name"])
        try:
            if found is None:
                kept = {key: metadata[key] for key in ("name", "annotations") if key in metadata}
                made = {
                    "apiVersion": obj["apiVersion"],
                    "kind": obj["kind"],
                    "metadata": kept,
                    "spec": obj["spec"],
                }
                await loopback.send(server, "POST", path, made, manager=PRODUCER)
            elif _drifted(found, obj):
                await loopback.send(
                    server,
                    "PUT",
                    f"{path}/{metadata['name']}",
                    {**found, "spec": obj["spec"]},
                    manager=PRODUCER,
                )
        except APIStatus:
            continue


def _drifted(found: Object, obj: Object) -> bool:
    looked_after = get_path(found, "metadata", "annotations", AUTO_UPDATE) == "true"
    return looked_after and found["spec"] != obj["spec"]
