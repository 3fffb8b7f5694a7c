import { describe, expect, it } from 'vitest';
import { COUNTS, expectSameBits, floats } from './arena.js';
import { normals } from './data.js';
import { layOutSpace, PlanArena } from './plans.js';
import * as reference from './reference.js';

const plan = new PlanArena(256);

describe('transform', () => {
  it.each([16, 20, 100, 784])('rotates rows of %i floats around their mean', (dims) => {
    for (const count of COUNTS) {
      plan.reset();
      const { mean, signs } = layOutSpace(plan, dims);
      const rows = floats(count * dims, count);
      const rowsPtr = plan.arena.inputAtEnd(rows);
      const out = plan.arena.output(4 * count * dims);
      plan.run((kernels, at) => kernels.transform(at, rowsPtr, count, out));
      for (let r = 0; r < count; r++) {
        const expected = reference.rotate(reference.rowOf(rows, r, dims), mean, signs, 3);
        expectSameBits(plan.arena.floats(out + 4 * r * dims, dims), expected, `row ${r} of ${count}`);
      }
    }
  });

  it.each([16, 20, 100, 260, 784, 4096])('multiplies rows of %i floats by a matrix, to 16 bits', (stride) => {
    const dims = 24;
    const planeFloats = 8 * Math.ceil(stride / 8);
    // Planes of length 1.
    const planes = normals(dims * stride, 1);
    for (let p = 0; p < dims; p++) {
      const plane = planes.subarray(p * stride, (p + 1) * stride);
      const length = Math.hypot(...plane);
      for (let i = 0; i < stride; i++) plane[i] /= length;
    }
    const mean = normals(dims, 2);
    for (const count of [0, 1, 2, 3, 4, 5, 9]) {
      for (const size of [1, 1e-6, 1e9]) {
        const matrix = new Int16Array(dims * planeFloats);
        for (let p = 0; p < dims; p++) {
          for (let i = 0; i < stride; i++)
            matrix[p * planeFloats + i] = Math.round(planes[p * stride + i] * 8192);
        }
        plan.reset();
        plan.set('Stride', stride);
        plan.set('Dims', dims);
        plan.set('Rounds', 0);
        plan.input('Mean', mean);
        plan.input('Matrix', new Uint8Array(matrix.buffer));
        plan.output('WideRow', 2 * 2 * planeFloats);
        const rows = normals(count * stride, count + 5).map((x) => x * size);
        if (count > 4) rows.fill(0, 2 * stride, 3 * stride);
        if (count > 4) rows.fill(0, 3 * stride, 4 * stride - 1); // one large coordinate
        const rowsPtr = plan.arena.inputAtEnd(rows);
        const out = plan.arena.output(4 * count * dims);
        plan.run((kernels, at) => kernels.transform(at, rowsPtr, count, out));
        const rotated = plan.arena.floats(out, count * dims);
        for (let r = 0; r < count; r++) {
          const row = reference.rowOf(rows, r, stride);
          const length = Math.hypot(...row);
          for (let p = 0; p < dims; p++) {
            let exact = -mean[p];
            for (let i = 0; i < stride; i++) exact += row[i] * planes[p * stride + i];
            // The docstring's 4e-5 of the row's length is what is usual; rounding all one way is sqrt(stride) / 2^14.
            const tolerance = 2e-4 * length + 1e-6 * Math.abs(mean[p]);
            expect(Math.abs(rotated[r * dims + p] - exact), `row ${r}, plane ${p}`).toBeLessThanOrEqual(
              tolerance,
            );
          }
        }
      }
    }
  });
});
