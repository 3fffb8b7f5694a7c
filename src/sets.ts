import { checkInteger, describe, typeError } from './check.js';

const MAX_LENGTH = 1024;

/**
 * The hashed n-grams of a text as a set of feature numbers, ascending, each once: what `MinHashLsh` takes.
 *
 * An n-gram is n code points in a row, blanks and punctuation included; case, accents and spacing are the caller's to
 * unify first. A text of fewer code points is one n-gram, itself, and the empty text is the empty set. The hash is
 * MurmurHash3_x86_32 with seed 0 over the n-gram in UTF-32LE, so other languages can make the same numbers. Different
 * n-grams share a number once in 2^32 pairs.
 *
 * Takes time in proportion to n times the length.
 *
 * @param text any string; a lone surrogate counts as a code point.
 * @param n 1 to 1,024; 3 to 9 are usual.
 * @throws TypeError for another kind of argument, RangeError for n out of range.
 */
export function shingles(text: string, n: number): Uint32Array {
  if (typeof text !== 'string') {
    throw typeError('ERR_ARGUMENT_TYPE', `text: expected a string, got ${describe(text)}`);
  }
  checkInteger('n', n, 1, MAX_LENGTH);
  const points = Uint32Array.from(text, (character) => character.codePointAt(0) as number);
  const length = Math.min(n, points.length);
  if (length === 0) return new Uint32Array(0);
  const hashes = new Uint32Array(points.length - length + 1);
  for (let i = 0; i < hashes.length; i++) hashes[i] = murmur(points, i, i + length);
  return distinct(hashes);
}

/** The elements of a set in ascending order, each once: the set itself where it stands so already, else a copy. */
export function distinct(set: Uint32Array): Uint32Array {
  let inOrder = 1;
  while (inOrder < set.length && set[inOrder - 1] < set[inOrder]) inOrder++;
  if (inOrder >= set.length) return set;
  const sorted = set.slice().sort();
  let count = 1;
  for (let i = 1; i < sorted.length; i++) {
    if (sorted[i] !== sorted[i - 1]) sorted[count++] = sorted[i];
  }
  return sorted.subarray(0, count);
}

/** MurmurHash3_x86_32 with seed 0 of words[from] … words[to - 1], as assembly/murmur.ts has it. */
function murmur(words: Uint32Array, from: number, to: number): number {
  let h = 0;
  for (let i = from; i < to; i++) {
    const k = Math.imul(words[i], 0xcc9e2d51);
    h ^= Math.imul((k << 15) | (k >>> 17), 0x1b873593);
    h = (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
  }
  h ^= 4 * (to - from);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
