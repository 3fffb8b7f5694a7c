import {
  checkInteger,
  checkLength,
  checkNumber,
  checkOptions,
  checkRows,
  checkVector,
  describe,
  rangeError,
  typeError,
} from './check.js';
import type { Engine } from './engine.js';
import type { Filter, IdSet } from './id-set.js';
import { isOutOfMemory } from './memory.js';
import {
  type CappedBatch,
  type CappedNeighbors,
  joinRanges,
  makeBatch,
  type Neighbors,
  type RadiusBatch,
} from './neighbors.js';
import { Passing, type PassingSettings } from './passing.js';
import { type Progress, under } from './progress.js';
import { RandomGenerator } from './random.js';
import type { Settings } from './settings.js';
import { type Evaluation, type TuneOptions, Tuner, type TuningReport } from './tuning.js';
import type { IdKind, IdOf, UserIds } from './user-ids.js';

/** Neighbors that a search may want at most. */
const MAX_K = 2 ** 32 - 2;
/** Rows that a search ranks at most by default, in all and for each neighbor wanted. */
const MAX_CANDIDATES = 2 ** 18;
const MAX_CANDIDATES_OF_ONE = 16;

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

/** Options of an index of any kind of ids. */
type SearchOptions = VectorSearchOptions<never>;
type RangeOptions = RadiusOptions<never>;

/** An engine with what its searches go by: the settings tuned for it, what passes a filter, and the user's ids. */
export class EngineSearch {
  readonly engine: Engine;
  readonly tuner: Tuner;
  readonly passing: Passing;
  readonly userIds: UserIds | undefined;

  constructor(engine: Engine, userIds: UserIds | undefined) {
    this.engine = engine;
    // Its samples depend on the seed and the rows alone.
    this.tuner = new Tuner(engine, () => new RandomGenerator(engine.seed + 2n));
    this.passing = new Passing(engine);
    this.userIds = userIds;
  }

  /** The k nearest of a query. */
  search(query: Float32Array, options?: SearchOptions): CappedNeighbors {
    const { engine } = this;
    checkLength('query', query, this.#dimensions);
    const { k, settings, most } = this.resolve(options);
    const found = this.#run(query, options, k, settings, most);
    const neighbors: CappedNeighbors = { ids: new Uint32Array(found), distances: new Float32Array(found) };
    engine.read(found, neighbors, 0);
    if (engine.capped) neighbors.capped = true;
    return neighbors;
  }

  /** The same into arrays of the caller's; returns how many. */
  searchInto(
    query: Float32Array,
    ids: Uint32Array,
    distances: Float32Array,
    options?: SearchOptions,
  ): number {
    checkLength('query', query, this.#dimensions);
    const { k, settings, most } = this.resolve(options);
    for (const [name, array] of [['ids', ids] as const, ['distances', distances] as const]) {
      if (array.length < k)
        throw rangeError('ERR_LENGTH', `${name}: expected ${k} places or more, got ${array.length}`);
    }
    const found = this.#run(query, options, k, settings, most);
    this.engine.read(found, { ids, distances }, 0);
    return found;
  }

  /** The same of many queries. */
  searchBatch(queries: Float32Array, options?: SearchOptions): CappedBatch {
    const { engine } = this;
    const dimensions = this.#dimensions;
    const count = checkRows('queries', queries, dimensions);
    const { k, settings, most } = this.resolve(options);
    const neighbors: CappedBatch = makeBatch(count, k, 0);
    const query = (i: number): Float32Array => queries.subarray(i * dimensions, (i + 1) * dimensions);
    if (options?.filter !== undefined) {
      const passing = this.takeFilter(options.filter);
      const way = this.through(options, k, settings, passing);
      for (let i = 0; i < count; i++) {
        const { found } = this.passing.search(query(i), k, way, passing);
        engine.read(found, neighbors, i * k);
        neighbors.counts[i] = found;
      }
    } else if (settings) {
      engine.runMany(queries, k, settings, neighbors, most);
    } else {
      for (let i = 0; i < count; i++) {
        const found = engine.runExact(query(i), k);
        engine.read(found, neighbors, i * k);
        neighbors.counts[i] = found;
      }
    }
    return neighbors;
  }

  /** The k nearest others of a row. */
  searchOthers(row: number, options: SearchOptions): Neighbors {
    const query = this.engine.vector(row);
    const { k } = this.resolve(options);
    const { ids, distances } = this.search(query, { ...options, k: Math.min(k + 1, MAX_K) });
    const own = ids.indexOf(row);
    const kept = ids.map((_, i) => i).filter((i) => i !== own);
    const some = kept.subarray(0, k);
    return { ids: some.map((i) => ids[i]), distances: Float32Array.from(some, (i) => distances[i]) };
  }

  /** All within a radius of a query. */
  within(query: Float32Array, radius: number, options: RangeOptions): Neighbors {
    checkVector('query', query, this.#dimensions);
    const { recall, count } = this.range(radius, options);
    return this.passing.within(query, radius, recall, count);
  }

  /** All within a radius of each of many queries. */
  withinBatch(queries: Float32Array, radius: number, options: RangeOptions): RadiusBatch {
    const dimensions = this.#dimensions;
    const rows = checkRows('queries', queries, dimensions);
    const { recall, count } = this.range(radius, options);
    const within = (i: number): Neighbors =>
      this.passing.within(queries.subarray(i * dimensions, (i + 1) * dimensions), radius, recall, count);
    return joinRanges(rows, within);
  }

  /** Measures the recall of a way of searching. */
  evaluate(queries: Float32Array, options: SearchOptions & { truth?: Uint32Array | Int32Array }): Evaluation {
    const rows = this.#split(queries);
    const { k, settings } = this.resolve(options);
    if (options.truth !== undefined) checkTruth(options.truth, rows.length);
    if (options.filter === undefined) return this.tuner.evaluate(rows, k, settings, options.truth);
    const count = this.takeFilter(options.filter);
    const through = this.through(options, k, settings, count);
    const tuner = new Tuner(this.passing.view(through, count), () => new RandomGenerator(0));
    // Any settings but null: how the search is done is up to the view.
    return tuner.evaluate(rows, k, through && { probes: 1, epsilon: 0, patience: 0 }, options.truth);
  }

  /** Measures the settings for a recall. */
  tune(options: TuneOptions): Generator<Progress, TuningReport> {
    checkOptions('options', options);
    if (options.recall !== undefined) checkNumber('recall', options.recall, 0, 1);
    if (options.k !== undefined) checkInteger('k', options.k, 1, MAX_K);
    if (options.sample !== undefined) checkInteger('sample', options.sample, 1, MAX_K);
    return this.#measureAndTune(options, options.queries && this.#split(options.queries));
  }

  /**
   * Not so where a build tunes: on 340,000 rows of words the reach takes 0.6 s of CPU time beside 3.8 s of a build, which
   * most indexes, never searched with a filter, would pay for nothing.
   */
  *#measureAndTune(options: TuneOptions, queries?: Float32Array[]): Generator<Progress, TuningReport> {
    try {
      yield* under({ phase: 'tune', done: 0, total: 1 }, this.passing.measureToSave());
    } catch (error) {
      // Without memory for that now, the first search that needs it measures.
      if (!isOutOfMemory(error)) throw error;
    }
    return yield* this.tuner.tune(options, queries);
  }

  /** Takes a filter in; returns how many ids pass. */
  takeFilter(filter: Filter<never>): number {
    return this.passing.take(filter, this.#nameOf);
  }

  /** How a search with a filter goes through the cells; null: it compares all rows that pass. */
  through(
    options: SearchOptions,
    k: number,
    settings: Settings | null,
    count: number,
  ): PassingSettings | null {
    const { probes, epsilon, patience, exact, recall = 0.95 } = options;
    if (exact || recall === 1) return null;
    if (probes === undefined && epsilon === undefined && patience === undefined)
      return this.passing.settings(k, recall, count);
    if (!settings) return null;
    const most = Math.min(settings.probes, this.engine.cells);
    return { probes: most, mostProbes: most, epsilon: settings.epsilon, reach: false, recall };
  }

  /** Checks what a search within a distance is given, and takes its filter in; null recall: every row is compared. */
  range(radius: number, options: RangeOptions): { recall: number | null; count: number } {
    checkOptions('options', options);
    checkNumber('radius', radius, this.engine.rows.metric === 'inner-product' ? -Infinity : 0, Infinity);
    const recall = options.recall === undefined ? 0.95 : checkNumber('recall', options.recall, 0, 1);
    const count = options.filter === undefined ? this.passing.takeNone() : this.takeFilter(options.filter);
    return { recall: options.exact || recall === 1 ? null : recall, count };
  }

  /** Checks options and finds the settings; null for an exact search. */
  resolve(options: SearchOptions = {}): { k: number; settings: Settings | null; most: number } {
    checkOptions('options', options);
    const k = options.k === undefined ? 10 : checkInteger('k', options.k, 1, MAX_K);
    const { probes, epsilon, patience, maxCandidates } = options;
    const most =
      maxCandidates === undefined
        ? Math.max(MAX_CANDIDATES, MAX_CANDIDATES_OF_ONE * Math.min(k, this.engine.size))
        : checkInteger('maxCandidates', maxCandidates, 1, 2 ** 32 - 1);
    const recall = options.recall === undefined ? 0.95 : checkNumber('recall', options.recall, 0, 1);
    if (options.exact || recall === 1) return { k, settings: null, most };
    const wanted = Math.min(k, Math.max(1, this.engine.size));
    if (probes === undefined && epsilon === undefined && patience === undefined) {
      return { k, settings: this.tuner.settings(wanted, recall), most };
    }
    const tuned = this.tuner.settings(wanted, recall);
    const settings = {
      probes:
        probes === undefined
          ? (tuned?.probes ?? this.engine.cells)
          : checkInteger('probes', probes, 1, 2 ** 32 - 1),
      epsilon: epsilon === undefined ? (tuned?.epsilon ?? 3) : checkNumber('epsilon', epsilon, 0, Infinity),
      patience: patience === undefined ? 0 : checkInteger('patience', patience, 0, 2 ** 32 - 1),
    };
    // Every cell and no bound is every row: the exact scan does that without the detour.
    if (settings.probes >= this.engine.cells && settings.epsilon === Infinity)
      return { k, settings: null, most };
    return { k, settings, most };
  }

  /** The rows that pass a filter now, whatever becomes of it. */
  setOf(filter: Filter<never>): IdSet {
    return this.passing.setOf(filter, this.#nameOf);
  }

  get #nameOf(): ((row: number) => unknown) | undefined {
    const { userIds } = this;
    return userIds && ((row) => userIds.idOf(row));
  }

  get #dimensions(): number {
    return this.engine.rows.dimensions;
  }

  /** Runs one search; returns how many neighbors the engine has ready. */
  #run(
    query: Float32Array,
    options: SearchOptions | undefined,
    k: number,
    settings: Settings | null,
    most: number,
  ): number {
    const { engine } = this;
    if (options?.filter === undefined)
      return settings ? engine.run(query, k, settings, most) : engine.runExact(query, k);
    checkVector('query', query, this.#dimensions);
    const count = this.takeFilter(options.filter);
    return this.passing.search(query, k, this.through(options, k, settings, count), count).found;
  }

  /** Queries as single vectors, each checked. */
  #split(queries: Float32Array): Float32Array[] {
    const dimensions = this.#dimensions;
    const count = checkRows('queries', queries, dimensions);
    return Array.from({ length: count }, (_, i) => queries.subarray(i * dimensions, (i + 1) * dimensions));
  }
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
