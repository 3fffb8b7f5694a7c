import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'orthant-start-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Outcome {
  code: number | null;
  out: string;
  error: string;
}

/** What `npm start -- …args` runs, with its exit code and all that it prints. */
function start(...args: string[]): Promise<Outcome> {
  const child = spawn(process.execPath, ['--import', 'tsx', 'examples/start.ts', ...args], { cwd: root });
  let out = '';
  let error = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    error += text;
  });
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, error })));
}

function write(name: string, ...parts: Uint8Array[]): string {
  const file = path.join(folder, name);
  writeFileSync(file, Buffer.concat(parts));
  return file;
}

const bytesOf = (values: Float32Array): Uint8Array => new Uint8Array(values.buffer);

/** Version 1.0 of NumPy's format, float32 in C order. */
function npy(shape: number[], values: Float32Array): Uint8Array {
  const tuple = `(${shape.join(', ')}${shape.length === 1 ? ',' : ''})`;
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': ${tuple}, }`;
  const header = text.padEnd(64 * Math.ceil((text.length + 11) / 64) - 11);
  return Buffer.concat([
    Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, header.length + 1, 0]),
    Buffer.from(`${header}\n`),
    bytesOf(values),
  ]);
}

/** Each row behind its number of dimensions. */
function fvecs(dimensions: number, values: Float32Array): Uint8Array {
  const rows = values.length / dimensions;
  const size = Buffer.alloc(4);
  size.writeInt32LE(dimensions);
  return Buffer.concat(
    Array.from({ length: rows }, (_, i) =>
      Buffer.concat([size, Buffer.from(values.buffer, 4 * i * dimensions, 4 * dimensions)]),
    ),
  );
}

/** Row i is a point of a circle in the first two of its dimensions, so its neighbors are i - 1 and i + 1. */
function circle(rows: number, dimensions: number): Float32Array {
  const values = new Float32Array(rows * dimensions);
  for (let i = 0; i < rows; i++) {
    values[i * dimensions] = Math.cos((2 * Math.PI * i) / rows);
    values[i * dimensions + 1] = Math.sin((2 * Math.PI * i) / rows);
  }
  return values;
}

describe.concurrent('npm start', () => {
  const base = write('base.npy', npy([200, 6], circle(200, 6)));
  const queries = write('queries.fvecs', fvecs(6, circle(200, 6).subarray(0, 24).slice()));

  it('searches the bundled digits and tells neighbors, votes, recall, candidates and speed', async () => {
    const { code, out, error } = await start();
    expect(error).toBe('');
    expect(code).toBe(0);
    expect(out).toContain('index     1,500 rows of 64 dimensions');
    expect(out).toContain('queries   297, rows 1,500 to 1,796');
    expect(out.match(/^query [\d,]+ \(a \d\): [\d,]+ candidates$/gm)).toHaveLength(3);
    expect(out.match(/^ {2}vote: .* -> \d$/gm)).toHaveLength(3);
    // Measured: recall 0.964, accuracy 94.6 %, on every machine.
    expect(Number(/recall@10 against exact search +([\d.]+)/.exec(out)?.[1])).toBeGreaterThan(0.954);
    expect(Number(/classification accuracy +([\d.]+) %/.exec(out)?.[1])).toBeGreaterThan(93.6);
    expect(out).toMatch(/candidates examined, on average +[\d.]+ of 1,500 rows/);
    expect(out).toMatch(/^ {2}exactSearch +[\d,]+ +[\d,]+ +[\d.]+x$/m);
    expect(out).toMatch(/^ {2}HyperplaneLsh\.search +[\d,]+ +[\d,]+ +[\d.]+x$/m);
  });

  it("searches a user's .npy file with a .fvecs file of queries", async () => {
    const { code, out, error } = await start(base, queries, '-k', '3');
    expect(error).toBe('');
    expect(code).toBe(0);
    expect(out).toContain('index     200 rows of 6 dimensions');
    expect(out).toContain('queries   4, rows 0 to 3');
    // Query 1 is row 1: itself at distance 0, then the rows beside it.
    expect(out).toMatch(/query 1: \d+ candidates\n.*\n +1 +0\.000\n +0 +0\.031\n +2 +0\.031\n/);
    expect(out).toContain('recall@3 against exact search');
    expect(out).not.toContain('vote');
  });

  it.each([
    ['is missing', () => path.join(folder, 'none.npy'), 'expected a readable file'],
    [
      'is truncated',
      () => write('truncated.npy', npy([200, 6], circle(200, 6)).subarray(0, 3000)),
      '(truncated)',
    ],
    ['ends within a row', () => write('cut.fvecs', fvecs(6, circle(4, 6)).subarray(0, 100)), 'expected'],
    ['has one dimension only', () => write('flat.npy', npy([1200], circle(200, 6))), 'expected a shape'],
    ['is of another kind', () => write('base.csv', Buffer.from('1,2\n')), 'expected a name that ends in'],
    [
      'holds a number that is not finite',
      () => write('nan.npy', npy([1, 6], Float32Array.of(1, 2, NaN, 4, 5, 6))),
      'row 0, column 2',
    ],
  ])('ends with code 1 and one line when a file %s', async (_, make, reason) => {
    const { code, out, error } = await start(make(), queries);
    expect(code).toBe(1);
    expect(out).toBe('');
    expect(error).toMatch(/^[^\n]+: expected [^\n]+, got [^\n]+\n$/);
    expect(error).toContain(reason);
  });

  it('ends with code 1 and one line when the queries have other dimensions than the rows', async () => {
    const { code, error } = await start(base, write('other.npy', npy([3, 5], circle(3, 5))));
    expect(code).toBe(1);
    expect(error).toMatch(/^.*other\.npy: expected 6 dimensions as in .*base\.npy, got 5\n$/);
  });

  it.each([
    ['one file', [base]],
    ['three files', [base, queries, base]],
    ['k = 0', ['-k', '0']],
    ['k that is no number', ['-k', 'ten']],
    ['an option that does not exist', ['--fast']],
  ])('ends with code 2 and says how to use it for %s', async (_, args) => {
    const { code, out, error } = await start(...args);
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(error).toMatch(/^[^\n]+\nusage: npm start -- .*\n$/);
  });
});
