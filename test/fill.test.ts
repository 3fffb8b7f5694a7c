import { describe, expect, it } from 'vitest';
import { Arena, COUNTS, DIMENSIONS, differentIds, expectSameBits, floats, strideOf } from './arena.js';
import { normals } from './data.js';
import { encodePlainly, FACTOR_BYTES, layOutSpace, PlanArena } from './plans.js';
import * as reference from './reference.js';

const arena = new Arena();
const plan = new PlanArena();

describe('permuteRows', () => {
  it.each([4, 16, 20, 100, 784])('puts rows of %i bytes into the order of the source', (rowBytes) => {
    for (const count of [...COUNTS, 100]) {
      for (const seed of [1, 2, 3]) {
        arena.reset();
        const rows = Uint8Array.from({ length: count * rowBytes }, (_, i) => i * 7 + (i >> 8) * 13);
        const source = differentIds(count, count, seed);
        if (seed === 2) source.sort(); // the identity
        const rowsPtr = arena.output(rows.byteLength, rows);
        const sourcePtr = arena.output(source.byteLength, source);
        const scratch = arena.output(rowBytes);
        const state = arena.output(8, new Uint8Array(8));
        const moves = [2 ** 31, 1, 7][seed - 1];
        do {
          arena.run((kernels) =>
            kernels.permuteRows(rowsPtr, rowBytes, count, sourcePtr, scratch, state, moves),
          );
        } while (arena.words(state, 1)[0] < count);
        const expected = new Uint8Array(rows.length);
        source.forEach((from, to) => {
          expected.set(rows.subarray(from * rowBytes, (from + 1) * rowBytes), to * rowBytes);
        });
        expectSameBits(arena.bytes(rowsPtr, rows.length), expected, `${count} rows`);
        const identity = Uint32Array.from({ length: count }, (_, i) => i);
        expectSameBits(arena.words(sourcePtr, count), identity, 'source afterwards');
      }
    }
  });
});

describe('scaleRows', () => {
  it.each(DIMENSIONS)('multiplies each row of %i floats by its scale', (dimensions) => {
    const stride = strideOf(dimensions);
    for (const count of COUNTS) {
      arena.reset();
      const rows = floats(count * stride, count);
      const scales = floats(count, 3);
      const rowsPtr = arena.output(rows.byteLength, rows);
      const scalesPtr = arena.input(scales);
      arena.run((kernels) => kernels.scaleRows(rowsPtr, scalesPtr, count, stride));
      const expected = rows.map((x, i) => Math.fround(x * scales[Math.floor(i / stride)]));
      expectSameBits(arena.floats(rowsPtr, rows.length), expected, `${count} rows`);
    }
  });
});

describe('extendRows', () => {
  it.each([1, 3, 4, 15, 16, 63, 100])(
    'brings rows of %i floats to one norm, and longer ones to none',
    (dimensions) => {
      const stride = strideOf(dimensions + 1);
      for (const count of COUNTS) {
        arena.reset();
        const rows = reference.padRows(normals(count * dimensions, count), count, dimensions, stride);
        const bound = dimensions;
        const rowsPtr = arena.output(rows.byteLength, rows);
        arena.run((kernels) => kernels.extendRows(rowsPtr, count, stride, dimensions, bound));
        const f = Math.fround;
        const expected = rows.slice();
        for (let r = 0; r < count; r++) {
          const row = reference.rowOf(rows, r, stride);
          expected[r * stride + dimensions] = f(Math.sqrt(Math.max(0, f(bound - reference.dot(row, row)))));
        }
        expectSameBits(arena.floats(rowsPtr, rows.length), expected, `${count} rows`);
      }
    },
  );
});

/** Rows in slots from `slot` on of a run of blocks; `bound` is the common norm of rows that are ranked by inner product. */
function fillSlots(
  rows: Float32Array,
  dims: number,
  slot: number,
  position: number,
  bound?: number,
): { blocks: Uint8Array; rotated: Float32Array[]; centre: Float32Array } {
  const count = rows.length / dims;
  const blockBytes = 4 * dims + FACTOR_BYTES;
  const held = Math.max(1, Math.ceil((slot + count) / 32));
  plan.reset();
  const { mean, signs } = layOutSpace(plan, dims);
  if (bound !== undefined) {
    plan.set('Dot', 1);
    plan.setFloat('NormBound', bound);
  }
  const centre = normals(dims, 8);
  const centrePtr = plan.arena.input(centre);
  const rowsPtr = plan.arena.inputAtEnd(rows);
  const blocks = plan.arena.output(held * blockBytes);
  const scratch = plan.arena.output(4 * 32 * dims);
  plan.run((kernels, at) => {
    for (let block = 0; block < held; block++) kernels.clearBlock(blocks + block * blockBytes, 4 * dims);
    kernels.fillSlots(at, rowsPtr, position, count, centrePtr, blocks, slot, scratch);
  });
  return {
    blocks: plan.arena.bytes(blocks, held * blockBytes),
    rotated: Array.from({ length: count }, (_, r) =>
      reference.rotate(reference.rowOf(rows, r, dims), mean, signs, 3),
    ),
    centre,
  };
}

describe('fillSlots', () => {
  it.each([16, 28, 100])('encodes rotated rows of %i floats into consecutive slots', (dims) => {
    for (const [count, slot] of [
      [0, 0],
      [1, 0],
      [1, 31],
      [2, 31],
      [31, 1],
      [32, 0],
      [33, 0],
      [64, 5],
      [70, 30],
    ]) {
      const rows = normals(count * dims, count);
      const { blocks, rotated, centre } = fillSlots(rows, dims, slot, 500);
      const blockBytes = 4 * dims + FACTOR_BYTES;
      const slots = (blocks.length / blockBytes) * 32;
      for (let s = 0; s < slots; s++) {
        const factors = Math.floor(s / 32) * blockBytes + 4 * dims + 4 * (s % 32);
        const view = new DataView(blocks.buffer, factors);
        if (s < slot || s >= slot + count) {
          expect(view.getFloat32(0, true)).toBe(Number.POSITIVE_INFINITY);
          expect(view.getUint32(256, true)).toBe(0xffffffff);
          continue;
        }
        const plain = encodePlainly(rotated[s - slot], centre);
        expect(Math.abs(view.getFloat32(0, true) - plain.add)).toBeLessThanOrEqual(2e-6 * plain.size);
        expect(Math.abs(view.getFloat32(128, true) - plain.mul)).toBeLessThanOrEqual(-2e-6 * plain.mul);
        expect(view.getUint32(256, true)).toBe(500 + s - slot);
      }
    }
  });

  it('takes the surplus of rows that are longer than the common norm off', () => {
    const dims = 16;
    const rows = normals(8 * dims, 4);
    for (let i = 4 * dims; i < rows.length; i++) rows[i] *= 5;
    const bound = 60;
    const plain = fillSlots(rows, dims, 0, 0).blocks;
    const { blocks } = fillSlots(rows, dims, 0, 0, bound);
    for (let slot = 0; slot < 8; slot++) {
      const row = reference.rowOf(rows, slot, dims);
      const surplus = Math.min(0, bound - reference.dot(row, row));
      const at = 4 * dims + 4 * slot;
      const add = new DataView(blocks.buffer).getFloat32(at, true);
      const without = new DataView(plain.buffer).getFloat32(at, true);
      expect(add - without).toBeCloseTo(surplus, 3);
      expect(surplus < 0).toBe(slot >= 4);
    }
  });
});

describe('encodeRows and fillEncoded', () => {
  it.each([16, 28, 100])('put the bytes of fillSlots into the slots of rows of %i floats', (dims) => {
    for (const [count, slot] of [
      [0, 0],
      [1, 31],
      [33, 0],
      [70, 30],
    ]) {
      for (const bound of [undefined, dims]) {
        const rows = normals(count * dims, count);
        const expected = fillSlots(rows, dims, slot, 500, bound);
        const blockBytes = 4 * dims + FACTOR_BYTES;
        const held = expected.blocks.length / blockBytes;
        const looseBytes = 4 * Math.ceil(dims / 16) + 8;
        // Encoded in another order, among rows of another cell.
        const places = differentIds(count, 2 * count, 3);
        const shuffled = normals(2 * count * dims, 9);
        places.forEach((place, i) => {
          shuffled.set(reference.rowOf(rows, i, dims), place * dims);
        });
        const cells = new Uint32Array(2 * count);
        for (const place of places) cells[place] = 1;
        plan.reset();
        layOutSpace(plan, dims);
        if (bound !== undefined) {
          plan.set('Dot', 1);
          plan.setFloat('NormBound', bound);
        }
        const centres = normals(2 * dims, 1);
        centres.set(expected.centre, dims);
        plan.input('Centres', centres);
        const rowsPtr = plan.arena.inputAtEnd(shuffled);
        const rotated = plan.arena.output(4 * dims * 2 * count);
        const cellsPtr = plan.arena.input(cells);
        const loose = plan.arena.output(looseBytes * 2 * count);
        const placesPtr = plan.arena.input(places);
        const blocks = plan.arena.output(expected.blocks.length);
        plan.run((kernels, at) => {
          for (let block = 0; block < held; block++)
            kernels.clearBlock(blocks + block * blockBytes, 4 * dims);
          kernels.transform(at, rowsPtr, 2 * count, rotated);
          kernels.encodeRows(at, rowsPtr, rotated, 2 * count, cellsPtr, loose);
          kernels.fillEncoded(at, loose, placesPtr, 500, count, blocks, slot);
        });
        expectSameBits(plan.arena.bytes(blocks, expected.blocks.length), expected.blocks, `${count} rows`);
      }
    }
  });
});

describe('fillRecords', () => {
  it.each([16, 28, 32, 36, 100, 128, 132])(
    'writes the 4-bit levels and norms of rotated rows of %i floats',
    (dims) => {
      const recordBytes = 16 * Math.ceil(dims / 32);
      const f = Math.fround;
      for (const count of [0, 1, 2, 31, 32, 33, 70]) {
        for (const bound of [undefined, dims]) {
          plan.reset();
          const { mean, signs } = layOutSpace(plan, dims);
          const step = f(0.31);
          plan.setFloat('RefineStep', step);
          if (bound !== undefined) {
            plan.set('Dot', 1);
            plan.setFloat('NormBound', bound);
          }
          const rows = normals(count * dims, count);
          const rowsPtr = plan.arena.inputAtEnd(rows);
          const records = plan.arena.output(count * recordBytes);
          const norms = plan.arena.output(4 * count);
          const scratch = plan.arena.output(4 * 32 * (dims + 1));
          plan.run((kernels, at) => kernels.fillRecords(at, rowsPtr, count, records, norms, scratch));
          const bytes = plan.arena.bytes(records, count * recordBytes);
          const gotNorms = plan.arena.floats(norms, count);
          const expected = new Uint16Array((count * recordBytes) / 2);
          const inverse = f(1 / step);
          for (let r = 0; r < count; r++) {
            const row = reference.rowOf(rows, r, dims);
            const rotated = reference.rotate(row, mean, signs, 3);
            let norm = 0;
            rotated.forEach((x, j) => {
              // Math.round would break ties upwards; there is none to break in these numbers.
              const level = Math.min(15, Math.max(0, Math.round(f(f(x * inverse) + 7.5))));
              norm += ((level - 7.5) * step) ** 2;
              const word = (r * recordBytes) / 2 + 8 * Math.floor(j / 32) + (j % 8);
              expected[word] |= level << (4 * (Math.floor(j / 8) % 4));
            });
            if (bound !== undefined) norm += Math.min(0, bound - reference.dot(row, row));
            expect(Math.abs(gotNorms[r] - norm)).toBeLessThanOrEqual(1e-5 * (norm + dims));
          }
          expectSameBits(bytes, new Uint8Array(expected.buffer), `${count} rows`);
        }
      }
    },
  );
});
