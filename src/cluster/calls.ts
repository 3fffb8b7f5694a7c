import { ClusterError } from './error.js';
import type { Request } from './wire.js';

/** How far a call has come. */
export interface ClusterProgress {
  phase: 'publish' | 'search' | 'join';
  done: number;
  /** 0 where it is not known. */
  total: number;
}

/** What every call of a cluster takes. */
export interface ClusterCallOptions {
  /** Milliseconds that one block of queries may take; default 30,000. */
  deadlineMs?: number;
  signal?: AbortSignal;
  /** Called after each block of queries. */
  onProgress?: (progress: ClusterProgress) => void;
}

/** What a search of a cluster takes. */
export interface ClusterSearchOptions extends ClusterCallOptions {
  /** Neighbors wanted; default 10. */
  k?: number;
  /** Share of the true neighbors that each segment should find; default 0.95. */
  recall?: number;
  /** Every row is compared. */
  exact?: boolean;
  /**
   * What happens where a segment has not answered by the deadline: an error that names it (default), or a result of the
   * others with its name in `missing`.
   */
  partial?: boolean;
  /** Queries that travel together; default 100. */
  block?: number;
}

/** Global ids and distances, nearest first. Ids count through all segments, and may pass 2^32. */
export interface ClusterNeighbors {
  ids: Float64Array;
  distances: Float32Array;
  /** Digests of segments that did not answer; empty unless `partial` was asked for. */
  missing: string[];
}

/** queries × k places, row-major; places that were not filled are id NaN at distance Infinity. */
export interface ClusterBatch extends ClusterNeighbors {
  counts: Uint32Array;
}

/** A page of a join: neighbors of the rows `rows`, lists one behind the other, counts[i] of them for row i. */
export interface ClusterPage {
  /** Number of each row in the source, or its global id in a graph of the cluster's own rows. */
  rows: Float64Array;
  counts: Uint32Array;
  ids: Float64Array;
  distances: Float32Array;
  missing: string[];
}

const DEADLINE_MS = 30_000;

/** What a call asks of all segments. */
export type Question = Pick<Request, 'kind' | 'k' | 'recall' | 'radius' | 'exact'>;

/** Queries that travel together, and the numbers of their rows. */
export interface Block {
  rows: Float64Array;
  queries: Float32Array;
}

export function deadlineOf({ deadlineMs = DEADLINE_MS }: ClusterCallOptions): number {
  return deadlineMs;
}

export function refuse(message: string): never {
  throw new ClusterError('ERR_CLUSTER_ARGUMENT', message);
}

export function checkSearch(options: ClusterSearchOptions & { radius?: number }): {
  question: Question;
  block: number;
} {
  const { k = 10, recall = 0.95, exact = false, radius, block = 100 } = options ?? {};
  const deadlineMs = deadlineOf(options ?? {});
  if (!Number.isInteger(k) || k < 1 || k > 2 ** 20)
    refuse(`k: expected an integer from 1 to ${2 ** 20}, got ${k}`);
  if (!(recall >= 0 && recall <= 1)) refuse(`recall: expected a number from 0 to 1, got ${recall}`);
  if (radius !== undefined && !Number.isFinite(radius))
    refuse(`radius: expected a finite number, got ${radius}`);
  if (!Number.isInteger(block) || block < 1 || block > 10_000)
    refuse(`block: expected an integer from 1 to 10000, got ${block}`);
  if (!(deadlineMs > 0)) refuse(`deadlineMs: expected more than 0, got ${deadlineMs}`);
  return {
    question: { kind: radius === undefined ? 'nearest' : 'radius', k, recall, radius: radius ?? 0, exact },
    block,
  };
}

/** Returns how many queries these are. */
export function checkQueries(queries: unknown, dimensions: number): number {
  if (!(queries instanceof Float32Array) || queries.length % dimensions !== 0) {
    const got = queries instanceof Float32Array ? `${queries.length}` : typeof queries;
    refuse(`queries: expected a multiple of ${dimensions} floats, got ${got}`);
  }
  const values = queries as Float32Array;
  for (let i = 0; i < values.length; i++)
    if (!Number.isFinite(values[i]))
      refuse(
        `queries: expected finite numbers, got ${values[i]} in row ${Math.floor(i / dimensions)}, column ${i % dimensions}`,
      );
  return values.length / dimensions;
}

export function* blocksOf(queries: Float32Array, dimensions: number, block: number): Generator<Block> {
  const count = queries.length / dimensions;
  for (let first = 0; first < count; first += block) {
    const size = Math.min(block, count - first);
    yield {
      rows: Float64Array.from({ length: size }, (_, i) => first + i),
      queries: queries.subarray(first * dimensions, (first + size) * dimensions),
    };
  }
}
