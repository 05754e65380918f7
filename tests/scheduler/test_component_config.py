"""A KubeSchedulerConfiguration changes profiles as it does in kube-scheduler."""

import pytest
import yaml
from scheduler_world import World

from pytest_kubesim.errors import NotSimulated, UsageError
from pytest_kubesim.scheduler import component_config
from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.profile import DEFAULT_PLUGINS
from pytest_kubesim.sim.clock import NS


def load(text="", plugins=()):
    head = {"apiVersion": component_config.API_VERSION, "kind": component_config.KIND}
    return component_config.load({**head, **(yaml.safe_load(text) or {})}, plugins)


def world(text, plugins=()):
    return World(profiles=load(text, plugins).profiles)


def names(text, point, profile=0):
    return [plugin.name for plugin in load(text).profiles[profile].build().at(point)]


def test_an_empty_configuration_is_the_default():
    loaded = load()
    assert [p.scheduler_name for p in loaded.profiles] == ["default-scheduler"]
    assert (loaded.initial_backoff_ns, loaded.max_backoff_ns) == (NS, 10 * NS)
    layout = loaded.profiles[0].build()
    assert [plugin.name for plugin in layout.plugins] == [name for name, _, _ in DEFAULT_PLUGINS]
    assert layout.weight("TaintToleration") == 3


def test_an_extension_point_leaves_out_and_puts_first():
    text = """
    profiles:
    - plugins:
        filter:
          disabled: [{name: NodePorts}]
          enabled: [{name: NodeResourcesFit}]
        score:
          disabled: [{name: "*"}]
          enabled: [{name: NodeResourcesFit, weight: 7}, {name: ImageLocality}]
    """
    filters = names(text, "filter")
    assert filters[0] == "NodeResourcesFit"
    assert "NodePorts" not in filters
    assert "NodePorts" in names(text, "preFilter")
    assert names(text, "score") == ["NodeResourcesFit", "ImageLocality"]
    layout = load(text).profiles[0].build()
    assert (layout.weight("NodeResourcesFit"), layout.weight("ImageLocality")) == (7, 1)


def test_multi_point_changes_the_default_in_place_and_appends():
    text = """
    profiles:
    - plugins:
        multiPoint:
          disabled: [{name: VolumeZone}]
          enabled: [{name: TaintToleration, weight: 5}]
    """
    default = [name for name, _, _ in DEFAULT_PLUGINS if name != "VolumeZone"]
    layout = load(text).profiles[0].build()
    assert [plugin.name for plugin in layout.plugins] == default
    assert layout.weight("TaintToleration") == 5


def test_a_plugin_of_ones_own_runs_where_it_is_enabled():
    class OddOnly:
        name = "OddOnly"

        def filter(self, state, pod, node):
            return None if node.name[-1] in "13579" else fwk.unschedulable("even")

    text = """
    profiles:
    - schedulerName: default-scheduler
    - schedulerName: odd
      plugins: {filter: {enabled: [{name: OddOnly}]}}
    """
    run = world(text, [OddOnly]).nodes(1).start()
    run.pod("any")
    run.pod("odd", schedulerName="odd")
    run.run()
    assert run.where("any") == "node-0"
    assert run.why("odd") == (
        "0/1 nodes are available: 1 even. preemption: 0/1 nodes are available: "
        "1 No preemption victims found for incoming pod."
    )


def test_most_allocated_fills_nodes():
    text = """
    profiles:
    - pluginConfig:
      - name: NodeResourcesFit
        args:
          scoringStrategy:
            type: MostAllocated
            resources: [{name: cpu, weight: 1}]
      plugins: {score: {disabled: [{name: NodeResourcesBalancedAllocation}]}}
    """
    run = world(text).nodes(3, cpu="4").start()
    for i in range(3):
        run.pod(f"p{i}", cpu="1")
        run.run()
    assert len({run.where(f"p{i}") for i in range(3)}) == 1


def test_a_shape_says_how_full_a_node_should_be():
    text = """
    profiles:
    - pluginConfig:
      - name: NodeResourcesFit
        args:
          scoringStrategy:
            type: RequestedToCapacityRatio
            resources: [{name: cpu}]
            requestedToCapacityRatio:
              shape: [{utilization: 0, score: 0}, {utilization: 50, score: 10}, {utilization: 100, score: 0}]
      plugins: {score: {disabled: [{name: NodeResourcesBalancedAllocation}]}}
    """
    run = world(text)
    for name, cpu in (("small", "1"), ("middle", "2"), ("large", "8")):
        run.node(name, cpu=cpu)
    run.start()
    run.pod("p", cpu="1")
    run.run()
    assert run.where("p") == "middle"


def test_added_affinity_holds_for_every_pod_of_the_profile():
    text = """
    profiles:
    - pluginConfig:
      - name: NodeAffinity
        args:
          addedAffinity:
            requiredDuringSchedulingIgnoredDuringExecution:
              nodeSelectorTerms: [{matchExpressions: [{key: team, operator: In, values: [a]}]}]
    """
    run = world(text)
    run.node("other")
    run.start()
    run.pod("p")
    run.run()
    assert run.why("p") == (
        "0/1 nodes are available: 1 node(s) didn't match scheduler-enforced node affinity. "
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )
    run.node("mine", labels={"team": "a"})
    run.run(3)
    assert run.where("p") == "mine"


def test_default_constraints_spread_pods_of_a_service_hard():
    text = """
    profiles:
    - pluginConfig:
      - name: PodTopologySpread
        args:
          defaultingType: List
          defaultConstraints:
          - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}
    """
    run = world(text)
    run.node("a", labels={"zone": "a"})
    run.node("b", labels={"zone": "b"}, taints=[{"key": "x", "effect": "NoSchedule"}])
    run.start()
    run.api.put("services", {
        "metadata": {"name": "s", "namespace": "default"}, "spec": {"selector": {"app": "x"}},
    })
    run.run()
    run.pod("one", labels={"app": "x"})
    run.run()
    run.pod("two", labels={"app": "x"})
    run.run()
    assert run.where("one") == "a"
    assert "1 node(s) didn't match pod topology spread constraints" in run.why("two")


def test_ignored_resources_are_not_looked_at():
    text = """
    profiles:
    - pluginConfig:
      - name: NodeResourcesFit
        args: {ignoredResources: [example.com/a], ignoredResourceGroups: [ignored.example.com]}
    """
    run = world(text).nodes(1).start()
    for name, resource in (("a", "example.com/a"), ("b", "ignored.example.com/x"), ("c", "example.com/c")):
        run.pod(name, containers=[{"name": "c", "image": "x", "resources": {"requests": {resource: "1"}}}])
    run.run()
    assert (run.where("a"), run.where("b"), run.where("c")) == ("node-0", "node-0", None)


def test_backoff_is_as_long_as_it_says():
    loaded = load("{podInitialBackoffSeconds: 3, podMaxBackoffSeconds: 60}")
    assert (loaded.initial_backoff_ns, loaded.max_backoff_ns) == (3 * NS, 60 * NS)


def test_the_percentage_of_the_profile_goes_before_that_of_all():
    loaded = load("""
    percentageOfNodesToScore: 30
    profiles:
    - {schedulerName: a}
    - {schedulerName: b, percentageOfNodesToScore: 70}
    """)
    assert [p.percentage_of_nodes_to_score for p in loaded.profiles] == [30, 70]


@pytest.mark.parametrize(("text", "want"), [
    ("{profilez: []}", 'strict decoding error: unknown field "profilez"'),
    ("profiles: [{plugins: {filters: {}}}]", 'unknown field "profiles[0].plugins.filters"'),
    ("profiles: [{schedulerName: a}, {schedulerName: a}]",
     'profiles[1].schedulerName: Duplicate value: "profiles[0].schedulerName"'),
    ("profiles: [{schedulerName: a}, {}]", "profiles[1].schedulerName: Required value"),
    ("{percentageOfNodesToScore: 101}", "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"),
    ("{podInitialBackoffSeconds: 20}",
     "podMaxBackoffSeconds: Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds"),
    ("{parallelism: 0}", "parallelism: Invalid value: 0: should be an integer value greater than zero"),
    ("profiles: [{plugins: {filter: {enabled: [{name: Nope}]}}}]", 'FilterPlugin "Nope" does not exist'),
    ("profiles: [{plugins: {filter: {enabled: [{name: ImageLocality}]}}}]",
     'plugin "ImageLocality" does not extend FilterPlugin plugin'),
    ("profiles: [{plugins: {bind: {disabled: [{name: DefaultBinder}]}}}]",
     'at least one bind plugin is needed for profile with scheduler name "default-scheduler"'),
    ("profiles: [{plugins: {queueSort: {disabled: [{name: '*'}]}}}]",
     'only one queue sort plugin required for profile with scheduler name "default-scheduler", but got 0'),
    ("profiles: [{pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeight: 101}}]}]",
     "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]"),
    ("profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: Best}}}]}]",
     'scoringStrategy.type: Unsupported value: "Best": supported values: "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"'),
    ("profiles: [{pluginConfig: [{name: VolumeBinding, args: {shape: [{utilization: 50}, {utilization: 5}]}}]}]",
     "shape[1].utilization: Invalid value: 5: values must be sorted in increasing order"),
    ("profiles: [{pluginConfig: [{name: DynamicResources, args: {bindingTimeout: 10ms}}]}]",
     'bindingTimeout: Invalid value: "10ms": must be at least 1 second'),
])
def test_what_kube_scheduler_refuses_is_refused(text, want):
    with pytest.raises(UsageError) as refused:
        load(text)
    assert want in str(refused.value)


def test_extenders_are_not_simulated():
    with pytest.raises(NotSimulated):
        load("extenders: [{urlPrefix: 'http://x'}]")


def test_a_filter_without_what_it_builds_on_is_not_simulated():
    with pytest.raises(NotSimulated, match="PodTopologySpread at filter without preFilter"):
        load("profiles: [{plugins: {preFilter: {disabled: [{name: PodTopologySpread}]}}}]")
