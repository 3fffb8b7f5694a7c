// int8 rows: a quarter of the memory of f32 rows, and all that is kept of them.
//
//     record:  i8 × codes, codes = stride rounded up to 16 · f32 scale · f32 |x̂|² · f32 extension · 4 bytes free
//     x̂_i = scale · code_i, scale = largest |x_i| / 127
//
// The coordinate that extends a row to a common norm (inner product) is kept as it is: it may be far larger than the
// others, and it changes with the norm while the row does not.

import { most4, roundTo16, sum, sum4i } from './lanes';
import { get, getFloat, Plan, putFloat } from './plan';

/** Bytes of the codes of a row of `stride` floats. */
// @ts-ignore: decorator
@inline
export function codesOf(stride: u32): usize {
  return <usize>((stride + 15) & ~15);
}

/**
 * Writes int8 records of rows: codes of the first `dimensions` floats, and the float behind them, if any.
 *
 * rows     f32 × count × stride   read
 * records  count × (codes + 16)   written
 */
export function quantizeRows(rows: usize, count: u32, stride: u32, dimensions: u32, records: usize): void {
  const codes = codesOf(stride);
  const used = (<usize>dimensions) << 2;
  const bytes = (<usize>stride) << 2;
  for (let r: u32 = 0; r < count; r++) {
    let most: f32 = 0;
    for (let i: usize = 0; i < used; i += 4) most = max(most, abs(load<f32>(rows + i)));
    const scale = most / 127;
    const inverse: f32 = scale > 0 ? <f32>1 / scale : 0;
    let norm: f32 = 0;
    memory.fill(records, 0, codes);
    for (let i: usize = 0; i < <usize>dimensions; i++) {
      const code = min<f32>(127, max<f32>(-127, nearest<f32>(load<f32>(rows + (i << 2)) * inverse)));
      const x = code * scale;
      norm += x * x;
      store<i8>(records + i, <i8>code);
    }
    store<f32>(records + codes, scale);
    store<f32>(records + codes, norm, 4);
    store<f32>(records + codes, dimensions < stride ? load<f32>(rows + used) : 0, 8);
    store<u32>(records + codes, 0, 12);
    rows += bytes;
    records += codes + 16;
  }
}

/** rows[r] = what records[r] stands for; regions as in quantizeRows. */
export function restoreRows(records: usize, count: u32, stride: u32, dimensions: u32, rows: usize): void {
  const codes = codesOf(stride);
  for (let r: u32 = 0; r < count; r++) {
    const scale = load<f32>(records + codes);
    for (let i: usize = 0; i < <usize>stride; i++) {
      store<f32>(rows + (i << 2), <f32>(<i32>load<i8>(records + i)) * scale);
    }
    if (dimensions < stride) store<f32>(rows + ((<usize>dimensions) << 2), load<f32>(records + codes, 8));
    rows += (<usize>stride) << 2;
    records += codes + 16;
  }
}

/**
 * Rounds the Query to 16 bits (largest 4,095: sums of 4,100 products stay below 2^31) and notes its unit and square.
 */
export function widenQuery(plan: usize): void {
  const query = get(plan, Plan.Query);
  const stride = get(plan, Plan.Stride);
  const wide = get(plan, Plan.WideQuery);
  let largest = f32x4.splat(0);
  let squares = f32x4.splat(0);
  for (let i: usize = 0; i < stride << 2; i += 16) {
    const x = v128.load(query + i);
    largest = f32x4.pmax(largest, f32x4.abs(x));
    squares = f32x4.add(squares, f32x4.mul(x, x));
  }
  const most = most4(largest);
  const unit: f32 = most > 0 ? most / 4095 : 1;
  roundTo16(query, stride << 2, <f32>1 / unit, wide);
  for (let i = stride; i < codesOf(<u32>stride); i++) store<i16>(wide + (i << 1), 0);
  putFloat(plan, Plan.QueryUnit, unit);
  putFloat(plan, Plan.QuerySquare, sum(squares));
}

// @ts-ignore: decorator
@inline
function products(acc: v128, record: usize, low: v128, high: v128): v128 {
  return i32x4.add(
    acc,
    i32x4.add(
      i32x4.dot_i16x8_s(v128.load_ext<i8>(record), low),
      i32x4.dot_i16x8_s(v128.load_ext<i8>(record, 8), high),
    ),
  );
}

/**
 * Scores of records: |x̂ - q|² or, ranked by inner product, -x̂ · q, with q as widenQuery rounded it.
 *
 * records    the first at `records`, the others behind it, or at the listed positions from there
 * positions  u32 × count   read, or 0
 * out        f32 × count   written; up to three more are overwritten
 */
export function int8Scores(plan: usize, records: usize, positions: usize, count: u32, out: usize): void {
  const codes = codesOf(<u32>get(plan, Plan.Stride));
  const recordBytes = codes + 16;
  const wide = get(plan, Plan.WideQuery);
  const unit = f32x4.splat(getFloat(plan, Plan.QueryUnit));
  const square = f32x4.splat(getFloat(plan, Plan.QuerySquare));
  const byDot = get(plan, Plan.Dot) != 0;
  for (let i: u32 = 0; i < count; i += 4) {
    // A tail repeats its first record.
    const p0 = recordAt(records, positions, i, recordBytes);
    const p1 = i + 1 < count ? recordAt(records, positions, i + 1, recordBytes) : p0;
    const p2 = i + 2 < count ? recordAt(records, positions, i + 2, recordBytes) : p0;
    const p3 = i + 3 < count ? recordAt(records, positions, i + 3, recordBytes) : p0;
    let a = i32x4.splat(0);
    let b = a;
    let c = a;
    let e = a;
    for (let k: usize = 0; k < codes; k += 16) {
      const low = v128.load(wide + (k << 1));
      const high = v128.load(wide + (k << 1), 16);
      a = products(a, p0 + k, low, high);
      b = products(b, p1 + k, low, high);
      c = products(c, p2 + k, low, high);
      e = products(e, p3 + k, low, high);
    }
    const t0 = p0 + codes;
    const t1 = p1 + codes;
    const t2 = p2 + codes;
    const t3 = p3 + codes;
    const scales = f32x4(load<f32>(t0), load<f32>(t1), load<f32>(t2), load<f32>(t3));
    const dots = f32x4.mul(f32x4.mul(scales, unit), f32x4.convert_i32x4_s(sum4i(a, b, c, e)));
    if (byDot) {
      v128.store(out, f32x4.neg(dots));
    } else {
      const norms = f32x4(load<f32>(t0, 4), load<f32>(t1, 4), load<f32>(t2, 4), load<f32>(t3, 4));
      const squares = f32x4.add(norms, square);
      v128.store(out, f32x4.max(f32x4.splat(0), f32x4.sub(squares, f32x4.add(dots, dots))));
    }
    out += 16;
  }
}

// @ts-ignore: decorator
@inline
function recordAt(records: usize, positions: usize, i: u32, recordBytes: usize): usize {
  return records + <usize>(positions ? load<u32>(positions + ((<usize>i) << 2)) : i) * recordBytes;
}
