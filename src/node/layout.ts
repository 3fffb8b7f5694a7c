import { FileFormatError } from './file-error.js';

/** The most dimensions that any part of the library takes. */
export const MOST_DIMENSIONS = 65_536;

/** Gives memory for so many floats. */
export type Room = (floats: number) => Float32Array;

/** Rows of a file as its reader gives them. */
export interface RawPage {
  rows: number;
  values: Float32Array | Float64Array;
  ids?: string[];
}

/** Where rows lie in a file as float32 in little-endian order. */
export interface FloatRows {
  /** The byte at which the first row begins. */
  offset: number;
  /** Number of rows. */
  rows: number;
  /** Whether each row begins with its number of dimensions as int32. */
  isPrefixed: boolean;
}

/** What a reader found out about a file before any row was read. */
export interface Layout {
  dimensions: number;
  /** Rows, where the file says so. */
  rows: number | undefined;
  /** What the file says about distances, in its own words. */
  distance?: string;
  /** Where rows lie in what the file is unpacked to, if they lie there as float32. */
  floats?: FloatRows;
  /**
   * Rows from row `from` on. `isDouble` keeps whole numbers up to 2^53, as ids of neighbors need. `room` gives the memory that
   * float32 rows of a binary file are read into; a reader that cannot do so takes memory of its own.
   */
  read(from: number, pageRows: number, isDouble: boolean, room?: Room): AsyncGenerator<RawPage>;
}

/** What a caller may say about the inside of a file. */
export interface LayoutOptions {
  /** An array of a .npz file or a data set of an .hdf5 file. */
  name?: string;
  /** The field (JSON lines) or column (Parquet, CSV) with the vector. */
  field?: string;
  /** The field or column with the row's id. */
  idField?: string;
}

export function checkDimensions(name: string, where: string, dimensions: number): number {
  if (Number.isInteger(dimensions) && dimensions >= 1 && dimensions <= MOST_DIMENSIONS) return dimensions;
  throw new FileFormatError(
    'ERR_FILE_DIMENSIONS',
    name,
    `${where} of 1 to ${MOST_DIMENSIONS} dimensions`,
    `${dimensions}`,
  );
}
