import { describe, expect, it } from 'vitest';
import { exactSearch } from '../src/exact.js';
import type { Metric } from '../src/neighbors.js';
import type { Storage } from '../src/rows.js';
import { VectorIndex } from '../src/vector-index.js';
import { EXACT_WAYS, expectNearest, expectSameNeighbors, expectSound, METRICS } from './answers.js';
import { clumpedRows, normals, recallOf, rowAt } from './data.js';

describe.each(['f32', 'int8'] as Storage[])('hard data in %s rows', (storage) => {
  const f32 = storage === 'f32';

  /** Builds with few, default and too many cells; checks soundness, and recall at 0.99 where equals are no matter. */
  function expectGood(vectors: Float32Array, dimensions: number, least: number, metric: Metric): void {
    const rows = vectors.length / dimensions;
    for (const cells of [undefined, 1, 40, rows + 1000]) {
      for (const training of ['lloyd', 'none'] as const) {
        const index = VectorIndex.from(vectors, { dimensions, metric, storage, cells, training });
        expect(index.cells).toBeLessThanOrEqual(rows);
        let good = 0;
        let wanted = 0;
        for (let i = 0; i < 8; i++) {
          const query = rowAt(vectors, Math.floor((i * rows) / 8), dimensions);
          const truth = exactSearch(vectors, query, { k: 10, metric });
          const found = index.search(query, { recall: 0.99 });
          if (f32) {
            expectSound(found, vectors, query, metric);
            expectNearest(index.search(query, { exact: true }), vectors, query, 10, metric);
          }
          // By distance: among equals any will do. 8 bits round a row by about 1 % of its length.
          const limit = truth.distances[truth.distances.length - 1];
          const size = metric === 'cosine' ? 1 : Math.hypot(...query);
          const tolerance = f32
            ? 1e-5 * (1 + Math.abs(limit))
            : 0.03 * size * (metric === 'inner-product' ? size : 1);
          wanted += truth.ids.length;
          for (const x of found.distances) if (x <= limit + tolerance) good++;
        }
        expect(good / wanted, `${cells} cells, ${training}`).toBeGreaterThanOrEqual(least);
      }
    }
  }

  it.each(METRICS)('one row by %s', (metric) => {
    const row = Float32Array.of(1, -2, 3);
    for (const cells of [undefined, 1, 5]) {
      const index = VectorIndex.from(row, { dimensions: 3, metric, storage, cells });
      for (const way of [...EXACT_WAYS, {}, { probes: 1, epsilon: 0 }]) {
        expect(index.search(row, way).ids).toEqual(Uint32Array.of(0));
      }
    }
  });

  it.each(METRICS)('all rows equal by %s', (metric) => {
    const row = normals(12, 1);
    const vectors = Float32Array.from({ length: 12 * 600 }, (_, i) => row[i % 12]);
    expectGood(vectors, 12, 1, metric);
  });

  it('all rows zero', () => {
    expectGood(new Float32Array(4 * 500), 4, 1, 'euclidean');
    expectGood(new Float32Array(4 * 500), 4, 1, 'inner-product');
  });

  it.each(METRICS)('many duplicates by %s', (metric) => {
    const few = normals(30 * 8, 2);
    const vectors = Float32Array.from(
      { length: 900 * 8 },
      (_, i) => few[(Math.floor(i / 8) % 30) * 8 + (i % 8)],
    );
    expectGood(vectors, 8, 0.98, metric);
  });

  it.each(METRICS)('two clusters by %s', (metric) => {
    expectGood(clumpedRows(800, 16, 2, 0.01, 3), 16, f32 ? 0.9 : 0.5, metric);
  });

  it.each(METRICS)('constant dimensions by %s', (metric) => {
    const vectors = normals(700 * 10, 4);
    for (let i = 0; i < vectors.length; i++) if (i % 10 > 2) vectors[i] = i % 10;
    expectGood(vectors, 10, 0.95, metric);
  });

  it.each(METRICS)('heavy-tailed norms by %s', (metric) => {
    const vectors = normals(700 * 10, 5);
    const sizes = normals(700, 6);
    for (let i = 0; i < vectors.length; i++) vectors[i] *= Math.exp(1.5 * sizes[Math.floor(i / 10)]);
    expectGood(vectors, 10, f32 ? 0.97 : 0.9, metric);
  });

  it.each(METRICS)('one dimension by %s', (metric) => {
    const vectors = normals(600, 7).map((x) => x || 1);
    expectGood(vectors, 1, f32 ? 0.98 : 0.9, metric);
  });
});

describe('numbers at the ends of the range', () => {
  it.each(METRICS)('of size 1e16 are ranked right by %s', (metric) => {
    const vectors = normals(400 * 20, 8).map((x) => Math.fround(x * 1.5e15));
    const index = VectorIndex.from(vectors, { dimensions: 20, metric, cells: 7 });
    for (let i = 0; i < 10; i++) {
      const query = rowAt(vectors, i, 20);
      const truth = exactSearch(vectors, query, { k: 10, metric });
      expect(recallOf(index.search(query, { exact: true }), truth)).toBe(1);
      expect(recallOf(index.search(query, { probes: 7, epsilon: 4 }), truth)).toBeGreaterThanOrEqual(0.9);
    }
  });

  it('so small that their squares underflow are no harm to those that follow', () => {
    const vectors = normals(1500 * 8, 9).map((x) => x * 1e-19);
    const index = VectorIndex.from(vectors, { dimensions: 8, cells: 64 });
    const query = rowAt(vectors, 3, 8);
    expectNearest(index.search(query, { exact: true }), vectors, query, 10, 'euclidean');
    const found = index.search(query, { probes: 20, epsilon: 3 });
    const again = index.search(query, { probes: 20, epsilon: 3 });
    expectSameNeighbors(found, again, 'the same search again');
    expect(found.ids.length).toBe(10);
    const usual = normals(1500 * 8, 10);
    index.add(usual);
    expect(index.search(rowAt(usual, 5, 8), { k: 1, exact: true }).ids[0]).toBe(1505);
  });
});
