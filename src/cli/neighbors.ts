import { createVectors, FileReplacement, formatOf, shortest, type VectorWriter } from '../node/index.js';
import { print, UsageError } from './terminal.js';

/** Names of rows in place of their numbers. */
export type Name = (row: number) => string | number;

/** A NeighborsBatch, or one whose ids pass 2^32. */
interface Batch {
  ids: Uint32Array | Float64Array;
  distances: Float32Array;
  counts: Uint32Array;
}

/** Where the neighbors of queries go. */
export interface NeighborSink {
  write(batch: Batch, name: Name, neighborName: Name): Promise<void>;
  finish(): Promise<void>;
  abandon(): Promise<void>;
}

/** Lines to stdout or to a text file, or a matrix of ids to an .ivecs or .ibin file. */
export async function openSink(
  out: string | undefined,
  k: number,
  options: { json?: boolean },
): Promise<NeighborSink> {
  if (out === undefined) return lines(print, options.json === true, '\t');
  const format = formatOf(out);
  if (format === 'ivecs' || format === 'ibin') {
    return matrix(await createVectors(out, { dimensions: k, format }), k);
  }
  if (format !== 'tsv' && format !== 'csv' && format !== 'jsonl') {
    throw new UsageError(`${out}: expected a name that ends in .tsv, .csv, .jsonl, .ivecs or .ibin`);
  }
  const file = await FileReplacement.create(out);
  const sink = lines((text) => file.write(text), format === 'jsonl', format === 'csv' ? ',' : '\t');
  return { ...sink, finish: () => file.finish(), abandon: () => file.abandon() };
}

function lines(write: (text: string) => Promise<void>, isJson: boolean, separator: string): NeighborSink {
  return {
    async write({ ids, distances, counts }, name, neighborName) {
      const k = counts.length === 0 ? 0 : ids.length / counts.length;
      let text = '';
      for (let i = 0; i < counts.length; i++) {
        const from = i * k;
        const end = from + counts[i];
        if (isJson) {
          const nearest = Array.from(ids.subarray(from, end), (id) => JSON.stringify(neighborName(id)));
          const far = Array.from(distances.subarray(from, end), shortest);
          text += `{"query":${JSON.stringify(name(i))},"ids":[${nearest}],"distances":[${far}]}\n`;
        } else {
          for (let at = from; at < end; at++) {
            const line = [field(name(i), separator), field(neighborName(ids[at]), separator)];
            text += `${line.join(separator)}${separator}${shortest(distances[at])}\n`;
          }
        }
        if (text.length > 1 << 16) {
          await write(text);
          text = '';
        }
      }
      if (text !== '') await write(text);
    },
    async finish() {},
    async abandon() {},
  };
}

function matrix(writer: VectorWriter, k: number): NeighborSink {
  return {
    async write({ ids, counts }) {
      const rows = new Int32Array(ids.length);
      for (let i = 0; i < ids.length; i++) {
        const isFilled = i % k < counts[Math.floor(i / k)];
        if (isFilled && ids[i] > 0x7fffffff)
          throw new RangeError(`id: expected less than 2^31 in a matrix of 32-bit ids, got ${ids[i]}`);
        rows[i] = isFilled ? ids[i] : -1;
      }
      await writer.write({ vectors: rows, rows: counts.length });
    },
    finish: () => writer.finish(),
    abandon: () => writer.abandon(),
  };
}

/** A name as a field of a line. */
function field(name: string | number, separator: string): string {
  const text = String(name);
  return separator === ',' && /[",]/.test(text)
    ? `"${text.replaceAll('"', '""')}"`
    : text.replace(/[\t\n]/g, ' ');
}
