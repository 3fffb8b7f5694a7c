/**
 * Fills the section "Measured" of README.md, between its markers, and draws docs/pictures/*.svg, from what the benchmarks
 * wrote:
 *
 *     npm run bench:search -- --json bench/results/search.json
 *     npm run bench -- --json bench/results/kernels.json
 *     npm run bench:joins -- --json bench/results/joins.json
 *     npm run bench:load -- words million --json bench/results/load.json
 *     npm run bench:report
 *
 * Of several results about one data set the latest counts. Without results the section says so.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ClusterResult } from './cluster.js';
import { HEADS as CLUSTER_HEADS, clusterRow } from './cluster-model.js';
import type { EngineKernelResult, Peaks } from './engine-kernels.js';
import type { FilterResult } from './filters.js';
import type { Growth, GrowthResult } from './growth.js';
import type { JoinResult } from './joins.js';
import type { LivingResult } from './living.js';
import type { LoadResult } from './load.js';
import { type PeerRow, type PeersResult, speedsOf } from './peers.js';
import { drawBuilds, drawGrowth, drawSpeeds, type Theme } from './pictures.js';
import { engineRows, figure, type Provenance } from './record.js';

const README = fileURLToPath(new URL('../README.md', import.meta.url));
const RESULTS = fileURLToPath(new URL('./results/', import.meta.url));
const PICTURES = fileURLToPath(new URL('../docs/pictures/', import.meta.url));
const START = '<!-- figures -->';
const END = '<!-- /figures -->';
const STORAGES: Record<Growth['storage'], string> = { f32: 'float32 rows', int8: '8-bit rows' };
const TARGETS = ['0.90', '0.95', '0.99'];
/** The data sets whose curves are drawn, in the order of their panels. */
const DRAWN = ['words', 'mnist', 'gaussian'];

/** What is read of a result of search.ts: one data set. Speeds are at the recalls of TARGETS. */
interface SearchResult extends Provenance {
  data: string;
  n: number;
  d: number;
  metric: string;
  k: number;
  queries: number;
  contestants: {
    ready: {
      name: string;
      version: string;
      buildSeconds: number;
      buildSecondsOfAll?: number;
      built?: string;
    };
    curve: { recall: number; qps: number }[];
    qps: (number | null)[];
  }[];
  tuned: { recall: number; qps: number }[];
  batch: { recall: number; qps: number }[];
  exact: { qps: number };
  bytesBeyondRows: number;
  bytesOfSecondStage: number;
}

/** What is read of the result of kernels.ts. */
interface KernelResults extends Provenance {
  results: {
    what: string;
    unit: string;
    wasm: number;
    javascript: number;
    ratio: number;
    arithmetic?: { gigaflops: number; share: number };
    memory?: { bytes: number; gigabytes: number; share: number };
  }[];
  engine?: EngineKernelResult[];
  peaks?: Peaks;
}

/** Of all results the latest of each kind, those about a data set by its name. */
interface Latest {
  sets: Map<string, SearchResult>;
  joins: Map<string, JoinResult>;
  filters: Map<string, FilterResult>;
  living: Map<string, LivingResult>;
  kernels?: KernelResults;
  growth?: GrowthResult;
  loads: Map<string, LoadResult>;
  /** Each data set's rows, and where they were measured. */
  peers: Map<string, Provenance & { rows: PeerRow[] }>;
  threads?: ThreadResult;
  cluster?: ClusterResult;
  commands: Map<string, CommandResult>;
}

function latest(parsed: unknown[]): Latest {
  const all = parsed.flat() as Partial<
    SearchResult &
      KernelResults &
      JoinResult &
      LoadResult &
      FilterResult &
      LivingResult &
      PeersResult &
      GrowthResult &
      ThreadResult &
      ClusterResult &
      CommandResult
  >[];
  const byDate = [...all].sort((a, b) => ((a.date ?? '') < (b.date ?? '') ? -1 : 1));
  const found: Latest = {
    sets: new Map(),
    joins: new Map(),
    filters: new Map(),
    living: new Map(),
    loads: new Map(),
    peers: new Map(),
    commands: new Map(),
  };
  for (const result of byDate) {
    if (result.contestants !== undefined) found.sets.set(result.data as string, result as SearchResult);
    else if (result.join !== undefined) found.joins.set(result.data as string, result as JoinResult);
    else if (result.load !== undefined) found.loads.set(result.data as string, result as LoadResult);
    else if (result.filters !== undefined) found.filters.set(result.data as string, result as FilterResult);
    else if (result.living !== undefined) found.living.set(result.data as string, result as LivingResult);
    else if (result.results !== undefined) found.kernels = result as KernelResults;
    else if (result.figures !== undefined) found.threads = result as ThreadResult;
    else if (result.cluster !== undefined) found.cluster = result as ClusterResult;
    else if (result.poolPerSecond !== undefined)
      found.commands.set(result.data as string, result as CommandResult);
    else if (result.growth !== undefined) found.growth = result as GrowthResult;
    else if (result.peers !== undefined) {
      for (const set of new Set(result.peers.map((row) => row.set))) {
        const rows = result.peers.filter((row) => row.set === set);
        found.peers.set(set, { ...(result as PeersResult), rows });
      }
    }
  }
  return found;
}

/** What is read of the result of cli-join.ts. */
interface CommandResult extends Provenance {
  data: string;
  n: number;
  d: number;
  /** Rows that were joined. */
  rows: number;
  recall: number;
  threads: number;
  poolPerSecond: number;
  joinPerSecond: number;
  ratio: number;
}

/** What is read of the result of workers.ts; times by the clock, the best of several rounds. */
interface ThreadResult extends Provenance {
  rows: number;
  dimensions: number;
  threads: number;
  queries: number;
  figures: { name: string; ms: number; speedup: number }[];
}

/** The figures as Markdown, from the parsed JSON of any number of results. */
export function report(parsed: unknown[]): string {
  const { sets, joins, filters, living, kernels, growth, loads, peers, threads, cluster, commands } =
    latest(parsed);
  const parts = [...sets.values()].sort((a, b) => a.n - b.n).map(searchSection);
  // The curves stand at the top of the README.
  if (drawnOf(sets).length > 0) parts.unshift(picture('build', 'Seconds to build'));
  if (growth !== undefined) parts.push(growthSection(growth));
  if (peers.size > 0) parts.push(peersSection([...peers.values()]));
  if (joins.size > 0) parts.push(joinSection([...joins.values()].sort((a, b) => a.n - b.n)));
  if (loads.size > 0) parts.push(loadSection([...loads.values()].sort((a, b) => a.fileBytes - b.fileBytes)));
  for (const result of filters.values()) parts.push(filterSection(result));
  if (living.size > 0) parts.push(livingSection([...living.values()].sort((a, b) => a.n - b.n)));
  if (threads !== undefined) parts.push(threadSection(threads));
  if (commands.size > 0) parts.push(commandSection([...commands.values()]));
  if (cluster !== undefined) parts.push(clusterSection(cluster));
  if (kernels !== undefined) parts.push(kernelSection(kernels));
  return parts.join('\n\n') || 'No figures yet.';
}

/** The pictures that `report` names, as SVG by the names of their files. */
export async function pictures(parsed: unknown[]): Promise<Map<string, string>> {
  const { sets, growth } = latest(parsed);
  const drawn = drawnOf(sets);
  const files = new Map<string, string>();
  const themes: Theme[] = ['light', 'dark'];
  for (const theme of themes) {
    if (growth !== undefined) {
      const named = growth.growth.map((one) => ({ ...one, storage: STORAGES[one.storage] }));
      files.set(fileOf('growth', theme), await drawGrowth(named, source(growth), theme));
    }
    if (drawn.length === 0) continue;
    const origin = captionOf(drawn);
    files.set(fileOf('speed', theme), await drawSpeeds(drawn, origin, theme));
    files.set(fileOf('build', theme), await drawBuilds(drawn, origin, theme));
  }
  return files;
}

function drawnOf(sets: Map<string, SearchResult>): SearchResult[] {
  return DRAWN.flatMap((name) => sets.get(name) ?? []);
}

const fileOf = (name: string, theme: Theme): string => `${name}-${theme}.svg`;

/** A picture that is as light or dark as the page it stands on. */
function picture(name: string, text: string): string {
  return [
    '<picture>',
    `  <source media="(prefers-color-scheme: dark)" srcset="docs/pictures/${fileOf(name, 'dark')}">`,
    `  <img alt="${text}" src="docs/pictures/${fileOf(name, 'light')}">`,
    '</picture>',
  ].join('\n');
}

/** Versions of all contestants, and where and when each set was measured, if not all together. */
function captionOf(sets: SearchResult[]): string {
  const versions = new Set(
    sets.flatMap(({ contestants }) => contestants.map(({ ready }) => `${ready.name} ${ready.version}`)),
  );
  const sources = new Set(sets.map(source));
  return `${[...versions].join(', ')}. ${[...sources].join('; ')}`;
}

/** The README with these figures in place of those between its markers. */
export function fill(readme: string, figures: string): string {
  const start = readme.indexOf(START);
  const end = readme.indexOf(END);
  if (start < 0 || end < start)
    throw new RangeError(`README.md: expected ${START} and then ${END}, got none`);
  return `${readme.slice(0, start + START.length)}\n\n${figures}\n\n${readme.slice(end)}`;
}

/** The parsed results of a folder; none where there is no folder. */
export function readResults(folder: string): unknown[] {
  if (!existsSync(folder)) return [];
  const files = readdirSync(folder).filter((file) => file.endsWith('.json'));
  return files.sort().map((file) => JSON.parse(readFileSync(path.join(folder, file), 'utf8')));
}

function searchSection(result: SearchResult): string {
  const { data, n, d, metric, k, queries, contestants, tuned, batch, exact } = result;
  const [own] = contestants;
  const rows = contestants.map(({ ready, curve, qps }) => [
    ready.name === own.ready.name ? `**${ready.name}**` : `${ready.name} ${ready.version}`,
    ...qps.map((speed) => (speed === null ? best(curve) : figure(speed))),
    `${figure(ready.buildSeconds)} s`,
  ]);
  const got = (one: { recall: number; qps: number }): string =>
    `${figure(one.qps)} (${one.recall.toFixed(3)})`;
  rows.splice(
    1,
    0,
    [`${own.ready.name}, \`search\` with the recall as option`, ...tuned.map(got), ''],
    [`${own.ready.name}, \`searchBatch\` likewise`, ...batch.map(got), ''],
    [`${own.ready.name}, \`exactSearch\``, ...TARGETS.map(() => `${figure(exact.qps)} (1)`), 'none'],
  );
  const memory = [`${figure(result.bytesBeyondRows)} bytes a vector beyond its floats`];
  if (result.bytesOfSecondStage > 0) memory.push(`${figure(result.bytesOfSecondStage)} for the second stage`);
  const elsewhere = contestants.flatMap(({ ready }) =>
    ready.built === undefined ? [] : [`${ready.name} was built before (${ready.built})`],
  );
  return [
    `### ${data}: ${figureOf(n)} × ${figureOf(d)}, ${metric}`,
    '',
    markdown([[`queries per second at recall@${k}`, ...TARGETS, 'build'], ...rows]),
    '',
    `${figureOf(queries)} queries that are no rows of the index. One thread, CPU time. In brackets the recall where it is not`,
    `that of the column. ${memory.join(', ')}.${ofAllThreads(own.ready)}`,
    `${[source(result), ...elsewhere].join('; ')}.`,
  ].join('\n');
}

/** What a build costs with the threads on which V8 compiles. */
function ofAllThreads({ name, buildSecondsOfAll }: SearchResult['contestants'][number]['ready']): string {
  if (buildSecondsOfAll === undefined) return '';
  return ` The build of ${name} is in a fresh process; with V8's compiler on other threads it takes ${figure(buildSecondsOfAll)} s.`;
}

/** Where a contestant does not reach a recall: its most accurate point. */
function best(curve: { recall: number; qps: number }[]): string {
  const most = curve.reduce((a, b) => (b.recall > a.recall ? b : a));
  return `${figure(most.qps)} (${most.recall.toFixed(3)})`;
}

function growthSection(result: GrowthResult): string {
  const rows = result.growth.flatMap(({ storage, points, exponents }) => [
    ...points.map(({ n, buildSeconds, qps, bytesPerRow, heldPerRow }) => [
      `${figureOf(n)} × ${result.d}, ${STORAGES[storage]}`,
      `${figure(buildSeconds)} s`,
      qps === null ? 'not reached' : figure(qps),
      figure(bytesPerRow),
      figure(heldPerRow),
    ]),
    [
      `grows by rows to the power of, ${STORAGES[storage]}`,
      exponents.build.toFixed(2),
      exponents.query === null ? '' : `${exponents.query.toFixed(2)} (time of a query)`,
      `${exponents.bytes.toFixed(2)} (bytes in all)`,
      '',
    ],
  ]);
  return [
    '### Growth',
    '',
    picture('growth', 'Build time, speed and memory by the number of rows'),
    '',
    markdown([
      ['', 'build', 'queries per second at recall@10 = 0.95', 'bytes a row', 'held by its memory'],
      ...rows,
    ]),
    '',
    'Rows of 4,000 clumps, each size the beginning of the next. One thread, CPU time. Recall is that among the rows as they',
    `came, also where 8 bits are kept of a number. ${source(result)}.`,
  ].join('\n');
}

/** A table for each data set; who could not do it has the reason in place of speeds. */
function peersSection(results: (Provenance & { rows: PeerRow[] })[]): string {
  const parts = results.flatMap(({ rows, ...about }) => {
    const { n = 0, d = 0, metric = '' } = rows.find((row) => row.n !== undefined) ?? {};
    const lines = rows.map((row) => [
      row.peer === 'orthant' ? `**${row.peer}**` : `${row.peer} ${row.version ?? ''}`.trim(),
      row.kind ?? '',
      ...speedsOf(row),
      row.build === undefined ? '' : `${figure(row.build.seconds)} s`,
      [row.note, row.error && `failed: ${row.error}`].filter(Boolean).join('; '),
    ]);
    return [
      markdown([
        [`${rows[0].set}: ${figureOf(n)} × ${figureOf(d)}, ${metric}`, 'kind', ...TARGETS, 'build', ''],
        ...lines,
      ]),
      '',
      `${source(about)}.`,
      '',
    ];
  });
  return [
    '### The field at a glance',
    '',
    ...parts,
    'Queries per CPU second of one thread at recall@10, each package in a process of its own for a minute or so: rougher than',
    'the tables above. Graphs have M = 16, efConstruction = 200 unless told otherwise. Where a curve begins above a recall its',
    'first point counts; in brackets the recall of the most accurate point where the curve ends below.',
  ].join('\n');
}

function joinSection(results: JoinResult[]): string {
  const rows = results.map((result) => [
    `${result.data}: ${figureOf(result.n)} × ${figureOf(result.d)}`,
    `${figure(result.buildSeconds)} s`,
    `${figure(result.graphSeconds)} s`,
    result.recall.toFixed(3),
    `${figure(result.exactSeconds)} s`,
    `${figure(result.ratio)}x`,
  ]);
  const sources = results.map(
    (result) => `${result.data}: exact search for ${figureOf(result.exactRows)} rows, ${source(result)}`,
  );
  return [
    '### The k-NN graph of all rows',
    '',
    markdown([['', 'build', '`neighborGraph`', 'recall', '`exactSearchBatch`', 'ratio'], ...rows]),
    '',
    'One thread, CPU time; exact search for some of the rows in the same run, scaled to all. Recall on those rows.',
    `${sources.join('; ')}.`,
  ].join('\n');
}

function threadSection(result: ThreadResult): string {
  const rows = result.figures.map(({ name, ms, speedup }) => [name, figure(ms), `${speedup.toFixed(2)}x`]);
  return [
    '### On several threads',
    '',
    markdown([['', 'ms', 'of one thread'], ...rows]),
    '',
    `${figureOf(result.rows)} × ${figureOf(result.dimensions)}, ${figureOf(result.queries)} queries in a batch, by the clock, the best of several`,
    `rounds in turns. ${source(result)}.`,
  ].join('\n');
}

function commandSection(results: CommandResult[]): string {
  const rows = results.map(({ data, n, d, rows, recall, poolPerSecond, joinPerSecond, ratio }) => [
    `${data}: ${figureOf(rows)} rows with ${figureOf(n)} × ${figureOf(d)}`,
    figure(poolPerSecond),
    figure(joinPerSecond),
    `${ratio.toFixed(2)}x`,
    recall.toFixed(3),
  ]);
  return [
    '### `orthant join` beside a pool of the same threads',
    '',
    markdown([['rows a second', '`searchBatch` of a pool', '`orthant join`', 'ratio', 'recall@10'], ...rows]),
    '',
    `The command's time is that of reading its rows, searching, and writing lines. By the clock, the best of several rounds.`,
    `${results.map((result) => `${result.data}: ${result.threads} threads, ${source(result)}`).join('; ')}.`,
  ].join('\n');
}

function clusterSection(result: ClusterResult): string {
  return [
    '### A cluster',
    '',
    markdown([[...CLUSTER_HEADS], ...result.cluster.map((run) => clusterRow(run, result))]),
    '',
    `${result.data}: ${figureOf(result.rows)} × ${figureOf(result.dimensions)}, k = ${result.k}, workers and a Redis on one`,
    `machine; CPU time of client, workers and Redis together. Beside it the same segments without a cluster, in turns: in as many`,
    `plain processes as there are workers, at the same time, and one after the other in one process. Processes that search at the`,
    `same time share caches, and are slower for it, whoever calls them: what the cluster adds is the first "more". All is served`,
    `again ${result.recoverySeconds.toFixed(1)} s after a worker was killed.`,
    `${source(result)}.`,
  ].join('\n');
}

function loadSection(results: LoadResult[]): string {
  const rows = results.map((result) => [
    `${result.data}: ${figureOf(result.n)} × ${figureOf(result.d)}`,
    `${figure(result.fileBytes / 1e6)} MB`,
    `${figure(result.loadCpuMs)} ms`,
    `${figure(result.gigabytesPerSecond)} GB/s`,
    `${figure(result.answerCpuMs)} ms`,
  ]);
  const sources = results.map((result) => `${result.data}: ${source(result)}`);
  return [
    '### Loading a saved index',
    '',
    markdown([['', 'file', '`loadFile`', '', 'until the first answer'], ...rows]),
    '',
    'Read, checked and proven, in a fresh process, from a file in the system’s cache; CPU time, medians.',
    `${sources.join('; ')}.`,
  ].join('\n');
}

function filterSection(result: FilterResult): string {
  const { data, n, d, target, queries, firstMs, k, filters } = result;
  const which: Record<string, string> = {
    'no filter': 'all rows',
    random: 'drawn at random',
    with: 'the nearest to the query',
    against: 'the farthest from it',
  };
  const rows = filters.map((one) => [
    `${one.share * 100} %, ${which[one.way]}`,
    one.recall.toFixed(3),
    figure(one.qps),
    figure(one.exactQps),
  ]);
  return [
    `### Searches with a filter: ${data}, ${figureOf(n)} × ${figureOf(d)}`,
    '',
    markdown([['rows that pass', `recall@${k}`, 'queries per second', 'exact'], ...rows]),
    '',
    `Recall ${target} was asked for; that of ${figureOf(queries)} queries, among the rows that pass. The first search with a filter`,
    `took ${figure(firstMs)} ms. One thread, CPU time. ${source(result)}.`,
  ].join('\n');
}

function livingSection(results: LivingResult[]): string {
  const rows = results.map((result) => [
    `${result.data}: ${figureOf(result.n)} × ${figureOf(result.d)}`,
    figure(result.removedPerSecond),
    figure(result.addedPerSecond),
    `${figure(result.addRatio)}x`,
    `${figure(result.worn.queriesPerSecond)} (${result.worn.recall.toFixed(3)})`,
    `${figure(result.fresh.queriesPerSecond)} (${result.fresh.recall.toFixed(3)})`,
    `${figure(result.searchRatio)}x`,
  ]);
  const head = ['', 'rows removed', 'rows added', 'of built', '30 % removed', 'fresh', 'ratio'];
  const sources = results.map((result) => `${result.data}: ${source(result)}`);
  return [
    '### Removing, adding, and searching after removals',
    '',
    markdown([head, ...rows]),
    '',
    'All a second, of one thread and CPU time; queries (with their recall) of an index of which 30 % of the rows were removed',
    `beside a fresh one of the same rows. ${sources.join('; ')}.`,
  ].join('\n');
}

function kernelSection(result: KernelResults): string {
  const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
  const isLimited = result.results.some(({ arithmetic, memory }) => arithmetic ?? memory);
  const rows = result.results.map(({ what, unit, wasm, javascript, ratio, arithmetic, memory }) => [
    what,
    unit,
    figure(wasm),
    figure(javascript),
    `${ratio.toFixed(1)}x`,
    ...(isLimited
      ? [
          arithmetic ? `${percent(arithmetic.share)} of ${figure(arithmetic.gigaflops)} GFLOP/s` : '',
          memory ? `${percent(memory.share)} of ${figure(memory.gigabytes)} GB/s` : '',
        ]
      : []),
  ]);
  const limits = isLimited ? ['of the arithmetic', 'of the reading'] : [];
  return [
    '### Kernels beside careful JavaScript',
    '',
    markdown([['', 'unit', 'WebAssembly', 'JavaScript', 'ratio', ...limits], ...rows]),
    '',
    ...(isLimited
      ? [
          'The last columns are shares of what one thread of this machine can do in 128-bit WebAssembly (`bench/peak.ts`): multiply and',
          'add in registers, and read from a set of bytes as large as that of the kernel. Counted is what the kernel cannot do',
          'without; where both shares are small it waits for something else, such as the order of its steps, or rows that lie apart.',
        ]
      : []),
    `${source(result)}.`,
    ...(result.engine && result.peaks ? ['', engineSection(result.engine, result.peaks)] : []),
  ].join('\n');
}

/** Part of kernelSection: what each step of the engine takes of the machine. */
function engineSection(engine: EngineKernelResult[], { floats, nibbles, products }: Peaks): string {
  const rows = engineRows(engine);
  return [
    '### The steps of a search and of a build',
    '',
    markdown([['128 coordinates', 'unit', 'WebAssembly', 'of the arithmetic', 'of the reading'], ...rows]),
    '',
    'How much of its time a step would take if it did nothing but its arithmetic, or nothing but read what it must, at what one',
    `thread of this machine can do: ${figure(floats)} billion operations a second on floats, ${figure(products)} on 16-bit integers, and`,
    `${figure(nibbles)} on bytes (the look-ups, masks, shifts and sums of a scan). Where both shares are small a step waits: for rows and`,
    'records that lie apart, for branches on what was found, or for sums that go one after the other. Each step by its best of',
    'many rounds, query by query.',
  ].join('\n');
}

function source({ machine, node, commit, date }: Provenance): string {
  return `${machine}, Node ${node}, commit ${commit}, ${date.slice(0, 10)}`;
}

function figureOf(value: number): string {
  return value.toLocaleString('en');
}

function markdown([head, ...rows]: string[][]): string {
  const line = (cells: string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), `|---|${'---:|'.repeat(head.length - 1)}`, ...rows.map(line)].join('\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const results = readResults(RESULTS);
  writeFileSync(README, fill(readFileSync(README, 'utf8'), report(results)));
  const drawn = await pictures(results);
  for (const [name, svg] of drawn) writeFileSync(path.join(PICTURES, name), svg);
  console.log(`README.md: the figures of ${results.length} files of bench/results/, ${drawn.size} pictures`);
}
