import { describe, expect, it } from 'vitest';
import { VectorIndex } from '../src/index.js';
import { uniform } from './arena.js';

const GIB = 2 ** 30;

describe('an index that grows past 2 GiB and up to 4 GiB', () => {
  it('answers rightly at every size, and is refused beyond with the advice to split the rows', () => {
    const dimensions = 4096;
    const blockRows = 8192; // 128 MiB
    const next = uniform(1);
    const block = Float32Array.from({ length: blockRows * dimensions }, () => next() - 0.5);
    const index = new VectorIndex({ dimensions });
    /** Makes the block's rows those of block number `n`: the first coordinates tell them apart. */
    const number = (n: number): void => {
      for (let row = 0; row < blockRows; row++) {
        block[row * dimensions] = n;
        block[row * dimensions + 1] = row / blockRows;
      }
    };
    const rowOf = (n: number, row: number): Float32Array => {
      const vector = block.slice(row * dimensions, (row + 1) * dimensions);
      vector[0] = n;
      return vector;
    };
    let blocks = 0;
    let error: (RangeError & { code?: string; needed?: number; available?: number }) | undefined;
    while (!error) {
      number(blocks);
      try {
        expect(index.add(block)).toBe(blocks * blockRows);
        blocks++;
      } catch (caught) {
        error = caught as RangeError;
      }
    }
    expect(error).toMatchObject({ name: 'OutOfMemoryError', code: 'ERR_OUT_OF_MEMORY' });
    expect(error.message).toMatch(/split the rows over several indexes/);
    expect(error.needed).toBeGreaterThan(error.available as number);
    const { rows, total } = index.memoryUsage();
    expect(rows).toBeGreaterThan(2.9 * GIB); // measured: 3.0 GiB
    expect(total).toBeLessThanOrEqual(4 * GIB);
    expect(index.size).toBe(blocks * blockRows);

    // Rows of the lowest and of the highest addresses, by exact search and by way of the codes.
    const ids = [3, (blocks >> 1) * blockRows + 7, blocks * blockRows - 1];
    const places = ids.map((id) => [Math.floor(id / blockRows), id % blockRows] as const);
    const expectFound = (): void => {
      places.forEach(([n, row], i) => {
        const query = rowOf(n, row);
        expect(index.vector(ids[i])).toEqual(query);
        for (const way of [{ exact: true }, { probes: index.cells, epsilon: 8 }]) {
          const { ids: found, distances } = index.search(query, { k: 2, ...way });
          expect([found[0], distances[0]], JSON.stringify(way)).toEqual([ids[i], 0]);
        }
      });
    };
    expectFound();
    const last = ids[2];
    const explained = index.explain(rowOf(...places[2]), { k: 1, probes: 1, epsilon: 8, id: last });
    expect(explained.row).toMatchObject({ found: true, distance: 0 });

    // What is removed makes room, and changes at the high end are changes.
    index.remove(Uint32Array.from({ length: 3 * blockRows }, (_, i) => 4 * blockRows + i));
    index.compact();
    const moved = rowOf(77, 5);
    index.update(last, moved);
    expect(index.search(moved, { k: 1, exact: true })).toEqual({
      ids: Uint32Array.of(last),
      distances: Float32Array.of(0),
    });
    index.update(last, rowOf(...places[2]));
    number(99);
    const added = index.add(block.subarray(0, 64 * dimensions));
    expect(added).toBe(blocks * blockRows);
    expect(index.search(rowOf(99, 63), { k: 1, probes: 1, epsilon: 8 }).ids[0]).toBe(added + 63);
    index.build({ cells: 32, training: 'none', refine: false, principal: false, tune: false });
    expectFound();

    // Every byte of a snapshot is read from above 2 GiB too.
    let bytes = 0;
    for (const part of index.snapshotParts()) bytes += part.length;
    expect(bytes).toBeGreaterThan(2.4 * GIB);
  });
});
