r"""The ordered set of keys.

A list of sorted buckets: a search is two bisections, an insertion moves at most one bucket, a range
is a few slices. ``index.go`` has a B-tree here; in Python the slices of the interpreter are faster
than any tree. For example, with buckets of two::

    add a, add b, add d    [a b d]  -> split -> [a] [b d]
    range("b", "")         [b]
    range("b", "\0")       [b d]
"""

from __future__ import annotations

from bisect import bisect_left, insort

from pytest_kubesim.etcd.messages import FROM_KEY

_BUCKET = 1000


class SortedKeys:
    """A set of strings in order of their code points."""

    __slots__ = ("_buckets", "_lasts")

    def __init__(self) -> None:
        self._buckets: list[list[str]] = []
        self._lasts: list[str] = []

    def add(self, key: str) -> None:
        """Insert a key that is not in the set."""
        lasts = self._lasts
        number = bisect_left(lasts, key)
        if number == len(lasts):
            if not lasts:
                self._buckets.append([key])
                lasts.append(key)
                return
            number -= 1
            bucket = self._buckets[number]
            bucket.append(key)
            lasts[number] = key
        else:
            bucket = self._buckets[number]
            insort(bucket, key)
        if len(bucket) > 2 * _BUCKET:
            upper = bucket[_BUCKET:]
            del bucket[_BUCKET:]
            lasts[number] = bucket[-1]
            self._buckets.insert(number + 1, upper)
            lasts.insert(number + 1, upper[-1])

    def remove(self, key: str) -> None:
        """Take out a key that is in the set."""
        number = bisect_left(self._lasts, key)
        bucket = self._buckets[number]
        position = bisect_left(bucket, key)
        assert bucket[position] == key
        del bucket[position]
        if not bucket:
            del self._buckets[number], self._lasts[number]
        elif position == len(bucket):
            self._lasts[number] = bucket[-1]

    def range(self, key: str, range_end: str, limit: int = 0) -> list[str]:
        """The keys of ``[key, range_end)`` in order, at most ``limit`` of them unless it is 0."""
        first, last = self._position(key), self._end(range_end)
        if last <= first:
            return []
        buckets = self._buckets
        if first[0] == last[0]:
            found = buckets[first[0]][first[1] : last[1]]
            return found[:limit] if limit else found
        found = buckets[first[0]][first[1] :]
        for number in range(first[0] + 1, last[0]):
            if limit and len(found) >= limit:
                return found[:limit]
            found += buckets[number]
        if last[0] < len(buckets):
            found += buckets[last[0]][: last[1]]
        return found[:limit] if limit else found

    def count(self, key: str, range_end: str) -> int:
        """How many keys ``[key, range_end)`` has."""
        first, last = self._position(key), self._end(range_end)
        if last <= first:
            return 0
        between = sum(map(len, self._buckets[first[0] : last[0]]))
        return between - first[1] + last[1]

    def copy(self) -> SortedKeys:
        """A set of its own with the same keys."""
        twin = SortedKeys()
        twin._buckets = [bucket.copy() for bucket in self._buckets]
        twin._lasts = self._lasts.copy()
        return twin

    def __len__(self) -> int:
        return sum(map(len, self._buckets))

    def _position(self, key: str) -> tuple[int, int]:
        number = bisect_left(self._lasts, key)
        if number == len(self._lasts):
            return number, 0
        return number, bisect_left(self._buckets[number], key)

    def _end(self, range_end: str) -> tuple[int, int]:
        if range_end == FROM_KEY:
            return len(self._buckets), 0
        return self._position(range_end)
