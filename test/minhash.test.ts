import { describe, expect, it } from 'vitest';
import { Arena, expectSameBits, uniform } from './arena.js';
import * as reference from './reference.js';

const arena = new Arena(16);
const LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 63, 64, 65, 100, 784];

function wordsOf(count: number, limit: number, seed: number): Uint32Array {
  const next = uniform(seed);
  return Uint32Array.from({ length: count }, () => next() * limit);
}

/** A set in ascending order; small limits give sets that overlap. */
function setOf(count: number, limit: number, seed: number): Uint32Array {
  return Uint32Array.from(new Set(wordsOf(count, limit, seed))).sort();
}

describe('minHash', () => {
  it.each([16, 32, 48])('finds the least hashes by %i functions', (functions) => {
    const drawn = wordsOf(2 * functions, 2 ** 32, functions).map((word, i) =>
      i < functions ? word | 1 : word,
    );
    for (const length of LENGTHS) {
      arena.reset();
      const set = wordsOf(length, 2 ** 32, length);
      if (length > 2) set.set([0, 2 ** 32 - 1]);
      const setPtr = arena.inputAtEnd(set);
      const functionsPtr = arena.input(drawn);
      const mixed = arena.output(4 * length);
      const out = arena.output(4 * functions);
      arena.run((kernels) => kernels.minHash(setPtr, length, functionsPtr, functions, mixed, out));
      const expected = reference.minHash(set, drawn.subarray(0, functions), drawn.subarray(functions));
      expectSameBits(arena.words(out, functions), expected, `${length} features`);
    }
  });
});

describe('bandKeys', () => {
  it('hashes each band as MurmurHash3_x86_32 does', () => {
    for (const rows of [1, 2, 5, 13]) {
      arena.reset();
      const signature = wordsOf(3 * rows, 2 ** 32, rows);
      const from = arena.inputAtEnd(signature);
      const out = arena.output(4 * 7, new Uint32Array(7));
      arena.run((kernels) => kernels.bandKeys(from, 3, rows, 3, out));
      const [a, b, c] = [0, 1, 2].map((i) => reference.murmur(signature.subarray(i * rows, (i + 1) * rows)));
      expect([...arena.words(out, 7)]).toEqual([a, 0, 0, b, 0, 0, c]);
    }
  });
});

describe('jaccardGathered', () => {
  it.each([0, 1, 3, 4, 5, 8, 9, 16, 63, 64, 65, 784])('compares a set of up to %i elements', (length) => {
    for (const limit of [8, 100, 2000, 2 ** 32]) {
      const query = setOf(length, limit, 1);
      const sets = LENGTHS.map((count) => setOf(count, limit, count + 2));
      sets.push(query);
      const starts = Uint32Array.from({ length: sets.length + 1 }, (_, i) =>
        sets.slice(0, i).reduce((sum, set) => sum + set.length, 0),
      );
      const features = new Uint32Array(starts[sets.length]);
      sets.forEach((set, i) => {
        features.set(set, starts[i]);
      });
      const ids = Uint32Array.from(sets, (_, i) => sets.length - 1 - i);
      arena.reset();
      const queryPtr = arena.input(query);
      const featuresPtr = arena.inputAtEnd(features);
      const startsPtr = arena.input(starts);
      const idsPtr = arena.input(ids);
      const out = arena.output(4 * ids.length);
      arena.run((kernels) =>
        kernels.jaccardGathered(queryPtr, query.length, featuresPtr, startsPtr, idsPtr, ids.length, out),
      );
      const expected = Float32Array.from(ids, (id) => reference.jaccard(query, sets[id]));
      expectSameBits(arena.floats(out, ids.length), expected, `below ${limit}`);
    }
  });

  it('is 0 between empty sets and 1 between the empty set and another', () => {
    expect(reference.jaccard(new Uint32Array(0), new Uint32Array(0))).toBe(0);
    expect(reference.jaccard(new Uint32Array(0), Uint32Array.of(7))).toBe(1);
  });
});
