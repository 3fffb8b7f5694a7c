import { afterEach, describe, expect, it } from 'vitest';
import type { WorkerPool as Pool } from '../src/workers/index.js';
import { clumpedRows } from './data.js';
import { all } from './joins.js';

// As it is shipped: a worker's script must be JavaScript.
const dist = new URL('../dist/workers/', import.meta.url);
const { IdSet, VectorIndex } = (await import(
  `${new URL('../index.js', dist)}`
)) as typeof import('../src/index.js');
const { WorkerPool } = (await import(`${dist}index.js`)) as typeof import('../src/workers/index.js');

const dimensions = 20;
const rows = clumpedRows(1200, dimensions, 40, 0.4, 1);
const queries = clumpedRows(150, dimensions, 40, 0.4, 5);
const pools: Pool[] = [];

afterEach(() => {
  for (const pool of pools.splice(0)) pool.dispose();
});

describe.each([true, false])('a pool (over one memory: %s)', (shared) => {
  it('joins the rows that pass a filter as an index does', async () => {
    const pool = await WorkerPool.from(rows, { dimensions, threads: 2, shared });
    pools.push(pool);
    const index = VectorIndex.from(rows, { dimensions });
    for (const filter of [(id: number) => id % 4 !== 1, IdSet.where(900, (id) => id % 2 === 0)]) {
      const graph = { k: 4, pageRows: 500, filter };
      const [shared, alone] = [await all(pool.neighborGraph(graph)), [...index.neighborGraph(graph)]].map(
        (pages) => ({
          rows: pages.flatMap((page) => [...page.rows]),
          ids: pages.flatMap((page) => [...page.ids]),
          counts: pages.flatMap((page) => [...page.counts]),
        }),
      );
      expect(shared).toEqual(alone);
      expect(alone.rows.length).toBeGreaterThan(400);
      expect(alone.rows.every((id) => (filter instanceof IdSet ? filter.has(id) : filter(id)))).toBe(true);
      const found = [...index.selfJoin({ radius: 1.8, filter })];
      expect(found[0].a.length).toBeGreaterThan(20);
      expect(await all(pool.selfJoin({ radius: 1.8, filter }))).toEqual(found);
      const groups = { radius: 1.8, filter, exact: true };
      expect(await all(pool.duplicates(groups))).toEqual([...index.duplicates(groups)]);
      const nearest = { k: 3, pageRows: 40, filter };
      expect(await all(pool.join(queries, nearest))).toEqual([...index.join(queries, nearest)]);
      const within = { radius: 2, pageRows: 60, filter };
      expect(await all(pool.join(queries, within))).toEqual([...index.join(queries, within)]);
    }
  });
});
