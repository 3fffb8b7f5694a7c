import { checkOptions } from './check.js';
import type { Engine } from './engine.js';
import type { EngineSearch } from './engine-search.js';
import type { Joinable, Take } from './joinable.js';
import type { StreamOptions } from './joins.js';
import type { Neighbors, NeighborsBatch } from './neighbors.js';
import type { Settings } from './tuning.js';

const NONE = 0xffffffff;
/** What is added to settings for all rows. */
const MORE_PROBES = 1.15;
const MORE_EPSILON = 0.05;

/** How a join finds the neighbors of each row, as a search does, and how its pages come. */
export interface VectorJoinOptions extends StreamOptions {
  /** Share of the true neighbors that should be found, 0 to 1; default 0.95. 1 is exact search. */
  recall?: number;
  /** Every row is compared with every row. */
  exact?: boolean;
}

/** Searches that are the same in a join as outside of one. */
interface Searches {
  nearest(queries: Float32Array, k: number): NeighborsBatch;
  within(query: Float32Array, radius: number): Neighbors;
  /** Once, before searches within a radius. */
  prepare(): Iterable<unknown>;
  /** Of a stored row, itself among them. */
  around(id: number, radius: number): Neighbors;
}

/** What joins ask of an engine, at settings that the caller chooses. */
export class EngineJoins implements Joinable {
  readonly #engine: () => Engine;
  /** Settings for k neighbors; null: exact search. */
  readonly #settings: (k: number) => Settings | null;
  readonly #search: Searches;
  /** Which places of its order a join begins from. */
  readonly #stretch: readonly [first: number, end: number] | undefined;

  /** `engine` throws once there is none. */
  constructor(
    engine: () => Engine,
    settings: (k: number) => Settings | null,
    search: Searches,
    stretch?: readonly [first: number, end: number],
  ) {
    this.#stretch = stretch;
    this.#engine = engine;
    this.#settings = settings;
    this.#search = search;
  }

  /** The same for joins that begin from some rows only, by their places in the order; they still find all. */
  part(first: number, end: number): EngineJoins {
    return new EngineJoins(this.#engine, this.#settings, this.#search, [first, end]);
  }

  get size(): number {
    return this.#engine().size;
  }

  get dimensions(): number {
    return this.#engine().rows.dimensions;
  }

  get version(): number {
    return this.#engine().version;
  }

  order(isSorted: boolean): Uint32Array {
    const engine = this.#engine();
    if (isSorted) return engine.ids();
    const order = engine.rows.idsInPlace();
    return this.#stretch ? order.slice(...this.#stretch) : order;
  }

  others(ids: Uint32Array, k: number, into: NeighborsBatch, first: number): void {
    const engine = this.#engine();
    const { rows } = engine;
    const most = Math.min(k, engine.size - 1);
    if (most === 0) return;
    const settings = widened(this.#settings(most));
    const short: number[] = [];
    const write = (
      i: number,
      u32: Uint32Array,
      from: number,
      f32: Float32Array,
      scores: number,
      count: number,
    ): void => {
      const start = (first + i) * k;
      let found = 0;
      for (let j = 0; j < count && found < most; j++) {
        const id = u32[from + j];
        if (id === NONE) break;
        // Where many rows are equal, a row itself may be none of the nearest: then the last of them is one too many.
        if (id === ids[i]) continue;
        into.ids[start + found] = id;
        into.distances[start + found++] = rows.distance(f32[scores + j]);
      }
      into.counts[first + i] = found;
      if (found < most) short.push(i);
    };
    engine.runStored(ids, most + 1, settings, write);
    // The cells that were visited hold too few: rare, and answered by looking at all.
    for (const i of short.splice(0)) {
      engine.runStored(ids.subarray(i, i + 1), most + 1, null, (_, ...rest) => write(i, ...rest));
    }
  }

  nearest(queries: Float32Array, k: number): NeighborsBatch {
    return this.#search.nearest(queries, k);
  }

  prepareWithin(): Iterable<unknown> {
    return this.#search.prepare();
  }

  othersWithin(id: number, radius: number, wanted: (id: number) => boolean, take: Take): void {
    const { ids, distances } = this.#search.around(id, radius);
    for (let i = 0; i < ids.length; i++) if (ids[i] !== id && wanted(ids[i])) take(ids[i], distances[i]);
  }

  within(query: Float32Array, radius: number): Neighbors {
    return this.#search.within(query, radius);
  }

  words(id: number): Uint32Array {
    return this.#engine().rows.words(id);
  }

  vector(id: number): Float32Array {
    return this.#engine().vector(id);
  }
}

/** An engine as joins see it that search by these options; `current` gives it at any time, or throws. */
export function joinsOf(current: () => EngineSearch, options: VectorJoinOptions): EngineJoins {
  checkOptions('options', options);
  const { recall, exact } = options ?? {};
  current().resolve({ recall, exact }); // checks
  return new EngineJoins(
    () => current().engine,
    (k) => current().resolve({ k, recall, exact }).settings,
    {
      nearest: (queries, k) => current().searchBatch(queries, { k, recall, exact }),
      within: (query, radius) => current().within(query, radius, { recall, exact }),
      prepare: () => (exact || recall === 1 ? [] : current().passing.measure()),
      around: (id, radius) => {
        const { engine, passing } = current();
        const { recall: share, count } = current().range(radius, { recall, exact });
        return passing.within(engine.vector(id), radius, share, count, id);
      },
    },
  );
}

/**
 * A tuning takes the cheapest of the settings that met the target on a few hundred rows, which are likelier than others to
 * have been lucky there: on all rows they may miss it by a hair. On mnist 0.951 becomes 0.961, for a twentieth of the time.
 */
function widened(settings: Settings | null): Settings | null {
  if (settings === null) return null;
  const { probes, epsilon, patience, keep } = settings;
  return {
    probes: Math.ceil(probes * MORE_PROBES),
    epsilon: epsilon + MORE_EPSILON,
    patience: Math.ceil(patience * MORE_PROBES),
    keep,
  };
}
