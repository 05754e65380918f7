"""What a fault is: a record of what strikes, whom, when, how often.

The law: records are frozen and their `repr` is the Python that makes them; what has happened with
one (how often it matched and struck) is kept by the `Armed` fault beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from pytest_kubesim.errors import UsageError

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@attrs.frozen(slots=True)
class RequestMatch:
    """Which requests are meant; what is None is not looked at.

    `client`, the operator's or component's process name; `user`, as authentication found it;
    `verb`, one or several (`"write"` is every verb that writes, `"read"` every other); `resource`,
    plural; `subresource`, "" for the object itself; `namespace`; `name`.
    """

    client: str | None = None
    user: str | None = None
    verb: str | tuple[str, ...] | None = None
    resource: str | None = None
    subresource: str | None = None
    namespace: str | None = None
    name: str | None = None

    def __attrs_post_init__(self) -> None:
        for verb in self.verbs or ():
            if verb not in VERBS:
                raise UsageError(
                    f"faults: verb={verb!r} is no verb of the API; the verbs are "
                    f"{', '.join(VERBS)}, and 'read' and 'write' for all of a kind"
                )

    @property
    def verbs(self) -> tuple[str, ...] | None:
        """The verbs that are meant, `read` and `write` spelled out."""
        if self.verb is None:
            return None
        found: list[str] = []
        for verb in (self.verb,) if isinstance(self.verb, str) else self.verb:
            if verb == "write":
                found += [v for v in VERBS if v in WRITES]
            elif verb == "read":
                found += [v for v in VERBS if v not in WRITES]
            else:
                found.append(verb)
        return tuple(found)

    def matches(self, attributes: dict[str, Any]) -> bool:
        """Whether a request with these attributes is meant."""
        if self.verb is not None and attributes.get("verb") not in (self.verbs or ()):
            return False
        return all(
            wanted is None or attributes.get(name) == wanted
            for name, wanted in (
                ("client", self.client),
                ("user", self.user),
                ("resource", self.resource),
                ("subresource", self.subresource),
                ("namespace", self.namespace),
                ("name", self.name),
            )
        )

    def code(self) -> str:
        """The arguments as Python."""
        values = attrs.asdict(self).items()
        return ", ".join(f"{name}={value!r}" for name, value in values if value is not None)


@attrs.define(slots=True, eq=False)
class Armed:
    """A fault that has been armed: end it with `disarm()`, or use it as a context manager."""

    fault: Any
    struck: int = 0
    """How often it has struck."""
    seen: int = 0
    """How many occurrences it looked at that it was meant for."""
    on_disarm: Callable[[], None] | None = None

    def disarm(self) -> None:
        """End it; nothing if it has ended."""
        end, self.on_disarm = self.on_disarm, None
        if end is not None:
            end()

    @property
    def armed(self) -> bool:
        """Whether it can still strike."""
        return self.on_disarm is not None

    def __enter__(self) -> Armed:
        return self

    def __exit__(self, *error: object) -> None:
        self.disarm()

    def __repr__(self) -> str:
        return f"<{self.fault!r} struck {self.struck} times>"
