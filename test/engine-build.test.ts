import { afterEach, describe, expect, it, vi } from 'vitest';
import { Tuner } from '../src/tuning.js';
import { VectorIndex } from '../src/vector-index.js';
import { expectSameNeighbors, METRICS, thrownBy } from './answers.js';
import { clumpedRows, rowAt } from './data.js';

const D = 24;
const vectors = clumpedRows(6000, D, 60, 0.5, 5);
const queries = clumpedRows(10, D, 60, 0.5, 6);

afterEach(() => {
  vi.restoreAllMocks();
});

describe.each(METRICS)('a build that fails at its end, by %s', (metric) => {
  it('leaves every byte of a snapshot and every answer, also with a filter, as they were', () => {
    const index = VectorIndex.from(vectors, { dimensions: D, metric, cells: 48 });
    index.tune({}); // measures what searches with a filter go by, which is saved
    const filter = (id: number): boolean => id % 4 === 0;
    const answers = () =>
      [{}, { filter }, { recall: 0.8, filter }].flatMap((options) =>
        Array.from({ length: 10 }, (_, i) => index.search(rowAt(queries, i, D), options)),
      );
    const [bytes, found] = [index.save(), answers()];
    const tune = vi.spyOn(Tuner.prototype, 'tune').mockImplementation(() => {
      throw new Error('no tuning');
    });
    expect(thrownBy(() => index.build({ cells: 9 })).message).toBe('no tuning');
    tune.mockRestore();
    expect(index.cells).toBe(48);
    expect(Buffer.compare(index.save(), bytes)).toBe(0);
    answers().forEach((answer, i) => {
      expectSameNeighbors(answer, found[i], `answer ${i}`);
    });
    // One that succeeds measures anew.
    index.build({ cells: 9 });
    const again = index.save();
    index.tune({});
    expect(Buffer.compare(index.save(), again)).not.toBe(0);
  });
});

describe('the cells of a build', () => {
  /** The power of two whose ratio to rows / 128 is nearest to 1, from 16 on; of two the smaller. */
  const usual = (rows: number): number => {
    const powers = Array.from({ length: 11 }, (_, i) => 2 ** (i + 4));
    const far = (cells: number): number => Math.abs(Math.log(cells / (rows / 128)));
    return powers.reduce((best, cells) => (far(cells) < far(best) - 1e-9 ? cells : best));
  };

  it.each([2000, 2047, 2048, 2896, 2897, 5793, 6000])(
    'of %i rows are the power of two nearest to a 128th',
    (rows) => {
      const index = VectorIndex.from(clumpedRows(rows, 8, 200, 0.05, 7), { dimensions: 8, tune: false });
      expect(index.cells).toBeLessThanOrEqual(usual(rows)); // empty ones are dropped
      expect(index.cells).toBeGreaterThan(usual(rows) / 2);
    },
  );

  it('are one below 2000 rows, and as many as there are rows at most', () => {
    const few = clumpedRows(1999, 8, 200, 0.05, 7);
    expect(VectorIndex.from(few, { dimensions: 8, tune: false }).cells).toBe(1);
    expect(VectorIndex.from(few.subarray(0, 8 * 5), { dimensions: 8, cells: 9, tune: false }).cells).toBe(5);
  });

  it('are refused where they are none, with what came', () => {
    const index = VectorIndex.from(vectors.subarray(0, 40 * D), { dimensions: D });
    const before = index.save();
    for (const [options, message] of [
      [{ cells: 0 }, /^cells: expected .*1.*16384.*, got 0$/],
      [{ cells: 16385 }, /^cells: expected .*, got 16385$/],
      [{ cells: '9' }, /^cells: expected .*, got "9"$/],
      [{ training: 'much' }, /^training: expected .*lloyd.*none.*, got "much"$/],
      [7, /^options: expected .*, got 7$/],
    ] as const)
      expect(thrownBy(() => index.build(options as never)).message).toMatch(message);
    expect(Buffer.compare(index.save(), before)).toBe(0);
  });

  it('hold nothing of an index that has become empty', () => {
    const index = VectorIndex.from(vectors, { dimensions: D, cells: 9, tune: false });
    index.remove(Array.from({ length: 6000 }, (_, id) => id));
    index.build();
    expect([index.size, index.stats().removed]).toEqual([0, 0]);
    expect(index.add(vectors.subarray(0, D))).toBe(6000);
    expect([...index.search(rowAt(vectors, 0, D)).ids]).toEqual([6000]);
  });
});

describe('the second stage of a build', () => {
  it('is there where it is asked for, and not where it is not', () => {
    for (const refine of [true, false])
      expect(
        VectorIndex.from(vectors, { dimensions: D, cells: 9, refine, tune: false }).stats().refined,
      ).toBe(refine);
  });

  it('is looked at where nobody asked for it, and dropped again where it does not pay', () => {
    const tight = clumpedRows(12_000, 16, 4, 1e-3, 51);
    const build = (options: { refine?: boolean }): VectorIndex =>
      VectorIndex.from(tight, { dimensions: 16, cells: 16, tune: false, ...options });
    const good = vi.spyOn(Tuner.prototype, 'isSecondStageGood');
    build({ refine: true });
    build({ refine: false });
    expect(good).not.toHaveBeenCalled();
    for (const is of [true, false]) {
      vi.spyOn(Tuner.prototype, 'look').mockImplementation(function* () {
        yield { phase: 'tune', done: 0, total: 1 };
        return { structureless: false, share: 0.1, ranked: 1000 };
      });
      vi.spyOn(Tuner.prototype, 'isSecondStageGood').mockImplementation(function* () {
        yield { phase: 'tune', done: 0, total: 1 };
        return is;
      });
      expect(build({}).stats().refined).toBe(is);
      vi.restoreAllMocks();
    }
  });

  it('is built from 96 ranked rows a query on', () => {
    for (const [ranked, refined] of [
      [95, false],
      [96, true],
    ] as const) {
      vi.spyOn(Tuner.prototype, 'look').mockImplementation(function* () {
        yield { phase: 'tune', done: 0, total: 1 };
        return { structureless: false, share: 0.1, ranked };
      });
      vi.spyOn(Tuner.prototype, 'isSecondStageGood').mockImplementation(function* () {
        yield { phase: 'tune', done: 0, total: 1 };
        return true;
      });
      const index = VectorIndex.from(vectors, { dimensions: D, cells: 9, tune: false });
      expect(index.stats().refined).toBe(refined);
    }
  });
});
