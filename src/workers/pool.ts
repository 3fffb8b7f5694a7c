import type {
  AsyncOptions,
  BuildOptions,
  CappedBatch,
  CappedNeighbors,
  Evaluation,
  FromOptions,
  GroupPage,
  IdKind,
  IdOf,
  IdsOf,
  IdsOption,
  KindOf,
  Metric,
  Named,
  NamedPairs,
  NamedRows,
  NeighborPage,
  Neighbors,
  PairPage,
  RadiusBatch,
  RadiusOptions,
  RangePage,
  SnapshotLimits,
  Storage,
  TuneOptions,
  TuningReport,
  VectorExplanation,
  VectorIndex,
  VectorIndexOptions,
  VectorJoinOptions,
  VectorPages,
  VectorSearchOptions,
} from '../index.js';
import { canShare, checkAsync, failure } from '../parallel.js';
import type { FileRows } from './file-rows.js';
import { PoolJoins } from './joins.js';
import type { About, Make } from './messages.js';
import { copyOf, searchBatch, searchFile, searchRadiusBatch } from './searches.js';
import { threadCount } from './threads.js';
import { Versions } from './versions.js';

/** How a pool runs. */
export interface PoolOptions {
  /** Threads; default: as many as the machine can run at a time. */
  threads?: number;
  /** Whether threads share one memory; default: where that is possible. `false`: each has a copy. */
  shared?: boolean;
  /** Makes a worker of the script `orthant/workers/worker.js`, where a bundler or a page needs a way of its own. */
  worker?: () => unknown;
}

/**
 * A VectorIndex with threads: the same answers, from a promise, and many searches at a time.
 *
 * Where memory can be shared (Node; a page that is cross-origin isolated) all threads read one index over one memory, and
 * build it together; elsewhere each has a copy. What is in an index never changes: a call that changes it makes the next
 * version on a copy and hands it out, so a search sees all of a change or nothing, and a thread that dies leaves no half.
 * The price is room for two versions, and a copy, for each change: add and remove many rows at a time.
 *
 * A thread that dies rejects the calls that it had (ERR_WORKER) and is replaced.
 *
 * Rows may have ids of your own, as in a VectorIndex; they are kept once, on the thread of the pool.
 */
export class WorkerPool<Kind extends IdKind = 'row'> {
  readonly #versions: Versions;
  readonly #joins: PoolJoins;

  private constructor(options: PoolOptions & { maxBytes?: number }) {
    const { threads = threadCount(), shared = canShare(), worker, maxBytes } = options;
    if (!Number.isInteger(threads) || threads < 1 || threads > 1024)
      throw failure('ERR_ARGUMENT_RANGE', `threads: expected an integer from 1 to 1024, got ${threads}`);
    if (shared && !canShare())
      throw failure(
        'ERR_ARGUMENT_RANGE',
        'shared: expected a place where threads can share memory, got another',
      );
    this.#versions = new Versions(threads, shared, maxBytes, worker);
    this.#joins = new PoolJoins(this.#versions);
  }

  /**
   * A pool with an index of these vectors: `VectorIndex.fromAsync`, by all threads. Vectors and ids are copied at once.
   *
   * @param options those of VectorIndex.fromAsync and of the pool.
   */
  static async from<Ids extends IdsOption = undefined>(
    vectors: Float32Array,
    options: FromOptions<Ids> & AsyncOptions & PoolOptions,
  ): Promise<WorkerPool<KindOf<Ids>>> {
    return WorkerPool.#open<KindOf<Ids>>(options, (isShared) => {
      const make: Extract<Make, { how: 'from' }> = {
        how: 'from',
        vectors: copyOf(vectors, isShared),
        options: plain(options) as unknown as VectorIndexOptions & BuildOptions,
      };
      return [make, vectors instanceof Float32Array && !isShared ? [make.vectors.buffer] : []];
    });
  }

  /**
   * A pool with the index that `save` wrote, of a pool or of a VectorIndex.
   *
   * @throws as VectorIndex.load.
   */
  static async load<Kind extends IdKind = 'row'>(
    bytes: Uint8Array,
    options: SnapshotLimits & AsyncOptions & PoolOptions = {},
  ): Promise<WorkerPool<Kind>> {
    return WorkerPool.#open<Kind>(options, () => [{ how: 'load', bytes, limits: plain(options) }, []]);
  }

  static async #open<Kind extends IdKind>(
    options: AsyncOptions & PoolOptions & { maxBytes?: number },
    prepare: (isShared: boolean) => [make: Make, transfer: object[]],
  ): Promise<WorkerPool<Kind>> {
    checkAsync(options);
    options.signal?.throwIfAborted();
    const pool = new WorkerPool<Kind>(options);
    try {
      const [make, transfer] = prepare(pool.isShared);
      await pool.#versions.changed(() => make, options, transfer);
      return pool;
    } catch (error) {
      pool.dispose();
      throw error;
    }
  }

  /** Whether the threads share one memory. */
  get isShared(): boolean {
    return this.#versions.isShared;
  }

  /** Threads of the pool. */
  get threads(): number {
    return this.#versions.members.all.length;
  }

  /** Number of rows, without those that were removed. */
  get size(): number {
    return this.#known.size;
  }

  /** Floats a vector. */
  get dimensions(): number {
    return this.#known.dimensions;
  }

  /** What "near" means. */
  get metric(): Metric {
    return this.#known.metric as Metric;
  }

  /** How rows are kept. */
  get storage(): Storage {
    return this.#known.storage as Storage;
  }

  /** What `id` means: `row` numbers, or ids of your own that are each a `string`, `bigint` or `number`. */
  get idKind(): Kind {
    void this.#known;
    return (this.#versions.names?.kind ?? 'row') as Kind;
  }

  /** Cells of the Voronoi hash. */
  get cells(): number {
    return this.#known.cells;
  }

  /** As VectorIndex.search, on the thread with the fewest calls. */
  search(query: Float32Array, options?: VectorSearchOptions<Kind>): Promise<CappedNeighbors & Named<Kind>> {
    return this.#named(() => this.#call<CappedNeighbors>('search', [query, this.#packed(options)]));
  }

  /** As VectorIndex.searchById. */
  searchById(id: IdOf<Kind>, options?: VectorSearchOptions<Kind>): Promise<Neighbors & Named<Kind>> {
    return this.#named(() => this.#call<Neighbors>('searchById', [id, this.#packed(options)], [id]));
  }

  /** As VectorIndex.searchRadius. */
  searchRadius(
    query: Float32Array,
    radius: number,
    options?: RadiusOptions<Kind>,
  ): Promise<Neighbors & Named<Kind>> {
    return this.#named(() => this.#call<Neighbors>('searchRadius', [query, radius, this.#packed(options)]));
  }

  /** As VectorIndex.searchRadiusBatch, by all threads. */
  searchRadiusBatch(
    queries: Float32Array,
    radius: number,
    options?: RadiusOptions<Kind>,
  ): Promise<RadiusBatch & Named<Kind>> {
    return this.#named(() => searchRadiusBatch(this.#versions, queries, radius, options));
  }

  /**
   * As VectorIndex.neighborGraph, by all threads: the same pages, in the same order, for `for await`. A few pages are under
   * way at a time, and a thread does one at a go: `pageRows` is also how long other calls wait. With a filter a page has those
   * of `pageRows` rows that pass.
   *
   * A change of the index while a loop is under way ends it (TypeError, ERR_CHANGED); so does the end of a thread
   * (ERR_WORKER).
   */
  neighborGraph(
    options: VectorJoinOptions<Kind> & { k: number },
  ): AsyncIterable<NeighborPage & Named<Kind> & NamedRows<Kind>> {
    return this.#joins.neighborGraph(options as Rows<typeof options>) as never;
  }

  /** As VectorIndex.selfJoin, by all threads: the same pairs in the same order. The rest as neighborGraph. */
  selfJoin(
    options: VectorJoinOptions<Kind> & { radius: number },
  ): AsyncIterable<PairPage & NamedPairs<Kind>> {
    return this.#joins.selfJoin(options as Rows<typeof options>) as never;
  }

  /**
   * As VectorIndex.duplicates, by all threads: the same groups. Each thread looks at its share of the rows; for every share
   * under way it takes about 40 bytes a row of the index.
   */
  duplicates(options: VectorJoinOptions<Kind> & { radius: number }): AsyncIterable<GroupPage & Named<Kind>> {
    return this.#joins.duplicates(options as Rows<typeof options>) as never;
  }

  /**
   * As VectorIndex.join, by all threads; `other` may be an index of this thread, queries, or pages of them. With a radius
   * a page has `pageRows` queries, however many neighbors those have.
   */
  join<Other extends IdKind = 'row'>(
    other: VectorIndex<Other> | Float32Array | VectorPages,
    options: VectorJoinOptions<Kind> & { k: number },
  ): AsyncIterable<NeighborPage & Named<Kind> & NamedRows<Other>>;
  join<Other extends IdKind = 'row'>(
    other: VectorIndex<Other> | Float32Array | VectorPages,
    options: VectorJoinOptions<Kind> & { radius: number },
  ): AsyncIterable<RangePage & Named<Kind> & NamedRows<Other>>;
  join(
    other: VectorIndex<IdKind> | Float32Array | VectorPages,
    options: VectorJoinOptions<Kind> & { k?: number; radius?: number },
  ): AsyncIterable<NeighborPage | RangePage> {
    return this.#joins.join(other, options as Rows<typeof options>);
  }

  /** As VectorIndex.evaluate. */
  async evaluate(
    queries: Float32Array,
    options?: VectorSearchOptions<Kind> & { truth?: Uint32Array | Int32Array },
  ): Promise<Evaluation> {
    return this.#call<Evaluation>('evaluate', [queries, this.#packed(options)]);
  }

  /** As VectorIndex.explain. */
  explain(
    query: Float32Array,
    options?: VectorSearchOptions<Kind> & { id?: IdOf<Kind> },
  ): Promise<VectorExplanation & Named<Kind>> {
    const about = options?.id === undefined ? undefined : [options.id];
    return this.#named(() => this.#call('explain', [query, this.#packed(options)], about));
  }

  /** As VectorIndex.vector. */
  vector(id: IdOf<Kind>): Promise<Float32Array> {
    return this.#call('vector', [id], [id]);
  }

  /** As VectorIndex.get. */
  get(id: IdOf<Kind>): Promise<Float32Array | undefined> {
    return this.#call('get', [id], [id]);
  }

  /** As VectorIndex.has. */
  has(id: IdOf<Kind>): Promise<boolean> {
    return this.#call('has', [id], [id]);
  }

  /** As VectorIndex.rowOf. */
  rowOf(id: IdOf<Kind>): Promise<number | undefined> {
    return this.#call('rowOf', [id], [id]);
  }

  /** As VectorIndex.idOf. */
  async idOf(row: number): Promise<IdOf<Kind> | undefined> {
    void this.#known;
    const { names } = this.#versions;
    if (names) return names.idOf(row) as IdOf<Kind> | undefined;
    return this.#call('idOf', [row]);
  }

  /**
   * As VectorIndex.searchBatch, by all threads: each takes a few queries at a time until there are no more. Queries are copied
   * at once, but for those over a SharedArrayBuffer, which threads that share memory read where they are: leave them as they
   * are until the promise is settled.
   */
  searchBatch(
    queries: Float32Array,
    options: VectorSearchOptions<Kind> = {},
  ): Promise<CappedBatch & Named<Kind>> {
    return this.#named(() => searchBatch(this.#versions, queries, options as VectorSearchOptions));
  }

  /**
   * As searchBatch, of rows that lie in a file, in Node: each thread reads those that it takes, so that a file of any size
   * passes by without a copy of it.
   *
   * @throws {TypeError} ERR_LENGTH where the file ends before its last row.
   */
  searchFile(file: FileRows, options: VectorSearchOptions<Kind> = {}): Promise<CappedBatch & Named<Kind>> {
    return this.#named(() => searchFile(this.#versions, file, options as VectorSearchOptions));
  }

  /** As VectorIndex.add: resolves with the first new row once every later search knows the rows. Copies the index. */
  add(vectors: Float32Array, ids?: IdsOf<Kind>): Promise<number> {
    return this.#changedRows('add', [copyOf(vectors, this.isShared), copyIds(ids)], 1);
  }

  /** As VectorIndex.set. Copies the index. */
  set(id: IdOf<Kind>, vector: Float32Array): Promise<number> {
    return this.#changedRows('set', [id, copyOf(vector, this.isShared)]);
  }

  /** As VectorIndex.setMany. Copies the index. */
  setMany(ids: IdsOf<Kind> | ArrayLike<IdOf<Kind>>, vectors: Float32Array): Promise<void> {
    return this.#changedRows('setMany', [copyIds(ids), copyOf(vectors, this.isShared)]);
  }

  /** As VectorIndex.remove. Copies the index. */
  remove(ids: IdOf<Kind> | IdsOf<Kind> | ArrayLike<IdOf<Kind>>): Promise<number> {
    return this.#changedRows('remove', [copyIds(ids)]);
  }

  /** As VectorIndex.delete. Copies the index. */
  delete(id: IdOf<Kind>): Promise<boolean> {
    return this.#changedRows('delete', [id]);
  }

  /** As VectorIndex.update. Copies the index. */
  update(id: IdOf<Kind>, vector: Float32Array): Promise<void> {
    return this.#changedRows('update', [id, copyOf(vector, this.isShared)]);
  }

  /** A change of rows whose ids, one or many, are its argument at a place. */
  #changedRows<T>(how: Extract<Make, { given: unknown }>['how'], args: unknown[], place = 0): Promise<T> {
    const ids = args[place];
    const given = ids === undefined ? [] : isList(ids) ? ids : [ids];
    const make = (): Make => ({ how, args, given, known: this.#versions.names?.knownOf(given) });
    return this.#versions.changed(make) as Promise<T>;
  }

  /** As VectorIndex.compact. */
  compact(): Promise<{ rows: number; bytes: number }> {
    return this.#versions.changed(() => ({ how: 'compact', args: [] })) as Promise<{
      rows: number;
      bytes: number;
    }>;
  }

  /** As VectorIndex.tune. */
  tune(options: TuneOptions = {}): Promise<TuningReport> {
    return this.#versions.changed(() => ({ how: 'tune', args: [options] })) as Promise<TuningReport>;
  }

  /**
   * As VectorIndex.buildAsync, by all threads where they share a memory. Searches are answered from the index as it was
   * until the new one takes its place; those on the thread that leads the build wait a little longer.
   */
  async build(options: BuildOptions & AsyncOptions = {}): Promise<void> {
    await this.#versions.changed(() => ({ how: 'build', options: plain(options) }), options);
  }

  /** The bytes that VectorIndex.save gives. */
  save(): Promise<Uint8Array> {
    return this.#call('save', [], 'all');
  }

  /** Ends all threads at once. Calls that wait reject (ERR_DISPOSED), as does any later one. */
  dispose(): void {
    this.#versions.members.stop(failure('ERR_DISPOSED', 'pool: expected a live pool, got a disposed one'));
  }

  /** `dispose()`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  get #known(): About {
    return this.#versions.known;
  }

  #packed<Options extends object | undefined>(options: Options): Options {
    return this.#versions.packed(options);
  }

  /** Calls a method of the index; `about`: ids that it is about. */
  #call<T>(method: string, args: unknown[], about?: unknown[] | 'all'): Promise<T> {
    return this.#versions.call<T>(method, args, about);
  }

  /** An answer with the user's ids beside the row numbers, where there are such ids. */
  async #named<Answer>(call: () => Promise<Answer>): Promise<Answer & Named<Kind>> {
    const { names } = this.#versions;
    return (await (names ? names.name(call) : call())) as Answer & Named<Kind>;
  }
}

/** Options without the kind of the ids that a filter of theirs is asked about. */
type Rows<Options extends object> = Omit<Options, 'filter'> & Pick<VectorJoinOptions, 'filter'>;

function isList(value: unknown): value is ArrayLike<unknown> {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
}

/** Ids as they are now; what is no list of them as it is. */
function copyIds(ids: unknown): unknown {
  return isList(ids) ? (ids as unknown[]).slice() : ids;
}

/** Options without what is for this thread only. */
function plain<Options extends AsyncOptions & PoolOptions>(
  options: Options,
): Omit<Options, keyof AsyncOptions | keyof PoolOptions> {
  const {
    onProgress: _,
    signal: _signal,
    sliceMs: _ms,
    threads: _n,
    shared: _shared,
    worker: _worker,
    ...rest
  } = options;
  return rest;
}
