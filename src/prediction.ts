import { type Progress, StepClock, under } from './progress.js';
import { type Approach, costOf, NO_ROW, type Settings } from './settings.js';
import { lowerBound, type Measured, mean, type Sample } from './truth.js';

/** Half-widths of the bound to choose from. */
export const EPSILONS: readonly number[] = [1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.45, 2.7, 3, 3.3, 3.6];
/** The same for shells, of which few are left out: what they miss the bound must not. */
const SHELL_EPSILONS: readonly number[] = [2, 2.15, 2.3, 2.45, 2.6, 2.75, 2.9, 3.1, 3.3];

/** How searches for a sample come by its true neighbors, queries × k. */
interface Approaches extends Omit<Approach, 'order'> {
  /** Codes in the first cells, on average: of none, of one, … */
  codes: Float64Array;
}

interface Run extends Settings, Measured {}

/** Predicts the recall and the cost of a sample's searches, by probes and epsilon, before any patience. */
export class Grid {
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
  cost({ probes, epsilon }: Settings, weight: number = 1): number {
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
      this.#sample.engine,
    );
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
 * What predicts the recall of any probes and epsilon. A search's limit does not depend on epsilon and hardly on the last of
 * its probes, so that two runs, of a narrow and of a wide bound, tell the limits, and by them which bound lets each true
 * neighbor's code pass. (To run five bounds over nearly all cells, as before, took a fifth of a build.)
 */
export function* predict(sample: Sample): Generator<Progress, Grid> {
  const approaches = yield* approach(sample);
  const { cells, isShelled } = sample.engine;
  // Shells are few, and each holds some neighbors.
  const probes = isShelled ? cells : most(approaches.ranks, 0.97);
  const epsilons = isShelled ? SHELL_EPSILONS : EPSILONS;
  const runs: Run[] = [];
  for (const epsilon of [epsilons[Math.floor(epsilons.length / 3)], epsilons[epsilons.length - 1]]) {
    const settings = { probes, epsilon, patience: 0 };
    runs.push({ ...settings, ...(yield* sample.measure(settings)) });
  }
  return new Grid(sample, approaches, runs, epsilons);
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
