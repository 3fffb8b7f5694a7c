// Lane helpers, all inlined. One vector register holds four f32 lanes.

/**
 * The four sums of four accumulators, without a horizontal add:
 *
 *     a0 a1 a2 a3
 *     b0 b1 b2 b3   →   (a0+a2)+(a1+a3)  (b0+b2)+(b1+b3)  (c0+c2)+(c1+c3)  (e0+e2)+(e1+e3)
 *     c0 c1 c2 c3
 *     e0 e1 e2 e3
 *
 * This is the one order in which lanes are summed in this package; `sum` below keeps it.
 */
// @ts-ignore: decorator
@inline
export function sum4(a: v128, b: v128, c: v128, e: v128): v128 {
  const ab = f32x4.add(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7));
  const ce = f32x4.add(v128.shuffle<f32>(c, e, 0, 4, 1, 5), v128.shuffle<f32>(c, e, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<f32>(ab, ce, 0, 1, 4, 5), v128.shuffle<f32>(ab, ce, 2, 3, 6, 7));
}

/** (a0+a2)+(a1+a3) */
// @ts-ignore: decorator
@inline
export function sum(a: v128): f32 {
  const t = f32x4.add(a, v128.shuffle<f32>(a, a, 2, 3, 0, 1));
  return f32x4.extract_lane(t, 0) + f32x4.extract_lane(t, 1);
}

/** The largest of four lanes. */
// @ts-ignore: decorator
@inline
export function most4(a: v128): f32 {
  const t = f32x4.pmax(a, v128.shuffle<f32>(a, a, 2, 3, 0, 1));
  return max(f32x4.extract_lane(t, 0), f32x4.extract_lane(t, 1));
}

/** The four sums of four integer accumulators. */
// @ts-ignore: decorator
@inline
export function sum4i(a: v128, b: v128, c: v128, e: v128): v128 {
  const ab = i32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const ce = i32x4.add(v128.shuffle<i32>(c, e, 0, 4, 1, 5), v128.shuffle<i32>(c, e, 2, 6, 3, 7));
  return i32x4.add(v128.shuffle<i32>(ab, ce, 0, 1, 4, 5), v128.shuffle<i32>(ab, ce, 2, 3, 6, 7));
}

/** Stores the first `count` (1 to 4) lanes. */
// @ts-ignore: decorator
@inline
export function storeLanes(out: usize, v: v128, count: i32): void {
  if (count >= 4) {
    v128.store(out, v);
    return;
  }
  store<f32>(out, f32x4.extract_lane(v, 0));
  if (count > 1) store<f32>(out, f32x4.extract_lane(v, 1), 4);
  if (count > 2) store<f32>(out, f32x4.extract_lane(v, 2), 8);
}

/** acc + (x - y)², lane by lane; multiply and add are rounded apart, as everywhere here. */
// @ts-ignore: decorator
@inline
export function addSquare(acc: v128, x: v128, y: v128): v128 {
  const t = f32x4.sub(x, y);
  return f32x4.add(acc, f32x4.mul(t, t));
}

/** acc + x · y, lane by lane. */
// @ts-ignore: decorator
@inline
export function addProduct(acc: v128, x: v128, y: v128): v128 {
  return f32x4.add(acc, f32x4.mul(x, y));
}

/**
 * Rounds floats times a scale to 16-bit integers, half to even, and returns the sums of the rounded values, lane by lane.
 * Scaled values must fit 16 bits.
 *
 * floats  f32 × bytes / 4   read, bytes a multiple of 16
 * words   i16 × bytes / 4   written
 */
// @ts-ignore: decorator
@inline
export function roundTo16(floats: usize, bytes: usize, scale: f32, words: usize): v128 {
  const magic = f32x4.splat(12582912); // 1.5 · 2^23 + x has the nearest integer to x in its low bits
  const scales = f32x4.splat(scale);
  let total = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) {
    const v = f32x4.add(f32x4.mul(v128.load(floats + i), scales), magic);
    total = f32x4.add(total, f32x4.sub(v, magic));
    v128.store64_lane(words + (i >> 1), v128.shuffle<i16>(v, v, 0, 2, 4, 6, 0, 2, 4, 6), 0);
  }
  return total;
}
