/**
 * Stryker's checker "sample", for modules whose mutants take seconds each: mutation.ts --sample N lets N of them through.
 * Which ones depends on the seed and on what a mutant changes, so the same module and seed give the same sample.
 */
import { createHash } from 'node:crypto';

/** What the report says of a mutant that was not drawn. */
export const LEFT_OUT = 'not in the sample';

/** Of `mutants` `size`, all equally likely: those of the smallest hashes of the seed and their place and change. */
export function sampleOf(mutants, size, seed) {
  const rank = ({ location, mutatorName, replacement }) =>
    createHash('sha256')
      .update(JSON.stringify([seed, location.start, location.end, mutatorName, replacement]))
      .digest('hex');
  return mutants
    .map((mutant) => ({ mutant, rank: rank(mutant) }))
    .sort((a, b) => (a.rank < b.rank ? -1 : 1))
    .slice(0, size)
    .map(({ mutant }) => mutant);
}

class SampleChecker {
  async init() {}

  /** All mutants at once, since a sample is drawn from all. */
  async group(mutants) {
    return [mutants.map(({ id }) => id)];
  }

  async check(mutants) {
    const { MUTANT_SAMPLE = '0', MUTANT_SEED = '0' } = process.env;
    const drawn = new Set(sampleOf(mutants, Number(MUTANT_SAMPLE), Number(MUTANT_SEED)));
    const result = (mutant) =>
      drawn.has(mutant) ? { status: 'passed' } : { status: 'compileError', reason: LEFT_OUT };
    return Object.fromEntries(mutants.map((mutant) => [mutant.id, result(mutant)]));
  }
}

export const strykerPlugins = [{ kind: 'Checker', name: 'sample', injectableClass: SampleChecker }];
