"""Faults as text: the Python that arms one, said by a test in another language.

    kubesim.faults.api(client="manager", verb="update").apply_but_drop_answer(times=2)

Law: the text is never run.  It is a chain of names and calls with literal arguments, looked up on
`kubesim.faults` and on what its methods give, public names only.  The same chain can be said as
JSON: `{"target": "api", "match": {"client": "manager"}, "effect": "reset", "options": {}}`.
"""

from __future__ import annotations

import ast
import inspect
from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.errors import UsageError, suggestion
from pytest_kubesim.faults.armed import Armed
from pytest_kubesim.faults.faults import fault

if TYPE_CHECKING:
    from pytest_kubesim.faults.faults import Faults

_ROOM = "pytest_kubesim.faults"
_NOT_FOR_TEXT = frozenset({
    "after_write", "arm", "arm_all", "armed", "changed", "clear", "holds", "never_struck", "random",
    "replay", "schedule", "unfinished", "why_not",
})
_TRIGGERS = ("after_write", "changed", "holds")
_BEGINNINGS = ("kubesim.faults", "faults")
_LATER = ("at", "for_", "until", "when")
"""What can be said of a fault that is armed."""

Link = tuple[str, tuple[Any, ...], dict[str, Any]]
"""A method and its arguments."""


def from_text(text: str) -> list[Link]:
    """The chain that the text says.  Raises: `UsageError`."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise _wrong(text, f"it is not Python: {error.msg}") from None
    links: list[Link] = []
    while isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Attribute):
            raise _wrong(text, "begin with kubesim.faults")
        try:
            args = tuple(map(_value, node.args))
            options = {str(k.arg): _value(k.value) for k in node.keywords}
        except ValueError:
            raise _wrong(text, "arguments are literals: texts, numbers, lists, None") from None
        links.insert(0, (node.func.attr, args, options))
        node = node.func.value
    if ast.unparse(node) not in _BEGINNINGS or not links:
        raise _wrong(text, "begin with kubesim.faults, and call what it offers")
    return links


def _value(node: ast.expr) -> Any:
    """What an argument is: a literal, or a trigger.  Raises: `ValueError` for anything else."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _TRIGGERS
        and ast.unparse(node.func.value) in _BEGINNINGS
    ):
        said = getattr(fault, node.func.attr)
        options = {str(each.arg): _value(each.value) for each in node.keywords}
        return said(*map(_value, node.args), **options)
    return ast.literal_eval(node)


def from_parts(parts: dict[str, Any]) -> list[Link]:
    """The chain that the JSON says.  Raises: `UsageError`."""
    links: list[Link] = []
    for name, arguments in (("target", "match"), ("effect", "options")):
        given: Any = parts.get(arguments) or {}
        if not isinstance(parts.get(name), str) or not isinstance(given, dict):
            raise UsageError(
                f"a fault has a {name!r}, a text, and {arguments!r}, an object; or it is said as "
                "Python in 'fault'"
            )
        values = {
            key: tuple(cast("list[Any]", value)) if isinstance(value, list) else value
            for key, value in cast("dict[str, Any]", given).items()
        }
        links.append((parts[name], (), values))
    return links


def arm(faults: Faults, links: list[Link]) -> Armed | None:
    """Arm what the chain says; None where it has happened at once and is over.

    Raises: `UsageError` for a name that there is not (listing those there are), for arguments that
    do not fit, and what the faults themselves raise.
    """
    begun = len(faults.begun)
    try:
        return _armed(faults, links)
    finally:
        # What is not finished is refused here and now.
        del faults.begun[begun:]


def _armed(faults: Faults, links: list[Link]) -> Armed | None:
    subject: Any = faults
    for name, args, options in links:
        there = names_of(subject)
        if name not in there:
            raise UsageError(
                f"faults: there is no {name!r};",
                f"{suggestion(name, there)}there are {', '.join(there)}",
            )
        method = getattr(subject, name)
        if isinstance(subject, Armed):
            try:
                inspect.signature(method).bind(*args, **options)
            except TypeError as error:
                raise UsageError(f"faults: {name}: {error}") from None
        try:
            subject = method(*args, **options)
        except (TypeError, ValueError) as error:
            raise UsageError(f"faults: {name}: {error}") from None
    if subject is not None and not isinstance(subject, Armed):
        there = ", ".join(names_of(subject)) or "nothing"
        raise UsageError(f"faults: say what happens: {links[-1][0]}(...) offers {there}")
    return subject


def names_of(subject: Any) -> list[str]:
    """What can be called on that part of `kubesim.faults`."""
    if isinstance(subject, Armed):
        return list(_LATER)
    if not type(subject).__module__.startswith(_ROOM):
        return []
    return sorted(
        name
        for name in dir(subject)
        if not name.startswith("_")
        and name not in _NOT_FOR_TEXT
        and inspect.ismethod(getattr(subject, name))
    )


def _wrong(text: str, remedy: str) -> UsageError:
    return UsageError(f"faults: {text!r}: {remedy}")
