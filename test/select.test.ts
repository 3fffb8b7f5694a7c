import { describe, expect, it } from 'vitest';
import { uniform } from './arena.js';
import { layOutCentres, layOutQuery, layOutSpace, PlanArena } from './plans.js';

// Selection is reached through chooseCells: centres at given distances along one axis, all of them measured.

const plan = new PlanArena(128);
const DIMS = 16;
const FEW_BINS = 48;

/** Candidates beyond those wanted that chooseCells measures. */
function wantedOf(cells: number): number[] {
  const wanted = cells <= 48 ? [2, 3, Math.ceil(cells / 2), cells - 1, cells] : [];
  // Above 48 cells the codes are left aside only when nearly all are wanted.
  for (let want = Math.ceil((cells - 6) / 1.125); want <= cells; want += Math.ceil(cells / 50))
    wanted.push(want);
  return [
    ...new Set(
      wanted.filter((want) => want >= 2 && want <= cells && want + (want >> 3) + 6 >= Math.min(cells, 49)),
    ),
  ];
}

/** Selects from squared distances `radius²`; returns cells and keys. */
function select(
  radii: Float32Array,
  want: number,
): { cells: Uint32Array; keys: Float32Array; all: Float32Array } {
  plan.reset();
  layOutSpace(plan, DIMS);
  layOutQuery(plan, new Float32Array(DIMS));
  const centres = new Float32Array(radii.length * DIMS);
  radii.forEach((radius, i) => {
    centres[i * DIMS + (i % DIMS)] = radius;
  });
  layOutCentres(plan, centres);
  plan.set('Probes', want);
  new Float32Array(plan.arena.memory.buffer, plan.get('Rotated')).fill(0, 0, DIMS);
  const count = plan.run((kernels, at) => kernels.chooseCells(at));
  expect(count).toBe(Math.min(want, radii.length));
  return {
    cells: plan.words('Candidates', count),
    keys: plan.floats('CandidateKeys', count),
    all: radii.map((radius) => Math.fround(radius * radius)),
  };
}

/** Fails unless these are different cells with their keys. */
function expectPairs(selected: ReturnType<typeof select>): void {
  expect(new Set(selected.cells).size).toBe(selected.cells.length);
  selected.cells.forEach((cell, i) => {
    expect(selected.keys[i]).toBe(selected.all[cell]);
  });
}

function radiiOf(kind: string, count: number, seed: number): Float32Array {
  const next = uniform(seed);
  return Float32Array.from({ length: count }, (_, i) => {
    if (kind === 'even') return next();
    if (kind === 'ascending') return i + 1;
    if (kind === 'descending') return count - i;
    if (kind === 'few values') return 1 + Math.floor(next() * 4);
    return Math.exp(6 * next()); // heavy tail
  });
}

describe.each(['even', 'ascending', 'descending', 'few values', 'heavy tail'])(
  'selection of %s keys',
  (kind) => {
    it.each([2, 3, 9, 47, 48, 49, 192, 193, 257, 1000])(
      'keeps the smallest of %i, up to the width of a bin',
      (count) => {
        for (const want of wantedOf(count)) {
          const selected = select(radiiOf(kind, count, count), want);
          expectPairs(selected);
          const sorted = [...selected.all].sort((a, b) => a - b);
          const width = ((sorted[count - 1] - sorted[0]) / (FEW_BINS - 1)) * 1.0001;
          const limit = sorted[want - 1];
          for (const key of selected.keys) expect(key).toBeLessThanOrEqual(limit + width);
          const left = new Set(selected.cells);
          selected.all.forEach((key, cell) => {
            if (key < limit - width) expect(left.has(cell)).toBe(true);
          });
          // In order, but for keys of one bin.
          for (let i = 1; i < want; i++)
            expect(selected.keys[i]).toBeGreaterThanOrEqual(selected.keys[i - 1] - width);
        }
      },
    );
  },
);

describe('selection', () => {
  it('is exact where an outlier puts all other keys into one bin', () => {
    for (const count of [40, 48, 300, 1000]) {
      for (const want of wantedOf(count)) {
        if (want >= count - 1) continue;
        const radii = radiiOf('even', count, count + want);
        radii[3] = 1e6;
        const selected = select(radii, want);
        expectPairs(selected);
        const expected = [...selected.all].sort((a, b) => a - b).slice(0, want);
        expect([...selected.keys].sort((a, b) => a - b)).toEqual(expected);
      }
    }
  });

  it('takes the first of equal keys', () => {
    for (const [count, want] of [
      [40, 7],
      [1000, 950],
    ]) {
      const selected = select(new Float32Array(count).fill(2), want);
      expect(selected.cells).toEqual(Uint32Array.from({ length: want }, (_, i) => i));
    }
  });

  it('is exact among keys too close for a scale of floats', () => {
    const next = uniform(5);
    for (const [count, want] of [
      [48, 5],
      [400, 380],
    ]) {
      // Squares are denormal numbers of a few bits.
      const radii = Float32Array.from({ length: count }, () => 1e-21 * (1 + 9 * next()));
      const selected = select(radii, want);
      expectPairs(selected);
      const expected = [...selected.all].sort((a, b) => a - b).slice(0, want);
      expect([...selected.keys].sort((a, b) => a - b)).toEqual(expected);
    }
  });
});
