import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { notebook000 } from '../examples/notebook-000.js';
import { notebook001 } from '../examples/notebook-001.js';

interface Reference {
  ids: number[];
  distances: number[];
}

/** Both notebooks as NumPy runs them, in double precision. */
const reference = JSON.parse(readFileSync(new URL('./fixtures/notebooks.json', import.meta.url), 'utf8')) as {
  '000': { exact: Reference; bucket_sizes: Record<string, number> };
  '001': {
    exact: Reference;
    demonstration: { hyperplanes: number; buckets: number; average_bucket: number };
    tables: { key: number; bucket: number }[];
    candidates: number;
    approximate: Reference;
  };
};

function expectNeighbors(got: { ids: Uint32Array; distances: Float32Array }, expected: Reference): void {
  expect([...got.ids]).toEqual(expected.ids);
  expect(got.distances.length).toBe(expected.distances.length);
  expected.distances.forEach((distance, i) => {
    expect(Math.abs(got.distances[i] - distance), `neighbor ${i}`).toBeLessThan(1e-5);
  });
}

describe('notebook 000', () => {
  const expected = reference['000'];
  const replayed = notebook000();

  it('finds the five exact neighbors at the distances that NumPy prints', () => {
    expectNeighbors(replayed.exact, expected.exact);
  });

  it('fills the eight buckets as NumPy does, in the order of the notebook', () => {
    expect(replayed.buckets).toEqual(
      [5, 7, 2, 1, 6, 0, 4, 3].map((key) => ({ key, size: expected.bucket_sizes[key] })),
    );
  });
});

describe('notebook 001', () => {
  const expected = reference['001'];
  const replayed = notebook001();

  it('finds the five exact neighbors at the distances that NumPy prints', () => {
    expectNeighbors(replayed.exact, expected.exact);
  });

  it('fills 512 buckets with 19.53125 rows on average', () => {
    const { hyperplanes, buckets, average_bucket } = expected.demonstration;
    expect(replayed.demonstration).toEqual({ hyperplanes, buckets, averageBucket: average_bucket });
  });

  it('gives the query the key of NumPy in each of 24 tables, and each of its buckets the same size', () => {
    expect(replayed.tables).toEqual(expected.tables);
  });

  it('unites the buckets to 522 candidates', () => {
    expect(replayed.candidates).toBe(expected.candidates);
  });

  it('ranks the candidates to the five approximate neighbors that NumPy prints', () => {
    expectNeighbors(replayed.approximate, expected.approximate);
  });
});
