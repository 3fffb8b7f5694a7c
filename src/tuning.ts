import type { RowPlaces } from './cells.js';
import type { Neighbors } from './neighbors.js';
import { finish, type Progress, StepClock, under } from './progress.js';

/** How a search of the engine is done. */
export interface Settings {
  /** Cells that are visited, nearest first. */
  probes: number;
  /** Half-width of the codes' error bound in standard deviations. */
  epsilon: number;
  /** Cells without a change among the k best estimates after which the scan stops; 0: it never stops early. */
  patience: number;
  /** Survivors of the second stage that are ranked exactly; by default from k; 0: no second stage. */
  keep?: number;
}

/** Options of a tuning. */
export interface TuneOptions {
  /** Share of the true neighbors that should be found, 0 to 1; default: 0.9, 0.95 and 0.99. */
  recall?: number;
  /** Neighbors a search; default 10. */
  k?: number;
  /** Queries like those to come, queries × dimensions; by default rows of the index, each not counting itself. */
  queries?: Float32Array;
  /** Rows taken as queries where none are given; default 300, fewer where the index is small. */
  sample?: number;
}

/** A setting that was measured for a recall. */
export interface TunedSetting extends Settings {
  /** Recall that was asked for. */
  target: number;
  /** Mean recall over the sample, and what it is above with 95 % confidence. */
  recall: number;
  atLeast: number;
  /** Whether `atLeast` reaches the target. */
  met: boolean;
  /** Modeled microseconds a query, from what the queries did: for comparing settings, not machines. */
  cost: number;
}

/** What a tuning found. */
export interface TuningReport {
  k: number;
  /** Queries measured, and whether they were rows of the index. */
  sample: number;
  source: 'queries' | 'rows';
  settings: TunedSetting[];
  /** Predicted recall by cells probed (rows of the table) and epsilon (columns), before patience. */
  table: { probes: number[]; epsilons: number[]; recall: number[][] };
  /** The same in words. */
  text: string;
}

/** A measured recall. */
export interface Evaluation {
  recall: number;
  /** What the recall is above with 95 % confidence, over queries like these. */
  atLeast: number;
  queries: number;
  k: number;
}

/** Draws integers below a bound. */
export interface RandomIntegers {
  integer(bound: number): number;
}

/** What the tuner asks of an engine. */
export interface Tunable {
  readonly size: number;
  readonly dims: number;
  readonly stride: number;
  readonly cells: number;
  /** Whether its cells are shells: visited in their order, whatever the query. */
  readonly isShelled: boolean;
  /** Whether survivors pass a second stage. */
  readonly isRefined: boolean;
  /** Runs a search; returns how many neighbors, for `read`. */
  run(query: Float32Array, k: number, settings: Settings): number;
  runExact(query: Float32Array, k: number): number;
  read(found: number, into: Neighbors, at: number): void;
  vector(id: number): Float32Array;
  /** The ids of all rows, ascending. */
  ids(): Uint32Array;
  /** Whether there was a row of this id that is no more. */
  isRemoved(id: number): boolean;
  /** Changes whenever rows come, change or go. */
  readonly version: number;
  /** Squared distances between rows, by id: from × to. */
  distancesBetween(from: readonly number[], to: readonly number[]): Float32Array;
  /** Rows in each cell. */
  cellSizes(): Uint32Array;
  placesOfRows(): Generator<Progress, RowPlaces>;
  /** How a search for a query comes by the rows at these places, one for one. */
  approach(query: Float32Array, cells: Uint32Array, slots: Uint32Array): Approach;
  /** What the last search did. */
  counters(): Counters;
  /**
   * Runs a search for each query (settings null: exact), on several threads perhaps: the ids that each found, and
   * 4294967295 in places that are not filled, and what it did. `step` tells progress, once a query.
   */
  runEach(
    queries: readonly Float32Array[],
    k: number,
    settings: Settings | null,
    step: () => Progress,
  ): Generator<Progress, { ids: Uint32Array; counters: Counters[] }>;
}

/** How a search comes by some rows. */
export interface Approach {
  /** All cells, those nearest to the query first. */
  order: Uint32Array;
  /** Of each row the place of its cell in that order, from 0. */
  ranks: Uint32Array;
  /** What its code says of its squared distance, and by how much epsilon = 1 puts the lower bound under that. */
  estimates: Float64Array;
  widths: Float64Array;
}

/** `runEach` by `run`, on this thread. */
export function* runOneByOne(
  engine: Pick<Tunable, 'run' | 'runExact' | 'read' | 'counters'>,
  queries: readonly Float32Array[],
  k: number,
  settings: Settings | null,
  step: () => Progress,
): Generator<Progress, { ids: Uint32Array; counters: Counters[] }> {
  const ids = new Uint32Array(queries.length * k).fill(NO_ROW);
  const found = neighbors(k);
  const counters: Counters[] = [];
  for (const [i, query] of queries.entries()) {
    const count = settings ? engine.run(query, k, settings) : engine.runExact(query, k);
    engine.read(count, found, 0);
    ids.set(found.ids.subarray(0, count), i * k);
    counters.push(engine.counters());
    yield step();
  }
  return { ids, counters };
}

/** What one search did. */
export interface Counters {
  cells: number;
  codes: number;
  survivors: number;
  refined: number;
  ranked: number;
  /** What a lower bound had to be under at the end of the scan; of no meaning after exact searches. */
  limit: number;
}

const TARGETS: readonly number[] = [0.9, 0.95, 0.99];
const EPSILONS: readonly number[] = [1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.45, 2.7, 3, 3.3, 3.6];
/** The same for shells, of which few are left out: what they miss the bound must not. */
const SHELL_EPSILONS: readonly number[] = [2, 2.15, 2.3, 2.45, 2.6, 2.75, 2.9, 3.1, 3.3];
/** Two bounds that are tried differ by this at least. */
const APART = 0.35;
/** Added to epsilon, at most, for more neighbors than were tuned. */
const WIDER = 0.6;
/** Added to the largest of them where even all cells do not suffice. */
const WIDEST = 1;
/** First step by which a setting that is met with room to spare is narrowed, and how many are tried. */
const EPSILON_STEP = 0.4;
const MOST_TRIES = 3;
/** Where probes were too few, at least so many times as many are tried. */
const LEAST_STEP = 1.05;
/**
 * A bound this wide loses no neighbor that is worth a word of most data: it stands for the truth where an exact scan is
 * dear, and CHECKED queries, scanned exactly as well, agree. (They do not where an inner product's rows differ much in
 * length: there tunings promised .95 and searches found .81.)
 */
const TRUTH: Settings = { probes: 2 ** 31, epsilon: 3.7, patience: 0, keep: 0 };
const CHECKED = 8;
/** Rows × floats × queries up to which the truth is computed by exact scans. */
const EXACT_WORK = 4e8;
/** Stands where there is no row. */
const NO_ROW = 0xffffffff;
const DEFAULT_K = 10;
/** How often about a tuning runs its sample: before any target, and for each; for progress only. */
const PASSES = 4;
const TRIES = 7;
/** One-sided 95 % of a normal distribution. */
const CONFIDENCE = 1.645;
/** A trial on a few thousand rows scans fewer codes than the whole will. */
const TRIAL_WEIGHT = 3;
/** Recall that a second stage may cost. */
const SECOND_STAGE_LOSS = 0.005;
/** Rows that a first look at the data asks for their neighbors. */
const LOOK = 50;
/** Random rows that stand for cells before there are any. */
const STAND_INS = 64;
/** More than this share of the cells for a recall of 0.95: the data has no structure that cells could use. */
const STRUCTURELESS = 0.4;
/**
 * The same of random rows as cells, which are worse than trained ones. At 128 dimensions Gaussian rows need 0.64 to 0.67 of
 * them, at 32 dimensions 0.39; words and images 0.11 to 0.3, however many rows there are.
 */
const HOPELESS = 0.55;

/** Settings before any tuning: careful. */
function untuned({ cells, isShelled }: Tunable): Settings {
  const probes = isShelled ? cells : Math.min(cells, Math.max(8, Math.ceil(cells * 0.1)));
  return { probes, epsilon: 3, patience: 0 };
}

/** Survivors of the second stage that are ranked exactly for k neighbors. */
export function keepFor(k: number): number {
  return 2 * k + 12;
}

/** The most that a tuning may choose: where many neighbors lie close together, the second stage's order is rough. */
export function mostKept(k: number): number {
  return 6 * k + 17;
}

/** The same as `keepFor`, where the second stage's order is trusted. */
function leastKeep(k: number): number {
  return Math.ceil(1.2 * k) + 4;
}

interface Sample {
  k: number;
  queries: Float32Array[];
  /** Ids that do not count, one a query: a row asked for its neighbors finds itself. */
  own: number[] | null;
  /** True neighbors, queries × k. */
  truth: Uint32Array;
  /** What was measured on all of these queries, or given up, by settings. Targets must not fall. */
  measured: Map<string, Measured>;
}

/** What a first look at a build tells. */
export interface Look {
  /** Share of the cells that a query must visit, nearest first, and whether cells are of use with that. */
  share: number;
  structureless: boolean;
  /** Rows that an ordinary search ranks. */
  ranked: number;
}

/** True neighbors of rows by id: by exact searches, and by the wide bound of these cells' codes. */
interface Known {
  version: number;
  k: number;
  cells: number;
  exact: Map<number, Uint32Array>;
  wide: Map<number, Uint32Array>;
  isTooNarrow?: boolean;
}

/** How searches for a sample come by its true neighbors, queries × k. */
interface Approaches extends Omit<Approach, 'order'> {
  /** Codes in the first cells, on average: of none, of one, … */
  codes: Float64Array;
}

/** What a sample's queries did with some settings. */
interface Measured {
  recalls: Float64Array;
  /** Of each query. */
  limits: Float64Array;
  /** On average. */
  counters: Work;
}

type Work = Omit<Counters, 'limit'>;

interface Run extends Settings, Measured {}

/** A target recall → probes, epsilon, patience. */
export class Tuner {
  #engine: Tunable;
  #tuned: Map<number, TunedSetting[]> = new Map();
  #random: () => RandomIntegers;
  #known: Known | undefined;
  /** What was asked for last, and what it was given. */
  #last: { k: number; recall: number; settings: Settings | null } | undefined;
  /** Queries that the work under way has run, and about how many it will. */
  #done = 0;
  #planned = 0;

  /** `random` gives a source that starts anew, so that a sample depends on the rows alone, not on what was tuned before. */
  constructor(engine: Tunable, random: () => RandomIntegers) {
    this.#engine = engine;
    this.#random = random;
  }

  /** Drops what was tuned, for an index that is built anew. */
  forget(): void {
    this.#tuned.clear();
    this.#last = undefined;
  }

  /** Takes over what was tuned before, by k. */
  restore(tuned: Map<number, TunedSetting[]>): void {
    this.forget();
    this.#tuned = tuned;
  }

  /** Every tuned setting, by k. */
  get tuned(): ReadonlyMap<number, readonly TunedSetting[]> {
    return this.#tuned;
  }

  /**
   * Settings for a recall: the tuned ones of the next higher target; null where only an exact search is sure to reach
   * it. Between values of k that were tuned, settings of the next larger are taken; beyond the largest they are widened.
   */
  settings(k: number, recall: number): Settings | null {
    const last = this.#last;
    if (last && last.k === k && last.recall === recall) return last.settings;
    const settings = this.#choose(k, recall);
    this.#last = { k, recall, settings };
    return settings;
  }

  #choose(k: number, recall: number): Settings | null {
    if (this.#tuned.size === 0) return recall > 0.99 ? null : untuned(this.#engine);
    const reaches = (setting: TunedSetting): boolean => setting.target >= recall && setting.met;
    const ks = [...this.#tuned.keys()].sort((a, b) => a - b);
    // The next larger k whose tuning reaches the recall; else the largest of the smaller ones, widened.
    for (const tuned of [...ks.filter((at) => at >= k), ...ks.filter((at) => at < k).reverse()]) {
      const settings = (this.#tuned.get(tuned) as TunedSetting[]).find(reaches);
      if (settings) return k <= tuned ? settings : this.#widened(settings, k / tuned);
      // Tried for as many neighbors, and not reached: fewer neighbors' settings would not reach it either.
      if (tuned === k && (this.#tuned.get(tuned) as TunedSetting[]).some(({ target }) => target >= recall))
        return null;
    }
    return null;
  }

  /** For more neighbors than were tuned: they lie farther out, in more cells and nearer to the edge of the bound. */
  #widened(settings: Settings, factor: number): Settings {
    const more = Math.sqrt(factor);
    return {
      probes: Math.min(this.#engine.cells, Math.ceil(settings.probes * more)),
      epsilon: settings.epsilon + (WIDER * Math.max(0, factor - 1)) / (factor + 3),
      patience: Math.ceil(settings.patience * more),
    };
  }

  /**
   * Measures settings for one or several targets and keeps them.
   *
   * One wide pass over the sample tells, for every true neighbor, in which cell of the query's order it lies and which
   * bound lets its code through; that predicts the recall of every (probes, epsilon). The cheapest predictions are then
   * run and corrected by what they really find. Cost is modeled from what the queries did (cells, codes, rows), not from
   * a clock, so that the same data gives the same settings on every machine.
   */
  *tune(options: TuneOptions, queries?: Float32Array[]): Generator<Progress, TuningReport> {
    const engine = this.#engine;
    const k = Math.max(1, Math.min(options.k ?? DEFAULT_K, engine.size - (queries ? 0 : 1)));
    const targets = options.recall === undefined ? TARGETS : [options.recall];
    const wanted = queries?.length ?? Math.min(options.sample ?? sampleSize(engine.size), engine.size);
    this.#done = 0;
    this.#planned = Math.max(1, wanted * (PASSES + targets.length * TRIES));
    const sample = yield* this.#draw(k, wanted, queries);
    const size = sample.queries.length;
    const grid = yield* this.#grid(sample);
    const settings: TunedSetting[] = [];
    for (const target of targets) settings.push(yield* this.#settle(sample, grid, target));
    if (size > 0) {
      const others = (this.#tuned.get(k) ?? []).filter((old) => !targets.includes(old.target));
      this.#last = undefined;
      this.#tuned.set(
        k,
        [...others, ...settings].sort((a, b) => a.target - b.target),
      );
    }
    const probes = ladder(engine.cells);
    const table = probes.map((p) => grid.epsilons.map((e) => (size ? mean(grid.recalls(p, e)) : 1)));
    const report: TuningReport = {
      k,
      sample: size,
      source: queries ? 'queries' : 'rows',
      settings,
      table: { probes, epsilons: [...grid.epsilons], recall: table },
      text: '',
    };
    report.text = describe(report, engine);
    return report;
  }

  /** One more query was run. */
  #step(): Progress {
    this.#done = Math.min(this.#done + 1, this.#planned);
    return { phase: 'tune', done: this.#done, total: this.#planned };
  }

  /** Measures the recall of settings (null: exact) on queries. */
  evaluate(
    queries: Float32Array[],
    k: number,
    settings: Settings | null,
    truth?: Uint32Array | Int32Array,
  ): Evaluation {
    const wanted = Math.min(k, this.#engine.size);
    const sample: Sample = {
      k: wanted,
      queries,
      own: null,
      measured: new Map(),
      truth: truth
        ? this.#columns(truth, queries.length, wanted)
        : finish(this.#truth(queries, null, wanted, true)),
    };
    const recalls = settings ? finish(this.#measure(sample, settings)).recalls : this.#measureExact(sample);
    return { recall: mean(recalls), atLeast: lowerBound(recalls), queries: queries.length, k };
  }

  /**
   * Whether cells are of no use for certain, before any are made: the neighbors of a row lie all over random rows taken as
   * cells. Only asked where the truth is cheap; of larger data `look` tells after the build.
   */
  *areCellsHopeless(): Generator<Progress, boolean> {
    const engine = this.#engine;
    const k = Math.min(DEFAULT_K, engine.size - 1);
    if (k < 1 || engine.size < LOOK + STAND_INS || !this.#isTruthCheap(LOOK)) return false;
    const { truth } = yield* this.#draw(k, LOOK);
    const drawn = this.#drawIds(LOOK + STAND_INS);
    const [own, centres] = [drawn.slice(0, LOOK), drawn.slice(LOOK)];
    const fromQueries = engine.distancesBetween(own, centres);
    const fromNeighbors = engine.distancesBetween([...truth], centres);
    const ranks = Uint32Array.from(truth, (_, i) => {
      const neighbor = fromNeighbors.subarray(i * STAND_INS, (i + 1) * STAND_INS);
      const query = fromQueries.subarray(Math.floor(i / k) * STAND_INS).subarray(0, STAND_INS);
      const limit = query[neighbor.indexOf(Math.min(...neighbor))];
      return query.reduce((rank, distance) => rank + (distance < limit ? 1 : 0), 0);
    });
    return most(ranks, 0.95) > HOPELESS * STAND_INS;
  }

  /**
   * A first look at a fresh build.
   */
  *look(): Generator<Progress, Look> {
    const engine = this.#engine;
    const k = Math.min(DEFAULT_K, engine.size - 1);
    if (k < 1) return { structureless: false, share: 0, ranked: 0 };
    const sample = yield* this.#draw(k, LOOK);
    const probes = most((yield* this.#approach(sample)).ranks, 0.95);
    const { counters } = yield* this.#measure(sample, { probes, epsilon: 2.2, patience: 0 });
    const share = probes / engine.cells;
    return { structureless: share > STRUCTURELESS, share, ranked: counters.ranked };
  }

  /**
   * Whether a second stage finds what a search without it finds. Its levels are as wide as the whole of the data is, so
   * clumps much tighter than the whole, or rows of very different length, are all one to it.
   */
  *isSecondStageGood(): Generator<Progress, boolean> {
    const engine = this.#engine;
    const k = Math.min(DEFAULT_K, engine.size - 1);
    if (k < 1) return true;
    const sample = yield* this.#draw(k, LOOK);
    const { probes } = untuned(engine);
    const settings = { probes, epsilon: 2.7, patience: 0 };
    const without = yield* this.#measure(sample, { ...settings, keep: 0 });
    const refined = yield* this.#measure(sample, settings);
    return mean(refined.recalls) >= mean(without.recalls) - SECOND_STAGE_LOSS;
  }

  /** Modeled cost of a search that reaches a recall on a small sample, with codes weighed as in a larger index. */
  *tryCost(recall: number): Generator<Progress, number> {
    const engine = this.#engine;
    const sample = yield* this.#draw(DEFAULT_K, 60);
    const grid = yield* this.#grid(sample);
    let least = Number.POSITIVE_INFINITY;
    grid.epsilons.forEach((epsilon) => {
      const probes = grid.probesFor(recall, epsilon);
      if (probes > 0)
        least = Math.min(least, grid.cost({ probes, epsilon, patience: 0 }, engine, TRIAL_WEIGHT));
    });
    return least;
  }

  *#draw(k: number, wanted: number, given?: Float32Array[]): Generator<Progress, Sample> {
    const own = given ? null : this.#drawIds(wanted);
    const queries = given ?? (own as number[]).map((id) => this.#engine.vector(id));
    const truth = yield* this.#truth(queries, own, k, false);
    return { k, queries, own, truth, measured: new Map() };
  }

  /** Ids of random rows, all different; of more wanted, the first are the same. */
  #drawIds(wanted: number): number[] {
    const { size } = this.#engine;
    if (size < 2) return [];
    const rows = new Set<number>();
    const random = this.#random();
    while (rows.size < Math.min(wanted, size)) rows.add(random.integer(size));
    const ids = this.#engine.ids();
    return Array.from(rows, (row) => ids[row]);
  }

  #isTruthCheap(queries: number): boolean {
    return this.#engine.size * this.#engine.stride * queries <= EXACT_WORK;
  }

  *#truth(
    queries: Float32Array[],
    own: number[] | null,
    k: number,
    exact: boolean,
  ): Generator<Progress, Uint32Array> {
    const engine = this.#engine;
    const width = own ? k + 1 : k;
    const before: Known = own ? this.#knownOf(k) : this.#nothingKnown(k);
    let all = exact || this.#isTruthCheap(queries.length);
    if (!all) all = before.isTooNarrow ??= yield* this.#isBoundTooNarrow(queries, width);
    const truth = new Uint32Array(queries.length * k).fill(NO_ROW);
    const known = all ? before.exact : before.wide;
    const unknown = queries.map((_, i) => i).filter((i) => !known.has(own?.[i] ?? NO_ROW));
    const asked = unknown.map((i) => queries[i]);
    const { ids } = yield* engine.runEach(asked, width, all ? null : TRUTH, () => this.#step());
    for (const [place, i] of unknown.entries()) {
      let at = i * k;
      for (const id of ids.subarray(place * width, (place + 1) * width)) {
        if (id !== own?.[i] && at < (i + 1) * k) truth[at++] = id;
      }
    }
    for (const [i, id] of (own ?? []).entries()) {
      const neighbors = known.get(id);
      if (neighbors) truth.set(neighbors, i * k);
      else known.set(id, truth.slice(i * k, (i + 1) * k));
    }
    return truth;
  }

  /** Whether the bound that would stand for the truth loses neighbors of some queries. */
  *#isBoundTooNarrow(queries: Float32Array[], k: number): Generator<Progress, boolean> {
    const count = Math.min(CHECKED, queries.length);
    const some = Array.from({ length: count }, (_, i) => queries[Math.floor((i * queries.length) / count)]);
    const wide = yield* this.#engine.runEach(some, k, TRUTH, () => this.#step());
    const sure = yield* this.#engine.runEach(some, k, null, () => this.#step());
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
  #columns(truth: Uint32Array | Int32Array, rows: number, k: number): Uint32Array {
    const width = rows ? truth.length / rows : k;
    const taken = new Uint32Array(rows * k).fill(NO_ROW);
    for (let i = 0; i < rows; i++) {
      let at = i * k;
      for (let j = i * width; j < (i + 1) * width && at < (i + 1) * k; j++) {
        if (!this.#engine.isRemoved(truth[j])) taken[at++] = truth[j];
      }
    }
    return taken;
  }

  /** How searches for a sample come by its true neighbors. */
  *#approach(sample: Sample): Generator<Progress, Approaches> {
    const engine = this.#engine;
    const { k, truth } = sample;
    const done = { phase: 'tune', done: this.#done, total: this.#planned } as const;
    const places = yield* under(done, engine.placesOfRows());
    const approaches: Approaches = {
      ranks: new Uint32Array(truth.length),
      estimates: new Float64Array(truth.length),
      widths: new Float64Array(truth.length),
      codes: new Float64Array(engine.cells + 1),
    };
    const sizes = engine.cellSizes();
    const clock = new StepClock();
    for (const [i, query] of sample.queries.entries()) {
      const ids = truth.subarray(i * k, (i + 1) * k).map((id) => (id === NO_ROW ? 0 : id));
      const cells = ids.map((id) => places.cells[id]);
      const slots = ids.map((id) => places.slots[id]);
      const { order, ranks, estimates, widths } = engine.approach(query, cells, slots);
      approaches.ranks.set(ranks, i * k);
      approaches.estimates.set(estimates, i * k);
      approaches.widths.set(widths, i * k);
      addCodes(order, sizes, sample.queries.length, approaches.codes);
      const step = this.#step();
      if (clock.isDue()) yield step;
    }
    return approaches;
  }

  /**
   * What predicts the recall of any probes and epsilon. A search's limit does not depend on epsilon and hardly on the last of
   * its probes, so that two runs, of a narrow and of a wide bound, tell the limits, and by them which bound lets each true
   * neighbor's code pass. (To run five bounds over nearly all cells, as before, took a fifth of a build.)
   */
  *#grid(sample: Sample): Generator<Progress, Grid> {
    const approaches = yield* this.#approach(sample);
    const { cells, isShelled } = this.#engine;
    // Shells are few, and each holds some neighbors.
    const probes = isShelled ? cells : most(approaches.ranks, 0.97);
    const epsilons = isShelled ? SHELL_EPSILONS : EPSILONS;
    const runs: Run[] = [];
    for (const epsilon of [epsilons[Math.floor(epsilons.length / 3)], epsilons[epsilons.length - 1]]) {
      const settings = { probes, epsilon, patience: 0 };
      runs.push({ ...settings, ...(yield* this.#measure(sample, settings)) });
    }
    return new Grid(sample, approaches, runs, epsilons);
  }

  /** The cheapest setting that reaches a target on the sample. */
  *#settle(sample: Sample, grid: Grid, target: number): Generator<Progress, TunedSetting> {
    const tuner = this;
    const engine = this.#engine;
    const size = sample.queries.length;
    const best = { ...untuned(engine), target, recall: 1, atLeast: 1, met: size === 0, cost: Infinity };
    if (size === 0) return { ...best, met: true };
    const predictions: Settings[] = [];
    grid.epsilons.forEach((epsilon) => {
      const probes = grid.probesFor(target, epsilon);
      if (probes > 0) predictions.push({ probes, epsilon, patience: 0 });
    });
    const cost = (settings: Settings): number => grid.cost(settings, engine);
    predictions.sort((a, b) => cost(a) - cost(b));
    const [cheapest] = predictions;
    const other = predictions.find(({ epsilon }) => Math.abs(epsilon - cheapest.epsilon) >= APART);
    const starts = other ? [cheapest, other] : predictions.slice(0, 1);
    let found: TunedSetting | undefined;
    const tryIt = function* (settings: Settings): Generator<Progress, TunedSetting> {
      const { recalls, counters } = yield* tuner.#measure(sample, settings, target);
      const measured = {
        ...settings,
        target,
        recall: mean(recalls),
        atLeast: lowerBound(recalls),
        met: false,
        cost: costOf(counters, engine),
      };
      measured.met = measured.atLeast >= target;
      if (measured.met && (!found || measured.cost < found.cost)) found = measured;
      return measured;
    };
    const bases: TunedSetting[] = [];
    for (const prediction of starts) {
      // Prediction and truth differ a little: what the last try lacked is asked for on top.
      const { epsilon } = prediction;
      let { probes } = prediction;
      for (let step = 0; step < 4; step++) {
        const settings = { probes, epsilon, patience: 0 };
        const tried = yield* tryIt(settings);
        if (tried.met) {
          bases.push(tried);
          break;
        }
        const { recalls } = yield* tuner.#measure(sample, settings);
        const lack = mean(grid.recalls(probes, epsilon, recalls.length)) - mean(recalls);
        const aimed = grid.probesFor(target + Math.max(0, lack), epsilon);
        const next = Math.min(engine.cells, Math.max(aimed, Math.ceil(probes * LEAST_STEP)));
        if (aimed === 0 || next === probes) break;
        probes = next;
      }
    }
    // Beyond what the wide pass saw: more and more of everything, up to all cells and the widest bound.
    for (let probes = Math.min(engine.cells, grid.probes), wider = 0; !found; ) {
      const widest = yield* tryIt({ probes, epsilon: EPSILONS[EPSILONS.length - 1] + wider, patience: 0 });
      if (probes < engine.cells) {
        probes = Math.min(engine.cells, 2 * probes);
        continue;
      }
      wider += WIDEST / 2;
      if (wider <= WIDEST) continue;
      // Perhaps the second stage drops them: its order is rough, and many neighbors lie close together.
      for (const { epsilon, probes } of engine.isRefined ? starts : [])
        for (const keep of [3 * sample.k + 17, mostKept(sample.k)])
          if (!found) yield* tryIt({ probes, epsilon, patience: 0, keep });
      if (!found) return widest;
    }
    // Patience spends cells where a query is still finding something, and saves them elsewhere: the more the narrower the
    // bound, so that the dearer of two settings may become the cheaper one.
    let enough: TunedSetting | undefined;
    let tooFew: TunedSetting | undefined;
    for (const base of bases.length > 0 ? bases : [found as unknown as TunedSetting]) {
      if (base.probes < 24 || engine.cells <= base.probes) continue;
      const probes = Math.min(engine.cells, 2 * base.probes);
      let before: TunedSetting | undefined;
      for (const share of [0.3, 0.5, 0.7]) {
        const tried = yield* tryIt({
          probes,
          epsilon: base.epsilon,
          patience: Math.ceil(base.probes * share),
        });
        if (tried.met && !(enough && enough.cost < tried.cost)) [enough, tooFew] = [tried, before];
        if (tried.met || tried.cost > (found as unknown as TunedSetting).cost) break;
        before = tried;
      }
    }
    // Then less of that, between what was enough and what was not.
    for (let tries = 0; enough && tries < MOST_TRIES; tries++) {
      const { probes, epsilon, patience: high } = enough as TunedSetting;
      const low: number = tooFew?.patience ?? Math.floor(high / 2);
      if (high - low <= 1 + high / 20) break;
      const share = tooFew ? (target - tooFew.atLeast) / (enough.atLeast - tooFew.atLeast) : 0.5;
      const patience = Math.round(low + (high - low) * Math.min(0.8, Math.max(0.2, share)));
      const tried = yield* tryIt({ probes, epsilon, patience });
      if (tried.met) enough = tried;
      else tooFew = tried;
    }
    // Without patience less of the rest, by halving steps, for as long as it is met.
    for (let step = 1, tries = 0; step > 0.2 && tries < MOST_TRIES; tries++) {
      const best = found as unknown as TunedSetting;
      if (best.patience > 0 || best.atLeast < target + 0.001) break;
      const narrower = { probes: best.probes, epsilon: best.epsilon, patience: 0 };
      if (best.probes > 3) narrower.probes = Math.floor(best.probes * (1 - 0.2 * step));
      else narrower.epsilon = Math.max(0, Math.round((best.epsilon - EPSILON_STEP * step) * 100) / 100);
      yield* tryIt(narrower);
      if (found === best) step /= 2;
    }
    // Among shells a cell more costs little: where the bound was widened in big steps, less of that.
    for (let before: TunedSetting | undefined; engine.isShelled && found !== before; ) {
      before = found as unknown as TunedSetting;
      const { probes, epsilon, patience, atLeast } = before;
      if (epsilon > grid.epsilons[0] && atLeast > target + 0.001)
        yield* tryIt({ probes, epsilon: Math.round((epsilon - 0.15) * 100) / 100, patience });
    }
    // Fewer rows after the second stage, where its order is good enough.
    const last = found as unknown as TunedSetting;
    if (engine.isRefined) {
      const { probes, epsilon, patience } = last;
      yield* tryIt({ probes, epsilon, patience, keep: leastKeep(sample.k) });
    }
    return found as unknown as TunedSetting;
  }

  /** Runs the sample and averages what it did; gives up half-way where a target is out of reach. */
  *#measure(sample: Sample, settings: Settings, target = 0): Generator<Progress, Measured> {
    const { probes, epsilon, patience, keep } = settings;
    const key = [probes, epsilon, patience, keep].join();
    const before = sample.measured.get(key);
    // What has failed for a lower target has also failed for this one.
    if (before) return before;
    const measured = yield* this.#run(sample, settings, target);
    sample.measured.set(key, measured);
    return measured;
  }

  *#run(sample: Sample, settings: Settings, target: number): Generator<Progress, Measured> {
    const engine = this.#engine;
    const { k, own } = sample;
    const size = sample.queries.length;
    const recalls = new Float64Array(size);
    const limits = new Float64Array(size);
    const total: Work = { cells: 0, codes: 0, survivors: 0, refined: 0, ranked: 0 };
    const width = own ? k + 1 : k;
    const half = Math.min(size, (size >> 1) + 1);
    for (const [first, end] of [
      [0, half],
      [half, size],
    ]) {
      const queries = sample.queries.slice(first, end);
      const { ids, counters } = yield* engine.runEach(queries, width, settings, () => this.#step());
      for (let i = first; i < end; i++) {
        const did = counters[i - first];
        for (const key of Object.keys(total) as (keyof Work)[]) total[key] += did[key] / size;
        limits[i] = did.limit;
        const found = ids.subarray((i - first) * width, (i - first + 1) * width);
        recalls[i] = recallOf(sample, i, found);
      }
      // A setting that has failed by half of the sample need not see the rest.
      const seen = half - 1;
      if (end === half && seen > 30 && mean(recalls.subarray(0, seen)) < target) {
        return { recalls: recalls.subarray(0, seen), limits, counters: total };
      }
    }
    return { recalls, limits, counters: total };
  }

  #measureExact(sample: Sample): Float64Array {
    const found = neighbors(sample.k);
    return Float64Array.from(sample.queries, (query, i) => {
      const count = this.#engine.runExact(query, sample.k);
      this.#engine.read(count, found, 0);
      return recallOf(sample, i, found.ids.subarray(0, count));
    });
  }
}

/** Predicts searches of a sample. */
class Grid {
  #sample: Sample;
  #approaches: Approaches;
  #runs: readonly Run[];
  /** The epsilon from which on each true neighbor's code passes. */
  #needed: Float64Array;
  /** Searches order cells by codes of the centres: so many times as many reach what the nearest ones would. */
  #stretch = 1;
  /** The bounds to choose from. */
  readonly epsilons: readonly number[];
  /** Cells that hold nearly all true neighbors. */
  readonly probes: number;

  /** Runs: of the narrowest bound first. */
  constructor(sample: Sample, approaches: Approaches, runs: readonly Run[], epsilons: readonly number[]) {
    this.#sample = sample;
    this.#approaches = approaches;
    this.#runs = runs;
    this.epsilons = epsilons;
    this.probes = Math.max(most(approaches.ranks, 0.9995), runs[0].probes);
    const { k } = sample;
    const { estimates, widths } = approaches;
    const wide = runs[runs.length - 1];
    this.#needed = estimates.map((estimate, j) => {
      const above = estimate - wide.limits[Math.floor(j / k)];
      return above <= 0 ? 0 : above / widths[j];
    });
    const reached = mean(wide.recalls);
    this.#stretch = wide.probes / fewest(this.probes, (p) => mean(this.recalls(p, wide.epsilon)) >= reached);
  }

  /** Predicted recall of the first queries: neighbors in the first `probes` cells whose codes pass. */
  recalls(probes: number, epsilon: number, queries: number = this.#sample.queries.length): Float64Array {
    const { k, truth } = this.#sample;
    const { ranks } = this.#approaches;
    const recalls = new Float64Array(queries);
    for (let i = 0; i < queries; i++) {
      let hits = 0;
      let all = 0;
      for (let j = i * k; j < (i + 1) * k; j++) {
        if (truth[j] === NO_ROW) continue;
        all++;
        if (ranks[j] * this.#stretch < probes && this.#needed[j] <= epsilon) hits++;
      }
      recalls[i] = all ? hits / all : 1;
    }
    return recalls;
  }

  /** The fewest probes that are predicted to reach a target with confidence; 0 if none do. */
  probesFor(target: number, epsilon: number): number {
    const reaches = (probes: number): boolean => lowerBound(this.recalls(probes, epsilon)) >= target;
    return reaches(this.probes) ? fewest(this.probes, reaches) : 0;
  }

  /** Modeled cost of settings: codes by the probes, rows between those of the two runs, by epsilon. */
  cost({ probes, epsilon }: Settings, engine: Tunable, weight = 1): number {
    const [narrow, wide] = this.#runs;
    const share = (epsilon - narrow.epsilon) / (wide.epsilon - narrow.epsilon);
    const between = (key: 'survivors' | 'refined' | 'ranked'): number =>
      (1 + narrow.counters[key]) ** (1 - share) * (1 + wide.counters[key]) ** share - 1;
    return costOf(
      {
        cells: probes,
        codes: this.#approaches.codes[probes] * weight,
        survivors: between('survivors'),
        refined: between('refined'),
        ranked: between('ranked'),
      },
      engine,
    );
  }
}

/**
 * Microseconds of a query by what it did, fitted on one machine (AMD EPYC, Node 20): a code costs a constant and a little
 * for each dimension; a row costs its bytes, and more where the rows exceed the caches.
 */
function costOf(work: Work, engine: Tunable): number {
  const dims = engine.dims / 1000;
  const rowBytes = engine.stride * 4;
  const far = engine.size * rowBytes > 1 << 24 ? 0.06 : 0;
  return (
    1 +
    (engine.dims < engine.stride ? 3.2e-5 * engine.dims : 0.003) * engine.stride +
    0.06 * work.cells +
    0.0007 * engine.cells +
    work.codes * (0.0003 + 0.0072 * dims) +
    work.survivors * 0.008 +
    work.refined * (0.01 + 0.04 * dims) +
    work.ranked * (far + 0.004 + rowBytes * 4e-5)
  );
}

/** The least number from 1 to `most` that is enough, if `most` is. */
function fewest(most: number, isEnough: (count: number) => boolean): number {
  let [low, high] = [1, most];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isEnough(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Adds a query's share to the mean number of codes in the first cells of its order. */
function addCodes(order: Uint32Array, sizes: Uint32Array, queries: number, codes: Float64Array): void {
  let sum = 0;
  for (let rank = 0; rank < order.length; rank++) {
    sum += sizes[order[rank]] / queries;
    codes[rank + 1] += sum;
  }
}

/** Cells that must be probed for a share of the true neighbors, from the places of their cells. */
function most(ranks: Uint32Array, share: number): number {
  return ranks.length ? ranks.slice().sort()[Math.floor(share * (ranks.length - 1))] + 1 : 1;
}

function sampleSize(rows: number): number {
  return rows < 20_000 ? 120 : 300;
}

/** Numbers of cells for the report: powers of two and all. */
function ladder(cells: number): number[] {
  const steps: number[] = [];
  for (let probes = 1; probes < cells; probes *= 2) steps.push(probes);
  return [...steps, cells];
}

function neighbors(k: number): Neighbors {
  return { ids: new Uint32Array(k), distances: new Float32Array(k) };
}

/** Recall of one query. */
function recallOf(sample: Sample, i: number, ids: Uint32Array): number {
  const { k, truth } = sample;
  let all = 0;
  let hit = 0;
  for (let j = i * k; j < (i + 1) * k; j++) {
    if (truth[j] === NO_ROW) continue;
    all++;
    if (ids.includes(truth[j])) hit++;
  }
  return all ? hit / all : 1;
}

function mean(values: Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return values.length ? sum / values.length : 1;
}

/** What the mean of such values is above with 95 % confidence. */
function lowerBound(values: Float64Array): number {
  const average = mean(values);
  if (values.length < 2) return average;
  let squares = 0;
  for (const value of values) squares += (value - average) * (value - average);
  return average - CONFIDENCE * Math.sqrt(squares / (values.length - 1) / values.length);
}

function describe(report: TuningReport, engine: Tunable): string {
  const percent = (value: number): string => `${(100 * value).toFixed(1)} %`;
  const from = report.source === 'queries' ? 'given queries' : 'rows of the index, each not counting itself';
  const lines = [
    `${report.sample} ${from}; k = ${report.k}; ${engine.size} rows in ${engine.cells} cells`,
    ...report.settings.map((setting) => {
      const how = `${setting.probes} probes, epsilon ${setting.epsilon}${setting.patience ? `, patience ${setting.patience}` : ''}`;
      const what = `recall ${percent(setting.recall)}, with 95 % confidence above ${percent(setting.atLeast)}`;
      return `recall ${percent(setting.target)}: ${setting.met ? how : 'not reached with confidence; exact search is used'}: ${what}; about ${setting.cost.toFixed(0)} µs`;
    }),
  ];
  return lines.join('\n');
}
