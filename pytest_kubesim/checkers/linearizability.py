"""Whether a history of concurrent operations could have happened one after the other.

Law: a history is linearizable if each operation can be given a moment between its call and its
return at which it takes effect, so that all answers come out as they did. What never returned may
have taken effect at any moment after its call, or not at all. Keys are independent of each other: a
history is linearizable if what happened to each key is. For example::

    put(x, 1)  |-----|
    get(x) = 1     |-----|            linearizable: the put takes effect first
    get(x) = None             |--|    not any more: nothing has deleted x since

The search is Wing and Gong's, which remembers what it has tried (Lowe; Porcupine does the same).
Three things keep it small, whatever never returned:

- a read that fits now is taken now: it hinders nobody;
- a write that never returned is taken only right before somebody who reads what it wrote: nobody
  would know of it otherwise;
- of those that write the same, the one that was called first is taken first.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import attrs

_READS = ("get", "cas")

NEVER = 1 << 62
"""When an operation returned that did not."""


@attrs.frozen
class Operation:
    """One operation of one client.

    `kind` is `"get"`, `"put"`, `"delete"` or `"cas"` (write `argument[1]` if the value is
    `argument[0]`; `None` is "does not exist"); `answer` is what `get` read, or whether `cas` wrote.
    """

    kind: str
    key: str
    argument: Any = None
    answer: Any = None
    called: int = 0
    returned: int = NEVER


def register(state: Any, operation: Operation) -> tuple[bool, Any]:
    """The model of one key: from its value before, whether the answer fits, and its value after."""
    known = operation.returned != NEVER
    if operation.kind == "get":
        return not known or operation.answer == state, state
    if operation.kind == "put":
        return True, operation.argument
    if operation.kind == "delete":
        return True, None
    expected, new = operation.argument
    done = state == expected
    return not known or operation.answer == done, new if done else state


def violations(history: Iterable[Operation], *, initial: Any = None) -> list[str]:
    """The keys whose history is not linearizable, in order; none if all is well."""
    by_key: dict[str, list[Operation]] = {}
    for operation in history:
        by_key.setdefault(operation.key, []).append(operation)
    return [key for key in sorted(by_key) if not _Search(by_key[key]).finds_order(initial)]


@attrs.frozen
class _Point:
    """How far an order has come: which answered operations have taken effect, as bits; how many of
    each group of the unanswered; and the value that this led to.
    """

    done: int
    used: tuple[int, ...]
    state: Any


class _Search:
    """The search for an order of the operations on one key."""

    def __init__(self, operations: list[Operation]) -> None:
        operations = sorted(operations, key=lambda each: each.called)
        self._answered = [each for each in operations if each.returned != NEVER]
        # What was asked and never answered changes nothing if it only reads.
        groups: dict[tuple[str, Hashable], list[Operation]] = {}
        for each in operations:
            if each.returned == NEVER and each.kind != "get":
                groups.setdefault((each.kind, each.argument), []).append(each)
        self._unanswered = list(groups.values())

    def finds_order(self, initial: Any) -> bool:
        """Whether there is one, beginning with the value `initial`."""
        everything = (1 << len(self._answered)) - 1
        tried: set[_Point] = set()
        # Depth first.
        stack = [_Point(0, (0,) * len(self._unanswered), initial)]
        while stack:
            point = stack.pop()
            if point.done == everything:
                return True
            if point not in tried:
                tried.add(point)
                stack.extend(self._next(point))
        return False

    def _next(self, point: _Point) -> list[_Point]:
        """The points that come next; what is pushed last is tried first."""
        possible, until = self._possible(point.done)
        found: list[_Point] = []
        for i in possible:
            fits, after = register(point.state, self._answered[i])
            if fits:
                next_ = attrs.evolve(point, done=point.done | 1 << i, state=after)
                if after == point.state and self._answered[i].kind in _READS:
                    return [next_]
                found.append(next_)
        readers = [self._answered[i] for i in possible]
        missing: list[_Point] = []
        for number, group in enumerate(self._unanswered):
            count = point.used[number]
            if count == len(group) or group[count].called > until:
                continue
            after = register(point.state, group[count])[1]
            if after != point.state and (
                any(_waits_for(each, point.state, after) for each in readers)
                or self._may_follow(point, until, number, after)
            ):
                used = (*point.used[:number], count + 1, *point.used[number + 1 :])
                missing.append(_Point(point.done, used, after))
        return missing + found[::-1]

    def _possible(self, done: int) -> tuple[list[int], int]:
        """What can be next: what was called before anything open returned; and when that was."""
        answered = self._answered
        possible: list[int] = []
        until = NEVER
        # The lowest bit that is not set.
        for i in range((~done & done + 1).bit_length() - 1, len(answered)):
            if done >> i & 1:
                continue
            if answered[i].called > until:
                break
            possible.append(i)
            until = min(until, answered[i].returned)
        return possible, until

    def _may_follow(self, point: _Point, until: int, number: int, state: Any) -> bool:
        """Whether another unanswered operation reads `state` and goes on from it."""
        for other, group in enumerate(self._unanswered):
            count = point.used[other] + (other == number)
            if count < len(group) and group[count].called <= until:
                each = group[count]
                if each.kind == "cas" and each.argument[0] == state:
                    return True
        return False


def _waits_for(operation: Operation, before: Any, after: Any) -> bool:
    """Whether its answer fits the value `after` and did not fit `before`."""
    if operation.kind not in _READS:
        return False
    return register(after, operation)[0] and not register(before, operation)[0]
