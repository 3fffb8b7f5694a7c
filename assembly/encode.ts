// Sign codes of rotated residuals, and the two factors that turn a look-up sum into an estimated squared distance
// (the estimator of RaBitQ: Gao and Long, SIGMOD 2024, section 3).
//
//     block, 32 slots:  [0, 16m)      codes, m = dims / 4 groups of 16 bytes
//                       [16m, +128)   f32 add[32]
//                       [.., +128)    f32 mul[32]
//                       [.., +128)    u32 row[32]     read for survivors only
//     group s:  byte 2i holds slot i (low nibble) and slot 16 + i (high nibble), byte 2i + 1 slots 8 + i and 24 + i:
//               sums of 16 bits then come out of the bytes without a shuffle. Bit j of a nibble is 1 iff
//               residual coordinate 4s + j >= 0.
//     centre blocks hold one nibble a byte, 32 bytes a group: slots 0…15, then 16…31. No mask, no shift: faster for
//               the few codes that every query reads, slower (memory) for the many.
//
// With r = x' - c' (rotated row less rotated centre), L = Σ|r_i|:
//     |x' - q'|² ≈ add + |q' - c'|² + mul · Σ over dims with bit 1 of (q')_i   (plus what depends on the query alone)
//     add = |r|² + 2 |r|²/L · Σ sgn(r_i) c'_i,   mul = -4 |r|²/L
// so the table of a query does not depend on the cell. An empty slot has add = infinity, mul = 0: it never survives.

import { sum } from './lanes';

/** Bytes behind the codes of a block: add, mul, row. */
export const FACTOR_BYTES: usize = 384;

/**
 * Marks every slot of a block empty.
 *
 * block  codeBytes + 384 bytes   written
 */
export function clearBlock(block: usize, codeBytes: u32): void {
  memory.fill(block, 0, codeBytes);
  const factors = block + codeBytes;
  for (let i: usize = 0; i < 128; i += 4) {
    store<f32>(factors + i, Infinity);
    store<f32>(factors + i, 0, 128);
    store<u32>(factors + i, 0xffffffff, 256);
  }
}

// The code of a residual, a nibble every `step` bytes, and its factors `apart` bytes from each other.
// @ts-ignore: decorator
@inline
function code(
  rotated: usize,
  centre: usize,
  dims: u32,
  byte: usize,
  step: usize,
  shift: u32,
  fresh: bool,
  factors: usize,
  apart: usize,
  offset: f32,
): void {
  const zero = f32x4.splat(0);
  let norm = zero;
  let length = zero;
  let along = zero;
  const bytes = (<usize>dims) << 2;
  for (let i: usize = 0; i < bytes; i += 16) {
    const c = v128.load(centre + i);
    const r = f32x4.sub(v128.load(rotated + i), c);
    const bits = f32x4.ge(r, zero);
    norm = f32x4.add(norm, f32x4.mul(r, r));
    length = f32x4.add(length, f32x4.abs(r));
    along = f32x4.add(along, v128.bitselect(c, f32x4.neg(c), bits));
    const nibble = i32x4.bitmask(bits) << shift;
    store<u8>(byte, fresh ? nibble : load<u8>(byte) | nibble);
    byte += step;
  }
  const squared = sum(norm);
  const l1 = sum(length);
  const ratio: f32 = l1 > 0 ? squared / l1 : 0;
  store<f32>(factors, squared + 2 * ratio * sum(along) + offset);
  store<f32>(factors + apart, -4 * ratio);
}

// Where the code of a slot begins.
// @ts-ignore: decorator
@inline
function codeOf(block: usize, slot: u32, wide: bool): usize {
  return block + <usize>((slot & 7) * 2 + ((slot >> 3) & 1)) + (wide ? <usize>(slot & 16) : 0);
}

/**
 * Writes one row into an empty slot of a block.
 *
 * rotated  f32 × dims   read
 * centre   f32 × dims   read
 * block                 slot written; its code bits must be 0
 * wide     1: one nibble a byte (centre blocks)
 * offset   added to `add`: energy outside the coded space, or what a metric needs
 */
export function encode(
  rotated: usize,
  centre: usize,
  dims: u32,
  block: usize,
  slot: u32,
  wide: u32,
  row: u32,
  offset: f32,
): void {
  const step: usize = wide ? 32 : 16;
  const factors = block + (((<usize>dims) >> 2) * step) + ((<usize>slot) << 2);
  const shift: u32 = wide || slot < 16 ? 0 : 4;
  code(rotated, centre, dims, codeOf(block, slot, wide != 0), step, shift, false, factors, 128, offset);
  store<u32>(factors, row, 256);
}

/** Bytes of a row's code while it has no slot yet: a nibble a byte, then, aligned, add and mul. */
// @ts-ignore: decorator
@inline
export function looseBytes(dims: u32): usize {
  return looseFactors(dims) + 8;
}

// @ts-ignore: decorator
@inline
function looseFactors(dims: u32): usize {
  return (<usize>(dims >> 2) + 3) & ~3;
}

/** Writes the code of one row for `slotIn`: what `encode` would write into a slot. */
export function encodeLoose(rotated: usize, centre: usize, dims: u32, loose: usize, offset: f32): void {
  code(rotated, centre, dims, loose, 1, 0, true, loose + looseFactors(dims), 4, offset);
}

/** Puts the code of one row, as encodeLoose wrote it, into an empty slot of a block. */
export function slotIn(loose: usize, dims: u32, block: usize, slot: u32, row: u32): void {
  const shift: u32 = slot < 16 ? 0 : 4;
  const end = loose + <usize>(dims >> 2);
  const from = loose + looseFactors(dims);
  let byte = codeOf(block, slot, false);
  for (; loose < end; loose++, byte += 16) store<u8>(byte, load<u8>(byte) | <u8>(<u32>load<u8>(loose) << shift));
  const factors = block + ((<usize>dims) << 2) + ((<usize>slot) << 2);
  store<f32>(factors, load<f32>(from));
  store<f32>(factors, load<f32>(from, 4), 128);
  store<u32>(factors, row, 256);
}

/** Empties one slot, as clearBlock does; its code bits are zeroed so that it can be written again. */
export function clearSlot(block: usize, codeBytes: u32, slot: u32): void {
  const keep: u8 = slot < 16 ? 0xf0 : 0x0f;
  const first = block + <usize>((slot & 7) * 2 + ((slot >> 3) & 1));
  for (let i: usize = 0; i < codeBytes; i += 16) store<u8>(first + i, load<u8>(first + i) & keep);
  const factors = block + codeBytes + ((<usize>slot) << 2);
  store<f32>(factors, Infinity);
  store<f32>(factors, 0, 128);
  store<u32>(factors, 0xffffffff, 256);
}
