"""Which requests to the API server are meant, by who sends them and what they ask for.

The law: a client is known alike inside this process and outside.  `client` is any of its names: the
process (`operator`, `kube-scheduler`, `kubelet@node-1`, `test`), the product of its user agent
(`manager` of `manager/v1.2 (linux/amd64)`), its user, or the name of its service account
(`namespace/name`).
"""

from __future__ import annotations

from typing import Any

import attrs

from pytest_kubesim.errors import UsageError

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})

_ACCOUNT = "system:serviceaccount:"


@attrs.frozen(slots=True)
class RequestMatch:
    """Which requests are meant; what is None is not looked at.

    `client`, one of its names; `user`, as authentication found it (the common name of a
    certificate, `system:serviceaccount:ns:name`); `user_agent`, the beginning of the header;
    `host`, where the connection comes from; `server`, which API server is asked; `verb`, one or
    several (`"write"` is every verb that writes, `"read"` every other); `resource`, plural;
    `subresource`, "" for the object itself; `namespace`; `name`.
    """

    client: str | None = None
    user: str | None = None
    user_agent: str | None = None
    host: str | None = None
    server: str | None = None
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
        if self.client is not None and self.client not in names_of(attributes):
            return False
        if self.user_agent is not None and not attributes.get("user_agent", "").startswith(
            self.user_agent
        ):
            return False
        return all(
            wanted is None or attributes.get(name) == wanted
            for name, wanted in (
                ("user", self.user),
                ("host", self.host),
                ("server", self.server),
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


def names_of(attributes: dict[str, Any]) -> tuple[str, ...]:
    """Every name by which the client of a request with these attributes is known."""
    user: str = attributes.get("user") or ""
    agent: str = attributes.get("user_agent") or ""
    product = agent.partition("/")[0].partition(" ")[0]
    found = [attributes.get("client") or "", product, user]
    if user.startswith(_ACCOUNT):
        found.append(user.removeprefix(_ACCOUNT).replace(":", "/"))
    return tuple(name for name in dict.fromkeys(found) if name)
