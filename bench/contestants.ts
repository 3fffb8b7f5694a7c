/**
 * The contestants of search.ts. Each lives in a process of its own with its index, and answers one request at a time, so
 * that several can take turns on one machine while none shares a heap, a compiler or a garbage collector with another.
 *
 * `orthant` is reached through its public door only. The others are the adapters of peers/, with the indexes that
 * peers/run.mjs has built and what building them cost.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { exactSearch, VectorIndex } from 'orthant';
import { type DataSet, readDataSet } from './data.js';
import { cpuMs, threadCpuMs } from './record.js';

export const K = 10;
/** Each query's row of `DataSet.truth`. */
const TRUTH = 100;
const CACHE = new URL('./.data/cache/', import.meta.url);
/** Survey no further where a line of the grid has this recall. */
const ENOUGH = 0.996;
/** Seconds of a build up to which it is measured twice. */
export const SHORT_BUILD = 5;
/** Float operations of one pass of exact searches, about. */
const EXACT_WORK = 4e9;

/** One way of searching. */
export type Way =
  | { probes: number; epsilon: number; patience: number }
  | { recall: number; batch: boolean }
  | { exact: true }
  | { efSearch: number };

/** What a contestant tells when it is ready. */
export interface Ready {
  name: string;
  version: string;
  /** CPU seconds of training, building and tuning, of the thread that does it. */
  buildSeconds: number;
  /** The same of all threads of the process: V8 compiles on others. */
  buildSecondsOfAll?: number;
  /** The same once more, when the engine has compiled all that it runs; only of short builds. */
  warmBuildSeconds?: number;
  /** When and where the build was measured, if not now and here. */
  built?: string;
  /** Bytes of linear memory by part. */
  memory?: Record<string, number>;
  cells?: number;
}

/** One way, measured. */
export interface Passes {
  way: Way;
  recall: number;
  /** Queries per CPU second of each pass. */
  qps: number[];
}

/** What search.ts asks for: one pass of each way of the grid over some queries, or whole passes of one way. */
export type Request = { survey: number } | { way: Way; leastMs: number };

type Ids = ArrayLike<number>;

interface Contestant {
  ready: Ready;
  /** Lines of the grid: along each, recall and cost rise. */
  lines: Way[][];
  /** Something that answers the first `count` queries in this way. */
  prepare(way: Way): (count: number) => Ids[];
}

// ---- orthant

function orthant(data: DataSet): Contestant {
  const { base, queries, d, nq, n, metric } = data;
  const build = () => {
    const [start, startOfAll] = [threadCpuMs(), cpuMs()];
    const built = VectorIndex.from(base, { dimensions: d, metric });
    const seconds = (threadCpuMs() - start) / 1000;
    return { built, seconds, secondsOfAll: (cpuMs() - startOfAll) / 1000 };
  };
  const { built: index, seconds: buildSeconds, secondsOfAll: buildSecondsOfAll } = build();
  let warmBuildSeconds: number | undefined;
  if (buildSeconds < SHORT_BUILD) {
    const again = build();
    again.built.dispose();
    warmBuildSeconds = again.seconds;
  }
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  const vectors = Array.from({ length: nq }, (_, q) => queries.slice(q * d, q * d + d));
  const each = (search: (query: Float32Array) => Ids) => {
    const answers: Ids[] = [];
    return (count: number): Ids[] => {
      for (let q = 0; q < count; q++) answers[q] = search(vectors[q]);
      return answers.slice(0, count);
    };
  };
  return {
    ready: {
      name: 'orthant',
      version,
      buildSeconds,
      buildSecondsOfAll,
      warmBuildSeconds,
      memory: index.memoryUsage(),
      cells: index.cells,
    },
    lines: grid(index.cells),
    prepare(way) {
      if ('exact' in way) {
        const some = Math.min(nq, Math.max(4, Math.ceil(EXACT_WORK / (2 * n * d))));
        const answer = each((query) => exactSearch(base, query, { k: K, metric }).ids);
        return (count) => answer(Math.min(count, some));
      }
      if ('efSearch' in way) throw new TypeError('way: expected one of orthant, got efSearch');
      // one object for all queries, as a program would have it
      const options = 'batch' in way ? { k: K, recall: way.recall } : { k: K, ...way };
      if (!('batch' in way && way.batch)) return each((query) => index.search(query, options).ids);
      return (count) => {
        const { ids } = index.searchBatch(queries.subarray(0, count * d), options);
        return Array.from({ length: count }, (_, q) => ids.subarray(q * K, q * K + K));
      };
    },
  };
}

/** For every epsilon and patience a line of rising probes; where there are few cells, epsilon is all there is. */
function grid(cells: number): Way[][] {
  const ladder: number[] = [];
  for (let probes = 1; probes < cells; probes = Math.max(probes + 1, Math.round(probes * 1.35))) {
    ladder.push(probes);
  }
  ladder.push(cells);
  const epsilons =
    cells < 8 ? Array.from({ length: 24 }, (_, i) => 1 + i / 8) : [1, 1.3, 1.6, 1.9, 2.2, 2.6, 3, 3.5];
  const patiences = [0, 6, 12, 24, 48, 96, 192, 384].filter(
    (patience) => patience === 0 || patience < cells / 2,
  );
  return epsilons.flatMap((epsilon) =>
    patiences.map((patience) =>
      ladder
        // below a few times the patience it cannot pay
        .filter((probes) => probes === cells || probes > 1.5 * patience)
        .map((probes) => ({ probes, epsilon, patience })),
    ),
  );
}

// ---- the others

interface Adapter {
  package: string;
  values: number[];
  set(value: number): void;
  prepareQuery?(query: Float32Array): unknown;
  search(query: unknown, k: number): Ids;
  load(file: string, n: number, d: number): unknown;
}

/** The goals speak of efSearch up to here; beyond, a search of this graph costs as much as looking at every code. */
const LARGEST_EF = 400;

/** Whether peers/run.mjs has built this peer's index of these rows. */
export function isCached(peer: string, name: string): boolean {
  try {
    return cacheEntry(peer, name) !== undefined;
  } catch {
    return false;
  }
}

function cacheEntry(peer: string, name: string) {
  return JSON.parse(readFileSync(new URL(`${peer}.${name}.json`, CACHE), 'utf8'));
}

async function other(peer: string, data: DataSet): Promise<Contestant> {
  const { base, queries, n, d, nq, name } = data;
  const built = cacheEntry(peer, name);
  const rowsHash = createHash('sha256').update(base).digest('hex').slice(0, 16);
  if (built.rowsHash !== rowsHash) {
    throw new Error(`${peer}: expected an index of rows ${rowsHash}, got one of ${built.rowsHash}`);
  }
  const { default: adapter } = (await import(`./peers/adapters/${peer}.mjs`)) as { default: Adapter };
  const manifest = new URL(`./peers/node_modules/${adapter.package}/package.json`, import.meta.url);
  const { version } = JSON.parse(readFileSync(manifest, 'utf8'));
  await adapter.load(fileURLToPath(new URL(`${peer}.${name}.index`, CACHE)), n, d);
  const prepared = Array.from({ length: nq }, (_, q) => {
    const query = queries.slice(q * d, q * d + d);
    return adapter.prepareQuery?.(query) ?? query;
  });
  const answers: Ids[] = [];
  return {
    ready: {
      name: peer,
      version,
      buildSeconds: built.seconds,
      built: `${built.builtOn}, ${built.builtAt}`,
    },
    lines: [adapter.values.filter((value) => value <= LARGEST_EF).map((efSearch) => ({ efSearch }))],
    prepare(way) {
      if (!('efSearch' in way)) throw new TypeError(`way: expected efSearch, got ${Object.keys(way)}`);
      return (count) => {
        adapter.set(way.efSearch);
        for (let q = 0; q < count; q++) answers[q] = adapter.search(prepared[q], K);
        return answers.slice(0, count);
      };
    },
  };
}

// ---- answering

function measure(contestant: Contestant, data: DataSet, way: Way, count: number, leastMs: number): Passes {
  const answer = contestant.prepare(way);
  const qps: number[] = [];
  let answers: Ids[] = [];
  let spent = 0;
  do {
    const start = cpuMs();
    answers = answer(count);
    const ms = cpuMs() - start;
    qps.push((1000 * answers.length) / ms);
    spent += ms;
  } while (spent < leastMs);
  let found = 0;
  answers.forEach((ids, q) => {
    const nearest = new Set(data.truth.subarray(q * TRUTH, q * TRUTH + K));
    for (let i = 0; i < ids.length; i++) if (nearest.has(ids[i])) found++;
  });
  return { way, recall: found / answers.length / K, qps };
}

/** One pass of each way; a line ends where more of its kind brings no more recall. */
function survey(contestant: Contestant, data: DataSet, count: number): Passes[] {
  const points: Passes[] = [];
  for (const line of contestant.lines) {
    let best = 0;
    let vain = 0;
    for (const way of line) {
      const point = measure(contestant, data, way, count, 0);
      points.push(point);
      vain = point.recall > best + 2e-4 ? 0 : vain + 1;
      best = Math.max(best, point.recall);
      if (best >= ENOUGH || vain >= 3) break;
    }
  }
  return points;
}

async function serve(name: string, set: string): Promise<void> {
  const data = readDataSet(set);
  const contestant = name === 'orthant' ? orthant(data) : await other(name, data);
  process.on('message', (request: Request) => {
    if ('survey' in request) {
      const some = Math.min(request.survey, data.nq);
      // compiles what the survey runs, so that its first points are not the slowest
      for (const way of contestant.lines.flat().slice(0, 3)) measure(contestant, data, way, some, 100);
      process.send?.(survey(contestant, data, some));
    } else {
      process.send?.(measure(contestant, data, request.way, data.nq, request.leastMs));
    }
  });
  process.send?.(contestant.ready);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await serve(process.argv[2], process.argv[3]);
