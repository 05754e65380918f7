"""The search: which nodes are feasible for a pod, and which of them is best.

The law of speed: pods of one template (equal in what the plugins `sign`) get equal answers from
the plugins that look only at the pod and one node.  Those answers are kept by template and computed
anew only for nodes that changed; one more pod of a Deployment costs a walk over small lists.

Follows `pkg/scheduler/schedule_one.go` (`findNodesThatFitPod` to `selectHost`); nodes are checked
one after the other, where upstream checks 16 at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.extended_resources import DELEGATED
from pytest_kubesim.scheduler.framework import CycleState, Diagnosis, Status
from pytest_kubesim.scheduler.window import Window, column

if TYPE_CHECKING:
    from pytest_kubesim.scheduler.cache import Cache
    from pytest_kubesim.scheduler.extension_points import Layout
    from pytest_kubesim.scheduler.node_info import NodeInfo
    from pytest_kubesim.scheduler.pod_info import PodInfo
    from pytest_kubesim.scheduler.runtime import Runtime

MIN_FEASIBLE_NODES = 100
MIN_FEASIBLE_PERCENTAGE = 5
_MAX_TEMPLATES = 256


@attrs.frozen(slots=True)
class Scorer:
    """A plugin's part in the score."""

    name: str
    weight: int
    score: Callable[..., int] | None
    score_nodes: Callable[..., list[int]] | None
    normalize: Callable[..., list[int]] | None
    signed: bool


class Template:
    """The answers for pods of one template, in the cache's order of nodes."""

    __slots__ = (
        "_cache",
        "_filters",
        "_layout",
        "_local",
        "_position",
        "_raw",
        "local_scores",
        "raw_scores",
        "rest",
        "signature",
        "statuses",
    )

    def __init__(
        self,
        cache: Cache,
        filters: Sequence[tuple[str, Callable[..., Any]]],
        rest: Sequence[tuple[str, Callable[..., Any]]],
        signature: tuple[Any, ...],
    ) -> None:
        self._cache = cache
        self._filters = filters
        self.signature = signature
        """What the plugins sign of its pods, which share it."""
        self.rest = rest
        """The filters that have to be asked every time, in order."""
        self._layout = -1
        self._position = 0
        self.statuses: list[Status | None] = []
        self._local: list[Scorer] | None = None
        self._raw: list[Scorer] = []
        self.local_scores: list[int] = []
        self.raw_scores: dict[str, list[int]] = {}

    def refresh(self, state: CycleState, pod: PodInfo) -> None:
        """Bring the statuses and scores up to date."""
        cache = self._cache
        nodes = cache.nodes
        changed = cache.changed_since(self._position)
        self._position = cache.position
        if self._layout != cache.layout or changed is None:
            self._layout = cache.layout
            self.statuses = [self._check(state, pod, node) for node in nodes]
            self._local = None
            return
        for node in dict.fromkeys(change[0] for change in changed):
            if node.index >= 0:
                self.statuses[node.index] = self._check(state, pod, node)
                if self._local is not None:
                    self._rescore(state, pod, node)

    def _check(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        for name, hook in self._filters:
            status: Status | None = hook(state, pod, node)
            if status is not None:
                return status.by(name)
        return None

    def prepare_scores(
        self, state: CycleState, pod: PodInfo, local: list[Scorer], raw: list[Scorer]
    ) -> None:
        """Have the scores of `local` summed up, and those of `raw` apart."""
        if self._local is not None and self._local == local and self._raw == raw:
            return
        self._local, self._raw = local, raw
        count = len(self._cache.nodes)
        self.local_scores = [0] * count
        self.raw_scores = {scorer.name: [0] * count for scorer in raw}
        for node in self._cache.nodes:
            self._rescore(state, pod, node)

    def _rescore(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> None:
        index = node.index
        if self.statuses[index] is not None:
            return
        assert self._local is not None
        total = 0
        for scorer in self._local:
            assert scorer.score is not None
            total += scorer.score(state, pod, node) * scorer.weight
        self.local_scores[index] = total
        for scorer in self._raw:
            assert scorer.score is not None
            self.raw_scores[scorer.name][index] = scorer.score(state, pod, node)


class TemplateCache:
    """Templates by what the plugins sign."""

    def __init__(self, cache: Cache, layout: Layout) -> None:
        self._cache = cache
        self._signers: list[tuple[str, Callable[[PodInfo], Any]]] = [
            (plugin.name, plugin.sign) for plugin in layout.plugins if hasattr(plugin, "sign")
        ]
        signed = {name for name, _ in self._signers}
        self._filters = [(plugin.name, plugin.filter) for plugin in layout.at("filter")]
        self._signed = signed
        self.scorers = [
            Scorer(
                plugin.name,
                layout.weight(plugin.name),
                getattr(plugin, "score", None),
                getattr(plugin, "score_nodes", None),
                getattr(plugin, "normalize", None),
                plugin.name in signed and hasattr(plugin, "score"),
            )
            for plugin in layout.at("score")
        ]
        self._templates: dict[Any, Template] = {}

    def template(self, state: CycleState, pod: PodInfo) -> Template:
        """The template of `pod`, up to date."""
        signature = pod.signatures.get("template")
        if signature is None:
            signature = tuple(sign(pod) for _, sign in self._signers)
        # What devices stand for may change while pod and nodes do not.
        key = (signature, frozenset(state.skip_filter), state.data.get(DELEGATED))
        template = self._templates.get(key)
        if template is None:
            active = [f for f in self._filters if f[0] not in state.skip_filter]
            split = next(
                (i for i, (name, _) in enumerate(active) if name not in self._signed), len(active)
            )
            if len(self._templates) >= _MAX_TEMPLATES:
                del self._templates[next(iter(self._templates))]
            template = Template(self._cache, active[:split], active[split:], signature)
            self._templates[key] = template
        pod.signatures["template"] = template.signature
        template.refresh(state, pod)
        return template


class Search:
    """Finds nodes for pods of one profile."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._cache = runtime.cache

    # -- feasible nodes ------------------------------------------------------------------------

    def find(
        self,
        state: CycleState,
        pod: PodInfo,
        nodes: Sequence[NodeInfo],
        start: int,
        diagnosis: Diagnosis,
    ) -> tuple[list[NodeInfo], Status | None]:
        """The feasible ones among `nodes`, from `start` on, and a mishap if there was one."""
        count = len(nodes)
        wanted = self._wanted(count)
        template = self._runtime.templates.template(state, pod)
        statuses, rest = template.statuses, template.rest
        nominated = self._runtime.nominator.by_node
        explicit = diagnosis.node_to_status.statuses
        feasible: list[NodeInfo] = []
        start = start % count if count else 0
        if nodes is self._cache.nodes and wanted and not rest and not nominated:
            window = Window(self._cache.nodes, start, wanted)
            if column(window, statuses).count(None) == wanted:
                return window, None
        ordered = nodes if start == 0 else [*nodes[start:], *nodes[:start]]
        if not rest and not nominated and wanted:
            return _walk(ordered, statuses, wanted, diagnosis), None
        for node in ordered:
            if nominated and node.name in nominated:
                status = self._runtime.run_filters(state, pod, node)
            else:
                status = statuses[node.index]
                if status is None and rest:
                    status = _first_rejection(rest, state, pod, node)
            if status is None:
                feasible.append(node)
                if len(feasible) == wanted:
                    break
            elif status.rejected:
                explicit[node.name] = status
                diagnosis.add(status)
            else:
                return feasible, status
        return feasible, None

    def _wanted(self, count: int) -> int:
        if not self._runtime.has_scores:
            return 1
        if count < MIN_FEASIBLE_NODES:
            return count
        percentage = self._runtime.profile.percentage_of_nodes_to_score
        if percentage == 0:
            percentage = max(50 - count // 125, MIN_FEASIBLE_PERCENTAGE)
        return max(count * percentage // 100, MIN_FEASIBLE_NODES)

    # -- the best node -------------------------------------------------------------------------

    def best(
        self, state: CycleState, pod: PodInfo, nodes: list[NodeInfo], attempt: int
    ) -> NodeInfo | Status:
        """The node of the highest score; among equals one by a draw keyed by pod and attempt."""
        totals = self.score(state, pod, nodes)
        if isinstance(totals, Status):
            return totals
        highest = max(totals)
        if totals.count(highest) == 1:
            return nodes[totals.index(highest)]
        ties = [node for node, total in zip(nodes, totals, strict=True) if total == highest]
        rng = self._runtime.process.kernel.rng
        return ties[rng.below(len(ties), "scheduler-host", pod.uid, attempt)]

    def score(
        self, state: CycleState, pod: PodInfo, nodes: list[NodeInfo]
    ) -> list[int] | Status:
        """The total of each node; parts that are the same for all nodes may be left out."""
        runtime = self._runtime
        status = runtime.run_pre_scores(state, pod, nodes)
        if status is not None:
            return status
        skip = state.skip_score
        scorers = [s for s in runtime.templates.scorers if s.name not in skip]
        local = [s for s in scorers if s.signed and s.normalize is None]
        raw = [s for s in scorers if s.signed and s.normalize is not None]
        template = runtime.templates.template(state, pod)
        template.prepare_scores(state, pod, local, raw)
        scores = template.local_scores
        totals = column(nodes, scores)
        for scorer in scorers:
            if scorer.signed:
                if scorer.normalize is None:
                    continue
                found = template.raw_scores[scorer.name]
                # Equal raw scores stay equal when normalized.
                if not any(found):
                    continue
                values = column(nodes, found)
            elif scorer.score_nodes is not None:
                values = scorer.score_nodes(state, pod, nodes)
            else:
                assert scorer.score is not None
                values = [scorer.score(state, pod, node) for node in nodes]
            if scorer.normalize is not None:
                values = scorer.normalize(state, pod, nodes, values)
            weight = scorer.weight
            if values.count(values[0]) != len(values):
                totals = [
                    total + value * weight for total, value in zip(totals, values, strict=True)
                ]
        return totals


def _walk(
    ordered: Sequence[NodeInfo], statuses: list[Status | None], wanted: int, diagnosis: Diagnosis
) -> list[NodeInfo]:
    feasible: list[NodeInfo] = []
    explicit = diagnosis.node_to_status.statuses
    for node in ordered:
        status = statuses[node.index]
        if status is None:
            feasible.append(node)
            if len(feasible) == wanted:
                break
        else:
            explicit[node.name] = status
            diagnosis.add(status)
    return feasible


def _first_rejection(
    hooks: Sequence[tuple[str, Callable[..., Any]]],
    state: CycleState,
    pod: PodInfo,
    node: NodeInfo,
) -> Status | None:
    for name, hook in hooks:
        status: Status | None = hook(state, pod, node)
        if status is not None:
            if status.rejected:
                return status.by(name)
            message = f'running "{name}" filter plugin: {status.message}'
            return Status(fwk.ERROR, (message,), name)
    return None
