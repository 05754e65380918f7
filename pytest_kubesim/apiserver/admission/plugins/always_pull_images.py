"""AlwaysPullImages: images are pulled each time, so that nobody runs one without the right to it.

Follows `plugin/pkg/admission/alwayspullimages/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apimachinery.validation import Path
from pytest_kubesim.apiserver.admission.chain import UPDATE, Attributes, Plugin, forbidden
from pytest_kubesim.registry import parts

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

ALWAYS = "Always"
CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


class AlwaysPullImages(Plugin):
    """The plugin."""

    resources = frozenset({GroupResource("", "pods")})

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Has every container, and every volume of an image, pull always."""
        if obj is None or _is_ignored(attributes, obj):
            return obj
        spec = dict(obj["spec"])
        for key in CONTAINERS:
            if spec.get(key):
                spec[key] = [{**each, "imagePullPolicy": ALWAYS} for each in spec[key]]
        if spec.get("volumes"):
            spec["volumes"] = [
                {**each, "image": {**each["image"], "pullPolicy": ALWAYS}}
                if each.get("image") is not None
                else each
                for each in spec["volumes"]
            ]
        return {**obj, "spec": spec}

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses what somebody after us has changed."""
        if obj is None or _is_ignored(attributes, obj):
            return
        wrong: list[tuple[Path, str]] = []
        spec: Object = obj["spec"]
        for key in CONTAINERS:
            for position, each in enumerate(parts.structs(spec, key)):
                policy = parts.text(each, "imagePullPolicy")
                if policy != ALWAYS:
                    where = Path("spec").child(key).index(position).child("imagePullPolicy")
                    wrong.append((where, policy))
        for position, each in enumerate(parts.structs(spec, "volumes")):
            image: Object | None = each.get("image")
            if image is not None and image.get("pullPolicy") != ALWAYS:
                where = Path("spec").child("volumes").index(position).child("image", "pullPolicy")
                wrong.append((where, parts.text(image, "pullPolicy")))
        problems = [
            forbidden(attributes, field.not_supported(where, policy, (ALWAYS,)))
            for where, policy in wrong
        ]
        if len(problems) == 1:
            raise problems[0]
        if problems:
            texts = list(dict.fromkeys(each.message for each in problems))
            raise status.APIStatus(500, "", f"[{', '.join(texts)}]")


def _is_ignored(attributes: Attributes, obj: Object) -> bool:
    if attributes.subresource:
        return True
    if attributes.operation != UPDATE or attributes.old is None:
        return False
    return _images(obj) <= _images(attributes.old)


def _images(pod: Object) -> set[str]:
    spec: Object = pod["spec"]
    return {parts.text(each, "image") for key in CONTAINERS for each in parts.structs(spec, key)}


PLUGIN = AlwaysPullImages()
