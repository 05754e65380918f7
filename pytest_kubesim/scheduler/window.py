"""Nodes that stand side by side in the cache's order: what is kept by node is cut out for them.

The law: `column` gives for each node what `values[node.index]` is.  For a window that is one cut of
a list, and no node is looked at: with a thousand nodes, most of what one more pod costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pytest_kubesim.scheduler.node_info import NodeInfo

T = TypeVar("T")


class Window(list[NodeInfo]):
    """So many of the cache's nodes from `start` on, beginning anew at the end.

    Valid as long as the order of the nodes stays: within one attempt.
    """

    __slots__ = ("start",)

    def __init__(self, nodes: list[NodeInfo], start: int, size: int) -> None:
        super().__init__(_cut(nodes, start, size))
        self.start = start


def column(nodes: Sequence[NodeInfo], values: list[T]) -> list[T]:
    """Of values in the cache's order of nodes those of `nodes`."""
    if isinstance(nodes, Window):
        return _cut(values, nodes.start, len(nodes))
    return [values[node.index] for node in nodes]


def _cut(values: list[T], start: int, size: int) -> list[T]:
    end = start + size
    beyond = end - len(values)
    return values[start:end] if beyond <= 0 else values[start:] + values[:beyond]
