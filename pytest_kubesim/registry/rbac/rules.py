"""Rules of roles: what they allow, and whether one set of them covers another.

The law: functions of rules, which are JSON; nothing here knows of users or bindings.

Follows `component-helpers/auth/rbac/validation/policy_comparator.go`,
`pkg/apis/rbac/v1/evaluation_helpers.go` and `pkg/registry/rbac/validation/policy_compact.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.registry.parts import texts

ALL = "*"
_PARTS = (
    ("APIGroups", "apiGroups"),
    ("Resources", "resources"),
    ("NonResourceURLs", "nonResourceURLs"),
    ("ResourceNames", "resourceNames"),
    ("Verbs", "verbs"),
)
FULL_AUTHORITY: tuple[Object, ...] = (
    {"verbs": [ALL], "apiGroups": [ALL], "resources": [ALL]},
    {"verbs": [ALL], "nonResourceURLs": [ALL]},
)


# -- what a rule allows ----------------------------------------------------------------------------


def matches_resource(rule: Object, verb: str, group: str, resource: str, subresource: str) -> bool:
    """Whether the rule is about that verb on that resource; of names it says nothing."""
    verbs = texts(rule, "verbs")
    if verb not in verbs and ALL not in verbs:
        return False
    groups = texts(rule, "apiGroups")
    if group not in groups and ALL not in groups:
        return False
    resources = texts(rule, "resources")
    if ALL in resources:
        return True
    if not subresource:
        return resource in resources
    return f"{resource}/{subresource}" in resources or f"*/{subresource}" in resources


def matches_path(rule: Object, verb: str, path: str) -> bool:
    """Whether the rule allows that verb on a path that is no resource."""
    verbs = texts(rule, "verbs")
    if verb not in verbs and ALL not in verbs:
        return False
    return any(_url_covers(url, path) for url in texts(rule, "nonResourceURLs"))


def _url_covers(owned: str, path: str) -> bool:
    if owned in (ALL, path):
        return True
    return owned.endswith(ALL) and path.startswith(owned.rstrip(ALL))


# -- whether rules cover others --------------------------------------------------------------------


def missing(owned: Sequence[Object], wanted: Iterable[Object]) -> list[Object]:
    """What of the wanted rules is not covered by those owned, taken apart (`Covers`)."""
    return [
        piece
        for rule in wanted
        for piece in _pieces(rule)
        if not any(_covers(each, piece) for each in owned)
    ]


def _pieces(rule: Object) -> list[Object]:
    """The rule in the smallest pieces that a single rule can cover."""
    found: list[Object] = []
    names = texts(rule, "resourceNames")
    for group in texts(rule, "apiGroups"):
        for resource in texts(rule, "resources"):
            for verb in texts(rule, "verbs"):
                piece: Object = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
                if names:
                    found += [{**piece, "resourceNames": [name]} for name in names]
                else:
                    found.append(piece)
    for url in texts(rule, "nonResourceURLs"):
        found += [{"verbs": [verb], "nonResourceURLs": [url]} for verb in texts(rule, "verbs")]
    return found


def _covers(rule: Object, piece: Object) -> bool:
    names, wanted = texts(rule, "resourceNames"), texts(piece, "resourceNames")
    return (
        _holds(texts(rule, "verbs"), texts(piece, "verbs"))
        and _holds(texts(rule, "apiGroups"), texts(piece, "apiGroups"))
        and all(_holds_resource(texts(rule, "resources"), r) for r in texts(piece, "resources"))
        and all(
            any(_url_covers(owned, url) for owned in texts(rule, "nonResourceURLs"))
            for url in texts(piece, "nonResourceURLs")
        )
        and (not names or (bool(wanted) and set(wanted) <= set(names)))
    )


def _holds(owned: Sequence[str], wanted: Sequence[str]) -> bool:
    return ALL in owned or set(wanted) <= set(owned)


def _holds_resource(owned: Sequence[str], resource: str) -> bool:
    if ALL in owned or resource in owned:
        return True
    _, slash, subresource = resource.partition("/")
    return bool(slash) and f"*/{subresource}" in owned


# -- how rules read --------------------------------------------------------------------------------


def compact(rules: Iterable[Object]) -> list[Object]:
    """The rules, those that differ only in the verb made one (`CompactRules`)."""
    kept: list[Object] = []
    simple: dict[tuple[str, ...], Object] = {}
    for rule in rules:
        key = _simple_key(rule)
        if key is None:
            kept.append(rule)
        elif (known := simple.get(key)) is None:
            simple[key] = rule
        else:
            simple[key] = {**known, "verbs": [*known["verbs"], *rule["verbs"]]}
    return kept + list(simple.values())


def _simple_key(rule: Object) -> tuple[str, ...] | None:
    names = texts(rule, "resourceNames")
    groups, resources = texts(rule, "apiGroups"), texts(rule, "resources")
    if len(names) > 1 or texts(rule, "nonResourceURLs") or len(groups) != 1 or len(resources) != 1:
        return None
    return (groups[0], resources[0], *names)


def text_of(rule: Object) -> str:
    """`{APIGroups:[""], Resources:["pods"], Verbs:["get"]}` (`CompactString`)."""
    found = [
        f"{shown}:[{' '.join(map(quote, values))}]"
        for shown, key in _PARTS
        if (values := texts(rule, key))
    ]
    return "{" + ", ".join(found) + "}"
