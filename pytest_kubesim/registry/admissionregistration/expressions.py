"""CEL in webhooks and policies: what an expression may name there, and what it must evaluate to.

The law: an expression compiles in an environment that depends on the policy alone: whether it has
parameters, whether it patches, which variables come before.

Follows `apiserver/pkg/admission/plugin/cel/{compile,composition}.go` and
`apiserver/pkg/cel/mutation`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, cast

import attrs

from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.cel import program, types
from pytest_kubesim.apimachinery.cel.environment import Environment, StructType
from pytest_kubesim.apimachinery.cel.errors import CompileError, InstantiationError
from pytest_kubesim.apimachinery.cel.library import authorization, kubernetes, texts
from pytest_kubesim.apimachinery.cel.types import Type
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.validation import ErrorList, Path

_STRINGS = types.list_of(types.STRING)
_LABELS = types.map_of(types.STRING, types.STRING)
VARIABLES = types.struct("kubernetes.variables")
OBJECT = types.struct("Object")
JSON_PATCH = types.struct("JSONPatch")


def _struct(**fields: Type) -> StructType:
    return StructType(fields)


_KIND, _RESOURCE, _USER, REQUEST, NAMESPACE = (
    types.struct(f"kubernetes.{name}")
    for name in (
        "GroupVersionKind",
        "GroupVersionResource",
        "UserInfo",
        "AdmissionRequest",
        "Namespace",
    )
)
_OF_NAMESPACE = {
    part: types.struct(f"kubernetes.Namespace{part}")
    for part in ("Metadata", "Spec", "Status", "Condition")
}
STRUCTS: Mapping[str, StructType] = {
    _KIND.name: _struct(group=types.STRING, version=types.STRING, kind=types.STRING),
    _RESOURCE.name: _struct(group=types.STRING, version=types.STRING, resource=types.STRING),
    _USER.name: _struct(
        username=types.STRING,
        uid=types.STRING,
        groups=_STRINGS,
        extra=types.map_of(types.STRING, _STRINGS),
    ),
    REQUEST.name: _struct(
        kind=_KIND,
        resource=_RESOURCE,
        subResource=types.STRING,
        requestKind=_KIND,
        requestResource=_RESOURCE,
        requestSubResource=types.STRING,
        name=types.STRING,
        namespace=types.STRING,
        operation=types.STRING,
        userInfo=_USER,
        dryRun=types.BOOL,
        options=types.DYN,
    ),
    NAMESPACE.name: _struct(
        metadata=_OF_NAMESPACE["Metadata"],
        spec=_OF_NAMESPACE["Spec"],
        status=_OF_NAMESPACE["Status"],
    ),
    _OF_NAMESPACE["Spec"].name: _struct(finalizers=_STRINGS),
    _OF_NAMESPACE["Status"].name: _struct(
        conditions=types.list_of(_OF_NAMESPACE["Condition"]), phase=types.STRING
    ),
    _OF_NAMESPACE["Condition"].name: _struct(
        status=types.STRING,
        type=types.STRING,
        lastTransitionTime=types.TIMESTAMP,
        message=types.STRING,
        reason=types.STRING,
    ),
    _OF_NAMESPACE["Metadata"].name: _struct(
        name=types.STRING,
        generateName=types.STRING,
        namespace=types.STRING,
        labels=_LABELS,
        annotations=_LABELS,
        UID=types.STRING,
        creationTimestamp=types.TIMESTAMP,
        deletionGracePeriodSeconds=types.INT,
        deletionTimestamp=types.TIMESTAMP,
        generation=types.INT,
        resourceVersion=types.STRING,
        finalizers=_STRINGS,
    ),
}
"""The messages that every expression of admission may meet."""


class _AnyField(Mapping[str, Type]):
    """The fields of a message that may have any, of any type."""

    def __getitem__(self, key: str) -> Type:
        return types.DYN

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class Named(dict[str, Any]):
    """An object written in an expression: its fields, and the name it was given."""

    __slots__ = ("type_name",)
    type_name: str


@functools.lru_cache(256)
def _open(name: str) -> StructType:
    """The message of a name that may have any field."""

    def make(fields: dict[str, Any]) -> Named:
        made = Named(fields)
        made.type_name = name
        return made

    return StructType(_AnyField(), make=make)


def name_problems(value: Any, path: str = "") -> list[str]:
    """Where objects below an object have other names than the fields that they are in.

    Follows `CheckTypeNamesMatchFieldPathNames` of `apiserver/pkg/cel/mutation/dynamic`.
    """
    found: list[str] = []
    if isinstance(value, Named):
        path = path or value.type_name
        if value.type_name != path:
            found.append(
                f"unexpected type name {quote(value.type_name)}, expected {quote(path)}, which "
                "matches field name path from root Object type"
            )
        for key, child in value.items():
            found += name_problems(child, f"{path}.{key}")
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            found += name_problems(item, path)
    elif isinstance(value, dict):
        for child in cast("dict[Any, Any]", value).values():
            found += name_problems(child, path)
    return found


_PATCH = StructType(
    {
        "op": types.STRING,
        "path": types.STRING,
        "from": types.STRING,
        "value": types.DYN,
    },
    make=dict,
)


def _patch_types(name: str) -> StructType | None:
    """`Object`, `Object.spec` and whatever is below; `JSONPatch`."""
    if name == JSON_PATCH.name:
        return _PATCH
    is_object = name == OBJECT.name or name.startswith(f"{OBJECT.name}.")
    return _open(name) if is_object else None


@functools.lru_cache(16)
def environment(
    *, params: bool, authorizer: bool = True, patches: bool = False, stored: bool = False
) -> Environment:
    """The environment of an expression.

    `params`: the policy has parameters; `patches`: it makes objects and patches; `stored`: the
    expression is stored already, so that older rules hold.
    """
    variables: dict[str, Type] = {
        "object": types.DYN,
        "oldObject": types.DYN,
        "namespaceObject": NAMESPACE,
        "request": REQUEST,
    }
    if params:
        variables["params"] = types.DYN
    if authorizer:
        variables["authorizer"] = authorization.AUTHORIZER
        variables["authorizer.requestResource"] = authorization.RESOURCE_CHECK
    base = kubernetes.STORED if stored else kubernetes.NEW
    if not patches:
        return base.extend(variables=variables, structs=STRUCTS)
    return base.extend(
        variables=variables,
        structs=STRUCTS,
        functions=texts.JSON_PATCH,
        open_structs=_patch_types,
    )


def _shown(type_: Type) -> str:
    """A type as Go prints it, which has another word for null than the checker."""
    return "null_type" if type_ == types.NULL else str(type_)


@attrs.define
class Compiler:
    """Compiles the expressions of one policy, its variables first (`CompositedCompiler`)."""

    params: bool = False
    patches: bool = False
    composes: bool = False
    """The policy has variables: expressions may name `variables`, be it in vain."""
    known: frozenset[str] = frozenset()
    """Expressions that are stored already."""
    variables: dict[str, Type] = attrs.field(factory=dict[str, Type])

    def environment(self, expression: str, *, authorizer: bool = True) -> Environment:
        """The environment of the next expression."""
        found = environment(
            params=self.params,
            authorizer=authorizer,
            patches=self.patches,
            stored=expression in self.known,
        )
        if not self.composes:
            return found
        composed = {VARIABLES.name: StructType(dict(self.variables))}
        return found.extend(variables={"variables": VARIABLES}, structs=composed)

    def problem(
        self, expression: str, *results: Type, authorizer: bool = True, variable: str = ""
    ) -> str:
        """What is wrong with an expression that must evaluate to one of these types (none: any).

        `variable` is its name among the variables, if it is one.
        """
        try:
            found = program.compile(expression, self.environment(expression, authorizer=authorizer))
        except CompileError as error:
            if variable:
                self.variables[variable] = types.DYN
            instantiated = isinstance(error, InstantiationError)
            return f"{'program instantiation' if instantiated else 'compilation'} failed: {error}"
        if variable:
            self.variables[variable] = found.type
        if not results or found.type in results:
            return ""
        got = _shown(found.type)
        if len(results) == 1:
            return f"must evaluate to {_shown(results[0])} but got {got}"
        wanted = " ".join(map(_shown, results))
        return f"must evaluate to one of [{wanted}] but got {got}"

    def errors(
        self,
        path: Path,
        expression: str,
        *results: Type,
        authorizer: bool = True,
        variable: str = "",
    ) -> ErrorList:
        """The same as field errors."""
        problem = self.problem(expression, *results, authorizer=authorizer, variable=variable)
        return [field.invalid(path, expression, problem)] if problem else []
