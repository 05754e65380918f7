"""perl, as far as the example of a Job in Kubernetes' documentation goes: it computes pi."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_kubesim.cri.software.busybox import DEBIAN_PATHS, PROGRAMS
from pytest_kubesim.cri.software.rootfs import Software

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc

_PI = re.compile(r"\s*print\s+bpi\((\d+)\)\s*;?\s*")
COMPUTING_NS = 5_000_000_000


def pi(digits: int) -> str:
    """Pi to that many significant digits, rounded (Machin's formula)."""
    extra = 10
    unit = 10 ** (digits + extra)

    def arctan(inverse: int) -> int:
        term = total = unit // inverse
        square, divisor, sign = inverse * inverse, 1, 1
        while term:
            term //= square
            divisor += 2
            sign = -sign
            total += sign * (term // divisor)
        return total

    value = 4 * (4 * arctan(5) - arctan(239))
    rounded = (value + 5 * 10**extra) // 10 ** (extra + 1)
    text = str(rounded)
    return f"{text[0]}.{text[1:]}"


async def perl(proc: Proc) -> int:
    """`perl -Mbignum=bpi -wle 'print bpi(n)'`."""
    script = proc.argv[-1] if len(proc.argv) > 1 else ""
    match = _PI.fullmatch(script)
    if match is None:
        await proc.err("kubesim: this perl knows `print bpi(n)` only\n")
        return 2
    await proc.system.sleep(COMPUTING_NS)
    await proc.out(pi(int(match.group(1))) + "\n")
    return 0


PERL = Software(
    name="perl",
    command=("perl",),
    programs={**PROGRAMS, "perl": perl},
    paths={**DEBIAN_PATHS, "usr/local/bin/perl": "perl"},
)
