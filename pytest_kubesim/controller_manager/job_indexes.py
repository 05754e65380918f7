"""The completion indexes of an Indexed Job: as intervals, as text, and on its pods.

Pure functions.  Intervals are ordered, disjoint pairs (first, last), both inclusive; their text is
`1,3-5,7`.  Follows `pkg/controller/job/indexed_job_utils.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.apimachinery.golang import atoi
from pytest_kubesim.controller_manager import fields, pod_ranking

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

Intervals: TypeAlias = tuple[tuple[int, int], ...]

INDEX = "batch.kubernetes.io/job-completion-index"
FAILURE_COUNT = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURE_COUNT = "batch.kubernetes.io/job-index-ignored-failure-count"
ENVIRONMENT_NAME = "JOB_COMPLETION_INDEX"
UNKNOWN = -1

MAX_GENERATED_NAME = 58
_MAX_INT32 = 2**31 - 1


def merge(left: Intervals, right: Iterable[tuple[int, int]]) -> Intervals:
    """Both together; neighbours become one."""
    result: list[tuple[int, int]] = []
    for first, last in sorted([*left, *right]):
        if not result or first > result[-1][1] + 1:
            result.append((first, last))
        elif result[-1][1] < last:
            result[-1] = (result[-1][0], last)
    return tuple(result)


def with_indexes(intervals: Intervals, indexes: Iterable[int]) -> Intervals:
    """The intervals with some indexes more."""
    return merge(intervals, ((index, index) for index in indexes))


def total(intervals: Intervals) -> int:
    """How many indexes there are."""
    return sum(last - first + 1 for first, last in intervals)


def has(intervals: Intervals, index: int) -> bool:
    """Whether the index is in one of them."""
    return any(first <= index <= last for first, last in intervals)


def to_text(intervals: Intervals) -> str:
    """As the status shows them."""
    parts: list[str] = []
    for first, last in intervals:
        if last > first + 1:
            parts.append(f"{first}-{last}")
        else:
            parts.extend(str(index) for index in range(first, last + 1))
    return ",".join(parts)


def parse(text: str, completions: int) -> Intervals:
    """As the status says; what is no index of the Job any more is cut off."""
    result: list[tuple[int, int]] = []
    for part in text.split(",") if text else ():
        limits = part.split("-")
        try:
            first = atoi(limits[0])
        except ValueError:
            continue
        if first >= completions:
            break
        last = first
        if len(limits) > 1:
            try:
                last = min(atoi(limits[1]), completions - 1)
            except ValueError:
                continue
        if result and result[-1][1] == first - 1:
            result[-1] = (result[-1][0], last)
        else:
            result.append((first, last))
    return tuple(result)


# -- pods ----------------------------------------------------------------------------------------


def index_of(pod: Object) -> int:
    """The index that a pod's annotation says, or -1."""
    text = meta.annotations(pod).get(INDEX)
    if text is None:
        return UNKNOWN
    try:
        return max(atoi(text), UNKNOWN)
    except ValueError:
        return UNKNOWN


def indexes_of(several: Iterable[Object]) -> set[int]:
    """The indexes that pods have."""
    return {index_of(pod) for pod in several} - {UNKNOWN}


def _count(pod: Object, annotation: str) -> int:
    try:
        count = atoi(meta.annotations(pod).get(annotation, "0"))
    except ValueError:
        return 0
    return count if 0 <= count <= _MAX_INT32 else 0


def failure_count(pod: Object) -> int:
    """How often its index had failed before it."""
    return _count(pod, FAILURE_COUNT)


def ignored_failure_count(pod: Object) -> int:
    """How often its index had failed before it without that being counted."""
    return _count(pod, IGNORED_FAILURE_COUNT)


def absolute_failure_count(pod: Object) -> int:
    """How often its index had failed before it, counted or not."""
    return failure_count(pod) + ignored_failure_count(pod)


def first_pending(taken: Intervals, count: int, completions: int) -> list[int]:
    """The first `count` indexes that are not taken."""
    result: list[int] = []
    candidate = 0
    for first, last in taken:
        while candidate < completions and len(result) < count and candidate < first:
            result.append(candidate)
            candidate += 1
        candidate = max(candidate, last + 1)
    while candidate < completions and len(result) < count:
        result.append(candidate)
        candidate += 1
    return result


def split_duplicates(
    several: Sequence[Object], completions: int
) -> tuple[list[Object], list[Object]]:
    """Pods to remove (without an index, beyond the last, second of an index), and the others."""
    by_index: dict[int, list[Object]] = {}
    for pod in sorted(several, key=index_of):
        by_index.setdefault(index_of(pod), []).append(pod)
    removed: list[Object] = []
    left: list[Object] = []
    beyond: list[Object] = []
    for index, group in by_index.items():
        if index >= completions:
            beyond += group
        elif index == UNKNOWN:
            removed += group
        elif len(group) == 1:
            left += group
        else:
            ordered = pod_ranking.active_pods(group)
            removed += ordered[:-1]
            left.append(ordered[-1])
    return beyond + removed, left


def generate_name(job_name: str, index: int) -> str:
    """The `generateName` of the pods of an index."""
    suffix = f"-{index}-"
    return job_name[: MAX_GENERATED_NAME - len(suffix)] + suffix


def with_environment(template: Object) -> Object:
    """The template whose containers know their index."""
    spec = dict(template["spec"])
    for key in ("initContainers", "containers"):
        if key in spec:
            spec[key] = [_with_variable(container) for container in fields.objects(spec, key)]
    return {**template, "spec": spec}


def _with_variable(container: Object) -> Object:
    env = fields.objects(container, "env")
    if any(variable["name"] == ENVIRONMENT_NAME for variable in env):
        return container
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
    return {**container, "env": [*env, {"name": ENVIRONMENT_NAME, "valueFrom": source}]}


def with_index(template: Object, job_name: str, index: int) -> Object:
    """The template for the pods of one index."""
    text = str(index)
    annotated = meta.with_metadata(
        template,
        annotations={**meta.annotations(template), INDEX: text},
        labels={**meta.labels(template), INDEX: text},
    )
    return {**annotated, "spec": {**template["spec"], "hostname": f"{job_name}-{index}"}}
