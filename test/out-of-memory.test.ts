import { afterEach, describe, expect, it, vi } from 'vitest';
import { BitSamplingLsh, HyperplaneLsh, MinHashLsh, VectorIndex } from '../src/index.js';
import { LinearMemory } from '../src/memory.js';
import { normals } from './data.js';

afterEach(() => void vi.restoreAllMocks());

/** Runs a call in which growth number `first` of any memory is refused, and if `all`, every one after it. */
function runShort(first: number, all: boolean, call: () => unknown): { refused: boolean; error: unknown } {
  const { reserve } = LinearMemory.prototype;
  let growths = 0;
  const spy = vi.spyOn(LinearMemory.prototype, 'reserve').mockImplementation(function (
    this: LinearMemory,
    name,
    bytes,
  ) {
    if (this.capacity(name) >= bytes && this.ptr(name) !== 0) return reserve.call(this, name, bytes);
    growths++;
    const isRefused = all ? growths >= first : growths === first;
    // Asked for more than there can be, the memory refuses as it does when it is full.
    return reserve.call(this, name, isRefused ? 2 ** 33 : bytes);
  });
  let error: unknown;
  try {
    call();
  } catch (caught) {
    error = caught;
  } finally {
    spy.mockRestore();
  }
  return { refused: growths >= first, error };
}

interface Scenario<Index> {
  make: () => Index;
  answers: (index: Index) => unknown;
  /** What changes an index. */
  changes: Record<string, (index: Index) => unknown>;
  /** What only asks. */
  questions: Record<string, (index: Index) => unknown>;
  /** Of the allocations of a build, which are hundreds and take long: this one first, and then every so many. Default all. */
  ofBuilds?: readonly [first: number, step: number];
}

/** Every change and question with every allocation of it refused, one alone and all that follow. */
function expectUnharmed<Index>(scenario: Scenario<Index>): void {
  const { make, answers, changes, questions } = scenario;
  for (const [name, change] of Object.entries(changes)) {
    const isBuild = name.startsWith('build');
    const [first, step] = (isBuild && scenario.ofBuilds) || [1, 1];
    const before = answers(make());
    const changed = make();
    change(changed);
    const after = answers(changed);
    for (const all of [false, true]) {
      let thrown = 0;
      for (let n = first; ; n += step) {
        const index = make();
        const { refused, error } = runShort(n, all, () => change(index));
        if (error === undefined) {
          // No refusal, or one that it can do without.
          if (!refused) expect(answers(index), `${name} without a refusal`).toEqual(after);
          if (!refused) break;
          continue;
        }
        const where = `${name}, growth ${n}${all ? ' and all that follow' : ''}: ${error}`;
        thrown++;
        expect(error, where).toBeInstanceOf(RangeError);
        expect(error, where).toMatchObject({ name: 'OutOfMemoryError', code: 'ERR_OUT_OF_MEMORY' });
        const { needed, available } = error as { needed: number; available: number };
        expect(needed, where).toBeGreaterThan(available);
        // Asked while the memory is still full.
        let full: unknown;
        expect(runShort(1, true, () => (full = answers(index))).error, where).toBeUndefined();
        expect(full, where).toEqual(before);
        expect(answers(index), where).toEqual(before);
        if (isBuild && thrown % 5 > 0) continue;
        change(index);
        expect(answers(index), `${where}; then tried again`).toEqual(after);
      }
      expect(thrown, name).toBeGreaterThan(0);
    }
  }
  for (const [name, ask] of Object.entries(questions)) {
    const expected = ask(make());
    const index = make();
    let answer: unknown;
    const { error } = runShort(1, true, () => (answer = ask(index)));
    expect(error, name).toBeUndefined();
    expect(answer, name).toEqual(expected);
  }
}

describe('an index of which any allocation is refused answers as before and can go on', () => {
  const dimensions = 20;
  const rows = 240;
  const vectors = normals(rows * dimensions, 1);
  const more = normals(100 * dimensions, 2);
  const queries = normals(6 * dimensions, 3);
  const one = queries.subarray(0, dimensions);

  // One with every allocation of its builds; the others, which differ in few of them, with a third each.
  const kinds = [
    ['f32, euclidean', { metric: 'euclidean', storage: 'f32' }, [1, 1]],
    ['f32, cosine', { metric: 'cosine', storage: 'f32' }, [1, 3]],
    ['f32, inner product', { metric: 'inner-product', storage: 'f32' }, [2, 3]],
    ['int8, euclidean', { metric: 'euclidean', storage: 'int8' }, [3, 3]],
  ] as const;
  it.each(kinds)('VectorIndex, %s', (_, options, ofBuilds) => {
    const built = VectorIndex.from(vectors, { dimensions, ...options, cells: 6, refine: true });
    const bytes = built.save();
    const answers = (index: VectorIndex): unknown => [
      index.size,
      index.cells,
      index.searchBatch(queries, { k: 10 }),
      index.searchBatch(queries, { k: 128, probes: 5, epsilon: 1.5 }),
      index.searchBatch(queries, { k: 3, exact: true }),
      index.vector(13),
    ];
    expectUnharmed<VectorIndex>({
      make: () => VectorIndex.load(bytes),
      answers,
      ofBuilds,
      changes: {
        'add of many': (index) => index.add(more),
        'add of one': (index) => index.add(one),
        remove: (index) => index.remove([1, 5, 200]),
        update: (index) => index.update(7, one),
        build: (index) => index.build({ cells: 10, refine: true }),
        'build by default': (index) => index.build(),
      },
      questions: {
        search: (index) => index.search(one, { k: 128 }),
        'exact search': (index) => index.search(one, { k: 128, exact: true }),
        searchBatch: (index) => index.searchBatch(queries),
        explain: (index) => {
          const { ids, row, rowsRanked } = index.explain(one, { id: 3 });
          return [ids, row, rowsRanked];
        },
        tune: (index) => index.tune({ recall: 0.8 }).settings,
        evaluate: (index) => index.evaluate(queries),
        compact: (index) => index.compact(),
      },
    });
  });

  it('VectorIndex with ids of its own', () => {
    const ids = Array.from({ length: rows }, (_, i) => `row ${i}`);
    const fresh = Array.from({ length: 100 }, (_, i) => `new ${i}`);
    const bytes = VectorIndex.from(vectors, { dimensions, ids, cells: 6 }).save();
    expectUnharmed<VectorIndex<'string'>>({
      make: () => VectorIndex.load(bytes),
      ofBuilds: [2, 5],
      answers: (index) => [
        index.size,
        index.searchBatch(queries, { k: 10 }),
        [...index.userIds()],
        [...ids, ...fresh].map((id) => index.rowOf(id)),
      ],
      changes: {
        add: (index) => index.add(more, fresh),
        'set of a new id': (index) => index.set('new 7', one),
        'set of an id that is there': (index) => index.set('row 7', one),
        'setMany of new ids': (index) => index.setMany(fresh, more),
        remove: (index) => index.remove(['row 1', 'row 200']),
        delete: (index) => index.delete('row 5'),
        build: (index) => index.build({ cells: 9 }),
      },
      questions: { search: (index) => index.search(one, { k: 128 }) },
    });
  });

  it('VectorIndex before its first build, and after removals', () => {
    const make = (): VectorIndex => {
      const index = new VectorIndex({ dimensions });
      index.add(vectors);
      index.remove([2, 3, 150]);
      index.compact();
      return index;
    };
    expectUnharmed<VectorIndex>({
      make,
      answers: (index) => [index.size, index.searchBatch(queries, { k: 20 }), index.has(2)],
      changes: {
        add: (index) => index.add(more),
        build: (index) => index.build({ cells: 9, tune: false }),
        remove: (index) => index.remove(9),
        update: (index) => index.update(9, one),
      },
      questions: { search: (index) => index.search(one, { k: 100 }) },
    });
  });

  it('VectorIndex with principal components, where trials of a build are refused too', () => {
    const wide = 320;
    // Few directions matter, so that principal components are taken.
    const basis = normals(8 * wide, 4);
    const weights = normals(2100 * 8, 5);
    const flat = new Float32Array(2100 * wide);
    for (let r = 0; r < 2100; r++)
      for (let b = 0; b < 8; b++)
        for (let j = 0; j < wide; j++) flat[r * wide + j] += weights[r * 8 + b] * basis[b * wide + j];
    const index = VectorIndex.from(flat, { dimensions: wide, cells: 8, tune: false });
    const some = flat.slice(0, 3 * wide);
    const before = index.searchBatch(some, { probes: 3, epsilon: 2 });
    let thrown = 0;
    for (let n = 1; ; n += 9) {
      const { refused, error } = runShort(n, true, () => index.build({ cells: 8, tune: false }));
      if (!refused) break;
      if (error) thrown++;
      if (error) expect(error).toMatchObject({ code: 'ERR_OUT_OF_MEMORY' });
      expect(index.searchBatch(some, { probes: 3, epsilon: 2 }), `growth ${n}`).toEqual(before);
    }
    expect(thrown).toBeGreaterThan(2);
  });

  it('HyperplaneLsh', () => {
    for (const metric of ['euclidean', 'cosine'] as const) {
      const make = (): HyperplaneLsh => {
        const lsh = new HyperplaneLsh({ dimensions, tables: 5, bits: 6, metric });
        lsh.add(vectors);
        return lsh;
      };
      expectUnharmed<HyperplaneLsh>({
        make,
        answers: (lsh) => [
          lsh.size,
          lsh.searchBatch(queries, { k: 9 }),
          lsh.search(one, { k: 128, probes: 16 }),
        ],
        changes: {
          'add of many': (lsh) => lsh.add(more),
          'add of one': (lsh) => lsh.add(one),
        },
        questions: {
          search: (lsh) => lsh.search(one, { k: 5 }),
          remove: (lsh) => lsh.remove([4, 5]),
          bucket: (lsh) => lsh.bucket(2, lsh.keys(one)[2]),
          candidates: (lsh) => lsh.candidates(one, { probes: 3 }),
          explain: (lsh) => lsh.explain(one, { k: 5, probes: 4 }).tables,
        },
      });
    }
  });

  it('HyperplaneLsh whose bits the first rows settle', () => {
    const lsh = new HyperplaneLsh({ dimensions, tables: 5, bucketSize: 20 });
    for (let n = 1; ; n++) {
      const { error } = runShort(n, true, () => lsh.add(vectors));
      if (!error) break;
      expect(error).toMatchObject({ code: 'ERR_OUT_OF_MEMORY' });
      expect([lsh.size, lsh.bits]).toEqual([0, 0]);
      expect(lsh.search(one, { k: 3 }).ids).toEqual(new Uint32Array(0));
    }
    expect(lsh.bits).toBe(3);
  });

  it('BitSamplingLsh', () => {
    const codes = (rows: number, seed: number): Uint8Array =>
      Uint8Array.from(normals(rows * 9, seed), (x) => Math.floor(Math.abs(x) * 3));
    expectUnharmed<BitSamplingLsh>({
      make: () => {
        const lsh = new BitSamplingLsh({ bits: 72, sampledBits: 9, tables: 6 });
        lsh.add(codes(700, 6));
        return lsh;
      },
      answers: (lsh) => [
        lsh.size,
        lsh.searchBatch(codes(5, 7), { k: 9 }),
        lsh.search(codes(1, 8), { k: 128 }),
      ],
      changes: {
        'add of many': (lsh) => lsh.add(codes(300, 9)),
        'add of one': (lsh) => lsh.add(codes(1, 10)),
      },
      questions: { remove: (lsh) => lsh.remove([1, 2]), search: (lsh) => lsh.search(codes(1, 8), { k: 4 }) },
    });
  });

  it('MinHashLsh', () => {
    const sets = (count: number, seed: number): Uint32Array[] => {
      const values = normals(count * 12, seed);
      return Array.from({ length: count }, (_, i) =>
        Uint32Array.from(values.subarray(i * 12, i * 12 + 12), (x) => Math.floor(Math.abs(x) * 40)),
      );
    };
    expectUnharmed<MinHashLsh>({
      make: () => {
        const lsh = new MinHashLsh({ bands: 8, rows: 2 });
        lsh.add(sets(400, 11));
        return lsh;
      },
      answers: (lsh) => [
        lsh.size,
        lsh.searchBatch(sets(5, 12), { k: 9 }),
        lsh.search(sets(1, 13)[0], { k: 128 }),
      ],
      changes: {
        'add of many': (lsh) => lsh.add(sets(300, 14)),
        'add of one': (lsh) => lsh.add([Uint32Array.from({ length: 100 }, (_, i) => i)]),
      },
      questions: { remove: (lsh) => lsh.remove([1, 2]) },
    });
  });
});

describe('maxBytes', () => {
  it('limits every class, which tells needed and available bytes and keeps what it has', () => {
    const maxBytes = 600_000;
    const row = (i: number): Float32Array => normals(64 * 50, i);
    const words = (i: number): Uint32Array[] =>
      Array.from({ length: 50 }, (_, j) => Uint32Array.from({ length: 64 }, (_, k) => i * j + k));
    const indexes: [
      index: { size: number; memoryUsage(): Record<string, number> },
      add: (i: number) => void,
    ][] = [];
    const vector = new VectorIndex({ dimensions: 64, maxBytes });
    indexes.push([vector, (i) => void vector.add(row(i))]);
    const planes = new HyperplaneLsh({ dimensions: 64, tables: 4, bits: 8, maxBytes });
    indexes.push([planes, (i) => void planes.add(row(i))]);
    const bits = new BitSamplingLsh({ bits: 512, sampledBits: 10, tables: 4, maxBytes });
    indexes.push([bits, (i) => void bits.add(new Uint8Array(row(i).buffer).slice(0, 3200))]);
    const sets = new MinHashLsh({ bands: 4, rows: 2, maxBytes });
    indexes.push([sets, (i) => void sets.add(words(i))]);
    for (const [index, add] of indexes) {
      const name = index.constructor.name;
      let error: (Error & { needed?: number; available?: number }) | undefined;
      for (let i = 0; i < 1000 && !error; i++) {
        const { size } = index;
        try {
          add(i);
        } catch (caught) {
          error = caught as Error;
          expect(index.size, name).toBe(size);
        }
      }
      expect(error, name).toMatchObject({ name: 'OutOfMemoryError', code: 'ERR_OUT_OF_MEMORY' });
      expect(error?.message, name).toMatch(
        /expected \d+ bytes .* got at most \d+ .*split the rows over several indexes/,
      );
      expect(error?.needed, name).toBeGreaterThan(error?.available as number);
      const { total, ...parts } = index.memoryUsage();
      expect(total, name).toBeLessThanOrEqual(maxBytes + 65_535); // whole pages
      const sum = Object.values(parts).reduce((all, part) => all + part, 0);
      expect(sum, name).toBeLessThanOrEqual(maxBytes);
      expect(sum, name).toBeGreaterThan(maxBytes / 2);
    }
    expect(vector.search(row(0).subarray(0, 64), { k: 1 }).ids).toEqual(Uint32Array.of(0));
    expect(planes.search(row(0).subarray(0, 64), { k: 1 }).ids).toEqual(Uint32Array.of(0));
    expect(bits.search(new Uint8Array(row(0).buffer).slice(0, 64), { k: 1 }).ids).toEqual(Uint32Array.of(0));
    expect(sets.search(words(0)[0], { k: 1 }).ids).toEqual(Uint32Array.of(0));
  });

  it('is refused where it is no number of bytes', () => {
    for (const make of [
      (maxBytes: number) => new VectorIndex({ dimensions: 4, maxBytes }),
      (maxBytes: number) => new HyperplaneLsh({ dimensions: 4, tables: 1, bits: 1, maxBytes }),
      (maxBytes: number) => new BitSamplingLsh({ bits: 8, sampledBits: 1, tables: 1, maxBytes }),
      (maxBytes: number) => new MinHashLsh({ bands: 1, rows: 1, maxBytes }),
    ]) {
      expect(() => make(0)).toThrow('maxBytes: expected a number from 1 to 4294967296, got 0');
      expect(() => make('1' as never)).toThrow(TypeError);
      expect(() => make(100)).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_MEMORY' }));
    }
  });
});
