import type { RowPlaces } from './cells.js';
import type { Neighbors } from './neighbors.js';
import type { Progress } from './progress.js';

/** How a search of the engine is done. */
export interface Settings {
  /** Cells that are visited, nearest first. */
  probes: number;
  /** Half-width of the codes' error bound in standard deviations. */
  epsilon: number;
  /** Cells without a change among the k best estimates after which the scan stops; 0: it never stops early. */
  patience: number;
  /** Survivors of the second stage that are ranked exactly; by default from k; 0: no second stage. */
  keep?: number;
}

/** What the tuner asks of an engine. */
export interface Tunable {
  readonly size: number;
  readonly dims: number;
  readonly stride: number;
  readonly cells: number;
  /** Whether its cells are shells: visited in their order, whatever the query. */
  readonly isShelled: boolean;
  /** Whether survivors pass a second stage. */
  readonly isRefined: boolean;
  /** Runs a search; returns how many neighbors, for `read`. */
  run(query: Float32Array, k: number, settings: Settings): number;
  runExact(query: Float32Array, k: number): number;
  read(found: number, into: Neighbors, at: number): void;
  vector(id: number): Float32Array;
  /** The ids of all rows, ascending. */
  ids(): Uint32Array;
  /** Whether there was a row of this id that is no more. */
  isRemoved(id: number): boolean;
  /** Changes whenever rows come, change or go. */
  readonly version: number;
  /** Squared distances between rows, by id: from × to. */
  distancesBetween(from: readonly number[], to: readonly number[]): Float32Array;
  /** Rows in each cell. */
  cellSizes(): Uint32Array;
  placesOfRows(): Generator<Progress, RowPlaces>;
  /** How a search for a query comes by the rows at these places, one for one. */
  approach(query: Float32Array, cells: Uint32Array, slots: Uint32Array): Approach;
  /** What the last search did. */
  counters(): Counters;
  /**
   * Runs a search for each query (settings null: exact), on several threads perhaps: the ids that each found, and
   * 4294967295 in places that are not filled, and what it did. `step` tells progress, once a query.
   */
  runEach(
    queries: readonly Float32Array[],
    k: number,
    settings: Settings | null,
    step: () => Progress,
  ): Generator<Progress, { ids: Uint32Array; counters: Counters[] }>;
}

/** How a search comes by some rows. */
export interface Approach {
  /** All cells, those nearest to the query first. */
  order: Uint32Array;
  /** Of each row the place of its cell in that order, from 0. */
  ranks: Uint32Array;
  /** What its code says of its squared distance, and by how much epsilon = 1 puts the lower bound under that. */
  estimates: Float64Array;
  widths: Float64Array;
}

/** `runEach` by `run`, on this thread. */
export function* runOneByOne(
  engine: Pick<Tunable, 'run' | 'runExact' | 'read' | 'counters'>,
  queries: readonly Float32Array[],
  k: number,
  settings: Settings | null,
  step: () => Progress,
): Generator<Progress, { ids: Uint32Array; counters: Counters[] }> {
  const ids = new Uint32Array(queries.length * k).fill(NO_ROW);
  const found: Neighbors = { ids: new Uint32Array(k), distances: new Float32Array(k) };
  const counters: Counters[] = [];
  for (const [i, query] of queries.entries()) {
    const count = settings ? engine.run(query, k, settings) : engine.runExact(query, k);
    engine.read(count, found, 0);
    ids.set(found.ids.subarray(0, count), i * k);
    counters.push(engine.counters());
    yield step();
  }
  return { ids, counters };
}

/** What one search did. */
export interface Counters {
  cells: number;
  codes: number;
  survivors: number;
  refined: number;
  ranked: number;
  /** What a lower bound had to be under at the end of the scan; of no meaning after exact searches. */
  limit: number;
  /** Of each cell a bit, the first visited in the lowest: whether it changed the k best estimates. */
  changes: Uint32Array;
}

/** What searches did on average. */
export type Work = Omit<Counters, 'limit' | 'changes'>;

/** Neighbors that a tuning is for unless it is told, and that room is kept for. */
export const DEFAULT_K = 10;
/** Stands where there is no row. */
export const NO_ROW = 0xffffffff;
/**
 * A bound this wide loses no neighbor that is worth a word of most data: it stands for the truth where an exact scan is
 * dear, and a few queries, scanned exactly as well, agree. (They do not where an inner product's rows differ much in
 * length: there tunings promised .95 and searches found .81.)
 */
export const TRUTH: Settings = { probes: 2 ** 31, epsilon: 3.7, patience: 0, keep: 0 };
/** Rows × floats × queries up to which the truth is computed by exact scans. */
const EXACT_WORK = 4e8;

/** Settings before any tuning: careful. */
export function untuned({ cells, isShelled }: Tunable): Settings {
  const probes = isShelled ? cells : Math.min(cells, Math.max(8, Math.ceil(cells * 0.1)));
  return { probes, epsilon: 3, patience: 0 };
}

/** Survivors of the second stage that are ranked exactly for k neighbors. */
export function keepFor(k: number): number {
  return 2 * k + 12;
}

/** The most that a tuning may choose: where many neighbors lie close together, the second stage's order is rough. */
export function mostKept(k: number): number {
  return 6 * k + 17;
}

/** The same as `keepFor`, where the second stage's order is trusted. */
export function leastKeep(k: number): number {
  return Math.ceil(1.2 * k) + 4;
}

/** Whether the truth of so many queries is computed by exact scans. */
export function isTruthCheap({ size, stride }: Pick<Tunable, 'size' | 'stride'>, queries: number): boolean {
  return size * stride * queries <= EXACT_WORK;
}

/**
 * Microseconds of a query by what it did, fitted on one machine (AMD EPYC, Node 20): a code costs a constant and a little
 * for each dimension; a row costs its bytes, and more where the rows exceed the caches.
 */
export function costOf(work: Work, engine: Tunable): number {
  const dims = engine.dims / 1000;
  const rowBytes = engine.stride * 4;
  const far = engine.size * rowBytes > 1 << 24 ? 0.06 : 0;
  return (
    1 +
    (engine.dims < engine.stride ? 3.2e-5 * engine.dims : 0.003) * engine.stride +
    0.06 * work.cells +
    0.0007 * engine.cells +
    work.codes * (0.0003 + 0.0072 * dims) +
    work.survivors * 0.008 +
    work.refined * (0.01 + 0.04 * dims) +
    work.ranked * (far + 0.004 + rowBytes * 4e-5)
  );
}
