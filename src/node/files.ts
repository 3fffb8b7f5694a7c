import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import {
  FileFormatError,
  shorten,
  systemReason,
  trailing,
  truncated as truncatedFile,
} from './file-error.js';
import { type NpyHeader as Header, readNpyHeaderSync } from './npy.js';

/** Vectors of a file: `rows × dimensions` floats, row-major. */
export interface VectorFile {
  vectors: Float32Array;
  rows: number;
  dimensions: number;
}

interface OpenFile {
  name: string;
  descriptor: number;
  bytes: number;
}

type ElementArray = Uint8ArrayConstructor | Float32ArrayConstructor | Float64ArrayConstructor;

interface NpyHeader extends Header {
  elements: ElementArray;
}

/** Elements that are held at once while a file is converted. */
const chunkElements = 1 << 20;

/** NumPy's name of each element type that is read. Typed arrays have the host's byte order: little-endian, as WebAssembly's. */
const elementTypes = new Map<string, ElementArray>([
  ['<f4', Float32Array],
  ['<f8', Float64Array],
  ['|u1', Uint8Array],
]);

/**
 * The vectors of a `.npy` file (two-dimensional, float32, float64 or uint8, C order) or of a `.fvecs` file, as float32.
 *
 * Reads in pieces, so the peak is the result and a few megabytes; the size that a header states is compared with the
 * size of the file before anything is allocated.
 *
 * @param path name of the file; its ending selects the format
 * @throws {FileFormatError} when the file is missing or is not exactly what its format says
 *
 * Formats: NumPy Enhancement Proposal 1 (.npy 1.0 to 3.0); INRIA's TEXMEX corpus (.fvecs).
 */
export function readVectors(path: string): VectorFile {
  if (/\.fvecs$/i.test(path)) return withFile(path, readFvecs);
  if (!/\.npy$/i.test(path)) {
    throw new FileFormatError(
      'ERR_FILE_FORMAT',
      path,
      'a name that ends in .npy or .fvecs',
      'another ending',
    );
  }
  return withFile(path, (file) => {
    const header = readNpyHeader(file);
    const [rows, dimensions] = header.shape;
    if (header.shape.length !== 2 || rows === 0 || dimensions === 0) {
      throw new FileFormatError(
        'ERR_FILE_SHAPE',
        file.name,
        'a shape (rows, dimensions) with at least 1 of each',
        header.shapeText,
      );
    }
    checkNpySize(file, header, rows * dimensions);
    const vectors = new Float32Array(rows * dimensions);
    readElements(file, header, vectors);
    return { vectors, rows, dimensions };
  });
}

/**
 * The numbers of a one-dimensional `.npy` file (float32, float64 or uint8): one label or target for each row of vectors.
 *
 * @param path name of the file
 * @throws {FileFormatError} as `readVectors`
 */
export function readLabels(path: string): Float64Array {
  if (!/\.npy$/i.test(path)) {
    throw new FileFormatError('ERR_FILE_FORMAT', path, 'a name that ends in .npy', 'another ending');
  }
  return withFile(path, (file) => {
    const header = readNpyHeader(file);
    const [count] = header.shape;
    if (header.shape.length !== 1 || count === 0) {
      throw new FileFormatError(
        'ERR_FILE_SHAPE',
        file.name,
        'a shape (rows,) with at least 1',
        header.shapeText,
      );
    }
    checkNpySize(file, header, count);
    const labels = new Float64Array(count);
    readElements(file, header, labels);
    return labels;
  });
}

function withFile<Result>(path: string, read: (file: OpenFile) => Result): Result {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, 'r');
    return read({ name: path, descriptor, bytes: fstatSync(descriptor).size });
  } catch (error) {
    const reason = systemReason(error);
    if (reason === undefined) throw error;
    throw new FileFormatError('ERR_FILE_UNREADABLE', path, 'a readable file', reason, { cause: error });
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/** Fills `target` from the file's bytes at `position`. */
function readInto(file: OpenFile, target: Uint8Array, position: number): void {
  let done = 0;
  while (done < target.length) {
    const got = readSync(file.descriptor, target, done, target.length - done, position + done);
    // Sizes were checked before, so this is a file that became shorter while it was read.
    if (got === 0) throw truncated(file, `${position + target.length} bytes`, position + done);
    done += got;
  }
}

function truncated(file: OpenFile, expected: string, got: number): FileFormatError {
  return truncatedFile(file.name, expected, got);
}

function readNpyHeader(file: OpenFile): NpyHeader {
  let position = 0;
  const header = readNpyHeaderSync(file.name, (count) => {
    const bytes = new Uint8Array(Math.min(count, file.bytes - position));
    readInto(file, bytes, position);
    position += bytes.length;
    return bytes;
  });
  const elements = elementTypes.get(header.descr.slice(1, -1));
  if (elements === undefined) {
    const accepted = [...elementTypes.keys()].join(', ');
    throw new FileFormatError(
      'ERR_FILE_DTYPE',
      file.name,
      `a dtype out of ${accepted}`,
      shorten(header.descr),
    );
  }
  return { ...header, elements };
}

function checkNpySize(file: OpenFile, header: NpyHeader, count: number): void {
  const expected = header.dataOffset + count * header.elements.BYTES_PER_ELEMENT;
  const text = `${expected} bytes for ${header.shapeText}`;
  if (file.bytes < expected) throw truncated(file, text, file.bytes);
  if (file.bytes > expected) throw trailing(file.name, text, file.bytes, file.bytes - expected);
}

function readElements(file: OpenFile, header: NpyHeader, target: Float32Array | Float64Array): void {
  const chunk = new header.elements(Math.min(target.length, chunkElements));
  for (let start = 0; start < target.length; start += chunk.length) {
    const part = chunk.subarray(0, target.length - start);
    const position = header.dataOffset + start * part.BYTES_PER_ELEMENT;
    readInto(file, new Uint8Array(part.buffer, 0, part.byteLength), position);
    target.set(part, start);
  }
}

/** .fvecs: each row is its number of dimensions (int32) and then as many float32. */
function readFvecs(file: OpenFile): VectorFile {
  if (file.bytes < 4) {
    if (file.bytes > 0) throw truncated(file, '4 bytes that state the dimensions of row 0', file.bytes);
    throw new FileFormatError('ERR_FILE_SHAPE', file.name, 'at least 1 row', 'an empty file');
  }
  const first = new Int32Array(1);
  readInto(file, new Uint8Array(first.buffer), 0);
  const dimensions = first[0];
  if (dimensions < 1) {
    throw new FileFormatError(
      'ERR_FILE_DIMENSIONS',
      file.name,
      'row 0 of at least 1 dimension',
      `${dimensions}`,
    );
  }
  const recordWords = dimensions + 1;
  const rows = Math.floor(file.bytes / (4 * recordWords));
  if (rows === 0) throw truncated(file, `${4 * recordWords} bytes for row 0`, file.bytes);

  const vectors = new Float32Array(rows * dimensions);
  const chunkRows = Math.min(rows, Math.max(1, Math.floor(chunkElements / recordWords)));
  const floats = new Float32Array(chunkRows * recordWords);
  const integers = new Int32Array(floats.buffer);
  for (let start = 0; start < rows; start += chunkRows) {
    const count = Math.min(chunkRows, rows - start);
    readInto(file, new Uint8Array(floats.buffer, 0, 4 * count * recordWords), 4 * start * recordWords);
    for (let i = 0; i < count; i++) {
      const at = i * recordWords;
      checkFvecsRow(file, start + i, integers[at], dimensions);
      vectors.set(floats.subarray(at + 1, at + recordWords), (start + i) * dimensions);
    }
  }

  const rest = file.bytes - 4 * rows * recordWords;
  if (rest >= 4) {
    readInto(file, new Uint8Array(first.buffer), 4 * rows * recordWords);
    checkFvecsRow(file, rows, first[0], dimensions);
  }
  if (rest > 0) throw truncated(file, `${4 * recordWords} bytes for row ${rows}`, rest);
  return { vectors, rows, dimensions };
}

function checkFvecsRow(file: OpenFile, row: number, got: number, dimensions: number): void {
  if (got !== dimensions) {
    const expected = `${dimensions} dimensions in row ${row} as in row 0`;
    throw new FileFormatError('ERR_FILE_DIMENSIONS', file.name, expected, `${got}`);
  }
}
