"""The tree that a script is parsed into: words and commands, as frozen records."""

from __future__ import annotations

from typing import TypeAlias

import attrs


@attrs.frozen(slots=True)
class Literal:
    """Text as it is; `quoted`: neither split nor taken for a pattern."""

    text: str
    quoted: bool = False


@attrs.frozen(slots=True)
class Parameter:
    """`$name`, `${name}`, `${name:-word}`, `${#name}`, `${name%pattern}`, `${name/pattern/text}`,
    `${name[index]}`, ...
    """

    name: str
    operator: str = ""
    argument: Word = ()
    quoted: bool = False
    second: Word | None = None
    """The replacement of `/`; the length of a substring."""
    index: Word | None = None


@attrs.frozen(slots=True)
class Substitution:
    """`$(script)` or backquotes."""

    script: Script
    quoted: bool = False


@attrs.frozen(slots=True)
class Arithmetic:
    """`$((expression))`."""

    expression: Word
    quoted: bool = False


@attrs.frozen(slots=True)
class Output:
    """`<(script)`: a file with what a script writes."""

    script: Script


Part: TypeAlias = "Literal | Parameter | Substitution | Arithmetic | Output"
Word: TypeAlias = "tuple[Part, ...]"


@attrs.frozen(slots=True)
class Redirect:
    """`2>file`, `<&0`, a here-document (`<<`, whose `target` is its text)."""

    descriptor: int
    operator: str
    target: Word


@attrs.frozen(slots=True)
class Assignment:
    """`name=value`, `name+=value`, `name[index]=value`, `name=(words)`."""

    name: str
    value: Word = ()
    index: Word | None = None
    more: bool = False
    elements: tuple[Word, ...] | None = None


@attrs.frozen(slots=True)
class Simple:
    """Assignments, a command with its arguments, redirections.

    `arrays`: those that stand among the arguments of `local`, `declare` and their like.
    """

    assignments: tuple[Assignment, ...] = ()
    words: tuple[Word, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    arrays: tuple[Assignment, ...] = ()


@attrs.frozen(slots=True)
class Test:
    """`[[ ... ]]`: an operator and what it is about.

    `operator` is `&&`, `||` (about two tests), `!` (about one), an operator of `test` about one or
    two words, or empty about one word.
    """

    operator: str
    parts: tuple[Test | Word, ...]


@attrs.frozen(slots=True)
class Conditional:
    """`[[ test ]]`."""

    test: Test
    redirects: tuple[Redirect, ...] = ()


@attrs.frozen(slots=True)
class Calculation:
    """`((expression))`."""

    expression: Word
    redirects: tuple[Redirect, ...] = ()


@attrs.frozen(slots=True)
class CountedFor:
    """`for ((begin; while; after)); do ...; done`."""

    begin: Word
    condition: Word
    after: Word
    body: Script
    redirects: tuple[Redirect, ...] = ()


@attrs.frozen(slots=True)
class Subshell:
    """`( script )`."""

    body: Script
    redirects: tuple[Redirect, ...] = ()


@attrs.frozen(slots=True)
class Group:
    """`{ script; }`."""

    body: Script
    redirects: tuple[Redirect, ...] = ()


@attrs.frozen(slots=True)
class If:
    """`if ...; then ...; elif ...; else ...; fi`: pairs of condition and body."""

    branches: tuple[tuple[Script, Script], ...]
    otherwise: Script | None = None
    redirects: tuple[Redirect, ...] = ()


@attrs.frozen(slots=True)
class Loop:
    """`while ...; do ...; done`, or `until`."""

    condition: Script
    body: Script
    until: bool = False
    redirects: tuple[Redirect, ...] = ()


@attrs.frozen(slots=True)
class For:
    """`for name in words; do ...; done`; without `in`, over the positional parameters."""

    name: str
    words: tuple[Word, ...] | None
    body: Script
    redirects: tuple[Redirect, ...] = ()


@attrs.frozen(slots=True)
class Case:
    """`case word in pattern) ...;; esac`."""

    word: Word
    branches: tuple[tuple[tuple[Word, ...], Script], ...]
    redirects: tuple[Redirect, ...] = ()


@attrs.frozen(slots=True)
class Function:
    """`name() command`."""

    name: str
    body: Command


Control: TypeAlias = "If | Loop | For | CountedFor | Case | Conditional | Calculation"
Command: TypeAlias = "Simple | Subshell | Group | Function | Control"


@attrs.frozen(slots=True)
class Pipeline:
    """`! a | b | c`."""

    commands: tuple[Command, ...]
    negated: bool = False


@attrs.frozen(slots=True)
class AndOr:
    """`a && b || c`: each with the operator before it, the first with none."""

    links: tuple[tuple[str, Pipeline], ...]
    background: bool = False


@attrs.frozen(slots=True)
class Script:
    """Commands one after the other."""

    items: tuple[AndOr, ...] = ()
