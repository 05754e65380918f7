"""How a test may be worded: what is wrong in a call or a sentence is said when it is written.

The law: no misspelt word, option or value of `kubesim.faults` ends in Python's own TypeError or
AttributeError, or in a fault that silently never strikes: it is a `UsageError` that shows what was
written, suggests what is near to it, lists what there is, and says what to do.  So it is with the
options of what else a test calls (`answering`).
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

    def __heard__(self) -> None:
        """Something comes next, rightly or not."""

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
            self.__heard__()
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
        cast("Vocabulary", self).__heard__()
        try:
            bound = signature.bind(self, *args, **options)
        except TypeError:
            bound = None
        if bound is None or not TIMING_SET.issuperset(bound.arguments.get("timing", ())):
            part = f"faults: {cast('Vocabulary', self).__said__()}{method.__name__}"
            wrong = misuse(part, signature, args, options)
            assert wrong is not None
            raise wrong
        return method(self, *args, **options)

    return said


def answering(called: str, *names: str) -> Callable[[C], C]:
    """A class decorator: a call of one of these methods that does not fit is answered in our words.

    Parameters: `called`, what a test calls the object; `names` of the methods.  A call that fits
    costs no more than before.
    """

    def decorate(cls: C) -> C:
        for name in names:
            setattr(cls, name, _answering(f"{called}.{name}", vars(cls)[name]))
        return cls

    return decorate


def _answering(call: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def said(self: Any, *args: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        try:
            return method(self, *args, **options)
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise  # it was called as it is to be, and failed
            wrong = misuse(call, inspect.signature(method), args, options)
            if wrong is None:
                raise
            raise wrong from None

    return said


def misuse(
    call: str, signature: inspect.Signature, args: tuple[Any, ...], options: dict[str, Any]
) -> UsageError | None:
    """What is wrong with a call of a method that does not fit its signature; None: it does.

    Parameters: `call`, how the method is called, such as `kubesim.run`.
    """
    name = call.rpartition(".")[2].rpartition(" ")[2]
    parameters = list(signature.parameters.values())[1:]
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters)
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
    free = any(p.kind is p.VAR_KEYWORD and p.name != "timing" for p in parameters)
    for option, value in options.items():
        if option not in named and not free:
            return UsageError(
                f"{call}({option}={value!r}): unknown option {option!r};",
                f"{suggestion(option, named)}the options are {listed}",
            )
    shown = ", ".join(p.name for p in ordered) or "no arguments without a name"
    if len(args) > len(ordered) and not several:
        return UsageError(
            f"{call}({', '.join(map(repr, args))}): too many arguments;",
            f"it takes {shown}{'; by name ' + listed if listed else ''}",
        )
    for parameter, _ in zip(ordered, args, strict=False):
        if parameter.name in options:
            return UsageError(f"{call}: {parameter.name} is given twice; leave one out")
    wanted = [*ordered[len(args):], *(p for p in parameters if p.kind is p.KEYWORD_ONLY)]
    missing = [p for p in wanted if p.default is p.empty and p.name not in options]
    if not missing:
        return None
    told = " and ".join(f"{p.name}=" if p not in ordered else p.name for p in missing)
    every = [p.name for p in ordered] + [f"{p.name}=" for p in missing if p not in ordered]
    return UsageError(f"{call}(): {told} is missing; write {name}({', '.join(every)})")


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
