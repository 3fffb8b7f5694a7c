/**
 * Notebook 000 replayed: exact neighbors of one query, and the buckets of one hash table.
 *
 *     npx tsx examples/notebook-000.ts
 *
 * NumPy's `default_rng(0)` draws the rows, the query and the hyperplanes, in this order, so every number below is the
 * notebook's own, rounded to float32.
 */
import { fileURLToPath } from 'node:url';
import { exactSearch, HyperplaneLsh, type Neighbors, RandomGenerator } from 'orthant';

const rows = 1000;
const dimensions = 16;
const bits = 3;
const k = 5;

export interface Notebook000 {
  /** rows × dimensions */
  vectors: Float32Array;
  query: Float32Array;
  exact: Neighbors;
  /** Key and size of each bucket, in the order in which the rows first fall into it. */
  buckets: { key: number; size: number }[];
}

export function notebook000(): Notebook000 {
  const random = new RandomGenerator(0);
  const draw = (count: number): Float32Array => {
    const out = new Float32Array(count);
    random.normals(out);
    return out;
  };
  const vectors = draw(rows * dimensions);
  const query = draw(dimensions);
  const hyperplanes = draw(bits * dimensions);

  const exact = exactSearch(vectors, query, { k });

  const lsh = new HyperplaneLsh({ dimensions, tables: 1, bits, hyperplanes });
  lsh.add(vectors);
  const buckets = Array.from({ length: 2 ** bits }, (_, key) => ({ key, ids: lsh.bucket(0, key) }))
    .filter(({ ids }) => ids.length > 0)
    .sort((a, b) => Math.min(...a.ids) - Math.min(...b.ids))
    .map(({ key, ids }) => ({ key, size: ids.length }));
  return { vectors, query, exact, buckets };
}

function print({ vectors, query, exact, buckets }: Notebook000): void {
  console.log(`query = ${formatVector(query)}\n`);
  exact.ids.forEach((id, i) => {
    const neighbor = vectors.subarray(id * dimensions, (id + 1) * dimensions);
    console.log(`top ${i + 1}:`);
    console.log(`neighbor = ${formatVector(neighbor)}`);
    console.log(`dist = ${exact.distances[i].toPrecision(7)}\n`);
  });
  for (const { key, size } of buckets) console.log(key, size);
}

/** As NumPy prints an array, with the six decimals that a float32 of this size has. */
function formatVector(vector: Float32Array): string {
  const numbers = Array.from(vector, (x) => x.toFixed(6).padStart(9));
  const lines: string[] = [];
  for (let i = 0; i < numbers.length; i += 7) lines.push(numbers.slice(i, i + 7).join(' '));
  return `[${lines.join('\n ')}]`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) print(notebook000());
