// The second stage: 4-bit codes of rotated rows, one record a position, so that the few hundred survivors of a scan cost
// a cache line each and only the best of them a whole row.
//
//     record:  chunks of 16 bytes, 32 coordinates each; in chunk c the 16-bit word t holds, from low to high nibble,
//              the levels of coordinates 32c + t, 32c + 8 + t, 32c + 16 + t, 32c + 24 + t
//     level    u = clamp(round(x / step + 7.5), 0, 15),   x̂ = step (u - 7.5)
//     norm     f32 |x̂|² + offset, in an array of its own: so up to 128 dimensions a record is one whole cache line
//
// |x̂ - q|² - |q|² = |x̂|² - 2 step (Σ q u - 7.5 Σ q), in integers: q is rounded to 16 bits (largest 4,095).

import { most4, roundTo16, sum, sum4i } from './lanes';
import { get, getFloat, Plan, put } from './plan';
import { SCALAR } from './scalar';
import { arrange } from './select';

/** Bytes of the codes of `dims` coordinates. */
// @ts-ignore: decorator
@inline
function codeBytes(dims: u32): usize {
  return (<usize>((dims + 31) >> 5)) << 4;
}

/**
 * Writes the 4-bit records of rotated rows.
 *
 * rotated  f32 × count × dims           read
 * offsets  f32 × count, or 0            read: added to |x̂|²
 * records  count × 16 ceil(dims / 32)   written
 * norms    f32 × count                  written
 */
export function refineRows(
  rotated: usize,
  count: u32,
  dims: u32,
  step: f32,
  offsets: usize,
  records: usize,
  norms: usize,
): void {
  const recordBytes = codeBytes(dims);
  const inverse: f32 = step > 0 ? <f32>1 / step : 0;
  for (let r: u32 = 0; r < count; r++) {
    memory.fill(records, 0, recordBytes);
    let norm: f32 = 0;
    for (let j: u32 = 0; j < dims; j++) {
      const level = min<f32>(15, max<f32>(0, f32.nearest(load<f32>(rotated + ((<usize>j) << 2)) * inverse + <f32>7.5)));
      const x: f32 = (level - <f32>7.5) * step;
      norm += x * x;
      const word = records + (((<usize>j) >> 5) << 4) + (((<usize>j) & 7) << 1);
      store<u16>(word, <u16>(<u32>load<u16>(word) | ((<u32>level) << (((j >> 3) & 3) << 2))));
    }
    store<f32>(norms + ((<usize>r) << 2), norm + (offsets ? load<f32>(offsets + ((<usize>r) << 2)) : 0));
    rotated += (<usize>dims) << 2;
    records += recordBytes;
  }
}

/** Records that are touched before they are read: then their lines come in together. Only the first line of each. */
const TOUCHED: u32 = 32;

/**
 * Scores `count` survivors behind the first `kept` of the list by their 4-bit codes; the best Keep of both stay, at the
 * front of SurvivorKeys and SurvivorRows. A score is a squared distance in the coded space less |q'|².
 */
export function refineSurvivors(plan: usize, kept: u32, count: u32): void {
  put(plan, Plan.RowsRefined, get(plan, Plan.RowsRefined) + count);
  const dims = <u32>get(plan, Plan.Dims);
  const rotated = get(plan, Plan.Rotated);
  const wide = get(plan, Plan.Wide);
  const bytes = (<usize>dims) << 2;

  let largest = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) largest = f32x4.pmax(largest, f32x4.abs(v128.load(rotated + i)));
  const top = most4(largest);
  const unit: f32 = top > 0 ? top / 4095 : 1;
  const total = roundTo16(rotated, bytes, <f32>1 / unit, wide);
  const codes = codeBytes(dims);
  memory.fill(wide + (bytes >> 1), 0, (codes << 2) - (bytes >> 1));

  const records = get(plan, Plan.Refine);
  const norms = get(plan, Plan.RefineNorms);
  const step = getFloat(plan, Plan.RefineStep);
  const factor = f32x4.splat(-2 * step * unit);
  const shift = f32x4.splat(<f32>7.5 * sum(total));
  const nibble = v128.load(get(plan, Plan.Constants), 16);
  const keys = get(plan, Plan.SurvivorKeys);
  const list = get(plan, Plan.SurvivorRows);
  let out = keys + ((<usize>kept) << 2);
  const positions = list + ((<usize>kept) << 2);

  for (let i = count; i < ((count + 3) & ~3); i++) store<u32>(positions + ((<usize>i) << 2), load<u32>(positions));
  let touched: u32 = 0;
  for (let i: u32 = 0; i < count; i += 4) {
    if (i % TOUCHED == 0) {
      for (let p = positions + ((<usize>i) << 2), e = p + ((<usize>min(TOUCHED, count - i)) << 2); p < e; p += 4) {
        touched |= load<u32>(records + <usize>load<u32>(p) * codes);
      }
    }
    const s = positions + ((<usize>i) << 2);
    const r0 = <usize>load<u32>(s);
    const r1 = <usize>load<u32>(s, 4);
    const r2 = <usize>load<u32>(s, 8);
    const r3 = <usize>load<u32>(s, 12);
    const p0 = records + r0 * codes;
    const p1 = records + r1 * codes;
    const p2 = records + r2 * codes;
    const p3 = records + r3 * codes;
    let a = i32x4.splat(0);
    let b = a;
    let c = a;
    let e = a;
    let w = wide;
    for (let k: usize = 0; !SCALAR && k < codes; k += 16) {
      const q0 = v128.load(w);
      const q1 = v128.load(w, 16);
      const q2 = v128.load(w, 32);
      const q3 = v128.load(w, 48);
      a = i32x4.add(a, chunk(v128.load(p0 + k), nibble, q0, q1, q2, q3));
      b = i32x4.add(b, chunk(v128.load(p1 + k), nibble, q0, q1, q2, q3));
      c = i32x4.add(c, chunk(v128.load(p2 + k), nibble, q0, q1, q2, q3));
      e = i32x4.add(e, chunk(v128.load(p3 + k), nibble, q0, q1, q2, q3));
      w += 64;
    }
    const norm = f32x4(
      load<f32>(norms + (r0 << 2)),
      load<f32>(norms + (r1 << 2)),
      load<f32>(norms + (r2 << 2)),
      load<f32>(norms + (r3 << 2)),
    );
    const sums = SCALAR
      ? i32x4(dotOf(p0, codes, wide), dotOf(p1, codes, wide), dotOf(p2, codes, wide), dotOf(p3, codes, wide))
      : sum4i(a, b, c, e);
    const dots = f32x4.sub(f32x4.convert_i32x4_s(sums), shift);
    v128.store(out, f32x4.add(norm, f32x4.mul(factor, dots)));
    out += 16;
  }
  put(plan, Plan.Touched, touched); // or the touches would be dropped as useless
  const keep = <u32>get(plan, Plan.Keep);
  const all = kept + count;
  if (all > keep) arrange(plan, keys, list, all, keep);
  put(plan, Plan.KeptCount, min(all, keep));
  put(plan, Plan.Pending, min(all, keep));
}

// Σ q u of one record, a number at a time.
function dotOf(record: usize, codes: usize, wide: usize): i32 {
  let sum: i32 = 0;
  for (const end = record + codes; record < end; record += 16, wide += 64) {
    for (let m: usize = 0; m < 16; m += 4) {
      const x = load<u32>(record + m);
      const q = wide + m;
      sum += (x & 15) * load<i16>(q) + ((x >> 16) & 15) * load<i16>(q, 2);
      sum += ((x >> 4) & 15) * load<i16>(q, 16) + ((x >> 20) & 15) * load<i16>(q, 18);
      sum += ((x >> 8) & 15) * load<i16>(q, 32) + ((x >> 24) & 15) * load<i16>(q, 34);
      sum += ((x >> 12) & 15) * load<i16>(q, 48) + (x >> 28) * load<i16>(q, 50);
    }
  }
  return sum;
}

// @ts-ignore: decorator
@inline
function chunk(x: v128, nibble: v128, q0: v128, q1: v128, q2: v128, q3: v128): v128 {
  return i32x4.add(
    i32x4.add(
      i32x4.dot_i16x8_s(v128.and(x, nibble), q0),
      i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(x, 4), nibble), q1),
    ),
    i32x4.add(
      i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(x, 8), nibble), q2),
      i32x4.dot_i16x8_s(i16x8.shr_u(x, 12), q3),
    ),
  );
}
