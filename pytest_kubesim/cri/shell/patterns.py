"""Patterns of the shell: `*`, `?`, `[...]`, matched against texts and against files."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import DIRECTORY

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc

Segments = tuple[tuple[str, bool], ...]
"""A word after expansion: texts, each with whether it was quoted."""

CLASSES = {
    "alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "space": r"\s", "upper": "A-Z",
    "lower": "a-z", "punct": r"!-/:-@\[-`{-~", "xdigit": "0-9A-Fa-f", "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f", "print": r" -~", "graph": r"!-~",
}


def is_pattern(segments: Segments) -> bool:
    """Whether an unquoted part of a word asks for matching."""
    return any(not quoted and any(c in "*?[" for c in text) for text, quoted in segments)


def plain(segments: Segments) -> str:
    """The word's text."""
    return "".join(text for text, _ in segments)


@lru_cache(maxsize=4096)
def source(segments: Segments) -> str:
    """The regular expression of a pattern."""
    return "".join(re.escape(text) if quoted else _unquoted(text) for text, quoted in segments)


def matches(segments: Segments, text: str) -> bool:
    """Whether the whole text matches."""
    return re.fullmatch(source(segments), text, re.DOTALL) is not None


def _unquoted(text: str) -> str:
    pieces: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "*":
            pieces.append(".*")
        elif char == "?":
            pieces.append(".")
        elif char == "\\" and at < len(text):
            pieces.append(re.escape(text[at]))
            at += 1
        elif char == "[" and (end := _bracket_end(text, at)) > 0:
            pieces.append(bracket(text[at:end]))
            at = end + 1
        else:
            pieces.append(re.escape(char))
    return "".join(pieces)


def _bracket_end(text: str, at: int) -> int:
    begin = at + 1 if text[at : at + 1] in ("!", "^") else at
    end = text.find("]", begin + 1)
    while end > 0 and text.rfind("[:", begin, end) > text.rfind(":]", begin, end + 1):
        end = text.find("]", end + 1)
    return end


def bracket(inside: str) -> str:
    """The regular expression of what stands between brackets."""
    negated = inside[:1] in ("!", "^")
    body = inside[1:] if negated else inside
    body = body.replace("\\", "\\\\").replace("[", "\\[") if "[:" not in body else body
    body = re.sub(r"\[:(\w+):\]", lambda m: CLASSES.get(m.group(1), ""), body)
    if body.startswith("]"):
        body = "\\" + body
    return f"[{'^' if negated else ''}{body}]"


def glob(proc: Proc, segments: Segments) -> list[str]:
    """The paths that match, sorted; none where nothing does."""
    parts: list[list[tuple[str, bool]]] = [[]]
    for text, quoted in segments:
        for count, piece in enumerate(text.split("/")):
            if count:
                parts.append([])
            if piece:
                parts[-1].append((piece, quoted))
    found = [""]
    for count, part in enumerate(parts):
        last = count == len(parts) - 1
        if not part:
            if not count:
                found = ["/"]
            continue
        following: list[str] = []
        for path in found:
            following += _step(proc, path, tuple(part), last=last)
        found = following if last else [f"{path}/" for path in following]
    return sorted(found)


def _step(proc: Proc, path: str, part: Segments, *, last: bool) -> list[str]:
    base = path if path.endswith("/") or not path else f"{path}/"
    if not is_pattern(part):
        full = base + plain(part)
        return [full] if proc.exists(full, follow=not last) else []
    try:
        folder = proc.node(path or ".")
    except Fault:
        return []
    if folder.kind != DIRECTORY:
        return []
    hidden = plain(part).startswith(".")
    names = proc.system.mounts.listed(folder)
    return [
        base + name
        for name in sorted(names)
        if name.startswith(".") == hidden and matches(part, name)
    ]
