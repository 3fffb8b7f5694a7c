/** This package, by the settings that it tunes itself: nothing is turned but the recall that is asked for. */
import { VectorIndex } from '../../../dist/index.js';

let index;
let options;

export default {
  package: 'orthant',
  own: true,
  kind: 'wasm',
  note: 'as tuned by itself',
  parameter: 'recall',
  values: [0.9, 0.95, 0.99, 1],
  build(base, _n, dimensions, metric) {
    index = VectorIndex.from(base, { dimensions, metric });
  },
  set(recall) {
    options = { k: 10, recall };
  },
  search: (query) => index.search(query, options).ids,
  memoryBytes: () => index.memoryUsage().total,
};
