"""Whether a history of concurrent operations could have happened one after the other.

Law: a history is linearizable if each operation can be given a moment between its call and its
return at which it takes effect, so that all answers come out as they did. What never returned may
have taken effect at any moment after its call, or not at all. Keys are independent of each other: a
history is linearizable if what happened to each key is. For example::

    put(x, 1)  |-----|
    get(x) = 1     |-----|            linearizable: the put takes effect first
    get(x) = None             |--|    not any more: nothing has deleted x since

The search is Wing and Gong's, which remembers what it has tried (Lowe).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

import attrs

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


Model = Callable[[Any, Operation], "tuple[bool, Any]"]
"""From the state before an operation: whether its answer fits, and the state after."""


def register(state: Any, operation: Operation) -> tuple[bool, Any]:
    """The model of one key."""
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


def violations(
    history: Iterable[Operation], *, model: Model = register, initial: Any = None
) -> list[str]:
    """The keys whose history is not linearizable, in order; none if all is well."""
    by_key: dict[str, list[Operation]] = {}
    for operation in history:
        by_key.setdefault(operation.key, []).append(operation)
    return [key for key in sorted(by_key) if not _linearizable(by_key[key], model, initial)]


def _linearizable(operations: list[Operation], model: Model, initial: Any) -> bool:
    # What was asked and never answered changes nothing if it only reads.
    operations = sorted(
        (each for each in operations if each.kind != "get" or each.returned != NEVER),
        key=lambda each: each.called,
    )
    must = sum(1 << i for i, each in enumerate(operations) if each.returned != NEVER)
    tried: set[tuple[int, Hashable]] = set()
    # Depth first: what has taken effect, as bits, and the state that this led to.
    stack: list[tuple[int, Any]] = [(0, initial)]
    while stack:
        done, state = stack.pop()
        if done & must == must:
            return True
        if (done, state) in tried:
            continue
        tried.add((done, state))
        open_ = [i for i in range(len(operations)) if not done >> i & 1]
        # Only what was called before anything open returned can be next.
        first_return = min(operations[i].returned for i in open_)
        # What is tried first is pushed last: what may not have happened at all is tried when
        # nothing else is left, and only where it makes a difference.
        open_.sort(key=lambda i: (operations[i].returned, operations[i].called), reverse=True)
        for i in open_:
            each = operations[i]
            if each.called <= first_return:
                fits, after = model(state, each)
                if fits and (each.returned != NEVER or after != state):
                    stack.append((done | 1 << i, after))
    return False
