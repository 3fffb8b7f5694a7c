import { describe, expect, it } from 'vitest';
import { exactSearch } from '../src/exact.js';
import { VectorIndex, type VectorSearchOptions } from '../src/vector-index.js';
import { expectSameNeighbors } from './answers.js';
import { clumpedRows, plainDistance, rowAt } from './data.js';

describe('explain', () => {
  const vectors = clumpedRows(2000, 16, 16, 0.1, 50);
  const index = VectorIndex.from(vectors, { dimensions: 16, cells: 16, refine: false });
  const query = rowAt(vectors, 0, 16);
  const order = exactSearch(vectors, query, { k: 2000 }).ids;

  it('gives the neighbors of a search and counts that fit together', () => {
    for (const options of [
      {},
      { recall: 0.99, k: 3 },
      { probes: 2, epsilon: 1 },
      { probes: 5, epsilon: Number.POSITIVE_INFINITY },
      { probes: 16, epsilon: 3, patience: 2 },
    ] as VectorSearchOptions[]) {
      const told = index.explain(query, options);
      expectSameNeighbors(told, index.search(query, options), 'explain');
      expect(told.cells).toBe(16);
      expect(told.settings).not.toBeNull();
      expect(told.cellsProbed).toBeGreaterThan(0);
      expect(told.cellsProbed).toBeLessThanOrEqual(Math.min(16, told.settings?.probes ?? 0));
      expect(told.survivors).toBeLessThanOrEqual(told.codesScanned);
      expect(told.rowsRefined).toBe(0);
      expect(told.rowsRanked).toBeLessThanOrEqual(told.survivors);
      expect(told.rowsRanked).toBeGreaterThanOrEqual(told.ids.length);
      expect(told.codesScanned).toBeLessThanOrEqual(2000);
      expect(Object.keys(told.times)).toEqual(['prepareMs', 'cellsMs', 'scanMs', 'rankMs']);
      for (const time of Object.values(told.times)) expect(time).toBeGreaterThanOrEqual(0);
    }
    const all = index.explain(query, { probes: 16, epsilon: 3 });
    expect(all.codesScanned).toBe(2000);
    expect(all.cellsProbed).toBe(16);
  });

  it('counts no cells and every row of an exact search', () => {
    const told = index.explain(query, { exact: true, k: 4, id: order[9] });
    expect(told).toMatchObject({
      settings: null,
      cellsProbed: 0,
      codesScanned: 0,
      survivors: 0,
      rowsRefined: 0,
      rowsRanked: 2000,
    });
    expectSameNeighbors(told, exactSearch(vectors, query, { k: 4 }), 'exact');
    expect(told.row).toMatchObject({ found: false, reason: 'ranked behind k others' });
    expect(index.explain(query, { exact: true, id: order[9] }).row).toMatchObject({
      found: true,
      reason: 'found',
    });
  });

  it('says of a row that was found where it stands', () => {
    const { row } = index.explain(query, { probes: 3, epsilon: 3, id: 0 });
    expect(row).toMatchObject({ id: 0, found: true, reason: 'found', cellRank: 0, distance: 0 });
    const near = index.explain(query, { probes: 3, epsilon: 3, id: order[3] });
    expect(near.row?.distance).toBeCloseTo(near.distances[3], 5);
    expect(near.row?.lowerBound).toBeLessThan(near.row?.estimate ?? 0);
    expect(near.row?.lowerBound).toBeLessThan(near.row?.limit ?? 0);
    // An estimate of a squared distance with a standard deviation of a few percent of the cell's size.
    expect(Math.abs((near.row?.estimate ?? 0) - near.distances[3] ** 2)).toBeLessThan(0.5);
  });

  it('says when the cell of a row was not probed', () => {
    const { row, cellsProbed } = index.explain(query, { probes: 2, epsilon: 3, id: order[1999] });
    expect(row).toMatchObject({ found: false, reason: 'cell not probed' });
    expect(row?.cellRank).toBeGreaterThanOrEqual(cellsProbed);
  });

  it('says when the code of a row filtered it', () => {
    // The farthest row of the nearest cell.
    const id =
      [...order].reverse().find((other) => index.explain(query, { id: other }).row?.cellRank === 0) ?? 0;
    const { row } = index.explain(query, { probes: 16, epsilon: 0.5, k: 3, id });
    expect(row).toMatchObject({ found: false, reason: 'filtered by its code' });
    expect(row?.lowerBound).toBeGreaterThanOrEqual(row?.limit ?? 0);
  });

  it('says when k others are nearer, also to the middle of a cell', () => {
    for (const where of [query, new Float32Array(16)]) {
      const told = index.explain(where, { probes: 3, epsilon: Number.POSITIVE_INFINITY, k: 2 });
      const others = index.explain(where, { probes: 3, epsilon: Number.POSITIVE_INFINITY, k: 50 });
      for (const id of others.ids.slice(2)) {
        const { row } = index.explain(where, { probes: 3, epsilon: Number.POSITIVE_INFINITY, k: 2, id });
        expect(row).toMatchObject({ found: false, reason: 'ranked behind k others' });
        expect(row?.distance).toBeGreaterThanOrEqual(told.distances[1]);
      }
    }
  });

  it('says that a code filtered what the second stage lost', () => {
    // Clumps so tight that 4 bits a coordinate of the whole cannot tell their rows apart.
    const tight = clumpedRows(3000, 16, 10, 1e-3, 51);
    const refined = VectorIndex.from(tight, { dimensions: 16, cells: 16, refine: true, tune: false });
    expect(refined.stats().refined).toBe(true);
    let lost = 0;
    for (let i = 0; i < 20; i++) {
      const middle = rowAt(tight, i, 16);
      const options = { probes: 16, epsilon: 3, k: 3 };
      for (const id of exactSearch(tight, middle, { k: 3 }).ids) {
        const told = refined.explain(middle, { ...options, id });
        expect(told.rowsRefined).toBeGreaterThanOrEqual(told.rowsRanked);
        expect(told.rowsRefined).toBeLessThanOrEqual(told.survivors);
        if (told.row?.found) continue;
        lost++;
        expect(told.row?.reason).toBe('filtered by its code');
        expect(told.row?.distance).toBeLessThan(told.distances[2]);
      }
    }
    expect(lost).toBeGreaterThan(0);
  });

  it('agrees with itself for every row of a search', () => {
    const options = { probes: 4, epsilon: 1.5, k: 5 };
    const found = index.search(query, options);
    for (let id = 0; id < 2000; id += 7) {
      const { row, distances } = index.explain(query, { ...options, id });
      expect(row?.found).toBe(found.ids.includes(id));
      expect(row?.reason === 'found').toBe(row?.found);
      expect(row?.distance).toBeCloseTo(plainDistance('euclidean', query, rowAt(vectors, id, 16)), 4);
      if (row?.reason === 'ranked behind k others') expect(row.distance).toBeGreaterThanOrEqual(distances[4]);
    }
  });
});
