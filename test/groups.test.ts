import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Distinct, Groups } from '../src/groups.js';

/** The groups that pairs make, by walking from each id to all that it is linked with. */
function groupsOf(count: number, pairs: readonly (readonly [number, number])[]): number[][] {
  const groups: number[][] = [];
  const seen = new Set<number>();
  for (let first = 0; first < count; first++) {
    if (seen.has(first)) continue;
    const group = [first];
    seen.add(first);
    for (let i = 0; i < group.length; i++) {
      for (const [a, b] of pairs) {
        for (const [from, to] of [
          [a, b],
          [b, a],
        ]) {
          if (from !== group[i] || seen.has(to)) continue;
          seen.add(to);
          group.push(to);
        }
      }
    }
    groups.push(group.sort((x, y) => x - y));
  }
  return groups;
}

const COUNT = 30;
const pair = fc.tuple(fc.nat(COUNT - 1), fc.nat(COUNT - 1));

describe('groups', () => {
  it('are what their pairs link, whatever the order of the pairs, by their least ids, each ascending', () => {
    const pageIds = fc.integer({ min: 1, max: 12 });
    fc.assert(
      fc.property(fc.array(pair, { maxLength: 40 }), pageIds, (pairs, most) => {
        const expected = groupsOf(COUNT, pairs);
        for (const order of [pairs, [...pairs].reverse()]) {
          const groups = new Groups(COUNT);
          for (const [a, b] of order) groups.unite(a, b);
          for (const [a, b] of pairs) expect(groups.areOne(a, b)).toBe(true);
          for (let id = 1; id < COUNT; id++) expect(groups.areOne(0, id)).toBe(expected[0].includes(id));
          const all = Uint32Array.from({ length: COUNT }, (_, id) => id);
          const told: number[][] = [];
          for (const page of groups.pages(all, most)) {
            if (page === undefined) continue;
            const { offsets, ids } = page;
            expect([offsets[0], offsets.at(-1)]).toEqual([0, ids.length]);
            // a page ends with the group that fills it
            expect(offsets.at(-2)).toBeLessThan(most);
            for (let i = 1; i < offsets.length; i++) told.push([...ids.subarray(offsets[i - 1], offsets[i])]);
          }
          expect(told).toEqual(expected.filter((group) => group.length > 1));
        }
      }),
    );
  });

  it('have only the ids that they are asked for', () => {
    const groups = new Groups(10);
    for (const [a, b] of [
      [1, 5],
      [5, 9],
      [2, 3],
    ])
      groups.unite(a, b);
    const pages = [...groups.pages(Uint32Array.of(0, 1, 5, 9), 100)].filter((page) => page !== undefined);
    expect(pages).toEqual([{ offsets: Uint32Array.of(0, 3), ids: Uint32Array.of(1, 5, 9) }]);
    expect([...groups.pages(Uint32Array.of(0, 4), 100)].filter((page) => page !== undefined)).toEqual([]);
  });

  it('let others run after every stretch of ids, twice', () => {
    const ids = Uint32Array.from({ length: 2 ** 18 + 1 }, (_, id) => id);
    const steps = [...new Groups(ids.length).pages(ids, 10)];
    expect(steps).toEqual([undefined, undefined, undefined, undefined]);
  });
});

describe('equal rows', () => {
  it('are found, first ones and repetitions, as a Map finds them', () => {
    const row = fc.array(fc.nat(2), { minLength: 3, maxLength: 3 });
    fc.assert(
      fc.property(fc.array(row, { maxLength: 40 }), (rows) => {
        const firsts = new Map<string, number>();
        const distinct = new Distinct(rows.length, rows.length, (id) => Uint32Array.from(rows[id]));
        rows.forEach((words, id) => {
          const first = firsts.get(`${words}`);
          expect(distinct.firstEqual(id)).toBe(first ?? id);
          expect(distinct.isRepeated(id)).toBe(first !== undefined);
          if (first === undefined) firsts.set(`${words}`, id);
        });
      }),
    );
  });

  it('are found among more rows than one hash tells apart, without looking at many others', () => {
    const rows = 20_000;
    const kinds = 15_000;
    let looks = 0;
    const words = Uint32Array.of(0, 0, 7);
    const other = Uint32Array.of(0, 0, 7);
    let turn = 0;
    const distinct = new Distinct(rows, rows, (id) => {
      looks++;
      const kept = turn++ % 2 ? other : words;
      kept[0] = id % kinds;
      kept[1] = Math.imul(id % kinds, 0x10001);
      return kept;
    });
    for (let id = 0; id < rows; id++) {
      turn = 0;
      if (distinct.firstEqual(id) !== id % kinds) throw new Error(`${id}: expected ${id % kinds}`);
    }
    // each row's own words, and those of the first like it
    expect(looks).toBeLessThan(rows + (rows - kinds) + 20);
  });
});
