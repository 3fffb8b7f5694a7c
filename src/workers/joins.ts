import {
  type AsyncOptions,
  type CappedBatch,
  type GroupPage,
  type IdKind,
  type NeighborPage,
  type PairPage,
  type RangePage,
  VectorIndex,
  type VectorJoinOptions,
  type VectorPages,
} from '../index.js';
import {
  checkAsync,
  checkJoin,
  checkK,
  checkRadius,
  checkRows,
  failure,
  PAGE_PLACES,
  pageRowsOf,
  rowsOf,
  UnitedGroups,
} from '../parallel.js';
import type { Request } from './messages.js';
import { inOrder, joinPages, regroup, stretches } from './pages.js';
import type { Versions } from './versions.js';

/** Rows of a part of a join of pairs, and parts that are under way for each thread. */
const PAIR_ROWS = 512;
const AHEAD = 2;

/** The rows of another side: an index of this thread, queries, or pages of them. */
type Other = VectorIndex<IdKind> | Float32Array | VectorPages;

/** A search that a join is made of, without its queries. */
interface SearchCall {
  method: 'searchBatch' | 'searchRadiusBatch';
  args: unknown[];
}

type Pages<Page> = AsyncGenerator<Page, void, undefined>;

/** Joins by all threads of a pool: the pages that an index gives, in the same order, a few of them under way at a time. */
export class PoolJoins {
  readonly #versions: Versions;

  constructor(versions: Versions) {
    this.#versions = versions;
  }

  neighborGraph(options: VectorJoinOptions & { k: number }): AsyncIterable<NeighborPage> {
    const each = pageRowsOf(options, checkK(options?.k));
    const names = { userIds: 'ids', rowUserIds: 'rows' };
    return this.#pages(options, names, () => flat(this.#parts<NeighborPage>('neighborGraph', options, each)));
  }

  selfJoin(options: VectorJoinOptions & { radius: number }): AsyncIterable<PairPage> {
    checkRadius(options?.radius, this.#isSigned);
    const least = pageRowsOf(options, 1, PAGE_PLACES);
    return this.#pages(options, { aUserIds: 'a', bUserIds: 'b' }, () =>
      joinPages(this.#parts<PairPage>('selfJoin', options, PAIR_ROWS), least),
    );
  }

  duplicates(options: VectorJoinOptions & { radius: number }): AsyncIterable<GroupPage> {
    checkRadius(options?.radius, this.#isSigned);
    const pageIds = pageRowsOf(options, 1, PAGE_PLACES);
    return this.#pages(options, { userIds: 'ids' }, () => this.#groups(options, pageIds));
  }

  join(
    other: Other,
    options: VectorJoinOptions & { k?: number; radius?: number },
  ): AsyncIterable<NeighborPage | RangePage> {
    checkJoin(options);
    const { k, radius, recall, exact, filter } = options;
    // Of the rows that pass now, whatever becomes of the filter.
    const ways = (): object => this.#versions.packed({ recall, exact, filter });
    const how = (): SearchCall =>
      k === undefined
        ? { method: 'searchRadiusBatch', args: [radius, ways()] }
        : { method: 'searchBatch', args: [{ k: checkK(k), ...ways() }] };
    if (k !== undefined) checkK(k);
    if (k === undefined) checkRadius(radius, this.#isSigned);
    const each = pageRowsOf(options, k ?? 1);
    checkOther(other, this.#versions.known.dimensions);
    return this.#pages(options, { userIds: 'ids' }, () => this.#joined(other, how(), each, options));
  }

  get #isSigned(): boolean {
    return this.#versions.known.metric === 'inner-product';
  }

  /** Parts that are under way at a time. */
  get #ahead(): number {
    return AHEAD * this.#versions.members.all.length;
  }

  async *#joined(
    other: Other,
    { method, args }: SearchCall,
    each: number,
    { signal }: AsyncOptions,
  ): Pages<NeighborPage | RangePage> {
    const versions = this.#versions;
    const { dimensions } = versions.known;
    const version = versions.present;
    const tasks = async function* (): AsyncGenerator<() => Promise<NeighborPage | RangePage>> {
      const task = (rows: Uint32Array, queries: Float32Array) => async () => {
        const found = await versions.unchanged(version, () =>
          versions.call<CappedBatch & { userIds?: unknown }>(method, [queries, ...args]),
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
    yield* inOrder(tasks(), this.#ahead, signal);
  }

  async *#groups(options: VectorJoinOptions, pageIds: number): Pages<GroupPage> {
    const { size, ids } = this.#versions.known;
    const groups = new UnitedGroups(ids);
    const each = Math.max(PAIR_ROWS, Math.ceil(size / this.#ahead));
    for await (const pages of this.#parts<GroupPage>('duplicates', options, each))
      for (const page of pages) groups.add(page);
    for (const page of groups.pages(pageIds)) if (page) yield page;
  }

  /** A join in parts of so many rows: the pages of each, in order. */
  async *#parts<Page>(
    join: 'neighborGraph' | 'selfJoin' | 'duplicates',
    options: VectorJoinOptions,
    each: number,
  ): Pages<Page[]> {
    const versions = this.#versions;
    const { onProgress, signal, sliceMs: _, ...packed } = versions.packed(options);
    const total = versions.known.size;
    const version = versions.present;
    const tasks = Array.from(stretches(total, each), ([first, end]) => async () => {
      const member = versions.members.idlest;
      const request = (id: number): Request => ({ kind: 'join', id, join, options: packed, first, end });
      return (await versions.unchanged(version, () => versions.ask(member, request))).result as Page[];
    });
    let done = 0;
    for await (const pages of inOrder(tasks, this.#ahead, signal)) {
      done = Math.min(total, done + each);
      onProgress?.({ phase: 'join', done, total });
      yield pages;
    }
  }

  /** The pages of a join, with the user's ids beside these of their row numbers, where there are such ids. */
  #pages<Page extends object>(
    options: AsyncOptions,
    names: Readonly<Record<string, string>>,
    start: () => Pages<Page>,
  ): AsyncIterable<Page> {
    checkAsync(options);
    const versions = this.#versions;
    versions.members.check();
    const named = async function* (): Pages<Page> {
      for await (const page of start()) {
        const rows = page as unknown as Record<string, Uint32Array>;
        for (const [name, of] of Object.entries(versions.names ? names : {}))
          (page as Record<string, unknown>)[name] = Array.from(rows[of], (row) => versions.names?.idOf(row));
        yield page;
      }
    };
    return { [Symbol.asyncIterator]: named };
  }
}

function checkOther(other: unknown, dimensions: number): void {
  if (other instanceof Float32Array) {
    checkRows('other', other, dimensions);
  } else if (other instanceof VectorIndex) {
    if (other.dimensions !== dimensions)
      throw failure(
        'ERR_ARGUMENT_RANGE',
        `other: expected an index of ${dimensions} dimensions, got one of ${other.dimensions}`,
      );
  } else if (
    typeof other !== 'object' ||
    other === null ||
    !(Symbol.iterator in other || Symbol.asyncIterator in other)
  ) {
    throw failure(
      'ERR_ARGUMENT_TYPE',
      'other: expected an index, a Float32Array or pages of them, got something else',
    );
  }
}

async function* flat<Page>(lists: AsyncIterable<readonly Page[]>): Pages<Page> {
  for await (const pages of lists) yield* pages;
}
