"""Where a pod may run: affinity, tolerations, spread constraints, gates.

Follows the validators of the same names in `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_kubesim.apimachinery import formats, metav1
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.objectmeta import validate_label_name
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry.pod_template.claims import NOT_POSITIVE
from pytest_kubesim.registry.pod_template.options import PodOptions

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_NO_OPERATOR = "not a valid selector operator"
_IN_BOTH = "exists in both matchLabelKeys and labelSelector"
_NO_SELECTOR = "must not be specified when labelSelector is not set"


def validate_affinity(affinity: Object, path: Path, options: PodOptions) -> ErrorList:
    """`spec.affinity`."""
    errors: ErrorList = []
    if (node := affinity.get("nodeAffinity")) is not None:
        errors += _node_affinity(node, path.child("nodeAffinity"), options)
    for key in ("podAffinity", "podAntiAffinity"):
        if (found := affinity.get(key)) is not None:
            errors += _pod_affinity(found, path.child(key), options)
    return errors


def _node_affinity(affinity: Object, path: Path, options: PodOptions) -> ErrorList:
    errors: ErrorList = []
    required = affinity.get(_REQUIRED)
    if required is not None:
        errors += validate_node_selector(
            required,
            path.child(_REQUIRED),
            allow_invalid_values=options.allow_invalid_node_affinity_values,
        )
    for position, term in enumerate(affinity.get(_PREFERRED) or ()):
        where = path.child(_PREFERRED).index(position)
        errors += _weight(term, where)
        preference = term.get("preference") or {}
        errors += _node_selector_term(
            preference, where.child("preference"), allow_invalid_values=True
        )
    return errors


def _weight(term: Object, path: Path) -> ErrorList:
    weight = term.get("weight") or 0
    if 0 < weight <= 100:
        return []
    return [field.invalid(path.child("weight"), weight, "must be in the range 1-100")]


def validate_node_selector(
    selector: Object, path: Path, *, allow_invalid_values: bool
) -> ErrorList:
    """A NodeSelector: terms of which one must hold."""
    where = path.child("nodeSelectorTerms")
    terms: Sequence[Object] = selector.get("nodeSelectorTerms") or ()
    if not terms:
        return [field.required(where, "must have at least one node selector term")]
    errors: ErrorList = []
    for position, term in enumerate(terms):
        errors += _node_selector_term(
            term, where.index(position), allow_invalid_values=allow_invalid_values
        )
    return errors


def _node_selector_term(term: Object, path: Path, *, allow_invalid_values: bool) -> ErrorList:
    errors: ErrorList = []
    for position, requirement in enumerate(term.get("matchExpressions") or ()):
        where = path.child("matchExpressions").index(position)
        errors += _node_requirement(requirement, where, allow_invalid_values=allow_invalid_values)
    for position, requirement in enumerate(term.get("matchFields") or ()):
        errors += _node_field(requirement, path.child("matchFields").index(position))
    return errors


def _node_requirement(requirement: Object, path: Path, *, allow_invalid_values: bool) -> ErrorList:
    errors: ErrorList = []
    operator: str = requirement.get("operator") or ""
    values: Sequence[str] = requirement.get("values") or ()
    where = path.child("values")
    if operator in ("In", "NotIn"):
        if not values:
            detail = "must be specified when `operator` is 'In' or 'NotIn'"
            errors.append(field.required(where, detail))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(field.forbidden(where, detail))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            errors.append(field.required(where, detail))
    else:
        errors.append(field.invalid(path.child("operator"), operator, _NO_OPERATOR))
    errors += validate_label_name(requirement.get("key") or "", path.child("key"))
    if not allow_invalid_values:
        for position, value in enumerate(values):
            details = formats.is_valid_label_value(value)
            errors += field.invalid_each(where.index(position), value, details)
    return errors


def _node_field(requirement: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    operator: str = requirement.get("operator") or ""
    values: Sequence[str] = requirement.get("values") or ()
    key = requirement.get("key") or ""
    if operator not in ("In", "NotIn"):
        errors.append(field.invalid(path.child("operator"), operator, _NO_OPERATOR))
    elif len(values) != 1:
        detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        errors.append(field.required(path.child("values"), detail))
    if key != "metadata.name":
        errors.append(field.invalid(path.child("key"), key, "not a valid field selector key"))
        return errors
    for position, value in enumerate(values):
        details = formats.is_dns1123_subdomain(value)
        errors += field.invalid_each(path.child("values").index(position), value, details)
    return errors


# -- pods near pods ----------------------------------------------------------------------------


def _pod_affinity(affinity: Object, path: Path, options: PodOptions) -> ErrorList:
    errors: ErrorList = []
    for position, term in enumerate(affinity.get(_REQUIRED) or ()):
        errors += _pod_affinity_term(term, path.child(_REQUIRED).index(position), options)
    for position, weighted in enumerate(affinity.get(_PREFERRED) or ()):
        where = path.child(_PREFERRED).index(position)
        errors += _weight(weighted, where)
        term = weighted.get("podAffinityTerm") or {}
        errors += _pod_affinity_term(term, where.child("podAffinityTerm"), options)
    return errors


def _pod_affinity_term(term: Object, path: Path, options: PodOptions) -> ErrorList:
    errors: ErrorList = []
    for key in ("labelSelector", "namespaceSelector"):
        errors += metav1.validate_label_selector(
            term.get(key),
            path.child(key),
            allow_invalid_values=options.allow_invalid_selector_values,
        )
    for name in term.get("namespaces") or ():
        errors += field.invalid_each(path.child("namespace"), name, formats.is_dns1123_label(name))
    errors += _match_and_mismatch(
        path,
        term.get("matchLabelKeys") or (),
        term.get("mismatchLabelKeys") or (),
        term.get("labelSelector"),
    )
    topology = term.get("topologyKey") or ""
    if not topology:
        errors.append(field.required(path.child("topologyKey"), "can not be empty"))
    return errors + validate_label_name(topology, path.child("topologyKey"))


def _match_and_mismatch(
    path: Path, match: Sequence[str], mismatch: Sequence[str], selector: Object | None
) -> ErrorList:
    if not match and not mismatch:
        return []
    errors = _label_keys(match, selector, path.child("matchLabelKeys"))
    errors += _label_keys(mismatch, selector, path.child("mismatchLabelKeys"))
    if selector is not None:
        positions = {key: position for position, key in enumerate(match)}
        seen: set[str] = set(selector.get("matchLabels") or ())
        for expression in selector.get("matchExpressions") or ():
            key = expression.get("key") or ""
            if key in positions and key in seen:
                errors.append(field.invalid(path.index(positions[key]), key, _IN_BOTH))
            seen.add(key)
    errors += [
        field.invalid(
            path.child("matchLabelKeys").index(position),
            key,
            "exists in both matchLabelKeys and mismatchLabelKeys",
        )
        for position, key in enumerate(match)
        if key in mismatch
    ]
    return errors


def _label_keys(keys: Sequence[str], selector: Object | None, path: Path) -> ErrorList:
    if not keys:
        return []
    if selector is None:
        return [field.forbidden(path, _NO_SELECTOR)]
    errors: ErrorList = []
    for position, key in enumerate(keys):
        errors += validate_label_name(key, path.index(position))
    return errors


# -- taints, gates -----------------------------------------------------------------------------


def taint_effect(effect: str, path: Path) -> ErrorList:
    """The effect of a taint."""
    return [] if effect in _EFFECTS else [field.not_supported(path, effect, _EFFECTS)]


def validate_tolerations(
    tolerations: Sequence[Object], path: Path, *, allow_comparison: bool
) -> ErrorList:
    """`spec.tolerations`."""
    errors: ErrorList = []
    for position, toleration in enumerate(tolerations):
        where = path.index(position)
        key, operator = toleration.get("key") or "", toleration.get("operator") or ""
        value, effect = toleration.get("value") or "", toleration.get("effect") or ""
        if key:
            errors += validate_label_name(key, where.child("key"))
        elif operator != "Exists":
            detail = (
                'operator must be Exists when `key` is empty, which means "match all values and '
                'all keys"'
            )
            errors.append(field.invalid(where.child("operator"), operator, detail))
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            errors.append(field.invalid(where.child("effect"), effect, detail))
        errors += _toleration_value(operator, value, where, allow_comparison=allow_comparison)
        if effect:
            errors += taint_effect(effect, where.child("effect"))
    return errors


def _toleration_value(
    operator: str, value: str, path: Path, *, allow_comparison: bool
) -> ErrorList:
    where = path.child("operator")
    if operator in ("Equal", ""):
        if details := formats.is_valid_label_value(value):
            return [field.invalid(where, value, ";".join(details))]
        return []
    if operator == "Exists":
        if not value:
            return []
        detail = "value must be empty when `operator` is 'Exists'"
        return [field.invalid(where, value, detail)]
    if operator not in ("Lt", "Gt"):
        return [field.not_supported(where, operator, ("Equal", "Exists"))]
    if not allow_comparison:
        return [field.not_supported(where, operator, ("Equal", "Exists", "Lt", "Gt"))]
    return []


def validate_gates(gates: Sequence[Object], path: Path) -> ErrorList:
    """`spec.schedulingGates`."""
    errors: ErrorList = []
    seen: set[str] = set()
    for position, gate in enumerate(gates):
        name = gate.get("name") or ""
        errors += field.invalid_each(path.index(position), name, formats.is_qualified_name(name))
        if name in seen:
            errors.append(field.duplicate(path.index(position), name))
        seen.add(name)
    return errors


# -- spread ------------------------------------------------------------------------------------

_ACTIONS = ("DoNotSchedule", "ScheduleAnyway")
_POLICIES = ("Honor", "Ignore")


def validate_spread(constraints: Sequence[Object], path: Path, options: PodOptions) -> ErrorList:
    """`spec.topologySpreadConstraints`."""
    errors: ErrorList = []
    for position, constraint in enumerate(constraints):
        where = path.index(position)
        skew = constraint.get("maxSkew") or 0
        if skew <= 0:
            errors.append(field.invalid(where.child("maxSkew"), skew, NOT_POSITIVE))
        topology = constraint.get("topologyKey") or ""
        action = constraint.get("whenUnsatisfiable") or ""
        if not topology:
            errors.append(field.required(where.child("topologyKey"), "can not be empty"))
        if action not in _ACTIONS:
            at = where.child("whenUnsatisfiable")
            errors.append(field.not_supported(at, action, _ACTIONS))
        for other in constraints[position + 1 :]:
            if (other.get("topologyKey") or "", other.get("whenUnsatisfiable") or "") == (
                topology,
                action,
            ):
                at = where.child("{topologyKey, whenUnsatisfiable}")
                errors.append(field.duplicate(at, f"{{{topology}, {action}}}"))
                break
        errors += _spread_details(constraint, action, where, options)
    return errors


def _spread_details(constraint: Object, action: str, path: Path, options: PodOptions) -> ErrorList:
    errors: ErrorList = []
    domains = constraint.get("minDomains")
    if domains is not None:
        where = path.child("minDomains")
        if domains <= 0:
            errors.append(field.invalid(where, domains, NOT_POSITIVE))
        if action != "DoNotSchedule":
            detail = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
            errors.append(field.invalid(where, domains, detail))
    for key in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        policy = constraint.get(key)
        if policy is not None and policy not in _POLICIES:
            errors.append(field.not_supported(path.child(key), policy, _POLICIES))
    keys: Sequence[str] = constraint.get("matchLabelKeys") or ()
    selector = constraint.get("labelSelector")
    if keys and options.legacy_match_label_keys:
        errors += _legacy_keys(keys, selector, path.child("matchLabelKeys"))
    elif keys:
        errors += _match_and_mismatch(path, keys, (), selector)
    if not options.allow_invalid_spread_selector:
        errors += metav1.validate_label_selector(selector, path.child("labelSelector"))
    return errors


def _legacy_keys(keys: Sequence[str], selector: Object | None, path: Path) -> ErrorList:
    errors: ErrorList = []
    known: set[str] = set()
    if selector is None:
        errors.append(field.forbidden(path, _NO_SELECTOR))
    else:
        known = set(selector.get("matchLabels") or ())
        known |= {e.get("key") or "" for e in selector.get("matchExpressions") or ()}
    for position, key in enumerate(keys):
        errors += validate_label_name(key, path.index(position))
        if key in known:
            errors.append(field.invalid(path.index(position), key, _IN_BOTH))
    return errors
