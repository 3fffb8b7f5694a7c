// Rows → the coded space, by rotation or by a matrix.

import { most4, roundTo16, sum, sum4i } from './lanes';
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
  // Two rows at a time: the planes are loaded once for both.
  const rowBytes = (<usize>stride) << 2;
  const outBytes = (<usize>dims) << 2;
  let r: u32 = 0;
  for (; r + 2 <= count; r += 2) {
    multiply(plan, rows, rows + rowBytes, rotated, rotated + outBytes);
    rows += rowBytes << 1;
    rotated += outBytes << 1;
  }
  if (r < count) multiply(plan, rows, rows, rotated, rotated);
}

/** Rounds a row to 16 bits: scaled to a length of at most 2^17; returns the scale. */
function widen(row: usize, stride: usize, wide: usize): f32 {
  let largest = f32x4.splat(0);
  let squares = largest;
  for (let i: usize = 0; i < stride << 2; i += 16) {
    const x = v128.load(row + i);
    largest = f32x4.pmax(largest, f32x4.abs(x));
    squares = f32x4.add(squares, f32x4.mul(x, x));
  }
  const square = sum(squares);
  const scale: f32 = square > 0 ? min<f32>(<f32>32767 / most4(largest), <f32>131072 / sqrt<f32>(square)) : 0;
  roundTo16(row, stride << 2, scale, wide);
  for (let i = stride; i < ((stride + 7) & ~7); i++) store<i16>(wide + (i << 1), 0);
  return scale;
}

/**
 * rotated = matrix · row - mean for two rows (or one, given twice), by 16-bit integers: eight products an instruction
 * and half the bytes of floats.
 *
 * Planes have length 1, kept as 2^13; a row is scaled to a length of at most 2^17, so that no sum exceeds 2^30
 * (Cauchy-Schwarz). Rounding moves a coordinate by about 4e-5 of the row's length, far below what a sign tells.
 */
function multiply(plan: usize, row0: usize, row1: usize, out0: usize, out1: usize): void {
  const stride = get(plan, Plan.Stride);
  const planeBytes = ((stride + 7) & ~7) << 1;
  const wide0 = get(plan, Plan.WideRow);
  const wide1 = wide0 + planeBytes;
  const scale0 = widen(row0, stride, wide0);
  const scale1 = widen(row1, stride, wide1);
  const back0 = f32x4.splat(scale0 > 0 ? <f32>1 / (scale0 * 8192) : 0);
  const back1 = f32x4.splat(scale1 > 0 ? <f32>1 / (scale1 * 8192) : 0);
  const mean = get(plan, Plan.Mean);
  const single = row0 == row1;
  let plane = get(plan, Plan.Matrix);
  for (let at: usize = 0; at < get(plan, Plan.Dims) << 2; at += 16) {
    const p1 = plane + planeBytes;
    const p2 = p1 + planeBytes;
    const p3 = p2 + planeBytes;
    let a = i32x4.splat(0);
    let b = a;
    let c = a;
    let e = a;
    const m = v128.load(mean + at);
    if (single) {
      for (let i: usize = 0; i < planeBytes; i += 16) {
        const q = v128.load(wide0 + i);
        a = i32x4.add(a, i32x4.dot_i16x8_s(v128.load(plane + i), q));
        b = i32x4.add(b, i32x4.dot_i16x8_s(v128.load(p1 + i), q));
        c = i32x4.add(c, i32x4.dot_i16x8_s(v128.load(p2 + i), q));
        e = i32x4.add(e, i32x4.dot_i16x8_s(v128.load(p3 + i), q));
      }
    } else {
      let f = a;
      let g = a;
      let h = a;
      let j = a;
      for (let i: usize = 0; i < planeBytes; i += 16) {
        const q = v128.load(wide0 + i);
        const r = v128.load(wide1 + i);
        let x = v128.load(plane + i);
        a = i32x4.add(a, i32x4.dot_i16x8_s(x, q));
        f = i32x4.add(f, i32x4.dot_i16x8_s(x, r));
        x = v128.load(p1 + i);
        b = i32x4.add(b, i32x4.dot_i16x8_s(x, q));
        g = i32x4.add(g, i32x4.dot_i16x8_s(x, r));
        x = v128.load(p2 + i);
        c = i32x4.add(c, i32x4.dot_i16x8_s(x, q));
        h = i32x4.add(h, i32x4.dot_i16x8_s(x, r));
        x = v128.load(p3 + i);
        e = i32x4.add(e, i32x4.dot_i16x8_s(x, q));
        j = i32x4.add(j, i32x4.dot_i16x8_s(x, r));
      }
      v128.store(out1 + at, f32x4.sub(f32x4.mul(f32x4.convert_i32x4_s(sum4i(f, g, h, j)), back1), m));
    }
    v128.store(out0 + at, f32x4.sub(f32x4.mul(f32x4.convert_i32x4_s(sum4i(a, b, c, e)), back0), m));
    plane = p3 + planeBytes;
  }
}
