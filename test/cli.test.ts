import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';
import h5wasm from 'h5wasm/node';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exactSearchBatch, type NeighborsBatch, RandomGenerator, VectorIndex } from '../src/index.js';
import { createVectors, readVectors } from '../src/node/index.js';

// The command as the build makes it, run as a user does.
const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const numpy = fileURLToPath(new URL('./fixtures/numpy/', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'orthant-cli-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const DIMENSIONS = 24;
/** Rows around some centres, as embeddings are. */
function draw(rows: number, seed: number): Float32Array {
  const centres = new Float32Array(20 * DIMENSIONS);
  new RandomGenerator(0).normals(centres);
  const random = new RandomGenerator(seed);
  const vectors = new Float32Array(rows * DIMENSIONS);
  random.normals(vectors);
  for (let i = 0; i < vectors.length; i++) {
    const centre = Math.floor(i / DIMENSIONS) % 20;
    vectors[i] = Math.fround(centres[centre * DIMENSIONS + (i % DIMENSIONS)] + 0.4 * vectors[i]);
  }
  return vectors;
}
const base = draw(3000, 1);
const queries = draw(50, 2);

async function save(
  name: string,
  vectors: ArrayLike<number>,
  dimensions: number,
  ids?: string[],
): Promise<string> {
  const writer = await createVectors(path.join(folder, name), { dimensions });
  await writer.write({ vectors, rows: vectors.length / dimensions, ...(ids && { ids }) });
  await writer.finish();
  return name;
}

beforeAll(async () => {
  await save('base.npy', base, DIMENSIONS);
  await save('products.npy', base, DIMENSIONS);
  await save('queries.npy', queries, DIMENSIONS);
  await save('orders.npy', queries, DIMENSIONS);
  await save('more.npy', draw(10, 3), DIMENSIONS);
  output('build base.npy -o base.orthant -q');
  // The examples of the help change that one.
  copyFileSync(path.join(folder, 'base.orthant'), path.join(folder, 'whole.orthant'));
});

/** The index of base.npy once more: it is built but once. */
function copyIndex(name: string): void {
  copyFileSync(path.join(folder, 'whole.orthant'), path.join(folder, name));
}

interface Run extends Pick<SpawnSyncReturns<string>, 'stdout' | 'stderr' | 'status'> {}

function orthant(args: string | string[], place: string = folder): Run {
  const words = typeof args === 'string' ? args.split(' ') : args;
  return spawnSync(process.execPath, [main, ...words], { cwd: place, encoding: 'utf8', timeout: 60_000 });
}

/** What a command that must succeed printed. */
function output(args: string | string[]): string {
  const { status, stdout, stderr } = orthant(args);
  expect(`${status} ${status === 0 ? '' : stderr}`).toBe('0 ');
  return stdout;
}

function exact(k: number, rows = base, asked = queries): NeighborsBatch {
  return exactSearchBatch(rows, asked, { dimensions: DIMENSIONS, k });
}

/** Lines of query, id and distance. */
function parse(text: string): [query: string, id: string, distance: number][] {
  const lines = text.trimEnd().split('\n');
  return lines
    .map((line) => line.split('\t'))
    .map(([query, id, distance]) => [query, id, Math.fround(Number(distance))]);
}

function lines({ ids, distances, counts }: NeighborsBatch, k: number): [string, string, number][] {
  return Array.from(
    ids,
    (id, at) => [String(Math.floor(at / k)), String(id), distances[at]] as [string, string, number],
  ).filter((_, at) => at % k < counts[Math.floor(at / k)]);
}

function recall(found: [string, string, number][], truth: [string, string, number][]): number {
  const wanted = new Set(truth.map(([query, id]) => `${query} ${id}`));
  return found.filter(([query, id]) => wanted.has(`${query} ${id}`)).length / truth.length;
}

describe('the help', () => {
  const commands = [...orthant('--help').stdout.matchAll(/^ {2}(\w+) \[options\]/gm)].map(
    (match) => match[1],
  );

  it('names all commands', () => {
    const all = 'build search exact join duplicates graph tune eval info convert add remove bench';
    expect(commands).toEqual(all.split(' '));
  });

  it.each(commands)('of %s has an example that works', (command) => {
    const { status, stdout, stderr } = orthant([command, '--help']);
    expect([status, stderr]).toEqual([0, '']);
    // Each line of the text is as full as 80 columns let it be.
    const text = stdout.split('\n\n')[1].split('\n');
    for (let i = 1; i < text.length; i++)
      expect(text[i - 1].length + 1 + text[i].split(' ')[0].length).toBeGreaterThan(80);
    const example = /^Example:\n {2}\$ orthant (.*)$/m.exec(stdout)?.[1] ?? '';
    expect(example.split(' ')[0]).toBe(command);
    const brief = /^(eval|bench)$/.test(command) ? ' --seconds 0.01' : '';
    expect(output(`${example} -q${brief}`).length).toBeGreaterThanOrEqual(0);
  });

  it('of the program has one too, and the version is that of the package', () => {
    expect(orthant('--help').stdout).toContain(
      '$ orthant search base.orthant queries.npy -k 5 > neighbors.tsv',
    );
    const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
    expect(output('--version')).toBe(`${version}\n`);
  });
});

describe('build, search and exact', () => {
  beforeAll(() => copyIndex('built.orthant'));

  it('make the index that the library makes', () => {
    const built = VectorIndex.load(new Uint8Array(readFileSync(path.join(folder, 'built.orthant'))));
    const index = new VectorIndex({ dimensions: DIMENSIONS });
    index.add(base);
    index.build();
    expect(built.searchBatch(queries)).toEqual(index.searchBatch(queries));
  });

  it('find the true neighbors by comparing all', () => {
    const truth = lines(exact(7), 7);
    expect(parse(output('exact base.npy queries.npy -k 7'))).toEqual(truth);
    expect(parse(output('search built.orthant queries.npy -k 7 --exact'))).toEqual(truth);
  });

  it('find a share of them, as many as was asked for, on one thread and on two', () => {
    const found = parse(output('search built.orthant queries.npy --recall 0.9'));
    expect(recall(found, lines(exact(10), 10))).toBeGreaterThan(0.85);
    expect(parse(output('search built.orthant queries.npy --recall 0.9 --threads 2'))).toEqual(found);
  });

  it('print a line of JSON a query for machines, and words only to stderr', () => {
    const { stdout, stderr } = orthant('search built.orthant queries.npy -k 2 --json --exact');
    const answers = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const { ids, distances } = exact(2);
    expect(answers).toHaveLength(50);
    expect(answers[3]).toEqual({
      query: 3,
      ids: [...ids.subarray(6, 8)],
      distances: [...distances.subarray(6, 8)].map((value) => expect.closeTo(value, 5)),
    });
    expect(stderr).toMatch(/^search: 50 in \d/);
    expect(orthant('search built.orthant queries.npy -q').stderr).toBe('');
    expect(JSON.parse(output('build base.npy -o b.orthant --json'))).toMatchObject({
      rows: 3000,
      dimensions: 24,
    });
  });

  it('write files: texts, and matrices of ids', () => {
    const { ids } = exact(4);
    const told = output('exact base.npy queries.npy -k 4 -o truth.ivecs --json -q');
    expect(JSON.parse(told)).toEqual({ out: 'truth.ivecs', rows: 50, neighbors: 200 });
    const words = new Int32Array(new Uint8Array(readFileSync(path.join(folder, 'truth.ivecs'))).buffer);
    expect([...words].filter((_, i) => i % 5 > 0)).toEqual([...ids]);
    output('exact base.npy queries.npy -k 4 -o truth.tsv.gz');
    const text = gunzipSync(readFileSync(path.join(folder, 'truth.tsv.gz'))).toString();
    expect(parse(text)).toEqual(lines(exact(4), 4));
  });

  describe('a file larger than the memory that is taken', () => {
    const [rows, dimensions] = [100_000, 1000];
    beforeAll(() => {
      // 400 MB of zeros, which take no room on most disks.
      const header = readFileSync(path.join(numpy, 'f4.npy')).subarray(0, 128).toString('latin1');
      const shape = `(${rows}, ${dimensions}), }`;
      const head = header.replace(/\(9, 5\), \} */, (old) => shape.padEnd(old.length));
      writeFileSync(path.join(folder, 'large.npy'), Buffer.from(head, 'latin1'));
      truncateSync(path.join(folder, 'large.npy'), 128 + 4 * rows * dimensions);
      const few = `${'0,'.repeat(dimensions - 1)}0\n${'1,'.repeat(dimensions - 1)}1\n`;
      writeFileSync(path.join(folder, 'few.csv'), few);
      output('build few.csv -o few.orthant -q');
    });
    afterAll(() => rmSync(path.join(folder, 'large.npy')));

    it.each([
      ['search few.orthant large.npy -k 1 -o large.ivecs', 8],
      ['join large.npy few.orthant -k 1 -o large.ivecs --threads 2', 8],
      ['join large.npy few.csv -k 1 -o large.ivecs --exact --threads 1', 8],
      ['convert large.npy large.u8bin', dimensions],
    ])('is read in pages: %s', (command, rowBytes) => {
      const told = `data:text/javascript,process.on('exit',()=>console.error(process.resourceUsage().maxRSS))`;
      const args = ['--import', told, main, ...command.split(' '), '-q'];
      const { status, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
      expect([status, Number(stderr) < 300_000]).toEqual([0, true]);
      const out = path.join(folder, rowBytes === 8 ? 'large.ivecs' : 'large.u8bin');
      const found = readFileSync(out);
      // The nearest of zeros are zeros, in the first row.
      expect(found.length).toBe(rowBytes * rows + (rowBytes === 8 ? 0 : 8));
      expect(found.readInt32LE(found.length - 4)).toBe(0);
      rmSync(out);
    });
  });

  it('take rows of a file in pages', async () => {
    // Two pages and a bit of 2^20 floats, so that neighbors of several pages are merged.
    const rows = new Float32Array(3 * 800_000);
    new RandomGenerator(5).normals(rows);
    await save('long.fvecs', rows, 3);
    await save('few.npy', rows.subarray(3 * 799_000, 3 * 799_004), 3);
    const few = rows.subarray(3 * 799_000, 3 * 799_004);
    const { ids } = exactSearchBatch(rows, few, { dimensions: 3, k: 5 });
    expect(parse(output('exact long.fvecs few.npy -k 5')).map(([, id]) => Number(id))).toEqual([...ids]);
  });
});

describe('files of all formats', () => {
  it('are converted without a loss', async () => {
    const formats = ['fvecs', 'fbin', 'csv', 'tsv', 'jsonl', 'npy.gz', 'jsonl.gz', 'fvecs.gz', 'npy'];
    let from = 'queries.npy';
    for (const format of formats) {
      const told = JSON.parse(output(`convert ${from} step.${format} --json -q`));
      expect(told).toEqual({ to: `step.${format}`, rows: 50, dimensions: DIMENSIONS });
      from = `step.${format}`;
    }
    expect(readVectors(path.join(folder, 'step.npy')).vectors).toEqual(queries);
  });

  it('are searched, those of NumPy, Parquet and HDF5 too', async () => {
    const matrix = Array.from({ length: 50 }, (_, i) => [
      ...queries.subarray(i * DIMENSIONS, (i + 1) * DIMENSIONS),
    ]);
    const names = matrix.map((_, i) => `q${i}`);
    const schema = [
      { name: 'root', num_children: 2 },
      { name: 'id', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'REQUIRED' },
      { name: 'embedding', num_children: 1, repetition_type: 'OPTIONAL', converted_type: 'LIST' },
      { name: 'list', num_children: 1, repetition_type: 'REPEATED' },
      { name: 'element', type: 'FLOAT', repetition_type: 'OPTIONAL' },
    ];
    const columnData = [
      { name: 'id', data: names },
      { name: 'embedding', data: matrix },
    ];
    const parquet = parquetWriteBuffer({ schema, columnData } as never);
    writeFileSync(path.join(folder, 'q.parquet'), new Uint8Array(parquet));
    writeFileSync(
      path.join(folder, 'q.jsonl'),
      matrix.map((v, i) => JSON.stringify({ id: names[i], v })).join('\n'),
    );
    const truth = lines(exact(3), 3).map(([query, id, distance]) => [`q${query}`, id, distance]);
    expect(parse(output('exact base.npy q.parquet -k 3')).map(([query]) => query)[3]).toBe('1');
    copyIndex('formats.orthant');
    const search = (file: string): unknown => parse(output(`search formats.orthant ${file} -k 3 --exact -q`));
    expect(search('q.parquet --id-field id')).toEqual(truth);
    expect(search('q.jsonl --field v --id-field id')).toEqual(truth);
    const described = JSON.parse(output(`info ${numpy}stored.npz#other --json`));
    expect(described).toMatchObject({ format: 'npz', rows: 9, dimensions: 5 });
  });

  it('are refused with the place where they are wrong', () => {
    writeFileSync(path.join(folder, 'bad.csv'), '1,2\n3,x\n');
    const { status, stderr, stdout } = orthant('build bad.csv -o bad.orthant');
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toBe('orthant: bad.csv:2: expected a number, got "x" in column 2\n');
    expect(readdirSync(folder).filter((name) => name.includes('bad.orthant'))).toEqual([]);
    writeFileSync(path.join(folder, 'zero.csv'), '1,2\n0,0\n');
    writeFileSync(path.join(folder, 'sound.csv'), '1,2\n2,1\n');
    const message = 'expected vectors of length 1.1e-19 or more under cosine, got a shorter one in row 1';
    for (const [command, subject] of [
      ['build zero.csv -o zero.orthant', 'vectors'],
      ['exact zero.csv sound.csv', 'vectors'],
      ['exact sound.csv zero.csv', 'queries'],
      ['join zero.csv sound.csv -o zero.tsv', 'queries'],
    ]) {
      const refused = orthant(`${command} --metric cosine -q`);
      expect([refused.status, refused.stderr]).toEqual([1, `orthant: zero.csv: ${subject}: ${message}\n`]);
    }
  });
});

describe('queries that are no numbers', () => {
  it.each([
    ['join base.npy base.npy -k 2 --threads 1', '2100'],
    ['join base.npy base.npy -k 2 --threads 2', '2100'],
    ['join base.npy base.npy -r 1 --exact --threads 2', '2100'],
    ['search base.npy base.npy', '40'],
  ])('are refused with file and row: %s', async (command, row) => {
    const rows = base.slice();
    rows[Number(row) * DIMENSIONS + 5] = Number.NaN;
    await save('unfit.npy', rows, DIMENSIONS);
    const [verb, , , ...flags] = command.split(' ');
    copyIndex('fit.orthant');
    const files =
      verb === 'join' ? ['unfit.npy', 'fit.orthant', '-o', 'unfit.tsv'] : ['fit.orthant', 'unfit.npy'];
    const { status, stderr } = orthant([verb, ...files, ...flags, '-q']);
    expect([status, stderr]).toEqual([
      1,
      `orthant: unfit.npy: queries: expected finite numbers of at most 1e16, got NaN in row ${row}, column 5\n`,
    ]);
    rmSync(path.join(folder, '.unfit.tsv.join'), { recursive: true, force: true });
  });
});

describe('an index of a user', () => {
  it('is explained', () => {
    copyIndex('info.orthant');
    const text = output('info info.orthant');
    expect(text).toMatch(/^rows +3,000$/m);
    expect(text).toMatch(/^codes +[\d.]+ kB +[\d.]+$/m);
    expect(text).toMatch(/^rows a cell: \d+ to \d+/m);
    expect(text).toMatch(/█+ \d+$/m);
    expect(text).toMatch(/^0\.95 +10 +0\.9\d+ /m);
    const about = JSON.parse(output('info info.orthant --json'));
    const { cells, parts, bytes } = about;
    expect(cells.histogram.reduce((sum: number, bar: { cells: number }) => sum + bar.cells, 0)).toBe(
      cells.count,
    );
    expect(parts.reduce((sum: number, part: { bytes: number }) => sum + part.bytes, 0)).toBeLessThanOrEqual(
      bytes,
    );
  });

  it('grows, shrinks and is tuned, and is replaced as a whole', () => {
    copyIndex('live.orthant');
    expect(output('add live.orthant more.npy')).toBe(
      'live.orthant: 10 rows added from id 3000 on, 3,010 in all\n',
    );
    writeFileSync(path.join(folder, 'ids.txt'), '0 1\n2\n');
    const removed = output('remove live.orthant 3000 --ids ids.txt');
    expect(removed).toBe('live.orthant: 4 rows removed, 3,006 left\n');
    const index = VectorIndex.load(new Uint8Array(readFileSync(path.join(folder, 'live.orthant'))));
    expect([index.size, index.has(0), index.has(3000), index.has(3001)]).toEqual([3006, false, false, true]);
    expect(output('tune live.orthant queries.npy --recall 0.9 -k 4')).toContain('50 given queries; k = 4');
    const before = readFileSync(path.join(folder, 'live.orthant'));
    expect(orthant('remove live.orthant 99999').stderr).toMatch(
      /ids: expected ids from 0 to 3009, got 99999/,
    );
    expect(orthant('add live.orthant few.npy').status).toBe(1);
    expect(readFileSync(path.join(folder, 'live.orthant')).equals(before)).toBe(true);
  });

  it('keeps ids of the user, through everything', async () => {
    const names = Array.from({ length: 3000 }, (_, i) => `row "${i}", ü`);
    await save('named.jsonl', base, DIMENSIONS, names);
    await save(
      'news.jsonl',
      draw(10, 3),
      DIMENSIONS,
      names.slice(0, 10).map((name) => `new ${name}`),
    );
    output('build named.jsonl --id-field id -o named.orthant -q');
    const truth = lines(exact(3), 3).map(([query, id, distance]) => [query, names[Number(id)], distance]);
    const search = (): unknown => parse(output('search named.orthant queries.npy -k 3 --exact -q'));
    expect(search()).toEqual(truth);
    expect(orthant('add named.orthant more.npy').stderr).toContain(
      'expected --id-field, since the index has ids',
    );
    expect(orthant('add named.orthant named.jsonl --id-field id').stderr).toContain(
      'expected each id once, got "row \\"0\\", ü" again in row 0',
    );
    output('add named.orthant news.jsonl --id-field id -q');
    output('tune named.orthant -k 5 -q');
    expect(output(['remove', 'named.orthant', ...names.slice(0, 10).map((name) => `new ${name}`)])).toContain(
      '10 rows',
    );
    expect(orthant('remove named.orthant 3').stderr).toBe(
      'orthant: ids: expected ids of the index, got "3"\n',
    );
    expect(search()).toEqual(truth);
    expect(parse(output('search named.orthant queries.npy -k 3 --exact --threads 2 -q'))).toEqual(truth);
    output('join queries.npy named.orthant -k 3 --exact -o named.tsv -q');
    expect(parse(readFileSync(path.join(folder, 'named.tsv'), 'utf8'))).toEqual(truth);
    const graph = parse(output('graph named.orthant -k 1 --exact -q'));
    expect(graph.map(([name]) => name)).toEqual(names);
    expect(output('info named.orthant')).toContain('ids of yours');
    const index = VectorIndex.load<'string'>(
      new Uint8Array(readFileSync(path.join(folder, 'named.orthant'))),
    );
    expect([index.idKind, index.size, index.rowOf(names[17])]).toEqual(['string', 3000, 17]);
    // Of these rows alone, and of all others.
    const some = names.filter((_, i) => i % 3 === 0);
    writeFileSync(path.join(folder, 'some.txt'), `${some.join('\n')}\n`);
    const isSome = new Set(some);
    for (const [option, keeps] of [
      ['--only', true],
      ['--exclude', false],
    ] as const) {
      const { ids, distances } = index.searchBatch(queries, {
        k: 3,
        exact: true,
        filter: (id) => isSome.has(id) === keeps,
      });
      const found = parse(
        output(['search', 'named.orthant', 'queries.npy', '-k', '3', '--exact', option, 'some.txt']),
      );
      expect(found).toEqual(
        Array.from(ids, (id, at) => [String(Math.floor(at / 3)), names[id], distances[at]]),
      );
    }
    await save('twice.jsonl', base.subarray(0, 48), DIMENSIONS, ['a', 'a']);
    const { status, stderr } = orthant('build twice.jsonl --id-field id -o twice.orthant -q');
    expect([status, stderr]).toEqual([
      1,
      'orthant: twice.jsonl: expected each id once, got "a" again in row 1\n',
    ]);
  });

  it('may have ids that are numbers, or whole numbers of 64 bits', async () => {
    const rows = base.subarray(0, 30 * DIMENSIONS);
    const large = Array.from({ length: 30 }, (_, i) => String(2n ** 60n + BigInt(i)));
    await save('large.jsonl', rows, DIMENSIONS, large);
    output('build large.jsonl --id-field id --id-kind bigint -o large.orthant -q');
    const bytes = new Uint8Array(readFileSync(path.join(folder, 'large.orthant')));
    expect(VectorIndex.load<'bigint'>(bytes).rowOf(2n ** 60n + 7n)).toBe(7);
    output(['remove', 'large.orthant', large[7]]);
    const left = parse(output('search large.orthant base.npy -k 1 --exact -q'))
      .slice(0, 30)
      .map(([, id]) => id);
    expect(left.filter((id, i) => id === large[i])).toHaveLength(29);
    expect(left[7]).not.toBe(large[7]);
    await save('words.jsonl', rows, DIMENSIONS, ['1e3', 'x', ...large.slice(2)]);
    expect(orthant('build words.jsonl --id-field id --id-kind number -o words.orthant -q').stderr).toBe(
      'orthant: words.jsonl: expected ids that are each a number, got "x" in row 1\n',
    );
  });

  it('is refused when it is damaged', () => {
    copyIndex('damaged.orthant');
    const bytes = readFileSync(path.join(folder, 'damaged.orthant'));
    bytes[bytes.length >> 1] ^= 1;
    writeFileSync(path.join(folder, 'damaged.orthant'), bytes);
    const { status, stderr } = orthant('search damaged.orthant queries.npy');
    expect([status, stderr]).toEqual([
      1,
      expect.stringMatching(/^orthant: damaged\.orthant: snapshot: .*checksum/),
    ]);
    expect(orthant('join queries.npy damaged.orthant -o none.tsv --threads 2').stderr).toBe(stderr);
  });
});

describe('join, graph and duplicates', () => {
  it('join finds the nearest rows of another file, in one part or in several', () => {
    output('join queries.npy base.npy -k 5 -o one.tsv --recall 0.99 -q');
    output('join queries.npy base.npy -k 5 -o parts.tsv --exact --part-rows 700 --threads 2 -q');
    expect(parse(readFileSync(path.join(folder, 'parts.tsv'), 'utf8'))).toEqual(lines(exact(5), 5));
    const found = parse(readFileSync(path.join(folder, 'one.tsv'), 'utf8'));
    expect(recall(found, lines(exact(5), 5))).toBeGreaterThan(0.95);
  });

  it('join writes the same bytes whether its threads read the left file or it does', async () => {
    const rows = draw(700, 11);
    const join = (left: string): Buffer => {
      output(`join ${left} whole.orthant -k 3 -o same.tsv --threads 2 --page-rows 150 -q`);
      return readFileSync(path.join(folder, 'same.tsv'));
    };
    await save('same.npy', rows, DIMENSIONS);
    writeFileSync(path.join(folder, 'same.npy.gz'), gzipSync(readFileSync(path.join(folder, 'same.npy'))));
    const expected = join('same.npy.gz');
    expect(expected.toString().split('\n')).toHaveLength(2101);
    for (const left of ['same.npy', 'same.fvecs', 'same.fbin']) {
      await save(left, rows, DIMENSIONS);
      expect(Buffer.compare(join(left), expected), left).toBe(0);
    }
    const bytes = readFileSync(path.join(folder, 'same.fvecs'));
    bytes[500 * (4 + 4 * DIMENSIONS)] = 7;
    writeFileSync(path.join(folder, 'wrong.fvecs'), bytes);
    expect(orthant('join wrong.fvecs whole.orthant -o wrong.tsv --threads 2 --page-rows 150 -q').stderr).toBe(
      'orthant: wrong.fvecs: expected 24 dimensions in row 500 as in row 0, at byte 50000, got 7\n',
    );
    rmSync(path.join(folder, '.wrong.tsv.join'), { recursive: true });
  });

  it('join and search find all rows within a radius', () => {
    const radius = 3;
    const index = VectorIndex.load(new Uint8Array(readFileSync(path.join(folder, 'whole.orthant'))));
    const { offsets, ids, distances } = index.searchRadiusBatch(queries, radius, { exact: true });
    const truth = Array.from(offsets.subarray(0, 50), (from, query) =>
      Array.from(ids.subarray(from, offsets[query + 1]), (id, at) => [
        String(query),
        String(id),
        distances[from + at],
      ]),
    ).flat() as [string, string, number][];
    expect(truth.length).toBeGreaterThan(500);
    expect(new Set(Array.from(offsets, (end, i) => end - (offsets[i - 1] ?? 0))).size).toBeGreaterThan(5);
    const flags = ['--radius', String(radius), '-q'];
    output(['join', 'queries.npy', 'base.npy', '-o', 'near.tsv', '--exact', '--part-rows', '1100', ...flags]);
    const parts = parse(readFileSync(path.join(folder, 'near.tsv'), 'utf8'));
    const byId = (found: [string, string, number][]): string[] => found.map(String).sort();
    expect(byId(parts)).toEqual(byId(truth));
    for (let i = 1; i < parts.length; i++) {
      const [[query, , far], [before, , near]] = [parts[i], parts[i - 1]];
      expect(query !== before || near <= far).toBe(true);
    }
    expect(parse(output(['search', 'whole.orthant', 'queries.npy', '--exact', ...flags]))).toEqual(truth);
    output(['join', 'queries.npy', 'whole.orthant', '-o', 'near.tsv', '--threads', '2', ...flags]);
    const found = parse(readFileSync(path.join(folder, 'near.tsv'), 'utf8'));
    expect(recall(found, truth)).toBeGreaterThan(0.93);
    expect(orthant('join queries.npy base.npy -o near.ivecs --radius 1').stderr).toMatch(
      /near\.ivecs: expected a name that ends in .tsv, .csv or .jsonl, since rows have any number of neighbors/,
    );
    expect(orthant('search whole.orthant queries.npy -k 3 --radius 1').status).toBe(2);
  });

  it('join finds only rows that a text names, or all others, whatever the right file is', async () => {
    const names = Array.from({ length: 3000 }, (_, i) => `row ${i}, "ü"`);
    await save('names.jsonl', base, DIMENSIONS, names);
    const some = names.map((_, i) => i).filter((i) => i % 3 === 0 && i < 2500);
    writeFileSync(path.join(folder, 'rows.txt'), `${some.join(' ')}\n`);
    writeFileSync(path.join(folder, 'names.txt'), `${some.map((i) => names[i]).join('\n')}\n`);
    const index = VectorIndex.load(new Uint8Array(readFileSync(path.join(folder, 'whole.orthant'))));
    for (const [option, isOnly] of [
      ['--only', true],
      ['--exclude', false],
    ] as const) {
      const kept = new Set(some);
      const filter = (row: number): boolean => kept.has(row) === isOnly;
      const truth = lines(index.searchBatch(queries, { k: 3, exact: true, filter }), 3);
      const named = truth.map(([query, id, distance]) => [query, names[Number(id)], distance]);
      // Of the last part no row may be found.
      const parts = ['--part-rows', '600', '--page-rows', '20'];
      for (const [right, ids, more, wanted] of [
        ['whole.orthant', 'rows.txt', ['--threads', '2'], truth],
        ['base.npy', 'rows.txt', parts, truth],
        ['names.jsonl', 'names.txt', [...parts, '--id-field', 'id'], named],
      ] as const) {
        const files = ['queries.npy', right, '-o', 'some.tsv', option, ids];
        output(['join', ...files, '-k', '3', '--exact', ...more, '-q']);
        expect(parse(readFileSync(path.join(folder, 'some.tsv'), 'utf8'))).toEqual(wanted);
      }
    }
    writeFileSync(path.join(folder, 'absent.txt'), '7\n3000\n');
    for (const right of ['base.npy', 'whole.orthant', 'names.jsonl --id-field id']) {
      const { status, stderr } = orthant(`join queries.npy ${right} -o none.tsv --only absent.txt -q`);
      expect([status, stderr]).toEqual([
        1,
        expect.stringMatching(/absent\.txt: expected ids of .*, got "(3000|7)"/),
      ]);
    }
    expect(readdirSync(folder).filter((name) => name.includes('none.tsv'))).toEqual([]);
    const both = orthant('join queries.npy base.npy -o none.tsv --only rows.txt --exclude rows.txt');
    expect([both.status, both.stderr]).toEqual([
      2,
      'orthant: join: expected either --only or --exclude, got both\n',
    ]);
  });

  it('join goes on where it was killed, with the same answer', async () => {
    await save('left.npy', draw(6000, 7), DIMENSIONS);
    const place = path.join(folder, '.killed.tsv.join');
    const task =
      'join left.npy base.npy -k 5 -o killed.tsv --part-rows 1600 --page-rows 64 --checkpoint 0 -q'.split(
        ' ',
      );
    const child = spawn(process.execPath, [main, ...task, '--threads', '1'], {
      cwd: folder,
      stdio: 'ignore',
    });
    const ended = new Promise((resolve) => child.on('exit', (_, signal) => resolve(signal)));
    const reached = (): boolean => {
      try {
        const { part, rows } = JSON.parse(readFileSync(path.join(place, 'state.json'), 'utf8'));
        return part === 1 && rows > 500;
      } catch {
        return false;
      }
    };
    while (!reached() && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 2));
    child.kill('SIGKILL');
    expect(await ended).toBe('SIGKILL');
    expect(existsSync(path.join(folder, 'killed.tsv'))).toBe(false);
    // Another join does not take up this one.
    const other = orthant('join left.npy base.npy -k 6 -o killed.tsv -q');
    expect([other.status, other.stderr]).toEqual([
      2,
      expect.stringMatching(/of the same join.*--restart begins anew/),
    ]);
    const again = JSON.parse(output([...task, '--threads', '2', '--json']));
    expect(again.resumedAt).toBeGreaterThan(500);
    output([...task.slice(0, 6), 'whole.tsv', ...task.slice(7)]);
    const [killed, whole] = ['killed', 'whole'].map((name) =>
      readFileSync(path.join(folder, `${name}.tsv`), 'utf8'),
    );
    expect(killed === whole).toBe(true);
    expect(readdirSync(folder).filter((name) => /(killed|whole).*\.join/.test(name))).toEqual([]);
    // Progress that is of no use is forgotten when that is asked for.
    mkdirSync(place);
    writeFileSync(path.join(place, 'state.json'), '{"version":1}');
    expect(orthant('join queries.npy whole.orthant -o killed.tsv -q').status).toBe(2);
    expect(output('join queries.npy whole.orthant -o killed.tsv --restart -q')).toContain('of 50 rows');
    expect(existsSync(place)).toBe(false);
  });

  it('graph finds the nearest other rows', () => {
    const { ids } = exact(4, base, base);
    const found = parse(output('graph base.npy -k 3 --exact'));
    expect(found.slice(0, 3).map(([, id]) => Number(id))).toEqual([...ids.subarray(1, 4)]);
    expect(found).toHaveLength(9000);
    // Row by row also where the index has them cell by cell; or as they come.
    const ordered = parse(output('graph whole.orthant -k 3 --threads 1 -q'));
    expect(ordered.map(([row]) => Number(row))).toEqual(
      Array.from({ length: 9000 }, (_, i) => Math.floor(i / 3)),
    );
    const unordered = parse(output('graph whole.orthant -k 3 --unordered -q'));
    expect(unordered.map(([row]) => row)).not.toEqual(ordered.map(([row]) => row));
    expect(unordered.map(String).sort()).toEqual(ordered.map(String).sort());
    output('graph base.npy -k 3 --recall 0.99 -o graph.ivecs -q');
    const words = new Int32Array(new Uint8Array(readFileSync(path.join(folder, 'graph.ivecs'))).buffer);
    let hits = 0;
    for (let row = 0; row < 3000; row++) {
      const truth = new Set(ids.subarray(4 * row + 1, 4 * row + 4));
      for (const id of words.subarray(4 * row + 1, 4 * row + 4)) if (truth.has(id)) hits++;
    }
    expect(hits / 9000).toBeGreaterThan(0.95);
  });

  it('duplicates groups rows that are nearly alike', async () => {
    const rows = base.slice(0, 200 * DIMENSIONS);
    for (const [copy, of] of [
      [20, 3],
      [150, 20],
      [199, 100],
    ]) {
      rows.set(rows.subarray(of * DIMENSIONS, (of + 1) * DIMENSIONS), copy * DIMENSIONS);
      rows[copy * DIMENSIONS] += 0.01;
    }
    const names = Array.from({ length: 200 }, (_, i) => `n${i}`);
    await save('twins.npy', rows, DIMENSIONS);
    await save('twins.jsonl', rows, DIMENSIONS, names);
    expect(output('duplicates twins.npy --radius 0.1')).toBe('3\t20\t150\n100\t199\n');
    expect(output('duplicates twins.jsonl --id-field id --radius 0.1')).toBe('n3\tn20\tn150\nn100\tn199\n');
    const pairs = parse(output('duplicates twins.npy --radius 0.1 --pairs --threads 1'));
    expect(pairs.map(([a, b]) => [a, b]).sort()).toEqual(
      [
        ['100', '199'],
        ['20', '150'],
        ['3', '20'],
        ['3', '150'],
      ].sort(),
    );
    const rest = output('duplicates twins.npy --radius 0.1 --rest').trimEnd().split('\n');
    expect(rest).toHaveLength(197);
    expect(rest).not.toContain('150');
  });
});

describe('eval', () => {
  it('prints recall, speed and memory beside exact search and pure JavaScript, and draws them', () => {
    const text = output('eval base.npy queries.npy --plot drawn.svg --seconds 0.05 -q');
    expect(text).toMatch(/^method +recall@10 +queries\/s +build +memory +bytes a row$/m);
    expect(text).toMatch(/^orthant, recall 0\.95 +[01]\.\d+ +[\d,]+ /m);
    expect(text).toMatch(/^exact search +1\.000 +[\d,]+ +- +288 kB +96\.0$/m);
    expect(text).toMatch(/^pure JavaScript +1\.000 /m);
    const svg = readFileSync(path.join(folder, 'drawn.svg'), 'utf8');
    expect(svg).toMatch(/^<svg[\s\S]*queries per second[\s\S]*<\/svg>$/);
  });

  it('takes rows, queries, neighbors and metric from a file of the ann-benchmarks', async () => {
    await h5wasm.ready;
    const file = new h5wasm.File(path.join(folder, 'ann.hdf5'), 'w');
    const truth = exactSearchBatch(base, queries, { dimensions: DIMENSIONS, k: 20, metric: 'cosine' });
    file.create_dataset({ name: 'train', data: base, shape: [3000, DIMENSIONS] });
    file.create_dataset({ name: 'test', data: queries, shape: [50, DIMENSIONS] });
    file.create_dataset({ name: 'neighbors', data: Int32Array.from(truth.ids), shape: [50, 20] });
    file.create_attribute('distance', 'angular');
    file.close();
    const { metric, methods } = JSON.parse(output('eval ann.hdf5 --json --recall 0.9 --seconds 0.05 -q'));
    expect(metric).toBe('cosine');
    expect(methods.map(({ method }: { method: string }) => method)).toEqual([
      'orthant',
      'exact search',
      'pure JavaScript',
    ]);
    expect(methods[0].recall).toBeGreaterThan(0.85);
    expect(methods[1].recall).toBe(1);
    expect(methods[2].recall).toBeGreaterThan(0.99);
  });
});

describe('a command that is used wrongly or interrupted', () => {
  it.each([
    ['an unknown command', 'nothing', /unknown command 'nothing'/],
    ['an unknown option', 'info x --nope', /unknown option '--nope'/],
    ['a missing argument', 'search x.orthant', /missing required argument 'queries'/],
    ['a number out of range', 'search x.orthant q.npy -k 0', /Expected a whole number from 1 to/],
    [
      'a metric that is none',
      'build x.npy -o y --metric l7',
      /Allowed choices are euclidean, cosine, inner-product/,
    ],
    ['an output of no format', 'exact base.npy queries.npy -o out.xyz', /a name that ends in .tsv, .csv/],
    ['ids that are none', 'remove base.orthant x', /expected whole numbers, got "x"/],
  ])('says so and ends with 2: %s', (_, args, message) => {
    const { status, stdout, stderr } = orthant(args);
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(message);
  });

  it('ends with 1 and one line when a file is missing', () => {
    const { status, stderr } = orthant('info absent.npy');
    expect(status).toBe(1);
    expect(stderr).toBe(
      'orthant: absent.npy: expected a readable file, got ENOENT (no such file or directory)\n',
    );
  });

  it('ends without a word when the reader of its results has enough', () => {
    const command = `'${process.execPath}' '${main}' search base.orthant products.npy -k 50 -q | head -n 1`;
    const { stdout, stderr } = spawnSync('sh', ['-c', command], { cwd: folder, encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^0\t\d+\t[\d.]+\n$/);
  });

  it('leaves the old file and nothing half written on Ctrl-C', async () => {
    const place = path.join(folder, 'interrupted');
    mkdirSync(place);
    writeFileSync(path.join(place, 'out.jsonl'), 'as it was');
    await save('wide.npy', new Float32Array(64 * 200_000).fill(0.1), 64);
    const child = spawn(process.execPath, [main, 'convert', '../wide.npy', 'out.jsonl'], { cwd: place });
    const ended = new Promise((resolve) => child.on('exit', (_, signal) => resolve(signal)));
    while (readdirSync(place).length < 2 && child.exitCode === null) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    child.kill('SIGINT');
    expect(await ended).toBe('SIGINT');
    expect(readdirSync(place)).toEqual(['out.jsonl']);
    expect(readFileSync(path.join(place, 'out.jsonl'), 'utf8')).toBe('as it was');
  });

  it('shows a bar with rate and time left on a terminal', () => {
    // As on a terminal, which a test has not.
    const terminal = 'data:text/javascript,process.stderr.isTTY=true';
    const args = ['--import', terminal, main, 'convert', 'products.npy', 'bar.fvecs'];
    const { stderr, stdout } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
    expect(stdout).toBe('');
    expect(stderr).toMatch(/convert .*100 % \| 3,000 of 3,000 \| [\d,]+ a second \| 0 ms left/);
  });
});
