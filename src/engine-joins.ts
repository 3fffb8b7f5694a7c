import { checkOptions } from './check.js';
import type { Engine } from './engine.js';
import type { EngineSearch } from './engine-search.js';
import { testOf } from './filter.js';
import type { Filter, IdSet } from './id-set.js';
import type { Joinable, Take } from './joinable.js';
import type { StreamOptions } from './joins.js';
import type { Neighbors, NeighborsBatch } from './neighbors.js';
import type { Settings } from './settings.js';
import type { IdKind, IdOf } from './user-ids.js';

const NONE = 0xffffffff;
/** What is added to settings for all rows. */
const MORE_PROBES = 1.15;
const MORE_EPSILON = 0.05;

/** How a join finds the neighbors of each row, as a search does, and how its pages come. */
export interface VectorJoinOptions<Kind extends IdKind = 'row'> extends StreamOptions {
  /** Share of the true neighbors that should be found, 0 to 1; default 0.95. 1 is exact search. */
  recall?: number;
  /** Every row is compared with every row. */
  exact?: boolean;
  /**
   * As for search: the join is that of the rows that pass, as if there were no others. Of two indexes that are joined it is
   * about the rows of this one. Taken in when a loop begins; a function is called once for every row.
   */
  filter?: Filter<IdOf<Kind>>;
}

/** What joins ask of an engine. */
export class EngineJoins implements Joinable {
  /** Gives the engine at any time, or throws once there is none. */
  readonly #current: () => EngineSearch;
  readonly #options: VectorJoinOptions<never>;
  /** Which places of its order a join begins from. */
  readonly #stretch: readonly [first: number, end: number] | undefined;
  /** The rows that pass the filter, if there is one. */
  #passing: IdSet | undefined;

  constructor(
    current: () => EngineSearch,
    options: VectorJoinOptions<never>,
    stretch?: readonly [first: number, end: number],
  ) {
    checkOptions('options', options);
    const { recall, exact, filter } = options ?? {};
    this.#current = current;
    this.#options = { recall, exact, filter };
    this.#stretch = stretch;
    current().resolve({ recall, exact }); // checks
    if (filter !== undefined) testOf(filter);
  }

  /** The same for joins that begin from some rows only, by their places in the order; they still find all. */
  part(first: number, end: number): EngineJoins {
    return new EngineJoins(this.#current, this.#options, [first, end]);
  }

  get size(): number {
    return this.#engine.size;
  }

  get dimensions(): number {
    return this.#engine.rows.dimensions;
  }

  get version(): number {
    return this.#engine.version;
  }

  begin(): void {
    const { filter } = this.#options;
    if (filter !== undefined) this.#passing = this.#current().setOf(filter);
  }

  order(isSorted: boolean): Uint32Array {
    const engine = this.#engine;
    const passing = this.#passing;
    const all = isSorted ? engine.ids() : engine.rows.idsInPlace();
    const order = this.#stretch && !isSorted ? all.slice(...this.#stretch) : all;
    return passing ? order.filter((id) => passing.has(id)) : order;
  }

  others(ids: Uint32Array, k: number, into: NeighborsBatch, first: number): void {
    if (this.#passing) {
      this.#othersPassing(this.#passing, ids, k, into, first);
      return;
    }
    const engine = this.#engine;
    const { rows } = engine;
    const most = Math.min(k, engine.size - 1);
    if (most === 0) return;
    const settings = widened(
      this.#current().resolve({ k: most, recall: this.#options.recall, exact: this.#options.exact }).settings,
    );
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

  /** The same among the rows that pass. */
  #othersPassing(set: IdSet, ids: Uint32Array, k: number, into: NeighborsBatch, first: number): void {
    const search = this.#current();
    const { engine, passing } = search;
    const count = search.takeFilter(set);
    const wanted = Math.min(k + 1, count);
    const { recall, exact } = this.#options;
    const settings = search.through({ recall, exact }, wanted, null, count);
    const found = { ids: new Uint32Array(wanted), distances: new Float32Array(wanted) };
    for (let i = 0; i < ids.length; i++) {
      const near = passing.search(ids[i], wanted, settings, count).found;
      engine.read(near, found, 0);
      const start = (first + i) * k;
      let others = 0;
      // Where many rows are equal, a row itself may be none of the nearest: then the last of them is one too many.
      for (let j = 0; j < near && others < wanted - 1; j++) {
        if (found.ids[j] === ids[i]) continue;
        into.ids[start + others] = found.ids[j];
        into.distances[start + others++] = found.distances[j];
      }
      into.counts[first + i] = others;
    }
  }

  nearest(queries: Float32Array, k: number): NeighborsBatch {
    return this.#current().searchBatch(queries, { k, ...this.#how });
  }

  prepareWithin(): Iterable<unknown> {
    const { recall, exact } = this.#options;
    return exact || recall === 1 ? [] : this.#current().passing.measure();
  }

  othersWithin(id: number, radius: number, wanted: (id: number) => boolean, take: Take): void {
    const search = this.#current();
    const { recall, count } = search.range(radius, this.#how);
    const near = search.passing.within(search.engine.vector(id), radius, recall, count, id);
    const { ids, distances } = near;
    for (let i = 0; i < ids.length; i++) if (ids[i] !== id && wanted(ids[i])) take(ids[i], distances[i]);
  }

  within(query: Float32Array, radius: number): Neighbors {
    return this.#current().within(query, radius, this.#how);
  }

  words(id: number): Uint32Array {
    return this.#engine.rows.words(id);
  }

  vector(id: number): Float32Array {
    return this.#engine.vector(id);
  }

  get #engine(): Engine {
    return this.#current().engine;
  }

  /** How each search is done. */
  get #how(): { recall?: number; exact?: boolean; filter?: IdSet } {
    const { recall, exact } = this.#options;
    return { recall, exact, filter: this.#passing };
  }
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
