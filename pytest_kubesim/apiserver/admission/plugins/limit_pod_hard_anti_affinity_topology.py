"""LimitPodHardAntiAffinityTopology: pods may insist on not sharing a node, nothing larger.

Follows `plugin/pkg/admission/antiaffinity/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource, get_path
from pytest_kubesim.apiserver.admission.chain import Attributes, Plugin

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

HOSTNAME = "kubernetes.io/hostname"
_PODS = GroupResource("", "pods")


class LimitPodHardAntiAffinityTopology(Plugin):
    """The plugin."""

    resources = frozenset({_PODS})

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses hard terms of another topology."""
        if obj is None or attributes.subresource:
            return
        terms: list[Object] = (
            get_path(
                obj, "spec", "affinity", "podAntiAffinity",
                "requiredDuringSchedulingIgnoredDuringExecution",
            ) or []
        )  # fmt: skip
        for term in terms:
            key = term.get("topologyKey") or ""
            if key != HOSTNAME:
                raise status.new_forbidden(
                    _PODS,
                    obj["metadata"].get("name") or "",
                    f"affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but "
                    f"only key {HOSTNAME} is allowed",
                )


PLUGIN = LimitPodHardAntiAffinityTopology()
