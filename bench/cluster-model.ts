/**
 * A cluster on paper, from what bench/cluster.ts measured: `npx tsx bench/cluster-model.ts [bench/results/cluster.json]`.
 *
 * A block of queries costs
 *
 *     ms(S, W) = flow + child · S + ⌈S / W⌉ · segment(n / S)        latency, S segments on W workers
 *     cpu(S) = c + d · S + S · segment(n / S)                        client, workers and Redis together
 *     commands(S) = a + b · S                                        Redis' work, one thread
 *     bytes(S, W) = request · (1 + min(S, W)) + answer · 2 S + 2 · merged     a query's share of what crosses the network
 *
 * The coefficients are fitted by least squares. Each of the runs at 1, 2, 4 and 8 segments is predicted from the three
 * others, and the prediction printed beside what was measured; then all four carry it to 1e9 and 1e11 vectors. `segment(n)` grows with the power of n that the measured block in one
 * process shows.
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
  flowMs: number;
  childMs: number;
  segmentMs(rows: number): number;
  /** CPU milliseconds of a block of n rows in so many segments. */
  cpuMs(segments: number, rows: number): number;
  commands(segments: number): number;
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

export function fitModel(result: ClusterResult): ClusterModel {
  const { cluster, rows, dimensions, k, block, workers, segmentBytes } = result;
  // One segment's time against its rows, on logarithmic scales.
  const [logBase, exponent] = fitLine(
    cluster.map((f) => [Math.log(rows / f.segments), Math.log(f.inProcessCpuMs / f.segments)]),
  );
  const segmentMs = (n: number): number => Math.exp(logBase + exponent * Math.log(n));
  const rest = (f: ClusterFigures): number =>
    f.blockMs - Math.ceil(f.segments / workers) * segmentMs(rows / f.segments);
  const [flowMs, childMs] = fitLine(cluster.map((f) => [f.segments, rest(f)]));
  const [cpu0, cpu1] = fitLine(
    cluster.map((f) => [f.segments, f.blockCpuMs - f.segments * segmentMs(rows / f.segments)]),
  );
  const [commands0, commands1] = fitLine(cluster.map((f) => [f.segments, f.commandsPerBlock]));
  const bytesAlone = (segments: number, holders: number): number =>
    4 * dimensions * (1 + Math.min(segments, holders)) + 8 * k * 2 * segments + 2 * 12 * k;
  // What BullMQ adds, per block and per child, spread over the block's queries.
  const [bytes0, bytes1] = fitLine(
    cluster.map((f) => [f.segments, (f.bytesPerQuery - bytesAlone(f.segments, workers)) * block]),
  );
  return {
    flowMs,
    childMs,
    segmentMs,
    cpuMs: (segments, n) => cpu0 + cpu1 * segments + segments * segmentMs(n / segments),
    commands: (segments) => commands0 + commands1 * segments,
    bytes: (segments, holders) => bytesAlone(segments, holders) + (bytes0 + bytes1 * segments) / block,
    blockMs: (segments, holders, n) =>
      flowMs + childMs * segments + Math.ceil(segments / holders) * segmentMs(n / segments),
    bytesPerRow: segmentBytes / rows,
  };
}

export interface Prediction {
  segments: number;
  blockCpuMs: number;
  blockMs: number;
  bytesPerQuery: number;
  commandsPerBlock: number;
}

/** Each run as the others predict it; none where they are too few for a line. */
export function predict(result: ClusterResult): Prediction[] {
  const { cluster, rows, workers } = result;
  if (cluster.length < 3) return [];
  return cluster.map((left) => {
    const model = fitModel({ ...result, cluster: cluster.filter((f) => f !== left) });
    const { segments } = left;
    return {
      segments,
      blockCpuMs: model.cpuMs(segments, rows),
      blockMs: model.blockMs(segments, workers, rows),
      bytesPerQuery: model.bytes(segments, workers),
      commandsPerBlock: model.commands(segments),
    };
  });
}

function print(result: ClusterResult): void {
  const model = fitModel(result);
  const { cluster, rows, block } = result;
  const predicted = predict(result);
  console.log(
    `measured at ${result.commit} on ${result.machine}, Node ${result.node}: ${result.data}, ${rows} rows\n`,
  );
  const off = (predicted: number, measured: number): string =>
    `${Math.round((100 * predicted) / measured - 100)} %`;
  console.log(
    table([
      [
        ...['segments', 'CPU ms', 'model', 'off', 'block ms', 'model', 'off'],
        ...['bytes/query', 'model', 'off', 'commands', 'model', 'off'],
      ],
      ...cluster.map((f, i) => [
        String(f.segments),
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
    const cpuMs = model.cpuMs(segments, n);
    sizes.push([
      n.toExponential(0),
      figure(perSegment),
      figure(segments),
      figure(2 * machines),
      figure((2 * n * model.bytesPerRow) / 1e12),
      figure(model.bytes(segments, machines) / 1000),
      figure(model.blockMs(segments, holders, n)),
      figure((block * 1000 * holders) / cpuMs),
      figure((block * REDIS_COMMANDS) / model.commands(segments)),
    ]);
  }
  console.log(table(sizes));
  const busiest = (segments: number): number => (block * REDIS_COMMANDS) / model.commands(segments);
  const limit = [...Array(17).keys()]
    .map((i) => 2 ** i)
    .find((segments) => {
      const machines = Math.ceil((segments * 4e6 * model.bytesPerRow) / MACHINE_BYTES);
      return busiest(segments) < (block * 1000 * machines * CORES) / (segments * model.segmentMs(4e6));
    });
  console.log(
    `\nWith segments of 4e6 rows one Redis is the limit from ${limit ?? 'more than 65,536'} segments on. Then, in this order: larger` +
      ' segments; one job for each machine instead of each segment, which divides the children by the segments a machine holds;' +
      ' several queues over several Redis, each with its share of the blocks, since blocks know nothing of each other; and' +
      ' segments in an object store (`SegmentStore`), so that Redis holds only what is under way.',
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = process.argv[2] ?? fileURLToPath(new URL('./results/cluster.json', import.meta.url));
  print(JSON.parse(readFileSync(file, 'utf8')));
}
