import { describe, expect, it } from 'vitest';
import { checksumOf } from '../src/snapshot.js';
import { Arena, uniform } from './arena.js';

/** CRC-32C bit by bit, as its definition has it. */
function plainChecksum(bytes: Uint8Array): number {
  let state = 0xffffffff;
  for (const byte of bytes) {
    state ^= byte;
    for (let bit = 0; bit < 8; bit++) state = (state >>> 1) ^ (state & 1 ? 0x82f63b78 : 0);
  }
  return ~state >>> 0;
}

function randomBytes(count: number, seed: number): Uint8Array {
  const next = uniform(seed);
  return Uint8Array.from({ length: count }, () => Math.floor(next() * 256));
}

const CHECK = new TextEncoder().encode('123456789');

describe('the checksum of bytes', () => {
  const arena = new Arena();
  const table = arena.output(16 * 256 * 4);
  arena.run((kernels) => kernels.fillChecksumTable(table));
  const ofMemory = (ptr: number, count: number, before = 0): number =>
    arena.run((kernels) => kernels.checksum(table, before, ptr, count)) >>> 0;

  it('is CRC-32C: that of the catalogs for "123456789", and those of RFC 3720', () => {
    const samples: [bytes: Uint8Array, sum: number][] = [
      [CHECK, 0xe3069283],
      [new Uint8Array(32), 0x8a9136aa],
      [new Uint8Array(32).fill(255), 0x62a8ab43],
      [Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
    ];
    for (const [bytes, sum] of samples) {
      expect(ofMemory(arena.input(bytes), bytes.length)).toBe(sum);
      expect(checksumOf(bytes)).toBe(sum);
    }
  });

  it('is the same by definition, by kernel and by array, at every length, address and cut', () => {
    for (const count of [0, 1, 3, 4, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 1000]) {
      const bytes = randomBytes(count, count);
      const expected = plainChecksum(bytes);
      expect(checksumOf(bytes)).toBe(expected);
      for (const shift of [0, 1, 7]) {
        const ptr = arena.input(bytes, shift);
        expect(ofMemory(ptr, count)).toBe(expected);
        for (const cut of [0, 1, 5, 16, count >> 1, count]) {
          if (cut > count) continue;
          expect(ofMemory(ptr + cut, count - cut, ofMemory(ptr, cut))).toBe(expected);
          expect(checksumOf(bytes.subarray(cut), checksumOf(bytes.subarray(0, cut)))).toBe(expected);
        }
      }
    }
  });

  it('reads nothing behind the bytes', () => {
    for (const count of [0, 1, 15, 16, 17, 33]) {
      const bytes = randomBytes(count, 7 + count);
      expect(ofMemory(arena.inputAtEnd(bytes), count)).toBe(plainChecksum(bytes));
    }
  });
});
