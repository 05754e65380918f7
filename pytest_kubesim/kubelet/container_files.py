"""What a container sees besides its image: volumes, /etc/hosts, /etc/resolv.conf.

Follows `makeMounts`, `managedHostsFileContent` (`pkg/kubelet/kubelet_pods.go`) and
`pkg/kubelet/network/dns/dns.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_kubesim.cni.network import CLUSTER_DNS, HOST_DNS
from pytest_kubesim.cri.container import Mounted
from pytest_kubesim.cri.linux import files
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import FileSystem, Node
from pytest_kubesim.cri.linux.mounts import Mounts
from pytest_kubesim.kubelet.environment import CREATE_CONTAINER_CONFIG_ERROR, missing_names
from pytest_kubesim.kubelet.errors import ContentProblem, StartError
from pytest_kubesim.kubelet.host import NOTHING
from pytest_kubesim.kubelet.volume_contents import UPDATED

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.host import Host
    from pytest_kubesim.kubelet.volume_contents import VolumeContents

CLUSTER_DOMAIN = "cluster.local"
HOSTNAME_LIMIT = 63
MAX_SERVERS, MAX_SEARCH_PATHS, MAX_PATH_LENGTH, MAX_SEARCH_LENGTH = 3, 32, 253, 2048


def hostname_and_domain(pod: Object, node: str) -> tuple[str, str]:
    """The host name of a pod, and its domain where it has a subdomain."""
    spec, meta = pod["spec"], pod["metadata"]
    if override := spec.get("hostnameOverride"):
        return override[:HOSTNAME_LIMIT].rstrip("-."), ""
    if spec.get("hostNetwork"):
        return node, ""
    name: str = spec.get("hostname") or meta["name"]
    name = name[:HOSTNAME_LIMIT].rstrip("-.") if len(name) > HOSTNAME_LIMIT else name
    subdomain = spec.get("subdomain")
    domain = f"{subdomain}.{meta['namespace']}.svc.{CLUSTER_DOMAIN}" if subdomain else ""
    return name, domain


def hostname(pod: Object, node: str) -> str:
    """What `hostname` says in a pod."""
    name, domain = hostname_and_domain(pod, node)
    if pod["spec"].get("setHostnameAsFQDN") and domain:
        return f"{name}.{domain}"
    return name


def hosts_file(pod: Object, node: str, addresses: tuple[str, ...]) -> str:
    """`/etc/hosts` of a pod."""
    spec = pod["spec"]
    if spec.get("hostNetwork"):
        text = (
            "# Kubernetes-managed hosts file (host network).\n127.0.0.1\tlocalhost\n"
            f"{addresses[0] if addresses else '127.0.1.1'}\t{node}\n"
        )
    else:
        name, domain = hostname_and_domain(pod, node)
        text = (
            "# Kubernetes-managed hosts file.\n"
            "127.0.0.1\tlocalhost\n"
            "::1\tlocalhost ip6-localhost ip6-loopback\n"
            "fe00::0\tip6-localnet\n"
            "fe00::0\tip6-mcastprefix\n"
            "fe00::1\tip6-allnodes\n"
            "fe00::2\tip6-allrouters\n"
        )
        shown = f"{name}.{domain}\t{name}" if domain else name
        text += "".join(f"{address}\t{shown}\n" for address in addresses)
    aliases: list[Object] = spec.get("hostAliases") or []
    if aliases:
        text += "\n# Entries added by HostAliases.\n"
        for alias in aliases:
            names = "\t".join(alias.get("hostnames") or ())
            text += f"{alias['ip']}\t{names}\n"
    return text


def resolv_conf(pod: Object) -> str:
    """`/etc/resolv.conf` of a pod, by its dnsPolicy and dnsConfig."""
    servers, search, options = _dns(pod)
    servers, search = servers[:MAX_SERVERS], _fitting(search)
    lines: list[str] = []
    if search:
        lines.append(f"search {' '.join(search)}")
    lines += [f"nameserver {server}" for server in servers]
    if options:
        shown = [name if value is None else f"{name}:{value}" for name, value in options.items()]
        lines.append(f"options {' '.join(shown)}")
    return "".join(f"{line}\n" for line in lines)


def dns_complaints(pod: Object) -> list[str]:
    """What is said of a dnsConfig that does not fit (`DNSConfigForming`)."""
    servers, search, _ = _dns(pod)
    found: list[str] = []
    if len(servers) > MAX_SERVERS:
        found.append(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied "
            f"nameserver line is: {' '.join(servers[:MAX_SERVERS])}"
        )
    if (fitting := _fitting(search)) != search:
        found.append(
            "Search Line limits were exceeded, some search paths have been omitted, the applied "
            f"search line is: {' '.join(fitting)}"
        )
    return found


def _fitting(search: list[str]) -> list[str]:
    """As many of the search paths as there may be."""
    kept = [path for path in search[:MAX_SEARCH_PATHS] if len(path) <= MAX_PATH_LENGTH]
    while len(" ".join(kept)) > MAX_SEARCH_LENGTH:
        kept.pop()
    return kept


def _dns(pod: Object) -> tuple[list[str], list[str], dict[str, str | None]]:
    """Servers, search paths and options."""
    spec, namespace = pod["spec"], pod["metadata"]["namespace"]
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    servers: list[str] = []
    search: list[str] = []
    options: dict[str, str | None] = {}
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet"):
        servers = [CLUSTER_DNS]
        search = [
            f"{namespace}.svc.{CLUSTER_DOMAIN}", f"svc.{CLUSTER_DOMAIN}", CLUSTER_DOMAIN,
        ]
        options = {"ndots": "5"}
    elif policy == "Default":
        servers = [HOST_DNS]
    config: Object = spec.get("dnsConfig") or NOTHING
    servers = list(dict.fromkeys([*servers, *(config.get("nameservers") or ())]))
    search = list(dict.fromkeys([*search, *(config.get("searches") or ())]))
    for option in config.get("options") or ():
        options[option["name"]] = option.get("value")
    return servers, search, options


async def mounts(
    host: Host,
    contents: VolumeContents,
    pod: Object,
    container: Object,
    address: str,
    env: Mapping[str, str],
) -> tuple[Mounted, ...]:
    """All that is mounted in a container.

    Raises: `StartError` (CreateContainerConfigError) where it cannot be.
    """
    made: list[Mounted] = []
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    for mount in container.get("volumeMounts") or ():
        volume = volumes[mount["name"]]
        sub_path = _sub_path(mount, env)
        try:
            system = await contents.get(pod, volume, address)
        except ContentProblem as problem:
            raise StartError(CREATE_CONTAINER_CONFIG_ERROR, str(problem)) from None
        root = system.root
        if sub_path:
            root = _inside(system, sub_path, mount, container, host.now_ns())
        read_only = bool(mount.get("readOnly")) or any(
            kind in volume for kind in (*UPDATED, "image")
        )
        path: str = mount["mountPath"]
        path = path if path.startswith("/") else f"/{path}"
        made.append(Mounted(path, system, root, read_only))
    taken = {mounted.path.rstrip("/") for mounted in made}
    etc = FileSystem("ext4")
    for path, text in (
        ("/etc/hosts", hosts_file(pod, host.node.name, (address,) if address else ())),
        ("/etc/resolv.conf", resolv_conf(pod)),
        ("/etc/hostname", f"{hostname(pod, host.node.name)}\n"),
    ):
        if path not in taken:
            node = files.regular(text.encode(), mtime_ns=host.now_ns())
            made.append(Mounted(path, etc, node))
    return tuple(made)


def _sub_path(mount: Object, env: Mapping[str, str]) -> str:
    sub_path: str = mount.get("subPath") or ""
    if expression := mount.get("subPathExpr"):
        sub_path, missing = missing_names(expression, env)
        if missing:
            raise StartError(
                CREATE_CONTAINER_CONFIG_ERROR, f"missing value for {', '.join(missing)}"
            )
    if not sub_path:
        return ""
    if sub_path.startswith("/"):
        raise StartError(
            CREATE_CONTAINER_CONFIG_ERROR,
            f"error SubPath `{sub_path}` must not be an absolute path",
        )
    if ".." in sub_path.split("/"):
        raise StartError(
            CREATE_CONTAINER_CONFIG_ERROR,
            f"unable to provision SubPath `{sub_path}`: must not contain '..'",
        )
    return sub_path


def _inside(
    system: FileSystem, path: str, mount: Object, container: Object, now_ns: int
) -> Node:
    """The node at a path in a volume; directories are made where nothing is."""
    view = Mounts(system, lambda: now_ns)
    try:
        parts = [part for part in path.split("/") if part not in ("", ".")]
        for count in range(1, len(parts) + 1):
            place = view.walk("/" + "/".join(parts[:count]), "/")
            if place.node is None:
                made = files.directory(system.root.mode, mtime_ns=now_ns)
                made.gid = system.root.gid
                place.parent.entries[place.name] = made
        return view.lookup("/" + "/".join(parts))
    except Fault:
        raise StartError(
            CREATE_CONTAINER_CONFIG_ERROR,
            f'failed to prepare subPath for volumeMount "{mount["name"]}" of container '
            f'"{container["name"]}"',
        ) from None
