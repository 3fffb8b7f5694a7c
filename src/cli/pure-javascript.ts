import type { Metric } from '../index.js';
import type { Answers } from './answers.js';

/** out[r] = |rows[r] - query|²; rows: count × d, row-major. */
export function squaredL2(query: Float32Array, rows: Float32Array, count: number, out: Float32Array): void {
  const d = query.length;
  const whole = d & ~3;
  for (let r = 0, at = 0; r < count; r++, at += d) {
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
    out[r] = a + b + (c + e);
  }
}

/** out[r] = -(rows[r] · query), which is lower for what is nearer, as distances are. */
function negatedDots(query: Float32Array, rows: Float32Array, count: number, out: Float32Array): void {
  const d = query.length;
  for (let r = 0, at = 0; r < count; r++, at += d) out[r] = -dot(rows, at, query, d);
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

/** The k nearest of some rows, nearest first; equal distances by lower id. */
export class Nearest {
  readonly ids: Uint32Array;
  readonly distances: Float32Array;
  /** How many of both are filled. */
  count = 0;

  constructor(k: number) {
    this.ids = new Uint32Array(k);
    this.distances = new Float32Array(k);
  }

  /** Starts anew with `count` rows, of which row i has the distance `all[i]` and the id `ids[i]`, or i without `ids`. */
  choose(all: Float32Array, count: number, ids?: Uint32Array): void {
    const { distances } = this;
    const last = distances.length - 1;
    this.count = 0;
    let worst = Number.POSITIVE_INFINITY;
    for (let i = 0; i < count; i++) {
      const distance = all[i];
      // Nearly every row leaves here, with one comparison.
      if (distance > worst) continue;
      this.#insert(distance, ids === undefined ? i : ids[i]);
      if (this.count > last) worst = distances[last];
    }
  }

  /** The same of squared distances; what is kept are their roots. */
  rank(squared: Float32Array, count: number, ids?: Uint32Array): void {
    this.choose(squared, count, ids);
    const { distances } = this;
    for (let i = 0; i < this.count; i++) distances[i] = Math.sqrt(distances[i]);
  }

  #insert(distance: number, id: number): void {
    const { ids, distances } = this;
    let at = this.count;
    if (at === distances.length) {
      at--;
      if (distance === distances[at] && id > ids[at]) return;
    } else {
      this.count++;
    }
    for (; at > 0; at--) {
      const before = distances[at - 1];
      if (before < distance || (before === distance && ids[at - 1] < id)) break;
      distances[at] = before;
      ids[at] = ids[at - 1];
    }
    distances[at] = distance;
    ids[at] = id;
  }
}

/**
 * Exact search as careful JavaScript does it without WebAssembly: what an index is compared with. Flat arrays, four
 * accumulators (a single one waits for its own last addition), nothing allocated in a loop. The rows may come in pages.
 */
export class PureJavaScript {
  readonly #dimensions: number;
  readonly #metric: Metric;
  readonly #nearest: Nearest;
  #distances = new Float32Array(0);

  constructor(dimensions: number, metric: Metric, k: number) {
    this.#dimensions = dimensions;
    this.#metric = metric;
    this.#nearest = new Nearest(k);
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
    const nearest = this.#nearest;
    const k = nearest.ids.length;
    const ids = new Uint32Array(most * k);
    const distances = new Float32Array(ids.length);
    const offsets = [0];
    let asked = 0;
    let spent = 0;
    // One query that nobody times: the engine of JavaScript sees the code.
    this.#ask(base, wanted.subarray(0, d));
    for (; spent < ms || asked < least; asked++) {
      const query = asked % most;
      const start = performance.now();
      this.#ask(base, wanted.subarray(query * d, (query + 1) * d));
      spent += performance.now() - start;
      if (asked >= most) continue;
      const at = offsets[asked];
      ids.set(nearest.ids.subarray(0, nearest.count), at);
      distances.set(nearest.distances.subarray(0, nearest.count), at);
      offsets.push(at + nearest.count);
    }
    const end = offsets[offsets.length - 1];
    const answers = {
      offsets: Uint32Array.from(offsets),
      ids: ids.subarray(0, end),
      distances: distances.subarray(0, end),
    };
    return { answers, msPerQuery: spent / asked };
  }

  #ask(rows: Float32Array, query: Float32Array): void {
    const count = rows.length / this.#dimensions;
    if (this.#distances.length < count) this.#distances = new Float32Array(count);
    const compare = this.#metric === 'euclidean' ? squaredL2 : negatedDots;
    compare(query, rows, count, this.#distances);
    this.#nearest.choose(this.#distances, count);
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
