"""The definition of the kind `Stage`, for those who apply stages and do not bring it along.

It takes whatever a stage may hold: what it means is checked where it is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.kubelet.stages.stage import API_GROUP

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

NAME = f"stages.{API_GROUP}"
KIND = (API_GROUP, "v1alpha1", "Stage")


def definition() -> Object:
    """The CustomResourceDefinition."""
    open_object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": open_object, "status": open_object}}
    version: Object = {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    names = {"kind": "Stage", "listKind": "StageList", "plural": "stages", "singular": "stage"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {"group": API_GROUP, "scope": "Cluster", "names": names, "versions": [version]},
    }
