"""Files, directories, links and devices: what is on a file system, and nothing of who sees it.

The law: a node knows its own mode, owner and times; paths, mounts and permissions are `mounts`'.
A file's content is bytes, or a function where the kernel makes it up (`/proc`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from pytest_kubesim.cri.linux.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE, DIRECTORY, LINK, DEVICE, FIFO = "regular file", "directory", "symbolic link", "device", "fifo"
SOCKET = "socket"
_LETTERS = {FILE: "-", DIRECTORY: "d", LINK: "l", DEVICE: "c", FIFO: "p", SOCKET: "s"}


class Node:
    """A file of any kind.  `mode` holds the permission bits only (with setuid, setgid, sticky)."""

    __slots__ = ("content", "entries", "gid", "kind", "links", "mode", "mtime_ns", "target", "uid")

    def __init__(
        self, kind: str, mode: int, *, uid: int = 0, gid: int = 0, mtime_ns: int = 0
    ) -> None:
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime_ns = mtime_ns
        self.links = 1
        self.content: bytearray | Callable[[], bytes] = bytearray()
        self.entries: dict[str, Node] = {}
        self.target = ""
        """Of a link: where it leads.  Of a device: its name (`null`, `zero`, ...)."""

    @property
    def size(self) -> int:
        """Its size in bytes, as `stat` says it."""
        if self.kind == FILE:
            return len(self.content) if isinstance(self.content, bytearray) else 0
        if self.kind == LINK:
            return len(self.target)
        return 4096 if self.kind == DIRECTORY else 0

    def read(self) -> bytes:
        """All that is in it."""
        return bytes(self.content) if isinstance(self.content, bytearray) else self.content()

    @property
    def permissions(self) -> str:
        """The mode as `ls -l` shows it: `-rw-r--r--`."""
        return _LETTERS[self.kind] + mode_string(self.mode)


def mode_string(mode: int) -> str:
    """Nine letters for permission bits."""
    text = ""
    for shift, special, letter in ((6, 0o4000, "s"), (3, 0o2000, "s"), (0, 0o1000, "t")):
        bits = mode >> shift & 7
        text += "r" if bits & 4 else "-"
        text += "w" if bits & 2 else "-"
        if mode & special:
            text += letter if bits & 1 else letter.upper()
        else:
            text += "x" if bits & 1 else "-"
    return text


class MadeUp(Node):
    """A directory whose entries the kernel makes up whenever somebody looks."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[], dict[str, Node]], mode: int = 0o555) -> None:
        self._make = make
        super().__init__(DIRECTORY, mode)

    def _get(self) -> dict[str, Node]:
        return self._make()

    def _set(self, value: dict[str, Node]) -> None:
        del value

    entries = property(_get, _set)  # pyright: ignore[reportAssignmentType]
    """What is in it now."""


class FileSystem:
    """A tree of files, of which a mount shows all or a part."""

    __slots__ = ("grown", "kind", "root", "source", "whole_size")

    def __init__(
        self, kind: str = "overlay", *, mode: int = 0o755, source: str = "", now_ns: int = 0
    ) -> None:
        self.kind = kind
        """Its type: `overlay`, `tmpfs`, `ext4`, ..."""
        self.source = source or kind
        self.whole_size: int | None = None
        self.grown = 0
        """How many bytes writes have added in all, where the size is limited."""
        self.root = directory(mode, mtime_ns=now_ns)

    def used(self) -> int:
        """How many bytes its files take."""
        return sum(node.size for _, node in walk(self.root) if node.kind == FILE)

    def grant(self, size: int) -> int:
        """How many of so many bytes more there is room for."""
        whole = self.whole_size
        if whole is not None:
            if self.grown + size > whole:
                self.grown = self.used()
                size = max(0, min(size, whole - self.grown))
            self.grown += size
        return size


def directory(mode: int = 0o755, *, uid: int = 0, gid: int = 0, mtime_ns: int = 0) -> Node:
    """An empty directory."""
    return Node(DIRECTORY, mode, uid=uid, gid=gid, mtime_ns=mtime_ns)


def regular(
    content: bytes | Callable[[], bytes] = b"",
    mode: int = 0o644,
    *,
    uid: int = 0,
    gid: int = 0,
    mtime_ns: int = 0,
) -> Node:
    """A regular file."""
    node = Node(FILE, mode, uid=uid, gid=gid, mtime_ns=mtime_ns)
    node.content = bytearray(content) if isinstance(content, bytes) else content
    return node


def link(target: str, *, mtime_ns: int = 0, uid: int = 0, gid: int = 0) -> Node:
    """A symbolic link."""
    node = Node(LINK, 0o777, mtime_ns=mtime_ns, uid=uid, gid=gid)
    node.target = target
    return node


def device(name: str, mode: int = 0o666) -> Node:
    """A character device."""
    node = Node(DEVICE, mode)
    node.target = name
    return node


def put(root: Node, path: str, node: Node) -> Node:
    """Put a node at a path below `root`, making directories on the way (no links followed)."""
    parts = [part for part in path.split("/") if part]
    place = root
    for part in parts[:-1]:
        following = place.entries.get(part)
        if following is None:
            following = place.entries[part] = directory(mtime_ns=node.mtime_ns)
        place = following
    place.entries[parts[-1]] = node
    return node


def find(root: Node, path: str) -> Node | None:
    """The node at a path below `root`, no links followed; None where there is none."""
    place = root
    for part in path.split("/"):
        if part:
            following = place.entries.get(part)
            if following is None:
                return None
            place = following
    return place


def walk(root: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """All nodes below and with `root`, each with its path, parents first."""
    yield path, root
    for name, node in list(root.entries.items()):
        yield from walk(node, f"{path}/{name}")


class Handle(Protocol):
    """What a descriptor refers to; shared by those who inherited it."""

    references: int

    async def read(self, size: int) -> bytes:
        """At most `size` bytes; `b""` at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Write all of `data`."""
        ...

    def release(self) -> None:
        """The last descriptor was closed."""
        ...


class OpenFile:
    """An open regular file: a position in it."""

    __slots__ = (
        "_append", "_clock", "_position", "_readable", "_writable", "filesystem", "node",
        "references",
    )

    def __init__(
        self,
        node: Node,
        clock: Callable[[], int],
        *,
        readable: bool,
        writable: bool,
        append: bool = False,
        filesystem: FileSystem | None = None,
    ) -> None:
        self.filesystem = filesystem
        """What it lies on, where that may be full."""
        self.references = 0
        self.node = node
        self._clock = clock
        self._position = 0
        self._readable = readable
        self._writable = writable
        self._append = append

    async def read(self, size: int) -> bytes:
        """From the position on."""
        if not self._readable:
            raise Fault("EBADF")
        content = self.node.read()
        piece = content[self._position : self._position + size]
        self._position += len(piece)
        return piece

    def seek(self, position: int) -> None:
        """Go to a position."""
        self._position = position

    async def write(self, data: bytes) -> None:
        """At the position, or at the end when opened to append."""
        content = self.node.content
        if not self._writable or not isinstance(content, bytearray):
            raise Fault("EBADF" if not self._writable else "EINVAL")
        if self._append:
            self._position = len(content)
        full = False
        more = self._position + len(data) - len(content)
        if self.filesystem is not None and more > 0:
            short = more - self.filesystem.grant(more)
            full, data = short > 0, data[: max(0, len(data) - short)]
        if self._position > len(content):
            content.extend(bytes(self._position - len(content)))
        content[self._position : self._position + len(data)] = data
        self._position += len(data)
        self.node.mtime_ns = self._clock()
        if full:
            raise Fault("ENOSPC")

    def release(self) -> None:
        """Nothing is held."""


class OpenDevice:
    """`/dev/null`, `/dev/zero`, `/dev/full`, `/dev/urandom`."""

    __slots__ = ("_name", "_random", "references")

    def __init__(self, name: str, random: Callable[[int], bytes]) -> None:
        self.references = 0
        self._name = name
        self._random = random

    async def read(self, size: int) -> bytes:
        """Nothing, zeros, or what chance gives."""
        if self._name in ("random", "urandom"):
            return self._random(size)
        return bytes(size) if self._name in ("zero", "full") else b""

    async def write(self, data: bytes) -> None:
        """It goes nowhere."""
        del data
        if self._name == "full":
            raise Fault("ENOSPC")

    def release(self) -> None:
        """Nothing is held."""
