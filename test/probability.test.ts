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
});
