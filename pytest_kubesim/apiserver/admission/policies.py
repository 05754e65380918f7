"""Admission policies: which of them a request has to do with, with which parameters.

The law: a policy counts through its bindings only; what is wrong with a policy or a binding is a
`Misconfigured`, which the failure policy may ignore.

Follows `admission/plugin/policy/{generic,matching}` and `admission/plugin/cel/composition.go`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import labels, meta
from pytest_kubesim.apimachinery.cel import program, types
from pytest_kubesim.apimachinery.cel.environment import Environment, StructType
from pytest_kubesim.apimachinery.cel.errors import CELError, CompileError, CostLimitExceeded
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, GroupVersionKind, parse_api_version
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.apiserver.admission import conditions, matching
from pytest_kubesim.apiserver.admission.conditions import Budget
from pytest_kubesim.apiserver.admission.matching import NAMESPACES, Match
from pytest_kubesim.etcd.messages import prefix_end
from pytest_kubesim.registry.admissionregistration import expressions

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.admission.chain import Attributes
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.registry.rest import Resource

GROUP = "admissionregistration.k8s.io"


@attrs.frozen
class Misconfigured:
    """A policy, or a binding of it, that cannot be used."""

    policy: Object
    binding: Object | None
    problem: str

    @property
    def message(self) -> str:
        """What is wrong."""
        what = "policy" if self.binding is None else "binding"
        return f"failed to configure {what}: {self.problem}"


@attrs.frozen
class Invocation:
    """A policy that a request has to do with, by a binding, with all its parameters.

    Without parameters there is one, which is None.
    """

    policy: Object
    binding: Object
    match: Match
    params: tuple[Object | None, ...]


def invocations(
    attributes: Attributes, obj: Object | None, policies: str, bindings: str
) -> Iterator[Invocation | Misconfigured]:
    """All that concerns a request, by the names of policies and bindings."""
    if matching.is_exempt(attributes):
        return
    reader = attributes.server.reader
    bound: dict[str, list[Object]] = {}
    for binding in reader.list(GroupResource(GROUP, bindings)):
        bound.setdefault(binding["spec"].get("policyName") or "", []).append(binding)
    for name in sorted(bound):
        policy = reader.get(GroupResource(GROUP, policies), "", name)
        if policy is not None:
            yield from _of_policy(attributes, obj, policy, bound[name])


def _of_policy(
    attributes: Attributes, obj: Object | None, policy: Object, bindings: list[Object]
) -> Iterator[Invocation | Misconfigured]:
    try:
        match = matches(policy["spec"].get("matchConstraints") or {}, attributes, obj)
    except APIStatus as error:
        yield Misconfigured(policy, None, error.message)
        return
    if match is None:
        return
    kind: Object | None = policy["spec"].get("paramKind")
    resource = None
    if kind is not None:
        gvk = GroupVersionKind(*parse_api_version(kind["apiVersion"]), kind["kind"])
        resource = attributes.server.catalog.by_kind(gvk)
        if resource is None:
            problem = f"failed to find resource referenced by paramKind: '{gvk}'"
            yield Misconfigured(policy, None, problem)
            return
    for binding in bindings:
        spec: Object = binding["spec"]
        try:
            bound = spec.get("matchResources")
            if bound is not None and matches(bound, attributes, obj) is None:
                continue
            params = _params(attributes, resource, spec.get("paramRef"))
        except APIStatus as error:
            yield Misconfigured(policy, binding, error.message)
        except ValueError as error:
            yield Misconfigured(policy, binding, str(error))
        else:
            yield Invocation(policy, binding, match, params)


# -- matching ----------------------------------------------------------------------------------


def matches(criteria: Object, attributes: Attributes, obj: Object | None) -> Match | None:
    """How `matchResources` match a request.  Raises `APIStatus` where there is no namespace."""
    try:
        if not matching.selects_namespace(criteria.get("namespaceSelector"), attributes):
            return None
        missing = None
    except APIStatus as error:
        missing = error
    if not matching.selects_object(criteria.get("objectSelector"), obj, attributes.old):
        return None
    policy = criteria.get("matchPolicy") or "Exact"
    excluded: list[Object] = criteria.get("excludeResourceRules") or []
    if _by_rules(excluded, policy, attributes) is not None:
        return None
    rules: list[Object] = criteria.get("resourceRules") or []
    found = (
        _by_rules(rules, policy, attributes)
        if rules
        else Match(attributes.resource, attributes.kind)
    )
    if found is not None and missing is not None:
        raise missing
    return found


def _by_rules(rules: list[Object], policy: str, attributes: Attributes) -> Match | None:
    named = [
        rule
        for rule in rules
        if not rule.get("resourceNames") or attributes.name in rule["resourceNames"]
    ]
    return matching.match(named, policy, attributes)


def namespace_object(attributes: Attributes) -> Object | None:
    """The namespace of a request; None for what is in none, and for namespaces themselves."""
    if attributes.resource.group_resource == NAMESPACES or not attributes.namespace:
        return None
    return attributes.server.reader.get(NAMESPACES, "", attributes.namespace)


# -- parameters --------------------------------------------------------------------------------


def _params(
    attributes: Attributes, resource: Resource | None, reference: Object | None
) -> tuple[Object | None, ...]:
    """The parameters that a binding names (`CollectParams`).  Raises `ValueError`."""
    if resource is None or reference is None:
        return (None,)
    namespace = ""
    if resource.namespaced:
        namespace = reference.get("namespace") or attributes.namespace
        if not namespace:
            raise ValueError(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped "
                "resources"
            )
    elif reference.get("namespace"):
        raise ValueError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    name, selector = reference.get("name"), reference.get("selector")
    if name and selector is not None:
        raise ValueError("paramRef.name and paramRef.selector are mutually exclusive")
    if not name and selector is None:
        raise ValueError("one of name or selector must be provided")
    wanted = None if name else labels.from_label_selector(selector)
    found = [
        each
        for each in _objects(attributes.server, resource, namespace, name or "")
        if wanted is None or wanted.matches(meta.labels(each))
    ]
    if not found and reference.get("parameterNotFoundAction") == "Deny":
        raise ValueError("no params found for policy binding with `Deny` parameterNotFoundAction")
    return tuple(found)


def _objects(server: APIServer, resource: Resource, namespace: str, name: str) -> list[Object]:
    """Objects of a resource in its version: the one of that name, or all of the namespace."""
    store = server.etcd.member.store
    if name:
        kv = store.latest(resource.key(namespace, name))
        kvs = [] if kv is None else [kv]
    else:
        prefix = (
            f"{resource.storage_prefix}/{namespace}/"
            if namespace
            else (f"{resource.storage_prefix}/")
        )
        kvs = store.range(prefix, prefix_end(prefix)).kvs
    storage = server.cacher(resource).storage
    return [server.store(resource).served(storage.decode(kv)) for kv in kvs]


# -- expressions -------------------------------------------------------------------------------


@functools.lru_cache(256)
def _environments(
    variables: tuple[tuple[str, str], ...], *, params: bool, authorizer: bool, patches: bool
) -> tuple[Environment, ...]:
    """The environment of each variable, which may name those before it, and last that of all."""
    base = expressions.environment(
        params=params, authorizer=authorizer, patches=patches, stored=True
    )
    known: dict[str, types.Type] = {}
    found: list[Environment] = []
    for name, expression in (*variables, ("", "")):
        composed = {expressions.VARIABLES.name: StructType(dict(known))}
        environment = base.extend(variables={"variables": expressions.VARIABLES}, structs=composed)
        found.append(environment)
        try:
            known[name] = program.compile(expression, environment).type if name else types.DYN
        except CompileError:
            known[name] = types.DYN
    return tuple(found)


@attrs.define
class Expressions:
    """The expressions of a policy, over one request."""

    policy: Object
    values: dict[str, Any]
    budget: Budget

    def environment(self, *, authorizer: bool = True, patches: bool = False) -> Environment:
        """What the policy's own expressions may name."""
        return self._environments(authorizer=authorizer, patches=patches)[-1]

    def _environments(self, *, authorizer: bool, patches: bool) -> tuple[Environment, ...]:
        spec: Object = self.policy["spec"]
        declared: list[Object] = spec.get("variables") or []
        return _environments(
            tuple((each["name"], each["expression"]) for each in declared),
            params=spec.get("paramKind") is not None,
            authorizer=authorizer,
            patches=patches,
        )

    def evaluate(self, expression: str, *, authorizer: bool = True, patches: bool = False) -> Any:
        """The value, or a `conditions.Failure`.  Raises `conditions.BudgetExceeded`."""
        environment = self.environment(authorizer=authorizer, patches=patches)
        return conditions.evaluate(expression, environment, self.values, self.budget)

    def with_variables(self) -> Expressions:
        """The same with variables that have not been looked at yet."""
        self.values = {**self.values, "variables": _Variables(self)}
        return self

    def value_of(self, name: str) -> Any:
        """The value of a variable.  Raises `CELError` and `KeyError`."""
        declared: list[Object] = self.policy["spec"].get("variables") or []
        environments = self._environments(authorizer=True, patches=False)
        for each, environment in zip(declared, environments, strict=False):
            if each["name"] == name:
                return self._value(name, each["expression"], environment)
        raise KeyError(name)

    def _value(self, name: str, expression: str, environment: Environment) -> Any:
        start = f"composited variable {quote(name)} fails to"
        try:
            compiled = program.compile(expression, environment)
        except CompileError as error:
            raise CELError(f"{start} compile: {error}") from None
        try:
            value, cost = compiled.evaluate_counted(
                self.values, cost_limit=conditions.PER_CALL_LIMIT
            )
        except CostLimitExceeded as error:
            raise CELError(f"{start} evaluate: {error}") from None
        self.budget.spend(cost)
        if isinstance(value, CELError):
            raise CELError(f"{start} evaluate: {value}")
        return value


class _Variables(Mapping[str, Any]):
    """The variables of a policy, each evaluated when it is first asked for."""

    def __init__(self, of: Expressions) -> None:
        self._of = of
        self._known: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = self._of.value_of(name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        declared: list[Object] = self._of.policy["spec"].get("variables") or []
        return iter([each["name"] for each in declared])

    def __len__(self) -> int:
        return len(self._of.policy["spec"].get("variables") or [])
