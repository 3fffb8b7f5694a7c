/**
 * Fills the tables of docs/mutation.md, between their markers: after `npm run coverage` its figures of all modules by
 *
 *     node --import tsx test/evidence.ts
 *
 * and mutation.ts those of each module that it has run.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const DOCUMENT = path.join(root, 'docs/mutation.md');
const SUMMARY = path.join(root, 'coverage/coverage-summary.json');

/** What vitest's `json-summary` says of one file, or of all together. */
interface Covered {
  lines: { total: number; pct: number };
  branches: { total: number; pct: number };
}

/** A text with other lines between the markers of a table. */
export function fillTable(text: string, name: string, lines: readonly string[]): string {
  const [start, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`].map((marker) => text.indexOf(marker));
  if (start < 0 || end < start)
    throw new RangeError(`${name}: expected its two markers, got ${start}, ${end}`);
  return `${text.slice(0, start)}<!-- ${name} -->\n\n${lines.join('\n')}\n\n${text.slice(end)}`;
}

/** The lines between the markers of a table, without its head. */
export function rowsOf(text: string, name: string): string[] {
  const inside = text.slice(text.indexOf(`<!-- ${name} -->`), text.indexOf(`<!-- /${name} -->`));
  return inside.split('\n').filter((line) => line.startsWith('| `'));
}

/** The lines of a table with this module's in the place of an older one. */
export function withRow(rows: readonly string[], module: string, row: string): string[] {
  return [...rows.filter((line) => !line.startsWith(`| \`${module}\` |`)), row].sort();
}

export const MUTANTS_HEAD: readonly string[] = [
  '| module | mutants | noticed | survived | without a test | commit, day |',
  '|---|---:|---:|---:|---:|---|',
];

/** A module's row in the table of mutants, of what Stryker says of each: of all, or of so many that a sample drew. */
export function mutantsRow(
  module: string,
  results: readonly { status: string }[],
  all: number,
  { commit, day }: { commit: string; day: string },
): string {
  const count = (...states: string[]): number =>
    results.filter(({ status }) => states.includes(status)).length;
  const noticed = count('Killed', 'Timeout');
  const [survived, uncovered] = [count('Survived'), count('NoCoverage')];
  const run = noticed + survived + uncovered;
  const mutants = run < all ? `${run} of ${all}` : `${run}`;
  const share = ((100 * noticed) / Math.max(1, run)).toFixed(1);
  return `| \`${module}\` | ${mutants} | ${share} % | ${survived} | ${uncovered} | ${commit}, ${day} |`;
}

/** The table of a coverage summary: each module by its name, and all together. */
export function coverageTable(summary: Record<string, Covered>, base: string): string[] {
  const percent = ({ total, pct }: { total: number; pct: number }): string =>
    total === 0 ? '' : `${pct.toFixed(1)} %`;
  const row = (name: string, { lines, branches }: Covered): string =>
    `| ${name} | ${lines.total} | ${percent(lines)} | ${percent(branches)} |`;
  const { total, ...files } = summary;
  const rows = Object.entries(files)
    .map(([file, covered]) => [path.relative(base, file), covered] as const)
    .filter(([, { lines }]) => lines.total > 0)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, covered]) => row(`\`${name}\``, covered));
  return ['| module | lines | run | branches run |', '|---|---:|---:|---:|', ...rows, row('all', total)];
}

/** The text of docs/mutation.md as `change` makes it. */
export function rewrite(change: (text: string) => string): void {
  writeFileSync(DOCUMENT, change(readFileSync(DOCUMENT, 'utf8')));
}

/** Commit and day, as they stand in the tables. */
export function occasion(): { commit: string; day: string } {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
    cwd: root,
    encoding: 'utf8',
  }).trim();
  return { commit, day: new Date().toISOString().slice(0, 10) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const summary = JSON.parse(readFileSync(SUMMARY, 'utf8')) as Record<string, Covered>;
  const { commit, day } = occasion();
  const table = coverageTable(summary, root);
  rewrite((text) => fillTable(text, 'coverage', [...table, '', `Commit ${commit}, ${day}.`]));
}
