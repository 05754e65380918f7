"""What validating and mutating webhook configurations share.

Follows `pkg/registry/admissionregistration/*webhookconfiguration/strategy.go`,
`pkg/apis/admissionregistration/v1/defaults.go`,
`pkg/apis/admissionregistration/validation/validation.go` and
`apiserver/pkg/util/webhook/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats, go_url, metav1
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.schema import schema_for
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.admissionregistration import rules
from pytest_kubesim.registry.admissionregistration.expressions import Compiler
from pytest_kubesim.registry.columns import age
from pytest_kubesim.registry.go_equality import deeply_equal
from pytest_kubesim.registry.rest import Context
from pytest_kubesim.registry.strategies import Plain, raised, with_generation

REVIEW_VERSIONS = ("v1", "v1beta1")
NO_SIDE_EFFECTS = ("None", "NoneOnDryRun")
SIDE_EFFECTS = ("None", "NoneOnDryRun", "Some", "Unknown")
PORT = 443
_WEBHOOKS = Path("webhooks")
_FORM = "; desired format: https://host[/path]"


class WebhookConfigurationStrategy(Plain):
    """`/validatingwebhookconfigurations` and `/mutatingwebhookconfigurations`."""

    any_finalizer = True

    allow_unconditional_update = False
    mutating = False

    def default(self, obj: Object) -> Object:
        """`SetDefaults_ValidatingWebhook`, `SetDefaults_MutatingWebhook`."""
        hooks = parts.structs(obj, "webhooks")
        return {**obj, "webhooks": [self._defaulted(hook) for hook in hooks]} if hooks else obj

    def _defaulted(self, hook: Object) -> Object:
        out: Object = dict(hook)
        values: Object = {
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
            "timeoutSeconds": 10,
        }
        if self.mutating:
            values["reinvocationPolicy"] = "Never"
        for key, value in values.items():
            if out.get(key) is None:
                out[key] = value
        if out.get("rules"):
            out["rules"] = rules.default_rules(out["rules"])
        client = parts.struct(out, "clientConfig")
        service: Object | None = client.get("service")
        if service is not None and service.get("port") is None:
            out["clientConfig"] = {**client, "service": {**service, "port": PORT}}
        return out

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """At generation 1."""
        del ctx
        return with_generation(obj, 1)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """A generation further if the webhooks have changed."""
        schema = schema_for("admissionregistration.k8s.io", "v1", obj["kind"])
        if deeply_equal(schema, ctx.given, obj, old, "webhooks"):
            return obj
        return raised(obj, old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateValidatingWebhookConfiguration`, `ValidateMutatingWebhookConfiguration`."""
        return _Check(old, mutating=self.mutating).webhooks(parts.structs(obj, "webhooks"))


class _Check:
    """One validation, with what it lets pass because it is there already."""

    def __init__(self, old: Object | None, *, mutating: bool) -> None:
        before = parts.structs(old, "webhooks")
        self.before = None if old is None else before
        self.mutating = mutating
        names = [parts.text(hook, "name") for hook in before]
        self.unique = len(set(names)) == len(names)
        harmless = all(hook.get("sideEffects") in NO_SIDE_EFFECTS for hook in before)
        self.side_effects = NO_SIDE_EFFECTS if harmless else SIDE_EFFECTS
        self.known_versions = all(
            not versions or set(versions) & set(REVIEW_VERSIONS)
            for versions in (parts.texts(hook, "admissionReviewVersions") for hook in before)
        )
        self.lenient = any(
            metav1.validate_label_selector(hook.get(key), _WEBHOOKS)
            for hook in before
            for key in ("namespaceSelector", "objectSelector")
        )
        conditions = [c for hook in before for c in parts.structs(hook, "matchConditions")]
        self.compiler = Compiler(known=rules.expressions_of(conditions))

    def webhooks(self, hooks: list[Object]) -> ErrorList:
        errors: ErrorList = []
        seen: set[str] = set()
        same = self.before is not None and [
            parts.structs(hook, "matchConditions") for hook in hooks
        ] == [parts.structs(hook, "matchConditions") for hook in self.before]
        for position, hook in enumerate(hooks):
            path = _WEBHOOKS.index(position)
            errors += self.webhook(hook, path, conditions=not same)
            errors += self.versions(
                parts.texts(hook, "admissionReviewVersions"), path.child("admissionReviewVersions")
            )
            name = parts.text(hook, "name")
            if self.unique and name and name in seen:
                errors.append(field.duplicate(path.child("name"), name))
            seen.add(name)
        return errors

    def webhook(self, hook: Object, path: Path, *, conditions: bool) -> ErrorList:
        errors = field.validate_fully_qualified_name(path.child("name"), parts.text(hook, "name"))
        for position, rule in enumerate(parts.structs(hook, "rules")):
            errors += rules.validate_rule(rule, path.child("rules").index(position))
        errors += rules.one_of(hook, "failurePolicy", path, rules.FAILURE_POLICIES)
        errors += rules.one_of(hook, "matchPolicy", path, rules.MATCH_POLICIES)
        if hook.get("sideEffects") is None:
            detail = f"must specify one of {', '.join(self.side_effects)}"
            errors.append(field.required(path.child("sideEffects"), detail))
        errors += rules.one_of(hook, "sideEffects", path, self.side_effects)
        timeout = hook.get("timeoutSeconds")
        if timeout is not None and not 1 <= timeout <= 30:
            detail = "the timeout value must be between 1 and 30 seconds"
            errors.append(field.invalid(path.child("timeoutSeconds"), timeout, detail))
        for key in ("namespaceSelector", "objectSelector"):
            errors += metav1.validate_label_selector(
                hook.get(key), path.child(key), allow_invalid_values=self.lenient
            )
        if self.mutating:
            errors += rules.one_of(hook, "reinvocationPolicy", path, rules.REINVOCATION_POLICIES)
        errors += _client(parts.struct(hook, "clientConfig"), path.child("clientConfig"))
        if conditions:
            given = parts.structs(hook, "matchConditions")
            errors += rules.validate_conditions(given, path.child("matchConditions"), self.compiler)
        return errors

    def versions(self, versions: list[str], path: Path) -> ErrorList:
        known = ", ".join(REVIEW_VERSIONS)
        if not versions:
            return [field.required(path, f"must specify one of {known}")]
        errors: ErrorList = []
        for position, version in enumerate(versions):
            where = path.index(position)
            if version in versions[:position]:
                errors.append(field.invalid(where, version, "duplicate version"))
            else:
                errors += field.invalid_each(where, version, formats.is_dns1035_label(version))
        if self.known_versions and not set(versions) & set(REVIEW_VERSIONS):
            detail = f"must include at least one of {known}"
            errors.append(field.invalid(path, versions, detail))
        return errors


def _client(client: Object, path: Path) -> ErrorList:
    url: str | None = client.get("url")
    service: Object | None = client.get("service")
    if url is not None and service is None:
        return validate_url(url, path.child("url"))
    if service is not None and url is None:
        return validate_service(service, path.child("service"))
    return [field.required(path, "exactly one of url or service is required")]


def validate_url(text: str, path: Path) -> ErrorList:
    """Where a webhook is (`ValidateWebhookURL`)."""
    try:
        url = go_url.parse(text)
    except go_url.URLError as error:
        return [field.required(path, f"url must be a valid URL: {error}{_FORM}")]
    errors: ErrorList = []
    if url.scheme != "https":
        detail = f"'https' is the only allowed URL scheme{_FORM}"
        errors.append(field.invalid(path, url.scheme, detail))
    if not url.host:
        errors.append(field.invalid(path, url.host, f"host must be specified{_FORM}"))
    if url.user is not None:
        detail = "user information is not permitted in the URL"
        errors.append(field.invalid(path, url.user, detail))
    if url.fragment:
        detail = "fragments are not permitted in the URL"
        errors.append(field.invalid(path, url.fragment, detail))
    if url.raw_query:
        detail = "query parameters are not permitted in the URL"
        errors.append(field.invalid(path, url.raw_query, detail))
    return errors


def validate_service(service: Object, path: Path) -> ErrorList:
    """The service of a webhook (`ValidateWebhookService`)."""
    # Upstream hands over name and namespace the wrong way round.
    errors = [
        field.required(path.child(shown))
        for shown, key in (("name", "namespace"), ("namespace", "name"))
        if not service.get(key)
    ]
    port = parts.number(service, "port")
    if problems := formats.is_valid_port_num(port):
        detail = f"port is not valid: {', '.join(problems)}"
        errors.append(field.invalid(path.child("port"), port, detail))
    text = parts.text(service, "path")
    where = path.child("path")
    if text in ("", "/"):
        return errors
    if text == "//":
        return [*errors, field.invalid(where, text, "segment[0] may not be empty")]
    if not text.startswith("/"):
        errors.append(field.invalid(where, text, "must start with a '/'"))
    for position, segment in enumerate(text[1:].removesuffix("/").split("/")):
        if not segment:
            errors.append(field.invalid(where, text, f"segment[{position}] may not be empty"))
            continue
        errors += [
            field.invalid(where, text, f"segment[{position}]: {problem}")
            for problem in formats.is_dns1123_subdomain(segment)
        ]
    return errors


def webhooks_row(obj: Object, now_ns: int) -> list[Any]:
    """The cells of a configuration."""
    return [obj["metadata"]["name"], len(parts.structs(obj, "webhooks")), age(obj, now_ns)]
