import { afterEach, describe, expect, it, vi } from 'vitest';
import { Engine } from '../src/engine.js';
import { exactSearch } from '../src/exact.js';
import type { Metric } from '../src/neighbors.js';
import { finish } from '../src/progress.js';
import type { Storage } from '../src/rows.js';
import { METRICS } from './answers.js';
import { expectSameBits } from './arena.js';
import { clumpedRows, plainDistance, rowAt } from './data.js';

const DIMENSIONS = 10;
const ROWS = 1500;

function emptyEngine(metric: Metric, storage: Storage, seed = 3n): Engine {
  return new Engine(DIMENSIONS, metric, storage, seed, 2 ** 32);
}

function append(engine: Engine, vectors: Float32Array): void {
  engine.append(vectors, vectors.length / DIMENSIONS, true);
}

function build(engine: Engine, cells: number, train = true): void {
  finish(engine.start(false));
  finish(engine.sort(cells, train, false));
  finish(engine.refine());
}

/** Bytes of everything that an answer depends on, by region. */
function bytesOf(engine: Engine): Record<string, Uint8Array> {
  const { plan, cells, dims } = engine;
  const rowBytes = plan.get('RowBytes');
  const recordBytes = 16 * Math.ceil(dims / 32);
  const directory = plan.ptr('directory') >>> 2;
  let blocks = 0;
  for (let cell = 0; cell < cells; cell++) blocks += plan.memory.u32[directory + 4 * cell + 2];
  const sizes: Record<string, number> = {
    rows: engine.size * rowBytes,
    labels: engine.size * 4,
    positions: engine.size * 4,
    mean: dims * 4,
    signs: plan.get('Rounds') * dims * 4,
    centres: cells * dims * 4,
    centreBlocks: Math.ceil(cells / 32) * (dims * 8 + 384),
    directory: cells * 16,
    blocks: blocks * (dims * 4 + 384),
    refine: engine.size * recordBytes,
    refineNorms: engine.size * 4,
  };
  const bytes: Record<string, Uint8Array> = {};
  for (const [region, size] of Object.entries(sizes)) {
    const ptr = plan.ptr(region);
    expect(ptr, region).toBeGreaterThan(0);
    bytes[region] = plan.memory.u8.slice(ptr, ptr + size);
  }
  // Vectors that are not of length 1 have their lengths beside them.
  const lengths = plan.ptr('lengths');
  bytes.lengths = lengths ? plan.memory.u8.slice(lengths, lengths + engine.size * 4) : new Uint8Array(0);
  return bytes;
}

function expectSameBytes(actual: Engine, expected: Engine): void {
  const a = bytesOf(actual);
  for (const [region, bytes] of Object.entries(bytesOf(expected))) expectSameBits(a[region], bytes, region);
}

describe.each(METRICS)('the bytes of an engine by %s', (metric) => {
  describe.each(['f32', 'int8'] as const)('in %s rows', (storage) => {
    const vectors = clumpedRows(ROWS, DIMENSIONS, 30, 0.4, 1);
    // Some rows of length 1 already, some in the same chunk as others.
    for (const row of [0, 1, 2, 63, 64, 130, 700, 1499]) {
      const own = rowAt(vectors, row, DIMENSIONS);
      const length = Math.hypot(...own);
      for (let i = 0; i < DIMENSIONS; i++) own[i] /= length;
    }

    it('are the same for the same rows, options and seed, and others for another seed', () => {
      const engines = [3n, 3n, 4n].map((seed) => {
        const engine = emptyEngine(metric, storage, seed);
        append(engine, vectors);
        build(engine, 20);
        return engine;
      });
      expectSameBytes(engines[1], engines[0]);
      expect(bytesOf(engines[2]).blocks).not.toEqual(bytesOf(engines[0]).blocks);
      expect(bytesOf(engines[2]).labels).not.toEqual(bytesOf(engines[0]).labels);
    });

    it('do not depend on the parts in which rows came, nor on builds in between', () => {
      const together = emptyEngine(metric, storage);
      together.append(vectors, ROWS, false);
      build(together, 20);
      for (const cuts of [[1, 2, 3, 100, 1499], [64, 128], [750]]) {
        for (const between of [0, 7]) {
          const parts = emptyEngine(metric, storage);
          let from = 0;
          for (const to of [...cuts, ROWS]) {
            append(parts, vectors.subarray(from * DIMENSIONS, to * DIMENSIONS));
            from = to;
            if (between && to !== ROWS) build(parts, Math.min(to, between));
          }
          build(parts, 20);
          expectSameBytes(parts, together);
        }
      }
    });

    it('are the same when built again', () => {
      const engine = emptyEngine(metric, storage);
      append(engine, vectors);
      build(engine, 20);
      const once = bytesOf(engine);
      build(engine, 1);
      build(engine, 20);
      for (const [region, bytes] of Object.entries(bytesOf(engine)))
        expectSameBits(bytes, once[region], region);
    });
  });
});

describe.each(METRICS)('an engine by %s', (metric) => {
  it('without a bound is exact among the rows of the cells that it probed', () => {
    const vectors = clumpedRows(ROWS, DIMENSIONS, 30, 0.4, 2);
    const later = clumpedRows(200, DIMENSIONS, 30, 0.4, 3);
    const all = new Float32Array((ROWS + 200) * DIMENSIONS);
    all.set(vectors);
    all.set(later, vectors.length);
    for (const cells of [1, 8, 70]) {
      const engine = emptyEngine(metric, 'f32');
      append(engine, vectors);
      build(engine, cells);
      append(engine, later);
      const { cells: cellOf } = finish(engine.placesOfRows());
      expect(cellOf.length).toBe(ROWS + 200);
      for (const probes of [1, 2, 5]) {
        for (let i = 0; i < 10; i++) {
          const query = rowAt(later, i * 7, DIMENSIONS);
          const settings = { probes, epsilon: Number.POSITIVE_INFINITY, patience: 0 };
          const count = engine.run(query, 12, settings);
          const found = { ids: new Uint32Array(count), distances: new Float32Array(count) };
          engine.read(count, found, 0);
          const probed = engine.probedCells();
          expect(probed.length).toBe(Math.min(probes, cells));
          const inside = [...cellOf.keys()].filter((id) => probed.includes(cellOf[id]));
          const rows = new Float32Array(inside.length * DIMENSIONS);
          inside.forEach((id, at) => {
            rows.set(rowAt(all, id, DIMENSIONS), at * DIMENSIONS);
          });
          const truth = exactSearch(rows, query, { k: 12, metric });
          expect(count).toBe(truth.ids.length);
          for (let j = 0; j < count; j++) {
            expect(inside).toContain(found.ids[j]);
            const own = plainDistance(metric, query, rowAt(all, found.ids[j], DIMENSIONS));
            expect(Math.abs(found.distances[j] - own)).toBeLessThan(1e-5 * (1 + Math.abs(own)));
            expect(Math.abs(found.distances[j] - truth.distances[j])).toBeLessThan(
              1e-6 * (1 + Math.abs(own)),
            );
            if (metric === 'euclidean') expect(found.ids[j]).toBe(inside[truth.ids[j]]);
          }
        }
      }
    }
  });

  it('has every row in exactly one cell, that of the nearest centre nearly always', () => {
    const vectors = clumpedRows(ROWS, DIMENSIONS, 30, 0.4, 4);
    const engine = emptyEngine(metric, 'f32');
    append(engine, vectors.subarray(0, 1000 * DIMENSIONS));
    build(engine, 40);
    append(engine, vectors.subarray(1000 * DIMENSIONS));
    const { plan, cells, dims } = engine;
    expect(engine.cellSizes().reduce((sum, size) => sum + size, 0)).toBe(ROWS);
    const seen = new Uint32Array(ROWS);
    const directory = plan.ptr('directory') >>> 2;
    const blockBytes = dims * 4 + 384;
    for (let cell = 0; cell < cells; cell++) {
      const [first, used] = plan.memory.u32.subarray(directory + 4 * cell);
      for (let slot = 0; slot < used; slot++) {
        const block = plan.ptr('blocks') + (first + Math.floor(slot / 32)) * blockBytes;
        seen[plan.memory.u32[(block + dims * 4 + 256 + 4 * (slot % 32)) >>> 2]]++;
      }
    }
    expect(seen.every((times) => times === 1)).toBe(true);
    const { cells: cellOf } = finish(engine.placesOfRows());
    let nearest = 0;
    // By inner product a row as a query is not where the row is stored: it has no extension.
    if (metric === 'inner-product') return;
    for (let id = 0; id < ROWS; id += 5) {
      // Cells come roughly in order: the nearest is among the first.
      const order = engine.cellOrder(rowAt(vectors, id, DIMENSIONS));
      if (order.subarray(0, 4).includes(cellOf[id])) nearest++;
    }
    expect(nearest / (ROWS / 5)).toBeGreaterThanOrEqual(0.98);
  });
});

afterEach(() => {
  vi.restoreAllMocks();
});

describe('reorder', () => {
  it('has room for the old place of every row, and for how far it has come', () => {
    const engine = emptyEngine('euclidean', 'f32');
    append(engine, clumpedRows(ROWS, DIMENSIONS, 20, 0.9, 14));
    const { rows, plan } = engine;
    const ids = rows.ids().reverse();
    const work = rows.reorder(ids);
    work.next();
    expect(plan.memory.capacity('source')).toBeGreaterThanOrEqual(ROWS * 4 + 8);
    finish(work);
    expect([...rows.order()]).toEqual([...ids]);
  });
});

describe('changes', () => {
  it('tell where each patience ends a scan, and that a bound has no part in it', () => {
    const engine = emptyEngine('euclidean', 'f32');
    append(engine, clumpedRows(ROWS, DIMENSIONS, 60, 0.9, 12));
    build(engine, 40);
    const bits = ({ changes, cells }: { changes: Uint32Array; cells: number }): number[] =>
      Array.from({ length: cells }, (_, place) => (changes[place >> 5] >>> (place & 31)) & 1);
    let early = 0;
    for (let row = 0; row < ROWS; row += 30) {
      const query = engine.vector(row);
      engine.run(query, 5, { probes: 40, epsilon: 3, patience: 0 });
      const all = bits(engine.counters());
      expect(all.length).toBe(40);
      engine.run(query, 5, { probes: 40, epsilon: 0.5, patience: 0 });
      expect(bits(engine.counters())).toEqual(all);
      // The limit falls where the best estimates change, once there are ten.
      for (const probes of [2, 7, 21]) {
        engine.run(query, 5, { probes, epsilon: 3, patience: 0 });
        const { limit } = engine.counters();
        engine.run(query, 5, { probes: probes + 1, epsilon: 3, patience: 0 });
        expect(engine.counters().limit < limit).toBe(all[probes] === 1);
      }
      for (const patience of [1, 2, 4, 9]) {
        engine.run(query, 5, { probes: 40, epsilon: 3, patience });
        const none = '0'.repeat(patience);
        const end = all.join('').indexOf(none);
        expect(engine.counters().cells).toBe(end < 0 ? 40 : end + patience);
        expect(bits(engine.counters())).toEqual(all.slice(0, end < 0 ? 40 : end + patience));
        if (end >= 0) early++;
      }
    }
    expect(early).toBeGreaterThan(100);
  });
});

describe('runEach', () => {
  it('searches many bytes of rows exactly in stretches, a step each, and finds what one go over all rows finds', () => {
    const dimensions = 512;
    const rows = 20_000; // 41 MB
    const engine = new Engine(dimensions, 'euclidean', 'f32', 1n, 2 ** 32);
    const vectors = clumpedRows(rows / 2, dimensions, 50, 0.5, 4);
    engine.append(vectors, rows / 2, false);
    engine.append(vectors, rows / 2, false); // every row twice: ties across the stretches
    engine.remove([3, 17_000]);
    const queries = [0, 3, 9_999].map((row) => rowAt(vectors, row, dimensions));
    const step = { phase: 'tune', done: 0, total: 3 } as const;
    const work = engine.runEach(queries, 7, null, () => step);
    let steps = 0;
    let now = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => (now += 10)); // as if each stretch took longer than a step
    let next = work.next();
    for (; !next.done; next = work.next()) steps++;
    expect(steps).toBe(3 * 79); // of half a megabyte
    const found = { ids: new Uint32Array(7), distances: new Float32Array(7) };
    queries.forEach((query, i) => {
      engine.read(engine.runExact(query, 7), found, 0);
      const { ids, counters } = next.value as Exclude<typeof next.value, typeof step>;
      expect([...ids.subarray(7 * i, 7 * i + 7)]).toEqual([...found.ids]);
      expect(counters[i].ranked).toBe(rows - 2);
    });
  });
});
