"""Bindings: what a scheduler posts to put a pod on a node.

Follows `ValidatePodBinding` and `assignPod` of `pkg/registry/core/pod/storage/storage.go`; the API
server's handler of `pods/binding` does the rest.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import FieldError
from pytest_kubesim.registry.pod_template.pods import validate_binding
from pytest_kubesim.registry.rest import Kind
from pytest_kubesim.registry.strategies import Plain


class BindingStrategy(Plain):
    """`/bindings` and `/pods/{name}/binding`."""

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """A node, named."""
        del old
        return validate_binding(obj)


KIND = Kind(strategy=BindingStrategy())
