package example;

import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.ConfigMapBuilder;
import io.fabric8.kubernetes.api.model.NamespaceBuilder;
import io.fabric8.kubernetes.api.model.apps.Deployment;
import io.fabric8.kubernetes.api.model.apps.DeploymentBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.fabric8.kubernetes.client.Watcher;
import io.fabric8.kubernetes.client.WatcherException;
import io.fabric8.kubernetes.client.dsl.base.PatchContext;
import io.fabric8.kubernetes.client.dsl.base.PatchType;
import io.fabric8.kubernetes.client.extended.leaderelection.LeaderCallbacks;
import io.fabric8.kubernetes.client.extended.leaderelection.LeaderElectionConfigBuilder;
import io.fabric8.kubernetes.client.extended.leaderelection.resourcelock.LeaseLock;
import io.fabric8.kubernetes.client.informers.ResourceEventHandler;
import io.fabric8.kubernetes.client.informers.SharedIndexInformer;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** fabric8 against a served cluster: creates, watches, patches, applies, deletes, elects a leader. */
public final class Interop {
  private static final String NAMESPACE = "interop-java";

  public static void main(String[] arguments) throws Exception {
    try (KubernetesClient client = new KubernetesClientBuilder().build()) {
      client.namespaces().resource(new NamespaceBuilder()
          .withNewMetadata().withName(NAMESPACE).endMetadata().build()).create();
      objects(client);
      informer(client);
      apply(client);
      leader(client);
      client.namespaces().withName(NAMESPACE).delete();
    }
    System.out.println("OK");
    System.exit(0);
  }

  private static void check(boolean holds, String what) {
    if (!holds) {
      throw new AssertionError(what);
    }
  }

  private static ConfigMap configMap(String name, String value) {
    return new ConfigMapBuilder().withNewMetadata().withNamespace(NAMESPACE).withName(name)
        .endMetadata().withData(Map.of("key", value)).build();
  }

  private static void objects(KubernetesClient client) throws Exception {
    var maps = client.configMaps().inNamespace(NAMESPACE);
    BlockingQueue<String> seen = new LinkedBlockingQueue<>();
    try (var watch = maps.withLabel("watched").watch(new Watcher<ConfigMap>() {
      @Override
      public void eventReceived(Action action, ConfigMap map) {
        seen.add(action + " " + map.getMetadata().getName());
      }

      @Override
      public void onClose(WatcherException cause) {
        seen.add("closed");
      }
    })) {
      for (String name : List.of("a", "b", "c")) {
        ConfigMap map = configMap(name, "1");
        map.getMetadata().setLabels(Map.of("watched", "yes"));
        client.resource(map).create();
      }
      ConfigMap patched = maps.withName("a").patch(PatchContext.of(PatchType.JSON_MERGE),
          "{\"data\": {\"key\": \"2\"}}");
      check("2".equals(patched.getData().get("key")), "merge patch");
      patched = maps.withName("a").patch(PatchContext.of(PatchType.JSON),
          "[{\"op\": \"replace\", \"path\": \"/data/key\", \"value\": \"3\"}]");
      check("3".equals(patched.getData().get("key")), "JSON patch");
      maps.withName("b").delete();
      for (String wanted : List.of("ADDED a", "ADDED b", "ADDED c", "MODIFIED a", "MODIFIED a",
          "DELETED b")) {
        String found = seen.poll(20, TimeUnit.SECONDS);
        check(wanted.equals(found), "expected " + wanted + ", found " + found);
      }
    }
    ConfigMap stale = maps.withName("a").get();
    stale.getMetadata().setResourceVersion("1");
    try {
      client.resource(stale).update();
      check(false, "a stale update");
    } catch (KubernetesClientException conflict) {
      check(conflict.getCode() == 409, "conflict: " + conflict);
    }
    check(maps.withName("nobody").get() == null, "absent");
  }

  private static void informer(KubernetesClient client) throws Exception {
    BlockingQueue<String> seen = new LinkedBlockingQueue<>();
    SharedIndexInformer<ConfigMap> informer = client.configMaps().inNamespace(NAMESPACE)
        .inform(new ResourceEventHandler<>() {
          @Override
          public void onAdd(ConfigMap map) {
            note("add", map);
          }

          @Override
          public void onUpdate(ConfigMap old, ConfigMap map) {
            note("update", map);
          }

          @Override
          public void onDelete(ConfigMap map, boolean unknown) {
            note("delete", map);
          }

          private void note(String what, ConfigMap map) {
            if (map.getMetadata().getName().equals("late")) {
              seen.add(what);
            }
          }
        });
    client.resource(configMap("late", "1")).create();
    client.resource(configMap("late", "2")).update();
    client.resource(configMap("late", "2")).delete();
    for (String wanted : List.of("add", "update", "delete")) {
      String found = seen.poll(20, TimeUnit.SECONDS);
      check(wanted.equals(found), "expected " + wanted + ", found " + found);
    }
    check(informer.getStore().list().size() >= 2, "store");
    informer.stop();
  }

  private static void apply(KubernetesClient client) {
    Deployment wanted = new DeploymentBuilder()
        .withNewMetadata().withNamespace(NAMESPACE).withName("web").endMetadata()
        .withNewSpec().withReplicas(1)
        .withNewSelector().addToMatchLabels("app", "web").endSelector()
        .withNewTemplate().withNewMetadata().addToLabels("app", "web").endMetadata()
        .withNewSpec().addNewContainer().withName("web").withImage("web:1").endContainer()
        .endSpec().endTemplate().endSpec().build();
    client.resource(wanted).fieldManager("one").serverSideApply();
    wanted.getSpec().setReplicas(2);
    try {
      client.resource(wanted).fieldManager("two").serverSideApply();
      check(false, "two appliers");
    } catch (KubernetesClientException conflict) {
      check(conflict.getCode() == 409, "conflict: " + conflict);
    }
    Deployment forced = client.resource(wanted).fieldManager("two").forceConflicts()
        .serverSideApply();
    check(forced.getSpec().getReplicas() == 2, "forced");
    Deployment scaled = client.apps().deployments().inNamespace(NAMESPACE).withName("web").scale(3);
    check(scaled.getSpec().getReplicas() == 3, "scaled");
    Deployment patched = client.apps().deployments().inNamespace(NAMESPACE).withName("web").patch(
        PatchContext.of(PatchType.STRATEGIC_MERGE),
        "{\"spec\": {\"template\": {\"spec\": {\"containers\": "
            + "[{\"name\": \"side\", \"image\": \"side:1\"}]}}}}");
    check(patched.getSpec().getTemplate().getSpec().getContainers().size() == 2, "strategic");
  }

  private static void leader(KubernetesClient client) throws Exception {
    BlockingQueue<String> leads = new LinkedBlockingQueue<>();
    CompletableFuture<?> one = elect(client, "one", leads);
    check("one".equals(leads.poll(20, TimeUnit.SECONDS)), "the first leads");
    CompletableFuture<?> two = elect(client, "two", leads);
    check(leads.poll(1, TimeUnit.SECONDS) == null, "the second waits");
    one.cancel(true);
    check("two".equals(leads.poll(30, TimeUnit.SECONDS)), "the second leads");
    two.cancel(true);
  }

  private static CompletableFuture<?> elect(
      KubernetesClient client, String name, BlockingQueue<String> leads) {
    return client.leaderElector().withConfig(new LeaderElectionConfigBuilder()
        .withName("interop").withReleaseOnCancel(true)
        .withLock(new LeaseLock(NAMESPACE, "leader", name))
        .withLeaseDuration(Duration.ofSeconds(4)).withRenewDeadline(Duration.ofSeconds(3))
        .withRetryPeriod(Duration.ofMillis(500))
        .withLeaderCallbacks(new LeaderCallbacks(() -> leads.add(name), () -> { }, id -> { }))
        .build()).build().start();
  }

  private Interop() {
  }
}
