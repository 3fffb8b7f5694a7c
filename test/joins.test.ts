import { describe, expect, it, vi } from 'vitest';
import { Distinct, Groups } from '../src/groups.js';
import {
  HyperplaneLsh,
  type JoinStream,
  type NeighborPage,
  type Progress,
  VectorIndex,
} from '../src/index.js';
import { thrownBy } from './answers.js';
import { uniform } from './arena.js';
import { clumpedRows, normals } from './data.js';
import { groupsIn, neighborsIn, plainGroups } from './joins.js';

const K = 8;
/** Enough work for many slices. */
const large = VectorIndex.from(clumpedRows(6000, 48, 60, 0.5, 1), { dimensions: 48 });

const rejection = async (work: () => Promise<unknown>): Promise<unknown> => {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error('expected an error, got none');
};

/** Reads a stream that is aborted after a while; what came of it, and milliseconds from the signal to the end. */
async function abortAfter(
  delay: number,
  aborting: AbortController,
  reason: Error,
  open: (signal: AbortSignal) => JoinStream<unknown>,
): Promise<{ stream: JoinStream<unknown>; error: unknown; ms: number }> {
  let at = 0;
  setTimeout(() => {
    at = performance.now();
    aborting.abort(reason);
  }, delay);
  const stream = open(aborting.signal);
  const error = await rejection(async () => {
    for await (const _ of stream);
  });
  return { stream, error, ms: performance.now() - at };
}

describe('a stream of pages', () => {
  it('gives the same in both kinds of loop, and again in a second one', async () => {
    const stream = large.neighborGraph({ k: K, pageRows: 1000 });
    const first = [...stream];
    expect(first.map(({ rows }) => rows.length)).toEqual([1000, 1000, 1000, 1000, 1000, 1000]);
    const pages: NeighborPage[] = [];
    for await (const page of stream) pages.push(page);
    expect(pages).toEqual(first);
    expect([...stream]).toEqual(first);
  });

  it('does nothing before it is read', () => {
    const onProgress = vi.fn();
    const empty = VectorIndex.from(normals(30, 2), { dimensions: 3 });
    const stream = empty.neighborGraph({ k: 1, onProgress, sliceMs: 0 });
    empty.remove(0); // no change while a loop is under way
    expect(onProgress).not.toHaveBeenCalled();
    expect(neighborsIn(stream, 1).size).toBe(9);
    expect(onProgress).toHaveBeenCalled();
  });

  it('lets the event loop turn all the time in a loop that waits', async () => {
    let longest = 0;
    let last = performance.now();
    let turns = 0;
    const clock = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
      turns++;
    }, 1);
    let rows = 0;
    for await (const page of large.neighborGraph({ k: K, exact: true })) rows += page.rows.length;
    clearInterval(clock);
    expect(rows).toBe(6000);
    expect(turns).toBeGreaterThan(10);
    expect(longest).toBeLessThan(2000); // 10 to 30 on a quiet machine
  });

  it('tells how far it has come', async () => {
    for (const isWaiting of [false, true]) {
      const seen: Progress[] = [];
      const onProgress = (progress: Progress): void => void seen.push(progress);
      const stream = large.neighborGraph({ k: K, onProgress, sliceMs: 1 });
      if (isWaiting) for await (const _ of stream);
      else for (const _ of stream);
      expect(seen.length).toBeGreaterThan(5);
      for (const [i, { phase, done, total }] of seen.entries()) {
        expect([phase, total]).toEqual(['join', 6000]);
        expect(done).toBeGreaterThan(i === 0 ? 0 : seen[i - 1].done - 1);
        expect(done).toBeLessThanOrEqual(6000);
        expect(Object.keys(seen[i]).sort()).toEqual(['done', 'phase', 'total']);
      }
    }
  });

  it('ends within 50 ms of a signal, with its reason', async () => {
    const took: number[] = [];
    while (took.length < 5 && !(Math.min(...took) < 50)) {
      const aborting = new AbortController();
      const reason = new Error('enough');
      const { stream, error, ms } = await abortAfter(30, aborting, reason, (signal) =>
        large.neighborGraph({ k: K, exact: true, signal }),
      );
      expect(error).toBe(reason);
      expect(thrownBy(() => [...stream])).toBe(reason); // it stays aborted
      took.push(ms);
    }
    expect(Math.min(...took)).toBeLessThan(50);
  });

  it('ends as soon within a radius, from the first step on', async () => {
    for (const join of ['selfJoin', 'duplicates'] as const) {
      const took: number[] = [];
      while (took.length < 5 && !(Math.min(...took) < 50)) {
        // Fresh, so that what searches within a radius need is measured in the loop.
        const index = VectorIndex.load(large.save());
        const onProgress = ({ phase, done, total }: Progress): void => {
          expect(phase).toBe('join');
          expect(done).toBeLessThan(total);
        };
        const reason = new Error('enough');
        const { error, ms } = await abortAfter(5, new AbortController(), reason, (signal) =>
          index[join]({ radius: 5, signal, onProgress }),
        );
        expect(error).toBe(reason);
        took.push(ms);
      }
      expect(Math.min(...took)).toBeLessThan(50);
    }
  });

  it('is ended by a signal in a plain loop too, between two pages', () => {
    const aborting = new AbortController();
    const stream = large.neighborGraph({ k: K, pageRows: 10, signal: aborting.signal });
    let pages = 0;
    const error = thrownBy(() => {
      for (const _ of stream) if (++pages === 3) aborting.abort();
    });
    expect(error.name).toBe('AbortError');
    expect(pages).toBe(3);
  });

  it('ends where the loop is left', async () => {
    for await (const page of large.neighborGraph({ k: K, pageRows: 5 })) {
      expect(page.rows.length).toBe(5);
      break;
    }
    for (const page of large.neighborGraph({ k: K, pageRows: 5 })) {
      expect(page.rows.length).toBe(5);
      break;
    }
    const iterator = large.neighborGraph({ k: K, pageRows: 5 })[Symbol.iterator]();
    iterator.next();
    expect(iterator.return()).toEqual({ done: true, value: undefined });
    expect(iterator.next().done).toBe(true);
    // What the consumer throws comes out as it is.
    const error = new Error('mine');
    expect(
      thrownBy(() => {
        for (const _ of large.neighborGraph({ k: K })) throw error;
      }),
    ).toBe(error);
  });

  it('goes on while the index is searched and tuned, and beside another stream', () => {
    const vectors = clumpedRows(3000, 8, 30, 0.4, 3);
    const index = VectorIndex.from(vectors, { dimensions: 8 });
    const expected = [...index.neighborGraph({ k: 3, pageRows: 500 })];
    const pages: NeighborPage[] = [];
    const other = index.neighborGraph({ k: 6, pageRows: 500 })[Symbol.iterator]();
    for (const page of index.neighborGraph({ k: 3, pageRows: 500 })) {
      pages.push(page);
      index.search(vectors.subarray(0, 8), { k: 20, recall: 0.99 });
      index.search(vectors.subarray(0, 8), { k: 2, exact: true });
      expect(other.next().value?.rows).toEqual(page.rows);
    }
    expect(pages).toEqual(expected);
  });

  const changes: [string, (index: VectorIndex) => unknown][] = [
    ['adding', (index) => index.add(new Float32Array(8))],
    ['removing', (index) => index.remove(5)],
    ['updating', (index) => index.update(7, new Float32Array(8))],
    ['building', (index) => index.build()],
    ['compacting', (index) => [index.remove(1), index.compact()]],
  ];
  it.each(changes)('is ended by %s rows while it is under way', async (_, change) => {
    const make = (): VectorIndex => VectorIndex.from(clumpedRows(300, 8, 30, 0.4, 3), { dimensions: 8 });
    const index = make();
    const read = (): void => {
      for (const _ of index.neighborGraph({ k: 3, pageRows: 50 })) change(index);
    };
    expect(thrownBy(read)).toMatchObject({ code: 'ERR_CHANGED', message: expect.stringContaining('anew') });
    const other = make();
    const queries = make();
    const error = await rejection(async () => {
      for await (const _ of other.join(queries, { k: 3, pageRows: 50 })) change(queries);
    });
    expect(error).toMatchObject({ code: 'ERR_CHANGED' });
  });

  it('is ended by disposing of the index', () => {
    const index = VectorIndex.from(normals(300, 3), { dimensions: 3 });
    const read = (): void => {
      for (const _ of index.neighborGraph({ k: 3, pageRows: 10 })) index.dispose();
    };
    expect(thrownBy(read)).toMatchObject({ code: 'ERR_DISPOSED' });
    expect(thrownBy(() => index.neighborGraph({ k: 3 }))).toMatchObject({ code: 'ERR_DISPOSED' });
  });

  it('goes on after changes that change nothing', () => {
    const index = VectorIndex.from(normals(300, 3), { dimensions: 3 });
    index.remove(5);
    index.compact();
    let pages = 0;
    for (const _ of index.neighborGraph({ k: 3, pageRows: 10 })) {
      index.add(new Float32Array(0));
      index.remove(5);
      index.remove([]);
      index.compact();
      pages++;
    }
    expect(pages).toBe(10);
  });

  it('refuses wrong options at the call, each with its name', () => {
    const index = VectorIndex.from(normals(30, 3), { dimensions: 3 });
    const lsh = new HyperplaneLsh({ dimensions: 3, tables: 2, bits: 2 });
    const wrong: [object | undefined, string][] = [
      [undefined, 'k'],
      [{}, 'k'],
      [{ k: 0 }, 'k'],
      [{ k: 1.5 }, 'k'],
      [{ k: 1, pageRows: 0 }, 'pageRows'],
      [{ k: 1, pageRows: '5' }, 'pageRows'],
      [{ k: 1, sliceMs: -1 }, 'sliceMs'],
      [{ k: 1, signal: {} }, 'signal'],
      [{ k: 1, onProgress: 1 }, 'onProgress'],
    ];
    for (const [options, name] of wrong) {
      for (const each of [index, lsh]) {
        const error = thrownBy(() => each.neighborGraph(options as never));
        expect(error.message).toMatch(new RegExp(`^${name}: expected .*, got `));
        expect(error.code).toMatch(/^ERR_ARGUMENT_(TYPE|RANGE)$/);
      }
    }
    expect(thrownBy(() => index.neighborGraph({ k: 1, recall: 2 })).message).toMatch(/^recall: /);
    expect(thrownBy(() => [...index.neighborGraph({ k: 2 ** 30 })])).toMatchObject({ code: 'ERR_TOO_LARGE' });
  });
});

describe('the queries of a join', () => {
  const index = VectorIndex.from(normals(30, 3), { dimensions: 3 });
  const other = VectorIndex.from(normals(40, 4), { dimensions: 4 });

  it('are refused at the call where they are none, and as they come where a page is no rows', async () => {
    for (const [given, got] of [
      [undefined, 'undefined'],
      [null, 'null'],
      ['text', '"text"'],
      [7, '7'],
      [{ order: 1 }, 'Object'],
      [{ others: 1 }, 'Object'],
    ]) {
      expect(thrownBy(() => index.join(given as never, { k: 1 }))).toMatchObject({
        code: 'ERR_ARGUMENT_TYPE',
        message: `other: expected an index, a Float32Array or pages of them, got ${got}`,
      });
    }
    expect(thrownBy(() => index.join(other, { k: 1 }))).toMatchObject({
      code: 'ERR_LENGTH',
      message: 'other: expected an index of 3 dimensions, got one of 4',
    });
    const pages = [normals(6, 1), normals(4, 1)];
    expect(thrownBy(() => [...index.join(pages, { k: 1 })]).message).toMatch(/^page 1 of other: expected /);
    expect(thrownBy(() => [...index.join([[1, 2, 3]] as never, { k: 1 })]).message).toMatch(
      /^page 0 of other: expected /,
    );
    const later = async function* (): AsyncGenerator<Float32Array> {
      yield normals(6, 1);
    };
    const stream = index.join(later(), { k: 1 });
    expect(thrownBy(() => [...stream])).toMatchObject({
      code: 'ERR_ARGUMENT_TYPE',
      message:
        'other: expected pages that are there without waiting, got an asynchronous iterable; read the stream with for await',
    });
  });
});

describe('groups', () => {
  it('are the connected components, whatever the order of the pairs', () => {
    const next = uniform(4);
    for (let round = 0; round < 50; round++) {
      const count = Math.floor(next() * 60);
      const pairs = Array.from({ length: Math.floor(next() * 60) }, () => [
        Math.floor(next() * count),
        Math.floor(next() * count),
      ]).filter(([a, b]) => a !== b);
      const ids = Array.from({ length: count }, (_, id) => id);
      const near = new Set(pairs.flatMap(([a, b]) => [`${a} ${b}`, `${b} ${a}`]));
      const expected = plainGroups(ids, (a, b) => near.has(`${a} ${b}`));
      for (let order = 0; order < 3; order++) {
        const groups = new Groups(count);
        for (const [a, b] of pairs) groups.unite(a, b);
        const pages = [...groups.pages(Uint32Array.from(ids), 5)].filter((page) => page !== undefined);
        expect(groupsIn(pages)).toEqual(expected);
        for (const { offsets } of pages) expect(offsets[offsets.length - 2]).toBeLessThan(5);
        pairs.sort(() => next() - 0.5);
      }
    }
  });

  it('stay fast along a chain and in a star of a million rows', () => {
    const count = 1_000_000;
    const chain = new Groups(count);
    for (let id = count - 1; id > 0; id--) chain.unite(id, id - 1);
    const star = new Groups(count);
    for (let id = 0; id < count - 1; id++) star.unite(id, count - 1);
    for (const groups of [chain, star]) {
      let one = 0;
      for (let id = 0; id < count; id++) one += Number(groups.areOne(0, id));
      expect(one).toBe(count);
    }
  });

  it('of equal rows are found by their words, also where hashes meet', () => {
    const rows = [
      [1, 2],
      [2, 1],
      [1, 2],
      [0, 0],
      [1, 2],
      [2, 1],
    ].map((words) => Uint32Array.from(words));
    const distinct = new Distinct(rows.length, rows.length, (id) => rows[id]);
    expect(rows.map((_, id) => distinct.firstEqual(id))).toEqual([0, 1, 0, 3, 0, 1]);
    expect(rows.map((_, id) => distinct.isRepeated(id))).toEqual([false, false, true, false, true, true]);
    const next = uniform(5);
    const many = Array.from({ length: 20_000 }, () => Uint32Array.of(Math.floor(next() * 9000), 7));
    const firsts = new Map<number, number>();
    const found = new Distinct(many.length, many.length, (id) => many[id]);
    for (const [id, [word]] of many.entries()) {
      if (!firsts.has(word)) firsts.set(word, id);
      if (found.firstEqual(id) !== firsts.get(word)) throw new Error(`row ${id}`);
    }
  });
});

describe('a source of queries', () => {
  const lsh = new HyperplaneLsh({ dimensions: 4, tables: 2, bits: 3, seed: 1 });
  lsh.add(normals(4 * 30, 1));

  /** Pages of seven queries each, and how often they were closed from outside. */
  function source(pages: number) {
    let next = 0;
    const closed: string[] = [];
    const iterator = (way: string) => ({
      next: () =>
        next < pages
          ? { done: false as const, value: normals(4 * 7, next++) }
          : { done: true as const, value: undefined },
      return: () => {
        closed.push(way);
        return { done: true as const, value: undefined };
      },
    });
    const queries = {
      [Symbol.iterator]: () => iterator('plain'),
      [Symbol.asyncIterator]: () => iterator('asynchronous') as unknown as AsyncIterator<Float32Array>,
    };
    return { queries, closed };
  }

  it('is read to its end in pages of any size, and not closed then', async () => {
    const whole = [...lsh.join(source(5).queries, { k: 3, pageRows: 35 })];
    expect(whole.map(({ rows }) => rows.length)).toEqual([35]);
    for (const pageRows of [1, 6, 7, 8, 20, 100]) {
      const { queries, closed } = source(5);
      const pages = [...lsh.join(queries, { k: 3, pageRows })];
      expect(pages.flatMap(({ rows }) => [...rows])).toEqual([...whole[0].rows]);
      expect(pages.flatMap(({ ids }) => [...ids])).toEqual([...whole[0].ids]);
      expect(pages.slice(0, -1).every(({ rows }) => rows.length === pageRows)).toBe(true);
      const later = source(5);
      let read = 0;
      for await (const { rows } of lsh.join(later.queries, { k: 3, pageRows })) read += rows.length;
      expect(read).toBe(35);
      expect([closed, later.closed]).toEqual([[], []]);
    }
  });

  it('is closed once where a loop ends before it', async () => {
    const { queries, closed } = source(5);
    for (const _ of lsh.join(queries, { k: 3, pageRows: 7 })) break;
    for await (const _ of lsh.join(queries, { k: 3, pageRows: 7 })) break;
    expect(closed).toEqual(['plain', 'asynchronous']);
    const controller = new AbortController();
    const stream = lsh.join(source(5).queries, { k: 3, pageRows: 7, signal: controller.signal });
    controller.abort(new Error('enough'));
    expect(thrownBy(() => [...stream]).message).toBe('enough');
  });
});
