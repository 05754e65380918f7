"""What the hooks of most built-in kinds have in common.

The law: objects come in as Go prints them (`go_encoding.roundtrip`), so that absent and empty need
not be told apart; what goes out may hold empty maps, since it is printed again before it is stored.

Follows `pkg/registry/<group>/<kind>/strategy.go` and `ValidateObjectMeta` of
`pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.apimachinery import golang, quantity
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.formats import name_is_dns_subdomain
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry.rest import Context, Strategy

if TYPE_CHECKING:
    from collections.abc import Mapping

STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
_NOT_STANDARD = "name is neither a standard finalizer name nor is it fully qualified"
_METADATA = Path("metadata")
METADATA = _METADATA
SPEC = Path("spec")
STATUS = Path("status")

EMPTY: Object = {}
"""To look into where there is nothing; not to be changed nor passed on."""
DNS_LABEL_RECOMMENDED = (
    "metadata.name: this is used in Pod names and hostnames, which can result in surprising "
    "behavior; a DNS label is recommended: "
)


# -- metadata ----------------------------------------------------------------------------------


def kube_finalizers(obj: Object) -> ErrorList:
    """Finalizers that have no slash and that Kubernetes does not know."""
    finalizers: list[str] | None = obj["metadata"].get("finalizers")
    if not finalizers:
        return []
    path = _METADATA.child("finalizers")
    return [
        field.invalid(path.index(position), name, _NOT_STANDARD)
        for position, name in enumerate(finalizers)
        if "/" not in name and name not in STANDARD_FINALIZERS
    ]


def finalizer_problem(name: str, path: Path) -> ErrorList:
    """What is wrong with a finalizer of a built-in kind that has no slash."""
    if "/" in name or name in STANDARD_FINALIZERS:
        return []
    return [field.invalid(path, name, _NOT_STANDARD)]


def annotations_of(obj: Object) -> Mapping[str, str]:
    """`metadata.annotations` of an object or a template."""
    found: Mapping[str, str] | None = (obj.get("metadata") or EMPTY).get("annotations")
    return found or {}


def labels_of(obj: Object) -> Mapping[str, str]:
    """`metadata.labels` of an object or a template."""
    found: Mapping[str, str] | None = (obj.get("metadata") or EMPTY).get("labels")
    return found or {}


def with_generation(obj: Object, generation: int) -> Object:
    """The object with that generation."""
    return {**obj, "metadata": {**obj["metadata"], "generation": generation}}


def raised(obj: Object, old: Object) -> Object:
    """The object with the generation that follows that of `old`."""
    return with_generation(obj, (old["metadata"].get("generation") or 0) + 1)


def keeping(obj: Object, old: Object, *fields: str) -> Object:
    """The object with those top-level fields as they are in `old`."""
    kept = dict(obj)
    for name in fields:
        if name in old:
            kept[name] = old[name]
        else:
            kept.pop(name, None)
    return kept


def keeping_metadata(obj: Object, old: Object, *fields: str) -> Object:
    """The object with those fields of its metadata as they are in `old`."""
    metadata: Object = dict(obj["metadata"])
    before: Object = old["metadata"]
    for name in fields:
        if name in before:
            metadata[name] = before[name]
        else:
            metadata.pop(name, None)
    return {**obj, "metadata": metadata}


def reset_metadata_for_status(obj: Object, old: Object) -> Object:
    """What `metav1.ResetObjectMetaForStatus` leaves of the new metadata: managed fields alone."""
    return keeping_metadata(
        obj,
        old,
        "deletionTimestamp",
        "generation",
        "selfLink",
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
    )


# -- selectors ---------------------------------------------------------------------------------


def selector_value(selector: Object | None) -> field.Printed:
    """A LabelSelector as a bad value: labels before expressions."""
    if selector and (pairs := selector.get("matchLabels")):
        first = {"matchLabels": dict(sorted(pairs.items()))}
        selector = {**first, **{k: v for k, v in selector.items() if k != "matchLabels"}}
    return field.Printed(golang.json_text(selector, sort_keys=False))


def immutable_selector(new: Object, old: Object, path: Path) -> ErrorList:
    """A LabelSelector that may not change."""
    if semantically_equal(new.get("selector"), old.get("selector")):
        return []
    shown = selector_value(new.get("selector"))
    return [field.invalid(path, shown, field.FIELD_IMMUTABLE)]


# -- equality ----------------------------------------------------------------------------------

_OF_QUANTITIES = frozenset(
    {
        "limits",
        "requests",
        "overhead",
        "capacity",
        "hard",
        "used",
        "allocatable",
        "allocatedResources",
        "min",
        "max",
        "default",
        "defaultRequest",
        "maxLimitRequestRatio",
    }
)
_QUANTITIES = frozenset({"sizeLimit", "divisor"})


def semantically_equal(new: Any, old: Any) -> bool:
    """`apiequality.Semantic.DeepEqual`: amounts by what they amount to, empty as absent."""
    if new is old or new == old:
        return True
    if not new and not old and type(new) in _EMPTY and type(old) in _EMPTY:
        return True
    if isinstance(new, dict) and isinstance(old, dict):
        return _maps_equal(cast("Object", new), cast("Object", old))
    if isinstance(new, list) and isinstance(old, list):
        left, right = cast("list[Any]", new), cast("list[Any]", old)
        return len(left) == len(right) and all(
            semantically_equal(a, b) for a, b in zip(left, right, strict=True)
        )
    return False


_EMPTY = (type(None), dict, list)


def _maps_equal(new: Object, old: Object) -> bool:
    for key in {**new, **old}:
        a, b = new.get(key), old.get(key)
        if a == b:
            continue
        if key in _QUANTITIES and a is not None and b is not None:
            if quantity.cmp(a, b):
                return False
        elif key in _OF_QUANTITIES and isinstance(a, dict) and isinstance(b, dict):
            if not _amounts_equal(cast("Object", a), cast("Object", b)):
                return False
        elif (a is None and b == {}) or (b is None and a == {}):
            # Empty maps are not printed: this is a struct, which is there or is not.
            return False
        elif not semantically_equal(a, b):
            return False
    return True


def _amounts_equal(new: Object, old: Object) -> bool:
    if new.keys() != old.keys():
        return False
    for key, amount in new.items():
        other = old[key]
        if amount == other:
            continue
        if not isinstance(amount, str) or not isinstance(other, str):
            return False
        try:
            if quantity.cmp(amount, other):
                return False
        except ValueError:
            return False
    return True


# -- numbers -----------------------------------------------------------------------------------


def nonnegative(holder: Mapping[str, Any], path: Path, *names: str) -> list[FieldError]:
    """Fields that hold a number below zero, in the order given."""
    return [
        field.invalid(path.child(name), holder[name], field.NOT_NEGATIVE)
        for name in names
        if (holder.get(name) or 0) < 0
    ]


def counts_within(
    status: Mapping[str, Any], path: Path, names: tuple[str, ...], bound: str, message: str
) -> list[FieldError]:
    """Counters that are greater than another counter of the same status."""
    limit = status.get(bound) or 0
    return [
        field.invalid(path.child(name), status[name], message)
        for name in names
        if (status.get(name) or 0) > limit
    ]


def once(errors: list[FieldError]) -> list[FieldError]:
    """Each complaint once: built-in kinds, other than custom ones, do not repeat themselves."""
    if len(errors) < 2:
        return errors
    out: list[FieldError] = []
    for error in errors:
        if error not in out:
            out.append(error)
    return out


def declared_long_name(name: str, prefix: bool) -> list[str]:
    """A name of a kind that declares the rule: in bytes, and not of how a generated one begins."""
    if prefix:
        return []
    details = name_is_dns_subdomain(name, prefix=prefix)
    too_long = "must be no more than 253 characters"
    return [text.replace("characters", "bytes") if text == too_long else text for text in details]


# -- strategies --------------------------------------------------------------------------------


class Plain(Strategy):
    """A kind without status and generation: what is particular goes into `check`."""

    any_finalizer = False
    """Its group validates metadata without the core group's rule for finalizers."""

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """What is wrong with the object apart from its metadata; `old` on update."""
        del obj, old
        return []

    def validate(self, ctx: Context, obj: Object) -> list[FieldError]:
        """All that is wrong with a new object."""
        del ctx
        return field.declared_last(once(self._finalizers(obj) + self.check(obj, None)))

    def validate_update(self, ctx: Context, obj: Object, old: Object) -> list[FieldError]:
        """All that is wrong with a change."""
        del ctx
        return field.declared_last(once(self._finalizers(obj) + self.check(obj, old)))

    def _finalizers(self, obj: Object) -> list[FieldError]:
        return [] if self.any_finalizer else kube_finalizers(obj)


class WithStatus(Plain):
    """A kind with a status subresource: clients of the main resource don't touch the status."""

    reset_fields = (("status",),)
    generations = False
    """The generation counts changes of the spec."""

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Without a status, at generation 1 where there are generations."""
        del ctx
        obj = {**obj, "status": {}}
        return with_generation(obj, 1) if self.generations else obj

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old status, a generation further if the spec has changed."""
        del ctx
        obj = keeping(obj, old, "status")
        if self.generations and not semantically_equal(obj.get("spec"), old.get("spec")):
            obj = raised(obj, old)
        return obj


class StatusOnly(Plain):
    """The `/status` of a kind: the spec stays; so do `kept_metadata`."""

    reset_fields = (("spec",),)
    kept_metadata: tuple[str, ...] = ()

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec."""
        del ctx
        obj = keeping(obj, old, "spec")
        return keeping_metadata(obj, old, *self.kept_metadata) if self.kept_metadata else obj
