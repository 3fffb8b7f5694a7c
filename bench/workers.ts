/**
 * Builds and batches on several threads beside one thread, in turns, after `npm run build`:
 *
 *     npm run bench:workers -- [--rows N] [--dimensions N] [--threads N] [--rounds N] [--json FILE]
 *
 * By the clock, since threads are about that: it means something on a quiet machine only. The best round of each counts.
 */
import { parseArgs } from 'node:util';
import { clumpedRows } from '../test/data.js';
import { figure, provenance, table, writeJson } from './record.js';

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '200000' },
    dimensions: { type: 'string', default: '100' },
    threads: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '5' },
    json: { type: 'string' },
  },
});
const [rows, dimensions, threads, rounds] = [
  values.rows,
  values.dimensions,
  values.threads,
  values.rounds,
].map(Number);
const dist = new URL('../dist/', import.meta.url);
const { VectorIndex } = (await import(`${dist}index.js`)) as typeof import('../src/index.js');
const { WorkerPool } = (await import(`${dist}workers/index.js`)) as typeof import('../src/workers/index.js');

const QUERIES = 5000;
/** Builds of a pool: the first ones of a thread also compile its JavaScript. */
const BUILDS = 3;
const vectors = clumpedRows(rows, dimensions, 500, 0.5, 1);
const queries = clumpedRows(QUERIES, dimensions, 500, 0.5, 1);

const best = new Map<string, number>();
async function measure<T>(name: string, run: () => T | Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await run();
  best.set(name, Math.min(best.get(name) ?? Number.POSITIVE_INFINITY, performance.now() - start));
  return result;
}

for (let round = 0; round < rounds; round++) {
  const index = await measure('build, no threads', () => VectorIndex.from(vectors, { dimensions }));
  // The same index, and threads that have just begun: as the main one after its first build, they count once warm.
  const alone = await WorkerPool.load(index.save(), { threads: 1 });
  const pool = await WorkerPool.load(index.save(), { threads });
  const copies = await WorkerPool.load(index.save(), { threads, shared: false });
  for (let pass = 0; pass < BUILDS; pass++) {
    await measure('build, 1 thread', () => alone.build());
    await measure(`build, ${threads} threads`, () => pool.build());
  }
  for (let pass = 0; pass < 5; pass++) {
    const expected = await measure('batch, no threads', () => index.searchBatch(queries));
    await measure('batch, 1 thread', () => alone.searchBatch(queries));
    const found = await measure(`batch, ${threads} threads`, () => pool.searchBatch(queries));
    await measure(`batch, ${threads} threads with copies`, () => copies.searchBatch(queries));
    if (!expected.ids.every((id, i) => id === found.ids[i])) throw new Error('expected the same neighbors');
  }
  for (const each of [alone, pool, copies]) each.dispose();
}

const base = (name: string): number => best.get(`${name.split(',')[0]}, no threads`) as number;
const figures = [...best].map(([name, ms]) => ({ name, ms, speedup: base(name) / ms }));
console.log(
  table([
    [`${rows} rows × ${dimensions}, ${QUERIES} queries`, 'ms', 'times as fast'],
    ...figures.map(({ name, ms, speedup }) => [name, figure(ms), speedup.toFixed(2)]),
  ]),
);
if (values.json)
  writeJson(values.json, { ...provenance(), rows, dimensions, threads, queries: QUERIES, figures });
