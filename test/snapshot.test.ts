import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { BitSamplingLsh } from '../src/bit-sampling-lsh.js';
import { HyperplaneLsh } from '../src/hyperplane-lsh.js';
import { MinHashLsh } from '../src/min-hash-lsh.js';
import type { Metric } from '../src/neighbors.js';
import type { Storage } from '../src/rows.js';
import { SnapshotError } from '../src/snapshot.js';
import { type BuildOptions, VectorIndex, type VectorIndexOptions } from '../src/vector-index.js';
import { expectSameNeighbors, METRICS, thrownBy } from './answers.js';
import { expectSameBits } from './arena.js';
import { clumpedRows, normals } from './data.js';
import { sectionsOf } from './mutations.js';

const STORAGES: readonly Storage[] = ['f32', 'int8'];
const WAYS = [
  { k: 10 },
  { k: 3, recall: 0.9 },
  { k: 40, recall: 0.99 },
  { k: 5, exact: true },
  { k: 7, probes: 2, epsilon: 2, patience: 3 },
  { k: 7, probes: 1000, epsilon: 3 },
  { k: 1, probes: 2, epsilon: Number.POSITIVE_INFINITY },
];

function expectSameAnswers(actual: VectorIndex, expected: VectorIndex): void {
  expect(actual.size).toBe(expected.size);
  expect(actual.metric).toBe(expected.metric);
  expect(actual.storage).toBe(expected.storage);
  const { bytesPerRow: _, ...stats } = expected.stats();
  expect(actual.stats()).toMatchObject(stats);
  const queries = normals(7 * expected.dimensions, 900);
  for (const way of WAYS) {
    const [one, other] = [actual, expected].map((index) => index.searchBatch(queries, way));
    expectSameBits(one.counts, other.counts, 'counts');
    expectSameNeighbors(one, other, JSON.stringify(way));
  }
  for (let id = 0; id < expected.size; id += 97) {
    expect(actual.has(id)).toBe(expected.has(id));
    if (!expected.has(id)) continue;
    expectSameBits(actual.vector(id), expected.vector(id), `vector ${id}`);
  }
}

/** An index that was loaded must be the one that was saved, now and after everything that may be done to it. */
function expectRoundTrip(index: VectorIndex, build: BuildOptions = {}): void {
  const bytes = index.save();
  const again = VectorIndex.load(bytes);
  expectSameAnswers(again, index);
  expectSameBits(again.save(), bytes, 'the bytes');

  const more = normals(40 * index.dimensions, 901);
  expect(again.add(more)).toBe(index.add(more));
  expectSameAnswers(again, index);
  expectSameBits(again.save(), index.save(), 'the bytes after adding');

  expect(again.tune({ k: 4, recall: 0.8, sample: 20 })).toEqual(
    index.tune({ k: 4, recall: 0.8, sample: 20 }),
  );
  expectSameBits(again.save(), index.save(), 'the bytes after tuning');

  for (const each of [again, index]) each.build({ ...build, tune: false });
  expectSameAnswers(again, index);
  expectSameBits(again.save(), index.save(), 'the bytes after building');
}

describe('a saved and loaded VectorIndex', () => {
  const kinds: [metric: Metric, storage: Storage, dimensions: number][] = METRICS.flatMap((metric) =>
    STORAGES.flatMap((storage) =>
      [3, 16, 37].map((dimensions): [Metric, Storage, number] => [metric, storage, dimensions]),
    ),
  );

  it.each(kinds)('is the same for %s rows as %s of %d numbers', (metric, storage, dimensions) => {
    const options: VectorIndexOptions = { dimensions, metric, storage, seed: 3 };
    const vectors = clumpedRows(400, dimensions, 10, 0.3, 910);
    expectRoundTrip(new VectorIndex(options));
    const unbuilt = new VectorIndex(options);
    unbuilt.add(vectors);
    expectRoundTrip(unbuilt);
    expectRoundTrip(VectorIndex.from(vectors, { ...options, cells: 9 }), { cells: 5 });
    const added = VectorIndex.from(vectors, { ...options, cells: 6, tune: false });
    for (const scale of [0.5, 1, 3]) added.add(vectors.slice(0, dimensions * 33).map((x) => x * scale));
    expectRoundTrip(added, { cells: 7 });
  });

  it('is the same with a second stage', () => {
    const vectors = clumpedRows(700, 40, 10, 0.5, 920);
    const index = VectorIndex.from(vectors, { dimensions: 40, cells: 4, refine: true });
    expect(index.stats().refined).toBe(true);
    expectRoundTrip(index, { cells: 4, refine: true });
  });

  it('is the same with codes of principal components', () => {
    const vectors = clumpedRows(2000, 260, 10, 0.5, 930);
    for (const metric of METRICS) {
      const index = VectorIndex.from(vectors, {
        dimensions: 260,
        metric,
        cells: 8,
        principal: true,
        refine: true,
      });
      expect(sectionsOf(index.save()).map(({ tag }) => tag)).toEqual(expect.arrayContaining([6, 7, 13, 14]));
      expectRoundTrip(index, { cells: 8, principal: true });
    }
  });

  it('is the same with centres in groups, and after cells have split', () => {
    const vectors = clumpedRows(3000, 8, 600, 0.05, 940);
    const index = VectorIndex.from(vectors, { dimensions: 8, cells: 600, tune: false });
    const bytes = index.save();
    const groups = new DataView(bytes.buffer).getUint32(sectionsOf(bytes)[0].offset + 32, true);
    expect(groups).toBeGreaterThan(0);
    expectRoundTrip(index, { cells: 600 });
    const growing = VectorIndex.from(clumpedRows(600, 4, 8, 0.3, 941), {
      dimensions: 4,
      cells: 8,
      tune: false,
    });
    const before = growing.cells;
    growing.add(normals(4 * 3000, 942).map((x) => 0.1 * x));
    expect(growing.cells).toBeGreaterThan(before);
    expectRoundTrip(growing, { cells: 8 });
  });

  it.each(kinds)(
    'is the same without removed rows, for %s rows as %s of %d numbers',
    (metric, storage, dimensions) => {
      const vectors = clumpedRows(300, dimensions, 10, 0.3, 915);
      const options: VectorIndexOptions = { dimensions, metric, storage, seed: 3 };
      const some = Array.from({ length: 90 }, (_, i) => (i * 7 + 1) % 300);
      const all = Array.from({ length: 300 }, (_, id) => id);
      for (const ids of [[299], [0], some, all]) {
        const unbuilt = new VectorIndex(options);
        unbuilt.add(vectors);
        unbuilt.remove(ids);
        expectRoundTrip(unbuilt, { cells: 3 });
        const built = VectorIndex.from(vectors, { ...options, cells: 6, refine: true });
        built.remove(ids);
        expect(VectorIndex.load(built.save()).has(ids[0])).toBe(false);
        expectRoundTrip(built, { cells: 3 });
        // Removed by now, gone from the memory, and then others.
        built.remove([300, 305]);
        expectRoundTrip(built, { cells: 3, refine: true });
      }
    },
  );

  it('never gives out an id again, and has nothing of a removed row in its bytes', () => {
    const vectors = clumpedRows(50, 20, 4, 0.3, 916);
    const marked = new Float32Array(20).fill(1.2345678);
    for (const build of [true, false]) {
      const index = new VectorIndex({ dimensions: 20 });
      index.add(vectors);
      const id = index.add(marked);
      if (build) index.build({ cells: 3 });
      const count = (bytes: Uint8Array): number =>
        new Float32Array(bytes.buffer.slice(0, bytes.length & ~3)).filter((x) => x === marked[0]).length;
      expect(count(index.save())).toBe(20);
      index.remove(id);
      const again = VectorIndex.load(index.save());
      expect(count(index.save())).toBe(0);
      expect([again.size, again.has(id), again.add(marked)]).toEqual([50, false, id + 1]);
    }
    const lsh = new HyperplaneLsh({ dimensions: 20, tables: 2, bits: 3 });
    lsh.add(vectors);
    lsh.remove(lsh.add(marked));
    const bytes = lsh.save();
    expect(new Float32Array(bytes.buffer, 0, bytes.length >>> 2).includes(marked[0])).toBe(false);
    expect(HyperplaneLsh.load(bytes).add(marked)).toBe(51);
  });

  it('does not depend on the order in which rows were removed, if they are removed at once', () => {
    const vectors = clumpedRows(200, 9, 4, 0.3, 917);
    const ids = Array.from({ length: 30 }, (_, i) => (i * 13) % 200);
    const [one, other] = [ids, ids.slice().reverse()].map((order) => {
      const lsh = new HyperplaneLsh({ dimensions: 9, tables: 3, bits: 4, metric: 'cosine' });
      lsh.add(vectors);
      lsh.remove(order);
      return lsh.save();
    });
    expectSameBits(one, other, 'the bytes');
  });

  it('is the same for equal rows, of which all cells but one are dropped', () => {
    const index = VectorIndex.from(new Float32Array(2000 * 4).fill(2), {
      dimensions: 4,
      cells: 600,
      tune: false,
    });
    expect(index.cells).toBe(1);
    expectRoundTrip(index, { cells: 600 });
  });

  it('is the same for the largest and the smallest numbers that rows may have', () => {
    for (const metric of METRICS) {
      for (const storage of STORAGES) {
        for (const scale of [1e16 / 6, metric === 'cosine' ? 1e-18 : 1e-40]) {
          const vectors = clumpedRows(300, 70, 5, 0.3, 945).map((x) => Math.max(-6, Math.min(6, x)) * scale);
          const index = VectorIndex.from(vectors, {
            dimensions: 70,
            metric,
            storage,
            cells: 5,
            refine: true,
          });
          expectRoundTrip(index, { cells: 5 });
        }
      }
    }
  });

  it('keeps a seed of any usual size, and refuses to save an absurd one', () => {
    for (const seed of [0, 1, 255, 256n, 2n ** 64n, 2n ** 128n - 1n]) {
      const index = new VectorIndex({ dimensions: 5, seed });
      index.add(normals(100, 1));
      expectRoundTrip(index, { cells: 4 });
    }
    const error = thrownBy(() => new VectorIndex({ dimensions: 2, seed: 2n ** 8192n }).save());
    expect(error.code).toBe('ERR_TOO_LARGE');
  });

  it('keeps what was tuned', () => {
    const index = VectorIndex.from(clumpedRows(3000, 24, 40, 0.4, 950), { dimensions: 24 });
    index.tune({ k: 20, recall: 0.97 });
    const again = VectorIndex.load(index.save());
    const query = normals(24, 951);
    for (const options of [{ recall: 0.9 }, { recall: 0.97, k: 20 }, { recall: 0.99, k: 15 }]) {
      expect(again.explain(query, options).settings).toEqual(index.explain(query, options).settings);
    }
  });

  it('is loaded from bytes at any place of a buffer, and leaves them as they are', () => {
    const index = VectorIndex.from(normals(300, 960), { dimensions: 3 });
    const bytes = index.save();
    const shifted = new Uint8Array(bytes.length + 20);
    shifted.set(bytes, 13);
    const part = shifted.subarray(13, 13 + bytes.length);
    expectSameAnswers(VectorIndex.load(part), index);
    expectSameBits(part, bytes, 'the bytes');
  });

  it('is loaded from a Buffer, as files are read, and leaves it as it is', () => {
    const index = VectorIndex.from(normals(300, 960), { dimensions: 3 });
    const bytes = index.save();
    const buffer = Buffer.from(bytes);
    expectSameAnswers(VectorIndex.load(buffer), index);
    expect(buffer.equals(bytes)).toBe(true);
  });
});

describe('a saved and loaded HyperplaneLsh', () => {
  const vectors = normals(700 * 10, 970);
  const queries = normals(5 * 10, 971);

  function expectSame(actual: HyperplaneLsh, expected: HyperplaneLsh): void {
    expect(actual.size).toBe(expected.size);
    expect(actual.bits).toBe(expected.bits);
    expect(actual.tables).toBe(expected.tables);
    expect(actual.metric).toBe(expected.metric);
    expectSameBits(actual.hyperplanes, expected.hyperplanes, 'hyperplanes');
    if (expected.bits === 0) return;
    const [stats, wanted] = [actual, expected].map((index) => ({ ...index.stats(), memory: null }));
    expect(stats).toEqual(wanted);
    for (const options of [{ k: 5 }, { k: 20, probes: 3 }]) {
      expectSameNeighbors(actual.searchBatch(queries, options), expected.searchBatch(queries, options), 'k');
    }
    const query = queries.slice(0, expected.dimensions);
    expectSameBits(actual.keys(query), expected.keys(query), 'keys');
    expectSameBits(actual.candidates(query), expected.candidates(query), 'candidates');
  }

  it.each(['euclidean', 'cosine'] as const)('is the same under %s with removed rows', (metric) => {
    const some = Array.from({ length: 90 }, (_, i) => (i * 7 + 1) % 200);
    for (const ids of [[0], [199], some, Array.from({ length: 200 }, (_, id) => id)]) {
      const index = new HyperplaneLsh({ dimensions: 10, tables: 3, bits: 5, metric });
      index.add(vectors.subarray(0, 2000));
      index.remove(ids);
      expectSameAfterAll(index);
      expect(HyperplaneLsh.load(index.save()).has(ids[0])).toBe(false);
      index.remove([5, 210]);
      expectSameAfterAll(index);
    }
  });

  function expectSameAfterAll(index: HyperplaneLsh): void {
    const bytes = index.save();
    const again = HyperplaneLsh.load(bytes);
    expectSame(again, index);
    expectSameBits(again.save(), bytes, 'the bytes');
    for (const rows of [3, 300]) {
      expect(again.add(vectors.subarray(0, rows * 10))).toBe(index.add(vectors.subarray(0, rows * 10)));
      expectSame(again, index);
    }
    expectSameBits(again.save(), index.save(), 'the bytes after adding');
  }

  it.each(['euclidean', 'cosine'] as const)('is the same under %s, with any number of rows', (metric) => {
    for (const rows of [0, 1, 200, 700]) {
      for (const bits of [1, 7, 32]) {
        const index = new HyperplaneLsh({ dimensions: 10, tables: 5, bits, seed: 2n ** 100n, metric });
        index.add(vectors.subarray(0, rows * 10));
        expectSameAfterAll(index);
      }
    }
  });

  it('is the same where bits wait for rows, have been settled by them, or hyperplanes were given', () => {
    const waiting = new HyperplaneLsh({ dimensions: 10, tables: 3, bucketSize: 8, seed: 5 });
    expectSameAfterAll(waiting);
    const settled = new HyperplaneLsh({ dimensions: 10, tables: 3, bucketSize: 8 });
    settled.add(vectors.subarray(0, 6000));
    settled.add(vectors.subarray(6000));
    expectSameAfterAll(settled);
    const hyperplanes = normals(3 * 4 * 10, 972);
    expectSameAfterAll(new HyperplaneLsh({ dimensions: 10, tables: 3, bits: 4, hyperplanes }));
  });
});

describe('snapshots that were committed', () => {
  const fixture = (name: string): Uint8Array =>
    new Uint8Array(readFileSync(new URL(`fixtures/${name}`, import.meta.url)));
  const recorded = JSON.parse(new TextDecoder().decode(fixture('snapshots.json')));

  it('are indexes that answer as they did, and are saved as they were', () => {
    const index = VectorIndex.load(fixture('vector-index-1.snapshot'));
    const lsh = HyperplaneLsh.load(fixture('hyperplane-lsh-1.snapshot'));
    for (const { query, exact, tuned, hashed } of recorded.queries) {
      const vector = Float32Array.from(query);
      expect(Array.from(index.search(vector, { k: 5, exact: true }).ids)).toEqual(exact);
      expect(Array.from(index.search(vector, { k: 5 }).ids)).toEqual(tuned);
      expect(Array.from(lsh.search(vector, { k: 5 }).ids)).toEqual(hashed);
    }
    expectSameBits(index.save(), fixture('vector-index-1.snapshot'), 'the bytes');
    expectSameBits(lsh.save(), fixture('hyperplane-lsh-1.snapshot'), 'the bytes');
  });

  it('are so too of codes and sets, with removed rows, and with ids of the user', () => {
    const more = JSON.parse(new TextDecoder().decode(fixture('snapshots-more.json')));
    const query = Float32Array.from(more.query);
    const removed = VectorIndex.load(fixture('vector-index-removed-1.snapshot'));
    const strings = VectorIndex.load<'string'>(fixture('vector-index-strings-1.snapshot'));
    const numbers = VectorIndex.load<'number'>(fixture('vector-index-numbers-1.snapshot'));
    const bigints = VectorIndex.load<'bigint'>(fixture('vector-index-bigints-1.snapshot'));
    const codes = BitSamplingLsh.load(fixture('bit-sampling-lsh-1.snapshot'));
    const sets = MinHashLsh.load(fixture('min-hash-lsh-1.snapshot'));
    expect({
      removed: Array.from(removed.search(query, { k: 20 }).ids),
      strings: strings.search(query, { k: 20 }).userIds,
      numbers: numbers.search(query, { k: 20, exact: true }).userIds,
      bigints: bigints.search(query, { k: 20, exact: true }).userIds.map(String),
      codes: Array.from(codes.search(Uint8Array.from(more.code), { k: 20 }).ids),
      sets: Array.from(sets.search(Uint32Array.from(more.set), { k: 20 }).ids),
    }).toEqual(
      Object.fromEntries(Object.entries(more).filter(([name]) => !['query', 'code', 'set'].includes(name))),
    );
    expect([0, 7, 8, 9, 59].filter((id) => removed.has(id))).toEqual([]);
    expect([removed.size, strings.size, strings.has('😀3'), strings.rowOf('名20')]).toEqual([
      55,
      58,
      false,
      20,
    ]);
    expect(removed.add(query)).toBe(60);
    removed.remove(60);
    const saved = {
      removed: VectorIndex.load(fixture('vector-index-removed-1.snapshot')),
      strings,
      numbers,
      bigints,
    };
    for (const [name, index] of Object.entries(saved))
      expectSameBits(index.save(), fixture(`vector-index-${name}-1.snapshot`), name);
    expectSameBits(codes.save(), fixture('bit-sampling-lsh-1.snapshot'), 'codes');
    expectSameBits(sets.save(), fixture('min-hash-lsh-1.snapshot'), 'sets');
  });
});

describe('the door of load', () => {
  const index = VectorIndex.from(normals(90, 980), { dimensions: 3 });
  const lsh = new HyperplaneLsh({ dimensions: 3, tables: 2, bits: 3 });
  lsh.add(normals(90, 981));

  it('tells why bytes are refused, in a reason and in words', () => {
    const bytes = index.save();
    const changed = (at: number, value: number): Uint8Array => bytes.slice().fill(value, at, at + 1);
    const longer = new Uint8Array(bytes.length + 1);
    longer.set(bytes);
    const cases: [bytes: Uint8Array, reason: string, text: string][] = [
      [new TextEncoder().encode('{"rows": []}'), 'format', 'expected bytes that save() wrote'],
      [new Uint8Array(0), 'length', 'expected at least 64 bytes, got 0'],
      [bytes.subarray(0, 200), 'length', 'got 200'],
      [
        bytes.subarray(0, bytes.length - 1),
        'length',
        `expected ${bytes.length} bytes, got ${bytes.length - 1}`,
      ],
      [longer, 'length', `expected ${bytes.length} bytes, got ${bytes.length + 1}`],
      [changed(8, 2), 'version', 'expected format version 1, got 2'],
      [changed(40, 1), 'checksum', 'of the header'],
      [changed(bytes.length - 1, 99), 'checksum', 'of the section'],
      [lsh.save(), 'kind', 'expected one of a VectorIndex, got one of HyperplaneLsh'],
    ];
    for (const [given, reason, text] of cases) {
      const error = thrownBy(() => VectorIndex.load(given)) as SnapshotError;
      expect(error).toBeInstanceOf(SnapshotError);
      expect(error).toBeInstanceOf(RangeError);
      expect(error).toMatchObject({ name: 'SnapshotError', code: 'ERR_SNAPSHOT', reason });
      expect(error.message).toContain(text);
    }
    expect(thrownBy(() => HyperplaneLsh.load(bytes))).toMatchObject({ reason: 'kind' });
  });

  it('takes a Uint8Array and sensible limits only', () => {
    expect(thrownBy(() => VectorIndex.load('no' as never)).message).toBe(
      'bytes: expected a Uint8Array, got "no"',
    );
    expect(thrownBy(() => HyperplaneLsh.load([1] as never)).code).toBe('ERR_ARGUMENT_TYPE');
    expect(thrownBy(() => VectorIndex.load(index.save(), { maxBytes: 0 })).code).toBe('ERR_ARGUMENT_RANGE');
    expect(thrownBy(() => VectorIndex.load(index.save(), 5 as never)).code).toBe('ERR_ARGUMENT_TYPE');
  });

  it.each([
    ['VectorIndex', index, VectorIndex],
    ['HyperplaneLsh', lsh, HyperplaneLsh],
  ] as const)('refuses a %s beyond the limits, and takes one within', (_, saved, Class) => {
    const bytes = saved.save();
    const refused = [
      { maxRows: 29 },
      { maxDimensions: 2 },
      { maxBytes: bytes.length - 1 },
      { maxBytes: bytes.length },
    ];
    for (const limits of refused) {
      expect(thrownBy(() => Class.load(bytes, limits))).toMatchObject({
        code: 'ERR_SNAPSHOT',
        reason: 'limit',
      });
    }
    expect(Class.load(bytes, { maxRows: 30, maxDimensions: 3, maxBytes: 2 ** 20 }).size).toBe(30);
  });

  it('is closed after dispose', () => {
    const gone = new VectorIndex({ dimensions: 3 });
    gone.dispose();
    expect(thrownBy(() => gone.save()).code).toBe('ERR_DISPOSED');
    const lost = new HyperplaneLsh({ dimensions: 3, tables: 2, bits: 3 });
    lost.dispose();
    expect(thrownBy(() => lost.save()).code).toBe('ERR_DISPOSED');
  });
});
