"""gzip, gunzip, zcat."""

from __future__ import annotations

import gzip as codec
import zlib
from typing import TYPE_CHECKING

from pytest_kubesim.cri.applets.options import parse
from pytest_kubesim.cri.linux.errors import Fault

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc


async def gzip(proc: Proc, args: list[str]) -> int:
    """`gzip [-cdfk] [files]`; gunzip and zcat are `gzip -d` and `gzip -dc`."""
    given = await parse(proc, args, "cdfkqvnt123456789", {"decompress": "d", "stdout": "c"})
    opens = "d" in given or proc.name in ("gunzip", "zcat")
    shows = "c" in given or proc.name == "zcat"
    status = 0
    for path in given.rest or ["-"]:
        try:
            data = await proc.contents(path)
            made = codec.decompress(data) if opens else codec.compress(data, mtime=0)
        except Fault as fault:
            status = await proc.complain(f"{path}: {fault}")
            continue
        except (codec.BadGzipFile, EOFError, zlib.error):
            status = await proc.complain("invalid magic" if opens else "short read")
            continue
        if shows or path == "-":
            await proc.out(made)
            continue
        target = path.removesuffix(".gz") if opens else f"{path}.gz"
        if opens and target == path:
            status = await proc.complain(f"{path}: unknown suffix - ignored")
            continue
        handle = proc.open(target, "w")
        await handle.write(made)
        if "k" not in given:
            place = proc.system.mounts.walk(path, proc.cwd, proc.who)
            place.parent.entries.pop(place.name, None)
    return status


APPLETS = {"gzip": gzip, "gunzip": gzip, "zcat": gzip}
