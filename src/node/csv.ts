import type { SourceFile } from './bytes.js';
import { FileFormatError, shorten } from './file-error.js';
import { pagesOf, type TextRow } from './jsonl.js';
import { checkDimensions, type Layout, type LayoutOptions } from './layout.js';
import { type Line, lineError, linesOf } from './lines.js';

/**
 * The layout of a .csv or .tsv file: a row of numbers a line (RFC 4180, fields without line breaks). A first line of names
 * is recognized by a field that is no number. With `idField` a column has the ids; with `field` a single column has the
 * whole vector, as numbers in brackets or apart from each other by spaces.
 */
export async function csvLayout(
  file: SourceFile,
  options: LayoutOptions,
  separator: string,
): Promise<Layout> {
  const shape = await readShape(file, options, separator);
  return {
    dimensions: shape.dimensions,
    rows: undefined,
    read: (from, pageRows, isDouble) => {
      const rows = (async function* () {
        for await (const line of linesOf(file)) {
          if (line.number === shape.headerLine) continue;
          yield { ...rowOf(file.name, shape, line), line: line.number };
        }
      })();
      return pagesOf(file.name, rows, shape.dimensions, from, pageRows, isDouble);
    },
  };
}

interface Shape {
  separator: string;
  dimensions: number;
  /** Line of the names, if there is one. */
  headerLine: number | undefined;
  columns: number;
  names: string[] | undefined;
  idColumn: number;
  vectorColumn: number;
}

async function readShape(file: SourceFile, options: LayoutOptions, separator: string): Promise<Shape> {
  const { name } = file;
  const lines: Line[] = [];
  for await (const line of linesOf(file)) if (lines.push(line) === 2) break;
  if (lines.length === 0)
    throw new FileFormatError('ERR_FILE_SHAPE', name, 'at least 1 row', 'an empty file');
  const fields = split(name, lines[0], separator);
  const isNamed = options.field !== undefined || options.idField !== undefined;
  const indexOf = (wanted: string | undefined): number => {
    if (wanted === undefined) return -1;
    const at = fields.indexOf(wanted);
    if (at >= 0) return at;
    const got = shorten(fields.join(', '));
    throw lineError(name, lines[0].number, 'ERR_FILE_FIELD', `a column named ${wanted}`, got);
  };
  const idColumn = indexOf(options.idField);
  const vectorColumn = indexOf(options.field);
  const hasNames = isNamed || fields.some((field) => toNumber(field) === undefined);
  if (hasNames && lines.length < 2)
    throw new FileFormatError('ERR_FILE_SHAPE', name, 'at least 1 row', 'only a line of names');
  const shape: Shape = {
    separator,
    dimensions: fields.length - (idColumn >= 0 ? 1 : 0),
    headerLine: hasNames ? lines[0].number : undefined,
    columns: fields.length,
    names: hasNames ? fields : undefined,
    idColumn,
    vectorColumn,
  };
  const first = lines[hasNames ? 1 : 0];
  if (vectorColumn >= 0) shape.dimensions = rowOf(name, shape, first).vector.length;
  checkDimensions(`${name}:${first.number}`, 'rows', shape.dimensions);
  return shape;
}

function rowOf(name: string, shape: Shape, line: Line): TextRow {
  const { columns, idColumn, vectorColumn } = shape;
  const fields = split(name, line, shape.separator);
  if (fields.length !== columns) {
    const wanted = `${columns} column${columns === 1 ? '' : 's'} as in the first line`;
    throw lineError(name, line.number, 'ERR_FILE_DIMENSIONS', wanted, `${fields.length}`);
  }
  const id = idColumn >= 0 ? { id: fields[idColumn] } : {};
  if (vectorColumn >= 0) {
    const texts = fields[vectorColumn]
      .replace(/^\s*[[{(]|[\])}]\s*$/g, '')
      .trim()
      .split(/[\s,;]+/);
    const vector = texts.map((text, i) => numberOf(name, line, text, `place ${i}`));
    return { vector, ...id };
  }
  const vector: number[] = [];
  for (let i = 0; i < columns; i++) {
    if (i !== idColumn) vector.push(numberOf(name, line, fields[i], `column ${shape.names?.[i] ?? i + 1}`));
  }
  return { vector, ...id };
}

function numberOf(name: string, line: Line, text: string, where: string): number {
  const number = toNumber(text);
  if (number !== undefined) return number;
  const got = `${shorten(JSON.stringify(text))} in ${where}`;
  throw lineError(name, line.number, 'ERR_FILE_VALUE', 'a number', got);
}

/** A decimal number; NaN and infinities, which are refused later with their place, as NumPy and pandas write them. */
function toNumber(text: string): number | undefined {
  const number = Number(text);
  if (!Number.isNaN(number) && text.trim() !== '') return number;
  return /^\s*[+-]?(nan|inf(inity)?)\s*$/i.test(text) ? Number.NaN : undefined;
}

/** The fields of a line; quoted ones may hold separators, and quotes twice. */
function split(name: string, line: Line, separator: string): string[] {
  const { text } = line;
  if (!text.includes('"')) return text.split(separator);
  const fields: string[] = [];
  for (let at = 0; ; ) {
    if (text[at] !== '"') {
      const end = text.indexOf(separator, at);
      fields.push(end < 0 ? text.slice(at) : text.slice(at, end));
      if (end < 0) return fields;
      at = end + 1;
      continue;
    }
    let field = '';
    let from = at + 1;
    for (;;) {
      const end = text.indexOf('"', from);
      if (end < 0) {
        const got = 'the end of the line';
        throw lineError(name, line.number, 'ERR_FILE_FORMAT', 'a closing quote', got);
      }
      field += text.slice(from, end);
      from = end + 1;
      if (text[from] !== '"') break;
      field += '"';
      from++;
    }
    fields.push(field);
    if (from === text.length) return fields;
    if (text[from] !== separator) {
      const got = shorten(text.slice(from));
      throw lineError(name, line.number, 'ERR_FILE_FORMAT', 'a separator after a closing quote', got);
    }
    at = from + 1;
  }
}
