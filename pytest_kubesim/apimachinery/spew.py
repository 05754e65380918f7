"""How Go prints a pod template: the text whose hash tells the ReplicaSets of a Deployment apart.

The law: types, fields and their order are the Go structs', as the schemas have them; what protobuf
does not carry (empty lists and maps) is nil.  A value prints after its type in parentheses, except
for the items of lists, the entries of maps and what a pointer points to::

    (v1.Toleration){Key:(string)k Operator:(v1.TolerationOperator)Exists Value:(string) ...}

Follows `k8s.io/utils/dump` (`ForHash`) and `github.com/davecgh/go-spew/spew/format.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from pytest_kubesim.apimachinery import quantity, timestamps
from pytest_kubesim.data import load

Printer: TypeAlias = Callable[[Any], str]
"""Prints the JSON of a value (None where there is none) as Go prints what it decodes to."""

TEMPLATE = "io.k8s.api.core.v1.PodTemplateSpec"
_NIL = "<nil>"
_FIRST_SECOND = 62135596800
"""Seconds from the first of January of the year 1 to 1970: Go counts from there."""

_GO_NAMES = {
    "apiGroup": "APIGroup",
    "apiVersion": "APIVersion",
    "awsElasticBlockStore": "AWSElasticBlockStore",
    "cephfs": "CephFS",
    "chapAuthDiscovery": "DiscoveryCHAPAuth",
    "chapAuthSession": "SessionCHAPAuth",
    "csi": "CSI",
    "diskURI": "DataDiskURI",
    "dnsConfig": "DNSConfig",
    "dnsPolicy": "DNSPolicy",
    "endpoints": "EndpointsName",
    "fc": "FC",
    "fsGroup": "FSGroup",
    "fsGroupChangePolicy": "FSGroupChangePolicy",
    "fsType": "FSType",
    "gcePersistentDisk": "GCEPersistentDisk",
    "gmsaCredentialSpec": "GMSACredentialSpec",
    "gmsaCredentialSpecName": "GMSACredentialSpecName",
    "grpc": "GRPC",
    "httpGet": "HTTPGet",
    "httpHeaders": "HTTPHeaders",
    "ip": "IP",
    "iqn": "IQN",
    "iscsi": "ISCSI",
    "iscsiInterface": "ISCSIInterface",
    "metadata": "ObjectMeta",
    "nfs": "NFS",
    "os": "OS",
    "pdName": "PDName",
    "rbd": "RBD",
    "seLinuxChangePolicy": "SELinuxChangePolicy",
    "seLinuxOptions": "SELinuxOptions",
    "serviceAccount": "DeprecatedServiceAccount",
    "sslEnabled": "SSLEnabled",
    "storageos": "StorageOS",
    "tcpSocket": "TCPSocket",
    "tty": "TTY",
    "uid": "UID",
    "wwids": "WWIDs",
}
"""The names of fields that are not their keys with a capital letter."""

_GO_NAMES_OF_RBD = {
    "image": "RBDImage",
    "monitors": "CephMonitors",
    "pool": "RBDPool",
    "user": "RadosUser",
}


def pod_template(template: Mapping[str, Any]) -> str:
    """A pod template as `dump.ForHash` prints it."""
    return f"({_name(TEMPLATE)}){_printer(TEMPLATE)(template)}"


def _name(go_type: str) -> str:
    """A type as Go calls it: `[]v1.Volume`, `*v1.Probe`, `v1.PullPolicy`."""
    for prefix in ("*", "[]"):
        if go_type.startswith(prefix):
            return prefix + _name(go_type.removeprefix(prefix))
    alias, named, _ = go_type.partition("=")
    if named and "[" not in alias:
        return alias
    if go_type.startswith("map["):
        key, _, value = go_type.removeprefix("map[").partition("]")
        return f"map[{key}]{_name(value)}"
    return ".".join(go_type.split(".")[-2:])


@cache
def _printer(go_type: str) -> Printer:
    # What is pointed to or listed gets its printer when there is one: most is nil.
    if go_type.startswith("*"):
        return lambda value: _NIL if value is None else _printer(go_type[1:])(value)
    if go_type.startswith("[]"):
        return lambda value: _list(value, _printer(go_type[2:])) if value else _NIL
    alias, named, underlying = go_type.partition("=")
    if named and "[" not in alias:
        return _printer(underlying)
    if go_type.startswith("map["):
        return lambda value: _map(value, _printer(go_type.partition("]")[2])) if value else _NIL
    if go_type in _LEAVES:
        return _LEAVES[go_type]
    return _struct_printer(go_type)


def _list(items: Sequence[Any], printer: Printer) -> str:
    return f"[{' '.join(map(printer, items))}]"


def _map(entries: Mapping[str, Any], printer: Printer) -> str:
    return f"map[{' '.join(f'{key}:{printer(entries[key])}' for key in sorted(entries))}]"


def _struct_printer(schema_name: str) -> Printer:
    properties: Mapping[str, list[Any]] = load.schemas()[schema_name].get("p", {})
    package = schema_name.split(".")[-2]
    special = _GO_NAMES_OF_RBD if schema_name.endswith(".RBDVolumeSource") else {}
    fields: list[tuple[str, str, tuple[str, ...]]] = []
    for key, (go_type, *facts) in properties.items():
        embedded = tuple(facts[0].get("e", ())) if facts else ()
        fields.append((key, go_type, embedded))

    def go_name(key: str) -> str:
        return special.get(key) or _GO_NAMES.get(key) or key[0].upper() + key[1:]

    def printers(depth: int, start: int, end: int) -> Iterator[Printer]:
        position = start
        while position < end:
            key, go_type, embedded = fields[position]
            if len(embedded) == depth:
                yield _field(f"{go_name(key)}:({_name(go_type)})", key, _printer(go_type))
                position += 1
                continue
            inner = embedded[depth]
            last = position
            while last < end and fields[last][2][depth : depth + 1] == (inner,):
                last += 1
            several = tuple(printers(depth + 1, position, last))
            yield _inlined(f"{inner}:({package}.{inner})", several)
            position = last

    every = tuple(printers(0, 0, len(fields)))
    return lambda value: f"{{{' '.join(one(value or {}) for one in every)}}}"


def _field(head: str, key: str, printer: Printer) -> Printer:
    return lambda value: head + printer(value.get(key))


def _inlined(head: str, several: tuple[Printer, ...]) -> Printer:
    return lambda value: f"{head}{{{' '.join(one(value) for one in several)}}}"


def _quantity(value: str | float | None) -> str:
    number, scale, nano, text, format_ = quantity.stored(quantity.canonical(value or "0"))
    decimal = _NIL if nano is None else _decimal(nano)
    return (
        f"{{i:(resource.int64Amount){{value:(int64){number} scale:(resource.Scale){scale}}} "
        f"d:(resource.infDecAmount){{Dec:(*inf.Dec){decimal}}} s:(string){text} "
        f"Format:(resource.Format){format_}}}"
    )


def _decimal(nano: int) -> str:
    words: list[str] = []
    rest = abs(nano)
    while rest:
        rest, word = divmod(rest, 2**64)
        words.append(str(word))
    sign = "true" if nano < 0 else "false"
    return (
        f"{{unscaled:(big.Int){{neg:(bool){sign} abs:(big.nat)[{' '.join(words)}]}} "
        "scale:(inf.Scale)9}"
    )


def _int_or_string(value: int | str | None) -> str:
    kind, number, text = (1, 0, value) if isinstance(value, str) else (0, value or 0, "")
    return f"{{Type:(intstr.Type){kind} IntVal:(int32){number} StrVal:(string){text}}}"


def _time(value: str | None) -> str:
    seconds = _FIRST_SECOND + timestamps.parse_time(value) // 10**9 if value else 0
    return (
        f"{{Time:(time.Time){{wall:(uint64)0 ext:(int64){seconds} loc:(*time.Location){_NIL}}}}}"
    )


def _text(value: str | None) -> str:
    return value or ""


def _number(value: int | None) -> str:
    return str(value or 0)


_LEAVES: dict[str, Printer] = {
    "string": _text,
    "bool": lambda value: "true" if value else "false",
    "int32": _number,
    "int64": _number,
    "io.k8s.apimachinery.pkg.api.resource.Quantity": _quantity,
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": lambda _: "{}",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": _time,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
}
