import { describe, expect, it } from 'vitest';
import { HyperplaneLsh, type HyperplaneLshOptions } from '../src/index.js';
import { concat, thrownBy } from './answers.js';
import { clumpedRows, normals, plainDistance, rowAt } from './data.js';
import { expectNear, groupsIn, neighborsIn, pairsIn, plainGroups, plainOthers, rangesIn } from './joins.js';

const D = 6;

function make(vectors: Float32Array, options: Partial<HyperplaneLshOptions> = {}): HyperplaneLsh {
  const lsh = new HyperplaneLsh({
    dimensions: D,
    tables: 3,
    bits: 4,
    seed: 3,
    ...options,
  } as HyperplaneLshOptions);
  lsh.add(vectors);
  return lsh;
}

/** Whether two rows share a bucket in any table, asked of every table. */
function meets(vectors: Float32Array, lsh: HyperplaneLsh): (a: number, b: number) => boolean {
  const keys = Array.from({ length: vectors.length / D }, (_, id) => lsh.keys(rowAt(vectors, id, D)));
  return (a, b) => keys[a].some((key, table) => key === keys[b][table]);
}

const idsOf = (vectors: Float32Array): number[] => Array.from({ length: vectors.length / D }, (_, id) => id);

describe.each(['euclidean', 'cosine'] as const)('joins of HyperplaneLsh, %s', (metric) => {
  const vectors = clumpedRows(240, D, 15, 0.3, 1);
  const removed = [0, 7, 100, 239];
  const lsh = make(vectors, { metric });
  lsh.remove(removed);
  const meet = meets(vectors, lsh);
  const live = idsOf(vectors).filter((id) => !removed.includes(id));
  const distance = (a: number, b: number): number =>
    plainDistance(metric, rowAt(vectors, a, D), rowAt(vectors, b, D));
  // Midway between two distances that occur, so that rounding decides nothing.
  const radius = ((): number => {
    const all = live
      .flatMap((a) => live.filter((b) => b > a).map((b) => distance(a, b)))
      .sort((a, b) => a - b);
    return (all[900] + all[901]) / 2;
  })();

  it('have the nearest of those that share a bucket, for every row, by ascending id', () => {
    const graph = neighborsIn(lsh.neighborGraph({ k: 5, pageRows: 100 }), 5);
    expect([...graph.keys()]).toEqual(live);
    for (const [row, near] of graph) {
      const others = live.filter((id) => id !== row && meet(row, id));
      const expected = plainOthers(vectors, D, metric, rowAt(vectors, row, D), others);
      expectNear(near, expected.slice(0, 5), `row ${row}`);
    }
  });

  it('find for queries what search finds', () => {
    const queries = clumpedRows(90, D, 15, 0.3, 1);
    const found = neighborsIn(lsh.join(queries, { k: 4, pageRows: 40 }), 4);
    const ranges = rangesIn(lsh.join(queries, { radius }));
    expect([...found.keys()]).toEqual(idsOf(queries));
    expect([...ranges.keys()]).toEqual(idsOf(queries));
    for (const row of found.keys()) {
      const all = lsh.search(rowAt(queries, row, D), { k: 240 });
      const near = [...all.ids].map((id, i) => ({ id, distance: all.distances[i] }));
      expect(found.get(row)).toEqual(near.slice(0, 4));
      expect(ranges.get(row)).toEqual(near.filter((one) => one.distance <= radius));
    }
    const other = make(queries, { metric, tables: 1, bits: 9 });
    other.remove(11);
    const rows = neighborsIn(lsh.join(other, { k: 4 }), 4);
    found.delete(11);
    expect(rows).toEqual(found);
    expect(rangesIn(lsh.join([queries.slice(0, 60), queries.slice(60)], { radius }))).toEqual(ranges);
  });

  it('have each pair within a radius that shares a bucket once', () => {
    const pairs = pairsIn(lsh.selfJoin({ radius, pageRows: 64 }));
    const expected = live.flatMap((a) =>
      live.filter((b) => b > a && meet(a, b) && distance(a, b) <= radius).map((b) => `${a} ${b}`),
    );
    expect(expected.length).toBeGreaterThan(300);
    expect([...pairs.keys()].sort()).toEqual(expected.sort());
    for (const [pair, found] of pairs) {
      const [a, b] = pair.split(' ').map(Number);
      expect(Math.abs(found - distance(a, b))).toBeLessThan(1e-5);
    }
  });

  it('have the groups of these pairs, however the rows were added', () => {
    const near = (a: number, b: number): boolean => meet(a, b) && distance(a, b) <= radius;
    const expected = plainGroups(live, near);
    expect(expected.length).toBeGreaterThan(3);
    expect(groupsIn(lsh.duplicates({ radius, pageRows: 20 }))).toEqual(expected);
    // Backwards, in parts: id i is then 239 - i.
    const turned = concat(...idsOf(vectors).map((id) => rowAt(vectors, 239 - id, D)));
    const backwards = make(turned.slice(0, 200 * D), { metric });
    backwards.add(turned.slice(200 * D));
    backwards.remove(removed.map((id) => 239 - id));
    const named = groupsIn(backwards.duplicates({ radius })).map((group) =>
      group.map((id) => 239 - id).sort((a, b) => a - b),
    );
    expect(named.sort((a, b) => a[0] - b[0])).toEqual(expected);
  });
});

describe('joins of HyperplaneLsh', () => {
  it.each([0, 1, 2])('of %i rows have what there is', (rows) => {
    const lsh = make(normals(rows * D, 2).fill(1), { bits: 1 });
    const graph = neighborsIn(lsh.neighborGraph({ k: 3 }), 3);
    const pair = { id: 0, distance: 0 };
    const expected = [
      [],
      [[0, []]],
      [
        [0, [{ ...pair, id: 1 }]],
        [1, [pair]],
      ],
    ][rows];
    expect([...graph]).toEqual(expected);
    expect([...pairsIn(lsh.selfJoin({ radius: 0 }))]).toEqual(rows === 2 ? [['0 1', 0]] : []);
    expect(groupsIn(lsh.duplicates({ radius: 0 }))).toEqual(rows === 2 ? [[0, 1]] : []);
  });

  it('are empty while the bucket size waits for rows', () => {
    const lsh = new HyperplaneLsh({ dimensions: D, tables: 2, bucketSize: 4 });
    expect([...lsh.neighborGraph({ k: 3 })]).toEqual([]);
    expect([...lsh.duplicates({ radius: 1 })]).toEqual([]);
    expect([...lsh.join(normals(2 * D, 1), { k: 1 })][0].counts).toEqual(Uint32Array.of(0, 0));
  });

  it('give k others to each of many equal rows', () => {
    const lsh = make(new Float32Array(500 * D).fill(2));
    for (const [row, near] of neighborsIn(lsh.neighborGraph({ k: 2 }), 2))
      expect(near.map(({ id }) => id)).toEqual([0, 1, 2].filter((id) => id !== row).slice(0, 2));
  });

  it('keep pages bounded where a bucket holds n² pairs', () => {
    const rows = 600;
    const lsh = make(new Float32Array(rows * D).fill(2));
    let pairs = 0;
    for (const { a } of lsh.selfJoin({ radius: 0, pageRows: 1000 })) {
      expect(a.length).toBeLessThan(1000 + rows);
      pairs += a.length;
    }
    expect(pairs).toBe((rows * (rows - 1)) / 2);
  });

  it('group 100,000 equal rows without looking at their pairs', () => {
    const rows = 100_000;
    const lsh = make(new Float32Array(rows * D).fill(2), { metric: 'cosine' });
    const start = performance.now();
    const groups = groupsIn(lsh.duplicates({ radius: 0 }));
    expect(groups.map((group) => group.length)).toEqual([rows]);
    expect(performance.now() - start).toBeLessThan(5000); // 50; the pairs would take a minute
  });

  it('see rows added later, and end when rows change', () => {
    const vectors = clumpedRows(100, D, 3, 0.2, 4);
    const lsh = make(vectors.slice(0, 50 * D));
    lsh.add(vectors.slice(50 * D));
    expect(neighborsIn(lsh.neighborGraph({ k: 1 }), 1).size).toBe(100);
    const changing = (change: () => void): string | undefined =>
      thrownBy(() => {
        for (const _ of lsh.neighborGraph({ k: 1, pageRows: 10 })) change();
      }).code;
    expect(changing(() => lsh.add(vectors))).toBe('ERR_CHANGED');
    expect(changing(() => lsh.remove(3))).toBe('ERR_CHANGED');
    expect(changing(() => lsh.dispose())).toBe('ERR_DISPOSED');
    expect(thrownBy(() => lsh.selfJoin({ radius: 1 })).code).toBe('ERR_DISPOSED');
  });

  it('refuse a radius that is none, and k beside it', () => {
    const lsh = make(normals(20 * D, 1));
    for (const radius of [-1, Number.NaN, '1', undefined]) {
      for (const call of [
        () => lsh.selfJoin({ radius } as never),
        () => lsh.duplicates({ radius } as never),
      ]) {
        expect(thrownBy(call).message).toMatch(/^radius: expected /);
      }
    }
    expect(thrownBy(() => lsh.join(normals(D, 1), { k: 1, radius: 1 } as never)).message).toMatch(
      /expected either k or radius, got both/,
    );
    expect(
      thrownBy(() => lsh.join(new HyperplaneLsh({ dimensions: 3, tables: 1, bits: 1 }), { k: 1 })).code,
    ).toBe('ERR_LENGTH');
  });
});
