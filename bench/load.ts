/**
 * From the call of `loadFile` to the first answer, in a fresh process each time:
 *
 *     npm run bench:load
 *     npm run bench:load -- words million --times 5 --json bench/results/load.json
 *
 * Makes an index of each data set (bench/data.ts; by default `million`), saves it, and loads it a few times. Cells are
 * neither trained nor tuned: as many bytes, and made in seconds. The file is in the system's cache.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { VectorIndex } from '../src/index.js';
import { loadFile, saveFile } from '../src/node/index.js';
import { readDataSet } from './data.js';
import { cpuMs, figure, median, type Provenance, provenance, table, writeJson } from './record.js';

const SCRIPT = fileURLToPath(import.meta.url);

/** One load in a process of its own, in milliseconds; `…CpuMs` is what the process computed, waiting left out. */
interface Load {
  loadMs: number;
  loadCpuMs: number;
  /** From the call of loadFile on. */
  answerMs: number;
  answerCpuMs: number;
  /** The most memory that the process ever had, where the system tells. */
  peakBytes: number;
}

/** What this script finds out about one data set; times are medians. */
export interface LoadResult extends Provenance, Load {
  load: 'loadFile';
  data: string;
  n: number;
  d: number;
  fileBytes: number;
  saveCpuMs: number;
  /** Of the file, by the process's time. */
  gigabytesPerSecond: number;
  times: number;
}

/** Loads a file and asks for the neighbors of its first row. */
function loadOnce(file: string): Load {
  const start = performance.now();
  const startCpu = cpuMs();
  const index = loadFile(file, { as: VectorIndex });
  const [loadMs, loadCpuMs] = [performance.now() - start, cpuMs() - startCpu];
  const { ids } = index.search(index.vector(0), { k: 10 });
  const [answerMs, answerCpuMs] = [performance.now() - start, cpuMs() - startCpu];
  if (ids[0] !== 0) throw new Error(`search: expected row 0 to find itself, got ${ids[0]}`);
  const peakBytes = process.resourceUsage().maxRSS * 1024;
  return { loadMs, loadCpuMs, answerMs, answerCpuMs, peakBytes };
}

function measure(name: string, times: number): Omit<LoadResult, keyof Provenance> {
  const { n, d, metric, base } = readDataSet(name);
  const folder = mkdtempSync(path.join(tmpdir(), 'orthant-load-'));
  try {
    const file = path.join(folder, `${name}.orthant`);
    const index = VectorIndex.from(base, { dimensions: d, metric, training: 'none', tune: false });
    const start = cpuMs();
    saveFile(index, file);
    const saveCpuMs = cpuMs() - start;
    index.dispose();
    const fileBytes = statSync(file).size;
    const loads = Array.from({ length: times }, (): Load => {
      const args = ['--import', 'tsx', SCRIPT, '--load', file];
      return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }));
    });
    const middle = (key: keyof Load): number => median(loads.map((one) => one[key]));
    const loadCpuMs = middle('loadCpuMs');
    return {
      load: 'loadFile',
      data: name,
      n,
      d,
      fileBytes,
      saveCpuMs,
      loadMs: middle('loadMs'),
      loadCpuMs,
      answerMs: middle('answerMs'),
      answerCpuMs: middle('answerCpuMs'),
      peakBytes: middle('peakBytes'),
      gigabytesPerSecond: fileBytes / 1e6 / loadCpuMs,
      times,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function main(argv: string[]): void {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: { times: { type: 'string', default: '3' }, json: { type: 'string' }, load: { type: 'string' } },
  });
  if (values.load !== undefined) {
    console.log(JSON.stringify(loadOnce(values.load)));
    return;
  }
  const times = Number(values.times);
  if (!(Number.isInteger(times) && times > 0))
    throw new RangeError(`--times: expected an integer from 1, got ${values.times}`);
  const about = provenance();
  console.log(`${about.machine}, Node ${about.node}, commit ${about.commit}, ${about.date}\n`);
  const results: LoadResult[] = [];
  for (const set of positionals.length > 0 ? positionals : ['million']) {
    const result = { ...about, ...measure(set, times) };
    results.push(result);
    const line = (what: string, cpu: number, wall?: number): string[] => [
      what,
      `${figure(cpu)} ms`,
      wall === undefined ? '' : `${figure(wall)} ms`,
    ];
    console.log(
      table([
        [
          `${set}, ${figure(result.n)} × ${result.d}, ${figure(result.fileBytes / 1e6)} MB`,
          'computing',
          'all',
        ],
        line('saveFile', result.saveCpuMs),
        line('loadFile', result.loadCpuMs, result.loadMs),
        line('loadFile and the first answer', result.answerCpuMs, result.answerMs),
      ]),
    );
    console.log(
      `${figure(result.gigabytesPerSecond)} GB/s; the process at most ${figure(result.peakBytes / 1e6)} MB\n`,
    );
    if (values.json !== undefined) writeJson(values.json, results);
  }
}

if (process.argv[1] === SCRIPT) {
  try {
    main(process.argv.slice(2));
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = error instanceof RangeError ? 2 : 1;
  }
}
