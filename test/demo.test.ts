import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { build } from 'vite';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BitSamplingLsh, exactSearch, HyperplaneLsh, unaryCode, VectorIndex } from '../src/index.js';
import { readVectors } from '../src/node/index.js';
import { CROSS_ORIGIN_ISOLATED, launchChromium, type OpenPage, openPage, Site } from './chromium.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'orthant-demo-'));
let site: Site;
let browser: Browser;
let open: OpenPage;
let page: Page;
/** Addresses that the page asked for. */
let requests: string[] = [];

beforeAll(async () => {
  const outDir = path.join(folder, 'dist');
  await build({ configFile: path.join(root, 'demo/vite.config.ts'), build: { outDir }, logLevel: 'error' });
  site = await Site.serve(outDir, { headers: CROSS_ORIGIN_ISOLATED });
  browser = await launchChromium();
});
afterAll(async () => {
  await browser?.close();
  await site?.close();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  requests = [];
  open = await openPage(browser, 'about:blank');
  page = open.page;
  page.on('request', (request) => requests.push(request.url()));
});
afterEach(async () => {
  const { errors } = open;
  await open.close();
  expect(errors).toEqual([]);
  const elsewhere = requests.filter((url) => !/^(data|blob):/.test(url) && !url.startsWith(site.url));
  expect(elsewhere).toEqual([]);
});

/** Numbers that stand in the elements of a list or column. */
async function idsOf(selector: string): Promise<number[]> {
  return page
    .locator(selector)
    .evaluateAll((items) => items.map((item) => Number((item as HTMLElement).dataset.id)));
}

async function setRange(name: string, value: number): Promise<void> {
  await page.locator(`input[name="${name}"]`).fill(String(value));
}

const digits = Uint8Array.from(readVectors(path.join(root, 'examples/data/digits.npy')).vectors);
const [indexed, pixels] = [1500, 64];
const image = (id: number): Uint8Array => digits.subarray(id * pixels, (id + 1) * pixels);

describe('the page on digits', () => {
  const status = (): Promise<string | null> => page.locator('#digits-status').textContent();

  beforeEach(async () => {
    await page.goto(site.url);
    await expect.poll(status, { timeout: 20_000 }).toMatch(/^For image 1500/);
  });

  it('shows the neighbors of a clicked image that bit sampling gives', async () => {
    const lsh = new BitSamplingLsh({ bits: 1024, sampledBits: 30, tables: 20, seed: 0 });
    lsh.add(unaryCode(digits.subarray(0, indexed * pixels), 16));
    const query = unaryCode(image(1507), 16);
    const { ids, distances } = lsh.search(query, { k: 6 });
    expect(ids.length).toBe(6); // else the case says little

    await setRange('tables', 20);
    await setRange('sampledBits', 30);
    await setRange('k', 6);
    await page.getByRole('button', { name: /^Image 1507/ }).click();
    await expect.poll(() => idsOf('#neighbors li')).toEqual([...ids]);
    const texts = await page.locator('#neighbors li > span').allTextContents();
    expect(texts.map((text) => Number(text.split(' at ')[1]))).toEqual([...distances]);
    expect(await status()).toContain(`${lsh.candidates(query).length} of 1500 images compared`);
    // The tables that are named hold the neighbor in the query's bucket.
    const found = await page
      .locator('#neighbors li small[title]')
      .evaluateAll((items) => items.map((item) => (item as HTMLElement).title));
    const keys = lsh.keys(query);
    const tablesOf = (id: number): number[] =>
      [...keys.keys()].filter((t) => lsh.bucket(t, keys[t]).includes(id));
    expect(found).toEqual(
      [...ids].map(
        (id) =>
          `found by table ${tablesOf(id)
            .map((t) => t + 1)
            .join(', ')}`,
      ),
    );
    expect(await page.locator('#bars svg rect').count()).toBe(lsh.stats().histogram.length);
  });

  it('shows those that hyperplanes give, with more probes more of them', async () => {
    const mean = new Float32Array(pixels);
    for (let i = 0; i < indexed * pixels; i++) mean[i % pixels] += digits[i] / indexed;
    const center = (ink: Uint8Array): Float32Array => Float32Array.from(ink, (x, i) => x - mean[i % pixels]);
    const lsh = new HyperplaneLsh({ dimensions: pixels, tables: 3, bits: 10, seed: 0 });
    lsh.add(center(digits.subarray(0, indexed * pixels)));

    await page.getByLabel('Family').selectOption('hyperplanes');
    await setRange('tables', 3);
    await setRange('bits', 10);
    for (const probes of [1, 8]) {
      await setRange('probes', probes);
      const { ids } = lsh.search(center(image(1500)), { k: 10, probes });
      await expect.poll(() => idsOf('#neighbors li')).toEqual([...ids]);
    }
  });

  it('tells recall 100 % of exact search, and hides the sliders that it has no use for', async () => {
    await page.getByLabel('Family').selectOption('exact');
    await expect.poll(status).toMatch(/1500 of 1500 images compared.*recall 100 %/);
    await expect.poll(() => page.locator('input[name="tables"]').isVisible()).toBe(false);
    const rows = Float32Array.from(digits.subarray(0, indexed * pixels));
    const { ids } = exactSearch(rows, Float32Array.from(image(1500)), { k: 10 });
    expect(await idsOf('#neighbors li')).toEqual([...ids]);
  });

  it('answers from the engine at a recall that was asked for', async () => {
    await page.getByLabel('Family').selectOption('engine');
    await setRange('recall', 0.99);
    await expect.poll(status).toMatch(/recall (9\d|100)/);
    expect(await page.locator('#bars-title').textContent()).toMatch(/^Cells by size/);
  });

  it('finds ones for a vertical stroke that is drawn with the mouse', async () => {
    await page.getByLabel('Family').selectOption('exact');
    await page.getByRole('button', { name: 'Clear' }).click();
    const box = (await page.locator('#pad').boundingBox())!;
    const middle = box.x + box.width * 0.48;
    await page.mouse.move(middle, box.y + 8);
    await page.mouse.down();
    await page.mouse.move(middle + 4, box.y + box.height - 8, { steps: 12 });
    await page.mouse.up();
    await expect.poll(status).toMatch(/^For your drawing/);
    const labels = (await page.locator('#neighbors li > span').allTextContents()).map((text) => text[0]);
    expect(labels.filter((label) => label === '1').length).toBeGreaterThan(5);
  });

  it('can be used with the keyboard alone', async () => {
    await page.locator('#tab-digits').focus();
    await page.keyboard.press('ArrowRight');
    expect(await page.locator('#curve').isVisible()).toBe(true);
    await page.keyboard.press('ArrowLeft');
    await page.locator('#clear').focus();
    await page.keyboard.press('Enter');
    await page.locator('#pad').focus();
    await page.keyboard.press('Space');
    for (let i = 0; i < 6; i++) await page.keyboard.press('Shift+ArrowDown');
    await expect.poll(status).toMatch(/^For your drawing/);
  });

  it('fits a phone, in light and in dark', async () => {
    await page.setViewportSize({ width: 360, height: 740 });
    for (const tab of ['digits', 'curve', 'vectors', 'words']) {
      await page.locator(`#tab-${tab}`).click();
      const { scrollWidth, clientWidth } = await page.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement;
        return { scrollWidth, clientWidth };
      });
      expect(scrollWidth, tab).toBeLessThanOrEqual(clientWidth);
    }
    const ground = (): Promise<string> =>
      page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await page.emulateMedia({ colorScheme: 'light' });
    const light = await ground();
    await page.emulateMedia({ colorScheme: 'dark' });
    expect(await ground()).not.toBe(light);
  });

  it('names every control', async () => {
    const nameless = await page.locator('button, input, select, canvas[tabindex]').evaluateAll((controls) =>
      controls
        .filter((control) => {
          const { labels } = control as HTMLInputElement;
          const text = control.getAttribute('aria-label') ?? control.textContent ?? '';
          return !(labels && labels.length > 0) && text.trim() === '';
        })
        .map((control) => control.outerHTML),
    );
    expect(nameless).toEqual([]);
  });
});

describe('the page', () => {
  it('leaves the thread that draws without an index: a worker has the library', () => {
    const built = path.join(folder, 'dist');
    const [, entry] = /src="\.?\/?(assets\/[^"]+\.js)"/.exec(
      readFileSync(path.join(built, 'index.html'), 'utf8'),
    )!;
    const scripts = readdirSync(path.join(built, 'assets')).filter((name) => name.endsWith('.js'));
    const holders = scripts.filter((name) =>
      readFileSync(path.join(built, 'assets', name), 'utf8').includes('WebAssembly'),
    );
    expect(holders.length).toBeGreaterThan(0);
    for (const name of holders) expect(name).toMatch(/^worker/);
    expect(holders).not.toContain(path.basename(entry));
  });
});

describe('the page on the trade-off', () => {
  it('measures every way, and draws what its table says', async () => {
    await page.goto(`${site.url}#curve`);
    const status = page.locator('#curve-status');
    await expect.poll(() => status.textContent(), { timeout: 90_000 }).toMatch(/^Measured: 9,800 rows/);
    await page.getByLabel('Data').selectOption('digits');
    await page.getByRole('button', { name: 'Measure' }).click();
    await expect.poll(() => status.textContent(), { timeout: 90_000 }).toMatch(/^Measured: 1,500 rows/);
    const rows = await page
      .locator('#curve-table tbody tr')
      .evaluateAll((all) => all.map((row) => [...row.children].map((cell) => cell.textContent ?? '')));
    const ways = [...new Set(rows.map(([way]) => way))];
    expect(ways).toEqual([
      'exactSearch',
      'pure JavaScript, exact',
      'HyperplaneLsh',
      'BitSamplingLsh',
      'VectorIndex',
    ]);
    const recall = (way: string): number[] =>
      rows.filter(([name]) => name === way).map(([, , share]) => Number.parseFloat(share));
    expect(recall('exactSearch')).toEqual([100]);
    expect(recall('pure JavaScript, exact')[0]).toBeGreaterThan(99); // rounded otherwise: ties may differ
    expect(Math.max(...recall('VectorIndex'))).toBeGreaterThan(97);
    expect(recall('HyperplaneLsh').at(-1)).toBeGreaterThan(recall('HyperplaneLsh')[0]);
    expect(await page.locator('#curve-chart svg circle').count()).toBe(rows.length);
  });
});

describe('the page on vectors of the user', () => {
  const dimensions = 5;
  const rows = 400;
  const vectors = Float32Array.from({ length: rows * dimensions }, (_, i) =>
    Math.fround(Math.sin(i * i + 1) * 3),
  );
  const lines = (separator: string): string =>
    Array.from({ length: rows }, (_, r) =>
      [`item ${r % 390}`, ...vectors.subarray(r * dimensions, (r + 1) * dimensions)].join(separator),
    ).join('\n');
  const fvecs = new DataView(new ArrayBuffer(rows * (4 + 4 * dimensions)));
  for (let r = 0; r < rows; r++) {
    fvecs.setInt32(r * 24, dimensions, true);
    for (let j = 0; j < dimensions; j++)
      fvecs.setFloat32(r * 24 + 4 + 4 * j, vectors[r * dimensions + j], true);
  }
  const npyHeader = `{'descr': '<f4', 'fortran_order': False, 'shape': (${rows}, ${dimensions}), }`.padEnd(
    117,
  );
  const npy = Buffer.concat([
    Buffer.from('\x93NUMPY\x01\x00', 'latin1'),
    Buffer.from([118, 0]),
    Buffer.from(`${npyHeader}\n`),
    Buffer.from(vectors.buffer),
  ]);
  const jsonl = Array.from({ length: rows }, (_, r) =>
    JSON.stringify({ id: `item ${r}`, vector: [...vectors.subarray(r * dimensions, (r + 1) * dimensions)] }),
  ).join('\n');
  const files: Record<string, Uint8Array | string> = {
    'rows.npy': npy,
    'rows.fvecs': new Uint8Array(fvecs.buffer),
    'rows.csv': `name,a,b,c,d,e\n${lines(',')}\n`,
    'rows.tsv': lines('\t'),
    'rows.jsonl': jsonl,
  };
  const truth = exactSearch(vectors, vectors.subarray(7 * dimensions, 8 * dimensions), { k: 10 });

  async function choose(name: string, contents: Uint8Array | string): Promise<void> {
    const file = path.join(folder, name);
    writeFileSync(file, contents);
    await page.locator('#file').setInputFiles(file);
  }
  async function shown(): Promise<number[]> {
    return page
      .locator('#vectors-table tbody tr')
      .evaluateAll((all) => all.map((row) => Number(row.children[1].textContent)));
  }
  async function searchFor(query: string): Promise<void> {
    await page.getByLabel('Row to search with').fill(query);
    await page.locator('#vectors-recall').selectOption('exact');
    await page.locator('#vectors-form').getByRole('button', { name: 'Search' }).click();
  }

  beforeEach(async () => {
    await page.goto(`${site.url}#vectors`);
  });

  it.each(Object.keys(files))('searches the rows of %s', async (name) => {
    await choose(name, files[name]);
    await expect
      .poll(() => page.locator('#vectors-status').textContent())
      .toMatch(/^rows: 400 rows of 5 numbers/);
    await searchFor('7');
    await expect.poll(shown).toEqual([...truth.ids]);
    const distances = await page.locator('#vectors-table tbody td:last-child').allTextContents();
    distances.forEach((text, i) => {
      expect(Number(text)).toBeCloseTo(truth.distances[i], 4);
    });
    await searchFor([...vectors.subarray(20 * dimensions, 21 * dimensions)].join(', '));
    await expect.poll(async () => (await shown())[0]).toBe(20);
  });

  it('takes a file that is dropped, searches by name, keeps it over a reload, and gives it away as a snapshot', async () => {
    const transfer = await page.evaluateHandle((text) => {
      const data = new DataTransfer();
      data.items.add(new File([text], 'pets.jsonl'));
      return data;
    }, jsonl);
    await page.locator('#drop').dispatchEvent('dragover', { dataTransfer: transfer });
    await page.locator('#drop').dispatchEvent('drop', { dataTransfer: transfer });
    await expect.poll(() => page.locator('#vectors-status').textContent()).toMatch(/^pets: 400 rows/);
    await searchFor('item 7');
    await expect.poll(shown).toEqual([...truth.ids]);
    await page.getByRole('button', { name: 'Keep in this browser' }).click();
    await expect.poll(() => page.locator('#vectors-status').textContent()).toMatch(/^Kept/);

    await page.reload();
    await page.getByRole('button', { name: 'pets', exact: true }).click();
    await expect.poll(() => page.locator('#vectors-status').textContent()).toMatch(/^pets: 400 rows.*loaded/);
    await searchFor('item 7');
    await expect.poll(shown).toEqual([...truth.ids]);

    const download = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Download the snapshot' }).click();
    const saved = await download;
    expect(saved.suggestedFilename()).toBe('pets.orthant');
    const bytes = new Uint8Array(readFileSync(await saved.path()));
    const index = VectorIndex.load(bytes);
    expect([
      ...index.search(vectors.subarray(7 * dimensions, 8 * dimensions), { k: 10, exact: true }).ids,
    ]).toEqual([...truth.ids]);

    await page.getByRole('button', { name: 'Delete pets' }).click();
    await expect.poll(() => page.locator('#kept-part').isVisible()).toBe(false);
    await choose('back.orthant', bytes);
    await expect.poll(() => page.locator('#vectors-status').textContent()).toMatch(/^back: 400 rows.*/);
  });

  it.each([
    ['cut.npy', npy.subarray(0, 900), /expected.*400, 5.*numbers/],
    ['cut.fvecs', new Uint8Array(fvecs.buffer).subarray(0, 30), /expected rows of 24 bytes, got 30/],
    ['wrong.csv', '1,2,3\n4,five,6\n', /line 2, column 2: expected a number, got five/],
    ['short.csv', '1,2,3\n4,5\n', /line 2: expected 3 columns, got 2/],
    ['wrong.jsonl', '{"v":[1,2]}\n{"v":[1]}\n', /line 2: expected 2 numbers, got 1/],
    ['wrong.orthant', 'not a snapshot at all', /expected/],
    ['rows.exe', 'MZ', /expected a name that ends in/],
  ])('says what is wrong with %s', async (name, contents, message) => {
    await choose(name, contents);
    await expect.poll(() => page.locator('#vectors-status .error').textContent()).toMatch(message);
  });
});

describe('the page on words', () => {
  const words = readFileSync(path.join(root, 'demo/data/words.txt'), 'utf8').trim().split('\n');
  const vectors = Float32Array.from(new Int8Array(readFileSync(path.join(root, 'demo/data/words.i8'))));
  const status = (): Promise<string | null> => page.locator('#words-status').textContent();
  const list = (): Promise<string[]> => page.locator('#words-list button').allTextContents();
  const vectorOf = (word: string): Float32Array =>
    vectors.subarray(words.indexOf(word) * 100, (words.indexOf(word) + 1) * 100);

  beforeEach(async () => {
    await page.goto(`${site.url}#words`);
    await expect.poll(status, { timeout: 20_000 }).toMatch(/words compared/);
  });

  it('lists the neighbors of a typed word that the library finds', async () => {
    const index = VectorIndex.from(vectors, { dimensions: 100, metric: 'cosine', storage: 'int8' });
    const { ids } = index.search(vectorOf('physics'), { k: 21, recall: 0.95 });
    await page.getByLabel('Word', { exact: true }).fill('physics');
    const expected = [...ids].map((id) => words[id]).filter((word) => word !== 'physics');
    await expect.poll(list).toEqual(expected);
    expect(expected).toContain('chemistry');
  });

  it('does sums of words', async () => {
    await page.getByRole('button', { name: 'king - man + woman' }).click();
    await expect.poll(async () => (await list()).slice(0, 3)).toContain('queen');
  });

  it('goes on from a word that is clicked', async () => {
    await page.locator('#words-list button').first().click();
    await expect.poll(() => page.getByLabel('Word', { exact: true }).inputValue()).not.toBe('ocean');
    await expect.poll(list).toContain('ocean');
  });

  it('says which word it does not know', async () => {
    await page.getByLabel('Word', { exact: true }).fill('xyzzyq');
    await expect.poll(status).toContain('“xyzzyq” is not among the 10,000 words');
    expect(await list()).toEqual([]);
  });
});
