import type { SourceFile } from './bytes.js';
import { FileFormatError, shorten } from './file-error.js';
import { checkDimensions, type Layout, type LayoutOptions, type RawPage } from './layout.js';
import { firstLine, type Line, lineError, linesOf } from './lines.js';

/** Where the vector is looked for when no field is named. */
const VECTOR_FIELDS: readonly string[] = ['vector', 'embedding', 'values'];

/**
 * The layout of a file of JSON lines: each is an object with the vector in one field and, where that is asked for, an id
 * in another (text or a number); or just an array of numbers.
 */
export async function jsonLayout(file: SourceFile, options: LayoutOptions): Promise<Layout> {
  const first = await firstLine(file);
  const object = parse(file.name, first);
  const names = object === null || Array.isArray(object) ? [] : Object.keys(object as object);
  const field = options.field ?? VECTOR_FIELDS.find((name) => names.includes(name));
  const about = { name: file.name, field, idField: options.idField };
  const { vector } = rowOf(about, first, object);
  const dimensions = vector.length;
  checkDimensions(`${file.name}:${first.number}`, 'rows', dimensions);
  return {
    dimensions,
    rows: undefined,
    read: (from, pageRows, isDouble) => {
      const rows = (async function* () {
        for await (const line of linesOf(file)) {
          const row = rowOf(about, line, parse(file.name, line));
          yield { ...row, line: line.number };
        }
      })();
      return pagesOf(file.name, rows, dimensions, from, pageRows, isDouble);
    },
  };
}

function parse(name: string, line: Line): unknown {
  try {
    return JSON.parse(line.text);
  } catch (cause) {
    const got = `${shorten(line.text)} (${(cause as Error).message})`;
    throw lineError(name, line.number, 'ERR_FILE_FORMAT', 'a line of JSON', got, cause);
  }
}

function rowOf(
  about: { name: string; field: string | undefined; idField: string | undefined },
  line: Line,
  value: unknown,
): TextRow {
  const { name, field, idField } = about;
  const isArray = Array.isArray(value);
  if (!isArray && (typeof value !== 'object' || value === null)) {
    throw lineError(name, line.number, 'ERR_FILE_FORMAT', 'an object or an array', shorten(line.text));
  }
  const object = value as Record<string, unknown>;
  if (field === undefined && !isArray) {
    const wanted = `a field ${VECTOR_FIELDS.join(', ')}, or one that you name`;
    const got = shorten(Object.keys(object).join(', ')) || 'no field';
    throw lineError(name, line.number, 'ERR_FILE_FIELD', wanted, got);
  }
  const numbers = isArray && field === undefined ? value : object[field as string];
  if (!Array.isArray(numbers)) {
    const got = numbers === undefined ? 'none' : typeof numbers;
    throw lineError(name, line.number, 'ERR_FILE_FIELD', `an array of numbers in field ${field}`, got);
  }
  const wrong = numbers.findIndex((number) => typeof number !== 'number');
  if (wrong >= 0) {
    const got = `${shorten(JSON.stringify(numbers[wrong]))} at place ${wrong}`;
    throw lineError(name, line.number, 'ERR_FILE_VALUE', 'numbers', got);
  }
  if (idField === undefined) return { vector: numbers };
  const id = object[idField];
  if (typeof id !== 'string' && typeof id !== 'number') {
    const got = id === undefined ? 'none' : id === null ? 'null' : typeof id;
    throw lineError(name, line.number, 'ERR_FILE_FIELD', `text or a number in field ${idField}`, got);
  }
  return { vector: numbers, id: String(id) };
}

/** One row of a text. */
export interface TextRow {
  vector: ArrayLike<number>;
  id?: string;
}

/** Rows of a text as pages; each has its line for messages. */
export async function* pagesOf(
  name: string,
  rows: AsyncIterable<TextRow & { line: number }>,
  dimensions: number,
  from: number,
  pageRows: number,
  isDouble: boolean,
): AsyncGenerator<RawPage> {
  const make = (): RawPage['values'] =>
    isDouble ? new Float64Array(pageRows * dimensions) : new Float32Array(pageRows * dimensions);
  let values = make();
  let ids: string[] = [];
  let count = 0;
  let row = 0;
  const page = (): RawPage => ({
    rows: count,
    values: values.subarray(0, count * dimensions),
    ...(ids.length > 0 && { ids }),
  });
  for await (const { vector, id, line } of rows) {
    if (vector.length !== dimensions) {
      const expected = `${dimensions} dimensions as in row 0`;
      throw lineError(name, line, 'ERR_FILE_DIMENSIONS', expected, `${vector.length}`);
    }
    if (row++ < from) continue;
    values.set(vector, count * dimensions);
    if (id !== undefined) ids.push(id);
    if (++count < pageRows) continue;
    yield page();
    values = make();
    ids = [];
    count = 0;
  }
  if (count > 0) yield page();
}

/** Refuses an option that a format has no use for. */
export function refuseOption(name: string, option: string, value: string | undefined, why: string): void {
  if (value === undefined) return;
  throw new FileFormatError('ERR_FILE_FIELD', name, `no ${option} (${why})`, value);
}
