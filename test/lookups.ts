import { expect } from 'vitest';
import type { Neighbors, NeighborsBatch } from '../src/neighbors.js';
import { expectSameNeighbors } from './answers.js';
import { expectSameBits } from './arena.js';
import * as reference from './reference.js';

/** Fails unless a batch has this answer for query `q`, and nothing in the places behind it. */
export function expectQueryOf(batch: NeighborsBatch, q: number, k: number, expected: Neighbors): void {
  const end = q * k + batch.counts[q];
  const found = { ids: batch.ids.subarray(q * k, end), distances: batch.distances.subarray(q * k, end) };
  expectSameNeighbors(found, expected, `query ${q}`);
  expect(batch.ids.subarray(end, (q + 1) * k).every((id) => id === 0xffffffff)).toBe(true);
  expect(batch.distances.subarray(end, (q + 1) * k).every((distance) => distance === Infinity)).toBe(true);
}

/** The k nearest of the listed rows, `distanceTo` telling how far a row is. */
export function rankPlainly(ids: Uint32Array, k: number, distanceTo: (id: number) => number): Neighbors {
  const ranked = reference.rank(Float32Array.from(ids, distanceTo), ids, k);
  return { ids: ranked.ids, distances: ranked.scores };
}

/** A vector whose buffer has been given away. */
export function detached<Kind extends Float32Array | Uint8Array | Uint32Array>(vector: Kind): Kind {
  structuredClone(vector.buffer, { transfer: [vector.buffer as ArrayBuffer] });
  return vector;
}

/** What the tables of an index hold, and its explanation of a query, as hash tables in plain words have it. */
export interface Lookup<Query> {
  readonly size: number;
  keys(query: Query): Uint32Array;
  bucket(table: number, key: number): Uint32Array;
  candidates(query: Query): Uint32Array;
  search(query: Query, options: { k: number }): Neighbors;
  explain(
    query: Query,
    options: { k: number },
  ): {
    neighbors: Neighbors;
    candidates: number;
    shortfall: string;
    tables: { key: number; probedKeys: Uint32Array; bucketSize: number; newCandidates: number }[];
    times: Record<string, number>;
  };
}

/**
 * Fails unless an index answers a query as tables in the plainest words do: rows with an equal key in any table, ranked.
 *
 * @param rowKeys the keys of each row.
 * @param keys those of the query.
 */
export function expectPlainAnswers<Query>(
  lsh: Lookup<Query>,
  query: Query,
  keys: Uint32Array,
  rowKeys: Uint32Array[],
  k: number,
  distanceTo: (id: number) => number,
): void {
  expectSameBits(lsh.keys(query), keys, 'keys');
  const buckets = Array.from(keys, (key, t) => rowKeys.flatMap((own, row) => (own[t] === key ? [row] : [])));
  const united = Uint32Array.from(new Set(buckets.flat())).sort();
  expectSameBits(lsh.candidates(query), united, 'candidates');
  const neighbors = rankPlainly(united, k, distanceTo);
  expectSameNeighbors(lsh.search(query, { k }), neighbors, 'search');

  const explanation = lsh.explain(query, { k });
  if (lsh.size === 0) {
    expect(explanation).toMatchObject({ tables: [], candidates: 0, shortfall: 'the index is empty' });
    return;
  }
  expectSameNeighbors(explanation.neighbors, neighbors, 'explain');
  expect(explanation.candidates).toBe(united.length);
  expect(explanation.shortfall === '').toBe(united.length >= k);
  const seen = new Set<number>();
  explanation.tables.forEach((table, t) => {
    const fresh = buckets[t].filter((row) => !seen.has(row));
    for (const row of fresh) seen.add(row);
    const [key, bucketSize] = [keys[t], buckets[t].length];
    expect(table).toEqual({
      key,
      probedKeys: Uint32Array.of(key),
      bucketSize,
      newCandidates: fresh.length,
    });
    expect([...lsh.bucket(t, key)]).toEqual(buckets[t]);
  });
  expect(explanation.tables.length).toBe(keys.length);
  for (const ms of Object.values(explanation.times)) expect(ms).toBeGreaterThanOrEqual(0);
}
