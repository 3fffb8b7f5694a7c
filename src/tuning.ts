import { cellsHolding, EPSILONS, type Grid, most, predict } from './prediction.js';
import { finish, type Progress } from './progress.js';
import {
  costOf,
  DEFAULT_K,
  isTruthCheap,
  leastKeep,
  mostKept,
  type Settings,
  type Tunable,
  untuned,
} from './settings.js';
import { lowerBound, mean, type RandomIntegers, type Sample, Sampler, Steps } from './truth.js';

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

const TARGETS: readonly number[] = [0.9, 0.95, 0.99];
/** Added to epsilon, at most, for more neighbors than were tuned. */
const WIDER = 0.6;
/** Added to the largest of them where even all cells do not suffice. */
const WIDEST = 1;
/** Predictions that are tried for a target, and the share of the last one's cost under which a better one is. */
const MOST_TRIES = 6;
const WORTH_TRYING = 0.98;
/** What is asked for on top at least, where a try found too little: else the same would be tried again. */
const LEAST_LACK = 0.0005;
/** First step by which a setting that is met with room to spare is narrowed, and how many are tried. */
const EPSILON_STEP = 0.4;
const MOST_NARROWER = 3;
/** How often about a tuning runs its sample: before any target, and for each; for progress only. */
const PASSES = 4;
const TRIES = 7;
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

/** What a first look at a build tells. */
export interface Look {
  /** Share of the cells that a query must visit, nearest first, and whether cells are of use with that. */
  share: number;
  structureless: boolean;
  /** Rows that an ordinary search ranks. */
  ranked: number;
}

/** A target recall → probes, epsilon, patience. */
export class Tuner {
  #engine: Tunable;
  #tuned: Map<number, TunedSetting[]> = new Map();
  #sampler: Sampler;
  #steps: Steps = new Steps();
  /** Whether the second stage's order sufficed for fewer rows after it, at all targets of a tuning so far. */
  #isOrderTrusted = true;
  /** What was asked for last, and what it was given. */
  #last: { k: number; recall: number; settings: Settings | null } | undefined;

  /** `random` gives a source that starts anew, so that a sample depends on the rows alone, not on what was tuned before. */
  constructor(engine: Tunable, random: () => RandomIntegers) {
    this.#engine = engine;
    this.#sampler = new Sampler(engine, random, this.#steps);
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
   * Where each true neighbor's cell lies in the query's order, which bound lets its code through, and which cells change the
   * best estimates, predict the recall of every (probes, epsilon, patience). The cheapest predictions are then run, and
   * corrected by what they really find. Cost is modeled from what the queries did (cells, codes, rows), not from
   * a clock, so that the same data gives the same settings on every machine.
   */
  *tune(options: TuneOptions, queries?: Float32Array[]): Generator<Progress, TuningReport> {
    const engine = this.#engine;
    const k = Math.max(1, Math.min(options.k ?? DEFAULT_K, engine.size - (queries ? 0 : 1)));
    const targets = options.recall === undefined ? TARGETS : [options.recall];
    const wanted = queries?.length ?? Math.min(options.sample ?? sampleSize(engine.size), engine.size);
    this.#steps.plan(Math.max(1, wanted * (PASSES + targets.length * TRIES)));
    const sample = yield* this.#sampler.draw(k, wanted, queries);
    const size = sample.queries.length;
    const grid = yield* predict(sample);
    const settings: TunedSetting[] = [];
    this.#isOrderTrusted = true;
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
    const predicted = (probes: number, epsilon: number): number =>
      size ? mean(grid.recalls({ probes, epsilon, patience: 0 })) : 1;
    const table = probes.map((p) => grid.epsilons.map((epsilon) => predicted(p, epsilon)));
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

  /** Measures the recall of settings (null: exact) on queries. */
  evaluate(
    queries: Float32Array[],
    k: number,
    settings: Settings | null,
    truth?: Uint32Array | Int32Array,
  ): Evaluation {
    const wanted = Math.min(k, this.#engine.size);
    const sample = this.#sampler.given(queries, wanted, truth);
    const recalls = settings ? finish(sample.measure(settings)).recalls : sample.measureExact();
    return { recall: mean(recalls), atLeast: lowerBound(recalls), queries: queries.length, k };
  }

  /**
   * Whether cells are of no use for certain, before any are made: the neighbors of a row lie all over random rows taken as
   * cells. Only asked where the truth is cheap; of larger data `look` tells after the build.
   */
  *areCellsHopeless(): Generator<Progress, boolean> {
    const engine = this.#engine;
    const k = Math.min(DEFAULT_K, engine.size - 1);
    if (k < 1 || engine.size < LOOK + STAND_INS || !isTruthCheap(engine, LOOK)) return false;
    const { truth } = yield* this.#sampler.draw(k, LOOK);
    const drawn = this.#sampler.drawIds(LOOK + STAND_INS);
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
    const sample = yield* this.#sampler.draw(k, LOOK);
    const probes = yield* cellsHolding(0.95, sample);
    const { counters } = yield* sample.measure({ probes, epsilon: 2.2, patience: 0 });
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
    const sample = yield* this.#sampler.draw(k, LOOK);
    const { probes } = untuned(engine);
    const settings = { probes, epsilon: 2.7, patience: 0 };
    const without = yield* sample.measure({ ...settings, keep: 0 });
    const refined = yield* sample.measure(settings);
    return mean(refined.recalls) >= mean(without.recalls) - SECOND_STAGE_LOSS;
  }

  /** Modeled cost of a search that reaches a recall on a small sample, with codes weighed as in a larger index. */
  *tryCost(recall: number): Generator<Progress, number> {
    const grid = yield* predict(yield* this.#sampler.draw(DEFAULT_K, 60));
    const [cheapest] = grid.choose(recall, TRIAL_WEIGHT);
    return cheapest ? grid.cost(cheapest, TRIAL_WEIGHT) : Number.POSITIVE_INFINITY;
  }

  /** The cheapest setting that reaches a target on the sample. */
  *#settle(sample: Sample, grid: Grid, target: number): Generator<Progress, TunedSetting> {
    const engine = this.#engine;
    const size = sample.queries.length;
    const best = { ...untuned(engine), target, recall: 1, atLeast: 1, met: size === 0, cost: Infinity };
    if (size === 0) return { ...best, met: true };
    let found: TunedSetting | undefined;
    const tryIt = function* (settings: Settings): Generator<Progress, TunedSetting> {
      const { recalls, counters } = yield* sample.measure(settings, target);
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
    // Prediction and truth differ a little: what the last try lacked is asked for on top, what it had too much of is not.
    let [choice] = grid.choose(target);
    for (let tries = 0, lack = 0; choice && tries < MOST_TRIES; tries++) {
      const tried = yield* tryIt(choice);
      const { recalls } = yield* sample.measure(choice);
      const more = lowerBound(grid.recalls(choice, recalls.length)) - tried.atLeast - lack;
      lack += tried.met ? more : Math.max(more, LEAST_LACK);
      const [next] = grid.choose(target + lack);
      if (tried.met && !(next && grid.cost(next) < WORTH_TRYING * grid.cost(choice))) break;
      choice = next;
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
      for (const { epsilon, probes } of engine.isRefined ? grid.choose(target).slice(0, 2) : [])
        for (const keep of [3 * sample.k + 17, mostKept(sample.k)])
          if (!found) yield* tryIt({ probes, epsilon, patience: 0, keep });
      if (!found) return widest;
    }
    // Without patience less of the rest, by halving steps, for as long as it is met.
    for (let step = 1, tries = 0; step > 0.2 && tries < MOST_NARROWER; tries++) {
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
    // Fewer rows after the second stage, where its order is good enough; where it was not for a lower target, it is not now.
    if (engine.isRefined && this.#isOrderTrusted) {
      const { probes, epsilon, patience } = found as unknown as TunedSetting;
      this.#isOrderTrusted = (yield* tryIt({ probes, epsilon, patience, keep: leastKeep(sample.k) })).met;
    }
    return found as unknown as TunedSetting;
  }
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
