import {
  BitSamplingLsh,
  exactSearchBatch,
  HyperplaneLsh,
  RandomGenerator,
  signCode,
  unaryCode,
  VectorIndex,
} from 'orthant';
import { JavaScriptExact, Nearest } from '../../bench/pure-javascript.js';
import { INDEXED, INK, loadDigits, loadWords, PIXELS, WORD_DIMENSIONS } from './data.js';

export type DataName = 'words' | 'digits' | 'gaussian';
const WAYS = [
  'exactSearch',
  'pure JavaScript, exact',
  'HyperplaneLsh',
  'BitSamplingLsh',
  'VectorIndex',
] as const;
type Way = (typeof WAYS)[number];

export interface Point {
  way: Way;
  /** What was set. */
  setting: string;
  /** Of the 10 nearest, averaged over the queries. */
  recall: number;
  /** Of one query. */
  micros: number;
}

const K = 10;
const QUERIES = 200;

interface Data {
  dimensions: number;
  rows: Float32Array;
  queries: Float32Array[];
  truth: Set<number>[];
  /** The same as bits, and how many a row has. */
  bits: number;
  codes: Uint8Array;
  queryCodes: Uint8Array[];
}

/** Measures recall against time, in this thread of this browser. */
export class CurveWork {
  #data: Data | undefined;

  /** Takes up a set of data; returns how large it is, and what can be measured on it. */
  async open(
    name: DataName,
  ): Promise<{ rows: number; dimensions: number; queries: number; ways: readonly Way[] }> {
    const { rows, queries, dimensions, codes, queryCodes, bits } = await load(name);
    const exact = exactSearchBatch(rows, queries, { dimensions, k: K });
    const each = <T extends Float32Array | Uint8Array>(all: T, length: number): T[] =>
      Array.from({ length: QUERIES }, (_, i) => all.subarray(i * length, (i + 1) * length) as T);
    this.#data = {
      dimensions,
      rows,
      queries: each(queries, dimensions),
      truth: Array.from({ length: QUERIES }, (_, i) => new Set(exact.ids.subarray(i * K, (i + 1) * K))),
      bits,
      codes,
      queryCodes: each(queryCodes, Math.ceil(bits / 8)),
    };
    return { rows: rows.length / dimensions, dimensions, queries: QUERIES, ways: WAYS };
  }

  measure(way: Way): Point[] {
    const data = this.#data;
    if (!data) throw new Error('no data yet');
    const { dimensions, rows, queries, codes, queryCodes, bits } = data;
    const points: Point[] = [];
    const add = (setting: string, search: (query: number) => ArrayLike<number>): void => {
      points.push({ way, setting, ...this.#run(data, search) });
    };
    if (way === 'exactSearch') {
      // One call for all queries: a single one would copy the rows each time.
      const start = performance.now();
      const all = new Float32Array(QUERIES * dimensions);
      queries.forEach((query, i) => {
        all.set(query, i * dimensions);
      });
      const found = exactSearchBatch(rows, all, { dimensions, k: K });
      const micros = ((performance.now() - start) * 1000) / QUERIES;
      const { recall } = this.#recall(data, (i) => found.ids.subarray(i * K, (i + 1) * K));
      points.push({ way, setting: 'all queries at once', recall, micros });
    } else if (way === 'pure JavaScript, exact') {
      const exact = new JavaScriptExact(rows, dimensions);
      const nearest = new Nearest(K);
      add('one query at a time', (i) => {
        exact.search(queries[i], nearest);
        return nearest.ids;
      });
    } else if (way === 'HyperplaneLsh') {
      const keyBits = Math.max(4, Math.round(Math.log2(rows.length / dimensions / 20)));
      const lsh = new HyperplaneLsh({ dimensions, tables: 16, bits: keyBits, seed: 0 });
      lsh.add(rows);
      for (const probes of [1, 2, 4, 8, 16, 32, 64]) {
        add(
          `16 tables of ${keyBits} bits, ${probes} probes`,
          (i) => lsh.search(queries[i], { k: K, probes }).ids,
        );
      }
      lsh.dispose();
    } else if (way === 'BitSamplingLsh') {
      const sampledBits = bits > 256 ? 40 : 12;
      for (const tables of [5, 15, 40, 100]) {
        const lsh = new BitSamplingLsh({ bits, sampledBits, tables, seed: 0 });
        lsh.add(codes);
        add(`${tables} tables of ${sampledBits} bits`, (i) => lsh.search(queryCodes[i], { k: K }).ids);
        lsh.dispose();
      }
    } else {
      const index = VectorIndex.from(rows, { dimensions });
      for (const probes of [1, 2, 4, 8].filter((probes) => probes < index.cells))
        add(`${probes} of ${index.cells} cells`, (i) => index.search(queries[i], { k: K, probes }).ids);
      for (const recall of [0.9, 0.95, 0.99])
        add(`recall ${recall} asked`, (i) => index.search(queries[i], { k: K, recall }).ids);
      index.dispose();
    }
    return points;
  }

  #run(data: Data, search: (query: number) => ArrayLike<number>): { recall: number; micros: number } {
    const { recall } = this.#recall(data, search); // which also warms up
    let best = Infinity;
    for (let round = 0; round < 3; round++) {
      const start = performance.now();
      for (let i = 0; i < QUERIES; i++) search(i);
      best = Math.min(best, performance.now() - start);
    }
    return { recall, micros: (best * 1000) / QUERIES };
  }

  #recall(data: Data, search: (query: number) => ArrayLike<number>): { recall: number } {
    let hits = 0;
    for (let i = 0; i < QUERIES; i++) {
      const found = search(i);
      for (let j = 0; j < found.length; j++) if (data.truth[i].has(found[j])) hits++;
    }
    return { recall: hits / (QUERIES * K) };
  }
}

interface Loaded {
  dimensions: number;
  rows: Float32Array;
  queries: Float32Array;
  bits: number;
  codes: Uint8Array;
  queryCodes: Uint8Array;
}

async function load(name: DataName): Promise<Loaded> {
  if (name === 'digits') {
    const { images } = await loadDigits();
    const [indexed, later] = [
      images.subarray(0, INDEXED * PIXELS),
      images.subarray(INDEXED * PIXELS, (INDEXED + QUERIES) * PIXELS),
    ];
    const mean = new Float32Array(PIXELS);
    indexed.forEach((ink, i) => {
      mean[i % PIXELS] += ink / INDEXED;
    });
    const center = (pixels: Uint8Array): Float32Array =>
      Float32Array.from(pixels, (ink, i) => ink - mean[i % PIXELS]);
    return {
      dimensions: PIXELS,
      rows: center(indexed),
      queries: center(later),
      bits: PIXELS * INK,
      codes: unaryCode(indexed, INK),
      queryCodes: unaryCode(later, INK),
    };
  }
  const dimensions = name === 'words' ? WORD_DIMENSIONS : 128;
  let all: Float32Array;
  if (name === 'words') {
    // Unit length: then Euclidean neighbors are those by angle.
    all = unitRows((await loadWords()).vectors, dimensions);
    // The last words of the list are rarer than the rest: queries are taken evenly.
    all = dealOut(all, dimensions);
  } else {
    all = new Float32Array(10_200 * dimensions);
    new RandomGenerator(0).normals(all);
  }
  const rows = all.subarray(0, all.length - QUERIES * dimensions);
  const queries = all.subarray(all.length - QUERIES * dimensions);
  return {
    dimensions,
    rows,
    queries,
    bits: dimensions,
    codes: signCode(rows, { dimensions }),
    queryCodes: signCode(queries, { dimensions }),
  };
}

function unitRows(rows: Float32Array, dimensions: number): Float32Array {
  const unit = rows.slice();
  for (let at = 0; at < unit.length; at += dimensions) {
    const row = unit.subarray(at, at + dimensions);
    const scale = 1 / (Math.hypot(...row) || 1);
    row.forEach((x, j) => {
      row[j] = x * scale;
    });
  }
  return unit;
}

/** Moves every fiftieth row to the end. */
function dealOut(rows: Float32Array, dimensions: number): Float32Array {
  const count = rows.length / dimensions;
  const step = Math.floor(count / QUERIES);
  const order = Array.from({ length: count }, (_, i) => i);
  const last = order.filter((i) => i % step === 0).slice(0, QUERIES);
  const out = new Set(last);
  const dealt = new Float32Array(rows.length);
  [...order.filter((i) => !out.has(i)), ...last].forEach((from, to) => {
    dealt.set(rows.subarray(from * dimensions, (from + 1) * dimensions), to * dimensions);
  });
  return dealt;
}
