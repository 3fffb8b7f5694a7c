import { createVectors, FileReplacement, formatOf, TextBytes, type VectorWriter } from '../node/index.js';
import type { Answers } from './answers.js';
import { print, UsageError } from './terminal.js';

/** Names of rows in place of their numbers. */
export type Name = (row: number) => string | number;

/** Answers, also such whose ids pass 2^32. */
interface Lists extends Omit<Answers, 'ids'> {
  ids: Uint32Array | Float64Array;
}

/** Where the neighbors of queries go. */
export interface NeighborSink {
  write(answers: Lists, name: Name, neighborName: Name): Promise<void>;
  finish(): Promise<void>;
  abandon(): Promise<void>;
}

/** Bytes of text that are written at a time. */
const TEXT_BYTES = 2 ** 18;
/** Lines of one query that are made at a time. */
const MOST_LINES = 2 ** 12;
const LINE_END = 10;

/**
 * Lines to stdout or to a text file, or a matrix of ids to an .ivecs or .ibin file; `k` is its width, undefined where there is
 * no largest number of neighbors. With `json` a line about the file goes to stdout when it is there.
 */
export async function openSink(
  out: string | undefined,
  k: number | undefined,
  options: { json?: boolean },
): Promise<NeighborSink> {
  if (out === undefined) return lines(print, options.json === true, '\t');
  const sink = await openFileSink(out, k);
  if (!options.json) return sink;
  let [rows, neighbors] = [0, 0];
  return {
    ...sink,
    write(answers, ...names) {
      rows += answers.offsets.length - 1;
      neighbors += answers.ids.length;
      return sink.write(answers, ...names);
    },
    async finish() {
      await sink.finish();
      await print(`${JSON.stringify({ out, rows, neighbors })}\n`);
    },
  };
}

async function openFileSink(out: string, k: number | undefined): Promise<NeighborSink> {
  const format = checkSink(out, k);
  if (format === 'ivecs' || format === 'ibin') {
    return matrix(await createVectors(out, { dimensions: k as number, format }), k as number);
  }
  const file = await FileReplacement.create(out);
  const sink = lines((text) => file.write(text), format === 'jsonl', format === 'csv' ? ',' : '\t');
  return { ...sink, finish: () => file.finish(), abandon: () => file.abandon() };
}

/** Refuses a name that no sink can be opened for: before hours of work are lost on it. */
export function checkSink(out: string, k: number | undefined): string {
  const format = formatOf(out);
  const isText = format === 'tsv' || format === 'csv' || format === 'jsonl';
  const isMatrix = format === 'ivecs' || format === 'ibin';
  if (isText || (isMatrix && k !== undefined)) return format;
  const matrices = k === undefined ? '' : ', .ivecs or .ibin';
  const expected = `a name that ends in .tsv, .csv${k === undefined ? ' or' : ','} .jsonl${matrices}`;
  const got = isMatrix ? `, since rows have any number of neighbors, got .${format}` : '';
  throw new UsageError(`${out}: expected ${expected}${got}`);
}

function lines(write: (text: Uint8Array) => Promise<void>, isJson: boolean, separator: string): NeighborSink {
  const text = new Lines(write);
  return {
    async write(answers, name, neighborName) {
      const { offsets } = answers;
      for (let i = 0; i + 1 < offsets.length; i++) {
        const [from, end] = [offsets[i], offsets[i + 1]];
        if (isJson) {
          text.record(name(i), answers, from, end, neighborName);
        } else if (from < end) {
          // A query may have any number of neighbors.
          for (let at = from; at < end; at += MOST_LINES) {
            text.lines(name(i), answers, at, Math.min(end, at + MOST_LINES), neighborName, separator);
            if (text.isFull) await text.flush();
          }
        }
        if (text.isFull) await text.flush();
      }
      await text.flush();
    },
    async finish() {},
    async abandon() {},
  };
}

/** Lines that are written many at a time. */
export class Lines extends TextBytes {
  readonly #write: (text: Uint8Array) => Promise<void>;

  constructor(write: (text: Uint8Array) => Promise<void>) {
    super();
    this.#write = write;
  }

  /** Whether it is time to write. */
  get isFull(): boolean {
    return this.length > TEXT_BYTES;
  }

  async flush(): Promise<void> {
    if (this.length > 0) await this.#write(this.take());
  }

  /** Lines of some of a query's neighbors. */
  lines(
    query: string | number,
    { ids, distances }: Lists,
    from: number,
    end: number,
    name: Name,
    separator: string,
  ): void {
    const between = separator.charCodeAt(0);
    for (let at = from; at < end; at++) {
      this.field(query, separator).character(between).field(name(ids[at]), separator);
      this.character(between).decimal(distances[at]).character(LINE_END);
    }
  }

  /** A query's neighbors as an object of JSON. */
  record(query: string | number, { ids, distances }: Lists, from: number, end: number, name: Name): void {
    this.text('{"query":').json(query).text(',"ids":[');
    for (let at = from; at < end; at++) this.text(at > from ? ',' : '').json(name(ids[at]));
    this.text('],"distances":[');
    for (let at = from; at < end; at++) this.text(at > from ? ',' : '').decimal(distances[at]);
    this.text(']}\n');
  }

  /** A name as a field of a line. */
  field(name: string | number, separator: string): this {
    if (typeof name === 'number') return isWhole(name) ? this.whole(name) : this.text(String(name));
    if (separator === ',' && /[",\n\r]/.test(name)) return this.text(`"${name.replaceAll('"', '""')}"`);
    return this.text(/[\t\n\r]/.test(name) ? name.replace(/[\t\n\r]/g, ' ') : name);
  }

  json(name: string | number): this {
    return isWhole(name) ? this.whole(name) : this.text(JSON.stringify(name));
  }
}

/** Whether a name is a whole number of 0 to 2^32 - 1. */
function isWhole(name: string | number): name is number {
  return typeof name === 'number' && name >>> 0 === name && !Object.is(name, -0);
}

function matrix(writer: VectorWriter, k: number): NeighborSink {
  return {
    async write({ offsets, ids }) {
      const count = offsets.length - 1;
      const rows = new Int32Array(count * k).fill(-1);
      for (let i = 0; i < count; i++) {
        for (let at = offsets[i]; at < offsets[i + 1]; at++) {
          if (ids[at] > 0x7fffffff)
            throw new RangeError(`id: expected less than 2^31 in a matrix of 32-bit ids, got ${ids[at]}`);
          rows[i * k + at - offsets[i]] = ids[at];
        }
      }
      await writer.write({ vectors: rows, rows: count });
    },
    finish: () => writer.finish(),
    abandon: () => writer.abandon(),
  };
}
