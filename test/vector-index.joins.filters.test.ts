import { describe, expect, it } from 'vitest';
import { HyperplaneLsh, IdSet, VectorIndex } from '../src/index.js';
import { METRICS, thrownBy } from './answers.js';
import { clumpedRows, plainDistance, rowAt } from './data.js';
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

const [ROWS, D] = [320, 7];
const vectors = clumpedRows(ROWS, D, 40, 0.25, 21);
const queries = clumpedRows(90, D, 40, 0.25, 21);
const removed = [2, 6, 150, 319];
const all = Array.from({ length: ROWS }, (_, id) => id);
const passes = (id: number): boolean => id % 3 !== 1;
const live = all.filter((id) => !removed.includes(id));
const passing = live.filter(passes);
const nameOf = (id: number): string => `row ${id}`;

/** The same filter in all of its forms; each passes removed rows too. */
const FILTERS: readonly [name: string, filter: ((id: number) => boolean) | Uint8Array | IdSet][] = [
  ['a function', passes],
  ['a bitmap', IdSet.where(ROWS, passes).toBitmap()],
  ['a set', IdSet.where(ROWS, passes)],
];

/** Midway between two distances of pairs that pass, so that rounding decides nothing. */
function radiusOf(metric: 'euclidean' | 'cosine' | 'inner-product', share: number): number {
  const distances = passing
    .flatMap((a) => passing.filter((b) => b > a).map((b) => distanceOf(metric, a, b)))
    .sort((a, b) => a - b);
  const at = Math.floor(share * distances.length);
  return (distances[at] + distances[at + 1]) / 2;
}

function distanceOf(metric: 'euclidean' | 'cosine' | 'inner-product', a: number, b: number): number {
  return plainDistance(metric, rowAt(vectors, a, D), rowAt(vectors, b, D));
}

describe.each(METRICS)('joins of a VectorIndex among the rows that pass a filter, %s', (metric) => {
  const index = VectorIndex.from(vectors, { dimensions: D, metric, cells: 8 });
  index.remove(removed);
  const radius = radiusOf(metric, 0.02);
  const near = (a: number, b: number): boolean => distanceOf(metric, a, b) <= radius;

  describe.each(FILTERS)('that is %s', (_, filter) => {
    it('give each of these rows its k nearest others of them', () => {
      for (const k of [1, 5, passing.length - 1, passing.length + 3]) {
        const graph = neighborsIn(index.neighborGraph({ k, exact: true, filter, pageRows: 100 }), k);
        expect([...graph.keys()].sort((a, b) => a - b)).toEqual(passing);
        for (const [row, found] of graph) {
          if (k > 5 && row % 10 !== 0) continue; // the arithmetic takes long
          const others = passing.filter((id) => id !== row);
          const expected = plainOthers(vectors, D, metric, rowAt(vectors, row, D), others);
          expectNear(found, expected.slice(0, k), `row ${row}`);
        }
      }
    });

    it('give queries, and all rows of another index, their nearest of these rows, and all within a radius', () => {
      const other = new VectorIndex({ dimensions: D });
      other.add(queries);
      for (const from of [queries, other]) {
        const nearest = neighborsIn(index.join(from, { k: 4, exact: true, filter }), 4);
        const within = rangesIn(index.join(from, { radius, exact: true, filter }));
        expect([nearest.size, within.size]).toEqual([90, 90]);
        for (const [row, found] of nearest) {
          const expected = plainOthers(vectors, D, metric, rowAt(queries, row, D), passing);
          expectNear(found, expected.slice(0, 4), `query ${row}`);
          const inside = expected.filter(({ distance }) => distance <= radius);
          expectNear(within.get(row) as Near[], inside, `query ${row}`);
        }
      }
    });

    it('have each pair of these rows once, and their groups', () => {
      const pairs = pairsIn(index.selfJoin({ radius, exact: true, filter }));
      const expected = passing.flatMap((a) =>
        passing.filter((b) => b > a && near(a, b)).map((b) => `${a} ${b}`),
      );
      expect(expected.length).toBeGreaterThan(100);
      expect([...pairs.keys()].sort()).toEqual(expected.sort());
      const groups = groupsIn(index.duplicates({ radius, exact: true, filter }));
      expect(groups).toEqual(plainGroups(passing, near));
      // Rows that hang together only by one that does not pass are apart.
      if (metric !== 'inner-product')
        expect(groups).not.toEqual(
          plainGroups(live, near)
            .map((group) => group.filter(passes))
            .filter(({ length }) => length > 1),
        );
    });
  });

  it('reach the recall that is asked for over cells', () => {
    const [rows, dimensions, k] = [4000, 24, 10];
    const many = clumpedRows(rows, dimensions, 60, 0.35, 22);
    const built = VectorIndex.from(many, { dimensions, metric });
    expect(built.cells).toBeGreaterThan(1);
    for (const filter of [(id: number) => id % 2 === 0, (id: number) => id % 25 === 0]) {
      const found = neighborsIn(built.neighborGraph({ k, recall: 0.95, filter }), k);
      const truth = neighborsIn(built.neighborGraph({ k, exact: true, filter }), k);
      expect([...found.keys()].every(filter)).toBe(true);
      let hits = 0;
      for (const [row, expected] of truth) {
        const ids = new Set(found.get(row)?.map(({ id }) => id));
        expect(ids.size).toBe(k);
        hits += expected.filter(({ id }) => ids.has(id)).length;
      }
      expect(truth.size).toBe(Math.ceil(rows / (filter(2) ? 2 : 25)));
      expect(hits / truth.size / k).toBeGreaterThan(0.94);
      const wide = built.search(rowAt(many, 0, dimensions), { k: 30, exact: true }).distances[29];
      const pairs = pairsIn(built.selfJoin({ radius: wide, recall: 0.95, filter }));
      const truePairs = pairsIn(built.selfJoin({ radius: wide, exact: true, filter }));
      const right = [...truePairs.keys()].filter((pair) => pairs.has(pair)).length;
      expect(right / Math.max(1, truePairs.size)).toBeGreaterThan(truePairs.size < 200 ? 0.85 : 0.94);
    }
  });
});

describe('a filter of a join', () => {
  it('is asked once for every row, when the loop begins, and holds to its end', () => {
    const index = VectorIndex.from(vectors, { dimensions: D });
    index.remove(removed);
    let asked: number[] = [];
    const stream = index.neighborGraph({
      k: 2,
      pageRows: 10,
      filter: (id) => {
        asked.push(id);
        return passes(id);
      },
    });
    expect(asked).toEqual([]);
    for (const _ of stream);
    expect(asked).toEqual(live);
    const first = index.add(queries);
    asked = [];
    const rows = [...stream].flatMap((page) => [...page.rows]);
    expect(asked.length).toBe(live.length + 90);
    expect(Math.max(...rows)).toBeGreaterThanOrEqual(first);

    const set = IdSet.where(ROWS, passes);
    const whole = neighborsIn(index.neighborGraph({ k: 2, filter: set, exact: true }), 2);
    const pages = [];
    for (const page of index.neighborGraph({ k: 2, filter: set, exact: true, pageRows: 40 })) {
      pages.push(page);
      set.delete([...page.rows]); // no matter, nor is another filter in between
      index.search(rowAt(queries, 0, D), { filter: (id) => id > 100 });
    }
    expect(neighborsIn(pages, 2)).toEqual(whole);
  });

  it('that none, one or two rows pass leaves nothing, one row alone, or a pair', () => {
    const index = VectorIndex.from(vectors, { dimensions: D });
    const graphOf = (ids: number[]): [number, number[]][] =>
      [...neighborsIn(index.neighborGraph({ k: 3, filter: new IdSet(ids) }), 3)].map(([row, found]) => [
        row,
        found.map(({ id }) => id),
      ]);
    expect(graphOf([])).toEqual([]);
    expect(graphOf([9, 5000])).toEqual([[9, []]]);
    expect(graphOf([9, 30]).sort((a, b) => a[0] - b[0])).toEqual([
      [9, [30]],
      [30, [9]],
    ]);
    const pairs = [...pairsIn(index.selfJoin({ radius: 1e6, filter: new IdSet([30, 9]) })).keys()];
    expect(pairs).toEqual(['9 30']);
    expect(groupsIn(index.duplicates({ radius: 1e6, filter: new IdSet([30, 9]) }))).toEqual([[9, 30]]);
    expect(
      [...index.join(queries, { k: 2, filter: () => false })].flatMap((page) => [...page.counts]),
    ).toEqual(Array(90).fill(0));
  });

  it('that is none is refused before anything starts', () => {
    const index = VectorIndex.from(vectors, { dimensions: D });
    const lsh = new HyperplaneLsh({ dimensions: D, tables: 2, bits: 3, seed: 1 });
    for (const bad of [5, 'all', new Uint16Array(4)]) {
      const filter = bad as never;
      for (const call of [
        () => index.neighborGraph({ k: 1, filter }),
        () => index.join(queries, { k: 1, filter }),
        () => index.selfJoin({ radius: 1, filter }),
        () => lsh.duplicates({ radius: 1, filter }),
      ])
        expect(thrownBy(call)).toMatchObject({
          code: 'ERR_ARGUMENT_TYPE',
          message: expect.stringContaining('filter: expected'),
        });
    }
  });
});

describe.each(['euclidean', 'cosine'] as const)(
  'joins of HyperplaneLsh among the rows that pass, %s',
  (metric) => {
    const lsh = new HyperplaneLsh({ dimensions: D, tables: 3, bits: 3, seed: 4, metric });
    lsh.add(vectors);
    lsh.remove(removed);
    const keys = all.map((id) => lsh.keys(rowAt(vectors, id, D)));
    const meet = (a: number, b: number): boolean => keys[a].some((key, table) => key === keys[b][table]);
    const radius = radiusOf(metric, 0.05);
    const near = (a: number, b: number): boolean => meet(a, b) && distanceOf(metric, a, b) <= radius;

    it.each(FILTERS)('of %s are those of these rows alone', (_, filter) => {
      const graph = neighborsIn(lsh.neighborGraph({ k: 5, filter }), 5);
      expect([...graph.keys()]).toEqual(passing);
      for (const [row, found] of graph) {
        const others = passing.filter((id) => id !== row && meet(row, id));
        const expected = plainOthers(vectors, D, metric, rowAt(vectors, row, D), others);
        expectNear(found, expected.slice(0, 5), `row ${row}`);
      }
      const expected = passing.flatMap((a) =>
        passing.filter((b) => b > a && near(a, b)).map((b) => `${a} ${b}`),
      );
      expect(expected.length).toBeGreaterThan(200);
      expect([...pairsIn(lsh.selfJoin({ radius, filter })).keys()].sort()).toEqual(expected.sort());
      expect(groupsIn(lsh.duplicates({ radius, filter }))).toEqual(plainGroups(passing, near));
      const nearest = neighborsIn(lsh.join(queries, { k: 4, filter }), 4);
      const within = rangesIn(lsh.join(queries, { radius, filter }));
      for (const [row, found] of nearest) {
        const query = rowAt(queries, row, D);
        const own = lsh.keys(query);
        const candidates = passing.filter((id) => keys[id].some((key, table) => key === own[table]));
        const others = plainOthers(vectors, D, metric, query, candidates);
        expectNear(found, others.slice(0, 4), `query ${row}`);
        expectNear(
          within.get(row) as Near[],
          others.filter(({ distance }) => distance <= radius),
          `query ${row}`,
        );
      }
    });
  },
);

describe('pages of joins of rows with ids of the user', () => {
  const names = all.map(nameOf);
  const named = VectorIndex.from(vectors, { dimensions: D, ids: names });
  named.remove(removed.map(nameOf));
  const numbered = VectorIndex.from(queries, {
    dimensions: D,
    ids: Float64Array.from({ length: 90 }, (_, i) => 0.5 - i),
  });
  const big = new VectorIndex({ dimensions: D, ids: 'bigint' });
  queries.length &&
    big.add(
      queries,
      BigInt64Array.from({ length: 90 }, (_, i) => 1000n - BigInt(i)),
    );
  const radius = radiusOf('euclidean', 0.02);

  it('carry those of the rows and of their neighbors', () => {
    let rows = 0;
    for (const page of named.neighborGraph({ k: 3, exact: true, pageRows: 60 })) {
      rows += page.rows.length;
      expect(page.rowUserIds).toEqual([...page.rows].map(nameOf));
      expect(page.userIds).toEqual([...page.ids].map(nameOf));
      // The nearest by name, by plain arithmetic.
      page.rowUserIds.forEach((name, i) => {
        const own = Number(name.slice(4));
        const others = live.filter((id) => id !== own);
        const expected = plainOthers(vectors, D, 'euclidean', rowAt(vectors, own, D), others);
        expect(page.userIds[3 * i]).toBe(nameOf(expected[0].id));
      });
    }
    expect(rows).toBe(live.length);
    const [short] = new VectorIndex({ dimensions: D, ids: 'string' }).neighborGraph({ k: 2 });
    expect(short).toBeUndefined();
    const few = VectorIndex.from(vectors.slice(0, 2 * D), { dimensions: D, ids: ['a', 'b'] });
    const [page] = few.neighborGraph({ k: 2 });
    expect(page.rowUserIds).toEqual(['a', 'b']);
    expect(page.userIds).toEqual(['b', undefined, 'a', undefined]);
  });

  it('carry those of both sides of a join, each of its own kind', () => {
    for (const page of named.join(numbered, { k: 2, exact: true, pageRows: 40 })) {
      const own: number[] = page.rowUserIds;
      const theirs: string[] = page.userIds;
      expect(own).toEqual([...page.rows].map((row) => 0.5 - row));
      expect(theirs).toEqual([...page.ids].map(nameOf));
    }
    const nearest = plainOthers(queries, D, 'euclidean', rowAt(vectors, 10, D), [...Array(90).keys()]);
    for (const page of big.join(named, { k: 1, exact: true })) {
      const at = page.rowUserIds.indexOf('row 10');
      expect(page.userIds[at]).toBe(1000n - BigInt(nearest[0].id));
    }
    const ranges = [...big.join(named, { radius, exact: true })];
    expect(ranges.flatMap(({ userIds }) => userIds).length).toBeGreaterThan(50);
    for (const page of ranges) {
      expect(page.rowUserIds).toEqual([...page.rows].map(nameOf));
      expect(page.userIds).toEqual([...page.ids].map((id) => 1000n - BigInt(id)));
    }
    // Queries without ids, and an index without, have none.
    for (const page of named.join(queries, { k: 1 })) {
      expect(page.rowUserIds).toBeUndefined();
      expect(page.userIds).toEqual([...page.ids].map(nameOf));
    }
    const plain = VectorIndex.from(queries, { dimensions: D });
    for (const page of plain.join(named, { k: 1 })) {
      expect(page.userIds).toBeUndefined();
      expect(page.rowUserIds).toEqual([...page.rows].map(nameOf));
    }
    for (const page of plain.neighborGraph({ k: 1 })) expect(Object.keys(page)).not.toContain('userIds');
  });

  it('carry those of pairs and groups, and a filter is asked about them', async () => {
    const asked = new Set<string>();
    const filter = (name: string): boolean => {
      asked.add(name);
      return passes(Number(name.slice(4)));
    };
    const expected = passing.flatMap((a) =>
      passing
        .filter((b) => b > a && distanceOf('euclidean', a, b) <= radius)
        .map((b) => `${nameOf(a)}, ${nameOf(b)}`),
    );
    const found: string[] = [];
    for await (const page of named.selfJoin({ radius, exact: true, filter, pageRows: 20 }))
      found.push(...page.aUserIds.map((a, i) => `${a}, ${page.bUserIds[i]}`));
    expect(found.sort()).toEqual(expected.sort());
    expect([...asked].sort()).toEqual(live.map(nameOf).sort());
    const groups = plainGroups(passing, (a, b) => distanceOf('euclidean', a, b) <= radius);
    const names: string[][] = [];
    for (const { offsets, userIds } of named.duplicates({ radius, exact: true, filter }))
      for (let i = 0; i + 1 < offsets.length; i++) names.push(userIds.slice(offsets[i], offsets[i + 1]));
    expect(names).toEqual(groups.map((group) => group.map(nameOf)));
  });

  it('stay those of the rows after compacting, and after saving and loading', () => {
    const again = VectorIndex.load<'string'>(named.save());
    again.compact();
    again.build({ cells: 8 });
    for (const page of again.neighborGraph({ k: 2 })) {
      expect(page.rowUserIds).toEqual([...page.rows].map(nameOf));
      expect(page.userIds).toEqual([...page.ids].map(nameOf));
    }
  });
});
