"""Which requests to the API server are meant, by who sends them and what they ask for.

The law: a client is known alike inside this process and outside.  `client` is any of its names: the
process (`operator`, `kube-scheduler`, `kubelet@node-1`, `test`), the product of its user agent
(`manager` of `manager/v1.2 (linux/amd64)`), its user, or the name of its service account
(`namespace/name`).
"""

from __future__ import annotations

import warnings
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Protocol, cast

import attrs

from pytest_kubesim.errors import NeverStruck, UsageError, suggestion
from pytest_kubesim.faults import wording

if TYPE_CHECKING:
    from collections.abc import Collection

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})

_ACCOUNT = "system:serviceaccount:"
_WILD = frozenset("*?[")


class Ground(Protocol):
    """What is asked of a cluster about the requests that are meant."""

    early: bool
    """Whether the test has not begun: custom resources are yet to come."""

    def known_resource(self, plural: str) -> bool:
        """Whether the cluster serves a resource of that plural name."""
        ...

    def resources(self) -> list[str]:
        """The plural names of what it serves."""
        ...

    def other_name(self, text: str) -> str | None:
        """The plural name of what is served under another name: a kind, a short name."""
        ...

    def subresources(self, plural: str | None) -> Collection[str]:
        """The subresources of a resource; of all of them."""
        ...

    def server_names(self) -> list[str]:
        """The API servers."""
        ...


def _texts(value: Any) -> Any:
    return tuple(cast("list[Any]", value)) if isinstance(value, list) else value


@attrs.frozen(slots=True)
class RequestMatch:
    """Which requests are meant; what is None is not looked at.

    `client`, one of its names; `user`, as authentication found it (the common name of a
    certificate, `system:serviceaccount:ns:name`); `user_agent`, the header or its beginning;
    `host`, where the connection comes from; `server`, which API server is asked; `verb`, one or
    several (`"write"` is every verb that writes, `"read"` every other); `resource`, plural;
    `subresource`, "" for the object itself; `namespace`; `name`.  All that are names (not `server`,
    `verb`, `resource`, `subresource`) may be patterns: `name="db-*"`.
    """

    client: str | None = None
    user: str | None = None
    user_agent: str | None = None
    host: str | None = None
    server: str | None = None
    verb: str | tuple[str, ...] | None = attrs.field(default=None, converter=_texts)
    resource: str | None = None
    subresource: str | None = None
    namespace: str | None = None
    name: str | None = None

    def __attrs_post_init__(self) -> None:
        for option, value in attrs.asdict(self, recurse=False).items():
            if option != "verb" and value is not None:
                wording.text(value, option)
        for verb in self.verbs or ():
            if verb not in VERBS:
                raise UsageError(
                    f"faults: verb={verb!r} is no verb of the API;",
                    f"{suggestion(verb, (*VERBS, 'read', 'write'))}the verbs are "
                    f"{', '.join(VERBS)}, and 'read' and 'write' for all of a kind",
                )

    @classmethod
    def said(cls, where: str, options: dict[str, Any]) -> RequestMatch:
        """From what a test has written: `service_account="namespace/name"` is a user.

        Parameters: `where`, the word with which it was written, for errors.
        Raises: `UsageError` for what cannot be meant, with what can.
        """
        known = [*attrs.fields_dict(cls), "service_account"]
        for option, value in options.items():
            if option not in known:
                raise UsageError(
                    f"faults: {where}({option}={value!r}): unknown option {option!r};",
                    f"{suggestion(option, known)}the options are "
                    f"{', '.join(f'{each}=' for each in known)}",
                )
        given = dict(options)
        account = given.pop("service_account", None)
        if account is not None:
            if str(account).count("/") != 1 or given.get("user") is not None:
                raise UsageError(
                    f"faults: service_account={account!r}: write it as 'namespace/name', and "
                    "without user="
                )
            given["user"] = f"{_ACCOUNT}{account.replace('/', ':')}"
        return cls(**given)

    @property
    def verbs(self) -> tuple[str, ...] | None:
        """The verbs that are meant, `read` and `write` spelled out."""
        if self.verb is None:
            return None
        found: list[str] = []
        several = self.verb if isinstance(self.verb, tuple) else (self.verb,)
        for verb in several:
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
        if self.client is not None and not any(
            is_meant(self.client, name) for name in names_of(attributes)
        ):
            return False
        agent: str = attributes.get("user_agent") or ""
        if self.user_agent is not None and not (
            agent.startswith(self.user_agent) or is_meant(self.user_agent, agent)
        ):
            return False
        return all(
            wanted is None or is_meant(wanted, attributes.get(name))
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


def is_meant(wanted: str, actual: Any) -> bool:
    """Whether `wanted`, a name or a pattern of names (`db-*`), means `actual`."""
    if wanted == actual:
        return True
    return not _WILD.isdisjoint(wanted) and isinstance(actual, str) and fnmatchcase(actual, wanted)


def check(ground: Ground, match: RequestMatch, *, now: bool) -> None:
    """What is meant must be there; a custom resource that is not yet may come, unless `now`.

    Raises: `UsageError` for a server, subresource or (`now`) resource that there is not.
    """
    servers = ground.server_names()
    if match.server is not None and match.server not in servers:
        raise UsageError(
            f"faults: there is no API server {match.server!r};",
            f"{suggestion(match.server, servers)}there are: {', '.join(servers)}"
            " (more with @pytest.mark.kubesim(control_planes=3))",
        )
    resource, subresource = match.resource, match.subresource
    if resource is not None and not ground.known_resource(resource):
        _unserved(ground, resource, now=now and not ground.early)
        return
    there = ground.subresources(resource)
    if subresource and subresource not in there:
        whose = "the API has" if resource is None else f"{resource!r} has"
        raise UsageError(
            f"faults: subresource={subresource!r}: {whose} no such subresource;",
            f"{suggestion(subresource, there)}there are: {', '.join(sorted(there)) or 'none'}"
            " ('' is the object itself)",
        )


def _unserved(ground: Ground, resource: str, *, now: bool) -> None:
    """Say that a resource is not served: an error, or where it may yet come, a warning."""
    whole, slash, below = resource.partition("/")
    other = ground.other_name(resource)
    if slash:
        remedy = f"write resource={whole!r}, subresource={below!r}"
    else:
        near = f"did you mean {other!r}? " if other else suggestion(resource, ground.resources())
        remedy = (
            f"{near}give its plural name, such as 'statefulsets' (a custom one after its CRD was "
            "applied)"
        )
    if now or slash:
        raise UsageError(
            f"faults: resource={resource!r}: the cluster serves no such resource;", remedy
        )
    doubt(ground, resource, f"resource={resource!r}: the cluster serves no such resource; {remedy}")


def doubt(ground: Ground, resource: str, problem: str) -> None:
    """Warn of a resource that may yet come, where one letter makes it one that is there."""
    name = resource.partition(".")[0].lower()
    if ground.other_name(name) or any(_one_letter(name, each) for each in ground.resources()):
        warnings.warn(NeverStruck(f"a fault may never strike: {problem}"), stacklevel=2)


def _one_letter(one: str, other: str) -> bool:
    if abs(len(one) - len(other)) > 1:
        return False
    short, long = sorted((one, other), key=len)
    same = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), None)
    if same is None:
        return True
    rest = same + 1 if len(short) == len(long) else same
    return short[rest:] == long[same + 1:]


def names_of(attributes: dict[str, Any]) -> tuple[str, ...]:
    """Every name by which the client of a request with these attributes is known."""
    user: str = attributes.get("user") or ""
    agent: str = attributes.get("user_agent") or ""
    product = agent.partition("/")[0].partition(" ")[0]
    found = [attributes.get("client") or "", product, user]
    if user.startswith(_ACCOUNT):
        found.append(user.removeprefix(_ACCOUNT).replace(":", "/"))
    return tuple(name for name in dict.fromkeys(found) if name)
