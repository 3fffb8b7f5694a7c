import type { Metric, Neighbors } from '../src/neighbors.js';
import { uniform } from './arena.js';

/** Normally distributed numbers, or nearly so: the sum of twelve uniform ones has no tail beyond 6. */
export function normals(count: number, seed: number): Float32Array {
  const next = uniform(seed);
  return Float32Array.from({ length: count }, () => {
    let sum = -6;
    for (let i = 0; i < 12; i++) sum += next();
    return sum;
  });
}

/** Rows that lie in clumps of the same size: `radius` is their spread, 1 that of the clumps' middles. */
export function clumpedRows(
  rows: number,
  dimensions: number,
  clumps: number,
  radius: number,
  seed: number,
): Float32Array {
  const middles = normals(clumps * dimensions, seed);
  const vectors = normals(rows * dimensions, seed + 1);
  const next = uniform(seed + 2);
  for (let row = 0; row < rows; row++) {
    const clump = Math.floor(next() * clumps);
    for (let i = 0; i < dimensions; i++) {
      vectors[row * dimensions + i] =
        middles[clump * dimensions + i] + radius * vectors[row * dimensions + i];
    }
  }
  return vectors;
}

/** The distance that a metric's docstring states, in doubles. */
export function plainDistance(metric: Metric, a: ArrayLike<number>, b: ArrayLike<number>): number {
  let dot = 0;
  let squares = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i];
    squares += (a[i] - b[i]) ** 2;
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  if (metric === 'euclidean') return Math.sqrt(squares);
  return metric === 'cosine' ? 1 - dot / Math.sqrt(aa * bb) : -dot;
}

/** Share of the expected ids that were found. */
export function recallOf(found: Neighbors, expected: Neighbors): number {
  let hits = 0;
  for (const id of expected.ids) if (found.ids.includes(id)) hits++;
  return expected.ids.length ? hits / expected.ids.length : 1;
}

/** Row `i` of packed rows. */
export function rowAt(vectors: Float32Array, i: number, dimensions: number): Float32Array {
  return vectors.subarray(i * dimensions, (i + 1) * dimensions);
}
