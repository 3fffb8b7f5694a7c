/**
 * Does an index go wrong or leak in the long run?
 *
 *     npm run soak                                    leaks: 10,000 indexes of every class made, filled, searched and disposed
 *                                                     of, and a long time of adding and removing
 *     npm run soak -- --minutes 60 [--seed N]         an hour of random calls on indexes beside a plain Map (living.ts), and
 *                                                     then the same
 *
 * Prints what the process holds; fails where an answer is not the model's, with the seed that shows it again, and where the
 * process grows beyond what is stated here. The same seed gives the same calls in the same order.
 *
 *     node --expose-gc --import tsx test/soak.ts [cycles] [rounds] [--minutes M] [--seed N]
 */
import { parseArgs } from 'node:util';
import { BitSamplingLsh, HyperplaneLsh, MinHashLsh, VectorIndex } from '../src/index.js';
import { normals } from './data.js';
import { run } from './living.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { minutes: { type: 'string', default: '0' }, seed: { type: 'string' } },
});
const [cycles = 10_000, rounds = 2_000] = positionals.map(Number);
const minutes = Number(values.minutes);
const firstSeed = Number(values.seed ?? Date.now() % 2 ** 30);
if (!(minutes >= 0) || !Number.isSafeInteger(firstSeed)) {
  throw new RangeError(`--minutes, --seed: expected numbers, got ${values.minutes} and ${values.seed}`);
}
/** Steps of the sequences: many short lives, in which little hides the cause, and some long ones. */
const LIVES = [undefined, undefined, undefined, 300];
const MIB = 2 ** 20;
/** What the process may hold more at the end than after a tenth of the cycles. */
const ALLOWED = 64 * MIB;

const collect = (globalThis as { gc?: () => void }).gc ?? (() => {});

/** Bytes of the process, after what can be given up has been. */
async function held(): Promise<number> {
  for (let i = 0; i < 4; i++) {
    collect();
    await new Promise((done) => void setTimeout(done, 10));
  }
  return process.memoryUsage().rss;
}

const dimensions = 16;
const vectors = normals(200 * dimensions, 1);
const query = vectors.subarray(0, dimensions);
const codes = new Uint8Array(vectors.buffer).slice(0, 1600);
const sets = Array.from({ length: 50 }, (_, i) => Uint32Array.of(i, i + 1, i + 2));
const makers: (() => { dispose(): void })[] = [
  () => {
    const index = new VectorIndex({ dimensions });
    index.add(vectors);
    index.search(query);
    return index;
  },
  () => {
    const index = new HyperplaneLsh({ dimensions, tables: 4, bits: 5 });
    index.add(vectors);
    index.search(query, { k: 3 });
    return index;
  },
  () => {
    const index = new BitSamplingLsh({ bits: 64, sampledBits: 8, tables: 4 });
    index.add(codes);
    index.search(codes.subarray(0, 8), { k: 3 });
    return index;
  },
  () => {
    const index = new MinHashLsh({ bands: 4, rows: 2 });
    index.add(sets);
    index.search(sets[0], { k: 3 });
    return index;
  },
];

async function expectNoLeak(): Promise<void> {
  let before = 0;
  for (let i = 0; i < cycles; i++) {
    makers[i % makers.length]().dispose();
    // Memory goes when the engine collects; a busy loop never lets it.
    if (i % 100 === 99) await new Promise((done) => void setTimeout(done, 0));
    if (i === Math.floor(cycles / 10)) before = await held();
  }
  const grown = (await held()) - before;
  console.log(`${cycles} cycles of making and disposing: ${(grown / MIB).toFixed(1)} MiB more`);
  if (grown > ALLOWED) throw new Error(`leak: expected at most ${ALLOWED} bytes more, got ${grown}`);
}

/**
 * 1,000 rows live at any time, 100 are replaced a round. Ids are never given out twice, so a `VectorIndex` keeps 4 bytes
 * for every id ever given out (`positions`), and nothing else grows.
 */
async function expectNoGrowth(): Promise<void> {
  const index = VectorIndex.from(normals(1000 * dimensions, 2), { dimensions, cells: 8 });
  const some = normals(100 * dimensions, 3);
  const sizes = (): Record<string, number> => {
    const { total, positions, ...parts } = index.memoryUsage();
    return parts;
  };
  let before: Record<string, number> = {};
  for (let round = 0; round < rounds; round++) {
    const first = index.add(some);
    index.remove(Uint32Array.from({ length: 100 }, (_, i) => first - 1000 + i));
    index.search(query);
    if (round % 10 === 9) index.compact();
    if (round === Math.floor(rounds / 10)) before = sizes();
  }
  index.compact();
  const after = sizes();
  const ids = 1000 + 100 * rounds;
  const { positions, total } = index.memoryUsage();
  console.log(`${rounds} rounds, ${ids} ids: ${total} bytes in all, ${(positions / ids).toFixed(2)} an id`);
  if (index.size !== 1000) throw new Error(`rows: expected 1000, got ${index.size}`);
  if (positions > 5.1 * ids)
    throw new Error(`positions: expected at most 5 bytes an id, got ${positions} bytes`);
  for (const [part, bytes] of Object.entries(after)) {
    const allowed = 1.6 * (before[part] ?? 0) + 4096;
    if (bytes > allowed) throw new Error(`${part}: expected at most ${allowed} bytes, got ${bytes}`);
  }
}

/** Random calls for as long as was asked for. */
async function expectNoDivergence(): Promise<void> {
  const started = performance.now();
  const end = started + 60_000 * minutes;
  let [seed, steps, before, told] = [firstSeed, 0, 0, started];
  const tell = (): void => {
    const spent = ((performance.now() - started) / 60_000).toFixed(1);
    console.log(`${spent} minutes: ${seed - firstSeed} lives, ${steps} steps, no divergence from the model`);
  };
  console.log(`random calls from seed ${firstSeed} for ${minutes} minutes`);
  for (; performance.now() < end; seed++) {
    const metric = (['euclidean', 'cosine', 'inner-product'] as const)[seed % 3];
    const life = LIVES[Math.floor(seed / 3) % LIVES.length];
    try {
      steps += run(seed, metric, life);
    } catch (cause) {
      const again = `run(${seed}, '${metric}', ${life}) of test/living.ts`;
      throw new Error(`${again}: ${(cause as Error).message}`, { cause });
    }
    await new Promise((done) => void setTimeout(done, 0));
    if (before === 0 && performance.now() > started + 6000 * minutes) before = await held();
    if (performance.now() > told + 60_000) {
      told = performance.now();
      tell();
    }
  }
  tell();
  const grown = (await held()) - before;
  console.log(`${(grown / MIB).toFixed(1)} MiB more than after a tenth of the time`);
  if (grown > ALLOWED) throw new Error(`leak: expected at most ${ALLOWED} bytes more, got ${grown}`);
}

if (minutes > 0) await expectNoDivergence();
await expectNoLeak();
await expectNoGrowth();
