"""grep, cut, tr, wc, head, tail, sort, uniq, tac, rev, nl, cmp: text through a pipe."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_kubesim.cri.applets.files import size_of
from pytest_kubesim.cri.applets.options import Options, parse
from pytest_kubesim.cri.applets.printing import unescape
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import DIRECTORY, OpenFile, walk
from pytest_kubesim.cri.linux.process import decode, encode

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc

FOLLOW_NS = 1_000_000_000
"""How often `tail -f` looks at its file."""


async def inputs(proc: Proc, paths: list[str]) -> tuple[list[tuple[str, str]], int]:
    """The texts of files (or standard input) by their path, and the status for those missing."""
    found: list[tuple[str, str]] = []
    status = 0
    for path in paths or ["-"]:
        try:
            found.append((path, decode(await proc.contents(path))))
        except Fault as fault:
            status = await proc.complain(f"{path}: {fault}")
    return found, status


def lines_of(text: str) -> list[str]:
    """Lines without their ends."""
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def posix_pattern(text: str, *, extended: bool) -> str:
    """A POSIX regular expression as Python reads it."""
    pieces: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        following = text[at + 1 : at + 2]
        if char == "[":
            end = text.find("]", at + 3 if following == "^" else at + 2)
            while end > 0 and text.count("[:", at, end) > text.count(":]", at, end + 1):
                end = text.find("]", end + 1)
            if end < 0:
                pieces.append("\\[")
                at += 1
                continue
            from pytest_kubesim.cri.shell.patterns import bracket

            pieces.append(bracket(text[at + 1 : end]))
            at = end + 1
            continue
        if char == "\\" and following:
            at += 2
            if not extended and following in "(){}|+?":
                pieces.append(following)
            elif following in "<>":
                pieces.append(r"\b")
            else:
                pieces.append("\\" + following)
            continue
        if not extended and char in "(){}|+?":
            pieces.append("\\" + char)
        elif char == "*" and (not pieces or pieces[-1] in ("^", "(", "|")):
            pieces.append("\\*")
        else:
            pieces.append(char)
        at += 1
    return "".join(pieces)


async def grep(proc: Proc, args: list[str]) -> int:
    """`grep [-EFivnclLqowxhHrsm] [-e pattern] [-ABC n] pattern files`."""
    given = await parse(
        proc, args, "EFivncle:f:qowxhHrRsm:A:B:C:Lz",
        {"quiet": "q", "count": "c", "ignore-case": "i", "invert-match": "v", "silent": "q",
         "extended-regexp": "E", "fixed-strings": "F", "regexp": "e", "line-number": "n"},
    )
    extended = "E" in given or proc.name == "egrep"
    wanted = given.all("e")
    rest = list(given.rest)
    if "f" in given:
        wanted += lines_of(decode(await proc.contents(given.get("f"))))
    elif not wanted:
        if not rest:
            return await proc.complain("no pattern") + 1
        wanted = [rest.pop(0)]
    sources: list[str] = []
    for one in "\n".join(wanted).split("\n"):
        fixed = "F" in given or proc.name == "fgrep"
        source = re.escape(one) if fixed else posix_pattern(one, extended=extended)
        source = rf"\b(?:{source})\b" if "w" in given else source
        sources.append(f"^(?:{source})$" if "x" in given else f"(?:{source})")
    try:
        pattern = re.compile("|".join(sources), re.IGNORECASE if "i" in given else 0)
    except re.error:
        return await proc.complain(f"bad regex '{wanted[0]}'") + 1
    paths = _recursed(proc, rest) if "r" in given or "R" in given else rest
    return await _grep(proc, given, pattern, paths)


def _recursed(proc: Proc, paths: list[str]) -> list[str]:
    found: list[str] = []
    for path in paths or ["."]:
        try:
            node = proc.node(path)
        except Fault:
            found.append(path)
            continue
        found += [path + below for below, n in walk(node) if n.kind != DIRECTORY]
    return found


async def _grep(proc: Proc, given: Options, pattern: re.Pattern[str], paths: list[str]) -> int:
    status, any_found = 0, False
    named = (len(paths) > 1 or "H" in given or "r" in given) and "h" not in given
    for path in paths or ["-"]:
        try:
            data = await proc.contents(path)
        except Fault as fault:
            if "s" not in given:
                await proc.err(f"{proc.name}: {path}: {fault}\n")
            status = 2
            continue
        shown = f"{'(standard input)' if path == '-' else path}"
        prefix = f"{shown}:" if named else ""
        lines = lines_of(decode(data))
        hits = [
            number for number, line in enumerate(lines)
            if (pattern.search(line) is None) == ("v" in given)
        ]
        if "m" in given:
            hits = hits[: int(given.get("m"))]
        any_found = any_found or bool(hits)
        if "q" in given:
            if hits:
                return 0
        elif "c" in given:
            await proc.out(f"{prefix}{len(hits)}\n")
        elif "l" in given or "L" in given:
            if bool(hits) == ("l" in given):
                await proc.out(f"{shown}\n")
        else:
            await _show(proc, given, pattern, lines, hits, prefix)
    return status or (0 if any_found else 1)


async def _show(
    proc: Proc,
    given: Options,
    pattern: re.Pattern[str],
    lines: list[str],
    hits: list[int],
    prefix: str,
) -> None:
    before = int(given.get("B") or given.get("C") or 0)
    after = int(given.get("A") or given.get("C") or 0)
    text: list[str] = []
    last = -1
    for hit in hits:
        if "o" in given:
            for match in pattern.finditer(lines[hit]):
                if match.group():
                    number = f"{hit + 1}:" if "n" in given else ""
                    text.append(f"{prefix}{number}{match.group()}\n")
            continue
        first = max(last + 1, hit - before)
        if (before or after) and last >= 0 and first > last + 1:
            text.append("--\n")
        for at in range(first, min(len(lines), hit + after + 1)):
            if at <= last:
                continue
            number = f"{at + 1}{':' if at in hits else '-'}" if "n" in given else ""
            text.append(f"{prefix}{number}{lines[at]}\n")
            last = at
    if text:
        await proc.out("".join(text))


def _ranges(text: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        low = int(first or 1)
        found.append((low, int(last) if last else (1 << 30 if dash else low)))
    return found


async def cut(proc: Proc, args: list[str]) -> int:
    """`cut -f list [-d delimiter] [-s]`, `cut -c list`, `cut -b list`."""
    given = await parse(proc, args, "f:d:c:b:sn", {"delimiter": "d", "fields": "f"})
    letter = next((one for one in "fcb" if one in given), "")
    if not letter:
        return await proc.complain("expected a list of bytes, characters, or fields")
    ranges = _ranges(given.get(letter))
    mark = given.get("d", "\t")
    texts, status = await inputs(proc, given.rest)
    out: list[str] = []
    for _, text in texts:
        for line in lines_of(text):
            if letter == "f" and mark not in line:
                if "s" not in given:
                    out.append(line)
                continue
            parts = line.split(mark) if letter == "f" else list(line)
            chosen = [
                part for number, part in enumerate(parts, 1)
                if any(low <= number <= high for low, high in ranges)
            ]
            out.append((mark if letter == "f" else "").join(chosen))
    await proc.out("".join(f"{line}\n" for line in out))
    return status


def _set_of(text: str) -> list[int]:
    from pytest_kubesim.cri.shell.patterns import bracket

    classes = re.compile(r"\[:\w+:\]")
    found: list[int] = []
    at = 0
    data = unescape(text)[0].decode("latin-1")
    while at < len(data):
        match = classes.match(data, at)
        if match is not None:
            test = re.compile(bracket(match.group()))
            found += [code for code in range(256) if test.match(chr(code))]
            at = match.end()
        elif data[at + 1 : at + 2] == "-" and at + 2 < len(data):
            found += range(ord(data[at]), ord(data[at + 2]) + 1)
            at += 3
        else:
            found.append(ord(data[at]))
            at += 1
    return found


async def tr(proc: Proc, args: list[str]) -> int:
    """`tr [-cds] set1 [set2]`."""
    given = await parse(proc, args, "cCds")
    if not given.rest:
        return await proc.complain("missing operand")
    first = _set_of(given.rest[0])
    if "c" in given or "C" in given:
        chosen = set(first)
        first = [code for code in range(256) if code not in chosen]
    second = _set_of(given.rest[1]) if len(given.rest) > 1 else []
    data = await proc.read_all()
    if "d" in given:
        data = data.translate(None, bytes(first))
    elif second:
        table = bytearray(range(256))
        for number, code in enumerate(first):
            table[code] = second[min(number, len(second) - 1)]
        data = data.translate(bytes(table))
    if "s" in given:
        for code in set(second or first):
            data = re.sub(re.escape(bytes((code,))) + b"+", lambda m: m.group()[:1], data)
    await proc.out(data)
    return 0


async def wc(proc: Proc, args: list[str]) -> int:
    """`wc [-lwcm] files`."""
    given = await parse(proc, args, "lwcmL")
    letters = [one for one in "lwcm" if one in given] or ["l", "w", "c"]
    totals = dict.fromkeys("lwcm", 0)
    status = 0
    rows: list[tuple[dict[str, int], str]] = []
    for path in given.rest or ["-"]:
        try:
            data = await proc.contents(path)
        except Fault as fault:
            status = await proc.complain(f"{path}: {fault}")
            continue
        counts = {
            "l": data.count(b"\n"), "w": len(data.split()), "c": len(data), "m": len(decode(data)),
        }
        totals = {letter: totals[letter] + counts[letter] for letter in totals}
        rows.append((counts, path if given.rest else ""))
    if len(given.rest) > 1:
        rows.append((totals, "total"))
    for counts, name in rows:
        if len(letters) == 1:
            await proc.out(f"{counts[letters[0]]}{' ' + name if name else ''}\n")
        else:
            numbers = " ".join(f"{counts[letter]:9d}" for letter in letters)
            await proc.out(f"{numbers}{' ' + name if name else ''}\n")
    return status


async def head(proc: Proc, args: list[str]) -> int:
    """`head [-n lines] [-c bytes] files`."""
    args = [f"-n{word[1:]}" if re.fullmatch(r"-\d+", word) else word for word in args]
    given = await parse(proc, args, "n:c:qv")
    if "c" in given and not given.rest:
        left = size_of(given.get("c"))
        while left > 0 and (piece := await proc.read(min(left, 65_536))):
            await proc.out(piece)
            left -= len(piece)
        return 0
    if not given.rest and not given.get("n").startswith("-"):
        return await _head_of_input(proc, int(given.get("n", "10")))
    status = 0
    for number, path in enumerate(given.rest or ["-"]):
        try:
            data = await proc.contents(path)
        except Fault as fault:
            status = await proc.complain(f"{path}: {fault}")
            continue
        if len(given.rest) > 1 and "q" not in given:
            await proc.out(f"{chr(10) if number else ''}==> {path} <==\n")
        if "c" in given:
            await proc.out(data[: size_of(given.get("c"))])
        else:
            count = int(given.get("n", "10"))
            await proc.out(b"".join(data.splitlines(keepends=True)[:count]))
    return status


async def _head_of_input(proc: Proc, count: int) -> int:
    pending = b""
    while count > 0 and (piece := await proc.read()):
        pending += piece
        while count > 0 and b"\n" in pending:
            line, _, pending = pending.partition(b"\n")
            await proc.out(line + b"\n")
            count -= 1
    if count > 0 and pending:
        await proc.out(pending)
    return 0


async def tail(proc: Proc, args: list[str]) -> int:
    """`tail [-fF] [-n lines] [-c bytes] files`."""
    args = [f"-n{word[1:]}" if re.fullmatch(r"-\d+", word) else word for word in args]
    given = await parse(proc, args, "n:c:fFqvs:", {"lines": "n", "follow": "f"})
    count = given.get("n", "10")
    status = 0
    for path in given.rest or ["-"]:
        try:
            data = await proc.contents(path)
        except Fault as fault:
            status = await proc.complain(f"can't open '{path}': {fault}")
            continue
        if "c" in given:
            size = given.get("c")
            await proc.out(data[int(size) - 1 :] if size[0] == "+" else data[-int(size) :])
            continue
        lines = data.splitlines(keepends=True)
        if count.startswith("+"):
            await proc.out(b"".join(lines[int(count) - 1 :]))
        elif int(count):
            await proc.out(b"".join(lines[-abs(int(count)) :]))
    follows = "f" in given or "F" in given
    if follows and given.rest:
        await _follow(proc, given.rest[-1])
    return status


async def _follow(proc: Proc, path: str) -> None:
    try:
        handle = proc.open(path)
    except Fault:
        handle = None
    if not isinstance(handle, OpenFile):
        await proc.system.kernel.future()
        return
    seen = len(handle.node.read())
    while True:
        await proc.system.kernel.sleep(FOLLOW_NS, periodic=True)
        data = handle.node.read()
        if len(data) < seen:
            seen = 0
        if len(data) > seen:
            await proc.out(data[seen:])
            seen = len(data)


async def sort(proc: Proc, args: list[str]) -> int:
    """`sort [-nruVf] [-k field] [-t separator] files`."""
    given = await parse(proc, args, "nruVfhk:t:bso:")
    texts, status = await inputs(proc, given.rest)
    lines = [line for _, text in texts for line in lines_of(text)]

    def key(line: str) -> tuple[float, tuple[tuple[int, str], ...] | str]:
        field = line
        if "k" in given:
            spec = given.get("k").split(",")[0]
            number = int(re.match(r"\d+", spec).group())  # pyright: ignore[reportOptionalMemberAccess]
            parts = line.split(given.get("t")) if "t" in given else line.split()
            field = parts[number - 1] if number <= len(parts) else ""
        numeric = "n" in given or "n" in given.get("k") or "h" in given
        if numeric:
            match = re.match(r"\s*-?\d+(\.\d+)?", field)
            return (float(match.group()) if match else 0.0, line)
        if "V" in given:
            parts = re.findall(r"\d+|\D+", field)
            return (0.0, tuple((int(p), "") if p.isdigit() else (-1, p) for p in parts))
        return (0.0, field.lower() if "f" in given else field)

    lines.sort(key=key, reverse="r" in given)
    if "u" in given:
        lines = list(dict.fromkeys(lines))
    data = encode("".join(f"{line}\n" for line in lines))
    if "o" in given:
        proc.save(given.get("o"), data)
    else:
        await proc.out(data)
    return status


async def uniq(proc: Proc, args: list[str]) -> int:
    """`uniq [-cdu] [file]`."""
    given = await parse(proc, args, "cdui")
    texts, status = await inputs(proc, given.rest[:1])
    groups: list[tuple[str, int]] = []
    for _, text in texts:
        for line in lines_of(text):
            if groups and groups[-1][0] == line:
                groups[-1] = (line, groups[-1][1] + 1)
            else:
                groups.append((line, 1))
    for line, count in groups:
        if ("d" in given and count == 1) or ("u" in given and count > 1):
            continue
        await proc.out(f"{count:7d} {line}\n" if "c" in given else f"{line}\n")
    return status


async def tac(proc: Proc, args: list[str]) -> int:
    """`tac files`."""
    texts, status = await inputs(proc, args)
    lines = [line for _, text in texts for line in lines_of(text)]
    await proc.out("".join(f"{line}\n" for line in reversed(lines)))
    return status


async def rev(proc: Proc, args: list[str]) -> int:
    """`rev files`."""
    texts, status = await inputs(proc, args)
    for _, text in texts:
        await proc.out("".join(f"{line[::-1]}\n" for line in lines_of(text)))
    return status


async def nl(proc: Proc, args: list[str]) -> int:
    """`nl files`."""
    texts, status = await inputs(proc, [a for a in args if not a.startswith("-")])
    number = 0
    for _, text in texts:
        for line in lines_of(text):
            number += bool(line)
            await proc.out(f"{number:6d}\t{line}\n" if line else "\n")
    return status


async def compare(proc: Proc, args: list[str]) -> int:
    """`cmp [-s] a b`, and `diff -q`: whether two files are the same."""
    given = await parse(proc, args, "slqurNa")
    try:
        first, second = [await proc.contents(path) for path in given.rest[:2]]
    except Fault as fault:
        return await proc.complain(f"{given.rest[0]}: {fault}") + 1
    if first == second:
        return 0
    if "s" not in given:
        a, b = given.rest[:2]
        if proc.name == "diff":
            await proc.out(f"Files {a} and {b} differ\n")
        else:
            at = next((i for i, (x, y) in enumerate(zip(first, second, strict=False)) if x != y), 0)
            await proc.out(f"{a} {b} differ: char {at + 1}, line {first[:at].count(10) + 1}\n")
    return 1


APPLETS = {
    "grep": grep, "egrep": grep, "fgrep": grep, "cut": cut, "tr": tr, "wc": wc, "head": head,
    "tail": tail, "sort": sort, "uniq": uniq, "tac": tac, "rev": rev, "nl": nl, "cmp": compare,
    "diff": compare,
}
