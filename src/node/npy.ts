import type { Bytes, SourceFile } from './bytes.js';
import { FileFormatError, hex, shorten, truncated } from './file-error.js';
import { checkDimensions, type Layout } from './layout.js';
import { checkSize, type Element, recordLayout } from './records.js';

export interface NpyHeader {
  /** NumPy's name of the kind of numbers, such as `<f4`. */
  descr: string;
  shape: number[];
  shapeText: string;
  dataOffset: number;
}

const MAGIC = '93 4e 55 4d 50 59';
/** Magic, major, minor, and the two bytes that every version has at least as header length. */
const PREAMBLE_BYTES = 10;
/** The most that version 1.0 can state; NumPy itself writes 118 bytes for an array of numbers. */
const HEADER_LIMIT = 65_535;

const ELEMENTS = new Map<string, Element>([
  ['|u1', { array: Uint8Array }],
  ['|i1', { array: Int8Array }],
  ['|b1', { array: Uint8Array }],
]);
for (const [order, isBigEndian] of [
  ['<', false],
  ['>', true],
] as const) {
  ELEMENTS.set(`${order}f2`, { array: Uint16Array, isBigEndian, isHalf: true });
  ELEMENTS.set(`${order}f4`, { array: Float32Array, isBigEndian });
  ELEMENTS.set(`${order}f8`, { array: Float64Array, isBigEndian });
  ELEMENTS.set(`${order}i2`, { array: Int16Array, isBigEndian });
  ELEMENTS.set(`${order}u2`, { array: Uint16Array, isBigEndian });
  ELEMENTS.set(`${order}i4`, { array: Int32Array, isBigEndian });
  ELEMENTS.set(`${order}u4`, { array: Uint32Array, isBigEndian });
  ELEMENTS.set(`${order}i8`, { array: BigInt64Array, isBigEndian });
  ELEMENTS.set(`${order}u8`, { array: BigUint64Array, isBigEndian });
}

/**
 * The header at the front of a .npy file: NumPy Enhancement Proposal 1, versions 1.0 to 3.0.
 *
 * @param read gives bytes from the current place on, fewer only at the end.
 */
export async function readNpyHeader(
  name: string,
  read: (count: number) => Promise<Uint8Array> | Uint8Array,
): Promise<NpyHeader> {
  const steps = npyHeaderSteps(name);
  let step = steps.next();
  while (!step.done) step = steps.next(await read(step.value));
  return step.value;
}

/** The same without waiting. */
export function readNpyHeaderSync(name: string, read: (count: number) => Uint8Array): NpyHeader {
  const steps = npyHeaderSteps(name);
  let step = steps.next();
  while (!step.done) step = steps.next(read(step.value));
  return step.value;
}

/** Yields how many bytes it needs next. */
function* npyHeaderSteps(name: string): Generator<number, NpyHeader, Uint8Array> {
  const preamble = yield PREAMBLE_BYTES;
  const magic = hex(preamble.subarray(0, 6));
  if (!MAGIC.startsWith(magic)) {
    throw new FileFormatError('ERR_FILE_MAGIC', name, `a NumPy array (first bytes ${MAGIC})`, magic);
  }
  if (preamble.length < PREAMBLE_BYTES) {
    throw truncated(name, `at least ${PREAMBLE_BYTES} bytes of NumPy header`, preamble.length);
  }
  const [major, minor, low, high] = preamble.subarray(6);
  if (major < 1 || major > 3 || minor !== 0) {
    throw new FileFormatError('ERR_FILE_HEADER', name, 'version 1.0, 2.0 or 3.0', `${major}.${minor}`);
  }
  // Version 1.0 states the length of the header in two bytes, the later ones in four.
  let textBytes = low + 256 * high;
  let textOffset = PREAMBLE_BYTES;
  if (major > 1) {
    const more = yield 2;
    if (more.length < 2) {
      const expected = `at least ${PREAMBLE_BYTES + 2} bytes of NumPy header`;
      throw truncated(name, expected, PREAMBLE_BYTES + more.length);
    }
    textBytes += 65536 * (more[0] + 256 * more[1]);
    textOffset += 2;
  }
  if (textBytes > HEADER_LIMIT) {
    throw new FileFormatError(
      'ERR_FILE_HEADER',
      name,
      `a header of at most ${HEADER_LIMIT} bytes`,
      `${textBytes}`,
    );
  }
  const text = yield textBytes;
  if (text.length < textBytes) {
    throw truncated(name, `${textOffset + textBytes} bytes of NumPy header`, textOffset + text.length);
  }
  return { ...parseHeader(name, new TextDecoder().decode(text)), dataOffset: textOffset + textBytes };
}

/** The header is a Python dictionary literal with exactly the keys descr, fortran_order and shape, in any order. */
function parseHeader(name: string, text: string): Omit<NpyHeader, 'dataOffset'> {
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
      name,
      'a NumPy header with descr, fortran_order and shape',
      shorten(text.trim()) || 'an empty one',
    );
  }
  const shape = shapeText.match(/\d+/g)?.map(Number) ?? [];
  if (fortranOrder === 'True') {
    throw new FileFormatError(
      'ERR_FILE_ORDER',
      name,
      'C order (save numpy.ascontiguousarray(array))',
      'Fortran order',
    );
  }
  return { descr, shape, shapeText: `shape ${shorten(shapeText)}` };
}

/** The layout of an array of two dimensions in .npy form. */
export async function npyLayout(
  file: SourceFile,
  open: () => Promise<Bytes>,
  bytes: number | undefined,
  where = '',
): Promise<Layout> {
  const name = file.name + where;
  const stream = await open();
  let header: NpyHeader;
  try {
    header = await readNpyHeader(name, async (count) => {
      const target = new Uint8Array(count);
      return target.subarray(0, await stream.read(target));
    });
  } finally {
    await stream.close();
  }
  const element = ELEMENTS.get(header.descr.slice(1, -1));
  if (element === undefined) {
    const accepted = 'a dtype of real numbers (f2, f4, f8, i1 to i8, u1 to u8)';
    throw new FileFormatError('ERR_FILE_DTYPE', name, accepted, shorten(header.descr));
  }
  const [rows, dimensions] = header.shape;
  if (header.shape.length !== 2 || !Number.isSafeInteger(rows)) {
    throw new FileFormatError('ERR_FILE_SHAPE', name, 'a shape (rows, dimensions)', header.shapeText);
  }
  checkDimensions(name, 'rows', dimensions);
  const expected = header.dataOffset + rows * dimensions * element.array.BYTES_PER_ELEMENT;
  checkSize(name, header.shapeText, bytes, expected);
  return recordLayout(file, {
    element,
    dimensions,
    rows,
    offset: header.dataOffset,
    isPrefixed: false,
    open,
  });
}
