/** Vectors of a file that was dropped on the page. */
export interface Vectors {
  dimensions: number;
  /** rows × dimensions */
  vectors: Float32Array;
  /** What the file calls each row, or nothing. */
  labels: string[];
}

/** Reads .npy, .fvecs, .csv, .tsv, .jsonl, told apart by the end of the name. The error of a wrong file names its place. */
export function readVectorFile(name: string, bytes: Uint8Array): Vectors {
  const ending = name.toLowerCase().split('.').pop();
  if (ending === 'npy') return readNpy(bytes);
  if (ending === 'fvecs') return readFvecs(bytes);
  const text = (): string => new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  if (ending === 'csv' || ending === 'tsv') return readTable(text(), ending === 'csv' ? ',' : '\t');
  if (ending === 'jsonl' || ending === 'ndjson') return readLines(text());
  throw new Error(`${name}: expected a name that ends in .npy, .fvecs, .csv, .tsv or .jsonl`);
}

/** NumPy's format, versions 1 to 3: a text of sizes, then the numbers row by row. */
export function readNpy(bytes: Uint8Array): Vectors {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 12 || new TextDecoder('latin1').decode(bytes.subarray(1, 6)) !== 'NUMPY')
    throw new Error('.npy: expected the beginning of a NumPy file, got something else');
  const isLong = bytes[6] > 1;
  const start = isLong ? 12 : 10;
  const end = start + (isLong ? view.getUint32(8, true) : view.getUint16(8, true));
  const header = new TextDecoder().decode(bytes.subarray(start, end));
  const type = /'descr':\s*'([^']+)'/.exec(header)?.[1] ?? '';
  const shape = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1];
  const sizes = (shape ?? '').split(',').filter((size) => size.trim() !== '');
  if (/'fortran_order':\s*True/.test(header))
    throw new Error('.npy: expected rows one after the other (C order)');
  const [rows, dimensions = 1] = sizes.map(Number);
  const readers: Record<string, [number, (at: number) => number] | undefined> = {
    '<f4': [4, (at) => view.getFloat32(at, true)],
    '<f8': [8, (at) => view.getFloat64(at, true)],
    '|u1': [1, (at) => view.getUint8(at)],
    '|i1': [1, (at) => view.getInt8(at)],
  };
  const reader = readers[type];
  if (!reader) throw new Error(`.npy: expected numbers of type f4, f8, u1 or i1, got ${type || 'none'}`);
  const [size, read] = reader;
  const count = rows * dimensions;
  if (sizes.length < 1 || sizes.length > 2 || !(end + count * size <= bytes.length))
    throw new Error(`.npy: expected ${shape} numbers of ${size} bytes, got ${bytes.length - end} bytes`);
  return {
    dimensions,
    vectors: Float32Array.from({ length: count }, (_, i) => read(end + i * size)),
    labels: [],
  };
}

/** Each row: its length as a 32-bit integer, then so many 32-bit floats. */
function readFvecs(bytes: Uint8Array): Vectors {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const dimensions = bytes.length < 4 ? 0 : view.getInt32(0, true);
  const step = 4 + 4 * dimensions;
  if (dimensions < 1 || bytes.length % step !== 0)
    throw new Error(`.fvecs: expected rows of ${step} bytes, got ${bytes.length} in all`);
  const vectors = new Float32Array((bytes.length / step) * dimensions);
  for (let row = 0; row * step < bytes.length; row++) {
    const length = view.getInt32(row * step, true);
    if (length !== dimensions)
      throw new Error(`.fvecs: expected ${dimensions} numbers in row ${row}, got ${length}`);
    for (let j = 0; j < dimensions; j++)
      vectors[row * dimensions + j] = view.getFloat32(row * step + 4 + 4 * j, true);
  }
  return { dimensions, vectors, labels: [] };
}

/** Columns of numbers are the vector, the first other column is the label; a first line without numbers is left out. */
function readTable(text: string, separator: string): Vectors {
  const lines = text.split(/\r?\n/).map((line, i) => ({ cells: splitLine(line, separator), number: i + 1 }));
  const rows = lines.filter(({ cells }) => cells.length > 1 || cells[0] !== '');
  const isNumber = (cell: string): boolean => cell.trim() !== '' && Number.isFinite(Number(cell));
  if (rows.length > 0 && !rows[0].cells.some(isNumber)) rows.shift();
  if (rows.length === 0) throw new Error('table: expected a line of numbers, got none');
  const numeric = rows[0].cells.map(isNumber);
  const columns = numeric.flatMap((is, i) => (is ? [i] : []));
  const label = numeric.indexOf(false);
  if (columns.length === 0) throw new Error(`line ${rows[0].number}: expected numbers, got none`);
  const vectors = new Float32Array(rows.length * columns.length);
  const labels: string[] = [];
  rows.forEach(({ cells, number }, row) => {
    if (cells.length !== numeric.length)
      throw new Error(`line ${number}: expected ${numeric.length} columns, got ${cells.length}`);
    columns.forEach((column, j) => {
      if (!isNumber(cells[column]))
        throw new Error(`line ${number}, column ${column + 1}: expected a number, got ${cells[column]}`);
      vectors[row * columns.length + j] = Number(cells[column]);
    });
    if (label >= 0) labels.push(cells[label]);
  });
  return { dimensions: columns.length, vectors, labels };
}

/** Cells of a line; a cell in double quotes may hold the separator, and a double quote as two. */
function splitLine(line: string, separator: string): string[] {
  const cells: string[] = [];
  let cell = '';
  let quoted = false;
  for (let i = 0; i < line.length; i++) {
    if (line[i] === '"') {
      if (quoted && line[i + 1] === '"') {
        cell += '"';
        i++;
      } else quoted = !quoted;
    } else if (line[i] === separator && !quoted) {
      cells.push(cell);
      cell = '';
    } else cell += line[i];
  }
  return [...cells, cell];
}

/** A line is an array of numbers, or an object: its first array of numbers is the vector, its first text the label. */
function readLines(text: string): Vectors {
  let dimensions = 0;
  const values: number[] = [];
  const labels: string[] = [];
  text.split(/\r?\n/).forEach((line, i) => {
    if (line.trim() === '') return;
    const place = `line ${i + 1}`;
    let object: unknown;
    try {
      object = JSON.parse(line);
    } catch (error) {
      throw new Error(`${place}: ${(error as Error).message}`);
    }
    const fields = Array.isArray(object) ? [object] : Object.values(object ?? {});
    const vector = fields.find((field): field is number[] => Array.isArray(field));
    const label = fields.find((field) => typeof field === 'string');
    if (!vector?.every((value) => typeof value === 'number') || vector.length === 0)
      throw new Error(`${place}: expected an array of numbers, got none`);
    dimensions ||= vector.length;
    if (vector.length !== dimensions)
      throw new Error(`${place}: expected ${dimensions} numbers, got ${vector.length}`);
    for (const value of vector) values.push(value);
    labels.push(label ?? '');
  });
  if (dimensions === 0) throw new Error('expected a line with an array of numbers, got none');
  return {
    dimensions,
    vectors: Float32Array.from(values),
    labels: labels.some((label) => label) ? labels : [],
  };
}
