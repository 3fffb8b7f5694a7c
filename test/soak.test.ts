import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { run } from './living.js';

/** `npm run soak` is the whole of it. */
it('indexes that come and go, and rows that come and go, leave nothing behind', () => {
  const script = fileURLToPath(new URL('soak.ts', import.meta.url));
  const args = ['--expose-gc', '--import', 'tsx', script, '2000', '400'];
  const told = execFileSync(process.execPath, args, { encoding: 'utf8' });
  expect(told).toMatch(/2000 cycles .*\n400 rounds, 41000 ids/);
});

it('random calls part from the model in nothing, and the same seed gives the same calls', () => {
  const script = fileURLToPath(new URL('soak.ts', import.meta.url));
  const args = ['--expose-gc', '--import', 'tsx', script, '10', '10', '--minutes', '0.05', '--seed', '17'];
  const told = execFileSync(process.execPath, args, { encoding: 'utf8' });
  expect(told).toMatch(
    /^random calls from seed 17 for 0\.05 minutes\n.*: \d+ lives, \d+ steps, no divergence from the model\n/,
  );
  expect(run(17, 'cosine')).toBe(run(17, 'cosine'));
  expect(run(17, 'cosine', 20)).toBe(20);
});
