/** Leaves out the tests that mutation.ts found to be slow: each mutant would pay for them again. */
import { readFileSync } from 'node:fs';
import { beforeEach, type TestContext } from 'vitest';

/** A test's name after those of the suites around it, as vitest's JSON report has it. */
function fullName({ name, suite }: TestContext['task']): string {
  const names = [name];
  for (let around = suite; around !== undefined; around = around.suite) names.unshift(around.name);
  return names.join(' ').trim();
}

const { SLOW_TESTS } = process.env;
const slow = new Set<string>(SLOW_TESTS === undefined ? [] : JSON.parse(readFileSync(SLOW_TESTS, 'utf8')));

beforeEach(({ task, skip }) => {
  skip(slow.has(fullName(task)), 'slow');
});
