"""API priority and fairness: who is served when there are more requests than seats.

A request belongs to the first FlowSchema that matches it, and with that to a priority level, whose
share of the seats limits how many of its requests are served at a time.  Others wait in queues, in
turn by flow, or are answered 429.

The law: a request takes one seat (the widths of lists are not estimated), a watch only while it is
opened, and a level has its nominal seats (levels do not borrow from each other).  Exempt levels
wait for nobody; exec, logs, port-forward and proxies are not counted at all.

Follows `apiserver/pkg/util/flowcontrol/{apf_controller,apf_filter,rule}.go`, its `fairqueuing` and
`server/filters/priority-and-fairness.go`.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.apimachinery.meta import GroupResource, Object, get_path
from pytest_kubesim.etcd.messages import prefix_end
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import Response

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.request_info import RequestInfo
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.sim.tasks import Future
    from pytest_kubesim.wire import UserInfo, WatchStream

GROUP = "flowcontrol.apiserver.k8s.io"
SEATS = 600
"""`--max-requests-inflight` and `--max-mutating-requests-inflight` together."""
QUEUE_WAIT_NS = 15 * NS
"""How long a request may wait in a queue: a quarter of the request timeout."""
LEVEL_HEADER = "X-Kubernetes-Pf-Prioritylevel-Uid"
SCHEMA_HEADER = "X-Kubernetes-Pf-Flowschema-Uid"
UNCOUNTED = frozenset({"attach", "exec", "log", "portforward", "proxy"})
MAX_FLOWS = 4096

_SCHEMAS = GroupResource(GROUP, "flowschemas")
_LEVELS = GroupResource(GROUP, "prioritylevelconfigurations")
_PREFIXES = ("/registry/flowschemas/", "/registry/prioritylevelconfigurations/")


@attrs.frozen(slots=True, eq=False)
class Flow:
    """What a request belongs to."""

    schema: str
    level: Level
    distinguisher: str
    headers: tuple[tuple[str, str], ...]


@attrs.define(slots=True, eq=False)
class Level:
    """A priority level and who is served and waits there."""

    name: str
    exempt: bool
    seats: int = 0
    queues: list[deque[Future[Any]] | None] = attrs.field(
        factory=list[deque["Future[Any]"] | None]
    )
    """A queue is made when somebody first waits in it: there are hundreds."""
    hand_size: int = 0
    queue_length: int = 0
    served: int = 0
    waiting: int = 0
    """How many are in the queues."""
    turn: int = 0

    def admits(self) -> bool:
        """Whether a seat is free and nobody waits for it."""
        return self.served < self.seats and not self.waiting

    def next(self) -> Future[Any] | None:
        """Who is served next: the queues take turns."""
        if not self.waiting:
            return None
        count = len(self.queues)
        for step in range(count):
            queue = self.queues[(self.turn + step) % count]
            while queue:
                found = queue.popleft()
                self.waiting -= 1
                if not found.done():
                    self.turn = (self.turn + step + 1) % count
                    return found
        return None


class FlowControl:
    """Decides for one API server whose turn it is."""

    def __init__(self, server: APIServer) -> None:
        self._server = server
        self._levels: dict[str, Level] = {}
        self._schemas: list[Object] | None = None
        self._flows: dict[tuple[Any, ...], Flow | None] = {}
        self._concerning: dict[tuple[Any, ...], list[tuple[Object, list[Object]]]] = {}
        self._named: dict[str, tuple[tuple[str, str], ...]] = {}
        server.on_start.append(lambda _server: self._begin())

    def _begin(self) -> None:
        """A new life of the server: nobody is served yet."""
        server = self._server
        self._levels = {}
        self._changed()
        store = server.etcd.member.store
        watchers = [
            store.watch(prefix, prefix_end(prefix), 0, lambda _response: self._changed())
            for prefix in _PREFIXES
        ]

        def ended(process: Any) -> None:
            process.on_exit.remove(ended)
            for watcher in watchers:
                watcher.cancel()

        server.process.on_exit.append(ended)

    def _changed(self) -> None:
        self._schemas = None
        self._flows.clear()
        self._concerning.clear()
        self._named.clear()

    # -- requests -----------------------------------------------------------------------------

    async def admit(self, scope: RequestScope) -> Response | None:
        """Let the request take a seat, perhaps after a while; 429 where there is none."""
        info = scope.info
        if info.subresource in UNCOUNTED or info.verb == "proxy":
            return None
        scope.flow = flow = self.flow_of(scope.user, info)
        if flow is None or flow.level.exempt:
            return None
        level = flow.level
        if not level.admits():
            refused = await self._wait(flow)
            if refused is not None:
                return refused
        else:
            level.served += 1
        scope.seated = True
        return None

    async def _wait(self, flow: Flow) -> Response | None:
        """Wait for a seat, which is taken when this returns None."""
        level = flow.level
        if not level.queues:
            return too_many()
        hand = dealt(f"{flow.schema}/{flow.distinguisher}", len(level.queues), level.hand_size)
        chosen = min(hand, key=lambda index: len(level.queues[index] or ()))
        queue = level.queues[chosen]
        if queue is None:
            queue = level.queues[chosen] = deque()
        if len(queue) >= level.queue_length:
            return too_many()
        kernel = self._server.kernel
        turn = kernel.future()
        queue.append(turn)
        level.waiting += 1
        if not await kernel.wait_any(turn, timeout_ns=QUEUE_WAIT_NS):
            queue.remove(turn)
            level.waiting -= 1
            return too_many()
        return None

    def done(self, scope: RequestScope) -> None:
        """The request is answered: its seat is another's."""
        flow = scope.flow
        if flow is None or not scope.seated:
            return
        scope.seated = False
        level = flow.level
        following = level.next() if level.served <= level.seats else None
        if following is None:
            level.served -= 1
        else:
            following.set_result(None)

    @staticmethod
    def mark(scope: RequestScope, answer: Response | WatchStream) -> None:
        """Say in the answer to what the request belonged."""
        if scope.flow is not None:
            answer.headers = (*answer.headers, *scope.flow.headers)

    # -- what belongs where -------------------------------------------------------------------

    def flow_of(self, user: UserInfo, info: RequestInfo) -> Flow | None:
        """What a request belongs to; None where no schema matches."""
        key = (
            user.name, user.groups, info.verb, info.is_resource,
            info.group, info.resource, info.subresource, info.namespace,
            "" if info.is_resource else info.path,
        )
        if key in self._flows:
            return self._flows[key]
        if len(self._flows) >= MAX_FLOWS:
            self._flows.clear()
        flow = self._flows[key] = self._classified(user, info)
        return flow

    def _classified(self, user: UserInfo, info: RequestInfo) -> Flow | None:
        for schema, rules in self._about(user):
            spec: Object = schema["spec"]
            level = self._levels.get(spec["priorityLevelConfiguration"]["name"])
            if level is None or not any(_covers(rule, info) for rule in rules):
                continue
            method = get_path(spec, "distinguisherMethod", "type")
            distinguisher = {"ByUser": user.name, "ByNamespace": info.namespace}.get(method, "")
            return Flow(meta.name(schema), level, distinguisher, self._headers(schema, level))
        return None

    def _headers(self, schema: Object, level: Level) -> tuple[tuple[str, str], ...]:
        """What answers to requests of a schema say of it and its level."""
        name = meta.name(schema)
        headers = self._named.get(name)
        if headers is None:
            found = self._server.reader.get(_LEVELS, "", level.name)
            headers = self._named[name] = (
                (LEVEL_HEADER, "" if found is None else meta.uid(found)),
                (SCHEMA_HEADER, meta.uid(schema)),
            )
        return headers

    def _about(self, user: UserInfo) -> list[tuple[Object, list[Object]]]:
        """The schemas with the rules in them that are about a user, in the order they are tried."""
        schemas = self._read() if self._schemas is None else self._schemas
        key = (user.name, user.groups)
        found = self._concerning.get(key)
        if found is None:
            if len(self._concerning) >= MAX_FLOWS:
                self._concerning.clear()
            found = self._concerning[key] = [
                (schema, rules)
                for schema in schemas
                if (rules := [r for r in schema["spec"].get("rules") or () if _is_about(r, user)])
            ]
        return found

    def _read(self) -> list[Object]:
        reader = self._server.reader
        levels = list(reader.list(_LEVELS))
        shares = {meta.name(each): _shares(each) for each in levels}
        total = sum(shares.values()) or 1
        kept: dict[str, Level] = {}
        for each in levels:
            name = meta.name(each)
            level = self._levels.get(name) or Level(name, exempt=False)
            level.exempt = each["spec"]["type"] == "Exempt"
            level.seats = math.ceil(SEATS * shares[name] / total)
            response: Object = get_path(each, "spec", "limited", "limitResponse") or {}
            queuing: Object = response.get("queuing") or {}
            count = queuing.get("queues") or 0 if response.get("type") == "Queue" else 0
            level.queues += [None] * (count - len(level.queues))
            del level.queues[count:]
            level.waiting = sum(len(queue) for queue in level.queues if queue)
            level.hand_size = queuing.get("handSize") or 1
            level.queue_length = queuing.get("queueLengthLimit") or 0
            kept[name] = level
        self._levels = kept
        found = sorted(reader.list(_SCHEMAS), key=_precedence)
        self._schemas = found
        return found


def _precedence(schema: Object) -> tuple[int, str]:
    return schema["spec"].get("matchingPrecedence") or 0, meta.name(schema)


def _shares(level: Object) -> int:
    kind = "exempt" if level["spec"]["type"] == "Exempt" else "limited"
    found: Object = level["spec"].get(kind) or {}
    default = 0 if kind == "exempt" else 30
    shares: int | None = found.get("nominalConcurrencyShares")
    return default if shares is None else shares


def too_many() -> Response:
    """429, as the filter says it."""
    headers = (("Retry-After", "1"), ("X-Content-Type-Options", "nosniff"))
    text = b"Too many requests, please try again later.\n"
    return Response(429, None, text, "text/plain; charset=utf-8", headers)


def dealt(flow: str, queues: int, hand_size: int) -> list[int]:
    """The queues that a flow may use (`shufflesharding.Dealer`)."""
    value = int.from_bytes(hashlib.sha256(flow.encode()).digest()[:8], "little")
    hand: list[int] = []
    for dealt_before in range(min(hand_size, queues)):
        value, card = divmod(value, queues - dealt_before)
        for other in sorted(hand):
            if card >= other:
                card += 1
        hand.append(card)
    return hand


# -- rules -----------------------------------------------------------------------------------------


def _is_about(rule: Object, user: UserInfo) -> bool:
    """Whether a rule of a FlowSchema is about a user."""
    return any(_is_subject(each, user) for each in rule.get("subjects") or ())


def _covers(rule: Object, info: RequestInfo) -> bool:
    """Whether a rule that is about its user matches a request."""
    if info.is_resource:
        return any(_matches_resource(each, info) for each in rule.get("resourceRules") or ())
    return any(_matches_path(each, info) for each in rule.get("nonResourceRules") or ())


def _is_subject(subject: Object, user: UserInfo) -> bool:
    kind = subject.get("kind")
    if kind == "User":
        return subject["user"]["name"] in ("*", user.name)
    if kind == "Group":
        name = subject["group"]["name"]
        return name == "*" or name in user.groups
    if kind != "ServiceAccount":
        return False
    account: Object = subject["serviceAccount"]
    start = f"system:serviceaccount:{account['namespace']}:"
    if account["name"] == "*":
        return user.name.startswith(start)
    return user.name == f"{start}{account['name']}"


def _has(wanted: Any, value: str) -> bool:
    return "*" in (wanted or ()) or value in (wanted or ())


def _matches_resource(rule: Object, info: RequestInfo) -> bool:
    combined = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    if not (
        _has(rule.get("verbs"), info.verb)
        and _has(rule.get("apiGroups"), info.group)
        and _has(rule.get("resources"), combined)
    ):
        return False
    if not info.namespace:
        return bool(rule.get("clusterScope"))
    return _has(rule.get("namespaces"), info.namespace)


def _matches_path(rule: Object, info: RequestInfo) -> bool:
    if not _has(rule.get("verbs"), info.verb):
        return False
    return any(
        url in ("*", info.path) or (url.endswith("/*") and info.path.startswith(url[:-1]))
        for url in rule.get("nonResourceURLs") or ()
    )
