import { describe, expect, it } from 'vitest';
import { candidateProbability, collisionProbability } from '../src/probability.js';

describe('collisionProbability', () => {
  it('is (1 - r / b)^k for one table and 1 - (1 - p)^m for m', () => {
    const p = (1 - 64 / 1024) ** 20;
    expect(collisionProbability({ bits: 1024, distance: 64, sampledBits: 20 })).toBe(p);
    expect(collisionProbability({ bits: 1024, distance: 64, sampledBits: 20, tables: 15 })).toBeCloseTo(
      1 - (1 - p) ** 15,
      14,
    );
  });

  it('is 1 at distance 0 and 0 at distance bits', () => {
    for (const tables of [1, 7]) {
      expect(collisionProbability({ bits: 100, distance: 0, sampledBits: 30, tables })).toBe(1);
      expect(collisionProbability({ bits: 100, distance: 100, sampledBits: 30, tables })).toBe(0);
    }
  });

  it('keeps its digits where one table hardly ever collides', () => {
    const probability = candidateProbability(0.01, { bits: 10, tables: 1000 });
    expect(probability / 1e-17).toBeCloseTo(1, 10);
  });

  it('refuses numbers out of range', () => {
    const good = { bits: 100, distance: 3, sampledBits: 5 };
    const error = expect.objectContaining({ name: 'RangeError', code: 'ERR_ARGUMENT_RANGE' });
    for (const wrong of [
      { bits: 0 },
      { bits: 65537 },
      { distance: -1 },
      { distance: 101 },
      { sampledBits: 0 },
      { tables: 0 },
    ]) {
      expect(() => collisionProbability({ ...good, ...wrong })).toThrow(error);
    }
    expect(() => candidateProbability(1.1, { bits: 1 })).toThrow(
      /agreement: expected a number from 0 to 1, got 1.1/,
    );
    expect(() => collisionProbability(undefined as unknown as typeof good)).toThrow(TypeError);
  });

  it.each([
    [() => candidateProbability(0.5, { bits: 1.5 }), 'bits: expected an integer from 1 to 65536, got 1.5'],
    [
      () => candidateProbability(0.5, { bits: 1, tables: 0 }),
      'tables: expected an integer from 1 to 9007199254740991, got 0',
    ],
    [
      () => collisionProbability({ bits: 0, distance: 0, sampledBits: 1 }),
      'bits: expected an integer from 1 to 65536, got 0',
    ],
    [
      () => collisionProbability({ bits: 8, distance: 9, sampledBits: 1 }),
      'distance: expected a number from 0 to 8, got 9',
    ],
    [
      () => collisionProbability({ bits: 8, distance: 1, sampledBits: 0 }),
      'sampledBits: expected an integer from 1 to 65536, got 0',
    ],
  ])('names the number that is out of range: %s', (call, message) => {
    expect(call).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT_RANGE', message }));
  });

  it.each([undefined, null, 7])(
    'refuses %s for options by a code of its own, not by a chance error',
    (options) => {
      for (const call of [candidateProbability.bind(null, 0.5), collisionProbability]) {
        const wrong = options as unknown as { bits: number; distance: number; sampledBits: number };
        expect(() => call(wrong)).toThrow(
          expect.objectContaining({
            name: 'TypeError',
            code: 'ERR_ARGUMENT_TYPE',
            message: expect.stringMatching(/\w+: expected/),
          }),
        );
      }
      expect(() => candidateProbability(0.5, 7 as unknown as { bits: number })).toThrow(/^options: expected/);
      expect(() => collisionProbability(7 as unknown as { bits: 1; distance: 1; sampledBits: 1 })).toThrow(
        /^options: expected/,
      );
    },
  );

  it('is p^bits to the last bit in one table', () => {
    for (let i = 1; i < 100; i++) expect(candidateProbability(i / 100, { bits: 7 })).toBe((i / 100) ** 7);
  });
});
