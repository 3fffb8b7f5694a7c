// Squared Euclidean distances and dot products of one query against rows: contiguous, or gathered by id.
//
// Order of summation, the same in every function of this file: lane l of a row's one accumulator sums the terms
// l, l + 4, l + 8, … from first to last, starting at 0; then (s0 + s2) + (s1 + s3). So a distance has the same bits
// whichever function computed it, on every engine.
//
// Four rows at a time with one accumulator each: the query is loaded once for four rows, and four independent streams
// hide the latency of memory better than touching rows ahead (which was measured and lost).

import { addProduct, addSquare, storeLanes, sum4 } from './lanes';

// @ts-ignore: decorator
@inline
export function squaredL2Of4(query: usize, p0: usize, p1: usize, p2: usize, p3: usize, bytes: usize): v128 {
  let a = f32x4.splat(0);
  let b = a;
  let c = a;
  let e = a;
  let k: usize = 0;
  for (const even = bytes & ~31; k < even; k += 32) {
    let q = v128.load(query + k);
    a = addSquare(a, v128.load(p0 + k), q);
    b = addSquare(b, v128.load(p1 + k), q);
    c = addSquare(c, v128.load(p2 + k), q);
    e = addSquare(e, v128.load(p3 + k), q);
    q = v128.load(query + k, 16);
    a = addSquare(a, v128.load(p0 + k, 16), q);
    b = addSquare(b, v128.load(p1 + k, 16), q);
    c = addSquare(c, v128.load(p2 + k, 16), q);
    e = addSquare(e, v128.load(p3 + k, 16), q);
  }
  if (k < bytes) {
    const q = v128.load(query + k);
    a = addSquare(a, v128.load(p0 + k), q);
    b = addSquare(b, v128.load(p1 + k), q);
    c = addSquare(c, v128.load(p2 + k), q);
    e = addSquare(e, v128.load(p3 + k), q);
  }
  return sum4(a, b, c, e);
}

// @ts-ignore: decorator
@inline
export function dotOf4(query: usize, p0: usize, p1: usize, p2: usize, p3: usize, bytes: usize): v128 {
  let a = f32x4.splat(0);
  let b = a;
  let c = a;
  let e = a;
  let k: usize = 0;
  for (const even = bytes & ~31; k < even; k += 32) {
    let q = v128.load(query + k);
    a = addProduct(a, v128.load(p0 + k), q);
    b = addProduct(b, v128.load(p1 + k), q);
    c = addProduct(c, v128.load(p2 + k), q);
    e = addProduct(e, v128.load(p3 + k), q);
    q = v128.load(query + k, 16);
    a = addProduct(a, v128.load(p0 + k, 16), q);
    b = addProduct(b, v128.load(p1 + k, 16), q);
    c = addProduct(c, v128.load(p2 + k, 16), q);
    e = addProduct(e, v128.load(p3 + k, 16), q);
  }
  if (k < bytes) {
    const q = v128.load(query + k);
    a = addProduct(a, v128.load(p0 + k), q);
    b = addProduct(b, v128.load(p1 + k), q);
    c = addProduct(c, v128.load(p2 + k), q);
    e = addProduct(e, v128.load(p3 + k), q);
  }
  return sum4(a, b, c, e);
}

// Distances of four rows to one query: 0 squared Euclidean, 1 dot product.
// @ts-ignore: decorator
@inline
function of4(dot: bool, query: usize, p0: usize, p1: usize, p2: usize, p3: usize, bytes: usize): v128 {
  return dot ? dotOf4(query, p0, p1, p2, p3, bytes) : squaredL2Of4(query, p0, p1, p2, p3, bytes);
}

// A tail repeats its first row, so that no load leaves the rows. (One loop for whole fours and the tail: three predictable
// branches a four, and half the code.)
// @ts-ignore: decorator
@inline
function contiguous(dot: bool, query: usize, rows: usize, count: u32, stride: u32, out: usize): void {
  const bytes = (<usize>stride) << 2;
  for (let left = <i32>count; left > 0; left -= 4) {
    const p1 = left > 1 ? rows + bytes : rows;
    const p2 = left > 2 ? rows + (bytes << 1) : rows;
    const p3 = left > 3 ? rows + bytes * 3 : rows;
    storeLanes(out, of4(dot, query, rows, p1, p2, p3, bytes), left);
    rows += bytes << 2;
    out += 16;
  }
}

// @ts-ignore: decorator
@inline
function gathered(dot: bool, query: usize, rows: usize, ids: usize, count: u32, stride: u32, out: usize): void {
  const bytes = (<usize>stride) << 2;
  for (let left = <i32>count; left > 0; left -= 4) {
    const p0 = rows + <usize>load<u32>(ids) * bytes;
    const p1 = left > 1 ? rows + <usize>load<u32>(ids, 4) * bytes : p0;
    const p2 = left > 2 ? rows + <usize>load<u32>(ids, 8) * bytes : p0;
    const p3 = left > 3 ? rows + <usize>load<u32>(ids, 12) * bytes : p0;
    storeLanes(out, of4(dot, query, p0, p1, p2, p3, bytes), left);
    ids += 16;
    out += 16;
  }
}

/**
 * out[r] = |rows[r] - query|²
 *
 * query  f32 × stride           read
 * rows   f32 × count × stride   read
 * out    f32 × count            written
 *
 * Addresses are multiples of 16, stride of 4. Regions do not overlap. Any count, 0 included.
 */
export function squaredL2(query: usize, rows: usize, count: u32, stride: u32, out: usize): void {
  contiguous(false, query, rows, count, stride, out);
}

/** out[r] = rows[r] · query; regions as in squaredL2. */
export function dot(query: usize, rows: usize, count: u32, stride: u32, out: usize): void {
  contiguous(true, query, rows, count, stride, out);
}

/**
 * out[i] = |rows[ids[i]] - query|²
 *
 * query  f32 × stride   read
 * rows   f32 × … × stride   read at the listed ids only
 * ids    u32 × count    read
 * out    f32 × count    written
 */
export function squaredL2Gathered(query: usize, rows: usize, ids: usize, count: u32, stride: u32, out: usize): void {
  gathered(false, query, rows, ids, count, stride, out);
}

/** out[i] = rows[ids[i]] · query; regions as in squaredL2Gathered. */
export function dotGathered(query: usize, rows: usize, ids: usize, count: u32, stride: u32, out: usize): void {
  gathered(true, query, rows, ids, count, stride, out);
}

/**
 * out[r] = rows[r] · rows[r]
 *
 * rows   f32 × count × stride   read
 * out    f32 × count            written
 */
export function squaredNorms(rows: usize, count: u32, stride: u32, out: usize): void {
  const bytes = (<usize>stride) << 2;
  for (let i: u32 = 0; i < count; i++) {
    let a = f32x4.splat(0);
    for (const end = rows + bytes; rows < end; rows += 16) {
      const x = v128.load(rows);
      a = addProduct(a, x, x);
    }
    const t = f32x4.add(a, v128.shuffle<f32>(a, a, 2, 3, 0, 1));
    store<f32>(out, f32x4.extract_lane(t, 0) + f32x4.extract_lane(t, 1));
    out += 4;
  }
}

/**
 * out[r] = 1 / |rows[r]|, and returns the first row with |rows[r]|² below `least`, or count if there is none.
 *
 * rows   f32 × count × stride   read
 * out    f32 × count            written
 */
export function inverseLengths(rows: usize, count: u32, stride: u32, least: f32, out: usize): u32 {
  squaredNorms(rows, count, stride, out);
  let first = count;
  for (let i: u32 = 0; i < count; i++) {
    const squared = load<f32>(out);
    if (squared < least && first == count) first = i;
    store<f32>(out, <f32>1 / sqrt<f32>(squared));
    out += 4;
  }
  return first;
}

/**
 * Spreads packed rows to rows of `stride` floats and fills the rest of each with zeros.
 *
 * packed  f32 × count × dimensions   read, any alignment of 4
 * rows    f32 × count × stride       written; stride >= dimensions
 */
export function padRows(packed: usize, count: u32, dimensions: u32, stride: u32, rows: usize): void {
  const used = (<usize>dimensions) << 2;
  const rest = ((<usize>stride) << 2) - used;
  for (let i: u32 = 0; i < count; i++) {
    memory.copy(rows, packed, used);
    memory.fill(rows + used, 0, rest);
    packed += used;
    rows += used + rest;
  }
}
