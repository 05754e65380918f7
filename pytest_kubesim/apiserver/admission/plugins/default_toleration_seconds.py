"""DefaultTolerationSeconds: a pod stays five minutes on a node that is lost.

Follows `plugin/pkg/admission/defaulttolerationseconds/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver.admission.chain import CREATE, UPDATE, Attributes, Plugin

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
SECONDS = 300

_PODS = GroupResource("", "pods")


class DefaultTolerationSeconds(Plugin):
    """The plugin."""

    operations = (CREATE, UPDATE)
    resources = frozenset({_PODS})

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Adds the tolerations that a pod does not have."""
        if obj is None or attributes.subresource:
            return obj
        tolerations: list[Object] = obj["spec"].get("tolerations") or []
        added = [
            {
                "key": key,
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": SECONDS,
            }
            for key in (NOT_READY, UNREACHABLE)
            if not any(_tolerates(each, key) for each in tolerations)
        ]
        if not added:
            return obj
        return {**obj, "spec": {**obj["spec"], "tolerations": [*tolerations, *added]}}


def _tolerates(toleration: Object, key: str) -> bool:
    return (toleration.get("key") or "") in (key, "") and (toleration.get("effect") or "") in (
        "NoExecute",
        "",
    )


PLUGIN = DefaultTolerationSeconds()
