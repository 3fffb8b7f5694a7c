import { describe, expect, it } from 'vitest';
import { exactSearch } from '../src/exact.js';
import { VectorIndex, type VectorIndexOptions } from '../src/vector-index.js';
import { concat, expectSameNeighbors, METRICS, recallOver, rowsOf, thrownBy } from './answers.js';
import { clumpedRows, normals, recallOf, rowAt } from './data.js';

describe('adding rows', () => {
  it.each(METRICS)('finds each of them by the next search by %s', (metric) => {
    for (const storage of ['f32', 'int8'] as const) {
      const vectors = clumpedRows(1500, 12, 30, 0.4, 20);
      for (let i = 0; i < vectors.length; i++) if (i % 12 === 0) vectors[i] += 0.5; // no zero vector
      const index = new VectorIndex({ dimensions: 12, metric, storage });
      let size = 0;
      for (const count of [1, 1, 2, 30, 66, 200, 300, 1, 399, 500]) {
        expect(index.add(vectors.slice(size * 12, (size + count) * 12))).toBe(size);
        size += count;
        expect(index.size).toBe(size);
        if (size === 300) index.build({ cells: 9 });
        if (size === 601) index.build({ cells: 20, refine: true });
        for (const id of [0, size - count, size - 1]) {
          // By inner product the nearest row to a row need not be itself: a query twice as long as all finds it.
          const query = rowAt(vectors, id, 12);
          const found = index.search(query, { k: 20, probes: 3, epsilon: 3 });
          const far = exactSearch(vectors.subarray(0, size * 12), query, { k: 15, metric });
          if (metric !== 'inner-product') expect(found.ids).toContain(id);
          expect(recallOf(found, far), `${size} rows, ${storage}`).toBeGreaterThan(
            storage === 'f32' ? 0.5 : 0.4,
          );
        }
      }
    }
  });

  it('before any build scans one cell', () => {
    const index = new VectorIndex({ dimensions: 12 });
    const vectors = normals(500 * 12, 21);
    index.add(vectors);
    expect(index.cells).toBe(1);
    const done = index.explain(normals(12, 22), { probes: 1, epsilon: 3 });
    expect(done.codesScanned).toBe(500);
    expect(recallOver(index, vectors, normals(20 * 12, 23), { epsilon: 3, probes: 1 })).toBeGreaterThan(0.98);
  });

  it('splits cells that have outgrown the others, and finds their rows in the halves', () => {
    const vectors = clumpedRows(1000, 16, 8, 0.5, 24);
    const index = VectorIndex.from(vectors, { dimensions: 16, cells: 8 });
    // All into one corner.
    const later = clumpedRows(1500, 16, 1, 0.5, 25);
    const before = index.stats();
    for (let i = 0; i < 1500; i += 100) index.add(later.slice(i * 16, (i + 100) * 16));
    const after = index.stats();
    expect(index.cells).toBeGreaterThan(before.cells);
    expect(after.rows).toBe(2500);
    expect(after.largestCell).toBeLessThan(1500);
    const all = concat(vectors, later);
    const { cells } = index;
    // Every row is in one cell, once.
    const query = normals(16, 26);
    const whole = index.search(query, { k: 2500, probes: cells, epsilon: 100 });
    expect(new Set(whole.ids).size).toBe(2500);
    expect(recallOver(index, all, later.slice(0, 20 * 16), { probes: 4, epsilon: 3 })).toBeGreaterThan(0.8);
    expect(recallOver(index, all, later.slice(0, 20 * 16), { probes: cells, epsilon: 50 })).toBe(1);
  });

  it('does not split a cell whose rows are all equal, until others come to it', () => {
    const vectors = clumpedRows(1000, 16, 8, 0.5, 24);
    const row = rowAt(vectors, 0, 16).map((x) => x + 20); // far from all others, so it has a cell to itself
    const equals = (count: number): Float32Array =>
      Float32Array.from({ length: count * 16 }, (_, i) => row[i % 16]);
    const index = VectorIndex.from(concat(vectors, equals(100)), { dimensions: 16, cells: 9 });
    const { cells } = index;
    for (let i = 0; i < 9; i++) index.add(equals(100));
    expect(index.stats()).toMatchObject({ rows: 2000, cells, largestCell: 1000 });
    const found = index.search(row, { k: 1001, exact: true });
    expect(found.distances.findIndex((distance) => distance > 0)).toBe(1000);
    expect(index.search(row, { k: 5, probes: 1 }).distances).toEqual(new Float32Array(5));
    // As many again, around the same place
    const others = clumpedRows(1100, 16, 1, 0.5, 25).map((x, i) => x + row[i % 16]);
    for (let i = 0; i < 11; i++) index.add(others.slice(i * 1600, (i + 1) * 1600));
    expect(index.cells).toBeGreaterThan(cells);
    expect(index.search(row, { k: 1000, probes: 1 }).distances).toEqual(new Float32Array(1000));
    expect(index.search(row, { k: 3100, probes: index.cells, epsilon: 100 }).ids.length).toBe(3100);
  });

  it('refuses a batch with one bad value and keeps none of it', () => {
    for (const metric of METRICS) {
      for (const storage of ['f32', 'int8'] as const) {
        const vectors = clumpedRows(700, 6, 10, 0.4, 27).map((x) => x + 3);
        const index = VectorIndex.from(vectors, { dimensions: 6, metric, storage, cells: 6 });
        const queries = normals(10 * 6, 28).map((x) => x + 1);
        const before = index.searchBatch(queries, { probes: 3, epsilon: 2 });
        const exactly = index.searchBatch(queries, { exact: true });
        for (const [bad, code] of [
          [Number.NaN, 'ERR_NOT_FINITE'],
          [Number.POSITIVE_INFINITY, 'ERR_NOT_FINITE'],
          [-1.1e16, 'ERR_NOT_FINITE'],
        ] as const) {
          const rows = normals(300 * 6, 29);
          rows[299 * 6 + 5] = bad;
          const error = thrownBy(() => index.add(rows));
          expect(error).toBeInstanceOf(RangeError);
          expect(error.code).toBe(code);
          expect(error.message).toContain('row 299, column 5');
        }
        if (metric === 'cosine') {
          const rows = normals(300 * 6, 29).fill(0, 299 * 6);
          const error = thrownBy(() => index.add(rows));
          expect(error.code).toBe('ERR_ZERO_VECTOR');
          expect(error.message).toContain('row 299');
        }
        expect(index.size).toBe(700);
        expect(index.searchBatch(queries, { probes: 3, epsilon: 2 })).toEqual(before);
        expect(index.searchBatch(queries, { exact: true })).toEqual(exactly);
        const first = normals(6, 30);
        expect(index.add(first)).toBe(700);
        expect(index.search(first, { exact: true, k: 701 }).ids).toContain(700);
        expect(index.vector(699).length).toBe(6);
      }
    }
  });

  it('refuses a bad first batch and is as good as new', () => {
    for (const metric of METRICS) {
      const index = new VectorIndex({ dimensions: 3, metric });
      expect(thrownBy(() => index.add(Float32Array.of(9, 9, 9, 1, Number.NaN, 2))).code).toBe(
        'ERR_NOT_FINITE',
      );
      expect(index.size).toBe(0);
      const rows = Float32Array.of(1, 0, 0, 0, 1, 0);
      index.add(rows);
      const fresh = new VectorIndex({ dimensions: 3, metric });
      fresh.add(rows);
      const query = Float32Array.of(1, 0.2, 0);
      expectSameNeighbors(index.search(query), fresh.search(query), metric);
    }
  });
});

describe('the order and the parts in which rows come', () => {
  const cases: VectorIndexOptions[] = METRICS.flatMap((metric) =>
    (['f32', 'int8'] as const).map((storage) => ({ dimensions: 10, metric, storage })),
  );

  it.each(cases)('parts do not matter to a built index by $metric in $storage rows', (options) => {
    const vectors = clumpedRows(2500, 10, 40, 0.3, 40);
    const queries = normals(20 * 10, 41);
    const together = VectorIndex.from(vectors, options);
    for (const cuts of [[1, 2, 3, 700, 2499], [64, 128, 1000], [2000]]) {
      const parts = new VectorIndex(options);
      let from = 0;
      for (const to of [...cuts, 2500]) {
        parts.add(vectors.slice(from * 10, to * 10));
        if (to === 700 || to === 1000) parts.build({ cells: 5 }); // a build in between does not matter either
        from = to;
      }
      parts.build();
      expect(parts.cells).toBe(together.cells);
      for (const way of [{}, { recall: 0.8 }, { probes: 2, epsilon: 1.5 }, { exact: true }]) {
        expect(parts.searchBatch(queries, way)).toEqual(together.searchBatch(queries, way));
      }
      for (const id of [0, 1, 1234, 2499]) expect(parts.vector(id)).toEqual(together.vector(id));
    }
  });

  it.each(cases)('the same seed gives the same index by $metric in $storage rows', (options) => {
    const vectors = clumpedRows(2500, 10, 40, 0.3, 42);
    const queries = normals(20 * 10, 43);
    const one = VectorIndex.from(vectors, { ...options, seed: 5 });
    const two = VectorIndex.from(vectors, { ...options, seed: 5n });
    expect(two.memoryUsage()).toEqual(one.memoryUsage());
    expect(two.stats()).toEqual(one.stats());
    for (const way of [{}, { recall: 0.8 }, { probes: 2, epsilon: 1.5 }]) {
      expect(two.searchBatch(queries, way)).toEqual(one.searchBatch(queries, way));
    }
    expect(two.tune({ recall: 0.85, k: 5 })).toEqual(one.tune({ recall: 0.85, k: 5 }));
  });

  it('another seed gives another index of the same quality', () => {
    const vectors = clumpedRows(2500, 10, 40, 0.3, 44);
    const queries = rowsOf(clumpedRows(2540, 10, 40, 0.3, 44), 2500, 10);
    const one = VectorIndex.from(vectors, { dimensions: 10, seed: 1 });
    const two = VectorIndex.from(vectors, { dimensions: 10, seed: 2 });
    const way = { probes: 2, epsilon: 1 };
    expect(two.searchBatch(queries, way)).not.toEqual(one.searchBatch(queries, way));
    for (const index of [one, two]) {
      expect(recallOver(index, vectors, queries, { recall: 0.9 })).toBeGreaterThanOrEqual(0.9);
    }
  });
});

describe('an index that runs out of memory', () => {
  it('answers as before when an add does not fit, wherever it stops', () => {
    const vectors = normals(600 * 16, 150);
    const queries = normals(5 * 16, 151);
    for (let maxBytes = 500_000; maxBytes < 1_000_000; maxBytes += 61_000) {
      for (const batch of [1, 50]) {
        const index = VectorIndex.from(vectors, {
          dimensions: 16,
          maxBytes,
          cells: 12,
          tune: false,
          refine: true,
        });
        const way = { probes: 4, epsilon: 2 };
        let refused: (Error & { code?: string }) | undefined;
        let size = 600;
        let before = index.searchBatch(queries, way);
        let exactly = index.searchBatch(queries, { exact: true });
        while (!refused) {
          try {
            index.add(normals(batch * 16, size));
            size += batch;
            before = index.searchBatch(queries, way);
            exactly = index.searchBatch(queries, { exact: true });
          } catch (error) {
            refused = error as Error;
          }
        }
        expect(refused.code).toBe('ERR_OUT_OF_MEMORY');
        expect(refused.name).toBe('OutOfMemoryError');
        expect(index.size, `${maxBytes} bytes: ${refused.message}`).toBe(size);
        expect(index.searchBatch(queries, way)).toEqual(before);
        expect(index.searchBatch(queries, { exact: true })).toEqual(exactly);
        expect(index.memoryUsage().total).toBeLessThanOrEqual(maxBytes + 65536);
      }
    }
  });

  it('answers as before after a build that does not fit', () => {
    const vectors = normals(3000 * 16, 152);
    const queries = normals(5 * 16, 153);
    const way = { probes: 2, epsilon: 2 };
    let refused = 0;
    for (let maxBytes = 450_000; maxBytes < 1_200_000; maxBytes += 53_000) {
      for (const storage of ['f32', 'int8'] as const) {
        let index: VectorIndex;
        try {
          index = new VectorIndex({ dimensions: 16, maxBytes, storage });
          index.add(vectors);
          index.build({ cells: 8, tune: false });
        } catch {
          continue; // too little for the beginning
        }
        const { refined } = index.stats();
        const exactly = index.searchBatch(queries, { exact: true });
        const before = index.searchBatch(queries, way);
        try {
          index.build({ cells: 1000, refine: true, tune: false });
          continue;
        } catch (error) {
          expect((error as { code?: string }).code).toBe('ERR_OUT_OF_MEMORY');
          refused++;
        }
        expect(index.cells).toBe(8);
        expect(index.size).toBe(3000);
        expect(index.stats().refined).toBe(refined);
        expect(index.searchBatch(queries, { exact: true })).toEqual(exactly);
        expect(index.searchBatch(queries, way)).toEqual(before);
      }
    }
    expect(refused).toBeGreaterThan(3);
  });
});
