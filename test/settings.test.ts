import { describe, expect, it } from 'vitest';
import type { Neighbors } from '../src/neighbors.js';
import type { Progress } from '../src/progress.js';
import {
  type Counters,
  costOf,
  isTruthCheap,
  keepFor,
  leastKeep,
  mostKept,
  NO_ROW,
  runOneByOne,
  type Settings,
  type Tunable,
  untuned,
  type Work,
} from '../src/settings.js';

const engine = (more: Partial<Tunable> = {}): Tunable =>
  ({ size: 10_000, dims: 128, stride: 128, cells: 200, isShelled: false, ...more }) as Tunable;
const NOTHING: Work = { cells: 0, codes: 0, survivors: 0, refined: 0, ranked: 0 };

describe('settings before any tuning', () => {
  it('are of a tenth of the cells, of eight where that is more, and of all shells', () => {
    for (const [cells, probes] of [
      [1, 1],
      [7, 7],
      [8, 8],
      [9, 8],
      [80, 8],
      [81, 9],
      [200, 20],
      [16_384, 1639],
    ]) {
      expect(untuned(engine({ cells }))).toEqual({ probes, epsilon: 3, patience: 0 });
      expect(untuned(engine({ cells, isShelled: true }))).toEqual({ probes: cells, epsilon: 3, patience: 0 });
    }
  });

  it('keep more than k survivors, and more the less their order is trusted', () => {
    expect([1, 5, 10, 100].map(leastKeep)).toEqual([6, 10, 16, 124]);
    expect([1, 5, 10, 100].map(keepFor)).toEqual([14, 22, 32, 212]);
    expect([1, 5, 10, 100].map(mostKept)).toEqual([23, 47, 77, 617]);
  });
});

describe('the truth', () => {
  it('is computed by exact scans of up to 400 million floats', () => {
    expect(isTruthCheap({ size: 40_000, stride: 100 }, 100)).toBe(true);
    expect(isTruthCheap({ size: 40_000, stride: 100 }, 101)).toBe(false);
    expect(isTruthCheap({ size: 40_001, stride: 100 }, 100)).toBe(false);
    expect(isTruthCheap({ size: 40_000, stride: 104 }, 100)).toBe(false);
  });
});

describe('the modeled cost of a query', () => {
  const more = (work: Partial<Work>, of = engine()): number =>
    costOf({ ...NOTHING, ...work }, of) - costOf(NOTHING, of);

  it('has a constant, and a part for the turn of the query and the order of the cells', () => {
    // 1 µs; 0.003 µs a float; 0.0007 µs a cell. Codes of principal components are a product of a matrix.
    expect(costOf(NOTHING, engine())).toBeCloseTo(1 + 0.384 + 0.14, 9);
    expect(costOf(NOTHING, engine({ stride: 512, dims: 512 }))).toBeCloseTo(1 + 1.536 + 0.14, 9);
    expect(costOf(NOTHING, engine({ stride: 512, dims: 128 }))).toBeCloseTo(1 + 128 * 512 * 3.2e-5 + 0.14, 9);
    expect(costOf(NOTHING, engine({ cells: 0 }))).toBeCloseTo(1.384, 9);
  });

  it('rises with all that a search does, by so many microseconds each', () => {
    expect(more({ cells: 10 })).toBeCloseTo(0.6, 9);
    expect(more({ codes: 1000 })).toBeCloseTo(0.3 + 7.2 * 0.128, 9);
    expect(more({ survivors: 100 })).toBeCloseTo(0.8, 9);
    expect(more({ refined: 100 })).toBeCloseTo(1 + 4 * 0.128, 9);
    expect(more({ ranked: 100 })).toBeCloseTo(0.4 + 100 * 512 * 4e-5, 9);
  });

  it('has rows cost more where all of them are larger than 16 MiB', () => {
    const near = engine({ size: 2 ** 15 }); // of 512 bytes each
    const far = engine({ size: 2 ** 15 + 1 });
    expect(more({ ranked: 100 }, near)).toBeCloseTo(0.4 + 2.048, 9);
    expect(more({ ranked: 100 }, far)).toBeCloseTo(6.4 + 2.048, 9);
    expect(more({ codes: 1000 }, far)).toBeCloseTo(more({ codes: 1000 }, near), 9);
  });
});

describe('queries that are run one by one', () => {
  const queries = [0, 1, 2].map((x) => Float32Array.of(x));
  const counters = (cells: number): Counters =>
    ({ ...NOTHING, cells, limit: 0, changes: [] }) as unknown as Counters;

  it('have what each found in places of its own, and counters and a step each', () => {
    const settings: Settings = { probes: 3, epsilon: 2, patience: 0 };
    for (const way of [settings, null]) {
      const runs: unknown[][] = [];
      let last = 0;
      const own = {
        run: (query: Float32Array, k: number, how: Settings) => {
          runs.push([query[0], k, how]);
          last = query[0];
          return last; // as many as the number of the query
        },
        runExact: (query: Float32Array, k: number) => own.run(query, k, null as never),
        read: (found: number, into: Neighbors, at: number) => {
          expect([found, at]).toEqual([last, 0]);
          into.ids.fill(10 * last, 0, found);
        },
        counters: () => counters(last),
      };
      let steps = 0;
      const step = (): Progress => ({ phase: 'tune', done: ++steps, total: 3 });
      const work = runOneByOne(own, queries, 2, way, step);
      const told: number[] = [];
      let result = work.next();
      for (; !result.done; result = work.next()) told.push(result.value.done);
      expect(told).toEqual([1, 2, 3]);
      expect(runs).toEqual([0, 1, 2].map((x) => [x, 2, way]));
      expect([...result.value.ids]).toEqual([NO_ROW, NO_ROW, 10, NO_ROW, 20, 20]);
      expect(result.value.counters).toEqual([0, 1, 2].map(counters));
    }
  });
});
