import { describe, expect, it } from 'vitest';
import type { Metric, Neighbors } from '../src/neighbors.js';
import type { Storage } from '../src/rows.js';
import { VectorIndex } from '../src/vector-index.js';
import {
  EXACT_WAYS,
  expectClose,
  expectNearest,
  expectSameNeighbors,
  expectSound,
  METRICS,
  thrownBy,
} from './answers.js';
import { uniform } from './arena.js';
import { clumpedRows, normals, recallOf, rowAt } from './data.js';

/** The rows that a model has, packed in the order of their ids, and the ids. */
function pack(
  model: ReadonlyMap<number, Float32Array>,
  dimensions: number,
): { ids: number[]; vectors: Float32Array } {
  const ids = [...model.keys()].sort((a, b) => a - b);
  const vectors = new Float32Array(ids.length * dimensions);
  ids.forEach((id, place) => {
    vectors.set(model.get(id) as Float32Array, place * dimensions);
  });
  return { ids, vectors };
}

/** Neighbors with the places of their ids in a list instead; fails on an id that is not there. */
function placed(found: Neighbors, ids: readonly number[]): Neighbors {
  return {
    ids: Uint32Array.from(found.ids, (id) => {
      const place = ids.indexOf(id);
      if (place < 0) throw new Error(`expected live rows only, got ${id}`);
      return place;
    }),
    distances: found.distances,
  };
}

/** Different ids below `rows`, drawn at random. */
function drawn(rows: number, count: number, seed: number): Uint32Array {
  const next = uniform(seed);
  const ids = Uint32Array.from({ length: rows }, (_, id) => id);
  for (let i = 0; i < count; i++) {
    const j = i + Math.floor(next() * (rows - i));
    [ids[i], ids[j]] = [ids[j], ids[i]];
  }
  return ids.subarray(0, count);
}

/** One random sequence of calls on an index and on a plain Map. */
function drive(seed: number, metric: Metric, storage: Storage, steps: number, most: number): void {
  const next = uniform(seed);
  const pick = (n: number): number => Math.floor(next() * n);
  const dimensions = [1, 3, 8, 19][pick(4)];
  const index = new VectorIndex({ dimensions, metric, storage, seed });
  const model = new Map<number, Float32Array>();
  let nextId = 0;
  let dead = 0;
  const draw = (rows: number): Float32Array =>
    // Quarters: duplicates and ties come up, and sums are exact.
    Float32Array.from({ length: rows * dimensions }, (_, i) =>
      i % dimensions === 0 ? 0.5 + pick(9) / 4 : pick(13) / 4 - 1.5,
    );
  for (let step = 0; step < steps; step++) {
    const action = pick(10);
    const ids = [...model.keys()];
    if (action <= 2 || nextId === 0) {
      const rows = 1 + pick([2, 10, most][pick(3)]);
      const added = draw(rows);
      expect(index.add(added)).toBe(nextId);
      for (let i = 0; i < rows; i++) model.set(nextId++, rowAt(added, i, dimensions).slice());
    } else if (action <= 5) {
      const count = pick([2, 10, nextId + 1][pick(3)]);
      // Live, removed and repeated ids alike.
      const chosen = Array.from({ length: count }, () => pick(nextId));
      const there = new Set(chosen.filter((id) => model.has(id)));
      const given = [chosen, Uint32Array.from(chosen), Float64Array.from(chosen)][pick(3)];
      expect(index.remove(count === 1 && pick(2) ? chosen[0] : given)).toBe(there.size);
      for (const id of there) model.delete(id);
      dead += there.size;
    } else if (action === 6 && ids.length > 0) {
      for (let i = pick(4); i >= 0; i--) {
        const id = ids[pick(ids.length)];
        const vector = draw(1);
        index.update(id, vector);
        model.set(id, vector);
      }
    } else if (action === 7) {
      const options = { cells: [undefined, 1, 2, 1 + pick(30)][pick(4)], refine: pick(2) === 0 };
      index.build({ ...options, tune: false, training: pick(2) ? 'lloyd' : 'none' });
      dead = 0;
    } else if (action === 8) {
      const usage = index.memoryUsage();
      const { rows, bytes } = index.compact();
      expect(rows).toBe(dead);
      const sum = (parts: Record<string, number>): number =>
        Object.entries(parts).reduce((total, [name, size]) => total + (name === 'total' ? 0 : size), 0);
      expect(bytes).toBe(sum(usage) - sum(index.memoryUsage()));
      dead = 0;
    } else if (action === 9 && pick(4) === 0) {
      index.tune({ recall: [0.7, 0.95][pick(2)], k: 1 + pick(5), sample: 8 });
    }
    expect(index.size).toBe(model.size);
    expect(index.stats()).toMatchObject({ rows: model.size, removed: dead });
    const asked = pick(nextId + 2);
    expect(index.has(asked)).toBe(model.has(asked));
    const row = model.get(asked);
    if (row) {
      const scale = Math.max(...row.map(Math.abs));
      expectClose(index.vector(asked), row, storage === 'int8' ? (0.51 / 127) * scale : 1e-6);
    } else {
      expect(() => index.vector(asked)).toThrow(`got ${asked}`);
    }
    const query = draw(1);
    const k = 1 + pick([3, 3, 12, 12, 12, model.size + 3][pick(6)]);
    const live = pack(model, dimensions);
    const exactly = placed(index.search(query, { k, ...EXACT_WAYS[pick(3)] }), live.ids);
    expect(exactly.ids.length).toBe(Math.min(k, model.size));
    const some = placed(index.search(query, { k, probes: 1 + pick(index.cells) }), live.ids);
    const unfiltered = { k, probes: 1 + pick(index.cells), epsilon: Number.POSITIVE_INFINITY };
    const few = placed(index.search(query, unfiltered), live.ids);
    const many = index.searchBatch(query, { k, recall: 0.9 });
    expect(many.counts[0]).toBeLessThanOrEqual(model.size);
    const batch = many.ids.subarray(0, many.counts[0]);
    placed({ ids: batch, distances: many.distances }, live.ids);
    expect(batch).toEqual(index.search(query, { k, recall: 0.9 }).ids);
    if (storage === 'f32' && model.size > 0) {
      expectNearest(exactly, live.vectors, query, k, metric);
      expectSound(some, live.vectors, query, metric);
      expectSound(few, live.vectors, query, metric);
    }
  }
  index.dispose();
}

describe('removing, updating and compacting', () => {
  it.each([
    ['euclidean', 'f32'],
    ['cosine', 'f32'],
    ['inner-product', 'f32'],
    ['inner-product', 'int8'],
  ] as const)(
    'give what a plain Map gives, in any sequence of calls, by %s in %s rows',
    (metric, storage) => {
      for (let seed = 0; seed < 500; seed++) {
        try {
          drive(seed, metric, storage, 12, 25);
        } catch (error) {
          throw new Error(`seed ${seed}`, { cause: error });
        }
      }
    },
  );

  it.each(METRICS)('give the same in an index of many cells, by %s', (metric) => {
    for (let seed = 0; seed < 3; seed++) drive(7000 + seed, metric, 'f32', 40, 900);
  });
});

describe('remove', () => {
  const dimensions = 24;
  const rows = 12_000;
  const vectors = clumpedRows(rows, dimensions, 60, 0.6, 300);
  const queries = clumpedRows(200, dimensions, 60, 0.6, 300);
  const removed = drawn(rows, Math.floor(rows * 0.3), 301);
  const left = new Map<number, Float32Array>();
  for (let id = 0; id < rows; id++) left.set(id, rowAt(vectors, id, dimensions));
  for (const id of removed) left.delete(id);
  const live = pack(left, dimensions);

  it.each(METRICS)('leaves an index that finds as much as a new one of the same rows, by %s', (metric) => {
    const index = VectorIndex.from(vectors, { dimensions, metric });
    const fresh = VectorIndex.from(live.vectors, { dimensions, metric });
    expect(index.remove(removed)).toBe(removed.length);
    // Cells are packed on the way: at most a quarter of a cell's slots are empty.
    const query = rowAt(queries, 0, dimensions);
    const { codesScanned } = index.explain(query, { probes: index.cells, epsilon: 3 });
    expect(codesScanned).toBeLessThanOrEqual(index.size / 0.75);
    for (const recall of [0.9, 0.99])
      expect(index.evaluate(queries, { recall }).recall).toBeGreaterThanOrEqual(recall - 0.02);
    // What was tuned for a recall differs from index to index; as many of the cells and one bound do not.
    const found = (of: VectorIndex, share: number): number =>
      of.evaluate(queries, { probes: Math.ceil(of.cells * share), epsilon: 3 }).recall;
    for (const share of [0.1, 0.3, 1])
      expect(found(index, share)).toBeGreaterThanOrEqual(found(fresh, share) - 0.02);
    // Truth from before: rows that are gone do not count against it.
    const truth = new Uint32Array(queries.length / dimensions);
    truth.fill(removed[0]);
    expect(index.evaluate(queries, { k: 1, truth }).recall).toBe(1);
  });

  it.each([
    ['euclidean', 'f32'],
    ['cosine', 'f32'],
    ['inner-product', 'f32'],
    ['euclidean', 'int8'],
  ] as const)(
    'and a build make what a build of the rows that are left makes, by %s in %s rows',
    (metric, storage) => {
      const index = new VectorIndex({ dimensions, metric, storage });
      index.add(vectors);
      index.build({ cells: 50, tune: false });
      index.remove(removed);
      index.build();
      const fresh = VectorIndex.from(live.vectors, { dimensions, metric, storage });
      expect(index.stats()).toMatchObject({ rows: live.ids.length, removed: 0, cells: fresh.cells });
      for (let i = 0; i < 50; i++) {
        const query = rowAt(queries, i, dimensions);
        expect(placed(index.search(query), live.ids)).toEqual(fresh.search(query));
      }
      expect(index.tune().settings).toEqual(fresh.tune().settings);
    },
  );

  it('keeps every id, also after compact and for rows that come later', () => {
    const index = VectorIndex.from(vectors.subarray(0, 3000 * dimensions), { dimensions, tune: false });
    index.remove(Array.from({ length: 1500 }, (_, i) => 2 * i));
    const query = rowAt(vectors, 77, dimensions);
    const before = index.search(query, { k: 20, probes: 10 });
    const { rows: dropped, bytes } = index.compact();
    expect(dropped).toBe(1500);
    expect(bytes).toBeGreaterThan(1500 * dimensions * 4);
    expect(index.search(query, { k: 20, probes: 10 })).toEqual(before);
    expect(before.ids[0]).toBe(77);
    expect(index.vector(77)).toEqual(query.slice());
    expect(index.compact()).toEqual({ rows: 0, bytes: 0 });
    expect(index.add(rowAt(vectors, 4000, dimensions))).toBe(3000);
    expect(index.search(rowAt(vectors, 4000, dimensions), { k: 1 }).ids[0]).toBe(3000);
    expect(index.has(76)).toBe(false);
  });

  it.each(METRICS)(
    'keeps codes of both stages and lengths with their rows where it moves these (%s)',
    (metric) => {
      const some = clumpedRows(3000, 40, 30, 0.5, 5);
      const index = VectorIndex.from(some, { dimensions: 40, metric, cells: 20, refine: true, tune: false });
      index.remove(Array.from({ length: 1000 }, (_, i) => 3 * i));
      const way = { k: 5, probes: 6, epsilon: 2 };
      const queries = some.subarray(0, 100 * 40);
      const look = (i: number) => index.explain(rowAt(queries, i, 40), { ...way, id: 7 });
      const before = index.searchBatch(queries, way);
      const ranked = Array.from({ length: 100 }, (_, i) => look(i).rowsRanked);
      expect(index.compact().rows).toBe(1000);
      expectSameNeighbors(index.searchBatch(queries, way), before, 'after compact');
      expect(Array.from({ length: 100 }, (_, i) => look(i).rowsRanked)).toEqual(ranked);
      const { reason, ...row } = look(0).row ?? {};
      const loaded = VectorIndex.load(index.save());
      expect(loaded.explain(rowAt(queries, 0, 40), { ...way, id: 7 }).row).toEqual({ reason, ...row });
    },
  );

  it('frees room that later rows take', () => {
    const index = VectorIndex.from(vectors, { dimensions, tune: false });
    index.remove(removed);
    index.compact();
    const { total } = index.memoryUsage();
    index.add(vectors.subarray(0, removed.length * dimensions * 0.9));
    expect(index.memoryUsage().total).toBe(total);
  });

  it('leaves an index that can be emptied and filled again', () => {
    const index = VectorIndex.from(vectors.subarray(0, 4000 * dimensions), { dimensions });
    expect(index.remove(Array.from({ length: 4000 }, (_, id) => id))).toBe(4000);
    const query = rowAt(queries, 0, dimensions);
    for (const way of [{}, ...EXACT_WAYS, { probes: 3 }]) expect(index.search(query, way).ids.length).toBe(0);
    expect(index.searchBatch(queries, { k: 2 }).counts).toEqual(new Uint32Array(200));
    expect(index.tune().sample).toBe(0);
    index.build();
    expect(index.stats()).toMatchObject({ rows: 0, removed: 0 });
    expect(index.add(vectors)).toBe(4000);
    index.build();
    expect(index.search(rowAt(vectors, 5, dimensions), { k: 1 }).ids[0]).toBe(4005);
  });

  it('refuses ids that were never given out, names the first, and removes nothing', () => {
    const index = new VectorIndex({ dimensions: 2 });
    expect(thrownBy(() => index.remove(0))).toMatchObject({
      code: 'ERR_ARGUMENT_RANGE',
      message: 'ids: expected an id of the index, which has given out none, got 0',
    });
    expect(index.remove([])).toBe(0);
    index.add(new Float32Array([1, 2, 3, 4, 5, 6]));
    for (const [wrong, got] of [
      [3, '3'],
      [-1, '-1'],
      [0.5, '0.5'],
      [Number.NaN, 'NaN'],
      [[0, 1, 7], '7 at place 2'],
      [new Float32Array([2, 2.5]), '2.5 at place 1'],
    ] as const) {
      const error = thrownBy(() => index.remove(wrong));
      expect(error).toBeInstanceOf(RangeError);
      expect(error).toMatchObject({
        code: 'ERR_ARGUMENT_RANGE',
        message: `ids: expected ids from 0 to 2, got ${got}`,
      });
    }
    for (const wrong of [undefined, null, 'a', {}, ['0'], [0n], new BigUint64Array(1), [0, undefined]]) {
      const error = thrownBy(() => index.remove(wrong as never));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.code).toBe('ERR_ARGUMENT_TYPE');
    }
    expect(index.size).toBe(3);
  });

  it('takes ids that are gone, and ids that come twice, for what they are', () => {
    const index = new VectorIndex({ dimensions: 1 });
    index.add(new Float32Array([1, 2, 3]));
    expect(index.remove([1, 1, 1])).toBe(1);
    expect(index.remove([1, 2])).toBe(1);
    expect(index.remove(1)).toBe(0);
    expect(index.size).toBe(1);
    for (const call of [
      () => index.vector(1),
      () => index.update(1, new Float32Array(1)),
      () => index.explain(new Float32Array(1), { id: 1 }),
    ]) {
      expect(thrownBy(call)).toMatchObject({
        code: 'ERR_ARGUMENT_RANGE',
        message: 'id: expected a row of the index, got 1, which was removed',
      });
    }
    expect([0, 1, 2, 3, -1, 0.5].map((id) => index.has(id))).toEqual([true, ...Array(5).fill(false)]);
  });

  it('explains the rows that are left as before', () => {
    const index = VectorIndex.from(vectors, { dimensions, tune: false });
    index.remove(removed);
    const query = rowAt(queries, 3, dimensions);
    const exact = index.search(query, { exact: true });
    const { row, rowsRanked } = index.explain(query, { exact: true, id: exact.ids[9] });
    expect(rowsRanked).toBe(index.size);
    expect(row?.found).toBe(true);
    expect(Math.fround(row?.distance as number)).toBe(exact.distances[9]);
    for (const id of exact.ids) {
      const explained = index.explain(query, { id, probes: 1 });
      expect(explained.row?.found).toBe(explained.ids.includes(id));
    }
  });
});

describe('update', () => {
  it('refuses a wrong vector and leaves the row as it was', () => {
    const index = new VectorIndex({ dimensions: 3, metric: 'cosine' });
    index.add(new Float32Array([1, 0, 0, 0, 2, 0]));
    const before = index.search(new Float32Array([1, 1, 0]));
    for (const [vector, code, message] of [
      [[0, 0, 0], 'ERR_ZERO_VECTOR', 'vector: '],
      [[1, Number.NaN, 0], 'ERR_NOT_FINITE', 'vector: '],
      [[1, 2], 'ERR_LENGTH', 'vector: expected 3 floats, got 2'],
    ] as const) {
      const error = thrownBy(() => index.update(1, new Float32Array(vector)));
      expect(error.code).toBe(code);
      expect(error.message).toContain(message);
    }
    expect(thrownBy(() => index.update(2, new Float32Array(3))).code).toBe('ERR_ARGUMENT_RANGE');
    expect(index.search(new Float32Array([1, 1, 0]))).toEqual(before);
    expect(index.vector(1)).toEqual(new Float32Array([0, 2, 0]));
  });

  it('moves rows from cell to cell, and splits one that all of them move to', () => {
    const dimensions = 16;
    const vectors = clumpedRows(4000, dimensions, 30, 0.5, 310);
    const index = VectorIndex.from(vectors, { dimensions, refine: true, tune: false });
    const { cells } = index;
    const middle = normals(dimensions, 311);
    const spread = normals(3000 * dimensions, 312);
    const model = new Map<number, Float32Array>();
    for (let id = 0; id < 4000; id++) model.set(id, rowAt(vectors, id, dimensions));
    for (let i = 0; i < 3000; i++) {
      const row = middle.map((x, j) => x + 0.6 * spread[i * dimensions + j]);
      index.update(i, row);
      model.set(i, row);
    }
    expect(index.size).toBe(4000);
    expect(index.cells).toBeGreaterThan(cells);
    const live = pack(model, dimensions);
    let recall = 0;
    for (let i = 0; i < 40; i++) {
      const query = i % 2 ? rowAt(vectors, 3000 + i, dimensions) : (model.get(i) as Float32Array);
      const exact = index.search(query, { exact: true });
      expectNearest(exact, live.vectors, query, 10, 'euclidean');
      const found = index.search(query, { probes: Math.ceil(index.cells / 3) });
      expectSound(found, live.vectors, query, 'euclidean');
      recall += recallOf(found, exact) / 40;
    }
    expect(recall).toBeGreaterThan(0.92); // measured: 0.94
  });

  it('and remove leave everything as it was where memory runs out', () => {
    const dimensions = 4;
    const next = uniform(313);
    const vectors = Float32Array.from({ length: 2000 * dimensions }, next);
    const refused = (call: () => unknown): boolean => {
      try {
        call();
        return false;
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_OUT_OF_MEMORY' });
        return true;
      }
    };
    const query = new Float32Array(dimensions);
    let refusals = 0;
    let successes = 0;
    for (let maxBytes = 180_000; maxBytes < 600_000; maxBytes += 1500) {
      let index = new VectorIndex({ dimensions: 1 });
      const isTooSmall = refused(() => {
        index = new VectorIndex({ dimensions, maxBytes });
        index.add(vectors);
        index.search(query);
      });
      if (isTooSmall) continue;
      const before = index.search(query);
      const answers = (): unknown[] => [
        index.search(query, { exact: true }),
        index.search(query, { epsilon: 8, probes: 1 }),
      ];
      for (const call of [() => index.update(3, query), () => index.remove(before.ids.slice(0, 5))]) {
        const known = answers();
        if (refused(call)) {
          refusals++;
          expect(answers()).toEqual(known);
          expect(index.size).toBe(2000);
        } else {
          successes++;
          expect(answers()).not.toEqual(known);
        }
      }
      if (refusals > 0 && successes > 4) break;
    }
    expect(refusals).toBeGreaterThan(0);
    expect(successes).toBeGreaterThan(4);
  });
});
