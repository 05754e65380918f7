"""The device taint eviction controller: pods leave devices whose NoExecute taints they don't bear.

The law: a pod goes when the first taint of a device of one of its claims is not tolerated any
longer; that is called off when taint, claim or toleration change in time.  A DeviceTaintRule's
condition tells how far it has come, at most every ten seconds; a rule of effect `None` is told once
what it would do.

Follows `pkg/controller/devicetainteviction/device_taint_eviction.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, status, timestamps
from pytest_kubesim.client_go.resources import (
    DEVICETAINTRULES,
    PODS,
    RESOURCECLAIMS,
    RESOURCESLICES,
)
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.controller_manager import device_taints, fields
from pytest_kubesim.controller_manager.controller import Controller, Result
from pytest_kubesim.controller_manager.device_taints import Eviction
from pytest_kubesim.controller_manager.node_fit import NO_EXECUTE
from pytest_kubesim.controller_manager.pod_status_patch import (
    changes_pod_condition,
    patch_pod_status,
    with_pod_condition,
)
from pytest_kubesim.registry.resource import device_taint_rule
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_kubesim.apimachinery.meta import Object

STATUS_PERIOD_NS = 10 * NS
EVENT_REASON = "DeviceTaintManagerEviction"
EVICTION_IN_PROGRESS = "EvictionInProgress"


class DeviceTaintEvictionController(Controller):
    """Evicts pods by taints of devices."""

    name = "device-taint-eviction-controller"
    service_account = "device-taint-eviction-controller"
    workers = 8
    workers_flag = "concurrent-device-taint-eviction-syncs"

    def setup(self) -> None:
        """Listen to claims, slices, rules and pods."""
        self.due: dict[str, tuple[str, Eviction]] = {}
        """Evictions to come: the pod's UID, and when."""
        self.evicted: dict[str, None] = {}
        self.evicted_by_rule: dict[str, int] = {}
        self.claims = self.watch(
            RESOURCECLAIMS, add=self._claim, update=self._claim_updated, delete=self._claim
        )
        self.slices = self.watch(
            RESOURCESLICES, add=self._slice, update=self._slice_updated, delete=self._slice
        )
        self.rules = self.watch(
            DEVICETAINTRULES, add=self._rule, update=self._rule_updated, delete=self._rule_gone
        )
        self.pods = self.watch(
            PODS, add=self._pod, update=self._pod_updated, delete=self._pod_gone
        )

    # -- what changes -------------------------------------------------------------------------

    def _claim(self, claim: Object) -> None:
        for pod in self._pods_of(claim):
            self._pod(pod)

    def _claim_updated(self, old: Object, new: Object) -> None:
        if fields.status(old) != fields.status(new):
            self._claim(old)
            self._claim(new)

    def _slice(self, resource_slice: Object) -> None:
        devices = fields.objects(fields.spec(resource_slice), "devices")
        if any(device.get("taints") for device in devices):
            self._look_at_all()

    def _slice_updated(self, old: Object, new: Object) -> None:
        if fields.spec(old) != fields.spec(new):
            self._slice(old)
            self._slice(new)

    def _rule(self, rule: Object) -> None:
        self.queue.add(f"rule {meta.name(rule)}")
        self._look_at_all()

    def _rule_updated(self, old: Object, new: Object) -> None:
        if fields.spec(old) != fields.spec(new):
            self._rule(new)

    def _rule_gone(self, rule: Object) -> None:
        self.evicted_by_rule.pop(meta.uid(rule), None)
        self._look_at_all()

    def _look_at_all(self) -> None:
        for claim in self.claims.list():
            self._claim(claim)

    def _pods_of(self, claim: Object) -> Iterator[Object]:
        for user in fields.objects(fields.status(claim), "reservedFor"):
            if user.get("resource") == "pods" and not user.get("apiGroup"):
                pod = self.pods.get_by_name(meta.namespace(claim), user["name"])
                if pod is not None and meta.uid(pod) == user["uid"]:
                    yield pod

    def _pod_updated(self, old: Object, new: Object) -> None:
        was, now = fields.status(old), fields.status(new)
        if fields.spec(old).get("nodeName") != fields.spec(new).get("nodeName") or any(
            was.get(key) != now.get(key)
            for key in ("resourceClaimStatuses", "extendedResourceClaimStatus")
        ):
            self._pod(new)

    def _pod_gone(self, pod: Object) -> None:
        self.due.pop(key_of(pod), None)

    def _pod(self, pod: Object) -> None:
        """`handlePod`."""
        if not self.due and not fields.spec(pod).get("resourceClaims") and not fields.status(
            pod
        ).get("extendedResourceClaimStatus"):
            return
        key = key_of(pod)
        eviction = self._eviction_of(pod, [])
        if eviction is None:
            if self.due.pop(key, None) is not None:
                self._record(pod, "Cancelling deletion")
            return
        self.due[key] = (meta.uid(pod), eviction)
        self.queue.add_after(f"pod {key}", eviction.when_ns - self.now_ns())
        for rule in self.rules.list():
            if meta.uid(rule) in eviction.rules:
                self.queue.add_after(f"rule {meta.name(rule)}", STATUS_PERIOD_NS)

    def _eviction_of(self, pod: Object, supposed: list[Object]) -> Eviction | None:
        """When a pod is to go; `supposed` are rules that are taken to evict."""
        if not fields.spec(pod).get("nodeName"):
            return None
        claims = [
            claim for claim in self._claims_of(pod) if device_taints.results_of(claim)
        ]
        if not claims:
            return None
        devices = {
            (*device_taints.pool_of(entry), device["name"]): device
            for entry in device_taints.newest(self.slices.list())
            for device in fields.objects(fields.spec(entry), "devices")
        }
        rules = [*self.rules.list(), *supposed]
        found: Eviction | None = None
        for claim in claims:
            eviction = device_taints.eviction_of(claim, devices, rules)
            if eviction is not None:
                found = eviction.joined(found)
        return found

    def _claims_of(self, pod: Object) -> Iterator[Object]:
        pod_status = fields.status(pod)
        generated = {
            entry["name"]: entry.get("resourceClaimName")
            for entry in fields.objects(pod_status, "resourceClaimStatuses")
        }
        names = [
            entry.get("resourceClaimName") or generated.get(entry["name"])
            for entry in fields.objects(fields.spec(pod), "resourceClaims")
        ]
        extended = fields.mapping(pod_status, "extendedResourceClaimStatus")
        names.append(extended.get("resourceClaimName"))
        for name in names:
            claim = self.claims.get_by_name(meta.namespace(pod), name) if name else None
            if claim is None:
                continue
            users = fields.objects(fields.status(claim), "reservedFor")
            if any(user.get("uid") == meta.uid(pod) for user in users):
                yield claim

    # -- the work -----------------------------------------------------------------------------

    async def reconcile(self, key: str) -> Result | None:
        """Evict a pod if it is time, or tell a rule's progress."""
        what, _, name = key.partition(" ")
        return await (self._evict(name) if what == "pod" else self._tell(name))

    async def _evict(self, key: str) -> Result | None:
        uid, eviction = self.due.get(key, ("", None))
        if eviction is None or uid in self.evicted:
            return None
        wait_ns = eviction.when_ns - self.now_ns()
        if wait_ns > 0:
            return Result(wait_ns)
        try:
            await self._mark_and_delete(*meta.split_key(key), uid)
        except status.APIStatus as error:
            if not status.is_not_found(error):
                raise
        else:
            for rule in self.rules.list():
                if meta.uid(rule) in eviction.rules:
                    count = self.evicted_by_rule.get(meta.uid(rule), 0)
                    self.evicted_by_rule[meta.uid(rule)] = count + 1
                    self.queue.add_after(f"rule {meta.name(rule)}", STATUS_PERIOD_NS)
        self.due.pop(key, None)
        self.evicted[uid] = None
        return None

    async def _mark_and_delete(self, namespace: str, name: str, uid: str) -> None:
        pod = await self.client.get(PODS, namespace, name)
        if meta.uid(pod) != uid:
            raise status.new_not_found(PODS.group_resource, name)
        if meta.deletion_timestamp(pod):
            return
        self._record(pod, "Marking for deletion")
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByDeviceTaintManager",
            "message": "Device Taint manager: deleting due to NoExecute taint",
        }
        if changes_pod_condition(pod, condition):
            changed = with_pod_condition(pod, condition, self.now())
            await patch_pod_status(self.client, pod, changed)
        await self.client.delete(PODS, namespace, name, uid=uid)

    def _record(self, pod: Object, message: str) -> None:
        reference = {
            "kind": "Pod",
            "namespace": meta.namespace(pod),
            "name": meta.name(pod),
            "uid": meta.uid(pod),
            "apiVersion": "v1",
        }
        self.event(reference, "Normal", EVENT_REASON, message)

    async def _tell(self, name: str) -> Result | None:
        """`maybeUpdateRuleStatus`."""
        rule = self.rules.get(name)
        if rule is None:
            return None
        before = meta.condition(rule, EVICTION_IN_PROGRESS)
        if before is not None:
            since_ns = self.now_ns() - timestamps.parse_time(before["lastTransitionTime"])
            same = before.get("observedGeneration") == meta.generation(rule)
            if same and since_ns < STATUS_PERIOD_NS:
                return Result(STATUS_PERIOD_NS - since_ns)
        condition = {
            "type": EVICTION_IN_PROGRESS,
            "observedGeneration": meta.generation(rule),
            **self._progress(rule),
        }
        if before is not None and condition == {
            key: value for key, value in before.items() if key != "lastTransitionTime"
        }:
            return None
        applied = {
            "kind": "DeviceTaintRule",
            "apiVersion": DEVICETAINTRULES.api_version,
            "metadata": {"name": name, "uid": meta.uid(rule)},
            "status": {"conditions": [{**condition, "lastTransitionTime": self.now()}]},
        }
        await self.client.patch(
            DEVICETAINTRULES, "", name, applied, patch_type="apply", subresource="status",
            field_manager=self.name, force=True,
        )
        return None

    def _progress(self, rule: Object) -> Object:
        evicted = self.evicted_by_rule.get(meta.uid(rule), 0)
        effect = fields.text(fields.mapping(fields.spec(rule), "taint"), "effect")
        state, message = "False", ""
        if effect == NO_EXECUTE:
            pods, namespaces = self._pending(rule, [])
            reason = "Completed" if evicted else "NotStarted"
            if pods:
                state, reason = "True", "PodsPendingEviction"
                message = f"{_pods(pods)} {'needs' if pods == 1 else 'need'} to be evicted in "
                message += f"{_namespaces(namespaces)}."
        elif effect == "None":
            reason, message = "NoEffect", self._prophecy(rule)
        else:
            reason = "OtherEffect"
            message = "Eviction only happens for the NoExecute effect."
        if evicted:
            told = f"{_pods(evicted)} evicted since starting the controller."
            message = f"{message} {told}" if message else told
        return {"status": state, "reason": reason, "message": message}

    def _prophecy(self, rule: Object) -> str:
        taint = {**fields.mapping(fields.spec(rule), "taint"), "effect": NO_EXECUTE}
        evicting = {**rule, "spec": {**fields.spec(rule), "taint": taint}}
        pods, namespaces = self._pending(rule, [evicting])
        published = sum(
            device_taint_rule.selects(rule, *device_taints.pool_of(entry), device["name"])
            for entry in device_taints.newest(self.slices.list())
            for device in fields.objects(fields.spec(entry), "devices")
        )
        allocated = sum(
            device_taint_rule.selects(rule, entry["driver"], entry["pool"], entry["device"])
            for claim in self.claims.list()
            for entry in device_taints.results_of(claim)
        )
        return (
            f"{published} published device{'' if published == 1 else 's'} selected. "
            f"{allocated} allocated device{'' if allocated == 1 else 's'} selected. "
            f"{_pods(pods)} would be evicted in {_namespaces(namespaces)} "
            "if the effect was NoExecute. This information will not be updated again. "
            "Recreate the DeviceTaintRule to trigger an update."
        )

    def _pending(self, rule: Object, supposed: list[Object]) -> tuple[int, int]:
        """How many pods are to go because of a rule, in how many namespaces."""
        found = [
            pod
            for claim in self.claims.list()
            for pod in self._pods_of(claim)
            if not meta.deletion_timestamp(pod)
            and (eviction := self._eviction_of(pod, supposed)) is not None
            and meta.uid(rule) in eviction.rules
        ]
        pods = {key_of(pod): meta.namespace(pod) for pod in found}
        return len(pods), len(set(pods.values()))


def _pods(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"


def _namespaces(count: int) -> str:
    return "1 namespace" if count == 1 else f"{count} different namespaces"


CONTROLLER = DeviceTaintEvictionController
