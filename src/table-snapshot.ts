/**
 * What the snapshots of all hash tables share: keys and removed ids. Sections 1 to 3 are each class's own.
 */

import type { Buckets } from './buckets.js';
import {
  bitsOf,
  Checksums,
  countBits,
  expectContent,
  PAUSE,
  paused,
  type Reading,
  type SectionSource,
  type SnapshotKind,
  type SnapshotLimits,
  SnapshotReader,
  type Writing,
  writeSnapshot,
} from './snapshot.js';
import type { HashTables } from './tables.js';

/** Tags: docs/snapshot-format.md. */
const PARAMETERS = 1;
const KEYS = 4;
const REMOVED = 5;
/** All that hash tables have, each class's own included. */
const TABLE_TAGS: readonly number[] = [1, 2, 3, KEYS, REMOVED];

/** Words of the parameters; those that a class does not use are 0. */
const WORDS = 16;
const PARAMETER_BYTES = 4 * WORDS;

/** Rows of which a class proves what it has read, in one step. */
export const PROVED_ROWS = 1024;

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

/** A class's `fromParts`: the header within the limits, then what `read` makes of the rest. */
export function* readSnapshot<Index>(
  kind: SnapshotKind,
  limits: SnapshotLimits | undefined,
  length: number | undefined,
  read: (reader: SnapshotReader) => Reading<Index>,
): Reading<Index> {
  const reader = new SnapshotReader(kind, TABLE_TAGS, limits, length);
  yield* reader.open();
  return yield* reader.within(() => read(reader));
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

/** Fails unless keys, removed ids and a class's own sections are as long as they must be; one of 0 bytes is not there. */
export function expectTables(
  reader: SnapshotReader,
  tables: number,
  rows: number,
  own: readonly (readonly [tag: number, bytes: number])[],
): void {
  for (const [tag, bytes] of [...own, [KEYS, 4 * tables * rows]]) {
    if (bytes > 0) reader.expectSection(tag, bytes);
    else expectContent(!reader.has(tag), `no section ${tag}`, 'one');
  }
  if (reader.has(REMOVED)) reader.expectSection(REMOVED, Math.ceil(rows / 8));
}

/**
 * Reads a class's own sections into regions, and the keys into empty buckets; removes the rows that are gone. In short
 * steps. What stands in its own sections is for the class to prove.
 */
export function* readTables(
  reader: SnapshotReader,
  tables: HashTables<never>,
  buckets: Buckets,
  rows: number,
  own: readonly (readonly [tag: number, region: string])[],
): Reading<void> {
  tables.settle(buckets);
  if (rows > 0) {
    const { memory, kernels } = tables;
    const checksums = new Checksums(memory, kernels);
    for (const [tag, region] of own) {
      const ptr = memory.reserve(region, reader.bytesOf(tag));
      if (reader.has(tag)) yield* reader.copy(tag, memory, ptr, checksums);
    }
    buckets.reserve(rows); // the tables' keys then follow each other without room between
    yield* reader.copy(KEYS, memory, buckets.keysPtr(0), checksums);
    checksums.release();
    const { u32 } = memory;
    const most = 2 ** buckets.bits - 1;
    let at = buckets.keysPtr(0) >>> 2;
    for (let table = 0; table < tables.tables; table++) {
      for (const end = at + rows; at < end; at++) {
        if (u32[at] > most) expectContent(false, `keys of ${buckets.bits} bits`, u32[at]);
      }
      yield PAUSE;
    }
    const gone = reader.has(REMOVED) ? yield* reader.read(REMOVED, rows) : undefined;
    yield* paused(buckets.addInSteps(rows));
    if (gone) {
      const bits = new Uint8Array(gone.buffer);
      expectContent(countBits(bits, rows) > 0, 'removed ids', 'none');
      for (let row = 0; row < rows; row++) {
        if (row % 2 ** 16 === 0) yield PAUSE;
        if ((bits[row >>> 3] >>> (row & 7)) & 1) buckets.remove([row]);
      }
    }
  }
  yield* reader.close();
}
