import { describe, expect, it, vi } from 'vitest';
import type { Progress } from '../src/progress.js';
import { alone, type Job, PART_ITEMS } from '../src/share.js';

const JOBS: readonly [Job['kind'], number][] = [
  ['copy', 1],
  ['sample', 64],
  ['train', 64],
  ['group', 64],
  ['assign', 64],
  ['encode', 4],
  ['refine', 64],
  ['search', 1],
];

describe('a job that one thread does alone', () => {
  it.each(JOBS)('of the kind %s is done in parts of %i, in order and to its end', (kind, items) => {
    expect(PART_ITEMS[kind]).toBe(items);
    for (const total of [0, 1, items - 1, items, items + 1, 3 * items, 3 * items + 1]) {
      const parts: [number, number][] = [];
      const part = (first: number, end: number): Progress => {
        parts.push([first, end]);
        return { phase: 'train', done: end, total };
      };
      for (const _ of alone({ kind } as Job, total, part));
      const expected: [number, number][] = [];
      for (let first = 0; first < total; first += items)
        expected.push([first, Math.min(first + items, total)]);
      expect(parts).toEqual(expected);
    }
  });

  it('begins when the other work is done, whose progress it hands on, and tells its own by the clock', () => {
    let now = 5000;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now);
    try {
      const said: string[] = [];
      const before = function* (): Generator<Progress> {
        said.push('before');
        yield { phase: 'encode', done: 1, total: 2 };
        yield { phase: 'encode', done: 2, total: 2 };
        said.push('ready');
      };
      const part = (first: number, end: number): Progress => {
        said.push(`${first}-${end}`);
        if (first === 8) now += 1000;
        return { phase: 'encode', done: end, total: 10 };
      };
      const told = [...alone({ kind: 'encode' } as Job, 10, part, before())];
      expect(said).toEqual(['before', 'ready', '0-4', '4-8', '8-10']);
      expect(told.map(({ done, total }) => [done, total])).toEqual([
        [1, 2],
        [2, 2],
        [4, 10],
        [10, 10],
      ]);
    } finally {
      clock.mockRestore();
    }
  });
});
