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
    const q0 = load<u64>(query);
    const q1 = load<u64>(query, 8);
    for (const end = out + ((<usize>count) << 2); out < end; out += 4) {
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
