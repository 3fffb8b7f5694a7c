import { describe, expect, it } from 'vitest';
import { exactSearch, exactSearchBatch } from '../src/exact.js';
import { type Filter, IdSet } from '../src/id-set.js';
import type { Metric, Neighbors } from '../src/neighbors.js';
import { VectorIndex, type VectorSearchOptions } from '../src/vector-index.js';
import { METRICS, thrownBy } from './answers.js';
import { uniform } from './arena.js';
import { clumpedRows, normals, plainDistance, rowAt } from './data.js';

const D = 24;
const ROWS = 6000;

function make(metric: Metric, options: { storage?: 'f32' | 'int8'; refine?: boolean; cells?: number } = {}) {
  const vectors = clumpedRows(ROWS, D, 60, 0.5, 5).map((x) => x + 0.1);
  const queries = clumpedRows(40, D, 60, 0.5, 5).map((x, i) => x + 0.02 * Math.sin(i));
  const index = VectorIndex.from(vectors, { dimensions: D, metric, cells: 48, tune: false, ...options });
  return { vectors, queries, index };
}

/** Ids of the rows that pass by exact distance. */
function order(vectors: Float32Array, query: Float32Array, metric: Metric): Uint32Array {
  return exactSearch(vectors, query, { k: vectors.length / query.length, metric }).ids;
}

function expectOnlyPassing(found: Neighbors, filter: IdSet): void {
  for (const id of found.ids) expect(filter.has(id)).toBe(true);
}

/** Share of the ten nearest passing rows that were found, over all queries, each with a filter of its own. */
function recallAmong(
  index: VectorIndex,
  vectors: Float32Array,
  queries: Float32Array,
  filterOf: (order: Uint32Array) => IdSet,
  options: VectorSearchOptions = {},
): number {
  let hits = 0;
  let all = 0;
  for (let i = 0; i < queries.length / D; i++) {
    const query = rowAt(queries, i, D);
    const ids = order(vectors, query, index.metric);
    const filter = filterOf(ids);
    const truth = [...ids].filter((id) => filter.has(id)).slice(0, 10);
    const found = index.search(query, { k: 10, filter, ...options });
    expect(found.ids.length).toBe(truth.length);
    expectOnlyPassing(found, filter);
    hits += truth.filter((id) => found.ids.includes(id)).length;
    all += truth.length;
  }
  return hits / all;
}

const random = (share: number): IdSet => {
  const next = uniform(Math.round(share * 1e6));
  return IdSet.where(ROWS, () => next() < share);
};

describe('a search with a filter', () => {
  it.each(METRICS)('finds the nearest of the rows that pass, exactly, by %s', (metric) => {
    const { vectors, queries, index } = make(metric);
    for (const share of [0.9, 0.3, 0.02, 0.001, 0]) {
      const filter = random(share);
      for (let i = 0; i < 5; i++) {
        const query = rowAt(queries, i, D);
        const truth = [...order(vectors, query, metric)].filter((id) => filter.has(id)).slice(0, 10);
        for (const way of [
          { exact: true },
          { recall: 1 },
          { probes: 48, epsilon: Number.POSITIVE_INFINITY },
        ]) {
          const found = index.search(query, { k: 10, filter, ...way });
          // Cosine's equal distances may be told apart by rounding: distances at each place are what counts.
          expect(found.ids.length).toBe(truth.length);
          truth.forEach((id, place) => {
            const own = plainDistance(metric, query, rowAt(vectors, id, D));
            expect(Math.abs(found.distances[place] - own)).toBeLessThan(1e-4);
          });
          expectOnlyPassing(found, filter);
        }
      }
    }
  });

  // Measured: 0.9925 to 1 of the rows that pass.
  it.each(METRICS)('keeps its recall whichever rows pass, by %s', (metric) => {
    const { vectors, queries, index } = make(metric);
    for (const share of [0.5, 0.1, 0.01]) {
      const count = Math.round(share * ROWS);
      expect(recallAmong(index, vectors, queries, () => random(share))).toBeGreaterThan(0.95);
      const near = (ids: Uint32Array): IdSet => new IdSet(ids.subarray(0, count));
      expect(recallAmong(index, vectors, queries, near)).toBeGreaterThan(0.95);
      const far = (ids: Uint32Array): IdSet => new IdSet(ids.subarray(ROWS - count));
      expect(recallAmong(index, vectors, queries, far)).toBeGreaterThan(0.95);
      const shell = (ids: Uint32Array): IdSet => new IdSet(ids.subarray(300, 300 + count));
      expect(recallAmong(index, vectors, queries, shell)).toBeGreaterThan(0.95);
    }
  });

  it('takes functions, bitmaps and sets, in every verb, and they mean the same', () => {
    const { vectors, queries, index } = make('euclidean');
    const set = IdSet.where(ROWS, (id) => id % 5 === 2);
    const filters: Filter[] = [set, set.toBitmap(), (id) => id % 5 === 2, new IdSet(set)];
    const batch = index.searchBatch(queries, { k: 7, filter: set });
    for (const filter of filters) {
      expect(index.searchBatch(queries, { k: 7, filter })).toEqual(batch);
      for (let i = 0; i < 4; i++) {
        const query = rowAt(queries, i, D);
        const found = index.search(query, { k: 7, filter });
        expect(found.ids).toEqual(batch.ids.slice(i * 7, i * 7 + batch.counts[i]));
        const ids = new Uint32Array(7);
        const distances = new Float32Array(7);
        expect(index.searchInto(query, ids, distances, { k: 7, filter })).toBe(7);
        expect(ids).toEqual(found.ids);
        expect(distances).toEqual(found.distances);
        const explained = index.explain(query, { k: 7, filter });
        expect(explained.ids).toEqual(found.ids);
        expect(explained.passing).toBe(set.size);
      }
      const { recall } = index.evaluate(queries, { k: 7, filter });
      expect(recall).toBeGreaterThan(0.97);
      expect(index.evaluate(queries, { k: 7, filter, exact: true }).recall).toBe(1);
    }
    expect(index.search(rowAt(vectors, 0, D), { k: 3 })).toEqual(
      make('euclidean').index.search(rowAt(vectors, 0, D), { k: 3 }),
    );
  });

  it('asks a function once for every row, and for a whole batch once', () => {
    const { queries, index } = make('euclidean');
    index.remove([1, 4]);
    const asked: number[] = [];
    index.searchBatch(queries, {
      filter: (id) => {
        asked.push(id);
        return true;
      },
    });
    const expected = Array.from({ length: ROWS }, (_, id) => id).filter((id) => id !== 1 && id !== 4);
    expect(asked).toEqual(expected);
  });

  it('sees a set that has changed, an index that has grown, and rows that are gone', () => {
    const { vectors, queries, index } = make('euclidean');
    const query = rowAt(queries, 0, D);
    const set = new IdSet();
    expect(index.search(query, { filter: set }).ids.length).toBe(0);
    set.add([5, 17, 3000]);
    expect([...index.search(query, { filter: set }).ids].sort((a, b) => a - b)).toEqual([5, 17, 3000]);
    index.remove(17);
    expect([...index.search(query, { filter: set }).ids].sort((a, b) => a - b)).toEqual([5, 3000]);
    const first = index.add(query.slice());
    expect(index.search(query, { filter: set }).ids.length).toBe(2);
    set.add(first);
    expect(index.search(query, { filter: set }).ids[0]).toBe(first);
    index.update(5, query.slice());
    expect([...index.search(query, { filter: set }).ids]).toEqual([5, first, 3000]);
    index.compact();
    expect([...index.search(query, { filter: set }).ids]).toEqual([5, first, 3000]);
    index.build({ cells: 16 });
    expect([...index.search(query, { filter: set }).ids]).toEqual([5, first, 3000]);
    set.delete(first);
    expect([...index.search(query, { filter: set }).ids]).toEqual([5, 3000]);
    expect(index.search(rowAt(vectors, 5, D)).ids.length).toBe(10);
  });

  it('takes a bitmap that is shorter or longer than the rows; ids behind its end do not pass', () => {
    const { queries, index } = make('euclidean');
    const query = rowAt(queries, 1, D);
    const short = index.search(query, { k: 100, filter: Uint8Array.of(255, 1) });
    expect([...short.ids].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    const long = new Uint8Array(ROWS).fill(255);
    expect(index.explain(query, { filter: long }).passing).toBe(ROWS);
    expect(index.search(query, { filter: long, exact: true })).toEqual(index.search(query, { exact: true }));
    expect(index.search(query, { filter: new Uint8Array(0) }).ids.length).toBe(0);
  });

  it('works before a build, on an empty index, on int8 rows, with a second stage', () => {
    const empty = new VectorIndex({ dimensions: D });
    expect(empty.search(new Float32Array(D), { filter: () => true }).ids.length).toBe(0);
    empty.add(normals(D * 50, 3));
    const odd = (id: number): boolean => id % 2 === 1;
    const found = empty.search(new Float32Array(D), { k: 50, filter: odd });
    expect([...found.ids].sort((a, b) => a - b)).toEqual(Array.from({ length: 25 }, (_, i) => 2 * i + 1));
    for (const options of [{ storage: 'int8' as const }, { refine: true }]) {
      const { vectors, queries, index } = make('euclidean', options);
      expect(recallAmong(index, vectors, queries, () => random(0.4))).toBeGreaterThan(0.93);
    }
  });

  it('says why a row was missed, how many pass, and which way was taken', () => {
    const { queries, index } = make('euclidean');
    const query = rowAt(queries, 2, D);
    const nearest = index.search(query, { exact: true }).ids[0];
    const without = IdSet.where(ROWS, (id) => id !== nearest);
    const explained = index.explain(query, { filter: without, id: nearest });
    expect(explained.way).toBe('cells');
    expect(explained.passing).toBe(ROWS - 1);
    expect(explained.cellsProbed).toBeGreaterThan(0);
    expect(explained.row).toMatchObject({ found: false, reason: 'excluded by the filter' });
    const few = index.explain(query, { filter: new IdSet([nearest, 4]), id: nearest });
    expect(few.way).toBe('rows');
    expect(few.settings).toBe(null);
    expect(few.rowsRanked).toBe(2);
    expect(few.row).toMatchObject({ found: true, reason: 'found' });
    const narrow = index.explain(query, {
      filter: without,
      probes: 1,
      id: index.search(query, { k: 4000, exact: true }).ids[3999],
    });
    expect(narrow.row?.reason).toBe('cell not probed');
    expect(narrow.cellsProbed).toBe(1);
  });

  it.each<[string, Filter, string]>([
    ['a list', [1, 2] as never, 'filter: expected a function, a Uint8Array or an IdSet, got Array of 2'],
    ['null', null as never, 'got null'],
    ['words', new Uint32Array(4) as never, 'got Uint32Array of 4'],
  ])('refuses %s', (_, filter, words) => {
    const { queries, index } = make('euclidean');
    const query = rowAt(queries, 0, D);
    for (const call of [
      () => index.search(query, { filter }),
      () => index.searchBatch(query, { filter }),
      () => index.searchInto(query, new Uint32Array(10), new Float32Array(10), { filter }),
      () => index.explain(query, { filter }),
      () => index.evaluate(query, { filter }),
      () => index.searchRadius(query, 1, { filter }),
      () => index.searchById(0, { filter }),
    ]) {
      const error = thrownBy(call);
      expect(error.code).toBe('ERR_ARGUMENT_TYPE');
      expect(error.message).toContain(words);
    }
  });

  it('hands on what a function throws, and is as before', () => {
    const { queries, index } = make('euclidean');
    const query = rowAt(queries, 0, D);
    const before = index.search(query);
    const filter = (): boolean => {
      throw new Error('no');
    };
    expect(() => index.search(query, { filter })).toThrow('no');
    expect(index.search(query)).toEqual(before);
  });
});

describe('a search by a stored id', () => {
  it('finds the neighbors of the row without the row', () => {
    const { vectors, index } = make('euclidean');
    for (const id of [0, 17, 5999]) {
      const truth = exactSearchBatch(vectors, rowAt(vectors, id, D), { dimensions: D, k: 11 });
      const expected = [...truth.ids].filter((other) => other !== id);
      expect([...index.searchById(id, { k: 10, exact: true }).ids]).toEqual(expected);
      expect(index.searchById(id, { k: 3, filter: (other) => other < 9 }).ids).not.toContain(id);
      expect(index.searchById(id, { k: ROWS + 5, exact: true }).ids.length).toBe(ROWS - 1);
    }
  });

  it('leaves the row out, not its twin', () => {
    const index = new VectorIndex({ dimensions: 2 });
    index.add(Float32Array.of(1, 1, 1, 1, 5, 5));
    expect([...index.searchById(1, { k: 2 }).ids]).toEqual([0, 2]);
    expect([...index.searchById(1, { k: 1 }).ids]).toEqual([0]);
    index.remove(0);
    expect([...index.searchById(1, { k: 2 }).ids]).toEqual([2]);
    for (const id of [0, 3, -1, 0.5])
      expect(thrownBy(() => index.searchById(id)).code).toBe('ERR_ARGUMENT_RANGE');
  });
});
