import { describe, expect, it } from 'vitest';
import { coverageTable, fillTable, mutantsRow, rowsOf, withRow } from './evidence.js';
import { rankOf } from './mutation.sample.mjs';

const text =
  '# Title\n\n<!-- mutants -->\n\n| module | n |\n|---|---|\n| `a` | 1 |\n\n<!-- /mutants -->\n\nmore\n';

describe('the tables of docs/mutation.md', () => {
  it('are filled between their markers, and nothing else changes, however often', () => {
    const once = fillTable(text, 'mutants', ['| x |', '|---|']);
    expect(once).toBe('# Title\n\n<!-- mutants -->\n\n| x |\n|---|\n\n<!-- /mutants -->\n\nmore\n');
    expect(fillTable(once, 'mutants', ['| x |', '|---|'])).toBe(once);
    expect(() => fillTable(text, 'coverage', [])).toThrow('coverage: expected its two markers, got -1, -1');
  });

  it('keep the rows of modules that were not run again', () => {
    expect(rowsOf(text, 'mutants')).toEqual(['| `a` | 1 |']);
    const rows = withRow(rowsOf(text, 'mutants'), 'b', '| `b` | 2 |');
    expect(withRow(rows, 'a', '| `a` | 3 |')).toEqual(['| `a` | 3 |', '| `b` | 2 |']);
  });

  it('count mutants, and say how many of how many where a sample was drawn', () => {
    const results = ['Killed', 'Timeout', 'Killed', 'Survived', 'NoCoverage'].map((status) => ({ status }));
    const when = { commit: 'abc1234', day: '2026-01-02' };
    expect(mutantsRow('src/a.ts', results, 5, when)).toBe(
      '| `src/a.ts` | 5 | 60.0 % | 1 | 1 | abc1234, 2026-01-02 |',
    );
    const sampled = mutantsRow('src/a.ts', [...results, { status: 'CompileError' }], 900, when);
    expect(sampled).toContain('| 5 of 900 | 60.0 %');
  });

  it('tell of each module what its tests run', () => {
    const covered = (lines: number, pct: number, branches: number) => ({
      lines: { total: lines, pct },
      branches: { total: branches, pct: 50 },
    });
    const summary = {
      total: covered(30, 90, 4),
      '/repo/src/b.ts': covered(20, 85.04, 4),
      '/repo/src/a.ts': covered(10, 100, 0),
      '/repo/src/names.ts': covered(0, 100, 0),
    };
    expect(coverageTable(summary, '/repo')).toEqual([
      '| module | lines | run | branches run |',
      '|---|---:|---:|---:|',
      '| `src/a.ts` | 10 | 100.0 % |  |',
      '| `src/b.ts` | 20 | 85.0 % | 50.0 % |',
      '| all | 30 | 90.0 % | 50.0 % |',
    ]);
  });
});

describe('a sample of mutants', () => {
  const mutants = Array.from({ length: 1000 }, (_, i) => ({
    location: { start: { line: i >> 1, column: 1 }, end: { line: i >> 1, column: 9 } },
    mutatorName: 'EqualityOperator',
    replacement: i % 2 === 0 ? 'a < b' : 'a > b',
  }));
  const ranks = (seed: string): string[] => mutants.map((mutant) => rankOf(seed, mutant));

  it('is the same for the same seed only', () => {
    expect(new Set([...ranks('1'), ...ranks('2')]).size).toBe(2000);
    expect(ranks('1')).toEqual(ranks('1'));
  });

  it('takes about as many of every part', () => {
    const limit = ranks('1').sort()[399];
    const drawn = ranks('1').flatMap((rank, i) => (rank <= limit ? [i] : []));
    expect(drawn).toHaveLength(400);
    for (let part = 0; part < 4; part++) {
      const count = drawn.filter((i) => Math.floor(i / 250) === part).length;
      expect(count).toBeGreaterThan(70);
      expect(count).toBeLessThan(130);
    }
  });
});
