/**
 * Mutates modules of the core, one after the other, each with the tests of its own (mutation.config.ts):
 *
 *     npm run mutation -- check labels
 *     npm run mutation -- --sample 100 --seed 1 --slowest 1000 cells
 *
 * `--sample N` takes N mutants of a module, drawn from all of it by the seed; `--slowest MS` leaves tests out that take
 * more processor time. Survivors are printed, with all else in reports/mutation-NAME.json; docs/mutation.md gets a row for
 * each module.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Stryker } from '@stryker-mutator/core';
import { fillTable, MUTANTS_HEAD, mutantsRow, occasion, rewrite, rowsOf, withRow } from './evidence.js';
import { rankOf } from './mutation.sample.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    sample: { type: 'string', default: '0' },
    seed: { type: 'string', default: '1' },
    slowest: { type: 'string', default: 'Infinity' },
  },
});
const [size, slowest] = [values.sample, values.slowest].map(Number);

/**
 * Tells mutation.setup.ts which tests of a module take longer than `slowest`. Their times are taken once, and again when
 * reports/mutation-NAME.times.json is removed.
 */
function findSlowTests(name: string): void {
  const [times, list] = ['times', 'slow'].map((what) =>
    path.resolve(`reports/mutation-${name}.${what}.json`),
  );
  delete process.env.SLOW_TESTS;
  if (!existsSync(times)) {
    const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/mutation.config.ts'];
    execFileSync('node', vitest, { env: { ...process.env, TEST_TIMES: times }, stdio: 'ignore' });
  }
  const tests = readFileSync(times, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as [string, number]);
  const slow = tests.filter(([, ms]) => ms > slowest).map(([test]) => test);
  console.log(`${name}: ${slow.length} of ${tests.length} tests take longer than ${slowest} ms`);
  writeFileSync(list, JSON.stringify(slow));
  process.env.SLOW_TESTS = list;
}

/** Makes Stryker run those mutants alone that a sample draws, and tells how many there are in all. */
async function drawSample(module: string): Promise<{ options: object; all: number }> {
  // Each mutant of what is run at import takes a process of its own: a sample leaves those out.
  const options = { checkers: ['sample'], appendPlugins: ['./test/mutation.sample.mjs'], incremental: false };
  Object.assign(process.env, { MUTANT_SEED: values.seed, MUTANT_LIMIT: '' });
  // Runs nothing, and tells of every mutant.
  const listing = {
    testRunner: 'command',
    commandRunner: { command: 'true' },
    coverageAnalysis: 'off',
  } as const;
  const results = await new Stryker({ ...options, ...listing, mutate: [module] }).runMutationTest();
  const ranked = results
    .map(({ location, mutatorName, replacement = '' }) => {
      const [start, end] = [location.start, location.end].map(({ line, column }) => ({
        line: line - 1,
        column: column - 1,
      }));
      const range = `${start.line + 1}:${start.column}-${end.line + 1}:${end.column}`;
      return { rank: rankOf(values.seed, { location: { start, end }, mutatorName, replacement }), range };
    })
    .sort((a, b) => (a.rank < b.rank ? -1 : 1))
    .slice(0, size);
  process.env.MUTANT_LIMIT = ranked.at(-1)?.rank ?? '';
  // Only these are written into the module, so that its loops stay quick; what is within their ranges is checked out.
  const mutate = ranked.map(({ range }) => `${module}:${range}`);
  return { options: { ...options, mutate, ignoreStatic: true }, all: results.length };
}

mkdirSync('reports', { recursive: true });
for (const name of positionals) {
  const module = `src/${name}.ts`;
  process.env.MUTATED_MODULE = name;
  if (slowest < Infinity) findSlowTests(name);
  const sample = size > 0 ? await drawSample(module) : undefined;
  const results = await new Stryker({
    mutate: [module],
    incrementalFile: `reports/mutation-${name}.incremental.json`,
    jsonReporter: { fileName: `reports/mutation-${name}.json` },
    ...sample?.options,
  }).runMutationTest();
  const row = mutantsRow(module, results, sample?.all ?? results.length, occasion());
  rewrite((text) =>
    fillTable(text, 'mutants', [...MUTANTS_HEAD, ...withRow(rowsOf(text, 'mutants'), module, row)]),
  );
}
