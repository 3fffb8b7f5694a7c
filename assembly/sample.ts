// Bit sampling: keys made of sampled bits of packed codes. Bit i of a code is bit i % 8 of its byte floor(i / 8).
//
// Sixteen codes are turned so that lanes are codes: one comparison then reads one bit of all sixteen. A sampled bit takes
// 0.06 ns (128-bit codes, 16 tables of 20 bits); picking bits out of one code after the other takes 1.5 ns in JavaScript.

import { finishWords, mixWords } from './murmur';

/**
 * Spreads packed codes over whole words.
 *
 * packed  u8 × count × bytes        read
 * codes   u8 × count × 8 × words    written: each code ends in zeros
 *
 * bytes <= 8 · words. No alignment is asked for.
 */
export function padCodes(packed: usize, count: u32, bytes: u32, words: u32, codes: usize): void {
  const stride = (<usize>words) << 3;
  const whole = (<usize>bytes) & ~7;
  for (let r: u32 = 0; r < count; r++) {
    let k: usize = 0;
    for (; k < whole; k += 8) store<u64>(codes + k, load<u64>(packed + k, 0, 1));
    if (k < stride) {
      store<u64>(codes + k, 0);
      for (; k < <usize>bytes; k++) store<u8>(codes + k, load<u8>(packed + k));
    }
    packed += bytes;
    codes += stride;
  }
}

// Byte j of up to sixteen codes becomes the vector at planes + 16 j. Lanes without a code keep what they had.
// @ts-ignore: decorator
@inline
function turn(codes: usize, count: u32, stride: usize, planes: usize): void {
  for (let r: usize = 0; r < <usize>count; r++) {
    let plane = planes + r;
    for (const end = codes + stride; codes < end; codes += 8) {
      const word = load<u64>(codes);
      store<u8>(plane, word);
      store<u8>(plane, word >> 8, 16);
      store<u8>(plane, word >> 16, 32);
      store<u8>(plane, word >> 24, 48);
      store<u8>(plane, word >> 32, 64);
      store<u8>(plane, word >> 40, 80);
      store<u8>(plane, word >> 48, 96);
      store<u8>(plane, word >> 56, 112);
      plane += 128;
    }
  }
}

// Up to eight sampled bits of sixteen codes, a byte a code; those at and beyond `end` are zeros.
// @ts-ignore: decorator
@inline
function sampleBytes(planes: usize, position: usize, end: usize): v128 {
  let bytes = i8x16.splat(0);
  for (let p = min(position + 32, end); p > position; ) {
    p -= 4;
    const at = load<u32>(p);
    const bit = i8x16.splat(<i8>(<u32>1 << (at & 7)));
    const isSet = i8x16.eq(v128.and(v128.load(planes + ((<usize>at >> 3) << 4)), bit), bit);
    bytes = i8x16.sub(i8x16.add(bytes, bytes), isSet);
  }
  return bytes;
}

// Up to 32 sampled bits of sixteen codes, a word a code: 64 bytes at `out`.
// @ts-ignore: decorator
@inline
function sampleWords(planes: usize, position: usize, end: usize, out: usize): void {
  const b0 = sampleBytes(planes, position, end);
  const b1 = sampleBytes(planes, position + 32, end);
  const b2 = sampleBytes(planes, position + 64, end);
  const b3 = sampleBytes(planes, position + 96, end);
  let low = v128.shuffle<u8>(b0, b1, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  let high = v128.shuffle<u8>(b2, b3, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  v128.store(out, v128.shuffle<u16>(low, high, 0, 8, 1, 9, 2, 10, 3, 11));
  v128.store(out, v128.shuffle<u16>(low, high, 4, 12, 5, 13, 6, 14, 7, 15), 16);
  low = v128.shuffle<u8>(b0, b1, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  high = v128.shuffle<u8>(b2, b3, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  v128.store(out, v128.shuffle<u16>(low, high, 0, 8, 1, 9, 2, 10, 3, 11), 32);
  v128.store(out, v128.shuffle<u16>(low, high, 4, 12, 5, 13, 6, 14, 7, 15), 48);
}

/**
 * keys[t, r] = the sampled bits of codes[r] in table t: bit positions[t, i] weighs 2^i. Of more than 32 bits, 32 make a
 * word, and the key is the words' MurmurHash3_x86_32 (murmur.ts).
 *
 * codes      u64 × count × words              read
 * positions  u32 × tables × sampledBits       read, each below 64 · words
 * scratch    u8 × (128 + 128 × words)         overwritten
 * keys       u32 × tables × keyStride         written, `count` of each table
 */
export function sampleKeys(
  codes: usize,
  count: u32,
  words: u32,
  positions: usize,
  tables: u32,
  sampledBits: u32,
  scratch: usize,
  keyStride: u32,
  keys: usize,
): void {
  const stride = (<usize>words) << 3;
  const sampledBytes = (<usize>sampledBits) << 2;
  const hashedBytes: u32 = ((sampledBits + 31) >> 5) << 2;
  const hashes = scratch + 64;
  const planes = scratch + 128;
  for (let first: u32 = 0; first < count; first += 16) {
    const n = min<u32>(16, count - first);
    turn(codes, n, stride, planes);
    codes += stride << 4;
    let out = keys + ((<usize>first) << 2);
    let position = positions;
    for (let t: u32 = 0; t < tables; t++) {
      const end = position + sampledBytes;
      const to = n == 16 ? out : scratch;
      if (sampledBits <= 32) {
        sampleWords(planes, position, end, to);
      } else {
        for (let lane: usize = 0; lane < 64; lane += 16) v128.store(hashes + lane, i64x2.splat(0));
        for (; position < end; position += 128) {
          sampleWords(planes, position, end, scratch);
          for (let lane: usize = 0; lane < 64; lane += 16) {
            v128.store(hashes + lane, mixWords(v128.load(hashes + lane), v128.load(scratch + lane)));
          }
        }
        const length = i32x4.splat(hashedBytes);
        for (let lane: usize = 0; lane < 64; lane += 16) {
          v128.store(to + lane, finishWords(v128.xor(v128.load(hashes + lane), length)));
        }
      }
      if (n < 16) for (let i: usize = 0; i < <usize>n; i++) store<u32>(out + (i << 2), load<u32>(scratch + (i << 2)));
      position = end;
      out += (<usize>keyStride) << 2;
    }
  }
}
