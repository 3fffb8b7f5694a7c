import { type Progress, StepClock, under } from './progress.js';
import { type Approach, costOf, NO_ROW, type Settings } from './settings.js';
import { lowerBound, type Measured, mean, type Sample } from './truth.js';

/** Half-widths of the bound to choose from. */
export const EPSILONS: readonly number[] = [1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.45, 2.7, 3, 3.3, 3.6];
/** The same for shells, of which few are left out: what they miss the bound must not. */
const SHELL_EPSILONS: readonly number[] = [2, 2.15, 2.3, 2.45, 2.6, 2.75, 2.9, 3.1, 3.3];

/** Fewer probes are not worth any patience. The least that is tried, and in what steps. */
const LEAST_PATIENT = 24;
const LEAST_PATIENCE = 4;
const PATIENCE_STEP = 1.25;
/**
 * Survivors of a narrow and of a wide bound grow with this power of the codes: of words, those of epsilon 1.8 by a fifth from
 * 65 cells to 1,040, those of epsilon 3.6 to the double.
 */
const NARROW_GROWTH = 0.08;
const WIDE_GROWTH = 0.3;

/** How searches for a sample come by its true neighbors, queries × k. */
interface Approaches extends Omit<Approach, 'order'> {
  /** Codes in the first cells, on average: of none, of one, … */
  codes: Float64Array;
}

interface Run extends Settings, Measured {}

interface Choice {
  settings: Settings;
  cost: number;
}

/** Predicts the recall and the cost of a sample's searches, by probes, epsilon and patience. */
export class Grid {
  #sample: Sample;
  #approaches: Approaches;
  #changes: readonly Uint32Array[];
  #narrow: Run;
  #wide: Run;
  /** The epsilon from which on each true neighbor's code passes. */
  #needed: Float64Array;
  /** Searches order cells by codes of the centres: so many times as many reach what the nearest ones would. */
  #stretch = 1;
  /** Cells after which patience ends the search of each query, by patience. */
  #stops: Map<number, Float64Array> = new Map();
  /** The bounds to choose from. */
  readonly epsilons: readonly number[];
  /** Cells that hold nearly all true neighbors. */
  readonly probes: number;

  /** @param changes of each query the cells, by their place in its order, that change its best estimates; none: no patience */
  constructor(
    sample: Sample,
    approaches: Approaches,
    changes: readonly Uint32Array[],
    narrow: Run,
    wide: Run,
    epsilons: readonly number[],
  ) {
    this.#sample = sample;
    this.#approaches = approaches;
    this.#narrow = narrow;
    this.#wide = wide;
    this.#changes = changes;
    this.epsilons = epsilons;
    this.probes = Math.max(most(approaches.ranks, 0.9995), wide.probes);
    const { k } = sample;
    const { estimates, widths } = approaches;
    this.#needed = estimates.map((estimate, j) => {
      const above = estimate - wide.limits[Math.floor(j / k)];
      return above <= 0 ? 0 : above / widths[j];
    });
    const reached = mean(wide.recalls);
    const needed = this.#probesNeeded(wide.epsilon, 0);
    this.#stretch =
      wide.probes / fewest(this.probes, (probes) => mean(this.#within(needed, probes)) >= reached);
  }

  /** Predicted recall of the first queries: neighbors in the cells that are visited whose codes pass. */
  recalls({ probes, epsilon, patience }: Settings, queries?: number): Float64Array {
    return this.#within(this.#probesNeeded(epsilon, patience), probes, queries);
  }

  /** Settings that are predicted to reach a target with confidence, of each epsilon the cheapest; cheapest first. */
  choose(target: number, weight: number = 1): Settings[] {
    const choices: Choice[] = [];
    for (const epsilon of this.epsilons) {
      let cheapest = this.#least(target, epsilon, 0, weight);
      if (!cheapest) continue;
      const { probes } = cheapest.settings;
      // Less and less patience, until it does not reach the target with all cells.
      for (let patience = probes; probes >= LEAST_PATIENT && patience >= LEAST_PATIENCE; ) {
        const choice = this.#least(target, epsilon, patience, weight);
        if (!choice) break;
        if (choice.cost < cheapest.cost) cheapest = choice;
        patience = Math.round(patience / PATIENCE_STEP);
      }
      choices.push(cheapest);
    }
    return choices.sort((a, b) => a.cost - b.cost).map(({ settings }) => settings);
  }

  /** The fewest probes that reach a target; null: all cells do not. */
  #least(target: number, epsilon: number, patience: number, weight: number): Choice | null {
    const { cells } = this.#sample.engine;
    const needed = this.#probesNeeded(epsilon, patience);
    const reaches = (probes: number): boolean => lowerBound(this.#within(needed, probes)) >= target;
    if (!reaches(cells)) return null;
    const settings = { probes: fewest(cells, reaches), epsilon, patience };
    return { settings, cost: this.cost(settings, weight) };
  }

  /** The probes above which a search finds each true neighbor; infinite where none do. */
  #probesNeeded(epsilon: number, patience: number): Float64Array {
    const { ranks } = this.#approaches;
    const { k } = this.#sample;
    const stops = patience > 0 ? this.#stopsFor(patience) : null;
    return this.#needed.map((needed, j) => {
      const isVisited = stops === null || ranks[j] < stops[Math.floor(j / k)];
      return isVisited && needed <= epsilon ? ranks[j] * this.#stretch : Infinity;
    });
  }

  /** Recalls of the first queries where each neighbor needs so many probes. */
  #within(needed: Float64Array, probes: number, queries: number = this.#sample.queries.length): Float64Array {
    const { k, truth } = this.#sample;
    const recalls = new Float64Array(queries);
    for (let i = 0; i < queries; i++) {
      let hits = 0;
      let all = 0;
      for (let j = i * k; j < (i + 1) * k; j++) {
        if (truth[j] === NO_ROW) continue;
        all++;
        if (needed[j] < probes) hits++;
      }
      recalls[i] = all ? hits / all : 1;
    }
    return recalls;
  }

  #stopsFor(patience: number): Float64Array {
    let stops = this.#stops.get(patience);
    if (!stops) {
      stops = Float64Array.from(this.#changes, (places) => stopOf(places, patience));
      this.#stops.set(patience, stops);
    }
    return stops;
  }

  /** Modeled cost of settings: codes by the cells that are visited, rows between those of the two runs, by epsilon. */
  cost({ probes, epsilon, patience }: Settings, weight: number = 1): number {
    const { engine } = this.#sample;
    let [cells, codes] = [probes, this.#approaches.codes[probes]];
    if (patience > 0) {
      const visited = this.#stopsFor(patience).map((stop) => Math.min(probes, stop));
      cells = mean(visited);
      codes = mean(visited.map((count) => this.#approaches.codes[count]));
    }
    const [narrow, wide] = [this.#narrow, this.#wide];
    const share = (epsilon - narrow.epsilon) / (wide.epsilon - narrow.epsilon);
    const between = (key: 'survivors' | 'refined' | 'ranked'): number => {
      const grown = ({ counters }: Run, growth: number): number =>
        (1 + counters[key]) * (key === 'ranked' && engine.isRefined ? 1 : (codes / counters.codes) ** growth);
      return grown(narrow, NARROW_GROWTH) ** (1 - share) * grown(wide, WIDE_GROWTH) ** share - 1;
    };
    const [survivors, refined, ranked] = [between('survivors'), between('refined'), between('ranked')];
    return costOf({ cells, codes: codes * weight, survivors, refined, ranked }, engine);
  }
}

/** Cells that hold a share of the true neighbors of a sample's queries, those nearest to each query. */
export function* cellsHolding(share: number, sample: Sample): Generator<Progress, number> {
  return most((yield* approach(sample)).ranks, share);
}

/** How searches for a sample come by its true neighbors. */
function* approach(sample: Sample): Generator<Progress, Approaches> {
  const { engine, steps, k, truth } = sample;
  const places = yield* under(steps.now, engine.placesOfRows());
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
    const step = steps.next();
    if (clock.isDue()) yield step;
  }
  return approaches;
}

/**
 * What predicts the recall of any settings. A search's limit does not depend on epsilon and hardly on the last of its probes,
 * so that a wide bound's limits tell which bound lets each true neighbor's code pass; nor do the cells that change its best
 * estimates, which tell where patience would end it. (To run five bounds over nearly all cells took a fifth of a build, and
 * to try one patience after the other a quarter.)
 */
export function* predict(sample: Sample): Generator<Progress, Grid> {
  const approaches = yield* approach(sample);
  const { cells, isShelled } = sample.engine;
  // Shells are few, and each holds some neighbors.
  const probes = isShelled ? cells : most(approaches.ranks, 0.97);
  const epsilons = isShelled ? SHELL_EPSILONS : EPSILONS;
  const run = function* (epsilon: number): Generator<Progress, Run> {
    const settings = { probes, epsilon, patience: 0 };
    return { ...settings, ...(yield* sample.measure(settings)) };
  };
  const narrow = yield* run(epsilons[Math.floor(epsilons.length / 3)]);
  const wide = yield* run(epsilons[epsilons.length - 1]);
  const changes = cells < LEAST_PATIENT ? [] : yield* sample.changes();
  return new Grid(sample, approaches, changes, narrow, wide, epsilons);
}

/** Cells that a search visits with a patience whose best estimates were changed by the cells at these places. */
function stopOf(changes: Uint32Array, patience: number): number {
  let last = -1;
  for (const place of changes) {
    if (place - last > patience) break;
    last = place;
  }
  return last + patience + 1;
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
export function most(ranks: Uint32Array, share: number): number {
  return ranks.length ? ranks.slice().sort()[Math.floor(share * (ranks.length - 1))] + 1 : 1;
}
