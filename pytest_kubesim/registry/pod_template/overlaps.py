"""Files in volumes that lie in each other's way.

Follows `warningsForOverlappingVirtualPaths` of `pkg/api/pod/warnings.go`.
"""

from __future__ import annotations

from collections.abc import Iterable

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.registry.strategies import EMPTY

_Place = tuple[str, str]
"""A path and who puts it there."""


def overlapping_paths(volumes: list[Object]) -> list[str]:
    """Warnings of all volumes."""
    out: list[str] = []
    for volume in volumes:
        name = volume.get("name") or ""
        for key, shown, named in (
            ("configMap", "ConfigMap", "name"),
            ("secret", "Secret", "secretName"),
            ("downwardAPI", "DownwardAPI", ""),
        ):
            source = volume.get(key)
            if source is None or not source.get("items"):
                continue
            what = f"{shown} {quote(source.get(named) or '')}" if named else shown
            places = [(item.get("path") or "", "") for item in source["items"]]
            out += [_warning(name, what, text) for text in _collisions([], places)]
        if volume.get("projected") is not None:
            out += _projected(name, volume["projected"])
    return out


def _warning(volume: str, what: str, text: str) -> str:
    return f"volume {quote(volume)} ({what}): overlapping paths: {text}"


def _projected(name: str, projected: Object) -> list[str]:
    out: list[str] = []
    before: list[_Place] = []
    for source in projected.get("sources") or ():
        if not source:
            out.append(f"volume {quote(name)} (Projected) has no sources provided")
            continue
        out += [_warning(name, "Projected", text) for text in _collisions(before, _places(source))]
    return out


def _places(source: Object) -> list[_Place]:
    for key, shown in (("configMap", "ConfigMap"), ("secret", "Secret")):
        found = source.get(key)
        if found is not None and found.get("items"):
            who = f"{shown} {quote(found.get('name') or '')}"
            return [(item.get("path") or "", who) for item in found["items"]]
    if (source.get("downwardAPI") or EMPTY).get("items"):
        return [(item.get("path") or "", "DownwardAPI") for item in source["downwardAPI"]["items"]]
    if (token := source.get("serviceAccountToken")) is not None:
        return [(token.get("path") or "", "ServiceAccountToken")]
    if (bundle := source.get("clusterTrustBundle")) is not None:
        named = bundle.get("name") if bundle.get("name") is not None else bundle.get("signerName")
        return [(bundle.get("path") or "", f"ClusterTrustBundle {quote(named or '')}")]
    certificate: Object = source.get("podCertificate") or {}
    return [
        (certificate[key], f"PodCertificate {what}")
        for key, what in (
            ("certificateChainPath", "chain"),
            ("keyPath", "key"),
            ("credentialBundlePath", "credential bundle"),
        )
        if certificate.get(key)
    ]


def _collisions(before: list[_Place], places: Iterable[_Place]) -> list[str]:
    """What each place collides with among those before it, which it joins."""
    out: list[str] = []
    for target, who in places:
        place = (target.rstrip("/"), who)
        out += [f"{_text(place)} with {_text(other)}" for other in before if _collide(other, place)]
        before.append(place)
    return out


def _text(place: _Place) -> str:
    return f"{quote(place[0])} ({place[1]})" if place[1] else quote(place[0])


def _collide(one: _Place, other: _Place) -> bool:
    if not one[0] or not other[0]:
        return False
    left, right = f"{one[0]}/", f"{other[0]}/"
    return left.startswith(right) or right.startswith(left)
