import { describe, expect, it } from 'vitest';
import { Arena, expectSameBits, floats, uniform } from './arena.js';
import * as reference from './reference.js';

const arena = new Arena(32);
/** Powers of two, and sizes whose window leaves a tail, from the smallest allowed on. */
const DIMENSIONS = [16, 20, 28, 64, 68, 100, 128, 784];

/** Random signs, each times width^-1/2 where the round's window covers it. */
function signsOf(dimensions: number, rounds: number, seed: number): Float32Array {
  const next = uniform(seed);
  const width = 2 ** Math.floor(Math.log2(dimensions));
  return Float32Array.from({ length: rounds * dimensions }, (_, i) => {
    const round = Math.floor(i / dimensions);
    const start = round % 2 === 0 ? 0 : dimensions - width;
    const at = i % dimensions;
    const scale = at >= start && at < start + width ? width ** -0.5 : 1;
    return next() < 0.5 ? -scale : scale;
  });
}

describe('hadamard', () => {
  it.each([16, 32, 64, 128, 256, 512, 1024, 2048, 4096])(
    'gives the bits of the reference at width %i',
    (width) => {
      arena.reset();
      const x = floats(width, 1);
      const ptr = arena.output(x.byteLength, x);
      arena.run((kernels) => kernels.hadamard(ptr, width));
      reference.hadamard(x);
      expectSameBits(arena.floats(ptr, width), x, `width ${width}`);
    },
  );

  it('stays inside memory when its vector is the last thing in it', () => {
    arena.reset();
    const x = floats(32, 2);
    const ptr = arena.inputAtEnd(x);
    arena.kernels.hadamard(ptr, 32);
    reference.hadamard(x);
    expectSameBits(arena.floats(ptr, 32), x, 'width 32');
  });
});

describe('rotate', () => {
  it.each(DIMENSIONS)(
    'gives the bits of the reference in %i dimensions at every count and number of rounds',
    (dimensions) => {
      for (const rounds of [1, 2, 3, 4]) {
        const signs = signsOf(dimensions, rounds, rounds);
        const mean = floats(dimensions, 3);
        for (const count of [0, 1, 2, 3]) {
          for (const stride of [dimensions, dimensions + 4]) {
            arena.reset();
            const rows = floats(count * stride, 4);
            const rowsPtr = arena.inputAtEnd(rows);
            const meanPtr = arena.input(mean);
            const signsPtr = arena.input(signs);
            const out = arena.output(4 * count * dimensions);
            arena.run((kernels) =>
              kernels.rotate(rowsPtr, count, stride, meanPtr, signsPtr, rounds, dimensions, out),
            );
            for (let r = 0; r < count; r++) {
              const expected = reference.rotate(reference.rowOf(rows, r, stride), mean, signs, rounds);
              const actual = arena.floats(out + 4 * r * dimensions, dimensions);
              expectSameBits(actual, expected, `row ${r} of ${count}, ${rounds} rounds`);
            }
          }
        }
      }
    },
  );

  it.each(DIMENSIONS)('keeps lengths and angles in %i dimensions', (dimensions) => {
    arena.reset();
    const next = uniform(5);
    const rows = Float32Array.from({ length: 2 * dimensions }, () => next() - 0.5);
    const rowsPtr = arena.input(rows);
    const meanPtr = arena.input(new Float32Array(dimensions));
    const signsPtr = arena.input(signsOf(dimensions, 4, 6));
    const out = arena.output(4 * 2 * dimensions);
    arena.run((kernels) => kernels.rotate(rowsPtr, 2, dimensions, meanPtr, signsPtr, 4, dimensions, out));
    const rotated = arena.floats(out, 2 * dimensions);
    for (const [i, j] of [
      [0, 0],
      [0, 1],
      [1, 1],
    ]) {
      const before = reference.dot(
        reference.rowOf(rows, i, dimensions),
        reference.rowOf(rows, j, dimensions),
      );
      const after = reference.dot(
        reference.rowOf(rotated, i, dimensions),
        reference.rowOf(rotated, j, dimensions),
      );
      expect(Math.abs(after - before)).toBeLessThan(1e-5 * dimensions);
    }
  });
});
