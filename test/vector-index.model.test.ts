import { describe, expect, it } from 'vitest';
import { VectorIndex } from '../src/vector-index.js';
import { concat, EXACT_WAYS, expectNearest, expectSound, METRICS } from './answers.js';
import { uniform } from './arena.js';
import { clumpedRows, normals, rowAt } from './data.js';

describe('a model of the index', () => {
  it.each([...METRICS.map((metric) => [metric, 'f32'] as const), ['euclidean', 'int8'] as const])(
    'a plain array, gives the same after any sequence of calls by %s in %s rows',
    (metric, storage) => {
      for (let seed = 0; seed < 6; seed++) {
        const next = uniform(1000 + seed);
        const pick = (n: number): number => Math.floor(next() * n);
        const dimensions = [1, 2, 7, 16, 30][pick(5)];
        const index = new VectorIndex({ dimensions, metric, storage, seed });
        let model: Float32Array = new Float32Array(0);
        for (let step = 0; step < 25; step++) {
          const rows = model.length / dimensions;
          const action = pick(6);
          if (action <= 1 || rows === 0) {
            const added = clumpedRows(
              1 + pick([3, 40, 400][pick(3)]),
              dimensions,
              1 + pick(8),
              0.4,
              seed * 100 + step,
            );
            if (pick(4) === 0 && rows > 0) added.set(model.subarray(0, Math.min(dimensions, added.length))); // a duplicate
            for (let i = 0; i < added.length; i += dimensions) added[i] += 0.01; // no zero vector
            expect(index.add(added)).toBe(rows);
            model = concat(model, added);
          } else if (action === 2) {
            const cells = [undefined, 1, 1 + pick(60)][pick(3)];
            index.build({
              cells,
              refine: pick(2) === 0,
              tune: pick(2) === 0,
              training: pick(2) ? 'lloyd' : 'none',
            });
          } else if (action === 3) {
            index.tune({ recall: [0.7, 0.9, 0.97][pick(3)], k: 1 + pick(12), sample: 20 });
          }
          const size = model.length / dimensions;
          expect(index.size).toBe(size);
          const query = normals(dimensions, seed * 1000 + step).map((x) => x + 0.05);
          const k = 1 + pick([3, 15, size + 3][pick(3)]);
          const found = index.search(query, { k, recall: [0, 0.8, 0.95][pick(3)] });
          const all = index.search(query, { k, probes: 1 + pick(70), epsilon: 8 });
          const exactly = index.search(query, { k, ...EXACT_WAYS[pick(3)] });
          expect(exactly.ids.length).toBe(Math.min(k, size));
          if (storage === 'f32') {
            expectNearest(exactly, model, query, k, metric);
            expectSound(found, model, query, metric);
            expectSound(all, model, query, metric);
          }
          const id = pick(size);
          const row = index.vector(id);
          const scale = Math.max(...rowAt(model, id, dimensions).map(Math.abs));
          const tolerance = storage === 'int8' ? 0.51 / 127 : 1e-6;
          row.forEach((x, i) => {
            expect(Math.abs(x - model[id * dimensions + i])).toBeLessThanOrEqual(tolerance * scale);
          });
        }
      }
    },
  );
});
