"""PrioritySort: the active queue by priority, then by time of arrival.

Follows `pkg/scheduler/framework/plugins/queuesort/priority_sort.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_kubesim.scheduler.scheduling_queue import QueuedPodInfo


class PrioritySort:
    """The plugin."""

    name = "PrioritySort"

    def sort_key(self, queued: QueuedPodInfo) -> tuple[int, int]:
        """Smaller comes first."""
        return (-queued.pod.priority, queued.timestamp_ns)
