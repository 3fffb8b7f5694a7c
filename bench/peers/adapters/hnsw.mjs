/** HNSW in plain TypeScript, with M = 16, efConstruction = 200. */
import { createRequire } from 'node:module';

let index;
let options;

export default {
  package: 'hnsw',
  kind: 'js',
  parameter: 'efSearch',
  values: [32, 64, 96, 128, 200, 300, 400, 600, 800],
  async build(base, n, d) {
    const { HNSW } = createRequire(import.meta.url)('hnsw');
    index = new HNSW(16, 200, d, 'euclidean');
    const rows = Array.from({ length: n }, (_, id) => ({ id, vector: base.subarray(id * d, id * d + d) }));
    await index.buildIndex(rows);
  },
  set(efSearch) {
    options = { efSearch };
  },
  search: (query, k) => index.searchKNN(query, k, options),
  ids: (neighbors) => neighbors.map(({ id }) => id),
};
