import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import type { Name } from './neighbors.js';

/** Ids that are read at a time. */
const BLOCK_IDS = 1024;
/** Blocks that stay in memory once they were read. */
const KEPT_BLOCKS = 256;

/** The ids of all rows of a file, on the disk: a block at a time is in memory, but for the first ones, which stay there. */
export class NameFile {
  readonly #file: number;
  /** Where each block begins, and where the last one ends. */
  readonly #starts = [0];
  readonly #kept = new Map<number, string[]>();

  private constructor(path: string) {
    this.#file = openSync(path, 'w+');
  }

  static async write(path: string, pages: AsyncIterable<{ ids?: string[] }>): Promise<NameFile> {
    const file = new NameFile(path);
    let waiting: string[] = [];
    try {
      for await (const { ids = [] } of pages) {
        for (const id of ids) {
          waiting.push(id);
          if (waiting.length < BLOCK_IDS) continue;
          file.#append(waiting);
          waiting = [];
        }
      }
      file.#append(waiting);
      return file;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** What some rows are called. */
  of(rows: Uint32Array): Name {
    const names = new Map<number, string>();
    let [at, block] = [-1, [] as string[]];
    // In their order, so that each block is read but once.
    for (const row of rows.slice().sort()) {
      const next = Math.floor(row / BLOCK_IDS);
      if (next !== at) [at, block] = [next, this.#block(next)];
      names.set(row, block[row % BLOCK_IDS]);
    }
    return (row) => names.get(row) as string;
  }

  close(): void {
    closeSync(this.#file);
  }

  #append(ids: string[]): void {
    const bytes = Buffer.from(JSON.stringify(ids));
    const start = this.#starts[this.#starts.length - 1];
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(this.#file, bytes, done, bytes.length - done, start + done);
    }
    this.#starts.push(start + bytes.length);
  }

  #block(number: number): string[] {
    const kept = this.#kept.get(number);
    if (kept !== undefined) return kept;
    const [start, end] = this.#starts.slice(number, number + 2);
    const bytes = Buffer.alloc(end - start);
    for (let done = 0; done < bytes.length; ) {
      const got = readSync(this.#file, bytes, done, bytes.length - done, start + done);
      if (got === 0) throw new Error(`ids: expected ${bytes.length} bytes at ${start}, got ${done}`);
      done += got;
    }
    const ids: string[] = JSON.parse(bytes.toString());
    if (this.#kept.size < KEPT_BLOCKS) this.#kept.set(number, ids);
    return ids;
  }
}
