import { describe, expect, it } from 'vitest';
import { Engine } from '../src/engine.js';
import { EngineSearch } from '../src/engine-search.js';
import { IdSet } from '../src/id-set.js';
import { finish } from '../src/progress.js';
import { VectorIndex } from '../src/vector-index.js';
import { clumpedRows, plainDistance, rowAt } from './data.js';

const D = 16;
const ROWS = 4000;
const vectors = clumpedRows(ROWS, D, 40, 0.3, 71);

function searchOf(): EngineSearch {
  const engine = new Engine(D, 'euclidean', 'f32', 3n, 2 ** 32);
  engine.append(vectors, ROWS, true);
  finish(engine.start(false));
  finish(engine.sort(32, true, false));
  return new EngineSearch(engine, undefined);
}

function within(query: Float32Array, radius: number, passes: (id: number) => boolean): number[] {
  const ids: number[] = [];
  for (let id = 0; id < ROWS; id++)
    if (passes(id) && plainDistance('euclidean', query, rowAt(vectors, id, D)) <= radius) ids.push(id);
  return ids;
}

describe('rows within a radius', () => {
  const search = searchOf();
  const { engine } = search;

  it('come from the codes of the cells in reach, not of all', () => {
    let found = 0;
    let codes = 0;
    for (let row = 0; row < ROWS; row += 200) {
      const query = engine.vector(row);
      const { ids } = search.within(query, 1.8, { recall: 0.99 });
      const truth = within(query, 1.8, () => true);
      const hits = truth.filter((id) => ids.includes(id)).length;
      expect(ids.length).toBe(hits);
      expect(hits).toBeGreaterThanOrEqual(0.9 * truth.length);
      found += hits;
      codes += engine.counters().codes;
    }
    expect(found).toBeGreaterThan(40);
    expect(codes).toBeGreaterThan(0);
    expect(codes / 20).toBeLessThan(0.6 * ROWS);
  });

  it('come from the rows themselves where so few pass that this is less work', () => {
    const few = [5, 900, 901, 3999];
    const query = engine.vector(900);
    const { ids } = search.within(query, 3, { recall: 0.9, filter: new IdSet(few) });
    expect([...ids].sort((a, b) => a - b)).toEqual(within(query, 3, (id) => few.includes(id)));
    expect(engine.counters().codes).toBe(0);
  });
});

describe('searches with a filter', () => {
  it('for a stored row find what they find for its numbers', () => {
    const search = searchOf();
    const { engine, passing } = search;
    const set = IdSet.where(ROWS, (id) => id % 4 !== 1);
    const count = search.takeFilter(set);
    const found = { ids: new Uint32Array(6), distances: new Float32Array(6) };
    const answers = (query: Float32Array | number): number[] => {
      engine.read(passing.search(query, 6, null, count).found, found, 0);
      return [...found.ids, ...found.distances];
    };
    for (const row of [0, 17, 2050, 3999]) {
      answers(engine.vector((row + 1000) % ROWS)); // another query in between
      const byId = answers(row);
      expect(byId).toEqual(answers(engine.vector(row)));
    }
  });
});

describe('evaluate with truth that was found without the filter', () => {
  it('counts neither neighbors that do not pass nor removed ones', () => {
    const index = VectorIndex.from(vectors, { dimensions: D, cells: 32, tune: false });
    const queries = clumpedRows(30, D, 40, 0.3, 72);
    const k = 10;
    const truth = index.searchBatch(queries, { k, exact: true }).ids;
    const passes = (id: number): boolean => id % 3 === 0;
    const shares = (options: object, counts: (id: number) => boolean): number => {
      const found = index.searchBatch(queries, { k, ...options });
      let recall = 0;
      for (let i = 0; i < 30; i++) {
        const wanted = [...truth.subarray(i * k, (i + 1) * k)].filter(counts);
        const ids = [...found.ids.subarray(i * k, (i + 1) * k)];
        recall += wanted.length ? wanted.filter((id) => ids.includes(id)).length / wanted.length : 1;
      }
      return recall / 30;
    };
    // So few cells that something is lacking.
    const options = { probes: 1, epsilon: 0.5 };
    const all = index.evaluate(queries, { k, ...options, truth }).recall;
    expect(all).toBeCloseTo(
      shares(options, () => true),
      12,
    );
    expect(all).toBeLessThan(1);
    const filtered = index.evaluate(queries, { k, filter: passes, exact: true, truth }).recall;
    expect(filtered).toBe(1);
    expect(index.evaluate(queries, { k, ...options, filter: passes, truth }).recall).toBeCloseTo(
      shares({ ...options, filter: passes }, passes),
      12,
    );
    const gone = [...new Set(truth.subarray(0, 40))];
    index.remove(gone);
    const isLeft = (id: number): boolean => !gone.includes(id);
    expect(index.evaluate(queries, { k, ...options, truth }).recall).toBeCloseTo(shares(options, isLeft), 12);
    expect(index.evaluate(queries, { k, exact: true, truth }).recall).toBe(1);
  });
});
