import type { Buckets } from './buckets.js';
import { checkInteger, checkOptions, checkWords, rangeError } from './check.js';
import { checkCode, checkCodes, loadCodes, MAX_CODE_BITS, wordsOf } from './codes.js';
import { type CappedBatch, type CappedNeighbors, SCORE_IS_DISTANCE } from './neighbors.js';
import { RandomGenerator, seedOf } from './random.js';
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
/** Bits of a key: so many that sampled bits beyond them are hashed. */
const MAX_KEY_BITS = 32;

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
    const first = this.#tables.count;
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

  /** Frees the memory at once. Every later call throws a TypeError (ERR_DISPOSED). */
  dispose(): void {
    this.#tables.dispose();
  }

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
