import { describe, expect, it } from 'vitest';
import { VectorIndex } from '../src/index.js';
import { normals } from './data.js';
import * as reference from './reference.js';

const dimensions = 64;
const rows = 6000;
const all = normals((rows + 100) * dimensions, 7);
const vectors = all.slice(0, rows * dimensions);
const queries = Array.from({ length: 100 }, (_, i) => reference.rowOf(all, rows + i, dimensions));

/** The ids of the k nearest of the rows that `live` holds, by comparing all. */
function nearestOf(query: Float32Array, k: number, live: ReadonlyMap<number, Float32Array>): number[] {
  return [...live]
    .map(([id, row]) => [reference.squaredL2(query, row), id])
    .sort(([a, i], [b, j]) => a - b || i - j)
    .slice(0, k)
    .map(([, id]) => id);
}

function liveRows(count: number): Map<number, Float32Array> {
  return new Map(Array.from({ length: count }, (_, id) => [id, reference.rowOf(all, id, dimensions)]));
}

function recallOver(
  index: VectorIndex,
  live: ReadonlyMap<number, Float32Array>,
  options: { recall?: number; probes?: number; epsilon?: number },
): number {
  let hits = 0;
  for (const query of queries) {
    const truth = nearestOf(query, 10, live);
    const { ids } = index.search(query, { k: 10, ...options });
    hits += truth.filter((id) => ids.includes(id)).length;
  }
  return hits / queries.length / 10;
}

/** Lengths of the rows of each cell, least and most. */
function lengthsByCell(index: VectorIndex, live: ReadonlyMap<number, Float32Array>): [number, number][] {
  const mean = new Float64Array(dimensions);
  for (const row of live.values()) for (let j = 0; j < dimensions; j++) mean[j] += row[j] / live.size;
  const ranges: [number, number][] = Array.from({ length: index.cells }, () => [Infinity, -Infinity]);
  for (const [id, vector] of live) {
    const cell = index.explain(vector, { id, exact: false }).row?.cell as number;
    const length = Math.hypot(...vector.map((x, j) => x - mean[j]));
    ranges[cell] = [Math.min(ranges[cell][0], length), Math.max(ranges[cell][1], length)];
  }
  return ranges;
}

describe('an index of rows without structure', () => {
  it('keeps them in shells, those nearest to the mean first', () => {
    const index = VectorIndex.from(vectors, { dimensions });
    expect(index.cells).toBe(12);
    const some = new Map([...liveRows(rows)].filter(([id]) => id % 10 === 0));
    const ranges = lengthsByCell(index, some);
    for (let shell = 1; shell < ranges.length; shell++) {
      // The mean of a tenth of the rows is not quite that of all.
      expect(ranges[shell][0]).toBeGreaterThan(ranges[shell - 1][1] - 0.25);
    }
  });

  it('finds what was asked for, with less than all codes', () => {
    const index = VectorIndex.from(vectors, { dimensions });
    const live = liveRows(rows);
    for (const recall of [0.9, 0.95, 0.99])
      expect(recallOver(index, live, { recall })).toBeGreaterThanOrEqual(recall - 0.01);
    expect(index.explain(queries[0], { recall: 0.9 }).codesScanned).toBeLessThan(0.8 * rows);
  });

  it('is exact when it probes all shells without a bound', () => {
    const index = VectorIndex.from(vectors, { dimensions });
    expect(recallOver(index, liveRows(rows), { probes: index.cells, epsilon: Infinity })).toBe(1);
  });

  it('is careful before it is tuned', () => {
    const index = new VectorIndex({ dimensions });
    index.add(vectors);
    index.build({ tune: false });
    expect(index.cells).toBe(12);
    expect(recallOver(index, liveRows(rows), { recall: 0.95 })).toBeGreaterThanOrEqual(0.97);
  });

  it('puts rows that come later into their shells, after a snapshot too, and finds them', () => {
    const live = liveRows(rows);
    const index = VectorIndex.from(vectors.subarray(0, 4000 * dimensions), { dimensions });
    const loaded = VectorIndex.load(index.save());
    for (const one of [index, loaded]) {
      expect(one.cells).toBe(8);
      one.add(vectors.subarray(4000 * dimensions, 5999 * dimensions));
      one.add(vectors.subarray(5999 * dimensions));
      expect(one.cells).toBe(8);
      const sizes = Object.values(one.stats().cellSizes);
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(rows);
      for (const size of sizes) expect(size).toBeGreaterThan(600); // 750 on average
      expect(recallOver(one, live, { recall: 0.95 })).toBeGreaterThanOrEqual(0.94);
    }
    expect(loaded.save()).toHaveLength(index.save().length);
  });

  it('stays right when rows are removed, and for filters, radii and neighbors of its own rows', () => {
    const index = VectorIndex.from(vectors, { dimensions });
    const live = liveRows(rows);
    const gone = Array.from({ length: 2000 }, (_, i) => 3 * i);
    index.remove(gone);
    for (const id of gone) live.delete(id);
    expect(recallOver(index, live, { recall: 0.95 })).toBeGreaterThanOrEqual(0.94);
    const even = new Map([...live].filter(([id]) => id % 2 === 0));
    let [hits, inside, wanted] = [0, 0, 0];
    for (const query of queries.slice(0, 30)) {
      const truth = nearestOf(query, 10, even);
      const { ids } = index.search(query, { k: 10, filter: (id) => id % 2 === 0, recall: 0.95 });
      hits += truth.filter((id) => ids.includes(id)).length;
      const radius = Math.sqrt(reference.squaredL2(query, live.get(truth[4]) as Float32Array)) * 1.0001;
      const near = nearestOf(query, 60, live).filter(
        (id) => reference.squaredL2(query, live.get(id) as Float32Array) <= radius * radius,
      );
      const within = index.searchRadius(query, radius, { recall: 0.95 });
      inside += near.filter((id) => within.ids.includes(id)).length;
      wanted += near.length;
    }
    expect(hits / 300).toBeGreaterThanOrEqual(0.94);
    expect(inside / wanted).toBeGreaterThanOrEqual(0.94);
  });

  it('keeps rows that are all as long in one cell, and rows by inner product', () => {
    for (const metric of ['cosine', 'inner-product'] as const) {
      const index = VectorIndex.from(vectors, { dimensions, metric });
      expect(index.cells).toBe(1);
      const truth = queries.map((query) => index.search(query, { k: 10, exact: true }).ids);
      const all = queries.map((query) => index.search(query, { k: 10, probes: 1, epsilon: Infinity }).ids);
      expect(all).toEqual(truth);
      const found = queries.map((query) => index.search(query, { k: 10, recall: 0.95 }).ids);
      const hits = found.flatMap((ids, i) => [...ids].filter((id) => truth[i].includes(id)));
      expect(hits.length / 1000).toBeGreaterThanOrEqual(0.94);
      // Rows that come and go afterwards.
      index.remove([...truth[0]]);
      index.add(vectors.subarray(truth[0][0] * dimensions, (truth[0][0] + 1) * dimensions));
      expect(index.search(queries[0], { k: 1, probes: 1, epsilon: Infinity }).ids[0]).toBe(rows);
      expect(VectorIndex.load(index.save()).search(queries[0], { k: 1, recall: 0.99 }).ids[0]).toBe(rows);
    }
  });

  it('takes rows that are all equal, or nearly, without empty shells', () => {
    const equal = new Float32Array(3000 * dimensions).fill(0.5);
    equal.set(normals(5 * dimensions, 3), 100 * dimensions);
    const index = VectorIndex.from(equal, { dimensions });
    expect(Object.values(index.stats().cellSizes).every((size) => size > 0)).toBe(true);
    const { ids, distances } = index.search(equal.subarray(100 * dimensions, 101 * dimensions), { k: 3 });
    expect(ids[0]).toBe(100);
    expect(distances[0]).toBe(0);
  });
});

describe('memory of shells', () => {
  it('is at most 40 bytes a row beside the rows and their second stage, once queries have been answered', () => {
    const many = VectorIndex.from(normals(10_000 * 128, 5), { dimensions: 128 });
    for (const recall of [0.9, 0.95, 0.99]) many.search(normals(128, 6), { k: 10, recall });
    const { rows, refine, refineNorms, total, ...parts } = many.memoryUsage();
    expect(rows).toBe(10_000 * 128 * 4);
    const beside = Object.values(parts).reduce((sum, bytes) => sum + bytes, 0);
    expect(beside).toBeGreaterThan(10_000 * 24);
    expect(beside).toBeLessThanOrEqual(10_000 * 40);
  });
});
