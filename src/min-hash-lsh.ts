import type { Buckets } from './buckets.js';
import { checkInteger, checkOptions, checkWords, describe, typeError } from './check.js';
import { type CappedBatch, type CappedNeighbors, type RadiusBatch, SCORE_IS_DISTANCE } from './neighbors.js';
import type { AsyncOptions } from './progress.js';
import { RandomGenerator, seedOf } from './random.js';
import { distinct } from './sets.js';
import {
  expectContent,
  MAX_SEED_BYTES,
  paused,
  type Reading,
  type SectionSource,
  type SnapshotLimits,
  type SnapshotReader,
  seedBytes,
  seedFrom,
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

const MAX_ROWS = 256;
/** Sections of a snapshot that are not those of all hash tables: docs/snapshot-format.md. */
const SECTIONS = { starts: 2, sets: 3 } as const;
const KEY_BITS = 32;
/** Features that are proven in one step. */
const PROVED_FEATURES = 2 ** 18;

/** Options of a `MinHashLsh`. */
export interface MinHashLshOptions {
  /** Bands of a signature, 1 to 256: the hash tables. More bands find more neighbors, and cost as much more. */
  bands: number;
  /**
   * Min-hashes of a band, 1 to 256; the literature's rows of the signature matrix. More make buckets smaller: faster, and
   * more neighbors missed.
   */
  rows: number;
  /** What the hash functions are drawn from; see the class. Default 0. `'random'`: one that nobody can guess. */
  seed?: number | bigint | 'random';
  /** Bytes that the index may take, all told; default and most: 4 GiB. */
  maxBytes?: number;
}

/**
 * Locality-sensitive hash tables for sets and Jaccard distance: MinHash signatures, cut into bands.
 *
 * A set is a Uint32Array of feature numbers, in any order; a number given twice counts once. `shingles` makes sets of texts.
 * The distance of two sets is 1 - |A ∩ B| / |A ∪ B|. The empty set is at distance 0 from itself and 1 from every other.
 *
 * Place i of a signature is the least h_i of any element, 2^32 - 1 for the empty set; sets of Jaccard similarity s agree in
 * it with probability s. A band of `rows` places is a key, so two sets share a bucket of at least one band with probability
 * 1 - (1 - s^rows)^bands (`candidateProbability`), a curve that is steepest near s = (1 / bands)^(1 / rows).
 *
 * With y = (mix(x) xor addend_i) · multiplier_i, h_i(x) = (y xor floor(y / 2^16)) · multiplier_i, all modulo 2^32, where mix is
 * the last step (fmix32) of MurmurHash3_x86_32. Multipliers and addends, in turns, are the 32-bit numbers of
 * `RandomGenerator(seed)`; a multiplier's lowest bit is set to 1. A key is MurmurHash3_x86_32 with seed 0 of the band's places.
 *
 * A query unites its bucket of each band and ranks these candidates by exact Jaccard distance, rounded to float32; a
 * neighbor that shares no bucket with the query is missed. A set costs 4 bytes a feature, 8 a band, and a little more.
 *
 * Sources: A. Broder, On the Resemblance and Containment of Documents (SEQUENCES 1997); J. Leskovec, A. Rajaraman and
 * J. Ullman, Mining of Massive Datasets, section 3.4.
 */
export class MinHashLsh {
  readonly bands: number;
  readonly rows: number;
  readonly #tables: HashTables<readonly Uint32Array[]>;
  readonly #buckets: Buckets;
  readonly #seed: bigint;
  /** Features of all sets in memory. */
  #featureCount = 0;
  /** Where the loaded queries start, in words; one more than there are queries. */
  #queryStarts: number[] = [0];

  /** @throws TypeError for an option of the wrong kind; RangeError for bands or rows out of range. */
  constructor(options: MinHashLshOptions) {
    checkOptions('options', options);
    const { bands, rows, seed = 0, maxBytes } = options ?? {};
    this.bands = checkInteger('bands', bands, 1, MAX_TABLES);
    this.rows = checkInteger('rows', rows, 1, MAX_ROWS);
    this.#seed = seedOf(seed);
    const random = new RandomGenerator(this.#seed);
    this.#tables = new HashTables(
      bands,
      {
        metric: SCORE_IS_DISTANCE,
        remedy: 'more bands, or fewer rows in a band,',
        load: (_subject, queries, first, count) => this.#load(queries.slice(first, first + count)),
        hash: (_buckets, count, _probes, wanted) => this.#hashQueries(count, wanted),
        rank: (query, ids, count, size, heap) => this.#rank(query, ids, count, size, heap),
      },
      checkMaxBytes(maxBytes),
    );
    const { memory } = this.#tables;
    memory.reserve('scores', 4 * (RANKED_ROWS + 3));
    const count = this.#functionCount;
    const at = memory.reserve('functions', 8 * count) >>> 2;
    memory.reserve('signature', 4 * count);
    for (let i = 0; i < bands * rows; i++) {
      memory.u32[at + i] = random.nextUint32() | 1;
      memory.u32[at + count + i] = random.nextUint32();
    }
    this.#buckets = this.#tables.makeBuckets(KEY_BITS);
    this.#tables.settle(this.#buckets);
  }

  /**
   * The index that `save` wrote, with the same keys, buckets and answers. The bytes may come from anyone, as those of
   * `HyperplaneLsh.load`.
   *
   * @param limits refused beyond these, before memory is taken. `maxBytes` also limits the index from then on.
   * @throws SnapshotError (ERR_SNAPSHOT) with a `reason`; RangeError (ERR_OUT_OF_MEMORY) where the machine has no room for it.
   */
  static load(bytes: Uint8Array, limits?: SnapshotLimits): MinHashLsh {
    return fromBytes(bytes, (length) => MinHashLsh.fromParts(limits, length));
  }

  /**
   * As `load`, from a stream of the bytes, straight into the memory of the index; see `VectorIndex.loadFrom`.
   *
   * @param options limits as of `load`, and those of AsyncOptions; progress is in bytes.
   */
  static async loadFrom(
    stream: ReadableStream<Uint8Array>,
    options: SnapshotLimits & AsyncOptions = {},
  ): Promise<MinHashLsh> {
    return fromStream(stream, MinHashLsh.fromParts(options), options);
  }

  /** @internal For whoever reads bytes in another way: snapshot.ts, `Reading`. `length`: how many there are, if known. */
  static fromParts(limits?: SnapshotLimits, length?: number): Reading<MinHashLsh> {
    return readSnapshot('MinHashLsh', limits, length, MinHashLsh.#read);
  }

  static *#read(reader: SnapshotReader): Reading<MinHashLsh> {
    const { words, view, seedAt } = yield* readParameters(reader, 3, MAX_SEED_BYTES);
    const [bands, rows, sets] = words;
    reader.limit('maxRows', reader.maxRows, sets);
    expectContent(bands >= 1 && bands <= MAX_TABLES, `1 to ${MAX_TABLES} bands`, bands);
    expectContent(rows >= 1 && rows <= MAX_ROWS, `1 to ${MAX_ROWS} rows`, rows);
    const seed = seedFrom(view, seedAt);
    const bytes = reader.bytesOf(SECTIONS.sets);
    expectTables(reader, bands, sets, [
      [SECTIONS.starts, sets > 0 ? 4 * (sets + 1) : 0],
      [SECTIONS.sets, sets > 0 ? bytes : 0],
    ]);
    const index = new MinHashLsh({ bands, rows, seed, maxBytes: reader.maxBytes });
    yield* readTables(reader, index.#tables, index.#buckets, sets, [
      [SECTIONS.starts, 'starts'],
      [SECTIONS.sets, 'sets'],
    ]);
    if (sets > 0) yield* paused(index.#proveSets(sets, bytes / 4));
    return index;
  }

  /** Proves sets that were read: each inside the features, ascending, and empty where it is gone. */
  *#proveSets(sets: number, features: number): Generator<void> {
    const { memory } = this.#tables;
    const { u32 } = memory;
    const starts = memory.ptr('starts') >>> 2;
    const ptr = memory.ptr('sets') >>> 2;
    expectContent(u32[starts] === 0, 'sets from the first feature on', u32[starts]);
    for (let set = 0; set < sets; set++) {
      if (set % PROVED_ROWS === 0) yield;
      const [start, end] = [u32[starts + set], u32[starts + set + 1]];
      if (end < start || end > features) expectContent(false, `an end from ${start} to ${features}`, end);
      if (end > start && !this.has(set)) expectContent(false, 'nothing in a removed set', end - start);
      for (let at = ptr + start + 1; at < ptr + end; at++) {
        if (at % PROVED_FEATURES === 0) yield;
        if (u32[at - 1] >= u32[at]) expectContent(false, 'ascending features', u32[at]);
      }
    }
    expectContent(u32[starts + sets] === features, `${features} features`, u32[starts + sets]);
    this.#featureCount = features;
  }

  /** Sets in the index, without those that were removed. */
  get size(): number {
    return this.#tables.size;
  }

  /**
   * Adds sets; returns the first new id. Ids count up from 0. The next query finds them.
   *
   * @throws TypeError for anything but an array of Uint32Arrays (ERR_ARGUMENT_TYPE) or a detached buffer (ERR_DETACHED);
   * RangeError for too little memory (ERR_OUT_OF_MEMORY). Then the index is as it was.
   */
  add(sets: readonly Uint32Array[]): number {
    const first = this.#tables.nextId();
    const added = checkSets('sets', sets);
    if (added.length === 0) return first;
    const { memory } = this.#tables;
    const starts = startsOf(added, this.#featureCount);
    const featureCount = starts[added.length];
    const ptr = memory.reserve('sets', 4 * featureCount);
    const startsPtr = memory.reserve('starts', 4 * (first + added.length + 1));
    this.#reserveMixed(added);
    // Queries as large as the largest set then need no more room.
    memory.reserve('queries', memory.capacity('mixed'));
    added.forEach((set, i) => {
      memory.u32.set(set, (ptr >>> 2) + starts[i]);
    });
    memory.u32.set(starts, (startsPtr >>> 2) + first);
    this.#tables.add(this.#buckets, added.length, (buckets) => {
      added.forEach((set, i) => {
        this.#hash(ptr + 4 * starts[i], set.length, buckets.keyStride, buckets.keysPtr(first + i));
      });
    });
    this.#featureCount = featureCount;
    return first;
  }

  /**
   * Removes sets: no later bucket, candidates or answer has them, and their ids are not given out again. Returns how many
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

  /** Whether there is a set of this id: it was given out, and not removed. */
  has(id: number): boolean {
    return this.#tables.has(id);
  }

  /** The set's signature: bands × rows least hashes. The share of equal places of two signatures estimates their similarity. */
  signature(set: Uint32Array): Uint32Array {
    const { memory } = this.#tables;
    this.#load(checkSets('set', [set]));
    const signature = this.#sign(memory.ptr('queries'), this.#queryStarts[1]) >>> 2;
    return memory.u32.slice(signature, signature + this.bands * this.rows);
  }

  /** The query's key in each band. */
  keys(query: Uint32Array): Uint32Array {
    return this.#tables.keys(this.#buckets, checkSets('query', [query]));
  }

  /** Ids of the sets with this key in this table, which is the band of that number; ascending. */
  bucket(table: number, key: number): Uint32Array {
    return this.#tables.bucket(this.#buckets, table, key);
  }

  /** Ids of all sets that share a bucket with the query, ascending: those that `search` ranks. */
  candidates(query: Uint32Array, options: QueryCaps = {}): Uint32Array {
    return this.#tables.candidates(checkSets('query', [query]), options, 1);
  }

  /**
   * The k nearest of the candidates by Jaccard distance, nearest first, equal distances by id; fewer where there are fewer
   * candidates.
   *
   * Approximate: a set that shares no bucket with the query is not found. `explain` says how an answer came about.
   *
   * @throws TypeError or RangeError for k or a query of another kind or out of range.
   */
  search(query: Uint32Array, options: { k: number } & QueryCaps): CappedNeighbors {
    return this.#tables.search(checkSets('query', [query]), options, 1);
  }

  /** `search` for each of the sets. */
  searchBatch(queries: readonly Uint32Array[], options: { k: number } & QueryCaps): CappedBatch {
    const sets = checkSets('queries', queries);
    return this.#tables.searchBatch(sets, sets.length, options, 1);
  }

  /**
   * All candidates within a Jaccard distance, nearest first: of the sets that share a bucket with the query. Approximate as
   * `search` is, and of any size.
   *
   * @param radius 0 or more. @param options as for search, without k.
   */
  searchRadius(query: Uint32Array, radius: number, options: QueryCaps = {}): CappedNeighbors {
    return this.#tables.searchRadius(checkSets('query', [query]), radius, options, 1);
  }

  /** `searchRadius` for each query; those of query i stand at offsets[i] … offsets[i + 1] - 1. */
  searchRadiusBatch(queries: readonly Uint32Array[], radius: number, options: QueryCaps = {}): RadiusBatch {
    const sets = checkSets('queries', queries);
    return this.#tables.searchRadiusBatch(sets, sets.length, radius, options, 1);
  }

  /** Searches, and tells what each band did, where the time went, and why fewer than k neighbors came. */
  explain(query: Uint32Array, options: { k: number } & QueryCaps): Explanation {
    return this.#tables.explain(checkSets('query', [query]), options, 1);
  }

  /** How the sets are spread over the buckets. Looks at every set. */
  stats(): LshStats {
    return this.#tables.stats();
  }

  /** Bytes by part, and of the memory as a whole (`total`). */
  memoryUsage(): Record<string, number> {
    return this.#tables.memory.usage();
  }

  /**
   * The whole index as bytes: sets and keys. The same index gives the same bytes on every engine. docs/snapshot-format.md
   * has the format. Of removed sets the keys and ids are in it, and no features.
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
    return writeTables('MinHashLsh', this.#tables, () => {
      const words = [this.bands, this.rows, this.#tables.count];
      const seed = seedBytes(this.#seed);
      return { words, seed, sections: this.#tables.count === 0 ? [] : this.#setSections() };
    });
  }

  /** Starts and features of the sets, removed ones left empty. */
  #setSections(): SectionSource[] {
    const { count, memory } = this.#tables;
    const { u32 } = memory;
    const from = memory.ptr('starts') >>> 2;
    const sets = memory.ptr('sets');
    const starts = new Uint32Array(count + 1);
    const pieces: { ptr: number; bytes: number }[] = [];
    for (let id = 0; id < count; id++) {
      const ptr = sets + 4 * u32[from + id];
      const length = this.has(id) ? u32[from + id + 1] - u32[from + id] : 0;
      starts[id + 1] = starts[id] + length;
      if (length === 0) continue;
      const last = pieces[pieces.length - 1];
      // Sets that follow each other are one piece.
      if (last && last.ptr + last.bytes === ptr) last.bytes += 4 * length;
      else pieces.push({ ptr, bytes: 4 * length });
    }
    return [
      { tag: SECTIONS.starts, pieces: [new Uint8Array(starts.buffer)] },
      { tag: SECTIONS.sets, pieces },
    ];
  }

  /** Frees the memory at once. Every later call throws a TypeError (ERR_DISPOSED). */
  dispose(): void {
    this.#tables.dispose();
  }

  /** `dispose()`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Hash functions in memory: whole turns of the kernel. */
  get #functionCount(): number {
    return 16 * Math.ceil((this.bands * this.rows) / 16);
  }

  /** Room for the mixed features of the largest of these sets. */
  #reserveMixed(sets: readonly Uint32Array[]): void {
    this.#tables.memory.reserve('mixed', 4 * sets.reduce((most, set) => Math.max(most, set.length), 0));
  }

  #load(queries: readonly Uint32Array[]): void {
    const { memory } = this.#tables;
    const starts = startsOf(queries, 0);
    const ptr = memory.reserve('queries', 4 * starts[queries.length]);
    this.#reserveMixed(queries);
    queries.forEach((set, q) => {
      memory.u32.set(set, (ptr >>> 2) + starts[q]);
    });
    this.#queryStarts = starts;
  }

  #hashQueries(count: number, wanted: number): void {
    const starts = this.#queryStarts;
    for (let q = 0; q < count; q++) {
      const ptr = this.#tables.memory.ptr('queries') + 4 * starts[q];
      this.#hash(ptr, starts[q + 1] - starts[q], HASHED_QUERIES, wanted + 4 * q);
    }
  }

  #hash(set: number, length: number, keyStride: number, keys: number): void {
    this.#tables.kernels.bandKeys(this.#sign(set, length), this.bands, this.rows, keyStride, keys);
  }

  /** Signs a set in memory; returns the signature's address. */
  #sign(set: number, length: number): number {
    const { memory, kernels } = this.#tables;
    const signature = memory.ptr('signature');
    const functions = memory.ptr('functions');
    kernels.minHash(set, length, functions, this.#functionCount, memory.ptr('mixed'), signature);
    return signature;
  }

  #rank(query: number, ids: number, count: number, size: number, heap: number): void {
    const { memory, kernels } = this.#tables;
    const scores = memory.ptr('scores');
    const start = this.#queryStarts[query];
    const length = this.#queryStarts[query + 1] - start;
    const ptr = memory.ptr('queries') + 4 * start;
    const [sets, starts] = [memory.ptr('sets'), memory.ptr('starts')];
    for (let first = 0, filled = 0; first < count; first += RANKED_ROWS) {
      const some = Math.min(RANKED_ROWS, count - first);
      kernels.jaccardGathered(ptr, length, sets, starts, ids + 4 * first, some, scores);
      filled = kernels.rank(scores, ids + 4 * first, 0, some, size, heap, filled) >>> 0;
    }
  }
}

/** Sets with their elements in order, each once. */
function checkSets(subject: string, value: unknown): Uint32Array[] {
  if (!Array.isArray(value)) {
    throw typeError(
      'ERR_ARGUMENT_TYPE',
      `${subject}: expected an array of Uint32Arrays, got ${describe(value)}`,
    );
  }
  return Array.from(value, (set, i) =>
    distinct(checkWords(value.length === 1 ? subject : `${subject}[${i}]`, set)),
  );
}

/** Where sets start that stand one behind the other from `first` on, and where the last one ends. */
function startsOf(sets: readonly Uint32Array[], first: number): number[] {
  const starts = [first];
  for (const set of sets) starts.push(starts[starts.length - 1] + set.length);
  return starts;
}
