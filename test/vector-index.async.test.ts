import { describe, expect, it, vi } from 'vitest';
import type { Metric } from '../src/neighbors.js';
import type { Progress } from '../src/progress.js';
import type { Storage } from '../src/rows.js';
import { VectorIndex } from '../src/vector-index.js';
import { METRICS, thrownBy } from './answers.js';
import { clumpedRows, rowAt } from './data.js';

const dimensions = 20;
const rows = clumpedRows(2600, dimensions, 40, 0.4, 1);
const few = rows.subarray(0, 500 * dimensions);
const queries = clumpedRows(30, dimensions, 40, 0.4, 5);

/** What a search for every query gives. */
function answers(index: VectorIndex): unknown {
  return [
    index.size,
    index.cells,
    index.searchBatch(queries, { k: 7 }),
    index.search(queries.subarray(0, 20)),
  ];
}

/** An index of which rows were added after the build, and some removed: what an early end must leave untouched. */
function lived(options: { metric?: Metric; storage?: Storage } = {}): VectorIndex {
  const index = VectorIndex.from(rows.subarray(0, 2100 * dimensions), { dimensions, ...options });
  index.add(rows.subarray(2100 * dimensions));
  index.remove([0, 17, 2099, 2100, 2599]);
  return index;
}

/** Does work by a clock of which every look is a step later, so that its steps are the same on every machine. */
async function withEveryStep<T>(work: () => Promise<T>): Promise<T> {
  let now = 0;
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => {
    now += 2;
    return now;
  });
  try {
    return await work();
  } finally {
    clock.mockRestore();
  }
}

describe('fromAsync', () => {
  it.each(
    METRICS.flatMap((metric) => (['f32', 'int8'] as const).map((storage) => [metric, storage] as const)),
  )('gives the bytes that from gives (%s, %s)', async (metric, storage) => {
    const options = { dimensions, metric, storage };
    const index = await VectorIndex.fromAsync(rows, { ...options, sliceMs: 1 });
    expect(index.save()).toEqual(VectorIndex.from(rows, options).save());
  });

  it('gives the bytes that from gives for long rows, by principal components', async () => {
    const long = clumpedRows(2100, 300, 20, 0.4, 3);
    for (const principal of [undefined, true]) {
      const options = { dimensions: 300, principal };
      const index = await VectorIndex.fromAsync(long, { ...options, sliceMs: 1 });
      expect(index.save()).toEqual(VectorIndex.from(long, options).save());
    }
  });

  it('takes no rows at all', async () => {
    const index = await VectorIndex.fromAsync(new Float32Array(0), { dimensions: 3 });
    expect(index.size).toBe(0);
  });

  it('names the row and column of a number that is not finite, wherever in the rows it is', async () => {
    const wrong = rows.slice();
    wrong[2210 * dimensions + 4] = Number.NaN;
    await expect(VectorIndex.fromAsync(wrong, { dimensions })).rejects.toThrow(
      'got NaN in row 2210, column 4',
    );
  });

  it('reports every phase to its end, and nothing that goes back', async () => {
    const reports: Progress[] = [];
    const onProgress = (progress: Progress): void => void reports.push(progress);
    await VectorIndex.fromAsync(rows, { dimensions, refine: true, sliceMs: 0, onProgress });
    const phases = [...new Set(reports.map(({ phase }) => phase))];
    expect(phases).toEqual(['load', 'train', 'assign', 'encode', 'refine', 'tune']);
    for (const phase of phases) {
      const own = reports.filter((report) => report.phase === phase);
      const shares = own.map(({ done, total }) => done / total);
      expect(shares).toEqual([...shares].sort((a, b) => a - b));
      expect(shares.at(-1)).toBe(1);
    }
    // Phases follow each other; none comes back.
    const order = reports.map(({ phase }) => phases.indexOf(phase));
    expect(order).toEqual([...order].sort((a, b) => a - b));
  });

  it('ends a step by the clock, however many parts there are: steps cost more than small parts', async () => {
    const steps = async (count: number): Promise<number> => {
      let steps = 0;
      const onProgress = (): void => void steps++;
      const vectors = clumpedRows(count, dimensions, 60, 0.4, 7);
      const clock = vi.spyOn(performance, 'now').mockReturnValue(1); // no part takes any time
      try {
        await VectorIndex.fromAsync(vectors, { dimensions, cells: 60, sliceMs: 0, onProgress });
      } finally {
        clock.mockRestore();
      }
      return steps;
    };
    const [some, many] = [await steps(3000), await steps(12_000)];
    expect(many).toBeLessThan(1.3 * some);
  });

  it('lets a timer run every few milliseconds', async () => {
    const gaps: number[] = [];
    let last = performance.now();
    const timer = setInterval(() => {
      gaps.push(performance.now() - last);
      last = performance.now();
    }, 1);
    await VectorIndex.fromAsync(clumpedRows(150_000, dimensions, 60, 0.4, 7), { dimensions });
    clearInterval(timer);
    gaps.sort((a, b) => a - b);
    expect(gaps.length).toBeGreaterThan(10);
    expect(gaps[gaps.length >> 1]).toBeLessThan(30);
  });

  it.each([1, 20, 60, 120])('ends within 50 ms of a signal after %i ms', async (ms) => {
    const many = clumpedRows(150_000, dimensions, 60, 0.4, 7);
    const late: number[] = [];
    // A busy machine may stall any one of two tries; work that does not look at the signal is late in both.
    for (let i = 0; i < 2; i++) {
      const controller = new AbortController();
      let given = Number.POSITIVE_INFINITY;
      setTimeout(() => {
        given = performance.now();
        controller.abort(new Error('enough'));
      }, ms);
      const running = VectorIndex.fromAsync(many, { dimensions, signal: controller.signal });
      await expect(running).rejects.toThrow('enough');
      late.push(performance.now() - given);
    }
    expect(Math.min(...late)).toBeLessThan(50);
  });
});

describe('buildAsync', () => {
  it.each(
    METRICS.flatMap((metric) => (['f32', 'int8'] as const).map((storage) => [metric, storage] as const)),
  )('gives the answers that build gives (%s, %s), removed rows left out', async (metric, storage) => {
    const index = lived({ metric, storage });
    const twin = lived({ metric, storage });
    await index.buildAsync({ sliceMs: 1 });
    twin.build();
    expect(answers(index)).toEqual(answers(twin));
    expect(index.stats().removed).toBe(0);
    expect(index.add(few)).toBe(2600);
    twin.add(few);
    expect(answers(index)).toEqual(answers(twin));
  });

  it('gives the bytes that build gives', async () => {
    const index = new VectorIndex({ dimensions });
    index.add(rows);
    const twin = VectorIndex.load(index.save());
    await index.buildAsync({ cells: 30, refine: true, tune: false });
    twin.build({ cells: 30, refine: true, tune: false });
    expect(index.save()).toEqual(twin.save());
  });

  it('builds an index from which everything was removed', async () => {
    const index = VectorIndex.from(few, { dimensions });
    index.remove(Array.from({ length: 500 }, (_, id) => id));
    await index.buildAsync();
    expect(index.size).toBe(0);
    expect(index.add(few)).toBe(500);
    expect(index.search(rowAt(few, 3, dimensions), { k: 1 }).ids).toEqual(Uint32Array.of(503));
  });

  it('answers searches from the index as it was until the new one is there', async () => {
    const index = lived();
    const before = answers(index);
    let looked = 0;
    await withEveryStep(() =>
      index.buildAsync({
        cells: 7,
        sliceMs: 0,
        onProgress: () => {
          if (looked++ % 10 === 0) expect(answers(index)).toEqual(before);
        },
      }),
    );
    expect(looked).toBeGreaterThan(20);
    expect(index.cells).toBe(7);
  });

  it('leaves the index as it was wherever it is given up', async () => {
    const index = lived();
    const before = answers(index);
    const usage = index.memoryUsage();
    let steps = 0;
    await withEveryStep(() => index.buildAsync({ sliceMs: 0, tune: false, onProgress: () => steps++ }));
    expect(steps).toBeGreaterThan(20);
    const other = lived();
    for (let end = 1; end < steps; end += Math.ceil(steps / 10)) {
      const controller = new AbortController();
      let step = 0;
      const onProgress = (): void => {
        if (++step === end) controller.abort(new Error(`given up at ${end}`));
      };
      const build = (): Promise<void> =>
        other.buildAsync({ sliceMs: 0, onProgress, signal: controller.signal });
      await expect(withEveryStep(build)).rejects.toThrow(`given up at ${end}`);
    }
    expect(other.memoryUsage()).toEqual(usage);
    expect(answers(other)).toEqual(before);
    expect(other.add(few)).toBe(2600);
  });

  it('leaves the index as it was when memory is short', async () => {
    const index = new VectorIndex({ dimensions, maxBytes: 700_000 });
    index.add(rows);
    const before = answers(index);
    await expect(index.buildAsync({ cells: 2000 })).rejects.toMatchObject({ code: 'ERR_OUT_OF_MEMORY' });
    expect(answers(index)).toEqual(before);
    expect(index.add(few.subarray(0, dimensions))).toBe(2600);
  });

  it('refuses whatever would change the index meanwhile, and takes it afterwards', async () => {
    const index = lived();
    const vector = rowAt(rows, 1, dimensions);
    const changes: [string, () => unknown][] = [
      ['add', () => index.add(vector)],
      ['remove', () => index.remove(5)],
      ['update', () => index.update(6, vector)],
      ['compact', () => index.compact()],
      ['build', () => index.build()],
      ['tune', () => index.tune()],
    ];
    const building = index.buildAsync();
    for (const [name, change] of changes) {
      const { message, code } = thrownBy(change);
      expect([name, code, message]).toEqual([
        name,
        'ERR_BUSY',
        'index: expected no other work under way, got one of buildAsync',
      ]);
    }
    await expect(index.buildAsync()).rejects.toMatchObject({ code: 'ERR_BUSY' });
    await expect(index.tuneAsync()).rejects.toMatchObject({ code: 'ERR_BUSY' });
    expect(index.search(vector, { k: 1 }).ids).toEqual(Uint32Array.of(1));
    await building;
    for (const [, change] of changes) change();
  });

  it('ends with ERR_DISPOSED when the index is disposed of', async () => {
    const index = lived();
    const building = index.buildAsync();
    index.dispose();
    await expect(building).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
  });

  it.each([
    ['cells', { cells: 0 }],
    ['training', { training: 'hard' }],
    ['onProgress', { onProgress: 3 }],
    ['signal', { signal: 'stop' }],
    ['sliceMs', { sliceMs: 'long' }],
  ])('refuses wrong %s and is not busy then', async (name, options) => {
    const index = VectorIndex.from(few, { dimensions });
    await expect(index.buildAsync(options as never)).rejects.toThrow(`${name}: expected`);
    index.add(few);
  });
});

describe('tuneAsync', () => {
  it('finds what tune finds', async () => {
    const index = lived();
    const twin = lived();
    const options = { recall: 0.9, k: 5, queries };
    expect(await index.tuneAsync({ ...options, sliceMs: 0 })).toEqual(twin.tune(options));
    expect(await index.tuneAsync()).toEqual(twin.tune());
    expect(answers(index)).toEqual(answers(twin));
  });

  it('finds the same while searches of all kinds come in between', async () => {
    const index = lived();
    const twin = lived();
    const report = await index.tuneAsync({
      sliceMs: 0,
      onProgress: () => {
        index.search(rowAt(queries, 3, dimensions), { k: 40, recall: 0.8 });
        index.explain(rowAt(queries, 4, dimensions), { exact: true, id: 9 });
        index.searchBatch(queries, { k: 3 });
      },
    });
    expect(report).toEqual(twin.tune());
  });

  it('leaves the settings as they were when it is given up', async () => {
    const index = lived();
    const before = answers(index);
    const controller = new AbortController();
    const onProgress = ({ done }: Progress): void => {
      if (done > 300) controller.abort();
    };
    const tuning = index.tuneAsync({ recall: 0.6, k: 7, sliceMs: 0, onProgress, signal: controller.signal });
    await expect(tuning).rejects.toMatchObject({ name: 'AbortError' });
    expect(answers(index)).toEqual(before);
    index.remove(1);
  });
});
