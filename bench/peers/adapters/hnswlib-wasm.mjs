/**
 * hnswlib compiled to WebAssembly (no SIMD) with M = 16, efConstruction = 200.
 *
 * The package is made for pages only: its public entry wants IndexedDB and its loader refuses Node, so a `window` stands
 * in and the inner module is imported directly. What is measured is the same code that runs in a browser.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

const dist = new URL('../node_modules/hnswlib-wasm/dist/', import.meta.url);

let lib;
let index;

async function open(d) {
  globalThis.window ??= globalThis;
  const file = readdirSync(dist).find((name) => /^hnswlib-[0-9a-f]+\.js$/.test(name));
  const { default: create } = await import(new URL(file, dist));
  lib = await create({});
  index = new lib.HierarchicalNSW('l2', d, '');
}

export default {
  package: 'hnswlib-wasm',
  kind: 'wasm',
  parameter: 'efSearch',
  values: [10, 16, 24, 32, 48, 64, 96, 128, 200, 300, 400, 600, 800],
  setup: (d) => open(d),
  build(base, n, d) {
    index.initIndex(n, 16, 200, 100);
    for (let id = 0; id < n; id++) index.addPoint(base.subarray(id * d, id * d + d), id, false);
  },
  set: (ef) => index.setEfSearch(ef),
  search: (query, k) => index.searchKnn(query, k, undefined).neighbors,
  memoryBytes: () => lib.HEAPU8.byteLength,
  // The package saves to IndexedDB only, so the cache holds an image of its memory. A new instance lays out its first
  // object at the same address; everything else, the allocator included, is in the image.
  save: (file) => writeFileSync(file, lib.HEAPU8),
  async load(file, n, d) {
    await open(d);
    index.initIndex(n, 16, 200, 100);
    const image = readFileSync(file);
    // malloc is what makes the module grow its memory and renew its views; the image then forgets the allocation
    while (lib.HEAPU8.byteLength < image.length) {
      if (lib._malloc(image.length - lib.HEAPU8.byteLength) === 0)
        throw new Error('hnswlib-wasm: no memory for the image');
    }
    lib.HEAPU8.set(image);
  },
};
