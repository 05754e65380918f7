"""The arithmetic of a Deployment's rollout: which ReplicaSet is new, who may have how many pods.

Pure functions of objects.  Follows `pkg/controller/deployment/util/deployment_util.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import intstr, meta
from pytest_kubesim.controller_manager import fields, semantic

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
ROLLBACK_TO = "deprecated.deployment.rollback.to"
TEMPLATE_HASH = "pod-template-hash"

MAX_REVISION_HISTORY_CHARS = 2000
MAX_INT32 = 2**31 - 1

NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
        ROLLBACK_TO,
    }
)
"""Annotations of a Deployment that its ReplicaSets don't get."""


def replicas(obj: Object) -> int:
    """`spec.replicas`."""
    return fields.number(fields.spec(obj), "replicas")


def observed(obj: Object, count: str) -> int:
    """A count of the status."""
    return fields.number(fields.status(obj), count)


def total(sets: Iterable[Object]) -> int:
    """How many pods the sets ought to have."""
    return sum(replicas(entry) for entry in sets)


def total_observed(sets: Iterable[Object], count: str) -> int:
    """The sum of a count of their status."""
    return sum(observed(entry, count) for entry in sets)


def active(sets: Iterable[Object]) -> list[Object]:
    """Those that ought to have pods."""
    return [entry for entry in sets if replicas(entry) > 0]


def by_creation(sets: Iterable[Object]) -> list[Object]:
    """Oldest first, then by name."""
    return sorted(sets, key=_age)


def _age(obj: Object) -> tuple[str, str]:
    return (meta.creation_timestamp(obj) or "", meta.name(obj))


def by_size(sets: Iterable[Object], *, newer_first: bool) -> list[Object]:
    """Largest first; of equal ones the newer or the older first."""
    ordered = sorted(sets, key=_age, reverse=newer_first)
    return sorted(ordered, key=replicas, reverse=True)


# -- the strategy --------------------------------------------------------------------------------


def is_rolling_update(deployment: Object) -> bool:
    """Whether its strategy is RollingUpdate."""
    return fields.mapping(deployment["spec"], "strategy").get("type") == "RollingUpdate"


def resolve_fenceposts(
    max_surge: int | str | None, max_unavailable: int | str | None, desired: int
) -> tuple[int, int]:
    """Both as numbers of pods: surge rounded up, unavailable down, not both 0."""
    surge = intstr.scaled_value(0 if max_surge is None else max_surge, desired, round_up=True)
    unavailable = intstr.scaled_value(
        0 if max_unavailable is None else max_unavailable, desired, round_up=False
    )
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, unavailable


def _fenceposts(deployment: Object) -> tuple[int, int]:
    rolling = fields.mapping(fields.mapping(deployment["spec"], "strategy"), "rollingUpdate")
    return resolve_fenceposts(
        rolling.get("maxSurge"), rolling.get("maxUnavailable"), replicas(deployment)
    )


def max_surge(deployment: Object) -> int:
    """How many pods there may be beyond those wanted."""
    return _fenceposts(deployment)[0] if is_rolling_update(deployment) else 0


def max_unavailable(deployment: Object) -> int:
    """How many of the pods wanted may be missing."""
    wanted = replicas(deployment)
    if not is_rolling_update(deployment) or wanted == 0:
        return 0
    return min(_fenceposts(deployment)[1], wanted)


def has_progress_deadline(deployment: Object) -> bool:
    """Whether there is a time within which it must get on."""
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    return seconds is not None and seconds != MAX_INT32


def has_revision_history_limit(deployment: Object) -> bool:
    """Whether old ReplicaSets are cleaned up."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    return limit is not None and limit != MAX_INT32


# -- which set is which --------------------------------------------------------------------------


def equal_ignoring_hash(left: Object, right: Object) -> bool:
    """Whether two pod templates differ in no more than the label of the hash."""
    return semantic.equal(_without_hash(left), _without_hash(right))


def _without_hash(template: Object) -> Object:
    labels = meta.labels(template)
    if TEMPLATE_HASH not in labels:
        return template
    kept = {key: value for key, value in labels.items() if key != TEMPLATE_HASH}
    return {**template, "metadata": {**template["metadata"], "labels": kept}}


def split(deployment: Object, sets: Sequence[Object]) -> tuple[Object | None, list[Object]]:
    """The set of the present template (the oldest of them), and the others, oldest first."""
    ordered = by_creation(sets)
    template = deployment["spec"]["template"]
    new = next(
        (rs for rs in ordered if equal_ignoring_hash(rs["spec"]["template"], template)), None
    )
    return new, [rs for rs in ordered if rs is not new]


def active_or_latest(new: Object | None, old: Sequence[Object]) -> Object | None:
    """The one set that has pods; the new or else the latest if none has; None if several have."""
    if new is None and not old:
        return None
    latest_first = by_creation(old)[::-1]
    found = active([*latest_first, *([new] if new is not None else [])])
    if not found:
        return new if new is not None else latest_first[0]
    return found[0] if len(found) == 1 else None


def is_saturated(deployment: Object, new: Object | None) -> bool:
    """Whether the new set has all the pods, available."""
    if new is None:
        return False
    wanted = replicas(deployment)
    return (
        replicas(new) == wanted
        and _integer(meta.annotations(new).get(DESIRED_REPLICAS)) == wanted
        and observed(new, "availableReplicas") == wanted
    )


# -- how many ------------------------------------------------------------------------------------


def new_set_replicas(deployment: Object, all_sets: Iterable[Object], new: Object) -> int:
    """How many pods the new set may have now (`NewRSNewReplicas`)."""
    wanted = replicas(deployment)
    if not is_rolling_update(deployment):
        return wanted
    rolling = fields.mapping(deployment["spec"]["strategy"], "rollingUpdate")
    surge = intstr.scaled_value(rolling.get("maxSurge"), wanted, round_up=True)
    room = wanted + surge - total(all_sets)
    if room <= 0:
        return replicas(new)
    return replicas(new) + min(room, wanted - replicas(new))


def proportion(replica_set: Object, deployment: Object, to_add: int, added: int) -> int:
    """The set's part of `to_add` pods, of which others got `added` (`GetReplicaSetProportion`)."""
    if replicas(replica_set) == 0 or to_add in {0, added}:
        return 0
    fraction = _fraction(replica_set, deployment)
    allowed = to_add - added
    return min(fraction, allowed) if to_add > 0 else max(fraction, allowed)


def _fraction(replica_set: Object, deployment: Object) -> int:
    size = replicas(replica_set)
    if replicas(deployment) == 0:
        return -size
    before = _annotated(replica_set, MAX_REPLICAS) or observed(deployment, "replicas")
    if before == 0:
        return 0
    new_size = float(size * (replicas(deployment) + max_surge(deployment))) / float(before)
    return int(new_size + 0.5) - size


def _annotated(replica_set: Object, key: str) -> int | None:
    text = meta.annotations(replica_set).get(key)
    if text is None or not (text.isascii() and text.isdigit()):
        return None
    number = int(text)
    return number if number <= MAX_INT32 else None


def desired_replicas(replica_set: Object) -> int | None:
    """What the Deployment wanted when it scaled the set last."""
    return _annotated(replica_set, DESIRED_REPLICAS)


# -- revisions and annotations -------------------------------------------------------------------


def _integer(text: str | None) -> int | None:
    try:
        return int(text) if text and text.strip() == text and "_" not in text else None
    except ValueError:
        return None


def revision(obj: Object) -> int | None:
    """Its revision: 0 without the annotation, None where that is no number."""
    text = meta.annotations(obj).get(REVISION)
    return 0 if text is None else _integer(text)


def max_revision(sets: Iterable[Object]) -> int:
    """The highest revision among the sets."""
    return max((revision(rs) or 0 for rs in sets), default=0)


def last_revision(sets: Iterable[Object]) -> int:
    """The second highest revision among the sets."""
    highest = second = 0
    for rs in sets:
        number = revision(rs)
        if number is None:
            continue
        if number >= highest:
            highest, second = number, highest
        elif number > second:
            second = number
    return second


def with_replicas_annotations(replica_set: Object, desired: int, maximum: int) -> Object:
    """The set with what the Deployment wanted; itself if it says so."""
    wanted = {DESIRED_REPLICAS: str(desired), MAX_REPLICAS: str(maximum)}
    old = meta.annotations(replica_set)
    if all(old.get(key) == value for key, value in wanted.items()):
        return replica_set
    return meta.with_metadata(replica_set, annotations={**old, **wanted})


def copied_annotations(obj: Object) -> dict[str, str]:
    """Its annotations that a Deployment and its ReplicaSets share."""
    return {k: v for k, v in meta.annotations(obj).items() if k not in NOT_COPIED}


def annotate_new_set(
    deployment: Object, replica_set: Object, new_revision: int, *, exists: bool
) -> Object:
    """The new set with its annotations (`SetNewReplicaSetAnnotations`); itself if it has them."""
    old = meta.annotations(replica_set)
    new = {**old, **copied_annotations(deployment)}
    old_text = old.get(REVISION)
    old_revision = _integer(old_text) if old_text else 0
    if old_revision is None:
        return replica_set
    if old_revision < new_revision:
        new[REVISION] = str(new_revision)
        if old_text is not None:
            _append_history(new, old_text)
    result = replica_set if new == old else meta.with_metadata(replica_set, annotations=new)
    if not exists:
        desired = replicas(deployment)
        result = with_replicas_annotations(result, desired, desired + max_surge(deployment))
    return result


def _append_history(annotations: dict[str, str], old_revision: str) -> None:
    history = annotations.get(REVISION_HISTORY, "")
    if not history:
        annotations[REVISION_HISTORY] = old_revision
        return
    revisions = history.split(",")
    length = len(history) + len(old_revision) + 1
    start = 0
    while length > MAX_REVISION_HISTORY_CHARS and start < len(revisions):
        length -= len(revisions[start]) + 1
        start += 1
    if length <= MAX_REVISION_HISTORY_CHARS:
        annotations[REVISION_HISTORY] = ",".join([*revisions[start:], old_revision])
