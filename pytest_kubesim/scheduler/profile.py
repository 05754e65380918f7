"""Profiles: which plugins, in which order and weight, a scheduler name stands for.

`Profile()` is upstream's default.  A user's plugin instances are appended and run like ours.

Follows `pkg/scheduler/apis/config/v1/default_plugins.go` and `pkg/scheduler/profile/profile.go`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

import attrs

from pytest_kubesim.errors import UsageError
from pytest_kubesim.scheduler.extension_points import MULTI_POINT, Layout, PluginSet

DEFAULT_SCHEDULER_NAME = "default-scheduler"

DEFAULT_PLUGINS: tuple[tuple[str, str, int], ...] = (
    ("SchedulingGates", "scheduling_gates", 0),
    ("PrioritySort", "priority_sort", 0),
    ("NodeName", "node_name", 0),
    ("NodeUnschedulable", "node_unschedulable", 0),
    ("TaintToleration", "taint_toleration", 3),
    ("NodeAffinity", "node_affinity", 2),
    ("NodePorts", "node_ports", 0),
    ("NodeResourcesFit", "node_resources_fit", 1),
    ("VolumeRestrictions", "volume_restrictions", 0),
    ("NodeVolumeLimits", "node_volume_limits", 0),
    ("VolumeBinding", "volume_binding", 1),
    ("VolumeZone", "volume_zone", 0),
    ("PodTopologySpread", "pod_topology_spread", 2),
    ("InterPodAffinity", "inter_pod_affinity", 2),
    ("DynamicResources", "dynamic_resources", 2),
    ("DefaultPreemption", "default_preemption", 0),
    ("NodeResourcesBalancedAllocation", "node_resources_balanced_allocation", 1),
    ("ImageLocality", "image_locality", 1),
    ("DefaultBinder", "default_binder", 0),
    ("NodeDeclaredFeatures", "node_declared_features", 0),
)
"""Name, module under `plugins/`, weight of the score."""


@attrs.frozen(slots=True)
class Profile:
    """A scheduler name and its plugins.

    Parameters: `scheduler_name`, as pods name it; `plugins`, more plugin instances (or callables
    that make one), after the default ones; `disabled`, names of default plugins to leave out;
    `weights` by plugin name where they differ from the default (1 for added plugins);
    `percentage_of_nodes_to_score`, 0 for upstream's adaptive choice; `arguments` that default
    plugins are made with, by plugin name; `points`, what is enabled and disabled at extension
    points, as a change of the default (then `plugins` run only where a point enables them).
    """

    scheduler_name: str = DEFAULT_SCHEDULER_NAME
    plugins: Sequence[Any] = ()
    disabled: frozenset[str] = attrs.field(factory=frozenset[str], converter=frozenset[str])
    weights: Mapping[str, int] = attrs.field(factory=dict[str, int])
    percentage_of_nodes_to_score: int = 0
    arguments: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict[str, Mapping[str, Any]])
    points: Mapping[str, PluginSet] | None = None

    def build(self) -> Layout:
        """New plugin instances, by extension point.

        Raises: `UsageError` for a name that is disabled but unknown, or taken twice, and for what
        upstream's scheduler would not start with.
        """
        known = {name for name, _, _ in DEFAULT_PLUGINS}
        if unknown := sorted(self.disabled - known):
            raise UsageError(
                f"no default scheduler plugin is called {', '.join(unknown)}.",
                f"The default plugins are: {', '.join(sorted(known))}.",
            )
        extra = self._extra(known - self.disabled)
        defaults = PluginSet(tuple(
            (name, self.weights.get(name, weight))
            for name, _, weight in DEFAULT_PLUGINS
            if name not in self.disabled
        ))
        if self.points is None:
            added = tuple((name, self.weights.get(name, 1)) for name in extra)
            sets = {MULTI_POINT: PluginSet((*defaults.enabled, *added))}
        else:
            sets = {**self.points, MULTI_POINT: self.points.get(MULTI_POINT, PluginSet()).over(
                defaults
            )}
        needed = {name for chosen in sets.values() for name in chosen.names}
        made = {
            name: _load(name, module, self.arguments.get(name, {}))
            for name, module, _ in DEFAULT_PLUGINS
            if name in needed and name not in extra
        }
        made |= {name: plugin for name, plugin in extra.items() if name in needed}
        return Layout(self.scheduler_name, made, sets)

    def _extra(self, taken: set[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for entry in self.plugins:
            plugin = entry() if isinstance(entry, type) or not hasattr(entry, "name") else entry
            if plugin.name in taken or plugin.name in found:
                raise UsageError(
                    f"the scheduler plugin {plugin.name} is there twice.",
                    "Disable the default one of that name, or give yours another.",
                )
            found[plugin.name] = plugin
        return found


def _load(name: str, module: str, arguments: Mapping[str, Any]) -> Any:
    return _factory(name, module)(**arguments)


@functools.cache
def _factory(name: str, module: str) -> Callable[[], Any]:
    return getattr(import_module(f"pytest_kubesim.scheduler.plugins.{module}"), name)


def profile_map(profiles: Iterable[Profile]) -> dict[str, Profile]:
    """Profiles by scheduler name; at least one, each name once."""
    by_name: dict[str, Profile] = {}
    for profile in profiles:
        if profile.scheduler_name in by_name:
            raise UsageError(
                f"two scheduler profiles are called {profile.scheduler_name!r}.",
                "Give each its own scheduler_name.",
            )
        by_name[profile.scheduler_name] = profile
    if not by_name:
        raise UsageError("a scheduler needs a profile.", "Leave profiles out for the default one.")
    return by_name
