// The remote control of a cluster that `kubesim serve` serves: faults, the clock, the journal,
// snapshots, said by a test in JavaScript.
//
//     const sim = new Kubesim(config); // the KubeConfig that loadFromDefault() has filled
//     const fault = await sim.arm('kubesim.faults.api(client="manager", verb="update").reset()');
import https from 'node:https';

export class Kubesim {
  #config;

  constructor(config) {
    this.#config = config;
  }

  /** Arm a fault, said as the Python that makes it. */
  arm(fault) {
    return this.#ask('POST', 'faults', { fault });
  }

  /** What became of a fault. */
  fault(id) {
    return this.#ask('GET', `faults/${id}`);
  }

  /** End a fault. */
  disarm(id) {
    return this.#ask('DELETE', `faults/${id}`);
  }

  /** End all faults. */
  disarmAll() {
    return this.#ask('DELETE', 'faults');
  }

  /** What time it is. */
  clock() {
    return this.#ask('GET', 'clock');
  }

  /** Let virtual time pass at once: '90s', '1h30m', or a number of seconds. */
  advance(duration) {
    return this.#ask('POST', 'clock/advance', { duration });
  }

  /** Have the clock stand, or go on. */
  freeze(frozen = true) {
    return this.#ask('POST', 'clock/freeze', { frozen });
  }

  /** Let time pass until nothing changes any more, here or by clients outside. */
  settle(timeout = '10m') {
    return this.#ask('POST', 'settle', { timeout });
  }

  /** What an actor did (left out: anybody). */
  async journal(actor) {
    const query = new URLSearchParams({ limit: '100000', ...(actor && { actor }) });
    return (await this.#ask('GET', `journal?${query}`)).items;
  }

  /** Keep all that is stored under a name. */
  snapshot(name) {
    return this.#ask('PUT', `snapshots/${encodeURIComponent(name)}`);
  }

  /** Store what was kept under that name, and nothing else. */
  restore(name) {
    return this.#ask('POST', `snapshots/${encodeURIComponent(name)}/restore`);
  }

  async #ask(method, path, body) {
    const options = { method, headers: { 'Content-Type': 'application/json' } };
    await this.#config.applyToHTTPSOptions(options);
    const url = `${this.#config.getCurrentCluster().server}/kubesim/v1/${path}`;
    const { status, text } = await new Promise((resolve, reject) => {
      const request = https.request(url, options, (answer) => {
        const pieces = [];
        answer.on('data', (piece) => pieces.push(piece));
        answer.on('error', reject);
        answer.on('end', () => resolve({
          status: answer.statusCode, text: Buffer.concat(pieces).toString(),
        }));
      });
      request.on('error', reject);
      request.end(body && JSON.stringify(body));
    });
    const found = JSON.parse(text);
    if (status >= 400) {
      throw new Error(`kubesim: ${status}: ${found.message}`);
    }
    return found;
  }
}
