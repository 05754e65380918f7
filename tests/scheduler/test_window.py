"""Nodes side by side: what is kept by node is cut out as a look at each node finds it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.scheduler.node_info import NodeInfo
from pytest_kubesim.scheduler.window import Window, column


@given(st.integers(1, 30), st.data())
def test_a_column_of_a_window_is_that_of_its_nodes(count: int, data: st.DataObject) -> None:
    nodes = [NodeInfo(f"n{index}") for index in range(count)]
    for index, node in enumerate(nodes):
        node.index = index
    values = [f"v{index}" for index in range(count)]
    start, size = data.draw(st.integers(0, count - 1)), data.draw(st.integers(0, count))
    window = Window(nodes, start, size)
    assert [node.index for node in window] == [(start + i) % count for i in range(size)]
    assert column(window, values) == [values[node.index] for node in window]
    assert column(window, values) == column(list(window), values)
