import { defineConfig } from 'vitest/config';

/** The tests that mutation.ts runs against each mutant of one module: those of the same name, or the ones named here. */
const TESTS: Record<string, string> = {
  'engine-options': 'vector-index.door',
  'join-queries': 'joins',
  joinable: 'joins',
  share: 'vector-index.async',
};

const module = process.env.MUTATED_MODULE ?? '';

export default defineConfig({
  test: {
    root: '.',
    include: [`test/${TESTS[module] ?? module}.test.ts`],
    testTimeout: 120_000,
    reporters: ['dot'],
  },
});
