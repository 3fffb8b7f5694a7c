import { type BucketStats, Buckets, joinStats } from './buckets.js';
import {
  checkFinite,
  checkInteger,
  checkOptions,
  checkRowCount,
  checkRows,
  checkVector,
  MAX_VALUE,
  rangeError,
  typeError,
} from './check.js';
import { instantiate, type Kernels } from './kernels.js';
import { LinearMemory } from './memory.js';
import {
  drainHeap,
  LEAST_SQUARED_LENGTH,
  metricNumber,
  type Neighbors,
  type NeighborsBatch,
  zeroVector,
} from './neighbors.js';
import { RandomGenerator } from './random.js';

const MAX_DIMENSIONS = 4096;
const MAX_TABLES = 256;
const MAX_BITS = 32;
const MAX_PROBES = 65536;
const MAX_K = 2 ** 32 - 1;
/** Results of one batch: 4 GiB of ids and distances. */
const MAX_PLACES = 2 ** 29;
/** Rows that are hashed together: with 128 dimensions they fit the second-level cache. */
const HASHED_ROWS = 256;
/** Queries of a batch that are hashed together. */
const HASHED_QUERIES = 64;
/** Room for the scores of a stretch of rows (assembly/rank.ts, rankGathered). */
const SCRATCH_BYTES = 4 * 260;

export interface HyperplaneLshOptions {
  /** Floats of a vector, 1 to 4,096. */
  dimensions: number;
  /** Independent sets of hyperplanes, 1 to 256. More tables find more neighbors, and cost as much more. */
  tables: number;
  /** Hyperplanes of a table, 1 to 32. More make buckets smaller: faster, and more neighbors missed. */
  bits?: number;
  /**
   * Instead of `bits`: the rows that a bucket shall hold, 1 or more. The first `add` of n rows then settles
   * bits = floor(log2(floor(n / bucketSize))), at least 1 and at most 32; later rows do not change it.
   */
  bucketSize?: number;
  /** What the hyperplanes are drawn from, as NumPy's `default_rng(seed).normal(size=(tables * bits, dimensions))`. Default 0. */
  seed?: number | bigint;
  /** The caller's own hyperplanes instead: tables × bits × dimensions floats, row-major; needs `bits`. */
  hyperplanes?: Float32Array;
  /** Default `euclidean`. Hashing is the same for both: it looks at angles. */
  metric?: 'euclidean' | 'cosine';
}

export interface SearchOptions {
  /** Neighbors wanted, 1 or more. */
  k: number;
  /** Buckets visited in each table, 1 to 65,536, likeliest first; default 1, the query's own. */
  probes?: number;
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
  neighbors: Neighbors;
  tables: TableExplanation[];
  /** Rows that were compared. */
  candidates: number;
  /** Why there are fewer than k neighbors; empty when there are k. */
  shortfall: string;
  times: { hashMs: number; gatherMs: number; rankMs: number };
}

/** How rows are spread over buckets, in all and by table. */
export interface HyperplaneLshStats extends BucketStats {
  rows: number;
  tables: BucketStats[];
  /** Bytes of linear memory by part, and in total. */
  memory: Record<string, number>;
}

/**
 * The textbook's locality-sensitive hash tables for angles, with nothing hidden.
 *
 * Each of `tables` tables has `bits` hyperplanes through the origin. Bit i of a vector's key is 1 iff x · h_i >= 0, and
 * weighs 2^i. Rows with the same key share a bucket. A query unites its bucket of each table and ranks these candidates by
 * exact distance: the distances are exact, but a neighbor that shares no bucket with the query is missed.
 *
 * A row costs 4 (dimensions + 2 tables) bytes and a little more. Rows may be added at any time.
 *
 * Sources: M. Charikar, Similarity Estimation Techniques from Rounding Algorithms (STOC 2002), section 3; P. Indyk and
 * R. Motwani, Approximate Nearest Neighbors (STOC 1998); for `probes`: Q. Lv et al., Multi-Probe LSH (VLDB 2007).
 */
export class HyperplaneLsh {
  readonly dimensions: number;
  readonly tables: number;
  readonly metric: 'euclidean' | 'cosine';
  readonly #metricNumber: number;
  readonly #stride: number;
  readonly #bucketSize: number;
  readonly #seed: number | bigint;
  /** Undefined once disposed of. */
  #workspace: { memory: LinearMemory; kernels: Kernels } | undefined;
  /** Undefined while `bucketSize` waits for the first rows. */
  #buckets: Buckets | undefined;

  /**
   * @throws TypeError for an option of the wrong kind; RangeError for dimensions, tables, bits or bucketSize out of range,
   * hyperplanes of the wrong length (ERR_LENGTH) or with a number that is not finite (ERR_NOT_FINITE).
   */
  constructor(options: HyperplaneLshOptions) {
    checkOptions('options', options);
    const {
      dimensions,
      tables,
      bits,
      bucketSize,
      seed = 0,
      hyperplanes,
      metric = 'euclidean',
    } = options ?? {};
    this.dimensions = checkInteger('dimensions', dimensions, 1, MAX_DIMENSIONS);
    this.tables = checkInteger('tables', tables, 1, MAX_TABLES);
    this.#metricNumber = metricNumber(metric, ['euclidean', 'cosine']);
    this.metric = metric;
    if ((bits === undefined) === (bucketSize === undefined)) {
      const got = bits === undefined ? 'neither' : 'both';
      throw typeError('ERR_ARGUMENT_TYPE', `bits: expected either bits or bucketSize, got ${got}`);
    }
    if (bits !== undefined) checkInteger('bits', bits, 1, MAX_BITS);
    this.#bucketSize = bucketSize === undefined ? 0 : checkInteger('bucketSize', bucketSize, 1, 2 ** 32 - 1);
    if (hyperplanes !== undefined) this.#checkHyperplanes(hyperplanes, bits);
    new RandomGenerator(seed); // refuses a wrong seed now, even if nothing is drawn until rows come
    this.#seed = seed;
    this.#stride = (this.dimensions + 3) & ~3;
    const memory = new LinearMemory();
    memory.reserve('query', 4 * this.#stride);
    memory.reserve('queryScale', 4);
    memory.reserve('scratch', SCRATCH_BYTES);
    this.#workspace = { memory, kernels: instantiate(memory.memory) };
    if (bits !== undefined) this.#buckets = this.#makeBuckets(bits, hyperplanes);
  }

  /** Rows in the index. */
  get size(): number {
    this.#checkLive();
    return this.#buckets?.count ?? 0;
  }

  /** Hyperplanes of a table; 0 while `bucketSize` waits for the first rows. */
  get bits(): number {
    this.#checkLive();
    return this.#buckets?.bits ?? 0;
  }

  /** A copy of the hyperplanes, tables × bits × dimensions; none while `bucketSize` waits for the first rows. */
  get hyperplanes(): Float32Array {
    const { dimensions } = this;
    const count = this.tables * this.bits;
    const out = new Float32Array(count * dimensions);
    const packed = this.#memory.ptr('hyperplanes') >>> 2;
    const { f32 } = this.#memory;
    // Interleaved by eight: assembly/project.ts.
    for (let p = 0; p < count; p++) {
      const block = packed + (p >>> 3) * dimensions * 8 + (p & 7);
      for (let j = 0; j < dimensions; j++) out[p * dimensions + j] = f32[block + 8 * j];
    }
    return out;
  }

  /**
   * Adds rows × dimensions floats; returns the first new id. Ids count up from 0. The next query finds them.
   *
   * @throws TypeError for another kind of argument or a detached buffer; RangeError for a length that is no multiple of the
   * dimensions (ERR_LENGTH), a number that is not finite or beyond 1e16 (ERR_NOT_FINITE), under cosine a vector without
   * direction (ERR_ZERO_VECTOR), or too little memory (ERR_OUT_OF_MEMORY). Then the index is as it was.
   */
  add(vectors: Float32Array): number {
    const first = this.size;
    const rows = checkRowCount('vectors', vectors, this.dimensions);
    if (rows === 0) return first;
    this.#storeRows(vectors, first, rows);
    const buckets = this.#buckets ?? this.#makeBuckets(this.#bitsFor(rows));
    buckets.reserve(rows);
    this.#hashRows(buckets, first, rows);
    buckets.add(rows);
    this.#buckets = buckets;
    return first;
  }

  /** The query's key in each table. Needs rows first where `bucketSize` stands for bits. */
  keys(query: Float32Array): Uint32Array {
    const buckets = this.#settled();
    this.#loadQuery(query);
    const keys = this.#hashQuery(buckets, 1) >>> 2;
    return this.#memory.u32.slice(keys, keys + this.tables);
  }

  /** Ids of the rows with this key in this table, ascending. */
  bucket(table: number, key: number): Uint32Array {
    const buckets = this.#settled();
    checkInteger('table', table, 0, this.tables - 1);
    checkInteger('key', key, 0, 2 ** buckets.bits - 1);
    const wanted = this.#memory.reserve('wantedKey', 4);
    this.#memory.u32[wanted >>> 2] = key;
    buckets.startQuery();
    return buckets.candidates(buckets.gather(wanted, 1, 1, 0, table, 1));
  }

  /** Ids of all rows that share a visited bucket with the query, ascending: those that `search` ranks. */
  candidates(query: Float32Array, options: { probes?: number } = {}): Uint32Array {
    const probes = this.#probesOf(options);
    this.#loadQuery(query);
    if (this.size === 0) return new Uint32Array(0);
    const buckets = this.#settled();
    return buckets.candidates(this.#gather(buckets, probes));
  }

  /**
   * The k nearest of the candidates, nearest first, with exact distances; fewer where there are fewer candidates.
   *
   * Approximate: a row that shares no visited bucket with the query is not found. `explain` says how an answer came about.
   *
   * @throws TypeError or RangeError for k, probes or a query out of range, of the wrong length (ERR_LENGTH), not finite
   * (ERR_NOT_FINITE) or, under cosine, without direction (ERR_ZERO_VECTOR).
   */
  search(query: Float32Array, options: SearchOptions): Neighbors {
    const { k, probes } = this.#searchOptions(options);
    this.#loadQuery(query);
    if (this.size === 0) return { ids: new Uint32Array(0), distances: new Float32Array(0) };
    return this.#rank(this.#gather(this.#settled(), probes), k);
  }

  /** `search` for each of queries × dimensions floats; the queries are hashed together. */
  searchBatch(queries: Float32Array, options: SearchOptions): NeighborsBatch {
    const { k, probes } = this.#searchOptions(options);
    const queryCount = checkRows('queries', queries, this.dimensions);
    if (queryCount * k > MAX_PLACES) {
      throw rangeError(
        'ERR_TOO_LARGE',
        `k: expected at most ${MAX_PLACES} places (queries × k), got ${queryCount * k}; search in parts`,
      );
    }
    const ids = new Uint32Array(queryCount * k).fill(2 ** 32 - 1);
    const distances = new Float32Array(queryCount * k).fill(Infinity);
    const counts = new Uint32Array(queryCount);
    if (this.size === 0) {
      for (let q = 0; q < queryCount; q++) this.#writeQuery('queries', queries, q);
      return { ids, distances, counts };
    }
    const buckets = this.#settled();
    for (let first = 0; first < queryCount; first += HASHED_QUERIES) {
      const some = Math.min(HASHED_QUERIES, queryCount - first);
      const hashed = this.#hashQueries(buckets, queries, first, some, probes);
      for (let q = 0; q < some; q++) {
        this.#writeQuery('queries', queries, first + q);
        buckets.startQuery();
        const wanted = probes === 1 ? hashed + 4 * q : this.#probe(buckets, hashed, q, probes);
        const found = buckets.gather(wanted, probes === 1 ? HASHED_QUERIES : probes, probes, 0);
        const at = (first + q) * k;
        counts[first + q] = this.#rankInto(
          found,
          k,
          ids.subarray(at, at + k),
          distances.subarray(at, at + k),
        );
      }
    }
    return { ids, distances, counts };
  }

  /** Searches, and tells what each table did, where the time went, and why fewer than k neighbors came. */
  explain(query: Float32Array, options: SearchOptions): Explanation {
    const { k, probes } = this.#searchOptions(options);
    const start = performance.now();
    this.#loadQuery(query);
    if (this.size === 0) {
      const neighbors = { ids: new Uint32Array(0), distances: new Float32Array(0) };
      const times = { hashMs: performance.now() - start, gatherMs: 0, rankMs: 0 };
      return { neighbors, tables: [], candidates: 0, shortfall: 'the index is empty', times };
    }
    const buckets = this.#settled();
    const wanted = this.#hashQuery(buckets, probes);
    const hashed = performance.now();
    buckets.startQuery();
    const found = buckets.gather(wanted, probes, probes, 0);
    const gathered = performance.now();
    const neighbors = this.#rank(found, k);
    const ranked = performance.now();
    const times = { hashMs: hashed - start, gatherMs: gathered - hashed, rankMs: ranked - gathered };
    const shortfall = this.#shortfall(k, found);
    return {
      neighbors,
      tables: this.#explainTables(buckets, wanted, probes),
      candidates: found,
      shortfall,
      times,
    };
  }

  /** How the rows are spread over the buckets. Looks at every row. */
  stats(): HyperplaneLshStats {
    const rows = this.size;
    const empty = { buckets: 0, average: 0, largest: 0, histogram: [], skew: 0 };
    const tables = this.#buckets?.stats() ?? Array.from({ length: this.tables }, () => empty);
    return { rows, ...joinStats(tables, rows), tables, memory: this.#memory.usage() };
  }

  /** Frees the memory at once. Every later call throws a TypeError (ERR_DISPOSED). */
  dispose(): void {
    this.#workspace = undefined;
    this.#buckets = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #checkLive(): { memory: LinearMemory; kernels: Kernels } {
    if (this.#workspace === undefined) {
      throw typeError('ERR_DISPOSED', 'index: expected one in use, got one that was disposed of');
    }
    return this.#workspace;
  }

  get #memory(): LinearMemory {
    return this.#checkLive().memory;
  }

  get #kernels(): Kernels {
    return this.#checkLive().kernels;
  }

  /** The buckets, for a call that makes no sense before bits are settled. */
  #settled(): Buckets {
    this.#checkLive();
    const buckets = this.#buckets;
    if (buckets === undefined) {
      throw rangeError(
        'ERR_ARGUMENT_RANGE',
        'bits: expected rows that settle them (bucketSize), got an empty index',
      );
    }
    return buckets;
  }

  #checkHyperplanes(hyperplanes: Float32Array, bits: number | undefined): void {
    if (bits === undefined) {
      throw typeError('ERR_ARGUMENT_TYPE', 'bits: expected a number beside hyperplanes, got undefined');
    }
    checkRowCount('hyperplanes', hyperplanes, 1);
    const { tables, dimensions } = this;
    if (hyperplanes.length !== tables * bits * dimensions) {
      const product = `${tables} tables × ${bits} bits × ${dimensions} dimensions`;
      throw rangeError(
        'ERR_LENGTH',
        `hyperplanes: expected ${tables * bits * dimensions} floats (${product}), got ${hyperplanes.length}`,
      );
    }
    checkFinite('hyperplanes', hyperplanes, dimensions);
  }

  #searchOptions(options: SearchOptions): { k: number; probes: number } {
    this.#checkLive();
    checkOptions('options', options);
    return { k: checkInteger('k', options?.k, 1, MAX_K), probes: this.#probesOf(options) };
  }

  /** Buckets to visit in each table: no more than there are keys. */
  #probesOf(options: { probes?: number }): number {
    checkOptions('options', options);
    const probes = options?.probes ?? 1;
    return Math.min(checkInteger('probes', probes, 1, MAX_PROBES), 2 ** (this.bits || MAX_BITS));
  }

  #bitsFor(rows: number): number {
    const buckets = Math.floor(rows / this.#bucketSize);
    return Math.min(MAX_BITS, Math.max(1, Math.floor(Math.log2(Math.max(1, buckets)))));
  }

  /** Draws or takes the hyperplanes and packs them; makes the empty tables. */
  #makeBuckets(bits: number, hyperplanes?: Float32Array): Buckets {
    const memory = this.#memory;
    const { dimensions, tables } = this;
    const count = tables * bits;
    const packed = memory.reserve('hyperplanes', 4 * 8 * Math.ceil(count / 8) * dimensions);
    memory.reserve('signs', this.#signBytes(bits) * HASHED_ROWS + 8);
    memory.reserve('wanted', 4 * tables * HASHED_QUERIES);
    const planes = memory.reserve('planes', 4 * count * dimensions);
    const view = memory.f32.subarray(planes >>> 2, (planes >>> 2) + count * dimensions);
    if (hyperplanes === undefined) new RandomGenerator(this.#seed).normals(view);
    else view.set(hyperplanes);
    this.#kernels.packPlanes(planes, count, dimensions, dimensions, packed);
    memory.release('planes');
    return new Buckets(memory, this.#kernels, tables, bits);
  }

  #signBytes(bits: number): number {
    return Math.ceil((this.tables * bits) / 8);
  }

  /** Writes rows behind the stored ones, where nobody looks until they are counted. */
  #storeRows(vectors: Float32Array, first: number, rows: number): void {
    const { dimensions } = this;
    const memory = this.#memory;
    const stride = this.#stride;
    const ptr = memory.reserve('rows', 4 * (first + rows) * stride) + 4 * first * stride;
    if (stride === dimensions) {
      memory.f32.set(vectors, ptr >>> 2);
    } else {
      const packed = memory.reserve('packedRows', 4 * HASHED_ROWS * dimensions);
      for (let r = 0; r < rows; r += HASHED_ROWS) {
        const some = Math.min(HASHED_ROWS, rows - r);
        memory.f32.set(vectors.subarray(r * dimensions, (r + some) * dimensions), packed >>> 2);
        this.#kernels.padRows(packed, some, dimensions, stride, ptr + 4 * r * stride);
      }
    }
    const floats = rows * stride;
    if (this.#kernels.firstUnfit(ptr, floats, MAX_VALUE) >>> 0 !== floats) {
      checkFinite('vectors', vectors, dimensions);
    }
    if (this.#metricNumber === 1) {
      const scales = memory.reserve('scales', 4 * (first + rows)) + 4 * first;
      const short = this.#kernels.inverseLengths(ptr, rows, stride, LEAST_SQUARED_LENGTH, scales) >>> 0;
      if (short !== rows) throw zeroVector('vectors', short);
    }
  }

  #hashRows(buckets: Buckets, first: number, rows: number): void {
    const memory = this.#memory;
    const signBytes = this.#signBytes(buckets.bits);
    for (let r = 0; r < rows; r += HASHED_ROWS) {
      const some = Math.min(HASHED_ROWS, rows - r);
      this.#sign(buckets, memory.ptr('rows') + 4 * (first + r) * this.#stride, some);
      this.#kernels.keys(
        memory.ptr('signs'),
        some,
        signBytes,
        this.tables,
        buckets.bits,
        buckets.keyStride,
        buckets.keysPtr(first + r),
      );
    }
  }

  #sign(buckets: Buckets, rows: number, count: number): void {
    this.#kernels.signBits(
      rows,
      count,
      this.#stride,
      this.dimensions,
      this.#memory.ptr('hyperplanes'),
      this.tables * buckets.bits,
      this.#memory.ptr('signs'),
    );
  }

  #loadQuery(query: Float32Array): void {
    checkVector('query', query, this.dimensions);
    this.#writeQuery('query', query, 0);
  }

  /** Copies one of `queries` to where the kernels rank from; under cosine refuses one without direction. */
  #writeQuery(subject: string, queries: Float32Array, row: number): void {
    const memory = this.#memory;
    const { dimensions } = this;
    const { f32 } = memory;
    const ptr = memory.ptr('query');
    const start = row * dimensions;
    // A view costs as much as the copy: one query alone needs none.
    const query = queries.length === dimensions ? queries : queries.subarray(start, start + dimensions);
    f32.set(query, ptr >>> 2);
    f32.fill(0, (ptr >>> 2) + dimensions, (ptr >>> 2) + this.#stride);
    if (this.#metricNumber !== 1) return;
    const scale = memory.ptr('queryScale');
    if (this.#kernels.inverseLengths(ptr, 1, this.#stride, LEAST_SQUARED_LENGTH, scale) !== 1) {
      throw zeroVector(subject, row);
    }
  }

  /** Hashes the loaded query; returns the address of its keys, u32 × tables × probes. */
  #hashQuery(buckets: Buckets, probes: number): number {
    const query = this.#memory.ptr('query');
    if (probes > 1) return this.#probe(buckets, this.#margins(buckets, query, 1), 0, probes);
    this.#sign(buckets, query, 1);
    const wanted = this.#memory.ptr('wanted');
    const signBytes = this.#signBytes(buckets.bits);
    this.#kernels.keys(this.#memory.ptr('signs'), 1, signBytes, this.tables, buckets.bits, 1, wanted);
    return wanted;
  }

  /**
   * Hashes up to HASHED_QUERIES of the queries; returns the address of their keys (u32 × tables × HASHED_QUERIES) or,
   * for more than one probe, of their margins.
   */
  #hashQueries(
    buckets: Buckets,
    queries: Float32Array,
    first: number,
    count: number,
    probes: number,
  ): number {
    const memory = this.#memory;
    const { dimensions } = this;
    const rows = memory.reserve('queries', 4 * HASHED_QUERIES * this.#stride) >>> 2;
    const { f32 } = memory;
    for (let q = 0; q < count; q++) {
      const at = rows + q * this.#stride;
      f32.set(queries.subarray((first + q) * dimensions, (first + q + 1) * dimensions), at);
      f32.fill(0, at + dimensions, at + this.#stride);
    }
    if (probes > 1) return this.#margins(buckets, memory.ptr('queries'), count);
    this.#sign(buckets, memory.ptr('queries'), count);
    const wanted = memory.ptr('wanted');
    const signBytes = this.#signBytes(buckets.bits);
    const signs = memory.ptr('signs');
    this.#kernels.keys(signs, count, signBytes, this.tables, buckets.bits, HASHED_QUERIES, wanted);
    return wanted;
  }

  /** Margins of rows against all hyperplanes; returns their address. */
  #margins(buckets: Buckets, rows: number, count: number): number {
    const planes = this.tables * buckets.bits;
    const out = this.#memory.reserve('margins', 4 * 8 * Math.ceil(planes / 8) * count);
    const packed = this.#memory.ptr('hyperplanes');
    this.#kernels.margins(rows, count, this.#stride, this.dimensions, packed, planes, out);
    return out;
  }

  /** Probing sequences of one query from margins; returns the address of its keys, u32 × tables × probes. */
  #probe(buckets: Buckets, margins: number, query: number, probes: number): number {
    const memory = this.#memory;
    const planes = 8 * Math.ceil((this.tables * buckets.bits) / 8);
    const wanted = memory.reserve('probedKeys', 4 * this.tables * probes);
    const scratch = memory.reserve('probeScratch', 384 + 24 * (probes + 1));
    const own = margins + 4 * query * planes;
    this.#kernels.probeKeys(own, this.tables, buckets.bits, probes, scratch, wanted);
    return wanted;
  }

  /** Hashes the loaded query and unites its buckets; returns how many candidates there are. */
  #gather(buckets: Buckets, probes: number): number {
    const wanted = this.#hashQuery(buckets, probes);
    buckets.startQuery();
    return buckets.gather(wanted, probes, probes, 0);
  }

  #rank(found: number, k: number): Neighbors {
    const size = Math.min(k, found);
    const ids = new Uint32Array(size);
    const distances = new Float32Array(size);
    this.#rankInto(found, k, ids, distances);
    return { ids, distances };
  }

  /** Ranks the first `found` candidates; returns how many neighbors it has written. */
  #rankInto(found: number, k: number, ids: Uint32Array, distances: Float32Array): number {
    const memory = this.#memory;
    const size = Math.min(k, found);
    memory.reserve('heap', 8 * size);
    memory.reserve('neighbors', 8 * size);
    const heap = memory.ptr('heap');
    this.#kernels.rankGathered(
      this.#metricNumber,
      memory.ptr('query'),
      memory.f32[memory.ptr('queryScale') >>> 2],
      memory.ptr('rows'),
      memory.ptr('scales'),
      memory.ptr('candidates'),
      found,
      this.#stride,
      size,
      heap,
      0,
      memory.ptr('scratch'),
    );
    drainHeap(memory, this.#kernels, this.#metricNumber, heap, size, memory.ptr('neighbors'), ids, distances);
    return size;
  }

  /** Gathers once more, table by table. */
  #explainTables(buckets: Buckets, wanted: number, probes: number): TableExplanation[] {
    const { u32 } = this.#memory;
    const keys = Array.from({ length: this.tables }, (_, t) => {
      const at = (wanted >>> 2) + t * probes;
      return u32.slice(at, at + probes);
    });
    const bucketSizes = keys.map((_, t) => {
      buckets.startQuery();
      return buckets.gather(wanted + 4 * t * probes, probes, probes, 0, t, 1);
    });
    let found = 0;
    buckets.startQuery();
    return keys.map((probedKeys, t) => {
      const before = found;
      found = buckets.gather(wanted + 4 * t * probes, probes, probes, found, t, 1);
      return { key: probedKeys[0], probedKeys, bucketSize: bucketSizes[t], newCandidates: found - before };
    });
  }

  #shortfall(k: number, found: number): string {
    if (found >= k) return '';
    if (this.size < k) return `the index has ${this.size} rows, fewer than k = ${k}`;
    return `the visited buckets hold ${found} of ${this.size} rows, fewer than k = ${k}; more probes or tables, or fewer bits, give more`;
  }
}
