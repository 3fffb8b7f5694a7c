import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MinHashLsh, type MinHashLshOptions } from '../src/min-hash-lsh.js';
import { candidateProbability } from '../src/probability.js';
import { RandomGenerator } from '../src/random.js';
import { distinct, shingles } from '../src/sets.js';
import { thrownBy } from './answers.js';
import { expectSameBits, uniform } from './arena.js';
import { detached, expectPlainAnswers, expectQueryOf } from './lookups.js';
import * as reference from './reference.js';

const EMPTY = new Uint32Array(0);

/** Sets that overlap, in no order, with features given twice; some are empty. */
function setsOf(count: number, seed: number): Uint32Array[] {
  const next = uniform(seed);
  return Array.from({ length: count }, () => {
    const first = Math.floor(next() * 4) * 1000;
    return Uint32Array.from({ length: next() * 40 }, () => (first + next() * 50) * 7919);
  });
}

/** Signatures as the class's docstring has them. */
function signatureOf(set: Uint32Array, { bands, rows }: MinHashLsh, seed: number): Uint32Array {
  const random = new RandomGenerator(seed);
  const drawn = Uint32Array.from({ length: 2 * bands * rows }, () => random.nextUint32());
  const multipliers = drawn.filter((_, i) => i % 2 === 0).map((word) => word | 1);
  const addends = drawn.filter((_, i) => i % 2 === 1);
  return reference.minHash(set, multipliers, addends);
}

function keysOf(signature: Uint32Array, { bands, rows }: MinHashLsh): Uint32Array {
  return Uint32Array.from({ length: bands }, (_, b) =>
    reference.murmur(signature.subarray(b * rows, (b + 1) * rows)),
  );
}

/** Fails unless the index answers as tables in plain words do. */
function expectPlain(
  lsh: MinHashLsh,
  seed: number,
  sets: Uint32Array[],
  queries: Uint32Array[],
  k: number,
): void {
  const rowKeys = sets.map((set) => keysOf(signatureOf(set, lsh, seed), lsh));
  for (const query of queries) {
    const signature = signatureOf(query, lsh, seed);
    expectSameBits(lsh.signature(query), signature, 'signature');
    const distanceTo = (id: number): number => reference.jaccard(query, sets[id]);
    expectPlainAnswers(lsh, query, keysOf(signature, lsh), rowKeys, k, distanceTo);
  }
}

describe('MinHashLsh', () => {
  it('signs, gathers and ranks as the plain structure does', () => {
    const cases = fc.record({
      bands: fc.integer({ min: 1, max: 6 }),
      rows: fc.integer({ min: 1, max: 7 }),
      count: fc.integer({ min: 0, max: 120 }),
      k: fc.integer({ min: 1, max: 30 }),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(cases, ({ bands, rows, count, k, seed }) => {
        using lsh = new MinHashLsh({ bands, rows, seed });
        const sets = setsOf(count, seed);
        expect(lsh.add(sets)).toBe(0);
        expect(lsh.size).toBe(count);
        expectPlain(lsh, seed, sets, [...setsOf(2, seed + 1), ...sets.slice(0, 2), EMPTY], k);
      }),
      { numRuns: 30 },
    );
  });

  it('takes 256 bands, and bands of 256 rows', () => {
    const sets = setsOf(12, 1);
    for (const [bands, rows] of [
      [256, 1],
      [2, 256],
    ]) {
      using lsh = new MinHashLsh({ bands, rows, seed: 3 });
      lsh.add(sets);
      expectPlain(lsh, 3, sets, sets.slice(0, 3), 5);
    }
  });

  it('looks at a set, not at its order or how often a feature is given', () => {
    using lsh = new MinHashLsh({ bands: 8, rows: 2 });
    const set = Uint32Array.of(0, 7, 2 ** 32 - 1, 40);
    const other = Uint32Array.of(40, 2 ** 32 - 1, 7, 7, 0, 40, 7);
    lsh.add([set, other]);
    expectSameBits(lsh.signature(other), lsh.signature(set), 'signature');
    expect(lsh.search(other, { k: 2 })).toEqual({
      ids: Uint32Array.of(0, 1),
      distances: Float32Array.of(0, 0),
    });
    expect([...other]).toEqual([40, 2 ** 32 - 1, 7, 7, 0, 40, 7]);
  });

  it('puts empty sets at distance 0 from each other, and together', () => {
    using lsh = new MinHashLsh({ bands: 4, rows: 2 });
    lsh.add([Uint32Array.of(1, 2), EMPTY, Uint32Array.of(3), EMPTY]);
    expect([...lsh.signature(EMPTY)]).toEqual(Array(8).fill(2 ** 32 - 1));
    expect(lsh.search(EMPTY, { k: 4 })).toEqual({
      ids: Uint32Array.of(1, 3),
      distances: Float32Array.of(0, 0),
    });
    expect([...lsh.search(Uint32Array.of(3), { k: 4 }).ids]).toEqual([2]);
  });

  it('ranks equal distances by id', () => {
    using lsh = new MinHashLsh({ bands: 256, rows: 1 });
    lsh.add([
      Uint32Array.of(1, 2, 3, 4),
      Uint32Array.of(1, 2, 4),
      Uint32Array.of(1, 2, 5),
      Uint32Array.of(1, 2, 3),
    ]);
    const { ids, distances } = lsh.search(Uint32Array.of(1, 2, 3), { k: 4 });
    expect([...ids]).toEqual([3, 0, 1, 2]);
    expect([...distances]).toEqual([0, 0.25, 0.5, 0.5]);
  });

  it('answers the same however its sets are split', () => {
    const sets = setsOf(300, 1);
    const queries = setsOf(5, 2);
    using whole = new MinHashLsh({ bands: 5, rows: 2 });
    whole.add(sets);
    const expected = whole.searchBatch(queries, { k: 9 });
    for (let cut = 0; cut <= 300; cut += 7) {
      using lsh = new MinHashLsh({ bands: 5, rows: 2 });
      expect(lsh.add(sets.slice(0, cut))).toBe(0);
      expect(lsh.add(sets.slice(cut))).toBe(cut);
      expect(lsh.searchBatch(queries, { k: 9 }), `cut at ${cut}`).toEqual(expected);
    }
    using oneByOne = new MinHashLsh({ bands: 5, rows: 2 });
    sets.forEach((set, i) => {
      expect(oneByOne.add([set])).toBe(i);
    });
    expect(oneByOne.searchBatch(queries, { k: 9 })).toEqual(expected);
  });

  it('gives a batch what it gives each query', () => {
    const queries = setsOf(150, 2);
    using lsh = new MinHashLsh({ bands: 5, rows: 2 });
    expect([...lsh.searchBatch(queries, { k: 4 }).counts]).toEqual(Array(150).fill(0));
    lsh.add(setsOf(400, 1));
    const batch = lsh.searchBatch(queries, { k: 12 });
    queries.forEach((query, q) => {
      expectQueryOf(batch, q, 12, lsh.search(query, { k: 12 }));
    });
    expect(lsh.searchBatch([], { k: 3 }).ids.length).toBe(0);
  });

  /** Two sets of similarity both / (both + 2 apart); `step` lies between feature numbers. */
  function pairOf(both: number, apart: number, step: number): [Uint32Array, Uint32Array] {
    const features = Uint32Array.from({ length: both + 2 * apart }, (_, i) => i * step);
    const second = [...features.subarray(0, both), ...features.subarray(both + apart)];
    return [features.slice(0, both + apart), Uint32Array.from(second)];
  }

  it.each([
    [1, 1],
    [2, 1],
    [30, 10],
    [50, 3],
    [4, 40],
  ])('agrees in as many places as sets are similar: %i features shared, %i own', (both, apart) => {
    const similarity = both / (both + 2 * apart);
    // Runs, multiples of a power of two, and scattered numbers: a hash without mixing would tell them apart.
    for (const step of [1, 65536, 2654435761]) {
      const [a, b] = pairOf(both, apart, step);
      let equal = 0;
      const seeds = 20;
      for (let seed = 0; seed < seeds; seed++) {
        using lsh = new MinHashLsh({ bands: 64, rows: 32, seed });
        const other = lsh.signature(b);
        equal += lsh.signature(a).filter((least, i) => least === other[i]).length;
      }
      const draws = seeds * 64 * 32;
      const error = Math.sqrt((similarity * (1 - similarity)) / draws);
      expect(Math.abs(equal / draws - similarity), `steps of ${step}`).toBeLessThan(4 * error);
    }
  });

  it('makes candidates as often as the curve of its bands says', () => {
    for (const [both, apart] of [
      [8, 1],
      [6, 2],
      [4, 3],
    ]) {
      const [a, b] = pairOf(both, apart, 1);
      const expected = candidateProbability(both / (both + 2 * apart), { bits: 4, tables: 8 });
      const trials = 1000;
      let found = 0;
      for (let seed = 0; seed < trials; seed++) {
        using lsh = new MinHashLsh({ bands: 8, rows: 4, seed });
        const keys = lsh.keys(b);
        found += lsh.keys(a).some((key, band) => key === keys[band]) ? 1 : 0;
      }
      const error = Math.sqrt((expected * (1 - expected)) / trials);
      expect(Math.abs(found / trials - expected)).toBeLessThan(4 * error + 1e-9);
    }
  });

  it('finds near-duplicate texts', () => {
    const texts = [
      'Nearest neighbor search finds the closest points of a set.',
      'Nearest neighbour search finds the closest points in a set.',
      'The dataset consists of handwritten digits from zero to nine.',
      'We are in Euclidean space, and vectors are real.',
    ];
    using lsh = new MinHashLsh({ bands: 32, rows: 3 });
    lsh.add(texts.map((text) => shingles(text, 4)));
    const { ids, distances } = lsh.search(shingles(texts[0], 4), { k: 2 });
    expect([...ids]).toEqual([0, 1]);
    expect(distances[1]).toBeLessThan(0.5);
  });

  it('counts its buckets and its memory', () => {
    using lsh = new MinHashLsh({ bands: 3, rows: 2 });
    expect(lsh.stats()).toMatchObject({ rows: 0, buckets: 0 });
    const sets = setsOf(200, 1);
    lsh.add(sets);
    const stats = lsh.stats();
    expect(stats.rows).toBe(200);
    expect(stats.tables.length).toBe(3);
    const keys = new Set(sets.map((set) => lsh.keys(set)[1]));
    expect(stats.tables[1].buckets).toBe(keys.size);
    expect(stats.memory.sets).toBeGreaterThan(0);
  });

  it('refuses everything once it is disposed of', () => {
    const lsh = new MinHashLsh({ bands: 2, rows: 2 });
    const set = Uint32Array.of(1);
    lsh.add([set]);
    lsh.dispose();
    lsh.dispose();
    const error = expect.objectContaining({ name: 'TypeError', code: 'ERR_DISPOSED' });
    for (const call of [
      () => lsh.add([set]),
      () => lsh.signature(set),
      () => lsh.keys(set),
      () => lsh.bucket(0, 0),
      () => lsh.candidates(set),
      () => lsh.search(set, { k: 1 }),
      () => lsh.searchBatch([set], { k: 1 }),
      () => lsh.explain(set, { k: 1 }),
      () => lsh.stats(),
      () => lsh.size,
    ]) {
      expect(call).toThrow(error);
    }
  });
});

describe('MinHashLsh refuses', () => {
  it.each([
    ['bands', 0],
    ['bands', 257],
    ['rows', 0],
    ['rows', 257],
    ['rows', 1.5],
  ])('%s = %s', (name, value) => {
    expect(() => new MinHashLsh({ bands: 2, rows: 2, [name]: value })).toThrow(
      expect.objectContaining({
        name: 'RangeError',
        code: 'ERR_ARGUMENT_RANGE',
        message: `${name}: expected an integer from 1 to 256, got ${value}`,
      }),
    );
  });

  it('options of another kind', () => {
    for (const options of [undefined, null, 3, {}, { bands: 2 }, { bands: 2, rows: 2, seed: 'x' }]) {
      expect(() => new MinHashLsh(options as unknown as MinHashLshOptions)).toThrow(
        expect.objectContaining({ name: 'TypeError', code: 'ERR_ARGUMENT_TYPE' }),
      );
    }
  });

  it('sets of another kind, and stays as it was', () => {
    using lsh = new MinHashLsh({ bands: 3, rows: 2 });
    const queries = setsOf(5, 2);
    const type = expect.objectContaining({ name: 'TypeError', code: 'ERR_ARGUMENT_TYPE' });
    for (const count of [0, 100]) {
      lsh.add(setsOf(count, 1));
      const before = lsh.searchBatch(queries, { k: 5 });
      for (const wrong of [
        [1, 2],
        new Float32Array(2),
        new Set([1]),
        null,
        undefined,
      ] as unknown as Uint32Array[]) {
        expect(() => lsh.add([queries[0], wrong])).toThrow(type);
        expect(() => lsh.search(wrong, { k: 1 })).toThrow(type);
        expect(() => lsh.keys(wrong)).toThrow(type);
        expect(() => lsh.searchBatch([wrong], { k: 1 })).toThrow(type);
      }
      expect(() => lsh.add(queries[0] as unknown as Uint32Array[])).toThrow(
        'sets: expected an array of Uint32Arrays, got Uint32Array',
      );
      expect(() => lsh.add([queries[0], 'x' as unknown as Uint32Array])).toThrow(
        'sets[1]: expected a Uint32Array, got "x"',
      );
      expect(() => lsh.add(Array(2) as Uint32Array[])).toThrow(type);
      expect(() => lsh.add([detached(Uint32Array.of(1))])).toThrow(
        expect.objectContaining({ code: 'ERR_DETACHED' }),
      );
      expect(() => lsh.search(queries[0], { k: 0 })).toThrow(/k: expected an integer from 1/);
      expect(() => lsh.searchBatch(queries, { k: 2 ** 31 })).toThrow(
        expect.objectContaining({ code: 'ERR_TOO_LARGE' }),
      );
      expect(() => lsh.bucket(3, 0)).toThrow(/table: expected an integer from 0 to 2, got 3/);
      expect(lsh.searchBatch(queries, { k: 5 })).toEqual(before);
    }
    expect(lsh.size).toBe(100);
  });
});

describe('shingles', () => {
  it('hashes every n code points as MurmurHash3 does their UTF-32LE', () => {
    expect([...shingles('a', 1)]).toEqual([1455541201]);
    expect([...shingles('abc', 3)]).toEqual([2616614272]);
    expect([...shingles('é𝄞x', 3)]).toEqual([3355972110]);
    const points = Uint32Array.from('banana', (letter) => letter.codePointAt(0)!);
    const bigrams = ['ba', 'an', 'na'].map((_, i) => reference.murmur(points.subarray(i, i + 2)));
    expect([...shingles('banana', 2)]).toEqual(bigrams.sort((a, b) => a - b));
  });

  it('takes a shorter text as one n-gram, and the empty text as the empty set', () => {
    expect([...shingles('abc', 9)]).toEqual([...shingles('abc', 3)]);
    expect(shingles('', 3).length).toBe(0);
    expect(shingles('\ud800', 1).length).toBe(1);
  });

  it('stands in ascending order, each number once', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme', maxLength: 60 }),
        fc.integer({ min: 1, max: 12 }),
        (text, n) => {
          const set = shingles(text, n);
          for (let i = 1; i < set.length; i++) expect(set[i]).toBeGreaterThan(set[i - 1]);
          expect(set.length).toBeLessThanOrEqual(Math.max(1, [...text].length - n + 1));
        },
      ),
    );
  });

  it('refuses what is no text, and n out of range', () => {
    expect(() => shingles(7 as unknown as string, 3)).toThrow('text: expected a string, got 7');
    expect(() => shingles('a', 0)).toThrow(/n: expected an integer from 1 to 1024, got 0/);
    expect(() => shingles('a', 1025)).toThrow(RangeError);
  });
});

describe('a snapshot of a MinHashLsh with removed sets', () => {
  it.each([[[]], [[0]], [[5]], [[19]], [[0, 1, 7, 8, 9, 19]], [[2, 4, 6]]])(
    'without %j has the others as they were',
    (gone) => {
      const next = uniform(4);
      const sets = Array.from({ length: 20 }, (_, i) =>
        Uint32Array.from({ length: i % 4 }, () => Math.floor(next() * 40)),
      );
      const lsh = new MinHashLsh({ bands: 4, rows: 1, seed: 1 });
      lsh.add(sets);
      lsh.remove(gone);
      const again = MinHashLsh.load(lsh.save());
      expect(again.size).toBe(20 - gone.length);
      for (const set of sets) {
        expect(again.search(set, { k: 20 })).toEqual(lsh.search(set, { k: 20 }));
        expect(again.candidates(set)).toEqual(lsh.candidates(set));
      }
      expect(again.save()).toEqual(lsh.save());
    },
  );

  it('names the set that was wrong, where there are many', () => {
    const lsh = new MinHashLsh({ bands: 4, rows: 1, seed: 1 });
    const wrong = [Uint32Array.of(1), new Float32Array(2)] as never;
    const refusal = { name: 'TypeError', code: 'ERR_ARGUMENT_TYPE' };
    expect(thrownBy(() => lsh.add(wrong))).toMatchObject(refusal);
    expect(thrownBy(() => lsh.add(wrong)).message).toMatch(
      /^sets\[1\]: expected a Uint32Array, got Float32Array of 2/,
    );
    expect(thrownBy(() => lsh.add(new Uint32Array(3) as never))).toMatchObject(refusal);
    expect(thrownBy(() => lsh.signature([1] as never)).message).toMatch(/^set: expected a Uint32Array/);
  });
});

describe('distinct', () => {
  it('gives each element once, ascending, and the set itself where it stands so', () => {
    for (const set of [[], [7], [0, 1, 2 ** 32 - 1]].map((elements) => Uint32Array.from(elements)))
      expect(distinct(set)).toBe(set);
    for (const elements of [
      [3, 3],
      [1, 1, 2],
      [1, 2, 2],
      [2, 1],
      [5, 5, 0, 9, 0],
    ]) {
      const set = Uint32Array.from(elements);
      expect([...distinct(set)]).toEqual([...new Set(elements)].sort((a, b) => a - b));
      expect([...set]).toEqual(elements);
    }
  });
});
