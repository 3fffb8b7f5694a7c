// Hamming distances of packed codes. Scalar popcnt of 64 bits at a time beats i8x16.popcnt for row-major codes
// (1,296 against about 1,075 million 128-bit codes a second on V8 11.3).

/** Bytes of counts that are integers in the first-level cache before they become floats. */
const STRETCH_BYTES: usize = 2048;

/**
 * out[r] = number of bits in which codes[r] and query differ
 *
 * query  u64 × words           read
 * codes  u64 × count × words   read
 * out    f32 × count           written: a count below 2^24 is exact, and ranks like any other score
 */
export function hamming(query: usize, codes: usize, count: u32, words: u32, out: usize): void {
  const end = out + ((<usize>count) << 2);
  if (words == 2) {
    // 128 bits is the common width: both words of the query stay in registers, and each count is stored as soon as it is
    // there. (Four put together in a vector and converted at once: 0.52 ns a code, not 0.45.)
    const q0 = load<u64>(query);
    const q1 = load<u64>(query, 8);
    while (out < end) {
      const first = out;
      const stop = min(end, out + STRETCH_BYTES);
      for (const eights = first + ((stop - first) & ~31); out < eights; out += 32) {
        store<u32>(out, <u32>(popcnt(load<u64>(codes) ^ q0) + popcnt(load<u64>(codes, 8) ^ q1)));
        store<u32>(out, <u32>(popcnt(load<u64>(codes, 16) ^ q0) + popcnt(load<u64>(codes, 24) ^ q1)), 4);
        store<u32>(out, <u32>(popcnt(load<u64>(codes, 32) ^ q0) + popcnt(load<u64>(codes, 40) ^ q1)), 8);
        store<u32>(out, <u32>(popcnt(load<u64>(codes, 48) ^ q0) + popcnt(load<u64>(codes, 56) ^ q1)), 12);
        store<u32>(out, <u32>(popcnt(load<u64>(codes, 64) ^ q0) + popcnt(load<u64>(codes, 72) ^ q1)), 16);
        store<u32>(out, <u32>(popcnt(load<u64>(codes, 80) ^ q0) + popcnt(load<u64>(codes, 88) ^ q1)), 20);
        store<u32>(out, <u32>(popcnt(load<u64>(codes, 96) ^ q0) + popcnt(load<u64>(codes, 104) ^ q1)), 24);
        store<u32>(out, <u32>(popcnt(load<u64>(codes, 112) ^ q0) + popcnt(load<u64>(codes, 120) ^ q1)), 28);
        codes += 128;
      }
      for (; out < stop; out += 4) {
        store<u32>(out, <u32>(popcnt(load<u64>(codes) ^ q0) + popcnt(load<u64>(codes, 8) ^ q1)));
        codes += 16;
      }
      toFloats(first, stop);
    }
    return;
  }
  const bytes = (<usize>words) << 3;
  while (out < end) {
    const first = out;
    const stop = min(end, out + STRETCH_BYTES);
    for (; out < stop; out += 4) {
      let sum: u64 = 0;
      for (let k: usize = 0; k < bytes; k += 8) sum += popcnt(load<u64>(codes + k) ^ load<u64>(query + k));
      store<u32>(out, <u32>sum);
      codes += bytes;
    }
    toFloats(first, stop);
  }
}

// Turns integers into floats, in place.
// @ts-ignore: decorator
@inline
function toFloats(p: usize, end: usize): void {
  for (const whole = p + ((end - p) & ~15); p < whole; p += 16) v128.store(p, f32x4.convert_i32x4_s(v128.load(p)));
  for (; p < end; p += 4) store<f32>(p, <f32>load<i32>(p));
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
