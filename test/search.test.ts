import { describe, expect, it } from 'vitest';
import { differentIds, expectSameBits } from './arena.js';
import { clumpedRows, normals } from './data.js';
import {
  type CellRows,
  layOutBins,
  layOutCells,
  layOutCentres,
  layOutQuery,
  layOutSearch,
  layOutSpace,
  PlanArena,
} from './plans.js';
import * as reference from './reference.js';

const plan = new PlanArena(256);

interface Options {
  dims: number;
  rows: number;
  cells: number;
  k: number;
  probes: number;
  epsilon: number;
  byDot?: boolean;
  int8?: boolean;
  /** Records of the second stage, and how many of them are kept. */
  keep?: number;
  capacity?: number;
  estimates?: number;
  seed?: number;
}

interface Index {
  rows: Float32Array;
  labels: Uint32Array;
  query: Float32Array;
  /** The cell of each position. */
  cellOf: Uint32Array;
}

/** A whole index in an arena: rows in clumps, sorted into cells by their nearest centre, labels in random order. */
function layOut(options: Options): Index {
  const { dims, rows: count, cells, k, probes, epsilon, byDot, int8, keep, seed = 1 } = options;
  const rows = clumpedRows(count, dims, Math.max(1, cells), 0.4, seed);
  const centresGiven = clumpedRows(cells, dims, Math.max(1, cells), 0.4, seed);
  plan.reset();
  const { mean, signs } = layOutSpace(plan, dims);
  plan.set('RowCount', count);
  plan.set('Dot', byDot ? 1 : 0);
  plan.set('Int8', int8 ? 1 : 0);
  if (byDot) plan.setFloat('NormBound', 1e9);
  const labels = differentIds(count, count, seed);
  plan.input('Labels', labels);
  const query = clumpedRows(2, dims, Math.max(1, cells), 0.4, seed).slice(dims);
  layOutQuery(plan, query);
  const centres = new Float32Array(cells * dims);
  for (let cell = 0; cell < cells; cell++) {
    centres.set(reference.rotate(reference.rowOf(centresGiven, cell, dims), mean, signs, 3), cell * dims);
  }
  layOutCentres(plan, centres);
  const lists: number[][] = Array.from({ length: cells }, () => []);
  const rotated = Array.from({ length: count }, (_, r) =>
    reference.rotate(reference.rowOf(rows, r, dims), mean, signs, 3),
  );
  const cellOf = Uint32Array.from(rotated, (row) => {
    let best = 0;
    let least = Number.POSITIVE_INFINITY;
    for (let cell = 0; cell < cells; cell++) {
      const d = reference.squaredL2(row, reference.rowOf(centres, cell, dims));
      if (d < least) {
        least = d;
        best = cell;
      }
    }
    return best;
  });
  cellOf.forEach((cell, position) => {
    lists[cell].push(position);
  });
  const runs: CellRows[] = lists.map((list) => {
    const own = new Float32Array(list.length * dims);
    list.forEach((position, i) => {
      own.set(rotated[position], i * dims);
    });
    return { rotated: own, positions: Uint32Array.from(list) };
  });
  layOutCells(plan, runs);
  if (int8) {
    const codes = 16 * Math.ceil(dims / 16);
    plan.set('RowBytes', codes + 16);
    const given = plan.arena.input(rows);
    const records = plan.output('Rows', count * (codes + 16));
    plan.run((kernels) => kernels.quantizeRows(given, count, dims, dims, records));
  } else {
    plan.input('Rows', rows);
  }
  if (keep !== undefined) {
    const records = plan.output('Refine', count * 16 * Math.ceil(dims / 32));
    const norms = plan.output('RefineNorms', 4 * count);
    plan.setFloat('RefineStep', 0.35);
    const scratch = plan.arena.output(4 * 32 * (dims + 1));
    const given = plan.arena.input(rows);
    plan.run((kernels, at) => kernels.fillRecords(at, given, count, records, norms, scratch));
  }
  const { capacity = 1024, estimates } = options;
  layOutSearch(plan, { k, probes, epsilon, keep: keep ?? 40, capacity, estimates });
  layOutBins(plan, Math.max(3 * cells + 640, capacity + 8));
  return { rows, labels, query, cellOf };
}

/** The k nearest among the rows that a condition allows. */
function nearestPlainly(
  index: Index,
  dims: number,
  k: number,
  byDot: boolean,
  allowed: (position: number) => boolean,
): { ids: Uint32Array; scores: Float32Array } {
  const positions = Array.from(index.labels.keys()).filter(allowed);
  const scores = Float32Array.from(positions, (position) => {
    const row = reference.rowOf(index.rows, position, dims);
    return byDot ? -reference.dot(index.query, row) : reference.squaredL2(row, index.query);
  });
  return reference.rank(
    scores,
    Uint32Array.from(positions, (position) => index.labels[position]),
    k,
  );
}

/** Sorts the heap and reads it. */
function drain(k: number): { ids: Uint32Array; scores: Float32Array } {
  const out = plan.arena.output(8 * k);
  plan.run((kernels) => kernels.drain(plan.get('Heap'), k, out, out + 4 * k));
  return { ids: plan.arena.words(out, k), scores: plan.arena.floats(out + 4 * k, k) };
}

describe.each([false, true])('a search by inner product: %s', (byDot) => {
  it.each([16, 20, 100])(
    'without a bound is exact among the cells that it probes, in %i dimensions',
    (dims) => {
      for (const [rows, cells] of [
        [1, 1],
        [5, 2],
        [200, 1],
        [400, 12],
        [500, 60],
      ]) {
        for (const probes of [1, 3, cells]) {
          for (const [k, capacity] of [
            [10, 1024],
            [50, 150],
          ]) {
            const options = {
              dims,
              rows,
              cells,
              k,
              probes,
              epsilon: Number.POSITIVE_INFINITY,
              byDot,
              capacity,
            };
            const index = layOut(options);
            plan.run((kernels, at) => kernels.search(at));
            const probed = plan.words('Candidates', plan.get('CellsProbed'));
            expect(probed.length).toBe(Math.min(probes, cells));
            const expected = nearestPlainly(index, dims, k, byDot, (p) => probed.includes(index.cellOf[p]));
            const found = drain(k);
            const { length } = expected.ids;
            expectSameBits(found.ids.subarray(0, length), expected.ids, 'ids');
            expectSameBits(found.scores.subarray(0, length), expected.scores, 'scores');
            expect(found.ids.subarray(length).every((id) => id === 0xffffffff)).toBe(true);
            expect(found.scores.subarray(length).every((score) => score === Infinity)).toBe(true);
            const inside = index.cellOf.filter((cell) => probed.includes(cell)).length;
            expect(plan.get('SurvivorCount')).toBe(inside);
            expect(plan.get('RowsRanked')).toBe(inside);
            expect(plan.get('CodesScanned')).toBe(inside);
          }
        }
      }
    },
  );
});

describe('a search', () => {
  it('with a bound gives true scores in order, and with a wide one the nearest of all', () => {
    for (const dims of [16, 100]) {
      for (const capacity of [104, 1024]) {
        for (const [epsilon, least] of [
          [0, 1],
          [2, 8],
          [8, 9],
        ]) {
          const index = layOut({ dims, rows: 600, cells: 20, k: 10, probes: 20, epsilon, capacity });
          plan.run((kernels, at) => kernels.search(at));
          const found = drain(10);
          const all = nearestPlainly(index, dims, 600, false, () => true);
          const scoreOf = new Map(Array.from(all.ids, (id, i) => [id, all.scores[i]]));
          found.ids.forEach((id, i) => {
            expect(found.scores[i]).toBe(scoreOf.get(id));
            if (i > 0) expect(found.scores[i]).toBeGreaterThanOrEqual(found.scores[i - 1]);
          });
          const hits = [...found.ids].filter((id) => all.ids.subarray(0, 10).includes(id)).length;
          expect(hits, `epsilon ${epsilon}`).toBeGreaterThanOrEqual(least);
          expect(plan.get('RowsRanked')).toBeLessThanOrEqual(plan.get('SurvivorCount'));
          expect(plan.get('RowsRefined')).toBe(0);
        }
      }
    }
  });

  it('with a second stage ranks only what that keeps, and finds the nearest', () => {
    for (const dims of [16, 36, 100, 132]) {
      for (const capacity of [104, 1024]) {
        const index = layOut({
          dims,
          rows: 900,
          cells: 20,
          k: 10,
          probes: 20,
          epsilon: 3,
          estimates: 80,
          capacity,
          keep: 40,
        });
        plan.run((kernels, at) => kernels.search(at));
        expect(plan.get('RowsRefined')).toBeGreaterThan(80);
        expect(plan.get('RowsRanked')).toBe(Math.min(40, plan.get('RowsRefined')));
        const found = drain(10);
        const expected = nearestPlainly(index, dims, 10, false, () => true);
        const hits = [...found.ids].filter((id) => expected.ids.includes(id)).length;
        expect(hits, `${dims} dimensions`).toBeGreaterThanOrEqual(9);
      }
    }
  });

  it('scores the second stage by the levels of its records', () => {
    const dims = 36;
    const rows = 300;
    const index = layOut({ dims, rows, cells: 3, k: rows, probes: 3, epsilon: 1, keep: rows });
    plan.run((kernels, at) => {
      kernels.prepare(at);
      kernels.scanCells(at, kernels.chooseCells(at));
      kernels.rankFound(at);
    });
    expect(plan.get('KeptCount')).toBe(rows);
    const rotated = plan.floats('Rotated', dims);
    const unit = Math.max(...rotated.map(Math.abs)) / 4095;
    const words = new Uint16Array(plan.arena.bytes(plan.get('Refine'), rows * 32).buffer);
    const positions = plan.words('SurvivorRows', rows);
    const scores = plan.floats('SurvivorKeys', rows);
    expect(new Set(positions).size).toBe(rows);
    const step = Math.fround(0.35);
    positions.forEach((position, i) => {
      let exact = 0;
      let total = 0;
      for (let j = 0; j < dims; j++) {
        const level =
          (words[position * 16 + 8 * Math.floor(j / 32) + (j % 8)] >> (4 * (Math.floor(j / 8) % 4))) & 15;
        const x = (level - 7.5) * step;
        exact += x * x - 2 * x * rotated[j];
        total += Math.abs(x);
      }
      expect(Math.abs(scores[i] - exact), `position ${position}`).toBeLessThanOrEqual(
        1.01 * unit * total + 1e-3,
      );
    });
    expect(index.labels.length).toBe(rows);
  });

  it('of int8 rows without a bound gives what comparing all of them gives', () => {
    for (const byDot of [false, true]) {
      const k = 20;
      layOut({
        dims: 36,
        rows: 500,
        cells: 8,
        k,
        probes: 8,
        epsilon: Number.POSITIVE_INFINITY,
        byDot,
        int8: true,
      });
      plan.run((kernels, at) => kernels.search(at));
      const found = drain(k);
      plan.run((kernels, at) => kernels.searchExact(at, 0, 500));
      const exact = drain(k);
      expectSameBits(found.ids, exact.ids, 'ids');
      expectSameBits(found.scores, exact.scores, 'scores');
    }
  });

  it('gives the same stage by stage', () => {
    layOut({ dims: 20, rows: 600, cells: 50, k: 5, probes: 7, epsilon: 2 });
    plan.run((kernels, at) => kernels.search(at));
    const whole = drain(5);
    plan.run((kernels, at) => {
      kernels.prepare(at);
      kernels.scanCells(at, kernels.chooseCells(at));
      kernels.rankFound(at);
    });
    expect(drain(5)).toEqual(whole);
  });
});

describe('searchExact', () => {
  it.each([16, 20, 100])('ranks every row of %i floats, by distance and by product', (dims) => {
    for (const rows of [1, 2, 3, 4, 5, 255, 256, 257, 600]) {
      for (const byDot of [false, true]) {
        for (const k of [1, 10]) {
          if (k > rows) continue;
          const index = layOut({ dims, rows, cells: 1, k, probes: 1, epsilon: 0, byDot, seed: rows });
          plan.run((kernels, at) => kernels.searchExact(at, 0, rows));
          const expected = nearestPlainly(index, dims, k, byDot, () => true);
          const found = drain(k);
          expectSameBits(found.ids, expected.ids, `ids of ${rows} rows`);
          expectSameBits(found.scores, expected.scores, `scores of ${rows} rows`);
        }
      }
    }
  });

  it('ranks a stretch of the rows, all of it where it has fewer than k', () => {
    const [dims, rows, k] = [20, 600, 10];
    const index = layOut({ dims, rows, cells: 1, k, probes: 1, epsilon: 0 });
    for (const [first, end] of [
      [0, 257],
      [257, 600],
      [299, 306],
      [600, 600],
    ]) {
      plan.run((kernels, at) => kernels.searchExact(at, first, end));
      const found = drain(k);
      const expected = nearestPlainly(index, dims, k, false, (p) => p >= first && p < end);
      const missing = Array<number>(k - expected.ids.length).fill(0xffffffff);
      expect([...found.ids]).toEqual([...expected.ids, ...missing]);
    }
  });
});

describe('searchMany', () => {
  it('gives each query what a search of its own gives it', () => {
    const dims = 20;
    for (const count of [0, 1, 2, 7]) {
      layOut({ dims, rows: 600, cells: 50, k: 6, probes: 9, epsilon: 2 });
      const queries = normals(count * dims, count);
      const query = new Float32Array(plan.arena.memory.buffer, plan.get('Query'), dims);
      const own = query.slice();
      const expected = Array.from({ length: count }, (_, i) => {
        query.set(reference.rowOf(queries, i, dims));
        plan.run((kernels, at) => kernels.search(at));
        return drain(6);
      });
      query.set(own);
      const queriesPtr = plan.arena.input(queries);
      const ids = plan.arena.output(4 * count * 6);
      const scores = plan.arena.output(4 * count * 6);
      const before = plan.get('Query');
      plan.run((kernels, at) => kernels.searchMany(at, queriesPtr, count, ids, scores));
      expect(plan.get('Query')).toBe(before);
      expected.forEach((found, i) => {
        expectSameBits(plan.arena.words(ids + 24 * i, 6), found.ids, `ids of query ${i}`);
        expectSameBits(plan.arena.floats(scores + 24 * i, 6), found.scores, `scores of query ${i}`);
      });
    }
  });
});
