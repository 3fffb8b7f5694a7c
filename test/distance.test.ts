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

const arena = new Arena();
const pairs = [
  { name: 'squaredL2', gathered: 'squaredL2Gathered', exact: reference.squaredL2 },
  { name: 'dot', gathered: 'dotGathered', exact: reference.dot },
] as const;

/** Rows of `dimensions` floats, padded to `stride`. */
function rowsOf(count: number, dimensions: number, stride: number, seed: number): Float32Array {
  return reference.padRows(floats(count * dimensions, seed), count, dimensions, stride);
}

function scores(
  exact: (row: Float32Array, query: Float32Array) => number,
  query: Float32Array,
  rows: Float32Array,
  ids: Iterable<number>,
): Float32Array {
  return Float32Array.from(ids, (id) => exact(reference.rowOf(rows, id, query.length), query));
}

describe.each(pairs)('$name', ({ name, gathered, exact }) => {
  it.each(DIMENSIONS)('gives the bits of the reference in %i dimensions at every count', (dimensions) => {
    const stride = strideOf(dimensions);
    for (const count of COUNTS) {
      arena.reset();
      const query = rowsOf(1, dimensions, stride, 1);
      const rows = rowsOf(count, dimensions, stride, 2 + count);
      const queryPtr = arena.input(query);
      const rowsPtr = arena.input(rows);
      const out = arena.output(4 * count);
      arena.run((kernels) => kernels[name](queryPtr, rowsPtr, count, stride, out));
      expectSameBits(
        arena.floats(out, count),
        scores(exact, query, rows, Array(count).keys()),
        `${count} rows of ${dimensions}`,
      );
    }
  });

  it.each(DIMENSIONS)('gives the same bits for gathered rows in %i dimensions', (dimensions) => {
    const stride = strideOf(dimensions);
    const rows = rowsOf(20, dimensions, stride, 3);
    const query = rowsOf(1, dimensions, stride, 4);
    for (const count of COUNTS) {
      arena.reset();
      const next = uniform(count);
      const ids = Uint32Array.from({ length: count }, () => Math.floor(next() * 20)); // some of them twice
      const queryPtr = arena.input(query);
      const rowsPtr = arena.input(rows);
      const idsPtr = arena.input(ids);
      const out = arena.output(4 * count);
      arena.run((kernels) => kernels[gathered](queryPtr, rowsPtr, idsPtr, count, stride, out));
      expectSameBits(
        arena.floats(out, count),
        scores(exact, query, rows, ids),
        `${count} ids of ${dimensions}`,
      );
    }
  });

  it('reads nothing behind the rows, the query, or the ids', () => {
    for (const count of COUNTS) {
      for (const stride of [4, 8, 12]) {
        const small = rowsOf(count, stride, stride, 5);
        const query = rowsOf(1, stride, stride, 6);
        const ids = differentIds(count, count, 7);
        for (const last of ['rows', 'query', 'ids']) {
          arena.reset();
          const queryPtr = last === 'query' ? arena.inputAtEnd(query) : arena.input(query);
          const rowsPtr = last === 'rows' ? arena.inputAtEnd(small) : arena.input(small);
          const idsPtr = last === 'ids' ? arena.inputAtEnd(ids) : arena.input(ids);
          const out = arena.output(4 * count);
          arena.run((kernels) => kernels[name](queryPtr, rowsPtr, count, stride, out));
          arena.run((kernels) => kernels[gathered](queryPtr, rowsPtr, idsPtr, count, stride, out));
        }
      }
    }
  });
});

describe('squaredNorms', () => {
  it.each(DIMENSIONS)(
    'gives each row the bits of its dot product with itself in %i dimensions',
    (dimensions) => {
      const stride = strideOf(dimensions);
      for (const count of COUNTS) {
        arena.reset();
        const rows = rowsOf(count, dimensions, stride, 8);
        const rowsPtr = arena.inputAtEnd(rows);
        const out = arena.output(4 * count);
        arena.run((kernels) => kernels.squaredNorms(rowsPtr, count, stride, out));
        const norms = Float32Array.from({ length: count }, (_, r) => {
          const row = reference.rowOf(rows, r, stride);
          return reference.dot(row, row);
        });
        expectSameBits(arena.floats(out, count), norms, `${count} rows of ${dimensions}`);
      }
    },
  );
});

describe('inverseLengths', () => {
  it('gives 1 / |row|, and names the first row that is too short to have a direction', () => {
    for (const count of COUNTS) {
      for (const short of [null, 0, 3, 10]) {
        arena.reset();
        const rows = floats(count * 8, 12);
        for (let r = 0; r < count; r++) rows[r * 8] ||= 1;
        if (short !== null && short < count) rows.fill(0, short * 8);
        const rowsPtr = arena.inputAtEnd(rows);
        const out = arena.output(4 * count);
        const first = arena.run((kernels) => kernels.inverseLengths(rowsPtr, count, 8, 2 ** -126, out));
        const lengths = Float32Array.from({ length: count }, (_, r) => {
          const row = reference.rowOf(rows, r, 8);
          return 1 / Math.fround(Math.sqrt(reference.dot(row, row)));
        });
        expect(first).toBe(short !== null && short < count ? short : count);
        expectSameBits(arena.floats(out, count), lengths, `${count} rows`);
      }
    }
  });
});

describe('firstUnfit', () => {
  it.each([NaN, -NaN, Infinity, -Infinity, 1.1e16, -3e38])('finds %d wherever it stands', (unfit) => {
    for (let count = 0; count <= 19; count++) {
      for (let at = 0; at <= count; at++) {
        arena.reset();
        const values = new Float32Array(count).fill(-1e16);
        values.fill(unfit, at, at + 1);
        if (at + 2 < count) values[at + 2] = NaN; // a later one does not matter
        const ptr = arena.inputAtEnd(values);
        expect(arena.run((kernels) => kernels.firstUnfit(ptr, count, 1e16))).toBe(at);
      }
    }
  });
});

describe('padRows', () => {
  it.each(DIMENSIONS)('copies rows of %i floats and fills the rest of each with zeros', (dimensions) => {
    for (const stride of [dimensions, strideOf(dimensions), strideOf(dimensions) + 8]) {
      for (const count of COUNTS) {
        arena.reset();
        const packed = floats(count * dimensions, 9);
        const packedPtr = arena.input(packed, 4); // any alignment of 4
        const rows = arena.output(4 * count * stride);
        arena.run((kernels) => kernels.padRows(packedPtr, count, dimensions, stride, rows));
        expectSameBits(
          arena.floats(rows, count * stride),
          reference.padRows(packed, count, dimensions, stride),
          `${count} rows of ${dimensions} at stride ${stride}`,
        );
      }
    }
  });
});

describe('the reference', () => {
  it('agrees with arithmetic in doubles', () => {
    const a = floats(100, 10).map((x) => (Math.abs(x) > 100 ? 1 : x));
    const b = floats(100, 11).map((x) => (Math.abs(x) > 100 ? 1 : x));
    const product = a.reduce((sum, x, i) => sum + x * b[i], 0);
    const distance = a.reduce((sum, x, i) => sum + (x - b[i]) ** 2, 0);
    expect(Math.abs(reference.dot(a, b) - product)).toBeLessThan(1e-3);
    expect(Math.abs(reference.squaredL2(a, b) / distance - 1)).toBeLessThan(1e-5);
  });
});
