"""How faults may be worded: what is wrong in a sentence is said when it is written.

The law: no misspelt word, option or value of `kubesim.faults` ends in Python's own TypeError or
AttributeError, or in a fault that silently never strikes: it is a `UsageError` that shows what was
written, suggests what is near to it, lists what there is, and says what to do.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pytest_kubesim.errors import UnknownWord, UsageError, suggestion
from pytest_kubesim.sim.durations import Duration, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TIMING = ("at", "until", "when", "for_")
"""The options that every fault has besides its own."""
TIMING_SET = frozenset(TIMING)

C = TypeVar("C", bound=type)


def vocabulary(cls: C) -> C:
    """A class decorator: calls of its public methods are checked, and unknown words answered."""
    for name, method in list(vars(cls).items()):
        if inspect.isfunction(method) and not name.startswith("_"):
            setattr(cls, name, _checked(method))
    return cls


class Vocabulary:
    """A part of a sentence: after it come its public methods and nothing else."""

    __slots__ = ()

    def __said__(self) -> str:
        """The sentence so far, for errors: `api(...).`, or nothing."""
        return ""

    def __words__(self) -> list[str]:
        """What may come next."""
        return [
            name for name in dir(type(self))
            if not name.startswith("_") and inspect.isfunction(getattr(type(self), name))
        ]

    if not TYPE_CHECKING:  # A type checker is to find unknown words by itself.

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise unknown_word(self.__said__(), name, self.__words__())


def offers(part: Vocabulary) -> str:
    """What may come next, for errors: `crash(), reboot()`."""
    return ", ".join(f"{word}()" for word in part.__words__())


def unknown_word(said: str, name: str, words: Iterable[str]) -> UnknownWord:
    """What to say of a word that there is not."""
    known = sorted(words)
    return UnknownWord(
        f"faults: there is no {said}{name};",
        f"{suggestion(name, known)}there are {', '.join(known)}",
    )


def _checked(method: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(method)

    @functools.wraps(method)
    def said(self: Any, *args: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        try:
            bound = signature.bind(self, *args, **options)
        except TypeError:
            bound = None
        if bound is None or not TIMING_SET.issuperset(bound.arguments.get("timing", ())):
            raise _misused(self, method.__name__, signature, args, options)
        return method(self, *args, **options)

    return said


def _misused(
    subject: Any, name: str, signature: inspect.Signature, args: tuple[Any, ...],
    options: dict[str, Any],
) -> UsageError:
    """What is wrong with a call that does not fit the method's signature."""
    part = cast("Vocabulary", subject)
    call = f"faults: {part.__said__()}{name}"
    parameters = list(signature.parameters.values())[1:]
    ordered = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    own = [f"{each}=" for each in named]
    if any(p.kind is p.VAR_KEYWORD and p.name == "timing" for p in parameters):
        every = [f"{each}=" for each in TIMING]
        listed = f"{', '.join(own)}; as every fault" if own else "those of every fault:"
        listed = f"{listed} {', '.join(every)}"
        named += TIMING
    else:
        listed = ", ".join(own)
    for option, value in options.items():
        if option not in named:
            return UsageError(
                f"{call}({option}={value!r}): unknown option {option!r};",
                f"{suggestion(option, named)}the options are {listed}",
            )
    shown = ", ".join(p.name for p in ordered) or "no arguments without a name"
    if len(args) > len(ordered):
        return UsageError(
            f"{call}({', '.join(map(repr, args))}): too many arguments;",
            f"it takes {shown}{'; by name ' + listed if listed else ''}",
        )
    for parameter, _ in zip(ordered, args, strict=False):
        if parameter.name in options:
            return UsageError(f"{call}: {parameter.name} is given twice; leave one out")
    missing = [
        p.name for p in ordered[len(args):] if p.default is p.empty and p.name not in options
    ]
    return UsageError(f"{call}(): {' and '.join(missing)} is missing; write {name}({shown})")


# -- values ------------------------------------------------------------------------------------


def whole(value: Any, where: str, *, least: int, most: int | None = None, why: str = "") -> int:
    """A whole number in its bounds; `where` is how it was written: `fail.times`.

    Raises: `UsageError`.
    """
    right = isinstance(value, int) and not isinstance(value, bool)
    if not right or value < least or (most is not None and value > most):
        bounds = f"from {least} on" if most is None else f"from {least} to {most}"
        raise UsageError(f"faults: {_shown(where, value)}: give a whole number {bounds}{why}")
    return value


def _shown(where: str, value: Any) -> str:
    """How it was written: `fail(times=0)`."""
    call, _, option = where.rpartition(".")
    return f"{call}({option}={value!r})" if call else f"{option}={value!r}"


def counted(effect: str, times: Any, after: Any) -> None:
    """How often a fault strikes, and how much passes before.  Raises: `UsageError`."""
    if times is not None:
        whole(
            times, f"{effect}.times", least=1, why=": a fault strikes at least once; None: always"
        )
    whole(after, f"{effect}.after", least=0, why=": how many that are meant pass before")


def duration(value: Duration, where: str) -> None:
    """A duration; `where` is how it was written: `delay: duration`.  Raises: `UsageError`."""
    to_ns(value, f"faults: {where}")


def text(value: Any, where: str) -> str:
    """A text.  Raises: `UsageError` for anything else."""
    if not isinstance(value, str):
        raise UsageError(f"faults: {_shown(where, value)}: give a text")
    return value


def one_of(value: Any, where: str, valid: Iterable[str]) -> str:
    """One of several words.  Raises: `UsageError` that lists them."""
    known = list(valid)
    if value not in known:
        raise UsageError(
            f"faults: {_shown(where, value)}:",
            f"{suggestion(value, known)}the valid values are {', '.join(map(repr, known))}",
        )
    return value
