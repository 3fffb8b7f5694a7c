import { exactSearchBatch, type Metric, RandomGenerator, VectorIndex } from '../index.js';
import { formatOf, type VectorSource } from '../node/index.js';
import { type Answers, merged, noAnswers, packed } from './answers.js';
import { buildWithMeter, type Common, firstRows, metricOption } from './build.js';
import { checkSame, type InputOptions, inputOptions, metricOf, openInput } from './inputs.js';
import type { Command } from './packages.js';
import { checkPlot, type Point, plot } from './plot.js';
import { PureJavaScript } from './pure-javascript.js';
import {
  count,
  integer,
  Meter,
  number,
  print,
  say,
  shortBytes,
  shortTime,
  table,
  UsageError,
} from './terminal.js';

/** What is measured. Of the base only the index that is built is in memory, and a page. */
interface Task {
  name: string;
  /** All rows, once. */
  pages: AsyncIterable<Float32Array>;
  /** How many they are, where that is known before they were read. */
  rows?: number;
  queries: Float32Array;
  dimensions: number;
  metric: Metric;
  k: number;
  /** True neighbors' ids, `truthWidth` a query; without them exact search finds them. */
  truth?: { ids: Float64Array; width: number };
}

/** A line of the table. */
interface Measured {
  method: string;
  target: number | null;
  recall: number;
  qps: number;
  buildMs: number;
  /** Of the rows and all that is needed to search them. */
  bytes: number;
}

const TABLE_RECALLS: readonly number[] = [0.9, 0.95, 0.99];
const CURVE_RECALLS: readonly number[] = [0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995];
/** Floats of a page of vectors that were made. */
const PAGE_FLOATS = 2 ** 20;

/** What both commands may be told about measuring. */
interface MeasureFlags extends Common {
  recall?: number;
  /** For how long each method is asked, at least one query. */
  seconds: number;
  plot?: string;
}

interface EvaluateFlags extends MeasureFlags, InputOptions {
  k: number;
  queries: number;
  metric?: Metric;
  truth?: string;
}

export function defineEval(program: Command): void {
  const command = program
    .command('eval')
    .summary('how good and how fast an index of your vectors would be')
    .description(
      'Builds an index of the base vectors, tunes it, and measures recall, queries per second and memory on the queries, ' +
        'beside exact search and pure JavaScript, all on one thread. An .hdf5 file of the ann-benchmarks has base, queries and ' +
        'true neighbors in one: give it alone.',
    )
    .argument('<base>', 'a file of vectors; their index must fit into memory')
    .argument('[queries]', 'a file of queries that are no rows of the base')
    .option('-k <k>', 'neighbors a query', integer(1, 65536), 10)
    .option('--recall <recall>', 'a recall to measure at; default 0.9, 0.95 and 0.99', number(0, 1))
    .option('--seconds <seconds>', 'how long each method is measured', number(0.01, 3600), 1)
    .option('--queries <queries>', 'queries that are used at most', integer(1), 1000)
    .addOption(metricOption())
    .option('--truth <file>', 'ids of the true neighbors of each query, such as truth.ivecs')
    .option('--plot <file>', 'draw recall against queries per second as an .svg file');
  inputOptions(command)
    .addHelpText('after', '\nExample:\n  $ orthant eval base.npy queries.npy --plot curve.svg')
    .action(async (basePath: string, queriesPath: string | undefined, flags: EvaluateFlags) => {
      if (flags.plot !== undefined) await checkPlot(flags.plot);
      const isHdf5 = (flags.format ?? formatOf(basePath)) === 'hdf5';
      if (queriesPath === undefined && !isHdf5) throw new UsageError('eval: expected a file of queries');
      const source = await openInput(basePath, flags);
      try {
        const queries = await firstRows(queriesPath ?? `${basePath}#test`, flags, flags.queries);
        checkSame(queries.source, source.dimensions, basePath);
        if (queries.rows === 0) throw new Error(`${queriesPath}: expected at least 1 query, got 0`);
        const metric = metricOf(source, flags.metric);
        const { k } = flags;
        const task: Task = {
          name: basePath,
          pages: vectorsOf(source),
          ...(source.rows !== undefined && { rows: source.rows }),
          queries: queries.vectors,
          dimensions: source.dimensions,
          metric,
          k,
        };
        // Under another metric, or of fewer rows, the true neighbors are others.
        const hasTruth = queriesPath === undefined && flags.metric === undefined;
        const truthPath = flags.truth ?? (hasTruth ? `${basePath}#neighbors` : undefined);
        if (truthPath !== undefined) {
          const truth = await readTruth(truthPath, queries.rows, flags.truth !== undefined);
          if (truth !== undefined && truth.width >= k) task.truth = truth;
          else if (flags.truth !== undefined) {
            throw new Error(`${flags.truth}: expected at least ${k} neighbors a query, got ${truth?.width}`);
          }
        }
        await report(task, flags);
      } finally {
        await source.close();
      }
    });
}

interface BenchFlags extends MeasureFlags {
  rows: number;
  dimensions: number;
  clusters: number;
  k: number;
  queries: number;
  seed: number;
  metric?: Metric;
}

export function defineBench(program: Command): void {
  program
    .command('bench')
    .summary('how fast this machine is, on vectors made for it')
    .description(
      'Does what eval does, on vectors that it makes: normal ones around random centres, the same for the same seed. Real ' +
        'vectors differ; measure yours with eval.',
    )
    .option('--rows <rows>', 'vectors', integer(1), 20_000)
    .option('--dimensions <dimensions>', 'floats a vector', integer(1, 4096), 128)
    .option('--clusters <clusters>', 'centres', integer(1), 200)
    .option('--queries <queries>', 'queries', integer(1), 500)
    .option('-k <k>', 'neighbors a query', integer(1, 65536), 10)
    .option('--recall <recall>', 'a recall to measure at; default 0.9, 0.95 and 0.99', number(0, 1))
    .option('--seconds <seconds>', 'how long each method is measured', number(0.01, 3600), 1)
    .option('--seed <seed>', 'of the vectors', integer(0), 0)
    .addOption(metricOption())
    .option('--plot <file>', 'draw recall against queries per second as an .svg file')
    .addHelpText('after', '\nExample:\n  $ orthant bench --rows 5000 --dimensions 64')
    .action(async (flags: BenchFlags) => {
      if (flags.plot !== undefined) await checkPlot(flags.plot);
      const { dimensions, rows, queries, clusters } = flags;
      const random = new RandomGenerator(flags.seed);
      const centres = new Float32Array(clusters * dimensions);
      random.normals(centres);
      const all = new Float32Array((rows + queries) * dimensions);
      random.normals(all);
      for (let row = 0; row < rows + queries; row++) {
        const centre = random.integer(clusters) * dimensions;
        for (let j = 0; j < dimensions; j++) {
          all[row * dimensions + j] = centres[centre + j] + 0.5 * all[row * dimensions + j];
        }
      }
      const task: Task = {
        name: `${count(rows)} vectors of ${dimensions} dimensions around ${count(clusters)} centres`,
        pages: pagesOf(all.subarray(0, rows * dimensions), dimensions),
        rows,
        queries: all.subarray(rows * dimensions),
        dimensions,
        metric: flags.metric ?? 'euclidean',
        k: flags.k,
      };
      await report(task, flags);
    });
}

/** The ids of a file of neighbors; undefined where an .hdf5 file has none. */
async function readTruth(
  path: string,
  queries: number,
  isRequired: boolean,
): Promise<{ ids: Float64Array; width: number } | undefined> {
  const source = await openInput(path, {}).catch((error: { code?: string }) => {
    if (!isRequired && error.code === 'ERR_FILE_FIELD') return undefined;
    throw error;
  });
  if (source === undefined) return undefined;
  try {
    const width = source.dimensions;
    const ids = new Float64Array(queries * width);
    let rows = 0;
    for await (const page of source.wholeNumbers()) {
      const taken = Math.min(page.rows, queries - rows);
      ids.set(page.values.subarray(0, taken * width), rows * width);
      rows += taken;
      if (rows === queries) break;
    }
    if (rows < queries) throw new Error(`${path}: expected ${queries} rows, one a query, got ${rows}`);
    return { ids, width };
  } finally {
    await source.close();
  }
}

async function report(task: Task, flags: MeasureFlags): Promise<void> {
  const { rows, measured, curve } = await evaluate(task, flags);
  const { dimensions, metric, k, queries } = task;
  const about = { data: task.name, rows, dimensions, metric, k, queries: queries.length / dimensions };
  if (flags.json) {
    const points = curve.length > 0 ? { curve } : {};
    await print(`${JSON.stringify({ ...about, methods: measured, ...points, node: process.version })}\n`);
  } else {
    const lines = measured.map(({ method, target, recall, qps, buildMs, bytes }) => [
      target === null ? method : `${method}, recall ${target}`,
      recall.toFixed(3),
      count(Number(qps.toPrecision(3))),
      buildMs === 0 ? '-' : shortTime(buildMs / 1000),
      shortBytes(bytes),
      (bytes / rows).toFixed(1),
    ]);
    const what = `${count(rows)} × ${dimensions}, ${metric}, ${count(about.queries)} queries, one thread`;
    const heads = ['method', `recall@${k}`, 'queries/s', 'build', 'memory', 'bytes a row'];
    await print(`${task.name}: ${what}\n\n${table([heads, ...lines])}`);
  }
  if (flags.plot !== undefined) {
    const exact = measured.filter(({ target }) => target === null);
    await plot(flags.plot, `${task.name}: recall@${k} and speed`, [...curve, ...exact]);
    say(`drew ${flags.plot}`, flags);
  }
}

async function* vectorsOf(source: VectorSource): AsyncGenerator<Float32Array> {
  for await (const { vectors } of source.pages()) yield vectors;
}

async function* pagesOf(vectors: Float32Array, dimensions: number): AsyncGenerator<Float32Array> {
  const floats = Math.max(1, Math.floor(PAGE_FLOATS / dimensions)) * dimensions;
  for (let at = 0; at < vectors.length; at += floats) yield vectors.subarray(at, at + floats);
}

/** What one pass over the base gives: an index of it, not built, and exact search in two ways. */
interface Pass {
  index: VectorIndex;
  addMs: number;
  exact: Answers;
  exactQps: number;
  /** Of the first queries only, where each is slow. */
  pure: Answers;
  pureQps: number;
}

async function readBase(task: Task, flags: MeasureFlags): Promise<Pass> {
  const { dimensions, metric, k, queries, rows } = task;
  const count = queries.length / dimensions;
  const index = new VectorIndex({ dimensions, metric });
  const meter = new Meter('read, and search exactly', rows, flags);
  const javascript = new PureJavaScript(dimensions, metric, k);
  let [addMs, exactMs, pureMs] = [0, 0, 0];
  let exact = noAnswers(count);
  let pure: Answers | undefined;
  for await (const page of task.pages) {
    const first = index.size;
    const pageRows = page.length / dimensions;
    const start = performance.now();
    index.add(page);
    const added = performance.now();
    addMs += added - start;
    const found = packed(exactSearchBatch(page, queries, { dimensions, k, metric }));
    exactMs += performance.now() - added;
    exact = merged(exact, found, first, k);

    // How much of the time this page is worth; each query that is asked is asked on every page.
    const share = 1000 * flags.seconds * Math.min(1, pageRows / (rows ?? 64 * pageRows));
    const before = pure && pure.offsets.length - 1;
    const { answers, msPerQuery } = javascript.search(page, queries, before ?? 1, before ?? count, share);
    pureMs += msPerQuery;
    pure = merged(pure ?? noAnswers(answers.offsets.length - 1), answers, first, k);
    meter.update(index.size);
    // Lets signals through.
    await new Promise((resolve) => setImmediate(resolve));
  }
  meter.stop();
  if (index.size === 0) throw new Error(`${task.name}: expected at least 1 row, got 0`);
  const exactQps = count / (exactMs / 1000);
  return { index, addMs, exact, exactQps, pure: pure as Answers, pureQps: 1000 / pureMs };
}

/** Builds, tunes and measures. */
async function evaluate(
  task: Task,
  flags: MeasureFlags,
): Promise<{ rows: number; measured: Measured[]; curve: Point[] }> {
  const { dimensions, k } = task;
  const queries = Array.from({ length: task.queries.length / dimensions }, (_, i) =>
    task.queries.subarray(i * dimensions, (i + 1) * dimensions),
  );
  const { index, addMs, exact, exactQps, pure, pureQps } = await readBase(task, flags);
  const rows = index.size;
  const baseBytes = 4 * dimensions * rows;
  const truth = truthOf(task, exact);

  const buildStart = performance.now();
  await buildWithMeter(index, {}, flags);
  if (k !== 10) index.tune({ k });
  const buildMs = addMs + performance.now() - buildStart;
  const bytes = index.memoryUsage().total;

  const at = (recall: number): { recall: number; qps: number } => {
    // Before the clock runs, the engine of JavaScript has seen the code.
    for (let i = 0; i < Math.min(queries.length, 200); i++) index.search(queries[i], { k, recall });
    return measure(
      1000 * flags.seconds,
      queries.length,
      truth,
      k,
      (i) => index.search(queries[i], { k, recall }).ids,
    );
  };
  const tuneFor = (recall: number): void => {
    if (!TABLE_RECALLS.includes(recall)) index.tune({ recall, k });
  };
  const measured: Measured[] = [];
  for (const target of flags.recall === undefined ? TABLE_RECALLS : [flags.recall]) {
    say(`orthant, recall ${target}`, flags);
    tuneFor(target);
    measured.push({ method: 'orthant', target, ...at(target), buildMs, bytes });
  }
  const beside = { target: null, buildMs: 0, bytes: baseBytes };
  measured.push({ method: 'exact search', recall: recallOf(exact, truth), qps: exactQps, ...beside });
  measured.push({ method: 'pure JavaScript', recall: recallOf(pure, truth), qps: pureQps, ...beside });

  const curve: Point[] = [];
  if (flags.plot !== undefined) {
    for (const target of CURVE_RECALLS) {
      tuneFor(target);
      curve.push({ method: 'orthant', ...at(target) });
    }
  }
  return { rows, measured, curve };
}

/** The ids of the k true neighbors of each query. */
function truthOf({ truth, k }: Task, exact: Answers): Set<number>[] {
  return Array.from(exact.offsets.subarray(1), (end, i) => {
    const ids = truth
      ? truth.ids.subarray(i * truth.width, i * truth.width + k)
      : exact.ids.subarray(exact.offsets[i], end);
    return new Set<number>(ids as ArrayLike<number> as number[]);
  });
}

/** Asks queries for a while; recall over those that were asked. */
function measure(
  ms: number,
  queries: number,
  truth: Set<number>[],
  k: number,
  ask: (query: number) => Uint32Array,
): { recall: number; qps: number } {
  let found = 0;
  let wanted = 0;
  let asked = 0;
  let spent = 0;
  // All of them once, and again while that was too short to time; but not for minutes where each is slow.
  while (spent < ms && asked < 100 * queries) {
    const query = asked % queries;
    const start = performance.now();
    const ids = ask(query);
    spent += performance.now() - start;
    asked++;
    if (asked > queries) continue;
    for (const id of ids) if (truth[query].has(id)) found++;
    wanted += Math.min(k, truth[query].size);
  }
  return { recall: wanted === 0 ? 1 : found / wanted, qps: asked / (spent / 1000) };
}

/** Of the queries that were asked: the share of their true neighbors. */
function recallOf({ offsets, ids }: Answers, truth: Set<number>[]): number {
  let found = 0;
  let wanted = 0;
  for (let i = 0; i + 1 < offsets.length; i++) {
    for (const id of ids.subarray(offsets[i], offsets[i + 1])) if (truth[i].has(id)) found++;
    wanted += truth[i].size;
  }
  return wanted === 0 ? 1 : found / wanted;
}
