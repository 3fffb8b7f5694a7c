import { describe, expect, it } from 'vitest';
import { arithmeticTime, sharesOf } from '../bench/engine-kernels.js';
import { preparePeak, prepareReading } from '../bench/peak.js';
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

  it('are of floats, of 16-bit integers and of look-ups, each as many operations as it says', () => {
    const turns = 1000;
    // 24 floats of 2^-20: eight sums of products, of which a lane of one is `turns` products and there are 8
    const floats = preparePeak(turns);
    expect([floats.run(), floats.operations]).toEqual([8 * turns * 2 ** -40, turns * 16 * 4]);
    // all threes: each lane adds two products, and eight sums are added up
    const products = preparePeak(turns, 'multiplyAdd16');
    expect([products.run(), products.operations]).toEqual([8 * turns * 18, turns * 8 * 16]);
    // the table is 0…15, so a look-up is the nibble itself: the bytes are sums of the codes' nibbles
    const lookUps = preparePeak(turns, 'lookUps');
    const codes = [32, 48, 64, 80].map((at) => Array.from({ length: 4 }, (_, i) => (37 * (at + i)) & 255));
    const sums = [0, 1, 2, 3].map((i) =>
      codes.reduce((sum, code) => sum + (code[i] & 15) + (code[i] >> 4), 0),
    );
    const bytes = Uint8Array.from(sums, (sum) => sum * turns);
    expect(lookUps.run()).toBe(new Int32Array(bytes.buffer)[0]);
    expect(lookUps.operations).toBe(turns * 4 * 7 * 16);
  });

  it('give shares of the time that a kernel takes', () => {
    const peaks = { floats: 50, nibbles: 100, products: 200 };
    const need = { floats: 5000, nibbles: 20_000, products: 40_000, read: 8000, set: 4096 };
    expect(arithmeticTime(need, peaks)).toBe(100 + 200 + 200);
    const work = { what: 'a step', unit: 'krow/s', count: 2, nanoseconds: 1000, need };
    expect(sharesOf(work, peaks, 80)).toEqual({
      what: 'a step',
      unit: 'krow/s',
      rate: 2e6,
      arithmetic: 0.5,
      reading: 0.1,
      memory: { bytes: 4096, gigabytes: 80 },
    });
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
    const engine = [
      {
        what: 'scan',
        unit: 'Mcode/s',
        rate: 612,
        arithmetic: 0.6,
        reading: 0.22,
        memory: { bytes: 1e6, gigabytes: 79 },
      },
    ];
    const peaks = { floats: 60, nibbles: 124, products: 96 };
    const whole = report([{ ...about, results, engine, peaks }]);
    expect(whole).toContain('| scan | Mcode/s | 612 | 60 % | 22 % of 79 GB/s |');
    expect(whole).toContain(
      '60 billion operations a second on floats, 96 on 16-bit integers, and\n124 on bytes',
    );
    expect(report([{ ...about, results: results.slice(1) }])).toContain(
      '| two | Mrow/s | 100 | 10 | 10.0x |\n',
    );
  });
});
