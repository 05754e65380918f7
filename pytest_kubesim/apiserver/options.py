"""The options of a request: query parameters (or a DeleteOptions body) read and checked.

Follows `apimachinery/pkg/apis/meta/v1/validation/validation.go`, `meta/internalversion/validation`
and the conversion of query parameters in `meta/v1/conversion.go`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import fields, labels, metav1, status, validation
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupKind, Object
from pytest_kubesim.apimachinery.validation import FieldError, Path

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.scope import RequestScope

META_GROUP = "meta.k8s.io"
EXACT, NOT_OLDER_THAN = "Exact", "NotOlderThan"


@attrs.frozen
class ListOptions:
    """What a list or a watch is asked for."""

    label_selector: labels.Selector
    field_selector: fields.Selector
    watch: bool = False
    bookmarks: bool = False
    resource_version: str = ""
    match: str = ""
    timeout_seconds: int | None = None
    limit: int = 0
    continue_: str = ""
    send_initial_events: bool | None = None


def to_bool(text: str) -> bool:
    """A query parameter: everything is true but `false` and `0`."""
    return text.lower() not in ("false", "0")


def _to_int(text: str) -> int:
    try:
        if text.strip() != text or "_" in text:
            raise ValueError(text)
        return int(text)
    except ValueError:
        raise status.new_bad_request(
            f"strconv.ParseInt: parsing {quote(text)}: invalid syntax"
        ) from None


def _invalid(kind: str, problems: Sequence[FieldError]) -> None:
    if problems:
        raise status.new_invalid(GroupKind(META_GROUP, kind), "", problems)


def list_options(scope: RequestScope, *, forced_watch: bool = False) -> ListOptions:
    """The options of a list or watch.  Raises `APIStatus` (400, 422)."""
    return _list_options(scope.request.query, forced_watch)


@functools.lru_cache(4096)
def _list_options(pairs: tuple[tuple[str, str], ...], forced_watch: bool) -> ListOptions:
    query = dict(reversed(pairs))
    label_selector = labels.everything()
    field_selector = fields.everything()
    try:
        if text := query.get("labelSelector"):
            label_selector = labels.parse(text)
        if text := query.get("fieldSelector"):
            field_selector = fields.parse(text)
    except ValueError as error:
        raise status.new_bad_request(str(error)) from None
    timeout = query.get("timeoutSeconds")
    initial = query.get("sendInitialEvents")
    found = ListOptions(
        label_selector,
        field_selector,
        watch="watch" in query and to_bool(query["watch"]),
        bookmarks="allowWatchBookmarks" in query and to_bool(query["allowWatchBookmarks"]),
        resource_version=query.get("resourceVersion", ""),
        match=query.get("resourceVersionMatch", ""),
        timeout_seconds=_to_int(timeout) if timeout else None,
        limit=_to_int(text) if (text := query.get("limit")) else 0,
        continue_=query.get("continue", ""),
        send_initial_events=to_bool(initial) if initial else None,
    )
    return _checked(found, watch=found.watch or forced_watch)


def _checked(found: ListOptions, *, watch: bool) -> ListOptions:
    if (
        found.watch
        and found.send_initial_events is None
        and not found.match
        and found.resource_version in ("", "0")
    ):
        found = attrs.evolve(found, send_initial_events=True, match=NOT_OLDER_THAN)
    if found.limit and (found.limit < 0 or (found.resource_version == "0" and not found.continue_)):
        # `computeListLimit` in `cacher.go`: who takes what is cached takes all of it.
        found = attrs.evolve(found, limit=0)
    if found.match or found.send_initial_events is not None:
        check = _watch_problems if found.watch else _list_problems
        _invalid("ListOptions", check(found))
    return attrs.evolve(found, watch=watch)


def _list_problems(found: ListOptions) -> list[FieldError]:
    problems: list[FieldError] = []
    path = Path("resourceVersionMatch")
    match = found.match
    if match:
        if not found.resource_version:
            problems.append(
                validation.forbidden(
                    path, "resourceVersionMatch is forbidden unless resourceVersion is provided"
                )
            )
        if found.continue_:
            problems.append(
                validation.forbidden(
                    path, "resourceVersionMatch is forbidden when continue is provided"
                )
            )
        if match not in (EXACT, NOT_OLDER_THAN):
            problems.append(validation.not_supported(path, match, (EXACT, NOT_OLDER_THAN, "")))
        if match == EXACT and found.resource_version == "0":
            problems.append(
                validation.forbidden(
                    path, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
                )
            )
    if found.send_initial_events is not None:
        problems.append(
            validation.forbidden(
                Path("sendInitialEvents"), "sendInitialEvents is forbidden for list"
            )
        )
    return problems


def _watch_problems(found: ListOptions) -> list[FieldError]:
    problems: list[FieldError] = []
    path = Path("resourceVersionMatch")
    match = found.match
    if found.send_initial_events is not None and match != NOT_OLDER_THAN:
        problems.append(
            validation.forbidden(
                path, f"sendInitialEvents requires setting resourceVersionMatch to {NOT_OLDER_THAN}"
            )
        )
    if match:
        if found.send_initial_events is None:
            problems.append(
                validation.forbidden(
                    path,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is "
                    "provided",
                )
            )
        if match != NOT_OLDER_THAN:
            problems.append(validation.not_supported(path, match, (NOT_OLDER_THAN,)))
        if found.continue_:
            problems.append(
                validation.forbidden(
                    path, "resourceVersionMatch is forbidden when continue is provided"
                )
            )
    return problems


# -- writes ----------------------------------------------------------------------------------------


def write_options(scope: RequestScope, kind: str, patch_type: str = "") -> dict[str, Any]:
    """The CreateOptions, UpdateOptions or PatchOptions (`kind`) of a request, as JSON.

    Raises `APIStatus` (422).
    """
    options: dict[str, Any] = {"kind": kind, "apiVersion": f"{META_GROUP}/v1"}
    if not scope.request.query and kind != "PatchOptions":
        return options
    if force := scope.param("force"):
        options["force"] = to_bool(force)
    if manager := scope.param("fieldManager"):
        options["fieldManager"] = manager
    if dry_run := scope.params("dryRun"):
        options["dryRun"] = dry_run
    if directive := scope.param("fieldValidation"):
        options["fieldValidation"] = directive
    if kind == "PatchOptions":
        _invalid(kind, metav1.validate_patch_options(options, patch_type))
    else:
        _invalid(kind, metav1.validate_create_options(options))
    return options


def field_validation(options: dict[str, Any]) -> str:
    """What to do about unknown and repeated fields: Strict, Warn (the default) or Ignore."""
    return options.get("fieldValidation") or "Warn"


def delete_options(scope: RequestScope, body: Object | None) -> dict[str, Any]:
    """The DeleteOptions of a request: its body if there is one, else its query.

    Raises `APIStatus` (400, 422).
    """
    options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": f"{META_GROUP}/v1"}
    if body is not None:
        options = {**body, **options}
    elif scope.request.query:
        if seconds := scope.param("gracePeriodSeconds"):
            options["gracePeriodSeconds"] = _to_int(seconds)
        if orphan := scope.param("orphanDependents"):
            options["orphanDependents"] = to_bool(orphan)
        if policy := scope.param("propagationPolicy"):
            options["propagationPolicy"] = policy
        if dry_run := scope.params("dryRun"):
            options["dryRun"] = dry_run
    _invalid("DeleteOptions", metav1.validate_delete_options(options))
    return options
