"""What a kind is to the API server: a `Resource` (data) with a `Strategy` (hooks).

The law, as in upstream's `pkg/registry/rest/{create,update,delete}.go`: hooks are called in this
order, and every hook is a function of its arguments that returns what it makes; nothing it is
given may be mutated.

    create:  default -> prepare_for_create -> (name, uid, timestamps) -> admission -> validate
             -> warnings_on_create -> canonicalize -> begin_create -> store
    update:  default -> prepare_for_update -> admission -> validate_update -> warnings_on_update
             -> canonicalize -> begin_update -> store

(Defaulting happens when a request is decoded, once more after admission, and again when an object
is read in another version.)  A file `registry/<group>/<kind>.py` ends with `KIND = Kind(...)`,
which `registry.generic` finds by the file's name; a kind without a file gets the base class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import msgspec

from pytest_kubesim.apimachinery.formats import name_is_dns_subdomain
from pytest_kubesim.apimachinery.meta import GroupResource, GroupVersionKind, GroupVersionResource

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.schema import Schema
    from pytest_kubesim.apimachinery.validation import FieldError
    from pytest_kubesim.sim.rng import Rng
    from pytest_kubesim.wire import UserInfo


class Reader(Protocol):
    """Looks at other objects as of now, for the few hooks that upstream lets do so."""

    def get(self, resource: GroupResource, namespace: str, name: str) -> Object | None:
        """One object at its storage version, or None."""
        ...

    def list(self, resource: GroupResource, namespace: str = "") -> Sequence[Object]:
        """All objects of a resource, of one namespace if given, by key."""
        ...


class Context(msgspec.Struct, eq=False):
    """What a hook may know of the request it serves."""

    now: str
    """The present instant, RFC 3339 in seconds: what goes into `metav1.Time` fields."""
    now_ns: int
    """The same in nanoseconds since the epoch."""
    user: UserInfo
    rng: Rng
    reader: Reader
    namespace: str = ""
    name: str = ""
    verb: str = ""
    subresource: str = ""
    dry_run: bool = False
    field_manager: str = ""
    options: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """The Create/Update/Patch/DeleteOptions of the request, as JSON."""
    warnings: list[str] = msgspec.field(default_factory=list[str])
    state: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """The API server's own state (allocators), by the name of who keeps it."""
    given: Object | None = None
    """The object as it was decoded, while empty lists and maps were still in it."""
    printed: Object | None = None
    """The same as Go prints it, before admission and the hooks: they leave most of it alone."""

    def warn(self, text: str) -> None:
        """Add a `Warning` header to the answer, once."""
        if text not in self.warnings:
            self.warnings.append(text)


class Strategy:
    """The hooks of a kind; override what is particular.  The base class fits a plain kind.

    Upstream: `rest.RESTCreateStrategy`, `RESTUpdateStrategy`, `RESTDeleteStrategy`.
    """

    allow_create_on_update: bool = False
    """PUT of a name that does not exist creates it."""
    allow_unconditional_update: bool = True
    """PUT without a resourceVersion overwrites."""
    default_garbage_collection_policy: str = "Background"
    """`Background`, `Orphan` or `Unsupported`: what deletion without a policy means."""
    ttl_seconds: int = 0
    """How long an object lives after its last write; 0: until it is deleted (events: an hour)."""
    reset_fields: tuple[tuple[str, ...], ...] = ()
    """Paths that this endpoint does not let a writer own: ("status",) for the main resource of a
    kind with a status subresource, ("spec", "metadata.labels"...) for `/status`."""

    validates_metadata: bool = False
    """`validate` and `validate_update` look at the metadata too; what is common to all kinds is
    looked at besides."""

    declares_name: bool = False
    """The rule for names is a declared one, whose complaints come after those that are written."""

    def default(self, obj: Object) -> Object:
        """Fill in what `defaults.go` fills in, at the version served."""
        return obj

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Drop what a client may not set (status), set what the server sets (generation: 1)."""
        del ctx
        return obj

    def validate(self, ctx: Context, obj: Object) -> list[FieldError]:
        """All that is wrong with a new object, in upstream's order (metadata is checked apart)."""
        del ctx, obj
        return []

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """What deserves a warning (deprecated or suspicious fields)."""
        del ctx, obj
        return []

    def canonicalize(self, obj: Object) -> Object:
        """Bring a valid object into the form in which it is stored."""
        return obj

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """Keep what a client may not change here (status), raise the generation."""
        del ctx, old
        return obj

    def validate_update(self, ctx: Context, obj: Object, old: Object) -> list[FieldError]:
        """All that is wrong with a change."""
        del ctx, obj, old
        return []

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """What deserves a warning in a change."""
        del ctx, obj, old
        return []

    def validate_name(self, name: str, prefix: bool) -> list[str]:
        """What is wrong with a name (`prefix`: a generateName); DNS subdomains by default."""
        return name_is_dns_subdomain(name, prefix=prefix)

    def begin_create(self, ctx: Context, obj: Object) -> Object:
        """Last step before a new object is stored: allocate (cluster IPs, node ports)."""
        del ctx
        return obj

    def begin_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """Last step before a changed object is stored."""
        del ctx, old
        return obj

    def after_delete(self, ctx: Context, obj: Object) -> None:
        """The object is gone from the store: release what `begin_create` allocated."""

    def check_graceful_delete(self, ctx: Context, obj: Object, seconds: int | None) -> int | None:
        """The grace period in seconds that applies to a deletion, or None: delete at once.

        `seconds` is what the client asked for.  Pods alone differ upstream.
        """
        del ctx, obj, seconds
        return None

    def decorate(self, obj: Object) -> Object:
        """Change what is read, on its way out (services do upstream)."""
        return obj

    def selectable_fields(self, obj: Object) -> dict[str, str]:
        """What field selectors see, besides `metadata.name` and `metadata.namespace`."""
        del obj
        return {}

    selectable: tuple[str, ...] = ()
    """The names that `selectable_fields` knows: others are refused with 400."""


PLAIN = Strategy()
"""For kinds of which nothing particular is known."""


@attrs.frozen(slots=True)
class Column:
    """A column of a Table answer (`metav1.TableColumnDefinition`)."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


@attrs.frozen(slots=True)
class Printer:
    """How a kind is shown as a Table (`pkg/printers/internalversion/printers.go`).

    `row(obj, now_ns)` gives the cells of one object, in the order of `columns`.
    """

    columns: tuple[Column, ...]
    row: Callable[[Object, int], list[Any]]
    rows: Callable[[Sequence[Object], int], list[list[Any]]] | None = None
    """The rows of a list, where they say more than the rows of its objects one by one."""
    conditions: Callable[[Object], list[Object]] | None = None
    """What is to be said of the row of an object besides its cells (`TableRowCondition`)."""


@attrs.frozen(slots=True)
class Scale:
    """Where `/scale` finds things: paths into the object."""

    spec_replicas: tuple[str, ...] = ("spec", "replicas")
    status_replicas: tuple[str, ...] = ("status", "replicas")
    selector: tuple[str, ...] | None = ("spec", "selector")
    selector_is_string: bool = False
    """The selector in the object is a string (custom resources), not a LabelSelector or map."""


@attrs.frozen(slots=True)
class Conversion:
    """How a served version differs from the version that is stored."""

    to_storage: Callable[[Object], Object]
    from_storage: Callable[[Object], Object]


@attrs.frozen(slots=True)
class Kind:
    """What a file `registry/<group>/<kind>.py` says of its kind."""

    strategy: Strategy = PLAIN
    status: Strategy | None = None
    """Hooks of `/status`; None: as generic says (only status, labels... of upstream's default)."""
    others: Mapping[str, Strategy] = attrs.field(factory=dict[str, Strategy])
    """Hooks of further subresources that update the object: ephemeralcontainers, resize,
    approval, finalize."""
    printer: Printer | None = None
    scale: Scale | None = None
    conversions: Mapping[str, Conversion] = attrs.field(factory=dict[str, Conversion])
    """By version; the version that is stored has none."""
    decode_stored: Callable[[Object], Object] | None = None
    """What reading adds to what is stored: a default of a field that creation leaves empty."""


@attrs.frozen(slots=True)
class Subresource:
    """A subresource as discovery names it."""

    name: str
    kind: GroupVersionKind
    verbs: tuple[str, ...]


def _api_version(resource: Resource) -> str:
    return f"{resource.group}/{resource.version}" if resource.group else resource.version


def _gvk(resource: Resource) -> GroupVersionKind:
    return GroupVersionKind(resource.group, resource.version, resource.kind)


def _gvr(resource: Resource) -> GroupVersionResource:
    return GroupVersionResource(resource.group, resource.version, resource.plural)


@lru_cache(maxsize=512)
def _key(prefix: str, namespace: str | None, name: str) -> str:
    # Remembered for a while, so that all who keep the key of an object keep the same text.
    return f"{prefix}/{name}" if namespace is None else f"{prefix}/{namespace}/{name}"


def _group_resource(resource: Resource) -> GroupResource:
    return GroupResource(resource.group, resource.plural)


@attrs.frozen(slots=True, eq=False)
class Resource:
    """A kind in one version, as data: all that the handlers need to serve it.

    Built-in kinds come from `registry.generic`, custom ones from their CRD.
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    verbs: tuple[str, ...]
    schema: Schema | None
    strategy: Strategy
    list_kind: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    status_strategy: Strategy | None = None
    other_strategies: Mapping[str, Strategy] = attrs.field(factory=dict[str, Strategy])
    subresources: Mapping[str, Subresource] = attrs.field(factory=dict[str, Subresource])
    storage_prefix: str = ""
    """Where the objects lie in etcd: `/registry/deployments`, without a slash at the end."""
    storage_version: str = ""
    conversion: Conversion | None = None
    printer: Printer | None = None
    scale: Scale | None = None
    returns_deleted: bool = False
    """A deletion answers with the object instead of a Status."""
    custom: bool = False
    """Served for a CustomResourceDefinition: decoded, pruned and validated by its own schema."""
    decode_stored: Callable[[Object], Object] | None = None
    """Brings what lies in etcd, perhaps in another version, to `storage_version` (custom resources:
    to the version served); raises `ValueError` for what cannot be decoded.  None: it lies there as
    it is served."""
    encode_stored: Callable[[Object], Object] | None = None
    """Custom resources: brings an object of the version served to the one in which it is stored."""

    # How it is named, which every request asks several times.
    api_version: str = attrs.field(init=False, default=attrs.Factory(_api_version, takes_self=True))
    """`group/version`, or `version` in the core group."""
    gvk: GroupVersionKind = attrs.field(init=False, default=attrs.Factory(_gvk, takes_self=True))
    """Group, version, kind."""
    gvr: GroupVersionResource = attrs.field(
        init=False, default=attrs.Factory(_gvr, takes_self=True)
    )
    """Group, version, resource."""
    group_resource: GroupResource = attrs.field(
        init=False, default=attrs.Factory(_group_resource, takes_self=True)
    )
    """Group and resource: how messages name it."""

    def key(self, namespace: str, name: str) -> str:
        """The key in etcd of one object."""
        return _key(self.storage_prefix, namespace if self.namespaced else None, name)

    def place(self, key: str) -> tuple[str, str]:
        """The namespace ("" for none) and the name of the object with that key in etcd."""
        *namespace, name = key.removeprefix(f"{self.storage_prefix}/").split("/")
        return "".join(namespace), name
