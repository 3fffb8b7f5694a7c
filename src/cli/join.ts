import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { type Metric, type NeighborsBatch, VectorIndex } from '../index.js';
import type { VectorSource } from '../node/index.js';
import { buildWithMeter, type Common, metricOption } from './build.js';
import {
  checkSame,
  type InputOptions,
  inputOptions,
  loadIndex,
  metricOf,
  type NamedIndex,
  openInput,
  saveIndex,
} from './inputs.js';
import { openSink } from './neighbors.js';
import type { Command } from './packages.js';
import { filled, merge } from './search.js';
import { inOrder, openSearchers, threadsFor } from './searchers.js';
import { count, integer, Meter, number, print, say, UsageError, whileWriting } from './terminal.js';

interface JoinFlags extends Common, InputOptions {
  out: string;
  k: number;
  recall: number;
  exact?: boolean;
  metric?: Metric;
  seed: number;
  threads?: number;
  partRows?: number;
  pageRows: number;
  checkpoint: number;
}

/** Bytes of an index that one part of the right file becomes; an index has 4 GiB at most. */
const PART_BYTES = 2 ** 31;

/** What is joined with: rows of a file, or an index that is there already. */
type Right = { source: VectorSource } | NamedIndex;

/** How far a join has come. It is replaced as a whole, after what it speaks of is on the disk. */
interface State {
  version: 1;
  /** Of both files and all options that change the answer. */
  task: string;
  /** The part of the right file that is under way, and the left rows that have met it. */
  part: number;
  rows: number;
  /** Left rows, known once the first part is through. */
  all: number | null;
  done: boolean;
}

export function defineJoin(program: Command): void {
  const command = program
    .command('join')
    .summary('for each row of one file the nearest rows of another')
    .description(
      'Finds, for each row of the left file, the k nearest rows of the right one. Both may be larger than memory: the right\n' +
        'one is indexed in parts, the left one passes by them in pages. Progress is kept in a folder beside the output, so\n' +
        'that the same command goes on where it was interrupted, be it by Ctrl-C, a crash or a power cut.',
    )
    .argument('<left>', 'the file whose rows ask')
    .argument('<right>', 'the file whose rows are found, or a snapshot (.orthant) of them')
    .requiredOption('-o, --out <file>', 'a .tsv, .csv or .jsonl file, or a matrix of ids: .ivecs, .ibin')
    .option('-k <k>', 'neighbors a row', integer(1, 65536), 10)
    .option('--recall <recall>', 'share of the true neighbors that should be found', number(0, 1), 0.95)
    .option('--exact', 'compare all rows')
    .addOption(metricOption())
    .option('--seed <seed>', 'of the indexes', integer(0), 0)
    .option('--threads <threads>', 'threads that search; default: all of the machine', integer(1, 256))
    .option('--part-rows <rows>', 'rows of the right file in one index; default: 2 GiB of them', integer(1))
    .option('--page-rows <rows>', 'left rows that are searched at a time', integer(1, 2 ** 20), 2048)
    .option('--checkpoint <seconds>', 'how often progress is kept', number(0), 10);
  inputOptions(command)
    .addHelpText('after', '\nExample:\n  $ orthant join orders.npy products.npy -k 3 -o matches.tsv')
    .action(async (left: string, right: string, flags: JoinFlags) => {
      const join = await Join.open(left, right, flags);
      try {
        await whileWriting(() => join.run());
      } finally {
        await join.close();
      }
      const { rows, resumedAt } = join;
      if (flags.json) await print(`${JSON.stringify({ out: flags.out, rows, k: flags.k, resumedAt })}\n`);
      else await print(`${flags.out}: the ${flags.k} nearest of ${count(rows)} rows\n`);
    });
}

/** A record a left row: its count, then k ids and k distances, all of 4 bytes. Ids are rows of the whole right file. */
class Join {
  rows = 0;
  /** The left row at which this run took up an earlier one; null if it began anew. */
  resumedAt: number | null = null;
  readonly #left: VectorSource;
  readonly #right: Right;
  readonly #flags: JoinFlags;
  readonly #metric: Metric;
  readonly #folder: string;
  readonly #recordBytes: number;
  #state: State;
  #file: number;

  static async open(leftPath: string, rightPath: string, flags: JoinFlags): Promise<Join> {
    const isSnapshot = /\.orthant$/i.test(rightPath);
    if (isSnapshot && flags.metric !== undefined) {
      throw new UsageError('join: expected no --metric, since a snapshot has its own');
    }
    const left = await openInput(leftPath, flags, 'test');
    try {
      const right: Right = isSnapshot ? loadIndex(rightPath) : { source: await openInput(rightPath, flags) };
      checkSame(left, 'index' in right ? right.index.dimensions : right.source.dimensions, rightPath);
      return new Join(left, right, [leftPath, rightPath], flags);
    } catch (error) {
      await left.close();
      throw error;
    }
  }

  private constructor(left: VectorSource, right: Right, paths: string[], flags: JoinFlags) {
    this.#left = left;
    this.#right = right;
    this.#flags = flags;
    this.#metric = 'index' in right ? right.index.metric : metricOf(right.source, flags.metric);
    this.#folder = path.join(path.dirname(flags.out), `.${path.basename(flags.out)}.join`);
    this.#recordBytes = 4 * (1 + 2 * flags.k);
    const task = createHash('sha256')
      .update(
        JSON.stringify([
          paths.map((file) => {
            const { size, mtimeMs } = statSync(
              file.replace(/#[^#]*$/, (name) => (existsSync(file) ? name : '')),
            );
            return [path.resolve(file), size, mtimeMs];
          }),
          [this.#metric, flags.k, flags.recall, flags.exact === true, flags.seed, flags.partRows ?? 0],
          [flags.format ?? '', flags.field ?? '', flags.idField ?? ''],
        ]),
      )
      .digest('hex');
    const fresh: State = { version: 1, task, part: 0, rows: 0, all: null, done: false };
    const old = this.#readState();
    if (old !== undefined && old.task !== task) {
      throw new UsageError(
        `${this.#folder}: expected progress of the same join, got that of another; remove the folder to begin anew`,
      );
    }
    this.#state = old ?? fresh;
    if (old !== undefined) {
      this.resumedAt = old.rows;
      say(`goes on at row ${count(old.rows)} with part ${old.part + 1}, from ${this.#folder}`, flags);
    }
    mkdirSync(this.#folder, { recursive: true });
    this.#file = openSync(
      path.join(this.#folder, 'records'),
      existsSync(path.join(this.#folder, 'records')) ? 'r+' : 'w+',
    );
    // Records that are newer than the state are searched again.
    if (this.#state.all === null) ftruncateSync(this.#file, this.#state.rows * this.#recordBytes);
  }

  async close(): Promise<void> {
    closeSync(this.#file);
    await this.#left.close();
    if ('source' in this.#right) await this.#right.source.close();
  }

  async run(): Promise<void> {
    while (!this.#state.done) {
      const part = await this.#openPart();
      if (part === undefined && this.#state.part === 0) {
        throw new Error('right: expected at least 1 row, got 0');
      }
      if (part === undefined) {
        this.#keep({ ...this.#state, done: true });
        break;
      }
      await this.#searchPart(part.index, part.first);
      const all = this.#state.all ?? this.#state.rows;
      const isLast = part.isLast;
      rmSync(this.#partPath(this.#state.part), { force: true });
      this.#keep({ ...this.#state, part: this.#state.part + 1, rows: 0, all, done: isLast });
    }
    this.rows = this.#state.all ?? 0;
    await this.#write();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** The index of the part that is under way: from the folder, or built of its rows. */
  async #openPart(): Promise<{ index: VectorIndex; first: number; isLast: boolean } | undefined> {
    if ('index' in this.#right) return { index: this.#right.index, first: 0, isLast: true };
    const { source } = this.#right;
    const perPart =
      this.#flags.partRows ?? Math.max(1, Math.floor(PART_BYTES / (5 * source.dimensions + 64)));
    const first = this.#state.part * perPart;
    if (source.rows !== undefined && first >= source.rows) return undefined;
    const isLast = source.rows !== undefined && first + perPart >= source.rows;
    const saved = this.#partPath(this.#state.part);
    if (existsSync(saved)) return { ...loadIndex(saved), first, isLast };
    const index = new VectorIndex({
      dimensions: source.dimensions,
      metric: this.#metric,
      seed: this.#flags.seed,
    });
    const most = source.rows === undefined ? undefined : Math.min(perPart, source.rows - first);
    const meter = new Meter(`read part ${this.#state.part + 1}`, most, this.#flags);
    for await (const page of source.pages({ from: first })) {
      const rows = Math.min(page.rows, perPart - index.size);
      index.add(page.vectors.subarray(0, rows * source.dimensions));
      meter.update(index.size);
      if (index.size >= perPart) break;
    }
    meter.stop();
    if (index.size === 0) return undefined;
    if (!this.#flags.exact) await buildWithMeter(index, {}, this.#flags);
    // Another k than is tuned at the build.
    if (!this.#flags.exact && this.#flags.k !== 10) index.tune({ k: this.#flags.k });
    await saveIndex({ index }, saved);
    return { index, first, isLast };
  }

  /** Lets the left rows that are left meet a part; keeps what they find. */
  async #searchPart(index: VectorIndex, firstOfPart: number): Promise<void> {
    const { k, recall, exact, checkpoint, pageRows } = this.#flags;
    const searchers = openSearchers(index, { k, recall, exact }, threadsFor(this.#flags.threads));
    const from = this.#state.rows;
    const meter = new Meter(
      `join part ${this.#state.part + 1}`,
      this.#left.rows ?? this.#state.all ?? undefined,
      {
        ...(this.#flags.quiet !== undefined && { quiet: this.#flags.quiet }),
        before: from,
      },
    );
    let kept = performance.now();
    let rows = from;
    try {
      const pages = this.#left.pages({ from, pageRows });
      const answers = inOrder(pages, searchers.lanes, ({ vectors }) => searchers.search(vectors));
      for await (const { page, result } of answers) {
        this.#merge(result, page.first, page.rows, firstOfPart);
        rows = page.first + page.rows;
        meter.update(rows);
        if (performance.now() - kept < 1000 * checkpoint) continue;
        this.#keep({ ...this.#state, rows });
        kept = performance.now();
      }
      meter.stop();
      this.#keep({ ...this.#state, rows });
    } finally {
      await searchers.close();
    }
  }

  /**
   * Writes records of some left rows. Merging twice is harmless: where a crash left records that are newer than the state,
   * they have the same neighbors, and a neighbor that is there already is left out.
   */
  #merge(found: NeighborsBatch, first: number, rows: number, firstOfPart: number): void {
    const { k } = this.#flags;
    const bytes = Buffer.alloc(rows * this.#recordBytes);
    const at = first * this.#recordBytes;
    const isFirstPart = this.#state.part === 0;
    const old = emptyBatch(rows, k);
    if (!isFirstPart) {
      readSync(this.#file, bytes, 0, bytes.length, at);
      this.#decode(bytes, old);
      for (let i = 0; i < rows; i++) forget(old, i, k, firstOfPart);
    }
    for (let i = 0; i < rows; i++) merge(old, found, i, k, firstOfPart);
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    const floats = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    for (let i = 0; i < rows; i++) {
      const record = i * (1 + 2 * k);
      words[record] = old.counts[i];
      words.set(old.ids.subarray(i * k, (i + 1) * k), record + 1);
      floats.set(old.distances.subarray(i * k, (i + 1) * k), record + 1 + k);
    }
    let done = 0;
    while (done < bytes.length) done += writeSync(this.#file, bytes, done, bytes.length - done, at + done);
  }

  #decode(bytes: Buffer, into: NeighborsBatch): void {
    const { k } = this.#flags;
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    const floats = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    for (let i = 0; i < into.counts.length; i++) {
      const record = i * (1 + 2 * k);
      into.counts[i] = words[record];
      into.ids.set(words.subarray(record + 1, record + 1 + k), i * k);
      into.distances.set(floats.subarray(record + 1 + k, record + 1 + 2 * k), i * k);
    }
  }

  /** Turns records into the output. */
  async #write(): Promise<void> {
    const { k, out, pageRows, idField } = this.#flags;
    const hasNames = idField !== undefined || ('ids' in this.#right && this.#right.ids !== undefined);
    const names = hasNames ? await this.#names() : undefined;
    const sink = await openSink(out, k, {});
    await filled(sink, async () => {
      const meter = new Meter('write', this.rows, this.#flags);
      for (let first = 0; first < this.rows; first += pageRows) {
        const rows = Math.min(pageRows, this.rows - first);
        const bytes = Buffer.alloc(rows * this.#recordBytes);
        readSync(this.#file, bytes, 0, bytes.length, first * this.#recordBytes);
        const batch = emptyBatch(rows, k);
        this.#decode(bytes, batch);
        const from = first;
        await sink.write(
          batch,
          (row) => names?.left[from + row] ?? from + row,
          (id) => names?.right[id] ?? id,
        );
        meter.update(first + rows);
      }
      meter.stop();
    });
  }

  /** The ids of both files, where they have some. */
  async #names(): Promise<{ left: string[]; right: string[] }> {
    const names = { left: [] as string[], right: [] as string[] };
    for await (const page of this.#left.pages()) for (const id of page.ids ?? []) names.left.push(id);
    if ('index' in this.#right) {
      names.right = this.#right.ids ?? [];
    } else {
      for await (const page of this.#right.source.pages())
        for (const id of page.ids ?? []) names.right.push(id);
    }
    return names;
  }

  #partPath(part: number): string {
    return path.join(this.#folder, `part-${part}.orthant`);
  }

  #statePath(): string {
    return path.join(this.#folder, 'state.json');
  }

  #readState(): State | undefined {
    if (!existsSync(this.#statePath())) return undefined;
    try {
      const state = JSON.parse(readFileSync(this.#statePath(), 'utf8'));
      if (state.version === 1 && Number.isInteger(state.part) && Number.isInteger(state.rows)) return state;
    } catch {
      // Not ours, or damaged: said below.
    }
    throw new UsageError(
      `${this.#statePath()}: expected progress of a join, got something else; remove the folder`,
    );
  }

  /** Keeps how far the join has come: first the records reach the disk, then the state that speaks of them. */
  #keep(state: State): void {
    fsyncSync(this.#file);
    const temporary = `${this.#statePath()}.tmp`;
    writeFileSync(temporary, JSON.stringify(state), { flush: true });
    renameSync(temporary, this.#statePath());
    this.#state = state;
  }
}

function emptyBatch(rows: number, k: number): NeighborsBatch {
  return {
    ids: new Uint32Array(rows * k).fill(0xffffffff),
    distances: new Float32Array(rows * k).fill(Number.POSITIVE_INFINITY),
    counts: new Uint32Array(rows),
  };
}

/** Drops what a part gave before: ids from its first row on. Searched again, it gives the same, and pushes out the same. */
function forget(batch: NeighborsBatch, query: number, k: number, firstOfPart: number): void {
  const start = query * k;
  let kept = 0;
  for (let i = 0; i < batch.counts[query]; i++) {
    if (batch.ids[start + i] >= firstOfPart) continue;
    batch.ids[start + kept] = batch.ids[start + i];
    batch.distances[start + kept] = batch.distances[start + i];
    kept++;
  }
  batch.counts[query] = kept;
}
