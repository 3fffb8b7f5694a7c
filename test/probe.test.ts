import { expect, it } from 'vitest';
import { Arena, expectSameBits, uniform } from './arena.js';

/** All keys of a table by ascending cost, in the plainest words: every set of bits is priced and the sets are sorted. */
function probePlainly(margins: Float32Array, probes: number): Uint32Array {
  const bits = margins.length;
  const order = Array.from(margins.keys()).sort((i, j) => margins[i] ** 2 - margins[j] ** 2 || i - j);
  const own = margins.reduce((key, margin, i) => key + (margin >= 0 ? 2 ** i : 0), 0);
  const sets = Array.from({ length: 2 ** bits }, (_, mask) => {
    let cost = 0;
    let key = own;
    order.forEach((bit, place) => {
      if (((mask >>> place) & 1) === 0) return;
      cost += margins[bit] ** 2;
      key = (key ^ (1 << bit)) >>> 0;
    });
    return { cost, mask, key };
  });
  sets.sort((a, b) => a.cost - b.cost || a.mask - b.mask);
  return Uint32Array.from(sets.slice(0, probes), ({ key }) => key);
}

const arena = new Arena();

function probe(margins: Float32Array, tables: number, bits: number, probes: number): Uint32Array {
  arena.reset();
  const ptr = arena.input(margins);
  const scratch = arena.output(384 + 24 * (probes + 1));
  const out = arena.output(4 * tables * probes);
  arena.run((kernels) => kernels.probeKeys(ptr, tables, bits, probes, scratch, out));
  return arena.words(out, tables * probes);
}

it('visits buckets by the sum of the squared margins of the bits that differ', () => {
  for (let bits = 1; bits <= 11; bits++) {
    const next = uniform(bits);
    const tables = 3;
    const margins = Float32Array.from({ length: tables * bits }, () => next() - 0.5);
    for (const probes of [1, 2, 3, 17, 2 ** bits].filter((count) => count <= 2 ** bits)) {
      const keys = probe(margins, tables, bits, probes);
      for (let t = 0; t < tables; t++) {
        const expected = probePlainly(margins.subarray(t * bits, (t + 1) * bits), probes);
        expectSameBits(keys.subarray(t * probes, (t + 1) * probes), expected, `table ${t}, ${bits} bits`);
      }
    }
  }
});

it('takes equal margins, zeros of both signs and very different ones in a fixed order', () => {
  for (const margins of [
    [1, 1, 1, -1, -1],
    [0, -0, 0, 0, 3],
    [1e-30, 1e18, -1e-30, 5, 1e18],
    [2, 3, 4, 5, 5],
  ]) {
    const values = Float32Array.from(margins);
    expectSameBits(probe(values, 1, 5, 32), probePlainly(values, 32), `${margins}`);
  }
});

it('visits different buckets, of any 32 bits', () => {
  const next = uniform(1);
  const margins = Float32Array.from({ length: 64 }, () => next() - 0.5);
  const keys = probe(margins, 2, 32, 5000);
  expect(new Set(keys.subarray(0, 5000)).size).toBe(5000);
  expect(new Set(keys.subarray(5000)).size).toBe(5000);
});
