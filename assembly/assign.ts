// Ranking cells: a rotated row → its nearest centres, by the centres' own sign codes and then exactly.

import { squaredL2, squaredL2Gathered } from './distance';
import { FACTOR_BYTES } from './encode';
import { get, Plan, putFloat } from './plan';
import { makeTable, scanCentres } from './scan';
import { arrange, narrow } from './select';

/** Cells up to which every centre is measured: below it, codes cost more than they save. */
const FEW: u32 = 48;

/**
 * The `want` cells whose centres are nearest to a rotated row, roughly nearest first, into Candidates, their squared
 * distances into CandidateKeys; returns how many. The row's look-up table must stand (makeTable).
 *
 * With groups, centres are coded against their group's centre and only the nearest groups are scanned.
 * Candidates for the exact measure: `want`, an eighth more, and `spare`.
 */
export function rankCells(plan: usize, rotated: usize, want: u32, spare: u32, groupSpare: u32): u32 {
  const cells = <u32>get(plan, Plan.Cells);
  const dims = <u32>get(plan, Plan.Dims);
  const keys = get(plan, Plan.CandidateKeys);
  const candidates = get(plan, Plan.Candidates);
  if (want > cells) want = cells;
  const take = want + (want >> 3) + spare;
  let count: u32 = 0;
  if (cells <= FEW || take >= cells) {
    for (; count < cells; count++) store<u32>(candidates + ((<usize>count) << 2), count);
  } else {
    const room: u32 = want == 1 ? 0 : take * 2 + 96;
    const blocks = get(plan, Plan.CentreBlocks);
    const blockBytes = ((<usize>dims) << 3) + FACTOR_BYTES;
    const groups = <u32>get(plan, Plan.Groups);
    const visit = groupSpare + (want >> 2);
    putFloat(plan, Plan.Worst, Infinity);
    if (groups) {
      // The groups' distances come first, by the same list; then their order is kept apart.
      for (let i: u32 = 0; i < groups; i++) store<u32>(candidates + ((<usize>i) << 2), i);
      squaredL2Gathered(rotated, get(plan, Plan.GroupCentres), candidates, groups, dims, keys);
      const visited = min(groups, visit);
      if (groups > 1) arrange(plan, keys, candidates, groups, visited);
      const nearest = get(plan, Plan.GroupOrder);
      memory.copy(nearest, keys, (<usize>visited) << 2);
      const order = nearest + ((<usize>groups) << 2);
      memory.copy(order, candidates, (<usize>visited) << 2);
      const starts = get(plan, Plan.GroupStarts);
      for (let i: usize = 0; i < <usize>visited; i++) {
        const group = starts + ((<usize>load<u32>(order + (i << 2))) << 2);
        const first = blocks + <usize>load<u32>(group) * blockBytes;
        const end = blocks + <usize>load<u32>(group, 4) * blockBytes;
        count = scanCentres(plan, first, end, load<f32>(nearest + (i << 2)), count, take, room);
      }
    } else {
      const end = blocks + <usize>((cells + 31) >> 5) * blockBytes;
      count = scanCentres(plan, blocks, end, 0, 0, take, room);
    }
    if (count > take) {
      narrow(plan, count, take);
      count = take;
    }
  }
  squaredL2Gathered(rotated, get(plan, Plan.Centres), candidates, count, dims, keys);
  if (want == 1) {
    let best: usize = 0;
    for (let i: usize = 4; i < (<usize>count) << 2; i += 4) if (load<f32>(keys + i) < load<f32>(keys + best)) best = i;
    store<u32>(candidates, load<u32>(candidates + best));
    store<f32>(keys, load<f32>(keys + best));
    return 1;
  }
  want = min(want, count);
  if (count > 1) arrange(plan, keys, candidates, count, want);
  return want;
}

/**
 * The nearest cell of each rotated row.
 *
 * rotated    f32 × count × dims   read
 * cells      u32 × count          written
 * distances  f32 × count          written: squared distance to that cell's centre
 */
export function assign(plan: usize, rotated: usize, count: u32, spare: u32, groupSpare: u32, cells: usize, distances: usize): void {
  const bytes = get(plan, Plan.Dims) << 2;
  const keys = get(plan, Plan.CandidateKeys);
  const candidates = get(plan, Plan.Candidates);
  for (let i: u32 = 0; i < count; i++) {
    makeTable(plan, rotated);
    rankCells(plan, rotated, 1, spare, groupSpare);
    store<u32>(cells, load<u32>(candidates));
    store<f32>(distances, load<f32>(keys));
    rotated += bytes;
    cells += 4;
    distances += 4;
  }
}

/**
 * Adds each row to its cell's sum and count.
 *
 * rotated  f32 × count × dims    read
 * cells    u32 × count           read
 * sums     f32 × … × dims        added to
 * counts   u32 × …               added to
 */
export function accumulate(rotated: usize, count: u32, dims: u32, cells: usize, sums: usize, counts: usize): void {
  const bytes = (<usize>dims) << 2;
  for (let i: u32 = 0; i < count; i++) {
    const cell = <usize>load<u32>(cells);
    const s = sums + cell * bytes;
    for (let k: usize = 0; k < bytes; k += 16) v128.store(s + k, f32x4.add(v128.load(s + k), v128.load(rotated + k)));
    const c = counts + (cell << 2);
    store<u32>(c, load<u32>(c) + 1);
    rotated += bytes;
    cells += 4;
  }
}

/**
 * centres[c] = sums[c] / counts[c], where counts[c] > 0; others stay.
 *
 * sums     f32 × cells × dims   read
 * counts   u32 × cells          read
 * centres  f32 × cells × dims   written
 */
export function moveCentres(sums: usize, counts: usize, cells: u32, dims: u32, centres: usize): void {
  const bytes = (<usize>dims) << 2;
  for (let c: u32 = 0; c < cells; c++) {
    const n = load<u32>(counts);
    if (n) {
      const divisor = f32x4.splat(<f32>n);
      for (let k: usize = 0; k < bytes; k += 16) v128.store(centres + k, f32x4.div(v128.load(sums + k), divisor));
    }
    sums += bytes;
    centres += bytes;
    counts += 4;
  }
}

/**
 * The nearest row of a table for each row, by measuring all of them; of equals the first.
 *
 * rotated    f32 × count × dims        read
 * table      f32 × tableCount × dims   read, tableCount >= 1
 * scratch    f32 × tableCount          overwritten
 * nearest    u32 × count               written
 */
export function assignExactly(
  rotated: usize,
  count: u32,
  dims: u32,
  table: usize,
  tableCount: u32,
  scratch: usize,
  nearest: usize,
): void {
  for (let i: u32 = 0; i < count; i++) {
    squaredL2(rotated, table, tableCount, dims, scratch);
    let best: u32 = 0;
    for (let j: u32 = 1; j < tableCount; j++) {
      if (load<f32>(scratch + ((<usize>j) << 2)) < load<f32>(scratch + ((<usize>best) << 2))) best = j;
    }
    store<u32>(nearest, best);
    rotated += (<usize>dims) << 2;
    nearest += 4;
  }
}
