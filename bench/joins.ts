/**
 * The k-NN graph of all rows, beside exact search for all rows in the same run:
 *
 *     npm run bench:joins -- [mnist words gaussian digits] [--recall 0.95] [--rows 2000 | --rows all] [--json FILE]
 *
 * `exactSearchBatch` looks for the neighbors of `--rows` evenly spaced rows, and its time is scaled to all rows. They are
 * its queries in one batch, as all would be, so a row costs the same; `--rows all` measures that instead of scaling. Recall is
 * measured on the same rows: the share of their true k nearest others that the graph has. Times are CPU seconds of one thread.
 */
import { parseArgs } from 'node:util';
import { exactSearchBatch, VectorIndex } from '../src/index.js';
import { prepareDataSets, readDataSet } from './data.js';
import { cpuMs, figure, type Provenance, provenance, runIfStarted, table, writeJson } from './record.js';

const K = 10;
const SETS = ['mnist', 'words', 'gaussian', 'digits', 'million'];

/** What one data set gave. */
export interface JoinResult extends Provenance {
  join: 'neighborGraph';
  data: string;
  n: number;
  d: number;
  metric: string;
  k: number;
  /** Recall that was asked for, and what was found of it on `exactRows` rows. */
  target: number;
  recall: number;
  buildSeconds: number;
  graphSeconds: number;
  exactRows: number;
  /** For these rows, and scaled to all. */
  exactSampleSeconds: number;
  exactSeconds: number;
  /** Exact search takes so many times as long as the graph, and as building the index and the graph. */
  ratio: number;
  ratioWithBuild: number;
}

function measure(data: string, target: number, wanted: number): Omit<JoinResult, keyof Provenance> {
  const { base, n, d, metric } = readDataSet(data);
  const graph = new Uint32Array(n * K);
  const start = cpuMs();
  const index = VectorIndex.from(base, { dimensions: d, metric });
  const built = cpuMs();
  for (const { rows, ids } of index.neighborGraph({ k: K, recall: target })) {
    for (let i = 0; i < rows.length; i++) graph.set(ids.subarray(i * K, (i + 1) * K), rows[i] * K);
  }
  const joined = cpuMs();
  index.dispose();

  const exactRows = Math.min(n, wanted);
  const sample = Uint32Array.from({ length: exactRows }, (_, i) => Math.floor((i * n) / exactRows));
  const queries = new Float32Array(exactRows * d);
  sample.forEach((row, i) => {
    queries.set(base.subarray(row * d, (row + 1) * d), i * d);
  });
  const begin = cpuMs();
  // One more, since each row finds itself.
  const truth = exactSearchBatch(base, queries, { dimensions: d, k: K + 1, metric });
  const exactSampleSeconds = (cpuMs() - begin) / 1000;
  let hits = 0;
  sample.forEach((row, i) => {
    const others = truth.ids.subarray(i * (K + 1), (i + 1) * (K + 1)).filter((id) => id !== row);
    const found = new Set(graph.subarray(row * K, (row + 1) * K));
    for (const id of others.subarray(0, K)) if (found.has(id)) hits++;
  });
  const exactSeconds = (exactSampleSeconds * n) / exactRows;
  const buildSeconds = (built - start) / 1000;
  const graphSeconds = (joined - built) / 1000;
  return {
    join: 'neighborGraph',
    data,
    n,
    d,
    metric,
    k: K,
    target,
    recall: hits / exactRows / K,
    buildSeconds,
    graphSeconds,
    exactRows,
    exactSampleSeconds,
    exactSeconds,
    ratio: exactSeconds / graphSeconds,
    ratioWithBuild: exactSeconds / (buildSeconds + graphSeconds),
  };
}

function main(argv: string[]): void {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: {
      recall: { type: 'string', default: '0.95' },
      rows: { type: 'string', default: '2000' },
      json: { type: 'string' },
    },
  });
  const sets = prepareDataSets('data set', positionals.length > 0 ? positionals : ['mnist'], SETS);
  const rows = values.rows === 'all' ? Number.POSITIVE_INFINITY : Number(values.rows);
  if (!(rows >= 1)) throw new RangeError(`--rows: expected a number from 1 or all, got ${values.rows}`);
  const target = Number(values.recall);
  if (!(target > 0 && target <= 1))
    throw new RangeError(`--recall: expected a number above 0 and up to 1, got ${values.recall}`);
  const about = provenance();
  console.log(`${about.machine}, Node ${about.node}, commit ${about.commit}, ${about.date}`);
  console.log(`${K} nearest others of every row; CPU seconds of one thread\n`);
  const results: JoinResult[] = [];
  for (const set of sets) {
    const result = { ...about, ...measure(set, target, rows) };
    results.push(result);
    const scaled = result.exactRows < result.n ? `scaled from ${figure(result.exactRows)} rows` : 'all rows';
    console.log(
      table([
        [`${set}, ${figure(result.n)} × ${result.d}`, 'seconds', 'recall'],
        ['build', figure(result.buildSeconds), ''],
        ['neighborGraph', figure(result.graphSeconds), result.recall.toFixed(4)],
        [`exactSearchBatch (${scaled})`, figure(result.exactSeconds), '1'],
        ['ratio', `${figure(result.ratio)}x`, ''],
        ['ratio, build included', `${figure(result.ratioWithBuild)}x`, ''],
      ]),
    );
    console.log();
    if (values.json !== undefined) writeJson(values.json, results);
  }
}

await runIfStarted(import.meta.url, main);
