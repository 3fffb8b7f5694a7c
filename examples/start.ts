/**
 * The main job, `npm start`: index vectors in hash tables, search them, and tell what it found, how good and how fast.
 *
 *     npm start                                      the bundled handwritten digits
 *     npm start -- base.npy queries.npy -k 10        your own .npy or .fvecs files
 */
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { classify, exactSearch, exactSearchBatch, HyperplaneLsh, type Neighbors } from 'orthant';
import { FileFormatError, readLabels, readVectors } from 'orthant/node';
import { JavaScriptExact, JavaScriptLsh, Nearest } from '../bench/pure-javascript.js';
import { type Answer, printAnswers, printIndex, printQuality, printSpeed } from './start-print.js';

const usage = 'usage: npm start -- [base.npy queries.npy] [-k NEIGHBORS]';
/** Queries of one run; of a longer file the first. */
const queryLimit = 1000;
/** Queries whose neighbors are printed. */
const shown = 3;

interface Job {
  name: string;
  /** n × dimensions */
  base: Float32Array;
  /** queries × dimensions */
  queries: Float32Array;
  dimensions: number;
  /** Number of the first query within its file. */
  firstQuery: number;
  /** Labels of the rows and of the queries. */
  labels?: { rows: Float64Array; queries: Float64Array };
  tables: number;
  hash: { bits: number } | { bucketSize: number };
}

/**
 * Rows 0 to 1,499 of the digits are indexed, the rest are queries.
 *
 * Pixels are never negative, so all digits lie within a narrow cone and a hyperplane through the origin parts few of them:
 * buckets are far fuller than rows / 2^bits. Hence twice the bits of the notebooks' rule, and few tables, because beyond
 * these a hyperplane costs more than the rows that it spares. Measured for this split (Node 20, one core):
 *
 *     tables × bits                 24 × 6   24 × 10   16 × 12   20 × 12   24 × 14   32 × 16   48 × 18
 *     recall@10                      1.000      .996      .964      .983      .973      .963      .972
 *     rows examined                   99 %      69 %      36 %      45 %      35 %      28 %      23 %
 *     microseconds a query            15.8      10.6       6.8       8.0       8.6       9.2      11.5
 */
function digitsJob(): Job {
  const indexed = 1500;
  const { vectors, dimensions } = readVectors(bundled('digits.npy'));
  const labels = readLabels(bundled('digits-labels.npy'));
  return {
    name: '8 × 8 handwritten digits',
    base: vectors.subarray(0, indexed * dimensions),
    queries: vectors.subarray(indexed * dimensions),
    dimensions,
    firstQuery: indexed,
    labels: { rows: labels.subarray(0, indexed), queries: labels.subarray(indexed) },
    tables: 16,
    hash: { bits: 12 },
  };
}

/** The notebooks' rule for any rows: 24 tables with buckets of about 16 rows. */
function filesJob(basePath: string, queriesPath: string): Job {
  const base = readVectors(basePath);
  const queries = readVectors(queriesPath);
  const { dimensions } = base;
  if (queries.dimensions !== dimensions) {
    const expected = `${dimensions} dimensions as in ${basePath}`;
    throw new FileFormatError('ERR_FILE_DIMENSIONS', queriesPath, expected, `${queries.dimensions}`);
  }
  return {
    name: basename(basePath),
    base: base.vectors,
    queries: queries.vectors.subarray(0, queryLimit * dimensions),
    dimensions,
    firstQuery: 0,
    tables: 24,
    hash: { bucketSize: 16 },
  };
}

function bundled(name: string): string {
  return fileURLToPath(new URL(`./data/${name}`, import.meta.url));
}

function run(job: Job, wanted: number): void {
  const { base, dimensions, tables, labels } = job;
  const rows = base.length / dimensions;
  const k = Math.min(wanted, rows);
  const queries = Array.from({ length: job.queries.length / dimensions }, (_, i) =>
    job.queries.subarray(i * dimensions, (i + 1) * dimensions),
  );

  const started = performance.now();
  const lsh = new HyperplaneLsh({ dimensions, tables, ...job.hash, seed: 0 });
  lsh.add(base);
  const buildMs = performance.now() - started;
  printIndex({ ...job, rows, bits: lsh.bits, queryCount: queries.length, buildMs });

  const truth = exactSearchBatch(base, job.queries, { dimensions, k });
  const answers = queries.map((query, i): Answer => {
    const end = i * k + truth.counts[i];
    const exact = { ids: truth.ids.subarray(i * k, end), distances: truth.distances.subarray(i * k, end) };
    const neighbors = lsh.search(query, { k });
    return {
      number: job.firstQuery + i,
      neighbors,
      candidates: lsh.candidates(query).length,
      recall: recall(neighbors, exact),
      vote: labels && {
        label: labels.queries[i],
        found: classify(neighbors, labels.rows),
        exact: classify(exact, labels.rows),
      },
    };
  });
  printAnswers(answers.slice(0, shown), labels?.rows);
  printQuality(answers, rows, k);

  const exact = new JavaScriptExact(base, dimensions);
  const javaScriptLsh = new JavaScriptLsh(base, dimensions, lsh.hyperplanes, tables, lsh.bits);
  const nearest = new Nearest(k);
  printSpeed([
    {
      name: 'exactSearch',
      wasm: queriesPerSecond(queries, (query) => exactSearch(base, query, { k })),
      javaScript: queriesPerSecond(queries, (query) => exact.search(query, nearest)),
    },
    {
      name: 'HyperplaneLsh.search',
      wasm: queriesPerSecond(queries, (query) => lsh.search(query, { k })),
      javaScript: queriesPerSecond(queries, (query) => javaScriptLsh.search(query, nearest)),
    },
  ]);
  lsh.dispose();
}

/** Share of the true neighbors that were found. */
function recall(neighbors: Neighbors, truth: Neighbors): number {
  const found = new Set(neighbors.ids);
  return truth.ids.filter((id) => found.has(id)).length / truth.ids.length;
}

/** Median of five rounds after one to warm up, each of at least 60 ms. */
function queriesPerSecond(queries: Float32Array[], search: (query: Float32Array) => unknown): number {
  const rounds: number[] = [];
  let next = 0;
  for (let round = 0; round < 6; round++) {
    const started = performance.now();
    let done = 0;
    let ms = 0;
    do {
      search(queries[next]);
      next = (next + 1) % queries.length;
      done++;
      ms = performance.now() - started;
    } while (ms < 60);
    rounds.push((done / ms) * 1000);
  }
  return rounds.slice(1).sort((a, b) => a - b)[2];
}

function main(args: string[]): number {
  let job: () => Job;
  let k: number;
  try {
    const options = { k: { type: 'string', short: 'k', default: '10' } } as const;
    const { values, positionals } = parseArgs({ args, options, strict: true, allowPositionals: true });
    k = Number(values.k);
    if (!Number.isInteger(k) || k < 1)
      throw new RangeError(`-k: expected an integer of at least 1, got ${values.k}`);
    if (positionals.length !== 0 && positionals.length !== 2) {
      throw new RangeError(`files: expected base and queries or none, got ${positionals.length}`);
    }
    const [base, queries] = positionals;
    job = base === undefined ? digitsJob : () => filesJob(base, queries);
  } catch (error) {
    console.error(`${(error as Error).message.split('\n')[0]}\n${usage}`);
    return 2;
  }
  try {
    run(job(), k);
    return 0;
  } catch (error) {
    // Every error about the user's files or numbers has a code; anything else is a fault of ours, with its stack.
    if (!(error instanceof Error) || !('code' in error)) throw error;
    console.error(error.message);
    return 1;
  }
}

// A reader that has seen enough, such as `head`, is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
const args = process.argv.slice(2);
process.exitCode = main(args[0] === '--' ? args.slice(1) : args);
