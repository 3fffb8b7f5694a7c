// Searches among the rows that pass a filter, and for all rows within a distance. Two ways each: through the cells and
// codes, with the filter inside the scan; or by exact scores of the rows that pass and of no others.
//
// Cells are visited as far as the reach: with the nearest centre at squared distance g1 and the distance D that counts
// (of the k-th passing estimate so far, or the range), a cell at g is left out where
//     g > g1 + D · slope(D)
// The slope is measured on the index's own rows (src/reach.ts). It follows the neighbors outwards where a filter takes the
// near ones away, which no fixed number of cells would.

import { rankCells } from './assign';
import { dot } from './distance';
import { FACTOR_BYTES } from './encode';
import { outside } from './fill';
import { get, getFloat, Plan, put, putFloat } from './plan';
import { widenQuery } from './quantize';
import { drain, fillHeap, offer } from './rank';
import { BATCH, scanBlocks } from './scan';
import { GROUP_SPARE, prepare, rankRowsAt, SCORED, scoreRows, settle, SPARE, startScan } from './search';

const NO_ROW: u32 = 0xffffffff;
/** Rows that are ranked together at most. */
const LIST: u32 = SCORED;
/** Survivors that wait, once there is a limit, before they are ranked and it falls. */
const RANKED: u32 = 16;

/** How many ids the filter lets through, removed ones included. */
export function countPassing(plan: usize): u32 {
  let count: u32 = 0;
  const filter = get(plan, Plan.Filter);
  for (let p = filter, end = filter + get(plan, Plan.FilterBytes); p < end; p += 4) count += popcnt<u32>(load<u32>(p));
  return count;
}

/** 1 if the row at a position passes. */
// @ts-ignore: decorator
@inline
function passes(filter: usize, labels: usize, position: u32): u32 {
  const id = load<u32>(labels + ((<usize>position) << 2));
  return ((<u32>load<u8>(filter + <usize>(id >> 3))) >> (id & 7)) & 1;
}

/**
 * As scanCell (scan.ts), but slots whose row does not pass are no survivors, and Worst stays: it is a true distance. (The
 * k-th smallest estimate, which serves an unfiltered search, is far too small where a filter leaves thousands of rows at
 * nearly the same distance, of which the estimates with the luckiest errors win: recall 0.1.)
 */
function scanPassing(plan: usize, first: usize, end: usize, g: f32, margin: f32): void {
  const blockBytes = (get(plan, Plan.Dims) << 2) + FACTOR_BYTES;
  const bias = getFloat(plan, Plan.LutBias) + margin;
  const filter = get(plan, Plan.Filter);
  const labels = get(plan, Plan.Labels);
  let keys = get(plan, Plan.SurvivorKeys) + (get(plan, Plan.Pending) << 2);
  let rows = get(plan, Plan.SurvivorRows) + (get(plan, Plan.Pending) << 2);
  const limit: f32 = getFloat(plan, Plan.Worst) - g;
  let looked: u32 = 0;
  let passed: u32 = 0;
  while (first < end) {
    const stop = min(end, first + <usize>BATCH * blockBytes);
    let n = scanBlocks(plan, first, stop, limit, bias, g, margin, keys, rows);
    first = stop;
    if (filter) {
      looked += n;
      let live: usize = 0;
      for (let at: usize = 0, last = (<usize>n) << 2; at < last; at += 4) {
        const row = load<u32>(rows + at);
        store<u32>(rows + live, row);
        store<f32>(keys + live, load<f32>(keys + at));
        live += (<usize>passes(filter, labels, row)) << 2;
      }
      n = <u32>(live >> 2);
    }
    passed += n;
    keys += (<usize>n) << 2;
    rows += (<usize>n) << 2;
  }
  put(plan, Plan.Pending, (rows - get(plan, Plan.SurvivorRows)) >> 2);
  const budget = getFloat(plan, Plan.Budget);
  const spent = getFloat(plan, Plan.LookCost) * <f32>looked + getFloat(plan, Plan.RowCost) * <f32>passed;
  putFloat(plan, Plan.Budget, budget - spent);
}

/**
 * What turns a score (by inner product twice the score) into a limit of the codes' estimates: the norms that inner products
 * lack; and the query's energy outside the planes. (A code lacks that and the product of both shares outside: of a row near
 * the query twice as much, with the other sign.)
 */
function surplus(plan: usize): f32 {
  const query = get(plan, Plan.Query);
  let norms: f32 = 0;
  if (get(plan, Plan.Dot)) {
    dot(query, query, 1, <u32>get(plan, Plan.Stride), get(plan, Plan.Scores));
    norms = load<f32>(get(plan, Plan.Scores)) + getFloat(plan, Plan.NormBound);
  }
  return norms + outside(plan, query, get(plan, Plan.Rotated));
}

/** How much farther than the nearest centre, in squared distance, a cell may be that has neighbors at a squared distance. */
function reach(plan: usize, squared: f32): f32 {
  const count = get(plan, Plan.ReachCount);
  if (!count || !(squared < Infinity)) return Infinity;
  const distance: f32 = sqrt<f32>(max<f32>(0, squared));
  let p = get(plan, Plan.Reach);
  const last = p + ((count - 1) << 3);
  if (count == 1 || distance <= load<f32>(p)) return distance * load<f32>(p, 4);
  // On the line through the points around it; beyond the last, on that through the last two if it rises.
  while (p < last - 8 && distance > load<f32>(p, 8)) p += 8;
  const rise = (load<f32>(p, 12) - load<f32>(p, 4)) / max<f32>(load<f32>(p, 8) - load<f32>(p), 1e-30);
  const slope = load<f32>(p, 4) + rise * (distance - load<f32>(p));
  return distance * (distance > load<f32>(last) ? max<f32>(slope, load<f32>(last, 4)) : slope);
}

/** The nearest of `count` candidates' squared distance. */
function nearestOf(keys: usize, count: u32): f32 {
  let least: f32 = Infinity;
  for (let p = keys, end = p + ((<usize>count) << 2); p < end; p += 4) least = min(least, load<f32>(p));
  return least;
}

/**
 * Scans all slots of a cell at squared distance g, in runs that the list of survivors has room for; in between they are
 * ranked, or collected.
 */
function scanCellPassing(ranks: bool, plan: usize, entry: usize, g: f32): void {
  const slots = load<u32>(entry, 4);
  const blockBytes = (get(plan, Plan.Dims) << 2) + FACTOR_BYTES;
  const margin: f32 = <f32>0.3 * getFloat(plan, Plan.Epsilon) * sqrt<f32>(g);
  const capacity = <u32>get(plan, Plan.SurvivorCapacity);
  let first = get(plan, Plan.Blocks) + <usize>load<u32>(entry) * blockBytes;
  put(plan, Plan.CodesScanned, get(plan, Plan.CodesScanned) + slots);
  putFloat(plan, Plan.Budget, getFloat(plan, Plan.Budget) - getFloat(plan, Plan.CodeCost) * <f32>slots);
  for (let left = (slots + 31) >> 5; left; ) {
    const room = (capacity - <u32>get(plan, Plan.Pending)) >> 5;
    if (!room) {
      if (ranks) rankPending(plan);
      else collectPending(plan);
      continue;
    }
    const run = min(left, room);
    const end = first + <usize>run * blockBytes;
    scanPassing(plan, first, end, g, margin);
    first = end;
    left -= run;
  }
}

/** Exact scores of the waiting survivors into Heap; Worst falls to what its farthest stands for in the coded space. */
function rankPending(plan: usize): void {
  settle(plan, false);
  const farthest = load<f32>(get(plan, Plan.Heap));
  if (!(farthest < Infinity)) return;
  const squared: f32 = get(plan, Plan.Dot) ? 2 * farthest : farthest;
  putFloat(plan, Plan.Worst, squared + getFloat(plan, Plan.Surplus));
}

/**
 * The K nearest of the rows that pass, through the cells: first the Probes nearest, then all as far as they are within
 * reach. Returns 1, or 0 where it gave up because the Budget was spent. Heap is as after `search`.
 */
export function searchPassing(plan: usize): u32 {
  const cells = <u32>get(plan, Plan.Cells);
  const keys = get(plan, Plan.CandidateKeys);
  const candidates = get(plan, Plan.Candidates);
  const visited = get(plan, Plan.Visited);
  const directory = get(plan, Plan.Directory);
  prepare(plan);
  fillHeap(get(plan, Plan.Heap), <u32>get(plan, Plan.K));
  startScan(plan);
  putFloat(plan, Plan.Surplus, surplus(plan));
  memory.fill(visited, 0, cells);
  put(plan, Plan.CodesScanned, 0);
  let probed: u32 = 0;
  const most = min(cells, <u32>get(plan, Plan.MostProbes));
  let want = min(most, <u32>get(plan, Plan.Probes));
  for (;;) {
    let worst = getFloat(plan, Plan.Worst);
    const count = rankCells(plan, get(plan, Plan.Rotated), want, SPARE, GROUP_SPARE);
    putFloat(plan, Plan.Worst, worst); // ranking cells has used it
    const nearest = nearestOf(keys, count);
    for (let i: usize = 0; i < (<usize>count) << 2; i += 4) {
      const g = load<f32>(keys + i);
      const cell = <usize>load<u32>(candidates + i);
      worst = getFloat(plan, Plan.Worst);
      if (load<u8>(visited + cell) || g > nearest + reach(plan, worst)) continue;
      store<u8>(visited + cell, 1);
      probed++;
      scanCellPassing(true, plan, directory + (cell << 4), g);
      const wait: u32 = worst < Infinity ? RANKED : 1;
      if (<u32>get(plan, Plan.Pending) >= wait) rankPending(plan);
      if (!(getFloat(plan, Plan.Budget) > 0)) return 0;
    }
    const last = load<f32>(keys + ((<usize>count - 1) << 2));
    if (want >= most || last > nearest + reach(plan, getFloat(plan, Plan.Worst))) break;
    want = want < most >> 3 ? want << 2 : most;
  }
  put(plan, Plan.CellsProbed, probed);
  rankPending(plan);
  return 1;
}

/** The K nearest of the rows that pass, by exact scores of all of them. */
export function rankPassing(plan: usize): void {
  fillHeap(get(plan, Plan.Heap), <u32>get(plan, Plan.K));
  put(plan, Plan.RowsRanked, 0);
  if (get(plan, Plan.Int8)) widenQuery(plan);
  let from: u32 = 0;
  while (from != NO_ROW) {
    from = listPassing(plan, from);
    const count = <u32>get(plan, Plan.Pending);
    put(plan, Plan.Pending, 0);
    rankRowsAt(plan, get(plan, Plan.SurvivorRows), count);
  }
}

/**
 * Lists the positions of the next LIST passing rows, or a few fewer, into SurvivorRows (Pending of them): of the ids from
 * `from` on, or without a filter of the positions from there. Returns where to go on; 2^32 - 1 at the end.
 */
function listPassing(plan: usize, from: u32): u32 {
  const filter = get(plan, Plan.Filter);
  const list = get(plan, Plan.SurvivorRows);
  let at = list;
  if (!filter) {
    const labels = get(plan, Plan.Labels);
    const end = min(<u32>get(plan, Plan.RowCount), from + LIST);
    for (; from < end; from++) {
      store<u32>(at, from);
      at += (<usize>(load<u32>(labels + ((<usize>from) << 2)) != NO_ROW)) << 2;
    }
    put(plan, Plan.Pending, (at - list) >> 2);
    return from < <u32>get(plan, Plan.RowCount) ? from : NO_ROW;
  }
  const positions = get(plan, Plan.Positions);
  const end = <u32>get(plan, Plan.FilterBytes) << 3;
  // A word of the filter at a time, as long as all of its 32 rows have room.
  for (const full = list + ((<usize>(LIST - 32)) << 2); from < end && at <= full; from += 32) {
    let word = load<u32>(filter + <usize>(from >> 3));
    while (word) {
      const position = load<u32>(positions + ((<usize>(from + ctz(word))) << 2));
      word &= word - 1;
      store<u32>(at, position);
      at += (<usize>(position != NO_ROW)) << 2;
    }
  }
  put(plan, Plan.Pending, (at - list) >> 2);
  return from < end ? from : NO_ROW;
}

/* ---- ranges ---- */

/** Exact scores of the waiting survivors: those of at most LimitScore go into Found, which has room for all. */
function collectPending(plan: usize): void {
  const count = <u32>get(plan, Plan.Pending);
  put(plan, Plan.Pending, 0);
  put(plan, Plan.SurvivorCount, get(plan, Plan.SurvivorCount) + count);
  put(plan, Plan.RowsRanked, get(plan, Plan.RowsRanked) + count);
  const labels = get(plan, Plan.Labels);
  const limit = getFloat(plan, Plan.LimitScore);
  const scores = get(plan, Plan.Scores);
  let positions = get(plan, Plan.SurvivorRows);
  let found = get(plan, Plan.Found) + (get(plan, Plan.FoundCount) << 3);
  for (let left = count; left; ) {
    const n = min(SCORED, left);
    scoreRows(plan, 0, positions, n);
    for (let i: usize = 0; i < (<usize>n) << 2; i += 4) {
      const score = load<f32>(scores + i);
      if (!(score <= limit)) continue;
      store<f32>(found, score);
      store<u32>(found, load<u32>(labels + ((<usize>load<u32>(positions + i)) << 2)), 4);
      found += 8;
    }
    positions += (<usize>n) << 2;
    left -= n;
  }
  put(plan, Plan.FoundCount, (found - get(plan, Plan.Found)) >> 3);
}

// @ts-ignore: decorator
@inline
function hasRoom(plan: usize, rows: u32): bool {
  const taken = <u32>get(plan, Plan.FoundCount) + <u32>get(plan, Plan.Pending);
  return <u32>get(plan, Plan.FoundCapacity) - taken >= rows;
}

/** Begins a search for all passing rows within a range: every cell by its distance; returns how many there are. Reached
 * tells how many slots are to be scanned. */
export function startWithin(plan: usize): u32 {
  prepare(plan);
  const cells = <u32>get(plan, Plan.Cells);
  const count = rankCells(plan, get(plan, Plan.Rotated), cells, SPARE, GROUP_SPARE);
  startScan(plan);
  putFloat(plan, Plan.Worst, getFloat(plan, Plan.Limit) + outside(plan, get(plan, Plan.Query), get(plan, Plan.Rotated)));
  memory.fill(get(plan, Plan.Visited), 0, cells);
  put(plan, Plan.CellsProbed, 0);
  put(plan, Plan.CodesScanned, 0);
  put(plan, Plan.FoundCount, 0);
  const keys = get(plan, Plan.CandidateKeys);
  const candidates = get(plan, Plan.Candidates);
  const directory = get(plan, Plan.Directory);
  const farthest = nearestOf(keys, count) + reach(plan, getFloat(plan, Plan.Limit));
  let reached: u32 = 0;
  for (let i: usize = 0, end = (<usize>count) << 2; i < end; i += 4) {
    if (load<f32>(keys + i) <= farthest) reached += load<u32>(directory + ((<usize>load<u32>(candidates + i)) << 4), 4);
  }
  put(plan, Plan.Reached, reached);
  return count;
}

/**
 * Goes on with candidate `from`; returns the first that is not done: `count` at the end, else Found must grow until it has
 * room for all slots of that cell. Records stand in Found in no order.
 */
export function scanWithin(plan: usize, from: u32, count: u32): u32 {
  const keys = get(plan, Plan.CandidateKeys);
  const candidates = get(plan, Plan.Candidates);
  const directory = get(plan, Plan.Directory);
  const farthest = nearestOf(keys, count) + reach(plan, getFloat(plan, Plan.Limit));
  for (; from < count; from++) {
    const g = load<f32>(keys + ((<usize>from) << 2));
    if (g > farthest) continue;
    const cell = <usize>load<u32>(candidates + ((<usize>from) << 2));
    const entry = directory + (cell << 4);
    if (!hasRoom(plan, load<u32>(entry, 4))) break;
    store<u8>(get(plan, Plan.Visited) + cell, 1);
    put(plan, Plan.CellsProbed, get(plan, Plan.CellsProbed) + 1);
    scanCellPassing(false, plan, entry, g);
  }
  collectPending(plan);
  return from;
}

/**
 * The same by exact scores of all rows that pass; `from` is 0 at first, then what the last call returned: 2^32 - 1 at the
 * end, else Found must grow until it has room for 256 more.
 */
export function collectPassing(plan: usize, from: u32): u32 {
  if (!from) {
    startScan(plan);
    put(plan, Plan.FoundCount, 0);
    if (get(plan, Plan.Int8)) widenQuery(plan);
  }
  while (from != NO_ROW && hasRoom(plan, LIST)) {
    from = listPassing(plan, from);
    collectPending(plan);
  }
  return from;
}

/**
 * Sorts the records of Found, nearest first, ids ascending at equal scores.
 *
 * ids     u32 × FoundCount   written
 * scores  f32 × FoundCount   written
 */
export function sortFound(plan: usize, ids: usize, scores: usize): void {
  const found = get(plan, Plan.Found);
  const count = <u32>get(plan, Plan.FoundCount);
  for (let i: u32 = 0; i < count; i++) {
    const record = found + ((<usize>i) << 3);
    offer(found, i, count, load<f32>(record), load<u32>(record, 4));
  }
  drain(found, count, ids, scores);
}
