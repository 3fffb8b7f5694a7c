import { describe, expect, it } from 'vitest';
import { classify, countVotes, regress } from '../src/labels.js';
import type { Neighbors } from '../src/neighbors.js';

function neighborsAt(...pairs: [id: number, distance: number][]): Neighbors {
  return {
    ids: Uint32Array.from(pairs, ([id]) => id),
    distances: Float32Array.from(pairs, ([, distance]) => distance),
  };
}

const labels = ['a', 'a', 'b', 'b', 'c'];

describe('classify', () => {
  it('gives the label that most neighbors have', () => {
    expect(classify(neighborsAt([2, 1], [0, 2], [1, 3]), labels)).toBe('a');
  });

  it("gives the nearest neighbor's label among those with equal votes", () => {
    expect(classify(neighborsAt([4, 1], [2, 2], [0, 3], [3, 4], [1, 5]), labels)).toBe('b');
    expect(classify(neighborsAt([0, 1], [2, 1]), labels)).toBe('a');
    expect(classify(neighborsAt([2, 1], [0, 1]), labels)).toBe('b');
  });

  it('counts 1 / distance when weighing by distance', () => {
    const neighbors = neighborsAt([4, 1], [0, 3], [1, 3]);
    expect(classify(neighbors, labels)).toBe('a');
    expect(classify(neighbors, labels, { weights: 'distance' })).toBe('c');
    expect(classify(neighborsAt([4, 1], [0, 2], [1, 2]), labels, { weights: 'distance' })).toBe('c');
  });

  it('counts only neighbors at distance 0 where there are some', () => {
    const neighbors = neighborsAt([2, 0], [0, 0], [1, 0], [3, 1e-30], [4, 1e-30]);
    expect(classify(neighbors, labels, { weights: 'distance' })).toBe('a');
    expect([...countVotes(neighbors, labels, { weights: 'distance' })]).toEqual([
      ['b', 1],
      ['a', 2],
    ]);
  });

  it('gives undefined without neighbors', () => {
    expect(classify(neighborsAt(), labels)).toBeUndefined();
    expect(regress(neighborsAt(), [])).toBeUndefined();
    expect(countVotes(neighborsAt(), labels).size).toBe(0);
  });

  it('takes labels of any kind in any array', () => {
    expect(classify(neighborsAt([1, 1]), Uint8Array.of(4, 7))).toBe(7);
    expect(classify(neighborsAt([0, 1], [1, 2], [2, 3]), [false, true, true])).toBe(true);
  });

  it('refuses an id without label', () => {
    expect(() => classify(neighborsAt([5, 1]), labels)).toThrow(
      'labels: expected at least 6 (one for each row), got 5',
    );
    expect(() => regress(neighborsAt([5, 1]), [1, 2])).toThrow(
      expect.objectContaining({
        name: 'RangeError',
        code: 'ERR_LENGTH',
        message: expect.stringMatching(/^values/),
      }),
    );
  });

  it('refuses negative distances as weights', () => {
    const neighbors = neighborsAt([0, -2], [1, 3]);
    expect(classify(neighbors, labels)).toBe('a');
    expect(() => classify(neighbors, labels, { weights: 'distance' })).toThrow(
      expect.objectContaining({ name: 'RangeError', code: 'ERR_ARGUMENT_RANGE' }),
    );
  });

  it('refuses arguments of another kind', () => {
    const error = expect.objectContaining({ name: 'TypeError', code: 'ERR_ARGUMENT_TYPE' });
    const one = neighborsAt([0, 1]);
    expect(() => classify(undefined as unknown as Neighbors, labels)).toThrow(error);
    expect(() => classify({ ids: [0], distances: [1] } as unknown as Neighbors, labels)).toThrow(error);
    expect(() => classify(one, undefined as unknown as string[])).toThrow(error);
    expect(() => classify(one, labels, 'distance' as unknown as object)).toThrow(error);
    expect(() => classify(one, labels, { weights: 5 as unknown as 'uniform' })).toThrow(error);
    expect(() => classify(one, labels, { weights: 'both' as 'uniform' })).toThrow(RangeError);
    expect(() => classify({ ...one, distances: new Float32Array(2) }, labels)).toThrow(
      expect.objectContaining({ code: 'ERR_LENGTH' }),
    );
  });
});

describe('what is refused', () => {
  const one = neighborsAt([0, 1]);
  it.each([
    [() => classify(one, labels, 7 as unknown as object), /^options: expected .*, got 7$/],
    [() => classify(one, labels, { weights: 'both' as 'uniform' }), /^weights: expected .*, got "both"$/],
    [
      () => classify(one, null as unknown as string[]),
      /^labels: expected an array, one entry for each row, got null$/,
    ],
    [
      () => classify(one, {} as unknown as string[]),
      /^labels: expected an array, one entry for each row, got Object$/,
    ],
    [
      () => regress(one, 'abc' as unknown as number[]),
      /^values: expected an array, one entry for each row, got "abc"$/,
    ],
    [
      () => regress(neighborsAt([1, 1]), [0, Number.NaN]),
      /^values: expected finite numbers, got NaN in row 1$/,
    ],
    [
      () => classify(neighborsAt([1, 2], [0, -3]), labels, { weights: 'distance' }),
      /^distances: expected numbers from 0 to weigh by, got -3 for neighbor 1$/,
    ],
    [
      () => classify({ ids: one.ids, distances: [1] } as unknown as Neighbors, labels),
      /^neighbors: expected \{ ids, distances \} as a search returns them, got Object$/,
    ],
    [
      () => classify({ ids: [0], distances: one.distances } as unknown as Neighbors, labels),
      /^neighbors: expected \{ ids, distances \} as a search returns them, got Object$/,
    ],
    [
      () => classify({ ...one, distances: new Float32Array(2) }, labels),
      /^neighbors: expected as many distances as ids \(1\), got 2$/,
    ],
  ])('is named with what was expected and what came: %s', (call, message) => {
    expect(call).toThrow(message);
  });
});

describe('regress', () => {
  it("gives the mean of the neighbors' values", () => {
    expect(regress(neighborsAt([0, 1], [2, 5]), [3, 100, 6])).toBe(4.5);
  });

  it('weighs by 1 / distance, or by those at distance 0 alone', () => {
    expect(regress(neighborsAt([0, 1], [1, 4]), [10, 20], { weights: 'distance' })).toBe(
      (10 + 20 / 4) / 1.25,
    );
    const exact = neighborsAt([0, 0], [1, 0], [2, 1]);
    expect(regress(exact, [10, 20, 60], { weights: 'distance' })).toBe(15);
  });

  it.each([Number.NaN, Infinity])('refuses %s as a value', (value) => {
    expect(() => regress(neighborsAt([1, 1]), [0, value])).toThrow(
      expect.objectContaining({ name: 'RangeError', code: 'ERR_NOT_FINITE' }),
    );
    expect(regress(neighborsAt([0, 1]), [0, value])).toBe(0);
  });
});
