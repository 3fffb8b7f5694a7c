// Rows → the coded space, by rotation or by a matrix.

import { most4, sum, sum4i } from './lanes';
import { get, Plan } from './plan';
import { rotate } from './rotate';

/**
 * Takes rows into the coded space.
 *
 * rows     f32 × count × Stride   read
 * rotated  f32 × count × Dims     written
 */
export function transform(plan: usize, rows: usize, count: u32, rotated: usize): void {
  const dims = <u32>get(plan, Plan.Dims);
  const stride = <u32>get(plan, Plan.Stride);
  const rounds = <u32>get(plan, Plan.Rounds);
  if (rounds) {
    rotate(rows, count, stride, get(plan, Plan.Mean), get(plan, Plan.Signs), rounds, dims, rotated);
    return;
  }
  for (let r: u32 = 0; r < count; r++) {
    multiply(plan, rows, rotated);
    rows += (<usize>stride) << 2;
    rotated += (<usize>dims) << 2;
  }
}

/**
 * rotated = matrix · row - mean, by 16-bit integers: eight products an instruction and half the bytes of floats, which
 * for one row at a time is twice as fast as register blocks of floats are for four.
 *
 * Planes have length 1, kept as 2^13; the row is scaled to a length of at most 2^17, so that no sum exceeds 2^30
 * (Cauchy-Schwarz). Rounding moves a coordinate by about 4e-5 of the row's length, far below what a sign tells.
 */
function multiply(plan: usize, row: usize, rotated: usize): void {
  const stride = get(plan, Plan.Stride);
  const wide = get(plan, Plan.WideRow);
  let largest = f32x4.splat(0);
  let squares = largest;
  for (let i: usize = 0; i < stride << 2; i += 16) {
    const x = v128.load(row + i);
    largest = f32x4.pmax(largest, f32x4.abs(x));
    squares = f32x4.add(squares, f32x4.mul(x, x));
  }
  const square = sum(squares);
  const scale: f32 = square > 0 ? min<f32>(<f32>32767 / most4(largest), <f32>131072 / sqrt<f32>(square)) : 0;
  const magic = f32x4.splat(12582912); // 1.5 · 2^23 + x has the nearest integer to x in its low bits
  for (let i: usize = 0; i < stride; i += 4) {
    const v = f32x4.add(f32x4.mul(v128.load(row + (i << 2)), f32x4.splat(scale)), magic);
    v128.store64_lane(wide + (i << 1), v128.shuffle<i16>(v, v, 0, 2, 4, 6, 0, 2, 4, 6), 0);
  }
  const planeBytes = ((stride + 7) & ~7) << 1;
  for (let i = stride; i < planeBytes >> 1; i++) store<i16>(wide + (i << 1), 0);
  const back = f32x4.splat(scale > 0 ? <f32>1 / (scale * 8192) : 0);
  const mean = get(plan, Plan.Mean);
  let plane = get(plan, Plan.Matrix);
  for (let at: usize = 0; at < get(plan, Plan.Dims) << 2; at += 16) {
    const p1 = plane + planeBytes;
    const p2 = p1 + planeBytes;
    const p3 = p2 + planeBytes;
    let a = i32x4.splat(0);
    let b = a;
    let c = a;
    let e = a;
    for (let i: usize = 0; i < planeBytes; i += 16) {
      const q = v128.load(wide + i);
      a = i32x4.add(a, i32x4.dot_i16x8_s(v128.load(plane + i), q));
      b = i32x4.add(b, i32x4.dot_i16x8_s(v128.load(p1 + i), q));
      c = i32x4.add(c, i32x4.dot_i16x8_s(v128.load(p2 + i), q));
      e = i32x4.add(e, i32x4.dot_i16x8_s(v128.load(p3 + i), q));
    }
    const margins = f32x4.mul(f32x4.convert_i32x4_s(sum4i(a, b, c, e)), back);
    v128.store(rotated + at, f32x4.sub(margins, v128.load(mean + at)));
    plane = p3 + planeBytes;
  }
}
