"""What goes wrong for the author of a test, and the remedy.

Three kinds of error exist in this project and are never mixed: ``assert`` for our own mistakes,
``apimachinery.status.APIStatus`` for what Kubernetes answers, and the tree below for the person
who writes the test. Every message of this tree ends with what to do about it.

::

    KubesimError (Exception)
    ├── UsageError (ValueError)           an option or argument that cannot be meant
    │   ├── ManifestError                 a manifest that cannot be read or that is no object
    │   └── UnknownWord (AttributeError)  a method that there is not
    ├── NotSimulated (NotImplementedError)  Kubernetes can do it, the simulator cannot
    ├── AssertionFailed (AssertionError)  what the test demanded does not hold
    │   └── NeverSettled                  the cluster did not come to rest
    ├── OperatorFailed                    user code run by the simulation ended with an exception
    └── ReplayError                       a replay token that does not fit this run
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class KubesimError(Exception):
    """The root of the tree: everything the simulator tells the author of a test.

    The remedy is kept apart, so that a report can set it off, and is appended to the message.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem} {remedy}" if remedy else problem)


class UsageError(KubesimError, ValueError):
    """An option, a marker's argument or a call's argument has no meaning here."""


class ManifestError(UsageError):
    """A file, a text or a value given as a manifest is not a Kubernetes object."""


class UnknownWord(UsageError, AttributeError):
    """There is no such method here; the message lists those there are."""


class NotSimulated(KubesimError, NotImplementedError):
    """Kubernetes does this and the simulator does not: said aloud, never silently accepted."""


class AssertionFailed(KubesimError, AssertionError):
    """A temporal assertion (``eventually``, ``always``, ``never``, ``stays``) does not hold."""


class NeverSettled(AssertionFailed):
    """``settle`` ran out of virtual time: something stays busy or is never quiet."""


class OperatorFailed(KubesimError):
    """User code started by ``run`` ended with an exception that nobody awaited."""


class NeverStruck(UserWarning):
    """A fault was armed and nothing ever met it: a warning, not an error."""


class ReplayError(KubesimError):
    """A replay token is unreadable, or the run took another way than the recorded one."""


def suggestion(word: object, known: Iterable[str]) -> str:
    """`"did you mean 'pods'? "`, if something known is near to `word`; else nothing."""
    import difflib

    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(str(word).lower(), names, n=3)
    return f"did you mean {' or '.join(repr(names[each]) for each in near)}? " if near else ""
