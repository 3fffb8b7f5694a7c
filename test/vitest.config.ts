import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const inJavaScript = fileURLToPath(new URL('../src/js/kernels.ts', import.meta.url));
const times = { testTimeout: 120_000, hookTimeout: 120_000, expect: { poll: { timeout: 15_000 } } };
/** What is run once more over the kernels in JavaScript; the kernels themselves: arena.ts compares both. */
const CLASSES = ['bit-sampling-lsh', 'hyperplane-lsh', 'min-hash-lsh', 'vector-index'];

export default defineConfig({
  test: {
    root: '.',
    projects: [
      { test: { name: 'all', root: '.', include: ['test/**/*.test.ts'], ...times } },
      {
        plugins: [
          {
            name: 'kernels-in-javascript',
            enforce: 'pre',
            resolveId: (id, importer) =>
              /\/kernels\.js$/.test(id) && importer !== inJavaScript ? inJavaScript : undefined,
          },
        ],
        test: { name: 'js', root: '.', include: CLASSES.map((name) => `test/${name}.test.ts`), ...times },
      },
    ],
  },
});
