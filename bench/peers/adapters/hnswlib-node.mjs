/** hnswlib (C++, compiled at install) with M = 16, efConstruction = 200. Takes and returns number[] only. */
import { createRequire } from 'node:module';

let index;

// required, not imported, so that a missing native build is an error of this row alone
const open = (d) => {
  const { HierarchicalNSW } = createRequire(import.meta.url)('hnswlib-node');
  return new HierarchicalNSW('l2', d);
};

export default {
  package: 'hnswlib-node',
  kind: 'native',
  parameter: 'efSearch',
  values: [10, 16, 24, 32, 48, 64, 96, 128, 200, 300, 400, 600, 800],
  build(base, n, d) {
    index = open(d);
    index.initIndex(n, 16, 200, 100);
    for (let id = 0; id < n; id++) index.addPoint(Array.from(base.subarray(id * d, id * d + d)), id);
  },
  prepareQuery: (query) => Array.from(query),
  set: (ef) => index.setEf(ef),
  search: (query, k) => index.searchKnn(query, k).neighbors,
  save: (file) => index.writeIndexSync(file),
  load(file, _n, d) {
    index = open(d);
    index.readIndexSync(file);
  },
};
