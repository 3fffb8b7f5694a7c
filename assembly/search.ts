// One whole engine query: rotate → choose cells → scan → refine → rank. All state is in the plan's regions.

import { dotGathered, squaredL2Gathered } from './distance';
import { FACTOR_BYTES } from './encode';
import { get, getFloat, Plan, put, putFloat } from './plan';
import { drain, fillHeap, isFarther, offerBounded, rank } from './rank';
import { rankCells } from './assign';
import { int8Scores, widenQuery } from './quantize';
import { refineSurvivors } from './refine';
import { transform } from './transform';
import { makeTable, scanCell } from './scan';

/** Spare candidates beyond an eighth when cells are ranked for a query, and groups visited beyond a quarter of `want`. */
export const SPARE: u32 = 6;
export const GROUP_SPARE: u32 = 8;

/** Rows that are scored before they are looked at. */
export const SCORED: u32 = 256;

/**
 * Exact scores, lower is nearer, of at most SCORED rows into Scores: those at the positions, or without them (0) the rows
 * behind the first position.
 *
 * positions  u32 × count   read, or 0
 */
export function scoreRows(plan: usize, first: u32, positions: usize, count: u32): void {
  const rows = get(plan, Plan.Rows) + <usize>first * get(plan, Plan.RowBytes);
  const query = get(plan, Plan.Query);
  const stride = <u32>get(plan, Plan.Stride);
  const scores = get(plan, Plan.Scores);
  if (get(plan, Plan.Int8)) {
    int8Scores(plan, rows, positions, count, scores);
  } else if (get(plan, Plan.Dot)) {
    dotGathered(query, rows, positions, count, stride, scores);
    for (let i: usize = 0; i < (<usize>count) << 2; i += 4) store<f32>(scores + i, -load<f32>(scores + i));
  } else {
    squaredL2Gathered(query, rows, positions, count, stride, scores);
  }
}

/**
 * Ranks the rows at `count` positions exactly into Heap.
 *
 * positions  u32 × count   read
 */
export function rankRowsAt(plan: usize, positions: usize, count: u32): void {
  const most = <u32>get(plan, Plan.MostRanked);
  const room = most - <u32>get(plan, Plan.RowsRanked);
  if (most && count > room) {
    count = room;
    put(plan, Plan.Capped, 1);
  }
  put(plan, Plan.RowsRanked, get(plan, Plan.RowsRanked) + count);
  const labels = get(plan, Plan.Labels);
  const heap = get(plan, Plan.Heap);
  const k = <u32>get(plan, Plan.K);
  const scores = get(plan, Plan.Scores);
  for (let left = count; left; ) {
    const n = min(SCORED, left);
    scoreRows(plan, 0, positions, n);
    for (let i: usize = 0; i < (<usize>n) << 2; i += 4) {
      const score = load<f32>(scores + i);
      if (score > load<f32>(heap)) continue;
      const id = load<u32>(labels + ((<usize>load<u32>(positions + i)) << 2));
      // A removed row's slot is empty, so it does not come here.
      if (isFarther(load<f32>(heap), load<u32>(heap, 4), score, id)) offerBounded(heap, k, score, id);
    }
    positions += (<usize>n) << 2;
    left -= n;
  }
}

/** Lets every row of the blocks [first, end) survive. */
function takeCell(plan: usize, first: usize, end: usize): u32 {
  const blockBytes = (get(plan, Plan.Dims) << 2) + FACTOR_BYTES;
  const rows = get(plan, Plan.SurvivorRows);
  const keys = get(plan, Plan.SurvivorKeys);
  let at = get(plan, Plan.Pending) << 2;
  for (let block = first; block < end; block += blockBytes) {
    const slots = block + blockBytes - 128;
    for (let i: usize = 0; i < 128; i += 4) {
      const row = load<u32>(slots + i);
      if (row == 0xffffffff) continue;
      store<u32>(rows + at, row);
      store<f32>(keys + at, 0);
      at += 4;
    }
  }
  put(plan, Plan.Pending, at >> 2);
  return 1;
}

/**
 * Hands the waiting survivors to the next stage. The list begins with the best that came out of the second stage so far
 * (KeptCount), whose keys are scores, not bounds; the survivors behind them leave it.
 */
export function settle(plan: usize, refine: bool): void {
  const kept = get(plan, Plan.KeptCount) << 2;
  const end = get(plan, Plan.Pending) << 2;
  const worst = getFloat(plan, Plan.Worst);
  put(plan, Plan.SurvivorCount, get(plan, Plan.SurvivorCount) + ((end - kept) >> 2));
  // Survivors of an early, loose limit are dropped before they cost a row. Not those at the limit itself: a bound may
  // equal the estimate that set it.
  const rows = get(plan, Plan.SurvivorRows);
  const keys = get(plan, Plan.SurvivorKeys);
  let live = kept;
  for (let at = kept; at < end; at += 4) {
    store<u32>(rows + live, load<u32>(rows + at));
    live += (<usize>(load<f32>(keys + at) <= worst)) << 2;
  }
  if (refine) {
    refineSurvivors(plan, <u32>(kept >> 2), <u32>((live - kept) >> 2));
    return;
  }
  put(plan, Plan.Pending, 0);
  rankRowsAt(plan, rows, <u32>(live >> 2));
}

// @ts-ignore: decorator
@inline
function isFiltered(plan: usize): bool {
  return getFloat(plan, Plan.Epsilon) < Infinity;
}

/** Stage 1: the Query into the coded space, and its look-up table. */
export function prepare(plan: usize): void {
  const rotated = get(plan, Plan.Rotated);
  transform(plan, get(plan, Plan.Query), 1, rotated);
  if (get(plan, Plan.Int8)) widenQuery(plan);
  makeTable(plan, rotated);
}

/** Stage 2: the nearest cells, at most Probes, into Candidates; returns how many. */
export function chooseCells(plan: usize): u32 {
  return rankCells(plan, get(plan, Plan.Rotated), <u32>get(plan, Plan.Probes), SPARE, GROUP_SPARE);
}

/** No survivors, no estimates, and nothing counted yet. */
export function startScan(plan: usize): void {
  put(plan, Plan.KeptCount, 0);
  const estimates = get(plan, Plan.Estimates);
  for (let p = estimates, end = p + (get(plan, Plan.EstimateCount) << 2); p < end; p += 4) store<f32>(p, Infinity);
  putFloat(plan, Plan.Worst, Infinity);
  put(plan, Plan.Pending, 0);
  put(plan, Plan.SurvivorCount, 0);
  put(plan, Plan.RowsRefined, 0);
  put(plan, Plan.RowsRanked, 0);
}

/**
 * Stage 3: scans the first `probes` of Candidates; survivors are left waiting or have gone on to the next stage. Signs of
 * CandidateKeys then tell of each cell whether it changed the k best estimates, for a tuner to see what patience would do.
 */
export function scanCells(plan: usize, probes: u32): void {
  const k = <u32>get(plan, Plan.K);
  const epsilon = getFloat(plan, Plan.Epsilon);
  const filtered = isFiltered(plan);
  const refine = filtered && get(plan, Plan.Refine) != 0;
  fillHeap(get(plan, Plan.Heap), k);
  startScan(plan);
  const blocks = get(plan, Plan.Blocks);
  const blockBytes = (get(plan, Plan.Dims) << 2) + FACTOR_BYTES;
  const directory = get(plan, Plan.Directory);
  const candidates = get(plan, Plan.Candidates);
  const distances = get(plan, Plan.CandidateKeys);
  const capacity = <u32>get(plan, Plan.SurvivorCapacity);
  const patience = <u32>get(plan, Plan.Patience);
  let idle: u32 = 0;
  let codes: u32 = 0;
  let probed: u32 = 0;
  while (probed < probes) {
    const key = distances + ((<usize>probed) << 2);
    const g = load<f32>(key);
    const entry = directory + ((<usize>load<u32>(candidates + ((<usize>probed) << 2))) << 4);
    probed++;
    const slots = load<u32>(entry, 4);
    if (!slots) continue;
    codes += slots;
    const margin: f32 = filtered ? <f32>0.3 * epsilon * sqrt<f32>(g) : 0;
    let first = blocks + <usize>load<u32>(entry) * blockBytes;
    let left = (slots + 31) >> 5;
    let changed: u32 = 0;
    // In runs that the list has room for, should every slot survive.
    while (left) {
      const room = (capacity - <u32>get(plan, Plan.Pending)) >> 5;
      if (!room) {
        settle(plan, refine);
        continue;
      }
      const run = min(left, room);
      const end = first + <usize>run * blockBytes;
      changed |= filtered ? scanCell(plan, first, end, g, margin) : takeCell(plan, first, end);
      first = end;
      left -= run;
    }
    store<u32>(key, load<u32>(key) | (changed << 31));
    if (!patience) continue;
    idle = changed ? 0 : idle + 1;
    if (idle >= patience) break;
  }
  put(plan, Plan.CellsProbed, probed);
  put(plan, Plan.CodesScanned, codes);
}

/** Stage 4: the waiting survivors into Heap, by way of the second stage where there is one. */
export function rankFound(plan: usize): void {
  const refine = isFiltered(plan) && get(plan, Plan.Refine) != 0;
  settle(plan, refine);
  if (!refine) return;
  // The best of the second stage are ranked by their rows.
  rankRowsAt(plan, get(plan, Plan.SurvivorRows), <u32>get(plan, Plan.KeptCount));
}

/**
 * One whole query: the plan's Query with the plan's settings (plan.ts). K records stand in Heap afterwards, to be
 * drained; where fewer rows were found, the rest have score infinity and id 2^32 - 1.
 */
export function search(plan: usize): void {
  prepare(plan);
  scanCells(plan, chooseCells(plan));
  rankFound(plan);
}

/**
 * Many whole queries with the same settings: one crossing of the border for all.
 *
 * queries  f32 × count × Stride   read, in the shape of the rows
 * ids      u32 × count × K        written
 * scores   f32 × count × K        written
 *
 * (Ordering the queries so that neighbors in space follow each other gained nothing, and two queries to a pass over a
 * block would share 3 of 12 instructions: the codes of a cell are in the cache either way.)
 */
export function searchMany(plan: usize, queries: usize, count: u32, ids: usize, scores: usize): void {
  const own = get(plan, Plan.Query);
  const k = <u32>get(plan, Plan.K);
  for (let i: u32 = 0; i < count; i++) {
    put(plan, Plan.Query, queries);
    search(plan);
    drain(get(plan, Plan.Heap), k, ids, scores);
    queries += get(plan, Plan.Stride) << 2;
    ids += (<usize>k) << 2;
    scores += (<usize>k) << 2;
  }
  put(plan, Plan.Query, own);
}

/** Puts removed rows behind all others: score infinity where the label is 2^32 - 1. Up to three more are overwritten. */
function hideRemoved(labels: usize, scores: usize, count: u32): void {
  const none = i32x4.splat(-1);
  const infinite = f32x4.splat(Infinity);
  for (let i: usize = 0, end = (<usize>count) << 2; i < end; i += 16) {
    const removed = i32x4.eq(v128.load(labels + i), none);
    v128.store(scores + i, v128.bitselect(infinite, v128.load(scores + i), removed));
  }
}

/**
 * Ranks the live rows at positions first … end - 1 exactly: the truth. Settings: K alone. K records stand in Heap
 * afterwards, as after `search`.
 */
export function searchExact(plan: usize, first: u32, end: u32): void {
  const labels = get(plan, Plan.Labels);
  const heap = get(plan, Plan.Heap);
  const scores = get(plan, Plan.Scores);
  const dead = <u32>get(plan, Plan.DeadCount);
  const k = <u32>get(plan, Plan.K);
  fillHeap(heap, k);
  if (get(plan, Plan.Int8)) widenQuery(plan);
  for (let i: u32 = first; i < end; i += SCORED) {
    const n = min(SCORED, end - i);
    scoreRows(plan, i, 0, n);
    if (dead) hideRemoved(labels + ((<usize>i) << 2), scores, n);
    rank(scores, labels + ((<usize>i) << 2), 0, n, k, heap, k);
  }
}
