/**
 * Notebook 001 replayed: approximate search over 24 hash tables beside the exact one.
 *
 *     npx tsx examples/notebook-001.ts
 *
 * NumPy's `default_rng(0)` draws the rows, the query, the hyperplanes of the demonstration and those of the 24 tables, in
 * this order, so every number below is the notebook's own, rounded to float32.
 */
import { fileURLToPath } from 'node:url';
import { exactSearch, HyperplaneLsh, type Neighbors, RandomGenerator } from 'orthant';

const rows = 10_000;
const dimensions = 128;
const bucketSize = 16;
const tables = 24;
const k = 5;
/** The notebook's `generate_hyperplanes`: so many that a bucket holds `bucketSize` rows or a little more. */
const bits = Math.floor(Math.log2(Math.floor(rows / bucketSize)));

export interface Notebook001 {
  exact: Neighbors;
  demonstration: { hyperplanes: number; buckets: number; averageBucket: number };
  /** The query's key in each table, and how many rows share it. */
  tables: { key: number; bucket: number }[];
  /** Rows in the united buckets. */
  candidates: number;
  approximate: Neighbors;
}

export function notebook001(): Notebook001 {
  const random = new RandomGenerator(0);
  const draw = (count: number): Float32Array => {
    const out = new Float32Array(count);
    random.normals(out);
    return out;
  };
  const vectors = draw(rows * dimensions);
  const query = draw(dimensions);
  const exact = exactSearch(vectors, query, { k });

  const single = new HyperplaneLsh({ dimensions, tables: 1, bits, hyperplanes: draw(bits * dimensions) });
  single.add(vectors);
  const sizes = Array.from({ length: 2 ** bits }, (_, key) => single.bucket(0, key).length);
  const buckets = sizes.filter((size) => size > 0).length;
  single.dispose();

  const hyperplanes = draw(tables * bits * dimensions);
  const lsh = new HyperplaneLsh({ dimensions, tables, bits, hyperplanes });
  lsh.add(vectors);
  const keys = Array.from(lsh.keys(query));
  const result: Notebook001 = {
    exact,
    demonstration: { hyperplanes: bits, buckets, averageBucket: rows / buckets },
    tables: keys.map((key, table) => ({ key, bucket: lsh.bucket(table, key).length })),
    candidates: lsh.candidates(query).length,
    approximate: lsh.search(query, { k }),
  };
  lsh.dispose();
  return result;
}

function print({ exact, demonstration, approximate }: Notebook001): void {
  printNeighbors(exact);
  console.log(`\navg_bucket_size = ${demonstration.averageBucket}\n`);
  printNeighbors(approximate);
}

function printNeighbors({ distances }: Neighbors): void {
  distances.forEach((distance, i) => {
    console.log(`top ${i + 1}: dist = ${distance.toPrecision(7)}`);
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) print(notebook001());
