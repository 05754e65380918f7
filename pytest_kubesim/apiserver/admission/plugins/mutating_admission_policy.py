"""MutatingAdmissionPolicy: changes to objects written in CEL.

The law: the mutations of a policy are made in order, each upon what the one before has made; what
they change is owned by nobody.  A second round of all mutating plugins follows what was patched.

Follows `admission/plugin/policy/mutating/{dispatcher,compilation}.go` and `.../mutating/patch`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import jsonpatch, meta
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver.admission import conditions, patching, policies
from pytest_kubesim.apiserver.admission.chain import (
    CONNECT,
    CREATE,
    UPDATE,
    Attributes,
    Plugin,
    forbidden,
)
from pytest_kubesim.apiserver.admission.conditions import Budget, Failure
from pytest_kubesim.apiserver.admission.matching import Versioned
from pytest_kubesim.apiserver.admission.policies import Expressions, Invocation, Misconfigured
from pytest_kubesim.apiserver.admission.rounds import Rounds
from pytest_kubesim.registry.admissionregistration import expressions

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.status import APIStatus

NAME = "MutatingAdmissionPolicy"
POLICIES = "mutatingadmissionpolicies"
BINDINGS = "mutatingadmissionpolicybindings"


@attrs.frozen
class _Problem:
    """What went wrong with a policy; the reason is empty where it cannot be used at all."""

    policy: Object
    binding: Object | None
    message: str
    reason: str = ""

    def __str__(self) -> str:
        name = meta.name(self.policy)
        if self.binding is None:
            return f"policy {quote(name)} denied request: {self.message}"
        by = meta.name(self.binding)
        return f"policy '{name}' with binding '{by}' denied request: {self.message}"


class MutatingAdmissionPolicy(Plugin):
    """The plugin."""

    operations = (CREATE, UPDATE, CONNECT)
    configured_by = GroupResource(policies.GROUP, BINDINGS)

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """What the policies make of the object."""
        found = list(policies.invocations(attributes, obj, POLICIES, BINDINGS))
        if not found:
            return obj
        reinvocation = attributes.reinvocation
        rounds: Rounds = reinvocation.values.setdefault(NAME, Rounds())
        if reinvocation.is_reinvoke and rounds.output != obj:
            rounds.changed()
        problems = [
            _Problem(each.policy, each.binding, each.message)
            for each in found
            if isinstance(each, Misconfigured)
        ]
        patched = False
        for each in found:
            if isinstance(each, Misconfigured):
                continue
            for params in each.params:
                run = _Run(attributes, each, params, problems)
                before = obj
                obj = run.mutated(obj, rounds)
                patched = patched or run.patched
                if obj != before:
                    rounds.changed()
                    reinvocation.should_reinvoke = True
                if run.ran and each.policy["spec"].get("reinvocationPolicy") == "IfNeeded":
                    rounds.called[run.key] = None
        if patched:
            rounds.changed()
            reinvocation.should_reinvoke = True
        rounds.output = obj
        failures = [
            each for each in problems if each.policy["spec"].get("failurePolicy") != "Ignore"
        ]
        if failures:
            raise _refusal(attributes, failures)
        return obj


def _refusal(attributes: Attributes, problems: list[_Problem]) -> APIStatus:
    refusal = forbidden(attributes, "admission request denied by policy")
    causes = [*refusal.causes, *({"message": str(each)} for each in problems)]
    refusal = refusal.with_details(causes=causes).with_message(str(problems[0]))
    refusal.reason = problems[0].reason or refusal.reason
    return refusal


class _Run:
    """One policy over one request, with one of its parameters."""

    def __init__(
        self,
        attributes: Attributes,
        invocation: Invocation,
        params: Object | None,
        problems: list[_Problem],
    ) -> None:
        self.attributes = attributes
        self.invocation = invocation
        self.params = params
        self.problems = problems
        self.ran = False
        self.patched = False

    @property
    def key(self) -> str:
        """What tells this run from all others."""
        params = "" if self.params is None else meta.key_of(self.params)
        policy, binding = self.invocation.policy, self.invocation.binding
        return f"{meta.name(policy)}/{meta.name(binding)}/{params}"

    def mutated(self, obj: Object | None, rounds: Rounds) -> Object | None:
        """The object with the mutations of the policy."""
        attributes, invocation = self.attributes, self.invocation
        kind = invocation.match.kind
        versioned = Versioned(attributes)
        shown = versioned.shown(obj, kind)
        try:
            if not self._held(shown):
                return obj
        except conditions.ConditionError as error:
            self._failed(str(error))
            return obj
        if attributes.reinvocation.is_reinvoke and self.key not in rounds.again:
            return obj
        self.ran = True
        if obj is None or shown is None:
            return obj
        before = shown
        for mutation in invocation.policy["spec"].get("mutations") or ():
            try:
                shown = self._patched(shown, mutation)
                self.patched = True
            except (patching.PatchError, conditions.BudgetExceeded) as error:
                self._failed(str(error))
        return obj if shown is before else versioned.kept(shown, kind)

    def _failed(self, text: str) -> None:
        policy, binding = self.invocation.policy, self.invocation.binding
        self.problems.append(_Problem(policy, binding, text, "Invalid"))

    def _expressions(self, shown: Object | None, budget: int) -> Expressions:
        match = self.invocation.match
        old = Versioned(self.attributes).shown(self.attributes.old, match.kind)
        known = conditions.activation(self.attributes, match, shown, old, params=self.params)
        return Expressions(self.invocation.policy, known, Budget(budget)).with_variables()

    def _held(self, shown: Object | None) -> bool:
        spec: Object = self.invocation.policy["spec"]
        wanted: list[Object] = spec.get("matchConditions") or []
        if not wanted:
            return True
        run = self._expressions(shown, conditions.MATCH_BUDGET)
        policy = spec.get("failurePolicy") or "Fail"
        return conditions.holds(wanted, run.environment(), run.values, policy)[0]

    def _patched(self, shown: Object, mutation: Object) -> Object:
        """The object with one mutation.  Raises `PatchError`, `BudgetExceeded`, `APIStatus`."""
        attributes, kind = self.attributes, self.invocation.match.kind
        by_patch = mutation.get("patchType") == "JSONPatch"
        source: Object = mutation["jsonPatch" if by_patch else "applyConfiguration"]
        run = self._expressions(shown, conditions.BUDGET)
        namespace = policies.namespace_object(attributes)
        run.values["namespaceObject"] = conditions.bare(namespace)
        value = run.evaluate(source["expression"], patches=True)
        if isinstance(value, Failure):
            raise patching.PatchError(value.text)
        if by_patch:
            changed = _json_patched(shown, value)
            if changed is shown:
                return shown
            return patching.decoded(attributes, changed, kind, strict=True)
        _check_names(value)
        changed = patching.applied(attributes, shown, patching.to_json(value), kind)
        return patching.decoded(attributes, changed, kind)


def _check_names(value: Any) -> None:
    """Raises `PatchError` for objects that are not named after the fields they are in."""
    problems = expressions.name_problems(value)
    if problems:
        raise patching.PatchError("type mismatch: " + "\n".join(problems))


def _json_patched(shown: Object, value: Any) -> Object:
    """The object with a JSON patch, unchanged if a test in it fails.  Raises `PatchError`."""
    operations: list[dict[str, Any]] = []
    for each in value:
        operation: dict[str, Any] = {"op": each.get("op", ""), "path": each.get("path", "")}
        if each.get("from"):
            operation["from"] = each["from"]
        if "value" in each:
            if isinstance(each["value"], expressions.Named):
                _check_names(each["value"])
            operation["value"] = patching.to_json(each["value"])
        operations.append(operation)
    try:
        found: Object = jsonpatch.apply(shown, operations)
    except jsonpatch.JSONPatchError as error:
        if str(error).endswith("test failed"):
            return shown
        raise patching.PatchError(f"JSON Patch: {error}") from None
    return found


PLUGIN = MutatingAdmissionPolicy()
