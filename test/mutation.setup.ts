/** Leaves out the tests that mutation.ts found to be slow: each mutant would pay for them again. */
import { appendFileSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, type TestContext } from 'vitest';

type Task = TestContext['task'];

/** A test's name after those of the suites around it. */
function fullName({ name, suite }: Task): string {
  const names = [name];
  for (let around = suite; around !== undefined; around = around.suite) names.unshift(around.name);
  return names.join(' ');
}

/** Processor time so far, in ms: on a busy machine the time on the wall says little. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

const { SLOW_TESTS, TEST_TIMES } = process.env;
const slow = new Set<string>(SLOW_TESTS === undefined ? [] : JSON.parse(readFileSync(SLOW_TESTS, 'utf8')));
let begin = 0;

beforeEach(({ task, skip }) => {
  skip(slow.has(fullName(task)), 'slow');
  begin = cpuMs();
});

afterEach(({ task }) => {
  if (TEST_TIMES === undefined) return;
  appendFileSync(TEST_TIMES, `${JSON.stringify([fullName(task), cpuMs() - begin])}\n`);
});
