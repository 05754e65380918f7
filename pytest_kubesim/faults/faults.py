"""`kubesim.faults`: where all faults of a run are said and armed, and what became of them.

The same words say a fault without arming it, for the marker and for schedules:

    from pytest_kubesim import fault

    @pytest.mark.kubesim(nodes=2, faults=[fault.node("node-1").crash(at="5m").for_("2m")])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from pytest_kubesim.errors import UnknownWord, UsageError
from pytest_kubesim.faults import (
    apiserver,
    container,
    dns,
    etcd,
    externals,
    missed,
    nemesis,
    network,
    node,
    process,
    requests,
    triggers,
    views,
    webhooks,
    wording,
)
from pytest_kubesim.faults.armed import Armed, check_instants
from pytest_kubesim.faults.fault import Call, Fault, Speech, whole
from pytest_kubesim.faults.requests import RequestMatch
from pytest_kubesim.sim.durations import Duration, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_kubesim.faults.armed import Behaviour

S = TypeVar("S", bound=Speech)

ROOMS: dict[str, Any] = {
    "api": apiserver,
    "view": views,
    "etcd": etcd,
    "partition": network,
    "latency": network,
    "loss": network,
    "node": node,
    "container": container,
    "image": container,
    "operator": process,
    "process": process,
    "api_server": process,
    "webhook": webhooks,
    "external": externals,
    "dns": dns,
}
"""Who knows what a fault does, by what it strikes."""


class Ground(
    missed.Ground, apiserver.Ground, views.Ground, etcd.Ground, network.Ground, node.Ground,
    container.Ground, process.Ground, externals.Ground, triggers.Ground, nemesis.Ground,
    requests.Ground, Protocol,
):
    """What the faults need of the cluster."""


@wording.vocabulary
class Words(wording.Vocabulary):
    """The words by which faults are said; what a whole sentence is worth, `_say` decides."""

    _say: Callable[[Fault], Any]

    def _begun(self, sentence: S) -> S:
        """A sentence that is to be finished; what is not, nobody notices here."""
        return sentence

    # -- the API, as clients see it -----------------------------------------------------------

    def api(
        self,
        *,
        client: str | None = None,
        user: str | None = None,
        service_account: str | None = None,
        user_agent: str | None = None,
        host: str | None = None,
        server: str | None = None,
        verb: str | tuple[str, ...] | None = None,
        resource: str | None = None,
        subresource: str | None = None,
        namespace: str | None = None,
        name: str | None = None,
    ) -> apiserver.APIFaults:
        """Requests to the API server that are meant; say what happens to them by a method.

        Parameters: `client`, an operator's name (or a component's: `kube-scheduler`,
        `kubelet@node-1`, `test`), the first word of a user agent, a user or a service account; or
        `user`, `service_account` (`"namespace/name"`), `user_agent`, `host` to say which of them;
        `server`, one of several API servers; `verb`, one or several, `"read"`, `"write"`;
        `resource`, plural; and so on.  Names may be patterns (`name="db-*"`); `user_agent` may also
        be the beginning of one.
        Raises: `UsageError` for a server, verb, resource or subresource that there is not.
        """
        match = RequestMatch.said("api", {
            "client": client, "user": user, "user_agent": user_agent, "host": host,
            "server": server, "verb": verb, "resource": resource, "subresource": subresource,
            "namespace": namespace, "name": name, "service_account": service_account,
        })
        return self._begun(apiserver.APIFaults(apiserver.target(match), self._say))

    def view(
        self,
        *,
        client: str | None = None,
        user: str | None = None,
        user_agent: str | None = None,
        server: str | None = None,
        kind: str | None = None,
        namespace: str | None = None,
    ) -> views.ViewFaults:
        """What a client (or every client of an API server) sees of a kind (or of all)."""
        target = Call.of(
            "view", client=client, user=user, user_agent=user_agent, server=server, kind=kind,
            namespace=namespace,
        )
        return self._begun(views.ViewFaults(target, self._say))

    # -- the control plane --------------------------------------------------------------------

    def etcd(self, member: str | None = None) -> etcd.EtcdFaults:
        """Etcd, or one member of it."""
        target = Call.of("etcd") if member is None else Call.of("etcd", member)
        return self._begun(etcd.EtcdFaults(target, self._say))

    def api_server(self, name: str = "kube-apiserver-1") -> process.ProcessFaults:
        """An API server."""
        return self._begun(process.ProcessFaults(Call.of("api_server", name), self._say))

    def operator(self, name: str) -> process.ProcessFaults:
        """An operator that the test runs."""
        return self._begun(process.ProcessFaults(Call.of("operator", name), self._say))

    def process(self, name: str) -> process.ProcessFaults:
        """Any process: `kube-scheduler`, `kube-controller-manager` ..."""
        return self._begun(process.ProcessFaults(Call.of("process", name), self._say))

    # -- the network --------------------------------------------------------------------------

    def partition(self, one: str, other: str, *, one_way: bool = False, **timing: Any) -> Any:
        """Let nothing pass between two ends (`one_way`: from the first to the second)."""
        target = Call.of("partition", one, other, defaults={"one_way": False}, one_way=one_way)
        return whole(target, self._say, timing)

    def latency(
        self, one: str, other: str, delay: Duration, *, jitter: Duration | None = None,
        one_way: bool = False, **timing: Any,
    ) -> Any:
        """Let messages between two ends take `delay`, and up to `jitter` more."""
        wording.duration(delay, "latency: delay")
        if jitter is not None:
            wording.duration(jitter, "latency: jitter")
        target = Call.of(
            "latency", one, other, defaults={"one_way": False}, delay=delay, jitter=jitter,
            one_way=one_way,
        )
        return whole(target, self._say, timing)

    def loss(
        self, one: str, other: str, probability: float, *, one_way: bool = False, **timing: Any
    ) -> Any:
        """Lose messages between two ends: they come after one or more retransmissions."""
        network.check_probability(probability)
        target = Call.of(
            "loss", one, other, defaults={"one_way": False}, probability=probability,
            one_way=one_way,
        )
        return whole(target, self._say, timing)

    # -- nodes and what runs on them ----------------------------------------------------------

    def node(self, name: str) -> node.NodeFaults:
        """A node; say what happens to it by a method."""
        return self._begun(node.NodeFaults(Call.of("node", name), self._say))

    def container(
        self, *, pod: str | None = None, container: str | None = None, namespace: str | None = None
    ) -> container.ContainerFaults:
        """The containers of pods, by names or patterns (`pod="db-*"`)."""
        from pytest_kubesim.faults import container as room

        target = Call.of("container", pod=pod, container=container, namespace=namespace)
        return self._begun(room.ContainerFaults(target, self._say))

    def image(self, pattern: str) -> container.ImageFaults:
        """The pulling of images, by name or pattern."""
        return self._begun(container.ImageFaults(Call.of("image", pattern), self._say))

    # -- what is called -----------------------------------------------------------------------

    def webhook(self, name: str) -> webhooks.CallFaults:
        """A webhook: its name, the host of its URL, or its service, `"namespace/name"`."""
        return self._begun(webhooks.CallFaults(Call.of("webhook", name), self._say))

    def external(
        self,
        host: str,
        *,
        client: str | None = None,
        method: str | None = None,
        path: str | None = None,
    ) -> externals.ExternalFaults:
        """A system outside that the test has declared (`kubesim.external`), by its host name.

        Parameters: `client`, an operator's name: only its requests; `method`; `path`, a pattern
        (`"/v1/charges/*"`).
        """
        target = Call.of("external", host, client=client, method=method, path=path)
        return self._begun(externals.ExternalFaults(target, self._say))

    def dns(self, host: str, *, client: str | None = None) -> dns.LookupFaults:
        """Lookups of a name, or of a pattern of names (`"*.example.com"`)."""
        return self._begun(dns.LookupFaults(Call.of("dns", host, client=client), self._say))

    # -- when ---------------------------------------------------------------------------------

    def after_write(self, count: int = 1, **match: Any) -> triggers.AfterWrite:
        """The trigger that the `count`-th write has been applied; options as those of `api`."""
        return triggers.AfterWrite(count, RequestMatch.said("after_write", match))

    def changed(
        self, ref: str, path: str, *, before: Any = None, to: Any = None,
        namespace: str | None = None,
    ) -> triggers.Changed:
        """The trigger that a field (`status.phase`) of an object changes, `before` `to`."""
        return triggers.Changed(ref, path, before, to, namespace)

    def holds(self, what: Any, match: Any = None, **options: Any) -> triggers.Holds:
        """The trigger that a condition holds; arguments as those of `kubesim.eventually`."""
        return cast("triggers.Holds", triggers.when(what, match, **options))


class Unarmed(Words):
    """Says faults and arms none: what a sentence is worth is the `Fault`."""

    def __init__(self) -> None:
        self._say = _itself

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_") or not hasattr(Faults, name):
                return super().__getattr__(name)
            raise UnknownWord(
                f"faults: there is no fault.{name}: records are made without a cluster, and "
                f"{name} needs one;",
                f"say kubesim.faults.{name} in the test",
            )


def _itself(fault: Fault) -> Fault:
    return fault


@wording.vocabulary
class Faults(Words):
    """The faults of one run: what a sentence is worth is the `Armed` fault."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._say = self.arm
        self.armed: list[Armed] = []
        """Every fault that was armed, in order, whatever became of it."""
        self.drawn: list[Fault] = []
        """Those that were drawn at random, in order."""
        self.begun: list[Speech] = []
        """The sentences that say whom they are about, in order."""
        self.replayed: list[Fault] | None = None
        """What is armed instead of what would be drawn: the schedule of a run that is replayed."""

    def arm(self, fault: Fault) -> Armed:
        """Arm a record.

        Raises: `UsageError` for what cannot be (a node, verb, kind or process that there is not).
        """
        if not isinstance(fault, Fault):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(
                f"faults: arm({fault!r}): give a record, as pytest_kubesim.fault says them: "
                "fault.node('node-1').crash(at='5m')"
            )
        behaviour = cast("Behaviour", ROOMS[fault.where])
        if not any(each is fault for each in self.drawn):
            check_instants(fault, self._ground.kernel)
        behaviour.check(self._ground, fault)
        if fault.trigger is not None:
            fault.trigger.check(self._ground, now=True)
        if fault.ends_when is not None:
            fault.ends_when.check(self._ground, now=fault.immediate)
        armed = Armed(fault, self._ground, behaviour)
        self.armed.append(armed)
        self._ground.kernel.journal.record(
            "schedule", "test", fault=repr(fault), record=fault.to_json()
        )
        try:
            return armed.arm()
        except UsageError:
            self.armed.remove(armed)
            raise

    def arm_all(self, faults: Iterable[Fault]) -> list[Armed]:
        """Arm several records, in order."""
        return [self.arm(fault) for fault in faults]

    def _begun(self, sentence: S) -> S:
        self.begun.append(sentence)
        return sentence

    def unfinished(self) -> list[Speech]:
        """The sentences that say whom they are about, and not what happens: they arm nothing."""
        return [each for each in self.begun if not each.finished]

    def arm_early(self, faults: Iterable[Fault]) -> list[Armed]:
        """Arm those of a mark: the test has not begun, what it makes is yet to come."""
        self._ground.early = True
        try:
            return self.arm_all(faults)
        finally:
            self._ground.early = False

    def random(
        self,
        count: int = 3,
        *,
        within: Duration = "5m",
        kinds: str | Sequence[str] = tuple(nemesis.KINDS),
        key: object = "",
    ) -> list[Armed]:
        """Arm `count` faults at random instants `within` that time from now, drawn from the seed.

        Parameters: `kinds`, of what (default: everything); `key`, another one for other draws in
        the same run.  All of them end: after that the cluster should heal.
        Raises: `UsageError` for fewer than one, no time, or a kind that there is not.
        """
        wording.whole(count, "random.count", least=1)
        kinds = nemesis.chosen(kinds)
        if to_ns(within, "faults: random: within") == 0:
            raise UsageError(
                f"faults: random: within={within!r}: faults come one after another; give a longer "
                "duration, such as '5m'"
            )
        kernel = self._ground.kernel
        if self.replayed is not None:
            drawn, self.replayed = self.replayed[:count], self.replayed[count:]
        else:
            drawn = nemesis.schedule(
                kernel.rng.sub(f"nemesis/{key}"), self._ground, count,
                begin_ns=kernel.elapsed_ns, within_ns=to_ns(within, "within"), kinds=kinds,
            )
        self.drawn += drawn
        return self.arm_all(drawn)

    def replay(self, schedule: Sequence[Mapping[str, Any]]) -> None:
        """Arm what `schedule` holds (records as JSON) instead of what `random` would draw."""
        if schedule:
            self.replayed = [Fault.from_json(each) for each in schedule]

    def __words__(self) -> list[str]:
        # Those with which a sentence begins; the others are for whoever reads what has happened.
        return [*fault.__words__(), "random"]

    # -- what became of them ------------------------------------------------------------------

    def schedule(self) -> list[dict[str, Any]]:
        """All that was armed, as JSON."""
        return [armed.fault.to_json() for armed in self.armed]

    def never_struck(self) -> list[Armed]:
        """Those that were armed and have not struck: a test that proves less than it says.

        Faults that were drawn at random are none of them.
        """
        drawn = self.drawn
        return [
            a for a in self.armed if not a.struck and not any(each is a.fault for each in drawn)
        ]

    def why_not(self, armed: Armed) -> str:
        """Why a fault has not struck, as far as that can be said."""
        return missed.why(self._ground, armed)

    def clear(self) -> None:
        """End all of them."""
        for armed in self.armed:
            armed.disarm()


fault = Unarmed()
"""The words without a cluster: `fault.node("node-1").crash(at="5m")` is a record."""


