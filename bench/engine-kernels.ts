/**
 * What the engine's kernels take beside what the machine can do in one thread of 128-bit WebAssembly (peak.ts). A part of
 * `npm run bench`; alone:
 *
 *     npx tsx bench/engine-kernels.ts [--json FILE]
 *
 * Steps of a query are timed query by query, each by its best of many rounds, in the order in which they run, so that what a
 * query reads is as far away as in use; so are peaks and readings, in the same rounds. Counted is what a step cannot do
 * without: operations on floats, on bytes (each look-up, mask, shift and sum of a code's nibble) and on 16-bit integers, and
 * bytes that are read or written once.
 */
import { parseArgs } from 'node:util';
import { Engine } from '../src/engine.js';
import { buildFrom } from '../src/engine-build.js';
import { EngineSearch } from '../src/engine-search.js';
import { exactSearch } from '../src/exact.js';
import { finish } from '../src/progress.js';
import { RandomGenerator } from '../src/random.js';
import type { Settings } from '../src/settings.js';
import { preparePeak, prepareReading } from './peak.js';
import { engineRows, figure, provenance, runIfStarted, table, writeJson } from './record.js';

const ROUNDS = 60;
const WARMUP_MS = 100;
/** Rounds of queries before the clock counts. */
const WARMUP = 20;
const [ROWS, QUERIES, CELLS, K] = [32_768, 128, 256, 10];
const CLUMPS = 256;
/** Coordinates of a row. */
const WIDTH = 128;
/** Coordinates of the rows that are coded by their principal components. */
const WIDE = 784;
/** Of ranking cells (assembly/search.ts) and of assigning rows (cells.ts). */
const SPARE = 6;

/** What some work cannot do without. */
export interface Need {
  floats?: number;
  /** Operations on bytes, as a scan does them to a code's nibbles. */
  nibbles?: number;
  /** Products of 16-bit integers and their sums. */
  products?: number;
  read: number;
  /** Bytes from among which those come. */
  set: number;
}

/** Billions a second that one thread can do. */
export interface Peaks {
  floats: number;
  nibbles: number;
  products: number;
}

export interface EngineKernelResult {
  what: string;
  unit: string;
  rate: number;
  /** How much of its time the machine would need for the arithmetic alone, and for the reading alone. */
  arithmetic: number;
  reading: number;
  memory: { bytes: number; gigabytes: number };
}

/** One kernel's work: `count` units of it take `nanoseconds` at best. */
interface Work {
  what: string;
  unit: string;
  /** Units of it, in those of `unit`. */
  count: number;
  nanoseconds: number;
  need: Need;
}

/** How long the arithmetic of a need takes at its peaks, in nanoseconds: one kind after the other. */
export function arithmeticTime(need: Need, peaks: Peaks): number {
  const { floats = 0, nibbles = 0, products = 0 } = need;
  return floats / peaks.floats + nibbles / peaks.nibbles + products / peaks.products;
}

/** The share of a work's time that the machine needs for its arithmetic, and for its reading. */
export function sharesOf(work: Work, peaks: Peaks, gigabytes: number): EngineKernelResult {
  const { what, unit, count, nanoseconds, need } = work;
  return {
    what,
    unit,
    rate: count / (nanoseconds / 1e9),
    arithmetic: arithmeticTime(need, peaks) / nanoseconds,
    reading: need.read / gigabytes / nanoseconds,
    memory: { bytes: need.set, gigabytes },
  };
}

/** The least of many times that each of some runs takes, in nanoseconds; run in turns. */
function leastTimes(runs: (() => unknown)[]): number[] {
  const least = runs.map(() => Number.POSITIVE_INFINITY);
  const begun = performance.now();
  while (performance.now() - begun < WARMUP_MS) for (const run of runs) run();
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, run] of runs.entries()) {
      const start = performance.now();
      run();
      least[i] = Math.min(least[i], 1e6 * (performance.now() - start));
    }
  }
  return least;
}

/** What looking at the clock takes. */
function clockTime(): number {
  return leastTimes(Array.from({ length: 50 }, () => () => {})).reduce((a, b) => Math.min(a, b));
}

function measurePeaks(): Peaks {
  const kinds = ['multiplyAdd', 'lookUps', 'multiplyAdd16'] as const;
  const peaks = kinds.map((kind) => preparePeak(50_000, kind));
  const times = leastTimes(peaks.map(({ run }) => run));
  const [floats, nibbles, products] = peaks.map(({ operations }, i) => operations / times[i]);
  return { floats, nibbles, products };
}

/** Billions of bytes a second read from a set of this size. */
function measureReading(set: number): number {
  const { run, bytes } = prepareReading(set, 2 ** 18);
  return bytes / leastTimes([run])[0];
}

/** Float operations of rotating a row of d coordinates, its mean taken off; as many rounds as the engine takes. */
function rotationFloats(d: number): number {
  const width = 2 ** Math.floor(Math.log2(d));
  return d + (width === d ? 3 : 6) * (d + width * Math.log2(width));
}

/** The steps of a query: rotate, choose cells, scan codes, rank by the second stage or by rows. */
function querySteps(engine: Engine, vectors: Float32Array, queries: Float32Array, clock: number): Work[] {
  const { plan, dims } = engine;
  const { kernels, address } = plan;
  const d = WIDTH;
  const groups = dims / 4;
  const names = ['prepare', 'choose', 'scan', 'rank'];
  /** All four steps of all queries with these settings: the sum of each step's best times, and what was counted. */
  const run = (settings: Settings) => {
    const least = names.map(() => new Float64Array(QUERIES).fill(Number.POSITIVE_INFINITY));
    const sums = { cells: 0, codes: 0, survivors: 0, refined: 0, ranked: 0 };
    let found = 0;
    for (let round = 0; round < ROUNDS + WARMUP; round++) {
      for (let q = 0; q < QUERIES; q++) {
        const query = queries.subarray(q * d, (q + 1) * d);
        const marks = [performance.now()];
        const lap = (): void => void marks.push(performance.now());
        engine.configure(K, settings);
        engine.rows.setQuery(query);
        marks[0] = performance.now();
        kernels.prepare(address);
        lap();
        const probes = kernels.chooseCells(address);
        lap();
        kernels.scanCells(address, probes);
        lap();
        kernels.rankFound(address);
        lap();
        if (round < WARMUP) continue;
        for (const [i, times] of least.entries()) {
          times[q] = Math.min(times[q], 1e6 * (marks[i + 1] - marks[i]) - clock);
        }
        if (round > WARMUP) continue;
        const counters = engine.counters();
        for (const name of Object.keys(sums) as (keyof typeof sums)[]) sums[name] += counters[name];
        const ids = new Set(exactSearch(vectors, query, { k: K }).ids);
        const neighbors = { ids: new Uint32Array(K), distances: new Float32Array(K) };
        engine.read(engine.drain(K), neighbors, 0);
        found += neighbors.ids.filter((id) => ids.has(id)).length;
      }
    }
    const recall = found / (QUERIES * K);
    if (recall < 0.9) throw new Error(`queries: expected a recall of 0.9 or more, got ${recall}`);
    const [prepare, choose, scan, rank] = least.map((times) => times.reduce((a, b) => a + b));
    return { prepare, choose, scan, rank, sums };
  };

  const probes = 12;
  const refined = run({ probes, epsilon: 4, patience: 0, keep: 3 * K });
  const ranked = run({ probes, epsilon: 2.5, patience: 0, keep: 0 });
  const measured = Math.min(CELLS, probes + (probes >> 3) + SPARE);
  const blocks = plan.memory.capacity('blocks');
  const codeBytes = dims / 8 + 12;
  const record = 16 * Math.ceil(dims / 32) + 4;
  // A position and a row of each, a query for all.
  const rowBytes = 4 * engine.stride + 4;
  return [
    {
      what: 'rotation and look-up table of a query',
      unit: 'kquery/s',
      count: QUERIES / 1e3,
      nanoseconds: refined.prepare,
      // of the table: size, sign and sums of a coordinate, and 16 sums of four for each group
      need: {
        floats: QUERIES * (rotationFloats(d) + 8 * dims + 20 * groups),
        read: QUERIES * 4 * (3 * d + 2 * dims),
        set: 4 * (8 * d),
      },
    },
    {
      what: `ranking of ${CELLS} centres`,
      unit: 'Mcentre/s',
      count: (QUERIES * CELLS) / 1e6,
      nanoseconds: refined.choose,
      need: {
        // of a nibble a look-up and a sum, of four the sum is widened; a bound is five operations; some are measured
        nibbles: QUERIES * CELLS * groups * 2.75,
        floats: QUERIES * (CELLS * 5 + measured * 3 * dims),
        read: QUERIES * (CELLS * (groups + 12) + measured * 4 * dims),
        set: CELLS * (groups + 12 + 4 * dims),
      },
    },
    {
      what: `scan of ${dims}-bit codes`,
      unit: 'Mcode/s',
      count: refined.sums.codes / 1e6,
      nanoseconds: refined.scan,
      need: {
        // of a nibble a mask, half a shift, a look-up and a sum, of four the sum is widened
        nibbles: refined.sums.codes * groups * 4.25,
        floats: refined.sums.codes * 5,
        read: refined.sums.codes * codeBytes,
        set: blocks,
      },
    },
    {
      what: 'second stage, 4-bit records',
      unit: 'Mrecord/s',
      count: refined.sums.refined / 1e6,
      nanoseconds: refined.rank,
      need: {
        products: refined.sums.refined * 2 * dims,
        floats: refined.sums.refined * 3 + refined.sums.ranked * 3 * d,
        read: refined.sums.refined * (record + 4) + refined.sums.ranked * rowBytes,
        set: ROWS * record,
      },
    },
    {
      what: 'exact distances of survivors',
      unit: 'Mrow/s',
      count: ranked.sums.ranked / 1e6,
      nanoseconds: ranked.rank,
      need: {
        floats: ranked.sums.ranked * 3 * d,
        read: ranked.sums.ranked * rowBytes,
        set: ROWS * 4 * engine.stride,
      },
    },
  ];
}

/** The steps of a build: codes of rows, their cells, and the training of centres. */
function buildSteps(engine: Engine, clock: number): Work[] {
  const { plan, dims } = engine;
  const { kernels, address } = plan;
  const d = WIDTH;
  const groups = dims / 4;
  const chunk = 64;
  const chunks = 32;
  const rotated = plan.reserve('bench rotated', chunk * chunks * dims * 4);
  const block = plan.reserve('bench block', 4 * dims + 384);
  const scratch = plan.reserve('bench scratch', 32 * dims * 4);
  const cells = plan.reserve('bench cells', chunk * chunks * 8);
  const distances = plan.reserve('bench distances', CELLS * 4 + 16);
  const sums = plan.reserve('bench sums', CELLS * (dims + 1) * 4);
  const [rows, centres] = [plan.ptr('rows'), plan.ptr('centres')];
  const stride = 4 * engine.stride;
  const all = chunk * chunks;
  /** The best times of a chunk's work, summed. */
  const timed = (run: (chunk: number) => void): number =>
    leastTimes(Array.from({ length: chunks }, (_, i) => () => run(i))).reduce((a, b) => a + b - clock);

  const assigned = (i: number): [number, number] => [rotated + i * chunk * dims * 4, cells + i * chunk * 4];
  const rotate = timed((i) => kernels.transform(address, rows + i * chunk * stride, chunk, assigned(i)[0]));
  const assign = timed((i) =>
    kernels.assign(address, assigned(i)[0], chunk, SPARE, 8, assigned(i)[1], cells + all * 4),
  );
  const measured = timed((i) =>
    kernels.assignExactly(assigned(i)[0], chunk, dims, centres, CELLS, distances, assigned(i)[1]),
  );
  const accumulate = timed((i) =>
    kernels.accumulate(assigned(i)[0], chunk, dims, assigned(i)[1], sums, sums + CELLS * dims * 4),
  );
  const encode = timed((i) => {
    for (let half = 0; half < 2; half++) {
      kernels.clearBlock(block, 4 * dims);
      const first = 32 * (2 * i + half);
      kernels.fillSlots(address, rows + first * stride, first, 32, centres, block, 0, scratch);
    }
  });
  const row = (what: string, nanoseconds: number, need: Need): Work => ({
    what,
    unit: 'krow/s',
    count: all / 1e3,
    nanoseconds,
    need: Object.fromEntries(
      Object.entries(need).map(([name, value]) => [name, name === 'set' ? value : all * value]),
    ) as unknown as Need,
  });
  return [
    row('rotation of rows', rotate, {
      floats: rotationFloats(d),
      read: 4 * (d + dims),
      set: all * 4 * (d + dims),
    }),
    row('rotation and code of a row', encode, {
      floats: rotationFloats(d) + 6 * dims,
      read: 4 * (d + 2 * dims) + dims / 8 + 12,
      set: all * 4 * d,
    }),
    row(`nearest of ${CELLS} centres, by codes`, assign, {
      floats: 8 * dims + 20 * groups + CELLS * 5 + (1 + SPARE) * 3 * dims,
      nibbles: CELLS * groups * 2.75,
      read: CELLS * (groups + 12) + (1 + SPARE) * 4 * dims + 4 * dims,
      set: CELLS * (groups + 12 + 4 * dims) + all * 4 * dims,
    }),
    row(`nearest of ${CELLS} centres, all measured`, measured, {
      floats: CELLS * 3 * dims,
      read: CELLS * 4 * (dims + 1) + 4 * dims,
      set: CELLS * 4 * dims + all * 4 * dims,
    }),
    row('sums of cells', accumulate, {
      floats: dims,
      // the sums are in the first cache
      read: 4 * dims,
      set: CELLS * 4 * dims + all * 4 * dims,
    }),
  ];
}

/** Rows of 784 coordinates into the space of their 128 principal components. */
function principalStep(clock: number): Work {
  const random = new RandomGenerator(1);
  const count = 2048;
  const wide = new Float32Array(count * WIDE);
  random.normals(wide);
  const engine = new Engine(WIDE, 'euclidean', 'f32', 0n, 2 ** 30);
  const search = new EngineSearch(engine, undefined);
  finish(buildFrom(search, wide, count, { cells: 2, principal: true, tune: false, refine: false }));
  const { plan, dims } = engine;
  const { kernels, address } = plan;
  const out = plan.reserve('bench rotated', 64 * dims * 4);
  const rows = plan.ptr('rows');
  const chunks = count / 64;
  const times = leastTimes(
    Array.from({ length: chunks }, (_, i) => () => {
      kernels.transform(address, rows + i * 64 * engine.stride * 4, 64, out);
    }),
  );
  return {
    what: `${dims} principal components of ${WIDE} coordinates`,
    unit: 'krow/s',
    count: count / 1e3,
    nanoseconds: times.reduce((a, b) => a + b - clock),
    need: {
      // rounding to 16 bits: the largest, the length, and the rounded
      floats: count * 6 * WIDE,
      products: count * 2 * WIDE * dims,
      // every pair of rows reads the planes once
      read: count * (4 * WIDE + WIDE * dims + 4 * dims),
      set: 2 * WIDE * dims,
    },
  };
}

/** Comparing every row, of both kinds, and what goes over all bytes of an index that is loaded. */
function wholeSteps(vectors: Float32Array, queries: Float32Array, clock: number): Work[] {
  const some = 8192;
  const works = (['f32', 'int8'] as const).map((storage): Work => {
    const engine = new Engine(WIDTH, 'euclidean', storage, 0n, 2 ** 30);
    engine.append(vectors.subarray(0, some * WIDTH), some, false);
    engine.runExact(queries.subarray(0, WIDTH), K); // sets it up for K
    const { kernels, address } = engine.plan;
    const rowBytes = storage === 'f32' ? 4 * WIDTH : WIDTH + 16;
    const [time] = leastTimes([() => kernels.searchExact(address, 0, some)]);
    return {
      what: storage === 'f32' ? 'exact search, float32 rows' : 'exact search, 8-bit rows',
      unit: 'Mrow/s',
      count: some / 1e6,
      nanoseconds: time - clock,
      need: {
        ...(storage === 'f32'
          ? { floats: some * 3 * WIDTH }
          : { products: some * 2 * WIDTH, floats: some * 3 }),
        read: some * rowBytes,
        set: some * rowBytes,
      },
    };
  });
  const { plan } = new Engine(WIDTH, 'euclidean', 'f32', 0n, 2 ** 30);
  const bytes = 2 ** 20;
  const checked = plan.reserve('bench bytes', bytes);
  const table = plan.reserve('bench table', 2 ** 14);
  plan.kernels.fillChecksumTable(table);
  const [time] = leastTimes([() => plan.kernels.checksum(table, 0, checked, bytes)]);
  return [
    ...works,
    {
      what: 'checksum of a snapshot',
      unit: 'MB/s',
      count: bytes / 1e6,
      nanoseconds: time - clock,
      // a look-up for each byte, in a table that is in the first cache
      need: { read: bytes + 4 * bytes, set: bytes },
    },
  ];
}

/** Rows around centres, and queries like them: a few cells hold the neighbors, and many rows are nearly as near. */
function clumps(): { vectors: Float32Array; queries: Float32Array } {
  const random = new RandomGenerator(7);
  const centers = new Float32Array(CLUMPS * WIDTH);
  const drawn = new Float32Array((ROWS + QUERIES) * WIDTH);
  random.normals(centers);
  random.normals(drawn);
  for (let r = 0; r < ROWS + QUERIES; r++) {
    const center = random.integer(CLUMPS) * WIDTH;
    for (let j = 0; j < WIDTH; j++) drawn[r * WIDTH + j] = centers[center + j] + 0.5 * drawn[r * WIDTH + j];
  }
  return { vectors: drawn.subarray(0, ROWS * WIDTH), queries: drawn.subarray(ROWS * WIDTH) };
}

/** All rows of the table, and the peaks that they are shares of. */
export function measureEngineKernels(): { peaks: Peaks; engine: EngineKernelResult[] } {
  const { vectors, queries } = clumps();
  const engine = new Engine(WIDTH, 'euclidean', 'f32', 0n, 2 ** 30);
  finish(
    buildFrom(new EngineSearch(engine, undefined), vectors, ROWS, {
      cells: CELLS,
      refine: true,
      tune: false,
    }),
  );
  if (!engine.isRefined || engine.cells !== CELLS)
    throw new Error(
      `engine: expected ${CELLS} cells and a second stage, got ${engine.cells}, ${engine.isRefined}`,
    );
  const clock = clockTime();
  const before = measurePeaks();
  const works = [
    ...querySteps(engine, vectors, queries, clock),
    ...buildSteps(engine, clock),
    principalStep(clock),
    ...wholeSteps(vectors, queries, clock),
  ];
  // Whatever else the machine did in the meantime: the best of both counts.
  const after = measurePeaks();
  const peaks = {
    floats: Math.max(before.floats, after.floats),
    nibbles: Math.max(before.nibbles, after.nibbles),
    products: Math.max(before.products, after.products),
  };
  return { peaks, engine: works.map((work) => sharesOf(work, peaks, measureReading(work.need.set))) };
}

/** The results as a table for the terminal. */
export function engineTable({ peaks, engine }: ReturnType<typeof measureEngineKernels>): string {
  const rows = engineRows(engine);
  const { floats, nibbles, products } = peaks;
  return [
    table([['the engine', 'unit', 'WASM', 'of the arithmetic', 'of the reading'], ...rows]),
    `Peaks: ${figure(floats)} GFLOP/s; in billions a second ${figure(nibbles)} operations on bytes, ${figure(products)} on 16 bits.`,
  ].join('\n');
}

function main(argv: string[]): void {
  const { values } = parseArgs({ args: argv, options: { json: { type: 'string' } } });
  const measured = measureEngineKernels();
  console.log(engineTable(measured));
  if (values.json !== undefined) writeJson(values.json, { ...provenance(), ...measured });
}

await runIfStarted(import.meta.url, main);
