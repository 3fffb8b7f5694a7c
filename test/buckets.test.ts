import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Buckets, joinStats } from '../src/buckets.js';
import { instantiateTables } from '../src/kernels.js';
import { LinearMemory } from '../src/memory.js';
import { Arena, expectSameBits, uniform } from './arena.js';

/** Buckets and, beside them, each row's keys: what the buckets should say. */
class Pair {
  readonly memory: LinearMemory;
  readonly buckets: Buckets;
  readonly tables: number;
  /** keys[row][table] */
  readonly keys: number[][] = [];

  constructor(tables: number, bits: number, firstBytes = 0) {
    this.tables = tables;
    this.memory = new LinearMemory();
    // Pages that nobody touches cost nothing: this moves all that follows to high addresses.
    if (firstBytes > 0) this.memory.reserve('before', firstBytes);
    this.buckets = new Buckets(this.memory, instantiateTables(this.memory.memory), tables, bits);
  }

  /** Rows that were removed: no union has them. */
  readonly removed: Set<number> = new Set();

  remove(rows: number[]): void {
    const gone = new Set(rows.filter((row) => !this.removed.has(row)));
    expect(this.buckets.remove(rows)).toBe(gone.size);
    for (const row of gone) this.removed.add(row);
  }

  add(rows: number[][]): void {
    const { buckets } = this;
    buckets.reserve(rows.length);
    const { u32 } = this.memory;
    rows.forEach((keys, r) => {
      keys.forEach((key, t) => {
        u32[(buckets.keysPtr(this.keys.length + r) >>> 2) + t * buckets.keyStride] = key;
      });
    });
    buckets.add(rows.length);
    this.keys.push(...rows);
  }

  /** The union of buckets, wanted[table] keys of each table. */
  union(wanted: number[][]): Uint32Array {
    const probes = wanted[0].length;
    const ptr = this.memory.reserve('wanted', 4 * this.tables * probes);
    this.memory.u32.set(wanted.flat(), ptr >>> 2);
    this.buckets.startQuery();
    return this.buckets.candidates(this.buckets.gather(ptr, probes, probes, 0));
  }

  /** The same, gathered table by table. */
  unionByTables(wanted: number[][]): Uint32Array {
    const ptr = this.memory.reserve('wanted', 4 * this.tables);
    this.buckets.startQuery();
    let found = 0;
    wanted.forEach((keys, t) => {
      this.memory.u32.set(keys, ptr >>> 2);
      found = this.buckets.gather(ptr, 1, 1, found, t, 1);
    });
    return this.buckets.candidates(found);
  }

  expectedUnion(wanted: number[][]): number[] {
    return this.keys.flatMap((keys, row) =>
      !this.removed.has(row) && keys.some((key, t) => wanted[t].includes(key)) ? [row] : [],
    );
  }

  expectRight(wanted: number[][]): void {
    const expected = this.expectedUnion(wanted);
    expectSameBits(this.union(wanted), Uint32Array.from(expected), `union of ${this.keys.length} rows`);
  }
}

/** Keys that often agree: a quarter of them the same, the others drawn from `different`. */
function draw(rows: number, tables: number, bits: number, different: number, seed: number): number[][] {
  const next = uniform(seed);
  const key = (): number => {
    if (next() < 0.25) return 2 ** bits - 1;
    return Math.floor((Math.floor(next() * different) * 2 ** bits) / different) % 2 ** bits;
  };
  return Array.from({ length: rows }, () => Array.from({ length: tables }, key));
}

describe('Buckets', () => {
  it('unite the wanted buckets, each row once, whatever the number of bits', () => {
    for (let bits = 1; bits <= 32; bits++) {
      const pair = new Pair(4, bits);
      const rows = draw(900, 4, bits, 60, bits);
      pair.add(rows.slice(0, 500));
      pair.add(rows.slice(500, 560));
      pair.add(rows.slice(560));
      for (let r = 0; r < 900; r += 29) pair.expectRight(rows[r].map((key) => [key]));
      pair.expectRight([
        [0, 1],
        [1, 0],
        [0, 2 ** bits - 1],
        [1, 0],
      ]);
    }
  });

  it('find every row at once when rows come one by one', () => {
    for (const bits of [3, 9, 24]) {
      const pair = new Pair(3, bits);
      const rows = draw(1700, 3, bits, 40, bits);
      for (let r = 0; r < rows.length; r++) {
        pair.add([rows[r]]);
        expect(pair.union(rows[r].map((key) => [key]))).toContain(r);
        if (r % 97 === 0 || r > 1690) pair.expectRight(rows[r].map((key) => [key]));
      }
      expect(pair.buckets.count).toBe(1700);
    }
  });

  it('give the same unions however rows are split', () => {
    const cases = fc.record({
      bits: fc.integer({ min: 1, max: 32 }),
      tables: fc.integer({ min: 1, max: 5 }),
      parts: fc.array(fc.integer({ min: 0, max: 400 }), { minLength: 1, maxLength: 12 }),
      different: fc.integer({ min: 1, max: 300 }),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(cases, ({ bits, tables, parts, different, seed }) => {
        const pair = new Pair(tables, bits);
        parts.forEach((rows, i) => {
          pair.add(draw(rows, tables, bits, different, seed + i));
          const asked = draw(2, tables, bits, different, seed + i);
          pair.expectRight(asked[1].map((key) => [key]));
          pair.expectRight(asked[0].map((key, t) => [key, (asked[1][t] + 1) % 2 ** bits]));
        });
      }),
      { numRuns: 60 },
    );
  });

  it('tell queries apart for longer than the marks of rows can count', () => {
    const pair = new Pair(2, 2);
    pair.add(draw(300, 2, 2, 4, 1));
    pair.add(draw(20, 2, 2, 4, 2));
    for (let i = 0; i < 600; i++) pair.expectRight([[i % 4], [(i >> 2) % 4]]);
  });

  it('work at addresses beyond 2 GiB', () => {
    const pair = new Pair(3, 10, 2 ** 31 + 2 ** 20);
    const rows = draw(700, 3, 10, 50, 1);
    pair.add(rows.slice(0, 600));
    pair.add(rows.slice(600));
    expect(pair.buckets.candidatesPtr).toBeGreaterThan(2 ** 31);
    for (let r = 0; r < 700; r += 31) pair.expectRight(rows[r].map((key) => [key]));
  });

  it('stay as they were when there is no memory for more', () => {
    const memory = new LinearMemory(2 ** 20);
    const buckets = new Buckets(memory, instantiateTables(memory.memory), 4, 8);
    const rows = 1000;
    buckets.reserve(rows);
    for (let t = 0; t < 4; t++) {
      const at = (buckets.keysPtr(0) >>> 2) + t * buckets.keyStride;
      for (let r = 0; r < rows; r++) memory.u32[at + r] = (r * (t + 1)) % 256;
    }
    buckets.add(rows);
    const wanted = memory.reserve('wanted', 16);
    memory.u32.set([7, 14, 21, 28], wanted >>> 2);
    const union = (): Uint32Array => {
      buckets.startQuery();
      return buckets.candidates(buckets.gather(wanted, 1, 1, 0));
    };
    const before = union();
    expect(() => buckets.reserve(100_000)).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_MEMORY' }));
    expect(buckets.count).toBe(rows);
    expect(union()).toEqual(before);
    expect(before.length).toBeGreaterThan(3);
  });

  it('sum up how rows are spread', () => {
    for (const bits of [4, 25]) {
      const pair = new Pair(2, bits);
      pair.add([
        [1, 5],
        [1, 5],
        [1, 5],
        [2, 5],
        [3, 6],
        [3, 7],
      ]);
      const [first, second] = pair.buckets.stats();
      expect(first).toEqual({
        buckets: 3,
        average: 2,
        largest: 3,
        histogram: [1, 2],
        skew: (3 * (9 + 1 + 4)) / 36,
      });
      expect(second).toEqual({
        buckets: 3,
        average: 2,
        largest: 4,
        histogram: [2, 0, 1],
        skew: (3 * 18) / 36,
      });
      expect(joinStats([first, second], 6)).toEqual({
        buckets: 6,
        average: 2,
        largest: 4,
        histogram: [3, 2, 1],
        skew: (first.skew + second.skew) / 2,
      });
    }
    const empty = { buckets: 0, average: 0, largest: 0, histogram: [], skew: 0 };
    expect(new Pair(1, 4).buckets.stats()).toEqual([empty]);
    expect(joinStats([empty, empty], 0)).toEqual(empty);
  });
});

describe('buckets of which rows are removed', () => {
  it('find the others, however many queries and rows come after', () => {
    const pair = new Pair(3, 6);
    const next = uniform(7);
    // Sorted and waiting rows by turns: 256 may wait at first, and a quarter of all later.
    for (const rows of [40, 300, 200, 90, 1, 700, 30]) {
      pair.add(draw(rows, 3, 6, 40, rows));
      const { length } = pair.keys;
      pair.remove([0, length - 1, Math.floor(next() * length), Math.floor(next() * length)]);
      pair.remove([length - 1]);
      // More queries than the marks of rows can count
      for (let i = 0; i < 300; i++) {
        const wanted = pair.keys[Math.floor(next() * length)].map((key) => [key]);
        if (i % 60 > 0) pair.union(wanted);
        else {
          pair.expectRight(wanted);
          expect([...pair.unionByTables(wanted)]).toEqual(pair.expectedUnion(wanted));
        }
      }
      expect([pair.buckets.count, pair.buckets.removed]).toEqual([length, pair.removed.size]);
    }
    for (let row = 0; row < pair.keys.length; row++)
      expect(pair.buckets.has(row)).toBe(!pair.removed.has(row));
    expect(pair.buckets.has(pair.keys.length)).toBe(false);
  });

  it.each([6, 22])('count the others alone, with keys of %i bits', (bits) => {
    const pair = new Pair(2, bits);
    const rows = draw(500, 2, bits, 30, 3);
    pair.add(rows);
    pair.remove([3, 100, 499]);
    for (let table = 0; table < 2; table++) {
      const sizes = new Map<number, number>();
      rows.forEach((keys, row) => {
        if (!pair.removed.has(row)) sizes.set(keys[table], (sizes.get(keys[table]) ?? 0) + 1);
      });
      const ascending = (values: Iterable<number>): number[] => [...values].sort((a, b) => a - b);
      expect(ascending(pair.buckets.sizes(table))).toEqual(ascending(sizes.values()));
    }
  });

  it('leave out what is over a cap, and say so', () => {
    const pair = new Pair(1, 4);
    pair.add(Array.from({ length: 300 }, (_, row) => [row < 5 ? 9 : 1])); // sorted
    pair.add([[9], [9], [9]]); // waiting
    const ptr = pair.memory.reserve('wanted', 4);
    pair.memory.u32[ptr >>> 2] = 9;
    const found = (maxBucket?: number, maxCandidates?: number): [number, boolean] => {
      pair.buckets.startQuery(maxBucket, maxCandidates);
      return [pair.buckets.gather(ptr, 1, 1, 0), pair.buckets.capped];
    };
    expect(found()).toEqual([8, false]);
    expect(found(5)).toEqual([8, false]);
    expect(found(2)).toEqual([4, true]); // so many of those sorted, and of those that wait
    expect(found(undefined, 8)).toEqual([8, false]);
    expect(found(undefined, 6)).toEqual([6, true]);
    expect(found()).toEqual([8, false]);
  });
});

describe('the kernels of buckets', () => {
  const arena = new Arena();

  it('write nothing outside their regions', () => {
    for (const [bits, shift, slots] of [
      [4, 0, 16],
      [32, 27, 32],
    ]) {
      for (const [sorted, tail] of [
        [0, 0],
        [1, 0],
        [0, 1],
        [37, 5],
      ]) {
        arena.reset();
        const tables = 3;
        const count = sorted + tail;
        const rows = draw(count, tables, bits, 9, count);
        const keys = arena.input(
          Uint32Array.from({ length: tables * count }, (_, i) => rows[i % count][Math.floor(i / count)]),
        );
        const offsets = arena.output(4 * tables * (slots + 2));
        const ids = arena.output(4 * tables * sorted);
        const heads = arena.output(4 * tables * slots, new Uint32Array(tables * slots));
        const links = arena.output(4 * tables * tail);
        const marks = arena.output(count, new Uint8Array(count));
        const out = arena.output(4 * (count + 1));
        arena.run((kernels) => kernels.sortKeys(keys, count, sorted, tables, shift, slots, offsets, ids));
        arena.run((kernels) =>
          kernels.chainKeys(keys, count, sorted, tail, tables, shift, slots, heads, links, tail, sorted),
        );
        const wanted = arena.input(new Uint32Array(tables).fill(2 ** bits - 1));
        const found = arena.run((kernels) => {
          const some = kernels.gatherSorted(
            wanted,
            1,
            1,
            tables,
            keys,
            count,
            shift,
            slots,
            offsets,
            ids,
            sorted,
            marks,
            1,
            out,
            0,
          );
          return kernels.gatherChained(
            wanted,
            1,
            1,
            tables,
            keys,
            count,
            shift,
            slots,
            heads,
            links,
            tail,
            sorted,
            marks,
            1,
            out,
            some,
          );
        });
        const expected = rows.flatMap((row, r) => (row.includes(2 ** bits - 1) ? [r] : []));
        expectSameBits(
          arena.words(out, found).sort(),
          Uint32Array.from(expected),
          `${sorted} + ${tail} rows`,
        );
      }
    }
  });

  it('never list a row that is marked 255', () => {
    arena.reset();
    const keys = arena.input(new Uint32Array(6));
    const offsets = arena.output(4 * 18);
    const ids = arena.output(4 * 6);
    const marks = arena.output(6, Uint8Array.of(0, 255, 0, 254, 253, 255));
    const out = arena.output(4 * 7);
    arena.run((kernels) => kernels.sortKeys(keys, 6, 6, 1, 0, 16, offsets, ids));
    const wanted = arena.input(new Uint32Array(1));
    const gather = (): number =>
      arena.run((kernels) =>
        kernels.gatherSorted(wanted, 1, 1, 1, keys, 6, 0, 16, offsets, ids, 6, marks, 254, out, 0),
      );
    expect(gather()).toBe(3);
    expect([...arena.words(out, 3)]).toEqual([0, 2, 4]);
    expect([...arena.bytes(marks, 6)]).toEqual([254, 255, 254, 254, 254, 255]);
    expect(gather()).toBe(0);
  });
});
