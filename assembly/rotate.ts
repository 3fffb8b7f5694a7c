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

// Stages 4 and 8 of four vectors in a row, and their store.
// @ts-ignore: decorator
@inline
function storeFour(p: usize, a: v128, b: v128, c: v128, e: v128): void {
  const ab = f32x4.add(a, b);
  const am = f32x4.sub(a, b);
  const ce = f32x4.add(c, e);
  const cm = f32x4.sub(c, e);
  v128.store(p, f32x4.add(ab, ce));
  v128.store(p, f32x4.add(am, cm), 16);
  v128.store(p, f32x4.sub(ab, ce), 32);
  v128.store(p, f32x4.sub(am, cm), 48);
}

/**
 * The stages of distance 16 and more, in place: three at a time (radix 8), then two or one. Fewer passes over memory than
 * two at a time: 40 % faster at 128.
 */
function wideStages(x: usize, bytes: usize): void {
  const end = x + bytes;
  let h: usize = 64;
  for (; h * 8 <= bytes; h *= 8) {
    for (let i = x; i < end; i += 8 * h) {
      for (let j = i; j < i + h; j += 16) {
        const k = j + 4 * h;
        let a = v128.load(j);
        let b = v128.load(j + h);
        let c = v128.load(j + 2 * h);
        let e = v128.load(j + 3 * h);
        let ab = f32x4.add(a, b);
        let am = f32x4.sub(a, b);
        let ce = f32x4.add(c, e);
        let cm = f32x4.sub(c, e);
        const a0 = f32x4.add(ab, ce);
        const a1 = f32x4.add(am, cm);
        const a2 = f32x4.sub(ab, ce);
        const a3 = f32x4.sub(am, cm);
        a = v128.load(k);
        b = v128.load(k + h);
        c = v128.load(k + 2 * h);
        e = v128.load(k + 3 * h);
        ab = f32x4.add(a, b);
        am = f32x4.sub(a, b);
        ce = f32x4.add(c, e);
        cm = f32x4.sub(c, e);
        const b0 = f32x4.add(ab, ce);
        const b1 = f32x4.add(am, cm);
        const b2 = f32x4.sub(ab, ce);
        const b3 = f32x4.sub(am, cm);
        v128.store(j, f32x4.add(a0, b0));
        v128.store(j + h, f32x4.add(a1, b1));
        v128.store(j + 2 * h, f32x4.add(a2, b2));
        v128.store(j + 3 * h, f32x4.add(a3, b3));
        v128.store(k, f32x4.sub(a0, b0));
        v128.store(k + h, f32x4.sub(a1, b1));
        v128.store(k + 2 * h, f32x4.sub(a2, b2));
        v128.store(k + 3 * h, f32x4.sub(a3, b3));
      }
    }
  }
  if (h * 4 <= bytes) {
    for (let j = x; j < x + h; j += 16) {
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
  } else if (h * 2 <= bytes) {
    for (let j = x; j < x + h; j += 16) {
      const a = v128.load(j);
      const b = v128.load(j + h);
      v128.store(j, f32x4.add(a, b));
      v128.store(j + h, f32x4.sub(a, b));
    }
  }
}

/**
 * Walsh-Hadamard transform in place, not scaled.
 *
 * x  f32 × width   read and written; width a power of two >= 16
 *
 * Stages of distance 1, 2, 4, …, each butterfly (a + b, a - b). How many stages a pass over memory takes does not show in
 * the result.
 */
export function hadamard(x: usize, width: u32): void {
  const odd = i32x4(0, <i32>0x80000000, 0, <i32>0x80000000);
  const high = i32x4(0, 0, <i32>0x80000000, <i32>0x80000000);
  const bytes = (<usize>width) << 2;
  for (let p = x, end = x + bytes; p < end; p += 64) {
    storeFour(
      p,
      inVector(v128.load(p), odd, high),
      inVector(v128.load(p, 16), odd, high),
      inVector(v128.load(p, 32), odd, high),
      inVector(v128.load(p, 48), odd, high),
    );
  }
  wideStages(x, bytes);
}

/** out = transform of signs · (x - mean) over one window; without a mean, x itself. The signs ride along with the first pass. */
// @ts-ignore: decorator
@inline
function signedHadamard(centred: bool, x: usize, mean: usize, signs: usize, bytes: usize, out: usize): void {
  const odd = i32x4(0, <i32>0x80000000, 0, <i32>0x80000000);
  const high = i32x4(0, 0, <i32>0x80000000, <i32>0x80000000);
  for (let i: usize = 0; i < bytes; i += 64) {
    storeFour(
      out + i,
      inVector(signed(centred, x + i, mean + i, signs + i), odd, high),
      inVector(signed(centred, x + i + 16, mean + i + 16, signs + i + 16), odd, high),
      inVector(signed(centred, x + i + 32, mean + i + 32, signs + i + 32), odd, high),
      inVector(signed(centred, x + i + 48, mean + i + 48, signs + i + 48), odd, high),
    );
  }
  wideStages(out, bytes);
}

// @ts-ignore: decorator
@inline
function signed(centred: bool, x: usize, mean: usize, signs: usize): v128 {
  const v = v128.load(x);
  return f32x4.mul(centred ? f32x4.sub(v, v128.load(mean)) : v, v128.load(signs));
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
  const window = (<usize>width) << 2;
  const tail = bytes - window;
  for (let r: u32 = 0; r < count; r++) {
    for (let i = window; i < bytes; i += 16) v128.store(out + i, signed(true, rows + i, mean + i, signs + i));
    signedHadamard(true, rows, mean, signs, window, out);
    let s = signs;
    for (let round: u32 = 1; round < rounds; round++) {
      s += bytes;
      // Coordinates outside the window are multiplied too, before or behind it.
      const first: usize = round & 1 ? tail : 0;
      for (let i: usize = 0; i < first; i += 16) v128.store(out + i, signed(false, out + i, 0, s + i));
      for (let i = first + window; i < bytes; i += 16) v128.store(out + i, signed(false, out + i, 0, s + i));
      signedHadamard(false, out + first, 0, s + first, window, out + first);
    }
    rows += (<usize>stride) << 2;
    out += bytes;
  }
}
