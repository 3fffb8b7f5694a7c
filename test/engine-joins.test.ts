import { describe, expect, it } from 'vitest';
import { VectorIndex } from '../src/vector-index.js';
import { clumpedRows, plainDistance, rowAt } from './data.js';
import { all, neighborsIn } from './joins.js';

describe('neighbors of the rows of an index', () => {
  it('are k at most where more rows than that are equal, and a row may be none of its own nearest', () => {
    const vectors = new Float32Array(60 * 8).fill(2);
    const index = VectorIndex.from(vectors, { dimensions: 8 });
    const k = 4;
    for (const { rows, ids, counts } of index.neighborGraph({ k, pageRows: 7 })) {
      expect(ids.length).toBe(rows.length * k);
      rows.forEach((row, i) => {
        expect(counts[i]).toBe(k);
        const near = ids.subarray(i * k, (i + 1) * k);
        expect(near.includes(row)).toBe(false);
        expect(new Set(near).size).toBe(k);
      });
    }
  });

  it('are k also where the cells that are visited hold fewer: then all rows are looked at', async () => {
    const rows = 120;
    const vectors = clumpedRows(rows, 6, 10, 0.2, 9);
    // 40 cells of three rows, of which a search without a tuning visits eight.
    const index = VectorIndex.from(vectors, { dimensions: 6, cells: 40, tune: false });
    expect(index.cells).toBeGreaterThan(30);
    const k = 60;
    const found = neighborsIn(await all(index.neighborGraph({ k })), k);
    for (let row = 0; row < rows; row++) {
      const query = rowAt(vectors, row, 6);
      const distances = Array.from({ length: rows }, (_, id) =>
        plainDistance('euclidean', query, rowAt(vectors, id, 6)),
      );
      distances[row] = Number.POSITIVE_INFINITY;
      distances.sort((a, b) => a - b);
      const near = found.get(row) ?? [];
      expect(near.length).toBe(k);
      near.forEach(({ distance }, j) => {
        expect(distance).toBeCloseTo(distances[j], 4);
      });
    }
  });
});
