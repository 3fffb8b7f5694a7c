import { describe, expect, it } from 'vitest';
import { prepareReading } from '../bench/peak.js';
import { report } from '../bench/report.js';

describe('the limits of the machine', () => {
  it('are read from a set of the size that was asked for, as often as makes the least', () => {
    expect(prepareReading(1000, 10_000)).toMatchObject({ set: 896, bytes: 12 * 896 });
    expect(prepareReading(1, 128)).toMatchObject({ set: 128, bytes: 128 });
    const { run, set, bytes } = prepareReading(2 ** 16, 2 ** 22);
    expect([set, bytes]).toEqual([2 ** 16, 2 ** 22]);
    // every byte is 1 and each lane adds up a sixteenth of the words
    expect(run()).toBe(Math.imul(0x01010101, bytes / 16));
  });

  it('stand in the report as shares beside each kernel that has any', () => {
    const kernel = { unit: 'Mrow/s', wasm: 100, javascript: 10, ratio: 10 };
    const arithmetic = { gigaflops: 50, share: 0.5 };
    const memory = { bytes: 1e6, gigabytes: 80, share: 0.125 };
    const about = { machine: 'a machine', node: 'v20.0.0', commit: 'abc1234', date: '2026-01-02T00:00:00Z' };
    const results = [
      { ...kernel, what: 'one', arithmetic, memory },
      { ...kernel, what: 'two' },
    ];
    const text = report([{ ...about, results }]);
    expect(text).toContain('| one | Mrow/s | 100 | 10 | 10.0x | 50 % of 50 GFLOP/s | 13 % of 80 GB/s |');
    expect(text).toContain('| two | Mrow/s | 100 | 10 | 10.0x |  |  |');
    expect(report([{ ...about, results: results.slice(1) }])).toContain(
      '| two | Mrow/s | 100 | 10 | 10.0x |\n',
    );
  });
});
