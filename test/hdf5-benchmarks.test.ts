import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import h5wasm from 'h5wasm/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fileSetName, readDataSet } from '../bench/data.js';
import type { PeersResult } from '../bench/peers.js';
import { exactSearchBatch } from '../src/index.js';
import { clumpedRows } from './data.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'orthant-hdf5-'));
const [n, nq, d] = [1200, 30, 16];
const all = clumpedRows(n + nq, d, 20, 0.4, 1);
const base = all.slice(0, n * d);
const queries = all.slice(n * d);
const truth = exactSearchBatch(base, queries, { dimensions: d, k: 100, metric: 'cosine' }).ids;
// of this process alone, so that no earlier run's data is taken for it
const names = ['told', 'untold', 'other'].map((name) => `test-${name}-${process.pid}`);
const files = names.map((name) => path.join(folder, `${name}.hdf5`));

beforeAll(async () => {
  await h5wasm.ready;
  for (const [i, file] of files.entries()) {
    const to = new h5wasm.File(file, 'w');
    to.create_dataset({ name: 'train', data: base.map((x) => 3 * x), shape: [n, d] });
    to.create_dataset({ name: 'test', data: queries, shape: [nq, d] });
    if (i === 0) to.create_dataset({ name: 'neighbors', data: Int32Array.from(truth), shape: [nq, 100] });
    to.create_attribute('distance', i === 2 ? 'hamming' : 'angular');
    to.close();
  }
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  const data = path.join(root, 'bench/.data');
  for (const name of names) {
    for (const ending of ['json', 'base.f32', 'query.f32', 'truth.i32'])
      rmSync(path.join(data, `${name}-hdf5.${ending}`), { force: true });
    for (const peer of ['orthant', 'brute-force'])
      for (const ending of ['json', 'index'])
        rmSync(path.join(data, 'cache', `${peer}.${name}-hdf5.${ending}`), { force: true });
  }
});

describe('a file of the ann-benchmarks', () => {
  it.each([0, 1])('becomes a data set with the neighbors that it tells or that are found (%i)', (i) => {
    execFileSync(process.execPath, ['--import', 'tsx', 'bench/data.ts', files[i]], {
      cwd: root,
      stdio: 'pipe',
    });
    const data = readDataSet(fileSetName(files[i]) as string);
    expect(data).toMatchObject({ n, d, nq, metric: 'cosine', source: `${names[i]}.hdf5` });
    const length = Math.hypot(...data.base.subarray(7 * d, 8 * d));
    expect(length).toBeCloseTo(1, 6);
    expect(Buffer.compare(Buffer.from(data.truth.buffer), Buffer.from(truth.buffer))).toBe(0);
  });

  it('is measured by its path', () => {
    const json = path.join(folder, 'search.json');
    const args = ['--import', 'tsx', 'bench/search.ts', files[0], '--peers', 'none', '--json', json];
    const printed = execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8', stdio: 'pipe' });
    expect(printed).toContain(`${names[0]}-hdf5 1,200 x 16, cosine`);
    const [result] = JSON.parse(readFileSync(json, 'utf8'));
    expect(result).toMatchObject({ data: `${names[0]}-hdf5`, n, d, queries: nq });
    expect(result.exact.recall).toBe(1);
    expect(result.tuned.at(-1).recall).toBeGreaterThan(0.9);
  });

  it('is measured by its path beside other packages too', () => {
    const json = path.join(folder, 'peers.json');
    const args = ['--import', 'tsx', 'bench/peers.ts', '--sets', files[0], '--json', json];
    args.push('--peers', 'orthant,brute-force');
    execFileSync(process.execPath, args, { cwd: root, stdio: 'pipe' });
    const { peers } = JSON.parse(readFileSync(json, 'utf8')) as PeersResult;
    expect(peers.map(({ peer, set, error }) => [peer, set, error])).toEqual([
      ['orthant', `${names[0]}-hdf5`, undefined],
      ['brute-force', `${names[0]}-hdf5`, undefined],
    ]);
    expect(peers[0]).toMatchObject({ n, d, metric: 'cosine' });
    expect(peers[1].curve?.[0].recall).toBe(1);
  });

  it('of another distance, or of another ending, is refused by name', () => {
    const run = (...args: string[]) =>
      spawnSync(process.execPath, ['--import', 'tsx', ...args], { cwd: root, encoding: 'utf8' });
    expect(run('bench/data.ts', files[2]).stderr).toContain(
      'expected the distance euclidean or angular, got hamming',
    );
    for (const args of [['search'], ['joins'], ['living'], ['peers', '--sets']]) {
      const { status, stderr } = run(`bench/${args[0]}.ts`, ...args.slice(1), 'rows.csv');
      expect([status, stderr]).toEqual([2, expect.stringMatching(/ or \.hdf5 files, got rows\.csv/)]);
    }
  });
});
