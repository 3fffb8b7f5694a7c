import { existsSync, readFileSync } from 'node:fs';
import { type Metric, VectorIndex } from '../index.js';
import {
  FileFormatError,
  FileReplacement,
  formatOf,
  type OpenOptions,
  openVectors,
  type VectorSource,
} from '../node/index.js';
import { idsOf, withIds } from './ids.js';
import type { Command } from './packages.js';
import { whileWriting } from './terminal.js';

/** Options of a command that reads vectors. */
export interface InputOptions {
  format?: OpenOptions['format'];
  field?: string;
  idField?: string;
}

export function inputOptions(command: Command): Command {
  return command
    .option('--format <format>', 'kind of the vector files, where their names do not end in it')
    .option('--field <name>', 'field (.jsonl) or column (.parquet, .csv) that has the vector')
    .option('--id-field <name>', 'field or column that has the ids');
}

/** Opens `file`, or `file#array` for one array of a .npz or .hdf5 file. */
export async function openInput(text: string, options: InputOptions, array?: string): Promise<VectorSource> {
  const { path, name } = splitName(text);
  const format = options.format ?? formatOf(path);
  const isNamed = format === 'npz' || format === 'hdf5';
  const hasFields = format === 'jsonl' || format === 'csv' || format === 'tsv' || format === 'parquet';
  return openVectors(path, {
    format,
    ...(isNamed && { name: name ?? (format === 'hdf5' ? array : undefined) }),
    ...(!isNamed && name !== undefined && { name }),
    ...(hasFields && { field: options.field, idField: options.idField }),
  });
}

function splitName(text: string): { path: string; name?: string } {
  const at = text.lastIndexOf('#');
  if (at <= 0 || existsSync(text)) return { path: text };
  return { path: text.slice(0, at), name: text.slice(at + 1) };
}

/** The metric that a file asks for, in the words of the ann-benchmarks. */
export function metricOf(source: VectorSource, wanted: Metric | undefined): Metric {
  if (wanted !== undefined) return wanted;
  if (source.distance === 'angular' || source.distance === 'cosine') return 'cosine';
  if (source.distance === undefined || source.distance === 'euclidean') return 'euclidean';
  if (source.distance === 'ip' || source.distance === 'dot') return 'inner-product';
  const expected = 'distances that are euclidean or angular, or the option --metric';
  throw new FileFormatError('ERR_FILE_FIELD', source.path, expected, source.distance);
}

/** Refuses files that do not go together. */
export function checkSame(source: VectorSource, dimensions: number, other: string): void {
  if (source.dimensions === dimensions) return;
  const expected = `${dimensions} dimensions as in ${other}`;
  throw new FileFormatError('ERR_FILE_DIMENSIONS', source.path, expected, `${source.dimensions}`);
}

/** An index, and the user's own ids of its rows where it has some. */
export interface NamedIndex {
  index: VectorIndex;
  ids?: string[];
}

/** Reads a snapshot. */
export function loadIndex(path: string): NamedIndex {
  const bytes = readBytes(path);
  try {
    const index = VectorIndex.load(bytes);
    const ids = idsOf(bytes);
    return ids === undefined ? { index } : { index, ids };
  } catch (error) {
    if (error instanceof Error) error.message = `${path}: ${error.message}`;
    throw error;
  }
}

export function readBytes(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const text = /^\w+: (.*?), /.exec(message)?.[1] ?? message;
    throw new FileFormatError('ERR_FILE_UNREADABLE', path, 'a readable file', `${code} (${text})`);
  }
}

/** Writes a snapshot; the old file stays until the new one is whole. */
export async function saveIndex({ index, ids }: NamedIndex, path: string): Promise<number> {
  return whileWriting(async () => {
    const bytes = ids === undefined ? index.save() : withIds(index.save(), ids);
    const file = await FileReplacement.create(path);
    try {
      await file.write(bytes);
      await file.finish();
    } catch (error) {
      await file.abandon();
      throw error;
    }
    return bytes.length;
  });
}
