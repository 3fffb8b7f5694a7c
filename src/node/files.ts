import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** What is wrong with a file, as a stable string. */
export type FileErrorCode =
  | 'ERR_FILE_UNREADABLE'
  | 'ERR_FILE_FORMAT'
  | 'ERR_FILE_MAGIC'
  | 'ERR_FILE_HEADER'
  | 'ERR_FILE_DTYPE'
  | 'ERR_FILE_ORDER'
  | 'ERR_FILE_SHAPE'
  | 'ERR_FILE_TRUNCATED'
  | 'ERR_FILE_TRAILING'
  | 'ERR_FILE_DIMENSIONS';

/**
 * A file that could not be read as vectors or labels. The message is one line, `name: expected …, got …`; `code` says
 * which expectation failed.
 */
export class FileFormatError extends Error {
  readonly code: FileErrorCode;

  constructor(
    code: FileErrorCode,
    name: string,
    expected: string,
    got: string,
    options?: { cause?: unknown },
  ) {
    // Names and header text come from outside: a control character in them must not split or paint the line.
    super(`${name}: expected ${expected}, got ${got}`.replace(/\p{Cc}/gu, '?'), options);
    this.name = 'FileFormatError';
    this.code = code;
  }
}

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

interface NpyHeader {
  elements: ElementArray;
  shape: number[];
  shapeText: string;
  dataOffset: number;
}

/** Elements that are held at once while a file is converted. */
const chunkElements = 1 << 20;

/** NumPy's name of each element type that is read. Typed arrays have the host's byte order: little-endian, as WebAssembly's. */
const elementTypes = new Map<string, ElementArray>([
  ['<f4', Float32Array],
  ['<f8', Float64Array],
  ['|u1', Uint8Array],
]);

const npyMagic = '93 4e 55 4d 50 59';
/** Magic, major, minor, and the two bytes that every version has at least as header length. */
const npyPreambleBytes = 10;
/** The most that version 1.0 can state; NumPy itself writes 118 bytes for an array of numbers. */
const npyHeaderLimit = 65_535;

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

/** The operating system's reason, such as `ENOENT (no such file or directory)`; undefined for every other error. */
function systemReason(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('syscall' in error) || !('code' in error)) return undefined;
  const text = /^\w+: (.*?), /.exec(error.message)?.[1];
  return text === undefined ? String(error.code) : `${error.code} (${text})`;
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
  return new FileFormatError('ERR_FILE_TRUNCATED', file.name, expected, `${got} (truncated)`);
}

function readNpyHeader(file: OpenFile): NpyHeader {
  const preamble = new Uint8Array(Math.min(file.bytes, npyPreambleBytes + 2));
  readInto(file, preamble, 0);
  const magic = hex(preamble.subarray(0, 6));
  if (!npyMagic.startsWith(magic)) {
    throw new FileFormatError('ERR_FILE_MAGIC', file.name, `a NumPy array (first bytes ${npyMagic})`, magic);
  }
  if (preamble.length < npyPreambleBytes) {
    throw truncated(file, `at least ${npyPreambleBytes} bytes of NumPy header`, file.bytes);
  }
  const [major, minor] = preamble.subarray(6, 8);
  if (major < 1 || major > 3 || minor !== 0) {
    throw new FileFormatError('ERR_FILE_HEADER', file.name, 'version 1.0, 2.0 or 3.0', `${major}.${minor}`);
  }

  // Version 1.0 states the length of the header in two bytes, the later ones in four.
  const textOffset = major === 1 ? npyPreambleBytes : npyPreambleBytes + 2;
  if (preamble.length < textOffset) {
    throw truncated(file, `at least ${textOffset} bytes of NumPy header`, file.bytes);
  }
  const view = new DataView(preamble.buffer);
  const textBytes = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (textBytes > npyHeaderLimit) {
    throw new FileFormatError(
      'ERR_FILE_HEADER',
      file.name,
      `a header of at most ${npyHeaderLimit} bytes`,
      `${textBytes}`,
    );
  }
  const dataOffset = textOffset + textBytes;
  if (file.bytes < dataOffset) throw truncated(file, `${dataOffset} bytes of NumPy header`, file.bytes);
  const text = new Uint8Array(textBytes);
  readInto(file, text, textOffset);
  return { ...parseNpyHeader(file, new TextDecoder().decode(text)), dataOffset };
}

/** The header is a Python dictionary literal with exactly the keys descr, fortran_order and shape, in any order. */
function parseNpyHeader(file: OpenFile, text: string): Omit<NpyHeader, 'dataOffset'> {
  let rest = text;
  const take = (pattern: RegExp): string | undefined => {
    const match = pattern.exec(rest);
    if (match !== null) rest = rest.replace(match[0], '');
    return match?.[1];
  };
  const shapeText = take(/['"]shape['"]\s*:\s*(\([\d\s,]*\))/);
  const fortranOrder = take(/['"]fortran_order['"]\s*:\s*(True|False)/);
  const descr = take(/['"]descr['"]\s*:\s*(['"][^'"]*['"]|\[.*\])/s);
  if (
    shapeText === undefined ||
    fortranOrder === undefined ||
    descr === undefined ||
    !/^\s*\{[\s,]*\}\s*$/.test(rest)
  ) {
    throw new FileFormatError(
      'ERR_FILE_HEADER',
      file.name,
      'a NumPy header with descr, fortran_order and shape',
      shorten(text.trim()) || 'an empty one',
    );
  }
  const elements = elementTypes.get(descr.slice(1, -1));
  if (elements === undefined) {
    const accepted = [...elementTypes.keys()].join(', ');
    throw new FileFormatError('ERR_FILE_DTYPE', file.name, `a dtype out of ${accepted}`, shorten(descr));
  }
  if (fortranOrder === 'True') {
    throw new FileFormatError(
      'ERR_FILE_ORDER',
      file.name,
      'C order (save numpy.ascontiguousarray(array))',
      'Fortran order',
    );
  }
  const shape = shapeText.match(/\d+/g)?.map(Number) ?? [];
  return { elements, shape, shapeText: `shape ${shorten(shapeText)}` };
}

function checkNpySize(file: OpenFile, header: NpyHeader, count: number): void {
  const expected = header.dataOffset + count * header.elements.BYTES_PER_ELEMENT;
  const text = `${expected} bytes for ${header.shapeText}`;
  if (file.bytes < expected) throw truncated(file, text, file.bytes);
  if (file.bytes > expected) {
    const trailing = file.bytes - expected;
    throw new FileFormatError(
      'ERR_FILE_TRAILING',
      file.name,
      text,
      `${file.bytes} (${trailing} trailing byte${trailing === 1 ? '' : 's'})`,
    );
  }
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

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

function shorten(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
