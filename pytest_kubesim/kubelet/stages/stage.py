"""One `Stage` of kwok: whom it selects, when, and its steps.

The law: a stage is read once and never changes; whether it matches, and how long it waits, follows
from the object alone (and the clock, where a time is compared).  A stage without a selector matches
nothing.  Fields of `kwok.x-k8s.io/v1alpha1` that are deprecated mean what kwok converts them to.

Follows `pkg/utils/lifecycle/{lifecycle,value_duration_from,value_int_from}.go`,
`pkg/utils/expression/selector.go` and `pkg/apis/internalversion/conversion.go` of
`sigs.k8s.io/kwok@v0.8.0`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import jq, meta, timestamps
from pytest_kubesim.apimachinery.cel import program, types
from pytest_kubesim.apimachinery.cel.errors import CELError, CompileError
from pytest_kubesim.apimachinery.cel.library import kubernetes
from pytest_kubesim.errors import UsageError
from pytest_kubesim.kubelet.host import NOTHING

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

API_GROUP = "kwok.x-k8s.io"
MILLISECOND = 1_000_000
_ENVIRONMENT = kubernetes.NEW.extend(variables={"self": types.DYN})



@attrs.frozen(slots=True, eq=False)
class Stage:
    """A stage.

    `about`: apiVersion and kind of the objects; `steps` in order, each with one of `event`,
    `finalizers`, `delete`, `patch` and `apply`; `immediate`, whether the next stage is looked for
    in what the server has answered.
    """

    name: str
    about: tuple[str, str]
    spec: Object
    steps: tuple[Object, ...]
    immediate: bool

    @property
    def deletes(self) -> bool:
        """Whether it ends what it plays."""
        return any(step.get("delete") for step in self.steps)

    def matches(self, obj: Object) -> bool:
        """Whether it selects an object as it is now."""
        selector: Object | None = self.spec.get("selector")
        if selector is None:
            return False
        for key, have in (
            ("matchLabels", meta.labels(obj)),
            ("matchAnnotations", meta.annotations(obj)),
        ):
            wanted: dict[str, str] = selector.get(key) or NOTHING
            if any(have.get(name) != value for name, value in wanted.items()):
                return False
        expressions: list[Object] = selector.get("matchExpressions") or []
        return all(_meets(expression, obj) for expression in expressions)

    def weight(self, obj: Object) -> int | None:
        """How likely it is among those that match; None if its expression gives none."""
        default: int = self.spec.get("weight") or 0
        source: Object | None = self.spec.get("weightFrom")
        if source is None:
            return default
        found = _values(source, obj)
        if not found:
            return default
        if isinstance(found[0], str):
            try:
                return int(found[0], 0)
            except ValueError:
                return None
        return int(found[0]) if isinstance(found[0], int | float) else default

    def delay_ns(self, obj: Object, now_ns: int) -> tuple[int, int]:
        """How long it waits from `now_ns` on: at least, and at most (jitter); in nanoseconds."""
        delay: Object = self.spec.get("delay") or NOTHING
        least = _duration_ns(
            delay.get("durationMilliseconds") or 0, delay.get("durationFrom"), obj, now_ns
        )
        if not delay or least is None:
            return 0, 0
        most = _duration_ns(
            delay.get("jitterDurationMilliseconds"), delay.get("jitterDurationFrom"), obj, now_ns
        )
        if most is None:
            return least, least
        return (most, most) if most <= least else (least, most)


def read(document: Object) -> Stage:
    """The stage that a document is.  Raises `UsageError` for what it cannot mean."""
    name = meta.name(document)
    spec: Object = document.get("spec") or NOTHING
    about: Object = spec.get("resourceRef") or NOTHING
    if not about.get("kind"):
        raise UsageError(f"Stage {name!r}: spec.resourceRef.kind is missing; say which kind it is")
    selector: Object = spec.get("selector") or NOTHING
    for expression in selector.get("matchExpressions") or ():
        _check(name, expression)
    return Stage(
        name,
        (about.get("apiGroup") or "v1", about["kind"]),
        spec,
        tuple(spec.get("steps") or _steps(spec.get("next") or NOTHING)),
        bool(spec.get("immediateNextStage")),
    )


def _steps(after: Object) -> list[Object]:
    """`next` as steps."""
    steps: list[Object] = [
        {key: after[key]} for key in ("event", "finalizers") if after.get(key) is not None
    ]
    patches: list[Object] = after.get("patches") or []
    steps += [{"patch": patch} for patch in patches]
    if not patches and after.get("statusTemplate"):
        patch: Object = {
            "subresource": after.get("statusSubresource", "status"),
            "root": "status",
            "template": after["statusTemplate"],
        }
        if after.get("statusPatchAs"):
            patch["impersonation"] = after["statusPatchAs"]
        steps.append({"patch": patch})
    if after.get("delete"):
        steps.append({"delete": True})
    return steps


# -- expressions ------------------------------------------------------------------------------


def _requirement(expression: Object) -> Object:
    return expression.get("jq") or expression


def _check(name: str, expression: Object) -> None:
    if expression.get("cel"):
        try:
            program.compile(expression["cel"]["expression"], _ENVIRONMENT)
        except CompileError as error:
            raise UsageError(f"Stage {name!r}: {error}") from None
        return
    requirement = _requirement(expression)
    operator: str = requirement.get("operator") or ""
    values: list[str] = requirement.get("values") or []
    jq.compile(requirement.get("key") or "")
    if operator in ("In", "NotIn"):
        if not values:
            raise UsageError(
                f"Stage {name!r}: for 'in', 'notin' operators, values set can't be empty"
            )
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            raise UsageError(
                f"Stage {name!r}: values set must be empty for exists and does not exist"
            )
    else:
        raise UsageError(f'Stage {name!r}: operator "{operator}" is not supported')


def _meets(expression: Object, obj: Object) -> bool:
    if expression.get("cel"):
        try:
            return program.compile(
                expression["cel"]["expression"], _ENVIRONMENT
            ).evaluate({"self": obj}) is True
        except CELError:
            return False
    requirement = _requirement(expression)
    found = _query(requirement["key"], obj)
    operator = requirement["operator"]
    if operator in ("Exists", "DoesNotExist"):
        return bool(found) is (operator == "Exists")
    wanted: list[str] = requirement["values"]
    return any(_text(value) in wanted for value in found) is (operator == "In")


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def _query(query: str, obj: Object) -> list[Any]:
    """What a query finds, without nulls; an error of it is nothing found."""
    try:
        return [value for value in jq.run(query, obj) if value is not None]
    except jq.JQError:
        return []


def _values(source: Object, obj: Object) -> list[Any]:
    if source.get("cel"):
        compiled = program.compile(source["cel"]["expression"], _ENVIRONMENT)
        try:
            return [compiled.evaluate({"self": obj})]
        except CELError:
            return []
    query = (source.get("jq") or NOTHING).get("expression") or source.get("expressionFrom")
    return _query(query, obj) if query else []


def _duration_ns(
    milliseconds: int | None, source: Object | None, obj: Object, now_ns: int
) -> int | None:
    default = None if milliseconds is None else milliseconds * MILLISECOND
    found = _values(source, obj) if source is not None else []
    if not found or not isinstance(found[0], str):
        return default
    if not found[0]:
        return None
    for read_text, offset_ns in (
        (timestamps.parse_time, now_ns), (timestamps.parse_duration, 0)
    ):
        try:
            return read_text(found[0]) - offset_ns
        except ValueError:
            continue
    return default
