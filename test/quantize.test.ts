import { describe, expect, it } from 'vitest';
import { Arena, COUNTS, DIMENSIONS, expectSameBits, floats, strideOf } from './arena.js';
import { normals } from './data.js';
import { layOutQuery, layOutSpace, PlanArena } from './plans.js';
import * as reference from './reference.js';

const arena = new Arena();
const plan = new PlanArena(128);
const codesOf = (stride: number): number => 16 * Math.ceil(stride / 16);

/** Quantizes rows; returns the records as bytes. */
function quantize(rows: Float32Array, count: number, stride: number, dimensions: number): Uint8Array {
  arena.reset();
  const bytes = count * (codesOf(stride) + 16);
  const rowsPtr = arena.inputAtEnd(rows);
  const records = arena.output(bytes);
  arena.run((kernels) => kernels.quantizeRows(rowsPtr, count, stride, dimensions, records));
  return arena.bytes(records, bytes);
}

function restore(records: Uint8Array, count: number, stride: number, dimensions: number): Float32Array {
  arena.reset();
  const recordsPtr = arena.inputAtEnd(records);
  const rows = arena.output(4 * count * stride);
  arena.run((kernels) => kernels.restoreRows(recordsPtr, count, stride, dimensions, rows));
  return arena.floats(rows, count * stride);
}

describe('quantizeRows and restoreRows', () => {
  it.each(DIMENSIONS)(
    'keep a row of %i floats to half a step, in a record of the stated shape',
    (dimensions) => {
      const stride = strideOf(dimensions);
      const codes = codesOf(stride);
      for (const count of COUNTS) {
        const rows = reference.padRows(floats(count * dimensions, count), count, dimensions, stride);
        const records = quantize(rows, count, stride, dimensions);
        const restored = restore(records, count, stride, dimensions);
        for (let r = 0; r < count; r++) {
          const row = reference.rowOf(rows, r, stride);
          const most = Math.max(...row.map(Math.abs));
          const view = new DataView(records.buffer, r * (codes + 16));
          const scale = view.getFloat32(codes, true);
          expect(scale).toBe(Math.fround(most / 127));
          let norm = 0;
          for (let i = 0; i < stride; i++) {
            const x = view.getInt8(i) * scale;
            norm += x * x;
            expect(restored[r * stride + i]).toBe(Math.fround(x));
            expect(Math.abs(x - row[i])).toBeLessThanOrEqual(0.50001 * scale + 1e-42);
          }
          for (let i = dimensions; i < codes; i++) expect(view.getInt8(i)).toBe(0);
          expect(Math.abs(view.getFloat32(codes + 4, true) - norm)).toBeLessThanOrEqual(1e-5 * norm + 1e-42);
        }
      }
    },
  );

  it('give the same record for a row that was restored', () => {
    const rows = normals(40 * 32, 3);
    const once = quantize(rows, 40, 32, 32);
    expectSameBits(quantize(restore(once, 40, 32, 32), 40, 32, 32), once, 'records');
  });

  it('keep the coordinate that extends a row as it is, however large', () => {
    const rows = reference.padRows(normals(5 * 18, 4), 5, 18, 20);
    const plain = restore(quantize(rows, 5, 20, 18), 5, 20, 18);
    for (let r = 0; r < 5; r++) rows[r * 20 + 18] = 1e6 + r;
    const restored = restore(quantize(rows, 5, 20, 18), 5, 20, 18);
    for (let r = 0; r < 5; r++) {
      expect(restored[r * 20 + 18]).toBe(1e6 + r);
      restored[r * 20 + 18] = 0;
    }
    expectSameBits(restored, plain, 'other coordinates');
  });

  it('keep rows of zeros', () => {
    expect(restore(quantize(new Float32Array(32), 2, 16, 16), 2, 16, 16)).toEqual(new Float32Array(32));
  });
});

describe('scores of int8 rows', () => {
  it.each([16, 20, 32, 100, 784, 4096])(
    'are those of the restored rows, by distance and by product, in %i dimensions',
    (dims) => {
      const count = 21;
      const rows = normals(count * dims, dims);
      const records = quantize(rows, count, dims, dims);
      const restored = restore(records, count, dims, dims);
      const queries = [
        normals(dims, 2),
        new Float32Array(dims),
        restored.slice(0, dims),
        normals(dims, 3).map((x) => x * 1e9),
      ];
      for (const byDot of [0, 1]) {
        for (const query of queries) {
          plan.reset();
          layOutSpace(plan, dims);
          plan.set('RowBytes', codesOf(dims) + 16);
          plan.set('Int8', 1);
          plan.set('Dot', byDot);
          plan.set('RowCount', count);
          plan.set('K', count);
          plan.input('Rows', records);
          plan.input(
            'Labels',
            Uint32Array.from({ length: count }, (_, i) => 900 - i),
          );
          layOutQuery(plan, query);
          const heap = plan.output('Heap', 8 * count);
          plan.run((kernels, at) => kernels.searchExact(at, 0, count));
          const scores = plan.arena.floats(heap, 2 * count).filter((_, i) => i % 2 === 0);
          const ids = plan.arena.words(heap, 2 * count).filter((_, i) => i % 2 === 1);
          expect(new Set(ids).size).toBe(count);
          // The query is rounded to 4,095ths of its largest coordinate.
          const unit = Math.max(...query.map(Math.abs)) / 4095;
          ids.forEach((id, i) => {
            const row = reference.rowOf(restored, 900 - id, dims);
            let exact = 0;
            let total = 0;
            let size = 0;
            for (let j = 0; j < dims; j++) {
              exact += byDot ? -row[j] * query[j] : (row[j] - query[j]) ** 2;
              total += Math.abs(row[j]);
              size += row[j] ** 2 + query[j] ** 2;
            }
            const tolerance = 1.01 * unit * total + 1e-5 * size;
            expect(Math.abs(scores[i] - exact), `id ${id}`).toBeLessThanOrEqual(tolerance);
            if (!byDot) expect(scores[i]).toBeGreaterThanOrEqual(0);
          });
        }
      }
    },
  );
});
