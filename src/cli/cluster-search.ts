import type { Cluster, ClusterPage } from '../cluster/index.js';
import type { VectorPage, VectorSource } from '../node/index.js';
import { type ClusterFlags, clusterOptions, withCluster } from './cluster-connection.js';
import { checkSame, type InputOptions, inputOptions, openInput } from './inputs.js';
import { type Name, openSink } from './neighbors.js';
import type { Command } from './packages.js';
import { filled } from './search.js';
import { integer, Meter, number, UsageError } from './terminal.js';

interface SearchFlags extends ClusterFlags, InputOptions {
  k: number;
  recall: number;
  exact?: boolean;
  deadline: number;
  partial?: boolean;
  block: number;
  out?: string;
  radius?: number;
}

function searchOptions(command: Command): Command {
  command
    .option('-k <k>', 'neighbors a query', integer(1, 2 ** 20), 10)
    .option('--recall <recall>', 'share of the true neighbors that should be found', number(0, 1), 0.95)
    .option('--exact', 'compare every row')
    .option('--deadline <seconds>', 'that a block of queries may take', number(0.001), 30)
    .option('--partial', 'where a segment does not answer by then, go on without it and say so')
    .option('--block <queries>', 'queries that travel together', integer(1, 10_000), 100)
    .option('-o, --out <file>', 'a .tsv, .csv or .jsonl file, or a matrix of ids: .ivecs, .ibin');
  return inputOptions(clusterOptions(command));
}

export function defineClusterSearch(parent: Command): void {
  const command = parent
    .command('search')
    .summary('the nearest rows of a cluster for each query of a file')
    .description(
      'Finds the nearest rows of a cluster for each query of a file, which may be larger than memory. Output as that of\n' +
        'orthant search. A segment that nobody answers for by the deadline is an error that names it.',
    )
    .argument('<name>', 'name of the cluster')
    .argument('<queries>', 'a file of vectors');
  searchOptions(command)
    .addHelpText('after', '\nExample:\n  $ orthant cluster search products queries.npy -k 5 > neighbors.tsv')
    .action((name: string, queries: string, flags: SearchFlags) =>
      searchFile(name, queries, flags, 'search'),
    );
}

export function defineClusterJoin(parent: Command): void {
  const command = parent
    .command('join')
    .summary('for each row of a file, or of the cluster itself, the nearest rows of a cluster')
    .description(
      'Finds, for each row of a file, the k nearest rows of a cluster, or with --radius all within a distance. Without a file\n' +
        'the rows of the cluster themselves ask, each for its nearest others; workers read them where they are.',
    )
    .argument('<name>', 'name of the cluster')
    .argument('[rows]', 'the file whose rows ask')
    .option('--radius <distance>', 'all rows within this distance, instead of the k nearest', Number);
  searchOptions(command)
    .addHelpText('after', '\nExample:\n  $ orthant cluster join products orders.npy -k 3 -o matches.tsv')
    .action((name: string, rows: string | undefined, flags: SearchFlags) => {
      if (rows !== undefined) return searchFile(name, rows, flags, 'join');
      if (flags.radius !== undefined) throw new UsageError('--radius: expected a file of rows beside it');
      return withCluster(name, flags, async (cluster, signal) => {
        const status = await cluster.status();
        await write(cluster.neighborGraph({ ...callOf(flags), signal }), flags, {
          meter: new Meter('join', status.rows, flags),
          nameOf:
            ({ rows }) =>
            (i) =>
              rows[i],
        });
      });
    });
}

function callOf(flags: SearchFlags) {
  const { k, recall, exact, partial, block, deadline } = flags;
  return { k, recall, exact, partial, block, deadlineMs: 1000 * deadline };
}

async function searchFile(name: string, path: string, flags: SearchFlags, label: string): Promise<void> {
  if (flags.radius !== undefined && !Number.isFinite(flags.radius))
    throw new UsageError('--radius: expected a number, got something else');
  if (flags.radius !== undefined && flags.out !== undefined && /\.(ivecs|ibin)$/i.test(flags.out))
    throw new UsageError(`${flags.out}: expected lines for --radius, since lists differ in length`);
  await withCluster(name, flags, async (cluster, signal) => {
    const source = await openInput(path, flags, 'test');
    try {
      const { dimensions } = await cluster.status();
      if (dimensions !== null) checkSame(source, dimensions, `the cluster ${name}`);
      const names = new Names();
      const options = {
        ...callOf(flags),
        signal,
        ...(flags.radius !== undefined && { radius: flags.radius }),
      };
      await write(cluster.join(names.through(source), options), flags, {
        meter: new Meter(label, source.rows, flags),
        nameOf: (page) => names.of(page),
      });
    } finally {
      await source.close();
    }
  });
}

/** Writes pages as they come. */
async function write(
  pages: ReturnType<Cluster['join']>,
  flags: SearchFlags,
  { meter, nameOf }: { meter: Meter; nameOf: (page: ClusterPage) => Name },
): Promise<void> {
  const sink = await openSink(flags.out, flags.k, flags);
  const missing = new Set<string>();
  let done = 0;
  await filled(sink, async () => {
    for await (const page of pages) {
      await sink.write(listsOf(page), nameOf(page), (id) => id);
      for (const digest of page.missing) missing.add(digest);
      done += page.rows.length;
      meter.update(done);
    }
  });
  meter.stop();
  // Even a quiet command says that its answer lacks something.
  for (const digest of missing)
    process.stderr.write(`partial: segment ${digest.slice(0, 12)} did not answer in time\n`);
}

/** A page's lists, by where they begin. */
function listsOf({ counts, ids, distances }: ClusterPage) {
  const offsets = new Uint32Array(counts.length + 1);
  for (let i = 0; i < counts.length; i++) offsets[i + 1] = offsets[i] + counts[i];
  return { offsets, ids, distances };
}

/** Names of the rows that are under way: a source is ahead of its answers by some blocks. */
class Names {
  readonly #pages: Pick<VectorPage, 'first' | 'rows' | 'ids'>[] = [];

  async *through(source: VectorSource): AsyncGenerator<Float32Array> {
    for await (const { first, rows, ids, vectors } of source.pages()) {
      if (ids) this.#pages.push({ first, rows, ids });
      yield vectors;
    }
  }

  of({ rows }: ClusterPage): Name {
    while (this.#pages.length > 0 && this.#pages[0].first + this.#pages[0].rows <= rows[0])
      this.#pages.shift();
    return (i) => {
      const page = this.#pages.find(({ first, rows: all }) => rows[i] >= first && rows[i] < first + all);
      return page?.ids?.[rows[i] - page.first] ?? rows[i];
    };
  }
}
