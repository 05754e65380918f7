"""A node's own files, and the paths of them that pods mount.

The law: what a pod may make is made, what must be there is looked at (`hostPath.type`); the folders
that a cluster's own pods mount are there on every node.

Follows `pkg/volume/hostpath/host_path.go`.
"""

from __future__ import annotations

import re

from pytest_kubesim.cri.linux import files
from pytest_kubesim.cri.linux.files import DEVICE, DIRECTORY, FILE, SOCKET, FileSystem, Node
from pytest_kubesim.kubelet.errors import ContentProblem

_KINDS = {
    "Directory": (DIRECTORY, "directory"), "File": (FILE, "file"),
    "Socket": (SOCKET, "socket file"), "CharDevice": (DEVICE, "character device"),
    "BlockDevice": ("block device", "block device"),
}
"""What a `hostPath.type` wants, and how it is called."""
_HOST_FOLDERS = (
    "boot", "dev", "dev/shm", "etc/cni/net.d", "etc/containerd", "etc/kubernetes/manifests",
    "etc/kubernetes/pki", "etc/ssl/certs", "home", "lib/modules", "media", "mnt", "opt/cni/bin",
    "proc", "root", "run", "run/lock", "run/udev", "srv", "sys", "sys/fs/bpf", "usr/bin", "usr/lib",
    "usr/local/bin", "usr/share/ca-certificates", "usr/share/zoneinfo", "usr/src", "var/cache",
    "var/lib/cni", "var/lib/containerd", "var/lib/kubelet/device-plugins",
    "var/lib/kubelet/plugins", "var/lib/kubelet/plugins_registry", "var/lib/kubelet/pods",
    "var/log/containers", "var/log/pods",
)
"""Folders of a node that pods of a cluster's own mount."""


def find(root: Node, path: str, kind: str, now_ns: int) -> Node:
    """What is at a path, made where it may be.

    Raises: `ContentProblem` where it is not what it should be.
    """
    # The one link that everybody uses.
    place = re.sub("^/var/run(?=/|$)", "/run", path)
    node = files.find(root, place)
    if node is None and kind in ("", "DirectoryOrCreate", "FileOrCreate"):
        made = files.regular(mode=0o644) if kind == "FileOrCreate" else files.directory()
        made.mtime_ns = now_ns
        node = files.put(root, place, made)
    wanted, what = _KINDS.get(kind.removesuffix("OrCreate"), ("", ""))
    if node is None or (wanted and node.kind != wanted):
        raise ContentProblem(f"hostPath type check failed: {path} is not a {what}")
    return node


def build(name: str, now_ns: int, socket: str) -> FileSystem:
    """A node's own files; `socket`, where its runtime listens."""
    made = FileSystem("ext4", now_ns=now_ns, source="/dev/sda1")
    files.put(made.root, "etc/hostname", files.regular(f"{name}\n".encode()))
    hosts = f"127.0.0.1\tlocalhost\n127.0.1.1\t{name}\n"
    files.put(made.root, "etc/hosts", files.regular(hosts.encode()))
    files.put(made.root, "etc/os-release", files.regular(b"ID=debian\nVERSION_ID=12\n"))
    for path in _HOST_FOLDERS:
        files.put(made.root, path, files.directory())
    files.put(made.root, "etc/localtime", files.regular(b"TZif2"))
    number = f"{name.encode().hex():0<32.32}\n"
    files.put(made.root, "etc/machine-id", files.regular(number.encode()))
    files.put(made.root, "run/xtables.lock", files.regular(mode=0o600))
    files.put(made.root, socket, files.Node(SOCKET, 0o660))
    for device in ("null", "zero", "full", "random", "urandom", "tty", "fuse", "kvm"):
        files.put(made.root, f"dev/{device}", files.device(device))
    files.put(made.root, "tmp", files.directory(0o1777))
    for _, node in files.walk(made.root):
        node.mtime_ns = now_ns
    return made
