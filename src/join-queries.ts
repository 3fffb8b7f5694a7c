import { checkRows, describe, rangeError, typeError } from './check.js';
import { Guard, type Joinable, type Step } from './joinable.js';

/** Rows of floats that come a page at a time: each whole rows, one after another. */
export type VectorPages = Iterable<Float32Array> | AsyncIterable<Float32Array>;

/** Queries with their numbers. */
interface SomeQueries {
  rows: Uint32Array;
  queries: Float32Array;
}

/** Where a join's queries come from. */
export interface Queries {
  /** How many there are, as far as is known. */
  readonly total: number;
  /** Up to `count` of the next; nothing at the end. Steps in between tell `done`. */
  take(
    count: number,
    done: number,
  ): Generator<Step<never>, SomeQueries | undefined, IteratorResult<Float32Array> | undefined>;
}

/** What is joined to an index of so many dimensions: another index, floats, or pages of them. */
export function queriesFrom(
  other: unknown,
  dimensions: number,
): { source: () => Queries; pages?: VectorPages } {
  if (other instanceof Float32Array) {
    const count = checkRows('other', other, dimensions);
    return { source: () => new FloatQueries(other, count, dimensions) };
  }
  if (typeof other === 'object' && other !== null) {
    if (isJoinable(other)) {
      if (other.dimensions !== dimensions) {
        const got = `one of ${other.dimensions}`;
        throw rangeError('ERR_LENGTH', `other: expected an index of ${dimensions} dimensions, got ${got}`);
      }
      return { source: () => new IndexQueries(other) };
    }
    if (Symbol.iterator in other || Symbol.asyncIterator in other)
      return { source: () => new PagedQueries(dimensions), pages: other as VectorPages };
  }
  throw typeError(
    'ERR_ARGUMENT_TYPE',
    `other: expected an index, a Float32Array or pages of them, got ${describe(other)}`,
  );
}

function isJoinable(value: object): value is Joinable {
  return 'order' in value && 'others' in value;
}

class FloatQueries implements Queries {
  readonly total: number;
  readonly #floats: Float32Array;
  readonly #dimensions: number;

  constructor(floats: Float32Array, total: number, dimensions: number) {
    this.#floats = floats;
    this.total = total;
    this.#dimensions = dimensions;
  }

  *take(count: number, done: number): Generator<never, SomeQueries | undefined> {
    const end = Math.min(this.total, done + count);
    if (end === done) return undefined;
    return {
      rows: Uint32Array.from({ length: end - done }, (_, i) => done + i),
      queries: this.#floats.subarray(done * this.#dimensions, end * this.#dimensions),
    };
  }
}

/** The rows of an index, in its order, with their ids. */
class IndexQueries implements Queries {
  readonly #index: Joinable;
  readonly #order: Uint32Array;
  readonly #guard: Guard;

  constructor(index: Joinable) {
    this.#index = index;
    this.#order = index.order(false);
    this.#guard = new Guard(index);
  }

  get total(): number {
    return this.#order.length;
  }

  *take(count: number, done: number): Generator<never, SomeQueries | undefined> {
    this.#guard.check();
    const rows = this.#order.slice(done, done + count);
    if (rows.length === 0) return undefined;
    const { dimensions } = this.#index;
    const queries = new Float32Array(rows.length * dimensions);
    rows.forEach((id, i) => {
      queries.set(this.#index.vector(id), i * dimensions);
    });
    return { rows, queries };
  }
}

/** Queries that come in pages, numbered through. */
class PagedQueries implements Queries {
  /** Of the pages so far. */
  total = 0;
  readonly #dimensions: number;
  #page = new Float32Array(0);
  /** Rows of the page that are taken, and pages so far. */
  #taken = 0;
  #pages = 0;

  constructor(dimensions: number) {
    this.#dimensions = dimensions;
  }

  *take(
    count: number,
    done: number,
  ): Generator<Step<never>, SomeQueries | undefined, IteratorResult<Float32Array> | undefined> {
    const dimensions = this.#dimensions;
    while (this.#taken * dimensions === this.#page.length) {
      const next = yield { phase: 'join', done, total: this.total, isHungry: true };
      if (next === undefined || next.done) return undefined;
      // A copy: its owner may fill the same array again.
      const rows = checkRows(`page ${this.#pages++} of other`, next.value, dimensions);
      this.#page = next.value.slice();
      this.#taken = 0;
      this.total += rows;
    }
    const left = this.#page.length / dimensions - this.#taken;
    const some = Math.min(count, left);
    const from = this.#taken;
    this.#taken += some;
    return {
      rows: Uint32Array.from({ length: some }, (_, i) => done + i),
      queries: this.#page.subarray(from * dimensions, this.#taken * dimensions),
    };
  }
}

export function iteratorOf(pages: VectorPages): Iterator<Float32Array> {
  if (Symbol.iterator in pages) return pages[Symbol.iterator]();
  throw typeError(
    'ERR_ARGUMENT_TYPE',
    'other: expected pages that are there without waiting, got an asynchronous iterable; read the stream with for await',
  );
}

export function asyncIteratorOf(pages: VectorPages): AsyncIterator<Float32Array> | Iterator<Float32Array> {
  return Symbol.asyncIterator in pages ? pages[Symbol.asyncIterator]() : pages[Symbol.iterator]();
}
