"""What an API server in a pod asks of the cluster's: whom to believe, and what they may.

The law: it asks as its service account, over the pods' network, and remembers answers for ten
seconds.  Whoever shows a certificate of the front proxy may say in headers who asks.  Where the
cluster publishes no certificate to believe (one inside a test has none), the control plane is known
by its address.

Follows `apiserver/pkg/server/options/{authentication,authorization}.go`,
`pkg/authentication/request/headerrequest` and `plugin/pkg/{authenticator,authorizer}/.../webhook`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import attrs

from pytest_kubesim.apimachinery import status, x509
from pytest_kubesim.cri.software.in_cluster import Unavailable, ask
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.linux.process import Proc
    from pytest_kubesim.sim.pipes import Stream
    from pytest_kubesim.wire import Request

AGENT = "sample-apiserver/v0.0.0 (linux/amd64) kubernetes/$Format"
NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"
KEPT_NS, LOOKED_UP_NS = 10 * NS, 60 * NS
AUTHENTICATED = "system:authenticated"
ANONYMOUS = UserInfo("system:anonymous", ("system:unauthenticated",))
_EXTRA = "x-remote-extra-"


@attrs.frozen(slots=True)
class Believed:
    """The ConfigMap that says whom to believe; `published`: whether there is one."""

    published: bool
    proxy_bundle: bytes = b""
    client_bundle: bytes = b""
    allowed: tuple[str, ...] = ()
    names: tuple[str, ...] = ("x-remote-user",)
    uids: tuple[str, ...] = ("x-remote-uid",)
    groups: tuple[str, ...] = ("x-remote-group",)
    extras: tuple[str, ...] = (_EXTRA,)


def _listed(data: Object, key: str) -> tuple[str, ...]:
    return tuple(name.lower() for name in json.loads(data.get(f"requestheader-{key}") or "[]"))


async def look_up(proc: Proc) -> Believed:
    """What the ConfigMap says now.  Raises `Unavailable`."""
    try:
        found = await ask(proc, AGENT, "GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}")
    except Unavailable as error:
        if error.code == 404:
            return Believed(published=False)
        raise
    data: Object = found.get("data") or {}
    return Believed(
        True,
        (data.get("requestheader-client-ca-file") or "").encode(),
        (data.get("client-ca-file") or "").encode(),
        tuple(json.loads(data.get("requestheader-allowed-names") or "[]")),
        _listed(data, "username-headers"),
        _listed(data, "uid-headers"),
        _listed(data, "group-headers"),
        _listed(data, "extra-headers-prefix"),
    )


class Delegation:
    """Who asks, and what they may, as the cluster says it.

    Parameters: `proc` of the server; `believed` at first; `control_plane`, its address.
    """

    def __init__(self, proc: Proc, believed: Believed, control_plane: str) -> None:
        self._proc = proc
        self._believed = believed
        self._looked_up_ns = proc.system.now_ns()
        self._control_plane = control_plane
        self._kept: dict[str, tuple[int, Any]] = {}

    # -- who asks -----------------------------------------------------------------------------

    async def authenticate(self, request: Request, stream: Stream) -> UserInfo | None:
        """Whose request it is; None for a token that is nobody's."""
        believed = await self._current()
        user = self._by_headers(believed, request, stream) or self._by_certificate(believed, stream)
        scheme, _, token = request.header("authorization").partition(" ")
        if user is None and scheme.lower() == "bearer" and token.strip():
            user = await self._by_token(token.strip())
            if user is None:
                return None
        if user is None:
            return ANONYMOUS
        if AUTHENTICATED in user.groups:
            return user
        return attrs.evolve(user, groups=(*user.groups, AUTHENTICATED))

    async def _current(self) -> Believed:
        now_ns = self._proc.system.now_ns()
        if now_ns - self._looked_up_ns >= LOOKED_UP_NS:
            self._looked_up_ns = now_ns
            try:
                self._believed = await look_up(self._proc)
            except Unavailable:
                # What was known stays known.
                pass
        return self._believed

    def _by_headers(self, believed: Believed, request: Request, stream: Stream) -> UserInfo | None:
        values: dict[str, list[str]] = {}
        for name, value in request.headers:
            values.setdefault(name, []).append(value)
        name = next((values[key][0] for key in believed.names if key in values), "")
        if not name or not self._is_proxy(believed, stream):
            return None
        groups = [group for key in believed.groups for group in values.get(key, ())]
        extra = {
            unquote(key.removeprefix(prefix)): tuple(found)
            for prefix in believed.extras
            for key, found in values.items()
            if key.startswith(prefix)
        }
        uid = next((values[key][0] for key in believed.uids if key in values), "")
        return UserInfo(name, tuple(groups), uid, extra)

    def _is_proxy(self, believed: Believed, stream: Stream) -> bool:
        """Whether who has connected may speak for others."""
        if not believed.published:
            return stream.remote[0] == self._control_plane
        if not believed.proxy_bundle or not self._signed(stream, believed.proxy_bundle):
            return False
        return not believed.allowed or x509.subject(stream.shown)[0] in ("", *believed.allowed)

    def _signed(self, stream: Stream, bundle: bytes) -> bool:
        if not stream.shown:
            return False
        try:
            x509.check(stream.shown, bundle, "", self._proc.system.now_ns())
        except x509.CertificateError:
            return False
        return True

    def _by_certificate(self, believed: Believed, stream: Stream) -> UserInfo | None:
        if not believed.client_bundle or not self._signed(stream, believed.client_bundle):
            return None
        name, groups = x509.subject(stream.shown)
        return UserInfo(name, groups) if name else None

    async def _by_token(self, token: str) -> UserInfo | None:
        review = await self._remembered("authentication.k8s.io", "tokenreviews", {"token": token})
        answer: Object = review.get("status") or {}
        if not answer.get("authenticated"):
            return None
        user: Object = answer["user"]
        given: dict[str, list[str]] = user.get("extra") or {}
        extra = {key: tuple(values) for key, values in given.items()}
        return UserInfo(
            user.get("username") or "", tuple(user.get("groups") or ()), user.get("uid") or "",
            extra,
        )

    # -- what they may ------------------------------------------------------------------------

    async def authorize(self, spec: Object) -> tuple[str, str]:
        """What is decided, and why.  Raises: `APIStatus` (500) where nobody could be asked."""
        try:
            review = await self._remembered(
                "authorization.k8s.io", "subjectaccessreviews", spec, strict=True
            )
        except Unavailable as error:
            raise status.new_internal_error(error) from None
        answer: Object = review.get("status") or {}
        reason: str = answer.get("reason") or ""
        if answer.get("allowed"):
            return "allow", reason
        return "deny" if answer.get("denied") else "no-opinion", reason

    async def _remembered(
        self, group: str, plural: str, spec: Object, *, strict: bool = False
    ) -> Object:
        """The answer to a review, at most ten seconds old; without an answer nothing is known."""
        now_ns, key = self._proc.system.now_ns(), json.dumps([plural, spec])
        until_ns, found = self._kept.get(key, (0, None))
        if now_ns < until_ns:
            return found
        kind = "TokenReview" if plural == "tokenreviews" else "SubjectAccessReview"
        body: Object = {"apiVersion": f"{group}/v1", "kind": kind, "spec": spec}
        try:
            found = await ask(self._proc, AGENT, "POST", f"/apis/{group}/v1/{plural}", body)
        except Unavailable:
            if strict:
                raise
            return {}
        self._kept = {k: kept for k, kept in self._kept.items() if kept[0] > now_ns}
        self._kept[key] = (now_ns + KEPT_NS, found)
        return found
