"""`Cluster`: what the fixture `kubesim` is.

It owns everything of one run: the kernel, the network, the control plane, the nodes, the operators,
the faults.  Two clusters share nothing.  What a test asks for goes through the API server as a
client's request does; time passes only in `advance`, `eventually`, `stays`, `settle` and requests
that have to wait.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any

from pytest_kubesim.cluster import collector, operators, timeline, waiting
from pytest_kubesim.cluster.api_services import APIServices
from pytest_kubesim.cluster.audit_log import AuditLog
from pytest_kubesim.cluster.changes import Changes, Written
from pytest_kubesim.cluster.control_plane import ControlPlane
from pytest_kubesim.cluster.externals import Externals
from pytest_kubesim.cluster.fault_ground import FaultGround
from pytest_kubesim.cluster.matching import Match
from pytest_kubesim.cluster.nodes import Nodes
from pytest_kubesim.cluster.object_verbs import ObjectVerbs
from pytest_kubesim.cluster.operators import Doors, Operator
from pytest_kubesim.cluster.references import Names, Reference
from pytest_kubesim.cluster.rights import Rights
from pytest_kubesim.cluster.webhooks import Webhooks
from pytest_kubesim.config import ClusterConfig
from pytest_kubesim.errors import NeverSettled, NeverStruck, UsageError, suggestion
from pytest_kubesim.faults import wording
from pytest_kubesim.faults.faults import Faults
from pytest_kubesim.kubelet.node_proxy import KubeletProxy
from pytest_kubesim.sim import durations
from pytest_kubesim.sim.clock import NS, Clock
from pytest_kubesim.sim.durations import Duration
from pytest_kubesim.sim.faultpoints import FaultPoints
from pytest_kubesim.sim.kernel import HotLoop, Kernel, to_datetime
from pytest_kubesim.sim.network import Network

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.cri.images import Images
    from pytest_kubesim.sim.journal import Journal

class ClusterClock:
    """The test's view of virtual time."""

    __slots__ = ("_cluster",)

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def now(self) -> datetime:
        """The present instant, an aware datetime (UTC)."""
        return to_datetime(self._cluster.kernel.now_ns)

    @property
    def time(self) -> float:
        """Virtual seconds since the cluster was made."""
        return self._cluster.kernel.elapsed_ns / NS

    def advance(self, duration: Duration) -> None:
        """Let `duration` pass."""
        self._cluster.advance(duration)

    def __repr__(self) -> str:
        return f"<clock {self.now.isoformat()}, {self.time:g}s since the start>"


@wording.answering(
    "kubesim", "add_nodes", "advance", "eventually", "always", "never", "stays", "settle", "run",
    "client", "external", "audit",
)
class Cluster(ObjectVerbs):
    """A simulated Kubernetes cluster.

    Parameters: `config`, its options; `doors`, how clients and operators get in (None: only the
    test's own calls); `clock`, another than the virtual one; `hooks`, a relay of `hookspecs`.
    """

    def __init__(
        self,
        config: ClusterConfig | None = None,
        *,
        doors: Doors | None = None,
        clock: Clock | None = None,
        hooks: Any = None,
    ) -> None:
        self.config = config or ClusterConfig()
        self._hooks = hooks
        self.kernel = Kernel(
            seed=self.config.seed, start_time=self.config.start_time, clock=clock
        )
        self.network = Network(self.kernel)
        self.faultpoints = FaultPoints()
        self.control_plane = ControlPlane(self)
        self.nodes = Nodes(self)
        for server in self.control_plane.servers:
            server.node_proxy = KubeletProxy(
                self.nodes.kubelet, self.nodes.pod_network, self.network, server.host
            )
        self.faults = Faults(FaultGround(self))
        self.webhooks = Webhooks(self)
        self.api_services = APIServices(self)
        self.externals = Externals(self)
        self.operators: list[Operator] = []
        self.invariants: list[waiting.Invariant] = []
        self.on_finish: list[Callable[[], object]] = []
        """Called when the test has ended, before all is closed; what they raise fails it."""
        self.meaningful_writes = 0
        """How many writes there were besides heartbeats and events."""
        self.written_ns = self.kernel.now_ns
        """When the last of them was."""
        self.clock = ClusterClock(self)
        self.test_id = ""
        """The pytest node id of the test that holds it."""
        self._doors = doors
        self._failures: list[BaseException] = []
        self._changes = 0
        self._names = Names(self.server.catalog)
        self.control_plane.on_change(self._changed)
        if doors is not None:
            doors.attach(self)
        if self.config.nodes:
            self.add_nodes(self.config.nodes)
        self.faults.arm_early(self.config.faults)

    def extensions(self, hook: str) -> list[Any]:
        """What the plugins of a run add under that hook of `hookspecs`, all of them in one list."""
        if self._hooks is None:
            return []
        answers: list[Any] = getattr(self._hooks, hook)(config=self.config)
        return [part for answer in answers for part in answer or ()]

    # -- parts --------------------------------------------------------------------------------

    @property
    def server(self) -> APIServer:
        """The API server; the first of several."""
        return self.control_plane.server

    @property
    def names(self) -> Names:
        """The names of what is served at present."""
        catalog = self.control_plane.catalog
        if self._names.catalog is not catalog:
            self._names = Names(catalog)
        return self._names

    @property
    def doors(self) -> Doors:
        """How clients get in.  Raises: `UsageError` where this cluster has no doors."""
        if self._doors is None:
            raise UsageError(
                "this cluster was made without doors: operators and client libraries need the "
                "fixture `kubesim` or `kubesim_factory`"
            )
        return self._doors

    @property
    def doors_if_any(self) -> Doors | None:
        """How clients get in; None where this cluster has no doors."""
        return self._doors

    @property
    def journal(self) -> Journal:
        """The run's record."""
        return self.kernel.journal

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.config.seed

    @cached_property
    def random(self) -> Random:
        """A `random.Random` seeded by the run."""
        return Random(self.kernel.rng.bits("user", "random"))  # noqa: S311 - not for secrets

    @cached_property
    def fake(self) -> Any:
        """A `faker.Faker` with the Kubernetes provider, seeded by the run."""
        from pytest_kubesim.builders import fake

        return fake(self.kernel.rng.bits("user", "fake"))

    def audit(self, policy: Any = "Metadata") -> AuditLog:
        """The audit events from here on: a list that grows.

        Parameters: `policy`, an audit policy as an object, YAML text or a file, or a level that
        holds for all: `Metadata`, `Request`, `RequestResponse`.
        """
        return AuditLog(self, policy)

    @cached_property
    def rbac(self) -> Rights:
        """Which rights service accounts have, have used, and lacked."""
        return Rights(self)

    @property
    def images(self) -> Images:
        """What images, pods and containers run: `images["my/job:1"] = exits(0, after="3s")`."""
        return self.nodes.images

    # -- nodes, operators, clients ------------------------------------------------------------

    def add_nodes(self, count: int = 1, **options: Any) -> list[Any]:
        """Add nodes with a kubelet each, Ready as soon as their kubelets have registered.

        Parameters: `count`; `name` (of one, or the prefix of several); `cpu` (`"4"`), `memory`
        (`"16Gi"`), `pods` (110); `labels`, `taints`, `zone`; `runtime`, one of containerd, cri-o,
        docker.
        Returns: handles of the nodes.
        """
        return self.nodes.add(count, **options)

    def run(
        self,
        operator: Any,
        *,
        name: str | None = None,
        service_account: str | None = None,
        replicas: int = 1,
        **command: Any,
    ) -> Operator:
        """Start user code as a process of the simulation.

        A command line becomes a process of this machine that reaches the cluster over TLS.  It
        finds a kubeconfig in `KUBECONFIG`, and lives in real time: while it has something to do
        virtual time stands, when it is quiet time passes faster and faster (two minutes in the
        first real second, an hour in two) until it asks for something again.  What it does when is
        the machine's affair: runs with a command are not equal, nor are their journals' digests,
        and a replay brings back the faults, not the run.

        Parameters: `operator`, a coroutine function, a plain function, a kopf module or registry,
        or a command line (a list); `name` of the process, as a pod is called (default: the
        target's own, with a number where it is taken); `service_account`, `"namespace/name"`, whose
        rights it gets (default: cluster-admin); `replicas`, how many of it.  For a command:
        `env`, further environment variables; `cwd`, its folder; `clock_scale`, a steady pace of so
        many virtual seconds a real one while it is quiet: 1 for one that polls, or keeps a lease,
        by its own clock.
        Returns: the operator, the first of several.
        Raises: `UsageError` for what cannot be run, a name that is taken, a service account that
        neither is there nor bound.
        """
        operators.check_replicas(replicas)
        options = operators.command_options(operator, command)
        if name is not None:
            operators.check_name(self, name)
        if service_account is not None:
            operators.check_service_account(self, service_account)
            assert self.rbac  # from here on it is kept what is asked
        base = name or self._free_name(operators.name_of(operator))
        started: list[Operator] = []
        for number in range(replicas):
            own = base if number == 0 else f"{base}-{number + 1}"
            started.append(Operator(self, operator, own, service_account, options))
        self.operators += started
        for one in started:
            one.process.start()
        return started[0]

    def _free_name(self, name: str) -> str:
        taken = {o.name for o in self.operators}
        number, free = 1, name
        while free in taken:
            number += 1
            free = f"{name}-{number}"
        return free

    def client(self, library: str) -> Any:
        """A ready client: of `kubernetes`, `kubernetes_asyncio`, `kr8s`, `lightkube`, `httpx`,
        `requests`.
        """
        return self.doors.client(library, self)

    @property
    def kubeconfig(self) -> str:
        """The path of a kubeconfig that leads here."""
        return self.doors.kubeconfig(self)

    def webhook(self, *resources: str, **options: Any) -> Any:
        """A Python function as a webhook: `@kubesim.webhook("pods")`; see `cluster.webhooks`.

        Parameters: `resources`, which it is asked about (`"pods"`, `"deployments.apps"`, `"*"`);
        options: `mutating`, `operations`, `url` or `service` to answer for a webhook that
        manifests have configured, `conversion` (a definition's name), and the fields of a webhook.
        """
        return self.webhooks.decorator(resources, options)

    def api_service(
        self, name: str, application: Callable[..., Any] | None = None, **options: Any
    ) -> Any:
        """A Python application as an aggregated API server; see `cluster.api_services`.

        Parameters: `name`, `"version.group"`; `application`, a function of a request, a WSGI or an
        ASGI application (left out: a decorator); options: `service` (`"namespace/name"`),
        `group_priority_minimum`, `version_priority`.
        """
        return self.api_services.add(name, application, options)

    def external(
        self,
        name: str,
        application: Callable[..., Any] | None = None,
        *,
        latency: Duration | None = None,
    ) -> Any:
        """A system outside that operators reach by a host name; see `cluster.externals`.

        Parameters: `name`, `"host"` (ports 80 and 443), `"host:port"`, `"https://host"`,
        `"*.example.com"`; `application`, a function of a request, a WSGI or an ASGI application
        (left out: a decorator); `latency` of every answer.

        Returns: the system, with `.requests` and `.remove()`.
        """
        return self.externals.add(name, application, latency)

    # -- time ---------------------------------------------------------------------------------

    def advance(self, duration: Duration) -> None:
        """Let `duration` pass: everything that falls due runs, in order."""
        self.run_kernel(None, until_ns=self.kernel.now_ns + durations.to_ns(duration))

    def eventually(
        self,
        ref_or_callable: Any,
        match: Match = None,
        *,
        within: Duration,
        count: int | None = None,
        labels: dict[str, str] | str | None = None,
        namespace: str | None = None,
    ) -> Any:
        """Run until it holds: at least one object (or `count` of them) matches.

        Parameters: `ref_or_callable`, `"deployment/web"`, `"pods"`, or a callable without
        arguments; `match`, a partial object (lists by the schema's merge keys, None means absent),
        a predicate of the object, or nothing: that it exists; `within`, virtual time.
        Returns: the first object that matches, or what the callable answered.
        Raises: `AssertionFailed` with the nearest miss, pending timers and the timeline.
        """
        condition = waiting.condition_of(
            self, ref_or_callable, match, count=count, labels=labels, namespace=namespace
        )
        return waiting.eventually(condition, within)

    def always(self, ref_or_callable: Any, match: Match = None, **options: Any) -> Any:
        """From here on every object meant matches, at every change; see `waiting.Invariant`.

        Options: `count`, `labels`, `namespace`; `during`, a duration to let pass instead.
        """
        return self._invariant(ref_or_callable, match, options, wanted=True, verb="always")

    def never(self, ref_or_callable: Any, match: Match = None, **options: Any) -> Any:
        """From here on no object matches (or `count` of them never do), at any change."""
        return self._invariant(ref_or_callable, match, options, wanted=False, verb="never")

    def _invariant(
        self, what: Any, match: Match, options: dict[str, Any], *, wanted: bool, verb: str
    ) -> Any:
        during = options.pop("during", None)
        known = ("count", "labels", "namespace", "during")
        for option in options:
            if option not in known:
                raise UsageError(
                    f"{verb}: unknown option {option!r};",
                    f"{suggestion(option, known)}there are {', '.join(known)}",
                )
        if during is not None:
            durations.to_ns(during, f"{verb}: during")
        condition = waiting.condition_of(self, what, match, **options)
        invariant = waiting.Invariant(condition, wanted=wanted, verb=verb)
        if during is None:
            return invariant
        with invariant:
            self.advance(during)
        return None

    def stays(
        self,
        ref_or_callable: Any,
        match: Match = None,
        *,
        during: Duration,
        count: int | None = None,
        labels: dict[str, str] | str | None = None,
        namespace: str | None = None,
    ) -> None:
        """Let `during` pass; it holds now and after every change until then."""
        condition = waiting.condition_of(
            self, ref_or_callable, match, count=count, labels=labels, namespace=namespace
        )
        waiting.stays(condition, during)

    def settle(self, timeout: Duration = "10m") -> None:
        """Run until only periodic work is left and nothing changes any more.

        Raises: `NeverSettled` with what kept the cluster busy.
        """
        waiting.settle(self, timeout)

    # -- inside -------------------------------------------------------------------------------

    def perform(self, coro: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end, and what falls due meanwhile; raises what it raises."""
        task = self.kernel.spawn(coro, name="test", eager=True, daemon=True)
        if not task.done():
            self.run_kernel(task.done)
        self._raise_failures()
        return task.result()

    def run_kernel(
        self, stop: Callable[[], bool] | None, *, until_ns: int | None = None
    ) -> bool:
        """Run the kernel as `Kernel.run` does, with the test's invariants looked at on the way."""
        invariants, failures = self.invariants, self._failures

        def looked() -> bool:
            if failures:
                return True
            if invariants:
                for invariant in tuple(invariants):
                    invariant.check()
            return stop() if stop is not None else False

        try:
            with collector.rarely():
                held = self.kernel.run(looked, until_ns=until_ns)
        except HotLoop:
            raise NeverSettled(
                self.explain(
                    "a hot loop: events follow each other and time does not pass",
                    [("what kept it busy", self.busy_report())],
                )
            ) from None
        self._raise_failures()
        return held

    def _raise_failures(self) -> None:
        if self._failures:
            raise self._failures.pop(0)

    def operator_failed(self, operator: Operator, failure: BaseException) -> None:
        """An operator's main raised: the test ends with that (operators call this)."""
        self.fail(operators.failed(operator, failure))

    def fail(self, failure: BaseException) -> None:
        """End the test with `failure` as soon as the present event is over."""
        self._failures.append(failure)

    def _changed(self, meaningful: bool) -> None:
        self._changes += 1
        if meaningful:
            self.meaningful_writes += 1
            self.written_ns = self.kernel.now_ns

    def changes(self, reference: Reference | None) -> Changes | Written:
        """Tells whether something changed since it was last asked: of a resource, or anything."""
        if reference is None:
            return Changes(lambda: (self._changes, len(self.journal), self.kernel.now_ns))
        return self.control_plane.changes(reference.resource.storage_prefix)

    def busy_report(self) -> str:
        """Who wrote what most in the last minute, and what is scheduled."""
        since_ns = self.kernel.now_ns - 60 * NS
        recent = [e for e in self.journal if e.time_ns >= since_ns][-20_000:]
        writes = timeline.busiest(recent) or ["nothing was written in the last minute"]
        return "\n".join(f"  {entry}" for entry in [*writes, *self._timers()])

    def _timers(self, limit: int = 8) -> Iterable[str]:
        for time_ns, what in self.kernel.timers(limit):
            yield f"in {durations.text(time_ns - self.kernel.now_ns)}: {what}"

    def explain(self, problem: str, sections: Iterable[tuple[str, str]] = ()) -> str:
        """A failure as the test author reads it: the problem, its sections, timers, timeline."""
        elapsed = durations.text(self.kernel.elapsed_ns)
        parts = [f"{problem}\n  at {self.clock.now:%Y-%m-%d %H:%M:%S}Z, {elapsed} after the start"]
        parts += [f"{title}:\n{body}" for title, body in sections]
        timers = list(self._timers())
        parts.append(waiting.lines("pending timers:", timers or ["none but periodic ones"]))
        recent = timeline.lines(self.journal, self.kernel.start_ns)
        parts.append(waiting.lines("the last of the timeline:", recent or ["nothing happened"]))
        return "\n\n".join(parts)

    def finish(self) -> None:
        """What is still to be said when the test has ended: faults that say nothing, or never
        struck.

        Raises: what an invariant or an operator has failed with since time last passed.
        """
        for invariant in tuple(self.invariants):
            invariant.check()
        self._raise_failures()
        for callback in self.on_finish:
            callback()
        for sentence in self.faults.unfinished():
            warnings.warn(
                NeverStruck(
                    f"{sentence!r} arms nothing: say what happens: {wording.offers(sentence)}"
                ),
                stacklevel=2,
            )
        for armed in self.faults.never_struck():
            warnings.warn(
                NeverStruck(
                    f"a fault never struck: {armed.fault!r}: {self.faults.why_not(armed)}; the "
                    "test proves less than it says"
                ),
                stacklevel=2,
            )

    def close(self) -> None:
        """End the run: operators and processes stop, the doors close."""
        for operator in self.operators:
            operator.process.stop()
        self.nodes.close()
        self.control_plane.close()
        if self._doors is not None:
            self._doors.detach(self)

    def __repr__(self) -> str:
        return f"<Cluster seed={self.seed} {self.clock!r} nodes={len(self.nodes)}>"
