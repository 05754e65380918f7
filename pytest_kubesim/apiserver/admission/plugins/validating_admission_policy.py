"""ValidatingAdmissionPolicy: rules in CEL that refuse, warn, or are noted.

Follows `admission/plugin/policy/validating/{dispatcher,validator,policy_decision}.go`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.apimachinery.cel import values
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver.admission import conditions, policies
from pytest_kubesim.apiserver.admission.chain import (
    CONNECT,
    CREATE,
    DELETE,
    UPDATE,
    Attributes,
    Plugin,
    forbidden,
)
from pytest_kubesim.apiserver.admission.conditions import Budget, Failure
from pytest_kubesim.apiserver.admission.matching import Versioned
from pytest_kubesim.apiserver.admission.policies import Expressions, Invocation, Misconfigured

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.status import APIStatus

POLICIES = "validatingadmissionpolicies"
BINDINGS = "validatingadmissionpolicybindings"
FAILURE_ANNOTATION = "validation.policy.admission.k8s.io/validation_failure"
MAX_MESSAGE_BYTES = 5 * 1024
MAX_ANNOTATION_BYTES = 10 * 1024
MAX_FAILURES = 50
CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, "Invalid": 422}


@attrs.frozen
class Denial:
    """A rule that does not hold; `index` is its place among the rules, -1 if it is none."""

    message: str
    reason: str = ""
    index: int = -1


@attrs.define
class _Outcome:
    """What all policies together say of a request."""

    denied: list[tuple[str, str]] = attrs.field(factory=list[tuple[str, str]])
    """Messages with their reasons."""
    noted: list[Object] = attrs.field(factory=list["Object"])
    annotations: dict[str, list[str]] = attrs.field(factory=dict[str, list[str]])


class ValidatingAdmissionPolicy(Plugin):
    """The plugin."""

    operations = (CREATE, UPDATE, DELETE, CONNECT)
    configured_by = GroupResource(policies.GROUP, BINDINGS)

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses what a policy denies; the first denial is told."""
        outcome = _Outcome()
        for each in policies.invocations(attributes, obj, POLICIES, BINDINGS):
            if isinstance(each, Misconfigured):
                if each.policy["spec"].get("failurePolicy") != "Ignore":
                    where = _where(each.policy, each.binding)
                    outcome.denied.append((f"{where} denied request: {each.message}", ""))
            else:
                _apply(attributes, each, obj, outcome)
        audit = attributes.scope.audit
        for key, found in outcome.annotations.items():
            audit[key] = ", ".join(found)
        if outcome.noted:
            noted = outcome.noted[:MAX_FAILURES]
            audit[FAILURE_ANNOTATION] = json.dumps(noted, separators=(",", ":"))
        if outcome.denied:
            raise _refusal(attributes, *outcome.denied[0])


def _where(policy: Object, binding: Object | None) -> str:
    text = f"ValidatingAdmissionPolicy '{meta.name(policy)}'"
    return text if binding is None else f"{text} with binding '{meta.name(binding)}'"


def _refusal(attributes: Attributes, message: str, reason: str) -> APIStatus:
    refusal = forbidden(attributes, message)
    refusal = refusal.with_details(causes=[*refusal.causes, {"message": message}])
    refusal.reason = reason or "Invalid"
    refusal.code = CODES.get(refusal.reason, 422)
    return refusal


def _apply(
    attributes: Attributes, invocation: Invocation, obj: Object | None, outcome: _Outcome
) -> None:
    """Evaluates a policy with each of its parameters, and does with denials as the binding says."""
    policy, binding = invocation.policy, invocation.binding
    where = _where(policy, binding)
    actions: list[str] = binding["spec"].get("validationActions") or []
    for params in invocation.params:
        denials = _denials(attributes, invocation, params, obj, outcome)
        for denial in denials:
            if denial.index < 0:
                outcome.denied.append((f"{where} denied request: {denial.message}", ""))
                continue
            for action in actions:
                if action == "Deny":
                    text = f"{where} denied request: {denial.message}"
                    outcome.denied.append((text, denial.reason))
                elif action == "Warn":
                    attributes.scope.warn(f"Validation failed for {where}: {denial.message}")
                else:
                    outcome.noted.append(
                        {
                            "message": denial.message,
                            "policy": meta.name(policy),
                            "binding": meta.name(binding),
                            "expressionIndex": denial.index,
                            "validationActions": actions,
                        }
                    )


def _denials(
    attributes: Attributes,
    invocation: Invocation,
    params: Object | None,
    obj: Object | None,
    outcome: _Outcome,
) -> list[Denial]:
    """What a policy objects to."""
    policy, match = invocation.policy, invocation.match
    spec: Object = policy["spec"]
    failure_policy = spec.get("failurePolicy") or "Fail"
    versioned = Versioned(attributes)
    known = conditions.activation(
        attributes,
        match,
        versioned.shown(obj, match.kind),
        versioned.shown(attributes.old, match.kind),
        params=params,
    )
    expressions = Expressions(policy, known, Budget(conditions.MATCH_BUDGET)).with_variables()
    try:
        held, _ = conditions.holds(
            spec.get("matchConditions") or [],
            expressions.environment(),
            expressions.values,
            failure_policy,
        )
        if not held:
            return []
        known["namespaceObject"] = conditions.bare(policies.namespace_object(attributes))
        expressions = Expressions(policy, known, Budget(conditions.BUDGET)).with_variables()
        denials = _validated(expressions, spec, failure_policy)
        annotations = Expressions(policy, known, Budget(conditions.BUDGET)).with_variables()
        return denials + _annotated(annotations, spec, failure_policy, outcome)
    except (conditions.ConditionError, conditions.BudgetExceeded) as error:
        return [] if failure_policy == "Ignore" else [Denial(str(error), "", 0)]


def _validated(expressions: Expressions, spec: Object, failure_policy: str) -> list[Denial]:
    rules: list[Object] = spec.get("validations") or []
    found = [expressions.evaluate(rule["expression"]) for rule in rules]
    messages = Expressions(expressions.policy, expressions.values, expressions.budget)
    messages.with_variables()
    spoken: list[Any] = [None] * len(rules)
    spent = ""
    try:
        for index, rule in enumerate(rules):
            if rule.get("messageExpression"):
                spoken[index] = messages.evaluate(rule["messageExpression"], authorizer=False)
    except conditions.BudgetExceeded as error:
        spent = f"failed messageExpression: {error}"
    denials: list[Denial] = []
    for index, (rule, value) in enumerate(zip(rules, found, strict=True)):
        if isinstance(value, Failure) or spent:
            if failure_policy != "Ignore":
                text = value.text if isinstance(value, Failure) else spent
                denials.append(Denial(text, "", index))
        elif value is not True:
            reason = rule.get("reason") or "Invalid"
            denials.append(Denial(_message(rule, spoken[index]), reason, index))
    return denials


def _message(rule: Object, spoken: Any) -> str:
    """The message of a rule that does not hold."""
    if isinstance(spoken, str):
        text = spoken.strip()
        if text and len(text.encode()) <= MAX_MESSAGE_BYTES and "\n" not in text:
            return text
    given = (rule.get("message") or "").strip()
    return given or f"failed expression: {rule['expression'].strip()}"


def _annotated(
    expressions: Expressions, spec: Object, failure_policy: str, outcome: _Outcome
) -> list[Denial]:
    """Notes what is to be noted; what cannot be worked out is denied."""
    denials: list[Denial] = []
    for each in spec.get("auditAnnotations") or ():
        value = expressions.evaluate(each["valueExpression"], authorizer=False)
        if isinstance(value, Failure):
            if failure_policy != "Ignore":
                denials.append(Denial(value.text))
        elif isinstance(value, str):
            text = value.strip().encode()[:MAX_ANNOTATION_BYTES].decode("utf-8", "ignore")
            key = f"{meta.name(expressions.policy)}/{each['key']}"
            if text and text not in outcome.annotations.setdefault(key, []):
                outcome.annotations[key].append(text)
        elif value is not None:
            kind = values.type_name(value)
            denials.append(
                Denial(
                    f"valueExpression '{each['valueExpression']}' resulted in unsupported return "
                    f"type: {kind}. Return type must be either string or null."
                )
            )
    return denials


PLUGIN = ValidatingAdmissionPolicy()
