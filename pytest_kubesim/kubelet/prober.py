"""Startup, liveness and readiness probes: workers, thresholds, results.

The law is `pkg/kubelet/prober/worker.go`'s: a worker asks at its ticks from the moment its pod is
synced first; a result counts after as many like it as its threshold says; a startup probe that has
succeeded asks no more for that container, a liveness probe that has failed waits for the next one;
readiness is asked at once when a container has just started.

What upstream finds out by asking at every tick is here computed where it can be: while a program's
answer cannot change by itself and the threshold is reached, no timer runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.timestamps import parse_time
from pytest_kubesim.cri.container import RUNNING
from pytest_kubesim.cri.programs import Probe, ProbeResult
from pytest_kubesim.kubelet.host import NOTHING
from pytest_kubesim.kubelet.pod_conditions import TERMINAL
from pytest_kubesim.kubelet.restart_policy import is_sidecar, should_restart
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.kubelet.host import Host
    from pytest_kubesim.kubelet.status_manager import StatusManager
    from pytest_kubesim.sim.kernel import Timer

STARTUP, LIVENESS, READINESS = "Startup", "Liveness", "Readiness"
"""As events spell them."""

_FIELDS = ((STARTUP, "startupProbe"), (READINESS, "readinessProbe"), (LIVENESS, "livenessProbe"))
_INITIAL: dict[str, bool | None] = {STARTUP: None, LIVENESS: True, READINESS: False}
_RESTART_GRACE_NS = 10 * NS
"""A container older than this when the kubelet started was running before it."""

Changed = Callable[[str, str, bool], object]
"""Hears of `(pod uid, kind, result)`."""


class Worker:
    """One probe of one container of one pod."""

    __slots__ = (
        "_epoch_ns", "_held", "_last", "_prober", "_run", "_timer", "container", "container_id",
        "kind", "pod", "runtime_container", "spec", "stopped",
    )

    def __init__(self, prober: Prober, kind: str, pod: Object, container: Object) -> None:
        self._prober = prober
        self.kind = kind
        self.pod = pod
        self.container = container
        self.spec: Object = container[f"{kind.lower()}Probe"]
        self.container_id = ""
        self.runtime_container: Container | None = None
        self.stopped = False
        self._held = False
        self._last: bool | None = None
        self._run = 0
        self._timer: Timer | None = None
        host = prober.host
        period_ns = self._period_ns
        self._epoch_ns = host.now_ns()
        if period_ns > host.now_ns() - host.start_ns and host.config.jitter:
            self._epoch_ns += host.kernel.rng.below(
                period_ns, "probe-phase", pod["metadata"]["uid"], container["name"], kind
            )

    @property
    def _period_ns(self) -> int:
        return (self.spec.get("periodSeconds") or 10) * NS

    def stop(self) -> None:
        """Ask no more."""
        self.stopped = True
        self._cancel()
        if self.container_id:
            self._prober.results[self.kind].pop(self.container_id, None)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def poke(self) -> None:
        """Something has changed: ask at the next tick (again)."""
        if not self.stopped:
            self._schedule(background=False)

    def trigger(self) -> None:
        """Ask now; ticks count from here."""
        if self.stopped:
            return
        self._epoch_ns = self._prober.host.now_ns()
        self._cancel()
        self._timer = self._prober.host.process.call_later(0, self._tick, label=self._label)

    @property
    def _label(self) -> str:
        meta = self.pod["metadata"]
        return (
            f"{self.kind.lower()} probe of {meta['namespace']}/{meta['name']}/"
            f"{self.container['name']}"
        )

    def _schedule(self, *, background: bool, not_before_ns: int = 0) -> None:
        now_ns, period_ns = self._prober.host.now_ns(), self._period_ns
        target_ns = max(now_ns, not_before_ns, self._epoch_ns)
        ticks = -((self._epoch_ns - target_ns) // period_ns)
        due_ns = self._epoch_ns + ticks * period_ns
        if due_ns <= now_ns:
            due_ns += period_ns
        waiting = self._timer
        if waiting is not None and not waiting.periodic and waiting.time_ns <= (
            self._prober.host.kernel.now_ns + due_ns - now_ns
        ):
            return
        self._cancel()
        self._timer = self._prober.host.process.call_later(
            due_ns - now_ns, self._tick, periodic=background, label=self._label
        )

    def _tick(self) -> None:
        self._timer = None
        if not self.stopped and not self._ask():
            self.stop()
            self._prober.drop(self)

    def _ask(self) -> bool:
        """`doProbe`: whether to keep the worker."""
        status = self._prober.statuses.get(self.pod["metadata"]["uid"])
        if status is None:
            return True
        if status.get("phase") in TERMINAL:
            return False
        one = self._find(status)
        if one is None:
            return True
        if self.container_id != one["containerID"]:
            self._take(one)
        if self._held:
            return True
        running = one["state"].get("running")
        if running is None:
            self._set(False)
            terminated = one["state"].get("terminated")
            return terminated is None or should_restart(
                self.container,
                self.pod["spec"].get("restartPolicy") or "Always",
                terminated["exitCode"],
            )
        if self.kind != READINESS and self.pod["metadata"].get("deletionTimestamp"):
            self._set(True)
            return False
        delay_ns = (self.spec.get("initialDelaySeconds") or 0) * NS
        ready_ns = parse_time(running["startedAt"]) + delay_ns
        if self._prober.host.now_ns() < ready_ns:
            self._schedule(background=False, not_before_ns=ready_ns)
            return True
        if bool(one.get("started")) == (self.kind == STARTUP):
            # Not this probe's turn: `poke` comes when the container is found started.
            return True
        self._probe(status)
        return True

    def _find(self, status: Object) -> Object | None:
        for field in ("containerStatuses", "initContainerStatuses"):
            for one in status.get(field) or ():
                if one["name"] == self.container["name"] and one.get("containerID"):
                    return one
        return None

    def _take(self, one: Object) -> None:
        results = self._prober.results[self.kind]
        results.pop(self.container_id, None)
        self.container_id = one["containerID"]
        self.runtime_container = self._prober.find(self.pod, self.container["name"])
        host = self._prober.host
        running = one["state"].get("running")
        before = (
            running is not None
            and parse_time(running["startedAt"]) < host.start_ns - _RESTART_GRACE_NS
        )
        if self.kind == STARTUP and is_sidecar(self.container) and one.get("started"):
            self._set(True)
        elif not before:
            self._set(_INITIAL[self.kind])
        self._held = False
        self._last, self._run = None, 0

    def _set(self, result: bool | None) -> None:
        results = self._prober.results[self.kind]
        if self.container_id not in results or results[self.container_id] != result:
            results[self.container_id] = result
            if result is not None:
                uid = self.pod["metadata"]["uid"]
                self._prober.result_changed(self.kind, uid, self.container_id, result)

    def _probe(self, status: Object) -> None:
        run = self.runtime_container
        if run is None or run.state != RUNNING:
            self._schedule(background=False)
            return
        if problem := self._no_port():
            self._judge(run, ProbeResult(False, problem, "error"))
            return
        if run.program.live:
            self._prober.host.process.spawn(
                self._ask_live(status, run), name=self._label, daemon=True
            )
            return
        self._judge(run, self._prober.run(self.spec, self.kind, status, self.container, run))

    async def _ask_live(self, status: Object, run: Container) -> None:
        probe = make_probe(self.spec, self.kind.lower(), status.get("podIP") or "", self.container)
        answer = await self._prober.host.runtime.ask(run, probe)
        if self.stopped or run is not self.runtime_container:
            return
        if run.state != RUNNING:
            self._schedule(background=False)
            return
        self._judge(run, answer)

    def _no_port(self) -> str:
        """Why there is nothing to ask: a port that its container does not name."""
        action: Object = self.spec.get("httpGet") or self.spec.get("tcpSocket") or NOTHING
        port = action.get("port")
        if not isinstance(port, str) or resolve_port(port, self.container):
            return ""
        return f"port {quote(port)} not found"

    def _judge(self, run: Container, answer: ProbeResult) -> None:
        if not answer.ok or answer.note:
            how = {
                "error": "errored and resulted in unknown state", "warning": "warning",
            }.get(answer.note, "failed")
            self._prober.host.container_event(
                self.pod, self.container["name"], "Warning",
                "ProbeWarning" if answer.note == "warning" else "Unhealthy",
                f"{self.kind} probe {how}: {answer.output}",
            )
        if answer.note == "error":
            self._schedule(background=True)
            return
        self._run = self._run + 1 if self._last == answer.ok else 1
        self._last = answer.ok
        field = "successThreshold" if answer.ok else "failureThreshold"
        threshold = self.spec.get(field) or (1 if answer.ok else 3)
        if self._run < threshold:
            self._schedule(background=False)
            return
        self._set(answer.ok)
        if self.kind == STARTUP or (self.kind == LIVENESS and not answer.ok):
            self._held = True
            self._run = 0
            return
        self._next(run, answer)

    def _next(self, run: Container, answer: ProbeResult) -> None:
        """The threshold is reached: when may the answer be another one?"""
        if self.stopped:
            return
        program = run.program
        if not answer.ok or program.restless(run) or run.probe_override is not None:
            self._schedule(background=True)
            return
        change_ns = program.next_change_ns(run)
        if change_ns is not None:
            self._schedule(background=False, not_before_ns=change_ns)


_NO_WORKERS: dict[tuple[str, str], Worker] = {}


class Prober:
    """All probes of one kubelet.

    Parameters: `host`; `changed`, which hears when a result asks for a sync of the pod.
    """

    def __init__(self, host: Host, changed: Changed) -> None:
        self.host = host
        self.statuses: StatusManager
        self.results: dict[str, dict[str, bool | None]] = {STARTUP: {}, LIVENESS: {}, READINESS: {}}
        self._changed = changed
        self._workers: dict[str, dict[tuple[str, str], Worker]] = {}

    # -- workers ------------------------------------------------------------------------------

    def add_pod(self, pod: Object) -> None:
        """Make workers for the pod's probes, once."""
        uid, spec = pod["metadata"]["uid"], pod["spec"]
        workers = self._workers.get(uid)
        parts: list[Object] = spec["containers"]
        if inits := spec.get("initContainers"):
            parts = [*parts, *(c for c in inits if is_sidecar(c))]
        for container in parts:
            for kind, field in _FIELDS:
                if field not in container:
                    continue
                if workers is None:
                    workers = self._workers[uid] = {}
                key = (container["name"], kind)
                if key not in workers:
                    workers[key] = Worker(self, kind, pod, container)

    def update_pod(self, pod: Object) -> None:
        """The pod looks different now."""
        for worker in (self._workers.get(pod["metadata"]["uid"]) or NOTHING).values():
            worker.pod = pod

    def stop_liveness_and_startup(self, pod: Object) -> None:
        """The pod is being terminated: only readiness is still of interest."""
        for worker in list((self._workers.get(pod["metadata"]["uid"]) or NOTHING).values()):
            if worker.kind != READINESS:
                worker.stop()
                self.drop(worker)

    def remove_pod(self, uid: str) -> None:
        """Probe nothing of the pod any more."""
        for worker in (self._workers.pop(uid, None) or NOTHING).values():
            worker.stop()

    def drop(self, worker: Worker) -> None:
        """A worker has ended."""
        workers = self._workers.get(worker.pod["metadata"]["uid"])
        if workers is not None:
            workers.pop((worker.container["name"], worker.kind), None)

    def notify(self, uid: str, name: str = "") -> None:
        """A container of the pod has started, ended, or answers probes differently."""
        for worker in list((self._workers.get(uid) or NOTHING).values()):
            if not name or worker.container["name"] == name:
                worker.poke()

    # -- results ------------------------------------------------------------------------------

    def result_changed(self, kind: str, uid: str, container_id: str, result: bool) -> None:
        """Spread a new result."""
        if kind == READINESS:
            self.statuses.set_container_field(uid, container_id, "ready", result)
        elif kind == STARTUP:
            self.statuses.set_container_field(uid, container_id, "started", result)
            if result:
                for worker in list((self._workers.get(uid) or NOTHING).values()):
                    if worker.kind != STARTUP:
                        worker.poke()
        if kind != LIVENESS or not result:
            self._changed(uid, kind, result)

    def verdict(self, kind: str, container: Container) -> bool | None:
        """The result of a container's probe of that kind; None while there is none."""
        results = self.results[kind]
        if not results:
            return None
        return results.get(f"{self.host.runtime.flavour.name}://{container.id}")

    def update_pod_status(self, pod: Object, status: Object) -> None:
        """Write `started` and `ready` into the statuses of containers."""
        uid = pod["metadata"]["uid"]
        workers = self._workers.get(uid) or _NO_WORKERS
        for one in status.get("containerStatuses") or ():
            self._fill(pod, one, workers)
        specs = {c["name"]: c for c in pod["spec"].get("initContainers") or ()}
        for one in status.get("initContainerStatuses") or ():
            if is_sidecar(specs[one["name"]]):
                self._fill(pod, one, workers)
                continue
            one["started"] = self._is_started(one, workers)
            terminated = one["state"].get("terminated")
            if terminated is not None and terminated["exitCode"] == 0:
                one["ready"] = True

    def _fill(
        self, pod: Object, one: Object, workers: dict[tuple[str, str], Worker]
    ) -> None:
        one["started"] = started = self._is_started(one, workers)
        if not started:
            one["ready"] = False
            return
        worker = workers.get((one["name"], READINESS))
        if worker is None:
            one["ready"] = True
            return
        results = self.results[READINESS]
        one["ready"] = ready = results.get(one["containerID"]) is True
        if not ready:
            one["ready"] = self._ready_before(pod, one)
            if worker.container_id != one["containerID"]:
                worker.trigger()

    def _ready_before(self, pod: Object, one: Object) -> bool:
        """Whether a container that ran before this kubelet was ready then, and not asked since."""
        started_ns = parse_time(one["state"]["running"]["startedAt"])
        if started_ns >= self.host.start_ns - _RESTART_GRACE_NS:
            return False
        if one["containerID"] in self.results[READINESS]:
            return False
        conditions: list[Any] = (pod.get("status") or NOTHING).get("conditions") or []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def _is_started(self, one: Object, workers: dict[tuple[str, str], Worker]) -> bool:
        if "running" not in one["state"]:
            return False
        results = self.results[STARTUP]
        if one["containerID"] in results:
            return results[one["containerID"]] is True
        if one.get("started"):
            return True
        return (one["name"], STARTUP) not in workers

    # -- asking -------------------------------------------------------------------------------

    def find(self, pod: Object, name: str) -> Container | None:
        """The newest container of that name in the runtime."""
        return self.host.runtime.pod_state(pod["metadata"]["uid"]).find(name)

    def run(
        self, spec: Object, kind: str, status: Object, container: Object, run: Container
    ) -> ProbeResult:
        """Ask once."""
        probe = make_probe(spec, kind.lower(), status.get("podIP") or "", container)
        return self.host.runtime.probe(run, probe)


def make_probe(spec: Object, purpose: str, pod_ip: str, container: Object) -> Probe:
    """The question that a probe or a lifecycle handler of a container asks."""
    timeout_ns = (spec.get("timeoutSeconds") or 1) * NS
    if (action := spec.get("exec")) is not None:
        return Probe(
            "exec", purpose, command=tuple(action.get("command") or ()), timeout_ns=timeout_ns
        )
    if (action := spec.get("httpGet")) is not None:
        path: str = action.get("path") or "/"
        return Probe(
            "http",
            purpose,
            host=action.get("host") or pod_ip,
            port=resolve_port(action.get("port"), container),
            path=path if path.startswith("/") else f"/{path}",
            scheme=(action.get("scheme") or "HTTP").lower(),
            timeout_ns=timeout_ns,
            headers=tuple(
                (h["name"], h.get("value") or "") for h in action.get("httpHeaders") or ()
            ),
        )
    if (action := spec.get("tcpSocket")) is not None:
        return Probe(
            "tcp",
            purpose,
            host=action.get("host") or pod_ip,
            port=resolve_port(action.get("port"), container),
            timeout_ns=timeout_ns,
        )
    action = spec.get("grpc") or NOTHING
    return Probe(
        "grpc",
        purpose,
        host=pod_ip,
        port=int(action.get("port") or 0),
        service=action.get("service") or "",
        timeout_ns=timeout_ns,
    )


def resolve_port(port: Any, container: Object) -> int:
    """A port given by number or by the name of one of the container's; 0 for no such name."""
    if isinstance(port, int):
        return port
    for declared in container.get("ports") or ():
        if declared.get("name") == port:
            return int(declared["containerPort"])
    return 0
