/**
 * The baselines: what careful JavaScript does without WebAssembly.
 *
 * Flat Float32Arrays in the kernels' own layouts, four accumulators (a single one waits for its own last addition), every
 * output and scratch array made by the caller, nothing allocated in a loop. Sums run in double precision and are rounded
 * once when stored, because rounding each step (`Math.fround`) is slower in every engine.
 *
 * `buildNotebook` and `searchNotebook` at the end are the opposite on purpose: notebook 001 as it is written.
 */

import { Nearest, squaredL2 } from '../src/cli/pure-javascript.js';

export { Nearest, squaredL2 };

/** out[i] = |rows[ids[i]] - query|² */
export function squaredL2Gathered(
  query: Float32Array,
  rows: Float32Array,
  ids: Uint32Array,
  count: number,
  out: Float32Array,
): void {
  const d = query.length;
  const whole = d & ~3;
  for (let i = 0; i < count; i++) {
    const at = ids[i] * d;
    let a = 0;
    let b = 0;
    let c = 0;
    let e = 0;
    let j = 0;
    for (; j < whole; j += 4) {
      const p = rows[at + j] - query[j];
      const q = rows[at + j + 1] - query[j + 1];
      const s = rows[at + j + 2] - query[j + 2];
      const t = rows[at + j + 3] - query[j + 3];
      a += p * p;
      b += q * q;
      c += s * s;
      e += t * t;
    }
    for (; j < d; j++) {
      const p = rows[at + j] - query[j];
      a += p * p;
    }
    out[i] = a + b + (c + e);
  }
}

/**
 * keys[t] = the packed signs of `vector` against table t's hyperplanes; bit i is 1 iff the margin is >= 0, and weighs 2^i.
 *
 * hyperplanes: tables × bits × d. Four planes at a time, so that one load of the vector serves four margins.
 */
export function hash(
  vector: Float32Array,
  hyperplanes: Float32Array,
  tables: number,
  bits: number,
  keys: Uint32Array,
): void {
  const d = vector.length;
  for (let t = 0, at = 0; t < tables; t++) {
    let key = 0;
    let bit = 0;
    for (; bit + 4 <= bits; bit += 4, at += 4 * d) {
      let a = 0;
      let b = 0;
      let c = 0;
      let e = 0;
      for (let j = 0, p = at; j < d; j++, p++) {
        const x = vector[j];
        a += x * hyperplanes[p];
        b += x * hyperplanes[p + d];
        c += x * hyperplanes[p + 2 * d];
        e += x * hyperplanes[p + 3 * d];
      }
      const nibble = (a >= 0 ? 1 : 0) | (b >= 0 ? 2 : 0) | (c >= 0 ? 4 : 0) | (e >= 0 ? 8 : 0);
      key |= nibble << bit;
    }
    for (; bit < bits; bit++, at += d) {
      let a = 0;
      for (let j = 0; j < d; j++) a += vector[j] * hyperplanes[at + j];
      if (a >= 0) key |= 1 << bit;
    }
    keys[t] = key;
  }
}

/**
 * out = R vector: `rounds` of sign flips and a Walsh-Hadamard transform of the largest power of two that fits, at the
 * front in even rounds and at the back in odd ones.
 *
 * signs: rounds × d, with the scale of the transform folded in, as the kernel takes them.
 */
export function rotate(vector: Float32Array, signs: Float32Array, rounds: number, out: Float32Array): void {
  const d = vector.length;
  const width = 1 << (31 - Math.clz32(d));
  for (let j = 0; j < d; j++) out[j] = vector[j] * signs[j];
  hadamard(out, 0, width);
  for (let round = 1, at = d; round < rounds; round++, at += d) {
    for (let j = 0; j < d; j++) out[j] *= signs[at + j];
    hadamard(out, round & 1 ? d - width : 0, width);
  }
}

/** Walsh-Hadamard transform in place of x[from … from + width), not scaled; two stages at a time (radix 4). */
function hadamard(x: Float32Array, from: number, width: number): void {
  const end = from + width;
  let h = 1;
  for (; 4 * h <= width; h *= 4) {
    for (let i = from; i < end; i += 4 * h) {
      for (let j = i; j < i + h; j++) {
        const a = x[j];
        const b = x[j + h];
        const c = x[j + 2 * h];
        const e = x[j + 3 * h];
        x[j] = a + b + (c + e);
        x[j + h] = a - b + (c - e);
        x[j + 2 * h] = a + b - (c + e);
        x[j + 3 * h] = a - b - (c - e);
      }
    }
  }
  if (h < width) {
    for (let j = from; j < from + h; j++) {
      const a = x[j];
      const b = x[j + h];
      x[j] = a + b;
      x[j + h] = a - b;
    }
  }
}

/**
 * out[r] = number of bits in which the 128-bit codes[r] and query differ; four 32-bit words a code.
 *
 * JavaScript has no popcount: counts are summed side by side within a word, and the four words of a code share the last
 * steps, since their byte counts (at most 32) fit into one word's bytes.
 */
export function hamming128(query: Uint32Array, codes: Uint32Array, count: number, out: Uint32Array): void {
  const q0 = query[0];
  const q1 = query[1];
  const q2 = query[2];
  const q3 = query[3];
  for (let r = 0, at = 0; r < count; r++, at += 4) {
    let a = codes[at] ^ q0;
    let b = codes[at + 1] ^ q1;
    let c = codes[at + 2] ^ q2;
    let e = codes[at + 3] ^ q3;
    a -= (a >>> 1) & 0x55555555;
    b -= (b >>> 1) & 0x55555555;
    c -= (c >>> 1) & 0x55555555;
    e -= (e >>> 1) & 0x55555555;
    a = (a & 0x33333333) + ((a >>> 2) & 0x33333333) + (b & 0x33333333) + ((b >>> 2) & 0x33333333);
    c = (c & 0x33333333) + ((c >>> 2) & 0x33333333) + (e & 0x33333333) + ((e >>> 2) & 0x33333333);
    const bytes = (a & 0x0f0f0f0f) + ((a >>> 4) & 0x0f0f0f0f) + (c & 0x0f0f0f0f) + ((c >>> 4) & 0x0f0f0f0f);
    out[r] = Math.imul(bytes, 0x01010101) >>> 24;
  }
}

/** Exact k nearest neighbors of one query at a time, over flat rows. */
export class JavaScriptExact {
  private readonly rows: Float32Array;
  private readonly count: number;
  private readonly squared: Float32Array;

  constructor(rows: Float32Array, dimensions: number) {
    this.rows = rows;
    this.count = rows.length / dimensions;
    this.squared = new Float32Array(this.count);
  }

  search(query: Float32Array, nearest: Nearest): void {
    squaredL2(query, this.rows, this.count, this.squared);
    nearest.rank(this.squared, this.count);
  }
}

/**
 * The hyperplane tables of `HyperplaneLsh` over flat arrays: ids of a table sorted by key (counting sort), candidates
 * told apart by a stamp per row.
 *
 * Up to 20 bits a table: the directory of a table is an array with one place for each possible key.
 */
export class JavaScriptLsh {
  private readonly rows: Float32Array;
  private readonly hyperplanes: Float32Array;
  private readonly tables: number;
  private readonly bits: number;
  private readonly count: number;
  /** tables × (2^bits + 1): where each bucket starts within `ids` */
  private readonly offsets: Uint32Array;
  /** tables × count */
  private readonly ids: Uint32Array;
  private readonly keys: Uint32Array;
  private readonly stamps: Uint32Array;
  private stamp = 0;
  private readonly candidates: Uint32Array;
  private readonly squared: Float32Array;

  constructor(
    rows: Float32Array,
    dimensions: number,
    hyperplanes: Float32Array,
    tables: number,
    bits: number,
  ) {
    if (bits > 20) throw new RangeError(`bits: expected at most 20, got ${bits}`);
    const count = rows.length / dimensions;
    const places = (1 << bits) + 1;
    this.rows = rows;
    this.hyperplanes = hyperplanes;
    this.tables = tables;
    this.bits = bits;
    this.count = count;
    this.offsets = new Uint32Array(tables * places);
    this.ids = new Uint32Array(tables * count);
    this.keys = new Uint32Array(tables);
    this.stamps = new Uint32Array(count);
    this.candidates = new Uint32Array(count);
    this.squared = new Float32Array(count);

    const all = new Uint32Array(count * tables);
    for (let r = 0; r < count; r++) {
      const keys = all.subarray(r * tables, (r + 1) * tables);
      hash(rows.subarray(r * dimensions, (r + 1) * dimensions), hyperplanes, tables, bits, keys);
    }
    for (let t = 0; t < tables; t++) {
      const offsets = this.offsets.subarray(t * places, (t + 1) * places);
      for (let r = 0; r < count; r++) offsets[all[r * tables + t] + 1]++;
      for (let key = 1; key < places; key++) offsets[key] += offsets[key - 1];
      const next = offsets.slice();
      for (let r = 0; r < count; r++) this.ids[t * count + next[all[r * tables + t]]++] = r;
    }
  }

  /** Returns how many candidates were ranked. */
  search(query: Float32Array, nearest: Nearest): number {
    const { tables, count, offsets, ids, keys, stamps, candidates } = this;
    const places = (1 << this.bits) + 1;
    hash(query, this.hyperplanes, tables, this.bits, keys);
    const stamp = ++this.stamp;
    let found = 0;
    for (let t = 0; t < tables; t++) {
      const place = t * places + keys[t];
      const end = t * count + offsets[place + 1];
      for (let i = t * count + offsets[place]; i < end; i++) {
        const id = ids[i];
        if (stamps[id] === stamp) continue;
        stamps[id] = stamp;
        candidates[found++] = id;
      }
    }
    squaredL2Gathered(query, this.rows, candidates, found, this.squared);
    nearest.rank(this.squared, found, candidates);
    return found;
  }
}

/** Notebook 001's tables: for each, hyperplanes and a dictionary from hash value to the set of row numbers. */
export interface NotebookTable {
  hyperplanes: Float32Array[];
  buckets: Map<number, Set<number>>;
}

/** The notebook's `locality_sensitive_hash`, once for each set of hyperplanes. */
export function buildNotebook(data: Float32Array[], sets: Float32Array[][]): NotebookTable[] {
  return sets.map((hyperplanes) => {
    const buckets = new Map<number, Set<number>>();
    data.forEach((row, i) => {
      const key = hammingHash(row, hyperplanes);
      if (!buckets.has(key)) buckets.set(key, new Set());
      buckets.get(key)?.add(i);
    });
    return { hyperplanes, buckets };
  });
}

/** The notebook's `approx_knn_search`, with the tables built before. */
export function searchNotebook(
  query: Float32Array,
  data: Float32Array[],
  tables: NotebookTable[],
  k: number,
): { id: number; distance: number }[] {
  const candidates = new Set<number>();
  for (const { hyperplanes, buckets } of tables) {
    for (const id of buckets.get(hammingHash(query, hyperplanes)) ?? []) candidates.add(id);
  }
  return Array.from(candidates, (id) => ({ id, distance: euclideanDistance(query, data[id]) }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, k);
}

function hammingHash(vector: Float32Array, hyperplanes: Float32Array[]): number {
  return hyperplanes.reduce((key, plane, i) => key + (dot(vector, plane) >= 0 ? 2 ** i : 0), 0);
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

function euclideanDistance(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return Math.sqrt(sum);
}
