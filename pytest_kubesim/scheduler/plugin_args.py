"""The arguments of default plugins in a configuration (`pluginConfig`): checked, and handed over.

The law: what upstream refuses is refused, in its words; what has no meaning without a wall clock
(`filterTimeout`) is checked and has no effect.

Follows `pkg/scheduler/apis/config/validation/validation_pluginargs.go` and
`pkg/scheduler/apis/config/v1/defaults.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.objectmeta import validate_label_name
from pytest_kubesim.scheduler import resource_scores as scores
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.validation import ErrorList, Path

Arguments = dict[str, Any]
"""What a plugin is made with."""

_STRATEGIES = (
    scores.LEAST_ALLOCATED,
    scores.MOST_ALLOCATED,
    scores.REQUESTED_TO_CAPACITY_RATIO,
)
_ACTIONS = ("DoNotSchedule", "ScheduleAnyway")


def _preemption(args: Object, path: Path) -> tuple[Arguments, ErrorList]:
    percentage = args.get("minCandidateNodesPercentage", 10)
    absolute = args.get("minCandidateNodesAbsolute", 100)
    of_percentage = path.child("minCandidateNodesPercentage")
    of_absolute = path.child("minCandidateNodesAbsolute")
    errors: ErrorList = []
    if not 0 <= percentage <= 100:
        errors.append(field.invalid(of_percentage, percentage, "not in valid range [0, 100]"))
    if absolute < 0:
        errors.append(field.invalid(of_absolute, absolute, "not in valid range [0, inf)"))
    if percentage == 0 and absolute == 0:
        text = "cannot be zero at the same time as "
        errors += [
            field.invalid(of_percentage, 0, f"{text}minCandidateNodesAbsolute"),
            field.invalid(of_absolute, 0, f"{text}minCandidateNodesPercentage"),
        ]
    return {
        "min_candidate_nodes_percentage": percentage,
        "min_candidate_nodes_absolute": absolute,
    }, errors


def _inter_pod_affinity(args: Object, path: Path) -> tuple[Arguments, ErrorList]:
    weight = args.get("hardPodAffinityWeight", 1)
    errors: ErrorList = []
    if not 0 <= weight <= 100:
        at = path.child("hardPodAffinityWeight")
        errors.append(field.invalid(at, weight, "not in valid range [0, 100]"))
    return {
        "hard_pod_affinity_weight": weight,
        "ignore_preferred_terms_of_existing_pods": bool(
            args.get("ignorePreferredTermsOfExistingPods")
        ),
    }, errors


def _node_affinity(args: Object, path: Path) -> tuple[Arguments, ErrorList]:
    added: Object | None = args.get("addedAffinity")
    required = (added or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    errors: ErrorList = []
    if required is not None and not required.get("nodeSelectorTerms"):
        at = path.child("addedAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
        errors.append(field.required(at.child("nodeSelectorTerms")))
    return {"added_affinity": added}, errors


def _balanced(args: Object, path: Path) -> tuple[Arguments, ErrorList]:
    weights = scores.weights_of(args.get("resources"))
    errors: ErrorList = []
    names: list[str] = [entry["name"] for entry in args.get("resources") or ()]
    for i, name in enumerate(names):
        at = path.child("resources").index(i)
        if name in names[:i]:
            errors.append(field.duplicate(at.child("name"), name))
        if weights[name] != 1:
            errors.append(field.invalid(at.child("weight"), weights[name], "must be 1"))
    return {"resources": tuple(weights)}, errors


def _fit(args: Object, path: Path) -> tuple[Arguments, ErrorList]:
    ignored: list[str] = args.get("ignoredResources") or []
    groups: list[str] = args.get("ignoredResourceGroups") or []
    errors: ErrorList = []
    for i, name in enumerate(ignored):
        errors += validate_label_name(name, path.child("ignoredResources").index(i))
    for i, group in enumerate(groups):
        at = path.child("ignoredResourceGroups").index(i)
        if "/" in group:
            errors.append(field.invalid(at, group, "resource group name can't contain '/'"))
        errors += validate_label_name(group, at)
    strategy: Object | None = args.get("scoringStrategy")
    if strategy is not None:
        errors += _strategy_errors(strategy, path.child("scoringStrategy"))
    return {
        "scoring_strategy": strategy,
        "ignored_resources": ignored,
        "ignored_resource_groups": groups,
    }, errors


def _strategy_errors(strategy: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    kind = strategy.get("type") or ""
    if kind not in _STRATEGIES:
        errors.append(field.not_supported(path.child("type"), kind, _STRATEGIES))
    for i, entry in enumerate(strategy.get("resources") or ()):
        weight = entry.get("weight") or 1
        if not 0 < weight <= 100:
            text = f"resource weight of {entry['name']} not in valid range (0, 100]"
            at = path.child("resources").index(i).child("weight")
            errors.append(field.invalid(at, weight, text))
    ratio = strategy.get("requestedToCapacityRatio")
    at = path.child("requestedToCapacityRatio")
    if kind == scores.REQUESTED_TO_CAPACITY_RATIO:
        if ratio is None:
            text = "must be specified when type is RequestedToCapacityRatio"
            errors.append(field.required(at, text))
        else:
            errors += _shape_errors(ratio.get("shape") or [], at.child("shape"))
    elif ratio is not None:
        text = "must be nil when type is not RequestedToCapacityRatio"
        errors.append(field.forbidden(at, text))
    return errors


def _shape_errors(shape: Sequence[Object], path: Path) -> ErrorList:
    if not shape:
        return [field.required(path, "at least one point must be specified")]
    errors: ErrorList = []
    points = [(p.get("utilization") or 0, p.get("score") or 0) for p in shape]
    for i in range(1, len(points)):
        if points[i - 1][0] >= points[i][0]:
            at = path.index(i).child("utilization")
            text = "values must be sorted in increasing order"
            errors.append(field.invalid(at, points[i][0], text))
            break
    for i, (utilization, score) in enumerate(points):
        for name, value, most in (("utilization", utilization, 100), ("score", score, 10)):
            if not 0 <= value <= most:
                text = f"not in valid range [0, {most}]"
                errors.append(field.invalid(path.index(i).child(name), value, text))
    return errors


def _spread(args: Object, path: Path) -> tuple[Arguments, ErrorList]:
    kind = args.get("defaultingType") or "System"
    constraints: list[Object] = args.get("defaultConstraints") or []
    errors: ErrorList = []
    at = path.child("defaultingType")
    if kind not in ("System", "List"):
        errors.append(field.not_supported(at, kind, ["System", "List"]))
    elif kind == "System" and constraints:
        errors.append(field.invalid(at, kind, "when .defaultConstraints are not empty"))
    seen: list[tuple[str, str]] = []
    for i, constraint in enumerate(constraints):
        at = path.child("defaultConstraints").index(i)
        errors += _constraint_errors(constraint, at)
        pair = constraint.get("topologyKey") or "", constraint.get("whenUnsatisfiable") or ""
        if pair in seen:
            errors.append(field.duplicate(at, f"{{{pair[0]}, {pair[1]}}}"))
        seen.append(pair)
    return {"default_constraints": constraints if kind == "List" else None}, errors


def _constraint_errors(constraint: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    skew = constraint.get("maxSkew") or 0
    if skew <= 0:
        errors.append(field.invalid(path.child("maxSkew"), skew, "not in valid range (0, inf)"))
    key = constraint.get("topologyKey") or ""
    if not key:
        errors.append(field.required(path.child("topologyKey"), "can not be empty"))
    else:
        errors += validate_label_name(key, path.child("topologyKey"))
    action = constraint.get("whenUnsatisfiable") or ""
    if not action:
        errors.append(field.required(path.child("whenUnsatisfiable"), "can not be empty"))
    elif action not in _ACTIONS:
        errors.append(field.not_supported(path.child("whenUnsatisfiable"), action, _ACTIONS))
    if constraint.get("labelSelector") is not None:
        text = "constraint must not define a selector, as they deduced for each pod"
        errors.append(field.forbidden(path.child("labelSelector"), text))
    return errors


def _volumes(args: Object, path: Path) -> tuple[Arguments, ErrorList]:
    seconds = args.get("bindTimeoutSeconds", 600)
    errors: ErrorList = []
    if seconds < 0:
        text = "invalid BindTimeoutSeconds, should not be a negative value"
        errors.append(field.invalid(path.child("bindTimeoutSeconds"), seconds, text))
    made: Arguments = {"bind_timeout_ns": seconds * NS}
    shape: list[Object] = args.get("shape") or []
    if shape:
        errors += _shape_errors(shape, path.child("shape"))
        made["shape"] = shape
    return made, errors


def _devices(args: Object, path: Path) -> tuple[Arguments, ErrorList]:
    errors: ErrorList = []
    made: Arguments = {}
    for name, least_ns, text in (
        ("filterTimeout", 0, "must be zero or positive"),
        ("bindingTimeout", NS, "must be at least 1 second"),
    ):
        value: str | None = args.get(name)
        if value is None:
            continue
        try:
            duration_ns = timestamps.parse_duration(value)
        except ValueError as error:
            errors.append(field.invalid(path.child(name), value, str(error)))
            continue
        if duration_ns < least_ns:
            errors.append(field.invalid(path.child(name), value, text))
        elif name == "bindingTimeout":
            made["binding_timeout_ns"] = duration_ns
    return made, errors


KINDS: Mapping[
    str, tuple[frozenset[str], Callable[[Object, Path], tuple[Arguments, ErrorList]]]
] = {
    "DefaultPreemption": (
        frozenset({"minCandidateNodesPercentage", "minCandidateNodesAbsolute"}), _preemption
    ),
    "DynamicResources": (frozenset({"filterTimeout", "bindingTimeout"}), _devices),
    "InterPodAffinity": (
        frozenset({"hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"}),
        _inter_pod_affinity,
    ),
    "NodeAffinity": (frozenset({"addedAffinity"}), _node_affinity),
    "NodeResourcesBalancedAllocation": (frozenset({"resources"}), _balanced),
    "NodeResourcesFit": (
        frozenset({"ignoredResources", "ignoredResourceGroups", "scoringStrategy"}), _fit
    ),
    "PodTopologySpread": (frozenset({"defaultConstraints", "defaultingType"}), _spread),
    "VolumeBinding": (frozenset({"bindTimeoutSeconds", "shape"}), _volumes),
}
"""By plugin: the fields of its `<plugin>Args`, and the check that makes its arguments of them."""
