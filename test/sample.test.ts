import { describe, expect, it } from 'vitest';
import { Arena, expectSameBits, uniform } from './arena.js';
import * as reference from './reference.js';

const arena = new Arena(64);
/** Every remainder of the turn over sixteen codes, and two full turns. */
const COUNTS = [0, 1, 2, 15, 16, 17, 31, 32, 33];
const WIDTHS = [8, 16, 64, 72, 1024, 65536];

function bytesOf(count: number, seed: number): Uint8Array {
  const next = uniform(seed);
  return Uint8Array.from({ length: count }, () => next() * 256);
}

describe('padCodes', () => {
  it.each(WIDTHS)('spreads codes of %i bits over whole words', (bits) => {
    const bytes = bits / 8;
    const words = Math.ceil(bytes / 8);
    for (const count of [0, 1, 2, 5]) {
      arena.reset();
      const packed = bytesOf(count * bytes, bits);
      const from = arena.inputAtEnd(packed);
      const to = arena.output(count * words * 8);
      arena.run((kernels) => kernels.padCodes(from, count, bytes, words, to));
      const expected = reference.padCodes(packed, bytes, words);
      expectSameBits(arena.bytes(to, count * words * 8), expected, `${count} codes`);
    }
  });
});

describe('sampleKeys', () => {
  it.each(WIDTHS)('makes keys of sampled bits of codes of %i bits', (bits) => {
    const words = Math.ceil(bits / 64);
    for (const count of bits > 1024 ? [1, 17] : COUNTS) {
      for (const sampledBits of [1, 2, 7, 8, 9, 20, 31, 32, 33, 64, 65, 100]) {
        arena.reset();
        const tables = 3;
        const keyStride = count + 5;
        const codes = bytesOf(count * words * 8, sampledBits);
        const next = uniform(bits + count);
        const positions = Uint32Array.from({ length: tables * sampledBits }, () => next() * bits);
        const codesPtr = arena.inputAtEnd(codes);
        const positionsPtr = arena.input(positions);
        const scratch = arena.output(128 + 128 * words);
        const spare = new Uint32Array(tables * keyStride);
        const out = arena.output(spare.byteLength, spare);
        arena.run((kernels) =>
          kernels.sampleKeys(
            codesPtr,
            count,
            words,
            positionsPtr,
            tables,
            sampledBits,
            scratch,
            keyStride,
            out,
          ),
        );
        const expected = spare.slice();
        for (let r = 0; r < count; r++) {
          const code = codes.subarray(8 * words * r, 8 * words * (r + 1));
          reference.sampledKeys(code, positions, tables).forEach((key, t) => {
            expected[t * keyStride + r] = key;
          });
        }
        expectSameBits(arena.words(out, spare.length), expected, `${count} codes, ${sampledBits} bits`);
      }
    }
  });

  it('hashes 65,536 sampled bits', () => {
    arena.reset();
    const codes = bytesOf(16 * 2, 1);
    const next = uniform(2);
    const positions = Uint32Array.from({ length: 65536 }, () => next() * 128);
    const codesPtr = arena.input(codes);
    const positionsPtr = arena.input(positions);
    const scratch = arena.output(128 + 256);
    const out = arena.output(8);
    arena.run((kernels) => kernels.sampleKeys(codesPtr, 2, 2, positionsPtr, 1, 65536, scratch, 2, out));
    const expected = [0, 1].map(
      (r) => reference.sampledKeys(codes.subarray(16 * r, 16 * r + 16), positions, 1)[0],
    );
    expect([...arena.words(out, 2)]).toEqual(expected);
  });
});
