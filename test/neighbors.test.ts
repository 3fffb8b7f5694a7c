import { describe, expect, it } from 'vitest';
import {
  cutAt,
  distanceOf,
  joinRanges,
  LEAST_SQUARED_LENGTH,
  MAX_PLACES,
  makeBatch,
  metricNumber,
  zeroVector,
} from '../src/neighbors.js';
import { thrownBy } from './answers.js';

const NOTHING = 2 ** 32 - 1;

describe('answers', () => {
  it('of many queries have room for k each, marked where it stays empty', () => {
    expect(makeBatch(2, 3, 3)).toEqual({
      ids: new Uint32Array(6),
      distances: new Float32Array(6),
      counts: Uint32Array.of(3, 3),
    });
    expect(makeBatch(2, 3, 2)).toEqual({
      ids: new Uint32Array(6).fill(NOTHING),
      distances: new Float32Array(6).fill(Infinity),
      counts: Uint32Array.of(2, 2),
    });
    expect(makeBatch(0, 5, 0).ids).toHaveLength(0);
  });

  it('of too many places are refused before there is room for them', () => {
    const error = thrownBy(() => makeBatch(2 ** 20, 513, 0));
    expect([error.code, error.message]).toEqual([
      'ERR_TOO_LARGE',
      `k: expected at most ${MAX_PLACES} places (queries × k), got ${2 ** 20 * 513}; search in parts`,
    ]);
    expect(MAX_PLACES).toBe(536_870_912);
  });

  it('of many ranges stand one behind the other', () => {
    const parts = [[4, 2], [], [9]];
    const joined = joinRanges(3, (i) => ({
      ids: Uint32Array.from(parts[i]),
      distances: Float32Array.from(parts[i], (id) => id / 2),
    }));
    expect(joined).toEqual({
      offsets: Uint32Array.of(0, 2, 2, 3),
      ids: Uint32Array.of(4, 2, 9),
      distances: Float32Array.of(2, 1, 4.5),
    });
    expect(joinRanges(0, () => thrownBy(() => {}) as never).offsets).toEqual(Uint32Array.of(0));
  });

  it('of ranges with too many neighbors in all are refused at the query that passes the limit', () => {
    // only the length is looked at before the limit is passed
    const half = { ids: { length: MAX_PLACES / 2 }, distances: { length: MAX_PLACES / 2 } };
    const asked: number[] = [];
    const error = thrownBy(() =>
      joinRanges(5, (i) => {
        asked.push(i);
        return half as never;
      }),
    );
    expect([error.code, error.message]).toEqual([
      'ERR_TOO_LARGE',
      `radius: expected at most ${MAX_PLACES} neighbors in all, got more after 3 of 5 queries; search in parts`,
    ]);
    expect(asked).toEqual([0, 1, 2]);
  });

  it('are cut at a radius, which as a float32 includes the row that it was the distance of', () => {
    const neighbors = { ids: Uint32Array.of(5, 1, 8), distances: Float32Array.of(0.1, 0.7, 0.7) };
    expect(cutAt(neighbors, 0.7)).toEqual(neighbors); // 0.7 is more than the nearest float32, and is rounded to it
    expect(cutAt(neighbors, 0.3)).toEqual({ ids: Uint32Array.of(5), distances: Float32Array.of(0.1) });
    expect(cutAt(neighbors, 0.3 / 3).ids).toEqual(Uint32Array.of(5)); // less than 0.1 in doubles
    expect(cutAt(neighbors, 0.05).ids).toHaveLength(0);
    expect(cutAt(neighbors, 1).ids).not.toBe(neighbors.ids);
  });

  it('have distances, never minus nothing, that are roots of scores under the Euclidean metric alone', () => {
    expect(distanceOf(0, 9)).toBe(3);
    expect(distanceOf(1, 9)).toBe(9);
    expect(distanceOf(2, -0)).toBe(0);
  });
});

describe('metrics', () => {
  it('have the numbers that kernels know them by', () => {
    expect(['euclidean', 'cosine', 'inner-product'].map((name) => metricNumber(name as 'cosine'))).toEqual([
      0, 1, 2,
    ]);
    expect(thrownBy(() => metricNumber('dot' as never)).message).toContain('metric: expected');
    expect(thrownBy(() => metricNumber('cosine', ['euclidean'])).code).toBe('ERR_ARGUMENT_RANGE');
  });

  it('of angles refuse what is too short to have a direction, by its row', () => {
    const error = zeroVector('vectors', 7);
    expect([(error as { code?: string }).code, error.message]).toEqual([
      'ERR_ZERO_VECTOR',
      'vectors: expected vectors of length 1.1e-19 or more under cosine, got a shorter one in row 7',
    ]);
    expect(Math.sqrt(LEAST_SQUARED_LENGTH).toPrecision(2)).toBe('1.1e-19');
  });
});
