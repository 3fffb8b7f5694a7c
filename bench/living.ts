/**
 * What a living index costs: npm run bench:living [-- words] [--recall 0.95] [--json file]
 *
 * Rows are removed at random, rows are added in batches beside a build of as many, and an index of which 30 % of the rows
 * were removed is searched beside a fresh one of the same rows. Both are tuned for the recall on queries that are none of
 * their rows, and their recall is measured on these. Times are CPU seconds of one thread.
 */
import { parseArgs } from 'node:util';
import { RandomGenerator, VectorIndex } from '../src/index.js';
import { prepareDataSets, readDataSet } from './data.js';
import { cpuMs, figure, type Provenance, provenance, runIfStarted, table, writeJson } from './record.js';

const K = 10;
const SETS = ['words', 'mnist', 'gaussian', 'million'];
/** Ids that are removed, and rows that are added, by one call. */
const BATCH = 1000;
const REMOVED_SHARE = 0.3;
const ADDED_SHARE = 0.2;
/** Rounds of searches of each index, in turn: the machine is not equally fast all the time. */
const ROUNDS = 5;
/** Queries that recall is measured on; an exact search for each, four times over, takes longest of all. */
const QUERIES = 300;

/** What one data set gave. */
export interface LivingResult extends Provenance {
  living: true;
  data: string;
  n: number;
  d: number;
  metric: string;
  k: number;
  target: number;
  /** Rows a second, in calls of 1,000 ids, the first call (which looks at all rows) included. */
  removedPerSecond: number;
  /** Rows a second of `build` without tuning, and of `add` in batches of 1,000 to an index that is built. */
  builtPerSecond: number;
  addedPerSecond: number;
  /** Queries a second and recall after the removals, and of a fresh index of the rows that are left. */
  worn: { queriesPerSecond: number; recall: number };
  fresh: { queriesPerSecond: number; recall: number };
  /** Those of the first over those of the second. */
  searchRatio: number;
  addRatio: number;
}

function measure(data: string, target: number): Omit<LivingResult, keyof Provenance> {
  const { base, queries: all, n, d, metric } = readDataSet(data);
  const queries = all.subarray(0, QUERIES * d);
  const random = new RandomGenerator(1);
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(random.uniform() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }

  // Adding to an index of most rows, beside the build of those.
  const first = n - Math.floor(n * ADDED_SHARE);
  const growing = new VectorIndex({ dimensions: d, metric });
  growing.add(base.subarray(0, first * d));
  const begun = cpuMs();
  growing.build({ tune: false });
  const built = cpuMs();
  for (let row = first; row < n; row += BATCH)
    growing.add(base.subarray(row * d, Math.min(n, row + BATCH) * d));
  const added = cpuMs();
  growing.dispose();

  const worn = VectorIndex.from(base, { dimensions: d, metric });
  const gone = order.subarray(0, Math.floor(n * REMOVED_SHARE));
  const start = cpuMs();
  for (let i = 0; i < gone.length; i += BATCH) worn.remove(gone.subarray(i, i + BATCH));
  const removed = cpuMs();

  const isGone = new Uint8Array(n);
  for (const id of gone) isGone[id] = 1;
  const kept = order.filter((id) => isGone[id] === 0).sort();
  const left = new Float32Array(kept.length * d);
  kept.forEach((id, i) => {
    left.set(base.subarray(id * d, (id + 1) * d), i * d);
  });
  const fresh = VectorIndex.from(left, { dimensions: d, metric });
  const indexes = [worn, fresh];
  const ways = indexes.map((index) => index.tune({ queries, recall: target, k: K }).settings);
  const rates = indexes.map((): number[] => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, index] of indexes.entries()) {
      const before = cpuMs();
      index.searchBatch(queries, { k: K, recall: target });
      rates[i].push((queries.length / d / (cpuMs() - before)) * 1000);
    }
  }
  const [old, young] = indexes.map((index, i) => ({
    queriesPerSecond: rates[i].sort((a, b) => a - b)[Math.floor(ROUNDS / 2)],
    recall: index.evaluate(queries, { k: K, recall: target }).recall,
    settings: ways[i],
  }));
  for (const index of indexes) index.dispose();
  const builtPerSecond = (first / (built - begun)) * 1000;
  const addedPerSecond = ((n - first) / (added - built)) * 1000;
  return {
    living: true,
    data,
    n,
    d,
    metric,
    k: K,
    target,
    removedPerSecond: (gone.length / (removed - start)) * 1000,
    builtPerSecond,
    addedPerSecond,
    worn: old,
    fresh: young,
    searchRatio: old.queriesPerSecond / young.queriesPerSecond,
    addRatio: addedPerSecond / builtPerSecond,
  };
}

function main(argv: string[]): void {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: { recall: { type: 'string', default: '0.95' }, json: { type: 'string' } },
  });
  const sets = prepareDataSets('data set', positionals.length > 0 ? positionals : ['words'], SETS);
  const target = Number(values.recall);
  if (!(target > 0 && target < 1))
    throw new RangeError(`--recall: expected a number between 0 and 1, got ${values.recall}`);
  const about = provenance();
  console.log(`${about.machine}, Node ${about.node}, commit ${about.commit}, ${about.date}`);
  console.log('CPU seconds of one thread\n');
  const results: LivingResult[] = [];
  for (const set of sets) {
    const result = { ...about, ...measure(set, target) };
    results.push(result);
    console.log(
      table([
        [`${set}, ${figure(result.n)} × ${result.d}`, 'a second', 'recall'],
        ['rows removed, at random', figure(result.removedPerSecond), ''],
        ['rows built', figure(result.builtPerSecond), ''],
        [`rows added, ${figure(BATCH)} at a time`, figure(result.addedPerSecond), ''],
        ['of built', figure(result.addRatio), ''],
        [
          'queries after 30 % were removed',
          figure(result.worn.queriesPerSecond),
          result.worn.recall.toFixed(4),
        ],
        ['queries of a fresh index', figure(result.fresh.queriesPerSecond), result.fresh.recall.toFixed(4)],
        ['of fresh', figure(result.searchRatio), ''],
      ]),
    );
    console.log();
    if (values.json !== undefined) writeJson(values.json, results);
  }
}

await runIfStarted(import.meta.url, main);
