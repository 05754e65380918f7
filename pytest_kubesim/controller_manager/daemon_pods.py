"""Which nodes a DaemonSet wants pods on, what the pods look like, and which of them may go.

Pure functions.  Follows `pkg/controller/daemon/util/daemonset_util.go` and the predicates of
`daemon_controller.go` and `update.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_kubesim.apimachinery import intstr, meta
from pytest_kubesim.apimachinery.golang import parse_int
from pytest_kubesim.controller_manager import fields, node_fit

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

HASH_LABEL = "controller-revision-hash"
GENERATION_LABEL = "pod-template-generation"
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"

_TOLERATED = (
    ("node.kubernetes.io/not-ready", node_fit.NO_EXECUTE),
    ("node.kubernetes.io/unreachable", node_fit.NO_EXECUTE),
    ("node.kubernetes.io/disk-pressure", node_fit.NO_SCHEDULE),
    ("node.kubernetes.io/memory-pressure", node_fit.NO_SCHEDULE),
    ("node.kubernetes.io/pid-pressure", node_fit.NO_SCHEDULE),
    ("node.kubernetes.io/unschedulable", node_fit.NO_SCHEDULE),
)
_TOLERATED_ON_HOST_NETWORK = ("node.kubernetes.io/network-unavailable", node_fit.NO_SCHEDULE)


def tolerations(pod_spec: Object) -> list[Object]:
    """The template's tolerations and those of every daemon."""
    result = list(fields.objects(pod_spec, "tolerations"))
    added = [*_TOLERATED]
    if pod_spec.get("hostNetwork"):
        added.append(_TOLERATED_ON_HOST_NETWORK)
    for key, effect in added:
        wanted = {"key": key, "operator": "Exists", "effect": effect}
        for position, present in enumerate(result):
            same = (present.get("key"), present.get("effect"), present.get("operator"))
            if same == (key, effect, "Exists") and not present.get("value"):
                result[position] = wanted
                break
        else:
            result.append(wanted)
    return result


class Fit(NamedTuple):
    """Whether a node should get a daemon pod, and whether one that is there may stay."""

    should_run: bool
    should_continue: bool


class Predicates:
    """What decides where the pods of one DaemonSet may be, worked out once for each node."""

    __slots__ = ("_fits", "_spec", "_tolerations")

    def __init__(self, daemon_set: Object) -> None:
        self._spec = fields.mapping(daemon_set["spec"]["template"], "spec")
        self._tolerations = tolerations(self._spec)
        self._fits: dict[str, tuple[Object, Fit]] = {}

    def are_of(self, daemon_set: Object) -> bool:
        """Whether they are those of the set as it is now."""
        return self._spec == fields.mapping(daemon_set["spec"]["template"], "spec")

    def fit(self, node: Object) -> Fit:
        """Whether this node (`nodeShouldRunDaemonPod`)."""
        name = node["metadata"]["name"]
        known = self._fits.get(name)
        if known is None or known[0] is not node:
            known = self._fits[name] = node, self._fit(node)
        return known[1]

    def _fit(self, node: Object) -> Fit:
        pinned = self._spec.get("nodeName")
        if pinned and pinned != meta.name(node):
            return Fit(should_run=False, should_continue=False)
        if not node_fit.affinity_matches(self._spec, node):
            return Fit(should_run=False, should_continue=False)
        taints = fields.objects(fields.spec(node), "taints")
        if not taints:
            return Fit(should_run=True, should_continue=True)
        effects = (node_fit.NO_EXECUTE, node_fit.NO_SCHEDULE)
        if node_fit.untolerated(taints, self._tolerations, effects) is None:
            return Fit(should_run=True, should_continue=True)
        evicted = node_fit.untolerated(taints, self._tolerations, (node_fit.NO_EXECUTE,))
        return Fit(should_run=False, should_continue=evicted is None)


# -- the pods ------------------------------------------------------------------------------------


def template_generation(daemon_set: Object) -> int | None:
    """The generation that an annotation of old says."""
    text = meta.annotations(daemon_set).get(TEMPLATE_GENERATION)
    try:
        return None if text is None else parse_int(text)
    except ValueError:
        return None


def pod_template(daemon_set: Object, hash_: str) -> Object:
    """The template of its pods: with tolerations and the labels of its revision."""
    template = daemon_set["spec"]["template"]
    spec = fields.mapping(template, "spec")
    labels = dict(meta.labels(template))
    generation = template_generation(daemon_set)
    if generation is not None:
        labels[GENERATION_LABEL] = str(generation)
    if hash_:
        labels[HASH_LABEL] = hash_
    return {
        **meta.with_metadata(template, labels=labels),
        "spec": {**spec, "tolerations": tolerations(spec)},
    }


def pinned_to(template: Object, node_name: str) -> Object:
    """The template with an affinity to that node alone, in place of the required one it has."""
    terms = [
        {
            "matchFields": [
                {"key": "metadata.name", "operator": "In", "values": [node_name]}
            ]
        }
    ]
    path = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    required: dict[str, Any] = {"nodeSelectorTerms": terms}
    return meta.set_path(template, ("spec", *path), required)


def target_node(pod: Object) -> str | None:
    """The node a pod is on or is meant for."""
    spec = fields.spec(pod)
    if name := fields.text(spec, "nodeName"):
        return name
    affinity = fields.mapping(fields.mapping(spec, "affinity"), "nodeAffinity")
    required = fields.mapping(affinity, "requiredDuringSchedulingIgnoredDuringExecution")
    for term in fields.objects(required, "nodeSelectorTerms"):
        for expression in fields.objects(term, "matchFields"):
            if expression["key"] == "metadata.name" and expression["operator"] == "In":
                values = fields.texts(expression, "values")
                return values[0] if len(values) == 1 else None
    return None


def is_updated(pod: Object, hash_: str, generation: int | None) -> bool:
    """Whether it is of the present template."""
    labels = meta.labels(pod)
    if hash_ and labels.get(HASH_LABEL) == hash_:
        return True
    return generation is not None and labels.get(GENERATION_LABEL) == str(generation)


def by_age(several: Sequence[Object]) -> list[Object]:
    """Those bound to a node first, then the oldest."""
    if len(several) < 2:
        return list(several)
    return sorted(
        several,
        key=lambda pod: (
            not fields.text(fields.spec(pod), "nodeName"),
            meta.creation_timestamp(pod) or "",
            meta.name(pod),
        ),
    )


def new_and_old(
    several: Sequence[Object], hash_: str, generation: int | None
) -> tuple[Object | None, Object | None] | None:
    """The new and the old pod of a node; None where there are more of a kind than one."""
    new: Object | None = None
    old: Object | None = None
    for pod in several:
        if meta.deletion_timestamp(pod):
            continue
        if is_updated(pod, hash_, generation):
            if new is not None:
                return None
            new = pod
        else:
            if old is not None:
                return None
            old = pod
    return new, old


# -- the rolling update --------------------------------------------------------------------------


def _rolling(daemon_set: Object) -> Object | None:
    strategy = fields.mapping(daemon_set["spec"], "updateStrategy")
    if strategy.get("type") != "RollingUpdate":
        return None
    return strategy.get("rollingUpdate")


def surge_count(daemon_set: Object, desired: int) -> int:
    """`maxSurge` of so many nodes.  Raises `ValueError`."""
    rolling = _rolling(daemon_set)
    if rolling is None or rolling.get("maxSurge") is None:
        return 0
    return intstr.scaled_value(rolling["maxSurge"], desired, round_up=True)


def unavailable_count(daemon_set: Object, desired: int) -> int:
    """`maxUnavailable` of so many nodes.  Raises `ValueError`."""
    rolling = _rolling(daemon_set)
    if rolling is None:
        return 0
    return intstr.scaled_value(rolling.get("maxUnavailable"), desired, round_up=True)


def allows_surge(daemon_set: Object) -> bool:
    """Whether a node may have an old and a new pod for a while."""
    try:
        return surge_count(daemon_set, 1) > 0
    except ValueError:
        return False
