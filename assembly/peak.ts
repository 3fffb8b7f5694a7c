// The machine's peaks of 128-bit arithmetic and of reading, to measure other kernels against. Not a part of the product:
// bench/peak.ts compiles it by itself.

/**
 * `turns` times eight products and eight sums of four lanes in registers: 64 operations a turn.
 *
 * data  f32 × 24   read; small numbers, so that the sums stay finite
 *
 * Two operands are loaded in each turn, so that no product can be moved out of the loop; eight sums hide the latency of
 * an addition. Returns a lane, so that the work has a result.
 */
export function multiplyAdd(data: usize, turns: u32): f32 {
  const y0 = v128.load(data, 32);
  const y1 = v128.load(data, 48);
  const y2 = v128.load(data, 64);
  const y3 = v128.load(data, 80);
  let a0 = f32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  let b0 = a0;
  let b1 = a0;
  let b2 = a0;
  let b3 = a0;
  for (let i: u32 = 0; i < turns; i++) {
    // Always the same two places, but the engine cannot know.
    const at = data + <usize>(i & turns & 0x80000000);
    const x = v128.load(at);
    a0 = f32x4.add(a0, f32x4.mul(x, y0));
    a1 = f32x4.add(a1, f32x4.mul(x, y1));
    a2 = f32x4.add(a2, f32x4.mul(x, y2));
    a3 = f32x4.add(a3, f32x4.mul(x, y3));
    const z = v128.load(at, 16);
    b0 = f32x4.add(b0, f32x4.mul(z, y0));
    b1 = f32x4.add(b1, f32x4.mul(z, y1));
    b2 = f32x4.add(b2, f32x4.mul(z, y2));
    b3 = f32x4.add(b3, f32x4.mul(z, y3));
  }
  const a = f32x4.add(f32x4.add(a0, a1), f32x4.add(a2, a3));
  const b = f32x4.add(f32x4.add(b0, b1), f32x4.add(b2, b3));
  return f32x4.extract_lane(f32x4.add(a, b), 0);
}

/**
 * Reads `bytes` bytes `turns` times, sixteen at a time, and does next to nothing with them.
 *
 * data  `bytes` bytes, a multiple of 128   read
 *
 * Eight sums of their own, so that no load waits for another. Returns a lane, so that the work has a result.
 */
export function readAll(data: usize, bytes: usize, turns: u32): i32 {
  let a0 = i32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  let a4 = a0;
  let a5 = a0;
  let a6 = a0;
  let a7 = a0;
  const end = data + bytes;
  for (let i: u32 = 0; i < turns; i++) {
    for (let at = data; at < end; at += 128) {
      a0 = i32x4.add(a0, v128.load(at));
      a1 = i32x4.add(a1, v128.load(at, 16));
      a2 = i32x4.add(a2, v128.load(at, 32));
      a3 = i32x4.add(a3, v128.load(at, 48));
      a4 = i32x4.add(a4, v128.load(at, 64));
      a5 = i32x4.add(a5, v128.load(at, 80));
      a6 = i32x4.add(a6, v128.load(at, 96));
      a7 = i32x4.add(a7, v128.load(at, 112));
    }
  }
  const a = i32x4.add(i32x4.add(a0, a1), i32x4.add(a2, a3));
  const b = i32x4.add(i32x4.add(a4, a5), i32x4.add(a6, a7));
  return i32x4.extract_lane(i32x4.add(a, b), 0);
}

/**
 * What a scan of codes does to 64 bytes of them, in registers: of each nibble a look-up and an addition, before that a mask,
 * and for half of them a shift. 28 instructions of 16 bytes: 448 operations a turn.
 *
 * data  32 bytes: a table and a mask; then 80 bytes of codes   read
 *
 * Returns a lane, so that the work has a result.
 */
export function lookUps(data: usize, turns: u32): i32 {
  const table = v128.load(data);
  const mask = v128.load(data, 16);
  let a0 = i8x16.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  let b0 = a0;
  let b1 = a0;
  let b2 = a0;
  let b3 = a0;
  for (let i: u32 = 0; i < turns; i++) {
    // Always the same places, but the engine cannot know.
    const at = data + <usize>(i & turns & 0x80000000);
    let x = v128.load(at, 32);
    a0 = i8x16.add(a0, lookUp(table, v128.and(x, mask)));
    b0 = i8x16.add(b0, lookUp(table, v128.and(i16x8.shr_u(x, 4), mask)));
    x = v128.load(at, 48);
    a1 = i8x16.add(a1, lookUp(table, v128.and(x, mask)));
    b1 = i8x16.add(b1, lookUp(table, v128.and(i16x8.shr_u(x, 4), mask)));
    x = v128.load(at, 64);
    a2 = i8x16.add(a2, lookUp(table, v128.and(x, mask)));
    b2 = i8x16.add(b2, lookUp(table, v128.and(i16x8.shr_u(x, 4), mask)));
    x = v128.load(at, 80);
    a3 = i8x16.add(a3, lookUp(table, v128.and(x, mask)));
    b3 = i8x16.add(b3, lookUp(table, v128.and(i16x8.shr_u(x, 4), mask)));
  }
  const a = i8x16.add(i8x16.add(a0, a1), i8x16.add(a2, a3));
  const b = i8x16.add(i8x16.add(b0, b1), i8x16.add(b2, b3));
  return i32x4.extract_lane(i8x16.add(a, b), 0);
}

// As in scan.ts: one instruction on x86 where the engine knows relaxed instructions, else two.
// @ts-ignore: decorator
@inline
function lookUp(table: v128, indexes: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i8x16.relaxed_swizzle(table, indexes) : i8x16.swizzle(table, indexes);
}

/**
 * `turns` times eight times eight products of 16-bit integers, which are added up in 32 bits: 128 operations a turn.
 *
 * data  i16 × 48   read; small numbers
 *
 * Returns a lane, so that the work has a result.
 */
export function multiplyAdd16(data: usize, turns: u32): i32 {
  const y0 = v128.load(data, 32);
  const y1 = v128.load(data, 48);
  const y2 = v128.load(data, 64);
  const y3 = v128.load(data, 80);
  let a0 = i32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  let b0 = a0;
  let b1 = a0;
  let b2 = a0;
  let b3 = a0;
  for (let i: u32 = 0; i < turns; i++) {
    // Always the same two places, but the engine cannot know.
    const at = data + <usize>(i & turns & 0x80000000);
    const x = v128.load(at);
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(x, y0));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(x, y1));
    a2 = i32x4.add(a2, i32x4.dot_i16x8_s(x, y2));
    a3 = i32x4.add(a3, i32x4.dot_i16x8_s(x, y3));
    const z = v128.load(at, 16);
    b0 = i32x4.add(b0, i32x4.dot_i16x8_s(z, y0));
    b1 = i32x4.add(b1, i32x4.dot_i16x8_s(z, y1));
    b2 = i32x4.add(b2, i32x4.dot_i16x8_s(z, y2));
    b3 = i32x4.add(b3, i32x4.dot_i16x8_s(z, y3));
  }
  const a = i32x4.add(i32x4.add(a0, a1), i32x4.add(a2, a3));
  const b = i32x4.add(i32x4.add(b0, b1), i32x4.add(b2, b3));
  return i32x4.extract_lane(i32x4.add(a, b), 0);
}
