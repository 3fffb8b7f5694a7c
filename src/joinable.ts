import { typeError } from './check.js';
import type { Neighbors, NeighborsBatch } from './neighbors.js';
import type { Progress } from './progress.js';

/** What joins ask of an index. */
export interface Joinable {
  /** Rows in the index. */
  readonly size: number;
  readonly dimensions: number;
  /** Another number after every change of the rows. Throws once the index is disposed of. */
  readonly version: number;
  /** Called when a loop begins: takes a filter in, if there is one. From then on the rows that pass are all rows. */
  begin?(): void;
  /** Ids of all rows in an array of the caller's: ascending, or in the order in which they are best looked at. */
  order(isSorted: boolean): Uint32Array;
  /** Writes the k nearest others of these rows to places `first`, … of a batch. */
  others(ids: Uint32Array, k: number, into: NeighborsBatch, first: number): void;
  /** The same for queries, of which it finds the k nearest of all rows. */
  nearest(queries: Float32Array, k: number): NeighborsBatch;
  /** A copy of a row, as it was given. */
  vector(id: number): Float32Array;
  /** Does what searches within a radius need once, in steps. */
  prepareWithin?(): Iterable<unknown>;
  /** Hands on each neighbor of a row within a radius that is `wanted`, nearest first; never the row itself. */
  othersWithin(id: number, radius: number, wanted: (id: number) => boolean, take: Take): void;
  /** The same for queries. */
  within(query: Float32Array, radius: number): Neighbors;
  /** What is kept of a row, as words: equal rows have equal words. */
  words(id: number): Uint32Array;
}

export type Take = (id: number, distance: number) => void;

/** A step of a join: how far it has come, the page that is full by now, or that it wants more queries. */
export interface Step<Page> extends Progress {
  page?: Page;
  isHungry?: boolean;
}

export type Work<Page> = Generator<Step<Page>, void, IteratorResult<Float32Array> | undefined>;

/** Ends a join when the rows of an index change. */
export class Guard {
  readonly #index: { readonly version: number };
  readonly #version: number;

  constructor(index: { readonly version: number }) {
    this.#index = index;
    this.#version = index.version;
  }

  check(): void {
    if (this.#index.version === this.#version) return;
    throw typeError(
      'ERR_CHANGED',
      'index: expected the rows that the join began with, got a change while it was under way; start it anew',
    );
  }
}
