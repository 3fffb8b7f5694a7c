/**
 * Kernels in WebAssembly beside careful JavaScript (pure-javascript.ts): `npm run bench -- [--json FILE]`
 *
 * Both work on the very same bytes, and before the clock starts their results are compared. They alternate in short
 * rounds, each first in every other one, so that a slow minute of the machine hits both. Time is CPU time. A ratio is the
 * median of the ratios within the rounds; beside it stands the ratio of the best rounds, because a busy neighbor on the
 * machine slows the two down by different factors. Goals are ratios that were asked for, and reached only if both are.
 *
 * Then the engine's kernels beside what the machine can do (engine-kernels.ts).
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Bench } from 'tinybench';
import { exactSearchBatch } from '../src/exact.js';
import { HyperplaneLsh } from '../src/hyperplane-lsh.js';
import type { Kernels } from '../src/kernels.js';
import { LinearMemory } from '../src/memory.js';
import { RandomGenerator } from '../src/random.js';
import { engineTable, measureEngineKernels } from './engine-kernels.js';
import { preparePeak, prepareReading } from './peak.js';
import {
  buildNotebook,
  hamming128,
  hash,
  JavaScriptExact,
  JavaScriptLsh,
  Nearest,
  rotate,
  searchNotebook,
  squaredL2,
  squaredL2Gathered,
} from './pure-javascript.js';
import { cpuMs, figure, median, provenance, table, writeJson } from './record.js';

/** With the kernels that stand alone in no product. */
const everyKernel = new WebAssembly.Module(readFileSync(new URL('../dist/orthant.wasm', import.meta.url)));

const ROUNDS = 16;
const ROUND_MS = 50;
const WARMUP_MS = 150;

/** The same work done twice. */
interface Duel {
  what: string;
  /** How much work one run is, in thousands, millions or billions of `unit`. */
  work: number;
  unit: string;
  /** Asked for, WebAssembly over JavaScript. */
  goal?: number;
  wasm: () => void;
  javascript: () => void;
  /** Work of one run of `javascript` where it is less than that of `wasm`. */
  javascriptWork?: number;
  /** Throws where the two do not agree; called after each has run. */
  compare: () => void;
  /** A third runner, and its work: what the machine could do. */
  limit?: { run: () => void; work: number; goal: number };
  /**
   * What a run of `wasm` cannot do without: float operations, where it has any, and bytes of its regions, each counted once
   * as read or written. `set`, if it is another: the bytes from among which these come.
   */
  cost?: { flops?: number; bytes: number; set?: number };
}

interface Result {
  what: string;
  unit: string;
  /** Units a second. */
  wasm: number;
  javascript: number;
  ratio: number;
  /** Of the best round of each. */
  bestRatio: number;
  goal?: number;
  limit?: { rate: number; share: number; bestShare: number; goal: number };
  /** What the machine can do, in billions a second, and the shares of it; measured in the same rounds. */
  arithmetic?: { gigaflops: number; share: number };
  memory?: { bytes: number; gigabytes: number; share: number };
}

// ---- the duels; each gives its memory back when it is done

const random = new RandomGenerator(0);

function draw(count: number): Float32Array {
  const out = new Float32Array(count);
  random.normals(out);
  return out;
}

/** Regions of a fresh linear memory; views of them that JavaScript works on. */
function lay<Name extends string>(bytes: Record<Name, number>) {
  const memory = new LinearMemory();
  const names = Object.keys(bytes) as Name[];
  for (const name of names) memory.reserve(name, bytes[name]);
  const ptr = Object.fromEntries(names.map((name) => [name, memory.ptr(name)])) as Record<Name, number>;
  const view = <T>(Type: new (buffer: ArrayBuffer, at: number, length: number) => T, name: Name): T =>
    new Type(memory.memory.buffer, ptr[name], bytes[name] / 4);
  return {
    ptr,
    floats: (name: Name): Float32Array => view(Float32Array, name),
    words: (name: Name): Uint32Array => view(Uint32Array, name),
    kernels: new WebAssembly.Instance(everyKernel, { env: { memory: memory.memory } })
      .exports as unknown as Kernels,
  };
}

function agree(what: string, a: ArrayLike<number>, b: ArrayLike<number>, tolerance = 0): void {
  for (let i = 0; i < a.length; i++) {
    if (Math.abs(a[i] - b[i]) > tolerance * (1 + Math.abs(b[i]))) {
      throw new Error(`${what}: expected the same results, got ${a[i]} and ${b[i]} at ${i}`);
    }
  }
}

function contiguousRows(): Duel {
  const [n, d] = [2048, 128];
  const { ptr, floats, kernels } = lay({ query: 4 * d, rows: 4 * n * d, out: 4 * n });
  floats('query').set(draw(d));
  floats('rows').set(draw(n * d));
  const [query, rows, out, other] = [floats('query'), floats('rows'), floats('out'), new Float32Array(n)];
  return {
    what: 'squared L2, 2,048 x 128',
    work: n / 1e6,
    unit: 'Mrow/s',
    goal: 8,
    wasm: () => kernels.squaredL2(ptr.query, ptr.rows, n, d, ptr.out),
    javascript: () => squaredL2(query, rows, n, other),
    compare: () => agree('squared L2', out, other, 1e-5),
    cost: { flops: 3 * n * d, bytes: 4 * n * (d + 1) },
  };
}

function gatheredRows(): Duel {
  const [n, d, some] = [1_000_000, 128, 2048];
  const bytes = { query: 4 * d, rows: 4 * n * d, ids: 4 * n, out: 4 * some };
  const { ptr, floats, words, kernels } = lay(bytes);
  floats('query').set(draw(d));
  const rows = floats('rows');
  // What the rows hold does not matter, only that their pages are there: one drawn block, doubled until they are full.
  let filled = 2048 * d;
  rows.set(draw(filled));
  for (; filled < rows.length; filled *= 2)
    rows.copyWithin(filled, 0, Math.min(filled, rows.length - filled));
  const ids = words('ids');
  for (let i = 0; i < n; i++) ids[i] = random.integer(n);
  const [query, out, other] = [floats('query'), floats('out'), new Float32Array(some)];
  const lists = Math.floor(n / some);
  // Each runner goes through all lists on its own, so that no row is still in the cache when its turn comes.
  let [a, b] = [-1, -1];
  return {
    what: 'gathered rows, 2,048 of 1M x 128',
    work: some / 1e6,
    unit: 'Mrow/s',
    goal: 3.5,
    wasm: () => {
      a = (a + 1) % lists;
      kernels.squaredL2Gathered(ptr.query, ptr.rows, ptr.ids + 4 * a * some, some, d, ptr.out);
    },
    javascript: () => {
      b = (b + 1) % lists;
      squaredL2Gathered(query, rows, ids.subarray(b * some, b * some + some), some, other);
    },
    compare: () => agree('gathered rows', out, other, 1e-5),
    cost: { flops: 3 * some * d, bytes: 4 * some * (d + 2), set: 4 * n * d },
  };
}

/** `n` rows hashed `times` times in a run: 24 tables of 9 hyperplanes. */
function hashing(n: number, times: number): Duel {
  const [d, tables, bits] = [128, 24, 9];
  const planes = tables * bits;
  const { ptr, floats, words, kernels } = lay({
    rows: 4 * n * d,
    planes: 4 * planes * d,
    packed: 4 * planes * d,
    signs: (planes / 8) * n + 8,
    keys: 4 * tables * n,
  });
  floats('rows').set(draw(n * d));
  floats('planes').set(draw(planes * d));
  kernels.packPlanes(ptr.planes, planes, d, d, ptr.packed);
  const [rows, hyperplanes, keys] = [floats('rows'), floats('planes'), words('keys')];
  const vectors = Array.from({ length: n }, (_, r) => rows.subarray(r * d, r * d + d));
  const others = Array.from({ length: n }, () => new Uint32Array(tables));
  return {
    what: `hashing, 216 planes x 128, ${n === 1 ? 'one row' : `${n} rows`}`,
    work: (n * times) / 1e3,
    unit: 'krow/s',
    goal: 10,
    wasm: () => {
      for (let i = 0; i < times; i++) {
        kernels.signBits(ptr.rows, n, d, d, ptr.packed, planes, ptr.signs);
        kernels.keys(ptr.signs, n, planes / 8, tables, bits, n, ptr.keys);
      }
    },
    javascript: () => {
      for (let i = 0; i < times; i++) {
        for (let r = 0; r < n; r++) hash(vectors[r], hyperplanes, tables, bits, others[r]);
      }
    },
    compare: () => {
      for (let t = 0; t < tables; t++) {
        agree(
          'hashing',
          keys.subarray(t * n, t * n + n),
          others.map((other) => other[t]),
        );
      }
    },
    cost: {
      flops: 2 * planes * d * n * times,
      bytes: (4 * (planes + n) * d + n * (planes / 8 + 4 * tables)) * times,
      set: 4 * (planes + n) * d,
    },
  };
}

function rotation(d: number, goal?: number): Duel {
  const n = 256;
  const width = 2 ** Math.floor(Math.log2(d));
  // As many as the engine takes: windows that do not cover all coordinates need twice the rounds to mix.
  const rounds = width === d ? 3 : 6;
  const { ptr, floats, kernels } = lay({
    rows: 4 * n * d,
    mean: 4 * d,
    signs: 4 * rounds * d,
    out: 4 * n * d,
  });
  const [rows, signs, out] = [floats('rows'), floats('signs'), floats('out')];
  rows.set(draw(n * d));
  for (let i = 0; i < rounds * d; i++) {
    const first = Math.floor(i / d) % 2 ? d - width : 0;
    const inside = i % d >= first && i % d < first + width;
    signs[i] = (random.nextUint32() & 1 ? 1 : -1) * (inside ? width ** -0.5 : 1);
  }
  const vectors = Array.from({ length: n }, (_, r) => rows.subarray(r * d, r * d + d));
  const other = new Float32Array(n * d);
  const others = Array.from({ length: n }, (_, r) => other.subarray(r * d, r * d + d));
  return {
    what: `rotation at ${d}`,
    work: n / 1e3,
    unit: 'krow/s',
    goal,
    wasm: () => kernels.rotate(ptr.rows, n, d, ptr.mean, ptr.signs, rounds, d, ptr.out),
    javascript: () => {
      for (let r = 0; r < n; r++) rotate(vectors[r], signs, rounds, others[r]);
    },
    compare: () => agree('rotation', out, other, 1e-4),
    // the mean is taken off, and of each round the signs are products, the steps of the transform sums
    cost: { flops: n * (d + rounds * (d + width * Math.log2(width))), bytes: 4 * n * 2 * d },
  };
}

function hammingScan(): Duel {
  const n = 16_384;
  const { ptr, floats, words, kernels } = lay({ query: 16, codes: 16 * n, out: 4 * n });
  for (const name of ['query', 'codes'] as const) {
    const bits = words(name);
    for (let i = 0; i < bits.length; i++) bits[i] = random.nextUint32();
  }
  const [query, codes, out, other] = [words('query'), words('codes'), floats('out'), new Uint32Array(n)];
  return {
    what: '128-bit Hamming, 16,384 codes',
    work: n / 1e6,
    unit: 'Mcode/s',
    goal: 10,
    wasm: () => kernels.hamming(ptr.query, ptr.codes, n, 2, ptr.out),
    javascript: () => hamming128(query, codes, n, other),
    compare: () => agree('Hamming', out, other),
    cost: { bytes: 20 * n },
  };
}

function exactBatch(): Duel {
  const [n, nq, few, d, k] = [10_000, 256, 8, 128, 10];
  const rows = draw(n * d);
  const queries = draw(nq * d);
  const vectors = Array.from({ length: few }, (_, q) => queries.subarray(q * d, q * d + d));
  const exact = new JavaScriptExact(rows, d);
  const nearest = vectors.map(() => new Nearest(k));
  const flops = (2 * n * d) / 1e9;
  const peak = preparePeak(500_000);
  let ids: Uint32Array = new Uint32Array(0);
  return {
    what: 'exactSearchBatch, 256 in 10,000 x 128',
    work: nq * flops,
    unit: 'GFLOP/s',
    wasm: () => {
      ids = exactSearchBatch(rows, queries, { dimensions: d, k }).ids;
    },
    javascript: () => {
      for (let q = 0; q < few; q++) exact.search(vectors[q], nearest[q]);
    },
    javascriptWork: few * flops,
    compare: () => {
      for (let q = 0; q < few; q++) agree('exact search', nearest[q].ids, ids.subarray(q * k, q * k + k));
    },
    limit: { run: peak.run, work: peak.operations / 1e9, goal: 0.7 },
    cost: { flops: nq * flops * 1e9, bytes: 4 * d * (n + nq) },
  };
}

/** Notebook 001: 10,000 x 128 rows, 24 tables of 9 hyperplanes; its query is the first of those asked. */
function notebook(): Duel[] {
  const [n, d, tables, bits, k, nq] = [10_000, 128, 24, 9, 5, 32];
  const drawn = new RandomGenerator(0);
  const take = (count: number): Float32Array => {
    const out = new Float32Array(count);
    drawn.normals(out);
    return out;
  };
  const rows = take(n * d);
  const first = take(d);
  take(bits * d); // the hyperplanes of the notebook's demonstration
  const hyperplanes = take(tables * bits * d);
  const queries = [first, ...Array.from({ length: nq - 1 }, () => take(d))];
  const split = (flat: Float32Array, length: number): Float32Array[] =>
    Array.from({ length: flat.length / length }, (_, i) => flat.slice(i * length, (i + 1) * length));

  const lsh = new HyperplaneLsh({ dimensions: d, tables, bits, hyperplanes });
  lsh.add(rows);
  const data = split(rows, d);
  const built = buildNotebook(
    data,
    split(hyperplanes, bits * d).map((set) => split(set, d)),
  );
  const flat = new JavaScriptLsh(rows, d, hyperplanes, tables, bits);
  const nearest = queries.map(() => new Nearest(k));
  const found: Uint32Array[] = [];
  const written: number[][] = [];
  const base = {
    work: nq / 1e3,
    unit: 'kquery/s',
    wasm: () => {
      for (let q = 0; q < nq; q++) found[q] = lsh.search(queries[q], { k }).ids;
    },
  };
  return [
    {
      ...base,
      what: 'notebook 001, search, as written',
      goal: 20,
      javascript: () => {
        for (let q = 0; q < nq; q++) {
          written[q] = searchNotebook(queries[q], data, built, k).map((neighbor) => neighbor.id);
        }
      },
      compare: () => {
        for (let q = 0; q < nq; q++) agree('notebook 001', found[q], written[q]);
      },
    },
    {
      ...base,
      what: 'notebook 001, search, flat arrays',
      javascript: () => {
        for (let q = 0; q < nq; q++) flat.search(queries[q], nearest[q]);
      },
      compare: () => {
        for (let q = 0; q < nq; q++) agree('notebook 001', found[q], nearest[q].ids);
      },
    },
  ];
}

// ---- the clock

function measure(duel: Duel): Result {
  const { cost } = duel;
  const peak = cost?.flops === undefined ? undefined : preparePeak(200_000);
  const reading = cost && prepareReading(cost.set ?? cost.bytes);
  const runners = [
    { run: duel.wasm, work: duel.work },
    { run: duel.javascript, work: duel.javascriptWork ?? duel.work },
    ...(duel.limit ? [duel.limit] : []),
    ...(peak ? [{ run: peak.run, work: peak.operations / 1e9 }] : []),
    ...(reading ? [{ run: reading.run, work: reading.bytes / 1e9 }] : []),
  ].map((runner, i) => ({ ...runner, name: `${i}`, rates: [] as number[] }));
  for (const { run } of runners) run();
  duel.compare();
  for (let round = 0; round < ROUNDS; round++) {
    const warmup = round === 0;
    const bench = new Bench({
      time: ROUND_MS,
      iterations: 3,
      warmup,
      warmupTime: WARMUP_MS,
      now: cpuMs,
      throws: true,
    });
    for (const { name, run } of round % 2 ? [...runners].reverse() : runners) {
      // no result leaves the function: tinybench would look for a promise in it
      bench.add(name, () => {
        run();
      });
    }
    bench.runSync();
    for (const { name, work, rates } of runners) {
      const result = bench.getTask(name)?.result;
      if (result === undefined || !('latency' in result)) {
        throw new Error(`${duel.what}: expected a finished round, got ${result?.state}`);
      }
      rates.push(work / (result.latency.p50 / 1000));
    }
  }
  const [wasm, javascript, ...rates] = runners.map((runner) => runner.rates);
  const limit = duel.limit && rates.shift();
  const [flopRates, byteRates] = [peak && rates.shift(), reading && rates.shift()];
  /** Of what the machine can do in billions a second, where a run of `wasm` takes `need`. */
  const shareOf = (need: number, most: number[]): number => (ratioTo(most) * need) / duel.work / 1e9;
  const ratioTo = (others: number[]): number => median(wasm.map((rate, round) => rate / others[round]));
  const bestRatioTo = (others: number[]): number => Math.max(...wasm) / Math.max(...others);
  return {
    what: duel.what,
    unit: duel.unit,
    wasm: median(wasm),
    javascript: median(javascript),
    ratio: ratioTo(javascript),
    bestRatio: bestRatioTo(javascript),
    goal: duel.goal,
    limit: duel.limit &&
      limit && {
        rate: median(limit),
        share: ratioTo(limit),
        bestShare: bestRatioTo(limit),
        goal: duel.limit.goal,
      },
    arithmetic: flopRates && {
      gigaflops: median(flopRates),
      share: shareOf(cost?.flops as number, flopRates),
    },
    memory: byteRates && {
      bytes: reading?.set ?? 0,
      gigabytes: median(byteRates),
      share: shareOf(cost?.bytes as number, byteRates),
    },
  };
}

function rowsOf(result: Result): string[][] {
  const { what, unit, wasm, javascript, ratio, bestRatio, goal, limit, arithmetic, memory } = result;
  const verdict = (reached: boolean): string => (reached ? '' : 'missed');
  const rows = [
    [
      what,
      unit,
      figure(wasm),
      figure(javascript),
      `${ratio.toFixed(1)}x`,
      `${bestRatio.toFixed(1)}x`,
      goal === undefined ? '' : `${goal}x`,
      goal === undefined ? '' : verdict(Math.min(ratio, bestRatio) >= goal),
    ],
  ];
  const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
  const share = (text: string, part: number): string[] => [text, '', '', '', percent(part), '', '', ''];
  if (arithmetic) {
    rows.push(share(`  of ${figure(arithmetic.gigaflops)} GFLOP/s in registers`, arithmetic.share));
  }
  if (memory) {
    rows.push(share(`  of ${figure(memory.gigabytes)} GB/s read from ${size(memory.bytes)}`, memory.share));
  }
  if (limit) {
    rows.push([
      '  of the 128-bit multiply-add peak',
      unit,
      figure(wasm),
      `peak ${figure(limit.rate)}`,
      percent(limit.share),
      percent(limit.bestShare),
      percent(limit.goal),
      verdict(Math.min(limit.share, limit.bestShare) >= limit.goal),
    ]);
  }
  return rows;
}

/** Bytes in the next smaller unit that has at most three digits before the point. */
export function size(bytes: number): string {
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

function main(argv: string[]): void {
  const { values } = parseArgs({ args: argv, options: { json: { type: 'string' } } });
  const about = provenance();
  console.log(`${about.machine}, Node ${about.node}, commit ${about.commit}, ${about.date}`);
  console.log(`${ROUNDS} alternating rounds, median of CPU time\n`);
  const makers: (() => Duel | Duel[])[] = [
    contiguousRows,
    gatheredRows,
    () => hashing(512, 1),
    () => hashing(1, 64),
    () => rotation(128, 18),
    () => rotation(784),
    hammingScan,
    exactBatch,
    notebook,
  ];
  const results = makers.flatMap((make) => [make()].flat().map(measure));
  const head = ['what', 'unit', 'WASM', 'JavaScript', 'ratio', 'of bests', 'goal', ''];
  console.log(table([head, ...results.flatMap(rowsOf)]));
  const measured = measureEngineKernels();
  console.log(`\n${engineTable(measured)}`);
  if (values.json !== undefined) writeJson(values.json, { ...about, rounds: ROUNDS, results, ...measured });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main(process.argv.slice(2));
