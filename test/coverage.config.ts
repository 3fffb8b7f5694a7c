import { defineConfig } from 'vitest/config';

/**
 * npm run coverage: which lines and branches of the core its tests run. Kernels are WebAssembly, which V8 does not count;
 * orthant/js, their translation, is measured in their place (src/js/translated.js).
 */
export default defineConfig({
  test: {
    root: '.',
    include: ['test/*.test.ts'],
    // These start processes, whose lines are counted elsewhere, or measure what coverage slows down.
    exclude: [
      'test/*chromium*',
      'test/{cluster,demo,docs,four-gigabytes,growth,hdf5-benchmarks,package,peak,peers,platforms,readme,release,soak,start}.test.ts',
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
