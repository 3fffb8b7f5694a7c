/**
 * The machine's peak of 128-bit multiply and add on one thread, and what share of it `exactSearchBatch` reaches:
 *
 *     npx tsx bench/peak.ts
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { exactSearchBatch } from '../src/exact.js';
import { RandomGenerator } from '../src/random.js';

const flopsPerTurn = 64;

interface Peak {
  multiplyAdd(data: number, turns: number): number;
}

/** Something to run that does nothing but multiply and add, and how many float operations that is. */
export function preparePeak(turns = 2_000_000): { run: () => void; operations: number } {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(compile()));
  const { multiplyAdd } = exports as unknown as Peak;
  new Float32Array((exports.memory as WebAssembly.Memory).buffer, 0, 24).fill(2 ** -20);
  return { run: () => multiplyAdd(0, turns), operations: turns * flopsPerTurn };
}

/** Billions of float operations a second, the best of several runs. */
export interface Speeds {
  /** Multiply and add in registers, 128 bits wide. */
  peak: number;
  /** exactSearchBatch, counting 2 d a distance. */
  batch: number;
}

/** Measures both by turns, so that a slower clock or a neighbor's work hits both. */
export function measureSpeeds(rows: number, queries: number, dimensions: number, k = 10, turns = 12): Speeds {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(compile()));
  const { multiplyAdd } = exports as unknown as Peak;
  new Float32Array((exports.memory as WebAssembly.Memory).buffer, 0, 24).fill(2 ** -20);
  const random = new RandomGenerator(0);
  const vectors = new Float32Array(rows * dimensions);
  const asked = new Float32Array(queries * dimensions);
  random.normals(vectors);
  random.normals(asked);

  const peakTurns = 1_000_000;
  const speeds = { peak: 0, batch: 0 };
  for (let turn = 0; turn < turns; turn++) {
    const peak = (peakTurns * flopsPerTurn) / nanosecondsOf(() => multiplyAdd(0, peakTurns));
    const flops = 2 * dimensions * rows * queries;
    const batch = flops / nanosecondsOf(() => exactSearchBatch(vectors, asked, { dimensions, k }));
    speeds.peak = Math.max(speeds.peak, peak);
    speeds.batch = Math.max(speeds.batch, batch);
  }
  return speeds;
}

function compile(): Uint8Array<ArrayBuffer> {
  const folder = mkdtempSync(path.join(tmpdir(), 'orthant-peak-'));
  try {
    // With a base folder of its own the compiler does not find the product's asconfig.json.
    const base = fileURLToPath(new URL('../assembly', import.meta.url));
    const out = path.join(folder, 'peak.wasm');
    const compiler = createRequire(import.meta.url).resolve('assemblyscript/package.json');
    const asc = path.join(path.dirname(compiler), 'bin/asc.js');
    const options = [
      '--baseDir',
      base,
      '-o',
      out,
      '-O3',
      '--runtime',
      'stub',
      '--enable',
      'simd',
      '--initialMemory',
      '1',
    ];
    execFileSync(process.execPath, [asc, 'peak.ts', ...options]);
    return Uint8Array.from(readFileSync(out));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function nanosecondsOf(run: () => unknown): number {
  const started = performance.now();
  run();
  return 1e6 * (performance.now() - started);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { peak, batch } = measureSpeeds(10_000, 1_000, 128);
  const share = `${((100 * batch) / peak).toFixed(0)} % of the peak`;
  console.log(`128-bit multiply and add    ${peak.toFixed(1)} GFLOP/s`);
  console.log(`exactSearchBatch 10k x 128  ${batch.toFixed(1)} GFLOP/s, ${share}`);
}
