import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import path from 'node:path';
import { IdSet, type Metric, VectorIndex } from '../index.js';
import type { VectorSource } from '../node/index.js';
import { AnswerFile, AnswerReader, type Answers, merged } from './answers.js';
import { buildWithMeter, type Common, metricOption } from './build.js';
import {
  type AnyIndex,
  type FilterOptions,
  filterFile,
  filterOf,
  filterOptions,
  idOfKind,
  idsIn,
} from './ids.js';
import { checkSame, type InputOptions, inputOptions, metricOf, openInput, saveIndex } from './inputs.js';
import { NameFile } from './name-file.js';
import { checkSink, type Name, openSink } from './neighbors.js';
import type { Command } from './packages.js';
import { filled, wantedNeighbors } from './search.js';
import {
  type Answering,
  answered,
  type Opened,
  onThreads,
  openSnapshot,
  type RowPage,
  threadsFor,
} from './searchers.js';
import { count, integer, Meter, number, print, say, UsageError, whileWriting } from './terminal.js';

interface JoinFlags extends Common, InputOptions, FilterOptions {
  out: string;
  k?: number;
  radius?: number;
  recall: number;
  exact?: boolean;
  metric?: Metric;
  seed: number;
  threads?: number;
  partRows?: number;
  pageRows: number;
  checkpoint: number;
  restart?: boolean;
}

/** Bytes of an index that one part of the right file becomes, at most: an index has 4 GiB, and is built beside itself. */
const PART_BYTES = 2 ** 31;
/** The share of the memory that such an index may take. */
const PART_OF_MEMORY = 1 / 8;

/** What is joined with: rows of a file, of which some are named; or an index that is there already, and a filter of it. */
type Right = { source: VectorSource; named?: number[]; isOnly?: boolean } | (Opened & { filter?: IdSet });

/** Rows of the right file that are searched at a time: all, or some of them. */
interface Part {
  index: Answering;
  /** Rows that may be found, if not all. */
  filter?: IdSet;
  /** Number of its first row in the right file. */
  first: number;
  /** Whether no other part follows; undefined while nobody knows. */
  isLast: boolean | undefined;
}

/** How far a join has come. It is replaced as a whole, after what it speaks of is on the disk. */
interface State {
  version: 2;
  /** Of both files and all options that change the answer. */
  task: string;
  /** The part of the right file that is under way, and the left rows that have met it. */
  part: number;
  rows: number;
  /** Bytes of their answers, and of the answers of the parts before that went into them. */
  bytes: number;
  bytesBefore: number;
  /** Left rows, known once the first part is through. */
  all: number | null;
}

export function defineJoin(program: Command): void {
  const command = program
    .command('join')
    .summary('for each row of one file the nearest rows of another')
    .description(
      'Finds, for each row of the left file, the k nearest rows of the right one, or all within a radius. Both may be larger ' +
        'than memory: the right one is indexed in parts, the left one passes by them in pages. Progress is kept in a folder ' +
        'beside the output, so that the same command goes on where it was interrupted, be it by Ctrl-C, a crash or a power cut.',
    )
    .argument('<left>', 'the file whose rows ask')
    .argument('<right>', 'the file whose rows are found, or a snapshot (.orthant) of them')
    .requiredOption('-o, --out <file>', 'a .tsv, .csv or .jsonl file, or a matrix of ids: .ivecs, .ibin')
    .option('-k <k>', 'neighbors a row; default 10', integer(1, 65536))
    .option(
      '-r, --radius <radius>',
      'all rows within this distance, in place of the k nearest',
      number(-1e30),
    )
    .option('--recall <recall>', 'share of the true neighbors that should be found', number(0, 1), 0.95)
    .option('--exact', 'compare all rows')
    .addOption(metricOption())
    .option('--seed <seed>', 'of the indexes', integer(0), 0)
    .option('--threads <threads>', 'threads that search; default: all of the machine', integer(1, 256))
    .option(
      '--part-rows <rows>',
      'rows of the right file in one index; default: 2 GiB or an eighth of the memory',
      integer(1),
    )
    .option('--page-rows <rows>', 'left rows that are searched at a time', integer(1, 2 ** 20), 2048)
    .option('--checkpoint <seconds>', 'how often progress is kept', number(0), 10)
    .option('--restart', 'begin anew, whatever progress of an earlier join there is');
  inputOptions(filterOptions(command))
    .addHelpText('after', '\nExample:\n  $ orthant join orders.npy products.npy -k 3 -o matches.tsv')
    .action(async (left: string, right: string, flags: JoinFlags) => {
      const k = wantedNeighbors('join', flags);
      checkSink(flags.out, k);
      const join = await Join.open(left, right, { ...flags, k });
      try {
        await whileWriting(() => join.run());
      } finally {
        await join.close();
      }
      const { rows, pairs, resumedAt, prepareMs, joinMs } = join;
      const { out, radius } = flags;
      const asked = radius === undefined ? { k } : { radius };
      if (flags.json) {
        const times = { prepareMs: Math.round(prepareMs), joinMs: Math.round(joinMs) };
        await print(`${JSON.stringify({ out, rows, ...asked, pairs, resumedAt, ...times })}\n`);
      } else {
        const what = radius === undefined ? `the ${k} nearest` : `${count(pairs)} neighbors within ${radius}`;
        await print(`${out}: ${what} of ${count(rows)} rows\n`);
      }
    });
}

/** The folder beside the output has `state.json`, the index of the part that is under way, and the answers up to it. */
class Join {
  rows = 0;
  /** Neighbors that were written. */
  pairs = 0;
  /** The left row at which this run took up an earlier one; null if it began anew. */
  resumedAt: number | null = null;
  /** Milliseconds in which indexes were read and built, and in which rows were joined and written. */
  prepareMs = 0;
  joinMs = 0;
  readonly #left: VectorSource;
  readonly #right: Right;
  readonly #flags: JoinFlags;
  readonly #metric: Metric;
  readonly #folder: string;
  readonly #partRows: number;
  #state: State;

  static async open(leftPath: string, rightPath: string, flags: JoinFlags): Promise<Join> {
    const isSnapshot = /\.orthant$/i.test(rightPath);
    if (isSnapshot && flags.metric !== undefined) {
      throw new UsageError('join: expected no --metric, since a snapshot has its own');
    }
    const started = performance.now();
    const left = await openInput(leftPath, flags, 'test');
    let right: Right | undefined;
    try {
      const file = filterFile('join', flags);
      if (isSnapshot) {
        const look = file && ((loaded: AnyIndex) => filterOf(loaded, file));
        const { seen: filter, ...opened } = await openSnapshot(rightPath, threadsFor(flags.threads), look);
        right = { ...opened, filter };
      } else {
        const source = await openInput(rightPath, flags);
        right = { source };
        if (file) right = { source, named: await rowsNamed(source, file.path), isOnly: file.isOnly };
      }
      checkSame(left, 'index' in right ? right.index.dimensions : right.source.dimensions, rightPath);
      const join = new Join(left, right, [leftPath, rightPath], flags);
      join.prepareMs = performance.now() - started;
      return join;
    } catch (error) {
      await left.close();
      if (right && 'index' in right) right.index.dispose();
      else await right?.source.close();
      throw error;
    }
  }

  private constructor(left: VectorSource, right: Right, paths: string[], flags: JoinFlags) {
    this.#left = left;
    this.#right = right;
    this.#flags = flags;
    this.#metric = 'index' in right ? right.index.metric : metricOf(right.source, flags.metric);
    this.#folder = path.join(path.dirname(flags.out), `.${path.basename(flags.out)}.join`);
    const partBytes = Math.min(PART_BYTES, totalmem() * PART_OF_MEMORY);
    this.#partRows = flags.partRows ?? Math.max(1, Math.floor(partBytes / (5 * left.dimensions + 64)));
    const { k, radius, recall, exact, only, exclude, seed, format, field, idField } = flags;
    const task = createHash('sha256')
      .update(
        JSON.stringify([
          [...paths, ...[only, exclude].filter((file) => file !== undefined)].map((file) => {
            const name = existsSync(file) ? file : file.replace(/#[^#]*$/, '');
            const { size, mtimeMs } = statSync(name);
            return [path.resolve(file), size, mtimeMs];
          }),
          [only !== undefined, exclude !== undefined],
          [this.#metric, k ?? null, radius ?? null, recall, exact === true, seed, this.#partRows],
          [format ?? '', field ?? '', idField ?? ''],
        ]),
      )
      .digest('hex');
    const old = flags.restart ? undefined : this.#readState();
    if (old !== undefined && old.task !== task) {
      throw new UsageError(
        `${this.#folder}: expected progress of the same join, got that of another; --restart begins anew`,
      );
    }
    this.#state = old ?? { version: 2, task, part: 0, rows: 0, bytes: 0, bytesBefore: 0, all: null };
    if (old !== undefined) {
      this.resumedAt = old.rows;
      say(`goes on at row ${count(old.rows)} with part ${old.part + 1}, from ${this.#folder}`, flags);
    }
    if (old !== undefined) return;
    // Nothing of another join, of which no state was kept, is taken for a part of this one.
    rmSync(this.#folder, { recursive: true, force: true });
    mkdirSync(this.#folder, { recursive: true });
    this.#keep(this.#state);
  }

  async close(): Promise<void> {
    await this.#left.close();
    if ('source' in this.#right) await this.#right.source.close();
    else this.#right.index.dispose();
  }

  async run(): Promise<void> {
    for (let isWritten = false; !isWritten; ) {
      const started = performance.now();
      const part = await this.#openPart();
      const prepared = performance.now();
      this.prepareMs += prepared - started;
      if (part === undefined && this.#state.part === 0) {
        throw new Error('right: expected at least 1 row, got 0');
      }
      if (part === undefined) {
        // That the part before was the last one shows only now.
        await this.#write((sink) => this.#replay(sink, this.#state.part - 1, Number.POSITIVE_INFINITY));
        isWritten = true;
      } else {
        isWritten = part.isLast === true;
        const search = (sink?: Output): Promise<void> => this.#searchPart(part, sink);
        await (isWritten ? this.#write(search) : search()).finally(() => part.index.dispose());
      }
      this.joinMs += performance.now() - prepared;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** The index of the part that is under way: from the folder, or built of its rows. */
  async #openPart(): Promise<Part | undefined> {
    if ('index' in this.#right) {
      const { index, filter } = this.#right;
      return { index, filter, first: 0, isLast: true };
    }
    const threads = threadsFor(this.#flags.threads);
    const { source } = this.#right;
    const perPart = this.#partRows;
    const first = this.#state.part * perPart;
    if (source.rows !== undefined && first >= source.rows) return undefined;
    const isLast = source.rows === undefined ? undefined : first + perPart >= source.rows;
    const saved = this.#path(`part-${this.#state.part}.orthant`);
    if (existsSync(saved)) {
      const { index } = await openSnapshot(saved, threads);
      return { index, filter: this.#filterOf(first, index.size), first, isLast };
    }
    const rows = new VectorIndex({
      dimensions: source.dimensions,
      metric: this.#metric,
      seed: this.#flags.seed,
    });
    const most = source.rows === undefined ? undefined : Math.min(perPart, source.rows - first);
    const meter = new Meter(`read part ${this.#state.part + 1}`, most, this.#flags);
    for await (const page of source.pages({ from: first })) {
      const taken = Math.min(page.rows, perPart - rows.size);
      rows.add(page.vectors.subarray(0, taken * source.dimensions));
      meter.update(rows.size);
      if (rows.size >= perPart) break;
    }
    meter.stop();
    const { size } = rows;
    if (size === 0) return undefined;
    const { index } = await onThreads(rows, threads);
    if (!this.#flags.exact) {
      const { k } = this.#flags;
      await buildWithMeter(index, {}, this.#flags);
      // Another k than is tuned at the build.
      if (k !== undefined && k !== 10) await index.tune({ k });
      await saveIndex(index, saved);
    }
    const filter = this.#filterOf(first, size);
    return { index, filter, first, isLast: isLast ?? (size < perPart || undefined) };
  }

  /** The rows of a part that may be found, by their places in it. */
  #filterOf(first: number, size: number): IdSet | undefined {
    const { named: rows, isOnly } = this.#right as { named?: number[]; isOnly?: boolean };
    if (rows === undefined) return undefined;
    const named = new IdSet(rows.map((row) => row - first).filter((row) => row >= 0 && row < size));
    if (isOnly) return named;
    const others = new IdSet();
    for (let row = 0; row < size; row++) if (!named.has(row)) others.add(row);
    return others;
  }

  /** Lets the left rows that are left meet a part, and keeps what they find; the last part's answers are those to write. */
  async #searchPart({ index, filter, first }: Part, output?: Output): Promise<void> {
    const { k, radius, recall, exact, checkpoint, pageRows } = this.#flags;
    const { part, rows: from } = this.#state;
    const meter = new Meter(`join part ${part + 1}`, this.#left.rows ?? this.#state.all ?? undefined, {
      ...this.#flags,
      before: from,
    });
    const answers = new AnswerFile(this.#path(`answers-${part}`), this.#state.bytes);
    const before =
      part === 0 ? undefined : new AnswerReader(this.#path(`answers-${part - 1}`), this.#state.bytesBefore);
    let kept = performance.now();
    let rows = from;
    const keep = (): void => {
      answers.flush();
      this.#keep({ ...this.#state, rows, bytes: answers.bytes, bytesBefore: before?.at ?? 0 });
      kept = performance.now();
    };
    try {
      if (output && from > 0) await this.#replay(output, part, from);
      const question = { k, radius, recall, exact, filter };
      for await (const { page, result } of answered(index, this.#left, { from, pageRows }, question)) {
        const all = before === undefined ? result : merged(before.read(page.rows), result, first, k);
        answers.append(all);
        rows = page.first + page.rows;
        await output?.write(all, page);
        meter.update(rows);
        if (performance.now() - kept >= 1000 * checkpoint) keep();
      }
      meter.stop();
      // What comes next is the output itself.
      if (output === undefined) keep();
    } finally {
      answers.close();
      before?.close();
    }
    if (output) return;
    this.#keep({ ...this.#state, part: part + 1, rows: 0, bytes: 0, bytesBefore: 0, all: rows });
    rmSync(this.#path(`part-${part}.orthant`), { force: true });
    rmSync(this.#path(`answers-${part - 1}`), { force: true });
  }

  /** Writes answers that the folder has, of so many rows. */
  async #replay(output: Output, part: number, rows: number): Promise<void> {
    const { pageRows } = this.#flags;
    const reader = new AnswerReader(this.#path(`answers-${part}`));
    const all = Math.min(rows, this.#state.all ?? rows);
    const meter = new Meter('write', all, this.#flags);
    try {
      const pages = this.#left.hasIds ? this.#left.pages({ pageRows }) : emptyPages(all, pageRows);
      for await (const page of pages) {
        const taken = Math.min(page.rows, all - page.first);
        if (taken <= 0) break;
        await output.write(reader.read(taken), page);
        meter.update(page.first + taken);
      }
      meter.stop();
    } finally {
      reader.close();
    }
  }

  /** Opens the output, which takes its place when `work` is done. */
  async #write(work: (output: Output) => Promise<void>): Promise<void> {
    const names = await this.#rightNames();
    try {
      const sink = await openSink(this.#flags.out, this.#flags.k, {});
      const output: Output = {
        write: (answers, { first, ids }) => {
          this.rows += answers.offsets.length - 1;
          this.pairs += answers.ids.length;
          return sink.write(answers, (row) => ids?.[row] ?? first + row, names.of(answers.ids));
        },
      };
      await filled(sink, () => work(output));
    } finally {
      names.close();
    }
  }

  /** What the rows of the right file are called: its ids wait in a file, however many they are. */
  async #rightNames(): Promise<{ of(rows: Uint32Array): Name; close(): void }> {
    const right = this.#right;
    if ('source' in right && right.source.hasIds)
      return NameFile.write(this.#path('ids'), right.source.pages());
    const name: Name = 'index' in right ? right.name : (row) => row;
    return { of: () => name, close: () => {} };
  }

  #path(name: string): string {
    return path.join(this.#folder, name);
  }

  #readState(): State | undefined {
    const file = this.#path('state.json');
    if (!existsSync(file)) return undefined;
    try {
      const state = JSON.parse(readFileSync(file, 'utf8'));
      const { version, part, rows, bytes, bytesBefore } = state;
      if (version === 2 && [part, rows, bytes, bytesBefore].every(Number.isSafeInteger)) return state;
    } catch {
      // Not ours, or damaged: said below.
    }
    throw new UsageError(`${file}: expected progress of a join, got something else; --restart begins anew`);
  }

  /** Keeps how far the join has come. What the state speaks of is on the disk by now. */
  #keep(state: State): void {
    const file = this.#path('state.json');
    writeFileSync(`${file}.tmp`, JSON.stringify(state), { flush: true });
    renameSync(`${file}.tmp`, file);
    this.#state = state;
  }
}

/** Where final answers go. */
interface Output {
  write(answers: Answers, page: RowPage): Promise<void>;
}

/** The rows of a file that a text names, by their ids where it has such, else by their numbers. */
async function rowsNamed(source: VectorSource, path: string): Promise<number[]> {
  const ids = idsIn(source.hasIds ? 'string' : 'row', path);
  const refused = (id: string): Error =>
    new Error(`${path}: expected ids of ${source.path}, got ${JSON.stringify(id)}`);
  if (!source.hasIds) {
    return ids.map((id) => {
      const row = idOfKind('row', id) as number | undefined;
      if (row === undefined || row >= (source.rows ?? Number.POSITIVE_INFINITY)) throw refused(id);
      return row;
    });
  }
  const left = new Set(ids);
  const wanted = new Set(ids);
  const rows: number[] = [];
  for await (const page of source.pages()) {
    page.ids?.forEach((id, i) => {
      if (!wanted.has(id)) return;
      rows.push(page.first + i);
      left.delete(id);
    });
  }
  for (const id of left) throw refused(id);
  return rows;
}

async function* emptyPages(rows: number, pageRows: number): AsyncGenerator<RowPage> {
  for (let first = 0; first < rows; first += pageRows)
    yield { first, rows: Math.min(pageRows, rows - first) };
}
