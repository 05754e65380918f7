"""Names of resources: which are native, extended, integer, fit for containers or quotas.

Follows `pkg/apis/core/helper/helpers.go` and the checks of names in
`pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from functools import lru_cache

from pytest_kubesim.apimachinery import formats, quantity
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path

HUGE_PAGES = "hugepages-"
REQUESTS_HUGE_PAGES = "requests.hugepages-"
_NATIVE_PREFIX = "kubernetes.io/"
_REQUESTS = "requests."

CONTAINER = frozenset({"cpu", "memory", "ephemeral-storage"})
POD_LEVEL = frozenset({"cpu", "memory"})
_COUNTS = frozenset(
    {
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    }
)
_AMOUNTS = CONTAINER | {
    f"{kind}.{name}" for kind in ("requests", "limits") for name in sorted(CONTAINER)
}
QUOTA = _AMOUNTS | _COUNTS | {"requests.storage"}
STANDARD = QUOTA | {"storage"}
_MAX_HUGE = 10**12


def is_huge_page(name: str) -> bool:
    """`hugepages-2Mi`."""
    return name.startswith(HUGE_PAGES)


def is_quota_huge_page(name: str) -> bool:
    """`hugepages-2Mi` or `requests.hugepages-2Mi`."""
    return name.startswith((HUGE_PAGES, REQUESTS_HUGE_PAGES))


def is_native(name: str) -> bool:
    """A name without a domain, or one of Kubernetes' own."""
    return "/" not in name or _NATIVE_PREFIX in name


def overcommits(name: str) -> bool:
    """Whether a request may be lower than the limit."""
    return is_native(name) and not is_huge_page(name)


@lru_cache(maxsize=1024)
def is_extended(name: str) -> bool:
    """`example.com/gpu`."""
    if is_native(name) or name.startswith(_REQUESTS):
        return False
    return not formats.is_qualified_name(f"{_REQUESTS}{name}")


def is_integer(name: str) -> bool:
    """Whether an amount of it must be whole."""
    return name in _COUNTS or is_extended(name)


def is_standard_quota(name: str) -> bool:
    """Whether a quota may count it by a name without a domain."""
    return name in QUOTA or is_quota_huge_page(name)


def is_pod_level(name: str) -> bool:
    """Whether a pod may ask for it as a whole."""
    return name in POD_LEVEL or is_huge_page(name)


@lru_cache(maxsize=1024)
def _problems(name: str) -> tuple[str, ...]:
    if messages := formats.is_qualified_name(name):
        return tuple(messages)
    if "/" not in name and name not in STANDARD and not is_quota_huge_page(name):
        return ("must be a standard resource type or fully qualified",)
    return ()


def validate_name(name: str, path: Path) -> ErrorList:
    """A resource's name anywhere."""
    return [field.invalid(path, name, message) for message in _problems(name)]


def validate_container_name(name: str, path: Path) -> ErrorList:
    """A resource that a container may ask for."""
    if name in CONTAINER:
        return []
    errors = validate_name(name, path)
    if "/" not in name:
        if not is_huge_page(name):
            errors.append(field.invalid(path, name, "must be a standard resource for containers"))
    elif not is_native(name) and not is_extended(name):
        errors.append(field.invalid(path, name, "doesn't follow extended resource name standard"))
    return errors


def validate_pod_level_name(name: str, path: Path) -> ErrorList:
    """A resource that a pod as a whole may ask for."""
    if errors := validate_name(name, path):
        return errors
    if is_pod_level(name):
        return []
    return [field.not_supported(path, name, sorted([*POD_LEVEL, HUGE_PAGES]))]


def validate_quota_name(name: str, path: Path) -> ErrorList:
    """A resource that a quota may limit."""
    errors = validate_name(name, path)
    if "/" not in name and not is_standard_quota(name):
        errors.append(field.invalid(path, name, "must be a standard resource for quota"))
    return errors


def validate_amount(name: str, amount: str, path: Path) -> ErrorList:
    """An amount of a resource: not below zero, and whole where only whole ones exist."""
    errors: ErrorList = []
    nano = quantity.nano_value(amount)
    if nano < 0:
        errors.append(field.invalid(path, quantity.canonical(amount), field.NOT_NEGATIVE))
    if name not in CONTAINER and is_integer(name) and quantity.milli_value(amount) % 1000:
        errors.append(field.invalid(path, amount, "must be an integer"))
    return errors


def huge_page_problem(name: str, amount: str) -> str:
    """What is wrong with an amount of huge pages, empty if nothing is."""
    try:
        size = quantity.parse(name[len(HUGE_PAGES) :]).nano
    except ValueError:
        size = 0
    unit = 10**9
    if size > 0 and not size % unit and not quantity.value(amount) % (size // unit):
        return ""
    return f"{amount} is not positive integer multiple of {name}"


def rounded(amounts: Object | None) -> Object | None:
    """A ResourceList whose amounts are rounded up to thousandths (`SetDefaults_ResourceList`)."""
    if not amounts:
        return amounts
    for amount in amounts.values():
        if amount is None or quantity.nano_value(amount) % 1_000_000:
            break
    else:
        return amounts
    out: Object = {}
    for name, amount in amounts.items():
        if amount is None:
            out[name] = "0"
            continue
        parsed = quantity.parse(amount)
        if parsed.nano % 1_000_000:
            out[name] = quantity.from_milli(quantity.milli_value(amount), parsed.format)
        else:
            out[name] = amount
    return out
