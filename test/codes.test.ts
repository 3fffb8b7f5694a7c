import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { exactHamming, exactHammingBatch, signCode, unaryCode } from '../src/codes.js';
import type { Neighbors } from '../src/neighbors.js';
import { expectSameNeighbors, thrownBy } from './answers.js';
import { expectSameBits, uniform } from './arena.js';
import { detached, expectQueryOf, rankPlainly } from './lookups.js';
import * as reference from './reference.js';

function codesOf(count: number, bytes: number, seed: number): Uint8Array {
  const next = uniform(seed);
  return Uint8Array.from({ length: count * bytes }, () => next() * 256);
}

function rowOf(codes: Uint8Array, row: number, bytes: number): Uint8Array {
  return codes.subarray(row * bytes, (row + 1) * bytes);
}

function searchPlainly(codes: Uint8Array, query: Uint8Array, k: number): Neighbors {
  const ids = Uint32Array.from({ length: codes.length / query.length }, (_, i) => i);
  return rankPlainly(ids, k, (id) => reference.hamming(rowOf(codes, id, query.length), query));
}

describe('exactHamming', () => {
  it.each([8, 16, 64, 72, 128, 1024, 65536])('finds the nearest codes of %i bits', (bits) => {
    const bytes = bits / 8;
    const rows = bits > 1024 ? 9 : 70;
    const codes = codesOf(rows, bytes, bits);
    codes.copyWithin(40 * bytes, 0, 20 * bytes); // equal distances
    const queries = codesOf(5, bytes, 1);
    for (const k of [1, 8, 69, 70, 71, 1000]) {
      const batch = exactHammingBatch(codes, queries, { bits, k });
      for (let q = 0; q < 5; q++) {
        const query = rowOf(queries, q, bytes);
        const expected = searchPlainly(codes, query, k);
        expectSameNeighbors(exactHamming(codes, query, { k }), expected, `${k} of query ${q}`);
        expectQueryOf(batch, q, k, expected);
      }
    }
  });

  it.each([1, 7, 9, 63, 65, 100])('takes codes of %i bits, spare bits zeros', (bits) => {
    const bytes = Math.ceil(bits / 8);
    const codes = codesOf(50, bytes, bits).map((byte, i) =>
      i % bytes === bytes - 1 && bits % 8 ? byte & (2 ** (bits % 8) - 1) : byte,
    );
    const batch = exactHammingBatch(codes, codes, { bits, k: 3 });
    for (let q = 0; q < 50; q++) expectQueryOf(batch, q, 3, searchPlainly(codes, rowOf(codes, q, bytes), 3));
  });

  it('gives the same over many chunks of codes and several groups of queries', () => {
    for (const bytes of [16, 17]) {
      const codes = codesOf(21_000, bytes, bytes);
      const queries = codesOf(300, bytes, 2);
      const k = 20_000; // room for 209 queries at a time
      const batch = exactHammingBatch(codes, queries, { bits: 8 * bytes, k });
      for (const q of [208, 209]) {
        expectQueryOf(batch, q, k, searchPlainly(codes, rowOf(queries, q, bytes), k));
      }
    }
  });

  it('finds nothing in nothing, and nothing for no queries', () => {
    const none = new Uint8Array(0);
    expect(exactHamming(none, Uint8Array.of(1), { k: 3 }).ids.length).toBe(0);
    expect(exactHammingBatch(none, Uint8Array.of(1), { bits: 8, k: 2 })).toEqual({
      ids: Uint32Array.of(2 ** 32 - 1, 2 ** 32 - 1),
      distances: Float32Array.of(Infinity, Infinity),
      counts: Uint32Array.of(0),
    });
    expect(exactHammingBatch(Uint8Array.of(1), none, { bits: 8, k: 2 }).ids.length).toBe(0);
  });

  it('refuses codes of another kind or length, and spare bits that are set', () => {
    const code = new Uint8Array(4);
    const type = expect.objectContaining({ name: 'TypeError', code: 'ERR_ARGUMENT_TYPE' });
    for (const wrong of [[1, 2, 3, 4], new Float32Array(4), null] as unknown as Uint8Array[]) {
      expect(() => exactHamming(wrong, code, { k: 1 })).toThrow(type);
      expect(() => exactHamming(code, wrong, { k: 1 })).toThrow(type);
      expect(() => exactHammingBatch(code, wrong, { bits: 32, k: 1 })).toThrow(type);
    }
    expect(() => exactHamming(code, code, 3 as unknown as { k: number })).toThrow(type);
    expect(() => exactHamming(detached(new Uint8Array(4)), code, { k: 1 })).toThrow(
      'codes: expected a Uint8Array on a live buffer, got a detached one of 0 bytes',
    );
    expect(() => exactHamming(new Uint8Array(6), code, { k: 1 })).toThrow(
      'codes: expected a multiple of 4 bytes (one code of 32 bits each), got 6',
    );
    expect(() => exactHamming(code, new Uint8Array(0), { k: 1 })).toThrow(
      /query: expected 1 to 8192 bytes, got 0/,
    );
    expect(() => exactHamming(code, new Uint8Array(8193), { k: 1 })).toThrow(/got 8193/);
    expect(() => exactHamming(code, code, { k: 0 })).toThrow(/k: expected an integer from 1 .*, got 0/);
    expect(() => exactHammingBatch(code, code, { bits: 65537, k: 1 })).toThrow(/bits: expected/);
    expect(() => exactHammingBatch(code, code, { bits: 32, k: 2 ** 30 })).toThrow(
      expect.objectContaining({ name: 'RangeError', code: 'ERR_TOO_LARGE' }),
    );
    expect(() => exactHammingBatch(Uint8Array.of(255, 1, 0, 2), code, { bits: 9, k: 1 })).toThrow(
      'codes: expected zeros behind bit 8, got a last byte of 2 in row 1',
    );
  });
});

describe('unaryCode', () => {
  it('makes Hamming distances the sums of absolute differences', () => {
    const rows = fc.integer({ min: 1, max: 255 }).chain((maxValue) =>
      fc.record({
        maxValue: fc.constant(maxValue),
        values: fc.array(fc.tuple(fc.nat(maxValue), fc.nat(maxValue)), { minLength: 1, maxLength: 20 }),
      }),
    );
    fc.assert(
      fc.property(rows, ({ maxValue, values }) => {
        const dimensions = values.length;
        const both = Uint8Array.from([...values.map(([a]) => a), ...values.map(([, b]) => b)]);
        const codes = unaryCode(both, maxValue, { dimensions });
        const bytes = Math.ceil((dimensions * maxValue) / 8);
        expect(codes.length).toBe(2 * bytes);
        const distance = values.reduce((sum, [a, b]) => sum + Math.abs(a - b), 0);
        expect(reference.hamming(rowOf(codes, 0, bytes), rowOf(codes, 1, bytes))).toBe(distance);
      }),
    );
  });

  it('writes ones from the lowest bit on, rows one behind the other', () => {
    expect([...unaryCode(Uint8Array.of(0, 16, 3, 9), 16)]).toEqual([0, 0, 255, 255, 7, 0, 255, 1]);
    expect([...unaryCode(Uint8Array.of(3, 1, 2), 3)]).toEqual([0b11_001_111, 0]);
    expect([...unaryCode(Uint8Array.of(3, 1, 2, 0, 0, 3), 3, { dimensions: 3 })]).toEqual([
      0b11_001_111, 0, 0b11_000_000, 1,
    ]);
    expect(unaryCode(new Uint8Array(0), 16).length).toBe(0);
  });

  it('refuses values above the largest, and lengths that are no rows', () => {
    expect(() => unaryCode(Uint8Array.of(1, 2, 3, 17, 0, 0), 16, { dimensions: 3 })).toThrow(
      expect.objectContaining({
        name: 'RangeError',
        code: 'ERR_ARGUMENT_RANGE',
        message: 'values: expected integers from 0 to 16, got 17 in row 1, column 0',
      }),
    );
    expect(() => unaryCode(new Uint8Array(7), 16, { dimensions: 3 })).toThrow(
      'values: expected a multiple of 3 values (one row each), got 7',
    );
    expect(() => unaryCode(new Uint8Array(7), 0)).toThrow(
      /maxValue: expected an integer from 1 to 255, got 0/,
    );
    expect(() => unaryCode([1, 2] as unknown as Uint8Array, 3)).toThrow(TypeError);
    expect(() => unaryCode(detached(new Uint8Array(7)), 3)).toThrow(
      expect.objectContaining({ code: 'ERR_DETACHED' }),
    );
  });
});

describe('signCode', () => {
  it('sets a bit for each number that is not negative, -0 included', () => {
    expect([...signCode(Float32Array.of(1, -1, 0, -0, -2, 3, -4, 5, -1, 2), { dimensions: 5 })]).toEqual([
      0b01101, 0b10101,
    ]);
  });

  it.each([1, 8, 9, 64, 100])('packs %i dimensions as its rows stand alone', (dimensions) => {
    const next = uniform(dimensions);
    const vectors = Float32Array.from({ length: 7 * dimensions }, () => next() - 0.5);
    const bytes = Math.ceil(dimensions / 8);
    const codes = signCode(vectors, { dimensions });
    for (let r = 0; r < 7; r++) {
      const row = vectors.subarray(r * dimensions, (r + 1) * dimensions);
      const padded = new Float32Array(8 * bytes).fill(-1);
      padded.set(row);
      expectSameBits(rowOf(codes, r, bytes), reference.signBits(padded), `row ${r}`);
      expectSameBits(signCode(row, { dimensions }), rowOf(codes, r, bytes), `row ${r} alone`);
    }
  });

  it('refuses what is no row of finite floats', () => {
    expect(() => signCode(Float32Array.of(1, Number.NaN), { dimensions: 2 })).toThrow(
      /NaN in row 0, column 1/,
    );
    expect(() => signCode(new Float32Array(3), { dimensions: 2 })).toThrow(/multiple of 2 floats/);
    expect(() => signCode(new Float32Array(3), {} as { dimensions: number })).toThrow(/dimensions: expected/);
    expect(() => signCode(new Float64Array(3) as unknown as Float32Array, { dimensions: 3 })).toThrow(
      TypeError,
    );
  });
});

describe('refusals of codes', () => {
  const code = Uint8Array.of(1, 2);
  it.each([
    [
      'a part of a row',
      () => unaryCode(new Uint8Array(5), 3, { dimensions: 2 }),
      'RangeError ERR_LENGTH values: ',
    ],
    [
      'a query of no bytes',
      () => exactHamming(code, new Uint8Array(0), { k: 1 }),
      'RangeError ERR_LENGTH query: ',
    ],
    [
      'a query that is too long',
      () => exactHamming(code, new Uint8Array(8193), { k: 1 }),
      'RangeError ERR_LENGTH query: ',
    ],
    [
      'a part of a code',
      () => exactHamming(new Uint8Array(3), code, { k: 1 }),
      'RangeError ERR_LENGTH codes: ',
    ],
    ['no options', () => exactHamming(code, code, undefined as never), 'TypeError ERR_ARGUMENT_TYPE k: '],
    [
      'a number as options',
      () => exactHamming(code, code, 3 as never),
      'TypeError ERR_ARGUMENT_TYPE options: ',
    ],
    ['no bits', () => exactHammingBatch(code, code, { k: 1 } as never), 'TypeError ERR_ARGUMENT_TYPE bits: '],
    [
      'a number for a batch',
      () => exactHammingBatch(code, code, 3 as never),
      'TypeError ERR_ARGUMENT_TYPE options: ',
    ],
  ])('name the argument and have their code: %s', (_, call, text) => {
    const { name, code, message } = thrownBy(call);
    expect(`${name} ${code} ${message}`.slice(0, text.length)).toBe(text);
  });
});
