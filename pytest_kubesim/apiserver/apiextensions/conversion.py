"""How an object of a definition comes into another of its versions.

With strategy `None` nothing but its apiVersion changes.  With `Webhook` somebody outside is asked:
by the server's `conversion_webhook`, a function of the webhook's client configuration and a
ConversionReview, or else by what carries its admission reviews (`call_webhook`).  Objects are
converted while they are read; who reads them waits for the answer (`patience`).

Follows `apiextensions-apiserver/pkg/apiserver/conversion/{converter,nop_converter,
webhook_converter}.go`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from pytest_kubesim.apimachinery import meta, objectmeta, validation
from pytest_kubesim.apimachinery.golang import quote, type_name
from pytest_kubesim.apimachinery.meta import Object, get_path, parse_api_version
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.apimachinery.validation import Path
from pytest_kubesim.apiserver import patience, webhook_client

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.server import APIServer

Convert: TypeAlias = Callable[[Object, str], Object]
"""From an object and an apiVersion to the object in it; raises `ConversionError`."""

Webhook: TypeAlias = Callable[[Object, Object], Object]
"""From `spec.conversion.webhook.clientConfig` and a ConversionReview to the review with its
response.  Raises `ValueError` with what went wrong on the way."""

TIMEOUT_SECONDS = 30

_GROUP = "apiextensions.k8s.io"


class ConversionError(ValueError):
    """Why an object cannot be had in a version, in upstream's words."""


def converter(server: APIServer, crd: Object) -> Convert:
    """The conversion of a definition."""
    group: str = crd["spec"]["group"]
    known = {f"{group}/{version['name']}" for version in crd["spec"]["versions"]}
    by_webhook = get_path(crd, "spec", "conversion", "strategy") == "Webhook"

    def convert(obj: Object, api_version: str) -> Object:
        found = obj.get("apiVersion") or ""
        if api_version not in known:
            raise ConversionError(
                f"request to convert CR to an invalid group/version: {api_version}"
            )
        if found not in known:
            raise ConversionError(f"request to convert CR from an invalid group/version: {found}")
        if not by_webhook or found == api_version or obj.keys() <= {"kind", "apiVersion"}:
            return {**obj, "apiVersion": api_version}
        return _by_webhook(server, crd, obj, api_version)

    return convert


def _by_webhook(server: APIServer, crd: Object, obj: Object, api_version: str) -> Object:
    webhook: Object = crd["spec"]["conversion"]["webhook"]
    version = _review_version(webhook)
    name: str = crd["metadata"]["name"]

    async def ask() -> list[Any]:
        uid = server.draw_uid(f"conversion/{name}")
        review: Object = {
            "kind": "ConversionReview",
            "apiVersion": f"{_GROUP}/{version}",
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": [obj]},
            "response": {"uid": "", "convertedObjects": None, "result": {"metadata": {}}},
        }
        answer = await _answered(server, webhook.get("clientConfig") or {}, review)
        return _converted(answer, version, uid)

    who = f"conversion webhook for {meta.gvk(obj)}"
    try:
        key = json.dumps([name, api_version, obj], sort_keys=True)
        converted = patience.asked(key, ask)
    except ValueError as error:
        raise ConversionError(f"{who} failed: {error}") from None
    if len(converted) != 1:
        raise ConversionError(f"{who} returned {len(converted)} objects, expected 1")
    return _checked(who, obj, converted[0], api_version)


async def _answered(server: APIServer, client_config: Object, review: Object) -> Object:
    """The review that came back.  Raises `ValueError`."""
    if server.conversion_webhook is not None:
        return server.conversion_webhook(client_config, review)
    try:
        return await webhook_client.post(server, client_config, review, TIMEOUT_SECONDS)
    except (webhook_client.CallError, APIStatus) as error:
        raise ConversionError(webhook_client.text_of(error)) from None


def _review_version(webhook: Object) -> str:
    """The first version of the review that both sides know."""
    versions: list[str] = webhook.get("conversionReviewVersions") or []
    for version in versions:
        if version in ("v1", "v1beta1"):
            return version
    raise ConversionError("no supported conversion review versions")


def _converted(review: Object, version: str, uid: str) -> list[Any]:
    """The objects in a response.  Raises `ValueError`."""
    if version == "v1":
        wanted = meta.GroupVersionKind(_GROUP, "v1", "ConversionReview")
        found = meta.gvk(review)
        if found != wanted:
            raise ConversionError(f"expected webhook response of {wanted}, got {found}")
    response: Object | None = review.get("response")
    if response is None:
        raise ConversionError("no response provided")
    if version == "v1" and response.get("uid") != uid:
        given = response.get("uid") or ""
        raise ConversionError(f"expected response.uid={quote(uid)}, got {quote(given)}")
    result: Object = response.get("result") or {}
    if result.get("status") != "Success":
        message = result.get("message")
        state = result.get("status") or ""
        raise ConversionError(message or f"response.result.status was '{state}', not 'Success'")
    return response.get("convertedObjects") or []


def _checked(who: str, before: Object, value: Any, api_version: str) -> Object:
    """What came back, with the metadata that may not change.  Raises `ValueError`."""
    after = cast("Object", value) if isinstance(value, dict) else {}
    invalid = f"{who} returned invalid object at index 0"
    if after.get("apiVersion") != api_version:
        wanted, found = (
            parse_api_version(api_version),
            parse_api_version(after.get("apiVersion") or ""),
        )
        raise ConversionError(
            f"{invalid}: invalid groupVersion (expected {wanted}, received {found})"
        )
    if after.get("kind") != before.get("kind"):
        kinds = f"expected {before.get('kind')}, received {after.get('kind') or ''}"
        raise ConversionError(f"{invalid}: invalid kind ({kinds})")
    for label, of in (("name", meta.name), ("namespace", meta.namespace), ("UID", meta.uid)):
        if of(before) != of(after):
            raise ConversionError(
                f"{who} returned invalid object: must have the same {label}: "
                f"{of(before)} != {of(after)}"
            )
    try:
        return {**after, "metadata": _metadata(before, after)}
    except ValueError as error:
        raise ConversionError(f"{who} returned invalid metadata: {error}") from None


def _metadata(before: Object, after: Object) -> Object:
    """The metadata of old with the labels and annotations of the answer (`restoreObjectMeta`)."""
    given = after.get("metadata")
    if "metadata" not in after:
        raise ConversionError("missing metadata in converted object")
    if not isinstance(given, dict):
        raise ConversionError(f"invalid metadata of type {type_name(given)} in converted object")
    metadata: Object = dict(before["metadata"])
    fields = cast("Object", given)
    for name in ("labels", "annotations"):
        texts = fields.get(name)
        if texts is None:
            metadata.pop(name, None)
            continue
        if not isinstance(texts, dict):
            kind = type_name(texts)
            raise ConversionError(f"invalid metadata.{name} of type {kind} in converted object")
        metadata[name] = _texts(name, metadata.get(name), cast("Object", texts))
    return metadata


def _texts(name: str, before: Object | None, after: Object) -> Object:
    for key, value in after.items():
        if not isinstance(value, str):
            kind = type_name(value)
            raise ConversionError(
                f"metadata.{name}[{key}] must be a string, but is {kind} in converted object"
            )
    if after != before:
        if name == "labels":
            errors = objectmeta.validate_labels(after, Path("metadata", "labels"))
        else:
            errors = objectmeta.validate_annotations(after, Path("metadata", "annotation"))
        if errors:
            raise ConversionError(validation.aggregate(errors))
    return after
