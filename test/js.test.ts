import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, vi } from 'vitest';
import * as orthant from '../src/index.js';
import * as inJavaScript from '../src/js/kernels.js';
import { kernels } from '../src/js/translated.js';
import { createMemory, instantiateEngine, instantiateTables } from '../src/kernels.js';
import { instantiate } from './arena.js';
import { digest } from './digest.mjs';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));

describe('orthant/js', () => {
  it('has the names of orthant', async () => {
    const js = await import(`${dist}js/index.js`);
    expect(Object.keys(js).sort()).toEqual(Object.keys(orthant).sort());
  });

  it('gives the same answers and the same snapshots, bit for bit', async () => {
    expect(digest(await import(`${dist}js/index.js`))).toBe(digest(orthant));
  });

  it('needs no WebAssembly, and importing it leaves orthant as it is', () => {
    const program = `
      const { WebAssembly } = globalThis;
      delete globalThis.WebAssembly;
      const js = await import('${dist}js/index.js');
      const { digest } = await import('${new URL('digest.mjs', import.meta.url)}');
      const without = digest(js);
      globalThis.WebAssembly = WebAssembly;
      const orthant = await import('${dist}index.js');
      console.log(without === digest(orthant), js.VectorIndex === orthant.VectorIndex);`;
    const args = ['--input-type=module', '--eval', program];
    expect(execFileSync(process.execPath, args, { encoding: 'utf8' })).toBe('true false\n');
  });

  it('has no binary in it', () => {
    const text = readFileSync(`${dist}js/index.js`, 'utf8');
    expect(text).not.toContain('WebAssembly.Module(');
    expect(text.length).toBeGreaterThan(100_000);
    const binary = readFileSync(`${dist}orthant.js`, 'utf8').match(/order:"[^"]{60}/)?.[0];
    expect(binary).toBeDefined();
    expect(text).not.toContain(binary);
  });

  it('has a twin of every kernel, and of every field of the plan', () => {
    const mine = instantiate(createMemory(16) as WebAssembly.Memory) as unknown as Record<string, unknown>;
    const twins = kernels(inJavaScript.createMemory(16)) as Record<string, unknown>;
    const names = Object.keys(mine).filter((name) => name !== 'memory');
    expect(names.length).toBeGreaterThan(60);
    expect(Object.keys(twins).sort()).toEqual(names.sort());
    for (const name of names) expect(typeof twins[name], name).toBe(typeof mine[name]);
  });

  it('has the kernels of an index where that binary has them', () => {
    const namesOf = (kernels: object): string[] => Object.keys(kernels).filter((name) => name !== 'memory');
    const memory = createMemory(16);
    const twinMemory = inJavaScript.createMemory(16);
    expect(namesOf(inJavaScript.instantiateTables(twinMemory)).sort()).toEqual(
      namesOf(instantiateTables(memory)).sort(),
    );
    expect(namesOf(inJavaScript.instantiateEngine(twinMemory)).sort()).toEqual(
      namesOf(instantiateEngine(memory)).sort(),
    );
  });

  it('loads what orthant saved, and the other way round', async () => {
    const js = (await import(`${dist}js/index.js`)) as typeof orthant;
    const vectors = Float32Array.from({ length: 400 }, (_, i) => Math.cos(i * i));
    const query = vectors.subarray(40, 44);
    const bytes = orthant.VectorIndex.from(vectors, { dimensions: 4 }).save();
    const again = js.VectorIndex.load(bytes);
    expect(again.save()).toEqual(bytes);
    expect(orthant.VectorIndex.load(again.save()).search(query, { k: 5 })).toEqual(
      again.search(query, { k: 5 }),
    );
  });

  it('grows its memory and keeps the contents', () => {
    const memory = inJavaScript.createMemory(4);
    new Uint8Array(memory.buffer).fill(7);
    const before = memory.buffer;
    expect(memory.grow(2)).toBe(1);
    expect(memory.buffer).not.toBe(before);
    expect(memory.buffer.byteLength).toBe(3 * 65536);
    expect(new Uint8Array(memory.buffer)[65535]).toBe(7);
    expect(new Uint8Array(memory.buffer)[65536]).toBe(0);
    expect(() => memory.grow(2)).toThrow(RangeError);
    expect(memory.buffer.byteLength).toBe(3 * 65536);
  });
});

describe('where kernels cannot be compiled', () => {
  const fresh = async (): Promise<typeof orthant> => {
    vi.resetModules();
    return import('../src/index.js');
  };

  it('an engine without SIMD gets an error that names orthant/js', async () => {
    const validate = vi.spyOn(WebAssembly, 'validate').mockReturnValue(false);
    try {
      const { VectorIndex, init } = await fresh();
      const expected = { code: 'ERR_NO_SIMD', message: expect.stringContaining("'orthant/js'") };
      expect(() => new VectorIndex({ dimensions: 4 })).toThrow(expect.objectContaining(expected));
      await expect(init()).rejects.toMatchObject(expected);
    } finally {
      validate.mockRestore();
    }
  });

  it('an engine without WebAssembly gets the same error', async () => {
    vi.stubGlobal('WebAssembly', undefined);
    try {
      const { VectorIndex, init } = await fresh();
      expect(() => new VectorIndex({ dimensions: 4 })).toThrow(
        expect.objectContaining({ code: 'ERR_NO_SIMD' }),
      );
      await expect(init()).rejects.toMatchObject({ code: 'ERR_NO_SIMD' });
    } finally {
      vi.unstubAllGlobals();
    }
  });

  it('a platform that refuses to compile bytes gets an error that tells the ways out, and takes a module', async () => {
    const module = new WebAssembly.Module(readFileSync(`${dist}orthant.wasm`));
    const { Module } = WebAssembly;
    const refusal = new WebAssembly.CompileError('Wasm code generation disallowed by embedder');
    class Forbidden {
      static [Symbol.hasInstance](value: unknown): boolean {
        return Object.prototype.toString.call(value) === '[object WebAssembly.Module]';
      }
      constructor() {
        throw refusal;
      }
    }
    const compile = vi.spyOn(WebAssembly, 'compile').mockRejectedValue(refusal);
    Object.assign(WebAssembly, { Module: Forbidden });
    try {
      const { init, VectorIndex } = await fresh();
      const expected = { code: 'ERR_COMPILE_FORBIDDEN', cause: refusal };
      expect(() => new VectorIndex({ dimensions: 4 })).toThrow(expect.objectContaining(expected));
      await expect(init()).rejects.toMatchObject(expected);
      await init({ module });
      const index = new VectorIndex({ dimensions: 2 });
      index.add(Float32Array.of(1, 2, 3, 4));
      expect([...index.search(Float32Array.of(3, 4), { k: 1 }).ids]).toEqual([1]);
    } finally {
      Object.assign(WebAssembly, { Module });
      compile.mockRestore();
    }
  });
});
