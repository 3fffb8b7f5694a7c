import { describe, expect, it } from 'vitest';
import { NO_ROW, type Tunable } from '../src/settings.js';
import { lowerBound, mean, Sampler, Steps } from '../src/truth.js';

describe('the steps of a tuning', () => {
  it('are counted up to as many as were planned, and begin anew with another plan', () => {
    const steps = new Steps();
    expect(steps.now).toEqual({ phase: 'tune', done: 0, total: 0 });
    steps.plan(3);
    expect(steps.now).toEqual({ phase: 'tune', done: 0, total: 3 });
    expect([1, 2, 3, 4].map(() => steps.next().done)).toEqual([1, 2, 3, 3]);
    expect(steps.now).toEqual({ phase: 'tune', done: 3, total: 3 });
    steps.plan(2);
    expect(steps.next()).toEqual({ phase: 'tune', done: 1, total: 2 });
  });
});

describe('true neighbors that are given', () => {
  const removed = new Set([5, 6, 7, 8, 11]);
  const engine = { isRemoved: (id: number) => removed.has(id) } as Tunable;
  const sampler = new Sampler(engine, () => ({ integer: () => 0 }), new Steps());
  const queries = [0, 1, 2].map((x) => Float32Array.of(x));

  it('are the first k of each query that are still there, and fewer where there are no more', () => {
    const truth = Uint32Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
    const taken = (k: number, some: Uint32Array | Int32Array = truth): number[] => [
      ...sampler.given(queries, k, some).truth,
    ];
    expect(taken(1)).toEqual([1, NO_ROW, 9]);
    expect(taken(2)).toEqual([1, 2, NO_ROW, NO_ROW, 9, 10]);
    expect(taken(3)).toEqual([1, 2, 3, NO_ROW, NO_ROW, NO_ROW, 9, 10, 12]);
    expect(taken(4)).toEqual([1, 2, 3, 4, NO_ROW, NO_ROW, NO_ROW, NO_ROW, 9, 10, 12, NO_ROW]);
    expect(taken(2, Int32Array.from(truth))).toEqual(taken(2));
    // Of fewer columns than k.
    expect(taken(2, Uint32Array.of(1, 5, 9))).toEqual([1, NO_ROW, NO_ROW, NO_ROW, 9, NO_ROW]);
    expect([...sampler.given([], 2, new Uint32Array(0)).truth]).toEqual([]);
  });
});

describe('what a recall is with confidence', () => {
  it('is the mean less the spread of the mean', () => {
    const some = Float64Array.of(0.5, 0.7, 0.9, 1, 0.4);
    expect(mean(some)).toBeCloseTo(0.7, 12);
    expect(mean(new Float64Array(0))).toBe(1);
    expect(lowerBound(new Float64Array(0))).toBe(1);
    expect(lowerBound(Float64Array.of(0.25))).toBe(0.25);
    expect(lowerBound(new Float64Array(9).fill(0.5))).toBe(0.5);
    // Standard error: the root of (0.04 + 0 + 0.04 + 0.09 + 0.09) / 4 / 5.
    const error = Math.sqrt(0.26 / 4 / 5);
    const factor = (mean(some) - lowerBound(some)) / error;
    expect(factor).toBeGreaterThan(1.6); // one side of 95 % of a normal distribution
    expect(factor).toBeLessThan(1.7);
    // The spread of a shift is the same, and of twice the values twice as much.
    const below = (values: Float64Array): number => mean(values) - lowerBound(values);
    expect(below(some.map((x) => x + 3))).toBeCloseTo(below(some), 12);
    expect(below(some.map((x) => 2 * x))).toBeCloseTo(2 * below(some), 12);
  });
});
