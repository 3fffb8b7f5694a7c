import { checkInteger, checkNumber, checkOptions, typeError } from './check.js';
import { Distinct, type GroupPage, Groups } from './groups.js';
import { asyncIteratorOf, iteratorOf, type Queries, queriesFrom, type VectorPages } from './join-queries.js';
import { Guard, type Joinable, type Take, type Work } from './joinable.js';
import { makeBatch, type Neighbors, type NeighborsBatch } from './neighbors.js';
import { type AsyncOptions, checkAsync, type Progress, Turn } from './progress.js';

/** The nearest of some rows: `rows.length` × k ids and distances, row-major. */
export interface NeighborPage extends NeighborsBatch {
  /** The rows that were asked for: ids, or numbers of queries from 0 on. */
  rows: Uint32Array;
}

/** All neighbors within a radius of some rows, nearest first. */
export interface RangePage extends Neighbors {
  rows: Uint32Array;
  /** Row i has the neighbors offsets[i] … offsets[i + 1] - 1. */
  offsets: Uint32Array;
}

/** Pairs of rows: a[i] < b[i] are distances[i] apart. */
export interface PairPage {
  a: Uint32Array;
  b: Uint32Array;
  distances: Float32Array;
}

/** Options of all joins. The stream calls `onProgress`, and obeys `signal`, in both kinds of loop. */
export interface StreamOptions extends AsyncOptions {
  /** Rows (pairs, ids of groups) of a page; a page may have a few more where a row or group is not split. */
  pageRows?: number;
}

const MAX_K = 2 ** 32 - 1;
/** Places (ids and distances) of a page, where nothing else is wanted. */
export const PAGE_PLACES: number = 2 ** 16;
const MOST_PAGE_ROWS = 2 ** 26;
/** Rows of a page of few neighbors each. */
const PAGE_ROWS = 4096;
/** Rows of a step at most, and milliseconds that a step should take: several to a slice. */
const STEP_ROWS = 256;
const STEP_MS = 2;

/**
 * The answer of a join, a page at a time: no more than a page is in memory. Two ways to read it:
 *
 *     for (const page of stream) …          at one go
 *     for await (const page of stream) …    in slices of `sliceMs`, with the event loop in between
 *
 * Leaving the loop ends the work. A second loop starts anew, unless the queries of a join came from an iterator that
 * cannot. Searching the index in between is fine; changing its rows while a loop is under way ends that loop with an error
 * (ERR_CHANGED), since pages before and after would not fit together.
 */
export class JoinStream<Page> implements Iterable<Page>, AsyncIterable<Page> {
  readonly #start: () => Work<Page>;
  readonly #options: ReturnType<typeof checkAsync>;
  readonly #queries: VectorPages | undefined;
  /** What is added to a page before it is handed out. */
  #complete: ((page: never) => void) | undefined;

  /** @internal */
  constructor(start: () => Work<Page>, options: AsyncOptions, queries?: VectorPages) {
    this.#start = start;
    this.#options = checkAsync(options);
    this.#queries = queries;
  }

  /** @internal adds something to each page before it is handed out. */
  add(more: (page: Page) => object): void {
    const before = this.#complete;
    this.#complete = (page: Page) => {
      before?.(page as never);
      Object.assign(page as object, more(page));
    };
  }

  /** The pages one after the other, with no pause in between. */
  *[Symbol.iterator](): Generator<Page, void, undefined> {
    const { onProgress, signal, sliceMs } = this.#options;
    const queries = this.#queries && iteratorOf(this.#queries);
    const work = this.#start();
    let isOver = false;
    try {
      let answer: IteratorResult<Float32Array> | undefined;
      let end = performance.now() + sliceMs;
      for (;;) {
        signal?.throwIfAborted();
        const step = work.next(answer);
        if (step.done) break;
        answer = step.value.isHungry ? queries?.next() : undefined;
        isOver = answer?.done === true || isOver;
        if (step.value.page) {
          this.#complete?.(step.value.page as never);
          yield step.value.page;
        }
        if (performance.now() < end) continue;
        onProgress?.(progressOf(step.value));
        end = performance.now() + sliceMs;
      }
    } finally {
      work.return();
      if (!isOver) queries?.return?.();
    }
  }

  /** The pages in slices of 8 ms, with the event loop in between. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Page, void, undefined> {
    const { onProgress, signal, sliceMs } = this.#options;
    const queries = this.#queries && asyncIteratorOf(this.#queries);
    const work = this.#start();
    const turn = new Turn();
    let isOver = false;
    try {
      let answer: IteratorResult<Float32Array> | undefined;
      let end = performance.now() + sliceMs;
      for (;;) {
        signal?.throwIfAborted();
        const step = work.next(answer);
        if (step.done) break;
        answer = step.value.isHungry ? await queries?.next() : undefined;
        isOver = answer?.done === true || isOver;
        if (step.value.page) {
          this.#complete?.(step.value.page as never);
          yield step.value.page;
        }
        if (performance.now() < end) continue;
        onProgress?.(progressOf(step.value));
        await turn.pass();
        end = performance.now() + sliceMs;
      }
    } finally {
      turn.close();
      work.return();
      if (!isOver) await queries?.return?.();
    }
  }
}

/** The k nearest others of every row. */
export function joinNeighbors(index: Joinable, k: number, options: StreamOptions): JoinStream<NeighborPage> {
  const rows = pageRowsOf(options, k);
  return new JoinStream(() => neighborSteps(index, k, rows), options);
}

/** The k nearest, in the index, of queries. */
export function joinNearest(
  index: Joinable,
  other: unknown,
  k: number,
  options: StreamOptions,
): JoinStream<NeighborPage> {
  const rows = pageRowsOf(options, k);
  const { source, pages } = queriesFrom(other, index.dimensions);
  return new JoinStream(() => nearestSteps(index, source(), k, rows), options, pages);
}

/** All rows of the index within a radius of queries. */
export function joinWithin(
  index: Joinable,
  other: unknown,
  radius: number,
  options: StreamOptions,
): JoinStream<RangePage> {
  const rows = pageRowsOf(options, 1);
  const { source, pages } = queriesFrom(other, index.dimensions);
  return new JoinStream(() => withinSteps(index, source(), radius, rows), options, pages);
}

/** All pairs of rows within a radius. */
export function joinPairs(index: Joinable, radius: number, options: StreamOptions): JoinStream<PairPage> {
  const rows = pageRowsOf(options, 1, PAGE_PLACES);
  return new JoinStream(() => pairSteps(index, radius, rows), options);
}

/** The connected components of all such pairs. `equalAreNear`: whether equal rows are within every radius. */
export function joinGroups(
  index: Joinable,
  radius: number,
  equalAreNear: boolean,
  options: StreamOptions,
): JoinStream<GroupPage> {
  const rows = pageRowsOf(options, 1, PAGE_PLACES);
  return new JoinStream(() => groupSteps(index, radius, equalAreNear, rows), options);
}

/** The neighbors that a join of k wants. */
export function checkK(k: unknown): number {
  return checkInteger('k', k, 1, MAX_K);
}

/** The radius of a join: for distances that are never negative, none that is. */
export function checkRadius(radius: unknown, isSigned: boolean): number {
  return checkNumber('radius', radius, isSigned ? -Number.MAX_VALUE : 0, Number.POSITIVE_INFINITY);
}

/** Refuses both k and radius, and neither. */
export function checkJoin(options: { k?: unknown; radius?: unknown }): void {
  checkOptions('options', options);
  if ((options?.k === undefined) !== (options?.radius === undefined)) return;
  const got = options?.k === undefined ? 'neither' : 'both';
  throw typeError('ERR_ARGUMENT_TYPE', `options: expected either k or radius, got ${got}`);
}

/** Rows of a page for k neighbors each; checks the options of a stream. */
export function pageRowsOf(options: StreamOptions, k: number, rows: number = PAGE_ROWS): number {
  const wanted = options?.pageRows ?? Math.max(1, Math.min(rows, Math.floor(PAGE_PLACES / k)));
  const checked = checkInteger('pageRows', wanted, 1, MOST_PAGE_ROWS);
  checkAsync(options); // before anything starts
  return checked;
}

function progressOf({ phase, done, total }: Progress): Progress {
  return { phase, done, total };
}

function* neighborSteps(index: Joinable, k: number, pageRows: number): Work<NeighborPage> {
  const guard = begin(index);
  const order = index.order(false);
  const total = order.length;
  const pace = new Pace();
  for (let first = 0; first < total; first += pageRows) {
    const rows = order.slice(first, first + pageRows);
    const page = { rows, ...makeBatch(rows.length, k, 0) };
    for (let at = 0; at < rows.length; ) {
      guard.check();
      const some = rows.subarray(at, at + pace.start());
      index.others(some, k, page, at);
      pace.end();
      at += some.length;
      yield { phase: 'join', done: first + at, total, page: at === rows.length ? page : undefined };
    }
  }
}

function* nearestSteps(index: Joinable, source: Queries, k: number, pageRows: number): Work<NeighborPage> {
  const guard = begin(index);
  const pace = new Pace();
  let filled = 0;
  let page = { rows: new Uint32Array(pageRows), ...makeBatch(pageRows, k, 0) };
  for (let done = 0; ; ) {
    const some = yield* source.take(Math.min(pace.rows, pageRows - filled), done);
    if (!some) break;
    guard.check();
    const { rows, queries } = some;
    pace.start();
    const { ids, distances, counts } = index.nearest(queries, k);
    pace.end();
    page.rows.set(rows, filled);
    page.ids.set(ids, filled * k);
    page.distances.set(distances, filled * k);
    page.counts.set(counts, filled);
    filled += rows.length;
    done += rows.length;
    const full = filled === pageRows ? page : undefined;
    if (full) {
      page = { rows: new Uint32Array(pageRows), ...makeBatch(pageRows, k, 0) };
      filled = 0;
    }
    yield { phase: 'join', done, total: source.total, page: full };
  }
  if (filled === 0) return;
  const last = {
    rows: page.rows.slice(0, filled),
    ids: page.ids.slice(0, filled * k),
    distances: page.distances.slice(0, filled * k),
    counts: page.counts.slice(0, filled),
  };
  yield { phase: 'join', done: source.total, total: source.total, page: last };
}

function* withinSteps(index: Joinable, source: Queries, radius: number, pageRows: number): Work<RangePage> {
  const guard = begin(index);
  yield* prepare(index, guard);
  const pace = new Pace();
  const { dimensions } = index;
  const page = new RangePages();
  for (let done = 0; ; ) {
    const some = yield* source.take(Math.min(pace.rows, pageRows - page.rows), done);
    if (!some) break;
    const { rows, queries } = some;
    pace.start();
    for (let i = 0; i < rows.length; i++) {
      guard.check();
      page.add(rows[i], index.within(queries.subarray(i * dimensions, (i + 1) * dimensions), radius));
      done++;
      if (page.places < PAGE_PLACES) continue;
      yield { phase: 'join', done, total: source.total, page: page.turn() };
    }
    pace.end();
    const full = page.rows >= pageRows ? page.turn() : undefined;
    yield { phase: 'join', done, total: source.total, page: full };
  }
  if (page.rows > 0) yield { phase: 'join', done: source.total, total: source.total, page: page.turn() };
}

function* pairSteps(index: Joinable, radius: number, pagePairs: number): Work<PairPage> {
  const guard = begin(index);
  const order = index.order(false);
  yield* prepare(index, guard);
  const pace = new Pace();
  const a = new Words();
  const b = new Words();
  const distances = new Floats();
  const turn = (): PairPage => ({ a: a.turn(), b: b.turn(), distances: distances.turn() });
  const take =
    (own: number): Take =>
    (id, distance) => {
      a.push(own);
      b.push(id);
      distances.push(distance);
    };
  for (let done = 0; done < order.length; ) {
    const end = Math.min(order.length, done + pace.start());
    guard.check();
    // A pair is looked for from its lower id.
    for (; done < end && a.length < pagePairs; done++) {
      const own = order[done];
      index.othersWithin(own, radius, (id) => id > own, take(own));
    }
    pace.end();
    yield { phase: 'join', done, total: order.length, page: a.length >= pagePairs ? turn() : undefined };
  }
  if (a.length > 0) yield { phase: 'join', done: order.length, total: order.length, page: turn() };
}

function* groupSteps(
  index: Joinable,
  radius: number,
  equalAreNear: boolean,
  pageIds: number,
): Work<GroupPage> {
  const guard = begin(index);
  const ids = index.order(true);
  const idCount = ids.length === 0 ? 0 : ids[ids.length - 1] + 1;
  const groups = new Groups(idCount);
  yield* prepare(index, guard);
  const pace = new Pace();
  // Equal rows have the same neighbors: one of them stands for all, so that n equal rows are no n² pairs.
  const alone = equalAreNear ? new Distinct(ids.length, idCount, (id) => index.words(id)) : undefined;
  const total = alone ? 2 * ids.length : ids.length;
  let done = 0;
  if (alone) {
    for (let at = 0; at < ids.length; ) {
      guard.check();
      const end = Math.min(ids.length, at + pace.start());
      for (; at < end; at++) groups.unite(ids[at], alone.firstEqual(ids[at]));
      pace.end();
      yield { phase: 'join', done: at, total };
    }
    done = ids.length;
  }
  const order = index.order(false);
  for (let at = 0; at < order.length; ) {
    guard.check();
    const end = Math.min(order.length, at + pace.start());
    for (; at < end; at++) {
      const own = order[at];
      if (alone?.isRepeated(own)) continue;
      index.othersWithin(
        own,
        radius,
        (id) => !groups.areOne(own, id),
        (id) => groups.unite(own, id),
      );
    }
    pace.end();
    yield { phase: 'join', done: done + at, total };
  }
  for (const page of groups.pages(ids, pageIds)) {
    yield { phase: 'join', done: total, total, page };
    guard.check();
  }
}

/** Begins a loop. */
function begin(index: Joinable): Guard {
  index.begin?.();
  return new Guard(index);
}

function* prepare(index: Joinable, guard: Guard): Work<never> {
  for (const _ of index.prepareWithin?.() ?? []) {
    yield { phase: 'join', done: 0, total: index.size };
    guard.check();
  }
}

/** Rows of a step: as many as take about STEP_MS. */
class Pace {
  rows = 1;
  #begin = 0;

  start(): number {
    this.#begin = performance.now();
    return this.rows;
  }

  end(): void {
    const took = performance.now() - this.#begin;
    if (took < STEP_MS / 2) this.rows = Math.min(STEP_ROWS, 2 * this.rows);
    else if (took > 2 * STEP_MS) this.rows = Math.max(1, this.rows >> 1);
  }
}

/** A list of numbers that grows. */
class Words {
  #words = new Uint32Array(1024);
  length = 0;

  push(word: number): void {
    if (this.length === this.#words.length) {
      const more = new Uint32Array(2 * this.length);
      more.set(this.#words);
      this.#words = more;
    }
    this.#words[this.length++] = word;
  }

  /** A copy of the list, which is empty then. */
  turn(): Uint32Array {
    const words = this.#words.slice(0, this.length);
    this.length = 0;
    return words;
  }
}

class Floats {
  #floats = new Float32Array(1024);
  #length = 0;

  push(float: number): void {
    if (this.#length === this.#floats.length) {
      const more = new Float32Array(2 * this.#length);
      more.set(this.#floats);
      this.#floats = more;
    }
    this.#floats[this.#length++] = float;
  }

  turn(): Float32Array {
    const floats = this.#floats.slice(0, this.#length);
    this.#length = 0;
    return floats;
  }
}

class RangePages {
  #rows = new Words();
  #offsets = new Words();
  #parts: Neighbors[] = [];
  /** Neighbors so far. */
  places = 0;

  get rows(): number {
    return this.#rows.length;
  }

  add(row: number, neighbors: Neighbors): void {
    this.#rows.push(row);
    this.#offsets.push(this.places);
    this.#parts.push(neighbors);
    this.places += neighbors.ids.length;
  }

  turn(): RangePage {
    this.#offsets.push(this.places);
    const ids = new Uint32Array(this.places);
    const distances = new Float32Array(this.places);
    let at = 0;
    for (const part of this.#parts) {
      ids.set(part.ids, at);
      distances.set(part.distances, at);
      at += part.ids.length;
    }
    this.#parts = [];
    this.places = 0;
    return { rows: this.#rows.turn(), offsets: this.#offsets.turn(), ids, distances };
  }
}
