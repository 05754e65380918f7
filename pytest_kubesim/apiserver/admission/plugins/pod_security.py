"""PodSecurity: pods keep to the standard that labels of their namespace name.

`enforce` refuses pods, `warn` and `audit` speak of pods and of what makes them.  A namespace that
is given a stricter standard hears of its pods that are not up to it.

Follows `k8s.io/pod-security-admission/{admission,api}` and
`plugin/pkg/admission/security/podsecurity`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import meta, status, validation
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, get_path
from pytest_kubesim.apimachinery.validation import FieldError, Path
from pytest_kubesim.apiserver.admission import pod_security_standards as standards
from pytest_kubesim.apiserver.admission.chain import CREATE, UPDATE, Attributes, Plugin, forbidden

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_kubesim.apimachinery.meta import Object

PREFIX = "pod-security.kubernetes.io/"
MAX_PODS = 3000
"""How many pods of a namespace are looked at when its standard changes."""

_PODS, _NAMESPACES = GroupResource("", "pods"), GroupResource("", "namespaces")
_TEMPLATES: dict[GroupResource, tuple[str, ...]] = {
    GroupResource("", "replicationcontrollers"): ("spec", "template"),
    GroupResource("", "podtemplates"): ("template",),
    GroupResource("apps", "replicasets"): ("spec", "template"),
    GroupResource("apps", "deployments"): ("spec", "template"),
    GroupResource("apps", "statefulsets"): ("spec", "template"),
    GroupResource("apps", "daemonsets"): ("spec", "template"),
    GroupResource("batch", "jobs"): ("spec", "template"),
    GroupResource("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template"),
}
"""Where pods are made from."""
_IGNORED = frozenset(
    {"exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"}
)
_LEVELS = (standards.PRIVILEGED, standards.BASELINE, standards.RESTRICTED)
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)")
_LABELS = Path("metadata", "labels")


@attrs.frozen
class LevelVersion:
    """A standard at a version, which prints as `baseline:v1.30`."""

    level: str = standards.PRIVILEGED
    minor: int = standards.LATEST

    def __str__(self) -> str:
        version = "latest" if self.minor == standards.LATEST else f"v1.{self.minor}"
        return f"{self.level}:{version}"


@attrs.frozen
class Policy:
    """What a namespace demands."""

    enforce: LevelVersion = LevelVersion()
    audit: LevelVersion = LevelVersion()
    warn: LevelVersion = LevelVersion()


def policy_of(labels: Mapping[str, str]) -> tuple[Policy, list[FieldError]]:
    """What the labels of a namespace demand, and what is wrong with them."""
    problems: list[FieldError] = []
    found: dict[str, LevelVersion] = {}
    valid: dict[str, bool] = {}
    for mode in ("enforce", "audit", "warn"):
        level, minor = standards.PRIVILEGED, standards.LATEST
        label = PREFIX + mode
        if label in labels:
            level = labels[label]
            valid[mode] = level in _LEVELS
            if not valid[mode]:
                problems.append(_invalid(label, level, f"must be one of {', '.join(_LEVELS)}"))
                # What nobody understands is enforced strictly, but not complained of.
                level = standards.RESTRICTED if mode == "enforce" else standards.PRIVILEGED
        label = f"{PREFIX}{mode}-version"
        if label in labels and labels[label] != "latest":
            match = _VERSION.fullmatch(labels[label])
            if match is None:
                problems.append(_invalid(label, labels[label], 'must be "latest" or "v1.x"'))
            else:
                minor = int(match[1])
        found[mode] = LevelVersion(level, minor)
    enforce, warn = found["enforce"], found["warn"]
    if "warn" not in valid and valid.get("enforce") and _stricter(enforce, warn):
        minor = warn.minor if f"{PREFIX}warn-version" in labels else enforce.minor
        found["warn"] = LevelVersion(enforce.level, minor)
    return Policy(**found), problems


def _invalid(label: str, value: str, detail: str) -> FieldError:
    return validation.invalid(_LABELS.key(label), value, detail)


def _stricter(one: LevelVersion, other: LevelVersion) -> bool:
    return _LEVELS.index(one.level) > _LEVELS.index(other.level)


class PodSecurity(Plugin):
    """The plugin."""

    operations = (CREATE, UPDATE)
    resources = frozenset({_NAMESPACES, _PODS, *_TEMPLATES})

    async def validate(self, attributes: Attributes, obj: Object | None) -> None:
        """Refuses pods, warns of what makes them, looks after namespaces."""
        resource = attributes.resource.group_resource
        if obj is None:
            return
        if resource == _NAMESPACES:
            if not attributes.subresource:
                _check_namespace(attributes, obj)
        elif resource == _PODS:
            if attributes.subresource not in _IGNORED:
                _check_pod(attributes, obj)
        elif resource in _TEMPLATES and not attributes.subresource:
            policy, problems = _policy(attributes)
            if problems or {policy.warn.level, policy.audit.level} != {standards.PRIVILEGED}:
                template = get_path(obj, *_TEMPLATES[resource])
                if template is not None:
                    _evaluate(attributes, policy, problems, template, enforce=False)


def _policy(attributes: Attributes) -> tuple[Policy, list[FieldError]]:
    namespace = attributes.server.reader.get(_NAMESPACES, "", attributes.namespace)
    if namespace is None:
        raise status.new_internal_error(f"failed to lookup namespace {quote(attributes.namespace)}")
    return policy_of(meta.labels(namespace))


# -- pods --------------------------------------------------------------------------------------


def _check_pod(attributes: Attributes, pod: Object) -> None:
    policy, problems = _policy(attributes)
    if not problems and policy == Policy():
        attributes.scope.audit[f"{PREFIX}enforce-policy"] = str(policy.enforce)
        return
    levels = {policy.enforce.level, policy.audit.level, policy.warn.level}
    if not problems and levels == {standards.PRIVILEGED}:
        return
    if attributes.old is not None and not _is_significant(pod["spec"], attributes.old["spec"]):
        return
    _evaluate(attributes, policy, problems, pod, enforce=True)


def _is_significant(new: Object, old: Object) -> bool:
    """Whether a changed pod is to be looked at: containers were added, or their images changed."""
    for field in ("containers", "initContainers"):
        mine: list[Object] = new.get(field) or []
        theirs: list[Object] = old.get(field) or []
        if len(mine) != len(theirs):
            return True
        if any(a.get("image") != b.get("image") for a, b in zip(mine, theirs, strict=True)):
            return True
    before: dict[str, Object] = {
        each["name"]: each for each in old.get("ephemeralContainers") or ()
    }
    for each in new.get("ephemeralContainers") or ():
        known = before.get(each["name"])
        if known is None or known.get("image") != each.get("image"):
            return True
    return False


def _evaluate(
    attributes: Attributes,
    policy: Policy,
    problems: Sequence[FieldError],
    template: Object,
    *,
    enforce: bool,
) -> None:
    """Holds a pod, or what it is made from, against a policy.  Raises `APIStatus` (403)."""
    metadata: Object = template.get("metadata") or {}
    spec: Object = template.get("spec") or {}
    audit = attributes.scope.audit

    def judged(standard: LevelVersion) -> str:
        found = standards.violations(standard.level, standard.minor, metadata, spec)
        details = ", ".join(f"{reason} ({detail})" for reason, detail in found)
        return f"violate PodSecurity {quote(str(standard))}: {details}" if found else ""

    if problems:
        audit[f"{PREFIX}error"] = f"Failed to parse policy: {validation.aggregate(problems)}"
    refusal = ""
    if enforce:
        audit[f"{PREFIX}enforce-policy"] = str(policy.enforce)
        refusal = judged(policy.enforce)
    if text := judged(policy.audit):
        audit[f"{PREFIX}audit-violations"] = f"would {text}"
    if refusal:
        raise forbidden(attributes, refusal.replace("violate ", "violates ", 1))
    if text := judged(policy.warn):
        attributes.scope.warn(f"would {text}")


# -- namespaces --------------------------------------------------------------------------------


def _check_namespace(attributes: Attributes, namespace: Object) -> None:
    policy, problems = policy_of(meta.labels(namespace))
    old = attributes.old
    before, known = (Policy(), []) if old is None else policy_of(meta.labels(old))
    if problems and (old is None or not known or _details(problems) != _details(known)):
        kind = attributes.kind.group_kind
        raise status.new_invalid(kind, attributes.name or meta.name(namespace), problems)
    if old is None:
        return
    new, was = policy.enforce, before.enforce
    if new == was or new.level == standards.PRIVILEGED:
        return
    if new.minor == was.minor and not _stricter(new, was):
        return
    for text in _warnings(attributes, meta.name(namespace), new):
        attributes.scope.warn(text)


def _details(problems: Sequence[FieldError]) -> list[str]:
    return [str(each) for each in problems]


def _warnings(attributes: Attributes, namespace: str, standard: LevelVersion) -> list[str]:
    """What is to be said of the pods that are there (`EvaluatePodsInNamespace`)."""
    pods = _by_priority(attributes.server.reader.list(_PODS, namespace))
    names: dict[str, list[str]] = {}
    for pod in pods[:MAX_PODS]:
        found = standards.violations(standard.level, standard.minor, pod["metadata"], pod["spec"])
        if found:
            reasons = ", ".join(reason for reason, _ in found)
            names.setdefault(reasons, []).append(meta.name(pod))
    warnings: list[str] = []
    if len(pods) > MAX_PODS:
        warnings.append(
            f"new PodSecurity enforce level only checked against the first {MAX_PODS} of "
            f"{len(pods)} existing pods"
        )
    if names:
        warnings.append(
            f"existing pods in namespace {quote(namespace)} violate the new PodSecurity enforce "
            f"level {quote(str(standard))}"
        )
    return warnings + sorted(_counted(reasons, found) for reasons, found in names.items())


def _counted(reasons: str, names: list[str]) -> str:
    others = len(names) - 1
    more = {0: "", 1: " (and 1 other pod)"}.get(others, f" (and {others} other pods)")
    return f"{min(names)}{more}: {reasons}"


def _by_priority(pods: Sequence[Object]) -> list[Object]:
    """One pod of each controller first, then its twins."""
    first: list[Object] = []
    twins: list[Object] = []
    seen: set[str] = set()
    for pod in pods:
        owner = meta.controller_of(pod)
        if owner is None:
            first.append(pod)
        elif owner["uid"] in seen:
            twins.append(pod)
        else:
            seen.add(owner["uid"])
            first.append(pod)
    return first + twins


PLUGIN = PodSecurity()
