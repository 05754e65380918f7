"""CSIStorageCapacities.

Follows `pkg/registry/storage/csistoragecapacity/strategy.go` and
`pkg/apis/storage/validation/validation.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import formats, metav1, quantity
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.pod_template.warnings import NODE_LABELS
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import Plain, semantically_equal

_TOPOLOGY = Path("nodeTopology")
_CLASS = Path("storageClassName")


class CSIStorageCapacityStrategy(Plain):
    """`/csistoragecapacities`."""

    allow_unconditional_update = False

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateCSIStorageCapacity`; where and of which class stays."""
        topology: Object | None = obj.get("nodeTopology")
        before: Object | None = (old or {}).get("nodeTopology")
        lenient = bool(metav1.validate_label_selector(before, _TOPOLOGY))
        errors = metav1.validate_label_selector(topology, _TOPOLOGY, allow_invalid_values=lenient)
        name = parts.text(obj, "storageClassName")
        errors += field.invalid_each(_CLASS, name, formats.name_is_dns_subdomain(name))
        amount = obj.get("capacity")
        if amount is not None and quantity.sign(amount) < 0:
            where, shown = Path("capacity"), quantity.canonical(amount)
            errors.append(field.invalid(where, shown, field.NOT_NEGATIVE))
        if old is not None and not semantically_equal(topology, before):
            errors.append(field.invalid(_TOPOLOGY, topology, field.FIELD_IMMUTABLE))
        if old is not None and name != parts.text(old, "storageClassName"):
            errors.append(field.invalid(_CLASS, name, field.FIELD_IMMUTABLE))
        return errors

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """For labels of nodes that are going away."""
        del ctx
        topology = parts.struct(obj, "nodeTopology")
        found: list[str] = []
        for position, expression in enumerate(parts.structs(topology, "matchExpressions")):
            key = parts.text(expression, "key")
            if key in NODE_LABELS:
                where = _TOPOLOGY.child("matchExpressions").index(position).child("key")
                found.append(f"{where}: {key} is {NODE_LABELS[key]}")
        for key in sorted(parts.struct(topology, "matchLabels")):
            if key in NODE_LABELS:
                found.append(f"{_TOPOLOGY.child('matchLabels', key)}: {NODE_LABELS[key]}")
        return found

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """For labels of nodes that are going away."""
        del old
        return self.warnings_on_create(ctx, obj)


KIND = Kind(strategy=CSIStorageCapacityStrategy())
