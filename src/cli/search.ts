import { exactSearchBatch, type Metric } from '../index.js';
import { createVectors, formatOf, type VectorPage, type VectorSource } from '../node/index.js';
import { type Answers, merged, noAnswers, packed } from './answers.js';
import { type Common, metricOption } from './build.js';
import { type AnyIndex, type FilterOptions, filterFile, filterOf, filterOptions, inFile } from './ids.js';
import { checkSame, type InputOptions, inputOptions, metricOf, openInput } from './inputs.js';
import { checkSink, type Name, type NeighborSink, openSink } from './neighbors.js';
import type { Command } from './packages.js';
import { answered, openSnapshot } from './searchers.js';
import { integer, Meter, number, print, say, UsageError, whileWriting } from './terminal.js';

/** Queries of a page: an answer in a second or so, however slow the index. */
const QUERY_ROWS = 1024;

interface SearchFlags extends Common, InputOptions, FilterOptions {
  k?: number;
  radius?: number;
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
      'Finds the nearest rows of an index for each query of a file, or all within a radius. The file may be larger than ' +
        'memory. A line for each neighbor: the number of the query, the id of the row, the distance; nearest first. With ' +
        '--json a line for each query. Queries that have ids (--id-field) keep them.',
    )
    .argument('<index>', 'a snapshot')
    .argument('<queries>', 'a file of vectors')
    .option('-k <k>', 'neighbors a query; default 10', integer(1))
    .option(
      '-r, --radius <radius>',
      'all rows within this distance, in place of the k nearest',
      number(-1e30),
    )
    .option('--recall <recall>', 'share of the true neighbors that should be found', number(0, 1), 0.95)
    .option('--exact', 'compare every row')
    .option('--threads <threads>', 'threads that search; default: one', integer(1, 256))
    .option('-o, --out <file>', 'a .tsv, .csv or .jsonl file, or a matrix of ids: .ivecs, .ibin');
  inputOptions(filterOptions(command))
    .addHelpText('after', '\nExample:\n  $ orthant search base.orthant queries.npy -k 5 --recall 0.99')
    .action(async (path: string, queries: string, flags: SearchFlags) => {
      const k = wantedNeighbors('search', flags);
      if (flags.out !== undefined) checkSink(flags.out, k);
      const source = await openInput(queries, flags, 'test');
      try {
        const named = filterFile('search', flags);
        const look = named && ((loaded: AnyIndex) => filterOf(loaded, named));
        const { index, name, seen: filter } = await openSnapshot(path, flags.threads ?? 1, look);
        await whileWriting(async () => {
          checkSame(source, index.dimensions, path);
          const sink = await openSink(flags.out, k, flags);
          await filled(sink, async () => {
            const meter = new Meter('search', source.rows, flags);
            const { radius, recall, exact } = flags;
            const question = { k, radius, recall, exact, filter };
            for await (const { page, result } of answered(
              index,
              source,
              { pageRows: QUERY_ROWS },
              question,
            )) {
              await sink.write(result, nameOf(page), name);
              meter.update(page.first + page.rows);
            }
            meter.stop();
          });
        }).finally(() => index.dispose());
      } finally {
        await source.close();
      }
    });
}

/** The neighbors that a command is to find for each row; undefined: all within a radius. */
export function wantedNeighbors(
  command: string,
  { k, radius }: { k?: number; radius?: number },
): number | undefined {
  if (radius === undefined) return k ?? 10;
  if (k === undefined) return undefined;
  throw new UsageError(`${command}: expected either -k or --radius, got both`);
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
      'Finds the true nearest rows of one file for each query of another by comparing all. Either may be larger than ' +
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
              const { nearest, ids } = await nearestInFile(base, queriesPath, page, { ...flags, metric });
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
  queriesPath: string,
  queries: VectorPage,
  options: { k: number; metric: Metric; quiet?: boolean },
): Promise<{ nearest: Answers; ids: string[] }> {
  const { k, metric } = options;
  const { dimensions } = base;
  let nearest = noAnswers(queries.rows);
  const ids: string[] = [];
  const meter = new Meter('exact', base.rows, options);
  for await (const page of base.pages()) {
    try {
      const found = exactSearchBatch(page.vectors, queries.vectors, { dimensions, k, metric });
      nearest = merged(nearest, packed(found), page.first, k);
    } catch (error) {
      const isOfQueries = (error as Error).message.startsWith('queries:');
      throw isOfQueries ? inFile(error, queriesPath, queries.first) : inFile(error, base.path, page.first);
    }
    for (const id of page.ids ?? []) ids.push(id);
    meter.update(page.first + page.rows);
    // Lets signals through.
    await new Promise((resolve) => setImmediate(resolve));
  }
  meter.stop();
  return { nearest, ids };
}

export function defineConvert(program: Command): void {
  const command = program
    .command('convert')
    .summary('write a file of vectors in another format')
    .description(
      'Writes a file of vectors in another format, a page at a time. Formats are told by the endings of the names; with ' +
        '.gz behind it a file is packed. Written are .npy (float32), .fvecs, .bvecs, .ivecs, .fbin, .u8bin, .i8bin, .ibin, ' +
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
          const { dimensions } = source;
          if (flags.json) await print(`${JSON.stringify({ to, rows: writer.rows, dimensions })}\n`);
        });
      } finally {
        await source.close();
      }
    });
}
