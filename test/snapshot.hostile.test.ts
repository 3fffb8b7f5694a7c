import { describe, expect, it } from 'vitest';
import { checksumOf, SnapshotError, type SnapshotKind, type SnapshotReason } from '../src/snapshot.js';
import { VectorIndex } from '../src/vector-index.js';
import { thrownBy } from './answers.js';
import { normals } from './data.js';
import { fuzz, isRefused, loadAs, repair, sectionsOf, seeds } from './mutations.js';

const SNAPSHOTS = seeds();

function refusalOf(kind: SnapshotKind, bytes: Uint8Array): SnapshotError {
  const error = thrownBy(() => loadAs(kind, bytes));
  if (!(error instanceof SnapshotError)) expect(error).toBeInstanceOf(SnapshotError);
  return error as SnapshotError;
}

// The same of few rows: every byte is tried.
describe.each(seeds(10))('a small snapshot of a %s: %s', (kind, name, bytes) => {
  it('is refused when it is cut off anywhere', () => {
    for (let length = 0; length < bytes.length; length++) {
      const { reason } = refusalOf(kind, bytes.subarray(0, length));
      if (reason !== 'length') expect([length, reason]).toEqual([length, 'length']);
    }
  });

  it('is refused when any byte has changed', () => {
    const changed = bytes.slice();
    for (let at = 0; at < bytes.length; at++) {
      changed[at] ^= 1 << (at % 8);
      const { reason } = refusalOf(kind, changed);
      if (at >= 64 && reason !== 'checksum' && reason !== 'content')
        expect([at, reason]).toEqual([at, 'checksum']);
      changed[at] = bytes[at];
    }
  });

  it('has every section that the larger one has', () => {
    // But the reach of a VectorIndex, which so few rows do not have: reach.test.ts changes every byte of one.
    const isReach = (tag: number): boolean => kind === 'VectorIndex' && tag === 17;
    const tags = (snapshot: Uint8Array): number[] =>
      sectionsOf(snapshot)
        .map(({ tag }) => tag)
        .filter((tag) => !isReach(tag));
    const larger = SNAPSHOTS.find(([, other]) => other === name)?.[2] as Uint8Array;
    expect(tags(bytes)).toEqual(tags(larger));
    expect(bytes.length).toBeLessThan(8192);
  });
});

describe.each(SNAPSHOTS)('a snapshot of a %s: %s', (kind, _, bytes) => {
  it('gives a SnapshotError or a sound index whatever a forger writes', () => {
    const seed = Date.now() % 2 ** 31;
    const { refused, taken } = fuzz(kind, bytes, seed, 250);
    console.log(`mutations from seed ${seed}: ${refused} refused, ${taken} taken`);
    expect(refused + taken).toBeGreaterThan(0);
  });
});

describe('a forged snapshot is refused when', () => {
  const find = (name: string): Uint8Array => SNAPSHOTS.find(([, other]) => other === name)?.[2] as Uint8Array;
  const built = find('a built index with a second stage');
  const bytesOfInt8 = find('an index of 8-bit rows with lengths');
  const tables = find('hash tables');
  const codes = find('tables of codes');
  const fewer = find('tables of codes with removed ones');
  const sets = find('tables of sets');
  const less = find('tables of sets with removed ones');
  const removed = find('an index with removed rows');
  const thinned = find('hash tables with removed rows');
  const strings = find('an index with strings as ids');
  const numbers = find('an index with numbers as ids');
  const bigints = find('an index with bigints as ids');
  const twins = VectorIndex.from(normals(10, 3), { dimensions: 5, ids: ['a', 'b'], tune: false }).save();
  twins[(sectionsOf(twins).at(-1)?.offset as number) + 13] = 97;
  const several = VectorIndex.from(normals(300, 3), { dimensions: 5, cells: 4, tune: false });
  for (const recall of [0.8, 0.9]) several.tune({ k: 3, recall });
  several.tune({ k: 5, recall: 0.8 });
  const settings = several.save();
  const codeBytes = 16 * 4;
  const slotRow = (slot: number): number => codeBytes + 256 + 4 * slot;
  const word = (bytes: Uint8Array, tag: number, at: number): number =>
    new DataView(bytes.buffer).getUint32((offsetOf(bytes, tag) as number) + at, true);
  const offsetOf = (bytes: Uint8Array, tag: number): number | undefined =>
    sectionsOf(bytes).find((section) => section.tag === tag)?.offset;
  type Change = [tag: number, at: number, value: number];
  const NAN = 0x7fc00000;

  const cases: [what: string, bytes: Uint8Array, changes: Change[], reason: SnapshotReason][] = [
    ['it has 0 dimensions', built, [[1, 0, 0]], 'content'],
    ['it has 4,097 dimensions', built, [[1, 0, 4097]], 'limit'],
    ['its metric is unknown', built, [[1, 4, 3]], 'content'],
    ['its storage is unknown', built, [[1, 8, 2]], 'content'],
    ['it claims more rows than there are bytes', built, [[1, 16, 0xfffffffe]], 'content'],
    ['it claims fewer rows', built, [[1, 16, 59]], 'content'],
    ['it claims other coded dimensions', built, [[1, 20, 12]], 'content'],
    ['it claims other rounds', built, [[1, 24, 6]], 'content'],
    ['it claims more cells', built, [[1, 28, 5]], 'content'],
    ['it claims no cells', built, [[1, 28, 0]], 'content'],
    ['it claims groups that it cannot have', built, [[1, 32, 3]], 'content'],
    ['its step is not a number', built, [[1, 36, NAN]], 'content'],
    ['a euclidean index has a norm', built, [[1, 40, 0x3f800000]], 'content'],
    ['a norm is negative', built, [[1, 40, 0xbf800000]], 'content'],
    ['a step is negative', built, [[1, 36, 0xbf800000]], 'content'],
    ['it claims ids of the user and has none', built, [[1, 48, 1]], 'content'],
    ['its kind of ids is unknown', built, [[1, 48, 4]], 'content'],
    ['a reserved word is used', built, [[1, 52, 1]], 'content'],
    ['its ids are of no kind', strings, [[1, 48, 0]], 'content'],
    ['its ids are of another kind', strings, [[1, 48, 2]], 'content'],
    ['numbers are said to be bigints', numbers, [[1, 48, 3]], 'content'],
    ['the first string does not start at 0', strings, [[16, 0, 1]], 'content'],
    [
      'the last string ends before the last byte',
      strings,
      [[16, 224, word(strings, 16, 224) - 1]],
      'content',
    ],
    ['a string ends before it starts', strings, [[16, 8, 0]], 'content'],
    ['a string ends behind all strings', strings, [[16, 8, 0xffffffff]], 'content'],
    ['a string is cut within a character', strings, [[16, 4, word(strings, 16, 4) - 2]], 'content'],
    ['a string is no UTF-8', strings, [[16, 228, 0xc0c0c0c0]], 'content'],
    ['a string is half of a surrogate pair', strings, [[16, 228, 0x3280a0ed]], 'content'],
    ['two strings are equal', twins, [0, 1, 2].map((i): Change => [16, 4 * i, [0, 1, 2][i]]), 'content'],
    [
      'two ids are the same number',
      numbers,
      [0, 4].map((at): Change => [16, at, word(numbers, 16, at + 8)]),
      'content',
    ],
    ['an id is not a number', numbers, [[16, 4, 0x7ff80000]], 'content'],
    [
      'an id is infinite',
      numbers,
      [
        [16, 4, 0xfff00000],
        [16, 0, 0],
      ],
      'content',
    ],
    [
      'an id is -0',
      numbers,
      [
        [16, 4, 0x80000000],
        [16, 0, 0],
      ],
      'content',
    ],
    [
      'two ids are the same bigint',
      bigints,
      [0, 4].map((at): Change => [16, at, word(bigints, 16, at + 8)]),
      'content',
    ],
    ['a positive bigint is said to be negative', bigints, [[16, 56 * 8 + 3, 0x80000000]], 'content'],
    ['it claims removed rows and does not name them', built, [[1, 44, 1]], 'content'],
    ['it claims more ids than there are', built, [[1, 44, 0xfffffffe]], 'content'],
    ['it claims another number of removed rows', removed, [[1, 44, 6]], 'content'],
    ['it claims a number of removed rows that as many bits could tell', removed, [[1, 44, 8]], 'content'],
    ['a removed id is that of a row', removed, [[15, 0, word(removed, 15, 0) ^ 0b110]], 'content'],
    [
      'a removed id is none that was given out',
      removed,
      [[15, 4, word(removed, 15, 4) ^ (0b11 << 27)]],
      'content',
    ],
    ['a row has an id that was removed', removed, [[10, 0, 30]], 'content'],
    [
      'tables count no row that was removed',
      thinned,
      [
        [5, 0, 0],
        [5, 4, 0],
      ],
      'content',
    ],
    [
      'tables removed an id that was not given out',
      thinned,
      [[5, 4, word(thinned, 5, 4) | 0x80000000]],
      'content',
    ],
    ['a row of tables that was removed is there', thinned, [[3, 0, 0x3f800000]], 'content'],
    [
      'a row of tables that was not removed is gone',
      thinned,
      [0, 1, 2, 3, 4].map((i): Change => [3, 4 * (2 * 8 + i), 0]),
      'content',
    ],
    ['a setting is tuned for no neighbors', built, [[2, 0, 0]], 'content'],
    ['a setting is tuned for more neighbors than there are rows', built, [[2, 0, 61]], 'content'],
    ['a setting is for fewer neighbors than the one before', settings, [[2, 128, 2]], 'content'],
    ['a setting probes nothing', built, [[2, 4, 0]], 'content'],
    ['a reserved word of a setting is used', built, [[2, 20, 1]], 'content'],
    ['an epsilon is negative', built, [[2, 28, 0xbff00000]], 'content'],
    ['an epsilon is 101', built, [[2, 28, 0x40594000]], 'content'],
    ['a target is negative', built, [[2, 36, 0xbff00000]], 'content'],
    ['a target is 2', built, [[2, 36, 0x40000000]], 'content'],
    [
      'two settings have one target',
      settings,
      [32, 36].map((at): Change => [2, at, word(settings, 2, at + 64)]),
      'content',
    ],
    ['a recall is not a number', built, [[2, 44, 0x7ff80000]], 'content'],
    ['a recall is -16', built, [[2, 44, 0xc0300000]], 'content'],
    ['the least recall is 16', built, [[2, 52, 0x40300000]], 'content'],
    ['a cost is negative', built, [[2, 60, 0xbff00000]], 'content'],
    ['a cost is not a number', built, [[2, 60, 0x7ff80000]], 'content'],
    ['a setting keeps a billion rows', built, [[2, 12, 1e9]], 'content'],
    ['a setting is met by halves', built, [[2, 16, 2]], 'content'],
    ['an epsilon is not a number', built, [[2, 28, 0x7ff80000]], 'content'],
    ['a cell claims all slots', built, [[3, 0, 0xffffffff]], 'content'],
    ['a cell claims a slot of the next block', built, [[3, 0, 33]], 'content'],
    ['a cell has one slot fewer', built, [[3, 0, word(built, 3, 0) - 1]], 'content'],
    ['the mean is infinite', built, [[4, 0, 0x7f800000]], 'content'],
    ['a sign is too large', built, [[5, 0, 0x40000000]], 'content'],
    ['a centre is not a number', built, [[8, 8, NAN]], 'content'],
    ['a row has a NaN', built, [[9, 4, NAN]], 'content'],
    ['a row has a number beyond 1e16', built, [[9, 4, 0x7f000000]], 'content'],
    ['a row goes on behind its end', built, [[9, 4 * 5, 0x3f800000]], 'content'],
    ['two positions have one id', built, [[10, 0, word(built, 10, 4)]], 'content'],
    ['an id is that of no row', built, [[10, 0, 60]], 'content'],
    ['a slot has a row beyond the last', built, [[12, slotRow(0), 60]], 'content'],
    ['two slots have one row', built, [[12, slotRow(0), word(built, 12, slotRow(1))]], 'content'],
    ['a slot in use is empty but may survive', built, [[12, slotRow(0), 0xffffffff]], 'content'],
    ['a factor is not a number', built, [[12, codeBytes, NAN]], 'content'],
    ['a norm of a record is not a number', built, [[14, 0, NAN]], 'content'],
    ['the scale of a record is not a number', bytesOfInt8, [[9, 16, NAN]], 'content'],
    ['the scale of a record is negative', bytesOfInt8, [[9, 16, 0xbf800000]], 'content'],
    ['the norm of a record is infinite', bytesOfInt8, [[9, 20, 0x7f800000]], 'content'],
    ['the extension of a record is not a number', bytesOfInt8, [[9, 24, NAN]], 'content'],
    ['a record goes on behind its end', bytesOfInt8, [[9, 8, 1]], 'content'],
    ['a length is 0', bytesOfInt8, [[11, 0, 0]], 'content'],
    [
      'a row is half as long as it was',
      removed,
      [0, 1, 2, 3, 4].map((i): Change => [9, 4 * i, word(removed, 9, 4 * i) - (1 << 23)]),
      'content',
    ],
    [
      'a row has no direction under cosine',
      removed,
      [0, 1, 2, 3, 4].map((i): Change => [9, 4 * i, 0]),
      'content',
    ],
    ['a length is infinite', bytesOfInt8, [[11, 0, 0x7f800000]], 'content'],
    ['tables have 0 dimensions', tables, [[1, 0, 0]], 'content'],
    ['tables have another metric', tables, [[1, 4, 2]], 'content'],
    ['there are no tables', tables, [[1, 8, 0]], 'content'],
    ['there are 257 tables', tables, [[1, 8, 257]], 'content'],
    ['there are no bits', tables, [[1, 12, 0]], 'content'],
    ['there are 33 bits', tables, [[1, 12, 33]], 'content'],
    ['tables claim more rows', tables, [[1, 20, 61]], 'content'],
    ['a reserved word of tables is used', tables, [[1, 24, 1]], 'content'],
    ['a hyperplane has a NaN', tables, [[2, 0, NAN]], 'content'],
    ['a row of tables has a NaN', tables, [[3, 0, NAN]], 'content'],
    ['a row of tables goes on behind its end', tables, [[3, 20, 0x3f800000]], 'content'],
    ['a row has no direction', tables, [0, 1, 2, 3, 4].map((i): Change => [3, 4 * i, 0]), 'content'],
    ['codes have no bits', codes, [[1, 0, 0]], 'content'],
    ['codes have more bits than there may be', codes, [[1, 0, 65537]], 'content'],
    ['codes have other bits', codes, [[1, 0, 74]], 'content'],
    ['no bits are sampled', codes, [[1, 4, 0]], 'content'],
    ['more bits are sampled', codes, [[1, 4, 65536]], 'content'],
    ['there are no tables of codes', codes, [[1, 8, 0]], 'content'],
    ['there are 257 tables of codes', codes, [[1, 8, 257]], 'content'],
    ['there are more codes than bytes', codes, [[1, 12, 41]], 'content'],
    ['a reserved word of codes is used', codes, [[1, 16, 1]], 'content'],
    ['a sampled bit is none of a code', codes, [[2, 0, 75]], 'content'],
    ['a code goes on behind its last bit', codes, [[3, 8, word(codes, 3, 8) | 0x800]], 'content'],
    ['a code goes on behind its last byte', codes, [[3, 12, 1]], 'content'],
    ['a key of codes has too many bits', codes, [[4, 0, 64]], 'content'],
    ['a removed code is there', fewer, [[3, 0, 1]], 'content'],
    [
      'codes name no removed one',
      fewer,
      [
        [5, 0, 0],
        [5, 1, 0],
      ],
      'content',
    ],
    ['sets have no bands', sets, [[1, 0, 0]], 'content'],
    ['sets have 257 bands', sets, [[1, 0, 257]], 'content'],
    ['bands have no rows', sets, [[1, 4, 0]], 'content'],
    ['bands have 257 rows', sets, [[1, 4, 257]], 'content'],
    ['there are more sets than bytes', sets, [[1, 8, 41]], 'content'],
    ['there are as many sets as there can be', sets, [[1, 8, 0xfffffffe]], 'content'],
    ['a reserved word of sets is used', sets, [[1, 12, 1]], 'content'],
    ['the first set does not start at 0', sets, [[2, 0, 1]], 'content'],
    ['a set ends before it starts', sets, [[2, 8, 0]], 'content'],
    ['a set ends behind all features', sets, [[2, 4, 0xffffffff]], 'content'],
    ['the last set ends before the last feature', sets, [[2, 160, word(sets, 2, 160) - 1]], 'content'],
    ['the features of a set do not ascend', sets, [[3, 4, word(sets, 3, 0)]], 'content'],
    ['a removed set has features', less, [[2, 4, 1]], 'content'],
    ['a key has too many bits', tables, [[4, 0, 16]], 'content'],
  ];

  it.each(cases)('%s', (_, bytes, changes, reason) => {
    const forged = bytes.slice();
    const view = new DataView(forged.buffer);
    for (const [tag, at, value] of changes) {
      view.setUint32((offsetOf(bytes, tag) as number) + at, value, true);
    }
    const kind = SNAPSHOTS.find(([, , other]) => other === bytes)?.[0] ?? 'VectorIndex';
    const error = refusalOf(kind, repair(forged));
    expect([error.reason, error.message]).toEqual([reason, error.message]);
  });

  const heads: [what: string, at: number, value: number, reason: SnapshotReason][] = [
    ['a required feature is unknown', 16, 0x10, 'feature'],
    ['its kind is unknown', 12, 77, 'kind'],
    ['it counts sections wrong', 32, 13, 'content'],
    ['it counts a billion sections', 32, 1e9, 'content'],
    ['it claims another length', 24, built.length + 64, 'length'],
    ['it claims a length of many gigabytes', 28, 1000, 'length'],
    ['a reserved word of the header is used', 48, 1, 'content'],
    ['a section is unknown', 64, 99, 'feature'],
    ['a section is there twice', 64, 2, 'content'],
    ['a section begins in the header', 64 + 8, 0, 'content'],
    ['a section begins beyond the end', 64 + 12, 1, 'content'],
    ['a section is longer than the file', 64 + 20, 1, 'content'],
    ['a section is longer than it was', 64 + 16, 128, 'content'],
    ['a section has unknown flags', 64 + 24, 2, 'content'],
  ];

  it.each(heads)('%s', (_, at, value, reason) => {
    const forged = built.slice();
    const view = new DataView(forged.buffer);
    view.setUint32(at, value, true);
    // The header's checksum alone: sections may lie anywhere now.
    const count = Math.min(64, view.getUint32(32, true));
    view.setUint32(60, 0, true);
    view.setUint32(60, checksumOf(forged.subarray(0, 64 * Math.ceil(1 + count / 2))), true);
    expect(refusalOf('VectorIndex', forged).reason).toBe(reason);
  });

  it('but not when a setting is for as many neighbors as there are rows, or has a target of 0', () => {
    const bytes = built.slice();
    const { offset, bytes: length } = sectionsOf(bytes)[1];
    new DataView(bytes.buffer).setUint32(offset + length - 64, 60, true);
    bytes.fill(0, offset + 32, offset + 40);
    expect(isRefused(repair(bytes), 'VectorIndex')).toBe(false);
  });

  it('but not when only an optional feature or section is unknown', () => {
    const bytes = built.slice();
    const view = new DataView(bytes.buffer);
    view.setUint32(20, 0xf0, true);
    expect(isRefused(repair(bytes), 'VectorIndex')).toBe(false);
    // The tuned settings under a tag that nobody knows: without them the index is an untuned one.
    const { entry } = sectionsOf(bytes)[1];
    view.setUint32(entry, 1000, true);
    view.setUint32(entry + 24, 1, true);
    const index = VectorIndex.load(repair(bytes));
    expect(index.search(normals(5, 1), { recall: 0.9 }).ids.length).toBe(10);
  });
});
