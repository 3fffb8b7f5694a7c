import { closeSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Metric, type NeighborPage, VectorIndex } from '../index.js';
import { FileReplacement } from '../node/index.js';
import { packed } from './answers.js';
import { buildWithMeter, type Common, metricOption } from './build.js';
import { type AnyIndex, addPage } from './ids.js';
import { type InputOptions, inputOptions, metricOf, openInput } from './inputs.js';
import { checkSink, Lines, openSink } from './neighbors.js';
import type { Command } from './packages.js';
import { filled } from './search.js';
import { type Opened, onThreads, openSnapshot, threadsFor } from './searchers.js';
import { count, integer, Meter, number, print, say, UsageError, whileWriting } from './terminal.js';

/** Rows that are written at a time. */
const PAGE_ROWS = 4096;

interface SelfFlags extends Common, InputOptions {
  recall: number;
  exact?: boolean;
  metric?: Metric;
  threads?: number;
  out?: string;
}

/** An index of the rows of a file, or the one that a snapshot holds. */
async function indexOf<Seen = undefined>(
  file: string,
  flags: SelfFlags,
  look?: (index: AnyIndex) => Seen,
): Promise<Opened & { seen?: Seen }> {
  const threads = threadsFor(flags.threads);
  if (/\.orthant$/i.test(file)) {
    if (flags.metric !== undefined)
      throw new UsageError('expected no --metric, since a snapshot has its own');
    return openSnapshot(file, threads, look);
  }
  const source = await openInput(file, flags);
  try {
    const metric = metricOf(source, flags.metric);
    const { dimensions, hasIds } = source;
    const rows: AnyIndex = new VectorIndex({ dimensions, metric, ...(hasIds && { ids: 'string' as const }) });
    const meter = new Meter('read', source.rows, flags);
    for await (const page of source.pages()) {
      addPage(rows, page, file);
      meter.update(rows.size);
    }
    meter.stop();
    const seen = look?.(rows);
    const opened = { ...(await onThreads(rows, threads)), seen };
    if (!flags.exact) await buildWithMeter(opened.index, {}, flags);
    return opened;
  } finally {
    await source.close();
  }
}

function selfOptions(command: Command): Command {
  return inputOptions(
    command
      .option('--exact', 'compare all rows')
      .addOption(metricOption())
      .option('--threads <threads>', 'threads that search; default: all of the machine', integer(1, 256)),
  );
}

export function defineGraph(program: Command): void {
  const command = program
    .command('graph')
    .summary('the nearest other rows of every row')
    .description(
      'Finds the k nearest other rows of every row of a file or a snapshot. Output as that of search, row by row. Until all ' +
        'are found they wait in a temporary file; with --unordered each is written as it is found, cell by cell.',
    )
    .argument('<rows>', 'a file of vectors, or a snapshot (.orthant)')
    .option('-k <k>', 'neighbors a row', integer(1), 10)
    .option('--recall <recall>', 'share of the true neighbors that should be found', number(0, 1), 0.95)
    .option('--unordered', 'rows in the order of the index')
    .option('-o, --out <file>', 'a .tsv, .csv or .jsonl file, or a matrix of ids: .ivecs, .ibin');
  selfOptions(command)
    .addHelpText('after', '\nExample:\n  $ orthant graph base.npy -k 5 -o graph.ivecs')
    .action(async (file: string, flags: SelfFlags & { k: number; unordered?: boolean }) => {
      const { k, out, recall, exact, unordered } = flags;
      if (out !== undefined && /vecs|bin/.test(checkSink(out, k)) && unordered) {
        throw new UsageError('graph: expected no --unordered with a matrix, whose rows have no names');
      }
      const { index, name } = await indexOf(file, flags);
      const write = async (): Promise<void> => {
        const sink = await openSink(out, k, flags);
        await filled(sink, async () => {
          const put = ({ rows, ...page }: NeighborPage): Promise<void> =>
            sink.write(packed(page), (row) => name(rows[row]), name);
          const spool = unordered ? undefined : new Spool(k, out);
          try {
            const meter = new Meter('graph', index.size, flags);
            let done = 0;
            for await (const page of index.neighborGraph({ k, recall, exact, sliceMs: 50 })) {
              if (spool) spool.append(page);
              else await put(page);
              done += page.rows.length;
              meter.update(done);
            }
            meter.stop();
            for (const page of spool?.pages() ?? []) await put(page);
          } finally {
            spool?.close();
          }
        });
      };
      await whileWriting(write).finally(() => index.dispose());
    });
}

/**
 * Pages of a graph that come cell by cell, and are wanted row by row: kept in a file without a name, which ends with the
 * process. In memory it has 8 bytes a row.
 */
class Spool {
  readonly #k: number;
  readonly #file: number;
  readonly #recordBytes: number;
  /** The row of each record. */
  #rows = new Uint32Array(1024);
  #count = 0;

  constructor(k: number, out: string | undefined) {
    this.#k = k;
    this.#recordBytes = 4 * (1 + 2 * k);
    const folder = out === undefined ? tmpdir() : path.dirname(out);
    const name = path.join(folder, `.orthant-graph.${process.pid}.tmp`);
    this.#file = openSync(name, 'wx+');
    unlinkSync(name);
  }

  append({ rows, ids, distances, counts }: NeighborPage): void {
    const k = this.#k;
    if (this.#count + rows.length > this.#rows.length) {
      const more = new Uint32Array(2 * (this.#count + rows.length));
      more.set(this.#rows.subarray(0, this.#count));
      this.#rows = more;
    }
    this.#rows.set(rows, this.#count);
    const words = new Uint32Array(rows.length * (1 + 2 * k));
    const floats = new Float32Array(words.buffer);
    for (let i = 0; i < rows.length; i++) {
      const at = i * (1 + 2 * k);
      words[at] = counts[i];
      words.set(ids.subarray(i * k, (i + 1) * k), at + 1);
      floats.set(distances.subarray(i * k, (i + 1) * k), at + 1 + k);
    }
    const bytes = new Uint8Array(words.buffer);
    const start = this.#count * this.#recordBytes;
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(this.#file, bytes, done, bytes.length - done, start + done);
    }
    this.#count += rows.length;
  }

  /** All of them, row by row. */
  *pages(): Generator<NeighborPage> {
    const k = this.#k;
    const order = Uint32Array.from({ length: this.#count }, (_, i) => i);
    order.sort((a, b) => this.#rows[a] - this.#rows[b]);
    const bytes = new Uint8Array(this.#recordBytes);
    const words = new Uint32Array(bytes.buffer);
    const floats = new Float32Array(bytes.buffer);
    for (let first = 0; first < order.length; first += PAGE_ROWS) {
      const some = order.subarray(first, first + PAGE_ROWS);
      const page = {
        rows: some.map((record) => this.#rows[record]),
        ids: new Uint32Array(some.length * k),
        distances: new Float32Array(some.length * k),
        counts: new Uint32Array(some.length),
      };
      some.forEach((record, i) => {
        readSync(this.#file, bytes, 0, bytes.length, record * this.#recordBytes);
        page.counts[i] = words[0];
        page.ids.set(words.subarray(1, 1 + k), i * k);
        page.distances.set(floats.subarray(1 + k), i * k);
      });
      yield page;
    }
  }

  close(): void {
    closeSync(this.#file);
  }
}

interface DuplicatesFlags extends SelfFlags {
  radius: number;
  rest?: boolean;
  pairs?: boolean;
}

export function defineDuplicates(program: Command): void {
  const command = program
    .command('duplicates')
    .summary('groups of rows that are nearly alike')
    .description(
      'Groups rows that are nearly alike: two rows within the radius of each other are in one group, and so are all that ' +
        'hang together by such pairs. A line for each group of two rows and more: their ids, in the order of the rows. With ' +
        '--rest a line for each row to keep instead: the rows left when of each group only the first stays. With --pairs a line ' +
        'for each pair within the radius: two ids and their distance.',
    )
    .argument('<rows>', 'a file of vectors, or a snapshot (.orthant)')
    .requiredOption('-r, --radius <radius>', 'the largest distance between near-duplicates', number(-1e30))
    .option('--recall <recall>', 'share of the pairs that should be found', number(0, 1), 0.99)
    .option('--rest', 'print the rows to keep instead of the groups')
    .option('--pairs', 'print the pairs instead of the groups')
    .option('-o, --out <file>', 'a text file for the lines');
  selfOptions(command)
    .addHelpText('after', '\nExample:\n  $ orthant duplicates base.npy --radius 0.5')
    .action(async (file: string, flags: DuplicatesFlags) => {
      if (flags.rest && flags.pairs)
        throw new UsageError('duplicates: expected either --rest or --pairs, got both');
      const opened = await indexOf(file, flags, flags.rest ? rowNumbers : undefined);
      const rows = opened.seen ?? new Uint32Array(0);
      const work = async (): Promise<void> => {
        const to = flags.out === undefined ? undefined : await FileReplacement.create(flags.out);
        const sink = { finish: async () => to?.finish(), abandon: async () => to?.abandon() };
        await filled(sink as never, async () => {
          const text = new Lines((lines) => (to ? to.write(lines) : print(lines)));
          if (flags.pairs) await writePairs(opened, flags, text);
          else await writeGroups(opened, flags, text, rows);
          await text.flush();
        });
      };
      await whileWriting(work).finally(() => opened.index.dispose());
    });
}

/** The numbers of all rows. */
function rowNumbers(index: AnyIndex): Uint32Array<ArrayBuffer> {
  const rows = new Uint32Array(index.size);
  let at = 0;
  for (const id of index.userIds()) rows[at++] = index.rowOf(id) as number;
  return rows;
}

async function writePairs({ index, name }: Opened, flags: DuplicatesFlags, text: Lines): Promise<void> {
  const { radius, recall, exact } = flags;
  const meter = new Meter('compare', index.size, flags);
  const onProgress = ({ done }: { done: number }): void => meter.update(done);
  let pairs = 0;
  for await (const page of index.selfJoin({ radius, recall, exact, sliceMs: 50, onProgress })) {
    for (let i = 0; i < page.a.length; i++) {
      const [a, b] = [name(page.a[i]), name(page.b[i])];
      if (flags.json) text.text('{"ids":[').json(a).text(',').json(b).text('],"distance":');
      else text.field(a, '\t').text('\t').field(b, '\t').text('\t');
      text.decimal(page.distances[i]).text(flags.json ? '}\n' : '\n');
      if (text.isFull) await text.flush();
    }
    pairs += page.a.length;
  }
  meter.update(index.size);
  meter.stop();
  say(`${count(pairs)} pairs`, flags);
}

async function writeGroups(
  { index, name }: Opened,
  flags: DuplicatesFlags,
  text: Lines,
  rows: Uint32Array,
): Promise<void> {
  const { radius, recall, exact } = flags;
  const meter = new Meter('compare', index.size, flags);
  const onProgress = ({ done, total }: { done: number; total: number }): void =>
    meter.update(Math.floor((done / Math.max(1, total)) * index.size));
  let inGroups = 0;
  let groups = 0;
  /** A bit for each row that is not the first of its group. */
  const spare = new Uint8Array(rows.length === 0 ? 0 : (rows[rows.length - 1] >>> 3) + 1);
  for await (const page of index.duplicates({ radius, recall, exact, sliceMs: 50, onProgress })) {
    for (let group = 0; group + 1 < page.offsets.length; group++) {
      const ids = page.ids.subarray(page.offsets[group], page.offsets[group + 1]);
      groups++;
      inGroups += ids.length;
      if (flags.rest) {
        for (const id of ids.subarray(1)) spare[id >>> 3] |= 1 << (id & 7);
        continue;
      }
      if (flags.json) text.text('{"ids":[');
      ids.forEach((id, i) => {
        if (i > 0) text.text(flags.json ? ',' : '\t');
        if (flags.json) text.json(name(id));
        else text.field(name(id), '\t');
      });
      text.text(flags.json ? ']}\n' : '\n');
      if (text.isFull) await text.flush();
    }
  }
  meter.update(index.size);
  meter.stop();
  if (flags.rest) {
    for (const row of rows) {
      if ((spare[row >>> 3] >>> (row & 7)) & 1) continue;
      if (flags.json) text.json(name(row)).text('\n');
      else text.field(name(row), '\t').text('\n');
      if (text.isFull) await text.flush();
    }
  }
  say(`${count(inGroups)} rows in ${count(groups)} groups; ${count(inGroups - groups)} are to spare`, flags);
}
