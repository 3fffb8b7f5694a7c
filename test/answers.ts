import { expect } from 'vitest';
import { exactSearch } from '../src/exact.js';
import type { Metric, Neighbors } from '../src/neighbors.js';
import type { VectorIndex, VectorSearchOptions } from '../src/vector-index.js';
import { expectSameBits } from './arena.js';
import { plainDistance, recallOf, rowAt } from './data.js';

export const METRICS: readonly Metric[] = ['euclidean', 'cosine', 'inner-product'];
/** Ways of asking for every row. */
export const EXACT_WAYS: readonly VectorSearchOptions[] = [
  { exact: true },
  { recall: 1 },
  { probes: 2 ** 32 - 1, epsilon: Number.POSITIVE_INFINITY },
];

/** Fails unless ids and distances have the same bits. */
export function expectSameNeighbors(actual: Neighbors, expected: Neighbors, what: string): void {
  expectSameBits(actual.ids, expected.ids, `ids, ${what}`);
  expectSameBits(actual.distances, expected.distances, `distances, ${what}`);
}

/**
 * Fails unless these are the k nearest of all rows. Cosine is ranked by another formula than exactSearch uses, so equal
 * distances may be told apart by rounding: there the distances at each rank must agree, and be those of the rows.
 */
export function expectNearest(
  found: Neighbors,
  vectors: Float32Array,
  query: Float32Array,
  k: number,
  metric: Metric,
): void {
  const expected = exactSearch(vectors, query, { k, metric });
  if (metric !== 'cosine') {
    expectSameNeighbors(found, expected, metric);
    return;
  }
  expect(found.ids.length).toBe(expected.ids.length);
  found.ids.forEach((id, i) => {
    const own = plainDistance(metric, query, rowAt(vectors, id, query.length));
    expect(Math.abs(found.distances[i] - expected.distances[i])).toBeLessThan(1e-6);
    expect(Math.abs(found.distances[i] - own)).toBeLessThan(1e-6);
  });
  expectSound(found, vectors, query, metric);
}

/** All parts, one after another. */
export function concat(...parts: Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Fails unless neighbors are sorted, different, and at the distances that they claim. */
export function expectSound(
  found: Neighbors,
  vectors: Float32Array,
  query: Float32Array,
  metric: Metric,
): void {
  expect(new Set(found.ids).size).toBe(found.ids.length);
  for (let i = 0; i < found.ids.length; i++) {
    const own = plainDistance(metric, query, rowAt(vectors, found.ids[i], query.length));
    expect(Math.abs(found.distances[i] - own)).toBeLessThanOrEqual(2e-5 * (1 + Math.abs(own)));
    if (i === 0) continue;
    const before = found.distances[i - 1];
    const sorted =
      before < found.distances[i] || (before === found.distances[i] && found.ids[i - 1] < found.ids[i]);
    expect(sorted, `places ${i - 1} and ${i}`).toBe(true);
  }
}

/** Mean recall of a way of searching over packed queries. */
export function recallOver(
  index: VectorIndex,
  vectors: Float32Array,
  queries: Float32Array,
  options: VectorSearchOptions,
): number {
  const { dimensions, metric } = index;
  const count = queries.length / dimensions;
  let sum = 0;
  for (let i = 0; i < count; i++) {
    const query = rowAt(queries, i, dimensions);
    const found = index.search(query, options);
    expectSound(found, vectors, query, metric);
    sum += recallOf(found, exactSearch(vectors, query, { k: options.k ?? 10, metric }));
  }
  return sum / count;
}

/** What a call throws. */
export function thrownBy(call: () => unknown): Error & { code?: string } {
  try {
    call();
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected an error, got none');
}

/** What a promise is refused with. */
export async function rejectionOf(
  promise: Promise<unknown>,
): Promise<Error & { code?: string; reason?: string; cause?: unknown }> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected a rejection, got none');
}

/** The packed rows from row `first` on. */
export function rowsOf(vectors: Float32Array, first: number, dimensions: number): Float32Array {
  return vectors.slice(first * dimensions);
}

/** True neighbors of packed queries, 10 each. */
export function truthOf(
  vectors: Float32Array,
  queries: Float32Array,
  dimensions: number,
  metric: Metric,
): Uint32Array {
  const count = queries.length / dimensions;
  const truth = new Uint32Array(count * 10);
  for (let i = 0; i < count; i++)
    truth.set(exactSearch(vectors, rowAt(queries, i, dimensions), { k: 10, metric }).ids, i * 10);
  return truth;
}

/** Fails unless two vectors agree in every coordinate to a share of its size. */
export function expectClose(actual: Float32Array, expected: Float32Array, tolerance: number): void {
  expect(actual.length).toBe(expected.length);
  for (const [i, x] of expected.entries()) {
    expect(Math.abs(actual[i] - x)).toBeLessThanOrEqual(tolerance * (1 + Math.abs(x)));
  }
}
