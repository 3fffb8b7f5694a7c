import type { Metric } from '../index.js';
import type { Answers } from './answers.js';

/**
 * Exact search as careful JavaScript does it without WebAssembly: what an index is compared with. Flat arrays, four
 * accumulators (a single one waits for its own last addition), nothing allocated in a loop. The rows may come in pages.
 */
export class PureJavaScript {
  readonly #dimensions: number;
  readonly #metric: Metric;
  readonly #ids: Uint32Array;
  readonly #scores: Float64Array;

  constructor(dimensions: number, metric: Metric, k: number) {
    this.#dimensions = dimensions;
    this.#metric = metric;
    this.#ids = new Uint32Array(k);
    this.#scores = new Float64Array(k);
  }

  /**
   * The nearest of some rows for the first `most` queries, fewer where they take longer than `ms`, but `least`. Where they
   * take less, they are asked again and again, so that the time of one is sure.
   */
  search(
    rows: Float32Array,
    queries: Float32Array,
    least: number,
    most: number,
    ms: number,
  ): { answers: Answers; msPerQuery: number } {
    const d = this.#dimensions;
    const isCosine = this.#metric === 'cosine';
    const base = isCosine ? unitRows(rows, d) : rows;
    const wanted = isCosine ? unitRows(queries.subarray(0, most * d), d) : queries;
    const k = this.#ids.length;
    const ids = new Uint32Array(most * k);
    const distances = new Float32Array(ids.length);
    const offsets = [0];
    let asked = 0;
    let spent = 0;
    // One query that nobody times: the engine of JavaScript sees the code.
    this.#nearest(base, wanted.subarray(0, d));
    for (; spent < ms || asked < least; asked++) {
      const query = asked % most;
      const start = performance.now();
      const filled = this.#nearest(base, wanted.subarray(query * d, (query + 1) * d));
      spent += performance.now() - start;
      if (asked >= most) continue;
      const at = offsets[asked];
      ids.set(this.#ids.subarray(0, filled), at);
      for (let i = 0; i < filled; i++) distances[at + i] = this.#scores[i];
      offsets.push(at + filled);
    }
    const end = offsets[offsets.length - 1];
    const answers = {
      offsets: Uint32Array.from(offsets),
      ids: ids.subarray(0, end),
      distances: distances.subarray(0, end),
    };
    return { answers, msPerQuery: spent / asked };
  }

  /** Leaves the nearest in the arrays of this object; returns how many they are. */
  #nearest(rows: Float32Array, query: Float32Array): number {
    const d = this.#dimensions;
    const isEuclidean = this.#metric === 'euclidean';
    const count = rows.length / d;
    const k = this.#ids.length;
    let filled = 0;
    for (let row = 0, at = 0; row < count; row++, at += d) {
      const score = isEuclidean ? squared(rows, at, query, d) : -dot(rows, at, query, d);
      if (filled === k && !(score < this.#scores[k - 1])) continue;
      let place = filled === k ? k - 1 : filled++;
      for (; place > 0 && this.#scores[place - 1] > score; place--) {
        this.#scores[place] = this.#scores[place - 1];
        this.#ids[place] = this.#ids[place - 1];
      }
      this.#scores[place] = score;
      this.#ids[place] = row;
    }
    return filled;
  }
}

/** Rows of length 1; zeros stay what they are. */
function unitRows(rows: Float32Array, dimensions: number): Float32Array {
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
