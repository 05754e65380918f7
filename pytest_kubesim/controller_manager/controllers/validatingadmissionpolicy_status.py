"""The status of validating admission policies: what is wrong with the types in their expressions.

The law: an expression is checked once for each kind that the policy is about (ten at most), with
the types that are published; what has none may be anything.  Only warnings come of it.

Follows `pkg/controller/validatingadmissionpolicystatus/controller.go` and
`apiserver/pkg/admission/plugin/policy/validating/typechecking.go`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, ClassVar

import attrs

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.apimachinery.cel import program, types
from pytest_kubesim.apimachinery.cel.environment import Environment, StructType
from pytest_kubesim.apimachinery.cel.errors import CompileError
from pytest_kubesim.apimachinery.cel.library import authorization, kubernetes
from pytest_kubesim.apimachinery.meta import GroupVersionResource, parse_api_version
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.client_go.discovery import RESTMapper
from pytest_kubesim.client_go.resources import VALIDATINGADMISSIONPOLICIES
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import Controller
from pytest_kubesim.controller_manager.published_types import GroupVersionKind, type_of
from pytest_kubesim.registry.admissionregistration import expressions
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.cel.declared import Declared
    from pytest_kubesim.apimachinery.cel.types import Type
    from pytest_kubesim.apimachinery.meta import Object

FIELD_MANAGER = "validatingadmissionpolicy-status"
MAX_TYPES = 10

_SIMPLE = frozenset({
    "any", "bool", "bytes", "double", "duration", "int", "null", "string", "timestamp", "uint",
})  # fmt: skip


class ValidatingAdmissionPolicyStatusController(Controller):
    """Checks the types in policies."""

    name = "validatingadmissionpolicy-status-controller"
    service_account = "validatingadmissionpolicy-status-controller"
    workers: ClassVar[int] = 5
    workers_flag = "concurrent-validating-admission-policy-status-syncs"

    def setup(self) -> None:
        """Listen to policies."""
        self.mapper = RESTMapper(self.client)
        self._release = self.context.version.removeprefix("v").rpartition(".")[0]
        self.policies = self.watch(
            VALIDATINGADMISSIONPOLICIES, add=self.enqueue, update=self.enqueue_new
        )

    async def reconcile(self, key: str) -> None:
        """Check one policy, once in each of its generations."""
        policy = self.policies.get(key)
        if policy is None:
            return
        generation = meta.generation(policy)
        if generation <= (fields.status(policy).get("observedGeneration") or 0):
            return
        warnings = _warnings(policy, await self._scopes(policy))
        await self.client.patch(
            VALIDATINGADMISSIONPOLICIES,
            "",
            key,
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingAdmissionPolicy",
                "metadata": {"name": key},
                "status": {
                    "observedGeneration": generation,
                    "typeChecking": {"expressionWarnings": warnings} if warnings else {},
                },
            },
            patch_type="apply",
            subresource="status",
            field_manager=FIELD_MANAGER,
            force=True,
        )

    async def _scopes(self, policy: Object) -> list[_Scope]:
        """Each kind that the policy is about, with what its expressions may name."""
        param_kind = fields.mapping(fields.spec(policy), "paramKind")
        params = None
        if param_kind:
            group, version = parse_api_version(param_kind["apiVersion"])
            params = await self._type_of((group, version, param_kind["kind"]))
        found: list[_Scope] = []
        for gvk in await self._kinds(policy):
            its_type = await self._type_of(gvk)
            if its_type is not None:
                found.append(_scope(policy, gvk, its_type, params))
        return found

    async def _type_of(self, gvk: GroupVersionKind) -> Declared | None:
        try:
            return await type_of(self.client, self._release, gvk)
        except (APIStatus, ConnectionLost):
            return None  # What cannot be found out does not keep the rest from being checked.

    async def _kinds(self, policy: Object) -> list[GroupVersionKind]:
        found: set[GroupVersionKind] = set()
        refreshed = False
        constraints = fields.mapping(fields.spec(policy), "matchConstraints")
        for rule in fields.objects(constraints, "resourceRules"):
            count = 0
            for gvr in _resources(rule):
                kinds = await self.mapper.kinds_of(gvr)
                if not kinds and not refreshed:
                    self.mapper.reset()
                    refreshed = True
                    kinds = await self.mapper.kinds_of(gvr)
                for resource in kinds:
                    found.add((resource.gvr.group, resource.gvr.version, resource.kind))
                    count += 1
                    if count == MAX_TYPES:
                        return sorted(found)
        return sorted(found)


def _resources(rule: Object) -> Iterator[GroupVersionResource]:
    """What a rule names one by one; nothing if it is about every group or version."""
    groups, versions, resources = (
        sorted(rule.get(name) or ()) for name in ("apiGroups", "apiVersions", "resources")
    )
    if any("*" in name for name in (*groups, *versions)):
        return
    for group, version, resource in product(groups, versions, resources):
        if "*" not in resource and "/" not in resource:
            yield GroupVersionResource(group, version, resource)


@attrs.frozen(eq=False)
class _Scope:
    """A kind, and what expressions may name when they are about it."""

    title: str
    environment: Environment

    def warning(self, expression: str) -> str:
        """What is wrong with an expression."""
        try:
            program.compile(expression, self.environment)
        except CompileError as error:
            return f"{self.title}: {error}\n"
        return ""


def _scope(
    policy: Object, gvk: GroupVersionKind, its_type: Declared, params: Declared | None
) -> _Scope:
    group, version, kind = gvk
    structs = {**expressions.STRUCTS, **its_type.structs()}
    variables: dict[str, Type] = {
        "namespaceObject": expressions.NAMESPACE,
        "request": expressions.REQUEST,
        "object": its_type.type,
        "oldObject": its_type.type,
        "authorizer": authorization.AUTHORIZER,
        "variables": expressions.VARIABLES,
    }
    if fields.spec(policy).get("paramKind"):
        variables["params"] = types.DYN if params is None else params.type
        structs.update({} if params is None else params.structs())
    structs[expressions.VARIABLES.name] = StructType({})
    environment = kubernetes.STORED.extend(variables=variables, structs=structs)
    composed: dict[str, Type] = {}
    for variable in fields.objects(fields.spec(policy), "variables"):
        found = _type_of_variable(variable["expression"], environment)
        composed = {**composed, variable["name"]: found}
        environment = environment.extend(structs={expressions.VARIABLES.name: StructType(composed)})
    return _Scope(f"{group}/{version}, Kind={kind}", environment)


def _type_of_variable(expression: str, environment: Environment) -> Type:
    try:
        return _known(program.compile(expression, environment).type)
    except CompileError:
        return types.DYN


def _known(type_: Type) -> Type:
    """What is kept of the type of a variable: messages, for one, may then be anything."""
    if type_.kind in _SIMPLE:
        return type_
    if type_.kind == "list":
        return types.list_of(_known(type_.params[0]))
    if type_.kind == "map":
        return types.map_of(_known(type_.params[0]), _known(type_.params[1]))
    return types.DYN


def _warnings(policy: Object, scopes: list[_Scope]) -> list[Object]:
    found: list[Object] = []
    for index, validation in enumerate(fields.objects(fields.spec(policy), "validations")):
        for name in ("expression", "messageExpression"):
            expression: str = validation.get(name) or ""
            if not expression:
                continue
            warnings = [text for scope in scopes if (text := scope.warning(expression))]
            if warnings:
                path = f"spec.validations[{index}].{name}"
                found.append({"fieldRef": path, "warning": "\n".join(warnings)})
    return found


CONTROLLER = ValidatingAdmissionPolicyStatusController
