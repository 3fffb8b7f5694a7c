import type { ClusterStatus } from '../cluster/index.js';
import { type Metric, VectorIndex } from '../index.js';
import { metricOption } from './build.js';
import { type ClusterFlags, clusterOptions, withCluster } from './cluster-connection.js';
import { defineClusterJoin, defineClusterSearch } from './cluster-search.js';
import { defineClusterWorker } from './cluster-worker.js';
import { checkSame, type InputOptions, inputOptions, metricOf, openInput, readBytes } from './inputs.js';
import { type Command, Option } from './packages.js';
import { count, integer, Meter, print, say, shortBytes, shortTime, table, UsageError } from './terminal.js';

interface PublishFlags extends ClusterFlags, InputOptions {
  metric?: Metric;
  storage: 'f32' | 'int8';
  seed: number;
  segmentRows: number;
  dropOld?: boolean;
}

function definePublish(parent: Command): void {
  const command = parent
    .command('publish')
    .summary('make a generation of segments of files')
    .description(
      'Cuts the rows of files into segments, builds an index of each and stores it. Workers serve the new generation at once\n' +
        'when all of it is there; until then, and where publishing fails, the one before it answers. Ids are the numbers of\n' +
        'the rows, from file to file. A snapshot (.orthant) becomes a segment as it is.',
    )
    .argument('<name>', 'name of the cluster')
    .argument('<files...>', 'files of vectors, or snapshots (.orthant)')
    .option('--segment-rows <rows>', 'rows of a segment', integer(1), 250_000)
    .addOption(metricOption())
    .addOption(new Option('--storage <storage>', 'how rows are kept').choices(['f32', 'int8']).default('f32'))
    .option('--seed <seed>', 'of rotation and training', integer(0), 0)
    .option('--drop-old', 'then give back what earlier generations take');
  inputOptions(clusterOptions(command))
    .addHelpText('after', '\nExample:\n  $ orthant cluster publish products base.npy --segment-rows 100000')
    .action((name: string, files: string[], flags: PublishFlags) =>
      withCluster(name, flags, async (cluster, signal) => {
        const { dimensions, metric, rows } = await kindOf(files, flags);
        const { storage, seed, segmentRows } = flags;
        const started = performance.now();
        const meter = new Meter('publish', rows, flags);
        const generation = await cluster.publish(pagesOf(files, dimensions, flags), {
          ...{ dimensions, metric, storage, seed, segmentRows, signal },
          onProgress: ({ done }) => meter.update(done),
        });
        meter.stop();
        if (flags.dropOld)
          for (const old of await cluster.generations())
            if (!old.isCurrent) await cluster.dropGeneration(old.generation);
        const { segments, rows: published } = await cluster.status();
        const ms = performance.now() - started;
        const bytes = segments.reduce((sum, segment) => sum + segment.bytes, 0);
        if (flags.json) {
          const result = { generation, rows: published, segments: segments.length, bytes, publishMs: ms };
          await print(`${JSON.stringify(result)}\n`);
        } else {
          const size = `${count(published)} rows × ${dimensions}, ${metric}, in ${segments.length} segments`;
          await print(`${generation}: ${size}, ${shortBytes(bytes)}, published in ${shortTime(ms / 1000)}\n`);
        }
      }),
    );
}

const isSnapshot = (file: string): boolean => /\.orthant$/i.test(file);

/** What the files have in common, by the first of them; all their rows, where they say how many. */
async function kindOf(
  files: string[],
  flags: PublishFlags,
): Promise<{ dimensions: number; metric: Metric; rows: number | undefined }> {
  let kind: { dimensions: number; metric: Metric } | undefined;
  let rows: number | undefined = 0;
  for (const file of files) {
    if (isSnapshot(file)) {
      if (flags.metric !== undefined)
        throw new UsageError(`${file}: expected no --metric, since a snapshot has its own`);
      const index = VectorIndex.load(readBytes(file));
      kind ??= { dimensions: index.dimensions, metric: index.metric };
      if (rows !== undefined) rows += index.stats().rows;
      index.dispose();
      continue;
    }
    const source = await openInput(file, flags);
    try {
      kind ??= { dimensions: source.dimensions, metric: metricOf(source, flags.metric) };
      checkSame(source, kind.dimensions, files[0]);
      rows = rows === undefined || source.rows === undefined ? undefined : rows + source.rows;
    } finally {
      await source.close();
    }
  }
  return { ...kind!, rows };
}

async function* pagesOf(
  files: string[],
  dimensions: number,
  flags: PublishFlags,
): AsyncGenerator<Float32Array | Uint8Array> {
  for (const file of files) {
    if (isSnapshot(file)) {
      yield readBytes(file);
      continue;
    }
    const source = await openInput(file, flags);
    try {
      checkSame(source, dimensions, files[0]);
      for await (const { vectors } of source.pages()) yield vectors;
    } finally {
      await source.close();
    }
  }
}

function defineStatus(parent: Command): void {
  const command = parent
    .command('status')
    .summary('segments, workers, what waits, memory')
    .description(
      'Tells which generation is shown, who holds its segments, and what workers and Redis hold and have to do.',
    )
    .argument('<name>', 'name of the cluster');
  clusterOptions(command)
    .addHelpText('after', '\nExample:\n  $ orthant cluster status products')
    .action((name: string, flags: ClusterFlags) =>
      withCluster(name, flags, async (cluster) => {
        const status = await cluster.status();
        if (flags.json) await print(`${JSON.stringify(status)}\n`);
        else await print(wordsOf(name, status));
        const alone = status.segments.filter(({ holders }) => holders === 0);
        if (alone.length > 0) say(`${alone.length} segments wait for a worker`, flags);
      }),
    );
}

function wordsOf(name: string, { generation, rows, segments, workers, redisBytes }: ClusterStatus): string {
  const lines = [
    generation === null
      ? `${name}: nothing is published yet`
      : `${name}: generation ${generation}, ${count(rows)} rows`,
    `Redis uses ${shortBytes(redisBytes)}`,
    '',
    table([
      ['segment', 'first id', 'rows', 'bytes', 'workers'],
      ...segments.map(({ digest, base, rows, bytes, isOpen, holders }) => [
        `${digest.slice(0, 12)}${isOpen ? ' (open)' : ''}`,
        ...[count(base), count(rows), shortBytes(bytes), String(holders)],
      ]),
    ]),
    table([
      ['worker', 'segments', 'bytes', 'of', 'jobs'],
      ...workers.map(({ id, segments, bytes, memoryBytes, waiting }) => [
        ...[id, String(segments.length), shortBytes(bytes), shortBytes(memoryBytes), String(waiting)],
      ]),
    ]),
  ];
  for (const { id, refused } of workers)
    for (const reason of Object.values(refused)) lines.push(`worker ${id} refused ${reason}\n`);
  return lines.join('\n');
}

export function defineCluster(program: Command): void {
  const parent = program
    .command('cluster')
    .summary('search over several processes and machines')
    .description(
      'An index over several processes and machines that share a Redis: workers hold its segments in memory and answer.\n' +
        'Needs the packages bullmq and ioredis.',
    )
    .addHelpText(
      'after',
      '\nExample:\n' +
        '  $ orthant cluster worker products &\n' +
        '  $ orthant cluster publish products base.npy\n' +
        '  $ orthant cluster search products queries.npy -k 5\n\n' +
        'orthant cluster COMMAND --help tells more about a command.',
    );
  definePublish(parent);
  defineClusterWorker(parent);
  defineClusterSearch(parent);
  defineClusterJoin(parent);
  defineStatus(parent);
}
