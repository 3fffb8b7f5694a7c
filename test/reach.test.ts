import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { VectorIndex } from '../src/index.js';
import { decodeReach, encodeReach, type Reach } from '../src/reach.js';
import { SnapshotError } from '../src/snapshot.js';
import { METRICS, thrownBy } from './answers.js';
import { clumpedRows, rowAt } from './data.js';
import { repair, sectionsOf } from './mutations.js';

const D = 8;
const rows = clumpedRows(3000, D, 40, 0.5, 31);
const queries = clumpedRows(20, D, 40, 0.5, 31);
const REACH = 17;
const POINT_BYTES = 144;
const filter = (id: number): boolean => id % 7 === 3;

const sectionOf = (bytes: Uint8Array): ReturnType<typeof sectionsOf>[number] | undefined =>
  sectionsOf(bytes).find(({ tag }) => tag === REACH);

/** Codes that searches with a filter scan: as many as the reach makes them. */
function scanned(index: VectorIndex): number[] {
  return Array.from({ length: 20 }, (_, i) => {
    const { way, codesScanned } = index.explain(rowAt(queries, i, D), { k: 5, recall: 0.8, filter });
    return way === 'cells' ? codesScanned : -1;
  });
}

describe('the reach that was measured', () => {
  it.each(METRICS)('is in the snapshot once tuning, not a search, has measured it, %s', (metric) => {
    const index = VectorIndex.from(rows, { dimensions: D, metric, cells: 32 });
    expect(sectionOf(index.save())).toBeUndefined();
    index.search(rowAt(queries, 0, D), { filter });
    expect(sectionOf(index.save())).toBeUndefined();
    index.tune();
    const bytes = index.save();
    expect((sectionOf(bytes)?.bytes as number) % POINT_BYTES).toBe(0);
    const again = VectorIndex.load(bytes);
    // Rows that would be measured otherwise: what counts is what was measured before.
    const more = clumpedRows(3000, D, 2, 0.01, 32);
    index.add(more);
    again.add(more);
    expect(scanned(again)).toEqual(scanned(index));
    expect(Buffer.compare(again.save(), index.save())).toBe(0);
    again.build({ cells: 16 });
    expect(sectionOf(again.save())).toBeUndefined();
  });

  it('is in the snapshot after tune, and no search measures it again', async () => {
    const index = VectorIndex.from(rows, { dimensions: D, cells: 32 });
    const twin = VectorIndex.load(index.save());
    index.tune({ k: 3, recall: 0.9 });
    await twin.tuneAsync({ k: 3, recall: 0.9 });
    const bytes = index.save();
    expect(sectionOf(bytes)).toBeDefined();
    expect(Buffer.compare(twin.save(), bytes)).toBe(0);
    index.search(rowAt(queries, 0, D), { filter });
    index.searchRadius(rowAt(queries, 0, D), 1);
    expect(Buffer.compare(index.save(), bytes)).toBe(0);
  });

  it('is what a loaded index goes by', () => {
    const index = VectorIndex.from(rows, { dimensions: D, cells: 32 });
    index.tune();
    const bytes = index.save();
    const { offset, bytes: length } = sectionOf(bytes) as ReturnType<typeof sectionsOf>[number];
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    // As if neighbors were in the nearest cell alone.
    for (let point = offset; point < offset + length; point += POINT_BYTES)
      for (let at = point + 16; at < point + POINT_BYTES; at += 8) view.setFloat64(at, 0, true);
    const forged = VectorIndex.load(repair(bytes));
    const [wide, narrow] = [scanned(index), scanned(forged)];
    const sum = (codes: number[]): number => codes.reduce((all, some) => all + some, 0);
    expect(sum(wide)).toBeGreaterThan(1.3 * sum(narrow));
  });

  it('of a snapshot that was committed answers as it did, and is saved as it was', () => {
    const fixture = (name: string): Buffer => readFileSync(new URL(`fixtures/${name}`, import.meta.url));
    const bytes = fixture('vector-index-reach-1.snapshot');
    const { query, radius, within } = JSON.parse(fixture('snapshot-reach.json').toString());
    const index = VectorIndex.load(new Uint8Array(bytes));
    const found = index.searchRadius(Float32Array.from(query), radius, { filter: (id) => id % 3 > 0 });
    expect(Array.from(found.ids)).toEqual(within);
    expect(Buffer.compare(index.save(), bytes)).toBe(0);
  });

  it('may be skipped: the section is marked so', () => {
    const index = VectorIndex.from(rows.slice(0, 400 * D), { dimensions: D, cells: 8 });
    index.tune();
    const bytes = index.save();
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const flags = sectionsOf(bytes).map(({ tag, entry }) => [tag, view.getUint32(entry + 24, true)]);
    expect(flags.filter(([, flag]) => flag !== 0)).toEqual([[REACH, 1]]);
  });

  it('is the same after encoding and decoding, and refused where it is cut or too long', () => {
    const reach: Reach = Array.from({ length: 8 }, (_, i) => ({
      k: 10 * (i + 1) + 0.25,
      distance: 1.5 + i,
      slopes: Array.from({ length: 8 }, (_, j) => i + j / 7),
      places: Array.from({ length: 8 }, (_, j) => i + j),
    }));
    const bytes = encodeReach(reach);
    const view = (length: number): DataView =>
      new DataView(new Uint8Array([...bytes, ...bytes]).buffer, 0, length);
    expect(bytes.length).toBe(8 * POINT_BYTES);
    expect(decodeReach(view(bytes.length), 15)).toEqual(reach);
    expect(decodeReach(view(POINT_BYTES), 15)).toEqual(reach.slice(0, 1));
    for (const length of [0, 8, POINT_BYTES - 8, POINT_BYTES + 1, 9 * POINT_BYTES])
      expect(thrownBy(() => decodeReach(view(length), 15))).toBeInstanceOf(SnapshotError);
    expect(thrownBy(() => decodeReach(view(bytes.length), 14))).toBeInstanceOf(SnapshotError);
  });
});

describe('a snapshot is refused when', () => {
  const index = VectorIndex.from(clumpedRows(60, 5, 4, 0.4, 1), { dimensions: 5, cells: 4 });
  index.tune();
  const bytes = index.save();
  const one = VectorIndex.from(clumpedRows(60, 5, 4, 0.4, 1), { dimensions: 5, cells: 1 }).save();

  it.each<[what: string, words: [at: number, value: number][]]>([
    [
      'its reach is of no neighbors',
      [
        [0, 0],
        [4, 0],
      ],
    ],
    ['the neighbors of its reach are no number', [[4, 0x7ff80000]]],
    ['the neighbors of its reach do not ascend', [[148, 0x3ff00000]]],
    [
      'a distance of its reach is 0',
      [
        [8, 0],
        [12, 0],
      ],
    ],
    ['a distance of its reach is infinite', [[12, 0x7ff00000]]],
    ['distances of its reach do not ascend', [[156, 0x00100000]]],
    ['a slope of its reach is negative', [[20, 0xbff00000]]],
    ['a slope of its reach is below the one before', [[76, 0x00100000]]],
    ['a slope of its reach is too steep', [[76, 0x7fd00000]]],
    [
      'a place of its reach is behind the last cell',
      [
        [136, 0],
        [140, 0x40100000],
      ],
    ],
    ['a place of its reach is no whole number', [[140, 0x40020000]]],
  ])('%s', (_, words) => {
    const forged = bytes.slice();
    const { offset } = sectionOf(bytes) as ReturnType<typeof sectionsOf>[number];
    const view = new DataView(forged.buffer);
    for (const [at, value] of words) view.setUint32(offset + at, value, true);
    const error = thrownBy(() => VectorIndex.load(repair(forged)));
    expect(error).toBeInstanceOf(SnapshotError);
    expect(error).toMatchObject({ reason: 'content' });
  });

  it('any byte of its reach has changed', () => {
    const { offset, bytes: length } = sectionOf(bytes) as ReturnType<typeof sectionsOf>[number];
    const changed = bytes.slice();
    for (let at = offset; at < offset + length; at++) {
      changed[at] ^= 1 << (at % 8);
      expect(thrownBy(() => VectorIndex.load(changed))).toMatchObject({ reason: 'checksum' });
      changed[at] = bytes[at];
    }
  });

  it('not where there is none: an index of one cell has no reach', () => {
    expect(sectionOf(one)).toBeUndefined();
    VectorIndex.load(one);
  });
});
