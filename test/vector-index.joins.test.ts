import { describe, expect, it } from 'vitest';
import { VectorIndex, type VectorIndexOptions } from '../src/index.js';
import type { Metric } from '../src/neighbors.js';
import { concat, METRICS, thrownBy } from './answers.js';
import { uniform } from './arena.js';
import { clumpedRows, normals, plainDistance, rowAt } from './data.js';
import {
  expectNear,
  groupsIn,
  type Near,
  neighborsIn,
  pairsIn,
  plainGroups,
  plainOthers,
  rangesIn,
} from './joins.js';

/** Fails unless every live row has its true k nearest others. */
function expectGraph(
  graph: Map<number, Near[]>,
  vectors: Float32Array,
  options: VectorIndexOptions,
  k: number,
  removed: ReadonlySet<number> = new Set(),
): void {
  const { dimensions, metric = 'euclidean' } = options;
  const live = Array.from({ length: vectors.length / dimensions }, (_, id) => id).filter(
    (id) => !removed.has(id),
  );
  expect([...graph.keys()].sort((a, b) => a - b)).toEqual(live);
  for (const [row, near] of graph) {
    expect(
      near.some(({ id }) => id === row),
      `row ${row} among its own`,
    ).toBe(false);
    const others = live.filter((id) => id !== row);
    const expected = plainOthers(vectors, dimensions, metric, rowAt(vectors, row, dimensions), others);
    expectNear(near, expected.slice(0, k), `row ${row}`);
  }
}

/** Ids of an index whose rows are these. */
const idsOf = (vectors: Float32Array, dimensions: number): number[] =>
  Array.from({ length: vectors.length / dimensions }, (_, id) => id);

describe('the neighbor graph of a VectorIndex', () => {
  it.each(METRICS)('has the k nearest others of every row, %s', (metric) => {
    const vectors = clumpedRows(300, 7, 12, 0.3, 1);
    const options = { dimensions: 7, metric };
    const index = VectorIndex.from(vectors, options);
    for (const ways of [{ exact: true }, { recall: 1 }])
      expectGraph(neighborsIn(index.neighborGraph({ k: 5, ...ways }), 5), vectors, options, 5);
  });

  it.each(METRICS)('reaches the recall that is asked for over cells, %s', (metric) => {
    const [rows, dimensions, k] = [4000, 24, 10];
    const vectors = clumpedRows(rows, dimensions, 60, 0.35, 2);
    const index = VectorIndex.from(vectors, { dimensions, metric });
    expect(index.cells).toBeGreaterThan(1);
    const found = neighborsIn(index.neighborGraph({ k, recall: 0.95 }), k);
    const truth = neighborsIn(index.neighborGraph({ k, exact: true }), k);
    expect(found.size).toBe(rows);
    let hits = 0;
    for (const [row, near] of truth) {
      const own = found.get(row) as Near[];
      expect(own.length).toBe(k);
      const ids = new Set(own.map(({ id }) => id));
      hits += near.filter(({ id }) => ids.has(id)).length;
    }
    expect(hits / rows / k).toBeGreaterThan(0.94); // 0.96 to 0.98
  });

  it.each([0, 1, 2, 3])('of %i rows has all others', (rows) => {
    const vectors = normals(rows * 5, 3);
    for (const metric of METRICS) {
      const options = { dimensions: 5, metric };
      const built = VectorIndex.from(vectors, options);
      const added = new VectorIndex(options);
      added.add(vectors);
      for (const index of [built, added]) {
        expectGraph(neighborsIn(index.neighborGraph({ k: 4 }), 4), vectors, options, 4);
        expectGraph(neighborsIn(index.neighborGraph({ k: 1, exact: true }), 1), vectors, options, 1);
      }
    }
  });

  it('has n - 1 neighbors of each row where k is as much as the rows, or more', () => {
    const vectors = normals(40 * 3, 4);
    const index = VectorIndex.from(vectors, { dimensions: 3 });
    for (const k of [39, 40, 41, 500])
      expectGraph(neighborsIn(index.neighborGraph({ k }), k), vectors, { dimensions: 3 }, k);
  });

  it('gives k others to each of more than k equal rows, those of the lowest ids', () => {
    for (const rows of [50, 3000]) {
      const vectors = new Float32Array(rows * 4).fill(0.5);
      const index = VectorIndex.from(vectors, { dimensions: 4 });
      const graph = neighborsIn(index.neighborGraph({ k: 3 }), 3);
      expect(graph.size).toBe(rows);
      for (const [row, near] of graph) {
        expect(near.map(({ id }) => id)).toEqual([0, 1, 2, 3].filter((id) => id !== row).slice(0, 3));
        expect(near.map(({ distance }) => distance)).toEqual([0, 0, 0]);
      }
    }
  });

  it('leaves removed rows out, before and after compacting, and sees rows added since', () => {
    const vectors = clumpedRows(2500, 6, 40, 0.4, 5);
    const index = VectorIndex.from(vectors.slice(0, 2400 * 6), { dimensions: 6 });
    index.add(vectors.slice(2400 * 6));
    const removed = new Set(Array.from({ length: 700 }, (_, i) => i * 3));
    index.remove([...removed]);
    const check = (): void => {
      const graph = neighborsIn(index.neighborGraph({ k: 2, exact: true }), 2);
      expect(graph.size).toBe(1800);
      for (const near of graph.values()) for (const { id } of near) expect(removed.has(id)).toBe(false);
      const rough = neighborsIn(index.neighborGraph({ k: 2, recall: 0.9 }), 2);
      expect([...rough.keys()].sort()).toEqual([...graph.keys()].sort());
      for (const near of rough.values()) for (const { id } of near) expect(removed.has(id)).toBe(false);
    };
    check();
    index.compact();
    check();
    index.build();
    check();
    index.remove(idsOf(vectors, 6));
    expect([...index.neighborGraph({ k: 2 })]).toEqual([]);
  });

  it('gives every row k others where the cells nearest to it hold fewer', () => {
    const vectors = clumpedRows(2200, 8, 50, 0.1, 6);
    const index = VectorIndex.from(vectors, { dimensions: 8, cells: 64 });
    for (const near of neighborsIn(index.neighborGraph({ k: 300, recall: 0.5 }), 300).values())
      expect(near.length).toBe(300);
  });

  it.each(METRICS)('tells the distances of the stored rows where they are 8-bit integers, %s', (metric) => {
    const vectors = clumpedRows(200, 16, 10, 0.5, 7);
    const index = VectorIndex.from(vectors, { dimensions: 16, metric, storage: 'int8' });
    const stored = new Float32Array(vectors.length);
    for (let id = 0; id < 200; id++) stored.set(index.vector(id), id * 16);
    for (const [row, near] of neighborsIn(index.neighborGraph({ k: 4, exact: true }), 4)) {
      const found = index.search(rowAt(stored, row, 16), { k: 5, exact: true });
      const others = [...found.ids].map((id, i) => ({ id, distance: found.distances[i] }));
      const expected = others.filter(({ id }) => id !== row).slice(0, 4);
      near.forEach(({ distance }, i) => {
        expect(Math.abs(distance - expected[i].distance)).toBeLessThan(2e-2);
      });
    }
  });

  it('comes cell by cell, by id within a cell, then what was added', () => {
    const vectors = clumpedRows(2600, 4, 30, 0.2, 8);
    const index = VectorIndex.from(vectors.slice(0, 2500 * 4), { dimensions: 4 });
    index.add(vectors.slice(2500 * 4));
    const rows = [...index.neighborGraph({ k: 1 })].flatMap((page) => [...page.rows]);
    expect(rows.slice(2500)).toEqual(Array.from({ length: 100 }, (_, i) => 2500 + i));
    let falls = 0;
    for (let i = 1; i < 2500; i++) if (rows[i] < rows[i - 1]) falls++;
    expect(falls).toBeLessThan(index.cells);
    expect(rows).not.toEqual([...rows].sort((a, b) => a - b));
  });

  it('comes in pages of the length that is asked for', () => {
    const index = VectorIndex.from(normals(100 * 3, 9), { dimensions: 3 });
    const lengths = (pageRows?: number): number[] =>
      [...index.neighborGraph({ k: 2, pageRows })].map((page) => page.rows.length);
    expect(lengths()).toEqual([100]);
    expect(lengths(30)).toEqual([30, 30, 30, 10]);
    expect(lengths(50)).toEqual([50, 50]);
    expect(lengths(1).length).toBe(100);
  });
});

describe('a join of a VectorIndex with queries', () => {
  const vectors = clumpedRows(500, 6, 20, 0.4, 10);
  const queries = clumpedRows(130, 6, 20, 0.4, 10);

  it.each(METRICS)('has the k nearest of each, as search has them, %s', (metric) => {
    const index = VectorIndex.from(vectors, { dimensions: 6, metric });
    const batch = index.searchBatch(queries, { k: 7, recall: 0.9 });
    const found = neighborsIn(index.join(queries, { k: 7, recall: 0.9, pageRows: 50 }), 7);
    expect([...found.keys()]).toEqual(idsOf(queries, 6));
    for (const [row, near] of found) {
      expect(near.map(({ id }) => id)).toEqual([...batch.ids.subarray(row * 7, row * 7 + batch.counts[row])]);
      expect(near.map(({ distance }) => distance)).toEqual([
        ...batch.distances.subarray(row * 7, row * 7 + batch.counts[row]),
      ]);
    }
  });

  it('takes them from another index, with its ids, removed rows left out', () => {
    const index = VectorIndex.from(vectors, { dimensions: 6 });
    const other = VectorIndex.from(queries, { dimensions: 6, metric: 'cosine' });
    other.remove([3, 77]);
    const found = neighborsIn(index.join(other, { k: 3, exact: true }), 3);
    expect(found.size).toBe(128);
    for (const [row, near] of found) {
      expect([3, 77]).not.toContain(row);
      const expected = plainOthers(vectors, 6, 'euclidean', rowAt(queries, row, 6), idsOf(vectors, 6));
      expectNear(near, expected.slice(0, 3), `row ${row}`);
    }
    const own = neighborsIn(index.join(index, { k: 1, exact: true }), 1);
    for (const [row, near] of own) expect(near[0].id).toBe(row);
  });

  it('takes them in pages of any length, numbered through, and asks for one at a time', async () => {
    const index = VectorIndex.from(vectors, { dimensions: 6 });
    const whole = neighborsIn(index.join(queries, { k: 4 }), 4);
    const cuts = [0, 1, 1, 64, 100, 130];
    let asked = 0;
    const pages = function* (): Generator<Float32Array> {
      const shared = new Float32Array(queries.length); // filled anew for every page, as a reader of files does
      for (let i = 1; i < cuts.length; i++) {
        asked++;
        const page = queries.subarray(cuts[i - 1] * 6, cuts[i] * 6);
        shared.set(page);
        yield shared.subarray(0, page.length);
        shared.fill(Number.NaN);
      }
    };
    expect(neighborsIn(index.join(pages(), { k: 4 }), 4)).toEqual(whole);
    const asynchronous = async function* (): AsyncGenerator<Float32Array> {
      for (const page of pages()) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        yield page;
      }
    };
    const read = [];
    for await (const page of index.join(asynchronous(), { k: 4, pageRows: 40 })) read.push(page);
    expect(read.map(({ rows }) => rows.length)).toEqual([40, 40, 40, 10]);
    expect(neighborsIn(read, 4)).toEqual(whole);
    asked = 0;
    for (const { rows } of index.join(pages(), { k: 4, pageRows: 1 })) {
      expect(asked).toBe(1);
      expect(rows[0]).toBe(0);
      break;
    }
    expect(thrownBy(() => [...index.join(asynchronous(), { k: 4 })])).toMatchObject({
      code: 'ERR_ARGUMENT_TYPE',
      message: expect.stringContaining('for await'),
    });
  });

  it('closes the source of pages when it is left, and not when it is read to its end', () => {
    const index = VectorIndex.from(vectors, { dimensions: 6 });
    let closed = 0;
    const source = (): Iterable<Float32Array> => ({
      [Symbol.iterator]: () => {
        let pages = 0;
        return {
          next: () => (pages++ < 3 ? { done: false, value: queries } : { done: true, value: undefined }),
          return: () => {
            closed++;
            return { done: true, value: undefined };
          },
        };
      },
    });
    for (const _ of index.join(source(), { k: 1, pageRows: 10 })) break;
    expect(closed).toBe(1);
    expect([...index.join(source(), { k: 1 })].length).toBe(1);
    expect(closed).toBe(1);
  });

  it('refuses what is no queries, and says where', () => {
    const index = VectorIndex.from(vectors, { dimensions: 6 });
    const codeOf = (call: () => unknown): string | undefined => thrownBy(call).code;
    expect(codeOf(() => index.join(new Float32Array(7), { k: 1 }))).toBe('ERR_LENGTH');
    expect(codeOf(() => index.join(new Float32Array(6).fill(Number.NaN), { k: 1 }))).toBe('ERR_NOT_FINITE');
    expect(codeOf(() => index.join(5 as never, { k: 1 }))).toBe('ERR_ARGUMENT_TYPE');
    expect(codeOf(() => index.join(new VectorIndex({ dimensions: 5 }), { k: 1 }))).toBe('ERR_LENGTH');
    expect(codeOf(() => index.join(queries, {} as never))).toBe('ERR_ARGUMENT_TYPE');
    expect(codeOf(() => index.join(queries, { k: 1, radius: 1 } as never))).toBe('ERR_ARGUMENT_TYPE');
    expect(codeOf(() => index.join(queries, { radius: -1 }))).toBe('ERR_ARGUMENT_RANGE');
    const bad = thrownBy(() => [...index.join([queries, new Float32Array(7)], { k: 1 })]);
    expect(bad).toMatchObject({ code: 'ERR_LENGTH', message: expect.stringContaining('page 1 of other') });
  });
});

/** A radius that `share` of all pairs are within, midway between two distances, so that rounding decides nothing. */
function radiusOf(vectors: Float32Array, dimensions: number, metric: Metric, share: number): number {
  const all: number[] = [];
  for (const a of idsOf(vectors, dimensions)) {
    for (let b = 0; b < a; b++)
      all.push(plainDistance(metric, rowAt(vectors, a, dimensions), rowAt(vectors, b, dimensions)));
  }
  all.sort((a, b) => a - b);
  const at = Math.floor(share * all.length);
  return (all[at] + all[at + 1]) / 2;
}

describe('joins of a VectorIndex within a radius', () => {
  const [rows, dimensions] = [300, 7];
  const vectors = clumpedRows(rows, dimensions, 40, 0.25, 11);
  const removed = [0, 5, 150, 299];
  const live = idsOf(vectors, dimensions).filter((id) => !removed.includes(id));

  describe.each(METRICS)('%s', (metric) => {
    const distance = (a: number, b: number): number =>
      plainDistance(metric, rowAt(vectors, a, dimensions), rowAt(vectors, b, dimensions));
    const radius = radiusOf(vectors, dimensions, metric, 0.01);
    const index = VectorIndex.from(vectors, { dimensions, metric });
    index.remove(removed);

    it('have all rows within it of each query, nearest first', () => {
      const queries = clumpedRows(100, dimensions, 40, 0.25, 11);
      for (const pages of [queries, [queries.slice(0, 70), queries.slice(70)]]) {
        const found = rangesIn(index.join(pages as Float32Array, { radius, exact: true, pageRows: 30 }));
        expect([...found.keys()]).toEqual(idsOf(queries, dimensions));
        for (const [row, near] of found) {
          const expected = plainOthers(vectors, dimensions, metric, rowAt(queries, row, dimensions), live);
          expectNear(
            near,
            expected.filter((one) => one.distance <= radius),
            `query ${row}`,
          );
        }
      }
    });

    it('have all rows within it of each row of another index', () => {
      const other = VectorIndex.from(vectors, { dimensions });
      other.remove([7]);
      const found = rangesIn(index.join(other, { radius, exact: true }));
      expect(found.size).toBe(299);
      for (const [row, near] of found) {
        const expected = plainOthers(vectors, dimensions, metric, rowAt(vectors, row, dimensions), live);
        expectNear(
          near,
          expected.filter((one) => one.distance <= radius),
          `row ${row}`,
        );
      }
    });

    it('have each pair once', () => {
      const pairs = pairsIn(index.selfJoin({ radius, exact: true, pageRows: 100 }));
      const expected = live.flatMap((a) =>
        live.filter((b) => b > a && distance(a, b) <= radius).map((b) => `${a} ${b}`),
      );
      expect(expected.length).toBeGreaterThan(200);
      expect([...pairs.keys()].sort()).toEqual(expected.sort());
      for (const [pair, found] of pairs) {
        const [a, b] = pair.split(' ').map(Number);
        expect(Math.abs(found - distance(a, b))).toBeLessThan(3e-5 * (1 + Math.abs(found)));
      }
    });

    it('have the groups of these pairs, whatever the order of the rows', () => {
      const expected = plainGroups(live, (a, b) => distance(a, b) <= radius);
      expect(expected.length).toBeGreaterThan(metric === 'inner-product' ? 0 : 10);
      expect(groupsIn(index.duplicates({ radius, exact: true, pageRows: 10 }))).toEqual(expected);
      const next = uniform(12);
      for (let round = 0; round < 3; round++) {
        const order = idsOf(vectors, dimensions).sort(() => next() - 0.5);
        const shuffled = concat(...order.map((id) => rowAt(vectors, id, dimensions)));
        const again = new VectorIndex({ dimensions, metric });
        again.add(shuffled.slice(0, 100 * dimensions));
        if (round === 1) again.build();
        again.add(shuffled.slice(100 * dimensions));
        again.remove(removed.map((id) => order.indexOf(id)));
        const groups = groupsIn(again.duplicates({ radius, exact: true })).map((group) =>
          group.map((id) => order[id]).sort((a, b) => a - b),
        );
        expect(groups.sort((a, b) => a[0] - b[0])).toEqual(expected);
      }
    });
  });

  it.each(METRICS)('reach the recall that is asked for over cells, %s', (metric) => {
    const many = clumpedRows(4000, 16, 200, 0.3, 13);
    const radius = radiusOf(many.slice(0, 800 * 16), 16, metric, 0.004);
    const index = VectorIndex.from(many, { dimensions: 16, metric });
    expect(index.cells).toBeGreaterThan(1);
    const truth = pairsIn(index.selfJoin({ radius, exact: true }));
    const found = pairsIn(index.selfJoin({ radius, recall: 0.95 }));
    expect(truth.size).toBeGreaterThan(5000);
    for (const [pair, distance] of found) expect(distance).toBeCloseTo(truth.get(pair) as number, 4);
    expect(found.size / truth.size).toBeGreaterThan(0.94);
    let ranges = 0;
    for (const near of rangesIn(index.join(index, { radius })).values()) ranges += near.length;
    expect(ranges).toBeGreaterThan(0.94 * 2 * truth.size);
    expect(ranges).toBeLessThanOrEqual(2 * truth.size + index.size);
    // A group needs no pair twice: what one side misses the other finds.
    const expected = groupsIn(index.duplicates({ radius, exact: true }));
    const together = (groups: number[][]): number => groups.reduce((sum, group) => sum + group.length, 0);
    const groups = groupsIn(index.duplicates({ radius }));
    expect(together(groups)).toBeGreaterThan(0.97 * together(expected));
    const groupOf = new Map(expected.flatMap((group, i) => group.map((id) => [id, i] as const)));
    for (const group of groups) expect(new Set(group.map((id) => groupOf.get(id))).size).toBe(1);
  });

  it.each([0, 1, 2])('of %i rows have what there is', (count) => {
    for (const metric of METRICS) {
      const index = new VectorIndex({ dimensions: 3, metric });
      index.add(new Float32Array(count * 3).fill(1));
      const radius = metric === 'inner-product' ? -2.9 : 0;
      for (const ways of [{}, { exact: true }]) {
        expect([...pairsIn(index.selfJoin({ radius, ...ways })).keys()]).toEqual(count === 2 ? ['0 1'] : []);
        expect(groupsIn(index.duplicates({ radius, ...ways }))).toEqual(count === 2 ? [[0, 1]] : []);
        const near = rangesIn(index.join(Float32Array.of(1, 1, 1), { radius, ...ways })).get(0) as Near[];
        expect(near.map(({ id }) => id)).toEqual([0, 1].slice(0, count));
      }
    }
  });

  it('group equal rows without looking at their pairs, in every metric that has none below them', () => {
    const count = 20_000;
    for (const storage of ['f32', 'int8'] as const) {
      const index = new VectorIndex({ dimensions: 5, storage });
      index.add(Float32Array.from({ length: count * 5 }, (_, i) => (i < count * 3 ? 1 : 2) + (i % 5)));
      index.add(Float32Array.of(9, 9, 9, 9, 9));
      const groups = groupsIn(index.duplicates({ radius: 0 }));
      expect(groups.map((group) => [group[0], group.length])).toEqual([
        [0, count * 0.6],
        [count * 0.6, count * 0.4],
      ]);
    }
  });

  it('keep pages small where all rows are within the radius', () => {
    const count = 700;
    const index = VectorIndex.from(normals(count * 4, 14), { dimensions: 4 });
    let pairs = 0;
    for (const { a } of index.selfJoin({ radius: Number.POSITIVE_INFINITY, pageRows: 500 })) {
      expect(a.length).toBeLessThan(500 + count);
      pairs += a.length;
    }
    expect(pairs).toBe((count * (count - 1)) / 2);
    expect(groupsIn(index.duplicates({ radius: Number.POSITIVE_INFINITY }))).toEqual([
      Array.from({ length: count }, (_, id) => id),
    ]);
  });

  it('end when rows change, and go on while a filter is used in between', () => {
    const index = VectorIndex.from(vectors, { dimensions });
    const radius = radiusOf(vectors, dimensions, 'euclidean', 0.05);
    const expected = pairsIn(index.selfJoin({ radius }));
    const pages = [];
    for (const page of index.selfJoin({ radius, pageRows: 50 })) {
      pages.push(page);
      index.search(vectors.subarray(0, dimensions), { k: 3, filter: (id) => id % 2 === 0 });
      index.searchRadius(vectors.subarray(0, dimensions), 0.1, { filter: () => false });
    }
    expect(pairsIn(pages)).toEqual(expected);
    const changing = (stream: Iterable<unknown>): string | undefined =>
      thrownBy(() => {
        for (const _ of stream) index.add(new Float32Array(dimensions));
      }).code;
    expect(changing(index.selfJoin({ radius, pageRows: 50 }))).toBe('ERR_CHANGED');
    expect(changing(index.duplicates({ radius: 0.3, pageRows: 2 }))).toBe('ERR_CHANGED');
    expect(changing(index.join(vectors, { radius, pageRows: 50 }))).toBe('ERR_CHANGED');
  });
});
