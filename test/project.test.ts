import { describe, expect, it } from 'vitest';
import { Arena, COUNTS, DIMENSIONS, expectSameBits, floats, strideOf } from './arena.js';
import * as reference from './reference.js';

const arena = new Arena(64);
/** A part of a block of eight planes, a whole one, one more, and two and a part. */
const PLANE_COUNTS = [1, 7, 8, 9, 16, 21];

/** Rows of `dimensions` floats whose padding is not zero: only the dimensions may count. */
function rowsOf(count: number, stride: number, seed: number): Float32Array {
  return floats(count * stride, seed);
}

describe('packPlanes', () => {
  it.each(DIMENSIONS)(
    'interleaves planes of %i dimensions in blocks of eight, zeros where planes miss',
    (dimensions) => {
      for (const planeStride of [dimensions, strideOf(dimensions) + 4]) {
        for (const planeCount of [0, ...PLANE_COUNTS]) {
          arena.reset();
          const planes = floats(planeCount * planeStride, 1);
          const planesPtr = arena.input(planes);
          const expected = reference.packPlanes(planes, planeCount, planeStride, dimensions);
          const out = arena.output(expected.byteLength);
          arena.run((kernels) => kernels.packPlanes(planesPtr, planeCount, planeStride, dimensions, out));
          expectSameBits(
            arena.floats(out, expected.length),
            expected,
            `${planeCount} planes of ${dimensions}`,
          );
        }
      }
    },
  );
});

describe('margins and signBits', () => {
  it.each(DIMENSIONS)('give the bits of the reference in %i dimensions at every count', (dimensions) => {
    const stride = strideOf(dimensions);
    const planes = floats(24 * dimensions, 2);
    for (const planeCount of PLANE_COUNTS) {
      const packed = reference.packPlanes(planes, planeCount, dimensions, dimensions);
      const width = 8 * Math.ceil(planeCount / 8);
      for (const count of COUNTS) {
        arena.reset();
        const rows = rowsOf(count, stride, 3 + count);
        const rowsPtr = arena.input(rows);
        const packedPtr = arena.input(packed);
        const out = arena.output(4 * count * width);
        const signs = arena.output((count * width) / 8);
        arena.run((kernels) =>
          kernels.margins(rowsPtr, count, stride, dimensions, packedPtr, planeCount, out),
        );
        arena.run((kernels) =>
          kernels.signBits(rowsPtr, count, stride, dimensions, packedPtr, planeCount, signs),
        );
        const expected = reference.margins(rows, count, stride, dimensions, planes, planeCount, dimensions);
        const what = `${count} rows of ${dimensions}, ${planeCount} planes`;
        expectSameBits(arena.floats(out, expected.length), expected, what);
        expectSameBits(arena.bytes(signs, expected.length / 8), reference.signBits(expected), what);
      }
    }
  });

  it('read nothing behind the rows and the planes', () => {
    for (const count of COUNTS.slice(1)) {
      for (const last of ['rows', 'packed']) {
        arena.reset();
        const rows = rowsOf(count, 4, 4);
        const packed = floats(5 * 3 * 8, 5);
        const rowsPtr = last === 'rows' ? arena.inputAtEnd(rows) : arena.input(rows);
        const packedPtr = last === 'packed' ? arena.inputAtEnd(packed) : arena.input(packed);
        const out = arena.output(4 * count * 40);
        arena.run((kernels) => kernels.margins(rowsPtr, count, 4, 3, packedPtr, 40, out));
        arena.run((kernels) => kernels.signBits(rowsPtr, count, 4, 3, packedPtr, 40, out));
      }
    }
  });

  it('count a margin of exactly 0 as bit 1, also when it is made of negative zeros', () => {
    arena.reset();
    const rowsPtr = arena.input(new Float32Array([0, -0, 1, -1]));
    const packedPtr = arena.input(reference.packPlanes(new Float32Array([-1, 1, 1, 1, 1, 1, 1, 2]), 2, 4, 4));
    const out = arena.output(1);
    arena.run((kernels) => kernels.signBits(rowsPtr, 1, 4, 4, packedPtr, 2, out));
    expect(arena.bytes(out, 1)[0] & 0b11).toBe(0b01); // margins 0 and -1
  });

  it('give bit 0 to a margin that overflowed to infinity minus infinity', () => {
    arena.reset();
    const big = 3e38;
    const rowsPtr = arena.input(new Float32Array([big, big, 0, 0]));
    const packedPtr = arena.input(reference.packPlanes(new Float32Array([big, -big, 0, 0]), 1, 4, 4));
    const out = arena.output(1);
    arena.run((kernels) => kernels.signBits(rowsPtr, 1, 4, 4, packedPtr, 1, out));
    expect(arena.bytes(out, 1)[0] & 1).toBe(0);
  });
});

describe('keys', () => {
  const shapes = [
    { tables: 1, bits: 1 },
    { tables: 1, bits: 32 },
    { tables: 24, bits: 9 },
    { tables: 256, bits: 1 },
    { tables: 5, bits: 7 },
    { tables: 3, bits: 31 },
    { tables: 9, bits: 32 },
    { tables: 2, bits: 8 },
    { tables: 11, bits: 17 },
  ];
  it.each(shapes)('cuts $tables keys of $bits bits out of the sign bits of each row', ({ tables, bits }) => {
    const signBytes = Math.ceil((tables * bits) / 8);
    for (const count of COUNTS) {
      for (const keyStride of [count, count + 3]) {
        arena.reset();
        const signs = new Uint8Array(floats(count * signBytes, 6).map((x) => x * 1e4));
        const signsPtr = arena.inputAtEnd(signs, 8); // the docstring lets it read 8 bytes more
        const out = arena.output(4 * tables * keyStride);
        arena.run((kernels) => kernels.keys(signsPtr, count, signBytes, tables, bits, keyStride, out));
        for (let r = 0; r < count; r++) {
          const expected = reference.keys(signs.subarray(r * signBytes, (r + 1) * signBytes), tables, bits);
          const written = arena.words(out, tables * keyStride);
          const actual = expected.map((_, t) => written[t * keyStride + r]);
          expectSameBits(actual, expected, `row ${r} of ${count}`);
        }
        // Between the keys of two tables lie places of rows that are not there yet.
        const unused = arena.words(out, tables * keyStride).filter((_, i) => i % keyStride >= count);
        expect(unused.every((word) => word === 0xfefefefe)).toBe(true);
      }
    }
  });

  it('makes the keys that margins of 24 tables of 9 hyperplanes ask for', () => {
    arena.reset();
    const [dimensions, tables, bits] = [128, 24, 9];
    const rows = rowsOf(1, dimensions, 7);
    const planes = floats(tables * bits * dimensions, 8);
    const rowsPtr = arena.input(rows);
    const planesPtr = arena.input(planes);
    const packed = arena.output(planes.byteLength);
    const signs = arena.output(27 + 8);
    const out = arena.output(4 * tables);
    arena.run((kernels) => {
      kernels.packPlanes(planesPtr, tables * bits, dimensions, dimensions, packed);
      kernels.signBits(rowsPtr, 1, dimensions, dimensions, packed, tables * bits, signs);
      kernels.keys(signs, 1, 27, tables, bits, 1, out);
    });
    const expected = new Uint32Array(tables);
    for (let t = 0; t < tables; t++) {
      for (let i = 0; i < bits; i++) {
        const plane = reference.rowOf(planes, t * bits + i, dimensions);
        if (reference.margin(rows, plane, dimensions) >= 0) expected[t] += 2 ** i;
      }
    }
    expectSameBits(arena.words(out, tables), expected, 'keys');
  });
});
