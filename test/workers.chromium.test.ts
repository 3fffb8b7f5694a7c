import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VectorIndex } from '../src/vector-index.js';
import { CROSS_ORIGIN_ISOLATED, launchChromium, openPage, Site } from './chromium.js';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));
const dimensions = 12;
/** Numbers that Node and the page make alike. */
const MAKE = `(count) => Float32Array.from({ length: count }, (_, i) => ((i * 7919) % 1009) / 500 + ((i * 104729) % 31))`;
const make = new Function(`return ${MAKE}`)() as (count: number) => Float32Array;

/** What a page does with a pool; all numbers, so that it comes back whole. */
const PROGRAM = `
  import { WorkerPool } from 'orthant/workers';
  const make = ${MAKE};
  globalThis.run = async (asked) => {
    const rows = make(2500 * ${dimensions});
    const queries = rows.subarray(0, 100 * ${dimensions});
    const pool = await WorkerPool.from(rows, { dimensions: ${dimensions}, threads: 2, ...asked });
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const found = await pool.searchBatch(queries, { k: 5 });
    const first = await pool.add(rows.subarray(0, 500 * ${dimensions}));
    await pool.remove([1, 2, 3]);
    await pool.build();
    const controller = new AbortController();
    const given = pool.build({ signal: controller.signal }).catch((error) => error.name);
    controller.abort();
    const rebuilt = await pool.searchBatch(queries, { k: 5 });
    const wrong = await pool.search(rows.subarray(0, 3)).catch((error) => error.code);
    clearInterval(timer);
    const bytes = await pool.save();
    let sum = 0;
    for (const byte of bytes) sum = (sum * 31 + byte) >>> 0;
    const result = {
      isolated: crossOriginIsolated, isShared: pool.isShared, size: pool.size, first, wrong, turned: turns > 0,
      given: await given, ids: [...found.ids], distances: [...found.distances], rebuilt: [...rebuilt.ids],
      bytes: bytes.length, sum,
    };
    pool.dispose();
    return result;
  };
  // Workers that end, by an error that nothing catches, when their name is called.
  globalThis.runWithEnds = async (asked) => {
    const rows = make(2500 * ${dimensions});
    let started = 0;
    const worker = () => new Worker('mortal.js', { type: 'module', name: String(started++) });
    const pool = await WorkerPool.from(rows, { dimensions: ${dimensions}, threads: 2, worker, ...asked });
    const before = await pool.searchBatch(rows.subarray(0, 100 * ${dimensions}), { k: 5 });
    const channel = new BroadcastChannel('ends');
    const failures = [];
    for (const name of ['0', '1']) {
      const known = started;
      channel.postMessage(name);
      while (started === known)
        await pool.build({ cells: 9 }).catch(({ code, message }) => failures.push(code + ' ' + message));
    }
    channel.close();
    const after = await pool.searchBatch(rows.subarray(0, 100 * ${dimensions}), { k: 5 });
    const lasting = await pool.build({ cells: 9 }).then(() => pool.cells);
    pool.dispose();
    return { started, failures, isSame: before.ids.join() === after.ids.join(), lasting };
  };`;
const MORTAL = `
  import 'orthant/workers/worker.js';
  new BroadcastChannel('ends').onmessage = ({ data }) => {
    if (data === self.name) throw new Error('the end of ' + data);
  };`;

let browser: Browser;
let bundled: string;

beforeAll(async () => {
  bundled = mkdtempSync(path.join(tmpdir(), 'orthant-pool-'));
  writeFileSync(path.join(bundled, 'program.js'), PROGRAM);
  writeFileSync(path.join(bundled, 'mortal.js'), MORTAL);
  // A bundle as an application would have it: worker.js stays a script of its own, beside the bundle.
  await build({
    entryPoints: {
      main: path.join(bundled, 'program.js'),
      mortal: path.join(bundled, 'mortal.js'),
      worker: path.join(dist, 'workers/worker.js'),
    },
    outdir: path.join(bundled, 'out'),
    bundle: true,
    format: 'esm',
    alias: {
      'orthant/workers/worker.js': path.join(dist, 'workers/worker.js'),
      'orthant/workers': path.join(dist, 'workers/index.js'),
    },
    nodePaths: [fileURLToPath(new URL('../node_modules', import.meta.url))],
  });
  browser = await launchChromium();
});

afterAll(async () => {
  await browser?.close();
  rmSync(bundled, { recursive: true, force: true });
});

describe('a pool in Chromium', () => {
  it.each([
    ['over one memory, in a page that is cross-origin isolated', true, {}, true],
    ['over copies, in the same page when asked to', true, { shared: false }, false],
    ['over copies, in a page that is not isolated', false, {}, false],
  ])('works %s', async (_, isolated, asked, isShared) => {
    const site = await Site.serve(path.join(bundled, 'out'), {
      headers: isolated ? CROSS_ORIGIN_ISOLATED : {},
      files: {
        '/index.html': '<!doctype html><title>pool</title><script type="module" src="main.js"></script>',
      },
    });
    const { page, errors, close } = await openPage(browser, site.url);
    try {
      await page.waitForFunction('typeof run === "function"');
      const result = (await page.evaluate(`run(${JSON.stringify(asked)})`)) as Record<string, unknown>;
      expect(errors).toEqual([]);

      const rows = make(2500 * dimensions);
      const queries = rows.subarray(0, 100 * dimensions);
      const index = VectorIndex.from(rows, { dimensions });
      const found = index.searchBatch(queries, { k: 5 });
      index.add(rows.subarray(0, 500 * dimensions));
      index.remove([1, 2, 3]);
      index.build();
      const bytes = index.save();
      let sum = 0;
      for (const byte of bytes) sum = (sum * 31 + byte) >>> 0;
      expect(result).toEqual({
        ...{
          isolated,
          isShared,
          size: 2997,
          first: 2500,
          wrong: 'ERR_LENGTH',
          turned: true,
          given: 'AbortError',
        },
        ids: [...found.ids],
        distances: [...found.distances],
        rebuilt: [...index.searchBatch(queries, { k: 5 }).ids],
        ...{ bytes: bytes.length, sum },
      });
    } finally {
      await close();
      await site.close();
    }
  });

  it.each([true, false])(
    'replaces workers that end by an error, and keeps the index (page isolated: %s)',
    async (isolated) => {
      const site = await Site.serve(path.join(bundled, 'out'), {
        headers: isolated ? CROSS_ORIGIN_ISOLATED : {},
        files: {
          '/index.html': '<!doctype html><title>pool</title><script type="module" src="main.js"></script>',
        },
      });
      const { page, close } = await openPage(browser, site.url);
      try {
        await page.waitForFunction('typeof run === "function"');
        const { failures, ...rest } = (await page.evaluate('runWithEnds()')) as { failures: string[] };
        expect(rest).toEqual({ started: 4, isSame: true, lasting: 9 });
        // Builds one after another: at least the one that was under way was lost.
        expect(failures.length).toBeGreaterThan(0);
        for (const failure of failures) expect(failure).toMatch(/^ERR_WORKER .*the end of [01]$/);
      } finally {
        await close();
        await site.close();
      }
    },
  );
});
