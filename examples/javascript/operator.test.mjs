// $KUBECONFIG leads to a cluster of `kubesim serve`.
import assert from 'node:assert/strict';
import test from 'node:test';

import * as k8s from '@kubernetes/client-node';

import { Kubesim } from './kubesim.mjs';
import { start } from './operator.mjs';

const namespace = 'default';
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const sim = new Kubesim(config);

async function eventually(page) {
  const end = Date.now() + 20_000;
  for (;;) {
    const found = await core
      .readNamespacedConfigMap({ namespace, name: 'home-page' })
      .catch(() => undefined);
    if (found?.data.page === page) {
      return;
    }
    assert.ok(Date.now() < end, `${page} is not there, but ${found?.data.page}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function site(title) {
  return { metadata: { name: 'home', labels: { website: 'yes' } }, data: { title } };
}

test('the operator bears that the answer to its update is lost', { timeout: 60_000 }, async () => {
  const stop = await start(config, namespace);
  await core.createNamespacedConfigMap({ namespace, body: site('one') });
  await eventually('<h1>one</h1>');

  const fault = await sim.arm(
    'kubesim.faults.api(client="website-operator", verb="update").apply_but_drop_answer()',
  );
  await core.replaceNamespacedConfigMap({ namespace, name: 'home', body: site('two') });
  await eventually('<h1>two</h1>');
  assert.equal((await sim.fault(fault.id)).struck, 1);

  await sim.snapshot('two');
  await core.replaceNamespacedConfigMap({ namespace, name: 'home', body: site('three') });
  await eventually('<h1>three</h1>');
  await sim.restore('two');
  await eventually('<h1>two</h1>');

  const before = await sim.clock();
  await sim.advance('1h');
  assert.ok((await sim.clock()).elapsedSeconds - before.elapsedSeconds >= 3600);
  await sim.settle();
  assert.ok((await sim.journal('website-operator')).length > 0);
  await assert.rejects(sim.arm('kubesim.faults.api().explode()'), /there is no 'explode'/);
  await stop();
});
