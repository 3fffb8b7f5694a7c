import { expect } from 'vitest';
import type { GroupPage, NeighborPage, PairPage, RangePage } from '../src/index.js';
import type { Metric } from '../src/neighbors.js';
import { plainDistance, rowAt } from './data.js';

/** All pages of a stream. */
export async function all<Page>(stream: AsyncIterable<Page>): Promise<Page[]> {
  const pages: Page[] = [];
  for await (const page of stream) pages.push(page);
  return pages;
}

/** One neighbor, pair or group of what a stream gave. */
export interface Near {
  id: number;
  distance: number;
}

/** Every row's neighbors; fails where a row comes twice, or places behind the last neighbor are filled. */
export function neighborsIn(pages: Iterable<NeighborPage>, k: number): Map<number, Near[]> {
  const all = new Map<number, Near[]>();
  for (const { rows, ids, distances, counts } of pages) {
    expect(rows.length).toBeGreaterThan(0);
    expect([ids.length, distances.length, counts.length]).toEqual([
      rows.length * k,
      rows.length * k,
      rows.length,
    ]);
    rows.forEach((row, i) => {
      expect(all.has(row), `row ${row} once`).toBe(false);
      const near = Array.from({ length: k }, (_, j) => ({
        id: ids[i * k + j],
        distance: distances[i * k + j],
      }));
      for (const { id, distance } of near.splice(counts[i]))
        expect([id, distance]).toEqual([2 ** 32 - 1, Number.POSITIVE_INFINITY]);
      all.set(row, near);
    });
  }
  return all;
}

export function rangesIn(pages: Iterable<RangePage>): Map<number, Near[]> {
  const all = new Map<number, Near[]>();
  for (const { rows, offsets, ids, distances } of pages) {
    expect(rows.length).toBeGreaterThan(0);
    expect([offsets.length, offsets[0], offsets[rows.length]]).toEqual([rows.length + 1, 0, ids.length]);
    expect(distances.length).toBe(ids.length);
    rows.forEach((row, i) => {
      expect(all.has(row), `row ${row} once`).toBe(false);
      const near: Near[] = [];
      for (let j = offsets[i]; j < offsets[i + 1]; j++) near.push({ id: ids[j], distance: distances[j] });
      all.set(row, near);
    });
  }
  return all;
}

/** Pairs as 'a b', each with its distance; fails where one comes twice or a is not below b. */
export function pairsIn(pages: Iterable<PairPage>): Map<string, number> {
  const all = new Map<string, number>();
  for (const { a, b, distances } of pages) {
    expect(a.length).toBeGreaterThan(0);
    expect([b.length, distances.length]).toEqual([a.length, a.length]);
    a.forEach((first, i) => {
      expect(first).toBeLessThan(b[i]);
      const pair = `${first} ${b[i]}`;
      expect(all.has(pair), `${pair} once`).toBe(false);
      all.set(pair, distances[i]);
    });
  }
  return all;
}

export function groupsIn(pages: Iterable<GroupPage>): number[][] {
  const all: number[][] = [];
  for (const { offsets, ids } of pages) {
    expect([offsets[0], offsets[offsets.length - 1]]).toEqual([0, ids.length]);
    for (let i = 0; i + 1 < offsets.length; i++) all.push([...ids.subarray(offsets[i], offsets[i + 1])]);
  }
  return all;
}

/** All others of a row, nearest first, as plain arithmetic has them: `rows` are the ids that count. */
export function plainOthers(
  vectors: Float32Array,
  dimensions: number,
  metric: Metric,
  query: Float32Array,
  rows: readonly number[],
): Near[] {
  return rows
    .map((id) => ({ id, distance: plainDistance(metric, query, rowAt(vectors, id, dimensions)) }))
    .sort((a, b) => a.distance - b.distance || a.id - b.id);
}

/** Connected components of two and more among rows, by asking of every pair whether it is near. */
export function plainGroups(rows: readonly number[], isNear: (a: number, b: number) => boolean): number[][] {
  const left = new Set(rows);
  const groups: number[][] = [];
  for (const first of [...rows].sort((a, b) => a - b)) {
    if (!left.delete(first)) continue;
    const group = [first];
    for (const member of group) {
      for (const id of [...left]) {
        if (!isNear(member, id)) continue;
        left.delete(id);
        group.push(id);
      }
    }
    if (group.length > 1) groups.push(group.sort((a, b) => a - b));
  }
  return groups;
}

/** Fails unless neighbors have these distances, rank by rank, and are those rows up to equal distances. */
export function expectNear(found: readonly Near[], expected: readonly Near[], what: string): void {
  expect(found.length, `neighbors of ${what}`).toBe(expected.length);
  const tolerance = (x: number): number => 3e-5 * (1 + Math.abs(x));
  found.forEach(({ distance }, i) => {
    expect(Math.abs(distance - expected[i].distance), `${what}, place ${i}`).toBeLessThan(
      tolerance(distance),
    );
    if (i > 0) expect(distance).toBeGreaterThanOrEqual(found[i - 1].distance);
  });
  expect(new Set(found.map(({ id }) => id)).size, `different ids of ${what}`).toBe(found.length);
  const last = expected.length ? expected[expected.length - 1].distance : 0;
  for (const { id, distance } of expected) {
    // Ties at the edge of k may be told apart by rounding.
    if (last - distance < tolerance(last)) continue;
    expect(
      found.some((near) => near.id === id),
      `${id} near ${what}`,
    ).toBe(true);
  }
}
