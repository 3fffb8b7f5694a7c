// Random orthogonal map by sign flips and Walsh-Hadamard transforms (Ailon and Chazelle, 2006): rounds of
// "flip signs, transform a window". The window has the largest power of two `width` <= dimensions; where that is less,
// even rounds transform the first and odd rounds the last `width` coordinates, so that all of them mix.
//
// The scale width^-1/2 that makes a transform orthogonal is folded into the signs of the coordinates that it covers:
// a round costs one multiplication a coordinate and no separate scaling.

// Stages 1 and 2 of four coordinates: (v0+v1, v0-v1, v2+v3, v2-v3), then the same over pairs.
// @ts-ignore: decorator
@inline
function inVector(v: v128, odd: v128, high: v128): v128 {
  const u = f32x4.add(v128.xor(v, odd), v128.shuffle<f32>(v, v, 1, 0, 3, 2));
  return f32x4.add(v128.xor(u, high), v128.shuffle<f32>(u, u, 2, 3, 0, 1));
}

/**
 * Walsh-Hadamard transform in place, not scaled.
 *
 * x  f32 × width   read and written; width a power of two >= 16
 *
 * Order: stages of distance 1, 2, then 4 and 8 together, then two at a time (radix 4), a last single one if one is left.
 * Each butterfly is (a + b, a - b); a radix-4 step adds and subtracts within each stage in turn.
 */
export function hadamard(x: usize, width: u32): void {
  const odd = i32x4(0, <i32>0x80000000, 0, <i32>0x80000000);
  const high = i32x4(0, 0, <i32>0x80000000, <i32>0x80000000);
  const bytes = (<usize>width) << 2;
  const end = x + bytes;
  for (let p = x; p < end; p += 64) {
    const a = inVector(v128.load(p), odd, high);
    const b = inVector(v128.load(p, 16), odd, high);
    const c = inVector(v128.load(p, 32), odd, high);
    const e = inVector(v128.load(p, 48), odd, high);
    const ab = f32x4.add(a, b);
    const am = f32x4.sub(a, b);
    const ce = f32x4.add(c, e);
    const cm = f32x4.sub(c, e);
    v128.store(p, f32x4.add(ab, ce));
    v128.store(p, f32x4.add(am, cm), 16);
    v128.store(p, f32x4.sub(ab, ce), 32);
    v128.store(p, f32x4.sub(am, cm), 48);
  }
  let h: usize = 64;
  for (; h * 4 <= bytes; h *= 4) {
    for (let i = x; i < end; i += 4 * h) {
      for (let j = i; j < i + h; j += 16) {
        const a = v128.load(j);
        const b = v128.load(j + h);
        const c = v128.load(j + 2 * h);
        const e = v128.load(j + 3 * h);
        const ab = f32x4.add(a, b);
        const am = f32x4.sub(a, b);
        const ce = f32x4.add(c, e);
        const cm = f32x4.sub(c, e);
        v128.store(j, f32x4.add(ab, ce));
        v128.store(j + h, f32x4.add(am, cm));
        v128.store(j + 2 * h, f32x4.sub(ab, ce));
        v128.store(j + 3 * h, f32x4.sub(am, cm));
      }
    }
  }
  if (h * 2 <= bytes) {
    for (let j = x; j < x + h; j += 16) {
      const a = v128.load(j);
      const b = v128.load(j + h);
      v128.store(j, f32x4.add(a, b));
      v128.store(j + h, f32x4.sub(a, b));
    }
  }
}

/**
 * out[r] = R (rows[r] - mean)
 *
 * rows   f32 × count × stride        read, `dimensions` of each
 * mean   f32 × dimensions            read
 * signs  f32 × rounds × dimensions   read: ±1, times width^-1/2 inside the round's window
 * out    f32 × count × dimensions    written
 *
 * rounds >= 1; dimensions is a multiple of 4 and at least 16; width the largest power of two <= dimensions. One round is
 * x ← signs · x, then a transform of the window at 0 (even rounds) or at dimensions - width (odd rounds).
 */
export function rotate(
  rows: usize,
  count: u32,
  stride: u32,
  mean: usize,
  signs: usize,
  rounds: u32,
  dimensions: u32,
  out: usize,
): void {
  const bytes = (<usize>dimensions) << 2;
  const width: u32 = 1 << (31 - clz(dimensions));
  const tail = ((<usize>(dimensions - width)) << 2);
  for (let r: u32 = 0; r < count; r++) {
    let s = signs;
    for (let i: usize = 0; i < bytes; i += 16) {
      const x = f32x4.sub(v128.load(rows + i), v128.load(mean + i));
      v128.store(out + i, f32x4.mul(x, v128.load(s + i)));
    }
    hadamard(out, width);
    for (let round: u32 = 1; round < rounds; round++) {
      s += bytes;
      for (let i: usize = 0; i < bytes; i += 16) {
        v128.store(out + i, f32x4.mul(v128.load(out + i), v128.load(s + i)));
      }
      hadamard(round & 1 ? out + tail : out, width);
    }
    rows += (<usize>stride) << 2;
    out += bytes;
  }
}
