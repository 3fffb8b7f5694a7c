// The oracle: what every kernel of assembly/ computes, written to be obvious rather than fast.
//
// Each operation is rounded to f32 at once (Math.fround), in the order that the kernel's docstring states, so that a
// kernel must give the same bits. A double holds the exact product of two floats, and rounding their sum or difference
// first to a double and then to a float gives what one rounding gives.

const f = Math.fround;

/** Row `r` of rows that lie `stride` floats apart. */
export function rowOf(rows: Float32Array, r: number, stride: number): Float32Array {
  return rows.subarray(r * stride, (r + 1) * stride);
}

/** Lane l sums the terms l, l + 4, l + 8, … from first to last, starting at 0; then (s0 + s2) + (s1 + s3). */
function sumOfLanes(terms: Float32Array): number {
  const s = [0, 0, 0, 0];
  for (let i = 0; i < terms.length; i++) s[i % 4] = f(s[i % 4] + terms[i]);
  return f(f(s[0] + s[2]) + f(s[1] + s[3]));
}

/** a · b of vectors whose length is a multiple of 4 */
export function dot(a: Float32Array, b: Float32Array): number {
  return sumOfLanes(a.map((x, i) => f(x * b[i])));
}

/** |a - b|² of vectors whose length is a multiple of 4 */
export function squaredL2(a: Float32Array, b: Float32Array): number {
  return sumOfLanes(a.map((x, i) => f(f(x - b[i]) * f(x - b[i]))));
}

/** Packed rows of `dimensions` floats, as rows of `stride` floats that end in zeros */
export function padRows(
  packed: Float32Array,
  count: number,
  dimensions: number,
  stride: number,
): Float32Array {
  const rows = new Float32Array(count * stride);
  for (let r = 0; r < count; r++) rows.set(packed.subarray(r * dimensions, (r + 1) * dimensions), r * stride);
  return rows;
}

/** row · plane as one running sum over k = 0, 1, 2, …, starting at 0 */
export function margin(row: Float32Array, plane: Float32Array, dimensions: number): number {
  let sum = 0;
  for (let k = 0; k < dimensions; k++) sum = f(sum + f(row[k] * plane[k]));
  return sum;
}

/** Hyperplanes interleaved in blocks of eight; missing planes are zeros */
export function packPlanes(
  planes: Float32Array,
  planeCount: number,
  planeStride: number,
  dimensions: number,
): Float32Array {
  const packed = new Float32Array(Math.ceil(planeCount / 8) * dimensions * 8);
  for (let p = 0; p < planeCount; p++) {
    const block = Math.floor(p / 8) * dimensions * 8;
    for (let k = 0; k < dimensions; k++) packed[block + k * 8 + (p % 8)] = planes[p * planeStride + k];
  }
  return packed;
}

/** Margins of every row against every plane, in rows of 8 ceil(planeCount / 8); margins of missing planes are 0 */
export function margins(
  rows: Float32Array,
  count: number,
  stride: number,
  dimensions: number,
  planes: Float32Array,
  planeCount: number,
  planeStride: number,
): Float32Array {
  const width = 8 * Math.ceil(planeCount / 8);
  const out = new Float32Array(count * width);
  for (let r = 0; r < count; r++) {
    for (let p = 0; p < planeCount; p++) {
      out[r * width + p] = margin(rowOf(rows, r, stride), rowOf(planes, p, planeStride), dimensions);
    }
  }
  return out;
}

/** Bit i is 1 iff margins[i] >= 0; eight margins a byte, the first weighs 1 */
export function signBits(margins: Float32Array): Uint8Array {
  const bytes = new Uint8Array(margins.length / 8);
  for (let i = 0; i < margins.length; i++) if (margins[i] >= 0) bytes[Math.floor(i / 8)] += 2 ** (i % 8);
  return bytes;
}

/** Bits t · bits … t · bits + bits - 1 of one row's sign bits, for each table t */
export function keys(signs: Uint8Array, tables: number, bits: number): Uint32Array {
  const out = new Uint32Array(tables);
  for (let t = 0; t < tables; t++) {
    for (let i = 0; i < bits; i++) {
      const at = t * bits + i;
      out[t] += 2 ** i * (Math.floor(signs[Math.floor(at / 8)] / 2 ** (at % 8)) % 2);
    }
  }
  return out;
}

/** Walsh-Hadamard transform in place: stages of distance 1, 2, 4, …, each butterfly (a + b, a - b) */
export function hadamard(x: Float32Array): void {
  for (let distance = 1; distance < x.length; distance *= 2) {
    for (let i = 0; i < x.length; i++) {
      if (Math.floor(i / distance) % 2 === 1) continue;
      const a = x[i];
      const b = x[i + distance];
      x[i] = a + b;
      x[i + distance] = a - b;
    }
  }
}

/** R (row - mean): rounds of sign flips and a transform of the window at the start, then the end, and so on */
export function rotate(
  row: Float32Array,
  mean: Float32Array,
  signs: Float32Array,
  rounds: number,
): Float32Array {
  const dimensions = mean.length;
  let width = 1;
  while (width * 2 <= dimensions) width *= 2;
  const x = mean.map((m, i) => row[i] - m);
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < dimensions; i++) x[i] *= signs[round * dimensions + i];
    const start = round % 2 === 0 ? 0 : dimensions - width;
    hadamard(x.subarray(start, start + width));
  }
  return x;
}

/** Number of bits in which two codes differ */
export function hamming(a: Uint8Array, b: Uint8Array): number {
  let differ = 0;
  for (let i = 0; i < 8 * a.length; i++) {
    const byte = Math.floor(i / 8);
    if (((a[byte] >> (i % 8)) & 1) !== ((b[byte] >> (i % 8)) & 1)) differ++;
  }
  return differ;
}

/** Metric 0: squared distance; 1: 1 - cosine, at least 0; 2: minus the inner product */
export function score(
  metric: number,
  query: Float32Array,
  queryScale: number,
  row: Float32Array,
  scale: number,
): number {
  if (metric === 0) return squaredL2(row, query);
  if (metric === 1) return Math.max(0, f(1 - f(f(dot(row, query) * scale) * queryScale)));
  return -dot(row, query);
}

/** The k nearest of all, by score and then by id; ids[i] belongs to scores[i] */
export function rank(
  scores: Float32Array,
  ids: Uint32Array,
  k: number,
): { ids: Uint32Array; scores: Float32Array } {
  const order = Array.from(ids.keys()).sort((i, j) => scores[i] - scores[j] || ids[i] - ids[j]);
  const nearest = order.slice(0, k);
  return {
    ids: Uint32Array.from(nearest, (i) => ids[i]),
    scores: Float32Array.from(nearest, (i) => scores[i]),
  };
}

/** Codes of `bytes` bytes, each with zeros behind it up to 8 · words bytes */
export function padCodes(packed: Uint8Array, bytes: number, words: number): Uint8Array {
  const count = packed.length / bytes;
  const codes = new Uint8Array(count * 8 * words);
  for (let r = 0; r < count; r++) codes.set(packed.subarray(r * bytes, (r + 1) * bytes), r * 8 * words);
  return codes;
}

/** A code's key in each table: sampled bit i weighs 2^i; more than 32 bits are hashed, 32 a word */
export function sampledKeys(code: Uint8Array, positions: Uint32Array, tables: number): Uint32Array {
  const sampledBits = positions.length / tables;
  return Uint32Array.from({ length: tables }, (_, t) => {
    const words = new Uint32Array(Math.ceil(sampledBits / 32));
    for (let i = 0; i < sampledBits; i++) {
      const bit = positions[t * sampledBits + i];
      words[Math.floor(i / 32)] += 2 ** (i % 32) * ((code[Math.floor(bit / 8)] >> (bit % 8)) & 1);
    }
    return sampledBits <= 32 ? words[0] : murmur(words);
  });
}

/** a · b mod 2^32 */
function times(a: number, b: number): number {
  return Number((BigInt(a) * BigInt(b)) & 0xffffffffn);
}

function xor(a: number, b: number): number {
  return (a ^ b) >>> 0;
}

/** The bits of a 32-bit word moved up by `count` places, those beyond the top in at the bottom */
function rotated(a: number, count: number): number {
  const moved = BigInt(a) << BigInt(count);
  return Number((moved & 0xffffffffn) | (moved >> 32n));
}

/** The last step of MurmurHash3_x86_32, fmix32 */
export function finish(h: number): number {
  h = times(xor(h, Math.floor(h / 2 ** 16)), 0x85ebca6b);
  h = times(xor(h, Math.floor(h / 2 ** 13)), 0xc2b2ae35);
  return xor(h, Math.floor(h / 2 ** 16));
}

/** MurmurHash3_x86_32 of whole words, seed 0 */
export function murmur(words: Uint32Array): number {
  let h = 0;
  for (const word of words) {
    h = rotated(xor(h, times(rotated(times(word, 0xcc9e2d51), 15), 0x1b873593)), 13);
    h = (times(h, 5) + 0xe6546b64) % 2 ** 32;
  }
  return finish(xor(h, 4 * words.length));
}

/** The least hash of any element by each function; 2^32 - 1 without elements */
export function minHash(set: Iterable<number>, multipliers: Uint32Array, addends: Uint32Array): Uint32Array {
  return multipliers.map((multiplier, i) => {
    let least = 2 ** 32 - 1;
    for (const x of set) {
      const y = times(xor(finish(x), addends[i]), multiplier);
      least = Math.min(least, times(xor(y, Math.floor(y / 2 ** 16)), multiplier));
    }
    return least;
  });
}

/** 1 - |a ∩ b| / |a ∪ b|; 0 where both are empty */
export function jaccard(a: Iterable<number>, b: Iterable<number>): number {
  const [ofA, ofB] = [new Set(a), new Set(b)];
  const both = [...ofA].filter((x) => ofB.has(x)).length;
  const united = ofA.size + ofB.size - both;
  return united === 0 ? 0 : f((united - both) / united);
}
