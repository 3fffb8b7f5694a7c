import { readFileSync } from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import { rejectionOf, thrownBy } from './answers.js';

const wasm = readFileSync(new URL('../dist/orthant.wasm', import.meta.url));

type Door = typeof import('../src/kernels.js');

/** A copy of the module that has compiled nothing yet. */
async function fresh(): Promise<Door> {
  vi.resetModules();
  return import('../src/kernels.js');
}

/** Squared norms of three rows, and cells probed of a plan of zeros: something of both binaries. */
function use({ createMemory, instantiateEngine, instantiateTables }: Door, shared = false): number[] {
  const memory = createMemory(2, shared);
  const [tables, engine] = [instantiateTables(createMemory(2)), instantiateEngine(memory)];
  expect([typeof tables.rankBlock, typeof engine.scanCells]).toEqual(['function', 'function']);
  const floats = new Float32Array(memory.buffer);
  floats.set([1, 2, 0, 0, 3, 4, 0, 0, 5, 6, 0, 0], 256);
  engine.squaredNorms(1024, 3, 4, 2048);
  return [...floats.subarray(512, 515)];
}
const NORMS = [5, 25, 61];

/** What is compiled during a call: how often at once, and how often ahead. */
async function compiled(call: () => unknown): Promise<[number, number]> {
  const { Module } = WebAssembly;
  let count = 0;
  class Counted extends Module {
    static override [Symbol.hasInstance](value: unknown): boolean {
      return value instanceof Module;
    }
    constructor(bytes: BufferSource) {
      super(bytes);
      count++;
    }
  }
  const compile = vi.spyOn(WebAssembly, 'compile');
  Object.assign(WebAssembly, { Module: Counted });
  try {
    await call();
    return [count, compile.mock.calls.length];
  } finally {
    Object.assign(WebAssembly, { Module });
    compile.mockRestore();
  }
}

describe('kernels', () => {
  it('are compiled once for all memories, those for shared memory once more', async () => {
    const door = await fresh();
    expect(await compiled(() => use(door))).toEqual([2, 0]);
    expect(await compiled(() => expect(use(door)).toEqual(NORMS))).toEqual([0, 0]);
    expect(await compiled(() => expect(use(door, true)).toEqual(NORMS))).toEqual([1, 0]);
    expect(await compiled(() => expect(use(door, true)).toEqual(NORMS))).toEqual([0, 0]);
  });

  it('are the same ones for all engines over one shared memory, and others over another', async () => {
    const { createMemory, instantiateEngine } = await fresh();
    const [one, other] = [createMemory(2, true), createMemory(2, true)];
    expect(instantiateEngine(one)).toBe(instantiateEngine(one));
    expect(instantiateEngine(one)).not.toBe(instantiateEngine(other));
    const own = createMemory(2);
    expect(own.buffer).toBeInstanceOf(ArrayBuffer);
    expect(one.buffer).toBeInstanceOf(SharedArrayBuffer);
    expect(instantiateEngine(own)).not.toBe(instantiateEngine(own));
  });

  it('have a memory of one page that grows to its limit', async () => {
    const { createMemory } = await fresh();
    for (const shared of [false, true]) {
      const memory = createMemory(3, shared);
      expect(memory.buffer.byteLength).toBe(65536);
      memory.grow(2);
      expect(memory.buffer.byteLength).toBe(3 * 65536);
      expect(() => memory.grow(1)).toThrow(RangeError);
    }
  });

  it('work in a thread that knows no SharedArrayBuffer', async () => {
    const door = await fresh();
    vi.stubGlobal('SharedArrayBuffer', undefined);
    try {
      expect(use(door)).toEqual(NORMS);
    } finally {
      vi.unstubAllGlobals();
    }
  });

  it('do without relaxed instructions where the engine does not know them', async () => {
    const { validate } = WebAssembly;
    const answers: boolean[] = [];
    const spy = vi.spyOn(WebAssembly, 'validate').mockImplementation((bytes) => {
      answers.push(answers.length % 2 === 1 && validate(bytes));
      return answers[answers.length - 1];
    });
    try {
      const door = await fresh();
      expect(use(door)).toEqual(NORMS);
      expect(answers).toEqual([false, true, false, true]);
    } finally {
      spy.mockRestore();
    }
  });
});

describe('init', () => {
  it('compiles the inlined binaries ahead of time, and nothing is compiled after it', async () => {
    const door = await fresh();
    expect(await compiled(() => door.init())).toEqual([0, 2]);
    expect(await compiled(() => expect(use(door)).toEqual(NORMS))).toEqual([0, 0]);
    const again = await fresh();
    expect(await compiled(() => again.init({}))).toEqual([0, 2]);
  });

  it('takes a compiled module, and compiles nothing then', async () => {
    const door = await fresh();
    const module = new WebAssembly.Module(wasm);
    expect(await compiled(() => door.init({ module }))).toEqual([0, 0]);
    expect(await compiled(() => expect(use(door)).toEqual(NORMS))).toEqual([0, 0]);
  });

  it('takes bytes, as a buffer or a view', async () => {
    for (const bytes of [new Uint8Array(wasm), new Uint8Array(wasm).buffer]) {
      const door = await fresh();
      expect(await compiled(() => door.init({ bytes }))).toEqual([0, 1]);
      expect(await compiled(() => expect(use(door)).toEqual(NORMS))).toEqual([0, 0]);
    }
  });

  it('fetches bytes from an address, and says what the server answered instead', async () => {
    const asked: unknown[] = [];
    vi.stubGlobal('fetch', async (url: unknown) => {
      asked.push(url);
      // No Response: Node compiles WebAssembly for its first one.
      const arrayBuffer = async (): Promise<ArrayBuffer> => new Uint8Array(wasm).buffer;
      return asked.length === 1
        ? { ok: true, status: 200, arrayBuffer }
        : { ok: false, status: 404, arrayBuffer };
    });
    try {
      const door = await fresh();
      expect(await compiled(() => door.init({ url: 'https://here/orthant.wasm' }))).toEqual([0, 1]);
      expect(await compiled(() => expect(use(door)).toEqual(NORMS))).toEqual([0, 0]);
      const error = await rejectionOf(door.init({ url: new URL('https://there/orthant.wasm') }));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toBe('url: expected a response with status 200, got 404');
      expect(asked.map(String)).toEqual(['https://here/orthant.wasm', 'https://there/orthant.wasm']);
    } finally {
      vi.unstubAllGlobals();
    }
  });

  it('refuses what is no module', async () => {
    const { init } = await fresh();
    for (const module of [null, {}, wasm, 'orthant.wasm']) {
      const error = await rejectionOf(init({ module } as never));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.code).toBe('ERR_ARGUMENT_TYPE');
      expect(error.message).toBe('module: expected a WebAssembly.Module, got another kind of value');
    }
  });

  it('tells bytes that are no binary, which the engine refuses, from a policy that refuses good ones', async () => {
    const { init, instantiateTables, createMemory } = await fresh();
    const broken = await rejectionOf(init({ bytes: new Uint8Array([0, 97, 115, 109, 9]) }));
    expect(broken).toBeInstanceOf(WebAssembly.CompileError);
    expect(broken.code).toBeUndefined();
    const cause = new WebAssembly.CompileError('not here');
    const compile = vi.spyOn(WebAssembly, 'compile').mockRejectedValue(cause);
    try {
      const error = await rejectionOf(init({ bytes: new Uint8Array(wasm) }));
      expect(error).toBeInstanceOf(TypeError);
      expect([error.code, error.cause]).toEqual(['ERR_COMPILE_FORBIDDEN', cause]);
      expect(error.message).toBe(
        "WebAssembly: expected leave to compile, got a refusal; allow 'wasm-unsafe-eval' in the policy, or hand over a compiled module with init({ module }), or import 'orthant/js'",
      );
    } finally {
      compile.mockRestore();
    }
    expect(typeof instantiateTables(createMemory(1)).rank).toBe('function'); // init that failed has changed nothing
  });
});

describe('an engine without SIMD', () => {
  const message =
    "WebAssembly: expected an engine with SIMD (2021 or newer), got one without; import 'orthant/js', which needs none";

  it('gets an error that says so, from every way in', async () => {
    const validate = vi.spyOn(WebAssembly, 'validate').mockReturnValue(false);
    try {
      const { createMemory, init, instantiateEngine, instantiateTables } = await fresh();
      const errors = [
        thrownBy(() => instantiateTables(createMemory(1))),
        thrownBy(() => instantiateEngine(createMemory(1))),
        thrownBy(() => instantiateEngine(createMemory(1, true))),
        await rejectionOf(init()),
      ];
      for (const error of errors) {
        expect(error).toBeInstanceOf(RangeError);
        expect([error.code, error.message]).toEqual(['ERR_NO_SIMD', message]);
      }
    } finally {
      validate.mockRestore();
    }
  });

  it('so does one without WebAssembly', async () => {
    vi.stubGlobal('WebAssembly', undefined);
    try {
      const { createMemory, init } = await fresh();
      const errors = [thrownBy(() => createMemory(1)), await rejectionOf(init())];
      expect(errors.map((error) => [error.name, error.message])).toEqual([
        ['RangeError', message],
        ['RangeError', message],
      ]);
    } finally {
      vi.unstubAllGlobals();
    }
  });
});
