import { describe, expect, it, vi } from 'vitest';
import { Centres } from '../src/centres.js';
import { Engine } from '../src/engine.js';
import { VectorIndex } from '../src/vector-index.js';
import { expectNearest, recallOver, rowsOf, truthOf } from './answers.js';
import { clumpedRows, normals, rowAt } from './data.js';

describe('tune', () => {
  const vectors = clumpedRows(6000, 24, 40, 0.7, 110);
  const held = rowsOf(clumpedRows(6300, 24, 40, 0.7, 110), 6000, 24);
  const index = VectorIndex.from(vectors, { dimensions: 24, tune: false });

  it('reports what it measured, in numbers and in words', () => {
    const report = index.tune({ k: 5, sample: 80 });
    expect(report).toMatchObject({ k: 5, sample: 80, source: 'rows' });
    expect(report.settings.map((setting) => setting.target)).toEqual([0.9, 0.95, 0.99]);
    for (const setting of report.settings) {
      expect(setting.probes).toBeGreaterThanOrEqual(1);
      expect(setting.probes).toBeLessThanOrEqual(index.cells);
      expect(setting.epsilon).toBeGreaterThan(0);
      expect(setting.recall).toBeLessThanOrEqual(1);
      expect(setting.atLeast).toBeLessThanOrEqual(setting.recall);
      expect(setting.met).toBe(setting.atLeast >= setting.target);
      expect(setting.cost).toBeGreaterThan(0);
    }
    const { probes, epsilons, recall } = report.table;
    expect(probes[0]).toBe(1);
    expect(probes[probes.length - 1]).toBe(index.cells);
    expect(recall.length).toBe(probes.length);
    for (const row of recall) expect(row.length).toBe(epsilons.length);
    // More cells and wider bounds are never predicted to find less.
    for (let p = 0; p < probes.length; p++) {
      for (let e = 0; e < epsilons.length; e++) {
        if (p > 0) expect(recall[p][e]).toBeGreaterThanOrEqual(recall[p - 1][e]);
        if (e > 0) expect(recall[p][e]).toBeGreaterThanOrEqual(recall[p][e - 1]);
      }
    }
    expect(report.text).toContain('80 rows of the index');
    expect(report.text).toContain('k = 5');
    expect(report.text).toContain('recall 95.0 %');
  });

  it.each([0.8, 0.9, 0.95, 0.99])('reaches recall %f on queries that it did not see', (target) => {
    const [tuned] = index.tune({ recall: target }).settings;
    const { recall, atLeast, queries, k } = index.evaluate(held, { recall: target });
    expect(queries).toBe(300);
    expect(k).toBe(10);
    expect(atLeast).toBeLessThanOrEqual(recall);
    expect(recall).toBeGreaterThanOrEqual(target - 0.01);
    expect(Math.abs(tuned.recall - recall)).toBeLessThan(0.015);
  });

  it('keeps its word for an inner product of rows that differ much in length', () => {
    // So many that the truth is taken from a wide scan of the codes, unless they are too rough for it.
    const rows = clumpedRows(25_300, 64, 200, 0.7, 112);
    const lengths = normals(25_300, 113);
    for (let i = 0; i < rows.length; i++) rows[i] *= Math.exp(0.7 * lengths[Math.floor(i / 64)]);
    const products = VectorIndex.from(rows.subarray(0, 25_000 * 64), {
      dimensions: 64,
      metric: 'inner-product',
    });
    for (const target of [0.9, 0.95, 0.99]) {
      const { recall } = products.evaluate(rowsOf(rows, 25_000, 64), { recall: target });
      expect(recall).toBeGreaterThanOrEqual(target - 0.01);
    }
  });

  it('takes the queries that it is given', () => {
    const report = index.tune({ queries: held, k: 3, recall: 0.9 });
    expect(report).toMatchObject({ source: 'queries', sample: 300, k: 3 });
    expect(report.text).toContain('given queries');
    expect(report.settings.length).toBe(1);
    expect(report.settings[0].met).toBe(true);
    expect(index.evaluate(held, { k: 3, recall: 0.9 }).recall).toBe(report.settings[0].recall);
  });

  it('spends more on a higher recall', () => {
    const { settings } = index.tune();
    for (let i = 1; i < settings.length; i++) {
      expect(settings[i].cost).toBeGreaterThanOrEqual(settings[i - 1].cost);
    }
  });

  it('serves other numbers of neighbors than it measured', () => {
    index.tune();
    for (const [k, least] of [
      [1, 0.98], // measured 1
      [5, 0.98], // 0.99
      [40, 0.98], // 0.993
      [200, 0.92], // 0.932
    ]) {
      expect(recallOver(index, vectors, held.slice(0, 60 * 24), { k, recall: 0.95 })).toBeGreaterThanOrEqual(
        least,
      );
    }
  });

  it('says when a target cannot be met, and searches exactly for it', () => {
    // Clumps so tight that the second stage, forced on, cannot tell their rows apart.
    const tight = clumpedRows(3000, 16, 10, 1e-3, 111);
    const blind = VectorIndex.from(tight, { dimensions: 16, cells: 16, refine: true });
    const report = blind.tune({ recall: 0.99 });
    expect(report.settings[0].met).toBe(false);
    expect(report.settings[0].atLeast).toBeLessThan(0.99);
    expect(report.text).toContain('not reached');
    const query = rowAt(tight, 5, 16);
    expect(blind.explain(query, { recall: 0.99 }).settings).toBeNull();
    expectNearest(blind.search(query, { recall: 0.99 }), tight, query, 10, 'euclidean');
  });

  it('takes an exact search for a recall that nothing was tuned for', () => {
    index.tune();
    expect(index.explain(rowAt(held, 0, 24), { recall: 0.999 }).settings).toBeNull();
    index.tune({ recall: 0.999 });
    const told = index.explain(rowAt(held, 0, 24), { recall: 0.999 });
    if (told.settings) expect(index.evaluate(held, { recall: 0.999 }).recall).toBeGreaterThan(0.98);
  });
});

describe('a build', () => {
  const calls = (
    vectors: Float32Array,
    dimensions: number,
  ): { exact: number; trained: boolean; cells: number } => {
    const spies = [vi.spyOn(Engine.prototype, 'runExact'), vi.spyOn(Centres.prototype, 'train')];
    const { cells } = VectorIndex.from(vectors, { dimensions });
    const [exact, train] = spies.map((spy) => spy.mock.calls.length);
    for (const spy of spies) spy.mockRestore();
    return { exact, trained: train > 0, cells };
  };

  it('trains no cells where a look at the rows shows that they cannot help', () => {
    expect(calls(normals(4000 * 128, 5), 128)).toMatchObject({ trained: false, cells: 8 }); // shells
    expect(calls(normals(4000 * 8, 5), 8)).toMatchObject({ trained: true, cells: 32 });
    expect(calls(clumpedRows(4000, 128, 40, 0.7, 5), 128)).toMatchObject({ trained: true, cells: 32 });
  });

  it('compares every row with a row of its sample once, for all of its looks and the tuning', () => {
    expect(calls(normals(4000 * 128, 6), 128).exact).toBe(120);
    expect(calls(clumpedRows(4000, 24, 40, 0.7, 6), 24).exact).toBe(120);
  });

  it('asks for the truth again when the rows have changed', () => {
    const vectors = clumpedRows(4000, 24, 40, 0.7, 6);
    const index = VectorIndex.from(vectors, { dimensions: 24 });
    index.tune(); // which measures the reach as well
    const spy = vi.spyOn(Engine.prototype, 'runExact');
    index.tune();
    expect(spy).toHaveBeenCalledTimes(0);
    index.remove([1, 2, 3]);
    index.tune();
    expect(spy).toHaveBeenCalledTimes(120);
    spy.mockRestore();
    expect(index.tune().settings.every(({ recall }) => recall > 0.9)).toBe(true);
  });
});

describe('queries that are looked at by a kernel', () => {
  it('are refused on an empty index, with a filter that nothing passes, and for an exact search', () => {
    const bad = Float32Array.of(0, 1, Number.NaN);
    const empty = new VectorIndex({ dimensions: 3 });
    const index = VectorIndex.from(clumpedRows(50, 3, 5, 0.5, 8), { dimensions: 3 });
    const refused = expect.objectContaining({
      code: 'ERR_NOT_FINITE',
      message: expect.stringMatching(/^query: .*NaN/),
    });
    for (const call of [
      () => empty.search(bad),
      () => empty.search(bad, { exact: true }),
      () => index.search(bad),
      () => index.search(bad, { exact: true }),
      () => index.search(bad, { filter: () => false }),
      () => index.searchInto(bad, new Uint32Array(10), new Float32Array(10)),
    ])
      expect(call).toThrow(refused);
  });

  it('take rows back that are as large as rows may be', () => {
    const vectors = clumpedRows(300, 3, 5, 0.5, 8).map((value) => Math.sign(value) * Math.fround(1e16));
    for (const storage of ['f32', 'int8'] as const) {
      for (const metric of ['euclidean', 'cosine'] as const) {
        const index = VectorIndex.from(vectors, { dimensions: 3, metric, storage });
        for (let id = 0; id < 300; id++) expect(index.search(index.vector(id)).ids).toHaveLength(10);
      }
    }
  });
});

describe('evaluate', () => {
  const vectors = clumpedRows(2500, 12, 30, 0.4, 120);
  const queries = rowsOf(clumpedRows(2540, 12, 30, 0.4, 120), 2500, 12);
  const index = VectorIndex.from(vectors, { dimensions: 12 });

  it('measures against an exact search of its own', () => {
    expect(index.evaluate(queries, { exact: true })).toEqual({ recall: 1, atLeast: 1, queries: 40, k: 10 });
    const own = index.evaluate(queries, { probes: 1, epsilon: 1, k: 10 });
    expect(own.recall).toBeCloseTo(recallOver(index, vectors, queries, { probes: 1, epsilon: 1, k: 10 }), 10);
  });

  it('measures against the truth that it is given', () => {
    const truth = truthOf(vectors, queries, 12, 'euclidean');
    const own = index.evaluate(queries, { probes: 2, epsilon: 1 });
    expect(index.evaluate(queries, { probes: 2, epsilon: 1, truth })).toEqual(own);
    expect(index.evaluate(queries, { probes: 2, epsilon: 1, truth: Int32Array.from(truth) })).toEqual(own);
    // Of more columns than k the first count.
    const five = index.evaluate(queries, { k: 5, probes: 2, epsilon: 1 });
    expect(index.evaluate(queries, { k: 5, probes: 2, epsilon: 1, truth })).toEqual(five);
    expect(index.evaluate(queries, { truth: truth.map(() => 0xfffffffe) }).recall).toBe(0);
  });
});
