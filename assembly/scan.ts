// Scans of code blocks by look-up table: 32 codes a step, 16 swizzled bytes at a time (the "fast scan" of André,
// Kermarrec and Le Scouarnec, VLDB 2015, on the codes of encode.ts).
//
// A query's table has 16 entries a group of four dimensions: entry e is the sum over its set bits of max(q_i, 0) and
// over its clear bits of max(-q_i, 0), scaled to 0…63. So four groups add up in 8 bits before they are widened.
//     Σ over bits 1 of q_i = scale · Σ entries + Σ min(q_i, 0)

import { FACTOR_BYTES } from './encode';
import { sum } from './lanes';
import { get, getFloat, Plan, put, putFloat } from './plan';
import { SCALAR } from './scalar';
import { narrow } from './select';

/**
 * Writes the look-up table of a rotated query, its scale and its biases.
 *
 * rotated  f32 × dims          read
 * Lut      16 bytes × dims/4   written
 */
export function makeTable(plan: usize, rotated: usize): void {
  const bytes = get(plan, Plan.Dims) << 2;
  const zero = f32x4.splat(0);
  let total = zero;
  let negative = zero;
  let largest = zero;
  for (let i: usize = 0; i < bytes; i += 16) {
    const x = v128.load(rotated + i);
    total = f32x4.add(total, x);
    negative = f32x4.add(negative, f32x4.min(x, zero));
    const a = f32x4.abs(x);
    const t = f32x4.add(a, v128.shuffle<f32>(a, a, 2, 3, 0, 1));
    largest = f32x4.pmax(largest, f32x4.add(t, v128.shuffle<f32>(t, t, 1, 0, 3, 2)));
  }
  const most = f32x4.extract_lane(largest, 0);
  const inverse = f32x4.splat(most > 0 ? <f32>63 / most : 0);
  putFloat(plan, Plan.LutScale, most / 63);
  putFloat(plan, Plan.LutBias, sum(negative) - <f32>0.5 * sum(total));

  if (SCALAR) return makeEntries(rotated, bytes, most, get(plan, Plan.Lut));
  // 2^23 + entry has the entry in its low bits, rounded: cheaper than a conversion with saturation.
  const magic = f32x4.splat(8388608);
  const low = i32x4.splat(255);
  let out = get(plan, Plan.Lut);
  for (let i: usize = 0; i < bytes; i += 16) {
    const y = f32x4.mul(v128.load(rotated + i), inverse);
    const p = f32x4.pmax(zero, y);
    const n = f32x4.pmax(zero, f32x4.neg(y));
    // lanes: bits 0 and 1 clear or set
    const ab = f32x4.add(v128.shuffle<f32>(n, p, 0, 4, 0, 4), v128.shuffle<f32>(n, p, 1, 1, 5, 5));
    const n2 = v128.shuffle<f32>(n, n, 2, 2, 2, 2);
    const p2 = v128.shuffle<f32>(p, p, 2, 2, 2, 2);
    const n3 = f32x4.add(ab, v128.shuffle<f32>(n, n, 3, 3, 3, 3));
    const p3 = f32x4.add(ab, v128.shuffle<f32>(p, p, 3, 3, 3, 3));
    const e0 = v128.and(f32x4.add(f32x4.add(n3, n2), magic), low);
    const e1 = v128.and(f32x4.add(f32x4.add(n3, p2), magic), low);
    const e2 = v128.and(f32x4.add(f32x4.add(p3, n2), magic), low);
    const e3 = v128.and(f32x4.add(f32x4.add(p3, p2), magic), low);
    v128.store(out, i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_u(e0, e1), i16x8.narrow_i32x4_u(e2, e3)));
    out += 16;
  }
}

// The second half of makeTable, a number at a time: the same sums in the same order.
function makeEntries(rotated: usize, bytes: usize, most: f32, out: usize): void {
  const inverse: f32 = most > 0 ? <f32>63 / most : 0;
  for (const end = rotated + bytes; rotated < end; rotated += 16) {
    const x0 = load<f32>(rotated) * inverse;
    const x1 = load<f32>(rotated, 4) * inverse;
    const x2 = load<f32>(rotated, 8) * inverse;
    const x3 = load<f32>(rotated, 12) * inverse;
    const ab0 = above(-x0) + above(-x1);
    const ab1 = above(x0) + above(-x1);
    const ab2 = above(-x0) + above(x1);
    const ab3 = above(x0) + above(x1);
    const n2 = above(-x2);
    const p2 = above(x2);
    let c = above(-x3);
    store<u32>(out, fourEntries(ab0 + c, ab1 + c, ab2 + c, ab3 + c, n2));
    store<u32>(out, fourEntries(ab0 + c, ab1 + c, ab2 + c, ab3 + c, p2), 4);
    c = above(x3);
    store<u32>(out, fourEntries(ab0 + c, ab1 + c, ab2 + c, ab3 + c, n2), 8);
    store<u32>(out, fourEntries(ab0 + c, ab1 + c, ab2 + c, ab3 + c, p2), 12);
    out += 16;
  }
}

// @ts-ignore: decorator
@inline
function above(x: f32): f32 {
  return x > 0 ? x : 0;
}

// @ts-ignore: decorator
@inline
function fourEntries(a: f32, b: f32, c: f32, e: f32, x: f32): u32 {
  return entry(a + x) | (entry(b + x) << 8) | (entry(c + x) << 16) | (entry(e + x) << 24);
}

// @ts-ignore: decorator
@inline
function entry(x: f32): u32 {
  return <i32>(x + <f32>8388608) & 255;
}

/** Blocks scanned before their survivors are taken out and the limit falls. */
export const BATCH: u32 = 16;
/** The same while there is no limit yet, and every slot survives. */
const FIRST_BATCH: u32 = 2;
/** A block that waits for that: 32 lower bounds less g, the mask of its survivors, the address of its factors. */
const WAITING_BYTES: usize = 144;

// Bounds of slots from sums of bytes one by one: what `bounds` gives, for where sixteen look-ups are sixteen loads.
function boundsOneByOne(centres: bool, plan: usize, first: usize, end: usize, limit: f32, bias: f32): u32 {
  const step: usize = centres ? 32 : 16;
  const codeBytes = (get(plan, Plan.Dims) >> 2) * step;
  const lut = get(plan, Plan.Lut);
  const scale = getFloat(plan, Plan.LutScale);
  const waiting = get(plan, Plan.Waiting);
  let out = waiting;
  for (let block = first; block < end; block += codeBytes + FACTOR_BYTES) {
    const factors = block + codeBytes;
    let mask: u32 = 0;
    for (let i: usize = 0; i < 16; i += 4) {
      let a: u32 = 0;
      let b: u32 = 0;
      let c: u32 = 0;
      let e: u32 = 0;
      let t = lut;
      for (let p = block + i; p < factors; p += step) {
        const x = load<u32>(p);
        const y = centres ? load<u32>(p, 16) : x >> 4;
        a += load<u8>(t + (x & 15)) | (load<u8>(t + (y & 15)) << 16);
        b += load<u8>(t + ((x >> 8) & 15)) | (load<u8>(t + ((y >> 8) & 15)) << 16);
        c += load<u8>(t + ((x >> 16) & 15)) | (load<u8>(t + ((y >> 16) & 15)) << 16);
        e += load<u8>(t + ((x >> 24) & 15)) | (load<u8>(t + ((y >> 24) & 15)) << 16);
        t += 16;
      }
      // Bytes 2i are slots i, bytes 2i + 1 slots i + 8, high nibbles those 16 behind.
      const slot = <u32>i >> 1;
      mask |= boundOf(a, factors, slot, scale, bias, limit, out);
      mask |= boundOf(b, factors, slot + 8, scale, bias, limit, out);
      mask |= boundOf(c, factors, slot + 1, scale, bias, limit, out);
      mask |= boundOf(e, factors, slot + 9, scale, bias, limit, out);
    }
    store<u32>(out, mask, 128);
    store<u32>(out, <u32>factors, 132);
    out += mask ? WAITING_BYTES : 0;
  }
  return <u32>((out - waiting) / WAITING_BYTES);
}

// Stores the bounds of `slot` and of the one 16 behind, whose sums are the halves of `sums`; their bits of the mask.
// @ts-ignore: decorator
@inline
function boundOf(sums: u32, factors: usize, slot: u32, scale: f32, bias: f32, limit: f32, out: usize): u32 {
  const at = (<usize>slot) << 2;
  const low = load<f32>(factors + at) + load<f32>(factors + at, 128) * (<f32>(<i32>(sums & 65535)) * scale + bias);
  store<f32>(out + at, low);
  const high = load<f32>(factors + at, 64) + load<f32>(factors + at, 192) * (<f32>(<i32>(sums >> 16)) * scale + bias);
  store<f32>(out + at, high, 64);
  return ((<u32>(low < limit)) << slot) | ((<u32>(high < limit)) << (slot + 16));
}

// Sixteen table entries at once. Indexes are 0…15, where every engine gives the same: relaxed, and one instruction on x86
// instead of two. assembly/build.mjs makes the plain form of the binary, for engines without relaxed SIMD.
// @ts-ignore: decorator
@inline
function lookUp(table: v128, indexes: v128): v128 {
  return i8x16.relaxed_swizzle(table, indexes);
}

// Lower bounds, less g, of four slots: add + mul · (scale · sum + bias).
// @ts-ignore: decorator
@inline
function lowerBounds(wideSums: v128, factors: usize, at: usize, scale: v128, bias: v128): v128 {
  const s = f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(wideSums), scale), bias);
  return f32x4.add(v128.load(factors + at), f32x4.mul(v128.load(factors + at, 128), s));
}

/**
 * Lower bounds of the blocks [first, end), at most BATCH of them; blocks with a bound under the limit are left in
 * Waiting. Returns how many.
 *
 * Nothing here branches on the data: whether a block has a survivor is a coin toss, and a mispredicted branch costs as
 * much as eight codes. (Looping over the set bits of each block at once: 1.9 ns a code instead of 1.2.)
 */
// @ts-ignore: decorator
@inline
function bounds(centres: bool, plan: usize, first: usize, end: usize, limit: f32, bias1: f32): u32 {
  if (SCALAR) return boundsOneByOne(centres, plan, first, end, limit, bias1);
  const groups = <u32>get(plan, Plan.Dims) >> 2;
  const codeBytes: usize = (<usize>groups) << (centres ? 5 : 4);
  const quads: usize = ((<usize>groups) >> 2) << (centres ? 7 : 6);
  const odd = groups & 3;
  const lut = get(plan, Plan.Lut);
  // From memory: some engines build a constant anew in every iteration, a load they keep in a register.
  const nibble = v128.load(get(plan, Plan.Constants));
  const scale = f32x4.splat(getFloat(plan, Plan.LutScale));
  const bias = f32x4.splat(bias1);
  const limits = f32x4.splat(limit);
  const blockBytes = codeBytes + FACTOR_BYTES;
  const waiting = get(plan, Plan.Waiting);
  let out = waiting;
  for (let block = first; block < end; block += blockBytes) {
    let lo0 = i16x8.splat(0);
    let hi0 = lo0;
    let lo1 = lo0;
    let hi1 = lo0;
    let c = block;
    let t = lut;
    let x: v128;
    let l: v128;
    let a: v128;
    let b: v128;
    for (const stop = c + quads; c < stop; ) {
      l = v128.load(t);
      if (centres) {
        a = lookUp(l, v128.load(c));
        b = lookUp(l, v128.load(c, 16));
        l = v128.load(t, 16);
        a = i8x16.add(a, lookUp(l, v128.load(c, 32)));
        b = i8x16.add(b, lookUp(l, v128.load(c, 48)));
        l = v128.load(t, 32);
        a = i8x16.add(a, lookUp(l, v128.load(c, 64)));
        b = i8x16.add(b, lookUp(l, v128.load(c, 80)));
        l = v128.load(t, 48);
        a = i8x16.add(a, lookUp(l, v128.load(c, 96)));
        b = i8x16.add(b, lookUp(l, v128.load(c, 112)));
        c += 128;
      } else {
        x = v128.load(c);
        a = lookUp(l, v128.and(x, nibble));
        b = lookUp(l, v128.and(i16x8.shr_u(x, 4), nibble));
        x = v128.load(c, 16);
        l = v128.load(t, 16);
        a = i8x16.add(a, lookUp(l, v128.and(x, nibble)));
        b = i8x16.add(b, lookUp(l, v128.and(i16x8.shr_u(x, 4), nibble)));
        x = v128.load(c, 32);
        l = v128.load(t, 32);
        a = i8x16.add(a, lookUp(l, v128.and(x, nibble)));
        b = i8x16.add(b, lookUp(l, v128.and(i16x8.shr_u(x, 4), nibble)));
        x = v128.load(c, 48);
        l = v128.load(t, 48);
        a = i8x16.add(a, lookUp(l, v128.and(x, nibble)));
        b = i8x16.add(b, lookUp(l, v128.and(i16x8.shr_u(x, 4), nibble)));
        c += 64;
      }
      t += 64;
      // Bytes 2i carry over into bytes 2i + 1 of the 16-bit sums; that carry is taken off after the loop.
      lo0 = i16x8.add(lo0, a);
      hi0 = i16x8.add(hi0, i16x8.shr_u(a, 8));
      lo1 = i16x8.add(lo1, b);
      hi1 = i16x8.add(hi1, i16x8.shr_u(b, 8));
    }
    if (odd) {
      a = i8x16.splat(0);
      b = a;
      for (let left = odd; left; left--) {
        l = v128.load(t);
        x = v128.load(c);
        if (centres) {
          a = i8x16.add(a, lookUp(l, x));
          b = i8x16.add(b, lookUp(l, v128.load(c, 16)));
          c += 32;
        } else {
          a = i8x16.add(a, lookUp(l, v128.and(x, nibble)));
          b = i8x16.add(b, lookUp(l, v128.and(i16x8.shr_u(x, 4), nibble)));
          c += 16;
        }
        t += 16;
      }
      lo0 = i16x8.add(lo0, a);
      hi0 = i16x8.add(hi0, i16x8.shr_u(a, 8));
      lo1 = i16x8.add(lo1, b);
      hi1 = i16x8.add(hi1, i16x8.shr_u(b, 8));
    }
    lo0 = i16x8.sub(lo0, i16x8.shl(hi0, 8));
    lo1 = i16x8.sub(lo1, i16x8.shl(hi1, 8));

    const factors = block + codeBytes;
    const b0 = lowerBounds(i32x4.extend_low_i16x8_u(lo0), factors, 0, scale, bias);
    const b1 = lowerBounds(i32x4.extend_high_i16x8_u(lo0), factors, 16, scale, bias);
    const b2 = lowerBounds(i32x4.extend_low_i16x8_u(hi0), factors, 32, scale, bias);
    const b3 = lowerBounds(i32x4.extend_high_i16x8_u(hi0), factors, 48, scale, bias);
    v128.store(out, b0);
    v128.store(out, b1, 16);
    v128.store(out, b2, 32);
    v128.store(out, b3, 48);
    const b4 = lowerBounds(i32x4.extend_low_i16x8_u(lo1), factors, 64, scale, bias);
    const b5 = lowerBounds(i32x4.extend_high_i16x8_u(lo1), factors, 80, scale, bias);
    const b6 = lowerBounds(i32x4.extend_low_i16x8_u(hi1), factors, 96, scale, bias);
    const b7 = lowerBounds(i32x4.extend_high_i16x8_u(hi1), factors, 112, scale, bias);
    v128.store(out, b4, 64);
    v128.store(out, b5, 80);
    v128.store(out, b6, 96);
    v128.store(out, b7, 112);
    const m0 = i16x8.narrow_i32x4_s(f32x4.lt(b0, limits), f32x4.lt(b1, limits));
    const m1 = i16x8.narrow_i32x4_s(f32x4.lt(b2, limits), f32x4.lt(b3, limits));
    const m2 = i16x8.narrow_i32x4_s(f32x4.lt(b4, limits), f32x4.lt(b5, limits));
    const m3 = i16x8.narrow_i32x4_s(f32x4.lt(b6, limits), f32x4.lt(b7, limits));
    const mask =
      <u32>i8x16.bitmask(i8x16.narrow_i16x8_s(m0, m1)) | (<u32>i8x16.bitmask(i8x16.narrow_i16x8_s(m2, m3)) << 16);
    store<u32>(out, mask, 128);
    store<u32>(out, <u32>factors, 132);
    out += WAITING_BYTES * <usize>(mask != 0);
  }
  return <u32>((out - waiting) / WAITING_BYTES);
}

/**
 * Takes the survivors out of `waiting` blocks: lower bounds (with g), rows and, of cells, estimates. Returns how many;
 * up to four more places are overwritten.
 *
 * Four slots a step without a look whether there are as many: one predictable branch a block instead of one a survivor.
 * (Packing all slots to the left by shuffles was slower: 130 cycles a block.)
 */
// @ts-ignore: decorator
@inline
function takeOut(
  centres: bool,
  plan: usize,
  waiting: u32,
  g: f32,
  margin: f32,
  keys: usize,
  rows: usize,
  estimates: usize,
): u32 {
  let block = get(plan, Plan.Waiting);
  let out: usize = 0;
  for (const end = block + <usize>waiting * WAITING_BYTES; block < end; block += WAITING_BYTES) {
    let mask = load<u32>(block, 128);
    const factors = <usize>load<u32>(block, 132);
    do {
      take(centres, block, factors, mask, g, margin, keys + out, rows + out, estimates + out);
      mask &= mask - 1;
      out += 4;
    } while (mask);
  }
  return <u32>(out >> 2);
}

// One survivor, the lowest bit of the mask; of an empty mask, slot 32: bytes behind the slots that nobody looks at.
// @ts-ignore: decorator
@inline
function take(
  centres: bool,
  block: usize,
  factors: usize,
  mask: u32,
  g: f32,
  margin: f32,
  key: usize,
  row: usize,
  estimate: usize,
): void {
  const slot = (<usize>ctz(mask)) << 2;
  const lower = load<f32>(block + slot) + g;
  store<f32>(key, lower);
  store<u32>(row, load<u32>(factors + slot, 256));
  if (!centres) store<f32>(estimate, lower - load<f32>(factors + slot, 128) * margin);
}

/**
 * Scans at most BATCH blocks of one cell: lower bounds and rows of the slots under `limit`, g apart, behind each other, their
 * estimates behind Waiting. Returns how many; up to four more places are overwritten.
 */
export function scanBlocks(
  plan: usize,
  first: usize,
  end: usize,
  limit: f32,
  bias: f32,
  g: f32,
  margin: f32,
  keys: usize,
  rows: usize,
): u32 {
  const waiting = bounds(false, plan, first, end, limit, bias);
  return takeOut(false, plan, waiting, g, margin, keys, rows, estimatesOf(plan));
}

// @ts-ignore: decorator
@inline
function estimatesOf(plan: usize): usize {
  return get(plan, Plan.Waiting) + <usize>BATCH * WAITING_BYTES;
}

/**
 * Scans the blocks [first, end) of one cell. Slots whose lower bound is under Worst are appended to SurvivorKeys and
 * SurvivorRows (there must be room for all slots); Worst falls to the largest of Estimates.
 * g = |q' - c'|², margin = 0.3 ε √g. Returns 1 if Estimates changed, else 0.
 */
export function scanCell(plan: usize, first: usize, end: usize, g: f32, margin: f32): u32 {
  const blockBytes = (get(plan, Plan.Dims) << 2) + FACTOR_BYTES;
  const bias = getFloat(plan, Plan.LutBias) + margin;
  const nearest = get(plan, Plan.Estimates);
  const k = <u32>get(plan, Plan.EstimateCount);
  const keys = get(plan, Plan.SurvivorKeys);
  const rows = get(plan, Plan.SurvivorRows);
  const estimates = estimatesOf(plan);
  let pending = get(plan, Plan.Pending);
  let worst = getFloat(plan, Plan.Worst);
  let changed: u32 = 0;
  while (first < end) {
    const stop = min(end, first + <usize>(worst < Infinity ? BATCH : FIRST_BATCH) * blockBytes);
    const limit = worst - g;
    const n = scanBlocks(plan, first, stop, limit, bias, g, margin, keys + (pending << 2), rows + (pending << 2));
    pending += <usize>n;
    first = stop;
    // The places behind the last estimate hold slots that did not survive, or older ones: they are cut off here.
    for (let i: u32 = 0; i < n; i += 4) {
      const p = estimates + ((<usize>i) << 2);
      if (!v128.any_true(f32x4.lt(v128.load(p), f32x4.splat(worst)))) continue;
      for (let j: u32 = i, m = min(n, i + 4); j < m; j++) {
        const estimate = load<f32>(estimates + ((<usize>j) << 2));
        if (!(estimate < worst)) continue;
        replaceLargest(nearest, k, estimate);
        worst = load<f32>(nearest);
        changed = 1;
      }
    }
  }
  putFloat(plan, Plan.Worst, worst);
  put(plan, Plan.Pending, pending);
  return changed;
}

/**
 * Scans the centre blocks [first, end). Estimates under Worst are appended to CandidateKeys and their cells to
 * Candidates, `count` of them so far; past `room` only the best `take` stay and Worst falls. Returns the new count.
 * g = squared distance to what the centres are coded against.
 *
 * Without `room`, for a `take` of a few: the candidates are the best so far in ascending order, at most `take`. Each batch
 * is as long as all before it, so that it brings about `take` survivors. (To narrow a first batch of 512 centres took half
 * of the time of an assignment.)
 */
export function scanCentres(plan: usize, first: usize, end: usize, g: f32, count: u32, take: u32, room: u32): u32 {
  const blockBytes = (get(plan, Plan.Dims) << 3) + FACTOR_BYTES;
  const bias = getFloat(plan, Plan.LutBias);
  const keys = get(plan, Plan.CandidateKeys);
  const cells = get(plan, Plan.Candidates);
  let worst = getFloat(plan, Plan.Worst);
  let batch: u32 = room ? BATCH : 1;
  while (first < end) {
    const stop = min(end, first + <usize>batch * blockBytes);
    const limit = worst - g;
    const waiting = bounds(true, plan, first, stop, limit, bias);
    const at = (<usize>(room ? count : take)) << 2;
    const n = takeOut(true, plan, waiting, g, 0, keys + at, cells + at, 0);
    first = stop;
    if (!room) {
      batch = min(BATCH, batch << 1);
      for (let p = at, last = at + ((<usize>n) << 2); p < last; p += 4) {
        const key = load<f32>(keys + p);
        if (!(key < worst)) continue;
        insert(keys, cells, count < take ? count++ : take - 1, key, load<u32>(cells + p));
        if (count == take) worst = load<f32>(keys + at - 4);
      }
    } else {
      count += n;
      if (count > room) {
        worst = narrow(plan, count, take);
        count = take;
      }
    }
  }
  putFloat(plan, Plan.Worst, worst);
  return count;
}

// Puts a pair among `count` sorted ones; one behind them is overwritten.
// @ts-ignore: decorator
@inline
function insert(keys: usize, values: usize, count: u32, key: f32, value: u32): void {
  let hole = (<usize>count) << 2;
  for (; hole > 0 && load<f32>(keys + hole - 4) > key; hole -= 4) {
    store<f32>(keys + hole, load<f32>(keys + hole - 4));
    store<u32>(values + hole, load<u32>(values + hole - 4));
  }
  store<f32>(keys + hole, key);
  store<u32>(values + hole, value);
}

/** Replaces the root of a max-heap of k floats by a smaller one. */
function replaceLargest(heap: usize, k: u32, value: f32): void {
  const end = heap + ((<usize>k) << 2);
  let hole = heap;
  for (;;) {
    let child = heap + ((hole - heap) << 1) + 4;
    if (child >= end) break;
    let larger = load<f32>(child);
    if (child + 4 < end && load<f32>(child, 4) > larger) {
      child += 4;
      larger = load<f32>(child);
    }
    if (!(larger > value)) break;
    store<f32>(hole, larger);
    hole = child;
  }
  store<f32>(hole, value);
}
