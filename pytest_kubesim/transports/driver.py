"""`Driver`: the doors of all clusters in one pytest process.

Attaching the first cluster puts the replacements of this room in place, detaching the last takes
them away; in between they are a few hundred assignments, made once a test.
"""

from __future__ import annotations

import asyncio
import inspect
from _thread import get_ident
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pytest_kubesim.errors import UsageError
from pytest_kubesim.sim.freezes import Freezes
from pytest_kubesim.transports import (
    aio,
    asgi,
    commands,
    dialing,
    kopf_operators,
    kubeconfig,
    libraries,
    memory_calls,
    pairs,
    polling,
    sync,
    threads,
)
from pytest_kubesim.transports.actors import WORLD, Actor, silence
from pytest_kubesim.transports.operator_log import OperatorLogs
from pytest_kubesim.transports.outside import Outside

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.aggregated_proxy import Target
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.cluster.operators import Operator
    from pytest_kubesim.sim.pipes import Stream
    from pytest_kubesim.sim.process import Process

Main = Callable[["Process"], Coroutine[Any, Any, object]]

_shared: list[Driver] = []


class Driver:
    """See `cluster.operators.Doors`.  One for a process: `Driver.shared()`."""

    def __init__(self) -> None:
        self._serials: dict[int, int] = {}
        self._made = 0
        self._freezes: Freezes | None = None
        self._surroundings = kubeconfig.Surroundings()
        self._logs = OperatorLogs()
        self._memories = libraries.Memories()
        self._outsides: dict[int, Outside] = {}

    @classmethod
    def shared(cls) -> Driver:
        """The driver of this process."""
        if not _shared:
            _shared.append(cls())
        return _shared[0]

    # -- opening and closing ------------------------------------------------------------------

    def attach(self, cluster: Cluster) -> None:
        """Open the ways in.  The thread that calls this is the test's."""
        self._made += 1
        self._serials[id(cluster)] = self._made
        dialing.SERIALS[self._made] = cluster
        dialing.PLACES[id(cluster)] = dialing.Place(cluster)
        WORLD.clusters.append(cluster)
        if len(WORLD.clusters) == 1:
            self._open()

    def _open(self) -> None:
        if self._freezes is None:
            self._freezes = Freezes(WORLD.now_ns, threads.REPLACED, WORLD.monotonic_ns)
        WORLD.main_ident = get_ident()
        WORLD.actor = None
        self._memories.keep()
        kopf_operators.make_deterministic()
        self._freezes.start()
        threads.install()
        aio.install()
        sync.install()
        polling.install()
        pairs.install()
        self._surroundings.install()
        self._logs.install()

    def detach(self, cluster: Cluster) -> None:
        """Close the ways in, end the threads that the test has left, forget `cluster`."""
        if cluster not in WORLD.clusters:
            return
        outside = self._outsides.pop(id(cluster), None)
        if outside is not None:
            outside.close()
        left = [t for t in WORLD.test_threads if t.kernel is cluster.kernel]
        if left:
            with silence():
                for thread in left:
                    thread.kill()
                    WORLD.test_threads.pop(thread, None)
        dialing.PLACES.pop(id(cluster)).close()
        dialing.SERIALS.pop(self._serials.pop(id(cluster)))
        if len(WORLD.clusters) == 1:
            self._close()
        WORLD.clusters.remove(cluster)

    def _close(self) -> None:
        self._memories.forget()
        self._logs.uninstall()
        self._surroundings.uninstall()
        pairs.uninstall()
        polling.uninstall()
        sync.uninstall()
        aio.uninstall()
        threads.uninstall()
        if self._freezes is not None:
            self._freezes.stop()
        WORLD.main_ident = 0
        WORLD.threads.clear()
        WORLD.actor = None

    # -- clients ------------------------------------------------------------------------------

    def client(self, library: str, cluster: Cluster) -> Any:
        """A ready client: see `libraries.client`."""
        return libraries.client(library, self._serials[id(cluster)])

    def kubeconfig(self, cluster: Cluster) -> str:
        """The path of a kubeconfig that leads to `cluster`, whoever uses it."""
        return kubeconfig.files().for_cluster(self._serials[id(cluster)])

    async def call_webhook(
        self, cluster: Cluster, client_config: Any, path: str, review: Any
    ) -> Any:
        """What a webhook says that listens inside: see `memory_calls`."""
        outside = self._outsides.get(id(cluster))
        ask = None if outside is None or not outside.commands else outside.call_webhook
        return await memory_calls.call_webhook(cluster, client_config, path, review, ask)

    async def dial(self, cluster: Cluster, target: Target) -> Stream | None:
        """A connection to an API server that listens inside: see `memory_calls`."""
        return await memory_calls.dial(cluster, target)

    def serve_asgi(self, cluster: Cluster, application: Callable[..., Any], name: str) -> Any:
        """A process that serves an ASGI application: see `asgi`."""
        return asgi.ASGIServer(cluster, application, name)

    def declared(self, host: str) -> None:
        """A test has declared a system outside: see `cluster.externals`."""
        self._surroundings.declared(host)

    def _outside_of(self, cluster: Cluster) -> Outside:
        """What a cluster has outside, made when its first command starts."""
        found = self._outsides.get(id(cluster))
        if found is None:
            found = self._outsides[id(cluster)] = Outside(cluster)
        return found

    # -- operators ----------------------------------------------------------------------------

    def main_of(self, target: Any, operator: Operator) -> Main:
        """How to run `target`.  Raises: `UsageError` where nobody can."""
        if isinstance(target, list | tuple):
            return commands.main_of(target, operator, self._outside_of)
        if inspect.iscoroutine(target):
            target.close()
            raise UsageError(
                "run: give the coroutine function itself, not what calling it returns: "
                "kubesim.run(main), not kubesim.run(main())"
            )
        if kopf_operators.understands(target):
            return _on_a_loop(kopf_operators.main_of(target, operator.name), operator)
        if isinstance(target, ModuleType) or not callable(target):
            raise UsageError(
                f"run: {target!r} cannot be run; give a coroutine function, a plain function, a "
                "kopf module or registry, or a command line as a list"
            )
        _check_arguments(target)
        if inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(
            getattr(target, "__call__", None)  # noqa: B004 - asked of the object, not whether it has one
        ):
            return _on_a_loop(target, operator)
        return _in_a_thread(target, operator)


def expect() -> None:
    """A test is being set up that asks for a cluster: event loops made from here on are virtual.

    Async fixtures may be set up before the cluster is there, and share the test's loop.
    """
    WORLD.expected = True
    aio.install()


def expect_no_more() -> None:
    """The test is over."""
    WORLD.expected = False
    if not WORLD.clusters:
        aio.uninstall()


def _check_arguments(target: Any) -> None:
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return
    needed = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if needed:
        name = getattr(target, "__qualname__", repr(target))
        raise UsageError(
            f"run: {name} needs the argument {needed[0]!r}; bind it: "
            f"kubesim.run(functools.partial({name}, {needed[0]}=...))"
        )


def _actor(operator: Operator, process: Process) -> Actor:
    """The actor of this incarnation; when the process ends, so does all that is its."""
    actor = Actor(operator, process)

    def ended(_process: Process) -> None:
        process.on_exit.remove(ended)
        for loop in list(actor.loops):
            if loop.driven:
                loop.abandon()
        if actor.threads:
            with silence():
                for thread in list(actor.threads):
                    thread.kill()
            actor.threads.clear()

    process.on_exit.append(ended)
    return actor


def _on_a_loop(target: Any, operator: Operator) -> Main:
    async def main(process: Process) -> object:
        return await aio.Loop(_actor(operator, process)).run(target)

    return main


def _in_a_thread(target: Any, operator: Operator) -> Main:
    async def main(process: Process) -> object:
        actor = _actor(operator, process)
        outcome: list[BaseException] = []

        def body() -> None:
            try:
                result = target()
                if inspect.iscoroutine(result):
                    asyncio.run(result)
            except SystemExit as leaving:
                if actor.dead:
                    raise
                if leaving.code:
                    outcome.append(RuntimeError(f"exited with status {leaving.code!r}"))
            except BaseException as failure:  # noqa: BLE001 - whatever it is, the process ends with it
                outcome.append(failure)

        await threads.spawn(body, actor, process.kernel, process.name).done
        while waiting := [t for t in actor.threads if not t.daemon]:
            await waiting[0].done  # a Python process ends with its last thread that is no daemon
        if outcome:
            raise outcome[0]
        return None

    return main
