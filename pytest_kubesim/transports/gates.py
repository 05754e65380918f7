"""Feature gates and versions of the API, as the flags of kube-apiserver set them.

Law: what kube-apiserver refuses is refused in its words.  What would make a difference there and
makes none here is named; what is so by default needs no word.

Follows `k8s.io/component-base/featuregate`, `compatibility/registry.go`, and
`k8s.io/apiserver/pkg/server/{options/api_enablement,resourceconfig/helpers}.go`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apiserver import known_kinds
from pytest_kubesim.data import load
from pytest_kubesim.errors import UsageError, suggestion

COMPONENT = "kube"
_CORE = "/v1"
_GROUPS_OF_GATES = ("AllAlpha", "AllBeta")
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_STAGES = {
    "api/all": re.compile(r"v\d+(alpha\d+|beta\d+)?"),
    "api/ga": re.compile(r"v\d+"),
    "api/beta": re.compile(r"v\d+beta\d+"),
    "api/alpha": re.compile(r"v\d+alpha\d+"),
}
"""What stands for versions of a kind, in the order in which it is applied."""


def feature_gates(given: Iterable[str]) -> list[str]:
    """Those of `--feature-gates` that are to be other than by default: `Name=true`.

    Raises: `UsageError` for one that there is not, that is locked, or is neither true nor false.
    """
    pairs = [_gate(text) for text in given]
    if len({prefix for prefix, *_ in pairs}) > 1:
        raise UsageError(
            "set kube feature gates with default empty prefix or kube: prefix consistently, do not "
            "mix use"
        )
    known = load.feature_gates()
    unusual: list[str] = []
    for _, name, value in pairs:
        if name in _GROUPS_OF_GATES:
            if value:
                unusual.append(f"{name}=true")
            continue
        if name not in known:
            raise UsageError(f"unrecognized feature gate: {name}", _near(name, known))
        usual, locked = known[name]
        if value == usual:
            continue
        if locked:
            raise UsageError(
                f"cannot set feature gate {name} to {str(value).lower()}, feature is locked to "
                f"{str(usual).lower()}"
            )
        unusual.append(f"{name}={str(value).lower()}")
    return unusual


def _gate(text: str) -> tuple[str, str, bool]:
    prefix, colon, rest = text.rpartition(":")
    prefix = prefix.strip()
    if colon and prefix != COMPONENT:
        raise UsageError(f"component not registered: {prefix}")
    name, equals, value = (part.strip() for part in rest.partition("="))
    if not equals:
        raise UsageError(f"missing bool value for {name}")
    return prefix, name, _truth(value, f"invalid value of {name}={value}")


def _truth(value: str, problem: str) -> bool:
    if value not in _TRUE | _FALSE:
        raise UsageError(
            f"{problem}, err: strconv.ParseBool: parsing {quote(value)}: invalid syntax"
        )
    return value in _TRUE


def _near(name: str, known: Iterable[str]) -> str:
    hint = suggestion(name, known).strip()
    return f"({hint})" if hint else ""


def runtime_config(given: Iterable[str]) -> list[str]:
    """Those of `--runtime-config` that are to be other than by default: `batch/v1=false`.

    Raises: `UsageError` for groups and versions that there are not, and for what is no value.
    """
    pairs: dict[str, str] = {}
    for text in given:
        key, _, value = (part.strip() for part in text.partition("="))
        if re.match(r"(api/)?v1(/|\Z)", key):
            key = _CORE
        if key != "api/legacy":
            pairs[key] = value
    if pairs == {"api/all": "false"}:
        raise UsageError("invalid runtime-config with only api/all=false")
    served = _versions(served_only=True)
    registered = _versions(served_only=False) | known_kinds.other_versions()
    _check_groups([key for key in pairs if key not in _STAGES], registered)
    return [
        f"{key.lstrip('/')}={value}" if value else key
        for key, value in pairs.items()
        if _is_unusual(key, value, registered, served)
    ]


def _versions(*, served_only: bool) -> frozenset[str]:
    return frozenset(
        f"{group.name}/{version}" for group in load.groups(served_only=served_only)
        for version in group.versions
    )


def _check_groups(keys: list[str], registered: Iterable[str]) -> None:
    groups = {api_version.rpartition("/")[0] for api_version in registered}
    unknown: set[str] = set()
    for key in keys:
        parts = key.split("/")
        if len(parts) not in (2, 3):
            raise UsageError(f"runtime-config invalid key {key}")
        if parts[0] not in groups:
            unknown.add("/".join(parts[:2]))
    if unknown:
        raise UsageError(
            f"unknown api groups {','.join(sorted(unknown))}",
            _near(min(unknown).partition("/")[0], groups),
        )


def _is_unusual(key: str, value: str, registered: Iterable[str], served: Iterable[str]) -> bool:
    stage = _STAGES.get(key)
    if stage is not None:
        if value not in ("true", "false"):
            raise UsageError(f"invalid value {key}={value}")
        meant = [v for v in registered if stage.fullmatch(v.rpartition("/")[2])]
        return any((v in served) != (value == "true") for v in meant)
    group, version, *resource = key.split("/")
    api_version = f"{group}/{version}"
    if api_version not in registered:
        versions = sorted(v for v in registered if v.startswith(f"{group}/"))
        raise UsageError(
            f"group version {api_version} that has not been registered",
            f"(there are {', '.join(versions)})",
        )
    wanted = not value or _truth(value, f"invalid value of {key}: {value}")
    if resource and resource[0] != resource[0].lower():
        raise UsageError(
            f"invalid key {key}: group/version/resource and resource is always lowercase plural, "
            f"not {quote(resource[0])}"
        )
    return (api_version in served) != wanted
