import type { Buckets } from './buckets.js';
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
import type { GroupPage } from './groups.js';
import type { VectorPages } from './join-queries.js';
import type { Joinable } from './joinable.js';
import {
  checkJoin,
  checkK,
  checkRadius,
  type JoinStream,
  joinGroups,
  joinNearest,
  joinNeighbors,
  joinPairs,
  joinWithin,
  type NeighborPage,
  type PairPage,
  type RangePage,
} from './joins.js';
import {
  type CappedBatch,
  type CappedNeighbors,
  LEAST_SQUARED_LENGTH,
  metricNumber,
  type RadiusBatch,
  zeroVector,
} from './neighbors.js';
import type { AsyncOptions } from './progress.js';
import { RandomGenerator, seedOf } from './random.js';
import {
  expectContent,
  MAX_SEED_BYTES,
  paused,
  type Reading,
  type SnapshotLimits,
  type SnapshotReader,
  seedBytes,
  seedFrom,
  type Writing,
} from './snapshot.js';
import { fromBytes, fromStream, toBytes, toStream } from './streams.js';
import { type TableJoinOptions, TableJoins } from './table-joins.js';
import {
  expectTables,
  PROVED_ROWS,
  readParameters,
  readSnapshot,
  readTables,
  writeTables,
} from './table-snapshot.js';
import {
  checkMaxBytes,
  type Explanation,
  type Family,
  HASHED_QUERIES,
  HashTables,
  type LshStats,
  MAX_TABLES,
  type QueryCaps,
} from './tables.js';

const MAX_DIMENSIONS = 4096;
const MAX_BITS = 32;
const MAX_PROBES = 65536;
/** Probes for which a search always has room. */
const SURE_PROBES = 16;
/** Rows that are hashed together: with 128 dimensions they fit the second-level cache. */
const HASHED_ROWS = 256;
/** Room for the scores of a stretch of rows (assembly/rank.ts, rankGathered). */
const SCRATCH_BYTES = 4 * 260;

/** Caps that cut nothing. */
const UNCAPPED: QueryCaps = { maxBucket: 2 ** 32 - 1, maxCandidates: 2 ** 32 - 1 };

/** Sections of a snapshot: docs/snapshot-format.md. */
const SECTIONS = { hyperplanes: 2, rows: 3 } as const;

/** Options of a `HyperplaneLsh`. */
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
  /** What the hyperplanes are drawn from, as NumPy's `default_rng(seed).normal(size=(tables * bits, dimensions))`. Default 0. `'random'`: one that nobody can guess, which a snapshot keeps. */
  seed?: number | bigint | 'random';
  /** The caller's own hyperplanes instead: tables × bits × dimensions floats, row-major; needs `bits`. */
  hyperplanes?: Float32Array;
  /** Default `euclidean`. Hashing is the same for both: it looks at angles. */
  metric?: 'euclidean' | 'cosine';
  /** Bytes that the index may take, all told; default and most: 4 GiB. */
  maxBytes?: number;
}

export interface SearchOptions extends QueryCaps {
  /** Neighbors wanted, 1 or more. */
  k: number;
  /** Buckets visited in each table, 1 to 65,536, likeliest first; default 1, the query's own. */
  probes?: number;
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
  #bucketSize: number;
  readonly #seed: bigint;
  /** Without buckets while `bucketSize` waits for the first rows. */
  readonly #tables: HashTables<Float32Array>;

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
      maxBytes,
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
    this.#seed = seedOf(seed); // refuses a wrong one now, even if nothing is drawn until rows come
    this.#stride = (this.dimensions + 3) & ~3;
    const family: Family<Float32Array> = {
      metric: this.#metricNumber,
      remedy: 'more probes or tables, or fewer bits,',
      load: (subject, queries, first, count) => this.#load(subject, queries, first, count),
      hash: (buckets, count, probes, wanted) => this.#hash(buckets, count, probes, wanted),
      probe: (buckets, query, probes) => this.#probe(buckets, query, probes),
      rank: (query, ids, count, size, heap) => this.#rank(query, ids, count, size, heap),
    };
    this.#tables = new HashTables(this.tables, family, checkMaxBytes(maxBytes));
    const { memory } = this.#tables;
    memory.reserve('scratch', SCRATCH_BYTES);
    memory.reserve('queries', 4 * this.#stride);
    memory.reserve('queryScales', 4 * HASHED_QUERIES);
    if (bits !== undefined) this.#tables.settle(this.#makeBuckets(bits, hyperplanes));
  }

  /**
   * The index that `save` wrote, with the same keys, buckets and answers.
   *
   * The bytes may come from anyone. They are refused, or they give an index whose searches stay within its own memory.
   * Keys are read as they stand, since hashing all rows anew takes longer than all the rest; only buckets are made anew.
   *
   * @param limits refused beyond these, before memory is taken. `maxBytes` also limits the index from then on.
   * @throws SnapshotError (ERR_SNAPSHOT) with a `reason`; RangeError (ERR_OUT_OF_MEMORY) where the machine has no room for it.
   */
  static load(bytes: Uint8Array, limits?: SnapshotLimits): HyperplaneLsh {
    return fromBytes(bytes, (length) => HyperplaneLsh.fromParts(limits, length));
  }

  /**
   * As `load`, from a stream of the bytes, straight into the memory of the index; see `VectorIndex.loadFrom`.
   *
   * @param options limits as of `load`, and those of AsyncOptions; progress is in bytes.
   */
  static async loadFrom(
    stream: ReadableStream<Uint8Array>,
    options: SnapshotLimits & AsyncOptions = {},
  ): Promise<HyperplaneLsh> {
    return fromStream(stream, HyperplaneLsh.fromParts(options), options);
  }

  /** @internal For whoever reads bytes in another way: snapshot.ts, `Reading`. `length`: how many there are, if known. */
  static fromParts(limits?: SnapshotLimits, length?: number): Reading<HyperplaneLsh> {
    return readSnapshot('HyperplaneLsh', limits, length, HyperplaneLsh.#read);
  }

  static *#read(reader: SnapshotReader): Reading<HyperplaneLsh> {
    const { words, view, seedAt } = yield* readParameters(reader, 6, MAX_SEED_BYTES);
    const [dimensions, metricAt, tables, bits, bucketSize, rows] = words;
    reader.limit('maxDimensions', reader.maxDimensions, dimensions);
    reader.limit('maxRows', reader.maxRows, rows);
    expectContent(dimensions >= 1, 'dimensions', dimensions);
    expectContent(metricAt <= 1, 'a metric', metricAt);
    expectContent(tables >= 1 && tables <= MAX_TABLES, `1 to ${MAX_TABLES} tables`, tables);
    expectContent(
      bits <= MAX_BITS && (bits > 0 || (bucketSize > 0 && rows === 0)),
      `1 to ${MAX_BITS} bits`,
      bits,
    );
    const seed = seedFrom(view, seedAt);

    const stride = (dimensions + 3) & ~3;
    const planes = tables * bits * dimensions;
    expectTables(reader, tables, rows, [
      [SECTIONS.hyperplanes, 4 * planes],
      [SECTIONS.rows, 4 * rows * stride],
    ]);
    const metric = metricAt === 1 ? 'cosine' : 'euclidean';
    const options = { dimensions, tables, metric, seed, maxBytes: reader.maxBytes } as const;
    if (bits === 0) {
      yield* reader.close();
      return new HyperplaneLsh({ ...options, bucketSize });
    }
    const hyperplanes = new Float32Array((yield* reader.read(SECTIONS.hyperplanes, 4 * planes)).buffer);
    const fit = hyperplanes.every((x) => Math.abs(x) <= MAX_VALUE);
    expectContent(fit, 'finite hyperplanes', 'others');
    const index = new HyperplaneLsh({ ...options, bits, hyperplanes });
    index.#bucketSize = bucketSize;
    yield* readTables(reader, index.#tables, index.#settled(), rows, [[SECTIONS.rows, 'rows']]);
    yield* paused(index.#proveRows(rows));
    return index;
  }

  /** Proves rows that were read, and computes what is kept beside them. */
  *#proveRows(rows: number): Generator<void> {
    const { memory, kernels } = this.#tables;
    const stride = this.#stride;
    const scales = this.#metricNumber === 1 ? memory.reserve('scales', 4 * rows) : 0;
    const { f32 } = memory;
    for (let first = 0; first < rows; first += PROVED_ROWS) {
      const last = Math.min(rows, first + PROVED_ROWS);
      const ptr = memory.ptr('rows') + 4 * first * stride;
      const count = (last - first) * stride;
      const fit = kernels.firstUnfit(ptr, count, MAX_VALUE) >>> 0 === count;
      expectContent(fit, 'finite numbers of at most 1e16 in every row', 'others');
      // Stretch by stretch of the rows that are there.
      for (let row = first, end = 0; scales > 0 && row < last; row = end + 1) {
        for (end = row; end < last && this.has(end); ) end++;
        const [from, scale] = [ptr + 4 * (row - first) * stride, scales + 4 * row];
        const short = kernels.inverseLengths(from, end - row, stride, LEAST_SQUARED_LENGTH, scale) >>> 0;
        expectContent(short === end - row, 'rows with a direction', `none in row ${row + short}`);
      }
      for (let row = first, start = ptr >>> 2; row < last; row++, start += stride) {
        for (let at = start + (this.has(row) ? this.dimensions : 0); at < start + stride; at++) {
          if (f32[at] !== 0) expectContent(false, 'zeros behind every row and in removed ones', f32[at]);
        }
      }
      yield;
    }
  }

  /** Rows in the index, without those that were removed. */
  get size(): number {
    return this.#tables.size;
  }

  /** Hyperplanes of a table; 0 while `bucketSize` waits for the first rows. */
  get bits(): number {
    return this.#tables.buckets?.bits ?? 0;
  }

  /** A copy of the hyperplanes, tables × bits × dimensions; none while `bucketSize` waits for the first rows. */
  get hyperplanes(): Float32Array {
    const { dimensions } = this;
    const count = this.tables * this.bits;
    const out = new Float32Array(count * dimensions);
    const { memory } = this.#tables;
    const packed = memory.ptr('hyperplanes') >>> 2;
    const { f32 } = memory;
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
    const first = this.#tables.nextId();
    const rows = checkRowCount('vectors', vectors, this.dimensions);
    if (rows === 0) return first;
    this.#storeRows(vectors, first, rows);
    const buckets = this.#tables.buckets ?? this.#makeBuckets(this.#bitsFor(rows));
    this.#tables.add(buckets, rows, () => this.#hashRows(buckets, first, rows));
    return first;
  }

  /**
   * Removes rows: no later bucket, candidates or answer has them, and their ids are not given out again. Returns how many
   * were removed; ids that were removed before, or come twice, do not count again. Takes well under a microsecond each;
   * the room that they take stays taken.
   *
   * @param ids one id, or any array of them.
   * @throws TypeError (ERR_ARGUMENT_TYPE) for anything else; RangeError (ERR_ARGUMENT_RANGE) for an id that was never given
   * out. Then nothing was removed.
   */
  remove(ids: number | ArrayLike<number>): number {
    return this.#tables.remove(ids);
  }

  /** Whether there is a row of this id: it was given out, and not removed. */
  has(id: number): boolean {
    return this.#tables.has(id);
  }

  /** The query's key in each table. Needs rows first where `bucketSize` stands for bits. */
  keys(query: Float32Array): Uint32Array {
    return this.#tables.keys(this.#settled(), this.#checkQuery(query));
  }

  /** Ids of the rows with this key in this table, ascending. */
  bucket(table: number, key: number): Uint32Array {
    return this.#tables.bucket(this.#settled(), table, key);
  }

  /** Ids of all rows that share a visited bucket with the query, ascending: those that `search` ranks. */
  candidates(query: Float32Array, options: { probes?: number } & QueryCaps = {}): Uint32Array {
    const probes = this.#probesOf(options);
    return this.#tables.candidates(this.#checkQuery(query), options, probes);
  }

  /**
   * The k nearest of the candidates, nearest first, with exact distances; fewer where there are fewer candidates.
   *
   * Approximate: a row that shares no visited bucket with the query is not found. `explain` says how an answer came about.
   *
   * @throws TypeError or RangeError for k, probes or a query out of range, of the wrong length (ERR_LENGTH), not finite
   * (ERR_NOT_FINITE) or, under cosine, without direction (ERR_ZERO_VECTOR).
   */
  search(query: Float32Array, options: SearchOptions): CappedNeighbors {
    return this.#tables.search(this.#checkQuery(query), options, this.#probesOf(options));
  }

  /** `search` for each of queries × dimensions floats; the queries are hashed together. */
  searchBatch(queries: Float32Array, options: SearchOptions): CappedBatch {
    const queryCount = checkRows('queries', queries, this.dimensions);
    return this.#tables.searchBatch(queries, queryCount, options, this.#probesOf(options));
  }

  /**
   * All candidates within a distance, nearest first: of the rows that share a visited bucket with the query. Approximate as
   * `search` is, and of any size.
   *
   * @param radius 0 or more. @param options as for search, without k.
   */
  searchRadius(query: Float32Array, radius: number, options: Omit<SearchOptions, 'k'> = {}): CappedNeighbors {
    return this.#tables.searchRadius(this.#checkQuery(query), radius, options, this.#probesOf(options));
  }

  /** `searchRadius` for each of queries × dimensions floats; those of query i stand at offsets[i] … offsets[i + 1] - 1. */
  searchRadiusBatch(
    queries: Float32Array,
    radius: number,
    options: Omit<SearchOptions, 'k'> = {},
  ): RadiusBatch {
    const queryCount = checkRows('queries', queries, this.dimensions);
    return this.#tables.searchRadiusBatch(queries, queryCount, radius, options, this.#probesOf(options));
  }

  /** Searches, and tells what each table did, where the time went, and why fewer than k neighbors came. */
  explain(query: Float32Array, options: SearchOptions): Explanation {
    return this.#tables.explain(this.#checkQuery(query), options, this.#probesOf(options));
  }

  /**
   * The k nearest of those that share a bucket with it, for every row, itself left out; fewer where there are fewer. Rows come
   * by ascending id, in pages of 4,096, or fewer where k is large.
   *
   * A row meets all rows of its buckets: n rows in one bucket, such as equal ones, are compared n² times. `stats().skew`
   * tells beforehand; memory stays a page.
   */
  neighborGraph(options: TableJoinOptions & { k: number }): JoinStream<NeighborPage> {
    const index = this.#joinable(options);
    return joinNeighbors(index, checkK(options?.k), options);
  }

  /**
   * For each row of another index, or for each query, its k nearest candidates, or all candidates within a radius.
   *
   * @param other an index of the same dimensions, whose rows come by ascending id and are hashed by this one; or queries,
   * rows × dimensions floats; or an iterable, also an asynchronous one, of such arrays, numbered through.
   * @param options `k` or `radius`.
   */
  join(
    other: HyperplaneLsh | Float32Array | VectorPages,
    options: TableJoinOptions & { k: number },
  ): JoinStream<NeighborPage>;
  join(
    other: HyperplaneLsh | Float32Array | VectorPages,
    options: TableJoinOptions & { radius: number },
  ): JoinStream<RangePage>;
  join(
    other: HyperplaneLsh | Float32Array | VectorPages,
    options: TableJoinOptions & { k?: number; radius?: number },
  ): JoinStream<NeighborPage> | JoinStream<RangePage> {
    const index = this.#joinable(options);
    checkJoin(options);
    const queries = other instanceof HyperplaneLsh ? other.#joinable({}) : other;
    if (options.k !== undefined) return joinNearest(index, queries, checkK(options.k), options);
    return joinWithin(index, queries, checkRadius(options.radius, false), options);
  }

  /**
   * All pairs of rows that share a bucket in any table and are within a radius, each once, the lower id as `a`.
   *
   * Work and answer grow with the pairs in a bucket: n equal rows are n (n - 1) / 2 pairs. Memory stays a page and a bucket.
   */
  selfJoin(options: TableJoinOptions & { radius: number }): JoinStream<PairPage> {
    const index = this.#joinable(options);
    return joinPairs(index, checkRadius(options?.radius, false), options);
  }

  /**
   * Groups of rows that hang together by such pairs: the connected components, of two rows or more. By the least id of each
   * group, ids ascending within one. They do not depend on the order of the rows: keys tell which rows meet.
   *
   * Equal rows are always together and are compared once, rows of one group never: a bucket of n rows alike costs n² steps of
   * a nanosecond or two, and of n equal ones n. Pairs are not kept: it takes about 40 bytes a row and a page.
   */
  duplicates(options: TableJoinOptions & { radius: number }): JoinStream<GroupPage> {
    const index = this.#joinable(options);
    return joinGroups(index, checkRadius(options?.radius, false), true, options);
  }

  /** How the rows are spread over the buckets. Looks at every row. */
  stats(): LshStats {
    return this.#tables.stats();
  }

  /**
   * The whole index as bytes: hyperplanes, rows and keys. The same index gives the same bytes on every engine.
   * docs/snapshot-format.md has the format.
   *
   * Of removed rows the keys and ids are in it, and zeros for their numbers, which this call forgets.
   *
   * @throws RangeError where there is no room for a second copy (ERR_OUT_OF_MEMORY).
   */
  save(): Uint8Array {
    return toBytes(this.snapshotParts());
  }

  /**
   * As `save`, into a stream that is closed at the end; see `VectorIndex.saveTo`. Until it ends the index may be searched
   * and not changed (RangeError, ERR_BUSY).
   *
   * @param options those of AsyncOptions; progress is in bytes.
   */
  async saveTo(stream: WritableStream, options: AsyncOptions = {}): Promise<void> {
    return toStream(this.snapshotParts(), stream, options);
  }

  /** @internal For whoever writes bytes in another way: snapshot.ts, `Writing`. */
  snapshotParts(): Writing {
    return writeTables('HyperplaneLsh', this.#tables, () => {
      const { dimensions, tables, bits } = this;
      const { count, memory, buckets } = this.#tables;
      const words = [dimensions, this.#metricNumber, tables, bits, this.#bucketSize, count];
      const seed = seedBytes(this.#seed);
      if (buckets === undefined) return { words, seed, sections: [] };
      const planes = new Uint8Array(this.hyperplanes.buffer);
      this.#forgetRemoved(buckets);
      const rows = count === 0 ? [] : [{ ptr: memory.ptr('rows'), bytes: 4 * count * this.#stride }];
      const sections = [
        { tag: SECTIONS.hyperplanes, pieces: [planes] },
        { tag: SECTIONS.rows, pieces: rows },
      ];
      return { words, seed, sections };
    });
  }

  /** Overwrites the numbers of removed rows. */
  #forgetRemoved(buckets: Buckets): void {
    if (buckets.removed === 0) return;
    const { f32 } = this.#tables.memory;
    const rows = this.#tables.memory.ptr('rows') >>> 2;
    const stride = this.#stride;
    for (let id = 0; id < buckets.count; id++) {
      if (!buckets.has(id)) f32.fill(0, rows + id * stride, rows + (id + 1) * stride);
    }
  }

  /** Bytes by part, and of the memory as a whole (`total`). */
  memoryUsage(): Record<string, number> {
    return this.#tables.memory.usage();
  }

  /** Frees the memory at once. Every later call throws a TypeError (ERR_DISPOSED). */
  dispose(): void {
    this.#tables.dispose();
  }

  /** `dispose()`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** The index as joins see it. */
  #joinable(options: TableJoinOptions): Joinable {
    checkOptions('options', options);
    const { dimensions } = this;
    const tables = this.#tables;
    const stride = this.#stride;
    const joins = new TableJoins(
      tables,
      {
        dimensions,
        metric: this.#metricNumber,
        rank: (row, ids, count, size, heap) => {
          const { memory } = tables;
          const query = memory.ptr('rows') + 4 * row * stride;
          const scale = this.#metricNumber === 1 ? memory.f32[(memory.ptr('scales') >>> 2) + row] : 0;
          this.#rankFrom(query, scale, ids, count, size, heap);
        },
        words: (id) => {
          const at = (tables.memory.ptr('rows') >>> 2) + id * stride;
          return tables.memory.u32.subarray(at, at + stride);
        },
        vector: (id) => {
          const at = (tables.memory.ptr('rows') >>> 2) + id * stride;
          return tables.memory.f32.slice(at, at + dimensions);
        },
        // Who joins wants all that meet: no caps.
        nearest: (queries, k, filter) => this.searchBatch(queries, { k, filter, ...UNCAPPED }),
        all: (query, filter) => this.search(query, { k: Math.max(1, this.size), filter, ...UNCAPPED }),
      },
      options?.filter,
    );
    joins.version; // throws if disposed of
    return joins;
  }

  /** The buckets, for a call that makes no sense before bits are settled. */
  #settled(): Buckets {
    const { buckets } = this.#tables;
    if (buckets === undefined) {
      throw rangeError(
        'ERR_ARGUMENT_RANGE',
        'bits: expected rows that settle them (bucketSize), got an empty index',
      );
    }
    return buckets;
  }

  #checkQuery(query: Float32Array): Float32Array {
    return checkVector('query', query, this.dimensions);
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
    const { memory, kernels } = this.#tables;
    const { dimensions, tables } = this;
    const count = tables * bits;
    const packed = memory.reserve('hyperplanes', 4 * 8 * Math.ceil(count / 8) * dimensions);
    memory.reserve('signs', this.#signBytes(bits) * HASHED_ROWS + 8);
    memory.reserve('margins', 4 * 8 * Math.ceil(count / 8));
    memory.reserve('probedKeys', 4 * tables * SURE_PROBES);
    memory.reserve('probeScratch', 384 + 24 * (SURE_PROBES + 1));
    const planes = memory.reserve('planes', 4 * count * dimensions);
    const view = memory.f32.subarray(planes >>> 2, (planes >>> 2) + count * dimensions);
    if (hyperplanes === undefined) new RandomGenerator(this.#seed).normals(view);
    else view.set(hyperplanes);
    kernels.packPlanes(planes, count, dimensions, dimensions, packed);
    memory.release('planes');
    return this.#tables.makeBuckets(bits);
  }

  #signBytes(bits: number): number {
    return Math.ceil((this.tables * bits) / 8);
  }

  /** Writes rows behind the stored ones, where nobody looks until they are counted. */
  #storeRows(vectors: Float32Array, first: number, rows: number): void {
    const { dimensions } = this;
    const { memory, kernels } = this.#tables;
    const stride = this.#stride;
    const ptr = memory.reserve('rows', 4 * (first + rows) * stride) + 4 * first * stride;
    if (stride === dimensions) {
      memory.f32.set(vectors, ptr >>> 2);
    } else {
      const packed = memory.reserve('packedRows', 4 * HASHED_ROWS * dimensions);
      for (let r = 0; r < rows; r += HASHED_ROWS) {
        const some = Math.min(HASHED_ROWS, rows - r);
        memory.f32.set(vectors.subarray(r * dimensions, (r + some) * dimensions), packed >>> 2);
        kernels.padRows(packed, some, dimensions, stride, ptr + 4 * r * stride);
      }
    }
    const floats = rows * stride;
    if (kernels.firstUnfit(ptr, floats, MAX_VALUE) >>> 0 !== floats) {
      checkFinite('vectors', vectors, dimensions);
    }
    if (this.#metricNumber === 1) {
      const scales = memory.reserve('scales', 4 * (first + rows)) + 4 * first;
      const short = kernels.inverseLengths(ptr, rows, stride, LEAST_SQUARED_LENGTH, scales) >>> 0;
      if (short !== rows) throw zeroVector('vectors', short);
    }
  }

  #hashRows(buckets: Buckets, first: number, rows: number): void {
    for (let r = 0; r < rows; r += HASHED_ROWS) {
      const some = Math.min(HASHED_ROWS, rows - r);
      const ptr = this.#tables.memory.ptr('rows') + 4 * (first + r) * this.#stride;
      this.#writeKeys(buckets, ptr, some, buckets.keyStride, buckets.keysPtr(first + r));
    }
  }

  /** Keys of up to HASHED_ROWS rows. */
  #writeKeys(buckets: Buckets, rows: number, count: number, keyStride: number, out: number): void {
    const { memory, kernels } = this.#tables;
    const { tables } = this;
    const { bits } = buckets;
    const signs = memory.ptr('signs');
    const planes = memory.ptr('hyperplanes');
    kernels.signBits(rows, count, this.#stride, this.dimensions, planes, tables * bits, signs);
    kernels.keys(signs, count, this.#signBytes(bits), tables, bits, keyStride, out);
  }

  /** Copies queries to where the kernels hash and rank them; under cosine refuses one without direction. */
  #load(subject: string, queries: Float32Array, first: number, count: number): void {
    const { memory, kernels } = this.#tables;
    const { dimensions } = this;
    const stride = this.#stride;
    const ptr = memory.reserve('queries', 4 * count * stride);
    const scales = memory.ptr('queryScales');
    const { f32 } = memory;
    for (let q = 0; q < count; q++) {
      const at = (ptr >>> 2) + q * stride;
      const start = (first + q) * dimensions;
      // A view costs as much as the copy: one query alone needs none.
      f32.set(queries.length === dimensions ? queries : queries.subarray(start, start + dimensions), at);
      f32.fill(0, at + dimensions, at + stride);
    }
    if (this.#metricNumber !== 1) return;
    const short = kernels.inverseLengths(ptr, count, stride, LEAST_SQUARED_LENGTH, scales) >>> 0;
    if (short !== count) throw zeroVector(subject, first + short);
  }

  /** Hashes loaded queries: to keys or, for more than one probe, to margins. */
  #hash(buckets: Buckets, count: number, probes: number, wanted: number): void {
    const { memory, kernels } = this.#tables;
    const rows = memory.ptr('queries');
    if (probes === 1) {
      this.#writeKeys(buckets, rows, count, HASHED_QUERIES, wanted);
      return;
    }
    const planes = this.tables * buckets.bits;
    const out = memory.reserve('margins', 4 * 8 * Math.ceil(planes / 8) * count);
    const packed = memory.ptr('hyperplanes');
    kernels.margins(rows, count, this.#stride, this.dimensions, packed, planes, out);
  }

  /** Probing sequences of one query from its margins; returns the address of its keys, u32 × tables × probes. */
  #probe(buckets: Buckets, query: number, probes: number): number {
    const { memory, kernels } = this.#tables;
    const planes = 8 * Math.ceil((this.tables * buckets.bits) / 8);
    const wanted = memory.reserve('probedKeys', 4 * this.tables * probes);
    const scratch = memory.reserve('probeScratch', 384 + 24 * (probes + 1));
    const margins = memory.ptr('margins') + 4 * query * planes;
    kernels.probeKeys(margins, this.tables, buckets.bits, probes, scratch, wanted);
    return wanted;
  }

  #rank(query: number, ids: number, count: number, size: number, heap: number): void {
    const { memory } = this.#tables;
    const vector = memory.ptr('queries') + 4 * query * this.#stride;
    const scale = memory.f32[(memory.ptr('queryScales') >>> 2) + query];
    this.#rankFrom(vector, scale, ids, count, size, heap);
  }

  /** Ranks listed rows by the distance from a vector at an address, with its scale under cosine. */
  #rankFrom(vector: number, scale: number, ids: number, count: number, size: number, heap: number): void {
    const { memory, kernels } = this.#tables;
    kernels.rankGathered(
      this.#metricNumber,
      vector,
      scale,
      memory.ptr('rows'),
      memory.ptr('scales'),
      ids,
      count,
      this.#stride,
      size,
      heap,
      0,
      memory.ptr('scratch'),
    );
  }
}
