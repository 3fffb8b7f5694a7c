import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { exactSearchBatch, RandomGenerator, VectorIndex } from '../src/index.js';
import { createVectors, readVectors } from '../src/node/index.js';
import { RedisServer } from './redis-server.js';

// The command as the build makes it, in processes of its own, over a Redis that is really there.
const root = fileURLToPath(new URL('..', import.meta.url));
const main = path.join(root, 'dist/cli/main.js');
const folder = mkdtempSync(path.join(tmpdir(), 'orthant-cluster-'));
const DIMENSIONS = 16;

let server: RedisServer;
let redis: Redis;
const running = new Set<ChildProcess>();

function draw(rows: number, seed: number): Float32Array {
  const vectors = new Float32Array(rows * DIMENSIONS);
  new RandomGenerator(seed).normals(vectors);
  return vectors;
}
const base = draw(1200, 1);
base.copyWithin(1000 * DIMENSIONS, 0, 20 * DIMENSIONS); // equal rows in different segments: ties by id
const queries = draw(150, 2);
queries.set(base.subarray(0, 20 * DIMENSIONS));

async function save(name: string, vectors: Float32Array, ids?: string[]): Promise<void> {
  const writer = await createVectors(path.join(folder, name), { dimensions: DIMENSIONS });
  await writer.write({ vectors, rows: vectors.length / DIMENSIONS, ...(ids && { ids }) });
  await writer.finish();
}

beforeAll(async () => {
  server = await RedisServer.start();
  redis = new Redis(server.url);
  await save('base.npy', base);
  await save('queries.npy', queries);
  await save(
    'named.jsonl',
    queries,
    Array.from({ length: 150 }, (_, i) => `q${i}`),
  );
});
afterEach(() => {
  for (const child of running) child.kill('SIGKILL');
  running.clear();
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

interface Run {
  status: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

interface Command extends Promise<Run> {
  child: ChildProcess;
  /** Resolves when the command has said this on stdout. */
  said(text: string): Promise<void>;
}

/** Starts a command; the promise is of its end. */
function start(words: string, options: { cwd?: string; program?: string } = {}): Command {
  const child = spawn(process.execPath, [options.program ?? main, ...words.split(' ')], {
    cwd: options.cwd ?? folder,
    env: { ...process.env, ORTHANT_REDIS: server.url },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  let stdout = '';
  let stderr = '';
  const listeners = new Set<() => void>();
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text;
    for (const listener of listeners) listener();
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  const end = new Promise<Run>((resolve) => {
    child.once('close', (status, signal) => {
      running.delete(child);
      resolve({ status, signal, stdout, stderr });
    });
  });
  const said = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (stdout.includes(text)) resolve();
      };
      listeners.add(look);
      look();
      end.then(() => reject(new Error(`expected ${text}, got the end: ${stdout}${stderr}`)), reject);
    });
  return Object.assign(end, { child, said });
}

/** What a command that must succeed printed. */
async function output(words: string): Promise<string> {
  const { status, stdout, stderr } = await start(words);
  expect(`${status} ${status === 0 ? '' : stderr}`).toBe('0 ');
  return stdout;
}

async function startWorkers(name: string, count = 2): Promise<Command[]> {
  const workers = Array.from({ length: count }, () =>
    start(`cluster worker ${name} --json --gone-after 1000`),
  );
  await Promise.all(workers.map((worker) => worker.said('"event":"serving"')));
  return workers;
}

interface Line {
  query: number | string;
  ids: number[];
  distances: number[];
}

function linesOf(text: string): Line[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

describe('orthant cluster, as a user runs it', () => {
  it('publishes a file to two workers, and answers as one index of all rows', async () => {
    const workers = await startWorkers('all');
    const published = JSON.parse(await output('cluster publish all base.npy --segment-rows 300 --json'));
    expect(published).toMatchObject({ rows: 1200, segments: 4 });
    await output('cluster search all queries.npy -q'); // every segment is served

    const found = linesOf(await output('cluster search all queries.npy -k 7 --exact --block 40 --json'));
    const truth = exactSearchBatch(base, queries, { dimensions: DIMENSIONS, k: 7 });
    expect(found.map(({ query }) => query)).toEqual(Array.from({ length: 150 }, (_, i) => i));
    expect(found.flatMap(({ ids }) => ids)).toEqual([...truth.ids]);
    expect(Float32Array.from(found.flatMap(({ distances }) => distances))).toEqual(truth.distances);

    const status = JSON.parse(await output('cluster status all --json'));
    expect(status).toMatchObject({ generation: published.generation, rows: 1200, dimensions: DIMENSIONS });
    expect(status.segments.map((segment: { holders: number }) => segment.holders)).toEqual([1, 1, 1, 1]);
    expect(status.workers).toHaveLength(2);
    const words = await output('cluster status all');
    expect(words).toContain(`generation ${published.generation}, 1,200 rows`);
    for (const { id } of status.workers) expect(words).toContain(id);

    // The same by the command for one index, line by line.
    await output('build base.npy -o base.orthant');
    const one = await output('search base.orthant queries.npy -k 7 --exact');
    expect(await output('cluster search all queries.npy -k 7 --exact')).toBe(one);
    for (const { child } of workers) expect(child.exitCode).toBe(null);
  });

  it('joins: a file with the cluster, the cluster with itself, all within a radius; names stay', async () => {
    await startWorkers('join', 1);
    await output('cluster publish join base.npy --segment-rows 500');
    const { stdout, stderr } = await start('cluster join join queries.npy -k 3 --exact -o join.ivecs');
    expect(stdout).toBe('');
    expect(stderr).toContain('join: 150 in');
    const truth = exactSearchBatch(base, queries, { dimensions: DIMENSIONS, k: 3 });
    const bytes = readFileSync(path.join(folder, 'join.ivecs'));
    const matrix = Array.from({ length: 450 }, (_, i) =>
      bytes.readInt32LE(4 * (Math.floor(i / 3) * 4 + 1 + (i % 3))),
    );
    expect(matrix).toEqual([...truth.ids]);

    const named = linesOf(
      await output('cluster join join named.jsonl --id-field id -k 2 --exact --block 64 --json'),
    );
    expect(named.map(({ query }) => query)).toEqual(Array.from({ length: 150 }, (_, i) => `q${i}`));

    const within = linesOf(await output('cluster join join queries.npy --radius 4 --exact --json -q'));
    const all = exactSearchBatch(base, queries, { dimensions: DIMENSIONS, k: 1200 });
    within.forEach(({ ids }, i) => {
      const near = all.distances.subarray(i * 1200, (i + 1) * 1200).filter((distance) => distance <= 4);
      expect(ids).toEqual([...all.ids.subarray(i * 1200, i * 1200 + near.length)]);
    });

    const graph = linesOf(await output('cluster join join -k 2 --exact --json'));
    const own = exactSearchBatch(base, base, { dimensions: DIMENSIONS, k: 3 });
    expect(graph).toHaveLength(1200);
    graph.forEach(({ query, ids }, row) => {
      expect(query).toBe(row);
      expect(ids).toEqual([...own.ids.subarray(row * 3, row * 3 + 3)].filter((id) => id !== row).slice(0, 2));
    });
  });

  it('publishes snapshots, keeps segments in a folder, and gives back what is old', async () => {
    await output('build base.npy -o whole.orthant');
    await output('cluster publish folder whole.orthant base.npy --store segments --segment-rows 700');
    const before = readdirSync(path.join(folder, 'segments'));
    expect(before).toHaveLength(3);
    const published = await output('cluster publish folder base.npy --store segments --drop-old');
    expect(published).toContain('1,200 rows × 16, euclidean, in 1 segments');
    const after = readdirSync(path.join(folder, 'segments'));
    expect(after).toHaveLength(1);
    expect(before).toContain(after[0]); // the snapshot of the same rows: a part that both share stays
    const worker = start('cluster worker folder --store segments --json');
    await worker.said('"segments":["');
    const found = linesOf(await output('cluster search folder queries.npy -k 1 --exact --json'));
    expect(found.map(({ ids }) => ids[0])).toEqual([
      ...exactSearchBatch(base, queries, { dimensions: DIMENSIONS, k: 1 }).ids,
    ]);
  });

  it('lets a worker end its jobs and leave at Ctrl-C; the answer of those who wait is whole', async () => {
    const [first] = await startWorkers('leave');
    await output('cluster publish leave base.npy --segment-rows 200');
    await output('cluster search leave queries.npy -q');
    const join = start('cluster join leave -k 4 --exact --block 10 --json');
    await join.said('"query":100,');
    first.child.kill('SIGINT');
    expect(await first).toMatchObject({ status: 0, signal: null });
    expect((await first).stdout).toContain('"event":"left"');
    const { status, stdout } = await join;
    expect(status).toBe(0);
    const own = exactSearchBatch(base, base, { dimensions: DIMENSIONS, k: 5 });
    linesOf(stdout).forEach(({ query, ids }, row) => {
      expect(query).toBe(row);
      expect(ids).toEqual([...own.ids.subarray(row * 5, row * 5 + 5)].filter((id) => id !== row).slice(0, 4));
    });
    expect(JSON.parse(await output('cluster status leave --json')).workers).toHaveLength(1);
  });

  it('leaves nothing behind where publishing or searching is interrupted', async () => {
    await save('large.npy', draw(60_000, 3));
    const publish = start('cluster publish stopped large.npy --segment-rows 2000');
    const parts = (): Promise<string[]> => redis.keys('*orthant-stopped*part*');
    while ((await parts()).length < 2) await new Promise((resolve) => setTimeout(resolve, 20));
    publish.child.kill('SIGINT');
    expect(await publish).toMatchObject({ status: null, signal: 'SIGINT', stdout: '' });
    expect(await parts()).toEqual([]);
    expect(JSON.parse(await output('cluster status stopped --json')).generation).toBe(null);

    await output('cluster publish stopped base.npy');
    const search = start('cluster search stopped queries.npy -o stopped.tsv'); // no worker: it waits
    const requests = (): Promise<string[]> => redis.keys('*orthant-stopped*request*');
    while ((await requests()).length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    search.child.kill('SIGINT');
    expect(await search).toMatchObject({ status: null, signal: 'SIGINT' });
    expect(readdirSync(folder).filter((name) => name.includes('stopped'))).toEqual([]);
  });
});

describe('what orthant cluster refuses', () => {
  it.each([
    ['cluster', 2, 'Usage: orthant cluster'],
    ['cluster search x', 2, "missing required argument 'queries'"],
    ['cluster serch x', 2, "unknown command 'serch'"],
    ['cluster status a}b', 2, 'name: expected'],
    ['cluster status x --redis localhost:6379', 2, '--redis: expected an address like redis://host:6379'],
    ['cluster search x queries.npy -k 0', 2, 'Expected a whole number from 1'],
    ['cluster join x --radius 2', 2, '--radius: expected a file of rows beside it'],
    ['cluster join x queries.npy --radius 2 -o x.ivecs', 2, 'expected lines for --radius'],
    ['cluster search nothing queries.npy', 1, 'expected a published generation, got none'],
    ['cluster publish x gone.npy', 1, 'gone.npy: expected a readable file'],
    [
      'cluster status x --redis redis://:secret@127.0.0.1:1',
      1,
      'expected an answer from Redis at 127.0.0.1:1',
    ],
  ])('%s: exit code %i', async (words, code, text) => {
    const { status, stdout, stderr } = await start(words);
    expect(stderr).toContain(text);
    expect(stderr).not.toContain('secret');
    expect(stderr).not.toContain('    at ');
    expect(stdout).toBe('');
    expect(status).toBe(code);
  });

  it('queries of other dimensions, and a segment that nobody serves: by name', async () => {
    await output('cluster publish refused base.npy --segment-rows 700');
    const short = await createVectors(path.join(folder, 'short.npy'), { dimensions: 3 });
    await short.write({ vectors: new Float32Array(6), rows: 2 });
    await short.finish();
    const wrong = await start('cluster search refused short.npy');
    expect(wrong).toMatchObject({ status: 1, stdout: '' });
    expect(wrong.stderr).toContain('expected 16 dimensions as in the cluster refused, got 3');

    const [{ digest }] = JSON.parse(await output('cluster status refused --json')).segments;
    const late = await start('cluster search refused queries.npy --deadline 0.5');
    expect(late.status).toBe(1);
    expect(late.stderr).toContain(digest.slice(0, 12));
    const { bytes } = JSON.parse(await output('cluster status refused --json')).segments[0];
    const worker = start(`cluster worker refused --json --memory-bytes ${bytes}`);
    await worker.said('"segments":["');
    const partial = await start('cluster search refused queries.npy --deadline 2 --partial --json -q');
    expect(partial.status).toBe(0);
    expect(linesOf(partial.stdout)).toHaveLength(150);
    expect(partial.stderr).toMatch(/^partial: segment \w{12} did not answer in time\n$/);
  });

  it('a machine without bullmq and ioredis: it names them', async () => {
    const bare = mkdtempSync(path.join(tmpdir(), 'orthant-bare-'));
    try {
      const installed = path.join(bare, 'node_modules/orthant');
      mkdirSync(path.join(bare, 'node_modules/@assemblyscript'), { recursive: true });
      cpSync(path.join(root, 'dist'), path.join(installed, 'dist'), { recursive: true });
      cpSync(path.join(root, 'package.json'), path.join(installed, 'package.json'));
      symlinkSync(
        path.join(root, 'node_modules/@assemblyscript/loader'),
        path.join(bare, 'node_modules/@assemblyscript/loader'),
      );
      const program = path.join(installed, 'dist/cli/main.js');
      const { status, stderr } = await start('cluster status x', { cwd: bare, program });
      expect(status).toBe(1);
      expect(stderr).toContain('npm install bullmq ioredis');
    } finally {
      rmSync(bare, { recursive: true, force: true });
    }
  });
});

describe('the README', () => {
  it('makes a working cluster of three terminals and a Redis', async () => {
    const readme = readFileSync(path.join(root, 'README.md'), 'utf8');
    const [, block] = /```sh cluster\n([\s\S]*?)```/.exec(readme)!;
    const place = mkdtempSync(path.join(tmpdir(), 'orthant-readme-'));
    cpSync(path.join(root, 'examples/data/digits.npy'), path.join(place, 'digits.npy'));
    const found: Record<string, string> = {};
    try {
      const lines = block
        .split('\n')
        .map((line) => line.replace(/\s*#.*/, ''))
        .filter((line) => line !== '');
      // Installing and Redis itself are the reader's; the rest is run as it stands.
      const others = lines.filter((line) => !line.startsWith('npx orthant cluster '));
      expect(others.map((line) => line.split(' ')[0])).toEqual(['npm', 'redis-server']);
      for (const line of lines.filter((each) => !others.includes(each))) {
        const [words, out] = line.replace('npx orthant ', '').split(' > ');
        if (words.startsWith('cluster worker')) {
          const worker = start(`${words} --json`, { cwd: place });
          await worker.said('"event":"serving"');
          continue;
        }
        const { status, stdout, stderr } = await start(words, { cwd: place });
        expect(`${line}: ${status} ${status === 0 ? '' : stderr}`).toBe(`${line}: 0 `);
        found[out ?? words.split(' ')[1]] = stdout;
      }
      const digits = readVectors(path.join(place, 'digits.npy'));
      const index = VectorIndex.from(Float32Array.from(digits.vectors), { dimensions: 64 });
      expect(index.size).toBe(1797);
      expect(found['neighbors.tsv'].trimEnd().split('\n')).toHaveLength(3 * 1797);
      expect(found['neighbors.tsv']).toMatch(/^0\t0\t0\n/);
      expect(found.status).toContain('1,797 rows');
    } finally {
      rmSync(place, { recursive: true, force: true });
    }
  });
});
