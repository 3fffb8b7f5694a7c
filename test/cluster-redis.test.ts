import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { afterAll, describe, expect, it } from 'vitest';
import { Cluster, ClusterWorker, type RedisAddress } from '../src/cluster/index.js';
import { exactSearchBatch, RandomGenerator } from '../src/index.js';
import { createVectors } from '../src/node/index.js';
import { freePort, RedisServer } from './redis-server.js';

const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'orthant-redis-kinds-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const DIMENSIONS = 12;
function draw(rows: number, seed: number): Float32Array {
  const vectors = new Float32Array(rows * DIMENSIONS);
  new RandomGenerator(seed).normals(vectors);
  return vectors;
}

/** Everything that a cluster does, compared with one index of all rows. */
async function useAll(redis: RedisAddress, name: string): Promise<void> {
  const vectors = draw(460, 1);
  const queries = draw(30, 2);
  const rows = (count: number): Float32Array => vectors.subarray(0, count * DIMENSIONS);
  const truth = (count: number): number[] => [
    ...exactSearchBatch(rows(count), queries, { dimensions: DIMENSIONS, k: 5 }).ids,
  ];
  const cluster = await Cluster.connect({ redis, name });
  const worker = await ClusterWorker.start({ redis, name, goneAfterMs: 1000 });
  try {
    await cluster.publish(rows(400), { dimensions: DIMENSIONS, segmentRows: 50 });
    const options = { k: 5, exact: true, block: 10 };
    expect([...(await cluster.searchBatch(queries, options)).ids]).toEqual(truth(400));
    const joined: number[] = [];
    for await (const { ids } of cluster.join(queries, options)) joined.push(...ids);
    expect(joined).toEqual(truth(400));
    let graph = 0;
    for await (const page of cluster.neighborGraph({ k: 2, exact: true })) graph += page.rows.length;
    expect(graph).toBe(400);
    expect(await cluster.append(vectors.subarray(400 * DIMENSIONS))).toBe(400);
    expect([...(await cluster.searchBatch(queries, options)).ids]).toEqual(truth(460));
    const [nearest] = truth(460);
    expect(await cluster.remove([nearest, 3])).toBe(nearest === 3 ? 1 : 2);
    expect((await cluster.search(queries.subarray(0, DIMENSIONS), options)).ids).not.toContain(nearest);
    const [old] = await cluster.generations();
    await cluster.publish(rows(100), { dimensions: DIMENSIONS });
    await cluster.dropGeneration(old.generation);
    const status = await cluster.status();
    expect(status.rows).toBe(100);
    expect(status.workers.map(({ id }) => id)).toEqual([worker.id]);
    expect(status.redisBytes).toBeGreaterThan(1e6);
    expect([...(await cluster.searchBatch(queries, options)).ids]).toEqual(truth(100));
  } finally {
    await cluster.close();
    await worker.close();
  }
}

/** Ends servers even where a test fails. */
async function withServers(
  starts: (() => Promise<RedisServer>)[],
  use: (servers: RedisServer[]) => Promise<void>,
): Promise<void> {
  const servers: RedisServer[] = [];
  try {
    for (const start of starts) servers.push(await start());
    await use(servers);
  } finally {
    for (const server of servers) await server.stop();
  }
}

describe('a Redis Cluster', () => {
  it('of three masters with a password does everything, and holds segments on all of them', async () => {
    const password = 'p@ss/word';
    const buses = [await freePort(), await freePort(), await freePort()];
    const starts = buses.map(
      (bus) => () =>
        RedisServer.start(
          ...['--cluster-enabled', 'yes', '--cluster-port', String(bus), '--cluster-node-timeout', '5000'],
          ...['--requirepass', password, '--masterauth', password],
        ),
    );
    await withServers(starts, async (servers) => {
      const nodes = servers.map(({ port }) => new Redis({ port, host: '127.0.0.1', password }));
      try {
        for (const [i, node] of nodes.entries()) {
          const from = Math.floor((i * 16384) / 3);
          const to = Math.floor(((i + 1) * 16384) / 3) - 1;
          await node.call('CLUSTER', 'ADDSLOTSRANGE', from, to);
          // No two nodes may start with the same epoch.
          await node.call('CLUSTER', 'SET-CONFIG-EPOCH', i + 1);
        }
        for (const [i, { port }] of servers.entries())
          if (i > 0) await nodes[0].call('CLUSTER', 'MEET', '127.0.0.1', port, buses[i]);
        const isReady = async (node: Redis): Promise<boolean> =>
          /cluster_state:ok[\s\S]*cluster_known_nodes:3/.test(String(await node.call('CLUSTER', 'INFO')));
        while (!(await Promise.all(nodes.map(isReady))).every(Boolean))
          await new Promise((resolve) => setTimeout(resolve, 50));

        const addresses = servers.map(
          ({ port }) => `redis://:${encodeURIComponent(password)}@127.0.0.1:${port}`,
        );
        const cluster = await Cluster.connect({ redis: addresses.slice(0, 2), name: 'spread' });
        await cluster.publish(draw(900, 3), { dimensions: DIMENSIONS, segmentRows: 20 });
        await cluster.close();
        const held = await Promise.all(nodes.map((node) => node.keys('orthant-spread:part:*')));
        expect(held.flat()).toHaveLength(45);
        for (const keys of held) expect(keys.length).toBeGreaterThan(3);
        // What scripts touch together lies together.
        const others = await Promise.all(nodes.map((node) => node.keys('{orthant-spread}*')));
        expect(others.filter((keys) => keys.length > 0)).toHaveLength(1);

        await useAll(addresses, 'nodes');
        await useAll(addresses[1], 'one-address');
      } finally {
        for (const node of nodes) node.disconnect();
      }
    });
  });
});

describe('a Redis with a password', () => {
  it('lets in who has it, by name too, and is named where it does not', async () => {
    const user = ['--user', 'reader', 'on', '>se:cret', '~*', '&*', '+@all'];
    await withServers([() => RedisServer.start('--requirepass', 'main', ...user)], async ([{ port }]) => {
      await useAll(`redis://:main@127.0.0.1:${port}`, 'password');
      const cluster = await Cluster.connect({
        redis: `redis://reader:se%3Acret@127.0.0.1:${port}`,
        name: 'x',
      });
      expect((await cluster.status()).generation).toBe(null);
      await cluster.close();
      for (const wrong of ['', ':guess@', 'reader:guess@']) {
        const refused = await Cluster.connect({
          redis: `redis://${wrong}127.0.0.1:${port}`,
          name: 'x',
        }).catch((error) => error);
        expect(refused.code).toBe('ERR_CLUSTER_REDIS');
        expect(refused.message).toMatch(/NOAUTH|WRONGPASS/);
        expect(refused.message).not.toContain('guess');
      }
    });
  });
});

describe('a Redis with TLS', () => {
  const file = (name: string): string => path.join(folder, name);
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { stdio: 'pipe' });
  };

  /** The command in a process of its own: certificates are read when it starts. */
  function orthant(
    words: string,
    redis: string,
    authority?: string,
  ): Promise<{ status: number | null; stdout: string; stderr: string }> & {
    stop(): void;
    ready: Promise<void>;
  } {
    const child = spawn(process.execPath, [main, ...words.split(' ')], {
      cwd: folder,
      env: { ...process.env, ORTHANT_REDIS: redis, ...(authority && { NODE_EXTRA_CA_CERTS: authority }) },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    const ready = new Promise<void>((resolve) => {
      child.stdout.once('data', () => resolve());
      child.once('exit', () => resolve());
    });
    child.stdout.on('data', (text) => {
      stdout += text;
    });
    child.stderr.on('data', (text) => {
      stderr += text;
    });
    const end = new Promise<{ status: number | null; stdout: string; stderr: string }>((resolve) => {
      child.once('close', (status) => resolve({ status, stdout, stderr }));
    });
    return Object.assign(end, { ready, stop: () => void child.kill('SIGINT') });
  }

  it('and a password by address answers; a certificate of a stranger is refused', async () => {
    const authority = file('authority.pem');
    openssl(
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=authority'],
      ...['-keyout', file('authority.key'), '-out', authority],
    );
    openssl(
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost'],
      ...[
        '-addext',
        'subjectAltName=DNS:localhost,IP:127.0.0.1',
        '-CA',
        authority,
        '-CAkey',
        file('authority.key'),
      ],
      ...['-keyout', file('server.key'), '-out', file('server.pem')],
    );
    const tls = await freePort();
    const options = [
      ...['--port', '0', '--tls-port', String(tls), '--tls-auth-clients', 'no', '--requirepass', 'secret'],
      ...['--tls-cert-file', file('server.pem'), '--tls-key-file', file('server.key')],
      ...['--tls-ca-cert-file', authority],
    ];
    const rows = draw(200, 5);
    const writer = await createVectors(file('rows.npy'), { dimensions: DIMENSIONS });
    await writer.write({ vectors: rows, rows: 200 });
    await writer.finish();
    await withServers([() => RedisServer.start(...options)], async () => {
      const redis = `rediss://:secret@127.0.0.1:${tls}`;
      const worker = orthant('cluster worker tls --json', redis, authority);
      await worker.ready;
      const published = await orthant('cluster publish tls rows.npy --segment-rows 60', redis, authority);
      expect(`${published.status} ${published.stderr}`).toMatch(/^0 /);
      const found = await orthant('cluster search tls rows.npy -k 3 --exact --json', redis, authority);
      expect(`${found.status} ${found.stderr}`).toMatch(/^0 /);
      const ids = found.stdout
        .trimEnd()
        .split('\n')
        .flatMap((line) => JSON.parse(line).ids);
      expect(ids).toEqual([...exactSearchBatch(rows, rows, { dimensions: DIMENSIONS, k: 3 }).ids]);
      worker.stop();
      expect((await worker).status).toBe(0);

      const stranger = await orthant('cluster status tls', redis);
      expect(stranger.status).toBe(1);
      expect(stranger.stderr).toMatch(/expected an answer from Redis at 127\.0\.0\.1.*certificate/);
      const open = await orthant('cluster status tls', `redis://:secret@127.0.0.1:${tls}`);
      expect(open.status).toBe(1);
    });
  });
});
