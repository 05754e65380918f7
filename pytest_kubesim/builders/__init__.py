"""`kubesim.fake`: names, values and whole objects of Kubernetes, valid by construction, seeded.

`provider` is the Faker provider; `objects` says how an object of each built-in kind is made;
`structural` makes custom resources from the schema of their CRD.  Nothing here asks a cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.errors import UsageError

if TYPE_CHECKING:
    from faker import Faker


def fake(seed: int) -> Faker:
    """A `faker.Faker` with the Kubernetes provider, seeded: equal seeds give equal values.

    Raises: `UsageError` where the `faker` package is missing.
    """
    try:
        from faker import Faker
    except ImportError:
        raise UsageError(
            "kubesim.fake: the package 'faker' is missing;",
            "install it with: python -m pip install 'pytest-kubesim[fake]'",
        ) from None

    from pytest_kubesim.builders.provider import KubernetesProvider

    made = Faker("en_US")
    made.add_provider(KubernetesProvider)
    made.seed_instance(seed)
    return made
