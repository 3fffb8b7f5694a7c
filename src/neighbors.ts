import { checkChoice, rangeError } from './check.js';
import type { SharedKernels } from './kernels.js';
import type { LinearMemory } from './memory.js';

/**
 * What "near" means. Lower distances are nearer for each of them.
 *
 * - `euclidean`: the length of the difference
 * - `cosine`: 1 - cosine of the angle, 0 to 2
 * - `inner-product`: minus the dot product
 */
export type Metric = 'euclidean' | 'cosine' | 'inner-product';

/** The nearest first, at equal distance the lower id first. */
export interface Neighbors {
  ids: Uint32Array;
  /** Of the metric, of the same length as `ids`. */
  distances: Float32Array;
}

/** The neighbors of many queries: queries × k, row-major. */
export interface NeighborsBatch extends Neighbors {
  /** How many places of each query's row are filled. The rest are id 4294967295 at distance Infinity. */
  counts: Uint32Array;
}

/** An answer that says so where a cap on the work of a query has left rows out. */
export interface CappedNeighbors extends Neighbors {
  /** Set where the answer is of fewer rows than it should be: what was found is right, and nearer ones may be missing. */
  capped?: true;
}

/** The same of many queries. */
export interface CappedBatch extends NeighborsBatch {
  /** Set where any query was capped: 1 for each of them, else 0. */
  capped?: Uint8Array;
}

/** Everything within a distance of many queries: those of query i stand at offsets[i] … offsets[i + 1] - 1. */
export interface RadiusBatch extends Neighbors {
  /** One more than there are queries. */
  offsets: Uint32Array;
}

/** Results of one batch: 4 GiB of ids and distances. */
export const MAX_PLACES: number = 2 ** 29;

/**
 * Room for the neighbors of many queries, `filled` of each query's k places about to be written, the rest as they stay.
 *
 * Throws a RangeError (ERR_TOO_LARGE) beyond 2^29 places.
 */
export function makeBatch(queryCount: number, k: number, filled: number): NeighborsBatch {
  if (queryCount * k > MAX_PLACES) {
    throw rangeError(
      'ERR_TOO_LARGE',
      `k: expected at most ${MAX_PLACES} places (queries × k), got ${queryCount * k}; search in parts`,
    );
  }
  const ids = new Uint32Array(queryCount * k);
  const distances = new Float32Array(queryCount * k);
  if (filled < k) {
    ids.fill(2 ** 32 - 1);
    distances.fill(Infinity);
  }
  return { ids, distances, counts: new Uint32Array(queryCount).fill(filled) };
}

/** The answers to many ranges, one behind the other. Throws a RangeError (ERR_TOO_LARGE) beyond 2^29 places. */
export function joinRanges(queries: number, within: (query: number) => Neighbors): RadiusBatch {
  const offsets = new Uint32Array(queries + 1);
  const parts: Neighbors[] = [];
  let total = 0;
  for (let i = 0; i < queries; i++) {
    const part = within(i);
    total += part.ids.length;
    if (total > MAX_PLACES) {
      throw rangeError(
        'ERR_TOO_LARGE',
        `radius: expected at most ${MAX_PLACES} neighbors in all, got more after ${i + 1} of ${queries} queries; search in parts`,
      );
    }
    parts.push(part);
    offsets[i + 1] = total;
  }
  const ids = new Uint32Array(total);
  const distances = new Float32Array(total);
  parts.forEach((part, i) => {
    ids.set(part.ids, offsets[i]);
    distances.set(part.distances, offsets[i]);
  });
  return { offsets, ids, distances };
}

/** Those of the neighbors, nearest first, that are within a radius. */
export function cutAt({ ids, distances }: Neighbors, radius: number): Neighbors {
  // Distances are float32, so the radius counts as one: it includes the row that it was the distance of.
  const limit = Math.fround(radius);
  let end = distances.length;
  while (end > 0 && distances[end - 1] > limit) end--;
  return { ids: ids.slice(0, end), distances: distances.slice(0, end) };
}

/** The least |v|² of a vector that has a direction: below it float32 loses digits, down to none. */
export const LEAST_SQUARED_LENGTH: number = 2 ** -126;

/** The refusal of a vector that is shorter (ERR_ZERO_VECTOR). */
export function zeroVector(subject: string, row: number): RangeError {
  return rangeError(
    'ERR_ZERO_VECTOR',
    `${subject}: expected vectors of length 1.1e-19 or more under cosine, got a shorter one in row ${row}`,
  );
}

/** The kernels' number of a metric (assembly/rank.ts); `allowed` are the names that the caller supports. */
export function metricNumber(metric: Metric, allowed: readonly Metric[] = METRICS): number {
  return METRICS.indexOf(checkChoice('metric', metric, allowed));
}

const METRICS: readonly Metric[] = ['euclidean', 'cosine', 'inner-product'];

/** In place of a metric's number, where a score is the distance itself: Hamming and Jaccard distances. */
export const SCORE_IS_DISTANCE: number = 1;

/** The distance that a score stands for: scores are squared distances under metric 0. */
export function distanceOf(metric: number, score: number): number {
  return metric === 0 ? Math.sqrt(score) : score + 0; // no -0
}

/**
 * Sorts a heap and moves its records to the front of `ids` and `distances`.
 *
 * heap  8 × size bytes as rank.ts keeps it; overwritten
 * out   8 × size bytes, multiple of 4; overwritten
 */
export function drainHeap(
  memory: LinearMemory,
  kernels: SharedKernels,
  metric: number,
  heap: number,
  size: number,
  out: number,
  ids: Uint32Array,
  distances: Float32Array,
): void {
  const scores = out + 4 * size;
  kernels.drain(heap, size, out, scores);
  const { u32, f32 } = memory;
  for (let i = 0; i < size; i++) {
    ids[i] = u32[(out >>> 2) + i];
    distances[i] = distanceOf(metric, f32[(scores >>> 2) + i]);
  }
}
