"""jq filters, as selectors use them."""

import pytest

from pytest_kubesim.apimachinery import jq
from pytest_kubesim.errors import NotSimulated

OBJECT = {
    "metadata": {"annotations": {"a/b": "5s"}, "ownerReferences": [{"kind": "Job"}]},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "X", "status": "No"}],
               "count": 3},
}


@pytest.mark.parametrize(
    ("query", "outputs"),
    [
        (".metadata.name", [None]),
        ('.metadata.annotations["a/b"]', ["5s"]),
        ('.metadata.annotations."a/b"', ["5s"]),
        (".metadata.ownerReferences.[].kind", ["Job"]),
        (".metadata.ownerReferences[0].kind", ["Job"]),
        ('.status.conditions.[] | select( .type == "Ready" ) | .status', ["True"]),
        ("[.status.conditions[].type]", [["Ready", "X"]]),
        (".status.conditions | length", [2]),
        (".none.[]?", []),
        ('.none // "default"', ["default"]),
        (".status.count > 2 and (.status.count + 1 == 4)", [True]),
        ('.status | has("count"), has("other")', [True, False]),
        ('any(.status.conditions[]; .status == "No")', NotSimulated),
        ('.status.conditions | map(.type) | any(. == "X")', [True]),
        (".status.count | tostring", ["3"]),
        ('.metadata.annotations["a/b"] | startswith("5")', [True]),
    ],
)
def test_outputs(query, outputs):
    if outputs is NotSimulated:
        with pytest.raises(NotSimulated):
            jq.run(query, OBJECT)
    else:
        assert jq.run(query, OBJECT) == outputs


@pytest.mark.parametrize("query", [".none.[]", ".metadata.annotations[0]", ".status.count.x"])
def test_what_a_value_is_not_for_is_an_error(query):
    with pytest.raises(jq.JQError):
        jq.run(query, OBJECT)
