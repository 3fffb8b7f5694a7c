import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { exactSearch } from '../src/exact.js';
import { HyperplaneLsh, type HyperplaneLshOptions } from '../src/hyperplane-lsh.js';
import type { Neighbors, NeighborsBatch } from '../src/neighbors.js';
import { RandomGenerator } from '../src/random.js';
import { expectSameBits, uniform } from './arena.js';
import * as reference from './reference.js';

function vectorsOf(rows: number, dimensions: number, seed: number): Float32Array {
  const next = uniform(seed);
  return Float32Array.from({ length: rows * dimensions }, () => next() - 0.5);
}

function rowOf(vectors: Float32Array, row: number, dimensions: number): Float32Array {
  return vectors.subarray(row * dimensions, (row + 1) * dimensions);
}

/** The hyperplanes of a seed, drawn as the issue of NumPy's numbers says. */
function drawn(seed: number | bigint, tables: number, bits: number, dimensions: number): Float32Array {
  const out = new Float32Array(tables * bits * dimensions);
  new RandomGenerator(seed).normals(out);
  return out;
}

/** Hash tables in the plainest words. */
class PlainLsh {
  readonly dimensions: number;
  readonly tables: number;
  readonly bits: number;
  readonly hyperplanes: Float32Array;
  readonly vectors: Float32Array;
  readonly keysOfRows: Uint32Array[];

  constructor(
    dimensions: number,
    tables: number,
    bits: number,
    hyperplanes: Float32Array,
    vectors: Float32Array,
  ) {
    this.dimensions = dimensions;
    this.tables = tables;
    this.bits = bits;
    this.hyperplanes = hyperplanes;
    this.vectors = vectors;
    this.keysOfRows = Array.from({ length: vectors.length / dimensions }, (_, r) =>
      this.keys(rowOf(vectors, r, dimensions)),
    );
  }

  margins(vector: Float32Array): Float32Array {
    return Float32Array.from({ length: this.tables * this.bits }, (_, p) =>
      reference.margin(vector, rowOf(this.hyperplanes, p, this.dimensions), this.dimensions),
    );
  }

  keys(vector: Float32Array): Uint32Array {
    const margins = this.margins(vector);
    const keys = new Uint32Array(this.tables);
    margins.forEach((margin, p) => {
      if (margin >= 0) keys[Math.floor(p / this.bits)] += 2 ** (p % this.bits);
    });
    return keys;
  }

  bucket(table: number, key: number): number[] {
    return this.keysOfRows.flatMap((keys, row) => (keys[table] === key ? [row] : []));
  }

  candidates(vector: Float32Array): Uint32Array {
    const own = this.keys(vector);
    return Uint32Array.from(
      this.keysOfRows.flatMap((keys, row) => (keys.some((key, t) => key === own[t]) ? [row] : [])),
    );
  }

  search(vector: Float32Array, k: number): Neighbors {
    return rankExactly(this.vectors, vector, this.candidates(vector), k, 'euclidean');
  }
}

/** The k nearest of the listed rows. */
function rankExactly(
  vectors: Float32Array,
  query: Float32Array,
  ids: Uint32Array,
  k: number,
  metric: 'euclidean' | 'cosine',
): Neighbors {
  const rows = new Float32Array(ids.length * query.length);
  ids.forEach((id, i) => {
    rows.set(rowOf(vectors, id, query.length), i * query.length);
  });
  const ranked = exactSearch(rows, query, { k, metric });
  return { ids: ranked.ids.map((place) => ids[place]), distances: ranked.distances };
}

function expectSameNeighbors(actual: Neighbors, expected: Neighbors, what: string): void {
  expectSameBits(actual.ids, expected.ids, `ids, ${what}`);
  expectSameBits(actual.distances, expected.distances, `distances, ${what}`);
}

function queryOf(batch: NeighborsBatch, q: number, k: number): Neighbors {
  const end = q * k + batch.counts[q];
  return { ids: batch.ids.subarray(q * k, end), distances: batch.distances.subarray(q * k, end) };
}

/** All that an index answers to some queries. */
function answers(lsh: HyperplaneLsh, queries: Float32Array): unknown[] {
  const count = queries.length / lsh.dimensions;
  return Array.from({ length: count }, (_, q) => {
    const query = rowOf(queries, q, lsh.dimensions);
    return [
      lsh.keys(query),
      lsh.candidates(query),
      lsh.search(query, { k: 5, probes: 3 }),
      lsh.size,
      lsh.stats().average,
    ];
  });
}

function detached(length: number): Float32Array {
  const vector = new Float32Array(length);
  structuredClone(vector.buffer, { transfer: [vector.buffer] });
  return vector;
}

describe('HyperplaneLsh', () => {
  it('hashes, gathers and ranks as the plain structure does', () => {
    const cases = fc.record({
      dimensions: fc.integer({ min: 1, max: 20 }),
      tables: fc.integer({ min: 1, max: 6 }),
      bits: fc.integer({ min: 1, max: 14 }),
      rows: fc.integer({ min: 1, max: 400 }),
      k: fc.integer({ min: 1, max: 30 }),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(cases, ({ dimensions, tables, bits, rows, k, seed }) => {
        const vectors = vectorsOf(rows, dimensions, seed);
        using lsh = new HyperplaneLsh({ dimensions, tables, bits, seed });
        expect(lsh.add(vectors)).toBe(0);
        expect(lsh.size).toBe(rows);
        const plain = new PlainLsh(dimensions, tables, bits, drawn(seed, tables, bits, dimensions), vectors);
        for (let q = 0; q < 5; q++) {
          const query = vectorsOf(1, dimensions, seed + q + 1);
          const keys = lsh.keys(query);
          expectSameBits(keys, plain.keys(query), 'keys');
          expectSameBits(lsh.candidates(query), plain.candidates(query), 'candidates');
          expectSameNeighbors(lsh.search(query, { k }), plain.search(query, k), 'search');
          keys.forEach((key, t) => {
            expect([...lsh.bucket(t, key)]).toEqual(plain.bucket(t, key));
          });
        }
      }),
      { numRuns: 100 },
    );
  });

  it.each([1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 100, 784, 4096])('takes %i dimensions', (dimensions) => {
    const vectors = vectorsOf(30, dimensions, 1);
    using lsh = new HyperplaneLsh({ dimensions, tables: 3, bits: 7, seed: 5 });
    lsh.add(vectors);
    const plain = new PlainLsh(dimensions, 3, 7, drawn(5, 3, 7, dimensions), vectors);
    for (let r = 0; r < 30; r++) {
      const row = rowOf(vectors, r, dimensions);
      expectSameBits(lsh.keys(row), plain.keysOfRows[r], `keys of row ${r}`);
      expectSameNeighbors(lsh.search(row, { k: 4 }), plain.search(row, 4), `row ${r}`);
      expect(lsh.search(row, { k: 4 }).ids[0]).toBe(r);
    }
  });

  it.each(Array.from({ length: 32 }, (_, i) => i + 1))('takes %i bits', (bits) => {
    const dimensions = 5;
    const vectors = vectorsOf(700, dimensions, bits);
    vectors.copyWithin(350 * dimensions, 0, 200 * dimensions); // rows that share all their buckets
    using lsh = new HyperplaneLsh({ dimensions, tables: 3, bits, seed: 1 });
    lsh.add(vectors.subarray(0, 600 * dimensions));
    lsh.add(vectors.subarray(600 * dimensions));
    const plain = new PlainLsh(dimensions, 3, bits, drawn(1, 3, bits, dimensions), vectors);
    for (let r = 0; r < 700; r += 23) {
      const row = rowOf(vectors, r, dimensions);
      expectSameBits(lsh.candidates(row), plain.candidates(row), `row ${r}`);
      expect([...lsh.bucket(2, plain.keysOfRows[r][2])]).toEqual(plain.bucket(2, plain.keysOfRows[r][2]));
    }
  });

  it('takes 256 tables', () => {
    const vectors = vectorsOf(50, 4, 1);
    using lsh = new HyperplaneLsh({ dimensions: 4, tables: 256, bits: 13, seed: 2 });
    lsh.add(vectors);
    const plain = new PlainLsh(4, 256, 13, drawn(2, 256, 13, 4), vectors);
    expectSameBits(lsh.keys(vectors.subarray(0, 4)), plain.keysOfRows[0], 'keys');
  });

  it('counts a margin of 0 as positive, of either sign', () => {
    const hyperplanes = Float32Array.of(1, 0, 0, 1, -1, 0);
    using lsh = new HyperplaneLsh({ dimensions: 2, tables: 1, bits: 3, hyperplanes });
    expect([...lsh.keys(Float32Array.of(0, -0))]).toEqual([7]);
    expect([...lsh.keys(Float32Array.of(1, -1))]).toEqual([1]);
    expect([...lsh.keys(Float32Array.of(-1, 1))]).toEqual([6]);
  });

  it('draws the same hyperplanes from a number and a bigint, and gives them back', () => {
    using fromNumber = new HyperplaneLsh({ dimensions: 5, tables: 3, bits: 7, seed: 42 });
    using fromBigint = new HyperplaneLsh({ dimensions: 5, tables: 3, bits: 7, seed: 42n });
    using byDefault = new HyperplaneLsh({ dimensions: 5, tables: 3, bits: 7 });
    expectSameBits(fromNumber.hyperplanes, drawn(42, 3, 7, 5), 'number');
    expectSameBits(fromBigint.hyperplanes, fromNumber.hyperplanes, 'bigint');
    expectSameBits(byDefault.hyperplanes, drawn(0, 3, 7, 5), 'default');
    const { hyperplanes } = fromNumber;
    using own = new HyperplaneLsh({ dimensions: 5, tables: 3, bits: 7, hyperplanes });
    expectSameBits(own.hyperplanes, hyperplanes, "the caller's");
  });

  it("settles bits by the notebooks' rule at the first add", () => {
    for (const [rows, bucketSize, bits] of [
      [10_000, 16, 9],
      [1000, 100, 3],
      [31, 16, 1],
      [5, 16, 1],
      [64, 1, 6],
      [63, 1, 5],
    ]) {
      using lsh = new HyperplaneLsh({ dimensions: 2, tables: 2, bucketSize, seed: 3 });
      expect(lsh.bits).toBe(0);
      expect(lsh.hyperplanes.length).toBe(0);
      expect(lsh.search(Float32Array.of(1, 2), { k: 1 }).ids.length).toBe(0);
      lsh.add(new Float32Array(0));
      expect(lsh.bits).toBe(0);
      lsh.add(vectorsOf(rows, 2, 1));
      expect(lsh.bits).toBe(bits);
      expectSameBits(lsh.hyperplanes, drawn(3, 2, bits, 2), 'hyperplanes');
      lsh.add(vectorsOf(500, 2, 1));
      expect(lsh.bits).toBe(bits);
    }
  });

  it('answers the same however its rows are split', () => {
    const dimensions = 6;
    const rows = 330;
    const vectors = vectorsOf(rows, dimensions, 1);
    const queries = vectorsOf(3, dimensions, 2);
    for (const metric of ['euclidean', 'cosine'] as const) {
      using whole = new HyperplaneLsh({ dimensions, tables: 3, bits: 5, metric });
      whole.add(vectors);
      const expected = answers(whole, queries);
      for (let cut = 0; cut <= rows; cut++) {
        using lsh = new HyperplaneLsh({ dimensions, tables: 3, bits: 5, metric });
        expect(lsh.add(vectors.subarray(0, cut * dimensions))).toBe(0);
        expect(lsh.add(vectors.subarray(cut * dimensions))).toBe(cut);
        expect(answers(lsh, queries), `cut at ${cut}`).toEqual(expected);
      }
    }
  });

  it('answers rightly after every one of many small additions', () => {
    const dimensions = 3;
    const vectors = vectorsOf(1500, dimensions, 1);
    using lsh = new HyperplaneLsh({ dimensions, tables: 4, bits: 6 });
    const plain = new PlainLsh(dimensions, 4, 6, drawn(0, 4, 6, dimensions), vectors);
    const query = vectorsOf(1, dimensions, 2);
    const all = plain.candidates(query);
    for (let rows = 0; rows < 1500; ) {
      const some = 1 + ((rows * 7) % 5);
      const end = Math.min(1500, rows + some);
      expect(lsh.add(vectors.subarray(rows * dimensions, end * dimensions))).toBe(rows);
      rows = end;
      expectSameBits(
        lsh.candidates(query),
        all.filter((id) => id < rows),
        `${rows} rows`,
      );
    }
    expectSameNeighbors(lsh.search(query, { k: 20 }), plain.search(query, 20), 'in the end');
  });

  it.each([1, 2, 7])('gives a batch what it gives each query, with %i probes', (probes) => {
    for (const metric of ['euclidean', 'cosine'] as const) {
      for (const dimensions of [4, 9]) {
        using lsh = new HyperplaneLsh({ dimensions, tables: 3, bits: 9, metric });
        const queries = vectorsOf(150, dimensions, 2);
        expect([...lsh.searchBatch(queries, { k: 4, probes }).counts]).toEqual(Array(150).fill(0));
        lsh.add(vectorsOf(500, dimensions, 1));
        const batch = lsh.searchBatch(queries, { k: 12, probes });
        for (let q = 0; q < 150; q++) {
          const expected = lsh.search(rowOf(queries, q, dimensions), { k: 12, probes });
          expectSameNeighbors(queryOf(batch, q, 12), expected, `query ${q}, ${metric}`);
          expect(
            batch.ids.subarray(q * 12 + batch.counts[q], (q + 1) * 12).every((id) => id === 0xffffffff),
          ).toBe(true);
        }
        expect(lsh.searchBatch(new Float32Array(0), { k: 3, probes }).ids.length).toBe(0);
      }
    }
  });

  it('visits more buckets with more probes, all of them in the end', () => {
    const dimensions = 8;
    const bits = 6;
    const vectors = vectorsOf(400, dimensions, 1);
    using lsh = new HyperplaneLsh({ dimensions, tables: 2, bits });
    lsh.add(vectors);
    const plain = new PlainLsh(dimensions, 2, bits, drawn(0, 2, bits, dimensions), vectors);
    const query = vectorsOf(1, dimensions, 2);
    const margins = plain.margins(query);
    const own = plain.keys(query);
    const costOf = (key: number, t: number): number => {
      let cost = 0;
      for (let b = 0; b < bits; b++) if (((key ^ own[t]) >> b) & 1) cost += margins[t * bits + b] ** 2;
      return cost;
    };
    for (const probes of [1, 2, 5, 20, 64, 65, 65_536]) {
      const expected = new Set<number>();
      for (let t = 0; t < 2; t++) {
        const keys = Array.from({ length: 2 ** bits }, (_, key) => key).sort(
          (a, b) => costOf(a, t) - costOf(b, t),
        );
        for (const key of keys.slice(0, probes)) for (const row of plain.bucket(t, key)) expected.add(row);
      }
      const ids = Uint32Array.from(expected).sort();
      expectSameBits(lsh.candidates(query, { probes }), ids, `${probes} probes`);
      const found = lsh.search(query, { k: 10, probes });
      expectSameNeighbors(found, rankExactly(vectors, query, ids, 10, 'euclidean'), `${probes} probes`);
    }
    expect(lsh.candidates(query, { probes: 64 }).length).toBe(400);
  });

  it('ranks by 1 - cosine of the values that it was given', () => {
    const dimensions = 7;
    const vectors = vectorsOf(300, dimensions, 1).map((x, i) => x * 10 ** (Math.floor(i / dimensions) % 9));
    using lsh = new HyperplaneLsh({ dimensions, tables: 4, bits: 4, metric: 'cosine' });
    lsh.add(vectors);
    for (let q = 0; q < 20; q++) {
      const query = vectorsOf(1, dimensions, q + 2);
      const expected = rankExactly(vectors, query, lsh.candidates(query), 8, 'cosine');
      expectSameNeighbors(lsh.search(query, { k: 8 }), expected, `query ${q}`);
      expectSameNeighbors(
        lsh.search(
          query.map((x) => 4 * x),
          { k: 8 },
        ),
        expected,
        `query ${q}, longer`,
      );
    }
  });

  it('explains an answer', () => {
    const dimensions = 8;
    const vectors = vectorsOf(300, dimensions, 1);
    using lsh = new HyperplaneLsh({ dimensions, tables: 5, bits: 6 });
    const query = vectorsOf(1, dimensions, 2);
    expect(lsh.explain(query, { k: 3 })).toMatchObject({
      candidates: 0,
      shortfall: 'the index is empty',
      tables: [],
    });
    lsh.add(vectors);
    const { tables, candidates, neighbors, shortfall, times } = lsh.explain(query, { k: 3, probes: 2 });
    expect(neighbors).toEqual(lsh.search(query, { k: 3, probes: 2 }));
    expect(candidates).toBe(lsh.candidates(query, { probes: 2 }).length);
    expect(shortfall).toBe('');
    const seen = new Set<number>();
    tables.forEach(({ key, probedKeys, bucketSize, newCandidates }, t) => {
      expect(key).toBe(lsh.keys(query)[t]);
      expect(probedKeys[0]).toBe(key);
      const rows = [...probedKeys].flatMap((probed) => [...lsh.bucket(t, probed)]);
      expect(bucketSize).toBe(rows.length);
      expect(newCandidates).toBe(rows.filter((row) => !seen.has(row)).length);
      for (const row of rows) seen.add(row);
    });
    expect(seen.size).toBe(candidates);
    for (const ms of Object.values(times)) expect(ms).toBeGreaterThanOrEqual(0);
    expect(lsh.explain(query, { k: 301 }).shortfall).toBe('the index has 300 rows, fewer than k = 301');
    const few = lsh.explain(query, { k: 300 });
    expect(few.shortfall).toMatch(
      `the visited buckets hold ${few.candidates} of 300 rows, fewer than k = 300`,
    );
  });

  it('counts its buckets', () => {
    const vectors = vectorsOf(300, 4, 1);
    using lsh = new HyperplaneLsh({ dimensions: 4, tables: 3, bits: 5 });
    expect(lsh.stats()).toMatchObject({ rows: 0, buckets: 0, average: 0, largest: 0, skew: 0 });
    lsh.add(vectors);
    const stats = lsh.stats();
    const sizes = Array.from({ length: 3 * 32 }, (_, i) => lsh.bucket(Math.floor(i / 32), i % 32).length);
    const filled = sizes.filter((size) => size > 0);
    expect(stats).toMatchObject({
      rows: 300,
      buckets: filled.length,
      average: 900 / filled.length,
      largest: Math.max(...sizes),
    });
    expect(stats.tables.length).toBe(3);
    expect(stats.histogram.reduce((sum, count) => sum + count)).toBe(filled.length);
    expect(stats.memory.total).toBeGreaterThanOrEqual(300 * 16);
  });

  it('refuses everything once it is disposed of', () => {
    const lsh = new HyperplaneLsh({ dimensions: 2, tables: 1, bits: 2 });
    const query = Float32Array.of(1, 2);
    lsh.add(query);
    lsh.dispose();
    lsh.dispose();
    const error = expect.objectContaining({ name: 'TypeError', code: 'ERR_DISPOSED' });
    for (const call of [
      () => lsh.add(query),
      () => lsh.keys(query),
      () => lsh.bucket(0, 0),
      () => lsh.candidates(query),
      () => lsh.search(query, { k: 1 }),
      () => lsh.searchBatch(query, { k: 1 }),
      () => lsh.explain(query, { k: 1 }),
      () => lsh.stats(),
      () => lsh.size,
      () => lsh.bits,
      () => lsh.hyperplanes,
    ]) {
      expect(call).toThrow(error);
    }
  });
});

describe('HyperplaneLsh refuses', () => {
  const good = { dimensions: 4, tables: 2, bits: 3 };
  const query = Float32Array.of(1, 2, 3, 4);

  it.each([
    ['dimensions', 0],
    ['dimensions', 4097],
    ['dimensions', 2.5],
    ['tables', 0],
    ['tables', 257],
    ['bits', 0],
    ['bits', 33],
    ['bits', Number.NaN],
  ])('%s = %s', (name, value) => {
    expect(() => new HyperplaneLsh({ ...good, [name]: value })).toThrow(
      expect.objectContaining({
        name: 'RangeError',
        code: 'ERR_ARGUMENT_RANGE',
        message: expect.stringMatching(`^${name}: expected an integer from 1 to .*, got ${value}$`),
      }),
    );
  });

  it('options of another kind', () => {
    const error = expect.objectContaining({ name: 'TypeError', code: 'ERR_ARGUMENT_TYPE' });
    for (const options of [
      undefined,
      null,
      128,
      new Float32Array(4),
      {},
      { ...good, dimensions: '4' },
      { ...good, bits: undefined },
      { ...good, bucketSize: 16 },
      { ...good, seed: '0' },
      { ...good, metric: 3 },
      { ...good, hyperplanes: [1, 2] },
      { ...good, bits: undefined, bucketSize: 16, hyperplanes: new Float32Array(24) },
    ] as unknown as HyperplaneLshOptions[]) {
      expect(() => new HyperplaneLsh(options)).toThrow(error);
    }
  });

  it('a seed, a metric or a bucketSize out of range', () => {
    expect(() => new HyperplaneLsh({ ...good, seed: -1 })).toThrow(RangeError);
    expect(() => new HyperplaneLsh({ ...good, metric: 'inner-product' as 'cosine' })).toThrow(
      /metric: expected one of 'euclidean', 'cosine'/,
    );
    expect(() => new HyperplaneLsh({ dimensions: 4, tables: 2, bucketSize: 0 })).toThrow(
      /bucketSize: expected/,
    );
  });

  it("the caller's hyperplanes of the wrong size, not finite, or detached", () => {
    expect(() => new HyperplaneLsh({ ...good, hyperplanes: new Float32Array(23) })).toThrow(
      'hyperplanes: expected 24 floats (2 tables × 3 bits × 4 dimensions), got 23',
    );
    const hyperplanes = new Float32Array(24);
    hyperplanes[13] = Infinity;
    expect(() => new HyperplaneLsh({ ...good, hyperplanes })).toThrow(
      /hyperplanes: .*Infinity in row 3, column 1$/,
    );
    expect(() => new HyperplaneLsh({ ...good, hyperplanes: detached(24) })).toThrow(
      expect.objectContaining({ code: 'ERR_DETACHED' }),
    );
  });

  /** An index that must answer after every refused call as before. */
  function expectUnchanged(
    options: HyperplaneLshOptions,
    call: (lsh: HyperplaneLsh) => void,
    error: unknown,
  ): void {
    using lsh = new HyperplaneLsh(options);
    const { dimensions } = options;
    const queries = vectorsOf(4, dimensions, 2);
    for (const rows of [0, 300, 20]) {
      lsh.add(vectorsOf(rows, dimensions, rows));
      const before = lsh.bits === 0 ? lsh.size : answers(lsh, queries);
      expect(() => call(lsh)).toThrow(error as Error);
      expect(lsh.bits === 0 ? lsh.size : answers(lsh, queries)).toEqual(before);
    }
    lsh.add(vectorsOf(10, dimensions, 5));
    expect(lsh.size).toBe(330);
  }

  const wrongKinds = [
    [1, 2, 3, 4],
    new Float64Array(4),
    null,
    undefined,
    '1234',
  ] as unknown as Float32Array[];

  it.each([good, { dimensions: 4, tables: 2, bucketSize: 4 }, { ...good, metric: 'cosine' as const }])(
    'vectors of another kind, length or value, and stays as it was: %o',
    (options) => {
      const type = expect.objectContaining({ name: 'TypeError', code: 'ERR_ARGUMENT_TYPE' });
      for (const wrong of wrongKinds) expectUnchanged(options, (lsh) => lsh.add(wrong), type);
      const noBuffer = expect.objectContaining({ name: 'TypeError', code: 'ERR_DETACHED' });
      expectUnchanged(options, (lsh) => lsh.add(detached(4)), noBuffer);
      const length = 'vectors: expected a multiple of 4 floats (one row each), got 7';
      expectUnchanged(options, (lsh) => lsh.add(new Float32Array(7)), length);
      for (const value of [Number.NaN, Infinity, -Infinity, 1e17]) {
        const vectors = vectorsOf(500, 4, 1);
        vectors[4 * 377 + 2] = value;
        const place = /vectors: expected finite .*row 377, column 2$/;
        expectUnchanged(options, (lsh) => lsh.add(vectors), place);
      }
    },
  );

  it('a zero vector under cosine, naming its row, and stays as it was', () => {
    const options = { dimensions: 5, tables: 2, bits: 3, metric: 'cosine' as const };
    const vectors = vectorsOf(300, 5, 1).fill(0, 5 * 271, 5 * 272);
    const error = expect.objectContaining({ name: 'RangeError', code: 'ERR_ZERO_VECTOR' });
    expectUnchanged(options, (lsh) => lsh.add(vectors), error);
    expectUnchanged(options, (lsh) => lsh.add(vectors), /row 271$/);
    expectUnchanged(options, (lsh) => lsh.search(new Float32Array(5), { k: 1 }), /query: .*row 0$/);
    expectUnchanged(options, (lsh) => lsh.candidates(new Float32Array(5)), error);
    expectUnchanged(options, (lsh) => lsh.searchBatch(vectors, { k: 1 }), /queries: .*row 271$/);
    using euclidean = new HyperplaneLsh({ ...options, metric: 'euclidean' });
    euclidean.add(vectors);
    expect(euclidean.search(new Float32Array(5), { k: 1 }).ids[0]).toBe(271);
  });

  it('queries of another kind, length or value', () => {
    const type = expect.objectContaining({ name: 'TypeError', code: 'ERR_ARGUMENT_TYPE' });
    const asks: ((lsh: HyperplaneLsh, query: Float32Array) => void)[] = [
      (lsh, query) => lsh.keys(query),
      (lsh, query) => lsh.candidates(query),
      (lsh, query) => lsh.search(query, { k: 1 }),
      (lsh, query) => lsh.explain(query, { k: 1 }),
      (lsh, query) => lsh.searchBatch(query, { k: 1 }),
    ];
    for (const ask of asks) {
      for (const wrong of wrongKinds) expectUnchanged(good, (lsh) => ask(lsh, wrong), type);
      expectUnchanged(
        good,
        (lsh) => ask(lsh, detached(4)),
        expect.objectContaining({ code: 'ERR_DETACHED' }),
      );
      expectUnchanged(good, (lsh) => ask(lsh, new Float32Array(3)), /expected .*4 floats.*, got 3$/);
      const notFinite = Float32Array.of(1, Number.NaN, 3, 4);
      expectUnchanged(
        good,
        (lsh) => ask(lsh, notFinite),
        /quer.*: expected finite .*NaN in row 0, column 1$/,
      );
    }
  });

  it.each([0, -1, 2.5, Number.NaN, 2 ** 32])('k = %s', (k) => {
    const error = expect.objectContaining({ name: 'RangeError', code: 'ERR_ARGUMENT_RANGE' });
    expectUnchanged(good, (lsh) => lsh.search(query, { k }), error);
    expectUnchanged(good, (lsh) => lsh.searchBatch(query, { k }), error);
    expectUnchanged(good, (lsh) => lsh.explain(query, { k }), error);
  });

  it('options of a search of another kind, and too many results', () => {
    const type = expect.objectContaining({ name: 'TypeError', code: 'ERR_ARGUMENT_TYPE' });
    for (const options of [5, undefined, {}, { k: 1, probes: '2' }] as unknown as { k: number }[]) {
      expectUnchanged(good, (lsh) => lsh.search(query, options), type);
    }
    expectUnchanged(good, (lsh) => lsh.candidates(query, 3 as unknown as object), type);
    const large = expect.objectContaining({ name: 'RangeError', code: 'ERR_TOO_LARGE' });
    expectUnchanged(good, (lsh) => lsh.searchBatch(query, { k: 2 ** 31 }), large);
  });

  it.each([0, -1, 1.5, 65_537])('probes = %s', (probes) => {
    expectUnchanged(
      good,
      (lsh) => lsh.search(query, { k: 1, probes }),
      /probes: expected an integer from 1 to 65536/,
    );
    expectUnchanged(good, (lsh) => lsh.candidates(query, { probes }), /probes: expected/);
  });

  it('a table or key that it does not have', () => {
    expectUnchanged(good, (lsh) => lsh.bucket(2, 0), /table: expected an integer from 0 to 1, got 2/);
    expectUnchanged(good, (lsh) => lsh.bucket(-1, 0), /table: expected/);
    expectUnchanged(good, (lsh) => lsh.bucket(0, 8), /key: expected an integer from 0 to 7, got 8/);
    expectUnchanged(good, (lsh) => lsh.bucket(0, 0.5), /key: expected/);
  });

  it('keys and buckets before bits are settled', () => {
    using lsh = new HyperplaneLsh({ dimensions: 4, tables: 2, bucketSize: 8 });
    const error = expect.objectContaining({ name: 'RangeError', code: 'ERR_ARGUMENT_RANGE' });
    expect(() => lsh.keys(query)).toThrow(error);
    expect(() => lsh.bucket(0, 0)).toThrow(error);
    expect(lsh.candidates(query).length).toBe(0);
  });
});
