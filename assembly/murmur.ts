// MurmurHash3_x86_32 with seed 0 over 32-bit words (A. Appleby, 2011, public domain): how more than 32 bits become a key.
//
//     h = 0;  h = mixWord(h, w) for each word;  finish(h ^ number of bytes)
//
// `finish` alone permutes the 32-bit words: different words stay different.

// @ts-ignore: decorator
@inline
export function mixWord(h: u32, word: u32): u32 {
  return rotl<u32>(h ^ (rotl<u32>(word * 0xcc9e2d51, 15) * 0x1b873593), 13) * 5 + 0xe6546b64;
}

// @ts-ignore: decorator
@inline
export function finish(h: u32): u32 {
  h = (h ^ (h >> 16)) * 0x85ebca6b;
  h = (h ^ (h >> 13)) * 0xc2b2ae35;
  return h ^ (h >> 16);
}

/** The same in each of four lanes. */
// @ts-ignore: decorator
@inline
export function mixWords(h: v128, words: v128): v128 {
  let k = i32x4.mul(words, i32x4.splat(0xcc9e2d51));
  k = i32x4.mul(v128.or(i32x4.shl(k, 15), i32x4.shr_u(k, 17)), i32x4.splat(0x1b873593));
  h = v128.xor(h, k);
  h = v128.or(i32x4.shl(h, 13), i32x4.shr_u(h, 19));
  return i32x4.add(i32x4.mul(h, i32x4.splat(5)), i32x4.splat(0xe6546b64));
}

/** The same in each of four lanes. */
// @ts-ignore: decorator
@inline
export function finishWords(h: v128): v128 {
  h = i32x4.mul(v128.xor(h, i32x4.shr_u(h, 16)), i32x4.splat(0x85ebca6b));
  h = i32x4.mul(v128.xor(h, i32x4.shr_u(h, 13)), i32x4.splat(0xc2b2ae35));
  return v128.xor(h, i32x4.shr_u(h, 16));
}
