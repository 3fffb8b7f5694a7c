// Signatures of sets: the least hash of any element, by many hash functions.
//
//     y = (mix(x) xor addend_i) · multiplier_i;   h_i(x) = (y xor floor(y / 2^16)) · multiplier_i   mod 2^32
//
// `mix` is `finish` of murmur.ts, once an element; a function then takes five instructions for four elements. Every step is a
// permutation, so equal minima mean the same element. The plain multiplier · mix(x) + addend is not enough: it
// takes 10 instead of 17 microseconds for 1,000 elements and 128 functions, but estimated the similarity of sets of three
// multiples of 65,536 wrong by up to 0.04.

import { finish, mixWord } from './murmur';

// h_i of four elements, or of one by four functions.
// @ts-ignore: decorator
@inline
function hash(mixed: v128, addends: v128, multipliers: v128): v128 {
  const y = i32x4.mul(v128.xor(mixed, addends), multipliers);
  return i32x4.mul(v128.xor(y, i32x4.shr_u(y, 16)), multipliers);
}

/**
 * signature[i] = min over x in set of h_i(x); 2^32 - 1 for the empty set
 *
 * set        u32 × count               read
 * functions  u32 × 2 × functionCount   read: multipliers, all odd, then addends
 * mixed      u32 × count               overwritten; may be `set` itself
 * signature  u32 × functionCount       written
 *
 * functionCount is a multiple of 16.
 */
export function minHash(
  set: usize,
  count: u32,
  functions: usize,
  functionCount: u32,
  mixed: usize,
  signature: usize,
): void {
  const bytes = (<usize>count) << 2;
  for (let i: usize = 0; i < bytes; i += 4) store<u32>(mixed + i, finish(load<u32>(set + i)));
  const addends = (<usize>functionCount) << 2;
  for (let f: usize = 0; f < addends; f += 64) {
    const at = functions + f;
    const m0 = v128.load(at);
    const m1 = v128.load(at, 16);
    const m2 = v128.load(at, 32);
    const m3 = v128.load(at, 48);
    const a0 = v128.load(at + addends);
    const a1 = v128.load(at + addends, 16);
    const a2 = v128.load(at + addends, 32);
    const a3 = v128.load(at + addends, 48);
    let least0 = i32x4.splat(-1);
    let least1 = least0;
    let least2 = least0;
    let least3 = least0;
    for (let i: usize = 0; i < bytes; i += 4) {
      const x = v128.load_splat<u32>(mixed + i);
      least0 = v128.min<u32>(least0, hash(x, a0, m0));
      least1 = v128.min<u32>(least1, hash(x, a1, m1));
      least2 = v128.min<u32>(least2, hash(x, a2, m2));
      least3 = v128.min<u32>(least3, hash(x, a3, m3));
    }
    v128.store(signature + f, least0);
    v128.store(signature + f, least1, 16);
    v128.store(signature + f, least2, 32);
    v128.store(signature + f, least3, 48);
  }
}

/**
 * keys[b] = MurmurHash3_x86_32 of the `rows` minima of band b (murmur.ts)
 *
 * signature  u32 × bands × rows        read
 * keys       u32 × bands × keyStride   written, the first of each band
 */
export function bandKeys(signature: usize, bands: u32, rows: u32, keyStride: u32, keys: usize): void {
  for (let b: u32 = 0; b < bands; b++) {
    let h: u32 = 0;
    for (const end = signature + ((<usize>rows) << 2); signature < end; signature += 4) h = mixWord(h, load<u32>(signature));
    store<u32>(keys, finish(h ^ (rows << 2)));
    keys += (<usize>keyStride) << 2;
  }
}
