import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { FilterResult } from '../bench/filters.js';
import type { LivingResult } from '../bench/living.js';
import { report } from '../bench/report.js';

const about = { machine: 'a machine', node: '20.20.0', commit: 'abc', date: '2030-01-02T00:00:00Z' };

describe('the report of a living index', () => {
  it('tells searches with a filter, by how many rows pass and which', () => {
    const row = { recall: 0.9612, least: 0.5, qps: 4321, exactQps: 71, byRows: 0 };
    const result = {
      ...about,
      data: 'words',
      n: 340479,
      d: 100,
      metric: 'cosine',
      k: 10,
      target: 0.95,
      queries: 100,
      firstMs: 600,
      filters: [
        { ...row, share: 1, way: 'no filter' },
        { ...row, share: 0.005, way: 'against' },
      ],
    } as unknown as FilterResult;
    const text = report([[result]]);
    expect(text).toContain('### Searches with a filter: words, 340,479 × 100');
    expect(text).toContain('| 100 %, all rows | 0.961 |');
    expect(text).toContain('| 0.5 %, the farthest from it | 0.961 |');
    expect(text).toContain('Node 20.20.0, commit abc, 2030-01-02');
  });

  it('tells removing and adding of each data set, the latest of several', () => {
    const result = {
      ...about,
      living: true,
      data: 'words',
      n: 340479,
      d: 100,
      removedPerSecond: 812345,
      builtPerSecond: 90000,
      addedPerSecond: 60000,
      addRatio: 0.6667,
      worn: { queriesPerSecond: 9000, recall: 0.951 },
      fresh: { queriesPerSecond: 9500, recall: 0.952 },
      searchRatio: 0.947,
    } as unknown as LivingResult;
    const old = { ...result, date: '2029-01-01T00:00:00Z', addRatio: 99 };
    const text = report([[result], [old]]);
    expect(text).toContain('### Removing, adding, and searching after removals');
    expect(text.match(/\| words: 340,479 × 100 \|/g)?.length).toBe(1);
    expect(text).toContain('(0.951)');
    expect(text).not.toContain('99x');
  });

  it('can be measured by scripts of the package', () => {
    const { scripts } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
    expect([scripts['bench:filters'], scripts['bench:living']]).toEqual([
      'node --import tsx bench/filters.ts',
      'node --import tsx bench/living.ts',
    ]);
  });
});
