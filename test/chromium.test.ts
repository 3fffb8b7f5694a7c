import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CROSS_ORIGIN_ISOLATED, launchChromium, openPage, Site } from './chromium.js';

describe('Chromium on a served folder', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'orthant-site-'));
  let browser: Browser;

  beforeAll(async () => {
    browser = await launchChromium();
    writeFileSync(path.join(folder, 'part.js'), 'export const answer = 42;');
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('runs modules, isolated across origins, without a complaint', async () => {
    const html = `<!doctype html><title>part</title><script type="module">
      import { answer } from './part.js';
      globalThis.answer = answer;</script>`;
    const site = await Site.serve(folder, { headers: CROSS_ORIGIN_ISOLATED, files: { '/index.html': html } });
    const { page, errors, close } = await openPage(browser, site.url);
    expect(await page.evaluate('[answer, crossOriginIsolated]')).toEqual([42, true]);
    expect(errors).toEqual([]);
    await close();
    await site.close();
  });

  it('hears of errors, of missing files, and of what a policy forbids', async () => {
    const html = `<!doctype html><title>errors</title><script>console.error('said');</script>
      <script type="module" src="missing.js"></script><script src="thrown.js"></script>`;
    const site = await Site.serve(null, {
      headers: { 'Content-Security-Policy': "script-src 'self'" },
      files: { '/index.html': html, '/thrown.js': "throw new RangeError('thrown');" },
    });
    const { errors, close } = await openPage(browser, site.url);
    expect(errors.join('\n')).toContain('404');
    expect(errors.join('\n')).toContain('RangeError: thrown');
    expect(errors.join('\n')).toContain('Content Security Policy');
    expect(errors.join('\n')).not.toContain('said');
    await close();
    await site.close();
  });

  it('serves nothing from outside the folder', async () => {
    const site = await Site.serve(folder, { mounts: { '/deep/': folder } });
    expect((await fetch(`${site.url}deep/part.js`)).headers.get('content-type')).toContain('text/javascript');
    expect((await fetch(`${site.url}deep/..%2f..%2fetc/passwd`)).status).toBe(404);
    expect((await fetch(`${site.url}deep/`)).status).toBe(404);
    await site.close();
  });
});
