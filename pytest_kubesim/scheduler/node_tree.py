"""The order in which nodes are looked at: zone by zone in turn, so that a search spreads.

Follows `pkg/scheduler/backend/cache/node_tree.go`.
"""

from __future__ import annotations

from collections.abc import Mapping

ZONE_LABEL = "topology.kubernetes.io/zone"
REGION_LABEL = "topology.kubernetes.io/region"
OLD_ZONE_LABEL = "failure-domain.beta.kubernetes.io/zone"
OLD_REGION_LABEL = "failure-domain.beta.kubernetes.io/region"


def zone_key(labels: Mapping[str, str]) -> str:
    """Region and zone of a node of these labels; "" when it has neither."""
    zone = labels.get(OLD_ZONE_LABEL) or labels.get(ZONE_LABEL) or ""
    region = labels.get(OLD_REGION_LABEL) or labels.get(REGION_LABEL) or ""
    return f"{region}:\x00:{zone}" if region or zone else ""


class NodeTree:
    """Node names by zone, zones in the order in which they came."""

    __slots__ = ("_zones",)

    def __init__(self) -> None:
        self._zones: dict[str, dict[str, None]] = {}

    def add(self, zone: str, name: str) -> None:
        """Insert a node."""
        self._zones.setdefault(zone, {})[name] = None

    def remove(self, zone: str, name: str) -> None:
        """Take a node out."""
        names = self._zones.get(zone)
        if names is not None:
            names.pop(name, None)
            if not names:
                del self._zones[zone]

    def list(self) -> list[str]:
        """All names: the first of every zone, the second of every zone, and so on."""
        columns = [list(names) for names in self._zones.values()]
        if len(columns) == 1:
            return columns[0]
        ordered: list[str] = []
        for row in range(max(map(len, columns), default=0)):
            ordered.extend(column[row] for column in columns if row < len(column))
        return ordered
