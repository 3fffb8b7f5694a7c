import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

/** `npm run soak` is the whole of it. */
it('indexes that come and go, and rows that come and go, leave nothing behind', () => {
  const script = fileURLToPath(new URL('soak.ts', import.meta.url));
  const args = ['--expose-gc', '--import', 'tsx', script, '2000', '400'];
  const told = execFileSync(process.execPath, args, { encoding: 'utf8' });
  expect(told).toMatch(/2000 cycles .*\n400 rounds, 41000 ids/);
});
