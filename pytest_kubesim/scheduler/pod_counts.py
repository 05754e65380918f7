"""Counts of pods by node, kept up to date from the cache's log of changes.

The law: after `refresh` a count is what counting all pods anew would give; it costs only what
changed since the last time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.labels import Selector
    from pytest_kubesim.scheduler.cache import Cache
    from pytest_kubesim.scheduler.pod_info import PodInfo


class MatchCounts:
    """How many pods of one namespace that a selector selects are on each node.

    `by_node` is in the cache's order, `occupied` has the nodes with any, by index.  Terminating
    pods do not count.
    """

    __slots__ = (
        "_cache", "_layout", "_namespace", "_position", "_selector", "by_node", "occupied",
    )

    def __init__(self, cache: Cache, namespace: str, selector: Selector) -> None:
        self._cache = cache
        self._namespace = namespace
        self._selector = selector
        self._layout = -1
        self._position = 0
        self.by_node: list[int] = []
        self.occupied: dict[int, int] = {}

    def refresh(self) -> MatchCounts:
        """Bring the counts up to date."""
        cache = self._cache
        nodes = cache.nodes
        changed = cache.changed_since(self._position)
        self._position = cache.position
        if self._layout != cache.layout or changed is None:
            self._layout = cache.layout
            if self._selector.empty:
                # Upstream counts nothing for a selector that selects everything.
                self.by_node = [0] * len(nodes)
            else:
                self.by_node = [sum(map(self._counts, node.pods.values())) for node in nodes]
            self.occupied = {i: count for i, count in enumerate(self.by_node) if count}
        elif not self._selector.empty:
            namespace, matches = self._namespace, self._selector.matches
            for node, pod, delta in changed:
                if (
                    pod is not None
                    and pod.namespace == namespace
                    and not pod.deleting
                    and node.index >= 0
                    and matches(pod.labels)
                ):
                    self.occupied[node.index] = self.by_node[node.index] = (
                        self.by_node[node.index] + delta
                    )
        return self

    def _counts(self, pod: PodInfo) -> bool:
        return (
            pod.namespace == self._namespace
            and not pod.deleting
            and self._selector.matches(pod.labels)
        )
