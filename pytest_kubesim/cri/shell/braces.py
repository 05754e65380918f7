"""`{a,b}` and `{1..5}`: words that are several, before anything else is looked at (bash's)."""

from __future__ import annotations

import re

from pytest_kubesim.cri.shell.syntax import Literal, Word

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?|([a-zA-Z])\.\.([a-zA-Z])")


def expand(word: Word) -> list[Word]:
    """The words that a word with braces stands for; braces within quotes are none."""
    for number, part in enumerate(word):
        if not isinstance(part, Literal) or part.quoted or "{" not in part.text:
            continue
        found = _split(part.text)
        if found is None:
            continue
        before, choices, after = found
        return [
            made
            for choice in choices
            for made in expand((
                *word[:number], *_text(before + choice + after), *word[number + 1 :]
            ))
        ]
    return [word]


def _text(text: str) -> Word:
    return (Literal(text),) if text else ()


def _split(text: str) -> tuple[str, list[str], str] | None:
    """What stands before, in and after the first braces that mean something."""
    at = text.find("{")
    while at >= 0:
        end = _end(text, at)
        if end > 0:
            choices = _choices(text[at + 1 : end])
            if choices:
                return text[:at], choices, text[end + 1 :]
        at = text.find("{", at + 1)
    return None


def _end(text: str, at: int) -> int:
    depth = 0
    for position in range(at, len(text)):
        depth += (text[position] == "{") - (text[position] == "}")
        if depth == 0:
            return position
    return -1


def _choices(inside: str) -> list[str]:
    """What a pair of braces stands for; nothing where it is but text."""
    match = _RANGE.fullmatch(inside)
    if match is not None:
        return _counted(match)
    choices, depth, start = list[str](), 0, 0
    for position, char in enumerate(inside):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            choices.append(inside[start:position])
            start = position + 1
    return [*choices, inside[start:]] if choices else []


def _counted(match: re.Match[str]) -> list[str]:
    first, last, step, begin, end = match.groups()
    if begin:
        a, b = ord(begin), ord(end)
        return [chr(code) for code in range(a, b + (1 if a <= b else -1), 1 if a <= b else -1)]
    a, b, by = int(first), int(last), abs(int(step or 1)) or 1
    padded = any(len(text.lstrip("-")) > 1 and text.lstrip("-")[0] == "0" for text in (first, last))
    width = max(len(first), len(last)) if padded else 0
    numbers = range(a, b + 1, by) if a <= b else range(a, b - 1, -by)
    return [f"{number:0{width}d}" if width else str(number) for number in numbers]
