"""Names, hashes and UIDs that Kubernetes makes up, drawn so that a run can be repeated.

The alphabet leaves out vowels and what looks like them, so that no name spells a word. Whoever
wants something random brings the draw; nothing here remembers anything.

Follows ``apiserver/pkg/storage/names/generate.go``, ``apimachinery/pkg/util/rand``,
``kubernetes/pkg/controller/controller_utils.go`` (``ComputeHash``) and
``kubernetes/pkg/controller/history/controller_history.go``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

from pytest_kubesim.apimachinery import spew
from pytest_kubesim.apimachinery.golang import json_text

Draw: TypeAlias = Callable[[int], int]
"""Given ``n``, a number from 0 to ``n - 1``."""

ALPHANUMS = "bcdfghjklmnpqrstvwxz2456789"
SUFFIX_LENGTH = 5
MAX_GENERATED_NAME_LENGTH = 63 - SUFFIX_LENGTH


def random_suffix(draw: Draw, length: int = SUFFIX_LENGTH) -> str:
    """Letters as ``rand.String`` gives them, one draw each."""
    return "".join(ALPHANUMS[draw(len(ALPHANUMS))] for _ in range(length))


def generate_name(base: str, draw: Draw) -> str:
    """The name for a ``generateName``: the base cut to 58 characters, and five drawn letters."""
    return base[:MAX_GENERATED_NAME_LENGTH] + random_suffix(draw)


def safe_encode(text: str) -> str:
    """``rand.SafeEncodeString``: every byte as a letter of the alphabet."""
    return "".join(ALPHANUMS[byte % len(ALPHANUMS)] for byte in text.encode())


def fnv32a(data: bytes) -> int:
    """The 32-bit FNV-1a hash."""
    value = 2166136261
    for byte in data:
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return value


def fnv32(data: bytes) -> int:
    """The 32-bit FNV-1 hash."""
    value = 2166136261
    for byte in data:
        value = value * 16777619 & 0xFFFFFFFF ^ byte
    return value


def pod_template_hash(template: Any, collision_count: int | None = None) -> str:
    """The label value that tells a Deployment's ReplicaSets apart (``ComputeHash``).

    Equal templates hash equally, and a collision count gives another value.
    """
    salt = b"" if collision_count is None else collision_count.to_bytes(8, "little")
    return _hash(json_text(template), salt)


def controller_revision_hash(raw: str, probe: int | None = None) -> str:
    """The label value of a ControllerRevision whose ``data`` prints as ``raw``."""
    salt = "" if probe is None else str(probe)
    return safe_encode(str(fnv32((raw + salt).encode("utf-8", "surrogatepass"))))


def controller_revision_name(prefix: str, hash_: str) -> str:
    """The name of a ControllerRevision: the prefix cut to 223 characters, a dash and the hash."""
    return f"{prefix[:223]}-{hash_}"


@lru_cache(maxsize=1024)
def _hash(template: str, salt: bytes) -> str:
    printed = spew.pod_template(json.loads(template)).encode("utf-8", "surrogatepass")
    return safe_encode(str(fnv32a(printed + salt)))


def stable_uid(draw: Draw) -> str:
    """A UID in the shape of a random UUID (version 4), from four draws of 32 bits."""
    number = 0
    for _ in range(4):
        number = number << 32 | draw(1 << 32)
    number = number & ~(0xF << 76) | 0x4 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
