// An operator: a ConfigMap labelled `website=yes` gets a second one, with its page.
import * as k8s from '@kubernetes/client-node';

const AGENT = 'website-operator/v1'; // by which faults and the journal know it

/** Start it; gives a function that stops it. */
export async function start(config, namespace) {
  const core = config.makeApiClient(k8s.CoreV1Api);
  const agent = k8s.setHeaderOptions('User-Agent', AGENT);
  const waiting = new Set();
  let busy = Promise.resolve();

  async function reconcile(name) {
    const site = informer.get(name, namespace);
    if (!site) {
      return;
    }
    const body = {
      metadata: { name: `${name}-page` }, data: { page: `<h1>${site.data.title}</h1>` },
    };
    try {
      await core.createNamespacedConfigMap({ namespace, body }, agent);
    } catch (error) {
      if (error.code !== 409) {
        throw error;
      }
      await core.replaceNamespacedConfigMap({ namespace, name: body.metadata.name, body }, agent);
    }
  }

  function enqueue(name) {
    waiting.add(name);
    busy = busy.then(async () => {
      if (waiting.delete(name)) {
        await reconcile(name).catch(() => setTimeout(() => enqueue(name), 50)); // try again
      }
    });
  }

  const labelSelector = 'website=yes';
  const path = `/api/v1/namespaces/${namespace}/configmaps`;
  const list = () => core.listNamespacedConfigMap({ namespace, labelSelector }, agent);
  const informer = k8s.makeInformer(config, path, list, labelSelector);
  for (const verb of ['add', 'update']) {
    informer.on(verb, (object) => enqueue(object.metadata.name));
  }
  informer.on('error', () => setTimeout(() => informer.start(), 50));
  await informer.start();
  return () => informer.stop();
}
