import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BitSamplingLsh, type BitSamplingLshOptions } from '../src/bit-sampling-lsh.js';
import { exactHamming } from '../src/codes.js';
import { candidateProbability, collisionProbability } from '../src/probability.js';
import { RandomGenerator } from '../src/random.js';
import { expectSameBits, uniform } from './arena.js';
import { detached, expectPlainAnswers, expectQueryOf } from './lookups.js';
import * as reference from './reference.js';

/** Codes that share many bits: each of a few centers with some bits flipped. Spare bits are zeros. */
function codesOf(count: number, bits: number, seed: number): Uint8Array {
  const next = uniform(seed);
  const bytes = Math.ceil(bits / 8);
  const codes = new Uint8Array(count * bytes);
  for (let r = 0; r < count; r++) {
    const center = Math.floor(next() * 3);
    for (let i = 0; i < bits; i++) {
      const bit = (i * (center + 1)) % 3 === 0;
      if (bit !== next() < 0.1) codes[r * bytes + Math.floor(i / 8)] |= 1 << (i % 8);
    }
  }
  return codes;
}

function rowOf(codes: Uint8Array, row: number, bits: number): Uint8Array {
  const bytes = Math.ceil(bits / 8);
  return codes.subarray(row * bytes, (row + 1) * bytes);
}

function keysOf(codes: Uint8Array, bits: number, positions: Uint32Array, tables: number): Uint32Array[] {
  return Array.from({ length: codes.length / Math.ceil(bits / 8) }, (_, r) =>
    reference.sampledKeys(rowOf(codes, r, bits), positions, tables),
  );
}

/** Fails unless the index answers as tables in plain words do. */
function expectPlain(lsh: BitSamplingLsh, codes: Uint8Array, queries: Uint8Array, k: number): void {
  const { bits, positions, tables } = lsh;
  const rowKeys = keysOf(codes, bits, positions, tables);
  keysOf(queries, bits, positions, tables).forEach((keys, q) => {
    const query = rowOf(queries, q, bits);
    const distanceTo = (id: number): number => reference.hamming(rowOf(codes, id, bits), query);
    expectPlainAnswers(lsh, query, keys, rowKeys, k, distanceTo);
  });
}

describe('BitSamplingLsh', () => {
  it('hashes, gathers and ranks as the plain structure does', () => {
    const cases = fc.record({
      bits: fc.integer({ min: 1, max: 200 }),
      sampledBits: fc.integer({ min: 1, max: 70 }),
      tables: fc.integer({ min: 1, max: 6 }),
      rows: fc.integer({ min: 0, max: 400 }),
      k: fc.integer({ min: 1, max: 30 }),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(cases, ({ bits, sampledBits, tables, rows, k, seed }) => {
        using lsh = new BitSamplingLsh({ bits, sampledBits, tables, seed });
        const codes = codesOf(rows, bits, seed);
        expect(lsh.add(codes)).toBe(0);
        expect(lsh.size).toBe(rows);
        expectPlain(lsh, codes, codesOf(3, bits, seed + 1), k);
      }),
      { numRuns: 60 },
    );
  });

  it.each([8, 16, 64, 72, 1024, 65536])('takes codes of %i bits', (bits) => {
    const codes = codesOf(20, bits, bits);
    using lsh = new BitSamplingLsh({ bits, sampledBits: 9, tables: 3, seed: 5 });
    lsh.add(codes);
    expectPlain(lsh, codes, codes.subarray(0, (3 * bits) / 8), 4);
    expect(lsh.search(rowOf(codes, 7, bits), { k: 20 }).distances[0]).toBe(0);
  });

  it.each([1, 31, 32, 33, 64, 1000, 65536])('samples %i bits', (sampledBits) => {
    const codes = codesOf(sampledBits > 1000 ? 40 : 300, 24, 1);
    using lsh = new BitSamplingLsh({ bits: 24, sampledBits, tables: 2, seed: 5 });
    lsh.add(codes);
    expectPlain(lsh, codes, codes.subarray(0, 9), 4);
  });

  it('takes 256 tables', () => {
    const codes = codesOf(60, 40, 1);
    using lsh = new BitSamplingLsh({ bits: 40, sampledBits: 13, tables: 256 });
    lsh.add(codes);
    expectPlain(lsh, codes, codes.subarray(0, 5), 3);
  });

  it('samples the bits that NumPy draws, from a number or a bigint', () => {
    // numpy.random.default_rng(5).integers(1000, size=(3, 4)), and of 2**70 + 3: integers(65536, size=(2, 5))
    using small = new BitSamplingLsh({ bits: 1000, sampledBits: 4, tables: 3, seed: 5 });
    expect([...small.positions]).toEqual([670, 805, 22, 807, 468, 515, 630, 285, 979, 53, 277, 383]);
    using large = new BitSamplingLsh({ bits: 65536, sampledBits: 5, tables: 2, seed: 2n ** 70n + 3n });
    expect([...large.positions]).toEqual([9293, 27550, 17708, 18735, 2602, 6964, 32929, 19459, 16425, 24849]);
    using byDefault = new BitSamplingLsh({ bits: 1000, sampledBits: 4, tables: 3 });
    const random = new RandomGenerator(0);
    expect([...byDefault.positions]).toEqual(Array.from({ length: 12 }, () => random.integer(1000)));
  });

  it("weighs the bits of the caller's own sample by their place", () => {
    const positions = Uint32Array.of(0, 9, 15, 8, 8, 1);
    using lsh = new BitSamplingLsh({ bits: 16, sampledBits: 3, tables: 2, positions });
    expectSameBits(lsh.positions, positions, 'positions');
    expect([...lsh.keys(Uint8Array.of(0b0000_0001, 0b1000_0000))]).toEqual([0b101, 0]);
    expect([...lsh.keys(Uint8Array.of(0b0000_0010, 0b0000_0001))]).toEqual([0, 0b111]);
  });

  it('answers the same however its rows are split', () => {
    const [bits, rows] = [36, 330];
    const codes = codesOf(rows, bits, 1);
    const queries = codesOf(3, bits, 2);
    const answers = (lsh: BitSamplingLsh): unknown[] => [
      lsh.searchBatch(queries, { k: 9 }),
      lsh.candidates(rowOf(queries, 1, bits)),
      lsh.size,
      lsh.stats().average,
    ];
    for (const sampledBits of [6, 40]) {
      using whole = new BitSamplingLsh({ bits, sampledBits, tables: 3 });
      whole.add(codes);
      const expected = answers(whole);
      for (let cut = 0; cut <= rows; cut++) {
        using lsh = new BitSamplingLsh({ bits, sampledBits, tables: 3 });
        expect(lsh.add(codes.subarray(0, cut * 5))).toBe(0);
        expect(lsh.add(codes.subarray(cut * 5))).toBe(cut);
        expect(answers(lsh), `cut at ${cut}`).toEqual(expected);
      }
    }
  });

  it('answers rightly after every one of many small additions', () => {
    const codes = codesOf(900, 20, 1);
    using lsh = new BitSamplingLsh({ bits: 20, sampledBits: 8, tables: 3 });
    const rowKeys = keysOf(codes, 20, lsh.positions, 3);
    const query = codesOf(1, 20, 2);
    const [keys] = keysOf(query, 20, lsh.positions, 3);
    for (let rows = 0; rows < 900; ) {
      const end = Math.min(900, rows + 1 + ((rows * 7) % 5));
      expect(lsh.add(codes.subarray(rows * 3, end * 3))).toBe(rows);
      rows = end;
      const distanceTo = (id: number): number => reference.hamming(rowOf(codes, id, 20), query);
      if (rows % 10 === 0) expectPlainAnswers(lsh, query, keys, rowKeys.slice(0, rows), 12, distanceTo);
    }
  });

  it('gives a batch what it gives each query', () => {
    for (const bits of [64, 100]) {
      using lsh = new BitSamplingLsh({ bits, sampledBits: 12, tables: 3 });
      const queries = codesOf(150, bits, 2);
      expect([...lsh.searchBatch(queries, { k: 4 }).counts]).toEqual(Array(150).fill(0));
      lsh.add(codesOf(500, bits, 1));
      const batch = lsh.searchBatch(queries, { k: 12 });
      for (let q = 0; q < 150; q++) {
        expectQueryOf(batch, q, 12, lsh.search(rowOf(queries, q, bits), { k: 12 }));
      }
      expect(lsh.searchBatch(new Uint8Array(0), { k: 3 }).ids.length).toBe(0);
    }
  });

  it('ranks equal distances by id', () => {
    using lsh = new BitSamplingLsh({ bits: 8, sampledBits: 1, tables: 1, positions: Uint32Array.of(0) });
    lsh.add(Uint8Array.of(0b1111, 0b0011, 0b0101, 0b1001, 0b0001, 0b0011));
    const { ids, distances } = lsh.search(Uint8Array.of(0b0001), { k: 5 });
    expect([...ids]).toEqual([4, 1, 2, 3, 5]);
    expect([...distances]).toEqual([0, 1, 1, 1, 1]);
  });

  it('is as good as exact search where every row is a candidate', () => {
    const codes = codesOf(400, 64, 1);
    using lsh = new BitSamplingLsh({ bits: 64, sampledBits: 1, tables: 256 });
    lsh.add(codes);
    for (let q = 0; q < 10; q++) {
      const query = rowOf(codes, q, 64);
      expect(lsh.candidates(query).length).toBe(400);
      expect(lsh.search(query, { k: 20 })).toEqual(exactHamming(codes, query, { k: 20 }));
    }
  });

  it.each([
    [1, 10],
    [5, 20],
    [20, 40],
  ])('collides as often as expected with %i tables of %i sampled bits', (tables, sampledBits) => {
    const bits = 256;
    for (const distance of [2, 8, 24]) {
      // One row at this distance, and one index for each seed: every draw of the sample is independent.
      const row = new Uint8Array(bits / 8);
      for (let i = 0; i < distance; i++) row[(i * 5) % 32] ^= 1 << Math.floor((i * 5) / 32);
      let inOneTable = 0;
      let inAny = 0;
      const trials = 800;
      for (let seed = 0; seed < trials; seed++) {
        using lsh = new BitSamplingLsh({ bits, sampledBits, tables, seed });
        const keys = lsh.keys(row);
        const equal = lsh.keys(new Uint8Array(bits / 8)).filter((key, t) => key === keys[t]).length;
        inOneTable += equal / tables;
        inAny += equal > 0 ? 1 : 0;
      }
      expect(reference.hamming(row, new Uint8Array(bits / 8))).toBe(distance);
      const single = collisionProbability({ bits, distance, sampledBits });
      const any = collisionProbability({ bits, distance, sampledBits, tables });
      expect(any).toBe(candidateProbability(1 - distance / bits, { bits: sampledBits, tables }));
      const fourErrors = (p: number, draws: number): number => 4 * Math.sqrt((p * (1 - p)) / draws) + 1e-9;
      expect(Math.abs(inOneTable / trials - single)).toBeLessThan(fourErrors(single, trials * tables));
      expect(Math.abs(inAny / trials - any)).toBeLessThan(fourErrors(any, trials));
    }
  });

  it('counts its buckets', () => {
    using lsh = new BitSamplingLsh({ bits: 32, sampledBits: 5, tables: 3 });
    expect(lsh.stats()).toMatchObject({ rows: 0, buckets: 0, average: 0, largest: 0, skew: 0 });
    lsh.add(codesOf(300, 32, 1));
    const sizes = Array.from({ length: 3 * 32 }, (_, i) => lsh.bucket(Math.floor(i / 32), i % 32).length);
    const filled = sizes.filter((size) => size > 0);
    expect(lsh.stats()).toMatchObject({
      rows: 300,
      buckets: filled.length,
      average: 900 / filled.length,
      largest: Math.max(...sizes),
    });
    expect(lsh.stats().memory.codes).toBeGreaterThanOrEqual(300 * 8);
  });

  it('tells what would give more neighbors', () => {
    using lsh = new BitSamplingLsh({ bits: 64, sampledBits: 40, tables: 1 });
    lsh.add(codesOf(100, 64, 1));
    const query = new Uint8Array(8).fill(0x5a);
    expect(lsh.explain(query, { k: 101 }).shortfall).toBe('the index has 100 rows, fewer than k = 101');
    expect(lsh.explain(query, { k: 100 }).shortfall).toMatch(
      /^the visited buckets hold \d+ of 100 rows, fewer than k = 100; more tables, or fewer sampled bits, give more$/,
    );
  });

  it('refuses everything once it is disposed of', () => {
    const lsh = new BitSamplingLsh({ bits: 8, sampledBits: 2, tables: 1 });
    const code = Uint8Array.of(1);
    lsh.add(code);
    lsh.dispose();
    lsh.dispose();
    const error = expect.objectContaining({ name: 'TypeError', code: 'ERR_DISPOSED' });
    for (const call of [
      () => lsh.add(code),
      () => lsh.keys(code),
      () => lsh.bucket(0, 0),
      () => lsh.candidates(code),
      () => lsh.search(code, { k: 1 }),
      () => lsh.searchBatch(code, { k: 1 }),
      () => lsh.explain(code, { k: 1 }),
      () => lsh.stats(),
      () => lsh.size,
      () => lsh.positions,
    ]) {
      expect(call).toThrow(error);
    }
  });
});

describe('BitSamplingLsh refuses', () => {
  const good = { bits: 12, sampledBits: 5, tables: 2 };

  it.each([
    ['bits', 0],
    ['bits', 65537],
    ['bits', 2.5],
    ['sampledBits', 0],
    ['sampledBits', 65537],
    ['tables', 0],
    ['tables', 257],
  ])('%s = %s', (name, value) => {
    expect(() => new BitSamplingLsh({ ...good, [name]: value })).toThrow(
      expect.objectContaining({
        name: 'RangeError',
        code: 'ERR_ARGUMENT_RANGE',
        message: expect.stringMatching(`^${name}: expected an integer from 1 to .*, got ${value}$`),
      }),
    );
  });

  it('options of another kind', () => {
    const error = expect.objectContaining({ name: 'TypeError', code: 'ERR_ARGUMENT_TYPE' });
    for (const options of [
      undefined,
      null,
      128,
      {},
      { ...good, bits: '12' },
      { ...good, seed: '0' },
      { ...good, positions: [1, 2] },
    ] as unknown as BitSamplingLshOptions[]) {
      expect(() => new BitSamplingLsh(options)).toThrow(error);
    }
    expect(() => new BitSamplingLsh({ ...good, seed: -1 })).toThrow(RangeError);
  });

  it("the caller's sample of the wrong size, beyond the code, or detached", () => {
    expect(() => new BitSamplingLsh({ ...good, positions: new Uint32Array(9) })).toThrow(
      'positions: expected 10 numbers (2 tables × 5 sampled bits), got 9',
    );
    const positions = new Uint32Array(10);
    positions[7] = 12;
    expect(() => new BitSamplingLsh({ ...good, positions })).toThrow(
      'positions: expected numbers from 0 to 11, got 12 at 7',
    );
    expect(() => new BitSamplingLsh({ ...good, positions: detached(new Uint32Array(10)) })).toThrow(
      expect.objectContaining({ code: 'ERR_DETACHED' }),
    );
  });

  it('codes and queries of another kind, length or value, and stays as it was', () => {
    using lsh = new BitSamplingLsh(good);
    const queries = codesOf(4, 12, 2);
    const query = rowOf(queries, 0, 12);
    const calls: ((codes: Uint8Array) => unknown)[] = [
      (codes) => lsh.add(codes),
      (codes) => lsh.keys(codes),
      (codes) => lsh.candidates(codes),
      (codes) => lsh.search(codes, { k: 1 }),
      (codes) => lsh.searchBatch(codes, { k: 1 }),
      (codes) => lsh.explain(codes, { k: 1 }),
    ];
    for (const rows of [0, 300, 20]) {
      lsh.add(codesOf(rows, 12, rows));
      const before = lsh.searchBatch(queries, { k: 7 });
      for (const call of calls) {
        for (const wrong of [[1, 2], new Float32Array(2), null, undefined] as unknown as Uint8Array[]) {
          expect(() => call(wrong)).toThrow(
            expect.objectContaining({ name: 'TypeError', code: 'ERR_ARGUMENT_TYPE' }),
          );
        }
        const gone = detached(new Uint8Array(2));
        expect(() => call(gone)).toThrow(expect.objectContaining({ code: 'ERR_DETACHED' }));
        expect(() => call(new Uint8Array(3))).toThrow(expect.objectContaining({ code: 'ERR_LENGTH' }));
        expect(() => call(Uint8Array.of(1, 16))).toThrow(
          /expected zeros behind bit 11, got a last byte of 16 in row 0$/,
        );
      }
      for (const k of [0, -1, 2.5, Number.NaN, 2 ** 32]) {
        const error = expect.objectContaining({ name: 'RangeError', code: 'ERR_ARGUMENT_RANGE' });
        expect(() => lsh.search(query, { k })).toThrow(error);
        expect(() => lsh.searchBatch(query, { k })).toThrow(error);
        expect(() => lsh.explain(query, { k })).toThrow(error);
      }
      expect(() => lsh.search(query, 5 as unknown as { k: number })).toThrow(/options: expected/);
      expect(() => lsh.searchBatch(query, { k: 2 ** 31 })).toThrow(
        expect.objectContaining({ code: 'ERR_TOO_LARGE' }),
      );
      expect(() => lsh.bucket(2, 0)).toThrow(/table: expected an integer from 0 to 1, got 2/);
      expect(() => lsh.bucket(0, 32)).toThrow(/key: expected an integer from 0 to 31, got 32/);
      expect(lsh.searchBatch(queries, { k: 7 })).toEqual(before);
    }
    expect(lsh.size).toBe(320);
  });
});

describe('removed codes', () => {
  it('are in no snapshot', () => {
    const next = uniform(5);
    const codes = Uint8Array.from({ length: 9 * 8 }, () => 1 + next() * 255);
    const lsh = new BitSamplingLsh({ bits: 64, sampledBits: 8, tables: 2, seed: 1 });
    lsh.add(codes);
    const whole = Buffer.from(lsh.save());
    lsh.remove([0, 4, 8]);
    const bytes = Buffer.from(lsh.save());
    for (let id = 0; id < 9; id++) {
      const code = Buffer.from(codes.subarray(8 * id, 8 * id + 8));
      expect(whole.includes(code)).toBe(true);
      expect(bytes.includes(code)).toBe(id % 4 !== 0);
    }
    const again = BitSamplingLsh.load(bytes);
    expect(Buffer.compare(Buffer.from(again.save()), bytes)).toBe(0);
    for (let id = 0; id < 9; id++) expect(again.has(id)).toBe(id % 4 !== 0);
  });
});

describe('thousands of candidates', () => {
  it('are ranked like all codes', () => {
    const next = uniform(6);
    const codes = Uint8Array.from({ length: 9000 * 4 }, () => next() * 256);
    const lsh = new BitSamplingLsh({ bits: 32, sampledBits: 1, tables: 12, seed: 1 });
    lsh.add(codes);
    for (let q = 0; q < 3; q++) {
      const query = codes.slice(4 * q, 4 * q + 4);
      expect(lsh.candidates(query).length).toBeGreaterThan(8000);
      const found = lsh.search(query, { k: 5 });
      const truth = exactHamming(codes, query, { k: 5 });
      expect([...found.distances]).toEqual([...truth.distances]);
      expect([...found.ids]).toEqual([...truth.ids]);
    }
  });
});
