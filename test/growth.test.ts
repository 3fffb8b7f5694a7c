import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { exponentOf, type GrowthResult } from '../bench/growth.js';
import { pictures, report } from '../bench/report.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'orthant-growth-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the benchmark of growth', () => {
  it('fits the exponent of a power exactly, and of noise around it nearly', () => {
    const at = (power: number, noise = 0) =>
      [1e4, 1e5, 1e6, 4e6].map((x, i) => ({ x, y: 3 * x ** power * (1 + noise * (i % 2 ? 1 : -1)) }));
    expect(exponentOf(at(1.25))).toBeCloseTo(1.25, 12);
    expect(exponentOf(at(-0.5))).toBeCloseTo(-0.5, 12);
    expect(Math.abs(exponentOf(at(1, 0.1)) - 1)).toBeLessThan(0.1);
  });

  it('measures both kinds of rows at every size, in figures that the report tells and draws', async () => {
    const file = path.join(folder, 'growth.json');
    const args = ['--import', 'tsx', 'bench/growth.ts', '--sizes', '1000,4000', '--json', file];
    execFileSync(process.execPath, args, { cwd: root, stdio: 'pipe' });
    const result = JSON.parse(readFileSync(file, 'utf8')) as GrowthResult;
    expect(result.growth.map(({ storage }) => storage)).toEqual(['f32', 'int8']);
    for (const { storage, points, exponents } of result.growth) {
      expect(points.map(({ n }) => n)).toEqual([1000, 4000]);
      for (const { buildSeconds, bytesPerRow, heldPerRow, curve } of points) {
        expect(buildSeconds).toBeGreaterThan(0);
        const floats = storage === 'f32' ? 4 * 128 : 128;
        expect(bytesPerRow).toBeGreaterThan(floats);
        expect(bytesPerRow).toBeLessThan(2 * floats + 200);
        expect(heldPerRow).toBeGreaterThanOrEqual(bytesPerRow);
        expect(curve.map(({ recall }) => recall).at(-1)).toBeGreaterThan(0.9);
      }
      const all = points.map(({ n, bytesPerRow }) => ({ x: n, y: n * bytesPerRow }));
      expect(exponents.bytes).toBeCloseTo(exponentOf(all), 12);
    }
    expect(report([result])).toContain('| 4,000 × 128, 8-bit rows | ');
    const drawn = await pictures([result]);
    expect([...drawn.keys()]).toEqual(['growth-light.svg', 'growth-dark.svg']);
    for (const svg of drawn.values()) expect(svg).toMatch(/^<svg [^>]*><title>Build time, speed and memory/);
  });

  it('names what is wrong with the sizes', () => {
    const args = ['--import', 'tsx', 'bench/growth.ts', '--sizes', '5000'];
    const { status, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' });
    expect([status, stderr]).toEqual([
      2,
      expect.stringContaining('--sizes: expected rising integers from 100'),
    ]);
  });
});
