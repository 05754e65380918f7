"""Go's regular expressions, by way of Python's.

Patterns in CRDs and in CEL are RE2: no look-around, no back-references, ASCII classes, ``$`` only
at the very end. A pattern is parsed as Go parses it, which gives Go's errors word for word, and
written anew for ``re``. Matches are the same, leftmost first; time is not bounded as RE2's is.

Follows ``regexp/syntax``.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata

MAX_REPEAT = 1000

_PERL_CLASSES = {
    "d": "0-9",
    "s": r"\t\n\f\r ",
    "w": "0-9A-Za-z_",
}
_POSIX_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_ESCAPES = {"a": 0x07, "f": 0x0C, "n": 0x0A, "r": 0x0D, "t": 0x09, "v": 0x0B}
_MAX_RUNE = 0x10FFFF


class RegexpError(ValueError):
    """What Go says of a pattern that it cannot parse, such as ``missing closing ): `(a```."""

    def __init__(self, problem: str, expression: str) -> None:
        super().__init__(f"error parsing regexp: {problem}: `{expression}`")


@functools.lru_cache(maxsize=1024)
def compile(pattern: str) -> re.Pattern[str]:  # noqa: A001 -- Go's and Python's name for it
    """The compiled pattern; use its ``search`` for what Go calls a match.

    Raises ``RegexpError``.
    """
    return re.compile(_Parser(pattern).parse())


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern matches anywhere in the text. Raises ``RegexpError``."""
    return compile(pattern).search(text) is not None


class _Parser:
    def __init__(self, pattern: str) -> None:
        self.text = pattern
        self.at = 0
        self.out: list[str] = []
        self.ignore_case = False
        self.dot_all = False
        self.multi_line = False
        self.swap_greed = False
        self.names: set[str] = set()
        self.repeatable = False
        self.last_repeat: int | None = None
        # Where each open group begins in the text, and the flags to restore after it.
        self.groups: list[tuple[int, tuple[bool, bool, bool, bool]]] = []

    def parse(self) -> str:
        while self.at < len(self.text):
            self._step()
        if self.groups:
            raise RegexpError("missing closing )", self.text)
        return "".join(self.out)

    @property
    def flags(self) -> tuple[bool, bool, bool, bool]:
        return self.ignore_case, self.dot_all, self.multi_line, self.swap_greed

    def _emit(self, text: str, *, repeatable: bool = True) -> None:
        self.out.append(text)
        self.repeatable = repeatable
        self.last_repeat = None

    def _step(self) -> None:
        char = self.text[self.at]
        if char == "(":
            self._open()
        elif char == ")":
            self._close()
        elif char == "|":
            self.at += 1
            self._emit("|", repeatable=False)
        elif char == "^":
            self.at += 1
            self._emit(r"(?m:^)" if self.multi_line else r"\A")
        elif char == "$":
            self.at += 1
            self._emit(r"(?m:$)" if self.multi_line else r"\Z")
        elif char == ".":
            self.at += 1
            self._emit("(?s:.)" if self.dot_all else "[^\\n]")
        elif char == "[":
            self._emit(self._class())
        elif char in "*+?":
            self.at += 1
            self._repeat(char, char)
        elif char == "{":
            self._counted()
        elif char == "\\":
            self._escape()
        else:
            self.at += 1
            self._emit(self._literal(ord(char)))

    def _literal(self, code: int) -> str:
        char = chr(code)
        if self.ignore_case and char.lower() != char.upper():
            return f"(?i:{re.escape(char)})"
        return re.escape(char)

    # -- groups ----------------------------------------------------------------------------------

    def _open(self) -> None:
        start = self.at
        rest = self.text[start:]
        if not rest.startswith("(?"):
            self.at += 1
            self.groups.append((start, self.flags))
            self._emit("(", repeatable=False)
            return
        if rest.startswith(("(?P<", "(?<")):
            self._named(start, rest)
            return
        self._flags(start)

    def _named(self, start: int, rest: str) -> None:
        prefix = 4 if rest.startswith("(?P<") else 3
        if prefix == 3 and rest[3:4] in ("=", "!"):
            raise RegexpError("invalid or unsupported Perl syntax", rest[:4])
        end = rest.find(">")
        if end < 0:
            raise RegexpError("invalid named capture", rest)
        name = rest[prefix:end]
        if not re.fullmatch(r"\w+", name, re.ASCII):
            raise RegexpError("invalid named capture", rest[: end + 1])
        if name in self.names:
            raise RegexpError("duplicate capture group name", name)
        self.names.add(name)
        self.at = start + end + 1
        self.groups.append((start, self.flags))
        self._emit("(", repeatable=False)

    def _flags(self, start: int) -> None:
        at = start + 2
        before = self.flags
        negative = False
        seen = False
        while at < len(self.text):
            char = self.text[at]
            at += 1
            if char in "imsU":
                seen = True
                self._set_flag(char, on=not negative)
            elif char == "-":
                if negative:
                    break
                negative = True
                seen = False
            elif char in ":)":
                if negative and not seen:
                    break
                self.at = at
                if char == ":":
                    self.groups.append((start, before))
                    self._emit("(?:", repeatable=False)
                else:
                    self.repeatable = False
                return
            else:
                break
        else:
            raise RegexpError("missing closing )", self.text)
        raise RegexpError("invalid or unsupported Perl syntax", self.text[start:at])

    def _set_flag(self, char: str, *, on: bool) -> None:
        if char == "i":
            self.ignore_case = on
        elif char == "m":
            self.multi_line = on
        elif char == "s":
            self.dot_all = on
        else:
            self.swap_greed = on

    def _close(self) -> None:
        if not self.groups:
            raise RegexpError("unexpected )", self.text)
        _, flags = self.groups.pop()
        self.ignore_case, self.dot_all, self.multi_line, self.swap_greed = flags
        self.at += 1
        self._emit(")")

    # -- repetition ------------------------------------------------------------------------------

    def _repeat(self, operator: str, shown: str) -> None:
        start = self.at - len(shown)
        lazy = self.text[self.at : self.at + 1] == "?"
        if lazy:
            self.at += 1
        if not self.repeatable:
            if self.last_repeat is not None:
                raise RegexpError(
                    "invalid nested repetition operator", self.text[self.last_repeat : self.at]
                )
            raise RegexpError("missing argument to repetition operator", self.text[start : self.at])
        self.out.append(operator + ("?" if lazy != self.swap_greed else ""))
        self.repeatable = False
        self.last_repeat = start

    def _counted(self) -> None:
        found = re.compile(r"\{(\d+)(,(\d*))?\}", re.ASCII).match(self.text, self.at)
        if found is None:
            self.at += 1
            self._emit(r"\{")
            return
        shown = found.group(0)
        low = int(found.group(1))
        high = int(found.group(3)) if found.group(3) else None
        self.at = found.end()
        if low > MAX_REPEAT or (high is not None and (high > MAX_REPEAT or low > high)):
            raise RegexpError("invalid repeat count", shown)
        self._repeat(shown, shown)

    # -- escapes ---------------------------------------------------------------------------------

    def _escape(self) -> None:
        if self.at + 1 >= len(self.text):
            raise RegexpError("trailing backslash at end of expression", "")
        char = self.text[self.at + 1]
        simple = {"A": r"\A", "z": r"\Z", "b": r"(?a:\b)", "B": r"(?a:\B)"}.get(char)
        if simple is not None:
            self.at += 2
            self._emit(simple)
        elif char == "C":
            raise RegexpError("invalid escape sequence", r"\C")
        elif char == "Q":
            end = self.text.find(r"\E", self.at + 2)
            quoted = self.text[self.at + 2 : end if end >= 0 else len(self.text)]
            self.at = end + 2 if end >= 0 else len(self.text)
            for item in quoted:
                self._emit(self._literal(ord(item)))
        elif char.lower() in _PERL_CLASSES and char in "dDsSwW":
            self.at += 2
            members = _PERL_CLASSES[char.lower()]
            self._emit(f"[{'^' if char.isupper() else ''}{members}]")
        elif char in "pP":
            members, negated = self._unicode_class()
            self._emit(self._wrapped(members, negated=negated))
        else:
            self._emit(self._literal(self._rune()))

    def _wrapped(self, members: str, *, negated: bool) -> str:
        text = f"[{'^' if negated else ''}{members}]"
        return f"(?i:{text})" if self.ignore_case else text

    def _rune(self) -> int:
        """The character that an escape stands for; ``at`` is at its backslash."""
        start = self.at
        if start + 1 >= len(self.text):
            raise RegexpError("trailing backslash at end of expression", "")
        char = self.text[start + 1]
        self.at += 2
        if char in _ESCAPES:
            return _ESCAPES[char]
        if char in "01234567" and (char == "0" or self.text[self.at : self.at + 1] in "01234567"):
            found = re.compile("[0-7]{1,3}").match(self.text, start + 1)
            # A lone digit that is not zero would be a back-reference.
            if found and (char == "0" or len(found.group(0)) > 1):
                self.at = found.end()
                return int(found.group(0), 8)
        if char == "x":
            return self._hex(start)
        if ord(char) < 0x80 and not char.isalnum():
            return ord(char)
        raise RegexpError("invalid escape sequence", self.text[start : self.at])

    def _hex(self, start: int) -> int:
        found = re.compile(r"\{([0-9A-Fa-f]+)\}|([0-9A-Fa-f]{2})").match(self.text, self.at)
        if found:
            code = int(found.group(1) or found.group(2), 16)
            if code <= _MAX_RUNE:
                self.at = found.end()
                return code
        raise RegexpError("invalid escape sequence", self.text[start : self.at + 1])

    def _unicode_class(self) -> tuple[str, bool]:
        r"""``\pL`` and ``\p{Greek}``: the members, and whether they are what is left out."""
        start = self.at
        negated = self.text[start + 1] == "P"
        self.at += 2
        if self.at >= len(self.text):
            raise RegexpError("invalid character class range", self.text[start:])
        if self.text[self.at] == "{":
            end = self.text.find("}", self.at)
            if end < 0:
                raise RegexpError("invalid character class range", self.text[start:])
            name = self.text[self.at + 1 : end]
            self.at = end + 1
        else:
            name = self.text[self.at]
            self.at += 1
        if name.startswith("^"):
            negated = not negated
            name = name[1:]
        members = _category(name)
        if members is None:
            raise RegexpError("invalid character class range", self.text[start : self.at])
        return members, negated

    # -- classes ---------------------------------------------------------------------------------

    def _class(self) -> str:
        start = self.at
        self.at += 1
        negated = self.text[self.at : self.at + 1] == "^"
        if negated:
            self.at += 1
        members: list[str] = []
        others: list[str] = []
        first = True
        while self.at >= len(self.text) or self.text[self.at] != "]" or first:
            if self.at >= len(self.text):
                raise RegexpError("missing closing ]", self.text[start:])
            first = False
            self._member(start, members, others)
        self.at += 1
        return self._assembled("".join(members), others, negated=negated)

    def _assembled(self, members: str, others: list[str], *, negated: bool) -> str:
        """A class of members and of the complements of other classes."""
        choices = [f"[{members}]"] if members else []
        choices += [f"[^{other}]" for other in others]
        if not others:
            text = f"[{'^' if negated else ''}{members}]"
        elif negated:
            text = "(?!" + "|".join(choices) + r")[\x00-\U0010ffff]"
            text = f"(?:{text})"
        else:
            text = "(?:" + "|".join(choices) + ")"
        return f"(?i:{text})" if self.ignore_case else text

    def _member(self, start: int, members: list[str], others: list[str]) -> None:
        rest = self.text[self.at :]
        if rest.startswith("[:"):
            end = rest.find(":]", 2)
            if end >= 0:
                name = rest[2:end]
                complement = name.startswith("^")
                found = _POSIX_CLASSES.get(name.lstrip("^"))
                if found is None:
                    raise RegexpError("invalid character class range", rest[: end + 2])
                (others if complement else members).append(found)
                self.at += end + 2
                return
        if rest[0] == "\\" and rest[1:2] in ("p", "P"):
            found, negated = self._unicode_class()
            (others if negated else members).append(found)
            return
        if rest[0] == "\\" and rest[1:2] and rest[1] in "dDsSwW":
            (others if rest[1].isupper() else members).append(_PERL_CLASSES[rest[1].lower()])
            self.at += 2
            return
        begin = self.at
        low = self._class_rune(start)
        high = low
        if self.text[self.at : self.at + 1] == "-" and self.text[self.at + 1 : self.at + 2] not in (
            "",
            "]",
        ):
            self.at += 1
            high = self._class_rune(start)
            if high < low:
                raise RegexpError("invalid character class range", self.text[begin : self.at])
        members.append(_range(low, high))

    def _class_rune(self, start: int) -> int:
        if self.at >= len(self.text):
            raise RegexpError("missing closing ]", self.text[start:])
        if self.text[self.at] == "\\":
            return self._rune()
        code = ord(self.text[self.at])
        self.at += 1
        return code


def _range(low: int, high: int) -> str:
    return _class_char(low) if low == high else f"{_class_char(low)}-{_class_char(high)}"


def _class_char(code: int) -> str:
    return f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}"


@functools.cache
def _category(name: str) -> str | None:
    """The members of a Unicode category or script, as ranges for a class; None if unknown."""
    if name == "Any":
        return r"\x00-\U0010ffff"
    if not re.fullmatch("[A-Z][a-z]?", name):
        return _script(name)
    ranges: list[str] = []
    start = -1
    for code in range(sys.maxunicode + 2):
        inside = code <= sys.maxunicode and unicodedata.category(chr(code)).startswith(name)
        if inside and start < 0:
            start = code
        elif not inside and start >= 0:
            ranges.append(_range(start, code - 1))
            start = -1
    return "".join(ranges) or None


_SCRIPTS = {
    "Latin": "LATIN ",
    "Greek": "GREEK ",
    "Cyrillic": "CYRILLIC ",
    "Arabic": "ARABIC ",
    "Hebrew": "HEBREW ",
    "Han": "CJK UNIFIED IDEOGRAPH",
    "Hiragana": "HIRAGANA ",
    "Katakana": "KATAKANA ",
    "Thai": "THAI CHARACTER ",
    "Hangul": "HANGUL ",
    "Armenian": "ARMENIAN ",
    "Devanagari": "DEVANAGARI ",
    "Georgian": "GEORGIAN ",
}


def _script(name: str) -> str | None:
    """Scripts by the names of their letters, as Python's tables have no scripts."""
    prefix = _SCRIPTS.get(name)
    if prefix is None:
        return None
    codes = [
        c for c in range(sys.maxunicode + 1) if unicodedata.name(chr(c), "").startswith(prefix)
    ]
    ranges: list[str] = []
    start = last = -2
    for code in [*codes, -1]:
        if code != last + 1:
            if start >= 0:
                ranges.append(_range(start, last))
            start = code
        last = code
    return "".join(ranges)
