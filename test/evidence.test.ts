import { describe, expect, it } from 'vitest';
import { coverageTable, fillTable, rowsOf, withRow } from './evidence.js';

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
