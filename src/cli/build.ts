import { type Metric, type Progress, VectorIndex } from '../index.js';
import { readAllVectors } from '../node/index.js';
import { type AnyIndex, addPage, ID_KINDS, idOfKind, idsIn } from './ids.js';
import {
  checkSame,
  type InputOptions,
  inputOptions,
  loadIndex,
  metricOf,
  openInput,
  saveIndex,
} from './inputs.js';
import { type Command, Option } from './packages.js';
import type { Answering } from './searchers.js';
import { count, integer, Meter, number, print, say, shortBytes, shortTime, UsageError } from './terminal.js';

export interface Common {
  json?: boolean;
  quiet?: boolean;
}

interface BuildFlags extends Common, InputOptions {
  out: string;
  metric?: Metric;
  storage: 'f32' | 'int8';
  seed: number;
  cells?: number;
  training: 'lloyd' | 'none';
  recall?: number;
  k: number;
  maxBytes?: number;
  idKind: (typeof ID_KINDS)[number];
}

export function metricOption(): Option {
  return new Option(
    '--metric <metric>',
    'what "near" means; default euclidean, or what an .hdf5 file says',
  ).choices(['euclidean', 'cosine', 'inner-product']);
}

export function defineBuild(program: Command): void {
  const command = program
    .command('build')
    .summary('make an index of a file of vectors')
    .description('Makes an index of a file of vectors: reads, trains, tunes, and writes a snapshot.')
    .argument('<vectors>', 'the file; file#array for one array of a .npz or .hdf5 file')
    .requiredOption('-o, --out <index>', 'where the snapshot goes')
    .addOption(metricOption())
    .addOption(new Option('--storage <storage>', 'how rows are kept').choices(['f32', 'int8']).default('f32'))
    .option('--seed <seed>', 'of rotation and training', integer(0), 0)
    .option('--cells <cells>', 'cells of the Voronoi hash', integer(1, 16384))
    .addOption(
      new Option('--training <training>', 'how cells are found').choices(['lloyd', 'none']).default('lloyd'),
    )
    .option('--recall <recall>', 'also tune for this recall', number(0, 1))
    .option('-k <k>', 'neighbors to tune for', integer(1), 10)
    .option('--max-bytes <bytes>', 'most memory that the index may take', integer(1, 2 ** 32))
    .addOption(
      new Option('--id-kind <kind>', 'what the ids of --id-field are').choices(ID_KINDS).default('string'),
    );
  inputOptions(command)
    .addHelpText('after', '\nExample:\n  $ orthant build base.npy -o base.orthant --metric cosine')
    .action(async (path: string, flags: BuildFlags) => {
      const source = await openInput(path, flags);
      try {
        const metric = metricOf(source, flags.metric);
        const index: AnyIndex = new VectorIndex({
          dimensions: source.dimensions,
          metric,
          storage: flags.storage,
          seed: flags.seed,
          ...(flags.maxBytes !== undefined && { maxBytes: flags.maxBytes }),
          ...(source.hasIds && { ids: flags.idKind }),
        });
        const reading = new Meter('read', source.rows, flags);
        for await (const page of source.pages()) {
          addPage(index, page, path);
          reading.update(page.first + page.rows);
        }
        reading.stop();
        if (index.size === 0) throw new Error(`${path}: expected at least 1 row, got 0`);
        const started = performance.now();
        await buildWithMeter(index, { cells: flags.cells, training: flags.training }, flags);
        if (flags.recall !== undefined) index.tune({ recall: flags.recall, k: flags.k });
        else if (flags.k !== 10) index.tune({ k: flags.k });
        const buildMs = performance.now() - started;
        const bytes = await saveIndex(index, flags.out);
        const { rows, cells } = index.stats();
        if (flags.json) {
          const { dimensions } = index;
          await print(
            `${JSON.stringify({ index: flags.out, rows, dimensions, metric, cells, bytes, buildMs })}\n`,
          );
        } else {
          const size = `${count(rows)} rows × ${index.dimensions}, ${metric}, ${count(cells)} cell${cells === 1 ? '' : 's'}`;
          await print(`${flags.out}: ${size}, ${shortBytes(bytes)}, built in ${shortTime(buildMs / 1000)}\n`);
        }
      } finally {
        await source.close();
      }
    });
}

/** Trains and tunes, with a bar for each part of it. */
export async function buildWithMeter(
  index: Answering,
  options: { cells?: number; training?: 'lloyd' | 'none' },
  flags: Common,
): Promise<void> {
  let phase = '';
  let meter: Meter | undefined;
  const all = {
    ...options,
    sliceMs: 50,
    onProgress: (progress: Progress) => {
      if (progress.phase !== phase) {
        meter?.stop();
        phase = progress.phase;
        meter = new Meter(phase, progress.total, flags);
      }
      meter?.update(progress.done);
    },
  };
  await (index instanceof VectorIndex ? index.buildAsync(all) : index.build(all));
  meter?.stop();
}

export function defineAdd(program: Command): void {
  const command = program
    .command('add')
    .summary('add the vectors of a file to an index')
    .description(
      'Adds the vectors of a file to an index. The snapshot is replaced when all is done: a failure leaves the old one.',
    )
    .argument('<index>', 'a snapshot')
    .argument('<vectors>', 'the file with the new rows')
    .option('-o, --out <index>', 'another file for the new snapshot')
    .option('--build', 'train and tune anew for the new size');
  inputOptions(command)
    .addHelpText('after', '\nExample:\n  $ orthant add base.orthant more.npy')
    .action(
      async (
        path: string,
        vectors: string,
        flags: Common & InputOptions & { out?: string; build?: boolean },
      ) => {
        const index = loadIndex(path);
        const source = await openInput(vectors, flags);
        try {
          checkSame(source, index.dimensions, path);
          if (source.hasIds !== (index.idKind !== 'row')) {
            const wanted = source.hasIds
              ? 'no --id-field, since the index has no ids of yours'
              : '--id-field, since the index has ids of yours';
            throw new UsageError(`add: expected ${wanted}`);
          }
          const meter = new Meter('add', source.rows, flags);
          let first: number | undefined;
          let added = 0;
          for await (const page of source.pages()) {
            const row = addPage(index, page, vectors);
            first ??= row;
            added += page.rows;
            meter.update(added);
          }
          meter.stop();
          if (flags.build) await buildWithMeter(index, {}, flags);
          const bytes = await saveIndex(index, flags.out ?? path);
          const result = {
            index: flags.out ?? path,
            added,
            firstRow: first ?? null,
            rows: index.size,
            bytes,
          };
          const from = source.hasIds ? '' : ` from id ${first ?? '-'} on`;
          await print(
            flags.json
              ? `${JSON.stringify(result)}\n`
              : `${result.index}: ${count(added)} rows added${from}, ${count(index.size)} in all\n`,
          );
        } finally {
          await source.close();
        }
      },
    );
}

export function defineRemove(program: Command): void {
  program
    .command('remove')
    .summary('remove rows from an index')
    .description('Removes rows by their ids. The snapshot is replaced when all is done.')
    .argument('<index>', 'a snapshot')
    .argument('[ids...]', 'ids of rows')
    .option('--ids <file>', 'a text file with ids, a line each')
    .option('-o, --out <index>', 'another file for the new snapshot')
    .addHelpText('after', '\nExample:\n  $ orthant remove base.orthant 3 17')
    .action(async (path: string, given: string[], flags: Common & { ids?: string; out?: string }) => {
      if (given.length === 0 && flags.ids === undefined) {
        throw new UsageError('remove: expected ids, or --ids with a file of them');
      }
      const index = loadIndex(path);
      const texts = flags.ids === undefined ? given : [...given, ...idsIn(index.idKind, flags.ids)];
      const ids = texts.map((text) => {
        const id = idOfKind(index.idKind, text);
        if (index.idKind === 'row' && id === undefined) {
          throw new UsageError(`ids: expected whole numbers, got ${JSON.stringify(text)}`);
        }
        if (index.idKind !== 'row' && (id === undefined || !index.has(id))) {
          throw new Error(`ids: expected ids of the index, got ${JSON.stringify(text)}`);
        }
        return id;
      });
      const removed = index.remove(ids);
      const bytes = await saveIndex(index, flags.out ?? path);
      const result = { index: flags.out ?? path, removed, rows: index.size, bytes };
      if (removed < ids.length) say(`${count(ids.length - removed)} were gone already`, flags);
      await print(
        flags.json
          ? `${JSON.stringify(result)}\n`
          : `${result.index}: ${count(removed)} rows removed, ${count(index.size)} left\n`,
      );
    });
}

export function defineTune(program: Command): void {
  const command = program
    .command('tune')
    .summary('measure the settings for a recall and keep them')
    .description(
      'Measures which settings reach a recall, on your queries or on rows of the index, and keeps them in the snapshot.',
    )
    .argument('<index>', 'a snapshot')
    .argument('[queries]', 'a file of queries like those to come')
    .option('--recall <recall>', 'default 0.9, 0.95 and 0.99', number(0, 1))
    .option('-k <k>', 'neighbors a search', integer(1), 10)
    .option('--most <queries>', 'queries that are used at most', integer(1), 1000)
    .option('-o, --out <index>', 'another file for the new snapshot')
    .option('--dry-run', 'change nothing');
  inputOptions(command)
    .addHelpText('after', '\nExample:\n  $ orthant tune base.orthant queries.npy --recall 0.97')
    .action(
      async (
        path: string,
        queries: string | undefined,
        flags: Common &
          InputOptions & { recall?: number; k: number; most: number; out?: string; dryRun?: boolean },
      ) => {
        const index = loadIndex(path);
        const sample = queries === undefined ? undefined : await firstRows(queries, flags, flags.most);
        if (sample) checkSame(sample.source, index.dimensions, path);
        const report = await index.tuneAsync({
          k: flags.k,
          ...(flags.recall !== undefined && { recall: flags.recall }),
          ...(sample && { queries: sample.vectors }),
        });
        if (!flags.dryRun) await saveIndex(index, flags.out ?? path);
        if (flags.json) {
          const { k, sample: measured, source, settings } = report;
          await print(`${JSON.stringify({ k, sample: measured, source, settings })}\n`);
        } else {
          await print(`${report.text.trimEnd()}\n`);
        }
      },
    );
}

/** The first rows of a file. */
export async function firstRows(
  path: string,
  flags: InputOptions,
  most: number,
  array = 'test',
): Promise<{ vectors: Float32Array; rows: number; source: Awaited<ReturnType<typeof openInput>> }> {
  const source = await openInput(path, flags, array);
  try {
    return { ...(await readAllVectors(source, { maxRows: most })), source };
  } finally {
    await source.close();
  }
}
