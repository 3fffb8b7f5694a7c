import { MAX_CELLS } from './cells.js';
import {
  checkChoice,
  checkIds,
  checkInteger,
  checkLength,
  checkNumber,
  checkOptions,
  checkRowCount,
  checkRows,
  checkVector,
  describe,
  rangeError,
  typeError,
} from './check.js';
import { Engine, type RowTrace } from './engine.js';
import { EngineJoins } from './engine-joins.js';
import { EngineSnapshot, writeEngine } from './engine-snapshot.js';
import type { GroupPage } from './groups.js';
import type { Filter } from './id-set.js';
import type { VectorPages } from './join-queries.js';
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
  type StreamOptions,
} from './joins.js';
import { isOutOfMemory } from './memory.js';
import {
  type CappedBatch,
  type CappedNeighbors,
  joinRanges,
  type Metric,
  makeBatch,
  type Neighbors,
  type RadiusBatch,
} from './neighbors.js';
import { Passing, type PassingSettings } from './passing.js';
import { type AsyncOptions, checkAsync, finish, finishInSlices, type Progress, under } from './progress.js';
import { RandomGenerator, seedOf } from './random.js';
import type { Storage } from './rows.js';
import type { Reading, SnapshotLimits, Writing } from './snapshot.js';
import { LEAST_PRINCIPAL } from './space.js';
import { fromBytes, fromStream, toBytes, toStream } from './streams.js';
import {
  type Evaluation,
  type Settings,
  type TunedSetting,
  type TuneOptions,
  Tuner,
  type TuningReport,
} from './tuning.js';
import {
  checkDistinct,
  checkIdArray,
  checkIdCount,
  checkIdsOption,
  type IdKind,
  type IdOf,
  type IdsOf,
  type IdsOption,
  type KindOf,
  type Named,
  USER_ID_KINDS,
  type UserId,
  UserIds,
} from './user-ids.js';

const MAX_DIMENSIONS = 4096;
const MAX_ROWS = 2 ** 32 - 2;
/** Below this many rows one cell is scanned whole. */
const FEW_ROWS = 2000;
/** Rows a cell, by default. */
const ROWS_PER_CELL = 128;
/** Rows ranked a query from which on 4-bit records pay: below, the rows themselves are as cheap. */
const REFINE_FROM = 96;

/** Rows that a search ranks at most by default, in all and for each neighbor wanted. */
const MAX_CANDIDATES = 2 ** 18;
const MAX_CANDIDATES_OF_ONE = 16;

/** Rows and cells of a trial of the coded space. */
const TRIAL_ROWS = 3000;
const TRIAL_CELLS = 24;

/** Options of a new index. */
export interface VectorIndexOptions<Kind extends IdKind = 'row'> {
  /** Floats a vector, 1 to 4,096. */
  dimensions: number;
  /** `euclidean` (default), `cosine` or `inner-product`. */
  metric?: Metric;
  /**
   * Of rotation and training; default 0. The same rows, options and seed give the same answers everywhere. `'random'` draws
   * one that nobody can guess, and a snapshot keeps it: for rows from people who may wish you ill (SECURITY.md).
   */
  seed?: number | bigint | 'random';
  /** `f32` (default) keeps rows as given; `int8` keeps 8-bit integers only: a quarter of the memory, less recall. */
  storage?: Storage;
  /** Bytes that the index may take, all told; default and most: 4 GiB. Ids of your own are outside of it. */
  maxBytes?: number;
  /**
   * Rows have ids of your own of this kind, each once: `string` (well-formed), `bigint` (-2^63 to 2^64 - 1) or `number`
   * (finite). Without it row numbers are the ids. See VectorIndex.
   */
  ids?: Kind & ('string' | 'bigint' | 'number');
}

/** Options of an index of given vectors: `ids` are their ids, one a row (an array of strings, bigints or numbers). */
export interface FromOptions<Ids extends IdsOption> extends Omit<VectorIndexOptions, 'ids'>, BuildOptions {
  ids?: Ids;
}

/** Options of a build. */
export interface BuildOptions {
  /** Cells of the Voronoi hash, 1 to 16,384; by default from the number of rows and their structure. */
  cells?: number;
  /** `lloyd` (default) trains centres; `none` takes random rows as they are: a faster build, slower searches. */
  training?: 'lloyd' | 'none';
  /** Whether survivors pass a second stage of 4-bit codes; by default where that pays. */
  refine?: boolean;
  /** Whether codes are of the rows' principal components: above 256 dimensions only; by default where that is faster. */
  principal?: boolean;
  /** Whether to tune after the build; default true. */
  tune?: boolean;
}

/** How one search is done. Without any of the last four, the tuned settings for `recall` are taken. */
export interface VectorSearchOptions<Kind extends IdKind = 'row'> {
  /** Neighbors wanted, 1 or more; default 10. */
  k?: number;
  /** Share of the true neighbors that should be found, 0 to 1; default 0.95. 1 is exact search. */
  recall?: number;
  /** Every row is compared. */
  exact?: boolean;
  /** Cells that are visited, nearest first. */
  probes?: number;
  /** Half-width of the codes' error bound in standard deviations; Infinity filters nothing. */
  epsilon?: number;
  /** Cells without a change among the k best estimates after which the search stops; 0 (default) never. */
  patience?: number;
  /**
   * Rows that are ranked by their exact distance, 1 or more; by default 262,144, and 16 k if that is more. A query near very
   * many equal rows would rank them all; its answer then has `capped`. Exact searches have no cap, nor those
   * with a filter, which compare all rows that pass before they cost more than that.
   */
  maxCandidates?: number;
  /**
   * Only rows that pass are neighbors: a function of the id, a bitmap (bit row & 7 of byte row >> 3) or an IdSet. A function
   * is called once for every row and search (once for a whole batch): keep an `IdSet.where(n, …)` where it is used again.
   * It gets ids of your own where the index has them; bitmaps and sets are always of row numbers. With a filter,
   * `patience` does not count.
   */
  filter?: Filter<IdOf<Kind>>;
}

/** How a search for everything within a distance is done. */
export interface RadiusOptions<Kind extends IdKind = 'row'> {
  /** Share of the rows within the distance that should be found, 0 to 1; default 0.95. 1 is exact search. */
  recall?: number;
  /** Every row is compared. */
  exact?: boolean;
  /** As for search. */
  filter?: Filter<IdOf<Kind>>;
}

/** How a join finds the neighbors of each row, as a search does, and how its pages come. */
export interface VectorJoinOptions extends StreamOptions {
  /** Share of the true neighbors that should be found, 0 to 1; default 0.95. 1 is exact search. */
  recall?: number;
  /** Every row is compared with every row. */
  exact?: boolean;
}

/** What one search did, and why a row was missed. */
export interface VectorExplanation extends Neighbors {
  /** Whether `maxCandidates` left rows out. */
  capped: boolean;
  /** How it was done; `null` for an exact search. */
  settings: Settings | null;
  cells: number;
  cellsProbed: number;
  codesScanned: number;
  /** Slots whose lower bound passed the limit of the moment. */
  survivors: number;
  /** Survivors that the second stage looked at; 0 where there is none. */
  rowsRefined: number;
  /** Rows whose exact distance was computed. */
  rowsRanked: number;
  /** With a filter: how many ids pass it. */
  passing?: number;
  /**
   * With a filter: whether the search went through the cells or compared all rows that pass, as `exact` does, because that
   * was modeled to cost less. Then `settings` is null.
   */
  way?: 'cells' | 'rows';
  /** Milliseconds by stage; with a filter, to prepare is to take it in, and all else counts as the scan. */
  times: { prepareMs: number; cellsMs: number; scanMs: number; rankMs: number };
  /** About the row that was asked for. */
  row?: RowExplanation;
}

/** Where one row stood in one search. */
export interface RowExplanation extends RowTrace {
  /** The row's number. */
  id: number;
  /** Its id, in an index with ids of its own. */
  userId?: UserId;
  found: boolean;
  reason:
    | 'found'
    | 'excluded by the filter'
    | 'cell not probed'
    | 'filtered by its code'
    | 'ranked behind k others';
}

/**
 * The everyday index: nearest neighbors at a recall of your choice, many times faster than comparing every row.
 *
 * A Voronoi hash with sign codes in scan order: rows are kept in cells around trained centres; a query visits the nearest
 * cells, scans their 1-bit codes by look-up table (RaBitQ: Gao and Long, SIGMOD 2024) and compares only the few rows
 * that may be among the nearest. Answers are approximate unless you ask for `exact: true`; distances are always true.
 *
 * Rows may be added, updated and removed at any time, and the next search knows; `build()` trains the cells for the
 * present size. Rows are numbered from 0 in order of adding, and no number is ever given out again.
 *
 * These numbers are the ids, unless the index has ids of your own (option `ids`). Then every argument called `id` or `ids`
 * and every filter that is a function takes yours, and answers carry `userIds` beside `ids`. All typed arrays stay row
 * numbers: the `ids` of answers, bitmaps and IdSets, `truth`, pages of joins, `searchInto`. `rowOf` and `idOf` translate.
 */
export class VectorIndex<Kind extends IdKind = 'row'> implements Iterable<[IdOf<Kind>, Float32Array]> {
  #engine: Engine;
  #tuner: Tuner;
  #passing: Passing;
  #userIds: UserIds | undefined;
  #disposed = false;
  /** The asynchronous call under way: until it ends, others may read and nothing may change. */
  #busy: string | undefined;

  /**
   * An empty index. `VectorIndex.from` is the usual way to one.
   *
   * @throws TypeError or RangeError naming the option, with what was expected and what was given.
   */
  constructor(options: VectorIndexOptions<Kind>);
  /** @internal over an engine that is there, or `'shared'`: over a memory that threads may share. */
  constructor(options: VectorIndexOptions<Kind>, from?: Engine | 'shared');
  constructor(options: VectorIndexOptions<Kind>, from?: Engine | 'shared') {
    if (options === undefined)
      throw typeError('ERR_ARGUMENT_TYPE', 'options: expected { dimensions }, got undefined');
    checkOptions('options', options);
    const dimensions = checkInteger('dimensions', options.dimensions, 1, MAX_DIMENSIONS);
    const metric = checkChoice('metric', options.metric ?? 'euclidean', [
      'euclidean',
      'cosine',
      'inner-product',
    ]);
    const storage = checkChoice('storage', options.storage ?? 'f32', ['f32', 'int8']);
    const maxBytes = checkNumber('maxBytes', options.maxBytes ?? 2 ** 32, 1, 2 ** 32);
    const seed = seedOf(options.seed);
    if (options.ids !== undefined)
      this.#userIds = new UserIds(checkChoice('ids', options.ids, USER_ID_KINDS));
    this.#engine =
      from instanceof Engine ? from : new Engine(dimensions, metric, storage, seed, maxBytes, from);
    this.#tuner = tunerOf(this.#engine);
    this.#passing = new Passing(this.#engine);
  }

  /**
   * An index of these vectors: trained, built and tuned.
   *
   * @param vectors rows × dimensions floats, row-major.
   * @param options.ids ids of your own, one a row; copied.
   * @throws as `add`.
   */
  static from<Ids extends IdsOption = undefined>(
    vectors: Float32Array,
    options: FromOptions<Ids>,
  ): VectorIndex<KindOf<Ids>> {
    const [index, ids] = emptyFor(options);
    index.#append(vectors, ids, (rows) => index.#engine.append(vectors, rows, false));
    index.build(options);
    return index;
  }

  /**
   * As `from`, in slices of about 8 ms with the event loop in between. The vectors must stay as they are until it ends.
   *
   * @param options those of `from` and of AsyncOptions.
   */
  static async fromAsync<Ids extends IdsOption = undefined>(
    vectors: Float32Array,
    options: FromOptions<Ids> & AsyncOptions,
  ): Promise<VectorIndex<KindOf<Ids>>> {
    const [index, ids] = emptyFor(options);
    checkBuild(options);
    const rows = index.#append(vectors, ids, (count) => count);
    await finishInSlices(index.#take(vectors, rows, options), options);
    return index;
  }

  /**
   * The index that `save` wrote: it gives the same answers, and can be added to, built and tuned as before.
   *
   * The bytes may come from anyone. They are refused, or they give an index whose searches stay within its own memory;
   * whether its answers are true is only as sure as their source. Every part has a checksum against accidents.
   *
   * Its kind of ids is that of the index that was saved (`idKind`); types cannot know it: `VectorIndex.load<'string'>(bytes)`.
   *
   * @param bytes of `save`; copied.
   * @param limits refused beyond these, before memory is taken. `maxBytes` also limits the index from then on.
   * @throws SnapshotError (ERR_SNAPSHOT) with a `reason`; RangeError (ERR_OUT_OF_MEMORY) where the machine has no room for it.
   */
  static load<Kind extends IdKind = 'row'>(bytes: Uint8Array, limits?: SnapshotLimits): VectorIndex<Kind> {
    return fromBytes(bytes, (length) => VectorIndex.fromParts<Kind>(limits, length));
  }

  /**
   * As `load`, from a stream of the bytes that is read to its end, straight into the memory of the index: no second copy
   * is made. In slices of about 8 ms with the event loop in between.
   *
   * How long a stream is shows only at its end: until then `maxBytes` alone says how much memory its header may ask for.
   *
   * @param options limits as of `load`, and those of AsyncOptions; progress is in bytes.
   * @throws as load, also where the stream ends early or goes on behind the snapshot (SnapshotError); whatever the stream
   * or the signal fails with. The stream is canceled then, and nothing is left of the index.
   */
  static async loadFrom<Kind extends IdKind = 'row'>(
    stream: ReadableStream<Uint8Array>,
    options: SnapshotLimits & AsyncOptions = {},
  ): Promise<VectorIndex<Kind>> {
    return fromStream(stream, VectorIndex.fromParts<Kind>(options), options);
  }

  /** @internal For whoever reads bytes in another way: snapshot.ts, `Reading`. `length`: how many there are, if known. */
  static *fromParts<Kind extends IdKind = 'row'>(
    limits?: SnapshotLimits,
    length?: number,
  ): Reading<VectorIndex<Kind>> {
    const snapshot = yield* EngineSnapshot.open(limits, length);
    return yield* snapshot.within(function* () {
      const { dimensions, metric, storage, seed, maxBytes } = snapshot;
      const index = new VectorIndex<Kind>({ dimensions, metric, storage, seed, maxBytes });
      const { tuned, userIds } = yield* snapshot.fill(index.#engine);
      index.#tuner.restore(tuned);
      index.#userIds = userIds;
      return index;
    });
  }

  /** Number of rows, without those that were removed. */
  get size(): number {
    this.#alive();
    return this.#engine.size;
  }

  /** Floats a vector. */
  get dimensions(): number {
    this.#alive();
    return this.#engine.rows.dimensions;
  }

  /** What "near" means. */
  get metric(): Metric {
    this.#alive();
    return this.#engine.rows.metric;
  }

  /** How rows are kept. */
  get storage(): Storage {
    this.#alive();
    return this.#engine.rows.storage;
  }

  /** What `id` means: `row` numbers, or ids of your own that are each a `string`, `bigint` or `number`. */
  get idKind(): Kind {
    this.#alive();
    return (this.#userIds?.kind ?? 'row') as Kind;
  }

  /** Cells of the Voronoi hash; 1 before the first build. */
  get cells(): number {
    this.#alive();
    return this.#engine.cells;
  }

  /**
   * Adds rows; they are found by the next search. Returns the number of the first; the others follow.
   *
   * @param vectors rows × dimensions floats, row-major.
   * @param ids one a row, where the index has ids of your own; none of them taken or twice.
   * @throws RangeError (ERR_LENGTH, ERR_NOT_FINITE, ERR_ZERO_VECTOR, ERR_DUPLICATE_ID, ERR_OUT_OF_MEMORY) or TypeError
   * (ERR_ARGUMENT_TYPE, also where ids are missing); then nothing was added.
   */
  add(vectors: Float32Array, ids?: IdsOf<Kind>): number {
    this.#idle();
    const first = this.#engine.rows.idCount;
    this.#append(vectors, ids, (rows) => this.#engine.append(vectors, rows, true));
    return first;
  }

  /**
   * Gives an id this vector: a new row, or the other vector of a row that is there. Returns the row's number. Where row
   * numbers are the ids, only rows that are there can be set.
   *
   * @param vector dimensions floats.
   * @throws as `add` and `update`; then nothing has changed.
   */
  set(id: IdOf<Kind>, vector: Float32Array): number {
    this.#idle();
    const row = this.#userIds ? this.#userIds.rowOf('id', id) : this.#checkId(id);
    checkVector('vector', vector, this.dimensions);
    if (row === undefined) return this.add(vector, [id] as unknown as IdsOf<Kind>);
    this.#engine.update(row, vector);
    return row;
  }

  /**
   * `set` for many ids, each once. New ones are added together, which is faster; then the others are replaced one by one.
   *
   * @param ids an array of them. @param vectors ids × dimensions floats, row-major.
   * @throws as `set`, and RangeError (ERR_DUPLICATE_ID) for an id that comes twice; then nothing has changed. Only where
   * memory runs out (ERR_OUT_OF_MEMORY) rows may have been set before; every row has its old vector or its new one.
   */
  setMany(ids: IdsOf<Kind> | ArrayLike<IdOf<Kind>>, vectors: Float32Array): void {
    this.#idle();
    const { dimensions } = this;
    const list = checkIdArray('ids', ids);
    checkIdCount('ids', list, checkRows('vectors', vectors, dimensions));
    const rows = this.#userIds
      ? this.#userIds.rowsOf('ids', list)
      : Float64Array.from(checkIds('ids', list, this.#engine.rows.idCount), (id) => this.#checkId(id));
    checkDistinct('ids', list);
    const all = Array.from(rows.keys());
    const old = all.filter((i) => rows[i] >= 0);
    const fresh = all.filter((i) => rows[i] < 0);
    this.#engine.checkUpdates(vectors, old);
    const added = new Float32Array(fresh.length * dimensions);
    const vector = (i: number): Float32Array => vectors.subarray(i * dimensions, (i + 1) * dimensions);
    fresh.forEach((i, at) => {
      added.set(vector(i), at * dimensions);
    });
    if (fresh.length > 0) this.add(added, fresh.map((i) => list[i]) as unknown as IdsOf<Kind>);
    for (const i of old) this.#engine.update(rows[i], vector(i));
  }

  /** The vector of an id, as `vector` has it, or undefined where there is none. */
  get(id: IdOf<Kind>): Float32Array | undefined {
    this.#alive();
    const row = this.#find(id);
    return row === undefined ? undefined : this.#engine.vector(row);
  }

  /**
   * Removes rows: no later answer has them. Returns how many were removed; ids of rows that are gone already, or come
   * twice, do not count again. Takes a few microseconds a row, however many rows there are; the first call looks at all of
   * them once. The room is given back by `compact` or `build`.
   *
   * @param ids one id, or any array of them.
   * @throws TypeError (ERR_ARGUMENT_TYPE) for anything else; RangeError for a row number that was never given out
   * (ERR_ARGUMENT_RANGE), or too little memory (ERR_OUT_OF_MEMORY). Then nothing was removed. Ids of your own that the
   * index does not have are rows that are gone: it cannot tell.
   */
  remove(ids: IdOf<Kind> | IdsOf<Kind> | ArrayLike<IdOf<Kind>>): number {
    this.#idle();
    const names = this.#userIds;
    if (!names) return this.#engine.remove(checkIds('ids', ids, this.#engine.rows.idCount));
    const list = typeof ids === 'object' ? checkIdArray('ids', ids) : [ids];
    const rows = names.rowsOf('ids', list).filter((row) => row >= 0);
    const removed = this.#engine.remove(rows);
    names.remove(rows);
    return removed;
  }

  /** Removes a row; whether there was one. As `remove` otherwise. */
  delete(id: IdOf<Kind>): boolean {
    this.#idle();
    const row = this.#find(id);
    if (row === undefined) return false;
    this.#engine.remove([row]);
    this.#userIds?.remove([row]);
    return true;
  }

  /**
   * Gives a row another vector; its id and number stay. Takes as long as adding one row.
   *
   * @param vector dimensions floats.
   * @throws RangeError for an id that is not that of a row (ERR_ARGUMENT_RANGE), a wrong vector (ERR_LENGTH,
   * ERR_NOT_FINITE, ERR_ZERO_VECTOR), or too little memory (ERR_OUT_OF_MEMORY). Then the row is as it was.
   */
  update(id: IdOf<Kind>, vector: Float32Array): void {
    this.#idle();
    const row = this.#checkId(id);
    this.#engine.update(row, checkVector('vector', vector, this.dimensions));
  }

  /** Whether there is a row of this id: it was added, and not removed. */
  has(id: IdOf<Kind>): boolean {
    this.#alive();
    return this.#find(id) !== undefined;
  }

  /** The number of the row of an id, which is what `ids` of answers, bitmaps and IdSets have; undefined where there is none. */
  rowOf(id: IdOf<Kind>): number | undefined {
    this.#alive();
    return this.#find(id);
  }

  /** The id of a row by its number; undefined where there is none, or no longer. */
  idOf(row: number): IdOf<Kind> | undefined {
    this.#alive();
    if (this.#userIds) return this.#userIds.idOf(row) as IdOf<Kind> | undefined;
    return this.#engine.rows.has(row) ? (row as IdOf<Kind>) : undefined;
  }

  /** The ids of all rows, in the order of their numbers. Rows that come or go meanwhile are there or not, as in a Map. */
  *userIds(): Generator<IdOf<Kind>, void, undefined> {
    this.#alive();
    for (let row = 0; row < this.#engine.rows.idCount; row++) {
      if (!this.#engine.rows.has(row)) continue;
      yield this.idOf(row) as IdOf<Kind>;
      this.#alive();
    }
  }

  /** The ids and vectors of all rows, in the order of `userIds`; each vector a copy. */
  *[Symbol.iterator](): Generator<[IdOf<Kind>, Float32Array], void, undefined> {
    for (const id of this.userIds()) yield [id, this.vector(id)];
  }

  /**
   * Moves rows and codes together, so that removed rows take no room; ids and answers stay. Returns how many removed rows
   * were dropped and how many bytes that freed: for later rows of this index, since WebAssembly cannot shrink a memory
   * (`total` of `memoryUsage` stays). Looks at all rows; `build` does the same on its way.
   */
  compact(): { rows: number; bytes: number } {
    this.#idle();
    return this.#engine.compact();
  }

  /**
   * Trains the cells for the present rows, sorts rows and codes into them and, unless told otherwise, tunes.
   * Takes about 6 µs a row at 100,000 rows of 100 floats.
   *
   * Until it has ended the old cells and codes are kept beside the new ones: about d / 8 + 8 bytes a row, and d / 2 + 4
   * where there is a second stage.
   *
   * @throws RangeError (ERR_OUT_OF_MEMORY); then every answer is as before.
   */
  build(options: BuildOptions = {}): void {
    this.#idle();
    checkBuild(options);
    const engine = this.#engine;
    if (this.size === 0) {
      engine.compact();
      return;
    }
    const { keep, takeBack } = engine.begin();
    const tuned = new Map(this.#tuner.tuned) as Map<number, TunedSetting[]>;
    this.#tuner.forget();
    this.#passing.forget();
    let complete = false;
    try {
      finish(sort(engine, this.#tuner, options));
      if (options.tune ?? true) finish(this.#tuner.tune({}));
      complete = true;
    } finally {
      if (complete) {
        keep();
      } else {
        takeBack();
        this.#tuner.restore(tuned);
      }
    }
  }

  /**
   * As `build`, in slices of about 8 ms with the event loop in between, and beside the index as it is: searches are
   * answered from that until the new one takes its place at once. Whatever ends it early (a signal, too little memory)
   * leaves the index as it was. It needs room for a second copy, which may itself take `maxBytes`.
   *
   * Until it ends nothing else may change the index: such calls throw (RangeError, ERR_BUSY).
   *
   * @param options those of `build` and of AsyncOptions.
   */
  async buildAsync(options: BuildOptions & AsyncOptions = {}): Promise<void> {
    this.#idle();
    checkBuild(options);
    await this.#alone('buildAsync', options, this.#buildBeside(options), ({ engine, tuner }) => {
      this.#engine = engine;
      this.#tuner = tuner;
      this.#passing = new Passing(engine);
    });
  }

  /**
   * Measures the settings for a recall on your own queries, or on rows of the index, and keeps them for searches.
   * Returns what it found; see TuningReport.
   */
  tune(options: TuneOptions = {}): TuningReport {
    this.#idle();
    return finish(this.#tune(options));
  }

  /**
   * As `tune`, in slices of about 8 ms with the event loop in between. Until it ends searches go by the settings as they
   * were, and nothing may change the index (RangeError, ERR_BUSY). The queries must stay as they are.
   *
   * @param options those of `tune` and of AsyncOptions.
   */
  async tuneAsync(options: TuneOptions & AsyncOptions = {}): Promise<TuningReport> {
    this.#idle();
    return this.#alone('tuneAsync', options, this.#tune(options));
  }

  /**
   * Measures the recall of a way of searching.
   *
   * @param queries rows × dimensions floats.
   * @param options as for search; `truth`: the numbers of the true neighbors' rows, queries × any number a query, nearest first, instead
   * of an exact search for each.
   */
  evaluate(
    queries: Float32Array,
    options: VectorSearchOptions<Kind> & { truth?: Uint32Array | Int32Array } = {},
  ): Evaluation {
    this.#alive();
    const rows = this.#split(queries);
    const { k, settings } = this.#resolve(options);
    if (options.truth !== undefined) checkTruth(options.truth, rows.length);
    if (options.filter === undefined) return this.#tuner.evaluate(rows, k, settings, options.truth);
    const count = this.#takeFilter(options.filter);
    const through = this.#through(options, k, settings, count);
    const tuner = new Tuner(this.#passing.view(through, count), () => new RandomGenerator(0));
    // Any settings but null: how the search is done is up to the view.
    return tuner.evaluate(rows, k, through && { probes: 1, epsilon: 0, patience: 0 }, options.truth);
  }

  /**
   * The k nearest neighbors of a query, nearest first; fewer where the cells that were visited hold fewer.
   *
   * @param query dimensions floats.
   */
  search(query: Float32Array, options?: VectorSearchOptions<Kind>): CappedNeighbors & Named<Kind> {
    return this.#named(this.#search(query, options));
  }

  #search(query: Float32Array, options?: VectorSearchOptions<Kind>): CappedNeighbors {
    this.#alive();
    checkLength('query', query, this.dimensions);
    const { k, settings, most } = this.#resolve(options);
    const engine = this.#engine;
    let found: number;
    if (options?.filter !== undefined) {
      checkVector('query', query, this.dimensions);
      const count = this.#takeFilter(options.filter);
      found = this.#passing.search(query, k, this.#through(options, k, settings, count), count).found;
    } else {
      found = settings ? engine.run(query, k, settings, most) : engine.runExact(query, k);
    }
    const neighbors: CappedNeighbors = { ids: new Uint32Array(found), distances: new Float32Array(found) };
    engine.read(found, neighbors, 0);
    if (engine.capped) neighbors.capped = true;
    return neighbors;
  }

  /**
   * As search, into arrays of yours; returns how many places were filled. Nothing is allocated, and nothing tells whether
   * the answer was capped: `explain` does.
   *
   * @param ids k places or more, for row numbers (`idOf` has your ids). @param distances as many.
   */
  searchInto(
    query: Float32Array,
    ids: Uint32Array,
    distances: Float32Array,
    options?: VectorSearchOptions<Kind>,
  ): number {
    this.#alive();
    checkLength('query', query, this.dimensions);
    const { k, settings, most } = this.#resolve(options);
    for (const [name, array] of [['ids', ids] as const, ['distances', distances] as const]) {
      if (array.length < k)
        throw rangeError('ERR_LENGTH', `${name}: expected ${k} places or more, got ${array.length}`);
    }
    const engine = this.#engine;
    let found: number;
    if (options?.filter !== undefined) {
      checkVector('query', query, this.dimensions);
      const count = this.#takeFilter(options.filter);
      found = this.#passing.search(query, k, this.#through(options, k, settings, count), count).found;
    } else {
      found = settings ? engine.run(query, k, settings, most) : engine.runExact(query, k);
    }
    engine.read(found, { ids, distances }, 0);
    return found;
  }

  /**
   * The neighbors of many queries.
   *
   * @param queries rows × dimensions floats.
   * @returns queries × k ids and distances, row-major; unfilled places are id 4294967295 (of your
   * ids: undefined) at distance Infinity.
   * @throws as search; RangeError (ERR_TOO_LARGE) for more than 2^29 places in all.
   */
  searchBatch(queries: Float32Array, options?: VectorSearchOptions<Kind>): CappedBatch & Named<Kind> {
    return this.#named(this.#searchBatch(queries, options));
  }

  #searchBatch(queries: Float32Array, options?: VectorSearchOptions<Kind>): CappedBatch {
    this.#alive();
    const count = checkRows('queries', queries, this.dimensions);
    const { k, settings, most } = this.#resolve(options);
    const engine = this.#engine;
    const neighbors: CappedBatch = makeBatch(count, k, 0);
    if (options?.filter !== undefined) {
      const passing = this.#takeFilter(options.filter);
      const way = this.#through(options, k, settings, passing);
      for (let i = 0; i < count; i++) {
        const query = queries.subarray(i * this.dimensions, (i + 1) * this.dimensions);
        const { found } = this.#passing.search(query, k, way, passing);
        engine.read(found, neighbors, i * k);
        neighbors.counts[i] = found;
      }
    } else if (settings) {
      engine.runMany(queries, k, settings, neighbors, most);
    } else {
      for (let i = 0; i < count; i++) {
        const found = engine.runExact(queries.subarray(i * this.dimensions, (i + 1) * this.dimensions), k);
        engine.read(found, neighbors, i * k);
        neighbors.counts[i] = found;
      }
    }
    return neighbors;
  }

  /**
   * The k nearest others of every row: the k-NN graph, and the pairs of an all-pairs job that matter. Each row has k, or
   * all others where there are fewer; a row that equals it counts as another.
   *
   * Rows come in the order in which they lie: cell by cell after a build, by id within a cell, then those added since.
   * The stored rows are the queries, so it takes about as long as as many searches, and no vector leaves the memory.
   *
   * @param options.k 1 or more. @param options.recall, options.exact as for search, measured for a row's k others.
   * @returns a stream of pages of 4,096 rows, or of fewer where k is large.
   * @throws as search; in its loop also TypeError (ERR_CHANGED), the signal's reason, or RangeError (ERR_TOO_LARGE).
   */
  neighborGraph(options: VectorJoinOptions & { k: number }): JoinStream<NeighborPage> {
    const index = this.#joinable(options);
    return joinNeighbors(index, checkK(options?.k), options);
  }

  /**
   * For each row of another index, or for each query, its k nearest rows in this one, or all within a radius.
   *
   * @param other an index of the same dimensions, whose rows come in its order as `neighborGraph` has it; or queries, rows ×
   * dimensions floats; or an iterable, also an asynchronous one, of such arrays, numbered through: one page of them is in
   * memory at a time.
   * @param options.k, options.radius one of the two.
   */
  join<Other extends IdKind = 'row'>(
    other: VectorIndex<Other> | Float32Array | VectorPages,
    options: VectorJoinOptions & { k: number },
  ): JoinStream<NeighborPage>;
  join<Other extends IdKind = 'row'>(
    other: VectorIndex<Other> | Float32Array | VectorPages,
    options: VectorJoinOptions & { radius: number },
  ): JoinStream<RangePage>;
  join<Other extends IdKind = 'row'>(
    other: VectorIndex<Other> | Float32Array | VectorPages,
    options: VectorJoinOptions & { k?: number; radius?: number },
  ): JoinStream<NeighborPage> | JoinStream<RangePage> {
    const index = this.#joinable(options);
    checkJoin(options);
    const queries = other instanceof VectorIndex ? other.#joinable({}) : other;
    if (options.k !== undefined) return joinNearest(index, queries, checkK(options.k), options);
    return joinWithin(index, queries, checkRadius(options.radius, this.metric === 'inner-product'), options);
  }

  /**
   * All pairs of rows within a radius, each once, the lower id as `a`. A pair is looked for from its lower id, so the share
   * of the pairs that is found is the recall.
   *
   * Pages keep the memory small, not the work: n rows closer than the radius to each other are n (n - 1) / 2 pairs.
   *
   * @param options.radius of the metric: 0 or more; any number for `inner-product`.
   */
  selfJoin(options: VectorJoinOptions & { radius: number }): JoinStream<PairPage> {
    const index = this.#joinable(options);
    return joinPairs(index, checkRadius(options?.radius, this.metric === 'inner-product'), options);
  }

  /**
   * Groups of rows that hang together by pairs within a radius: the connected components, of two rows or more. By the least
   * id of each group, ids ascending within one. The pairs alone decide, in whatever order they are found.
   *
   * With `exact: true` the same rows give the same groups however they were added. Otherwise a pair may be missed, from both
   * of its rows: groups are then parts of the true ones. Equal rows are always together, and cost next to nothing. Pairs are
   * not kept: it takes about 40 bytes a row and a page.
   */
  duplicates(options: VectorJoinOptions & { radius: number }): JoinStream<GroupPage> {
    const index = this.#joinable(options);
    const isSigned = this.metric === 'inner-product';
    return joinGroups(index, checkRadius(options?.radius, isSigned), !isSigned, options);
  }

  /**
   * The k nearest neighbors of a row, itself left out, nearest first.
   *
   * @param id that of a row. @param options as for search.
   * @throws RangeError (ERR_ARGUMENT_RANGE) for an id that is not that of a row, and as search.
   */
  searchById(id: IdOf<Kind>, options: VectorSearchOptions<Kind> = {}): Neighbors & Named<Kind> {
    this.#alive();
    const row = this.#checkId(id);
    const query = this.#engine.vector(row);
    const { k } = this.#resolve(options);
    const { ids, distances } = this.#search(query, { ...options, k: Math.min(k + 1, MAX_ROWS) });
    const own = ids.indexOf(row);
    const kept = ids.map((_, i) => i).filter((i) => i !== own);
    const some = kept.subarray(0, k);
    return this.#named({
      ids: some.map((i) => ids[i]),
      distances: Float32Array.from(some, (i) => distances[i]),
    });
  }

  /**
   * All rows within a distance of a query, nearest first, however many there are.
   *
   * Approximate unless `exact`: at least the share `recall` of them is found on the average of queries like the rows; the
   * distances are true. The first approximate call after a build measures, on some rows, how far out cells have to be
   * visited, which takes about as long as a few hundred searches.
   *
   * @param query dimensions floats.
   * @param radius of the metric: the largest distance; under inner product minus the least dot product, so it may be
   * negative.
   * @throws TypeError or RangeError for a wrong query (as search), radius, recall or filter; RangeError (ERR_OUT_OF_MEMORY)
   * where the answer does not fit.
   */
  searchRadius(
    query: Float32Array,
    radius: number,
    options: RadiusOptions<Kind> = {},
  ): Neighbors & Named<Kind> {
    return this.#named(this.#searchRadius(query, radius, options));
  }

  #searchRadius(query: Float32Array, radius: number, options: RadiusOptions<Kind>): Neighbors {
    this.#alive();
    checkVector('query', query, this.dimensions);
    const { recall, count } = this.#range(radius, options);
    return this.#passing.within(query, radius, recall, count);
  }

  /**
   * `searchRadius` for each of many queries.
   *
   * @param queries rows × dimensions floats.
   * @returns ids and distances of query i at offsets[i] … offsets[i + 1] - 1.
   * @throws as searchRadius; RangeError (ERR_TOO_LARGE) for more than 2^29 neighbors in all.
   */
  searchRadiusBatch(
    queries: Float32Array,
    radius: number,
    options: RadiusOptions<Kind> = {},
  ): RadiusBatch & Named<Kind> {
    this.#alive();
    const rows = checkRows('queries', queries, this.dimensions);
    const { recall, count } = this.#range(radius, options);
    const { dimensions } = this;
    const within = (i: number): Neighbors =>
      this.#passing.within(queries.subarray(i * dimensions, (i + 1) * dimensions), radius, recall, count);
    return this.#named(joinRanges(rows, within));
  }

  /**
   * One search with all that it did: cells probed, codes scanned, survivors, rows ranked, milliseconds by stage. For a
   * row that you expected (`id`): whether its cell was not probed, its code filtered, or others were nearer.
   */
  explain(
    query: Float32Array,
    options: VectorSearchOptions<Kind> & { id?: IdOf<Kind> } = {},
  ): VectorExplanation & Named<Kind> {
    this.#alive();
    checkVector('query', query, this.dimensions);
    const { k, settings: resolved, most } = this.#resolve(options);
    const id = options.id === undefined ? undefined : this.#checkId(options.id);
    const engine = this.#engine;
    const marks = [performance.now()];
    const lap = (): void => void marks.push(performance.now());
    let found: number;
    let passing: number | undefined;
    let settings: Settings | null = resolved;
    if (options.filter !== undefined) {
      passing = this.#takeFilter(options.filter);
      const through = this.#through(options, k, settings, passing);
      lap();
      lap();
      const done = this.#passing.search(query, k, through, passing);
      found = done.found;
      settings =
        through && done.way === 'cells'
          ? { probes: through.mostProbes, epsilon: through.epsilon, patience: 0 }
          : null;
      lap();
      lap();
    } else if (settings && this.size > 0) {
      found = engine.runInStages(query, k, settings, lap, most);
    } else {
      for (let i = 0; i < 3; i++) lap();
      found = engine.runExact(query, k);
      lap();
    }
    const neighbors = { ids: new Uint32Array(found), distances: new Float32Array(found) };
    engine.read(found, neighbors, 0);
    const done = engine.counters();
    const explanation: VectorExplanation = {
      ...neighbors,
      capped: engine.capped,
      settings,
      cells: engine.cells,
      ...(passing === undefined ? {} : { passing, way: settings ? ('cells' as const) : ('rows' as const) }),
      cellsProbed: settings ? done.cells : 0,
      codesScanned: settings ? done.codes : 0,
      survivors: settings ? done.survivors : 0,
      rowsRefined: settings ? done.refined : 0,
      rowsRanked: this.size === 0 ? 0 : done.ranked,
      times: {
        prepareMs: marks[1] - marks[0],
        cellsMs: marks[2] - marks[1],
        scanMs: marks[3] - marks[2],
        rankMs: marks[4] - marks[3],
      },
    };
    if (id !== undefined) {
      const filtered = passing !== undefined;
      const excluded = filtered && !this.#passing.passes(id);
      const probed = settings && !filtered ? engine.probedCells() : null;
      const visited = (cell: number): boolean =>
        filtered ? this.#passing.visited(cell) : (probed as Uint32Array).includes(cell);
      const trace = engine.trace(query, id, settings);
      const isFound = neighbors.ids.includes(id);
      let reason: RowExplanation['reason'] = 'ranked behind k others';
      if (isFound) reason = 'found';
      else if (excluded) reason = 'excluded by the filter';
      else if (settings && !visited(trace.cell)) reason = 'cell not probed';
      else if (settings && !(trace.lowerBound < trace.limit)) reason = 'filtered by its code';
      // Nearer than what was found: its code of the second stage lost it.
      else if (trace.distance < neighbors.distances[found - 1]) reason = 'filtered by its code';
      explanation.row = { id, found: isFound, ...trace, reason };
      if (this.#userIds) explanation.row.userId = options.id;
    }
    return this.#named(explanation);
  }

  /** The row of an id as it was given; rounded where it is kept as 8-bit integers or was scaled to length 1. */
  vector(id: IdOf<Kind>): Float32Array {
    this.#alive();
    return this.#engine.vector(this.#checkId(id));
  }

  /** Bytes by part, and of the memory as a whole (`total`). Ids of your own are not in it: about 60 bytes each, and strings. */
  memoryUsage(): Record<string, number> {
    this.#alive();
    return this.#engine.plan.memory.usage();
  }

  /** What is in the index: rows, removed ones that still take room, cells, and how even the cells are. */
  stats(): {
    rows: number;
    removed: number;
    cells: number;
    cellSizes: Uint32Array;
    largestCell: number;
    emptyCells: number;
    skew: number;
    refined: boolean;
    bytesPerRow: number;
  } {
    this.#alive();
    const sizes = this.#engine.cellSizes();
    const rows = Math.max(1, this.size);
    let squares = 0;
    let largest = 0;
    let empty = 0;
    for (const size of sizes) {
      squares += size * size;
      largest = Math.max(largest, size);
      if (size === 0) empty++;
    }
    return {
      rows: this.size,
      removed: this.#engine.rows.dead,
      cells: sizes.length,
      cellSizes: sizes,
      largestCell: largest,
      emptyCells: empty,
      // Mean size of the cell that a row is in, over the mean size of a cell: 1 when all are equal.
      skew: (squares / rows / rows) * sizes.length,
      refined: this.#engine.isRefined,
      bytesPerRow: this.#engine.plan.memory.memory.buffer.byteLength / rows,
    };
  }

  /**
   * The whole index as bytes, for a file or a message: rows, codes and tuned settings. The same index gives the same
   * bytes on every engine. docs/snapshot-format.md has the format.
   *
   * Removed rows are compacted away first (see `compact`): nothing but their ids, which are never given out again, is in
   * the bytes.
   *
   * @throws RangeError where there is no room for a second copy (ERR_OUT_OF_MEMORY).
   */
  save(): Uint8Array {
    return toBytes(this.snapshotParts());
  }

  /**
   * As `save`, into a stream that is closed at the end: no second copy is made. In slices of about 8 ms with the event
   * loop in between. Until it ends the index may be searched and not changed (RangeError, ERR_BUSY).
   *
   * @param options those of AsyncOptions; progress is in bytes.
   * @throws whatever the stream or the signal fails with; the stream is aborted then, and the index as it was.
   */
  async saveTo(stream: WritableStream, options: AsyncOptions = {}): Promise<void> {
    return toStream(this.snapshotParts(), stream, options);
  }

  /** @internal For whoever writes bytes in another way: snapshot.ts, `Writing`. */
  *snapshotParts(): Writing {
    this.#idle();
    this.#busy = 'saveTo';
    try {
      for (const part of writeEngine(this.#engine, this.#tuner.tuned, this.#userIds)) {
        yield part;
        this.#alive();
      }
    } finally {
      this.#busy = undefined;
    }
  }

  /** Frees the memory at once. Any later call throws (ERR_DISPOSED). */
  dispose(): void {
    this.#disposed = true;
    this.#engine = undefined as never;
    this.#tuner = undefined as never;
    this.#passing = undefined as never;
    this.#userIds = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal for parallel.ts */
  get parts(): { engine: Engine; tuner: Tuner; joins: (options: VectorJoinOptions) => EngineJoins } {
    this.#alive();
    return { engine: this.#engine, tuner: this.#tuner, joins: (options) => this.#joinable(options) };
  }

  /** @internal takes in the first rows and builds; for parallel.ts */
  take(vectors: Float32Array, options: BuildOptions): Generator<Progress> {
    const rows = checkRowCount('vectors', vectors, this.dimensions);
    this.#checkRoom(rows);
    checkBuild(options);
    return this.#take(vectors, rows, options);
  }

  /** @internal builds again in place; for parallel.ts, which does that to a copy */
  *rebuild(options: BuildOptions): Generator<Progress> {
    checkBuild(options);
    if (this.size === 0) {
      this.#engine.compact();
      return;
    }
    yield* sort(this.#engine, this.#tuner, options);
    if (options.tune ?? true) yield* this.#tuner.tune({});
  }

  *#take(vectors: Float32Array, rows: number, options: BuildOptions): Generator<Progress> {
    yield* this.#engine.take(vectors, rows);
    if (rows === 0) return;
    yield* sort(this.#engine, this.#tuner, options);
    if (options.tune ?? true) yield* this.#tuner.tune({});
  }

  *#buildBeside(options: BuildOptions): Generator<Progress, { engine: Engine; tuner: Tuner }> {
    const engine = yield* this.#engine.copy();
    const tuner = tunerOf(engine);
    if (engine.size > 0) {
      yield* sort(engine, tuner, options);
      if (options.tune ?? true) yield* tuner.tune({});
    }
    return { engine, tuner };
  }

  #tune(options: TuneOptions): Generator<Progress, TuningReport> {
    checkOptions('options', options);
    if (options.recall !== undefined) checkNumber('recall', options.recall, 0, 1);
    if (options.k !== undefined) checkInteger('k', options.k, 1, MAX_ROWS);
    if (options.sample !== undefined) checkInteger('sample', options.sample, 1, MAX_ROWS);
    return this.#tuner.tune(options, options.queries && this.#split(options.queries));
  }

  /** Runs work in slices, and `settle` with what it gives; nothing else may change the index meanwhile. */
  async #alone<T>(
    name: string,
    options: AsyncOptions,
    work: Generator<Progress, T>,
    settle?: (result: T) => void,
  ): Promise<T> {
    checkAsync(options);
    this.#busy = name;
    try {
      const result = await finishInSlices(this.#whileAlive(work), options);
      this.#alive();
      settle?.(result);
      return result;
    } finally {
      this.#busy = undefined;
    }
  }

  /** Work that ends with ERR_DISPOSED once the index is disposed of. */
  *#whileAlive<T>(work: Generator<Progress, T>): Generator<Progress, T> {
    try {
      for (;;) {
        this.#alive();
        const step = work.next();
        if (step.done) return step.value;
        yield step.value;
      }
    } finally {
      work.return(undefined as never);
    }
  }

  /** Takes a filter in; returns how many ids pass. */
  #takeFilter(filter: Filter<IdOf<Kind>>): number {
    const names = this.#userIds;
    return this.#passing.take(filter as Filter<never>, names && ((row) => names.idOf(row)));
  }

  /** An answer with the user's ids beside the row numbers, where there are such ids. */
  #named<Answer extends Neighbors>(answer: Answer): Answer & Named<Kind> {
    if (this.#userIds) (answer as { userIds?: unknown }).userIds = this.#userIds.of(answer.ids);
    return answer as Answer & Named<Kind>;
  }

  /** Checks vectors and their ids, and has `take` append so many rows; without a trace where that fails. */
  #append<Result>(vectors: Float32Array, ids: unknown, take: (rows: number) => Result): Result {
    const rows = checkRowCount('vectors', vectors, this.dimensions);
    this.#checkRoom(rows);
    const names = this.#userIds;
    if ((ids === undefined) !== (names === undefined) && rows > 0) {
      const wanted = names
        ? `${rows} ids, one a row, each a ${names.kind}`
        : "none, since rows of this index are called by their numbers (unless it is made with an option such as ids: 'string')";
      throw typeError('ERR_ARGUMENT_TYPE', `ids: expected ${wanted}, got ${describe(ids)}`);
    }
    if (!names || ids === undefined) return take(rows);
    const list = checkIdArray('ids', ids);
    checkIdCount('ids', list, rows);
    const first = this.#engine.rows.idCount;
    names.add('ids', list, first);
    try {
      return take(rows);
    } catch (error) {
      names.takeBack(first);
      throw error;
    }
  }

  /** How a search with a filter goes through the cells; null: it compares all rows that pass. */
  #through(
    options: VectorSearchOptions<Kind>,
    k: number,
    settings: Settings | null,
    count: number,
  ): PassingSettings | null {
    const { probes, epsilon, patience, exact, recall = 0.95 } = options;
    if (exact || recall === 1) return null;
    if (probes === undefined && epsilon === undefined && patience === undefined)
      return this.#passing.settings(k, recall, count);
    if (!settings) return null;
    const most = Math.min(settings.probes, this.cells);
    return { probes: most, mostProbes: most, epsilon: settings.epsilon, reach: false, recall };
  }

  /** Checks what a search within a distance is given, and takes its filter in; null recall: every row is compared. */
  #range(radius: number, options: RadiusOptions<Kind>): { recall: number | null; count: number } {
    checkOptions('options', options);
    checkNumber('radius', radius, this.metric === 'inner-product' ? -Infinity : 0, Infinity);
    const recall = options.recall === undefined ? 0.95 : checkNumber('recall', options.recall, 0, 1);
    const count = options.filter === undefined ? this.#passing.takeNone() : this.#takeFilter(options.filter);
    return { recall: options.exact || recall === 1 ? null : recall, count };
  }

  /** Checks options and finds the settings; null for an exact search. */
  #resolve(options: VectorSearchOptions<Kind> = {}): { k: number; settings: Settings | null; most: number } {
    checkOptions('options', options);
    const k = options.k === undefined ? 10 : checkInteger('k', options.k, 1, MAX_ROWS);
    const { probes, epsilon, patience, maxCandidates } = options;
    const most =
      maxCandidates === undefined
        ? Math.max(MAX_CANDIDATES, MAX_CANDIDATES_OF_ONE * Math.min(k, this.size))
        : checkInteger('maxCandidates', maxCandidates, 1, 2 ** 32 - 1);
    const recall = options.recall === undefined ? 0.95 : checkNumber('recall', options.recall, 0, 1);
    if (options.exact || recall === 1) return { k, settings: null, most };
    const wanted = Math.min(k, Math.max(1, this.size));
    if (probes === undefined && epsilon === undefined && patience === undefined) {
      return { k, settings: this.#tuner.settings(wanted, recall), most };
    }
    const tuned = this.#tuner.settings(wanted, recall);
    const settings = {
      probes:
        probes === undefined ? (tuned?.probes ?? this.cells) : checkInteger('probes', probes, 1, 2 ** 32 - 1),
      epsilon: epsilon === undefined ? (tuned?.epsilon ?? 3) : checkNumber('epsilon', epsilon, 0, Infinity),
      patience: patience === undefined ? 0 : checkInteger('patience', patience, 0, 2 ** 32 - 1),
    };
    // Every cell and no bound is every row: the exact scan does that without the detour.
    if (settings.probes >= this.cells && settings.epsilon === Infinity) return { k, settings: null, most };
    return { k, settings, most };
  }

  /** The index as joins see it. */
  #joinable(options: VectorJoinOptions): EngineJoins {
    this.#alive();
    checkOptions('options', options);
    const { recall, exact } = options ?? {};
    this.#resolve({ recall, exact }); // checks
    const engine = (): Engine => {
      this.#alive();
      return this.#engine;
    };
    return new EngineJoins(engine, (k) => this.#resolve({ k, recall, exact }).settings, {
      nearest: (queries, k) => this.#searchBatch(queries, { k, recall, exact }),
      within: (query, radius) => this.#searchRadius(query, radius, { recall, exact }),
      prepare: () => (exact || recall === 1 ? [] : this.#passing.measure()),
      around: (id, radius) => {
        const { recall: share, count } = this.#range(radius, { recall, exact });
        return this.#passing.within(this.#engine.vector(id), radius, share, count, id);
      },
    });
  }

  #alive(): void {
    if (this.#disposed) throw typeError('ERR_DISPOSED', 'index: expected a live index, got a disposed one');
  }

  /** Refuses a change while an asynchronous call is under way. */
  #idle(): void {
    this.#alive();
    if (this.#busy === undefined) return;
    throw rangeError('ERR_BUSY', `index: expected no other work under way, got one of ${this.#busy}`);
  }

  /** The number of the row of an id, if there is one. */
  #find(id: unknown): number | undefined {
    if (this.#userIds) return this.#userIds.rowOf('id', id);
    const isRow = Number.isInteger(id) && (id as number) >= 0 && this.#engine.rows.has(id as number);
    return isRow ? (id as number) : undefined;
  }

  #checkId(id: unknown): number {
    const { rows } = this.#engine;
    if (this.#userIds) {
      const row = this.#userIds.rowOf('id', id);
      if (row !== undefined) return row;
      throw rangeError(
        'ERR_ARGUMENT_RANGE',
        `id: expected one that a row of the index has, got ${describe(id)}`,
      );
    }
    if (rows.idCount === 0)
      throw rangeError('ERR_ARGUMENT_RANGE', `id: expected a row of the index, which has 0, got ${id}`);
    const checked = checkInteger('id', id, 0, rows.idCount - 1);
    if (!rows.has(checked))
      throw rangeError('ERR_ARGUMENT_RANGE', `id: expected a row of the index, got ${id}, which was removed`);
    return checked;
  }

  #checkRoom(rows: number): void {
    const ids = this.#engine.rows.idCount + rows;
    if (ids > MAX_ROWS) {
      throw rangeError('ERR_TOO_LARGE', `vectors: expected at most ${MAX_ROWS} ids in all, got ${ids}`);
    }
  }

  /** Queries as single vectors, each checked. */
  #split(queries: Float32Array): Float32Array[] {
    const count = checkRows('queries', queries, this.dimensions);
    return Array.from({ length: count }, (_, i) =>
      queries.subarray(i * this.dimensions, (i + 1) * this.dimensions),
    );
  }
}

/** An empty index for given vectors, and the ids that are given with them. */
function emptyFor<Ids extends IdsOption>(
  options: FromOptions<Ids>,
): [index: VectorIndex<KindOf<Ids>>, ids: ArrayLike<unknown> | undefined] {
  const given = checkIdsOption(options?.ids);
  const own = given ? { ...options, ids: given.kind } : options;
  return [new VectorIndex(own as VectorIndexOptions<KindOf<Ids>>), given?.ids];
}

/** The tuner of an engine; its samples depend on the seed and the rows alone. */
function tunerOf(engine: Engine): Tuner {
  return new Tuner(engine, () => new RandomGenerator(engine.seed + 2n));
}

function checkBuild(options: BuildOptions): void {
  checkOptions('options', options);
  if (options.cells !== undefined) checkInteger('cells', options.cells, 1, MAX_CELLS);
  checkChoice('training', options.training ?? 'lloyd', ['lloyd', 'none']);
}

/** Trains cells for the rows of an engine and sorts rows and codes into them. */
function* sort(engine: Engine, tuner: Tuner, options: BuildOptions): Generator<Progress> {
  const rows = engine.size;
  const { cells } = options;
  const begun: Progress = { phase: 'train', done: 0, total: rows };
  const encoded: Progress = { phase: 'encode', done: rows, total: rows };
  const long = engine.stride > LEAST_PRINCIPAL && rows >= FEW_ROWS;
  yield* under(begun, engine.start(long && options.principal !== false));
  if (long && options.principal === undefined && !(yield* under(begun, isPrincipalBetter(engine))))
    yield* under(begun, engine.start(false));
  let wanted = Math.min(cells ?? defaultCells(rows), rows);
  if (cells === undefined && wanted > 1 && (yield* under(begun, tuner.areCellsHopeless()))) wanted = 1;
  yield* engine.sort(wanted, options.training !== 'none');
  let look = yield* under(encoded, tuner.look());
  // Where a query must visit most cells anyway, cells only cost: one is scanned faster.
  if (cells === undefined && engine.cells > 1 && look.structureless) {
    yield* under(encoded, engine.sort(1, false));
    look = yield* under(encoded, tuner.look());
  }
  if (options.refine ?? look.ranked >= REFINE_FROM) yield* engine.refine();
  if (options.refine !== undefined || !engine.isRefined) return;
  const refined: Progress = { phase: 'refine', done: rows, total: rows };
  if (!(yield* under(refined, tuner.isSecondStageGood()))) engine.dropRecords();
}

/** Tries both coded spaces on some of the rows. */
function* isPrincipalBetter(engine: Engine): Generator<Progress, boolean> {
  const count = Math.min(engine.size, TRIAL_ROWS);
  const all = engine.ids();
  const ids = Uint32Array.from({ length: count }, (_, i) => all[Math.floor((i * all.length) / count)]);
  const costs: number[] = [];
  try {
    for (const adopt of [false, true]) {
      const trial = yield* engine.trial(ids, adopt);
      yield* trial.sort(TRIAL_CELLS, true);
      costs.push(yield* new Tuner(trial, () => new RandomGenerator(0)).tryCost(0.95));
    }
  } catch (error) {
    // Without memory for a trial: the space that needs none.
    if (!isOutOfMemory(error)) throw error;
    return false;
  }
  return costs[1] <= costs[0];
}

/** Refuses anything but as many ids for each of the queries. */
function checkTruth(truth: unknown, queries: number): void {
  if (!(truth instanceof Uint32Array || truth instanceof Int32Array)) {
    throw typeError(
      'ERR_ARGUMENT_TYPE',
      `truth: expected a Uint32Array or an Int32Array, got ${describe(truth)}`,
    );
  }
  if (queries === 0 ? truth.length > 0 : truth.length % queries !== 0) {
    throw rangeError(
      'ERR_LENGTH',
      `truth: expected a multiple of ${queries} ids (as many a query), got ${truth.length}`,
    );
  }
}

/** Cells for a number of rows: the power of two nearest to rows / 128; 1 for few rows. */
function defaultCells(rows: number): number {
  if (rows < FEW_ROWS) return 1;
  const wanted = rows / ROWS_PER_CELL;
  let cells = 16;
  // Nearest by ratio. By multiplication: Math.log2 may differ between engines.
  while (cells < MAX_CELLS && wanted * wanted > 2 * cells * cells) cells *= 2;
  return cells;
}
