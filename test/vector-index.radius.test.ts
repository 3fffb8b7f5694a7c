import { describe, expect, it } from 'vitest';
import { IdSet } from '../src/id-set.js';
import type { Neighbors } from '../src/neighbors.js';
import { VectorIndex } from '../src/vector-index.js';
import { expectSameNeighbors, METRICS, thrownBy } from './answers.js';
import { uniform } from './arena.js';
import { clumpedRows, rowAt } from './data.js';

const D = 20;
const ROWS = 5000;
const vectors = clumpedRows(ROWS, D, 50, 0.5, 9).map((x) => x + 0.1);
const queries = clumpedRows(40, D, 50, 0.5, 9).map((x, i) => x + 0.02 * Math.sin(i));

const within = (all: Neighbors, radius: number, filter?: IdSet): number[] =>
  [...all.ids].filter((id, i) => all.distances[i] <= radius && (!filter || filter.has(id)));

describe('a search within a radius', () => {
  it.each(
    METRICS.flatMap((metric) => (['f32', 'int8'] as const).map((storage) => [metric, storage] as const)),
  )('finds every row within it, exactly, by %s in %s rows', (metric, storage) => {
    const index = VectorIndex.from(vectors, { dimensions: D, metric, storage, cells: 40, tune: false });
    const odd = IdSet.where(ROWS, (id) => id % 2 === 1);
    for (let i = 0; i < 5; i++) {
      const query = rowAt(queries, i, D);
      const all = index.search(query, { k: ROWS, exact: true });
      for (const place of [0, 9, 300, ROWS - 1]) {
        // A distance that a search told is a radius that includes its row.
        const radius = all.distances[place];
        const found = index.searchRadius(query, radius, { exact: true });
        expect([...found.ids]).toEqual(within(all, radius));
        expectSameNeighbors(
          found,
          { ids: all.ids.slice(0, found.ids.length), distances: all.distances.slice(0, found.ids.length) },
          metric,
        );
        const some = index.searchRadius(query, radius, { recall: 1, filter: odd });
        expect([...some.ids]).toEqual(within(all, radius, odd));
      }
    }
  });

  // Measured: 0.982 to 1.
  it.each(METRICS)('keeps its recall at any radius, by %s', (metric) => {
    const index = VectorIndex.from(vectors, { dimensions: D, metric, cells: 40 });
    const next = uniform(3);
    const filter = IdSet.where(ROWS, () => next() < 0.3);
    for (const place of [0, 5, 50, 500, 3000]) {
      for (const recall of [0.9, 0.99]) {
        let hits = 0;
        let most = 0;
        for (let i = 0; i < 40; i++) {
          const query = rowAt(queries, i, D);
          const all = index.search(query, { k: ROWS, exact: true });
          const radius = all.distances[place];
          const found = index.searchRadius(query, radius, { recall });
          // In the order, and at the distances, that an exact search tells.
          const told = new Map([...all.ids].map((id, j) => [id, [j, all.distances[j]]]));
          let last = -1;
          found.ids.forEach((id, j) => {
            const [at, distance] = told.get(id) as [number, number];
            if (at <= last || found.distances[j] !== distance) expect.fail(`row ${id} at place ${j}`);
            last = at;
          });
          const truth = new Set(within(all, radius));
          for (const id of found.ids) if (truth.has(id)) hits++;
          most += truth.size;
          const passing = index.searchRadius(query, radius, { recall, filter });
          const wanted = new Set(within(all, radius, filter));
          for (const id of passing.ids) {
            expect(filter.has(id)).toBe(true);
            if (wanted.has(id)) hits++;
          }
          most += wanted.size;
        }
        expect(hits / most, `${place} ${recall}`).toBeGreaterThan(recall);
      }
    }
  });

  it('gives any number of rows', () => {
    const index = VectorIndex.from(vectors, { dimensions: D, cells: 40, tune: false });
    const one = new VectorIndex({ dimensions: D });
    one.add(vectors);
    for (const way of [{}, { exact: true }]) {
      for (const any of [index, one]) {
        const found = any.searchRadius(rowAt(queries, 0, D), Number.POSITIVE_INFINITY, way);
        expect(found.ids.length).toBe(ROWS);
        expect(new Set(found.ids).size).toBe(ROWS);
      }
    }
  });

  it('finds equal rows at radius 0', () => {
    const index = VectorIndex.from(vectors, { dimensions: D, cells: 40, tune: false });
    const first = index.add(vectors.slice(0, 30 * D));
    for (let id = 0; id < 30; id++) {
      const found = index.searchRadius(rowAt(vectors, id, D), 0);
      expect([...found.ids]).toEqual([id, first + id]);
      expect([...found.distances]).toEqual([0, 0]);
    }
  });

  it('answers a batch as one by one', () => {
    const index = VectorIndex.from(vectors, { dimensions: D, cells: 40, tune: false });
    for (const options of [{}, { exact: true }, { filter: (id: number) => id % 3 === 0 }]) {
      const batch = index.searchRadiusBatch(queries, 1.9, options);
      expect(batch.offsets.length).toBe(41);
      for (let i = 0; i < 40; i++) {
        const found = index.searchRadius(rowAt(queries, i, D), 1.9, options);
        expect(batch.ids.slice(batch.offsets[i], batch.offsets[i + 1])).toEqual(found.ids);
        expect(batch.distances.slice(batch.offsets[i], batch.offsets[i + 1])).toEqual(found.distances);
      }
    }
    expect(index.searchRadiusBatch(new Float32Array(0), 1)).toEqual({
      offsets: new Uint32Array(1),
      ids: new Uint32Array(0),
      distances: new Float32Array(0),
    });
  });

  it('has no removed row, and every row that was added or moved since', () => {
    const index = VectorIndex.from(vectors, { dimensions: D, cells: 40, tune: false });
    const query = rowAt(queries, 3, D);
    const before = index.searchRadius(query, 2.2, { exact: true });
    const gone = before.ids.filter((_, i) => i % 2 === 0);
    index.remove(gone);
    const added = index.add(query.slice());
    index.update(before.ids[1], query.slice());
    for (const way of [{ exact: true }, { recall: 0.999 }]) {
      const found = index.searchRadius(query, 2.2, way);
      for (const id of gone) expect(found.ids).not.toContain(id);
      const expected = [added, ...before.ids.filter((_, i) => i % 2 === 1)];
      expect([...found.ids].sort((a, b) => a - b)).toEqual(expected.sort((a, b) => a - b));
      expect(found.distances[1]).toBe(0);
    }
    const empty = new VectorIndex({ dimensions: D });
    expect(empty.searchRadius(query, 5).ids.length).toBe(0);
  });

  it('takes a negative radius under the inner product alone', () => {
    const index = VectorIndex.from(vectors, {
      dimensions: D,
      metric: 'inner-product',
      tune: false,
      cells: 20,
    });
    const query = rowAt(queries, 0, D);
    const all = index.search(query, { k: ROWS, exact: true });
    const radius = all.distances[4];
    expect(radius).toBeLessThan(0);
    expect(index.searchRadius(query, radius).ids.length).toBe(5);
    expect(index.searchRadius(query, Number.NEGATIVE_INFINITY).ids.length).toBe(0);
    const other = VectorIndex.from(vectors, { dimensions: D, tune: false });
    expect(thrownBy(() => other.searchRadius(query, -1)).code).toBe('ERR_ARGUMENT_RANGE');
  });

  const index = VectorIndex.from(vectors.subarray(0, 100 * D), { dimensions: D });
  it.each<[string, () => unknown, string, string]>([
    [
      'no radius',
      () => index.searchRadius(queries.slice(0, D), undefined as never),
      'ERR_ARGUMENT_TYPE',
      'radius: expected a number',
    ],
    ['NaN', () => index.searchRadius(queries.slice(0, D), Number.NaN), 'ERR_ARGUMENT_RANGE', 'radius: '],
    [
      'a short query',
      () => index.searchRadius(queries.slice(1, D), 1),
      'ERR_LENGTH',
      'query: expected 20 floats, got 19',
    ],
    ['half a query', () => index.searchRadiusBatch(queries.slice(1, D), 1), 'ERR_LENGTH', 'queries: '],
    [
      'a number as options',
      () => index.searchRadius(queries.slice(0, D), 1, 5 as never),
      'ERR_ARGUMENT_TYPE',
      'options: ',
    ],
    [
      'a wrong recall',
      () => index.searchRadius(queries.slice(0, D), 1, { recall: 2 }),
      'ERR_ARGUMENT_RANGE',
      'recall: ',
    ],
  ])('refuses %s', (_, call, code, words) => {
    const error = thrownBy(call);
    expect(error.code).toBe(code);
    expect(error.message).toContain(words);
  });
});
