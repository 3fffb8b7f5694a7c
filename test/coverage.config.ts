import { defineConfig } from 'vitest/config';

/**
 * npm run coverage: which lines and branches of the core its tests run. Kernels are WebAssembly, which V8 does not count;
 * orthant/js, their translation, is measured in their place (src/js/translated.js).
 */
export default defineConfig({
  test: {
    root: '.',
    include: ['test/*.test.ts'],
    exclude: [
      // These start processes, whose lines are counted elsewhere, or measure what coverage slows down.
      'test/*chromium*',
      'test/{ann-benchmarks,bench-workers,cli,cluster*,demo,docs,evidence,four-gigabytes,growth,hdf5-benchmarks,layers}.test.ts',
      'test/{living-report,package,peak,peers,platforms,readme,release,save,soak,start,storage,vector-files}.test.ts',
      'test/workers.*.test.ts',
      // These do for minutes what others do once.
      'test/{adversaries,out-of-memory,snapshot.hostile}.test.ts',
      'test/vector-index.{joins.filters,living,model,removing}.test.ts',
    ],
    testTimeout: 600_000,
    hookTimeout: 600_000,
    coverage: {
      provider: 'v8',
      include: ['src/*.ts', 'src/js/translated.js'],
      exclude: ['src/binary.ts'],
      reporter: ['text', 'json-summary'],
      reportsDirectory: 'coverage',
    },
  },
});
