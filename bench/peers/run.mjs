/**
 * Measures other packages on the benchmark data: node --expose-gc run.mjs PEER[,PEER...] SET[,SET...]
 *
 * Prints one line of JSON for each pair. PEER is a file of adapters/, SET a name that bench/data.ts has prepared. A peer
 * that cannot do it gives a line with `error`. Each pair runs in a process of its own, on one thread; queries per second
 * are counted by the CPU time of that process, so that other work on the machine hardly matters.
 *
 * Built indexes and what building them cost are kept in bench/.data/cache/; `--rebuild` measures them again.
 *
 * An adapter is an object of
 *
 *     package, kind                 its name on npm; 'js', 'wasm' or 'native'
 *     parameter?, values?           the knob between speed and recall, and the points of the curve
 *     setup?(d)                     what happens before the clock of the build starts
 *     build(base, n, d, metric)     indexes n rows of a flat Float32Array
 *     set?(value)                   turns the knob
 *     prepareQuery?(query)          gives a Float32Array the form that `search` takes, outside the clock
 *     search(query, k)              the ids of the neighbors
 *     memoryBytes?()                bytes of its WebAssembly memory
 *     save?(file), load?(file, n, d)   both or none
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { fileURLToPath } from 'node:url';

const DATA = new URL('../.data/', import.meta.url);
const CACHE = new URL('cache/', DATA);
const K = 10;
const TRUTH = 100;
const SECONDS_PER_POINT = 1.5;
const MIN_PASSES = 3;

function readData(name) {
  const bytes = (suffix) => new Uint8Array(readFileSync(new URL(`${name}.${suffix}`, DATA))).buffer;
  return {
    ...JSON.parse(readFileSync(new URL(`${name}.json`, DATA), 'utf8')),
    base: new Float32Array(bytes('base.f32')),
    queries: new Float32Array(bytes('query.f32')),
    truth: new Int32Array(bytes('truth.i32')),
  };
}

/** Runs `work` and gives its wall and CPU seconds. */
async function clock(work) {
  const cpu = process.cpuUsage();
  const start = performance.now();
  await work();
  const wall = (performance.now() - start) / 1e3;
  const { user, system } = process.cpuUsage(cpu);
  return { wall, cpu: (user + system) / 1e6 };
}

function residentBytes() {
  globalThis.gc?.();
  globalThis.gc?.();
  return process.memoryUsage.rss();
}

const round = (value, digits = 4) => Number(value.toPrecision(digits));

/** Builds the index, or takes it and its figures from the cache. */
async function prepareIndex(peer, adapter, data, rebuild) {
  const { base, n, d, metric, name } = data;
  const file = fileURLToPath(new URL(`${peer}.${name}.index`, CACHE));
  const about = new URL(`${peer}.${name}.json`, CACHE);
  const rowsHash = createHash('sha256').update(base).digest('hex').slice(0, 16);
  if (adapter.load && !rebuild && existsSync(about)) {
    const built = JSON.parse(readFileSync(about, 'utf8'));
    if (built.rowsHash === rowsHash) {
      await adapter.load(file, n, d);
      return { ...built, cached: true };
    }
  }
  await adapter.setup?.(d);
  const before = residentBytes();
  const { wall, cpu } = await clock(() => adapter.build(base, n, d, metric));
  const built = {
    seconds: round(cpu),
    wallSeconds: round(wall),
    residentBytes: residentBytes() - before,
    wasmBytes: adapter.memoryBytes?.(),
    builtOn: `${os.cpus()[0].model}, Node ${process.version}`,
    builtAt: new Date().toISOString(),
    rowsHash,
  };
  if (adapter.save) {
    mkdirSync(CACHE, { recursive: true });
    adapter.save(file);
    built.savedBytes = statSync(file).size;
    writeFileSync(about, `${JSON.stringify(built)}\n`);
  }
  return { ...built, cached: false };
}

/** Whole passes over the queries: recall@10, and queries per second of the median pass. */
async function measurePoint(adapter, queries, truth) {
  const answers = new Array(queries.length);
  const pass = () => {
    for (let q = 0; q < queries.length; q++) answers[q] = adapter.search(queries[q], K);
  };
  for (let q = 0; q < Math.min(200, queries.length); q++) adapter.search(queries[q], K);
  const times = [];
  const end = performance.now() + SECONDS_PER_POINT * 1e3;
  while (times.length < MIN_PASSES || performance.now() < end) times.push(await clock(pass));
  let found = 0;
  for (let q = 0; q < queries.length; q++) {
    const nearest = new Set(truth.subarray(q * TRUTH, q * TRUTH + K));
    for (const id of answers[q]) if (nearest.has(Number(id))) found++;
  }
  // the median pass, because a busy neighbor on the machine slows some passes down, in CPU time as well
  const speed = (key) =>
    round(queries.length / times.map((time) => time[key]).sort((a, b) => a - b)[times.length >> 1]);
  return { recall: round(found / queries.length / K), qps: speed('cpu'), wallQps: speed('wall') };
}

/**
 * Queries per second at a recall: log-linear between the two points of the curve around it; the first point when that is
 * above it already; null when the curve does not reach it.
 */
function speedAt(curve, recall) {
  const at = curve.findIndex((point) => point.recall >= recall);
  if (at <= 0) return at < 0 ? null : curve[0].qps;
  const [low, high] = [curve[at - 1], curve[at]];
  const share = (recall - low.recall) / (high.recall - low.recall);
  return round(low.qps * (high.qps / low.qps) ** share);
}

async function measure(peer, set, rebuild) {
  const row = { peer, set, k: K };
  try {
    const { default: adapter } = await import(`./adapters/${peer}.mjs`);
    const manifest = new URL(`node_modules/${adapter.package}/package.json`, import.meta.url);
    const { version } = JSON.parse(readFileSync(manifest, 'utf8'));
    Object.assign(row, {
      package: adapter.package,
      version,
      kind: adapter.kind,
      parameter: adapter.parameter,
    });
    const data = readData(set);
    const { n, d, nq, metric, truth } = data;
    Object.assign(row, {
      n,
      d,
      nq,
      metric,
      node: process.version,
      cpu: os.cpus()[0].model,
      at: new Date().toISOString(),
    });
    row.build = await prepareIndex(peer, adapter, data, rebuild);
    data.base = null;
    const queries = Array.from({ length: nq }, (_, q) => {
      const query = data.queries.slice(q * d, q * d + d);
      return adapter.prepareQuery?.(query) ?? query;
    });
    row.curve = [];
    for (const value of adapter.values ?? [null]) {
      adapter.set?.(value);
      const point = await measurePoint(adapter, queries, truth);
      row.curve.push({ value, ...point });
      console.error(`${peer} ${set} ${value}: recall ${point.recall}, ${point.qps} queries/s`);
    }
    row.qpsAt = Object.fromEntries(
      ['0.90', '0.95', '0.99'].map((recall) => [recall, speedAt(row.curve, Number(recall))]),
    );
  } catch (error) {
    row.error = String(error?.message ?? error).split('\n')[0];
  }
  process.stdout.write(`${JSON.stringify(row)}\n`);
}

/** One process for each pair: a peer that crashes takes only its own row with it. */
function measureAll(peers, names, options) {
  const script = fileURLToPath(import.meta.url);
  for (const set of names) {
    for (const peer of peers) {
      const args = ['--expose-gc', '--max-old-space-size=8192', script, '--pair', peer, set, ...options];
      const child = spawnSync(process.execPath, args, {
        stdio: ['ignore', 'pipe', 'inherit'],
        encoding: 'utf8',
      });
      // a crash may leave a package's own prints in front, never a whole row
      const line = child.stdout.split('\n').findLast((text) => text.startsWith('{"peer"'));
      const reason = `the process ended with ${child.signal ?? `exit code ${child.status}`}`;
      console.log(line ?? JSON.stringify({ peer, set, k: K, error: reason }));
    }
  }
}

const options = process.argv.slice(2).filter((word) => word === '--rebuild');
const words = process.argv.slice(2).filter((word) => !word.startsWith('--'));
if (words.length !== 2) {
  console.error('usage: node run.mjs PEER[,PEER...] SET[,SET...] [--rebuild]');
  process.exitCode = 2;
} else if (process.argv[2] === '--pair') {
  await measure(words[0], words[1], options.length > 0);
} else {
  measureAll(words[0].split(','), words[1].split(','), options);
}
