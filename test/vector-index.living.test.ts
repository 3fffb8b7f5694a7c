import { describe, expect, it } from 'vitest';
import { METRICS } from './answers.js';
import { run } from './living.js';

/** Sequences by each metric at least, and milliseconds in which there are more where the machine is fast. */
const LEAST = 700;
const MS = 4500;

describe('a living index', () => {
  it.each(METRICS)(
    'gives what a plain Map gives after thousands of random sequences of calls, by %s',
    (metric) => {
      const first = Date.now() % 2 ** 30;
      const end = performance.now() + MS;
      let seed = first;
      for (; seed < first + LEAST || performance.now() < end; seed++) {
        try {
          run(seed, metric);
        } catch (cause) {
          throw new Error(`sequence ${seed} by ${metric}: ${(cause as Error).message}`, { cause });
        }
      }
      console.log(`${seed - first} sequences by ${metric} from seed ${first}`);
      expect(seed - first).toBeGreaterThanOrEqual(LEAST);
    },
    120_000,
  );
});
