// @kubernetes/client-node against a served cluster: creates, watches, patches, applies, deletes,
// elects a leader.
import assert from 'node:assert/strict';

import * as k8s from '@kubernetes/client-node';

const namespace = 'interop-javascript';
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const coordination = config.makeApiClient(k8s.CoordinationV1Api);

const configMap = (name, value) => ({ metadata: { name }, data: { key: value } });
const as = (type) => k8s.setHeaderOptions('Content-Type', type);

async function refused(code, promise) {
  await assert.rejects(promise, (error) => error.code === code);
}

async function until(holds, what) {
  const end = Date.now() + 20_000;
  while (!holds()) {
    assert.ok(Date.now() < end, what);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function objects() {
  const seen = [];
  const since = (await core.listNamespacedConfigMap({ namespace })).metadata.resourceVersion;
  const watch = await new k8s.Watch(config).watch(
    `/api/v1/namespaces/${namespace}/configmaps`,
    { resourceVersion: since, allowWatchBookmarks: true },
    (type, object) => type === 'BOOKMARK' || seen.push(`${type} ${object.metadata.name}`),
    () => {},
  );
  for (const name of ['a', 'b', 'c']) {
    await core.createNamespacedConfigMap({ namespace, body: configMap(name, '1') });
  }
  const page = await core.listNamespacedConfigMap({ namespace, limit: 2 });
  assert.equal(page.items.length, 2);
  assert.ok(page.metadata._continue);
  const merged = await core.patchNamespacedConfigMap(
    { namespace, name: 'a', body: { data: { key: '2' } } },
    as(k8s.PatchStrategy.MergePatch),
  );
  assert.equal(merged.data.key, '2');
  const patched = await core.patchNamespacedConfigMap(
    { namespace, name: 'a', body: [{ op: 'replace', path: '/data/key', value: '3' }] },
    as(k8s.PatchStrategy.JsonPatch),
  );
  assert.equal(patched.data.key, '3');
  const stale = { ...patched, metadata: { ...patched.metadata, resourceVersion: '1' } };
  await refused(409, core.replaceNamespacedConfigMap({ namespace, name: 'a', body: stale }));
  await core.deleteNamespacedConfigMap({ namespace, name: 'b' });
  await refused(404, core.readNamespacedConfigMap({ namespace, name: 'b' }));
  await until(() => seen.length >= 6, `events: ${seen}`);
  assert.deepEqual(seen, [
    'ADDED a', 'ADDED b', 'ADDED c', 'MODIFIED a', 'MODIFIED a', 'DELETED b',
  ]);
  watch.abort();
}

async function informer() {
  const seen = [];
  const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, () =>
    core.listNamespacedConfigMap({ namespace }),
  );
  for (const verb of ['add', 'update', 'delete']) {
    informer.on(verb, (object) => object.metadata.name === 'late' && seen.push(verb));
  }
  await informer.start();
  await core.createNamespacedConfigMap({ namespace, body: configMap('late', '1') });
  await core.replaceNamespacedConfigMap({ namespace, name: 'late', body: configMap('late', '2') });
  await core.deleteNamespacedConfigMap({ namespace, name: 'late' });
  await until(() => seen.includes('delete'), `informer: ${seen}`);
  assert.deepEqual(seen, ['add', 'update', 'delete']);
  assert.equal(informer.get('a', namespace).data.key, '3');
  await informer.stop();
}

async function apply() {
  const wanted = (replicas) => ({
    apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web' },
    spec: {
      replicas, selector: { matchLabels: { app: 'web' } },
      template: {
        metadata: { labels: { app: 'web' } },
        spec: { containers: [{ name: 'web', image: 'web:1' }] },
      },
    },
  });
  const applied = (fieldManager, replicas, force) => apps.patchNamespacedDeployment(
    { namespace, name: 'web', body: wanted(replicas), fieldManager, force },
    as(k8s.PatchStrategy.ServerSideApply),
  );
  await applied('one', 1);
  await refused(409, applied('two', 2));
  assert.equal((await applied('two', 2, true)).spec.replicas, 2);
  const side = { containers: [{ name: 'side', image: 'side:1' }] };
  const patched = await apps.patchNamespacedDeployment(
    { namespace, name: 'web', body: { spec: { template: { spec: side } } } },
    as(k8s.PatchStrategy.StrategicMergePatch),
  );
  assert.equal(patched.spec.template.spec.containers.length, 2);
}

// The library has no elector: two candidates for a Lease, by optimistic updates.
async function leader() {
  const claim = (holderIdentity) => ({
    metadata: { name: 'leader' },
    spec: { holderIdentity, leaseDurationSeconds: 15, renewTime: new k8s.V1MicroTime() },
  });
  await coordination.createNamespacedLease({ namespace, body: claim('one') });
  await refused(409, coordination.createNamespacedLease({ namespace, body: claim('two') }));
  const lease = await coordination.readNamespacedLease({ namespace, name: 'leader' });
  lease.spec.holderIdentity = 'two';
  const body = lease;
  await coordination.replaceNamespacedLease({ namespace, name: 'leader', body });
  await refused(409, coordination.replaceNamespacedLease({ namespace, name: 'leader', body }));
}

await core.createNamespace({ body: { metadata: { name: namespace } } });
await objects();
await informer();
await apply();
await leader();
await core.deleteNamespace({ name: namespace });
console.log('OK');
process.exit(0);
