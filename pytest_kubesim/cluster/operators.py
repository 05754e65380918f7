"""Operators: user code as processes of the simulation.

An operator is started from whatever a project has: a coroutine function, a plain function, a kopf
module or registry, a command line.  How each is run on virtual time is the doors' affair
(`transports`); here is what all have in common: a process that can be stopped, crashed and started
again, with a log and an identity.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, cast

import attrs

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.errors import OperatorFailed, UsageError, suggestion
from pytest_kubesim.sim.durations import Duration, to_ns
from pytest_kubesim.sim.process import Process

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.aggregated_proxy import Target
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.sim.pipes import Stream


PHASE_NS = 1_000
"""How far the wall time of an operator is ahead: a microsecond.  Virtual time stops at whole
seconds all the time, which a real clock as good as never shows, and code that prints it as Python
does (no fraction where there is none) would fail always instead of once in a million times."""


class Doors(Protocol):
    """What the outside world does for a cluster; `transports.driver` is the real one."""

    def attach(self, cluster: Cluster) -> None:
        """Open the ways in: from here on clients in this process reach `cluster`."""
        ...

    def main_of(
        self, target: Any, operator: Operator
    ) -> Callable[[Process], Coroutine[Any, Any, object]]:
        """How to run `target` as the main of a process.  Raises `UsageError` if nobody can."""
        ...

    def client(self, library: str, cluster: Cluster) -> Any:
        """A ready client of a library.  Raises `UsageError` naming those there are."""
        ...

    def kubeconfig(self, cluster: Cluster) -> str:
        """The path of a kubeconfig that leads to `cluster`."""
        ...

    async def call_webhook(
        self, cluster: Cluster, client_config: Any, path: str, review: Any
    ) -> Any:
        """What a webhook says that listens inside the simulation."""
        ...

    async def dial(self, cluster: Cluster, target: Target) -> Stream | None:
        """A connection to who listens inside for a service; None: nobody does."""
        ...

    def serve_asgi(self, cluster: Cluster, application: Callable[..., Any], name: str) -> Any:
        """A process that serves an ASGI application (`transports.asgi.ASGIServer`)."""
        ...

    def declared(self, host: str) -> None:
        """A test has declared a system outside of that name: no proxy leads to it."""
        ...

    def detach(self, cluster: Cluster) -> None:
        """Close the ways in and forget `cluster`."""
        ...


@attrs.frozen(slots=True)
class LogLine:
    """A line that an operator logged or printed."""

    time_ns: int
    text: str
    level: str = "INFO"


FORBIDDEN = 403


@attrs.frozen(slots=True)
class Denied:
    """A request that was forbidden; `resource` is plural, with its subresource, or a path."""

    time_ns: int
    verb: str
    resource: str
    group: str
    namespace: str
    name: str
    message: str

    def __str__(self) -> str:
        return self.message


class OperatorLog(list[LogLine]):
    """What an operator logged, oldest first; `text` is all of it."""

    @property
    def text(self) -> str:
        """All lines, one under the other."""
        return "\n".join(line.text for line in self)

    def __contains__(self, text: object) -> bool:
        if isinstance(text, str):
            return any(text in line.text for line in self)
        return super().__contains__(text)


class CommandEnded(Exception):
    """A command ended otherwise than with status 0.

    Parameters: `how`, in words; `last`, the last lines that it wrote.
    """

    def __init__(self, how: str, last: Sequence[str] = ()) -> None:
        super().__init__(how)
        self.last = tuple(last)


@attrs.frozen(slots=True)
class CommandOptions:
    """What a command line is run with.

    `env`, further environment variables; `cwd`, its folder; `clock_scale`, how many virtual
    seconds pass in a real one while it is quiet (None: faster and faster, see `Cluster.run`).
    """

    env: Mapping[str, str] = attrs.field(factory=dict[str, str])
    cwd: str | None = None
    clock_scale: float | None = None


class Operator:
    """A running operator.

    `name` is its process's; `service_account`, `"namespace/name"` or None for cluster-admin, what
    it may do.
    """

    def __init__(
        self,
        cluster: Cluster,
        target: Any,
        name: str,
        service_account: str | None,
        command: CommandOptions | None = None,
    ) -> None:
        self.cluster = cluster
        self.target = target
        self.name = name
        self.service_account = service_account
        self.command = command or CommandOptions()
        self.await_end: Callable[[], object] | None = None
        """Waits until what was told to end has ended; None: that is at once."""
        self.log = OperatorLog()
        self.failures: list[BaseException] = []
        """What its main failed with, oldest first."""
        self.process = Process(cluster.kernel, name)
        self.process.own_clock().jump(PHASE_NS)
        self.process.main = cluster.doors.main_of(target, self)
        self.process.on_exit.append(self._exited)

    @property
    def running(self) -> bool:
        """Whether it is up (and not paused)."""
        return self.process.running

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return self.process.restarts

    @property
    def denied(self) -> list[Denied]:
        """The requests of it that were forbidden (403), oldest first."""
        return [
            Denied(
                entry.time_ns,
                entry.fields["verb"],
                entry.fields.get("resource") or entry.fields.get("path", ""),
                entry.fields.get("group", ""),
                entry.fields.get("namespace", ""),
                entry.fields.get("name", ""),
                entry.fields.get("message", ""),
            )
            for entry in self.cluster.journal
            if entry.kind == "request"
            and entry.actor == self.name
            and entry.fields.get("code") == FORBIDDEN
        ]

    def stop(self) -> None:
        """End it; it stays down until `restart`.

        A command gets SIGTERM, is served while it ends, and gets SIGKILL after ten real seconds.
        """
        self.process.stop()
        if self.await_end is not None:
            self.await_end()

    def crash(
        self, *, at_write: int | None = None, before: bool = False,
        restart_after: Duration | None = None,
    ) -> None:
        """End it as SIGKILL does: no line of its code runs any more, its memory is lost.

        Parameters: `at_write`, not now but at its n-th write from now (1 is the next one), when
        the API server has applied it and the answer is not yet there, or (`before`) before it has
        left; `restart_after`, a virtual duration after which it is started again.
        """
        restart_ns = None if restart_after is None else to_ns(restart_after, "restart_after")
        if at_write is None:
            if before:
                raise UsageError("before=True goes with at_write=: before the n-th write")
            self._crash(restart_ns)
            return
        self.cluster.faults.operator(self.name).crash(
            at_write=at_write, moment="before" if before else "at", restart_after=restart_after
        )

    def _crash(self, restart_ns: int | None) -> None:
        self.process.crash()
        if restart_ns is not None:
            self.cluster.kernel.call_later(
                restart_ns, self.process.start, label=f"restart of {self.name}"
            )

    def restart(self) -> None:
        """Crash it if it is up, and start it with nothing in its memory."""
        self.process.restart()

    def pause(self) -> None:
        """Freeze it, as SIGSTOP does."""
        self.process.pause()

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self.process.resume()

    def record(self, text: str, level: str = "INFO") -> None:
        """Append to its log (the doors call this)."""
        kernel = self.cluster.kernel
        for line in text.splitlines() or [""]:
            self.log.append(LogLine(kernel.now_ns, line, level))
            kernel.journal.record("log", self.name, level=level, text=line)

    def _exited(self, process: Process) -> None:
        if process.failure is not None:
            self.failures.append(process.failure)
            self.cluster.operator_failed(self, process.failure)

    def __repr__(self) -> str:
        return f"<Operator {self.name} {self.process.state}, restarts={self.restarts}>"


def failed(operator: Operator, failure: BaseException) -> OperatorFailed:
    """The error that ends a test whose operator raised."""
    if isinstance(failure, CommandEnded):
        last = "".join(f"\n  {line}" for line in failure.last) or " nothing"
        return OperatorFailed(
            f"the operator {operator.name!r} ended with {failure}. Its last lines:{last}\n",
            "If it is meant to end so, stop() or crash() it before it does.",
        )
    error = OperatorFailed(
        f"the operator {operator.name!r} ended with {type(failure).__name__}: {failure}.",
        "Its traceback is above; if it is meant to fail, stop() or crash() it before it does.",
    )
    error.__cause__ = failure
    return error


def command_options(target: Any, options: Mapping[str, Any]) -> CommandOptions | None:
    """What `run` was told about a command; None for another target.

    Raises: `UsageError` for an unknown option, one that cannot be, or one that goes with a command.
    """
    known = [field.name for field in attrs.fields(CommandOptions)]
    own = ["name", "service_account", "replicas"]
    for name in options:
        if name not in known:
            raise UsageError(
                f"run: unknown option {name!r};",
                f"{suggestion(name, [*own, *known])}there are {', '.join(own)}, and for a command "
                f"{', '.join(known)}",
            )
    if not isinstance(target, list | tuple):
        if options:
            raise UsageError(f"run: {min(options)}= goes with a command line, given as a list")
        return None
    words = cast("list[Any] | tuple[Any, ...]", target)
    if not words or not all(isinstance(word, str | PathLike) for word in words):
        raise UsageError(
            f"run: {target!r}: a command line is a list of strings, the program first"
        )
    scale = options.get("clock_scale")
    if scale is not None and (
        isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < 1e9
    ):
        raise UsageError(
            f"run: clock_scale={scale!r}: give a number above 0, such as 60 for a virtual minute "
            "each real second"
        )
    env: Any = options.get("env") or {}
    if not isinstance(env, Mapping):
        raise UsageError(f"run: env={env!r}: give a dict of environment variables")
    variables = cast("Mapping[Any, Any]", env)
    cwd: Any = options.get("cwd")
    return CommandOptions(
        {str(name): str(value) for name, value in variables.items()},
        None if cwd is None else str(cwd),
        None if scale is None else float(scale),
    )


def check_replicas(replicas: Any) -> None:
    """Raises: `UsageError` for what is no number of processes."""
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 1:
        raise UsageError(f"run: replicas={replicas!r}: give a whole number from 1 on")


def check_service_account(cluster: Cluster, account: Any) -> None:
    """An operator whose service account is missing would not start in a cluster.

    One that a binding names is taken for meant, though nobody has made it: rights go by names.
    Raises: `UsageError` for one that neither is there nor bound, with those there are.
    """
    if not isinstance(account, str) or account.count("/") != 1:
        raise UsageError(f"run: service_account={account!r}: write it as 'namespace/name'")
    if is_account(cluster, *account.split("/")):
        return
    there = accounts(cluster)
    raise UsageError(
        f"run: service_account={account!r}: there is no such ServiceAccount, and no binding of it;",
        f"{suggestion(account, there)}apply it before, with the operator's other manifests; there "
        f"are {', '.join(there) or 'none'}",
    )


def accounts(cluster: Cluster) -> list[str]:
    """The service accounts, `namespace/name`, but those of the control plane."""
    found = cluster.control_plane.read_all(cluster.names.resource("serviceaccounts"))
    names = (each["metadata"] for each in found)
    return sorted(f"{m['namespace']}/{m['name']}" for m in names if m["namespace"] != "kube-system")


def is_account(cluster: Cluster, namespace: str, name: str) -> bool:
    """Whether there is such a service account, or a binding of it."""
    resource = cluster.names.resource("serviceaccounts")
    there = cluster.control_plane.read(resource, namespace, name) is not None
    return there or _is_bound(cluster, namespace, name)


def _is_bound(cluster: Cluster, namespace: str, name: str) -> bool:
    subject = {"kind": "ServiceAccount", "namespace": namespace, "name": name}
    return any(
        subject.items() <= each.items()
        for plural in ("rolebindings", "clusterrolebindings")
        for binding in cluster.control_plane.read_all(cluster.names.resource(plural))
        for each in binding.get("subjects") or ()
    )


def check_name(cluster: Cluster, name: Any) -> None:
    """A name that a test gives is one process's: faults, the journal and reports go by it.

    Raises: `UsageError` for what cannot be a pod's name, and for one that is taken.
    """
    if not isinstance(name, str) or formats.is_dns1123_subdomain(name):
        usual = re.sub(r"[^a-z0-9.]+", "-", str(name).lower()).strip("-.")
        raise UsageError(
            f"run: name={name!r} cannot be the name of a pod;",
            f"write it in lower case, with digits and '-', such as {usual or 'operator'!r}",
        )
    if name in {each.name for each in cluster.operators}:
        raise UsageError(
            f"run: name={name!r}: there is an operator of that name;",
            "choose another one; replicas=2 starts two of it, and its restart() starts it again",
        )
    taken = [*cluster.control_plane.processes(), *cluster.nodes, *cluster.externals.hosts]
    if name in (*taken, "test", "control-plane"):
        raise UsageError(
            f"run: name={name!r}: something else in the cluster is called so;",
            f"choose another one, such as '{name}-operator'",
        )


def name_of(target: Any) -> str:
    """A process name for `target`: its own, without what is no use in one."""
    if isinstance(target, list | tuple):
        words = [str(word) for word in cast("list[Any]", target)]
        name = words[0].rsplit("/", 1)[-1] if words else ""
    else:
        code: Any = target
        name = str(getattr(code, "__name__", "") or code.__class__.__name__)
        if name in ("main", "run", "operator"):
            module = str(getattr(code, "__module__", "") or "").rsplit(".", 1)[-1]
            name = module if module not in ("", "__main__") else name
    return name.strip("_<>").replace("_", "-") or "operator"
