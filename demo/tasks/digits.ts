import { BitSamplingLsh, exactHamming, exactSearch, HyperplaneLsh, unaryCode, VectorIndex } from 'orthant';
import { type Digits, INDEXED, INK, loadDigits, PIXELS } from './data.js';
import { timed } from './timing.js';

export type Family = 'hyperplanes' | 'bit sampling' | 'engine' | 'exact';

export interface DigitsSettings {
  family: Family;
  /** m: tables of the two families of hash tables. */
  tables: number;
  /** Hyperplanes of a table. */
  bits: number;
  /** Bits that a table samples of the 1,024 of an image. */
  sampledBits: number;
  /** Cells of the engine. */
  cells: number;
}

export interface DigitsBuild {
  buildMs: number;
  /** What the bars count. */
  unit: 'bucket' | 'cell';
  /** Buckets of all tables, or cells, by how many images they hold: from `from` to `to`. */
  bars: { from: number; to: number; count: number }[];
  largest: number;
}

export interface DigitsAnswer {
  ids: Uint32Array;
  distances: Float32Array;
  labels: Uint8Array;
  /** For each neighbor, the tables whose bucket had it; empty where there are none. */
  foundBy: number[][];
  /** Images that were compared with the query. */
  candidates: number;
  micros: number;
  exactMicros: number;
  /** Share of the k exact neighbors that were found. */
  recall: number;
}

type Index =
  | { family: 'hyperplanes'; lsh: HyperplaneLsh }
  | { family: 'bit sampling'; lsh: BitSamplingLsh }
  | { family: 'engine'; index: VectorIndex }
  | { family: 'exact' };

/** Search among images of digits, by each of the ways that the library has. */
export class DigitsWork {
  #digits!: Digits;
  /** Ink of the average indexed image: hyperplanes through the origin only divide what lies around it. */
  #mean = new Float32Array(PIXELS);
  #rows!: Float32Array;
  #codes!: Uint8Array;
  #index: Index = { family: 'exact' };

  async open(): Promise<Digits & { indexed: number }> {
    this.#digits = await loadDigits();
    const indexed = this.#digits.images.subarray(0, INDEXED * PIXELS);
    indexed.forEach((ink, i) => {
      this.#mean[i % PIXELS] += ink / INDEXED;
    });
    this.#rows = this.#center(indexed);
    this.#codes = unaryCode(indexed, INK);
    return { ...this.#digits, indexed: INDEXED };
  }

  /** Makes the index anew. */
  build(settings: DigitsSettings): DigitsBuild {
    const start = performance.now();
    this.#dispose();
    let bars: DigitsBuild['bars'] = [];
    let largest = 0;
    if (settings.family === 'hyperplanes') {
      const { tables, bits } = settings;
      const lsh = new HyperplaneLsh({ dimensions: PIXELS, tables, bits, seed: 0 });
      lsh.add(this.#rows);
      this.#index = { family: 'hyperplanes', lsh };
    } else if (settings.family === 'bit sampling') {
      const { tables, sampledBits } = settings;
      const lsh = new BitSamplingLsh({ bits: PIXELS * INK, sampledBits, tables, seed: 0 });
      lsh.add(this.#codes);
      this.#index = { family: 'bit sampling', lsh };
    } else if (settings.family === 'engine') {
      const index = VectorIndex.from(this.#rows, { dimensions: PIXELS, cells: settings.cells });
      this.#index = { family: 'engine', index };
    } else {
      this.#index = { family: 'exact' };
    }
    const buildMs = performance.now() - start;
    if ('lsh' in this.#index) {
      const stats = this.#index.lsh.stats();
      bars = stats.histogram.map((count, i) => ({ from: 2 ** i, to: 2 ** (i + 1) - 1, count }));
      largest = stats.largest;
    } else if ('index' in this.#index) {
      const sizes = this.#index.index.stats().cellSizes;
      for (const size of sizes) {
        const i = Math.floor(Math.log2(Math.max(1, size)));
        while (bars.length <= i)
          bars.push({ from: 2 ** bars.length, to: 2 ** (bars.length + 1) - 1, count: 0 });
        bars[i].count++;
        largest = Math.max(largest, size);
      }
    }
    return { buildMs, unit: settings.family === 'engine' ? 'cell' : 'bucket', bars, largest };
  }

  /** @param pixels 64 of ink 0 to 16. */
  search(pixels: Uint8Array, options: { k: number; probes: number; recall: number }): DigitsAnswer {
    const { k, probes, recall } = options;
    const index = this.#index;
    const query = this.#center(pixels);
    const code = unaryCode(pixels, INK);
    const byBits = index.family === 'bit sampling';
    const exact = timed(() =>
      byBits ? exactHamming(this.#codes, code, { k }) : exactSearch(this.#rows, query, { k }),
    );
    let found = exact;
    let candidates = INDEXED;
    let buckets: Uint32Array[] = [];
    if (index.family === 'hyperplanes') {
      found = timed(() => index.lsh.search(query, { k, probes }));
      const { tables } = index.lsh.explain(query, { k, probes });
      candidates = index.lsh.candidates(query, { probes }).length;
      buckets = tables.map(({ probedKeys }, table) =>
        Uint32Array.from([...probedKeys].flatMap((key) => [...index.lsh.bucket(table, key)])),
      );
    } else if (index.family === 'bit sampling') {
      found = timed(() => index.lsh.search(code, { k }));
      candidates = index.lsh.candidates(code).length;
      buckets = [...index.lsh.keys(code)].map((key, table) => index.lsh.bucket(table, key));
    } else if (index.family === 'engine') {
      found = timed(() => index.index.search(query, { k, recall }));
      candidates = index.index.explain(query, { k, recall }).rowsRanked;
    }
    const { ids, distances } = found.value;
    const truth = new Set(exact.value.ids);
    // Equal distances: an image as near as the last exact neighbor is as good as it.
    const reach = exact.value.distances[exact.value.distances.length - 1] ?? 0;
    const hits = [...ids].filter((id, i) => truth.has(id) || distances[i] <= reach).length;
    return {
      ids,
      distances,
      labels: Uint8Array.from(ids, (id) => this.#digits.labels[id]),
      foundBy: [...ids].map((id) => buckets.flatMap((bucket, table) => (bucket.includes(id) ? [table] : []))),
      candidates,
      micros: found.micros,
      exactMicros: exact.micros,
      recall: truth.size === 0 ? 1 : hits / truth.size,
    };
  }

  #center(pixels: Uint8Array): Float32Array {
    return Float32Array.from(pixels, (ink, i) => ink - this.#mean[i % PIXELS]);
  }

  #dispose(): void {
    if ('lsh' in this.#index) this.#index.lsh.dispose();
    if ('index' in this.#index) this.#index.index.dispose();
  }
}
