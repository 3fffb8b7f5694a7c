/**
 * What a cluster costs beside calling its segments in one process:
 *
 *     npx tsx bench/data.ts words
 *     npm run bench:cluster -- [--rows 340479] [--segments 1,2,4,8] [--json bench/results/cluster.json]
 *
 * A Redis of its own on loopback, two worker processes, `words` cut into 1, 2, 4 and 8 segments; with 4 also one worker and
 * four, and blocks of 500. For each: seconds to publish, bytes that Redis moved per query, Redis commands per block, CPU time
 * of a block of 100 queries (client, workers and Redis together), the time that a block takes, recall; at the end the time
 * until all is served again after a worker was killed.
 *
 * Beside it, in turns, two ways to search the same segments without a cluster: in this process, one after the other, and in as
 * many plain processes as there are workers, each with the segments of one of them, at the same time. Processes that search at
 * the same time share the machine's caches and are slower for it, by whatever way they are called: what a cluster costs is
 * what it takes more than the plain processes; what it costs to leave one process is what it takes more than that one.
 *
 * CPU times are what other work on the machine hardly changes. Needs Linux, whose /proc tells of other processes.
 * `bench/cluster-model.ts` reads the result.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Redis } from 'ioredis';
import { VectorIndex } from 'orthant';
import { Cluster } from 'orthant/cluster';
import { RedisServer } from '../test/redis-server.js';
import { clusterRow, HEADS, type Prediction, predict } from './cluster-model.js';
import { readDataSet } from './data.js';
import { cpuMs, figure, median, type Provenance, provenance, table, writeJson } from './record.js';

const WORKER = fileURLToPath(new URL('../test/cluster-worker.mjs', import.meta.url));
const PLAIN = fileURLToPath(new URL('./cluster-plain.mjs', import.meta.url));
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
/**
 * Rounds of all queries. The first warm both sides up: V8 compiles the code of BullMQ and its client for the first thousand
 * blocks or so, in threads whose CPU time counts here. What the first of them cost is told apart.
 */
const [FIRST, WARM, ROUNDS] = [10, 100, 15];

export interface ClusterFigures {
  segments: number;
  /** Worker processes and queries a block, where they differ from the result's. */
  workers?: number;
  block?: number;
  publishSeconds: number;
  bytesPerQuery: number;
  commandsPerBlock: number;
  /** CPU milliseconds of a block of queries: client, workers and Redis; the median of rounds, as those beside it. */
  blockCpuMs: number;
  /** The same in the first rounds, while the code is compiled: the median. */
  firstBlockCpuMs?: number;
  /** Of them in Redis. */
  redisCpuMs: number;
  /** CPU milliseconds of the same segments one after the other in this process. */
  inProcessCpuMs: number;
  /** CPU milliseconds of the same segments in as many plain processes at the same time. */
  sideBySideCpuMs?: number;
  /** Milliseconds of one block, waited for before the next is asked: the median; by the cluster, and the two others. */
  blockMs: number;
  inProcessMs?: number;
  sideBySideMs?: number;
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

/** CPU milliseconds of other processes since they began: of all their threads. */
function cpuMsOf(children: ChildProcess[]): number {
  let nanoseconds = 0;
  for (const { pid } of children)
    for (const thread of readdirSync(`/proc/${pid}/task`))
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  return nanoseconds / 1e6;
}

interface LocalSegment {
  digest: string;
  base: number;
  /** Its snapshot, for plain processes. */
  file: string;
  index: VectorIndex;
}

/** The segments' own snapshots, so that all sides search the very same. */
async function segmentsOf(redis: Redis, name: string, folder: string): Promise<LocalSegment[]> {
  const [generation, version] = String(await redis.get(`{orthant-${name}}:head`)).split(' ');
  const manifest = String(await redis.get(`{orthant-${name}}:manifest:${generation}:${version}`));
  const segments: { digest: string; base: number; parts: { key: string }[] }[] =
    JSON.parse(manifest).segments;
  return Promise.all(
    segments.map(async ({ digest, base, parts }) => {
      const pieces = await Promise.all(
        parts.map(({ key }) => redis.getBuffer(`orthant-${name}:part:${key}`)),
      );
      const snapshot = Buffer.concat(pieces as Buffer[]);
      const file = path.join(folder, digest);
      writeFileSync(file, snapshot);
      return { digest, base, file, index: VectorIndex.load(snapshot) };
    }),
  );
}

/** Plain processes with the segments that the workers hold; resolves when all have loaded them. */
async function startPlain(
  shares: string[][],
  local: LocalSegment[],
  queriesFile: string,
  dimensions: number,
): Promise<ChildProcess[]> {
  return Promise.all(
    shares.map(async (digests) => {
      const segments = local.filter(({ digest }) => digests.includes(digest)).map(({ file }) => file);
      const options = { segments, queriesFile, dimensions, k: K, recall: RECALL };
      const child = fork(PLAIN, [JSON.stringify(options)], { execArgv: [] });
      await once(child, 'message');
      return child;
    }),
  );
}

/** Has all of them search the same queries at the same time. */
async function searchPlain(
  children: ChildProcess[],
  job: { first: number; last: number; block: number },
): Promise<void> {
  await Promise.all(
    children.map((child) => {
      const searched = once(child, 'message');
      child.send(job);
      return searched;
    }),
  );
}

/** Of all lists the k nearest, in order of distance, then id. */
function mergeInto(
  to: Float64Array,
  lists: { base: number; ids: Uint32Array; distances: Float32Array }[],
  query: number,
): void {
  const at = lists.map(() => query * K);
  for (let i = 0; i < K; i++) {
    let best = 0;
    for (let list = 1; list < lists.length; list++)
      if (lists[list].distances[at[list]] < lists[best].distances[at[best]]) best = list; // bases ascend
    to[i] = lists[best].base + lists[best].ids[at[best]++];
  }
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
  const folder = mkdtempSync(path.join(tmpdir(), 'orthant-cluster-'));
  const queriesFile = path.join(folder, 'queries');
  writeFileSync(queriesFile, new Uint8Array(queries.buffer, queries.byteOffset, queries.byteLength));
  let segmentBytes = 0;
  let recoverySeconds = 0;

  const measure = async ({
    cluster,
    redis,
    children,
    plain,
    local,
    block,
  }: {
    cluster: Cluster;
    redis: Redis;
    children: ChildProcess[];
    plain: ChildProcess[];
    local: LocalSegment[];
    block: number;
  }): Promise<Omit<ClusterFigures, 'segments' | 'workers' | 'block' | 'publishSeconds'>> => {
    const options = { k: K, recall: RECALL, block };
    const found = new Float64Array(nq * K);
    const search = (first: number, last: number): void => {
      for (let i = first; i < last; i += block) {
        const some = queries.subarray(i * d, (i + block) * d);
        const lists = local.map(({ base, index }) => ({
          base,
          ...index.searchBatch(some, { k: K, recall: RECALL }),
        }));
        for (let q = 0; q < some.length / d; q++)
          mergeInto(found.subarray((i + q) * K, (i + q + 1) * K), lists, q);
      }
    };
    const blocks = nq / block;
    let recall = 0;
    /** A round of the cluster: what it cost a block. */
    const ask = async () => {
      const before = await counters(redis);
      const cpuBefore = cpuMs() + cpuMsOf(children);
      const start = performance.now();
      const { ids } = await cluster.searchBatch(queries, options);
      const seconds = (performance.now() - start) / 1000;
      const ownCpuMs = cpuMs() + cpuMsOf(children) - cpuBefore;
      const after = await counters(redis);
      recall = recallOf(ids, truth, truthStride, nq);
      const redisCpuMs = (after.cpuMs - before.cpuMs) / blocks;
      return {
        cpuMs: ownCpuMs / blocks + redisCpuMs,
        redisCpuMs,
        bytes: after.bytes - before.bytes,
        commands: after.commands - before.commands,
        seconds,
      };
    };
    const first: number[] = [];
    for (let round = 0; round < WARM; round++) {
      const { cpuMs } = await ask();
      if (round < FIRST) first.push(cpuMs);
      await searchPlain(plain, { first: 0, last: nq, block });
      search(0, nq);
    }

    // In turns, so that what else goes on on the machine comes to all alike.
    const asked: Awaited<ReturnType<typeof ask>>[] = [];
    const cpu = { plain: [] as number[], local: [] as number[] };
    for (let round = 0; round < ROUNDS; round++) {
      asked.push(await ask());

      const plainBefore = cpuMsOf(plain);
      await searchPlain(plain, { first: 0, last: nq, block });
      cpu.plain.push((cpuMsOf(plain) - plainBefore) / blocks);

      const localBefore = cpuMs();
      search(0, nq);
      cpu.local.push((cpuMs() - localBefore) / blocks);
    }
    const sum = (field: keyof (typeof asked)[number]): number =>
      asked.reduce((total, round) => total + round[field], 0);

    const times = { cluster: [] as number[], plain: [] as number[], local: [] as number[] };
    const timed = async (of: number[], work: () => unknown): Promise<void> => {
      const start = performance.now();
      await work();
      of.push(performance.now() - start);
    };
    for (let i = 0; i < nq; i += block) {
      const [last, some] = [i + block, queries.subarray(i * d, (i + block) * d)];
      await timed(times.cluster, () => cluster.searchBatch(some, options));
      await timed(times.plain, () => searchPlain(plain, { first: i, last, block }));
      await timed(times.local, () => search(i, last));
    }
    return {
      bytesPerQuery: sum('bytes') / (ROUNDS * nq),
      commandsPerBlock: sum('commands') / (ROUNDS * blocks),
      blockCpuMs: median(asked.map(({ cpuMs }) => cpuMs)),
      firstBlockCpuMs: median(first),
      redisCpuMs: median(asked.map(({ redisCpuMs }) => redisCpuMs)),
      inProcessCpuMs: median(cpu.local),
      sideBySideCpuMs: median(cpu.plain),
      blockMs: median(times.cluster),
      inProcessMs: median(times.local),
      sideBySideMs: median(times.plain),
      queriesPerSecond: (ROUNDS * nq) / sum('seconds'),
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
      const local = await segmentsOf(redis, name, folder);
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
        const shares = (await cluster.status()).workers.map(({ segments }) => segments);
        const holding = shares.filter((segments) => segments.length > 0);
        const plain = await startPlain(holding, local, queriesFile, d);
        for (const block of [BLOCK, ...(isFull && workers === WORKERS ? MORE_BLOCKS : [])]) {
          const measured = await measure({ cluster, redis, children, plain, local, block });
          figures.push({
            segments: count,
            ...(workers !== WORKERS && { workers }),
            ...(block !== BLOCK && { block }),
            publishSeconds,
            ...measured,
          });
        }
        for (const child of plain) child.kill();
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
    rmSync(folder, { recursive: true });
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
  console.log(table([[...HEADS], ...figures.map((f) => clusterRow(f, result))]));
  for (const { segments, workers = WORKERS, block = BLOCK, firstBlockCpuMs, blockCpuMs } of figures)
    console.log(
      `${segments} segments, ${workers} workers, blocks of ${block}: ${figure(firstBlockCpuMs ?? 0)} ms of CPU a block in` +
        ` the first ${FIRST} rounds, ${figure(blockCpuMs)} after ${WARM}`,
    );
  console.log(`served again ${figure(recoverySeconds)} s after a worker was killed`);
  if (values.json) writeJson(values.json, result);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
