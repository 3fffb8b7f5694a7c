import { FileFormatError } from './file-error.js';
import { MOST_DIMENSIONS } from './layout.js';
import { formatOf, type VectorFormat } from './open.js';
import { FileReplacement } from './replace-file.js';
import { TextBytes } from './text.js';

/** What is known about a file before its first row is written. */
export interface CreateOptions {
  dimensions: number;
  /** Rows to come, where that is known: a packed .npy or .fbin file needs it, since its front is written first. */
  rows?: number;
  /** By default from the ending of the name. */
  format?: VectorFormat;
  /** The field of the vector in JSON lines; default `vector`. */
  field?: string;
  /** The field (JSON lines) or column (CSV) of ids; default `id`. */
  idField?: string;
}

/** Writes vectors to a file, page by page. */
export interface VectorWriter {
  readonly format: VectorFormat;
  /** Rows that were written so far. */
  readonly rows: number;
  /** Appends rows: rows × dimensions numbers, row-major, and ids where the format has them. */
  write(page: { vectors: ArrayLike<number>; rows: number; ids?: ArrayLike<string> }): Promise<void>;
  /** Puts the file in its place. */
  finish(): Promise<void>;
  /** Leaves no trace. */
  abandon(): Promise<void>;
}

type Binary = {
  array: Float32ArrayConstructor | Int32ArrayConstructor | Uint8ArrayConstructor | Int8ArrayConstructor;
};
type Style = (Binary & { front: 'npy' | 'big-ann' | 'rows' }) | { separator: string } | 'jsonl';

const STYLES: Partial<Record<VectorFormat, Style>> = {
  npy: { front: 'npy', array: Float32Array },
  fvecs: { front: 'rows', array: Float32Array },
  bvecs: { front: 'rows', array: Uint8Array },
  ivecs: { front: 'rows', array: Int32Array },
  fbin: { front: 'big-ann', array: Float32Array },
  u8bin: { front: 'big-ann', array: Uint8Array },
  i8bin: { front: 'big-ann', array: Int8Array },
  ibin: { front: 'big-ann', array: Int32Array },
  csv: { separator: ',' },
  tsv: { separator: '\t' },
  jsonl: 'jsonl',
};
const RANGES = new Map<Binary['array'], [number, number]>([
  [Uint8Array, [0, 255]],
  [Int8Array, [-128, 127]],
  [Int32Array, [-(2 ** 31), 2 ** 31 - 1]],
]);
const NPY_HEADER_BYTES = 128;
/** Bytes of text that are written at a time. */
const TEXT_BYTES = 2 ** 18;

/**
 * A file of vectors to write: .npy, .fvecs .bvecs .ivecs, .fbin .u8bin .i8bin .ibin, .csv .tsv or .jsonl, each also packed
 * (`.gz`). It takes its place when it is whole; until then the old one, if any, stays.
 *
 * @throws {FileFormatError} where the format cannot be written, or a number has no place in it
 */
export async function createVectors(path: string, options: CreateOptions): Promise<VectorWriter> {
  const format = options.format ?? formatOf(path);
  const style = format === undefined ? undefined : STYLES[format];
  if (format === undefined || style === undefined) {
    const known = Object.keys(STYLES).map((name) => `.${name}`);
    const expected = `a name that ends in ${known.slice(0, -1).join(', ')} or ${known.at(-1)}`;
    throw new FileFormatError('ERR_FILE_FORMAT', path, expected, format ?? 'another ending');
  }
  if (!(options.dimensions >= 1 && options.dimensions <= MOST_DIMENSIONS)) {
    const expected = `1 to ${MOST_DIMENSIONS} dimensions`;
    throw new FileFormatError('ERR_FILE_DIMENSIONS', path, expected, `${options.dimensions}`);
  }
  const needsRows = typeof style === 'object' && 'front' in style && style.front !== 'rows';
  if (needsRows && options.rows === undefined && /\.gz$/i.test(path)) {
    const expected = `the number of rows before the first one, for a packed .${format} file`;
    throw new FileFormatError('ERR_FILE_SHAPE', path, expected, 'none');
  }
  const file = await FileReplacement.create(path);
  const Writer = typeof style === 'object' && 'front' in style ? BinaryWriter : TextWriter;
  const writer = new Writer(file, format, options, style as never);
  await writer.start();
  return writer;
}

abstract class Writer implements VectorWriter {
  readonly format: VectorFormat;
  rows = 0;
  protected readonly file: FileReplacement;
  protected readonly options: CreateOptions;

  constructor(file: FileReplacement, format: VectorFormat, options: CreateOptions) {
    this.file = file;
    this.format = format;
    this.options = options;
  }

  async start(): Promise<void> {}

  abstract write(page: Parameters<VectorWriter['write']>[0]): Promise<void>;

  async finish(): Promise<void> {
    await this.file.finish();
  }

  async abandon(): Promise<void> {
    await this.file.abandon();
  }
}

class BinaryWriter extends Writer {
  #style: Binary & { front: 'npy' | 'big-ann' | 'rows' };

  constructor(file: FileReplacement, format: VectorFormat, options: CreateOptions, style: never) {
    super(file, format, options);
    this.#style = style;
  }

  override async start(): Promise<void> {
    if (this.#style.front !== 'rows') await this.file.write(this.#head(this.options.rows ?? 0));
  }

  override async write(page: Parameters<VectorWriter['write']>[0]): Promise<void> {
    const { array, front } = this.#style;
    const { dimensions } = this.options;
    const { vectors, rows } = page;
    const numbers = new array(rows * dimensions);
    const range = RANGES.get(array);
    for (let i = 0; i < numbers.length; i++) {
      const value = vectors[i];
      if (range && !(Number.isInteger(value) && value >= range[0] && value <= range[1])) {
        const row = this.rows + Math.floor(i / dimensions);
        const expected = `whole numbers from ${range[0]} to ${range[1]}, as .${this.format} holds`;
        const got = `${value} in row ${row}, column ${i % dimensions}`;
        throw new FileFormatError('ERR_FILE_VALUE', this.file.path, expected, got);
      }
      numbers[i] = value;
    }
    const bytes = new Uint8Array(numbers.buffer);
    if (front !== 'rows') {
      await this.file.write(bytes);
    } else {
      const size = dimensions * array.BYTES_PER_ELEMENT;
      const records = new Uint8Array(rows * (4 + size));
      const view = new DataView(records.buffer);
      for (let i = 0; i < rows; i++) {
        view.setInt32(i * (4 + size), dimensions, true);
        records.set(bytes.subarray(i * size, (i + 1) * size), i * (4 + size) + 4);
      }
      await this.file.write(records);
    }
    this.rows += rows;
  }

  override async finish(): Promise<void> {
    if (this.#style.front !== 'rows' && this.rows !== this.options.rows) {
      if (this.file.isPacked) {
        await this.abandon();
        const expected = `${this.options.rows} rows, as was said`;
        throw new FileFormatError('ERR_FILE_SHAPE', this.file.path, expected, `${this.rows}`);
      }
      await this.file.rewrite(this.#head(this.rows));
    }
    await super.finish();
  }

  /** The front of the file; as long for any number of rows. */
  #head(rows: number): Uint8Array {
    const { dimensions } = this.options;
    if (this.#style.front === 'big-ann') return new Uint8Array(Uint32Array.of(rows, dimensions).buffer);
    const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${rows}, ${dimensions}), }`;
    const head = new Uint8Array(NPY_HEADER_BYTES).fill(32);
    head.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, NPY_HEADER_BYTES - 10, 0]);
    head.set(new TextEncoder().encode(text), 10);
    head[NPY_HEADER_BYTES - 1] = 10;
    return head;
  }
}

class TextWriter extends Writer {
  #style: { separator: string } | 'jsonl';

  constructor(file: FileReplacement, format: VectorFormat, options: CreateOptions, style: never) {
    super(file, format, options);
    this.#style = style;
  }

  override async write(page: Parameters<VectorWriter['write']>[0]): Promise<void> {
    const { dimensions, field = 'vector', idField = 'id' } = this.options;
    const { vectors, rows, ids } = page;
    const style = this.#style;
    const separator = style === 'jsonl' ? ',' : style.separator;
    const [beforeId, beforeVector, afterVector] =
      style === 'jsonl'
        ? [`${JSON.stringify(idField)}:`, `${JSON.stringify(field)}:[`, ']}\n']
        : ['', '', '\n'];
    const text = new TextBytes();
    if (style !== 'jsonl' && this.rows === 0 && ids !== undefined) {
      const names = Array.from({ length: dimensions }, (_, i) => `x${i}`);
      text.text(`${[quote(idField, separator), ...names].join(separator)}\n`);
    }
    for (let row = 0; row < rows; row++) {
      if (style === 'jsonl') text.text('{');
      if (ids !== undefined) {
        const id = style === 'jsonl' ? JSON.stringify(ids[row]) : quote(ids[row], separator);
        text.text(beforeId).text(id).text(separator);
      }
      text.text(beforeVector);
      for (let i = 0; i < dimensions; i++) {
        if (i > 0) text.text(separator);
        text.decimal(vectors[row * dimensions + i]);
      }
      text.text(afterVector);
      if (text.length > TEXT_BYTES) await this.file.write(text.take());
    }
    if (text.length > 0) await this.file.write(text.take());
    this.rows += rows;
  }
}

function quote(text: string, separator: string): string {
  return text.includes(separator) || text.includes('"') ? `"${text.replaceAll('"', '""')}"` : text;
}
