import { describe, expect, it } from 'vitest';
import { Arena, floats } from './arena.js';
import { normals } from './data.js';
import { encodePlainly, FACTOR_BYTES, NO_ROW } from './plans.js';

const arena = new Arena();
const DIMS = [16, 20, 24, 28, 64, 100, 128, 784];

/** The bit of a coordinate of a slot's code. */
function bitOf(block: Uint8Array, wide: boolean, slot: number, i: number): boolean {
  const group = Math.floor(i / 4);
  const pair = 2 * (slot % 8) + (Math.floor(slot / 8) % 2);
  const byte = wide
    ? block[32 * group + pair + (slot >= 16 ? 16 : 0)]
    : block[16 * group + pair] >> (slot < 16 ? 0 : 4);
  return ((byte >> (i % 4)) & 1) === 1;
}

describe.each([false, true])('encode, with one nibble a byte: %s', (wide) => {
  it.each(DIMS)('writes bits, factors and row of every slot in %i dimensions', (dims) => {
    arena.reset();
    const codeBytes = (wide ? 8 : 4) * dims;
    const rows = normals(32 * dims, dims);
    const centre = normals(dims, 1);
    rows.copyWithin(5 * dims, 0, dims); // slot 5 is slot 0 again
    rows.set(centre, 7 * dims); // no residual
    const rowsPtr = arena.input(rows);
    const centrePtr = arena.input(centre);
    const block = arena.output(codeBytes + FACTOR_BYTES);
    arena.run((kernels) => {
      kernels.clearBlock(block, codeBytes);
      for (let slot = 31; slot >= 0; slot--) {
        kernels.encode(
          rowsPtr + 4 * dims * slot,
          centrePtr,
          dims,
          block,
          slot,
          wide ? 1 : 0,
          1000 + slot,
          slot % 3,
        );
      }
    });
    const bytes = arena.bytes(block, codeBytes);
    const add = arena.floats(block + codeBytes, 32);
    const mul = arena.floats(block + codeBytes + 128, 32);
    const row = arena.words(block + codeBytes + 256, 32);
    for (let slot = 0; slot < 32; slot++) {
      const plain = encodePlainly(rows.subarray(slot * dims, (slot + 1) * dims), centre);
      for (let i = 0; i < dims; i++) {
        expect(bitOf(bytes, wide, slot, i), `slot ${slot}, coordinate ${i}`).toBe(plain.bits[i]);
      }
      expect(Math.abs(add[slot] - plain.add - (slot % 3))).toBeLessThanOrEqual(2e-6 * (plain.size + 3));
      expect(Math.abs(mul[slot] - plain.mul)).toBeLessThanOrEqual(-2e-6 * plain.mul);
      expect(row[slot]).toBe(1000 + slot);
    }
    if (wide) for (const byte of bytes) expect(byte).toBeLessThan(16);
  });

  it('gives a row that is its centre the bits of zero and no factors', () => {
    arena.reset();
    const centre = floats(20, 3);
    const ptr = arena.input(centre);
    const codeBytes = (wide ? 8 : 4) * 20;
    const block = arena.output(codeBytes + FACTOR_BYTES);
    arena.run((kernels) => {
      kernels.clearBlock(block, codeBytes);
      kernels.encode(ptr, ptr, 20, block, 9, wide ? 1 : 0, 4, 0.5);
    });
    const bytes = arena.bytes(block, codeBytes);
    for (let i = 0; i < 20; i++) expect(bitOf(bytes, wide, 9, i)).toBe(true);
    expect(arena.floats(block + codeBytes, 32)[9]).toBe(0.5);
    expect(Math.abs(arena.floats(block + codeBytes + 128, 32)[9])).toBe(0);
  });
});

describe('clearBlock', () => {
  it('makes every slot one that cannot survive', () => {
    arena.reset();
    const block = arena.output(80 + FACTOR_BYTES);
    arena.run((kernels) => kernels.clearBlock(block, 80));
    expect(arena.bytes(block, 80).every((byte) => byte === 0)).toBe(true);
    expect(arena.floats(block + 80, 32).every((add) => add === Infinity)).toBe(true);
    expect(arena.floats(block + 80 + 128, 32).every((mul) => mul === 0)).toBe(true);
    expect(arena.words(block + 80 + 256, 32).every((row) => row === NO_ROW)).toBe(true);
  });
});

describe('clearSlot', () => {
  it('empties one slot, for another row to be written, and leaves the others', () => {
    const dims = 28;
    const rows = normals(32 * dims, 5);
    const zeros = new Float32Array(dims);
    const write = (slots: Iterable<number>, clear: number[]): Uint8Array => {
      arena.reset();
      const rowsPtr = arena.input(rows);
      const centre = arena.input(zeros);
      const block = arena.output(4 * dims + FACTOR_BYTES);
      arena.run((kernels) => {
        kernels.clearBlock(block, 4 * dims);
        for (const slot of slots)
          kernels.encode(rowsPtr + 4 * dims * slot, centre, dims, block, slot, 0, slot, 0);
        for (const slot of clear) kernels.clearSlot(block, 4 * dims, slot);
      });
      return arena.bytes(block, 4 * dims + FACTOR_BYTES);
    };
    const all = Array.from({ length: 32 }, (_, slot) => slot);
    for (const gone of [[0], [15], [16], [31], [3, 19], all]) {
      const left = all.filter((slot) => !gone.includes(slot));
      expect(write(all, gone)).toEqual(write(left, []));
    }
  });
});
