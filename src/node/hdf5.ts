import type { Dataset, File } from 'h5wasm';
import type { SourceFile } from './bytes.js';
import { FileFormatError, shorten } from './file-error.js';
import { checkDimensions, type Layout, type LayoutOptions, type RawPage } from './layout.js';
import { loadOptional } from './optional-package.js';

/** The data set with the vectors, in the layout of the ann-benchmarks; the others are `test`, `neighbors`, `distances`. */
const DEFAULT_NAME = 'train';
const MAGIC = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a];

/** The layout of one data set of an .hdf5 file, `train` unless a name is given. */
export async function hdf5Layout(file: SourceFile, options: LayoutOptions): Promise<Layout> {
  const { path } = await file.onDisk();
  await checkMagic(file);
  const name = options.name ?? DEFAULT_NAME;
  const opened = await openHdf5(file.name, path);
  try {
    const dataset = find(file.name, opened, name);
    const shape = dataset.shape ?? [];
    if (shape.length !== 2 || !shape.every(Number.isSafeInteger)) {
      const got = `shape (${shape.join(', ')})`;
      throw new FileFormatError('ERR_FILE_SHAPE', `${file.name}[${name}]`, 'a shape (rows, dimensions)', got);
    }
    // Numbers only: 0 integers, 1 floats, in the words of HDF5's H5T_class_t.
    if (dataset.metadata.type !== 0 && dataset.metadata.type !== 1) {
      const got = `type class ${dataset.metadata.type}`;
      throw new FileFormatError('ERR_FILE_DTYPE', `${file.name}[${name}]`, 'integers or floats', got);
    }
    const [rows, dimensions] = shape;
    checkDimensions(`${file.name}[${name}]`, 'rows', dimensions);
    const distance = opened.attrs.distance?.value;
    return {
      dimensions,
      rows,
      ...(typeof distance === 'string' && { distance }),
      read: (from, pageRows, isDouble) =>
        readDataset(file.name, path, name, { rows, dimensions }, from, pageRows, isDouble),
    };
  } finally {
    opened.close();
  }
}

async function* readDataset(
  name: string,
  path: string,
  datasetName: string,
  shape: { rows: number; dimensions: number },
  from: number,
  pageRows: number,
  isDouble: boolean,
): AsyncGenerator<RawPage> {
  const opened = await openHdf5(name, path);
  try {
    const dataset = find(name, opened, datasetName);
    for (let row = from; row < shape.rows; row += pageRows) {
      const rows = Math.min(pageRows, shape.rows - row);
      let numbers: ArrayLike<number | bigint>;
      try {
        numbers = dataset.slice([[row, row + rows], []]) as unknown as ArrayLike<number | bigint>;
      } catch (cause) {
        throw unreadable(`${name}[${datasetName}]`, `rows ${row} to ${row + rows - 1}`, cause);
      }
      const count = rows * shape.dimensions;
      if (numbers?.length !== count) {
        throw unreadable(`${name}[${datasetName}]`, `${count} numbers from row ${row} on`, undefined);
      }
      if (!isDouble && numbers instanceof Float32Array) {
        yield { rows, values: numbers };
        continue;
      }
      const values = isDouble ? new Float64Array(count) : new Float32Array(count);
      for (let i = 0; i < count; i++) values[i] = Number(numbers[i]);
      yield { rows, values };
    }
  } finally {
    opened.close();
  }
}

async function checkMagic(file: SourceFile): Promise<void> {
  const bytes = await file.stream();
  const magic = new Uint8Array(MAGIC.length);
  const got = await bytes.read(magic).finally(() => bytes.close());
  if (got === MAGIC.length && MAGIC.every((byte, i) => magic[i] === byte)) return;
  throw new FileFormatError('ERR_FILE_MAGIC', file.name, 'an HDF5 file', 'other first bytes');
}

async function openHdf5(name: string, path: string): Promise<File> {
  const hdf5 = await loadOptional('h5wasm', name, () => import('h5wasm/node'));
  const module = await hdf5.ready;
  // Errors as exceptions, instead of a page of words on stderr.
  module.activate_throwing_error_handler();
  try {
    const file = new hdf5.File(path, 'r');
    if (file.file_id < 0n) throw new Error('it cannot be opened');
    return file;
  } catch (cause) {
    throw unreadable(name, 'a sound HDF5 file', cause);
  }
}

function find(name: string, file: File, wanted: string): Dataset {
  let found: unknown = null;
  try {
    found = file.keys().includes(wanted) ? file.get(wanted) : null;
  } catch (cause) {
    throw unreadable(name, `a data set named ${wanted}`, cause);
  }
  if (found !== null && (found as { type: string }).type === 'Dataset') return found as Dataset;
  const names = shorten(file.keys().join(', ')) || 'none';
  throw new FileFormatError('ERR_FILE_FIELD', name, `a data set named ${wanted}`, names);
}

function unreadable(name: string, expected: string, cause: unknown): FileFormatError {
  const lines = cause instanceof Error ? cause.message.split('\n') : [];
  // The last reason is the innermost.
  const reason =
    lines
      .reverse()
      .find((line) => /#\d+:/.test(line))
      ?.replace(/^.*?line \d+ in /, '') ?? lines.at(-1);
  return new FileFormatError('ERR_FILE_HEADER', name, expected, shorten(reason ?? 'less'), { cause });
}
