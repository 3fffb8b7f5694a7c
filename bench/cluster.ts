/**
 * What a cluster costs beside calling its segments in one process:
 *
 *     npx tsx bench/data.ts words
 *     npm run bench:cluster -- [--rows 340479] [--json bench/results/cluster.json]
 *
 * A Redis of its own on loopback, two worker processes, `words` cut into 1, 2, 4 and 8 segments. For each: bytes that
 * Redis moved per query, Redis commands per block, seconds to publish, milliseconds of a block of 100 queries by the
 * cluster and by the same segments in this process, recall beside both; at the end the time until all is served again
 * after a worker was killed. `bench/cluster-model.ts` reads the result.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Redis } from 'ioredis';
import { VectorIndex } from 'orthant';
import { Cluster } from 'orthant/cluster';
import { RedisServer } from '../test/redis-server.js';
import { readDataSet } from './data.js';
import { cpuMs, figure, median, type Provenance, provenance, table, writeJson } from './record.js';

const WORKER = fileURLToPath(new URL('../test/cluster-worker.mjs', import.meta.url));
const K = 10;
const BLOCK = 100;
const RECALL = 0.95;
const WORKERS = 2;
const COUNTS = [1, 2, 4, 8];
const GONE_MS = 2000;

export interface ClusterFigures {
  segments: number;
  publishSeconds: number;
  bytesPerQuery: number;
  commandsPerBlock: number;
  /** Of one block of 100 queries, waited for before the next is asked. */
  blockMs: number;
  /** The same segments one after the other in this process. */
  inProcessMs: number;
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
}

/** A worker process; resolves when it has joined. */
async function startWorker(redis: string, name: string): Promise<ChildProcess> {
  const child = spawn(
    process.execPath,
    [WORKER, JSON.stringify({ redis, name, goneAfterMs: GONE_MS, memoryBytes: 2 ** 32 })],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  child.stdout?.resume();
  return child;
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 20));
}

async function counters(redis: Redis): Promise<{ bytes: number; commands: number }> {
  const info = await redis.info('stats');
  const read = (name: string): number => Number(new RegExp(`${name}:(\\d+)`).exec(info)?.[1]);
  return {
    bytes: read('total_net_input_bytes') + read('total_net_output_bytes'),
    commands: read('total_commands_processed'),
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
  const { values } = parseArgs({ options: { rows: { type: 'string' }, json: { type: 'string' } } });
  const { base, queries, truth, n, d, nq } = readDataSet('words');
  const rows = Math.min(n, Number(values.rows ?? n));
  const vectors = base.subarray(0, rows * d);
  const truthStride = truth.length / nq;
  const server = await RedisServer.start();
  const redis = new Redis(server.url);
  const figures: ClusterFigures[] = [];
  let segmentBytes = 0;
  let recoverySeconds = 0;
  try {
    for (const count of COUNTS) {
      const name = `bench-${count}`;
      const cluster = await Cluster.connect({ redis: server.url, name });
      const segmentRows = Math.ceil(rows / count);
      const start = performance.now();
      await cluster.publish(vectors, { dimensions: d, metric: 'cosine', segmentRows });
      const publishSeconds = (performance.now() - start) / 1000;
      const workers = await Promise.all(Array.from({ length: WORKERS }, () => startWorker(server.url, name)));
      const served = async (): Promise<boolean> =>
        (await cluster.status()).segments.every(({ holders }) => holders > 0);
      await until(served);
      const options = { k: K, recall: RECALL, block: BLOCK };
      const warm = await cluster.searchBatch(queries, options);
      const recall = recallOf(warm.ids, truth, truthStride, nq);

      const before = await counters(redis);
      const together = performance.now();
      await cluster.searchBatch(queries, options);
      const seconds = (performance.now() - together) / 1000;
      const after = await counters(redis);

      const local = Array.from({ length: count }, (_, i) =>
        VectorIndex.from(vectors.subarray(i * segmentRows * d, (i + 1) * segmentRows * d), {
          dimensions: d,
          metric: 'cosine',
        }),
      );
      const blockMs: number[] = [];
      const inProcessMs: number[] = [];
      const found = new Float64Array(nq * K);
      for (let i = 0; i < nq; i += BLOCK) {
        const block = queries.subarray(i * d, (i + BLOCK) * d);
        let at = performance.now();
        await cluster.searchBatch(block, options);
        blockMs.push(performance.now() - at);
        at = performance.now();
        const answers = local.map((index) => index.searchBatch(block, { k: K, recall: RECALL }));
        for (let q = 0; q < BLOCK; q++) {
          const all = answers.flatMap(({ ids, distances }, s) =>
            Array.from({ length: K }, (_, j) => ({
              id: ids[q * K + j] + s * segmentRows,
              distance: distances[q * K + j],
            })),
          );
          all.sort((a, b) => a.distance - b.distance || a.id - b.id);
          for (let j = 0; j < K; j++) found[(i + q) * K + j] = all[j].id;
        }
        inProcessMs.push(performance.now() - at);
      }
      figures.push({
        segments: count,
        publishSeconds,
        bytesPerQuery: (after.bytes - before.bytes) / nq,
        commandsPerBlock: (after.commands - before.commands) / (nq / BLOCK),
        blockMs: median(blockMs),
        inProcessMs: median(inProcessMs),
        queriesPerSecond: nq / seconds,
        recall,
        inProcessRecall: recallOf(found, truth, truthStride, nq),
      });
      segmentBytes = (await cluster.status()).segments.reduce((sum, { bytes }) => sum + bytes, 0);
      if (count === 4) {
        const killed = performance.now();
        workers[0].kill('SIGKILL');
        await until(async () => (await cluster.status()).segments.some(({ holders }) => holders === 0));
        await until(served);
        recoverySeconds = (performance.now() - killed) / 1000;
      }
      for (const worker of workers) worker.kill('SIGKILL');
      for (const index of local) index.dispose();
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
  };
  console.log(
    table([
      [
        'segments',
        'publish s',
        'bytes/query',
        'commands/block',
        'block ms',
        'in process ms',
        'QPS',
        'recall',
        'in process',
      ],
      ...figures.map((f) =>
        [
          f.segments,
          f.publishSeconds,
          f.bytesPerQuery,
          f.commandsPerBlock,
          f.blockMs,
          f.inProcessMs,
          f.queriesPerSecond,
        ]
          .map(figure)
          .concat(f.recall.toFixed(3), f.inProcessRecall.toFixed(3)),
      ),
    ]),
  );
  console.log(`served again ${figure(recoverySeconds)} s after a worker was killed`);
  if (values.json) writeJson(values.json, result);
}

await main();
