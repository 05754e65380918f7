"""The hooks of custom resources in one version.

Follows `apiextensions-apiserver/pkg/registry/customresource/{strategy,status_strategy,
validator}.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import formats, golang, jsonpath, objectmeta
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.jsonpath import JSONPathError
from pytest_kubesim.apimachinery.meta import GroupVersionKind, Object
from pytest_kubesim.apimachinery.structural import listtype, openapi
from pytest_kubesim.apimachinery.structural.correlation import Correlation
from pytest_kubesim.apimachinery.structural.invariants import has_rules
from pytest_kubesim.apimachinery.structural.objectmeta import validate_embedded
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.apiserver.apiextensions.coercion import coerce
from pytest_kubesim.apiserver.apiextensions.places import replicas_at, string_at
from pytest_kubesim.registry.rest import Context, Strategy
from pytest_kubesim.registry.strategies import STANDARD_FINALIZERS, keeping, raised, with_generation

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.schema import Schema
    from pytest_kubesim.apiserver.apiextensions.coercion import Schemas

_METADATA = Path("metadata")
_MAX_INT32 = 2**31 - 1


class CustomStrategy(Strategy):
    """An object as a whole; with a status subresource its status is left alone."""

    allow_unconditional_update = False
    validates_metadata = True

    def __init__(
        self,
        kind: GroupVersionKind,
        schemas: Schemas,
        *,
        namespaced: bool,
        has_status: bool,
        scale: Object | None,
        selectable_fields: Sequence[Object],
    ) -> None:
        self.kind = kind
        self.schemas = schemas
        self.schema = schemas.by_version[kind.version]
        self.has_rules = self.schema is not None and has_rules(self.schema.source)
        self.namespaced = namespaced
        self.has_status = has_status
        self.scale = scale
        self.reset_fields = (("status",),) if has_status else ()
        self._fields = [_selectable(each["jsonPath"]) for each in selectable_fields]
        self.selectable = tuple(name for name, _ in self._fields)

    def coerce(self, obj: Object) -> tuple[Object, list[str]]:
        """What a client has sent, as its schema allows; and the fields that it does not."""
        return coerce(self.schemas, obj)

    def default(self, obj: Object) -> Object:
        """With the defaults of the schema of its version."""
        return self.schemas.default(obj)

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """At generation 1, without a status that only its subresource may set."""
        del ctx
        if self.has_status and "status" in obj:
            obj = {key: value for key, value in obj.items() if key != "status"}
        return with_generation(obj, 1)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """A generation further, if anything but the metadata has changed."""
        del ctx
        if self.has_status:
            obj = keeping(obj, old, "status")
        if _without_metadata(obj) != _without_metadata(old):
            return raised(obj, old)
        return obj

    # -- validation ---------------------------------------------------------------------------

    def validate(self, ctx: Context, obj: Object) -> ErrorList:
        """Type, metadata, schema, scale, embedded resources, lists, rules."""
        if errors := self.check_type(obj):
            return errors + self._rest(ctx, obj, errors)
        errors += objectmeta.validate_object_meta(
            obj["metadata"],
            requires_namespace=self.namespaced,
            name_check=formats.name_is_dns_subdomain,
            path=_METADATA,
        )
        errors += self._by_schema(obj)
        errors += self.check_scale_spec(obj) + self.check_scale_status(obj)
        return errors + self._rest(ctx, obj, errors)

    def _rest(self, ctx: Context, obj: Object, errors: ErrorList) -> ErrorList:
        found = validate_embedded(self.schema, obj)
        found += listtype.validate_list_types(self.schema, obj)
        return found + self.check_rules(ctx, obj, None, [*errors, *found])

    def validate_update(self, ctx: Context, obj: Object, old: Object) -> ErrorList:
        """As for a new object; what has not changed may be wrong as it was (ratcheting)."""
        correlated = _correlated(self.schema, obj, old)
        errors = self.check_type(obj)
        if not errors:
            errors += objectmeta.validate_object_meta_update(
                obj["metadata"], old["metadata"], _METADATA
            )
            errors += self._by_schema(obj, correlated)
            errors += self.check_scale_spec(obj) + self.check_scale_status(obj)
        errors += validate_embedded(self.schema, obj)
        if not listtype.validate_list_types(self.schema, old):
            errors += listtype.validate_list_types(self.schema, obj)
        return errors + self.check_rules(ctx, obj, old, errors, correlated)

    def check_type(self, obj: Object) -> ErrorList:
        """It is of the kind and in the version that it is sent as."""
        errors: ErrorList = []
        if obj.get("kind") != self.kind.kind:
            detail = f"must be {self.kind.kind}"
            errors.append(field.invalid(Path("kind"), obj.get("kind") or "", detail))
        if obj.get("apiVersion") != self.kind.api_version:
            detail = f"must be {self.kind.api_version}"
            errors.append(field.invalid(Path("apiVersion"), obj.get("apiVersion") or "", detail))
        return errors

    def _by_schema(self, obj: Object, correlated: Correlation | None = None) -> ErrorList:
        return _schema_errors(self.schema, obj, field.NIL, correlated)

    def check_scale_spec(self, obj: Object) -> ErrorList:
        """The replicas wanted are a number that a scale can hold."""
        if self.scale is None:
            return []
        return _replicas(obj, self.scale["specReplicasPath"])

    def check_scale_status(self, obj: Object) -> ErrorList:
        """So are those that there are; the selector is a string."""
        if self.scale is None:
            return []
        errors = _replicas(obj, self.scale["statusReplicasPath"])
        path: str = self.scale.get("labelSelectorPath") or ""
        if path:
            _, problem = string_at(obj, path)
            if problem:
                errors.append(field.invalid(Path(path), "", problem))
        return errors

    def check_rules(
        self,
        ctx: Context,
        obj: Object,
        old: Object | None,
        errors: ErrorList,
        correlated: Correlation | None = None,
    ) -> ErrorList:
        """`x-kubernetes-validations`; not checked where the object is wrong in its shape."""
        if self.schema is None or not self.has_rules:
            return []
        if any(error.type in _BLOCKING for error in errors):
            return [field.invalid(field.NIL, None, _NOT_CHECKED)]
        # CEL is loaded by the first definition that has rules, not by every cluster.
        from pytest_kubesim.apimachinery.cel import rules

        return rules.validate(self.schema, obj, old, correlation=correlated, warn=ctx.warn)

    # -- warnings -----------------------------------------------------------------------------

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """Finalizers that are not qualified."""
        del ctx
        return _finalizer_warnings(obj, None)

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """New finalizers that are not qualified."""
        del ctx
        return _finalizer_warnings(obj, old)

    # -- selection ----------------------------------------------------------------------------

    def selectable_fields(self, obj: Object) -> dict[str, str]:
        """The fields that the definition lets one select by."""
        found: dict[str, str] = {}
        for name, template in self._fields:
            value = None
            if template is not None:
                results = template.find(obj)
                if results and results[0]:
                    value = results[0][0]
            found[name] = "" if value is None else golang.plain(value)
        return found


class CustomStatusStrategy(Strategy):
    """`/status` of custom resources: nothing but the status and the managed fields is taken."""

    allow_unconditional_update = False
    validates_metadata = True
    reset_fields = (("metadata",), ("spec",))

    def __init__(self, main: CustomStrategy) -> None:
        self._main = main
        self.selectable = main.selectable

    def default(self, obj: Object) -> Object:
        """As the object as a whole."""
        return self._main.default(obj)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """The old object with the new status."""
        del ctx
        new = {key: value for key, value in old.items() if key != "status"}
        if "status" in obj:
            new["status"] = obj["status"]
        metadata: Object = {k: v for k, v in old["metadata"].items() if k != "managedFields"}
        if obj["metadata"].get("managedFields") is not None:
            metadata["managedFields"] = obj["metadata"]["managedFields"]
        new["metadata"] = metadata
        return new

    def validate_update(self, ctx: Context, obj: Object, old: Object) -> ErrorList:
        """The status by its own part of the schema, and the rules."""
        main = self._main
        correlated = _correlated(main.schema, obj, old)
        errors = main.check_type(obj)
        if not errors:
            errors += objectmeta.validate_object_meta_update(
                obj["metadata"], old["metadata"], _METADATA
            )
            if "status" in obj:
                schema = main.schema.properties.get("status") if main.schema else None
                below = correlated.key("status") if correlated is not None else None
                errors += _schema_errors(schema, obj["status"], Path("status"), below)
            errors += main.check_scale_status(obj)
        if new := listtype.validate_list_types(main.schema, obj):
            if not listtype.validate_list_types(main.schema, old):
                errors += new
        return errors + main.check_rules(ctx, obj, old, errors, correlated)

    def selectable_fields(self, obj: Object) -> dict[str, str]:
        """As the object as a whole."""
        return self._main.selectable_fields(obj)


def _correlated(schema: Schema | None, obj: Object, old: Object) -> Correlation | None:
    return None if schema is None else Correlation(obj, old, schema)


def _schema_errors(
    schema: Schema | None, value: Any, path: Path, correlated: Correlation | None
) -> ErrorList:
    if schema is None:
        return []
    return openapi.validate(schema, value, path=path, correlation=correlated)


_BLOCKING = frozenset(
    {field.NOT_SUPPORTED, field.REQUIRED, field.TOO_LONG, field.TOO_MANY, field.TYPE_INVALID}
)
_NOT_CHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation"
)


def _without_metadata(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key != "metadata"}


def _selectable(path: str) -> tuple[str, jsonpath.Template | None]:
    name = path.removeprefix(".")
    try:
        return name, jsonpath.parse(f"{{{path}}}")
    except JSONPathError:
        return name, None


def _finalizer_warnings(obj: Object, old: Object | None) -> list[str]:
    new: set[str] = set(obj["metadata"].get("finalizers") or ())
    if old is not None:
        new -= set(old["metadata"].get("finalizers") or ())
    found: list[str] = []
    for name in sorted(new):
        shown = f"metadata.finalizers: {golang.quote(name)}"
        found += [f"{shown}: {problem}" for problem in formats.is_qualified_name(name)]
        if "/" in name or name in STANDARD_FINALIZERS:
            continue
        path = " including a path (/)" if "." in name else ""
        found.append(
            f"{shown}: prefer a domain-qualified finalizer name{path} to avoid accidental "
            "conflicts with other finalizer writers"
        )
    return found


def _replicas(obj: Object, path: str) -> ErrorList:
    value, problem = replicas_at(obj, path)
    if problem:
        return [field.invalid(Path(path), 0, problem)]
    if value is None:
        return []
    if value < 0:
        return [field.invalid(Path(path), value, "should be a non-negative integer")]
    if value > _MAX_INT32:
        detail = f"should be less than or equal to {_MAX_INT32}"
        return [field.invalid(Path(path), value, detail)]
    return []
