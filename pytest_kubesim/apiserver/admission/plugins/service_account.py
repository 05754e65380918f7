"""ServiceAccount: every pod runs as one, and gets its token and its pull secrets.

The token comes as a projected volume `kube-api-access-...`, mounted into every container that has
nothing at that place.  A pod that is made right after its namespace waits a moment for the
`default` account, which a controller makes.

Follows `plugin/pkg/admission/serviceaccount/admission.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.apimachinery.meta import GroupResource, get_path
from pytest_kubesim.apiserver.admission.chain import (
    CREATE,
    UPDATE,
    Attributes,
    Plugin,
    forbidden,
)

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

DEFAULT = "default"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_NAME = "kube-api-access"
EXPIRATION_SECONDS = 3607
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
ENFORCE_ANNOTATION = "kubernetes.io/enforce-mountable-secrets"
ATTEMPTS = 10
"""How often the `default` account is looked for."""

_PODS = GroupResource("", "pods")
_ACCOUNTS = GroupResource("", "serviceaccounts")
_MS = 1_000_000


class ServiceAccount(Plugin):
    """The plugin."""

    operations = (CREATE, UPDATE)
    resources = frozenset({_PODS})

    async def admit(self, attributes: Attributes, obj: Object | None) -> Object | None:
        """Gives a new pod its account, token and pull secrets."""
        if obj is None or not _concerns(attributes) or attributes.operation != CREATE:
            return obj
        if MIRROR_ANNOTATION in (obj["metadata"].get("annotations") or {}):
            _check_mirror(attributes, obj["spec"])
            return obj
        spec: Object = obj["spec"]
        name = spec.get("serviceAccountName") or DEFAULT
        spec = {**spec, "serviceAccountName": name, "serviceAccount": name}
        account = await _account(attributes, name)
        if _automounts(account, spec):
            spec = _with_token(attributes, spec)
        secrets = account.get("imagePullSecrets")
        if not spec.get("imagePullSecrets") and secrets:
            spec["imagePullSecrets"] = [{"name": each.get("name", "")} for each in secrets]
        return {**obj, "spec": spec}

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses pods whose account is not there or does not allow their secrets."""
        if obj is None or not _concerns(attributes):
            return
        if attributes.operation == UPDATE and attributes.subresource != "ephemeralcontainers":
            return
        spec: Object = obj["spec"]
        name = spec.get("serviceAccountName") or ""
        if MIRROR_ANNOTATION in (obj["metadata"].get("annotations") or {}):
            _check_mirror(attributes, spec)
            return
        if not name:
            raise forbidden(
                attributes,
                f"no service account specified for pod {attributes.namespace}/"
                f"{obj['metadata']['name']}",
            )
        account = await _account(attributes, name)
        annotations = meta.annotations(account)
        if annotations.get(ENFORCE_ANNOTATION) in ("1", "t", "T", "true", "TRUE", "True"):
            _check_secrets(attributes, account, spec)


def _all(node: Object, field: str) -> list[Object]:
    found: list[Object] = node.get(field) or []
    return found


def _concerns(attributes: Attributes) -> bool:
    return attributes.subresource in ("", "ephemeralcontainers")


async def _account(attributes: Attributes, name: str) -> Object:
    """The account, waited for where it is the default one.  Raises `APIStatus` (403)."""
    server, namespace = attributes.server, attributes.namespace
    found = server.reader.get(_ACCOUNTS, namespace, name)
    if found is None and name == DEFAULT:
        pod = attributes.name or server.process.name
        interval_ns = _MS * (
            100 + server.kernel.rng.below(100, "serviceaccount-retry", namespace, pod)
        )
        for _ in range(ATTEMPTS - 1):
            await server.kernel.sleep(interval_ns)
            found = server.reader.get(_ACCOUNTS, namespace, name)
            if found is not None:
                break
    if found is None:
        missing = status.new_not_found(GroupResource("", "serviceaccount"), name)
        raise forbidden(
            attributes, f"error looking up service account {namespace}/{name}: {missing}"
        )
    return found


def _automounts(account: Object, spec: Object) -> bool:
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.get("automountServiceAccountToken")
    return wanted is None or bool(wanted)


def _with_token(attributes: Attributes, spec: Object) -> Object:
    """The pod with the token mounted where nothing is."""
    volumes: list[Object] = spec.get("volumes") or []
    own = next((v["name"] for v in volumes if v["name"].startswith(f"{VOLUME_NAME}-")), "")
    name = own or _volume_name(attributes)
    mount = {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}
    changed: dict[str, Any] = {}
    for field in ("initContainers", "containers"):
        containers: list[Object] = spec.get(field) or []
        mounted = [_with_mount(container, mount) for container in containers]
        if any(new is not old for new, old in zip(mounted, containers, strict=True)):
            changed[field] = mounted
    if not changed:
        return spec
    if not own:
        changed["volumes"] = [*volumes, {"name": name, "projected": token_source()}]
    return {**spec, **changed}


def _with_mount(container: Object, mount: Object) -> Object:
    mounts: list[Object] = container.get("volumeMounts") or []
    if any(each.get("mountPath") == MOUNT_PATH for each in mounts):
        return container
    return {**container, "volumeMounts": [*mounts, mount]}


def _volume_name(attributes: Attributes) -> str:
    server = attributes.server
    obj = attributes.obj or {}
    metadata: Object = obj.get("metadata") or {}
    who = metadata.get("name") or metadata.get("generateName") or ""
    return server.draw_name(f"volume/{attributes.namespace}/{who}/{VOLUME_NAME}-")


def token_source() -> Object:
    """What is in the volume: token, root certificate, namespace."""
    return {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": EXPIRATION_SECONDS, "path": "token"}},
            {
                "configMap": {
                    "name": "kube-root-ca.crt",
                    "items": [{"key": "ca.crt", "path": "ca.crt"}],
                }
            },
            {
                "downwardAPI": {
                    "items": [
                        {
                            "path": "namespace",
                            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                        }
                    ]
                }
            },
        ],
        "defaultMode": 420,
    }


def _check_mirror(attributes: Attributes, spec: Object) -> None:
    if spec.get("serviceAccountName"):
        raise forbidden(attributes, "a mirror pod may not reference service accounts")
    for volume in _all(spec, "volumes"):
        if volume.get("secret") is not None:
            raise forbidden(attributes, "a mirror pod may not reference secrets")
        for source in _all(volume.get("projected") or {}, "sources"):
            if source.get("serviceAccountToken") is not None:
                raise forbidden(
                    attributes, "a mirror pod may not use ServiceAccountToken volume projections"
                )


def _check_secrets(attributes: Attributes, account: Object, spec: Object) -> None:
    """Secrets that the account does not list are refused (`limitSecretReferences`)."""
    who: str = account["metadata"]["name"]
    suffix = f"because service account {who} does not reference that secret"
    allowed = {str(each.get("name")) for each in _all(account, "secrets")}
    if attributes.subresource:
        # Only what is being added is looked at.
        _check_containers(attributes, spec, (_EPHEMERAL,), allowed, suffix)
        return
    for volume in _all(spec, "volumes"):
        name = get_path(volume, "secret", "secretName")
        if volume.get("secret") is not None and name not in allowed:
            raise forbidden(
                attributes, f'volume with secret.secretName="{name or ""}" is not allowed {suffix}'
            )
    _check_containers(attributes, spec, _CONTAINERS, allowed, suffix)
    pulls = {each.get("name") for each in _all(account, "imagePullSecrets")}
    for index, reference in enumerate(_all(spec, "imagePullSecrets")):
        name = reference.get("name")
        if name not in pulls:
            raise forbidden(
                attributes,
                f'imagePullSecrets[{index}].name="{name}" is not allowed because service account '
                f"{who} does not reference that imagePullSecret",
            )


_CONTAINERS = (("initContainers", "init container"), ("containers", "container"))
_EPHEMERAL = ("ephemeralContainers", "ephemeral container")


def _check_containers(
    attributes: Attributes,
    spec: Object,
    fields: tuple[tuple[str, str], ...],
    allowed: set[str],
    suffix: str,
) -> None:
    for field, label in fields:
        for container in _all(spec, field):
            for where, name in _references(container):
                if name not in allowed:
                    raise forbidden(
                        attributes,
                        f"{label} {container['name']} with {where} referencing "
                        f'secret.secretName="{name}" is not allowed {suffix}',
                    )


def _references(container: Object) -> list[tuple[str, str]]:
    """Where a container's environment names secrets, and which."""
    found: list[tuple[str, str]] = []
    for variable in _all(container, "env"):
        reference = get_path(variable, "valueFrom", "secretKeyRef")
        if reference is not None:
            found.append((f"envVar {variable['name']}", reference.get("name") or ""))
    for source in _all(container, "envFrom"):
        if source.get("secretRef") is not None:
            found.append(("envFrom", source["secretRef"].get("name") or ""))
    return found


PLUGIN = ServiceAccount()
