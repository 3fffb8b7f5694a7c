import type { Metric } from '../index.js';

/**
 * Exact search as careful JavaScript does it without WebAssembly: what an index is compared with. Flat arrays, four
 * accumulators (a single one waits for its own last addition), nothing allocated in a loop. Under cosine rows and query
 * have length 1 already.
 */
export class PureJavaScript {
  readonly #rows: Float32Array;
  readonly #dimensions: number;
  readonly #isEuclidean: boolean;
  readonly #ids: Uint32Array;
  readonly #scores: Float64Array;

  constructor(rows: Float32Array, dimensions: number, metric: Metric, k: number) {
    this.#rows = metric === 'cosine' ? unitRows(rows, dimensions) : rows;
    this.#dimensions = dimensions;
    this.#isEuclidean = metric === 'euclidean';
    this.#ids = new Uint32Array(k);
    this.#scores = new Float64Array(k);
  }

  /** The ids of the nearest, valid until the next search. */
  search(query: Float32Array): Uint32Array {
    const rows = this.#rows;
    const d = this.#dimensions;
    const count = rows.length / d;
    const k = this.#ids.length;
    let filled = 0;
    for (let row = 0, at = 0; row < count; row++, at += d) {
      const score = this.#isEuclidean ? squared(rows, at, query, d) : -dot(rows, at, query, d);
      if (filled === k && !(score < this.#scores[k - 1])) continue;
      let place = filled === k ? k - 1 : filled++;
      for (; place > 0 && this.#scores[place - 1] > score; place--) {
        this.#scores[place] = this.#scores[place - 1];
        this.#ids[place] = this.#ids[place - 1];
      }
      this.#scores[place] = score;
      this.#ids[place] = row;
    }
    return this.#ids.subarray(0, filled);
  }
}

/** Rows of length 1; zeros stay what they are. */
export function unitRows(rows: Float32Array, dimensions: number): Float32Array {
  const unit = rows.slice();
  for (let at = 0; at < unit.length; at += dimensions) {
    const length = Math.sqrt(dot(unit, at, unit.subarray(at, at + dimensions), dimensions));
    if (length > 0) for (let j = 0; j < dimensions; j++) unit[at + j] /= length;
  }
  return unit;
}

function squared(rows: Float32Array, at: number, query: Float32Array, d: number): number {
  let a = 0;
  let b = 0;
  let c = 0;
  let e = 0;
  let j = 0;
  for (const whole = d & ~3; j < whole; j += 4) {
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
  return a + b + (c + e);
}

function dot(rows: Float32Array, at: number, query: Float32Array, d: number): number {
  let a = 0;
  let b = 0;
  let c = 0;
  let e = 0;
  let j = 0;
  for (const whole = d & ~3; j < whole; j += 4) {
    a += rows[at + j] * query[j];
    b += rows[at + j + 1] * query[j + 1];
    c += rows[at + j + 2] * query[j + 2];
    e += rows[at + j + 3] * query[j + 3];
  }
  for (; j < d; j++) a += rows[at + j] * query[j];
  return a + b + (c + e);
}
