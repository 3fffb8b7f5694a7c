/** What every benchmark needs beside its figures: where they come from, how they are summed up and printed. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import type { EngineKernelResult } from './engine-kernels.js';

/** Without it a figure means nothing. */
export interface Provenance {
  machine: string;
  node: string;
  /** Abbreviated; `+` behind it when the work tree differs from the commit. */
  commit: string;
  date: string;
}

export function provenance(): Provenance {
  return {
    machine: `${os.cpus()[0].model}, ${os.arch()}`,
    node: process.version,
    commit: commit(),
    date: new Date().toISOString(),
  };
}

function commit(): string {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: new URL('.', import.meta.url), encoding: 'utf8', stdio: 'pipe' }).trim();
  try {
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain') ? '+' : '');
  } catch {
    return 'none';
  }
}

/** Milliseconds of CPU time of this process: other work on the machine hardly shows in it. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/**
 * The same of this thread alone, without those on which V8 compiles and collects: what a caller waits for where cores are
 * free. Only Linux tells; elsewhere it is that of the process.
 */
export function threadCpuMs(): number {
  const file = '/proc/thread-self/schedstat';
  return existsSync(file) ? Number(readFileSync(file, 'utf8').split(' ')[0]) / 1e6 : cpuMs();
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** 3 significant digits and thousands apart: 0.0123, 12.3, 12,300. */
export function figure(value: number): string {
  return Number(value.toPrecision(3)).toLocaleString('en', { maximumSignificantDigits: 3 });
}

/** Lines of equal width: the first column to the left, the others to the right. */
export function table(rows: string[][]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (row: string[]): string =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ');
  const rule = '-'.repeat(line(rows[0]).length);
  return [line(rows[0]), rule, ...rows.slice(1).map(line)].join('\n');
}

export function writeJson(file: string, value: unknown): void {
  writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);
}

/** Runs a script's `main` if the script was started, not imported: a line and exit code 2 for wrong usage, else 1. */
export async function runIfStarted(script: string, main: (argv: string[]) => unknown): Promise<void> {
  if (process.argv[1] !== fileURLToPath(script)) return;
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = error instanceof RangeError ? 2 : 1;
  }
}

/** What each step of the engine takes of the machine, a row a step: for the terminal and for the README. */
export function engineRows(engine: EngineKernelResult[]): string[][] {
  const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
  return engine.map(({ what, unit, rate, arithmetic, reading, memory }) => [
    what,
    unit,
    figure(rate),
    arithmetic > 0 ? percent(arithmetic) : '',
    `${percent(reading)} of ${figure(memory.gigabytes)} GB/s`,
  ]);
}
