import { afterEach, describe, expect, it } from 'vitest';
import type { VectorIndex as Index } from '../src/index.js';
import type { WorkerPool as Pool } from '../src/workers/index.js';
import { clumpedRows, rowAt } from './data.js';
import { all } from './joins.js';

// As it is shipped: a worker's script must be JavaScript.
const dist = new URL('../dist/', import.meta.url);
const { VectorIndex } = (await import(`${new URL('index.js', dist)}`)) as typeof import('../src/index.js');
const { WorkerPool } = (await import(
  `${new URL('workers/index.js', dist)}`
)) as typeof import('../src/workers/index.js');

const dimensions = 16;
const ROWS = 300;
const rows = clumpedRows(ROWS, dimensions, 12, 0.4, 1);
const more = clumpedRows(40, dimensions, 12, 0.4, 2);
const queries = clumpedRows(50, dimensions, 12, 0.4, 3);
const query = rowAt(queries, 0, dimensions);
const names = Array.from({ length: ROWS }, (_, i) => `é${i * 7}`);
const newNames = Array.from({ length: 40 }, (_, i) => `new ${i}`);

const pools: { dispose(): void }[] = [];
afterEach(() => {
  for (const pool of pools.splice(0)) pool.dispose();
});

async function open(shared: boolean): Promise<{ pool: Pool<'string'>; index: Index<'string'> }> {
  const pool = await WorkerPool.from(rows, { dimensions, ids: names, threads: 2, shared });
  pools.push(pool);
  return { pool, index: VectorIndex.from(rows, { dimensions, ids: names }) };
}

/** What a call gives, or how it fails. */
async function outcome(call: () => unknown): Promise<unknown> {
  try {
    return await call();
  } catch (error) {
    const { name, message, code } = error as Error & { code: string };
    return { name, message, code };
  }
}

type Either = Pool<'string'> & Index<'string'>;

describe.each([true, false])('a pool whose rows have ids of the user (over one memory: %s)', (shared) => {
  it('gives what an index with these ids gives, in every answer', async () => {
    const { pool, index } = await open(shared);
    expect([pool.idKind, index.idKind]).toEqual(['string', 'string']);
    const odd = (id: string): boolean => id.length % 2 === 1;
    const calls: ((on: Either) => unknown)[] = [
      (on) => on.search(query, { k: 5 }),
      (on) => on.search(query, { k: 5, exact: true, filter: odd }),
      (on) => on.searchById(names[9], { k: 4 }),
      (on) => on.searchRadius(query, 2),
      (on) => on.searchRadiusBatch(queries, 1.5),
      (on) => on.searchBatch(queries, { k: 6 }),
      (on) => on.searchBatch(queries, { k: 6, filter: odd }),
      (on) => on.vector(names[3]),
      (on) => on.get(names[3]),
      (on) => on.get('nobody'),
      (on) => on.has(names[299]),
      (on) => on.has('nobody'),
      (on) => on.rowOf(names[77]),
      (on) => on.rowOf('nobody'),
      (on) => on.idOf(12),
      (on) => on.idOf(ROWS),
      (on) => on.evaluate(queries, { k: 3, filter: odd }),
      // And the errors of an index, word for word.
      (on) => on.has(7 as never),
      (on) => on.vector('nobody'),
      (on) => on.searchById('\ud800'),
      (on) => on.searchById(0 as never),
    ];
    for (const call of calls) {
      const expected = await outcome(() => call(index as Either));
      expect(await outcome(() => call(pool as Either)), String(call)).toEqual(expected);
    }
    const { userIds, row } = await pool.explain(query, { k: 2, id: names[5] });
    expect(row).toMatchObject({ id: 5, userId: names[5] });
    expect(userIds).toEqual(index.search(query, { k: 2 }).userIds);
    expect(Buffer.compare(await pool.save(), index.save())).toBe(0);
  });

  it('changes as an index does, refuses what it refuses, and saves the same bytes', async () => {
    const { pool, index } = await open(shared);
    const some = rowAt(more, 1, dimensions);
    const changes: ((on: Either) => unknown)[] = [
      (on) => on.add(more, newNames),
      (on) => on.add(some, [newNames[0]]),
      (on) => on.add(more.subarray(0, 2 * dimensions), ['twice', 'twice']),
      (on) => on.add(some),
      (on) => on.add(some, ['a', 'b']),
      (on) => on.add(some.subarray(1), ['a']),
      (on) => on.remove([names[3], names[17], names[3], 'nobody']),
      (on) => on.remove(names[20]),
      (on) => on.remove([1, 2] as never),
      (on) => on.delete(names[4]),
      (on) => on.delete(names[4]),
      (on) => on.set('fresh', some),
      (on) => on.set(names[8], some),
      (on) => on.set(names[8], some.subarray(1)),
      (on) => on.update(names[9], some),
      (on) => on.update('nobody', some),
      (on) => on.setMany([names[30], 'late', names[4]], more.subarray(0, 3 * dimensions)),
      (on) => on.setMany(['same', 'same'], more.subarray(0, 2 * dimensions)),
      (on) => on.setMany(['x', names[31]], more.slice(0, 2 * dimensions).fill(Number.NaN, dimensions + 2)),
      (on) => on.add(some, [names[3]]),
    ];
    // All at once: each sees what those before it made.
    const found = await Promise.all(changes.map((change) => outcome(() => change(pool as Either))));
    for (const [i, change] of changes.entries())
      expect(found[i], String(change)).toEqual(await outcome(() => change(index as Either)));
    await pool.build({ cells: 6 });
    index.build({ cells: 6 });
    expect(pool.size).toBe(index.size);
    expect(await pool.searchBatch(queries, { k: 9 })).toEqual(index.searchBatch(queries, { k: 9 }));
    const bytes = await pool.save();
    expect(Buffer.compare(bytes, index.save())).toBe(0);
    const again = await WorkerPool.load<'string'>(bytes, { threads: 2, shared });
    pools.push(again);
    expect(again.idKind).toBe('string');
    expect((await again.search(query, { k: 9 })).userIds).toEqual(index.search(query, { k: 9 }).userIds);
    expect(await again.remove('fresh')).toBe(1);
    expect(await again.has('fresh')).toBe(false);
    expect(again.size).toBe(index.size - 1);
  });

  it("names the rows of a join's pages, as an index does", async () => {
    const { pool, index } = await open(shared);
    const pages = await all(pool.neighborGraph({ k: 3 }));
    expect(pages).toEqual([...index.neighborGraph({ k: 3 })]);
    const near = await all(pool.join(queries, { k: 2 }));
    expect(near).toEqual([...index.join(queries, { k: 2 })]);
    const radius = index.search(query, { k: 5 }).distances[4];
    for (const verb of ['selfJoin', 'duplicates'] as const) {
      const found = await all<{ a: Uint32Array } | { ids: Uint32Array }>(pool[verb]({ radius }));
      expect(found.flatMap((page) => ('a' in page ? [...page.a] : [...page.ids])).length).toBeGreaterThan(1);
      expect(found).toEqual([...index[verb]({ radius })]);
    }
    const other = VectorIndex.from(queries, {
      dimensions,
      ids: Array.from({ length: 50 }, (_, i) => `q${i}`),
    });
    const both = await all(pool.join(other, { k: 2 }));
    expect(both).toEqual([...index.join(other, { k: 2 })]);
    expect(both[0].rowUserIds[0]).toMatch(/^q/);
  });

  it.each([
    ['bigint', BigInt64Array.from({ length: ROWS }, (_, i) => BigInt(i) - 150n)],
    ['number', Float64Array.from({ length: ROWS }, (_, i) => i / 4)],
  ] as const)('takes ids that are each a %s', async (kind, ids) => {
    const pool = await WorkerPool.from(rows, { dimensions, ids, threads: 2, shared });
    pools.push(pool);
    const index = VectorIndex.from(rows, { dimensions, ids });
    expect(pool.idKind).toBe(kind);
    const found = await pool.search(query, { k: 7 });
    expect(found).toEqual(index.search(query, { k: 7 }));
    expect(await pool.rowOf(ids[42] as never)).toBe(42);
    expect(Buffer.compare(await pool.save(), index.save())).toBe(0);
  });

  it('names rows that were removed while they were searched for', async () => {
    const { pool } = await open(shared);
    const asked = Array.from({ length: 30 }, () => pool.search(query, { k: 20, exact: true }));
    const first = await asked[0];
    const removed = pool.remove(first.userIds);
    const during = Array.from({ length: 30 }, () => pool.search(query, { k: 20, exact: true }));
    await removed;
    for (const { ids, userIds } of await Promise.all([...asked, ...during]))
      expect(userIds).toEqual(Array.from(ids, (row) => names[row]));
    const { userIds } = await pool.search(query, { k: 20, exact: true });
    expect(userIds.some((id) => first.userIds.includes(id))).toBe(false);
  });

  it('refuses ids that an index refuses, before it builds', async () => {
    for (const ids of [['a', 'a'], names.slice(1), [1, 'a'], 'words', 'string'] as never[]) {
      const expected = await outcome(() => VectorIndex.from(rows, { dimensions, ids }));
      expect(expected).toHaveProperty('code');
      expect(await outcome(() => WorkerPool.from(rows, { dimensions, ids, threads: 1, shared }))).toEqual(
        expected,
      );
    }
    const none = await WorkerPool.from(new Float32Array(0), {
      dimensions,
      ids: 'string',
      threads: 1,
      shared,
    });
    pools.push(none);
    expect(await none.set('first', query)).toBe(0);
    expect((await none.search(query)).userIds).toEqual(['first']);
  });
});
