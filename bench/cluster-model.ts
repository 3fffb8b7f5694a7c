/**
 * A cluster on paper, from what bench/cluster.ts measured: `npx tsx bench/cluster-model.ts [bench/results/cluster.json]`.
 *
 * A block of queries over S segments on W workers is J = min(S, W) jobs, and costs
 *
 *     ms = a + b · J + ⌈S / W⌉ · segment(n / S)         latency
 *     cpu = c + d · J + S · segment(n / S)              client, workers and Redis together
 *     commands = e + f · J                              Redis' work, one thread
 *     bytes = request · (1 + J) + 2 · answer · J + (g + h · J) / block      a query's share of what crosses the network
 *
 * The coefficients are fitted by least squares. Each of the runs (1, 2, 4 and 8 segments on two workers, 4 segments on one and
 * on four) is predicted from the others, and the prediction printed beside what was measured; then all carry it to 1e9 and
 * 1e11 vectors. `segment(n)` grows with the power of n that the measured block in one process shows.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { ClusterFigures, ClusterResult } from './cluster.js';
import { figure, table } from './record.js';

/** Commands a second that one Redis serves, of the kinds that BullMQ's scripts are: redis-benchmark's order of magnitude. */
const REDIS_COMMANDS = 100_000;
/** Memory of a worker's machine that segments may fill, and its cores. */
const [MACHINE_BYTES, CORES] = [48 * 2 ** 30, 8];

export interface ClusterModel {
  segmentMs(rows: number): number;
  /** CPU milliseconds of a block of n rows in so many segments on so many workers. */
  cpuMs(segments: number, workers: number, rows: number): number;
  commands(segments: number, workers: number): number;
  bytes(segments: number, workers: number): number;
  blockMs(segments: number, workers: number, rows: number): number;
  bytesPerRow: number;
}

/** Least squares of y = a + b x. */
export function fitLine(points: readonly (readonly [number, number])[]): [number, number] {
  const n = points.length;
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / n;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / n;
  const slope =
    points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0) /
    points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  return [meanY - slope * meanX, slope];
}

/** The runs with blocks of the usual size, and their jobs. */
function runsOf({ cluster, workers, block }: ClusterResult): (ClusterFigures & Run)[] {
  return cluster
    .filter((f) => (f.block ?? block) === block)
    .map((f) => ({ ...f, workers: f.workers ?? workers, jobs: Math.min(f.segments, f.workers ?? workers) }));
}

interface Run {
  workers: number;
  jobs: number;
}

export function fitModel(result: ClusterResult): ClusterModel {
  const { rows, dimensions, k, block, segmentBytes } = result;
  const runs = runsOf(result);
  // One segment's time against its rows, on logarithmic scales.
  const [logBase, exponent] = fitLine(
    runs.map((f) => [Math.log(rows / f.segments), Math.log(f.inProcessCpuMs / f.segments)]),
  );
  const segmentMs = (n: number): number => Math.exp(logBase + exponent * Math.log(n));
  const againstJobs = (
    rest: (f: ClusterFigures & Run) => number,
  ): ((segments: number, w: number) => number) => {
    const [fixed, each] = fitLine(runs.map((f) => [f.jobs, rest(f)]));
    return (segments, workers) => fixed + each * Math.min(segments, workers);
  };
  const waitMs = (segments: number, workers: number, n: number): number =>
    Math.ceil(segments / workers) * segmentMs(n / segments);
  const restMs = againstJobs((f) => f.blockMs - waitMs(f.segments, f.workers, rows));
  const restCpuMs = againstJobs((f) => f.blockCpuMs - f.segments * segmentMs(rows / f.segments));
  // Queries to Redis and to each worker; f64 ids and f32 distances from each worker to Redis and to the client.
  const ownBytes = (segments: number, workers: number): number => {
    const jobs = Math.min(segments, workers);
    return 4 * dimensions * (1 + jobs) + 2 * 12 * k * jobs;
  };
  // What BullMQ adds, per block and per job, spread over the block's queries.
  const restBytes = againstJobs((f) => (f.bytesPerQuery - ownBytes(f.segments, f.workers)) * block);
  return {
    segmentMs,
    cpuMs: (segments, workers, n) => restCpuMs(segments, workers) + segments * segmentMs(n / segments),
    commands: againstJobs((f) => f.commandsPerBlock),
    bytes: (segments, workers) => ownBytes(segments, workers) + restBytes(segments, workers) / block,
    blockMs: (segments, workers, n) => restMs(segments, workers) + waitMs(segments, workers, n),
    bytesPerRow: segmentBytes / rows,
  };
}

export interface Prediction {
  segments: number;
  workers: number;
  blockCpuMs: number;
  blockMs: number;
  bytesPerQuery: number;
  commandsPerBlock: number;
}

/** Each run as the others predict it; none where they are too few for a line. */
export function predict(result: ClusterResult): Prediction[] {
  const runs = runsOf(result);
  if (runs.length < 3) return [];
  return runs.map((left) => {
    const model = fitModel({ ...result, cluster: runs.filter((f) => f !== left) });
    const { segments, workers } = left;
    return {
      segments,
      workers,
      blockCpuMs: model.cpuMs(segments, workers, result.rows),
      blockMs: model.blockMs(segments, workers, result.rows),
      bytesPerQuery: model.bytes(segments, workers),
      commandsPerBlock: model.commands(segments, workers),
    };
  });
}

/** What the cells of `clusterRow` are. Results from before plain processes were measured have none. */
export const HEADS: readonly string[] = [
  ...['segments', 'workers', 'queries a block', 'publish, s', 'bytes a query', 'commands'],
  ...['a block, CPU ms', 'plain processes', 'more', 'one process', 'more'],
  ...['a block, ms', 'plain processes', 'one process', 'recall@10'],
];

/** A run, for the terminal and for the README. */
export function clusterRow(f: ClusterFigures, { workers, block }: ClusterResult): string[] {
  const known = (value?: number): string => (value === undefined ? '–' : figure(value));
  const more = (base?: number): string =>
    base === undefined ? '–' : `${Math.round(100 * (f.blockCpuMs / base - 1))} %`;
  return [
    ...[String(f.segments), String(f.workers ?? workers), String(f.block ?? block)],
    ...[f.publishSeconds, f.bytesPerQuery, f.commandsPerBlock, f.blockCpuMs].map(figure),
    ...[known(f.sideBySideCpuMs), more(f.sideBySideCpuMs), figure(f.inProcessCpuMs), more(f.inProcessCpuMs)],
    ...[figure(f.blockMs), known(f.sideBySideMs), known(f.inProcessMs)],
    f.recall.toFixed(3),
  ];
}

function print(result: ClusterResult): void {
  const model = fitModel(result);
  const { rows, block } = result;
  const predicted = predict(result);
  console.log(
    `measured at ${result.commit} on ${result.machine}, Node ${result.node}: ${result.data}, ${rows} rows\n`,
  );
  const off = (predicted: number, measured: number): string =>
    `${Math.round((100 * predicted) / measured - 100)} %`;
  console.log(
    table([
      [
        ...['segments', 'workers', 'CPU ms', 'model', 'off', 'block ms', 'model', 'off'],
        ...['bytes/query', 'model', 'off', 'commands', 'model', 'off'],
      ],
      ...runsOf(result).map((f, i) => [
        ...[String(f.segments), String(f.workers)],
        ...(['blockCpuMs', 'blockMs', 'bytesPerQuery', 'commandsPerBlock'] as const).flatMap((field) => {
          const guess = predicted[i]?.[field] ?? Number.NaN;
          return [figure(f[field]), figure(guess), off(guess, f[field])];
        }),
      ]),
    ]),
  );
  console.log();
  const sizes: string[][] = [
    [
      'vectors',
      'rows/segment',
      'segments',
      'machines x 2 copies',
      'TB',
      'KB/query',
      'block ms',
      'QPS by CPU',
      'QPS by one Redis',
    ],
  ];
  for (const [n, perSegment] of [
    [1e7, 1e6],
    [1e8, 1e6],
    [1e9, 4e6],
    [1e11, 4e6],
  ]) {
    const segments = Math.ceil(n / perSegment);
    const machines = Math.ceil((n * model.bytesPerRow) / MACHINE_BYTES);
    const holders = machines * CORES;
    const cpuMs = model.cpuMs(segments, machines, n);
    sizes.push([
      n.toExponential(0),
      figure(perSegment),
      figure(segments),
      figure(2 * machines),
      figure((2 * n * model.bytesPerRow) / 1e12),
      figure(model.bytes(segments, machines) / 1000),
      figure(model.blockMs(segments, holders, n)),
      figure((block * 1000 * holders) / cpuMs),
      figure((block * REDIS_COMMANDS) / model.commands(segments, machines)),
    ]);
  }
  console.log(table(sizes));
  const machinesFor = (segments: number): number =>
    Math.ceil((segments * 4e6 * model.bytesPerRow) / MACHINE_BYTES);
  const limit = [...Array(20).keys()]
    .map((i) => 2 ** i)
    .find((segments) => {
      const machines = machinesFor(segments);
      const byRedis = (block * REDIS_COMMANDS) / model.commands(segments, machines);
      return byRedis < (block * 1000 * machines * CORES) / (segments * model.segmentMs(4e6));
    });
  const where = limit === undefined ? 'more than 524,288' : `${limit}`;
  console.log(
    `\nWith segments of 4e6 rows one Redis is the limit from ${where} segments (${figure(machinesFor(limit ?? 524_288))} machines)` +
      ' on. Then, in this order: larger blocks, since jobs are counted by blocks; several clusters side by side, each with a' +
      ' Redis and its share of the segments or of the blocks, which know nothing of each other; and segments in an object' +
      ' store (`SegmentStore`), so that Redis holds only what is under way.',
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = process.argv[2] ?? fileURLToPath(new URL('./results/cluster.json', import.meta.url));
  print(JSON.parse(readFileSync(file, 'utf8')));
}
