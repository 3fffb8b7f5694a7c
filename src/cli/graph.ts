import { type Metric, type NeighborsBatch, VectorIndex } from '../index.js';
import { FileReplacement } from '../node/index.js';
import { buildWithMeter, type Common, metricOption } from './build.js';
import { type InputOptions, inputOptions, loadIndex, metricOf, openInput } from './inputs.js';
import { openSink } from './neighbors.js';
import type { Command } from './packages.js';
import { filled } from './search.js';
import { count, integer, Meter, number, print, say, UsageError, whileWriting } from './terminal.js';

/** Rows that are written at a time. */
const PAGE_ROWS = 4096;

interface GraphFlags extends Common, InputOptions {
  k: number;
  recall: number;
  exact?: boolean;
  metric?: Metric;
  out?: string;
}

/** An index of the rows of a file, or the one that a snapshot holds; names where the rows have ids of their own. */
async function indexOf(path: string, flags: GraphFlags): Promise<{ index: VectorIndex; names?: string[] }> {
  if (/\.orthant$/i.test(path)) {
    if (flags.metric !== undefined)
      throw new UsageError('expected no --metric, since a snapshot has its own');
    const { index, ids } = loadIndex(path);
    return ids === undefined ? { index } : { index, names: ids };
  }
  const source = await openInput(path, flags);
  try {
    const metric = metricOf(source, flags.metric);
    const index = new VectorIndex({ dimensions: source.dimensions, metric });
    const names: string[] = [];
    const meter = new Meter('read', source.rows, flags);
    for await (const page of source.pages()) {
      index.add(page.vectors);
      for (const id of page.ids ?? []) names.push(id);
      meter.update(index.size);
    }
    meter.stop();
    if (!flags.exact) await buildWithMeter(index, {}, flags);
    return source.hasIds ? { index, names } : { index };
  } finally {
    await source.close();
  }
}

export function defineGraph(program: Command): void {
  const command = program
    .command('graph')
    .summary('the nearest other rows of every row')
    .description(
      'Finds the k nearest other rows of every row of a file or a snapshot. Output as that of search.',
    )
    .argument('<rows>', 'a file of vectors, or a snapshot (.orthant)')
    .option('-k <k>', 'neighbors a row', integer(1), 10)
    .option('--recall <recall>', 'share of the true neighbors that should be found', number(0, 1), 0.95)
    .option('--exact', 'compare all rows')
    .addOption(metricOption())
    .option('-o, --out <file>', 'a .tsv, .csv or .jsonl file, or a matrix of ids: .ivecs, .ibin');
  inputOptions(command)
    .addHelpText('after', '\nExample:\n  $ orthant graph base.npy -k 5 -o graph.ivecs')
    .action(async (path: string, flags: GraphFlags) => {
      const { index, names } = await indexOf(path, flags);
      await whileWriting(async () => {
        const sink = await openSink(flags.out, flags.k, flags);
        await filled(sink, async () => {
          const nameOf = (id: number): string | number => names?.[id] ?? id;
          const { rows, ...all } = await graphOf(index, flags);
          // The index gives them cell by cell; whoever reads a file expects them row by row.
          const order = Uint32Array.from(rows, (_, i) => i).sort((a, b) => rows[a] - rows[b]);
          const { k } = flags;
          for (let first = 0; first < order.length; first += PAGE_ROWS) {
            const some = order.subarray(first, first + PAGE_ROWS);
            const page = {
              ids: new Uint32Array(some.length * k),
              distances: new Float32Array(some.length * k),
              counts: Uint32Array.from(some, (i) => all.counts[i]),
            };
            some.forEach((i, to) => {
              page.ids.set(all.ids.subarray(i * k, (i + 1) * k), to * k);
              page.distances.set(all.distances.subarray(i * k, (i + 1) * k), to * k);
            });
            await sink.write(page, (row) => nameOf(rows[some[row]]), nameOf);
          }
        });
      });
    });
}

export function defineDuplicates(program: Command): void {
  const command = program
    .command('duplicates')
    .summary('groups of rows that are nearly alike')
    .description(
      'Groups rows that are nearly alike: of two rows within the radius of each other, one among the k nearest of the other,\n' +
        'both are in one group, and so are all that hang together by such pairs. A line for each group of two rows and more:\n' +
        'their ids, the least first. With --rest a line for each row to keep instead: the rows left when of each group only\n' +
        'the first stays.',
    )
    .argument('<rows>', 'a file of vectors, or a snapshot (.orthant)')
    .requiredOption('-r, --radius <radius>', 'the largest distance between near-duplicates', number(-1e30))
    .option('-k <k>', 'nearest rows of each row that are looked at', integer(1), 10)
    .option('--recall <recall>', 'share of the true neighbors that should be found', number(0, 1), 0.99)
    .option('--exact', 'compare all rows')
    .option('--rest', 'print the rows to keep instead of the groups')
    .addOption(metricOption())
    .option('-o, --out <file>', 'a text file for the lines');
  inputOptions(command)
    .addHelpText('after', '\nExample:\n  $ orthant duplicates base.npy --radius 0.5')
    .action(async (path: string, flags: GraphFlags & { radius: number; rest?: boolean }) => {
      const { index, names } = await indexOf(path, flags);
      const groups = await groupsOf(index, flags);
      const nameOf = (id: number): string | number => names?.[id] ?? id;
      await whileWriting(async () => {
        const file = flags.out === undefined ? undefined : await FileReplacement.create(flags.out);
        const write = (text: string): Promise<void> => (file ? file.write(text) : print(text));
        const sink = { finish: async () => file?.finish(), abandon: async () => file?.abandon() };
        await filled(sink as never, async () => {
          if (flags.rest) {
            const doubles = new Set(groups.flatMap((group) => group.slice(1)));
            for (let id = 0, left = index.size; left > 0; id++) {
              if (!index.has(id)) continue;
              left--;
              if (!doubles.has(id)) await write(`${nameOf(id)}\n`);
            }
          } else {
            for (const group of groups) {
              const text = flags.json
                ? JSON.stringify({ ids: group.map(nameOf) })
                : group.map(nameOf).join('\t');
              await write(`${text}\n`);
            }
          }
        });
      });
      const rows = groups.reduce((sum, group) => sum + group.length, 0);
      say(
        `${count(rows)} rows in ${count(groups.length)} groups; ${count(rows - groups.length)} are to spare`,
        flags,
      );
    });
}

/** The whole k-NN graph of an index, in its order. */
async function graphOf(
  index: VectorIndex,
  flags: GraphFlags,
): Promise<NeighborsBatch & { rows: Uint32Array }> {
  const { k, recall, exact } = flags;
  const { size } = index;
  const all = {
    rows: new Uint32Array(size),
    ids: new Uint32Array(size * k),
    distances: new Float32Array(size * k),
    counts: new Uint32Array(size),
  };
  const meter = new Meter('graph', size, flags);
  let done = 0;
  for await (const page of index.neighborGraph({ k, recall, ...(exact && { exact }), sliceMs: 50 })) {
    all.rows.set(page.rows, done);
    all.ids.set(page.ids, done * k);
    all.distances.set(page.distances, done * k);
    all.counts.set(page.counts, done);
    done += page.rows.length;
    meter.update(done);
  }
  meter.stop();
  return all;
}

/** The connected components of near pairs, by their least ids. */
async function groupsOf(index: VectorIndex, flags: GraphFlags & { radius: number }): Promise<number[][]> {
  const leaders = new Map<number, number>();
  const leaderOf = (id: number): number => {
    let leader = id;
    for (let next = leaders.get(leader); next !== undefined && next !== leader; next = leaders.get(leader)) {
      leader = next;
    }
    leaders.set(id, leader);
    return leader;
  };
  const meter = new Meter('compare', index.size, flags);
  const { k, recall, exact, radius } = flags;
  let done = 0;
  for await (const page of index.neighborGraph({ k, recall, ...(exact && { exact }), sliceMs: 50 })) {
    for (let i = 0; i < page.rows.length; i++) {
      for (let at = i * k; at < i * k + page.counts[i] && page.distances[at] <= radius; at++) {
        const [a, b] = [leaderOf(page.rows[i]), leaderOf(page.ids[at])];
        leaders.set(Math.max(a, b), Math.min(a, b));
      }
    }
    done += page.rows.length;
    meter.update(done);
  }
  meter.stop();
  const groups = new Map<number, number[]>();
  for (const id of [...leaders.keys()].sort((a, b) => a - b)) {
    const leader = leaderOf(id);
    const group = groups.get(leader);
    if (group) group.push(id);
    else groups.set(leader, [id]);
  }
  return [...groups.values()].filter((group) => group.length > 1).sort((a, b) => a[0] - b[0]);
}
