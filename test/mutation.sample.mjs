/**
 * Stryker's checker "sample", for modules whose mutants take seconds each: only drawn ones are run. A mutant is drawn when
 * its rank is at most MUTANT_LIMIT, which mutation.ts sets: a number that depends on the seed and on what the mutant
 * changes, so that all are equally likely, and the same module and seed give the same sample.
 */
import { createHash } from 'node:crypto';

export function rankOf(seed, { location: { start, end }, mutatorName, replacement }) {
  const what = [seed, start.line, start.column, end.line, end.column, mutatorName, replacement];
  return createHash('sha256').update(JSON.stringify(what)).digest('hex');
}

class SampleChecker {
  async init() {}

  async group(mutants) {
    return [mutants.map(({ id }) => id)];
  }

  async check(mutants) {
    const { MUTANT_LIMIT = '', MUTANT_SEED = '' } = process.env;
    const drawn = (mutant) => rankOf(MUTANT_SEED, mutant) <= MUTANT_LIMIT;
    const leftOut = { status: 'compileError', reason: 'not in the sample' };
    return Object.fromEntries(
      mutants.map((mutant) => [mutant.id, drawn(mutant) ? { status: 'passed' } : leftOut]),
    );
  }
}

export const strykerPlugins = [{ kind: 'Checker', name: 'sample', injectableClass: SampleChecker }];
