import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FileFormatError, readLabels, readVectors } from '../src/node/index.js';

const digits = fileURLToPath(new URL('../examples/data/digits.npy', import.meta.url));
const digitLabels = fileURLToPath(new URL('../examples/data/digits-labels.npy', import.meta.url));

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'orthant-files-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function write(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

function concat(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** Equality of many numbers; `toEqual` takes seconds over a million. */
function same(a: Float32Array, b: Float32Array): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

interface NpyOptions {
  descr?: string;
  order?: 'True' | 'False';
  shape?: string;
  version?: number;
  header?: string;
}

function npy(data: ArrayBufferView, options: NpyOptions = {}): Uint8Array {
  const { descr = "'<f4'", order = 'False', shape = '(2, 3)', version = 1 } = options;
  const header =
    options.header ?? `{'descr': ${descr}, 'fortran_order': ${order}, 'shape': ${shape}, }${' '.repeat(9)}\n`;
  const text = new TextEncoder().encode(header);
  const preamble = new Uint8Array(version === 1 ? 10 : 12);
  preamble.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0]);
  const view = new DataView(preamble.buffer);
  if (version === 1) view.setUint16(8, text.length, true);
  else view.setUint32(8, text.length, true);
  return concat(preamble, text, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

function fvecs(rows: number[][]): Uint8Array {
  return concat(
    ...rows.flatMap((row) => [
      new Uint8Array(new Int32Array([row.length]).buffer),
      new Uint8Array(new Float32Array(row).buffer),
    ]),
  );
}

function refusal(read: () => unknown): FileFormatError {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(FileFormatError);
    const refused = error as FileFormatError;
    expect(refused.message).toMatch(/^[^\n]+: expected [^\n]+, got [^\n]+$/);
    return refused;
  }
  throw new Error('the file was accepted');
}

const six = [1, -2, 3.5, 0, 5, 6];

describe('readVectors of .npy', () => {
  it('reads the bundled digits: 1,797 rows of 64 pixels between 0 and 16', () => {
    const { vectors, rows, dimensions } = readVectors(digits);
    expect([rows, dimensions, vectors.length]).toEqual([1797, 64, 115_008]);
    expect([...vectors.subarray(0, 8)]).toEqual([0, 0, 5, 13, 9, 1, 0, 0]);
    expect(Math.max(...vectors)).toBe(16);
  });

  it.each([1, 2, 3])('reads version %i.0', (version) => {
    const path = write(`version-${version}.npy`, npy(new Float32Array(six), { version }));
    expect(readVectors(path)).toEqual({ vectors: new Float32Array(six), rows: 2, dimensions: 3 });
  });

  it('reads float64 and uint8 as float32', () => {
    const f8 = write('f8.npy', npy(new Float64Array([0.1, 2, 3, 4, 5, 6]), { descr: "'<f8'" }));
    expect(readVectors(f8).vectors).toEqual(new Float32Array([0.1, 2, 3, 4, 5, 6]));
    const u1 = write(
      'u1.npy',
      npy(new Uint8Array([0, 1, 2, 3, 254, 255]), { descr: "'|u1'", shape: '(3, 2)' }),
    );
    expect(readVectors(u1)).toEqual({
      vectors: new Float32Array([0, 1, 2, 3, 254, 255]),
      rows: 3,
      dimensions: 2,
    });
  });

  it('reads a header whose keys stand in another order and in double quotes', () => {
    const header = '{"shape": (2,3), "fortran_order": False, "descr": "<f4"}';
    expect(readVectors(write('order.npy', npy(new Float32Array(six), { header }))).rows).toBe(2);
  });

  it('reads a file that is longer than one piece of reading', () => {
    const values = new Uint8Array((1 << 20) + 12).map((_, i) => (i * 7) & 255);
    const shape = `(${values.length / 4}, 4)`;
    const path = write('long.npy', npy(values, { descr: "'|u1'", shape }));
    expect(same(readVectors(path).vectors, new Float32Array(values))).toBe(true);
  });

  it('takes the ending of the name in either case', () => {
    expect(readVectors(write('upper.NPY', npy(new Float32Array(six)))).dimensions).toBe(3);
  });
});

describe('readVectors of .fvecs', () => {
  it('reads rows of equal dimensions', () => {
    const path = write('rows.fvecs', fvecs([six.slice(0, 3), six.slice(3)]));
    expect(readVectors(path)).toEqual({ vectors: new Float32Array(six), rows: 2, dimensions: 3 });
  });

  it('reads a file that is longer than one piece of reading', () => {
    const rows = Array.from({ length: 3000 }, (_, r) => Array.from({ length: 400 }, (_, c) => r + c));
    const file = readVectors(write('long.fvecs', fvecs(rows)));
    expect([file.rows, file.dimensions]).toEqual([3000, 400]);
    expect(same(file.vectors, new Float32Array(rows.flat()))).toBe(true);
  });

  it('names the row whose dimensions differ, in the middle and at the end', () => {
    const middle = refusal(() =>
      readVectors(
        write(
          'middle.fvecs',
          fvecs([
            [1, 2, 3],
            [4, 5],
            [6, 7, 8],
          ]),
        ),
      ),
    );
    expect(middle.code).toBe('ERR_FILE_DIMENSIONS');
    expect(middle.message).toContain('middle.fvecs: expected 3 dimensions in row 1 as in row 0, got 2');
    const end = refusal(() => readVectors(write('end.fvecs', fvecs([[1, 2, 3], [4, 5, 6], [7]]))));
    expect(end.message).toContain('expected 3 dimensions in row 2 as in row 0, got 1');
  });

  it.each([0, -4])('refuses a first row of %i dimensions', (dimensions) => {
    const path = write('none.fvecs', new Uint8Array(new Int32Array([dimensions, 0]).buffer));
    expect(refusal(() => readVectors(path)).message).toContain(`at least 1 dimension, got ${dimensions}`);
  });

  it('refuses an empty file', () => {
    const error = refusal(() => readVectors(write('empty.fvecs', new Uint8Array(0))));
    expect([error.code, error.message.split(': ')[1]]).toEqual([
      'ERR_FILE_SHAPE',
      'expected at least 1 row, got an empty file',
    ]);
  });

  it('refuses dimensions beyond the file without allocating them', () => {
    const path = write('huge.fvecs', new Uint8Array(new Int32Array([2 ** 31 - 1, 0]).buffer));
    expect(refusal(() => readVectors(path)).message).toContain(
      '8589934592 bytes for row 0, got 8 (truncated)',
    );
  });

  it('refuses a truncation at every offset that is not the end of a row', () => {
    const bytes = fvecs([six.slice(0, 3), six.slice(3)]);
    for (let length = 0; length < bytes.length; length++) {
      const path = write('cut.fvecs', bytes.subarray(0, length));
      // A .fvecs file does not state its number of rows: cut between two rows, it is a shorter valid file.
      if (length === bytes.length / 2) expect(readVectors(path).rows).toBe(1);
      else expect(refusal(() => readVectors(path)).code, `${length}`).toMatch(/^ERR_FILE_(TRUNCATED|SHAPE)$/);
    }
    const longer = write('cut.fvecs', concat(bytes, new Uint8Array(1)));
    expect(refusal(() => readVectors(longer)).message).toContain('16 bytes for row 2, got 1 (truncated)');
  });
});

describe('readLabels', () => {
  it('reads the bundled labels', () => {
    const labels = readLabels(digitLabels);
    expect(labels.length).toBe(1797);
    expect([...labels.subarray(0, 11)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]);
  });

  it('keeps float64 targets exactly', () => {
    const path = write(
      'targets.npy',
      npy(new Float64Array([0.1, -1e300]), { descr: "'<f8'", shape: '(2,)' }),
    );
    expect([...readLabels(path)]).toEqual([0.1, -1e300]);
  });

  it('refuses vectors, no labels at all, and other formats', () => {
    expect(refusal(() => readLabels(digits)).message).toContain('expected a shape (rows,)');
    const none = write('none.npy', npy(new Float32Array(0), { shape: '(0,)' }));
    expect(refusal(() => readLabels(none)).code).toBe('ERR_FILE_SHAPE');
    expect(refusal(() => readLabels('labels.csv')).code).toBe('ERR_FILE_FORMAT');
  });
});

describe('a malformed .npy file is refused with one line', () => {
  const floats = new Float32Array(six);
  const cases: [string, string, Uint8Array, string][] = [
    [
      'wrong magic',
      'ERR_FILE_MAGIC',
      new TextEncoder().encode('{"json": true}'),
      '93 4e 55 4d 50 59), got 7b 22 6a',
    ],
    [
      'an unknown version',
      'ERR_FILE_HEADER',
      npy(floats, { version: 4 }),
      'version 1.0, 2.0 or 3.0, got 4.0',
    ],
    [
      'an integer dtype',
      'ERR_FILE_DTYPE',
      npy(floats, { descr: "'<i8'" }),
      "out of <f4, <f8, |u1, got '<i8'",
    ],
    ['big-endian floats', 'ERR_FILE_DTYPE', npy(floats, { descr: "'>f4'" }), "got '>f4'"],
    ['a structured dtype', 'ERR_FILE_DTYPE', npy(floats, { descr: "[('x', '<f4')]" }), "got [('x', '<f4')]"],
    ['Fortran order', 'ERR_FILE_ORDER', npy(floats, { order: 'True' }), 'got Fortran order'],
    ['one dimension', 'ERR_FILE_SHAPE', npy(floats, { shape: '(6,)' }), 'got shape (6,)'],
    ['three dimensions', 'ERR_FILE_SHAPE', npy(floats, { shape: '(1, 2, 3)' }), 'got shape (1, 2, 3)'],
    ['no dimension', 'ERR_FILE_SHAPE', npy(floats, { shape: '()' }), 'got shape ()'],
    ['zero rows', 'ERR_FILE_SHAPE', npy(new Float32Array(0), { shape: '(0, 3)' }), 'got shape (0, 3)'],
    ['zero columns', 'ERR_FILE_SHAPE', npy(new Float32Array(0), { shape: '(3, 0)' }), 'got shape (3, 0)'],
    ['more rows than data', 'ERR_FILE_TRUNCATED', npy(floats, { shape: '(3, 3)' }), 'for shape (3, 3), got'],
    ['fewer rows than data', 'ERR_FILE_TRAILING', npy(floats, { shape: '(1, 3)' }), '(12 trailing bytes)'],
    ['one trailing byte', 'ERR_FILE_TRAILING', concat(npy(floats), new Uint8Array(1)), '(1 trailing byte)'],
    [
      'a shape beyond memory',
      'ERR_FILE_TRUNCATED',
      npy(floats, { shape: '(99999999999, 4096)' }),
      'truncated',
    ],
    [
      'a shape beyond numbers',
      'ERR_FILE_TRUNCATED',
      npy(floats, { shape: `(${'9'.repeat(400)}, 2)` }),
      'Infinity bytes',
    ],
    ['a negative shape', 'ERR_FILE_HEADER', npy(floats, { shape: '(-1, 3)' }), 'a NumPy header with'],
    [
      'a missing key',
      'ERR_FILE_HEADER',
      npy(floats, { header: "{'descr': '<f4', 'shape': (2, 3)}" }),
      'header',
    ],
    [
      'a key too many',
      'ERR_FILE_HEADER',
      npy(floats, { order: "False', 'x': 1, 'y': '" as 'False' }),
      'header',
    ],
    ['an empty header', 'ERR_FILE_HEADER', npy(floats, { header: '' }), 'got an empty one'],
    [
      'an oversized header',
      'ERR_FILE_HEADER',
      npy(floats, { version: 2, header: ' '.repeat(65_536) }),
      '65536',
    ],
    ['an empty file', 'ERR_FILE_TRUNCATED', new Uint8Array(0), 'at least 10 bytes of NumPy header, got 0'],
  ];

  it.each(cases)('%s (%s)', (_, code, bytes, text) => {
    const error = refusal(() => readVectors(write('bad.npy', bytes)));
    expect(error.message).toContain('bad.npy: expected ');
    expect(error.message).toContain(text);
    expect(error.code).toBe(code);
  });

  it('a truncation at every offset', () => {
    for (const version of [1, 2]) {
      const bytes = npy(floats, { version });
      for (let length = 0; length < bytes.length; length++) {
        const error = refusal(() => readVectors(write('cut.npy', bytes.subarray(0, length))));
        expect(error.code, `version ${version}, ${length} bytes`).toBe('ERR_FILE_TRUNCATED');
        expect(error.message).toContain(`got ${length} (truncated)`);
      }
    }
  });

  it('a missing file and a folder, with the reason of the system', () => {
    const missing = refusal(() => readVectors(join(folder, 'absent.npy')));
    expect(missing.code).toBe('ERR_FILE_UNREADABLE');
    expect(missing.message).toMatch(/absent\.npy: expected a readable file, got ENOENT \(no such file/);
    const folderAsFile = join(folder, 'folder.npy');
    mkdirSync(folderAsFile);
    expect(refusal(() => readVectors(folderAsFile)).code).toBe('ERR_FILE_UNREADABLE');
  });

  it('an ending that names no format', () => {
    const error = refusal(() => readVectors('vectors.csv'));
    expect(error.message).toBe(
      'vectors.csv: expected a name that ends in .npy or .fvecs, got another ending',
    );
    expect(error.code).toBe('ERR_FILE_FORMAT');
  });

  it('control characters of names and headers do not reach the terminal', () => {
    const error = refusal(() => readVectors('a\n\u001b[31mred.npy'));
    expect(error.message).toMatch(/^a\?\?\[31mred\.npy: expected a readable file/);
    const painted = refusal(() => readVectors(write('esc.npy', npy(floats, { descr: "'\u001b[31m'" }))));
    expect(painted.message).toContain("got '?[31m'");
  });
});
