import { describe, expect, it, vi } from 'vitest';
import { exactSearch } from '../src/exact.js';
import { IdSet } from '../src/id-set.js';
import { VectorIndex, type VectorSearchOptions } from '../src/vector-index.js';
import { expectSameNeighbors, METRICS } from './answers.js';
import { clumpedRows, plainDistance, rowAt } from './data.js';

const D = 16;
const ROWS = 4000;
const vectors = clumpedRows(ROWS, D, 40, 0.3, 60);
const query = clumpedRows(1, D, 40, 0.3, 61);

describe.each(METRICS)('explain with a filter, by %s', (metric) => {
  const index = VectorIndex.from(vectors, { dimensions: D, metric, cells: 32, refine: false, tune: false });
  const removed = [7, 8, 1600];
  index.remove(removed);
  const passes = (id: number): boolean => id % 3 !== 1;
  const passing = Array.from({ length: ROWS }, (_, id) => id).filter(passes);
  const order = exactSearch(vectors, query, { k: ROWS, metric }).ids;
  const truth = [...order].filter((id) => passes(id) && !removed.includes(id));

  it('tells how many rows pass, by which way, and no more than was done', () => {
    for (const options of [
      { k: 5 },
      { k: 5, recall: 0.5 },
      { k: 1, probes: 2, epsilon: 1 },
    ] as VectorSearchOptions[]) {
      const told = index.explain(query, { ...options, filter: passes });
      expectSameNeighbors(told, index.search(query, { ...options, filter: passes }), 'explain');
      expect(told.passing).toBe(passing.filter((id) => !removed.includes(id)).length);
      expect(told.way).toBe('cells');
      expect(told.settings).toMatchObject({ patience: 0 });
      expect(told.cellsProbed).toBeGreaterThan(0);
      expect(told.cellsProbed).toBeLessThanOrEqual(told.settings?.probes ?? 0);
      expect(told.codesScanned).toBeGreaterThan(0);
      expect(told.codesScanned).toBeLessThanOrEqual(ROWS);
      expect(told.rowsRanked).toBeGreaterThanOrEqual(told.ids.length);
      expect(told.capped).toBe(false);
    }
    // A bitmap may have bits of rows that are gone.
    const all = index.explain(query, { k: 5, filter: IdSet.where(ROWS, passes) });
    expect(all.passing).toBe(passing.length);
  });

  it('tells that all rows were compared, where that was asked for or is less work', () => {
    for (const options of [
      { k: 5, exact: true, filter: passes },
      { k: 5, filter: new IdSet([3, 6, 7, 30]) },
    ] as VectorSearchOptions[]) {
      const told = index.explain(query, { ...options, id: 6 });
      const few = told.passing === 4;
      expect(told).toMatchObject({
        way: 'rows',
        settings: null,
        cellsProbed: 0,
        codesScanned: 0,
        survivors: 0,
      });
      expect(told.rowsRanked).toBe(few ? 3 : truth.length);
      expect([...told.ids]).toEqual(few ? truth.filter((id) => [3, 6, 30].includes(id)) : truth.slice(0, 5));
    }
  });

  it('says of each row why it was not found', () => {
    const reasons = new Map<string, number>();
    for (const options of [
      { k: 3, filter: passes, probes: 2, epsilon: 0.5 },
      { k: 3, filter: passes, probes: 40, epsilon: Number.POSITIVE_INFINITY },
      { k: 3, filter: passes, exact: true },
    ] as VectorSearchOptions[]) {
      const found = index.search(query, options);
      for (let id = 0; id < ROWS; id += 13) {
        if (removed.includes(id)) continue;
        const told = index.explain(query, { ...options, id });
        const row = told.row as NonNullable<typeof told.row>;
        const own = plainDistance(metric, query, rowAt(vectors, id, D));
        expect(row.distance).toBeCloseTo(own, 3);
        expect(row.found).toBe(found.ids.includes(id));
        expect(row.reason === 'found').toBe(row.found);
        expect(row.reason === 'excluded by the filter').toBe(!passes(id));
        reasons.set(row.reason, (reasons.get(row.reason) ?? 0) + 1);
        const last = told.distances[told.distances.length - 1];
        if (row.reason === 'ranked behind k others') expect(row.distance).toBeGreaterThanOrEqual(last);
        if (told.way === 'rows') expect(row.reason).not.toMatch(/cell|code/);
        if (row.reason === 'cell not probed') expect(row.cellRank).toBeGreaterThan(0);
        if (options.epsilon === Number.POSITIVE_INFINITY) expect(row.reason).not.toMatch(/code/);
      }
    }
    for (const reason of ['excluded by the filter', 'cell not probed', 'ranked behind k others'])
      expect(reasons.get(reason), reason).toBeGreaterThan(10);
  });
});

describe('explain', () => {
  it('tells times that are parts of the whole, in milliseconds', () => {
    const index = VectorIndex.from(vectors, { dimensions: D, cells: 32, tune: false });
    let now = 1e6;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now++);
    try {
      for (const options of [
        {},
        { exact: true },
        { filter: (id: number) => id > 5 },
      ] as VectorSearchOptions[]) {
        const { times } = index.explain(query, options);
        for (const ms of Object.values(times)) {
          expect(ms).toBeGreaterThanOrEqual(1);
          expect(ms).toBeLessThan(1000);
        }
      }
    } finally {
      clock.mockRestore();
    }
  });

  it('ranks nothing where there is nothing, also after another search', () => {
    const index = new VectorIndex({ dimensions: D });
    const nothing = { settings: null, rowsRanked: 0, cellsProbed: 0, codesScanned: 0 };
    expect({ ...index.explain(query, {}), settings: null }).toMatchObject({
      ...nothing,
      ids: new Uint32Array(0),
    });
    index.add(vectors.subarray(0, 40 * D));
    expect(index.explain(query, { exact: true }).rowsRanked).toBe(40);
    index.remove(Array.from({ length: 40 }, (_, id) => id));
    for (const options of [{}, { exact: true }])
      expect({ ...index.explain(query, options), settings: null }).toMatchObject({ rowsRanked: 0 });
    expect(index.explain(query, {})).not.toHaveProperty('way');
  });
});

describe('stats', () => {
  it('are those of the cells, counted by hand', () => {
    const index = VectorIndex.from(vectors, { dimensions: D, cells: 32, tune: false, refine: true });
    const check = (rows: number, dead: number): void => {
      const told = index.stats();
      const sizes = [...told.cellSizes];
      expect(sizes.length).toBe(index.cells);
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(rows);
      // The cell of each row, one by one.
      const own = sizes.flatMap((size) => new Array<number>(size).fill(size));
      const mean = own.reduce((sum, size) => sum + size, 0) / Math.max(1, rows);
      expect(told).toMatchObject({
        rows,
        removed: dead,
        cells: index.cells,
        largestCell: Math.max(...sizes),
        emptyCells: sizes.filter((size) => size === 0).length,
        refined: true,
      });
      expect(told.skew).toBeCloseTo(mean / (Math.max(1, rows) / sizes.length), 9);
      expect(told.bytesPerRow).toBe(index.memoryUsage().total / Math.max(1, rows));
    };
    check(ROWS, 0);
    const { row } = index.explain(rowAt(vectors, 5, D), { id: 5 });
    expect(row?.cellRank).toBe(0);
    // All rows of a cell go: it is empty then.
    const cellOf = (id: number): number | undefined => index.explain(query, { id }).row?.cell;
    const cell = cellOf(5);
    const gone = Array.from({ length: ROWS }, (_, id) => id).filter((id) => cellOf(id) === cell);
    index.remove(gone);
    check(ROWS - gone.length, gone.length);
    expect(index.stats().emptyCells).toBe(1);
    index.remove(Array.from({ length: ROWS }, (_, id) => id));
    check(0, ROWS);
  });
});
