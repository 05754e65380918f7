"""md5sum, sha1sum, sha256sum, sha512sum, base64, od, hexdump, xxd, cksum."""

from __future__ import annotations

import base64 as codec
import hashlib
import zlib
from typing import TYPE_CHECKING

from pytest_kubesim.cri.applets.options import parse
from pytest_kubesim.cri.linux.errors import Fault

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc


async def digest(proc: Proc, args: list[str]) -> int:
    """`md5sum files`, `sha256sum [-c] files`."""
    given = await parse(proc, args, "csbtw")
    kind = proc.name.removesuffix("sum")
    status = 0
    for path in given.rest or ["-"]:
        try:
            data = await proc.contents(path)
        except Fault as fault:
            status = await proc.complain(f"can't open '{path}': {fault}")
            continue
        if "c" not in given:
            await proc.out(f"{hashlib.new(kind, data).hexdigest()}  {path}\n")
            continue
        for line in data.decode().splitlines():
            wanted, _, name = line.partition("  ")
            same = hashlib.new(kind, await proc.contents(name)).hexdigest() == wanted
            await proc.out(f"{name}: {'OK' if same else 'FAILED'}\n")
            status = status or int(not same)
    return status


async def base64(proc: Proc, args: list[str]) -> int:
    """`base64 [-d] [-w columns] [file]`."""
    given = await parse(proc, args, "dDw:i", {"decode": "d", "wrap": "w"})
    try:
        data = await proc.contents(given.rest[0] if given.rest else "-")
    except Fault as fault:
        return await proc.complain(f"{given.rest[0]}: {fault}")
    if "d" in given or "D" in given:
        try:
            await proc.out(codec.b64decode(data))
        except ValueError:
            return await proc.complain("truncated input")
        return 0
    text = codec.b64encode(data).decode()
    width = int(given.get("w", "76"))
    if not width:
        await proc.out(text)
        return 0
    lines = [text[i : i + width] for i in range(0, len(text), width)]
    await proc.out("".join(f"{line}\n" for line in lines))
    return 0


async def od(proc: Proc, args: list[str]) -> int:
    """`od [-A radix] [-t type] [-c] [-x] [-N count] [file]`."""
    given = await parse(proc, args, "A:t:cxbdvN:j:w:")
    data = await proc.contents(given.rest[0] if given.rest else "-")
    data = data[int(given.get("j", "0")) :]
    if "N" in given:
        data = data[: int(given.get("N"))]
    kind = given.get("t") or ("c" if "c" in given else "o2")
    radix = given.get("A", "o")
    out: list[str] = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        out.append(_address(at, radix) + _row(row, kind) + "\n")
    if radix != "n":
        out.append(_address(len(data), radix) + "\n")
    await proc.out("".join(out))
    return 0


def _address(at: int, radix: str) -> str:
    return {"o": f"{at:07o}", "d": f"{at:07d}", "x": f"{at:06x}", "n": ""}[radix]


def _row(row: bytes, kind: str) -> str:
    if kind.startswith("c"):
        names = {0: "\\0", 7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r"}
        cells = [names.get(b, chr(b) if 32 <= b < 127 else f"{b:03o}") for b in row]
        return "".join(f" {cell:>3}" for cell in cells)
    size = int(kind[1:2] or 4) if kind[1:2].isdigit() else 1
    words = [int.from_bytes(row[i : i + size], "little") for i in range(0, len(row), size)]
    letter = {"x": "x", "o": "o", "u": "d", "d": "d"}.get(kind[0], "x")
    widths = {"x": size * 2, "o": -(-size * 8 // 3), "d": 1}
    if kind[0] in "ud":
        return "".join(f" {word:>{size * 2 + 1 + (size == 1)}}" for word in words)
    return "".join(f" {word:0{widths[letter]}{letter}}" for word in words)


async def hexdump(proc: Proc, args: list[str]) -> int:
    """`hexdump -C [file]`, `xxd [-p]`."""
    given = await parse(proc, args, "Cvpn:rc:")
    data = await proc.contents(given.rest[0] if given.rest else "-")
    if "p" in given:
        await proc.out(data.hex() + "\n")
        return 0
    out: list[str] = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
        cells = " ".join(f"{b:02x}" for b in row)
        out.append(f"{at:08x}  {cells:<48} |{text}|\n")
    await proc.out("".join([*out, f"{len(data):08x}\n"]))
    return 0


async def cksum(proc: Proc, args: list[str]) -> int:
    """`crc32 files`."""
    for path in args:
        await proc.out(f"{zlib.crc32(await proc.contents(path)):08x}\n")
    return 0


APPLETS = {
    "md5sum": digest, "sha1sum": digest, "sha256sum": digest, "sha512sum": digest,
    "base64": base64, "od": od, "hexdump": hexdump, "xxd": hexdump, "crc32": cksum,
}
