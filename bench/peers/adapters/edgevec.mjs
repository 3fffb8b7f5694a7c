/**
 * EdgeVec (Rust compiled to WebAssembly): HNSW with M = 16, efConstruction = 200.
 *
 * Its knob is fixed when an index is made and stays so in a saved one, so each point of the curve is a build, outside the
 * clock. Takes multiples of eight dimensions: zeros fill up the rest.
 */
import { readFileSync } from 'node:fs';

const folder = new URL('../node_modules/edgevec/', import.meta.url);
const FIRST_EF = 100;
let edgevec;
let memory;
let rows;
let index;
let firstId;
let built;

const widthOf = (d) => (d + 7) & ~7;

function pad(row) {
  const padded = new Float32Array(widthOf(row.length));
  padded.set(row);
  return padded;
}

function fill(ef) {
  const { base, n, d } = rows;
  index?.free();
  const config = new edgevec.EdgeVecConfig(widthOf(d));
  config.indexType = edgevec.JsIndexType.Hnsw;
  config.metric = 'l2';
  config.m = 16;
  config.m0 = 32;
  config.ef_construction = 200;
  config.ef_search = ef;
  index = new edgevec.EdgeVec(config);
  for (let id = 0; id < n; id++) {
    const given = index.insert(pad(base.subarray(id * d, id * d + d)));
    if (id === 0) firstId = given;
  }
  built = ef;
}

export default {
  package: 'edgevec',
  kind: 'wasm',
  note: 'a build for each point',
  parameter: 'ef_search',
  values: [FIRST_EF, 200, 400],
  async setup() {
    edgevec = await import(new URL('edgevec.js', folder));
    const bytes = readFileSync(new URL('edgevec_bg.wasm', folder));
    ({ memory } = await edgevec.default({ module_or_path: bytes }));
  },
  build(base, n, d) {
    rows = { base, n, d };
    fill(FIRST_EF);
  },
  set(ef) {
    if (ef !== built) fill(ef);
  },
  prepareQuery: pad,
  search: (query, k) => index.search(query, k),
  ids: (neighbors) => neighbors.map(({ id }) => Number(id) - firstId),
  memoryBytes: () => memory.buffer.byteLength,
};
