import { describe, expect, it } from 'vitest';
import { BitSamplingLsh, exactSearch, HyperplaneLsh, MinHashLsh, VectorIndex } from '../src/index.js';
import { normals, rowAt } from './data.js';

const UNCAPPED = { maxBucket: 2 ** 32 - 1, maxCandidates: 2 ** 32 - 1 };

describe('the caps of a query', () => {
  const dimensions = 8;
  const vectors = normals(1500 * dimensions, 1);
  const query = normals(dimensions, 2);
  const make = (): HyperplaneLsh => {
    const lsh = new HyperplaneLsh({ dimensions, tables: 6, bits: 3 });
    lsh.add(vectors.subarray(0, 1200 * dimensions)); // sorted
    lsh.add(vectors.subarray(1200 * dimensions)); // in chains
    return lsh;
  };

  it('leave an answer alone that they do not cut', () => {
    const lsh = make();
    const { candidates } = lsh.explain(query, { k: 5, ...UNCAPPED });
    const whole = lsh.search(query, { k: 5, ...UNCAPPED });
    expect(whole).not.toHaveProperty('capped');
    expect(lsh.search(query, { k: 5 })).toEqual(whole);
    expect(lsh.search(query, { k: 5, maxCandidates: candidates })).toEqual(whole);
    expect(lsh.explain(query, { k: 5, maxCandidates: candidates }).capped).toBe(false);
  });

  it('rank exactly as many candidates as maxCandidates says, true rows of the buckets, and tell', () => {
    const lsh = make();
    const all = new Set(lsh.candidates(query, UNCAPPED));
    for (const maxCandidates of [1, 2, 7, 100, 500, all.size - 1]) {
      const options = { k: 5, maxCandidates };
      const candidates = lsh.candidates(query, options);
      expect(candidates.length).toBe(maxCandidates);
      expect(new Set(candidates).size).toBe(maxCandidates);
      for (const id of candidates) expect(all.has(id)).toBe(true);
      const found = lsh.search(query, options);
      expect(found.capped).toBe(true);
      // The best of those that were looked at, with true distances.
      const few = new Float32Array(maxCandidates * dimensions);
      candidates.forEach((id, i) => void few.set(rowAt(vectors, id, dimensions), i * dimensions));
      const best = exactSearch(few, query, { k: 5 });
      expect(found.ids).toEqual(best.ids.map((i) => candidates[i]));
      expect(found.distances).toEqual(best.distances);
      const explained = lsh.explain(query, options);
      expect(explained).toMatchObject({ capped: true, candidates: maxCandidates });
      expect(explained.shortfall).toMatch(maxCandidates < 5 ? /left by the caps/ : /^$/);
    }
  });

  it('look at no more than maxBucket rows of a bucket, the oldest of those sorted and the newest of those added since', () => {
    const lsh = new HyperplaneLsh({ dimensions, tables: 1, bits: 3 });
    lsh.add(vectors.subarray(0, 1200 * dimensions));
    lsh.add(vectors.subarray(1200 * dimensions));
    const bucket = lsh.bucket(0, lsh.keys(query)[0]);
    const sorted = bucket.filter((id) => id < 1200);
    const added = bucket.filter((id) => id >= 1200);
    for (const maxBucket of [1, 4, 20]) {
      const expected = [...sorted.slice(0, maxBucket), ...added.slice(-maxBucket)];
      expect([...lsh.candidates(query, { maxBucket })]).toEqual(expected);
      expect(lsh.search(query, { k: 1, maxBucket }).capped).toBe(true);
    }
    const most = Math.max(sorted.length, added.length);
    expect(lsh.search(query, { k: 1, maxBucket: most })).not.toHaveProperty('capped');
    expect(lsh.search(query, { k: 1, maxBucket: most - 1 }).capped).toBe(true);
  });

  it('are told query by query in a batch', () => {
    const lsh = make();
    const queries = normals(40 * dimensions, 3);
    const sizes = Array.from({ length: 40 }, (_, i) => lsh.candidates(rowAt(queries, i, dimensions)).length);
    const maxCandidates = sizes.slice().sort((a, b) => a - b)[20];
    const batch = lsh.searchBatch(queries, { k: 3, maxCandidates });
    expect(batch.capped).toEqual(Uint8Array.from(sizes, (size) => Number(size > maxCandidates)));
    expect(lsh.searchBatch(queries, { k: 3 })).not.toHaveProperty('capped');
    for (let i = 0; i < 40; i++) {
      const { ids } = lsh.search(rowAt(queries, i, dimensions), { k: 3, maxCandidates });
      expect(batch.ids.subarray(3 * i, 3 * i + 3)).toEqual(ids);
    }
  });

  it('bind every class of tables, which see the skew too', () => {
    const codes = new Uint8Array(3000 * 4); // all equal
    const bits = new BitSamplingLsh({ bits: 32, sampledBits: 8, tables: 3 });
    bits.add(codes);
    expect(bits.search(codes.subarray(0, 4), { k: 3, maxBucket: 50 })).toMatchObject({ capped: true });
    expect(bits.candidates(codes.subarray(0, 4), { maxBucket: 50 }).length).toBe(50);
    expect(bits.explain(codes.subarray(0, 4), { k: 60, maxBucket: 50 })).toMatchObject({ capped: true });
    expect(bits.stats()).toMatchObject({ largest: 3000 });
    const set = Uint32Array.of(1, 2, 3);
    const sets = new MinHashLsh({ bands: 4, rows: 2 });
    sets.add(Array.from({ length: 500 }, () => set));
    sets.add(Array.from({ length: 500 }, (_, i) => Uint32Array.of(10 + i, 2000 + i)));
    expect(sets.search(set, { k: 3, maxCandidates: 10 })).toMatchObject({ capped: true });
    expect(sets.searchBatch([set, Uint32Array.of(99999)], { k: 3, maxCandidates: 10 }).capped).toEqual(
      Uint8Array.of(1, 0),
    );
    expect(sets.stats().skew).toBeGreaterThan(100); // all alike would be 1
  });

  it('are refused where they are no numbers of rows', () => {
    const lsh = make();
    expect(() => lsh.search(query, { k: 1, maxBucket: 0 })).toThrow(
      'maxBucket: expected an integer from 1 to 4294967295, got 0',
    );
    expect(() => lsh.candidates(query, { maxCandidates: 1.5 })).toThrow(RangeError);
    expect(() => lsh.searchBatch(query, { k: 1, maxCandidates: '3' as never })).toThrow(TypeError);
  });

  it('bound a query of a VectorIndex whose codes cannot tell rows apart, and tell', () => {
    const index = VectorIndex.from(vectors, { dimensions, cells: 4, refine: false, tune: false });
    const way = { k: 5, probes: 3, epsilon: 3 };
    const whole = index.search(query, way);
    expect(whole).not.toHaveProperty('capped');
    const { rowsRanked } = index.explain(query, way);
    expect(index.search(query, { ...way, maxCandidates: rowsRanked })).toEqual(whole);
    const capped = index.search(query, { ...way, maxCandidates: 200 });
    expect(capped.capped).toBe(true);
    expect(capped.ids.length).toBe(5);
    capped.ids.forEach((id, i) => {
      const own = exactSearch(rowAt(vectors, id, dimensions), query, { k: 1 }).distances[0];
      expect(capped.distances[i]).toBe(own);
    });
    expect(index.explain(query, { ...way, maxCandidates: 200 })).toMatchObject({
      capped: true,
      rowsRanked: 200,
    });
    const queries = normals(300 * dimensions, 4);
    const ranked = Array.from(
      { length: 300 },
      (_, i) => index.explain(rowAt(queries, i, dimensions), way).rowsRanked,
    );
    const middle = ranked.slice().sort((a, b) => a - b)[150];
    const batch = index.searchBatch(queries, { ...way, maxCandidates: middle });
    expect(batch.capped).toEqual(Uint8Array.from(ranked, (count) => Number(count > middle)));
    for (let i = 0; i < 300; i++) {
      const { ids } = index.search(rowAt(queries, i, dimensions), { ...way, maxCandidates: middle });
      expect(batch.ids.subarray(5 * i, 5 * i + 5)).toEqual(ids);
    }
    expect(index.search(query, { k: 5, exact: true, maxCandidates: 1 })).not.toHaveProperty('capped');
    expect(() => index.search(query, { maxCandidates: 0 })).toThrow(RangeError);
  });
});

describe('rows that are all the same, or nearly so,', () => {
  const dimensions = 32;
  const rows = 60_000;
  const one = normals(dimensions, 5);
  const noise = normals(rows, 6);
  const crowd = (spread: number): Float32Array => {
    const vectors = new Float32Array(rows * dimensions);
    for (let i = 0; i < rows; i++) {
      vectors.set(one, i * dimensions);
      vectors[i * dimensions + (i % dimensions)] += spread * noise[i];
    }
    return vectors;
  };
  const fastest = (call: () => unknown): number => {
    let best = Infinity;
    for (let i = 0; i < 7; i++) {
      const start = performance.now();
      call();
      best = Math.min(best, performance.now() - start);
    }
    return best;
  };

  it.each([0, 1e-6])('cost a query of VectorIndex little more than an exact search (spread %d)', (spread) => {
    const vectors = crowd(spread);
    // One crowd beside ordinary rows, and rows that join it later.
    const index = VectorIndex.from(normals(4000 * dimensions, 7), { dimensions, cells: 30, tune: false });
    for (let i = 0; i < 6; i++) {
      index.add(vectors.subarray((i * rows * dimensions) / 6, ((i + 1) * rows * dimensions) / 6));
    }
    const exact = index.search(one, { k: 10, exact: true });
    const found = index.search(one, { k: 10 });
    expect(found.distances[9]).toBeLessThanOrEqual(exact.distances[9] + 2e-6);
    if (spread === 0) expect(found.distances).toEqual(exact.distances);
    const ratio = fastest(() => index.search(one)) / fastest(() => index.search(one, { exact: true }));
    expect(ratio).toBeLessThan(4); // measured: 0.95 and 1.3
    expect(index.stats().skew).toBeGreaterThan(1);
  });

  it('are answered within the caps by HyperplaneLsh, whose stats show them', () => {
    const lsh = new HyperplaneLsh({ dimensions, tables: 8, bits: 10, seed: 'random' });
    lsh.add(crowd(0));
    const found = lsh.search(one, { k: 3, maxBucket: 1000, maxCandidates: 5000 });
    expect(found).toMatchObject({ ids: Uint32Array.of(0, 1, 2), capped: true });
    expect(lsh.explain(one, { k: 3, maxBucket: 1000 }).candidates).toBe(1000);
    expect(lsh.stats()).toMatchObject({ largest: rows });
  });
});

describe("seed: 'random'", () => {
  it('is another one every time, in every class, and is kept by a snapshot', () => {
    const planes = (): HyperplaneLsh =>
      new HyperplaneLsh({ dimensions: 4, tables: 2, bits: 4, seed: 'random' });
    const lsh = planes();
    expect(lsh.hyperplanes).not.toEqual(planes().hyperplanes);
    expect(HyperplaneLsh.load(lsh.save()).hyperplanes).toEqual(lsh.hyperplanes);
    const later = new HyperplaneLsh({ dimensions: 4, tables: 2, bucketSize: 2, seed: 'random' });
    const loaded = HyperplaneLsh.load(later.save());
    for (const index of [later, loaded]) index.add(normals(40, 8));
    expect(loaded.hyperplanes).toEqual(later.hyperplanes);

    const bits = (): BitSamplingLsh =>
      new BitSamplingLsh({ bits: 64, sampledBits: 16, tables: 4, seed: 'random' });
    expect(bits().positions).not.toEqual(bits().positions);
    const sets = (): MinHashLsh => new MinHashLsh({ bands: 4, rows: 2, seed: 'random' });
    expect(sets().signature(Uint32Array.of(1, 2))).not.toEqual(sets().signature(Uint32Array.of(1, 2)));

    const vectors = normals(300 * 16, 9);
    const options = { dimensions: 16, seed: 'random', cells: 4 } as const;
    const index = VectorIndex.from(vectors, options);
    expect(index.save()).not.toEqual(VectorIndex.from(vectors, options).save());
    const again = VectorIndex.load(index.save());
    for (const one of [index, again]) one.build({ cells: 6 });
    expect(again.save()).toEqual(index.save());
  });

  it('is the only word that is a seed', () => {
    expect(() => new VectorIndex({ dimensions: 4, seed: 'chance' as never })).toThrow(TypeError);
  });
});
