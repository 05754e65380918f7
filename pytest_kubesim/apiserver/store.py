"""The registry of one resource: what create, read, update and delete mean, whatever the kind.

The law: hooks of the kind (`Strategy`) run in upstream's order and decide what is particular;
everything here is the same for all.  Objects are in the storage version throughout; `served` and
`stored` bring them to the version of the request and back.

Follows `apiserver/pkg/registry/generic/registry/store.go` and `pkg/registry/rest/{create,update,
delete,meta}.go`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import go_encoding, meta, objectmeta, status, validation
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupKind, GroupResource, Object, get_path
from pytest_kubesim.apimachinery.validation import FieldError, Path
from pytest_kubesim.apiserver import as_given, deletion
from pytest_kubesim.apiserver.metadata import (
    ensure_namespace,
    keep_managed_times,
    parse_resource_version,
    wipe_system_fields,
    with_metadata,
)
from pytest_kubesim.apiserver.storage.errors import EtcdError, StorageError, interpret
from pytest_kubesim.apiserver.storage.etcd3 import Preconditions
from pytest_kubesim.registry import looked_at_again

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.status import APIStatus
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.apiserver.storage.cacher import Cacher
    from pytest_kubesim.registry.rest import Context, Resource, Strategy

MAX_NAME_ATTEMPTS = 8
"""How often a generated name that is taken is replaced by another."""

EVENTS_PREFIX = "/registry/events"
EVENT_TTL_SECONDS = 3600
"""How long events are kept (`--event-ttl`)."""

_METADATA = Path("metadata")

Produce = Callable[["Object | None"], Awaitable[Object]]
Validate = Callable[[Object, "Object | None"], Awaitable[None]]


class EmptiedFinalizers(Exception):
    """An update has taken the last finalizer of an object that is to be deleted."""

    def __init__(self, obj: Object) -> None:
        super().__init__()
        self.obj = obj


class Store:
    """One resource in one version, over the storage that all its versions share."""

    def __init__(self, server: APIServer, resource: Resource, cacher: Cacher) -> None:
        self.server = server
        self.resource = resource
        self.cacher = cacher
        self.storage = cacher.storage
        self.storage_resource = server.catalog.storage_resource(resource)
        self.strategy: Strategy = resource.strategy
        self.ttl_seconds = resource.strategy.ttl_seconds
        """How long an object lives after its last write; 0: until it is deleted."""
        if resource.storage_prefix == EVENTS_PREFIX:
            self.ttl_seconds = self.ttl_seconds or EVENT_TTL_SECONDS

    @property
    def name(self) -> GroupResource:
        """Group and resource: how messages name it."""
        return self.resource.group_resource

    @property
    def kind(self) -> GroupKind:
        """Group and kind, those it is stored as: how invalid objects are named."""
        return GroupKind(self.storage_resource.group, self.resource.kind)

    def kind_of(self, obj: Object) -> GroupKind:
        """The kind that an object says it is: a custom resource may say anything."""
        if not self.resource.custom:
            return self.kind
        return meta.gvk(obj).group_kind

    # -- versions -----------------------------------------------------------------------------

    def served(self, obj: Object) -> Object:
        """The object in the version of this resource."""
        conversion = self.resource.conversion
        if conversion is None:
            return obj
        converted = conversion.from_storage(obj)
        return self.printed(self.strategy.default(converted), self.resource)

    def stored(self, obj: Object) -> Object:
        """The object in the version in which it is stored."""
        conversion = self.resource.conversion
        if conversion is None:
            return obj
        return self.printed(conversion.to_storage(obj), self.storage_resource)

    @staticmethod
    def printed(obj: Object, resource: Resource, base: Object | None = None) -> Object:
        """A built-in object as Go prints it; `base` is one that has been printed."""
        if resource.custom or resource.schema is None:
            return obj
        return go_encoding.roundtrip(resource.schema, obj, base)

    def printed_again(
        self, context: Context, obj: Object, resource: Resource, old: Object | None = None
    ) -> Object:
        """What admission and the hooks left of an object that came in, as Go prints it.

        Only what they changed is looked at: the rest has been printed when the object was read, or
        is part of `old`, the stored one.
        """
        known = None if self.resource.conversion is not None else context.printed
        if known is None or old is None:
            return self.printed(obj, resource, known or old)
        base = {
            key: known.get(key) if value is not old.get(key) else value
            for key, value in obj.items()
        }
        return self.printed(obj, resource, base)

    # -- create -------------------------------------------------------------------------------

    async def create(
        self,
        scope: RequestScope,
        obj: Object,
        *,
        strategy: Strategy | None = None,
        validate: Validate | None = None,
    ) -> Object:
        """Store a new object.  Raises `APIStatus` (409, 422 and more)."""
        metadata: Object = obj.get("metadata") or {}
        if metadata.get("name") or not metadata.get("generateName"):
            return await self._create(scope, obj, strategy or self.strategy, validate)
        attempt = 1
        while True:
            try:
                return await self._create(scope, obj, strategy or self.strategy, validate)
            except status.APIStatus as error:
                if not status.is_already_exists(error) or attempt == MAX_NAME_ATTEMPTS:
                    raise
            attempt += 1

    async def _create(
        self, scope: RequestScope, obj: Object, strategy: Strategy, validate: Validate | None
    ) -> Object:
        context = scope.context
        generated = not get_path(obj, "metadata", "name")
        obj = self.before_create(scope, self.with_system_fields(scope, obj), strategy)
        obj = strategy.begin_create(context, obj)
        obj = self.printed_again(context, obj, self.storage_resource)
        if validate is not None:
            await validate(obj, None)
        name: str = obj["metadata"]["name"]
        key = self.key(scope.namespace, name)
        try:
            made = await self.storage.create(
                key, obj, ttl_seconds=self.ttl_seconds, dry_run=context.dry_run
            )
        except (StorageError, EtcdError, status.APIStatus) as error:
            strategy.after_delete(context, obj)
            raise await self._create_error(error, obj, name, key, generated=generated) from None
        return strategy.decorate(made)

    async def _create_error(
        self, error: Exception, obj: Object, name: str, key: str, *, generated: bool
    ) -> APIStatus:
        refusal = interpret(error, self.name, name, "create")
        if not status.is_already_exists(refusal):
            return refusal
        del generated
        if obj["metadata"].get("generateName"):
            refusal = status.new_generate_name_conflict(self.name, name, 1)
        try:
            there = await self.storage.get(key)
        except (StorageError, EtcdError):
            return refusal
        if there["metadata"].get("deletionTimestamp"):
            return refusal.with_message(f"object is being deleted: {refusal.message}")
        return refusal

    def with_system_fields(self, scope: RequestScope, obj: Object) -> Object:
        """Name, UID and time of creation (`FillObjectMetaSystemFields`)."""
        server = self.server
        metadata: Object = dict(obj.get("metadata") or {})
        name = metadata.get("name")
        if not name and (base := metadata.get("generateName")):
            name = metadata["name"] = server.draw_name(f"{self.storage.prefix}/{base}")
        metadata["creationTimestamp"] = scope.context.now
        metadata["uid"] = server.draw_uid(self.resource.key(scope.namespace, name or ""))
        return {**obj, "metadata": metadata}

    def before_create(self, scope: RequestScope, obj: Object, strategy: Strategy) -> Object:
        """Prepare and check a new object (`rest.BeforeCreate`).  Raises `APIStatus`."""
        context = scope.context
        obj = self.in_namespace(obj, scope.namespace)
        obj = strategy.prepare_for_create(context, obj)
        if strategy.validates_metadata:
            problems = strategy.validate(context, obj)
            problems = problems or self.check_metadata(_NAMES_AS_PATHS, obj)
        else:
            problems = self.check_metadata(strategy, obj)
            if strategy.declares_name:
                problems = [_declared_if_of_name(problem) for problem in problems]
            problems += strategy.validate(context, obj)
            problems = validation.declared_last(_once(problems))
        if problems:
            name = obj["metadata"].get("name") or ""
            problems = as_given.shown(problems, context.given, self.resource.schema)
            raise status.new_invalid(self.kind_of(obj), name, problems)
        for text in strategy.warnings_on_create(context, obj):
            scope.warn(text)
        return strategy.canonicalize(obj)

    def check_metadata(self, strategy: Strategy, obj: Object) -> list[FieldError]:
        """What is wrong with the metadata of a new object."""

        def name_check(name: str, *, prefix: bool = False) -> list[str]:
            return strategy.validate_name(name, prefix)

        return objectmeta.validate_object_meta(
            obj["metadata"],
            requires_namespace=self.resource.namespaced,
            name_check=name_check,
            path=_METADATA,
        )

    def check_generate_name(self, prefix: str) -> list[FieldError]:
        """What is wrong with the beginning of names."""
        details = self.strategy.validate_name(prefix, True)
        return validation.invalid_each(_METADATA.child("generateName"), prefix, details)

    def in_namespace(self, obj: Object, namespace: str) -> Object:
        """The object in the request's namespace.  Raises `APIStatus` (400) if it names another."""
        if not self.resource.namespaced:
            namespace = ""
        return ensure_namespace(obj, namespace)

    # -- update -------------------------------------------------------------------------------

    async def update(
        self,
        scope: RequestScope,
        name: str,
        produce: Produce,
        *,
        strategy: Strategy | None = None,
        validate: Validate | None = None,
        preconditions: Preconditions | None = None,
        force_allow_create: bool = False,
    ) -> tuple[Object, bool]:
        """Change an object: `produce` makes the new one of the stored one (None: there is none).

        Returns the object and whether it was created.  `produce` is called again when the stored
        object has changed meanwhile.  Raises `APIStatus`.
        """
        change = _Change(
            self, scope, name, produce, strategy or self.strategy, validate, force_allow_create
        )
        key = self.key(scope.namespace, name)
        dry_run = scope.context.dry_run
        try:
            obj = await self.storage.guaranteed_update(
                key,
                change.apply,
                preconditions=preconditions or Preconditions(),
                ignore_not_found=change.strategy.allow_create_on_update or force_allow_create,
                ttl_seconds=self.ttl_seconds,
                dry_run=dry_run,
            )
        except EmptiedFinalizers as emptied:
            return await self._delete_emptied(scope, name, key, emptied.obj, preconditions)
        except (StorageError, EtcdError) as error:
            operation = "create" if change.creating else "update"
            raise interpret(error, self.name, name, operation) from None
        return change.strategy.decorate(obj), change.creating

    async def _delete_emptied(
        self,
        scope: RequestScope,
        name: str,
        key: str,
        obj: Object,
        preconditions: Preconditions | None,
    ) -> tuple[Object, bool]:
        try:
            gone = await self.storage.delete(
                key,
                preconditions=preconditions or Preconditions(),
                dry_run=scope.context.dry_run,
            )
        except StorageError as error:
            refusal = interpret(error, self.name, name, "delete")
            if not status.is_not_found(refusal):
                raise refusal from None
            gone = obj
        if not scope.context.dry_run:
            self.strategy.after_delete(scope.context, gone)
        return obj, False

    # -- read ---------------------------------------------------------------------------------

    async def get(self, scope: RequestScope, name: str, resource_version: str = "") -> Object:
        """One object, at least as new as `resource_version`.  Raises `APIStatus` (404, 504)."""
        key = self.key(scope.namespace, name)
        try:
            if resource_version:
                return self.strategy.decorate(await self._get_cached(scope, key, resource_version))
            return self.strategy.decorate(await self.storage.get(key))
        except (StorageError, EtcdError) as error:
            raise interpret(error, self.name, name, "get") from None

    async def _get_cached(self, scope: RequestScope, key: str, resource_version: str) -> Object:
        revision = parse_resource_version(resource_version, "resourceVersion: Invalid value: ")
        cacher = self.server.view(scope, self)
        await self.server.started(cacher)
        if revision:
            await cacher.wait_until_fresh(revision)
        found = cacher.objects.get(key)
        if found is None:
            raise StorageError(1, key)
        return found

    def peek(self, namespace: str, name: str) -> Object | None:
        """What the cache holds at a key, where it holds it in the version of this resource."""
        if self.resource.conversion is not None:
            return None
        return self.cacher.objects.get(self.resource.key(namespace, name))

    def key(self, namespace: str, name: str) -> str:
        """The key in etcd.  Raises `APIStatus` (400) for a name that cannot be part of a path."""
        if "%" in name or "/" in name or name in _DOTS:
            details = ";".join(_PathNames.validate_name(name, prefix=False))
            raise status.new_bad_request(f"Name parameter invalid: {quote(name)}: {details}")
        return self.resource.key(namespace, name)

    # -- delete -------------------------------------------------------------------------------

    async def delete(
        self,
        scope: RequestScope,
        name: str,
        options: dict[str, Any],
        validate: Callable[[Object], Awaitable[None]] | None = None,
    ) -> tuple[Object, bool]:
        """Delete an object, or mark it.  Returns the answer, and whether it is gone.

        Raises `APIStatus`.
        """
        return await deletion.Deletion(self, scope, name, options, validate).run()


class _Change:
    """One update on its way: what `guaranteed_update` calls, perhaps more than once."""

    def __init__(
        self,
        store: Store,
        scope: RequestScope,
        name: str,
        produce: Produce,
        strategy: Strategy,
        validate: Validate | None,
        force_allow_create: bool,
    ) -> None:
        self.store = store
        self.scope = scope
        self.name = name
        self.produce = produce
        self.strategy = strategy
        self.validate = validate
        self.force_allow_create = force_allow_create
        self.creating = False

    async def apply(self, old: Object | None) -> Object:
        """The object to store in place of `old`."""
        store, strategy = self.store, self.strategy
        if old is None and not (strategy.allow_create_on_update or self.force_allow_create):
            raise status.new_not_found(store.name, self.name)
        obj = await self.produce(old)
        metadata: Object = obj["metadata"]
        version = parse_resource_version(metadata.get("resourceVersion") or "")
        if old is None:
            return await self._create(obj)
        self.creating = False
        current: str = old["metadata"]["resourceVersion"]
        if version == 0:
            if not strategy.allow_unconditional_update:
                problem = validation.invalid(
                    _METADATA.child("resourceVersion"), 0, "must be specified for an update"
                )
                kind = GroupKind(store.resource.group, store.resource.plural)
                raise status.new_invalid(kind, self.name, [problem])
            obj = {**obj, "metadata": {**metadata, "resourceVersion": current}}
        elif version != int(current):
            raise status.new_conflict(store.name, self.name, status.OPTIMISTIC_LOCK_ERROR)
        obj = before_update(store, self.scope, obj, old, strategy)
        obj = strategy.begin_update(self.scope.context, obj, old)
        obj = store.printed_again(self.scope.context, obj, store.storage_resource, old)
        obj = keep_managed_times(obj, old)
        if self.validate is not None:
            await self.validate(obj, old)
        if should_delete(store, obj, old):
            raise EmptiedFinalizers(obj)
        return obj

    async def _create(self, obj: Object) -> Object:
        store, scope = self.store, self.scope
        self.creating = True
        obj = store.with_system_fields(scope, wipe_system_fields(obj))
        obj = store.before_create(scope, obj, store.strategy)
        obj = store.strategy.begin_create(scope.context, obj)
        obj = store.printed_again(scope.context, obj, store.storage_resource)
        if self.validate is not None:
            await self.validate(obj, None)
        return obj


def before_update(
    store: Store, scope: RequestScope, obj: Object, old: Object, strategy: Strategy
) -> Object:
    """Prepare and check a changed object (`rest.BeforeUpdate`).  Raises `APIStatus`."""
    context: Context = scope.context
    obj = store.in_namespace(obj, scope.namespace)
    old_metadata: Object = old["metadata"]
    generation = old_metadata.get("generation")
    if obj["metadata"].get("generation") != generation:
        obj = with_metadata(obj, generation=generation)
    obj = strategy.prepare_for_update(context, obj, old)
    metadata: Object = obj["metadata"]
    kept: Object = {}
    if not metadata.get("uid"):
        kept["uid"] = old_metadata.get("uid")
    for field in ("creationTimestamp", "deletionTimestamp"):
        if old_metadata.get(field) and metadata.get(field) != old_metadata[field]:
            kept[field] = old_metadata[field]
    grace = old_metadata.get("deletionGracePeriodSeconds")
    if grace is not None and metadata.get("deletionGracePeriodSeconds") is None:
        kept["deletionGracePeriodSeconds"] = grace
    if metadata.get("selfLink") and not context.dry_run:
        # It is not stored: the answer to a dry run still has it.
        kept["selfLink"] = None
    if kept:
        obj = with_metadata(obj, **kept)
    problems: list[FieldError] = []
    if not _handed_back(obj["metadata"], old_metadata):
        problems = store.check_metadata(_NAMES_AS_PATHS, obj)
        problems += objectmeta.validate_object_meta_update(obj["metadata"], old_metadata, _METADATA)
        if strategy is store.strategy and _is_looked_at_again(store, metadata):
            problems += store.check_generate_name(metadata["generateName"])
        if not (store.resource.custom or store.resource.group == _EXTENSIONS):
            problems = _once(problems)
    problems += strategy.validate_update(context, obj, old)
    if problems:
        name = obj["metadata"].get("name") or ""
        problems = as_given.shown(problems, context.given, store.resource.schema)
        raise status.new_invalid(store.kind_of(obj), name, problems)
    for text in strategy.warnings_on_update(context, obj, old):
        scope.warn(text)
    return strategy.canonicalize(obj)


def _handed_back(metadata: Object, stored: Object) -> bool:
    """Whether metadata is what is stored, which has been checked, but for who manages fields.

    By identity: so it is where a client in this process changes another part of the object.
    """
    if len(metadata) != len(stored):
        return False
    for key, value in metadata.items():
        if value is not stored.get(key) and key != "managedFields":
            return False
    return not objectmeta.validate_managed_fields(metadata.get("managedFields"), _METADATA)


_DOTS = (".", "..")


class _PathNames:
    """On update a name need only fit into a path: it has been checked when it was new."""

    @staticmethod
    def validate_name(name: str, prefix: bool) -> list[str]:
        del prefix
        if name in _DOTS:
            return [f"may not be '{name}'"]
        return [f"may not contain '{part}'" for part in "/%" if part in name]


def _is_looked_at_again(store: Store, metadata: Object) -> bool:
    kind = (store.resource.group, store.resource.kind)
    return bool(metadata.get("generateName")) and kind in looked_at_again.KINDS


_EXTENSIONS = "apiextensions.k8s.io"
"""The group whose own API server repeats complaints: its kinds declare no rules."""
_NAMES_AS_PATHS: Any = _PathNames()


def _declared_if_of_name(problem: FieldError) -> FieldError:
    if problem.field != "metadata.name" or problem.type != validation.INVALID:
        return problem
    return attrs.evolve(problem, declared=True)


def _once(problems: list[FieldError]) -> list[FieldError]:
    """Each complaint once: two labels can have one fault, and updates look at them twice."""
    found: list[FieldError] = []
    for problem in problems:
        if problem not in found:
            found.append(problem)
    return found


def should_delete(store: Store, obj: Object, old: Object) -> bool:
    """Whether an update leaves an object that nothing keeps any more."""
    if obj["metadata"].get("finalizers"):
        return False
    old_metadata: Object = old["metadata"]
    if not old_metadata.get("deletionTimestamp"):
        return False
    if store.name == GroupResource("", "namespaces") and get_path(obj, "spec", "finalizers"):
        return False
    return not old_metadata.get("deletionGracePeriodSeconds")
