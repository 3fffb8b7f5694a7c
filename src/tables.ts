import { type BucketStats, Buckets, joinStats } from './buckets.js';
import { checkIds, checkInteger, checkNumber, checkOptions, rangeError, typeError } from './check.js';
import { testOf } from './filter.js';
import type { Filter } from './id-set.js';
import type { TableKernels } from './kernels.js';
import { isOutOfMemory, type LinearMemory } from './memory.js';
import {
  type CappedBatch,
  type CappedNeighbors,
  cutAt,
  drainHeap,
  joinRanges,
  makeBatch,
  type RadiusBatch,
} from './neighbors.js';
import { openWorkspace, type Workspace } from './workspace.js';

/** The most tables that an index may have. */
export const MAX_TABLES = 256;
/** Queries of a batch that are hashed together. */
export const HASHED_QUERIES = 64;
const MAX_K = 2 ** 32 - 1;
/** Candidates that are scored at a time; a multiple of 4. */
export const RANKED_ROWS = 4096;
/** Neighbors for which a search always has room, so that an index at its limit of memory still answers. */
const SURE_K = 128;

/** Bytes that an index may take: the option `maxBytes` of every class. */
export function checkMaxBytes(value: unknown): number {
  return checkNumber('maxBytes', value ?? 2 ** 32, 1, 2 ** 32);
}

/** Rows of a bucket that a query looks at, and candidates that it ranks, by default. */
const MAX_BUCKET = 2 ** 16;
const MAX_CANDIDATES = 2 ** 18;

/**
 * How much one query may do at most, whatever the rows are: buckets that hold far more than others, by accident or by
 * someone's design, then cost no more than this. An answer that a cap has cut has `capped`.
 */
export interface QueryCaps {
  /**
   * Rows of a bucket that are looked at, 1 or more; default 65,536. The oldest are; of rows added since the buckets were
   * sorted last (a quarter of all at most) as many again, the newest.
   */
  maxBucket?: number;
  /** Candidates that are ranked, 1 or more; default 262,144. Tables are visited in their order until there are so many. */
  maxCandidates?: number;
  /** Only candidates that pass count, before any is ranked; a function is called for each candidate. */
  filter?: Filter;
}

/** The same, checked. */
interface Caps {
  maxBucket: number;
  maxCandidates: number;
  test: ((id: number) => boolean) | undefined;
}

/** What one table did for a query. */
export interface TableExplanation {
  /** The query's key. */
  key: number;
  /** Keys of the buckets visited, the query's own first. */
  probedKeys: Uint32Array;
  /** Rows in these buckets. */
  bucketSize: number;
  /** Those among them that no table before had. */
  newCandidates: number;
}

/** How a query came to its answer. */
export interface Explanation {
  neighbors: CappedNeighbors;
  tables: TableExplanation[];
  /** Rows that were compared. */
  candidates: number;
  /** Whether `maxBucket` or `maxCandidates` left rows of the visited buckets out. */
  capped: boolean;
  /** Why there are fewer than k neighbors; empty when there are k. */
  shortfall: string;
  times: { hashMs: number; gatherMs: number; rankMs: number };
}

/** How rows are spread over buckets, in all and by table. */
export interface LshStats extends BucketStats {
  rows: number;
  tables: BucketStats[];
  /** Bytes of linear memory by part, and in total. */
  memory: Record<string, number>;
}

/**
 * What a family of hash functions knows and `HashTables` does not: how queries are read, hashed and compared. `Queries`
 * is what it takes for one query or many, checked by its owner.
 */
export interface Family<Queries> {
  /** The number of the metric whose scores `rank` gives (neighbors.ts, distanceOf). */
  readonly metric: number;
  /** How to get more candidates, for an explanation. */
  readonly remedy: string;
  /** Copies `count` queries, at most HASHED_QUERIES, from number `first` on to where `hash` and `rank` read them. */
  load(subject: string, queries: Queries, first: number, count: number): void;
  /** Hashes the `count` loaded queries. For one probe it writes their keys: `wanted` is u32 × tables × HASHED_QUERIES. */
  hash(buckets: Buckets, count: number, probes: number, wanted: number): void;
  /** For more than one probe, and only then: address of the keys of one loaded query, u32 × tables × probes. */
  probe?(buckets: Buckets, query: number, probes: number): number;
  /** Puts the nearest of the `count` listed rows into a heap of `size` <= count records (assembly/rank.ts). */
  rank(query: number, ids: number, count: number, size: number, heap: number): void;
}

/** Where a query's keys stand: `stride` words from one table's to the next one's. */
interface Wanted {
  ptr: number;
  stride: number;
}

/**
 * The part that all families of hash tables share: hash, gather, rank. Buckets of the united tables give the candidates,
 * the family ranks them.
 */
export class HashTables<Queries> {
  readonly tables: number;
  readonly #family: Family<Queries>;
  /** Undefined once disposed of. */
  #workspace: Workspace | undefined;
  /** Undefined until it is settled how many bits a key has. */
  #buckets: Buckets | undefined;
  /** The asynchronous call under way: until it ends, others may read and nothing may change. */
  #busy: string | undefined;

  constructor(tables: number, family: Family<Queries>, maxBytes?: number) {
    this.tables = tables;
    this.#family = family;
    this.#workspace = openWorkspace(maxBytes);
    this.memory.reserve('wanted', 4 * tables * HASHED_QUERIES);
    this.memory.reserve('wantedKey', 4);
    this.#reserveResults(SURE_K);
  }

  /** Throws a TypeError (ERR_DISPOSED) once disposed of, as does everything that needs it. */
  get memory(): LinearMemory {
    return this.#live().memory;
  }

  get kernels(): TableKernels {
    return this.#live().kernels;
  }

  /** Rows without those that were removed. */
  get size(): number {
    return this.count - (this.#buckets?.removed ?? 0);
  }

  /** Ids given out so far: the next row's. */
  get count(): number {
    this.#live();
    return this.#buckets?.count ?? 0;
  }

  /** The first id of rows that are about to be added. Throws while nothing may change (ERR_BUSY). */
  nextId(): number {
    this.#idle();
    return this.count;
  }

  /** Nothing may change until `takeBack`. */
  lend(call: string): void {
    this.#idle();
    this.#busy = call;
  }

  takeBack(): void {
    this.#busy = undefined;
  }

  get buckets(): Buckets | undefined {
    this.#live();
    return this.#buckets;
  }

  /** Empty tables with keys of `bits` bits. They count once they are settled on, or have rows. */
  makeBuckets(bits: number): Buckets {
    return new Buckets(this.memory, this.kernels, this.tables, bits);
  }

  settle(buckets: Buckets): void {
    this.#buckets = buckets;
  }

  /** Takes in `rows` rows that `hash` writes the keys of. Where memory is short it throws before anything has changed. */
  add(buckets: Buckets, rows: number, hash: (buckets: Buckets) => void): void {
    buckets.reserve(rows);
    hash(buckets);
    buckets.add(rows);
    this.#buckets = buckets;
  }

  remove(ids: number | ArrayLike<number>): number {
    this.#idle();
    const checked = checkIds('ids', ids, this.count);
    return this.#buckets?.remove(checked) ?? 0;
  }

  has(id: number): boolean {
    this.#live();
    return Number.isInteger(id) && id >= 0 && (this.#buckets?.has(id) ?? false);
  }

  keys(buckets: Buckets, query: Queries): Uint32Array {
    this.#family.load('query', query, 0, 1);
    const wanted = this.#hash(buckets, 1);
    return Uint32Array.from({ length: this.tables }, (_, t) => this.#keysIn(wanted, t, 1)[0]);
  }

  bucket(buckets: Buckets, table: number, key: number): Uint32Array {
    checkInteger('table', table, 0, this.tables - 1);
    checkInteger('key', key, 0, 2 ** buckets.bits - 1);
    const wanted = this.memory.ptr('wantedKey');
    this.memory.u32[wanted >>> 2] = key;
    buckets.startQuery();
    return buckets.candidates(buckets.gather(wanted, 1, 1, 0, table, 1));
  }

  candidates(query: Queries, options: QueryCaps, probes: number): Uint32Array {
    const caps = capsOf(options);
    const buckets = this.#load(query);
    if (buckets === undefined) return new Uint32Array(0);
    return buckets.candidates(this.#unite(buckets, this.#hash(buckets, probes), probes, caps));
  }

  search(query: Queries, options: { k: number } & QueryCaps, probes: number): CappedNeighbors {
    const k = this.#neighborsOf(options);
    const caps = capsOf(options);
    const buckets = this.#load(query);
    if (buckets === undefined) return { ids: new Uint32Array(0), distances: new Float32Array(0) };
    return this.#rank(buckets, this.#unite(buckets, this.#hash(buckets, probes), probes, caps), k);
  }

  searchBatch(
    queries: Queries,
    queryCount: number,
    options: { k: number } & QueryCaps,
    probes: number,
  ): CappedBatch {
    const k = this.#neighborsOf(options);
    const caps = capsOf(options);
    const batch: CappedBatch = makeBatch(queryCount, k, 0);
    const buckets = this.size === 0 ? undefined : this.#buckets;
    let together = HASHED_QUERIES;
    for (let first = 0, some: number; first < queryCount; first += some) {
      some = Math.min(together, queryCount - first);
      try {
        this.#family.load('queries', queries, first, some);
        if (buckets === undefined) continue;
        this.#family.hash(buckets, some, probes, this.memory.ptr('wanted'));
      } catch (error) {
        if (!isOutOfMemory(error) || some === 1) throw error;
        // Without room for many at a time: one by one.
        together = 1;
        some = 0;
        continue;
      }
      for (let q = 0; q < some; q++) {
        const found = this.#unite(buckets, this.#wanted(buckets, q, probes), probes, caps);
        if (buckets.capped) {
          batch.capped ??= new Uint8Array(queryCount);
          batch.capped[first + q] = 1;
        }
        const at = (first + q) * k;
        const ids = batch.ids.subarray(at, at + k);
        const distances = batch.distances.subarray(at, at + k);
        batch.counts[first + q] = this.#rankInto(q, found, k, ids, distances);
      }
    }
    return batch;
  }

  /** All candidates within a distance, nearest first. */
  searchRadius(query: Queries, radius: number, options: QueryCaps, probes: number): CappedNeighbors {
    const caps = this.#rangeOf(radius, options);
    return this.#within(this.#load(query), radius, caps, probes);
  }

  searchRadiusBatch(
    queries: Queries,
    queryCount: number,
    radius: number,
    options: QueryCaps,
    probes: number,
  ): RadiusBatch {
    const caps = this.#rangeOf(radius, options);
    return joinRanges(queryCount, (i) => {
      this.#family.load('queries', queries, i, 1);
      return this.#within(this.size === 0 ? undefined : this.#buckets, radius, caps, probes);
    });
  }

  explain(query: Queries, options: { k: number } & QueryCaps, probes: number): Explanation {
    const k = this.#neighborsOf(options);
    const caps = capsOf(options);
    const start = performance.now();
    const buckets = this.#load(query);
    if (buckets === undefined) {
      const neighbors = { ids: new Uint32Array(0), distances: new Float32Array(0) };
      const times = { hashMs: performance.now() - start, gatherMs: 0, rankMs: 0 };
      const shortfall = 'the index is empty';
      return { neighbors, tables: [], candidates: 0, capped: false, shortfall, times };
    }
    const wanted = this.#hash(buckets, probes);
    const hashed = performance.now();
    const found = this.#unite(buckets, wanted, probes, caps);
    const { capped } = buckets;
    const gathered = performance.now();
    const neighbors = this.#rank(buckets, found, k);
    const ranked = performance.now();
    const times = { hashMs: hashed - start, gatherMs: gathered - hashed, rankMs: ranked - gathered };
    const tables = this.#explainTables(buckets, wanted, probes);
    const shortfall = this.#shortfall(k, found, capped, caps.test !== undefined);
    return { neighbors, tables, candidates: found, capped, shortfall, times };
  }

  stats(): LshStats {
    const rows = this.size;
    const empty = { buckets: 0, average: 0, largest: 0, histogram: [], skew: 0 };
    const tables = this.#buckets?.stats() ?? Array.from({ length: this.tables }, () => empty);
    return { rows, ...joinStats(tables, rows), tables, memory: this.memory.usage() };
  }

  dispose(): void {
    this.#workspace = undefined;
    this.#buckets = undefined;
  }

  #idle(): void {
    this.#live();
    if (this.#busy === undefined) return;
    throw rangeError('ERR_BUSY', `index: expected no other work under way, got one of ${this.#busy}`);
  }

  #live(): Workspace {
    if (this.#workspace === undefined) {
      throw typeError('ERR_DISPOSED', 'index: expected one in use, got one that was disposed of');
    }
    return this.#workspace;
  }

  #neighborsOf(options: { k: number }): number {
    this.#live();
    checkOptions('options', options);
    return checkInteger('k', options?.k, 1, MAX_K);
  }

  #rangeOf(radius: number, options: QueryCaps): Caps {
    this.#live();
    checkNumber('radius', radius, 0, Infinity);
    checkOptions('options', options);
    return capsOf(options);
  }

  /** What is within a distance of the one loaded query. */
  #within(buckets: Buckets | undefined, radius: number, caps: Caps, probes: number): CappedNeighbors {
    if (buckets === undefined) return { ids: new Uint32Array(0), distances: new Float32Array(0) };
    const found = this.#unite(buckets, this.#hash(buckets, probes), probes, caps);
    const { capped } = buckets;
    const near = cutAt(this.#rank(buckets, found, found), radius);
    return capped ? { ...near, capped: true } : near;
  }

  /** Loads one query; returns the buckets if there is anything to find in them. */
  #load(query: Queries): Buckets | undefined {
    this.#family.load('query', query, 0, 1);
    return this.size === 0 ? undefined : this.#buckets;
  }

  /** Hashes the one loaded query. */
  #hash(buckets: Buckets, probes: number): Wanted {
    this.#family.hash(buckets, 1, probes, this.memory.ptr('wanted'));
    return this.#wanted(buckets, 0, probes);
  }

  /** The keys of a hashed query. */
  #wanted(buckets: Buckets, query: number, probes: number): Wanted {
    if (probes > 1 && this.#family.probe) {
      return { ptr: this.#family.probe(buckets, query, probes), stride: probes };
    }
    return { ptr: this.memory.ptr('wanted') + 4 * query, stride: HASHED_QUERIES };
  }

  #keysIn(wanted: Wanted, table: number, probes: number): Uint32Array {
    const at = (wanted.ptr >>> 2) + table * wanted.stride;
    return this.memory.u32.slice(at, at + probes);
  }

  /** Unites a query's buckets; returns how many candidates there are that pass. */
  #unite(buckets: Buckets, wanted: Wanted, probes: number, caps: Caps): number {
    buckets.startQuery(caps.maxBucket, caps.maxCandidates);
    const found = buckets.gather(wanted.ptr, wanted.stride, probes, 0);
    if (caps.test === undefined) return found;
    const at = this.memory.ptr('candidates') >>> 2;
    const passing = this.memory.u32.slice(at, at + found).filter(caps.test);
    this.memory.u32.set(passing, at);
    return passing.length;
  }

  #rank(buckets: Buckets, found: number, k: number): CappedNeighbors {
    const size = Math.min(k, found);
    const ids = new Uint32Array(size);
    const distances = new Float32Array(size);
    this.#rankInto(0, found, k, ids, distances);
    return buckets.capped ? { ids, distances, capped: true } : { ids, distances };
  }

  /** Ranks the first `found` candidates; returns how many neighbors it has written. */
  #rankInto(query: number, found: number, k: number, ids: Uint32Array, distances: Float32Array): number {
    const { memory, kernels } = this.#live();
    const { metric } = this.#family;
    const size = Math.min(k, found);
    this.#reserveResults(size);
    const out = memory.ptr('neighbors');
    const heap = memory.ptr('heap');
    this.#family.rank(query, memory.ptr('candidates'), found, size, heap);
    drainHeap(memory, kernels, metric, heap, size, out, ids, distances);
    return size;
  }

  #reserveResults(k: number): void {
    this.memory.reserve('heap', 8 * k);
    this.memory.reserve('neighbors', 8 * k);
  }

  /** Gathers once more, table by table. */
  #explainTables(buckets: Buckets, wanted: Wanted, probes: number): TableExplanation[] {
    const gather = (t: number, found: number): number =>
      buckets.gather(wanted.ptr + 4 * t * wanted.stride, wanted.stride, probes, found, t, 1);
    const bucketSizes = Array.from({ length: this.tables }, (_, t) => {
      buckets.startQuery();
      return gather(t, 0);
    });
    let found = 0;
    buckets.startQuery();
    return bucketSizes.map((bucketSize, t) => {
      const before = found;
      found = gather(t, found);
      const probedKeys = this.#keysIn(wanted, t, probes);
      return { key: probedKeys[0], probedKeys, bucketSize, newCandidates: found - before };
    });
  }

  #shortfall(k: number, found: number, capped: boolean, isFiltered: boolean): string {
    if (found >= k) return '';
    if (capped) {
      return `${found} candidates, fewer than k = ${k}, were left by the caps; a larger maxBucket or maxCandidates gives more`;
    }
    if (this.size < k) return `the index has ${this.size} rows, fewer than k = ${k}`;
    const held = `the visited buckets hold ${found}${isFiltered ? ' that pass the filter,' : ''} of ${this.size} rows, fewer than k = ${k}`;
    return `${held}; ${this.#family.remedy} give more`;
  }
}

function capsOf(options: QueryCaps): Caps {
  const { maxBucket = MAX_BUCKET, maxCandidates = MAX_CANDIDATES, filter } = options ?? {};
  return {
    maxBucket: checkInteger('maxBucket', maxBucket, 1, MAX_K),
    maxCandidates: checkInteger('maxCandidates', maxCandidates, 1, MAX_K),
    test: filter === undefined ? undefined : testOf(filter),
  };
}
