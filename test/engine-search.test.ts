import { describe, expect, it } from 'vitest';
import { exactSearch } from '../src/exact.js';
import { IdSet } from '../src/id-set.js';
import { VectorIndex } from '../src/vector-index.js';
import { clumpedRows, rowAt } from './data.js';

const D = 8;
const ROWS = 3000;
const vectors = clumpedRows(ROWS, D, 40, 0.6, 1);
const index = VectorIndex.from(vectors, { dimensions: D, cells: 48, tune: false });
const queries = clumpedRows(12, D, 40, 0.9, 1);
const third = IdSet.where(ROWS, (id) => id % 3 === 0);

/** The rows that pass, and what an exact search among them alone gives. */
const passing = Float32Array.from([...third].flatMap((id) => [...rowAt(vectors, id, D)]));
const truth = (query: Float32Array, k: number): Uint32Array =>
  exactSearch(passing, query, { k }).ids.map((place) => place * 3);

describe('a search with a filter', () => {
  it('is exact where it is asked to be, by exact or by a recall of 1', () => {
    for (let q = 0; q < 12; q++) {
      const query = rowAt(queries, q, D);
      for (const options of [{ exact: true }, { recall: 1 }])
        expect([...index.search(query, { k: 20, filter: third, ...options }).ids]).toEqual([
          ...truth(query, 20),
        ]);
    }
  });

  it('goes through as many cells as it is told', () => {
    const found = (options: object): number => {
      let hits = 0;
      for (let q = 0; q < 12; q++) {
        const wanted = new Set(truth(rowAt(queries, q, D), 20));
        const { ids } = index.search(rowAt(queries, q, D), { k: 20, filter: third, ...options });
        for (const id of ids) hits += Number(wanted.has(id));
      }
      return hits / (12 * 20);
    };
    const few = found({ probes: 1, epsilon: 3 });
    expect(few).toBeLessThan(0.9);
    expect(found({ probes: 6, epsilon: 3 })).toBeGreaterThan(few);
    expect(found({ probes: 48, epsilon: Infinity })).toBe(1);
    expect(found({ probes: 48, epsilon: 0 })).toBeLessThan(1);
  });

  it.each([{}, { exact: true }, { probes: 3, epsilon: 2 }, { recall: 0.8 }])(
    'gives many queries at once what it gives each: %o',
    (options) => {
      const k = 7;
      const batch = index.searchBatch(queries, { k, filter: third, ...options });
      const ranges = index.searchRadiusBatch(queries, 1.5, { filter: third });
      for (let q = 0; q < 12; q++) {
        const query = rowAt(queries, q, D);
        const one = index.search(query, { k, filter: third, ...options });
        expect(batch.counts[q]).toBe(one.ids.length);
        expect([...batch.ids.slice(q * k, q * k + one.ids.length)]).toEqual([...one.ids]);
        expect([...batch.distances.slice(q * k, q * k + one.ids.length)]).toEqual([...one.distances]);
        const near = index.searchRadius(query, 1.5, { filter: third });
        const [from, to] = [ranges.offsets[q], ranges.offsets[q + 1]];
        expect([...ranges.ids.slice(from, to)]).toEqual([...near.ids]);
      }
    },
  );
});

describe('a search for a recall', () => {
  it('uses what was tuned for as many neighbors as it asks for', () => {
    const living = VectorIndex.from(vectors, { dimensions: D, cells: 48, tune: false });
    const [one] = living.tune({ k: 1, recall: 0.9, queries }).settings;
    const [many] = living.tune({ k: 200, recall: 0.9, queries }).settings;
    expect(many.probes).toBeGreaterThan(one.probes);
    for (let q = 0; q < 12; q++) {
      const query = rowAt(queries, q, D);
      const { probes, epsilon, patience } = many;
      const told = living.search(query, { k: 200, probes, epsilon, patience });
      expect([...living.search(query, { k: 200, recall: 0.9 }).ids]).toEqual([...told.ids]);
    }
  });
});
