import type { Bytes, SourceFile } from './bytes.js';
import { FileFormatError, trailing, truncated } from './file-error.js';
import type { FloatRows, Layout, RawPage, Room } from './layout.js';

type ElementArray =
  | Int8ArrayConstructor
  | Uint8ArrayConstructor
  | Int16ArrayConstructor
  | Uint16ArrayConstructor
  | Int32ArrayConstructor
  | Uint32ArrayConstructor
  | BigInt64ArrayConstructor
  | BigUint64ArrayConstructor
  | Float32ArrayConstructor
  | Float64ArrayConstructor;

/** A kind of number in a file. Typed arrays have the host's byte order: little-endian, as WebAssembly's. */
export interface Element {
  array: ElementArray;
  isBigEndian?: boolean;
  /** 16-bit floats, for which there is no typed array yet. */
  isHalf?: boolean;
}

/** Rows of one length, one behind the other. */
export interface Records {
  element: Element;
  dimensions: number;
  /** Rows, where the file says so; otherwise they go on to its end. */
  rows: number | undefined;
  /** Bytes before the first row. */
  offset: number;
  /** Whether each row begins with its dimensions as int32. */
  isPrefixed: boolean;
  /** Opens the bytes, header included. */
  open(): Promise<Bytes>;
}

const PREFIX_BYTES = 4;

/** Bytes of a row, its prefix included. */
function recordBytes(records: Records): number {
  return (
    records.dimensions * records.element.array.BYTES_PER_ELEMENT + (records.isPrefixed ? PREFIX_BYTES : 0)
  );
}

/** Compares what a header says with the bytes that there are, where these are known. */
export function checkSize(name: string, what: string, bytes: number | undefined, expected: number): void {
  if (bytes === undefined || bytes === expected) return;
  const text = `${expected} bytes for ${what}`;
  if (bytes < expected) throw truncated(name, text, bytes);
  throw trailing(name, text, bytes, bytes - expected);
}

/** The layout of a file of records. */
export function recordLayout(file: SourceFile, records: Records): Layout {
  return {
    dimensions: records.dimensions,
    rows: records.rows,
    floats: floatsOf(records),
    read: (from, pageRows, isDouble, room) => readRecords(file.name, records, from, pageRows, isDouble, room),
  };
}

function floatsOf({ element, offset, rows, isPrefixed }: Records): FloatRows | undefined {
  if (element.array !== Float32Array || element.isBigEndian || rows === undefined) return undefined;
  return { offset, rows, isPrefixed };
}

async function* readRecords(
  name: string,
  records: Records,
  from: number,
  pageRows: number,
  isDouble: boolean,
  room: Room | undefined,
): AsyncGenerator<RawPage> {
  const size = recordBytes(records);
  const areFloats = records.element.array === Float32Array && !records.isPrefixed && !isDouble;
  const bytes = await records.open();
  try {
    // A file that ends before shows at the next read, which says where.
    await bytes.skip(records.offset + from * size);
    for (let row = from; ; ) {
      const left = records.rows === undefined ? pageRows : Math.min(pageRows, records.rows - row);
      if (left <= 0) break;
      const page = room && areFloats ? bytesOf(room(left * records.dimensions)) : new Uint8Array(left * size);
      const got = await bytes.read(page);
      const rows = Math.floor(got / size);
      // Also of a row that is cut: a wrong number of dimensions is why it seems so.
      if (records.isPrefixed) checkPrefixes(name, records, page, row, Math.floor((got + size - 4) / size));
      if (got < page.length && (records.rows !== undefined || got % size !== 0)) {
        const expected = `${size} bytes for row ${row + rows} at byte ${records.offset + (row + rows) * size}`;
        throw truncated(name, expected, got % size);
      }
      if (rows > 0) yield { rows, values: decode(records, page, rows, isDouble) };
      row += rows;
      if (got < page.length) return;
    }
    if ((await bytes.read(new Uint8Array(1))) > 0) {
      const end = records.offset + (records.rows ?? 0) * size;
      throw new FileFormatError(
        'ERR_FILE_TRAILING',
        name,
        `${end} bytes for ${records.rows} rows of ${records.dimensions} dimensions`,
        'more (trailing bytes)',
      );
    }
  } finally {
    await bytes.close();
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function checkPrefixes(name: string, records: Records, page: Uint8Array, first: number, rows: number): void {
  const view = new DataView(page.buffer);
  const size = recordBytes(records);
  for (let i = 0; i < rows; i++) {
    const got = view.getInt32(i * size, true);
    if (got === records.dimensions) continue;
    throw new FileFormatError(
      'ERR_FILE_DIMENSIONS',
      name,
      `${records.dimensions} dimensions in row ${first + i} as in row 0, at byte ${(first + i) * size}`,
      `${got}`,
    );
  }
}

function decode(records: Records, page: Uint8Array, rows: number, isDouble: boolean): RawPage['values'] {
  const { element, dimensions } = records;
  const width = element.array.BYTES_PER_ELEMENT;
  let packed = page;
  if (records.isPrefixed) {
    // Numbers move to the front, so that they are one aligned array.
    const rowBytes = dimensions * width;
    for (let i = 0; i < rows; i++) {
      const at = i * (rowBytes + PREFIX_BYTES) + PREFIX_BYTES;
      page.copyWithin(i * rowBytes, at, at + rowBytes);
    }
    packed = page.subarray(0, rows * rowBytes);
  }
  const count = rows * dimensions;
  if (element.isBigEndian) swapBytes(packed.subarray(0, count * width), width);
  const numbers = new element.array(packed.buffer as ArrayBuffer, packed.byteOffset, count);
  if (!isDouble && numbers instanceof Float32Array) return numbers;
  const values = isDouble ? new Float64Array(count) : new Float32Array(count);
  if (element.isHalf) for (let i = 0; i < count; i++) values[i] = fromHalf(numbers[i] as number);
  else if (numbers instanceof BigInt64Array || numbers instanceof BigUint64Array)
    for (let i = 0; i < count; i++) values[i] = Number(numbers[i]);
  else values.set(numbers);
  return values;
}

function swapBytes(bytes: Uint8Array, width: number): void {
  for (let at = 0; at < bytes.length; at += width) bytes.subarray(at, at + width).reverse();
}

/** IEEE 754 binary16. */
function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}
