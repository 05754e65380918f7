"""A `KubeSchedulerConfiguration`, read as kube-scheduler reads its `--config` file.

The law: what upstream refuses is refused with its words; fields that speak of threads, connections
or ports (`parallelism`, `clientConnection`, `leaderElection`, `enableProfiling` ...) are accepted
and have no effect, as there is nothing of the kind here; extenders are `NotSimulated`.

Follows `pkg/scheduler/apis/config/{v1/default_plugins,v1/defaults,validation/validation}.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import attrs

from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.errors import NotSimulated, UsageError
from pytest_kubesim.scheduler.extension_points import MULTI_POINT, POINTS, PluginSet
from pytest_kubesim.scheduler.plugin_args import KINDS, Arguments
from pytest_kubesim.scheduler.profile import DEFAULT_SCHEDULER_NAME, Profile
from pytest_kubesim.scheduler.scheduler import SchedulerConfiguration
from pytest_kubesim.sim.clock import NS

API_VERSION, KIND = "kubescheduler.config.k8s.io/v1", "KubeSchedulerConfiguration"

_META = frozenset({"apiVersion", "kind"})
_FIELDS = _META | {
    "parallelism", "leaderElection", "clientConnection", "enableProfiling",
    "enableContentionProfiling", "percentageOfNodesToScore", "podInitialBackoffSeconds",
    "podMaxBackoffSeconds", "profiles", "extenders", "delayCacheUntilActive",
}
_PROFILE_FIELDS = frozenset(
    {"schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig"}
)
_GROUP_POINTS = frozenset({"placementGenerate", "placementScore", "podGroupPostFilter"})
"""Extension points of pod groups, which 1.37 does not serve by default."""
_POINTS = frozenset({*POINTS, MULTI_POINT, *_GROUP_POINTS})
_GONE = ("AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits")
_REMEDY = "See https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/."


@attrs.frozen(slots=True)
class Loaded:
    """What a configuration says: the profiles, and the rest."""

    profiles: tuple[Profile, ...]
    initial_backoff_ns: int
    max_backoff_ns: int

    def settings(self, base: SchedulerConfiguration) -> SchedulerConfiguration:
        """`base` with what the configuration says of it."""
        return attrs.evolve(
            base,
            initial_backoff_ns=self.initial_backoff_ns,
            max_backoff_ns=self.max_backoff_ns,
        )


def load(document: Object, plugins: Sequence[Any] = ()) -> Loaded:
    """The profiles of a configuration.

    Parameters: `document`, the configuration; `plugins` besides the default ones, which it may
    enable by their names.

    Raises: `UsageError` for what kube-scheduler would not start with; `NotSimulated` for extenders.
    """
    _strict(document)
    if document.get("extenders"):
        raise NotSimulated(
            "scheduler extenders are not simulated.",
            "Write the same as a plugin: see pytest_kubesim_scheduler_plugins.",
        )
    errors: ErrorList = []
    given: list[Object] = document.get("profiles") or [{}]
    names = [_scheduler_name(profile, len(given)) for profile in given]
    parallelism = document.get("parallelism", 16)
    if parallelism <= 0:
        text = "should be an integer value greater than zero"
        errors.append(field.invalid(Path("parallelism"), parallelism, text))
    profiles = tuple(
        _profile(document, number, names, plugins, errors) for number in range(len(given))
    )
    errors += _common_queue_sort(given)
    _percentage(document, Path("percentageOfNodesToScore"), errors)
    initial = document.get("podInitialBackoffSeconds", 1)
    most = document.get("podMaxBackoffSeconds", 10)
    if initial <= 0:
        at = Path("podInitialBackoffSeconds")
        errors.append(field.invalid(at, initial, "must be greater than 0"))
    if most < initial:
        text = "must be greater than or equal to PodInitialBackoffSeconds"
        errors.append(field.invalid(Path("podMaxBackoffSeconds"), most, text))
    if errors:
        raise _refused(field.aggregate(errors))
    for profile in profiles:
        profile.build()
    return Loaded(profiles, initial * NS, most * NS)


def _scheduler_name(profile: Object, profiles: int) -> str:
    name: str = profile.get("schedulerName") or ""
    return DEFAULT_SCHEDULER_NAME if not name and profiles == 1 else name


def _profile(
    document: Object,
    number: int,
    names: Sequence[str],
    plugins: Sequence[Any],
    errors: ErrorList,
) -> Profile:
    path = Path("profiles").index(number)
    profile = (_objects(document.get("profiles")) or [cast("Object", {})])[number]
    if not names[number]:
        errors.append(field.required(path.child("schedulerName")))
    if names[number] in names[:number]:
        first = Path("profiles").index(names.index(names[number])).child("schedulerName")
        errors.append(field.duplicate(path.child("schedulerName"), str(first)))
    own = _percentage(profile, path.child("percentageOfNodesToScore"), errors)
    everywhere: int | None = document.get("percentageOfNodesToScore")
    sets: dict[str, Object] = profile.get("plugins") or {}
    points = {
        point: _plugin_set(chosen or {}, path.child("plugins", point), errors)
        for point, chosen in sets.items()
        if point not in _GROUP_POINTS
    }
    return Profile(
        names[number],
        plugins=tuple(plugins),
        percentage_of_nodes_to_score=(everywhere if own is None else own) or 0,
        arguments=_arguments(profile, path, errors),
        points=points,
    )


def _percentage(of: Object, path: Path, errors: ErrorList) -> int | None:
    percentage: int | None = of.get("percentageOfNodesToScore")
    if percentage is not None and not 0 <= percentage <= 100:
        errors.append(field.invalid(path, percentage, "not in valid range [0-100]"))
    return percentage


def _plugin_set(chosen: Object, path: Path, errors: ErrorList) -> PluginSet:
    enabled: list[Object] = chosen.get("enabled") or []
    for i, entry in enumerate(enabled):
        if entry["name"] in _GONE:
            at = path.child("enabled").index(i)
            errors.append(field.invalid(at, entry["name"], _was_invalid()))
    return PluginSet(
        tuple((entry["name"], entry.get("weight") or 0) for entry in enabled),
        frozenset(entry["name"] for entry in chosen.get("disabled") or ()),
    )


def _was_invalid() -> str:
    version = quote(API_VERSION)
    return f"was invalid in version {version} (KubeSchedulerConfiguration is version {version})"


def _arguments(profile: Object, path: Path, errors: ErrorList) -> dict[str, Arguments]:
    found: dict[str, Arguments] = {}
    seen: set[str] = set()
    for i, entry in enumerate(profile.get("pluginConfig") or ()):
        at, name = path.child("pluginConfig").index(i), entry["name"]
        if name in seen:
            errors.append(field.duplicate(at, name))
        seen.add(name)
        if name in _GONE:
            errors.append(field.invalid(at, name, _was_invalid()))
        elif name in KINDS:
            _, check = KINDS[name]
            found[name], problems = check(entry.get("args") or {}, at.child("args"))
            errors += problems
        elif entry.get("args"):
            raise UsageError(
                f"{at.child('args')}: {name} takes no arguments.",
                "Give a plugin of your own its arguments where you make it.",
            )
    return found


def _common_queue_sort(profiles: Sequence[Object]) -> ErrorList:
    sorts: list[Object] = []
    for profile in profiles:
        sets: dict[str, Object] = profile.get("plugins") or {}
        sorts.append(sets.get("queueSort") or {})
    return [
        field.invalid(
            Path("profiles").index(i).child("plugins", "queueSort"),
            sort,
            "must be the same for all profiles",
        )
        for i, sort in enumerate(sorts)
        if sort != sorts[0]
    ]


# -- strict decoding -------------------------------------------------------------------------------


def _strict(document: Object) -> None:
    version, kind = document.get("apiVersion"), document.get("kind")
    if version != API_VERSION or kind != KIND:
        raise _refused(
            f"no kind {quote(str(kind or ''))} is registered for version "
            f"{quote(str(version or ''))} in scheme; expected {KIND} of {API_VERSION}"
        )
    unknown = list(_unknown(document, _FIELDS, ""))
    for i, profile in enumerate(_objects(document.get("profiles"))):
        where = f"profiles[{i}]."
        unknown += _unknown(profile, _PROFILE_FIELDS, where)
        points: Object = profile.get("plugins") or {}
        unknown += _unknown(points, _POINTS, f"{where}plugins.")
        for point, chosen in points.items():
            unknown += _unknown(
                chosen or {}, frozenset({"enabled", "disabled"}), f"{where}plugins.{point}."
            )
        for j, entry in enumerate(_objects(profile.get("pluginConfig"))):
            at = f"{where}pluginConfig[{j}]."
            unknown += _unknown(entry, frozenset({"name", "args"}), at)
            fields = KINDS.get(entry.get("name", ""))
            if fields is not None:
                unknown += _unknown(entry.get("args") or {}, fields[0] | _META, f"{at}args.")
    if unknown:
        text = ", ".join(f"unknown field {quote(name)}" for name in unknown)
        raise _refused(f"strict decoding error: {text}")


def _objects(value: Any) -> list[Object]:
    return cast("list[Object]", value or [])


def _unknown(obj: Mapping[str, Any], known: frozenset[str], where: str) -> Iterable[str]:
    return [f"{where}{name}" for name in obj if name not in known]


def _refused(problem: str) -> UsageError:
    return UsageError(
        f"kube-scheduler would not start with this configuration: {problem}.", _REMEDY
    )
