import { describe, expect, it } from 'vitest';
import { Arena, uniform } from './arena.js';
import { normals } from './data.js';

const NONE = 0xffffffff;
const FACTOR_BYTES = 384;
const arena = new Arena(64);

/** The slots of a run as plain numbers: code nibbles, add, mul and row. */
function slotsOf(run: number, dims: number, count: number): { nibbles: number[]; factors: number[] }[] {
  const u8 = new Uint8Array(arena.memory.buffer);
  const u32 = new Uint32Array(arena.memory.buffer);
  return Array.from({ length: count }, (_, i) => {
    const block = run + (i >> 5) * (dims * 4 + FACTOR_BYTES);
    const slot = i & 31;
    const byte = block + (slot & 7) * 2 + ((slot >> 3) & 1);
    const at = ((block + dims * 4) >>> 2) + slot;
    return {
      nibbles: Array.from({ length: dims / 4 }, (_, s) => (u8[byte + 16 * s] >> (slot < 16 ? 0 : 4)) & 15),
      factors: [u32[at], u32[at + 32], u32[at + 64]],
    };
  });
}

/** A run of blocks with `used` rows at the positions base, base + 1, …, of which some are removed again. */
function layOut(
  dims: number,
  used: number,
  blocks: number,
  gone: (i: number) => boolean,
  base: number,
): number {
  const bytes = dims * 4 + FACTOR_BYTES;
  const run = arena.output(blocks * bytes);
  const rows = arena.input(normals(Math.max(1, used) * dims, dims + used));
  const centre = arena.input(normals(dims, 9));
  arena.run((kernels) => {
    for (let block = 0; block < blocks; block++) kernels.clearBlock(run + block * bytes, dims * 4);
    for (let i = 0; i < used; i++) {
      kernels.encode(rows + i * dims * 4, centre, dims, run + (i >> 5) * bytes, i & 31, 0, base + i, 0);
    }
    for (let i = 0; i < used; i++) if (gone(i)) kernels.clearSlot(run + (i >> 5) * bytes, dims * 4, i & 31);
  });
  return run;
}

describe.each([16, 20, 100])('in blocks of %d dimensions', (dims) => {
  const empty = { nibbles: Array(dims / 4).fill(0), factors: [0x7f800000, 0, NONE] };

  it.each([0, 1, 15, 16, 17, 31, 32, 33, 64, 65, 130])('packRun keeps the live ones of %d rows', (used) => {
    const next = uniform(used + dims);
    for (const share of [0, 0.3, 0.9, 1]) {
      arena.reset();
      const removed = Array.from({ length: used }, () => next() < share);
      const blocks = Math.ceil(used / 32) + 1;
      const run = layOut(dims, used, blocks, (i) => removed[i], 7);
      const slots = arena.output(4 * (used + 8), new Uint32Array(used + 8).fill(1));
      const before = slotsOf(run, dims, 32 * blocks);
      const live = before.filter(({ factors }) => factors[2] !== NONE);
      const count = arena.run((kernels) => kernels.packRun(run, dims * 4, used, slots, 64));
      expect(count).toBe(live.length);
      const after = slotsOf(run, dims, 32 * blocks);
      for (const slot of after.slice(count)) expect(slot).toEqual(empty);
      const byRow = (a: { factors: number[] }, b: { factors: number[] }): number =>
        a.factors[2] - b.factors[2];
      expect(after.slice(0, count).sort(byRow)).toEqual(live.sort(byRow));
      // Only rows that moved are noted, each where it is now.
      const noted = new Uint32Array(arena.memory.buffer, slots, used + 8);
      const now = slotsOf(run, dims, 32 * blocks);
      now.slice(0, count).forEach(({ factors }, i) => {
        expect(noted[factors[2]]).toBe(factors[2] - 7 === i ? 1 : 64 + i);
      });
      const again = arena.run((kernels) => kernels.packRun(run, dims * 4, count, 0, 0));
      expect(again).toBe(count);
    }
  });

  it('noteSlots notes the rows from one slot to another, and passes over the empty ones', () => {
    arena.reset();
    const run = layOut(dims, 70, 3, (i) => i % 3 === 0, 5);
    const slots = arena.output(4 * 80, new Uint32Array(80).fill(NONE));
    arena.run((kernels) => kernels.noteSlots(run, dims * 4, 10, 66, slots, 320));
    const noted = new Uint32Array(arena.memory.buffer, slots, 80);
    noted.forEach((slot, row) => {
      const i = row - 5;
      expect(slot).toBe(i >= 10 && i < 66 && i % 3 !== 0 ? 320 + i : NONE);
    });
  });
});
