import { testOf } from './filter.js';
import type { Filter } from './id-set.js';
import type { Joinable, Take } from './joinable.js';
import type { StreamOptions } from './joins.js';
import { drainHeap, type Neighbors, type NeighborsBatch } from './neighbors.js';
import type { HashTables } from './tables.js';

/** How pages of a join come, and of which rows it is. */
export interface TableJoinOptions extends StreamOptions {
  /**
   * As for search: the join is that of the rows that pass, as if there were no others. Of two indexes that are joined it is
   * about the rows of this one. Taken in when a loop begins; a function is called once for every row.
   */
  filter?: Filter;
}

/** The rows behind hash tables, which know only their keys. */
export interface TableRows {
  readonly dimensions: number;
  /** The number of the metric whose scores `rank` gives (neighbors.ts, distanceOf). */
  readonly metric: number;
  /** Puts the nearest to a row of the `count` listed rows into a heap of `size` <= count records. */
  rank(row: number, ids: number, count: number, size: number, heap: number): void;
  /** A row as words of the memory. */
  words(id: number): Uint32Array;
  vector(id: number): Float32Array;
  /** The neighbors of queries among their candidates: k each, or all of one query. */
  nearest(queries: Float32Array, k: number, filter: Uint8Array | undefined): NeighborsBatch;
  all(query: Float32Array, filter: Uint8Array | undefined): Neighbors;
}

/**
 * Joins by bucket collision: the others of a row are those that share its bucket in any table. The keys of the rows stand
 * there already, so nothing is hashed.
 */
export class TableJoins implements Joinable {
  readonly #tables: HashTables<Float32Array>;
  readonly #rows: TableRows;
  readonly #filter: Filter | undefined;
  /** The rows that pass the filter, if there is one, as a bitmap. */
  #passing: Uint8Array | undefined;

  constructor(tables: HashTables<Float32Array>, rows: TableRows, filter: Filter | undefined) {
    this.#tables = tables;
    this.#rows = rows;
    this.#filter = filter;
    if (filter !== undefined) testOf(filter); // checks
  }

  get size(): number {
    return this.#tables.size;
  }

  get dimensions(): number {
    return this.#rows.dimensions;
  }

  /** Rows that were added and rows that were removed: neither number ever falls. */
  get version(): number {
    const { count, size } = this.#tables;
    return count + (count - size);
  }

  begin(): void {
    if (this.#filter === undefined) return;
    const test = testOf(this.#filter);
    const { buckets, count } = this.#tables;
    const bits = new Uint8Array(Math.ceil(count / 8));
    for (let id = 0; id < count; id++) if (buckets?.has(id) && test(id)) bits[id >>> 3] |= 1 << (id & 7);
    this.#passing = bits;
  }

  order(): Uint32Array {
    const { buckets, count, size } = this.#tables;
    const ids = new Uint32Array(size);
    let live = 0;
    for (let id = 0; id < count; id++) if (buckets?.has(id)) ids[live++] = id;
    return this.#passing ? ids.filter(testOf(this.#passing)) : ids;
  }

  others(ids: Uint32Array, k: number, into: NeighborsBatch, first: number): void {
    for (let i = 0; i < ids.length; i++) {
      const own = ids[i];
      const candidates = this.#keep(this.#gather(own), undefined);
      const nearest = this.#rank(own, candidates, Math.min(k + 1, candidates));
      const start = (first + i) * k;
      let found = 0;
      for (let j = 0; j < nearest.ids.length && found < k; j++) {
        if (nearest.ids[j] === own) continue;
        into.ids[start + found] = nearest.ids[j];
        into.distances[start + found++] = nearest.distances[j];
      }
      into.counts[first + i] = found;
    }
  }

  nearest(queries: Float32Array, k: number): NeighborsBatch {
    return this.#rows.nearest(queries, k, this.#passing);
  }

  othersWithin(id: number, radius: number, wanted: (id: number) => boolean, take: Take): void {
    // What is not wanted costs no distance.
    const left = this.#keep(this.#gather(id), (other) => other !== id && wanted(other));
    const near = this.#rank(id, left, left);
    const end = countWithin(near, radius);
    for (let i = 0; i < end; i++) take(near.ids[i], near.distances[i]);
  }

  within(query: Float32Array, radius: number): Neighbors {
    const near = this.#rows.all(query, this.#passing);
    const end = countWithin(near, radius);
    return { ids: near.ids.slice(0, end), distances: near.distances.slice(0, end) };
  }

  words(id: number): Uint32Array {
    return this.#rows.words(id);
  }

  vector(id: number): Float32Array {
    return this.#rows.vector(id);
  }

  /** Unites the buckets of a row, itself among them; returns how many rows stand in `candidates`. */
  #gather(id: number): number {
    const { buckets } = this.#tables;
    if (buckets === undefined) return 0;
    buckets.startQuery();
    return buckets.gather(buckets.keysPtr(id), buckets.keyStride, 1, 0);
  }

  /** Leaves those of the candidates that pass the filter and are wanted; returns how many. */
  #keep(count: number, wanted: ((id: number) => boolean) | undefined): number {
    if (this.#passing === undefined && wanted === undefined) return count;
    const passes = this.#passing && testOf(this.#passing);
    const { memory } = this.#tables;
    const { u32 } = memory;
    const list = memory.ptr('candidates') >>> 2;
    let left = 0;
    for (let at = list; at < list + count; at++) {
      const id = u32[at];
      if (passes?.(id) !== false && wanted?.(id) !== false) u32[list + left++] = id;
    }
    return left;
  }

  #rank(id: number, count: number, size: number): Neighbors {
    const { memory, kernels } = this.#tables;
    const ids = new Uint32Array(size);
    const distances = new Float32Array(size);
    if (size === 0) return { ids, distances };
    memory.reserve('heap', 8 * size);
    const out = memory.reserve('neighbors', 8 * size);
    const heap = memory.ptr('heap');
    this.#rows.rank(id, memory.ptr('candidates'), count, size, heap);
    drainHeap(memory, kernels, this.#rows.metric, heap, size, out, ids, distances);
    return { ids, distances };
  }
}

/** How many of the neighbors, nearest first, are within a radius. */
function countWithin({ distances }: Neighbors, radius: number): number {
  let low = 0;
  let high = distances.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (distances[middle] <= radius) low = middle + 1;
    else high = middle;
  }
  return low;
}
