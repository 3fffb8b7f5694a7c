import { closeSync, fsyncSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import type { NeighborsBatch, RadiusBatch } from '../index.js';

/** The neighbors of some rows, nearest first: those of row i at offsets[i] … offsets[i + 1] - 1. */
export type Answers = Pick<RadiusBatch, 'offsets' | 'ids' | 'distances'>;

/** Answers of up to k neighbors each, without the places that are not filled. */
export function packed({ ids, distances, counts }: NeighborsBatch): Answers {
  const offsets = new Uint32Array(counts.length + 1);
  for (let i = 0; i < counts.length; i++) offsets[i + 1] = offsets[i] + counts[i];
  const places = offsets[counts.length];
  if (places === ids.length) return { offsets, ids, distances };
  const k = ids.length / counts.length;
  const all = { offsets, ids: new Uint32Array(places), distances: new Float32Array(places) };
  for (let i = 0; i < counts.length; i++) {
    all.ids.set(ids.subarray(i * k, i * k + counts[i]), offsets[i]);
    all.distances.set(distances.subarray(i * k, i * k + counts[i]), offsets[i]);
  }
  return all;
}

/**
 * Merges what some rows were given with what they were given before, and keeps k of each. `first` is added to the new ids. Of
 * equal distances the earlier one is first.
 */
export function merged(
  before: Answers,
  found: Answers,
  first: number,
  k: number = Number.POSITIVE_INFINITY,
): Answers {
  const rows = found.offsets.length - 1;
  const most = Math.min(before.ids.length + found.ids.length, rows * k);
  const ids = new Uint32Array(most);
  const distances = new Float32Array(most);
  const offsets = new Uint32Array(rows + 1);
  let end = 0;
  for (let row = 0; row < rows; row++) {
    let a = before.offsets[row];
    let b = found.offsets[row];
    const [lastA, lastB] = [before.offsets[row + 1], found.offsets[row + 1]];
    for (let left = k; left > 0 && (a < lastA || b < lastB); left--, end++) {
      const isOld = b === lastB || (a < lastA && before.distances[a] <= found.distances[b]);
      ids[end] = isOld ? before.ids[a] : found.ids[b] + first;
      distances[end] = isOld ? before.distances[a++] : found.distances[b++];
    }
    offsets[row + 1] = end;
  }
  return { offsets, ids: ids.subarray(0, end), distances: distances.subarray(0, end) };
}

/** Rows without any neighbor. */
export function noAnswers(rows: number): Answers {
  return { offsets: new Uint32Array(rows + 1), ids: new Uint32Array(0), distances: new Float32Array(0) };
}

/** A file of answers that grows: for each row its number of neighbors, their ids, their distances, 4 bytes each. */
export class AnswerFile {
  readonly #file: number;
  /** Bytes that the file has by now. */
  bytes: number;

  /** Opens or makes a file, of which the first `bytes` are kept. */
  constructor(path: string, bytes: number) {
    this.#file = openSync(path, bytes === 0 ? 'w+' : 'r+');
    ftruncateSync(this.#file, bytes);
    this.bytes = bytes;
  }

  append({ offsets, ids, distances }: Answers): void {
    const rows = offsets.length - 1;
    const words = new Uint32Array(rows + 2 * ids.length);
    const floats = new Float32Array(words.buffer);
    let at = 0;
    for (let row = 0; row < rows; row++) {
      const [from, to] = [offsets[row], offsets[row + 1]];
      words[at++] = to - from;
      // Rows have few neighbors: views of them take longer than these loops.
      for (let place = from; place < to; place++) words[at++] = ids[place];
      for (let place = from; place < to; place++) floats[at++] = distances[place];
    }
    const bytes = new Uint8Array(words.buffer);
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(this.#file, bytes, done, bytes.length - done, this.bytes + done);
    }
    this.bytes += bytes.length;
  }

  /** Returns when all is on the disk. */
  flush(): void {
    fsyncSync(this.#file);
  }

  close(): void {
    closeSync(this.#file);
  }
}

const CHUNK_BYTES = 2 ** 20;

/** Reads a file of answers from its beginning, or from a byte on that it has told before. */
export class AnswerReader {
  readonly #path: string;
  readonly #file: number;
  /** Where the words that are at hand came from; the next one to be taken. */
  #start: number;
  #words = new Uint32Array(0);
  #taken = 0;

  constructor(path: string, from: number = 0) {
    this.#path = path;
    this.#file = openSync(path, 'r');
    this.#start = from;
  }

  /** Bytes before the next row. */
  get at(): number {
    return this.#start + 4 * this.#taken;
  }

  /** The answers of the next rows. */
  read(rows: number): Answers {
    const offsets = new Uint32Array(rows + 1);
    let ids = new Uint32Array(16 * rows);
    let distances = new Float32Array(ids.length);
    for (let row = 0; row < rows; row++) {
      const count = this.#take(1)[0];
      const end = offsets[row] + count;
      if (end > ids.length) {
        const room = Math.max(end, 2 * ids.length);
        [ids, distances] = [
          withRoom(ids, new Uint32Array(room)),
          withRoom(distances, new Float32Array(room)),
        ];
      }
      const words = this.#take(2 * count);
      ids.set(words.subarray(0, count), offsets[row]);
      distances.set(new Float32Array(words.buffer, words.byteOffset + 4 * count, count), offsets[row]);
      offsets[row + 1] = end;
    }
    const end = offsets[rows];
    return { offsets, ids: ids.subarray(0, end), distances: distances.subarray(0, end) };
  }

  close(): void {
    closeSync(this.#file);
  }

  #take(count: number): Uint32Array {
    if (this.#taken + count > this.#words.length) this.#fill(count);
    this.#taken += count;
    return this.#words.subarray(this.#taken - count, this.#taken);
  }

  #fill(count: number): void {
    this.#start = this.at;
    this.#taken = 0;
    const bytes = new Uint8Array(Math.max(CHUNK_BYTES, 4 * count));
    let filled = 0;
    for (let got = 1; got > 0 && filled < bytes.length; filled += got) {
      got = readSync(this.#file, bytes, filled, bytes.length - filled, this.#start + filled);
    }
    if (filled < 4 * count) {
      throw new Error(`${this.#path}: expected ${4 * count} bytes at ${this.#start}, got ${filled}`);
    }
    this.#words = new Uint32Array(bytes.buffer, 0, filled >>> 2);
  }
}

function withRoom<List extends Uint32Array | Float32Array>(list: List, larger: List): List {
  larger.set(list);
  return larger;
}
