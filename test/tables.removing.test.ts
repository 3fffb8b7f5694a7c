import { describe, expect, it } from 'vitest';
import { BitSamplingLsh } from '../src/bit-sampling-lsh.js';
import { HyperplaneLsh } from '../src/hyperplane-lsh.js';
import { MinHashLsh } from '../src/min-hash-lsh.js';
import { thrownBy } from './answers.js';
import { uniform } from './arena.js';
import { normals, rowAt } from './data.js';

const dimensions = 6;
const options = { dimensions, tables: 5, bits: 4, seed: 3 };

describe('removing from HyperplaneLsh', () => {
  it('leaves what an index without these rows has, in any sequence of calls', () => {
    for (let seed = 0; seed < 60; seed++) {
      const next = uniform(seed);
      const pick = (n: number): number => Math.floor(next() * n);
      const metric = pick(2) ? 'euclidean' : 'cosine';
      // Keys of few and of many bits are stored in two ways.
      const lsh = new HyperplaneLsh({ ...options, metric, bits: [2, 4, 24][pick(3)] });
      const rows: (Float32Array | null)[] = [];
      for (let step = 0; step < 12; step++) {
        if (rows.length === 0 || pick(3) === 0) {
          const added = normals(dimensions * (1 + pick([3, 40, 700][pick(3)])), 100 * seed + step);
          expect(lsh.add(added), `seed ${seed}`).toBe(rows.length);
          for (let i = 0; i < added.length / dimensions; i++) rows.push(rowAt(added, i, dimensions));
        } else {
          const ids = Array.from({ length: pick([2, 30, rows.length + 1][pick(3)]) }, () =>
            pick(rows.length),
          );
          const there = new Set(ids.filter((id) => rows[id]));
          expect(lsh.remove(ids), `seed ${seed}`).toBe(there.size);
          for (const id of there) rows[id] = null;
        }
        const live = rows.flatMap((row, id) => (row ? [id] : []));
        const fresh = new HyperplaneLsh({ ...options, metric, bits: lsh.bits });
        fresh.add(Float32Array.from(live.flatMap((id) => [...(rows[id] as Float32Array)])));
        expect(lsh.size).toBe(live.length);
        const query = normals(dimensions, 5000 + 100 * seed + step);
        const mapped = (ids: Uint32Array): Uint32Array => ids.map((place) => live[place]);
        const what = `seed ${seed}, step ${step}`;
        expect(lsh.candidates(query), what).toEqual(mapped(fresh.candidates(query)));
        const [key] = lsh.keys(query);
        expect(lsh.bucket(0, key), what).toEqual(mapped(fresh.bucket(0, key)));
        const found = lsh.search(query, { k: 7, probes: 3 });
        const expected = fresh.search(query, { k: 7, probes: 3 });
        expect(found, what).toEqual({ ...expected, ids: mapped(expected.ids) });
        if (live.length === 0) continue;
        const { tables, candidates } = lsh.explain(query, { k: 3 });
        expect({ tables, candidates }, what).toMatchObject(
          (({ tables, candidates }) => ({ tables, candidates }))(fresh.explain(query, { k: 3 })),
        );
        const { memory: _, ...stats } = lsh.stats();
        expect(fresh.stats(), what).toMatchObject({
          ...stats,
          // Buckets come in no order, so the last digits of sums over them may differ.
          skew: expect.closeTo(stats.skew, 9),
          tables: stats.tables.map((table) => ({ ...table, skew: expect.closeTo(table.skew, 9) })),
        });
        const id = pick(rows.length);
        expect(lsh.has(id)).toBe(rows[id] !== null);
      }
    }
  });

  it('is not forgotten after any number of queries', () => {
    const lsh = new HyperplaneLsh({ ...options, bits: 1 });
    const vectors = normals(dimensions * 50, 1);
    lsh.add(vectors);
    lsh.remove([0, 7, 49]);
    for (let i = 0; i < 600; i++) {
      const ids = lsh.candidates(rowAt(vectors, i % 50, dimensions));
      expect([0, 7, 49].some((id) => ids.includes(id))).toBe(false);
    }
  });

  it('refuses ids that were never given out, and removes nothing', () => {
    const lsh = new HyperplaneLsh(options);
    expect(lsh.remove([])).toBe(0);
    expect(lsh.has(0)).toBe(false);
    expect(thrownBy(() => lsh.remove(0)).message).toBe(
      'ids: expected an id of the index, which has given out none, got 0',
    );
    lsh.add(normals(dimensions * 3, 2));
    expect(thrownBy(() => lsh.remove([0, 3]))).toMatchObject({
      code: 'ERR_ARGUMENT_RANGE',
      message: 'ids: expected ids from 0 to 2, got 3 at place 1',
    });
    expect(thrownBy(() => lsh.remove('0' as never)).code).toBe('ERR_ARGUMENT_TYPE');
    expect(lsh.size).toBe(3);
    expect(lsh.remove(1)).toBe(1);
    expect(lsh.remove([1, 1])).toBe(0);
    expect(lsh.add(normals(dimensions, 3))).toBe(3);
    lsh.remove([0, 1, 2, 3]);
    expect(lsh.search(normals(dimensions, 4), { k: 2 }).ids.length).toBe(0);
    lsh.dispose();
    expect(thrownBy(() => lsh.remove(0)).code).toBe('ERR_DISPOSED');
    expect(thrownBy(() => lsh.has(0)).code).toBe('ERR_DISPOSED');
  });
});

describe('removing from other hash tables', () => {
  const next = uniform(77);
  const gone = [0, 3, 8, 40, 299];
  const kept = Array.from({ length: 300 }, (_, id) => id).filter((id) => !gone.includes(id));

  it('leaves codes that are left what they were', () => {
    const codes = Uint8Array.from({ length: 300 * 2 }, () => 85 + Math.floor(next() * 4));
    const lsh = new BitSamplingLsh({ bits: 16, sampledBits: 5, tables: 3, seed: 1 });
    const fresh = new BitSamplingLsh({ bits: 16, sampledBits: 5, tables: 3, seed: 1 });
    lsh.add(codes);
    fresh.add(Uint8Array.from(kept.flatMap((id) => [...codes.subarray(2 * id, 2 * id + 2)])));
    expect(lsh.remove([...gone, 3])).toBe(5);
    expect([lsh.size, lsh.has(3), lsh.has(4)]).toEqual([295, false, true]);
    for (const id of [0, 5, 299]) {
      const query = codes.slice(2 * id, 2 * id + 2);
      const { ids, distances } = fresh.search(query, { k: 20 });
      expect(lsh.search(query, { k: 20 })).toEqual({ ids: ids.map((place) => kept[place]), distances });
    }
    expect(lsh.add(codes.slice(0, 2))).toBe(300);
    expect(lsh.search(codes.slice(0, 2), { k: 300 }).ids).toContain(300);
  });

  it('leaves sets that are left what they were', () => {
    const sets = Array.from({ length: 300 }, () =>
      Uint32Array.from({ length: 8 }, () => Math.floor(next() * 12)),
    );
    const lsh = new MinHashLsh({ bands: 4, rows: 2, seed: 1 });
    const fresh = new MinHashLsh({ bands: 4, rows: 2, seed: 1 });
    lsh.add(sets);
    fresh.add(kept.map((id) => sets[id]));
    expect(lsh.remove(Uint32Array.from(gone))).toBe(5);
    expect([lsh.size, lsh.has(8), lsh.has(9)]).toEqual([295, false, true]);
    for (const id of [0, 5, 299]) {
      const { ids, distances } = fresh.search(sets[id], { k: 20 });
      expect(lsh.search(sets[id], { k: 20 })).toEqual({ ids: ids.map((place) => kept[place]), distances });
    }
    expect(lsh.add([sets[0]])).toBe(300);
    expect(lsh.search(sets[0], { k: 300 }).ids).toContain(300);
  });
});
