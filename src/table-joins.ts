import type { Joinable, Take } from './joinable.js';
import { drainHeap, type Neighbors, type NeighborsBatch } from './neighbors.js';
import type { HashTables } from './tables.js';

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
  nearest(queries: Float32Array, k: number): NeighborsBatch;
  all(query: Float32Array): Neighbors;
}

/**
 * Joins by bucket collision: the others of a row are those that share its bucket in any table. The keys of the rows stand
 * there already, so nothing is hashed.
 */
export class TableJoins implements Joinable {
  readonly #tables: HashTables<Float32Array>;
  readonly #rows: TableRows;

  constructor(tables: HashTables<Float32Array>, rows: TableRows) {
    this.#tables = tables;
    this.#rows = rows;
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

  order(): Uint32Array {
    const { buckets, count, size } = this.#tables;
    const ids = new Uint32Array(size);
    let live = 0;
    for (let id = 0; id < count; id++) if (buckets?.has(id)) ids[live++] = id;
    return ids;
  }

  others(ids: Uint32Array, k: number, into: NeighborsBatch, first: number): void {
    for (let i = 0; i < ids.length; i++) {
      const own = ids[i];
      const candidates = this.#gather(own);
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
    return this.#rows.nearest(queries, k);
  }

  othersWithin(id: number, radius: number, wanted: (id: number) => boolean, take: Take): void {
    const all = this.#gather(id);
    // What is not wanted costs no distance.
    const { memory } = this.#tables;
    const { u32 } = memory;
    const list = memory.ptr('candidates') >>> 2;
    let left = 0;
    for (let at = list; at < list + all; at++) {
      const other = u32[at];
      if (other !== id && wanted(other)) u32[list + left++] = other;
    }
    const near = this.#rank(id, left, left);
    const end = countWithin(near, radius);
    for (let i = 0; i < end; i++) take(near.ids[i], near.distances[i]);
  }

  within(query: Float32Array, radius: number): Neighbors {
    const near = this.#rows.all(query);
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
