import { checkVector } from './check.js';
import type { Engine } from './engine.js';
import {
  type BuildOptions,
  buildAnew,
  buildBeside,
  buildFrom,
  buildInPlace,
  checkBuild,
} from './engine-build.js';
import { explainSearch, type IndexStats, statsOf, type VectorExplanation } from './engine-explain.js';
import { EngineJoins, type VectorJoinOptions } from './engine-joins.js';
import { type FromOptions, openEngine, type VectorIndexOptions } from './engine-options.js';
import { EngineSearch, type RadiusOptions, type VectorSearchOptions } from './engine-search.js';
import { EngineSnapshot, writeEngine } from './engine-snapshot.js';
import type { GroupPage } from './groups.js';
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
} from './joins.js';
import { Lifetime } from './lifetime.js';
import { appendRows, checkRow, findRow, removeRows, setRows } from './named-rows.js';
import type { CappedBatch, CappedNeighbors, Metric, Neighbors, RadiusBatch } from './neighbors.js';
import { type AsyncOptions, finish, finishInSlices, type Progress } from './progress.js';
import type { Storage } from './rows.js';
import type { Reading, SnapshotLimits, Writing } from './snapshot.js';
import { fromBytes, fromStream, toBytes, toStream } from './streams.js';
import type { Evaluation, TuneOptions, TuningReport } from './tuning.js';
import {
  checkIdsOption,
  type IdKind,
  type IdOf,
  type IdsOf,
  type IdsOption,
  type KindOf,
  type Named,
  type NamedPairs,
  type NamedRows,
} from './user-ids.js';

export type { RowExplanation } from './engine-explain.js';
export type {
  BuildOptions,
  FromOptions,
  RadiusOptions,
  VectorExplanation,
  VectorIndexOptions,
  VectorJoinOptions,
  VectorSearchOptions,
};

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
 * and every filter that is a function takes yours, and answers carry `userIds` beside `ids`, pages of joins also
 * `rowUserIds` beside `rows`, `aUserIds` and `bUserIds`. All typed arrays stay row numbers: the `ids` of answers, bitmaps and
 * IdSets, `truth`, pages of joins, `searchInto`. `rowOf` and `idOf` translate.
 */
export class VectorIndex<Kind extends IdKind = 'row'> implements Iterable<[IdOf<Kind>, Float32Array]> {
  #parts: EngineSearch;
  readonly #life = new Lifetime();

  /**
   * An empty index. `VectorIndex.from` is the usual way to one.
   *
   * @throws TypeError or RangeError naming the option, with what was expected and what was given.
   */
  constructor(options: VectorIndexOptions<Kind>);
  /** @internal over an engine that is there, or `'shared'`: over a memory that threads may share. */
  constructor(options: VectorIndexOptions<Kind>, from?: Engine | 'shared');
  constructor(options: VectorIndexOptions<Kind>, from?: Engine | 'shared') {
    this.#parts = openEngine(options, from);
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
    appendRows(index.#parts, vectors, ids, (rows) => index.#parts.engine.append(vectors, rows, false));
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
    const rows = appendRows(index.#parts, vectors, ids, (count) => count);
    await finishInSlices(buildFrom(index.#parts, vectors, rows, options), options);
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
      const { engine } = index.#parts;
      const { tuned, userIds, reach } = yield* snapshot.fill(engine);
      index.#parts = new EngineSearch(engine, userIds);
      index.#parts.tuner.restore(tuned);
      index.#parts.passing.restore(reach);
      return index;
    });
  }

  /** Number of rows, without those that were removed. */
  get size(): number {
    return this.#alive().engine.size;
  }

  /** Floats a vector. */
  get dimensions(): number {
    return this.#alive().engine.rows.dimensions;
  }

  /** What "near" means. */
  get metric(): Metric {
    return this.#alive().engine.rows.metric;
  }

  /** How rows are kept. */
  get storage(): Storage {
    return this.#alive().engine.rows.storage;
  }

  /** What `id` means: `row` numbers, or ids of your own that are each a `string`, `bigint` or `number`. */
  get idKind(): Kind {
    return (this.#alive().userIds?.kind ?? 'row') as Kind;
  }

  /** Cells of the Voronoi hash; 1 before the first build. */
  get cells(): number {
    return this.#alive().engine.cells;
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
    const parts = this.#idle();
    const { engine } = parts;
    const first = engine.rows.idCount;
    appendRows(parts, vectors, ids, (rows) => engine.append(vectors, rows, true));
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
    const parts = this.#idle();
    const row = parts.userIds ? findRow(parts, id) : checkRow(parts, id);
    checkVector('vector', vector, this.dimensions);
    if (row === undefined) return this.add(vector, [id] as unknown as IdsOf<Kind>);
    parts.engine.update(row, vector);
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
    setRows(this.#idle(), ids, vectors, (added, fresh) => this.add(added, fresh as unknown as IdsOf<Kind>));
  }

  /** The vector of an id, as `vector` has it, or undefined where there is none. */
  get(id: IdOf<Kind>): Float32Array | undefined {
    const parts = this.#alive();
    const row = findRow(parts, id);
    return row === undefined ? undefined : parts.engine.vector(row);
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
    return removeRows(this.#idle(), ids);
  }

  /** Removes a row; whether there was one. As `remove` otherwise. */
  delete(id: IdOf<Kind>): boolean {
    const parts = this.#idle();
    const row = findRow(parts, id);
    if (row === undefined) return false;
    parts.engine.remove([row]);
    parts.userIds?.remove([row]);
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
    const parts = this.#idle();
    const row = checkRow(parts, id);
    parts.engine.update(row, checkVector('vector', vector, this.dimensions));
  }

  /** Whether there is a row of this id: it was added, and not removed. */
  has(id: IdOf<Kind>): boolean {
    return findRow(this.#alive(), id) !== undefined;
  }

  /** The number of the row of an id, which is what `ids` of answers, bitmaps and IdSets have; undefined where there is none. */
  rowOf(id: IdOf<Kind>): number | undefined {
    return findRow(this.#alive(), id);
  }

  /** The id of a row by its number; undefined where there is none, or no longer. */
  idOf(row: number): IdOf<Kind> | undefined {
    const { engine, userIds } = this.#alive();
    if (userIds) return userIds.idOf(row) as IdOf<Kind> | undefined;
    return engine.rows.has(row) ? (row as IdOf<Kind>) : undefined;
  }

  /** The ids of all rows, in the order of their numbers. Rows that come or go meanwhile are there or not, as in a Map. */
  *userIds(): Generator<IdOf<Kind>, void, undefined> {
    this.#alive();
    for (let row = 0; row < this.#parts.engine.rows.idCount; row++) {
      if (!this.#parts.engine.rows.has(row)) continue;
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
    return this.#idle().engine.compact();
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
    const parts = this.#idle();
    checkBuild(options);
    buildInPlace(parts, options);
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
    const parts = this.#idle();
    checkBuild(options);
    await this.#life.alone('buildAsync', options, buildBeside(parts, options), (built) => {
      this.#parts = built;
    });
  }

  /**
   * Measures the settings for a recall on your own queries, or on rows of the index, and keeps them for searches.
   * Returns what it found; see TuningReport. The first call after a build also measures what searches with a filter or
   * within a radius go by, which their first call would do else.
   */
  tune(options: TuneOptions = {}): TuningReport {
    return finish(this.#idle().tune(options));
  }

  /**
   * As `tune`, in slices of about 8 ms with the event loop in between. Until it ends searches go by the settings as they
   * were, and nothing may change the index (RangeError, ERR_BUSY). The queries must stay as they are.
   *
   * @param options those of `tune` and of AsyncOptions.
   */
  async tuneAsync(options: TuneOptions & AsyncOptions = {}): Promise<TuningReport> {
    const parts = this.#idle();
    return this.#life.alone('tuneAsync', options, parts.tune(options));
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
    return this.#alive().evaluate(queries, options as VectorSearchOptions<never>);
  }

  /**
   * The k nearest neighbors of a query, nearest first; fewer where the cells that were visited hold fewer.
   *
   * @param query dimensions floats.
   */
  search(query: Float32Array, options?: VectorSearchOptions<Kind>): CappedNeighbors & Named<Kind> {
    return this.#named(this.#alive().search(query, options));
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
    return this.#alive().searchInto(query, ids, distances, options);
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
    return this.#named(this.#alive().searchBatch(queries, options));
  }

  /**
   * The k nearest others of every row: the k-NN graph, and the pairs of an all-pairs job that matter. Each row has k, or
   * all others where there are fewer; a row that equals it counts as another.
   *
   * Rows come in the order in which they lie: cell by cell after a build, by id within a cell, then those added since.
   * The stored rows are the queries, so it takes about as long as as many searches, and no vector leaves the memory.
   *
   * @param options `k`: 1 or more; `recall`, `exact`: as for search, measured for a row's k others.
   * @returns a stream of pages of 4,096 rows, or of fewer where k is large.
   * @throws as search; in its loop also TypeError (ERR_CHANGED), the signal's reason, or RangeError (ERR_TOO_LARGE).
   */
  neighborGraph(
    options: VectorJoinOptions<Kind> & { k: number },
  ): JoinStream<NeighborPage & Named<Kind> & NamedRows<Kind>> {
    const index = this.#joinable(options);
    const stream = joinNeighbors(index, checkK(options?.k), options);
    return this.#namePages(stream, { userIds: 'ids', rowUserIds: 'rows' });
  }

  /**
   * For each row of another index, or for each query, its k nearest rows in this one, or all within a radius.
   *
   * @param other an index of the same dimensions, whose rows come in its order as `neighborGraph` has it; or queries, rows ×
   * dimensions floats; or an iterable, also an asynchronous one, of such arrays, numbered through: one page of them is in
   * memory at a time.
   * @param options `k` or `radius`.
   */
  join<Other extends IdKind = 'row'>(
    other: VectorIndex<Other> | Float32Array | VectorPages,
    options: VectorJoinOptions<Kind> & { k: number },
  ): JoinStream<NeighborPage & Named<Kind> & NamedRows<Other>>;
  join<Other extends IdKind = 'row'>(
    other: VectorIndex<Other> | Float32Array | VectorPages,
    options: VectorJoinOptions<Kind> & { radius: number },
  ): JoinStream<RangePage & Named<Kind> & NamedRows<Other>>;
  join<Other extends IdKind = 'row'>(
    other: VectorIndex<Other> | Float32Array | VectorPages,
    options: VectorJoinOptions<Kind> & { k?: number; radius?: number },
  ):
    | JoinStream<NeighborPage & Named<Kind> & NamedRows<Other>>
    | JoinStream<RangePage & Named<Kind> & NamedRows<Other>> {
    const index = this.#joinable(options);
    checkJoin(options);
    const queries = other instanceof VectorIndex ? other.#joinable({}) : other;
    const { k } = options;
    const stream =
      k === undefined
        ? joinWithin(index, queries, checkRadius(options.radius, this.metric === 'inner-product'), options)
        : joinNearest(index, queries, checkK(k), options);
    if (other instanceof VectorIndex) other.#namePages(stream, { rowUserIds: 'rows' });
    return this.#namePages(stream, { userIds: 'ids' });
  }

  /**
   * All pairs of rows within a radius, each once, the lower id as `a`. A pair is looked for from its lower id, so the share
   * of the pairs that is found is the recall.
   *
   * Pages keep the memory small, not the work: n rows closer than the radius to each other are n (n - 1) / 2 pairs.
   *
   * @param options.radius of the metric: 0 or more; any number for `inner-product`.
   */
  selfJoin(options: VectorJoinOptions<Kind> & { radius: number }): JoinStream<PairPage & NamedPairs<Kind>> {
    const index = this.#joinable(options);
    const radius = checkRadius(options?.radius, this.metric === 'inner-product');
    return this.#namePages(joinPairs(index, radius, options), { aUserIds: 'a', bUserIds: 'b' });
  }

  /**
   * Groups of rows that hang together by pairs within a radius: the connected components, of two rows or more. By the least
   * id of each group, ids ascending within one. The pairs alone decide, in whatever order they are found.
   *
   * With `exact: true` the same rows give the same groups however they were added. Otherwise a pair may be missed, from both
   * of its rows: groups are then parts of the true ones. Equal rows are always together, and cost next to nothing. Pairs are
   * not kept: it takes about 40 bytes a row and a page.
   */
  duplicates(options: VectorJoinOptions<Kind> & { radius: number }): JoinStream<GroupPage & Named<Kind>> {
    const index = this.#joinable(options);
    const isSigned = this.metric === 'inner-product';
    const stream = joinGroups(index, checkRadius(options?.radius, isSigned), !isSigned, options);
    return this.#namePages(stream, { userIds: 'ids' });
  }

  /**
   * The k nearest neighbors of a row, itself left out, nearest first.
   *
   * @param id that of a row. @param options as for search.
   * @throws RangeError (ERR_ARGUMENT_RANGE) for an id that is not that of a row, and as search.
   */
  searchById(id: IdOf<Kind>, options: VectorSearchOptions<Kind> = {}): Neighbors & Named<Kind> {
    const parts = this.#alive();
    return this.#named(parts.searchOthers(checkRow(parts, id), options));
  }

  /**
   * All rows within a distance of a query, nearest first, however many there are.
   *
   * Approximate unless `exact`: at least the share `recall` of them is found on the average of queries like the rows; the
   * distances are true. The first approximate call after a build measures, on some rows, how far out cells have to be
   * visited, which takes about as long as a few hundred searches, unless `tune` has done so; it is saved with the index.
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
    return this.#named(this.#alive().within(query, radius, options));
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
    return this.#named(this.#alive().withinBatch(queries, radius, options));
  }

  /**
   * One search with all that it did: cells probed, codes scanned, survivors, rows ranked, milliseconds by stage. For a
   * row that you expected (`id`): whether its cell was not probed, its code filtered, or others were nearer.
   */
  explain(
    query: Float32Array,
    options: VectorSearchOptions<Kind> & { id?: IdOf<Kind> } = {},
  ): VectorExplanation & Named<Kind> {
    const parts = this.#alive();
    checkVector('query', query, this.dimensions);
    const id = options.id === undefined ? undefined : checkRow(parts, options.id);
    const explanation = explainSearch(parts, query, options, id);
    if (explanation.row && parts.userIds) explanation.row.userId = options.id;
    return this.#named(explanation);
  }

  /** The row of an id as it was given; rounded where it is kept as 8-bit integers or was scaled to length 1. */
  vector(id: IdOf<Kind>): Float32Array {
    const parts = this.#alive();
    return parts.engine.vector(checkRow(parts, id));
  }

  /** Bytes by part, and of the memory as a whole (`total`). Ids of your own are not in it: about 60 bytes each, and strings. */
  memoryUsage(): Record<string, number> {
    return this.#alive().engine.plan.memory.usage();
  }

  /** What is in the index: rows, removed ones that still take room, cells, and how even the cells are. */
  stats(): IndexStats {
    return statsOf(this.#alive().engine);
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
    yield* this.#life.hold('saveTo', () => {
      const { engine, tuner, userIds, passing } = this.#parts;
      return writeEngine(engine, tuner.tuned, userIds, passing.saved);
    });
  }

  /** Frees the memory at once. Any later call throws (ERR_DISPOSED). */
  dispose(): void {
    this.#life.end();
    this.#parts = undefined as never;
  }

  /** `dispose()`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal for parallel.ts */
  get parts(): Pick<EngineSearch, 'engine' | 'tuner' | 'passing' | 'userIds'> & {
    joins: (options: VectorJoinOptions<Kind>) => EngineJoins;
  } {
    const { engine, tuner, passing, userIds } = this.#alive();
    return { engine, tuner, passing, userIds, joins: (options) => this.#joinable(options) };
  }

  /** @internal takes in the first rows, with their ids if they have any, and builds; for parallel.ts */
  take(vectors: Float32Array, options: BuildOptions, ids?: unknown): Generator<Progress> {
    const parts = this.#alive();
    const rows = appendRows(parts, vectors, ids, (count) => count);
    checkBuild(options);
    return buildFrom(parts, vectors, rows, options);
  }

  /** @internal builds again in place; for parallel.ts, which does that to a copy */
  *rebuild(options: BuildOptions): Generator<Progress> {
    checkBuild(options);
    const parts = this.#alive();
    if (this.size > 0) yield* buildAnew(parts, options);
    else parts.engine.compact();
  }

  /** An answer with the user's ids beside the row numbers, where there are such ids. */
  #named<Answer extends Neighbors>(answer: Answer): Answer & Named<Kind> {
    const { userIds } = this.#parts;
    if (userIds) (answer as { userIds?: unknown }).userIds = userIds.of(answer.ids);
    return answer as Answer & Named<Kind>;
  }

  /** Has each page carry the user's ids beside these of its row numbers, where there are such ids. */
  #namePages<Stream>(
    stream: JoinStream<NeighborPage> | JoinStream<RangePage> | JoinStream<PairPage> | JoinStream<GroupPage>,
    names: Readonly<Record<string, string>>,
  ): Stream {
    if (this.#parts.userIds) {
      stream.add((page) => {
        const { userIds } = this.#alive();
        const rows = page as unknown as Record<string, Uint32Array>;
        return Object.fromEntries(Object.entries(names).map(([name, of]) => [name, userIds?.of(rows[of])]));
      });
    }
    return stream as Stream;
  }

  /** The index as joins see it. */
  #joinable(options: VectorJoinOptions<Kind>): EngineJoins {
    return new EngineJoins(() => this.#alive(), options);
  }

  #alive(): EngineSearch {
    this.#life.checkAlive();
    return this.#parts;
  }

  /** Refuses a change while an asynchronous call is under way. */
  #idle(): EngineSearch {
    this.#life.checkIdle();
    return this.#parts;
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
