"""Whether a node suits a pod by its labels, its name and its taints.

A node selector term without expressions and fields matches nothing; terms are alternatives,
requirements within a term all hold.

Follows `component-helpers/scheduling/corev1/{helpers,nodeaffinity/nodeaffinity}.go` and
`api/core/v1/toleration.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery.golang import parse_int

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

TermTest = Callable[[Mapping[str, str], str], bool]

NOTHING: dict[str, Any] = {}
"""What an absent object reads as; never changed."""

NODE_NAME_FIELD = "metadata.name"
DO_NOT_SCHEDULE = ("NoSchedule", "NoExecute")


class NodeSelector:
    """A node selector, compiled: `matches(labels, name)`."""

    __slots__ = ("_terms",)

    def __init__(self, terms: Sequence[Object]) -> None:
        self._terms = tuple(term_test(term) for term in terms)

    def matches(self, labels: Mapping[str, str], name: str) -> bool:
        """Whether a node of these labels and this name is selected."""
        return any(test(labels, name) for test in self._terms)


def term_test(term: Object) -> TermTest:
    """A compiled term; one that is empty or malformed matches nothing."""
    expressions: list[Object] = term.get("matchExpressions") or []
    fields: list[Object] = term.get("matchFields") or []
    if not expressions and not fields:
        return lambda _labels, _name: False
    label_tests = [requirement_test(expression) for expression in expressions]
    field_tests = [requirement_test(field) for field in fields]

    def test(labels: Mapping[str, str], name: str) -> bool:
        for label_test in label_tests:
            if not label_test(labels):
                return False
        if field_tests:
            values = {NODE_NAME_FIELD: name}
            return all(field_test(values) for field_test in field_tests)
        return True

    return test


def requirement_test(requirement: Object) -> Callable[[Mapping[str, str]], bool]:
    """A compiled node selector requirement; a malformed one matches nothing."""
    key: str = requirement.get("key", "")
    operator: str = requirement.get("operator", "")
    values: list[str] = list(requirement.get("values") or [])
    if operator == "In":
        return lambda labels: labels.get(key) in values
    if operator == "NotIn":
        return lambda labels: labels.get(key) not in values
    if operator == "Exists":
        return lambda labels: key in labels
    if operator == "DoesNotExist":
        return lambda labels: key not in labels
    limit = _integer(values[0]) if len(values) == 1 and operator in {"Gt", "Lt"} else None
    if limit is None:
        return lambda _labels: False
    if operator == "Gt":
        return lambda labels: (n := _integer(labels.get(key, ""))) is not None and n > limit
    return lambda labels: (n := _integer(labels.get(key, ""))) is not None and n < limit


def _integer(text: str) -> int | None:
    try:
        return parse_int(text)
    except ValueError:
        return None


class RequiredNodeAffinity:
    """A pod's `nodeSelector` and its required node affinity together."""

    __slots__ = ("_pairs", "_selector")

    def __init__(self, spec: Object) -> None:
        pairs: dict[str, str] = spec.get("nodeSelector") or NOTHING
        self._pairs = tuple(pairs.items())
        required = required_terms(spec)
        self._selector = None if required is None else NodeSelector(required)

    def matches(self, labels: Mapping[str, str], name: str) -> bool:
        """Whether a node of these labels and this name will do."""
        for key, value in self._pairs:
            if labels.get(key) != value:
                return False
        return self._selector is None or self._selector.matches(labels, name)


def required_terms(spec: Object) -> list[Object] | None:
    """The terms of a pod spec's required node affinity; None when it has none."""
    affinity: dict[str, Any] = (spec.get("affinity") or NOTHING).get("nodeAffinity") or NOTHING
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return None if required is None else required.get("nodeSelectorTerms") or []


def preferred_terms(spec: Object) -> list[Object]:
    """The weighted terms of a pod spec's preferred node affinity."""
    affinity: dict[str, Any] = (spec.get("affinity") or NOTHING).get("nodeAffinity") or NOTHING
    return affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or []


def tolerates(toleration: Object, taint: Object) -> bool:
    """Whether that toleration tolerates that taint."""
    effect = toleration.get("effect")
    if effect and effect != taint.get("effect"):
        return False
    key = toleration.get("key")
    if key and key != taint.get("key"):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Equal":
        return (toleration.get("value") or "") == (taint.get("value") or "")
    return operator == "Exists"


def tolerated(tolerations: Sequence[Object], taint: Object) -> bool:
    """Whether one of `tolerations` tolerates that taint."""
    return any(tolerates(toleration, taint) for toleration in tolerations)


def has_untolerated(taints: Sequence[Object], tolerations: Sequence[Object]) -> bool:
    """Whether one of `taints` with effect NoSchedule or NoExecute is not tolerated."""
    for taint in taints:
        if taint.get("effect") in DO_NOT_SCHEDULE and not tolerated(tolerations, taint):
            return True
    return False
