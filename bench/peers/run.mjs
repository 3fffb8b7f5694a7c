/**
 * Measures one package on one of the sets of bench/data.ts: node --expose-gc run.mjs PEER SET [--rebuild] [--seconds N]
 *
 * PEER is a file of adapters/. Prints a line of JSON after the build and after each point of the curve, the last of which
 * has all; peers.ts runs this for every pair. Queries per second are counted by the CPU time of this process, so that other
 * work on the machine hardly matters; a point takes N seconds (1.5). The curve ends where nothing is left to find.
 *
 * Built indexes and what building them cost are kept in bench/.data/cache/; `--rebuild` measures them again.
 *
 * An adapter is an object of
 *
 *     package?, kind, note?         its name on npm; 'js', 'wasm' or 'native'; what a reader should know
 *     parameter?, values?           the knob between speed and recall, and the points of the curve
 *     setup?(d)                     what happens before the clock of the build starts
 *     build(base, n, d, metric)     indexes n rows of a flat Float32Array
 *     set?(value)                   turns the knob
 *     prepareQuery?(query)          gives a Float32Array the form that `search` takes, outside the clock
 *     search(query, k)              the neighbors: their ids, or what `ids` makes of it
 *     ids?(neighbors)               outside the clock
 *     memoryBytes?()                bytes of its WebAssembly memory
 *     save?(file), load?(file, n, d)   both or none
 *     own?                          this package: its manifest is not among the peers
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const DATA = new URL('../.data/', import.meta.url);
const CACHE = new URL('cache/', DATA);
const K = 10;
const TRUTH = 100;
const MIN_PASSES = 3;
/** A curve goes no further than this recall. */
const ENOUGH = 0.998;

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

/**
 * Passes over the queries: recall@10, and queries per second of the median pass. Where three passes would take several
 * times the seconds, only as many of the queries take part as make them fit.
 */
async function measurePoint(adapter, queries, truth, seconds) {
  const answers = [];
  const pass = (count) => {
    for (let q = 0; q < count; q++) answers[q] = adapter.search(queries[q], K);
  };
  const some = Math.min(20, queries.length);
  pass(some);
  const { wall } = await clock(() => pass(some));
  const count = Math.min(queries.length, Math.max(some, Math.ceil((some * seconds) / wall)));
  const times = [];
  const end = performance.now() + seconds * 1e3;
  while (times.length < MIN_PASSES || performance.now() < end) times.push(await clock(() => pass(count)));
  let found = 0;
  for (let q = 0; q < count; q++) {
    const nearest = new Set(truth.subarray(q * TRUTH, q * TRUTH + K));
    const ids = adapter.ids?.(answers[q]) ?? answers[q];
    for (const id of ids) if (nearest.has(Number(id))) found++;
  }
  // the median pass, because a busy neighbor on the machine slows some passes down, in CPU time as well
  const speed = (key) =>
    round(count / times.map((time) => time[key]).sort((a, b) => a - b)[times.length >> 1]);
  return { recall: round(found / count / K), qps: speed('cpu'), wallQps: speed('wall'), queries: count };
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

/** The version that is installed; of the adapters that are no package none. */
function versionOf(adapter) {
  if (adapter.package === undefined) return undefined;
  const folder = adapter.own ? '../../' : `node_modules/${adapter.package}/`;
  const manifest = new URL(`${folder}package.json`, import.meta.url);
  if (!existsSync(manifest)) throw new Error('not installed (npm run setup in bench/peers)');
  return JSON.parse(readFileSync(manifest, 'utf8')).version;
}

async function measure(peer, set, rebuild, seconds) {
  const row = { peer, set, k: K };
  const print = () => process.stdout.write(`${JSON.stringify(row)}\n`);
  try {
    const { default: adapter } = await import(`./adapters/${peer}.mjs`);
    Object.assign(row, {
      package: adapter.package,
      kind: adapter.kind,
      note: adapter.note,
      parameter: adapter.parameter,
      version: versionOf(adapter),
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
    row.curve = [];
    print();
    data.base = null;
    const queries = Array.from({ length: nq }, (_, q) => {
      const query = data.queries.slice(q * d, q * d + d);
      return adapter.prepareQuery?.(query) ?? query;
    });
    for (const value of adapter.values ?? [null]) {
      adapter.set?.(value);
      const point = await measurePoint(adapter, queries, truth, seconds);
      row.curve.push({ value, ...point });
      row.qpsAt = Object.fromEntries(
        ['0.90', '0.95', '0.99'].map((recall) => [recall, speedAt(row.curve, Number(recall))]),
      );
      print();
      if (point.recall >= ENOUGH) break;
    }
  } catch (error) {
    row.error = String(error?.message ?? error).split('\n')[0];
    print();
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rebuild: { type: 'boolean', default: false }, seconds: { type: 'string', default: '1.5' } },
});
if (positionals.length !== 2) {
  console.error('usage: node --expose-gc run.mjs PEER SET [--rebuild] [--seconds N]');
  process.exitCode = 2;
} else {
  await measure(positionals[0], positionals[1], values.rebuild, Number(values.seconds));
}
