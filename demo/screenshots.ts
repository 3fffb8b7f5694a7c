/**
 * Takes the README's pictures of the page: `npm run demo:screenshots`. Needs Chromium (test/chromium.ts tells where), writes
 * docs/pictures/demo-*.png.
 */
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CROSS_ORIGIN_ISOLATED, launchChromium, Site } from '../test/chromium.js';

const page = fileURLToPath(new URL('../demo-dist', import.meta.url));
const pictures = fileURLToPath(new URL('../docs/pictures', import.meta.url));
/** Each view, when it is ready, and in which colors it is taken. */
const views = [
  { name: 'digits', status: 'digits-status', ready: /^For image/, colorScheme: 'light' },
  { name: 'curve', status: 'curve-status', ready: /^Measured/, colorScheme: 'light' },
  { name: 'words', status: 'words-status', ready: /compared/, colorScheme: 'dark' },
] as const;

mkdirSync(pictures, { recursive: true });
const site = await Site.serve(page, { headers: CROSS_ORIGIN_ISOLATED });
const browser = await launchChromium();
try {
  for (const { name, status, ready, colorScheme } of views) {
    const context = await browser.newContext({ colorScheme, viewport: { width: 960, height: 720 } });
    const tab = await context.newPage();
    await tab.goto(`${site.url}#${name}`);
    await tab.locator(`#${status}`).filter({ hasText: ready }).waitFor({ timeout: 120_000 });
    await tab.screenshot({ path: `${pictures}/demo-${name}.png` });
    await context.close();
    console.log(`docs/pictures/demo-${name}.png`);
  }
} finally {
  await browser.close();
  await site.close();
}
