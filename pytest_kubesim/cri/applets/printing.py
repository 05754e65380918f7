"""echo, printf, test, expr, seq, yes, true, false."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import DEVICE, DIRECTORY, FIFO, FILE, LINK
from pytest_kubesim.cri.linux.mounts import EXECUTE, READ, WRITE, may
from pytest_kubesim.cri.linux.process import decode, encode

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc

_ESCAPES = {
    "a": 7, "b": 8, "e": 27, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, '"': 34,
}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{1,2})|(0?[0-7]{1,3})|([abefnrtv\\\"])|(c))")


def unescape(text: str) -> tuple[bytes, bool]:
    r"""A text with its backslash sequences replaced, and whether `\c` cut it short."""
    pieces: list[bytes] = []
    at = 0
    for match in _ESCAPE.finditer(text):
        pieces.append(encode(text[at : match.start()]))
        at = match.end()
        if match.group(4):
            return b"".join(pieces), True
        if match.group(1):
            pieces.append(bytes((int(match.group(1), 16),)))
        elif match.group(2):
            pieces.append(bytes((int(match.group(2), 8) & 0xFF,)))
        else:
            pieces.append(bytes((_ESCAPES[match.group(3)],)))
    pieces.append(encode(text[at:]))
    return b"".join(pieces), False


async def echo(proc: Proc, args: list[str]) -> int:
    """`echo [-neE] words`."""
    newline, escapes, at = True, False, 0
    while at < len(args) and re.fullmatch(r"-[neE]+", args[at]):
        newline = newline and "n" not in args[at]
        if "e" in args[at]:
            escapes = True
        if "E" in args[at]:
            escapes = False
        at += 1
    text = " ".join(args[at:])
    data, cut = unescape(text) if escapes else (encode(text), False)
    await proc.out(data + (b"\n" if newline and not cut else b""))
    return 0


_DIRECTIVE = re.compile(r"%([-+ #0]*)(\*|\d+)?(?:\.(\*|\d+))?([a-zA-Z%])")


async def printf(proc: Proc, args: list[str]) -> int:
    """`printf format arguments`."""
    if not args:
        return await proc.complain("usage: printf FORMAT [ARG]...")
    data, problems = formatted(args)
    await proc.out(data)
    for problem in problems:
        await proc.err(f"{proc.name}: {problem}\n")
    return int(bool(problems))


def formatted(args: list[str]) -> tuple[bytes, list[str]]:
    """What `printf` makes of a format and arguments, and what was wrong with them."""
    template, rest = args[0], args[1:]
    made, problems = b"", list[str]()
    while True:
        data, used, problem = _format(template, rest)
        made += data
        if problem:
            problems.append(problem)
        rest = rest[used:]
        if not rest or not used:
            return made, problems


def _format(template: str, args: list[str]) -> tuple[bytes, int, str]:
    """One pass over the format: the output, how many arguments it took, what was wrong."""
    pieces: list[bytes] = []
    at, used, problem = 0, 0, ""

    def take() -> str:
        nonlocal used
        used += 1
        return args[used - 1] if used <= len(args) else ""

    while at < len(template):
        following = template.find("%", at)
        end = len(template) if following < 0 else following
        data, cut = unescape(template[at:end])
        pieces.append(data)
        if cut:
            return b"".join(pieces), len(args), problem
        if following < 0:
            break
        match = _DIRECTIVE.match(template, following)
        if match is None:
            return b"".join(pieces), used, f"{template[following:]}: invalid format"
        at = match.end()
        flags, width, precision, kind = match.groups()
        if kind == "%":
            pieces.append(b"%")
            continue
        width = take() if width == "*" else width or ""
        precision = take() if precision == "*" else precision
        piece, cut, wrong = _directive(flags, width, precision, kind, take())
        pieces.append(piece)
        problem = problem or wrong
        if cut:
            return b"".join(pieces), len(args), problem
    return b"".join(pieces), used, problem


def printf_text(template: str, args: list[str]) -> str:
    """What one pass of `printf` writes."""
    return decode(_format(template, args)[0])


def _directive(
    flags: str, width: str, precision: str | None, kind: str, text: str
) -> tuple[bytes, bool, str]:
    dot = "" if precision is None else f".{precision}"
    if kind == "s":
        return encode(f"%{flags}{width}{dot}s" % text), False, ""
    if kind == "c":
        return encode(f"%{flags}{width}s" % text[:1]), False, ""
    if kind == "b":
        data, cut = unescape(text)
        return data, cut, ""
    if kind in "diouxX":
        value, wrong = _number(text)
        kind = "d" if kind in "iu" else kind
        return encode(f"%{flags}{width}{dot}{kind}" % value), False, wrong
    if kind in "eEfFgG":
        try:
            number = float(text or 0)
        except ValueError:
            return b"0", False, f"invalid number '{text}'"
        return encode(f"%{flags}{width}{dot}{kind}" % number), False, ""
    return b"", False, f"%{kind}: invalid format"


def _number(text: str) -> tuple[int, str]:
    if text[:1] in ("'", '"') and text[1:2]:
        return ord(text[1]), ""
    try:
        stripped = text.strip()
        if re.fullmatch(r"[-+]?0[0-7]+", stripped):
            return int(stripped, 8), ""
        return (int(stripped, 0) if stripped else 0), ""
    except ValueError:
        return 0, f"invalid number '{text}'"


# -- test ------------------------------------------------------------------------------------


class _TestFault(Exception):
    """An expression that `test` does not understand."""


async def test(proc: Proc, args: list[str]) -> int:
    """`test expression`."""
    try:
        expression = _Expression(proc, args)
        if not args:
            return 1
        result = expression.either()
        if expression.at < len(args):
            raise _TestFault(f"{args[expression.at]}: unknown operand")
    except _TestFault as fault:
        await proc.err(f"{proc.name}: {fault}\n")
        return 2
    return 0 if result else 1


async def double_bracket(proc: Proc, args: list[str]) -> int:
    """`[[ expression ]]`, as far as busybox's shell takes it for `test`."""
    if not args or args[-1] != "]]":
        await proc.err(f"{proc.name}: missing ]]\n")
        return 2
    return await test(proc, args[:-1])


async def bracket(proc: Proc, args: list[str]) -> int:
    """`[ expression ]`."""
    if not args or args[-1] != "]":
        await proc.err(f"{proc.name}: missing ]\n")
        return 2
    return await test(proc, args[:-1])


class _Expression:
    def __init__(self, proc: Proc, args: list[str]) -> None:
        self._proc = proc
        self._args = args
        self.at = 0

    def _peek(self, ahead: int = 0) -> str | None:
        place = self.at + ahead
        return self._args[place] if place < len(self._args) else None

    def either(self) -> bool:
        value = self._both()
        while self._peek() == "-o":
            self.at += 1
            value = self._both() or value
        return value

    def _both(self) -> bool:
        value = self._not()
        while self._peek() == "-a":
            self.at += 1
            value = self._not() and value
        return value

    def _not(self) -> bool:
        if self._peek() == "!" and self._peek(1) is not None and not self._is_binary(1):
            self.at += 1
            return not self._not()
        return self._primary()

    def _is_binary(self, ahead: int) -> bool:
        operator = self._peek(ahead)
        return operator in _BINARY and self._peek(ahead + 1) is not None

    def _primary(self) -> bool:
        word = self._peek()
        if word is None:
            raise _TestFault("argument expected")
        if self._is_binary(1):
            operator, right = self._args[self.at + 1], self._args[self.at + 2]
            self.at += 3
            return _compare(self._proc, word, operator, right)
        if word == "(" and self._peek(1) is not None:
            self.at += 1
            value = self.either()
            if self._peek() != ")":
                raise _TestFault("closing paren expected")
            self.at += 1
            return value
        if word in _UNARY and self._peek(1) is not None:
            self.at += 2
            return _examine(self._proc, word[1], self._args[self.at - 1])
        self.at += 1
        return word != ""


_BINARY = frozenset({
    "=", "==", "!=", "<", ">", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot", "-ef",
})
_UNARY = frozenset(f"-{letter}" for letter in "bcdefghknprstuwxzLSGO")


def _compare(proc: Proc, left: str, operator: str, right: str) -> bool:
    if not operator.startswith("-"):
        return {
            "=": left == right, "==": left == right, "!=": left != right,
            "<": left < right, ">": left > right,
        }[operator]
    if operator in ("-nt", "-ot", "-ef"):
        first, second = _stat(proc, left), _stat(proc, right)
        if operator == "-ef":
            return first is not None and first is second
        a = first.mtime_ns if first is not None else -1
        b = second.mtime_ns if second is not None else -1
        return a > b if operator == "-nt" else a < b
    a, b = _whole(left), _whole(right)
    return {
        "-eq": a == b, "-ne": a != b, "-lt": a < b, "-le": a <= b, "-gt": a > b, "-ge": a >= b,
    }[operator]


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise _TestFault(f"{text}: bad number") from None


def _stat(proc: Proc, path: str, *, follow: bool = True):  # noqa: ANN202 - a Node or None
    try:
        return proc.node(path, follow=follow)
    except Fault:
        return None


def _examine(proc: Proc, letter: str, text: str) -> bool:
    if letter == "z":
        return not text
    if letter == "n":
        return bool(text)
    if letter == "t":
        return False
    node = _stat(proc, text, follow=letter not in "hL")
    if node is None:
        return False
    kinds = {"f": FILE, "d": DIRECTORY, "h": LINK, "L": LINK, "c": DEVICE, "p": FIFO}
    if letter in kinds:
        return node.kind == kinds[letter]
    if letter in "rwx":
        return may(node, proc.who, {"r": READ, "w": WRITE, "x": EXECUTE}[letter])
    if letter in "ugk":
        return bool(node.mode & {"u": 0o4000, "g": 0o2000, "k": 0o1000}[letter])
    if letter == "s":
        return node.size > 0
    if letter == "O":
        return node.uid == proc.who.uid
    if letter == "G":
        return node.gid == proc.who.gid
    return letter == "e"


# -- small ones ------------------------------------------------------------------------------


async def true(proc: Proc, args: list[str]) -> int:
    """Succeed."""
    del proc, args
    return 0


async def false(proc: Proc, args: list[str]) -> int:
    """Fail."""
    del proc, args
    return 1


async def yes(proc: Proc, args: list[str]) -> int:
    """Say it again and again."""
    line = " ".join(args or ["y"]) + "\n"
    while True:
        await proc.out(line * 512)
        await proc.system.sleep(1_000_000)


async def seq(proc: Proc, args: list[str]) -> int:
    """`seq [-w] [-s separator] [first [step]] last`."""
    separator, wide = "\n", False
    while args and args[0] in ("-s", "-w"):
        if args[0] == "-s":
            separator, args = args[1], args[2:]
        else:
            wide, args = True, args[1:]
    try:
        numbers = [int(text) for text in args]
    except ValueError:
        return await proc.complain(f"invalid number '{args[-1] if args else ''}'")
    if not 1 <= len(numbers) <= 3:
        return await proc.complain("usage: seq [-w] [-s SEP] [FIRST [INC]] LAST")
    first = numbers[0] if len(numbers) > 1 else 1
    step = numbers[1] if len(numbers) == 3 else 1
    last = numbers[-1]
    if step == 0:
        return await proc.complain("invalid number '0'")
    found = [str(n) for n in range(first, last + (1 if step > 0 else -1), step)]
    if wide and found:
        width = max(map(len, found))
        found = [text.zfill(width) for text in found]
    if found:
        await proc.out(separator.join(found) + "\n")
    return 0


async def expr(proc: Proc, args: list[str]) -> int:
    """`expr a + b`, comparisons, `:`, `length`, `substr`."""
    if len(args) == 2 and args[0] == "length":
        await proc.out(f"{len(args[1])}\n")
        return 0
    if len(args) == 3 and args[1] == ":":
        pattern = args[2].replace("\\(", "(").replace("\\)", ")")
        match = re.match(pattern, args[0])
        value: str | int = (match.group(1) if match.groups() else match.end()) if match else 0
        await proc.out(f"{value}\n")
        return 0 if match else 1
    value = args[0] if args else ""
    at = 1
    while at + 1 < len(args):
        operator, right = args[at], args[at + 1]
        at += 2
        try:
            a, b = int(value), int(right)
        except ValueError:
            if operator not in ("=", "!=", "<", ">"):
                return await proc.complain("non-numeric argument") + 1
            value = int({"=": value == right, "!=": value != right}.get(operator, False))
            continue
        if operator in ("/", "%") and b == 0:
            return await proc.complain("division by zero") + 1
        table = {
            "+": a + b, "-": a - b, "*": a * b, "/": int(a / b) if b else 0,
            "%": a - b * int(a / b) if b else 0, "=": int(a == b), "!=": int(a != b),
            "<": int(a < b), ">": int(a > b), "<=": int(a <= b), ">=": int(a >= b),
            "|": a or b, "&": a if a and b else 0,
        }
        if operator not in table:
            return await proc.complain("syntax error") + 1
        value = table[operator]
    await proc.out(f"{value}\n")
    return 1 if str(value) in ("", "0") else 0


APPLETS = {
    "echo": echo, "printf": printf, "test": test, "[": bracket, "[[": double_bracket,
    "true": true, "false": false,
    "yes": yes, "seq": seq, "expr": expr,
}
