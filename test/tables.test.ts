import { describe, expect, it } from 'vitest';
import { BitSamplingLsh } from '../src/bit-sampling-lsh.js';
import { HyperplaneLsh } from '../src/hyperplane-lsh.js';
import { MinHashLsh } from '../src/min-hash-lsh.js';
import { HASHED_QUERIES, HashTables } from '../src/tables.js';
import { thrownBy } from './answers.js';
import { normals } from './data.js';

function refusal(call: () => unknown): string {
  const { name, code, message } = thrownBy(call);
  return `${name} ${code} ${message}`;
}

/** An index of each class with three rows, and a query and many of them in its own words. */
function classes() {
  const planes = new HyperplaneLsh({ dimensions: 4, tables: 3, bits: 5, seed: 1 });
  planes.add(normals(12, 1));
  const samples = new BitSamplingLsh({ bits: 16, sampledBits: 5, tables: 3, seed: 1 });
  samples.add(Uint8Array.of(1, 2, 3, 4, 5, 6));
  const sets = new MinHashLsh({ bands: 3, rows: 2, seed: 1 });
  sets.add([Uint32Array.of(1), Uint32Array.of(2, 3), Uint32Array.of(4)]);
  return [
    {
      lsh: planes,
      empty: new HyperplaneLsh({ dimensions: 4, tables: 3, bits: 5, seed: 1 }),
      query: normals(4, 2),
    },
    {
      lsh: samples,
      empty: new BitSamplingLsh({ bits: 16, sampledBits: 5, tables: 3, seed: 1 }),
      query: Uint8Array.of(1, 2),
    },
    { lsh: sets, empty: new MinHashLsh({ bands: 3, rows: 2, seed: 1 }), query: Uint32Array.of(2, 3) },
  ] as const;
}

describe.each(classes().map((each) => [each.lsh.constructor.name, each] as const))('%s', (_, each) => {
  // The three share these calls; each reads queries in its own words.
  const lsh = each.lsh as HyperplaneLsh;
  const empty = each.empty as HyperplaneLsh;
  const query = each.query as unknown as Float32Array;

  it('has the rows that were added, and nothing else', () => {
    expect([0, 1, 2].map((id) => lsh.has(id))).toEqual([true, true, true]);
    for (const id of [-1, 3, 0.5, NaN, Infinity, '0', null, undefined])
      expect(lsh.has(id as number)).toBe(false);
    expect(empty.has(0)).toBe(false);
  });

  it('says which argument was wrong', () => {
    expect(refusal(() => lsh.search(query, { k: 0 }))).toMatch(/^RangeError ERR_ARGUMENT_RANGE k: /);
    expect(refusal(() => lsh.search(query, 3 as never))).toMatch(/^TypeError ERR_ARGUMENT_TYPE options: /);
    expect(refusal(() => lsh.searchRadius(query, -1))).toMatch(/^RangeError ERR_ARGUMENT_RANGE radius: /);
    for (const cap of ['maxBucket', 'maxCandidates'] as const) {
      const wrong = new RegExp(`^RangeError ERR_ARGUMENT_RANGE ${cap}: `);
      expect(refusal(() => lsh.candidates(query, { [cap]: 0 }))).toMatch(wrong);
      expect(refusal(() => lsh.search(query, { k: 1, [cap]: 0 }))).toMatch(wrong);
    }
    expect(refusal(() => lsh.bucket(3, 0))).toMatch(/^RangeError ERR_ARGUMENT_RANGE table: .* from 0 to 2/);
    expect(refusal(() => lsh.bucket(0, -1))).toMatch(/^RangeError ERR_ARGUMENT_RANGE key: /);
    expect(refusal(() => lsh.search(null as never, { k: 1 }))).toMatch(
      /^TypeError ERR_ARGUMENT_TYPE query: /,
    );
    expect(refusal(() => lsh.searchBatch(null as never, { k: 1 }))).toMatch(/^TypeError \w+ queries: /);
  });

  it('answers every question with nothing while it is empty, and says why', () => {
    expect(empty.search(query, { k: 2 })).toEqual({
      ids: new Uint32Array(0),
      distances: new Float32Array(0),
    });
    expect(empty.candidates(query).length).toBe(0);
    expect(empty.explain(query, { k: 2 })).toMatchObject({
      shortfall: 'the index is empty',
      candidates: 0,
      capped: false,
      tables: [],
    });
    const table = { buckets: 0, average: 0, largest: 0, histogram: [], skew: 0 };
    expect(empty.stats()).toMatchObject({ rows: 0, ...table, tables: [table, table, table] });
  });

  it('explains why there are fewer neighbors than asked for', () => {
    const why = (k: number, options: object): string => lsh.explain(query, { k, ...options }).shortfall;
    expect(why(3, { filter: () => false })).toMatch(
      /^the visited buckets hold 0 that pass the filter, of 3 rows/,
    );
    expect(why(4, {})).toBe('the index has 3 rows, fewer than k = 4');
  });
});

describe('hash tables', () => {
  it('give as many queries at once what they give one by one, with caps and without', () => {
    const lsh = new HyperplaneLsh({ dimensions: 4, tables: 3, bits: 2, seed: 1 });
    lsh.add(normals(4 * 90, 3));
    const count = 2 * HASHED_QUERIES + 3;
    const queries = normals(4 * count, 4);
    const most = lsh.candidates(queries.subarray(0, 4)).length;
    for (const maxCandidates of [undefined, most]) {
      const batch = lsh.searchBatch(queries, { k: 5, maxCandidates });
      let capped = 0;
      for (let q = 0; q < count; q++) {
        const one = lsh.search(queries.subarray(4 * q, 4 * q + 4), { k: 5, maxCandidates });
        expect(batch.counts[q]).toBe(one.ids.length);
        expect(batch.ids.slice(5 * q, 5 * q + batch.counts[q])).toEqual(one.ids);
        expect(Boolean(batch.capped?.[q])).toBe(one.capped === true);
        capped += Number(one.capped === true);
      }
      expect(capped > 0).toBe(maxCandidates !== undefined);
      expect(batch.capped === undefined).toBe(maxCandidates === undefined);
    }
  });

  it('say in an explanation and a search within a distance that caps left rows out', () => {
    const lsh = new HyperplaneLsh({ dimensions: 4, tables: 3, bits: 1, seed: 1 });
    lsh.add(normals(4 * 50, 3));
    const query = normals(4, 5);
    const explained = lsh.explain(query, { k: 20, maxCandidates: 10 });
    expect(explained).toMatchObject({ capped: true, candidates: 10 });
    expect(explained.shortfall).toBe(
      '10 candidates, fewer than k = 20, were left by the caps; a larger maxBucket or maxCandidates gives more',
    );
    expect(lsh.searchRadius(query, 1e9, { maxCandidates: 10 })).toMatchObject({ capped: true });
    expect(lsh.searchRadius(query, 1e9)).not.toHaveProperty('capped');
  });

  it('change nothing while other work is under way', () => {
    const family = { metric: 0, remedy: 'more', load() {}, hash() {}, rank() {} };
    const tables = new HashTables(2, family);
    tables.lend('saveTo');
    const busy = 'RangeError ERR_BUSY index: expected no other work under way, got one of saveTo';
    for (const call of [() => tables.lend('joinAsync'), () => tables.nextId(), () => tables.remove([])])
      expect(refusal(call)).toBe(busy);
    expect([tables.count, tables.size]).toEqual([0, 0]);
    tables.takeBack();
    expect(tables.nextId()).toBe(0);
    tables.dispose();
    expect(refusal(() => tables.count)).toMatch(/^TypeError ERR_DISPOSED index: /);
    expect(refusal(() => tables.nextId())).toMatch(/^TypeError ERR_DISPOSED index: /);
  });
});
