"""The Faker provider: `kubesim.fake.k8s_pod()`, `.k8s_name()`, `.k8s_object("Deployment")` ...

What it makes is accepted by an API server: names are names, quantities are quantities, selectors
select their templates.  Keyword arguments of the object methods are merged in deeply.
"""

from __future__ import annotations

from typing import Any, cast

from faker.providers import BaseProvider

from pytest_kubesim.apimachinery import mergepatch
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.builders import objects, structural
from pytest_kubesim.data import load
from pytest_kubesim.errors import UsageError, suggestion

_ADJECTIVES = (
    "amber", "brave", "calm", "dusty", "eager", "fuzzy", "grand", "happy", "icy", "jolly", "keen",
    "lucky", "mellow", "noble", "odd", "proud", "quiet", "rapid", "shiny", "tidy", "upbeat",
    "vivid", "witty", "young", "zesty",
)
_NOUNS = (
    "anchor", "badger", "cedar", "dune", "ember", "falcon", "glacier", "harbor", "island",
    "juniper", "kettle", "lagoon", "meadow", "nectar", "otter", "pebble", "quartz", "river",
    "summit", "thicket", "umbra", "valley", "willow", "yarrow", "zephyr",
)
_IMAGES = ("nginx", "redis", "postgres", "busybox", "registry.k8s.io/pause", "ghcr.io/acme/api")
_LABELS = ("app", "tier", "app.kubernetes.io/name", "app.kubernetes.io/part-of", "example.com/team")


class KubernetesProvider(BaseProvider):
    """Values and objects of Kubernetes."""

    def k8s_name(self, prefix: str = "") -> str:
        """A DNS label, such as `calm-otter-417`; `prefix` comes first, with a dash."""
        words = [self.random_element(_ADJECTIVES), self.random_element(_NOUNS)]
        number = str(self.random_int(0, 999))
        return "-".join([*([prefix] if prefix else []), *words, number])

    def k8s_subdomain(self) -> str:
        """A DNS subdomain, such as `otter.example.com`."""
        return f"{self.random_element(_NOUNS)}{self.random_int(0, 99)}.example.com"

    def k8s_label_key(self) -> str:
        """A label key, with a prefix or without."""
        return str(self.random_element(_LABELS))

    def k8s_label_value(self) -> str:
        """A label value."""
        return f"{self.random_element(_NOUNS)}_{self.random_int(0, 99)}"

    def k8s_labels(self, count: int = 2) -> dict[str, str]:
        """`count` labels (five at the most)."""
        keys = self.random_elements(_LABELS, length=min(count, len(_LABELS)), unique=True)
        return {key: self.k8s_label_value() for key in keys}

    def k8s_cpu(self) -> str:
        """An amount of CPU, from 50m to 2."""
        return str(self.random_element(("50m", "100m", "250m", "500m", "1", "1500m", "2")))

    def k8s_memory(self) -> str:
        """An amount of memory, from 32Mi to 2Gi."""
        return str(self.random_element(("32Mi", "64Mi", "128Mi", "256Mi", "1Gi", "2Gi", "100M")))

    def k8s_quantity(self) -> str:
        """A quantity of any notation."""
        number = self.random_int(1, 999)
        return f"{number}{self.random_element(('', 'm', 'k', 'M', 'G', 'Ki', 'Mi', 'Gi', 'e3'))}"

    def k8s_image(self) -> str:
        """An image with a tag."""
        version = f"{self.random_int(0, 9)}.{self.random_int(0, 20)}.{self.random_int(0, 9)}"
        return f"{self.random_element(_IMAGES)}:{version}"

    def k8s_port(self) -> int:
        """A port number that needs no privileges."""
        return self.random_int(1024, 65535)

    def k8s_container(self, **fields: Any) -> Object:
        """A container; `fields` are merged in."""
        return self._merged(objects.container(self), fields)

    def k8s_pod(self, **fields: Any) -> Object:
        """A Pod; `fields` are merged in."""
        return self.k8s_object("Pod", **fields)

    def k8s_deployment(self, **fields: Any) -> Object:
        """A Deployment; `fields` are merged in."""
        return self.k8s_object("Deployment", **fields)

    def k8s_object(self, kind: str, api_version: str = "", **fields: Any) -> Object:
        """An object of a built-in kind, ready for `create`.

        Parameters: `kind`; `api_version` where several groups have it; `fields`, merged in deeply.
        Raises: `UsageError` for a kind that is not built in or cannot be created.
        """
        infos = [
            info
            for info in load.resources()
            if info.kind == kind and "create" in info.verbs
            and api_version in ("", info.api_version)
        ]
        if not infos:
            known = sorted({i.kind for i in load.resources() if "create" in i.verbs})
            raise UsageError(
                f"fake: there is no built-in kind {f'{api_version} {kind}'.strip()!r} that can be "
                "created;",
                f"{suggestion(kind, known)}give one of {', '.join(known)}; for custom ones there "
                "is k8s_custom_resource().",
            )
        info = infos[0]
        made: Object = {
            "apiVersion": info.api_version,
            "kind": kind,
            "metadata": {"name": self.k8s_name(), "labels": self.k8s_labels()},
        }
        if info.namespaced:
            made["metadata"]["namespace"] = "default"
        make = objects.MAKERS.get((info.group, kind))
        if make is not None:
            made = mergepatch.apply(made, make(self, made["metadata"]["name"]))
        return self._merged(made, fields)

    def k8s_custom_resource(self, crd: Object, version: str = "", **fields: Any) -> Object:
        """An object of the kind that `crd` defines, valid by its schema.

        Parameters: `crd`, a CustomResourceDefinition; `version`, the first served one if not given;
        `fields`, merged in.
        Raises: `UsageError` for a version that the CRD does not serve.
        """
        spec = crd["spec"]
        versions = {v["name"]: v for v in spec["versions"] if v.get("served")}
        name = version or next(iter(versions), "")
        if name not in versions:
            raise UsageError(
                f"fake: the CRD serves no version {name!r};", f"it serves {', '.join(versions)}."
            )
        made: Object = {
            "apiVersion": f"{spec['group']}/{name}",
            "kind": spec["names"]["kind"],
            "metadata": {"name": self.k8s_name()},
        }
        if spec["scope"] == "Namespaced":
            made["metadata"]["namespace"] = "default"
        wrapped: Object = versions[name].get("schema") or {}
        schema: Object = wrapped.get("openAPIV3Schema") or {}
        body = structural.value(self, schema)
        for key in ("apiVersion", "kind", "metadata", "status"):
            if isinstance(body, dict):
                cast("Object", body).pop(key, None)
        return self._merged({**made, **body}, fields)

    @staticmethod
    def _merged(made: Object, fields: dict[str, Any]) -> Object:
        return mergepatch.apply(made, fields) if fields else made
