"""The functions that expressions of Kubernetes have, put together.

The law: what an expression that is new may use was there in the release before, as an API server
that is rolled back must still read it. What is stored already may use all.

Follows ``apiserver/pkg/cel/environment/base.go``.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery.cel.environment import Environment
from pytest_kubesim.apimachinery.cel.library import (
    authorization,
    conversions,
    lists,
    networks,
    optionals,
    quantities,
    semvers,
    sets,
    standard,
    strings,
    texts,
    times,
)


def _base() -> Environment:
    found = Environment({}).extend(functions=standard.FUNCTIONS)
    for table in (
        conversions.FUNCTIONS,
        times.FUNCTIONS,
        optionals.FUNCTIONS,
        texts.FUNCTIONS,
        lists.KUBERNETES,
        authorization.FUNCTIONS,
        quantities.FUNCTIONS,
        strings.FUNCTIONS,
        sets.FUNCTIONS,
        networks.FUNCTIONS,
        semvers.FUNCTIONS,
        lists.CEL_GO,
    ):
        found = found.extend(functions=table)
    return found.extend(type_names={type_.name: type_ for type_ in networks.TYPES})


NEW = _base()
"""For expressions that someone writes now."""
STORED = NEW.extend(functions=(lists.INCLUDES,))
"""For expressions that are stored."""
