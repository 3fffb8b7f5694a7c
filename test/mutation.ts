/**
 * Mutates modules of the core, one after the other, each with the tests of its own:
 *
 *     npm run mutation -- check labels
 *
 * Survivors are printed, with all else in reports/mutation-NAME.json; docs/mutation.md gets a row for each module.
 */
import { Stryker } from '@stryker-mutator/core';
import { fillTable, occasion, rewrite, rowsOf, withRow } from './evidence.js';

const HEAD = [
  '| module | mutants | noticed | survived | without a test | commit, day |',
  '|---|---:|---:|---:|---:|---|',
];

for (const name of process.argv.slice(2)) {
  const module = `src/${name}.ts`;
  process.env.MUTATED_MODULE = name;
  const results = await new Stryker({
    mutate: [module],
    incrementalFile: `reports/mutation-${name}.incremental.json`,
    jsonReporter: { fileName: `reports/mutation-${name}.json` },
  }).runMutationTest();
  const count = (...states: string[]): number =>
    results.filter(({ status }) => states.includes(status)).length;
  const noticed = count('Killed', 'Timeout');
  const [survived, uncovered] = [count('Survived'), count('NoCoverage')];
  const all = noticed + survived + uncovered;
  const { commit, day } = occasion();
  const share = ((100 * noticed) / Math.max(1, all)).toFixed(1);
  const row = `| \`${module}\` | ${all} | ${share} % | ${survived} | ${uncovered} | ${commit}, ${day} |`;
  rewrite((text) => fillTable(text, 'mutants', [...HEAD, ...withRow(rowsOf(text, 'mutants'), module, row)]));
}
