/**
 * What a cluster costs beside calling its segments in one process:
 *
 *     npx tsx bench/data.ts words
 *     npm run bench:cluster -- [--rows 340479] [--segments 1,2,4,8] [--json bench/results/cluster.json]
 *
 * A Redis of its own on loopback, two worker processes, `words` cut into 1, 2, 4 and 8 segments; with 4 also one worker and
 * four, and blocks of 500. Processes that search at the same time share the machine's caches and are slower for it, by
 * whatever way they are called: one worker tells what the cluster itself costs beside one process. For each: seconds to
 * publish, bytes that Redis moved per query, Redis commands per block, CPU time of a block of 100 queries (client, workers
 * and Redis together) and of the same segments called in this process, the time that a block takes, recall beside both; at
 * the end the time until all is served again after a worker was killed. CPU times are what other work on the machine hardly
 * changes. Needs Linux, whose /proc tells of other processes. `bench/cluster-model.ts` reads the result.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Redis } from 'ioredis';
import { VectorIndex } from 'orthant';
import { Cluster } from 'orthant/cluster';
import { RedisServer } from '../test/redis-server.js';
import { type Prediction, predict } from './cluster-model.js';
import { readDataSet } from './data.js';
import { cpuMs, figure, median, type Provenance, provenance, table, writeJson } from './record.js';

const WORKER = fileURLToPath(new URL('../test/cluster-worker.mjs', import.meta.url));
const K = 10;
const BLOCK = 100;
const RECALL = 0.95;
const WORKERS = 2;
const COUNTS = [1, 2, 4, 8];
/** At this count also other numbers of workers, and larger blocks. */
const MORE_AT = 4;
const MORE_WORKERS = [1, 4];
const MORE_BLOCKS = [500];
const GONE_MS = 2000;
/** Rounds of all queries: the first warm both sides up, whose code is compiled as it runs. */
const [WARM, ROUNDS] = [5, 5];

export interface ClusterFigures {
  segments: number;
  /** Worker processes and queries a block, where they differ from the result's. */
  workers?: number;
  block?: number;
  publishSeconds: number;
  bytesPerQuery: number;
  commandsPerBlock: number;
  /** CPU milliseconds of a block of queries: client, workers and Redis. */
  blockCpuMs: number;
  /** Of them in Redis. */
  redisCpuMs: number;
  /** CPU milliseconds of the same segments one after the other in this process. */
  inProcessCpuMs: number;
  /** Milliseconds of one block, waited for before the next is asked: the median. */
  blockMs: number;
  queriesPerSecond: number;
  recall: number;
  inProcessRecall: number;
}

export interface ClusterResult extends Provenance {
  cluster: ClusterFigures[];
  data: string;
  rows: number;
  dimensions: number;
  k: number;
  block: number;
  workers: number;
  /** Bytes of all segments' snapshots. */
  segmentBytes: number;
  recoverySeconds: number;
  /** What bench/cluster-model.ts makes of the other runs for each. */
  predicted: Prediction[];
}

/** A worker process; resolves when it has joined. */
async function startWorker(redis: string, name: string, memoryBytes: number): Promise<ChildProcess> {
  const child = spawn(
    process.execPath,
    [WORKER, JSON.stringify({ redis, name, goneAfterMs: GONE_MS, memoryBytes })],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  child.stdout?.resume();
  return child;
}

/** CPU milliseconds of other processes since they began, of which the kernel tells in hundredths of a second. */
function cpuMsOf(children: ChildProcess[]): number {
  let ticks = 0;
  for (const { pid } of children) {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * 10;
}

/** The segments' own snapshots, so that both sides search the very same. */
async function segmentsOf(redis: Redis, name: string): Promise<{ base: number; index: VectorIndex }[]> {
  const [generation, version] = String(await redis.get(`{orthant-${name}}:head`)).split(' ');
  const manifest = String(await redis.get(`{orthant-${name}}:manifest:${generation}:${version}`));
  const segments: { base: number; parts: { key: string }[] }[] = JSON.parse(manifest).segments;
  return Promise.all(
    segments.map(async ({ base, parts }) => {
      const bytes = await Promise.all(parts.map(({ key }) => redis.getBuffer(`orthant-${name}:part:${key}`)));
      return { base, index: VectorIndex.load(Buffer.concat(bytes as Buffer[])) };
    }),
  );
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 20));
}

async function counters(redis: Redis): Promise<{ bytes: number; commands: number; cpuMs: number }> {
  const info = await redis.info('all');
  const read = (name: string): number => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1]);
  return {
    bytes: read('total_net_input_bytes') + read('total_net_output_bytes'),
    commands: read('total_commands_processed'),
    cpuMs: 1000 * (read('used_cpu_user') + read('used_cpu_sys')),
  };
}

function recallOf(ids: ArrayLike<number>, truth: Int32Array, truthStride: number, queries: number): number {
  let hits = 0;
  for (let i = 0; i < queries; i++) {
    const near = new Set(truth.subarray(i * truthStride, i * truthStride + K));
    for (let j = 0; j < K; j++) if (near.has(ids[i * K + j])) hits++;
  }
  return hits / (queries * K);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { rows: { type: 'string' }, segments: { type: 'string' }, json: { type: 'string' } },
  });
  const { base, queries, truth, n, d, nq } = readDataSet('words');
  const rows = Math.min(n, Number(values.rows ?? n));
  const vectors = base.subarray(0, rows * d);
  const truthStride = truth.length / nq;
  const counts = values.segments?.split(',').map(Number) ?? COUNTS;
  const server = await RedisServer.start('--appendfsync', 'everysec');
  const redis = new Redis(server.url);
  const figures: ClusterFigures[] = [];
  let segmentBytes = 0;
  let recoverySeconds = 0;

  const measure = async ({
    cluster,
    redis,
    children,
    local,
    block,
  }: {
    cluster: Cluster;
    redis: Redis;
    children: ChildProcess[];
    local: { base: number; index: VectorIndex }[];
    block: number;
  }): Promise<Omit<ClusterFigures, 'segments' | 'workers' | 'block' | 'publishSeconds'>> => {
    const options = { k: K, recall: RECALL, block };
    let recall = 0;
    for (let round = 0; round < WARM; round++)
      recall = recallOf((await cluster.searchBatch(queries, options)).ids, truth, truthStride, nq);

    const blocks = (ROUNDS * nq) / block;
    const before = await counters(redis);
    const cpuBefore = cpuMs() + cpuMsOf(children);
    const together = performance.now();
    for (let round = 0; round < ROUNDS; round++) await cluster.searchBatch(queries, options);
    const seconds = (performance.now() - together) / 1000;
    const after = await counters(redis);
    const cpu = cpuMs() + cpuMsOf(children) - cpuBefore;

    const blockMs: number[] = [];
    for (let i = 0; i < nq; i += block) {
      const start = performance.now();
      await cluster.searchBatch(queries.subarray(i * d, (i + block) * d), options);
      blockMs.push(performance.now() - start);
    }

    const found = new Float64Array(nq * K);
    const search = (): void => {
      for (let i = 0; i < nq; i += block) {
        const some = queries.subarray(i * d, (i + block) * d);
        const answers = local.map(({ base, index }) => ({
          base,
          ...index.searchBatch(some, { k: K, recall: RECALL }),
        }));
        for (let q = 0; q < some.length / d; q++) {
          const all = answers.flatMap(({ base, ids, distances }) =>
            Array.from({ length: K }, (_, j) => ({
              id: base + ids[q * K + j],
              distance: distances[q * K + j],
            })),
          );
          all.sort((a, b) => a.distance - b.distance || a.id - b.id);
          for (let j = 0; j < K; j++) found[(i + q) * K + j] = all[j].id;
        }
      }
    };
    for (let round = 0; round < WARM; round++) search();
    const inProcess = cpuMs();
    for (let round = 0; round < ROUNDS; round++) search();
    return {
      bytesPerQuery: (after.bytes - before.bytes) / (ROUNDS * nq),
      commandsPerBlock: (after.commands - before.commands) / blocks,
      blockCpuMs: (cpu + after.cpuMs - before.cpuMs) / blocks,
      redisCpuMs: (after.cpuMs - before.cpuMs) / blocks,
      inProcessCpuMs: (cpuMs() - inProcess) / blocks,
      blockMs: median(blockMs),
      queriesPerSecond: (ROUNDS * nq) / seconds,
      recall,
      inProcessRecall: recallOf(found, truth, truthStride, nq),
    };
  };

  try {
    for (const count of counts) {
      const name = `bench-${count}`;
      const cluster = await Cluster.connect({ redis: server.url, name });
      const segmentRows = Math.ceil(rows / count);
      const start = performance.now();
      await cluster.publish(vectors, { dimensions: d, metric: 'cosine', segmentRows });
      const publishSeconds = (performance.now() - start) / 1000;
      segmentBytes = (await cluster.status()).segments.reduce((sum, { bytes }) => sum + bytes, 0);
      const local = await segmentsOf(redis, name);
      const largest = Math.max(...(await cluster.status()).segments.map(({ bytes }) => bytes));
      const isFull = count === MORE_AT;
      for (const workers of [WORKERS, ...(isFull ? MORE_WORKERS : [])]) {
        // As much memory as each one's share takes, so that all have theirs.
        const memoryBytes = (Math.ceil(count / workers) + 0.5) * largest;
        const children = await Promise.all(
          Array.from({ length: workers }, () => startWorker(server.url, name, memoryBytes)),
        );
        const served = async (): Promise<boolean> =>
          (await cluster.status()).segments.every(({ holders }) => holders > 0);
        await until(served);
        for (const block of [BLOCK, ...(isFull && workers === WORKERS ? MORE_BLOCKS : [])]) {
          const measured = await measure({ cluster, redis, children, local, block });
          figures.push({
            segments: count,
            ...(workers !== WORKERS && { workers }),
            ...(block !== BLOCK && { block }),
            publishSeconds,
            ...measured,
          });
        }
        if (isFull && workers === WORKERS) {
          // One that has room for all takes over from one that is killed.
          const heir = await startWorker(server.url, name, 2 ** 32);
          const killed = performance.now();
          children[0].kill('SIGKILL');
          await until(async () => (await cluster.status()).segments.some(({ holders }) => holders === 0));
          await until(served);
          recoverySeconds = (performance.now() - killed) / 1000;
          heir.kill('SIGKILL');
        }
        for (const child of children) child.kill('SIGKILL');
        await until(async () => (await cluster.status()).workers.length === 0);
      }
      for (const { index } of local) index.dispose();
      await cluster.close();
      await redis.flushall();
      console.error(`${count} segments: done, ${figure(cpuMs() / 1000)} s of CPU`);
    }
  } finally {
    redis.disconnect();
    await server.stop();
  }
  const result: ClusterResult = {
    ...provenance(),
    cluster: figures,
    data: 'words',
    rows,
    dimensions: d,
    k: K,
    block: BLOCK,
    workers: WORKERS,
    segmentBytes,
    recoverySeconds,
    predicted: [],
  };
  result.predicted = predict(result);
  console.log(
    table([
      [
        ...[
          'segments',
          'workers',
          'block',
          'publish s',
          'bytes/query',
          'commands/block',
          'block CPU ms',
          'of it Redis',
          'in process',
        ],
        ...['more', 'block ms', 'QPS', 'recall', 'in process'],
      ],
      ...figures.map((f) => [
        ...[
          f.segments,
          f.workers ?? WORKERS,
          f.block ?? BLOCK,
          f.publishSeconds,
          f.bytesPerQuery,
          f.commandsPerBlock,
        ].map(figure),
        ...[f.blockCpuMs, f.redisCpuMs, f.inProcessCpuMs].map(figure),
        `${Math.round(100 * (f.blockCpuMs / f.inProcessCpuMs - 1))} %`,
        ...[f.blockMs, f.queriesPerSecond].map(figure),
        f.recall.toFixed(3),
        f.inProcessRecall.toFixed(3),
      ]),
    ]),
  );
  console.log(`served again ${figure(recoverySeconds)} s after a worker was killed`);
  if (values.json) writeJson(values.json, result);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
