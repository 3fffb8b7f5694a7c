import type { Buckets } from './buckets.js';
import { checkInteger, checkOptions, checkWords, rangeError } from './check.js';
import { checkCode, checkCodes, loadCodes, MAX_CODE_BITS, wordsOf } from './codes.js';
import { type CappedBatch, type CappedNeighbors, type RadiusBatch, SCORE_IS_DISTANCE } from './neighbors.js';
import type { AsyncOptions } from './progress.js';
import { RandomGenerator, seedOf } from './random.js';
import {
  expectContent,
  paused,
  type Reading,
  type SnapshotLimits,
  type SnapshotReader,
  type Writing,
} from './snapshot.js';
import { fromBytes, fromStream, toBytes, toStream } from './streams.js';
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
  HASHED_QUERIES,
  HashTables,
  type LshStats,
  MAX_TABLES,
  type QueryCaps,
  RANKED_ROWS,
} from './tables.js';

const MAX_SAMPLED_BITS = 65536;
/** Sections of a snapshot that are not those of all hash tables: docs/snapshot-format.md. */
const SECTIONS = { positions: 2, codes: 3 } as const;
/** Bits of a key: so many that sampled bits beyond them are hashed. */
const MAX_KEY_BITS = 32;

/** Options of a `BitSamplingLsh`. */
export interface BitSamplingLshOptions {
  /** Bits of a code, 1 to 65,536: ceil(bits / 8) bytes each. */
  bits: number;
  /** Bits of a code that a table looks at, 1 to 65,536. More make buckets smaller: faster, and more neighbors missed. */
  sampledBits: number;
  /** Independent samples, 1 to 256. More tables find more neighbors, and cost as much more. */
  tables: number;
  /** What the samples are drawn from, as NumPy's `default_rng(seed).integers(bits, size=(tables, sampledBits))`. Default 0. `'random'`: one that nobody can guess. */
  seed?: number | bigint | 'random';
  /** The caller's own sample instead: tables × sampledBits numbers of bits, row-major. */
  positions?: Uint32Array;
  /** Bytes that the index may take, all told; default and most: 4 GiB. */
  maxBytes?: number;
}

/**
 * Locality-sensitive hash tables for packed codes and Hamming distance: a table's key is a sample of the code's bits.
 *
 * Codes are Uint8Arrays, row-major; bit i of a code is bit i % 8 of its byte floor(i / 8), the one that weighs 2^(i % 8),
 * and spare bits of the last byte are zeros. `unaryCode` and `signCode` make them.
 *
 * Bits are drawn with replacement, so two codes at distance r share a bucket of one table with probability
 * (1 - r / bits)^sampledBits (`collisionProbability`). Sampled bit i weighs 2^i in the key. Of more than 32, bits 32 w to
 * 32 w + 31 make word w, and the key is the words' MurmurHash3_x86_32 with seed 0: now and then, once in 2^32 pairs, codes
 * whose samples differ share a bucket, which adds a candidate and loses none.
 *
 * A query unites its bucket of each table and ranks these candidates by exact Hamming distance; a neighbor that shares
 * no bucket with the query is missed. A row costs 8 ceil(bits / 64) + 8 tables bytes and a little more.
 *
 * Source: P. Indyk and R. Motwani, Approximate Nearest Neighbors (STOC 1998), section 4.
 */
export class BitSamplingLsh {
  readonly bits: number;
  readonly sampledBits: number;
  readonly tables: number;
  readonly #tables: HashTables<Uint8Array>;
  readonly #buckets: Buckets;

  /**
   * @throws TypeError for an option of the wrong kind; RangeError for bits, sampledBits or tables out of range, positions
   * of the wrong length (ERR_LENGTH) or beyond the code.
   */
  constructor(options: BitSamplingLshOptions) {
    checkOptions('options', options);
    const { bits, sampledBits, tables, seed = 0, positions, maxBytes } = options ?? {};
    this.bits = checkInteger('bits', bits, 1, MAX_CODE_BITS);
    this.sampledBits = checkInteger('sampledBits', sampledBits, 1, MAX_SAMPLED_BITS);
    this.tables = checkInteger('tables', tables, 1, MAX_TABLES);
    const random = new RandomGenerator(seedOf(seed));
    if (positions !== undefined) this.#checkPositions(positions);
    this.#tables = new HashTables(
      tables,
      {
        metric: SCORE_IS_DISTANCE,
        remedy: 'more tables, or fewer sampled bits,',
        load: (_subject, queries, first, count) => {
          const ptr = this.#tables.memory.reserve('queries', this.#codeBytes * count);
          loadCodes(this.#tables, queries, bits, first, count, ptr);
        },
        hash: (_buckets, count, _probes, wanted) =>
          this.#hash(this.#tables.memory.ptr('queries'), count, HASHED_QUERIES, wanted),
        rank: (query, ids, count, size, heap) => this.#rank(query, ids, count, size, heap),
      },
      checkMaxBytes(maxBytes),
    );
    const { memory } = this.#tables;
    memory.reserve('queries', this.#codeBytes);
    memory.reserve('scores', 4 * (RANKED_ROWS + 3));
    const count = tables * sampledBits;
    const at = memory.reserve('positions', 4 * count) >>> 2;
    memory.reserve('scratch', 128 + 128 * wordsOf(bits));
    if (positions !== undefined) memory.u32.set(positions, at);
    else for (let i = 0; i < count; i++) memory.u32[at + i] = random.integer(bits);
    this.#buckets = this.#tables.makeBuckets(Math.min(sampledBits, MAX_KEY_BITS));
    this.#tables.settle(this.#buckets);
  }

  /**
   * The index that `save` wrote, with the same keys, buckets and answers. The bytes may come from anyone, as those of
   * `HyperplaneLsh.load`.
   *
   * @param limits refused beyond these, before memory is taken. `maxBytes` also limits the index from then on.
   * @throws SnapshotError (ERR_SNAPSHOT) with a `reason`; RangeError (ERR_OUT_OF_MEMORY) where the machine has no room for it.
   */
  static load(bytes: Uint8Array, limits?: SnapshotLimits): BitSamplingLsh {
    return fromBytes(bytes, (length) => BitSamplingLsh.fromParts(limits, length));
  }

  /**
   * As `load`, from a stream of the bytes, straight into the memory of the index; see `VectorIndex.loadFrom`.
   *
   * @param options limits as of `load`, and those of AsyncOptions; progress is in bytes.
   */
  static async loadFrom(
    stream: ReadableStream<Uint8Array>,
    options: SnapshotLimits & AsyncOptions = {},
  ): Promise<BitSamplingLsh> {
    return fromStream(stream, BitSamplingLsh.fromParts(options), options);
  }

  /** @internal For whoever reads bytes in another way: snapshot.ts, `Reading`. `length`: how many there are, if known. */
  static fromParts(limits?: SnapshotLimits, length?: number): Reading<BitSamplingLsh> {
    return readSnapshot('BitSamplingLsh', limits, length, BitSamplingLsh.#read);
  }

  static *#read(reader: SnapshotReader): Reading<BitSamplingLsh> {
    const { words } = yield* readParameters(reader, 4, 0);
    const [bits, sampledBits, tables, rows] = words;
    reader.limit('maxRows', reader.maxRows, rows);
    expectContent(bits >= 1 && bits <= MAX_CODE_BITS, `1 to ${MAX_CODE_BITS} bits`, bits);
    const isSample = sampledBits >= 1 && sampledBits <= MAX_SAMPLED_BITS;
    expectContent(isSample, `1 to ${MAX_SAMPLED_BITS} sampled bits`, sampledBits);
    expectContent(tables >= 1 && tables <= MAX_TABLES, `1 to ${MAX_TABLES} tables`, tables);
    const sampleBytes = 4 * tables * sampledBits;
    expectTables(reader, tables, rows, [
      [SECTIONS.positions, sampleBytes],
      [SECTIONS.codes, 8 * wordsOf(bits) * rows],
    ]);
    const positions = new Uint32Array((yield* reader.read(SECTIONS.positions, sampleBytes)).buffer);
    for (const position of positions) {
      if (position >= bits) expectContent(false, `positions below ${bits}`, position);
    }
    const index = new BitSamplingLsh({ bits, sampledBits, tables, positions, maxBytes: reader.maxBytes });
    yield* readTables(reader, index.#tables, index.#buckets, rows, [[SECTIONS.codes, 'codes']]);
    yield* paused(index.#proveCodes(rows));
    return index;
  }

  /** Proves that codes that were read are zeros behind their last bit, and all over where rows are gone. */
  *#proveCodes(rows: number): Generator<void> {
    const { memory } = this.#tables;
    const codes = memory.ptr('codes');
    const bytes = this.#codeBytes;
    const { u8 } = memory;
    const used = Math.floor(this.bits / 8);
    for (let row = 0; row < rows; row++) {
      if (row % PROVED_ROWS === 0) yield;
      const code = codes + row * bytes;
      const gone = !this.has(row);
      if (!gone && this.bits % 8 !== 0) {
        const spare = u8[code + used] >>> (this.bits % 8);
        if (spare !== 0) expectContent(false, 'zeros behind every code', spare);
      }
      for (let at = gone ? 0 : Math.ceil(this.bits / 8); at < bytes; at++) {
        if (u8[code + at] !== 0)
          expectContent(false, 'zeros behind every code and in removed ones', u8[code + at]);
      }
    }
  }

  /** Rows in the index, without those that were removed. */
  get size(): number {
    return this.#tables.size;
  }

  /** A copy of the sample, tables × sampledBits numbers of bits. */
  get positions(): Uint32Array {
    const { memory } = this.#tables;
    const at = memory.ptr('positions') >>> 2;
    return memory.u32.slice(at, at + this.tables * this.sampledBits);
  }

  /**
   * Adds rows × ceil(bits / 8) bytes; returns the first new id. Ids count up from 0. The next query finds them.
   *
   * @throws TypeError for another kind of argument or a detached buffer; RangeError for a length that is no multiple of a
   * code's (ERR_LENGTH), spare bits that are not zeros, or too little memory (ERR_OUT_OF_MEMORY). Then the index is as it
   * was.
   */
  add(codes: Uint8Array): number {
    const first = this.#tables.nextId();
    const rows = checkCodes('codes', codes, this.bits);
    if (rows === 0) return first;
    const bytes = this.#codeBytes;
    const ptr = this.#tables.memory.reserve('codes', bytes * (first + rows)) + bytes * first;
    loadCodes(this.#tables, codes, this.bits, 0, rows, ptr);
    this.#tables.add(this.#buckets, rows, (buckets) => {
      this.#hash(ptr, rows, buckets.keyStride, buckets.keysPtr(first));
    });
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

  /** The query's key in each table. */
  keys(query: Uint8Array): Uint32Array {
    return this.#tables.keys(this.#buckets, this.#checkQuery(query));
  }

  /** Ids of the rows with this key in this table, ascending. */
  bucket(table: number, key: number): Uint32Array {
    return this.#tables.bucket(this.#buckets, table, key);
  }

  /** Ids of all rows that share a bucket with the query, ascending: those that `search` ranks. */
  candidates(query: Uint8Array, options: QueryCaps = {}): Uint32Array {
    return this.#tables.candidates(this.#checkQuery(query), options, 1);
  }

  /**
   * The k nearest of the candidates by Hamming distance, nearest first, equal distances by id; fewer where there are fewer
   * candidates.
   *
   * Approximate: a row that shares no bucket with the query is not found. `explain` says how an answer came about, and
   * `exactHamming` what it missed.
   *
   * @throws TypeError or RangeError for k or a query of another kind, out of range or of the wrong length (ERR_LENGTH).
   */
  search(query: Uint8Array, options: { k: number } & QueryCaps): CappedNeighbors {
    return this.#tables.search(this.#checkQuery(query), options, 1);
  }

  /** `search` for each of queries × ceil(bits / 8) bytes; the queries are hashed together. */
  searchBatch(queries: Uint8Array, options: { k: number } & QueryCaps): CappedBatch {
    const queryCount = checkCodes('queries', queries, this.bits);
    return this.#tables.searchBatch(queries, queryCount, options, 1);
  }

  /**
   * All candidates within a distance, nearest first: of the rows that share a bucket with the query. Approximate as
   * `search` is, and of any size.
   *
   * @param radius 0 or more. @param options as for search, without k.
   */
  searchRadius(query: Uint8Array, radius: number, options: QueryCaps = {}): CappedNeighbors {
    return this.#tables.searchRadius(this.#checkQuery(query), radius, options, 1);
  }

  /** `searchRadius` for each query; those of query i stand at offsets[i] … offsets[i + 1] - 1. */
  searchRadiusBatch(queries: Uint8Array, radius: number, options: QueryCaps = {}): RadiusBatch {
    const queryCount = checkCodes('queries', queries, this.bits);
    return this.#tables.searchRadiusBatch(queries, queryCount, radius, options, 1);
  }

  /** Searches, and tells what each table did, where the time went, and why fewer than k neighbors came. */
  explain(query: Uint8Array, options: { k: number } & QueryCaps): Explanation {
    return this.#tables.explain(this.#checkQuery(query), options, 1);
  }

  /** How the rows are spread over the buckets. Looks at every row. */
  stats(): LshStats {
    return this.#tables.stats();
  }

  /** Bytes by part, and of the memory as a whole (`total`). */
  memoryUsage(): Record<string, number> {
    return this.#tables.memory.usage();
  }

  /**
   * The whole index as bytes: sample, codes and keys. The same index gives the same bytes on every engine.
   * docs/snapshot-format.md has the format. Of removed rows the keys and ids are in it, and zeros for their codes, which
   * this call forgets.
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
    return writeTables('BitSamplingLsh', this.#tables, () => {
      const { bits, sampledBits, tables } = this;
      const { count, memory } = this.#tables;
      this.#forgetRemoved();
      const positions = { ptr: memory.ptr('positions'), bytes: 4 * tables * sampledBits };
      const codes = count === 0 ? [] : [{ ptr: memory.ptr('codes'), bytes: this.#codeBytes * count }];
      const sections = [
        { tag: SECTIONS.positions, pieces: [positions] },
        { tag: SECTIONS.codes, pieces: codes },
      ];
      return { words: [bits, sampledBits, tables, count], sections };
    });
  }

  /** Overwrites the codes of removed rows. */
  #forgetRemoved(): void {
    const buckets = this.#buckets;
    if (buckets.removed === 0) return;
    const { u8 } = this.#tables.memory;
    const codes = this.#tables.memory.ptr('codes');
    const bytes = this.#codeBytes;
    for (let id = 0; id < buckets.count; id++) {
      if (!buckets.has(id)) u8.fill(0, codes + id * bytes, codes + (id + 1) * bytes);
    }
  }

  /** Frees the memory at once. Every later call throws a TypeError (ERR_DISPOSED). */
  dispose(): void {
    this.#tables.dispose();
  }

  /** `dispose()`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Bytes of a code in memory. */
  get #codeBytes(): number {
    return 8 * wordsOf(this.bits);
  }

  #checkQuery(query: Uint8Array): Uint8Array {
    return checkCode('query', query, this.bits);
  }

  #checkPositions(positions: Uint32Array): void {
    const { tables, sampledBits, bits } = this;
    const count = tables * sampledBits;
    if (checkWords('positions', positions).length !== count) {
      const product = `${tables} tables × ${sampledBits} sampled bits`;
      throw rangeError(
        'ERR_LENGTH',
        `positions: expected ${count} numbers (${product}), got ${positions.length}`,
      );
    }
    const beyond = positions.findIndex((position) => position >= bits);
    if (beyond >= 0) {
      throw rangeError(
        'ERR_ARGUMENT_RANGE',
        `positions: expected numbers from 0 to ${bits - 1}, got ${positions[beyond]} at ${beyond}`,
      );
    }
  }

  /** Keys of codes in memory. */
  #hash(codes: number, count: number, keyStride: number, keys: number): void {
    const { memory, kernels } = this.#tables;
    const [positions, scratch] = [memory.ptr('positions'), memory.ptr('scratch')];
    const words = wordsOf(this.bits);
    const { tables, sampledBits } = this;
    kernels.sampleKeys(codes, count, words, positions, tables, sampledBits, scratch, keyStride, keys);
  }

  #rank(query: number, ids: number, count: number, size: number, heap: number): void {
    const { memory, kernels } = this.#tables;
    const scores = memory.ptr('scores');
    const own = memory.ptr('queries') + this.#codeBytes * query;
    const words = wordsOf(this.bits);
    for (let first = 0, filled = 0; first < count; first += RANKED_ROWS) {
      const some = Math.min(RANKED_ROWS, count - first);
      kernels.hammingGathered(own, memory.ptr('codes'), ids + 4 * first, some, words, scores);
      filled = kernels.rank(scores, ids + 4 * first, 0, some, size, heap, filled) >>> 0;
    }
  }
}
