/**
 * The machine's limits for one thread of 128-bit WebAssembly, which kernels.ts and engine-kernels.ts hold every kernel
 * against: the peaks of multiply and add, of floats and of 16-bit integers, and of look-ups in a table of 16 bytes, the speed
 * of reading from sets of several sizes, and what share of the first peak `exactSearchBatch` reaches:
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

/** What a turn of each is, in operations on one number. */
const OPERATIONS = { multiplyAdd: 64, lookUps: 448, multiplyAdd16: 128 };

type Arithmetic = keyof typeof OPERATIONS;

interface Peak extends Record<Arithmetic, (data: number, turns: number) => number> {
  readAll(data: number, bytes: number, turns: number): number;
  memory: WebAssembly.Memory;
}

let compiled: WebAssembly.Module | undefined;

function instantiate(): Peak {
  compiled ??= new WebAssembly.Module(compile());
  const peak = new WebAssembly.Instance(compiled).exports as unknown as Peak;
  new Float32Array(peak.memory.buffer, 0, 24).fill(2 ** -20);
  return peak;
}

/** Something to run that does nothing but one kind of arithmetic, and how many operations on one number that is. */
export function preparePeak(
  turns = 2_000_000,
  kind: Arithmetic = 'multiplyAdd',
): { run: () => number; operations: number } {
  const peak = instantiate();
  if (kind === 'lookUps') {
    const bytes = new Uint8Array(peak.memory.buffer, 0, 96);
    for (let i = 0; i < 96; i++) bytes[i] = i < 16 ? i : i < 32 ? 15 : 37 * i;
  } else if (kind === 'multiplyAdd16') {
    new Int16Array(peak.memory.buffer, 0, 48).fill(3);
  }
  return { run: () => peak[kind](0, turns), operations: turns * OPERATIONS[kind] };
}

/** A set beyond this size is in no cache. */
const MOST_READ = 2 ** 28;

/**
 * Something to run that does nothing but read a set of so many bytes, over and over; how many that is altogether, at least
 * `least`; and the size of the set, which is a multiple of 128 and at most MOST_READ.
 */
export function prepareReading(
  size: number,
  least = 2 ** 24,
): {
  run: () => number;
  bytes: number;
  set: number;
} {
  const { readAll, memory } = instantiate();
  const bytes = Math.max(128, Math.min(MOST_READ, size) & -128);
  const start = memory.buffer.byteLength;
  memory.grow(Math.ceil(bytes / 2 ** 16));
  // a page that was never written may be one and the same page of zeros
  new Uint8Array(memory.buffer, start).fill(1);
  const turns = Math.ceil(least / bytes);
  return { run: () => readAll(start, bytes, turns), bytes: turns * bytes, set: bytes };
}

/** Billions of bytes a second read from sets of these sizes, the best of several runs. */
export function measureReading(sizes: number[], turns = 8): { bytes: number; gigabytes: number }[] {
  return sizes.map((size) => {
    const { run, bytes } = prepareReading(size);
    let gigabytes = 0;
    for (let turn = 0; turn < turns; turn++) gigabytes = Math.max(gigabytes, bytes / nanosecondsOf(run));
    return { bytes: size, gigabytes };
  });
}

/** Billions of operations a second of one kind of arithmetic, the best of several runs. */
export function measurePeak(kind: Arithmetic, turns = 8): number {
  const { run, operations } = preparePeak(200_000, kind);
  let best = 0;
  for (let turn = 0; turn < turns; turn++) best = Math.max(best, operations / nanosecondsOf(run));
  return best;
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
  const { multiplyAdd } = instantiate();
  const random = new RandomGenerator(0);
  const vectors = new Float32Array(rows * dimensions);
  const asked = new Float32Array(queries * dimensions);
  random.normals(vectors);
  random.normals(asked);

  const peakTurns = 1_000_000;
  const speeds = { peak: 0, batch: 0 };
  for (let turn = 0; turn < turns; turn++) {
    const peak = (peakTurns * OPERATIONS.multiplyAdd) / nanosecondsOf(() => multiplyAdd(0, peakTurns));
    const flops = 2 * dimensions * rows * queries;
    const batch = flops / nanosecondsOf(() => exactSearchBatch(vectors, asked, { dimensions, k }));
    speeds.peak = Math.max(speeds.peak, peak);
    speeds.batch = Math.max(speeds.batch, batch);
  }
  return speeds;
}

/** A module with one function, which has a relaxed swizzle of two constants: valid where the engine knows them. */
const RELAXED = Uint8Array.from([
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 0, 1, 0x7b, 3, 2, 1, 0, 10, 43, 1, 41, 0],
  ...[0xfd, 12, ...new Array<number>(16).fill(0), 0xfd, 12, ...new Array<number>(16).fill(0)],
  ...[0xfd, 0x80, 2, 11],
]);

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
      ...(WebAssembly.validate(RELAXED) ? ['--enable', 'relaxed-simd'] : []),
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
  console.log(`the same, 16-bit integers   ${measurePeak('multiplyAdd16').toFixed(1)} billion operations/s`);
  console.log(`look-ups in 16 bytes        ${measurePeak('lookUps').toFixed(1)} billion operations/s`);
  for (const { bytes, gigabytes } of measureReading([2 ** 15, 2 ** 18, 2 ** 20, 2 ** 23, 2 ** 28])) {
    const size = bytes < 2 ** 20 ? `${bytes / 2 ** 10} KiB` : `${bytes / 2 ** 20} MiB`;
    console.log(`reading a set of ${size.padEnd(11)}${gigabytes.toFixed(1)} GB/s`);
  }
  console.log(`exactSearchBatch 10k x 128  ${batch.toFixed(1)} GFLOP/s, ${share}`);
}
