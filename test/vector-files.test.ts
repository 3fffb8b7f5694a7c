import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import h5wasm from 'h5wasm/node';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RandomGenerator } from '../src/index.js';
import {
  createVectors,
  FileFormatError,
  type OpenOptions,
  openVectors,
  readAllVectors,
  shortest,
  TextBytes,
  type VectorPage,
} from '../src/node/index.js';

/** Written by NumPy: make.py beside them. Row i, column j holds (7 i + 3 j) % 50. */
const numpy = fileURLToPath(new URL('./fixtures/numpy/', import.meta.url));
const ROWS = 9;
const DIMENSIONS = 5;
const expected = Float32Array.from(
  { length: ROWS * DIMENSIONS },
  (_, i) => (7 * Math.floor(i / DIMENSIONS) + 3 * (i % DIMENSIONS)) % 50,
);
const matrix = Array.from({ length: ROWS }, (_, i) => [...expected.subarray(i * 5, (i + 1) * 5)]);
const names = matrix.map((_, i) => `row-${i}`);

const folder = mkdtempSync(path.join(tmpdir(), 'orthant-vectors-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, bytes: Uint8Array | string): string {
  const file = path.join(folder, name);
  writeFileSync(file, bytes);
  return file;
}

/** The listing of three levels that Parquet wants for a list of floats. */
function parquet(
  column: unknown[],
  codec: 'SNAPPY' | 'UNCOMPRESSED' = 'SNAPPY',
  rowGroupSize = 4,
): Uint8Array {
  const bytes = parquetWriteBuffer({
    schema: [
      { name: 'root', num_children: 2 },
      { name: 'id', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'REQUIRED' },
      { name: 'embedding', num_children: 1, repetition_type: 'OPTIONAL', converted_type: 'LIST' },
      { name: 'list', num_children: 1, repetition_type: 'REPEATED' },
      { name: 'element', type: 'FLOAT', repetition_type: 'OPTIONAL' },
    ],
    columnData: [
      { name: 'id', data: names.slice(0, column.length) },
      { name: 'embedding', data: column },
    ],
    codec,
    rowGroupSize,
  } as never);
  return new Uint8Array(bytes);
}

async function hdf5(name: string, write: (file: InstanceType<typeof h5wasm.File>) => void): Promise<string> {
  await h5wasm.ready;
  const file = new h5wasm.File(path.join(folder, name), 'w');
  write(file);
  file.close();
  return path.join(folder, name);
}

async function refusal(file: string, options?: OpenOptions): Promise<FileFormatError> {
  try {
    const source = await openVectors(file, options);
    try {
      for await (const _ of source.pages());
    } finally {
      await source.close();
    }
  } catch (error) {
    if (error instanceof FileFormatError) return error;
    throw error;
  }
  throw new Error(`expected ${file} to be refused`);
}

/** That a file has the rows of `expected`, in pages of any size and from any row on. */
async function expectRows(file: string, options?: OpenOptions, ids?: string[]): Promise<void> {
  const source = await openVectors(file, options);
  try {
    expect(source.dimensions).toBe(DIMENSIONS);
    expect([ROWS, undefined]).toContain(source.rows);
    for (const [from, pageRows] of [
      [0, 1],
      [0, 4],
      [0, 100],
      [7, 2],
      [9, 4],
    ]) {
      const pages: VectorPage[] = [];
      for await (const page of source.pages({ from, pageRows })) pages.push(page);
      expect(pages.flatMap((page) => [...page.vectors])).toEqual([...expected.subarray(from * DIMENSIONS)]);
      let first = from;
      for (const page of pages) {
        expect([page.first, page.vectors.length]).toEqual([first, page.rows * DIMENSIONS]);
        expect(page.rows).toBeLessThanOrEqual(pageRows);
        first += page.rows;
      }
      if (ids) expect(pages.flatMap((page) => page.ids ?? [])).toEqual(ids.slice(from));
    }
    expect((await readAllVectors(source)).vectors).toEqual(expected);
  } finally {
    await source.close();
  }
}

describe('pages of a file', () => {
  it.each(['f4.npy', 'f8.npy', 'packed.npy.gz'])(
    'are read into memory that is given for them: %s',
    async (name) => {
      const source = await openVectors(numpy + name);
      const shared = new SharedArrayBuffer(4 * 4 * DIMENSIONS);
      const seen: number[] = [];
      const room = (floats: number): Float32Array => new Float32Array(shared, 0, floats);
      for await (const { vectors, rows, first } of source.pages({ pageRows: 4, room })) {
        expect([vectors.buffer === shared, vectors.length, first]).toEqual([
          true,
          rows * DIMENSIONS,
          seen.length / DIMENSIONS,
        ]);
        seen.push(...vectors);
      }
      expect(seen).toEqual([...expected]);
      await source.close();
    },
  );

  it('of a file of any other kind are copied there', async () => {
    const file = write('given.csv', '1,2\n3,4\n5,6\n');
    const memory = new Float32Array(4);
    const source = await openVectors(file);
    const seen: number[] = [];
    for await (const { vectors } of source.pages({
      pageRows: 2,
      room: (floats) => memory.subarray(0, floats),
    })) {
      expect(vectors.buffer).toBe(memory.buffer);
      seen.push(...vectors);
    }
    expect(seen).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('are checked unless the caller has an index do it', async () => {
    const file = write('unfit.fbin', new Uint8Array(Float32Array.of(0, 0, 1, Number.NaN).buffer));
    const bytes = readFileSync(file);
    bytes.writeUInt32LE(1, 0);
    bytes.writeUInt32LE(2, 4);
    write('unfit.fbin', bytes);
    expect((await refusal(file)).message).toContain('got NaN in row 0, column 1');
    const source = await openVectors(file);
    for await (const { vectors } of source.pages({ check: false }))
      expect([...vectors]).toEqual([1, Number.NaN]);
  });
});

describe('files that NumPy wrote', () => {
  const files = readdirSync(numpy).filter((name) => !/^(make\.py|fortran\.npy|stored\.npz)$/.test(name));
  it.each(files)('are read: %s', (name) => expectRows(numpy + name));

  it.each(files.filter((name) => !name.endsWith('.gz')))('are read when packed: %s', (name) =>
    expectRows(write(`${name}.gz`, gzipSync(readFileSync(numpy + name)))),
  );

  it('are told by their first bytes to be packed, whatever their name', () =>
    expectRows(write('secretly.npy', readFileSync(`${numpy}packed.npy.gz`))));

  it('are read by the name of an array, or the first of them', async () => {
    await expectRows(`${numpy}stored.npz`, { name: 'base' });
    const other = await openVectors(`${numpy}deflated.npz`, { name: 'other' });
    expect((await readAllVectors(other)).vectors[0]).toBe(1);
    expect((await refusal(`${numpy}stored.npz`)).message).toContain('[labels]: expected a shape (rows, dim');
    expect((await refusal(`${numpy}stored.npz`, { name: 'x' })).message).toMatch(/named x, got labels, base/);
  });

  it('are refused in Fortran order', async () => {
    expect((await refusal(`${numpy}fortran.npy`)).code).toBe('ERR_FILE_ORDER');
  });
});

describe('texts and other formats', () => {
  it('lines of JSON are read, with ids', async () => {
    const lines = matrix.map((vector, i) => JSON.stringify({ name: names[i], vector, other: { a: 1 } }));
    await expectRows(write('a.jsonl', `${lines.join('\n')}\n`));
    await expectRows(write('a.ndjson', lines.join('\r\n\r\n')), { idField: 'name' }, names);
    const named = matrix.map((e, i) => JSON.stringify({ id: i, e }));
    await expectRows(write('b.jsonl', named.join('\n')), { field: 'e', idField: 'id' }, Object.keys(names));
    await expectRows(write('c.jsonl', matrix.map((row) => JSON.stringify(row)).join('\n')));
  });

  it('columns of a CSV file are read, with ids, quotes and a mark of byte order', async () => {
    const lines = matrix.map((row, i) => [`"${names[i]}"`, ...row].join(','));
    const file = write('a.csv', `\ufeffid,a,b,c,"d,""x",e\n${lines.join('\n')}`);
    await expectRows(file, { idField: 'id' }, names);
    expect((await refusal(file)).message).toMatch(/a\.csv:2: expected a number, got "row-0" in column id/);
    const whole = matrix.map((row, i) => `${names[i]}\t[${row}]`);
    const columns = { field: 'embedding', idField: 'id' };
    await expectRows(write('b.tsv', `id\tembedding\n${whole.join('\n')}`), columns, names);
  });

  it.each(['SNAPPY', 'UNCOMPRESSED'] as const)('lists of a Parquet file are read, %s', async (codec) => {
    const file = write(`${codec}.parquet`, parquet(matrix, codec));
    await expectRows(file);
    await expectRows(file, { field: 'embedding', idField: 'id' }, names);
    await expectRows(write(`${codec}.parquet.gz`, gzipSync(readFileSync(file))));
  });

  it('data sets of an HDF5 file are read, and what it says about distances', async () => {
    const file = await hdf5('a.hdf5', (to) => {
      to.create_dataset({
        name: 'train',
        data: expected,
        shape: [ROWS, DIMENSIONS],
        chunks: [4, 5],
        compression: 4,
      });
      to.create_dataset({ name: 'test', data: Float64Array.from(expected), shape: [ROWS, DIMENSIONS] });
      to.create_dataset({ name: 'neighbors', data: Int32Array.from(expected), shape: [ROWS, DIMENSIONS] });
      to.create_dataset({ name: 'flat', data: expected, shape: [45] });
      to.create_dataset({ name: 'words', data: ['a', 'b'], shape: [1, 2] });
      to.create_attribute('distance', 'angular');
    });
    await expectRows(file);
    for (const name of ['test', 'neighbors']) await expectRows(file, { name });
    await expectRows(write('a.h5.gz', gzipSync(readFileSync(file))));
    expect((await openVectors(file)).distance).toBe('angular');
    expect((await refusal(file, { name: 'x' })).message).toMatch(/a data set named x, got flat, neighbors/);
    expect((await refusal(file, { name: 'flat' })).code).toBe('ERR_FILE_SHAPE');
    expect((await refusal(file, { name: 'words' })).code).toBe('ERR_FILE_DTYPE');
    const cut = write('cut.hdf5', readFileSync(file).subarray(0, 900));
    expect((await refusal(cut)).message).toMatch(
      /cut\.hdf5: expected a sound HDF5 file, got .*truncated file/,
    );
    expect((await refusal(write('no.hdf5', 'hello, world'))).code).toBe('ERR_FILE_MAGIC');
  });

  it('whole numbers keep all their digits', async () => {
    const large = Int32Array.of(2, 2 ** 30 + 1, 2 ** 24 + 1);
    const source = await openVectors(write('large.ivecs', new Uint8Array(large.buffer)));
    for await (const { values } of source.wholeNumbers()) expect([...values]).toEqual([...large.subarray(1)]);
  });
});

describe('refused with the place of what is wrong', () => {
  const fvecs = readFileSync(`${numpy}rows.fvecs`);
  const fbin = readFileSync(`${numpy}rows.fbin`);
  const npy = readFileSync(`${numpy}f4.npy`);
  const npz = readFileSync(`${numpy}deflated.npz`);
  const flipped = (bytes: Uint8Array, at: number): Buffer => {
    const copy = Buffer.from(bytes);
    copy[at] ^= 0x55;
    return copy;
  };
  const words = (...values: number[]): Buffer => Buffer.from(Uint32Array.from(values).buffer);
  const cases: [string, string, Uint8Array | string, RegExp][] = [
    ['a missing number', 'a.jsonl', '[1,2]\n\n[1]', /a\.jsonl:3: expected 2 dimensions as in row 0, got 1/],
    [
      'words for numbers',
      'b.jsonl',
      '{"vector":[1,"x"]}',
      /b\.jsonl:1: expected numbers, got "x" at place 1/,
    ],
    ['no JSON', 'c.jsonl', '[1]\n[', /c\.jsonl:2: expected a line of JSON, got \[/],
    ['no field', 'd.jsonl', '{"v":[1]}', /d\.jsonl:1: expected a field vector, embedding, values.*got v/],
    ['a number as a line', 'e.jsonl', '7', /e\.jsonl:1: expected an object or an array, got 7/],
    ['bytes that are no text', 'f.csv', Uint8Array.of(49, 10, 0xff, 10), /f\.csv:2: expected text in UTF-8/],
    ['a missing column', 'g.csv', '1,2\n3,4\n5', /g\.csv:3: expected 2 columns as in the first line, got 1/],
    ['a word in a column', 'h.csv', 'a,b\n1,x', /h\.csv:2: expected a number, got "x" in column b/],
    ['an empty field', 'i.tsv', '1\t2\n1\t', /i\.tsv:2: expected a number, got "" in column 2/],
    ['an open quote', 'j.csv', '1,2\n"1,2', /j\.csv:2: expected a closing quote/],
    ['nothing', 'k.csv', '', /k\.csv: expected at least 1 row, got an empty file/],
    ['NaN', 'l.csv', '1,2\n3,nan', /l\.csv: expected finite numbers .*got NaN in row 1, column 1/],
    ['a cut row', 'm.fvecs', fvecs.subarray(0, 100), /24 bytes for row 4 at byte 96, got 4 \(truncated\)/],
    ['a row of other length', 'n.fvecs', flipped(fvecs, 48), /5 dimensions in row 2 as in row 0, at byte 48/],
    ['millions of dimensions', 'o.fvecs', words(2 ** 30), /row 0 of 1 to 65536 dimensions, got 1073741824/],
    ['negative dimensions', 'p.bvecs', words(2 ** 32 - 1), /row 0 of 1 to 65536 dimensions, got -1/],
    ['rows that are not there', 'q.fbin', words(2 ** 32 - 1, 65536), /65536 dimensions, got 8 \(truncated\)/],
    ['a cut header', 'r.u8bin', words(1), /8 bytes of rows and dimensions, got 4 \(truncated\)/],
    ['rows too many', 's.fbin', Buffer.concat([fbin, Buffer.alloc(3)]), /got 191 \(3 trailing bytes\)/],
    ['cut numbers', 't.npy', npy.subarray(0, 200), /308 bytes for shape \(9, 5\), got 200 \(truncated\)/],
    [
      'cut packed numbers',
      'u.npy.gz',
      gzipSync(npy.subarray(0, 200)),
      /20 bytes for row 3 at byte 188, got 12/,
    ],
    [
      'packed numbers too many',
      'v.npy.gz',
      gzipSync(Buffer.concat([npy, npy])),
      /got more \(trailing bytes\)/,
    ],
    ['a cut packed file', 'w.npy.gz', gzipSync(npy).subarray(0, 60), /w\.npy\.gz: expected sound compressed/],
    ['no archive', 'x.npz', npy, /a \.npz \(ZIP\) archive, got no directory/],
    ['a cut archive', 'y.npz', npz.subarray(0, 400), /a \.npz \(ZIP\) archive, got no directory/],
    ['an archive with other bytes', 'z.npz', flipped(npz, 120), /z\.npz.*expected/],
    ['no Parquet file', 'a.parquet', 'PAR1 and so on', /a Parquet file \(PAR1 at its end\), got other/],
    [
      'a footer too long',
      'b.parquet',
      Buffer.from('PAR1xxxxxxxx\x7f\x7f\x7f\x7fPAR1'),
      /a footer of at most 12/,
    ],
    ['a list that is short', 'c.parquet', parquet([[1, 2], [3]]), /c\.parquet:2: expected 2 dimensions/],
    ['a null for a list', 'd.parquet', parquet([[1, 2], null]), /a list of numbers in row 1, got null/],
    [
      'a null in a list',
      'e.parquet',
      parquet([
        [1, 2],
        [3, null],
      ]),
      /numbers in row 1, got null at place 1/,
    ],
  ];
  it.each(cases)('%s', async (_, name, bytes, message) => {
    expect((await refusal(write(name, bytes))).message).toMatch(message);
  });

  it('a header that asks for more than there is takes no memory', async () => {
    const text = "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 65536), }\n";
    const head = Buffer.concat([npy.subarray(0, 8), Buffer.from(Uint16Array.of(text.length).buffer)]);
    const hostile = Buffer.concat([head, Buffer.from(text)]);
    const before = process.memoryUsage().rss;
    expect((await refusal(write('hostile.npy', hostile))).code).toBe('ERR_FILE_TRUNCATED');
    // Packed there is no size to compare with: a page is all that is taken.
    expect((await refusal(write('hostile.npy.gz', gzipSync(hostile)))).code).toBe('ERR_FILE_TRUNCATED');
    expect(process.memoryUsage().rss - before).toBeLessThan(1e8);
  });

  it('every flipped byte of a Parquet file gives its rows, other rows, or a refusal', async () => {
    const bytes = parquet(matrix, 'UNCOMPRESSED', 100);
    for (let at = 0; at < bytes.length; at += 3) {
      const file = write('flipped.parquet', flipped(bytes, at));
      await refusal(file).catch((error: Error) => expect(error.message).toMatch(/to be refused$/));
    }
  });

  it('an ending that says nothing, and options that a format has no use for', async () => {
    expect((await refusal('a.xyz')).message).toMatch(/ends in \.npy, .* or \.h5, also with \.gz behind it/);
    expect((await refusal(`${numpy}f4.npy`, { idField: 'id' })).code).toBe('ERR_FILE_FIELD');
    expect((await refusal(`${numpy}f4.npy`, { name: 'x' })).code).toBe('ERR_FILE_FIELD');
    expect((await refusal(path.join(folder, 'absent.npy'))).code).toBe('ERR_FILE_UNREADABLE');
  });
});

describe('a file that is written', () => {
  const formats = ['npy', 'fvecs', 'bvecs', 'ivecs', 'fbin', 'u8bin', 'i8bin', 'ibin', 'csv', 'tsv', 'jsonl'];
  it.each(formats.flatMap((format) => [format, `${format}.gz`]))(
    'reads back as it was: %s',
    async (format) => {
      const file = path.join(folder, `back.${format}`);
      const writer = await createVectors(file, { dimensions: DIMENSIONS, rows: ROWS });
      await writer.write({ vectors: expected.subarray(0, 20), rows: 4 });
      await writer.write({ vectors: expected.subarray(20), rows: 5 });
      await writer.finish();
      await expectRows(file);
    },
  );

  it('is byte for byte what NumPy writes', async () => {
    const file = path.join(folder, 'same.npy');
    const writer = await createVectors(file, { dimensions: DIMENSIONS });
    await writer.write({ vectors: expected, rows: ROWS });
    await writer.finish();
    expect(readFileSync(file).equals(readFileSync(`${numpy}f4.npy`))).toBe(true);
  });

  it('tells where rows lie as float32 in the file, and of no others', async () => {
    const placed: string[] = [];
    for (const name of readdirSync(numpy).filter((file) =>
      /\.(npy|npz|[fiu8]+bin|[fbi]vecs|gz)$/.test(file),
    )) {
      if (name === 'fortran.npy') continue;
      const array = name === 'stored.npz' ? { name: 'base' } : {};
      const { floats, dimensions } = await openVectors(numpy + name, array);
      if (floats === undefined) continue;
      placed.push(name);
      const bytes = readFileSync(numpy + name);
      const pitch = dimensions + (floats.isPrefixed ? 1 : 0);
      const first = floats.offset + (floats.isPrefixed ? 4 : 0);
      const values = Array.from(expected, (_, i) =>
        bytes.readFloatLE(first + 4 * (Math.floor(i / dimensions) * pitch + (i % dimensions))),
      );
      expect([floats.rows, dimensions, values]).toEqual([ROWS, DIMENSIONS, [...expected]]);
      expect(bytes).toHaveLength(floats.offset + 4 * ROWS * pitch);
    }
    expect(placed.sort()).toEqual(['f4.npy', 'rows.fbin', 'rows.fvecs']);
  });

  it('writes the shortest decimal of a float, as JavaScript writes numbers', () => {
    const float = new Float32Array(1);
    const word = new Uint32Array(float.buffer);
    const random = new RandomGenerator(0);
    for (let i = 0; i < 50_000; i++) {
      if (i % 2 === 0) word[0] = random.integer(2 ** 32);
      else float[0] = random.normal() * 10 ** (random.integer(14) - 7);
      const [value] = float;
      if (!(Math.abs(value) <= 1e16)) continue;
      const text = shortest(value);
      const digits = [1, 2, 3, 4, 5, 6, 7, 8, 9].find(
        (count) => Math.fround(Number(value.toPrecision(count))) === value,
      );
      const oracle = Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(digits)));
      if (Math.fround(Number(text)) !== value || text.length > oracle.length || String(Number(text)) !== text)
        expect([value, text]).toEqual([value, oracle]);
    }
    const some = [0.5, -0.001, 1.25e-7, 16777217.5, 8388607.5, 0.999999, 255, -0, -7, 4294967296];
    expect(some.map(Math.fround).map(shortest)).toEqual(
      '0.5 -0.001 1.25e-7 16777218 8388607.5 0.999999 255 0 -7 4294967296'.split(' '),
    );
  });

  it('writes whole numbers, decimals and any text as one', () => {
    const text = new TextBytes();
    const numbers = [0, 9, 10, 99, 100, 4294967295, 3000000000, 1000000000, 999999999];
    for (const number of numbers) text.whole(number).text(' ');
    text.decimal(-0.25).text('ü'.repeat(5000)).text('\u{1f600}').decimal(12.5);
    expect(text.length).toBeGreaterThan(10_000);
    expect(new TextDecoder().decode(text.take())).toBe(
      `${numbers.join(' ')} -0.25${'ü'.repeat(5000)}\u{1f600}12.5`,
    );
    expect([text.length, new TextDecoder().decode(text.text('anew').take())]).toEqual([0, 'anew']);
  });

  it('keeps every float in texts', async () => {
    const vectors = Float32Array.of(0.1, 1 / 3, 1e-40, -1.5e16 / 2, 16777217);
    const file = path.join(folder, 'floats.csv');
    const writer = await createVectors(file, { dimensions: 5 });
    await writer.write({ vectors, rows: 1, ids: ['a,"b'] });
    await writer.finish();
    const source = await openVectors(file, { idField: 'id' });
    expect(await readAllVectors(source)).toEqual({ vectors, rows: 1, ids: ['a,"b'] });
  });

  it('leaves the old one as it was, and nothing beside it, when it is given up or a number has no place', async () => {
    const file = write('kept.bvecs', 'as it was');
    const writer = await createVectors(file, { dimensions: 1 });
    await writer.write({ vectors: [255], rows: 1 });
    await expect(writer.write({ vectors: [256], rows: 1 })).rejects.toThrow(
      '0 to 255, as .bvecs holds, got 256',
    );
    await writer.abandon();
    expect(readFileSync(file, 'utf8')).toBe('as it was');
    expect(readdirSync(folder).filter((name) => name.includes('kept'))).toEqual(['kept.bvecs']);
  });

  it('is refused where it cannot be', async () => {
    await expect(createVectors('x.parquet', { dimensions: 1 })).rejects.toThrow(
      /ends in \.npy, .*got parquet/,
    );
    const nowhere = path.join(folder, 'no/where.npy');
    await expect(createVectors(nowhere, { dimensions: 1 })).rejects.toThrow(/a writable file, got ENOENT/);
    await expect(createVectors('x.npy.gz', { dimensions: 1 })).rejects.toThrow('the number of rows before');
  });
});

beforeAll(() => h5wasm.ready);
