"""The certificates of ClusterTrustBundles, as a projected volume shows them.

Follows `pkg/kubelet/clustertrustbundle/clustertrustbundle_manager.go`: each certificate once, in no
order that means something; no selector matches nothing, an empty one everything.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import labels
from pytest_kubesim.client_go.resources import CLUSTERTRUSTBUNDLES
from pytest_kubesim.kubelet.errors import ContentProblem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.host import Host
    from pytest_kubesim.kubelet.references import References

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


async def trust_anchors(host: Host, references: References, ref: Object) -> bytes:
    """What a source `clusterTrustBundle` of a projected volume says.

    Raises: `ContentProblem` where nothing is found and the source is not optional.
    """
    optional = bool(ref.get("optional"))
    if name := ref.get("name"):
        found = await references.get(CLUSTERTRUSTBUNDLES, "", name)
        if found is None:
            if optional:
                return b""
            raise ContentProblem(
                "while getting ClusterTrustBundle: "
                f'clustertrustbundle.certificates.k8s.io "{name}" not found'
            )
        return _normalized([found])
    listed = await host.client.list(CLUSTERTRUSTBUNDLES)
    signer = ref.get("signerName") or ""
    selector: Any = ref.get("labelSelector")
    chosen = [
        bundle
        for bundle in listed.get("items") or ()
        if (bundle["spec"].get("signerName") or "") == signer
        and selector is not None
        and labels.from_label_selector(selector).matches(bundle["metadata"].get("labels") or {})
    ]
    if not chosen and not optional:
        raise ContentProblem(
            "combination of signerName and labelSelector matched zero ClusterTrustBundles"
        )
    return _normalized(chosen)


def _normalized(bundles: Iterable[Object]) -> bytes:
    blocks: set[bytes] = set()
    for bundle in bundles:
        text: str = bundle["spec"].get("trustBundle") or ""
        for piece in text.split(_BEGIN)[1:]:
            blocks.add(base64.b64decode("".join(piece.split(_END)[0].split())))
    out: list[str] = []
    for block in sorted(blocks):
        encoded = base64.b64encode(block).decode()
        lines = [encoded[i : i + 64] for i in range(0, len(encoded), 64)]
        out.append("\n".join([_BEGIN, *lines, _END, ""]))
    return "".join(out).encode()
