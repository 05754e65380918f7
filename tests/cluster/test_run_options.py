"""What `run` is told: bad names, rights that there are not, names that are taken."""

import pytest

from pytest_kubesim import UsageError


async def sleeps():
    import asyncio

    await asyncio.sleep(3600)


@pytest.mark.parametrize(("options", "words"), [
    ({"name": "Bad Name"}, "run: name='Bad Name' cannot be the name of a pod; write it in lower case, with digits and '-', such as 'bad-name'"),
    ({"name": ""}, "such as 'operator'"),
    ({"name": 3}, "run: name=3 cannot be"),
    ({"name": "op"}, "there is an operator of that name; choose another one; replicas=2 starts two"),
    ({"name": "kube-scheduler"}, "something else in the cluster is called so"),
    ({"name": "node-1"}, "such as 'node-1-operator'"),
    ({"name": "test"}, "something else in the cluster is called so"),
    ({"service_account": "default/keeper"}, "there is no such ServiceAccount, and no binding of it; did you mean 'default/keepers'"),
    ({"service_account": "keeper"}, "write it as 'namespace/name'"),
    ({"service_account": 3}, "write it as 'namespace/name'"),
    ({"replicas": 0}, "replicas=0: give a whole number from 1 on"),
    ({"replicas": "2"}, "replicas='2': give a whole number from 1 on"),
    ({"nmae": "x"}, "unknown option 'nmae'; did you mean 'name'? there are name, service_account, replicas, and for a command env"),
])
@pytest.mark.kubesim(nodes=1)
def test_what_cannot_be_run_so_is_told_with_what_can(kubesim, options, words):
    kubesim.run(sleeps, name="op")
    kubesim.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "keepers"}})
    with pytest.raises(UsageError) as error:
        kubesim.run(sleeps, **options)
    assert words in str(error.value)


def test_an_environment_is_a_dict(kubesim):
    with pytest.raises(UsageError, match="env='A=B': give a dict of environment variables"):
        kubesim.run(["true"], env="A=B")


def test_an_operator_that_is_not_given_a_name_gets_a_free_one(kubesim):
    names = [kubesim.run(sleeps).name for _ in range(3)]
    assert names == ["sleeps", "sleeps-2", "sleeps-3"]


def test_the_default_service_account_is_there_from_the_beginning(kubesim):
    assert kubesim.run(sleeps, service_account="default/default").running


def test_a_service_account_that_a_binding_names_is_taken_for_meant(kubesim):
    kubesim.apply({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "op"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "op", "namespace": "default"}],
    })
    assert kubesim.run(sleeps, service_account="default/op").running


def test_writes_at_which_an_operator_crashes_are_counted_in_whole_numbers(kubesim):
    operator = kubesim.run(sleeps)
    with pytest.raises(UsageError, match=r"at_write='x'.*counted from 1"):
        operator.crash(at_write="x")
