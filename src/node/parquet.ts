import { type FileHandle, open } from 'node:fs/promises';
import * as zlib from 'node:zlib';
import type { AsyncBuffer, Compressors, FileMetaData, SchemaTree } from 'hyparquet';
import type { SourceFile } from './bytes.js';
import { FileFormatError, shorten, unreadable } from './file-error.js';
import { pagesOf, type TextRow } from './jsonl.js';
import { checkDimensions, type Layout, type LayoutOptions, type RawPage } from './layout.js';
import { loadOptional } from './optional-package.js';

/** A footer beyond this is none: it describes some hundred bytes a column and row group. */
const MOST_FOOTER_BYTES = 2 ** 28;
/** Unpacked bytes of a column in one row group: as a rule read at once. */
const MOST_GROUP_BYTES = 2 ** 30;
/** Numbers of a column in one row group: they take 8 bytes each while it is read. */
const MOST_GROUP_VALUES = 2 ** 27;
const TAIL_BYTES = 8;

/**
 * The layout of a column of lists of numbers in a .parquet file: the only such column unless one is named, ids from another.
 * Reads a row group at a time, or less where the file has an index of its pages.
 */
export async function parquetLayout(file: SourceFile, options: LayoutOptions): Promise<Layout> {
  const { path, bytes } = await file.onDisk();
  const hyparquet = await loadOptional('hyparquet', file.name, () => import('hyparquet'));
  const metadata = await withFile(file.name, path, bytes, async (buffer) => {
    await checkFooter(file.name, buffer);
    return inFormat(file.name, 'a sound footer', () => hyparquet.parquetMetadataAsync(buffer));
  });
  const tree = await inFormat(file.name, 'a sound schema', async () => hyparquet.parquetSchema(metadata));
  const field = await inFormat(file.name, 'a sound schema', async () => {
    if (options.idField !== undefined) column(file.name, tree, options.idField);
    return vectorColumn(file.name, tree, options.field);
  });
  await inFormat(file.name, 'sound row groups', async () => checkGroups(file.name, metadata, field, bytes));
  const rows = Number(metadata.num_rows);
  const read = (from: number, pageRows: number, dimensions: number, isDouble: boolean) => {
    const about = { name: file.name, path, bytes, metadata, field, idField: options.idField };
    return pagesOf(file.name, rowsOf(about, from, pageRows), dimensions, 0, pageRows, isDouble);
  };
  if (rows === 0) throw new FileFormatError('ERR_FILE_SHAPE', file.name, 'at least 1 row', '0');
  let dimensions = 0;
  const first = rowsOf({ name: file.name, path, bytes, metadata, field, idField: options.idField }, 0, 1);
  for await (const { vector } of first) {
    dimensions = vector.length;
    break;
  }
  checkDimensions(`${file.name}[${field}]`, 'rows', dimensions);
  return {
    dimensions,
    rows,
    read: (from, pageRows, isDouble): AsyncGenerator<RawPage> => read(from, pageRows, dimensions, isDouble),
  };
}

interface About {
  name: string;
  path: string;
  bytes: number;
  metadata: FileMetaData;
  field: string;
  idField: string | undefined;
}

/** Rows from row `from` on; `line` is the number of the row from 1, which messages show. */
async function* rowsOf(
  about: About,
  from: number,
  pageRows: number,
): AsyncGenerator<TextRow & { line: number }> {
  const { name, metadata, field, idField } = about;
  const hyparquet = await loadOptional('hyparquet', name, () => import('hyparquet'));
  const handle = await open(about.path, 'r');
  try {
    const buffer = asyncBuffer(handle, about.bytes);
    const columns = idField === undefined ? [field] : [field, idField];
    const compressors = await inFormat(name, 'sound row groups', () =>
      compressorsFor(name, metadata, columns),
    );
    let groupStart = 0;
    for (const group of metadata.row_groups) {
      const groupEnd = groupStart + Number(group.num_rows);
      const hasIndex = group.columns.every(
        ({ meta_data, offset_index_offset }) =>
          !columns.includes(meta_data?.path_in_schema[0] ?? '') || offset_index_offset !== undefined,
      );
      const step = hasIndex ? pageRows : groupEnd - groupStart;
      for (let start = Math.max(from, groupStart); start < groupEnd; start += step) {
        const end = Math.min(groupEnd, start + step);
        const what = `sound pages of rows ${start} to ${end - 1}`;
        const objects = await inFormat(name, what, () =>
          hyparquet.parquetReadObjects({
            file: buffer,
            metadata,
            columns,
            rowStart: start,
            rowEnd: end,
            compressors,
            useOffsetIndex: hasIndex,
          }),
        );
        if (objects.length !== end - start) {
          throw new FileFormatError('ERR_FILE_TRUNCATED', name, what, `${objects.length} rows`);
        }
        for (let i = 0; i < objects.length; i++) yield rowOf(about, start + i, objects[i]);
      }
      groupStart = groupEnd;
    }
  } finally {
    await handle.close();
  }
}

function rowOf(about: About, row: number, object: Record<string, unknown>): TextRow & { line: number } {
  const { name, field, idField } = about;
  const vector = object[field];
  const where = `${name}[${field}]`;
  if (!Array.isArray(vector) && !ArrayBuffer.isView(vector)) {
    const got = (vector ?? null) === null ? 'null' : typeof vector;
    throw new FileFormatError('ERR_FILE_VALUE', where, `a list of numbers in row ${row}`, got);
  }
  const numbers = vector as ArrayLike<unknown>;
  const values = new Float64Array(numbers.length);
  for (let i = 0; i < values.length; i++) {
    const value = numbers[i];
    if (typeof value !== 'number' && typeof value !== 'bigint') {
      const got = `${shorten(String(value))} at place ${i}`;
      throw new FileFormatError('ERR_FILE_VALUE', where, `numbers in row ${row}`, got);
    }
    values[i] = Number(value);
  }
  const id = idField === undefined ? undefined : object[idField];
  if (idField === undefined) return { vector: values, line: row + 1 };
  if (typeof id !== 'string' && typeof id !== 'number' && typeof id !== 'bigint') {
    const got = id === null ? 'null' : typeof id;
    throw new FileFormatError('ERR_FILE_VALUE', `${name}[${idField}]`, `text or a number in row ${row}`, got);
  }
  return { vector: values, line: row + 1, id: String(id) };
}

function column(name: string, tree: SchemaTree, wanted: string): SchemaTree {
  const found = tree.children.find(({ element }) => element.name === wanted);
  if (found !== undefined) return found;
  const names = shorten(tree.children.map(({ element }) => element.name).join(', ')) || 'none';
  throw new FileFormatError('ERR_FILE_FIELD', name, `a column named ${wanted}`, names);
}

function isListOfNumbers(tree: SchemaTree): boolean {
  let node = tree;
  let isRepeated = node.element.repetition_type === 'REPEATED';
  while (node.children.length === 1) {
    node = node.children[0];
    isRepeated ||= node.element.repetition_type === 'REPEATED';
  }
  const numbers = ['FLOAT', 'DOUBLE', 'INT32', 'INT64'];
  // 16-bit floats are the only numbers of fixed-length bytes.
  const isNumber = numbers.includes(node.element.type ?? '') || node.element.logical_type?.type === 'FLOAT16';
  return isRepeated && node.children.length === 0 && isNumber;
}

function vectorColumn(name: string, tree: SchemaTree, wanted: string | undefined): string {
  if (wanted !== undefined) {
    if (isListOfNumbers(column(name, tree, wanted))) return wanted;
    const got = `column ${wanted}, which is none`;
    throw new FileFormatError('ERR_FILE_DTYPE', name, 'a column of lists of numbers', got);
  }
  const found = tree.children.filter(isListOfNumbers).map(({ element }) => element.name);
  if (found.length === 1) return found[0];
  const expected = 'one column of lists of numbers, or the name of one (field)';
  throw new FileFormatError('ERR_FILE_FIELD', name, expected, shorten(found.join(', ')) || 'none');
}

/** Compares what the footer says with the file before anything is read on its word. */
function checkGroups(name: string, metadata: FileMetaData, field: string, bytes: number): void {
  let rows = 0;
  metadata.row_groups.forEach((group, i) => {
    const groupRows = Number(group.num_rows);
    rows += groupRows;
    for (const { meta_data: about } of group.columns) {
      if (about === undefined || about.path_in_schema[0] !== field) continue;
      const packed = Number(about.total_compressed_size);
      const unpacked = Number(about.total_uncompressed_size);
      if (packed > bytes) {
        const expected = `row group ${i} within ${bytes} bytes`;
        throw new FileFormatError('ERR_FILE_TRUNCATED', name, expected, `${packed} (truncated)`);
      }
      if (unpacked > MOST_GROUP_BYTES) {
        const expected = `row group ${i} of at most ${MOST_GROUP_BYTES} bytes (write smaller row groups)`;
        throw new FileFormatError('ERR_FILE_TOO_LARGE', name, expected, `${unpacked}`);
      }
      const values = Number(about.num_values);
      if (!(values <= MOST_GROUP_VALUES)) {
        const expected = `row group ${i} of at most ${MOST_GROUP_VALUES} numbers (write smaller row groups)`;
        throw new FileFormatError('ERR_FILE_TOO_LARGE', name, expected, `${values}`);
      }
      // An empty list is a value too.
      if (!(groupRows >= 0 && groupRows <= values)) {
        const expected = `at most ${values} rows in row group ${i}, which has as many numbers`;
        throw new FileFormatError('ERR_FILE_HEADER', name, expected, `${groupRows}`);
      }
    }
  });
  if (rows !== Number(metadata.num_rows)) {
    const got = `${metadata.num_rows} in the footer`;
    throw new FileFormatError('ERR_FILE_HEADER', name, `${rows} rows, as in its row groups`, got);
  }
}

/** What unpacks the columns of a file; without a package as far as Node can, which is all but LZ4 before Node 22. */
async function compressorsFor(name: string, metadata: FileMetaData, columns: string[]): Promise<Compressors> {
  const limited = (output: number) => ({ maxOutputLength: Math.max(1, Math.min(output, MOST_GROUP_BYTES)) });
  const compressors: Compressors = {
    GZIP: (input, output) => zlib.gunzipSync(input, limited(output)),
    BROTLI: (input, output) => zlib.brotliDecompressSync(input, limited(output)),
  };
  const { zstdDecompressSync } = zlib as { zstdDecompressSync?: typeof zlib.brotliDecompressSync };
  if (zstdDecompressSync) compressors.ZSTD = (input, output) => zstdDecompressSync(input, limited(output));
  for (const { columns: chunks } of metadata.row_groups) {
    for (const { meta_data: about } of chunks) {
      if (about === undefined || !columns.includes(about.path_in_schema[0])) continue;
      const { codec } = about;
      if (codec === 'UNCOMPRESSED' || codec === 'SNAPPY' || codec in compressors) continue;
      const expected = 'columns packed by SNAPPY, GZIP or BROTLI, or by ZSTD from Node 22.15 on';
      throw new FileFormatError('ERR_FILE_COMPRESSION', name, expected, codec);
    }
  }
  return compressors;
}

async function checkFooter(name: string, buffer: AsyncBuffer): Promise<void> {
  const bytes = buffer.byteLength;
  const tail = bytes < TAIL_BYTES + 4 ? undefined : new DataView(await buffer.slice(bytes - TAIL_BYTES));
  // PAR1
  if (tail?.getUint32(4, true) !== 0x31524150) {
    throw new FileFormatError('ERR_FILE_MAGIC', name, 'a Parquet file (PAR1 at its end)', 'other bytes');
  }
  const footer = tail.getUint32(0, true);
  const most = Math.min(MOST_FOOTER_BYTES, bytes - TAIL_BYTES);
  if (footer <= most) return;
  throw new FileFormatError('ERR_FILE_HEADER', name, `a footer of at most ${most} bytes`, `${footer}`);
}

async function withFile<Result>(
  name: string,
  path: string,
  bytes: number,
  use: (buffer: AsyncBuffer) => Promise<Result>,
): Promise<Result> {
  const handle = await open(path, 'r').catch((error: unknown) => Promise.reject(unreadable(name, error)));
  try {
    return await use(asyncBuffer(handle, bytes));
  } finally {
    await handle.close();
  }
}

function asyncBuffer(handle: FileHandle, byteLength: number): AsyncBuffer {
  return {
    byteLength,
    async slice(start, end = byteLength) {
      const first = start < 0 ? byteLength + start : start;
      const length = end - first;
      if (!(first >= 0 && length >= 0 && end <= byteLength))
        throw new Error(`bytes ${first} to ${end} of a file of ${byteLength}`);
      const bytes = new Uint8Array(length);
      let done = 0;
      while (done < length) {
        const { bytesRead } = await handle.read(bytes, done, length - done, first + done);
        if (bytesRead === 0) throw new Error(`the file ends at byte ${first + done}`);
        done += bytesRead;
      }
      return bytes.buffer;
    },
  };
}

/** Words of the package about bytes that make no sense, as a refusal of the file. */
async function inFormat<Result>(
  name: string,
  expected: string,
  read: () => Promise<Result>,
): Promise<Result> {
  try {
    return await read();
  } catch (cause) {
    if (cause instanceof FileFormatError) throw cause;
    const got = shorten(cause instanceof Error ? cause.message : String(cause));
    throw new FileFormatError('ERR_FILE_HEADER', name, expected, got, { cause });
  }
}
