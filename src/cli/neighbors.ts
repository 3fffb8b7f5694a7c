import { createVectors, FileReplacement, formatOf, shortest, type VectorWriter } from '../node/index.js';
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

/** Text that is written at a time. */
const TEXT_LENGTH = 2 ** 16;

/**
 * Lines to stdout or to a text file, or a matrix of ids to an .ivecs or .ibin file; `k` is its width, undefined where there is
 * no largest number of neighbors.
 */
export async function openSink(
  out: string | undefined,
  k: number | undefined,
  options: { json?: boolean },
): Promise<NeighborSink> {
  if (out === undefined) return lines(print, options.json === true, '\t');
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

function lines(write: (text: string) => Promise<void>, isJson: boolean, separator: string): NeighborSink {
  return {
    async write({ offsets, ids, distances }, name, neighborName) {
      let text = '';
      for (let i = 0; i + 1 < offsets.length; i++) {
        const [from, end] = [offsets[i], offsets[i + 1]];
        if (isJson) {
          const nearest = Array.from(ids.subarray(from, end), (id) => JSON.stringify(neighborName(id)));
          const far = Array.from(distances.subarray(from, end), shortest);
          text += `{"query":${JSON.stringify(name(i))},"ids":[${nearest}],"distances":[${far}]}\n`;
        } else {
          const query = from < end ? field(name(i), separator) + separator : '';
          for (let at = from; at < end; at++) {
            const neighbor = field(neighborName(ids[at]), separator);
            text += `${query}${neighbor}${separator}${shortest(distances[at])}\n`;
            if (text.length <= TEXT_LENGTH) continue;
            await write(text);
            text = '';
          }
        }
        if (text.length <= TEXT_LENGTH) continue;
        await write(text);
        text = '';
      }
      if (text !== '') await write(text);
    },
    async finish() {},
    async abandon() {},
  };
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

/** A name as a field of a line. */
export function field(name: string | number, separator: string): string {
  if (typeof name === 'number') return String(name);
  return separator === ',' && /[",\n\r]/.test(name)
    ? `"${name.replaceAll('"', '""')}"`
    : name.replace(/[\t\n\r]/g, ' ');
}
