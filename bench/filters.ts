/**
 * Recall and queries per second of searches with a filter, through the public API:
 *
 *     npm run bench:filters [-- words mnist gaussian] [--queries 100] [--recall 0.95] [--json FILE]
 *
 * A share of the rows passes: drawn at random; or the nearest to the query (`with`: its own region passes); or the farthest
 * from it (`against`: the rows that an unfiltered search would find are all excluded). Recall is recall@10 against the exact
 * answer over the passing rows. Speed is queries per second of CPU time, of searches one by one with an IdSet: `once` with a set that
 * the index sees for the first time, as every one here but the random ones is, `again` with the one of the search before.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { IdSet, type Metric, VectorIndex } from '../src/index.js';
import { cpuMs, figure, type Provenance, provenance, table, writeJson } from './record.js';

const K = 10;
const SHARES = [1, 0.5, 0.05, 0.005, 0.0002];
const WAYS = ['random', 'with', 'against'] as const;

/** What one data set gave. */
export interface FilterResult extends Provenance {
  data: string;
  n: number;
  d: number;
  metric: string;
  k: number;
  target: number;
  queries: number;
  /** Milliseconds of the first search with a filter, which measures how far out neighbors lie. */
  firstMs: number;
  filters: FilterRow[];
}

interface FilterRow {
  share: number;
  way: string;
  recall: number;
  least: number;
  qps: number;
  exactQps: number;
  /** Share of the queries that compared all passing rows instead of visiting cells. */
  byRows: number;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    queries: { type: 'string', default: '100' },
    recall: { type: 'string', default: '0.95' },
    json: { type: 'string' },
  },
});
const queryCount = Number(values.queries);
const recall = Number(values.recall);
const results: FilterResult[] = [];
for (const set of positionals.length ? positionals : ['words']) {
  results.push({ ...provenance(), ...run(set) });
  if (values.json !== undefined) writeJson(values.json, results);
}

function floats(file: string): Float32Array {
  const bytes = readFileSync(new URL(`.data/${file}`, import.meta.url));
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

/** The ids of the rows by distance from each query, nearest first: the truth for any filter. */
function orders(base: Float32Array, queries: Float32Array[], metric: Metric, d: number): Uint32Array[] {
  const n = base.length / d;
  return queries.map((query) => {
    const distances = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      let dot = 0;
      let squares = 0;
      let norm = 0;
      for (let j = 0; j < d; j++) {
        const x = base[i * d + j];
        dot += x * query[j];
        norm += x * x;
        squares += (x - query[j]) * (x - query[j]);
      }
      distances[i] = metric === 'euclidean' ? squares : metric === 'cosine' ? -dot / Math.sqrt(norm) : -dot;
    }
    return Uint32Array.from({ length: n }, (_, i) => i).sort((a, b) => distances[a] - distances[b] || a - b);
  });
}

function run(data: string): Omit<FilterResult, keyof Provenance> {
  const set = data;
  const rows: FilterRow[] = [];
  const { n, d, metric } = JSON.parse(readFileSync(new URL(`.data/${set}.json`, import.meta.url), 'utf8'));
  const base = floats(`${set}.base.f32`).subarray(0, n * d);
  const all = floats(`${set}.query.f32`);
  const queries = Array.from({ length: queryCount }, (_, i) => all.slice(i * d, (i + 1) * d));
  const index = VectorIndex.from(base, { dimensions: d, metric });
  const order = orders(base, queries, metric, d);
  const before = cpuMs();
  index.search(queries[0], { k: K, filter: IdSet.where(n, (id) => id % 2 === 0) });
  const firstMs = cpuMs() - before;
  console.log(`${set}: the first filtered search of an index takes ${figure(firstMs)} ms`);
  let seed = 1;
  const uniform = (): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
  for (const share of SHARES) {
    const count = Math.max(K, Math.round(share * n));
    const random = IdSet.where(n, () => uniform() < share);
    for (const way of WAYS) {
      if (share === 1 && way !== 'random') continue;
      const filters = order.map((ids) =>
        share === 1
          ? undefined
          : way === 'random'
            ? random
            : new IdSet(way === 'with' ? ids.subarray(0, count) : ids.subarray(n - count)),
      );
      let hits = 0;
      let least = 1;
      let byRows = 0;
      queries.forEach((query, i) => {
        const filter = filters[i];
        const truth: number[] = [];
        for (const id of order[i]) {
          if (filter && !filter.has(id)) continue;
          truth.push(id);
          if (truth.length === K) break;
        }
        const explained = index.explain(query, { k: K, recall, filter });
        const found = explained.ids.filter((id) => truth.includes(id)).length / truth.length;
        if (explained.way === 'rows') byRows++;
        hits += found;
        least = Math.min(least, found);
      });
      rows.push({
        share,
        way: share === 1 ? 'no filter' : way,
        recall: hits / queryCount,
        least,
        qps: speed((query, i) => index.search(query, { k: K, recall, filter: filters[i] }), queries),
        exactQps: speed(
          (query, i) => index.search(query, { k: K, exact: true, filter: filters[i] }),
          queries,
        ),
        byRows: byRows / queryCount,
      });
    }
  }
  const cells = rows.map((r) => [
    `${r.share * 100} %`,
    r.way,
    r.recall.toFixed(4),
    r.least.toFixed(1),
    figure(r.qps),
    figure(r.exactQps),
    `${Math.round(r.byRows * 100)} %`,
  ]);
  console.log(table([['passing', 'which', 'recall@10', 'least', 'QPS', 'exact QPS', 'by rows'], ...cells]));
  return { data, n, d, metric, k: K, target: recall, queries: queryCount, firstMs, filters: rows };
}

/** Queries per second of CPU time: the best of some passes. */
function speed(search: (query: Float32Array, i: number) => unknown, queries: Float32Array[]): number {
  let best = 0;
  for (let pass = 0, spent = 0; pass < 2 || (pass < 7 && spent < 800); pass++) {
    const start = cpuMs();
    queries.forEach(search);
    const ms = cpuMs() - start;
    spent += ms;
    best = Math.max(best, (1000 * queries.length) / ms);
  }
  return best;
}
