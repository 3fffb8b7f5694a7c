import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Browser } from 'playwright-core';
import { afterAll, describe, expect, it } from 'vitest';
import * as orthant from '../src/index.js';
import { isSupported } from '../src/supported/index.js';
import { launchChromium, openPage, Site } from './chromium.js';
import { digest } from './digest.mjs';

const inRoot = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url));
const expected = digest(orthant);
/** Without these instructions V8 has WebAssembly and no SIMD; on other processors than x64 only without WebAssembly. */
const WITHOUT_SIMD = process.arch === 'x64' ? '--no-enable-sse4-1' : '--no-expose-wasm';

describe('isSupported', () => {
  it('is true here, where orthant runs', () => {
    expect(isSupported()).toBe(true);
    expect(() => new orthant.VectorIndex({ dimensions: 4 })).not.toThrow();
  });

  it.each([
    ['with SIMD', [], 'true none'],
    ['without SIMD', [WITHOUT_SIMD], 'false ERR_NO_SIMD orthant/js'],
    ['without WebAssembly', ['--no-expose-wasm'], 'false ERR_NO_SIMD orthant/js'],
  ])('says what orthant says in an engine %s, and picks what gives the same answers', (_, flags, said) => {
    const program = `
      import { isSupported } from 'orthant/supported';
      const { VectorIndex } = await import('orthant');
      let error = 'none';
      try { new VectorIndex({ dimensions: 4 }); } catch ({ code, message }) {
        error = code + ' ' + message.match(/import '(.*?)'/)[1];
      }
      const { digest } = await import('./test/digest.mjs');
      console.log(isSupported(), error);
      console.log(digest(await import(isSupported() ? 'orthant' : 'orthant/js')));`;
    const args = [...flags, '--input-type=module', '--eval', program];
    // A package may import itself by its name.
    const printed = execFileSync(process.execPath, args, { cwd: inRoot('.'), encoding: 'utf8' });
    expect(printed).toBe(`${said}\n${expected}\n`);
  });
});

describe('in Chromium', () => {
  const browsers: Browser[] = [];
  afterAll(async () => {
    for (const browser of browsers) await browser.close();
  });

  const program = `
    import { isSupported } from '/dist/supported/index.js';
    import { digest } from '/test/digest.mjs';
    const orthant = await import(isSupported() ? '/dist/orthant.js' : '/dist/js/index.js');
    globalThis.answer = [isSupported(), digest(orthant)];`;

  it.each([
    ['with SIMD', [], {}, true],
    ['without SIMD', [`--js-flags=${WITHOUT_SIMD}`], {}, false],
    [
      'under a policy that lets nothing be compiled',
      [],
      { 'Content-Security-Policy': "script-src 'self'" },
      false,
    ],
  ])('the line of the README picks what runs %s', async (_, flags, headers, supported) => {
    const browser = await launchChromium(flags);
    browsers.push(browser);
    const mounts = { '/dist/': inRoot('dist'), '/test/': inRoot('test') };
    const files = {
      '/index.html': '<!doctype html><title>answer</title><script type="module" src="/main.js"></script>',
      '/main.js': program,
    };
    const site = await Site.serve(null, { mounts, files, headers });
    const { page, close } = await openPage(browser, site.url);
    try {
      // Not by waitForFunction, whose later looks the policy forbids too.
      const answer = () => page.evaluate('globalThis.answer');
      await expect.poll(answer, { timeout: 60_000 }).toEqual([supported, expected]);
    } finally {
      await close();
      await site.close();
    }
  });
});
