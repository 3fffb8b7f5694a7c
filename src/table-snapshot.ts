/**
 * What the snapshots of all hash tables share: keys and removed ids. Sections 1 to 3 are each class's own.
 */

import type { Buckets } from './buckets.js';
import {
  bitsOf,
  type Checksums,
  countBits,
  expectContent,
  type Reading,
  type SectionSource,
  type SnapshotKind,
  type SnapshotReader,
  type Writing,
  writeSnapshot,
} from './snapshot.js';
import type { HashTables } from './tables.js';

/** Tags: docs/snapshot-format.md. */
const PARAMETERS = 1;
const KEYS = 4;
const REMOVED = 5;
/** All that hash tables have, each class's own included. */
export const TABLE_TAGS: readonly number[] = [1, 2, 3, KEYS, REMOVED];

/** Words of the parameters; those that a class does not use are 0. */
const WORDS = 16;
const PARAMETER_BYTES = 4 * WORDS;

/** What a class has to save beside keys and removed ids: words and seed of the parameters, and its sections 2 and 3. */
export interface OwnParts {
  words: readonly number[];
  seed?: Uint8Array;
  sections: readonly SectionSource[];
}

/** The snapshot of hash tables. Nothing may change from when it asks for the class's own parts until all is written. */
export function* writeTables(kind: SnapshotKind, tables: HashTables<never>, own: () => OwnParts): Writing {
  tables.lend('saveTo');
  try {
    const { words, seed, sections: ownSections } = own();
    const { memory, kernels, buckets } = tables;
    const parameters = new Uint8Array(PARAMETER_BYTES + (seed?.length ?? 0));
    const view = new DataView(parameters.buffer);
    words.forEach((word, i) => void view.setUint32(4 * i, word, true));
    if (seed) parameters.set(seed, PARAMETER_BYTES);
    const sections = [{ tag: PARAMETERS, pieces: [parameters] }, ...ownSections, ...keySections(buckets)];
    for (const part of writeSnapshot(kind, sections, memory, kernels)) {
      yield part;
      tables.memory; // throws once they are disposed of
    }
  } finally {
    tables.takeBack();
  }
}

function keySections(buckets: Buckets | undefined): SectionSource[] {
  if (buckets === undefined || buckets.count === 0) return [];
  const { count, tables, removed, keyStride } = buckets;
  const keys = Array.from({ length: tables }, (_, table) => ({
    ptr: buckets.keysPtr(table * keyStride),
    bytes: 4 * count,
  }));
  return [
    { tag: KEYS, pieces: keys },
    { tag: REMOVED, pieces: removed === 0 ? [] : [bitsOf(count, (id) => !buckets.has(id))] },
  ];
}

/** Reads the parameters: their words, of which only the first `used` may be other than 0, and the bytes behind them. */
export function* readParameters(
  reader: SnapshotReader,
  used: number,
  mostSeedBytes: number,
): Reading<{ words: number[]; view: DataView; seedAt: number }> {
  const view = yield* reader.read(PARAMETERS, PARAMETER_BYTES + mostSeedBytes);
  expectContent(
    view.byteLength >= PARAMETER_BYTES,
    `${PARAMETER_BYTES} bytes of parameters`,
    view.byteLength,
  );
  const words = Array.from({ length: WORDS }, (_, i) => view.getUint32(4 * i, true));
  for (const zero of words.slice(used)) expectContent(zero === 0, 'zeros behind the parameters', zero);
  return { words, view, seedAt: PARAMETER_BYTES };
}

/** Fails unless the sections of keys and removed ids are as long as those of so many rows. */
export function expectTables(reader: SnapshotReader, tables: number, rows: number): void {
  if (rows > 0) reader.expectSection(KEYS, 4 * tables * rows);
  else expectContent(!reader.has(KEYS), 'no keys', 'some');
  if (reader.has(REMOVED)) reader.expectSection(REMOVED, Math.ceil(rows / 8));
}

/** Reads the keys into empty buckets, and what follows; returns which rows are gone. */
export function* readTables(
  reader: SnapshotReader,
  tables: HashTables<never>,
  buckets: Buckets,
  rows: number,
  checksums: Checksums,
): Reading<(row: number) => boolean> {
  tables.settle(buckets);
  let removed: Uint8Array | undefined;
  if (rows > 0) {
    const { memory } = tables;
    buckets.reserve(rows); // the tables' keys then follow each other without room between
    yield* reader.copy(KEYS, memory, buckets.keysPtr(0), checksums);
    const { u32 } = memory;
    const keys = buckets.keysPtr(0) >>> 2;
    const most = 2 ** buckets.bits - 1;
    for (let at = keys; at < keys + tables.tables * rows; at++) {
      if (u32[at] > most) expectContent(false, `keys of ${buckets.bits} bits`, u32[at]);
    }
    if (reader.has(REMOVED)) {
      const { buffer } = yield* reader.read(REMOVED, Math.ceil(rows / 8));
      removed = new Uint8Array(buffer);
      expectContent(countBits(removed, rows) > 0, 'removed ids', 'none');
    }
    buckets.add(rows);
  }
  yield* reader.close();
  checksums.release();
  const bits = removed;
  if (bits === undefined) return () => false;
  const isGone = (row: number): boolean => ((bits[row >>> 3] >>> (row & 7)) & 1) === 1;
  for (let row = 0; row < rows; row++) if (isGone(row)) buckets.remove([row]);
  return isGone;
}
