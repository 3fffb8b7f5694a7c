import { failure } from '../parallel.js';

/** Rows of a file, as float32 in little-endian order: those of .npy, .fbin and .fvecs files lie so. */
export interface FileRows {
  /** Of a file that this process has opened to read, and keeps open until its call is settled. */
  descriptor: number;
  /** The byte at which the first row begins. */
  offset: number;
  /** Number of rows. */
  rows: number;
  /** Whether each row begins with its number of dimensions as int32, as in .fvecs files; default false. */
  isPrefixed?: boolean;
}

interface FileSystem {
  readSync(descriptor: number, target: Uint8Array, at: number, bytes: number, position: number): number;
}

/** Not by an import: bundlers for pages would look for the module. */
function fileSystem(): FileSystem {
  const { process } = globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } };
  const files = process?.getBuiltinModule?.('node:fs') as FileSystem | undefined;
  if (files) return files;
  throw failure('ERR_ARGUMENT_TYPE', 'file: expected to run in Node 20.16 or later, got another environment');
}

/** Refuses what cannot be rows of a file. */
export function checkFileRows(file: FileRows): void {
  fileSystem();
  for (const name of ['descriptor', 'offset', 'rows'] as const) {
    const value = file?.[name];
    if (!(Number.isSafeInteger(value) && value >= 0))
      throw failure('ERR_ARGUMENT_RANGE', `file.${name}: expected a whole number from 0, got ${value}`);
  }
}

/**
 * Some rows of a file, read on this thread without waiting. They lie in `room` where that is large enough, else in memory of
 * their own.
 *
 * @throws {TypeError} ERR_LENGTH where the file ends before, or a row says that it has other dimensions.
 */
export function readRows(
  { descriptor, offset, isPrefixed }: FileRows,
  dimensions: number,
  first: number,
  count: number,
  room?: ArrayBuffer,
): Float32Array<ArrayBuffer> {
  const { readSync } = fileSystem();
  const pitch = dimensions + (isPrefixed ? 1 : 0);
  const bytes = 4 * count * pitch;
  const buffer = room && room.byteLength >= bytes ? room : new ArrayBuffer(bytes);
  const target = new Uint8Array(buffer, 0, bytes);
  const start = offset + 4 * first * pitch;
  for (let done = 0; done < bytes; ) {
    const got = readSync(descriptor, target, done, bytes - done, start + done);
    if (got === 0)
      throw failure('ERR_LENGTH', `file: expected ${start + bytes} bytes or more, got ${start + done}`);
    done += got;
  }
  const words = new Float32Array(buffer, 0, count * pitch);
  if (isPrefixed) {
    const prefixes = new Int32Array(buffer, 0, words.length);
    for (let row = 0; row < count; row++) {
      const got = prefixes[row * pitch];
      if (got !== dimensions)
        throw failure('ERR_LENGTH', `file: expected ${dimensions} floats in row ${first + row}, got ${got}`);
      words.copyWithin(row * dimensions, row * pitch + 1, (row + 1) * pitch);
    }
  }
  return words.subarray(0, count * dimensions);
}
