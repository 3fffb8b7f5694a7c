import { VectorIndex } from 'orthant';
import { openStorage } from 'orthant/storage';
import { readVectorFile } from './read.js';
import { timed } from './timing.js';

export interface Opened {
  name: string;
  rows: number;
  dimensions: number;
  cells: number;
  /** Of the build, or of the load. */
  ms: number;
  bytes: number;
}

export interface VectorsAnswer {
  ids: Uint32Array;
  /** What the file calls the rows; empty where it has no names. */
  labels: string[];
  distances: Float32Array;
  micros: number;
  exactMicros: number;
  recall: number;
}

/** Ending of a downloaded snapshot's name. */
const SNAPSHOT = '.orthant';

/** The user's own vectors: read, searched, kept, taken along. */
export class VectorsWork {
  /** Its rows have the file's names, or their numbers as names. */
  #index: VectorIndex<'string'> | undefined;
  readonly #storage = openStorage({ folder: 'orthant-demo' });
  #name = '';

  /** Reads a file of vectors and builds their index, or takes a snapshot of one. */
  open(name: string, bytes: Uint8Array): Opened {
    const start = performance.now();
    const plain = name.replace(/\.[^.]*$/, '');
    if (name.endsWith(SNAPSHOT)) return this.#take(plain, named(VectorIndex.load<'string'>(bytes)), start);
    const { vectors, dimensions, labels } = readVectorFile(name, bytes);
    const rows = vectors.length / dimensions;
    const names =
      labels.length > 0 ? uniqueNames(labels) : Array.from({ length: rows }, (_, row) => `${row}`);
    const index = VectorIndex.from(vectors, { dimensions, ids: names });
    return this.#take(plain, index, start);
  }

  /** @param query a row's number, its name, or a vector. */
  search(query: string, options: { k: number; recall: number }): VectorsAnswer {
    const index = this.#open();
    const vector = this.#vectorOf(query.trim());
    const found = timed(() => index.search(vector, options));
    const exact = timed(() => index.search(vector, { k: options.k, exact: true }));
    const truth = new Set(exact.value.ids);
    const { ids, distances, userIds } = found.value;
    return {
      ids,
      labels: userIds.every((name, i) => name === `${ids[i]}`) ? [] : userIds,
      distances,
      micros: found.micros,
      exactMicros: exact.micros,
      recall: truth.size === 0 ? 1 : [...ids].filter((id) => truth.has(id)).length / truth.size,
    };
  }

  /** Saves the index in the browser, where it is found again after a restart. */
  async keep(): Promise<void> {
    await (await this.#storage).save(this.#name, this.#open());
  }

  async kept(): Promise<string[]> {
    return (await (await this.#storage).list()).map(({ name }) => name);
  }

  async restore(name: string): Promise<Opened> {
    const start = performance.now();
    const index = await (await this.#storage).load(name);
    if (!(index instanceof VectorIndex)) throw new Error(`${name}: expected an index of vectors, got none`);
    return this.#take(name, named(index), start);
  }

  async forget(name: string): Promise<void> {
    await (await this.#storage).delete(name);
  }

  snapshot(): { name: string; bytes: Uint8Array } {
    return { name: this.#name + SNAPSHOT, bytes: this.#open().save() };
  }

  #open(): VectorIndex<'string'> {
    if (!this.#index) throw new Error('No vectors yet: drop a file first.');
    return this.#index;
  }

  #take(name: string, index: VectorIndex<'string'>, start: number): Opened {
    const ms = performance.now() - start;
    this.#index?.dispose();
    this.#index = index;
    this.#name = name;
    const { size: rows, dimensions, cells } = index;
    return { name, rows, dimensions, cells, ms, bytes: index.memoryUsage().total };
  }

  #vectorOf(query: string): Float32Array {
    const index = this.#open();
    const { dimensions } = index;
    const numbers = query.split(/[\s,;]+/).map(Number);
    if (numbers.length > 1 && numbers.every(Number.isFinite)) {
      if (numbers.length !== dimensions)
        throw new Error(`vector: expected ${dimensions} numbers, got ${numbers.length}`);
      return Float32Array.from(numbers);
    }
    const vector = index.get(query);
    if (vector) return vector;
    const row = Number(query);
    if (query === '' || !Number.isInteger(row) || row < 0 || row >= index.size)
      throw new Error(
        `row: expected a number from 0 to ${index.size - 1}, a row's name, or ${dimensions} numbers, got “${query}”`,
      );
    return index.get(index.idOf(row) as string) as Float32Array;
  }
}

/** An index of this page, whose rows have names; another is refused. */
function named(index: VectorIndex<'string'>): VectorIndex<'string'> {
  if (index.idKind === 'string') return index;
  throw new Error('snapshot: expected rows with names, as this page gives them; got rows with numbers');
}

/** Names of rows: one that comes again gets its row's number behind it. */
function uniqueNames(labels: string[]): string[] {
  const taken = new Set(labels);
  const seen = new Set<string>();
  return labels.map((label, row) => {
    let name = label;
    for (let i = row; seen.has(name) || (name !== label && taken.has(name)); i += labels.length)
      name = `${label} (${i})`;
    seen.add(name);
    return name;
  });
}
