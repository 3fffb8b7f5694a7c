/** What the adapters of faiss-node share. It takes and returns number[] only. */
import { createRequire } from 'node:module';

/** An adapter of the index that Faiss makes of a description. */
export function makeFaiss(description, note) {
  let index;
  return {
    package: 'faiss-node',
    kind: 'native',
    note,
    build(base, n, d) {
      // required, not imported, so that a missing native build is an error of this row alone
      const { Index } = createRequire(import.meta.url)('faiss-node');
      index = Index.fromFactory(d, description);
      // in blocks, so that the plain array stays small
      const step = Math.max(1, Math.floor(2e6 / d));
      for (let first = 0; first < n; first += step) {
        index.add(Array.from(base.subarray(first * d, Math.min(n, first + step) * d)));
      }
    },
    prepareQuery: (query) => Array.from(query),
    search: (query, k) => index.search(query, k).labels,
  };
}
