/**
 * The command `orthant join` beside a WorkerPool of the library, in turns, after `npm run build`:
 *
 *     npm run bench:cli -- [mnist words digits gaussian] [--left 20000] [--threads N] [--rounds N] [--json FILE]
 *
 * The left file is `--left` evenly spaced rows of the set, moved a little; the right one is an index of all of them. A round
 * is one batch of a fresh pool and one run of the command, both of which get the same left rows and a loaded index. The
 * command's time begins with its first page and ends when its file of lines is in place; `whole` is all of the process, with
 * its start and the loading of the index. By the clock, since threads are about that; the best round of each counts. Recall is
 * measured on 500 rows of what the command wrote.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readDataSet } from './data.js';
import { figure, provenance, table, writeJson } from './record.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    left: { type: 'string', default: '20000' },
    threads: { type: 'string', default: String(os.availableParallelism()) },
    rounds: { type: 'string', default: '5' },
    json: { type: 'string' },
  },
});
const dist = new URL('../dist/', import.meta.url);
const { exactSearchBatch, RandomGenerator } = (await import(
  `${dist}index.js`
)) as typeof import('../src/index.js');
const { createVectors } = (await import(`${dist}node/index.js`)) as typeof import('../src/node/index.js');
const { WorkerPool } = (await import(`${dist}workers/index.js`)) as typeof import('../src/workers/index.js');

const K = 10;
const RECALL = 0.95;
const CHECKED_ROWS = 500;
/** How far left rows are moved, as a share of a coordinate's mean size. */
const NOISE = 0.1;
const [wanted, threads, rounds] = [values.left, values.threads, values.rounds].map(Number);
const main = fileURLToPath(new URL('cli/main.js', dist));
const folder = mkdtempSync(path.join(os.tmpdir(), 'orthant-bench-'));
const file = (name: string): string => path.join(folder, name);
const orthant = (...args: string[]): string =>
  execFileSync(process.execPath, [main, ...args, '-q'], { encoding: 'utf8' });

async function save(name: string, vectors: Float32Array, dimensions: number): Promise<void> {
  const writer = await createVectors(file(name), { dimensions, rows: vectors.length / dimensions });
  await writer.write({ vectors, rows: vectors.length / dimensions });
  await writer.finish();
}

function leftRows(base: Float32Array, n: number, d: number): Float32Array {
  const rows = new Float32Array(Math.min(n, wanted) * d);
  new RandomGenerator(1).normals(rows);
  const size = base.reduce((sum, value) => sum + Math.abs(value), 0) / base.length;
  for (let i = 0; i < rows.length; i++) {
    const row = Math.floor((Math.floor(i / d) * n * d) / rows.length);
    rows[i] = base[row * d + (i % d)] + NOISE * size * rows[i];
  }
  return rows;
}

/** Share of the true neighbors among the written lines. */
function recallOf(text: string, base: Float32Array, left: Float32Array, d: number, metric: string): number {
  const count = left.length / d;
  const checked = Math.min(count, CHECKED_ROWS);
  const sample = Array.from({ length: checked }, (_, i) => Math.floor((i * count) / checked));
  const queries = new Float32Array(checked * d);
  sample.forEach((row, i) => {
    queries.set(left.subarray(row * d, (row + 1) * d), i * d);
  });
  const { ids } = exactSearchBatch(base, queries, { dimensions: d, k: K, metric: metric as 'euclidean' });
  const found = new Set(text.split('\n').map((line) => line.slice(0, line.lastIndexOf('\t'))));
  let hits = 0;
  ids.forEach((id, at) => {
    if (found.has(`${sample[Math.floor(at / K)]}\t${id}`)) hits++;
  });
  return hits / ids.length;
}

const results = [];
try {
  for (const data of positionals.length > 0 ? positionals : ['mnist']) {
    const { base, n, d, metric } = readDataSet(data);
    const left = leftRows(base, n, d);
    const rows = left.length / d;
    await save('left.npy', left, d);
    await save('right.npy', base, d);
    orthant('build', file('right.npy'), '-o', file('right.orthant'), '--metric', metric);
    const snapshot = readFileSync(file('right.orthant'));
    const best = { poolMs: Infinity, joinMs: Infinity, wholeMs: Infinity };
    for (let round = 0; round < rounds; round++) {
      const pool = await WorkerPool.load(snapshot, { threads });
      const begin = performance.now();
      await pool.searchBatch(left, { k: K, recall: RECALL });
      best.poolMs = Math.min(best.poolMs, performance.now() - begin);
      pool.dispose();
      const start = performance.now();
      const args = ['-k', String(K), '--recall', String(RECALL), '--threads', String(threads), '--json'];
      const told = orthant('join', file('left.npy'), file('right.orthant'), '-o', file('out.tsv'), ...args);
      best.wholeMs = Math.min(best.wholeMs, performance.now() - start);
      best.joinMs = Math.min(best.joinMs, JSON.parse(told).joinMs);
    }
    const recall = recallOf(readFileSync(file('out.tsv'), 'utf8'), base, left, d, metric);
    const rate = (ms: number): number => (1000 * rows) / ms;
    const result = {
      ...provenance(),
      ...{ data, n, d, metric, k: K, target: RECALL, recall, rows, threads, rounds },
      poolPerSecond: rate(best.poolMs),
      joinPerSecond: rate(best.joinMs),
      ratio: best.poolMs / best.joinMs,
      wholeSeconds: best.wholeMs / 1000,
    };
    results.push(result);
    console.log(
      table([
        [`${data}: ${figure(rows)} rows with ${figure(n)} × ${d}, ${threads} threads`, 'rows/s', 'seconds'],
        ['WorkerPool.searchBatch', figure(result.poolPerSecond), figure(best.poolMs / 1000)],
        ['orthant join, search and file', figure(result.joinPerSecond), figure(best.joinMs / 1000)],
        ['orthant join, whole', figure(rate(best.wholeMs)), figure(best.wholeMs / 1000)],
      ]),
    );
    console.log(`recall@${K} ${recall.toFixed(4)}; ${result.ratio.toFixed(3)} of the pool's throughput\n`);
    if (values.json !== undefined) writeJson(values.json, results);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
