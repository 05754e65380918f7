"""Objects in etcd: one key each, their resourceVersion the revision of their last write.

The law: what lies in etcd has an empty `metadata.resourceVersion` in its place, so that reading
fills it in without changing the order of the keys.  What is read is shared and never changed.
Against a member that is alone no method suspends.

Follows `apiserver/pkg/storage/etcd3/store.go`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apiserver import patience
from pytest_kubesim.apiserver.storage import continue_token
from pytest_kubesim.apiserver.storage.errors import (
    CORRUPT_OBJECT,
    INVALID_OBJECT,
    KEY_EXISTS,
    KEY_NOT_FOUND,
    StorageError,
    plain,
)
from pytest_kubesim.apiserver.storage.sharing import Parts
from pytest_kubesim.etcd.messages import (
    Compare,
    DeleteRangeRequest,
    ErrCompacted,
    ErrFutureRev,
    PutRequest,
    RangeRequest,
    RangeResponse,
    prefix_end,
)
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.etcd.client import Client
    from pytest_kubesim.etcd.messages import KeyValue

EXPIRED = "The resourceVersion for the provided list is too old."
INCONSISTENT_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start "
    "a new list without the continue parameter, or use the continue token in this response to "
    "retrieve the remainder of the results. Continuing with the provided token results in an "
    "inconsistent list - objects that were created, modified, or deleted between the time the "
    "first chunk was returned and now may show up in the list."
)
ROOT = "/registry"
"""Where all that an API server stores lies (`--etcd-prefix`)."""
MAX_LIMIT = 10_000
"""The largest chunk that is asked of etcd at a time (`maxLimit`)."""
LEASE_REUSE_SECONDS = 60
"""For how long at most objects with a time to live share a lease (`lease_manager.go`)."""
LEASE_REUSE_PERCENT = 5
"""For what part of their time to live they do."""

Update = Callable[["Object | None"], Awaitable["Object"]]
"""From the object that is stored (None: none is) to the one to store."""


@attrs.frozen
class Preconditions:
    """What must hold of a stored object before it is changed or deleted."""

    uid: str | None = None
    resource_version: str | None = None

    def check(self, key: str, obj: Object | None) -> None:
        """Raises `StorageError` where they do not hold."""
        metadata: Object = (obj or {}).get("metadata") or {}
        found = metadata.get("uid") or ""
        if self.uid is not None and self.uid != found:
            problem = (
                f"Precondition failed: UID in precondition: {self.uid}, UID in object meta: {found}"
            )
            raise StorageError(INVALID_OBJECT, key, 0, problem)
        version = metadata.get("resourceVersion") or ""
        if self.resource_version is not None and self.resource_version != version:
            problem = (
                f"Precondition failed: ResourceVersion in precondition: {self.resource_version}, "
                f"ResourceVersion in object meta: {version}"
            )
            raise StorageError(INVALID_OBJECT, key, 0, problem)


ANY = Preconditions()
"""Nothing is demanded."""


@attrs.frozen
class Listed:
    """A chunk of a list."""

    items: list[Object]
    revision: int
    continue_: str = ""
    remaining: int | None = None


class Etcd3:
    """The objects under one prefix.

    Parameters: `client` of etcd; `prefix` without a slash at its end, such as `/registry/pods`;
    `now_ns` tells the time, for leases; `known` gives an object that is decoded already, by key and
    revision; `decode` brings what is stored to the storage version (`Resource.decode_stored`),
    `encode` is its inverse, where there is one.
    """

    def __init__(
        self,
        client: Client,
        prefix: str,
        *,
        now_ns: Callable[[], int],
        known: Callable[[str, int], Object | None] = lambda _key, _revision: None,
        decode: Callable[[Object], Object] | None = None,
        encode: Callable[[Object], Object] | None = None,
    ) -> None:
        self.client = client
        self.encode_stored = encode
        self.prefix = prefix
        self.decode_stored = decode
        self._now_ns = now_ns
        self._known = known
        self._lease = 0
        self._lease_until_ns = -1
        self._parts = Parts()

    # -- decoding -----------------------------------------------------------------------------

    def decode(self, kv: KeyValue) -> Object:
        """The object of a record, with its resourceVersion.  Raises `StorageError` (corrupt)."""
        known = self._known(kv.key, kv.mod_revision)
        if known is not None:
            return known
        value: Object = kv.value
        if self.decode_stored is not None:
            try:
                value = self.decode_stored(value)
            except ValueError as error:
                problem = f"object not decodable revision={kv.mod_revision}: {error}"
                key = kv.key.removeprefix(ROOT)
                raise StorageError(CORRUPT_OBJECT, key, 0, problem) from error
        return {
            **value,
            "metadata": {**value["metadata"], "resourceVersion": str(kv.mod_revision)},
        }

    async def decoded(self, kv: KeyValue) -> Object:
        """As `decode`, waiting for who converts."""
        if self.decode_stored is None:
            return self.decode(kv)
        return await patience.patiently(partial(self.decode, kv))

    # -- reading ------------------------------------------------------------------------------

    async def get(self, key: str) -> Object:
        """The object at a key.  Raises `StorageError` (not found)."""
        kvs = (await self.client.get(key)).kvs
        if not kvs:
            raise StorageError(KEY_NOT_FOUND, key)
        return await self.decoded(kvs[0])

    async def current_revision(self) -> int:
        """The newest revision of etcd, as a quorum knows it."""
        return (await self.client.get(self.prefix)).revision

    async def list(
        self,
        key: str,
        *,
        recursive: bool = True,
        matches: Callable[[Object], bool] | None = None,
        limit: int = 0,
        token: str = "",
        revision: int = 0,
        at_least: int = 0,
    ) -> Listed:
        """The objects below `key` (one object, unless `recursive`) in order of their keys.

        `limit` ends a chunk, `token` goes on after one; `revision` reads exactly there, `at_least`
        demands that etcd has come so far.  Raises `APIStatus` (400, 410, 504).
        """
        prefix = f"{key}/" if recursive else key
        start = prefix
        if token and recursive:
            try:
                start, found = continue_token.decode(token, prefix)
            except ValueError as error:
                raise status.new_bad_request(f"invalid continue token: {error}") from None
            revision = max(found, 0)
        end = prefix_end(prefix) if recursive else ""
        items: list[Object] = []
        last, count, more, fetch = "", 0, False, limit
        while True:
            got = await self._range(start, end, revision, fetch, prefix, paging=bool(token))
            if revision == 0:
                revision = got.revision
                if at_least > revision:
                    raise status.new_too_large_resource_version(at_least, revision, 0)
            count, more = got.count, len(got.kvs) < got.count
            for index, kv in enumerate(got.kvs):
                if limit and len(items) >= limit:
                    more = True
                    break
                last = kv.key
                obj = self.decode(kv) if self.decode_stored is None else await self.decoded(kv)
                if matches is None or matches(obj):
                    items.append(obj)
                del index
            if not more or (limit and len(items) >= limit):
                break
            start = f"{last}\0"
            fetch = min(fetch * 2, MAX_LIMIT)
        if not more:
            return Listed(items, revision)
        remaining = count - limit if matches is None else None
        return Listed(
            items, revision, continue_token.encode(f"{last}\0", prefix, revision), remaining
        )

    async def _range(
        self, start: str, end: str, revision: int, limit: int, prefix: str, *, paging: bool
    ) -> RangeResponse:
        try:
            return await self.client.range(start, end, revision=revision, limit=limit)
        except ErrFutureRev:
            current = await self.current_revision()
            raise status.new_too_large_resource_version(revision, current, 1) from None
        except ErrCompacted:
            self._expired(start, prefix, paging=paging)

    @staticmethod
    def _expired(start: str, prefix: str, *, paging: bool) -> NoReturn:
        if not paging:
            raise status.new_resource_expired(EXPIRED) from None
        error = status.new_resource_expired(INCONSISTENT_CONTINUE)
        error.metadata = {"continue": continue_token.encode(start, prefix, -1)}
        raise error from None

    # -- writing ------------------------------------------------------------------------------

    async def create(
        self, key: str, obj: Object, *, ttl_seconds: int = 0, dry_run: bool = False
    ) -> Object:
        """Store a new object.  Raises `StorageError` (key exists)."""
        if dry_run:
            # The dry-run storage in front of this one does not look at the version.
            if (await self.client.get(key)).kvs:
                raise StorageError(KEY_EXISTS, key)
            if self.decode_stored is None:
                return obj
            # It copies objects by way of what would be stored.
            if self.encode_stored is not None:
                obj = await patience.patiently(partial(self.encode_stored, obj))
            return await patience.patiently(partial(self.decode_stored, obj))
        if version := obj["metadata"].get("resourceVersion"):
            if version.isascii() and version.isdigit() and int(version):
                raise plain("resourceVersion should not be set on objects to be created")
            # What is no version is none.
            metadata = {k: v for k, v in obj["metadata"].items() if k != "resourceVersion"}
            obj = {**obj, "metadata": metadata}
        stored = self._parts.shared(await self._encode(obj), None)
        lease = await self._lease_for(ttl_seconds) if ttl_seconds else 0
        answer = await self.client.txn(
            (Compare(key, "MOD", "EQUAL", 0),), (PutRequest(key, stored, lease),)
        )
        if not answer.succeeded:
            raise StorageError(KEY_EXISTS, key)
        return await self._written(key, stored, answer.revision)

    async def guaranteed_update(
        self,
        key: str,
        update: Update,
        *,
        preconditions: Preconditions = ANY,
        ignore_not_found: bool = False,
        ttl_seconds: int = 0,
        dry_run: bool = False,
    ) -> Object:
        """Read, let `update` make the new object, write if nothing has changed meanwhile; again.

        An object equal to the stored one is not written.  Raises `StorageError` and whatever
        `update` raises.
        """
        kvs = (await self.client.get(key)).kvs
        kv = kvs[0] if kvs else None
        while True:
            if kv is None and not ignore_not_found:
                raise StorageError(KEY_NOT_FOUND, key)
            old = None if kv is None else await self.decoded(kv)
            preconditions.check(_shown(key, dry_run=dry_run), old)
            new = await update(old)
            stored = await self._encode(new)
            if kv is not None and stored == kv.value:
                assert old is not None
                return old
            if dry_run:
                return new
            stored = self._parts.shared(stored, None if kv is None else kv.value)
            lease = await self._lease_for(ttl_seconds) if ttl_seconds else 0
            revision = 0 if kv is None else kv.mod_revision
            answer = await self.client.txn(
                (Compare(key, "MOD", "EQUAL", revision),),
                (PutRequest(key, stored, lease),),
                (RangeRequest(key),),
            )
            if answer.succeeded:
                return await self._written(key, stored, answer.revision)
            kv = _read(answer.responses[0])

    async def delete(
        self,
        key: str,
        *,
        preconditions: Preconditions = ANY,
        validate: Callable[[Object], Awaitable[None]] | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Delete an object; returns its last state, at the revision of its deletion.

        `validate` may refuse by raising.  Raises `StorageError` (not found, invalid).
        """
        kvs = (await self.client.get(key)).kvs
        kv = kvs[0] if kvs else None
        while True:
            if kv is None:
                raise StorageError(KEY_NOT_FOUND, key)
            obj = await self.decoded(kv)
            preconditions.check(_shown(key, dry_run=dry_run), obj)
            if validate is not None:
                await validate(obj)
            if dry_run:
                return obj
            answer = await self.client.txn(
                (Compare(key, "MOD", "EQUAL", kv.mod_revision),),
                (DeleteRangeRequest(key),),
                (RangeRequest(key),),
            )
            if answer.succeeded:
                metadata = {**obj["metadata"], "resourceVersion": str(answer.revision)}
                return {**obj, "metadata": metadata}
            kv = _read(answer.responses[0])

    async def _encode(self, obj: Object) -> Object:
        if self.encode_stored is not None:
            obj = await patience.patiently(partial(self.encode_stored, obj))
        return _blank(obj)

    async def _written(self, key: str, stored: Object, revision: int) -> Object:
        known = self._known(key, revision)
        if known is not None:
            return known
        if self.decode_stored is not None:
            stored = await patience.patiently(partial(self.decode_stored, stored))
        return {**stored, "metadata": {**stored["metadata"], "resourceVersion": str(revision)}}

    async def _lease_for(self, ttl_seconds: int) -> int:
        """A lease that lives at least so long, and not much longer: several writes share one."""
        now_ns = self._now_ns()
        reuse = min(LEASE_REUSE_SECONDS, ttl_seconds * LEASE_REUSE_PERCENT // 100)
        least_ns = now_ns + ttl_seconds * NS
        if not least_ns < self._lease_until_ns < least_ns + reuse * NS:
            granted = await self.client.lease_grant(ttl_seconds + reuse)
            self._lease = granted.id
            self._lease_until_ns = least_ns + reuse * NS
        return self._lease


def _blank(obj: Object) -> Object:
    """The object as it is stored: the place of the resourceVersion kept, its value not."""
    metadata: Object = obj["metadata"]
    if metadata.get("resourceVersion") == "":
        return obj
    if "resourceVersion" in metadata:
        return {**obj, "metadata": {**metadata, "resourceVersion": ""}}
    ordered: Object = {}
    for key in ("name", "generateName", "namespace", "uid"):
        if key in metadata:
            ordered[key] = metadata[key]
    ordered["resourceVersion"] = ""
    for key, value in metadata.items():
        ordered[key] = value
    return {**obj, "metadata": ordered}


def _shown(key: str, *, dry_run: bool) -> str:
    """The key as refusals show it: the storage of dry runs is in front of who adds the prefix."""
    return key.removeprefix(ROOT.rstrip("/")) if dry_run else key


def _read(answer: Any) -> KeyValue | None:
    assert isinstance(answer, RangeResponse)
    return answer.kvs[0] if answer.kvs else None
