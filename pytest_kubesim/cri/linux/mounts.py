"""A mount namespace: which trees of files a container sees where, and who may do what with them.

The law: a path is walked name by name; a directory (or file) on which something is mounted is
replaced by what is mounted there; symbolic links are followed inside the namespace only.  Root may
do everything except on a read-only mount.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from pytest_kubesim.cri.linux import files
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import DIRECTORY, FILE, LINK, FileSystem, Node

READ, WRITE, EXECUTE = 4, 2, 1
MAX_LINKS = 40


@attrs.frozen(slots=True)
class Credentials:
    """Who acts."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    capable: bool = True
    """Whether uid 0 passes permission checks."""


ROOT = Credentials()


@attrs.define(slots=True, eq=False)
class Mount:
    """A tree at a path."""

    path: str
    root: Node
    filesystem: FileSystem
    read_only: bool = False


@attrs.frozen(slots=True)
class Place:
    """Where a path leads: the node there, if any, in its directory."""

    path: str
    """Absolute, without links, `.` and `..`."""
    name: str
    parent: Node
    node: Node | None
    mount: Mount

    def there(self) -> Node:
        """The node; raises `Fault` (ENOENT) where there is none."""
        if self.node is None:
            raise Fault("ENOENT")
        return self.node


_Step = tuple[str, Node, Mount]


class Mounts:
    """A container's view of files.

    Parameters: `root`, what is at `/`; `clock`, the time for new files in nanoseconds.
    """

    def __init__(
        self, root: FileSystem, clock: Callable[[], int], *, read_only: bool = False
    ) -> None:
        self._clock = clock
        self._top = Mount("/", root.root, root, read_only)
        self._on: dict[Node, Mount] = {}
        self.all: list[Mount] = [self._top]

    def mount(
        self,
        path: str,
        filesystem: FileSystem,
        *,
        root: Node | None = None,
        read_only: bool = False,
    ) -> None:
        """Show `root` (a part of `filesystem`, or all of it) at a path, made where missing."""
        shown = filesystem.root if root is None else root
        point = self._mount_point(path, is_directory=shown.kind == DIRECTORY)
        found = Mount(path.rstrip("/") or "/", shown, filesystem, read_only)
        self._on[point] = found
        self.all.append(found)

    def _mount_point(self, path: str, *, is_directory: bool) -> Node:
        parts = [part for part in path.split("/") if part]
        for count in range(1, len(parts) + 1):
            place = self.walk("/" + "/".join(parts[:count]), "/")
            if place.node is None:
                last = count == len(parts)
                made = files.directory() if is_directory or not last else files.regular()
                made.mtime_ns = self._clock()
                place.parent.entries[place.name] = made
        return self.walk(path, "/").there()

    # -- walking ------------------------------------------------------------------------------

    def limited(self, path: str, cwd: str, who: Credentials) -> FileSystem | None:
        """The file system of a path, if its size is limited."""
        if all(mount.filesystem.whole_size is None for mount in self.all):
            return None
        found = self.walk(path, cwd, who).mount.filesystem
        return None if found.whole_size is None else found

    def walk(
        self,
        path: str,
        cwd: str,
        who: Credentials = ROOT,
        *,
        follow: bool = True,
    ) -> Place:
        """Where a path leads; its last name need not exist.

        Raises: `Fault` (ENOENT, ENOTDIR, ELOOP, EACCES) on the way.
        """
        if not path:
            raise Fault("ENOENT")
        trail: list[_Step] = [("", self._top.root, self._top)]
        pending = [*path.split("/")[::-1]]
        if not path.startswith("/"):
            pending += cwd.split("/")[::-1]
        links = 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if len(trail) > 1:
                    trail.pop()
                continue
            _, place, mount = trail[-1]
            if place.kind != DIRECTORY:
                raise Fault("ENOTDIR")
            if not may(place, who, EXECUTE):
                raise Fault("EACCES")
            node = place.entries.get(name)
            if node is None:
                if any(part not in ("", ".") for part in pending):
                    raise Fault("ENOENT")
                return Place(_joined(trail, name), name, place, None, mount)
            covered = self._on.get(node)
            while covered is not None:
                node, mount = covered.root, covered
                covered = self._on.get(node)
            last = not any(part not in ("", ".") for part in pending)
            if node.kind == LINK and (follow or not last or pending):
                links += 1
                if links > MAX_LINKS:
                    raise Fault("ELOOP")
                if node.target.startswith("/"):
                    trail = trail[:1]
                pending += node.target.split("/")[::-1]
                continue
            trail.append((name, node, mount))
        name, node, mount = trail[-1]
        parent = trail[-2][1] if len(trail) > 1 else node
        if path.endswith("/") and node.kind not in (DIRECTORY, LINK):
            raise Fault("ENOTDIR")
        return Place(_joined(trail[:-1], name), name, parent, node, mount)

    def lookup(
        self, path: str, cwd: str = "/", who: Credentials = ROOT, *, follow: bool = True
    ) -> Node:
        """The node at a path.  Raises `Fault`."""
        return self.walk(path, cwd, who, follow=follow).there()

    def listed(self, node: Node) -> dict[str, Node]:
        """A directory's entries with what is mounted on them."""
        found: dict[str, Node] = {}
        for name, entry in node.entries.items():
            covered = self._on.get(entry)
            while covered is not None:
                entry = covered.root
                covered = self._on.get(entry)
            found[name] = entry
        return found

    def is_mount_point(self, node: Node) -> bool:
        """Whether something is mounted here, or this is mounted somewhere."""
        return any(mount.root is node for mount in self.all)

    def mount_at(self, path: str, cwd: str = "/") -> Mount:
        """The mount that shows what is at a path.  Raises `Fault`."""
        return self.walk(path, cwd).mount

    # -- changing -----------------------------------------------------------------------------

    def add(self, place: Place, node: Node, who: Credentials) -> Node:
        """Put a new node where a path led to nothing.  Raises `Fault`."""
        if place.node is not None:
            raise Fault("EEXIST")
        self.check_writable(place, who)
        node.uid, node.gid = who.uid, who.gid
        if place.parent.mode & 0o2000:
            node.gid = place.parent.gid
            if node.kind == DIRECTORY:
                node.mode |= 0o2000
        node.mtime_ns = place.parent.mtime_ns = self._clock()
        place.parent.entries[place.name] = node
        return node

    def check_writable(self, place: Place, who: Credentials) -> None:
        """Raises `Fault` (EROFS, EACCES) where `who` may not change the directory."""
        if place.mount.read_only:
            raise Fault("EROFS")
        if not may(place.parent, who, WRITE):
            raise Fault("EACCES")

    def remove(self, place: Place, who: Credentials, *, is_directory: bool = False) -> None:
        """Unlink a file or an empty directory.  Raises `Fault`."""
        node = place.there()
        if is_directory and node.kind != DIRECTORY:
            raise Fault("ENOTDIR")
        if not is_directory and node.kind == DIRECTORY:
            raise Fault("EISDIR")
        if self.is_mount_point(node) or node is self._top.root:
            raise Fault("EBUSY")
        self.check_writable(place, who)
        if place.parent.mode & 0o1000 and who.uid not in (0, node.uid, place.parent.uid):
            raise Fault("EPERM")
        if node.kind == DIRECTORY and node.entries:
            raise Fault("ENOTEMPTY")
        del place.parent.entries[place.name]
        node.links -= 1
        place.parent.mtime_ns = self._clock()

    def rename(self, source: Place, target: Place, who: Credentials) -> None:
        """Move a node within one file system.  Raises `Fault`."""
        node = source.there()
        if source.mount is not target.mount:
            raise Fault("EXDEV")
        if self.is_mount_point(node):
            raise Fault("EBUSY")
        self.check_writable(source, who)
        self.check_writable(target, who)
        old = target.node
        if old is node:
            return
        if old is not None:
            if old.kind == DIRECTORY and node.kind != DIRECTORY:
                raise Fault("EISDIR")
            if old.kind != DIRECTORY and node.kind == DIRECTORY:
                raise Fault("ENOTDIR")
            if old.entries:
                raise Fault("ENOTEMPTY")
        del source.parent.entries[source.name]
        target.parent.entries[target.name] = node
        source.parent.mtime_ns = target.parent.mtime_ns = self._clock()

    def open(
        self,
        path: str,
        cwd: str,
        who: Credentials,
        flags: str,
        *,
        mode: int = 0o644,
    ) -> Node:
        """The file for an open: `r`, `w` (made, emptied), `a` (made), `x` (must be new), `+` both.

        Raises: `Fault`.
        """
        place = self.walk(path, cwd, who)
        node = place.node
        if node is None:
            if flags[0] == "r":
                raise Fault("ENOENT")
            return self.add(place, files.regular(mode=mode), who)
        if flags[0] == "x":
            raise Fault("EEXIST")
        writes = flags[0] in "wa" or "+" in flags
        if node.kind == DIRECTORY and writes:
            raise Fault("EISDIR")
        if not may(node, who, (READ if flags[0] == "r" else 0) | (WRITE if writes else 0)):
            raise Fault("EACCES")
        if writes and place.mount.read_only and node.kind == FILE:
            raise Fault("EROFS")
        if flags[0] == "w" and node.kind == FILE and isinstance(node.content, bytearray):
            node.content.clear()
            node.mtime_ns = self._clock()
        return node


def may(node: Node, who: Credentials, want: int) -> bool:
    """Whether `who` may read, write, execute (or search) a node."""
    if who.uid == 0 and who.capable:
        return not want & EXECUTE or node.kind == DIRECTORY or bool(node.mode & 0o111)
    if who.uid == node.uid:
        bits = node.mode >> 6
    elif node.gid == who.gid or node.gid in who.groups:
        bits = node.mode >> 3
    else:
        bits = node.mode
    return bits & want == want


def _joined(trail: list[_Step], name: str) -> str:
    path = "/".join(step[0] for step in trail[1:])
    return f"/{path}/{name}" if path else f"/{name}"
