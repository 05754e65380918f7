"""Whether a pod may be on a node: node selector, required node affinity, taints and tolerations.

Pure functions.  Follows `component-helpers/scheduling/corev1/{helpers,nodeaffinity}`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.apimachinery.golang import parse_int
from pytest_kubesim.controller_manager import fields

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

NO_SCHEDULE, NO_EXECUTE = "NoSchedule", "NoExecute"


def tolerates(toleration: Object, taint: Object) -> bool:
    """Whether one toleration tolerates one taint."""
    effect = toleration.get("effect")
    if effect and effect != taint.get("effect"):
        return False
    key = toleration.get("key")
    if key and key != taint.get("key"):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    if operator == "Equal":
        return fields.text(toleration, "value") == fields.text(taint, "value")
    return False


def _number(text: str) -> int | None:
    try:
        return parse_int(text)
    except ValueError:
        return None


def untolerated(
    taints: Sequence[Object], tolerations: Sequence[Object], effects: Collection[str]
) -> Object | None:
    """The first taint with one of the effects that nothing tolerates."""
    for taint in taints:
        if taint.get("effect") in effects and not any(
            tolerates(toleration, taint) for toleration in tolerations
        ):
            return taint
    return None


def affinity_matches(pod_spec: Object, node: Object) -> bool:
    """Whether node selector and required node affinity let the pod be there."""
    labels = meta.labels(node)
    for key, value in fields.strings(pod_spec, "nodeSelector").items():
        if labels.get(key) != value:
            return False
    affinity = fields.mapping(fields.mapping(pod_spec, "affinity"), "nodeAffinity")
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(
        _term_matches(term, labels, meta.name(node))
        for term in fields.objects(required, "nodeSelectorTerms")
    )


def _term_matches(term: Object, labels: dict[str, str], name: str) -> bool:
    expressions = fields.objects(term, "matchExpressions")
    by_field = fields.objects(term, "matchFields")
    if not expressions and not by_field:
        return False
    return all(_matches(expression, labels) for expression in expressions) and all(
        _matches(expression, {"metadata.name": name}) for expression in by_field
    )


def _matches(expression: Object, labels: dict[str, str]) -> bool:
    key, operator = expression["key"], expression["operator"]
    values = fields.texts(expression, "values")
    value = labels.get(key)
    if operator == "In":
        return value is not None and value in values
    if operator == "NotIn":
        return value is None or value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if value is None or len(values) != 1:
        return False
    mine, limit = _number(value), _number(values[0])
    if mine is None or limit is None:
        return False
    return mine > limit if operator == "Gt" else operator == "Lt" and mine < limit
