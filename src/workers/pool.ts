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
  Progress,
  RadiusBatch,
  RadiusOptions,
  RangePage,
  SnapshotLimits,
  Storage,
  TuneOptions,
  TuningReport,
  VectorExplanation,
  VectorIndexOptions,
  VectorJoinOptions,
  VectorPages,
  VectorSearchOptions,
} from '../index.js';
import {
  CHANGED,
  canShare,
  checkAsync,
  checkJoin,
  checkK,
  checkRadius,
  checkRows,
  failure,
  PAGE_PLACES,
  packOptions,
  pageRowsOf,
  rowsOf,
  UnitedGroups,
  VectorIndex,
  Windows,
} from '../parallel.js';
import { concatRanges, inOrder, joinPages, regroup, stretches } from './joins.js';
import {
  type About,
  type Batch,
  type Make,
  packError,
  type Request,
  type Response,
  unpackError,
  type Version,
} from './messages.js';
import { PoolNames } from './names.js';
import { startThread, type Thread, threadCount } from './threads.js';

/** Queries that one thread takes of a batch at a time, and from how many on several threads share it. */
const PART = 16;
const LEAST_SHARED = 2 * PART;
/** Rows of a part of a join of pairs, and parts that are under way for each thread. */
const PAIR_ROWS = 512;
const AHEAD = 2;
/** Places of a batch's results that the threads share; the index itself refuses more than 2^29. */
const MOST_PLACES = 2 ** 29;
/** A window grows as often as it takes, up to this. */
const MOST_WINDOW_BYTES = 2 ** 31;

/** How a pool runs. */
export interface PoolOptions {
  /** Threads; default: as many as the machine can run at a time. */
  threads?: number;
  /** Whether threads share one memory; default: where that is possible. `false`: each has a copy. */
  shared?: boolean;
  /** Makes a worker of the script `orthant/workers/worker.js`, where a bundler or a page needs a way of its own. */
  worker?: () => unknown;
}

type FromMake = Extract<Make, { how: 'from' }>;
type ChangeOfRows = Extract<Make, { given: unknown }>;

/** A search that a join is made of, without its queries. */
interface SearchCall {
  method: 'searchBatch' | 'searchRadiusBatch';
  args: unknown[];
}

interface Call {
  resolve(response: Response): void;
  reject(error: unknown): void;
  onProgress?: (progress: Progress) => void;
}

/** A thread and what it has been asked and not answered. */
interface Member {
  thread: Thread;
  calls: Map<number, Call>;
  isReady: boolean;
  windowBytes: number;
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
  /** Whether the threads share one memory. */
  readonly isShared: boolean;
  #members: Member[] = [];
  #make: (() => unknown) | undefined;
  #version: Version | null = null;
  #windows: Windows | null = null;
  #about: About | null = null;
  /** The user's ids of the rows, where there are such ids. */
  #names: PoolNames | undefined;
  #windowBytes = 0;
  /** What an index may take; a snapshot does not tell. */
  #maxBytes: number | undefined;
  #nextId = 1;
  /** The last change that was asked for: the next one waits for it. */
  #changes: Promise<unknown> = Promise.resolve();
  /** Ends the change under way, and the threads that are at it. */
  #endChange: ((error: Error) => void) | null = null;
  #changing: readonly Member[] = [];
  /** Batches that are handed out in parts, which must all go to one version. */
  #batches: Set<Promise<unknown>> = new Set();
  #publishing: Promise<unknown> | null = null;
  #end: Error | null = null;

  private constructor(options: PoolOptions) {
    const { threads = threadCount(), shared = canShare(), worker } = options;
    if (!Number.isInteger(threads) || threads < 1 || threads > 1024)
      throw failure('ERR_ARGUMENT_RANGE', `threads: expected an integer from 1 to 1024, got ${threads}`);
    if (shared && !canShare())
      throw failure(
        'ERR_ARGUMENT_RANGE',
        'shared: expected a place where threads can share memory, got another',
      );
    this.isShared = shared;
    this.#make = worker;
    for (let i = 0; i < threads; i++) this.#start(i);
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
      const make: FromMake = {
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
      pool.#maxBytes = options.maxBytes;
      await pool.#change(make, options, transfer);
      return pool;
    } catch (error) {
      pool.dispose();
      throw error;
    }
  }

  /** Threads of the pool. */
  get threads(): number {
    return this.#members.length;
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
    return (this.#names?.kind ?? 'row') as Kind;
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
    return this.#named(() => this.#searchRadiusBatch(queries, radius, options));
  }

  async #searchRadiusBatch(
    queries: Float32Array,
    radius: number,
    options?: RadiusOptions<Kind>,
  ): Promise<RadiusBatch> {
    const packed = this.#packed(options);
    const { dimensions } = this.#known;
    const count = queries instanceof Float32Array ? queries.length / dimensions : 0;
    const whole = (): Promise<RadiusBatch> =>
      this.#call<RadiusBatch>('searchRadiusBatch', [queries, radius, packed]);
    if (!Number.isInteger(count) || count < LEAST_SHARED || this.#members.length === 1) return whole();
    const each = Math.max(PART, Math.ceil(count / (8 * this.#members.length)));
    const tasks = [...stretches(count, each)].map(([first, end]) => {
      const some = queries.slice(first * dimensions, end * dimensions);
      return () => this.#call<RadiusBatch>('searchRadiusBatch', [some, radius, packed]);
    });
    const version = this.#version;
    const parts: RadiusBatch[] = [];
    try {
      for await (const part of inOrder(tasks, AHEAD * this.#members.length, undefined)) parts.push(part);
    } catch (error) {
      if ((error as { code?: string }).code === 'ERR_WORKER') throw error;
      return whole(); // the rows that an error names are then those of the whole batch
    }
    // All answers are those of one version.
    return version === this.#version ? concatRanges(parts) : whole();
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
    const each = pageRowsOf(options, checkK(options?.k));
    const names = { userIds: 'ids', rowUserIds: 'rows' };
    return this.#pages(options, names, () => flat(this.#parts<NeighborPage>('neighborGraph', options, each)));
  }

  /** As VectorIndex.selfJoin, by all threads: the same pairs in the same order. The rest as neighborGraph. */
  selfJoin(
    options: VectorJoinOptions<Kind> & { radius: number },
  ): AsyncIterable<PairPage & NamedPairs<Kind>> {
    checkRadius(options?.radius, this.metric === 'inner-product');
    const least = pageRowsOf(options, 1, PAGE_PLACES);
    return this.#pages(options, { aUserIds: 'a', bUserIds: 'b' }, () =>
      joinPages(this.#parts<PairPage>('selfJoin', options, PAIR_ROWS), least),
    );
  }

  /**
   * As VectorIndex.duplicates, by all threads: the same groups. Each thread looks at its share of the rows; for every share
   * under way it takes about 40 bytes a row of the index.
   */
  duplicates(options: VectorJoinOptions<Kind> & { radius: number }): AsyncIterable<GroupPage & Named<Kind>> {
    checkRadius(options?.radius, this.metric === 'inner-product');
    const pageIds = pageRowsOf(options, 1, PAGE_PLACES);
    return this.#pages(options, { userIds: 'ids' }, () => this.#groups(options, pageIds));
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
    checkJoin(options);
    const { k, radius, recall, exact, filter } = options;
    // Of the rows that pass now, whatever becomes of the filter.
    const ways = (): object => this.#packed({ recall, exact, filter });
    const how = (): SearchCall =>
      k === undefined
        ? { method: 'searchRadiusBatch', args: [radius, ways()] }
        : { method: 'searchBatch', args: [{ k: checkK(k), ...ways() }] };
    if (k !== undefined) checkK(k);
    if (k === undefined) checkRadius(radius, this.metric === 'inner-product');
    const each = pageRowsOf(options, k ?? 1);
    const { dimensions } = this;
    if (other instanceof Float32Array) checkRows('other', other, dimensions);
    else if (other instanceof VectorIndex && other.dimensions !== dimensions)
      throw failure(
        'ERR_ARGUMENT_RANGE',
        `other: expected an index of ${dimensions} dimensions, got one of ${other.dimensions}`,
      );
    else if (
      typeof other !== 'object' ||
      other === null ||
      !(other instanceof VectorIndex || Symbol.iterator in other || Symbol.asyncIterator in other)
    )
      throw failure(
        'ERR_ARGUMENT_TYPE',
        'other: expected an index, a Float32Array or pages of them, got something else',
      );
    return this.#pages(options, { userIds: 'ids' }, () => this.#joined(other, how(), each, options));
  }

  async *#joined(
    other: VectorIndex<IdKind> | Float32Array | VectorPages,
    { method, args }: SearchCall,
    each: number,
    { signal }: AsyncOptions,
  ): AsyncGenerator<NeighborPage | RangePage, void, undefined> {
    const pool = this;
    const { dimensions } = this.#known;
    const version = this.#version;
    const tasks = async function* (): AsyncGenerator<() => Promise<NeighborPage | RangePage>> {
      const task = (rows: Uint32Array, queries: Float32Array) => async () => {
        const found = await pool.#unchanged(version, () =>
          pool.#call<CappedBatch & Named<Kind>>(method, [queries, ...args]),
        );
        const { capped: _, userIds: _ids, ...page } = found;
        if (!(other instanceof VectorIndex) || other.idKind === 'row') return { rows, ...page };
        return { rows, ...page, rowUserIds: Array.from(rows, (row) => other.idOf(row)) };
      };
      if (other instanceof VectorIndex) {
        for (const { rows, queries } of rowsOf(other, each)) yield task(rows, queries);
        return;
      }
      const pages = other instanceof Float32Array ? [other] : other;
      let first = 0;
      const check = (page: Float32Array, number: number): void =>
        void checkRows(`page ${number} of other`, page, dimensions);
      for await (const queries of regroup(pages, dimensions, each, check)) {
        const count = queries.length / dimensions;
        const from = first;
        first += count;
        yield task(
          Uint32Array.from({ length: count }, (_, i) => from + i),
          queries,
        );
      }
    };
    yield* inOrder(tasks(), AHEAD * this.#members.length, signal);
  }

  async *#groups(
    options: VectorJoinOptions<Kind>,
    pageIds: number,
  ): AsyncGenerator<GroupPage, void, undefined> {
    const { size, ids } = this.#known;
    const groups = new UnitedGroups(ids);
    const each = Math.max(PAIR_ROWS, Math.ceil(size / (2 * this.#members.length)));
    for await (const pages of this.#parts<GroupPage>('duplicates', options, each))
      for (const page of pages) groups.add(page);
    for (const page of groups.pages(pageIds)) if (page) yield page;
  }

  /** A join in parts of so many rows: the pages of each, in order. */
  async *#parts<Page>(
    join: 'neighborGraph' | 'selfJoin' | 'duplicates',
    options: VectorJoinOptions<Kind>,
    each: number,
  ): AsyncGenerator<Page[], void, undefined> {
    const { onProgress, signal, sliceMs: _, ...packed } = this.#packed(options);
    const others = packed as VectorJoinOptions; // a filter by the user's ids is a bitmap now
    const total = this.#known.size;
    const version = this.#version;
    const tasks = Array.from(stretches(total, each), ([first, end]) => async () => {
      const member = this.#idlest;
      const request = (id: number): Request => ({ kind: 'join', id, join, options: others, first, end });
      return (await this.#unchanged(version, () => this.#ask(member, request))).result as Page[];
    });
    let done = 0;
    for await (const pages of inOrder(tasks, AHEAD * this.#members.length, signal)) {
      done = Math.min(total, done + each);
      onProgress?.({ phase: 'join', done, total });
      yield pages;
    }
  }

  /** What a call gives, if the index is the same before and after. */
  async #unchanged<T>(version: Version | null, call: () => Promise<T>): Promise<T> {
    if (this.#end) throw this.#end;
    if (version !== this.#version) throw failure('ERR_CHANGED', CHANGED);
    const result = await call();
    if (this.#end) throw this.#end;
    if (version !== this.#version) throw failure('ERR_CHANGED', CHANGED);
    return result;
  }

  /** The pages of a join, with the user's ids beside these of their row numbers, where there are such ids. */
  #pages<Page extends object, NamedPage>(
    options: AsyncOptions,
    names: Readonly<Record<string, string>>,
    start: () => AsyncGenerator<Page, void, undefined>,
  ): AsyncIterable<NamedPage> {
    checkAsync(options);
    if (this.#end) throw this.#end;
    const pool = this;
    const named = async function* (): AsyncGenerator<NamedPage, void, undefined> {
      for await (const page of start()) {
        const rows = page as unknown as Record<string, Uint32Array>;
        for (const [name, of] of Object.entries(pool.#names ? names : {}))
          (page as Record<string, unknown>)[name] = Array.from(rows[of], (row) => pool.#names?.idOf(row));
        yield page as unknown as NamedPage;
      }
    };
    return { [Symbol.asyncIterator]: named };
  }

  #packed<Options extends object | undefined>(options: Options): Options {
    const names = this.#names;
    return packOptions(options, this.#known.ids, names && ((row) => names.idOf(row)));
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
    if (this.#names) return this.#names.idOf(row) as IdOf<Kind> | undefined;
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
    return this.#named(() => this.#searchBatch(queries, options));
  }

  async #searchBatch(queries: Float32Array, given: VectorSearchOptions<Kind>): Promise<CappedBatch> {
    const { dimensions } = this.#known;
    const options = this.#packed(given) as VectorSearchOptions;
    const k = options?.k ?? 10;
    const count = queries instanceof Float32Array ? queries.length / dimensions : 0;
    const isPlain = Number.isInteger(count) && Number.isInteger(k) && k > 0 && count * k <= MOST_PLACES;
    const whole = (): Promise<CappedBatch> => this.#call<CappedBatch>('searchBatch', [queries, options]);
    // Anything out of the ordinary goes to the index itself, which has the right word for it.
    if (!isPlain || count < LEAST_SHARED || this.#members.length === 1) return whole();
    try {
      if (this.isShared) return await this.#searchTogether(queries, options, count, k);
      while (this.#publishing) await this.#publishing;
      const found = this.#searchParts(queries, options, count, k);
      const ended = found.catch(() => {});
      this.#batches.add(ended);
      try {
        return await found;
      } finally {
        this.#batches.delete(ended);
      }
    } catch (error) {
      if ((error as { code?: string }).code === 'ERR_WORKER') throw error;
      return whole(); // the rows that an error names are then those of the whole batch
    }
  }

  async #searchTogether(
    queries: Float32Array,
    options: VectorSearchOptions,
    count: number,
    k: number,
  ): Promise<CappedBatch> {
    const batch: Batch = {
      queries: queries.buffer instanceof SharedArrayBuffer ? queries : copyOf(queries, true),
      dimensions: this.#known.dimensions,
      ...{ options, k, threads: this.#members.length },
      next: new Int32Array(new SharedArrayBuffer(4)),
      ids: new Uint32Array(new SharedArrayBuffer(count * k * 4)),
      distances: new Float32Array(new SharedArrayBuffer(count * k * 4)),
      counts: new Uint32Array(new SharedArrayBuffer(count * 4)),
      capped: new Uint8Array(new SharedArrayBuffer(count)),
    };
    try {
      await Promise.all(
        this.#members.map((member) => this.#post(member, (id) => ({ kind: 'batch', id, batch }))),
      );
    } catch (error) {
      // The part that found no room is lost with what it had taken: all of the batch again.
      if (!this.#members.map((member) => this.#widen(member, error)).includes(true)) throw error;
      return this.#searchTogether(queries, options, count, k);
    }
    const { ids, distances, counts, capped } = batch;
    const found: CappedBatch = { ids: ids.slice(), distances: distances.slice(), counts: counts.slice() };
    if (capped.includes(1)) found.capped = capped.slice();
    return found;
  }

  async #searchParts(
    queries: Float32Array,
    options: VectorSearchOptions,
    count: number,
    k: number,
  ): Promise<CappedBatch> {
    const { dimensions } = this.#known;
    const found: CappedBatch = {
      ids: new Uint32Array(count * k),
      distances: new Float32Array(count * k),
      counts: new Uint32Array(count),
    };
    const part = Math.max(PART, Math.ceil(count / (8 * this.#members.length)));
    let next = 0;
    // Two parts ahead for each thread, so that none waits for this one.
    const take = async (member: Member): Promise<void> => {
      while (next < count) {
        const first = next;
        const end = Math.min(count, first + part);
        next = end;
        const args = [queries.slice(first * dimensions, end * dimensions), options];
        const some = (await this.#ask(member, (id) => ({ kind: 'call', id, method: 'searchBatch', args })))
          .result as CappedBatch;
        found.ids.set(some.ids, first * k);
        found.distances.set(some.distances, first * k);
        found.counts.set(some.counts, first);
        if (some.capped) {
          found.capped ??= new Uint8Array(count);
          found.capped.set(some.capped, first);
        }
      }
    };
    await Promise.all(this.#members.flatMap((member) => [take(member), take(member)]));
    return found;
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
  #changedRows<T>(how: ChangeOfRows['how'], args: unknown[], place = 0): Promise<T> {
    const ids = args[place];
    const given = ids === undefined ? [] : isList(ids) ? ids : [ids];
    return this.#changed(() => ({ how, args, given, known: this.#names?.knownOf(given) })) as Promise<T>;
  }

  /** As VectorIndex.compact. */
  compact(): Promise<{ rows: number; bytes: number }> {
    return this.#changed(() => ({ how: 'compact', args: [] })) as Promise<{ rows: number; bytes: number }>;
  }

  /** As VectorIndex.tune. */
  tune(options: TuneOptions = {}): Promise<TuningReport> {
    return this.#changed(() => ({ how: 'tune', args: [options] })) as Promise<TuningReport>;
  }

  /**
   * As VectorIndex.buildAsync, by all threads where they share a memory. Searches are answered from the index as it was
   * until the new one takes its place; those on the thread that leads the build wait a little longer.
   */
  async build(options: BuildOptions & AsyncOptions = {}): Promise<void> {
    await this.#changed(() => ({ how: 'build', options: plain(options) }), options);
  }

  /** The bytes that VectorIndex.save gives. */
  save(): Promise<Uint8Array> {
    return this.#call('save', [], 'all');
  }

  /** Ends all threads at once. Calls that wait reject (ERR_DISPOSED), as does any later one. */
  dispose(): void {
    this.#stop(failure('ERR_DISPOSED', 'pool: expected a live pool, got a disposed one'));
  }

  /** `dispose()`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #stop(error: Error): void {
    if (this.#end) return;
    this.#end = error;
    this.#endChange?.(error);
    for (const { thread, calls } of this.#members) {
      thread.end();
      for (const call of calls.values()) call.reject(error);
      calls.clear();
    }
    this.#version = null;
    this.#windows = null;
  }

  get #known(): About {
    if (this.#end) throw this.#end;
    return this.#about as About;
  }

  #start(place: number): void {
    const member: Member = {
      thread: startThread(
        {
          message: (data) => this.#receive(member, data as Response),
          crash: (error) => this.#replace(place, member, error),
        },
        this.#make,
      ),
      calls: new Map(),
      isReady: false,
      windowBytes: 0,
    };
    this.#members[place] = member;
  }

  #replace(place: number, member: Member, cause: Error): void {
    if (this.#end || this.#members[place] !== member) return;
    const message = `worker: expected it to answer, got its end: ${cause.message}`;
    const error = Object.assign(failure('ERR_WORKER', message), { cause });
    if (!member.isReady) {
      // It never ran: another would fare no better.
      this.#stop(error);
      return;
    }
    this.#start(place);
    // A build may wait for parts that this one had taken.
    if (this.#changing.includes(member)) this.#endChange?.(error);
    for (const call of member.calls.values()) call.reject(error);
    if (this.#version) this.#tell(place);
  }

  #receive(member: Member, response: Response): void {
    if (response.kind === 'ready') {
      member.isReady = true;
      return;
    }
    const call = member.calls.get(response.id);
    if (call === undefined) return;
    if (response.kind === 'progress') {
      try {
        call.onProgress?.(response.progress as Progress);
      } catch (error) {
        call.reject(error);
      }
      return;
    }
    member.calls.delete(response.id);
    if (response.kind === 'error') call.reject(unpackError(response.error));
    else call.resolve(response);
  }

  /** Sends the present version to a thread, with a window of its own. */
  #tell(place: number): void {
    const member = this.#members[place];
    const version = this.#version as Version;
    member.windowBytes = Math.max(member.windowBytes, this.#windowBytes);
    const window = this.#windows?.reserve(place, member.windowBytes);
    this.#send(member, { kind: 'version', version, window });
  }

  #send(member: Member, request: Request, transfer: readonly object[] = []): void {
    try {
      member.thread.post(request, transfer);
    } catch (error) {
      const message = `arguments: expected what can be sent to a worker (no functions, live arrays), got ${(error as Error).message}`;
      throw Object.assign(new TypeError(message), { code: 'ERR_ARGUMENT_TYPE' });
    }
  }

  /** Asks a thread; a window that turns out too small is made larger, and it is asked again. */
  async #ask(
    member: Member,
    request: (id: number) => Request,
  ): Promise<Extract<Response, { kind: 'result' }>> {
    for (;;) {
      if (this.#end) throw this.#end;
      try {
        return (await this.#post(member, request)) as Extract<Response, { kind: 'result' }>;
      } catch (error) {
        if (!this.#widen(member, error)) throw error;
      }
    }
  }

  /** Gives a thread a larger window if too small a one was the cause of an error; whether it did. */
  #widen(member: Member, error: unknown): boolean {
    const { code, needed } = error as { code?: string; needed?: number };
    const place = this.#members.indexOf(member);
    if (code !== 'ERR_OUT_OF_MEMORY' || this.#windows === null || place < 0) return false;
    const bytes = Math.max(2 * member.windowBytes, member.windowBytes + 2 * (needed ?? 0));
    if (bytes > MOST_WINDOW_BYTES) return false;
    member.windowBytes = bytes;
    this.#tell(place);
    return true;
  }

  #post(
    member: Member,
    request: (id: number) => Request,
    onProgress?: Call['onProgress'],
    transfer?: readonly object[],
  ): Promise<Response> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      member.calls.set(id, { resolve, reject, onProgress });
      try {
        this.#send(member, request(id), transfer);
      } catch (error) {
        member.calls.delete(id);
        reject(error);
      }
    });
  }

  /** The thread with the fewest calls. */
  get #idlest(): Member {
    return this.#members.reduce((a, b) => (b.calls.size < a.calls.size ? b : a));
  }

  /** Calls a method of the index; `about`: ids that it is about. */
  async #call<T>(method: string, args: unknown[], about?: unknown[] | 'all'): Promise<T> {
    if (this.#end) throw this.#end;
    const answer = await this.#ask(this.#idlest, (id) => ({
      ...{ kind: 'call', id, method, args },
      known: about === 'all' ? this.#names?.all(this.#known.ids) : about && this.#names?.knownOf(about),
    }));
    return answer.result as T;
  }

  /** An answer with the user's ids beside the row numbers, where there are such ids. */
  async #named<Answer>(call: () => Promise<Answer>): Promise<Answer & Named<Kind>> {
    return (await (this.#names ? this.#names.name(call) : call())) as Answer & Named<Kind>;
  }

  /** A change waits for those before it, whatever became of them. */
  #changed(make: () => Make, options: AsyncOptions = {}): Promise<unknown> {
    const run = (): Promise<unknown> => this.#change(make(), options);
    const changed = this.#changes.then(run, run);
    this.#changes = changed.catch(() => {});
    return changed;
  }

  /** Has a thread make the next version, and hands it to all. */
  async #change(make: Make, options: AsyncOptions, transfer: readonly object[] = []): Promise<unknown> {
    checkAsync(options);
    const { signal, onProgress } = options;
    signal?.throwIfAborted();
    if (this.#end) throw this.#end;
    const [leader, ...others] = [...this.#members].sort((a, b) => a.calls.size - b.calls.size);
    const helpers = this.isShared && (make.how === 'from' || make.how === 'build') ? others : [];
    const channels = helpers.map(() => new MessageChannel());
    helpers.forEach((member, thread) => {
      const port = channels[thread].port1;
      this.#send(member, { kind: 'help', port, thread }, [port]);
    });
    let id = 0;
    const ports = channels.map(({ port2 }) => port2);
    const giveUp = (reason: unknown): void => {
      const call = leader.calls.get(id);
      if (call === undefined) return;
      leader.calls.delete(id);
      if (!this.#end && this.#members.includes(leader))
        this.#send(leader, { kind: 'abort', id, reason: packError(reason) });
      call.reject(reason);
    };
    const abort = (): void => giveUp(signal?.reason);
    this.#endChange = giveUp;
    this.#changing = [leader, ...helpers];
    signal?.addEventListener('abort', abort, { once: true });
    try {
      const request = (given: number): Request => {
        id = given;
        return { kind: 'make', id, make, shared: this.isShared, from: this.#version, helpers: ports };
      };
      const made = await this.#post(leader, request, onProgress, [...transfer, ...ports]);
      const { version, about, windowBytes, result, named } = made as Extract<Response, { kind: 'made' }>;
      const windows = version.state ? new Windows(version.state) : null;
      this.#changing = [];
      while (this.#batches.size > 0) {
        this.#publishing = Promise.all(this.#batches);
        await this.#publishing;
      }
      this.#publishing = null;
      if (this.#end) throw this.#end;
      this.#version = version.state ? version : { ...version, maxBytes: this.#maxBytes };
      this.#windows = windows;
      this.#about = about;
      this.#windowBytes = windowBytes;
      for (let place = 0; place < this.#members.length; place++) this.#tell(place);
      if (named instanceof Float64Array) this.#names?.apply((make as ChangeOfRows).given, named);
      else if (named) this.#names = new PoolNames(named);
      return result;
    } finally {
      this.#endChange = null;
      this.#changing = [];
      signal?.removeEventListener('abort', abort);
    }
  }
}

async function* flat<Page>(lists: AsyncIterable<readonly Page[]>): AsyncGenerator<Page, void, undefined> {
  for await (const pages of lists) yield* pages;
}

/** A copy on a buffer of its own: what is sent is the whole buffer, however little of it a view shows. */
function copyOf(vectors: Float32Array, isShared: boolean): Float32Array {
  if (!(vectors instanceof Float32Array)) return vectors; // the index says what is wrong with it
  if (!isShared) return vectors.slice();
  const copy = new Float32Array(new SharedArrayBuffer(vectors.byteLength));
  copy.set(vectors);
  return copy;
}

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
