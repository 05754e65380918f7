"""Which objects are played by stages: what all of a cluster's kubelets and the player agree on.

The law: an object is taken when a stage first matches it, and stays taken until it is gone; from
then on its kubelet says nothing of it and runs nothing for it.

Follows `Lifecycle` of `pkg/utils/lifecycle/lifecycle.go` of `sigs.k8s.io/kwok@v0.8.0`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.stages.stage import Stage
    from pytest_kubesim.sim.rng import Rng

POD, NODE = ("v1", "Pod"), ("v1", "Node")


class Casting:
    """The stages of a cluster, and what they have taken."""

    def __init__(self) -> None:
        self._stages: dict[tuple[str, str], list[Stage]] = {}
        self.taken: set[str] = set()
        """The UIDs of taken objects."""
        self.on_taken: dict[str, Callable[[str], object]] = {}
        """By node: who is to be told the UID of a pod that has just been taken."""

    def replace(self, stages: list[Stage]) -> None:
        """These are the stages from now on."""
        self._stages = {}
        for stage in stages:
            self._stages.setdefault(stage.about, []).append(stage)

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """The kinds that stages speak of, each as apiVersion and kind."""
        return list(self._stages)

    def deletes(self, about: tuple[str, str]) -> bool:
        """Whether any stage of that kind deletes."""
        return any(stage.deletes for stage in self._stages.get(about, ()))

    def takes_pod(self, pod: Object) -> bool:
        """Whether a pod is (from now on) the stages'."""
        return self._takes(POD, pod) if pod["spec"].get("nodeName") else False

    def takes_node(self, node: Object) -> bool:
        """Whether a Node is (from now on) the stages'."""
        return self._takes(NODE, node)

    def _takes(self, about: tuple[str, str], obj: Object) -> bool:
        if not self._stages:
            return meta.uid(obj) in self.taken
        uid = meta.uid(obj)
        if uid in self.taken:
            return True
        if not any(stage.matches(obj) for stage in self._stages.get(about, ())):
            return False
        self.taken.add(uid)
        if about == POD and (tell := self.on_taken.get(obj["spec"]["nodeName"])) is not None:
            tell(uid)
        return True

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self.taken.discard(uid)

    def next_stage(
        self, about: tuple[str, str], obj: Object, rng: Rng, turn: int
    ) -> Stage | None:
        """The stage that an object comes to; of several one by chance, as their weights say."""
        matching = [stage for stage in self._stages.get(about, ()) if stage.matches(obj)]
        if len(matching) < 2:
            return matching[0] if matching else None
        weights = [stage.weight(obj) for stage in matching]
        known = [weight for weight in weights if weight is not None]
        event = (meta.uid(obj), turn)
        if not known:
            return rng.choice(matching, "stage", *event)
        if not sum(known):
            weighted = [s for s, weight in zip(matching, weights, strict=True)
                        if weight is not None]
            return rng.choice(weighted, "stage", *event)
        offset = rng.below(sum(known), "stage", *event)
        for stage, weight in zip(matching, weights, strict=True):
            offset -= weight or 0
            if weight and offset < 0:
                return stage
        return matching[-1]
