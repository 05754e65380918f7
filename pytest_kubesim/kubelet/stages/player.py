"""The player of stages: kwok's controller, as a process.

The law: whenever an object changes, the stage that now matches is due after its delay, and replaces
what was due before; its steps are taken in order, and what the server cannot answer now is tried
again from that step on.  Nothing else makes an object change, so that without a stage it stays.
A pod that is to go and that no stage would ever delete is let go.

Follows `pkg/kwok/controllers/{pod,node,stage,node_lease}_controller.go`, `utils.go` and
`pkg/utils/lifecycle/{next,finalizers,apply}.go` of `sigs.k8s.io/kwok@v0.8.0`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.apimachinery.go_template_functions import TemplateError
from pytest_kubesim.client_go.discovery import NoMatch, RESTMapper
from pytest_kubesim.client_go.informer import SharedIndexInformer
from pytest_kubesim.client_go.record import EventRecorder
from pytest_kubesim.client_go.resources import NODES, PODS
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.errors import KubesimError
from pytest_kubesim.kubelet.stages import finalizers, rendering, stage
from pytest_kubesim.kubelet.stages.casting import NODE, POD, Casting
from pytest_kubesim.kubelet.stages.leases import Leases
from pytest_kubesim.kubelet.stages.stage import Stage
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.process import Process
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import GroupVersionResource, Object
    from pytest_kubesim.client_go.discovery import APIResource
    from pytest_kubesim.client_go.rest import RESTClient
    from pytest_kubesim.sim.kernel import Kernel, Timer

STAGES = meta.GroupVersionResource(stage.API_GROUP, "v1alpha1", "stages")
COMPONENT = "kwok_controller"
BACKOFF_NS, BACKOFF_MAX_NS = NS, 32 * 60 * NS


@attrs.define(slots=True, eq=False)
class _Job:
    """A stage that is due for an object."""

    about: tuple[str, str]
    key: str
    obj: Object
    stage: Stage
    timer: Timer | None = None
    step: int = 0
    retries: int = 0


class Player:
    """A kwok controller.

    Parameters: `kernel`; `client`, which makes the client of its process; `casting`, shared with
    the kubelets; `has_kubelet`, whether a node (by name) renews its own lease.
    """

    def __init__(
        self,
        kernel: Kernel,
        client: Callable[[Process], RESTClient],
        casting: Casting,
        has_kubelet: Callable[[str], bool],
        *,
        host: str = "control-plane",
    ) -> None:
        self._client = client
        self._casting = casting
        self._has_kubelet = has_kubelet
        self.process = Process(kernel, "kwok-controller", self._main, host=host)

    async def _main(self, process: Process) -> None:
        playing = Playing(process, self._client(process), self._casting, self._has_kubelet)
        playing.start()
        await process.kernel.future()


class Playing:
    """One start of a player."""

    def __init__(
        self,
        process: Process,
        client: RESTClient,
        casting: Casting,
        has_kubelet: Callable[[str], bool],
    ) -> None:
        self.process = process
        self.kernel = process.kernel
        self.client = client
        self.casting = casting
        self.recorder = EventRecorder(client, COMPONENT)
        self.mapper = RESTMapper(client)
        self.leases = Leases(process, client, has_kubelet)
        self.addresses = rendering.Addresses(self._node)
        self._start_ns = process.now_ns()
        self._jobs: dict[tuple[tuple[str, str], str], _Job] = {}
        self._turns: dict[str, int] = {}
        self._played: set[tuple[str, str]] = set()
        self._kinds: dict[tuple[str, str], tuple[APIResource, SharedIndexInformer]] = {}
        self._nodes = SharedIndexInformer(client, NODES)
        self._stages = SharedIndexInformer(client, STAGES)

    def start(self) -> None:
        """Watch stages, and what they speak of."""
        self._stages.add_event_handler(
            add=self._stages_changed,
            update=lambda _old, new: self._stages_changed(new),
            delete=self._stages_changed,
        )
        self._nodes.start()
        self._stages.start()

    def _node(self, name: str) -> Object | None:
        return self._nodes.store.get(name)

    # -- stages -------------------------------------------------------------------------------

    def _stages_changed(self, _stage: Object) -> None:
        found: list[Stage] = []
        for document in sorted(self._stages.store.list(), key=meta.name):
            try:
                found.append(stage.read(document))
            except KubesimError as error:
                self._complain(meta.name(document), error)
        self.casting.replace(found)
        for about in self.casting.kinds:
            if about not in self._kinds:
                self.process.spawn(self._watch(about), name=f"watch {about[1]}")
        for about, (_resource, informer) in self._kinds.items():
            for obj in informer.store.list():
                self._observe(about, obj)

    async def _watch(self, about: tuple[str, str]) -> None:
        while about not in self._kinds:
            try:
                resource = await self.mapper.mapping(*about)
            except NoMatch as error:
                self._complain(about[1], error)
            except (status.APIStatus, ConnectionLost):
                pass
            else:
                self._kinds[about] = (resource, self._informer(about, resource.gvr))
                return
            await self.kernel.sleep(10 * NS, periodic=True)

    def _informer(self, about: tuple[str, str], gvr: GroupVersionResource) -> SharedIndexInformer:
        informer = self._nodes if gvr == NODES else SharedIndexInformer(self.client, gvr)
        informer.add_event_handler(
            add=lambda obj: self._observe(about, obj),
            update=lambda _old, obj: self._observe(about, obj),
            delete=lambda obj: self._gone(about, obj),
        )
        if informer is not self._nodes:
            informer.start()
        return informer

    def _complain(self, about: str, error: Exception) -> None:
        self.kernel.journal.record("stage failed", COMPONENT, about=about, error=str(error))

    # -- objects ------------------------------------------------------------------------------

    def _gone(self, about: tuple[str, str], obj: Object) -> None:
        job = self._jobs.pop((about, key_of(obj)), None)
        if job is not None and job.timer is not None:
            job.timer.cancel()
        uid = meta.uid(obj)
        self.casting.forget(uid)
        self.addresses.forget(uid)
        self._turns.pop(uid, None)
        if about == NODE:
            self.leases.stop(meta.name(obj))

    def _observe(self, about: tuple[str, str], obj: Object) -> None:
        """`preprocess`."""
        if about == POD:
            if not self.casting.takes_pod(obj):
                return
        elif about == NODE:
            if not self.casting.takes_node(obj):
                return
            self.leases.keep(obj)
        key = key_of(obj)
        waiting = self._jobs.get((about, key))
        uid = meta.uid(obj)
        turn = self._turns[uid] = self._turns.get(uid, 0) + 1
        api_version, kind = about
        whole = {"apiVersion": api_version, "kind": kind, **obj}
        found = self.casting.next_stage(about, whole, self.kernel.rng, turn)
        if found is None:
            if about == POD and meta.deletion_timestamp(obj) and not self.casting.deletes(POD):
                self.process.spawn(self._let_go(obj), name=f"pod {key}")
            return
        if waiting is not None and waiting.stage.name == found.name and (
            meta.resource_version(waiting.obj) == meta.resource_version(obj)
        ):
            return
        least, most = found.delay_ns(whole, self.process.now_ns())
        if most > least:
            least += self.kernel.rng.between_ns(0, most - least - 1, "stage delay", uid, turn)
        self._schedule(_Job(about, key, whole, found), least)

    def _schedule(self, job: _Job, delay_ns: int) -> None:
        before = self._jobs.get((job.about, job.key))
        if before is not None and before.timer is not None:
            before.timer.cancel()
        self._jobs[job.about, job.key] = job
        again = (meta.uid(job.obj), job.stage.name) in self._played
        # What comes again and again is a heartbeat: nothing need wait for it.
        job.timer = self.process.call_later(
            max(0, delay_ns), self._due, job, periodic=again and delay_ns > 0,
            label=f"stage {job.stage.name}: {job.about[1]} {job.key}",
        )

    def _due(self, job: _Job) -> None:
        if self._jobs.get((job.about, job.key)) is job:
            del self._jobs[job.about, job.key]
        self._played.add((meta.uid(job.obj), job.stage.name))
        self.process.spawn(self._play(job), name=f"stage {job.stage.name} {job.key}")

    async def _let_go(self, pod: Object) -> None:
        try:
            await self.client.delete(
                PODS, meta.namespace(pod), meta.name(pod), grace_period_seconds=0,
                uid=meta.uid(pod),
            )
        except (status.APIStatus, ConnectionLost) as error:
            self._complain(key_of(pod), error)

    # -- steps --------------------------------------------------------------------------------

    async def _play(self, job: _Job) -> None:
        """`playStage`."""
        result: Object | None = None
        steps = job.stage.steps
        while job.step < len(steps):
            try:
                result = await self._step(job, steps[job.step]) or result
            except (status.APIStatus, ConnectionLost) as error:
                self._complain(job.key, error)
                if isinstance(error, ConnectionLost) or _is_for_later(error):
                    delay_ns = min(BACKOFF_NS << job.retries, BACKOFF_MAX_NS)
                    job.retries += 1
                    self._schedule(job, delay_ns)
                return
            except (TemplateError, NoMatch, KubesimError) as error:
                self._complain(job.key, error)
                return
            job.step += 1
        if result is not None and job.stage.immediate:
            self._observe(job.about, result)

    async def _step(self, job: _Job, step: Object) -> Object | None:
        obj = job.obj
        if step.get("event"):
            event: dict[str, str] = step["event"]
            self.recorder.event(
                obj, event.get("type", ""), event.get("reason", ""), event.get("message", "")
            )
        result: Object | None = None
        resource = self._kinds[job.about][0]
        where, name = meta.namespace(obj), meta.name(obj)
        if step.get("finalizers"):
            operations = finalizers.operations(meta.finalizers(obj), step["finalizers"])
            if operations:
                result = await self.client.patch(
                    resource.gvr, where, name, operations, patch_type="json"
                )
        if step.get("delete"):
            await self.client.delete(resource.gvr, where, name, grace_period_seconds=0)
            return None
        if step.get("patch"):
            result = await self._patch(job, resource, step["patch"])
        if step.get("apply"):
            await self._apply(job, step["apply"])
        return result

    def _render(self, job: _Job, template: str) -> Any:
        name = meta.name(job.obj) if job.about == NODE else ""
        uid, counter = meta.uid(job.obj), itertools.count()
        event = (uid, self._turns.get(uid, 0), job.step)

        def draw(bound: int) -> int:
            return self.kernel.rng.below(bound, "stage template", *event, next(counter))

        known = rendering.functions(
            self.process.now_ns(), self._start_ns, self.addresses, name, draw
        )
        return rendering.render(template, job.obj, known)

    async def _patch(self, job: _Job, resource: APIResource, patch: Object) -> Object:
        content = self._render(job, patch.get("template") or "")
        kind: str = patch.get("type") or ("strategic" if job.about in (POD, NODE) else "merge")
        root: str = patch.get("root") or ""
        if root and kind == "json":
            content = [
                {**operation, "path": f"/{root}{operation.get('path', '')}"}
                for operation in content
            ]
        elif root:
            content = {root: content}
        return await self.client.patch(
            resource.gvr, meta.namespace(job.obj), meta.name(job.obj), content,
            patch_type=kind, subresource=patch.get("subresource") or "",
        )

    async def _apply(self, job: _Job, apply: Object) -> None:
        content: Object = self._render(job, apply.get("template") or "")
        resource = await self.mapper.mapping(content["apiVersion"], content["kind"])
        where = ""
        if resource.namespaced:
            where = meta.namespace(content) or meta.namespace(job.obj)
            content = meta.with_metadata(content, namespace=where)
        subresource: str = apply.get("subresource") or ""
        if not subresource:
            try:
                await self.client.create(resource.gvr, where, content)
            except status.APIStatus as error:
                if not status.is_already_exists(error) or not meta.name(content):
                    raise
            else:
                return
        kind: str = apply.get("type") or "apply"
        await self.client.patch(
            resource.gvr, where, meta.name(content), content, patch_type=kind,
            subresource=subresource, force=kind == "apply",
            field_manager="kwok" if kind == "apply" else "",
        )


def _is_for_later(error: status.APIStatus) -> bool:
    return (
        status.is_server_timeout(error)
        or status.is_timeout(error)
        or status.is_service_unavailable(error)
        or status.is_too_many_requests(error)
    )
