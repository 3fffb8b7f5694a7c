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
  const zero = f32x4.splat(0);
  let norm = zero;
  let length = zero;
  let along = zero;
  const step: usize = wide ? 32 : 16;
  const shift: u32 = wide || slot < 16 ? 0 : 4;
  let byte = block + <usize>((slot & 7) * 2 + ((slot >> 3) & 1)) + (wide ? <usize>(slot & 16) : 0);
  const bytes = (<usize>dims) << 2;
  for (let i: usize = 0; i < bytes; i += 16) {
    const c = v128.load(centre + i);
    const r = f32x4.sub(v128.load(rotated + i), c);
    const bits = f32x4.ge(r, zero);
    norm = f32x4.add(norm, f32x4.mul(r, r));
    length = f32x4.add(length, f32x4.abs(r));
    along = f32x4.add(along, v128.bitselect(c, f32x4.neg(c), bits));
    store<u8>(byte, load<u8>(byte) | (i32x4.bitmask(bits) << shift));
    byte += step;
  }
  const squared = sum(norm);
  const l1 = sum(length);
  const ratio: f32 = l1 > 0 ? squared / l1 : 0;
  const factors = block + (((<usize>dims) >> 2) * step) + ((<usize>slot) << 2);
  store<f32>(factors, squared + 2 * ratio * sum(along) + offset);
  store<f32>(factors, -4 * ratio, 128);
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
