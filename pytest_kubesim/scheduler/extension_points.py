"""Which plugin runs at which extension point, in which order, and with which weight.

The law: what is enabled at `multiPoint` runs wherever it has hooks, in that order; an extension
point of its own may leave plugins out, put them first, add others, or weigh them differently.

Follows `NewFramework`, `updatePluginList` and `expandMultiPointPlugins` in
`pkg/scheduler/framework/runtime/framework.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.errors import NotSimulated, UsageError

MULTI_POINT = "multiPoint"
ALL = "*"

POINTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "preFilter": ("PreFilterPlugin", ("pre_filter",)),
    "filter": ("FilterPlugin", ("filter",)),
    "postFilter": ("PostFilterPlugin", ("post_filter",)),
    "reserve": ("ReservePlugin", ("reserve", "unreserve")),
    "preScore": ("PreScorePlugin", ("pre_score",)),
    "score": ("ScorePlugin", ("score", "score_nodes")),
    "preBind": ("PreBindPlugin", ("pre_bind",)),
    "bind": ("BindPlugin", ("bind",)),
    "postBind": ("PostBindPlugin", ("post_bind",)),
    "permit": ("PermitPlugin", ("permit",)),
    "preEnqueue": ("PreEnqueuePlugin", ("pre_enqueue",)),
    "queueSort": ("QueueSortPlugin", ("sort_key",)),
}
"""The extension points: upstream's name of the interface, and the hooks of which one is enough."""

POINT_OF_HOOK = {
    **{hook: point for point, (_, hooks) in POINTS.items() for hook in hooks},
    "add_pod": "preFilter",
    "remove_pod": "preFilter",
    "pre_bind_pre_flight": "preBind",
}

_LEAN_ON_PRE = {
    "filter": ("preFilter", frozenset({
        "DynamicResources", "InterPodAffinity", "NodeDeclaredFeatures", "PodTopologySpread",
        "VolumeBinding", "VolumeRestrictions", "VolumeZone",
    })),
    "score": ("preScore", frozenset({
        "DynamicResources", "InterPodAffinity", "NodeAffinity", "PodTopologySpread",
        "VolumeBinding",
    })),
}
"""Where built-in plugins go on with what they found out at the point before."""


@attrs.frozen(slots=True)
class PluginSet:
    """What is enabled at a point (names and weights, 0 for none given), and what is left out."""

    enabled: tuple[tuple[str, int], ...] = ()
    disabled: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        """The names that are enabled."""
        return [name for name, _ in self.enabled]

    def over(self, defaults: PluginSet) -> PluginSet:
        """It as a change of `defaults` (`mergePluginSet`): in their order, then the others."""
        disabled = self.disabled | defaults.disabled
        mine = dict(self.enabled)
        enabled: list[tuple[str, int]] = []
        if ALL not in disabled:
            enabled = [
                (name, mine.get(name, weight))
                for name, weight in defaults.enabled
                if name not in disabled
            ]
        kept = {name for name, _ in enabled}
        enabled += [(name, weight) for name, weight in self.enabled if name not in kept]
        return PluginSet(tuple(enabled), disabled)


class Layout:
    """The plugins of one profile, by extension point.

    Parameters: `scheduler_name`, for messages; `plugins`, by name, those that some point enables;
    `sets` by extension point, `multiPoint` among them.

    Raises: `UsageError` where upstream's scheduler would not start; `NotSimulated` where a plugin
    would run without the hook before that it builds on.
    """

    def __init__(
        self, scheduler_name: str, plugins: Mapping[str, Any], sets: Mapping[str, PluginSet]
    ) -> None:
        self.plugins = list(plugins.values())
        self._sets = sets
        self._by_point = {point: self._order(point, plugins) for point in POINTS}
        self._weights: dict[str, int] = {}
        for point in (MULTI_POINT, "score"):
            for name, weight in sets.get(point, PluginSet()).enabled:
                if weight or point == "score":
                    self._weights[name] = weight
        sorters = len(self._by_point["queueSort"])
        if sorters != 1:
            raise _refused(
                "only one queue sort plugin required for profile with scheduler name "
                f"{quote(scheduler_name)}, but got {sorters}"
            )
        if not self._by_point["bind"]:
            raise _refused(
                "at least one bind plugin is needed for profile with scheduler name "
                f"{quote(scheduler_name)}"
            )
        for point, (before, names) in _LEAN_ON_PRE.items():
            for plugin in self._by_point[point]:
                if plugin.name in names and plugin not in self._by_point[before]:
                    raise NotSimulated(
                        f"{plugin.name} at {point} without {before} is not simulated.",
                        f"Disable it at {point} too, or leave it at {before}.",
                    )

    def at(self, point: str) -> list[Any]:
        """The plugins that run at `point`, in order."""
        return self._by_point[point]

    def weight(self, name: str) -> int:
        """The weight of that plugin's score; 1 unless something else was said."""
        return self._weights.get(name) or 1

    def _order(self, point: str, plugins: Mapping[str, Any]) -> list[Any]:
        interface, hooks = POINTS[point]
        own = self._sets.get(point, PluginSet())
        explicit = own.names
        for name in explicit:
            if name not in plugins:
                raise _refused(f"{interface} {quote(name)} does not exist")
            if not _extends(plugins[name], hooks):
                raise _refused(f"plugin {quote(name)} does not extend {interface} plugin")
        _once(explicit, interface)
        if ALL in own.disabled:
            return [plugins[name] for name in explicit]
        multi: list[str] = []
        for name in self._sets.get(MULTI_POINT, PluginSet()).names:
            if name not in plugins:
                raise _refused(f"{interface} {quote(name)} does not exist")
            if _extends(plugins[name], hooks) and name not in own.disabled:
                multi.append(name)
        _once(multi, interface)
        ordered = [name for name in explicit if name in multi]
        ordered += [name for name in multi if name not in explicit]
        ordered += [name for name in explicit if name not in multi]
        return [plugins[name] for name in ordered]


def _extends(plugin: Any, hooks: Iterable[str]) -> bool:
    return any(hasattr(plugin, hook) for hook in hooks)


def _once(names: list[str], interface: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise _refused(f"plugin {quote(name)} already registered as {quote(interface)}")


def _refused(problem: str) -> UsageError:
    return UsageError(
        f"the scheduler would not start: {problem}.",
        "Change the profile's plugins, or give the plugin to pytest_kubesim_scheduler_plugins.",
    )
