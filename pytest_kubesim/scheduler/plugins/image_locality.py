"""ImageLocality: prefer nodes that have the pod's images, the larger and the commoner the more.

Follows `pkg/scheduler/framework/plugins/imagelocality/image_locality.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_kubesim.scheduler.framework import MAX_NODE_SCORE

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.framework import CycleState, Handle
    from pytest_kubesim.scheduler.node_info import NodeInfo
    from pytest_kubesim.scheduler.pod_info import PodInfo

MB = 1024 * 1024
MIN_THRESHOLD = 23 * MB
MAX_CONTAINER_THRESHOLD = 1000 * MB


class ImageLocality:
    """The plugin."""

    name = "ImageLocality"

    def __init__(self) -> None:
        self._handle: Handle | None = None
        self._version = (-1, -1)
        self._scores: dict[tuple[str, ...], dict[str, int]] = {}

    def attach(self, handle: Handle) -> None:
        """Learn where the nodes' images are."""
        self._handle = handle

    def score_nodes(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> list[int]:
        """From 0 to 100 for each node."""
        handle = self._handle
        assert handle is not None
        cache = handle.cache
        if not cache.image_nodes:
            return [0] * len(nodes)
        version = (cache.images_version, len(cache.nodes))
        if version != self._version:
            self._version = version
            self._scores = {}
        images = image_names(pod.spec)
        scores = self._scores.get(images)
        if scores is None:
            scores = self._scores[images] = self._by_node(images, version[1])
        if not scores:
            return [0] * len(nodes)
        return [scores.get(node.name, 0) for node in nodes]

    def _by_node(self, images: tuple[str, ...], total: int) -> dict[str, int]:
        assert self._handle is not None
        sums: dict[str, int] = {}
        for image in images:
            having = self._handle.cache.image_nodes.get(image)
            if having:
                scaled = int(self._handle.cache.image_sizes[image] * (len(having) / total))
                for name in having:
                    sums[name] = sums.get(name, 0) + scaled
        most = MAX_CONTAINER_THRESHOLD * len(images)
        scores: dict[str, int] = {}
        for name, found in sums.items():
            clamped = min(max(found, MIN_THRESHOLD), most)
            score = MAX_NODE_SCORE * (clamped - MIN_THRESHOLD) // (most - MIN_THRESHOLD)
            if score:
                scores[name] = score
        return scores


def image_names(spec: Object) -> tuple[str, ...]:
    """The images of a pod spec, as nodes list them."""
    found = [c.get("image", "") for c in spec.get("initContainers") or ()]
    found += [c.get("image", "") for c in spec.get("containers") or ()]
    found += [
        volume["image"].get("reference", "")
        for volume in spec.get("volumes") or ()
        if volume.get("image")
    ]
    return tuple(name if name.rfind(":") > name.rfind("/") else f"{name}:latest" for name in found)
