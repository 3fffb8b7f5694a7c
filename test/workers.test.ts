import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import type { VectorIndex as Index } from '../src/index.js';
import { BuildTeam } from '../src/parallel.js';
import { finish, type Progress } from '../src/progress.js';
import type { WorkerPool as Pool, PoolOptions } from '../src/workers/index.js';
import { METRICS } from './answers.js';
import { clumpedRows, normals, rowAt } from './data.js';
import { all } from './joins.js';

// As it is shipped: a worker's script must be JavaScript.
const dist = new URL('../dist/workers/', import.meta.url);
const { IdSet, VectorIndex } = (await import(
  `${new URL('../index.js', dist)}`
)) as typeof import('../src/index.js');
const { WorkerPool } = (await import(`${dist}index.js`)) as typeof import('../src/workers/index.js');

const dimensions = 20;
const rows = clumpedRows(3000, dimensions, 40, 0.4, 1);
const few = rows.subarray(0, 600 * dimensions);
const queries = clumpedRows(150, dimensions, 40, 0.4, 5);
const query = rowAt(queries, 0, dimensions);

const pools: Pool[] = [];
async function open(options: PoolOptions & { vectors?: Float32Array } = {}): Promise<Pool> {
  const { vectors = few, ...others } = options;
  const pool = await WorkerPool.load(bytesOf(vectors), { threads: 2, ...others });
  pools.push(pool);
  return pool;
}

/** Built once: the first test shows that a pool builds the same. */
const saved = new Map<Float32Array, Uint8Array>();
function bytesOf(vectors: Float32Array): Uint8Array {
  const bytes = saved.get(vectors) ?? VectorIndex.from(vectors, { dimensions }).save();
  saved.set(vectors, bytes);
  return bytes;
}

/** An index without threads to hold a pool against. */
function indexOf(vectors: Float32Array): Index {
  return VectorIndex.load(bytesOf(vectors));
}

/** Fails unless answers are alike to the bit. Not by toEqual: its text of a difference of large arrays takes minutes. */
function expectSame(found: unknown, expected: unknown, what: string = 'the answer'): void {
  if (ArrayBuffer.isView(expected)) {
    const [mine, theirs] = [found as ArrayBufferView, expected].map(
      ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength),
    );
    expect(Object.prototype.toString.call(found), what).toBe(Object.prototype.toString.call(expected));
    expect(Buffer.compare(mine, theirs), what).toBe(0);
  } else if (typeof expected === 'object' && expected !== null) {
    const own = found as Record<string, unknown>;
    const keys = (value: object): string[] => Object.keys(value).sort();
    expect(keys(own), what).toEqual(keys(expected));
    for (const [key, value] of Object.entries(expected)) expectSame(own[key], value, `${what}.${key}`);
  } else {
    expect(found, what).toBe(expected);
  }
}

/** A pool whose workers can be ended from outside. */
async function openWithHandles(
  shared: boolean,
  vectors?: Float32Array,
): Promise<{ pool: Pool; workers: Worker[] }> {
  const workers: Worker[] = [];
  const worker = (): Worker => {
    workers.push(new Worker(new URL('worker.js', dist)));
    return workers[workers.length - 1];
  };
  return { pool: await open({ shared, worker, vectors }), workers };
}

afterEach(() => {
  for (const pool of pools.splice(0)) pool.dispose();
});

describe.each([true, false])('a pool (over one memory: %s)', (shared) => {
  it.each(METRICS)('gives the bytes and answers of an index without threads (%s)', async (metric) => {
    const index = VectorIndex.from(rows, { dimensions, metric });
    for (const threads of metric === 'euclidean' ? [1, 3] : [2]) {
      const pool = await WorkerPool.from(rows, { dimensions, metric, threads, shared });
      pools.push(pool);
      expect(pool.isShared).toBe(shared);
      expect([pool.size, pool.cells, pool.metric, pool.threads]).toEqual([
        3000,
        index.cells,
        metric,
        threads,
      ]);
      expectSame(await pool.save(), index.save());
      expectSame(await pool.search(query, { k: 7 }), index.search(query, { k: 7 }));
      for (const options of [{}, { k: 3, recall: 0.99 }, { exact: true }, { probes: 2, epsilon: 1 }])
        expectSame(await pool.searchBatch(queries, options), index.searchBatch(queries, options));
    }
  });

  it('builds rows of 8-bit integers, cells in groups, and the second stage, to the same bytes', async () => {
    const options = { dimensions, storage: 'int8', refine: true, cells: 520, tune: false } as const;
    const pool = await WorkerPool.from(rows, { ...options, threads: 3, shared });
    pools.push(pool);
    expectSame(await pool.save(), VectorIndex.from(rows, options).save());
  });

  it('sorts rows without structure into shells to the same bytes, and those that come later', async () => {
    const gaussian = normals(3000 * 64, 5);
    const later = normals(200 * 64, 6);
    const pool = await WorkerPool.from(gaussian, { dimensions: 64, threads: 2, shared });
    pools.push(pool);
    const index = VectorIndex.from(gaussian, { dimensions: 64 });
    expect(pool.cells).toBe(6);
    expectSame(await pool.save(), index.save());
    await pool.add(later);
    index.add(later);
    expectSame(await pool.save(), index.save());
  });

  it('builds long rows by principal components to the same bytes', async () => {
    if (!shared) return; // one thread builds then, as without a pool
    const long = clumpedRows(2100, 300, 20, 0.4, 3);
    const options = { dimensions: 300, principal: true, tune: false };
    const pool = await WorkerPool.from(long, { ...options, threads: 2, shared });
    pools.push(pool);
    expectSame(await pool.save(), VectorIndex.from(long, options).save());
  });

  it('finds far more neighbors than a thread has room for at first', async () => {
    const pool = await open({ shared, vectors: rows });
    const index = indexOf(rows);
    expectSame(
      await pool.search(query, { k: 3000, exact: true }),
      index.search(query, { k: 3000, exact: true }),
    );
    expectSame(
      await pool.searchBatch(queries.subarray(0, 40 * dimensions), { k: 1500 }),
      index.searchBatch(queries.subarray(0, 40 * dimensions), { k: 1500 }),
    );
  });

  it('answers queries over shared memory, which its threads read where they lie', async () => {
    const pool = await open({ shared });
    const index = indexOf(few);
    const memory = new SharedArrayBuffer(4 * (dimensions + queries.length));
    const lying = new Float32Array(memory, 4 * dimensions, queries.length);
    lying.set(queries);
    const ask = (): Promise<unknown> => pool.searchBatch(lying, { k: 4 });
    expectSame(await ask(), index.searchBatch(queries, { k: 4 }));
    // The same memory with the next queries.
    lying.set(queries.subarray(dimensions));
    expectSame(await ask(), index.searchBatch(lying.slice(), { k: 4 }));
    lying[3 * dimensions] = Number.NaN;
    await expect(ask()).rejects.toThrow('got NaN in row 3, column 0');
  });

  it('answers rows of a file, which its threads read', async () => {
    const pool = await open({ shared });
    const folder = mkdtempSync(path.join(tmpdir(), 'orthant-pool-'));
    const file = path.join(folder, 'rows');
    const withFile = async (bytes: Uint8Array, use: (descriptor: number) => Promise<void>): Promise<void> => {
      writeFileSync(file, bytes);
      const descriptor = openSync(file, 'r');
      await use(descriptor).finally(() => closeSync(descriptor));
    };
    const bytesOfFloats = (floats: Float32Array): Uint8Array => new Uint8Array(floats.buffer.slice(0));
    const expected = indexOf(few).searchBatch(queries, { k: 4 });
    const rows = queries.length / dimensions;
    try {
      await withFile(Buffer.concat([Buffer.alloc(10), bytesOfFloats(queries)]), async (descriptor) => {
        expectSame(await pool.searchFile({ descriptor, offset: 10, rows }, { k: 4 }), expected);
        const rest = await pool.searchFile({ descriptor, offset: 10 + 4 * dimensions, rows: 7 }, { k: 4 });
        expectSame(rest.ids, expected.ids.slice(4, 32));
        expect((await pool.searchFile({ descriptor, offset: 10, rows: 0 })).counts).toHaveLength(0);
        await expect(pool.searchFile({ descriptor, offset: 10, rows: rows + 1 })).rejects.toMatchObject({
          code: 'ERR_LENGTH',
          message: `file: expected ${10 + 4 * dimensions * (rows + 1)} bytes or more, got ${10 + 4 * queries.length}`,
        });
        await expect(pool.searchFile({ descriptor, offset: 10, rows }, { k: 0 })).rejects.toThrow(
          'k: expected an integer from 1',
        );
        await expect(pool.searchFile({ descriptor, offset: -1, rows })).rejects.toMatchObject({
          code: 'ERR_ARGUMENT_RANGE',
          message: 'file.offset: expected a whole number from 0, got -1',
        });
      });
      const prefixed = new Float32Array(rows * (dimensions + 1));
      const prefixes = new Int32Array(prefixed.buffer);
      for (let row = 0; row < rows; row++) {
        prefixes[row * (dimensions + 1)] = dimensions;
        prefixed.set(rowAt(queries, row, dimensions), row * (dimensions + 1) + 1);
      }
      await withFile(bytesOfFloats(prefixed), async (descriptor) => {
        const lying = { descriptor, offset: 0, rows, isPrefixed: true };
        expectSame(await pool.searchFile(lying, { k: 4 }), expected);
      });
      prefixes[140 * (dimensions + 1)] = 7;
      await withFile(bytesOfFloats(prefixed), async (descriptor) => {
        const lying = { descriptor, offset: 0, rows, isPrefixed: true };
        await expect(pool.searchFile(lying)).rejects.toThrow(
          `file: expected ${dimensions} floats in row 140, got 7`,
        );
      });
      const wrong = queries.slice();
      wrong[140 * dimensions + 3] = Number.NaN;
      await withFile(bytesOfFloats(wrong), async (descriptor) => {
        await expect(pool.searchFile({ descriptor, offset: 0, rows })).rejects.toMatchObject({
          code: 'ERR_NOT_FINITE',
          message: expect.stringContaining('row 140, column 3'),
        });
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('changes as an index does, in the order of the calls', async () => {
    const pool = await open({ shared });
    const index = indexOf(few);
    const more = rows.subarray(600 * dimensions, 2600 * dimensions);
    const changes = [
      pool.add(more),
      pool.remove([0, 3, 2000]),
      pool.remove(5),
      pool.update(7, query),
    ] as const;
    expect(await Promise.all(changes)).toEqual([600, 3, 1, undefined]);
    index.add(more);
    index.remove([0, 3, 2000, 5]);
    index.update(7, query);
    expect(pool.size).toBe(index.size);
    expectSame(await pool.searchBatch(queries), index.searchBatch(queries));
    expect(await pool.has(3)).toBe(false);
    expect(await pool.vector(7)).toEqual(query);
    await pool.build();
    index.build();
    expectSame(await pool.searchBatch(queries), index.searchBatch(queries));
    expectSame(await pool.tune({ recall: 0.8 }), index.tune({ recall: 0.8 }));
    expectSame(await pool.searchBatch(queries, { recall: 0.8 }), index.searchBatch(queries, { recall: 0.8 }));
    expect((await pool.compact()).rows).toBe(0);
    expect(await pool.add(few)).toBe(2600);
    expect(index.add(few)).toBe(2600);
    expectSame(await pool.save(), index.save());
  });

  it('is loaded from the bytes of an index', async () => {
    const index = indexOf(rows);
    const pool = await WorkerPool.load(index.save(), { threads: 2, shared });
    pools.push(pool);
    expectSame(await pool.searchBatch(queries), index.searchBatch(queries));
    await expect(WorkerPool.load(index.save().subarray(1), { threads: 1, shared })).rejects.toMatchObject({
      name: 'SnapshotError',
      code: 'ERR_SNAPSHOT',
      reason: 'format',
    });
  });

  it('shows a search all of a change or nothing', async () => {
    const pool = await open({ shared });
    // Twenty rows at the query: an answer has all of those that a change brought or took, or none.
    const block = Float32Array.from({ length: 20 * dimensions }, (_, i) => query[i % dimensions]);
    let isOver = false;
    const seen = new Set<number>();
    const look = (async () => {
      while (!isOver) {
        const batch = await pool.searchBatch(
          new Float32Array(64 * dimensions).map((_, i) => query[i % dimensions]),
          {
            k: 20,
            exact: true,
          },
        );
        const found = Array.from({ length: 64 }, (_, i) => {
          const distances = batch.distances.subarray(i * 20, (i + 1) * 20);
          return distances.filter((distance) => distance === 0).length;
        });
        expect(new Set(found).size).toBe(1);
        seen.add(found[0]);
      }
    })();
    for (let i = 0; i < 6; i++) {
      const first = await pool.add(block);
      await pool.remove(Array.from({ length: 20 }, (_, j) => first + j));
    }
    isOver = true;
    await look;
    expect([...seen].every((count) => count === 0 || count === 20)).toBe(true);
  });

  it('answers searches while it builds, from the index as it was', async () => {
    const pool = await open({ shared, vectors: rows });
    const before = await pool.search(query, { k: 5 });
    let isBuilt = false;
    const building = pool.build({ cells: 7 }).then(() => {
      isBuilt = true;
    });
    let during = 0;
    while (!isBuilt) {
      expectSame(await pool.search(query, { k: 5 }), before);
      during++;
      if (pool.cells === 7) break;
    }
    await building;
    expect(during).toBeGreaterThan(1);
    expect(pool.cells).toBe(7);
  });

  it('reports progress, and obeys a signal within 50 ms, the index as it was', async () => {
    const pool = await open({ shared, vectors: rows });
    const before = await pool.save();
    const phases = new Set<string>();
    await pool.build({ onProgress: ({ phase }: Progress) => phases.add(phase) });
    expect([...phases]).toEqual(expect.arrayContaining(['train', 'assign', 'encode', 'tune']));
    const controller = new AbortController();
    const building = pool.build({ cells: 3, signal: controller.signal });
    let asked = 0;
    setTimeout(() => {
      asked = performance.now();
      controller.abort(new Error('enough'));
    }, 15);
    await expect(building).rejects.toThrow('enough');
    expect(performance.now() - asked).toBeLessThan(50);
    expectSame(await pool.save(), before);
    expect(await pool.add(query)).toBe(3000);
    await expect(
      WorkerPool.from(rows, { dimensions, shared, signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({
      name: 'AbortError',
    });
  });

  it('rejects the calls of a worker that dies, replaces it, and keeps the index', async () => {
    const { pool, workers } = await openWithHandles(shared, rows);
    const index = indexOf(rows);
    let all = 0;
    for (const place of [0, 1]) {
      const started = workers.length;
      const asked = Array.from({ length: 8 }, () => pool.search(query, { k: 5 }));
      const building = pool.build({ cells: 9 });
      setTimeout(() => workers[place].terminate(), 5 * place);
      const results = await Promise.allSettled([...asked, building]);
      const failed = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
      for (const error of failed) expect(error).toMatchObject({ code: 'ERR_WORKER' });
      all += failed.length;
      // Without a memory in common a build is one thread's, and the end of another leaves it alone.
      if (results[results.length - 1].status === 'fulfilled') index.build({ cells: 9 });
      expect(workers.length).toBe(started + 1);
      expectSame(await pool.save(), index.save());
      expectSame(await pool.searchBatch(queries), index.searchBatch(queries));
    }
    expect(all).toBeGreaterThan(0);
  });

  it('passes on the errors of the index, with kind, code and the row of the whole batch', async () => {
    const pool = await open({ shared });
    const wrong = queries.slice();
    wrong[140 * dimensions + 3] = Number.NaN;
    await expect(pool.searchBatch(wrong)).rejects.toMatchObject({
      name: 'RangeError',
      code: 'ERR_NOT_FINITE',
      message: expect.stringContaining('row 140, column 3'),
    });
    await expect(pool.searchBatch(queries, { k: 0 })).rejects.toThrow('k: expected an integer from 1');
    await expect(pool.search(query.subarray(1))).rejects.toMatchObject({ code: 'ERR_LENGTH' });
    await expect(pool.search('near' as never)).rejects.toBeInstanceOf(TypeError);
    await expect(pool.add(queries.subarray(1))).rejects.toMatchObject({ code: 'ERR_LENGTH' });
    await expect(pool.remove(99_999)).rejects.toMatchObject({ code: 'ERR_ARGUMENT_RANGE' });
    await expect(pool.build({ cells: 0 })).rejects.toThrow('cells: expected');
    await expect(pool.search(query, { filter: 'even' } as never)).rejects.toMatchObject({
      name: 'TypeError',
      code: 'ERR_ARGUMENT_TYPE',
    });
    expect(await pool.add(query)).toBe(600);
  });

  it('searches with filters, by id and within a radius as an index does', async () => {
    const pool = await open({ shared, vectors: rows });
    const index = indexOf(rows);
    pool.remove([1, 2, 2999]);
    await pool.remove([11]);
    index.remove([1, 2, 2999, 11]);
    const even = (id: number): boolean => id % 2 === 0;
    const set = IdSet.where(2500, (id) => id % 3 === 1);
    for (const filter of [even, set, set.toBitmap()]) {
      expectSame(await pool.search(query, { filter }), index.search(query, { filter }));
      expectSame(
        await pool.searchBatch(queries, { filter, k: 4 }),
        index.searchBatch(queries, { filter, k: 4 }),
      );
      expectSame(
        await pool.searchRadiusBatch(queries, 2, { filter }),
        index.searchRadiusBatch(queries, 2, { filter }),
      );
    }
    expectSame(await pool.searchById(7, { k: 6 }), index.searchById(7, { k: 6 }));
    expectSame(await pool.searchRadius(query, 2.5), index.searchRadius(query, 2.5));
    const within = index.searchRadiusBatch(queries, 6, { exact: true });
    expect(within.ids.length).toBeGreaterThan(150);
    expectSame(await pool.searchRadiusBatch(queries, 6, { exact: true }), within);
    expectSame(await pool.evaluate(queries, { k: 5 }), index.evaluate(queries, { k: 5 }));
    await expect(pool.searchRadiusBatch(queries, -1)).rejects.toThrow('radius: expected');
  });

  it('joins as an index does, in the same order', async () => {
    const pool = await open({ shared, vectors: rows });
    const index = indexOf(rows);
    const copies = rows.slice(0, 40 * dimensions); // equal rows, for groups
    await pool.add(copies);
    index.add(copies);
    const other = VectorIndex.from(queries, { dimensions });
    const graph = { k: 4, pageRows: 700 };
    expectSame(await all(pool.neighborGraph(graph)), [...index.neighborGraph(graph)]);
    const pairs = [...index.selfJoin({ radius: 1.8 })];
    expect(pairs[0].a.length).toBeGreaterThan(100);
    const merged = await all(pool.selfJoin({ radius: 1.8 }));
    expectSame(merged, pairs);
    const small = await all(pool.selfJoin({ radius: 1.8, pageRows: 50 }));
    expect(small.length).toBeGreaterThan(1);
    expect(small.flatMap(({ a }) => [...a])).toEqual([...pairs[0].a]);
    for (const exact of [true, false]) {
      const groups = [...index.duplicates({ radius: 1.5, exact })];
      expect(groups[0].ids.length).toBeGreaterThan(80);
      expectSame(await all(pool.duplicates({ radius: 1.5, exact })), groups);
    }
    const nearest = { k: 3, pageRows: 40 };
    const expected = [...index.join(queries, nearest)];
    expectSame(await all(pool.join(queries, nearest)), expected);
    const pages = [queries.subarray(0, 70 * dimensions), queries.subarray(70 * dimensions)];
    expectSame(await all(pool.join(pages, nearest)), expected);
    expectSame(await all(pool.join(other, nearest)), [...index.join(other, nearest)]);
    const near = { radius: 2, pageRows: 60 };
    expectSame(await all(pool.join(queries, near)), [...index.join(queries, near)]);
  });

  it('ends a join by a change, a signal, an error and the end of the pool; leaves it with the loop', async () => {
    const pool = await open({ shared, vectors: rows });
    const options = { k: 4, pageRows: 100 };
    const seen = async (stream: AsyncIterable<unknown>, then: () => unknown): Promise<number> => {
      let pages = 0;
      for await (const _ of stream) if (++pages === 2) await then();
      return pages;
    };
    await expect(seen(pool.neighborGraph(options), () => pool.remove(3))).rejects.toMatchObject({
      code: 'ERR_CHANGED',
    });
    const controller = new AbortController();
    const { signal } = controller;
    const stop = (): void => controller.abort(new Error('enough'));
    await expect(seen(pool.neighborGraph({ ...options, signal }), stop)).rejects.toThrow('enough');
    expect(() => pool.neighborGraph({ k: 0 })).toThrow('k: expected');
    expect(() => pool.join(queries, {} as never)).toThrow('either k or radius');
    expect(() => pool.join(7 as never, { k: 1 })).toThrow('other: expected');
    const short = [queries.subarray(0, 20), queries.subarray(0, 21)];
    await expect(all(pool.join(short, { k: 1 }))).rejects.toMatchObject({ code: 'ERR_LENGTH' });
    const done: number[] = [];
    for await (const _ of pool.neighborGraph({
      ...options,
      onProgress: (p: Progress) => done.push(p.done),
    })) {
      if (done.length === 3) break;
    }
    expect(done).toEqual([100, 200, 300]);
    await expect(seen(pool.neighborGraph(options), () => pool.dispose())).rejects.toMatchObject({
      code: 'ERR_DISPOSED',
    });
  });

  it('refuses everything once it is disposed of', async () => {
    const pool = await open({ shared });
    const waiting = [pool.search(query), pool.add(few)];
    pool.dispose();
    pool.dispose();
    for (const call of waiting) await expect(call).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    await expect(pool.search(query)).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    await expect(pool.searchBatch(queries)).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    await expect(pool.build()).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
    expect(() => pool.size).toThrow('expected a live pool');
  });

  it('leaves out a change for which there is no room', async () => {
    const pool = await WorkerPool.from(few, { dimensions, threads: 2, shared, maxBytes: 600_000 });
    pools.push(pool);
    const before = await pool.search(query);
    const many = new Float32Array(20_000 * dimensions).fill(1);
    await expect(pool.add(many)).rejects.toMatchObject({ code: 'ERR_OUT_OF_MEMORY' });
    expectSame(await pool.search(query), before);
    expect(pool.size).toBe(600);
  });
});

describe('a team', () => {
  it('begins a job before the thread that leads does what it has to do alone, and takes parts after that', () => {
    const did: string[] = [];
    const team = new BuildTeam(1, ({ total }) => did.push(`told of ${total}`));
    const place = { memory: new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }) };
    const step: Progress = { phase: 'encode', done: 0, total: 6 };
    const part = (first: number, end: number): Progress => {
      did.push(`part from ${first} to ${end}`);
      return step;
    };
    function* before(): Generator<Progress> {
      did.push('before');
      yield step;
    }
    finish(
      team.share(place, { kind: 'encode', starts: 0, sizes: 0, loose: 0, places: 0 }, 6, part, before()),
    );
    expect(did).toEqual(['told of 6', 'before', 'part from 0 to 4', 'part from 4 to 6']);
  });
});

describe('WorkerPool', () => {
  it('refuses wrong numbers of threads', async () => {
    for (const threads of [0, 1.5, '2', 5000])
      await expect(WorkerPool.from(few, { dimensions, threads: threads as number })).rejects.toThrow(
        `threads: expected an integer from 1 to 1024, got ${threads}`,
      );
  });

  it('rejects, and ends, where the script of a worker cannot be loaded', async () => {
    const worker = (): Worker => new Worker(new URL('no-such-script.js', dist));
    await expect(WorkerPool.from(few, { dimensions, threads: 2, worker })).rejects.toMatchObject({
      code: 'ERR_WORKER',
    });
  });
});
