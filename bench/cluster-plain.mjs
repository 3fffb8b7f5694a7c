/**
 * A plain process that holds segments and searches them when it is told to, by bench/cluster.ts: what a worker of a cluster
 * does, without a cluster. Arguments: JSON of the snapshots' files, the file of queries, and what is asked.
 */
import { readFileSync } from 'node:fs';
import { VectorIndex } from 'orthant';

const { segments, queriesFile, dimensions, k, recall } = JSON.parse(process.argv[2]);
const bytes = readFileSync(queriesFile);
const queries = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
const held = segments.map((file) => VectorIndex.load(readFileSync(file)));

process.on('message', ({ first, last, block }) => {
  for (let i = first; i < last; i += block) {
    const some = queries.subarray(i * dimensions, (i + block) * dimensions);
    for (const index of held) index.searchBatch(some, { k, recall });
  }
  process.send('searched');
});
process.send('ready');
