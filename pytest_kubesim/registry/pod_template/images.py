"""Image names: which tag an image has, by the grammar of the distribution project.

Follows `pkg/util/parsers/parsers.go` and `distribution/reference`.
"""

from __future__ import annotations

import re
from functools import lru_cache

_COMPONENT = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_COMPONENT}(?:\.{_COMPONENT})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PATH = r"[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*"
_NAME = rf"(?:{_HOST}/)?{_PATH}(?:/{_PATH})*"
_TAG = r"[\w][\w.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_match = re.compile(rf"({_NAME})(?::({_TAG}))?(?:@({_DIGEST}))?", re.ASCII).fullmatch
_is_identifier = re.compile("[a-f0-9]{64}").fullmatch
_DIGEST_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}


@lru_cache(maxsize=2048)
def tag_of(image: str) -> str:
    """The tag; `latest` where neither tag nor digest is given, empty for what is no image name."""
    if _is_identifier(image):
        return ""
    domain, slash, rest = image.partition("/")
    if not slash:
        domain, rest = "docker.io", f"library/{image}"
    elif not (domain == "localhost" or "." in domain or ":" in domain or domain != domain.lower()):
        domain, rest = "docker.io", image
    remote = rest.partition(":")[0]
    if remote != remote.lower():
        return ""
    found = _match(f"{domain}/{rest}")
    if found is None or len(found[1]) > 255:
        return ""
    tag, digest = found[2] or "", found[3] or ""
    if digest:
        algorithm, _, encoded = digest.partition(":")
        if _DIGEST_LENGTHS.get(algorithm) != len(encoded) or encoded != encoded.lower():
            return ""
        return tag
    return tag or "latest"


def default_pull_policy(image: str) -> str:
    """`Always` for the tag `latest`, said or meant."""
    return "Always" if tag_of(image) == "latest" else "IfNotPresent"
