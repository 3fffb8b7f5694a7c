import { readFileSync } from 'node:fs';
import { createMemory } from '../src/js/kernels.js';
import { kernels as instantiateInJavaScript } from '../src/js/translated.js';
import { type GrowingMemory, instantiateEngine, instantiateTables, type Kernels } from '../src/kernels.js';

const everyKernel = new WebAssembly.Module(readFileSync(new URL('../dist/orthant.wasm', import.meta.url)));

/** All kernels: those of the inlined binaries as they run in the product, the few others from orthant.wasm. */
export function instantiate(memory: WebAssembly.Memory): Kernels {
  const { exports } = new WebAssembly.Instance(everyKernel, { env: { memory } });
  return { ...exports, ...instantiateTables(memory), ...instantiateEngine(memory) } as Kernels;
}

/** Bytes that no kernel may change. As a float -1.7e38, as an id 4 billion: whoever reads one gives itself away. */
const CANARY = 0xfe;
/** Canary bytes before the first region, between any two, and behind the last. */
const GAP = 64;

type Data = Float32Array | Uint32Array | Uint8Array;

/** One memory in which every region lies between canaries, and the kernels over it. */
export class Arena {
  readonly memory: WebAssembly.Memory;
  readonly kernels: Kernels;
  /** The same kernels in JavaScript (orthant/js) over a copy of the memory. */
  readonly #twinMemory: GrowingMemory;
  readonly #twin: Kernels;
  #next = GAP;
  #outputs: [start: number, end: number][] = [];

  constructor(pages = 16) {
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.kernels = instantiate(this.memory);
    this.#twinMemory = createMemory(pages);
    this.#twinMemory.grow(pages - 1);
    this.#twin = instantiateInJavaScript(this.#twinMemory) as Kernels;
    this.reset();
  }

  /** Forgets all regions and makes all of the memory canaries. */
  reset(): void {
    new Uint8Array(this.memory.buffer).fill(CANARY);
    this.#next = GAP;
    this.#outputs = [];
  }

  /** Address of a region that holds `data` and that kernels only read. `shift` bytes off a multiple of 16. */
  input(data: Data, shift = 0): number {
    return this.#fill(this.#take(data.byteLength, shift), data);
  }

  /** Like `input`, but the region ends `spare` bytes before the end of the memory: reading further is a trap. */
  inputAtEnd(data: Data, spare = 0): number {
    return this.#fill(this.memory.buffer.byteLength - spare - data.byteLength, data);
  }

  /** Address of a region of `bytes` canaries that kernels may write; `data` for one that they read first. */
  output(bytes: number, data?: Data): number {
    const ptr = this.#take(bytes, 0);
    this.#outputs.push([ptr, ptr + bytes]);
    return data ? this.#fill(ptr, data) : ptr;
  }

  /**
   * Calls a kernel, and fails if it changed a byte outside the output regions, or if its twin in JavaScript does not
   * give the same result and the same bytes.
   */
  run<Result>(call: (kernels: Kernels) => Result): Result {
    new Uint8Array(this.#twinMemory.buffer).set(new Uint8Array(this.memory.buffer));
    const twinResult = call(this.#twin);
    const now = Buffer.from(this.memory.buffer, 0, Math.min(this.#next + GAP, this.memory.buffer.byteLength));
    const before = Buffer.from(now);
    const result = call(this.kernels);
    let start = 0;
    for (const [from, to] of [...this.#outputs, [now.length, now.length]]) {
      if (Buffer.compare(now.subarray(start, from), before.subarray(start, from)) !== 0) {
        const changed = now.findIndex((byte, i) => i >= start && i < from && byte !== before[i]);
        throw new Error(`byte ${changed}: expected ${before[changed]} as before, got ${now[changed]}`);
      }
      start = to;
    }
    this.#expectSameMemory();
    if (!Object.is(twinResult, result)) throw new Error(`the twin: expected ${result}, got ${twinResult}`);
    return result;
  }

  /** Words may differ only where both are NaN: in floats that nobody looks at, a NaN may have any payload. */
  #expectSameMemory(): void {
    const [twin, mine] = [this.#twinMemory.buffer, this.memory.buffer];
    if (Buffer.compare(Buffer.from(twin), Buffer.from(mine)) === 0) return;
    const [twins, mines] = [new Uint32Array(twin), new Uint32Array(mine)];
    const [twinFloats, floats] = [new Float32Array(twin), new Float32Array(mine)];
    mines.forEach((word, i) => {
      if (twins[i] === word || (Number.isNaN(floats[i]) && Number.isNaN(twinFloats[i]))) return;
      throw new Error(`the twin: expected word ${word} at byte ${4 * i}, got ${twins[i]}`);
    });
  }

  /** A copy of `count` floats. */
  floats(ptr: number, count: number): Float32Array {
    return new Float32Array(this.memory.buffer.slice(ptr, ptr + 4 * count));
  }

  /** A copy of `count` words. */
  words(ptr: number, count: number): Uint32Array {
    return new Uint32Array(this.memory.buffer.slice(ptr, ptr + 4 * count));
  }

  /** A copy of `count` bytes. */
  bytes(ptr: number, count: number): Uint8Array {
    return new Uint8Array(this.memory.buffer.slice(ptr, ptr + count));
  }

  #take(bytes: number, shift: number): number {
    const ptr = Math.ceil(this.#next / 16) * 16 + shift;
    this.#next = ptr + bytes + GAP;
    if (this.#next + GAP > this.memory.buffer.byteLength) {
      throw new Error(
        `arena: expected ${this.#next + GAP} bytes of memory, got ${this.memory.buffer.byteLength}`,
      );
    }
    return ptr;
  }

  #fill(ptr: number, data: Data): number {
    new Uint8Array(this.memory.buffer, ptr).set(
      new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    );
    return ptr;
  }
}

/** Fails unless both arrays hold the same bits; tells the first place where they differ. */
export function expectSameBits(actual: Data, expected: Data, what: string): void {
  const a = Buffer.from(actual.buffer, actual.byteOffset, actual.byteLength);
  const b = Buffer.from(expected.buffer, expected.byteOffset, expected.byteLength);
  if (Buffer.compare(a, b) === 0) return;
  if (actual.length !== expected.length) {
    throw new Error(`${what}: expected ${expected.length} values, got ${actual.length}`);
  }
  const at = actual.findIndex((value, i) => !Object.is(value, expected[i]));
  throw new Error(`${what}: expected ${expected[at]} at ${at}, got ${actual[at]}`);
}

/** A source of numbers in [0, 1), the same on every run: a linear congruential generator modulo 2^32. */
export function uniform(seed: number): () => number {
  let state = Math.imul(seed + 1, 0x9e3779b1);
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/**
 * Floats of both signs, mostly of size 1; one in sixteen is harder: zeros of both signs, numbers whose squares
 * underflow, denormal and large ones.
 */
export function floats(count: number, seed: number): Float32Array {
  const next = uniform(seed);
  const odd = [0, -0, 1e-20, -1e-23, 1e-42, 1e10, -3e12, 1];
  return Float32Array.from({ length: count }, () => {
    if (next() < 1 / 16) return odd[Math.floor(next() * odd.length)];
    return (next() - 0.5) * 2 ** Math.floor(next() * 8 - 3);
  });
}

/** `count` different numbers below `limit`, in random order. */
export function differentIds(count: number, limit: number, seed: number): Uint32Array {
  const next = uniform(seed);
  const ids = Uint32Array.from({ length: limit }, (_, i) => i);
  for (let i = 0; i < count; i++) {
    const j = i + Math.floor(next() * (limit - i));
    [ids[i], ids[j]] = [ids[j], ids[i]];
  }
  return ids.slice(0, count);
}

/** Lengths around every turn of a loop over 4 or 8 floats, over planes and over words. */
export const DIMENSIONS: readonly number[] = [1, 3, 4, 5, 15, 16, 17, 63, 64, 65, 100, 784];

/** Nothing, one row, each tail, and two full turns of a loop over four rows with each tail. */
export const COUNTS: readonly number[] = [0, 1, 2, 3, 4, 5, 8, 9, 10, 11];

/** Floats from row to row: a multiple of 4. */
export function strideOf(dimensions: number): number {
  return Math.ceil(dimensions / 4) * 4;
}
