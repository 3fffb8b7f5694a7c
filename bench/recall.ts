/**
 * Whether tuning keeps its word: recall of held-out queries beside what the tuning predicted for them, and what was asked:
 *
 *     npm run bench:recall -- [words mnist gaussian million] [--json FILE]
 *
 * Where queries are unlike rows, once more for a tuning by other queries of their kind, as `tune({ queries })` is for.
 * Exits with 1 where a prediction is off by more than 0.015, or a target missed by more than 0.01. Of a million rows only
 * when it is named, or prepared already (bench/data.ts). Nothing here is timed but the build.
 */
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { VectorIndex } from '../src/vector-index.js';
import { otherQueries, readDataSet } from './data.js';
import { type Provenance, provenance, table, writeJson } from './record.js';

const SETS = ['words', 'mnist', 'gaussian', 'million'];
const TARGETS = [0.9, 0.95, 0.99];
/** How far a prediction may be off, and how far below its target a recall may be. */
const MOST_OFF = 0.015;
const MOST_BELOW = 0.01;

interface Line {
  /** What the tuning asked with. */
  source: 'rows' | 'other queries';
  k: number;
  target: number;
  /** Mean recall over the sample of the tuning. */
  predicted: number;
  /** Mean recall over the held-out queries. */
  real: number;
  /** Standard error of that mean. */
  error: number;
  passed: boolean;
}

interface RecallResult extends Provenance {
  data: string;
  n: number;
  d: number;
  queries: number;
  buildSeconds: number;
  recalls: Line[];
}

function measure(name: string): RecallResult {
  const { n, d, nq, metric, base, queries, truth } = readDataSet(name);
  const start = performance.now();
  const index = VectorIndex.from(base, { dimensions: d, metric });
  const buildSeconds = (performance.now() - start) / 1000;
  const width = truth.length / nq;
  const lines = (k: number, targets: number[], others?: Float32Array): Line[] => {
    // The same settings as those of the build, where k is 10: the sample depends on the seed and the rows alone.
    const settings = targets.flatMap((recall) => index.tune({ k, recall, queries: others }).settings);
    const firstK = new Int32Array(nq * k);
    for (let i = 0; i < nq; i++) firstK.set(truth.subarray(i * width, i * width + k), i * k);
    return settings.map(({ target, recall, met }) => {
      const found = index.searchBatch(queries, { k, recall: target });
      const recalls = Float64Array.from({ length: nq }, (_, i) => {
        const wanted = new Set(firstK.subarray(i * k, (i + 1) * k));
        let hits = 0;
        for (const id of found.ids.subarray(i * k, (i + 1) * k)) if (wanted.has(id)) hits++;
        return hits / k;
      });
      const real = mean(recalls);
      const squares = recalls.reduce((sum, value) => sum + (value - real) ** 2, 0);
      const predicted = met ? recall : 1; // not met: the search is exact
      return {
        source: others ? 'other queries' : 'rows',
        ...{ k, target, predicted, real, error: Math.sqrt(squares / nq / nq) },
        passed: Math.abs(predicted - real) <= MOST_OFF && real >= target - MOST_BELOW,
      };
    });
  };
  const recalls = [...lines(10, TARGETS), ...(name === 'words' ? lines(100, [0.99]) : [])];
  const others = otherQueries(name);
  if (others) recalls.push(...lines(10, TARGETS, others));
  return { ...provenance(), data: name, n, d, queries: nq, buildSeconds, recalls };
}

function mean(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function print({ data, n, d, queries, buildSeconds, recalls }: RecallResult): void {
  const rows = recalls.map(({ source, k, target, predicted, real, error, passed }) => [
    `recall@${k}, tuned by ${source}`,
    target.toFixed(2),
    predicted.toFixed(4),
    `${real.toFixed(4)} ± ${error.toFixed(4)}`,
    (predicted - real).toFixed(4),
    passed ? '' : 'missed',
  ]);
  console.log(`\n${data}: ${n} x ${d}, ${queries} held-out queries, built in ${buildSeconds.toFixed(2)} s`);
  console.log(table([['', 'asked', 'predicted', 'real', 'off by', ''], ...rows]));
}

const { values, positionals } = parseArgs({ options: { json: { type: 'string' } }, allowPositionals: true });
const results: RecallResult[] = [];
for (const name of positionals.length > 0 ? positionals : SETS) {
  if (positionals.length === 0 && !existsSync(new URL(`./.data/${name}.json`, import.meta.url))) {
    console.log(`${name}: not prepared (npx tsx bench/data.ts ${name}), left out`);
    continue;
  }
  const result = measure(name);
  print(result);
  results.push(result);
}
if (values.json !== undefined) writeJson(values.json, results);
if (results.some(({ recalls }) => recalls.some(({ passed }) => !passed))) process.exitCode = 1;
