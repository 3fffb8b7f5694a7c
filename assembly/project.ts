// Margins of rows against hyperplanes, and their signs packed into keys.
//
// Planes are interleaved in blocks of eight, so that lanes are planes: the sign bits of an accumulator *are* the bits
// of the key and no horizontal sum is needed.
//
//     block b:   k = 0: h[8b][0] h[8b+1][0] … h[8b+7][0]     k = 1: h[8b][1] …     (missing planes are zeros)
//
// Order of summation: each margin is one running sum over k = 0, 1, 2, …, starting at 0, multiply and add rounded
// apart. A sum that starts at +0 is never -0, so a margin is >= 0 exactly where its sign bit is clear.
//
// 2 rows × 16 planes reach 88 % of the machine's peak (assembly/peak.ts), 4 × 8 84 %. Two steps of k a turn, 3 × 12,
// 5 × 8 and larger blocks need more registers than the engine has (V8 11.3: 42 to 74 %).

import { addProduct } from './lanes';

/**
 * Interleaves hyperplanes in blocks of eight.
 *
 * planes  f32 × planeCount × planeStride                   read
 * packed  f32 × ceil(planeCount / 8) × dimensions × 8      written
 */
export function packPlanes(planes: usize, planeCount: u32, planeStride: u32, dimensions: u32, packed: usize): void {
  for (let block: u32 = 0; block < planeCount; block += 8) {
    for (let k: u32 = 0; k < dimensions; k++) {
      for (let j: u32 = 0; j < 8; j++) {
        const p = block + j;
        const value: f32 = p < planeCount ? load<f32>(planes + ((<usize>p * planeStride + k) << 2)) : 0;
        store<f32>(packed, value);
        packed += 4;
      }
    }
  }
}

// Sums leave as margins, or as bits. A margin that overflowed to NaN compares false: bit 0 on every engine, whatever the
// sign of its NaN.
// @ts-ignore: decorator
@inline
function put(bits: bool, out: usize, low: v128, high: v128): void {
  if (bits) {
    const zero = f32x4.splat(0);
    store<u8>(out, i32x4.bitmask(f32x4.ge(low, zero)) | (i32x4.bitmask(f32x4.ge(high, zero)) << 4));
  } else {
    v128.store(out, low);
    v128.store(out, high, 16);
  }
}

// Two blocks of eight planes against two rows.
// @ts-ignore: decorator
@inline
function twoByTwo(bits: bool, p0: usize, p1: usize, bytes: usize, plane: usize, o0: usize, o1: usize): void {
  let a0 = f32x4.splat(0);
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  let b0 = a0;
  let b1 = a0;
  let b2 = a0;
  let b3 = a0;
  let second = plane + (bytes << 3);
  for (let k: usize = 0; k < bytes; k += 4) {
    const x = v128.load_splat<f32>(p0 + k);
    const y = v128.load_splat<f32>(p1 + k);
    let h = v128.load(plane);
    a0 = addProduct(a0, x, h);
    b0 = addProduct(b0, y, h);
    h = v128.load(plane, 16);
    a1 = addProduct(a1, x, h);
    b1 = addProduct(b1, y, h);
    h = v128.load(second);
    a2 = addProduct(a2, x, h);
    b2 = addProduct(b2, y, h);
    h = v128.load(second, 16);
    a3 = addProduct(a3, x, h);
    b3 = addProduct(b3, y, h);
    plane += 32;
    second += 32;
  }
  const step: usize = bits ? 1 : 32;
  put(bits, o0, a0, a1);
  put(bits, o0 + step, a2, a3);
  put(bits, o1, b0, b1);
  put(bits, o1 + step, b2, b3);
}

// One block of eight planes against four rows.
// @ts-ignore: decorator
@inline
function oneByFour(
  bits: bool,
  p0: usize,
  p1: usize,
  p2: usize,
  p3: usize,
  bytes: usize,
  plane: usize,
  o0: usize,
  o1: usize,
  o2: usize,
  o3: usize,
): void {
  let a0 = f32x4.splat(0);
  let a1 = a0;
  let b0 = a0;
  let b1 = a0;
  let c0 = a0;
  let c1 = a0;
  let e0 = a0;
  let e1 = a0;
  for (let k: usize = 0; k < bytes; k += 4) {
    const h0 = v128.load(plane);
    const h1 = v128.load(plane, 16);
    let x = v128.load_splat<f32>(p0 + k);
    a0 = addProduct(a0, x, h0);
    a1 = addProduct(a1, x, h1);
    x = v128.load_splat<f32>(p1 + k);
    b0 = addProduct(b0, x, h0);
    b1 = addProduct(b1, x, h1);
    x = v128.load_splat<f32>(p2 + k);
    c0 = addProduct(c0, x, h0);
    c1 = addProduct(c1, x, h1);
    x = v128.load_splat<f32>(p3 + k);
    e0 = addProduct(e0, x, h0);
    e1 = addProduct(e1, x, h1);
    plane += 32;
  }
  put(bits, o0, a0, a1);
  put(bits, o1, b0, b1);
  put(bits, o2, c0, c1);
  put(bits, o3, e0, e1);
}

// Two blocks of eight planes against one row: a lone row is not repeated, which would cost twice its work. (Four blocks,
// with eight accumulators, are half as fast on V8 11.3.)
// @ts-ignore: decorator
@inline
function twoByOne(bits: bool, row: usize, bytes: usize, plane: usize, out: usize): void {
  let a0 = f32x4.splat(0);
  let a1 = a0;
  let b0 = a0;
  let b1 = a0;
  let second = plane + (bytes << 3);
  for (const end = row + bytes; row < end; row += 4) {
    const x = v128.load_splat<f32>(row);
    a0 = addProduct(a0, x, v128.load(plane));
    a1 = addProduct(a1, x, v128.load(plane, 16));
    b0 = addProduct(b0, x, v128.load(second));
    b1 = addProduct(b1, x, v128.load(second, 16));
    plane += 32;
    second += 32;
  }
  put(bits, out, a0, a1);
  put(bits, out + (bits ? 1 : 32), b0, b1);
}

// Planes outside, rows inside: two blocks of planes stay in the first-level cache, and all rows pass by.
// @ts-ignore: decorator
@inline
function project(
  bits: bool,
  rows: usize,
  count: u32,
  stride: u32,
  dimensions: u32,
  packed: usize,
  planeCount: u32,
  out: usize,
  outBytes: usize,
): void {
  const rowBytes = (<usize>stride) << 2;
  const bytes = (<usize>dimensions) << 2;
  const step: usize = bits ? 1 : 32;
  let left = (planeCount + 7) >> 3;
  if (count == 1) {
    for (; left >= 2; left -= 2) {
      twoByOne(bits, rows, bytes, packed, out);
      packed += bytes << 4;
      out += step << 1;
    }
  }
  // A tail repeats its first row: the repeats write the same bytes to the same place.
  for (; left >= 2; left -= 2) {
    let p0 = rows;
    let o0 = out;
    for (let i: u32 = 0; i < count; i += 2) {
      const more = i + 1 < count;
      twoByTwo(bits, p0, more ? p0 + rowBytes : p0, bytes, packed, o0, more ? o0 + outBytes : o0);
      p0 += rowBytes << 1;
      o0 += outBytes << 1;
    }
    packed += bytes << 4;
    out += step << 1;
  }
  if (left) {
    for (let i: u32 = 0; i < count; i += 4) {
      const p1 = i + 1 < count ? rows + rowBytes : rows;
      const p2 = i + 2 < count ? p1 + rowBytes : rows;
      const p3 = i + 3 < count ? p2 + rowBytes : rows;
      const o1 = i + 1 < count ? out + outBytes : out;
      const o2 = i + 2 < count ? o1 + outBytes : out;
      const o3 = i + 3 < count ? o2 + outBytes : out;
      oneByFour(bits, rows, p1, p2, p3, bytes, packed, out, o1, o2, o3);
      rows += rowBytes << 2;
      out += outBytes << 2;
    }
  }
}

/**
 * out[r][p] = rows[r] · planes[p]
 *
 * rows    f32 × count × stride                         read, `dimensions` of each
 * packed  f32, as packPlanes wrote it                  read
 * out     f32 × count × 8 ceil(planeCount / 8)         written; margins of missing planes are 0
 */
export function margins(
  rows: usize,
  count: u32,
  stride: u32,
  dimensions: u32,
  packed: usize,
  planeCount: u32,
  out: usize,
): void {
  project(false, rows, count, stride, dimensions, packed, planeCount, out, (<usize>((planeCount + 7) & ~7)) << 2);
}

/**
 * Sign bits: bit p of out[r] is 1 iff rows[r] · planes[p] >= 0.
 *
 * rows    f32 × count × stride                read, `dimensions` of each
 * packed  f32, as packPlanes wrote it         read
 * out     u8 × count × ceil(planeCount / 8)   written; bits of missing planes are 1
 */
export function signBits(
  rows: usize,
  count: u32,
  stride: u32,
  dimensions: u32,
  packed: usize,
  planeCount: u32,
  out: usize,
): void {
  project(true, rows, count, stride, dimensions, packed, planeCount, out, <usize>((planeCount + 7) >> 3));
}

/**
 * keys[t][r] = bits t·bits … t·bits + bits - 1 of row r's sign bits
 *
 * signs  u8 × count × signBytes    read; 8 more bytes behind the last row may be read
 * keys   u32 × tables × keyStride  written at [t · keyStride + r]
 *
 * 1 <= bits <= 32.
 */
export function keys(
  signs: usize,
  count: u32,
  signBytes: u32,
  tables: u32,
  bits: u32,
  keyStride: u32,
  out: usize,
): void {
  const mask: u64 = ((<u64>1) << bits) - 1;
  for (let r: u32 = 0; r < count; r++) {
    let at: u32 = 0;
    let o = out + ((<usize>r) << 2);
    for (let t: u32 = 0; t < tables; t++) {
      store<u32>(o, <u32>((load<u64>(signs + (at >> 3), 0, 1) >> (at & 7)) & mask));
      at += bits;
      o += (<usize>keyStride) << 2;
    }
    signs += signBytes;
  }
}
