import { describe, expect, it } from 'vitest';
import { uniform } from './arena.js';
import { normals } from './data.js';
import {
  type CellRows,
  encodePlainly,
  estimatePlainly,
  layOutCells,
  layOutCentres,
  layOutQuery,
  layOutSearch,
  layOutSpace,
  PlanArena,
} from './plans.js';
import * as reference from './reference.js';

const plan = new PlanArena(128);
/** Groups of four dimensions in every number modulo 4. */
const DIMS = [16, 20, 24, 28, 64, 100, 260];
/** Empty cells, part blocks, whole blocks, and more blocks than are scanned before the limit falls. */
const SIZES = [0, 1, 31, 32, 33, 64, 5, 600];

interface Scene {
  dims: number;
  cells: CellRows[];
  centres: Float32Array;
  query: Float32Array;
}

/** Rows around random centres, at positions in random order. */
function sceneOf(dims: number, sizes: readonly number[], seed: number, spread = 0.5): Scene {
  const centres = normals(sizes.length * dims, seed);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const next = uniform(seed);
  const positions = Uint32Array.from({ length: total }, (_, i) => i);
  for (let i = 0; i < total; i++) {
    const j = i + Math.floor(next() * (total - i));
    [positions[i], positions[j]] = [positions[j], positions[i]];
  }
  let at = 0;
  const cells = sizes.map((size, cell) => {
    const rotated = normals(size * dims, seed + 10 + cell).map(
      (x, i) => centres[cell * dims + (i % dims)] + spread * x,
    );
    at += size;
    return { rotated, positions: positions.slice(at - size, at) };
  });
  return { dims, cells, centres, query: normals(dims, seed + 5) };
}

/** Lays a scene out, prepares its query, and enters cells to be probed, in the given order. Returns the rotated query. */
function layOut(
  scene: Scene,
  order: readonly number[],
  k: number,
  epsilon: number,
  patience = 0,
): Float32Array {
  const { dims, cells, centres } = scene;
  plan.reset();
  layOutSpace(plan, dims);
  layOutQuery(plan, scene.query);
  layOutCentres(plan, centres);
  layOutCells(plan, cells);
  layOutSearch(plan, { k, probes: cells.length, epsilon, patience, capacity: 1024 });
  plan.run((kernels, at) => kernels.prepare(at));
  const rotated = plan.floats('Rotated', dims);
  const keys = order.map((cell) => reference.squaredL2(rotated, reference.rowOf(centres, cell, dims)));
  new Uint32Array(plan.arena.memory.buffer, plan.get('Candidates')).set(order);
  new Float32Array(plan.arena.memory.buffer, plan.get('CandidateKeys')).set(keys);
  return rotated;
}

/** The survivors that wait after a scan: lower bound by position. */
function survivors(): Map<number, number> {
  const count = plan.get('Pending');
  const rows = plan.words('SurvivorRows', count);
  const keys = plan.floats('SurvivorKeys', count);
  const found = new Map(Array.from(rows, (row, i) => [row, keys[i]]));
  expect(found.size).toBe(count); // none twice
  return found;
}

/** What the formula of encode.ts says of every row: by position its lower bound, and how far rounding may be off. */
function expectedBounds(
  scene: Scene,
  rotated: Float32Array,
  order: readonly number[],
  epsilon: number,
): Map<number, { bound: number; estimate: number; tolerance: number }> {
  const { dims } = scene;
  const scale = plan.getFloat('LutScale');
  const total = rotated.reduce((sum, x) => sum + Math.abs(x), 0);
  const expected = new Map<number, { bound: number; estimate: number; tolerance: number }>();
  for (const cell of order) {
    const centre = reference.rowOf(scene.centres, cell, dims);
    const g = reference.squaredL2(rotated, centre);
    const margin = 0.3 * epsilon * Math.sqrt(g);
    scene.cells[cell].positions.forEach((position, i) => {
      const code = encodePlainly(reference.rowOf(scene.cells[cell].rotated, i, dims), centre);
      // Each of the dims / 4 entries of the table is rounded to the nearest integer.
      const table = Math.abs(code.mul) * scale * (dims / 8);
      const rounding = 4e-6 * (code.size + g + Math.abs(code.mul) * (total + margin));
      expected.set(position, {
        bound: estimatePlainly(code, rotated, g, margin),
        estimate: estimatePlainly(code, rotated, g, 0),
        tolerance: table + rounding,
      });
    });
  }
  return expected;
}

describe('prepare', () => {
  it.each(DIMS)('writes the table of a query, rounded to 6 bits, in %i dimensions', (dims) => {
    for (const query of [normals(dims, 1), new Float32Array(dims), normals(dims, 2).map((x) => x * 1e12)]) {
      plan.reset();
      const { mean, signs } = layOutSpace(plan, dims);
      if (query[0] === 0) query.set(mean); // at the mean: a table of zeros
      layOutQuery(plan, query);
      plan.run((kernels, at) => kernels.prepare(at));
      const rotated = plan.floats('Rotated', dims);
      expect(rotated).toEqual(reference.rotate(query, mean, signs, 3));
      let most = 0;
      let negative = 0;
      let total = 0;
      for (let i = 0; i < dims; i += 4) {
        const group = [...rotated.subarray(i, i + 4)];
        most = Math.max(
          most,
          group.map(Math.abs).reduce((a, b) => a + b),
        );
        for (const x of group) {
          negative += Math.min(x, 0);
          total += x;
        }
      }
      const scale = plan.getFloat('LutScale');
      expect(Math.abs(scale - most / 63)).toBeLessThanOrEqual(1e-6 * most);
      expect(Math.abs(plan.getFloat('LutBias') - (negative - total / 2))).toBeLessThanOrEqual(
        1e-5 * most * dims,
      );
      const table = plan.arena.bytes(plan.get('Lut'), 4 * dims);
      for (let s = 0; s < dims / 4; s++) {
        for (let e = 0; e < 16; e++) {
          let entry = 0;
          for (let j = 0; j < 4; j++)
            entry += Math.max(0, (e >> j) & 1 ? rotated[4 * s + j] : -rotated[4 * s + j]);
          const wanted = scale > 0 ? entry / scale : 0;
          expect(Math.abs(table[16 * s + e] - wanted), `group ${s}, entry ${e}`).toBeLessThanOrEqual(0.5001);
          expect(table[16 * s + e]).toBeLessThanOrEqual(63);
        }
      }
    }
  });
});

describe('scanCells', () => {
  it.each(DIMS)(
    'gives every row the lower bound of its code, but for the rounding of the table, in %i dimensions',
    (dims) => {
      const scene = sceneOf(dims, SIZES, dims);
      const order = [7, 3, 0, 1, 2, 6, 5, 4];
      for (const epsilon of [0, 1.9]) {
        // With as many estimates wanted as there are rows, nothing is filtered.
        const rotated = layOut(scene, order, 800, epsilon);
        plan.run((kernels, at) => kernels.scanCells(at, order.length));
        const expected = expectedBounds(scene, rotated, order, epsilon);
        const found = survivors();
        expect(found.size).toBe(766);
        for (const [position, { bound, tolerance }] of expected) {
          const lower = found.get(position) ?? Number.NaN;
          expect(Math.abs(lower - bound), `position ${position}`).toBeLessThanOrEqual(tolerance);
        }
        expect(plan.get('CodesScanned')).toBe(766);
        expect(plan.get('CellsProbed')).toBe(8);
      }
    },
  );

  it.each(DIMS)(
    'keeps what may be among the k nearest, and no limit above the k-th estimate, in %i dimensions',
    (dims) => {
      const scene = sceneOf(dims, SIZES, dims + 1);
      const order = [4, 5, 7, 0, 1, 2, 3, 6];
      for (const k of [1, 2, 10, 63]) {
        for (const epsilon of [0, 2]) {
          const rotated = layOut(scene, order, k, epsilon);
          plan.run((kernels, at) => kernels.scanCells(at, order.length));
          const found = survivors();
          const expected = expectedBounds(scene, rotated, order, epsilon);
          const estimates = [...expected.values()].sort((a, b) => a.estimate - b.estimate);
          const most = Math.max(...estimates.map(({ tolerance }) => tolerance));
          const worst = plan.getFloat('Worst');
          expect(Math.abs(worst - estimates[k - 1].estimate)).toBeLessThanOrEqual(2 * most);
          for (const [position, { bound, tolerance }] of expected) {
            if (bound + tolerance < worst) expect(found.has(position), `position ${position}`).toBe(true);
          }
          expect(found.size).toBeGreaterThanOrEqual(k);
          expect(found.size).toBeLessThan(766);
          // The k smallest estimates stand as a heap with the largest on top.
          const heap = plan.floats('Estimates', k);
          expect(Math.max(...heap)).toBe(heap[0]);
          expect(heap[0]).toBe(worst);
        }
      }
    },
  );

  it('never lets an empty slot survive', () => {
    const dims = 20;
    const scene = sceneOf(dims, [3, 40, 0, 33], 9);
    for (const cell of scene.cells) cell.blocks = Math.ceil(cell.positions.length / 32) + 2; // room to grow
    for (const epsilon of [0, 3, Number.POSITIVE_INFINITY]) {
      layOut(scene, [0, 1, 2, 3], 100, epsilon);
      // All slots of all blocks are looked at, also where rows were taken out.
      const directory = new Uint32Array(plan.arena.memory.buffer, plan.get('Directory'), 16);
      for (let cell = 0; cell < 4; cell++) directory[4 * cell + 1] = 32 * directory[4 * cell + 2];
      const gone = [scene.cells[0].positions[1], scene.cells[1].positions[32], scene.cells[3].positions[0]];
      const blockBytes = 4 * dims + 384;
      plan.run((kernels, at) => {
        kernels.clearSlot(plan.get('Blocks'), 4 * dims, 1);
        kernels.clearSlot(plan.get('Blocks') + (directory[4] + 1) * blockBytes, 4 * dims, 0);
        kernels.clearSlot(plan.get('Blocks') + directory[12] * blockBytes, 4 * dims, 0);
        kernels.scanCells(at, 4);
      });
      const found = survivors();
      expect(found.size).toBe(73);
      for (const position of found.keys()) expect(position).toBeLessThan(76);
      for (const position of gone) expect(found.has(position)).toBe(false);
    }
  });

  it('with an infinite bound takes every row of the cells that it probes', () => {
    const scene = sceneOf(28, SIZES, 11);
    layOut(scene, [6, 4, 1], 1, Number.POSITIVE_INFINITY);
    plan.run((kernels, at) => kernels.scanCells(at, 2));
    const expected = [...scene.cells[6].positions, ...scene.cells[4].positions];
    expect([...survivors().keys()].sort((a, b) => a - b)).toEqual(expected.sort((a, b) => a - b));
    expect(plan.get('CellsProbed')).toBe(2);
    expect(plan.get('CodesScanned')).toBe(38);
  });

  it('stops after as many cells without a change as patience says, empty ones apart', () => {
    const scene = sceneOf(16, [40, 40, 40, 0, 40, 40, 40], 12, 0.01);
    // The query is in the first cell, and the others are far away.
    plan.reset();
    const { mean, signs } = layOutSpace(plan, 16);
    scene.query = mean.slice();
    scene.centres.set(reference.rotate(scene.query, mean, signs, 3), 0);
    scene.cells[0].rotated = normals(40 * 16, 3).map((x, i) => scene.centres[i % 16] + 0.01 * x);
    const order = [0, 1, 2, 3, 4, 5, 6];
    for (const [patience, probed] of [
      [0, 7],
      [1, 2],
      [2, 3],
      [3, 5],
      [5, 7],
      [9, 7],
    ]) {
      layOut(scene, order, 10, 2, patience);
      plan.run((kernels, at) => kernels.scanCells(at, 7));
      expect(plan.get('CellsProbed'), `patience ${patience}`).toBe(probed);
    }
  });

  it('lets the true distance fall below the bound about as rarely as the bound says', () => {
    const scene = sceneOf(100, [200, 200, 200], 13, 1);
    const order = [0, 1, 2];
    for (const [epsilon, least] of [
      [0, 0.4], // measured 0.5: an estimate without bias
      [1, 0.75],
      [2.6, 0.985],
    ]) {
      const rotated = layOut(scene, order, 600, epsilon);
      plan.run((kernels, at) => kernels.scanCells(at, 3));
      const found = survivors();
      let below = 0;
      for (const cell of scene.cells) {
        cell.positions.forEach((position, i) => {
          const truth = reference.squaredL2(rotated, reference.rowOf(cell.rotated, i, 100));
          if ((found.get(position) ?? 0) <= truth) below++;
        });
      }
      expect(below / 600).toBeGreaterThanOrEqual(least);
      if (epsilon === 0) expect(below / 600).toBeLessThan(0.6);
    }
  });
});
