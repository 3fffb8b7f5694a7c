import type { EngineKernels, GrowingMemory, InitOptions, TableKernels } from '../kernels.js';
import { engine, tables } from './translated.js';

export type { GrowingMemory, InitOptions, Kernels } from '../kernels.js';

const PAGE = 65536;

/** An ArrayBuffer that grows as a WebAssembly.Memory does: its old buffer is detached where the engine can do that. */
class JavaScriptMemory implements GrowingMemory {
  #buffer: ArrayBuffer = new ArrayBuffer(PAGE);
  readonly #maximumPages: number;

  constructor(maximumPages: number) {
    this.#maximumPages = maximumPages;
  }

  get buffer(): ArrayBuffer {
    return this.#buffer;
  }

  grow(pages: number): number {
    const old = this.#buffer as ArrayBuffer & { transfer?(bytes: number): ArrayBuffer };
    const before = old.byteLength / PAGE;
    if (before + pages > this.#maximumPages) {
      throw new RangeError(`memory: expected at most ${this.#maximumPages} pages, got ${before + pages}`);
    }
    const bytes = PAGE * (before + pages);
    if (old.transfer) {
      this.#buffer = old.transfer(bytes);
    } else {
      const grown = new ArrayBuffer(bytes);
      new Uint8Array(grown).set(new Uint8Array(old));
      this.#buffer = grown;
    }
    return before;
  }
}

/** The twin of `init` of `orthant`: there is nothing to compile here, so nothing happens. */
export async function init(_options: InitOptions = {}): Promise<void> {}

/**
 * A memory of one page.
 *
 * @internal
 */
export function createMemory(maximumPages: number): GrowingMemory {
  return new JavaScriptMemory(maximumPages);
}

/**
 * The kernels of exact search and of the hash tables over one memory.
 *
 * @internal
 */
export function instantiateTables(memory: GrowingMemory): TableKernels {
  return tables(memory) as TableKernels;
}

/**
 * The kernels of the engine, likewise.
 *
 * @internal
 */
export function instantiateEngine(memory: GrowingMemory): EngineKernels {
  return engine(memory) as EngineKernels;
}
