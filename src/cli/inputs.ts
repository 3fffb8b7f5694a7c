import { closeSync, existsSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { type Metric, VectorIndex } from '../index.js';
import {
  FileFormatError,
  FileReplacement,
  formatOf,
  loadFile,
  type OpenOptions,
  openVectors,
  saveFile,
  type VectorSource,
} from '../node/index.js';
import type { AnyIndex } from './ids.js';
import type { Command } from './packages.js';
import type { Answering } from './searchers.js';
import { whileWriting } from './terminal.js';

/** More than 2 GiB at a time no system reads. */
const READ_BYTES = 2 ** 30;

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

/** Reads a snapshot. */
export function loadIndex(path: string): AnyIndex {
  try {
    return loadFile(path, { as: VectorIndex });
  } catch (error) {
    if (error instanceof Error && 'syscall' in error) throw unreadable(path, error);
    throw inSnapshot(error, path);
  }
}

/** What is wrong with a snapshot, with its name. */
export function inSnapshot(error: unknown, path: string): unknown {
  const { code } = error as { code?: string };
  if (error instanceof Error && code === 'ERR_SNAPSHOT') error.message = `${path}: ${error.message}`;
  return error;
}

/** All bytes of a file, in memory that threads can share where that is asked for. */
export function readBytes(path: string, isShared: boolean = false): Uint8Array {
  return reading(path, (file) => {
    const { size } = fstatSync(file);
    const bytes = new Uint8Array(isShared ? new SharedArrayBuffer(size) : new ArrayBuffer(size));
    const got = fill(file, bytes, 0);
    if (got < size) throw new FileFormatError('ERR_FILE_TRUNCATED', path, `${size} bytes`, `${got}`);
    return bytes;
  });
}

/** Some bytes of a file, fewer where it ends. */
export function readPart(path: string, from: number, count: number): DataView {
  return reading(path, (file) => {
    const bytes = new Uint8Array(count);
    return new DataView(bytes.buffer, 0, fill(file, bytes, from));
  });
}

function reading<Result>(path: string, read: (file: number) => Result): Result {
  try {
    const file = openSync(path, 'r');
    try {
      return read(file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** Fills an array with the bytes from one on; returns how many there were. */
function fill(file: number, bytes: Uint8Array, from: number): number {
  let at = 0;
  while (at < bytes.length) {
    const got = readSync(file, bytes, at, Math.min(bytes.length - at, READ_BYTES), from + at);
    if (got === 0) break;
    at += got;
  }
  return at;
}

function unreadable(path: string, error: unknown): unknown {
  return systemError('ERR_FILE_UNREADABLE', path, 'a readable file', error);
}

/** The same error, or one of a line where the operating system refused. */
function systemError(
  errorCode: 'ERR_FILE_UNREADABLE' | 'ERR_FILE_UNWRITABLE',
  path: string,
  expected: string,
  error: unknown,
): unknown {
  const { code, message, syscall } = error as NodeJS.ErrnoException;
  if (syscall === undefined) return error;
  const text = /^\w+: (.*?), /.exec(message)?.[1] ?? message;
  return new FileFormatError(errorCode, path, expected, `${code} (${text})`, { cause: error });
}

/** Writes a snapshot and returns its bytes; the old file stays until the new one is whole. */
export async function saveIndex(index: Answering, path: string): Promise<number> {
  return whileWriting(async () => {
    const old = statSync(path, { throwIfNoEntry: false });
    if (index instanceof VectorIndex && (old === undefined || old.isFile())) {
      try {
        saveFile(index, path);
      } catch (error) {
        throw systemError('ERR_FILE_UNWRITABLE', path, 'a writable file', error);
      }
      // Signals that came in the meantime are heard before the next step of the command.
      for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
      return statSync(path).size;
    }
    const file = await FileReplacement.create(path);
    try {
      const bytes = await index.save();
      await file.write(bytes);
      await file.finish();
      return bytes.length;
    } catch (error) {
      await file.abandon();
      throw error;
    }
  });
}
