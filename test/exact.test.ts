import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { distanceMatrix, exactSearch, exactSearchBatch } from '../src/exact.js';
import type { Metric, Neighbors } from '../src/neighbors.js';
import { Arena, expectSameBits, floats, uniform } from './arena.js';
import * as reference from './reference.js';

const METRICS: readonly Metric[] = ['euclidean', 'cosine', 'inner-product'];

/** Numbers of size 1 or so. */
function vectorsOf(rows: number, dimensions: number, seed: number): Float32Array {
  const next = uniform(seed);
  return Float32Array.from({ length: rows * dimensions }, () => next() - 0.5);
}

/** Small integers: many equal distances. */
function tiedVectors(rows: number, dimensions: number, seed: number): Float32Array {
  const next = uniform(seed);
  return Float32Array.from({ length: rows * dimensions }, () => Math.floor(next() * 3) + 1);
}

function inverseLength(row: Float32Array): number {
  return Math.fround(1 / Math.fround(Math.sqrt(reference.dot(row, row))));
}

/** The same search, in the plainest words. */
function searchPlainly(vectors: Float32Array, query: Float32Array, k: number, metric: Metric): Neighbors {
  const dimensions = query.length;
  const stride = Math.ceil(dimensions / 4) * 4;
  const count = vectors.length / dimensions;
  const rows = reference.padRows(vectors, count, dimensions, stride);
  const q = reference.padRows(query, 1, dimensions, stride);
  const number = METRICS.indexOf(metric);
  const scores = Float32Array.from({ length: count }, (_, r) => {
    const row = rows.subarray(r * stride, (r + 1) * stride);
    return reference.score(number, q, inverseLength(q), row, inverseLength(row));
  });
  const ranked = reference.rank(
    scores,
    Uint32Array.from(scores, (_, r) => r),
    k,
  );
  const distances = ranked.scores.map((score) => (number === 0 ? Math.sqrt(score) : score + 0));
  return { ids: ranked.ids, distances };
}

function expectSameNeighbors(actual: Neighbors, expected: Neighbors, what: string): void {
  expectSameBits(actual.ids, expected.ids, `ids, ${what}`);
  expectSameBits(actual.distances, expected.distances, `distances, ${what}`);
}

/** Asserts that a batch gives each query what exactSearch gives it. */
function expectBatchLikeSingle(
  vectors: Float32Array,
  queries: Float32Array,
  dimensions: number,
  k: number,
  metric: Metric,
): void {
  const batch = exactSearchBatch(vectors, queries, { dimensions, k, metric });
  const queryCount = queries.length / dimensions;
  expect(batch.ids.length).toBe(queryCount * k);
  expect(batch.distances.length).toBe(queryCount * k);
  expect(batch.counts.length).toBe(queryCount);
  for (let q = 0; q < queryCount; q++) {
    const query = queries.subarray(q * dimensions, (q + 1) * dimensions);
    const expected = exactSearch(vectors, query, { k, metric });
    const end = q * k + batch.counts[q];
    const found = { ids: batch.ids.subarray(q * k, end), distances: batch.distances.subarray(q * k, end) };
    expectSameNeighbors(found, expected, `query ${q} of ${queryCount}, ${dimensions} dimensions, ${metric}`);
    expect(batch.ids.subarray(end, (q + 1) * k).every((id) => id === 0xffffffff)).toBe(true);
    expect(batch.distances.subarray(end, (q + 1) * k).every((distance) => distance === Infinity)).toBe(true);
  }
}

function detached(length: number): Float32Array {
  const vector = new Float32Array(length);
  structuredClone(vector.buffer, { transfer: [vector.buffer] });
  return vector;
}

describe.each(METRICS)('exactSearch by %s', (metric) => {
  it('gives what comparing every row gives, bit for bit, at every length', () => {
    for (const dimensions of [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 100, 784, 4096]) {
      const vectors = vectorsOf(67, dimensions, dimensions);
      const query = vectorsOf(1, dimensions, dimensions + 1);
      const expected = searchPlainly(vectors, query, 10, metric);
      expectSameNeighbors(
        exactSearch(vectors, query, { k: 10, metric }),
        expected,
        `${dimensions} dimensions`,
      );
    }
  });

  it('gives it at every number of rows around a turn of its loops, and over many chunks', () => {
    for (const rows of [1, 2, 3, 4, 5, 8, 9, 255, 256, 257, 300, 40_001]) {
      const vectors = vectorsOf(rows, 3, rows);
      const query = vectorsOf(1, 3, rows + 1);
      expectSameNeighbors(
        exactSearch(vectors, query, { k: 7, metric }),
        searchPlainly(vectors, query, 7, metric),
        `${rows} rows`,
      );
    }
  });

  it('puts the lower id first at equal distances', () => {
    const vectors = tiedVectors(300, 2, 1);
    const query = Float32Array.of(2, 2);
    expectSameNeighbors(
      exactSearch(vectors, query, { k: 200, metric }),
      searchPlainly(vectors, query, 200, metric),
      'tied rows',
    );
  });

  it('gives all rows when k is larger, and none of none', () => {
    const vectors = vectorsOf(5, 6, 1);
    const query = vectorsOf(1, 6, 2);
    expect(exactSearch(vectors, query, { k: 6, metric }).ids.length).toBe(5);
    expect(exactSearch(vectors, query, { k: 2 ** 32 - 1, metric }).ids.length).toBe(5);
    expect(exactSearch(new Float32Array(0), query, { k: 3, metric })).toEqual({
      ids: new Uint32Array(0),
      distances: new Float32Array(0),
    });
  });
});

describe.each(METRICS)('exactSearchBatch by %s', (metric) => {
  it('gives each query what exactSearch gives it, bit for bit', () => {
    for (const dimensions of [1, 3, 4, 17, 100]) {
      for (const queryCount of [0, 1, 7, 8, 9, 16, 17, 40]) {
        const vectors = vectorsOf(131, dimensions, 1);
        expectBatchLikeSingle(vectors, vectorsOf(queryCount, dimensions, 2), dimensions, 5, metric);
      }
    }
  });

  it('does so over many chunks of rows and several groups of queries', () => {
    expectBatchLikeSingle(vectorsOf(40, 4096, 1), vectorsOf(1100, 4096, 2), 4096, 3, metric);
    expectBatchLikeSingle(vectorsOf(20_000, 5, 1), vectorsOf(20, 5, 2), 5, 10, metric);
  });

  it('does so for vectors far from the origin, of all sizes, and with ties', () => {
    const far = vectorsOf(300, 20, 1).map((x) => 5000 + x);
    expectBatchLikeSingle(far, far.slice(0, 20 * 20), 20, 10, metric);
    const sizes = vectorsOf(300, 20, 3).map((x, i) => x * 10 ** ((Math.floor(i / 20) % 30) - 15));
    expectBatchLikeSingle(sizes, sizes.slice(0, 20 * 60), 20, 10, metric);
    expectBatchLikeSingle(tiedVectors(500, 3, 1), tiedVectors(33, 3, 2), 3, 50, metric);
  });

  it('leaves places that k has too many', () => {
    expectBatchLikeSingle(vectorsOf(3, 8, 1), vectorsOf(5, 8, 2), 8, 10, metric);
    const { counts } = exactSearchBatch(new Float32Array(0), vectorsOf(2, 8, 1), {
      dimensions: 8,
      k: 4,
      metric,
    });
    expect([...counts]).toEqual([0, 0]);
  });
});

describe.each(['euclidean', 'inner-product'] as const)('exactSearchBatch by %s', (metric) => {
  it('gives each query what exactSearch gives it for zeros among queries and rows, and for zeros alone', () => {
    const some = vectorsOf(40, 6, 1).fill(0, 6 * 5, 6 * 9);
    const none = new Float32Array(6 * 20);
    for (const queries of [none, some]) {
      expectBatchLikeSingle(some, queries, 6, 7, metric);
      expectBatchLikeSingle(none, queries, 6, 7, metric);
    }
  });
});

describe('exactSearch and exactSearchBatch', () => {
  it('find neighbors that are sorted, unique and really at that distance', () => {
    const cases = fc.record({
      dimensions: fc.integer({ min: 1, max: 40 }),
      rows: fc.integer({ min: 0, max: 80 }),
      queries: fc.integer({ min: 1, max: 20 }),
      k: fc.integer({ min: 1, max: 90 }),
      seed: fc.nat(),
      metric: fc.constantFrom(...METRICS),
      isTied: fc.boolean(),
    });
    fc.assert(
      fc.property(cases, ({ dimensions, rows, queries, k, seed, metric, isTied }) => {
        const draw = isTied ? tiedVectors : vectorsOf;
        const vectors = draw(rows, dimensions, seed);
        const asked = draw(queries, dimensions, seed + 1);
        const query = asked.subarray(0, dimensions);
        const found = exactSearch(vectors, query, { k, metric });
        expectSameNeighbors(found, searchPlainly(vectors, query, k, metric), 'plain search');
        expect(new Set(found.ids).size).toBe(Math.min(k, rows));
        expectBatchLikeSingle(vectors, asked, dimensions, k, metric);
      }),
      { numRuns: 150 },
    );
  });

  it('change neither the rows nor the query, and take views into larger arrays', () => {
    const all = vectorsOf(20, 6, 1);
    const copy = all.slice();
    const vectors = all.subarray(12, 72);
    const query = all.subarray(3, 9);
    const found = exactSearch(vectors, query, { k: 4 });
    expect(found).toEqual(exactSearch(vectors.slice(), query.slice(), { k: 4 }));
    expect(all).toEqual(copy);
  });

  it('take the largest allowed numbers', () => {
    const vectors = Float32Array.of(1e16, -1e16, -1e16, 1e16, 1e16, 1e16);
    const found = exactSearch(vectors, Float32Array.of(1e16, 1e16), { k: 3 });
    expect([...found.ids]).toEqual([2, 0, 1]);
    expect(found.distances[1]).toBeCloseTo(2e16, -10);
  });

  it('compile nothing until the first call', async () => {
    vi.resetModules();
    const compile = vi.spyOn(WebAssembly, 'Module');
    const fresh = await import('../src/exact.js');
    expect(compile).not.toHaveBeenCalled();
    fresh.exactSearch(Float32Array.of(1), Float32Array.of(1), { k: 1 });
    expect(compile).toHaveBeenCalledOnce();
    compile.mockRestore();
  });

  const query = vectorsOf(1, 4, 1);
  const vectors = vectorsOf(10, 4, 2);

  it.each([0, -1, 1.5, Number.NaN, 2 ** 32])('refuse k = %s', (k) => {
    const error = {
      name: 'RangeError',
      code: 'ERR_ARGUMENT_RANGE',
      message: expect.stringMatching(/^k: .*got/),
    };
    expect(() => exactSearch(vectors, query, { k })).toThrow(expect.objectContaining(error));
    expect(() => exactSearchBatch(vectors, query, { dimensions: 4, k })).toThrow(
      expect.objectContaining(error),
    );
  });

  it('refuse a k or options of another kind', () => {
    const error = expect.objectContaining({ name: 'TypeError', code: 'ERR_ARGUMENT_TYPE' });
    for (const options of [5, undefined, null, {}, { k: '5' }, { k: 1, metric: 7 }] as unknown as {
      k: number;
    }[]) {
      expect(() => exactSearch(vectors, query, options)).toThrow(error);
      expect(() => exactSearchBatch(vectors, query, options as { dimensions: number; k: number })).toThrow(
        error,
      );
    }
  });

  it('refuse a metric that they do not know', () => {
    const metric = 'manhattan' as Metric;
    expect(() => exactSearch(vectors, query, { k: 1, metric })).toThrow(
      /metric: expected one of 'euclidean'/,
    );
  });

  it('refuse vectors and queries of another kind', () => {
    const error = expect.objectContaining({ name: 'TypeError', code: 'ERR_ARGUMENT_TYPE' });
    for (const wrong of [
      [1, 2, 3, 4],
      new Float64Array(4),
      null,
      undefined,
      'abcd',
    ] as unknown as Float32Array[]) {
      expect(() => exactSearch(wrong, query, { k: 1 })).toThrow(error);
      expect(() => exactSearch(vectors, wrong, { k: 1 })).toThrow(error);
      expect(() => exactSearchBatch(wrong, query, { dimensions: 4, k: 1 })).toThrow(error);
      expect(() => exactSearchBatch(vectors, wrong, { dimensions: 4, k: 1 })).toThrow(error);
    }
  });

  it('refuse arrays on a detached buffer', () => {
    const error = expect.objectContaining({ name: 'TypeError', code: 'ERR_DETACHED' });
    expect(() => exactSearch(detached(8), query, { k: 1 })).toThrow(error);
    expect(() => exactSearch(vectors, detached(4), { k: 1 })).toThrow(error);
    expect(() => exactSearchBatch(vectors, detached(4), { dimensions: 4, k: 1 })).toThrow(error);
  });

  it('refuse wrong lengths with both numbers', () => {
    expect(() => exactSearch(vectors.subarray(1), query, { k: 1 })).toThrow(
      'vectors: expected a multiple of 4 floats (one row each), got 39',
    );
    expect(() => exactSearch(vectors, new Float32Array(0), { k: 1 })).toThrow(
      'query: expected 1 to 65536 floats, got 0',
    );
    expect(() => exactSearchBatch(vectors, vectorsOf(1, 6, 1), { dimensions: 4, k: 1 })).toThrow(
      'queries: expected a multiple of 4 floats (one row each), got 6',
    );
    expect(() => exactSearchBatch(vectors, query, { dimensions: 0, k: 1 })).toThrow(/dimensions: expected/);
  });

  it.each([Number.NaN, Infinity, -Infinity, 1.1e16])('refuse %s, naming row and column', (value) => {
    const wrong = vectorsOf(40_000, 5, 1);
    wrong[5 * 31_234 + 3] = value;
    const place = /vectors: expected finite .*row 31234, column 3$/;
    const error = expect.objectContaining({ name: 'RangeError', code: 'ERR_NOT_FINITE' });
    const five = vectorsOf(1, 5, 2);
    expect(() => exactSearch(wrong, five, { k: 1 })).toThrow(error);
    expect(() => exactSearch(wrong, five, { k: 1 })).toThrow(place);
    expect(() => exactSearchBatch(wrong, five, { dimensions: 5, k: 1 })).toThrow(place);
    expect(() => exactSearchBatch(wrong, new Float32Array(0), { dimensions: 5, k: 1 })).toThrow(place);
    expect(() => distanceMatrix(wrong.subarray(5 * 31_230, 5 * 31_240), { dimensions: 5 })).toThrow(
      /row 4, column 3$/,
    );
    five[2] = value;
    expect(() => exactSearch(vectorsOf(3, 5, 1), five, { k: 1 })).toThrow(/query: .*row 0, column 2$/);
    expect(() => exactSearchBatch(vectorsOf(3, 5, 1), five, { dimensions: 5, k: 1 })).toThrow(
      /queries: .*row 0, column 2$/,
    );
  });

  it('refuse vectors without direction under cosine, naming the row, and take them otherwise', () => {
    const metric = 'cosine';
    const error = expect.objectContaining({ name: 'RangeError', code: 'ERR_ZERO_VECTOR' });
    const withZero = vectors.slice();
    withZero.fill(0, 28, 32);
    const zero = new Float32Array(4);
    const short = Float32Array.of(1e-20, 0, 0, 0);
    expect(() => exactSearch(withZero, query, { k: 1, metric })).toThrow(error);
    expect(() => exactSearch(withZero, query, { k: 1, metric })).toThrow(/vectors: .*row 7$/);
    expect(() => exactSearch(vectors, zero, { k: 1, metric })).toThrow(error);
    expect(() => exactSearch(vectors, short, { k: 1, metric })).toThrow(error);
    expect(() => exactSearchBatch(withZero, query, { dimensions: 4, k: 1, metric })).toThrow(
      /vectors: .*row 7$/,
    );
    expect(() => exactSearchBatch(vectors, withZero, { dimensions: 4, k: 1, metric })).toThrow(
      /queries: .*row 7$/,
    );
    expect(() => distanceMatrix(withZero, { dimensions: 4, metric })).toThrow(error);
    expect(exactSearch(withZero, zero, { k: 1 }).ids[0]).toBe(7);
  });

  it('refuse more places than one batch may have', () => {
    const options = { dimensions: 4, k: 2 ** 31 };
    expect(() => exactSearchBatch(vectors, query, options)).toThrow(
      expect.objectContaining({ name: 'RangeError', code: 'ERR_TOO_LARGE' }),
    );
  });

  it('go on after a refused call', () => {
    const before = exactSearch(vectors, query, { k: 3 });
    expect(() => exactSearch(vectors, detached(4), { k: 3 })).toThrow();
    expect(() => exactSearch(vectors, Float32Array.of(1, 2, 3, Number.NaN), { k: 3 })).toThrow();
    expect(exactSearch(vectors, query, { k: 3 })).toEqual(before);
  });
});

describe.each(METRICS)('distanceMatrix by %s', (metric) => {
  it.each([
    [0, 4],
    [1, 4],
    [2, 3],
    [15, 5],
    [16, 5],
    [17, 5],
    [33, 64],
    [70, 4096],
    [300, 784],
  ])('of %i rows of %i is symmetric and has the distances of exactSearch', (rows, dimensions) => {
    const vectors = vectorsOf(rows, dimensions, rows + 1);
    const matrix = distanceMatrix(vectors, { dimensions, metric });
    expect(matrix.length).toBe(rows * rows);
    for (let i = 0; i < rows; i++) {
      const query = vectors.subarray(i * dimensions, (i + 1) * dimensions);
      const { ids, distances } = exactSearch(vectors, query, { k: rows, metric });
      for (let j = 0; j < rows; j++) {
        if (ids[j] >= i && matrix[i * rows + ids[j]] !== distances[j]) {
          expect(matrix[i * rows + ids[j]], `row ${i}, column ${ids[j]}`).toBe(distances[j]);
        }
      }
    }
    const mirrored = Float32Array.from(matrix, (_, at) => matrix[(at % rows) * rows + Math.floor(at / rows)]);
    expectSameBits(mirrored, matrix, 'mirrored');
  });
});

describe('distanceMatrix', () => {
  it('refuses more than 1 GiB unless told otherwise, and says how large it would be', () => {
    const vectors = new Float32Array(16_385);
    const tooLarge = 'distanceMatrix: expected at most 1073741824 bytes, got 1073872900 for 16385 rows';
    expect(() => distanceMatrix(vectors, { dimensions: 1 })).toThrow(tooLarge);
    const small = vectors.subarray(0, 10);
    expect(() => distanceMatrix(small, { dimensions: 1, maxBytes: 399 })).toThrow(
      expect.objectContaining({ name: 'RangeError', code: 'ERR_TOO_LARGE' }),
    );
    expect(distanceMatrix(small, { dimensions: 1, maxBytes: 400 }).length).toBe(100);
  });

  it('refuses options of another kind', () => {
    const vectors = new Float32Array(4);
    expect(() => distanceMatrix(vectors, 4 as unknown as { dimensions: number })).toThrow(TypeError);
    const refused = (options: object): void =>
      void distanceMatrix(vectors, options as { dimensions: number });
    expect(() => refused({ dimensions: 4, maxBytes: '9' })).toThrow(/^maxBytes: expected a number from 0 to/);
    expect(() => refused({ dimensions: 3 })).toThrow(/^vectors: expected a multiple of 3 floats/);
    expect(() => refused({})).toThrow(/^dimensions: expected an integer from 1 to 65536, got undefined/);
  });
});

describe('firstUnfit', () => {
  it('finds the first number beyond the limit, wherever it stands', () => {
    const arena = new Arena();
    for (const count of [0, 1, 3, 4, 5, 15, 16, 17, 40, 65]) {
      for (let at = 0; at <= count; at++) {
        for (const value of [Number.NaN, Infinity, -Infinity, 1.5, -1.5]) {
          arena.reset();
          const numbers = floats(count, at).map((x) => Math.max(-1, Math.min(1, x)));
          if (at < count) numbers[at] = value;
          if (at + 2 < count) numbers[at + 2] = value;
          const ptr = arena.input(numbers);
          expect(arena.run((kernels) => kernels.firstUnfit(ptr, count, 1))).toBe(at);
        }
      }
    }
  });
});

describe('inverseLengths', () => {
  it('gives 1 / |row| and the first row that is too short', () => {
    const arena = new Arena();
    for (const stride of [4, 16, 100]) {
      for (const count of [0, 1, 2, 3, 9]) {
        for (let short = 0; short <= count; short++) {
          arena.reset();
          const rows = vectorsOf(count, stride, stride);
          rows.fill(0, short * stride, (short + 1) * stride);
          const ptr = arena.input(rows);
          const out = arena.output(4 * count);
          expect(arena.run((kernels) => kernels.inverseLengths(ptr, count, stride, 1e-30, out))).toBe(short);
          const expected = Float32Array.from({ length: count }, (_, r) =>
            inverseLength(rows.subarray(r * stride, (r + 1) * stride)),
          );
          expectSameBits(arena.floats(out, count), expected, `${count} rows of ${stride}`);
        }
      }
    }
  });
});
