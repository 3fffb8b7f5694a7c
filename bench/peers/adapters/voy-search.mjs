/**
 * Voy (Rust compiled to WebAssembly): a k-d tree, exact. Takes number[] rows with strings as ids.
 *
 * The package is made for bundlers: it has no entry that Node can import, so its module is put together by hand.
 */
import { readFileSync } from 'node:fs';

const folder = new URL('../node_modules/voy-search/', import.meta.url);
let memory;
let index;

export default {
  package: 'voy-search',
  kind: 'wasm',
  note: 'exact: a k-d tree',
  async build(base, n, d) {
    const bindings = await import(new URL('voy_search_bg.js', folder));
    const { instance } = await WebAssembly.instantiate(readFileSync(new URL('voy_search_bg.wasm', folder)), {
      './voy_search_bg.js': bindings,
    });
    bindings.__wbg_set_wasm(instance.exports);
    memory = instance.exports.memory;
    const embeddings = Array.from({ length: n }, (_, id) => ({
      id: String(id),
      title: '',
      url: '',
      embeddings: Array.from(base.subarray(id * d, id * d + d)),
    }));
    index = new bindings.Voy({ embeddings });
  },
  search: (query, k) => index.search(query, k).neighbors,
  ids: (neighbors) => neighbors.map(({ id }) => Number(id)),
  memoryBytes: () => memory.buffer.byteLength,
};
