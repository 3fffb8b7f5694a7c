import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build as buildWithEsbuild } from 'esbuild';
import type { Browser } from 'playwright-core';
import { build as buildWithVite, createServer as createViteServer } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VectorIndex } from '../src/vector-index.js';
import { CROSS_ORIGIN_ISOLATED, launchChromium, openPage, Site } from './chromium.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const requireHere = createRequire(path.join(root, 'test/platforms/package.json'));
const importHere = (name: string) => import(pathToFileURL(requireHere.resolve(name)).href);

const dimensions = 12;
/** Numbers that Node and the page make alike. */
const MAKE = `(count) => Float32Array.from({ length: count }, (_, i) => ((i * 7919) % 1009) / 500 + ((i * 104729) % 31))`;
const make = new Function(`return ${MAKE}`)() as (count: number) => Float32Array;

/** A program as a user writes it: nothing in it tells a bundler of workers. */
const PROGRAM = `
  import { WorkerPool } from 'orthant/workers';
  const make = ${MAKE};
  globalThis.run = async () => {
    const rows = make(600 * ${dimensions});
    const pool = await WorkerPool.from(rows, { dimensions: ${dimensions}, threads: 2 });
    const { ids, distances } = await pool.searchBatch(rows.subarray(0, 64 * ${dimensions}), { k: 5 });
    const { isShared } = pool;
    pool.dispose();
    return { isolated: crossOriginIsolated, isShared, ids: [...ids], distances: [...distances] };
  };`;
const page = (script: string): string =>
  `<!doctype html><link rel="icon" href="data:,"><title>pool</title>${script}`;
const MODULE = page('<script type="module" src="./main.js"></script>');
const CLASSIC = page('<script defer src="./main.js"></script>');

const folder = mkdtempSync(path.join(tmpdir(), 'orthant-pools-'));
const inProject = (name: string): string => path.join(folder, name);
let browser: Browser;
let answer: object;

beforeAll(async () => {
  mkdirSync(inProject('node_modules/@assemblyscript'), { recursive: true });
  mkdirSync(inProject('node_modules/orthant'));
  for (const name of ['dist', 'package.json'])
    cpSync(path.join(root, name), inProject(`node_modules/orthant/${name}`), { recursive: true });
  const loader = 'node_modules/@assemblyscript/loader';
  symlinkSync(path.join(root, loader), inProject(loader), 'dir');
  writeFileSync(inProject('package.json'), '{ "type": "module", "private": true }');
  writeFileSync(inProject('main.js'), PROGRAM);
  writeFileSync(inProject('index.html'), MODULE);
  const rows = make(600 * dimensions);
  const index = VectorIndex.from(rows, { dimensions });
  const { ids, distances } = index.searchBatch(rows.subarray(0, 64 * dimensions), { k: 5 });
  answer = { ids: [...ids], distances: [...distances] };
  browser = await launchChromium();
});
afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function expectAnswer(url: string, isolated: boolean): Promise<void> {
  const { page: tab, errors, close } = await openPage(browser, url);
  try {
    await tab.waitForFunction('typeof run === "function"', undefined, { timeout: 60_000 });
    const result = await tab.evaluate('run()');
    expect(result).toEqual({ isolated, isShared: isolated, ...answer });
    expect(errors).toEqual([]);
  } catch (error) {
    throw new Error(`the page gave another answer: ${errors.join('; ')}`, { cause: error });
  } finally {
    await close();
  }
}

/** Bundles by tool: each writes a folder with main.js, or a whole page. */
const TOOLS: Record<string, (out: string) => Promise<string>> = {
  async Vite(out) {
    await buildWithVite({ root: folder, configFile: false, logLevel: 'silent', build: { outDir: out } });
    return '';
  },
  async webpack(out) {
    const { default: webpack } = await importHere('webpack');
    const complaints = await new Promise<unknown[]>((done, fail) => {
      webpack(
        {
          context: folder,
          entry: './main.js',
          mode: 'production',
          output: { path: out, filename: 'main.js' },
          performance: { hints: false },
        },
        (error: Error | null, stats: { toJson(): { errors: unknown[]; warnings: unknown[] } }) => {
          if (error) return fail(error);
          const { errors, warnings } = stats.toJson();
          done([...errors, ...warnings]);
        },
      );
    });
    expect(complaints).toEqual([]);
    return CLASSIC;
  },
  // These two leave the address of the worker's script as it is: it is an entry of its own, beside the program.
  async Rollup(out) {
    const [{ rollup }, { default: resolve }] = await Promise.all(
      ['rollup', '@rollup/plugin-node-resolve'].map(importHere),
    );
    const bundle = await rollup({
      input: { main: inProject('main.js'), worker: 'orthant/workers/worker.js' },
      plugins: [resolve({ browser: true, rootDir: folder })],
    });
    await bundle.write({ dir: out, format: 'es', entryFileNames: '[name].js', chunkFileNames: '[name].js' });
    await bundle.close();
    return MODULE;
  },
  async esbuild(out) {
    await buildWithEsbuild({
      entryPoints: { main: inProject('main.js'), worker: 'orthant/workers/worker.js' },
      absWorkingDir: folder,
      outdir: out,
      bundle: true,
      format: 'esm',
      logLevel: 'error',
    });
    return MODULE;
  },
};

describe.each(Object.keys(TOOLS))('a pool in the bundle of %s', (name) => {
  it('searches over one memory where the page is isolated, and over copies where it is not', async () => {
    const out = inProject(`out-${name}`);
    const html = await TOOLS[name](out);
    for (const isolated of [true, false]) {
      const headers = isolated ? CROSS_ORIGIN_ISOLATED : {};
      const site = await Site.serve(out, { headers, files: html ? { '/index.html': html } : {} });
      try {
        await expectAnswer(site.url, isolated);
      } finally {
        await site.close();
      }
    }
  });
});

describe('a pool from the development server of Vite', () => {
  it.each([true, false])('searches (page isolated: %s)', async (isolated) => {
    const server = await createViteServer({
      root: folder,
      configFile: false,
      logLevel: 'silent',
      server: {
        ...{ port: 0, host: '127.0.0.1', hmr: false, watch: null },
        headers: isolated ? { ...CROSS_ORIGIN_ISOLATED } : {},
      },
    });
    await server.listen();
    try {
      await expectAnswer(server.resolvedUrls?.local[0] as string, isolated);
    } finally {
      await server.close();
    }
  });
});
