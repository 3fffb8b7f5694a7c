import { describe, expect, it } from 'vitest';
import { Arena, COUNTS, expectSameBits, uniform } from './arena.js';
import * as reference from './reference.js';

const arena = new Arena(32);
/** Words of 64 bits; 2 has a path of its own. */
const WORDS = [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 100, 784];

function codesOf(count: number, words: number, seed: number): Uint8Array {
  const next = uniform(seed);
  return Uint8Array.from({ length: count * words * 8 }, () => next() * 256);
}

function distances(query: Uint8Array, codes: Uint8Array, ids: Iterable<number>): Float32Array {
  const bytes = query.length;
  return Float32Array.from(ids, (id) =>
    reference.hamming(codes.subarray(id * bytes, (id + 1) * bytes), query),
  );
}

/** Counts become floats 512 at a time. */
const LONG_COUNTS = [511, 512, 1024 + 13];

describe('hamming', () => {
  it.each(WORDS)('counts the differing bits of codes of %i words at every count', (words) => {
    for (const count of words < 4 ? [...COUNTS, ...LONG_COUNTS] : COUNTS) {
      arena.reset();
      const query = codesOf(1, words, 1);
      const codes = codesOf(count, words, 2);
      const queryPtr = arena.input(query);
      const codesPtr = arena.inputAtEnd(codes);
      const out = arena.output(4 * count);
      arena.run((kernels) => kernels.hamming(queryPtr, codesPtr, count, words, out));
      const expected = distances(query, codes, Array(count).keys());
      expectSameBits(arena.floats(out, count), expected, `${count} codes of ${words} words`);
    }
  });

  it.each(WORDS)('gives the same counts for gathered codes of %i words', (words) => {
    const codes = codesOf(12, words, 3);
    for (const count of COUNTS) {
      arena.reset();
      const next = uniform(count);
      const ids = Uint32Array.from({ length: count }, () => Math.floor(next() * 12)); // some of them twice
      const query = codesOf(1, words, 4);
      const queryPtr = arena.input(query);
      const codesPtr = arena.input(codes);
      const idsPtr = arena.inputAtEnd(ids);
      const out = arena.output(4 * count);
      arena.run((kernels) => kernels.hammingGathered(queryPtr, codesPtr, idsPtr, count, words, out));
      expectSameBits(
        arena.floats(out, count),
        distances(query, codes, ids),
        `${count} ids of ${words} words`,
      );
    }
  });

  it('is 0 between equal codes and every bit between opposite ones', () => {
    arena.reset();
    const code = codesOf(1, 3, 5);
    const queryPtr = arena.input(code);
    const codesPtr = arena.input(new Uint8Array([...code, ...code.map((byte) => ~byte)]));
    const out = arena.output(8);
    arena.run((kernels) => kernels.hamming(queryPtr, codesPtr, 2, 3, out));
    expect([...arena.floats(out, 2)]).toEqual([0, 192]);
  });
});
