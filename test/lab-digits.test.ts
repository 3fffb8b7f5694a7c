import { describe, expect, it } from 'vitest';
import { labDigits } from '../examples/lab-digits.js';

describe('the lab of the digits', () => {
  const { query, exact, cells, images } = labDigits(1);

  /** What the lab prints: np.sum(np.abs(data[a] - data[b])). */
  function distance(a: number, b: number): number {
    let sum = 0;
    for (let i = 0; i < 64; i++) sum += Math.abs(images[64 * a + i] - images[64 * b + i]);
    return sum;
  }

  const byDistance = (ids: Iterable<number>): number[] =>
    [...ids].sort((a, b) => distance(a, query) - distance(b, query) || a - b);

  it('searches with image 1,501 for the exact nearest of the first 1,500', () => {
    expect(query).toBe(1501);
    const [nearest] = byDistance(Array(1500).keys());
    expect(exact).toEqual({ id: nearest, distance: distance(nearest, query) });
  });

  it('gives for (20, 5), (20, 15), (40, 5), (40, 15) the first and the nearest candidate at their distances', () => {
    expect(cells.map(({ sampledBits, tables }) => [sampledBits, tables])).toEqual([
      [20, 5],
      [20, 15],
      [40, 5],
      [40, 15],
    ]);
    for (const { candidates, first, nearest } of cells) {
      if (candidates.length === 0) {
        expect([first, nearest]).toEqual([undefined, undefined]);
        continue;
      }
      const [id] = byDistance(candidates);
      expect(first).toEqual({ id: candidates[0], distance: distance(candidates[0], query) });
      expect(nearest).toEqual({ id, distance: distance(id, query) });
    }
  });

  it('finds more with more tables, and fewer candidates with more sampled bits', () => {
    const [few20, many20, few40, many40] = cells.map(({ overall }) => overall);
    // Measured: 99.6, 215.7, 5.6 and 12.0 candidates; the nearest for 0.76, 0.96, 0.26 and 0.50 of the images.
    expect(many20.candidates).toBeGreaterThan(few20.candidates);
    expect(many40.candidates).toBeGreaterThan(few40.candidates);
    expect(few20.candidates).toBeGreaterThan(5 * few40.candidates);
    expect(many20.nearestFound).toBeGreaterThan(0.94);
    expect(few20.nearestFound).toBeGreaterThan(0.75);
    expect(many40.nearestFound).toBeGreaterThan(0.49);
  });
});
