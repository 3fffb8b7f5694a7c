// The k smallest of a list of keys with values, kept as two arrays.

import { get, Plan } from './plan';

/** Bins of the histogram: of long lists, and of short ones, whose prefix sum would cost more than the rest. */
const BINS: u32 = 256;
const FEW_BINS: u32 = 48;
const SHORT: u32 = 192;

/**
 * Keeps the `take` candidates with the smallest keys (CandidateKeys, Candidates; `count` > `take` > 0), roughly in
 * ascending order, and returns the largest key that stays or a little more.
 *
 * By a histogram: bins of equal width, a prefix sum, a scatter; nothing branches on the data, where quickselect and
 * quicksort pay a mispredicted branch for about every second comparison (2.5 times slower for a few hundred keys).
 * Inside the last bin the first ones win. Where that bin is so full that it says little (outliers stretch the bins),
 * the keys in it are narrowed exactly.
 */
export function narrow(plan: usize, count: u32, take: u32): f32 {
  return arrange(plan, get(plan, Plan.CandidateKeys), get(plan, Plan.Candidates), count, take);
}

/** Orders the candidates by bins of their keys; the first `take` are the smallest. See narrow. */
export function arrange(plan: usize, keys: usize, cells: usize, count: u32, take: u32): f32 {
  const end = keys + ((<usize>count) << 2);
  let least: f32 = Infinity;
  let most: f32 = -Infinity;
  for (let p = keys; p < end; p += 4) {
    const key = load<f32>(p);
    least = min(least, key);
    most = max(most, key);
  }
  const width = most - least;
  if (!(width > 0)) return most;
  const binCount = count <= SHORT ? FEW_BINS : BINS;
  const scale: f32 = <f32>(binCount - 1) / width;
  if (!(scale < Infinity)) {
    // Keys that differ by less than floats can scale.
    sortPairs(keys, cells, 0, count);
    return keyAt(keys, take - 1);
  }
  const counts = get(plan, Plan.Bins);
  const bins = counts + BINS * 4;
  memory.fill(counts, 0, binCount * 4);
  let b = bins;
  for (let p = keys; p < end; p += 4) {
    const bin = <usize>(<u32>((load<f32>(p) - least) * scale));
    store<u8>(b++, <u8>bin);
    const c = counts + (bin << 2);
    store<u32>(c, load<u32>(c) + 1);
  }
  let before: u32 = 0;
  let last: u32 = binCount;
  let full: u32 = 0;
  for (let bin: u32 = 0; bin < binCount; bin++) {
    const c = counts + ((<usize>bin) << 2);
    const n = load<u32>(c);
    store<u32>(c, before);
    before += n;
    if (last == binCount && before >= take) {
      last = bin;
      full = n;
    }
  }
  const keysOut = bins + ((count + 3) & ~3);
  const cellsOut = keysOut + ((<usize>count) << 2);
  b = bins;
  for (let p = keys, v = cells; p < end; p += 4, v += 4) {
    const c = counts + ((<usize>load<u8>(b++)) << 2);
    const at = load<u32>(c);
    store<u32>(c, at + 1);
    store<f32>(keysOut + ((<usize>at) << 2), load<f32>(p));
    store<u32>(cellsOut + ((<usize>at) << 2), load<u32>(v));
  }
  if (full > 8 + (take >> 2)) {
    // The last bin begins where the one before it ended, and ends where it ends now.
    const stop = load<u32>(counts + ((<usize>last) << 2));
    sortPairs(keysOut, cellsOut, stop - full, stop);
  }
  const kept = (<usize>take) << 2;
  memory.copy(keys, keysOut, kept);
  memory.copy(cells, cellsOut, kept);
  return full > 8 + (take >> 2) ? load<f32>(keysOut + kept - 4) : <f32>(last + 1) / scale + least;
}

// @ts-ignore: decorator
@inline
function keyAt(keys: usize, i: u32): f32 {
  return load<f32>(keys + ((<usize>i) << 2));
}

// @ts-ignore: decorator
@inline
function move(keys: usize, values: usize, from: u32, to: u32): void {
  store<u32>(keys + ((<usize>to) << 2), load<u32>(keys + ((<usize>from) << 2)));
  store<u32>(values + ((<usize>to) << 2), load<u32>(values + ((<usize>from) << 2)));
}

/** Sorts the pairs [lo, hi) by key, ascending, in place: heapsort, so that no order of keys is a slow one. */
export function sortPairs(keys: usize, values: usize, lo: u32, hi: u32): void {
  const n = hi - lo;
  const k = keys + ((<usize>lo) << 2);
  const v = values + ((<usize>lo) << 2);
  for (let start: u32 = n >> 1; start > 0; start--) {
    sinkPair(k, v, start - 1, n, keyAt(k, start - 1), load<u32>(v + ((<usize>(start - 1)) << 2)));
  }
  for (let end: u32 = n; end > 1; ) {
    end--;
    const key = keyAt(k, end);
    const value = load<u32>(v + ((<usize>end) << 2));
    move(k, v, 0, end);
    sinkPair(k, v, 0, end, key, value);
  }
}

function sinkPair(keys: usize, values: usize, hole: u32, n: u32, key: f32, value: u32): void {
  for (;;) {
    let child: u32 = 2 * hole + 1;
    if (child >= n) break;
    if (child + 1 < n && keyAt(keys, child + 1) > keyAt(keys, child)) child++;
    if (!(keyAt(keys, child) > key)) break;
    move(keys, values, child, hole);
    hole = child;
  }
  store<f32>(keys + ((<usize>hole) << 2), key);
  store<u32>(values + ((<usize>hole) << 2), value);
}
