"""The description of the remote control, as OpenAPI 3.0."""

from __future__ import annotations

from typing import Any

from pytest_kubesim import __version__

Object = dict[str, Any]

_TEXT: Object = {"type": "string"}
_NUMBER: Object = {"type": "number"}
_WHOLE: Object = {"type": "integer"}
_FLAG: Object = {"type": "boolean"}
_ANY: Object = {"type": "object", "additionalProperties": True}


def _described(schema: Object, description: str) -> Object:
    return {**schema, "description": description}


_DURATION = _described(
    _TEXT, "Virtual time: '90s', '5m', '1h30m', '250ms'; or a number of seconds."
)


def _object(description: str, required: tuple[str, ...] = (), **properties: Object) -> Object:
    schema: Object = {"type": "object", "description": description, "properties": properties}
    if required:
        schema["required"] = list(required)
    return schema


def _list(schema: str) -> Object:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{schema}"}}


_SCHEMAS: Object = {
    "Fault": _object(
        "A fault that was armed.",
        ("id", "fault", "armed", "seen", "struck"),
        id=_described(_WHOLE, "Its number: faults are counted from 1."),
        fault=_described(_TEXT, "The Python that makes it."),
        armed=_described(_FLAG, "Whether it can still strike."),
        seen=_described(_WHOLE, "How many occurrences it was meant for."),
        struck=_described(_WHOLE, "How often it has struck."),
    ),
    "FaultList": _object("Faults.", items=_list("Fault")),
    "NewFault": _object(
        "A fault, said as Python in `fault`, or in parts.",
        fault={
            **_TEXT,
            "description": "A chain of calls on kubesim.faults with literal arguments.",
            "example": "kubesim.faults.api(client='manager', verb='update').reset(times=2)",
        },
        target=_described(_TEXT, "Where: a method of kubesim.faults, such as `api` or `node`."),
        match=_described(_ANY, "Its arguments, such as client, verb, resource, name."),
        effect=_described(_TEXT, "What: a method of the target, such as `fail` or `reset`."),
        options=_described(_ANY, "Its arguments, such as code, times, after."),
    ),
    "Clock": _object(
        "The clock.",
        ("now", "elapsedSeconds", "scale", "frozen"),
        now={**_TEXT, "format": "date-time"},
        elapsedSeconds=_described(_NUMBER, "Virtual seconds since the cluster was made."),
        scale=_described(_NUMBER, "Virtual seconds per real second, unless frozen."),
        frozen=_FLAG,
    ),
    "Entry": _object(
        "Something that happened.",
        ("time", "sequence", "kind", "actor", "fields"),
        time={**_TEXT, "format": "date-time"},
        sequence=_WHOLE,
        kind=_described(_TEXT, "request, watch, fault, container, node, process, ..."),
        actor=_described(_TEXT, "Who did it, or to whom it happened: a client's program name."),
        fields=_ANY,
    ),
    "Journal": _object(
        "Entries of the journal, the oldest first.",
        ("items", "next"),
        items=_list("Entry"),
        next=_described(_WHOLE, "What to give as `since` to go on."),
    ),
    "Backup": _object(
        "All that is stored.",
        ("version", "revision", "keys"),
        version=_WHOLE,
        revision=_WHOLE,
        keys={"type": "array", "items": {"type": "array", "items": {}}},
    ),
    "Restored": _object("What a restore did.", ("changes",), changes=_described(
        _WHOLE, "How many keys were written or deleted.")),
    "Status": _object(
        "A refusal.", kind=_TEXT, apiVersion=_TEXT, status=_TEXT, message=_TEXT, reason=_TEXT,
        code=_WHOLE,
    ),
}


def _content(schema: str | Object) -> Object:
    found = {"$ref": f"#/components/schemas/{schema}"} if isinstance(schema, str) else schema
    return {"application/json": {"schema": found}}


def _operation(
    summary: str,
    answer: str | Object,
    *,
    code: int = 200,
    body: str | Object | None = None,
    parameters: tuple[Object, ...] = (),
    refusals: tuple[int, ...] = (401, 403),
) -> Object:
    found: Object = {
        "summary": summary,
        "responses": {
            str(code): {"description": "Done.", "content": _content(answer)},
            **{
                str(each): {"description": "Refused.", "content": _content("Status")}
                for each in refusals
            },
        },
    }
    if body is not None:
        found["requestBody"] = {"content": _content(body)}
    if parameters:
        found["parameters"] = list(parameters)
    return found


def _query(name: str, schema: Object, description: str) -> Object:
    return {"name": name, "in": "query", "schema": schema, "description": description}


_ID: Object = {"name": "id", "in": "path", "required": True, "schema": _TEXT}
_BAD = (400, 401, 403)
_ABSENT = (401, 403, 404)
_NAMES = _object("Names.", items={"type": "array", "items": _TEXT})


def _paths() -> Object:
    return {
        "": {"get": _operation("What is served, and the paths.", _ANY)},
        "/openapi.json": {
            "get": {**_operation("This document.", _ANY, refusals=()), "security": []}
        },
        "/faults": {
            "get": _operation("All faults that were armed.", "FaultList"),
            "post": _operation("Arm a fault.", "Fault", code=201, body="NewFault", refusals=_BAD),
            "delete": _operation("End all faults.", "FaultList"),
        },
        "/faults/{id}": {
            "get": _operation("A fault.", "Fault", parameters=(_ID,), refusals=_ABSENT),
            "delete": _operation("End a fault.", "Fault", parameters=(_ID,), refusals=_ABSENT),
        },
        "/clock": {"get": _operation("The clock.", "Clock")},
        "/clock/advance": {
            "post": _operation(
                "Let virtual time pass at once; answers when all that fell due has run.", "Clock",
                body=_object("How much.", ("duration",), duration=_DURATION), refusals=_BAD,
            )
        },
        "/clock/freeze": {
            "post": _operation(
                "Have the clock stand, or go on; it is turned by `advance` alone meanwhile.",
                "Clock", body=_object("Whether.", frozen={**_FLAG, "default": True}), refusals=_BAD,
            )
        },
        "/clock/scale": {
            "post": _operation(
                "Have the clock go faster or slower.", "Clock",
                body=_object("How fast.", ("scale",), scale=_described(
                    _NUMBER, "Virtual seconds per real second, above 0.")),
                refusals=_BAD,
            )
        },
        "/settle": {
            "post": _operation(
                "Let time pass until nothing changes any more, here or by clients outside.",
                "Clock",
                body=_object("How long at most.", timeout={**_DURATION, "default": "10m"}),
                refusals=(*_BAD, 504),
            )
        },
        "/journal": {
            "get": _operation(
                "What happened.", "Journal", refusals=_BAD,
                parameters=(
                    _query("since", _WHOLE, "The sequence number to begin with."),
                    _query("limit", {**_WHOLE, "default": 1000}, "How many entries at most."),
                    _query("kind", _TEXT, "Only entries of that kind."),
                    _query("actor", _TEXT, "Only entries of that actor."),
                ),
            )
        },
        "/snapshot": {
            "get": _operation("All that is stored, to keep it.", "Backup"),
            "put": _operation(
                "Store what was kept, and nothing else; the body may be compressed with gzip.",
                "Restored", body="Backup", refusals=_BAD,
            ),
        },
        "/snapshots": {"get": _operation("The names of snapshots that are kept here.", _NAMES)},
        "/snapshots/{id}": {
            "put": _operation(
                "Keep all that is stored under a name.",
                _object("What is kept.", name=_TEXT, keys=_WHOLE), code=201, parameters=(_ID,),
            ),
            "delete": _operation(
                "Forget a snapshot.", _NAMES, parameters=(_ID,), refusals=_ABSENT
            ),
        },
        "/snapshots/{id}/restore": {
            "post": _operation(
                "Store what was kept under that name, and nothing else.", "Restored",
                parameters=(_ID,), refusals=_ABSENT,
            )
        },
    }


def document() -> Object:
    """The document."""
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "kubesim: remote control",
            "version": __version__,
            "description": "Faults, the clock and the journal of a cluster that `kubesim serve` "
            "or `kubesim envtest` serves, for somebody of system:masters.",
        },
        "servers": [{"url": "/kubesim/v1"}],
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
