"""What a member keeps now, as JSON, and back.

Law: a restore is a series of ordinary writes, made at one instant: what is not in the backup is
deleted, what differs is put.  So whoever watches sees what changes, no watch ends, and revisions
go on; history and leases do not come back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.etcd.messages import DeleteRangeRequest, PutRequest

if TYPE_CHECKING:
    from pytest_kubesim.etcd.member import Member

VERSION = 1
_ALL = "\0"


def save(member: Member) -> dict[str, Any]:
    """All keys of the member with their values, in the order in which they were last written."""
    found = sorted(member.store.range(_ALL, _ALL).kvs, key=lambda kv: kv.mod_revision)
    return {
        "version": VERSION,
        "revision": member.store.revision,
        "keys": [[kv.key, kv.value] for kv in found],
    }


def restore(member: Member, saved: Any) -> int:
    """Have the member hold what was saved; gives how many keys had to be written or deleted.

    Raises: `ValueError` for what `save` has not made; nothing is changed then.
    """
    try:
        version, revision = saved["version"], int(saved["revision"])
        values = {str(key): value for key, value in saved["keys"]}
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is not a backup: {error!r}") from error
    if version != VERSION:
        raise ValueError(f"a backup of version {version!r} cannot be read, only of {VERSION}")
    store = member.store
    store.skip_to(revision)
    here = {kv.key: kv.value for kv in store.range(_ALL, _ALL).kvs}
    changes = 0
    for key in sorted(set(here) - set(values)):
        member.apply(DeleteRangeRequest(key))
        changes += 1
    for key, value in values.items():
        if key not in here or here[key] != value:
            member.apply(PutRequest(key, value))
            changes += 1
    return changes
