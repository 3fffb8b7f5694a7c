import { exactSearchBatch, type Metric, type NeighborsBatch } from '../index.js';
import { createVectors, formatOf, type VectorSource } from '../node/index.js';
import { type Common, metricOption } from './build.js';
import { checkSame, type InputOptions, inputOptions, loadIndex, metricOf, openInput } from './inputs.js';
import { type Name, type NeighborSink, openSink } from './neighbors.js';
import type { Command } from './packages.js';
import { inOrder, openSearchers } from './searchers.js';
import { integer, Meter, number, say, whileWriting } from './terminal.js';

/** Queries of a page: an answer in a second or so, however slow the index. */
const QUERY_ROWS = 1024;

interface SearchFlags extends Common, InputOptions {
  k: number;
  recall: number;
  exact?: boolean;
  out?: string;
  threads?: number;
}

export function defineSearch(program: Command): void {
  const command = program
    .command('search')
    .summary('the nearest rows of an index for each query of a file')
    .description(
      'Finds the nearest rows of an index for each query of a file, which may be larger than memory. A line for each\n' +
        'neighbor: the number of the query, the id of the row, the distance; nearest first. With --json a line for each\n' +
        'query. Queries that have ids (--id-field) keep them.',
    )
    .argument('<index>', 'a snapshot')
    .argument('<queries>', 'a file of vectors')
    .option('-k <k>', 'neighbors a query', integer(1), 10)
    .option('--recall <recall>', 'share of the true neighbors that should be found', number(0, 1), 0.95)
    .option('--exact', 'compare every row')
    .option('--threads <threads>', 'threads that search; default: one', integer(1, 256))
    .option('-o, --out <file>', 'a .tsv, .csv or .jsonl file, or a matrix of ids: .ivecs, .ibin');
  inputOptions(command)
    .addHelpText('after', '\nExample:\n  $ orthant search base.orthant queries.npy -k 5 --recall 0.99')
    .action(async (path: string, queries: string, flags: SearchFlags) => {
      const { index, ids } = loadIndex(path);
      const source = await openInput(queries, flags, 'test');
      const { k, recall, exact } = flags;
      const searchers = openSearchers(index, { k, recall, exact }, flags.threads ?? 1);
      try {
        checkSame(source, index.dimensions, path);
        await whileWriting(async () => {
          const sink = await openSink(flags.out, k, flags);
          await filled(sink, async () => {
            const meter = new Meter('search', source.rows, flags);
            const pages = source.pages({ pageRows: QUERY_ROWS });
            const answers = inOrder(pages, searchers.lanes, ({ vectors }) => searchers.search(vectors));
            for await (const { page, result } of answers) {
              await sink.write(result, nameOf(page), (id) => ids?.[id] ?? id);
              meter.update(page.first + page.rows);
            }
            meter.stop();
          });
        });
      } finally {
        await searchers.close();
        await source.close();
      }
    });
}

/** Finishes a sink, or leaves no trace of it. */
export async function filled(
  sink: Pick<NeighborSink, 'finish' | 'abandon'>,
  fill: () => Promise<void>,
): Promise<void> {
  try {
    await fill();
    await sink.finish();
  } catch (error) {
    await sink.abandon();
    throw error;
  }
}

function nameOf(page: { first: number; ids?: string[] }): Name {
  const { first, ids } = page;
  return ids === undefined ? (row) => first + row : (row) => ids[row];
}

/** Queries whose answers are held while the rows pass by. */
const EXACT_QUERIES = 4096;

interface ExactFlags extends Common, InputOptions {
  k: number;
  metric?: Metric;
  out?: string;
}

export function defineExact(program: Command): void {
  const command = program
    .command('exact')
    .summary('the true nearest rows of one file for each query of another')
    .description(
      'Finds the true nearest rows of one file for each query of another by comparing all. Either may be larger than\n' +
        'memory. Output as that of search; ids are the numbers of the rows.',
    )
    .argument('<base>', 'the file with the rows')
    .argument('<queries>', 'the file with the queries')
    .option('-k <k>', 'neighbors a query', integer(1, 65536), 10)
    .addOption(metricOption())
    .option('-o, --out <file>', 'a .tsv, .csv or .jsonl file, or a matrix of ids: .ivecs, .ibin');
  inputOptions(command)
    .addHelpText('after', '\nExample:\n  $ orthant exact base.npy queries.npy -k 100 -o truth.ivecs')
    .action(async (basePath: string, queriesPath: string, flags: ExactFlags) => {
      const base = await openInput(basePath, flags);
      const queries = await openInput(queriesPath, { ...flags, idField: undefined }, 'test');
      try {
        checkSame(queries, base.dimensions, basePath);
        const metric = metricOf(base, flags.metric);
        await whileWriting(async () => {
          const sink = await openSink(flags.out, flags.k, flags);
          await filled(sink, async () => {
            for await (const page of queries.pages({ pageRows: EXACT_QUERIES })) {
              say(`queries ${page.first} to ${page.first + page.rows - 1}`, flags);
              const { nearest, ids } = await nearestInFile(base, page.vectors, { ...flags, metric });
              await sink.write(nearest, nameOf(page), ids.length === 0 ? (id) => id : (id) => ids[id]);
            }
          });
        });
      } finally {
        await base.close();
        await queries.close();
      }
    });
}

/** The true nearest rows of a file for some queries; a page of the file is in memory at a time. */
async function nearestInFile(
  base: VectorSource,
  queries: Float32Array,
  options: { k: number; metric: Metric; quiet?: boolean },
): Promise<{ nearest: NeighborsBatch; ids: string[] }> {
  const { k, metric } = options;
  const { dimensions } = base;
  const count = queries.length / dimensions;
  const nearest = {
    ids: new Uint32Array(count * k).fill(0xffffffff),
    distances: new Float32Array(count * k).fill(Number.POSITIVE_INFINITY),
    counts: new Uint32Array(count),
  };
  const ids: string[] = [];
  const meter = new Meter('exact', base.rows, options);
  for await (const page of base.pages()) {
    const found = exactSearchBatch(page.vectors, queries, { dimensions, k, metric });
    for (let i = 0; i < count; i++) merge(nearest, found, i, k, page.first);
    for (const id of page.ids ?? []) ids.push(id);
    meter.update(page.first + page.rows);
    // Lets signals through.
    await new Promise((resolve) => setImmediate(resolve));
  }
  meter.stop();
  return { nearest, ids };
}

/** Merges what a page gave into what those before it gave: both are sorted, and of equal distances the earlier row is first. */
export function merge(
  into: NeighborsBatch,
  from: NeighborsBatch,
  query: number,
  k: number,
  first: number,
): void {
  const start = query * k;
  const oldIds = into.ids.slice(start, start + into.counts[query]);
  const oldDistances = into.distances.slice(start, start + into.counts[query]);
  let a = 0;
  let b = 0;
  let filled = 0;
  while (filled < k && (a < oldIds.length || b < from.counts[query])) {
    const isOld =
      b >= from.counts[query] || (a < oldIds.length && oldDistances[a] <= from.distances[start + b]);
    into.ids[start + filled] = isOld ? oldIds[a] : from.ids[start + b] + first;
    into.distances[start + filled] = isOld ? oldDistances[a++] : from.distances[start + b++];
    filled++;
  }
  into.counts[query] = filled;
}

export function defineConvert(program: Command): void {
  const command = program
    .command('convert')
    .summary('write a file of vectors in another format')
    .description(
      'Writes a file of vectors in another format, a page at a time. Formats are told by the endings of the names; with\n' +
        '.gz behind it a file is packed. Written are .npy (float32), .fvecs, .bvecs, .ivecs, .fbin, .u8bin, .i8bin, .ibin,\n' +
        '.csv, .tsv and .jsonl; read are also .npz, .parquet and .hdf5.',
    )
    .argument('<from>', 'the file to read; file#array for one array of a .npz or .hdf5 file')
    .argument('<to>', 'the file to write')
    .option('--rows <rows>', 'only the first rows', integer(1, 2 ** 53 - 1));
  inputOptions(command)
    .addHelpText('after', '\nExample:\n  $ orthant convert base.npy base.fvecs')
    .action(async (from: string, to: string, flags: Common & InputOptions & { rows?: number }) => {
      const source = await openInput(from, flags);
      try {
        const most = flags.rows ?? Number.POSITIVE_INFINITY;
        let rows = source.rows;
        const packed = /\.gz$/i.test(to);
        const needsRows = packed && ['npy', 'fbin', 'u8bin', 'i8bin', 'ibin'].includes(formatOf(to) ?? '');
        if (needsRows && rows === undefined) {
          // The front of a packed file has the number of rows, and is written first.
          rows = 0;
          for await (const page of source.pages()) rows += page.rows;
        }
        if (rows !== undefined) rows = Math.min(rows, most);
        await whileWriting(async () => {
          const writer = await createVectors(to, {
            dimensions: source.dimensions,
            ...(rows !== undefined && { rows }),
            ...(flags.field !== undefined && { field: flags.field }),
            ...(flags.idField !== undefined && { idField: flags.idField }),
          });
          await filled(writer, async () => {
            const meter = new Meter('convert', rows, flags);
            for await (const page of source.pages()) {
              const count = Math.min(page.rows, most - writer.rows);
              await writer.write({ ...page, rows: count });
              meter.update(writer.rows);
              if (writer.rows >= most) break;
            }
            meter.stop();
          });
        });
      } finally {
        await source.close();
      }
    });
}
