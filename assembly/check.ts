// Checks of values that already stand in memory: as fast as reading them.

import { SCALAR } from './scalar';

/**
 * Index of the first float whose size is not at most `limit` (NaN is not), or `count` if there is none.
 *
 * floats  f32 × count   read
 *
 * Sizes are compared as integers: bits without the sign grow with the size, then come infinity and NaN.
 */
export function firstUnfit(floats: usize, count: u32, limit: f32): u32 {
  const sizeBits = i32x4.splat(0x7fffffff);
  const limits = i32x4.splat(reinterpret<i32>(limit));
  let i: u32 = 0;
  for (; !SCALAR && i + 16 <= count; i += 16) {
    const p = floats + ((<usize>i) << 2);
    const a = i32x4.max_s(v128.and(v128.load(p), sizeBits), v128.and(v128.load(p, 16), sizeBits));
    const b = i32x4.max_s(v128.and(v128.load(p, 32), sizeBits), v128.and(v128.load(p, 48), sizeBits));
    if (v128.any_true(i32x4.gt_s(i32x4.max_s(a, b), limits))) break;
  }
  for (; i < count; i++) {
    if (!(abs<f32>(load<f32>(floats + ((<usize>i) << 2))) <= limit)) return i;
  }
  return count;
}
