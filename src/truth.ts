import type { Neighbors } from './neighbors.js';
import { finish, type Progress } from './progress.js';
import { isTruthCheap, NO_ROW, type Settings, TRUTH, type Tunable, type Work } from './settings.js';

/** Draws integers below a bound. */
export interface RandomIntegers {
  integer(bound: number): number;
}

/** Queries by which is checked whether the wide bound may stand for the truth. */
const CHECKED = 8;
/** One-sided 95 % of a normal distribution. */
const CONFIDENCE = 1.645;

/** True neighbors of rows by id: by exact searches, and by the wide bound of these cells' codes. */
interface Known {
  version: number;
  k: number;
  cells: number;
  exact: Map<number, Seen>;
  wide: Map<number, Seen>;
  isTooNarrow?: boolean;
}

/** What the search that found a query's true neighbors saw. */
interface Seen {
  neighbors: Uint32Array;
  /** The cells, by their place in its order, that changed its best estimates; of an exact search null. */
  changes: Uint32Array | null;
}

/** What a sample's queries did with some settings. */
export interface Measured {
  recalls: Float64Array;
  /** Of each query. */
  limits: Float64Array;
  /** On average. */
  counters: Work;
}

/** How far a tuning has come: queries that were run, of about how many. */
export class Steps {
  #done = 0;
  #planned = 0;

  /** Begins anew. */
  plan(queries: number): void {
    this.#done = 0;
    this.#planned = queries;
  }

  get now(): Progress {
    return { phase: 'tune', done: this.#done, total: this.#planned };
  }

  /** One more query was run. */
  readonly next = (): Progress => {
    this.#done = Math.min(this.#done + 1, this.#planned);
    return this.now;
  };
}

/** Queries with their true neighbors, which the recall of settings is measured against. */
export class Sample {
  readonly engine: Tunable;
  readonly steps: Steps;
  readonly queries: readonly Float32Array[];
  readonly k: number;
  /** True neighbors, queries × k. */
  readonly truth: Uint32Array;
  #seen: readonly Seen[];
  /** Neighbors that are asked for: a row that is a query finds itself, which does not count. */
  #width: number;
  /** What was measured on all of these queries, or given up, by settings. Targets must not fall. */
  #measured: Map<string, Measured> = new Map();

  constructor(
    engine: Tunable,
    steps: Steps,
    queries: readonly Float32Array[],
    k: number,
    seen: readonly Seen[],
    width: number,
  ) {
    this.engine = engine;
    this.steps = steps;
    this.queries = queries;
    this.k = k;
    this.truth = new Uint32Array(queries.length * k).fill(NO_ROW);
    for (const [i, { neighbors }] of seen.entries()) this.truth.set(neighbors, i * k);
    this.#seen = seen;
    this.#width = width;
  }

  /** Of each query the cells, by their place in its order, that change its best estimates: the same for every bound. */
  *changes(): Generator<Progress, Uint32Array[]> {
    const { engine, queries } = this;
    const changes = this.#seen.flatMap((seen) => seen.changes ?? []);
    if (changes.length === queries.length) return changes;
    const narrowest = { ...TRUTH, epsilon: 0 };
    const { counters } = yield* engine.runEach(queries, this.#width, narrowest, this.steps.next);
    return counters.map((did) => placesOf(did.changes));
  }

  /** Runs the queries and averages what they did; gives up half-way where a target is out of reach. */
  *measure(settings: Settings, target: number = 0): Generator<Progress, Measured> {
    const { probes, epsilon, patience, keep } = settings;
    const key = [probes, epsilon, patience, keep].join();
    const before = this.#measured.get(key);
    // What has failed for a lower target has also failed for this one.
    if (before) return before;
    const measured = yield* this.#run(settings, target);
    this.#measured.set(key, measured);
    return measured;
  }

  *#run(settings: Settings, target: number): Generator<Progress, Measured> {
    const size = this.queries.length;
    const recalls = new Float64Array(size);
    const limits = new Float64Array(size);
    const total: Work = { cells: 0, codes: 0, survivors: 0, refined: 0, ranked: 0 };
    const width = this.#width;
    const half = Math.min(size, (size >> 1) + 1);
    for (const [first, end] of [
      [0, half],
      [half, size],
    ]) {
      const queries = this.queries.slice(first, end);
      const { ids, counters } = yield* this.engine.runEach(queries, width, settings, this.steps.next);
      for (let i = first; i < end; i++) {
        const did = counters[i - first];
        for (const key of Object.keys(total) as (keyof Work)[]) total[key] += did[key] / size;
        limits[i] = did.limit;
        const found = ids.subarray((i - first) * width, (i - first + 1) * width);
        recalls[i] = this.#recallOf(i, found);
      }
      // A setting that has failed by half of the sample need not see the rest.
      const seen = half - 1;
      if (end === half && seen > 30 && mean(recalls.subarray(0, seen)) < target) {
        return { recalls: recalls.subarray(0, seen), limits, counters: total };
      }
    }
    return { recalls, limits, counters: total };
  }

  /** Recalls of exact searches. */
  measureExact(): Float64Array {
    const { k } = this;
    const found: Neighbors = { ids: new Uint32Array(k), distances: new Float32Array(k) };
    return Float64Array.from(this.queries, (query, i) => {
      const count = this.engine.runExact(query, k);
      this.engine.read(count, found, 0);
      return this.#recallOf(i, found.ids.subarray(0, count));
    });
  }

  #recallOf(i: number, ids: Uint32Array): number {
    const { k, truth } = this;
    let all = 0;
    let hit = 0;
    for (let j = i * k; j < (i + 1) * k; j++) {
      if (truth[j] === NO_ROW) continue;
      all++;
      if (ids.includes(truth[j])) hit++;
    }
    return all ? hit / all : 1;
  }
}

/** Makes samples of an engine's rows, or of given queries, and remembers the true neighbors of rows. */
export class Sampler {
  #engine: Tunable;
  #random: () => RandomIntegers;
  #steps: Steps;
  #known: Known | undefined;

  /** @param random gives a source that starts anew, so that a sample depends on the rows alone, not on those before. */
  constructor(engine: Tunable, random: () => RandomIntegers, steps: Steps) {
    this.#engine = engine;
    this.#random = random;
    this.#steps = steps;
  }

  /** A sample of random rows, each not counting itself, or of given queries. */
  *draw(k: number, wanted: number, given?: Float32Array[]): Generator<Progress, Sample> {
    const own = given ? null : this.drawIds(wanted);
    const queries = given ?? (own as number[]).map((id) => this.#engine.vector(id));
    const seen = yield* this.#see(queries, own, k, false);
    return new Sample(this.#engine, this.#steps, queries, k, seen, own ? k + 1 : k);
  }

  /** A sample of queries with these true neighbors, rows × any number, or with those that exact searches find. */
  given(queries: Float32Array[], k: number, truth?: Uint32Array | Int32Array): Sample {
    const seen = truth ? this.#columns(truth, queries.length, k) : finish(this.#see(queries, null, k, true));
    return new Sample(this.#engine, this.#steps, queries, k, seen, k);
  }

  /** Ids of random rows, all different; of more wanted, the first are the same. */
  drawIds(wanted: number): number[] {
    const { size } = this.#engine;
    if (size < 2) return [];
    const rows = new Set<number>();
    const random = this.#random();
    while (rows.size < Math.min(wanted, size)) rows.add(random.integer(size));
    const ids = this.#engine.ids();
    return Array.from(rows, (row) => ids[row]);
  }

  *#see(
    queries: readonly Float32Array[],
    own: readonly number[] | null,
    k: number,
    exact: boolean,
  ): Generator<Progress, Seen[]> {
    const engine = this.#engine;
    const width = own ? k + 1 : k;
    const before: Known = own ? this.#knownOf(k) : this.#nothingKnown(k);
    let all = exact || isTruthCheap(engine, queries.length);
    if (!all) all = before.isTooNarrow ??= yield* this.#isBoundTooNarrow(queries, width);
    const known = all ? before.exact : before.wide;
    const unknown = queries.map((_, i) => i).filter((i) => !known.has(own?.[i] ?? NO_ROW));
    const asked = unknown.map((i) => queries[i]);
    const { ids, counters } = yield* engine.runEach(asked, width, all ? null : TRUTH, this.#steps.next);
    const fresh: Seen[] = unknown.map((i, place) => ({
      neighbors: ids
        .subarray(place * width, (place + 1) * width)
        .filter((id) => id !== own?.[i])
        .slice(0, k),
      changes: all ? null : placesOf(counters[place].changes),
    }));
    if (!own) return fresh;
    for (const [place, i] of unknown.entries()) known.set(own[i], fresh[place]);
    return own.map((id) => known.get(id) as Seen);
  }

  /** Whether the bound that would stand for the truth loses neighbors of some queries. */
  *#isBoundTooNarrow(queries: readonly Float32Array[], k: number): Generator<Progress, boolean> {
    const count = Math.min(CHECKED, queries.length);
    const some = Array.from({ length: count }, (_, i) => queries[Math.floor((i * queries.length) / count)]);
    const wide = yield* this.#engine.runEach(some, k, TRUTH, this.#steps.next);
    const sure = yield* this.#engine.runEach(some, k, null, this.#steps.next);
    return sure.ids.some((id, at) => id !== wide.ids[at]);
  }

  /** What is known already: the looks of a build and its tuning ask for the neighbors of the same rows. */
  #knownOf(k: number): Known {
    const { version, cells } = this.#engine;
    if (this.#known?.version !== version || this.#known.k !== k) this.#known = this.#nothingKnown(k);
    else if (this.#known.cells !== cells)
      this.#known = { ...this.#nothingKnown(k), exact: this.#known.exact };
    return this.#known;
  }

  #nothingKnown(k: number): Known {
    const { version, cells } = this.#engine;
    return { version, k, cells, exact: new Map(), wide: new Map() };
  }

  /** The first k of each row of a table of neighbors, rows removed since left out. */
  #columns(truth: Uint32Array | Int32Array, rows: number, k: number): Seen[] {
    const width = rows ? truth.length / rows : k;
    return Array.from({ length: rows }, (_, i) => {
      const row = Uint32Array.from(truth.subarray(i * width, (i + 1) * width));
      return { neighbors: row.filter((id) => !this.#engine.isRemoved(id)).subarray(0, k), changes: null };
    });
  }
}

/** Of no numbers 1: a recall to which nothing is lacking. */
export function mean(values: Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return values.length ? sum / values.length : 1;
}

/** What the mean of such values is above with 95 % confidence. */
export function lowerBound(values: Float64Array): number {
  const average = mean(values);
  if (values.length < 2) return average;
  let squares = 0;
  for (const value of values) squares += (value - average) * (value - average);
  return average - CONFIDENCE * Math.sqrt(squares / (values.length - 1) / values.length);
}

/** Places of the bits that are set. */
function placesOf(bits: Uint32Array): Uint32Array {
  const places: number[] = [];
  for (const [word, left] of bits.entries())
    for (let set = left; set !== 0; set &= set - 1) places.push(32 * word + 31 - Math.clz32(set & -set));
  return Uint32Array.from(places);
}
