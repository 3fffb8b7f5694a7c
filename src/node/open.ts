import { bigAnnLayout } from './big-ann.js';
import { SourceFile } from './bytes.js';
import { csvLayout } from './csv.js';
import { FileFormatError } from './file-error.js';
import { hdf5Layout } from './hdf5.js';
import { jsonLayout, refuseOption } from './jsonl.js';
import type { FloatRows, Layout, LayoutOptions, Room } from './layout.js';
import { npyLayout } from './npy.js';
import { npzLayout } from './npz.js';
import { parquetLayout } from './parquet.js';
import { texmexLayout } from './texmex.js';

/** Kinds of files with vectors. */
export type VectorFormat =
  | 'npy'
  | 'npz'
  | 'fvecs'
  | 'bvecs'
  | 'ivecs'
  | 'fbin'
  | 'u8bin'
  | 'i8bin'
  | 'ibin'
  | 'csv'
  | 'tsv'
  | 'jsonl'
  | 'parquet'
  | 'hdf5';

/** What a caller knows about a file. */
export interface OpenOptions {
  /** The kind of file; by default from the ending of its name, `.gz` left out. */
  format?: VectorFormat;
  /** The array of a .npz file (default: the first) or the data set of an .hdf5 file (default: `train`). */
  name?: string;
  /** The field (JSON lines) or column (Parquet, CSV) with the vector. */
  field?: string;
  /** The field or column with the ids. */
  idField?: string;
}

/** Some rows of a file. */
export interface VectorPage {
  /** Number of its first row in the file. */
  first: number;
  rows: number;
  /** rows × dimensions floats, row-major. */
  vectors: Float32Array;
  /** An id a row, where `idField` was named. */
  ids?: string[];
}

/** How pages of a file are read. */
export interface PageOptions {
  /** The first row; default 0. */
  from?: number;
  /** Rows of a page, at most; by default as many as take 4 MiB. */
  pageRows?: number;
  /**
   * Gives memory for the vectors of a page, for rows × dimensions floats, such as some that threads share; by default each page
   * has its own. Memory that is given again is filled again.
   */
  room?: (floats: number) => Float32Array;
  /** Whether numbers are checked; default true. `false` is for who gives them to an index, which checks them as well. */
  check?: boolean;
}

/** A file of vectors whose head was read. */
export interface VectorSource {
  readonly path: string;
  readonly format: VectorFormat;
  readonly dimensions: number;
  /** Rows, where the file says so before it was read: not in texts, and not in every packed file. */
  readonly rows: number | undefined;
  /** What the file says about distances in its own words, such as `angular`. */
  readonly distance: string | undefined;
  /** Whether pages have ids. */
  readonly hasIds: boolean;
  /** Where the rows lie in the file as float32, for who reads them in another way; undefined where they do not. */
  readonly floats: FloatRows | undefined;
  /** The rows in pages. Each call reads the file anew, so a file larger than memory can be read as often as needed. */
  pages(options?: PageOptions): AsyncGenerator<VectorPage>;
  /** As pages, in double precision and unchecked: ids of neighbors are whole numbers up to 2^53. */
  wholeNumbers(): AsyncGenerator<{ first: number; rows: number; values: Float64Array }>;
  /** Removes what was unpacked on the way. */
  close(): Promise<void>;
}

const PAGE_FLOATS = 2 ** 20;
/** As everywhere in the library: no squared distance overflows. */
const LARGEST = 1e16;

const ENDINGS: Record<string, VectorFormat> = {
  npy: 'npy',
  npz: 'npz',
  fvecs: 'fvecs',
  bvecs: 'bvecs',
  ivecs: 'ivecs',
  fbin: 'fbin',
  u8bin: 'u8bin',
  i8bin: 'i8bin',
  ibin: 'ibin',
  csv: 'csv',
  tsv: 'tsv',
  jsonl: 'jsonl',
  ndjson: 'jsonl',
  parquet: 'parquet',
  hdf5: 'hdf5',
  h5: 'hdf5',
};

/** The kind of file that an ending tells, `.gz` left out; undefined for any other ending. */
export function formatOf(path: string): VectorFormat | undefined {
  const ending = /\.(\w+)(?:\.gz)?$/i.exec(path)?.[1].toLowerCase() ?? '';
  return Object.hasOwn(ENDINGS, ending) ? ENDINGS[ending] : undefined;
}

/**
 * Opens a file of vectors: NumPy's .npy and .npz, .fvecs .bvecs .ivecs, .fbin .u8bin .i8bin .ibin, .csv .tsv, .jsonl, .parquet
 * (with the package hyparquet), .hdf5 as in the ann-benchmarks (with h5wasm). Each may be packed by gzip, which its first
 * bytes tell.
 *
 * Sizes that a file states are compared with its bytes before memory is taken, and a page is all that is held. Numbers are
 * given as float32; one that is not finite, or beyond 1e16, is refused with its row and column.
 *
 * @throws {FileFormatError} with the line, row or byte where the file is not what its format says
 */
export async function openVectors(path: string, options: OpenOptions = {}): Promise<VectorSource> {
  const format = options.format ?? formatOf(path);
  if (format === undefined || !Object.values(ENDINGS).includes(format)) {
    const known = Object.keys(ENDINGS).map((ending) => `.${ending}`);
    throw new FileFormatError(
      'ERR_FILE_FORMAT',
      path,
      `a name that ends in ${known.slice(0, -1).join(', ')} or ${known.at(-1)}, also with .gz behind it`,
      options.format ?? 'another ending',
    );
  }
  const file = await SourceFile.open(path);
  try {
    const layout = await layoutOf(file, format, options);
    return new OpenedFile(file, format, layout, options.idField !== undefined);
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function layoutOf(file: SourceFile, format: VectorFormat, options: OpenOptions): Promise<Layout> {
  const inside: LayoutOptions = options;
  const hasFields = ['csv', 'tsv', 'jsonl', 'parquet'].includes(format);
  if (!hasFields) {
    const why = `.${format} files have no fields`;
    refuseOption(file.name, 'field', options.field, why);
    refuseOption(file.name, 'field of ids', options.idField, why);
  }
  if (format !== 'npz' && format !== 'hdf5') {
    refuseOption(file.name, 'name of an array', options.name, `.${format} files have one`);
  }
  switch (format) {
    case 'npy':
      return npyLayout(file, () => file.stream(), file.bytes);
    case 'npz':
      return npzLayout(file, inside);
    case 'fvecs':
      return texmexLayout(file, { array: Float32Array });
    case 'bvecs':
      return texmexLayout(file, { array: Uint8Array });
    case 'ivecs':
      return texmexLayout(file, { array: Int32Array });
    case 'fbin':
      return bigAnnLayout(file, { array: Float32Array });
    case 'u8bin':
      return bigAnnLayout(file, { array: Uint8Array });
    case 'i8bin':
      return bigAnnLayout(file, { array: Int8Array });
    case 'ibin':
      return bigAnnLayout(file, { array: Int32Array });
    case 'csv':
      return csvLayout(file, inside, ',');
    case 'tsv':
      return csvLayout(file, inside, '\t');
    case 'jsonl':
      return jsonLayout(file, inside);
    case 'parquet':
      return parquetLayout(file, inside);
    case 'hdf5':
      return hdf5Layout(file, inside);
  }
}

class OpenedFile implements VectorSource {
  readonly path: string;
  readonly format: VectorFormat;
  readonly dimensions: number;
  readonly rows: number | undefined;
  readonly distance: string | undefined;
  readonly hasIds: boolean;
  readonly floats: FloatRows | undefined;
  #file: SourceFile;
  #layout: Layout;

  constructor(file: SourceFile, format: VectorFormat, layout: Layout, hasIds: boolean) {
    this.path = file.name;
    this.format = format;
    this.dimensions = layout.dimensions;
    this.rows = layout.rows;
    this.distance = layout.distance;
    this.hasIds = hasIds;
    this.floats = file.isCompressed || format === 'npz' ? undefined : layout.floats;
    this.#file = file;
    this.#layout = layout;
  }

  async *pages(options: PageOptions = {}): AsyncGenerator<VectorPage> {
    const { from = 0, pageRows = this.#pageRows(), room, check = true } = options;
    let first = from;
    let given: Float32Array | undefined;
    const giving: Room | undefined = room && ((floats) => (given = room(floats)));
    for await (const { rows, values, ids } of this.#layout.read(from, pageRows, false, giving)) {
      let vectors = values as Float32Array;
      if (check) this.#check(vectors, first);
      if (room && vectors.buffer !== given?.buffer) {
        const copy = room(vectors.length);
        copy.set(vectors);
        vectors = copy;
      }
      yield ids === undefined ? { first, rows, vectors } : { first, rows, vectors, ids };
      first += rows;
    }
  }

  async *wholeNumbers(): AsyncGenerator<{ first: number; rows: number; values: Float64Array }> {
    let first = 0;
    for await (const { rows, values } of this.#layout.read(0, this.#pageRows(), true)) {
      yield { first, rows, values: values as Float64Array };
      first += rows;
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  #pageRows(): number {
    return Math.max(1, Math.floor(PAGE_FLOATS / this.dimensions));
  }

  #check(vectors: Float32Array, first: number): void {
    for (let i = 0; i < vectors.length; i++) {
      // Also of NaN.
      if (Math.abs(vectors[i]) <= LARGEST) continue;
      const row = first + Math.floor(i / this.dimensions);
      throw new FileFormatError(
        'ERR_FILE_VALUE',
        this.path,
        'finite numbers of at most 1e16',
        `${vectors[i]} in row ${row}, column ${i % this.dimensions}`,
      );
    }
  }
}

/** All vectors of a file that fits into memory, with their ids where `idField` was named. */
export async function readAllVectors(
  source: VectorSource,
  options: { onRows?: (done: number) => void; maxRows?: number } = {},
): Promise<{ vectors: Float32Array; rows: number; ids?: string[] }> {
  const { dimensions } = source;
  const most = options.maxRows ?? Number.POSITIVE_INFINITY;
  let vectors = new Float32Array(Math.min(source.rows ?? 1024, most) * dimensions);
  const ids: string[] = [];
  let rows = 0;
  for await (const page of source.pages()) {
    const count = Math.min(page.rows, most - rows);
    const end = (rows + count) * dimensions;
    if (end > vectors.length) {
      const larger = new Float32Array(Math.max(end, 2 * vectors.length));
      larger.set(vectors.subarray(0, rows * dimensions));
      vectors = larger;
    }
    vectors.set(page.vectors.subarray(0, count * dimensions), rows * dimensions);
    if (page.ids !== undefined) for (let i = 0; i < count; i++) ids.push(page.ids[i]);
    rows += count;
    options.onRows?.(rows);
    if (rows >= most) break;
  }
  const all = { vectors: vectors.subarray(0, rows * dimensions), rows };
  return source.hasIds ? { ...all, ids } : all;
}
