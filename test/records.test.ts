import { describe, expect, it } from 'vitest';
import { SnapshotError } from '../src/snapshot.js';
import { VectorIndex } from '../src/vector-index.js';
import { thrownBy } from './answers.js';
import { normals } from './data.js';
import { repair, sectionsOf } from './mutations.js';

/** Of docs/snapshot-format.md: norms of the records of the second stage. */
const REFINE_NORMS = 14;

describe('records of a second stage in a snapshot', () => {
  const rows = 40;
  const bytes = VectorIndex.from(normals(rows * 8, 51), { dimensions: 8, refine: true, tune: false }).save();

  it.each([
    ['first', 0],
    ['last', rows - 1],
  ])('are refused where the %s norm is no number to compute with', (_, row) => {
    const norms = sectionsOf(bytes).find(({ tag }) => tag === REFINE_NORMS);
    if (!norms) throw new Error('expected norms of records');
    expect(norms.bytes).toBe(rows * 4);
    const load = (norm: number): VectorIndex => {
      const forged = bytes.slice();
      new DataView(forged.buffer).setFloat32(norms.offset + 4 * row, norm, true);
      return VectorIndex.load(repair(forged));
    };
    for (const norm of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const error = thrownBy(() => load(norm));
      expect(error).toBeInstanceOf(SnapshotError);
      expect((error as SnapshotError).message).toContain('finite norms of records');
    }
    expect(load(3e38).size).toBe(rows);
  });
});
