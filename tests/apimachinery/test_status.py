"""Refusals say what upstream says, to the letter and in its order of fields."""

from __future__ import annotations

import json

import pytest

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupKind, GroupResource
from pytest_kubesim.apimachinery.validation import Path, invalid, required

PODS = GroupResource("", "pods")
DEPLOYMENTS = GroupResource("apps", "deployments")


def test_the_json_has_upstreams_fields_in_upstreams_order():
    assert json.dumps(status.new_not_found(DEPLOYMENTS, "web").to_object()) == (
        '{"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", '
        '"message": "deployments.apps \\"web\\" not found", "reason": "NotFound", '
        '"details": {"name": "web", "group": "apps", "kind": "deployments"}, "code": 404}'
    )


@pytest.mark.parametrize(
    ("error", "code", "reason", "message"),
    [
        (status.new_already_exists(PODS, "p"), 409, "AlreadyExists", 'pods "p" already exists'),
        (
            status.new_conflict(PODS, "p", status.OPTIMISTIC_LOCK_ERROR),
            409,
            "Conflict",
            (
                'Operation cannot be fulfilled on pods "p": the object has been modified; please '
                "apply your changes to the latest version and try again"
            ),
        ),
        (status.new_forbidden(PODS, "p", "no"), 403, "Forbidden", 'pods "p" is forbidden: no'),
        (status.new_forbidden(PODS, "", "no"), 403, "Forbidden", "pods is forbidden: no"),
        (status.new_forbidden(GroupResource("", ""), "", "no"), 403, "Forbidden", "forbidden: no"),
        (status.new_unauthorized(), 401, "Unauthorized", "not authorized"),
        (
            status.new_method_not_supported(PODS, "patch"),
            405,
            "MethodNotAllowed",
            'patch is not supported on resources of kind "pods"',
        ),
        (status.new_internal_error("x"), 500, "InternalError", "Internal error occurred: x"),
        (status.new_timeout_error("t", 5), 504, "Timeout", "Timeout: t"),
        (
            status.new_server_timeout(PODS, "get", 2),
            500,
            "ServerTimeout",
            "The get operation against pods could not be completed at this time, please try again.",
        ),
        (status.new_resource_expired("old"), 410, "Expired", "old"),
        (
            status.new_unsupported_media_type(["a/b", "c/d"]),
            415,
            "UnsupportedMediaType",
            (
                "the body of the request was in an unknown format - accepted media types include: "
                "a/b, c/d"
            ),
        ),
    ],
)
def test_constructors_speak_upstreams_words(error, code, reason, message):
    assert (error.code, error.reason, error.message) == (code, reason, message)
    assert str(error) == message


def test_an_invalid_object_repeats_causes_and_says_each_once():
    path = Path("spec").child("replicas")
    errors = [invalid(path, -1, "bad"), invalid(path, -1, "bad"), required(Path("x"))]
    error = status.new_invalid(GroupKind("apps", "Deployment"), "d", errors)
    assert error.message == (
        'Deployment.apps "d" is invalid: [spec.replicas: Invalid value: -1: bad, x: Required value]'
    )
    assert len(error.causes) == 3
    assert error.causes[0] == {
        "reason": "FieldValueInvalid",
        "message": "Invalid value: -1: bad",
        "field": "spec.replicas",
    }
    single = status.new_invalid(GroupKind("", "Pod"), "", errors[:2])
    assert single.message == 'Pod "" is invalid: spec.replicas: Invalid value: -1: bad'


def test_a_failing_json_patch_is_answered_without_details():
    error = status.new_generic_server_response(422, "", GroupResource("", ""), "", "test failed")
    assert error.to_object() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "the server rejected our request due to an error in our request",
        "reason": "Invalid",
        "details": {},
        "code": 422,
    }


def test_a_generic_answer_names_what_was_asked():
    error = status.new_generic_server_response(404, "GET", DEPLOYMENTS, "web", "")
    assert error.message == (
        "the server could not find the requested resource (get deployments.apps web)"
    )
    assert status.new_generic_server_response(409, "POST", PODS, "", "").reason == "AlreadyExists"


def test_predicates_read_the_reason_and_else_the_code():
    assert status.is_not_found(status.new_not_found(PODS, "p"))
    assert status.is_not_found(status.APIStatus(404, "Strange", ""))
    assert not status.is_not_found(status.APIStatus(404, "Forbidden", ""))
    assert not status.is_not_found(ValueError())
    assert not status.is_conflict(None)
    assert not status.is_conflict(status.new_already_exists(PODS, "p"))
    assert status.is_too_many_requests(status.APIStatus(429, "Forbidden", ""))


def test_a_delay_is_suggested_only_with_seconds():
    assert status.suggests_client_delay(status.new_too_many_requests("m", 3)) == 3
    assert status.suggests_client_delay(status.new_not_found(PODS, "p")) is None


def test_a_status_survives_the_wire():
    error = status.new_too_large_resource_version(9, 5, 1)
    assert status.from_object(error.to_object()).to_object() == error.to_object()
    assert error.has_cause(status.RESOURCE_VERSION_TOO_LARGE)
