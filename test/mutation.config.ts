import { defineConfig } from 'vitest/config';

/** The tests that stryker.config.json runs against each mutant: those of the modules it mutates. */
const MODULES = ['check', 'id-set', 'labels', 'probability'];

export default defineConfig({
  test: {
    root: '.',
    include: MODULES.map((name) => `test/${name}.test.ts`),
    testTimeout: 120_000,
    reporters: ['dot'],
  },
});
