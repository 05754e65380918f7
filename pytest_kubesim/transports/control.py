"""The remote control: `/kubesim/v1` beside the API server, for tests in any language.

What a test in this process says to `kubesim.faults`, `kubesim.clock`, `settle`, `journal`, a test
in Go or Java says here, over the same address, as somebody of `system:masters`.  Requests to it are
not of the simulation: no fault strikes them, the journal does not have them, and they are answered
while the API server is down.

`openapi.json` (no token needed) describes it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

import msgspec

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apimachinery.timestamps import format_micro_time
from pytest_kubesim.apiserver.filters.authentication import with_group
from pytest_kubesim.cluster.control_plane import MASTERS
from pytest_kubesim.errors import KubesimError, NotSimulated
from pytest_kubesim.etcd import backup
from pytest_kubesim.sim import durations
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.transports import control_openapi, fault_language, settling
from pytest_kubesim.wire import Response

if TYPE_CHECKING:
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.faults.armed import Armed
    from pytest_kubesim.sim.clock import WallClock
    from pytest_kubesim.sim.journal import Entry
    from pytest_kubesim.sim.process import Process
    from pytest_kubesim.transports.wall_timers import WallTimers
    from pytest_kubesim.wire import Request, UserInfo, WatchStream

ROOT = "/kubesim/v1"
MAX_BACKUP_BYTES = 1 << 30
PAGE = 1000
"""How many entries of the journal an answer has, unless asked for fewer or more."""

Object = dict[str, Any]
Body = dict[str, Any]
_NOWHERE = GroupResource("", "")


class Control:
    """What a door asks: the remote control for its own paths, the API server for all others."""

    def __init__(self, cluster: Cluster, clock: WallClock, timers: WallTimers) -> None:
        self._cluster = cluster
        self._clock = clock
        self._timers = timers
        self._snapshots: dict[str, Object] = {}
        self._scale = clock.scale
        self.requests = 0
        """How many requests the API server was asked: what shows that somebody outside is busy."""
        self._routes: dict[tuple[str, str], Callable[[str, Request], Awaitable[Response]]] = {
            ("GET", ""): self._index,
            ("GET", "openapi.json"): self._openapi,
            ("GET", "faults"): self._faults,
            ("POST", "faults"): self._arm,
            ("DELETE", "faults"): self._disarm_all,
            ("GET", "faults/{id}"): self._fault,
            ("DELETE", "faults/{id}"): self._disarm,
            ("GET", "clock"): self._time,
            ("POST", "clock/advance"): self._advance,
            ("POST", "clock/freeze"): self._freeze,
            ("POST", "clock/scale"): self._set_scale,
            ("POST", "settle"): self._settle,
            ("GET", "journal"): self._journal,
            ("GET", "snapshot"): self._save,
            ("PUT", "snapshot"): self._restore,
            ("GET", "snapshots"): self._snapshot_names,
            ("PUT", "snapshots/{id}"): self._take,
            ("DELETE", "snapshots/{id}"): self._drop,
            ("POST", "snapshots/{id}/restore"): self._restore_taken,
        }

    @property
    def process(self) -> Process:
        """The API server's: its clock dates the answers."""
        return self._cluster.server.process

    @property
    def still(self) -> bool:
        """Whether the clock stands."""
        return self._clock.scale == 0

    async def handle(self, request: Request) -> Response | WatchStream:
        """Answer a request.  Raises `ConnectionLost` where the API server gives no answer."""
        path = request.path
        if path != ROOT and not path.startswith(ROOT + "/"):
            self.requests += 1
            return await self._cluster.server.handle(request)
        try:
            return await self._own(request, path[len(ROOT) :].strip("/"))
        except status.APIStatus as error:
            return Response(error.code, error.to_object())
        except NotSimulated as gap:
            error = status.APIStatus(501, "NotSimulated", str(gap))
            return Response(501, error.to_object())
        except KubesimError as error:
            return Response(400, status.new_bad_request(str(error)).to_object())

    async def _own(self, request: Request, path: str) -> Response:
        parts = path.split("/")
        name = parts[1] if len(parts) > 1 and parts[0] in ("faults", "snapshots") else ""
        if name:
            parts[1] = "{id}"
        route = "/".join(parts)
        found = self._routes.get((request.method, route))
        if route != "openapi.json":
            self._check(request)
        if found is not None:
            return await found(name, request)
        known = any(each == route for _, each in self._routes)
        raise status.new_generic_server_response(405 if known else 404, "", _NOWHERE, "", "")

    def _check(self, request: Request) -> None:
        """Raises `APIStatus` (401, 403) where it is not somebody of `system:masters` who asks."""
        user = self._user(request)
        if user is None:
            raise status.new_unauthorized("Unauthorized")
        if MASTERS not in user.groups:
            raise status.new_forbidden(
                _NOWHERE, "", f'User "{user.name}" is not of the group {MASTERS}'
            )

    def _user(self, request: Request) -> UserInfo | None:
        scheme, _, token = request.header("authorization").strip().partition(" ")
        if scheme.lower() == "bearer":
            found = self._cluster.server.authenticators.user_of(token.strip())
            return None if found is None else with_group(found)
        return request.certificate or request.user

    # -- about itself -------------------------------------------------------------------------

    async def _index(self, _name: str, _request: Request) -> Response:
        settings = self._cluster.config
        return Response(200, {
            "seed": settings.seed, "version": settings.version, "components": settings.components,
            "paths": sorted({f"{ROOT}/{path}".rstrip("/") for _, path in self._routes}),
        })

    async def _openapi(self, _name: str, _request: Request) -> Response:
        return Response(200, control_openapi.document())

    # -- faults -------------------------------------------------------------------------------

    async def _faults(self, _name: str, _request: Request) -> Response:
        every = self._cluster.faults.armed
        return Response(200, {"items": [_shown(n, armed) for n, armed in enumerate(every, 1)]})

    async def _arm(self, _name: str, request: Request) -> Response:
        body = _body(request)
        text = body.get("fault")
        links = (
            fault_language.from_text(text)
            if isinstance(text, str)
            else fault_language.from_parts(body)
        )
        armed = fault_language.arm(self._cluster.faults, links)
        if armed is None:
            return Response(200, {"over": True})
        every = self._cluster.faults.armed
        number = next((n for n, each in enumerate(every, 1) if each is armed), 0)
        if not number:
            every.append(armed)
            number = len(every)
        return Response(201, _shown(number, armed))

    def _found(self, name: str) -> tuple[int, Armed]:
        every = self._cluster.faults.armed
        if not name.isdigit() or not 1 <= int(name) <= len(every):
            raise status.new_not_found(GroupResource("kubesim", "faults"), name)
        return int(name), every[int(name) - 1]

    async def _fault(self, name: str, _request: Request) -> Response:
        return Response(200, _shown(*self._found(name)))

    async def _disarm(self, name: str, _request: Request) -> Response:
        number, armed = self._found(name)
        armed.disarm()
        return Response(200, _shown(number, armed))

    async def _disarm_all(self, name: str, request: Request) -> Response:
        self._cluster.faults.clear()
        return await self._faults(name, request)

    # -- time ---------------------------------------------------------------------------------

    async def _time(self, _name: str, _request: Request) -> Response:
        kernel = self._cluster.kernel
        return Response(200, {
            "now": format_micro_time(kernel.now_ns),
            "elapsedSeconds": kernel.elapsed_ns / NS,
            "scale": self._scale,
            "frozen": self.still,
        })

    async def _advance(self, name: str, request: Request) -> Response:
        duration_ns = durations.to_ns(_body(request).get("duration", ""))
        await settling.advance(self._cluster.kernel, self._clock, duration_ns)
        return await self._time(name, request)

    async def _freeze(self, name: str, request: Request) -> Response:
        frozen = _body(request).get("frozen", True)
        if not isinstance(frozen, bool):
            raise status.new_bad_request("frozen: give true or false")
        if frozen:
            self._clock.freeze()
        else:
            self._clock.set_scale(self._scale)
        return await self._time(name, request)

    async def _set_scale(self, name: str, request: Request) -> Response:
        scale = _body(request).get("scale")
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < 1e9:
            raise status.new_bad_request(
                f"scale: {scale!r}: give a number above 0, such as 60 for a virtual minute each "
                "second; to have time stand, freeze"
            )
        self._scale = float(scale)
        if not self.still:
            self._clock.set_scale(self._scale)
        return await self._time(name, request)

    async def _settle(self, name: str, request: Request) -> Response:
        timeout_ns = durations.to_ns(_body(request).get("timeout", "10m"), "timeout")
        busy = await settling.settle(
            self._cluster, self._clock, self._timers, lambda: self.requests, timeout_ns
        )
        if busy:
            raise status.APIStatus(504, status.TIMEOUT, busy)
        return await self._time(name, request)

    # -- what happened ------------------------------------------------------------------------

    async def _journal(self, _name: str, request: Request) -> Response:
        since, limit = (
            _number(request, "since", 0), _number(request, "limit", PAGE, least=1)
        )
        kind, actor = request.param("kind") or None, request.param("actor") or None
        found = [
            entry
            for entry in self._cluster.journal.entries(kind, actor)
            if entry.sequence >= since
        ][:limit]
        following = found[-1].sequence + 1 if found else max(since, self._cluster.journal.next)
        return Response(200, {"items": [_entry(each) for each in found], "next": following})

    # -- what is stored -----------------------------------------------------------------------

    async def _save(self, _name: str, _request: Request) -> Response:
        return Response(200, backup.save(self._cluster.control_plane.etcd))

    async def _restore(self, _name: str, request: Request) -> Response:
        return self._restored(_decoded(request, MAX_BACKUP_BYTES))

    async def _snapshot_names(self, _name: str, _request: Request) -> Response:
        return Response(200, {"items": sorted(self._snapshots)})

    async def _take(self, name: str, _request: Request) -> Response:
        taken = self._snapshots[name] = backup.save(self._cluster.control_plane.etcd)
        return Response(201, {"name": name, "keys": len(taken["keys"])})

    async def _drop(self, name: str, request: Request) -> Response:
        self._taken(name)
        del self._snapshots[name]
        return await self._snapshot_names(name, request)

    async def _restore_taken(self, name: str, _request: Request) -> Response:
        return self._restored(self._taken(name))

    def _taken(self, name: str) -> Object:
        if name not in self._snapshots:
            raise status.new_not_found(GroupResource("kubesim", "snapshots"), name)
        return self._snapshots[name]

    def _restored(self, saved: Any) -> Response:
        try:
            changes = backup.restore(self._cluster.control_plane.etcd, saved)
        except ValueError as error:
            raise status.new_bad_request(str(error)) from None
        return Response(200, {"changes": changes})


def _shown(number: int, armed: Armed) -> Object:
    return {
        "id": number, "fault": repr(armed.fault), "armed": armed.armed, "seen": armed.seen,
        "struck": armed.struck,
    }


def _entry(entry: Entry) -> Object:
    return {
        "time": format_micro_time(entry.time_ns), "sequence": entry.sequence, "kind": entry.kind,
        "actor": entry.actor, "fields": entry.fields,
    }


def _number(request: Request, name: str, default: int, *, least: int = 0) -> int:
    text = request.param(name)
    if not text:
        return default
    if not text.isdecimal() or int(text) < least:
        raise status.new_bad_request(f"{name}={text!r}: give a whole number from {least} on")
    return int(text)


def _body(request: Request) -> Body:
    """The JSON object of a body; empty where there is none.  Raises `APIStatus` (400)."""
    if not request.body:
        return {}
    found = _decoded(request, len(request.body))
    if not isinstance(found, dict):
        raise status.new_bad_request("the body has to be a JSON object")
    return cast("Body", found)


def _decoded(request: Request, limit: int) -> Any:
    body = request.body or b""
    try:
        if request.header("content-encoding") == "gzip":
            whole = zlib.decompressobj(16 + zlib.MAX_WBITS)
            body = whole.decompress(body, limit)
            if whole.unconsumed_tail:
                raise status.new_request_entity_too_large(f"limit is {limit}")
        return msgspec.json.decode(body)
    except (zlib.error, gzip.BadGzipFile, msgspec.DecodeError) as error:
        raise status.new_bad_request(f"the body cannot be read: {error}") from None
