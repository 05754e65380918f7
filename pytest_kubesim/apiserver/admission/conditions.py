"""CEL in admission: what expressions see of a request, and what evaluating them costs.

The law: an expression that fails is a result, not an exception; only a budget that has run out ends
an evaluation (`BudgetExceeded`).

Follows `admission/plugin/cel/{activation,condition}.go`, `admission/plugin/webhook/matchconditions`
and `apiserver/pkg/apis/cel/config.go`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import fields, labels, validation
from pytest_kubesim.apimachinery.cel import program
from pytest_kubesim.apimachinery.cel.errors import CELError, CompileError, CostLimitExceeded
from pytest_kubesim.apimachinery.cel.library import authorization
from pytest_kubesim.apiserver.admission import matching, reviews
from pytest_kubesim.apiserver.filters.authorization import Attributes as AccessAttributes
from pytest_kubesim.apiserver.in_process import at_once
from pytest_kubesim.registry.admissionregistration import expressions
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.cel.environment import Environment
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.admission.chain import Attributes
    from pytest_kubesim.apiserver.admission.matching import Match

PER_CALL_LIMIT = 1_000_000
BUDGET = 10_000_000
MATCH_BUDGET = 2_500_000

OUT_OF_BUDGET = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)


class BudgetExceeded(Exception):
    """All that may be spent on evaluating has been spent."""

    def __init__(self) -> None:
        super().__init__(OUT_OF_BUDGET)


@attrs.define
class Budget:
    """What is left to spend."""

    left: int

    def spend(self, cost: int) -> None:
        """Spend some of it.  Raises `BudgetExceeded`."""
        if cost > self.left:
            raise BudgetExceeded
        self.left -= cost


@attrs.frozen
class Failure:
    """Why an expression has no value."""

    text: str


def activation(
    attributes: Attributes,
    match: Match,
    obj: Object | None,
    old: Object | None,
    *,
    params: Any = None,
    namespace: Object | None = None,
) -> dict[str, Any]:
    """The variables of an expression; the objects are in the version that was matched."""
    request = reviews.request_of(attributes, match.kind, match.resource)
    authorize = authorizer(attributes)
    return {
        "object": obj,
        "oldObject": old,
        "params": params,
        "request": request,
        "namespaceObject": bare(namespace),
        "authorizer": authorization.Authorizer(authorize),
        "authorizer.requestResource": authorization.resource_check(
            authorize,
            group=attributes.resource.group,
            resource=attributes.resource.resource,
            subresource=attributes.subresource,
            namespace=attributes.namespace,
            name=attributes.name,
        ),
    }


def bare(namespace: Object | None) -> Object | None:
    """A namespace as expressions see it."""
    if namespace is None:
        return None
    metadata = {k: v for k, v in namespace["metadata"].items() if k != "managedFields"}
    return {**namespace, "metadata": metadata}


def evaluate(
    expression: str, environment: Environment, values: Mapping[str, Any], budget: Budget
) -> Any:
    """The value of an expression, or a `Failure`.  Raises `BudgetExceeded`."""
    try:
        compiled = program.compile(expression, environment)
    except CompileError as error:
        return Failure(f"compilation error: compilation failed: {error}")
    try:
        value, cost = compiled.evaluate_counted(values, cost_limit=PER_CALL_LIMIT)
    except CostLimitExceeded as error:
        budget.spend(PER_CALL_LIMIT)
        value, cost = CELError(str(error)), 0
    budget.spend(cost)
    if isinstance(value, CELError):
        return Failure(f"expression '{expression}' resulted in error: {value}")
    return value


class ConditionError(Exception):
    """Conditions that could not be evaluated; the text says why."""


def holds(
    conditions: Sequence[Object],
    environment: Environment,
    values: Mapping[str, Any],
    failure_policy: str,
) -> tuple[bool, str]:
    """Whether match conditions hold, and if not, the name of the one that does not.

    Raises `ConditionError` where that cannot be told and failures count.
    """
    budget = Budget(MATCH_BUDGET)
    try:
        found = [
            (each, evaluate(each["expression"], environment, values, budget)) for each in conditions
        ]
    except BudgetExceeded as error:
        if failure_policy == "Ignore":
            return False, ""
        raise ConditionError(str(error)) from None
    failures: list[str] = []
    for each, value in found:
        if isinstance(value, Failure):
            failures.append(value.text)
        elif value is False:
            return False, each["name"]
    if failures:
        if failure_policy == "Ignore":
            return False, ""
        raise ConditionError(validation.aggregate(failures))
    return True, ""


def webhook_conditions_hold(
    attributes: Attributes, webhook: Object, match: Match, obj: Object | None
) -> bool:
    """Whether the conditions of a webhook hold.  Raises `ConditionError`."""
    conditions: list[Object] = webhook.get("matchConditions") or []
    if not conditions:
        return True
    versioned = matching.Versioned(attributes)
    values = activation(
        attributes,
        match,
        versioned.shown(obj, match.kind),
        versioned.shown(attributes.old, match.kind),
    )
    environment = expressions.environment(params=False, stored=True)
    policy = webhook.get("failurePolicy") or "Fail"
    return holds(conditions, environment, values, policy)[0]


# -- who may do what ---------------------------------------------------------------------------


def authorizer(attributes: Attributes) -> authorization.Authorize:
    """Asks the authorizer of the server about the user of a request."""
    server, asking = attributes.server, attributes.user

    def authorize(question: authorization.Question) -> authorization.Decision:
        user = asking
        if question.service_account is not None:
            user = service_account(*question.service_account)
        wanted = AccessAttributes(
            user,
            question.verb,
            question.path,
            is_resource=not question.path,
            group=question.group,
            version="*" if question.resource else "",
            resource=question.resource,
            subresource=question.subresource,
            namespace=question.namespace,
            name=question.name,
            field_selector=_field_requirements(question.field_selector),
            label_selector=_label_requirements(question.label_selector),
        )
        decision, reason = at_once(server.authorize(wanted))
        return authorization.Decision(decision == "allow", reason)

    return authorize


def _field_requirements(text: str) -> tuple[fields.Requirement, ...]:
    try:
        return fields.parse(text).requirements if text else ()
    except ValueError:
        return ()


def _label_requirements(text: str) -> tuple[labels.Requirement, ...]:
    try:
        return tuple(labels.parse(text).requirements) if text else ()
    except ValueError:
        return ()


def service_account(namespace: str, name: str) -> UserInfo:
    """The user that a service account is."""
    return UserInfo(
        f"system:serviceaccount:{namespace}:{name}",
        (
            "system:serviceaccounts",
            f"system:serviceaccounts:{namespace}",
            "system:authenticated",
        ),
    )
