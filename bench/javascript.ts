/**
 * `orthant/js` beside `orthant`: what it costs to do without WebAssembly.
 *
 *     npm run build && npm run bench:js -- [--json FILE]
 *
 * 10,000 random rows of 100 dimensions, the 10 nearest of 100 queries. Both give the same answers bit for bit, so the same
 * recall, which is checked here too. Times are CPU milliseconds of one thread, the least of several rounds; the two take
 * turns. Exact search is also that of careful JavaScript over typed arrays (pure-javascript.ts).
 */
import { parseArgs } from 'node:util';
import * as orthant from '../src/index.js';
import { JavaScriptExact, Nearest } from './pure-javascript.js';
import { cpuMs, figure, type Provenance, provenance, table, writeJson } from './record.js';

const N = 10_000;
const D = 100;
const K = 10;
const QUERIES = 100;
const ROUNDS = 5;

/** Milliseconds: a query, or the whole of `from`. */
export interface JavaScriptResult extends Provenance {
  task: string;
  n: number;
  d: number;
  k: number;
  wasm: number;
  js: number;
  pureJavaScript: number | null;
  /** js / wasm */
  ratio: number;
}

const path = new URL('../dist/js/index.js', import.meta.url).href;
const inJavaScript = (await import(path)) as typeof orthant;
const random = new orthant.RandomGenerator(1);
const next = (): number => random.uniform() - 0.5;
const rows = Float32Array.from({ length: N * D }, next);
const queries = Array.from({ length: QUERIES }, () => Float32Array.from({ length: D }, next));

/** The least time of each contestant, in milliseconds a call. */
function race(calls: number, contestants: (() => void)[]): number[] {
  const least = contestants.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < ROUNDS; round++) {
    contestants.forEach((run, i) => {
      const start = cpuMs();
      run();
      least[i] = Math.min(least[i], (cpuMs() - start) / calls);
    });
  }
  return least;
}

function expectSame(a: orthant.Neighbors, b: orthant.Neighbors): void {
  if (Buffer.compare(Buffer.from(a.ids.buffer), Buffer.from(b.ids.buffer)) !== 0) {
    throw new Error(`expected the same neighbors, got ${a.ids} and ${b.ids}`);
  }
}

const doors = [orthant, inJavaScript];
const tasks: [string, number[]][] = [];

const build = doors.map((door) => () => door.VectorIndex.from(rows, { dimensions: D }).dispose());
tasks.push(['VectorIndex.from', race(1, build)]);

const [index, twin] = doors.map((door) => door.VectorIndex.from(rows, { dimensions: D }));
for (const query of queries) expectSame(index.search(query, { k: K }), twin.search(query, { k: K }));
const searches = [index, twin].map((one) => () => {
  for (const query of queries) one.search(query, { k: K });
});
tasks.push(['VectorIndex.search', race(QUERIES, searches)]);

const batch = new Float32Array(QUERIES * D);
queries.forEach((query, i) => {
  batch.set(query, i * D);
});
const pure = new JavaScriptExact(rows, D);
const nearest = new Nearest(K);
const exact = [
  ...[index, twin].map((one) => () => {
    for (const query of queries) one.search(query, { k: K, exact: true });
  }),
  () => {
    for (const query of queries) pure.search(query, nearest);
  },
];
tasks.push(['exact search', race(QUERIES, exact)]);
const batches = doors.map((door) => () => {
  door.exactSearchBatch(rows, batch, { dimensions: D, k: K });
});
tasks.push(['exactSearchBatch', race(QUERIES, batches)]);

const about = provenance();
const results: JavaScriptResult[] = tasks.map(([task, [wasm, js, pureJavaScript = null]]) => ({
  ...about,
  ...{ task, n: N, d: D, k: K, wasm, js, pureJavaScript, ratio: js / wasm },
}));
console.log(
  table([
    ['ms', 'orthant', 'orthant/js', 'pure JS', 'ratio'],
    ...results.map(({ task, wasm, js, pureJavaScript, ratio }) => [
      task,
      figure(wasm),
      figure(js),
      pureJavaScript === null ? '' : figure(pureJavaScript),
      figure(ratio),
    ]),
  ]),
);
const { json } = parseArgs({ options: { json: { type: 'string' } } }).values;
if (json) writeJson(json, results);
