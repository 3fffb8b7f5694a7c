import { describe, expect, it } from 'vitest';
import { IdSet } from '../src/id-set.js';
import { UserIds } from '../src/user-ids.js';
import { VectorIndex } from '../src/vector-index.js';
import { thrownBy } from './answers.js';
import { expectSameBits } from './arena.js';
import { clumpedRows, normals, rowAt } from './data.js';

const DIMENSIONS = 6;
const ROWS = 300;
const vectors = clumpedRows(ROWS, DIMENSIONS, 9, 0.4, 5);
const query = rowAt(vectors, 17, DIMENSIONS);

const STRINGS = Array.from(
  { length: ROWS },
  (_, i) => ['', 'é', '字', '😀', '\ufeff', 'a\0b'][i] ?? `name ${i}`,
);
const NUMBERS = Array.from({ length: ROWS }, (_, i) => [2 ** 53, -1.5, 1e308, 5e-324, 0][i] ?? i * 1e9);
const BIGINTS = Array.from(
  { length: ROWS },
  (_, i) => [-(2n ** 63n), 2n ** 64n - 1n, -1n, 2n ** 63n, 2n ** 63n - 1n][i] ?? BigInt(i) * 10n ** 15n,
);
const KINDS: [kind: 'string' | 'number' | 'bigint', ids: (string | number | bigint)[]][] = [
  ['string', STRINGS],
  ['number', NUMBERS],
  ['bigint', BIGINTS],
];

/** An index whose ids are of any kind, as tests that are the same for each see it. */
function make(ids: readonly unknown[], cells = 4): VectorIndex<'string'> {
  return VectorIndex.from(vectors, { dimensions: DIMENSIONS, cells, ids: ids as string[] });
}

function refusal(call: () => unknown): { name: string; code: string; message: string } {
  const { name, code, message } = thrownBy(call) as Error & { code: string };
  return { name, code, message };
}

describe.each(KINDS)('an index with ids of its own of kind %s', (kind, all) => {
  const ids = all as string[];
  const plain = VectorIndex.from(vectors, { dimensions: DIMENSIONS, cells: 4 });
  const index = make(ids);

  it('answers as one without, and with the ids beside', () => {
    expect(index.idKind).toBe(kind);
    const queries = vectors.subarray(0, 5 * DIMENSIONS);
    const k = ROWS + 7;
    const answers = [
      [index.search(query, { k: 5 }), plain.search(query, { k: 5 })],
      [index.search(query, { k: 5, exact: true }), plain.search(query, { k: 5, exact: true })],
      [index.searchBatch(queries, { k: 4 }), plain.searchBatch(queries, { k: 4 })],
      [index.searchBatch(queries, { k, exact: true }), plain.searchBatch(queries, { k, exact: true })],
      [index.searchById(ids[3], { k: 6 }), plain.searchById(3, { k: 6 })],
      [index.searchRadius(query, 0.8), plain.searchRadius(query, 0.8)],
      [index.searchRadiusBatch(queries, 0.8), plain.searchRadiusBatch(queries, 0.8)],
    ];
    for (const [own, other] of answers) {
      const { userIds, ...rest } = own;
      expect(rest).toEqual(other);
      expect(own.ids.length).toBeGreaterThan(0);
      expect(userIds).toEqual(Array.from(own.ids, (row) => ids[row]));
      expect('userIds' in other).toBe(false);
    }
    const { userIds, row, ids: rows } = index.explain(query, { k: 3, id: ids[5] });
    expect(userIds).toEqual(Array.from(rows, (each) => ids[each]));
    expect(row).toMatchObject({ id: 5, userId: ids[5], found: false });
  });

  it('takes its ids in every call about one row', () => {
    ids.forEach((id, row) => {
      expect(index.rowOf(id)).toBe(row);
      expect(index.idOf(row)).toBe(id);
      expect(index.has(id)).toBe(true);
    });
    expectSameBits(index.get(ids[9]) as Float32Array, plain.vector(9), 'get');
    expectSameBits(index.vector(ids[9]), plain.vector(9), 'vector');
    expect(index.idOf(ROWS)).toBeUndefined();
    expect([...index.userIds()]).toEqual(ids);
    let row = 0;
    for (const [id, vector] of index) {
      expect(id).toBe(ids[row]);
      expectSameBits(vector, plain.vector(row++), `row of ${id}`);
    }
    expect(row).toBe(ROWS);
  });

  it('asks a filter that is a function about its ids, and takes bitmaps and sets of row numbers', () => {
    const half = new Set(ids.filter((_, i) => i % 2 === 0));
    const even = IdSet.where(ROWS, (row) => row % 2 === 0);
    for (const exact of [true, false]) {
      const expected = plain.search(query, { k: 8, exact, filter: even });
      for (const filter of [(id: string) => half.has(id), even, even.toBitmap()]) {
        const { userIds, ...rest } = index.search(query, { k: 8, exact, filter });
        expect(rest).toEqual(expected);
        expect(userIds.every((id) => half.has(id))).toBe(true);
      }
    }
    const within = index.searchRadius(query, 0.9, { exact: true, filter: (id) => half.has(id) });
    expect(within.ids).toEqual(plain.searchRadius(query, 0.9, { exact: true, filter: even }).ids);
    expect(index.evaluate(query, { k: 3, exact: true, filter: (id) => half.has(id) }).recall).toBe(1);
  });

  it('keeps ids through removing, updating, compacting and building, and takes one that is free again', () => {
    const living = make(ids);
    expect(living.remove([ids[3], ids[17], ids[3]])).toBe(2);
    expect(living.delete(ids[4])).toBe(true);
    expect(living.delete(ids[4])).toBe(false);
    expect(living.remove(ids[4])).toBe(0);
    for (const gone of [3, 4, 17]) {
      expect(living.has(ids[gone])).toBe(false);
      expect(living.get(ids[gone])).toBeUndefined();
      expect(living.rowOf(ids[gone])).toBeUndefined();
      expect(living.idOf(gone)).toBeUndefined();
      expect(refusal(() => living.vector(ids[gone])).code).toBe('ERR_ARGUMENT_RANGE');
    }
    expect(living.size).toBe(ROWS - 3);
    const check = (): void => {
      expect([...living.userIds()].length).toBe(living.size);
      const { userIds } = living.search(query, { k: ROWS, exact: true });
      expect(new Set(userIds)).toEqual(new Set(ids.filter((id) => living.has(id))));
    };
    check();
    living.compact();
    check();
    living.build();
    check();
    expect(living.set(ids[17], query)).toBe(ROWS); // a new row
    expect(living.search(query, { k: 1 }).userIds).toEqual([ids[17]]);
    expect(living.set(ids[20], query)).toBe(20); // the row that it had
    living.update(ids[21], query);
    expect(living.search(query, { k: 3 }).ids).toEqual(Uint32Array.of(20, 21, ROWS));
    check();
  });

  it('adds rows with ids, sets many at once, and gives the same when saved and loaded', () => {
    const living = new VectorIndex<'string'>({ dimensions: DIMENSIONS, ids: kind as 'string' });
    expectLoadedSame(living, kind);
    expect(living.add(vectors.subarray(0, 10 * DIMENSIONS), ids.slice(0, 10))).toBe(0);
    expectLoadedSame(living, kind);
    living.setMany(ids.slice(5, 40), vectors.subarray(30 * DIMENSIONS, 65 * DIMENSIONS));
    expect(living.size).toBe(40);
    for (let i = 0; i < 40; i++) {
      expectSameBits(
        living.get(ids[i]) as Float32Array,
        rowAt(vectors, i < 5 ? i : i + 25, DIMENSIONS),
        `${i}`,
      );
    }
    living.setMany(ids.slice(0, 3), vectors.subarray(0, 3 * DIMENSIONS));
    expect(living.size).toBe(40);
    expectLoadedSame(living, kind);
    living.build({ cells: 3 });
    living.remove(ids.slice(30));
    living.remove([ids[0], ids[8]]);
    expectLoadedSame(living, kind);
    living.remove([...living.userIds()]);
    expectLoadedSame(living, kind);
  });

  it('refuses ids that come twice, are taken, or are of another kind or number, and is as it was', () => {
    const living = make(ids);
    const bytes = living.save();
    const two = vectors.subarray(0, 2 * DIMENSIONS);
    const three = vectors.subarray(0, 3 * DIMENSIONS);
    const [fresh, other] = { string: ['x', 'y'], number: [-7, -8], bigint: [-7n, -8n] }[kind] as string[];
    const wrong = (kind === 'string' ? 5 : 'five') as string;
    const cases: [call: () => unknown, name: string, code: string, text: string | RegExp][] = [
      [
        () => living.add(three, [fresh, other, fresh]),
        'RangeError',
        'ERR_DUPLICATE_ID',
        /at places 0 and 2$/,
      ],
      [
        () => living.add(two, [fresh, ids[7]]),
        'RangeError',
        'ERR_DUPLICATE_ID',
        /at place 1, which row 7 has$/,
      ],
      [() => living.setMany([ids[7], ids[7]], two), 'RangeError', 'ERR_DUPLICATE_ID', /at places 0 and 1$/],
      [() => living.setMany([fresh, fresh], two), 'RangeError', 'ERR_DUPLICATE_ID', /at places 0 and 1$/],
      [() => living.add(two, [fresh, wrong]), 'TypeError', 'ERR_ARGUMENT_TYPE', /at place 1$/],
      [() => living.add(two, [fresh]), 'RangeError', 'ERR_LENGTH', 'ids: expected 2 ids, one a row, got 1'],
      [() => living.add(two), 'TypeError', 'ERR_ARGUMENT_TYPE', /expected 2 ids, one a row/],
      [() => living.add(two, fresh as never), 'TypeError', 'ERR_ARGUMENT_TYPE', /expected an array of ids/],
      [() => living.set(wrong, query), 'TypeError', 'ERR_ARGUMENT_TYPE', /^id: expected a/],
      [() => living.get(wrong), 'TypeError', 'ERR_ARGUMENT_TYPE', /^id: expected a/],
      [() => living.has(wrong), 'TypeError', 'ERR_ARGUMENT_TYPE', /^id: expected a/],
      [() => living.remove([ids[1], wrong]), 'TypeError', 'ERR_ARGUMENT_TYPE', /at place 1$/],
      [() => living.update(fresh, query), 'RangeError', 'ERR_ARGUMENT_RANGE', /^id: expected one that a row/],
      [() => living.searchById(fresh), 'RangeError', 'ERR_ARGUMENT_RANGE', /^id: expected one that a row/],
      [() => living.set(fresh, two), 'RangeError', 'ERR_LENGTH', /^vector: expected 6 floats/],
      [
        () =>
          living.add(
            two.map(() => Number.NaN),
            [fresh, other],
          ),
        'RangeError',
        'ERR_NOT_FINITE',
        /row 0/,
      ],
      [
        () =>
          living.setMany(
            [ids[0], fresh],
            two.map((x, i) => (i > 7 ? Infinity : x)),
          ),
        'RangeError',
        'ERR_NOT_FINITE',
        /row 1/,
      ],
    ];
    for (const [call, name, code, text] of cases) {
      const error = refusal(call);
      expect(error).toMatchObject({ name, code });
      expect(error.message).toMatch(text);
      expect(living.size).toBe(ROWS);
      expect(living.has(fresh)).toBe(false);
    }
    expectSameBits(living.save(), bytes, 'the bytes');
    expect(living.add(two, [fresh, other])).toBe(ROWS);
    const twice = refusal(() => make([...ids.slice(0, ROWS - 1), ids[12]]));
    expect(twice.message).toMatch(/at places 12 and 299$/);
  });

  it('is built in slices with the same ids', async () => {
    const slow = await VectorIndex.fromAsync(vectors, {
      dimensions: DIMENSIONS,
      ids: ids as string[],
      cells: 4,
    });
    expectSameBits(slow.save(), index.save(), 'the bytes');
    await slow.buildAsync({ cells: 3 });
    expect(slow.rowOf(ids[8])).toBe(8);
    await expect(
      VectorIndex.fromAsync(vectors, { dimensions: DIMENSIONS, ids: ids.slice(1) }),
    ).rejects.toMatchObject({ code: 'ERR_LENGTH' });
  });
});

/** Loaded again it must have the same ids, and the same bytes when it is saved once more. */
function expectLoadedSame(index: VectorIndex<'string'>, kind: string): void {
  const bytes = index.save();
  const again = VectorIndex.load<'string'>(bytes);
  expect(again.idKind).toBe(kind);
  expect([...again.userIds()]).toEqual([...index.userIds()]);
  for (const id of index.userIds()) expect(again.rowOf(id)).toBe(index.rowOf(id));
  expect([...again]).toEqual([...index]);
  expectSameBits(again.save(), bytes, 'the bytes');
}

describe('ids of an index', () => {
  it('may come in typed arrays', () => {
    const some = vectors.subarray(0, 3 * DIMENSIONS);
    const cases = [
      [Float64Array.of(1.5, -2, 3e300), 'number', [1.5, -2, 3e300]],
      [BigInt64Array.of(-1n, 2n, 3n), 'bigint', [-1n, 2n, 3n]],
      [BigUint64Array.of(1n, 2n ** 64n - 1n, 3n), 'bigint', [1n, 2n ** 64n - 1n, 3n]],
    ] as const;
    for (const [ids, kind, expected] of cases) {
      const index = VectorIndex.from(some, { dimensions: DIMENSIONS, ids: ids as Float64Array });
      expect(index.idKind).toBe(kind);
      expect([...index.userIds()]).toEqual(expected);
    }
  });

  it('tell their kind, or the kind is told where there are none yet', () => {
    const none = new Float32Array(0);
    expect(VectorIndex.from(none, { dimensions: 3, ids: 'bigint' }).idKind).toBe('bigint');
    expect(VectorIndex.from(none, { dimensions: 3, ids: new BigInt64Array(0) }).idKind).toBe('bigint');
    expect(VectorIndex.from(none, { dimensions: 3, ids: new Float64Array(0) }).idKind).toBe('number');
    const { message } = refusal(() => new UserIds('string').rowOf('id', 7));
    expect(message).toBe('id: expected a string, as the ids of this index are, got 7');
    expect(refusal(() => VectorIndex.from(none, { dimensions: 3, ids: [] }))).toMatchObject({
      code: 'ERR_LENGTH',
    });
    for (const ids of [[true], [{}], 7, new Map(), new DataView(new ArrayBuffer(8))])
      expect(
        refusal(() => VectorIndex.from(normals(3, 1), { dimensions: 3, ids: ids as never })),
      ).toMatchObject({ name: 'TypeError', code: 'ERR_ARGUMENT_TYPE' });
    for (const ids of ['text', ['a']]) {
      const { code } = refusal(() => new VectorIndex({ dimensions: 3, ids: ids as never }));
      expect(code).toBe(typeof ids === 'string' ? 'ERR_ARGUMENT_RANGE' : 'ERR_ARGUMENT_TYPE');
    }
  });

  it('are refused where a snapshot could not keep them', () => {
    for (const ids of [
      ['\ud800'],
      ['a\udc00b'],
      [Number.NaN],
      [Infinity],
      [2n ** 64n],
      [-(2n ** 63n) - 1n],
    ]) {
      const { name, code, message } = refusal(() =>
        VectorIndex.from(normals(3, 1), { dimensions: 3, ids: ids as string[] }),
      );
      expect([name, code]).toEqual(['RangeError', 'ERR_ARGUMENT_RANGE']);
      expect(message).toMatch(
        /^ids: expected .*(Unicode|finite number|-2\^63 to 2\^64 - 1), got .* at place 0$/,
      );
    }
  });

  it('are one for 0 and -0', () => {
    const index = VectorIndex.from(normals(3, 1), { dimensions: 3, ids: [-0] });
    expect([...index.userIds()]).toEqual([0]);
    expect(index.has(-0)).toBe(true);
    expect(refusal(() => index.setMany([0, -0], normals(6, 1))).code).toBe('ERR_DUPLICATE_ID');
  });

  it('are refused by an index that calls rows by their numbers, which does what it can with those', () => {
    const index = VectorIndex.from(vectors, { dimensions: DIMENSIONS });
    expect(index.idKind).toBe('row');
    expect(refusal(() => index.add(query, ['a'] as never))).toMatchObject({ code: 'ERR_ARGUMENT_TYPE' });
    expect(index.get(2)).toEqual(index.vector(2));
    expect(index.get(ROWS)).toBeUndefined();
    expect([index.rowOf(2), index.rowOf(ROWS), index.rowOf('a' as never)]).toEqual([2, undefined, undefined]);
    expect([index.idOf(2), index.idOf(ROWS)]).toEqual([2, undefined]);
    expect(index.set(2, query)).toBe(2);
    index.setMany([3, 4], vectors.subarray(0, 2 * DIMENSIONS));
    expectSameBits(index.vector(4), rowAt(vectors, 1, DIMENSIONS), 'row 4');
    expect(refusal(() => index.set(ROWS, query)).code).toBe('ERR_ARGUMENT_RANGE');
    expect([index.delete(5), index.delete(5), index.delete(ROWS)]).toEqual([true, false, false]);
    expect(refusal(() => index.setMany([4, 5], vectors.subarray(0, 2 * DIMENSIONS))).code).toBe(
      'ERR_ARGUMENT_RANGE',
    );
    expect([...index.userIds()].length).toBe(ROWS - 1);
    expect(new Map(index).get(2)).toEqual(query);
  });

  it('of rows in a second, third, … map are found like those in the first', () => {
    const ids = new UserIds('number', 3);
    ids.add('ids', [10, 11, 12, 13, 14, 15, 16, 17], 0);
    expect(ids.size).toBe(8);
    ids.remove([1, 4]);
    ids.add('ids', [11, 20], 8);
    expect([11, 14, 16, 20].map((id) => ids.rowOf('id', id))).toEqual([8, undefined, 6, 9]);
    expect(() => ids.add('ids', [30, 17], 10)).toThrow('which row 7 has');
    expect(ids.rowOf('id', 30)).toBeUndefined();
    ids.takeBack(8);
    expect(ids.size).toBe(6);
  });
});

describe('calls by id', () => {
  const three = normals(9, 1);
  const row = normals(3, 2);

  it('remove the row of one id alone', () => {
    const index = VectorIndex.from(three, { dimensions: 3, ids: ['a', 'b', 'c'] });
    expect(index.remove('b')).toBe(1);
    expect([...index.userIds()]).toEqual(['a', 'c']);
    expect(index.size).toBe(2);
  });

  it('know what is no row number', () => {
    const index = VectorIndex.from(three, { dimensions: 3 });
    for (const id of [-1, 0.5, 3, '1', 1n, null, NaN, [1]]) {
      expect(index.has(id as never)).toBe(false);
      expect(index.rowOf(id as never)).toBeUndefined();
      expect(index.get(id as never)).toBeUndefined();
    }
  });

  it('say which argument was wrong', () => {
    const named = VectorIndex.from(three, { dimensions: 3, ids: ['a', 'b', 'c'] });
    const plain = VectorIndex.from(three, { dimensions: 3 });
    const message = (call: () => unknown): string => refusal(call).message;
    expect(message(() => named.remove(new Map() as never))).toMatch(
      /^ids: expected an array of ids, got Map/,
    );
    expect(message(() => named.remove(['a', 1] as never))).toMatch(
      /^ids: expected a string, .* got 1 at place 1/,
    );
    expect(message(() => plain.remove([0, 3]))).toMatch(/^ids: expected ids from 0 to 2, got 3 at place 1/);
    expect(message(() => named.add(row, 'a' as never))).toMatch(/^ids: expected an array of ids, got "a"/);
    expect(message(() => named.add(row, ['d', 'e']))).toBe('ids: expected 1 ids, one a row, got 2');
    expect(message(() => named.setMany('a' as never, row))).toMatch(
      /^ids: expected an array of ids, got "a"/,
    );
    expect(message(() => named.setMany(['a'], row.subarray(1)))).toMatch(
      /^vectors: expected a multiple of 3/,
    );
    expect(message(() => named.setMany(['a', 'b'], row))).toBe('ids: expected 1 ids, one a row, got 2');
    expect(message(() => named.setMany([1 as never], row))).toMatch(/^ids: expected a string/);
    expect(message(() => plain.setMany([3], row))).toMatch(/^ids: expected ids from 0 to 2, got 3/);
    expect([named.size, plain.size]).toEqual([3, 3]);
  });
});

describe('an id of an index without rows', () => {
  it.each([
    [0, '0'],
    ['a', '"a"'],
    [Symbol('a'), 'symbol'],
    [Object.create(null), 'object'],
    [undefined, 'undefined'],
  ])('is refused whatever it is: %o', (id, text) => {
    const { name, code, message } = refusal(() => new VectorIndex({ dimensions: 3 }).vector(id as never));
    expect([name, code]).toEqual(['RangeError', 'ERR_ARGUMENT_RANGE']);
    expect(message).toBe(`id: expected a row of the index, which has 0, got ${text}`);
  });
});

describe('the section of ids in a snapshot', () => {
  const rowsOf = (count: number): Uint32Array => Uint32Array.from({ length: count }, (_, i) => i);

  /** The bytes of such a section. */
  function encode(
    kind: 'string' | 'number' | 'bigint',
    all: readonly (string | number | bigint)[],
  ): Uint8Array {
    const ids = new UserIds(kind);
    ids.add('ids', all, 0);
    const work = ids.encode(rowsOf(all.length));
    let step = work.next();
    while (!step.done) step = work.next();
    return Buffer.concat(step.value);
  }

  function decode(kind: 'string' | 'number' | 'bigint', bytes: Uint8Array, count: number): unknown[] {
    const ids = new UserIds(kind);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (const _ of ids.decode(view, rowsOf(count)));
    return Array.from(rowsOf(count), (row) => ids.idOf(row));
  }

  it.each([
    [
      'string',
      ['\u007f', '\u0080', '\u07ff', '\u0800', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '\u{10ffff}'],
    ],
    ['number', [-0.5, Number.MAX_VALUE, Number.MIN_VALUE, 0]],
    ['bigint', [-1n, 0n, -(2n ** 63n), 2n ** 63n, 2n ** 64n - 1n, 7n, -9n, 11n]],
    ['bigint', [-1n, 0n, -(2n ** 63n), 2n ** 63n, 2n ** 64n - 1n, 7n, -9n, 11n, -12n]],
  ] as const)('gives %s ids back, those at the ends of their ranges included', (kind, all) => {
    expect(decode(kind, encode(kind, all), all.length)).toEqual(all);
  });

  it('has strings as UTF-8 and where each ends', () => {
    const bytes = encode('string', ['é', '', '\u{10000}a']);
    expect(bytes).toEqual(
      Buffer.concat([new Uint8Array(Uint32Array.of(0, 2, 2, 7).buffer), Buffer.from('é\u{10000}a')]),
    );
  });

  const strings = encode('string', ['ab', 'cd']);
  const numbers = encode('number', [1, 2]);
  const bigints = encode('bigint', [-1n, 2n]);
  it.each([
    ['begin behind the first byte', 'string', strings, 0, 1, 'ids from their beginning, got 1'],
    ['end before their last byte', 'string', strings, 8, 3, 'ids of 4 bytes, got 3'],
    ['end before they begin', 'string', strings, 4, 5, 'an id that ends from byte 0 on, got 5'],
    ['are -0', 'number', numbers, 7, 0x80, 'a finite number as an id, got'],
    [
      'have a sign more than there are ids',
      'bigint',
      bigints,
      16,
      0b101,
      'zeros behind the last sign, got 1',
    ],
    ['are negative and too small', 'bigint', bigints, 7, 0x7f, 'a negative id of 64 bits, got'],
  ] as const)('is refused where ids %s', (_, kind, bytes, at, byte, text) => {
    const forged = Buffer.from(bytes);
    if (kind === 'number') forged.fill(0, 0, 8);
    forged[at] = byte;
    expect(() => decode(kind, forged, 2)).toThrow(`expected ${text}`);
  });

  it('is refused where it is longer or shorter than its ids', () => {
    for (const [kind, bytes] of [
      ['number', numbers],
      ['bigint', bigints],
    ] as const) {
      expect(() => decode(kind, bytes.subarray(1), 2)).toThrow(`expected ${bytes.length} bytes of ids`);
      expect(() => decode(kind, Buffer.concat([bytes, Buffer.alloc(1)]), 2)).toThrow(`${bytes.length} bytes`);
    }
    expect(() => decode('string', strings.subarray(0, 11), 2)).toThrow('expected 2 ids, got 11 bytes');
    expect(() => decode('string', Buffer.alloc(12), 2)).toThrow('expected ids that differ');
  });
});
