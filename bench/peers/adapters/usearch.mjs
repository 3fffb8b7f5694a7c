/**
 * USearch (C++, prebuilt) with M = 16, expansion_add = 200, float32, one thread.
 *
 * Its knob is fixed when an index is made, so each point of the curve opens the saved index anew, outside the clock.
 */
import { rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';

const saved = path.join(tmpdir(), `orthant-peers-usearch.${process.pid}`);
let usearch;
let options;
let index;

export default {
  package: 'usearch',
  kind: 'native',
  parameter: 'expansion_search',
  values: [10, 16, 24, 32, 48, 64, 96, 128, 200, 300, 400, 600, 800],
  build(base, n, d) {
    usearch = createRequire(import.meta.url)('usearch');
    options = {
      dimensions: d,
      metric: 'l2sq',
      quantization: 'f32',
      connectivity: 16,
      expansion_add: 200,
      expansion_search: 64,
      multi: false,
    };
    index = new usearch.Index(options);
    const step = 10_000;
    for (let first = 0; first < n; first += step) {
      const count = Math.min(step, n - first);
      const ids = BigUint64Array.from({ length: count }, (_, i) => BigInt(first + i));
      index.add(ids, base.subarray(first * d, (first + count) * d), 1);
    }
    index.save(saved);
    process.on('exit', () => rmSync(saved, { force: true }));
  },
  set(expansion) {
    index = new usearch.Index({ ...options, expansion_search: expansion });
    index.load(saved);
  },
  search: (query, k) => index.search(query, k, 1).keys,
};
