import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { report } from '../bench/report.js';

const root = fileURLToPath(new URL('..', import.meta.url));

it('the benchmark of threads measures each way, and its figures come to stand in a table', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'orthant-threads-'));
  try {
    const file = path.join(folder, 'workers.json');
    const sizes = ['--rows', '2500', '--dimensions', '16', '--rounds', '1'];
    execFileSync(process.execPath, ['--import', 'tsx', 'bench/workers.ts', ...sizes, '--json', file], {
      cwd: root,
    });
    const result = JSON.parse(readFileSync(file, 'utf8'));
    const text = report([result]);
    expect(text).toContain('### On several threads');
    expect(text).toContain('2,500 × 16');
    const ways = ['no threads', '1 thread', '2 threads'];
    for (const name of [...ways.map((way) => `build, ${way}`), ...ways.map((way) => `batch, ${way}`)]) {
      const { ms, speedup } = result.figures.find((one: { name: string }) => one.name === name);
      expect(ms).toBeGreaterThan(0);
      expect(text).toContain(`| ${name} |`);
      expect(text).toContain(`| ${speedup.toFixed(2)}x |`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
