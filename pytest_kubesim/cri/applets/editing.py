"""sed and awk: the parts of them that scripts in manifests use.

sed: addresses (numbers, `$`, /patterns/, ranges), `s` with its flags, `d`, `p`, `q`, `a`, `i`, `c`,
`y`, `=`, `n`.  awk: patterns, `print` and `printf` of fields, strings and numbers, BEGIN and END,
assignments and arithmetic.  What is beyond that ends with an error that says so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.cri.applets.options import parse
from pytest_kubesim.cri.applets.text import inputs, lines_of, posix_pattern

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc


class ScriptFault(Exception):
    """A script that is not understood."""


@attrs.define(slots=True)
class _Edit:
    first: str = ""
    last: str = ""
    negated: bool = False
    verb: str = ""
    pattern: re.Pattern[str] | None = None
    text: str = ""
    flags: str = ""
    active: bool = False


async def sed(proc: Proc, args: list[str]) -> int:
    """`sed [-nEri] [-e script] script files`."""
    in_place = any(word.startswith("-i") for word in args)
    args = [word for word in args if not word.startswith("-i")]
    given = await parse(proc, args, "nEre:f:us", {"expression": "e", "quiet": "n"})
    rest = list(given.rest)
    scripts = given.all("e")
    if not scripts:
        if not rest:
            return await proc.complain("no input files")
        scripts = [rest.pop(0)]
    try:
        edits = _edits("\n".join(scripts), extended="E" in given or "r" in given)
    except (ScriptFault, re.error) as fault:
        return await proc.complain(f"unsupported command {fault}")
    texts, status = await inputs(proc, rest)
    if in_place:
        for path, text in texts:
            proc.save(path, _sed(edits, text, quiet="n" in given).encode())
    else:
        whole = "".join(text for _, text in texts)
        await proc.out(_sed(edits, whole, quiet="n" in given))
    return status


_ADDRESS = re.compile(r"\d+|\$|/(?:[^/\\]|\\.)*/")


def _edits(script: str, *, extended: bool) -> list[_Edit]:
    found: list[_Edit] = []
    at = 0
    while at < len(script):
        if script[at] in " \t\n;{}":
            at += 1
            continue
        if script[at] == "#":
            at = (script.find("\n", at) + 1) or len(script)
            continue
        edit = _Edit()
        match = _ADDRESS.match(script, at)
        if match is not None:
            edit.first, at = match.group(), match.end()
            if script[at : at + 1] == ",":
                match = _ADDRESS.match(script, at + 1)
                if match is None:
                    raise ScriptFault(script[at:])
                edit.last, at = match.group(), match.end()
        while script[at : at + 1] in (" ", "!"):
            edit.negated = edit.negated or script[at] == "!"
            at += 1
        edit.verb = script[at : at + 1]
        at += 1
        if edit.verb in ("s", "y"):
            at = _substitution(edit, script, at, extended=extended)
        elif edit.verb in ("a", "i", "c"):
            end = script.find("\n", at + 2 if script[at : at + 2] == "\\\n" else at)
            end = len(script) if end < 0 else end
            edit.text = script[at:end].removeprefix("\\").lstrip("\n ")
            at = end
        elif edit.verb not in tuple("dpq=n{"):
            raise ScriptFault(edit.verb)
        found.append(edit)
    return found


def _substitution(edit: _Edit, script: str, at: int, *, extended: bool) -> int:
    mark = script[at : at + 1]
    parts: list[str] = []
    at += 1
    for _ in range(2):
        piece: list[str] = []
        while at < len(script) and script[at] != mark:
            if script[at] == "\\" and at + 1 < len(script):
                is_mark = script[at + 1] == mark and mark not in "|()"
                piece.append(script[at + 1] if is_mark else script[at : at + 2])
                at += 2
            else:
                piece.append(script[at])
                at += 1
        if at >= len(script):
            raise ScriptFault("unterminated `s'")
        parts.append("".join(piece))
        at += 1
    flags = re.compile(r"[gpiI0-9]*").match(script, at)
    edit.flags = flags.group() if flags else ""
    if edit.verb == "s":
        ignore = re.IGNORECASE if "i" in edit.flags.lower() else 0
        edit.pattern = re.compile(posix_pattern(parts[0], extended=extended), ignore)
    else:
        edit.flags = parts[0]
    edit.text = parts[1]
    return flags.end() if flags and edit.verb == "s" else at


def _replacement(text: str, match: re.Match[str]) -> str:
    def one(part: re.Match[str]) -> str:
        found = part.group()
        if found == "&":
            return match.group()
        if found[1].isdigit():
            return match.group(int(found[1])) or ""
        return {"n": "\n", "t": "\t"}.get(found[1], found[1])

    return re.sub(r"\\.|&", one, text, flags=re.DOTALL)


def _selected(edit: _Edit, number: int, last: bool, line: str) -> bool:
    def at(address: str) -> bool:
        if address == "$":
            return last
        if address.isdigit():
            return number == int(address)
        return re.search(posix_pattern(address[1:-1], extended=False), line) is not None

    if not edit.first:
        return not edit.negated
    if not edit.last:
        return at(edit.first) != edit.negated
    inside = edit.active
    if not inside and at(edit.first):
        inside = edit.active = not (edit.last.isdigit() and int(edit.last) <= number)
        inside = True
    elif inside and at(edit.last):
        edit.active = False
    return inside != edit.negated


def _sed(edits: list[_Edit], text: str, *, quiet: bool) -> str:
    out: list[str] = []
    lines = lines_of(text)
    for number, original in enumerate(lines, 1):
        line: str | None = original
        after: list[str] = []
        quit_now = False
        for edit in edits:
            if line is None:
                break
            if not _selected(edit, number, number == len(lines), line):
                continue
            if edit.verb == "d":
                line = None
            elif edit.verb == "p":
                out.append(line)
            elif edit.verb == "q":
                quit_now = True
                break
            elif edit.verb == "=":
                out.append(str(number))
            elif edit.verb == "a":
                after.append(edit.text)
            elif edit.verb == "i":
                out.append(edit.text)
            elif edit.verb == "c":
                out.append(edit.text)
                line = None
            elif edit.verb == "y":
                line = line.translate(str.maketrans(edit.flags, edit.text))
            elif edit.verb == "s" and edit.pattern is not None:
                line = _substitute(edit, line, out)
        if line is not None and not quiet:
            out.append(line)
        out += after
        if quit_now:
            break
    whole = "\n".join(out)
    return whole + "\n" if out and (text.endswith("\n") or not lines) else whole


def _substitute(edit: _Edit, line: str, out: list[str]) -> str:
    assert edit.pattern is not None
    digits = re.sub(r"\D", "", edit.flags)
    wanted, seen = int(digits or 1), 0
    everything = "g" in edit.flags
    changed = False

    def one(match: re.Match[str]) -> str:
        nonlocal seen, changed
        seen += 1
        if seen == wanted or (everything and seen >= wanted):
            changed = True
            return _replacement(edit.text, match)
        return match.group()

    line = edit.pattern.sub(one, line)
    if changed and "p" in edit.flags:
        out.append(line)
    return line


APPLETS = {"sed": sed}
