import { describe, expect, it } from 'vitest';
import {
  Arena,
  COUNTS,
  DIMENSIONS,
  differentIds,
  expectSameBits,
  floats,
  strideOf,
  uniform,
} from './arena.js';
import * as reference from './reference.js';

const arena = new Arena(64);
const METRICS = [
  { metric: 0, name: 'squared distance' },
  { metric: 1, name: '1 - cosine' },
  { metric: 2, name: 'minus the inner product' },
];
/** Rows that are scored before they are ranked (CHUNK in assembly/rank.ts). */
const CHUNK = 256;

interface Ranked {
  ids: Uint32Array;
  scores: Float32Array;
}

/** What a heap holds, nearest first. */
function drained(heap: number, size: number): Ranked {
  const ids = arena.output(4 * size);
  const scores = arena.output(4 * size);
  arena.run((kernels) => kernels.drain(heap, size, ids, scores));
  return { ids: arena.words(ids, size), scores: arena.floats(scores, size) };
}

function expectSameRanking(actual: Ranked, expected: Ranked, what: string): void {
  expectSameBits(actual.ids, expected.ids, `${what}: ids`);
  expectSameBits(actual.scores, expected.scores, `${what}: scores`);
}

function range(count: number, first = 0): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => first + i);
}

/** 1 / |row| of every row. */
function scalesOf(rows: Float32Array, stride: number): Float32Array {
  return Float32Array.from({ length: rows.length / stride }, (_, r) => {
    const row = reference.rowOf(rows, r, stride);
    return 1 / Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));
  });
}

/** Rows without one that is all zeros, which has no cosine. */
function rowsOf(count: number, dimensions: number, seed: number): Float32Array {
  const packed = floats(count * dimensions, seed);
  for (let r = 0; r < count; r++) packed[r * dimensions] ||= 0.5;
  return reference.padRows(packed, count, dimensions, strideOf(dimensions));
}

/** Scores with many ties: eight different values. */
function tiedScores(count: number, seed: number): Float32Array {
  const next = uniform(seed);
  return Float32Array.from({ length: count }, () => Math.floor(next() * 8) - 3);
}

describe('offer and drain', () => {
  it.each([1, 2, 3, 4, 7, 8, 9, 31, 100])('keep the nearest %i of any number of records, in order', (k) => {
    for (const count of [0, 1, 2, k - 1, k, k + 1, 3 * k + 5]) {
      arena.reset();
      const scores = tiedScores(count, k);
      const ids = differentIds(count, 2 * count, k);
      const heap = arena.output(8 * k);
      let size = 0;
      for (let i = 0; i < count; i++) {
        size = arena.run((kernels) => kernels.offer(heap, size, k, scores[i], ids[i]));
      }
      expect(size).toBe(Math.min(k, count));
      expectSameRanking(drained(heap, size), reference.rank(scores, ids, k), `${count} records`);
    }
  });
});

describe('rank', () => {
  it.each([1, 2, 3, 4, 5, 10, 100])(
    'keeps the nearest %i of listed and of numbered ids, ties by lower id',
    (k) => {
      for (const count of [...COUNTS, 37, 200]) {
        const scores = tiedScores(count, count);
        const listed = differentIds(count, count + 10, count);
        for (const ids of [listed, range(count, 7)]) {
          arena.reset();
          const scoresPtr = arena.input(scores);
          const idsPtr = ids === listed ? arena.input(ids) : 0;
          const heap = arena.output(8 * k);
          const size = arena.run((kernels) => kernels.rank(scoresPtr, idsPtr, 7, count, k, heap, 0));
          expect(size).toBe(Math.min(k, count));
          expectSameRanking(drained(heap, size), reference.rank(scores, ids, k), `${count} scores`);
        }
      }
    },
  );

  it('gives the same answer in one call and in two, wherever it is cut', () => {
    const scores = tiedScores(23, 1);
    const expected = reference.rank(scores, range(23), 9);
    for (let cut = 0; cut <= 23; cut++) {
      arena.reset();
      const [first, second] = [arena.input(scores.slice(0, cut)), arena.input(scores.slice(cut))];
      const heap = arena.output(8 * 9);
      let size = arena.run((kernels) => kernels.rank(first, 0, 0, cut, 9, heap, 0));
      size = arena.run((kernels) => kernels.rank(second, 0, cut, 23 - cut, 9, heap, size));
      expectSameRanking(drained(heap, size), expected, `cut at ${cut}`);
    }
  });

  it('takes the lowest ids when all scores are equal, in whatever order they come', () => {
    for (const value of [0, -2.5, Infinity]) {
      arena.reset();
      const ids = differentIds(50, 50, 2);
      const scoresPtr = arena.input(new Float32Array(50).fill(value));
      const idsPtr = arena.input(ids);
      const heap = arena.output(8 * 6);
      const size = arena.run((kernels) => kernels.rank(scoresPtr, idsPtr, 0, 50, 6, heap, 0));
      expect([...drained(heap, size).ids]).toEqual([0, 1, 2, 3, 4, 5]);
    }
  });

  it('ranks infinity behind every finite score and minus infinity before', () => {
    arena.reset();
    const scores = new Float32Array([Infinity, 3, Infinity, -Infinity, 2, Infinity, Infinity, 1, Infinity]);
    const scoresPtr = arena.input(scores);
    for (const k of [1, 4, 5, 6, 9, 12]) {
      const heap = arena.output(8 * k);
      const size = arena.run((kernels) => kernels.rank(scoresPtr, 0, 0, 9, k, heap, 0));
      expectSameRanking(drained(heap, size), reference.rank(scores, range(9), k), `k = ${k}`);
    }
  });

  it('counts zeros of both signs as equal', () => {
    arena.reset();
    const scoresPtr = arena.input(new Float32Array([0, -0, 0, -0]));
    const heap = arena.output(8 * 3);
    arena.run((kernels) => kernels.rank(scoresPtr, 0, 0, 4, 3, heap, 0));
    expect([...drained(heap, 3).ids]).toEqual([0, 1, 2]);
  });

  it('keeps ids of 2^31 and more, and sorts them as unsigned numbers', () => {
    arena.reset();
    const scoresPtr = arena.input(new Float32Array(6));
    const idsPtr = arena.input(new Uint32Array([2 ** 32 - 2, 5, 2 ** 31, 2 ** 31 - 1, 2 ** 32 - 1, 0]));
    const heap = arena.output(8 * 5);
    arena.run((kernels) => kernels.rank(scoresPtr, idsPtr, 0, 6, 5, heap, 0));
    expect([...drained(heap, 5).ids]).toEqual([0, 5, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 2]);
  });

  it('does nothing for k = 0', () => {
    arena.reset();
    const scoresPtr = arena.input(new Float32Array(6));
    const heap = arena.output(0);
    expect(arena.run((kernels) => kernels.rank(scoresPtr, 0, 0, 6, 0, heap, 0))).toBe(0);
  });

  it('reads no more than 12 bytes behind the scores, and none behind the ids', () => {
    for (const count of [...COUNTS, 12, 13]) {
      for (const k of [1, 2, 3, 5]) {
        arena.reset();
        // Falling scores: each one passes, so that every path is taken up to the last.
        const scores = Float32Array.from({ length: count }, (_, i) => -i);
        const scoresPtr = arena.inputAtEnd(scores, 12);
        const heap = arena.output(8 * k);
        arena.run((kernels) => kernels.rank(scoresPtr, 0, 0, count, k, heap, 0));
        const idsPtr = arena.inputAtEnd(range(count));
        const belowPtr = arena.input(scores);
        arena.run((kernels) => kernels.rank(belowPtr, idsPtr, 0, count, k, heap, 0));
      }
    }
  });
});

describe.each(METRICS)('rankRows and rankGathered by $name', ({ metric }) => {
  it.each(DIMENSIONS)('give the ranking of the reference in %i dimensions at every count', (dimensions) => {
    const stride = strideOf(dimensions);
    const most = dimensions < 100 ? 2 * CHUNK + 5 : 11;
    const rows = rowsOf(most, dimensions, 1);
    // Every fifth row once more, for ties.
    for (let r = 5; r < most; r += 5) rows.copyWithin(r * stride, 0, stride);
    const query = rowsOf(1, dimensions, 2);
    const scales = scalesOf(rows, stride);
    const [queryScale] = scalesOf(query, stride);
    const scores = Float32Array.from({ length: most }, (_, r) =>
      reference.score(metric, query, queryScale, reference.rowOf(rows, r, stride), scales[r]),
    );
    for (const count of dimensions < 100 ? [...COUNTS, CHUNK, CHUNK + 1, most] : COUNTS) {
      for (const k of [1, 5, count + 3]) {
        arena.reset();
        const queryPtr = arena.input(query);
        const rowsPtr = arena.input(rows);
        const scalesPtr = metric === 1 ? arena.input(scales) : 0;
        const ids = differentIds(count, most, count);
        const idsPtr = arena.input(ids);
        const scratch = arena.output(4 * 260);
        const heap = arena.output(8 * k);
        const what = `${count} rows, k = ${k}`;

        let size = arena.run((kernels) =>
          kernels.rankRows(
            metric,
            queryPtr,
            queryScale,
            rowsPtr,
            scalesPtr,
            9,
            count,
            stride,
            k,
            heap,
            0,
            scratch,
          ),
        );
        expectSameRanking(
          drained(heap, size),
          reference.rank(scores.subarray(0, count), range(count, 9), k),
          what,
        );

        size = arena.run((kernels) =>
          kernels.rankGathered(
            metric,
            queryPtr,
            queryScale,
            rowsPtr,
            scalesPtr,
            idsPtr,
            count,
            stride,
            k,
            heap,
            0,
            scratch,
          ),
        );
        const listed = Float32Array.from(ids, (id) => scores[id]);
        expectSameRanking(drained(heap, size), reference.rank(listed, ids, k), `gathered ${what}`);
      }
    }
  });

  it('use no more scratch than they say', () => {
    for (const count of [0, 1, 3, CHUNK - 1, CHUNK, CHUNK + 1]) {
      arena.reset();
      const rowsPtr = arena.input(rowsOf(count, 4, 3));
      const scalesPtr = arena.input(new Float32Array(count).fill(1));
      const queryPtr = arena.input(rowsOf(1, 4, 4));
      const idsPtr = arena.input(range(count));
      const heap = arena.output(8 * 3);
      const scratch = arena.inputAtEnd(new Float32Array(260));
      arena.run((kernels) => {
        kernels.rankRows(metric, queryPtr, 1, rowsPtr, scalesPtr, 0, count, 4, 3, heap, 0, scratch);
        kernels.rankGathered(metric, queryPtr, 1, rowsPtr, scalesPtr, idsPtr, count, 4, 3, heap, 0, scratch);
      });
    }
  });
});

describe('1 - cosine', () => {
  it('is never negative, also where rounding makes the cosine of parallel vectors more than 1', () => {
    let clamped = 0;
    for (let seed = 0; seed < 200; seed++) {
      arena.reset();
      const row = rowsOf(1, 12, seed);
      const scales = scalesOf(row, 12);
      if (1 - reference.dot(row, row) * scales[0] * scales[0] < 0) clamped++;
      const rowPtr = arena.input(row);
      const scalesPtr = arena.input(scales);
      const scratch = arena.output(4 * 260);
      const heap = arena.output(8);
      arena.run((kernels) =>
        kernels.rankRows(1, rowPtr, scales[0], rowPtr, scalesPtr, 0, 1, 12, 1, heap, 0, scratch),
      );
      expect(drained(heap, 1).scores[0]).toBeGreaterThanOrEqual(0);
    }
    expect(clamped).toBeGreaterThan(0);
  });
});

/** What rankBlock wants to know about rows and queries; the docstring in assembly/rank.ts derives the bound. */
function prepareBlock(
  metric: number,
  rows: Float32Array,
  queries: Float32Array,
  stride: number,
  gamma: number,
) {
  const tiny = 2 ** -120;
  const squaredNorm = (vectors: Float32Array, r: number): number => {
    const vector = reference.rowOf(vectors, r, stride);
    return reference.dot(vector, vector);
  };
  const count = rows.length / stride;
  const scales = scalesOf(rows, stride);
  const queryScales = scalesOf(queries, stride);
  const bases = new Float32Array(count);
  const factors = new Float32Array(count);
  for (let r = 0; r < count; r++) {
    const squared = squaredNorm(rows, r);
    bases[r] = [squared - gamma * (squared + tiny), -gamma, -gamma * (squared + tiny)][metric];
    factors[r] = [2, scales[r], 1][metric];
  }
  const padded = new Float32Array(16 * stride);
  padded.set(metric === 1 ? queries.map((x, i) => x * queryScales[Math.floor(i / stride)]) : queries);
  const packed = reference.packPlanes(padded, 16, stride, stride);
  const state = new Float32Array(16 * 4); // a size of 0 has the bits of the float 0
  for (let q = 0; q < queries.length / stride; q++) {
    const squared = squaredNorm(queries, q);
    const bound = gamma * (squared + tiny);
    state[q * 4] = [bound - squared, gamma - 1, bound][metric];
    state[q * 4 + 2] = queryScales[q];
  }
  return { bases, factors, scales, queryScales, packed, state };
}

/** Vectors by how they lie; some need the error bound, some make it useless, all must be ranked exactly. */
const SPREADS: Record<string, (vectors: Float32Array, dimensions: number, seed: number) => void> = {
  'of one size': () => {},
  'with duplicates': (vectors, dimensions) => {
    for (let i = dimensions * 7; i < vectors.length; i += dimensions * 3)
      vectors.copyWithin(i, 0, dimensions * 2);
  },
  'all equal': (vectors, dimensions) => {
    for (let i = dimensions; i < vectors.length; i++) vectors[i] = vectors[i - dimensions];
  },
  'far from the origin and close together': (vectors, dimensions, seed) => {
    const next = uniform(seed);
    for (let i = 0; i < vectors.length; i++) {
      vectors[i] = ((i % dimensions) + 1) * 1000 + Math.round(next() * 8) / 16;
    }
  },
  'of norms from 1e-15 to 1e16': (vectors, dimensions, seed) => {
    const next = uniform(seed);
    for (let i = 0; i < vectors.length; i += dimensions) {
      const scale = 10 ** Math.floor(next() * 31 - 15);
      for (let k = i; k < i + dimensions; k++) vectors[k] *= scale;
    }
  },
  'at the largest allowed value': (vectors, _dimensions, seed) => {
    const next = uniform(seed);
    for (let i = 0; i < vectors.length; i++) vectors[i] = next() < 0.5 ? -1e16 : 1e16;
  },
  'whose squares are denormal': (vectors, dimensions) => {
    for (let i = 0; i < vectors.length; i++) vectors[i] *= 2 ** -66;
    for (let i = 0; i < vectors.length; i += dimensions) vectors[i] = 2 ** -63; // the least length with a cosine
  },
};

describe('fillHeap', () => {
  it('fills a heap with places that any row takes, so that rank needs no start', () => {
    for (const k of [1, 2, 7, 100]) {
      arena.reset();
      const scores = tiedScores(30, k);
      const scoresPtr = arena.input(scores);
      const heap = arena.output(8 * k);
      arena.run((kernels) => kernels.fillHeap(heap, k));
      const empty = drained(heap, k);
      expect(empty.ids.every((id) => id === 0xffffffff)).toBe(true);
      expect(empty.scores.every((score) => score === Infinity)).toBe(true);
      arena.run((kernels) => kernels.rank(scoresPtr, 0, 0, 30, k, heap, k));
      const expected = reference.rank(scores, range(30), k);
      const found = Math.min(k, 30);
      const { ids, scores: ranked } = drained(heap, k);
      expectSameRanking({ ids: ids.slice(0, found), scores: ranked.slice(0, found) }, expected, `k = ${k}`);
    }
  });
});

describe.each(METRICS)('rankBlock by $name', ({ metric }) => {
  /** Compares rankBlock with rankRows, query by query; `cut` rows go in a first call. */
  function compare(
    rows: Float32Array,
    queries: Float32Array,
    stride: number,
    k: number,
    cut: number,
    what: string,
    gamma = 2 * (stride + 16) * 2 ** -24,
  ): void {
    arena.reset();
    const count = rows.length / stride;
    const queryCount = queries.length / stride;
    const { bases, factors, scales, queryScales, packed, state } = prepareBlock(
      metric,
      rows,
      queries,
      stride,
      gamma,
    );
    const rowsPtr = arena.input(rows);
    const queriesPtr = arena.input(queries);
    const basesPtr = arena.input(bases);
    const factorsPtr = arena.input(factors);
    const scalesPtr = metric === 1 ? arena.input(scales) : 0;
    const packedPtr = arena.input(packed);
    const statePtr = arena.output(16 * 16, state);
    const blockScratch = arena.output(4 * (16 + 16 * 64));
    const heaps = arena.output(queryCount * k * 8);
    const scratch = arena.output(4 * 260);
    const heap = arena.output(8 * k);
    for (const [from, to] of [
      [0, cut],
      [cut, count],
    ]) {
      arena.run((kernels) =>
        kernels.rankBlock(
          metric,
          rowsPtr + from * stride * 4,
          basesPtr + from * 4,
          factorsPtr + from * 4,
          scalesPtr + from * 4,
          5 + from,
          to - from,
          stride,
          queriesPtr,
          queryCount,
          packedPtr,
          statePtr,
          blockScratch,
          k,
          heaps,
        ),
      );
    }
    for (let q = 0; q < queryCount; q++) {
      const size = arena.words(statePtr + q * 16 + 4, 1)[0];
      const query = queriesPtr + q * stride * 4;
      const expected = arena.run((kernels) =>
        kernels.rankRows(
          metric,
          query,
          queryScales[q],
          rowsPtr,
          scalesPtr,
          5,
          count,
          stride,
          k,
          heap,
          0,
          scratch,
        ),
      );
      expect(size).toBe(expected);
      expectSameRanking(drained(heaps + q * k * 8, size), drained(heap, size), `${what}, query ${q}`);
    }
  }

  function vectorsOf(spread: string, count: number, dimensions: number, seed: number): Float32Array {
    const next = uniform(seed);
    const vectors = Float32Array.from({ length: count * dimensions }, () => next() - 0.5);
    SPREADS[spread](vectors, dimensions, seed);
    return reference.padRows(vectors, count, dimensions, strideOf(dimensions));
  }

  it.each(Object.keys(SPREADS))('gives each query what rankRows gives it: vectors %s', (spread) => {
    for (const dimensions of [1, 3, 16, 17, 100, 784]) {
      const count = dimensions < 100 ? 403 : 101;
      const rows = vectorsOf(spread, count, dimensions, dimensions);
      const stride = strideOf(dimensions);
      const queries = new Float32Array(16 * stride);
      queries.set(vectorsOf(spread, 12, dimensions, dimensions + 1));
      queries.set(rows.subarray(20 * stride, 24 * stride), 12 * stride); // four queries are rows themselves
      for (const k of [1, 10, 150]) {
        compare(rows, queries, stride, k, 37, `${count} rows of ${dimensions}, k = ${k}`);
      }
    }
  });

  it('gives each query what rankRows gives it where products underflow', () => {
    // Under cosine a vector this short has no direction: as short as one may be, then.
    const scale = metric === 1 ? 1e-18 : 1e-22;
    const shrunk = (count: number, seed: number): Float32Array =>
      vectorsOf('of one size', count, 20, seed).map((x) => x * scale);
    compare(shrunk(403, 1), shrunk(16, 2), 20, 10, 37, 'tiny vectors');
  });

  it('gives each query what rankRows gives it at every count and number of queries', () => {
    for (const dimensions of DIMENSIONS.slice(0, 8)) {
      const stride = strideOf(dimensions);
      for (const count of COUNTS) {
        for (let queryCount = 0; queryCount <= 16; queryCount += queryCount === 3 ? 4 : 1) {
          const rows = vectorsOf('with duplicates', count, dimensions, count);
          const queries = vectorsOf('of one size', queryCount, dimensions, queryCount + 1);
          compare(
            rows,
            queries,
            stride,
            3,
            count >> 1,
            `${count} rows of ${dimensions}, ${queryCount} queries`,
          );
        }
      }
    }
  });

  it('needs its error bound: without one it loses neighbors among vectors that lie close together', () => {
    const rows = vectorsOf('far from the origin and close together', 403, 100, 1);
    const queries = vectorsOf('far from the origin and close together', 8, 100, 2);
    expect(() => compare(rows, queries, 100, 10, 0, 'no bound', 0)).toThrow('no bound');
  });

  it('does nothing for k = 0', () => {
    compare(vectorsOf('of one size', 9, 4, 1), vectorsOf('of one size', 3, 4, 2), 4, 0, 4, 'k = 0');
  });
});
