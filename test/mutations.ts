import { BitSamplingLsh } from '../src/bit-sampling-lsh.js';
import { HyperplaneLsh } from '../src/hyperplane-lsh.js';
import { MinHashLsh } from '../src/min-hash-lsh.js';
import type { Neighbors } from '../src/neighbors.js';
import { checksumOf, SnapshotError, type SnapshotKind, type SnapshotLimits } from '../src/snapshot.js';
import type { IdKind } from '../src/user-ids.js';
import { VectorIndex } from '../src/vector-index.js';
import { uniform } from './arena.js';
import { clumpedRows } from './data.js';

/** What a stranger would try in place of a word: ends of ranges, signs, NaN and infinity. */
const WORDS: readonly number[] = [
  0, 1, 2, 3, 31, 32, 33, 255, 4096, 65535, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 0x7f800000,
  0xff800000, 0x7fc00000, 0x3f800000, 0x7f7fffff, 0x00800000,
];

export interface Section {
  tag: number;
  offset: number;
  bytes: number;
  /** Where its entry stands in the header. */
  entry: number;
}

/** The sections that a snapshot's header lists. */
export function sectionsOf(bytes: Uint8Array): Section[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: view.getUint32(32, true) }, (_, i) => {
    const entry = 64 + 32 * i;
    const [tag, offset, length] = [0, 8, 16].map((at) => view.getUint32(entry + at, true));
    return { tag, offset, bytes: length, entry };
  });
}

/** Makes every checksum right again, so that what stands behind the checksums is reached. */
export function repair(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const { entry, offset, bytes: length } of sectionsOf(bytes)) {
    view.setUint32(entry + 4, checksumOf(bytes.subarray(offset, offset + length)), true);
  }
  view.setUint32(60, 0, true);
  view.setUint32(60, checksumOf(bytes.subarray(0, view.getUint32(36, true))), true);
  return bytes;
}

/** A copy with one to three changes and right checksums; now and then the header's own fields change too. */
export function mutate(original: Uint8Array, next: () => number): Uint8Array {
  const bytes = original.slice();
  const view = new DataView(bytes.buffer);
  const pick = (count: number): number => Math.floor(next() * count);
  const sections = sectionsOf(original);
  for (let changes = 1 + pick(3); changes > 0; changes--) {
    const section = sections[pick(sections.length)];
    // Words of parameters, ids and row numbers decide more than those of rows do, and sections are drawn alike.
    const words = section.bytes >> 2;
    const at = section.offset + 4 * pick(words);
    const way = pick(6);
    if (words === 0 || way === 0) continue;
    if (way === 1) bytes[at + pick(4)] ^= 1 << pick(8);
    else if (way === 2) view.setUint32(at, WORDS[pick(WORDS.length)], true);
    else if (way === 3) view.setUint32(at, view.getUint32(at, true) + (next() < 0.5 ? 1 : -1), true);
    else if (way === 4) view.setUint32(at, view.getUint32(section.offset + 4 * pick(words), true), true);
    else bytes.fill(pick(256), at, Math.min(at + 4 * pick(9), section.offset + section.bytes));
  }
  repair(bytes);
  if (next() < 0.1) {
    const entry = sections[pick(sections.length)].entry;
    const at = next() < 0.5 ? 8 + 4 * pick(13) : entry + 4 * pick(8);
    view.setUint32(at, next() < 0.5 ? WORDS[pick(WORDS.length)] : view.getUint32(at, true) + 64, true);
    const headerBytes = Math.min(view.getUint32(36, true), bytes.length);
    view.setUint32(60, 0, true);
    view.setUint32(60, checksumOf(bytes.subarray(0, headerBytes)), true);
  }
  return bytes;
}

type AnyIndex = VectorIndex | HyperplaneLsh | BitSamplingLsh | MinHashLsh;

export const CLASSES = { VectorIndex, HyperplaneLsh, BitSamplingLsh, MinHashLsh } as const;

export function loadAs(kind: SnapshotKind, bytes: Uint8Array, limits?: SnapshotLimits): AnyIndex {
  return CLASSES[kind].load(bytes, limits);
}

function checkNeighbors(found: Neighbors, k: number, index: AnyIndex | VectorIndex<IdKind>): void {
  if (found.ids.length > k) throw new Error(`expected at most ${k} neighbors, got ${found.ids.length}`);
  if (new Set(found.ids).size !== found.ids.length)
    throw new Error(`expected different ids, got ${found.ids}`);
  for (const id of found.ids) {
    const isThere = index instanceof VectorIndex ? index.idOf(id) !== undefined : index.has(id);
    if (!isThere) throw new Error(`expected ids of rows, got ${id}`);
  }
}

/**
 * Loads bytes and, if they are taken, does everything with the index that there is to do. True if they were refused with
 * a SnapshotError; any other error, and any id that is none of a row, is thrown.
 */
export function isRefused(bytes: Uint8Array, kind: SnapshotKind): boolean {
  const limits = { maxBytes: 2 ** 26 };
  let index: AnyIndex;
  try {
    index = loadAs(kind, bytes, limits);
  } catch (error) {
    if (error instanceof SnapshotError && error.code === 'ERR_SNAPSHOT') return true;
    throw error;
  }
  if (index instanceof BitSamplingLsh) {
    const codes = new Uint8Array(3 * Math.ceil(index.bits / 8)).fill(1);
    exerciseTables(index, codes.slice(0, codes.length / 3), codes);
  } else if (index instanceof MinHashLsh) {
    const set = Uint32Array.of(1, 5, 8);
    exerciseTables(index, set, [set, new Uint32Array(0), Uint32Array.of(2)]);
  } else {
    const vectors = clumpedRows(3, index.dimensions, 2, 0.5, bytes.length);
    const query = vectors.slice(0, index.dimensions);
    if (index instanceof VectorIndex) exercise(index as VectorIndex<IdKind>, query, vectors);
    else exerciseTables(index, query, vectors);
  }
  index.dispose();
  return false;
}

function exercise(index: VectorIndex<IdKind>, query: Float32Array, vectors: Float32Array): void {
  const search = (): void => {
    for (const recall of [0.5, 0.9, 0.95, 0.99])
      checkNeighbors(index.search(query, { k: 5, recall }), 5, index);
    for (const epsilon of [0, 3, Number.POSITIVE_INFINITY]) {
      checkNeighbors(index.search(query, { k: 10, probes: 2, epsilon }), 10, index);
      checkNeighbors(index.search(query, { k: 100, probes: 100, epsilon: Math.min(epsilon, 9) }), 100, index);
    }
    const { ids } = index.search(query, { k: 7, exact: true });
    if (ids.length !== Math.min(7, index.size)) throw new Error(`expected all of 7 neighbors, got ${ids}`);
    if (ids.length > 0) index.explain(query, { k: 3, id: index.idOf(ids[0]) });
    const even = new Uint8Array(100).fill(0x55);
    for (const recall of [0.5, 0.95]) {
      checkNeighbors(index.search(query, { k: 5, recall, filter: even }), 5, index);
      checkNeighbors(index.searchRadius(query, 1, { recall }), index.size, index);
    }
    const all = [...index.userIds()];
    if (new Set(all).size !== index.size) throw new Error(`expected ${index.size} ids, got ${all}`);
    for (const id of all) if (!index.get(id)) throw new Error(`expected a row of ${id}, got none`);
  };
  search();
  const saved = index.save();
  VectorIndex.load(saved).dispose();
  // Ids that no mutation has.
  const fresh = {
    row: undefined,
    string: ['new', 'newer', 'newest'],
    number: [0.1, 0.2, 0.3],
    bigint: [2n ** 63n + 1n, 2n ** 63n + 2n, 2n ** 63n + 3n],
  }[index.idKind]?.slice();
  for (let i = 0; fresh && i < 3; i++) while (index.has(fresh[i])) fresh[i] = next(fresh[i]);
  const first = index.add(vectors, fresh as string[]);
  search();
  // A row that came with the bytes, if there was one, and one of its own.
  const { ids } = index.search(query, { k: 2, exact: true });
  if (index.remove([...ids, first].map((row) => index.idOf(row) as number)) < 2)
    throw new Error('expected rows that can be removed');
  search();
  if (saved[saved.length - 1] % 4 === 0) {
    index.build();
    search();
  }
}

function next(id: string | number | bigint): string | number | bigint {
  return typeof id === 'bigint' ? id + 7n : typeof id === 'number' ? id + 7 : `${id}+`;
}

/** What the classes of hash tables have in common. */
interface Tables<Query, Rows> {
  add(rows: Rows): number;
  remove(ids: number[]): number;
  has(id: number): boolean;
  search(query: Query, options: { k: number; probes?: number }): Neighbors;
  candidates(query: Query, options?: { probes?: number }): Uint32Array;
  stats(): unknown;
  save(): Uint8Array;
}

function exerciseTables<Query, Rows>(
  index: (HyperplaneLsh | BitSamplingLsh | MinHashLsh) & Tables<Query, Rows>,
  query: Query,
  rows: Rows,
): void {
  for (let turn = 0; turn < 2; turn++) {
    if (!(index instanceof HyperplaneLsh) || index.bits > 0) {
      for (const probes of [1, 4]) checkNeighbors(index.search(query, { k: 6, probes }), 6, index);
      for (const id of index.candidates(query, { probes: 2 })) {
        if (!index.has(id)) throw new Error(`expected ids of rows, got ${id}`);
      }
      index.stats();
    }
    loadAs(index.constructor.name as SnapshotKind, index.save()).dispose();
    index.remove([index.add(rows)]);
  }
}

/** Codes whose spare bits are zeros. */
export function randomCodes(rows: number, bits: number, seed: number): Uint8Array {
  const next = uniform(seed);
  const bytes = Math.ceil(bits / 8);
  const codes = Uint8Array.from({ length: rows * bytes }, () => 256 * next());
  if (bits % 8)
    for (let last = bytes - 1; last < codes.length; last += bytes) codes[last] &= 2 ** (bits % 8) - 1;
  return codes;
}

/** Sets of up to 12 features, some of them empty. */
export function randomSets(count: number, seed: number): Uint32Array[] {
  const next = uniform(seed);
  return Array.from({ length: count }, () =>
    Uint32Array.from({ length: Math.floor(13 * next()) }, () => 30 * next()),
  );
}

/** Small indexes of many kinds, saved: of 60 rows, or fewer and in half as many cells. */
export function seeds(count: number = 60): [kind: SnapshotKind, name: string, bytes: Uint8Array][] {
  const rows = clumpedRows(count, 5, 4, 0.4, 1);
  const cells = count < 60 ? 2 : 4;
  const last = count - 1;
  const gone = [0, 1, 7, 8, 9, 30, last].filter((id) => id < count);
  const built = VectorIndex.from(rows, { dimensions: 5, cells, refine: true });
  built.tune({ k: 3, recall: 0.8 });
  const lengths = VectorIndex.from(rows, {
    dimensions: 5,
    cells: cells - 1,
    metric: 'cosine',
    storage: 'int8',
  });
  lengths.add(rows.subarray(0, 50));
  const extended = new VectorIndex({ dimensions: 5, metric: 'inner-product', seed: 2n ** 70n });
  extended.add(rows.subarray(0, 50));
  const many = VectorIndex.from(clumpedRows(2 * count, 4, count, 0.01, 3), {
    dimensions: 4,
    cells: count,
    tune: false,
  });
  const tables = new HyperplaneLsh({ dimensions: 5, tables: 3, bits: 4, metric: 'cosine' });
  tables.add(rows);
  const waiting = new HyperplaneLsh({ dimensions: 5, tables: 2, bucketSize: 4, seed: 300 });
  const removed = VectorIndex.from(rows, { dimensions: 5, cells, metric: 'cosine', refine: true });
  removed.remove(gone);
  const emptied = VectorIndex.from(rows, { dimensions: 5, cells: 2, metric: 'cosine', refine: true });
  emptied.remove(Array.from({ length: count }, (_, id) => id));
  const thinned = new HyperplaneLsh({ dimensions: 5, tables: 2, bits: 3, metric: 'cosine' });
  thinned.add(rows);
  thinned.remove(gone);
  const codes = new BitSamplingLsh({ bits: 75, sampledBits: 6, tables: 3 });
  codes.add(randomCodes(40, 75, 7));
  const fewer = new BitSamplingLsh({ bits: 64, sampledBits: 40, tables: 2 });
  fewer.add(randomCodes(40, 64, 8));
  fewer.remove([0, 1, 7, 8, 9, 39]);
  const sets = new MinHashLsh({ bands: 3, rows: 2, seed: 300 });
  sets.add(randomSets(40, 9));
  const less = new MinHashLsh({ bands: 2, rows: 1 });
  less.add(randomSets(40, 10));
  less.remove([0, 1, 7, 8, 9, 39]);
  const named = (ids: readonly unknown[], most: number): Uint8Array => {
    const index = VectorIndex.from(rows, {
      dimensions: 5,
      cells: Math.min(cells, most),
      ids: ids as string[],
      tune: false,
    });
    index.remove([0, 1, 40, last].filter((id) => id < count).map((id) => ids[id]) as string[]);
    return index.save();
  };
  const places = Array.from({ length: count }, (_, i) => i);
  return [
    [
      'VectorIndex',
      'an index with strings as ids',
      named(
        places.map((i) => `${['', 'é', '字', '😀'][i % 4]}${i}`),
        3,
      ),
    ],
    [
      'VectorIndex',
      'an index with numbers as ids',
      named(
        places.map((i) => i * 1.5 - 3),
        2,
      ),
    ],
    [
      'VectorIndex',
      'an index with bigints as ids',
      named(
        places.map((i) => BigInt(i - 30) * 10n ** 17n),
        1,
      ),
    ],
    ['BitSamplingLsh', 'tables of codes', codes.save()],
    ['BitSamplingLsh', 'tables of codes with removed ones', fewer.save()],
    ['BitSamplingLsh', 'no codes', new BitSamplingLsh({ bits: 9, sampledBits: 3, tables: 2 }).save()],
    ['MinHashLsh', 'tables of sets', sets.save()],
    ['MinHashLsh', 'tables of sets with removed ones', less.save()],
    ['MinHashLsh', 'no sets', new MinHashLsh({ bands: 2, rows: 3 }).save()],
    ['VectorIndex', 'an index with removed rows', removed.save()],
    ['VectorIndex', 'an index of which no row is left', emptied.save()],
    ['HyperplaneLsh', 'hash tables with removed rows', thinned.save()],
    ['VectorIndex', 'a built index with a second stage', built.save()],
    ['VectorIndex', 'an index of 8-bit rows with lengths', lengths.save()],
    ['VectorIndex', 'an index that was not built', extended.save()],
    ['VectorIndex', 'an index of many cells', many.save()],
    ['VectorIndex', 'an empty index', new VectorIndex({ dimensions: 2 }).save()],
    ['HyperplaneLsh', 'hash tables', tables.save()],
    ['HyperplaneLsh', 'hash tables that wait for rows', waiting.save()],
  ];
}

/** The same with codes of principal components: larger, for the long run. */
export function principalSeed(): Uint8Array {
  const rows = clumpedRows(2000, 257, 4, 0.4, 5);
  return VectorIndex.from(rows, {
    dimensions: 257,
    cells: 4,
    principal: true,
    storage: 'int8',
    tune: false,
  }).save();
}

/**
 * Mutations of a snapshot until a time is over; returns how many were refused and how many taken. An error carries the
 * seed of the mutation that brought it about.
 */
export function fuzz(
  kind: SnapshotKind,
  bytes: Uint8Array,
  firstSeed: number,
  ms: number,
): { refused: number; taken: number } {
  const end = performance.now() + ms;
  const counts = { refused: 0, taken: 0 };
  for (let seed = firstSeed; performance.now() < end; seed++) {
    try {
      if (isRefused(mutate(bytes, uniform(seed)), kind)) counts.refused++;
      else counts.taken++;
    } catch (cause) {
      throw new Error(`mutation ${seed}: expected a SnapshotError or a sound index, got ${cause}`, { cause });
    }
  }
  return counts;
}
