import { afterEach, describe, expect, it, vi } from 'vitest';
import { IdSet } from '../src/id-set.js';
import {
  attach,
  BuildHelper,
  BuildTeam,
  CHANGED,
  canShare,
  copyShared,
  enterIds,
  failure,
  idCountOf,
  idsOf,
  joinPart,
  openFor,
  packOptions,
  rowsOf,
  type SharedJob,
  stateOf,
  toShared,
  UnitedGroups,
  type UserIds,
  Windows,
  windowBytes,
  withKind,
} from '../src/parallel.js';
import { finish, type Progress } from '../src/progress.js';
import {
  type BuildOptions,
  VectorIndex,
  type VectorIndexOptions,
  type VectorSearchOptions,
} from '../src/vector-index.js';
import { expectSameNeighbors, METRICS, thrownBy } from './answers.js';
import { clumpedRows, normals, rowAt } from './data.js';
import { groupsIn, neighborsIn, pairsIn } from './joins.js';

const dimensions = 12;
const rows = clumpedRows(700, dimensions, 12, 0.4, 1);
const queries = clumpedRows(20, dimensions, 12, 0.4, 5);

/** What threads do, here by turns on one: each takes a part when it is told of a job, and more between the leader's steps. */
class Crew {
  readonly helpers: BuildHelper[];
  readonly told: SharedJob[] = [];
  /** Parts done by the helpers. */
  taken = 0;
  #work: Generator<void>[] = [];

  constructor(threads: number, source?: VectorIndex) {
    this.helpers = Array.from({ length: threads }, (_, i) => new BuildHelper(i, source));
  }

  team(): BuildTeam {
    return new BuildTeam(this.helpers.length, (job) => {
      // As a message comes: everything but memory is a copy.
      const { memory, counters, ...plain } = job;
      const own = { ...structuredClone(plain), memory, counters };
      this.told.push(own);
      this.#work = this.helpers.map((helper) => helper.take(own));
      this.go();
    });
  }

  /** One part each. */
  go(): void {
    this.#work = this.#work.filter((work) => {
      const done = work.next().done;
      if (!done) this.taken++;
      return !done;
    });
  }

  /** Runs the leader's work to its end. */
  run<T>(work: Generator<Progress, T>, seen: Progress[] = []): T {
    for (;;) {
      const step = work.next();
      if (step.done) return step.value;
      seen.push({ ...step.value });
      this.go();
    }
  }
}

function expectSameBytes(index: VectorIndex, expected: VectorIndex): void {
  expect(Buffer.compare(index.save(), expected.save())).toBe(0);
}

function expectSameAnswers(index: VectorIndex, expected: VectorIndex): void {
  for (let i = 0; i < 20; i++) {
    const query = rowAt(queries, i, dimensions);
    expectSameNeighbors(index.search(query, { k: 7 }), expected.search(query, { k: 7 }), `query ${i}`);
  }
}

function built(options: Partial<VectorIndexOptions & BuildOptions> = {}): VectorIndex {
  return VectorIndex.from(rows, { dimensions, ...options });
}

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe('a build by a team', () => {
  const ways: [string, Partial<VectorIndexOptions & BuildOptions>][] = [
    ...METRICS.map((metric) => [metric, { metric }] as [string, VectorIndexOptions]),
    ['8-bit rows and a second stage', { storage: 'int8', refine: true, cells: 20 }],
    ['cells in groups', { cells: 520, tune: false }],
  ];

  it.each(ways)('gives the bytes of one thread (%s)', (_, options) => {
    const expected = VectorIndex.from(rows, { dimensions, ...options });
    const crew = new Crew(2);
    const { made } = openFor({ dimensions, ...options }, true);
    crew.team().lead(made);
    const seen: Progress[] = [];
    crew.run(made.take(rows, options), seen);
    expectSameBytes(made, expected);
    expectSameAnswers(made, expected);
    expect(crew.taken).toBeGreaterThan(20);
    // The memory is told once; what there is to read, and where each thread may write, with every job.
    expect(crew.told.map(({ memory }) => memory !== undefined)).toEqual(crew.told.map((_, i) => i === 0));
    for (const { windows, engine, counters, total } of crew.told) {
      expect(engine).toBeDefined();
      expect(windows.length).toBe(2);
      const [[start, end], [next, last]] = [...windows].sort(([a], [b]) => a - b);
      for (const bytes of [end - start, last - next]) expect(bytes).toBeGreaterThan(2 ** 16);
      expect(end).toBeLessThanOrEqual(next);
      expect(total).toBeGreaterThan(1);
      expect(counters.length).toBe(4);
      expect([counters[1], counters[2], counters[3]]).toEqual([counters[1], 0, 0]);
      expect(counters[0]).toBeGreaterThanOrEqual(counters[1]);
    }
  });

  it('without others tells nobody, and is the same', () => {
    const told: SharedJob[] = [];
    const { made } = openFor({ dimensions }, true);
    new BuildTeam(0, (job) => told.push(job)).lead(made);
    finish(made.take(rows, {}));
    expect(told).toEqual([]);
    expectSameBytes(made, built());
    const alone = openFor({ dimensions }, true).made;
    new BuildTeam().lead(alone);
    finish(alone.take(rows, {}));
    expectSameBytes(alone, made);
  });

  it('tells nobody of a job of one part', () => {
    const told: SharedJob[] = [];
    const team = new BuildTeam(1, (job) => told.push(job));
    const { memory } = stateOf(openFor({ dimensions }, true).made).engine;
    const parts: number[][] = [];
    const part = (first: number, end: number): Progress => {
      parts.push([first, end]);
      return { phase: 'refine', done: end, total: 64 };
    };
    finish(team.share({ memory }, { kind: 'refine' }, 64, part));
    expect(parts).toEqual([[0, 64]]);
    expect(told).toEqual([]);
    finish(team.share({ memory }, { kind: 'refine' }, 65, part));
    expect(parts.slice(1)).toEqual([
      [0, 64],
      [64, 65],
    ]);
    expect(told.map(({ total, windows, engine }) => [total, windows, engine])).toEqual([[65, [], undefined]]);
  });

  it('does other work first, while the others are at it already', () => {
    const said: string[] = [];
    const team = new BuildTeam(1, ({ counters }) => {
      said.push('told');
      expect(Atomics.add(counters, 0, 1)).toBe(0); // takes the first part
      Atomics.add(counters, 1, 1);
    });
    const { memory } = stateOf(openFor({ dimensions }, true).made).engine;
    const before = function* (): Generator<Progress> {
      said.push('before');
      yield { phase: 'encode', done: 3, total: 4 };
    };
    const part = (first: number, end: number): Progress => {
      said.push(`${first}-${end}`);
      return { phase: 'encode', done: end, total: 10 };
    };
    const job = { kind: 'encode', starts: 0, sizes: 0, loose: 0, places: 0 } as const;
    const told = [...team.share({ memory }, job, 10, part, before())];
    expect(said).toEqual(['told', 'before', '4-8', '8-10']);
    expect(told[0]).toEqual({ phase: 'encode', done: 3, total: 4 });
  });

  it.each([
    ['copy', 'load'],
    ['sample', 'train'],
    ['train', 'train'],
    ['group', 'train'],
    ['assign', 'assign'],
    ['encode', 'encode'],
    ['refine', 'refine'],
    ['search', 'tune'],
  ])(
    'of the kind %s tells the phase %s while it waits, until parts are done and threads have left',
    (kind, phase) => {
      let counters: Int32Array = new Int32Array(4);
      const team = new BuildTeam(1, (job) => {
        counters = job.counters;
        Atomics.store(counters, 0, 2); // both parts are taken by the other thread, which is at the first
        Atomics.store(counters, 3, 1);
      });
      const { memory } = stateOf(openFor({ dimensions }, true).made).engine;
      const job = { kind, pieces: [] } as unknown as SharedJob['job'];
      const total = kind === 'encode' ? 8 : kind === 'copy' || kind === 'search' ? 2 : 128;
      const work = team.share({ memory }, job, total, () => {
        throw new Error('expected no part for the leader');
      });
      expect(work.next()).toEqual({ done: false, value: { phase, done: 0, total } });
      Atomics.add(counters, 1, 2);
      expect(work.next().done).toBe(false); // it may still write to its area
      Atomics.store(counters, 3, 0);
      expect(work.next().done).toBe(true);
    },
  );

  it('fails where another thread fails', () => {
    const crew = new Crew(1);
    const { made } = openFor({ dimensions }, true);
    crew.team().lead(made);
    const { take } = BuildHelper.prototype;
    vi.spyOn(BuildHelper.prototype, 'take').mockImplementation(function (this: BuildHelper, job) {
      // Its area is too small for anything.
      return take.call(this, { ...job, windows: [[job.windows[0][0], job.windows[0][0] + 64]] });
    });
    const error = thrownBy(() => crew.run(made.take(rows, {})));
    expect(error.message).toMatch(/^memory: expected /); // the helper's own, thrown on this thread
    const [{ counters }] = crew.told;
    expect([counters[2], counters[3]]).toEqual([1, 0]);

    const team = new BuildTeam(1, (job) => {
      Atomics.add(job.counters, 0, 1);
      Atomics.store(job.counters, 2, 1);
    });
    const { memory } = stateOf(openFor({ dimensions }, true).made).engine;
    const part = (_: number, end: number): Progress => ({ phase: 'refine', done: end, total: 128 });
    expect(thrownBy(() => finish(team.share({ memory }, { kind: 'refine' }, 128, part))).message).toBe(
      'build: expected all threads to do their parts, one failed',
    );
  });

  it('lets a thread that comes when a job is over do nothing, and one whose part was the last leave at once', () => {
    const { engine } = stateOf(openFor({ dimensions }, true).made);
    const counters = new Int32Array(new SharedArrayBuffer(16));
    counters[0] = 2;
    const job: SharedJob = {
      job: { kind: 'refine' },
      total: 128,
      counters,
      memory: engine.memory,
      engine: undefined, // there is nothing to read any more
      windows: [],
    };
    const helper = new BuildHelper(0, undefined);
    expect([...helper.take(job)]).toEqual([]);
    expect([...counters]).toEqual([2, 0, 0, 0]);
    // Without the index that is copied, because there was no room for it, nothing is taken of a copy.
    counters[0] = 0;
    expect([...helper.take({ ...job, job: { kind: 'copy', pieces: [] } })]).toEqual([]);
    expect([...counters]).toEqual([0, 0, 0, 0]);
    // With it: two parts of one piece each, and no step after the second.
    const source = finish(toShared(built({ tune: false })));
    const copier = new BuildHelper(0, source);
    const to = openFor({ dimensions }, true).made;
    const { memory } = stateOf(to).engine;
    memory.grow(2);
    const from = new Uint8Array(stateOf(source).engine.memory.buffer);
    const target = 65536;
    const pieces = [
      [1024, target, 100],
      [2048, target + 128, 100],
    ] as const;
    const bytes = new Uint8Array(memory.buffer);
    const before = bytes.slice();
    expect([...copier.take({ ...job, memory, total: 2, job: { kind: 'copy', pieces } })]).toEqual([
      undefined,
    ]);
    expect([...counters]).toEqual([2, 2, 0, 0]);
    before.set(from.subarray(1024, 1124), target);
    before.set(from.subarray(2048, 2148), target + 128);
    expect(Buffer.compare(bytes, before)).toBe(0);
  });
});

describe('a copy over a memory of its own', () => {
  // More than a piece of 1 MiB, and no whole number of them.
  const many = normals(30_000 * dimensions, 3);
  const large = new VectorIndex({ dimensions });
  large.add(many);

  it.each([0, 2])('is the same index to the byte, made by a leader and %i others', (threads) => {
    const source = finish(toShared(large));
    const crew = new Crew(threads, source);
    const seen: Progress[] = [];
    const copy = crew.run(copyShared(stateOf(source), crew.team()), seen);
    expectSameBytes(copy, large);
    expectSameAnswers(copy, large);
    expect(stateOf(copy).engine.memory).not.toBe(stateOf(source).engine.memory);
    if (threads > 0) expect(crew.taken).toBeGreaterThan(0);
    for (const { phase, done, total } of seen) {
      expect(phase).toBe('load');
      expect(done).toBeLessThanOrEqual(total);
      expect(total).toBeGreaterThan(2);
    }
    for (const { job, total } of crew.told) {
      if (job.kind !== 'copy') throw new Error(`expected a copy, got ${job.kind}`);
      expect(job.pieces.length).toBe(total);
      for (const [, , bytes] of job.pieces) expect(bytes).toBeLessThanOrEqual(2 ** 20);
    }
    // A change of one is none of the other.
    copy.remove([0, 5]);
    copy.add(rows);
    expect([copy.size, source.size]).toEqual([30_698, 30_000]);
    expectSameBytes(source, large);
  });

  it('has the settings that were tuned and the reach that was measured, as lists of its own', () => {
    const index = built();
    index.tune({ k: 3 });
    const copy = finish(toShared(index));
    expectSameBytes(copy, index);
    const [mine, theirs] = [stateOf(copy), stateOf(index)];
    expect([...mine.tuned]).toEqual([...theirs.tuned]);
    expect([...mine.tuned.keys()].sort()).toEqual([10, 3]);
    for (const [k, settings] of mine.tuned) expect(settings).not.toBe(theirs.tuned.get(k));
    expect(mine.reach).toEqual(theirs.reach);
  });
});

describe('an index over the memory of another', () => {
  it('answers as that one, in an area of its own, and writes nothing outside of it', () => {
    const index = finish(toShared(built()));
    const state = stateOf(index);
    const windows = new Windows(state);
    const area = windows.reserve(0, windowBytes(index, 100));
    const other = windows.reserve(1, windowBytes(index, 7));
    const reader = attach(state, area);
    const bytes = new Uint8Array(state.engine.memory.buffer);
    const before = bytes.slice();
    expectSameAnswers(reader, index);
    const answer = reader.searchBatch(queries, { k: 100 });
    const expected = index.searchBatch(queries, { k: 100 });
    expectSameNeighbors(answer, expected, 'a batch');
    const next = attach(state, other);
    expectSameAnswers(next, index);
    // The index itself may have reserved scratch behind the areas: only what lay there before counts.
    for (const [name, start, length] of state.engine.regions) {
      if (name === 'plan') continue; // settings of the query
      const end = start + length;
      expect(Buffer.compare(bytes.subarray(start, end), before.subarray(start, end)), name).toBe(0);
    }
  });

  it('has areas that do not meet, are kept while they are large enough, and are found anew when they are not', () => {
    const index = finish(toShared(built()));
    const state = stateOf(index);
    const windows = new Windows(state);
    const first = windows.reserve(0, 10_000);
    expect(first[1] - first[0]).toBeGreaterThanOrEqual(10_000);
    expect(first[1] - first[0]).toBeLessThan(20_000);
    const second = windows.reserve(1, 10_000);
    expect(windows.reserve(0, 9000)).toEqual(first);
    expect(windows.reserve(0, first[1] - first[0])).toEqual(first);
    const larger = windows.reserve(0, 200_000);
    expect(larger[1] - larger[0]).toBeGreaterThanOrEqual(200_000);
    const taken = [
      ...state.engine.regions.map(([, start, bytes]) => [start, start + bytes]),
      second,
      larger,
    ].sort(([a], [b]) => a - b);
    for (let i = 1; i < taken.length; i++) expect(taken[i][0]).toBeGreaterThanOrEqual(taken[i - 1][1]);
  });

  it('needs more room for more neighbors', () => {
    const index = built({ tune: false });
    expect(windowBytes(index, 1000)).toBeGreaterThan(windowBytes(index, 10) + 990 * 8);
    expect(idCountOf(index)).toBe(700);
    index.remove([699]);
    expect(idCountOf(index)).toBe(700);
  });
});

describe('canShare', () => {
  it('is true here, and false in a page that is not isolated, without SharedArrayBuffer, or without such memory', () => {
    expect(canShare()).toBe(true);
    vi.stubGlobal('crossOriginIsolated', true);
    expect(canShare()).toBe(true);
    vi.stubGlobal('crossOriginIsolated', false);
    expect(canShare()).toBe(false);
    vi.unstubAllGlobals();
    vi.stubGlobal('SharedArrayBuffer', undefined);
    expect(canShare()).toBe(false);
    vi.unstubAllGlobals();
    const refuse = (): never => {
      throw new TypeError('shared memory is not known');
    };
    vi.stubGlobal('WebAssembly', { Memory: refuse });
    expect(canShare()).toBe(false);
    vi.stubGlobal('WebAssembly', {
      Memory: class {
        buffer = new ArrayBuffer(1);
      },
    });
    expect(canShare()).toBe(false);
  });
});

describe('options as they are sent', () => {
  const isEven = (id: unknown): boolean => Number(id) % 2 === 0;
  const bitsOf = (options: VectorSearchOptions): number[] => {
    const bytes = options.filter as Uint8Array;
    expect(bytes).toBeInstanceOf(Uint8Array);
    return Array.from({ length: 8 * bytes.length }, (_, i) => i).filter(
      (i) => (bytes[i >> 3] >> (i & 7)) & 1,
    );
  };

  it('are the same without a filter, and with one that is bytes already', () => {
    expect(packOptions(undefined, 9)).toBeUndefined();
    for (const options of [{}, { k: 3 }, { k: 3, filter: new Uint8Array([5]) }])
      expect(packOptions(options, 9)).toBe(options);
  });

  it('have a bitmap in place of a function, which is asked once for each id, and of a set', () => {
    const asked: unknown[] = [];
    const filter = (id: unknown): boolean => {
      asked.push(id);
      return isEven(id);
    };
    const options = { k: 3, filter };
    const packed = packOptions(options, 11);
    expect(packed).toMatchObject({ k: 3 });
    expect(options.filter).toBe(filter);
    expect(bitsOf(packed as object)).toEqual([0, 2, 4, 6, 8, 10]);
    expect(asked).toEqual(Array.from({ length: 11 }, (_, i) => i));
    const set = new IdSet([1, 7, 9]);
    const sent = packOptions({ filter: set }, 11) as { filter: unknown };
    expect(bitsOf(sent as object)).toEqual([1, 7, 9]);
    set.add(2);
    expect(bitsOf(sent as object)).toEqual([1, 7, 9]); // a copy
  });

  it("are asked about the user's ids where there are such, and not about rows that have none", () => {
    const asked: unknown[] = [];
    const filter = (id: unknown): boolean => {
      asked.push(id);
      return id !== 'b';
    };
    const names = ['a', 'b', undefined, 'd'];
    const packed = packOptions({ filter }, 4, (row) => names[row]);
    expect(asked).toEqual(['a', 'b', 'd']);
    expect(bitsOf(packed as object)).toEqual([0, 3]);
  });
});

describe("the user's ids", () => {
  const ids = Array.from({ length: 700 }, (_, i) => `row ${i}`);

  it('are told with the rows that they are of, and of an index without any nothing', () => {
    const index = VectorIndex.from(rows, { dimensions, ids, tune: false });
    index.remove(['row 0', 'row 5']);
    const known = idsOf(index as never);
    expect(known?.kind).toBe('string');
    expect([...(known?.rows ?? [])].length).toBe(698);
    known?.ids.forEach((id, i) => {
      expect(id).toBe(`row ${known.rows[i]}`);
    });
    expect(idsOf(built({ tune: false }))).toBeUndefined();
  });

  it('can be entered later, for the rows that a call is about', () => {
    const index = built();
    const named = withKind(index, 'string');
    expect(named.size).toBe(700);
    expectSameBytesOfEngine(named, index);
    const names = named.parts.userIds as UserIds;
    expect(index.parts.userIds).toBeUndefined();
    enterIds(names, { ids: ['a', 'b', 'c', 'd', 'e'], rows: [3, 4, 5, 9, 10] });
    expect([3, 4, 5, 9, 10].map((row) => names.idOf(row))).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect([2, 6, 8, 11].map((row) => names.idOf(row))).toEqual([undefined, undefined, undefined, undefined]);
    enterIds(names, { ids: [], rows: [] });
    const filter = (id: unknown): boolean => id === 'b' || id === 'e';
    const found = named.search(rowAt(rows, 0, dimensions), { k: 5, filter } as VectorSearchOptions);
    expect([...found.ids].sort((a, b) => a - b)).toEqual([4, 10]);
    const numbered = withKind(named, undefined);
    expect(numbered.parts.userIds).toBeUndefined();
    expectSameBytes(numbered, index);
  });

  function expectSameBytesOfEngine(index: VectorIndex, other: VectorIndex): void {
    const [mine, theirs] = [stateOf(index), stateOf(other)];
    expect(mine.engine.memory).toBe(theirs.engine.memory);
    expect([...mine.tuned]).toEqual([...theirs.tuned]);
    expect(mine.reach).toBe(theirs.reach);
  }

  it('that are given with vectors are kept apart from the index that is made for these', () => {
    const strings = openFor({ dimensions, ids: ['x', 'y'] } as never, false);
    expect([strings.made.idKind, strings.ids, strings.made.size]).toEqual(['string', ['x', 'y'], 0]);
    expect(stateOf(strings.made).engine.memory.buffer).toBeInstanceOf(ArrayBuffer);
    const plain = openFor({ dimensions }, true);
    expect([plain.made.idKind, plain.ids]).toEqual(['row', undefined]);
    expect(stateOf(plain.made).engine.memory.buffer).toBeInstanceOf(SharedArrayBuffer);
  });
});

describe('joins in parts', () => {
  const index = built();
  const cuts = [
    [0, 300],
    [300, 301],
    [301, 700],
  ] as const;

  it('have all neighbors of each row once', () => {
    const expected = neighborsIn(index.neighborGraph({ k: 4, exact: true }), 4);
    const parts = cuts.flatMap(([first, end]) =>
      joinPart(index, 'neighborGraph', { k: 4, exact: true }, first, end),
    );
    const found = neighborsIn(parts as never, 4);
    expect(found.size).toBe(700);
    for (const [row, near] of expected) expect(found.get(row)).toEqual(near);
  });

  it.each(METRICS)('have every pair within a radius once, and unite to the same groups (%s)', (metric) => {
    const own = built({ metric });
    const radius = { euclidean: 1, cosine: 0.02, 'inner-product': -18 }[metric];
    const expected = pairsIn(own.selfJoin({ radius, exact: true }));
    expect(expected.size).toBeGreaterThan(10);
    const parts = cuts.flatMap(([first, end]) =>
      joinPart(own, 'selfJoin', { radius, exact: true }, first, end),
    );
    const found = pairsIn(parts as never);
    expect([...found].sort()).toEqual([...expected].sort());
    const united = new UnitedGroups(700);
    for (const [first, end] of cuts)
      for (const page of joinPart(own, 'duplicates', { radius, exact: true }, first, end))
        united.add(page as never);
    const pages = [...united.pages(10)].filter((page) => page !== undefined);
    const groups = groupsIn(pages);
    expect(groups.length).toBeGreaterThan(1);
    expect(groups).toEqual(groupsIn(own.duplicates({ radius, exact: true })));
  });

  it('unite groups of which each part shows a few', () => {
    const united = new UnitedGroups(8);
    united.add({ offsets: Uint32Array.of(0, 2, 5), ids: Uint32Array.of(1, 2, 4, 5, 6) });
    united.add({ offsets: Uint32Array.of(0, 2), ids: Uint32Array.of(2, 7) });
    united.add({ offsets: Uint32Array.of(0), ids: Uint32Array.of() });
    expect(groupsIn([...united.pages(100)].filter((page) => page !== undefined))).toEqual([
      [1, 2, 7],
      [4, 5, 6],
    ]);
  });

  it('have no pages where k or a radius shows nothing', () => {
    expect(joinPart(index, 'selfJoin', {}, 0, 700)).toEqual([]);
    expect(joinPart(index, 'selfJoin', { radius: 0.8 }, 300, 300)).toEqual([]);
  });
});

describe('the rows of an index', () => {
  it('come as they were given, so many at a time, each once', () => {
    const index = built({ tune: false });
    index.remove([3, 500]);
    const seen = new Set<number>();
    const sizes: number[] = [];
    for (const { rows: numbers, queries: vectors } of rowsOf(index as never, 200)) {
      sizes.push(numbers.length);
      expect(vectors.length).toBe(numbers.length * dimensions);
      numbers.forEach((id, i) => {
        expect(seen.has(id)).toBe(false);
        seen.add(id);
        expect(
          Buffer.compare(bytesOf(rowAt(vectors, i, dimensions)), bytesOf(rowAt(rows, id, dimensions))),
        ).toBe(0);
      });
    }
    expect(sizes).toEqual([200, 200, 200, 98]);
    expect([seen.size, seen.has(3), seen.has(500)]).toEqual([698, false, false]);
  });

  it('are refused when they change in between', () => {
    const index = built({ tune: false });
    const all = rowsOf(index as never, 200);
    expect(all.next().done).toBe(false);
    index.remove([7]);
    const error = thrownBy(() => all.next());
    expect([error.code, error.message]).toEqual(['ERR_CHANGED', CHANGED]);
    expect(error).toBeInstanceOf(TypeError);
    expect(CHANGED).toBe(
      'index: expected the rows that the join began with, got a change while it was under way; start it anew',
    );
  });

  function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
    return new Uint8Array(buffer, byteOffset, byteLength);
  }
});

it('errors of the adapter have the class that belongs to their code', () => {
  const [range, type] = [
    failure('ERR_ARGUMENT_RANGE', 'too far'),
    failure('ERR_ARGUMENT_TYPE', 'other kind'),
  ];
  expect(range).toBeInstanceOf(RangeError);
  expect(type).toBeInstanceOf(TypeError);
  expect([range, type]).toMatchObject([
    { code: 'ERR_ARGUMENT_RANGE', message: 'too far' },
    { code: 'ERR_ARGUMENT_TYPE', message: 'other kind' },
  ]);
});
