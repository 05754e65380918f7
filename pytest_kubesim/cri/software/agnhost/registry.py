"""fake-registry-server: OCI images of `/var/registry` over HTTP.

The law: what it serves are files of the container; the image brings `pause:testing`, made up as all
images of the simulation are.  Follows `test/images/agnhost/fakeregistryserver`.
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pytest_kubesim.cri import http1
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.software.agnhost.flags import forever, log, parse

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc

FOLDER = "/var/registry"
USER, PASSWORD = "user", "password"
_NOT_FOUND = http1.Response(404, b"404 page not found\n")
_OCI = "application/vnd.oci.image"


def place_of(folder: str, digest: str) -> str:
    """Where what has a digest lies below a folder."""
    algorithm, colon, digits = digest.partition(":")
    if not colon or len(digits) < 2:
        return f"{folder}/{digest}"
    return f"{folder}/{algorithm}/{digits[:2]}/{digits}/data"


async def fake_registry_server(proc: Proc, args: list[str]) -> int:
    """`fake-registry-server [--port n] [--private]`."""
    flags = await parse(proc, args, {"port": "5000", "private": "false"}, ("private",))
    await log(proc, f"Registry server starting with registry directory: {FOLDER}")
    private = flags.truth("private")
    wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    async def answer(request: http1.Request) -> http1.Response:
        if not request.path.startswith("/v2/"):
            return _NOT_FOUND
        if private and request.headers.get("authorization") != wanted:
            challenge = {"WWW-Authenticate": 'Basic realm="Restricted"'}
            return http1.Response(401, b"Unauthorized\n", challenge)
        found = await _found(proc, request)
        headers = {**found.headers, "Docker-Distribution-Api-Version": "registry/2.0"}
        return http1.Response(found.status, found.body, headers)

    proc.system.serve(flags.number("port"), lambda stream: http1.serve(stream, answer))
    await log(proc, f"HTTP server starting to listen on :{flags['port']}")
    return await forever(proc)


async def _found(proc: Proc, request: http1.Request) -> http1.Response:
    parts = request.path.removeprefix("/v2/").split("/")
    if parts == [""]:
        return http1.Response(200)
    if len(parts) < 3:
        return _NOT_FOUND
    image, kind, name = parts[:3]
    folder = f"{FOLDER}/{image}/{kind}"
    if kind == "blobs":
        place = place_of(folder, name)
        await log(proc, f"Serving blob: {place}")
        return await _file(proc, place, "application/octet-stream")
    if kind != "manifests":
        return _NOT_FOUND
    if not name.startswith("sha256:"):
        await log(proc, f"Looking for tag file: {folder}/{name}")
        tag = await _file(proc, f"{folder}/{name}", "")
        if tag.status != 200:
            return tag
        target = request.target.replace(name, tag.body.decode().strip(), 1)
        return http1.Response(307, b"", {"Location": target})
    place = place_of(folder, name)
    await log(proc, f"Serving manifest: {place}")
    found = await _file(proc, place, "")
    if found.status != 200:
        return found
    media: str = json.loads(found.body).get("mediaType") or ""
    return http1.Response(200, found.body, {"Content-Type": media} if media else {})


async def _file(proc: Proc, place: str, content_type: str) -> http1.Response:
    try:
        body = await proc.contents(place)
    except Fault:
        return _NOT_FOUND
    return http1.Response(200, body, {"Content-Type": content_type} if content_type else {})


def texts_of(image: str, tag: str) -> dict[str, str]:
    """The files of an image in the registry's folder."""
    root = f"{FOLDER.strip('/')}/{image}"
    found: dict[str, str] = {}

    def keep(kind: str, text: str) -> dict[str, Any]:
        digest = f"sha256:{sha256(text.encode()).hexdigest()}"
        found[place_of(f"{root}/{kind}", digest)] = text
        return {"digest": digest, "size": len(text)}

    platform = {"architecture": "amd64", "os": "linux"}
    layer = {
        "mediaType": f"{_OCI}.layer.v1.tar+gzip", **keep("blobs", f"the layer of {image}:{tag}")
    }
    config = {**platform, "config": {"Entrypoint": [f"/{image}"]}, "rootfs": {"type": "layers"}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": {"mediaType": f"{_OCI}.config.v1+json", **keep("blobs", json.dumps(config))},
        "layers": [layer],
    }
    listed = {
        "mediaType": manifest["mediaType"], **keep("manifests", json.dumps(manifest)),
        "platform": platform,
    }
    index = {
        "schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": [listed],
    }
    found[f"{root}/manifests/{tag}"] = keep("manifests", json.dumps(index))["digest"] + "\n"
    return found


TEXTS = texts_of("pause", "testing")
COMMANDS = {"fake-registry-server": fake_registry_server}
