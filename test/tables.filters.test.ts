import { describe, expect, it } from 'vitest';
import { BitSamplingLsh } from '../src/bit-sampling-lsh.js';
import { HyperplaneLsh } from '../src/hyperplane-lsh.js';
import { type Filter, IdSet } from '../src/id-set.js';
import { MinHashLsh } from '../src/min-hash-lsh.js';
import type { Neighbors, RadiusBatch } from '../src/neighbors.js';
import { thrownBy } from './answers.js';
import { uniform } from './arena.js';
import { clumpedRows, rowAt } from './data.js';

const ROWS = 800;

/** What the three classes have in common, over ten queries of their own kind. */
interface Tables {
  candidates(query: number): Uint32Array;
  search(query: number, options: { k: number; filter?: Filter }): Neighbors;
  batch(options: { k: number; filter?: Filter }): Neighbors & { counts: Uint32Array };
  radius(query: number, radius: number, options?: { filter?: Filter }): Neighbors;
  radiusBatch(radius: number, options?: { filter?: Filter }): RadiusBatch;
  shortfall(query: number, options: { k: number; filter?: Filter }): string;
  remove(ids: number[]): number;
}

function hyperplanes(metric: 'euclidean' | 'cosine'): Tables {
  const d = 10;
  const lsh = new HyperplaneLsh({ dimensions: d, tables: 6, bits: 4, metric });
  const vectors = clumpedRows(ROWS, d, 20, 0.4, 3);
  lsh.add(vectors);
  const at = (i: number): Float32Array => rowAt(vectors, i * 7, d).map((x) => x + 0.01);
  const all = Float32Array.from(Array.from({ length: 10 }, (_, i) => [...at(i)]).flat());
  return {
    candidates: (i) => lsh.candidates(at(i), { probes: 3 }),
    search: (i, options) => lsh.search(at(i), { ...options, probes: 3 }),
    batch: (options) => lsh.searchBatch(all, { ...options, probes: 3 }),
    radius: (i, radius, options) => lsh.searchRadius(at(i), radius, { ...options, probes: 3 }),
    radiusBatch: (radius, options) => lsh.searchRadiusBatch(all, radius, { ...options, probes: 3 }),
    shortfall: (i, options) => lsh.explain(at(i), { ...options, probes: 3 }).shortfall,
    remove: (ids) => lsh.remove(ids),
  };
}

function bits(): Tables {
  const lsh = new BitSamplingLsh({ bits: 64, sampledBits: 6, tables: 5, seed: 1 });
  const next = uniform(8);
  const codes = Uint8Array.from({ length: ROWS * 8 }, () => next() * 4);
  lsh.add(codes);
  const at = (i: number): Uint8Array => codes.slice(i * 80, i * 80 + 8);
  const all = Uint8Array.from(Array.from({ length: 10 }, (_, i) => [...at(i)]).flat());
  return {
    candidates: (i) => lsh.candidates(at(i)),
    search: (i, options) => lsh.search(at(i), options),
    batch: (options) => lsh.searchBatch(all, options),
    radius: (i, radius, options) => lsh.searchRadius(at(i), radius, options),
    radiusBatch: (radius, options) => lsh.searchRadiusBatch(all, radius, options),
    shortfall: (i, options) => lsh.explain(at(i), options).shortfall,
    remove: (ids) => lsh.remove(ids),
  };
}

function sets(): Tables {
  const lsh = new MinHashLsh({ bands: 12, rows: 1, seed: 1 });
  const next = uniform(9);
  const rows = Array.from({ length: ROWS }, () => Uint32Array.from({ length: 8 }, () => next() * 40));
  lsh.add(rows);
  const all = Array.from({ length: 10 }, (_, i) => rows[i * 9]);
  return {
    candidates: (i) => lsh.candidates(all[i]),
    search: (i, options) => lsh.search(all[i], options),
    batch: (options) => lsh.searchBatch(all, options),
    radius: (i, radius, options) => lsh.searchRadius(all[i], radius, options),
    radiusBatch: (radius, options) => lsh.searchRadiusBatch(all, radius, options),
    shortfall: (i, options) => lsh.explain(all[i], options).shortfall,
    remove: (ids) => lsh.remove(ids),
  };
}

describe.each<[string, () => Tables]>([
  ['HyperplaneLsh by euclidean distance', () => hyperplanes('euclidean')],
  ['HyperplaneLsh by cosine distance', () => hyperplanes('cosine')],
  ['BitSamplingLsh', bits],
  ['MinHashLsh', sets],
])('%s', (_, make) => {
  it('ranks the candidates that pass a filter of any kind, and no others', () => {
    const tables = make();
    tables.remove([3, 30, 300]);
    const set = IdSet.where(ROWS, (id) => id % 3 !== 0);
    const filters: Filter[] = [set, set.toBitmap(), (id) => id % 3 !== 0];
    for (const filter of filters) {
      const batch = tables.batch({ k: 5, filter });
      for (let i = 0; i < 10; i++) {
        const all = tables.search(i, { k: ROWS });
        const passing = [...all.ids].filter((id) => id % 3 !== 0);
        const found = tables.search(i, { k: 5, filter });
        expect([...found.ids]).toEqual(passing.slice(0, 5));
        expect([...batch.ids.slice(5 * i, 5 * i + batch.counts[i])]).toEqual(passing.slice(0, 5));
        expect(found.distances).toEqual(
          Float32Array.from(found.ids, (id) => all.distances[all.ids.indexOf(id)]),
        );
      }
    }
  });

  it('asks a function about the candidates alone', () => {
    const tables = make();
    const asked: number[] = [];
    tables.search(2, { k: 3, filter: (id) => asked.push(id) > 0 });
    expect(asked.sort((a, b) => a - b)).toEqual([...tables.candidates(2)]);
  });

  it('finds the candidates within a radius, however many, one by one and in a batch', () => {
    const tables = make();
    tables.remove([14, 140]);
    const far = tables.search(0, { k: ROWS });
    for (const radius of [
      0,
      far.distances[9],
      far.distances[far.ids.length >> 1],
      Number.POSITIVE_INFINITY,
    ]) {
      const filter = (id: number): boolean => id % 2 === 0;
      const batch = tables.radiusBatch(radius);
      const some = tables.radiusBatch(radius, { filter });
      for (let i = 0; i < 10; i++) {
        const all = tables.search(i, { k: ROWS });
        const expected = [...all.ids].filter((_, j) => all.distances[j] <= radius);
        expect([...tables.radius(i, radius).ids]).toEqual(expected);
        expect([...batch.ids.slice(batch.offsets[i], batch.offsets[i + 1])]).toEqual(expected);
        const even = expected.filter(filter);
        expect([...tables.radius(i, radius, { filter }).ids]).toEqual(even);
        expect([...some.ids.slice(some.offsets[i], some.offsets[i + 1])]).toEqual(even);
      }
    }
  });

  it('says that a filter left too few, and refuses what is no filter or no radius', () => {
    const tables = make();
    expect(tables.shortfall(0, { k: 5, filter: () => false })).toContain('0 that pass the filter');
    for (const call of [
      () => tables.search(0, { k: 1, filter: [1] as never }),
      () => tables.batch({ k: 1, filter: 'odd' as never }),
      () => tables.radius(0, 1, { filter: 7 as never }),
      () => tables.radius(0, '1' as never),
    ]) {
      expect(thrownBy(call).code).toBe('ERR_ARGUMENT_TYPE');
    }
    expect(thrownBy(() => tables.radius(0, -1)).code).toBe('ERR_ARGUMENT_RANGE');
    expect(thrownBy(() => tables.radiusBatch(Number.NaN)).code).toBe('ERR_ARGUMENT_RANGE');
  });
});
