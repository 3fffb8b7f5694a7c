// Squared Euclidean distances and dot products of one query against rows: contiguous, or gathered by id.
//
// Order of summation, the same in every function of this file: lane l of a row's one accumulator sums the terms
// l, l + 4, l + 8, … from first to last, starting at 0; then (s0 + s2) + (s1 + s3). So a distance has the same bits
// whichever function computed it, on every engine.
//
// Four rows at a time with one accumulator each: the query is loaded once for four rows, and four independent streams
// hide the latency of memory better than touching rows ahead (which was measured and lost).

import { addProduct, addSquare, storeLanes, sum4 } from './lanes';

// acc + (x - q)², or with `dot` acc + x · q
// @ts-ignore: decorator
@inline
function add(dot: bool, acc: v128, x: v128, q: v128): v128 {
  return dot ? addProduct(acc, x, q) : addSquare(acc, x, q);
}

// @ts-ignore: decorator
@inline
function of4(dot: bool, query: usize, p0: usize, p1: usize, p2: usize, p3: usize, bytes: usize): v128 {
  let a = f32x4.splat(0);
  let b = a;
  let c = a;
  let e = a;
  let k: usize = 0;
  for (const even = bytes & ~31; k < even; k += 32) {
    let q = v128.load(query + k);
    a = add(dot, a, v128.load(p0 + k), q);
    b = add(dot, b, v128.load(p1 + k), q);
    c = add(dot, c, v128.load(p2 + k), q);
    e = add(dot, e, v128.load(p3 + k), q);
    q = v128.load(query + k, 16);
    a = add(dot, a, v128.load(p0 + k, 16), q);
    b = add(dot, b, v128.load(p1 + k, 16), q);
    c = add(dot, c, v128.load(p2 + k, 16), q);
    e = add(dot, e, v128.load(p3 + k, 16), q);
  }
  if (k < bytes) {
    const q = v128.load(query + k);
    a = add(dot, a, v128.load(p0 + k), q);
    b = add(dot, b, v128.load(p1 + k), q);
    c = add(dot, c, v128.load(p2 + k), q);
    e = add(dot, e, v128.load(p3 + k), q);
  }
  return sum4(a, b, c, e);
}

// Where row j of those to come is: in turn, or that of the j-th id.
// @ts-ignore: decorator
@inline
function rowAt(rows: usize, ids: usize, j: u32, bytes: usize): usize {
  return rows + <usize>(ids ? load<u32>(ids + ((<usize>j) << 2)) : j) * bytes;
}

// One loop for rows in turn (no ids) and gathered ones, for whole fours and the tail: a quarter of the code.
// @ts-ignore: decorator
@inline
function ofEach(dot: bool, query: usize, rows: usize, ids: usize, count: u32, stride: u32, out: usize): void {
  const bytes = (<usize>stride) << 2;
  for (let left = <i32>count; left > 0; left -= 4) {
    let p0 = rows;
    let p1 = rows + bytes;
    let p2 = p1 + bytes;
    let p3 = p2 + bytes;
    if (left < 4) {
      // A tail repeats its last row, so that no load leaves the rows.
      const last = <u32>left - 1;
      p0 = rowAt(rows, ids, 0, bytes);
      p1 = rowAt(rows, ids, min(1, last), bytes);
      p2 = rowAt(rows, ids, last, bytes);
      p3 = p2;
    } else if (ids) {
      p0 = rows + <usize>load<u32>(ids) * bytes;
      p1 = rows + <usize>load<u32>(ids, 4) * bytes;
      p2 = rows + <usize>load<u32>(ids, 8) * bytes;
      p3 = rows + <usize>load<u32>(ids, 12) * bytes;
      ids += 16;
    } else {
      rows = p3 + bytes;
    }
    storeLanes(out, of4(dot, query, p0, p1, p2, p3, bytes), left);
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
  squaredL2Gathered(query, rows, 0, count, stride, out);
}

/** out[r] = rows[r] · query; regions as in squaredL2. */
export function dot(query: usize, rows: usize, count: u32, stride: u32, out: usize): void {
  dotGathered(query, rows, 0, count, stride, out);
}

/**
 * out[i] = |rows[ids[i]] - query|²
 *
 * query  f32 × stride       read
 * rows   f32 × … × stride   read at the listed ids only; without ids (0), in turn
 * ids    u32 × count        read, or 0
 * out    f32 × count        written
 */
export function squaredL2Gathered(query: usize, rows: usize, ids: usize, count: u32, stride: u32, out: usize): void {
  ofEach(false, query, rows, ids, count, stride, out);
}

/** out[i] = rows[ids[i]] · query; regions as in squaredL2Gathered. */
export function dotGathered(query: usize, rows: usize, ids: usize, count: u32, stride: u32, out: usize): void {
  ofEach(true, query, rows, ids, count, stride, out);
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
