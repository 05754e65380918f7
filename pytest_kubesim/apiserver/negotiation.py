"""Media types: what a client sends and what it wants back.

Follows `apiserver/pkg/endpoints/handlers/negotiation/negotiate.go`; go-restful, which looks at
the `Accept` header first, has words of its own.
"""

from __future__ import annotations

import functools

import attrs

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.status import APIStatus

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
CBOR = "application/cbor"
BUILT_IN = (JSON, YAML, PROTOBUF)
CUSTOM = (JSON, YAML)
"""What custom resources speak; of their metadata alone there are messages too."""

_META_VERSIONS = frozenset({"v1", "v1beta1"})
_PARTIAL = frozenset({"PartialObjectMetadata", "PartialObjectMetadataList"})
_TRANSFORMS = frozenset({"Table", "PartialObjectMetadata", "PartialObjectMetadataList"})


@attrs.frozen
class Output:
    """How to answer: the media type, and into what to turn the object (`as`), in which version."""

    media_type: str = JSON
    kind: str = ""
    version: str = ""
    group: str = ""
    pretty: bool = False

    @property
    def api_version(self) -> str:
        """The apiVersion of what the object is turned into."""
        return f"meta.k8s.io/{self.version}"

    @property
    def content_type(self) -> str:
        """The `Content-Type` of the answer."""
        return self.media_type


PLAIN = Output()


@attrs.frozen
class Clause:
    """One media range of an `Accept` header."""

    type: str
    subtype: str
    quality: float
    params: tuple[tuple[str, str], ...]


@functools.lru_cache(1024)
def parse_accept(header: str) -> tuple[Clause, ...]:
    """The media ranges, the best first (`goautoneg.ParseAccept`)."""
    found: list[Clause] = []
    for part in header.split(","):
        pieces = [piece.strip() for piece in part.split(";")]
        type_, slash, subtype = pieces[0].partition("/")
        if not slash and type_ != "*":
            continue
        quality, params = 1.0, list[tuple[str, str]]()
        for piece in pieces[1:]:
            key, _, value = piece.partition("=")
            if key == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 1.0
            else:
                params.append((key, value))
        found.append(Clause(type_, subtype or "*", quality, tuple(params)))
    found.sort(key=lambda clause: (-clause.quality, clause.type == "*", clause.subtype == "*"))
    return tuple(found)


@functools.lru_cache(1024)
def output_for(
    header: str,
    offers: tuple[str, ...] = BUILT_IN,
    *,
    transforms: bool = True,
    tables: bool = True,
) -> Output | None:
    """The best way to answer that the client accepts, or None."""
    if not header:
        return Output(offers[0])
    for clause in parse_accept(header):
        for offer in (*offers, PROTOBUF) if offers == CUSTOM else offers:
            type_, _, subtype = offer.partition("/")
            if clause.type not in (type_, "*") or clause.subtype not in (subtype, "*"):
                continue
            accepted = _with_params(offer, clause, transforms=transforms)
            if accepted is None or (accepted.kind == "Table" and not tables):
                continue
            if offer in offers or accepted.kind in _PARTIAL:
                return accepted
    return None


def _with_params(offer: str, clause: Clause, *, transforms: bool) -> Output | None:
    kind = version = group = ""
    pretty = False
    for key, value in clause.params:
        if key == "as":
            kind = value
        elif key == "v":
            version = value
        elif key == "g":
            group = value
        elif key == "pretty":
            pretty = value == "1"
        elif key == "stream" and value != "watch":
            return None
    if (kind or version or group) and not (
        transforms and kind in _TRANSFORMS and group == "meta.k8s.io" and version in _META_VERSIONS
    ):
        return None
    return Output(offer, kind, version, group, pretty)


def negotiate(header: str, offers: tuple[str, ...] = BUILT_IN, *, tables: bool = True) -> Output:
    """As `output_for`.  Raises `APIStatus` (406)."""
    found = output_for(header, offers, tables=tables)
    if found is None:
        # Custom resources name protobuf as well, and do not speak it.
        raise status.new_not_acceptable(BUILT_IN)
    return found


@functools.lru_cache(1024)
def routable(header: str, offers: tuple[str, ...] = BUILT_IN) -> bool:
    """Whether go-restful finds a way at all: it does not look at parameters."""
    if not header:
        return True
    for part in header.split(","):
        media = part.partition(";")[0].strip()
        if media == "*/*" or media in offers:
            return True
    return False


def not_routable(offers: tuple[str, ...] = BUILT_IN, *, streams: bool = False) -> APIStatus:
    """406 in the words of go-restful; what lists can be watched where it `streams`."""
    if streams:
        offers += tuple(f"{offer};stream=watch" for offer in (JSON, PROTOBUF))
    message = f"406: Not Acceptable\n\nAvailable representations: {', '.join(offers)}"
    return APIStatus(406, status.NOT_ACCEPTABLE, message, {})


def input_type(header: str, offers: tuple[str, ...] = BUILT_IN) -> str:
    """The media type of a body.  Raises `APIStatus` (415)."""
    media = header.partition(";")[0].strip().lower()
    if not media:
        return offers[0]
    if media not in offers:
        raise status.new_unsupported_media_type(BUILT_IN)
    return media
