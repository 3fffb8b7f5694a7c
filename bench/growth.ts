/**
 * How an index grows: npm run bench:growth -- [--sizes 10000,100000,1000000,4000000] [--json FILE]
 *
 * Rows come from one source (`clumpyRows`: 4,000 clumps in 128 dimensions), each size is the beginning of the next. For every
 * size a fresh index is built: float32 rows up to a million, 8-bit rows always. Of each are told the CPU seconds of training,
 * building and tuning, queries per CPU second at recall@10 = 0.95, and bytes a row; and the
 * exponents e of cost ~ rows^e that fit these best. Recall is that of the true neighbors among the rows as they came, also
 * for 8-bit rows. All four sizes take about four minutes and 4 GB.
 */
import { parseArgs } from 'node:util';
import { exactSearchBatch, VectorIndex } from 'orthant';
import { speedAt, TARGETS } from './curve.js';
import { clumpyRows, CLUMPY_DIMENSIONS as D } from './data.js';
import {
  cpuMs,
  figure,
  median,
  type Provenance,
  provenance,
  runIfStarted,
  table,
  writeJson,
} from './record.js';

const K = 10;
const TARGET = 0.95;
const QUERIES = 500;
/** Rows that are drawn and compared at a time. */
const PAGE = 10_000;
/** More float32 rows would take most of the memory that an index can have. */
const MOST_FLOATS = 1_000_000;
const PASSES = 5;

export interface GrowthPoint {
  n: number;
  buildSeconds: number;
  /** At recall 0.95, read between the tuned settings; null where they do not reach it. */
  qps: number | null;
  curve: { target: number; recall: number; qps: number }[];
  /** Of all that the index uses. */
  bytesPerRow: number;
  /** Of the linear memory, with the room that training needed, which later rows get. */
  heldPerRow: number;
  cells: number;
}

export interface Growth {
  storage: 'f32' | 'int8';
  points: GrowthPoint[];
  /** Of seconds to build, seconds of a query, and bytes in all. */
  exponents: { build: number; query: number | null; bytes: number };
}

export interface GrowthResult extends Provenance {
  d: number;
  k: number;
  queries: number;
  growth: Growth[];
}

/** The e for which y ~ x^e fits best: the slope of the straight line through the logarithms. */
export function exponentOf(points: { x: number; y: number }[]): number {
  const logs = points.map(({ x, y }) => [Math.log(x), Math.log(y)]);
  const mean = (i: number): number => logs.reduce((sum, log) => sum + log[i], 0) / logs.length;
  const [mx, my] = [mean(0), mean(1)];
  let [products, squares] = [0, 0];
  for (const [x, y] of logs) {
    products += (x - mx) * (y - my);
    squares += (x - mx) ** 2;
  }
  return products / squares;
}

/** Rows that are drawn when they are first asked for, and the true neighbors of the queries among those drawn. */
class Source {
  readonly queries: Float32Array;
  readonly #draw = clumpyRows(7);
  readonly #rows: Float32Array;
  #drawn = 0;
  /** Of each query the K nearest of the rows drawn so far, nearest first. */
  #nearest: { id: number; distance: number }[][] = Array.from({ length: QUERIES }, () => []);

  constructor(most: number) {
    this.queries = this.#draw(QUERIES);
    this.#rows = new Float32Array(most * D);
  }

  /** The first n rows, and the ids of the true neighbors of each query among them; n rises from call to call. */
  take(n: number): { rows: Float32Array; truth: Set<number>[] } {
    for (let count = 0; this.#drawn < n; this.#drawn += count) {
      count = Math.min(PAGE, n - this.#drawn);
      const page = this.#draw(count);
      this.#rows.set(page, this.#drawn * D);
      this.#compare(page, this.#drawn);
    }
    const truth = this.#nearest.map((neighbors) => new Set(neighbors.map(({ id }) => id)));
    return { rows: this.#rows.subarray(0, n * D), truth };
  }

  #compare(page: Float32Array, first: number): void {
    const { ids, distances, counts } = exactSearchBatch(page, this.queries, { dimensions: D, k: K });
    for (let q = 0; q < QUERIES; q++) {
      const all = this.#nearest[q];
      for (let i = q * K; i < q * K + counts[q]; i++)
        all.push({ id: first + ids[i], distance: distances[i] });
      all.sort((a, b) => a.distance - b.distance || a.id - b.id);
      all.length = Math.min(K, all.length);
    }
  }
}

function measure(
  rows: Float32Array,
  storage: Growth['storage'],
  queries: Float32Array,
  truth: Set<number>[],
): GrowthPoint {
  const n = rows.length / D;
  const start = cpuMs();
  const index = VectorIndex.from(rows, { dimensions: D, storage });
  const buildSeconds = (cpuMs() - start) / 1000;
  const vectors = Array.from({ length: QUERIES }, (_, q) => queries.slice(q * D, q * D + D));
  const curve = TARGETS.map((target) => {
    const options = { k: K, recall: target };
    const times: number[] = [];
    let found = 0;
    for (let pass = 0; pass < PASSES; pass++) {
      const begun = cpuMs();
      const answers = vectors.map((query) => index.search(query, options).ids);
      times.push(cpuMs() - begun);
      if (pass > 0) continue;
      answers.forEach((ids, q) => {
        for (const id of ids) if (truth[q].has(id)) found++;
      });
    }
    return { target, recall: found / QUERIES / K, qps: (1000 * QUERIES) / median(times) };
  });
  const { total, ...parts } = index.memoryUsage();
  const used = Object.values(parts).reduce((sum, bytes) => sum + bytes, 0);
  const point = {
    n,
    buildSeconds,
    qps: speedAt(curve, TARGET, ({ qps }) => qps),
    curve,
    bytesPerRow: used / n,
    heldPerRow: total / n,
    cells: index.cells,
  };
  index.dispose();
  return point;
}

function fitted(storage: Growth['storage'], points: GrowthPoint[]): Growth {
  const over = (y: (point: GrowthPoint) => number): number =>
    exponentOf(points.map((point) => ({ x: point.n, y: y(point) })));
  const isReached = points.every(({ qps }) => qps !== null);
  return {
    storage,
    points,
    exponents: {
      build: over(({ buildSeconds }) => buildSeconds),
      query: isReached ? over(({ qps }) => 1 / (qps as number)) : null,
      bytes: over(({ bytesPerRow, n }) => bytesPerRow * n),
    },
  };
}

function print({ storage, points, exponents }: Growth): string {
  const rows = points.map(({ n, buildSeconds, qps, curve, bytesPerRow, heldPerRow, cells }) => [
    n.toLocaleString('en'),
    figure(buildSeconds),
    qps === null ? '-' : figure(qps),
    curve.map(({ recall, qps: speed }) => `${recall.toFixed(3)} ${figure(speed)}`).join(', '),
    figure(bytesPerRow),
    figure(heldPerRow),
    String(cells),
  ]);
  const { build, query, bytes } = exponents;
  return [
    table([
      [`${storage}, rows`, 'build s', `QPS at ${TARGET}`, 'recall QPS', 'bytes a row', 'held', 'cells'],
      ...rows,
    ]),
    `rows to the power of: build ${build.toFixed(2)}, a query ${query?.toFixed(2) ?? '-'}, bytes ${bytes.toFixed(2)}`,
  ].join('\n');
}

function main(argv: string[]): void {
  const { values } = parseArgs({
    args: argv,
    options: {
      sizes: { type: 'string', default: '10000,100000,1000000,4000000' },
      json: { type: 'string' },
    },
  });
  const sizes = values.sizes.split(',').map(Number);
  if (sizes.length < 2 || !sizes.every((n, i) => Number.isInteger(n) && n > (sizes[i - 1] ?? 99))) {
    throw new RangeError(`--sizes: expected rising integers from 100, at least two, got ${values.sizes}`);
  }
  const about = provenance();
  console.log(`${about.machine}, Node ${about.node}, commit ${about.commit}, ${about.date}\n`);
  const source = new Source(sizes[sizes.length - 1]);
  const points: Record<Growth['storage'], GrowthPoint[]> = { f32: [], int8: [] };
  for (const n of sizes) {
    console.error(`  ${n} rows: drawn and compared`);
    const { rows, truth } = source.take(n);
    for (const storage of ['f32', 'int8'] as const) {
      if (storage === 'f32' && n > MOST_FLOATS) continue;
      console.error(`  ${n} rows: ${storage}`);
      points[storage].push(measure(rows, storage, source.queries, truth));
    }
  }
  const growth = (['f32', 'int8'] as const)
    .filter((storage) => points[storage].length > 1)
    .map((storage) => fitted(storage, points[storage]));
  console.log(growth.map(print).join('\n\n'));
  const result: GrowthResult = { ...about, d: D, k: K, queries: QUERIES, growth };
  if (values.json !== undefined) writeJson(values.json, result);
}

await runIfStarted(import.meta.url, main);
