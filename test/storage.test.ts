import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { launchChromium, launchWithProfile, Site } from './chromium.js';

/** What the pages and workers of this test have. */
const PROGRAM = `
  import * as all from './src/index.js';
  import * as storage from './src/storage/index.js';
  const { VectorIndex } = all;
  const numbers = (count, seed) => {
    let x = seed * 2654435761 >>> 0 || 1;
    return Float32Array.from({ length: count }, () => {
      x ^= x << 13; x ^= x >>> 17; x ^= x << 5;
      return (x >>> 0) / 2 ** 32 - 0.5;
    });
  };
  /** An index of so many rows of 64 numbers; the seed tells indexes apart. */
  const make = (rows, seed) => {
    const index = new VectorIndex({ dimensions: 64, seed });
    index.add(numbers(rows * 64, seed));
    return index;
  };
  /** The seed of an index that \`make\` made, all of which must be right. */
  const seedOf = (index, seeds) => {
    const bytes = index.save();
    for (const seed of seeds) {
      const expected = make(index.size, seed).save();
      if (expected.length === bytes.length && expected.every((byte, i) => byte === bytes[i])) return seed;
    }
    throw new Error('expected an index of one of these, got another');
  };
  const caught = async (promise) => {
    try {
      await promise;
      return null;
    } catch (error) {
      const { name, code, needed, available, message, reason } = error;
      return { name, code, needed, available, message, reason };
    }
  };
  Object.assign(globalThis, { all, make, numbers, seedOf, caught, ...storage });
  if (typeof document === 'undefined') {
    onmessage = async ({ data }) => {
      try {
        postMessage({ value: await new Function('return (async () => {' + data + '})()')() });
      } catch (error) {
        postMessage({ error: String(error) });
      }
    };
  }`;

let browser: Browser;
let site: Site;
beforeAll(async () => {
  const resolveDir = fileURLToPath(new URL('..', import.meta.url));
  const { outputFiles } = await build({
    stdin: { contents: PROGRAM, resolveDir, loader: 'js' },
    bundle: true,
    format: 'esm',
    write: false,
  });
  const script = outputFiles[0].text;
  site = await Site.serve(null, {
    files: {
      '/index.html': '<!doctype html><meta charset="utf-8"><script type="module" src="/program.js"></script>',
      '/program.js': script,
    },
  });
  browser = await launchChromium();
});
afterAll(async () => {
  await browser?.close();
  await site?.close();
});

/** Opens the page of this test; its program is there. */
async function open(context: BrowserContext, prepare?: string): Promise<Page> {
  const page = await context.newPage();
  if (prepare) await page.addInitScript(prepare);
  await page.goto(site.url);
  await page.waitForFunction('globalThis.openStorage !== undefined');
  return page;
}

/** Runs a program in a page; it may await. */
function run<Result = unknown>(page: Page, program: string): Promise<Result> {
  return page.evaluate(`(async () => { ${program} })()`) as Promise<Result>;
}

/** The same in a worker of the page. */
function runInWorker<Result = unknown>(page: Page, program: string): Promise<Result> {
  return run(
    page,
    `const worker = new Worker('/program.js', { type: 'module' });
     const { value, error } = await new Promise((done) => {
       worker.onmessage = ({ data }) => done(data);
       worker.onerror = (event) => done({ error: event.message });
       worker.postMessage(${JSON.stringify(program)});
     });
     worker.terminate();
     if (error) throw new Error(error);
     return value;`,
  );
}

describe.each(['opfs', 'indexeddb'] as const)('the storage of a browser (%s)', (backend) => {
  const storage = `const storage = await openStorage({ backend: '${backend}' });`;

  it('keeps every class, lists and deletes', async () => {
    const context = await browser.newContext();
    const page = await open(context);
    const result = await run(
      page,
      `${storage}
       const { HyperplaneLsh, BitSamplingLsh, MinHashLsh, VectorIndex } = all;
       const lsh = new HyperplaneLsh({ dimensions: 8, tables: 3, bits: 4 });
       lsh.add(numbers(800, 1));
       const bits = new BitSamplingLsh({ bits: 64, sampledBits: 6, tables: 3 });
       bits.add(new Uint8Array(numbers(200, 2).buffer));
       const sets = new MinHashLsh({ bands: 3, rows: 2 });
       sets.add([Uint32Array.of(1, 2, 3), Uint32Array.of(4)]);
       const indexes = { 'a/b ~*.: ü': make(5000, 3), '.': lsh, '..': bits, sets };
       const same = [];
       for (const [name, index] of Object.entries(indexes)) {
         await storage.save(name, index);
         const loaded = await storage.load(name);
         const [was, is] = [index.save(), loaded.save()];
         same.push(loaded.constructor === index.constructor && was.every((byte, i) => byte === is[i]));
       }
       const listed = await storage.list();
       return {
         backend: storage.backend,
         same,
         names: listed.map(({ name }) => name),
         bytes: listed.every(({ name, bytes }) => bytes === indexes[name].save().length),
         fresh: listed.every(({ savedAt }) => Math.abs(Date.now() - savedAt) < 60_000),
         none: await storage.load('none'),
         typed: (await storage.load('sets', { as: MinHashLsh })).size,
         otherKind: await caught(storage.load('sets', { as: VectorIndex })),
         limited: await caught(storage.load('.', { maxRows: 10 })),
         deleted: [await storage.delete('..'), await storage.delete('..')],
         left: (await storage.list()).map(({ name }) => name),
         other: await (await openStorage({ backend: '${backend}', folder: 'other' })).list(),
       };`,
    );
    expect(result).toMatchObject({
      backend,
      same: [true, true, true, true],
      names: ['.', '..', 'a/b ~*.: ü', 'sets'],
      bytes: true,
      fresh: true,
      none: undefined,
      typed: 2,
      otherKind: { name: 'SnapshotError', reason: 'kind' },
      limited: { name: 'SnapshotError', reason: 'limit' },
      deleted: [true, false],
      left: ['.', 'a/b ~*.: ü', 'sets'],
      other: [],
    });
    await context.close();
  });

  it('is there again after a reload, in other pages and in workers, which may write too', async () => {
    const context = await browser.newContext();
    const page = await open(context);
    await run(page, `${storage} await storage.save('one', make(3000, 5));`);
    await page.reload();
    await page.waitForFunction('globalThis.openStorage !== undefined');
    const load = `${storage} return seedOf(await storage.load('one'), [4, 5, 6]);`;
    expect(await run(page, load)).toBe(5);
    const other = await open(context);
    expect(await run(other, load)).toBe(5);
    expect(await runInWorker(other, load)).toBe(5);
    await runInWorker(other, `${storage} await storage.save('one', make(3000, 6));`);
    expect(await run(page, load)).toBe(6);
    expect(await run(page, `${storage} return (await storage.list()).length`)).toBe(1);
    await context.close();
  });

  it('holds one whole index whatever two pages and a worker write at once', async () => {
    const context = await browser.newContext();
    const [first, second, reader] = [await open(context), await open(context), await open(context)];
    await run(first, `${storage} await storage.save('one', make(4000, 1));`);
    const write = (seed: number): string =>
      `${storage} const index = make(4000, ${seed}); for (let i = 0; i < 12; i++) await storage.save('one', index);`;
    const writers = Promise.all([run(first, write(1)), run(second, write(2)), runInWorker(second, write(3))]);
    const read = run<number[]>(
      reader,
      `${storage}
       const seen = [];
       for (let i = 0; i < 12; i++) seen.push(seedOf(await storage.load('one'), [1, 2, 3]));
       return seen;`,
    );
    await writers;
    expect((await read).length).toBe(12);
    const { size, left } = await run<{ size: number; left: number }>(
      reader,
      `${storage} return { size: (await storage.load('one')).size, left: (await storage.list()).length };`,
    );
    expect([size, left]).toEqual([4000, 1]);
    await context.close();
  });

  it('keeps the old index when the page is closed while it writes', async () => {
    const context = await browser.newContext();
    const keeper = await open(context);
    await run(keeper, `${storage} await storage.save('one', make(2000, 1));`);
    for (const wait of [0, 15, 40, 80]) {
      const page = await open(context);
      await run(
        page,
        `${storage} const index = make(60000, 2); globalThis.saving = storage.save('one', index); saving.catch(() => {});`,
      );
      await new Promise((done) => void setTimeout(done, wait));
      await page.close({ runBeforeUnload: false });
      const seed = await run(keeper, `${storage} return seedOf(await storage.load('one'), [1, 2]);`);
      expect([1, 2]).toContain(seed);
      await run(keeper, `${storage} await storage.save('one', make(2000, 1));`);
      expect(await run(keeper, `${storage} return seedOf(await storage.load('one'), [1]);`)).toBe(1);
    }
    await context.close();
  });

  it('waits for the writer of another tab, until a signal says otherwise', async () => {
    const context = await browser.newContext();
    const [holder, page] = [await open(context), await open(context)];
    await run(
      holder,
      `await new Promise((held) => {
         navigator.locks.request('orthant:${backend}:orthant:one', () => {
           held();
           return new Promise((release) => { globalThis.release = release; });
         });
       });`,
    );
    const aborted = await run(
      page,
      `${storage} return caught(storage.save('one', make(10, 1), { signal: AbortSignal.timeout(200) }));`,
    );
    expect(aborted).toMatchObject({ name: 'TimeoutError' });
    await run(page, `${storage} globalThis.saving = storage.save('one', make(10, 1));`);
    const isWaiting = `return Promise.race([saving.then(() => false), new Promise((done) => setTimeout(done, 200, true))]);`;
    expect(await run(page, isWaiting)).toBe(true);
    await run(holder, 'release();');
    await run(page, 'await saving;');
    expect(await run(page, `${storage} return (await storage.load('one')).size;`)).toBe(10);
    await context.close();
  });

  it('tells when the site may take no more, and keeps what is there', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'orthant-profile-'));
    const context = await launchWithProfile(folder);
    const page = await open(context);
    const session = await context.newCDPSession(page);
    const { origin } = new URL(site.url);
    await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 1_000_000 });
    await run(page, `${storage} await storage.save('one', make(1000, 1));`);
    const refused = `${storage} return caught(storage.save('one', make(${backend === 'opfs' ? 40_000 : 160_000}, 2)));`; // IndexedDB counts late
    const told = await run<{ needed: number; available: number }>(page, refused);
    expect(told).toMatchObject({ name: 'StorageQuotaError', code: 'ERR_STORAGE_QUOTA' });
    expect(told.needed).toBeGreaterThan(40_000 * 256);
    // Chromium tells nobody how much there is left.
    expect(told.available ?? 0).toBeLessThan(told.needed);
    // Where the browser does not say beforehand, it refuses half-way.
    const late = await run(
      page,
      `Object.defineProperty(StorageManager.prototype, 'estimate', { value: undefined }); ${refused}`,
    );
    expect(late).toMatchObject({ name: 'StorageQuotaError', code: 'ERR_STORAGE_QUOTA' });
    const lateInWorker = await runInWorker(
      page,
      `Object.defineProperty(StorageManager.prototype, 'estimate', { value: undefined }); ${refused}`,
    );
    expect(lateInWorker).toMatchObject({ name: 'StorageQuotaError', code: 'ERR_STORAGE_QUOTA' });
    expect(await run(page, `${storage} return seedOf(await storage.load('one'), [1, 2]);`)).toBe(1);
    await session.send('Storage.overrideQuotaForOrigin', { origin });
    await run(page, `${storage} await storage.save('one', make(1500, 2));`);
    expect(await run(page, `${storage} return seedOf(await storage.load('one'), [1, 2]);`)).toBe(2);
    await context.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('lets the index be searched and not changed while it is saved', async () => {
    const context = await browser.newContext();
    const page = await open(context);
    const result = await run(
      page,
      `${storage}
       const index = make(30000, 1);
       const saving = storage.save('one', index);
       const row = index.vector(0);
       let refused = null;
       let isOver = false;
       saving.then(() => { isOver = true; });
       while (!refused && !isOver) {
         await new Promise((done) => setTimeout(done, 0));
         refused = await caught((async () => index.update(0, row))());
       }
       const found = index.search(row, { k: 1 }).ids[0];
       await saving;
       index.update(0, row);
       return { found, refused, size: index.size };`,
    );
    expect(result).toMatchObject({ found: 0, refused: { code: 'ERR_BUSY' }, size: 30_000 });
    await context.close();
  });

  it('refuses names that it cannot have', async () => {
    const context = await browser.newContext();
    const page = await open(context);
    for (const name of ["''", "'x'.repeat(101)", '7']) {
      const error = await run(page, `${storage} return caught(storage.save(${name}, make(1, 1)));`);
      expect(error).toMatchObject({ name: 'StorageError', code: 'ERR_STORAGE_NAME' });
    }
    const folder = await run(page, `return caught(openStorage({ folder: 'a/b' }));`);
    expect(folder).toMatchObject({ code: 'ERR_STORAGE_NAME' });
    await context.close();
  });
});

describe('a place that lacks', () => {
  it('a file system of its own keeps indexes in IndexedDB', async () => {
    const context = await browser.newContext();
    const page = await open(context, 'delete StorageManager.prototype.getDirectory;');
    const result = await run(
      page,
      `const storage = await openStorage();
       await storage.save('one', make(100, 7));
       return [storage.backend, seedOf(await storage.load('one'), [7]), (await caught(openStorage({ backend: 'opfs' }))).code];`,
    );
    expect(result).toEqual(['indexeddb', 7, 'ERR_NO_STORAGE']);
    await context.close();
  });

  it('both, or locks, says so', async () => {
    const context = await browser.newContext();
    const neither = await open(
      context,
      'delete StorageManager.prototype.getDirectory; delete globalThis.indexedDB;',
    );
    expect(await run(neither, 'return caught(openStorage());')).toMatchObject({ code: 'ERR_NO_STORAGE' });
    const locks = await open(context, 'delete Navigator.prototype.locks;');
    expect(await run(locks, 'return caught(openStorage());')).toMatchObject({ code: 'ERR_NO_STORAGE' });
    await context.close();
  });
});

it('a file that a crash has cut or spoilt is passed over for the one before', async () => {
  const context = await browser.newContext();
  const page = await open(context);
  const result = await run(
    page,
    `const storage = await openStorage({ backend: 'opfs' });
     await storage.save('one', make(500, 1));
     const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('orthant');
     const bytes = make(500, 2).save();
     const put = async (name, some) => {
       const file = await (await folder.getFileHandle(name, { create: true })).createWritable();
       await file.write(some);
       await file.close();
     };
     await put('one~7.orthant', bytes.subarray(0, 9000));
     await put('one~8.orthant', new Uint8Array(0));
     await put('one~9.orthant', bytes.map((byte, i) => (i === 50000 ? byte ^ 1 : byte)));
     const seed = seedOf(await storage.load('one'), [1, 2]);
     await storage.save('one', make(500, 3));
     const names = [];
     for await (const name of folder.keys()) names.push(name);
     return { seed, names, now: seedOf(await storage.load('one'), [1, 2, 3]) };`,
  );
  expect(result).toEqual({ seed: 1, names: ['one~10.orthant'], now: 3 });
  await context.close();
});
