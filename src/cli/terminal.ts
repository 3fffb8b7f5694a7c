import { once } from 'node:events';
import { abandonFiles } from '../node/index.js';
import { InvalidArgumentError, SingleBar } from './packages.js';

/** Results go to stdout, words to stderr: what is piped on is only what was asked for. */
export async function print(text: string | Uint8Array): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}

/** Words about what is going on, unless the user wants none. */
export function say(text: string, options: { quiet?: boolean }): void {
  if (!options.quiet) process.stderr.write(`${text}\n`);
}

/** A reader that has enough, such as head, ends the command without a word. */
export function endQuietlyWithReader(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      abandonFiles();
      process.exit(0);
    });
  }
}

/** Runs work that writes files: Ctrl-C in the meantime removes what is half written. */
export async function whileWriting<Result>(work: () => Promise<Result>): Promise<Result> {
  const stop = (signal: NodeJS.Signals): void => {
    abandonFiles();
    process.removeListener('SIGINT', stop);
    process.removeListener('SIGTERM', stop);
    // Ends as it would have without us, so that a shell knows why.
    process.kill(process.pid, signal);
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  try {
    return await work();
  } finally {
    process.removeListener('SIGINT', stop);
    process.removeListener('SIGTERM', stop);
  }
}

const LINE_EVERY_MS = 5000;

/** How far work has come: a bar on a terminal, now and then a line elsewhere. */
export class Meter {
  readonly #label: string;
  readonly #total: number | undefined;
  readonly #isQuiet: boolean;
  readonly #started = performance.now();
  /** What was done before this run of the command. */
  readonly #before: number;
  #bar: SingleBar | undefined;
  #said = performance.now();
  #done = 0;

  constructor(label: string, total: number | undefined, options: { quiet?: boolean; before?: number }) {
    this.#label = label;
    this.#total = total;
    this.#isQuiet = options.quiet === true;
    this.#before = options.before ?? 0;
    if (this.#isQuiet || total === undefined || total === 0 || !process.stderr.isTTY) return;
    this.#bar = new SingleBar({
      format: '{label} {bar} {percentage} % | {done} of {all} | {rate} | {left} left',
      stream: process.stderr,
      hideCursor: true,
      clearOnComplete: true,
      gracefulExit: true,
    });
    this.#bar.start(total, this.#before, this.#words(this.#before));
  }

  update(done: number): void {
    this.#done = done;
    if (this.#isQuiet) return;
    if (this.#bar) {
      this.#bar.update(Math.min(done, this.#total ?? done), this.#words(done));
      return;
    }
    const now = performance.now();
    if (now - this.#said < LINE_EVERY_MS) return;
    this.#said = now;
    const { label, done: count, all, rate, left } = this.#words(done);
    const ofAll = this.#total === undefined ? '' : ` of ${all}`;
    const rest = this.#total === undefined ? '' : `, ${left} left`;
    process.stderr.write(`${label}: ${count}${ofAll}, ${rate}${rest}\n`);
  }

  stop(): void {
    this.#bar?.stop();
    if (this.#isQuiet) return;
    const seconds = (performance.now() - this.#started) / 1000;
    process.stderr.write(`${this.#label}: ${count(this.#done)} in ${shortTime(seconds)}\n`);
  }

  #words(done: number): { label: string; done: string; all: string; rate: string; left: string } {
    const seconds = (performance.now() - this.#started) / 1000;
    const rate = (done - this.#before) / Math.max(seconds, 1e-9);
    return {
      label: this.#label,
      done: count(done),
      all: count(this.#total ?? done),
      rate: `${count(Math.round(rate))} a second`,
      left: rate > 0 ? shortTime(((this.#total ?? done) - done) / rate) : 'unknown time',
    };
  }
}

export function count(value: number): string {
  return value.toLocaleString('en-US');
}

export function shortTime(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 100) return `${Number(seconds.toPrecision(3))} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export function shortBytes(bytes: number): string {
  if (bytes < 10_000) return `${count(bytes)} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${Number(value.toPrecision(3))} ${units[unit]}`;
}

/** Rows of texts as columns; the first to the left, the others to the right. */
export function table(rows: string[][]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row
        .map((text, column) => (column === 0 ? text.padEnd(widths[0]) : text.padStart(widths[column])))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}

/** Reads an option that is a whole number. */
export function integer(least: number, limit?: number): (text: string) => number {
  const most = limit ?? 2 ** 32 - 1;
  return (text: string) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`Expected a whole number from ${least} to ${most}.`);
  };
}

/** Reads an option that is a number. */
export function number(least: number, limit?: number): (text: string) => number {
  const most = limit ?? Number.MAX_VALUE;
  return (text: string) => {
    const value = Number(text);
    if (text.trim() !== '' && value >= least && value <= most) return value;
    const range = most === Number.MAX_VALUE ? `of at least ${least}` : `from ${least} to ${most}`;
    throw new InvalidArgumentError(`Expected a number ${range}.`);
  };
}

/** The command was used in a way that makes no sense: exit code 2. */
export class UsageError extends Error {}
